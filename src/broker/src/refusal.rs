//! Why not: what the runtime says, told apart for the API.

use casemate_spec::Error;
use casemate_spec::wire::{Refusal, RefusalKind};

/// A refusal of ours.
pub fn refuse(kind: RefusalKind, message: impl Into<String>) -> Refusal {
    Refusal { kind, message: message.into(), hint: None }
}

/// An error on the way to what was admitted.
pub fn of_error(error: &Error) -> Refusal {
    let kind = match error.errno() {
        Some(errno) if errno == rustix::io::Errno::EXIST.raw_os_error() => RefusalKind::Conflict,
        Some(errno) if errno == rustix::io::Errno::NOENT.raw_os_error() => RefusalKind::NotFound,
        _ => RefusalKind::Failed,
    };
    Refusal { kind, message: error.to_string(), hint: error.remedy().map(str::to_owned) }
}

/// What the runtime wrote before it failed: `runtime: what: why (ERRNO)`, then `hint: …`.
pub fn of_runtime(said: &str) -> Refusal {
    let mut message = Vec::new();
    let mut hint = Vec::new();
    for line in said.lines() {
        match line.strip_prefix("hint: ") {
            Some(line) => hint.push(line),
            None if line.starts_with("runtime: warning: ") || line.starts_with("runtime: debug: ") => {}
            None => message.push(line.strip_prefix("runtime: ").unwrap_or(line)),
        }
    }
    let message = message.join("\n").trim().to_owned();
    let message = if message.is_empty() { "the runtime ended without a word".to_owned() } else { message };
    let hint = Some(hint.join("\n")).filter(|hint| !hint.is_empty());
    Refusal { kind: kind(&message), message, hint }
}

/// The runtime's words are its interface: engines read them too.
fn kind(message: &str) -> RefusalKind {
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&["denies this container"]) {
        return RefusalKind::Denied;
    }
    if says(&["executable file not found"]) {
        return RefusalKind::NoProgram;
    }
    // Whatever stands before it: only the execution of the program is called so.
    if let Some((_, failure)) = message.split_once("exec: \"") {
        let is = |word: &str| failure.contains(word);
        if is("ENOENT") || is("ENOTDIR") {
            return RefusalKind::NoProgram;
        }
        if is("EACCES") || is("ENOEXEC") || is("EISDIR") || is("EPERM") {
            return RefusalKind::NotExecutable;
        }
    }
    if says(&["container does not exist"]) {
        return RefusalKind::NotFound;
    }
    if says(&[
        "not running",
        "not paused",
        "paused container",
        "stopped container",
        "already finished",
        "already exists",
    ]) {
        return RefusalKind::Conflict;
    }
    if says(&["not supported", "ENOSYS", "EOPNOTSUPP"]) {
        return RefusalKind::Unsupported;
    }
    if message.starts_with("config.json")
        || message.contains("process.json: ")
        || message.contains("resources.json: ")
    {
        return RefusalKind::Invalid;
    }
    RefusalKind::Failed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runtimes_words_are_understood() {
        for (said, kind) in [
            (
                "runtime: unable to start container process: exec: \"x\": executable file not found in $PATH",
                RefusalKind::NoProgram,
            ),
            (
                "runtime: exec failed: unable to start container process: exec: \"/no\": no such file or directory (ENOENT)",
                RefusalKind::NoProgram,
            ),
            (
                "runtime: unable to start container process: exec: \"/etc\": permission denied (EACCES)",
                RefusalKind::NotExecutable,
            ),
            ("runtime: policy hardened denies this container: x\nhint: y", RefusalKind::Denied),
            ("runtime: abc: container not running", RefusalKind::Conflict),
            ("", RefusalKind::Failed),
        ] {
            assert_eq!(of_runtime(said).kind, kind, "{said}");
        }
        let refusal = of_runtime("runtime: warning: w\nruntime: a: b\nhint: c\n");
        assert_eq!((refusal.message.as_str(), refusal.hint.as_deref()), ("a: b", Some("c")));
    }
}
