//! `casemate-net` alone: real traffic between network namespaces that each test makes for itself. The host of a test is
//! such a namespace, too: the machine's own interfaces and rules are never touched.

mod bridge;
mod confined;
mod crash;
mod egress;
mod lab;
mod ports;
mod repair;
mod spoof;
mod tenants;
