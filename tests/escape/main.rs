//! Escapes: attacks on a container's walls from inside it, from its image and from its bundle, of the kinds that public
//! advisories against runc, crun, youki, containerd and Docker describe.
//!
//! Each attack first succeeds where nothing stops it: under policy `oci` with a bundle that asks for everything, or
//! in the hands of a careless program. Then every policy is tried, and what becomes of the attack has to be what the
//! table says.

mod attack;
mod binary;
mod bombs;
mod code;
mod comparison;
mod descriptors;
mod devices;
mod engine;
mod entering;
mod kernel_calls;
mod kernel_files;
mod namespaces;
mod owners;
mod requests;
mod rights;
mod sockets;
mod sources;
mod survey;
mod targets;
mod terminals;
