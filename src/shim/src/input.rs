//! The process's standard input: what writers send, one packet at a time held back when it is full.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::io::Errno;

/// The standard input.
#[derive(Debug)]
pub struct Input {
    end: Option<OwnedFd>,
    waiting: Vec<u8>,
    sent: usize,
    closes: bool,
    closing: bool,
}

impl Input {
    /// `closes`: a writer's end is the end of the input. A terminal has no such end: it is told by a character.
    pub fn new(end: Option<OwnedFd>, closes: bool) -> Self {
        Self { end, waiting: Vec::new(), sent: 0, closes, closing: false }
    }

    /// Whether bytes wait for room: nothing more must be offered then.
    pub fn is_full(&self) -> bool {
        self.sent < self.waiting.len()
    }

    /// What to watch for room.
    pub fn blocked(&self) -> Option<BorrowedFd<'_>> {
        self.end.as_ref().filter(|_| self.is_full()).map(|end| end.as_fd())
    }

    /// Passes bytes on, or keeps what there is no room for. What nobody reads any more is dropped.
    pub fn offer(&mut self, bytes: &[u8]) {
        let written = self.write(bytes);
        let rest = bytes.get(written..).unwrap_or_default();
        if self.end.is_some() && !rest.is_empty() {
            self.sent = 0;
            self.waiting.clear();
            self.waiting.extend_from_slice(rest);
        }
    }

    /// Passes on what waited.
    pub fn flush(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        self.sent += self.write(waiting.get(self.sent..).unwrap_or_default());
        if self.end.is_some() && self.sent < waiting.len() {
            self.waiting = waiting;
            return;
        }
        self.sent = 0;
        if self.closing {
            self.end = None;
        }
    }

    /// A writer says that nothing more will come from it.
    pub fn writer_ends(&mut self) {
        if self.closes {
            self.closing = true;
            if !self.is_full() {
                self.end = None;
            }
        }
    }

    /// The process has ended.
    pub fn close(&mut self) {
        (self.end, self.waiting, self.sent) = (None, Vec::new(), 0);
    }

    fn write(&mut self, bytes: &[u8]) -> usize {
        let mut written = 0;
        while let (Some(end), rest @ [_, ..]) = (&self.end, bytes.get(written..).unwrap_or_default()) {
            match rustix::io::write(end, rest) {
                Ok(count) => written += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                // The process has closed it: EPIPE, and for a terminal EIO.
                Err(_gone) => self.end = None,
            }
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use rustix::pipe::{PipeFlags, pipe_with};

    use super::*;

    fn input(closes: bool) -> (OwnedFd, Input) {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).expect("a pipe");
        (read, Input::new(Some(write), closes))
    }

    fn drain(read: &OwnedFd) -> usize {
        let mut bytes = vec![0; 1 << 20];
        rustix::io::read(read, &mut bytes).unwrap_or(0)
    }

    #[test]
    fn what_has_no_room_waits_and_then_goes() {
        let (read, mut input) = input(true);
        input.offer(&vec![7; 100_000]);
        assert!(input.is_full() && input.blocked().is_some());
        input.writer_ends();
        let mut seen = drain(&read);
        input.flush();
        seen += drain(&read);
        assert_eq!(seen, 100_000);
        assert!(!input.is_full());
        assert_eq!(rustix::io::read(&read, &mut [0_u8; 1]), Ok(0), "the end follows the last byte");
    }

    #[test]
    fn without_once_a_writers_end_is_not_the_inputs() {
        let (read, mut input) = input(false);
        input.writer_ends();
        input.offer(b"x");
        assert_eq!(drain(&read), 1);
    }

    #[test]
    fn what_nobody_reads_is_dropped() {
        let (read, mut input) = input(true);
        input.offer(&vec![7; 100_000]);
        drop(read);
        input.flush();
        assert!(!input.is_full() && input.blocked().is_none());
        input.offer(b"x");
        assert!(!input.is_full());
    }
}
