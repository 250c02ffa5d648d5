//! From a policy's name or file to the policy: the host's own `policies/NAME.toml` first, then what is built in.

use std::path::{Path, PathBuf};

use casemate_policy::seccomp::Profile;
use casemate_policy::{Policy, Sources};
use casemate_spec::{Error, Result};

use super::host::directory;
use super::trusted::{self, Place};
use crate::cli::Global;

/// How far `extends` may lead. People lose count much earlier.
const DEEPEST: usize = 8;

/// Finds policies; remembers which it is in the middle of reading.
#[derive(Debug)]
pub struct Policies {
    directory: PathBuf,
    profiles: PathBuf,
    reading: Vec<PathBuf>,
}

impl Policies {
    /// This host's policies.
    pub fn on(global: &Global) -> Self {
        let directory = directory(global);
        Self {
            directory: directory.join("policies"),
            profiles: directory.join("profiles"),
            reading: Vec::new(),
        }
    }

    /// A name, or a file when there is a `/` in it or it ends in `.toml`.
    ///
    /// # Errors
    /// There is none, it is malformed, or somebody else could have written it.
    pub fn find(&mut self, asked: &str) -> Result<Policy> {
        match is_file(asked) {
            true => self
                .file(Path::new(asked), Place::Named)?
                .ok_or_else(|| Error::new(format!("policy {asked}"), "no such file or directory")),
            false => self.named(asked),
        }
    }

    /// A policy by name only: what is asked for by those who may not have files read for them.
    ///
    /// # Errors
    /// As [`Policies::find`].
    pub fn named(&mut self, name: &str) -> Result<Policy> {
        if !is_name(name) {
            return Err(Error::new(format!("policy {name:?}"), "not a policy's name")
                .hint("names have letters, digits, - and _"));
        }
        let path = self.directory.join(format!("{name}.toml"));
        // A host's `hardened.toml` that extends `hardened` means the one it replaces.
        let replaced = self.reading.last() == Some(&path);
        if !replaced && let Some(policy) = self.file(&path, Place::Configuration)? {
            return Ok(policy);
        }
        Policy::builtin(name).ok_or_else(|| {
            let known = Policy::BUILTIN.join(", ");
            Error::new(format!("policy {name:?}"), "there is no such policy")
                .hint(format!("built in: {known}; others are {}/NAME.toml", self.directory.display()))
        })
    }

    fn file(&mut self, path: &Path, place: Place) -> Result<Option<Policy>> {
        let path =
            std::path::absolute(path).map_err(|error| Error::io(path.display().to_string(), &error))?;
        if self.reading.contains(&path) {
            let chain: Vec<_> = self.reading.iter().map(|path| path.display().to_string()).collect();
            return Err(Error::new(
                path.display().to_string(),
                format!("extends itself, by way of {}", chain.join(", ")),
            ));
        }
        if self.reading.len() >= DEEPEST {
            return Err(Error::new(
                path.display().to_string(),
                "more than 8 policies that extend each other",
            ));
        }
        let Some(text) = trusted::read(&path, place)? else { return Ok(None) };
        let origin = path.display().to_string();
        let directory = path.parent().unwrap_or(Path::new("/")).to_owned();
        self.reading.push(path);
        let loaded = casemate_policy::load(&text, &origin, &mut Beside { policies: self, directory, place });
        self.reading.pop();
        loaded.map(Some)
    }

    /// The names of all policies there are, sorted.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn names(&self) -> Result<Vec<String>> {
        let mut names: Vec<String> = Policy::BUILTIN.map(str::to_owned).to_vec();
        let failed = |error: std::io::Error| Error::io(self.directory.display().to_string(), &error);
        match std::fs::read_dir(&self.directory) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
            Ok(entries) => {
                for entry in entries {
                    let name = entry.map_err(failed)?.file_name();
                    let name = name.to_str().and_then(|name| name.strip_suffix(".toml"));
                    names.extend(name.filter(|name| is_name(name)).map(str::to_owned));
                }
            }
        }
        names.sort();
        names.dedup();
        Ok(names)
    }
}

/// Finds what a document names: policies and profiles by name, or by a path from where the document is.
struct Beside<'a> {
    policies: &'a mut Policies,
    directory: PathBuf,
    place: Place,
}

impl Sources for Beside<'_> {
    fn policy(&mut self, asked: &str) -> Result<Policy> {
        if !is_file(asked) {
            return self.policies.named(asked);
        }
        let path = self.directory.join(asked);
        self.policies
            .file(&path, self.place)?
            .ok_or_else(|| Error::new(format!("policy {}", path.display()), "no such file or directory"))
    }

    fn profile(&mut self, asked: &str) -> Result<String> {
        let (path, place) = if asked.contains('/') || asked.ends_with(".json") {
            (self.directory.join(asked), self.place)
        } else if is_name(asked) {
            (self.policies.profiles.join(format!("{asked}.json")), Place::Configuration)
        } else {
            return Err(Error::new(format!("profile {asked:?}"), "not a profile's name"));
        };
        trusted::read(&path, place)?.ok_or_else(|| {
            let known = Profile::BUILTIN.join(", ");
            Error::new(format!("profile {}", path.display()), "no such file or directory")
                .hint(format!("built in: {known}"))
        })
    }
}

fn is_file(asked: &str) -> bool {
    asked.contains('/') || asked.ends_with(".toml")
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}
