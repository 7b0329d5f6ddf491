//! Synthflow, post-call webhook.
//!
//! Facts: the provider's own page `https://docs.synthflow.ai/webhooks` (the shape, the words of
//! `call.status` and `end_call_reason`, `custom_end_call_reason`), its older form at
//! `https://docs.synthflow.ai/reference/webhook` (`error_message` and `end_call_reason` swapped),
//! the change of 2026-02-04 at `https://docs.synthflow.ai/changelog/2026/2/4`
//! (`collected_variables`, by variable or by agent and variable), and
//! `https://docs.synthflow.ai/security` (the signature, over `call.call_id` alone). Durations are
//! seconds. The end of the call is not stated: it is the start and the duration. The actions'
//! naive times are UTC; they stay with their actions in `extra`. Mapping: `providers.md` C.2, C.5.

use std::{borrow::Cow, collections::HashMap};

use jiff::{SignedDuration, Timestamp};

use super::{
    Rules,
    document::nested,
    fate::{Fate, is_placeholder, text},
    fields::{Fields, Path},
    finish::Mapped,
    status::{self, Meaning},
};
use crate::event::{
    Agent, AnsweredBy, Call, Contact, Data, Reason, Status, Warning,
    value::{Object, Value},
};

/// What is known of Synthflow beside its field map.
pub(super) const RULES: Rules = Rules {
    word: "synthflow",
    documented: &[
        "status",
        "error_message",
        "lead",
        "call",
        "executed_actions",
        "collected_variables",
        "analysis",
        "metadata",
    ],
    fields: &[
        "status",
        "error_message",
        "call.call_id",
        "call.external_id",
        "call.status",
        "call.end_call_reason",
        "call.custom_end_call_reason",
        "custom_end_call_reason",
        "call.start_time",
        "call.duration",
        "call.recording_url",
        "call.transcript",
        "call.model_id",
        "lead.phone_number",
        "lead.name",
        "executed_actions",
        "collected_variables",
        "analysis",
        "analysis.answered_by_human",
    ],
    times: &["call.start_time"],
    wrapper: None,
    changing: &[],
    zone: "UTC",
    country: None,
    bare_international: false,
    // Transcripts have no documented limit.
    max_body: Some(8 << 20),
    auth_header: None,
    credentials: &[],
    map,
};

const CALL_STATUS: Path<'_> = &["call", "status"];
const END_REASON: Path<'_> = &["call", "end_call_reason"];

/// What a reason of the call's end says.
type Ending = (Reason, Option<AnsweredBy>);

/// What is learnt from a call: name → value, the first that says something.
#[derive(Default)]
struct Extracted<'a> {
    found: Object<'a>,
    places: HashMap<Cow<'a, str>, usize>,
}

/// The field map of `providers.md` C.2, in the order of the event.
fn map<'a>(fields: &mut Fields<'a, '_>) -> Mapped<'a> {
    let (status_raw, (stated, by_status)) = status(fields);
    let (reason_raw, ending) = ending(fields);
    let status = match (stated, ending) {
        (Status::Completed, Some((reason, _))) if is_voicemail(reason) => Status::Voicemail,
        (status, _) => status,
    };
    let started_at = fields.instant(&["call", "start_time"]);
    let duration_seconds = fields.whole(&["call", "duration"]);
    let call = Call {
        id: fields.id(&["call", "call_id"]),
        reference: fields.id(&["call", "external_id"]),
        to: fields.number(&["lead", "phone_number"], None),
        status,
        answered_by: answered_by(fields, status_raw.as_deref(), status, ending),
        status_raw,
        reason: by_status.or(ending.map(|(reason, _)| reason)),
        reason_raw,
        started_at,
        ended_at: end(started_at, duration_seconds),
        duration_seconds,
        recording_url: fields.url(&["call", "recording_url"]),
        transcript: fields.trimmed(&["call", "transcript"]),
        ..Call::default()
    };
    let agent = fields.text(&["call", "model_id"]);
    let contact = fields.text(&["lead", "name"]);
    let data = Data {
        call,
        agent: agent.map(|id| Agent { id: Some(id), ..Agent::default() }),
        contact: contact.map(|name| Contact { name: Some(name), email: None }),
        extracted: extracted(fields),
        analysis: fields.object(&["analysis"]),
        ..Data::default()
    };
    Mapped { data, ended_derived: true, ..Mapped::default() }
}

/// The word of the call, else of the whole result. Where both are said and differ, the call's
/// wins and the other stays.
fn status<'a>(fields: &mut Fields<'a, '_>) -> (Option<Cow<'a, str>>, Meaning) {
    const OUTER: Path<'_> = &["status"];
    let Some(word) = fields.text(CALL_STATUS) else {
        let Some(word) = fields.text(OUTER) else {
            fields.warn(Warning::StatusMissing);
            return (None, (Status::Unknown, None));
        };
        let meaning = status::meaning(fields, &word, meaning);
        return (Some(word), meaning);
    };
    let stated = status::meaning(fields, &word, meaning);
    match fields.peek(OUTER).map(text) {
        Some(Fate::Whole(other)) if other.trim() != word.trim() => {
            let other = other.to_owned();
            let (outer, _) = status::meaning(fields, &other, meaning);
            if outer != stated.0 {
                fields.warn(Warning::StatusConflict);
            }
        }
        // The same word: nothing to keep. Blank or no word: as any other field.
        _ => drop(fields.text(OUTER)),
    }
    (Some(word), stated)
}

/// The words of `call.status` in C.5, of the page and of the newer list.
fn meaning(word: &str) -> Option<Meaning> {
    Some(match word {
        "completed" => (Status::Completed, None),
        "failed" => (Status::Failed, None),
        "queue" | "queued" | "pending" | "registered" => (Status::Queued, None),
        "paused" => (Status::InProgress, Some(Reason::OnHold)),
        "initiated" | "ringing" => (Status::Ringing, None),
        "in-progress" => (Status::InProgress, None),
        "no-answer" => (Status::NoAnswer, None),
        "busy" => (Status::Busy, None),
        "hangup-on-voicemail" => (Status::Voicemail, Some(Reason::VoicemailDetected)),
        "left-voicemail" => (Status::Voicemail, Some(Reason::VoicemailMessageLeft)),
        "canceled" | "user-canceled" => (Status::Canceled, None),
        "spam" => (Status::Rejected, Some(Reason::Spam)),
        _ => return None,
    })
}

/// The words of `end_call_reason` in C.5.
fn ended(word: &str) -> Option<Ending> {
    let machine = Some(AnsweredBy::Machine);
    let human = Some(AnsweredBy::Human);
    Some(match word {
        "voicemail" => (Reason::VoicemailDetected, machine),
        "voicemail-message-left" => (Reason::VoicemailMessageLeft, machine),
        "human-goodbye" => (Reason::CalleeHangup, human),
        "agent-goodbye" => (Reason::AgentHangup, human),
        "human-pick-up-cut-off" => (Reason::CutOff, human),
        "max-duration" => (Reason::MaxDuration, None),
        "undefined" => (Reason::Unknown, None),
        "custom-end-call" => (Reason::Custom, None),
        "user-canceled" => (Reason::CallerHangup, None),
        _ => return None,
    })
}

/// Why the call ended, as sent and as understood.
fn ending<'a>(fields: &mut Fields<'a, '_>) -> (Option<Cow<'a, str>>, Option<Ending>) {
    const SWAPPED: Path<'_> = &["error_message"];
    let word = |fields: &Fields<'_, '_>, path| match fields.peek(path).map(text) {
        Some(Fate::Whole(word)) => Some(status::fold(word).into_owned()),
        _ => None,
    };
    let said = word(fields, END_REASON);
    let raw = match said.as_deref() {
        // The older form has the status here, and the reason where errors go.
        Some("completed") => {
            if let Some(swapped) = word(fields, SWAPPED).and_then(|word| ended(&word)) {
                fields.warn(Warning::LegacyShape);
                return (fields.text(SWAPPED), Some(swapped));
            }
            None
        }
        // The page shows the customer's own text beside the reason without saying where it stands.
        Some("custom-end-call") => fields
            .text(&["call", "custom_end_call_reason"])
            .or_else(|| fields.text(&["custom_end_call_reason"])),
        _ => None,
    };
    let raw = raw.or_else(|| fields.text(END_REASON));
    let ending = said.map(|word| ended(&word).unwrap_or((Reason::Unknown, speaker(&word))));
    (raw, ending)
}

/// Who answered, by the beginning of a reason that is not in the table (C.2: `human_*`,
/// `voicemail*`).
fn speaker(word: &str) -> Option<AnsweredBy> {
    if word.starts_with("human-") {
        Some(AnsweredBy::Human)
    } else if word.starts_with("voicemail") {
        Some(AnsweredBy::Machine)
    } else {
        None
    }
}

fn is_voicemail(reason: Reason) -> bool {
    matches!(reason, Reason::VoicemailDetected | Reason::VoicemailMessageLeft)
}

/// Who answered: what the end of the call says, else its status, else the analysis. Of a call
/// that nobody answered, the analysis' `false` does not make a machine.
fn answered_by(
    fields: &Fields<'_, '_>,
    word: Option<&str>,
    status: Status,
    ending: Option<Ending>,
) -> Option<AnsweredBy> {
    if let Some((_, Some(answered_by))) = ending {
        return Some(answered_by);
    }
    let reason = word.and_then(|word| meaning(&status::fold(word))?.1);
    if reason.is_some_and(is_voicemail) {
        return Some(AnsweredBy::Machine);
    }
    let human = match fields.peek(&["analysis", "answered_by_human"])? {
        Value::Bool(human) => *human,
        Value::String(word) => match status::fold(word).as_ref() {
            "true" => true,
            "false" => false,
            _ => return None,
        },
        _ => return None,
    };
    let answered = matches!(status, Status::Completed | Status::Voicemail);
    match (human, answered) {
        (true, _) => Some(AnsweredBy::Human),
        (false, true) => Some(AnsweredBy::Machine),
        (false, false) => None,
    }
}

fn end(start: Option<Timestamp>, seconds: Option<u64>) -> Option<Timestamp> {
    let seconds = i64::try_from(seconds?).ok()?;
    start?.checked_add(SignedDuration::from_secs(seconds)).ok()
}

/// What every action returned, then what the conversation collected where that says nothing. The
/// actions stay whole in `extra`; of the collected variables, what is used leaves.
fn extracted<'a>(fields: &mut Fields<'a, '_>) -> Object<'a> {
    let mut extracted = Extracted::default();
    let mut placeholder = false;
    if let Some(Value::Object(actions)) = fields.peek(&["executed_actions"]) {
        for (key, action) in actions {
            let Value::Object(action) = action else { continue };
            if let Some((_, value)) = action.iter().find(|(name, _)| name == "return_value") {
                placeholder |= extracted.returned(key.clone(), value);
            }
        }
    }
    fields.take_from(&["collected_variables"], |variables| {
        placeholder |= extracted.collected(variables, true);
    });
    if placeholder {
        fields.warn(Warning::Placeholder);
    }
    extracted.found
}

/// A name as the variable's, without what the provider puts before it in the name of an action.
fn variable<'a>(name: &Cow<'a, str>) -> Cow<'a, str> {
    let bare = |name: &str| {
        let rest =
            name.strip_prefix("extract_info_").or_else(|| name.strip_prefix("info_extractor_"));
        rest.filter(|rest| !rest.trim().is_empty()).map_or(0, |rest| name.len() - rest.len())
    };
    let from = bare(name);
    match name {
        Cow::Borrowed(name) => Cow::Borrowed(name.get(from..).unwrap_or(name)),
        Cow::Owned(name) => Cow::Owned(name.get(from..).unwrap_or(name).to_owned()),
    }
}

/// Whether a value says nothing.
fn is_blank(value: &Value<'_>) -> bool {
    matches!(text(value), Fate::Blank)
}

// === impl Extracted ===

impl<'a> Extracted<'a> {
    /// Takes what an action returned; tells whether a placeholder was among it.
    fn returned(&mut self, action: Cow<'a, str>, value: &Value<'a>) -> bool {
        match value {
            Value::Object(members) => members.iter().fold(false, |placeholder, (name, value)| {
                self.fill(variable(name), value) | placeholder
            }),
            Value::String(text) if text.trim_start().starts_with('{') => match nested(text) {
                Some(object @ Value::Object(_)) => self.returned(action, &object.into_owned()),
                _ => self.fill(variable(&action), value),
            },
            // An action that returned nothing has learnt nothing.
            value if is_blank(value) => false,
            value => self.fill(variable(&action), value),
        }
    }

    /// Takes the collected variables, or those below each agent, where nothing is known of them
    /// yet; what was taken leaves. Tells whether a placeholder was among it.
    fn collected(&mut self, variables: &mut Object<'a>, agents: bool) -> bool {
        let mut placeholder = false;
        variables.retain_mut(|(name, variable)| {
            let members = match variable {
                Value::Object(members) if !members.is_empty() => members,
                _ => return true,
            };
            match members.iter().position(|(member, _)| member == "value") {
                Some(at) => {
                    let Some((_, value)) = members.get(at) else { return true };
                    let refused = self.fill(name.clone(), value);
                    if !refused && self.says(name, value) {
                        members.remove(at);
                    }
                    placeholder |= refused;
                }
                None if agents => placeholder |= self.collected(members, false),
                None => {}
            }
            !members.is_empty()
        });
        placeholder
    }

    /// Keeps a value unless one is known already; tells whether it was a placeholder.
    fn fill(&mut self, name: Cow<'a, str>, value: &Value<'a>) -> bool {
        let placeholder = matches!(value, Value::String(text) if is_placeholder(text));
        let says_nothing = placeholder || is_blank(value);
        let next = self.found.len();
        let place = *self.places.entry(name.clone()).or_insert(next);
        match self.found.get_mut(place) {
            None if says_nothing => self.found.push((name, Value::Null)),
            None => self.found.push((name, value.clone())),
            Some((_, known)) if *known == Value::Null && !says_nothing => *known = value.clone(),
            Some(_) => {}
        }
        placeholder
    }

    /// Whether what is known under a name says this value.
    fn says(&self, name: &str, value: &Value<'a>) -> bool {
        let known = self.places.get(name).and_then(|place| self.found.get(*place));
        known.is_some_and(|(_, known)| known == value || *known == Value::Null && is_blank(value))
    }
}
