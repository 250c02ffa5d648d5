//! Certificates of every shape, sound and not.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
    date_time_ymd,
};

/// Who signs.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    revoked: std::sync::Mutex<Vec<SerialNumber>>,
}

/// What a certificate is like.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Common names.
    pub names: Vec<&'static str>,
    /// Organizational units.
    pub units: Vec<&'static str>,
    /// URIs among the alternative names.
    pub uris: Vec<String>,
    /// First and last year.
    pub years: (i32, i32),
    /// What it is for.
    pub usage: Vec<ExtendedKeyUsagePurpose>,
}

/// A certificate with its key.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The chain, PEM.
    pub chain: String,
    /// The key, PEM.
    pub key: String,
    serial: SerialNumber,
}

impl Shape {
    /// A sound client's, with this URI.
    pub fn client(uri: &str) -> Self {
        Self {
            names: vec!["client"],
            units: Vec::new(),
            uris: vec![uri.to_owned()],
            years: (2020, 2090),
            usage: vec![ExtendedKeyUsagePurpose::ClientAuth],
        }
    }
}

impl Authority {
    /// A new one.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("make a key");
        let pem = params.self_signed(&key).expect("sign").pem();
        let issuer = Issuer::new(params, key);
        Self { issuer, pem, revoked: std::sync::Mutex::default() }
    }

    /// Its own certificate.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Issues a certificate.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn issue(&self, shape: &Shape) -> Certificate {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for name in &shape.names {
            params.distinguished_name.push(DnType::CommonName, *name);
        }
        // rcgen keeps one value of a kind: several units cannot be tried this way.
        for unit in &shape.units {
            params.distinguished_name.push(DnType::OrganizationalUnitName, *unit);
        }
        params.not_before = date_time_ymd(shape.years.0, 1, 1);
        params.not_after = date_time_ymd(shape.years.1, 1, 1);
        params.extended_key_usages.clone_from(&shape.usage);
        params.use_authority_key_identifier_extension = true;
        let uri = |text: &String| SanType::URI(Ia5String::try_from(text.clone()).expect("a URI"));
        params.subject_alt_names = shape.uris.iter().map(uri).collect();
        self.sign(params)
    }

    /// Issues a server's certificate for the loopback addresses.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn issue_server(&self) -> Certificate {
        let mut params =
            CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).expect("names");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "casemated");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(params)
    }

    fn sign(&self, mut params: CertificateParams) -> Certificate {
        let key = KeyPair::generate().expect("make a key");
        let bytes = key.public_key_raw().get(1..17).expect("a long key").to_vec();
        let serial = SerialNumber::from_slice(&[&[0x40], &bytes[..]].concat());
        params.serial_number = Some(serial.clone());
        let certificate = params.signed_by(&key, &self.issuer).expect("sign");
        Certificate { chain: certificate.pem(), key: key.serialize_pem(), serial }
    }

    /// Revokes a certificate; [`Authority::revocations`] says so from now on.
    pub fn revoke(&self, certificate: &Certificate) {
        self.revoked.lock().expect("the list").push(certificate.serial.clone());
    }

    /// The revocation list.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn revocations(&self) -> String {
        self.revocations_for(Duration::from_secs(65 * 365 * 24 * 3600))
    }

    /// The revocation list, to be relied on for so long after the year 2025 has begun.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn revocations_for(&self, time: Duration) -> String {
        let revoked = self.revoked.lock().expect("the list");
        let entry = |serial: &SerialNumber| RevokedCertParams {
            serial_number: serial.clone(),
            revocation_time: date_time_ymd(2025, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2025, 1, 1),
            next_update: date_time_ymd(2025, 1, 1) + time,
            crl_number: SerialNumber::from_slice(&[u8::try_from(revoked.len() + 1).expect("few")]),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).expect("sign").pem().expect("PEM")
    }

    /// Writes what the server needs into `etc/tls`.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn furnish(&self, etc: &Path) {
        let tls = etc.join("tls");
        fs::create_dir_all(&tls).expect("make a directory");
        let server = self.issue_server();
        for (name, text) in [
            ("ca.pem", self.pem()),
            ("server.pem", &server.chain),
            ("server.key", &server.key),
            ("crl.pem", &self.revocations()),
        ] {
            write_whole(&tls.join(name), text);
        }
    }
}

impl Certificate {
    /// Writes it as `DOCKER_CERT_PATH` wants it.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, authority: &Authority, dir: PathBuf) -> PathBuf {
        fs::create_dir_all(&dir).expect("make a directory");
        for (name, text) in [("ca.pem", authority.pem()), ("cert.pem", &self.chain), ("key.pem", &self.key)] {
            fs::write(dir.join(name), text).expect("write a certificate");
        }
        dir
    }
}

/// A reader sees the old file or the new one. The daemon's group reads it, wherever that may be.
///
/// # Panics
/// When it cannot be written.
pub fn write_whole(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).expect("write a file");
    fs::rename(&new, path).expect("put a file in its place");
}
