//! A store that fails when a test says so.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use hookswitch::{
    event::{EventId, SourceName},
    route::TargetName,
    store::{
        Admission, Again, Answer, Attempt, DeadCount, DeadFilter, DeadPage, Delivery, DeliveryId,
        DeliveryRecord, Due, Erased, Erasure, EventCursor, EventFilter, EventPage, Handed, Lapse,
        Limits, Moved, Order, PastAttempt, PurgeCursor, Purged, Receipt, Replay, Replayed, Room,
        Settlement, Store, StoreError, StoredEvent, Totals,
    },
};
use jiff::Timestamp;
use tokio::sync::Notify;

use crate::harness::{Relay, Setup};

/// The real store, which a test makes fail or wait.
#[derive(Debug)]
pub(crate) struct Troubled {
    inner: Arc<dyn Store>,
    /// Commits fail with this.
    fails: Mutex<Option<StoreError>>,
    /// Commits panic.
    pub(crate) panics: AtomicBool,
    /// Commits wait.
    pub(crate) waits: AtomicBool,
    /// What came of attempts is not kept.
    pub(crate) forgets: AtomicBool,
    go_on: Notify,
    /// Steps of long work that succeed still.
    steps: AtomicU64,
}

impl Troubled {
    fn on(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            fails: Mutex::default(),
            panics: AtomicBool::new(false),
            waits: AtomicBool::new(false),
            forgets: AtomicBool::new(false),
            go_on: Notify::new(),
            steps: AtomicU64::new(u64::MAX),
        })
    }

    /// Has every commit fail with this, or none.
    pub(crate) fn fail(&self, error: Option<StoreError>) {
        *self.fails.lock().unwrap() = error;
    }

    /// Has the disk fail after that many steps of redriving, discarding, replaying, releasing,
    /// adopting, burying or erasing; `u64::MAX` mends it.
    pub(crate) fn fail_after(&self, steps: u64) {
        self.steps.store(steps, Ordering::SeqCst);
    }

    fn step<'a, T: Send + 'a>(&self, step: Answer<'a, T>) -> Answer<'a, T> {
        let left = |left: u64| if left == u64::MAX { Some(left) } else { left.checked_sub(1) };
        match self.steps.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left) {
            Ok(_) => step,
            Err(_) => Box::pin(async { Err(StoreError::Io(GONE.into())) }),
        }
    }
}

/// What the system said; it names what no answer may show.
pub(crate) const GONE: &str = "/srv/secret-place/hookswitch.db: the disk is gone";

impl Store for Troubled {
    fn commit(&self, admission: Admission) -> Answer<'_, Receipt> {
        Box::pin(async move {
            assert!(!self.panics.load(Ordering::SeqCst), "{GONE}");
            if let Some(error) = self.fails.lock().unwrap().clone() {
                return Err(error);
            }
            let commit = self.inner.commit(admission);
            if self.waits.load(Ordering::SeqCst) {
                self.go_on.notified().await;
            }
            commit.await
        })
    }

    fn due(
        &self,
        target: &TargetName,
        now: Timestamp,
        held: &[DeliveryId],
        room: Room,
    ) -> Answer<'_, Due> {
        self.inner.due(target, now, held, room)
    }

    fn take_turns(&self, target: &TargetName, by_call: bool) -> Answer<'_, ()> {
        self.inner.take_turns(target, by_call)
    }

    fn pause(&self, target: &TargetName) -> Answer<'_, bool> {
        self.inner.pause(target)
    }

    fn resume(&self, target: &TargetName) -> Answer<'_, bool> {
        self.inner.resume(target)
    }

    fn lapse(
        &self,
        target: &TargetName,
        now: Timestamp,
        held: &[DeliveryId],
        lapse: Lapse,
    ) -> Answer<'_, u64> {
        self.inner.lapse(target, now, held, lapse)
    }

    fn settle(
        &self,
        delivery: Delivery,
        attempt: Attempt,
        settlement: Settlement,
    ) -> Answer<'_, ()> {
        if self.forgets.load(Ordering::SeqCst) {
            return Box::pin(async { Err(StoreError::Io(GONE.into())) });
        }
        self.inner.settle(delivery, attempt, settlement)
    }

    fn wake(&self, target: &TargetName) -> Arc<Notify> {
        self.inner.wake(target)
    }

    fn handed(&self, target: &TargetName) -> Handed {
        self.inner.handed(target)
    }

    fn event(&self, id: EventId) -> Answer<'_, Option<StoredEvent>> {
        self.inner.event(id)
    }

    fn dead_letters(
        &self,
        filter: DeadFilter,
        after: Option<DeliveryId>,
        limit: usize,
    ) -> Answer<'_, DeadPage> {
        self.inner.dead_letters(filter, after, limit)
    }

    fn events(
        &self,
        filter: EventFilter,
        order: Order,
        after: Option<EventCursor>,
        limit: usize,
    ) -> Answer<'_, EventPage> {
        self.inner.events(filter, order, after, limit)
    }

    fn deliveries_of(&self, event: EventId) -> Answer<'_, Vec<DeliveryRecord>> {
        self.inner.deliveries_of(event)
    }

    fn attempts(
        &self,
        delivery: DeliveryId,
        after: Option<(u32, u32)>,
        limit: usize,
    ) -> Answer<'_, Vec<PastAttempt>> {
        self.inner.attempts(delivery, after, limit)
    }

    fn redrive(
        &self,
        filter: DeadFilter,
        after: Option<DeliveryId>,
        again: Again,
        max: usize,
    ) -> Answer<'_, Moved> {
        self.step(self.inner.redrive(filter, after, again, max))
    }

    fn discard(
        &self,
        filter: DeadFilter,
        after: Option<DeliveryId>,
        max: usize,
    ) -> Answer<'_, Moved> {
        self.step(self.inner.discard(filter, after, max))
    }

    fn count_dead(&self, filter: DeadFilter, within: Duration) -> Answer<'_, DeadCount> {
        self.inner.count_dead(filter, within)
    }

    fn release(&self, admission: Admission) -> Answer<'_, bool> {
        self.step(self.inner.release(admission))
    }

    fn replay(
        &self,
        replay: Replay,
        after: Option<EventCursor>,
        again: Again,
        max: usize,
    ) -> Answer<'_, Replayed> {
        self.step(self.inner.replay(replay, after, again, max))
    }

    fn adopt(&self, old: &TargetName, new: &TargetName) -> Answer<'_, u64> {
        self.step(self.inner.adopt(old, new))
    }

    fn bury_orphans(&self, target: &TargetName) -> Answer<'_, u64> {
        self.step(self.inner.bury_orphans(target))
    }

    fn purge(&self, after: Option<PurgeCursor>) -> Answer<'_, Purged> {
        self.inner.purge(after)
    }

    fn erase(&self, what: Erasure, after: Option<EventCursor>) -> Answer<'_, Erased> {
        self.step(self.inner.erase(what, after))
    }

    fn backup(&self, to: PathBuf) -> Answer<'_, ()> {
        self.inner.backup(to)
    }

    fn declare(&self, sources: &[SourceName], targets: &[TargetName]) {
        self.inner.declare(sources, targets);
    }

    fn limit(&self, limits: Limits) {
        self.inner.limit(limits);
    }

    fn totals(&self) -> Totals {
        self.inner.totals()
    }

    fn oldest_pending(&self) -> Answer<'_, Vec<(TargetName, Timestamp)>> {
        self.inner.oldest_pending()
    }

    fn refusal(&self) -> Option<StoreError> {
        self.inner.refusal()
    }

    fn close(&self) -> Answer<'_, ()> {
        self.inner.close()
    }
}

/// A relay on a troubled store, and the handle to trouble it.
pub(crate) async fn troubled(setup: &Setup) -> (Relay, Arc<Troubled>) {
    let mut handle = None;
    let relay = setup
        .start_on(|store| {
            let store = Troubled::on(store);
            handle = Some(Arc::clone(&store));
            store
        })
        .await;
    (relay, handle.unwrap())
}
