//! Targets that stand still, calls that keep their order, and what grows too old meanwhile.

use super::*;
use crate::store::Lapse;

const DAY: Duration = Duration::from_hours(24);

fn of_call(clock: &Clock, call: Option<&str>, reference: Option<&str>) -> Admission {
    let mut admitted = admission(clock, &["crm"]);
    let Fate::Readable { facts, .. } = &mut admitted.fate else { panic!("it is readable") };
    facts.call_id = call.map(str::to_owned);
    facts.reference = reference.map(str::to_owned);
    admitted
}

async fn commit_call(backend: &dyn Backend, store: &dyn Store, call: &str) -> EventId {
    commit(store, of_call(backend.clock(), Some(call), None)).await.id()
}

async fn settle(backend: &dyn Backend, store: &dyn Store, event: EventId, to: Settlement) {
    let now = backend.clock().now();
    let mut found = due(store, "crm", now).await;
    found.retain(|delivery| delivery.event == event);
    let delivery = found.pop().expect("it is due");
    let number = delivery.attempts + 1;
    store.settle(delivery, attempt(number, now), to).await.unwrap();
}

async fn ages(backend: &dyn Backend, store: &dyn Store) -> Vec<Duration> {
    let now = backend.clock().now();
    let age =
        |delivery: Delivery| now.duration_since(delivery.since + delivery.stood).unsigned_abs();
    due(store, "crm", now).await.into_iter().map(age).collect()
}

fn lapse(older_than: Duration) -> Lapse {
    Lapse { older_than, status: Some(502), error: Some("bad gateway".to_owned()) }
}

// === standing still ===

pub(crate) async fn a_pause_is_told_over_restarts_until_it_ends(backend: &dyn Backend) {
    let store = backend.open();
    let (crm, start) = (target("crm"), backend.clock().now());
    let wake = store.wake(&crm);

    assert_eq!(store.pause(&crm).await, Ok(true));
    woken(&wake).await;
    backend.clock().advance(DAY);
    assert_eq!(store.pause(&crm).await, Ok(false));
    drop(store);

    let store = backend.open();
    assert_eq!(store.totals().paused.get(&crm), Some(&start));
    assert_eq!(store.resume(&crm).await, Ok(true));
    assert_eq!(store.resume(&crm).await, Ok(false));
    assert!(store.totals().paused.is_empty());
}

pub(crate) async fn nothing_ages_while_its_target_is_paused(backend: &dyn Backend) {
    let store = backend.open();
    let crm = target("crm");
    commit(&*store, admission(backend.clock(), &["crm"])).await;
    backend.clock().advance(second(5));
    store.pause(&crm).await.unwrap();
    backend.clock().advance(7 * DAY);
    commit(&*store, admission(backend.clock(), &["crm"])).await;
    backend.clock().advance(7 * DAY);
    assert_eq!(ages(backend, &*store).await, [second(5), Duration::ZERO]);
    drop(store);

    let store = backend.open();
    assert_eq!(ages(backend, &*store).await, [second(5), Duration::ZERO]);
    store.resume(&crm).await.unwrap();
    backend.clock().advance(second(3));

    assert_eq!(ages(backend, &*store).await, [second(8), second(3)]);
    let now = backend.clock().now();
    assert_eq!(store.lapse(&crm, now, &[], lapse(DAY)).await, Ok(0));
}

pub(crate) async fn nothing_ages_while_its_target_is_not_configured(backend: &dyn Backend) {
    let store = backend.open();
    store.declare(&[], &[target("crm")]);
    commit(&*store, admission(backend.clock(), &["crm"])).await;
    backend.clock().advance(second(5));
    drop(store);

    let store = backend.open();
    store.declare(&[], &[target("archive")]);
    // Another verb after it: what was to be noted, is.
    store.resume(&target("archive")).await.unwrap();
    backend.clock().advance(30 * DAY);
    drop(store);

    let store = backend.open();
    store.declare(&[], &[target("crm")]);
    store.resume(&target("crm")).await.unwrap();
    backend.clock().advance(second(1));
    assert_eq!(ages(backend, &*store).await, [second(6)]);
}

pub(crate) async fn nothing_ages_whose_target_was_first_heard_of_when_it_was_gone(
    backend: &dyn Backend,
) {
    let store = backend.open();
    store.declare(&[], &[target("crm")]);
    store.declare(&[], &[target("archive")]);
    // What was on its way when the target went.
    commit(&*store, admission(backend.clock(), &["crm"])).await;
    backend.clock().advance(30 * DAY);

    store.declare(&[], &[target("crm")]);
    store.resume(&target("crm")).await.unwrap();
    backend.clock().advance(second(1));

    assert_eq!(ages(backend, &*store).await, [second(1)]);
}

pub(crate) async fn a_redrive_in_a_pause_begins_to_age_after_it(backend: &dyn Backend) {
    let store = backend.open();
    commit(&*store, admission(backend.clock(), &["crm"])).await;
    settle_all(backend, &*store, "crm", BURIED).await;
    store.pause(&target("crm")).await.unwrap();
    backend.clock().advance(DAY);
    redrive(&*store, of_target("crm"), again(backend.clock().now()), 9).await;
    backend.clock().advance(DAY);
    store.resume(&target("crm")).await.unwrap();
    backend.clock().advance(second(2));

    assert_eq!(ages(backend, &*store).await, [second(2)]);
}

pub(crate) async fn what_is_too_old_is_buried_with_the_last_error_of_its_target(
    backend: &dyn Backend,
) {
    let store = backend.open();
    let (clock, crm) = (backend.clock(), target("crm"));
    let old = [
        commit(&*store, admission(clock, &["crm", "archive"])).await.id(),
        commit(&*store, admission(clock, &["crm"])).await.id(),
    ];
    clock.advance(second(60));
    let young = commit(&*store, admission(clock, &["crm"])).await.id();
    let held = due(&*store, "crm", clock.now()).await[1].id;

    let count = store.lapse(&crm, clock.now(), &[held], lapse(second(60))).await;

    assert_eq!(count, Ok(1));
    assert_eq!(store.lapse(&crm, clock.now(), &[held], lapse(second(60))).await, Ok(0));
    let letter =
        store.dead_letters(DeadFilter::default(), None, 9).await.unwrap().letters.remove(0);
    assert_eq!((letter.event, letter.reason.as_str()), (old[0], "expired_while_tripped"));
    assert_eq!((letter.status, letter.error.as_deref()), (Some(502), Some("bad gateway")));
    assert_eq!(letter.attempts, 0);
    assert_eq!(ids(&due(&*store, "crm", clock.now()).await), [old[1], young]);
    let totals = deliveries_total(&*store, "crm");
    assert_eq!((totals.enqueued, totals.pending, totals.dead), (3, 2, 1));
    assert_eq!(deliveries_total(&*store, "archive").pending, 1);
}

pub(crate) async fn what_is_too_old_is_found_behind_what_stood_still(backend: &dyn Backend) {
    let store = backend.open();
    let (clock, crm, old) = (backend.clock(), target("crm"), target("old"));
    store.pause(&old).await.unwrap();
    for _ in 0..3 {
        commit(&*store, admission(clock, &["old"])).await;
    }
    clock.advance(second(1));
    let late = commit(&*store, admission(clock, &["crm"])).await.id();
    clock.advance(second(60));
    while store.adopt(&old, &crm).await.unwrap() > 0 {}

    let count = store.lapse(&crm, clock.now(), &[], lapse(second(60))).await;

    assert_eq!(count, Ok(1));
    let letters = store.dead_letters(DeadFilter::default(), None, 9).await.unwrap().letters;
    assert_eq!(letters[0].event, late);
    assert_eq!(ages(backend, &*store).await, [Duration::ZERO; 3]);
}

// === first attempts and further ones ===

pub(crate) async fn first_attempts_do_not_hide_behind_further_ones(backend: &dyn Backend) {
    let store = backend.open();
    let now = backend.clock().now();
    for _ in 0..5 {
        commit(&*store, admission(backend.clock(), &["crm"])).await;
    }
    settle_all(backend, &*store, "crm", Settlement::Retry { at: now }).await;
    backend.clock().advance(second(1));
    let new = commit(&*store, admission(backend.clock(), &["crm"])).await.id();

    let room = Room { first: 1, further: 2 };
    let found = store.due(&target("crm"), backend.clock().now(), &[], room).await.unwrap();

    assert_eq!(ids(&found.deliveries)[2], new);
    assert_eq!((found.deliveries.len(), found.more), (3, (false, true)));
}

// === turns ===

pub(crate) async fn deliveries_of_a_call_are_due_one_at_a_time_in_order(backend: &dyn Backend) {
    let store = backend.open();
    let clock = backend.clock();
    store.take_turns(&target("crm"), true).await.unwrap();
    let a1 = commit_call(backend, &*store, "a").await;
    clock.advance(second(1));
    let a2 = commit_call(backend, &*store, "a").await;
    let b1 = commit_call(backend, &*store, "b").await;
    let a3 = commit_call(backend, &*store, "a").await;
    assert_eq!(ids(&due(&*store, "crm", clock.now()).await), [a1, b1]);

    // A head that is tried again holds its call, over restarts too.
    let at = clock.now() + second(30);
    settle(backend, &*store, a1, Settlement::Retry { at }).await;
    drop(store);
    let store = backend.open();
    store.take_turns(&target("crm"), true).await.unwrap();
    assert_eq!(ids(&due(&*store, "crm", clock.now()).await), [b1]);
    settle(backend, &*store, b1, Settlement::Delivered).await;
    assert!(due(&*store, "crm", clock.now()).await.is_empty());

    clock.advance(second(30));
    let wake = store.wake(&target("crm"));
    settle(backend, &*store, a1, Settlement::Delivered).await;
    woken(&wake).await;
    assert_eq!(ids(&due(&*store, "crm", clock.now()).await), [a2]);
    settle(backend, &*store, a2, BURIED).await;
    assert_eq!(ids(&due(&*store, "crm", clock.now()).await), [a3]);
    assert_balanced(&store.totals());
}

pub(crate) async fn what_has_no_call_waits_for_nobody(backend: &dyn Backend) {
    let store = backend.open();
    store.take_turns(&target("crm"), true).await.unwrap();
    for _ in 0..2 {
        commit(&*store, of_call(backend.clock(), None, None)).await;
        commit(&*store, of_call(backend.clock(), None, Some("lead"))).await;
        // Another source's call of the same id.
        let source = source("plum-us");
        let elsewhere = Admission { source, ..of_call(backend.clock(), Some("lead"), None) };
        commit(&*store, elsewhere).await;
    }

    assert_eq!(due(&*store, "crm", backend.clock().now()).await.len(), 4);
}

pub(crate) async fn what_waits_for_its_turn_is_not_handed_over(backend: &dyn Backend) {
    let store = backend.open();
    store.take_turns(&target("crm"), true).await.unwrap();
    store.handed(&target("crm"));
    let first = commit_call(backend, &*store, "julia").await;
    let second = commit_call(backend, &*store, "julia").await;

    let Handed { deliveries, look, .. } = store.handed(&target("crm"));
    assert_eq!(deliveries.iter().map(|delivery| delivery.event).collect::<Vec<_>>(), [first]);
    assert!(!look);

    settle(backend, &*store, first, Settlement::Delivered).await;
    assert!(store.handed(&target("crm")).look);
    assert_eq!(due(&*store, "crm", backend.clock().now()).await[0].event, second);
}

pub(crate) async fn what_is_redriven_waits_for_its_turn(backend: &dyn Backend) {
    let store = backend.open();
    let now = backend.clock().now();
    store.take_turns(&target("crm"), true).await.unwrap();
    let mut events = Vec::new();
    for _ in 0..3 {
        events.push(commit_call(backend, &*store, "a").await);
    }
    settle(backend, &*store, events[0], BURIED).await;

    redrive(&*store, of_target("crm"), again(now), 9).await;

    // The second is out; the first, older as it is, comes after it, and then the third.
    for event in [events[1], events[0], events[2]] {
        assert_eq!(ids(&due(&*store, "crm", now).await), [event]);
        settle(backend, &*store, event, Settlement::Delivered).await;
    }
    assert!(due(&*store, "crm", now).await.is_empty());
    let replay = Replay { targets: vec![target("crm")], ..Replay::default() };
    store.replay(replay, None, again(now), 9).await.unwrap();
    for event in &events {
        assert_eq!(ids(&due(&*store, "crm", now).await), [*event]);
        settle(backend, &*store, *event, Settlement::Delivered).await;
    }
}

pub(crate) async fn what_a_replay_makes_waits_for_its_turn(backend: &dyn Backend) {
    let store = backend.open();
    let now = backend.clock().now();
    store.take_turns(&target("lake"), true).await.unwrap();
    let mut events = Vec::new();
    for targets in [&["crm"][..], &[], &["lake"], &[]] {
        events.push(commit(&*store, admission(backend.clock(), targets)).await.id());
    }
    let elsewhere = Admission { source: source("plum-us"), ..admission(backend.clock(), &[]) };
    let elsewhere = commit(&*store, elsewhere).await.id();
    let replay = Replay { targets: vec![target("lake")], ..Replay::default() };

    assert_eq!(store.replay(replay, None, again(now), 9).await.unwrap().deliveries, 4);

    // The third was there before, and has the turn.
    for event in [events[2], events[0], events[1], events[3]] {
        let mut found = due(&*store, "lake", now).await;
        assert!(ids(&found).contains(&elsewhere));
        found.retain(|delivery| delivery.event != elsewhere);
        assert_eq!(ids(&found), [event]);
        store.settle(found.remove(0), attempt(1, now), Settlement::Delivered).await.unwrap();
    }
    assert_eq!(ids(&due(&*store, "lake", now).await), [elsewhere]);
}

pub(crate) async fn a_change_of_order_concerns_what_waits_already(backend: &dyn Backend) {
    let store = backend.open();
    let (clock, crm) = (backend.clock(), target("crm"));
    let mut events = Vec::new();
    for _ in 0..1_100 {
        events.push(commit_call(backend, &*store, "a").await);
    }
    let other = commit_call(backend, &*store, "b").await;
    let at = clock.now() + second(9);
    settle(backend, &*store, events[0], Settlement::Retry { at }).await;

    store.take_turns(&crm, true).await.unwrap();
    assert_eq!(ids(&due(&*store, "crm", clock.now()).await), [other]);
    clock.advance(second(9));
    settle(backend, &*store, events[0], Settlement::Delivered).await;
    assert_eq!(ids(&due(&*store, "crm", clock.now()).await), [events[1], other]);

    store.take_turns(&crm, false).await.unwrap();
    let room = Room::of(1_000);
    let found = store.due(&crm, clock.now(), &[], room).await.unwrap();
    assert_eq!((found.deliveries.len(), found.more), (1_000, (true, false)));
    settle(backend, &*store, events[1], Settlement::Delivered).await;
    commit_call(backend, &*store, "a").await;
    assert_eq!(deliveries_total(&*store, "crm").pending, 1_100);
}

pub(crate) async fn what_was_put_off_and_waits_for_its_turn_is_due_no_earlier_for_it(
    backend: &dyn Backend,
) {
    let store = backend.open();
    let (clock, crm, bi) = (backend.clock(), target("crm"), target("bi"));
    let start = clock.now();
    let mut events = Vec::new();
    for pause in [second(5), second(3600)] {
        let event = commit_call(backend, &*store, "a").await;
        settle(backend, &*store, event, Settlement::Retry { at: start + pause }).await;
        events.push(event);
    }

    // Waits, waits no more, and waits under another name.
    store.take_turns(&crm, true).await.unwrap();
    store.take_turns(&crm, false).await.unwrap();
    clock.advance(second(5));
    assert_eq!(ids(&due(&*store, "crm", clock.now()).await), [events[0]]);
    store.take_turns(&crm, true).await.unwrap();
    store.take_turns(&bi, true).await.unwrap();
    while store.adopt(&crm, &bi).await.unwrap() > 0 {}
    assert_eq!(ids(&due(&*store, "bi", clock.now()).await), [events[0]]);
    settle_all(backend, &*store, "bi", Settlement::Delivered).await;

    let waits = store.due(&bi, clock.now(), &[], Room::of(9)).await.unwrap();
    assert_eq!((waits.deliveries.len(), waits.next_at), (0, Some(start + second(3600))));
    clock.advance(second(3595));
    assert_eq!(ids(&due(&*store, "bi", clock.now()).await), [events[1]]);
}

pub(crate) async fn whatever_ends_a_head_lets_the_next_go(backend: &dyn Backend) {
    let store = backend.open();
    let (clock, crm) = (backend.clock(), target("crm"));
    store.take_turns(&crm, true).await.unwrap();
    store.take_turns(&target("bi"), true).await.unwrap();
    let mut events = Vec::new();
    for _ in 0..4 {
        events.push(commit_call(backend, &*store, "a").await);
        clock.advance(second(10));
    }
    assert_eq!(ids(&due(&*store, "crm", clock.now()).await), [events[0]]);

    store.erase(crate::store::Erasure::Event(events[0]), None).await.unwrap();
    assert_eq!(ids(&due(&*store, "crm", clock.now()).await), [events[1]]);
    store.lapse(&crm, clock.now(), &[], lapse(second(30))).await.unwrap();
    assert_eq!(ids(&due(&*store, "crm", clock.now()).await), [events[2]]);
    while store.adopt(&crm, &target("bi")).await.unwrap() > 0 {}
    for event in [events[2], events[3]] {
        assert_eq!(ids(&due(&*store, "bi", clock.now()).await), [event]);
        settle_all(backend, &*store, "bi", Settlement::Delivered).await;
    }
    assert!(due(&*store, "crm", clock.now()).await.is_empty());
    assert_balanced(&store.totals());
}
