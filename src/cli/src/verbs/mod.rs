//! The verbs that docker has too, in the same words.

mod containers;
mod images;
mod run;
mod system;
pub mod table;
mod terminal;

pub use containers::{ContainerVerb, containers};
pub use images::{ImageVerb, images};
pub use run::{ExecArgs, RunArgs, body, exec, run};
pub use system::{SystemVerb, system};

use std::fmt::Write as _;

/// Text as it may stand in a path or a query (RFC 3986 section 2.3).
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            escaped.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            write!(escaped, "%{byte:02X}").ok();
        }
    }
    escaped
}
