//! The log's way to the disk: one thread writes a group, another syncs it and answers.
//!
//! `SQLite` could sync at each commit itself (`synchronous = FULL`). Then the writer would wait for
//! the disk instead of writing the next group; here the two overlap. With NORMAL `SQLite` leaves out
//! that one sync and keeps its others, which is why a sync of ours in its place is as good:
//!
//! - *Order in the log.* Nobody is answered before a sync of the log that began after the group's
//!   commit was written. The log is replayed up to the last whole commit, so a group that is on disk
//!   brings every earlier one with it: a duplicate's receipt stands on the first event's sync or on
//!   a later one.
//! - *A log that begins anew.* `SQLite` overwrites the log only once all of it is in the database.
//!   A checkpoint syncs the log first and the database afterwards, in NORMAL too, and so does the
//!   new log's header before its first frame. A group that is overwritten before our sync came to
//!   it is on disk all the same: in the database.
//! - *The file.* The log stays one file while any connection is open, and the writer's outlives its
//!   thread here. The name of the file is made durable when it is opened.
//! - *A sync that fails.* The system says so once and may forget the pages: the next sync of the
//!   same file can succeed and mean nothing. So the groups in hand are refused, the file is opened
//!   anew, and what the log holds is copied into the database and synced there before anything is
//!   admitted or recognised as a duplicate again.
//! - *Readers* see a group when it is written. They are not handed an event to deliver before it is
//!   on disk (`durable`), and a delivery in flight stays with its target until its outcome is on
//!   disk. What remains after a power cut is what at-least-once allows: an attempt that was made
//!   and is not in the book, under the same `webhook-id`.

use std::{
    fs::File,
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SendError, SyncSender, sync_channel},
    },
    thread::JoinHandle,
};

use tokio::time::Instant;

use super::{
    group::{Done, News},
    ledger::Moved,
    open::{LOG, OpenError, beside},
    writer::{Job, Shared},
};
use crate::store::StoreError;

/// A group whose transaction is in the log. It is on disk, and its jobs are answered, once the log
/// is synced.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) jobs: Vec<Job>,
    /// One for each of the jobs.
    pub(super) done: Vec<Result<Done, StoreError>>,
    pub(super) news: News,
    /// Events stored.
    pub(super) stored: usize,
    /// Before its first statement.
    pub(super) began: Instant,
    pub(super) moved: Moved,
}

/// The writer's end of the way. Dropping it waits until what was handed over is answered.
#[derive(Debug)]
pub(super) struct Log {
    groups: Option<SyncSender<Written>>,
    thread: Option<JoinHandle<Result<(), StoreError>>>,
    /// A sync failed: the thread is ending, if it has not yet.
    failed: Arc<AtomicBool>,
}

/// Groups that wait for the sync of another: none. The writer that has one more waits instead,
/// and what queues meanwhile becomes one larger group, which costs less than two.
const GROUPS_WAITING_MAX: usize = 0;

// === impl Log ===

impl Log {
    /// Starts the thread that syncs the log of `shared`'s file. `SQLite` has made the log by then,
    /// and keeps that one file as long as it is open.
    pub(super) fn open(shared: &Arc<Shared>) -> Result<Self, OpenError> {
        let path = beside(&shared.path, LOG);
        sync_folder(&path)
            .and_then(|()| File::open(&path))
            .and_then(|file| Self::over(file, shared))
            .map_err(|error| OpenError::Unreadable { path, error })
    }

    /// Syncs `file`.
    pub(super) fn over(file: File, shared: &Arc<Shared>) -> io::Result<Self> {
        let (groups, written) = sync_channel(GROUPS_WAITING_MAX);
        let (shared, failed) = (Arc::clone(shared), Arc::new(AtomicBool::new(false)));
        let has_failed = Arc::clone(&failed);
        let thread = std::thread::Builder::new()
            .name("store-sync".to_owned())
            .spawn(move || run(&file, &written, &shared, &has_failed))?;
        Ok(Self { groups: Some(groups), thread: Some(thread), failed })
    }

    /// Hands a group over to be synced and answered. An error means that an earlier group could
    /// not be synced, and neither is this.
    pub(super) fn sync(&mut self, group: Written) -> Result<(), StoreError> {
        let Some(groups) = &self.groups else { return Err(StoreError::Closed) };
        let Err(SendError(group)) = groups.send(group) else { return Ok(()) };
        let trouble = self.end().err().unwrap_or(StoreError::Closed);
        group.refuse(&trouble);
        Err(trouble)
    }

    /// Whether what was handed over so far could be synced, or still may be.
    pub(super) fn health(&mut self) -> Result<(), StoreError> {
        match &self.thread {
            Some(_) if !self.failed.load(Ordering::Acquire) => Ok(()),
            _ => self.end(),
        }
    }

    fn end(&mut self) -> Result<(), StoreError> {
        self.groups = None;
        let Some(thread) = self.thread.take() else { return Err(StoreError::Closed) };
        thread.join().unwrap_or_else(|_| Err(StoreError::Io("the sync of the log panicked".into())))
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if let Err(trouble) = self.end()
            && trouble != StoreError::Closed
        {
            tracing::error!(error = %trouble, "the log of the store could not be synced");
        }
    }
}

// === impl Written ===

impl Written {
    fn refuse(self, trouble: &StoreError) {
        for job in self.jobs {
            job.refuse(trouble);
        }
    }
}

/// Syncs and answers until the writer lets go, or a sync fails.
fn run(
    file: &File,
    written: &Receiver<Written>,
    shared: &Shared,
    failed: &AtomicBool,
) -> Result<(), StoreError> {
    while let Ok(first) = written.recv() {
        let groups = std::iter::once(first).chain(written.try_iter()).collect::<Vec<_>>();
        if let Err(error) = file.sync_data() {
            let trouble = StoreError::Io(format!("the log cannot be synced: {error}").into());
            // First, so that whoever is told of it finds the store refusing.
            shared.is_troubled(Some(trouble.clone()));
            for group in groups.into_iter().chain(written.try_iter()) {
                group.refuse(&trouble);
            }
            failed.store(true, Ordering::Release);
            shared.queue.nudge();
            return Err(trouble);
        }
        shared.series.synced();
        for group in groups {
            shared.answer(group);
        }
    }
    Ok(())
}

/// Makes the name of a file durable. `SQLite` does it for a log that the writer's connection made;
/// a reader's, or another program's, may have been first.
fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}
