//! What of the configuration is about networks.

use casemate_engine::networks::{Pool, Range, Rules};
use casemate_spec::wire::Tenant;
use serde::Deserialize;
use toml::Spanned;

use super::Config;
use super::fault::Fault;

/// One of `default-address-pools`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AddressPool {
    /// The range, `10.10.0.0/16`.
    pub base: Spanned<String>,
    /// How large each network is, as the length of its prefix.
    pub size: Spanned<u8>,
}

/// `[tenants.NAME.egress]`
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Egress {
    /// Addresses and names; nothing else can be reached.
    pub allow: Vec<Spanned<String>>,
}

impl AddressPool {
    fn read(&self) -> Result<Pool, Fault> {
        let base: Range = self
            .base
            .get_ref()
            .parse()
            .map_err(|_| Fault::at(&self.base, "expected a range, ADDRESS/LENGTH"))?;
        let (length, most) = (base.prefix(), if base.is_ipv4() { 30 } else { 126 });
        let size = *self.size.get_ref();
        if !(length..=most).contains(&size) {
            return Err(Fault::at(&self.size, format!("expected {length} to {most}, as the range is")));
        }
        Ok(Pool { base, size })
    }
}

impl Egress {
    /// What it allows.
    ///
    /// # Errors
    /// The first rule that is none.
    pub fn rules(&self) -> Result<Rules, Fault> {
        for rule in &self.allow {
            Rules::parse([rule.get_ref().as_str()]).map_err(|failure| Fault::at(rule, failure.message))?;
        }
        let all = Rules::parse(self.allow.iter().map(|rule| rule.get_ref().as_str()));
        all.map_err(|failure| Fault { span: None, what: failure.message })
    }
}

impl Config {
    /// The ranges from which networks are taken.
    pub fn pools(&self) -> Vec<Pool> {
        self.default_address_pools.iter().filter_map(|pool| pool.read().ok()).collect()
    }

    pub(super) fn check_networks(&self) -> Result<(), Fault> {
        for pool in &self.default_address_pools {
            pool.read()?;
        }
        for parent in &self.macvlan {
            let (name, tenant) = parent.get_ref().split_once('=').unwrap_or((parent.get_ref(), "default"));
            if name.is_empty() || tenant.parse::<Tenant>().is_err() {
                return Err(Fault::at(parent, "expected an interface and its tenant, IF=TENANT"));
            }
        }
        if let Some(ip) = &self.ip
            && ip.get_ref().parse::<std::net::IpAddr>().is_err()
        {
            return Err(Fault::at(ip, "expected an address"));
        }
        for own in self.tenants.values() {
            own.egress.as_ref().map(Egress::rules).transpose()?;
        }
        Ok(())
    }
}
