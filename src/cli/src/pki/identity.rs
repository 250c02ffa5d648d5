//! Who a client's certificate speaks for: `casemate://TENANT/NAME?groups=a,b`, a URI among its alternative names
//! (RFC 5280 section 4.2.1.6).

use casemate_spec::wire::Tenant;
use casemate_spec::{Error, Result};

/// The longest name and the longest group.
const LONGEST: usize = 64;

/// A client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Who.
    pub name: String,
    /// Whose objects it sees and touches.
    pub tenant: Tenant,
    /// What it may do, by the words of the authorization policies.
    pub groups: Vec<String>,
}

impl Identity {
    /// Only letters that need no escaping in a URI, a file's name, or a policy.
    ///
    /// # Errors
    /// A name or a group has others, or none.
    pub fn new(name: &str, tenant: Tenant, groups: &[String]) -> Result<Self> {
        let fits = |text: &str| {
            !text.is_empty()
                && text.len() <= LONGEST
                && !text.starts_with(['.', '-'])
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'@'))
        };
        let refuse = |what: &str, text: &str| {
            Err(Error::new(
                format!("{what} {text:?}"),
                "expected 1 to 64 of A-Z a-z 0-9 _ - . @, the first neither . nor -",
            ))
        };
        if !fits(name) {
            return refuse("name", name);
        }
        if let Some(bad) = groups.iter().find(|group| !fits(group)) {
            return refuse("group", bad);
        }
        Ok(Self { name: name.to_owned(), tenant, groups: groups.to_vec() })
    }

    /// As it stands in the certificate.
    pub fn uri(&self) -> String {
        format!("casemate://{}/{}?groups={}", self.tenant, self.name, self.groups.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_one_uri() {
        let tenant: Tenant = "ci".parse().expect("a tenant");
        let groups = ["developer".to_owned(), "viewer".to_owned()];
        let identity = Identity::new("anna@build", tenant.clone(), &groups).expect("an identity");
        assert_eq!(identity.uri(), "casemate://ci/anna@build?groups=developer,viewer");
        for bad in ["", "a/b", "a?b", "..", "a b", "ü", "a,b", &"a".repeat(65)] {
            assert!(Identity::new(bad, tenant.clone(), &groups).is_err(), "{bad:?}");
            assert!(Identity::new("a", tenant.clone(), &[bad.to_owned()]).is_err(), "{bad:?}");
        }
    }
}
