//! Volumes, and files that go in and out of containers.

pub mod archive;
mod help;
mod output;
pub mod volumes;

pub use help::{Helping, help};
pub use output::Output;
pub use volumes::{Volume, VolumeAsked, Volumes};
