//! From a policy's name or file to the policy: the host's own `policies/NAME.toml` first, then what is built in.

use std::path::{Path, PathBuf};

use casemate_policy::Policy;
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
    reading: Vec<PathBuf>,
}

impl Policies {
    /// This host's policies.
    pub fn on(global: &Global) -> Self {
        Self { directory: directory(global).join("policies"), reading: Vec::new() }
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
        let beside = path.parent().unwrap_or(Path::new("/")).to_owned();
        self.reading.push(path);
        let loaded = casemate_policy::load(&text, &origin, &mut |parent| self.parent(parent, &beside, place));
        self.reading.pop();
        loaded.map(Some)
    }

    /// What `extends` names; a file is looked for beside the one that extends it.
    fn parent(&mut self, asked: &str, beside: &Path, place: Place) -> Result<Policy> {
        if !is_file(asked) {
            return self.named(asked);
        }
        let path = beside.join(asked);
        self.file(&path, place)?
            .ok_or_else(|| Error::new(format!("policy {}", path.display()), "no such file or directory"))
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

fn is_file(asked: &str) -> bool {
    asked.contains('/') || asked.ends_with(".toml")
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}
