//! The addresses of a network, as a client asks for them.

use std::net::IpAddr;

use super::create::{IpamAsked, SubnetAsked};
use super::network::Subnet;
use super::range::Range;
use crate::{Failure, Result};

/// Reads what was asked of a network's addresses.
///
/// # Errors
/// In Docker's words: one is no range, or lies outside of the others.
pub fn read(ipam: &IpamAsked, internal: bool) -> Result<Vec<Subnet>> {
    let wrong = |failure: Failure| Failure::invalid(format!("invalid network config:\n{}", failure.message));
    let asked = ipam.config.iter().flatten().filter(|one| !one.subnet.is_empty());
    let subnets: Vec<Subnet> =
        asked.map(|one| subnet(one, internal)).collect::<Result<_>>().map_err(wrong)?;
    let bare = ipam.config.iter().flatten().find(|one| one.subnet.is_empty());
    if let Some(bare) = bare.filter(|bare| **bare != SubnetAsked::default()) {
        let what = if bare.gateway.is_empty() { "ip-range" } else { "gateway" };
        return Err(wrong(Failure::invalid(format!("{what} is given without a subnet"))));
    }
    for four in [true, false] {
        if subnets.iter().filter(|subnet| subnet.range.is_ipv4() == four).count() > 1 {
            let family = if four { "IPv4" } else { "IPv6" };
            return Err(wrong(Failure::invalid(format!(
                "more than one subnet of {family}: a network has one"
            ))));
        }
    }
    Ok(subnets)
}

fn subnet(asked: &SubnetAsked, internal: bool) -> Result<Subnet> {
    let range: Range = asked.subnet.parse()?;
    let fits = if range.is_ipv4() { 8..=30 } else { 16..=126 };
    if !fits.contains(&range.prefix()) {
        let message = format!(
            "invalid subnet {range}: a prefix of {} to {} bits is possible",
            fits.start(),
            fits.end()
        );
        return Err(Failure::invalid(message));
    }
    let inside = |what: &str, text: &str| -> Result<IpAddr> {
        // Some clients write the subnet's prefix behind it.
        let bare = text.split('/').next().unwrap_or_default();
        let address: IpAddr =
            bare.parse().map_err(|_| Failure::invalid(format!("invalid {what} {text}: no address")))?;
        if range.is_host(address) {
            return Ok(address);
        }
        let message = format!("invalid {what} {address}: parent subnet {range} doesn't contain this address");
        Err(Failure::invalid(message))
    };
    let ip_range = match asked.ip_range.as_str() {
        "" => None,
        text => {
            let ip_range: Range = text.parse()?;
            if !range.covers(&ip_range) {
                let message =
                    format!("invalid ip-range {ip_range}: parent subnet {range} doesn't contain ip-range");
                return Err(Failure::invalid(message));
            }
            Some(ip_range)
        }
    };
    let auxiliary = asked.auxiliary_addresses.iter().flatten();
    let auxiliary = auxiliary.map(|(name, text)| Ok((name.clone(), inside("auxiliary address", text)?)));
    let gateway = match asked.gateway.as_str() {
        "" => range.at(1),
        text => Some(inside("gateway", text)?),
    };
    Ok(Subnet {
        range,
        ip_range,
        reserved: gateway,
        gateway: gateway.filter(|_| !internal),
        auxiliary: auxiliary.collect::<Result<_>>()?,
        asked: true,
    })
}

/// One that nobody has asked for.
pub fn chosen(range: Range, internal: bool) -> Subnet {
    let reserved = range.at(1);
    Subnet {
        range,
        ip_range: None,
        reserved,
        gateway: reserved.filter(|_| !internal),
        auxiliary: std::collections::BTreeMap::new(),
        asked: false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(config: serde_json::Value) -> Result<Vec<Subnet>> {
        read(&serde_json::from_value(json!({ "Config": config })).expect("a configuration"), false)
    }

    #[test]
    fn subnets_are_read() {
        let read = asked(json!([{ "Subnet": "10.5.0.0/16", "IPRange": "10.5.8.0/24", "Gateway": "10.5.0.9",
            "AuxiliaryAddresses": { "router": "10.5.0.10" } }, { "Subnet": "fd00:5::/64" }]))
        .expect("read");
        assert_eq!(read[0].gateway, "10.5.0.9".parse().ok());
        assert_eq!(read[0].auxiliary["router"], "10.5.0.10".parse::<IpAddr>().expect("an address"));
        assert_eq!(read[1].gateway, "fd00:5::1".parse().ok());
        assert_eq!(asked(json!([{}])), Ok(Vec::new()));
    }

    #[test]
    fn what_lies_outside_is_refused_in_dockers_words() {
        let told = |config: serde_json::Value| {
            let failure = asked(config.clone()).expect_err("refused");
            failure.message.strip_prefix("invalid network config:\n").expect(&failure.message).to_owned()
        };
        assert_eq!(
            told(json!([{ "Subnet": "10.5.0.0/16", "Gateway": "10.6.0.1" }])),
            "invalid gateway 10.6.0.1: parent subnet 10.5.0.0/16 doesn't contain this address"
        );
        assert_eq!(
            told(json!([{ "Subnet": "10.5.0.0/16", "IPRange": "10.6.0.0/24" }])),
            "invalid ip-range 10.6.0.0/24: parent subnet 10.5.0.0/16 doesn't contain ip-range"
        );
        assert_eq!(
            told(json!([{ "Subnet": "10.5.0.1/16" }])),
            "invalid subnet 10.5.0.1/16: it should be 10.5.0.0/16"
        );
        for bad in [
            json!([{ "Subnet": "x" }]),
            json!([{ "Subnet": "10.0.0.0/31" }]),
            json!([{ "Subnet": "10.0.0.0/16", "Gateway": "10.0.255.255" }]),
            json!([{ "Subnet": "10.0.0.0/16", "AuxiliaryAddresses": { "a": "10.1.0.1" } }]),
            json!([{ "Subnet": "10.0.0.0/16" }, { "Subnet": "10.1.0.0/16" }]),
            json!([{ "Gateway": "10.0.0.1" }]),
        ] {
            told(bad);
        }
    }
}
