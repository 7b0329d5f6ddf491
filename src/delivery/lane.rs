//! The task of one target: what is due, through the gate, out.
//!
//! It only sequences. Nothing of it is shared with another target, so nothing of another target
//! can hold it up. Idle, it wakes at the next delivery's instant and at a slow poll.
//!
//! Who may go is decided elsewhere: `buffer` says what is next, `gate` whether a slot and the rate
//! allow it, `breaker` whether the target is tried at all. While it is not, what has grown too old
//! is buried before the next probe goes out.

use std::{
    collections::HashMap,
    future::Future,
    pin::{Pin, pin},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::{FutureExt as _, future::OptionFuture};
use jiff::Timestamp;
use tokio::task::{self, JoinError, JoinSet};
use tracing::{error, info, warn};

use crate::{
    delivery::{
        breaker::{Admits, Sign},
        buffer::{Buffer, Kind},
        errand::{self, Ended, Failure, Shared},
        gate::{Gate, Pass},
        health::{Health, Turn},
        heir,
        retry::later,
    },
    drain::Drain,
    store::{BuryReason, Delivery, DeliveryId, Due, Handed, Lapse, StoreError},
};

/// The queue view of one target.
#[derive(Debug)]
pub(super) struct Lane {
    shared: Arc<Shared>,
    gate: Gate,
    /// Due, and waiting for the gate.
    buffer: Buffer,
    /// Being attempted or settled.
    out: JoinSet<Ended>,
    /// Whose task is whose.
    ids: HashMap<task::Id, Out>,
    /// Whether there may be more due than is held: of first attempts, and of further ones.
    look: (bool, bool),
    /// The store was asked for everything up to this one: what is handed over of that is known.
    through: DeliveryId,
    /// When the next one is due that is not held.
    next_at: Option<Timestamp>,
    tripped: Tripped,
    paused: bool,
    /// How large the bodies of this target were when last fetched.
    body_bytes_mean: usize,
    health: Health,
    is_store_failing: bool,
}

/// Whether the target is tried, as the lane last saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tripped {
    /// It is.
    No,
    /// It is not; what is too old is to be buried before the next probe.
    Unswept,
    /// That is done.
    Swept,
}

/// An errand that is out.
#[derive(Clone, Copy, Debug)]
struct Out {
    id: DeliveryId,
    probe: bool,
}

/// A question to the store that is not answered yet.
type Asking = Pin<Box<dyn Future<Output = Found> + Send>>;

#[derive(Debug)]
enum Found {
    Due(Result<Due, StoreError>),
    Lapsed(Result<u64, StoreError>),
}

// === impl Lane ===

impl Lane {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let target = &shared.target;
        let (last, in_flight) = (shared.dial.paced(), shared.metrics.in_flight.clone());
        let gate = Gate::new(target.concurrency, target.rate, last, in_flight);
        Self {
            gate,
            buffer: Buffer::default(),
            out: JoinSet::new(),
            ids: HashMap::new(),
            look: (true, true),
            through: DeliveryId::default(),
            next_at: None,
            tripped: Tripped::No,
            paused: false,
            body_bytes_mean: BODY_BYTES_GUESS,
            health: Health::default(),
            is_store_failing: false,
            shared,
        }
    }

    /// Runs until it, or `drain`, is told to stop, or its [`heir`] has it begin anew; then takes
    /// nothing new, waits for what is out, and ends. Who stops it bounds that wait.
    pub(super) async fn run(mut self, drain: Drain) {
        let shared = Arc::clone(&self.shared);
        let wake = shared.store.wake(&shared.target.name);
        // Registered before each question: a commit between the two would otherwise wait for
        // the next poll.
        let mut woken = pin!(wake.notified());
        woken.as_mut().enable();
        let mut stopping = pin!(async {
            tokio::select! {
                () = drain.stopping() => {}
                () = shared.dial.stop.cancelled() => {}
            }
        });
        let mut heir = pin!(heir::watch(&shared));
        // Registered before the first look as well.
        if heir.as_mut().now_or_never().is_some() {
            return;
        }
        tokio::select! {
            () = &mut stopping => return,
            () = heir::line_up(&shared) => {}
        }
        let mut asking: Option<Asking> = None;
        loop {
            self.heed();
            if asking.is_none() {
                asking = self.question();
            }
            let next = self.next();
            let idle = self.idle(asking.is_some());
            tokio::select! {
                biased;
                () = &mut stopping => break,
                () = &mut heir => break,
                Some(ended) = self.out.join_next_with_id() => {
                    self.take_back(ended);
                    // Whoever else has ended, in the same look around.
                    while let Some(ended) = self.out.try_join_next_with_id() {
                        self.take_back(ended);
                    }
                }
                // Heard after an answer that is on its way, which may have the same; and before
                // anything is sent, which may have been erased.
                () = &mut woken, if asking.is_none() => {
                    woken.set(wake.notified());
                    woken.as_mut().enable();
                    self.take_handed();
                }
                pass = self.gate.pass(next.unwrap_or(Kind::First)), if next.is_some() => {
                    self.send(next.unwrap_or(Kind::First), pass);
                    self.send_more();
                }
                Some(found) = OptionFuture::from(asking.as_mut()) => {
                    asking = None;
                    self.take(found);
                }
                () = tokio::time::sleep(idle.unwrap_or_default()), if idle.is_some() => {
                    self.look = (true, true);
                    self.next_at = None;
                }
            }
        }
        drop(asking);
        self.buffer.clear();
        while let Some(ended) = self.out.join_next_with_id().await {
            self.take_back(ended);
        }
    }

    /// Takes note of a pause that began or ended, and of a breaker that has opened. What was
    /// fetched before a pause is fetched again after it: how old it is has changed.
    fn heed(&mut self) {
        let paused = self.shared.dial.paused.load(Ordering::SeqCst);
        if paused != self.paused {
            self.paused = paused;
            self.buffer.clear();
            self.look = (true, true);
        }
        match (self.admits(), self.tripped) {
            (Admits::All, Tripped::No) => {}
            (Admits::All, Tripped::Unswept | Tripped::Swept) => {
                (self.tripped, self.look) = (Tripped::No, (true, true));
            }
            (_, Tripped::No) => self.tripped = Tripped::Unswept,
            (_, Tripped::Unswept | Tripped::Swept) => {}
        }
    }

    fn admits(&self) -> Admits {
        self.shared.breaker().admits(self.shared.clock.now())
    }

    /// What is to be asked of the store now, if anything.
    fn question(&mut self) -> Option<Asking> {
        if self.paused {
            return None;
        }
        match self.admits() {
            Admits::NotBefore(_) | Admits::NotYet => None,
            Admits::Probe if self.tripped != Tripped::Swept => self.ask_lapsed(),
            Admits::All | Admits::Probe => self.is_low().then(|| self.ask_due()),
        }
    }

    /// Asks what is due beyond what is held.
    fn ask_due(&mut self) -> Asking {
        self.look = (false, false);
        // Forgotten before the question: what is settled while it is out is told in addition to
        // the answer.
        self.next_at = None;
        let held: Vec<_> = self.buffer.ids().chain(self.ids.values().map(|out| out.id)).collect();
        let room = self.buffer.room(self.buffer_max());
        let now = self.shared.clock.now();
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            Found::Due(shared.store.due(&shared.target.name, now, &held, room).await)
        })
    }

    /// Has buried what grew too old while nothing was tried, before the next probe goes out.
    fn ask_lapsed(&mut self) -> Option<Asking> {
        let Some(older_than) = self.shared.target.rules.retry.give_up_after else {
            self.is_swept();
            return self.is_low().then(|| self.ask_due());
        };
        // What is buried must not wait here.
        self.buffer.clear();
        let (status, error) = self.shared.dial.last_answer();
        let lapse = Lapse { older_than, status, error };
        let held: Vec<_> = self.ids.values().map(|out| out.id).collect();
        let now = self.shared.clock.now();
        let shared = Arc::clone(&self.shared);
        Some(Box::pin(async move {
            Found::Lapsed(shared.store.lapse(&shared.target.name, now, &held, lapse).await)
        }))
    }

    fn is_swept(&mut self) {
        self.tripped = Tripped::Swept;
        self.look = (true, true);
    }

    /// Takes what the store hands over, if nothing older is due that is not here yet. Else the
    /// store is asked for it in its turn.
    fn take_handed(&mut self) {
        let Handed { mut deliveries, look, recall } =
            self.shared.store.handed(&self.shared.target.name);
        if recall {
            self.buffer.clear();
        }
        if look {
            self.look = (true, true);
        }
        deliveries.retain(|delivery| delivery.id > self.through);
        if deliveries.is_empty() {
            return;
        }
        self.note_sizes(&deliveries);
        let is_behind =
            self.look.0 || self.paused || self.tripped != Tripped::No || self.is_store_failing;
        let room = if is_behind { 0 } else { self.buffer.room(self.buffer_max()).first };
        self.look.0 = deliveries.len() > room;
        deliveries.truncate(room);
        self.buffer.extend(deliveries);
    }

    /// Takes note of how large the bodies of this target are.
    fn note_sizes(&mut self, deliveries: &[Delivery]) {
        let bytes: usize = deliveries.iter().map(|delivery| delivery.json.len()).sum();
        self.body_bytes_mean = bytes.checked_div(deliveries.len()).unwrap_or(self.body_bytes_mean);
    }

    /// Takes the store's answer.
    fn take(&mut self, found: Found) {
        let shared = Arc::clone(&self.shared);
        let name = &shared.target.name;
        let error = match found {
            Found::Due(Ok(due)) => {
                self.note_sizes(&due.deliveries);
                self.through = self.through.max(due.through);
                self.look.0 |= due.more.0;
                self.look.1 |= due.more.1;
                // What was asked before a pause is not as old as it says.
                if !self.shared.dial.paused.load(Ordering::SeqCst) && !self.paused {
                    self.buffer.extend(due.deliveries);
                }
                if let Some(at) = due.next_at {
                    self.due_again(at);
                }
                None
            }
            Found::Lapsed(Ok(0)) => {
                self.is_swept();
                None
            }
            Found::Lapsed(Ok(count)) => {
                shared.metrics.buried(BuryReason::ExpiredWhileTripped, count);
                warn!(
                    target = %name, count,
                    "{count} events are dead letters of {name}: too old while it was tripped"
                );
                None
            }
            Found::Due(Err(error)) => Some(error),
            Found::Lapsed(Err(error)) => {
                // Not asked again at once: what is too old then has an attempt instead.
                self.is_swept();
                Some(error)
            }
        };
        match error {
            Some(error) => {
                if !std::mem::replace(&mut self.is_store_failing, true) {
                    warn!(target = %name, %error, "the store does not tell what is due for {name}");
                }
                self.due_again(later(self.shared.clock.now(), STORE_PAUSE));
            }
            None if std::mem::take(&mut self.is_store_failing) => {
                info!(target = %name, "the store tells what is due for {name} again");
            }
            None => {}
        }
    }

    /// Who goes next, if anybody may.
    fn next(&self) -> Option<Kind> {
        let out_max = self.shared.target.concurrency.saturating_mul(OUT_PER_SLOT);
        if self.paused || self.out.len() >= out_max {
            return None;
        }
        match self.admits() {
            Admits::All => self.buffer.next(self.gate.has_further_slot()),
            Admits::Probe if self.tripped == Tripped::Swept => self.buffer.next(true),
            Admits::Probe | Admits::NotBefore(_) | Admits::NotYet => None,
        }
    }

    /// Sends whoever else may go at once.
    fn send_more(&mut self) {
        loop {
            self.heed();
            let Some(kind) = self.next() else { return };
            let Some(pass) = self.gate.pass(kind).now_or_never() else { return };
            self.send(kind, pass);
        }
    }

    /// Sends the next one out, unless nobody may go any more.
    fn send(&mut self, kind: Kind, pass: Pass) {
        let probe = match self.admits() {
            Admits::All => false,
            Admits::Probe => true,
            Admits::NotBefore(_) | Admits::NotYet => return,
        };
        if self.shared.dial.paused.load(Ordering::SeqCst) {
            return;
        }
        let Some(delivery) = self.buffer.pop(kind) else { return };
        self.shared.dial.pace(self.gate.passed());
        if probe {
            self.shared.probes();
            self.tripped = Tripped::Unswept;
        }
        let out = Out { id: delivery.id, probe };
        let task = self.out.spawn(errand::run(Arc::clone(&self.shared), delivery, pass, probe));
        self.ids.insert(task.id(), out);
    }

    fn take_back(&mut self, ended: Result<(task::Id, Ended), JoinError>) {
        let name = &self.shared.target.name;
        let (task, ended, is_lost) = match ended {
            Ok((task, ended)) => (task, ended, false),
            Err(error) => {
                // The attempt's own panics are caught; this is one in settling. What became of it
                // is not known, and settling is idempotent: the row says whether it is still due.
                error!(target = %name, "an errand to {name} panicked: a fault of the relay");
                (error.id(), Ended::Unsettled, true)
            }
        };
        let out = self.ids.remove(&task);
        if is_lost && out.is_some_and(|out| out.probe) {
            // It may have come to its end without telling: the breaker must not wait for it.
            self.shared.note(Sign::None, true);
        }
        match ended {
            Ended::Settled { retry_at, failure } => {
                self.note(failure, retry_at.is_some());
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
                self.buffer.put_back(delivery);
            }
            Ended::Unsettled => self.due_again(later(self.shared.clock.now(), STORE_PAUSE)),
        }
    }

    /// Says once that the target fails, and once that it does no more.
    fn note(&mut self, failure: Option<Failure>, is_kept: bool) {
        let name = &self.shared.target.name;
        let now = self.shared.clock.now();
        let turn = match failure {
            Some(_) => self.health.failed(now),
            None => self.health.delivered(now),
        };
        self.shared.dial.is_failing.store(self.health.is_failing(), Ordering::Relaxed);
        match (turn, &failure) {
            (Some(Turn::Failing), Some(failure)) => warn!(
                target = %name,
                cause = failure.cause.as_str(),
                status = failure.status,
                error = failure.error,
                "target {name} fails{}",
                if is_kept { "; its events are kept and tried again" } else { "" }
            ),
            (Some(Turn::Recovered), None) => info!(target = %name, "target {name} has recovered"),
            (Some(Turn::Failing), None) | (Some(Turn::Recovered), Some(_)) | (None, _) => {}
        }
        if let Some(failure) = failure {
            self.shared.dial.failed(now, failure);
        }
    }

    fn due_again(&mut self, at: Timestamp) {
        self.next_at = Some(self.next_at.map_or(at, |next| next.min(at)));
    }

    /// How long there is nothing to do; `None` when something else than time is waited for.
    fn idle(&self, asking: bool) -> Option<Duration> {
        let now = self.shared.clock.now();
        let until = |at: Timestamp| at.duration_since(now).try_into().unwrap_or_default();
        let idle = match self.admits() {
            _ if self.paused => POLL,
            Admits::NotYet => POLL,
            Admits::NotBefore(at) => until(at),
            Admits::All | Admits::Probe if asking => return None,
            Admits::All | Admits::Probe => self.next_at.map_or(POLL, until),
        };
        Some(idle.clamp(IDLE_MIN, POLL))
    }

    /// Whether there may be more due of a kind of which little is left.
    fn is_low(&self) -> bool {
        let max = self.buffer_max();
        let room = self.buffer.room(max);
        let half = max.div_ceil(2);
        (self.look.0 && room.first >= half) || (self.look.1 && room.further >= half)
    }

    /// How many of each kind may wait.
    fn buffer_max(&self) -> usize {
        let by_count = self.shared.target.concurrency.saturating_mul(BUFFER_PER_SLOT);
        let by_bytes = BUFFER_BYTES.checked_div(self.body_bytes_mean).unwrap_or(by_count);
        by_count.min(by_bytes).max(1)
    }
}

/// Deliveries of each kind that wait in memory for each slot: the store is asked once for that many.
const BUFFER_PER_SLOT: usize = 16;

/// What of each kind waits in memory should come to no more bytes than this, as far as the size of
/// the last bodies tells that of the next.
const BUFFER_BYTES: usize = 1024 * 1024;

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
