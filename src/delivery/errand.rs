//! One delivery from the gate to its settling.
//!
//! Attempts it, asks what that means, and makes it durable. It ends only when it is, for a
//! delivery that was let go before would be attempted again beside its own outcome.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt as _;
use jiff::Timestamp;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use crate::{
    clock::Clock,
    delivery::{
        breaker::{Breaker, BreakerState, Sign, Turn},
        dial::Dial,
        gate::Pass,
        metrics::{Led, TargetMetrics},
        retry::later,
        target::Target,
        verdict::{Met, Outcome, Standing, Verdict},
    },
    store::{Attempt, BuryReason, Cause, Delivery, Settlement, Store, StoreError},
};

/// What all errands to one target share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) target: Target,
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Clock,
    pub(super) metrics: TargetMetrics,
    pub(super) dial: Arc<Dial>,
    /// Told by each errand before its slot is free: else the next would pass before it trips.
    breaker: Mutex<Breaker>,
    /// Written by errands: whether the last settle they tried failed, so that it is said once.
    pub(super) is_unsettled: AtomicBool,
}

/// How an errand ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// Its outcome is durable.
    Settled {
        /// When the delivery is due again, if it is.
        retry_at: Option<Timestamp>,
        /// What was wrong, if something was.
        failure: Option<Failure>,
    },
    /// No attempt was made, and nothing is to be settled.
    Deferred {
        /// To be tried first when the time has come.
        delivery: Delivery,
        /// Not before.
        until: Timestamp,
        /// What the relay lacked.
        error: Option<String>,
    },
    /// The store was closed before it took the outcome: after the next start the attempt is made
    /// again, under the same number and the same id.
    Unsettled,
}

/// What was wrong with an attempt.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) cause: Cause,
    pub(super) status: Option<u16>,
    pub(super) error: Option<String>,
}

/// Runs one errand; `probe` says whether it is the one attempt of a tripped target.
pub(super) async fn run(shared: Arc<Shared>, delivery: Delivery, pass: Pass, probe: bool) -> Ended {
    let number = delivery.attempts.saturating_add(1);
    let at = shared.clock.now();
    let began = Instant::now();
    let attempt = shared.target.way.attempt(&delivery, &*shared.store, at);
    let outcome = AssertUnwindSafe(attempt).catch_unwind().await.unwrap_or_else(|_| panicked());
    let took = began.elapsed();
    let now = shared.clock.now();
    // The target's own time: what it stood still is no age.
    let since = later(delivery.since, delivery.stood);
    let standing = Standing { number, since, now, jitter: fastrand::f64() };
    let verdict = match shared.target.rules.decide(&outcome.met, standing) {
        // Its time ran out while the target was not tried, as it did for those that were swept.
        Verdict::Bury { reason: BuryReason::Expired } if probe => {
            Verdict::Bury { reason: BuryReason::ExpiredWhileTripped }
        }
        verdict => verdict,
    };
    shared.note(Sign::of(&outcome.met, verdict == Verdict::Delivered), probe);
    // The exchange is over: the next one need not wait until this one is on disk.
    drop(pass);

    let (settlement, led, retry_at) = match verdict {
        Verdict::Delivered => (Settlement::Delivered, Led::Delivered, None),
        Verdict::Retry { at } => (Settlement::Retry { at }, Led::Retry, Some(at)),
        Verdict::Bury { reason } => (Settlement::Dead { reason }, Led::Buried(reason), None),
        Verdict::Defer { until } => {
            return Ended::Deferred { delivery, until, error: outcome.error };
        }
    };
    let cause = outcome.met.cause().unwrap_or(Cause::Protocol);
    let attempt = Attempt {
        number,
        at,
        took,
        status: outcome.met.status().map(|status| status.as_u16()),
        error: outcome.error,
        snippet: outcome.snippet,
    };
    if !shared.settle(&delivery, &attempt, settlement).await {
        return Ended::Unsettled;
    }
    let age = now.duration_since(delivery.since).try_into().unwrap_or_default();
    shared.metrics.settled(led, cause, took, age);
    shared.log(&delivery, &attempt, cause, verdict);
    let Attempt { status, error, .. } = attempt;
    let failure = (led != Led::Delivered).then_some(Failure { cause, status, error });
    Ended::Settled { retry_at, failure }
}

fn panicked() -> Outcome {
    error!("an attempt panicked: a fault of the relay; the delivery will be tried again");
    let error = Some("the relay's attempt panicked".to_owned());
    Outcome { met: Met::Failed(Cause::Panic), error, snippet: None }
}

// === impl Shared ===

impl Shared {
    pub(super) fn new(
        target: Target,
        store: Arc<dyn Store>,
        clock: Clock,
        metrics: TargetMetrics,
        dial: Dial,
    ) -> Self {
        let breaker = Mutex::new(Breaker::new(target.breaker));
        let is_unsettled = AtomicBool::new(false);
        Self { target, store, clock, metrics, dial: Arc::new(dial), breaker, is_unsettled }
    }

    /// Its lane begins: from now on the gauges are its own. Before, they are those of the lane that
    /// had its name and is not done yet.
    pub(super) fn begins(&self) {
        let limit = i64::try_from(self.target.concurrency).unwrap_or(i64::MAX);
        self.metrics.concurrency_limit.set(limit);
        self.tell(self.breaker().state());
    }

    /// Its lane has ended, and nothing of it is out: the target is not tried, and so not tripped.
    pub(super) fn ends(&self) {
        self.metrics.concurrency_limit.set(0);
        self.metrics.breaker.set(BreakerState::Admitting.number());
    }

    /// The breaker, for as long as it takes to ask it.
    pub(super) fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A probe goes out.
    pub(super) fn probes(&self) {
        let mut breaker = self.breaker();
        breaker.probes();
        self.tell(breaker.state());
    }

    /// Tells the breaker what an attempt says of the target, and says when it turns.
    pub(super) fn note(&self, sign: Sign, probe: bool) {
        let name = &self.target.name;
        let mut breaker = self.breaker();
        let turn = breaker.note(sign, probe, self.clock.now());
        self.tell(breaker.state());
        drop(breaker);
        match turn {
            Some(Turn::Tripped) => warn!(
                target = %name,
                "target {name} is tripped: its events wait, and one is tried from time to time"
            ),
            Some(Turn::Recovered) => info!(target = %name, "target {name} takes events again"),
            None => {}
        }
    }

    fn tell(&self, state: BreakerState) {
        self.dial.breaker.store(state.number(), Ordering::Relaxed);
        self.metrics.breaker.set(state.number());
    }

    /// Makes an outcome durable, however often it takes. False when the store is closed.
    async fn settle(&self, delivery: &Delivery, attempt: &Attempt, settlement: Settlement) -> bool {
        let name = &self.target.name;
        let mut pause = SETTLE_PAUSE_FIRST;
        loop {
            match self.store.settle(copy(delivery), attempt.clone(), settlement).await {
                Ok(()) => {
                    if self.is_unsettled.swap(false, Ordering::Relaxed) {
                        info!(target = %name, "the store takes the outcomes of {name} again");
                    }
                    return true;
                }
                Err(StoreError::Closed) => return false,
                Err(error) => {
                    if !self.is_unsettled.swap(true, Ordering::Relaxed) {
                        warn!(
                            target = %name,
                            %error,
                            "the store does not take the outcomes of {name}; holding them"
                        );
                    }
                }
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(SETTLE_PAUSE_MAX);
        }
    }

    /// One line an attempt; above debug only where something is over that should not be.
    fn log(&self, delivery: &Delivery, attempt: &Attempt, cause: Cause, verdict: Verdict) {
        let (id, name, number) = (delivery.event, &self.target.name, attempt.number);
        let duration_ms = attempt.took.as_millis();
        let cause = cause.as_str();
        match verdict {
            Verdict::Delivered => debug!(
                event.id = %id, target = %name, attempt.number = number, duration_ms,
                "delivered event {id} to {name}"
            ),
            Verdict::Retry { at } => debug!(
                event.id = %id, target = %name, attempt.number = number, duration_ms, cause,
                status = attempt.status, error = attempt.error,
                "attempt {number} of event {id} at {name} failed; the next is at {at}"
            ),
            Verdict::Bury { reason } => warn!(
                event.id = %id, target = %name, attempt.number = number, duration_ms, cause,
                status = attempt.status, error = attempt.error, reason = reason.as_str(),
                "event {id} is a dead letter of {name} after attempt {number}: {}",
                reason.as_str()
            ),
            Verdict::Defer { until } => debug!(
                event.id = %id, target = %name,
                "event {id} waits for {name} until {until}"
            ),
        }
    }
}

/// The store consumes a delivery so that its owner cannot settle it with two outcomes. Here it is
/// one outcome, offered again while the store fails, and settling is idempotent.
pub(super) fn copy(delivery: &Delivery) -> Delivery {
    Delivery {
        id: delivery.id,
        target: delivery.target.clone(),
        event: delivery.event,
        json: delivery.json.clone(),
        trace: delivery.trace.clone(),
        since: delivery.since,
        stood: delivery.stood,
        round: delivery.round,
        new_id: delivery.new_id,
        attempts: delivery.attempts,
    }
}

const SETTLE_PAUSE_FIRST: Duration = Duration::from_millis(100);

/// Outcomes should be on disk soon after the store is back.
const SETTLE_PAUSE_MAX: Duration = Duration::from_secs(5);
