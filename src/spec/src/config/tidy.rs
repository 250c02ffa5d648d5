//! Between the tree and the typed parse: what Go's parser would have forgiven, what the specification has a
//! runtime ignore, and what the types cannot say.

use oci_spec::runtime::Capability;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::path::{Path, Shown};
use super::shape::{self, Shape};
use crate::{Error, Result};

/// How many ignored things are listed; a document could hold a hundred thousand.
const MAX_NOTES: usize = 256;

/// Makes `value` fit for the typed parse:
/// - drops properties and capabilities nobody knows, and says so in `notes`;
/// - drops nulls and the empty texts that mean "absent" to every other runtime;
/// - spells scheduler flags as the types do.
///
/// # Errors
/// A text with a NUL byte: no path, argument or label can hold one, so it would be cut short or refused by
/// the kernel at a place where nobody can tell which one it was.
pub fn tidy(value: &mut Value, shape: &Shape, notes: &mut Vec<String>) -> Result<()> {
    walk(value, shape, Path::Root, notes)
}

fn walk(value: &mut Value, shape: &Shape, path: Path<'_>, notes: &mut Vec<String>) -> Result<()> {
    match (shape, &mut *value) {
        (_, Value::String(text)) if text.contains('\0') => {
            Err(Error::new(path.to_string(), "the text holds a NUL byte"))
        }
        (Shape::Object(known), Value::Object(map)) => object(map, known, path, notes),
        (Shape::Map(inner), Value::Object(map)) => {
            map.retain(|_, value| !value.is_null());
            map.iter_mut().try_for_each(|(name, value)| {
                if name.contains('\0') {
                    return Err(Error::new(
                        Path::Property(&path, name).to_string(),
                        "the name holds a NUL byte",
                    ));
                }
                walk(value, inner, Path::Property(&path, name), notes)
            })
        }
        (Shape::List(inner), Value::Array(list)) => items(list, inner, path, notes),
        (Shape::Namespaces, Value::Array(list)) => items(list, &shape::NAMESPACE, path, notes),
        (Shape::Capabilities, Value::Array(list)) => {
            drop_unknown_capabilities(list, path, notes);
            Ok(())
        }
        (Shape::SchedulerFlags, Value::Array(list)) => {
            list.iter_mut().for_each(respell_flag);
            Ok(())
        }
        (Shape::Size, Value::Number(number)) => {
            if number.as_u64().is_some_and(|size| i64::try_from(size).is_err()) {
                *value = Value::from(i64::MAX);
            }
            Ok(())
        }
        // A wrong type is the typed parse's to name.
        _ => Ok(()),
    }
}

fn object(
    map: &mut Map<String, Value>,
    known: &[(&str, &Shape)],
    path: Path<'_>,
    notes: &mut Vec<String>,
) -> Result<()> {
    let mut outcome = Ok(());
    map.retain(|name, value| {
        let Some((_, shape)) = known.iter().find(|(known, _)| known == name) else {
            note(notes, || format!("{}: unknown property", Path::Property(&path, name)));
            return false;
        };
        let absent = value.is_null() || (matches!(shape, Shape::Optional) && value.as_str() == Some(""));
        if !absent && outcome.is_ok() {
            outcome = walk(value, shape, Path::Property(&path, name), notes);
        }
        !absent
    });
    outcome
}

fn items(list: &mut [Value], shape: &Shape, path: Path<'_>, notes: &mut Vec<String>) -> Result<()> {
    list.iter_mut()
        .enumerate()
        .try_for_each(|(index, value)| walk(value, shape, Path::Item(&path, index), notes))
}

/// Names that are no text stay, for the typed parse to refuse.
fn drop_unknown_capabilities(list: &mut Vec<Value>, path: Path<'_>, notes: &mut Vec<String>) {
    let mut index = 0;
    list.retain(|value| {
        let place = Path::Item(&path, index);
        index += 1;
        let Some(name) = value.as_str() else { return true };
        let known = Capability::deserialize(value).is_ok();
        if !known {
            note(notes, || format!("{place}: unknown capability {}", Shown(name)));
        }
        known
    });
}

/// The types derive these names by rule and get two of the specification's wrong.
fn respell_flag(value: &mut Value) {
    let spelled = match value.as_str() {
        Some("SCHED_FLAG_RESET_ON_FORK") => "SCHED_RESET_ON_FORK",
        Some("SCHED_FLAG_DL_OVERRUN") => "SCHED_FLAG_D_L_OVERRUN",
        _ => return,
    };
    *value = Value::from(spelled);
}

fn note(notes: &mut Vec<String>, text: impl FnOnce() -> String) {
    match notes.len() {
        count if count < MAX_NOTES => notes.push(text()),
        MAX_NOTES => notes.push("more of the kind, not listed".to_owned()),
        _ => {}
    }
}
