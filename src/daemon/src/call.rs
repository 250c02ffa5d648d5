//! One call of the API, once it is known who calls and that they may.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use casemate_engine::images::{Filters, Image};
use casemate_engine::{Caller, Engine, Failure, Result};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::{HeaderMap, Request};
use serde::de::DeserializeOwned;

/// The largest JSON body, in bytes: a `docker create` with a seccomp profile inline stays far below.
pub const LARGEST_JSON: usize = 4 << 20;

/// A call.
#[derive(Debug)]
pub struct Call {
    /// The engine.
    pub engine: Arc<Engine>,
    /// Who calls.
    pub caller: Caller,
    /// The minor version of the API that the path names: 51 for `/v1.51/…`.
    pub version: u16,
    /// What the path's `{…}` stand for, percent-decoded.
    pub captured: BTreeMap<&'static str, String>,
    /// The query, decoded.
    pub query: Query,
    /// The rest of the request.
    pub request: Request<Body>,
    /// The image that it names, once that was looked up.
    pub image: OnceLock<Result<Arc<Image>>>,
}

/// What a client sends.
#[derive(Debug)]
pub enum Body {
    /// As it comes.
    Streamed(Incoming),
    /// Read already, to be judged.
    Read(Bytes),
}

/// A query, decoded; names may appear several times.
#[derive(Debug, Clone, Default)]
pub struct Query(pub Vec<(String, String)>);

impl Query {
    /// The first value of a name, unless it is empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        found.filter(|value| !value.is_empty())
    }

    /// All values of a name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A flag as Docker reads it: anything but nothing, `0`, `no`, `false` and `none` is true.
    pub fn flag(&self, name: &str) -> bool {
        let value = self.text(name).unwrap_or_default().trim().to_ascii_lowercase();
        !matches!(value.as_str(), "" | "0" | "no" | "false" | "none")
    }

    /// A flag that is `default` where it is not given at all.
    pub fn flag_or(&self, name: &str, default: bool) -> bool {
        if self.0.iter().any(|(key, _)| key == name) { self.flag(name) } else { default }
    }

    /// `filters`, in both of the forms that clients send: `{"a":["b"]}` and `{"a":{"b":true}}`.
    ///
    /// # Errors
    /// It is neither.
    pub fn filters(&self) -> Result<Filters> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Values {
            List(Vec<String>),
            Set(BTreeMap<String, bool>),
        }
        let Some(text) = self.text("filters") else { return Ok(Filters::default()) };
        let read: BTreeMap<String, Values> = serde_json::from_str(text)
            .map_err(|error| Failure::invalid(format!("invalid filter: {error}")))?;
        let list = |values| match values {
            Values::List(list) => list,
            Values::Set(set) => {
                set.into_iter().filter(|(_, wanted)| *wanted).map(|(value, _)| value).collect()
            }
        };
        Ok(Filters(read.into_iter().map(|(name, values)| (name, list(values))).collect()))
    }

    /// A number.
    ///
    /// # Errors
    /// It is none.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>> {
        let refuse = |text| Failure::invalid(format!("invalid value {text:?} for {name}: expected a number"));
        self.text(name).map(|text| text.parse().map_err(|_| refuse(text))).transpose()
    }
}

impl Call {
    /// What a `{name}` of the path stands for.
    pub fn captured(&self, name: &str) -> &str {
        self.captured.get(name).map_or("", String::as_str)
    }

    /// The image that a create names. It is looked up once: what was judged is what is used, whatever its name has come to
    /// mean meanwhile.
    ///
    /// # Errors
    /// There was none.
    pub fn image(&self, name: &str) -> Result<Arc<Image>> {
        self.image.get_or_init(|| self.engine.images.find(&self.caller, name)).clone()
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        self.request.headers()
    }

    /// The body as JSON; unknown properties are left out, as Docker does.
    ///
    /// # Errors
    /// In Docker's words: another content type, no body, or none that can be read.
    pub async fn json<T: DeserializeOwned>(&mut self) -> Result<T> {
        let kind = self.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let plain = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if plain != "application/json" {
            let message = format!("unsupported Content-Type header ({kind}): must be 'application/json'");
            return Err(Failure::invalid(message));
        }
        let bytes = self.bytes(LARGEST_JSON).await?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Err(Failure::invalid("invalid JSON: got EOF while reading request body"));
        }
        serde_json::from_slice(&bytes).map_err(|error| Failure::invalid(format!("invalid JSON: {error}")))
    }

    /// The body as JSON where there is one.
    ///
    /// # Errors
    /// As for [`Call::json`], but for an empty body.
    pub async fn json_or_default<T: DeserializeOwned + Default>(&mut self) -> Result<T> {
        let bytes = self.bytes(LARGEST_JSON).await?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(T::default());
        }
        serde_json::from_slice(&bytes).map_err(|error| Failure::invalid(format!("invalid JSON: {error}")))
    }

    /// The whole body, at most so many bytes of it.
    ///
    /// # Errors
    /// It is longer, or breaks off.
    pub async fn bytes(&mut self, most: usize) -> Result<Bytes> {
        let taken = std::mem::replace(self.request.body_mut(), Body::Read(Bytes::new()));
        match taken {
            Body::Read(bytes) => Ok(bytes),
            Body::Streamed(body) => match Limited::new(body, most).collect().await {
                Ok(whole) => Ok(whole.to_bytes()),
                Err(error) => Err(Failure::invalid(format!("request body: {error}"))),
            },
        }
    }
}
