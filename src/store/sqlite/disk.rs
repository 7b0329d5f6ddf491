//! How much room the disk has left, asked seldom.

use std::{
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
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
}

/// How old an answer may be: a disk does not fill up by gigabytes a second, and asking costs a
/// system call.
const FRESH: Duration = Duration::from_secs(1);

// === impl Disk ===

impl Disk {
    /// The disk that holds the file at `path`.
    pub(super) fn of(path: &Path, reserve: u64) -> Self {
        let folder = path.parent().unwrap_or(path).to_owned();
        Self { folder, reserve: AtomicU64::new(reserve), last: Mutex::new(None) }
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

    /// Whether more than the reserve is free.
    pub(super) fn has_reserve(&self) -> bool {
        let reserve = self.reserve.load(Ordering::Relaxed);
        reserve == 0 || self.free() >= reserve
    }

    /// Has another reserve kept from now on.
    pub(super) fn keep(&self, reserve: u64) {
        self.reserve.store(reserve, Ordering::Relaxed);
    }
}
