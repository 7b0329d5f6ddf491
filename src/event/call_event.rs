//! The normalised call event, version 1: the shape every target receives.
//!
//! The contract is `event.md`; the fields stand here in its order, as the keys do in the JSON.

use std::{borrow::Cow, collections::BTreeSet, fmt, sync::Arc};

use jiff::Timestamp;

use crate::event::{
    AnsweredBy, Direction, EventId, Reason, Status, Warning, json::Json as _, value::Object,
};

/// The `dataschema` of version 1.
pub const DATA_SCHEMA: &str = "urn:hookswitch:call-event:1";

/// The name of a source in relay.toml: `[a-z0-9][a-z0-9-]{0,62}`. Cloning is cheap.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceName(Arc<str>);

/// What the relay itself says of an event: who it is, where and when it came in.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// The id it was accepted under.
    pub id: EventId,
    /// The source it came in by.
    pub source: SourceName,
    /// When its callback was read.
    pub received_at: Timestamp,
}

/// A whole event: the envelope and what the provider said.
#[derive(Clone, Debug)]
pub struct CallEvent<'a> {
    /// The relay's own part.
    pub envelope: Envelope,
    /// The provider's part.
    pub data: Data<'a>,
}

/// What the provider said, in our words.
#[derive(Clone, Debug, Default)]
pub struct Data<'a> {
    /// `plum`, `synthflow`, `mobtexting`, `11x`, `clouddial`, or the name of a custom mapping.
    pub provider: Cow<'a, str>,
    /// The call itself.
    pub call: Call<'a>,
    /// Who, on our side, made the call.
    pub agent: Option<Agent<'a>>,
    /// Whom the call was for.
    pub contact: Option<Contact<'a>>,
    /// The campaign or flow the call belongs to.
    pub campaign: Option<Campaign<'a>>,
    /// The sequence the call belongs to.
    pub sequence: Option<Sequence<'a>>,
    /// A meeting that the call arranged.
    pub meeting: Option<Meeting<'a>>,
    /// The wrap-up reason or result type a person or agent gave.
    pub disposition: Option<Cow<'a, str>>,
    /// Its free text.
    pub notes: Option<Cow<'a, str>>,
    /// What came of the call.
    pub outcomes: Vec<Outcome<'a>>,
    /// What was done, or is to be done, because of it.
    pub actions: Vec<Action<'a>>,
    /// What was learnt: name → value.
    pub extracted: Object<'a>,
    /// The provider's own analysis object, verbatim.
    pub analysis: Object<'a>,
    /// Everything else, under its own path.
    pub extra: Object<'a>,
    /// The parameters of the callback's URL, without those that authenticate.
    pub query: Object<'a>,
    /// What a reader should know about how this event was made.
    pub warnings: BTreeSet<Warning>,
    /// The provider's log time: decides `time` where no call time exists; not a key of its own.
    pub logged_at: Option<Timestamp>,
}

/// `data.call`.
#[derive(Clone, Debug, Default)]
pub struct Call<'a> {
    /// The provider's call id verbatim, at most 1 KiB.
    pub id: Option<Cow<'a, str>>,
    /// What the customer correlates by, at most 1 KiB.
    pub reference: Option<Cow<'a, str>>,
    /// Who called whom.
    pub direction: Direction,
    /// The calling number.
    pub from: Option<Number<'a>>,
    /// The called number.
    pub to: Option<Number<'a>>,
    /// The bridge or DID.
    pub via: Option<Number<'a>>,
    /// What became of the call.
    pub status: Status,
    /// The word as sent.
    pub status_raw: Option<Cow<'a, str>>,
    /// Why it ended.
    pub reason: Option<Reason>,
    /// The reason as sent.
    pub reason_raw: Option<Cow<'a, str>>,
    /// Who answered.
    pub answered_by: Option<AnsweredBy>,
    /// When it was queued.
    pub queued_at: Option<Timestamp>,
    /// When it was planned for.
    pub scheduled_at: Option<Timestamp>,
    /// When dialling began.
    pub started_at: Option<Timestamp>,
    /// When it was answered.
    pub answered_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Whole seconds, as stated or derived by the field map.
    pub duration_seconds: Option<u64>,
    /// Whole seconds.
    pub billable_seconds: Option<u64>,
    /// Attempts the provider made.
    pub attempts: Option<u64>,
    /// Attempts the provider would make.
    pub max_attempts: Option<u64>,
    /// Whole seconds between the provider's attempts.
    pub retry_wait_seconds: Option<u64>,
    /// Where the recording is; http or https.
    pub recording_url: Option<Cow<'a, str>>,
    /// Where the provider shows the call; http or https.
    pub url: Option<Cow<'a, str>>,
    /// A summary of the talk.
    pub summary: Option<Cow<'a, str>>,
    /// The talk.
    pub transcript: Option<Cow<'a, str>>,
    /// Its legs (MOBtexting C2C).
    pub legs: Vec<Leg<'a>>,
    /// What happened when, in the provider's order.
    pub timeline: Vec<Moment<'a>>,
}

/// A phone number, or what stood in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Number<'a> {
    /// What the provider sent, digits exact.
    pub raw: Cow<'a, str>,
    /// `+` and digits, where the rules of `providers.md` C.9 give it.
    pub e164: Option<String>,
    /// The extension.
    pub ext: Option<Cow<'a, str>>,
}

/// One leg of a call.
#[derive(Clone, Debug)]
pub struct Leg<'a> {
    /// `from` or `to`.
    pub role: &'static str,
    /// What became of the leg.
    pub status: Status,
    /// The word as sent.
    pub status_raw: Option<Cow<'a, str>>,
    /// Whole seconds.
    pub duration_seconds: Option<u64>,
}

/// One entry of the timeline.
#[derive(Clone, Debug)]
pub struct Moment<'a> {
    /// When.
    pub at: Option<Timestamp>,
    /// What, in our words.
    pub event: Status,
    /// What, as sent.
    pub event_raw: Option<Cow<'a, str>>,
}

/// `data.agent`.
#[derive(Clone, Debug, Default)]
pub struct Agent<'a> {
    /// The provider's id of the agent.
    pub id: Option<Cow<'a, str>>,
    /// The agent's name.
    pub name: Option<Cow<'a, str>>,
    /// The agent's address.
    pub email: Option<Cow<'a, str>>,
}

/// `data.contact`.
#[derive(Clone, Debug, Default)]
pub struct Contact<'a> {
    /// The contact's name.
    pub name: Option<Cow<'a, str>>,
    /// The contact's address.
    pub email: Option<Cow<'a, str>>,
}

/// `data.campaign`.
#[derive(Clone, Debug, Default)]
pub struct Campaign<'a> {
    /// The provider's id of the campaign.
    pub id: Option<Cow<'a, str>>,
    /// The campaign's name.
    pub name: Option<Cow<'a, str>>,
}

/// `data.sequence`.
#[derive(Clone, Debug, Default)]
pub struct Sequence<'a> {
    /// The provider's id of the sequence.
    pub id: Option<Cow<'a, str>>,
    /// Where the sequence stands.
    pub state: Option<Cow<'a, str>>,
}

/// `data.meeting`.
#[derive(Clone, Debug, Default)]
pub struct Meeting<'a> {
    /// When it begins.
    pub start: Option<Timestamp>,
    /// When it ends.
    pub end: Option<Timestamp>,
    /// Who hosts it.
    pub host: Option<Cow<'a, str>>,
}

/// One entry of `data.outcomes`.
#[derive(Clone, Debug, Default)]
pub struct Outcome<'a> {
    /// Its name.
    pub name: Option<Cow<'a, str>>,
    /// Why.
    pub reason: Option<Cow<'a, str>>,
}

/// One entry of `data.actions`.
#[derive(Clone, Debug)]
pub struct Action<'a> {
    /// The provider's key of the action.
    pub key: Option<Cow<'a, str>>,
    /// `agent` or `human`.
    pub actor: &'static str,
    /// Lower-case, otherwise as sent.
    pub status: Option<Cow<'a, str>>,
    /// When it was done.
    pub completed_at: Option<Timestamp>,
    /// What it is.
    pub description: Option<Cow<'a, str>>,
}

// === impl SourceName ===

impl SourceName {
    /// Wraps a name that `config` has checked.
    pub fn new(name: &str) -> Self {
        Self(Arc::from(name))
    }

    /// The name as written in relay.toml.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl CallEvent ===

impl CallEvent<'_> {
    /// The event as the bytes every structured target receives.
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = Vec::with_capacity(4096);
        self.write_json(&mut json);
        json
    }

    /// The status, `unknown` where none was decided.
    pub fn status(&self) -> Status {
        self.data.call.status
    }

    /// `call.id`, else `call.reference`.
    pub fn subject(&self) -> Option<&str> {
        self.data.call.id.as_deref().or(self.data.call.reference.as_deref())
    }

    /// The first that exists of: `ended_at`, the last timeline entry, `answered_at`,
    /// `started_at`, the provider's log time, `queued_at`, `received_at`.
    pub fn time(&self) -> Timestamp {
        let call = &self.data.call;
        call.ended_at
            .or_else(|| call.timeline.last().and_then(|moment| moment.at))
            .or(call.answered_at)
            .or(call.started_at)
            .or(self.data.logged_at)
            .or(call.queued_at)
            .unwrap_or(self.envelope.received_at)
    }
}
