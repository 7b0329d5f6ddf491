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

    /// Lets nobody pass until then. Whether it was open before.
    pub(super) fn shut(&mut self, until: Timestamp, clock: &Clock) -> bool {
        let now = Instant::now();
        let was_open = self.shut_until.is_none_or(|until| until <= now);
        let wait = until.duration_since(clock.now()).try_into().unwrap_or_default();
        self.shut_until = Some(now + wait);
        was_open
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt as _;

    use super::*;

    fn gate(concurrency: usize) -> Gate {
        Gate::new(concurrency, IntGauge::new("in_flight", "-").unwrap())
    }

    #[tokio::test]
    async fn as_many_pass_as_there_are_slots_and_a_slot_comes_back_when_its_pass_is_dropped() {
        let gate = gate(2);
        let (first, _second) = (gate.pass().await, gate.pass().await);

        assert!(gate.pass().now_or_never().is_none());
        assert_eq!(gate.in_flight.get(), 2);
        drop(first);
        assert_eq!(gate.in_flight.get(), 1);
        assert!(gate.pass().now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_shut_gate_lets_nobody_pass_before_its_time() {
        let clock = Clock::manual("2026-03-01T12:00:00Z".parse().unwrap());
        let mut gate = gate(2);

        assert!(gate.shut(clock.now() + Duration::from_hours(1), &clock));
        assert!(!gate.shut(clock.now() + Duration::from_hours(2), &clock));
        assert!(gate.pass().now_or_never().is_none());
        gate.shut(clock.now(), &clock);
        assert!(gate.shut(clock.now(), &clock));
        tokio::time::timeout(Duration::from_secs(10), gate.pass()).await.unwrap();
    }
}
