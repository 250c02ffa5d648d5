//! What judging tells: every change, and one row for each protection.

/// One thing the policy made tighter than the bundle asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The policy's rule that did it.
    pub rule: &'static str,
    /// Where in the configuration.
    pub field: String,
    /// What the bundle asked for.
    pub asked: String,
    /// What will be enforced.
    pub enforced: String,
}

/// One protection: what was asked, and what is enforced, changed or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protection {
    /// Its name, stable across versions, such as `user-namespace`.
    pub name: &'static str,
    /// What the bundle asked for.
    pub asked: String,
    /// What is enforced.
    pub enforced: String,
    /// The policy's rule that decides, such as `[user_namespace] mode = "own"`.
    pub rule: String,
    /// What is exposed where the protection is missing.
    pub exposes: &'static str,
}
