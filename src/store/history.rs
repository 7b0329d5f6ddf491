//! What operators ask of a store: pages of events, deliveries and attempts.

use jiff::Timestamp;

use crate::{
    event::{EventId, SourceName, Status},
    route::TargetName,
    store::{Attempt, BuryReason, CallFacts, DeadLetter, DeliveryId},
};

/// Which dead letters to list, count, redrive or discard: those that meet everything set here.
#[derive(Clone, Debug, Default)]
pub struct DeadFilter {
    /// Of this target.
    pub target: Option<TargetName>,
    /// Of these events; empty is of any.
    pub events: Vec<EventId>,
    /// Buried for this reason.
    pub reason: Option<BuryReason>,
    /// Of events of this source.
    pub source: Option<SourceName>,
    /// Of events with this status.
    pub status: Option<Status>,
    /// Of events with this `call.id` or `call.reference`.
    pub call: Option<String>,
    /// Of events from or to this number, as e164 or as the provider wrote it.
    pub number: Option<String>,
    /// Buried at this instant or later.
    pub since: Option<Timestamp>,
    /// Buried before this instant.
    pub until: Option<Timestamp>,
}

/// Some dead letters, and where to go on.
#[derive(Clone, Debug, Default)]
pub struct DeadPage {
    /// At most as many as asked for; may be fewer, or none, with more to come.
    pub letters: Vec<DeadLetter>,
    /// Where the next page begins; `None` when this was the last.
    pub next: Option<DeliveryId>,
}

/// Which events to list: those that meet everything set here.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// Of this source.
    pub source: Option<SourceName>,
    /// In this state.
    pub state: Option<EventState>,
    /// With this status.
    pub status: Option<Status>,
    /// With this `call.id` or `call.reference`.
    pub call: Option<String>,
    /// On which the condition of the route of this name failed.
    pub failed_route: Option<String>,
    /// Accepted at this instant or later.
    pub since: Option<Timestamp>,
    /// Accepted before this instant.
    pub until: Option<Timestamp>,
    /// These; empty is any.
    pub events: Vec<EventId>,
    /// With a delivery for this target.
    pub target: Option<TargetName>,
    /// From or to this number, as e164 or as the provider wrote it.
    pub number: Option<String>,
    /// Quarantined for this reason.
    pub reason: Option<String>,
}

/// Which end of a list comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// In the order of acceptance.
    OldestFirst,
    /// The last accepted first.
    #[default]
    NewestFirst,
}

/// What became of an event when it was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventState {
    /// It has deliveries.
    Routed,
    /// No route took it.
    Unrouted,
    /// It could not be read.
    Quarantined,
}

/// Where a page of events ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventCursor(pub i64);

/// Some events, and where to go on.
#[derive(Clone, Debug, Default)]
pub struct EventPage {
    /// At most as many as asked for; may be fewer, or none, with more to come.
    pub events: Vec<EventSummary>,
    /// Where the next page begins; `None` when this was the last.
    pub next: Option<EventCursor>,
}

/// One event in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventSummary {
    /// Its id.
    pub id: EventId,
    /// Its source.
    pub source: SourceName,
    /// Its provider.
    pub provider: String,
    /// When it was accepted.
    pub received_at: Timestamp,
    /// What became of it.
    pub state: EventState,
    /// Why it is quarantined.
    pub reason: Option<String>,
    /// What it is searched by; absent while quarantined.
    pub facts: Option<CallFacts>,
    /// The routes whose condition failed on it.
    pub failed_routes: Vec<String>,
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeliveryState {
    /// Waiting, in flight, or waiting for a retry.
    Pending,
    /// The target has it.
    Delivered,
    /// A dead letter.
    Dead,
    /// A dead letter that was given up.
    Discarded,
}

/// One delivery as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRecord {
    /// Its row.
    pub id: DeliveryId,
    /// Where it goes.
    pub target: TargetName,
    /// Where it stands.
    pub state: DeliveryState,
    /// How often it was redriven.
    pub round: u32,
    /// Settled attempts of this round.
    pub attempts: u32,
    /// When its age began.
    pub since: Timestamp,
    /// When it is due; only while pending.
    pub next_at: Option<Timestamp>,
    /// When it was last settled, redriven or discarded.
    pub settled_at: Option<Timestamp>,
    /// The last attempt's status.
    pub status: Option<u16>,
    /// The last attempt's error.
    pub error: Option<String>,
    /// Why it is, or was, a dead letter.
    pub reason: Option<String>,
}

/// One attempt of the past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastAttempt {
    /// The round it was made in.
    pub round: u32,
    /// What happened.
    pub attempt: Attempt,
}

// === impl EventState ===

impl EventState {
    /// Every state.
    pub const ALL: &'static [Self] = &[Self::Routed, Self::Unrouted, Self::Quarantined];

    /// The word in the store, the labels and the CLI.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Routed => "routed",
            Self::Unrouted => "unrouted",
            Self::Quarantined => "quarantined",
        }
    }

    /// The state of exactly this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|state| state.as_str() == word)
    }
}

// === impl DeliveryState ===

impl DeliveryState {
    /// Every state.
    pub const ALL: &'static [Self] = &[Self::Pending, Self::Delivered, Self::Dead, Self::Discarded];

    /// The word in labels and the CLI.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Discarded => "discarded",
        }
    }
}
