//! The memory of fingerprints: new ones in order of arrival, older ones in a sorted table.
//!
//! Fingerprints are random. Put straight into a tree, each would dirty a page of its own, and
//! the log would grow by more than the event itself. So a new one is noted at the end of
//! `seen_lately` and in a map here; once the map is full it is sorted, and moved into the tree
//! `seen` a few neighbours at a time. A fingerprint is looked for in the map, in what is being
//! moved, then in the tree; the first that still remembers it decides, because a younger note is
//! only made once the older has expired or was erased.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use jiff::Timestamp;
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Params, params};

use super::{group::Fault, statements::Statements};
use crate::{event::EventId, store::Admission};

/// A source's number, and a fingerprint.
pub(super) type Key = (i64, [u8; 16]);

/// What the writer remembers of `seen_lately`, and how far it is with moving and forgetting.
#[derive(Debug)]
pub(super) struct Seen {
    /// `seen_lately.seq` of the young ones.
    young: Places,
    /// Noted by the group in hand.
    noted: Vec<Key>,
    /// On their way into the tree.
    old: Places,
    /// `seen_lately.seq` of those, in the order of the tree.
    moving: Vec<i64>,
    /// So many of them are there.
    moved: usize,
    /// Notes up to this one are in the tree and can go.
    spent: i64,
    /// Where the search for expired ones goes on: it walks the tree in its own order, and begins
    /// again at the end. That needs no index by time, which every event would pay for.
    swept: Key,
    /// Events stored since the last step of moving, removing and searching.
    stored: usize,
    /// How many are young before they are moved.
    young_max: usize,
}

/// Where fingerprints stand in `seen_lately`.
type Places = HashMap<Key, i64, RandomState>;

/// How many are young at most: the more, the more of them share a page of the tree when they are
/// moved; each costs 40 bytes of memory, and a little time when the store opens. Just under what
/// fills the map's table.
pub(super) const YOUNG_MAX: usize = 28_000;

/// Events from one step of moving, removing and searching to the next. Each touches pages of its
/// own, which a step shares; and a step is short enough for the commit it is in.
const STEP_EVENTS: usize = 256;

/// How many are moved, and how many notes removed, for each event stored: more than one, so that
/// moving is done before the map is full again.
const MOVED_PER_EVENT: usize = 2;

/// How many of the tree are looked at for each event stored, to find the expired: more than one,
/// so that the search gains on the growth.
const SWEPT_PER_EVENT: usize = 2;

// === impl Seen ===

impl Seen {
    /// Reads the notes that are on disk. Some may be in the tree already; moving them again
    /// changes nothing.
    pub(super) fn read(connection: &Connection, young_max: usize) -> rusqlite::Result<Self> {
        let mut young = Places::default();
        let mut query = connection
            .prepare_cached("SELECT seq, source, fingerprint FROM seen_lately ORDER BY seq")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            young.insert((row.get(1)?, row.get(2)?), row.get(0)?);
        }
        Ok(Self {
            young,
            noted: Vec::new(),
            old: Places::default(),
            moving: Vec::new(),
            moved: 0,
            spent: 0,
            swept: Key::default(),
            stored: 0,
            young_max,
        })
    }

    /// The first event with this fingerprint, unless its window has ended, and whether it was
    /// quarantined.
    pub(super) fn first(
        &self,
        statements: &mut Statements<'_>,
        key: Key,
        now: Timestamp,
    ) -> Result<Option<(EventId, bool)>, Fault> {
        let now = now.as_millisecond();
        let lasts = |(_, _, until): &(EventId, bool, i64)| now < *until;
        let noted = match self.noted_as(&key) {
            Some(seq) => one(&mut statements.noted, [seq])?.filter(lasts),
            None => None,
        };
        // Also behind a note that has expired: a release writes into the tree only.
        let found = match noted {
            None => one(&mut statements.seen, params![key.0, key.1])?.filter(lasts),
            noted => noted,
        };
        Ok(found.map(|(id, quarantined, _)| (id, quarantined)))
    }

    /// Notes the first event with this fingerprint.
    pub(super) fn remember(
        &mut self,
        statements: &mut Statements<'_>,
        key: Key,
        seq: i64,
        admission: &Admission,
        quarantined: bool,
    ) -> Result<(), Fault> {
        let window = i64::try_from(admission.dedupe_window.as_millis()).unwrap_or(i64::MAX);
        statements.note.execute(params![
            seq,
            key.0,
            key.1,
            admission.received_at.as_millisecond().saturating_add(window),
            admission.id.as_bytes(),
            quarantined
        ])?;
        self.young.insert(key, seq);
        self.noted.push(key);
        Ok(())
    }

    /// Notes the content of an event that was released, so that its repeat, which can be read now,
    /// is recognised for as long as its window lasts. Straight into the tree: releases are rare,
    /// and its note in order of arrival is that of the bytes it came as.
    pub(super) fn remember_released(
        &self,
        connection: &Connection,
        statements: &mut Statements<'_>,
        source: i64,
        admission: &Admission,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let Some(mark) = admission.fingerprint else { return Ok(()) };
        let window = i64::try_from(admission.dedupe_window.as_millis()).unwrap_or(i64::MAX);
        let until = admission.received_at.as_millisecond().saturating_add(window);
        if until <= now.as_millisecond() || self.first(statements, (source, mark.0), now)?.is_some()
        {
            return Ok(());
        }
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO seen (source, fingerprint, until, id, quarantined) \
                 VALUES (?1, ?2, ?3, ?4, 0)",
            )?
            .execute(params![source, mark.0, until, admission.id.as_bytes()])?;
        Ok(())
    }

    /// Removes the note of an event, and what of it is in the tree. How many notes.
    pub(super) fn forget_event(connection: &Connection, seq: i64) -> Result<u64, Fault> {
        let note: Option<(i64, [u8; 16], [u8; 16])> = connection
            .prepare_cached(
                "DELETE FROM seen_lately WHERE seq = ?1 RETURNING source, fingerprint, id",
            )?
            .query_row([seq], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        let Some((source, fingerprint, id)) = note else { return Ok(0) };
        // A note stays for a while after it was moved.
        connection
            .prepare_cached("DELETE FROM seen WHERE source = ?1 AND fingerprint = ?2 AND id = ?3")?
            .execute(params![source, fingerprint, id])?;
        Ok(1)
    }

    /// The place in the group to which [`Seen::forget_since`] goes back.
    pub(super) fn mark(&self) -> usize {
        self.noted.len()
    }

    /// Forgets what was noted since the mark, and is rolled back in the file.
    pub(super) fn forget_since(&mut self, mark: usize) {
        for key in self.noted.drain(mark..) {
            self.young.remove(&key);
        }
    }

    /// The group is on disk.
    pub(super) fn settle(&mut self) {
        self.noted.clear();
    }

    /// Moves, removes and forgets a step, in proportion to what was stored since the last.
    pub(super) fn keep_up(
        &mut self,
        connection: &Connection,
        stored: usize,
        now: Timestamp,
    ) -> Result<(), Fault> {
        self.stored += stored;
        // A memory that holds few takes short steps.
        if self.stored == 0 || self.stored < STEP_EVENTS.min(self.young_max / 4) {
            return Ok(());
        }
        let stored = std::mem::take(&mut self.stored);
        if self.moving.is_empty() && self.young.len() >= self.young_max {
            self.old = std::mem::take(&mut self.young);
            let mut sorted: Vec<_> = self.old.iter().collect();
            sorted.sort_unstable();
            self.moving = sorted.into_iter().map(|(_, seq)| *seq).collect();
        }
        self.move_on(connection, stored * MOVED_PER_EVENT, now)?;
        self.remove_spent(connection, stored * MOVED_PER_EVENT)?;
        self.sweep(connection, stored * SWEPT_PER_EVENT, now)
    }

    fn noted_as(&self, key: &Key) -> Option<i64> {
        self.young.get(key).or_else(|| self.old.get(key)).copied()
    }

    /// Moves the next `count` into the tree, but for those that have expired.
    fn move_on(
        &mut self,
        connection: &Connection,
        count: usize,
        now: Timestamp,
    ) -> Result<(), Fault> {
        if self.moving.is_empty() {
            return Ok(());
        }
        let rest = self.moving.get(self.moved..).unwrap_or_default();
        let next = rest.get(..count).unwrap_or(rest);
        let list =
            serde_json::to_string(next).map_err(|error| Fault::Io(error.to_string().into()))?;
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO seen (source, fingerprint, until, id, quarantined) \
                 SELECT l.source, l.fingerprint, l.until, l.id, l.quarantined \
                 FROM json_each(?1) j CROSS JOIN seen_lately l ON l.seq = j.value \
                 WHERE l.until > ?2",
            )?
            .execute(params![list, now.as_millisecond()])?;
        self.moved += next.len();
        if self.moved >= self.moving.len() {
            self.spent = self.moving.iter().copied().max().unwrap_or_default();
            (self.old, self.moving, self.moved) = (Places::default(), Vec::new(), 0);
        }
        Ok(())
    }

    /// Removes up to `count` notes that are in the tree.
    fn remove_spent(&mut self, connection: &Connection, count: usize) -> Result<(), Fault> {
        if self.spent == 0 {
            return Ok(());
        }
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let removed = connection
            .prepare_cached(
                "DELETE FROM seen_lately WHERE seq IN (SELECT seq FROM seen_lately \
                 WHERE seq <= ?1 ORDER BY seq LIMIT ?2)",
            )?
            .execute([self.spent, count])?;
        if removed == 0 {
            self.spent = 0;
        }
        Ok(())
    }

    /// Looks at the next few of the tree, and forgets the expired.
    fn sweep(
        &mut self,
        connection: &Connection,
        count: usize,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let (source, fingerprint) = self.swept;
        let step = i64::try_from(count).unwrap_or(i64::MAX) - 1;
        let to: Option<Key> = connection
            .prepare_cached(
                "SELECT source, fingerprint FROM seen WHERE (source, fingerprint) > (?1, ?2) \
                 ORDER BY source, fingerprint LIMIT 1 OFFSET ?3",
            )?
            .query_row(params![source, fingerprint, step], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let end = to.unwrap_or((i64::MAX, [0; 16]));
        connection
            .prepare_cached(
                "DELETE FROM seen WHERE (source, fingerprint) > (?1, ?2) \
                 AND (source, fingerprint) <= (?3, ?4) AND until <= ?5",
            )?
            .execute(params![source, fingerprint, end.0, end.1, now.as_millisecond()])?;
        self.swept = to.unwrap_or_default();
        Ok(())
    }
}

fn one(
    statement: &mut CachedStatement<'_>,
    params: impl Params,
) -> Result<Option<(EventId, bool, i64)>, Fault> {
    let found = statement
        .query_row(params, |row| Ok((EventId::from_bytes(row.get(0)?), row.get(1)?, row.get(2)?)));
    Ok(found.optional()?)
}
