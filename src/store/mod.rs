//! Remembers events until every target has them or they are dead letters.
//!
//! # The contract every backend keeps
//!
//! * [`Store::commit`] returns a [`Receipt`] only after the event, all its deliveries, its
//!   fingerprint and the totals are durable on disk, in one transaction. An admission whose
//!   fingerprint is remembered for its source gets the receipt of the first, and nothing is
//!   stored or counted; of two equal admissions in flight at once, one gets the receipt of the
//!   other's commit. A fingerprint is remembered from the `received_at` of the first for its
//!   `dedupe_window`, and only an admission with a window of its own is compared. One bad
//!   admission fails alone and never its group.
//! * A callback dropped by its caller while [`Store::commit`] runs may still be stored.
//! * [`Store::due`] is read-only and claims nothing: what is in flight is kept in memory by the
//!   one owner of the target, who passes it as `held`. Order is (`next_at`, seq). It sees
//!   everything whose commit has returned, and costs the same whatever the backlog. First attempts
//!   and further ones are counted apart, so that neither hides the other.
//! * [`Store::handed`] spares a target that keeps up the question: what a commit makes due for it is
//!   handed over from memory, once, after [`Store::due`] finds it as well and before
//!   [`Store::commit`] returns. Whoever lets
//!   go of it loses nothing; whoever has the answer of a [`Store::due`] that was asked meanwhile
//!   passes over what [`Due::through`] covers. The memory is bounded: more than fits is left to
//!   [`Store::due`], and so is whatever is not new.
//! * [`Store::settle`] consumes the delivery, so settling twice does not compile; it is
//!   idempotent on (delivery, round, attempt), attempt numbers are never reused, and it returns
//!   only when the outcome is durable. For a delivery that has left the round, or is no longer
//!   pending, it changes nothing.
//! * [`Store::redrive`] sets dead letters pending in the next round: the same delivery under the
//!   same id, its age and its attempts begin anew, the attempts of older rounds stay listed.
//!   Only with [`Again::new_id`] its `webhook-id` is another one, and for that round only.
//!   [`Store::discard`] gives dead letters up; they stay listed, and are never due again. Both
//!   take steps that are bounded in what they move and in what they look at, each after where the
//!   last ended, so that a million dead letters neither stall the commits nor are looked at again
//!   and again for the few that a filter means.
//! * [`Store::refusal`] and [`Store::commit`] refuse under the disk reserve; outcomes of
//!   deliveries are still settled.
//! * Totals are kept in the same transactions as what they count, so that events:
//!   accepted = routed + unrouted + quarantined, and per target: enqueued = delivered + pending
//!   + dead + discarded, at every moment, over restarts.
//! * After an I/O error or a panic in a commit the whole group fails, the connection is closed and
//!   reopened, and what is on disk is read back before the next commit.
//! * At least once: after a crash an attempt that was out may be made again under the same id.
//!
//! * [`Store::release`] gives a quarantined or unrouted event its reading and its deliveries, once;
//!   their age begins then. Its content is remembered for what is left of its window, beside the
//!   bytes it came as. What stays unrouted is marked with the routes that failed on it.
//! * [`Store::replay`] sets what is done pending in the next round, and makes deliveries for
//!   targets that never had the event: an unrouted event is routed by it.
//! * [`Store::orphans`] are owed to targets that are not configured: they wait, and count as
//!   pending. [`Store::adopt`] moves them, and the dead letters, with their totals to another
//!   name; where the event has a delivery for that name already, the old one is discarded.
//!   [`Store::bury_orphans`] makes dead letters of them.
//! * [`Store::purge`] removes history: events whose deliveries are all delivered or discarded, the
//!   last of them longer ago than `retention`; of more than `max_size`, the oldest first whatever
//!   its age. Dead letters, and what is quarantined or unrouted, go only after `dead_retention`; a
//!   dead letter is discarded by it. What is pending is never purged. Removing history changes no
//!   total, and neither does removing what waited: the totals say what became of it.
//! * [`Store::erase`] removes events whatever they wait for, with request, attempts and
//!   fingerprints; what of them was pending or dead counts as discarded. When it has ended, their
//!   bytes are in no file of the store, and whoever keeps what is pending in memory is told by
//!   [`Handed::recall`]. Backups and targets are not its business.
//! * A number that orders events is never given again, whatever was removed.
//! * The age of a delivery runs from its acceptance or last redrive. It stands still while its
//!   target is paused or is not among those [`Store::declare`]d, over restarts; [`Delivery::stood`]
//!   says for how long it did.
//! * Where deliveries take turns by call, those of one (source, call id, else reference) are due
//!   one at a time in the order of acceptance: the next when the one before it is delivered or
//!   dead. What has neither is due by itself. A dead letter that is redriven waits for its turn
//!   like any other. What waits for its turn costs [`Store::due`] nothing.
//!
//! Knows nothing of HTTP, of providers or of relay.toml.

mod admission;
#[cfg(test)]
mod conformance;
mod delivery;
mod handover;
mod history;
pub mod metrics;
mod number;
mod settings;
pub mod sqlite;
pub mod tidy;
mod upkeep;

use std::{future::Future, path::PathBuf, pin::Pin, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::sync::Notify;

pub use admission::{Admission, CallFacts, Fate, Fingerprint, Receipt, StoredRequest};
pub use delivery::{
    Attempt, BuryReason, Cause, DeadLetter, Delivery, DeliveryId, DeliveryTotals, Due, EventTotals,
    Handed, Lapse, Room, Settlement, StoredEvent, Totals,
};
pub use history::{
    DeadFilter, DeadPage, DeliveryRecord, DeliveryState, EventCursor, EventFilter, EventPage,
    EventState, EventSummary, Order, PastAttempt,
};
pub use settings::{Limits, Settings};
pub use upkeep::{Again, DeadCount, Erased, Erasure, Moved, PurgeCursor, Purged, Replay, Replayed};

use crate::{
    event::{EventId, SourceName},
    route::TargetName,
};

/// A future of a store's answer: boxed, so that a store can be chosen at run time.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// The seam every backend fits. See the page of this module for what the verbs promise.
pub trait Store: Send + Sync + std::fmt::Debug + 'static {
    /// Makes an event durable, or finds that it already is.
    fn commit(&self, admission: Admission) -> Answer<'_, Receipt>;

    /// The deliveries of `target` that are due at `now` and not `held`, at most as many as there
    /// is `room` for, and when to ask again.
    fn due(
        &self,
        target: &TargetName,
        now: Timestamp,
        held: &[DeliveryId],
        room: Room,
    ) -> Answer<'_, Due>;

    /// Records what one attempt led to.
    fn settle(
        &self,
        delivery: Delivery,
        attempt: Attempt,
        settlement: Settlement,
    ) -> Answer<'_, ()>;

    /// Makes the deliveries of `target` take turns by call, or not. Returns when all of them do,
    /// which after a change takes its time; no attempt at the target may be out or begin meanwhile.
    fn take_turns(&self, target: &TargetName, by_call: bool) -> Answer<'_, ()>;

    /// Stops the ages of the deliveries of `target`, and says so in [`Totals::paused`]. That no
    /// attempt is made is up to whoever makes them. Whether it was not paused before.
    fn pause(&self, target: &TargetName) -> Answer<'_, bool>;

    /// Has the ages of the deliveries of `target` go on. Whether it was paused before.
    fn resume(&self, target: &TargetName) -> Answer<'_, bool>;

    /// Buries deliveries of `target` that are too old at `now` and not `held`, with the reason
    /// `expired_while_tripped`, the oldest first, in bounded steps. How many; 0 when none is left.
    fn lapse(
        &self,
        target: &TargetName,
        now: Timestamp,
        held: &[DeliveryId],
        lapse: Lapse,
    ) -> Answer<'_, u64>;

    /// Told after every commit, settle, redrive, pause or resume that changed what may be attempted
    /// at `target` now; not of a retry in the future, which whoever settled it knows of. Ask for it, and register interest
    /// in it, before asking [`Store::due`]: a commit between the two would otherwise wait for the
    /// next poll.
    fn wake(&self, target: &TargetName) -> Arc<Notify>;

    /// What was committed for `target` since this was last asked, for its one owner, who is told by
    /// [`Store::wake`] when there is something.
    fn handed(&self, target: &TargetName) -> Handed;

    /// One event with its request, by id.
    fn event(&self, id: EventId) -> Answer<'_, Option<StoredEvent>>;

    /// A page of the dead letters that `filter` means, oldest first, after where the last page
    /// ended.
    fn dead_letters(
        &self,
        filter: DeadFilter,
        after: Option<DeliveryId>,
        limit: usize,
    ) -> Answer<'_, DeadPage>;

    /// A page of events in an order of acceptance, after where the last page ended.
    fn events(
        &self,
        filter: EventFilter,
        order: Order,
        after: Option<EventCursor>,
        limit: usize,
    ) -> Answer<'_, EventPage>;

    /// Every delivery of an event; empty when there is no such event.
    fn deliveries_of(&self, event: EventId) -> Answer<'_, Vec<DeliveryRecord>>;

    /// The attempts of a delivery, the first of the first round first, after the given (round,
    /// number).
    fn attempts(
        &self,
        delivery: DeliveryId,
        after: Option<(u32, u32)>,
        limit: usize,
    ) -> Answer<'_, Vec<PastAttempt>>;

    /// Sets dead letters pending in a new round, the oldest first, after the given one: at most
    /// `max` and at most as many as the store takes in one step. What lies before is not looked at
    /// again, also when it dies again meanwhile.
    fn redrive(
        &self,
        filter: DeadFilter,
        after: Option<DeliveryId>,
        again: Again,
        max: usize,
    ) -> Answer<'_, Moved>;

    /// Gives dead letters up, in the steps of [`Store::redrive`].
    fn discard(
        &self,
        filter: DeadFilter,
        after: Option<DeliveryId>,
        max: usize,
    ) -> Answer<'_, Moved>;

    /// Counts the dead letters that `filter` means, for as long as `within`.
    fn count_dead(&self, filter: DeadFilter, within: Duration) -> Answer<'_, DeadCount>;

    /// Gives an event that is quarantined or unrouted the reading and the targets of `admission`,
    /// which has its id. False when it waits no more: then nothing changes. False too when it was
    /// unrouted and is still: then it is only marked with the routes that fail on it now.
    fn release(&self, admission: Admission) -> Answer<'_, bool>;

    /// Sends stored events again, the oldest first, after the given one: at most `max` events and
    /// at most as many as the store takes in one step. What is pending stays as it is; what is
    /// delivered, dead or discarded is pending in the next round.
    fn replay(
        &self,
        replay: Replay,
        after: Option<EventCursor>,
        again: Again,
        max: usize,
    ) -> Answer<'_, Replayed>;

    /// Gives `new` the pending deliveries and the dead letters of `old`, in steps. How many; 0
    /// when none is left.
    fn adopt(&self, old: &TargetName, new: &TargetName) -> Answer<'_, u64>;

    /// Makes dead letters of the pending deliveries of a target that is not configured any more,
    /// in steps. How many; 0 when none is left, or while the target is declared.
    fn bury_orphans(&self, target: &TargetName) -> Answer<'_, u64>;

    /// Removes what is older than it is kept, one small step after the given place.
    fn purge(&self, after: Option<PurgeCursor>) -> Answer<'_, Purged>;

    /// Removes whatever the store holds of a call, a number or an event, one step after the given
    /// place. The step that ends it leaves no trace in the files either.
    fn erase(&self, what: Erasure, after: Option<EventCursor>) -> Answer<'_, Erased>;

    /// Writes a copy of the whole store, as of one moment, to a file that does not exist yet. A
    /// store opened on it has everything that was durable when this was asked.
    fn backup(&self, to: PathBuf) -> Answer<'_, ()>;

    /// Names what is configured, in place of what was named before: the totals have it from the
    /// start, at 0, and what other targets are owed is orphaned: it does not age.
    fn declare(&self, sources: &[SourceName], targets: &[TargetName]);

    /// Goes by these limits from now on; a purge that is under way does so from its next step.
    fn limit(&self, limits: Limits);

    /// The totals, as of the last commit: one moment of all of them.
    fn totals(&self) -> Totals;

    /// The targets that are owed deliveries and are not among `configured`, each with how many.
    fn orphans(&self, configured: &[TargetName]) -> Vec<(TargetName, u64)> {
        let owed = self.totals().deliveries.into_iter();
        owed.filter(|(target, totals)| totals.pending > 0 && !configured.contains(target))
            .map(|(target, totals)| (target, totals.pending))
            .collect()
    }

    /// When the oldest pending delivery of each target that has one was accepted or last redriven.
    fn oldest_pending(&self) -> Answer<'_, Vec<(TargetName, Timestamp)>>;

    /// Why a callback would be refused now, if it would: the disk reserve is reached, or the
    /// writer is down.
    fn refusal(&self) -> Option<StoreError>;

    /// Commits what is queued, folds the log into the database and lets go of the file.
    fn close(&self) -> Answer<'_, ()>;
}

/// Why a store did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The disk has less free space than `min_free`.
    #[error("the disk reserve is reached")]
    DiskReserve,
    /// The queue before the writer is full.
    #[error("the queue before the store is full")]
    Overloaded,
    /// The writer has stopped; nothing more is stored.
    #[error("the store is closed")]
    Closed,
    /// It was opened for reading only.
    #[error("no relay runs here, and the store is open for reading only")]
    ReadOnly,
    /// A read or write failed; what was in flight is not acked.
    #[error("the store failed: {0}")]
    Io(Arc<str>),
    /// This one admission cannot be stored; its group could.
    #[error("the event cannot be stored: {0}")]
    Unstorable(Arc<str>),
}

// === impl StoreError ===

impl StoreError {
    /// The word for logs and counters.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::DiskReserve => "disk_reserve",
            Self::Overloaded => "store_overloaded",
            Self::Closed => "shutting_down",
            Self::ReadOnly => "read_only",
            Self::Io(_) => "store_failed",
            Self::Unstorable(_) => "unstorable",
        }
    }
}
