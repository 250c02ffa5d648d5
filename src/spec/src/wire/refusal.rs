//! Refusals of the runtime's, told apart for the API.

use super::{Refusal, RefusalKind};

impl Refusal {
    /// How the runtime ended (`--exit-by-cause`), and what it wrote before: `runtime: what: why (ERRNO)`, then `hint: …`.
    pub fn of_runtime(code: i32, said: &str) -> Self {
        let mut message = Vec::new();
        let mut hint = Vec::new();
        for line in said.lines() {
            match line.strip_prefix("hint: ") {
                Some(line) => hint.push(line),
                None if line.starts_with("runtime: warning: ") => {}
                None => message.push(line.strip_prefix("runtime: ").unwrap_or(line)),
            }
        }
        let message = message.join("\n").trim().to_owned();
        let message =
            if message.is_empty() { "the runtime ended without a word".to_owned() } else { message };
        let hint = Some(hint.join("\n")).filter(|hint| !hint.is_empty());
        Self { kind: kind(code, &message), message, hint }
    }
}

/// Where the exit status does not tell, words do that engines know too.
fn kind(code: i32, message: &str) -> RefusalKind {
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    match code {
        3 => RefusalKind::Denied,
        126 => RefusalKind::NotExecutable,
        127 => RefusalKind::NoProgram,
        _ if says(&["container does not exist"]) => RefusalKind::NotFound,
        _ if says(&[
            "not running",
            "not paused",
            "paused container",
            "stopped container",
            "already finished",
        ]) =>
        {
            RefusalKind::Conflict
        }
        _ if ["config.json", "process.json", "resources.json"]
            .iter()
            .any(|name| message.starts_with(name)) =>
        {
            RefusalKind::Invalid
        }
        _ => RefusalKind::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runtimes_words_are_understood() {
        let ended = Refusal::of_runtime;
        assert_eq!(ended(127, "runtime: exec: x").kind, RefusalKind::NoProgram);
        assert_eq!(ended(1, "runtime: abc: container not running").kind, RefusalKind::Conflict);
        assert_eq!(ended(1, "").kind, RefusalKind::Failed);
        let refusal = ended(3, "runtime: warning: w\nruntime: a: b\nhint: c\n");
        assert_eq!((refusal.message.as_str(), refusal.hint.as_deref()), ("a: b", Some("c")));
    }
}
