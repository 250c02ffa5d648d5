//! The command line. The broker gives none: everything is at its place in the daemon's container.

use std::path::PathBuf;

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arguments {
    /// Serve the API; descriptor 0 is the channel to the broker.
    Serve(Places),
    /// Read a configuration, and say what is wrong with it.
    CheckConfig(PathBuf),
    /// Hold a file of expectations against the authorization policies.
    TestPolicies(Places, PathBuf),
    /// Print the version.
    Version,
}

/// Where the daemon finds its things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Configuration, certificates, policies; read only.
    pub etc: PathBuf,
    /// The daemon's own: database, blobs.
    pub home: PathBuf,
    /// Containers' logs; read only.
    pub logs: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            etc: "/etc/casemate".into(),
            home: "/var/lib/casemate".into(),
            logs: "/var/log/casemate".into(),
        }
    }
}

impl Arguments {
    /// Reads the command line, the program's name left out.
    ///
    /// # Errors
    /// An option is not known, or has no value.
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut places = Places::default();
        let mut expectations = None;
        while let Some(word) = words.next() {
            let mut value = || words.next().map(PathBuf::from).ok_or(format!("{word}: expected a path"));
            match word.as_str() {
                "--check-config" => return Ok(Self::CheckConfig(value()?)),
                "--test-policies" => expectations = Some(value()?),
                "--version" => return Ok(Self::Version),
                "--etc" => places.etc = value()?,
                "--home" => places.home = value()?,
                "--logs" => places.logs = value()?,
                _ => return Err(format!("{word}: no such option")),
            }
        }
        Ok(match expectations {
            Some(file) => Self::TestPolicies(places, file),
            None => Self::Serve(places),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Arguments, String> {
        Arguments::parse(words.iter().map(|word| (*word).to_owned()))
    }

    #[test]
    fn places_are_those_of_the_container_unless_named() {
        assert_eq!(parse(&[]), Ok(Arguments::Serve(Places::default())));
        let named = parse(&["--etc", "/e"]).expect("arguments");
        assert_eq!(named, Arguments::Serve(Places { etc: "/e".into(), ..Places::default() }));
        assert_eq!(parse(&["--check-config", "f"]), Ok(Arguments::CheckConfig("f".into())));
        let (etc, file) = (Places { etc: "/e".into(), ..Places::default() }, "t".into());
        let test = Arguments::TestPolicies(etc, file);
        assert_eq!(parse(&["--test-policies", "t", "--etc", "/e"]), Ok(test));
        assert!(parse(&["--etc"]).is_err());
        assert!(parse(&["--listen", "x"]).is_err());
    }
}
