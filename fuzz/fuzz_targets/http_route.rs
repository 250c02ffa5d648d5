//! Request lines: whatever the path and the query are, one route is found or none, what it captures is sound text, and
//! a version is either answered or refused in words.
#![no_main]

use casemate_daemon::router::{self, NEWEST, OLDEST, Router};
use casemate_daemon::routes;
use hyper::{Method, Uri};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &str| {
    let (method, target) = line.split_once(' ').unwrap_or(("GET", line));
    let (Ok(method), Ok(uri)) = (method.parse::<Method>(), target.parse::<Uri>()) else { return };
    let query = router::query(uri.query().unwrap_or_default());
    for (name, value) in &query.0 {
        assert!(!name.contains('\0') && !value.contains('\0'), "{name:?} {value:?}");
    }
    // Filters come from the query, and are JSON of anybody's.
    query.filters().ok();
    let (version, path) = match router::version(uri.path()) {
        Ok(read) => read,
        Err(refused) => {
            assert!(refused.message.starts_with("client version "), "{}", refused.message);
            return;
        }
    };
    assert!((OLDEST..=NEWEST).contains(&version));
    let Some(found) = Router::new(routes::table()).find(&method, path) else { return };
    for (name, value) in &found.captured {
        assert!(found.route.path.contains(name), "{name} {}", found.route.path);
        assert!(!value.is_empty() && !value.contains('\0'), "{value:?}");
    }
});
