//! When to try again.
//!
//! Pure: a pause follows from the number of the attempt alone, so a restart changes nothing.
//! The one file that knows the `backoff` crate.

use std::time::{Duration, SystemTime};

use backoff::{ExponentialBackoff, backoff::Backoff as _};
use jiff::Timestamp;

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

impl Settings {
    /// The pause after attempt `number` (1 for the first of a round), or `None` when there is
    /// to be no further one. `jitter`, from 0 up to 1, only ever adds: up to a fifth.
    pub fn pause_after(&self, number: u32, jitter: f64) -> Option<Duration> {
        if self.attempts.is_some_and(|attempts| number >= attempts) {
            return None;
        }
        let pause = self.pauses.after(number)?;
        let longer = pause.as_secs_f64() * jitter.clamp(0.0, 1.0) * JITTER;
        Some(pause.saturating_add(Duration::try_from_secs_f64(longer).unwrap_or_default()))
    }

    /// How long a delivery is tried for at least, when attempts take no time and nothing is added
    /// to the pauses; `None` is for ever.
    pub fn window(&self) -> Option<Duration> {
        let waited = match (&self.pauses, self.attempts) {
            (Pauses::Exponential { .. }, None) => None,
            (pauses, attempts) => {
                Some(pauses.sum(attempts.map_or(u32::MAX, |n| n.saturating_sub(1))))
            }
        };
        match (waited, self.give_up_after) {
            (Some(waited), Some(limit)) => Some(waited.min(limit)),
            (waited, limit) => waited.or(limit),
        }
    }

    /// When a delivery of this age limit has waited long enough.
    pub fn gives_up_at(&self, since: Timestamp) -> Option<Timestamp> {
        self.give_up_after.map(|limit| later(since, limit))
    }
}

/// The largest part of a pause that is added, so that what failed together does not return
/// together.
const JITTER: f64 = 0.2;

// === impl Pauses ===

impl Pauses {
    /// The first `count` of them together, or as many as there are.
    fn sum(&self, count: u32) -> Duration {
        match self {
            Self::Schedule(pauses) => pauses
                .iter()
                .take(usize::try_from(count).unwrap_or(usize::MAX))
                .fold(Duration::ZERO, |sum, pause| sum.saturating_add(*pause)),
            Self::Exponential { max, .. } => {
                let mut sum = Duration::ZERO;
                for number in 1..=count {
                    let pause = self.after(number).unwrap_or(*max);
                    // From here on they are alike, or so many that their growth adds nothing.
                    if pause >= *max || number >= GROWING_MAX {
                        let left = count - number + 1;
                        return sum.saturating_add(pause.saturating_mul(left));
                    }
                    sum = sum.saturating_add(pause);
                }
                sum
            }
        }
    }

    fn after(&self, number: u32) -> Option<Duration> {
        let index = number.saturating_sub(1);
        match self {
            Self::Exponential { initial, factor, max } => {
                let grown = initial.as_secs_f64() * factor.powf(f64::from(index));
                let current = Duration::try_from_secs_f64(grown).unwrap_or(*max).min(*max);
                ExponentialBackoff {
                    current_interval: current,
                    initial_interval: *initial,
                    multiplier: *factor,
                    max_interval: *max,
                    // Its jitter takes away as well as adds, and its clock forgets at a restart.
                    randomization_factor: 0.0,
                    max_elapsed_time: None,
                    ..ExponentialBackoff::default()
                }
                .next_backoff()
                // It adds up to a nanosecond by chance, also where nothing is left to chance.
                .map(|pause| pause.min(current))
            }
            Self::Schedule(pauses) => pauses.get(usize::try_from(index).ok()?).copied(),
        }
    }
}

/// Pauses that are added one by one. What grows so slowly that it still grows then hardly does.
const GROWING_MAX: u32 = 1000;

// === Retry-After ===

/// How long a `Retry-After` asks to wait, in either of its forms (RFC 9110, 10.2.3): seconds, or
/// a date. A date that has passed asks for nothing; what is neither is `None`.
pub fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit mean a very long time, not none.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)).min(RETRY_AFTER_MAX));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    let wait = date.duration_since(SystemTime::from(now)).unwrap_or_default();
    Some(wait.min(RETRY_AFTER_MAX))
}

/// The longest a target can put off a delivery by itself: a date mistaken by a century must not
/// park an event that no age limit ends.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(24);

/// `pause` after `at`; the end of time where that is later.
pub(super) fn later(at: Timestamp, pause: Duration) -> Timestamp {
    at.checked_add(pause).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn exponential(initial: Duration, factor: f64, max: Duration) -> Settings {
        let pauses = Pauses::Exponential { initial, factor, max };
        Settings { pauses, give_up_after: None, attempts: None }
    }

    proptest! {
        #[test]
        fn the_pause_is_initial_times_factor_to_the_number_less_one_at_most_max(
            initial_ms in 0_u32..3_600_000,
            factor in 1.0_f64..10.0,
            max_ms in 0_u32..86_400_000,
            number in 1_u32..500,
        ) {
            let settings = exponential(
                Duration::from_millis(initial_ms.into()),
                factor,
                Duration::from_millis(max_ms.into()),
            );

            let pause = settings.pause_after(number, 0.0).unwrap().as_secs_f64();

            // Multiplied up, where the code raises to a power.
            let mut expected = f64::from(initial_ms) / 1e3;
            for _ in 1..number {
                expected = (expected * factor).min(1e12);
            }
            let expected = expected.min(f64::from(max_ms) / 1e3);
            prop_assert!((pause - expected).abs() < 1e-6, "{pause} for {expected}");
        }

        #[test]
        fn jitter_only_adds_and_never_more_than_a_fifth(number in 1_u32..100, jitter in 0.0_f64..1.0) {
            let settings = Settings::default();
            let base = settings.pause_after(number, 0.0).unwrap();

            let pause = settings.pause_after(number, jitter).unwrap();

            prop_assert!(pause >= base && pause.as_secs_f64() <= base.as_secs_f64() * 1.2 + 1e-6);
        }
    }

    #[test]
    fn the_default_pauses_are_5_s_15_s_45_s_and_at_most_6_h() {
        let pauses: Vec<_> = (1..=10)
            .map(|number| Settings::default().pause_after(number, 0.0).unwrap().as_secs())
            .collect();

        assert_eq!(pauses, [5, 15, 45, 135, 405, 1215, 3645, 10935, 21600, 21600]);
        let last = Settings::default().pause_after(u32::MAX, 0.0).unwrap();
        assert_eq!(last, Duration::from_hours(6));
    }

    #[test]
    fn a_schedule_is_kept_in_turn_and_ends() {
        let pauses = [5, 30, 120].map(Duration::from_secs).to_vec();
        let settings =
            Settings { pauses: Pauses::Schedule(pauses), give_up_after: None, attempts: None };

        let kept: Vec<_> = (1..=5).map(|number| settings.pause_after(number, 0.0)).collect();

        let [first, second, third] = [5, 30, 120].map(Duration::from_secs).map(Some);
        assert_eq!(kept, [first, second, third, None, None]);
    }

    #[test]
    fn a_pause_is_never_by_chance_another() {
        let hours = Settings::default().pauses;
        for _ in 0..100_000 {
            assert_eq!(hours.after(8), Some(Duration::from_secs(10_935)));
        }
    }

    #[test]
    fn the_window_is_the_age_limit_or_what_the_pauses_add_up_to() {
        let (seconds, hours) = (Duration::from_secs, Duration::from_hours);
        let exponential = Settings::default().pauses;
        let scheduled = Pauses::Schedule(vec![seconds(5), hours(24), hours(24)]);
        let steady = Pauses::Exponential { initial: seconds(7), factor: 1.0, max: hours(6) };
        for (pauses, give_up_after, attempts, window) in [
            (&exponential, Some(hours(72)), None, Some(hours(72))),
            (&exponential, None, None, None),
            (&exponential, None, Some(4), Some(seconds(5 + 15 + 45))),
            (&exponential, None, Some(1), Some(Duration::ZERO)),
            (&exponential, None, Some(11), Some(seconds(16_400 + 2 * 21_600))),
            (&exponential, Some(seconds(60)), Some(4), Some(seconds(60))),
            (&scheduled, None, None, Some(seconds(5) + hours(48))),
            (&scheduled, None, Some(3), Some(seconds(5) + hours(24))),
            (&scheduled, Some(hours(1)), None, Some(hours(1))),
            (&steady, None, Some(u32::MAX), Some(seconds(7) * (u32::MAX - 1))),
        ] {
            let settings = Settings { pauses: pauses.clone(), give_up_after, attempts };
            assert_eq!(settings.window(), window, "{settings:?}");
        }
    }

    #[test]
    fn after_the_last_attempt_allowed_there_is_no_pause() {
        let settings = Settings { attempts: Some(3), ..Settings::default() };

        assert!(settings.pause_after(2, 0.0).is_some());
        assert_eq!(settings.pause_after(3, 0.0), None);
        assert_eq!(settings.pause_after(4, 0.0), None);
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date() {
        // The date is that of RFC 9110, 5.6.7, in its three spellings.
        let now: Timestamp = "1994-11-06T08:49:00Z".parse().unwrap();
        let seconds = |seconds| Some(Duration::from_secs(seconds));

        for (value, wait) in [
            ("0", seconds(0)),
            ("120", seconds(120)),
            (" 7 ", seconds(7)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", seconds(37)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", seconds(37)),
            ("Sun Nov  6 08:49:37 1994", seconds(37)),
            ("Sun, 06 Nov 1994 08:48:59 GMT", seconds(0)),
            ("Sat, 06 Nov 2094 08:49:37 GMT", seconds(86_400)),
            ("99999999999999999999999999", seconds(86_400)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
        ] {
            assert_eq!(retry_after(value, now), wait, "{value}");
        }
    }
}
