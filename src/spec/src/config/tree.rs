//! Bytes to a tree of values, within bounded depth and memory.
//!
//! `serde_json` bounds the depth (128) but not the number of values, and a value costs far more than the two
//! bytes that write it: 16 MiB of `[0,0,…` would become half a gigabyte. So values are counted as they come.

use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::path::Path;

/// How deep arrays and objects may nest. A configuration needs 7.
pub const MAX_DEPTH: usize = 64;

/// How many values a document may hold, each property's name and value being one: about 100 MB of memory at the
/// worst. Docker's default configuration has 1,100.
pub const MAX_VALUES: u32 = 262_144;

/// Reads one JSON value and nothing after it. Notes properties that come twice in `notes`.
///
/// # Errors
/// Line, column and what is wrong there, in serde_json's words.
pub fn read(bytes: &[u8], notes: &mut Vec<String>) -> Result<Value, serde_json::Error> {
    let ledger = Ledger { left: Cell::new(MAX_VALUES), twice: RefCell::new(Vec::new()) };
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Branch { path: Path::Root, depth: 0, ledger: &ledger }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    notes.append(&mut ledger.twice.borrow_mut());
    Ok(value)
}

/// What all branches of one document share.
struct Ledger {
    left: Cell<u32>,
    twice: RefCell<Vec<String>>,
}

impl Ledger {
    fn spend<E: serde::de::Error>(&self) -> Result<(), E> {
        match self.left.get().checked_sub(1) {
            Some(left) => {
                self.left.set(left);
                Ok(())
            }
            None => Err(E::custom(format_args!("more than {MAX_VALUES} values"))),
        }
    }
}

/// One place in the document, about to be read.
#[derive(Clone, Copy)]
struct Branch<'a> {
    path: Path<'a>,
    depth: usize,
    ledger: &'a Ledger,
}

impl<'de> DeserializeSeed<'de> for Branch<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.ledger.spend()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Branch<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let depth = self.deeper()?;
        let mut list = Vec::new();
        while let Some(value) = items.next_element_seed(Branch {
            path: Path::Item(&self.path, list.len()),
            depth,
            ledger: self.ledger,
        })? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let depth = self.deeper()?;
        let mut map = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            self.ledger.spend()?;
            let path = Path::Property(&self.path, &name);
            let value = entries.next_value_seed(Branch { path, depth, ledger: self.ledger })?;
            let twice = map.contains_key(&name).then(|| format!("{path}: given twice, the last one counts"));
            self.ledger.twice.borrow_mut().extend(twice);
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}

impl Branch<'_> {
    fn deeper<E: serde::de::Error>(&self) -> Result<usize, E> {
        if self.depth >= MAX_DEPTH {
            return Err(E::custom(format_args!("nested deeper than {MAX_DEPTH}")));
        }
        Ok(self.depth + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        read(text.as_bytes(), &mut Vec::new()).unwrap_err().to_string()
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(read(nested(MAX_DEPTH).as_bytes(), &mut Vec::new()).is_ok());
        assert!(refusal(&nested(MAX_DEPTH + 1)).starts_with("nested deeper than 64 at line 1"));
    }

    #[test]
    fn the_number_of_values_is_bounded() {
        let zeros = |n: usize| format!("[{}0]", "0,".repeat(n));
        assert!(read(zeros(262_142).as_bytes(), &mut Vec::new()).is_ok());
        assert!(refusal(&zeros(262_143)).starts_with("more than 262144 values at line 1"));
    }

    #[test]
    fn the_last_of_two_counts_and_is_noted() {
        let mut notes = Vec::new();
        let value = read(br#"{"a":{"b":[{"c":1,"c":2}]}}"#, &mut notes).unwrap();
        assert_eq!(value, serde_json::json!({"a": {"b": [{"c": 2}]}}));
        assert_eq!(notes, ["a.b[0].c: given twice, the last one counts"]);
    }

    #[test]
    fn nothing_may_follow_the_document() {
        assert!(refusal("{} {}").starts_with("trailing characters at line 1 column 4"));
    }
}
