//! What is read from the file: the head of a target's queue, and the pages operators ask for.
//!
//! Every statement walks an index and stops after a bounded number of rows, so that no read
//! transaction lasts: a long one keeps the log from being folded in.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, params, types::Type};

use super::{group::TARGETS_MAX, terms::Terms, turns::Lapsed};
use crate::{
    event::{EventId, SourceName, Status, Trace, TraceParent, TraceState},
    route::TargetName,
    store::{
        Attempt, CallFacts, DeadLetter, Delivery, DeliveryId, DeliveryRecord, DeliveryState, Due,
        EventState, EventSummary, PastAttempt, Room, StoredEvent, StoredRequest,
    },
};

/// Rows of any page.
pub(super) const PAGE_ROWS_MAX: usize = 1000;

/// Rows looked at for one page of a filtered list; the page then ends short and says where to
/// go on.
pub(super) const SCANNED_MAX: usize = 10_000;

/// Bytes of events handed to one target at a time; the next ask brings the next.
const DUE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The due deliveries of a target, passing over those `held`, which is sorted, and those of events
/// younger than `durable`: they are in the log, and may yet be lost.
pub(super) fn due(
    connection: &Connection,
    target: &TargetName,
    (now, durable): (Timestamp, i64),
    held: &[DeliveryId],
    room: Room,
) -> rusqlite::Result<Due> {
    let Some((number, terms)) = terms_of(connection, target)? else { return Ok(Due::default()) };
    let stood = terms.stood_at(now.as_millisecond());
    let of = Of { target, number, stood, now: now.as_millisecond(), durable };
    let first = head(connection, of, false, held, room.first)?;
    let further = head(connection, of, true, held, room.further)?;
    let next_at = first.next_at.into_iter().chain(further.next_at).min();
    let mut found = first.found;
    found.extend(further.found);
    found.sort_unstable_by_key(|(at, delivery)| (*at, delivery.id));
    let deliveries = found.into_iter().map(|(_, delivery)| delivery).collect();
    // Read before the first row was, so that those of older events were there.
    let through = DeliveryId(durable.saturating_add(1).saturating_mul(TARGETS_MAX) - 1);
    Ok(Due { deliveries, next_at, more: (first.more, further.more), through })
}

/// Whose head is looked at, and when.
#[derive(Clone, Copy)]
struct Of<'a> {
    target: &'a TargetName,
    number: i64,
    /// How long it has stood still by now.
    stood: i64,
    now: i64,
    durable: i64,
}

/// What is due of a target's first attempts, or of its further ones.
struct Head {
    found: Vec<(i64, Delivery)>,
    more: bool,
    next_at: Option<Timestamp>,
}

fn head(
    connection: &Connection,
    of: Of<'_>,
    attempted: bool,
    held: &[DeliveryId],
    limit: usize,
) -> rusqlite::Result<Head> {
    let Of { target, number, stood, now, durable } = of;
    let mut head = Head { found: Vec::new(), more: false, next_at: None };
    let mut bytes = 0;
    // Of the index alone: what is held is passed over without a look at its row. What waits for
    // its turn has no next_at, and lies before the head.
    let mut query = connection.prepare_cached(
        "SELECT id, next_at FROM deliveries INDEXED BY deliveries_due \
         WHERE target = ?1 AND (attempts > 0) = ?2 AND state = 0 AND next_at >= 0 \
         ORDER BY next_at, id",
    )?;
    let mut one = connection.prepare_cached(
        "SELECT d.since, d.round, d.attempts, d.stood, e.id, e.json, e.trace, d.new_id, \
         e.trace_state FROM deliveries d CROSS JOIN events e ON e.seq = d.id / 4096 WHERE d.id = ?1",
    )?;
    let mut rows = query.query(params![number, attempted])?;
    while let Some(row) = rows.next()? {
        let next_at = row.get(1)?;
        if next_at > now {
            head.next_at = Some(instant(next_at));
            return Ok(head);
        }
        let id = DeliveryId(row.get(0)?);
        if held.binary_search(&id).is_ok() || id.0 / TARGETS_MAX > durable {
            continue;
        }
        if head.found.len() >= limit.min(PAGE_ROWS_MAX) || bytes >= DUE_BYTES_MAX {
            head.more = true;
            break;
        }
        let delivery = one
            .query_row([id.0], |row| {
                let json = row.get_ref(5)?.as_bytes_or_null()?.unwrap_or_default();
                Ok(Delivery {
                    id,
                    target: target.clone(),
                    event: event_id(row, 4)?,
                    json: Bytes::copy_from_slice(json),
                    trace: trace(row)?,
                    since: instant(row.get(0)?),
                    stood: span(stood.saturating_sub(row.get(3)?)),
                    round: row.get(1)?,
                    new_id: row.get(7)?,
                    attempts: row.get(2)?,
                })
            })
            .optional()?;
        if let Some(delivery) = delivery {
            bytes += delivery.json.len();
            head.found.push((next_at, delivery));
        }
    }
    drop(rows);
    head.next_at = connection
        .prepare_cached(
            "SELECT next_at FROM deliveries INDEXED BY deliveries_due \
             WHERE target = ?1 AND (attempts > 0) = ?2 AND state = 0 AND next_at > ?3 \
             ORDER BY next_at LIMIT 1",
        )?
        .query_row(params![number, attempted, now], |row| row.get(0))
        .optional()?
        .map(instant);
    Ok(head)
}

/// The trace of an event, if its sender named one.
fn trace(row: &Row<'_>) -> rusqlite::Result<Option<Trace>> {
    let Some(parent) = row.get::<_, Option<[u8; 17]>>(6)? else { return Ok(None) };
    let state = row.get::<_, Option<String>>(8)?.map(TraceState::kept);
    Ok(Some(Trace { parent: TraceParent::from_bytes(parent), state }))
}

/// Pending deliveries of a target whose age began `before` then in the target's own time, one step
/// of them, the oldest first, passing over those `held`, which is sorted. Those that a pause kept
/// young may come before: at most [`SCANNED_MAX`] of them are passed over.
pub(super) fn lapsed(
    connection: &Connection,
    target: &TargetName,
    now: Timestamp,
    before: i64,
    held: &[DeliveryId],
) -> rusqlite::Result<Vec<Lapsed>> {
    let Some((number, terms)) = terms_of(connection, target)? else { return Ok(Vec::new()) };
    let stood = terms.stood_at(now.as_millisecond());
    let mut query = connection.prepare_cached(
        "SELECT id, round, since, stood FROM deliveries INDEXED BY deliveries_since \
         WHERE target = ?1 AND state = 0 AND since <= ?2 ORDER BY since",
    )?;
    let mut rows = query.query([number, before])?;
    let (mut found, mut young) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        if found.len() >= PAGE_ROWS_MAX || young >= SCANNED_MAX {
            break;
        }
        let (since, stood_then): (i64, i64) = (row.get(2)?, row.get(3)?);
        // One taken over from a target that stood still is younger than its `since` says.
        if since.saturating_add(stood - stood_then) > before {
            young += 1;
            continue;
        }
        let id = DeliveryId(row.get(0)?);
        if held.binary_search(&id).is_err() {
            found.push(Lapsed { id, round: row.get(1)? });
        }
    }
    Ok(found)
}

/// When the age of each target's oldest pending delivery began.
pub(super) fn oldest_pending(
    connection: &Connection,
) -> rusqlite::Result<Vec<(TargetName, Timestamp)>> {
    let mut query = connection.prepare_cached(
        "SELECT t.name, (SELECT min(d.since) FROM deliveries d INDEXED BY deliveries_since \
         WHERE d.target = t.id AND d.state = 0) FROM targets t",
    )?;
    let mut rows = query.query([])?;
    let mut oldest = Vec::new();
    while let Some(row) = rows.next()? {
        if let Some(since) = row.get(1)? {
            oldest.push((TargetName::new(row.get_ref(0)?.as_str()?), instant(since)));
        }
    }
    Ok(oldest)
}

/// One event with its request.
pub(super) fn event(connection: &Connection, id: EventId) -> rusqlite::Result<Option<StoredEvent>> {
    connection
        .prepare_cached(
            "SELECT s.name, e.provider, e.received_at, e.state, e.reason, e.json, \
             r.method, r.query, r.content_type, r.body, e.failed_routes \
             FROM events e JOIN sources s ON s.id = e.source JOIN requests r ON r.seq = e.seq \
             WHERE e.id = ?1",
        )?
        .query_row([id.as_bytes()], |row| {
            Ok(StoredEvent {
                id,
                source: SourceName::new(row.get_ref(0)?.as_str()?),
                provider: row.get(1)?,
                received_at: instant(row.get(2)?),
                state: event_state(row, 3)?.as_str(),
                reason: row.get(4)?,
                json: row.get_ref(5)?.as_bytes_or_null()?.map(Bytes::copy_from_slice),
                request: StoredRequest {
                    method: row.get(6)?,
                    query: row.get(7)?,
                    content_type: row.get(8)?,
                    body: Bytes::copy_from_slice(row.get_ref(9)?.as_blob()?),
                },
                failed_routes: routes(row, 10)?,
            })
        })
        .optional()
}

/// Every delivery of an event.
pub(super) fn deliveries_of(
    connection: &Connection,
    event: EventId,
) -> rusqlite::Result<Vec<DeliveryRecord>> {
    let Some(first) = first_delivery(connection, event)? else { return Ok(Vec::new()) };
    let mut query = connection.prepare_cached(
        "SELECT d.id, t.name, d.state, d.round, d.attempts, d.since, d.next_at, d.settled_at, \
         d.status, d.error, d.reason FROM deliveries d JOIN targets t ON t.id = d.target \
         WHERE d.id >= ?1 AND d.id < ?2 ORDER BY d.id",
    )?;
    let found = query.query_map([first, first + TARGETS_MAX], |row| {
        Ok(DeliveryRecord {
            id: DeliveryId(row.get(0)?),
            target: TargetName::new(row.get_ref(1)?.as_str()?),
            state: delivery_state(row, 2)?,
            round: row.get(3)?,
            attempts: row.get(4)?,
            since: instant(row.get(5)?),
            next_at: row.get::<_, Option<i64>>(6)?.map(instant),
            settled_at: row.get::<_, Option<i64>>(7)?.map(instant),
            status: row.get(8)?,
            error: row.get(9)?,
            reason: row.get(10)?,
        })
    })?;
    found.collect()
}

/// The attempts of a delivery, in the order they were made.
pub(super) fn attempts(
    connection: &Connection,
    delivery: DeliveryId,
    after: (u32, u32),
    limit: usize,
) -> rusqlite::Result<Vec<PastAttempt>> {
    let mut query = connection.prepare_cached(
        "SELECT round, number, at, took_us, status, error, snippet FROM attempts \
         WHERE delivery = ?1 AND (round, number) > (?2, ?3) ORDER BY round, number LIMIT ?4",
    )?;
    let found = query.query_map(params![delivery.0, after.0, after.1, rows_of(limit)], |row| {
        Ok(PastAttempt {
            round: row.get(0)?,
            attempt: Attempt {
                number: row.get(1)?,
                at: instant(row.get(2)?),
                took: Duration::from_micros(row.get(3)?),
                status: row.get(4)?,
                error: row.get(5)?,
                snippet: row.get_ref(6)?.as_bytes_or_null()?.map(Bytes::copy_from_slice),
            },
        })
    })?;
    found.collect()
}

/// One dead letter, unless it is none any more.
pub(super) fn dead_letter(
    connection: &Connection,
    id: DeliveryId,
) -> rusqlite::Result<Option<DeadLetter>> {
    connection
        .prepare_cached(
            "SELECT d.id, e.id, t.name, d.reason, d.round, d.attempts, d.settled_at, d.status, \
             d.error, (SELECT a.snippet FROM attempts a \
             WHERE a.delivery = d.id AND a.round = d.round AND a.number = d.attempts) \
             FROM deliveries d CROSS JOIN events e CROSS JOIN targets t \
             WHERE d.id = ?1 AND d.state = 2 AND e.seq = d.id / 4096 AND t.id = d.target",
        )?
        .query_row([id.0], |row| {
            Ok(DeadLetter {
                id: DeliveryId(row.get(0)?),
                event: event_id(row, 1)?,
                target: TargetName::new(row.get_ref(2)?.as_str()?),
                reason: row.get(3)?,
                round: row.get(4)?,
                attempts: row.get(5)?,
                at: instant(row.get(6)?),
                status: row.get(7)?,
                error: row.get(8)?,
                snippet: row.get_ref(9)?.as_bytes_or_null()?.map(Bytes::copy_from_slice),
            })
        })
        .optional()
}

/// Dead letters in order of their ids, of target `?1` or of all, by the index that has that order.
pub(super) fn dead_by(target: Option<i64>) -> String {
    let (index, condition) = match target {
        Some(_) => ("deliveries_dead_of_target", "d.target = ?1"),
        None => ("deliveries_dead", "?1 IS NULL"),
    };
    format!("deliveries d INDEXED BY {index} WHERE d.state = 2 AND {condition}")
}

fn terms_of(
    connection: &Connection,
    target: &TargetName,
) -> rusqlite::Result<Option<(i64, Terms)>> {
    connection
        .prepare_cached(
            "SELECT id, paused_at, orphaned_at, still_since, stood, turns FROM targets \
             WHERE name = ?1",
        )?
        .query_row([target.as_str()], |row| Ok((row.get(0)?, Terms::of(row, 1)?)))
        .optional()
}

pub(super) fn number_of(
    connection: &Connection,
    target: &TargetName,
) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT id FROM targets WHERE name = ?1")?
        .query_row([target.as_str()], |row| row.get(0))
        .optional()
}

/// Where the rows of an event's deliveries begin.
fn first_delivery(connection: &Connection, event: EventId) -> rusqlite::Result<Option<i64>> {
    let seq: Option<i64> = connection
        .prepare_cached("SELECT seq FROM events WHERE id = ?1")?
        .query_row([event.as_bytes()], |row| row.get(0))
        .optional()?;
    Ok(seq.map(|seq| seq * TARGETS_MAX))
}

pub(super) fn summary(row: &Row<'_>) -> rusqlite::Result<EventSummary> {
    let status: Option<String> = row.get(7)?;
    let facts = match status {
        None => None,
        Some(word) => Some(CallFacts {
            status: Status::from_word(&word).ok_or_else(|| strange(7, Type::Text))?,
            call_id: row.get(8)?,
            reference: row.get(9)?,
            from: row.get(10)?,
            to: row.get(11)?,
        }),
    };
    Ok(EventSummary {
        id: event_id(row, 1)?,
        source: SourceName::new(row.get_ref(2)?.as_str()?),
        provider: row.get(3)?,
        received_at: instant(row.get(4)?),
        state: event_state(row, 5)?,
        reason: row.get(6)?,
        facts,
        failed_routes: routes(row, 12)?,
    })
}

pub(super) fn routes(row: &Row<'_>, column: usize) -> rusqlite::Result<Vec<String>> {
    let names: Option<String> = row.get(column)?;
    Ok(names.map(|names| names.split('\n').map(str::to_owned).collect()).unwrap_or_default())
}

fn event_id(row: &Row<'_>, column: usize) -> rusqlite::Result<EventId> {
    row.get(column).map(EventId::from_bytes)
}

fn event_state(row: &Row<'_>, column: usize) -> rusqlite::Result<EventState> {
    EventState::from_word(row.get_ref(column)?.as_str()?).ok_or_else(|| strange(column, Type::Text))
}

fn delivery_state(row: &Row<'_>, column: usize) -> rusqlite::Result<DeliveryState> {
    let number: usize = row.get(column)?;
    DeliveryState::ALL.get(number).copied().ok_or_else(|| strange(column, Type::Integer))
}

fn strange(column: usize, kind: Type) -> rusqlite::Error {
    rusqlite::Error::InvalidColumnType(column, "a word of ours".to_owned(), kind)
}

fn instant(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or_default()
}

fn span(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or_default())
}

fn rows_of(limit: usize) -> i64 {
    i64::try_from(limit.min(PAGE_ROWS_MAX)).unwrap_or(i64::MAX)
}

/// The name of a target by its number.
pub(super) fn name_of(connection: &Connection, target: i64) -> rusqlite::Result<TargetName> {
    connection
        .prepare_cached("SELECT name FROM targets WHERE id = ?1")?
        .query_row([target], |row| Ok(TargetName::new(row.get_ref(0)?.as_str()?)))
}
