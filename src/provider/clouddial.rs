//! CloudDial (Cloud Dial @ ECN), call result webhook and the newer integrations.
//!
//! Facts: the provider's knowledge base, `https://kb.clouddial.com.au`, in its public repository
//! `github.com/ECNTechnology/clouddial-kb`: `webhooks.md` (the shape, JSON under a form's content
//! type, scheme-less base64), `guides/cloud-dial/settings-preferences.md` (the integrations: GET
//! or POST, keys of the customer's choice for ten named values) and
//! `guides/cloud-dial/reports.md` (results and their notes). There is no call id. `CallStart` and
//! `CallEnd` are in the page's sample only, `Result` in its list only, so that every field is
//! optional. `ResultNotes` is "the agents notes" on one page and the cause of the result on
//! another: it refines a status only where it is word for word one of the causes. Times have no
//! zone, and `LogDateTime` may have another than the two of the call. Mapping: `providers.md`
//! C.2, C.6.

use std::borrow::Cow;

use jiff::Timestamp;

use super::{
    Rules,
    fields::{Fields, Path},
    finish::Mapped,
    status::{self, Meaning},
};
use crate::event::{Agent, Call, Campaign, Contact, Data, Direction, Reason, Status, Warning};

/// What is known of CloudDial beside its field map.
pub(super) const RULES: Rules = Rules {
    word: "clouddial",
    documented: &[
        "CampaignName",
        "LogDateTime",
        "CallStart",
        "CallEnd",
        "PhoneCalled",
        "Reference",
        "Result",
        "ResultNotes",
        "WrapUpByName",
        "WrapUpReasonName",
        "CustomerName",
        "Campaign Name",
        "Customer Reference",
        "Customer Name",
        "Date/Time",
        "Dial Result",
        "Dial Result Notes",
        "Phone Called",
        "Agent Name",
        "Wrap Up By",
        "Wrap Up Reason",
    ],
    fields: &[
        "CampaignName",
        "Campaign Name",
        "LogDateTime",
        "Date/Time",
        "CallStart",
        "CallEnd",
        "PhoneCalled",
        "Phone Called",
        "Reference",
        "Customer Reference",
        "Result",
        "Dial Result",
        "ResultNotes",
        "Dial Result Notes",
        "WrapUpByName",
        "Wrap Up By",
        "WrapUpReasonName",
        "Wrap Up Reason",
        "CustomerName",
        "Customer Name",
    ],
    times: &["LogDateTime", "Date/Time", "CallStart", "CallEnd"],
    wrapper: None,
    changing: &[],
    zone: "Australia/Brisbane",
    country: Some("AU"),
    bare_international: false,
    max_body: None,
    auth_header: None,
    credentials: &[],
    map,
};

/// A field by its names: the webhook's, and the integrations'. The first that is usable is read.
type Names = [Path<'static>; 2];

const CAMPAIGN: Names = [&["CampaignName"], &["Campaign Name"]];
const LOGGED: Names = [&["LogDateTime"], &["Date/Time"]];
const PHONE: Names = [&["PhoneCalled"], &["Phone Called"]];
const REFERENCE: Names = [&["Reference"], &["Customer Reference"]];
const RESULT: Names = [&["Result"], &["Dial Result"]];
const NOTES: Names = [&["ResultNotes"], &["Dial Result Notes"]];
const WRAPPED_BY: Names = [&["WrapUpByName"], &["Wrap Up By"]];
const WRAP_UP: Names = [&["WrapUpReasonName"], &["Wrap Up Reason"]];
/// The webhook has none; the first is the integrations' in the webhook's spelling.
const CUSTOMER: Names = [&["CustomerName"], &["Customer Name"]];

/// What became of the call, and whether the notes told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Outcome {
    status: Status,
    reason: Option<Reason>,
    refined: bool,
}

/// The field map of `providers.md` C.2, in the order of the event.
fn map<'a>(fields: &mut Fields<'a, '_>) -> Mapped<'a> {
    let result = either(fields, RESULT, Fields::text);
    let notes = either(fields, NOTES, Fields::text);
    let wrapped_by = either(fields, WRAPPED_BY, Fields::text);
    let disposition = either(fields, WRAP_UP, Fields::text);
    let outcome = match &result {
        Some(word) => outcome(fields, word, notes.as_deref(), wrapped_by.is_some()),
        None => derived(fields, wrapped_by.is_some() || disposition.is_some()),
    };
    let started_at = fields.instant(&["CallStart"]);
    let ended_at = fields.instant(&["CallEnd"]);
    let call = Call {
        reference: either(fields, REFERENCE, Fields::id),
        direction: Direction::Outbound,
        to: either(fields, PHONE, |fields, path| fields.number(path, None)),
        status: outcome.status,
        status_raw: result,
        reason: outcome.reason,
        reason_raw: notes.clone().filter(|_| outcome.refined),
        started_at,
        ended_at,
        duration_seconds: seconds(started_at, ended_at),
        ..Call::default()
    };
    let data = Data {
        call,
        agent: wrapped_by.map(agent),
        contact: either(fields, CUSTOMER, Fields::text)
            .map(|name| Contact { name: Some(name), email: None }),
        campaign: either(fields, CAMPAIGN, Fields::text)
            .map(|name| Campaign { id: None, name: Some(name) }),
        disposition,
        notes,
        logged_at: either(fields, LOGGED, Fields::logged),
        ..Data::default()
    };
    Mapped { data, duration_derived: true, ..Mapped::default() }
}

fn either<'a, 's, T>(
    fields: &mut Fields<'a, 's>,
    names: Names,
    read: impl Fn(&mut Fields<'a, 's>, Path<'_>) -> Option<T>,
) -> Option<T> {
    names.into_iter().find_map(|path| read(fields, path))
}

/// What a stated result means.
fn outcome(fields: &mut Fields<'_, '_>, word: &str, notes: Option<&str>, agent: bool) -> Outcome {
    let folded = status::fold(word);
    let own = fields.settings.status.contains_key(folded.as_ref());
    let (status, reason) = status::meaning(fields, word, meaning);
    if own {
        return Outcome { status, reason, refined: false };
    }
    if folded == "remote-party-hang-up" && !agent {
        return Outcome { status: Status::Abandoned, reason, refined: false };
    }
    let refined = notes.and_then(|notes| cause(&folded, &status::fold(notes)));
    match refined {
        Some((status, reason)) => Outcome { status, reason, refined: true },
        None => Outcome { status, reason, refined: false },
    }
}

/// What a call without a result means: one that was wrapped up was one.
fn derived(fields: &mut Fields<'_, '_>, wrapped_up: bool) -> Outcome {
    let (status, warning) = if wrapped_up {
        (Status::Completed, Warning::StatusDerived)
    } else {
        (Status::Unknown, Warning::StatusMissing)
    };
    fields.warn(warning);
    Outcome { status, reason: None, refined: false }
}

/// The results of C.6, and the notes that stand for one.
fn meaning(word: &str) -> Option<Meaning> {
    let failed = |reason| (Status::Failed, Some(reason));
    Some(match word {
        "connected" | "call-connected" => (Status::Completed, None),
        "amd" => (Status::Voicemail, Some(Reason::VoicemailDetected)),
        "busy" => (Status::Busy, None),
        "no-agent" | "no-agent-message-left" => (Status::Abandoned, Some(Reason::NoAgent)),
        "no-answer" | "timeout-waiting-for-remote-party" => (Status::NoAnswer, None),
        "rejected" | "call-rejected-(603)" => (Status::Rejected, None),
        // Without an agent it is another status: that is not the word's to say.
        "remote-party-hang-up" => (Status::Completed, Some(Reason::CalleeHangup)),
        "restricted" | "disconnected,-restricted-or-rejected-(487)" => {
            (Status::Rejected, Some(Reason::Restricted))
        }
        "temporary-failure" | "normal-temporary-failure" | "temporarily-unavailable" => {
            failed(Reason::Unavailable)
        }
        "disconnected" | "permanent-failure" | "unspecified" | "other-failure---unspecified" => {
            failed(Reason::Unknown)
        }
        "not-confirmed" | "call-confirmation-not-received" => {
            (Status::Abandoned, Some(Reason::NotConfirmed))
        }
        _ => return REFINED.iter().find_map(|result| cause(result, word)),
    })
}

/// The results that their notes refine.
const REFINED: [&str; 3] = ["disconnected", "permanent-failure", "temporarily-unavailable"];

/// What a whole text of the notes, folded, says under a result. The page writes most of them by
/// themselves, and a code (`Disconnected (404)`) behind the result only; the result may stand
/// before any.
fn cause(result: &str, notes: &str) -> Option<Meaning> {
    let behind = notes
        .strip_prefix(result)
        .and_then(|rest| [":-", "---", "-"].into_iter().find_map(|joint| rest.strip_prefix(joint)));
    let text = behind.or_else(|| (!notes.starts_with('(')).then_some(notes))?;
    let failed = |reason| (Status::Failed, Some(reason));
    Some(match (result, text) {
        ("disconnected", "(404)") | ("permanent-failure", "unallocated-number") => {
            failed(Reason::UnallocatedNumber)
        }
        ("disconnected", "(487)") => (Status::Rejected, Some(Reason::Restricted)),
        (
            "permanent-failure",
            "destination-out-of-order" | "network-out-of-order" | "incompatible-destination",
        ) => failed(Reason::NetworkError),
        ("permanent-failure", "invalid-number-format") => failed(Reason::InvalidNumber),
        ("temporarily-unavailable", "(403)" | "rejected-or-forbidden-(403)") => {
            (Status::Rejected, None)
        }
        (
            "temporarily-unavailable",
            "(480)"
            | "(408)"
            | "party-currently-unavailable.-(480)"
            | "restricted-or-rejected-(408)",
        ) => failed(Reason::Unavailable),
        _ => return None,
    })
}

fn agent(by: Cow<'_, str>) -> Agent<'_> {
    if by.contains('@') {
        Agent { email: Some(by), ..Agent::default() }
    } else {
        Agent { name: Some(by), ..Agent::default() }
    }
}

/// Whole seconds between two times in order.
fn seconds(start: Option<Timestamp>, end: Option<Timestamp>) -> Option<u64> {
    let millis = end?.as_millisecond().checked_sub(start?.as_millisecond())?;
    u64::try_from(millis).ok().map(|millis| millis / 1000)
}
