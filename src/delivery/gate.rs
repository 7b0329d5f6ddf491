//! Asked before each attempt whether it may be made now.
//!
//! Every reason to wait that lies with the slots and the rate of a target is behind
//! [`Gate::pass`]. Waiting here is not an attempt and burns none.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use prometheus::IntGauge;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use crate::{
    clock::Clock,
    delivery::{
        buffer::{Kind, further_slots},
        rate_limit::{Rate, RateLimit},
    },
};

/// The gate of one target.
#[derive(Debug)]
pub(super) struct Gate {
    slots: Arc<Semaphore>,
    /// Those of the slots that further attempts may take.
    further: Arc<Semaphore>,
    rate: Option<RateLimit>,
    /// What the rate limit counts from.
    began: Instant,
    /// Written by the target's task only, when an attempt was deferred.
    shut_until: Option<Instant>,
    in_flight: IntGauge,
}

/// The right to make one attempt; give it back by dropping it, when the exchange has ended.
#[derive(Debug)]
pub(super) struct Pass {
    in_flight: IntGauge,
    _slots: (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
}

// === impl Gate ===

impl Gate {
    /// A gate that lets `concurrency` attempts be out at one time, and counts them. The rate counts
    /// from the attempt that was made last, if one was.
    pub(super) fn new(
        concurrency: usize,
        rate: Option<Rate>,
        last: Option<Instant>,
        in_flight: IntGauge,
    ) -> Self {
        let concurrency = concurrency.clamp(1, Semaphore::MAX_PERMITS);
        let mut rate = rate.map(RateLimit::new);
        if let (Some(rate), Some(_)) = (&mut rate, last) {
            rate.take(Duration::ZERO);
        }
        Self {
            slots: Arc::new(Semaphore::new(concurrency)),
            further: Arc::new(Semaphore::new(further_slots(concurrency))),
            rate,
            began: last.unwrap_or_else(Instant::now),
            shut_until: None,
            in_flight,
        }
    }

    /// Lets nobody pass until then. Whether it was open before.
    pub(super) fn shut(&mut self, until: Timestamp, clock: &Clock) -> bool {
        let now = Instant::now();
        let was_open = self.shut_until.is_none_or(|until| until <= now);
        let wait = until.duration_since(clock.now()).try_into().unwrap_or_default();
        self.shut_until = Some(now + wait);
        was_open
    }

    /// Whether a slot is free that a further attempt may take.
    pub(super) fn has_further_slot(&self) -> bool {
        self.further.available_permits() > 0
    }

    /// Waits until an attempt may be made. Dropping the future waits no longer and loses nothing;
    /// who makes the attempt says so by [`Gate::passed`].
    pub(super) async fn pass(&self, kind: Kind) -> Pass {
        if let Some(until) = self.shut_until {
            tokio::time::sleep_until(until).await;
        }
        if let Some(rate) = &self.rate {
            tokio::time::sleep_until(self.began + rate.ready_at()).await;
        }
        let further = match kind {
            Kind::First => None,
            Kind::Further => Some(slot(&self.further).await),
        };
        let slots = (slot(&self.slots).await, further);
        self.in_flight.inc();
        Pass { in_flight: self.in_flight.clone(), _slots: slots }
    }

    /// An attempt is being made. When, by the clockwork of the rate.
    pub(super) fn passed(&mut self) -> Option<Instant> {
        let rate = self.rate.as_mut()?;
        rate.take(self.began.elapsed());
        Some(self.began + rate.last())
    }
}

#[expect(clippy::expect_used, reason = "only a closed semaphore refuses; none closes it")]
async fn slot(of: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    Arc::clone(of).acquire_owned().await.expect("nobody closes the gate")
}

// === impl Pass ===

impl Drop for Pass {
    fn drop(&mut self) {
        self.in_flight.dec();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn gate(concurrency: usize) -> Gate {
        Gate::new(concurrency, None, None, IntGauge::new("in_flight", "-").unwrap())
    }

    #[tokio::test]
    async fn as_many_pass_as_there_are_slots_and_a_slot_comes_back_when_its_pass_is_dropped() {
        let gate = gate(2);
        let (first, _second) = (gate.pass(Kind::First).await, gate.pass(Kind::First).await);

        assert!(gate.pass(Kind::First).now_or_never().is_none());
        assert_eq!(gate.in_flight.get(), 2);
        drop(first);
        assert_eq!(gate.in_flight.get(), 1);
        assert!(gate.pass(Kind::First).now_or_never().is_some());
    }

    #[tokio::test]
    async fn further_attempts_leave_a_share_to_first_ones() {
        let gate = gate(4);
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(gate.pass(Kind::Further).await);
        }

        assert!(!gate.has_further_slot());
        assert!(gate.pass(Kind::Further).now_or_never().is_none());
        held.push(gate.pass(Kind::First).await);
        assert!(gate.pass(Kind::First).now_or_never().is_none());
        assert_eq!(gate.in_flight.get(), 4);
    }

    #[tokio::test]
    async fn a_shut_gate_lets_nobody_pass_before_its_time() {
        let clock = Clock::manual("2026-03-01T12:00:00Z".parse().unwrap());
        let mut gate = gate(2);

        assert!(gate.shut(clock.now() + Duration::from_hours(1), &clock));
        assert!(!gate.shut(clock.now() + Duration::from_hours(2), &clock));
        assert!(gate.pass(Kind::First).now_or_never().is_none());
        gate.shut(clock.now(), &clock);
        assert!(gate.shut(clock.now(), &clock));
        tokio::time::timeout(Duration::from_secs(10), gate.pass(Kind::First)).await.unwrap();
    }

    #[tokio::test]
    async fn the_gate_keeps_to_the_rate() {
        let rate = Rate { attempts: 10, per: Duration::from_millis(200) };
        let mut gate = Gate::new(100, Some(rate), None, IntGauge::new("in_flight", "-").unwrap());
        let began = Instant::now();

        for _ in 0..11 {
            drop(gate.pass(Kind::First).await);
            gate.passed();
        }

        // Earlier would be wrong however busy the machine is; later is not judged.
        assert!(began.elapsed() >= Duration::from_millis(200));
    }
}
