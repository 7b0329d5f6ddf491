//! The embedded store: one `SQLite` file, written by one thread.
//!
//! A writer thread owns the connection and commits a group at a time: whatever queued while the
//! last one was written, so that one sync serves many callers. Another thread syncs, so that the
//! next group is written while the last is on its way to the disk; only then is anybody answered
//! (`log` says why that is safe). A third folds the log into the database meanwhile. Readers are
//! threads with connections that cannot write. What is added to the contract: an event has at most
//! 4096 targets, and one process at a time has the file (a lock beside it names the holder).
//!
//! One bad admission fails alone without a savepoint for every good one: a group is first written
//! as a whole, and only when a statement refuses a row is it rolled back and written again with
//! a savepoint each.

mod amend;
mod backup;
mod disk;
mod find;
mod fold;
mod group;
mod ledger;
mod log;
mod open;
mod queries;
mod queue;
mod readers;
mod schema;
mod seen;
mod statements;
mod terms;
mod turns;
mod writer;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use jiff::Timestamp;
use rusqlite::Connection;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use self::{
    amend::{Amend, Amended},
    disk::Disk,
    find::{Dead, Found, Kept, Pages, Stale},
    group::{Move, Outcome},
    readers::Readers,
    seen::Key,
    writer::{Job, Shared, Shift, Writer},
};
pub use self::{
    open::{Held, Holder, Note, OpenError, files_of},
    schema::InForce,
};
use crate::{
    clock::Clock,
    event::{EventId, SourceName},
    metrics::Metrics,
    route::TargetName,
    store::{
        Admission, Again, Answer, Attempt, DeadCount, DeadFilter, DeadPage, Delivery, DeliveryId,
        DeliveryRecord, Due, Erased, Erasure, EventCursor, EventFilter, EventPage, Handed, Lapse,
        Limits, Moved, Order, PastAttempt, PurgeCursor, Purged, Receipt, Replay, Replayed, Room,
        Settings, Settlement, Store, StoreError, StoredEvent, Totals,
        metrics::{Books, Series, describe, register_books},
    },
};

/// A store in one file. Dropping it without [`Store::close`] commits what is queued and closes it
/// too, but waits for that on the spot.
#[derive(Debug)]
pub struct Sqlite {
    shared: Arc<Shared>,
    readers: Arc<Readers>,
    in_force: InForce,
    limits: Mutex<Limits>,
    writer: Mutex<Option<JoinHandle<()>>>,
    /// True once the writer has let go of the file.
    closed: watch::Receiver<bool>,
}

/// What a scrape reads, with a connection of its own each time: it waits neither for the writer
/// nor behind other readers, and holds nothing in between.
struct Ledgers(Arc<Shared>);

// === impl Sqlite ===

impl Sqlite {
    /// Opens the file, making or migrating it, and starts the threads. `admin` goes into the note
    /// of the lock, for whoever is refused by it. Registers the series of the store.
    pub fn open(
        settings: &Settings,
        clock: Clock,
        metrics: &Metrics,
    ) -> Result<Arc<Self>, OpenError> {
        Self::open_held(Self::hold(settings)?, settings, clock, metrics)
    }

    /// Keeps every other writer out, before anything else is taken that two cannot have.
    pub fn hold(settings: &Settings) -> Result<Held, OpenError> {
        Held::take(&settings.path)
    }

    /// Opens the file that is held.
    pub fn open_held(
        held: Held,
        settings: &Settings,
        clock: Clock,
        metrics: &Metrics,
    ) -> Result<Arc<Self>, OpenError> {
        let Held { path, lock } = held;
        let connection = schema::open_writer(&path)?;
        let failed = |error: rusqlite::Error| OpenError::of(&path, &error);
        let in_force = schema::in_force(&connection).map_err(failed)?;
        let disk = Disk::of(&path, settings.min_free);
        let shared = Shared::new(path.clone(), clock, disk, Series::register(metrics));
        let shared = Arc::new(shared);
        let writer = Writer::new(Arc::clone(&shared), connection)?;
        register_books(metrics, Ledgers(Arc::clone(&shared)));
        describe(metrics, &in_force.journal_mode, in_force.synchronous);

        let unstarted = |error: std::io::Error| OpenError::Failed {
            path: path.clone(),
            error: error.to_string(),
        };
        let readers = Arc::new(Readers::start(&shared).map_err(unstarted)?);
        let (let_go, closed) = watch::channel(false);
        let (held, held_readers) = (Arc::clone(&shared), Arc::clone(&readers));
        let thread = std::thread::Builder::new()
            .name("store-write".to_owned())
            .spawn(move || {
                let shift = Shift(held);
                let connection = writer.run();
                drop(shift);
                held_readers.close();
                if let Some(connection) = connection {
                    writer::fold(connection);
                }
                drop(lock);
                let_go.send_replace(true);
            })
            .map_err(unstarted)?;
        tracing::info!(
            path = %path.display(),
            synchronous = in_force.synchronous,
            journal_mode = in_force.journal_mode,
            schema_version = in_force.schema_version,
            "opened the store {}", path.display()
        );
        // A disk that is too full already is said at the start, and not at the first callback.
        shared.disk.has_reserve();
        let (limits, writer) = (Mutex::new(settings.limits()), Mutex::new(Some(thread)));
        Ok(Arc::new(Self { shared, readers, in_force, limits, writer, closed }))
    }

    /// Opens the file for looking only, beside a relay or without one: takes no lock, writes
    /// nothing, and never keeps the log from being folded in for longer than one question. What
    /// would write is refused as [`StoreError::ReadOnly`].
    pub fn open_to_read(settings: &Settings, clock: Clock) -> Result<Arc<Self>, OpenError> {
        let path = open::existing(&settings.path)?;
        let failed = |error: rusqlite::Error| OpenError::of(&path, &error);
        let connection = schema::open_reader(&path).map_err(failed)?;
        schema::check_current(&connection, &path)?;
        let in_force = schema::in_force(&connection).map_err(failed)?;
        let disk = Disk::of(&path, settings.min_free);
        let shared = Shared::new(path.clone(), clock, disk, Series::register(&Metrics::new()));
        let shared = Arc::new(shared);
        shared.only_read(&connection).map_err(failed)?;
        drop(connection);
        let unstarted = |error: std::io::Error| OpenError::Failed {
            path: path.clone(),
            error: error.to_string(),
        };
        let readers = Arc::new(Readers::start(&shared).map_err(unstarted)?);
        let (_, closed) = watch::channel(true);
        let (limits, writer) = (Mutex::new(settings.limits()), Mutex::default());
        Ok(Arc::new(Self { shared, readers, in_force, limits, writer, closed }))
    }

    /// The relay that has this file, or last had it and was killed, as the lock beside it notes.
    /// Read without touching the lock, which a relay may be about to take.
    pub fn holder(path: &Path) -> Option<Holder> {
        Holder::of(&open::existing(path).ok()?)
    }

    /// What `SQLite` said of itself when the file was opened.
    pub fn in_force(&self) -> &InForce {
        &self.in_force
    }

    /// Moves a step of dead letters, of one look. They are looked up by a reader, so that a filter
    /// that finds few among many does not stall the writer, which then moves those still dead.
    async fn move_dead(
        &self,
        filter: DeadFilter,
        after: Option<DeliveryId>,
        to: Move,
        max: usize,
    ) -> Result<Moved, StoreError> {
        if max == 0 {
            return Ok(Moved { letters: 0, next: after });
        }
        let Found { items, next } =
            self.find_dead(&Arc::new(filter), after, max.min(MOVED_PER_STEP)).await?;
        if items.is_empty() {
            return Ok(Moved { letters: 0, next });
        }
        let ids = items.into_iter().map(|dead| dead.id).collect();
        let letters = self.shared.ask(|reply| Job::MoveDead(ids, to, reply)).await?;
        Ok(Moved { letters, next })
    }

    async fn find_dead(
        &self,
        filter: &Arc<DeadFilter>,
        after: Option<DeliveryId>,
        limit: usize,
    ) -> Result<Found<Dead, DeliveryId>, StoreError> {
        let filter = Arc::clone(filter);
        self.readers.ask(move |connection| find::dead(connection, &filter, after, limit)).await
    }

    async fn list_dead(
        &self,
        filter: DeadFilter,
        after: Option<DeliveryId>,
        limit: usize,
    ) -> Result<DeadPage, StoreError> {
        let found = self.find_dead(&Arc::new(filter), after, limit).await?;
        let next = found.next;
        let read = move |connection: &Connection| {
            let ids = found.items.iter().map(|dead| dead.id);
            let read = ids.map(|id| queries::dead_letter(connection, id));
            read.collect::<rusqlite::Result<Vec<_>>>()
        };
        let letters = self.readers.ask(read).await?.into_iter().flatten().collect();
        Ok(DeadPage { letters, next })
    }

    async fn count_dead(
        &self,
        filter: DeadFilter,
        within: Duration,
    ) -> Result<DeadCount, StoreError> {
        let (filter, began) = (Arc::new(filter), Instant::now());
        let mut count = DeadCount::default();
        let mut by_number: HashMap<(i64, String), u64> = HashMap::new();
        let mut after = None;
        while began.elapsed() < within {
            let found = self.find_dead(&filter, after, queries::PAGE_ROWS_MAX).await?;
            for Dead { target, reason, .. } in found.items {
                *by_number.entry((target, reason)).or_default() += 1;
            }
            after = found.next;
            if after.is_none() {
                count.complete = true;
                break;
            }
        }
        let named = move |connection: &Connection| {
            let named = by_number.into_iter().map(|((target, reason), letters)| {
                Ok(((queries::name_of(connection, target)?, reason), letters))
            });
            named.collect::<rusqlite::Result<_>>()
        };
        count.letters = self.readers.ask(named).await?;
        Ok(count)
    }

    async fn amend(&self, amend: Amend) -> Result<Amended, StoreError> {
        self.shared.ask(|reply| Job::Amend(Box::new(amend), reply)).await
    }

    async fn replay_step(
        &self,
        replay: Replay,
        after: Option<EventCursor>,
        again: Again,
        max: usize,
    ) -> Result<Replayed, StoreError> {
        let Replay { events, targets } = replay;
        let limit = max.clamp(1, MOVED_PER_STEP);
        let found = self
            .readers
            .ask(move |connection| {
                find::events(connection, &events, Order::OldestFirst, after, limit)
            })
            .await?;
        let next = found.next;
        let events: Vec<i64> = found.items.into_iter().map(|(seq, _)| seq).collect();
        if events.is_empty() {
            return Ok(Replayed { deliveries: 0, next });
        }
        let deliveries = self.amend(Amend::Replay { events, targets, again }).await?.moved;
        Ok(Replayed { deliveries, next })
    }

    async fn purge_step(&self, after: Option<PurgeCursor>) -> Result<Purged, StoreError> {
        let pages = self.readers.ask(Pages::of).await?;
        let after = match after {
            None => 0,
            Some(PurgeCursor::Events(cursor)) => cursor.0,
            Some(PurgeCursor::Pages) => return self.shrink_step(pages).await,
        };
        let Limits { retention, dead_retention, max_size, .. } =
            *self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = Kept::at(self.shared.clock.now(), retention, dead_retention);
        let is_full = pages.used() > max_size;
        let found = self
            .readers
            .ask(move |connection| find::stale(connection, after, kept, is_full))
            .await?;
        let next =
            found.next.map_or(PurgeCursor::Pages, |seq| PurgeCursor::Events(EventCursor(seq)));
        let mut purged = Purged::default();
        for Stale { expire, remove } in found.items {
            if !expire.is_empty() || !remove.is_empty() {
                purged = self.amend(Amend::Purge { expire, remove }).await?.purged;
            }
        }
        if is_full && found.next.is_none() {
            tracing::warn!(
                used_bytes = pages.used(),
                max_size,
                "the store holds more than max_size, and what is left of it waits to be delivered \
                 or looked at: nothing more can be purged"
            );
        }
        Ok(Purged { next: Some(next), ..purged })
    }

    /// Gives back free pages beyond what new events will soon need.
    async fn shrink_step(&self, pages: Pages) -> Result<Purged, StoreError> {
        if pages.free <= FREE_PAGES_KEPT.max(pages.all / FREE_PART_KEPT) {
            return Ok(Purged::default());
        }
        let shrunk = self.amend(Amend::Shrink).await?.purged;
        // A step that gives nothing back ends it, whatever the count says.
        let next = (shrunk.pages > 0).then_some(PurgeCursor::Pages);
        Ok(Purged { next, ..shrunk })
    }

    async fn erase_step(
        &self,
        what: Erasure,
        after: Option<EventCursor>,
    ) -> Result<Erased, StoreError> {
        let found =
            self.readers.ask(move |connection| find::erasable(connection, &what, after)).await?;
        let mut erased = Erased::default();
        let (seqs, ids): (Vec<i64>, BTreeSet<EventId>) = found.items.into_iter().unzip();
        if !seqs.is_empty() {
            let ids = Arc::new(ids);
            // They go together: once the events are gone, nobody knows whose fingerprints are left.
            let keys = self.fingerprints_of(&seqs, &ids).await?;
            erased = self.amend(Amend::Erase { events: seqs, keys }).await?.erased;
            // Again, for those of an event that was released while they were looked for.
            let keys = self.fingerprints_of(&[], &ids).await?;
            if !keys.is_empty() {
                erased = erased.and(self.amend(Amend::Forget(keys)).await?.erased);
            }
        }
        erased.next = found.next;
        if erased.next.is_none() {
            self.leave_no_trace().await?;
        }
        Ok(erased)
    }

    /// The fingerprints of at most [`find::REMOVED_PER_STEP`] events. The notes first: what is
    /// moved into the tree meanwhile is known by then, and what was moved before is found there.
    async fn fingerprints_of(
        &self,
        seqs: &[i64],
        events: &Arc<BTreeSet<EventId>>,
    ) -> Result<Vec<Key>, StoreError> {
        let seqs = seqs.to_vec();
        let mut keys = self.readers.ask(move |connection| find::noted(connection, &seqs)).await?;
        let mut after = Key::default();
        loop {
            let events = Arc::clone(events);
            let look =
                move |connection: &Connection| find::fingerprints(connection, &events, after);
            let found = self.readers.ask(look).await?;
            keys.extend(found.items);
            match found.next {
                None => return Ok(keys),
                Some(next) => after = next,
            }
        }
    }

    /// Free pages may hold what was removed before, and the log what was written before: gives
    /// the pages back to the disk, and empties the log.
    async fn leave_no_trace(&self) -> Result<(), StoreError> {
        while self.amend(Amend::Shrink).await?.purged.pages > 0 {}
        for _ in 0..LOG_EMPTYINGS_MAX {
            let path = self.shared.path.clone();
            if self.readers.ask(move |_| schema::empty_log(&path)).await? {
                return Ok(());
            }
            tokio::time::sleep(LOG_PAUSE).await;
        }
        Err(StoreError::Io("the log is in use, and could not be emptied; erase again".into()))
    }
}

/// Dead letters moved, or events replayed, in one transaction: a few milliseconds of the writer's
/// time.
const MOVED_PER_STEP: usize = 256;

/// Free pages that are kept whatever the size of the file: two megabytes.
const FREE_PAGES_KEPT: u64 = 256;

/// One page in so many is kept free for new events: giving pages back and taking them again costs
/// writes, and a store in balance removes as much as it takes in.
const FREE_PART_KEPT: u64 = 16;

/// Attempts to empty the log between the reads of others, which are short.
const LOG_EMPTYINGS_MAX: usize = 100;

/// Between those.
const LOG_PAUSE: Duration = Duration::from_millis(50);

impl Store for Sqlite {
    fn commit(&self, admission: Admission) -> Answer<'_, Receipt> {
        Box::pin(self.shared.ask(move |reply| Job::Commit(Box::new(admission), reply)))
    }

    fn due(
        &self,
        target: &TargetName,
        now: Timestamp,
        held: &[DeliveryId],
        room: Room,
    ) -> Answer<'_, Due> {
        let (target, mut held) = (target.clone(), held.to_vec());
        held.sort_unstable();
        let shared = Arc::clone(&self.shared);
        Box::pin(self.readers.ask(move |connection| {
            let durable = shared.durable();
            queries::due(connection, &target, (now, durable), &held, room)
        }))
    }

    fn take_turns(&self, target: &TargetName, by_call: bool) -> Answer<'_, ()> {
        let target = target.clone();
        Box::pin(async move {
            let mut after = None;
            loop {
                let target = target.clone();
                after = self.amend(Amend::TakeTurns { target, by_call, after }).await?.joined;
                if after.is_none() {
                    return Ok(());
                }
            }
        })
    }

    fn pause(&self, target: &TargetName) -> Answer<'_, bool> {
        let pause = Amend::Pause { target: target.clone(), paused: true };
        Box::pin(async move { Ok(self.amend(pause).await?.moved > 0) })
    }

    fn resume(&self, target: &TargetName) -> Answer<'_, bool> {
        let resume = Amend::Pause { target: target.clone(), paused: false };
        Box::pin(async move { Ok(self.amend(resume).await?.moved > 0) })
    }

    fn lapse(
        &self,
        target: &TargetName,
        now: Timestamp,
        held: &[DeliveryId],
        lapse: Lapse,
    ) -> Answer<'_, u64> {
        let (target, mut held) = (target.clone(), held.to_vec());
        held.sort_unstable();
        Box::pin(async move {
            let (name, before) = (target.clone(), turns::lapsed_before(now, &lapse));
            let find = move |connection: &Connection| {
                queries::lapsed(connection, &name, now, before, &held)
            };
            let found = self.readers.ask(find).await?;
            if found.is_empty() {
                return Ok(0);
            }
            Ok(self.amend(Amend::Lapse { target, found, lapse }).await?.moved)
        })
    }

    fn settle(
        &self,
        delivery: Delivery,
        attempt: Attempt,
        settlement: Settlement,
    ) -> Answer<'_, ()> {
        let Delivery { id, target, round, .. } = delivery;
        let outcome = Box::new(Outcome { id, target, round, attempt, settlement });
        Box::pin(self.shared.ask(move |reply| Job::Settle(outcome, reply)))
    }

    fn wake(&self, target: &TargetName) -> Arc<Notify> {
        self.shared.handover(target).wake()
    }

    fn handed(&self, target: &TargetName) -> Handed {
        self.shared.handover(target).take()
    }

    fn event(&self, id: EventId) -> Answer<'_, Option<StoredEvent>> {
        Box::pin(self.readers.ask(move |connection| queries::event(connection, id)))
    }

    fn dead_letters(
        &self,
        filter: DeadFilter,
        after: Option<DeliveryId>,
        limit: usize,
    ) -> Answer<'_, DeadPage> {
        Box::pin(self.list_dead(filter, after, limit))
    }

    fn events(
        &self,
        filter: EventFilter,
        order: Order,
        after: Option<EventCursor>,
        limit: usize,
    ) -> Answer<'_, EventPage> {
        Box::pin(async move {
            let find = move |connection: &Connection| {
                find::events(connection, &filter, order, after, limit)
            };
            let Found { items, next } = self.readers.ask(find).await?;
            Ok(EventPage { events: items.into_iter().map(|(_, event)| event).collect(), next })
        })
    }

    fn deliveries_of(&self, event: EventId) -> Answer<'_, Vec<DeliveryRecord>> {
        Box::pin(self.readers.ask(move |connection| queries::deliveries_of(connection, event)))
    }

    fn attempts(
        &self,
        delivery: DeliveryId,
        after: Option<(u32, u32)>,
        limit: usize,
    ) -> Answer<'_, Vec<PastAttempt>> {
        let after = after.unwrap_or_default();
        Box::pin(
            self.readers
                .ask(move |connection| queries::attempts(connection, delivery, after, limit)),
        )
    }

    fn redrive(
        &self,
        filter: DeadFilter,
        after: Option<DeliveryId>,
        again: Again,
        max: usize,
    ) -> Answer<'_, Moved> {
        Box::pin(self.move_dead(filter, after, Move::Redrive(again), max))
    }

    fn discard(
        &self,
        filter: DeadFilter,
        after: Option<DeliveryId>,
        max: usize,
    ) -> Answer<'_, Moved> {
        Box::pin(self.move_dead(filter, after, Move::Discard, max))
    }

    fn count_dead(&self, filter: DeadFilter, within: Duration) -> Answer<'_, DeadCount> {
        Box::pin(Self::count_dead(self, filter, within))
    }

    fn release(&self, admission: Admission) -> Answer<'_, bool> {
        Box::pin(async move {
            let released = self.amend(Amend::Release(Box::new(admission))).await?;
            Ok(released.moved > 0)
        })
    }

    fn replay(
        &self,
        replay: Replay,
        after: Option<EventCursor>,
        again: Again,
        max: usize,
    ) -> Answer<'_, Replayed> {
        Box::pin(self.replay_step(replay, after, again, max))
    }

    fn adopt(&self, old: &TargetName, new: &TargetName) -> Answer<'_, u64> {
        let (old, new) = (old.clone(), new.clone());
        Box::pin(async move { Ok(self.amend(Amend::Adopt { old, new }).await?.moved) })
    }

    fn bury_orphans(&self, target: &TargetName) -> Answer<'_, u64> {
        let target = target.clone();
        Box::pin(async move {
            if self.shared.is_declared(&target) {
                return Ok(0);
            }
            Ok(self.amend(Amend::Bury(target)).await?.moved)
        })
    }

    fn purge(&self, after: Option<PurgeCursor>) -> Answer<'_, Purged> {
        Box::pin(self.purge_step(after))
    }

    fn erase(&self, what: Erasure, after: Option<EventCursor>) -> Answer<'_, Erased> {
        Box::pin(self.erase_step(what, after))
    }

    fn backup(&self, to: PathBuf) -> Answer<'_, ()> {
        Box::pin(backup::run(self.shared.path.clone(), to))
    }

    fn declare(&self, sources: &[SourceName], targets: &[TargetName]) {
        self.shared.declare(targets);
        let mut totals = self.shared.totals();
        for source in sources {
            totals.events.entry(source.clone()).or_default();
        }
        for target in targets {
            totals.deliveries.entry(target.clone()).or_default();
        }
        drop(totals);
        self.shared.configure(targets.to_vec());
    }

    fn limit(&self, limits: Limits) {
        self.shared.disk.keep(limits.min_free);
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    fn totals(&self) -> Totals {
        self.shared.totals().clone()
    }

    fn oldest_pending(&self) -> Answer<'_, Vec<(TargetName, Timestamp)>> {
        Box::pin(self.readers.ask(queries::oldest_pending))
    }

    fn refusal(&self) -> Option<StoreError> {
        self.shared.refusal()
    }

    fn close(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            self.shared.queue.close();
            let mut closed = self.closed.clone();
            // The sender goes with the writer, however that ends: then the file is let go of too.
            drop(closed.wait_for(|closed| *closed).await);
            match self.shared.refusal() {
                Some(error @ StoreError::Io(_)) => Err(error),
                _ => Ok(()),
            }
        })
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        self.shared.queue.close();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if writer.is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the writer of the store panicked");
        }
    }
}

// === impl Ledgers ===

impl Books for Ledgers {
    fn totals(&self) -> Totals {
        self.0.totals().clone()
    }

    fn is_orphan(&self, target: &TargetName) -> bool {
        !self.0.is_declared(target)
    }

    fn oldest(&self) -> Vec<(TargetName, Timestamp)> {
        if self.0.refusal() == Some(StoreError::Closed) {
            return Vec::new();
        }
        schema::open_reader(&self.0.path)
            .and_then(|connection| queries::oldest_pending(&connection))
            .unwrap_or_default()
    }

    fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    fn bytes(&self) -> u64 {
        ["", "-wal", "-shm"]
            .iter()
            .filter_map(|suffix| fs::metadata(open::beside(&self.0.path, suffix)).ok())
            .map(|file| file.len())
            .sum()
    }

    fn free_bytes(&self) -> u64 {
        self.0.disk.free()
    }

    fn queue(&self) -> usize {
        self.0.queue.len()
    }
}
