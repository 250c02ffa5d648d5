//! What every test of the daemon begins with.

mod alone;
mod channel;
mod client;
mod disk;
mod pki;
mod programs;
mod scratch;
mod wire;
mod world;

pub use alone::Alone;
pub use client::{Client, Reply, read_reply};
pub use pki::{Authority, Certificate, Shape, write_whole};
pub use programs::libexec;
pub use scratch::Scratch;
pub use wire::{Outside, Server, ask_tcp, ask_udp, within};
pub use world::{ADMIN, IMAGE, World};
