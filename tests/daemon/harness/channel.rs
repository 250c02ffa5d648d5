//! The broker's end of the channel, in a test's hands.

use std::io::{IoSlice, IoSliceMut, Read, Seek};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use casemate_spec::wire::{Answer, DESCRIPTORS, IN_MEMFD, INLINE, Refusal, Reply, Request};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

/// Takes a request, if there is one more.
///
/// # Panics
/// When it cannot be read.
pub fn receive(socket: &OwnedFd) -> Option<Request> {
    let mut buffer = vec![0_u8; INLINE + 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let read = recvmsg(socket, &mut [IoSliceMut::new(&mut buffer)], &mut control, flags).ok()?.bytes;
    if read == 0 {
        return None;
    }
    let mut descriptors: Vec<OwnedFd> = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            descriptors.extend(received);
        }
    }
    let mut message = buffer[..read].to_vec();
    if message == [IN_MEMFD] {
        let mut file = std::fs::File::from(descriptors.remove(0));
        message.clear();
        file.rewind().and_then(|()| file.read_to_end(&mut message)).expect("read a memfd");
    }
    Some(serde_json::from_slice(&message).expect("a request"))
}

/// Answers one.
///
/// # Panics
/// When it cannot be sent.
pub fn reply(socket: &OwnedFd, number: u64, answer: Result<Answer, Refusal>, with: Option<BorrowedFd<'_>>) {
    let message = serde_json::to_vec(&Reply { number, answer }).expect("an answer");
    let descriptors: Vec<BorrowedFd<'_>> = with.into_iter().collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)), "a descriptor fits");
    }
    // The daemon may have ended meanwhile.
    sendmsg(socket.as_fd(), &[IoSlice::new(&message)], &mut control, SendFlags::NOSIGNAL).ok();
}
