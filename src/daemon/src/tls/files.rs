//! The files: authority, server certificate and key, revocation list.

use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use x509_parser::prelude::{CertificateRevocationList, FromDer};

/// What the files hold.
#[derive(Debug)]
pub struct Material {
    /// Who may sign clients' certificates.
    pub authorities: Vec<CertificateDer<'static>>,
    /// The server's certificate, and those up to its authority.
    pub chain: Vec<CertificateDer<'static>>,
    /// The server's key.
    pub key: PrivateKeyDer<'static>,
    /// Revocation lists.
    pub revoked: Vec<CertificateRevocationListDer<'static>>,
}

impl Material {
    /// Reads them; the revocation list may be missing.
    ///
    /// # Errors
    /// A file cannot be read, or has nothing of its kind in it.
    pub fn read(directory: &Path) -> Result<Self, String> {
        let authorities = certificates(&directory.join("ca.pem"))?;
        let chain = certificates(&directory.join("server.pem"))?;
        let file = directory.join("server.key");
        let key = PrivateKeyDer::from_pem_slice(&read(&file)?)
            .map_err(|error| format!("{}: {error}", file.display()))?;
        Ok(Self { authorities, chain, key, revoked: lists(&directory.join("crl.pem"))? })
    }
}

/// Until when a list may be relied on, in seconds since 1970; RFC 5280 has it in every list.
///
/// # Errors
/// It is no list.
pub fn next_update(list: &CertificateRevocationListDer<'_>) -> Result<Option<i64>, String> {
    let (_, list) = CertificateRevocationList::from_der(list.as_ref())
        .map_err(|error| format!("revocation list: {error}"))?;
    Ok(list.next_update().map(|time| time.timestamp()))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(&read(file)?)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{}: {error}", file.display()))?;
    if all.is_empty() {
        return Err(format!("{}: no certificate in it", file.display()));
    }
    Ok(all)
}

/// An empty file is an error: who empties it does not mean to let everybody back in.
fn lists(file: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    let text = match std::fs::read(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("{}: {error}", file.display())),
    };
    let all: Vec<_> = CertificateRevocationListDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{}: {error}", file.display()))?;
    if all.is_empty() {
        return Err(format!("{}: no revocation list in it", file.display()));
    }
    Ok(all)
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))
}
