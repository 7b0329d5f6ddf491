//! What a reader looks for before the writer is asked: dead letters and events by filter, what
//! is older than it is kept, and where a person's data are.
//!
//! Each look is bounded in rows and in time, and says where the next goes on.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use memchr::memmem;
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Row, params};
use tokio::time::Instant;

use super::{
    group::TARGETS_MAX,
    queries::{self, PAGE_ROWS_MAX, SCANNED_MAX, number_of, summary},
    seen::Key,
};
use crate::{
    event::EventId,
    store::{
        CallFacts, DeadFilter, DeliveryId, Erasure, EventCursor, EventFilter, EventState,
        EventSummary, Order,
        number::{self, is_same, is_spacing},
    },
};

/// Some of what was looked for, and where to go on; `None` when this was all.
#[derive(Debug)]
pub(super) struct Found<T, C> {
    pub(super) items: Vec<T>,
    pub(super) next: Option<C>,
}

/// A dead letter that a filter means.
#[derive(Debug)]
pub(super) struct Dead {
    pub(super) id: DeliveryId,
    pub(super) target: i64,
    pub(super) reason: String,
}

/// What one step of a purge is about.
#[derive(Debug, Default)]
pub(super) struct Stale {
    pub(super) expire: Vec<DeliveryId>,
    pub(super) remove: Vec<i64>,
}

/// Until when what is kept, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    now: i64,
    /// History that ended before this goes.
    pub(super) history: i64,
    /// What waited since before this goes.
    pub(super) waiting: i64,
}

/// How full the file is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pages {
    pub(super) all: u64,
    pub(super) free: u64,
    pub(super) bytes_each: u64,
}

/// One look's part of a long search. A read transaction keeps the log from being folded in, and
/// each thread that looks is one that does not tell what is due.
#[derive(Debug)]
pub(super) struct Patience {
    rows: usize,
    until: Instant,
}

/// How long one look may take.
const LOOK: Duration = Duration::from_millis(200);

/// Events of one step of a purge or an erasure: so many are removed in a few milliseconds.
pub(super) const REMOVED_PER_STEP: usize = 64;

/// Fingerprints looked at in one step.
const MARKS_PER_LOOK: i64 = 50_000;

/// Shorter digits occur anywhere, in other numbers and in times: of those, only a call's own
/// numbers are theirs.
const NUMBER_DIGITS_MIN: usize = 6;

// === impl Patience ===

impl Patience {
    pub(super) fn new() -> Self {
        Self { rows: SCANNED_MAX, until: Instant::now() + LOOK }
    }

    /// Whether another row may be looked at.
    pub(super) fn lasts(&mut self) -> bool {
        self.rows = self.rows.saturating_sub(1);
        self.rows > 0 && Instant::now() < self.until
    }
}

// === impl Pages ===

impl Pages {
    pub(super) fn of(connection: &Connection) -> rusqlite::Result<Self> {
        let number = |name| connection.pragma_query_value(None, name, |row| row.get(0));
        Ok(Self {
            all: number("page_count")?,
            free: number("freelist_count")?,
            bytes_each: number("page_size")?,
        })
    }

    /// Bytes that hold something.
    pub(super) fn used(self) -> u64 {
        self.all.saturating_sub(self.free).saturating_mul(self.bytes_each)
    }
}

/// Dead letters after the given one, oldest first.
pub(super) fn dead(
    connection: &Connection,
    filter: &DeadFilter,
    after: Option<DeliveryId>,
    limit: usize,
) -> rusqlite::Result<Found<Dead, DeliveryId>> {
    let after = after.map_or(i64::MIN, |after| after.0);
    let limit = limit.clamp(1, PAGE_ROWS_MAX);
    let mut found = Found { items: Vec::new(), next: None };
    let target = match &filter.target {
        None => None,
        Some(name) => match number_of(connection, name)? {
            None => return Ok(found),
            number => number,
        },
    };
    if filter.events.is_empty() {
        let mut query = connection.prepare_cached(&dead_after(target))?;
        let mut patience = Patience::new();
        let mut rows = query.query(params![target, after])?;
        while let Some(row) = rows.next()? {
            if is_meant(connection, filter, target, row)? {
                found.items.push(dead_at(row)?);
            }
            if found.items.len() >= limit || !patience.lasts() {
                found.next = Some(DeliveryId(row.get(0)?));
                break;
            }
        }
        return Ok(found);
    }
    let mut query = connection.prepare_cached(&format!(
        "{DEAD} FROM deliveries d \
         WHERE d.id >= ?1 AND d.id < ?2 AND d.state = 2 AND d.id > ?3 ORDER BY d.id"
    ))?;
    for seq in seqs_of(connection, &filter.events)? {
        let mut rows = query.query([seq * TARGETS_MAX, (seq + 1) * TARGETS_MAX, after])?;
        while let Some(row) = rows.next()? {
            if is_meant(connection, filter, target, row)? {
                found.items.push(dead_at(row)?);
            }
            if found.items.len() >= limit {
                found.next = Some(DeliveryId(row.get(0)?));
                return Ok(found);
            }
        }
    }
    Ok(found)
}

/// Dead letters after `?2` in order, of target `?1` or of all.
pub(super) fn dead_after(target: Option<i64>) -> String {
    format!("{DEAD} FROM {} AND d.id > ?2 ORDER BY d.id", queries::dead_by(target))
}

/// The columns that are looked at of a dead letter.
const DEAD: &str = "SELECT d.id, d.target, d.reason, d.settled_at";

fn dead_at(row: &Row<'_>) -> rusqlite::Result<Dead> {
    Ok(Dead {
        id: DeliveryId(row.get(0)?),
        target: row.get(1)?,
        reason: row.get::<_, Option<String>>(2)?.unwrap_or_default(),
    })
}

fn is_meant(
    connection: &Connection,
    filter: &DeadFilter,
    target: Option<i64>,
    row: &Row<'_>,
) -> rusqlite::Result<bool> {
    let buried: Option<i64> = row.get(3)?;
    let buried = buried.unwrap_or_default();
    let met = target.is_none_or(|target| row.get(1) == Ok(target))
        && is(row, 2, filter.reason.map(crate::store::BuryReason::as_str))?
        && filter.since.is_none_or(|since| buried >= since.as_millisecond())
        && filter.until.is_none_or(|until| buried < until.as_millisecond());
    // Its event is looked at only when something is asked of it.
    let DeadFilter { source, status, call, number, .. } = filter;
    if !met || (source.is_none() && status.is_none() && call.is_none() && number.is_none()) {
        return Ok(met);
    }
    let id: i64 = row.get(0)?;
    is_of_meant_event(connection, filter, id / TARGETS_MAX)
}

fn is_of_meant_event(
    connection: &Connection,
    filter: &DeadFilter,
    seq: i64,
) -> rusqlite::Result<bool> {
    let mut query = connection.prepare_cached(
        "SELECT s.name, e.status, e.call_id, e.reference, e.number_from, e.number_to \
         FROM events e CROSS JOIN sources s ON s.id = e.source WHERE e.seq = ?1",
    )?;
    let mut rows = query.query([seq])?;
    let Some(row) = rows.next()? else { return Ok(false) };
    let met = is(row, 0, filter.source.as_ref().map(crate::event::SourceName::as_str))?
        && is(row, 1, filter.status.map(crate::event::Status::as_str))?
        && (is(row, 2, filter.call.as_deref())? || is(row, 3, filter.call.as_deref())?);
    let Some(number) = filter.number.as_deref().filter(|_| met) else { return Ok(met) };
    let known = [row.get_ref(4)?.as_str_or_null()?, row.get_ref(5)?.as_str_or_null()?];
    if known.into_iter().flatten().any(|known| is_same(known, number)) {
        return Ok(true);
    }
    is_raw_number(connection, seq, number)
}

/// Whether a column has this text; any will do when none is wanted.
fn is(row: &Row<'_>, column: usize, wanted: Option<&str>) -> rusqlite::Result<bool> {
    Ok(wanted.is_none() || row.get_ref(column)?.as_str_or_null()? == wanted)
}

/// Events after the given one, with their numbers.
pub(super) fn events(
    connection: &Connection,
    filter: &EventFilter,
    order: Order,
    after: Option<EventCursor>,
    limit: usize,
) -> rusqlite::Result<Found<(i64, EventSummary), EventCursor>> {
    const COLUMNS: &str = "SELECT e.seq, e.id, s.name, e.provider, e.received_at, e.state, \
        e.reason, e.status, e.call_id, e.reference, e.number_from, e.number_to, \
        e.failed_routes FROM events e CROSS JOIN sources s ON s.id = e.source";
    let mut found = Found { items: Vec::new(), next: None };
    let limit = limit.clamp(1, PAGE_ROWS_MAX);
    let target = match &filter.target {
        None => None,
        Some(name) => match number_of(connection, name)? {
            None => return Ok(found),
            number => number,
        },
    };
    let mut patience = Patience::new();
    let mut look = |row: &Row<'_>| -> rusqlite::Result<bool> {
        let (seq, summary) = (row.get(0)?, summary(row)?);
        if takes(filter, &summary)
            && has_delivery(connection, seq, target)?
            && has_number(connection, seq, filter.number.as_deref(), summary.facts.as_ref())?
        {
            found.items.push((seq, summary));
        }
        let is_over = found.items.len() >= limit || !patience.lasts();
        if is_over {
            found.next = Some(EventCursor(seq));
        }
        Ok(is_over)
    };
    if filter.events.is_empty() {
        // Few have any: with an index of them the rest is not looked at.
        let only = match &filter.failed_route {
            Some(_) => "e.failed_routes IS NOT NULL AND",
            None => "",
        };
        let from = format!("{COLUMNS} WHERE {only}");
        let (sql, start) = match order {
            Order::OldestFirst => (format!("{from} e.seq > ?1 ORDER BY e.seq"), i64::MIN),
            Order::NewestFirst => (format!("{from} e.seq < ?1 ORDER BY e.seq DESC"), i64::MAX),
        };
        let mut query = connection.prepare_cached(&sql)?;
        let mut rows = query.query([after.map_or(start, |cursor| cursor.0)])?;
        while let Some(row) = rows.next()? {
            if look(row)? {
                break;
            }
        }
    } else {
        let mut query = connection.prepare_cached(&format!("{COLUMNS} WHERE e.seq = ?1"))?;
        let mut seqs: Vec<i64> = seqs_of(connection, &filter.events)?.into_iter().collect();
        if order == Order::NewestFirst {
            seqs.reverse();
        }
        let is_later = |seq: &i64| match (order, after) {
            (_, None) => true,
            (Order::OldestFirst, Some(after)) => *seq > after.0,
            (Order::NewestFirst, Some(after)) => *seq < after.0,
        };
        for seq in seqs.into_iter().filter(is_later) {
            let mut rows = query.query([seq])?;
            if let Some(row) = rows.next()?
                && look(row)?
            {
                break;
            }
        }
    }
    Ok(found)
}

fn takes(filter: &EventFilter, event: &EventSummary) -> bool {
    let facts = event.facts.as_ref();
    filter.source.as_ref().is_none_or(|source| *source == event.source)
        && filter.state.is_none_or(|state| state == event.state)
        && filter.status.is_none_or(|status| facts.is_some_and(|facts| facts.status == status))
        && filter.failed_route.as_ref().is_none_or(|route| event.failed_routes.contains(route))
        && filter.since.is_none_or(|since| event.received_at >= since)
        && filter.until.is_none_or(|until| event.received_at < until)
        && filter.reason.as_ref().is_none_or(|reason| event.reason.as_ref() == Some(reason))
        && filter.call.as_ref().is_none_or(|call| {
            facts.is_some_and(|facts| {
                facts.call_id.as_ref() == Some(call) || facts.reference.as_ref() == Some(call)
            })
        })
}

fn has_delivery(connection: &Connection, seq: i64, target: Option<i64>) -> rusqlite::Result<bool> {
    let Some(target) = target else { return Ok(true) };
    connection
        .prepare_cached("SELECT 1 FROM deliveries WHERE id >= ?1 AND id < ?2 AND target = ?3")?
        .exists([seq * TARGETS_MAX, (seq + 1) * TARGETS_MAX, target])
}

fn has_number(
    connection: &Connection,
    seq: i64,
    number: Option<&str>,
    facts: Option<&CallFacts>,
) -> rusqlite::Result<bool> {
    let Some(number) = number else { return Ok(true) };
    let Some(facts) = facts else { return Ok(false) };
    let known = [&facts.from, &facts.to];
    if known.into_iter().flatten().any(|known| is_same(known, number)) {
        return Ok(true);
    }
    is_raw_number(connection, seq, number)
}

/// Whether the provider wrote this number, where the columns have the e164.
fn is_raw_number(connection: &Connection, seq: i64, number: &str) -> rusqlite::Result<bool> {
    let mut query = connection.prepare_cached("SELECT json FROM events WHERE seq = ?1")?;
    let mut rows = query.query([seq])?;
    let Some(row) = rows.next()? else { return Ok(false) };
    let json = row.get_ref(0)?.as_bytes_or_null()?.unwrap_or_default();
    Ok(number::is_raw(json, number))
}

/// The numbers of those events that are there, in order.
fn seqs_of(connection: &Connection, events: &[EventId]) -> rusqlite::Result<BTreeSet<i64>> {
    let mut query = connection.prepare_cached("SELECT seq FROM events WHERE id = ?1")?;
    let mut seqs = BTreeSet::new();
    for event in events {
        seqs.extend(query.query_row([event.as_bytes()], |row| row.get::<_, i64>(0)).optional()?);
    }
    Ok(seqs)
}

/// What of the next events is older than it is kept. Walks to the end of history when `full`, else
/// to the first event that is younger than anything that can go.
pub(super) fn stale(
    connection: &Connection,
    after: i64,
    kept: Kept,
    full: bool,
) -> rusqlite::Result<Found<Stale, i64>> {
    let mut stale = Stale::default();
    let mut next = None;
    let mut query = connection
        .prepare_cached("SELECT seq, state, received_at FROM events WHERE seq > ?1 ORDER BY seq")?;
    let mut deliveries = connection.prepare_cached(
        "SELECT id, state, settled_at FROM deliveries WHERE id >= ?1 AND id < ?2 ORDER BY id",
    )?;
    let mut patience = Patience::new();
    let mut rows = query.query([after])?;
    while let Some(row) = rows.next()? {
        let (seq, received_at): (i64, i64) = (row.get(0)?, row.get(2)?);
        // What a clock accepted that ran ahead says nothing of the age of what came after it.
        let is_ahead = received_at > kept.now;
        if !full && !is_ahead && received_at > kept.history.max(kept.waiting) {
            break;
        }
        let goes = if row.get_ref(1)?.as_str()? == EventState::Routed.as_str() {
            is_history(&mut deliveries, seq, kept, full, &mut stale.expire)?
                && (full || received_at <= kept.history)
        } else {
            received_at <= kept.waiting
        };
        if goes {
            stale.remove.push(seq);
        }
        let is_step = stale.remove.len() + stale.expire.len() >= REMOVED_PER_STEP;
        if is_step || !patience.lasts() {
            next = Some(seq);
            break;
        }
    }
    Ok(Found { items: vec![stale], next })
}

/// Whether nothing of an event is waited for any more. Its dead letters that have expired are
/// added to `expire`.
fn is_history(
    deliveries: &mut CachedStatement<'_>,
    seq: i64,
    kept: Kept,
    full: bool,
    expire: &mut Vec<DeliveryId>,
) -> rusqlite::Result<bool> {
    let mut is_history = true;
    let mut rows = deliveries.query([seq * TARGETS_MAX, (seq + 1) * TARGETS_MAX])?;
    while let Some(row) = rows.next()? {
        let (state, settled_at): (i64, Option<i64>) = (row.get(1)?, row.get(2)?);
        let settled_at = settled_at.unwrap_or(i64::MAX);
        match state {
            2 if settled_at <= kept.waiting => expire.push(DeliveryId(row.get(0)?)),
            0 | 2 => is_history = false,
            _ => is_history &= full || settled_at <= kept.history,
        }
    }
    Ok(is_history)
}

/// Events to erase after the given one.
pub(super) fn erasable(
    connection: &Connection,
    what: &Erasure,
    after: Option<EventCursor>,
) -> rusqlite::Result<Found<(i64, EventId), EventCursor>> {
    let mut found = Found { items: Vec::new(), next: None };
    let one = |row: &Row<'_>| Ok((row.get(0)?, EventId::from_bytes(row.get(1)?)));
    if let Erasure::Event(id) = what {
        let mut query = connection.prepare_cached("SELECT seq, id FROM events WHERE id = ?1")?;
        found.items.extend(query.query_row([id.as_bytes()], one).optional()?);
        return Ok(found);
    }
    let mut query = connection.prepare_cached(
        "SELECT e.seq, e.id, e.call_id, e.reference, e.json, r.query, r.body, e.number_from, \
         e.number_to \
         FROM events e LEFT JOIN requests r ON r.seq = e.seq WHERE e.seq > ?1 ORDER BY e.seq",
    )?;
    let mut patience = Patience::new();
    let mut rows = query.query([after.map_or(i64::MIN, |after| after.0)])?;
    while let Some(row) = rows.next()? {
        if concerns(what, row)? {
            found.items.push(one(row)?);
        }
        if found.items.len() >= REMOVED_PER_STEP || !patience.lasts() {
            found.next = Some(EventCursor(row.get(0)?));
            break;
        }
    }
    Ok(found)
}

fn concerns(what: &Erasure, row: &Row<'_>) -> rusqlite::Result<bool> {
    let bytes = |column| -> rusqlite::Result<&[u8]> {
        Ok(row.get_ref(column)?.as_bytes_or_null()?.unwrap_or_default())
    };
    Ok(match what {
        Erasure::Event(_) => false,
        Erasure::Call(call) => {
            let call = call.as_bytes();
            let is_unread = bytes(4)?.is_empty();
            bytes(2)? == call
                || bytes(3)? == call
                || (is_unread && [bytes(5)?, bytes(6)?].iter().any(|text| holds(text, call)))
        }
        Erasure::Number(number) => {
            let digits: Vec<u8> = number.bytes().filter(u8::is_ascii_digit).collect();
            if digits.len() < NUMBER_DIGITS_MIN {
                let known = [row.get_ref(7)?.as_str_or_null()?, row.get_ref(8)?.as_str_or_null()?];
                return Ok(known.into_iter().flatten().any(|known| is_same(known, number))
                    || number::is_raw(bytes(4)?, number));
            }
            [bytes(4)?, bytes(5)?, bytes(6)?, bytes(7)?, bytes(8)?]
                .iter()
                .any(|text| occurs(text, &digits))
        }
    })
}

fn holds(text: &[u8], call: &[u8]) -> bool {
    !call.is_empty() && memmem::find(text, call).is_some()
}

/// Whether a number of these digits stands in the text, however it is spaced.
fn occurs(text: &[u8], digits: &[u8]) -> bool {
    let mut before = None;
    text.iter().enumerate().any(|(at, byte)| {
        let begins = byte.is_ascii_digit() && !before.is_some_and(|b: u8| b.is_ascii_digit());
        before = Some(*byte);
        begins && text.get(at..).is_some_and(|rest| begins_with(rest, digits))
    })
}

fn begins_with(text: &[u8], digits: &[u8]) -> bool {
    let mut rest = text.iter();
    for digit in digits {
        match rest.find(|byte| !is_spacing(char::from(**byte)) && **byte != b'+') {
            Some(byte) if byte == digit => {}
            _ => return false,
        }
    }
    !rest.next().is_some_and(u8::is_ascii_digit)
}

/// Fingerprints of these events that are noted in order of arrival.
pub(super) fn noted(connection: &Connection, events: &[i64]) -> rusqlite::Result<Vec<Key>> {
    let mut query =
        connection.prepare_cached("SELECT source, fingerprint FROM seen_lately WHERE seq = ?1")?;
    let mut keys = Vec::new();
    for seq in events {
        let key = query.query_row([seq], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        keys.extend(key);
    }
    Ok(keys)
}

/// Fingerprints of these events in the tree, after the given one.
pub(super) fn fingerprints(
    connection: &Connection,
    events: &BTreeSet<EventId>,
    after: Key,
) -> rusqlite::Result<Found<Key, Key>> {
    let mut found = Found { items: Vec::new(), next: None };
    let mut query = connection.prepare_cached(
        "SELECT source, fingerprint, id FROM seen WHERE (source, fingerprint) > (?1, ?2) \
         ORDER BY source, fingerprint LIMIT ?3",
    )?;
    let mut patience = Patience::new();
    let mut looked = 0;
    let mut rows = query.query(params![after.0, after.1, MARKS_PER_LOOK])?;
    while let Some(row) = rows.next()? {
        let key = (row.get(0)?, row.get(1)?);
        if events.contains(&EventId::from_bytes(row.get(2)?)) {
            found.items.push(key);
        }
        looked += 1;
        if looked == MARKS_PER_LOOK || !patience.lasts() {
            found.next = Some(key);
            break;
        }
    }
    Ok(found)
}

impl Kept {
    /// What is kept at `now`.
    pub(super) fn at(now: Timestamp, retention: Duration, dead_retention: Duration) -> Self {
        let now = now.as_millisecond();
        let before = |kept: Duration| {
            now.saturating_sub(i64::try_from(kept.as_millis()).unwrap_or(i64::MAX))
        };
        Self { now, history: before(retention), waiting: before(dead_retention) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_however_it_is_spaced_and_not_within_another() {
        let digits = b"61355500101";
        for text in [
            &br#"{"to":"+61 3 5550 0101"}"#[..],
            b"to=%2B61355500101&x=1",
            b"61355500101",
            b"call (61) 3-5550.0101, please",
        ] {
            assert!(occurs(text, digits), "{}", String::from_utf8_lossy(text));
        }
        for text in [&b"613555001012"[..], b"161355500101", b"6135550010", b"61355500,101", b""] {
            assert!(!occurs(text, digits), "{}", String::from_utf8_lossy(text));
        }
    }
}
