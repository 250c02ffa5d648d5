//! Who we are to a registry: bearer tokens and basic authentication.

use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, STANDARD};
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;

use super::{Registry, SMALL, Trouble, Wish, bounded};
use crate::{Failure, Result};

/// The longest `X-Registry-Auth`, in bytes.
const LONGEST: usize = 64 << 10;
/// Clients pad or do not.
const PADDED_OR_NOT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::URL_SAFE, PADDED_OR_NOT);
const PLAIN: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::STANDARD, PADDED_OR_NOT);

/// What a client gives us to be it.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "lowercase")]
pub struct Credentials {
    /// Its name.
    pub username: String,
    /// Its password, or an access token in the place of one.
    pub password: String,
    /// A token to get others with.
    pub identitytoken: String,
    /// A token to be shown as it is.
    pub registrytoken: String,
    /// For which registry.
    pub serveraddress: String,
    /// Name and password, joined and encoded, as old clients send them.
    pub auth: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials of {:?} at {:?}", self.username, self.serveraddress)
    }
}

impl Credentials {
    /// Reads the header `X-Registry-Auth`; none when it holds none.
    ///
    /// # Errors
    /// It is no base64, or no JSON.
    pub fn parse(header: &str) -> Result<Option<Self>> {
        let refuse =
            |why: &dyn std::fmt::Display| Failure::invalid(format!("invalid X-Registry-Auth header: {why}"));
        if header.len() > LONGEST {
            return Err(refuse(&"it is too long"));
        }
        let header = header.trim();
        let bytes =
            URL_SAFE.decode(header).or_else(|_| PLAIN.decode(header)).map_err(|error| refuse(&error))?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let mut read: Self =
            serde_json::from_slice(&bytes).map_err(|_| refuse(&"it is no JSON of credentials"))?;
        read.split();
        Ok(Some(read).filter(|read| !read.is_empty()))
    }

    /// Takes name and password from `auth` where they are not said apart.
    pub fn split(&mut self) {
        let joined = PLAIN.decode(&self.auth).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        if let (true, Some((name, password))) =
            (self.username.is_empty(), joined.as_deref().and_then(|joined| joined.split_once(':')))
        {
            (self.username, self.password) = (name.to_owned(), password.trim_end_matches('\0').to_owned());
        }
    }

    /// Nothing in it says who we are.
    pub fn is_empty(&self) -> bool {
        self.username.is_empty() && self.identitytoken.is_empty() && self.registrytoken.is_empty()
    }

    fn basic(&self) -> Result<HeaderValue, Trouble> {
        secret(format!("Basic {}", STANDARD.encode(format!("{}:{}", self.username, self.password))))
    }
}

/// One way that a registry offers.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Challenge {
    scheme: String,
    parameters: Vec<(String, String)>,
}

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
}

impl Registry {
    /// The header that answers one of the challenges.
    pub(super) async fn answer(&self, challenges: &[&str], url: &Url) -> Result<HeaderValue, Trouble> {
        let challenges: Vec<Challenge> =
            challenges.iter().filter_map(|text| Challenge::parse(text)).collect();
        let offered = |scheme: &str| challenges.iter().find(|challenge| challenge.scheme == scheme);
        if let Some(given) = self.credentials.as_ref().filter(|given| !given.registrytoken.is_empty()) {
            return secret(format!("Bearer {}", given.registrytoken));
        }
        if let Some(challenge) = offered("bearer") {
            return self.bearer(challenge).await;
        }
        if offered("basic").is_none() {
            return Err(Trouble::Unusable(format!(
                "{url}: it asks for no kind of authentication that is known"
            )));
        }
        let Some(credentials) = self.credentials.as_ref().filter(|given| !given.username.is_empty()) else {
            return Err(Trouble::NoCredentials(url.to_string()));
        };
        let basic = credentials.basic()?;
        if self.authorization.lock().await.as_ref() == Some(&basic) {
            // It was just refused.
            let (code, message) = ("UNAUTHORIZED".to_owned(), "authentication required".to_owned());
            return Err(Trouble::Answer { status: 401, code, message });
        }
        Ok(basic)
    }

    async fn bearer(&self, challenge: &Challenge) -> Result<HeaderValue, Trouble> {
        let realm = challenge.parameter("realm").unwrap_or_default();
        let unusable =
            || Trouble::Unusable(format!("{}: its token service {realm:?} is no address", self.base));
        let realm = self.admit(realm.parse().map_err(|_| unusable())?)?;
        let wish = match &self.credentials {
            Some(given) if !given.identitytoken.is_empty() => {
                self.refresh(realm, challenge, &given.identitytoken)
            }
            _ => self.token(realm, challenge)?,
        };
        // The token that has run out is nothing to ask for another with.
        let answer = self.bare(&wish).await?;
        if answer.status() != StatusCode::OK {
            return Err(Trouble::read(answer).await);
        }
        let token: Token = serde_json::from_slice(&bounded(answer, SMALL).await?)
            .map_err(|error| Trouble::Unusable(format!("{}: the token cannot be read: {error}", wish.url)))?;
        let token = if token.token.is_empty() { token.access_token } else { token.token };
        if token.is_empty() {
            return Err(Trouble::Unusable(
                "authorization server did not include a token in the response".to_owned(),
            ));
        }
        secret(format!("Bearer {token}"))
    }

    fn scope(&self, challenge: &Challenge) -> Option<String> {
        if !self.path.is_empty() {
            return Some(format!("repository:{}:{}", self.path, self.actions));
        }
        challenge.parameter("scope").map(str::to_owned)
    }

    fn token(&self, mut realm: Url, challenge: &Challenge) -> Result<Wish, Trouble> {
        {
            let mut query = realm.query_pairs_mut();
            if let Some(service) = challenge.parameter("service") {
                query.append_pair("service", service);
            }
            if let Some(scope) = self.scope(challenge) {
                query.append_pair("scope", &scope);
            }
            if let Some(given) = self.credentials.as_ref().filter(|given| !given.username.is_empty()) {
                query.append_pair("account", &given.username);
            }
        }
        let mut wish = Wish::new(Method::GET, realm);
        wish.headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(given) = self.credentials.as_ref().filter(|given| !given.username.is_empty()) {
            wish.headers.insert(AUTHORIZATION, given.basic()?);
        }
        Ok(wish)
    }

    /// By OAuth 2.0, section 6: a refresh token for an access token.
    fn refresh(&self, realm: Url, challenge: &Challenge, token: &str) -> Wish {
        let mut form = Url::parse("form:").unwrap_or_else(|_| realm.clone());
        form.query_pairs_mut()
            .append_pair("grant_type", "refresh_token")
            .append_pair("refresh_token", token)
            .append_pair("client_id", "casemate")
            .append_pair("service", challenge.parameter("service").unwrap_or_default())
            .append_pair("scope", &self.scope(challenge).unwrap_or_default());
        let mut wish = Wish::new(Method::POST, realm);
        wish.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        wish.body = form.query().unwrap_or_default().to_owned().into();
        wish
    }
}

impl Challenge {
    /// Reads `Scheme name="value",name=value`.
    fn parse(text: &str) -> Option<Self> {
        let (scheme, mut rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        let mut parameters = Vec::new();
        while let Some((name, after)) = rest.split_once('=') {
            let name = name.trim_matches([',', ' ']).to_ascii_lowercase();
            let (value, after) = match after.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"')?,
                None => after.split_once(',').unwrap_or((after, "")),
            };
            parameters.push((name, value.trim().to_owned()));
            rest = after;
        }
        let scheme = scheme.to_ascii_lowercase();
        (!scheme.is_empty()).then_some(Self { scheme, parameters })
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

fn secret(text: String) -> Result<HeaderValue, Trouble> {
    let mut value = HeaderValue::try_from(text)
        .map_err(|_| Trouble::Unusable("the registry's token cannot be sent in a header".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn challenges_are_read() {
        let text = r#"Bearer realm="https://auth.example/token",service="reg, ister",scope="repository:a/b:pull,push""#;
        let challenge = Challenge::parse(text).expect("a challenge");
        assert_eq!(challenge.scheme, "bearer");
        assert_eq!(challenge.parameter("realm"), Some("https://auth.example/token"));
        assert_eq!(challenge.parameter("service"), Some("reg, ister"));
        assert_eq!(challenge.parameter("scope"), Some("repository:a/b:pull,push"));
        assert_eq!(
            Challenge::parse("Basic realm=x, charset=UTF-8").expect("basic").parameter("charset"),
            Some("UTF-8")
        );
        assert_eq!(Challenge::parse("Bearer realm=\"x"), None);
    }

    #[test]
    fn credentials_come_padded_or_not_and_never_show() {
        assert_eq!(Credentials::parse("e30=").expect("none"), None);
        assert_eq!(Credentials::parse("e30").expect("none"), None);
        assert_eq!(Credentials::parse("").expect("none"), None);
        let given = URL_SAFE.encode(r#"{"username":"u","password":"s3cret","serveraddress":"h"}"#);
        let read = Credentials::parse(&given).expect("read").expect("some");
        assert_eq!((read.username.as_str(), read.password.as_str()), ("u", "s3cret"));
        assert!(!format!("{read:?}").contains("s3cret"));
        let joined = URL_SAFE.encode(format!(r#"{{"auth":"{}"}}"#, STANDARD.encode("u:p:q")));
        let read = Credentials::parse(&joined).expect("read").expect("some");
        assert_eq!((read.username.as_str(), read.password.as_str()), ("u", "p:q"));
        assert!(Credentials::parse("!!").is_err());
        assert!(Credentials::parse(&URL_SAFE.encode("[")).is_err());
    }

    proptest! {
        #[test]
        fn no_challenge_breaks_the_reader(text in ".{0,120}") {
            Challenge::parse(&text);
        }
    }
}
