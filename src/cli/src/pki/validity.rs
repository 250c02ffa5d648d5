//! How long what the server shows and relies on still holds.

use casemate_spec::{Error, Result};
use jiff::Zoned;
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use super::authority::{Authority, shown};
use super::read;
use crate::place::Place;

/// In seconds.
const DAY: i64 = 24 * 3600;
/// So long before its end, a new revocation list is written.
const LIST: i64 = 60 * DAY;
/// So long before its end, a new certificate of the server is issued.
pub const SERVER: i64 = 30 * DAY;

/// When the revocation list ends, in seconds since 1970; nothing where there is none, or it does not say.
///
/// # Errors
/// It cannot be read.
pub fn list_end(place: &Place) -> Result<Option<i64>> {
    let path = place.etc.join("tls/crl.pem");
    if !path.exists() {
        return Ok(None);
    }
    let text = read(&path)?;
    let unreadable = || Error::new(path.display().to_string(), "it is no revocation list");
    let (_, pem) = x509_parser::pem::parse_x509_pem(text.as_bytes()).map_err(|_| unreadable())?;
    let (_, list) = CertificateRevocationList::from_der(&pem.contents).map_err(|_| unreadable())?;
    Ok(list.next_update().map(|time| time.timestamp()))
}

/// When the server's certificate ends, in seconds since 1970, and the names in it.
///
/// # Errors
/// It cannot be read.
pub fn server(place: &Place) -> Result<(i64, Vec<String>)> {
    let path = place.etc.join("tls/server.pem");
    let text = read(&path)?;
    let unreadable = || Error::new(path.display().to_string(), "it is no certificate");
    let (_, pem) = x509_parser::pem::parse_x509_pem(text.as_bytes()).map_err(|_| unreadable())?;
    let certificate = pem.parse_x509().map_err(|_| unreadable())?;
    let names: Vec<String> = match certificate.subject_alternative_name() {
        Ok(Some(found)) => found.value.general_names.iter().map(shown).collect(),
        _ => Vec::new(),
    };
    Ok((certificate.validity().not_after.timestamp(), names))
}

/// Renews what ends soon, for a daemon that is never started anew. Where the authority is somebody else's, there is nothing
/// to do it with.
///
/// # Errors
/// It cannot be read or written.
pub fn keep_up(place: &Place) -> Result<()> {
    keep_up_at(place, Zoned::now().timestamp().as_second())
}

fn keep_up_at(place: &Place, now: i64) -> Result<()> {
    if !place.pki.join("ca.key").exists() {
        return Ok(());
    }
    if list_end(place)?.is_none_or(|end| end - now < LIST) {
        Authority::open(place)?.write_revocations()?;
        eprintln!("casemate: the revocation list was renewed");
    }
    let (end, names) = server(place)?;
    if end - now < SERVER {
        Authority::open(place)?.issue_server(&names)?;
        eprintln!("casemate: the server's certificate was renewed");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Only root may give the daemon its files; everybody else's part is that nothing is done without an authority.
    #[test]
    fn what_ends_soon_is_renewed_with_the_names_it_had() {
        let dir = std::env::temp_dir().join(format!("casemate-validity-{}", std::process::id()));
        let at = |name: &str| dir.join(name);
        let place = Place { data: dir.clone(), etc: at("etc"), pki: at("pki"), run: at("run") };
        for name in ["etc", "pki"] {
            fs::create_dir_all(at(name)).expect("make a directory");
        }
        let now = Zoned::now().timestamp().as_second();
        keep_up_at(&place, now).expect("nothing to do");
        assert!(!place.etc.join("tls").exists());
        if rustix::process::geteuid().is_root() {
            super::super::init(&place, &["server.example".to_owned()]).expect("an authority");
            let looked = |later: i64| {
                keep_up_at(&place, now + later).expect("looked after");
                [fs::read(place.etc.join("tls/crl.pem")), fs::read(place.etc.join("tls/server.pem"))]
                    .map(|read| read.expect("a file"))
            };
            let before = looked(0);
            assert_eq!(looked(300 * DAY), before, "all of it holds for 60 days more");
            let [list, server] = looked(310 * DAY);
            assert!(list != before[0] && server == before[1], "the list is renewed");
            let [_, server] = looked(380 * DAY);
            assert!(server != before[1], "the server's certificate is renewed");
            let (end, names) = super::server(&place).expect("a certificate");
            assert!(end > now && names.contains(&"server.example".to_owned()), "{names:?}");
        }
        fs::remove_dir_all(&dir).expect("remove the directory");
    }
}
