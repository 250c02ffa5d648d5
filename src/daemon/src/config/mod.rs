//! `casemate.toml`: one file, every key optional, each explained in docs/configuration.md.

mod fault;
mod limits;
mod network;

use std::collections::BTreeMap;
use std::path::Path;

use casemate_spec::wire::{PolicyName, Tenant};
use serde::Deserialize;
use toml::Spanned;

pub use fault::Fault;
pub use limits::{Limits, Size};
pub use network::{AddressPool, Egress};

/// The largest file, in bytes.
const LARGEST: u64 = 256 << 10;
/// Drivers of logs.
const LOG_DRIVERS: [&str; 3] = ["json-file", "journald", "none"];

/// The whole configuration.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Config {
    /// Where the operator keeps everything; `casemate up` and the units act on it, the daemon only checks it.
    pub data_root: Option<Spanned<String>>,
    /// Where the API is offered (`tcp://ADDRESS:PORT`); `casemate up` and the units act on it.
    pub hosts: Vec<Spanned<String>>,
    /// Only `overlay2`: what daemon.json says may stay.
    pub storage_driver: Option<Spanned<String>>,
    /// The default driver of logs.
    pub log_driver: Option<Spanned<String>>,
    /// Its options.
    pub log_opts: BTreeMap<String, String>,
    /// Ranges from which networks are taken.
    pub default_address_pools: Vec<AddressPool>,
    /// Interfaces of the host that networks may be built upon (`IF[=TENANT]`); `casemate up` acts on it.
    pub macvlan: Vec<Spanned<String>>,
    /// The host's address for published ports that name none.
    pub ip: Option<Spanned<String>>,
    /// Containers run on while the daemon is stopped.
    pub live_restore: bool,
    /// Registries, besides those on loopback, that may be spoken to without TLS.
    pub insecure_registries: Vec<Spanned<String>>,
    /// Mirrors of docker.io.
    pub registry_mirrors: Vec<Spanned<String>>,
    /// Resolvers for containers.
    pub dns: Vec<Spanned<String>>,
    /// The policy of containers for which none is asked; the host's default where there is none.
    pub policy: Option<PolicyName>,
    /// TLS.
    pub tls: Tls,
    /// What a client may cost.
    pub limits: Limits,
    /// By tenant.
    pub tenants: BTreeMap<Tenant, TenantConfig>,
    /// Whose signatures images must have.
    pub signatures: Vec<Signature>,
}

/// `[tls]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Tls {
    /// `1.3`, or `1.2` to admit that as well.
    pub minimum_version: Option<Spanned<String>>,
    /// What becomes of clients while a revocation list's time is over: `refuse`, or `warn` to believe it all the same.
    pub overdue_revocation_list: Option<Spanned<String>>,
}

/// `[tenants.NAME]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct TenantConfig {
    /// The policy of its containers for which none is asked.
    pub policy: Option<PolicyName>,
    /// The most containers, running or not.
    pub containers: Option<usize>,
    /// Memory of all its containers together.
    pub memory: Option<Size>,
    /// Processors of all its containers together.
    pub cpus: Option<f64>,
    /// Processes of all its containers together.
    pub pids: Option<u64>,
    /// What each container may write into its own layer, where the filesystem has project quotas.
    pub disk: Option<Size>,
    /// The most networks, besides the bridge that every tenant has.
    pub networks: Option<usize>,
    /// Where its containers may connect to.
    pub egress: Option<Egress>,
}

/// `[[signatures]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Signature {
    /// Images whose repository begins so, `registry.example/team/`.
    pub images: String,
    /// Files of public keys (PEM) in the configuration's directory; one of them must have signed.
    pub keys: Vec<Spanned<String>>,
}

impl Config {
    /// Reads a file; one that is not there leaves everything at its default.
    ///
    /// # Errors
    /// `FILE:LINE:COLUMN: what`, the line, and a marker beneath.
    pub fn read(file: &Path) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("{}: {error}", file.display());
        match std::fs::metadata(file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(failed(error)),
            Ok(found) if found.len() > LARGEST => {
                return Err(format!("{}: more than {LARGEST} bytes", file.display()));
            }
            Ok(_) => {}
        }
        let text = std::fs::read_to_string(file).map_err(failed)?;
        Self::parse(&text).map_err(|fault| fault.show(&text, &file.display().to_string()))
    }

    fn parse(text: &str) -> Result<Self, Fault> {
        let config: Self = toml::from_str(text)
            .map_err(|error| Fault { span: error.span(), what: error.message().to_owned() })?;
        config.check()?;
        Ok(config)
    }

    /// What types cannot say.
    fn check(&self) -> Result<(), Fault> {
        if let Some(driver) = &self.storage_driver {
            one_of(driver, &["overlay2"])?;
        }
        if let Some(driver) = &self.log_driver {
            one_of(driver, &LOG_DRIVERS)?;
        }
        if let Some(version) = &self.tls.minimum_version {
            one_of(version, &["1.2", "1.3"])?;
        }
        if let Some(choice) = &self.tls.overdue_revocation_list {
            one_of(choice, &["refuse", "warn"])?;
        }
        if let Some(root) = &self.data_root
            && !root.get_ref().starts_with('/')
        {
            return Err(Fault::at(root, "expected an absolute path"));
        }
        for host in &self.hosts {
            let address = host.get_ref().strip_prefix("tcp://");
            if address.is_none_or(|address| address.parse::<std::net::SocketAddr>().is_err()) {
                let what = "expected tcp://ADDRESS:PORT; there is no other kind, and none without TLS";
                return Err(Fault::at(host, what));
            }
        }
        for mirror in &self.registry_mirrors {
            if !mirror.get_ref().starts_with("https://") && !mirror.get_ref().starts_with("http://") {
                return Err(Fault::at(mirror, "expected a URL"));
            }
        }
        for server in &self.dns {
            if server.get_ref().parse::<std::net::IpAddr>().is_err() {
                return Err(Fault::at(server, "expected an address"));
            }
        }
        for (tenant, own) in &self.tenants {
            if own.cpus.is_some_and(|cpus| !(0.001..=100_000.0).contains(&cpus)) {
                let what = format!("tenants.{tenant}.cpus: expected 0.001 to 100000");
                return Err(Fault { span: None, what });
            }
        }
        self.check_networks()?;
        self.check_keys()
    }

    /// Keys lie in the configuration's directory, which is all that the daemon sees of the host.
    fn check_keys(&self) -> Result<(), Fault> {
        let all = self.signatures.iter().flat_map(|signature| &signature.keys);
        let outside = |file: &&Spanned<String>| {
            let path = Path::new(file.get_ref());
            path.is_absolute()
                || path.components().any(|part| !matches!(part, std::path::Component::Normal(_)))
        };
        match all.into_iter().find(outside) {
            Some(bad) => Err(Fault::at(bad, "expected a file's name beneath the configuration's directory")),
            None => Ok(()),
        }
    }
}

fn one_of(value: &Spanned<String>, known: &[&str]) -> Result<(), Fault> {
    if known.contains(&value.get_ref().as_str()) {
        return Ok(());
    }
    Err(Fault::at(value, format!("expected {}", known.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        Config::parse(text).expect_err("a fault").show(text, "f.toml")
    }

    #[test]
    fn faults_are_shown_where_they_stand() {
        let shown = fault("live-restore = true\nlog-driver = \"syslog\"\n");
        assert!(shown.starts_with("f.toml:2:14: expected json-file, journald, none\n"), "{shown}");
        assert!(shown.ends_with("\nlog-driver = \"syslog\"\n             ^^^^^^^^"), "{shown}");
        assert!(
            fault("live-restor = 1").starts_with("f.toml:1:1: unknown field"),
            "{}",
            fault("live-restor = 1")
        );
        assert!(fault("a = ").starts_with("f.toml:1:"));
        for bad in [
            "hosts = [\"unix:///var/run/docker.sock\"]",
            "hosts = [\"tcp://localhost\"]",
            "dns = [\"dns.example\"]",
            "data-root = \"var\"",
            "storage-driver = \"btrfs\"",
            "tls.minimum-version = \"1.1\"",
            "[limits]\nheader-time = \"soon\"",
            "[tenants.\"Not a tenant\"]",
            "[tenants.a]\nmemory = \"1 gallon\"",
            "[[signatures]]\nimages = \"x\"\nkeys = [\"../k.pem\"]",
            "[[default-address-pools]]\nbase = \"10.0.0.0/8\"\nsize = 4",
            "[[default-address-pools]]\nbase = \"10.0.0.1/8\"\nsize = 24",
            "ip = \"localhost\"",
            "[tenants.a.egress]\nallow = [\"somewhere else\"]",
        ] {
            assert!(fault(bad).starts_with("f.toml:"), "{bad}");
        }
    }

    #[test]
    fn everything_can_be_said() {
        let text = include_str!("everything.toml");
        let config = Config::parse(text).expect("a configuration");
        let tenant: Tenant = "acme".parse().expect("a tenant");
        assert_eq!(config.tenants[&tenant].memory, Some(Size(8 << 30)));
        assert_eq!(config.limits.connections, 512);
        assert!(config.live_restore);
    }

    #[test]
    fn every_key_is_documented() {
        let page = include_str!("../../../../docs/configuration.md");
        for line in include_str!("everything.toml").lines() {
            let Some((key, _)) = line.split_once(" = ") else { continue };
            assert!(
                page.contains(&format!("`{}`", key.trim())),
                "docs/configuration.md does not explain {key}"
            );
        }
    }
}
