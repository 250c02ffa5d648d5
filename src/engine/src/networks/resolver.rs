//! Our end of the channel to the resolver. What it should know is worked out anew at every change, and what differs from
//! what it was told is said: nothing can be lost on the way, and a resolver that was started again learns the whole.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use casemate_spec::wire::{Allowed, Ask, HexId, Names, Said};
use rustix::net::{RecvFlags, SendFlags};
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::sync::{Notify, mpsc, watch};

use super::denials;
use super::egress::is_link_local;
use super::names::{Key, wanted};
use crate::{Engine, Kind, Result, supervision};

/// The first and the longest wait before a resolver that is gone is looked for again.
const WAITS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(10));
/// How long a start waits for its names to be known. A resolver that is slower must not keep containers from running.
const PATIENCE: Duration = Duration::from_millis(500);
/// The longest word of the resolver's.
const LONGEST: usize = 64 << 10;

/// What has to be said, and what has been.
#[derive(Debug, Default)]
pub struct Resolver {
    changed: Notify,
    /// Changes so far.
    asked: AtomicU64,
    /// Those of them that have been said; nothing where there is no resolver.
    said: watch::Sender<Option<u64>>,
}

impl Resolver {
    /// Something has changed.
    pub fn wake(&self) -> u64 {
        let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        self.changed.notify_one();
        number
    }

    /// Something has changed, and the resolver knows it when this comes back, if there is one.
    pub async fn settle(&self) {
        let number = self.wake();
        let mut said = self.said.subscribe();
        let known = said.wait_for(|said| said.is_none_or(|said| said >= number));
        // One that does not take what it is told is told again once it does.
        tokio::time::timeout(PATIENCE, known).await.map(drop).unwrap_or_default();
    }
}

/// Talks to the resolver as long as the daemon lives.
pub fn follow(engine: &Arc<Engine>) {
    let engine = Arc::clone(engine);
    engine.networks.resolver.said.send_replace(Some(0));
    tokio::spawn(async move {
        let mut wait = WAITS.0;
        loop {
            // Nobody is looked for before somebody has something to ask.
            let resolver = &engine.networks.resolver;
            loop {
                let number = resolver.asked.load(Ordering::SeqCst);
                if !wanted(&engine).is_empty() {
                    break;
                }
                resolver.said.send_replace(Some(number));
                resolver.changed.notified().await;
            }
            match channel(&engine).await {
                Ok(socket) => {
                    wait = WAITS.0;
                    serve(&engine, &socket).await;
                    resolver.said.send_replace(Some(0));
                }
                Err(failure) if failure.kind == Kind::Unavailable => return,
                Err(failure) => {
                    eprintln!("casemated: resolver: {failure}");
                    resolver.said.send_replace(None);
                    wait = (wait * 2).min(WAITS.1);
                }
            }
            tokio::time::sleep(wait).await;
        }
    });
}

async fn channel(engine: &Engine) -> Result<UnixDatagram> {
    let (_, descriptors) = engine.broker.ask(Ask::Resolver).await?;
    let socket: OwnedFd =
        descriptors.into_iter().next().ok_or_else(|| crate::Failure::failed("the broker sent no channel"))?;
    rustix::io::ioctl_fionbio(&socket, true).map_err(std::io::Error::from)?;
    Ok(UnixDatagram::from_std(socket.into())?)
}

/// Until the resolver is gone.
async fn serve(engine: &Arc<Engine>, socket: &UnixDatagram) {
    let (answers, mut answered) = mpsc::unbounded_channel();
    let mut known = BTreeMap::new();
    if send(socket, &Names::Reset).await.is_err() || say(engine, socket, &mut known).await.is_err() {
        return;
    }
    if send(socket, &Names::Complete).await.is_err() {
        return;
    }
    let mut packet = vec![0; LONGEST];
    loop {
        tokio::select! {
            () = engine.networks.resolver.changed.notified() => {
                if say(engine, socket, &mut known).await.is_err() {
                    return;
                }
            }
            Some(answer) = answered.recv() => {
                if send(socket, &answer).await.is_err() {
                    return;
                }
            }
            read = receive(socket, &mut packet) => {
                let Ok(read @ 1..) = read else { return };
                if let Some(Ok(said)) = packet.get(..read).map(serde_json::from_slice::<Said>) {
                    hear(engine, said, answers.clone());
                }
            }
        }
    }
}

/// Says what differs.
async fn say(
    engine: &Arc<Engine>,
    socket: &UnixDatagram,
    known: &mut BTreeMap<Key, Names>,
) -> std::io::Result<()> {
    let number = engine.networks.resolver.asked.load(Ordering::SeqCst);
    let now = wanted(engine);
    // Who asks is known before the names are there, and goes after them.
    for key in known.keys().filter(|key| !now.contains_key(key)) {
        send(socket, &key.taken_back()).await?;
    }
    for (key, word) in &now {
        if known.get(key) != Some(word) {
            send(socket, word).await?;
        }
    }
    *known = now;
    engine.networks.resolver.said.send_replace(Some(number));
    Ok(())
}

async fn send(socket: &UnixDatagram, word: &Names) -> std::io::Result<()> {
    let packet = serde_json::to_vec(word)?;
    let send = || Ok(rustix::net::send(socket, &packet, SendFlags::NOSIGNAL)?);
    socket.async_io(Interest::WRITABLE, send).await.map(drop)
}

async fn receive(socket: &UnixDatagram, packet: &mut [u8]) -> std::io::Result<usize> {
    let receive = || Ok(rustix::net::recv(socket, &mut *packet, RecvFlags::empty())?.0);
    socket.async_io(Interest::READABLE, receive).await
}

fn hear(engine: &Arc<Engine>, said: Said, answers: mpsc::UnboundedSender<Names>) {
    let engine = Arc::clone(engine);
    tokio::spawn(async move {
        match said {
            Said::Resolved { number, container, allowed, seconds } => {
                let yes = admit(&engine, &container, allowed, seconds).await;
                answers.send(Names::Admitted { number, yes }).ok();
            }
            Said::Refused { container, name } => refused(&engine, &container, name).await,
        }
    });
}

/// A name may stand for anything its owner likes: not for the host itself, nor for what clouds keep beside it.
async fn admit(engine: &Engine, container: &HexId, mut allowed: Vec<Allowed>, seconds: u32) -> bool {
    allowed.retain(|one| {
        let address = one.address;
        let own = address.is_loopback() || address.is_unspecified() || address.is_multicast();
        !own && !is_link_local(address)
    });
    if allowed.is_empty() {
        return false;
    }
    let ask = Ask::Admit { id: container.clone(), allowed, seconds };
    match engine.broker.done(ask, &[]).await {
        Ok(()) => true,
        Err(failure) => {
            eprintln!("casemated: container {}: egress: {failure}", container.short());
            false
        }
    }
}

async fn refused(engine: &Engine, container: &HexId, name: String) {
    let Some(found) = engine.containers.by_id(container) else { return };
    let reason = denials::of_name(engine, &found, &name);
    let event = [("destination", name.clone()), ("reason", reason.clone())];
    supervision::tell_listeners(engine, &found, "egress_denied", &event);
    let said = denials::denial(&found, "egress.name", &name, reason);
    // The next denial is told, if this one cannot be.
    engine.broker.done(Ask::Audit(said), &[]).await.ok();
}
