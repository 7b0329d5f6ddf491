//! The metrics registry and its text page; knows no other room.
//!
//! Each room owns a struct of its series and registers them here under the prefix
//! `hookswitch_`. There is no global registry: a test has as many relays as it likes.

use prometheus::{
    Encoder as _, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter,
    IntCounterVec, IntGauge, IntGaugeVec, Opts, TextEncoder, core::Collector,
    process_collector::ProcessCollector,
};

/// The registry of one relay. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Metrics(prometheus::Registry);

// === impl Metrics ===

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// A registry with the process's own series (`process_*`) and nothing else yet.
    pub fn new() -> Self {
        let metrics = Self(prometheus::Registry::new());
        metrics.collector(Box::new(ProcessCollector::for_self()));
        metrics
    }

    /// Registers a counter.
    pub fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::new(full(name), help))
    }

    /// Registers a counter with labels.
    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.register(IntCounterVec::new(Opts::new(full(name), help), labels))
    }

    /// Registers a gauge of whole numbers.
    pub fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::new(full(name), help))
    }

    /// Registers a gauge of fractions.
    pub fn gauge_f64(&self, name: &str, help: &str) -> Gauge {
        self.register(Gauge::new(full(name), help))
    }

    /// Registers a gauge of whole numbers with labels.
    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.register(IntGaugeVec::new(Opts::new(full(name), help), labels))
    }

    /// Registers a gauge of fractions with labels.
    pub fn gauges_f64(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.register(GaugeVec::new(Opts::new(full(name), help), labels))
    }

    /// Registers a histogram. `buckets` are upper bounds in the metric's own unit.
    pub fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        let opts = HistogramOpts::new(full(name), help).buckets(buckets.to_vec());
        self.register(Histogram::with_opts(opts))
    }

    /// Registers a histogram with labels.
    pub fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[f64],
    ) -> HistogramVec {
        let opts = HistogramOpts::new(full(name), help).buckets(buckets.to_vec());
        self.register(HistogramVec::new(opts, labels))
    }

    /// Registers anything else that collects itself at each scrape.
    pub fn collector(&self, collector: Box<dyn Collector>) {
        self.0.register(collector).unwrap_or_else(|error| registration_failed(&error));
    }

    /// The page in Prometheus' text format, version 0.0.4.
    pub fn page(&self) -> String {
        let mut page = Vec::with_capacity(64 * 1024);
        // Encoding writes to memory and fails only on a metric without samples, which is left out.
        TextEncoder::new().encode(&self.0.gather(), &mut page).unwrap_or_default();
        String::from_utf8(page).unwrap_or_default()
    }

    fn register<C>(&self, made: prometheus::Result<C>) -> C
    where
        C: Collector + Clone + 'static,
    {
        let metric = made.unwrap_or_else(|error| registration_failed(&error));
        self.collector(Box::new(metric.clone()));
        metric
    }
}

/// The content type of [`Metrics::page`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const PREFIX: &str = "hookswitch_";

fn full(name: &str) -> String {
    format!("{PREFIX}{name}")
}

#[expect(
    clippy::panic,
    reason = "names and labels are constants of ours: a clash is a bug at start"
)]
fn registration_failed(error: &prometheus::Error) -> ! {
    panic!("a metric could not be registered: {error}")
}
