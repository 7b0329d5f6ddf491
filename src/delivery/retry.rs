//! When to try again.

use std::time::Duration;

/// `retry` of a target.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The pauses between attempts.
    pub pauses: Pauses,
    /// Give up once a delivery is older than this; `None` never does for its age.
    pub give_up_after: Option<Duration>,
    /// Give up after this many attempts of a round; `None` never does for their number.
    pub attempts: Option<u32>,
}

/// How long to pause before the next attempt.
#[derive(Clone, Debug, PartialEq)]
pub enum Pauses {
    /// `initial · factor^(n−1)`, at most `max`, after attempt `n`.
    Exponential {
        /// After the first attempt.
        initial: Duration,
        /// At least 1.
        factor: f64,
        /// The longest.
        max: Duration,
    },
    /// One pause after each attempt in turn; after the last of them the delivery is buried.
    Schedule(Vec<Duration>),
}

// === impl Settings ===

impl Default for Settings {
    /// 5 s, 15 s, 45 s … at most 6 h apart, for 3 days.
    fn default() -> Self {
        Self {
            pauses: Pauses::Exponential {
                initial: Duration::from_secs(5),
                factor: 3.0,
                max: Duration::from_hours(6),
            },
            give_up_after: Some(Duration::from_hours(72)),
            attempts: None,
        }
    }
}
