//! `casemate-shim`, told by a broker of the test's own what to do: with our runtime where containers are what is tested,
//! with plain programs in its place elsewhere.

mod broker;
mod confinement;
mod ends;
mod init;
mod journal;
mod log;
mod standby;
mod start;
mod streams;
mod terminal;
