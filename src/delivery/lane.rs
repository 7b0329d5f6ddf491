//! The task of one target: what is due, through the gate, out.
//!
//! It only sequences. Nothing of it is shared with another target, so nothing of another target
//! can hold it up. Idle, it wakes at the next delivery's instant and at a slow poll.

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    pin::{Pin, pin},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::future::OptionFuture;
use jiff::Timestamp;
use tokio::task::{self, JoinError, JoinSet};
use tracing::{error, info, warn};

use crate::{
    delivery::{
        errand::{self, Ended, Failure, Shared},
        gate::{Gate, Pass},
        health::{Health, Turn},
        retry::later,
    },
    drain::Drain,
    store::{Delivery, DeliveryId, Due, StoreError},
};

/// The queue view of one target.
#[derive(Debug)]
pub(super) struct Lane {
    shared: Arc<Shared>,
    gate: Gate,
    /// Due, and waiting for the gate; in the order of the store.
    buffer: VecDeque<Delivery>,
    /// Being attempted or settled.
    out: JoinSet<Ended>,
    /// Whose task is whose.
    ids: HashMap<task::Id, DeliveryId>,
    /// Whether there may be more due than is held.
    look: bool,
    /// When the next one is due that is not held.
    next_at: Option<Timestamp>,
    /// How large the bodies of this target were when last fetched.
    body_bytes_mean: usize,
    health: Health,
    is_store_failing: bool,
}

/// A question to the store that is not answered yet.
type Asking = Pin<Box<dyn Future<Output = Found> + Send>>;

#[derive(Debug)]
struct Found {
    limit: usize,
    due: Result<Due, StoreError>,
}

// === impl Lane ===

impl Lane {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let gate = Gate::new(shared.target.concurrency, shared.metrics.in_flight.clone());
        Self {
            shared,
            gate,
            buffer: VecDeque::new(),
            out: JoinSet::new(),
            ids: HashMap::new(),
            look: true,
            next_at: None,
            body_bytes_mean: BODY_BYTES_GUESS,
            health: Health::default(),
            is_store_failing: false,
        }
    }

    /// Runs until `drain` is told to stop; then takes nothing new, waits for what is out, and
    /// ends. Who stops it bounds that wait.
    pub(super) async fn run(mut self, drain: Drain) {
        let wake = self.shared.store.wake(&self.shared.target.name);
        // Registered before each question: a commit between the two would otherwise wait for
        // the next poll.
        let mut woken = pin!(wake.notified());
        woken.as_mut().enable();
        let mut stopping = pin!(drain.stopping());
        let mut asking: Option<Asking> = None;
        loop {
            if asking.is_none() && self.look && self.is_low() {
                asking = Some(self.ask());
            }
            let idle = self.idle();
            tokio::select! {
                biased;
                () = &mut stopping => break,
                Some(ended) = self.out.join_next_with_id() => self.take_back(ended),
                pass = self.gate.pass(), if self.may_send() => self.send(pass),
                Some(found) = OptionFuture::from(asking.as_mut()) => {
                    asking = None;
                    self.take(found);
                }
                () = &mut woken => {
                    woken.set(wake.notified());
                    woken.as_mut().enable();
                    self.look = true;
                }
                () = tokio::time::sleep(idle), if !self.look && asking.is_none() => {
                    self.look = true;
                }
            }
        }
        drop(asking);
        self.buffer.clear();
        while let Some(ended) = self.out.join_next_with_id().await {
            self.take_back(ended);
        }
    }

    /// Asks what is due beyond what is held.
    fn ask(&mut self) -> Asking {
        self.look = false;
        // Forgotten before the question: what is settled while it is out is told in addition to
        // the answer.
        self.next_at = None;
        let held: Vec<_> = self
            .buffer
            .iter()
            .map(|delivery| delivery.id)
            .chain(self.ids.values().copied())
            .collect();
        let limit = self.buffer_max().saturating_sub(self.buffer.len()).max(1);
        let now = self.shared.clock.now();
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let due = shared.store.due(&shared.target.name, now, &held, limit).await;
            Found { limit, due }
        })
    }

    /// Takes what was found into the buffer.
    fn take(&mut self, found: Found) {
        let name = &self.shared.target.name;
        match found.due {
            Ok(due) => {
                if std::mem::take(&mut self.is_store_failing) {
                    info!(target = %name, "the store tells what is due for {name} again");
                }
                let count = due.deliveries.len();
                let bytes: usize = due.deliveries.iter().map(|delivery| delivery.json.len()).sum();
                self.body_bytes_mean = bytes.checked_div(count).unwrap_or(self.body_bytes_mean);
                self.look |= count >= found.limit;
                self.buffer.extend(due.deliveries);
                if let Some(at) = due.next_at {
                    self.due_again(at);
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_store_failing, true) {
                    warn!(target = %name, %error, "the store does not tell what is due for {name}");
                }
                self.due_again(later(self.shared.clock.now(), STORE_PAUSE));
            }
        }
    }

    fn may_send(&self) -> bool {
        let out_max = self.shared.target.concurrency.saturating_mul(OUT_PER_SLOT);
        !self.buffer.is_empty() && self.out.len() < out_max
    }

    fn send(&mut self, pass: Pass) {
        if let Some(delivery) = self.buffer.pop_front() {
            let id = delivery.id;
            let task = self.out.spawn(errand::run(Arc::clone(&self.shared), delivery, pass));
            self.ids.insert(task.id(), id);
        }
    }

    fn take_back(&mut self, ended: Result<(task::Id, Ended), JoinError>) {
        let name = &self.shared.target.name;
        let ended = match ended {
            Ok((task, ended)) => {
                self.ids.remove(&task);
                ended
            }
            Err(error) => {
                // The attempt's own panics are caught; this is one in settling. What became of it
                // is not known, and settling is idempotent: the row says whether it is still due.
                self.ids.remove(&error.id());
                error!(target = %name, "an errand to {name} panicked: a fault of the relay");
                Ended::Unsettled
            }
        };
        match ended {
            Ended::Settled { retry_at, failure } => {
                self.note(failure.as_ref());
                if let Some(at) = retry_at {
                    self.due_again(at);
                }
            }
            Ended::Deferred { delivery, until, error } => {
                if self.gate.shut(until, &self.shared.clock) {
                    warn!(
                        target = %name, error,
                        "the relay lacks what an attempt at {name} takes; waiting until {until}"
                    );
                }
                self.buffer.push_front(delivery);
            }
            Ended::Unsettled => self.due_again(later(self.shared.clock.now(), STORE_PAUSE)),
        }
    }

    /// Says once that the target fails, and once that it does no more.
    fn note(&mut self, failure: Option<&Failure>) {
        let name = &self.shared.target.name;
        let now = self.shared.clock.now();
        let turn = match failure {
            Some(_) => self.health.failed(now),
            None => self.health.delivered(now),
        };
        self.shared.is_failing.store(self.health.is_failing(), Ordering::Relaxed);
        match (turn, failure) {
            (Some(Turn::Failing), Some(failure)) => warn!(
                target = %name,
                cause = failure.cause.as_str(),
                status = failure.status.map(|status| status.as_u16()),
                error = failure.error,
                "target {name} fails; its events are kept and tried again"
            ),
            (Some(Turn::Recovered), None) => info!(target = %name, "target {name} has recovered"),
            (Some(Turn::Failing), None) | (Some(Turn::Recovered), Some(_)) | (None, _) => {}
        }
    }

    fn due_again(&mut self, at: Timestamp) {
        self.next_at = Some(self.next_at.map_or(at, |next| next.min(at)));
    }

    /// How long there is nothing to do.
    fn idle(&self) -> Duration {
        let now = self.shared.clock.now();
        self.next_at
            .map_or(POLL, |at| at.duration_since(now).try_into().unwrap_or_default())
            .clamp(IDLE_MIN, POLL)
    }

    /// Whether the buffer should be filled again, before it is empty.
    fn is_low(&self) -> bool {
        self.buffer.len() <= self.buffer_max() / 2
    }

    fn buffer_max(&self) -> usize {
        let by_count = self.shared.target.concurrency.saturating_mul(BUFFER_PER_SLOT);
        let by_bytes = BUFFER_BYTES.checked_div(self.body_bytes_mean).unwrap_or(by_count);
        by_count.min(by_bytes).max(1)
    }
}

/// Deliveries that wait in memory for each slot: the store is asked once for that many.
const BUFFER_PER_SLOT: usize = 4;

/// What waits in memory should come to no more bytes than this, as far as the size of the last
/// bodies tells that of the next.
const BUFFER_BYTES: usize = 2 * 1024 * 1024;

/// Before any body was seen: larger than nearly all.
const BODY_BYTES_GUESS: usize = 32 * 1024;

/// Errands out for each slot, those being settled included: as many attempts may be made again
/// after a crash, and as many outcomes are held while the store is slow.
const OUT_PER_SLOT: usize = 4;

/// However quiet it is, the store is asked this often: a wake-up that was lost, or a wall clock
/// that was set, costs no more than this.
const POLL: Duration = Duration::from_secs(30);

/// A `next_at` that has passed since must not become a busy loop.
const IDLE_MIN: Duration = Duration::from_millis(1);

/// Before the store is asked again after it failed.
const STORE_PAUSE: Duration = Duration::from_secs(1);
