//! The one thread that writes: it commits a group at a time and answers only after the disk has.

use std::{
    collections::{BTreeSet, HashMap},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use rusqlite::Connection;
use tokio::{sync::oneshot, time::Instant};

use super::{
    amend::{Amend, Amended},
    disk::Disk,
    fold::Folding,
    group::{Done, Fault, Group, Move, News, Outcome},
    ledger::Ledger,
    log::{Log, Written},
    open::OpenError,
    queue::Queue,
    schema,
    seen::{Seen, YOUNG_MAX},
    statements::Statements,
};
use crate::{
    clock::Clock,
    route::TargetName,
    store::{
        Admission, DeliveryId, Fate, Receipt, StoreError, Totals, handover::Handover,
        metrics::Series,
    },
};

/// What the writer is asked, each with where its answer goes.
#[derive(Debug)]
pub(super) enum Job {
    Commit(Box<Admission>, Reply<Receipt>),
    Settle(Box<Outcome>, Reply<()>),
    MoveDead(Vec<DeliveryId>, Move, Reply<u64>),
    Amend(Box<Amend>, Reply<Amended>),
}

/// Where an answer goes. Its receiver may be gone: the work is done all the same.
pub(super) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the writer shares with those who ask it.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) path: PathBuf,
    pub(super) clock: Clock,
    pub(super) queue: Queue<Job>,
    pub(super) disk: Disk,
    pub(super) series: Series,
    /// Written when a group is on disk, and with zeros by whoever declares names.
    totals: Mutex<Totals>,
    /// Each made by whoever asks for a target first.
    handovers: Mutex<HashMap<TargetName, Arc<Handover>>>,
    /// The targets of relay.toml, once they are declared.
    declared: Mutex<Option<BTreeSet<TargetName>>>,
    /// Why nothing can be made durable at present; written by the writer and the thread that syncs.
    trouble: Mutex<Option<StoreError>>,
    /// Moves on whenever the writer opens the file anew, so that readers do too.
    generation: AtomicU64,
    /// `events.seq` of the youngest event that is on disk: a younger one is not delivered yet.
    durable: AtomicI64,
}

/// The writer's own: the connection while there is one, and what it remembers of the file.
pub(super) struct Writer {
    shared: Arc<Shared>,
    /// Before the connection, so that it ends first: what it has is on disk by then.
    log: Log,
    folding: Folding,
    connection: Connection,
    ledger: Ledger,
    /// Read before the first group rather than when the file is opened: nobody waits for it
    /// unless a callback is there already.
    seen: Option<Seen>,
}

/// Lives as long as the writer's thread. However that ends, nobody waits for an answer afterwards.
pub(super) struct Shift(pub(super) Arc<Shared>);

/// Jobs in one transaction. More would make the first of them wait long for little: the sync is
/// shared by then.
const GROUP_JOBS_MAX: usize = 512;

/// How long the first of a group waits for as many as came with the last. A commit and its sync
/// take about as long, and most of that whether they are for one or for fifty.
const PATIENCE: Duration = Duration::from_millis(1);

/// Bytes of events in one transaction, so that it stays within the page cache.
const GROUP_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Admissions waiting: four times what ingest lets in by default. Who fills it leaks permits.
const ADMISSIONS_WAITING_MAX: usize = 4096;

/// Jobs of every kind waiting. Settles have room of their own above the admissions, so that
/// callbacks never crowd out the outcomes that make room for them.
pub(super) const JOBS_WAITING_MAX: usize = 2 * ADMISSIONS_WAITING_MAX;

/// Why a group failed that the writer did not come to the end of.
const PANICKED: &str = "the writer of the store panicked, a fault of the relay";

/// Between attempts to open the file again: quick at first, then without hurry.
const REOPEN_PAUSE_MIN: Duration = Duration::from_millis(20);
const REOPEN_PAUSE_MAX: Duration = Duration::from_secs(2);

// === impl Shared ===

impl Shared {
    pub(super) fn new(path: PathBuf, clock: Clock, disk: Disk, series: Series) -> Self {
        Self {
            path,
            clock,
            queue: Queue::new(),
            disk,
            series,
            totals: Mutex::default(),
            handovers: Mutex::default(),
            declared: Mutex::default(),
            trouble: Mutex::default(),
            generation: AtomicU64::new(0),
            durable: AtomicI64::new(0),
        }
    }

    /// Queues a job, and gives the answer when there is one.
    pub(super) async fn ask<T>(&self, job: impl FnOnce(Reply<T>) -> Job) -> Result<T, StoreError> {
        if matches!(*lock(&self.trouble), Some(StoreError::ReadOnly)) {
            return Err(StoreError::ReadOnly);
        }
        let (reply, answer) = oneshot::channel();
        let job = job(reply);
        let bound = match &job {
            Job::Commit(..) => {
                self.refusal().map_or(Ok(()), Err)?;
                ADMISSIONS_WAITING_MAX
            }
            Job::Settle(..) | Job::MoveDead(..) | Job::Amend(..) => JOBS_WAITING_MAX,
        };
        self.queue.push(job, bound)?;
        answer.await.unwrap_or_else(|_| Err(self.queue.gave_up(PANICKED)))
    }

    /// Why an admission would be refused now.
    pub(super) fn refusal(&self) -> Option<StoreError> {
        let trouble = lock(&self.trouble).clone();
        trouble.or_else(|| (!self.disk.has_reserve()).then_some(StoreError::DiskReserve))
    }

    /// Tells who is configured, before whatever is asked next. There is one of these for each
    /// reload, so it waits however much waits; a queue that is closed hears it at the next start.
    pub(super) fn configure(&self, targets: Vec<TargetName>) {
        let (reply, _) = oneshot::channel();
        let configure = Job::Amend(Box::new(Amend::Configure(targets)), reply);
        if let Err(error) = self.queue.push(configure, usize::MAX) {
            tracing::warn!(%error, "the store did not take note of who is configured");
        }
    }

    pub(super) fn totals(&self) -> MutexGuard<'_, Totals> {
        lock(&self.totals)
    }

    /// Names the targets of relay.toml, in place of those before.
    pub(super) fn declare(&self, targets: &[TargetName]) {
        *lock(&self.declared) = Some(targets.iter().cloned().collect());
    }

    /// Whether relay.toml has the target; before it was said, every target is had.
    pub(super) fn is_declared(&self, target: &TargetName) -> bool {
        lock(&self.declared).as_ref().is_none_or(|declared| declared.contains(target))
    }

    /// The way from the commits to the owner of a target.
    pub(super) fn handover(&self, target: &TargetName) -> Arc<Handover> {
        let mut handovers = lock(&self.handovers);
        if let Some(handover) = handovers.get(target) {
            return Arc::clone(handover);
        }
        let handover = Arc::<Handover>::default();
        handovers.insert(target.clone(), Arc::clone(&handover));
        handover
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The youngest event that may be delivered.
    pub(super) fn durable(&self) -> i64 {
        self.durable.load(Ordering::Acquire)
    }

    /// Tells everyone in a group what is now on disk.
    pub(super) fn answer(&self, group: Written) {
        let Written { jobs, done, news, stored, began, moved } = group;
        moved.publish(&mut self.totals());
        // Before anything is handed over: whoever lets go of it finds it there.
        self.durable.store(moved.last_seq, Ordering::Release);
        self.series.committed(began.elapsed(), stored);
        for delivery in news.handed {
            self.handover(&delivery.target).offer(delivery);
        }
        for target in &news.woken {
            self.handover(target).call();
        }
        for target in &news.recalled {
            self.handover(target).recall();
        }
        for (job, done) in jobs.into_iter().zip(done) {
            job.answer(done);
        }
    }

    /// Has the owner of every target look what is due.
    fn call_all(&self) {
        for handover in lock(&self.handovers).values() {
            handover.call();
        }
    }

    pub(super) fn is_troubled(&self, trouble: Option<StoreError>) {
        *lock(&self.trouble) = trouble;
    }
}

// === impl Shared, for reading only ===

impl Shared {
    /// Nothing is written here: the totals are what the file says now.
    pub(super) fn only_read(&self, connection: &Connection) -> rusqlite::Result<()> {
        self.queue.close();
        *lock(&self.trouble) = Some(StoreError::ReadOnly);
        Ledger::read(connection)?.publish_all(&mut self.totals());
        Ok(())
    }
}

// === impl Shift ===

impl Drop for Shift {
    fn drop(&mut self) {
        self.0.queue.close();
        lock(&self.0.trouble).get_or_insert(StoreError::Closed);
        drop(self.0.queue.take_for(Duration::ZERO));
    }
}

// === impl Writer ===

impl Writer {
    /// Begins with an open connection: reads what is on disk.
    pub(super) fn new(shared: Arc<Shared>, mut connection: Connection) -> Result<Self, OpenError> {
        let told = |error| OpenError::of(&shared.path, &error);
        let ledger = Ledger::read(&connection).map_err(told)?;
        let log = Log::open(&shared)?;
        let folding = Folding::start(&mut connection, shared.path.clone()).map_err(|error| {
            OpenError::Failed { path: shared.path.clone(), error: error.to_string() }
        })?;
        ledger.publish_all(&mut shared.totals());
        shared.durable.store(ledger.last_seq(), Ordering::Release);
        Ok(Self { shared, log, folding, connection, ledger, seen: None })
    }

    /// Writes until the queue is closed and empty. Gives the connection back, unless the file was
    /// out of reach at the end.
    pub(super) fn run(mut self) -> Option<Connection> {
        let shared = Arc::clone(&self.shared);
        // What fails here fails again in the first group, and is handled there.
        self.seen = Seen::read(&self.connection, YOUNG_MAX).ok();
        while let Some(group) = shared.queue.gather(PATIENCE, sized()) {
            // A fault of ours fails its group as one of the file does: whoever comes after it is served.
            let committed = catch_unwind(AssertUnwindSafe(|| self.commit(group)));
            let committed = committed.unwrap_or_else(|_| {
                let trouble = StoreError::Io(PANICKED.into());
                shared.is_troubled(Some(trouble.clone()));
                Err(trouble)
            });
            let Err(trouble) = committed else { continue };
            tracing::error!(error = %trouble, "the store failed to commit, and opens its file anew");
            drop(self);
            self = reopen(&shared, trouble)?;
            shared.is_troubled(None);
            // What was refused because it could not be synced may be there all the same.
            shared.call_all();
            tracing::info!("the store is open again");
        }
        drop(self.log);
        drop(self.folding);
        shared.is_troubled(Some(StoreError::Closed));
        Some(self.connection)
    }

    /// Commits one group, and hands it on to be synced and answered. An error means that the file
    /// cannot be trusted to be as we remember it.
    pub(super) fn commit(&mut self, jobs: Vec<Job>) -> Result<(), StoreError> {
        let began = Instant::now();
        if jobs.is_empty() {
            return self.log.health();
        }
        let written = match self.write(&jobs, false) {
            // One of them is bad. That is rare, so nobody pays for savepoints until it happens.
            Err(Fault::Unstorable(_)) => self.write(&jobs, true),
            written => written,
        };
        match written {
            Ok(Transaction { done, news, stored }) => {
                if let Some(seen) = &mut self.seen {
                    seen.settle();
                }
                let moved = self.ledger.settle();
                self.log.sync(Written { jobs, done, news, stored, began, moved })?;
                self.folding.keep_up(&self.connection);
                Ok(())
            }
            Err(fault) => {
                let error = match fault {
                    Fault::Io(why) | Fault::Unstorable(why) => StoreError::Io(why),
                };
                // First, so that whoever is told of it finds the store refusing.
                self.shared.is_troubled(Some(error.clone()));
                for job in jobs {
                    job.refuse(&error);
                }
                Err(error)
            }
        }
    }

    /// The transaction. Nothing of it is kept unless it returns `Ok`.
    fn write(&mut self, jobs: &[Job], one_by_one: bool) -> Result<Transaction, Fault> {
        execute(&self.connection, "BEGIN IMMEDIATE")?;
        let written = self.write_jobs(jobs, one_by_one).and_then(|written| {
            self.ledger.write(&self.connection)?;
            execute(&self.connection, "COMMIT").map_err(Fault::fatal)?;
            Ok(written)
        });
        if let Err(Fault::Unstorable(_)) = &written {
            execute(&self.connection, "ROLLBACK").map_err(Fault::fatal)?;
            let told = |error| Fault::from(error).fatal();
            self.ledger = Ledger::read(&self.connection).map_err(told)?;
            self.seen = None;
        }
        written
    }

    fn write_jobs(&mut self, jobs: &[Job], one_by_one: bool) -> Result<Transaction, Fault> {
        let mut done = Vec::with_capacity(jobs.len());
        let seen = match &mut self.seen {
            Some(seen) => seen,
            none => none.insert(Seen::read(&self.connection, YOUNG_MAX)?),
        };
        let mut group = Group {
            connection: &self.connection,
            statements: Statements::of(&self.connection)?,
            ledger: &mut self.ledger,
            seen,
            now: self.shared.clock.now(),
            news: News::default(),
            stored: 0,
        };
        for job in jobs {
            done.push(if one_by_one {
                alone(&mut group, job)?
            } else {
                Ok(job.write(&mut group)?)
            });
        }
        group.orphan_new(|name| self.shared.is_declared(name)).map_err(Fault::fatal)?;
        let Group { now, news, stored, seen, .. } = group;
        seen.keep_up(&self.connection, stored, now).map_err(Fault::fatal)?;
        Ok(Transaction { done, news, stored })
    }

    #[cfg(test)]
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Gives this writer another way to the disk.
    #[cfg(test)]
    pub(super) fn sync_by(&mut self, log: impl FnOnce(&Arc<Shared>) -> Log) -> &Shared {
        self.log = log(&self.shared);
        &self.shared
    }
}

/// What a transaction did.
struct Transaction {
    done: Vec<Result<Done, StoreError>>,
    news: News,
    stored: usize,
}

// === impl Job ===

impl Job {
    fn write(&self, group: &mut Group<'_>) -> Result<Done, Fault> {
        match self {
            Self::Commit(admission, _) => group.admit(admission),
            Self::Settle(outcome, _) => group.settle(outcome),
            Self::MoveDead(ids, to, _) => group.move_dead(ids, *to),
            Self::Amend(amend, _) => group.amend(amend),
        }
    }

    /// Tells the asker what is now on disk.
    fn answer(self, done: Result<Done, StoreError>) {
        match (self, done) {
            (Self::Commit(_, reply), Ok(Done::Admitted { id, duplicate, quarantined })) => {
                tell(reply, Ok(Receipt::new(id, duplicate, quarantined)));
            }
            (Self::Settle(_, reply), Ok(Done::Settled)) => tell(reply, Ok(())),
            (Self::MoveDead(_, _, reply), Ok(Done::Moved(count))) => tell(reply, Ok(count)),
            (Self::Amend(_, reply), Ok(Done::Amended(amended))) => tell(reply, Ok(*amended)),
            (job, Err(error)) => job.refuse(&error),
            (job, Ok(done)) => job.refuse(&StoreError::Io(format!("answered {done:?}").into())),
        }
    }

    pub(super) fn refuse(self, error: &StoreError) {
        match self {
            Self::Commit(_, reply) => tell(reply, Err(error.clone())),
            Self::Settle(_, reply) => tell(reply, Err(error.clone())),
            Self::MoveDead(_, _, reply) => tell(reply, Err(error.clone())),
            Self::Amend(_, reply) => tell(reply, Err(error.clone())),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Commit(admission, _) => {
                admission.request.body.len()
                    + match &admission.fate {
                        Fate::Readable { json, .. } => json.len(),
                        Fate::Quarantined { .. } => 0,
                    }
            }
            Self::Settle(..) | Self::MoveDead(..) | Self::Amend(..) => 0,
        }
    }
}

// === impl Fault ===

impl Fault {
    /// At this place no single job is to blame.
    fn fatal(self) -> Self {
        match self {
            Self::Unstorable(why) | Self::Io(why) => Self::Io(why),
        }
    }
}

/// Writes one job so that its failure leaves no trace of it and the rest as it was.
fn alone(group: &mut Group<'_>, job: &Job) -> Result<Result<Done, StoreError>, Fault> {
    let before = group.ledger.clone();
    let (stored, handed, remembered) = (group.stored, group.news.handed.len(), group.seen.mark());
    execute(group.connection, "SAVEPOINT one").map_err(Fault::fatal)?;
    let done = match job.write(group) {
        Err(Fault::Unstorable(why)) => {
            execute(group.connection, "ROLLBACK TO one").map_err(Fault::fatal)?;
            *group.ledger = before;
            group.stored = stored;
            group.news.handed.truncate(handed);
            group.seen.forget_since(remembered);
            Err(StoreError::Unstorable(why))
        }
        done => Ok(done?),
    };
    execute(group.connection, "RELEASE one").map_err(Fault::fatal)?;
    Ok(done)
}

/// Opens the file again, as often as it takes, while whoever asks is refused. `None` when the
/// store is closed meanwhile.
fn reopen(shared: &Arc<Shared>, mut trouble: StoreError) -> Option<Writer> {
    let mut pause = REOPEN_PAUSE_MIN;
    loop {
        let (refused, closed) = shared.queue.take_for(pause);
        for job in refused {
            job.refuse(&trouble);
        }
        if closed {
            return None;
        }
        shared.generation.fetch_add(1, Ordering::Release);
        let opened = schema::open_writer(&shared.path)
            .and_then(|connection| fold_in(&shared.path, connection))
            .and_then(|connection| Writer::new(Arc::clone(shared), connection));
        match opened {
            Ok(writer) => return Some(writer),
            Err(error) => {
                tracing::warn!(%error, "the store cannot be opened yet");
                trouble = StoreError::Io(error.to_string().into());
                shared.is_troubled(Some(trouble.clone()));
                pause = (pause * 2).min(REOPEN_PAUSE_MAX);
            }
        }
    }
}

/// After a failure: writes what the log holds to the database, whose sync proves it to be on
/// disk. A log whose own sync failed once may say that it is synced the next time, and not be.
fn fold_in(path: &Path, connection: Connection) -> Result<Connection, OpenError> {
    let busy: bool = connection
        .query_row("PRAGMA wal_checkpoint(RESTART)", [], |row| row.get(0))
        .map_err(|error| OpenError::of(path, &error))?;
    if busy {
        let error = "its log is in use by another process".to_owned();
        return Err(OpenError::Failed { path: path.to_owned(), error });
    }
    Ok(connection)
}

/// Folds the log into the database at the end, so that one file is left. Not needed for safety:
/// a failure costs the next start some time.
pub(super) fn fold(connection: Connection) {
    let folded = connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .and_then(|()| connection.close().map_err(|(_, error)| error));
    if let Err(error) = folded {
        tracing::warn!(%error, "the log of the store is folded in at the next start");
    }
}

/// Whether a job still fits into the group it is offered to.
fn sized() -> impl FnMut(&Job) -> bool {
    let (mut jobs, mut bytes) = (0, 0);
    move |job| {
        jobs += 1;
        bytes += job.bytes();
        jobs <= GROUP_JOBS_MAX && bytes <= GROUP_BYTES_MAX
    }
}

fn execute(connection: &Connection, sql: &str) -> Result<(), Fault> {
    connection.prepare_cached(sql)?.execute([])?;
    Ok(())
}

fn tell<T>(reply: Reply<T>, answer: Result<T, StoreError>) {
    // Whoever asked may have given up; what is on disk stays there.
    drop(reply.send(answer));
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
