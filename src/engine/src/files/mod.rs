//! Volumes, and files that go in and out of containers.

mod help;
pub mod volumes;

pub use help::help;
pub use volumes::{Volume, VolumeAsked, Volumes};
