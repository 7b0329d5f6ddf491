//! One way to spawn and one way to stop.
//!
//! Every task of the running relay is spawned here, so that stopping can tell all of them and
//! wait for all of them. A [`Drain`] is one phase of stopping: `relay` stops ingest first, then
//! delivery, then closes the store.

use std::{future::Future, time::Duration};

use tokio_util::{
    sync::{CancellationToken, WaitForCancellationFuture},
    task::TaskTracker,
};
use tracing::Instrument as _;

/// A phase of the relay's life: its tasks, and the signal that ends them.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    signal: CancellationToken,
    tasks: TaskTracker,
}

// === impl Drain ===

impl Drain {
    /// A phase with no tasks yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `task` until it ends by itself. It is expected to end soon after
    /// [`Drain::stopping`] resolves.
    #[expect(clippy::disallowed_methods, reason = "this file is where tasks are spawned")]
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let task = self.tasks.track_future(task.instrument(tracing::debug_span!("task", name)));
        drop(tokio::spawn(task));
    }

    /// Runs blocking work on a thread of its own that stopping waits for.
    pub fn spawn_thread<F>(&self, name: &str, work: F) -> std::io::Result<()>
    where
        F: FnOnce() + Send + 'static,
    {
        let token = self.tasks.token();
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _token = token;
            work();
        })?;
        Ok(())
    }

    /// Resolves once this phase has been told to stop.
    pub fn stopping(&self) -> WaitForCancellationFuture<'_> {
        self.signal.cancelled()
    }

    /// Whether this phase has been told to stop.
    pub fn is_stopping(&self) -> bool {
        self.signal.is_cancelled()
    }

    /// Tells every task to stop, without waiting.
    pub fn stop(&self) {
        self.signal.cancel();
        self.tasks.close();
    }

    /// Tells every task to stop and waits for them, at most `grace`. Whether all of them did.
    pub async fn finish(&self, grace: Duration) -> bool {
        self.stop();
        tokio::time::timeout(grace, self.tasks.wait()).await.is_ok()
    }
}
