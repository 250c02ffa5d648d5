//! Escapes: attacks on a container's walls from inside it, from its image and from its bundle, of the kinds that public
//! advisories against runc, crun, youki, containerd and Docker describe.
//!
//! Each attack first succeeds where nothing stops it: under policy `oci` with a bundle that asks for everything, or
//! against a peer. Then every policy is tried, and what becomes of the attack has to be what the table says.

mod attack;
mod comparison;
mod engine;
mod survey;
