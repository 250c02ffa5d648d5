//! What is counted, in the form that Prometheus reads.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use hyper::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::service::Daemon;

/// Counters.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Connections that were not admitted.
    pub refused_connections: Counter,
    requests: Family<Request, Counter>,
    time: Family<Operation, Counter<f64, AtomicU64>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    operation: &'static str,
    verdict: &'static str,
    code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Containers {
    state: &'static str,
    policy: String,
    tenant: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Operation {
    operation: &'static str,
}

impl Metrics {
    /// Counts an answer.
    pub fn count(&self, operation: &'static str, status: StatusCode, took: Duration) {
        let verdict = if status == StatusCode::FORBIDDEN { "denied" } else { "allowed" };
        self.requests.get_or_create(&Request { operation, verdict, code: status.as_u16() }).inc();
        self.time.get_or_create(&Operation { operation }).inc_by(took.as_secs_f64());
    }

    /// Everything, as text.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn encode(&self, daemon: &Daemon) -> Result<String, std::fmt::Error> {
        let mut registry = Registry::with_prefix("casemate");
        registry.register("requests", "Requests by operation, verdict and status", self.requests.clone());
        registry.register("request_seconds", "Time until the head of the answer", self.time.clone());
        registry.register("refused_connections", "Not admitted", self.refused_connections.clone());
        registry.register("containers", "Containers by state and policy", containers(daemon));
        let connections: Gauge = Gauge::default();
        connections.set(i64::try_from(daemon.gate.connections()).unwrap_or(i64::MAX));
        registry.register("connections", "Clients' connections that are open", connections);
        let asked = daemon.engine.broker.asked();
        let (answers, seconds) = (Counter::<u64>::default(), Counter::<f64, AtomicU64>::default());
        answers.inc_by(asked.answers);
        seconds.inc_by(asked.time.as_secs_f64());
        registry.register("broker_answers", "Answers of the broker", answers);
        registry.register("broker_seconds", "Time until the broker's answers, together", seconds);
        let mut text = String::new();
        encode(&mut text, &registry).map(|()| text)
    }
}

/// By state, and by the policy that was asked for.
fn containers(daemon: &Daemon) -> Family<Containers, Gauge> {
    let family = Family::<Containers, Gauge>::default();
    for container in daemon.engine.containers.all() {
        let state = container.state().status.as_str();
        let grade = container.verdict.get("Policy").and_then(serde_json::Value::as_str);
        let policy = grade.unwrap_or(&daemon.engine.host.policy).to_owned();
        let tenant = container.tenant.to_string();
        family.get_or_create(&Containers { state, policy, tenant }).inc();
    }
    family
}
