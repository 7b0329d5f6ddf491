//! The memory of fingerprints on its way through map, move and tree, beside a plain map.

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;
use proptest::{collection::vec, prelude::*};
use rusqlite::Connection;

use super::Place;
use crate::{
    event::EventId,
    store::{
        Admission,
        conformance::{WINDOW, admission, fingerprint},
        sqlite::{
            open, schema,
            seen::{Key, Seen},
            statements::Statements,
        },
    },
};

/// So few that a handful of events goes all the way.
const YOUNG_MAX: usize = 5;

/// A file, its memory and the numbers of its events.
struct Memory {
    place: Place,
    connection: Connection,
    seen: Seen,
    seq: i64,
}

fn key(number: u8) -> Key {
    (i64::from(number % 2), fingerprint(number.wrapping_mul(97)).0)
}

fn statements(connection: &Connection) -> Statements<'_> {
    Statements::of(connection).unwrap()
}

// === impl Memory ===

impl Memory {
    fn new() -> Self {
        let place = Place::new();
        let connection = schema::open_writer(&open::prepare(&place.path()).unwrap()).unwrap();
        let seen = Seen::read(&connection, YOUNG_MAX).unwrap();
        Self { place, connection, seen, seq: 0 }
    }

    /// One group: the fingerprints in turn, each noted unless it is remembered. What is found or
    /// noted.
    fn group(&mut self, numbers: &[u8]) -> Vec<EventId> {
        let now = self.place.clock.now();
        self.connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        let (mut ids, mut stored) = (Vec::new(), 0);
        for number in numbers {
            let first =
                self.seen.first(&mut statements(&self.connection), key(*number), now).unwrap();
            ids.push(first.map_or_else(
                || {
                    stored += 1;
                    self.note(*number)
                },
                |(id, _)| id,
            ));
        }
        self.seen.keep_up(&self.connection, stored, now).unwrap();
        self.connection.execute_batch("COMMIT").unwrap();
        self.seen.settle();
        ids
    }

    fn note(&mut self, number: u8) -> EventId {
        let admission: Admission = admission(&self.place.clock, &[]);
        self.seq += 1;
        let key = key(number);
        let mut statements = statements(&self.connection);
        self.seen.remember(&mut statements, key, self.seq, &admission, false).unwrap();
        admission.id
    }

    fn rows(&self, table: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        self.connection.query_row(&sql, [], |row| row.get(0)).unwrap()
    }

    fn read_again(&mut self) {
        self.seen = Seen::read(&self.connection, YOUNG_MAX).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_fingerprint_is_remembered_for_its_window_wherever_it_is_kept(
        groups in vec((vec(0..40_u8, 1..8), 0..900_u16, prop::bool::weighted(0.1)), 1..60),
    ) {
        let mut memory = Memory::new();
        let mut model: HashMap<u8, (Timestamp, EventId)> = HashMap::new();
        for (numbers, seconds, crash) in groups {
            let now = memory.place.clock.now();
            for (number, id) in numbers.iter().zip(memory.group(&numbers)) {
                let known = model.get(number).filter(|(until, _)| now < *until).copied();
                if let Some((_, first)) = known {
                    prop_assert_eq!(id, first);
                } else {
                    prop_assert!(!model.values().any(|(_, other)| *other == id));
                    model.insert(*number, (now + WINDOW, id));
                }
            }
            memory.place.clock.advance(Duration::from_secs(seconds.into()));
            if crash {
                memory.read_again();
            }
        }
    }
}

#[test]
fn the_young_are_moved_into_the_tree_and_their_notes_removed() {
    let mut memory = Memory::new();
    let mut ids = Vec::new();
    for number in 0..40 {
        ids.extend(memory.group(&[number]));
        assert!(memory.rows("seen_lately") <= 20, "{number}: notes do not pile up");
    }

    assert!(memory.rows("seen") >= 30);
    let numbers: Vec<u8> = (0..40).collect();
    assert_eq!(memory.group(&numbers), ids);
    memory.read_again();
    assert_eq!(memory.group(&numbers), ids);
}

#[test]
fn what_is_forgotten_in_a_group_leaves_the_rest_of_it() {
    let mut memory = Memory::new();
    memory.connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    memory.note(1);
    let mark = memory.seen.mark();
    memory.note(2);
    memory.connection.execute("DELETE FROM seen_lately WHERE seq = 2", []).unwrap();

    memory.seen.forget_since(mark);

    let now = memory.place.clock.now();
    let known =
        |number| memory.seen.first(&mut statements(&memory.connection), key(number), now).unwrap();
    assert!(known(1).is_some());
    assert!(known(2).is_none());
}

#[test]
fn the_expired_are_forgotten_as_events_come_in() {
    let mut memory = Memory::new();
    let numbers: Vec<u8> = (0..200).collect();
    for group in numbers.chunks(10) {
        memory.group(group);
    }
    memory.place.clock.advance(WINDOW);

    // Ten pairs that repeat for ever: few are alive at any time.
    for _ in 0..60 {
        for group in numbers[..20].chunks(10) {
            memory.group(group);
        }
        memory.place.clock.advance(WINDOW);
    }

    let kept = memory.rows("seen") + memory.rows("seen_lately");
    assert!(kept < 100, "{kept} are kept of 200 that have expired and 20 that have not");
}
