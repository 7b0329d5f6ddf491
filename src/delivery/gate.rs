//! Asked before each attempt whether it may be made now.
//!
//! Every reason to wait that lies with the target as a whole belongs behind [`Gate::pass`].
//! Waiting here is not an attempt and burns none.

use std::sync::Arc;

use jiff::Timestamp;
use prometheus::IntGauge;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use crate::clock::Clock;

/// The gate of one target.
#[derive(Debug)]
pub(super) struct Gate {
    slots: Arc<Semaphore>,
    /// Written by the target's task only, when an attempt was deferred.
    shut_until: Option<Instant>,
    in_flight: IntGauge,
}

/// The right to make one attempt; give it back by dropping it, when the exchange has ended.
#[derive(Debug)]
pub(super) struct Pass {
    in_flight: IntGauge,
    _slot: OwnedSemaphorePermit,
}

// === impl Gate ===

impl Gate {
    /// A gate that lets `concurrency` attempts be out at one time, and counts them.
    pub(super) fn new(concurrency: usize, in_flight: IntGauge) -> Self {
        let concurrency = concurrency.clamp(1, Semaphore::MAX_PERMITS);
        Self { slots: Arc::new(Semaphore::new(concurrency)), shut_until: None, in_flight }
    }

    /// Lets nobody pass until then.
    pub(super) fn shut(&mut self, until: Timestamp, clock: &Clock) {
        let wait = until.duration_since(clock.now()).try_into().unwrap_or_default();
        self.shut_until = Some(Instant::now() + wait);
    }

    /// Waits until an attempt may be made. Dropping the future waits no longer and loses nothing.
    pub(super) async fn pass(&self) -> Pass {
        if let Some(until) = self.shut_until {
            tokio::time::sleep_until(until).await;
        }
        #[expect(clippy::expect_used, reason = "only a closed semaphore refuses; none closes it")]
        let slot = Arc::clone(&self.slots).acquire_owned().await.expect("nobody closes the gate");
        self.in_flight.inc();
        Pass { in_flight: self.in_flight.clone(), _slot: slot }
    }
}

// === impl Pass ===

impl Drop for Pass {
    fn drop(&mut self) {
        self.in_flight.dec();
    }
}
