//! Threads that read, each with a connection of its own that cannot write.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{queue::Queue, schema, writer::Shared};
use crate::store::StoreError;

/// The pool. Dropping it ends the threads.
#[derive(Debug)]
pub(super) struct Readers {
    queue: Arc<Queue<Read>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// A question and the way of its answer, run on a reader's connection, or told why there is none.
struct Read(Question);

type Question = Box<dyn FnOnce(Result<&Connection, StoreError>) + Send>;

/// Readers. A few, because each read is short and keeps a processor busy: the number covers one
/// that waits for the disk.
pub(super) const READERS: usize = 4;

/// Questions waiting: more than targets and operators together ask at one time.
const READS_WAITING_MAX: usize = 4096;

// === impl Readers ===

impl Readers {
    /// Starts the threads; each opens its connection at its first question.
    pub(super) fn start(shared: &Arc<Shared>) -> std::io::Result<Self> {
        let readers = Self { queue: Arc::new(Queue::new()), threads: Mutex::default() };
        for number in 0..READERS {
            let (queue, shared) = (Arc::clone(&readers.queue), Arc::clone(shared));
            let thread = std::thread::Builder::new()
                .name(format!("store-read-{number}"))
                .spawn(move || run(&queue, &shared))?;
            readers.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        }
        Ok(readers)
    }

    /// Asks `question` on one of the connections.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let read = Read(Box::new(move |connection| {
            let found = connection.and_then(|connection| question(connection).map_err(failed));
            // Whoever asked may have given up.
            drop(reply.send(found));
        }));
        self.queue.push(read, READS_WAITING_MAX)?;
        answer.await.unwrap_or_else(|_| Err(self.queue.gave_up("a reader of the store panicked")))
    }

    /// Answers what waits, then ends the threads.
    pub(super) fn close(&self) {
        self.queue.close();
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a reader of the store panicked");
            }
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.close();
    }
}

// === impl Read ===

impl std::fmt::Debug for Read {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Read")
    }
}

fn run(queue: &Queue<Read>, shared: &Shared) {
    let mut held: Option<(u64, Connection)> = None;
    while let Some(reads) = queue.take(|_| false) {
        for Read(read) in reads {
            let generation = shared.generation();
            // After a failure the writer reads the file anew, and so do we.
            if held.as_ref().is_some_and(|(opened, _)| *opened != generation) {
                held = None;
            }
            if held.is_none() {
                match schema::open_reader(&shared.path) {
                    Ok(connection) => held = Some((generation, connection)),
                    Err(error) => {
                        read(Err(failed(error)));
                        continue;
                    }
                }
            }
            // A fault of ours must not end the thread, which others ask.
            if let Some((_, connection)) = &held
                && catch_unwind(AssertUnwindSafe(|| read(Ok(connection)))).is_err()
            {
                tracing::error!("a reader of the store panicked, a fault of the relay");
                held = None;
            }
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape map_err asks for")]
fn failed(error: rusqlite::Error) -> StoreError {
    StoreError::Io(error.to_string().into())
}
