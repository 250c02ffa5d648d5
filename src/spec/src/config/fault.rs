//! The parsers' words, turned into ours: where, what was expected, what was found.

use serde::Deserialize;
use serde_json::Value;

use super::path::Shown;
use crate::Error;

/// What a syntax error becomes: `line 3, column 7: what`.
pub fn syntax(error: &serde_json::Error) -> Error {
    let text = error.to_string();
    let tail = format!(" at line {} column {}", error.line(), error.column());
    let why = text.strip_suffix(&tail).unwrap_or(&text);
    Error::new(format!("line {}, column {}", error.line(), error.column()), one_line(why))
}

/// What a mismatch of types becomes. Parses once more with the path recorded, which the good case never pays.
pub fn mismatch<'de, T: Deserialize<'de>>(value: &'de Value, error: &serde_json::Error) -> Error {
    match serde_path_to_error::deserialize::<_, T>(value) {
        Ok(_) => Error::new("", one_line(&error.to_string())),
        Err(found) => {
            let place = match found.path().to_string() {
                top if top == "." => String::new(),
                path => path,
            };
            describe(&place, &found.inner().to_string())
        }
    }
}

fn describe(place: &str, text: &str) -> Error {
    if let Some(name) = text.strip_prefix("missing field `").and_then(|rest| rest.split('`').next()) {
        let dot = if place.is_empty() { "" } else { "." };
        return Error::new(format!("{place}{dot}{name}"), "is required and missing");
    }
    for form in ["invalid type: ", "invalid value: "] {
        let parts = text.strip_prefix(form).and_then(|rest| rest.rsplit_once(", expected "));
        if let Some((found, expected)) = parts {
            return Error::new(place, one_line(&format!("expected {}, found {found}", plain(expected))));
        }
    }
    Error::new(place, one_line(text))
}

/// Rust's names of types mean nothing to who writes JSON.
fn plain(expected: &str) -> &str {
    match expected {
        "a sequence" => "an array",
        "a map" => "an object",
        "path string" => "a string",
        "i32" => "a whole number of 32 bits",
        "i64" => "a whole number of 64 bits",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number from 0 to 18446744073709551615",
        other if other.starts_with("struct ") => "an object",
        other => other,
    }
}

/// Messages quote the document, which may hold newlines and megabytes.
fn one_line(text: &str) -> String {
    const LONGEST: usize = 400;
    if text.len() <= LONGEST && !text.contains(char::is_control) {
        return text.to_owned();
    }
    let cut: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    // Quotes need no escape in a line of text.
    cut.replace("\\\"", "\"").replace("\\'", "'")
}

/// The document was too large to look into.
pub fn too_large(most: usize) -> Error {
    Error::new("", format!("the document has more than {most} bytes"))
}

/// The document is not an object at all.
pub fn not_an_object(value: &Value) -> Error {
    let found = match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "a boolean".to_owned(),
        Value::Number(_) => "a number".to_owned(),
        Value::String(text) => format!("the text {}", Shown(text)),
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    };
    Error::new("", format!("expected an object, found {found}"))
}
