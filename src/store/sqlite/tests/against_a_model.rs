//! Random lives of a store beside a model that is a few maps in memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use proptest::{collection::vec, prelude::*};

use super::Place;
use crate::{
    event::EventId,
    store::{
        Admission, Again, DeadFilter, DeliveryState, DeliveryTotals, Erasure, EventFilter,
        EventTotals, Fate, Lapse, Replay, Room, Settlement, Store, Totals,
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
        call: Option<u8>,
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
    /// Sends events to `target` again: those that have a delivery for it, or all there are.
    Replay {
        target: usize,
        all: bool,
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
    /// Has the deliveries of a target take turns by call, or no more.
    Turns {
        target: usize,
        by_call: bool,
    },
    Pause {
        target: usize,
        paused: bool,
    },
    /// Buries what is older than so many seconds.
    Lapse {
        target: usize,
        seconds: u16,
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
    /// The events that could be read, in the order of acceptance, which is that of their ids.
    readable: BTreeMap<EventId, Readable>,
    /// In the order of acceptance.
    deliveries: Vec<Row>,
    /// What erased deliveries still count as.
    gone: BTreeMap<&'static str, DeliveryTotals>,
    /// Whose deliveries take turns by call.
    by_call: [bool; 3],
    paused: [Option<Timestamp>; 3],
    /// How long each was paused before that.
    stood: [SignedDuration; 3],
}

#[derive(Clone, Copy)]
struct Readable {
    source: usize,
    call: Option<Call>,
    routed: bool,
}

struct Row {
    event: EventId,
    target: usize,
    state: DeliveryState,
    round: u32,
    new_id: bool,
    attempts: u32,
    /// None while it waits for its turn.
    next_at: Option<Timestamp>,
    /// When it was due before it waited.
    not_before: Option<Timestamp>,
    since: Timestamp,
    /// How long its target had stood still by then.
    stood: SignedDuration,
    call: Option<Call>,
    /// Whether it is among those of its call that take turns.
    queued: bool,
}

/// A source and the call's id there.
type Call = (usize, u8);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let call = prop::option::weighted(0.8, 0..2_u8);
    let commit = (0..2_usize, prop::option::of(0..4_u8), any::<[bool; 3]>(), 0..8_u8, call)
        .prop_map(|(source, mark, targets, n, call)| Step::Commit {
            source,
            mark,
            targets,
            readable: n > 0,
            call,
        });
    let settle = (0..3_usize, 1..4_usize, 0..4_usize)
        .prop_map(|(target, limit, outcome)| Step::Settle { target, limit, outcome });
    let dead = (prop::option::of(0..3_usize), 1..4_usize);
    let step = prop_oneof![
        6 => commit,
        6 => settle,
        1 => dead.clone().prop_map(|(target, max)| Step::Redrive { target, max }),
        1 => dead.prop_map(|(target, max)| Step::Discard { target, max }),
        1 => (0..3_usize, any::<bool>()).prop_map(|(target, all)| Step::Replay { target, all }),
        1 => (0..3_usize, 0..3_usize).prop_map(|(old, new)| Step::Adopt { old, new }),
        1 => (0..40_usize).prop_map(|nth| Step::Erase { nth }),
        1 => (0..3_usize, any::<bool>())
            .prop_map(|(target, by_call)| Step::Turns { target, by_call }),
        1 => (0..3_usize, any::<bool>())
            .prop_map(|(target, paused)| Step::Pause { target, paused }),
        1 => (0..3_usize, 500..8000_u16)
            .prop_map(|(target, seconds)| Step::Lapse { target, seconds }),
        2 => (1..2000_u16).prop_map(|seconds| Step::Advance { seconds }),
        1 => Just(Step::Reopen),
    ];
    vec(step, 1..60)
}

// === impl Row ===

impl Row {
    /// It has not its turn, or no more.
    fn wait(&mut self) {
        self.not_before = self.next_at.take().or(self.not_before);
    }

    /// It has its turn, or needs none.
    fn wait_no_more(&mut self) {
        let kept = self.not_before.take();
        self.next_at = self.next_at.or(kept).or(Some(self.since));
    }
}

// === impl Model ===

impl Model {
    fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for (name, events) in &self.events {
            totals.events.insert(source(name), *events);
        }
        for (n, paused) in self.paused.iter().enumerate() {
            totals.paused.extend(paused.map(|since| (target(TARGETS[n]), since)));
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

    /// How long a target has stood still, all in all.
    fn stood_at(&self, target: usize, now: Timestamp) -> SignedDuration {
        let since = self.paused[target];
        self.stood[target] + since.map_or(SignedDuration::ZERO, |since| now.duration_since(since))
    }

    fn age(&self, row: &Row, now: Timestamp) -> SignedDuration {
        now.duration_since(row.since) - (self.stood_at(row.target, now) - row.stood)
    }

    /// Those that take turns for a call.
    fn queue(&self, target: usize, call: Option<Call>) -> impl Iterator<Item = usize> {
        let rows = self.deliveries.iter().enumerate();
        rows.filter(move |(_, row)| row.queued && (row.target, row.call) == (target, call))
            .map(|(n, _)| n)
    }

    /// One has become pending, or came in: whoever has the turn keeps it.
    fn join(&mut self, n: usize) {
        let row = &self.deliveries[n];
        if self.by_call[row.target] && row.call.is_some() {
            let waits = self.queue(row.target, row.call).next().is_some();
            let row = &mut self.deliveries[n];
            row.queued = true;
            row.next_at = row.next_at.filter(|_| !waits);
        }
    }

    /// One takes its place among those of its call: the oldest of them has the turn.
    fn line_up(&mut self, n: usize) {
        let (target, call) = (self.deliveries[n].target, self.deliveries[n].call);
        if !self.by_call[target] || call.is_none() {
            return;
        }
        let others: Vec<usize> = self.queue(target, call).collect();
        match others.first() {
            Some(first) if *first < n => self.deliveries[n].wait(),
            _ => others.iter().for_each(|other| self.deliveries[*other].wait()),
        }
        self.deliveries[n].queued = true;
    }

    /// Takes one out of its queue. The turn it had goes to the oldest of the others.
    fn leave(&mut self, n: usize) {
        let row = &mut self.deliveries[n];
        let had_turn = std::mem::take(&mut row.queued) && row.next_at.is_some();
        let (target, call) = (row.target, row.call);
        let next = self.queue(target, call).next().filter(|_| had_turn);
        if let Some(next) = next {
            self.deliveries[next].wait_no_more();
        }
    }

    fn end(&mut self, n: usize, state: DeliveryState) {
        self.leave(n);
        self.deliveries[n].state = state;
    }

    /// Makes a delivery, which is the last of its event.
    fn enqueue(&mut self, event: EventId, target: usize, now: Timestamp) {
        let n = self.deliveries.partition_point(|row| row.event <= event);
        let row = Row {
            event,
            target,
            state: DeliveryState::Pending,
            round: 0,
            new_id: false,
            attempts: 0,
            next_at: Some(now),
            not_before: None,
            since: now,
            stood: self.stood_at(target, now),
            call: self.readable[&event].call,
            queued: false,
        };
        self.deliveries.insert(n, row);
        self.join(n);
    }

    /// Sends an event to a target again, or for the first time. How many deliveries it takes.
    fn replay(&mut self, event: EventId, target: usize, now: Timestamp) -> u64 {
        let there =
            self.deliveries.iter().position(|row| (row.event, row.target) == (event, target));
        match there {
            Some(n) if self.deliveries[n].state == DeliveryState::Pending => return 0,
            Some(n) => self.send_again(n, now, true),
            None => self.enqueue(event, target, now),
        }
        let of = self.readable.get_mut(&event).unwrap();
        if !std::mem::replace(&mut of.routed, true) {
            let events = self.events.get_mut(SOURCES[of.source]).unwrap();
            (events.unrouted, events.routed) = (events.unrouted - 1, events.routed + 1);
        }
        1
    }

    fn send_again(&mut self, n: usize, now: Timestamp, new_id: bool) {
        let stood = self.stood_at(self.deliveries[n].target, now);
        let row = &mut self.deliveries[n];
        (row.state, row.attempts) = (DeliveryState::Pending, 0);
        (row.next_at, row.since, row.stood) = (Some(now), now, stood);
        row.not_before = None;
        row.round += 1;
        row.new_id = new_id;
        self.join(n);
    }

    fn adopt(&mut self, old: usize, new: usize, now: Timestamp) {
        let of_new: BTreeSet<EventId> =
            self.deliveries.iter().filter(|row| row.target == new).map(|row| row.event).collect();
        let ahead = self.stood_at(new, now) - self.stood_at(old, now);
        for n in self
            .by_age(old, |row| matches!(row.state, DeliveryState::Pending | DeliveryState::Dead))
        {
            if of_new.contains(&self.deliveries[n].event) {
                self.end(n, DeliveryState::Discarded);
                continue;
            }
            self.leave(n);
            let row = &mut self.deliveries[n];
            row.target = new;
            row.stood += ahead;
            row.wait_no_more();
            if self.deliveries[n].state == DeliveryState::Pending {
                self.line_up(n);
            }
        }
    }

    fn by_age(&self, target: usize, which: impl Fn(&Row) -> bool) -> Vec<usize> {
        let rows = self.deliveries.iter().enumerate();
        let mut found: Vec<(Timestamp, usize)> = rows
            .filter(|(_, row)| row.target == target && which(row))
            .map(|(n, row)| (row.since, n))
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(_, n)| n).collect()
    }

    /// Rows due, in order: so many first attempts, and as many further ones.
    fn due(&self, target: usize, now: Timestamp, limit: usize) -> Vec<usize> {
        let mut due: Vec<usize> = (0..self.deliveries.len())
            .filter(|n| {
                let row = &self.deliveries[*n];
                let pending = row.state == DeliveryState::Pending;
                row.target == target && pending && row.next_at.is_some_and(|at| at <= now)
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
        self.pending(target).filter_map(|row| row.next_at).filter(|at| *at > now).min()
    }

    fn pending(&self, target: usize) -> impl Iterator<Item = &Row> {
        self.deliveries
            .iter()
            .filter(move |row| row.target == target && row.state == DeliveryState::Pending)
    }

    fn dead(&self, target: Option<usize>, max: usize) -> Vec<usize> {
        (0..self.deliveries.len())
            .filter(|n| self.deliveries[*n].state == DeliveryState::Dead)
            .filter(|n| target.is_none_or(|target| target == self.deliveries[*n].target))
            .take(max)
            .collect()
    }

    #[expect(clippy::too_many_lines, reason = "one arm a step, each of which is short")]
    async fn step(&mut self, store: &dyn Store, place: &Place, step: &Step) {
        let now = place.clock.now();
        match step {
            Step::Commit { source: from, mark, targets, readable, call } => {
                let chosen: Vec<usize> = (0..3).filter(|n| targets[*n]).collect();
                let names: Vec<&str> = chosen.iter().map(|n| TARGETS[*n]).collect();
                let mut made = if *readable {
                    admission(&place.clock, &names)
                } else {
                    quarantined(&place.clock)
                };
                if let Fate::Readable { facts, .. } = &mut made.fate {
                    (facts.call_id, facts.reference) = (call.map(|call| call.to_string()), None);
                }
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
                    let call = call.map(|call| (*from, call));
                    let routed = !chosen.is_empty();
                    self.readable.insert(id, Readable { source: *from, call, routed });
                    for target in chosen {
                        self.enqueue(id, target, now);
                    }
                }
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
                    let made = attempt(row.attempts, now);
                    if let Settlement::Retry { at } = settlement {
                        row.next_at = Some(at);
                    } else {
                        self.end(n, state);
                    }
                    store.settle(delivery, made, settlement).await.unwrap();
                }
            }
            Step::Redrive { target: of, max } => {
                let moved = store
                    .redrive(filter(*of), None, Again { at: now, new_id: max % 2 == 0 }, *max)
                    .await
                    .unwrap()
                    .letters;
                let expected = self.dead(*of, *max);
                assert_eq!(moved, u64::try_from(expected.len()).unwrap());
                for n in expected {
                    self.send_again(n, now, max % 2 == 0);
                }
            }
            Step::Discard { target: of, max } => {
                let moved = store.discard(filter(*of), None, *max).await.unwrap().letters;
                let expected = self.dead(*of, *max);
                assert_eq!(moved, u64::try_from(expected.len()).unwrap());
                for n in expected {
                    self.end(n, DeliveryState::Discarded);
                }
            }
            Step::Replay { target: of, all } => {
                let only = (!all).then(|| target(TARGETS[*of]));
                let filter = EventFilter { target: only, ..EventFilter::default() };
                let replay = Replay { events: filter, targets: vec![target(TARGETS[*of])] };
                let sent = store
                    .replay(replay, None, Again { at: now, new_id: true }, 1000)
                    .await
                    .unwrap();
                let there = |event: &EventId| {
                    self.deliveries.iter().any(|row| (row.event, row.target) == (*event, *of))
                };
                let events: Vec<EventId> =
                    self.readable.keys().copied().filter(|event| *all || there(event)).collect();
                let expected = events.into_iter().map(|event| self.replay(event, *of, now)).sum();
                assert_eq!((sent.deliveries, sent.next), (expected, None));
            }
            Step::Adopt { old, new } => {
                let (from, to) = (target(TARGETS[*old]), target(TARGETS[*new]));
                while store.adopt(&from, &to).await.unwrap() > 0 {}
                if old != new {
                    self.adopt(*old, *new, now);
                }
            }
            Step::Erase { nth } => {
                let Some(event) = self.deliveries.get(*nth).map(|row| row.event) else { return };
                let erased = store.erase(Erasure::Event(event), None).await.unwrap();
                assert_eq!((erased.events, erased.next), (1, None));
                self.seen.retain(|_, (_, first)| *first != event);
                self.readable.remove(&event);
                for n in 0..self.deliveries.len() {
                    if self.deliveries[n].event == event {
                        self.leave(n);
                    }
                }
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
            Step::Turns { target: of, by_call } => {
                store.take_turns(&target(TARGETS[*of]), *by_call).await.unwrap();
                let before = std::mem::replace(&mut self.by_call[*of], *by_call);
                let pending = self.by_age(*of, |row| row.state == DeliveryState::Pending);
                for n in pending.into_iter().filter(|_| before != *by_call) {
                    if *by_call {
                        self.line_up(n);
                    } else {
                        let row = &mut self.deliveries[n];
                        row.queued = false;
                        row.wait_no_more();
                    }
                }
            }
            Step::Pause { target: of, paused } => {
                let name = target(TARGETS[*of]);
                let changed =
                    if *paused { store.pause(&name).await } else { store.resume(&name).await };
                assert_eq!(changed, Ok(self.paused[*of].is_some() != *paused));
                let still = self.stood_at(*of, now);
                match paused {
                    true => drop(self.paused[*of].get_or_insert(now)),
                    false => (self.stood[*of], self.paused[*of]) = (still, None),
                }
            }
            Step::Lapse { target: of, seconds } => {
                let older_than = Duration::from_secs((*seconds).into());
                let lapse = Lapse { older_than, status: None, error: None };
                let mut buried = 0;
                loop {
                    let name = target(TARGETS[*of]);
                    match store.lapse(&name, now, &[], lapse.clone()).await.unwrap() {
                        0 => break,
                        step => buried += step,
                    }
                }
                let too_old = SignedDuration::from_secs((*seconds).into());
                let mut found = self.by_age(*of, |row| row.state == DeliveryState::Pending);
                found.retain(|n| self.age(&self.deliveries[*n], now) >= too_old);
                assert_eq!(buried, u64::try_from(found.len()).unwrap());
                for n in found {
                    self.end(n, DeliveryState::Dead);
                }
            }
            Step::Advance { seconds } => {
                place.clock.advance(Duration::from_secs((*seconds).into()));
            }
            Step::Reopen => {}
        }
    }

    async fn agrees_with(&self, store: &dyn Store, now: Timestamp) {
        // Long after every pause: everything pending but what waits for its turn.
        let later = now + Duration::from_hours(24);
        for (n, name) in TARGETS.iter().enumerate() {
            let found = store.due(&target(name), later, &[], Room::of(1000)).await.unwrap();
            let stood = self.stood_at(n, later);
            let expected: Vec<_> = self
                .due(n, later, 1000)
                .into_iter()
                .map(|n| {
                    let row = &self.deliveries[n];
                    (row.event, row.since, (stood - row.stood).unsigned_abs())
                })
                .collect();
            let found = found.deliveries.iter();
            let found: Vec<_> = found.map(|row| (row.event, row.since, row.stood)).collect();
            assert_eq!(found, expected, "{name}");
        }
        let mut totals = store.totals();
        assert_balanced(&totals);
        // One that was named, and is owed nothing, is told of or not.
        totals.deliveries.retain(|_, totals| *totals != DeliveryTotals::default());
        assert_eq!(totals, self.totals());
        let oldest: BTreeMap<_, _> = store.oldest_pending().await.unwrap().into_iter().collect();
        for (n, name) in TARGETS.iter().enumerate() {
            let expected = self.pending(n).map(|row| row.since).min();
            assert_eq!(oldest.get(&target(name)).copied(), expected, "{name}");
        }
        let dead = store.dead_letters(DeadFilter::default(), None, 1000).await.unwrap().letters;
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
        model.agrees_with(&*store, place.clock.now()).await;
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
