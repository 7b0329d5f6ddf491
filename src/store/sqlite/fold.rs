//! Folding the log into the database, beside the writer.
//!
//! `SQLite` would do it at the end of a commit, and everybody would wait for some thousand page
//! copies and two syncs. Here a thread with a connection of its own copies while groups are being
//! written; the few pages that came meanwhile are left to the writer, between two groups, because
//! a log begins anew only when all of it is folded in.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
        mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    },
    thread::JoinHandle,
};

use rusqlite::{Connection, DEFAULT_NAME, wal::CheckpointMode};

use super::schema;

/// The writer's end. Dropping it waits for the pass that runs.
#[derive(Debug)]
pub(super) struct Folding {
    /// Pages in the log, as `SQLite` says at each commit.
    pages: Arc<AtomicI32>,
    passes: Option<SyncSender<()>>,
    copied: Receiver<()>,
    /// The thread was asked, and has not said that it is done.
    is_copying: bool,
    thread: Option<JoinHandle<()>>,
}

/// Pages in the log from which it is folded in. The sync of a group waits behind what is being
/// folded in at that moment, so this sets the slowest acks; fewer would sync the database more
/// often, and more is a longer start after a crash.
const FOLD_PAGES: i32 = 1000;

/// Pages in the log from which nothing is written until they are folded in: the bound of the log
/// when the disk is slower than the callbacks.
pub(super) const LOG_PAGES_MAX: i32 = 16 * FOLD_PAGES;

/// Passes at once: the second copies what came during the first, so that little is left.
const PASSES: usize = 2;

// === impl Folding ===

impl Folding {
    /// Takes over from `SQLite` on the writer's connection, and starts the thread.
    pub(super) fn start(connection: &mut Connection, path: PathBuf) -> io::Result<Self> {
        let pages = Arc::new(AtomicI32::new(0));
        let counted = Arc::clone(&pages);
        connection
            .wal_hook(Some(move |_: &mut _, pages| {
                counted.store(pages, Ordering::Relaxed);
                Ok(())
            }))
            .map_err(io::Error::other)?;
        let (passes, asked) = sync_channel(1);
        let (done, copied) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("store-fold".to_owned())
            .spawn(move || run(&path, &asked, &done))?;
        Ok(Self { pages, passes: Some(passes), copied, is_copying: false, thread: Some(thread) })
    }

    /// Between two groups: has the log folded in when it is long enough, and finishes what was
    /// begun.
    pub(super) fn keep_up(&mut self, connection: &Connection) {
        let pages = self.pages.load(Ordering::Relaxed);
        if self.is_copying {
            if pages < LOG_PAGES_MAX && self.copied.try_recv() == Err(TryRecvError::Empty) {
                return;
            }
            if pages >= LOG_PAGES_MAX && self.copied.recv().is_err() {
                tracing::debug!("the thread that folds the log in is gone: the writer does it");
            }
            self.is_copying = false;
            self.finish(connection);
        } else if pages >= FOLD_PAGES {
            self.is_copying = self.passes.as_ref().is_some_and(|passes| passes.send(()).is_ok());
            if !self.is_copying {
                self.finish(connection);
            }
        }
    }

    /// Folds in the rest. What fails here is tried again after the next group; if the file is to
    /// blame, that group fails.
    fn finish(&self, connection: &Connection) {
        match connection.wal_checkpoint_v2(DEFAULT_NAME, CheckpointMode::PASSIVE) {
            // The next commit says how long the new log is.
            Ok((log, folded)) if log == folded => self.pages.store(0, Ordering::Relaxed),
            Ok(_) => tracing::debug!("a reader still needs what is in the log"),
            Err(error) => tracing::warn!(%error, "the log of the store is folded in later"),
        }
    }
}

impl Drop for Folding {
    fn drop(&mut self) {
        self.passes = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that folds the log in panicked");
        }
    }
}

/// Copies when asked, until the writer lets go.
fn run(path: &Path, asked: &Receiver<()>, done: &SyncSender<()>) {
    let mut held = None;
    while asked.recv().is_ok() {
        if let Err(error) = fold(path, &mut held) {
            tracing::warn!(%error, "the log of the store could not be folded in");
            held = None;
        }
        if done.send(()).is_err() {
            return;
        }
    }
}

fn fold(path: &Path, held: &mut Option<Connection>) -> rusqlite::Result<()> {
    let connection = match held {
        Some(connection) => connection,
        none => none.insert(schema::open_folder(path)?),
    };
    for _ in 0..PASSES {
        connection.wal_checkpoint_v2(DEFAULT_NAME, CheckpointMode::PASSIVE)?;
    }
    Ok(())
}
