//! A probe: an exec like any other, whose end and first output count.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::schedule::Prober;
use crate::Engine;
use crate::containers::{Config, Container, Healthcheck, Status};
use crate::supervision::attach::Wanted;
use crate::supervision::exec::{self, Asked, Exec};

/// So much of the output is kept.
const KEPT: usize = 4096;

/// The command that is run in a container.
#[derive(Debug)]
pub struct ExecProbe {
    /// The engine.
    pub engine: Arc<Engine>,
    /// Where.
    pub container: Arc<Container>,
    /// Program and arguments.
    pub words: Vec<String>,
    /// The probe before.
    pub last: Mutex<Option<Arc<Exec>>>,
}

/// The command of a health check, unless it has none.
pub fn command(config: &Config, check: &Healthcheck) -> Option<Vec<String>> {
    let (kind, rest) = check.probe()?.split_first()?;
    match kind.as_str() {
        "CMD" if !rest.is_empty() => Some(rest.to_vec()),
        "CMD-SHELL" => {
            let shell = config.shell.as_ref().map(|shell| shell.0.clone()).filter(|shell| !shell.is_empty());
            let shell = shell.unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()]);
            Some([&shell[..], rest].concat())
        }
        _ => None,
    }
}

impl ExecProbe {
    fn last(&self) -> MutexGuard<'_, Option<Arc<Exec>>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Prober for ExecProbe {
    async fn probe(&self) -> Option<(i32, String)> {
        // Nothing is found out about what is frozen.
        if self.container.state().status != Status::Running {
            return None;
        }
        if self.last().as_ref().is_some_and(|last| last.state().running) {
            // One that hangs must not become many.
            return Some((super::schedule::TOO_LONG, "the probe before has not ended yet".to_owned()));
        }
        let asked = Asked { cmd: self.words.clone(), attach: (false, true, true), ..Asked::default() };
        let exec = exec::make(&self.engine, &self.container, asked, false).ok()?;
        *self.last() = Some(Arc::clone(&exec));
        let mut attached = exec.attach(Wanted { stdin: false, stdout: true, stderr: true });
        exec::claim(&self.engine, &exec).ok()?;
        if let Err(failure) = exec::start(&self.engine, &exec, None).await {
            let code = exec.state().exit_code.unwrap_or(128);
            return Some((code, failure.message));
        }
        let mut output = Vec::new();
        while let Some(chunk) = attached.output.recv().await {
            let room = KEPT.saturating_sub(output.len());
            output.extend_from_slice(chunk.bytes.get(..room.min(chunk.bytes.len())).unwrap_or_default());
        }
        Some((exec.state().exit_code?, String::from_utf8_lossy(&output).into_owned()))
    }

    async fn give_up(&self) {
        let last = self.last().clone();
        if let Some(last) = last.filter(|last| last.state().running) {
            exec::kill(&self.engine, &last).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containers::Words;

    #[test]
    fn commands_are_words_or_a_shells() {
        let command = |test: &[&str], shell: Option<Words>| {
            let words = Some(Words(test.iter().map(|word| (*word).to_owned()).collect()));
            let check = Healthcheck { test: words, ..Healthcheck::default() };
            super::command(&Config { shell, ..Config::default() }, &check)
        };
        assert_eq!(command(&["CMD", "a", "b"], None), Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(
            command(&["CMD-SHELL", "a b"], None).map(|words| words.join("|")),
            Some("/bin/sh|-c|a b".to_owned())
        );
        let bash = Some(Words(vec!["bash".to_owned(), "-ec".to_owned()]));
        assert_eq!(
            command(&["CMD-SHELL", "a"], bash).map(|words| words.join("|")),
            Some("bash|-ec|a".to_owned())
        );
        for none in [&["NONE"][..], &[], &["CMD"], &["OTHER", "x"]] {
            assert_eq!(command(none, None), None, "{none:?}");
        }
    }
}
