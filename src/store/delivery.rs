//! What comes out of the store for a target, and what goes back in.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use jiff::Timestamp;

use crate::{
    event::{EventId, SourceName, Trace},
    route::TargetName,
    store::StoredRequest,
};

/// The row of one event × one target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId(pub i64);

/// One delivery that is due. Handed back by value to [`crate::store::Store::settle`].
#[derive(Debug)]
pub struct Delivery {
    /// Its row.
    pub id: DeliveryId,
    /// Where it goes.
    pub target: TargetName,
    /// The event's id.
    pub event: EventId,
    /// The normalised event.
    pub json: Bytes,
    /// The trace the callback's sender named, if it did.
    pub trace: Option<Trace>,
    /// When the event was accepted, or the delivery last redriven: its age runs from here.
    pub since: Timestamp,
    /// How long its target was paused or orphaned since then, which is no age.
    pub stood: Duration,
    /// How often it was redriven; 0 first.
    pub round: u32,
    /// Whether a person wanted an id of its own for this round.
    pub new_id: bool,
    /// Attempts of this round that are settled.
    pub attempts: u32,
}

/// What [`crate::store::Store::due`] found.
#[derive(Debug, Default)]
pub struct Due {
    /// Due now, in order of (`next_at`, seq).
    pub deliveries: Vec<Delivery>,
    /// When the next one that is not due yet will be; `None` when there is none.
    pub next_at: Option<Timestamp>,
    /// Whether more are due whose first attempt it will be, and more that were attempted.
    pub more: (bool, bool),
    /// What was there to be found: whatever is not younger, by its id, than this.
    pub through: DeliveryId,
}

/// What [`crate::store::Store::handed`] gives.
#[derive(Debug, Default)]
pub struct Handed {
    /// Committed since it was last asked, in the order of their ids; all due, none attempted yet.
    pub deliveries: Vec<Delivery>,
    /// Something else may be due: what was redriven, or more than could be handed over.
    pub look: bool,
    /// Some of what was pending is erased: whoever keeps any in memory lets go of all of it, and
    /// looks.
    pub recall: bool,
}

/// How many of what is due are asked for. Two numbers, because events that have waited for their
/// first attempt must not hide behind those that wait for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// For first attempts of a round.
    pub first: usize,
    /// For further attempts.
    pub further: usize,
}

/// Which pending deliveries of a target have waited for too long, and what is said of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lapse {
    /// Those of this age or more.
    pub older_than: Duration,
    /// The status the target last answered with.
    pub status: Option<u16>,
    /// The target's last error.
    pub error: Option<String>,
}

/// One attempt, as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// 1 for the first of the round.
    pub number: u32,
    /// When it began.
    pub at: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// The HTTP status, when there was an answer.
    pub status: Option<u16>,
    /// The error in words, when there was one; no secret, at most 1 KiB.
    pub error: Option<String>,
    /// The first bytes of the answer, at most 4 KiB.
    pub snippet: Option<Bytes>,
}

/// What becomes of a delivery after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// The target has it.
    Delivered,
    /// Try again at this instant.
    Retry {
        /// Not before.
        at: Timestamp,
    },
    /// A dead letter, until a person redrives or discards it.
    Dead {
        /// Why no further attempt is made.
        reason: BuryReason,
    },
}

/// Why a delivery became a dead letter: a closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BuryReason {
    /// The target's answer is in its `permanent` list.
    Permanent,
    /// The schedule has no further attempt.
    AttemptsExhausted,
    /// Older than `give_up_after`.
    Expired,
    /// Older than `give_up_after` while the target's breaker was tripped.
    ExpiredWhileTripped,
    /// The body could not be made from the event (a failing template).
    Unrenderable,
    /// Its target is not configured any more, and a person asked not to wait for it.
    Orphaned,
}

/// What an attempt met, as a closed list for the `cause` label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// An answer of the 200s.
    Status2xx,
    /// An answer of the 300s; redirects are not followed.
    Status3xx,
    /// An answer of the 400s.
    Status4xx,
    /// An answer of the 500s.
    Status5xx,
    /// No whole answer in time.
    Timeout,
    /// No connection.
    Connect,
    /// No agreement on TLS.
    Tls,
    /// The name did not resolve.
    Dns,
    /// The address is not one the target may be reached at.
    Denied,
    /// The connection broke.
    Reset,
    /// The answer was over the cap.
    Oversized,
    /// The answer was not HTTP.
    Protocol,
    /// A file target could not be written.
    Io,
    /// The body could not be made.
    Render,
    /// A file target has the line.
    Written,
    /// A fault of the relay's own: the attempt panicked.
    Panic,
}

/// A delivery nobody attempts any more.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// Its row.
    pub id: DeliveryId,
    /// The event.
    pub event: EventId,
    /// The target it did not reach.
    pub target: TargetName,
    /// The reason's word.
    pub reason: String,
    /// How often it was redriven.
    pub round: u32,
    /// Attempts of the last round.
    pub attempts: u32,
    /// When it was buried.
    pub at: Timestamp,
    /// The last attempt's status.
    pub status: Option<u16>,
    /// The last attempt's error.
    pub error: Option<String>,
    /// The first bytes of the last answer.
    pub snippet: Option<Bytes>,
}

/// An event as it is remembered.
#[derive(Clone, Debug)]
pub struct StoredEvent {
    /// Its id.
    pub id: EventId,
    /// Its source.
    pub source: SourceName,
    /// Its provider.
    pub provider: String,
    /// When it was accepted.
    pub received_at: Timestamp,
    /// `routed`, `unrouted` or `quarantined`.
    pub state: &'static str,
    /// Why it is quarantined.
    pub reason: Option<String>,
    /// The callback as it came.
    pub request: StoredRequest,
    /// The normalised event; absent while quarantined.
    pub json: Option<Bytes>,
    /// The routes whose condition failed on it.
    pub failed_routes: Vec<String>,
}

/// Counts kept in the same commits as what they count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// By source.
    pub events: BTreeMap<SourceName, EventTotals>,
    /// By target.
    pub deliveries: BTreeMap<TargetName, DeliveryTotals>,
    /// Since when each paused target is.
    pub paused: BTreeMap<TargetName, Timestamp>,
}

/// accepted = routed + unrouted + quarantined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventTotals {
    /// Ever accepted.
    pub accepted: u64,
    /// With at least one delivery.
    pub routed: u64,
    /// That no route took.
    pub unrouted: u64,
    /// That could not be read.
    pub quarantined: u64,
}

/// enqueued = delivered + pending + dead + discarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeliveryTotals {
    /// Ever enqueued.
    pub enqueued: u64,
    /// That the target has.
    pub delivered: u64,
    /// Waiting, in flight, or waiting for a retry.
    pub pending: u64,
    /// Dead letters.
    pub dead: u64,
    /// Dead letters given up by a person or by `dead_retention`.
    pub discarded: u64,
}

// === impl Delivery ===

impl Delivery {
    /// What a target knows it by: the same at every attempt, and in every round but those that
    /// have an id of their own.
    pub fn webhook_id(&self) -> String {
        let Self { event, round, .. } = self;
        if self.new_id { format!("{event}.{round}") } else { event.to_string() }
    }
}

// === impl Room ===

impl Room {
    /// As many of the one as of the other.
    pub const fn of(each: usize) -> Self {
        Self { first: each, further: each }
    }
}

// === impl BuryReason ===

impl BuryReason {
    /// Every reason.
    pub const ALL: &'static [Self] = &[
        Self::Permanent,
        Self::AttemptsExhausted,
        Self::Expired,
        Self::ExpiredWhileTripped,
        Self::Unrenderable,
        Self::Orphaned,
    ];

    /// The word in the store, the labels and the CLI.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Permanent => "permanent",
            Self::AttemptsExhausted => "attempts_exhausted",
            Self::Expired => "expired",
            Self::ExpiredWhileTripped => "expired_while_tripped",
            Self::Unrenderable => "unrenderable",
            Self::Orphaned => "orphaned",
        }
    }
}

// === impl Cause ===

impl Cause {
    /// Every cause.
    pub const ALL: &'static [Self] = &[
        Self::Status2xx,
        Self::Status3xx,
        Self::Status4xx,
        Self::Status5xx,
        Self::Timeout,
        Self::Connect,
        Self::Tls,
        Self::Dns,
        Self::Denied,
        Self::Reset,
        Self::Oversized,
        Self::Protocol,
        Self::Io,
        Self::Render,
        Self::Written,
        Self::Panic,
    ];

    /// The word in labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Status2xx => "2xx",
            Self::Status3xx => "3xx",
            Self::Status4xx => "4xx",
            Self::Status5xx => "5xx",
            Self::Timeout => "timeout",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Dns => "dns",
            Self::Denied => "denied",
            Self::Reset => "reset",
            Self::Oversized => "oversized",
            Self::Protocol => "protocol",
            Self::Io => "io",
            Self::Render => "render",
            Self::Written => "written",
            Self::Panic => "panic",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chapter_of_the_alert_on_dead_letters_has_each_reason() {
        let guide = include_str!("../docs/operating.md");
        let chapter = guide.split("### DeadLetters").nth(1).unwrap();
        let chapter = chapter.split("\n### ").next().unwrap();
        for reason in BuryReason::ALL {
            assert!(chapter.contains(&format!("`{}`", reason.as_str())), "{reason:?}");
        }
    }
}
