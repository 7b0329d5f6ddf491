//! What one transaction does beyond the road: releasing, sending again, adopting, burying,
//! purging and erasing. Each is one bounded step, found by a reader and checked again here.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{
    group::{Done, Fault, Group, New, TARGETS_MAX, call_key, call_of},
    queries::routes,
    seen::{Key, Seen},
    turns::{Joined, Lapsed, Turn},
};
use crate::{
    route::TargetName,
    store::{
        Admission, Again, BuryReason, DeliveryId, DeliveryTotals, Erased, Fate, Lapse, Purged,
    },
};

/// What the writer is asked to amend.
#[derive(Debug)]
pub(super) enum Amend {
    /// Gives a waiting event its reading and its targets.
    Release(Box<Admission>),
    /// Sets deliveries of these events pending, or makes them.
    Replay { events: Vec<i64>, targets: Vec<TargetName>, again: Again },
    /// Gives one target what another is owed.
    Adopt { old: TargetName, new: TargetName },
    /// Makes dead letters of what a target is owed.
    Bury(TargetName),
    /// Gives up dead letters, and removes events that wait for nothing more.
    Purge { expire: Vec<DeliveryId>, remove: Vec<i64> },
    /// Removes events whatever they wait for, with those of their fingerprints that were found.
    Erase { events: Vec<i64>, keys: Vec<Key> },
    /// Removes fingerprints from the tree.
    Forget(Vec<Key>),
    /// Gives free pages back.
    Shrink,
    /// Pauses a target, or has it go on.
    Pause { target: TargetName, paused: bool },
    /// Takes note of who is configured.
    Configure(Vec<TargetName>),
    /// Makes the deliveries of a target take turns by call, or not.
    TakeTurns { target: TargetName, by_call: bool, after: Option<Joined> },
    /// Buries what is too old.
    Lapse { target: TargetName, found: Vec<Lapsed>, lapse: Lapse },
}

/// What came of it; what has no meaning for the deed is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amended {
    pub(super) moved: u64,
    pub(super) purged: Purged,
    pub(super) erased: Erased,
    /// Where deliveries that join their queues go on.
    pub(super) joined: Option<Joined>,
}

/// A delivery that was removed with its event.
struct Gone {
    target: i64,
    state: i64,
    turn: Option<Turn>,
}

/// Rows moved in one step, so that no commit is held up by more than a few milliseconds.
const ROWS_PER_STEP: usize = 256;

const PENDING: i64 = 0;
pub(super) const DEAD: i64 = 2;
const DISCARDED: i64 = 3;

// === impl Group ===

impl Group<'_> {
    /// Does one step.
    pub(super) fn amend(&mut self, amend: &Amend) -> Result<Done, Fault> {
        let done = match amend {
            Amend::Release(admission) => moved(self.release(admission)?),
            Amend::Replay { events, targets, again } => {
                moved(self.replay(events, targets, *again)?)
            }
            Amend::Adopt { old, new } => moved(self.adopt(old, new)?),
            Amend::Bury(target) => moved(self.bury(target)?),
            Amend::Purge { expire, remove } => self.purge(expire, remove)?,
            Amend::Erase { events, keys } => self.erase(events, keys)?,
            Amend::Forget(keys) => self.forget(keys)?,
            Amend::Shrink => self.shrink()?,
            Amend::Pause { target, paused } => moved(self.pause(target, *paused)?),
            Amend::Configure(targets) => moved(self.configure(targets)?),
            Amend::TakeTurns { target, by_call, after } => {
                self.take_turns(target, *by_call, *after)?
            }
            Amend::Lapse { target, found, lapse } => moved(self.lapse(target, found, lapse)?),
        };
        Ok(Done::Amended(Box::new(done)))
    }

    fn release(&mut self, admission: &Admission) -> Result<u64, Fault> {
        let Fate::Readable { json, facts, targets, failed_routes } = &admission.fate else {
            return Ok(0);
        };
        let waiting: Option<(i64, i64, String, Vec<String>)> = self
            .connection
            .prepare_cached(
                "SELECT seq, source, state, failed_routes FROM events \
                 WHERE id = ?1 AND state <> 'routed'",
            )?
            .query_row([admission.id.as_bytes()], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, routes(row, 3)?))
            })
            .optional()?;
        let Some((seq, source, state, mut marked)) = waiting else { return Ok(0) };
        let is_unrouted = state == "unrouted";
        if is_unrouted && targets.is_empty() {
            // It stays as it is. A route that fails on it now joins those that did before, which
            // were counted and are not to be counted again.
            let mut newly = failed_routes.clone();
            newly.retain(|route| !marked.contains(route));
            if !newly.is_empty() {
                marked.append(&mut newly);
                self.mark_failed(seq, &marked)?;
            }
            return Ok(0);
        }
        let json = std::str::from_utf8(json)
            .map_err(|_| Fault::Unstorable("the event is not UTF-8".into()))?;
        self.connection
            .prepare_cached(
                "UPDATE events SET state = ?2, reason = NULL, provider = ?3, status = ?4, \
                 call_id = ?5, reference = ?6, number_from = ?7, number_to = ?8, json = ?9, \
                 failed_routes = NULL \
                 WHERE seq = ?1",
            )?
            .execute(params![
                seq,
                if targets.is_empty() { "unrouted" } else { "routed" },
                admission.provider,
                facts.status.as_str(),
                facts.call_id,
                facts.reference,
                facts.from,
                facts.to,
                json,
            ])?;
        self.mark_failed(seq, failed_routes)?;
        // Its age begins now: a release after days must not expire at once.
        let call_key = call_of(admission, facts);
        self.enqueue(seq, &New { at: self.now, call_key, event: None }, targets)?;
        self.ledger.sources.change(source, |totals| {
            totals.unrouted -= u64::from(is_unrouted);
            totals.quarantined -= u64::from(!is_unrouted);
            totals.unrouted += u64::from(targets.is_empty());
            totals.routed += u64::from(!targets.is_empty());
        });
        self.seen.remember_released(
            self.connection,
            &mut self.statements,
            source,
            admission,
            self.now,
        )?;
        Ok(1)
    }

    fn replay(
        &mut self,
        events: &[i64],
        targets: &[TargetName],
        again: Again,
    ) -> Result<u64, Fault> {
        let at = again.at;
        let mut sent = 0;
        for seq in events {
            // The event may have been erased since it was found.
            let found: Option<(i64, String, Option<i64>)> = self
                .connection
                .prepare_cached(
                    "SELECT e.source, e.state, s.name, e.call_id, e.reference \
                     FROM events e CROSS JOIN sources s \
                     WHERE e.seq = ?1 AND e.json IS NOT NULL AND s.id = e.source",
                )?
                .query_row([seq], |row| {
                    let name = row.get_ref(2)?.as_str()?;
                    let id = row.get_ref(3)?.as_str_or_null()?;
                    let reference = row.get_ref(4)?.as_str_or_null()?;
                    Ok((row.get(0)?, row.get(1)?, call_key(name, id, reference)))
                })
                .optional()?;
            let Some((source, state, key)) = found else { continue };
            let mut wanted = Vec::new();
            for name in targets {
                wanted.push(self.ledger.target(self.connection, name)?);
            }
            let rows = self.rows_of(*seq)?;
            for (id, target, state) in &rows {
                if (wanted.is_empty() || wanted.contains(target)) && *state != PENDING {
                    self.send_again(*id, *target, *state, again)?;
                    sent += 1;
                }
            }
            let mut next = rows.last().map_or(first_of(*seq), |(id, ..)| id + 1);
            for target in wanted {
                if rows.iter().any(|(_, known, _)| *known == target) {
                    continue;
                }
                if next >= first_of(*seq + 1) {
                    return Err(Fault::Unstorable("the event has too many targets".into()));
                }
                self.connection
                    .prepare_cached(
                        "INSERT INTO deliveries (id, target, state, round, attempts, since, \
                         next_at, call_key) VALUES (?1, ?2, 0, 0, 0, ?3, ?3, ?4)",
                    )?
                    .execute(params![next, target, at.as_millisecond(), key])?;
                self.enrol(target, next, at.as_millisecond())?;
                self.ledger.targets.change(target, |totals| {
                    totals.enqueued += 1;
                    totals.pending += 1;
                });
                self.wake_if_due(target, at);
                (next, sent) = (next + 1, sent + 1);
            }
            if state == "unrouted" && next > first_of(*seq) {
                self.connection
                    .prepare_cached("UPDATE events SET state = 'routed' WHERE seq = ?1")?
                    .execute([seq])?;
                self.ledger.sources.change(source, |totals| {
                    totals.unrouted -= 1;
                    totals.routed += 1;
                });
            }
        }
        Ok(sent)
    }

    fn rows_of(&self, seq: i64) -> Result<Vec<(i64, i64, i64)>, Fault> {
        let mut query = self.connection.prepare_cached(
            "SELECT id, target, state FROM deliveries WHERE id >= ?1 AND id < ?2 ORDER BY id",
        )?;
        let rows = query.query_map([first_of(seq), first_of(seq + 1)], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Sets a delivery that was in state `from` pending in its next round.
    pub(super) fn send_again(
        &mut self,
        id: i64,
        target: i64,
        from: i64,
        again: Again,
    ) -> Result<(), Fault> {
        let Again { at, new_id } = again;
        self.connection
            .prepare_cached(
                "UPDATE deliveries SET state = 0, round = round + 1, attempts = 0, since = ?2, \
                 next_at = ?2, settled_at = ?3, reason = NULL, new_id = ?4 WHERE id = ?1",
            )?
            .execute(params![id, at.as_millisecond(), self.now.as_millisecond(), new_id])?;
        self.enrol(target, id, at.as_millisecond())?;
        self.ledger.targets.change(target, |totals| {
            *of_state(totals, from) -= 1;
            totals.pending += 1;
        });
        self.wake_if_due(target, at);
        Ok(())
    }

    fn adopt(&mut self, old: &TargetName, new: &TargetName) -> Result<u64, Fault> {
        let Some(from) = self.ledger.targets.id(old) else { return Ok(0) };
        if old == new {
            return Ok(0);
        }
        let mut rows = owed(self.connection, from)?;
        rows.extend(
            dead_of_target(self.connection, from)?
                .into_iter()
                .take(ROWS_PER_STEP.saturating_sub(rows.len())),
        );
        if rows.is_empty() {
            return Ok(0);
        }
        let to = self.ledger.target(self.connection, new)?;
        for (id, state) in &rows {
            let seq = id / TARGETS_MAX;
            if self.rows_of(seq)?.iter().any(|(_, target, _)| *target == to) {
                // The event has a delivery for the new name already: one of them is enough.
                self.end(from, *id, DISCARDED, BuryReason::Orphaned.as_str())?;
                self.ledger.targets.change(from, |totals| {
                    *of_state(totals, *state) -= 1;
                    totals.discarded += 1;
                });
                continue;
            }
            self.move_over(*id, from, to)?;
            self.ledger.targets.change(from, |totals| {
                totals.enqueued -= 1;
                *of_state(totals, *state) -= 1;
            });
            self.ledger.targets.change(to, |totals| {
                totals.enqueued += 1;
                *of_state(totals, *state) += 1;
            });
        }
        self.wake(new);
        Ok(count(rows.len()))
    }

    fn bury(&mut self, name: &TargetName) -> Result<u64, Fault> {
        let Some(target) = self.ledger.targets.id(name) else { return Ok(0) };
        let rows = owed(self.connection, target)?;
        for (id, _) in &rows {
            self.end(target, *id, DEAD, BuryReason::Orphaned.as_str())?;
            self.ledger.targets.change(target, |totals| {
                totals.pending -= 1;
                totals.dead += 1;
            });
        }
        Ok(count(rows.len()))
    }

    /// Gives a delivery to another target: as old as it is, and in its place among those of its call.
    fn move_over(&mut self, id: i64, from: i64, to: i64) -> Result<(), Fault> {
        let turn = self.turn_of(from, id)?;
        let now = self.now.as_millisecond();
        let ahead = self.ledger.terms(to).stood_at(now) - self.ledger.terms(from).stood_at(now);
        let pending = self
            .connection
            .prepare_cached(
                "UPDATE deliveries SET target = ?2, queue = NULL, stood = stood + ?3, \
                 next_at = iif(state = 0, coalesce(next_at, not_before, since), NULL), \
                 not_before = NULL \
                 WHERE id = ?1 RETURNING state = 0",
            )?
            .query_row([id, to, ahead], |row| row.get(0))?;
        if pending {
            self.line_up_adopted(to, id)?;
        }
        self.pass_turn(from, turn)
    }

    /// Takes a delivery off its target's queue.
    fn end(&mut self, target: i64, id: i64, state: i64, reason: &str) -> Result<(), Fault> {
        let turn = self.turn_of(target, id)?;
        self.connection
            .prepare_cached(
                "UPDATE deliveries SET state = ?2, next_at = NULL, settled_at = ?3, reason = ?4 \
                 WHERE id = ?1",
            )?
            .execute(params![id, state, self.now.as_millisecond(), reason])?;
        self.pass_turn(target, turn)
    }

    fn purge(&mut self, expire: &[DeliveryId], remove: &[i64]) -> Result<Amended, Fault> {
        let mut purged = Purged::default();
        for id in expire {
            let dead: Option<i64> = self
                .connection
                .prepare_cached("SELECT target FROM deliveries WHERE id = ?1 AND state = 2")?
                .query_row([id.0], |row| row.get(0))
                .optional()?;
            let Some(target) = dead else { continue };
            self.end(target, id.0, DISCARDED, BuryReason::Expired.as_str())?;
            self.ledger.targets.change(target, |totals| {
                totals.dead -= 1;
                totals.discarded += 1;
            });
            purged.dead += 1;
        }
        for seq in remove {
            // What a person redrove or replayed since it was found waits again.
            let waits =
                self.rows_of(*seq)?.iter().any(|(.., state)| [PENDING, DEAD].contains(state));
            if waits {
                continue;
            }
            match self.remove(*seq)?.0.as_deref() {
                Some("routed") => purged.history += 1,
                Some(_) => purged.waiting += 1,
                None => {}
            }
        }
        if !remove.is_empty() {
            self.ledger.mark_seq(self.connection)?;
        }
        Ok(Amended { purged, ..Amended::default() })
    }

    fn erase(&mut self, events: &[i64], keys: &[Key]) -> Result<Amended, Fault> {
        // Freed pages are overwritten too, for this deed only: it costs writes.
        secure_delete(self.connection, "PRAGMA secure_delete = ON")?;
        let erased = self.remove_all(events, keys);
        secure_delete(self.connection, "PRAGMA secure_delete = FAST")?;
        Ok(Amended { erased: erased?, ..Amended::default() })
    }

    fn remove_all(&mut self, events: &[i64], keys: &[Key]) -> Result<Erased, Fault> {
        let mut erased = Erased::default();
        for seq in events {
            erased.fingerprints += Seen::forget_event(self.connection, *seq)?;
            let (state, gone, attempts) = self.remove(*seq)?;
            erased.events += u64::from(state.is_some());
            erased.attempts += attempts;
            for Gone { target, state, turn } in gone {
                self.pass_turn(target, turn)?;
                erased.deliveries += 1;
                erased.pending += u64::from(state == PENDING);
                erased.dead += u64::from(state == DEAD);
                if state == PENDING {
                    self.news.recalled.extend(self.ledger.targets.name(target).cloned());
                }
                if [PENDING, DEAD].contains(&state) {
                    self.ledger.targets.change(target, |totals| {
                        *of_state(totals, state) -= 1;
                        totals.discarded += 1;
                    });
                }
            }
        }
        erased.fingerprints += self.remove_keys(keys)?;
        self.ledger.mark_seq(self.connection)?;
        Ok(erased)
    }

    /// Removes an event with all that belongs to it: its state, its deliveries, and how many
    /// attempts they had.
    fn remove(&mut self, seq: i64) -> Result<(Option<String>, Vec<Gone>, u64), Fault> {
        let range = [first_of(seq), first_of(seq + 1)];
        let attempts = self
            .connection
            .prepare_cached("DELETE FROM attempts WHERE delivery >= ?1 AND delivery < ?2")?
            .execute(range)?;
        let mut query = self.connection.prepare_cached(
            "DELETE FROM deliveries WHERE id >= ?1 AND id < ?2 RETURNING target, state, \
             iif(state = 0 AND next_at IS NOT NULL, queue, NULL)",
        )?;
        let rows = query
            .query_map(range, |row| {
                let turn: Option<i64> = row.get(2)?;
                Ok(Gone { target: row.get(0)?, state: row.get(1)?, turn: turn.map(Turn) })
            })?
            .collect::<rusqlite::Result<_>>()?;
        self.connection.prepare_cached("DELETE FROM requests WHERE seq = ?1")?.execute([seq])?;
        let state = self
            .connection
            .prepare_cached("DELETE FROM events WHERE seq = ?1 RETURNING state")?
            .query_row([seq], |row| row.get(0))
            .optional()?;
        Ok((state, rows, count(attempts)))
    }

    fn forget(&mut self, keys: &[Key]) -> Result<Amended, Fault> {
        secure_delete(self.connection, "PRAGMA secure_delete = ON")?;
        let removed = self.remove_keys(keys);
        secure_delete(self.connection, "PRAGMA secure_delete = FAST")?;
        let erased = Erased { fingerprints: removed?, ..Erased::default() };
        Ok(Amended { erased, ..Amended::default() })
    }

    fn remove_keys(&self, keys: &[Key]) -> Result<u64, Fault> {
        let mut removed = 0;
        for (source, fingerprint) in keys {
            let gone = self
                .connection
                .prepare_cached("DELETE FROM seen WHERE source = ?1 AND fingerprint = ?2")?
                .execute(params![source, fingerprint])?;
            removed += count(gone);
        }
        Ok(removed)
    }

    fn shrink(&self) -> Result<Amended, Fault> {
        let free = |connection: &Connection| -> rusqlite::Result<u64> {
            connection.prepare_cached("PRAGMA freelist_count")?.query_row([], |row| row.get(0))
        };
        let before = free(self.connection)?;
        let mut shrinking = self.connection.prepare_cached(SHRINK)?;
        let mut rows = shrinking.query([])?;
        while rows.next()?.is_some() {}
        let pages = before.saturating_sub(free(self.connection)?);
        Ok(Amended { purged: Purged { pages, ..Purged::default() }, ..Amended::default() })
    }

    fn wake_if_due(&mut self, target: i64, at: Timestamp) {
        if at <= self.now
            && let Some(name) = self.ledger.targets.name(target).cloned()
        {
            self.wake(&name);
        }
    }
}

/// Half a megabyte a step: as many pages may have to be moved.
const SHRINK: &str = "PRAGMA incremental_vacuum(64)";

fn moved(moved: u64) -> Amended {
    Amended { moved, ..Amended::default() }
}

fn of_state(totals: &mut DeliveryTotals, state: i64) -> &mut u64 {
    match state {
        PENDING => &mut totals.pending,
        1 => &mut totals.delivered,
        DEAD => &mut totals.dead,
        _ => &mut totals.discarded,
    }
}

/// A step of the pending deliveries of a target, the oldest first, with their state.
fn owed(connection: &Connection, target: i64) -> Result<Vec<(i64, i64)>, Fault> {
    let mut query = connection.prepare_cached(
        "SELECT id, state FROM deliveries INDEXED BY deliveries_since \
         WHERE target = ?1 AND state = 0 ORDER BY since, id LIMIT ?2",
    )?;
    step_of(&mut query, target)
}

/// A step of its dead letters, with their state.
fn dead_of_target(connection: &Connection, target: i64) -> Result<Vec<(i64, i64)>, Fault> {
    let mut query = connection.prepare_cached(
        "SELECT id, state FROM deliveries INDEXED BY deliveries_dead_of_target \
         WHERE target = ?1 AND state = 2 LIMIT ?2",
    )?;
    step_of(&mut query, target)
}

fn step_of(
    query: &mut rusqlite::CachedStatement<'_>,
    target: i64,
) -> Result<Vec<(i64, i64)>, Fault> {
    let most = i64::try_from(ROWS_PER_STEP).unwrap_or(i64::MAX);
    let rows = query.query_map([target, most], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn secure_delete(connection: &Connection, sql: &str) -> Result<(), Fault> {
    connection.prepare_cached(sql)?.query_row([], |_| Ok(()))?;
    Ok(())
}

fn first_of(seq: i64) -> i64 {
    seq.saturating_mul(TARGETS_MAX)
}

fn count(rows: usize) -> u64 {
    u64::try_from(rows).unwrap_or(u64::MAX)
}
