//! Whether a target is failing, so that the log says so once and not once an attempt.
//!
//! Pure: instants are arguments.

use std::time::Duration;

use jiff::Timestamp;

/// How a target has been doing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Health {
    /// While it fails, as the log tells it: when it last did.
    failed_at: Option<Timestamp>,
    /// Whether the last attempt failed.
    is_failing: bool,
}

/// What is worth a line in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It has begun to fail.
    Failing,
    /// It does not fail any more.
    Recovered,
}

// === impl Health ===

impl Health {
    /// Notes a failed attempt.
    pub(super) fn failed(&mut self, now: Timestamp) -> Option<Turn> {
        self.is_failing = true;
        self.failed_at.replace(now).is_none().then_some(Turn::Failing)
    }

    /// Notes a delivery. The log has it as recovery only when the last failure is some time ago, so
    /// that a busy target which fails one attempt in ten is one line and not one in twenty.
    pub(super) fn delivered(&mut self, now: Timestamp) -> Option<Turn> {
        self.is_failing = false;
        let quiet = now.duration_since(self.failed_at?).unsigned_abs();
        (quiet >= QUIET).then(|| {
            self.failed_at = None;
            Turn::Recovered
        })
    }

    /// Whether its last attempt failed: what operators are shown.
    pub(super) fn is_failing(&self) -> bool {
        self.is_failing
    }
}

/// As long as the default pause before a first retry, so that a retry that succeeds says so.
const QUIET: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_target_is_said_once_and_its_recovery_once_it_has_lasted() {
        let at = |seconds: i64| Timestamp::from_second(1_800_000_000 + seconds).unwrap();
        let mut health = Health::default();

        assert_eq!(health.delivered(at(0)), None);
        assert_eq!(health.failed(at(1)), Some(Turn::Failing));
        assert_eq!(health.failed(at(2)), None);
        assert_eq!(health.delivered(at(3)), None);
        assert_eq!(health.failed(at(4)), None);
        assert_eq!(health.delivered(at(9)), Some(Turn::Recovered));
        assert_eq!(health.delivered(at(10)), None);
        assert_eq!(health.failed(at(11)), Some(Turn::Failing));
    }

    #[test]
    fn a_target_is_shown_as_failing_until_its_next_delivery_however_soon_that_is() {
        let at = |seconds: i64| Timestamp::from_second(1_800_000_000 + seconds).unwrap();
        let mut health = Health::default();
        assert!(!health.is_failing());

        health.failed(at(1));
        assert!(health.is_failing());
        health.delivered(at(1));
        assert!(!health.is_failing());
    }
}
