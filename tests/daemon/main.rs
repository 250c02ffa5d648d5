//! The daemon, as clients see it: the real docker command and raw connections over mutual TLS. One file an area.
//!
//! Two harnesses. [`World`] is everything: broker, daemon, shims, containers, with a data root of its own. [`Alone`] is
//! the daemon by itself, the test at the broker's end of the channel: what it is told there is what a test looks at,
//! and what it may do over the network is tried without a container.

mod access;
mod compose;
mod compose_v2;
mod crashes;
mod create;
mod crowd;
mod denials;
mod dice;
mod down;
mod egress;
mod egress_names;
mod endpoints;
mod exec;
mod exhaustion;
mod explain;
mod files;
mod full;
mod harness;
mod health;
mod host;
mod images;
mod inside;
mod inspect;
mod lab;
mod list;
mod logs;
mod low_ports;
mod macvlan;
mod metadata;
mod names;
mod neighbours;
mod networks;
mod overdue;
mod ports;
mod published;
mod pulls;
mod reboot;
mod registry;
mod restart;
mod roles;
mod rootless;
mod rootless_networks;
mod run;
mod sdk;
mod signed;
mod spoof;
mod streams;
mod system;
mod tenants;
mod upstream;
mod volumes;

pub use harness::{ADMIN, Alone, Authority, Certificate, Client, Reply, Shape, World};
