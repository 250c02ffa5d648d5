//! The command line: the operator's, by way of the broker.

use std::ffi::OsString;
use std::path::PathBuf;

use casemate_spec::{Error, Result};

const USAGE: &str = "\
Usage: casemate-net [hook] [--table NAME] [--resolver SOCKET] [--namespace FILE]

Reads an order on standard input, does it as a whole or not at all, and ends.

  hook                   The order is net.json of the bundle that the OCI state on standard input names
      --table NAME       Of our nftables tables, inet and bridge [default: casemate]
      --resolver SOCKET  Where the sockets go by which containers ask for names
      --namespace FILE   The network namespace of the networks [default: this one]
";
/// `NFT_TABLE_MAXNAMELEN` is more; this is as much as a log's prefix has room for.
const NAME: usize = 64;

/// What is asked of the program.
#[derive(Debug)]
pub enum Asked {
    /// To do an order.
    Work(Arguments),
    /// To say something about itself.
    Print(String),
}

/// How it was started.
#[derive(Debug, Clone)]
pub struct Arguments {
    /// `hook`
    pub hook: bool,
    /// `--table`
    pub table: String,
    /// `--resolver`
    pub resolver: Option<PathBuf>,
    /// `--namespace`
    pub namespace: Option<PathBuf>,
}

/// Reads it.
///
/// # Errors
/// It is wrong: exit code 2.
pub fn parse(words: impl Iterator<Item = OsString>) -> Result<Asked> {
    let mut arguments =
        Arguments { hook: false, table: "casemate".to_owned(), resolver: None, namespace: None };
    let mut words = words.skip(1);
    while let Some(word) = words.next() {
        let name = word.to_string_lossy().into_owned();
        let mut value = || {
            words
                .next()
                .ok_or_else(|| Error::new(&name, "a value is missing, or there is no such option").exit(2))
        };
        match name.as_str() {
            "--help" | "-h" => return Ok(Asked::Print(USAGE.to_owned())),
            "--version" => {
                return Ok(Asked::Print(
                    concat!("casemate-net ", env!("CARGO_PKG_VERSION"), "\n").to_owned(),
                ));
            }
            "hook" => arguments.hook = true,
            "--table" => arguments.table = table(&value()?)?,
            "--namespace" => arguments.namespace = Some(value()?.into()),
            "--resolver" => arguments.resolver = Some(value()?.into()),
            _ => {
                let error = Error::new(&name, "there is no such option").exit(2);
                return Err(error.hint("casemate-net --help lists them"));
            }
        }
    }
    Ok(Asked::Work(arguments))
}

fn table(word: &OsString) -> Result<String> {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    match word.to_str() {
        Some(name) if name.starts_with("casemate") && name.len() < NAME && name.bytes().all(fits) => {
            Ok(name.to_owned())
        }
        _ => Err(Error::new("--table", "not casemate, or casemate- and letters or digits").exit(2)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_others_cannot_be_named() {
        let say = |line: &str| {
            parse(std::iter::once("casemate-net").chain(line.split_whitespace()).map(OsString::from))
        };
        assert!(say("").is_ok() && say("hook --table casemate-0123 --resolver /run/x").is_ok());
        for bad in
            ["--table", "--table filter", "--table casemate/x", "--table Casemate", "nope", "--resolver"]
        {
            assert!(say(bad).is_err_and(|error| error.exit_code() == 2), "{bad}");
        }
    }
}
