//! Networks of the host: one order, done as a whole or not at all, and the end.
//!
//! Holds: bridges, pairs of interfaces, their addresses and routes, and the rules of two tables of our own.
//! Never: a socket that listens on the host, a rule of anybody else's, a name that was not derived from an id.
//! Imports: `core` (the bounding set, which Landlock the kernel has), `spec`.
//! If broken: containers reach what they must not, or are reached.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod arguments;
mod attach;
mod denials;
mod flows;
mod link;
pub mod netlink;
mod network;
mod order;
mod privilege;
mod resolver;
mod rules;
mod settings;

use std::ffi::OsString;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;

use casemate_spec::wire::NetOrder;
use casemate_spec::{Error, Result};

use arguments::{Arguments, Asked};
use link::Links;
use privilege::Needs;

/// The program.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let done = arguments::parse(arguments).and_then(|asked| match asked {
        Asked::Work(arguments) => work(&arguments),
        Asked::Print(text) => {
            std::io::stdout().write_all(text.as_bytes()).map_err(|error| Error::io("standard output", &error))
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let hint = error.remedy().map(|hint| format!("hint: {hint}\n")).unwrap_or_default();
            let text = format!("casemate-net: {error}\n{hint}");
            // There is nobody left to tell when this is gone.
            std::io::stderr().write_all(text.as_bytes()).unwrap_or_default();
            ExitCode::from(error.exit_code())
        }
    }
}

fn work(arguments: &Arguments) -> Result<()> {
    privilege::shed()?;
    let host = arguments.namespace.as_deref().map(go_there).transpose()?;
    let order = order::read(arguments)?;
    // Whatever only root may open.
    let namespace = match &order {
        NetOrder::Attach { pid, .. } => Some(attach::target(*pid)?),
        NetOrder::Detach { inside: true, .. } => Some(attach::target(0)?),
        _ => None,
    };
    let resolver = match &order {
        NetOrder::Attach { resolver: Some(_), .. } => Some(resolver::connect(arguments)?),
        _ => None,
    };
    privilege::settle(Needs::of(&order))?;
    if let (NetOrder::Make { network, .. }, Some(host)) = (&order, &host) {
        network::check(network, host)?;
    }
    carry_out(&order, namespace, resolver, arguments)?;
    match order {
        // It has said so before its end; there, the standard output is where the kernel's words go.
        NetOrder::Detach { .. } | NetOrder::Listen => Ok(()),
        _ => done(),
    }
}

/// Says that what was asked is done: whoever waits for it need not wait for our end.
fn done() -> Result<()> {
    std::io::stdout().write_all(b"done\n").map_err(|error| Error::io("standard output", &error))
}

/// Goes where the networks are, and keeps an eye on the host's own, which can be reached from there, too.
fn go_there(namespace: &Path) -> Result<Links> {
    let host = Links::open()?;
    attach::enter(&attach::open(namespace)?)?;
    Ok(host)
}

fn carry_out(
    order: &NetOrder,
    namespace: Option<OwnedFd>,
    resolver: Option<OwnedFd>,
    arguments: &Arguments,
) -> Result<()> {
    match order {
        NetOrder::Make { network, kin } => network::make(network, kin, arguments),
        NetOrder::Drop { network, kin } => network::remove(network, kin, arguments),
        NetOrder::Attach { endpoints, networks, resolver: container, .. } => {
            let target = namespace.ok_or_else(|| Error::new("network namespace", "there is none"))?;
            attach::attach(&target, endpoints, networks, container.as_ref().zip(resolver.as_ref()), arguments)
        }
        NetOrder::Detach { endpoints, networks, .. } => {
            attach::detach(endpoints, networks, namespace.as_ref(), arguments)
        }
        NetOrder::Repair { networks, endpoints } => network::repair(networks, endpoints, arguments),
        NetOrder::Admit { from, allowed, seconds } => {
            rules::Rules::open(&arguments.table)?.renew(&rules::admitted(from, allowed, *seconds))
        }
        NetOrder::Listen => denials::listen(rustix::stdio::stdout(), &arguments.table),
    }
}
