//! The series of the store.

use std::time::Duration;

use jiff::Timestamp;
use prometheus::{
    Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use crate::{metrics::Metrics, route::TargetName, store::Totals};

/// What a backend observes as it goes.
#[derive(Clone, Debug)]
pub struct Series {
    commit_duration: Histogram,
    commit_events: Histogram,
    syncs: IntCounter,
}

/// What a backend is asked at each scrape. Nothing of it may wait for a commit.
pub trait Books: Send + Sync + 'static {
    /// One moment of all totals.
    fn totals(&self) -> Totals;
    /// Whether relay.toml does not have the target.
    fn is_orphan(&self, target: &TargetName) -> bool;
    /// The age of each target's oldest pending delivery; none for a target without.
    fn oldest(&self) -> Vec<(TargetName, Timestamp)>;
    /// The present.
    fn now(&self) -> Timestamp;
    /// Bytes the store takes on disk, its log included.
    fn bytes(&self) -> u64;
    /// Bytes the disk has free.
    fn free_bytes(&self) -> u64;
    /// Jobs waiting for the writer.
    fn queue(&self) -> usize;
}

/// Reads the books at each scrape, the totals in one moment, so that they balance on every page.
struct Scrape<B> {
    books: B,
    descs: Vec<Desc>,
}

/// The series of one scrape: made anew each time, so that two scrapes at once share nothing.
struct Page {
    events: IntGaugeVec,
    accepted: IntCounterVec,
    deliveries: IntGaugeVec,
    enqueued: IntCounterVec,
    oldest: prometheus::GaugeVec,
    orphaned: IntGaugeVec,
    paused: IntGaugeVec,
    bytes: IntGauge,
    free_bytes: IntGauge,
    queue: IntGauge,
}

/// From a log write in memory to a disk that stalls.
const COMMIT_SECONDS: &[f64] =
    &[0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// Powers of two up to the largest group.
const COMMIT_EVENTS: &[f64] = &[0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

// === impl Series ===

impl Series {
    /// Registers what is observed.
    pub fn register(metrics: &Metrics) -> Self {
        Self {
            commit_duration: metrics.histogram(
                "store_commit_duration_seconds",
                "Time from the first statement of a group to its sync",
                COMMIT_SECONDS,
            ),
            commit_events: metrics.histogram(
                "store_commit_events",
                "Events stored by one commit; 0 for one of outcomes only",
                COMMIT_EVENTS,
            ),
            syncs: metrics.counter(
                "store_syncs_total",
                "Syncs of the log; no callback is acked before one that holds its event",
            ),
        }
    }

    /// The log was synced, for one group or several.
    pub fn synced(&self) {
        self.syncs.inc();
    }

    /// A group is on disk.
    pub fn committed(&self, took: Duration, events: usize) {
        self.commit_duration.observe(took.as_secs_f64());
        self.commit_events.observe(u32::try_from(events).map_or(f64::MAX, f64::from));
    }
}

/// Says what the file is in force with, as read back from it: a constant 1 with labels.
pub fn describe(metrics: &Metrics, journal_mode: &str, synchronous: &str) {
    metrics
        .gauges(
            "store_info",
            "1; the labels say what the store runs with",
            &["journal_mode", "synchronous"],
        )
        .with_label_values(&[journal_mode, synchronous])
        .set(1);
}

/// Registers what is read at each scrape.
pub fn register_books<B: Books>(metrics: &Metrics, books: B) {
    // The descriptions are of constants of ours: a page that cannot be made is a bug that the
    // registry's own check at start would show.
    let descs = Page::new().map(|page| page.descs()).unwrap_or_default();
    metrics.collector(Box::new(Scrape { books, descs }));
}

// === impl Scrape ===

impl<B: Books> Collector for Scrape<B> {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Ok(page) = Page::new() else { return Vec::new() };
        let totals = self.books.totals();
        for (source, totals) in &totals.events {
            let source = source.as_str();
            page.accepted.with_label_values(&[source]).inc_by(totals.accepted);
            for (state, count) in [
                ("routed", totals.routed),
                ("unrouted", totals.unrouted),
                ("quarantined", totals.quarantined),
            ] {
                page.events.with_label_values(&[source, state]).set(gauge(count));
            }
        }
        for (name, totals) in &totals.deliveries {
            let target = name.as_str();
            page.enqueued.with_label_values(&[target]).inc_by(totals.enqueued);
            page.oldest.with_label_values(&[target]).set(0.0);
            let orphaned = if self.books.is_orphan(name) { totals.pending } else { 0 };
            page.orphaned.with_label_values(&[target]).set(gauge(orphaned));
            page.paused.with_label_values(&[target]).set(0);
            for (state, count) in [
                ("pending", totals.pending),
                ("delivered", totals.delivered),
                ("dead", totals.dead),
                ("discarded", totals.discarded),
            ] {
                page.deliveries.with_label_values(&[target, state]).set(gauge(count));
            }
        }
        for target in totals.paused.keys() {
            page.paused.with_label_values(&[target.as_str()]).set(1);
        }
        let now = self.books.now();
        for (target, since) in self.books.oldest() {
            let age = now.duration_since(since).as_secs_f64().max(0.0);
            page.oldest.with_label_values(&[target.as_str()]).set(age);
        }
        page.bytes.set(gauge(self.books.bytes()));
        page.free_bytes.set(gauge(self.books.free_bytes()));
        page.queue.set(i64::try_from(self.books.queue()).unwrap_or(i64::MAX));
        page.parts().iter().flat_map(|part| part.collect()).collect()
    }
}

// === impl Page ===

impl Page {
    fn new() -> prometheus::Result<Self> {
        let named = |name: &str, help: &str| Opts::new(name, help).namespace("hookswitch");
        Ok(Self {
            events: IntGaugeVec::new(
                named("events", "Events accepted, by what became of them"),
                &["source", "state"],
            )?,
            accepted: IntCounterVec::new(
                named("events_accepted_total", "Events made durable; duplicates are not counted"),
                &["source"],
            )?,
            deliveries: IntGaugeVec::new(
                named("deliveries", "Deliveries, by where they stand"),
                &["target", "state"],
            )?,
            enqueued: IntCounterVec::new(
                named("deliveries_enqueued_total", "Deliveries ever made"),
                &["target"],
            )?,
            oldest: prometheus::GaugeVec::new(
                named(
                    "oldest_pending_seconds",
                    "Age of the oldest pending delivery; 0 when there is none",
                ),
                &["target"],
            )?,
            orphaned: IntGaugeVec::new(
                named(
                    "orphaned_deliveries",
                    "Pending deliveries of a target that is not in relay.toml",
                ),
                &["target"],
            )?,
            paused: IntGaugeVec::new(
                named("paused", "1 while a person has the target paused"),
                &["target"],
            )?,
            bytes: IntGauge::with_opts(named("store_bytes", "Bytes of the store on disk"))?,
            free_bytes: IntGauge::with_opts(named(
                "store_free_bytes",
                "Bytes free on the disk of the store",
            ))?,
            queue: IntGauge::with_opts(named("store_queue", "Jobs waiting for the writer"))?,
        })
    }

    fn parts(&self) -> [&dyn Collector; 10] {
        [
            &self.events,
            &self.accepted,
            &self.deliveries,
            &self.enqueued,
            &self.oldest,
            &self.orphaned,
            &self.paused,
            &self.bytes,
            &self.free_bytes,
            &self.queue,
        ]
    }

    fn descs(&self) -> Vec<Desc> {
        self.parts().iter().flat_map(|part| part.desc()).cloned().collect()
    }
}

fn gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
