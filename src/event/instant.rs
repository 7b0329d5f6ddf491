//! Instants: how the event writes them, and how the texts of providers are read (C.9).
//!
//! Written: RFC 3339, UTC, `Z`, a fraction only where it is not zero, three digits, cut. Read, by
//! `providers.md` C.9: unix seconds, RFC 3339, and `YYYY-MM-DD HH:MM:SS` with a blank or `T`,
//! which is naive and needs a zone.

use jiff::{
    SignedDuration, Timestamp,
    civil::DateTime,
    fmt::temporal::DateTimeParser,
    tz::{Disambiguation, Offset, TimeZone},
};

use crate::event::json::Json;

/// What a provider's text of a time says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Nothing but white space.
    Blank,
    /// One of the ways of saying that there is none: `0`, `0000-00-00…`, `0001-01-01…`.
    Zero,
    /// An instant.
    Instant(Timestamp),
    /// A date and time of some zone: [`place`] makes an instant of it.
    Naive(DateTime),
    /// None of the forms of C.9.
    Unreadable,
}

/// A naive time, placed in a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The instant: the earlier one of a fold; of a gap the one moved forward by the gap.
    pub at: Timestamp,
    /// Whether it fell into a fold or a gap.
    pub ambiguous: bool,
}

/// Reads a provider's text of a time.
pub fn read(text: &str) -> Reading {
    let text = text.trim();
    if text.is_empty() {
        return Reading::Blank;
    }
    if text.starts_with("0000-00-00") || text.starts_with("0001-01-01") {
        return Reading::Zero;
    }
    if !is_dated(text.as_bytes()) {
        return unix(text).unwrap_or(Reading::Unreadable);
    }
    let of_time = |byte: u8| byte.is_ascii_digit() || matches!(byte, b':' | b'.');
    // From the end, where the zone is if there is one.
    if text.bytes().skip(TIME_AT).rev().all(of_time) {
        return PARSER.parse_datetime(text).map_or(Reading::Unreadable, Reading::Naive);
    }
    PARSER.parse_timestamp(text).map_or(Reading::Unreadable, Reading::of)
}

/// The instant of a naive time in `zone`; `None` outside the years that can be written.
pub fn place(naive: DateTime, zone: &TimeZone) -> Option<Placed> {
    let candidates = zone.to_ambiguous_timestamp(naive);
    let ambiguous = candidates.is_ambiguous();
    let at = candidates.disambiguate(Disambiguation::Compatible).ok()?;
    (at >= FIRST).then_some(Placed { at, ambiguous })
}

/// Where the time begins in `YYYY-MM-DD HH:MM:SS`.
const TIME_AT: usize = 11;

/// The fewest bytes of a date with a time: C.9 knows neither bare dates nor times without seconds.
const DATED_LEN: usize = 19;

/// The first instant of the year 0, before which RFC 3339 has no way to write one.
const FIRST: Timestamp = Timestamp::constant(-62_167_219_200, 0);

const PARSER: DateTimeParser = DateTimeParser::new();

/// Whether `bytes` begin as `YYYY-MM-DD HH:MM:SS` or with `T`, and go on without a zone's name:
/// jiff's parser takes more forms than the contract (week dates, signed years, `[Europe/Paris]`).
fn is_dated(bytes: &[u8]) -> bool {
    const SHAPE: &[u8; DATED_LEN] = b"dddd-dd-ddTdd:dd:dd";
    bytes.len() >= DATED_LEN
        && !bytes.contains(&b'[')
        && SHAPE.iter().zip(bytes).all(|(shape, byte)| match shape {
            b'd' => byte.is_ascii_digit(),
            b'T' => matches!(byte, b'T' | b't' | b' '),
            other => other == byte,
        })
}

/// Reads unix seconds, whole or with a fraction; `None` when `text` is not a decimal number.
fn unix(text: &str) -> Option<Reading> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || text.ends_with('.') {
        return None;
    }
    if whole.bytes().chain(fraction.bytes()).all(|digit| digit == b'0') {
        return Some(Reading::Zero);
    }
    let nanos = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
    let nanos = nanos.fold(0_i32, |nanos, digit| nanos * 10 + i32::from(digit - b'0'));
    let at = whole
        .parse::<i64>()
        .ok()
        .and_then(|seconds| Timestamp::from_duration(SignedDuration::new(seconds, nanos)).ok());
    Some(at.map_or(Reading::Unreadable, Reading::Instant))
}

// === impl Reading ===

impl Reading {
    /// An instant that was read, if it can be written again.
    pub fn of(at: Timestamp) -> Self {
        if at >= FIRST { Self::Instant(at) } else { Self::Unreadable }
    }
}

// === impl Timestamp ===

impl Json for Timestamp {
    fn write_json(&self, to: &mut Vec<u8>) {
        let at = Offset::UTC.to_datetime(*self);
        to.push(b'"');
        to.extend_from_slice(&digits::<4>(at.year().into()));
        for (sign, part) in [
            (b'-', at.month()),
            (b'-', at.day()),
            (b'T', at.hour()),
            (b':', at.minute()),
            (b':', at.second()),
        ] {
            let [tens, ones] = digits(part.into());
            to.extend_from_slice(&[sign, tens, ones]);
        }
        let millis = at.subsec_nanosecond() / 1_000_000;
        if millis > 0 {
            to.push(b'.');
            to.extend_from_slice(&digits::<3>(millis));
        }
        to.extend_from_slice(b"Z\"");
    }
}

/// A number that is not negative, in so many digits.
fn digits<const N: usize>(mut number: i32) -> [u8; N] {
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        *digit += u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> String {
        let at = match read(text) {
            Reading::Instant(at) => at,
            Reading::Naive(naive) => place(naive, &TimeZone::UTC).expect("in range").at,
            other => return format!("{other:?}"),
        };
        let mut json = Vec::new();
        at.write_json(&mut json);
        serde_json::from_slice(&json).expect("a text")
    }

    #[test]
    fn every_form_of_the_contract_is_read_and_written_in_utc() {
        for (text, expected) in [
            ("1429214458", "2015-04-16T20:00:58Z"),
            (" 1429214458 ", "2015-04-16T20:00:58Z"),
            ("1761559301.67", "2025-10-27T10:01:41.670Z"),
            ("1761559301.6789", "2025-10-27T10:01:41.678Z"),
            ("1761559301.0", "2025-10-27T10:01:41Z"),
            ("1761559301.0004", "2025-10-27T10:01:41Z"),
            ("2025-01-20T14:00:00.000Z", "2025-01-20T14:00:00Z"),
            ("2025-01-20T14:00:00z", "2025-01-20T14:00:00Z"),
            ("2024-03-28T18:17:46.205934+01:00", "2024-03-28T17:17:46.205Z"),
            ("2021-04-28 21:51:18.731479Z", "2021-04-28T21:51:18.731Z"),
            ("2021-04-09 04:27:39", "2021-04-09T04:27:39Z"),
            ("2021-04-09T16:27:39", "2021-04-09T16:27:39Z"),
            ("2021-04-09 16:27:39.5", "2021-04-09T16:27:39.500Z"),
            ("1969-12-31T23:59:59.9999Z", "1969-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(written(text), expected, "{text}");
        }
    }

    #[test]
    fn what_says_that_there_is_no_time_never_becomes_1970() {
        for text in ["0", "0.0", "000", "0000-00-00", "0000-00-00 00:00:00", "0001-01-01T00:00:00Z"]
        {
            assert_eq!(read(text), Reading::Zero, "{text}");
        }
        assert_eq!(read(""), Reading::Blank);
        assert_eq!(read(" \t"), Reading::Blank);
    }

    #[test]
    fn other_texts_are_not_guessed_at() {
        for text in [
            "yesterday",
            "2021-04-09",
            "2021-04-09 16:27",
            "09/04/2021 16:27:39",
            "-5",
            "1.",
            ".5",
            "1e9",
            "2021-13-09 16:27:39",
            "2021-04-09 25:27:39",
            "1761559301670",
            "2021-04-09 16:27:39+99:00",
            "2021-04-09T16:27:39 PM",
            "+002021-04-09T16:27:39Z",
            "2021-04-09T16:27:39+02:00[Europe/Paris]",
            "99999999999999999999",
            "<string>",
            "１２３",
            "0000-01-01T00:00:00+01:00",
        ] {
            assert_eq!(read(text), Reading::Unreadable, "{text}");
        }
    }

    #[test]
    fn a_fold_is_its_earlier_instant_and_a_gap_is_moved_forward() {
        let berlin = TimeZone::get("Europe/Berlin").expect("a zone");
        let place = |text: &str| match read(text) {
            Reading::Naive(naive) => place(naive, &berlin).expect("in range"),
            other => panic!("{other:?}"),
        };
        let at = |text: &str| text.parse::<Timestamp>().expect("an instant");

        assert_eq!(
            place("2025-10-26 02:30:00"),
            Placed { at: at("2025-10-26T00:30:00Z"), ambiguous: true }
        );
        assert_eq!(
            place("2025-03-30 02:30:00"),
            Placed { at: at("2025-03-30T01:30:00Z"), ambiguous: true }
        );
        assert_eq!(
            place("2025-07-01 12:00:00"),
            Placed { at: at("2025-07-01T10:00:00Z"), ambiguous: false }
        );
    }

    #[test]
    fn what_would_be_before_the_year_nought_is_no_time() {
        let kolkata = TimeZone::get("Asia/Kolkata").expect("a zone");
        let naive = |text: &str| match read(text) {
            Reading::Naive(naive) => naive,
            other => panic!("{other:?}"),
        };

        assert_eq!(place(naive("0000-01-01 00:00:00"), &kolkata), None);
        assert_eq!(written("0000-01-01 00:00:00"), "0000-01-01T00:00:00Z");
        assert_eq!(written("0000-01-01T01:00:00+01:00"), "0000-01-01T00:00:00Z");
    }

    #[test]
    fn half_hours_and_whole_days_that_are_missing_are_moved_forward_too() {
        let place = |text: &str, zone: &str| match read(text) {
            Reading::Naive(naive) => {
                place(naive, &TimeZone::get(zone).expect("a zone")).expect("in range")
            }
            other => panic!("{other:?}"),
        };
        let ambiguous = |at: &str| Placed { at: at.parse().expect("an instant"), ambiguous: true };

        // Lord Howe goes from +10:30 to +11 at two; Samoa left out the 30th when it crossed the
        // date line.
        assert_eq!(
            place("2025-10-05 02:15:00", "Australia/Lord_Howe"),
            ambiguous("2025-10-04T15:45:00Z")
        );
        assert_eq!(place("2011-12-30 12:00:00", "Pacific/Apia"), ambiguous("2011-12-30T22:00:00Z"));
        assert_eq!(
            place("2025-10-05 02:30:00", "Australia/Sydney"),
            ambiguous("2025-10-04T16:30:00Z")
        );
    }
}
