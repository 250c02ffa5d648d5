//! Who a certificate belongs to.
//!
//! A subject alternative name of the form `casemate://TENANT/USER?groups=A,B` says it all. Another form,
//! `spiffe://DOMAIN/TENANT/USER`, takes its groups from the subject's organizational units. A certificate without
//! either is read by its subject: the common name is the user, the organizational units are the groups, and the tenant
//! is `default`. A certificate that has a name of these forms, but not a sound one, is nobody's: no other way is tried.

use casemate_engine::Caller;
use casemate_spec::wire::Tenant;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate, X509Name};

/// The tenant of a certificate that names none.
const DEFAULT_TENANT: &str = "default";
/// The most groups of one certificate: each is an entity in every judgement.
const GROUPS: usize = 32;

/// What is needed to know of a client's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Who.
    pub caller: Caller,
    /// Until when it is valid, in seconds since 1970.
    pub not_after: i64,
}

/// Reads a certificate whose signature has been verified.
///
/// # Errors
/// Why it is nobody's.
pub fn identify(der: &[u8]) -> Result<Identity, String> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|error| format!("certificate: {error}"))?;
    let names = certificate.subject_alternative_name().map_err(|error| format!("certificate: {error}"))?;
    let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
    let mut uris = names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) if uri.starts_with("casemate:") || uri.starts_with("spiffe:") => Some(*uri),
        _ => None,
    });
    let caller = match (uris.next(), uris.next()) {
        (None, _) => by_subject(certificate.subject()),
        (Some(uri), None) => by_uri(uri, certificate.subject()),
        (Some(_), Some(_)) => Err("the certificate names more than one identity".to_owned()),
    }?;
    Ok(Identity { caller, not_after: certificate.validity().not_after.timestamp() })
}

/// Reads `casemate://TENANT/USER?groups=A,B` by itself, as a question about somebody names him.
///
/// # Errors
/// It has another form.
pub fn named(uri: &str) -> Result<Caller, String> {
    if !uri.starts_with("casemate://") {
        return Err(format!("{uri:?}: expected casemate://TENANT/USER?groups=A,B"));
    }
    by_uri(uri, &X509Name::new(Vec::new(), &[]))
}

fn by_uri(uri: &str, subject: &X509Name<'_>) -> Result<Caller, String> {
    let refuse = || {
        let form = "expected casemate://TENANT/USER?groups=A,B or spiffe://DOMAIN/TENANT/USER";
        format!("the certificate's name {uri:?} is malformed: {form}")
    };
    if let Some(rest) = uri.strip_prefix("casemate://") {
        let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
        let (tenant, user) = path.split_once('/').ok_or_else(refuse)?;
        let groups = match query {
            None => Vec::new(),
            Some(query) => {
                let groups = query.strip_prefix("groups=").ok_or_else(refuse)?;
                groups.split(',').filter(|_| !groups.is_empty()).map(str::to_owned).collect()
            }
        };
        return caller(tenant, user, groups);
    }
    let rest = uri.strip_prefix("spiffe://").ok_or_else(refuse)?;
    let mut parts = rest.split('/');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(domain), Some(tenant), Some(user), None) if !domain.is_empty() => {
            caller(tenant, user, units(subject)?)
        }
        _ => Err(refuse()),
    }
}

fn by_subject(subject: &X509Name<'_>) -> Result<Caller, String> {
    let mut names = subject.iter_common_name();
    let (Some(name), None) = (names.next(), names.next()) else {
        return Err("the certificate has not exactly one common name, and no name of ours".to_owned());
    };
    let user = name.as_str().map_err(|error| format!("the certificate's common name: {error}"))?;
    caller(DEFAULT_TENANT, user, units(subject)?)
}

fn units(subject: &X509Name<'_>) -> Result<Vec<String>, String> {
    let read = subject.iter_organizational_unit().map(|unit| unit.as_str().map(str::to_owned));
    read.collect::<Result<_, _>>().map_err(|error| format!("the certificate's organizational unit: {error}"))
}

fn caller(tenant: &str, user: &str, groups: Vec<String>) -> Result<Caller, String> {
    let tenant: Tenant = tenant.parse().map_err(|error| format!("the certificate's tenant: {error}"))?;
    if groups.len() > GROUPS {
        return Err(format!("the certificate names more than {GROUPS} groups"));
    }
    if let Some(bad) = groups.iter().map(String::as_str).chain([user]).find(|name| !is_name(name)) {
        let rule = "expected 1 to 64 of A-Z a-z 0-9 _ - . @, the first neither . nor -";
        return Err(format!("the certificate's name {bad:?}: {rule}"));
    }
    Ok(Caller { identity: format!("casemate://{tenant}/{user}"), tenant, groups })
}

/// Nothing that could be taken for more than a name, in a log, a policy or a header.
fn is_name(text: &str) -> bool {
    text.len() <= 64
        && !text.is_empty()
        && !text.starts_with(['.', '-'])
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'@' | b'-'))
}
