//! `[store]`.

use std::{path::PathBuf, time::Duration};

/// Where the store is and how long it keeps what.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The database file; its parent folders are created.
    pub path: PathBuf,
    /// How long delivered history is kept.
    pub retention: Duration,
    /// How many bytes of history are kept.
    pub max_size: u64,
    /// How long dead letters, quarantined and unrouted events are kept.
    pub dead_retention: Duration,
    /// Free bytes of the disk below which no new callback is taken.
    pub min_free: u64,
}

/// The part of the settings that may change while the store is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long delivered history is kept.
    pub retention: Duration,
    /// How many bytes of history are kept.
    pub max_size: u64,
    /// How long dead letters, quarantined and unrouted events are kept.
    pub dead_retention: Duration,
    /// Free bytes of the disk below which no new callback is taken.
    pub min_free: u64,
}

// === impl Settings ===

impl Settings {
    /// How much is kept, and how long.
    pub const fn limits(&self) -> Limits {
        let Self { retention, max_size, dead_retention, min_free, .. } = *self;
        Limits { retention, max_size, dead_retention, min_free }
    }
}
