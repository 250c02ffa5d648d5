//! The order: from standard input, or from the bundle of a container that is being born.

use std::io::Read;

use casemate_spec::wire::NetOrder;
use casemate_spec::{Error, Result};
use rustix::fs::{Mode, OFlags};
use serde::Deserialize;

use crate::arguments::Arguments;

/// An order of thousands of ports takes a hundred bytes for each.
const LARGEST: u64 = 64 << 20;
/// The order's name in a bundle.
const NAME: &str = "net.json";

/// As much of a container's state as concerns us (OCI runtime specification, "State").
#[derive(Debug, Deserialize)]
struct State {
    pid: i32,
    bundle: String,
}

/// Reads it.
///
/// # Errors
/// It cannot be read, or is none that we take: exit code 2.
pub fn read(arguments: &Arguments) -> Result<NetOrder> {
    let given = all("standard input", std::io::stdin().lock())?;
    let order = if arguments.hook { of_bundle(&given)? } else { parse("order", &given)? };
    order.check().map_err(|error| error.within("order").exit(2))?;
    Ok(order)
}

/// The one that lies in the bundle of the container that is being born.
fn of_bundle(given: &[u8]) -> Result<NetOrder> {
    let State { pid: process, bundle } = parse("state", given)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let failed = |what: &str, errno: rustix::io::Errno| Error::os(what, errno.raw_os_error());
    let place = rustix::fs::openat(rustix::fs::CWD, &*bundle, flags, Mode::empty())
        .map_err(|errno| failed("bundle", errno))?;
    let file =
        rustix::fs::openat(&place, NAME, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
    let file = file.map_err(|errno| failed(NAME, errno))?;
    match parse(NAME, &all(NAME, std::fs::File::from(file))?)? {
        NetOrder::Attach { endpoints, networks, resolver, .. } => {
            Ok(NetOrder::Attach { pid: process, endpoints, networks, resolver })
        }
        _ => Err(Error::new(NAME, "a hook attaches, and does nothing else").exit(2)),
    }
}

fn all(what: &str, source: impl Read) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = source.take(LARGEST).read_to_end(&mut bytes);
    read.map_err(|error| Error::io(what, &error))?;
    Ok(bytes)
}

fn parse<T: for<'de> Deserialize<'de>>(what: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| Error::new(what, error.to_string()).exit(2))
}
