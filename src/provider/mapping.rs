//! Any other provider: a mapping that relay.toml writes, one rule for each field of ours.
//!
//! A rule says where the value of a field stands in the body, or that it is always the same. One
//! value may serve several fields. What no rule uses is `extra`, as with every provider; so is
//! whatever a rule uses and the event does not show whole, such as a word that was translated.

use std::{borrow::Cow, collections::BTreeMap};

use jiff::{
    Timestamp,
    civil::date,
    fmt::{rfc2822, strtime},
    tz::TimeZone,
};

use super::{
    Rules,
    document::Place,
    fields::Fields,
    finish::Mapped,
    status::{self, Meaning},
};
use crate::event::{
    Action, Agent, AnsweredBy, Call, Campaign, Contact, Data, Direction, Leg, Meeting, Moment,
    Number, Outcome, Reason, Sequence, Status, Warning,
    instant::{self, Reading},
    value::{Object, Value},
};

/// What is known of a provider of which nothing is known.
pub(super) const RULES: Rules = Rules {
    word: "custom",
    documented: &[],
    fields: &[],
    times: &[],
    wrapper: None,
    changing: &[],
    zone: "UTC",
    country: None,
    bare_international: false,
    max_body: None,
    auth_header: None,
    credentials: &[],
    map,
};

/// What stands where in the bodies of one source. The default is the mapping of nothing.
#[derive(Clone, Debug, Default)]
pub struct Mapping {
    name: String,
    changing: Vec<Place>,
    /// By our name of the field, joined by dots: `call.id`, `agent.name`, `extracted`.
    rules: BTreeMap<String, Rule>,
}

/// How one field of ours gets its value.
#[derive(Clone, Debug)]
pub enum Rule {
    /// It is always this.
    Constant(String),
    /// It stands at one place.
    At(At),
    /// It is a list, of whose entries each member of ours stands under a name.
    List {
        /// Where the list stands.
        from: Place,
        /// Our name of a member = its name in an entry.
        members: BTreeMap<String, String>,
        /// How the times in it are written, if not as the relay knows it.
        format: Option<TimeFormat>,
    },
    /// It is a table of values from several places, by the names they shall have.
    Picked(BTreeMap<String, Place>),
}

/// A value at one place, and how it is read. Of what its field has no use for nothing is set.
#[derive(Clone, Debug)]
pub struct At {
    /// Where it stands.
    pub from: Place,
    /// Where the extension of a number stands.
    pub ext: Option<Place>,
    /// How a time is written, if not as the relay knows it.
    pub format: Option<TimeFormat>,
    /// Their word, folded as statuses are = our word.
    pub words: BTreeMap<String, String>,
}

/// How a time is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimeFormat {
    /// As in mails: `Tue, 21 Oct 2025 15:33:21 +0000`.
    Rfc2822,
    /// Milliseconds since 1970.
    UnixMilliseconds,
    /// By the directives of `strptime`.
    Directives(String),
}

/// The field map, in the order of the event.
fn map<'a>(fields: &mut Fields<'a, '_>) -> Mapped<'a> {
    let settings = fields.settings;
    let mut reader = Reader { mapping: &settings.mapping, fields };
    reader.fields.hold();
    let data = reader.data();
    fields.release();
    Mapped { data, ..Mapped::default() }
}

/// Reads fields of ours by their rules.
struct Reader<'r, 'a, 's> {
    mapping: &'s Mapping,
    fields: &'r mut Fields<'a, 's>,
}

/// Where a list stands, its members' names, and how its times are written.
type Listed<'s> = (&'s Place, &'s BTreeMap<String, String>, Option<&'s TimeFormat>);

/// Whether a field of ours is a time.
fn is_time(field: &str) -> bool {
    field.ends_with("_at") || matches!(field, "meeting.start" | "meeting.end")
}

/// How times of this form are read.
fn reading(format: Option<&TimeFormat>) -> impl Fn(&str) -> Reading {
    move |text| format.map_or_else(|| instant::read(text), |format| format.read(text))
}

/// A custom source has no table of its own: its `status` map comes before this, C.8 after.
fn no_meaning(_: &str) -> Option<Meaning> {
    None
}

// === impl Mapping ===

impl Mapping {
    /// Wraps what `config` has checked: what events call the provider, the places that it changes
    /// when it repeats a callback, and the rules by our names.
    pub fn new(name: String, changing: Vec<Place>, rules: BTreeMap<String, Rule>) -> Self {
        Self { name, changing, rules }
    }

    /// What events call the provider.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether any rule reads a place at all.
    pub fn reads_something(&self) -> bool {
        self.places().next().is_some()
    }

    /// The places that differ between repeats.
    pub(super) fn changing(&self) -> &[Place] {
        &self.changing
    }

    /// Whether the log time stands where the places differ between repeats.
    pub(super) fn has_changing_log(&self) -> bool {
        let Some(Rule::At(log)) = self.rules.get("logged_at") else { return false };
        let log = log.from.names();
        self.changing.iter().any(|place| log.starts_with(&place.names()))
    }

    /// The paths of the fields that are read as times, each in names joined by dots.
    pub fn times(&self) -> Vec<String> {
        let joined = |place: &Place| place.names().join(".");
        let times = self.rules.iter().filter_map(|(field, rule)| match rule {
            Rule::At(at) if is_time(field) => Some(joined(&at.from)),
            Rule::List { from, members, .. } => {
                let member = members.get("at").or_else(|| members.get("completed_at"))?;
                Some(format!("{}.{member}", joined(from)))
            }
            _ => None,
        });
        times.collect()
    }

    /// Every place that a rule reads.
    pub(super) fn places(&self) -> impl Iterator<Item = &Place> {
        self.rules.values().flat_map(|rule| -> Box<dyn Iterator<Item = &Place>> {
            match rule {
                Rule::Constant(_) => Box::new(std::iter::empty()),
                Rule::At(at) => Box::new(std::iter::once(&at.from).chain(&at.ext)),
                Rule::List { from, .. } => Box::new(std::iter::once(from)),
                Rule::Picked(places) => Box::new(places.values()),
            }
        })
    }
}

// === impl TimeFormat ===

impl TimeFormat {
    /// Reads the directives of `strptime`; the error says which is none.
    pub fn directives(written: &str) -> Result<Self, String> {
        // Written and read back: a directive that is none shows, and so does what is left out, the
        // afternoon among it.
        const EVENING: i8 = 21;
        let sample = date(1970, 1, 1).at(EVENING, 0, 0, 0).to_zoned(TimeZone::UTC);
        let sample = sample.map_err(|error| error.to_string())?;
        let text = strtime::BrokenDownTime::from(&sample).to_string(written);
        let text = text.map_err(|error| error.to_string())?;
        let read = strtime::parse(written, &text).map_err(|error| error.to_string())?;
        let hour = if let Ok(at) = read.to_timestamp() {
            Some(at.to_zoned(TimeZone::UTC).hour())
        } else {
            read.to_datetime().map_err(|error| error.to_string())?;
            read.hour()
        };
        match hour {
            None => return Err("it reads no hour".to_owned()),
            Some(EVENING) => {}
            Some(_) => return Err("it does not tell the evening from the morning".to_owned()),
        }
        Ok(Self::Directives(written.to_owned()))
    }

    fn read(&self, text: &str) -> Reading {
        let text = text.trim();
        if matches!(instant::read(text), Reading::Blank | Reading::Zero) {
            return instant::read(text);
        }
        let read = match self {
            Self::Rfc2822 => rfc2822::DateTimeParser::new().parse_timestamp(text).ok(),
            Self::UnixMilliseconds => {
                text.parse().ok().and_then(|millis| Timestamp::from_millisecond(millis).ok())
            }
            Self::Directives(format) => {
                let Ok(read) = strtime::parse(format, text) else { return Reading::Unreadable };
                if let Ok(at) = read.to_timestamp() {
                    return Reading::of(at);
                }
                return read.to_datetime().map_or(Reading::Unreadable, Reading::Naive);
            }
        };
        read.map_or(Reading::Unreadable, Reading::of)
    }
}

// === impl Reader ===

impl<'a> Reader<'_, 'a, '_> {
    fn data(&mut self) -> Data<'a> {
        let call = self.call();
        let (id, name, email) =
            (self.text("agent.id"), self.text("agent.name"), self.text("agent.email"));
        let agent = (id.is_some() || name.is_some() || email.is_some()).then_some(Agent {
            id,
            name,
            email,
        });
        let (name, email) = (self.text("contact.name"), self.text("contact.email"));
        let contact = (name.is_some() || email.is_some()).then_some(Contact { name, email });
        let (id, name) = (self.text("campaign.id"), self.text("campaign.name"));
        let campaign = (id.is_some() || name.is_some()).then_some(Campaign { id, name });
        let (id, state) = (self.text("sequence.id"), self.text("sequence.state"));
        let sequence = (id.is_some() || state.is_some()).then_some(Sequence { id, state });
        let (start, end) = (self.instant("meeting.start"), self.instant("meeting.end"));
        let host = self.text("meeting.host");
        let meeting = (start.is_some() || end.is_some() || host.is_some()).then_some(Meeting {
            start,
            end,
            host,
        });
        Data {
            call,
            agent,
            contact,
            campaign,
            sequence,
            meeting,
            disposition: self.text("disposition"),
            notes: self.text("notes"),
            outcomes: self.outcomes(),
            actions: self.actions(),
            extracted: self.object("extracted"),
            analysis: self.object("analysis"),
            logged_at: self.logged_at(),
            ..Data::default()
        }
    }

    fn call(&mut self) -> Call<'a> {
        let (status, status_raw) = self.status("call.status");
        let (reason, reason_raw) = self.reason();
        Call {
            id: self.id("call.id"),
            reference: self.id("call.reference"),
            direction: self
                .word("call.direction", Direction::from_word, Direction::as_str)
                .unwrap_or_default(),
            from: self.number("call.from"),
            to: self.number("call.to"),
            via: self.number("call.via"),
            status,
            status_raw,
            reason,
            reason_raw,
            answered_by: self.word("call.answered_by", AnsweredBy::from_word, AnsweredBy::as_str),
            queued_at: self.instant("call.queued_at"),
            scheduled_at: self.instant("call.scheduled_at"),
            started_at: self.instant("call.started_at"),
            answered_at: self.instant("call.answered_at"),
            ended_at: self.instant("call.ended_at"),
            duration_seconds: self.whole("call.duration_seconds"),
            billable_seconds: self.whole("call.billable_seconds"),
            attempts: self.whole("call.attempts"),
            max_attempts: self.whole("call.max_attempts"),
            retry_wait_seconds: self.whole("call.retry_wait_seconds"),
            recording_url: self.url("call.recording_url"),
            url: self.url("call.url"),
            summary: self.text("call.summary"),
            transcript: self.trimmed("call.transcript"),
            legs: self.legs(),
            timeline: self.timeline(),
        }
    }

    /// The status and its word; without a rule, or without a value, it is missing.
    fn status(&mut self, field: &str) -> (Status, Option<Cow<'a, str>>) {
        if let Some(Rule::Constant(word)) = self.rule(field) {
            return (Status::from_word(word).unwrap_or_default(), None);
        }
        let Some(word) = self.text(field) else {
            self.fields.warn(Warning::StatusMissing);
            return (Status::Unknown, None);
        };
        (status::meaning(self.fields, &word, no_meaning).0, Some(word))
    }

    fn reason(&mut self) -> (Option<Reason>, Option<Cow<'a, str>>) {
        let field = "call.reason";
        if let Some(Rule::Constant(word)) = self.rule(field) {
            return (Reason::from_word(word), None);
        }
        let Some(raw) = self.text(field) else { return (None, None) };
        let folded = status::fold(&raw);
        let ours = match self.at(field).and_then(|at| at.words.get(folded.as_ref())) {
            Some(word) => Reason::from_word(word),
            None => Reason::from_word(&folded.replace('-', "_")),
        };
        (Some(ours.unwrap_or(Reason::Unknown)), Some(raw))
    }

    fn word<T: Copy>(
        &mut self,
        field: &str,
        from_word: fn(&str) -> Option<T>,
        ours: fn(T) -> &'static str,
    ) -> Option<T> {
        match self.rule(field)? {
            Rule::Constant(word) => from_word(word),
            Rule::At(at) => {
                let read = |word: &str| {
                    let folded = status::fold(word);
                    match at.words.get(folded.as_ref()) {
                        Some(word) => from_word(word),
                        None => from_word(&folded),
                    }
                };
                self.fields.translated(&at.from.names(), read, ours)
            }
            Rule::List { .. } | Rule::Picked(_) => None,
        }
    }

    fn text(&mut self, field: &str) -> Option<Cow<'a, str>> {
        match self.rule(field)? {
            Rule::Constant(text) => Some(Cow::Owned(text.clone())),
            Rule::At(at) => self.fields.text(&at.from.names()),
            Rule::List { .. } | Rule::Picked(_) => None,
        }
    }

    fn id(&mut self, field: &str) -> Option<Cow<'a, str>> {
        let at = self.at(field)?;
        self.fields.id(&at.from.names())
    }

    fn trimmed(&mut self, field: &str) -> Option<Cow<'a, str>> {
        let at = self.at(field)?;
        self.fields.trimmed(&at.from.names())
    }

    fn url(&mut self, field: &str) -> Option<Cow<'a, str>> {
        let at = self.at(field)?;
        self.fields.url(&at.from.names())
    }

    fn whole(&mut self, field: &str) -> Option<u64> {
        let at = self.at(field)?;
        self.fields.whole(&at.from.names())
    }

    fn number(&mut self, field: &str) -> Option<Number<'a>> {
        if let Some(Rule::Constant(number)) = self.rule(field) {
            return Some(self.fields.dialled(Cow::Owned(number.clone())));
        }
        let at = self.at(field)?;
        let ext = at.ext.as_ref().map(Place::names);
        self.fields.number(&at.from.names(), ext.as_deref())
    }

    fn instant(&mut self, field: &str) -> Option<Timestamp> {
        self.instant_or_log(field, false)
    }

    /// The log time decides `time` where no other does, and is no key of the event: it stays.
    fn logged_at(&mut self) -> Option<Timestamp> {
        self.instant_or_log("logged_at", true)
    }

    fn instant_or_log(&mut self, field: &str, stays: bool) -> Option<Timestamp> {
        let at = self.at(field)?;
        self.fields.instant_as(&at.from.names(), reading(at.format.as_ref()), stays)
    }

    /// A table as it stands, or one put together.
    fn object(&mut self, field: &str) -> Object<'a> {
        match self.rule(field) {
            Some(Rule::At(at)) => self.fields.object(&at.from.names()),
            Some(Rule::Picked(places)) => {
                let pick = |(name, place): (&String, &Place)| {
                    let value: Value<'a> = self.fields.value(&place.names())?;
                    Some((Cow::Owned(name.clone()), value))
                };
                places.iter().filter_map(pick).collect()
            }
            Some(Rule::Constant(_) | Rule::List { .. }) | None => Object::new(),
        }
    }

    fn outcomes(&mut self) -> Vec<Outcome<'a>> {
        let Some((from, members, _)) = self.list("outcomes") else { return Vec::new() };
        self.fields.list(&from.names(), |entry| Outcome {
            name: members.get("name").and_then(|name| entry.text(name)),
            reason: members.get("reason").and_then(|name| entry.text(name)),
        })
    }

    fn actions(&mut self) -> Vec<Action<'a>> {
        let Some((from, members, format)) = self.list("actions") else { return Vec::new() };
        let actor = match self.rule("actions.actor") {
            Some(Rule::Constant(actor)) if actor == "human" => "human",
            _ => "agent",
        };
        self.fields.list(&from.names(), |entry| Action {
            key: members.get("key").and_then(|name| entry.text(name)),
            actor,
            status: members.get("status").and_then(|name| entry.lower(name)),
            completed_at: members
                .get("completed_at")
                .and_then(|name| entry.instant_as(name, reading(format))),
            description: members.get("description").and_then(|name| entry.text(name)),
        })
    }

    fn timeline(&mut self) -> Vec<Moment<'a>> {
        let Some((from, members, format)) = self.list("call.timeline") else { return Vec::new() };
        let moments = self.fields.list(&from.names(), |entry| {
            let at = members.get("at").and_then(|name| entry.instant_as(name, reading(format)));
            (at, members.get("event").and_then(|name| entry.text(name)))
        });
        let moment = |(at, event_raw): (_, Option<Cow<'a, str>>)| {
            let event = event_raw
                .as_deref()
                .map_or(Status::Unknown, |word| status::meaning(self.fields, word, no_meaning).0);
            Moment { at, event, event_raw }
        };
        moments.into_iter().map(moment).collect()
    }

    fn legs(&mut self) -> Vec<Leg<'a>> {
        let mut legs = Vec::new();
        for (role, status, duration) in [
            ("from", "call.legs.from.status", "call.legs.from.duration_seconds"),
            ("to", "call.legs.to.status", "call.legs.to.duration_seconds"),
        ] {
            let (status_raw, duration_seconds) = (self.text(status), self.whole(duration));
            if status_raw.is_some() || duration_seconds.is_some() {
                let status = status_raw.as_deref().map_or(Status::Unknown, |word| {
                    status::meaning(self.fields, word, no_meaning).0
                });
                legs.push(Leg { role, status, status_raw, duration_seconds });
            }
        }
        legs
    }
}

impl<'s> Reader<'_, '_, 's> {
    fn rule(&self, field: &str) -> Option<&'s Rule> {
        self.mapping.rules.get(field)
    }

    fn at(&self, field: &str) -> Option<&'s At> {
        match self.rule(field)? {
            Rule::At(at) => Some(at),
            Rule::Constant(_) | Rule::List { .. } | Rule::Picked(_) => None,
        }
    }

    fn list(&self, field: &str) -> Option<Listed<'s>> {
        match self.rule(field)? {
            Rule::List { from, members, format } => Some((from, members, format.as_ref())),
            Rule::Constant(_) | Rule::At(_) | Rule::Picked(_) => None,
        }
    }
}
