//! Where policies come from: those that are built in, and files of the operator's that replace or join them.

use std::collections::BTreeMap;
use std::path::Path;

use cedar_policy::{Policy, PolicyId, PolicySet};

/// What policies can speak about.
pub const SCHEMA: &str = include_str!("../../../../policies/cedar/casemate.cedarschema");
/// The policies that are built in, by the names of their files.
const BUILT_IN: [(&str, &str); 1] = [("roles.cedar", include_str!("../../../../policies/cedar/roles.cedar"))];
/// The largest file, in bytes.
const LARGEST: u64 = 1 << 20;

/// The texts, by file name.
#[derive(Debug, Clone)]
pub struct Sources(BTreeMap<String, String>);

impl Default for Sources {
    fn default() -> Self {
        Self(BUILT_IN.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect())
    }
}

impl Sources {
    /// What is built in, and the `*.cedar` files of a directory, which need not be there.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn read(directory: &Path) -> Result<Self, String> {
        let mut sources = Self::default();
        let entries = match std::fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(sources),
            Err(error) => return Err(format!("{}: {error}", directory.display())),
        };
        for entry in entries {
            let path = entry.map_err(|error| format!("{}: {error}", directory.display()))?.path();
            if path.extension().is_none_or(|extension| extension != "cedar") {
                continue;
            }
            let failed = |error: std::io::Error| format!("{}: {error}", path.display());
            if std::fs::metadata(&path).map_err(failed)?.len() > LARGEST {
                return Err(format!("{}: more than {LARGEST} bytes", path.display()));
            }
            let text = std::fs::read_to_string(&path).map_err(failed)?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            sources.0.insert(name, text);
        }
        Ok(sources)
    }

    /// One text more, or another in place of one.
    #[must_use]
    pub fn with(mut self, name: &str, text: &str) -> Self {
        self.0.insert(name.to_owned(), text.to_owned());
        self
    }

    /// All policies, each called by its file and its `@id`, or its number in the file.
    ///
    /// # Errors
    /// A text is no policy: file, line and column are named.
    pub fn parse(&self) -> Result<PolicySet, String> {
        let mut all = Vec::new();
        for (name, text) in &self.0 {
            let set: PolicySet = text.parse().map_err(|error| fault(name, text, &error))?;
            if set.templates().next().is_some() {
                return Err(format!("{name}: templates have no use here"));
            }
            let called = |policy: &Policy| {
                let own = policy.annotation("id").filter(|id| !id.is_empty());
                let id = own.map_or_else(|| policy.id().to_string(), str::to_owned);
                policy.new_id(PolicyId::new(format!("{name}:{id}")))
            };
            all.extend(set.policies().map(called));
        }
        PolicySet::from_policies(all).map_err(|error| format!("authorization policies: {error}"))
    }
}

fn fault(name: &str, text: &str, error: &cedar_policy::ParseErrors) -> String {
    let first = error.iter().next();
    let span = first.and_then(|error| {
        use miette::Diagnostic as _;
        error.labels()?.next().map(|label| label.offset())
    });
    let Some(offset) = span else { return format!("{name}: {error}") };
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("{name}:{line}:{column}: {error}")
}
