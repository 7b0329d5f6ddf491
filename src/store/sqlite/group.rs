//! What one transaction does: admissions, outcomes and redrives, each as its statements.
//!
//! Knows nothing of threads, of opening files or of committing: the writer begins and ends.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, params};

use super::{
    amend::{Amended, DEAD},
    ledger::Ledger,
    seen::Seen,
    statements::Statements,
};
use crate::{
    event::{EventId, Trace, TraceState},
    route::TargetName,
    store::{
        Admission, Again, Attempt, CallFacts, Delivery, DeliveryId, Fate, Settlement, StoreError,
    },
};

/// A group in the middle of its transaction.
pub(super) struct Group<'c> {
    pub(super) connection: &'c Connection,
    pub(super) statements: Statements<'c>,
    pub(super) ledger: &'c mut Ledger,
    pub(super) seen: &'c mut Seen,
    pub(super) now: Timestamp,
    pub(super) news: News,
    /// Admissions stored; duplicates are not.
    pub(super) stored: usize,
}

/// What the owners of targets are told once a group is on disk.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Due then, without a look at the table.
    pub(super) handed: Vec<Delivery>,
    /// Targets that have something else due.
    pub(super) woken: BTreeSet<TargetName>,
    /// Targets that lose something that was pending.
    pub(super) recalled: BTreeSet<TargetName>,
}

/// What a job did, if the group it is in reaches the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// The event is stored, or the first one was.
    Admitted { id: EventId, duplicate: bool, quarantined: bool },
    /// The outcome is kept, or was already.
    Settled,
    /// So many dead letters moved.
    Moved(u64),
    /// The step of something rarer.
    Amended(Box<Amended>),
}

/// The part of a delivery that its outcome needs.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) id: DeliveryId,
    pub(super) target: TargetName,
    pub(super) round: u32,
    pub(super) attempt: Attempt,
    pub(super) settlement: Settlement,
}

/// An event that gets its deliveries.
pub(super) struct New<'a> {
    /// When their age begins.
    pub(super) at: Timestamp,
    /// The call they take turns by.
    pub(super) call_key: Option<i64>,
    /// What is handed over; without it, their targets look for them.
    pub(super) event: Option<(EventId, &'a Bytes, Option<&'a Trace>)>,
}

/// Where dead letters go.
#[derive(Clone, Copy, Debug)]
pub(super) enum Move {
    /// Back to pending.
    Redrive(Again),
    /// Away.
    Discard,
}

/// Why a statement failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// The one job is to blame.
    Unstorable(Arc<str>),
    /// The file is; the group cannot go on.
    Io(Arc<str>),
}

/// Rows of an event's deliveries: `deliveries.id` = `events.seq` × this + ordinal.
pub(super) const TARGETS_MAX: i64 = 4096;

/// What is kept of an attempt's error.
const ERROR_BYTES_MAX: usize = 1024;

/// What is kept of an answer.
const SNIPPET_BYTES_MAX: usize = 4096;

// === impl Group ===

impl Group<'_> {
    /// Stores an event with its deliveries, unless it is remembered.
    pub(super) fn admit(&mut self, admission: &Admission) -> Result<Done, Fault> {
        let quarantined = matches!(admission.fate, Fate::Quarantined { .. });
        let source = self.ledger.source(self.connection, &admission.source)?;
        let mark = admission.fingerprint.filter(|_| !admission.dedupe_window.is_zero());
        if let Some(mark) = mark
            && let Some((id, quarantined)) =
                self.seen.first(&mut self.statements, (source, mark.0), admission.received_at)?
        {
            let quarantined = quarantined && self.is_quarantined(id)?;
            return Ok(Done::Admitted { id, duplicate: true, quarantined });
        }
        let seq = self.ledger.take_seq();
        if let Some(mark) = mark {
            let key = (source, mark.0);
            self.seen.remember(&mut self.statements, key, seq, admission, quarantined)?;
        }
        match &admission.fate {
            Fate::Readable { json, facts, targets, failed_routes } => {
                let state = if targets.is_empty() { "unrouted" } else { "routed" };
                let text = std::str::from_utf8(json)
                    .map_err(|_| Fault::Unstorable("the event is not UTF-8".into()))?;
                self.insert_event(seq, source, admission, state, Ok((text, facts)))?;
                self.mark_failed(seq, failed_routes)?;
                let new = New {
                    at: admission.received_at,
                    call_key: call_of(admission, facts),
                    event: Some((admission.id, json, admission.trace.as_ref())),
                };
                self.enqueue(seq, &new, targets)?;
                self.ledger.sources.change(source, |totals| {
                    totals.accepted += 1;
                    totals.routed += u64::from(!targets.is_empty());
                    totals.unrouted += u64::from(targets.is_empty());
                });
            }
            Fate::Quarantined { reason } => {
                self.insert_event(seq, source, admission, "quarantined", Err(reason))?;
                self.ledger.sources.change(source, |totals| {
                    totals.accepted += 1;
                    totals.quarantined += 1;
                });
            }
        }
        self.keep_trace(seq, admission.trace.as_ref())?;
        self.stored += 1;
        Ok(Done::Admitted { id: admission.id, duplicate: false, quarantined })
    }

    /// Whether an event that came in unreadable has not been released since.
    fn is_quarantined(&self, id: EventId) -> Result<bool, Fault> {
        let released = self
            .connection
            .prepare_cached("SELECT 1 FROM events WHERE id = ?1 AND state <> 'quarantined'")?
            .query_row([id.as_bytes()], |_| Ok(()))
            .optional()?;
        Ok(released.is_none())
    }

    fn insert_event(
        &mut self,
        seq: i64,
        source: i64,
        admission: &Admission,
        state: &str,
        read: Result<(&str, &CallFacts), &str>,
    ) -> Result<(), Fault> {
        let facts = read.as_ref().ok().map(|(_, facts)| *facts);
        self.statements.event.execute(params![
            seq,
            admission.id.as_bytes(),
            source,
            admission.provider,
            admission.received_at.as_millisecond(),
            state,
            read.as_ref().err(),
            facts.map(|facts| facts.status.as_str()),
            facts.and_then(|facts| facts.call_id.as_deref()),
            facts.and_then(|facts| facts.reference.as_deref()),
            facts.and_then(|facts| facts.from.as_deref()),
            facts.and_then(|facts| facts.to.as_deref()),
            read.as_ref().ok().map(|(json, _)| *json),
        ])?;
        let request = &admission.request;
        self.statements.request.execute(params![
            seq,
            request.method,
            request.query,
            request.content_type,
            &*request.body
        ])?;
        Ok(())
    }

    /// Keeps the trace of an event. Rare, so that the column costs the others nothing.
    fn keep_trace(&self, seq: i64, trace: Option<&Trace>) -> Result<(), Fault> {
        let Some(trace) = trace else { return Ok(()) };
        self.connection
            .prepare_cached("UPDATE events SET trace = ?2, trace_state = ?3 WHERE seq = ?1")?
            .execute(params![
                seq,
                trace.parent.to_bytes(),
                trace.state.as_ref().map(TraceState::as_str)
            ])?;
        Ok(())
    }

    /// Marks an event with the routes whose condition failed on it. Rare, so that the column
    /// costs the others nothing.
    pub(super) fn mark_failed(&self, seq: i64, routes: &[String]) -> Result<(), Fault> {
        if routes.is_empty() {
            return Ok(());
        }
        self.connection
            .prepare_cached("UPDATE events SET failed_routes = ?2 WHERE seq = ?1")?
            .execute(params![seq, routes.join("\n")])?;
        Ok(())
    }

    /// Queues an event for its targets.
    pub(super) fn enqueue(
        &mut self,
        seq: i64,
        new: &New<'_>,
        targets: &[TargetName],
    ) -> Result<(), Fault> {
        if i64::try_from(targets.len()).map_or(true, |targets| targets > TARGETS_MAX) {
            return Err(Fault::Unstorable(
                format!("{} targets, the most is {TARGETS_MAX}", targets.len()).into(),
            ));
        }
        for (ordinal, name) in (0_i64..).zip(targets) {
            if targets.iter().position(|other| other == name) != usize::try_from(ordinal).ok() {
                continue; // One delivery per event and target, whatever the caller says.
            }
            let target = self.ledger.target(self.connection, name)?;
            let terms = self.ledger.terms(target);
            let queue = new.call_key.filter(|_| terms.turns.taken());
            let waits = match queue {
                Some(queue) => self.first_of(target, queue)?.is_some(),
                None => false,
            };
            let (id, at) = (seq * TARGETS_MAX + ordinal, new.at.as_millisecond());
            self.statements.delivery.execute(params![
                id,
                target,
                at,
                (!waits).then_some(at),
                new.call_key,
                terms.stood_at(at),
                queue
            ])?;
            self.ledger.targets.change(target, |totals| {
                totals.enqueued += 1;
                totals.pending += 1;
            });
            if !waits {
                self.is_due(DeliveryId(id), name, new);
            }
        }
        Ok(())
    }

    /// Hands a delivery over that is due as soon as it is committed.
    fn is_due(&mut self, id: DeliveryId, target: &TargetName, new: &New<'_>) {
        let Some((event, json, trace)) = new.event else { return self.wake(target) };
        self.news.handed.push(Delivery {
            id,
            target: target.clone(),
            event,
            json: json.clone(),
            trace: trace.cloned(),
            // As it is read from the file.
            since: Timestamp::from_millisecond(new.at.as_millisecond()).unwrap_or(new.at),
            stood: Duration::ZERO,
            round: 0,
            new_id: false,
            attempts: 0,
        });
    }

    /// Keeps an outcome, unless it is kept already.
    pub(super) fn settle(&mut self, outcome: &Outcome) -> Result<Done, Fault> {
        let Outcome { id, target: name, round, attempt, settlement } = outcome;
        let Some(target) = self.ledger.targets.id(name) else { return Ok(Done::Settled) };
        let (state, next_at, reason) = match settlement {
            Settlement::Delivered => (1, None, None),
            Settlement::Retry { at } => (0, Some(at.as_millisecond()), None),
            Settlement::Dead { reason } => (2, None, Some(reason.as_str())),
        };
        let error = attempt.error.as_deref().map(|error| cut(error, ERROR_BYTES_MAX));
        let turn = self.turn_of(target, id.0)?;
        let settled = self.statements.outcome.execute(params![
            id.0,
            target,
            round,
            attempt.number,
            state,
            next_at,
            self.now.as_millisecond(),
            attempt.status,
            error,
            reason
        ])?;
        if settled == 0 {
            return Ok(Done::Settled);
        }
        let snippet = attempt.snippet.as_ref().map(Bytes::as_ref);
        self.statements.attempt.execute(params![
            id.0,
            round,
            attempt.number,
            attempt.at.as_millisecond(),
            i64::try_from(attempt.took.as_micros()).unwrap_or(i64::MAX),
            attempt.status,
            error,
            snippet.map(|snippet| snippet.get(..SNIPPET_BYTES_MAX).unwrap_or(snippet)),
        ])?;
        self.ledger.targets.change(target, |totals| match settlement {
            Settlement::Delivered => {
                totals.pending -= 1;
                totals.delivered += 1;
            }
            Settlement::Retry { .. } => {}
            Settlement::Dead { .. } => {
                totals.pending -= 1;
                totals.dead += 1;
            }
        });
        match settlement {
            Settlement::Retry { at } if *at <= self.now => self.wake(name),
            Settlement::Retry { .. } => {}
            Settlement::Delivered | Settlement::Dead { .. } => self.pass_turn(target, turn)?,
        }
        Ok(Done::Settled)
    }

    /// Moves those of `ids` that are still dead.
    pub(super) fn move_dead(&mut self, ids: &[DeliveryId], to: Move) -> Result<Done, Fault> {
        let mut moved = 0;
        for DeliveryId(id) in ids {
            let target = self
                .connection
                .prepare_cached("SELECT target FROM deliveries WHERE id = ?1 AND state = 2")?
                .query_row([id], |row| row.get(0));
            let Some(target) = target.optional()? else { continue };
            match to {
                Move::Redrive(again) => self.send_again(*id, target, DEAD, again)?,
                Move::Discard => self.discard(*id, target)?,
            }
            moved += 1;
        }
        Ok(Done::Moved(moved))
    }

    fn discard(&mut self, id: i64, target: i64) -> Result<(), Fault> {
        self.connection
            .prepare_cached("UPDATE deliveries SET state = 3, settled_at = ?2 WHERE id = ?1")?
            .execute([id, self.now.as_millisecond()])?;
        self.ledger.targets.change(target, |totals| {
            totals.dead -= 1;
            totals.discarded += 1;
        });
        Ok(())
    }

    pub(super) fn wake(&mut self, target: &TargetName) {
        if !self.news.woken.contains(target) {
            self.news.woken.insert(target.clone());
        }
    }
}

// === impl Fault ===

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        let told = || Arc::from(error.to_string());
        match error.sqlite_error_code() {
            Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch) => {
                Self::Unstorable(told())
            }
            _ => Self::Io(told()),
        }
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unstorable(why) => Self::Unstorable(why),
            Fault::Io(why) => Self::Io(why),
        }
    }
}

/// The call an admission is of.
pub(super) fn call_of(admission: &Admission, facts: &CallFacts) -> Option<i64> {
    let (id, reference) = (facts.call_id.as_deref(), facts.reference.as_deref());
    call_key(admission.source.as_str(), id, reference)
}

/// Tells the calls of a source apart: FNV-1a over source, kind and value, in 64 bits. Kept in the
/// file, so the definition is for ever. Two calls that collide are delivered in order, no more.
pub(super) fn call_key(source: &str, id: Option<&str>, reference: Option<&str>) -> Option<i64> {
    let (kind, value) = match (id, reference) {
        (Some(id), _) => (b"i", id),
        (None, Some(reference)) => (b"r", reference),
        (None, None) => return None,
    };
    let key = [source.as_bytes(), &[0], kind, value.as_bytes()]
        .into_iter()
        .flatten()
        .fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3)
        });
    Some(i64::from_ne_bytes(key.to_ne_bytes()))
}

fn cut(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or(text)
}
