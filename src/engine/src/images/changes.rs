//! Instructions of a Dockerfile that a commit or an import may carry.

use std::collections::BTreeMap;

use serde_json::Value;

use super::config::{Defaults, Healthcheck};
use crate::{Failure, Result};

/// The longest instruction, in bytes.
const LONGEST: usize = 64 << 10;

impl Defaults {
    /// Applies instructions, in their order.
    ///
    /// # Errors
    /// One is not known here, or cannot be read.
    pub fn apply(&mut self, changes: &[String]) -> Result<()> {
        let lines = changes.iter().flat_map(|change| change.lines());
        lines.map(str::trim).filter(|line| !line.is_empty()).try_for_each(|line| self.instruct(line))
    }

    fn instruct(&mut self, line: &str) -> Result<()> {
        if line.len() > LONGEST {
            return Err(Failure::invalid("an instruction is too long"));
        }
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let (word, rest) = (word.to_ascii_uppercase(), rest.trim());
        if rest.is_empty() {
            return Err(Failure::invalid(format!("{word} requires at least one argument")));
        }
        match word.as_str() {
            "CMD" => self.cmd = Some(command(rest)?),
            "ENTRYPOINT" => self.entrypoint = Some(command(rest)?),
            "ENV" => self.environment(rest)?,
            "EXPOSE" => self.expose(rest)?,
            "HEALTHCHECK" => self.healthcheck = Some(healthcheck(rest)?),
            "LABEL" => self.labels.get_or_insert_default().extend(pairs(rest, "LABEL")?),
            "ONBUILD" => self.on_build.get_or_insert_default().push(rest.to_owned()),
            "STOPSIGNAL" => self.stop_signal = rest.to_owned(),
            "USER" => self.user = rest.to_owned(),
            "VOLUME" => {
                let places = array(rest).map_or_else(|| words(rest), Ok)?;
                let empty = || Value::Object(serde_json::Map::new());
                self.volumes.get_or_insert_default().extend(places.into_iter().map(|place| (place, empty())));
            }
            "WORKDIR" => self.working_dir = below(&self.working_dir, rest),
            _ => return Err(Failure::invalid(format!("{word} is not a valid change command"))),
        }
        Ok(())
    }

    fn environment(&mut self, rest: &str) -> Result<()> {
        let env = self.env.get_or_insert_default();
        for (name, value) in pairs(rest, "ENV")? {
            let prefix = format!("{name}=");
            let entry = format!("{prefix}{value}");
            match env.iter_mut().find(|entry| entry.starts_with(&prefix)) {
                Some(there) => *there = entry,
                None => env.push(entry),
            }
        }
        Ok(())
    }

    fn expose(&mut self, rest: &str) -> Result<()> {
        let ports = self.exposed_ports.get_or_insert_default();
        for word in words(rest)? {
            let (range, protocol) = word.split_once('/').unwrap_or((&word, "tcp"));
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let refuse = || Failure::invalid(format!("invalid containerPort: {word}"));
            let (first, last): (u16, u16) =
                (first.parse().map_err(|_| refuse())?, last.parse().map_err(|_| refuse())?);
            if first > last || !matches!(protocol, "tcp" | "udp" | "sctp") {
                return Err(refuse());
            }
            let port = |port: u16| (format!("{port}/{protocol}"), Value::Object(serde_json::Map::new()));
            ports.extend((first..=last).map(port));
        }
        Ok(())
    }
}

/// A directory, from another on.
fn below(base: &str, path: &str) -> String {
    let path = path.trim_matches('"');
    let whole = if path.starts_with('/') { path.to_owned() } else { format!("{base}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// `["a", "b"]`
fn array(text: &str) -> Option<Vec<String>> {
    text.starts_with('[').then(|| serde_json::from_str(text).ok())?
}

/// A command in words, or in one string for a shell.
fn command(text: &str) -> Result<Vec<String>> {
    Ok(array(text).unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned(), text.to_owned()]))
}

fn healthcheck(text: &str) -> Result<Healthcheck> {
    let mut check = Healthcheck::default();
    let mut rest = text;
    while let Some(option) = rest.strip_prefix("--") {
        let (option, after) = option.split_once(char::is_whitespace).unwrap_or((option, ""));
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let refuse = || Failure::invalid(format!("HEALTHCHECK: invalid value {value:?} for --{name}"));
        let time = || {
            let time: jiff::SignedDuration = value.parse().map_err(|_| refuse())?;
            i64::try_from(time.as_nanos()).map_err(|_| refuse())
        };
        match name {
            "interval" => check.interval = time()?,
            "timeout" => check.timeout = time()?,
            "start-period" => check.start_period = time()?,
            "start-interval" => check.start_interval = time()?,
            "retries" => check.retries = value.parse().map_err(|_| refuse())?,
            _ => return Err(Failure::invalid(format!("HEALTHCHECK: unknown flag --{name}"))),
        }
        rest = after.trim_start();
    }
    let (kind, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let rest = rest.trim();
    check.test = match (kind.to_ascii_uppercase().as_str(), array(rest)) {
        ("NONE", _) => vec!["NONE".to_owned()],
        ("CMD", Some(words)) => std::iter::once("CMD".to_owned()).chain(words).collect(),
        ("CMD", None) if !rest.is_empty() => vec!["CMD-SHELL".to_owned(), rest.to_owned()],
        _ => return Err(Failure::invalid(format!("HEALTHCHECK: unknown type {kind:?} (try CMD)"))),
    };
    Ok(check)
}

/// `NAME=value …`, or in the old form `NAME value`.
fn pairs(text: &str, what: &str) -> Result<BTreeMap<String, String>> {
    let found = words(text)?;
    let first = found.first().map(String::as_str).unwrap_or_default();
    if !first.contains('=') {
        return match text.split_once(char::is_whitespace) {
            Some((name, value)) => Ok(BTreeMap::from([(name.to_owned(), value.trim().to_owned())])),
            None => Err(Failure::invalid(format!("{what} must have two arguments"))),
        };
    }
    let pair = |word: String| match word.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(Failure::invalid(format!(
            "Syntax error - can't find = in {word:?}. Must be of the form: name=value"
        ))),
    };
    found.into_iter().map(pair).collect()
}

/// Words as a shell would see them, without its other powers.
fn words(text: &str) -> Result<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            ('\\', None | Some('"')) => word.get_or_insert_default().extend(letters.next()),
            (letter, Some(open)) if letter == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (letter, None) if letter.is_whitespace() => words.extend(word.take()),
            (letter, _) => word.get_or_insert_default().push(letter),
        }
    }
    if quote.is_some() {
        return Err(Failure::invalid(format!("unterminated quote in {text:?}")));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn applied(changes: &[&str]) -> Defaults {
        let mut defaults = Defaults { env: Some(vec!["A=0".to_owned()]), ..Defaults::default() };
        let changes: Vec<String> = changes.iter().map(|change| (*change).to_owned()).collect();
        defaults.apply(&changes).expect("applied");
        defaults
    }

    #[test]
    fn instructions_do_what_a_dockerfile_does() {
        let made = applied(&[
            "CMD [\"sh\", \"-c\", \"true\"]",
            "entrypoint exec top",
            "ENV A=1 B=\"two words\" C=a\\ b",
            "ENV D old form",
            "LABEL k=v \"l m\"='n o'",
            "EXPOSE 80 53/udp 90-91",
            "USER 1000:1000",
            "VOLUME /data /more",
            "VOLUME [\"/third\"]",
            "WORKDIR /a\nWORKDIR ../b",
            "STOPSIGNAL SIGINT",
            "HEALTHCHECK --interval=5s --retries=2 CMD true",
            "ONBUILD RUN x",
        ]);
        assert_eq!(made.cmd.expect("cmd"), ["sh", "-c", "true"]);
        assert_eq!(made.entrypoint.expect("entrypoint"), ["/bin/sh", "-c", "exec top"]);
        assert_eq!(made.env.expect("env"), ["A=1", "B=two words", "C=a b", "D=old form"]);
        assert_eq!(made.labels.expect("labels")["l m"], "n o");
        let ports: Vec<String> = made.exposed_ports.expect("ports").into_keys().collect();
        assert_eq!(ports, ["53/udp", "80/tcp", "90/tcp", "91/tcp"]);
        assert_eq!(made.volumes.expect("volumes").len(), 3);
        assert_eq!((made.user.as_str(), made.working_dir.as_str()), ("1000:1000", "/b"));
        let check = made.healthcheck.expect("check");
        assert_eq!((check.interval, check.retries, check.test.len()), (5_000_000_000, 2, 2));
    }

    #[test]
    fn what_is_no_instruction_is_refused() {
        for bad in
            ["RUN true", "CMD", "ENV A", "EXPOSE x", "EXPOSE 9-1", "LABEL \"a", "HEALTHCHECK X", "ENV A=1 B"]
        {
            assert!(Defaults::default().apply(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reader(text in "(CMD|ENV|LABEL|EXPOSE|VOLUME|WORKDIR|HEALTHCHECK) .{0,60}") {
            Defaults::default().apply(&[text]).ok();
        }
    }
}
