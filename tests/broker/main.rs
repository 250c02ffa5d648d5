//! The broker, asked by a daemon of the test's own: what it does, and what a hostile one gets.

mod ends;
mod hostile;
mod networks;
mod rig;
mod runs;
