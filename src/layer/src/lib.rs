//! Work on the files of images, containers and volumes, done by a short-lived helper that holds no privilege.
//!
//! Holds: the reader and writer of tar archives, unpacking, packing, comparing and copying trees.
//! Never: a path that was not resolved beneath a descriptor, a network, a policy.
//! Imports: spec.
//! If broken: a hostile archive writes beneath the one directory that the helper was given, and nowhere else.
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

pub mod archive;
pub mod changes;
pub mod copy;
pub mod copy_up;
pub mod door;
pub mod input;
pub mod limits;
pub mod pack;
pub mod place;
pub mod size;
pub mod task;
pub mod unpack;
pub mod user;
pub mod walk;
