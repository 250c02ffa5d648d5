//! `casemate-dns` with real sockets: containers are network namespaces that a test makes, the daemon and other servers
//! are the test itself.

mod allowed;
mod confined;
mod crowd;
mod forward;
mod hostile;
mod names;
mod rig;
