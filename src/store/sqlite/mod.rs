//! The embedded store: one `SQLite` file, written by one thread.
//!
//! A writer thread owns the connection and commits a group at a time: whatever queued while the
//! last commit ran, so that one sync serves many callers. Readers are threads with connections
//! that cannot write. What is added to the contract: an event has at most 4096 targets, and one
//! process at a time has the file (a lock beside it names the holder).
//!
//! One bad admission fails alone without a savepoint for every good one: a group is first written
//! as a whole, and only when a statement refuses a row is it rolled back and written again with
//! a savepoint each.

mod disk;
mod group;
mod ledger;
mod open;
mod queries;
mod queue;
mod readers;
mod schema;
mod seen;
mod writer;

#[cfg(test)]
mod tests;

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
};

use jiff::Timestamp;
use tokio::sync::{Notify, watch};

use self::{
    disk::Disk,
    group::{Move, Outcome},
    open::{ADMIN_NOTE, Lock},
    readers::Readers,
    writer::{Job, Shared, Shift, Writer},
};
pub use self::{open::OpenError, schema::InForce};
use crate::{
    clock::Clock,
    event::{EventId, SourceName},
    metrics::Metrics,
    route::TargetName,
    store::{
        Admission, Answer, Attempt, DeadFilter, DeadLetter, Delivery, DeliveryId, DeliveryRecord,
        Due, EventCursor, EventFilter, EventPage, Order, PastAttempt, Receipt, Settings,
        Settlement, Store, StoreError, StoredEvent, Totals,
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
        admin: Option<SocketAddr>,
    ) -> Result<Arc<Self>, OpenError> {
        let path = open::prepare(&settings.path)?;
        let lock = Lock::take(&path, admin)?;
        let connection = schema::open_writer(&path)?;
        let failed = |error: rusqlite::Error| OpenError::of(&path, &error);
        let in_force = schema::in_force(&connection).map_err(failed)?;
        let disk = Disk::of(&path, settings.min_free);
        let shared = Shared::new(path.clone(), clock, disk, Series::register(metrics));
        let shared = Arc::new(shared);
        let writer = Writer::new(Arc::clone(&shared), connection).map_err(failed)?;
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
        Ok(Arc::new(Self { shared, readers, in_force, writer: Mutex::new(Some(thread)), closed }))
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
        Ok(Arc::new(Self { shared, readers, in_force, writer: Mutex::default(), closed }))
    }

    /// The admin address of the relay that has this file, or last had it and was killed, as the
    /// lock beside it notes.
    pub fn admin_of_holder(path: &Path) -> Option<SocketAddr> {
        let note = open::noted(&open::existing(path).ok()?)?;
        note.rsplit_once(ADMIN_NOTE)?.1.trim().parse().ok()
    }

    /// What `SQLite` said of itself when the file was opened.
    pub fn in_force(&self) -> &InForce {
        &self.in_force
    }

    /// Moves a step of dead letters. They are looked up by a reader, so that a filter that finds
    /// few among many does not stall the writer, which then moves those that are still dead.
    async fn move_dead(&self, filter: DeadFilter, to: Move, max: usize) -> Result<u64, StoreError> {
        let found =
            self.readers.ask(move |connection| queries::dead_of(connection, &filter, max)).await?;
        if found.is_empty() {
            return Ok(0);
        }
        self.shared.ask(|reply| Job::MoveDead(found, to, reply)).await
    }
}

impl Store for Sqlite {
    fn commit(&self, admission: Admission) -> Answer<'_, Receipt> {
        Box::pin(self.shared.ask(move |reply| Job::Commit(Box::new(admission), reply)))
    }

    fn due(
        &self,
        target: &TargetName,
        now: Timestamp,
        held: &[DeliveryId],
        limit: usize,
    ) -> Answer<'_, Due> {
        let (target, mut held) = (target.clone(), held.to_vec());
        held.sort_unstable();
        Box::pin(
            self.readers
                .ask(move |connection| queries::due(connection, &target, now, &held, limit)),
        )
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
        self.shared.wake(target)
    }

    fn event(&self, id: EventId) -> Answer<'_, Option<StoredEvent>> {
        Box::pin(self.readers.ask(move |connection| queries::event(connection, id)))
    }

    fn dead_letters(
        &self,
        target: Option<&TargetName>,
        after: Option<DeliveryId>,
        limit: usize,
    ) -> Answer<'_, Vec<DeadLetter>> {
        let target = target.cloned();
        Box::pin(self.readers.ask(move |connection| {
            queries::dead_letters(connection, target.as_ref(), after, limit)
        }))
    }

    fn events(
        &self,
        filter: EventFilter,
        order: Order,
        after: Option<EventCursor>,
        limit: usize,
    ) -> Answer<'_, EventPage> {
        Box::pin(
            self.readers
                .ask(move |connection| queries::events(connection, &filter, order, after, limit)),
        )
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

    fn redrive(&self, filter: DeadFilter, at: Timestamp, max: usize) -> Answer<'_, u64> {
        Box::pin(self.move_dead(filter, Move::Redrive(at), max))
    }

    fn discard(&self, filter: DeadFilter, max: usize) -> Answer<'_, u64> {
        Box::pin(self.move_dead(filter, Move::Discard, max))
    }

    fn declare(&self, sources: &[SourceName], targets: &[TargetName]) {
        let mut totals = self.shared.totals();
        for source in sources {
            totals.events.entry(source.clone()).or_default();
        }
        for target in targets {
            totals.deliveries.entry(target.clone()).or_default();
        }
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
            .filter_map(|suffix| {
                let mut name = self.0.path.as_os_str().to_owned();
                name.push(suffix);
                fs::metadata(name).ok()
            })
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
