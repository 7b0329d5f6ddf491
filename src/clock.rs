//! Wall time, injectable.
//!
//! The only file that reads the wall clock. Durations inside the process are measured with
//! `tokio::time::Instant`; what is stored or sent is a [`Timestamp`] from here.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use jiff::Timestamp;

/// Where a room gets the time from.
#[derive(Clone, Debug, Default)]
pub struct Clock(Hands);

#[derive(Clone, Debug, Default)]
enum Hands {
    #[default]
    System,
    /// Milliseconds since 1970; moved by whoever holds the other [`Clock`] handle.
    Manual(Arc<AtomicI64>),
}

// === impl Clock ===

impl Clock {
    /// The machine's own wall clock.
    pub fn system() -> Self {
        Self(Hands::System)
    }

    /// A clock that stands at `start` until [`Clock::advance`] moves it: for tests.
    pub fn manual(start: Timestamp) -> Self {
        Self(Hands::Manual(Arc::new(AtomicI64::new(start.as_millisecond()))))
    }

    /// Moves a manual clock (and all its clones) forward; a system clock is left alone.
    pub fn advance(&self, by: std::time::Duration) {
        if let Hands::Manual(millis) = &self.0 {
            millis.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
        }
    }

    /// The present instant, cut to milliseconds: the grain of everything we store.
    #[expect(clippy::disallowed_methods, reason = "this file is where the wall clock is read")]
    pub fn now(&self) -> Timestamp {
        let millis = match &self.0 {
            Hands::System => Timestamp::now().as_millisecond(),
            Hands::Manual(millis) => millis.load(Ordering::SeqCst),
        };
        Timestamp::from_millisecond(millis).unwrap_or_default()
    }
}
