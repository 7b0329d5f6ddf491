//! What it costs that many results of one call wait for each other.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use rusqlite::{Connection, params};

use super::Place;
use crate::store::{
    conformance::{Backend as _, target},
    sqlite::{
        amend::Amend,
        group::{Done, Group, News, TARGETS_MAX},
        ledger::Ledger,
        schema,
        seen::Seen,
        statements::Statements,
    },
};

/// One target's pending results of one call, in a file of its own.
struct Queue {
    place: Place,
    connection: Connection,
    ledger: Ledger,
    seen: Seen,
    /// Instructions that SQLite has executed.
    work: Arc<AtomicU64>,
}

impl Queue {
    /// With `rows` results for each of these targets, each accepted a second after, or before, the
    /// one of the lower id.
    fn of(rows: i64, backwards: bool, targets: &[&str]) -> Self {
        let place = Place::new();
        std::fs::File::create(place.path()).unwrap();
        let mut connection = schema::open_writer(&place.path()).unwrap();
        connection.execute_batch("BEGIN").unwrap();
        let mut ledger = Ledger::read(&connection).unwrap();
        let mut id = 0;
        for name in targets {
            let number = ledger.target(&connection, &target(name)).unwrap();
            for _ in 0..rows {
                id += 1;
                let since = if backwards { -id } else { id };
                connection
                    .execute(
                        "INSERT INTO deliveries (id, target, state, round, attempts, since, \
                         next_at, call_key) VALUES (?1, ?2, 0, 0, 0, ?3, ?3, 7)",
                        params![id * TARGETS_MAX, number, 1_800_000_000_000_i64 + since * 1000],
                    )
                    .unwrap();
            }
            ledger.targets.change(number, |totals| {
                totals.pending += rows.unsigned_abs();
                totals.enqueued += rows.unsigned_abs();
            });
        }
        let seen = Seen::read(&connection, 256).unwrap();
        let work = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&work);
        let count = move || {
            counted.fetch_add(1, Ordering::Relaxed);
            false
        };
        connection.progress_handler(1, Some(count)).unwrap();
        Self { place, connection, ledger, seen, work }
    }

    fn group(&mut self) -> Group<'_> {
        Group {
            connection: &self.connection,
            statements: Statements::of(&self.connection).unwrap(),
            ledger: &mut self.ledger,
            seen: &mut self.seen,
            now: self.place.clock().now(),
            news: News::default(),
            stored: 0,
        }
    }

    fn take_turns(&mut self, name: &str) {
        let mut after = None;
        loop {
            after = self.group().take_turns(&target(name), true, after).unwrap().joined;
            if after.is_none() {
                break;
            }
        }
    }

    fn adopt(&mut self, old: &str, new: &str) {
        let step = Amend::Adopt { old: target(old), new: target(new) };
        loop {
            let Done::Amended(done) = self.group().amend(&step).unwrap() else { unreachable!() };
            if done.moved == 0 {
                break;
            }
        }
    }

    fn number(&self, name: &str) -> i64 {
        self.ledger.targets.id(&target(name)).unwrap()
    }

    /// Has one end, as delivered or dead.
    fn end(&mut self, number: i64, id: i64, state: i64) {
        let mut group = self.group();
        let turn = group.turn_of(number, id).unwrap();
        group
            .connection
            .execute("UPDATE deliveries SET state = ?2, next_at = NULL WHERE id = ?1", [id, state])
            .unwrap();
        group.pass_turn(number, turn).unwrap();
    }

    /// Sends a dead one again.
    fn redrive(&mut self, number: i64, id: i64) {
        let mut group = self.group();
        group
            .connection
            .execute("UPDATE deliveries SET state = 0, next_at = since WHERE id = ?1", [id])
            .unwrap();
        group.enrol(number, id, 1_800_000_000_000).unwrap();
    }

    /// Has each that has the turn end, until nobody is left. In which order they went.
    fn drain(&mut self, name: &str) -> Vec<i64> {
        let number = self.number(name);
        let mut gone = Vec::new();
        while let Some(id) = self.turn(number) {
            self.end(number, id, 1);
            gone.push(id / TARGETS_MAX);
        }
        gone
    }

    /// Who has the turn, of whom there is one at most.
    fn turn(&self, number: i64) -> Option<i64> {
        let mut query = self
            .connection
            .prepare_cached(
                "SELECT id FROM deliveries INDEXED BY deliveries_due WHERE target = ?1 \
                 AND (attempts > 0) = 0 AND state = 0 AND next_at >= 0 LIMIT 2",
            )
            .unwrap();
        let found: Vec<i64> =
            query.query_map([number], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        assert!(found.len() < 2, "{found:?}");
        found.first().copied()
    }

    fn worked(&self) -> u64 {
        self.work.load(Ordering::Relaxed)
    }
}

/// Twice the results are twice the work, and not four times.
fn assert_linear(what: &str, work: impl Fn(i64) -> u64) {
    const ROWS: i64 = 1_000;
    let (one, two) = (work(ROWS), work(2 * ROWS));
    assert!(two * 10 < one * 23, "{what}: {one} steps for {ROWS}, {two} for twice as many");
}

#[test]
fn to_line_up_the_results_of_one_call_costs_each_the_same_however_many_there_are() {
    for backwards in [false, true] {
        assert_linear(&format!("backwards: {backwards}"), |rows| {
            let mut queue = Queue::of(rows, backwards, &["crm"]);
            queue.take_turns("crm");
            queue.worked()
        });
    }
}

#[test]
fn to_take_over_the_results_of_one_call_costs_each_the_same_however_many_there_are() {
    for backwards in [false, true] {
        for (old, new) in [("crm", "bi"), ("bi", "crm")] {
            assert_linear(&format!("{old} by {new}, backwards: {backwards}"), |rows| {
                let mut queue = Queue::of(rows, backwards, &["crm", "bi"]);
                queue.take_turns(new);
                let before = queue.worked();
                queue.adopt(old, new);
                queue.worked() - before
            });
        }
    }
}

#[test]
fn to_work_off_the_results_of_one_call_costs_each_the_same_however_many_there_are() {
    assert_linear("one after the other", |rows| {
        let mut queue = Queue::of(rows, false, &["crm"]);
        queue.take_turns("crm");
        let before = queue.worked();
        let gone = queue.drain("crm");
        assert!(gone.iter().copied().eq(1..=rows));
        queue.worked() - before
    });
}

#[test]
fn what_is_older_goes_before_one_that_has_the_turn_and_one_that_came_back_behind_it() {
    let mut queue = Queue::of(2, false, &["bi", "crm"]);
    let crm = queue.number("crm");
    queue.take_turns("crm");
    queue.end(crm, 3 * TARGETS_MAX, 2);
    queue.redrive(crm, 3 * TARGETS_MAX);
    assert_eq!(queue.turn(crm), Some(4 * TARGETS_MAX));

    queue.adopt("bi", "crm");

    assert_eq!(queue.drain("crm"), [1, 2, 3, 4]);
}
