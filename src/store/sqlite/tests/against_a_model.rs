//! Random lives of a store beside a model that is a few maps in memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use proptest::{collection::vec, prelude::*};

use super::Place;
use crate::{
    event::EventId,
    store::{
        Admission, Again, DeadFilter, DeliveryState, DeliveryTotals, Erasure, EventFilter,
        EventTotals, Replay, Room, Settlement, Store, Totals,
        conformance::{
            BURIED, Backend as _, WINDOW, admission, assert_balanced, attempt, fingerprint,
            quarantined, source, target,
        },
    },
};

const SOURCES: [&str; 2] = ["clouddial-au", "plum-us"];
const TARGETS: [&str; 3] = ["crm", "archive", "lake"];

#[derive(Clone, Debug)]
enum Step {
    Commit {
        source: usize,
        mark: Option<u8>,
        targets: [bool; 3],
        readable: bool,
    },
    Settle {
        target: usize,
        limit: usize,
        outcome: usize,
    },
    Redrive {
        target: Option<usize>,
        max: usize,
    },
    Discard {
        target: Option<usize>,
        max: usize,
    },
    /// Sends the events that have a delivery for `target` to it again.
    Replay {
        target: usize,
    },
    /// Gives one target's pending and dead to another.
    Adopt {
        old: usize,
        new: usize,
    },
    /// Erases the event of the nth delivery there is.
    Erase {
        nth: usize,
    },
    Advance {
        seconds: u16,
    },
    Reopen,
}

/// What the store should hold.
#[derive(Default)]
struct Model {
    events: BTreeMap<&'static str, EventTotals>,
    seen: BTreeMap<(usize, u8), (Timestamp, EventId)>,
    /// In the order of acceptance.
    deliveries: Vec<Row>,
    /// What erased deliveries still count as.
    gone: BTreeMap<&'static str, DeliveryTotals>,
    /// Targets the store has heard of.
    known: BTreeSet<usize>,
}

struct Row {
    event: EventId,
    target: usize,
    state: DeliveryState,
    round: u32,
    new_id: bool,
    attempts: u32,
    next_at: Timestamp,
    since: Timestamp,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let commit = (0..2_usize, prop::option::of(0..4_u8), any::<[bool; 3]>(), 0..8_u8).prop_map(
        |(source, mark, targets, n)| Step::Commit { source, mark, targets, readable: n > 0 },
    );
    let settle = (0..3_usize, 1..4_usize, 0..4_usize)
        .prop_map(|(target, limit, outcome)| Step::Settle { target, limit, outcome });
    let dead = (prop::option::of(0..3_usize), 1..4_usize);
    let step = prop_oneof![
        6 => commit,
        6 => settle,
        1 => dead.clone().prop_map(|(target, max)| Step::Redrive { target, max }),
        1 => dead.prop_map(|(target, max)| Step::Discard { target, max }),
        1 => (0..3_usize).prop_map(|target| Step::Replay { target }),
        1 => (0..3_usize, 0..3_usize).prop_map(|(old, new)| Step::Adopt { old, new }),
        1 => (0..40_usize).prop_map(|nth| Step::Erase { nth }),
        2 => (1..2000_u16).prop_map(|seconds| Step::Advance { seconds }),
        1 => Just(Step::Reopen),
    ];
    vec(step, 1..60)
}

// === impl Model ===

impl Model {
    fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for (name, events) in &self.events {
            totals.events.insert(source(name), *events);
        }
        for known in &self.known {
            totals.deliveries.entry(target(TARGETS[*known])).or_default();
        }
        for (name, gone) in &self.gone {
            totals.deliveries.insert(target(name), *gone);
        }
        for row in &self.deliveries {
            let of: &mut DeliveryTotals =
                totals.deliveries.entry(target(TARGETS[row.target])).or_default();
            of.enqueued += 1;
            match row.state {
                DeliveryState::Pending => of.pending += 1,
                DeliveryState::Delivered => of.delivered += 1,
                DeliveryState::Dead => of.dead += 1,
                DeliveryState::Discarded => of.discarded += 1,
            }
        }
        totals
    }

    fn adopt(&mut self, old: usize, new: usize) {
        let of_new: BTreeSet<EventId> =
            self.deliveries.iter().filter(|row| row.target == new).map(|row| row.event).collect();
        for row in self.deliveries.iter_mut().filter(|row| row.target == old) {
            let moves = matches!(row.state, DeliveryState::Pending | DeliveryState::Dead);
            match (moves, of_new.contains(&row.event)) {
                (false, _) => {}
                (true, false) => {
                    row.target = new;
                    self.known.insert(new);
                }
                (true, true) => row.state = DeliveryState::Discarded,
            }
        }
    }

    /// Rows due, in order: so many first attempts, and as many further ones.
    fn due(&self, target: usize, now: Timestamp, limit: usize) -> Vec<usize> {
        let mut due: Vec<usize> = (0..self.deliveries.len())
            .filter(|n| {
                let row = &self.deliveries[*n];
                let pending = row.state == DeliveryState::Pending;
                row.target == target && pending && row.next_at <= now
            })
            .collect();
        due.sort_by_key(|n| (self.deliveries[*n].next_at, *n));
        let mut left = [limit, limit];
        due.retain(|n| {
            let left = &mut left[usize::from(self.deliveries[*n].attempts > 0)];
            let fits = *left > 0;
            *left = left.saturating_sub(1);
            fits
        });
        due
    }

    fn next_at(&self, target: usize, now: Timestamp) -> Option<Timestamp> {
        self.pending(target).map(|row| row.next_at).filter(|at| *at > now).min()
    }

    fn pending(&self, target: usize) -> impl Iterator<Item = &Row> {
        self.deliveries
            .iter()
            .filter(move |row| row.target == target && row.state == DeliveryState::Pending)
    }

    fn dead(&mut self, target: Option<usize>, max: usize) -> impl Iterator<Item = &mut Row> {
        self.deliveries
            .iter_mut()
            .filter(move |row| row.state == DeliveryState::Dead)
            .filter(move |row| target.is_none_or(|target| target == row.target))
            .take(max)
    }

    #[expect(clippy::too_many_lines, reason = "one arm a step, each of which is short")]
    async fn step(&mut self, store: &dyn Store, place: &Place, step: &Step) {
        let now = place.clock.now();
        match step {
            Step::Commit { source: from, mark, targets, readable } => {
                let chosen: Vec<usize> = (0..3).filter(|n| targets[*n]).collect();
                let names: Vec<&str> = chosen.iter().map(|n| TARGETS[*n]).collect();
                let made = if *readable {
                    admission(&place.clock, &names)
                } else {
                    quarantined(&place.clock)
                };
                let made = Admission {
                    source: source(SOURCES[*from]),
                    fingerprint: mark.map(fingerprint),
                    ..made
                };
                let id = made.id;
                let receipt = store.commit(made).await.unwrap();
                let first = mark.and_then(|mark| self.seen.get(&(*from, mark)).copied());
                if let Some((_, first)) = first.filter(|(until, _)| now < *until) {
                    assert_eq!((receipt.id(), receipt.is_duplicate()), (first, true));
                    return;
                }
                assert_eq!((receipt.id(), receipt.is_duplicate()), (id, false));
                if let Some(mark) = mark {
                    self.seen.insert((*from, *mark), (now + WINDOW, id));
                }
                let events = self.events.entry(SOURCES[*from]).or_default();
                events.accepted += 1;
                match (readable, chosen.is_empty()) {
                    (false, _) => events.quarantined += 1,
                    (true, true) => events.unrouted += 1,
                    (true, false) => events.routed += 1,
                }
                if *readable {
                    self.known.extend(&chosen);
                }
                self.deliveries.extend(chosen.into_iter().filter(|_| *readable).map(|target| {
                    Row {
                        event: id,
                        target,
                        state: DeliveryState::Pending,
                        round: 0,
                        new_id: false,
                        attempts: 0,
                        next_at: now,
                        since: now,
                    }
                }));
            }
            Step::Settle { target: to, limit, outcome } => {
                let found =
                    store.due(&target(TARGETS[*to]), now, &[], Room::of(*limit)).await.unwrap();
                let expected = self.due(*to, now, *limit);
                assert_eq!(found.deliveries.len(), expected.len());
                assert_eq!(found.next_at, self.next_at(*to, now));
                for (delivery, n) in found.deliveries.into_iter().zip(expected) {
                    let row = &mut self.deliveries[n];
                    assert_eq!((delivery.event, delivery.since), (row.event, row.since));
                    assert_eq!((delivery.round, delivery.attempts), (row.round, row.attempts));
                    assert_eq!(delivery.new_id, row.new_id);
                    row.attempts += 1;
                    let at = now + Duration::from_mins(10);
                    let (settlement, state) = [
                        (Settlement::Delivered, DeliveryState::Delivered),
                        (Settlement::Retry { at }, DeliveryState::Pending),
                        (Settlement::Retry { at: now }, DeliveryState::Pending),
                        (BURIED, DeliveryState::Dead),
                    ][*outcome];
                    if let Settlement::Retry { at } = settlement {
                        row.next_at = at;
                    }
                    row.state = state;
                    let made = attempt(row.attempts, now);
                    store.settle(delivery, made, settlement).await.unwrap();
                }
            }
            Step::Redrive { target: of, max } => {
                let moved = store
                    .redrive(filter(*of), Again { at: now, new_id: max % 2 == 0 }, *max)
                    .await
                    .unwrap();
                let mut expected = 0;
                for row in self.dead(*of, *max) {
                    (row.state, row.attempts) = (DeliveryState::Pending, 0);
                    (row.next_at, row.since) = (now, now);
                    row.round += 1;
                    row.new_id = max % 2 == 0;
                    expected += 1;
                }
                assert_eq!(moved, expected);
            }
            Step::Discard { target: of, max } => {
                let moved = store.discard(filter(*of), *max).await.unwrap();
                let mut expected = 0;
                for row in self.dead(*of, *max) {
                    row.state = DeliveryState::Discarded;
                    expected += 1;
                }
                assert_eq!(moved, expected);
            }
            Step::Replay { target: of } => {
                let filter =
                    EventFilter { target: Some(target(TARGETS[*of])), ..EventFilter::default() };
                let replay = Replay { events: filter, targets: vec![target(TARGETS[*of])] };
                let sent = store
                    .replay(replay, None, Again { at: now, new_id: true }, 1000)
                    .await
                    .unwrap();
                let mut expected = 0;
                for row in self.deliveries.iter_mut().filter(|row| row.target == *of) {
                    if row.state != DeliveryState::Pending {
                        (row.state, row.attempts) = (DeliveryState::Pending, 0);
                        (row.next_at, row.since) = (now, now);
                        row.round += 1;
                        row.new_id = true;
                        expected += 1;
                    }
                }
                assert_eq!((sent.deliveries, sent.next), (expected, None));
            }
            Step::Adopt { old, new } => {
                let (from, to) = (target(TARGETS[*old]), target(TARGETS[*new]));
                while store.adopt(&from, &to).await.unwrap() > 0 {}
                if old != new {
                    self.adopt(*old, *new);
                }
            }
            Step::Erase { nth } => {
                let Some(event) = self.deliveries.get(*nth).map(|row| row.event) else { return };
                let erased = store.erase(Erasure::Event(event), None).await.unwrap();
                assert_eq!((erased.events, erased.next), (1, None));
                self.seen.retain(|_, (_, first)| *first != event);
                let gone = self.deliveries.extract_if(.., |row| row.event == event);
                for row in gone {
                    let of = self.gone.entry(TARGETS[row.target]).or_default();
                    of.enqueued += 1;
                    match row.state {
                        DeliveryState::Delivered => of.delivered += 1,
                        _ => of.discarded += 1,
                    }
                }
            }
            Step::Advance { seconds } => {
                place.clock.advance(Duration::from_secs((*seconds).into()));
            }
            Step::Reopen => {}
        }
    }

    async fn agrees_with(&self, store: &dyn Store) {
        let totals = store.totals();
        assert_balanced(&totals);
        assert_eq!(totals, self.totals());
        let oldest: BTreeMap<_, _> = store.oldest_pending().await.unwrap().into_iter().collect();
        for (n, name) in TARGETS.iter().enumerate() {
            let expected = self.pending(n).map(|row| row.since).min();
            assert_eq!(oldest.get(&target(name)).copied(), expected, "{name}");
        }
        let dead = store.dead_letters(DeadFilter::default(), None, 1000).await.unwrap();
        let dead: Vec<_> = dead.into_iter().map(|letter| (letter.event, letter.target)).collect();
        let expected: Vec<_> = self
            .deliveries
            .iter()
            .filter(|row| row.state == DeliveryState::Dead)
            .map(|row| (row.event, target(TARGETS[row.target])))
            .collect();
        assert_eq!(dead, expected);
    }
}

fn filter(of: Option<usize>) -> DeadFilter {
    DeadFilter { target: of.map(|n| target(TARGETS[n])), ..DeadFilter::default() }
}

async fn live(steps: Vec<Step>) {
    let place = Place::new();
    let mut store = place.open();
    let mut model = Model::default();
    for step in &steps {
        if matches!(step, Step::Reopen) {
            drop(store);
            store = place.open();
        }
        model.step(&*store, &place, step).await;
        model.agrees_with(&*store).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_store_lives_as_its_model(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(live(steps));
    }
}
