//! The authority: its key, and what it signs. Keys are ECDSA on P-256 (FIPS 186-5), made here, and only root reads them.

use std::net::IpAddr;
use std::path::Path;

use casemate_spec::{Error, Result};
use jiff::civil::Date;
use jiff::{ToSpan, Zoned};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
    date_time_ymd,
};
use ring::rand::{SecureRandom, SystemRandom};

use super::identity::Identity;
use super::issued::{Certificate, Issued};
use super::{failed, read, validity};
use crate::place::{DAEMON_GROUP, Place, folder, write};

/// Ten years: an authority of one host is replaced with the host.
const AUTHORITY_DAYS: i32 = 3650;
/// Browsers' limit, for want of a better reason to choose another.
const SERVER_DAYS: i32 = 398;
/// `up` writes a new list each time, and so does every revocation.
const LIST_DAYS: i32 = 365;

/// An authority that can sign.
pub struct Authority {
    place: Place,
    issuer: Issuer<'static, KeyPair>,
    ca: String,
    issued: Issued,
}

impl Authority {
    /// The authority of this data root.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn open(place: &Place) -> Result<Self> {
        let ca = read(&place.etc.join("tls/ca.pem"))
            .map_err(|error| error.hint("`casemate pki init` makes an authority"))?;
        let key =
            KeyPair::from_pem(&read(&place.pki.join("ca.key"))?).map_err(failed("the authority's key"))?;
        let issuer = Issuer::from_ca_cert_pem(&ca, key).map_err(failed("the authority's certificate"))?;
        Ok(Self { issued: Issued::read(&place.pki)?, place: place.clone(), issuer, ca })
    }

    /// The same, made where there is none.
    ///
    /// # Errors
    /// It cannot be made or read.
    pub fn open_or_make(place: &Place) -> Result<Self> {
        if !place.pki.join("ca.key").exists() {
            make(place)?;
        }
        Self::open(place)
    }

    /// Issues a client's certificate into `out`, as `ca.pem`, `cert.pem` and `key.pem`.
    ///
    /// # Errors
    /// It cannot be made or written.
    pub fn issue(&mut self, identity: &Identity, days: u32, out: &Path) -> Result<()> {
        let days = i32::try_from(days).unwrap_or(AUTHORITY_DAYS);
        let (mut params, serial, [from, until]) = blank(&identity.name, days)?;
        params.distinguished_name.push(DnType::OrganizationalUnitName, identity.tenant.as_str());
        let uri = Ia5String::try_from(identity.uri()).map_err(failed("identity"))?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().map_err(failed("make a key"))?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed("sign"))?;
        // Known before it exists: what cannot be found cannot be revoked.
        self.issued.certificates.push(Certificate {
            serial,
            name: identity.name.clone(),
            tenant: identity.tenant.to_string(),
            groups: identity.groups.clone(),
            issued: from,
            expires: until,
            revoked: None,
        });
        self.issued.write(&self.place.pki)?;
        folder(out, 0o700, None)?;
        write(&out.join("ca.pem"), self.ca.as_bytes(), 0o644, None)?;
        write(&out.join("key.pem"), key.serialize_pem().as_bytes(), 0o600, None)?;
        write(&out.join("cert.pem"), certificate.pem().as_bytes(), 0o644, None)
    }

    /// Issues the server's certificate for these names and the usual ones.
    ///
    /// # Errors
    /// It cannot be made or written.
    pub fn issue_server(&mut self, names: &[String]) -> Result<()> {
        let (mut params, ..) = blank("casemated", SERVER_DAYS)?;
        let all = usual_names().into_iter().chain(names.iter().cloned());
        params.subject_alt_names = all.map(|name| alternative(&name)).collect::<Result<_>>()?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().map_err(failed("make a key"))?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed("sign"))?;
        let tls = self.place.etc.join("tls");
        let text = format!("{}{}", certificate.pem(), self.ca);
        // The key first: a reader that finds a new certificate with the old key tries again.
        write(&tls.join("server.key"), key.serialize_pem().as_bytes(), 0o640, Some(DAEMON_GROUP))?;
        write(&tls.join("server.pem"), text.as_bytes(), 0o640, Some(DAEMON_GROUP))
    }

    /// Whether the server's certificate lacks one of these names, or ends within a month.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn server_lacks(&self, names: &[String]) -> Result<bool> {
        let (ends, known) = validity::server(&self.place)?;
        let soon = Zoned::now().timestamp().as_second() + validity::SERVER;
        Ok(ends < soon || names.iter().any(|name| !known.contains(name)))
    }

    /// Revokes all certificates of a name, or the one with a serial number; says how many.
    ///
    /// # Errors
    /// There is none, or the list cannot be written.
    pub fn revoke(&mut self, name: &str) -> Result<usize> {
        let today = Zoned::now().date();
        let fits = |entry: &&mut Certificate| entry.name == name || entry.serial == name;
        let mut count = 0;
        for entry in self.issued.certificates.iter_mut().filter(fits) {
            entry.revoked.get_or_insert(today);
            count += 1;
        }
        if count == 0 {
            let error = Error::new(format!("certificate {name}"), "none was issued");
            return Err(error.hint("`casemate pki list` shows them"));
        }
        self.write_revocations()?;
        Ok(count)
    }

    /// Writes the revocation list; the daemon takes it up by itself.
    ///
    /// # Errors
    /// It cannot be made or written.
    pub fn write_revocations(&mut self) -> Result<()> {
        self.issued.list += 1;
        self.issued.write(&self.place.pki)?;
        let today = Zoned::now().date();
        let revoked = self.issued.certificates.iter().filter_map(|entry| {
            Some(RevokedCertParams {
                serial_number: SerialNumber::from_slice(&bytes(&entry.serial)),
                revocation_time: midnight(entry.revoked?),
                reason_code: None,
                invalidity_date: None,
            })
        });
        let params = CertificateRevocationListParams {
            this_update: midnight(today),
            next_update: midnight(after(today, LIST_DAYS)?),
            crl_number: SerialNumber::from_slice(&self.issued.list.to_be_bytes()),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&self.issuer).map_err(failed("sign the revocation list"))?;
        let text = list.pem().map_err(failed("write the revocation list"))?;
        write(&self.place.etc.join("tls/crl.pem"), text.as_bytes(), 0o640, Some(DAEMON_GROUP))
    }
}

fn make(place: &Place) -> Result<()> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let (mut params, ..) = blank(&format!("casemate on {host}"), AUTHORITY_DAYS)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().map_err(failed("make a key"))?;
    let certificate = params.self_signed(&key).map_err(failed("sign"))?;
    folder(&place.etc.join("tls"), 0o750, Some(DAEMON_GROUP))?;
    write(&place.etc.join("tls/ca.pem"), certificate.pem().as_bytes(), 0o640, Some(DAEMON_GROUP))?;
    // Last: with it the authority is there.
    write(&place.pki.join("ca.key"), key.serialize_pem().as_bytes(), 0o600, None)
}

/// A certificate of nothing yet; its serial number; from when and until when.
fn blank(name: &str, days: i32) -> Result<(CertificateParams, String, [Date; 2])> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    let mut serial = [0_u8; 16];
    SystemRandom::new().fill(&mut serial).map_err(|_| Error::new("random bytes", "the kernel has none"))?;
    // Positive, and never shorter: RFC 5280 section 4.1.2.2.
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    let today = Zoned::now().date();
    // Clocks differ: valid from yesterday on.
    let span = [after(today, -1)?, after(today, days)?];
    [params.not_before, params.not_after] = span.map(midnight);
    Ok((params, serial.iter().map(|byte| format!("{byte:02x}")).collect(), span))
}

fn after(day: Date, days: i32) -> Result<Date> {
    day.checked_add(days.days()).map_err(|error| Error::new("date", error.to_string()))
}

fn midnight(day: Date) -> time::OffsetDateTime {
    let number = |value: i8| u8::try_from(value).unwrap_or(1);
    date_time_ymd(i32::from(day.year()), number(day.month()), number(day.day()))
}

fn usual_names() -> Vec<String> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    if !names.contains(&host) && !host.is_empty() {
        names.push(host);
    }
    names
}

fn alternative(name: &str) -> Result<SanType> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    Ok(SanType::DnsName(Ia5String::try_from(name).map_err(failed("name of the server"))?))
}

/// A name of a certificate, as people write it.
pub fn shown(name: &x509_parser::extensions::GeneralName<'_>) -> String {
    use x509_parser::extensions::GeneralName;
    match name {
        GeneralName::DNSName(name) => (*name).to_owned(),
        GeneralName::IPAddress(bytes) => match (<[u8; 4]>::try_from(*bytes), <[u8; 16]>::try_from(*bytes)) {
            (Ok(four), _) => IpAddr::from(four).to_string(),
            (_, Ok(sixteen)) => IpAddr::from(sixteen).to_string(),
            _ => String::new(),
        },
        _ => String::new(),
    }
}

fn bytes(hexadecimal: &str) -> Vec<u8> {
    let pairs = hexadecimal.as_bytes().chunks(2);
    pairs.filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}
