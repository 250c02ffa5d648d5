//! One line of the audit log; docs/audit.md says what each key is.

use serde_json::Value;

/// No text in a line is longer; one of the daemon's could be.
const TEXT: usize = 4 << 10;

/// What is told: an event's name and its fields, in this order.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    event: &'static str,
    fields: Vec<(&'static str, Value)>,
}

impl Entry {
    /// Of an event.
    pub fn new(event: &'static str) -> Self {
        Self { event, fields: Vec::new() }
    }

    /// With one more text; a long one loses its end.
    #[must_use]
    pub fn text(mut self, name: &'static str, text: &str) -> Self {
        let mut end = TEXT.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.fields.push((name, Value::from(text.get(..end).unwrap_or_default())));
        self
    }

    /// With one more number.
    #[must_use]
    pub fn number(mut self, name: &'static str, number: i64) -> Self {
        self.fields.push((name, Value::from(number)));
        self
    }

    /// Its line, with `digest` of everything before it, and the line's own digest.
    pub fn line(
        &self,
        sequence: u64,
        time: u64,
        previous: &str,
        digest: impl Fn(&str) -> String,
    ) -> (String, String) {
        let mut text = format!(
            "{{\"seq\":{sequence},\"time\":{time},\"prev\":\"{previous}\",\"event\":{}",
            Value::from(self.event)
        );
        for (name, value) in &self.fields {
            text.push_str(&format!(",{}:{value}", Value::from(*name)));
        }
        let hash = digest(&text);
        text.push_str(&format!(",\"hash\":\"{hash}\"}}\n"));
        (text, hash)
    }
}
