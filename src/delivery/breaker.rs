//! When to stop trying a target, and when to try it again.
//!
//! ```text
//!                     `failures` in a row
//!      Admitting --------------------------> Tripped
//!          ^                                 |     ^
//!          |             `probe_after` later,|     | the probe failed,
//!          |           something is due: one |     | or came to nothing
//!          |                     attempt out |     |
//!          |                                 v     |
//!          +----------------------------- Probing -+
//!              any attempt that the target
//!              answered, the probe or one
//!              that was out before
//! ```
//!
//! A delivery that waits for the breaker has made no attempt and lost none.
//!
//! Pure: instants are arguments.

use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;

use crate::{
    delivery::{retry::later, verdict::Met},
    store::Cause,
};

/// `breaker` of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// So many failures in a row trip it; 0 never does.
    pub failures: u32,
    /// How long nothing is tried after a failure that tripped it, or left it so.
    pub probe_after: Duration,
}

/// The breaker of one target.
#[derive(Clone, Debug)]
pub(super) struct Breaker {
    settings: Settings,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Admitting { failures: u32 },
    Tripped { until: Timestamp },
    Probing,
}

/// Where a breaker stands: what [`crate::delivery::TargetStatus`] and the metric tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BreakerState {
    /// Attempts are made.
    #[default]
    Admitting,
    /// One attempt is out, to see whether the target is back.
    Probing,
    /// No attempt is made.
    Tripped,
}

/// What may be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admits {
    /// Anything.
    All,
    /// One probe.
    Probe,
    /// Nothing before then.
    NotBefore(Timestamp),
    /// Nothing before the probe that is out has come back.
    NotYet,
}

/// What an attempt says of its target, apart from what it means for its delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// It answered, if only about this one event.
    Alive,
    /// It is not there, or not able to take anything.
    Failing,
    /// Nothing: the relay did not get as far as the target.
    None,
}

/// What is worth a line in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It has tripped.
    Tripped,
    /// It admits again.
    Recovered,
}

// === impl Settings ===

impl Default for Settings {
    /// 20 failures in a row; a probe every 30 s.
    fn default() -> Self {
        Self { failures: 20, probe_after: Duration::from_secs(30) }
    }
}

// === impl Breaker ===

impl Breaker {
    /// One that admits: after a restart every target has its chance.
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, state: State::Admitting { failures: 0 } }
    }

    /// Where it stands.
    pub(super) fn state(&self) -> BreakerState {
        match self.state {
            State::Admitting { .. } => BreakerState::Admitting,
            State::Tripped { .. } => BreakerState::Tripped,
            State::Probing => BreakerState::Probing,
        }
    }

    /// What may be sent at this instant.
    pub(super) fn admits(&self, now: Timestamp) -> Admits {
        match self.state {
            State::Admitting { .. } => Admits::All,
            // Further off than ever it is put, it was put by a clock that has been set back since.
            State::Tripped { until }
                if now < until && until <= later(now, self.settings.probe_after) =>
            {
                Admits::NotBefore(until)
            }
            State::Tripped { .. } => Admits::Probe,
            State::Probing => Admits::NotYet,
        }
    }

    /// The probe is out.
    pub(super) fn probes(&mut self) {
        self.state = State::Probing;
    }

    /// Takes note of an attempt that has come back; `probe` says whether it was the probe.
    pub(super) fn note(&mut self, sign: Sign, probe: bool, now: Timestamp) -> Option<Turn> {
        match (self.state, sign) {
            (State::Admitting { .. }, Sign::Alive) => {
                self.state = State::Admitting { failures: 0 };
                None
            }
            (State::Admitting { failures }, Sign::Failing) => {
                let failures = failures.saturating_add(1);
                if self.settings.failures == 0 || failures < self.settings.failures {
                    self.state = State::Admitting { failures };
                    return None;
                }
                self.trip(now);
                Some(Turn::Tripped)
            }
            // One that was out before says as much as the probe does.
            (State::Tripped { .. } | State::Probing, Sign::Alive) => {
                self.state = State::Admitting { failures: 0 };
                Some(Turn::Recovered)
            }
            (State::Probing, Sign::Failing) if probe => {
                self.trip(now);
                None
            }
            // The probe did not get as far as the target: the next one may go at once.
            (State::Probing, Sign::None) if probe => {
                self.state = State::Tripped { until: now };
                None
            }
            // What was out before it tripped comes back failed, as those that tripped it did.
            (State::Tripped { .. } | State::Probing, Sign::Failing | Sign::None)
            | (State::Admitting { .. }, Sign::None) => None,
        }
    }

    fn trip(&mut self, now: Timestamp) {
        self.state = State::Tripped { until: later(now, self.settings.probe_after) };
    }
}

// === impl BreakerState ===

impl BreakerState {
    /// The word in the CLI and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admitting => "admitting",
            Self::Probing => "probing",
            Self::Tripped => "tripped",
        }
    }

    /// The state of this number.
    pub(super) const fn of_number(number: i64) -> Self {
        match number {
            1 => Self::Probing,
            2 => Self::Tripped,
            _ => Self::Admitting,
        }
    }

    /// The number in the metric.
    pub const fn number(self) -> i64 {
        match self {
            Self::Admitting => 0,
            Self::Probing => 1,
            Self::Tripped => 2,
        }
    }
}

// === impl Sign ===

impl Sign {
    /// Reads the sign of an attempt; `delivered` says whether the target has the event.
    ///
    /// A refusal that is about the event (400, 409, 410, 413, 422 …) comes from a target that works:
    /// one bad event must not hold up the good ones. A refusal that is about the call itself (401,
    /// 403, 404, 405, a redirect) will meet the next event as well, as will 408, 425 and 429.
    pub(super) fn of(met: &Met, delivered: bool) -> Self {
        match met {
            _ if delivered => Self::Alive,
            Met::Written => Self::Alive,
            Met::NotMade | Met::Failed(Cause::Render | Cause::Panic) => Self::None,
            Met::Failed(_) | Met::Answer { broken: Some(_), .. } => Self::Failing,
            Met::Answer { status, broken: None, .. } => {
                if status.is_client_error() && !OF_THE_TARGET.contains(status) {
                    Self::Alive
                } else {
                    Self::Failing
                }
            }
        }
    }
}

/// The refusals of the 400s that the next event would meet as well.
const OF_THE_TARGET: [StatusCode; 8] = [
    StatusCode::UNAUTHORIZED,
    StatusCode::FORBIDDEN,
    StatusCode::NOT_FOUND,
    StatusCode::METHOD_NOT_ALLOWED,
    StatusCode::PROXY_AUTHENTICATION_REQUIRED,
    StatusCode::REQUEST_TIMEOUT,
    StatusCode::TOO_EARLY,
    StatusCode::TOO_MANY_REQUESTS,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn breaker() -> Breaker {
        Breaker::new(Settings { failures: 3, probe_after: Duration::from_secs(30) })
    }

    fn tripped() -> Breaker {
        let mut breaker = breaker();
        for _ in 0..2 {
            assert_eq!(breaker.note(Sign::Failing, false, at(0)), None);
        }
        assert_eq!(breaker.note(Sign::Failing, false, at(0)), Some(Turn::Tripped));
        breaker
    }

    #[test]
    fn failures_in_a_row_trip_it_and_one_success_begins_the_row_anew() {
        let mut breaker = breaker();
        for sign in [Sign::Failing, Sign::Failing, Sign::Alive, Sign::Failing, Sign::Failing] {
            assert_eq!(breaker.note(sign, false, at(0)), None);
            assert_eq!(breaker.admits(at(0)), Admits::All);
        }
        assert_eq!(breaker.note(Sign::None, false, at(0)), None);

        assert_eq!(breaker.note(Sign::Failing, false, at(0)), Some(Turn::Tripped));

        assert_eq!(breaker.state(), BreakerState::Tripped);
        assert_eq!(breaker.admits(at(29)), Admits::NotBefore(at(30)));
    }

    #[test]
    fn when_its_time_has_come_it_admits_one_probe_and_nothing_beside_it() {
        let mut breaker = tripped();
        assert_eq!(breaker.admits(at(30)), Admits::Probe);

        breaker.probes();

        assert_eq!(breaker.state(), BreakerState::Probing);
        assert_eq!(breaker.admits(at(90)), Admits::NotYet);
    }

    #[test]
    fn a_clock_that_was_set_back_puts_no_probe_off() {
        let breaker = tripped();

        assert_eq!(breaker.admits(at(0)), Admits::NotBefore(at(30)));
        assert_eq!(breaker.admits(at(-86_400)), Admits::Probe);
    }

    #[test]
    fn a_probe_that_is_answered_opens_it_and_one_that_fails_leaves_it_tripped() {
        let mut breaker = tripped();
        breaker.probes();
        assert_eq!(breaker.note(Sign::Failing, true, at(31)), None);
        assert_eq!(breaker.admits(at(60)), Admits::NotBefore(at(61)));

        breaker.probes();
        assert_eq!(breaker.note(Sign::Alive, true, at(62)), Some(Turn::Recovered));

        assert_eq!(breaker.admits(at(62)), Admits::All);
        assert_eq!(breaker.note(Sign::Failing, false, at(63)), None);
    }

    #[test]
    fn a_probe_that_came_to_nothing_is_made_again_at_once() {
        let mut breaker = tripped();
        breaker.probes();

        assert_eq!(breaker.note(Sign::None, true, at(31)), None);

        assert_eq!(breaker.admits(at(31)), Admits::Probe);
    }

    #[test]
    fn what_was_out_when_it_tripped_can_open_it_and_cannot_put_the_probe_off() {
        let mut breaker = tripped();
        assert_eq!(breaker.note(Sign::Failing, false, at(20)), None);
        assert_eq!(breaker.admits(at(30)), Admits::Probe);
        breaker.probes();
        assert_eq!(breaker.note(Sign::Failing, false, at(31)), None);
        assert_eq!(breaker.admits(at(31)), Admits::NotYet);

        assert_eq!(breaker.note(Sign::Alive, false, at(32)), Some(Turn::Recovered));
    }

    #[test]
    fn without_a_number_of_failures_it_never_trips() {
        let mut breaker = Breaker::new(Settings { failures: 0, ..Settings::default() });
        for _ in 0..1_000 {
            assert_eq!(breaker.note(Sign::Failing, false, at(0)), None);
        }
        assert_eq!(breaker.admits(at(0)), Admits::All);
    }

    #[test]
    fn only_what_concerns_the_target_as_a_whole_is_a_failure_of_the_target() {
        let answer = |status, broken| Met::Answer {
            status: StatusCode::from_u16(status).unwrap(),
            retry_after: None,
            broken,
        };
        for status in [400, 409, 410, 413, 415, 422] {
            assert_eq!(Sign::of(&answer(status, None), false), Sign::Alive, "{status}");
        }
        for status in [204, 301, 307, 401, 403, 404, 405, 408, 425, 429, 500, 503, 999] {
            assert_eq!(Sign::of(&answer(status, None), false), Sign::Failing, "{status}");
        }
        assert_eq!(Sign::of(&answer(200, None), true), Sign::Alive);
        assert_eq!(Sign::of(&answer(404, None), true), Sign::Alive);
        assert_eq!(Sign::of(&answer(200, Some(Cause::Oversized)), false), Sign::Failing);
        assert_eq!(Sign::of(&answer(410, Some(Cause::Reset)), false), Sign::Failing);
        for cause in [Cause::Timeout, Cause::Connect, Cause::Tls, Cause::Dns, Cause::Io] {
            assert_eq!(Sign::of(&Met::Failed(cause), false), Sign::Failing, "{cause:?}");
        }
        for met in [Met::NotMade, Met::Failed(Cause::Render), Met::Failed(Cause::Panic)] {
            assert_eq!(Sign::of(&met, false), Sign::None, "{met:?}");
        }
    }
}
