//! How much room the disk has left, asked seldom.

use std::{
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// The disk the store is on.
#[derive(Debug)]
pub(super) struct Disk {
    folder: PathBuf,
    /// Bytes that must stay free for outcomes and purges.
    reserve: AtomicU64,
    last: Mutex<Option<(Instant, u64)>>,
    /// Whether the reserve was reached when it was last looked, so that it is said once.
    is_short: AtomicBool,
}

/// How old an answer may be: a disk does not fill up by gigabytes a second, and asking costs a
/// system call.
const FRESH: Duration = Duration::from_secs(1);

// === impl Disk ===

impl Disk {
    /// The disk that holds the file at `path`.
    pub(super) fn of(path: &Path, reserve: u64) -> Self {
        let folder = path.parent().unwrap_or(path).to_owned();
        let (reserve, last) = (AtomicU64::new(reserve), Mutex::new(None));
        Self { folder, reserve, last, is_short: AtomicBool::new(false) }
    }

    /// Bytes free for us, at most a second old. A disk that does not say has none.
    pub(super) fn free(&self) -> u64 {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match *last {
            Some((at, free)) if at.elapsed() < FRESH => free,
            _ => {
                let free = rustix::fs::statvfs(&self.folder)
                    .map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
                *last = Some((Instant::now(), free));
                free
            }
        }
    }

    /// Whether more than the reserve is free. The log has it when that is no longer so, and when it
    /// is again.
    pub(super) fn has_reserve(&self) -> bool {
        let reserve = self.reserve.load(Ordering::Relaxed);
        let is_short = reserve > 0 && self.free() < reserve;
        if self.is_short.load(Ordering::Relaxed) != is_short
            && self.is_short.swap(is_short, Ordering::Relaxed) != is_short
        {
            let folder = self.folder.display();
            if is_short {
                let free = self.free();
                tracing::warn!(
                    free_bytes = free,
                    min_free_bytes = reserve,
                    "less than min_free is left on the disk of {folder}: callbacks get 503"
                );
            } else {
                tracing::info!("min_free is left again on the disk of {folder}");
            }
        }
        !is_short
    }

    /// Has another reserve kept from now on.
    pub(super) fn keep(&self, reserve: u64) {
        self.reserve.store(reserve, Ordering::Relaxed);
    }
}
