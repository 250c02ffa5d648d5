//! The one error of xtask: a sentence for the developer who typed the verb.

use std::fmt;

/// A verb's result.
pub type Outcome<T = ()> = Result<T, Failure>;

/// What went wrong, in the words that are printed.
#[derive(Debug)]
pub struct Failure(String);

impl Failure {
    /// `what` was tried and `why` it did not work.
    pub fn new(what: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self(format!("{what}: {why}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Says what was being done when an error of another kind came.
pub trait Doing<T> {
    /// Puts `what` in front of the error.
    fn doing(self, what: impl fmt::Display) -> Outcome<T>;
}

impl<T, E: fmt::Display> Doing<T> for Result<T, E> {
    fn doing(self, what: impl fmt::Display) -> Outcome<T> {
        self.map_err(|why| Failure::new(what, why))
    }
}
