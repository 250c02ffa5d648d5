//! Where in a document something is, kept on the stack and written out only when somebody must be told.

use std::fmt;

/// A place, as a chain of the steps that lead there.
#[derive(Debug, Clone, Copy)]
pub enum Path<'a> {
    /// The document itself.
    Root,
    /// A property of an object.
    Property(&'a Path<'a>, &'a str),
    /// An item of an array.
    Item(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Property(parent, name) => {
                parent.fmt(f)?;
                let dot = if matches!(parent, Path::Root) { "" } else { "." };
                if is_plain(name) { write!(f, "{dot}{name}") } else { write!(f, "[{}]", Shown(name)) }
            }
            Self::Item(parent, index) => {
                parent.fmt(f)?;
                write!(f, "[{index}]")
            }
        }
    }
}

/// Names such as annotation keys hold dots and worse: those are shown quoted.
fn is_plain(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'/');
    !name.is_empty() && name.len() <= 64 && name.bytes().all(plain)
}

/// Text from a document, made fit for one line of a message: quoted, escaped, cut at 64 characters.
pub struct Shown<'a>(pub &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 64;
        match self.0.char_indices().nth(LONGEST) {
            Some((end, _)) => write!(f, "{:?}…", self.0.get(..end).unwrap_or_default()),
            None => write!(f, "{:?}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_read_as_a_person_writes_them() {
        let process = Path::Property(&Path::Root, "process");
        let args = Path::Property(&process, "args");
        assert_eq!(Path::Item(&args, 2).to_string(), "process.args[2]");
        let annotations = Path::Property(&Path::Root, "annotations");
        assert_eq!(Path::Property(&annotations, "org.x\n").to_string(), "annotations[\"org.x\\n\"]");
    }
}
