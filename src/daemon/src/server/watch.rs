//! What happens by the clock: connections that take too long or whose certificate has run out are closed, and files
//! that have changed are read again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use super::session::Phase;
use crate::service::Daemon;
use crate::tls::{Material, Trust};

/// How exactly times are kept.
const TICK: Duration = Duration::from_secs(1);

/// In seconds.
const DAY: i64 = 24 * 3600;
/// So long before its end, a revocation list is warned of.
const WEEK: i64 = 7 * DAY;

/// What is known of the files: by path, their size, time and inode.
type Seen = BTreeMap<PathBuf, (u64, Option<SystemTime>, u64)>;

/// Watches for ever.
pub async fn watch(daemon: Arc<Daemon>) {
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => return eprintln!("casemated: signals: {error}"),
    };
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = look(&daemon.places.etc);
    let mut lists = Lists::default();
    loop {
        let asked = tokio::select! {
            _ = tick.tick() => false,
            _ = hangup.recv() => true,
        };
        sweep(&daemon);
        let now = look(&daemon.places.etc);
        if asked || now != seen {
            reload(&daemon);
            seen = now;
        }
        lists.look(&daemon, i64::try_from(seconds().as_secs()).unwrap_or(i64::MAX));
    }
}

/// Closes connections that take too long.
fn sweep(daemon: &Daemon) {
    let limits = &daemon.limits;
    let today = seconds();
    for session in daemon.gate.sessions() {
        let late = match session.phase() {
            Phase::Idle(since) => since.elapsed() > limits.idle_time.0,
            Phase::Head(since) => since.elapsed() > limits.header_time.0,
            Phase::Busy => false,
        };
        if late || i64::try_from(today.as_secs()).is_ok_and(|today| today > session.not_after) {
            session.close();
        }
    }
}

/// Reads everything again that may have changed; what cannot be read leaves things as they were.
fn reload(daemon: &Daemon) {
    let begun = Instant::now();
    match Material::read(&daemon.places.etc.join("tls")).and_then(|files| Trust::new(files, daemon.tls)) {
        Ok(trust) => {
            daemon.trust.store(Arc::new(trust));
            close_unbelieved(daemon);
        }
        Err(why) => eprintln!("casemated: certificates are left as they were: {why}"),
    }
    daemon.reload_authority();
    eprintln!("casemated: certificates and policies read again in {} ms", begun.elapsed().as_millis());
}

/// Closes the connections of those who are believed no more.
fn close_unbelieved(daemon: &Daemon) {
    let trust = daemon.trust.load();
    for session in daemon.gate.sessions() {
        if !trust.believes(&session.chain, seconds()) {
            eprintln!("casemated: connection of {} closed: not believed any more", session.caller.identity);
            session.close();
        }
    }
}

/// What was said of revocation lists that end.
#[derive(Debug, Default)]
struct Lists {
    /// The end that it was said of, and when that will be said again.
    said: Option<(i64, i64)>,
    /// The end that has been acted on.
    over: Option<i64>,
}

impl Lists {
    /// Says what is to be said, and closes connections at the end.
    fn look(&mut self, daemon: &Daemon, now: i64) {
        let Some(end) = daemon.trust.load().lists_end else { return };
        if end - now > WEEK {
            return;
        }
        if now > end && self.over != Some(end) {
            self.over = Some(end);
            self.said = None;
            close_unbelieved(daemon);
        }
        // A clock that was set back must not silence it.
        if self.said.is_some_and(|(of, next)| of == end && (next - DAY..next).contains(&now)) {
            return;
        }
        self.said = Some((end, now + DAY));
        let when =
            jiff::Timestamp::from_second(end).map_or_else(|_| end.to_string(), |when| when.to_string());
        let what = match (now > end, daemon.tls.overdue_lists) {
            (false, _) => format!("ends at {when}"),
            (true, false) => format!("ended at {when}: no client is believed until there is a new one"),
            (true, true) => {
                format!("ended at {when}: it is believed all the same, as the configuration says")
            }
        };
        eprintln!("casemated: WARNING: the revocation list {what}; `casemate pki renew` makes a new one");
    }
}

fn seconds() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn look(etc: &Path) -> Seen {
    use std::os::unix::fs::MetadataExt;
    let mut seen = Seen::new();
    for folder in ["tls", "policies"] {
        let entries = std::fs::read_dir(etc.join(folder)).into_iter().flatten().flatten();
        for entry in entries {
            if let Ok(found) = std::fs::metadata(entry.path()) {
                seen.insert(entry.path(), (found.len(), found.modified().ok(), found.ino()));
            }
        }
    }
    seen
}
