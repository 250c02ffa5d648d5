//! What is counted, in the form that Prometheus reads.

use std::time::Duration;

use hyper::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Counters.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Connections that were not admitted.
    pub refused_connections: Counter,
    requests: Family<Request, Counter>,
    time: Family<Operation, Counter<f64, std::sync::atomic::AtomicU64>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    operation: &'static str,
    verdict: &'static str,
    code: u16,
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
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut registry = Registry::with_prefix("casemate");
        registry.register("requests", "Requests by operation, verdict and status", self.requests.clone());
        registry.register("request_seconds", "Time until the head of the answer", self.time.clone());
        registry.register("refused_connections", "Not admitted", self.refused_connections.clone());
        let mut text = String::new();
        encode(&mut text, &registry).map(|()| text)
    }
}
