//! What a registry gives: manifests, blobs, tags.

use casemate_spec::wire::HexId;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue, LINK, RANGE};
use reqwest::{Method, Response, StatusCode};
use serde::Deserialize;

use super::{Registry, SMALL, Trouble, Wish, bounded};
use crate::images::manifest::{ACCEPTED, LARGEST};
use crate::images::reference::parse_digest;
use crate::images::sha256;

/// Of one repository, tags that are listed.
const MOST_TAGS: usize = 10_000;
/// How the registry names what it gives.
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// A blob's bytes, on their way.
#[derive(Debug)]
pub struct Blob {
    /// From where on they come.
    pub offset: u64,
    /// The answer.
    pub answer: Response,
}

/// A manifest as it came.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Their digest.
    pub digest: HexId,
    /// What it was called.
    pub media_type: String,
}

#[derive(Deserialize)]
struct Tags {
    tags: Option<Vec<String>>,
}

impl Registry {
    /// Fetches a manifest by a tag, or by `sha256:…`; then it is that one.
    ///
    /// # Errors
    /// There is none, or not the one of this digest.
    pub async fn manifest(&self, name: &str) -> Result<Found, Trouble> {
        let mut wish = Wish::new(Method::GET, self.of_repository(&format!("manifests/{name}"))?);
        let accepted = HeaderValue::from_str(&ACCEPTED.join(", "));
        wish.headers.insert(ACCEPT, accepted.unwrap_or(HeaderValue::from_static("*/*")));
        let answer = self.patiently(&wish).await?;
        if answer.status() != StatusCode::OK {
            return Err(Trouble::read(answer).await);
        }
        let header = |name: HeaderName| {
            let value = answer.headers().get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let (media_type, named) = (header(CONTENT_TYPE), header(CONTENT_DIGEST));
        let bytes = bounded(answer, LARGEST).await?;
        let digest = sha256(&bytes);
        // A tag's digest is whatever came, but a registry that says another has given something else than it meant.
        for expected in [name, &named].into_iter().filter_map(|text| parse_digest(text).ok()) {
            if expected != digest {
                let message = format!("manifest verification failed for digest sha256:{expected}");
                return Err(Trouble::Unusable(message));
            }
        }
        Ok(Found { bytes, digest, media_type })
    }

    /// Fetches a small blob, which is the one of this digest.
    ///
    /// # Errors
    /// There is none, or another, or it is larger than `most`.
    pub async fn document(&self, digest: &HexId, most: usize) -> Result<Vec<u8>, Trouble> {
        let wish = Wish::new(Method::GET, self.of_repository(&format!("blobs/sha256:{digest}"))?);
        let answer = self.patiently(&wish).await?;
        if answer.status() != StatusCode::OK {
            return Err(Trouble::read(answer).await);
        }
        let bytes = bounded(answer, most).await?;
        if sha256(&bytes) != *digest {
            return Err(Trouble::Unusable(format!(
                "image config verification failed for digest sha256:{digest}"
            )));
        }
        Ok(bytes)
    }

    /// Begins to fetch a blob, from an offset on where the registry can do that; once, without patience.
    ///
    /// # Errors
    /// There is none.
    pub async fn blob(&self, digest: &HexId, offset: u64) -> Result<Blob, Trouble> {
        let mut wish = Wish::new(Method::GET, self.of_repository(&format!("blobs/sha256:{digest}"))?);
        if offset > 0
            && let Ok(range) = HeaderValue::from_str(&format!("bytes={offset}-"))
        {
            wish.headers.insert(RANGE, range);
        }
        let answer = self.send(&wish).await?;
        match answer.status() {
            StatusCode::OK => Ok(Blob { offset: 0, answer }),
            StatusCode::PARTIAL_CONTENT if offset > 0 => {
                let range = answer.headers().get(reqwest::header::CONTENT_RANGE);
                let range = range.and_then(|value| value.to_str().ok()).unwrap_or_default();
                if !range.starts_with(&format!("bytes {offset}-")) {
                    return Err(Trouble::Unusable(format!(
                        "{}: it sent another part than was asked for",
                        wish.url
                    )));
                }
                Ok(Blob { offset, answer })
            }
            _ => Err(Trouble::read(answer).await),
        }
    }

    /// Whether it has a blob.
    ///
    /// # Errors
    /// It does not say.
    pub async fn has(&self, digest: &HexId) -> Result<bool, Trouble> {
        let wish = Wish::new(Method::HEAD, self.of_repository(&format!("blobs/sha256:{digest}"))?);
        let answer = self.patiently(&wish).await?;
        match answer.status() {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(Trouble::read(answer).await),
        }
    }

    /// All tags of the repository.
    ///
    /// # Errors
    /// They cannot be listed, or are too many.
    pub async fn tags(&self) -> Result<Vec<String>, Trouble> {
        let mut all = Vec::new();
        let mut next = Some(self.of_repository("tags/list")?);
        while let Some(url) = next {
            let answer = self.patiently(&Wish::new(Method::GET, url.clone())).await?;
            if answer.status() != StatusCode::OK {
                return Err(Trouble::read(answer).await);
            }
            let link = answer.headers().get(LINK).and_then(|value| value.to_str().ok());
            let target =
                link.and_then(|link| link.split_once('<')?.1.split_once('>')).map(|(target, _)| target);
            next = target.and_then(|target| url.join(target).ok()).filter(|to| self.own(to) && *to != url);
            let page: Tags = serde_json::from_slice(&bounded(answer, LARGEST).await?)
                .map_err(|error| Trouble::Unusable(format!("{url}: {error}")))?;
            let page = page.tags.unwrap_or_default();
            if page.is_empty() {
                break;
            }
            all.extend(page);
            if all.len() > MOST_TAGS {
                return Err(Trouble::Unusable(format!("{url}: more than {MOST_TAGS} tags")));
            }
        }
        Ok(all)
    }

    /// Asks the old search of a registry.
    ///
    /// # Errors
    /// It has none.
    pub async fn search(&self, term: &str, limit: usize) -> Result<Vec<u8>, Trouble> {
        let mut url = self.url("/v1/search")?;
        url.query_pairs_mut().append_pair("q", term).append_pair("n", &limit.to_string());
        let answer = self.patiently(&Wish::new(Method::GET, url)).await?;
        match answer.status() {
            StatusCode::OK => bounded(answer, SMALL).await,
            _ => Err(Trouble::read(answer).await),
        }
    }

    /// Sends again, with pauses, what fails in passing.
    pub(super) async fn patiently(&self, wish: &Wish) -> Result<Response, Trouble> {
        let mut pause = self.limits.back_off;
        for _ in 1..self.limits.attempts {
            match self.send(wish).await {
                Ok(answer) if !matches!(answer.status().as_u16(), 429 | 502..=504) => return Ok(answer),
                Err(trouble) if !trouble.is_passing() => return Err(trouble),
                Ok(_) | Err(_) => tokio::time::sleep(pause).await,
            }
            pause *= 2;
        }
        self.send(wish).await
    }
}
