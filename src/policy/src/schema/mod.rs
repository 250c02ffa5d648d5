//! The TOML form of a policy: a document as people write it, laid over what it extends.

mod document;
mod lay;
mod limits;
mod list;
mod values;
mod words;
mod write;

pub(crate) use document::Document;
pub(crate) use lay::{Fault, lay};
pub(crate) use limits::{Rlimit, SystemCall};
pub(crate) use list::{Allow, Word};
pub(crate) use values::{Cpus, Size};
pub(crate) use words::{AbsolutePath, Device, FsType, Parameters, Place, is_beneath};
pub(crate) use write::{quoted, words, write};
