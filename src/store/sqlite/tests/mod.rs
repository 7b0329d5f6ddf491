//! What this backend promises beyond the contract, and the contract itself.

mod against_a_model;
mod faults;
mod files;
mod fingerprints;
mod listing;
mod queues;
mod removal;
mod steps;
mod watching;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use tempfile::TempDir;

use super::{OpenError, Sqlite};
use crate::{
    clock::Clock,
    metrics::Metrics,
    store::{
        Settings, Store,
        conformance::{Backend, conforms},
    },
};

/// A folder of its own for one store, and a clock that stands still.
pub(super) struct Place {
    pub(super) folder: TempDir,
    pub(super) clock: Clock,
}

impl Place {
    pub(super) fn new() -> Self {
        let start = Timestamp::from_second(1_800_000_000).unwrap();
        Self { folder: tempfile::tempdir().unwrap(), clock: Clock::manual(start) }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("relay.db")
    }

    pub(super) fn settings(&self) -> Settings {
        Settings {
            path: self.path(),
            retention: Duration::from_hours(14 * 24),
            max_size: 10 << 30,
            dead_retention: Duration::from_hours(90 * 24),
            min_free: 0,
        }
    }

    pub(super) fn try_open(&self) -> Result<Arc<Sqlite>, OpenError> {
        Sqlite::open(&self.settings(), self.clock.clone(), &Metrics::new())
    }

    /// As a relay does that is asked at `admin`.
    pub(super) fn open_at(&self, admin: SocketAddr) -> Arc<Sqlite> {
        let held = Sqlite::hold(&self.settings()).unwrap();
        held.note().tell(admin, None).unwrap();
        Sqlite::open_held(held, &self.settings(), self.clock.clone(), &Metrics::new()).unwrap()
    }
}

impl Backend for Place {
    fn open(&self) -> Arc<dyn Store> {
        self.try_open().unwrap()
    }

    fn open_backup(&self, path: &Path) -> Arc<dyn Store> {
        let settings = Settings { path: path.to_owned(), ..self.settings() };
        Sqlite::open(&settings, self.clock.clone(), &Metrics::new()).unwrap()
    }

    fn backup_path(&self) -> PathBuf {
        self.folder.path().join("backups/relay.db")
    }

    fn clock(&self) -> &Clock {
        &self.clock
    }
}

mod contract {
    use super::{Place, conforms};

    conforms!(Place::new());
}
