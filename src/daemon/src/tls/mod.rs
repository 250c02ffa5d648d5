//! Mutual TLS: certificates of files, and what comes of them. Every change of a file makes a new [`Trust`]; what is
//! under way keeps the old one.

mod files;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};

pub use files::Material;

/// What an operator may choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Choice {
    /// TLS 1.2 is admitted beside 1.3.
    pub tls12: bool,
    /// A revocation list whose time is over is relied on all the same.
    pub overdue_lists: bool,
}

/// What the server shows, and whom it believes.
#[derive(Clone)]
pub struct Trust {
    /// For the next handshake.
    pub server: Arc<ServerConfig>,
    /// Judges a client's certificate; also those of connections that were made before.
    verifier: Arc<dyn ClientCertVerifier>,
    /// Until when the revocation lists may be relied on, in seconds since 1970.
    pub lists_end: Option<i64>,
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").finish_non_exhaustive()
    }
}

impl Trust {
    /// Of what was read.
    ///
    /// # Errors
    /// A certificate, the key or the revocation list is not what it should be.
    pub fn new(material: Material, choice: Choice) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        for authority in material.authorities {
            roots.add(authority).map_err(|error| format!("certificate authority: {error}"))?;
        }
        let ends =
            material.revoked.iter().map(|list| files::next_update(list)).collect::<Result<Vec<_>, _>>()?;
        let lists_end = ends.into_iter().flatten().min();
        // Whose revocation status no list tells is refused: a list that is for another authority protects nobody.
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .with_crls(material.revoked);
        // Who can keep a new list from coming would otherwise undo what it revokes.
        let verifier = if choice.overdue_lists { verifier } else { verifier.enforce_revocation_expiration() };
        let verifier = verifier.build().map_err(|error| format!("client certificates: {error}"))?;
        let versions: &[_] = if choice.tls12 {
            &[&rustls::version::TLS13, &rustls::version::TLS12]
        } else {
            &[&rustls::version::TLS13]
        };
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(|error| format!("TLS: {error}"))?
            .with_client_cert_verifier(Arc::clone(&verifier))
            .with_single_cert(material.chain, material.key)
            .map_err(|error| format!("server certificate: {error}"))?;
        // A resumed session would not show its certificate again, which may have been revoked meanwhile.
        server.send_tls13_tickets = 0;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.max_early_data_size = 0;
        // Never h2: a connection that is taken over by a container's streams must be HTTP/1.1.
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { server: Arc::new(server), verifier, lists_end })
    }

    /// Whether a client that was believed before still is.
    pub fn believes(&self, chain: &[CertificateDer<'_>], now: Duration) -> bool {
        let Some((leaf, others)) = chain.split_first() else { return false };
        self.verifier.verify_client_cert(leaf, others, UnixTime::since_unix_epoch(now)).is_ok()
    }
}
