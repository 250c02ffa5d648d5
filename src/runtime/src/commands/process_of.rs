//! The process that `exec` is asked for: a document of its own, or the container's with changes.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use casemate_spec::{Error, Result};
use oci_spec::runtime::{Capability, LinuxCapabilities, LinuxCapabilitiesBuilder, Process, Spec};

use crate::cli::ExecArgs;

/// The process to run, complete: what a document leaves out is the container's.
///
/// # Errors
/// A malformed document or flag.
pub fn process(spec: &Spec, args: &ExecArgs) -> Result<Process> {
    let container = spec.process().clone().unwrap_or_default();
    let Some(path) = &args.process else { return changed(container, args) };
    let mut process = casemate_spec::parse_process(&read(path)?)?;
    if process.capabilities().is_none() {
        process.set_capabilities(container.capabilities().clone());
    }
    if process.rlimits().as_ref().is_none_or(Vec::is_empty) {
        process.set_rlimits(container.rlimits().clone());
    }
    if process.apparmor_profile().as_ref().is_none_or(String::is_empty) {
        process.set_apparmor_profile(container.apparmor_profile().clone());
    }
    if process.selinux_label().as_ref().is_none_or(String::is_empty) {
        process.set_selinux_label(container.selinux_label().clone());
    }
    if args.tty {
        process.set_terminal(Some(true));
    }
    Ok(process)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let failed = |error: std::io::Error| Error::io(format!("open {}", path.display()), &error);
    let mut bytes = Vec::new();
    let limit = casemate_spec::config::MAX_BYTES as u64 + 1;
    File::open(path).map_err(failed)?.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn changed(mut process: Process, args: &ExecArgs) -> Result<Process> {
    let text = |text: &std::ffi::OsStr| {
        let text = text.to_str().ok_or_else(|| Error::new(format!("{text:?}"), "it is not UTF-8"))?;
        Ok::<_, Error>(text.to_owned())
    };
    let program = args.target.rest.iter().map(|arg| text(arg)).collect::<Result<Vec<_>>>()?;
    if program.is_empty() {
        return Err(Error::new("exec", "process args cannot be empty"));
    }
    process.set_args(Some(program));
    process.set_terminal(Some(args.tty));
    // The initial process's terminal size and scheduling are its own.
    process.set_console_size(None);
    if let Some(cwd) = &args.cwd {
        process.set_cwd(cwd.clone());
    }
    let mut env = process.env().clone().unwrap_or_default();
    for variable in &args.env {
        env.push(text(variable)?);
    }
    process.set_env(Some(env));
    if let Some(profile) = &args.apparmor {
        process.set_apparmor_profile(Some(profile.clone()));
    }
    if let Some(label) = &args.process_label {
        process.set_selinux_label(Some(label.clone()));
    }
    if args.no_new_privs {
        process.set_no_new_privileges(Some(true));
    }
    user(&mut process, args)?;
    capabilities(&mut process, &args.cap)?;
    Ok(process)
}

fn user(process: &mut Process, args: &ExecArgs) -> Result<()> {
    let mut user = process.user().clone();
    if let Some(asked) = &args.user {
        let number = |text: &str| {
            text.parse::<u32>()
                .map_err(|_| Error::new(format!("--user {asked}"), "it is not of the form UID[:GID]"))
        };
        let (uid, gid) = asked.split_once(':').map_or((asked.as_str(), None), |(uid, gid)| (uid, Some(gid)));
        user.set_uid(number(uid)?);
        if let Some(gid) = gid {
            user.set_gid(number(gid)?);
        }
    }
    let mut groups = user.additional_gids().clone().unwrap_or_default();
    groups.extend(&args.additional_gids);
    user.set_additional_gids(Some(groups));
    process.set_user(user);
    Ok(())
}

/// `--cap` adds to the bounding, permitted and effective sets only: an inheritable capability would outlive the program
/// that was meant to have it (the flaw of CVE-2022-29162), and an ambient one must be inheritable.
fn capabilities(process: &mut Process, names: &[String]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let mut asked = HashSet::new();
    for name in names {
        let upper = name.to_uppercase();
        let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
        let capability: Capability = serde_json::from_value(full.clone().into())
            .map_err(|_unknown| Error::new(format!("--cap {name}"), format!("unknown capability {full}")))?;
        asked.insert(capability);
    }
    let empty = LinuxCapabilitiesBuilder::default().build().unwrap_or_default();
    let had = process.capabilities().clone().unwrap_or(empty);
    process.set_capabilities(Some(extended(&had, &asked)));
    Ok(())
}

fn extended(had: &LinuxCapabilities, asked: &HashSet<Capability>) -> LinuxCapabilities {
    let with = |set: &Option<HashSet<Capability>>| {
        Some(set.iter().flatten().chain(asked).copied().collect::<HashSet<_>>())
    };
    let mut sets = had.clone();
    sets.set_bounding(with(had.bounding()));
    sets.set_effective(with(had.effective()));
    sets.set_permitted(with(had.permitted()));
    sets
}
