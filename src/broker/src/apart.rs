//! Networks of a user without root: in a network namespace of their own, apart from the host's, in which we stay.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use casemate_spec::wire::{Endpoint, Forward, HexId, Refusal, RefusalKind};
use casemate_spec::{Error, Result};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::Serialize;

use crate::broker::{Broker, refused};
use crate::refusal::refuse;
use crate::tree;

/// Where the host's sockets are handed in.
const FORWARD: &str = "forward.sock";

impl Broker {
    /// Refuses networks where there is no place for them.
    pub(crate) fn have_networks(&self) -> Result<(), Refusal> {
        if !self.host.rootless || self.arguments.namespace.is_some() {
            return Ok(());
        }
        let text = "networks need root of the host, or slirp4netns, which there was not at the start";
        let mut refusal = refuse(RefusalKind::Unsupported, text);
        let hint = "install the package slirp4netns and start casemate again, or see casemate.log; without, there are \
                    --network none, host and container:NAME";
        refusal.hint = Some(hint.to_owned());
        Err(refusal)
    }

    /// Does something in the network namespace of the networks: a thread's is its own.
    pub(crate) fn there<T: Send>(&self, what: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let Some(path) = &self.arguments.namespace else { return what() };
        let enter = || {
            let shown = path.display().to_string();
            let namespace = std::fs::File::open(path).map_err(|error| Error::io(&shown, &error))?;
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .map_err(|errno| tree::failed(&shown, errno))?;
            what()
        };
        let done = std::thread::scope(|scope| scope.spawn(enter).join());
        done.unwrap_or_else(|_| Err(Error::new("network namespace", "nothing could be done in it")))
    }

    /// Holds what is published, or none of it. Where networks are apart, each is handed in and held by a connection.
    pub(crate) fn reserve(&self, endpoints: &[Endpoint]) -> Result<Vec<(HexId, OwnedFd)>, Refusal> {
        let held = crate::ports::reserve(endpoints)?;
        if self.arguments.namespace.is_none() {
            return Ok(held);
        }
        let path = self.places.run.join(FORWARD);
        let ports = endpoints.iter().flat_map(|end| end.ports.iter().map(move |port| (end, port)));
        let handed = held.into_iter().zip(ports).filter_map(|((id, socket), (endpoint, port))| {
            let fits = |address: &std::net::IpAddr| address.is_ipv4() == port.host.is_ipv4();
            let to = endpoint.addresses.iter().map(|(address, _)| *address).find(fits)?;
            let word = Forward { protocol: port.protocol, to: (to, port.port).into() };
            Some(hand_in("forward", &path, &word, socket.as_fd()).map(|connection| (id, connection)))
        });
        handed.collect::<Result<_>>().map_err(refused)
    }

    /// Hands in again what was lost with whoever had it.
    pub(crate) fn renew_ports(&mut self) {
        if self.arguments.namespace.is_none() {
            return;
        }
        let lost = |(_, held): &(HexId, OwnedFd)| {
            rustix::net::recv(held, &mut [0; 1], RecvFlags::DONTWAIT) != Err(Errno::AGAIN)
        };
        let all = self.containers.iter();
        let lost = all.filter(|(_, one)| one.attached.iter().flat_map(|one| &one.ports).any(lost));
        for id in lost.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            match tree::open_dir(&self.places.bundles, id.as_str()) {
                Ok(bundle) => self.adopt_networks(&id, &bundle),
                Err(error) => crate::say(&error),
            }
        }
    }
}

/// Hands a descriptor in where somebody listens, and stays connected.
///
/// # Errors
/// The kernel's: nobody listens, or too much waits already.
pub fn hand_in(what: &str, path: &Path, word: &impl Serialize, given: BorrowedFd<'_>) -> Result<OwnedFd> {
    let failed = |errno| tree::failed(what, errno);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None);
    let socket = socket.map_err(failed)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path).map_err(failed)?).map_err(failed)?;
    let message = serde_json::to_vec(word).map_err(|error| Error::new(what, error.to_string()))?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let given = [given];
    if !control.push(SendAncillaryMessage::ScmRights(&given)) {
        return Err(failed(Errno::TOOBIG));
    }
    rustix::net::sendmsg(&socket, &[IoSlice::new(&message)], &mut control, SendFlags::NOSIGNAL)
        .map_err(failed)?;
    Ok(socket)
}
