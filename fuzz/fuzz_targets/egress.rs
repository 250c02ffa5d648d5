//! A container's list of where it may connect to: whatever it says, together with its tenant's list it allows no more than
//! either, and what is allowed is what the broker takes.
#![no_main]

use casemate_engine::networks::Rules;
use casemate_spec::wire::{Allowed, NetOrder, Subnet};
use libfuzzer_sys::fuzz_target;

fn within(inner: &Allowed, outer: &Allowed) -> bool {
    let range = |one: &Allowed| Subnet { address: one.address, prefix: one.prefix, gateway: None };
    let ports = |one: &Allowed| one.ports.unwrap_or((0, u16::MAX));
    let ((low, high), (first, last)) = (ports(inner), ports(outer));
    range(outer).contains(inner.address)
        && outer.prefix <= inner.prefix
        && outer.protocol.is_none_or(|protocol| inner.protocol == Some(protocol))
        && first <= low
        && high <= last
}

fuzz_target!(|text: &str| {
    let Ok(own) = Rules::of_label(text) else { return };
    let listed = ["10.0.0.0/8:1-1023/tcp", "fd00::/16", "192.0.2.7:443", "*.example.org:443", "example.com"];
    let tenant = Rules::parse(listed).expect("a list");
    let both = own.both(&tenant);
    for line in &both.addresses {
        assert!(own.addresses.iter().any(|outer| within(line, outer)), "{line:?} of {own:?}");
        assert!(tenant.addresses.iter().any(|outer| within(line, outer)), "{line:?}");
    }
    for name in &both.names {
        let bare = name.name.trim_start_matches("*.");
        assert!(bare == "example.com" || bare.ends_with("example.org"), "{name:?}");
    }
    let order = NetOrder::Admit { from: Vec::new(), allowed: own.addresses, seconds: 1 };
    order.check().expect("what is read is what is taken");
});
