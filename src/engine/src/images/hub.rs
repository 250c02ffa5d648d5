//! What is asked of a registry as a whole: to let somebody in, and to search.

use serde::{Deserialize, Serialize};

use super::filters::Filters;
use super::reference::{DEFAULT_DOMAIN, Reference};
use super::registry::{Credentials, Registry, Trouble};
use crate::{Engine, Failure, Kind, Result};

/// Results that a search gives at most.
const MOST: usize = 100;
/// Unless something else is asked for.
const USUAL: usize = 25;

/// An image that a search has found, as registries and Docker write it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hit {
    /// Its repository.
    #[serde(default)]
    pub name: String,
    /// What it is.
    #[serde(default)]
    pub description: String,
    /// How many like it.
    #[serde(default)]
    pub star_count: u64,
    /// It is one of the registry's own.
    #[serde(default)]
    pub is_official: bool,
    /// It is built by the registry.
    #[serde(default)]
    pub is_automated: bool,
}

#[derive(Deserialize)]
struct Hits {
    #[serde(default)]
    results: Vec<Hit>,
}

/// Asks a registry whether it knows somebody.
///
/// # Errors
/// It does not, or cannot be reached.
pub async fn login(engine: &Engine, credentials: Credentials) -> Result<()> {
    let server = credentials.serveraddress.clone();
    let reference = whole(&domain(&server))?;
    let limits = engine.images.limits;
    let registry = Registry::connect(&engine.settings, &reference, Some(credentials), true, limits).await;
    let asked = match registry {
        // The door is opened on our word at first; only what comes then shows whether it was believed.
        Ok(registry) => registry.ping().await,
        Err(trouble) => Err(trouble),
    };
    asked.map_err(|trouble| match &trouble {
        Trouble::Answer { status: 401, .. } | Trouble::NoCredentials(_) => {
            Failure::new(Kind::Unauthorized, format!("login attempt to {server} failed: {}", trouble.text()))
        }
        _ => trouble.failure(),
    })
}

/// The registry that a client means by an address such as `https://index.docker.io/v1/`.
fn domain(address: &str) -> String {
    let rest =
        address.strip_prefix("https://").or_else(|| address.strip_prefix("http://")).unwrap_or(address);
    let host = rest.split('/').next().unwrap_or_default();
    match host {
        "" | "index.docker.io" | "registry-1.docker.io" => DEFAULT_DOMAIN.to_owned(),
        host => host.to_owned(),
    }
}

/// A registry without any repository of it.
fn whole(domain: &str) -> Result<Reference> {
    // A name that can be none is refused before anything is connected to.
    let checked = Reference::parse(&format!("{domain}/x"))?;
    if checked.domain != domain {
        return Err(Failure::invalid(format!("{domain:?} is no registry")));
    }
    Ok(Reference { path: String::new(), ..checked })
}

/// Searches where there is something to search: in the registry that the term names, or the first mirror, or Docker's.
///
/// # Errors
/// That one cannot be searched.
pub async fn search(
    engine: &Engine,
    term: &str,
    limit: Option<usize>,
    filters: &Filters,
    credentials: Option<Credentials>,
) -> Result<Vec<Hit>> {
    filters.only(&["is-automated", "is-official", "stars"])?;
    if limit.is_some_and(|limit| limit > MOST) {
        return Err(Failure::invalid(format!("limit is out of range: it may be {MOST} at most")));
    }
    let refuse = |value: &String| Failure::invalid(format!("invalid filter 'stars=[{value}]'"));
    let stars = filters.values("stars").iter().map(|value| value.parse::<u64>().map_err(|_| refuse(value)));
    let stars = stars.collect::<Result<Vec<_>>>()?.into_iter().max().unwrap_or(0);
    let (official, automated) = (filters.flag("is-official")?, filters.flag("is-automated")?);
    let (domain, term) = match term.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
        _ => (DEFAULT_DOMAIN, term),
    };
    let reference = whole(domain)?;
    let limits = engine.images.limits;
    let registry = Registry::connect(&engine.settings, &reference, credentials, false, limits).await?;
    let found = registry.search(term, limit.unwrap_or(USUAL)).await.map_err(|trouble| match trouble {
        trouble if trouble.is_missing() => Failure::unsupported(format!(
            "{domain}: this registry cannot be searched: look for names at its own pages"
        )),
        trouble => trouble.failure(),
    })?;
    let hits: Hits = serde_json::from_slice(&found)
        .map_err(|_| Failure::unsupported(format!("{domain}: this registry cannot be searched")))?;
    let fits = |hit: &Hit| {
        hit.star_count >= stars
            && official.is_none_or(|wanted| hit.is_official == wanted)
            && automated.is_none_or(|wanted| hit.is_automated == wanted)
    };
    Ok(hits.results.into_iter().filter(fits).take(limit.unwrap_or(USUAL)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_known_by_every_address() {
        for address in ["https://index.docker.io/v1/", "", "docker.io", "registry-1.docker.io"] {
            assert_eq!(domain(address), "docker.io");
        }
        assert_eq!(domain("http://127.0.0.1:5000/v2/"), "127.0.0.1:5000");
        assert_eq!(whole("127.0.0.1:5000").expect("registry").domain, "127.0.0.1:5000");
        for bad in ["a b.c", "x@y.z", "a.b/../c", "localhost:99999"] {
            assert!(whole(bad).is_err(), "{bad}");
        }
    }
}
