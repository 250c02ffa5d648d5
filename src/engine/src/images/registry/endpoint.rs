//! Where a registry is, and how it is trusted.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Once;

use reqwest::{Client, Url, redirect};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::{Limits, Trouble};
use crate::Settings;
use crate::images::reference::DEFAULT_DOMAIN;

/// The host of docker.io's registry.
const DOCKER_HUB: &str = "registry-1.docker.io";
/// The authorities that this system trusts.
const ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Authorities of single registries: `HOST[:PORT]/ca.crt`.
const CERTS_D: &str = "/etc/casemate/certs.d";

/// A place that may answer for a registry.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Scheme, host and port.
    pub base: Url,
    /// Its certificate is not checked.
    pub unchecked: bool,
    /// It holds copies of another's images.
    pub mirror: bool,
    /// It is the one before, without TLS.
    pub fallback: bool,
}

impl Endpoint {
    /// The places for a registry, in the order in which they are tried.
    pub fn of(settings: &Settings, domain: &str, push: bool) -> Vec<Self> {
        let mut all = Vec::new();
        if domain == DEFAULT_DOMAIN && !push {
            let mirrors = settings.registry_mirrors.iter().filter_map(|mirror| mirror.parse::<Url>().ok());
            all.extend(mirrors.map(|base| {
                let unchecked = insecure(settings, &base);
                Self { base, unchecked, mirror: true, fallback: false }
            }));
        }
        let host = if domain == DEFAULT_DOMAIN { DOCKER_HUB } else { domain };
        let Ok(base) = format!("https://{host}/").parse::<Url>() else { return all };
        let unchecked = insecure(settings, &base);
        all.push(Self { base, unchecked, mirror: false, fallback: false });
        if let (true, Ok(base)) = (unchecked, format!("http://{host}/").parse()) {
            all.push(Self { base, unchecked, mirror: false, fallback: true });
        }
        all
    }

    /// A client for it.
    ///
    /// # Errors
    /// Its authorities cannot be read.
    pub fn client(&self, limits: &Limits) -> Result<Client, Trouble> {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| {
            // Whoever was first has installed the same one.
            rustls::crypto::ring::default_provider().install_default().ok();
        });
        let builder = Client::builder()
            .connect_timeout(limits.connect)
            .redirect(redirect::Policy::none())
            .user_agent(concat!("casemated/", env!("CARGO_PKG_VERSION")))
            .pool_max_idle_per_host(4);
        let builder = if self.unchecked {
            builder.tls_danger_accept_invalid_certs(true)
        } else {
            builder.tls_backend_preconfigured(self.trust()?)
        };
        builder.build().map_err(|error| Trouble::Unusable(format!("{}: {error}", self.base)))
    }

    fn trust(&self) -> Result<ClientConfig, Trouble> {
        let mut roots = RootCertStore::empty();
        let own = Path::new(CERTS_D).join(authority(&self.base)).join("ca.crt");
        for file in [Path::new(ROOTS), &own] {
            if file.exists() {
                let found = certificates(file)?;
                roots.add_parsable_certificates(found);
            }
        }
        Ok(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Trouble> {
    let failed = |error: &dyn std::fmt::Display| Trouble::Unusable(format!("{}: {error}", file.display()));
    let found = CertificateDer::pem_file_iter(file).map_err(|error| failed(&error))?;
    found.collect::<Result<_, _>>().map_err(|error| failed(&error))
}

/// Host and port, as `insecure-registries` and the folders of certificates name it.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// A registry whose certificate is not checked, and which may do without TLS: one on loopback, and those that the
/// operator has named by host, with or without port, or by network.
fn insecure(settings: &Settings, base: &Url) -> bool {
    let authority = authority(base);
    let host = base.host_str().unwrap_or_default();
    loopback(host)
        || settings
            .insecure_registries
            .iter()
            .any(|name| *name == authority || name == host || within(host, name))
}

/// Whether a host is this one, by its name or address.
pub fn loopback(host: &str) -> bool {
    host == "localhost" || address(host).is_some_and(|address| address.is_loopback())
}

/// Whether an address is on this host or on its link, where things answer without asking who comes.
pub fn is_local(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let local = |address: IpAddr| match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local() || v4.is_unspecified(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unspecified(),
    };
    host == "localhost" || host.ends_with(".localhost") || address(host).is_some_and(local)
}

fn address(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Whether an address lies in a network such as `10.0.0.0/8`.
fn within(host: &str, network: &str) -> bool {
    let Some((base, length)) = network.split_once('/') else { return false };
    let (Some(host), Ok(base), Ok(length)) = (address(host), base.parse(), length.parse::<u32>()) else {
        return false;
    };
    match (host, base) {
        (IpAddr::V4(host), IpAddr::V4(base)) => {
            length <= 32 && (u32::from(host) ^ u32::from(base)).checked_shr(32 - length).unwrap_or(0) == 0
        }
        (IpAddr::V6(host), IpAddr::V6(base)) => {
            length <= 128 && (u128::from(host) ^ u128::from(base)).checked_shr(128 - length).unwrap_or(0) == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bases(settings: &Settings, domain: &str, push: bool) -> Vec<String> {
        Endpoint::of(settings, domain, push).into_iter().map(|endpoint| endpoint.base.to_string()).collect()
    }

    #[test]
    fn plain_http_is_for_loopback_and_what_the_operator_named() {
        let settings = Settings {
            insecure_registries: vec!["reg.example:5000".to_owned(), "10.0.0.0/8".to_owned()],
            registry_mirrors: vec!["https://mirror.example".to_owned()],
            ..Settings::default()
        };
        let both = |host: &str| vec![format!("https://{host}/"), format!("http://{host}/")];
        for host in ["127.0.0.1:5000", "localhost:5000", "[::1]:5000", "reg.example:5000", "10.1.2.3"] {
            assert_eq!(bases(&settings, host, false), both(host));
        }
        for host in ["reg.example", "11.0.0.1", "127.0.0.1.example:5000"] {
            assert_eq!(bases(&settings, host, false), [format!("https://{host}/")]);
        }
        let hub = ["https://mirror.example/", "https://registry-1.docker.io/"];
        assert_eq!(bases(&settings, "docker.io", false), hub);
        assert_eq!(bases(&settings, "docker.io", true), hub[1..]);
    }

    #[test]
    fn what_is_on_this_host_is_known_by_any_spelling() {
        for local in [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::1]:1/",
            "http://169.254.169.254/",
            "http://localhost/",
            "http://0.0.0.0/",
            "http://x.localhost/",
        ] {
            assert!(is_local(&local.parse().expect("url")), "{local}");
        }
        assert!(!is_local(&"http://10.0.0.1/".parse().expect("url")));
    }
}
