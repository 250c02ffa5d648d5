//! `kill`.

use std::process::ExitCode;

use casemate_spec::{Error, Result};

use crate::cli::{Global, KillArgs};
use crate::store::{Container, Init, Root, Status};

/// signal(7)
pub(super) const SIGKILL: i32 = 9;

/// Sends a signal to init, or to every process of the container.
///
/// # Errors
/// "container not running", by which containerd knows that there is nothing left to kill.
pub fn kill(global: &Global, args: &KillArgs) -> Result<ExitCode> {
    let signal = number(&args.signal)?;
    let container = Root::container(global, &args.id)?;
    if args.all {
        // What outlives init in a shared pid namespace is in the cgroup still; with nobody there is nothing to do.
        if let Some(cgroup) = container.cgroup()? {
            cgroup.kill(signal).map_err(|error| error.within(&args.id))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let Some(init) = container.init()? else {
        return Err(Error::new(args.id.as_str(), "container not running"));
    };
    if !init.signal(signal).map_err(|error| error.within(&args.id))? {
        return Err(Error::new(args.id.as_str(), "os: process already finished"));
    }
    if signal == SIGKILL {
        thaw(&container, &init)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// On cgroup v1 a frozen process does not even die.
fn thaw(container: &Container, init: &Init) -> Result<()> {
    match (container.status_with(Some(init))?, container.cgroup()?) {
        (Status::Paused, Some(cgroup)) => cgroup.thaw().map_err(|error| error.within(container.home().id())),
        _ => Ok(()),
    }
}

/// A signal by number, or by name with or without `SIG`, in either case (signal(7); the real-time ones as
/// `RTMIN+n` and `RTMAX-n`).
///
/// # Errors
/// No such signal.
fn number(text: &str) -> Result<i32> {
    let unknown = || Error::new("", format!("unknown signal {text:?}"));
    if let Ok(number) = text.parse() {
        return if (0..=RTMAX).contains(&number) { Ok(number) } else { Err(unknown()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(index) = NAMES.iter().position(|names| names.contains(&name)) {
        return i32::try_from(index + 1).map_err(|_| unknown());
    }
    let offset = |text: &str, sign: char| match text {
        "" => Some(0),
        text => text.strip_prefix(sign)?.parse().ok().filter(|offset| (0..=RTMAX - RTMIN).contains(offset)),
    };
    let from_first =
        name.strip_prefix("RTMIN").and_then(|rest| offset(rest, '+')).map(|offset: i32| RTMIN + offset);
    let from_last =
        name.strip_prefix("RTMAX").and_then(|rest| offset(rest, '-')).map(|offset: i32| RTMAX - offset);
    from_first.or(from_last).ok_or_else(unknown)
}

/// What the C library leaves of the real-time signals; it keeps 32 and 33 for its threads.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// From 1 on, the same on x86-64 and aarch64.
const NAMES: [&[&str]; 31] = [
    &["HUP"],
    &["INT"],
    &["QUIT"],
    &["ILL"],
    &["TRAP"],
    &["ABRT", "IOT"],
    &["BUS"],
    &["FPE"],
    &["KILL"],
    &["USR1"],
    &["SEGV"],
    &["USR2"],
    &["PIPE"],
    &["ALRM"],
    &["TERM"],
    &["STKFLT"],
    &["CHLD", "CLD"],
    &["CONT"],
    &["STOP"],
    &["TSTP"],
    &["TTIN"],
    &["TTOU"],
    &["URG"],
    &["XCPU"],
    &["XFSZ"],
    &["VTALRM"],
    &["PROF"],
    &["WINCH"],
    &["IO", "POLL"],
    &["PWR"],
    &["SYS", "UNUSED"],
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_numbers() {
        for (text, expected) in [
            ("0", 0),
            ("9", 9),
            ("KILL", 9),
            ("SIGKILL", 9),
            ("sigterm", 15),
            ("Sys", 31),
            ("POLL", 29),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
            ("64", 64),
        ] {
            assert_eq!(number(text).ok(), Some(expected), "{text:?}");
        }
        for bad in ["", "SIG", "FOO", "65", "-9", "RTMIN+31", "RTMAX+1", "RTMIN+-1", "9.0"] {
            assert!(number(bad).is_err(), "{bad:?} was accepted");
        }
    }
}
