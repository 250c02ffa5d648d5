//! The recorded policy as a document: lines of policy, each with its reason.

use std::collections::BTreeMap;
use std::fmt::Write;

/// A policy file that is being written.
#[derive(Debug, Clone)]
pub struct Document {
    head: Vec<String>,
    extends: &'static str,
    description: String,
    lines: BTreeMap<String, Line>,
}

#[derive(Debug, Clone)]
struct Line {
    value: Value,
    reasons: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    /// As it stands in the file.
    Plain(String),
    /// A list of such.
    List(Vec<String>),
}

impl Document {
    /// One that extends a policy; `head` are comments.
    pub fn new(extends: &'static str, description: &str, head: &[&str]) -> Self {
        let head = head.iter().map(|line| plain(line)).collect();
        Self { head, extends, description: plain(description), lines: BTreeMap::new() }
    }

    /// A comment at the head.
    pub fn remark(&mut self, text: &str) {
        self.head.push(plain(text));
    }

    /// A rule with one value, written as TOML has it.
    pub fn rule(&mut self, key: &str, value: impl Into<String>, reason: &str) {
        let line = Line { value: Value::Plain(value.into()), reasons: vec![plain(reason)] };
        self.lines.insert(key.to_owned(), line);
    }

    /// A rule with a list of values, written as TOML has them.
    pub fn list(&mut self, key: &str, items: Vec<String>, reasons: Vec<String>) {
        let reasons = reasons.iter().map(|reason| plain(reason)).collect();
        self.lines.insert(key.to_owned(), Line { value: Value::List(items), reasons });
    }

    /// Takes over the line of policy that a refusal names as its remedy; false where it says nothing new.
    pub fn admit(&mut self, remedy: &str, reason: &str) -> bool {
        let Some((key, value)) = remedy.split_once('=') else { return false };
        let (key, value) = (key.trim(), value.trim());
        if key.is_empty()
            || !key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_'))
        {
            return false;
        }
        let value = match items(value) {
            Some(items) => Value::List(items),
            None => Value::Plain(value.to_owned()),
        };
        let Some(line) = self.lines.get_mut(key) else {
            self.lines.insert(key.to_owned(), Line { value, reasons: vec![plain(reason)] });
            return true;
        };
        let news = match (&mut line.value, value) {
            (Value::List(ours), Value::List(theirs)) => {
                let before = ours.len();
                for item in theirs {
                    if !ours.contains(&item) {
                        ours.push(item);
                    }
                }
                ours.len() > before
            }
            (ours, theirs) => {
                let news = *ours != theirs;
                *ours = theirs;
                news
            }
        };
        if news {
            line.reasons.push(plain(reason));
        }
        news
    }

    /// The file.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        for line in &self.head {
            writeln!(text, "# {line}").unwrap_or_default();
        }
        writeln!(text, "\nextends = {}\ndescription = {}", quoted(self.extends), quoted(&self.description))
            .unwrap_or_default();
        for (key, line) in &self.lines {
            text.push('\n');
            for reason in &line.reasons {
                writeln!(text, "# {reason}").unwrap_or_default();
            }
            match &line.value {
                Value::Plain(value) => writeln!(text, "{key} = {value}"),
                Value::List(items) => writeln!(text, "{key} = [{}]", items.join(", ")),
            }
            .unwrap_or_default();
        }
        text
    }
}

/// A TOML string.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => write!(quoted, "\\u{:04X}", u32::from(c)).unwrap_or_default(),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A comment stays on its line, whatever a workload calls its files.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// The elements of a list of strings or numbers, each as it stands there.
fn items(value: &str) -> Option<Vec<String>> {
    let inside = value.strip_prefix('[')?.strip_suffix(']')?;
    let (mut items, mut item, mut in_string, mut escaped) = (Vec::new(), String::new(), false, false);
    for c in inside.chars() {
        if c == ',' && !in_string {
            items.push(std::mem::take(&mut item));
            continue;
        }
        in_string ^= c == '"' && !escaped;
        escaped = c == '\\' && in_string && !escaped;
        item.push(c);
    }
    items.push(item);
    let items = items.into_iter().map(|item| item.trim().to_owned());
    Some(items.filter(|item| !item.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedies_for_one_key_become_one_line() {
        let mut document = Document::new("strict", "d", &[]);
        assert!(document.admit("namespaces.shared_with_host = [\"...\", \"network\"]", "a"));
        assert!(document.admit("namespaces.shared_with_host = [\"...\", \"a,\\\"]b\"]", "b"));
        assert!(!document.admit("namespaces.shared_with_host = [\"...\", \"network\"]", "c"));
        assert!(document.admit("no_new_privs = \"as-asked\"", "d"));
        assert!(!document.admit("no remedy at all", "e"));
        let text = document.text();
        assert!(text.contains("shared_with_host = [\"...\", \"network\", \"a,\\\"]b\"]\n"), "{text}");
        assert!(text.contains("# d\nno_new_privs = \"as-asked\"\n"), "{text}");
    }

    #[test]
    fn names_cannot_leave_their_place() {
        let mut document = Document::new("strict", "x\"\nextends = \"oci", &["a\nextends = \"oci\""]);
        document.rule("landlock.mode", "\"enforce\"", "b\u{7f}\nc");
        let text = document.text();
        assert_eq!(text.lines().filter(|line| line.starts_with("extends")).count(), 1, "{text}");
        assert!(text.contains("# b??c\n"), "{text}");
    }
}
