//! Signatures of images by key pairs, in cosign's form: a manifest under the tag `sha256-<digest>.sig`, whose layers are
//! statements ("simple signing"), each with its signature beside it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use casemate_spec::wire::HexId;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;

use super::manifest::{Descriptor, Document};
use super::record::{Image, Verified};
use super::reference::{Named, Reference};
use super::registry::Registry;
use super::sha256;
use super::shelf::is_prefix;
use crate::{Engine, Failure, Kind, Result, Settings};

/// Where the signature of a statement is.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// What a statement says it is.
const STATEMENT: &str = "cosign container image signature";
/// The largest statement, in bytes.
const LARGEST: usize = 64 << 10;
/// Signatures of one image that are looked at.
const MOST: usize = 64;
/// `SubjectPublicKeyInfo` of a key on P-256, up to the point itself (RFC 5480).
const P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

#[derive(Deserialize)]
struct Statement {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    image: Subject,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Subject {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

/// Lets a pull through of what need not be signed, and of what is signed by a key that the operator trusts for it; says by
/// which.
///
/// # Errors
/// It is not, and why.
pub async fn demand(
    settings: &Settings,
    registry: &Registry,
    reference: &Reference,
    digest: &HexId,
) -> Result<Option<Verified>> {
    let Some(keys) = keys(settings, Some(reference)) else { return Ok(None) };
    let refuse = |why: String| refusal(&reference.familiar(), &why);
    let keys =
        keys.iter().map(|key| point(key)).collect::<Result<Vec<_>>>().map_err(|why| refuse(why.message))?;
    let found = registry.manifest(&format!("sha256-{digest}.sig")).await;
    let found = found.map_err(|trouble| match trouble.is_missing() {
        true => refuse(format!("there is no signature of sha256:{digest}")),
        false => refuse(format!("its signatures cannot be read: {}", trouble.text())),
    })?;
    let Document::Image(signatures) =
        Document::parse(&found.bytes, &found.media_type).map_err(|why| refuse(why.message))?
    else {
        return Err(refuse("its signatures are a list of images".to_owned()));
    };
    let mut last = format!("no key of the operator's has signed sha256:{digest}");
    for layer in signatures.layers.iter().take(MOST) {
        let statement = registry.document(&layer.hex()?, LARGEST).await.map_err(|why| refuse(why.text()))?;
        match judge(&statement, layer, &keys, digest) {
            Ok(Some(key)) => {
                let (repository, key) = (reference.repository(), sha256(key));
                return Ok(Some(Verified { repository, key }));
            }
            Ok(None) => {}
            Err(why) => last = why.message,
        }
    }
    Err(refuse(last))
}

/// Lets a container be made of an image that need not be signed, or was when it was pulled. Loading, importing, committing
/// and tagging give an image a name, but no signature.
///
/// # Errors
/// It has none that is trusted now.
pub fn enforce(engine: &Engine, image: &Image, asked: &str) -> Result<()> {
    let trusted = |reference: Option<&Reference>| -> Result<()> {
        let Some(keys) = keys(&engine.settings, reference) else { return Ok(()) };
        let mut keys = keys.iter().filter_map(|key| point(key).ok()).map(|key| sha256(&key));
        if keys.any(|key| image.record.verified.iter().any(|verified| verified.key == key)) {
            return Ok(());
        }
        let shown = reference.map_or_else(|| image.name(), Reference::familiar);
        let why = "it was not pulled with a signature of a key that is trusted for it (hint: pull it from its \
                   registry; what is loaded, imported, committed or built here is signed by nobody)";
        Err(refusal(&shown, why))
    };
    // What is asked for by its id goes by any of its names, and an image without one by what is said of all.
    let own = match Named::parse(asked) {
        Ok(Named::Reference(reference)) if !is_prefix(asked) => vec![reference.or_latest()],
        _ => engine.images.names(&image.record.tenant, &image.id),
    };
    match own.is_empty() {
        true => trusted(None),
        false => own.iter().try_for_each(|name| trusted(Some(name))),
    }
}

fn refusal(shown: &str, why: &str) -> Failure {
    Failure::new(Kind::Forbidden, format!("{shown}: the image must be signed, and is not trusted: {why}"))
}

/// The keys for a repository: those of the longest prefix that it lies beneath. What has no name lies beneath no prefix but
/// the empty one.
fn keys<'a>(settings: &'a Settings, reference: Option<&Reference>) -> Option<&'a Vec<String>> {
    let names = reference.map(|reference| [reference.repository(), reference.familiar_name()]);
    let beneath = |prefix: &str| {
        let within = |name: &String| {
            let rest = name.strip_prefix(prefix.trim_end_matches('/'));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        prefix.is_empty() || names.iter().flatten().any(within)
    };
    let fitting = settings.signed.iter().filter(|(prefix, _)| beneath(prefix));
    fitting.max_by_key(|(prefix, _)| prefix.len()).map(|(_, keys)| keys)
}

/// Which of the keys has signed this statement, if it is about this image.
fn judge<'a>(
    statement: &[u8],
    layer: &Descriptor,
    keys: &'a [Vec<u8>],
    digest: &HexId,
) -> Result<Option<&'a [u8]>> {
    let Some(signature) = layer.annotations.get(SIGNATURE) else { return Ok(None) };
    let signature = STANDARD
        .decode(signature)
        .map_err(|error| Failure::invalid(format!("a signature is no base64: {error}")))?;
    let signed = |key: &Vec<u8>| {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key).verify(statement, &signature).is_ok()
    };
    let Some(key) = keys.iter().find(|key| signed(key)) else { return Ok(None) };
    let statement: Statement = serde_json::from_slice(statement)
        .map_err(|error| Failure::invalid(format!("a signed statement cannot be read: {error}")))?;
    let Critical { image, kind } = statement.critical;
    if kind != STATEMENT {
        return Err(Failure::invalid(format!("a trusted key has signed something else: {kind:?}")));
    }
    if image.digest != format!("sha256:{digest}") {
        return Err(Failure::invalid(format!("the signature is of another image, {:?}", image.digest)));
    }
    Ok(Some(key))
}

/// The point of a public key in PEM.
fn point(pem: &str) -> Result<Vec<u8>> {
    let refuse = || Failure::invalid("a public key of the operator's is no PEM of a key on P-256 (ECDSA)");
    let key = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).map_err(|_| refuse())?;
    let point = key.as_ref().strip_prefix(&P256).filter(|point| point.len() == 65);
    point.map(<[u8]>::to_vec).ok_or_else(refuse)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};

    use super::*;

    fn pair() -> (EcdsaKeyPair, String) {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("key");
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).expect("pair");
        let encoded = STANDARD.encode([&P256[..], pair.public_key().as_ref()].concat());
        (pair, format!("-----BEGIN PUBLIC KEY-----\n{encoded}\n-----END PUBLIC KEY-----\n"))
    }

    fn statement(digest: &HexId, kind: &str) -> Vec<u8> {
        let text = serde_json::json!({ "critical": {
            "identity": { "docker-reference": "r" }, "type": kind,
            "image": { "docker-manifest-digest": format!("sha256:{digest}") } }, "optional": null });
        text.to_string().into_bytes()
    }

    fn signed(pair: &EcdsaKeyPair, statement: &[u8]) -> Descriptor {
        let signature = pair.sign(&SystemRandom::new(), statement).expect("signature");
        let annotations = BTreeMap::from([(SIGNATURE.to_owned(), STANDARD.encode(signature))]);
        let (media_type, digest) = (String::new(), String::new());
        Descriptor { media_type, digest, size: 0, platform: None, annotations }
    }

    #[test]
    fn only_a_trusted_key_and_only_this_image() {
        let (ours, pem) = pair();
        let (theirs, _) = pair();
        let keys = [point(&pem).expect("point")];
        let (digest, other) = (HexId::from_bytes([1; 32]), HexId::from_bytes([2; 32]));
        let good = statement(&digest, STATEMENT);
        assert_eq!(judge(&good, &signed(&ours, &good), &keys, &digest).expect("judged"), Some(&*keys[0]));
        assert_eq!(judge(&good, &signed(&theirs, &good), &keys, &digest).expect("judged"), None);
        let changed = statement(&other, STATEMENT);
        assert_eq!(judge(&changed, &signed(&ours, &good), &keys, &other).expect("judged"), None);
        assert!(judge(&changed, &signed(&ours, &changed), &keys, &digest).is_err());
        let odd = statement(&digest, "something");
        assert!(judge(&odd, &signed(&ours, &odd), &keys, &digest).is_err());
        let mut bare = signed(&ours, &good);
        bare.annotations.clear();
        assert_eq!(judge(&good, &bare, &keys, &digest).expect("judged"), None);
    }

    #[test]
    fn the_longest_prefix_decides_at_folders_ends() {
        let key = |name: &str| vec![name.to_owned()];
        let settings = Settings {
            signed: vec![("a.io/x".to_owned(), key("1")), ("a.io/x/y".to_owned(), key("2"))],
            ..Settings::default()
        };
        let of = |name: &str| keys(&settings, Some(&Reference::parse(name).expect("name"))).cloned();
        assert_eq!(of("a.io/x/z"), Some(key("1")));
        assert_eq!(of("a.io/x"), Some(key("1")));
        assert_eq!(of("a.io/x/y/z:1"), Some(key("2")));
        assert_eq!(of("a.io/xy"), None);
        assert_eq!(of("x"), None);
        assert_eq!(keys(&settings, None), None);
        let all = Settings { signed: vec![(String::new(), key("3"))], ..settings };
        assert_eq!(keys(&all, None), Some(&key("3")));
    }

    #[test]
    fn other_keys_are_refused() {
        assert!(point("").is_err());
        assert!(point("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n").is_err());
    }
}
