//! Conversations with registries, by the OCI distribution specification. Everything a registry says is hostile until its
//! digest is right: answers are bounded in size and time, credentials go to the registry's own origin and to the token
//! service that it names over TLS, and redirections never lead from outside to this host.

mod auth;
mod content;
mod endpoint;
mod trouble;
mod upload;

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, LOCATION, WWW_AUTHENTICATE};
use reqwest::{Client, Method, Response, StatusCode, Url};
use tokio::sync::Mutex;

use super::reference::Reference;
use crate::{Result, Settings};

pub use auth::Credentials;
pub use content::Found;
pub use endpoint::{Endpoint, loopback};
pub use trouble::Trouble;

/// What is borne from a registry.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Until a connection stands.
    pub connect: Duration,
    /// Of silence.
    pub silence: Duration,
    /// In which a download must bring [`Limits::least`].
    pub window: Duration,
    /// Bytes.
    pub least: u64,
    /// At one thing, before it has failed.
    pub attempts: u32,
    /// Before the second attempt; doubled before each further one.
    pub back_off: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            silence: Duration::from_secs(30),
            window: Duration::from_secs(60),
            least: 16 << 10,
            attempts: 5,
            back_off: Duration::from_secs(1),
        }
    }
}

/// Redirections that are followed.
const REDIRECTIONS: usize = 5;
/// Of silence, in the midst of a short answer.
const SILENCE: Duration = Duration::from_secs(30);
/// Of an answer that is no content: tokens, lists of tags, errors.
const SMALL: usize = 1 << 20;

/// A conversation about one repository.
#[derive(Debug)]
pub struct Registry {
    client: Client,
    base: Url,
    path: String,
    /// What is asked for: `pull`, or `pull,push`.
    actions: &'static str,
    /// It holds copies of another's images.
    pub is_mirror: bool,
    credentials: Option<Credentials>,
    authorization: Mutex<Option<HeaderValue>>,
    limits: Limits,
}

/// A request, to be sent again when it has to be.
#[derive(Debug, Clone)]
struct Wish {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Bytes,
}

impl Wish {
    fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: HeaderMap::new(), body: Bytes::new() }
    }
}

impl Registry {
    /// Begins a conversation with the first endpoint that answers.
    ///
    /// # Errors
    /// None does, or the credentials are refused.
    pub async fn connect(
        settings: &Settings,
        reference: &Reference,
        credentials: Option<Credentials>,
        push: bool,
        limits: Limits,
    ) -> Result<Self, Trouble> {
        let endpoints = Endpoint::of(settings, &reference.domain, push);
        Self::first_of(endpoints, reference, credentials, push, limits).await
    }

    /// Begins a conversation with the registry itself, whatever mirrors it has.
    ///
    /// # Errors
    /// As for [`Registry::connect`].
    pub async fn connect_to_origin(
        settings: &Settings,
        reference: &Reference,
        credentials: Option<Credentials>,
        limits: Limits,
    ) -> Result<Self, Trouble> {
        let mut endpoints = Endpoint::of(settings, &reference.domain, false);
        endpoints.retain(|endpoint| !endpoint.mirror);
        Self::first_of(endpoints, reference, credentials, false, limits).await
    }

    async fn first_of(
        endpoints: Vec<Endpoint>,
        reference: &Reference,
        credentials: Option<Credentials>,
        push: bool,
        limits: Limits,
    ) -> Result<Self, Trouble> {
        let mut last = None;
        for endpoint in endpoints {
            let registry = Self {
                client: endpoint.client(&limits)?,
                base: endpoint.base.clone(),
                path: reference.path.clone(),
                actions: if push { "pull,push" } else { "pull" },
                is_mirror: endpoint.mirror,
                // A mirror is another host than the one that the credentials are for.
                credentials: credentials.clone().filter(|_| !endpoint.mirror),
                authorization: Mutex::new(None),
                limits,
            };
            match registry.ping().await {
                Ok(()) => return Ok(registry),
                // The registry's own no is the answer; the next endpoint is for one that cannot be reached.
                Err(trouble) if trouble.is_answer() && !endpoint.mirror => return Err(trouble),
                // What HTTPS said tells more than that plain HTTP was not understood either.
                Err(trouble) => last = Some(last.filter(|_| endpoint.fallback).unwrap_or(trouble)),
            }
        }
        Err(last.unwrap_or_else(|| Trouble::Unusable("no endpoint is known".to_owned())))
    }

    /// Asks whether it is a registry, and gets through its door.
    ///
    /// # Errors
    /// It is none, or does not let us in.
    pub async fn ping(&self) -> Result<(), Trouble> {
        let url = self.url("/v2/")?;
        let answer = self.raw(&Wish::new(Method::GET, url.clone())).await?;
        match answer.status() {
            StatusCode::OK => Ok(()),
            StatusCode::UNAUTHORIZED => self.authenticate(answer.headers(), &url).await,
            _ => Err(Trouble::read(answer).await),
        }
    }

    fn url(&self, path: &str) -> Result<Url, Trouble> {
        self.base.join(path).map_err(|error| Trouble::Unusable(format!("{}{path}: {error}", self.base)))
    }

    fn of_repository(&self, rest: &str) -> Result<Url, Trouble> {
        self.url(&format!("/v2/{}/{rest}", self.path))
    }

    /// Sends, authenticates when that is asked for, follows where it may.
    async fn send(&self, wish: &Wish) -> Result<Response, Trouble> {
        let mut wish = wish.clone();
        let mut asked = false;
        let mut followed = 0;
        loop {
            let answer = self.raw(&wish).await?;
            if answer.status() == StatusCode::UNAUTHORIZED && !asked && self.own(&wish.url) {
                // A token has run out, or another scope is wanted.
                self.authenticate(answer.headers(), &wish.url).await?;
                asked = true;
                continue;
            }
            let reading = matches!(wish.method, Method::GET | Method::HEAD);
            if !answer.status().is_redirection() || !reading {
                return Ok(answer);
            }
            followed += 1;
            if followed > REDIRECTIONS {
                return Err(Trouble::Unusable(format!(
                    "{}: more than {REDIRECTIONS} redirections",
                    wish.url
                )));
            }
            wish.url = self.follow(&wish.url, answer.headers())?;
        }
    }

    /// Sends once. Our authorization goes to the registry's own origin alone.
    async fn raw(&self, wish: &Wish) -> Result<Response, Trouble> {
        let authorization = self.authorization.lock().await.clone();
        let mut wish = wish.clone();
        if let Some(authorization) = authorization.filter(|_| self.own(&wish.url)) {
            wish.headers.insert(AUTHORIZATION, authorization);
        }
        self.bare(&wish).await
    }

    /// Sends once, as it is.
    async fn bare(&self, wish: &Wish) -> Result<Response, Trouble> {
        let mut request =
            self.client.request(wish.method.clone(), wish.url.clone()).headers(wish.headers.clone());
        if !wish.body.is_empty() || matches!(wish.method, Method::POST | Method::PUT) {
            request = request.body(wish.body.clone());
        }
        let answer = within(self.limits.silence, &wish.url, request.send()).await?;
        answer.map_err(|error| Trouble::unreachable(&wish.method, &wish.url, &error))
    }

    fn own(&self, url: &Url) -> bool {
        url.origin() == self.base.origin()
    }

    /// Where a redirection leads, if it may be followed.
    fn follow(&self, from: &Url, headers: &HeaderMap) -> Result<Url, Trouble> {
        let location = headers.get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let to =
            from.join(location).map_err(|_| Trouble::Unusable(format!("{from}: redirected to nowhere")))?;
        self.admit(to)
    }

    /// An address that the registry has named. What is on this host alone is none of its business, unless it is there
    /// itself; and what began under TLS stays under TLS.
    fn admit(&self, to: Url) -> Result<Url, Trouble> {
        let refuse = |why: &str| Trouble::Unusable(format!("{}: it leads to {to}, {why}", self.base));
        if self.own(&to) {
            return Ok(to);
        }
        match (self.base.scheme(), to.scheme()) {
            (_, "https") | ("http", "http") => {}
            _ => return Err(refuse("which is not under TLS")),
        }
        if endpoint::is_local(&to) && !endpoint::is_local(&self.base) {
            return Err(refuse("which is on this host or its link"));
        }
        Ok(to)
    }

    async fn authenticate(&self, headers: &HeaderMap, url: &Url) -> Result<(), Trouble> {
        let challenges: Vec<&str> =
            headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok()).collect();
        let value = self.answer(&challenges, url).await?;
        *self.authorization.lock().await = Some(value);
        Ok(())
    }
}

/// Waits, but not for ever.
async fn within<T>(limit: Duration, url: &Url, work: impl Future<Output = T>) -> Result<T, Trouble> {
    let late = |_| Trouble::Unreachable(format!("{url}: the registry said nothing for {limit:?}"));
    tokio::time::timeout(limit, work).await.map_err(late)
}

/// Reads an answer that may not be longer than `most`, whatever it says of its own length.
async fn bounded(mut answer: Response, most: usize) -> Result<Vec<u8>, Trouble> {
    let url = answer.url().clone();
    let mut bytes = Vec::new();
    loop {
        let chunk = within(SILENCE, &url, answer.chunk()).await?;
        let chunk = chunk.map_err(|error| Trouble::unreachable(&Method::GET, &url, &error))?;
        let Some(chunk) = chunk else { return Ok(bytes) };
        if bytes.len() + chunk.len() > most {
            return Err(Trouble::Unusable(format!("{url}: the answer is longer than {most} bytes")));
        }
        bytes.extend_from_slice(&chunk);
    }
}
