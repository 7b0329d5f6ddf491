//! Calls whose deliveries take turns, and the verbs that concern a target as a whole.
//!
//! Of the pending deliveries in one queue exactly one has its turn: it has a `next_at`, the others
//! have none. Whatever ends it passes the turn on to the oldest of the others, so that what waits
//! is looked at once, when its time has come, and costs nothing before. One that was put off, by a
//! `Retry-After` as it may be, and then comes to wait keeps its instant in `not_before`.

use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, params};

use super::{
    amend::Amended,
    group::{Fault, Group},
    terms::Turns,
};
use crate::{
    route::TargetName,
    store::{BuryReason, DeliveryId, Lapse},
};

/// The turn in a queue: whoever ends what has it passes it on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn(pub(super) i64);

/// Where the joining of older deliveries has got to: `since` and id of the last.
pub(super) type Joined = (i64, i64);

/// A delivery that is too old, as a reader found it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lapsed {
    pub(super) id: DeliveryId,
    pub(super) round: u32,
}

/// Deliveries whose order changes in one job: a change of relay.toml must not stall the commits.
const JOIN_ROWS: i64 = 500;

// === impl Group: turns ===

impl Group<'_> {
    /// Who is first in a queue.
    pub(super) fn first_of(&self, target: i64, queue: i64) -> Result<Option<i64>, Fault> {
        let first = self
            .connection
            .prepare_cached(
                "SELECT id FROM deliveries INDEXED BY deliveries_queue \
                 WHERE target = ?1 AND queue = ?2 AND state = 0 ORDER BY id LIMIT 1",
            )?
            .query_row([target, queue], |row| row.get(0))
            .optional()?;
        Ok(first)
    }

    /// The turn a delivery has, if it waits in a queue and is first of it.
    pub(super) fn turn_of(&self, target: i64, id: i64) -> Result<Option<Turn>, Fault> {
        if !self.ledger.terms(target).turns.taken() {
            return Ok(None);
        }
        let queue = self
            .connection
            .prepare_cached(
                "SELECT queue FROM deliveries \
                 WHERE id = ?1 AND state = 0 AND next_at IS NOT NULL AND queue IS NOT NULL",
            )?
            .query_row([id], |row| row.get(0))
            .optional()?;
        Ok(queue.map(Turn))
    }

    /// One that had its turn has ended: the oldest of its queue is next. It is as due as it would
    /// have been without waiting: it does not wait behind younger calls as well, nor is it
    /// attempted earlier than its target asked for.
    pub(super) fn pass_turn(&mut self, target: i64, turn: Option<Turn>) -> Result<(), Fault> {
        let Some(Turn(queue)) = turn else { return Ok(()) };
        let Some(next) = self.first_of(target, queue)? else { return Ok(()) };
        self.connection
            .prepare_cached(
                "UPDATE deliveries SET next_at = coalesce(not_before, since), not_before = NULL \
                 WHERE id = ?1 AND next_at IS NULL",
            )?
            .execute([next])?;
        self.wake_number(target);
        Ok(())
    }

    /// Gives a delivery that has just become pending again its age from `since` on, and its place
    /// in the queue of its call.
    pub(super) fn enrol(&mut self, target: i64, id: i64, since: i64) -> Result<(), Fault> {
        let terms = self.ledger.terms(target);
        self.connection
            .prepare_cached(
                "UPDATE deliveries SET stood = ?2, queue = NULL, not_before = NULL WHERE id = ?1",
            )?
            .execute([id, terms.stood_at(since)])?;
        self.join_queue(target, id)
    }

    /// Puts a pending delivery that is in no queue into that of its call, if its target keeps any.
    pub(super) fn join_queue(&self, target: i64, id: i64) -> Result<(), Fault> {
        if !self.ledger.terms(target).turns.taken() {
            return Ok(());
        }
        let call: Option<i64> = self
            .connection
            .prepare_cached("SELECT call_key FROM deliveries WHERE id = ?1")?
            .query_row([id], |row| row.get(0))?;
        let Some(call) = call else { return Ok(()) };
        let waits = self.first_of(target, call)?.is_some();
        self.connection
            .prepare_cached(
                "UPDATE deliveries SET queue = ?2, next_at = iif(?3, NULL, next_at) WHERE id = ?1",
            )?
            .execute(params![id, call, waits])?;
        Ok(())
    }

    /// Makes the deliveries of a target take turns, or not, a step at a time. Where to go on, while
    /// there is more to do. No attempt at the target may be out or begin meanwhile.
    pub(super) fn take_turns(
        &mut self,
        name: &TargetName,
        by_call: bool,
        after: Option<Joined>,
    ) -> Result<Amended, Fault> {
        let target = self.ledger.target(self.connection, name)?;
        let terms = self.ledger.terms(target);
        let turns = match (by_call, terms.turns) {
            (true, Turns::ByCall) => return Ok(Amended::default()),
            (true, Turns::None | Turns::Joining) => Turns::Joining,
            (false, _) => Turns::None,
        };
        self.ledger.set_terms(self.connection, target, terms.taking(turns))?;
        let next = if by_call {
            self.join(target, after.unwrap_or((i64::MIN, 0)))?
        } else {
            self.part(target)?
        };
        if by_call && next.is_none() {
            self.ledger.set_terms(self.connection, target, terms.taking(Turns::ByCall))?;
        }
        Ok(Amended { joined: next, ..Amended::default() })
    }

    fn join(&mut self, target: i64, after: Joined) -> Result<Option<Joined>, Fault> {
        let mut query = self.connection.prepare_cached(
            "SELECT since, id, call_key, queue FROM deliveries INDEXED BY deliveries_since \
             WHERE target = ?1 AND state = 0 AND (since, id) > (?2, ?3) ORDER BY since, id LIMIT ?4",
        )?;
        let rows = query.query_map(params![target, after.0, after.1, JOIN_ROWS], |row| {
            Ok((
                (row.get(0)?, row.get(1)?),
                row.get::<_, Option<i64>>(2)?,
                row.get::<_, Option<i64>>(3)?,
            ))
        })?;
        let rows: Vec<(Joined, Option<i64>, Option<i64>)> = rows.collect::<Result<_, _>>()?;
        for ((_, id), call, queue) in &rows {
            if let (Some(call), None) = (call, queue) {
                self.line_up(target, *id, *call)?;
            }
        }
        let more = i64::try_from(rows.len()).is_ok_and(|rows| rows >= JOIN_ROWS);
        Ok(rows.last().map(|(last, ..)| *last).filter(|_| more))
    }

    /// Puts a pending delivery into its place in the queue of its call, be it before one that has
    /// the turn: no attempt at the target may be out.
    fn line_up(&self, target: i64, id: i64, call: i64) -> Result<(), Fault> {
        let first = self.first_of(target, call)?;
        if let Some(first) = first.filter(|first| *first > id) {
            // Younger, and came first: what was committed since, accepted out of order, or there
            // before this was taken over.
            self.take_turn(target, call, first)?;
        }
        let waits = first.is_some_and(|first| first < id);
        self.connection
            .prepare_cached(
                "UPDATE deliveries SET queue = ?2, next_at = iif(?3, NULL, next_at), \
                 not_before = iif(?3, next_at, NULL) WHERE id = ?1",
            )?
            .execute(params![id, call, waits])?;
        Ok(())
    }

    /// Takes the turn from whoever has it: the first, but when that came back from the dead behind a
    /// younger one. Only then all are looked at, and the next one finds the turn with the first.
    fn take_turn(&self, target: i64, call: i64, first: i64) -> Result<(), Fault> {
        let had = self
            .connection
            .prepare_cached(
                "UPDATE deliveries SET not_before = next_at, next_at = NULL \
                 WHERE id = ?1 AND next_at IS NOT NULL",
            )?
            .execute([first])?;
        if had == 0 {
            self.connection
                .prepare_cached(
                    "UPDATE deliveries INDEXED BY deliveries_queue \
                     SET not_before = next_at, next_at = NULL \
                     WHERE target = ?1 AND queue = ?2 AND state = 0 AND next_at IS NOT NULL",
                )?
                .execute([target, call])?;
        }
        Ok(())
    }

    /// Puts a delivery that was taken over into its place in the queue of its call, if its target
    /// keeps any. No attempt at the target may be out.
    pub(super) fn line_up_adopted(&self, target: i64, id: i64) -> Result<(), Fault> {
        if !self.ledger.terms(target).turns.taken() {
            return Ok(());
        }
        let call: Option<i64> = self
            .connection
            .prepare_cached("SELECT call_key FROM deliveries WHERE id = ?1")?
            .query_row([id], |row| row.get(0))?;
        call.map_or(Ok(()), |call| self.line_up(target, id, call))
    }

    fn part(&mut self, target: i64) -> Result<Option<Joined>, Fault> {
        let parted = self
            .connection
            .prepare_cached(
                "UPDATE deliveries SET queue = NULL, not_before = NULL, \
                 next_at = coalesce(next_at, not_before, since) \
                 WHERE id IN (SELECT id FROM deliveries INDEXED BY deliveries_queue \
                 WHERE target = ?1 AND state = 0 AND queue IS NOT NULL LIMIT ?2)",
            )?
            .execute([target, JOIN_ROWS])?;
        self.wake_number(target);
        // No cursor: those that have parted are not found again.
        Ok(i64::try_from(parted).is_ok_and(|parted| parted >= JOIN_ROWS).then_some((0, 0)))
    }
}

// === impl Group: the target as a whole ===

impl Group<'_> {
    /// Pauses a target, or has it go on. Whether that changed anything.
    pub(super) fn pause(&mut self, name: &TargetName, paused: bool) -> Result<u64, Fault> {
        let target = self.ledger.target(self.connection, name)?;
        let terms = self.ledger.terms(target).paused(paused, self.now.as_millisecond());
        let changed = self.ledger.set_terms(self.connection, target, terms)?;
        if changed {
            self.wake_number(target);
        }
        Ok(u64::from(changed))
    }

    /// Takes note of who is configured: of everyone else the deliveries do not age.
    pub(super) fn configure(&mut self, names: &[TargetName]) -> Result<u64, Fault> {
        let now = self.now.as_millisecond();
        for (target, name) in self.ledger.targets.names() {
            let terms = self.ledger.terms(target).orphaned(!names.contains(&name), now);
            self.ledger.set_terms(self.connection, target, terms)?;
        }
        Ok(0)
    }

    /// What is owed to a target that was first heard of when it was gone does not age either.
    pub(super) fn orphan_new(
        &mut self,
        is_declared: impl Fn(&TargetName) -> bool,
    ) -> Result<(), Fault> {
        for target in self.ledger.take_new_targets() {
            if self.ledger.targets.name(target).is_some_and(|name| !is_declared(name)) {
                let terms = self.ledger.terms(target).orphaned(true, self.now.as_millisecond());
                self.ledger.set_terms(self.connection, target, terms)?;
            }
        }
        Ok(())
    }

    /// Buries those that are still pending in the round they were found in.
    pub(super) fn lapse(
        &mut self,
        name: &TargetName,
        found: &[Lapsed],
        lapse: &Lapse,
    ) -> Result<u64, Fault> {
        let Some(target) = self.ledger.targets.id(name) else { return Ok(0) };
        let mut buried = 0;
        for Lapsed { id, round } in found {
            let turn = self.turn_of(target, id.0)?;
            let moved = self
                .connection
                .prepare_cached(
                    "UPDATE deliveries SET state = 2, next_at = NULL, settled_at = ?4, \
                     status = coalesce(?5, status), error = coalesce(?6, error), reason = ?7 \
                     WHERE id = ?1 AND target = ?2 AND round = ?3 AND state = 0",
                )?
                .execute(params![
                    id.0,
                    target,
                    round,
                    self.now.as_millisecond(),
                    lapse.status,
                    lapse.error,
                    BuryReason::ExpiredWhileTripped.as_str()
                ])?;
            if moved == 0 {
                continue;
            }
            buried += 1;
            self.ledger.targets.change(target, |totals| {
                totals.pending -= 1;
                totals.dead += 1;
            });
            self.pass_turn(target, turn)?;
        }
        Ok(buried)
    }

    fn wake_number(&mut self, target: i64) {
        if let Some(name) = self.ledger.targets.name(target).cloned() {
            self.wake(&name);
        }
    }
}

/// When a delivery that is too old at `now` began to age, at the latest, in the target's own time.
pub(super) fn lapsed_before(now: Timestamp, lapse: &Lapse) -> i64 {
    let limit = i64::try_from(lapse.older_than.as_millis()).unwrap_or(i64::MAX);
    now.as_millisecond().saturating_sub(limit)
}
