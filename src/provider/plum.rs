//! Plum Voice: the result URL of Plum Insight, and of Fuse, which has the same shape.
//!
//! Facts: `https://docs.plumvoice.com/insight/data-integration/result-url` (the fields; the body
//! "will be identical to the `call_details` element" of the status API),
//! `https://docs.plumvoice.com/insight/api/checking-status-for-an-outbound-call` (a sample, with
//! every number as a string and the spelling `start_Timestamp`),
//! `https://docs.plumvoice.com/fuse/apis/outbound-calls/outbound-call-status` (numbers that are
//! numbers, `phone_number` in quotes of its own, `duration`, XML's `<item>`), and
//! `https://docs.plumvoice.com/dev/plum-dev-guide/outbound-calling-guide` (a GET of the URL must be
//! answered with 200 before a call is queued).
//! The encoding of the callback is documented nowhere, so every way of writing a list is read:
//! PHP's form keys, an object of indexes, JSON in a form field, an only entry by itself, `item`.
//! There is no call id: the customer correlates by the query of the URL. `start_timestamp` and
//! `end_timestamp` are the window the call was planned for, never its times.
//! Mapping: `providers.md` C.2 and C.4.

use std::borrow::Cow;

use form_urlencoded::parse as parse_query;
use jiff::Timestamp;

use super::{
    Callback, Handshake, Rules, Settings, document,
    fate::{Fate, text},
    fields::{Fields, Listed, Path},
    finish::Mapped,
    status::{self, Meaning},
};
use crate::event::{
    Call, Data, Direction, Moment, Reason, Status, Warning,
    value::{Object, Value},
};

/// What is known of Plum beside its field map.
pub(super) const RULES: Rules = Rules {
    word: "plum",
    documented: &[
        "status",
        "attempts",
        "max_attempts",
        "queued_timestamp",
        "last_attempt_timestamp",
        "start_timestamp",
        "start_Timestamp",
        "end_timestamp",
        "reattempt_wait",
        "events",
        "phone_number",
        "duration",
    ],
    fields: &[
        "status",
        "phone_number",
        "attempts",
        "max_attempts",
        "queued_timestamp",
        "start_timestamp",
        "start_Timestamp",
        "last_attempt_timestamp",
        "duration",
        "reattempt_wait",
        "events",
    ],
    times: &[
        "queued_timestamp",
        "start_timestamp",
        "start_Timestamp",
        "last_attempt_timestamp",
        "events.timestamp",
    ],
    wrapper: Some("call_details"),
    changing: &[],
    // Its times are unix seconds; one that is naive would be a surprise, and says so.
    zone: "UTC",
    country: None,
    bare_international: false,
    max_body: None,
    auth_header: None,
    credentials: &[],
    map,
};

/// The answer to a probe: a GET or HEAD that brings no field of Plum.
pub(super) fn probe(settings: &Settings, callback: Callback<'_>) -> Option<Handshake> {
    let brings_field = parse_query(callback.query.as_bytes()).any(|(name, _)| {
        let path = document::path_of(&name);
        let first = path.first().map(AsRef::as_ref).unwrap_or_default();
        settings.is_documented(first)
            || RULES.wrapper == Some(first)
            || settings.fields.values().any(|key| document::path_of(key) == path)
    });
    let probes = settings.provider.probes_by(callback.method) && !brings_field;
    probes.then(|| Handshake::new("text/plain; charset=utf-8", b"".as_slice()))
}

/// The field map of `providers.md` C.2, in the order of the event.
fn map<'a>(fields: &mut Fields<'a, '_>) -> Mapped<'a> {
    let attempts = fields.whole(&["attempts"]);
    let max_attempts = fields.whole(&["max_attempts"]);
    let status_raw = fields.text(&["status"]);
    let (status, reason) = if let Some(word) = &status_raw {
        status::meaning(fields, word, meaning)
    } else {
        fields.warn(Warning::StatusMissing);
        (Status::Unknown, None)
    };
    let exhausted = attempts.zip(max_attempts).is_some_and(|(made, most)| made >= most);
    let reason =
        reason.map(|_| if exhausted { Reason::AttemptsExhausted } else { Reason::Unknown });
    let timeline = timeline(fields);
    let times = Times::of(&timeline);
    // A blank that another value stands in for is not taken as null: it is left to `extra`.
    let derived = times.talked().filter(|_| says_nothing(fields, &["duration"]));
    let duration_seconds = derived.or_else(|| fields.whole(&["duration"]));
    let call = Call {
        direction: Direction::Outbound,
        to: fields.number(&["phone_number"], None),
        status,
        status_raw,
        reason,
        queued_at: fields.instant(&["queued_timestamp"]),
        scheduled_at: scheduled_at(fields),
        started_at: times.dialled,
        answered_at: times.connected,
        ended_at: times.disconnected.or(times.given_up),
        duration_seconds,
        attempts,
        max_attempts,
        retry_wait_seconds: fields.whole(&["reattempt_wait"]),
        timeline,
        ..Call::default()
    };
    let logged_at = fields.logged(&["last_attempt_timestamp"]);
    let data = Data { call, logged_at, ..Data::default() };
    Mapped { data, duration_derived: derived.is_some(), ..Mapped::default() }
}

/// When the calls were to begin, in either spelling of the documents.
fn scheduled_at(fields: &mut Fields<'_, '_>) -> Option<Timestamp> {
    const SPELLINGS: [Path<'_>; 2] = [&["start_timestamp"], &["start_Timestamp"]];
    let [usual, other] = SPELLINGS;
    if says_nothing(fields, usual) && !says_nothing(fields, other) {
        return fields.instant(other);
    }
    fields.instant(usual).or_else(|| fields.instant(other))
}

fn says_nothing(fields: &Fields<'_, '_>, path: Path<'_>) -> bool {
    fields.peek(path).is_none_or(|value| text(value) == Fate::Blank)
}

/// The status words of C.4. Whether the attempts are exhausted is the mapper's to see.
fn meaning(word: &str) -> Option<Meaning> {
    Some(match word {
        "completed" => (Status::Completed, None),
        "canceled" | "cancelled" => (Status::Canceled, None),
        "failed" => (Status::Failed, Some(Reason::Unknown)),
        "rejected" => (Status::Rejected, None),
        _ => return None,
    })
}

/// The event words of C.4; any other is unknown, as its table says.
fn moment(word: &str) -> Status {
    match status::fold(word).as_ref() {
        "queued" => Status::Queued,
        "dialing" => Status::Ringing,
        "connected" => Status::InProgress,
        "disconnected" => Status::Completed,
        "canceled" | "cancelled" => Status::Canceled,
        "failed" => Status::Failed,
        "rejected" => Status::Rejected,
        _ => Status::Unknown,
    }
}

fn timeline<'a>(fields: &mut Fields<'a, '_>) -> Vec<Moment<'a>> {
    fields.list_in(&["events"], listed, |entry| {
        let event_raw = entry.text("event");
        Moment {
            at: entry.instant("timestamp"),
            event: event_raw.as_deref().map_or(Status::Unknown, moment),
            event_raw,
        }
    })
}

/// The events, in whichever way the list of them was written.
fn listed<'v, 'a>(value: &'v Value<'a>) -> Option<Listed<'v, 'a>> {
    match value {
        Value::Array(entries) => Some(Listed::plain(entries)),
        Value::Object(members) => Some(listed_members(value, members)),
        // JSON in a form field. Its text cannot be rebuilt to the letter, so it is kept.
        Value::String(text) => {
            let nested = document::nested(text)?.into_owned();
            let Listed { entries, .. } = listed(&nested)?;
            let entries = entries.into_iter().map(|it| Cow::Owned(it.into_owned())).collect();
            Some(Listed { entries, whole: false })
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

fn listed_members<'v, 'a>(value: &'v Value<'a>, members: &'v Object<'a>) -> Listed<'v, 'a> {
    let has = |name: &str| members.iter().any(|(member, _)| member == name);
    // PHP and XML write a list of one entry as that entry.
    if has("event") || has("timestamp") {
        return Listed { entries: vec![Cow::Borrowed(value)], whole: true };
    }
    if let Some((_, item @ (Value::Array(_) | Value::Object(_)))) =
        members.iter().find(|(name, _)| name == "item")
    {
        let whole = members.len() == 1;
        return match item {
            Value::Array(entries) => Listed { whole, ..Listed::plain(entries) },
            item => Listed { entries: vec![Cow::Borrowed(item)], whole },
        };
    }
    let index = |name: &str| {
        let digits = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
        if digits { name.parse::<u64>().ok() } else { None }
    };
    let mut indexed: Vec<_> =
        members.iter().filter_map(|(name, entry)| Some((index(name)?, entry))).collect();
    indexed.sort_by_key(|(index, _)| *index);
    let whole = !members.is_empty() && indexed.len() == members.len();
    Listed { entries: indexed.into_iter().map(|(_, entry)| Cow::Borrowed(entry)).collect(), whole }
}

/// The times of a call that its events tell.
#[derive(Debug, Default)]
struct Times {
    /// The first dialing.
    dialled: Option<Timestamp>,
    /// The first connected.
    connected: Option<Timestamp>,
    /// The last disconnected.
    disconnected: Option<Timestamp>,
    /// The last canceled, failed or rejected.
    given_up: Option<Timestamp>,
}

// === impl Times ===

impl Times {
    fn of(timeline: &[Moment<'_>]) -> Self {
        let mut times = Self::default();
        for Moment { at, event, .. } in timeline {
            match event {
                Status::Ringing => times.dialled = times.dialled.or(*at),
                Status::InProgress => times.connected = times.connected.or(*at),
                Status::Completed => times.disconnected = at.or(times.disconnected),
                Status::Canceled | Status::Failed | Status::Rejected => {
                    times.given_up = at.or(times.given_up);
                }
                _ => {}
            }
        }
        times
    }

    /// Whole seconds from the first connected to the last disconnected.
    fn talked(&self) -> Option<u64> {
        let (from, to) = self.connected.zip(self.disconnected)?;
        u64::try_from(to.duration_since(from).as_millis().div_euclid(1000)).ok()
    }
}
