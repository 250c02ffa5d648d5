//! What a registry is given.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use casemate_spec::wire::HexId;
use futures_util::{Stream, StreamExt};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION};
use reqwest::{Body, Method, Response, StatusCode, Url};

use super::{Registry, Trouble, Wish};

/// Without a byte taken. Registries move what they have got to slow places before they answer.
const STALLED: Duration = Duration::from_secs(300);

impl Registry {
    /// Asks for a blob from another repository of the same registry. Where it does not work out, the answer is where to
    /// send the bytes.
    ///
    /// # Errors
    /// Neither can be had.
    pub async fn mount(&self, digest: &HexId, from: &str) -> Result<Option<Url>, Trouble> {
        let mut url = self.of_repository("blobs/uploads/")?;
        url.query_pairs_mut().append_pair("mount", &format!("sha256:{digest}")).append_pair("from", from);
        let answer = self.patiently(&Wish::new(Method::POST, url)).await?;
        match answer.status() {
            StatusCode::CREATED => Ok(None),
            StatusCode::ACCEPTED => self.location(&answer).map(Some),
            _ => self.begin().await.map(Some),
        }
    }

    /// Where to send a blob's bytes.
    ///
    /// # Errors
    /// It wants none.
    pub async fn begin(&self) -> Result<Url, Trouble> {
        let answer = self.patiently(&Wish::new(Method::POST, self.of_repository("blobs/uploads/")?)).await?;
        match answer.status() {
            StatusCode::ACCEPTED => self.location(&answer),
            _ => Err(Trouble::read(answer).await),
        }
    }

    /// Sends a blob's bytes to where [`Registry::begin`] said.
    ///
    /// # Errors
    /// They do not arrive, or are others than their digest says.
    pub async fn upload<S>(&self, to: Url, digest: &HexId, size: u64, bytes: S) -> Result<(), Trouble>
    where
        S: Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    {
        let taken = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&taken);
        let bytes = bytes.inspect(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        let mut url = to;
        url.query_pairs_mut().append_pair("digest", &format!("sha256:{digest}"));
        let mut request = self
            .client
            .put(url.clone())
            .header(CONTENT_LENGTH, size)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))
            .body(Body::wrap_stream(bytes));
        if self.own(&url)
            && let Some(authorization) = self.authorization.lock().await.clone()
        {
            request = request.header(reqwest::header::AUTHORIZATION, authorization);
        }
        let sent = unless_stalled(&url, &taken, request.send()).await?;
        let answer = sent.map_err(|error| Trouble::unreachable(&Method::PUT, &url, &error))?;
        match answer.status() {
            StatusCode::CREATED => Ok(()),
            _ => Err(Trouble::read(answer).await),
        }
    }

    /// Gives a manifest a tag.
    ///
    /// # Errors
    /// The registry refuses it.
    pub async fn put_manifest(&self, tag: &str, media_type: &str, bytes: Vec<u8>) -> Result<(), Trouble> {
        let mut wish = Wish::new(Method::PUT, self.of_repository(&format!("manifests/{tag}"))?);
        let media_type = HeaderValue::from_str(media_type)
            .map_err(|_| Trouble::Unusable(format!("media type {media_type:?}: it cannot be sent")))?;
        wish.headers.insert(CONTENT_TYPE, media_type);
        wish.body = bytes.into();
        let answer = self.patiently(&wish).await?;
        match answer.status() {
            StatusCode::CREATED | StatusCode::OK | StatusCode::ACCEPTED => Ok(()),
            _ => Err(Trouble::read(answer).await),
        }
    }

    fn location(&self, answer: &Response) -> Result<Url, Trouble> {
        let missing = || Trouble::Unusable(format!("{}: it does not say where to upload to", answer.url()));
        let value =
            answer.headers().get(LOCATION).and_then(|value| value.to_str().ok()).ok_or_else(missing)?;
        self.admit(answer.url().join(value).map_err(|_| missing())?)
    }
}

/// Waits as long as the other side takes something.
async fn unless_stalled<T>(
    url: &Url,
    taken: &AtomicU64,
    work: impl Future<Output = T>,
) -> Result<T, Trouble> {
    tokio::pin!(work);
    let mut before = 0;
    loop {
        if let Ok(done) = tokio::time::timeout(STALLED, &mut work).await {
            return Ok(done);
        }
        let now = taken.load(Ordering::Relaxed);
        if now == before {
            return Err(Trouble::Unreachable(format!("{url}: the registry took nothing for {STALLED:?}")));
        }
        before = now;
    }
}
