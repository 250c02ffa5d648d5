//! The first configuration.

use casemate_spec::Result;

use crate::place::{DAEMON_GROUP, Place, write};

/// Every key is explained in docs/configuration.md; without any, everything has its default.
const FIRST: &str = "\
# The configuration of casemated: docs/configuration.md explains every key, `casemated --check-config FILE` checks it.
# What is not set here has the value that is shown.

# log-driver = \"json-file\"
# live-restore = false
# insecure-registries = []
# registry-mirrors = []
";

/// Writes a configuration where there is none.
///
/// # Errors
/// It cannot be written.
pub fn write_default(place: &Place) -> Result<()> {
    let path = place.etc.join("casemate.toml");
    if path.exists() {
        return Ok(());
    }
    write(&path, FIRST.as_bytes(), 0o640, Some(DAEMON_GROUP))
}
