//! The process of an exec: the container's, but for what was asked.

use std::collections::HashSet;
use std::sync::Arc;

use casemate_spec::wire::{Task, TaskReply, UserEntry, View};
use oci_spec::runtime::{Capability, Process, User};

use super::Asked;
use crate::containers::{self, Container};
use crate::{Engine, Failure, Result, files};

/// What is to be run.
///
/// # Errors
/// The user is not known in the container.
pub async fn process(engine: &Arc<Engine>, container: &Arc<Container>, asked: &Asked) -> Result<Process> {
    let mut process = match engine.supervision.seat(&container.id).process() {
        Some(process) => Process::clone(&process),
        None => containers::wire(engine, container)?.0.process,
    };
    let mut home = None;
    if !asked.user.is_empty() {
        let user = who(engine, container, &asked.user).await?;
        take_on(&mut process, &user);
        home = Some(user.home);
    }
    let mut env = process.env().clone().unwrap_or_default();
    if let Some(home) = home {
        set(&mut env, format!("HOME={home}"));
    }
    if asked.tty && !env.iter().any(|entry| entry.starts_with("TERM=")) {
        env.push("TERM=xterm".to_owned());
    }
    asked.env.iter().for_each(|entry| set(&mut env, entry.clone()));
    process.set_env(Some(env));
    process.set_args(Some(asked.cmd.clone()));
    process.set_terminal(Some(asked.tty));
    process.set_console_size(None);
    if !asked.working_dir.is_empty() {
        process.set_cwd(asked.working_dir.clone().into());
    }
    Ok(process)
}

/// Whether something of a user is to be looked up in the container, and who it is if not.
fn numbers(user: &str) -> Option<UserEntry> {
    let (uid, gid) = user.split_once(':')?;
    let (uid, gid) = (uid.parse().ok()?, gid.parse().ok()?);
    Some(UserEntry { uid, gid, groups: Vec::new(), home: "/".to_owned() })
}

async fn who(engine: &Arc<Engine>, container: &Arc<Container>, user: &str) -> Result<UserEntry> {
    if let Some(entry) = numbers(user) {
        return Ok(entry);
    }
    let root = containers::wire(engine, container)?.0.root;
    let view = View::Container { id: container.id.clone(), root, mounts: Vec::new() };
    let task = Task::User { user: user.to_owned(), groups: Vec::new() };
    // Asked anew each time: the container's own files may say something else by now.
    match files::help(engine, view, task, None).await? {
        TaskReply::User(entry) => Ok(entry),
        TaskReply::Failed(failure) => Err(Failure::invalid(failure.message)),
        _ => Err(Failure::failed("the helper for files answered something else")),
    }
}

/// Gives a process another user: root has the capabilities of the bounding set, nobody else has any.
fn take_on(process: &mut Process, user: &UserEntry) {
    let mut to = User::default();
    to.set_uid(user.uid).set_gid(user.gid).set_additional_gids(Some(user.groups.clone()));
    process.set_user(to);
    if let Some(mut sets) = process.capabilities().clone() {
        let bounding: Option<HashSet<Capability>> = sets.bounding().clone();
        let held = if user.uid == 0 { bounding } else { None };
        sets.set_effective(held.clone()).set_permitted(held).set_ambient(None);
        process.set_capabilities(Some(sets));
    }
}

/// Sets a variable; a name without a value takes it away.
fn set(env: &mut Vec<String>, entry: String) {
    let name = entry.split('=').next().unwrap_or_default().to_owned();
    env.retain(|known| known.split('=').next() != Some(&name));
    if entry.contains('=') {
        env.push(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_need_no_look() {
        let entry = numbers("1000:50").expect("numbers");
        assert_eq!((entry.uid, entry.gid), (1000, 50));
        for user in ["root", "1000", "a:1", "1:b", "1:", "-1:1", "4294967296:1"] {
            assert!(numbers(user).is_none(), "{user}");
        }
    }

    #[test]
    fn variables_are_replaced() {
        let mut env = vec!["A=1".to_owned(), "AB=2".to_owned()];
        set(&mut env, "A=3=4".to_owned());
        set(&mut env, "AB".to_owned());
        assert_eq!(env, ["A=3=4"]);
    }

    #[test]
    fn only_root_holds_capabilities() {
        let mut process = Process::default();
        let entry = |uid| UserEntry { uid, gid: 0, groups: vec![7], home: String::new() };
        take_on(&mut process, &entry(1));
        let held = |process: &Process| {
            let sets = process.capabilities().clone().expect("capabilities");
            (sets.effective().clone().unwrap_or_default(), sets.bounding().clone().unwrap_or_default())
        };
        let (effective, bounding) = held(&process);
        assert!(effective.is_empty() && !bounding.is_empty());
        take_on(&mut process, &entry(0));
        assert_eq!(held(&process).0, bounding);
        assert_eq!(process.user().additional_gids(), &Some(vec![7]));
    }
}
