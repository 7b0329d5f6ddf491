//! The series of delivery. Every series of a configured target is there, at 0, from the start.

use std::{collections::BTreeSet, time::Duration};

use http::StatusCode;
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use crate::{
    delivery::{
        target::{Place, Settings, StatusRange},
        verdict::class,
    },
    metrics,
    route::TargetName,
    store::{BuryReason, Cause},
};

/// The series of all targets.
#[derive(Clone, Debug)]
pub(super) struct Metrics {
    attempts: IntCounterVec,
    attempt_seconds: HistogramVec,
    age_seconds: HistogramVec,
    dead_letters: IntCounterVec,
    in_flight: IntGaugeVec,
    connections: IntCounterVec,
    concurrency_limit: IntGaugeVec,
    breaker: IntGaugeVec,
    lane_restarts: IntCounterVec,
}

/// The series of one target.
#[derive(Clone, Debug)]
pub(super) struct TargetMetrics {
    name: TargetName,
    attempts: IntCounterVec,
    attempt_seconds: Histogram,
    age_seconds: Histogram,
    dead_letters: IntCounterVec,
    pub(super) in_flight: IntGauge,
    pub(super) concurrency_limit: IntGauge,
    pub(super) breaker: IntGauge,
    pub(super) lane_restarts: IntCounter,
    /// Connections that were opened.
    pub(super) connections: IntCounter,
}

/// What an attempt led to, as a closed list for the `outcome` label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Led {
    Delivered,
    Retry,
    Buried(BuryReason),
}

// === impl Metrics ===

impl Metrics {
    /// Registers them.
    pub(super) fn new(registry: &metrics::Metrics) -> Self {
        Self {
            attempts: registry.counters(
                "delivery_attempts_total",
                "Attempts that were settled, by what they led to and what they met.",
                &["target", "outcome", "cause"],
            ),
            attempt_seconds: registry.histograms(
                "delivery_attempt_duration_seconds",
                "From the start of an attempt to the last byte of the answer that is read.",
                &["target"],
                ATTEMPT_SECONDS,
            ),
            age_seconds: registry.histograms(
                "delivery_age_seconds",
                "From acceptance, or the last redrive, to the end of the delivering attempt.",
                &["target"],
                AGE_SECONDS,
            ),
            dead_letters: registry.counters(
                "dead_letters_total",
                "Deliveries that became dead letters, by reason.",
                &["target", "reason"],
            ),
            in_flight: registry.gauges(
                "target_in_flight",
                "Attempts that are out at this moment.",
                &["target"],
            ),
            connections: registry.counters(
                "target_connections_total",
                "Connections that were opened; requests beyond these used one again.",
                &["target"],
            ),
            concurrency_limit: registry.gauges(
                "target_concurrency_limit",
                "Attempts that may be out at one time.",
                &["target"],
            ),
            breaker: registry.gauges(
                "target_breaker_state",
                "Whether the target is tried: 0 admitting, 1 probing, 2 tripped.",
                &["target"],
            ),
            lane_restarts: registry.counters(
                "lane_restarts_total",
                "Times the task of a target panicked, a fault of the relay, and was begun anew.",
                &["target"],
            ),
        }
    }

    /// The series of a target, each at 0.
    pub(super) fn target(&self, settings: &Settings) -> TargetMetrics {
        let name = settings.name.as_str();
        let (delivering, failing) = causes(&settings.place);
        for cause in delivering {
            self.attempts.with_label_values(&[name, DELIVERED, cause.as_str()]);
        }
        for cause in failing {
            self.attempts.with_label_values(&[name, RETRY, cause.as_str()]);
            self.attempts.with_label_values(&[name, BURIED, cause.as_str()]);
        }
        for reason in BuryReason::ALL {
            self.dead_letters.with_label_values(&[name, reason.as_str()]);
        }
        TargetMetrics {
            name: settings.name.clone(),
            attempts: self.attempts.clone(),
            attempt_seconds: self.attempt_seconds.with_label_values(&[name]),
            age_seconds: self.age_seconds.with_label_values(&[name]),
            dead_letters: self.dead_letters.clone(),
            in_flight: self.in_flight.with_label_values(&[name]),
            concurrency_limit: self.concurrency_limit.with_label_values(&[name]),
            breaker: self.breaker.with_label_values(&[name]),
            lane_restarts: self.lane_restarts.with_label_values(&[name]),
            connections: self.connections.with_label_values(&[name]),
        }
    }
}

/// What the attempts of a target can meet: where they deliver, and where they do not.
fn causes(place: &Place) -> (BTreeSet<Cause>, BTreeSet<Cause>) {
    match place {
        Place::Http(http) => answers(&http.success),
        Place::File(_) | Place::Stdout => {
            ([Cause::Written].into(), [Cause::Io, Cause::Panic].into())
        }
    }
}

/// Each answer is on the side that the target's `success` has it on; what is no answer fails.
fn answers(success: &[StatusRange]) -> (BTreeSet<Cause>, BTreeSet<Cause>) {
    let (mut delivering, mut failing) = (BTreeSet::new(), BTreeSet::from(NO_ANSWER));
    for status in (100..1000).filter_map(|code| StatusCode::from_u16(code).ok()) {
        let delivers = success.iter().any(|range| range.contains(status));
        let side = if delivers { &mut delivering } else { &mut failing };
        side.insert(class(status));
    }
    (delivering, failing)
}

const NO_ANSWER: [Cause; 10] = [
    Cause::Timeout,
    Cause::Connect,
    Cause::Tls,
    Cause::Dns,
    Cause::Denied,
    Cause::Reset,
    Cause::Oversized,
    Cause::Protocol,
    Cause::Render,
    Cause::Panic,
];

const ATTEMPT_SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0];

/// Up to 48 hours: the retries of a long outage are what this is looked at for.
const AGE_SECONDS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0,
    3600.0, 14_400.0, 43_200.0, 86_400.0, 172_800.0,
];

const DELIVERED: &str = "delivered";
const RETRY: &str = "retry";
const BURIED: &str = "buried";

// === impl TargetMetrics ===

impl TargetMetrics {
    /// Counts dead letters that no attempt led to.
    pub(super) fn buried(&self, reason: BuryReason, count: u64) {
        let labels = [self.name.as_str(), reason.as_str()];
        self.dead_letters.with_label_values(&labels).inc_by(count);
    }

    /// Counts an attempt whose outcome is durable.
    pub(super) fn settled(&self, led: Led, cause: Cause, took: Duration, age: Duration) {
        let name = self.name.as_str();
        let outcome = match led {
            Led::Delivered => {
                self.age_seconds.observe(age.as_secs_f64());
                DELIVERED
            }
            Led::Retry => RETRY,
            Led::Buried(reason) => {
                self.dead_letters.with_label_values(&[name, reason.as_str()]).inc();
                BURIED
            }
        };
        self.attempts.with_label_values(&[name, outcome, cause.as_str()]).inc();
        self.attempt_seconds.observe(took.as_secs_f64());
    }
}
