//! Containers on disk: `<root>/<id>/`, one directory a container.
//!
//! | file | what it is |
//! |---|---|
//! | `lock` | `flock(2)`ed exclusively by a command that changes the container; `create` holds it for its whole run |
//! | `state.json` | the [`Record`]; replaced by rename, so it is old or new and never half |
//! | `config.json` | the bundle's configuration as it was at `create` |
//! | `policy.toml` | the policy it was judged by, whole |
//! | `waiting` | `flock`ed by an init that was not started yet; the kernel drops that lock at execve or death |
//! | `start.sock` | where that init listens for `start` |
//!
//! Locks belong to open file descriptions, so a child that inherits one keeps it held: a child must close the
//! descriptor of `lock`, and a parent that of `waiting`, as soon as they have parted.

mod container;
mod home;
mod init;
mod lock;
mod record;
mod root;

#[cfg(test)]
mod tests;

pub use container::{Container, Status};
pub use home::{CONFIG, Home, POLICY, START_SOCKET, WAITING, missing};
pub use init::{Init, start_time};
pub use lock::Lock;
pub use record::{Enforced, InitRecord, Phase, Record};
pub use root::{Reserved, Root};
