//! The writer's memory of names, totals and the next event's number.
//!
//! It is read from the file when a connection opens, moved on with a group in hand, and written
//! back once per group, in the group's own transaction. After any rollback it is read anew.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{group::Fault, terms::Terms};
use crate::{
    event::SourceName,
    route::TargetName,
    store::{DeliveryTotals, EventTotals, Totals},
};

/// What the file says of its names and counts.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    pub(super) sources: Accounts<SourceName, EventTotals>,
    pub(super) targets: Accounts<TargetName, DeliveryTotals>,
    /// `events.seq` of the next event.
    next_seq: i64,
    /// How each target's deliveries age and take turns.
    terms: HashMap<i64, Terms>,
    /// Targets first heard of since this was last asked.
    new_targets: Vec<i64>,
    /// Whether who is paused has changed since the last commit.
    paused_moved: bool,
}

/// The totals that one group moved, as they stood at its end.
#[derive(Debug)]
pub(super) struct Moved {
    events: Vec<(SourceName, EventTotals)>,
    deliveries: Vec<(TargetName, DeliveryTotals)>,
    /// Who is paused, when that has changed.
    paused: Option<BTreeMap<TargetName, Timestamp>>,
    /// `events.seq` of the youngest event then.
    pub(super) last_seq: i64,
}

/// The interned names of one kind, each with its totals.
#[derive(Clone, Debug)]
pub(super) struct Accounts<N, T> {
    all: HashMap<i64, Account<N, T>>,
    ids: HashMap<N, i64>,
    /// Written to since the last commit.
    touched: Vec<i64>,
}

#[derive(Clone, Debug)]
struct Account<N, T> {
    name: N,
    totals: T,
    touched: bool,
}

// === impl Ledger ===

impl Ledger {
    /// Reads what is on disk.
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let mut sources = Accounts::new();
        let mut query = connection.prepare_cached(
            "SELECT id, name, accepted, routed, unrouted, quarantined FROM sources",
        )?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let totals = EventTotals {
                accepted: row.get(2)?,
                routed: row.get(3)?,
                unrouted: row.get(4)?,
                quarantined: row.get(5)?,
            };
            sources.insert(row.get(0)?, SourceName::new(row.get_ref(1)?.as_str()?), totals);
        }
        let (mut targets, mut terms) = (Accounts::new(), HashMap::new());
        let mut query = connection.prepare_cached(&format!(
            "SELECT id, name, enqueued, delivered, pending, dead, discarded, {} FROM targets",
            Terms::COLUMNS
        ))?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let totals = DeliveryTotals {
                enqueued: row.get(2)?,
                delivered: row.get(3)?,
                pending: row.get(4)?,
                dead: row.get(5)?,
                discarded: row.get(6)?,
            };
            targets.insert(row.get(0)?, TargetName::new(row.get_ref(1)?.as_str()?), totals);
            terms.insert(row.get(0)?, Terms::of(row, 7)?);
        }
        let last: Option<i64> =
            connection.query_row("SELECT max(seq) FROM events", [], |row| row.get(0))?;
        let marked: Option<i64> = connection
            .query_row("SELECT value FROM marks WHERE name = 'next_seq'", [], |row| row.get(0))
            .optional()?;
        let next_seq = marked.unwrap_or_default().max(last.unwrap_or_default() + 1);
        let new_targets = Vec::new();
        Ok(Self { sources, targets, next_seq, terms, new_targets, paused_moved: false })
    }

    /// Notes the number of the next event. Without it, a number would be given again after the
    /// youngest events were removed, and what still speaks of them would speak of others.
    pub(super) fn mark_seq(&self, connection: &Connection) -> Result<(), Fault> {
        connection
            .prepare_cached("INSERT OR REPLACE INTO marks (name, value) VALUES ('next_seq', ?1)")?
            .execute([self.next_seq])?;
        Ok(())
    }

    /// How the deliveries of the target age and take turns.
    pub(super) fn terms(&self, target: i64) -> Terms {
        self.terms.get(&target).copied().unwrap_or_default()
    }

    /// Writes the terms of a target, if they are others. Whether they were.
    pub(super) fn set_terms(
        &mut self,
        connection: &Connection,
        target: i64,
        terms: Terms,
    ) -> Result<bool, Fault> {
        let before = self.terms.insert(target, terms).unwrap_or_default();
        if before == terms {
            return Ok(false);
        }
        self.paused_moved |= before.paused_at != terms.paused_at;
        terms.write(connection, target)?;
        Ok(true)
    }

    /// Since when each paused target is.
    fn paused(&self) -> BTreeMap<TargetName, Timestamp> {
        let paused = self.terms.iter().filter_map(|(target, terms)| {
            let since = Timestamp::from_millisecond(terms.paused_at?).ok()?;
            Some((self.targets.name(*target)?.clone(), since))
        });
        paused.collect()
    }

    /// The number of a new event.
    pub(super) fn take_seq(&mut self) -> i64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        seq
    }

    /// The number of the source, made if it is new.
    pub(super) fn source(
        &mut self,
        connection: &Connection,
        name: &SourceName,
    ) -> Result<i64, Fault> {
        if let Some(id) = self.sources.ids.get(name) {
            return Ok(*id);
        }
        let id = intern(connection, "INSERT INTO sources (name) VALUES (?1)", name.as_str())?;
        self.sources.insert(id, name.clone(), EventTotals::default());
        Ok(id)
    }

    /// The number of the target, made if it is new.
    pub(super) fn target(
        &mut self,
        connection: &Connection,
        name: &TargetName,
    ) -> Result<i64, Fault> {
        if let Some(id) = self.targets.ids.get(name) {
            return Ok(*id);
        }
        let id = intern(connection, "INSERT INTO targets (name) VALUES (?1)", name.as_str())?;
        self.targets.insert(id, name.clone(), DeliveryTotals::default());
        self.new_targets.push(id);
        Ok(id)
    }

    /// The targets first heard of since this was last asked.
    pub(super) fn take_new_targets(&mut self) -> Vec<i64> {
        std::mem::take(&mut self.new_targets)
    }

    /// Writes the totals that moved.
    pub(super) fn write(&self, connection: &Connection) -> Result<(), Fault> {
        for (id, totals) in self.sources.moved() {
            connection
                .prepare_cached(
                    "UPDATE sources SET accepted = ?2, routed = ?3, unrouted = ?4, \
                     quarantined = ?5 WHERE id = ?1",
                )?
                .execute(params![
                    id,
                    totals.accepted,
                    totals.routed,
                    totals.unrouted,
                    totals.quarantined
                ])?;
        }
        for (id, totals) in self.targets.moved() {
            connection
                .prepare_cached(
                    "UPDATE targets SET enqueued = ?2, delivered = ?3, pending = ?4, dead = ?5, \
                     discarded = ?6 WHERE id = ?1",
                )?
                .execute(params![
                    id,
                    totals.enqueued,
                    totals.delivered,
                    totals.pending,
                    totals.dead,
                    totals.discarded
                ])?;
        }
        Ok(())
    }

    /// The group in hand is in the log. What it moved, to be published once that is on disk.
    pub(super) fn settle(&mut self) -> Moved {
        let named = |account: &Account<SourceName, _>| (account.name.clone(), account.totals);
        let events = self.sources.settle().map(named).collect();
        let named = |account: &Account<TargetName, _>| (account.name.clone(), account.totals);
        let deliveries = self.targets.settle().map(named).collect();
        let paused = std::mem::take(&mut self.paused_moved).then(|| self.paused());
        Moved { events, deliveries, paused, last_seq: self.last_seq() }
    }

    /// The number of the youngest event.
    pub(super) fn last_seq(&self) -> i64 {
        self.next_seq - 1
    }

    /// Tells `totals` everything, as read from disk; what is only declared stays, at 0.
    pub(super) fn publish_all(&self, totals: &mut Totals) {
        totals.events.values_mut().for_each(|totals| *totals = EventTotals::default());
        totals.deliveries.values_mut().for_each(|totals| *totals = DeliveryTotals::default());
        for account in self.sources.all.values() {
            put(&mut totals.events, &account.name, account.totals);
        }
        for account in self.targets.all.values() {
            put(&mut totals.deliveries, &account.name, account.totals);
        }
        totals.paused = self.paused();
    }
}

// === impl Moved ===

impl Moved {
    /// Tells `totals` what is now on disk.
    pub(super) fn publish(&self, totals: &mut Totals) {
        for (name, moved) in &self.events {
            put(&mut totals.events, name, *moved);
        }
        for (name, moved) in &self.deliveries {
            put(&mut totals.deliveries, name, *moved);
        }
        if let Some(paused) = &self.paused {
            totals.paused.clone_from(paused);
        }
    }
}

// === impl Accounts ===

impl<N: Clone + Eq + Hash, T: Copy> Accounts<N, T> {
    fn new() -> Self {
        Self { all: HashMap::new(), ids: HashMap::new(), touched: Vec::new() }
    }

    fn insert(&mut self, id: i64, name: N, totals: T) {
        self.ids.insert(name.clone(), id);
        self.all.insert(id, Account { name, totals, touched: false });
    }

    /// Moves the totals of `id`, to be written with the group.
    pub(super) fn change(&mut self, id: i64, change: impl FnOnce(&mut T)) {
        if let Some(account) = self.all.get_mut(&id) {
            change(&mut account.totals);
            if !account.touched {
                account.touched = true;
                self.touched.push(id);
            }
        }
    }

    /// The number of `name`, if it has one.
    pub(super) fn id(&self, name: &N) -> Option<i64> {
        self.ids.get(name).copied()
    }

    /// The name of `id`.
    pub(super) fn name(&self, id: i64) -> Option<&N> {
        self.all.get(&id).map(|account| &account.name)
    }

    /// Every number with its name.
    pub(super) fn names(&self) -> Vec<(i64, N)> {
        self.all.iter().map(|(id, account)| (*id, account.name.clone())).collect()
    }

    fn moved(&self) -> impl Iterator<Item = (i64, T)> {
        self.touched.iter().filter_map(|id| Some((*id, self.all.get(id)?.totals)))
    }

    fn settle(&mut self) -> impl Iterator<Item = &Account<N, T>> {
        for id in &self.touched {
            if let Some(account) = self.all.get_mut(id) {
                account.touched = false;
            }
        }
        self.touched.drain(..).filter_map(|id| self.all.get(&id))
    }
}

fn intern(connection: &Connection, sql: &str, name: &str) -> Result<i64, Fault> {
    connection.prepare_cached(sql)?.execute([name])?;
    Ok(connection.last_insert_rowid())
}

/// Most groups move names that are there already: no clone for those.
fn put<N: Clone + Ord, T>(book: &mut BTreeMap<N, T>, name: &N, totals: T) {
    if let Some(known) = book.get_mut(name) {
        *known = totals;
    } else {
        book.insert(name.clone(), totals);
    }
}
