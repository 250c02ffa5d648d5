//! A policy: what a container may have, resolved and as plain data.

use std::fmt;

use casemate_spec::Error;

use crate::rules::Rules;
use crate::schema::{Document, Fault, lay, write};
use crate::{document, meet};

/// What a container may have. Made by [`load`] or [`Policy::builtin`].
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    name: String,
    description: String,
    pub(crate) rules: Rules,
}

const TEXTS: [(&str, &str); 4] = [
    ("strict", include_str!("../../../policies/strict.toml")),
    ("hardened", include_str!("../../../policies/hardened.toml")),
    ("baseline", include_str!("../../../policies/baseline.toml")),
    ("oci", include_str!("../../../policies/oci.toml")),
];

/// Policies of the product's own programs. No name leads to them: whoever starts such a program has the text as a file
/// of its own, which `--policy` reads.
const OWN: [(&str, &str); 3] = [
    ("casemated", include_str!("../../../policies/casemated.toml")),
    ("dns", include_str!("../../../policies/dns.toml")),
    ("layer", include_str!("../../../policies/layer.toml")),
];

/// The policy beneath every document that names none.
const BENEATH: &str = "hardened";

impl Policy {
    /// The policies compiled in, strictest first.
    pub const BUILTIN: [&'static str; 4] = ["strict", "hardened", "baseline", "oci"];

    /// The policy compiled in under `name`.
    pub fn builtin(name: &str) -> Option<Self> {
        if name == "oci" {
            return Some(Self::oci());
        }
        // The tests read every one of them, so that there is no fault to be lost here.
        read_builtin(name)?.ok()
    }

    /// The bundle to the letter: nothing added, nothing taken.
    pub fn oci() -> Self {
        let description = "the bundle to the letter: nothing added, nothing taken".to_owned();
        Self { name: "oci".to_owned(), description, rules: Rules::default() }
    }

    /// The name by which the command line and the host's configuration choose it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is for, in one sentence; may be empty.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Whether it asks for nothing at all, as `oci` does.
    pub fn is_as_asked(&self) -> bool {
        self.rules == Rules::default()
    }

    /// Of every rule the stricter one: what this or `other` refuses, the result refuses.
    #[must_use]
    pub fn meet(&self, other: &Self) -> Self {
        let rules = meet::rules(&self.rules, &other.rules);
        // The name of one of them where that says it all.
        if rules == self.rules {
            return self.clone();
        }
        if rules == other.rules {
            return other.clone();
        }
        let description = format!("of every rule the stricter of {} and {}", self.name, other.name);
        Self { name: format!("{}+{}", self.name, other.name), description, rules }
    }

    /// The policy as a document of its own, without `extends`: [`load`] makes the same policy of it.
    pub fn to_toml(&self) -> String {
        write(&self.name, &self.description, &self.rules)
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The text of a policy compiled in, with its reasons.
pub fn builtin_text(name: &str) -> Option<&'static str> {
    TEXTS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// The text of the policy of one of the product's own programs: `casemated` or `layer`.
pub fn own_text(program: &str) -> Option<&'static str> {
    OWN.iter().find(|(known, _)| *known == program).map(|(_, text)| *text)
}

pub(crate) fn read_builtin(name: &str) -> Option<Result<Policy, Error>> {
    let text = builtin_text(name)?;
    let origin = format!("policies/{name}.toml");
    Some(read(text, &origin, &mut Builtin))
}

/// Where a document finds what it names.
pub trait Sources {
    /// The policy that `extends` names.
    ///
    /// # Errors
    /// There is none, or it is no good.
    fn policy(&mut self, name: &str) -> Result<Policy, Error>;

    /// The text of a seccomp profile that is not compiled in, by the name the document gives it.
    ///
    /// # Errors
    /// There is none.
    fn profile(&mut self, name: &str) -> Result<String, Error> {
        let known = crate::seccomp::Profile::BUILTIN.join(", ");
        Err(Error::new(format!("seccomp profile {name:?}"), "there is no such profile")
            .hint(format!("compiled in: {known}, none")))
    }
}

/// What is compiled in, and no files.
#[derive(Debug, Clone, Copy, Default)]
pub struct Builtin;

impl Sources for Builtin {
    fn policy(&mut self, name: &str) -> Result<Policy, Error> {
        Policy::builtin(name).ok_or_else(|| {
            let known = Policy::BUILTIN.join(", ");
            Error::new(format!("policy {name:?}"), "there is no such policy").hint(format!("known: {known}"))
        })
    }
}

/// Reads a policy. `origin` names the file in errors, and the policy when it has no name of its own; `sources` finds
/// what it names. What neither the document nor what it extends says is as in `hardened`.
///
/// # Errors
/// A malformed document, said as `FILE:LINE:COLUMN: what`, with the line and a marker in the hint.
pub fn load(text: &str, origin: &str, sources: &mut dyn Sources) -> Result<Policy, Error> {
    read(text, origin, sources)
}

fn read(text: &str, origin: &str, sources: &mut dyn Sources) -> Result<Policy, Error> {
    let mut document: Document = document::read(text, origin)?;
    let rules = match document.extends.take() {
        Some(name) => {
            let parent = sources.policy(name.get_ref());
            parent.map_err(|error| error.within(document::place(text, origin, &name.span())))?.rules
        }
        None if builtin_text(BENEATH) == Some(text) => Rules::default(),
        None => Builtin.policy(BENEATH)?.rules,
    };
    let name = document.name.take().unwrap_or_else(|| stem(origin).to_owned());
    let description = document.description.take().unwrap_or_default();
    let mut policy = Policy { name, description, rules };
    match lay(&mut policy.rules, document, sources) {
        Ok(()) => Ok(policy),
        Err(Fault::Here(span, what)) => Err(document::at(text, origin, Some(span), &what)),
        Err(Fault::Elsewhere(error)) => Err(error.within(origin)),
    }
}

/// `web` of `/etc/casemate/policies/web.toml`.
fn stem(origin: &str) -> &str {
    let file = origin.rsplit('/').next().unwrap_or(origin);
    file.strip_suffix(".toml").unwrap_or(file)
}
