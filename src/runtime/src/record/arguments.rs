//! What `record` is asked.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

/// `record`.
#[derive(Debug, Clone, Args)]
pub struct RecordArgs {
    /// Directory for policy.toml, seccomp.json and recording.json; made where it is missing
    #[arg(short, long, value_name = "DIR", default_value = "recorded")]
    pub output: PathBuf,

    /// Clean up after the recorder that holds the other end of standard input
    #[arg(long, value_name = "ID", hide = true)]
    pub keeper: Option<String>,

    /// Bundle directory
    #[arg(value_name = "BUNDLE", default_value = ".")]
    pub bundle: PathBuf,

    /// Program and arguments in place of the bundle's
    #[arg(value_name = "ARGS", last = true)]
    pub program: Vec<OsString>,
}
