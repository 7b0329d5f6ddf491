//! What one attempt means for its delivery.
//!
//! Pure. Knows nothing of requests, of tasks or of the real time: it is told what the attempt
//! met, when, and how the dice fell.

use bytes::Bytes;
use http::StatusCode;
use jiff::Timestamp;

use crate::{
    delivery::{
        retry::{self, later, retry_after},
        target::StatusRange,
    },
    store::{BuryReason, Cause},
};

/// What came of one attempt, whatever it was made to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What decides.
    pub met: Met,
    /// The error in words, when there was one; no secret, at most 1 KiB.
    pub error: Option<String>,
    /// The first bytes of the answer, when it had any.
    pub snippet: Option<Bytes>,
}

/// What an attempt met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Met {
    /// The head of an answer, and all of the rest unless it is `broken`.
    Answer {
        /// Its status.
        status: StatusCode,
        /// Its `Retry-After`, as sent.
        retry_after: Option<String>,
        /// Why the whole of it was not had.
        broken: Option<Cause>,
    },
    /// The line is in the file, and the file on disk.
    Written,
    /// Nothing that could be called an answer.
    Failed(Cause),
    /// Not even an attempt: the relay itself lacked what it takes (a free file
    /// descriptor). The target has seen nothing of it.
    NotMade,
}

/// How a target wants its answers read.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The answers that mean the target has it.
    pub success: Vec<StatusRange>,
    /// The answers after which no further attempt is made.
    pub permanent: Vec<StatusCode>,
    /// When to try again.
    pub retry: retry::Settings,
}

/// Where a delivery stands when its attempt has ended.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// The attempt's number, 1 for the first of the round.
    pub number: u32,
    /// Where the delivery's age runs from.
    pub since: Timestamp,
    /// The end of the attempt.
    pub now: Timestamp,
    /// From 0 up to 1.
    pub jitter: f64,
}

/// What becomes of the delivery. Four arms, matched without a wildcard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The target has it.
    Delivered,
    /// Worth another attempt. This one counts.
    Retry {
        /// Not before.
        at: Timestamp,
    },
    /// Not tried. Counts against nothing.
    Defer {
        /// Not before.
        until: Timestamp,
    },
    /// Will never work, or has failed for long enough.
    Bury {
        /// Which of them.
        reason: BuryReason,
    },
}

// === impl Met ===

impl Met {
    /// The word for the counters; `None` where no attempt was made.
    pub fn cause(&self) -> Option<Cause> {
        match self {
            Self::Answer { broken: Some(cause), .. } | Self::Failed(cause) => Some(*cause),
            Self::Answer { status, broken: None, .. } => Some(class(*status)),
            Self::Written => Some(Cause::Written),
            Self::NotMade => None,
        }
    }

    /// The status, when there was one.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Answer { status, .. } => Some(*status),
            Self::Written | Self::Failed(_) | Self::NotMade => None,
        }
    }
}

/// A status outside the four classes that can end an exchange is not HTTP as we speak it.
pub(super) fn class(status: StatusCode) -> Cause {
    match status.as_u16() {
        200..=299 => Cause::Status2xx,
        300..=399 => Cause::Status3xx,
        400..=499 => Cause::Status4xx,
        500..=599 => Cause::Status5xx,
        _ => Cause::Protocol,
    }
}

// === impl Rules ===

impl Rules {
    /// Decides.
    ///
    /// A status line is enough for a no, only a whole answer for a yes. What is neither success
    /// nor permanent is tried again: a 404 is as often a mistake being mended as it is final,
    /// and the dead letters are at the end of the schedule either way.
    pub fn decide(&self, met: &Met, standing: Standing) -> Verdict {
        match met {
            Met::Written => Verdict::Delivered,
            Met::NotMade => Verdict::Defer { until: later(standing.now, LOCAL_PAUSE) },
            Met::Failed(Cause::Render) => Verdict::Bury { reason: BuryReason::Unrenderable },
            Met::Failed(_) => self.again(standing, None),
            Met::Answer { status, retry_after, broken } => {
                if broken.is_none() && self.success.iter().any(|range| range.contains(*status)) {
                    Verdict::Delivered
                } else if self.permanent.contains(status) {
                    Verdict::Bury { reason: BuryReason::Permanent }
                } else {
                    self.again(standing, heeded(*status, retry_after.as_deref()))
                }
            }
        }
    }

    /// The next attempt, or the end. A pause that would lead past the age limit is cut to it,
    /// so that a delivery has all of its time and its last attempt at the end of it.
    fn again(&self, standing: Standing, asked: Option<&str>) -> Verdict {
        let Standing { number, since, now, jitter } = standing;
        let limit = self.retry.gives_up_at(since);
        if limit.is_some_and(|limit| now >= limit) {
            return Verdict::Bury { reason: BuryReason::Expired };
        }
        let Some(pause) = self.retry.pause_after(number, jitter) else {
            return Verdict::Bury { reason: BuryReason::AttemptsExhausted };
        };
        // Only ever later: a target that says 0 does not get the schedule shortened.
        let pause = asked.and_then(|asked| retry_after(asked, now)).unwrap_or_default().max(pause);
        let at = later(now, pause);
        Verdict::Retry { at: limit.map_or(at, |limit| at.min(limit)) }
    }
}

/// `Retry-After` means something on these two only.
fn heeded(status: StatusCode, retry_after: Option<&str>) -> Option<&str> {
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => retry_after,
        _ => None,
    }
}

/// How long a target rests after the relay itself could not make an attempt. Descriptors
/// come back as other exchanges end, which takes moments.
const LOCAL_PAUSE: std::time::Duration = std::time::Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::delivery::retry::Pauses;

    fn rules() -> Rules {
        Rules {
            success: vec![StatusRange { from: 200, to: 299 }],
            permanent: vec![StatusCode::GONE, StatusCode::PAYLOAD_TOO_LARGE],
            retry: retry::Settings {
                pauses: Pauses::Exponential {
                    initial: Duration::from_secs(10),
                    factor: 2.0,
                    max: Duration::from_hours(1),
                },
                give_up_after: Some(Duration::from_hours(3)),
                attempts: Some(5),
            },
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn first(now: i64) -> Standing {
        Standing { number: 1, since: at(0), now: at(now), jitter: 0.0 }
    }

    fn answer(status: u16) -> Met {
        let status = StatusCode::from_u16(status).unwrap();
        Met::Answer { status, retry_after: None, broken: None }
    }

    fn broken(status: u16, cause: Cause) -> Met {
        let status = StatusCode::from_u16(status).unwrap();
        Met::Answer { status, retry_after: None, broken: Some(cause) }
    }

    fn asking(status: u16, value: &str) -> Met {
        let status = StatusCode::from_u16(status).unwrap();
        Met::Answer { status, retry_after: Some(value.to_owned()), broken: None }
    }

    #[test]
    fn every_outcome_of_a_first_attempt_has_its_cause_and_its_verdict() {
        let retry = Verdict::Retry { at: at(1 + 10) };
        let permanent = Verdict::Bury { reason: BuryReason::Permanent };
        let unrenderable = Verdict::Bury { reason: BuryReason::Unrenderable };
        let mut table = vec![
            (answer(200), Some(Cause::Status2xx), Verdict::Delivered),
            (answer(204), Some(Cause::Status2xx), Verdict::Delivered),
            (answer(299), Some(Cause::Status2xx), Verdict::Delivered),
            (broken(200, Cause::Oversized), Some(Cause::Oversized), retry),
            (broken(200, Cause::Reset), Some(Cause::Reset), retry),
            (broken(200, Cause::Timeout), Some(Cause::Timeout), retry),
            (broken(410, Cause::Oversized), Some(Cause::Oversized), permanent),
            (answer(410), Some(Cause::Status4xx), permanent),
            (answer(413), Some(Cause::Status4xx), permanent),
            (answer(101), Some(Cause::Protocol), retry),
            (answer(999), Some(Cause::Protocol), retry),
            (Met::Written, Some(Cause::Written), Verdict::Delivered),
            (Met::NotMade, None, Verdict::Defer { until: at(1 + 1) }),
            (Met::Failed(Cause::Render), Some(Cause::Render), unrenderable),
        ];
        for status in [300, 301, 302, 307, 308] {
            table.push((answer(status), Some(Cause::Status3xx), retry));
        }
        for status in [400, 401, 403, 404, 408, 409, 415, 422, 425, 429] {
            table.push((answer(status), Some(Cause::Status4xx), retry));
        }
        for status in [500, 501, 502, 503, 504, 599] {
            table.push((answer(status), Some(Cause::Status5xx), retry));
        }
        for cause in [
            Cause::Timeout,
            Cause::Connect,
            Cause::Tls,
            Cause::Dns,
            Cause::Denied,
            Cause::Reset,
            Cause::Oversized,
            Cause::Protocol,
            Cause::Io,
            Cause::Panic,
        ] {
            table.push((Met::Failed(cause), Some(cause), retry));
        }

        for (met, cause, verdict) in table {
            assert_eq!(met.cause(), cause, "{met:?}");
            assert_eq!(rules().decide(&met, first(1)), verdict, "{met:?}");
        }
    }

    #[test]
    fn a_target_can_name_its_own_success_and_success_goes_before_permanent() {
        let only = |status| StatusRange { from: status, to: status };
        let rules = Rules { success: vec![only(200), only(202), only(410)], ..rules() };

        assert_eq!(rules.decide(&answer(202), first(1)), Verdict::Delivered);
        assert_eq!(rules.decide(&answer(410), first(1)), Verdict::Delivered);
        assert_eq!(rules.decide(&answer(204), first(1)), Verdict::Retry { at: at(11) });
    }

    #[test]
    fn the_pause_grows_with_the_number_until_the_last_attempt_is_buried() {
        let nth = |number| Standing { number, ..first(100) };

        assert_eq!(rules().decide(&answer(500), nth(2)), Verdict::Retry { at: at(120) });
        assert_eq!(rules().decide(&answer(500), nth(4)), Verdict::Retry { at: at(180) });
        let exhausted = Verdict::Bury { reason: BuryReason::AttemptsExhausted };
        assert_eq!(rules().decide(&answer(500), nth(5)), exhausted);
        assert_eq!(rules().decide(&answer(200), nth(5)), Verdict::Delivered);
    }

    #[test]
    fn the_last_attempt_is_at_the_age_limit_and_after_it_the_delivery_is_expired() {
        const LIMIT: i64 = 3 * 3600;
        let expired = Verdict::Bury { reason: BuryReason::Expired };

        let before = rules().decide(&answer(500), first(LIMIT - 4));
        assert_eq!(before, Verdict::Retry { at: at(LIMIT) });
        assert_eq!(rules().decide(&answer(500), first(LIMIT)), expired);
        assert_eq!(rules().decide(&answer(200), first(LIMIT + 9)), Verdict::Delivered);
        let ageless =
            Rules { retry: retry::Settings { give_up_after: None, ..rules().retry }, ..rules() };
        let retry = Verdict::Retry { at: at(LIMIT * 9 + 10) };
        assert_eq!(ageless.decide(&answer(500), first(LIMIT * 9)), retry);
    }

    #[test]
    fn retry_after_puts_off_on_429_and_503_only_ever_later_and_within_the_age_limit() {
        let decide = |met: &Met| rules().decide(met, first(0));

        assert_eq!(decide(&asking(429, "60")), Verdict::Retry { at: at(60) });
        assert_eq!(decide(&asking(503, "60")), Verdict::Retry { at: at(60) });
        // 1 800 000 000 is 2027-01-15 08:00:00.
        let date = asking(503, "Fri, 15 Jan 2027 08:02:00 GMT");
        assert_eq!(decide(&date), Verdict::Retry { at: at(120) });
        assert_eq!(decide(&asking(503, "0")), Verdict::Retry { at: at(10) });
        assert_eq!(decide(&asking(503, "never")), Verdict::Retry { at: at(10) });
        assert_eq!(decide(&asking(500, "60")), Verdict::Retry { at: at(10) });
        assert_eq!(decide(&asking(503, "86400")), Verdict::Retry { at: at(3 * 3600) });
    }

    #[test]
    fn a_clock_that_was_set_back_buries_nothing() {
        let verdict = rules().decide(&answer(500), first(-86_400));

        assert_eq!(verdict, Verdict::Retry { at: at(-86_400 + 10) });
    }
}
