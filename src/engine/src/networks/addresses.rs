//! Which address a container gets. What is taken is not kept anywhere but in the endpoints themselves, so that nothing
//! can be lost and nothing counted twice.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::network::Subnet;
use crate::{Failure, Kind, Result};

/// The lowest free address of a subnet, if there is one; `wanted` is exactly that one.
///
/// # Errors
/// In Docker's words: the one that is wanted is not free.
pub fn choose(subnet: &Subnet, taken: &BTreeSet<IpAddr>, wanted: Option<IpAddr>) -> Result<Option<IpAddr>> {
    let reserved = |address: IpAddr| {
        subnet.reserved == Some(address)
            || subnet.auxiliary.values().any(|other| *other == address)
            || taken.contains(&address)
    };
    if let Some(wanted) = wanted {
        if !subnet.range.is_host(wanted) {
            return Err(Failure::invalid("Requested address is out of range"));
        }
        return match reserved(wanted) {
            true => Err(Failure::new(Kind::Forbidden, "Address already in use")),
            false => Ok(Some(wanted)),
        };
    }
    let from = subnet.ip_range.unwrap_or(subnet.range);
    // There are fewer addresses in use than can be counted; so many steps further there is one that is free.
    let steps = taken.len() + subnet.auxiliary.len() + 4;
    let free = (0..=from.offsets()).take(steps).filter_map(|offset| from.at(offset));
    let mut free = free.filter(|address| subnet.range.is_host(*address) && !reserved(*address));
    Ok(free.next())
}

/// Docker's own: the same for an address as long as it lasts, so that neighbours need not learn it anew.
pub fn mac(address: IpAddr) -> [u8; 6] {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            [0x02, 0x42, a, b, c, d]
        }
        IpAddr::V6(address) => {
            let [.., a, b, c, d] = address.octets();
            [0x02, 0x42, a, b, c, d]
        }
    }
}

/// `02:42:ac:11:00:02`
pub fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// Two digits.
fn hex(text: &str) -> Option<u8> {
    let digits = text.len() == 2 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    digits.then(|| u8::from_str_radix(text, 16).ok())?
}

/// Reads one. It must be one machine's, not a group's; and not one that a vendor has given out, for nobody on the host's
/// side may be taken for a device that there is.
///
/// # Errors
/// It is none of that kind.
pub fn parse_mac(text: &str) -> Result<[u8; 6]> {
    let bytes: Option<Vec<u8>> = text.split([':', '-']).map(hex).collect();
    let mac = bytes.and_then(|bytes| <[u8; 6]>::try_from(bytes).ok());
    let mac = mac.ok_or_else(|| Failure::invalid(format!("address {text}: invalid MAC address")))?;
    if mac[0] & 1 != 0 || mac == [0; 6] {
        return Err(Failure::invalid(format!("address {text}: not the address of one device")));
    }
    if mac[0] & 2 == 0 {
        let message =
            format!("address {text}: not locally administered: the second digit must be 2, 6, a or e");
        return Err(Failure::invalid(message));
    }
    Ok(mac)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::range::Range;
    use super::*;

    fn subnet(range: &str, ip_range: Option<&str>) -> Subnet {
        let range: Range = range.parse().expect("a range");
        Subnet {
            range,
            ip_range: ip_range.map(|range| range.parse().expect("a range")),
            reserved: range.at(1),
            gateway: range.at(1),
            auxiliary: [("router".to_owned(), range.at(2).expect("an address"))].into(),
            asked: true,
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn the_lowest_free_one_is_given() {
        let net = subnet("10.0.0.0/29", None);
        let mut taken = BTreeSet::new();
        for expected in ["10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"] {
            assert_eq!(choose(&net, &taken, None), Ok(Some(ip(expected))));
            taken.insert(ip(expected));
        }
        assert_eq!(choose(&net, &taken, None), Ok(None));
        taken.remove(&ip("10.0.0.4"));
        assert_eq!(choose(&net, &taken, None), Ok(Some(ip("10.0.0.4"))));
        let within = subnet("10.0.0.0/16", Some("10.0.5.0/24"));
        assert_eq!(choose(&within, &BTreeSet::new(), None), Ok(Some(ip("10.0.5.0"))));
        assert_eq!(choose(&subnet("fd00::/64", None), &BTreeSet::new(), None), Ok(Some(ip("fd00::3"))));
    }

    #[test]
    fn a_wanted_one_is_given_if_it_is_free() {
        let net = subnet("10.0.0.0/24", None);
        let taken = BTreeSet::from([ip("10.0.0.9")]);
        assert_eq!(choose(&net, &taken, Some(ip("10.0.0.8"))), Ok(Some(ip("10.0.0.8"))));
        for used in ["10.0.0.1", "10.0.0.2", "10.0.0.9"] {
            let failure = choose(&net, &taken, Some(ip(used))).expect_err(used);
            assert_eq!(failure.message, "Address already in use");
        }
        for out in ["10.0.0.0", "10.0.0.255", "10.0.1.1", "fd00::1"] {
            assert!(choose(&net, &taken, Some(ip(out))).is_err(), "{out}");
        }
    }

    #[test]
    fn hardware_addresses_are_ones_own() {
        assert_eq!(mac_text(mac(ip("172.17.0.2"))), "02:42:ac:11:00:02");
        assert_eq!(parse_mac("02-42-AC-11-00-02"), Ok(mac(ip("172.17.0.2"))));
        for bad in [
            "",
            "02:42:ac:11:00",
            "01:00:5e:00:00:01",
            "00:00:00:00:00:00",
            "00:1a:2b:3c:4d:5e",
            "02:42:ac:11:00:+2",
        ] {
            assert!(parse_mac(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_address_is_given_twice(prefix in 20_u8..=30, steps in proptest::collection::vec((any::<bool>(), 0_usize..64), 1..200)) {
            let net = subnet(&format!("10.1.0.0/{prefix}"), None);
            let mut taken = BTreeSet::new();
            for (give, back) in steps {
                if give {
                    match choose(&net, &taken, None).expect("none is wanted") {
                        Some(address) => {
                            prop_assert!(net.range.is_host(address) && Some(address) != net.gateway);
                            prop_assert!(taken.insert(address), "{} was taken", address);
                        }
                        None => prop_assert_eq!(taken.len() as u128 + 3 + 1, net.range.offsets() + 1),
                    }
                } else if let Some(address) = taken.iter().nth(back).copied() {
                    taken.remove(&address);
                }
            }
        }
    }
}
