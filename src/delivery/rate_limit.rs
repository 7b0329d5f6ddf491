//! How fast to try a target.
//!
//! The generic cell rate algorithm: attempts are spaced evenly, and one that comes a little late
//! does not make all that follow late. Whatever happens, no period as long as the rate's has more
//! attempts in it than the rate allows.
//!
//! Pure: it is told how much time has passed since it was made.

use std::time::Duration;

/// `rate` of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// So many attempts at most.
    pub attempts: u32,
    /// In any stretch of time as long as this.
    pub per: Duration,
}

/// The rate limit of one target.
#[derive(Clone, Debug)]
pub(super) struct RateLimit {
    /// Between two attempts.
    interval: Duration,
    /// How much too early an attempt may come after one that came too late.
    slack: Duration,
    /// When the next attempt is due by the clockwork.
    next: Duration,
}

/// The grain of timers: with less, a rate near a thousand a second would never be reached.
const SLACK_MAX: Duration = Duration::from_millis(5);

// === impl RateLimit ===

impl RateLimit {
    /// One that has let nothing through yet.
    pub(super) fn new(rate: Rate) -> Self {
        let slack = SLACK_MAX.min(rate.per / 100);
        // The slack is taken out of the period beforehand: so many intervals, less the slack, are
        // never less than the period.
        let interval = (rate.per + slack) / rate.attempts.max(1);
        Self { interval, slack, next: Duration::ZERO }
    }

    /// When the next attempt may be made.
    pub(super) fn ready_at(&self) -> Duration {
        self.next.saturating_sub(self.slack)
    }

    /// When the last attempt was made by the clockwork.
    pub(super) fn last(&self) -> Duration {
        self.next.saturating_sub(self.interval)
    }

    /// An attempt is made now, which must not be before it may.
    pub(super) fn take(&mut self, now: Duration) {
        self.next = self.next.max(now) + self.interval;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(attempts: u32, seconds: u64) -> Rate {
        Rate { attempts, per: Duration::from_secs(seconds) }
    }

    #[test]
    fn attempts_are_spaced_evenly() {
        let mut limit = RateLimit::new(rate(50, 1));
        let mut made = Vec::new();
        let mut now = Duration::ZERO;
        for _ in 0..101 {
            now = now.max(limit.ready_at());
            limit.take(now);
            made.push(now);
        }

        let spaces: Vec<_> = made.windows(2).skip(1).map(|two| two[1].abs_diff(two[0])).collect();
        assert!(spaces.iter().all(|space| *space == spaces[0]), "{spaces:?}");
        let last = made[100].as_secs_f64();
        assert!((1.99..2.05).contains(&last), "{last}");
    }

    #[test]
    fn a_rest_is_not_made_up_for() {
        let mut limit = RateLimit::new(rate(1, 60));
        limit.take(Duration::ZERO);
        limit.take(Duration::from_hours(1));

        assert!(limit.ready_at() + SLACK_MAX >= Duration::from_mins(61));
    }

    proptest! {
        #[test]
        fn no_period_has_more_attempts_than_the_rate(
            attempts in 1..5_000_u32,
            seconds in prop::sample::select(vec![1_u64, 60, 3600]),
            late in prop::collection::vec(0..20_000_u64, 1..40),
        ) {
            let rate = rate(attempts, seconds);
            let mut limit = RateLimit::new(rate);
            let mut made = Vec::new();
            let mut now = Duration::ZERO;
            for n in 0..usize::try_from(attempts).unwrap() * 2 + 2 {
                // As timers do: never early, and late by more or less.
                now = now.max(limit.ready_at()) + Duration::from_micros(late[n % late.len()]);
                limit.take(now);
                made.push(now);
            }

            for window in made.windows(usize::try_from(attempts).unwrap() + 1) {
                let took = window[window.len() - 1].abs_diff(window[0]);
                prop_assert!(took + Duration::from_micros(5) >= rate.per, "{took:?}");
            }
        }
    }
}
