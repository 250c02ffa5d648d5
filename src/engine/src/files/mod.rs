//! Volumes, and files that go in and out of containers.

pub mod archive;
mod commit;
mod help;
mod output;
pub mod volumes;

pub use commit::{CommitAsked, commit};
pub use help::{Helping, help};
pub use output::Output;
pub use volumes::{Volume, VolumeAsked, Volumes};
