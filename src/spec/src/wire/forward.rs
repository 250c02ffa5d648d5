//! Ports of the host, where networks are not in the host's network namespace: who holds one has it passed on to there.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::Protocol;

/// What the broker of a user without root says to `casemate forward`, one packet on a connection of its own, with a
/// socket of the host's beside it that is bound to the port. It is passed on for as long as the connection stays open;
/// connections that have been made through it are not its end's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Forward {
    /// How.
    pub protocol: Protocol,
    /// The container's address and port.
    pub to: SocketAddr,
}
