//! An order to casemate-net: what passes its check names interfaces by ids alone, has addresses that are its networks', and
//! is the same when it is written and read again.
#![no_main]

use casemate_spec::wire::{Endpoint, NetOrder, Network};
use libfuzzer_sys::fuzz_target;

fn is_ours(name: &str) -> bool {
    let digits = name.strip_prefix("cmb").or_else(|| name.strip_prefix("cmv"));
    digits.is_some_and(|digits| digits.len() == 12 && digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn all(order: &NetOrder) -> (Vec<&Network>, Vec<&Endpoint>) {
    match order {
        NetOrder::Make { network, .. } | NetOrder::Drop { network, .. } => (vec![network], vec![]),
        NetOrder::Attach { networks, endpoints, .. }
        | NetOrder::Detach { networks, endpoints, .. }
        | NetOrder::Repair { networks, endpoints } => (networks.iter().collect(), endpoints.iter().collect()),
        NetOrder::Admit { .. } | NetOrder::Listen => (vec![], vec![]),
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(order) = serde_json::from_slice::<NetOrder>(bytes) else { return };
    if order.check().is_err() {
        return;
    }
    let (networks, endpoints) = all(&order);
    for network in &networks {
        assert!(is_ours(&network.bridge()), "{}", network.bridge());
        for subnet in &network.subnets {
            assert!(!subnet.is_special() && subnet.gateway.is_none_or(|gateway| subnet.has_host(gateway)));
        }
    }
    for endpoint in &endpoints {
        assert!(is_ours(&endpoint.host_interface()) && endpoint.interface().len() < 16);
        if matches!(order, NetOrder::Attach { .. }) {
            let network = networks.iter().find(|network| network.id == endpoint.network).expect("its network");
            let own = |address| network.subnets.iter().any(|subnet| subnet.has_host(address));
            assert!(endpoint.addresses.iter().all(|(address, _)| own(*address)));
        }
    }
    let again = serde_json::to_vec(&order).expect("JSON");
    assert_eq!(serde_json::from_slice::<NetOrder>(&again).expect("an order"), order);
});
