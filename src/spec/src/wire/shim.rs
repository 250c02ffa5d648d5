//! What a shim is told, and what is said on a connection to one.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The longest packet on a connection to a shim, its kind included.
pub const PACKET: usize = 64 << 10;

/// Where a container's lines are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LogOrder {
    /// Nowhere.
    None,
    /// In Docker's `json-file` form in the log directory: `json.log`, then `json.log.1` and so on.
    JsonFile {
        /// Begin a new file at this many bytes; 0 is never.
        max_size: u64,
        /// Keep so many files, at least 1.
        max_files: u32,
    },
    /// To journald, by its native protocol (systemd.journal-fields(7)), with these fields.
    Journald {
        /// Names and values.
        fields: Vec<(String, String)>,
    },
}

/// What the broker tells a shim, in one message of JSON on its standard input, a `SOCK_SEQPACKET` socket. The shim may have
/// waited for it since long ago; where the socket ends without one, so does the shim. Its only argument is the path of a
/// runtime to stand by (`runtime standby`): an order that names the same is carried out by that process.
/// Descriptors, in this order: the directory for `exit.json`, a listening `SOCK_SEQPACKET` socket for connections to
/// come, the first connection, and the log directory where `streams.log` is a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Order {
    /// The runtime's path and arguments, complete but for `--console-socket` (the shim adds it for a terminal, before
    /// the container's id, which is the last argument) and `--pid-file` (for a runtime that did not stand by).
    pub runtime: Vec<String>,
    /// What becomes of the standard streams.
    pub streams: super::Streams,
    /// User and group to be from the moment the runtime has returned.
    pub identity: (u32, u32),
}

/// What a shim answers on its standard input, once, when the runtime has returned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// It runs.
    Started {
        /// The process.
        pid: i32,
    },
    /// It does not, and the shim ends.
    Failed {
        /// What the runtime wrote to its standard error, the last 16 KiB of it.
        message: String,
        /// The runtime's exit status.
        code: i32,
    },
}

/// A packet on a connection to a shim: a byte for its kind, then the content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame<'a> {
    /// From us: bytes for the standard input.
    Stdin(&'a [u8]),
    /// From us: nothing more will come for the standard input.
    CloseStdin,
    /// From us: the terminal's rows and columns.
    Resize(u16, u16),
    /// From the shim: bytes of the standard output, or of the terminal.
    Stdout(&'a [u8]),
    /// From the shim: bytes of the standard error.
    Stderr(&'a [u8]),
    /// From the shim, the last: the process has ended and all its output was sent. JSON of [`super::Exited`].
    Exited(&'a [u8]),
    /// From the shim, first on each connection: the process, as the host numbers it.
    Running(i32),
}

impl<'a> Frame<'a> {
    /// The packet's first byte.
    pub fn kind(&self) -> u8 {
        match self {
            Self::Stdin(_) => 0,
            Self::Stdout(_) => 1,
            Self::Stderr(_) => 2,
            Self::CloseStdin => 3,
            Self::Resize(..) => 4,
            Self::Exited(_) => 5,
            Self::Running(_) => 6,
        }
    }

    /// The packet.
    pub fn encode(&self) -> Vec<u8> {
        let mut packet = vec![self.kind()];
        match self {
            Self::Stdin(bytes) | Self::Stdout(bytes) | Self::Stderr(bytes) | Self::Exited(bytes) => {
                packet.extend_from_slice(bytes);
            }
            Self::CloseStdin => {}
            Self::Resize(rows, columns) => {
                packet.extend_from_slice(&rows.to_le_bytes());
                packet.extend_from_slice(&columns.to_le_bytes());
            }
            Self::Running(pid) => packet.extend_from_slice(&pid.to_le_bytes()),
        }
        packet
    }

    /// Reads a packet.
    ///
    /// # Errors
    /// It is none of these.
    pub fn decode(packet: &'a [u8]) -> Result<Self> {
        let refuse = || Error::new("packet", "it is none that a shim or its peer sends");
        let (kind, content) = packet.split_first().ok_or_else(refuse)?;
        Ok(match (kind, content) {
            (0, bytes) => Self::Stdin(bytes),
            (1, bytes) => Self::Stdout(bytes),
            (2, bytes) => Self::Stderr(bytes),
            (3, []) => Self::CloseStdin,
            (4, &[a, b, c, d]) => Self::Resize(u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])),
            (5, bytes) => Self::Exited(bytes),
            (6, &[a, b, c, d]) => Self::Running(i32::from_le_bytes([a, b, c, d])),
            _ => return Err(refuse()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_survive_the_way() {
        for frame in [
            Frame::Stdin(b"x"),
            Frame::Stdout(b""),
            Frame::Stderr(b"\0\xff"),
            Frame::CloseStdin,
            Frame::Resize(24, 80),
            Frame::Exited(b"{}"),
            Frame::Running(-1),
        ] {
            assert_eq!(Frame::decode(&frame.encode()).expect("a packet"), frame);
        }
        for bad in [&b""[..], &[3, 1], &[4, 1, 2, 3], &[6], &[7], &[255, 0]] {
            assert!(Frame::decode(bad).is_err(), "{bad:?}");
        }
    }
}
