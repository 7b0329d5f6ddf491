//! What operators and the relay itself ask of a store beyond the road: sending again, counting,
//! keeping tidy, and forgetting a person.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    event::EventId,
    route::TargetName,
    store::{DeliveryId, EventCursor, EventFilter},
};

/// Which events to send again, and where.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    /// The events; those that could not be read are passed over.
    pub events: EventFilter,
    /// The targets; one that never had the event gets it now. Empty is every target that the
    /// event has a delivery for.
    pub targets: Vec<TargetName>,
}

/// When and under which id deliveries go out again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Again {
    /// Due at this instant.
    pub at: Timestamp,
    /// Under a `webhook-id` that only this round has, for targets that would pass over a repeat.
    pub new_id: bool,
}

/// What one step of a redrive or a discard did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Dead letters that are none any more because of it; may be none with more to come.
    pub letters: u64,
    /// Where the next step goes on; `None` when this was the last.
    pub next: Option<DeliveryId>,
}

/// What one step of a replay did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Deliveries that are pending because of it.
    pub deliveries: u64,
    /// Where the next step goes on; `None` when this was the last.
    pub next: Option<EventCursor>,
}

/// Dead letters, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadCount {
    /// By target and reason.
    pub letters: BTreeMap<(TargetName, String), u64>,
    /// Whether all were counted before the time was over.
    pub complete: bool,
}

/// What one step of a purge removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Events whose deliveries are all done.
    pub history: u64,
    /// Dead letters given up as expired.
    pub dead: u64,
    /// Events that could not be read, or that no route took.
    pub waiting: u64,
    /// Free pages of the file given back to the disk.
    pub pages: u64,
    /// Where the next step goes on; `None` when the pass is over.
    pub next: Option<PurgeCursor>,
}

/// How far a pass of purging is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PurgeCursor {
    /// Events up to this one were looked at.
    Events(EventCursor),
    /// All were; the file is made smaller.
    Pages,
}

/// Whose data to erase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Erasure {
    /// One event.
    Event(EventId),
    /// Every event with this `call.id` or `call.reference`, and every one that could not be read
    /// in whose request it occurs.
    Call(String),
    /// Every event in which this number occurs, in digits and however they are spaced.
    Number(String),
}

/// What one step of an erasure removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// Events, each with its request.
    pub events: u64,
    /// Deliveries in every state.
    pub deliveries: u64,
    /// Deliveries among them that were pending; they count as discarded.
    pub pending: u64,
    /// Deliveries among them that were dead letters; they count as discarded.
    pub dead: u64,
    /// Attempts with their errors and answers.
    pub attempts: u64,
    /// Fingerprints.
    pub fingerprints: u64,
    /// Where the next step goes on; `None` when everything is erased and the files hold no trace.
    pub next: Option<EventCursor>,
}

// === impl Purged ===

impl Purged {
    /// Whether anything was removed.
    pub fn is_nothing(&self) -> bool {
        self.history + self.dead + self.waiting + self.pages == 0
    }
}

// === impl Erased ===

impl Erased {
    /// Both together, and where `later` ended.
    #[must_use]
    pub fn and(self, later: Self) -> Self {
        Self {
            events: self.events + later.events,
            deliveries: self.deliveries + later.deliveries,
            pending: self.pending + later.pending,
            dead: self.dead + later.dead,
            attempts: self.attempts + later.attempts,
            fingerprints: self.fingerprints + later.fingerprints,
            next: later.next,
        }
    }
}
