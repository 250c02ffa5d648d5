//! The audit log: what a policy would have changed or refused, one JSON line each.
//!
//! Appended to one file of the host, since an engine removes a runtime's own log with the container. A log that cannot
//! be written to is told of and stops nothing: the mode exists to disturb nothing.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use casemate_policy::{Admitted, Denied, HostFacts, judge};
use casemate_spec::{Config, ContainerId, Error, Result};
use serde_json::{Value, json};

use super::Chosen;
use crate::log;

/// What came of trying a policy.
#[derive(Debug)]
pub struct Tried {
    policy: String,
    log: PathBuf,
    verdict: Result<Admitted, Denied>,
}

impl Tried {
    /// Judges, and enforces nothing.
    pub fn of(chosen: &Chosen, config: Config, host: &HostFacts) -> Self {
        Self {
            policy: chosen.policy.name().to_owned(),
            log: chosen.host.audit_log.clone(),
            verdict: judge(config, &chosen.policy, host),
        }
    }

    /// Appends what would have become of the container to the log; `command` is what it is asked: `create` or `exec`.
    pub fn tell(&self, id: &ContainerId, command: &str) {
        let (policy, path) = (&self.policy, self.log.display());
        let lines = lines(policy, id, command, &self.verdict);
        let count = lines.len();
        if count == 0 {
            return;
        }
        match write(&self.log, &lines) {
            Ok(()) => log::warn(format_args!(
                "audit: policy {policy} would change or deny {count} things about {id}; they are in {path}"
            )),
            Err(error) => log::warn(format_args!("audit log {error}; {count} lines are lost")),
        }
    }
}

fn lines(policy: &str, id: &ContainerId, command: &str, verdict: &Result<Admitted, Denied>) -> Vec<Value> {
    let time = log::now();
    let line = |action: &str, rule: &str, field: &str, asked: &str, allowed: &str, remedy: Option<&str>| {
        json!({
            "time": time, "container": id.as_str(), "command": command, "policy": policy, "action": action,
            "rule": rule, "field": field, "asked": asked, "allowed": allowed, "remedy": remedy,
        })
    };
    let (changes, violations) = match verdict {
        Ok(admitted) => (admitted.changes(), &[][..]),
        // It fails in any case, and says so.
        Err(denied) if denied.is_malformed() => return Vec::new(),
        Err(denied) => (denied.changes(), denied.violations()),
    };
    let changes = changes.iter().map(|change| {
        line("would-tighten", change.rule, &change.field, &change.asked, &change.enforced, None)
    });
    let violations = violations
        .iter()
        .map(|v| line("would-deny", v.rule, &v.field, &v.asked, &v.allowed, v.remedy.as_deref()));
    changes.chain(violations).collect()
}

/// Whole lines in one write to a file opened for appending: those of runtimes that run side by side do not mix.
fn write(path: &Path, lines: &[Value]) -> Result<()> {
    let failed = |error: std::io::Error| Error::io(path.display().to_string(), &error);
    let mut text = String::new();
    for line in lines {
        text.push_str(&line.to_string());
        text.push('\n');
    }
    let mut file = match open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let directory = path.parent().unwrap_or(Path::new("/"));
            DirBuilder::new().recursive(true).mode(0o750).create(directory).map_err(failed)?;
            open(path)
        }
        other => other,
    }
    .map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)
}

fn open(path: &Path) -> std::io::Result<File> {
    // Not through a link that somebody left there, and without waiting for a fifo's reader.
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
}
