//! What goes wrong with registries, in Docker's words.

use reqwest::{Method, Response, StatusCode, Url};
use serde::Deserialize;

use super::{SMALL, bounded};
use crate::images::reference::Reference;
use crate::{Failure, Kind};

/// The longest text of a registry's that is handed on, in characters.
const QUOTED: usize = 500;

/// Why a registry did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// It said no.
    Answer {
        /// The status.
        status: u16,
        /// The specification's code, such as `MANIFEST_UNKNOWN`; empty when it gave none.
        code: String,
        /// What it said.
        message: String,
    },
    /// It wants credentials, and there are none.
    NoCredentials(String),
    /// It cannot be reached, or broke off; again may help.
    Unreachable(String),
    /// It said something that is not used; again does not help.
    Unusable(String),
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    errors: Vec<Entry>,
    #[serde(default)]
    details: String,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

impl Trouble {
    /// Reads what a registry says of its refusal.
    pub async fn read(answer: Response) -> Self {
        let status = answer.status();
        let url = answer.url().clone();
        let body = bounded(answer, SMALL).await.unwrap_or_default();
        let envelope = serde_json::from_slice::<Envelope>(&body).ok();
        let first = envelope.as_ref().and_then(|envelope| envelope.errors.first());
        match (first, envelope.as_ref().map(|envelope| envelope.details.as_str())) {
            (Some(first), _) => Self::Answer {
                status: status.as_u16(),
                code: quoted(&first.code),
                message: quoted(&first.message),
            },
            (None, Some(details)) if !details.is_empty() => {
                let code = if status == StatusCode::UNAUTHORIZED { "UNAUTHORIZED" } else { "" };
                Self::Answer { status: status.as_u16(), code: code.to_owned(), message: quoted(details) }
            }
            _ => {
                let message = format!("received unexpected HTTP status: {status} ({url})");
                Self::Answer { status: status.as_u16(), code: String::new(), message }
            }
        }
    }

    /// The connection failed.
    pub fn unreachable(method: &Method, url: &Url, error: &reqwest::Error) -> Self {
        let method = match *method {
            Method::GET => "Get",
            Method::HEAD => "Head",
            Method::POST => "Post",
            Method::PUT => "Put",
            _ => "Send",
        };
        let mut reason = error.to_string();
        let mut source = std::error::Error::source(error);
        // The innermost says what happened; those around it only that something did.
        while let Some(inner) = source {
            reason = inner.to_string();
            source = inner.source();
        }
        if error.is_timeout() {
            reason =
                "net/http: request canceled while waiting for the registry (timeout exceeded)".to_owned();
        }
        Self::Unreachable(format!("{method} \"{url}\": {}", quoted(&reason)))
    }

    /// The registry has spoken: another endpoint would not say otherwise.
    pub fn is_answer(&self) -> bool {
        matches!(self, Self::Answer { .. } | Self::NoCredentials(_))
    }

    /// Another attempt may help.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Answer { status, .. } => matches!(status, 408 | 429 | 500 | 502..=504),
            Self::NoCredentials(_) | Self::Unusable(_) => false,
        }
    }

    /// There is no such thing.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Answer { status: 404, .. })
    }

    /// As Docker words it where nothing more is known.
    pub fn text(&self) -> String {
        match self {
            Self::Answer { code, message, .. } if code.is_empty() => message.clone(),
            Self::Answer { code, message, .. } => {
                let code = code.to_ascii_lowercase().replace('_', " ");
                if message.is_empty() { code } else { format!("{code}: {message}") }
            }
            Self::NoCredentials(url) => format!("Get \"{url}\": no basic auth credentials"),
            Self::Unreachable(text) | Self::Unusable(text) => text.clone(),
        }
    }

    /// What a pull of this ends with.
    pub fn of_pull(&self, reference: &Reference) -> Failure {
        let shown = reference.familiar();
        let name = reference.familiar_name();
        let text = self.text();
        let (status, code) = match self {
            Self::Answer { status, code, .. } => (*status, code.as_str()),
            _ => (0, ""),
        };
        match (status, code) {
            (_, "DENIED") | (401, "UNAUTHORIZED")
                if code == "DENIED" || text.contains("authentication required") =>
            {
                Failure::not_found(format!(
                    "pull access denied for {name}, repository does not exist or may require 'docker login': {text}"
                ))
            }
            (_, "MANIFEST_UNKNOWN") => Failure::not_found(format!("manifest for {shown} not found: {text}")),
            (_, "NAME_UNKNOWN") => Failure::not_found(format!("repository {name} not found: {text}")),
            _ => self.failure(),
        }
    }

    /// A failure of the kind that the registry's answer is of.
    pub fn failure(&self) -> Failure {
        let kind = match self {
            Self::Answer { status: 401, .. } => Kind::Unauthorized,
            Self::Answer { status: 403, .. } => Kind::Forbidden,
            Self::Answer { status: 404, .. } => Kind::NotFound,
            _ => Kind::Failed,
        };
        Failure::new(kind, self.text())
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        trouble.failure()
    }
}

/// Text of a registry's goes to terminals: no control characters, and not too much of it.
fn quoted(text: &str) -> String {
    text.chars().take(QUOTED).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
