//! The helper for files, as the runtime starts it: root of a user namespace of its own, in a root that holds nothing but
//! what the task is about. Each hostile archive is tried on plain `tar` first, where that falls for it.

mod archive;
mod bounds;
mod changes;
mod copy;
mod hostile;
mod program;
mod round_trip;
mod whiteouts;
