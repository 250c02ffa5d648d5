//! `events`.

use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use casemate_spec::{ContainerId, Error, Result};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use serde::Serialize;

use crate::cgroup::{Cgroup, OomNews, OomWatch, Stats};
use crate::cli::{EventsArgs, Global};
use crate::log;
use crate::store::{Init, Root};

/// Prints statistics at an interval, and every out-of-memory kill at once, one JSON object a line, until the
/// container ends or the reader leaves.
///
/// # Errors
/// The container does not run; its cgroup cannot be read.
pub fn events(global: &Global, args: &EventsArgs) -> Result<ExitCode> {
    if args.interval.is_zero() {
        return Err(Error::new("--interval", "duration interval must be greater than 0"));
    }
    let container = Root::container(global, &args.id)?;
    let Some(init) = container.init()? else {
        return Err(Error::new("", format!("container with id {} is not running", args.id)));
    };
    let Some(cgroup) = container.cgroup()? else {
        return Err(Error::new(args.id.as_str(), "the container has no control group"));
    };
    let printer = Printer { id: &args.id };
    if args.stats {
        return printer.print("stats", Some(cgroup.stats().map_err(|error| error.within(&args.id))?));
    }
    stream(&printer, &init, &cgroup, args.interval)
}

#[derive(Serialize)]
struct Event<'a> {
    r#type: &'a str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Stats>,
}

struct Printer<'a> {
    id: &'a ContainerId,
}

impl Printer<'_> {
    fn print(&self, kind: &str, data: Option<Stats>) -> Result<ExitCode> {
        let event = Event { r#type: kind, id: self.id.as_str(), data };
        let text =
            serde_json::to_string(&event).map_err(|error| Error::new("print event", error.to_string()))?;
        super::print(&(text + "\n"))
    }
}

fn stream(printer: &Printer<'_>, init: &Init, cgroup: &Cgroup, interval: Duration) -> Result<ExitCode> {
    let mut watch = match cgroup.oom_events() {
        Ok(watch) => Some(watch),
        Err(error) => {
            log::warn(format_args!("no out-of-memory notifications: {error}"));
            None
        }
    };
    let mut next = Instant::now() + interval;
    loop {
        let woken = wait(init, watch.as_ref(), next.saturating_duration_since(Instant::now()))?;
        if woken.reader_left {
            return Ok(ExitCode::SUCCESS);
        }
        if woken.oom {
            match watch.as_mut().map(OomWatch::read).transpose()? {
                Some(OomNews::Oom) => printer.print("oom", None).map(drop)?,
                Some(OomNews::Gone) => watch = None,
                Some(OomNews::Nothing) | None => {}
            }
        }
        // After the news: the kill that ended the container is told, too.
        if woken.ended {
            return Ok(ExitCode::SUCCESS);
        }
        if Instant::now() >= next {
            match cgroup.stats() {
                Ok(stats) => printer.print("stats", Some(stats)).map(drop)?,
                Err(error) => log::warn(format_args!("statistics: {error}")),
            }
            next = Instant::now() + interval;
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Woken {
    ended: bool,
    oom: bool,
    reader_left: bool,
}

/// Waits for the container's end, for news of the out-of-memory killer, for the reader to leave, or for time to pass.
fn wait(init: &Init, watch: Option<&OomWatch>, patience: Duration) -> Result<Woken> {
    let timeout = Timespec {
        tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: patience.subsec_nanos().into(),
    };
    let out = std::io::stdout();
    // No event asked for: only the reader's leaving wakes us.
    let mut polled =
        vec![PollFd::new(init, PollFlags::IN), PollFd::from_borrowed_fd(out.as_fd(), PollFlags::empty())];
    if let Some(watch) = watch {
        polled.push(PollFd::from_borrowed_fd(watch.as_fd(), PollFlags::IN));
    }
    match rustix::event::poll(&mut polled, Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(Error::os("wait for events", error.raw_os_error())),
    }
    let ready = |index: usize| polled.get(index).is_some_and(|fd| !fd.revents().is_empty());
    Ok(Woken { ended: ready(0), reader_left: ready(1), oom: ready(2) })
}
