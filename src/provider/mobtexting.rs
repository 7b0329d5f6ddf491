//! MOBtexting, voice: results of its dialler (OBD) and of click-to-call (C2C), posted or templated.
//!
//! Facts: `https://portal.mobtexting.com/docs/v2/reach/webhook` (the fields, and a sample that is
//! no JSON: bare `91806828XXXX`, a trailing comma; only 200 and 202 are an ack), and of its public
//! documents (`vasavi168/docs`) `v2/voice/index.md` (the status words, numbers "with country code",
//! the older GET template), `v2/voice/c2c.md` (two legs, `date` and `unixtime` are the moment of
//! sending, flows in place of numbers) and `help/verify-webhook.md` (the challenge). The status
//! words are Asterisk's DIALSTATUS, whose rarer three are read too. White labels (BICS, `ThunderSMS`)
//! send the same.
//! Times are naive and of 24 hours; `duration` counts the ringing, so that it may well differ from
//! end − start. Mapping: `providers.md` C.2 and C.6.

use jiff::{
    Timestamp,
    tz::{Offset, TimeZone},
};

use super::{
    Denied, Document, Handshake, Rules, Settings,
    document::find,
    fate::{Fate, text},
    fields::{Fields, Path},
    finish::Mapped,
    status::{self, Meaning},
};
use crate::event::{
    Call, Campaign, Data, Direction, Leg, Reason, Status, Warning,
    instant::{self, Reading},
    value::Value,
};

/// What is known of MOBtexting beside its field map.
pub(super) const RULES: Rules = Rules {
    word: "mobtexting",
    documented: &[
        "webhook_id",
        "bridge",
        "from",
        "to",
        "start_at",
        "end_at",
        "duration",
        "mid",
        "flow_id",
        "status",
        "source",
        "recording_url",
        "date",
        "unixtime",
        "billing",
        "status1",
        "status2",
        "hangup_by",
    ],
    fields: &[
        "mid",
        "flow_id",
        "source",
        "from",
        "to",
        "bridge",
        "status",
        "status1",
        "status2",
        "hangup_by",
        "start_at",
        "end_at",
        "date",
        "unixtime",
        "duration",
        "billing",
        "recording_url",
    ],
    times: &["start_at", "end_at", "date", "unixtime"],
    wrapper: None,
    changing: &["date", "unixtime"],
    zone: "Asia/Kolkata",
    country: Some("IN"),
    bare_international: true,
    max_body: None,
    auth_header: None,
    // Its validation key, which it repeats in the URL it calls.
    credentials: &["token"],
    map,
};

/// The answer to a challenge: `{"validation_key": …, "challenge": …}` and no field of a result. It
/// is not authentic when the source has a validation key and this is another.
pub(super) fn challenge(
    settings: &Settings,
    document: &Document<'_>,
) -> Result<Option<Handshake>, Denied> {
    if settings.recognises(document) {
        return Ok(None);
    }
    let said = |name| match find(&document.root, &[name])? {
        value @ (Value::String(said) | Value::Number(said)) => Some((said, value)),
        _ => None,
    };
    let (Some((key, _)), Some((_, challenge))) = (said("validation_key"), said("challenge")) else {
        return Ok(None);
    };
    if settings.validation_key.as_ref().is_some_and(|keys| !keys.matches(key.as_bytes())) {
        return Err(Denied::Wrong);
    }
    let answer = Value::Object(vec![("challenge".into(), challenge.clone())]);
    Ok(Some(Handshake::new("application/json", answer.to_json())))
}

/// The field map of `providers.md` C.2, in the order of the event.
fn map<'a>(fields: &mut Fields<'a, '_>) -> Mapped<'a> {
    if let Some(zone) = shown_zone(fields) {
        fields.show_zone(zone);
    }
    let duration_seconds = fields.whole(&["duration"]);
    let billable_seconds = fields.whole(&["billing"]);
    let (first, second) = (fields.text(&["status1"]), fields.text(&["status2"]));
    let in_ivr = first.as_deref().is_some_and(|word| status::fold(word) == "received");
    let status_raw = fields.text(&["status"]);
    let (status, reason) = if let Some(word) = &status_raw {
        status::meaning(fields, word, if in_ivr { meaning_after_ivr } else { meaning })
    } else {
        fields.warn(Warning::StatusMissing);
        (Status::Unknown, None)
    };
    let reason_raw = fields.text(&["hangup_by"]);
    let legs = if first.is_some() || second.is_some() {
        let mut leg = |role, status_raw: Option<_>, duration_seconds| Leg {
            role,
            status: status_raw
                .as_deref()
                .map_or(Status::Unknown, |word: &str| status::meaning(fields, word, meaning).0),
            status_raw,
            duration_seconds,
        };
        vec![leg("from", first, duration_seconds), leg("to", second, billable_seconds)]
    } else {
        Vec::new()
    };
    let call = Call {
        reference: fields.id(&["mid"]),
        direction: direction(fields),
        from: fields.number(&["from"], None),
        to: fields.number(&["to"], None),
        via: fields.number(&["bridge"], None),
        status,
        status_raw,
        reason: reason.or_else(|| reason_raw.as_deref().map(hung_up)),
        reason_raw,
        started_at: fields.instant(&["start_at"]),
        ended_at: fields.instant(&["end_at"]),
        duration_seconds,
        billable_seconds,
        recording_url: fields.url(&["recording_url"]),
        legs,
        ..Call::default()
    };
    let campaign = fields.text(&["flow_id"]).map(|id| Campaign { id: Some(id), name: None });
    let logged_at = fields.logged(&["unixtime"]).or_else(|| fields.logged(&["date"]));
    let data = Data { call, campaign, logged_at, ..Data::default() };
    Mapped { data, ..Mapped::default() }
}

/// The words of C.6.
fn meaning(word: &str) -> Option<Meaning> {
    Some(match word {
        "answer" | "completed" | "received" => (Status::Completed, None),
        "busy" => (Status::Busy, None),
        "noanswer" | "missed" => (Status::NoAnswer, None),
        "cancel" => (Status::Canceled, Some(Reason::CallerHangup)),
        "congestion" => (Status::Failed, Some(Reason::Congestion)),
        "chanunavail" => (Status::Failed, Some(Reason::Unavailable)),
        "dontcall" => (Status::Rejected, Some(Reason::DoNotCall)),
        "torture" => (Status::Rejected, Some(Reason::Restricted)),
        "invalidargs" => (Status::Failed, Some(Reason::InvalidNumber)),
        _ => return None,
    })
}

/// The same of a call whose first leg an IVR took: who missed it then was the agent.
fn meaning_after_ivr(word: &str) -> Option<Meaning> {
    match word {
        "missed" => Some((Status::Abandoned, Some(Reason::NoAgent))),
        word => meaning(word),
    }
}

fn hung_up(by: &str) -> Reason {
    match status::fold(by).as_ref() {
        "caller" => Reason::CallerHangup,
        "agent" => Reason::AgentHangup,
        _ => Reason::Unknown,
    }
}

/// Of both known sources the platform makes every call. The word stays in `extra`.
fn direction(fields: &Fields<'_, '_>) -> Direction {
    let outbound = |word: &str| matches!(status::fold(word).as_ref(), "obd" | "c2c");
    match fields.peek(&["source"]).map(text) {
        Some(Fate::Whole(word)) if outbound(word) => Direction::Outbound,
        _ => Direction::Unknown,
    }
}

/// The account's zone, which `date` and `unixtime` show when they are the same moment: their
/// difference is then a whole number of quarters of an hour, and at most 14 hours.
fn shown_zone(fields: &Fields<'_, '_>) -> Option<TimeZone> {
    const QUARTER: i64 = 15 * 60;
    const MOST: i64 = 14 * 60 * 60;
    let said = |path: Path<'_>| match fields.peek(path).map(text) {
        Some(Fate::Whole(text)) => Some(text),
        _ => None,
    };
    let digits =
        |text: &&str| text.trim().bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let Reading::Naive(date) = instant::read(said(&["date"])?) else { return None };
    let Reading::Instant(unix) = instant::read(said(&["unixtime"]).filter(digits)?) else {
        return None;
    };
    let date: Timestamp = instant::place(date, &TimeZone::UTC)?.at;
    let ahead = date.duration_since(unix);
    let seconds = ahead.as_secs();
    let whole = ahead.subsec_nanos() == 0 && seconds % QUARTER == 0 && seconds.abs() <= MOST;
    let offset = Offset::from_seconds(i32::try_from(seconds).ok()?).ok()?;
    whole.then(|| TimeZone::fixed(offset))
}
