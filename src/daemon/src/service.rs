//! From an HTTP request to its answer: version, route, authorization, handler, and what every answer carries.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use arc_swap::ArcSwap;
use casemate_engine::{Caller, Engine, Failure, Kind, Result};
use casemate_spec::wire::{Ask, Audited, Tenant};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use hyper::header::{HeaderName, HeaderValue, SERVER, UPGRADE};
use hyper::{Request, Response, StatusCode};

use crate::answer::{Answer, Content};
use crate::arguments::Places;
use crate::authority::{Authority, Object, Sources, describe};
use crate::call::{Body, Call, LARGEST_JSON, Query};
use crate::config::{Config, Limits};
use crate::metrics::Metrics;
use crate::router::{self, Found, Router};
use crate::routes::{self, Subject};
use crate::server::{Gate, Session, Ticket};
use crate::tls::{Choice, Trust};

/// By this header a host's administrator names the tenant whose part he takes.
const TENANT: &str = "x-casemate-tenant";

/// The longest body, in bytes, that is read whether it is wanted or not.
const SMALL: u64 = 16 << 10;

/// Everything that a request may need.
#[derive(Debug)]
pub struct Daemon {
    /// What does the work.
    pub engine: Arc<Engine>,
    /// The routes.
    pub router: Router,
    /// The configuration, as it was at the start.
    pub config: Config,
    /// What a client may cost.
    pub limits: Limits,
    /// Who is inside.
    pub gate: Arc<Gate>,
    /// Certificates of now.
    pub trust: ArcSwap<Trust>,
    /// Authorization of now.
    pub authority: ArcSwap<Authority>,
    /// What the operator has chosen of TLS.
    pub tls: Choice,
    /// Where the files are.
    pub places: Places,
    /// Counters.
    pub metrics: Metrics,
}

impl Daemon {
    /// Reads the authorization policies again; what cannot be used leaves them as they were.
    pub fn reload_authority(&self) {
        match Sources::read(&self.places.etc.join("policies")).and_then(|sources| Authority::new(&sources)) {
            Ok(authority) => self.authority.store(Arc::new(authority)),
            Err(why) => eprintln!("casemated: authorization policies are left as they were: {why}"),
        }
    }

    /// Judges, and has the verdict written down before anything comes of it.
    ///
    /// # Errors
    /// 403 with the reason, or there is no broker to write it down.
    pub async fn authorize(&self, caller: &Caller, operation: &str, object: Object) -> Result<()> {
        let name = object.name();
        let verdict = self.authority.load().judge(caller, operation, object);
        let said = Audited {
            who: caller.identity.clone(),
            tenant: caller.tenant.to_string(),
            action: operation.to_owned(),
            object: name.clone(),
            verdict: if verdict.allowed { "allowed" } else { "denied" }.to_owned(),
            reason: verdict.reason.clone(),
        };
        self.engine.broker.tell(Ask::Audit(said)).await?;
        if verdict.allowed {
            return Ok(());
        }
        let message = format!("access denied: {operation} on {name}: {}", verdict.reason);
        Err(Failure::new(Kind::Forbidden, message))
    }
}

/// Answers a request, whatever becomes of it.
pub async fn answer(
    daemon: &Arc<Daemon>,
    session: &Arc<Session>,
    request: Request<Incoming>,
) -> Response<Content> {
    let begun = Instant::now();
    let Some(place) = daemon.gate.request(&session.caller.identity) else {
        let message = "too many requests of this client at once";
        let body = serde_json::json!({ "message": message });
        return finish(Answer::json(StatusCode::TOO_MANY_REQUESTS, &body), None);
    };
    let ticket = session.begin(place, request.headers().contains_key(UPGRADE));
    let mut operation = "none";
    let answer = handle(daemon, session, &ticket, request, &mut operation).await;
    let answer = answer.unwrap_or_else(|failure| Answer::failure(&failure));
    daemon.metrics.count(operation, answer.0.status(), begun.elapsed());
    finish(answer, Some(ticket))
}

async fn handle(
    daemon: &Arc<Daemon>,
    session: &Arc<Session>,
    ticket: &Ticket,
    request: Request<Incoming>,
    operation: &mut &'static str,
) -> Result<Answer> {
    let mut request = read_small(&daemon.limits, request).await?;
    let path = request.uri().path().to_owned();
    let (version, path) = router::version(&path)?;
    let Some(Found { route, captured }) = daemon.router.find(request.method(), path) else {
        return Err(Failure::not_found("page not found"));
    };
    let query = router::query(request.uri().query().unwrap_or_default());
    *operation = meant(route.operation, &query);
    request.extensions_mut().insert(ticket.clone());
    request.extensions_mut().insert(Arc::clone(daemon));
    let caller = session.caller.clone();
    let (engine, image) = (Arc::clone(&daemon.engine), OnceLock::new());
    let mut call = Call { engine, caller, version, captured, query, request, image };
    if matches!(route.subject, Subject::NewContainer | Subject::NewVolume) {
        let read = tokio::time::timeout(daemon.limits.body_time.0, call.bytes(LARGEST_JSON)).await;
        let body = read.map_err(|_| too_slow())??;
        *call.request.body_mut() = Body::Read(body);
    }
    assume(daemon, &mut call).await?;
    let objects = describe(&call, route.subject)?;
    if objects.is_empty() {
        return Err(Failure::invalid("the request names nothing"));
    }
    for object in objects {
        daemon.authorize(&call.caller, operation, object).await?;
    }
    (route.handler)(call).await
}

/// Reads a small body before anything else, wanted or not. Whoever does not care for one would drop it before it has come,
/// and the connection would end after an answer that does not say so: some clients send `{}` with everything.
async fn read_small(limits: &Limits, request: Request<Incoming>) -> Result<Request<Body>> {
    let length = request.body().size_hint().exact();
    let small = length.is_some_and(|length| (1..=SMALL).contains(&length));
    if !small || request.headers().contains_key(UPGRADE) {
        return Ok(request.map(Body::Streamed));
    }
    let (head, body) = request.into_parts();
    let whole = tokio::time::timeout(limits.body_time.0, body.collect()).await;
    let whole = whole.map_err(|_| too_slow())?;
    let whole = whole.map_err(|error| Failure::invalid(format!("request body: {error}")))?;
    Ok(Request::from_parts(head, Body::Read(whole.to_bytes())))
}

fn too_slow() -> Failure {
    Failure::invalid("request body: it takes too long")
}

/// The operation that is meant where one path has two: `fromSrc` makes an import of a pull.
fn meant(operation: &'static str, query: &Query) -> &'static str {
    match operation {
        "image.pull" if query.text("fromImage").is_none() => "image.import",
        other => other,
    }
}

/// Takes another tenant's part where the caller may, and asks to.
async fn assume(daemon: &Daemon, call: &mut Call) -> Result<()> {
    let Some(named) = call.headers().get(TENANT) else { return Ok(()) };
    let named = named.to_str().ok().and_then(|text| text.parse::<Tenant>().ok());
    let tenant = named.ok_or_else(|| Failure::invalid(format!("header {TENANT}: it names no tenant")))?;
    daemon.authorize(&call.caller, "tenant.assume", Object::tenant(&tenant)).await?;
    call.caller.tenant = tenant;
    Ok(())
}

/// What every answer carries; the ticket goes with its last byte.
fn finish(answer: Answer, ticket: Option<Ticket>) -> Response<Content> {
    let mut response = answer.0.map(|body| {
        let held = move |error| {
            // Held by the closure: it lives as long as the body does.
            let _ = &ticket;
            error
        };
        body.map_err(held).boxed_unsync()
    });
    let headers = response.headers_mut();
    for (name, value) in [
        ("api-version", HeaderValue::from_static(routes::API_VERSION)),
        ("ostype", HeaderValue::from_static("linux")),
        ("docker-experimental", HeaderValue::from_static("false")),
    ] {
        headers.insert(HeaderName::from_static(name), value);
    }
    headers.insert(
        SERVER,
        HeaderValue::from_static(concat!("Casemate/", env!("CARGO_PKG_VERSION"), " (linux)")),
    );
    response
}
