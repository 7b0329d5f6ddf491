//! Nothing is lost: whatever the body is, each leaf of it is mapped or in `extra`.
//!
//! The oracle knows the bodies of the fixtures, flattened by itself, and a field map as the
//! contract has it (`providers.md` C.2); it shares no code with the mappers. A leaf of the field
//! map that is plainly usable must be mapped; any leaf must be rebuilt or be in `extra`; and
//! `extra` holds nothing that was not sent. A new provider adds its rows to [`rows`].

use std::{collections::BTreeMap, sync::LazyLock};

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;

use super::*;

/// One line of a field map.
struct Row {
    /// Where the value stands in the body; `[]` is any entry of a list, `*` any member.
    from: &'static str,
    /// Where it stands in the event, below `/data`; `#` is the number of the entry, `*` the last
    /// of the members.
    to: &'static str,
    kind: Kind,
    /// A list of the body whose entries come first in the event's list.
    after: Option<&'static str>,
    /// The bodies in which another value stands in its place in the event.
    unless: fn(&Value) -> bool,
}

/// How a value is written in the event.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// As sent.
    Text,
    /// White space at the ends apart.
    Trimmed,
    /// In lower case; kept in `extra` when that changed it.
    Lower,
    /// As text, when there is a number it belongs to.
    Ext,
    /// As an instant.
    Instant,
    /// As a whole number.
    Count,
    /// As sent, when http or https.
    Url,
    /// As sent, when one of these.
    Word(&'static [&'static str]),
    /// As sent, when it is an address.
    Address,
    /// As sent, when it is no address.
    Name,
    /// Verbatim, unless something else is known under its name.
    Value,
    /// Everything below, verbatim.
    Tree,
    /// A list, whose entries have rows of their own.
    List,
    /// A map, whose members have a row of their own.
    Map,
}

#[rustfmt::skip]
const SYNTHFLOW: &[Row] = &[
    row("call.call_id",                "/call/id",               Kind::Text),
    row("call.external_id",            "/call/reference",        Kind::Text),
    row("lead.phone_number",           "/call/to/raw",           Kind::Text),
    row("call.status",                 "/call/status_raw",       Kind::Text).unless(|body| !is_plain(Kind::Text, &body["call"]["status"])),
    row("status",                      "/call/status_raw",       Kind::Text).unless(|body| is_plain(Kind::Text, &body["call"]["status"])),
    row("call.end_call_reason",        "/call/reason_raw",       Kind::Text).unless(|body| is_custom(body) || is_swapped(body)),
    row("call.custom_end_call_reason", "/call/reason_raw",       Kind::Text).unless(|body| !is_custom(body) || !is_plain(Kind::Text, &body["call"]["custom_end_call_reason"])),
    row("custom_end_call_reason",      "/call/reason_raw",       Kind::Text).unless(|body| !is_custom(body) || is_plain(Kind::Text, &body["call"]["custom_end_call_reason"]) || !is_plain(Kind::Text, &body["custom_end_call_reason"])),
    row("error_message",               "/call/reason_raw",       Kind::Text).unless(|body| !is_swapped(body)),
    row("call.start_time",             "/call/started_at",       Kind::Instant),
    row("call.duration",               "/call/duration_seconds", Kind::Count),
    row("call.recording_url",          "/call/recording_url",    Kind::Url),
    row("call.transcript",             "/call/transcript",       Kind::Trimmed),
    row("call.model_id",               "/agent/id",              Kind::Text),
    row("lead.name",                   "/contact/name",          Kind::Text),
    row("collected_variables.*.value",   "/extracted/*",         Kind::Value),
    row("collected_variables.*.*.value", "/extracted/*",         Kind::Value),
    row("analysis",                    "/analysis",              Kind::Tree),
];

fn is_custom(body: &Value) -> bool {
    body["call"]["end_call_reason"] == "custom_end_call"
}

fn is_swapped(body: &Value) -> bool {
    body["call"]["end_call_reason"] == "completed" && body["error_message"] == "agent_goodbye"
}

#[rustfmt::skip]
const CLOUDDIAL: &[Row] = &[
    row("Reference",          "/call/reference",  Kind::Text),
    row("Customer Reference", "/call/reference",  Kind::Text),
    row("PhoneCalled",        "/call/to/raw",     Kind::Text),
    row("Phone Called",       "/call/to/raw",     Kind::Text),
    row("Result",             "/call/status_raw", Kind::Text),
    row("Dial Result",        "/call/status_raw", Kind::Text),
    row("CallStart",          "/call/started_at", Kind::Instant),
    row("CallEnd",            "/call/ended_at",   Kind::Instant),
    row("WrapUpByName",       "/agent/email",     Kind::Address),
    row("WrapUpByName",       "/agent/name",      Kind::Name),
    row("Wrap Up By",         "/agent/email",     Kind::Address),
    row("Wrap Up By",         "/agent/name",      Kind::Name),
    row("CustomerName",       "/contact/name",    Kind::Text),
    row("Customer Name",      "/contact/name",    Kind::Text),
    row("CampaignName",       "/campaign/name",   Kind::Text),
    row("Campaign Name",      "/campaign/name",   Kind::Text),
    row("WrapUpReasonName",   "/disposition",     Kind::Text),
    row("Wrap Up Reason",     "/disposition",     Kind::Text),
    row("ResultNotes",        "/notes",           Kind::Text),
    row("Dial Result Notes",  "/notes",           Kind::Text),
];

#[rustfmt::skip]
const ELEVEN_X: &[Row] = &[
    row("callId",                      "/call/id",               Kind::Text),
    row("direction",                   "/call/direction",        Kind::Word(&["inbound", "outbound"])),
    row("fromPhoneNumber",             "/call/from/raw",         Kind::Text),
    row("phoneNumber",                 "/call/to/raw",           Kind::Text),
    row("phoneNumberExt",              "/call/to/ext",           Kind::Ext),
    row("callResult.resultType",       "/call/status_raw",       Kind::Text),
    row("callResult.resultType",       "/disposition",           Kind::Text),
    row("scheduledAt",                 "/call/scheduled_at",     Kind::Instant),
    row("duration",                    "/call/duration_seconds", Kind::Count),
    row("callUrl",                     "/call/url",              Kind::Url),
    row("callResult.summary",          "/call/summary",          Kind::Text),
    row("callResult.transcription",    "/call/transcript",       Kind::Trimmed),
    row("agentId",                     "/agent/id",              Kind::Text),
    row("agentName",                   "/agent/name",            Kind::Text),
    row("name",                        "/contact/name",          Kind::Text),
    row("sequence.sequenceId",         "/sequence/id",           Kind::Text),
    row("sequence.lifecycleStatus",    "/sequence/state",        Kind::Text),
    row("callResult.followUpMeetingDetails.startTime", "/meeting/start", Kind::Instant),
    row("callResult.followUpMeetingDetails.endTime",   "/meeting/end",   Kind::Instant),
    row("callResult.followUpMeetingDetails.hostEmail", "/meeting/host",  Kind::Text),
    row("callResult.outcomes",             "/outcomes",                Kind::List),
    row("callResult.outcomes[].name",      "/outcomes/#/name",         Kind::Text),
    row("callResult.outcomes[].reasoning", "/outcomes/#/reason",       Kind::Text),
    row("callResult.agentActions",               "/actions",                Kind::List),
    row("callResult.agentActions[].actionKey",   "/actions/#/key",          Kind::Text),
    row("callResult.agentActions[].status",      "/actions/#/status",       Kind::Lower),
    row("callResult.agentActions[].completedAt", "/actions/#/completed_at", Kind::Instant),
    row("callResult.agentActions[].description", "/actions/#/description",  Kind::Text),
    row("callResult.humanActions",               "/actions",                Kind::List),
    row("callResult.humanActions[].actionKey",   "/actions/#/key",          Kind::Text).after("/callResult/agentActions"),
    row("callResult.humanActions[].status",      "/actions/#/status",       Kind::Lower).after("/callResult/agentActions"),
    row("callResult.humanActions[].completedAt", "/actions/#/completed_at", Kind::Instant).after("/callResult/agentActions"),
    row("callResult.humanActions[].description", "/actions/#/description",  Kind::Text).after("/callResult/agentActions"),
    row("callResult.extractedVariables",   "/extracted",         Kind::Map),
    row("callResult.extractedVariables.*", "/extracted/*",       Kind::Value),
];

#[rustfmt::skip]
const PLUM: &[Row] = &[
    row("phone_number",          "/call/to/raw",             Kind::Text),
    row("status",                "/call/status_raw",         Kind::Text),
    row("queued_timestamp",      "/call/queued_at",          Kind::Instant),
    row("start_timestamp",       "/call/scheduled_at",       Kind::Instant),
    row("start_Timestamp",       "/call/scheduled_at",       Kind::Instant).unless(|body| !is_blank(&body["start_timestamp"])),
    row("duration",              "/call/duration_seconds",   Kind::Count),
    row("attempts",              "/call/attempts",           Kind::Count),
    row("max_attempts",          "/call/max_attempts",       Kind::Count),
    row("reattempt_wait",        "/call/retry_wait_seconds", Kind::Count),
    row("events",                "/call/timeline",             Kind::List),
    row("events[].event",        "/call/timeline/#/event_raw", Kind::Text),
    row("events[].timestamp",    "/call/timeline/#/at",        Kind::Instant),
    row("events.0.event",        "/call/timeline/0/event_raw", Kind::Text),
    row("events.0.timestamp",    "/call/timeline/0/at",        Kind::Instant),
    row("events.2.event",        "/call/timeline/1/event_raw", Kind::Text),
    row("events.2.timestamp",    "/call/timeline/1/at",        Kind::Instant),
    row("events.10.event",       "/call/timeline/2/event_raw", Kind::Text),
    row("events.10.timestamp",   "/call/timeline/2/at",        Kind::Instant),
    row("events.event",          "/call/timeline/0/event_raw", Kind::Text),
    row("events.timestamp",      "/call/timeline/0/at",        Kind::Instant),
    row("events.item",             "/call/timeline",             Kind::List),
    row("events.item[].event",     "/call/timeline/#/event_raw", Kind::Text),
    row("events.item[].timestamp", "/call/timeline/#/at",        Kind::Instant),
    row("call_details.status",             "/call/status_raw",         Kind::Text),
    row("call_details.queued_timestamp",   "/call/queued_at",          Kind::Instant),
    row("call_details.start_timestamp",    "/call/scheduled_at",       Kind::Instant),
    row("call_details.attempts",           "/call/attempts",           Kind::Count),
    row("call_details.max_attempts",       "/call/max_attempts",       Kind::Count),
    row("call_details.reattempt_wait",     "/call/retry_wait_seconds", Kind::Count),
    row("call_details.events",             "/call/timeline",             Kind::List),
    row("call_details.events[].event",     "/call/timeline/#/event_raw", Kind::Text),
    row("call_details.events[].timestamp", "/call/timeline/#/at",        Kind::Instant),
];

#[rustfmt::skip]
const MOBTEXTING: &[Row] = &[
    row("mid",           "/call/reference",        Kind::Text),
    row("from",          "/call/from/raw",         Kind::Text),
    row("to",            "/call/to/raw",           Kind::Text),
    row("bridge",        "/call/via/raw",          Kind::Text),
    row("status",        "/call/status_raw",       Kind::Text),
    row("hangup_by",     "/call/reason_raw",       Kind::Text),
    row("start_at",      "/call/started_at",       Kind::Instant),
    row("end_at",        "/call/ended_at",         Kind::Instant),
    row("duration",      "/call/duration_seconds", Kind::Count),
    row("billing",       "/call/billable_seconds", Kind::Count),
    row("recording_url", "/call/recording_url",    Kind::Url),
    row("status1",       "/call/legs/0/status_raw", Kind::Text),
    row("status2",       "/call/legs/1/status_raw", Kind::Text),
    row("flow_id",       "/campaign/id",           Kind::Text),
];

fn rows(provider: Provider) -> &'static [Row] {
    match provider {
        Provider::Plum => PLUM,
        Provider::Synthflow => SYNTHFLOW,
        Provider::Mobtexting => MOBTEXTING,
        Provider::ElevenX => ELEVEN_X,
        Provider::CloudDial => CLOUDDIAL,
        // Its field map is whatever relay.toml says: its own tests hold it.
        Provider::Custom => &[],
    }
}

/// The paths of the fields that a provider's map reads, those in lists apart.
pub(super) fn fields(provider: Provider) -> Vec<Vec<&'static str>> {
    let paths = rows(provider).iter().map(|row| row.from);
    paths.filter(|path| !path.contains(['[', '*'])).map(|path| path.split('.').collect()).collect()
}

const fn row(from: &'static str, to: &'static str, kind: Kind) -> Row {
    Row { from, to, kind, after: None, unless: |_| false }
}

// === impl Row ===

impl Row {
    const fn after(self, list: &'static str) -> Self {
        Self { after: Some(list), ..self }
    }

    const fn unless(self, unless: fn(&Value) -> bool) -> Self {
        Self { unless, ..self }
    }

    /// Where the value at `path` of the body is in the event and what of the path lies below it,
    /// when this row names it or a branch above it, of any member.
    fn below<'p>(&self, path: &'p [Step]) -> Option<(String, &'p [Step])> {
        let names: Vec<&str> = self.from.split('.').collect();
        let (above, below) = path.split_at_checked(names.len())?;
        let mut last = "";
        for (name, step) in names.iter().zip(above) {
            match step {
                Step::Member(member) if *name == "*" => last = member,
                Step::Member(member) if member == name => {}
                _ => return None,
            }
        }
        let last = last.replace('~', "~0").replace('/', "~1");
        Some((format!("/data{}", self.to.replace('*', &last)), below))
    }

    /// The place in the event of the value at `path` of the body.
    fn target(&self, body: &Value, path: &[Step]) -> String {
        let entries = |list: Option<&Value>, before: usize| {
            let list = list.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            let mapped = |it: &&Value| it.as_object().is_some_and(|members| !members.is_empty());
            list.iter().take(before).filter(mapped).count()
        };
        let mut number = 0;
        if let Some(at) = path.iter().position(|step| matches!(step, Step::Entry(_))) {
            let Step::Entry(index) = path[at] else { unreachable!("just found") };
            number = entries(at_path(body, &path[..at]), index);
        }
        if let Some(list) = self.after {
            number += entries(body.pointer(list), usize::MAX);
        }
        format!("/data{}", self.to.replace('#', &number.to_string()))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Member(String),
    Entry(usize),
}

type Leaves = BTreeMap<Vec<Step>, Value>;

fn flatten(value: &Value, path: &mut Vec<Step>, leaves: &mut Leaves) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, value) in members {
                path.push(Step::Member(name.clone()));
                flatten(value, path, leaves);
                path.pop();
            }
        }
        Value::Array(entries) if !entries.is_empty() => {
            for (index, value) in entries.iter().enumerate() {
                path.push(Step::Entry(index));
                flatten(value, path, leaves);
                path.pop();
            }
        }
        leaf => drop(leaves.insert(path.clone(), leaf.clone())),
    }
}

fn leaves(value: &Value) -> Leaves {
    let mut leaves = Leaves::new();
    flatten(value, &mut Vec::new(), &mut leaves);
    leaves
}

fn at_path<'v>(value: &'v Value, path: &[Step]) -> Option<&'v Value> {
    path.iter().try_fold(value, |value, step| match step {
        Step::Member(name) => value.as_object()?.get(name),
        Step::Entry(index) => value.as_array()?.get(*index),
    })
}

/// A path as field maps write it.
fn pattern(path: &[Step]) -> String {
    path.iter().fold(String::new(), |pattern, step| match step {
        Step::Member(name) if pattern.is_empty() => name.clone(),
        Step::Member(name) => format!("{pattern}.{name}"),
        Step::Entry(_) => format!("{pattern}[]"),
    })
}

fn is_blank(value: &Value) -> bool {
    value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty())
}

/// The text a string or number says.
fn said(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Whether a value is beyond doubt one of its field.
fn is_plain(kind: Kind, value: &Value) -> bool {
    let words = |text: &str| !text.contains(['<', '[']) && !text.trim().is_empty();
    match kind {
        Kind::Text | Kind::Trimmed | Kind::Lower => said(value).is_some_and(|text| words(&text)),
        Kind::Instant => said(value).is_some_and(|text| {
            let dated = text.starts_with("20") && text.contains('-');
            let naive = text.len() == 19 && text.as_bytes()[10] == b' ';
            let unix = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit());
            dated && (text.ends_with('Z') || naive) || unix
        }),
        Kind::Count => said(value).is_some_and(|text| {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            digits && text.parse::<u64>().is_ok_and(|count| count < 1 << 40)
        }),
        Kind::Url => value.as_str().is_some_and(|text| text.starts_with("https://app.")),
        Kind::Word(allowed) => value.as_str().is_some_and(|word| allowed.contains(&word)),
        Kind::Address | Kind::Name => {
            let address = kind == Kind::Address;
            said(value).is_some_and(|text| words(&text) && text.contains('@') == address)
        }
        Kind::Ext | Kind::Value | Kind::Tree | Kind::List | Kind::Map => false,
    }
}

/// Whether the value sent can be rebuilt from the value in the event.
fn is_rebuilt(kind: Kind, sent: &Value, mapped: &Value) -> bool {
    let instant = |text: &str| text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond);
    match kind {
        Kind::Value => return sent == mapped || is_blank(sent) && mapped.is_null(),
        Kind::Tree => return sent == mapped || is_blank(sent) && *mapped == json!({}),
        Kind::List => return is_blank(sent) || *sent == json!([]),
        Kind::Map => return is_blank(sent) || *sent == json!({}),
        Kind::Word(_) if is_blank(sent) => return *mapped == json!("unknown"),
        // The number may bring an extension of its own.
        Kind::Ext if is_blank(sent) => return true,
        _ if is_blank(sent) => return mapped.is_null(),
        _ => {}
    }
    let Some(sent) = said(sent) else { return false };
    match kind {
        Kind::Text | Kind::Address | Kind::Name | Kind::Ext | Kind::Word(_) => {
            mapped.as_str() == Some(&sent)
        }
        Kind::Trimmed | Kind::Url => mapped.as_str() == Some(sent.trim()),
        Kind::Lower => mapped.as_str() == Some(&sent) && sent == sent.to_lowercase(),
        Kind::Instant => {
            let Some(mapped) = mapped.as_str().and_then(instant) else { return false };
            let whole = sent.trim().split('.').next().and_then(|whole| whole.parse::<i64>().ok());
            let unix = whole.map(|seconds| seconds * 1000);
            // A naive time is rebuilt up to its zone: whole quarters of an hour.
            let naive = instant(&format!("{}Z", sent.trim())).map(|naive| (mapped - naive).abs());
            Some(mapped) == instant(sent.trim())
                || unix.is_some_and(|unix| (unix..unix + 1000).contains(&mapped))
                || naive.is_some_and(|off| off % 900_000 == 0 && off <= 14 * 3_600_000)
        }
        Kind::Count => mapped.as_u64().is_some_and(|count| sent.trim() == count.to_string()),
        Kind::Value | Kind::Tree | Kind::List | Kind::Map => unreachable!("decided above"),
    }
}

/// What of `body` is lost in `event`, or made up.
pub(super) fn lost(provider: Provider, body: &Value, event: &Value) -> Vec<String> {
    let extra = &event["data"]["extra"];
    let sent = leaves(body);
    let mut wrong = Vec::new();
    for (path, leaf) in &sent {
        let pattern = pattern(path);
        let kept = at_path(extra, path) == Some(leaf);
        let mut mapped = false;
        for row in rows(provider).iter().filter(|row| row.from == pattern) {
            let target = row.target(body, path);
            let found = event.pointer(&target).unwrap_or(&Value::Null);
            let beside = is_blank(leaf) && (row.unless)(body);
            let rebuilt = beside || is_rebuilt(row.kind, leaf, found);
            mapped |= rebuilt;
            let lowered = row.kind == Kind::Lower
                && said(leaf).map(|text| text.to_lowercase()).as_deref() == found.as_str();
            if is_plain(row.kind, leaf) && !rebuilt && !lowered && !(row.unless)(body) {
                wrong.push(format!("{pattern} = {leaf} is not in {target}: {found}"));
            }
        }
        for row in rows(provider).iter().filter(|row| row.kind == Kind::Tree) {
            let inner = at_path_of_pattern(path, row.from);
            let Some(inner) = inner else { continue };
            let tree = event.pointer(&format!("/data{}", row.to));
            mapped |= tree.and_then(|tree| at_path(tree, inner)) == Some(leaf);
            // Below a tree there is an object, and an object is what the field takes.
            if !mapped && !is_below_list(path, row.from) {
                wrong.push(format!("{pattern} = {leaf} is not in {}", row.to));
            }
        }
        for row in rows(provider).iter().filter(|row| row.kind == Kind::Value) {
            let Some((target, below)) = row.below(path) else { continue };
            let found = event.pointer(&target).unwrap_or(&Value::Null);
            mapped |= match below {
                [] => is_rebuilt(row.kind, leaf, found),
                below => at_path(found, below) == Some(leaf),
            };
            // Something else may be known under the name, but something is.
            if below.is_empty() && is_plain(Kind::Text, leaf) && found.is_null() {
                wrong.push(format!("{pattern} = {leaf} is not in {target}"));
            }
        }
        if !kept && !mapped {
            wrong.push(format!("{pattern} = {leaf} is lost"));
        }
    }
    for (path, leaf) in leaves(extra) {
        let nothing = path.is_empty() && leaf == json!({});
        if !nothing && sent.get(&path) != Some(&leaf) {
            wrong.push(format!("{} = {leaf} is in extra and was not sent", pattern(&path)));
        }
    }
    wrong
}

/// Whether the tree of a row is a list here, which is no map of names.
fn is_below_list(path: &[Step], from: &str) -> bool {
    matches!(path.get(from.split('.').count()), Some(Step::Entry(_)))
}

/// What of `path` lies below the members that `pattern` names.
fn at_path_of_pattern<'p>(path: &'p [Step], pattern: &str) -> Option<&'p [Step]> {
    let names = pattern.split('.').count();
    let (above, below) = path.split_at_checked(names)?;
    (self::pattern(above) == pattern && !below.is_empty()).then_some(below)
}

/// Values of each JSON type, and those that fields have opinions on.
fn samples() -> Vec<Value> {
    vec![
        json!(null),
        json!(true),
        json!(7),
        json!(-7),
        json!(46.9),
        json!(1_761_559_301.67),
        json!("text"),
        json!("7"),
        json!(" "),
        json!(""),
        json!("0"),
        json!(" Padded "),
        json!("<string>"),
        json!("[UUID]"),
        json!("0000-00-00 00:00:00"),
        json!("2025-01-20T14:00:00.5Z"),
        json!("00:00:46"),
        json!("ftp://example.com/a"),
        json!("https://app.example.com/b"),
        json!("inbound"),
        json!([]),
        json!({}),
        json!([1, {"a": null}, []]),
        json!([{}, {"name": "x", "status": "DONE"}]),
        json!({"a": {"b": [false]}, "name": "y"}),
    ]
}

/// One change to a body; the numbers choose among what there is to change.
#[derive(Clone, Copy, Debug)]
enum Change {
    /// A leaf becomes a sample.
    Leaf(usize, usize),
    /// An object gets a member nobody knows.
    Member(usize, usize),
    /// A list gets a sample, or another of its entries with a member more.
    Entry(usize, usize),
}

fn branches(value: &Value, want_object: bool) -> Vec<Vec<Step>> {
    fn walk(value: &Value, want_object: bool, path: &mut Vec<Step>, found: &mut Vec<Vec<Step>>) {
        match value {
            Value::Object(members) => {
                if want_object {
                    found.push(path.clone());
                }
                for (name, value) in members {
                    path.push(Step::Member(name.clone()));
                    walk(value, want_object, path, found);
                    path.pop();
                }
            }
            Value::Array(entries) => {
                if !want_object {
                    found.push(path.clone());
                }
                for (index, value) in entries.iter().enumerate() {
                    path.push(Step::Entry(index));
                    walk(value, want_object, path, found);
                    path.pop();
                }
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(value, want_object, &mut Vec::new(), &mut found);
    found
}

fn slot<'v>(value: &'v mut Value, path: &[Step]) -> &'v mut Value {
    path.iter().fold(value, |value, step| match step {
        Step::Member(name) => &mut value[name.as_str()],
        Step::Entry(index) => &mut value[*index],
    })
}

// === impl Change ===

impl Change {
    /// Every single change there is to a body.
    fn all(body: &Value) -> Vec<Self> {
        let samples = samples().len();
        let each = |places: usize, change: fn(usize, usize) -> Self| {
            (0..places).flat_map(move |at| (0..=samples).map(move |sample| change(at, sample)))
        };
        let mut all: Vec<_> = each(leaves(body).len(), Self::Leaf).collect();
        all.extend(each(branches(body, true).len(), Self::Member));
        all.extend(each(branches(body, false).len(), Self::Entry));
        all
    }

    fn apply(self, body: &mut Value) {
        let sample = |at: usize| {
            let mut samples = samples();
            samples.swap_remove(at % samples.len())
        };
        match self {
            Self::Leaf(at, with) => {
                let leaves: Vec<_> = leaves(body).into_keys().collect();
                let path = &leaves[at % leaves.len()];
                if !path.is_empty() {
                    *slot(body, path) = sample(with);
                }
            }
            Self::Member(at, with) => {
                let objects = branches(body, true);
                let object = slot(body, &objects[at % objects.len()]);
                object["unheard-of"] = sample(with);
            }
            Self::Entry(at, with) => {
                let lists = branches(body, false);
                let Some(path) = lists.get(at % lists.len().max(1)) else { return };
                let Value::Array(entries) = slot(body, path) else { return };
                let mut entry = sample(with);
                if with == samples().len() {
                    entry = entries.first().cloned().unwrap_or_default();
                    if let Value::Object(members) = &mut entry {
                        members.insert("unheard-of".to_owned(), json!(1));
                    }
                }
                entries.push(entry);
            }
        }
    }
}

/// The fixtures whose body is JSON.
pub(super) fn bodies() -> &'static [(Provider, Value)] {
    static BODIES: LazyLock<Vec<(Provider, Value)>> = LazyLock::new(|| {
        Case::all()
            .into_iter()
            .filter_map(|case| Some((case.provider, serde_json::from_slice(&case.body).ok()?)))
            .collect()
    });
    &BODIES
}

fn schema() -> &'static jsonschema::Validator {
    static SCHEMA: LazyLock<jsonschema::Validator> = LazyLock::new(validator);
    &SCHEMA
}

fn check(provider: Provider, body: &Value) {
    let text = body.to_string();
    let settings = Settings::of(provider);
    if read(&settings, post("", &text)).is_err() {
        // The only way a change of these makes a body unreadable.
        let known = |name: &String| rows(provider).iter().any(|row| row.from.starts_with(name));
        assert!(!body.as_object().is_some_and(|members| members.keys().any(known)), "{text}");
        return;
    }
    let event = event_of(&settings, post("", &text));
    let wrong = lost(provider, body, &event);
    assert!(wrong.is_empty(), "{wrong:#?}\n{body:#}\n{event:#}");
    let errors: Vec<_> = schema().iter_errors(&event).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:#?}\n{body:#}");
}

#[test]
fn no_single_change_of_a_fixture_loses_anything() {
    let mut tried = 0;
    for (provider, body) in bodies() {
        check(*provider, body);
        let changes = Change::all(body);
        // Of a large body every place is changed still, but not to each of the samples: an odd
        // stride meets other samples at the next place.
        let stride = 1 + 2 * (changes.len() / 2000);
        for change in changes.into_iter().step_by(stride) {
            let mut body = body.clone();
            change.apply(&mut body);
            check(*provider, &body);
            tried += 1;
        }
    }
    assert!(tried > 3000, "{tried}");
}

/// A value at a path of names, taken out with the branches that this empties.
fn taken(body: &mut Value, path: &[&str]) -> Option<Value> {
    let (first, rest) = path.split_first()?;
    let members = body.as_object_mut()?;
    if rest.is_empty() {
        return members.remove(*first);
    }
    let found = taken(members.get_mut(*first)?, rest);
    if members.get(*first).is_some_and(|inner| *inner == json!({})) {
        members.remove(*first);
    }
    found
}

#[test]
fn a_field_renamed_to_any_place_says_the_same_and_nothing_of_it_is_lost() {
    let mut moved = 0;
    for (provider, body) in bodies() {
        let plain = event_of(&Settings::of(*provider), post("", &body.to_string()));
        for name in provider.fields() {
            // What is taken out of a map is missing there.
            let in_map = |map: &&str| name.strip_prefix(*map).is_some_and(|it| it.starts_with('.'));
            if provider.fields().iter().any(in_map) {
                continue;
            }
            let path: Vec<&str> = name.split('.').collect();
            for (key, place) in [
                ("/x/0/y", ["x", "0", "y"]),
                ("u[v][w]", ["u", "v", "w"]),
                ("plain", ["plain", "", ""]),
            ] {
                let mut body = body.clone();
                let Some(value) = taken(&mut body, &path) else { continue };
                match place {
                    [name, "", _] => body[name] = value.clone(),
                    [list, "0", name] => body[list] = json!([{ name: value }, 1]),
                    [outer, inner, name] => body[outer] = json!({ inner: { name: value } }),
                }
                let mut settings = Settings::of(*provider);
                settings.fields.insert((*name).to_owned(), key.to_owned());
                let event = event_of(&settings, post("", &body.to_string()));
                let mut data = event["data"].clone();
                let mut expected = plain["data"].clone();
                let extra = data["extra"].take();
                expected["extra"].take();
                assert_eq!(data, expected, "{name} = {key}: {value}");
                if key == "/x/0/y" {
                    assert_eq!(extra["x"], body["x"], "{name}");
                }
                moved += 1;
            }
        }
    }
    assert!(moved > 500, "{moved}");
}

#[test]
fn the_oracle_notices_what_is_lost_and_what_is_made_up() {
    for (provider, body) in bodies() {
        let event = event_of(&Settings::of(*provider), post("", &body.to_string()));
        for path in leaves(&event["data"]["extra"]).into_keys().filter(|path| !path.is_empty()) {
            let mut event = event.clone();
            *slot(&mut event["data"]["extra"], &path) = json!("other");
            assert!(!lost(*provider, body, &event).is_empty(), "{}", pattern(&path));
        }
        for row in rows(*provider) {
            let Some((path, leaf)) = leaves(body)
                .into_iter()
                .find(|(path, leaf)| pattern(path) == row.from && is_plain(row.kind, leaf))
                .filter(|_| !(row.unless)(body))
            else {
                continue;
            };
            let mut event = event.clone();
            let target = row.target(body, &path);
            *event.pointer_mut(&target).expect("mapped") = json!(null);
            assert!(!lost(*provider, body, &event).is_empty(), "{} = {leaf}", row.from);
        }
    }
}

#[test]
fn every_row_of_a_field_map_is_shown_by_a_fixture() {
    let bodies = bodies();
    for provider in Provider::ALL {
        for row in rows(*provider) {
            let shown = bodies.iter().filter(|(of, _)| of == provider).any(|(_, body)| {
                leaves(body).into_iter().any(|(path, leaf)| {
                    let at = pattern(&path);
                    row.kind == Kind::Value && row.below(&path).is_some()
                        || at == row.from && (is_plain(row.kind, &leaf) || row.kind == Kind::Ext)
                        || at.starts_with(row.from)
                            && matches!(row.kind, Kind::Tree | Kind::List | Kind::Map)
                })
            });
            assert!(shown, "{}", row.from);
        }
    }
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = (0..3_u8, any::<usize>(), 0..26_usize).prop_map(|(kind, at, with)| match kind {
        0 => Change::Leaf(at, with),
        1 => Change::Member(at, with),
        _ => Change::Entry(at, with),
    });
    prop::collection::vec(change, 2..8)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_changes_together_lose_anything(at in any::<prop::sample::Index>(), changes in changes()) {
        let bodies = bodies();
        let (provider, mut body) = bodies[at.index(bodies.len())].clone();
        for change in changes {
            change.apply(&mut body);
        }
        check(provider, &body);
    }
}
