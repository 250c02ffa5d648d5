//! Connections that egress rules refuse, told in the audit log and to whoever listens to events. The kernel tells of each
//! by a socket that the broker has had prepared; here it is read, by nobody who could change a rule.

mod packet;
mod tally;
mod why;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use casemate_spec::wire::{Ask, Audited, HexId};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::sync::{Notify, watch};

use crate::containers::Container;
use crate::{Engine, Failure, Kind, Result, supervision};
pub use packet::{Denied, read};
use tally::{About, MOST, Tally, Told, WINDOW};
pub use why::of_name;

/// The first and the longest wait before a socket is asked for again.
const WAITS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));
/// How long a container's start waits for it: one that is slow must not keep containers from running.
const PATIENCE: Duration = Duration::from_millis(500);
/// The kernel's messages are a page at most.
const LONGEST: usize = 16 << 10;
/// So many are read before others have their turn.
const AT_ONCE: usize = 1024;

/// What is known of them.
#[derive(Debug, Default)]
pub struct Denials {
    /// Somebody has something to be refused.
    wanted: Notify,
    /// The socket was asked for, and came or did not.
    asked: watch::Sender<bool>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    socket: Option<Arc<UnixDatagram>>,
    /// The number of the next packet.
    next: Option<u32>,
    tally: Tally,
}

impl Denials {
    /// The socket is there when this comes back, if it can be had.
    pub async fn ready(&self) {
        self.wanted.notify_one();
        let mut asked = self.asked.subscribe();
        tokio::time::timeout(PATIENCE, asked.wait_for(|asked| *asked)).await.map(drop).unwrap_or_default();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Listens as long as the daemon lives, once there is somebody to be refused something.
pub fn follow(engine: &Arc<Engine>) {
    let engine = Arc::clone(engine);
    tokio::spawn(async move {
        let denials = &engine.networks.denials;
        denials.wanted.notified().await;
        let mut wait = WAITS.0;
        loop {
            match socket(&engine).await {
                Ok(socket) => {
                    denials.state().socket = Some(Arc::clone(&socket));
                    denials.asked.send_replace(true);
                    wait = WAITS.0;
                    serve(&engine, &socket).await;
                }
                Err(failure) if matches!(failure.kind, Kind::Unavailable | Kind::Unsupported) => {
                    denials.asked.send_replace(true);
                    return;
                }
                Err(failure) => {
                    // Once: what has failed is said when it begins to.
                    if !denials.asked.send_replace(true) {
                        say_unheard(&engine, &failure).await;
                    }
                    wait = (wait * 2).min(WAITS.1);
                }
            }
            tokio::time::sleep(wait).await;
        }
    });
}

async fn socket(engine: &Engine) -> Result<Arc<UnixDatagram>> {
    let (_, descriptors) = engine.broker.ask(Ask::Denials).await?;
    let socket =
        descriptors.into_iter().next().ok_or_else(|| Failure::failed("the broker sent no socket"))?;
    rustix::io::ioctl_fionbio(&socket, true).map_err(std::io::Error::from)?;
    // Its readiness is all that is used of this type.
    Ok(Arc::new(UnixDatagram::from_std(socket.into())?))
}

async fn say_unheard(engine: &Engine, failure: &Failure) {
    eprintln!("casemated: refused connections are not in the audit log: {failure}");
    let said = Audited {
        who: "casemated".to_owned(),
        tenant: String::new(),
        action: "egress.log".to_owned(),
        object: String::new(),
        verdict: "failed".to_owned(),
        reason: format!("refused connections are not told of: {failure}"),
    };
    // The broker's own log has the same.
    engine.broker.done(Ask::Audit(said), &[]).await.ok();
}

async fn serve(engine: &Arc<Engine>, socket: &UnixDatagram) {
    loop {
        let next = engine.networks.denials.state().tally.next();
        let wait = next.map_or(WINDOW, |next| next.saturating_duration_since(Instant::now()));
        tokio::select! {
            ready = socket.readable() => {
                let read = ready.and_then(|()| socket.try_io(Interest::READABLE, || take(engine, socket)));
                if let Err(error) = read && error.kind() != std::io::ErrorKind::WouldBlock {
                    eprintln!("casemated: refused connections: {error}");
                    return;
                }
            }
            () = tokio::time::sleep(wait) => {}
        }
        let due = engine.networks.denials.state().tally.due(Instant::now());
        due.iter().for_each(|told| tell(engine, told));
    }
}

/// Hears what there is by now: who was refused something is known as long as the container has its addresses.
pub fn catch_up(engine: &Arc<Engine>) {
    let socket = engine.networks.denials.state().socket.clone();
    if let Some(socket) = socket {
        // Whatever is wrong with it, the one who waits for it will see.
        take(engine, &socket).unwrap_or_default();
    }
}

/// The same, of a container that has ended, with what is still to be told of it.
pub fn end(engine: &Arc<Engine>, container: &HexId) {
    catch_up(engine);
    let told = engine.networks.denials.state().tally.end(container, Instant::now());
    told.iter().for_each(|told| tell(engine, told));
}

/// Reads until there is nothing: an error says so, for whoever waits for more.
fn take(engine: &Arc<Engine>, socket: &UnixDatagram) -> std::io::Result<()> {
    let mut bytes = vec![0; LONGEST];
    for _ in 0..AT_ONCE {
        match rustix::net::recv(socket, bytes.as_mut_slice(), RecvFlags::DONTWAIT) {
            Ok((read, _)) => {
                let all = packet::read(bytes.get(..read).unwrap_or_default());
                all.for_each(|denied| note(engine, socket, &denied));
            }
            // There was no room for some of them: the next one's number tells of how many.
            Err(Errno::NOBUFS | Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn note(engine: &Arc<Engine>, socket: &UnixDatagram, denied: &Denied) {
    let now = Instant::now();
    // Of a network that is gone, or of nobody.
    let bridge = rustix::net::netdevice::index_to_name(socket, denied.bridge).ok();
    let sender = bridge.and_then(|bridge| engine.networks.known().sender(&bridge, denied.source));
    let mut state = engine.networks.denials.state();
    if let Some(number) = denied.sequence {
        let missed = state.next.map_or(0, |next| number.wrapping_sub(next));
        state.next = Some(number.wrapping_add(1));
        // What is half of all numbers ahead is behind: the kernel counts anew.
        if (1..u32::MAX / 2).contains(&missed) {
            state.tally.miss(missed, now);
        }
    }
    let told = sender.and_then(|id| state.tally.note(&id, denied.target, denied.why, now));
    drop(state);
    told.into_iter().for_each(|told| tell(engine, &told));
}

/// Tells the audit log, and of a container's also whoever listens to its events.
fn tell(engine: &Arc<Engine>, told: &Told) {
    let missed = || Audited {
        who: "casemated".to_owned(),
        tenant: String::new(),
        action: "egress.missed".to_owned(),
        object: String::new(),
        verdict: "failed".to_owned(),
        reason: format!("{} refused connections were too many at once to be told of", told.more),
    };
    let more = |first: &str| match told.more {
        0 => first.to_owned(),
        more => format!("{first}; {more} more in {} s", WINDOW.as_secs()),
    };
    let said = match &told.about {
        About::Missed => Some(missed()),
        About::Others(id) => engine.containers.by_id(id).map(|container| {
            let reason = more(&format!("beyond {MOST} destinations"));
            denial(&container, "egress.address", "others", reason)
        }),
        About::Place(id, target, why) => engine.containers.by_id(id).map(|container| {
            let reason = why::of_address(engine, &container, target, *why);
            if told.more == 0 {
                let event = [("destination", target.to_string()), ("reason", reason.clone())];
                supervision::tell_listeners(engine, &container, "egress_denied", &event);
            }
            denial(&container, "egress.address", &target.to_string(), more(&reason))
        }),
    };
    let Some(said) = said else { return };
    let engine = Arc::clone(engine);
    // The next one is told, if this one cannot be.
    tokio::spawn(async move { engine.broker.done(Ask::Audit(said), &[]).await.ok() });
}

/// The line of the audit log about something that a container was refused.
pub fn denial(container: &Container, action: &str, object: &str, reason: String) -> Audited {
    Audited {
        who: format!("container {} {}", container.name(), container.id.short()),
        tenant: container.tenant.to_string(),
        action: action.to_owned(),
        object: object.to_owned(),
        verdict: "denied".to_owned(),
        reason,
    }
}
