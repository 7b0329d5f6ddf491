//! Keeps a store tidy while it runs: a pass of [`Store::purge`] every few minutes, in small steps
//! with pauses between them, so that callbacks and deliveries come first.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    drain::Drain,
    metrics::Metrics,
    store::{Purged, Store, StoreError},
};

/// What was purged since the start.
#[derive(Clone, Debug)]
struct Series {
    purged: prometheus::IntCounterVec,
}

/// Between two passes. A pass over nothing that can go is one look at the oldest events.
const PASS_EVERY: Duration = Duration::from_mins(5);

/// Three times as long as a step took is left to others before the next.
const PAUSE_FACTOR: u32 = 3;

/// A step that found nothing still leaves others room, and a slow disk does not stop it.
const PAUSE_MIN: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Purges regularly until `drain` says stop.
pub fn keep(store: &Arc<dyn Store>, metrics: &Metrics, drain: &Drain) {
    let (store, series, stopping) = (Arc::clone(store), Series::register(metrics), drain.clone());
    drain.spawn("tidy", async move {
        loop {
            let passed = tokio::select! {
                () = stopping.stopping() => return,
                passed = pass(&*store, |purged| series.count(purged)) => passed,
            };
            if let Err(error) = passed
                && error != StoreError::Closed
            {
                tracing::warn!(%error, "the store could not be purged; it is tried again later");
            }
            tokio::select! {
                () = stopping.stopping() => return,
                () = tokio::time::sleep(PASS_EVERY) => {}
            }
        }
    });
}

/// One pass over the whole store, telling `seen` of each step. Dropped in the middle it leaves
/// nothing half-done.
pub async fn pass(store: &dyn Store, mut seen: impl FnMut(&Purged)) -> Result<(), StoreError> {
    let mut after = None;
    loop {
        let began = Instant::now();
        let purged = store.purge(after).await?;
        seen(&purged);
        if purged.next.is_none() {
            return Ok(());
        }
        after = purged.next;
        let pause = began.elapsed().saturating_mul(PAUSE_FACTOR);
        tokio::time::sleep(pause.clamp(PAUSE_MIN, PAUSE_MAX)).await;
    }
}

// === impl Series ===

impl Series {
    fn register(metrics: &Metrics) -> Self {
        let purged = metrics.counters(
            "store_purged_total",
            "What was removed because it was kept long enough, or for room",
            &["kind"],
        );
        for kind in ["history", "dead", "waiting"] {
            purged.with_label_values(&[kind]).inc_by(0);
        }
        Self { purged }
    }

    fn count(&self, purged: &Purged) {
        let Purged { history, dead, waiting, .. } = purged;
        for (kind, count) in [("history", history), ("dead", dead), ("waiting", waiting)] {
            self.purged.with_label_values(&[kind]).inc_by(*count);
        }
    }
}
