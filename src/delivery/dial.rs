//! What a lane and those who look at it from outside share.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, AtomicI64},
};

use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::delivery::{dispatcher::LastError, errand::Failure};

/// The dial and the switches of one lane.
#[derive(Debug, Default)]
pub(super) struct Dial {
    /// Written by whoever pauses or resumes; the lane sends nothing while it is set.
    pub(super) paused: AtomicBool,
    /// Written by the lane only.
    pub(super) is_failing: AtomicBool,
    /// The number of the breaker's state; written by the lane and its errands.
    pub(super) breaker: AtomicI64,
    /// Ends the lane alone.
    pub(super) stop: CancellationToken,
    last_error: Mutex<Option<LastError>>,
    /// When the last attempt was made by the clockwork of the rate; written by the lane only.
    paced: Mutex<Option<Instant>>,
}

// === impl Dial ===

impl Dial {
    /// Keeps what was wrong with the last failed attempt.
    pub(super) fn failed(&self, at: Timestamp, failure: Failure) {
        let Failure { cause, status, error } = failure;
        let last = LastError { at, cause: cause.as_str(), status, error };
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
    }

    /// Keeps when the last attempt was made, for the lane that comes after.
    pub(super) fn pace(&self, at: Option<Instant>) {
        let mut paced = self.paced.lock().unwrap_or_else(PoisonError::into_inner);
        *paced = at.max(*paced);
    }

    /// When it was.
    pub(super) fn paced(&self) -> Option<Instant> {
        *self.paced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was wrong with it.
    pub(super) fn last_error(&self) -> Option<LastError> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Status and words of the last failed attempt.
    pub(super) fn last_answer(&self) -> (Option<u16>, Option<String>) {
        self.last_error().map_or((None, None), |last| {
            (last.status, last.error.or_else(|| Some(last.cause.to_owned())))
        })
    }
}
