//! The series of ingest.

use std::sync::Arc;

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge};

use crate::{
    event::SourceName,
    ingest::answer::{ACCEPTED, DUPLICATE, HANDSHAKE, Outcome, QUARANTINED, Refusal},
    metrics::Metrics,
};

/// What ingest counts.
#[derive(Clone, Debug)]
pub(super) struct IngestMetrics {
    requests: IntCounterVec,
    duration: HistogramVec,
    body_bytes: HistogramVec,
    route_errors: IntCounterVec,
    /// Callbacks that hold a permit.
    pub(super) in_flight: IntGauge,
    /// Open connections.
    pub(super) connections: IntGauge,
}

/// What ingest counts for one source, looked up once.
#[derive(Debug)]
pub(super) struct SourceMetrics {
    name: Arc<str>,
    requests: IntCounterVec,
    acked: [(Outcome, IntCounter); 4],
    /// From the head of a request to its answer.
    pub(super) duration: Histogram,
    /// Decoded bodies.
    pub(super) body_bytes: Histogram,
}

// === impl IngestMetrics ===

impl IngestMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let series = Self {
            requests: metrics.counters(
                "ingest_requests_total",
                "Callbacks answered, by source, status code and reason.",
                &["source", "code", "reason"],
            ),
            duration: metrics.histograms(
                "ingest_duration_seconds",
                "Time from the head of a callback to its answer.",
                &["source"],
                DURATION_SECONDS,
            ),
            body_bytes: metrics.histograms(
                "ingest_body_bytes",
                "Size of the decoded bodies of callbacks.",
                &["source"],
                BODY_BYTES,
            ),
            route_errors: metrics.counters(
                "route_errors_total",
                "Events on which a route's condition failed as they came in or were released, each \
                 once; the route did not take them.",
                &["route"],
            ),
            in_flight: metrics
                .gauge("ingest_in_flight", "Callbacks that are being read or stored now."),
            connections: metrics.gauge("ingest_connections", "Connections open now."),
        };
        for refusal in [Refusal::UnknownPath, Refusal::Panicked] {
            let (code, _) = refusal.spoken();
            series.requests.with_label_values(&[NO_SOURCE, code.as_str(), refusal.reason()]);
        }
        series
    }

    /// The series of one source, at 0 from the start. `code` is its ack.
    pub(super) fn of(&self, source: &SourceName, code: u16) -> SourceMetrics {
        let name = source.as_str();
        let code = code.to_string();
        let ways =
            [(ACCEPTED, &*code), (DUPLICATE, &code), (QUARANTINED, &code), (HANDSHAKE, "200")];
        let acked = ways.map(|(outcome, code)| {
            let labels = [name, code, outcome.0];
            (outcome, self.requests.with_label_values(&labels))
        });
        for refusal in Refusal::ALL.iter().filter(|refusal| **refusal != Refusal::UnknownPath) {
            let (code, _) = refusal.spoken();
            self.requests.with_label_values(&[name, code.as_str(), refusal.reason()]);
        }
        SourceMetrics {
            name: Arc::from(name),
            requests: self.requests.clone(),
            acked,
            duration: self.duration.with_label_values(&[name]),
            body_bytes: self.body_bytes.with_label_values(&[name]),
        }
    }

    /// The series of these routes, at 0 from the start.
    pub(super) fn declare_routes<'r>(&self, names: impl Iterator<Item = &'r str>) {
        for name in names {
            self.route_errors.with_label_values(&[name]);
        }
    }

    /// Counts an event that a route could not judge. Says so in the log at the first, second,
    /// fourth, …: a condition that fails on every event must not fill the disk with lines.
    pub(super) fn route_failed(&self, route: &str) {
        let counter = self.route_errors.with_label_values(&[route]);
        counter.inc();
        let so_far = counter.get();
        if so_far.is_power_of_two() {
            tracing::warn!(route, so_far, "the condition of a route failed on an event");
        }
    }

    /// Counts a request that belongs to no source.
    pub(super) fn nobodys(&self, code: u16, outcome: Outcome) {
        self.requests.with_label_values(&[NO_SOURCE, &code.to_string(), outcome.0]).inc();
    }
}

// === impl SourceMetrics ===

impl SourceMetrics {
    pub(super) fn answered(&self, code: u16, outcome: Outcome) {
        if let Some((_, counter)) = self.acked.iter().find(|(acked, _)| *acked == outcome) {
            counter.inc();
        } else {
            let labels = [self.name.as_ref(), &code.to_string(), outcome.0];
            self.requests.with_label_values(&labels).inc();
        }
    }
}

/// The source label of a request to an unknown path; no source can be called this.
const NO_SOURCE: &str = "_none";

const DURATION_SECONDS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

const BODY_BYTES: &[f64] =
    &[256.0, 1024.0, 4096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 8_388_608.0];
