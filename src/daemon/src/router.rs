//! From a request line to a route.

use std::collections::BTreeMap;

use casemate_engine::{Failure, Result};
use hyper::Method;

use crate::call::Query;
use crate::routes::{Route, Verb};

/// The newest version of the API, as its minor number.
pub const NEWEST: u16 = 51;
/// The oldest one that is answered.
pub const OLDEST: u16 = 24;

/// The routes, ready to be searched.
#[derive(Debug)]
pub struct Router(Vec<Compiled>);

#[derive(Debug)]
struct Compiled {
    route: Route,
    segments: Vec<Segment>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Segment {
    Literal(&'static str),
    One(&'static str),
    Many(&'static str),
}

/// What was found.
#[derive(Debug)]
pub struct Found {
    /// The route.
    pub route: Route,
    /// What the path's `{…}` stand for.
    pub captured: BTreeMap<&'static str, String>,
}

impl Router {
    /// Of these routes.
    pub fn new(table: Vec<Route>) -> Self {
        let compile = |route: Route| {
            let segments = route.path.trim_start_matches('/').split('/').map(segment).collect();
            Compiled { route, segments }
        };
        Self(table.into_iter().map(compile).collect())
    }

    /// The route of a method and a path without version; where several fit, the one with the most literal segments.
    pub fn find(&self, method: &Method, path: &str) -> Option<Found> {
        let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        let fits = self.0.iter().filter(|compiled| compiled.route.method.is(method));
        let fits = fits.filter(|compiled| compiled.fits(&segments));
        let best = fits.max_by_key(|compiled| compiled.literals())?;
        Some(Found { route: best.route, captured: best.capture(&segments)? })
    }
}

impl Compiled {
    fn literals(&self) -> usize {
        self.segments.iter().filter(|segment| matches!(segment, Segment::Literal(_))).count()
    }

    /// How many segments of a path the `{name*}` takes: it is the only one, so the lengths say it.
    fn spread(&self, path: &[&str]) -> Option<usize> {
        let many = self.segments.iter().any(|segment| matches!(segment, Segment::Many(_)));
        let rest = (path.len() + 1).checked_sub(self.segments.len())?;
        match many {
            true if rest > 0 => Some(rest),
            false if rest == 1 => Some(1),
            _ => None,
        }
    }

    fn pairs<'a>(&self, path: &'a [&'a str]) -> Option<Vec<(Segment, &'a [&'a str])>> {
        let spread = self.spread(path)?;
        let mut rest = path;
        let mut pairs = Vec::new();
        for segment in &self.segments {
            let take = if matches!(segment, Segment::Many(_)) { spread } else { 1 };
            let (taken, left) = rest.split_at_checked(take)?;
            pairs.push((*segment, taken));
            rest = left;
        }
        Some(pairs)
    }

    fn fits(&self, path: &[&str]) -> bool {
        let fits = |(segment, taken): &(Segment, &[&str])| match segment {
            Segment::Literal(text) => *taken == [*text],
            Segment::One(_) | Segment::Many(_) => taken.iter().all(|part| !part.is_empty()),
        };
        self.pairs(path).is_some_and(|pairs| pairs.iter().all(fits))
    }

    fn capture(&self, path: &[&str]) -> Option<BTreeMap<&'static str, String>> {
        let named = self.pairs(path)?.into_iter().filter_map(|(segment, taken)| match segment {
            Segment::Literal(_) => None,
            Segment::One(name) | Segment::Many(name) => Some((name, taken)),
        });
        named.map(|(name, taken)| Some((name, decode(&taken.join("/"), false)?))).collect()
    }
}

fn segment(text: &'static str) -> Segment {
    let Some(name) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) else {
        return Segment::Literal(text);
    };
    name.strip_suffix('*').map_or(Segment::One(name), Segment::Many)
}

impl Verb {
    fn is(self, method: &Method) -> bool {
        let name = match self {
            Self::Get => Method::GET,
            Self::Head => Method::HEAD,
            Self::Post => Method::POST,
            Self::Put => Method::PUT,
            Self::Delete => Method::DELETE,
        };
        *method == name
    }
}

/// Takes the version off a path: its minor number, and the rest.
///
/// # Errors
/// In Docker's words: the version is too new or too old.
pub fn version(path: &str) -> Result<(u16, &str)> {
    let Some((text, rest)) = split(path) else { return Ok((NEWEST, path)) };
    let (Some(major), Some(minor)) = (text.0.parse::<u16>().ok(), text.1.parse::<u16>().ok()) else {
        return Ok((NEWEST, path));
    };
    let asked = format!("client version {major}.{minor}");
    match (major, minor) {
        (1, OLDEST..=NEWEST) => Ok((minor, rest)),
        (0, _) | (1, ..OLDEST) => {
            let words = "is too old. Minimum supported API version is";
            let remedy = "please upgrade your client to a newer version";
            Err(Failure::invalid(format!("{asked} {words} 1.{OLDEST}, {remedy}")))
        }
        _ => {
            let words = "is too new. Maximum supported API version is";
            Err(Failure::invalid(format!("{asked} {words} 1.{NEWEST}")))
        }
    }
}

/// `/v1.41/info` is `("1", "41")` and `/info`.
fn split(path: &str) -> Option<((&str, &str), &str)> {
    let text = path.strip_prefix("/v")?;
    let (version, rest) = text.split_at_checked(text.find('/').unwrap_or(text.len()))?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let (major, minor) = version.split_once('.')?;
    (digits(major) && digits(minor)).then_some(((major, minor), rest))
}

/// A query, decoded. What is not sound UTF-8 in it is left out.
pub fn query(text: &str) -> Query {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    let read = pairs.filter_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((decode(name, true)?, decode(value, true)?))
    });
    Query(read.collect())
}

/// Percent-decodes; none where that is no UTF-8 or has a NUL, which is in no name of ours and means harm.
fn decode(text: &str, plus: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        rest = others;
        match (first, others) {
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    bytes.push(high << 4 | low);
                    rest = after;
                }
                _ => bytes.push(b'%'),
            },
            (b'+', _) if plus => bytes.push(b' '),
            (byte, _) => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::Subject;

    const fn route(method: Verb, path: &'static str, operation: &'static str) -> Route {
        let handler: fn(crate::call::Call) -> crate::routes::Answering =
            |_| Box::pin(async { Ok(crate::answer::Answer::done()) });
        Route { method, path, operation, subject: Subject::Nothing, handler }
    }

    fn find(method: Method, path: &str) -> Option<(&'static str, Vec<(&'static str, String)>)> {
        let router = Router::new(vec![
            route(Verb::Get, "/images/json", "list"),
            route(Verb::Get, "/images/{name*}/json", "inspect"),
            route(Verb::Get, "/images/get", "save"),
            route(Verb::Get, "/images/{name*}/get", "saveone"),
            route(Verb::Delete, "/images/{name*}", "remove"),
            route(Verb::Get, "/containers/{id}/json", "container"),
            route(Verb::Head, "/_ping", "ping"),
        ]);
        let found = router.find(&method, path)?;
        Some((found.route.operation, found.captured.into_iter().collect()))
    }

    #[test]
    fn names_may_have_slashes() {
        let name = |text: &str| vec![("name", text.to_owned())];
        assert_eq!(find(Method::GET, "/images/json"), Some(("list", vec![])));
        assert_eq!(find(Method::GET, "/images/a/b:1/json"), Some(("inspect", name("a/b:1"))));
        assert_eq!(find(Method::GET, "/images/json/json"), Some(("inspect", name("json"))));
        assert_eq!(find(Method::DELETE, "/images/h:5/a%2Fb"), Some(("remove", name("h:5/a/b"))));
        let id = vec![("id", "x y".to_owned())];
        assert_eq!(find(Method::GET, "/containers/x%20y/json"), Some(("container", id)));
        assert_eq!(find(Method::HEAD, "/_ping"), Some(("ping", vec![])));
    }

    #[test]
    fn what_is_no_route_is_not_found() {
        for path in ["", "/", "/images", "/images/", "/images//json", "/containers/a/b/json", "images/json"] {
            assert_eq!(find(Method::GET, path), None, "{path:?}");
        }
        for path in ["/containers/a%00/json", "/containers/%ff/json"] {
            assert_eq!(find(Method::GET, path), None, "{path:?}");
        }
        assert_eq!(find(Method::POST, "/images/json"), None);
    }

    #[test]
    fn versions_are_bounded() {
        assert_eq!(version("/v1.41/info").expect("a version"), (41, "/info"));
        assert_eq!(version("/info").expect("a path"), (NEWEST, "/info"));
        assert_eq!(version("/volumes/x").expect("a path"), (NEWEST, "/volumes/x"));
        let new = version("/v1.99/info").expect_err("too new").message;
        assert_eq!(new, "client version 1.99 is too new. Maximum supported API version is 1.51");
        assert!(version("/v1.12/info").expect_err("too old").message.contains("is too old"));
        assert!(version("/v2.0/info").is_err());
    }

    #[test]
    fn queries_are_decoded() {
        let query = query("a=1&b=%7B%22x%22%3A+1%7D&a=2&c&bad=%ff&half=%4");
        assert_eq!(query.all("a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(query.text("b"), Some("{\"x\": 1}"));
        assert_eq!((query.text("c"), query.text("bad"), query.text("half")), (None, None, Some("%4")));
    }
}
