//! Names for containers: what is asked at 127.0.0.11 in their network namespaces.
//!
//! Holds: names of networks, the sockets of containers, questions under way to other servers.
//! Never: privilege, files, a name of a network that the asking container is not on.
//! Imports: spec.
//! If broken: names resolve wrongly, or not at all; what it may reach then is other DNS servers.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::string_slice
    )
)]

pub mod answer;
mod asker;
mod coalesce;
mod daemon;
pub mod decide;
pub mod directory;
mod door;
mod pace;
mod packet;
pub mod question;
mod resolver;
mod serve;
#[cfg(test)]
mod tests;
pub mod upstream;

pub use resolver::run;
