//! 11x (Julian phone agent), call results.
//!
//! Facts: the provider's own page `https://docs.julian.11x.ai/api-reference/webhooks/call-results`
//! (the shape, the static `x-api-key`, any 2xx acks) and its guide
//! `https://docs.julian.11x.ai/webhooks` (`resultType`, `lifecycleStatus`, repeats are possible).
//! The page has no status and neither start nor end: the status is `callResult.resultType` where
//! the guide's form is sent, else derived. `scheduledAt` is when the call was planned for, never
//! its start; `callUrl` shows the call and is no recording. Mapping: `providers.md` C.2 and C.7.

use super::{
    Rules,
    fate::{Fate, text},
    fields::{Fields, Path},
    finish::Mapped,
    status::{self, Meaning},
};
use crate::event::{
    Action, Agent, Call, Contact, Data, Direction, Meeting, Outcome, Sequence, Status, Warning,
    instant::{self, Reading},
};

/// What is known of 11x beside its field map.
pub(super) const RULES: Rules = Rules {
    word: "11x",
    documented: &[
        "agentId",
        "agentName",
        "callId",
        "name",
        "phoneNumber",
        "phoneNumberExt",
        "fromPhoneNumber",
        "scheduledAt",
        "timezone",
        "direction",
        "customInputVariables",
        "duration",
        "callUrl",
        "rescheduledAt",
        "callResult",
        "crmSchedulingDetails",
        "sequence",
    ],
    fields: &[
        "callId",
        "direction",
        "fromPhoneNumber",
        "phoneNumber",
        "phoneNumberExt",
        "scheduledAt",
        "rescheduledAt",
        "duration",
        "callUrl",
        "agentId",
        "agentName",
        "name",
        "callResult.resultType",
        "callResult.summary",
        "callResult.transcription",
        "callResult.outcomes",
        "callResult.agentActions",
        "callResult.humanActions",
        "callResult.extractedVariables",
        "callResult.followUpMeetingDetails.startTime",
        "callResult.followUpMeetingDetails.endTime",
        "callResult.followUpMeetingDetails.hostEmail",
        "sequence.sequenceId",
        "sequence.lifecycleStatus",
    ],
    times: &[
        "scheduledAt",
        "callResult.followUpMeetingDetails.startTime",
        "callResult.followUpMeetingDetails.endTime",
        "callResult.agentActions.completedAt",
        "callResult.humanActions.completedAt",
    ],
    wrapper: None,
    changing: &[],
    // Its times carry their zone; one that does not would be a surprise, and says so.
    zone: "UTC",
    country: None,
    bare_international: false,
    max_body: None,
    auth_header: Some("x-api-key"),
    credentials: &[],
    map,
};

/// The field map of `providers.md` C.2, in the order of the event.
fn map<'a>(fields: &mut Fields<'a, '_>) -> Mapped<'a> {
    let duration_seconds = fields.whole(&["duration"]);
    let transcript = fields.trimmed(&["callResult", "transcription"]);
    let result_type = fields.text(&["callResult", "resultType"]);
    let status = match &result_type {
        Some(word) => status::meaning(fields, word, meaning).0,
        None => derived(fields, duration_seconds, transcript.is_some()),
    };
    let call = Call {
        id: fields.id(&["callId"]),
        direction: direction(fields),
        from: fields.number(&["fromPhoneNumber"], None),
        to: fields.number(&["phoneNumber"], Some(&["phoneNumberExt"])),
        status,
        status_raw: result_type.clone(),
        scheduled_at: fields.instant(&["scheduledAt"]),
        duration_seconds,
        url: fields.url(&["callUrl"]),
        summary: fields.text(&["callResult", "summary"]),
        transcript,
        ..Call::default()
    };
    let (id, name) = (fields.text(&["agentId"]), fields.text(&["agentName"]));
    let agent = (id.is_some() || name.is_some()).then_some(Agent { id, name, email: None });
    let contact = fields.text(&["name"]).map(|name| Contact { name: Some(name), email: None });
    let mut actions = actions(fields, &["callResult", "agentActions"], "agent");
    actions.append(&mut self::actions(fields, &["callResult", "humanActions"], "human"));
    let data = Data {
        call,
        agent,
        contact,
        sequence: sequence(fields),
        meeting: meeting(fields),
        disposition: result_type,
        outcomes: fields.list(&["callResult", "outcomes"], |entry| Outcome {
            name: entry.text("name"),
            reason: entry.text("reasoning"),
        }),
        actions,
        extracted: fields.named(&["callResult", "extractedVariables"]),
        ..Data::default()
    };
    Mapped { data, ..Mapped::default() }
}

/// The words of C.7. The guide names four and more exist, so words that only contain a known one
/// are understood too.
fn meaning(word: &str) -> Option<Meaning> {
    let has = |part: &str| word.contains(part);
    let status = match word {
        "goal-completed" | "goal-not-completed" => Status::Completed,
        "voicemail" => Status::Voicemail,
        "busy" => Status::Busy,
        _ if has("no-answer") || has("missed") => Status::NoAnswer,
        _ if has("fail") || has("error") => Status::Failed,
        _ if has("cancel") => Status::Canceled,
        _ if has("reject") || has("declin") => Status::Rejected,
        _ => return None,
    };
    Some((status, None))
}

/// The status of a result that states none.
fn derived(fields: &mut Fields<'_, '_>, duration: Option<u64>, talked: bool) -> Status {
    let rescheduled = match fields.peek(&["rescheduledAt"]).map(text) {
        Some(Fate::Whole(text)) => !matches!(instant::read(text), Reading::Zero),
        Some(Fate::Refused(Warning::Placeholder)) => {
            fields.warn(Warning::Placeholder);
            false
        }
        _ => false,
    };
    let (status, warning) = if duration.is_some_and(|seconds| seconds > 0) || talked {
        (Status::Completed, Warning::StatusDerived)
    } else if rescheduled {
        (Status::NoAnswer, Warning::StatusDerived)
    } else {
        (Status::Unknown, Warning::StatusMissing)
    };
    fields.warn(warning);
    status
}

/// `outbound` or `inbound`; another word is not ours to interpret.
fn direction(fields: &mut Fields<'_, '_>) -> Direction {
    fields
        .word(&["direction"], |word| match status::fold(word).as_ref() {
            "outbound" => Some(Direction::Outbound),
            "inbound" => Some(Direction::Inbound),
            _ => None,
        })
        .unwrap_or_default()
}

fn sequence<'a>(fields: &mut Fields<'a, '_>) -> Option<Sequence<'a>> {
    let id = fields.text(&["sequence", "sequenceId"]);
    let state = fields.text(&["sequence", "lifecycleStatus"]);
    (id.is_some() || state.is_some()).then_some(Sequence { id, state })
}

fn meeting<'a>(fields: &mut Fields<'a, '_>) -> Option<Meeting<'a>> {
    let start = fields.instant(&["callResult", "followUpMeetingDetails", "startTime"]);
    let end = fields.instant(&["callResult", "followUpMeetingDetails", "endTime"]);
    let host = fields.text(&["callResult", "followUpMeetingDetails", "hostEmail"]);
    let known = start.is_some() || end.is_some() || host.is_some();
    known.then_some(Meeting { start, end, host })
}

fn actions<'a>(
    fields: &mut Fields<'a, '_>,
    path: Path<'_>,
    actor: &'static str,
) -> Vec<Action<'a>> {
    fields.list(path, |entry| Action {
        key: entry.text("actionKey"),
        actor,
        status: entry.lower("status"),
        completed_at: entry.instant("completedAt"),
        description: entry.text("description"),
    })
}
