//! The verbs beyond the road: releasing, sending again, orphans, purging, erasing, backing up.

use super::*;
use crate::store::{DeadCount, Erased, Erasure, Purged};

/// 15 days: longer than history is kept, shorter than what waits for a person.
const PAST_RETENTION: Duration = Duration::from_hours(15 * 24);

/// 91 days.
const PAST_DEAD_RETENTION: Duration = Duration::from_hours(91 * 24);

/// The admission that `event` becomes when it is read again.
fn reread(first: &Admission, targets: &[&str]) -> Admission {
    let Fate::Readable { json, facts, failed_routes, .. } =
        admission(&Clock::manual(first.received_at), &[]).fate
    else {
        panic!("it is readable")
    };
    let targets = targets.iter().copied().map(target).collect();
    Admission { fate: Fate::Readable { json, facts, targets, failed_routes }, ..first.clone() }
}

async fn pass(store: &dyn Store) -> Purged {
    let (mut all, mut after) = (Purged::default(), None);
    loop {
        let step = store.purge(after).await.unwrap();
        all.history += step.history;
        all.dead += step.dead;
        all.waiting += step.waiting;
        match step.next {
            None => return all,
            next => after = next,
        }
    }
}

async fn erase(store: &dyn Store, what: Erasure) -> Erased {
    let (mut all, mut after) = (Erased::default(), None);
    loop {
        all = all.and(store.erase(what.clone(), after).await.unwrap());
        match all.next {
            None => return all,
            next => after = next,
        }
    }
}

fn to(name: &str) -> Vec<TargetName> {
    vec![target(name)]
}

// === release ===

pub(crate) async fn a_released_event_goes_to_its_targets_once(backend: &dyn Backend) {
    let store = backend.open();
    let first = quarantined(backend.clock());
    commit(&*store, first.clone()).await;
    backend.clock().advance(second(60));
    let now = backend.clock().now();
    let wake = store.wake(&target("crm"));

    assert_eq!(store.release(reread(&first, &["crm", "archive"])).await, Ok(true));
    assert_eq!(store.release(reread(&first, &["crm", "lake"])).await, Ok(false));

    woken(&wake).await;
    let delivery = due(&*store, "crm", now).await.remove(0);
    assert_eq!((delivery.event, delivery.since, delivery.round), (first.id, now, 0));
    assert_eq!(due(&*store, "archive", now).await.len(), 1);
    assert!(due(&*store, "lake", now).await.is_empty());
    let stored = store.event(first.id).await.unwrap().unwrap();
    assert_eq!(
        (stored.state, stored.reason, stored.request),
        ("routed", None, first.request.clone())
    );
    let totals = EventTotals { accepted: 1, routed: 1, ..EventTotals::default() };
    assert_eq!(events_total(&*store, "clouddial-au"), totals);
    assert_balanced(&store.totals());
    let nobody = quarantined(backend.clock());
    assert_eq!(store.release(reread(&nobody, &["crm"])).await, Ok(false));
    assert_eq!(store.release(first).await, Ok(false));
}

pub(crate) async fn a_released_event_is_recognised_when_it_is_repeated(backend: &dyn Backend) {
    let store = backend.open();
    let first = Admission { fingerprint: Some(fingerprint(1)), ..quarantined(backend.clock()) };
    commit(&*store, first.clone()).await;
    let read = Admission { fingerprint: Some(fingerprint(2)), ..reread(&first, &["crm"]) };

    assert_eq!(store.release(read).await, Ok(true));

    // Its bytes, to a relay that still cannot read them, and its content.
    for number in [1, 2] {
        let repeat = marked(backend.clock(), number);
        let receipt = commit(&*store, repeat).await;
        assert_eq!((receipt.id(), receipt.is_duplicate()), (first.id, true));
        assert!(!receipt.is_quarantined());
    }
    backend.clock().advance(WINDOW);
    assert!(!commit(&*store, marked(backend.clock(), 2)).await.is_duplicate());
}

pub(crate) async fn a_released_event_is_recognised_though_its_content_came_long_ago_too(
    backend: &dyn Backend,
) {
    let store = backend.open();
    commit(&*store, marked(backend.clock(), 2)).await;
    let erased = commit(&*store, marked(backend.clock(), 3)).await.id();
    backend.clock().advance(WINDOW.saturating_sub(second(1)));
    let unread = |number| Admission {
        fingerprint: Some(fingerprint(number)),
        ..quarantined(backend.clock())
    };
    let (first, second_one) = (unread(12), unread(13));
    commit(&*store, first.clone()).await;
    commit(&*store, second_one.clone()).await;
    erase(&*store, Erasure::Event(erased)).await;
    backend.clock().advance(second(1));

    for (number, waiting) in [(2, first), (3, second_one)] {
        let read =
            Admission { fingerprint: Some(fingerprint(number)), ..reread(&waiting, &["crm"]) };
        assert_eq!(store.release(read).await, Ok(true));
        let repeat = commit(&*store, marked(backend.clock(), number)).await;
        assert_eq!((repeat.id(), repeat.is_duplicate()), (waiting.id, true), "{number}");
    }
}

pub(crate) async fn an_unrouted_event_can_be_routed_later(backend: &dyn Backend) {
    let store = backend.open();
    let first = admission(backend.clock(), &[]);
    commit(&*store, first.clone()).await;

    assert_eq!(store.release(reread(&first, &[])).await, Ok(false));
    assert_eq!(store.release(reread(&first, &["crm"])).await, Ok(true));

    assert_eq!(ids(&due(&*store, "crm", backend.clock().now()).await), [first.id]);
    let totals = EventTotals { accepted: 1, routed: 1, ..EventTotals::default() };
    assert_eq!(events_total(&*store, "clouddial-au"), totals);
}

pub(crate) async fn an_unrouted_event_that_stays_is_marked_with_each_route_that_failed_on_it(
    backend: &dyn Backend,
) {
    let store = backend.open();
    let (first, other) = (admission(backend.clock(), &[]), admission(backend.clock(), &[]));
    for admission in [&first, &other] {
        commit(&*store, admission.clone()).await;
    }
    let failing = |routes: &[&str]| {
        let mut read = reread(&first, &[]);
        let Fate::Readable { failed_routes, .. } = &mut read.fate else { panic!("it is readable") };
        *failed_routes = routes.iter().copied().map(str::to_owned).collect();
        read
    };

    assert_eq!(store.release(failing(&["by seats"])).await, Ok(false));
    assert_eq!(store.release(failing(&["by desk", "by seats"])).await, Ok(false));
    assert_eq!(store.release(failing(&[])).await, Ok(false));

    let stored = store.event(first.id).await.unwrap().unwrap();
    assert_eq!(
        (stored.state, stored.failed_routes.as_slice()),
        ("unrouted", ["by seats".to_owned(), "by desk".to_owned()].as_slice())
    );
    for route in ["by seats", "by desk"] {
        let filter = EventFilter { failed_route: Some(route.to_owned()), ..EventFilter::default() };
        assert_eq!(walk(&*store, filter, Order::OldestFirst, 2).await, [first.id], "{route}");
    }
    let totals = EventTotals { accepted: 2, unrouted: 2, ..EventTotals::default() };
    assert_eq!(events_total(&*store, "clouddial-au"), totals);
}

pub(crate) async fn a_release_that_nobody_takes_leaves_the_event_unrouted(backend: &dyn Backend) {
    let store = backend.open();
    let first = quarantined(backend.clock());
    commit(&*store, first.clone()).await;

    assert_eq!(store.release(reread(&first, &[])).await, Ok(true));

    let totals = EventTotals { accepted: 1, unrouted: 1, ..EventTotals::default() };
    assert_eq!(events_total(&*store, "clouddial-au"), totals);
    assert_eq!(store.event(first.id).await.unwrap().unwrap().state, "unrouted");
}

// === finding ===

fn written(clock: &Clock, from: &str, raw: &str, targets: &[&str]) -> Admission {
    let mut admitted = admission(clock, targets);
    let Fate::Readable { json, facts, .. } = &mut admitted.fate else { panic!("it is readable") };
    let text = format!("{{\"data\":{{\"call\":{{\"from\":{{\"raw\":\"{raw}\"}},\"to\":null}}}}}}");
    *json = Bytes::from(text);
    facts.from = Some(from.to_owned());
    admitted.request.body = Bytes::from(format!("from={raw}"));
    admitted
}

pub(crate) async fn dead_letters_are_found_by_everything_a_filter_names(backend: &dyn Backend) {
    let store = backend.open();
    let clock = backend.clock();
    let start = clock.now();
    let mut busy = written(clock, "+61355500177", "03 5550 0177", &["crm"]);
    let Fate::Readable { facts, .. } = &mut busy.fate else { panic!("it is readable") };
    (facts.status, facts.call_id) = (Status::Busy, Some("call-2".to_owned()));
    let busy = commit(&*store, Admission { source: source("plum-us"), ..busy }).await.id();
    settle_all(backend, &*store, "crm", BURIED).await;
    clock.advance(second(5));
    let other = commit(&*store, admission(clock, &["crm"])).await.id();
    let expired = Settlement::Dead { reason: BuryReason::Expired };
    settle_all(backend, &*store, "crm", expired).await;

    let any = DeadFilter::default;
    let number = |number: &str| DeadFilter { number: Some(number.to_owned()), ..any() };
    let cases: [(DeadFilter, &[EventId]); 11] = [
        (any(), &[busy, other]),
        (DeadFilter { source: Some(source("plum-us")), ..any() }, &[busy]),
        (DeadFilter { status: Some(Status::Completed), ..any() }, &[other]),
        (DeadFilter { call: Some("call-2".to_owned()), ..any() }, &[busy]),
        (DeadFilter { call: Some("lead-9".to_owned()), ..any() }, &[busy, other]),
        (number("+61 3 5550 0177"), &[busy]),
        (number("(03) 5550-0177"), &[busy]),
        (number("+61355500100"), &[other]),
        (DeadFilter { since: Some(start + second(5)), ..any() }, &[other]),
        (DeadFilter { until: Some(start + second(5)), ..any() }, &[busy]),
        (DeadFilter { events: vec![other], reason: Some(BuryReason::Expired), ..any() }, &[other]),
    ];
    for (filter, expected) in cases {
        let found = store.dead_letters(filter.clone(), None, 9).await.unwrap().letters;
        let found: Vec<EventId> = found.iter().map(|letter| letter.event).collect();
        assert_eq!(found, expected, "{filter:?}");
    }
    assert_eq!(redrive(&*store, number("03 5550 0177"), again(clock.now()), 9).await, 1);
    assert_eq!(ids(&due(&*store, "crm", clock.now()).await), [busy]);
}

pub(crate) async fn dead_letters_are_counted_by_target_and_reason(backend: &dyn Backend) {
    let store = backend.open();
    for _ in 0..3 {
        commit(&*store, admission(backend.clock(), &["crm", "archive"])).await;
    }
    settle_all(backend, &*store, "crm", BURIED).await;
    let expired = Settlement::Dead { reason: BuryReason::Expired };
    settle_all(backend, &*store, "archive", expired).await;

    let DeadCount { letters, complete } =
        store.count_dead(DeadFilter::default(), second(60)).await.unwrap();

    assert!(complete);
    let expected = [((target("archive"), "expired"), 3), ((target("crm"), "permanent"), 3)];
    let expected = expected.map(|((name, reason), count)| ((name, reason.to_owned()), count));
    assert_eq!(letters, expected.into());
    let none = store.count_dead(of_target("crm"), Duration::ZERO).await.unwrap();
    assert!(!none.complete && none.letters.is_empty());
}

pub(crate) async fn events_are_found_by_target_number_reason_and_id(backend: &dyn Backend) {
    let store = backend.open();
    let clock = backend.clock();
    let crm = written(clock, "+61355500177", "03 5550 0177", &["crm"]);
    let crm = commit(&*store, crm).await.id();
    let archive = commit(&*store, admission(clock, &["archive"])).await.id();
    let unread = commit(&*store, quarantined(clock)).await.id();

    let any = EventFilter::default;
    let cases: [(EventFilter, &[EventId]); 6] = [
        (EventFilter { target: Some(target("crm")), ..any() }, &[crm]),
        (EventFilter { target: Some(target("nobody")), ..any() }, &[]),
        (EventFilter { number: Some("03 5550 0177".to_owned()), ..any() }, &[crm]),
        (EventFilter { number: Some("+61355500101".to_owned()), ..any() }, &[crm, archive]),
        (EventFilter { reason: Some("unreadable".to_owned()), ..any() }, &[unread]),
        (EventFilter { events: vec![unread, crm], ..any() }, &[crm, unread]),
    ];
    for (filter, expected) in cases {
        let listed = walk(&*store, filter.clone(), Order::OldestFirst, 1).await;
        assert_eq!(listed, expected, "{filter:?}");
        let mut listed = walk(&*store, filter.clone(), Order::NewestFirst, 1).await;
        listed.reverse();
        assert_eq!(listed, expected, "{filter:?}");
    }
}

// === replay ===

pub(crate) async fn a_replay_sends_what_is_done_again_and_leaves_what_waits(backend: &dyn Backend) {
    let store = backend.open();
    let clock = backend.clock();
    let event = commit(&*store, admission(clock, &["crm", "archive", "lake", "mail"])).await.id();
    settle_all(backend, &*store, "crm", Settlement::Delivered).await;
    settle_all(backend, &*store, "archive", BURIED).await;
    settle_all(backend, &*store, "lake", BURIED).await;
    discard(&*store, of_target("lake"), 9).await;
    clock.advance(second(9));
    let now = clock.now();

    let replayed = store.replay(Replay::default(), None, again(now), 9).await.unwrap();

    assert_eq!((replayed.deliveries, replayed.next), (3, None));
    for (name, round) in [("crm", 1), ("archive", 1), ("lake", 1), ("mail", 0)] {
        let delivery = due(&*store, name, now).await.remove(0);
        assert_eq!((delivery.event, delivery.round, delivery.attempts), (event, round, 0));
        let totals = DeliveryTotals { enqueued: 1, pending: 1, ..DeliveryTotals::default() };
        assert_eq!(deliveries_total(&*store, name), totals, "{name}");
    }
}

pub(crate) async fn a_replay_makes_deliveries_where_there_were_none(backend: &dyn Backend) {
    let store = backend.open();
    let clock = backend.clock();
    let routed = commit(&*store, admission(clock, &["crm"])).await.id();
    let unrouted = commit(&*store, admission(clock, &[])).await.id();
    commit(&*store, quarantined(clock)).await;
    let replay = Replay { targets: to("lake"), ..Replay::default() };

    let replayed = store.replay(replay.clone(), None, again(clock.now()), 9).await.unwrap();

    assert_eq!(replayed.deliveries, 2);
    assert_eq!(ids(&due(&*store, "lake", clock.now()).await), [routed, unrouted]);
    assert_eq!(due(&*store, "crm", clock.now()).await.len(), 1);
    let totals = EventTotals { accepted: 3, routed: 2, unrouted: 0, quarantined: 1 };
    assert_eq!(events_total(&*store, "clouddial-au"), totals);
    assert_balanced(&store.totals());
    // Once there, they are not made again.
    assert_eq!(store.replay(replay, None, again(clock.now()), 9).await.unwrap().deliveries, 0);
}

pub(crate) async fn a_replay_goes_on_where_its_last_step_ended(backend: &dyn Backend) {
    let store = backend.open();
    let clock = backend.clock();
    for _ in 0..5 {
        commit(&*store, admission(clock, &["crm"])).await;
    }
    settle_all(backend, &*store, "crm", Settlement::Delivered).await;
    let (mut sent, mut after, mut steps) = (0, None, 0);
    loop {
        let step = store.replay(Replay::default(), after, again(clock.now()), 2).await.unwrap();
        assert!(step.deliveries <= 2);
        (sent, steps) = (sent + step.deliveries, steps + 1);
        match step.next {
            None => break,
            next => after = next,
        }
    }
    assert_eq!(sent, 5);
    assert!(steps >= 3);
    assert!(due(&*store, "crm", clock.now()).await.iter().all(|delivery| delivery.round == 1));
}

// === orphans ===

pub(crate) async fn orphans_are_what_targets_that_are_gone_are_owed(backend: &dyn Backend) {
    let store = backend.open();
    commit(&*store, admission(backend.clock(), &["crm", "archive"])).await;
    commit(&*store, admission(backend.clock(), &["crm", "lake"])).await;
    settle_all(backend, &*store, "lake", Settlement::Delivered).await;

    assert_eq!(store.orphans(&[target("archive")]), [(target("crm"), 2)]);
    assert!(store.orphans(&[target("archive"), target("crm")]).is_empty());
}

pub(crate) async fn a_renamed_target_adopts_what_the_old_name_is_owed(backend: &dyn Backend) {
    let store = backend.open();
    let clock = backend.clock();
    let mut events = Vec::new();
    for _ in 0..2 {
        events.push(commit(&*store, admission(clock, &["old"])).await.id());
    }
    let first = due(&*store, "old", clock.now()).await.remove(0);
    store.settle(first, attempt(1, clock.now()), BURIED).await.unwrap();
    let both = commit(&*store, admission(clock, &["old", "new"])).await.id();

    assert_eq!(store.adopt(&target("old"), &target("new")).await, Ok(3));
    assert_eq!(store.adopt(&target("old"), &target("new")).await, Ok(0));

    assert!(due(&*store, "old", clock.now()).await.is_empty());
    assert_eq!(ids(&due(&*store, "new", clock.now()).await), [events[1], both]);
    assert_eq!(redrive(&*store, of_target("new"), again(clock.now()), 9).await, 1);
    let old = DeliveryTotals { enqueued: 1, discarded: 1, ..DeliveryTotals::default() };
    assert_eq!(deliveries_total(&*store, "old"), old);
    let new = DeliveryTotals { enqueued: 3, pending: 3, ..DeliveryTotals::default() };
    assert_eq!(deliveries_total(&*store, "new"), new);
}

pub(crate) async fn orphans_are_buried_only_when_their_target_is_gone(backend: &dyn Backend) {
    let store = backend.open();
    commit(&*store, admission(backend.clock(), &["crm"])).await;
    store.declare(&[], &[target("crm")]);
    assert_eq!(store.bury_orphans(&target("crm")).await, Ok(0));

    store.declare(&[], &[target("archive")]);
    assert_eq!(store.bury_orphans(&target("crm")).await, Ok(1));
    assert_eq!(store.bury_orphans(&target("crm")).await, Ok(0));

    let letter = store.dead_letters(of_target("crm"), None, 9).await.unwrap().letters.remove(0);
    assert_eq!(letter.reason, "orphaned");
    let totals = DeliveryTotals { enqueued: 1, dead: 1, ..DeliveryTotals::default() };
    assert_eq!(deliveries_total(&*store, "crm"), totals);
}

// === purge ===

pub(crate) async fn a_purge_removes_history_that_is_old_and_counts_as_before(
    backend: &dyn Backend,
) {
    let store = backend.open();
    let clock = backend.clock();
    let mut old = Vec::new();
    for _ in 0..150 {
        old.push(commit(&*store, admission(clock, &["crm"])).await.id());
    }
    settle_all(backend, &*store, "crm", Settlement::Delivered).await;
    settle_all(backend, &*store, "crm", Settlement::Delivered).await;
    clock.advance(PAST_RETENTION);
    let young = commit(&*store, admission(clock, &["crm"])).await.id();
    settle_all(backend, &*store, "crm", Settlement::Delivered).await;
    let before = store.totals();

    let purged = pass(&*store).await;

    assert_eq!((purged.history, purged.dead, purged.waiting), (150, 0, 0));
    assert_eq!(store.totals(), before);
    assert!(store.event(old[0]).await.unwrap().is_none());
    assert!(store.deliveries_of(old[0]).await.unwrap().is_empty());
    let left = walk(&*store, EventFilter::default(), Order::OldestFirst, 100).await;
    assert_eq!(left, [young]);
    assert_eq!(pass(&*store).await.history, 0);
}

pub(crate) async fn a_purge_keeps_what_waits_however_old(backend: &dyn Backend) {
    let store = backend.open();
    let clock = backend.clock();
    let pending = commit(&*store, admission(clock, &["crm", "archive"])).await.id();
    settle_all(backend, &*store, "archive", Settlement::Delivered).await;
    let lately = commit(&*store, admission(clock, &["lake"])).await.id();
    clock.advance(PAST_DEAD_RETENTION);
    // Delivered only now: it is history from now on.
    settle_all(backend, &*store, "lake", Settlement::Delivered).await;

    assert!(pass(&*store).await.is_nothing());

    let left = walk(&*store, EventFilter::default(), Order::OldestFirst, 9).await;
    assert_eq!(left, [pending, lately]);
    assert_eq!(ids(&due(&*store, "crm", clock.now()).await), [pending]);
}

pub(crate) async fn a_purge_gives_up_what_waited_for_a_person_too_long(backend: &dyn Backend) {
    let store = backend.open();
    let clock = backend.clock();
    commit(&*store, admission(clock, &["crm"])).await;
    settle_all(backend, &*store, "crm", BURIED).await;
    commit(&*store, admission(clock, &[])).await;
    commit(&*store, quarantined(clock)).await;
    clock.advance(PAST_RETENTION);
    assert!(pass(&*store).await.is_nothing());

    clock.advance(PAST_DEAD_RETENTION);
    let purged = pass(&*store).await;

    assert_eq!((purged.history, purged.dead, purged.waiting), (1, 1, 2));
    let totals = DeliveryTotals { enqueued: 1, discarded: 1, ..DeliveryTotals::default() };
    assert_eq!(deliveries_total(&*store, "crm"), totals);
    assert_balanced(&store.totals());
    assert!(store.dead_letters(DeadFilter::default(), None, 9).await.unwrap().letters.is_empty());
}

pub(crate) async fn a_purge_goes_on_behind_what_a_clock_that_ran_ahead_accepted(
    backend: &dyn Backend,
) {
    let store = backend.open();
    let clock = backend.clock();
    let ahead = Clock::manual(clock.now() + 10 * PAST_DEAD_RETENTION);
    let early = commit(&*store, admission(&ahead, &[])).await.id();
    commit(&*store, admission(clock, &["crm"])).await;
    settle_all(backend, &*store, "crm", Settlement::Delivered).await;
    clock.advance(PAST_RETENTION);

    let purged = pass(&*store).await;

    assert_eq!((purged.history, purged.dead, purged.waiting), (1, 0, 0));
    let left = walk(&*store, EventFilter::default(), Order::OldestFirst, 9).await;
    assert_eq!(left, [early]);
}

pub(crate) async fn numbers_of_removed_events_are_never_given_again(backend: &dyn Backend) {
    let store = backend.open();
    let first = commit(&*store, marked(backend.clock(), 1)).await.id();
    let last = commit(&*store, marked(backend.clock(), 2)).await.id();
    erase(&*store, Erasure::Event(last)).await;
    drop(store);

    let store = backend.open();
    let next = commit(&*store, marked(backend.clock(), 3)).await.id();

    assert_eq!(ids(&due(&*store, "crm", backend.clock().now()).await), [first, next]);
    let page = store.events(EventFilter::default(), Order::OldestFirst, None, 1).await.unwrap();
    assert_eq!(page.events[0].id, first);
    assert_eq!(page.next.map(|next| next.0), Some(1));
}

// === erase ===

pub(crate) async fn an_erased_event_leaves_nothing_and_the_totals_balance(backend: &dyn Backend) {
    let store = backend.open();
    let clock = backend.clock();
    let marked = Admission {
        fingerprint: Some(fingerprint(1)),
        ..admission(clock, &["crm", "archive", "lake"])
    };
    let event = commit(&*store, marked.clone()).await.id();
    let other = commit(&*store, admission(clock, &["mail"])).await.id();
    settle_all(backend, &*store, "crm", BURIED).await;
    settle_all(backend, &*store, "archive", Settlement::Delivered).await;

    let erased = erase(&*store, Erasure::Event(event)).await;

    assert_eq!((erased.events, erased.deliveries, erased.attempts), (1, 3, 2));
    assert_eq!((erased.pending, erased.dead, erased.fingerprints), (1, 1, 1));
    assert!(store.event(event).await.unwrap().is_none());
    assert!(store.deliveries_of(event).await.unwrap().is_empty());
    assert!(store.dead_letters(DeadFilter::default(), None, 9).await.unwrap().letters.is_empty());
    assert!(due(&*store, "lake", clock.now()).await.is_empty());
    for (name, expected) in [
        ("crm", DeliveryTotals { enqueued: 1, discarded: 1, ..DeliveryTotals::default() }),
        ("archive", DeliveryTotals { enqueued: 1, delivered: 1, ..DeliveryTotals::default() }),
        ("lake", DeliveryTotals { enqueued: 1, discarded: 1, ..DeliveryTotals::default() }),
    ] {
        assert_eq!(deliveries_total(&*store, name), expected, "{name}");
    }
    assert_eq!(ids(&due(&*store, "mail", clock.now()).await), [other]);
    let again = Admission { id: event_id(clock.now()), ..marked };
    assert!(!commit(&*store, again).await.is_duplicate());
}

pub(crate) async fn a_number_is_erased_wherever_it_occurs_and_others_stay(backend: &dyn Backend) {
    let store = backend.open();
    let clock = backend.clock();
    let called = written(clock, "+61355500177", "03 5550 0177", &["crm"]);
    let mut unread = quarantined(clock);
    unread.request.body = Bytes::from_static(b"who=+61-3-5550-0177 and junk");
    let mut longer = quarantined(clock);
    longer.request.body = Bytes::from_static(b"who=613555001779");
    let national = commit(&*store, called).await.id();
    commit(&*store, unread).await;
    let longer = commit(&*store, longer).await.id();
    let other = commit(&*store, admission(clock, &["crm"])).await.id();

    let erased = erase(&*store, Erasure::Number("+61 3 5550 0177".to_owned())).await;
    let few = erase(&*store, Erasure::Number("5550".to_owned())).await;

    assert_eq!((erased.events, few.events), (2, 0));
    assert!(store.event(national).await.unwrap().is_none());
    let left = walk(&*store, EventFilter::default(), Order::OldestFirst, 9).await;
    assert_eq!(left, [longer, other]);
}

pub(crate) async fn a_call_is_erased_by_its_id_or_reference(backend: &dyn Backend) {
    let store = backend.open();
    let clock = backend.clock();
    let mut other = admission(clock, &[]);
    let Fate::Readable { facts, .. } = &mut other.fate else { panic!("it is readable") };
    (facts.call_id, facts.reference) = (Some("call-2".to_owned()), None);
    commit(&*store, admission(clock, &["crm"])).await;
    commit(&*store, admission(clock, &["crm"])).await;
    let other = commit(&*store, other).await.id();

    assert_eq!(erase(&*store, Erasure::Call("lead-9".to_owned())).await.events, 2);
    assert_eq!(walk(&*store, EventFilter::default(), Order::OldestFirst, 9).await, [other]);
    assert_eq!(erase(&*store, Erasure::Call("call-2".to_owned())).await.events, 1);
    assert_eq!(erase(&*store, Erasure::Call("call-2".to_owned())).await.events, 0);
}

pub(crate) async fn a_delivery_in_flight_of_an_erased_event_settles_into_nothing(
    backend: &dyn Backend,
) {
    let store = backend.open();
    let now = backend.clock().now();
    let event = commit(&*store, admission(backend.clock(), &["crm"])).await.id();
    let out = due(&*store, "crm", now).await.remove(0);
    let id = out.id;
    erase(&*store, Erasure::Event(event)).await;
    let before = store.totals();

    assert_eq!(store.settle(out, attempt(1, now), BURIED).await, Ok(()));

    assert_eq!(store.totals(), before);
    assert!(store.attempts(id, None, 9).await.unwrap().is_empty());
}

pub(crate) async fn whoever_keeps_what_is_erased_is_told(backend: &dyn Backend) {
    let store = backend.open();
    let (crm, archive) = (target("crm"), target("archive"));
    let wake = store.wake(&crm);
    let event = commit(&*store, admission(backend.clock(), &["crm", "archive"])).await.id();
    settle_all(backend, &*store, "archive", Settlement::Delivered).await;
    woken(&wake).await;

    erase(&*store, Erasure::Event(event)).await;
    commit(&*store, admission(backend.clock(), &["crm", "archive"])).await;

    woken(&wake).await;
    let Handed { deliveries, look, recall } = store.handed(&crm);
    assert_eq!((deliveries.len(), look, recall), (0, true, true));
    let Handed { deliveries, recall, .. } = store.handed(&crm);
    assert_eq!((deliveries.len(), recall), (0, false));
    assert!(!store.handed(&archive).recall);
}

// === backup ===

pub(crate) async fn a_backup_taken_under_load_opens_with_all_that_was_durable(
    backend: &dyn Backend,
) {
    let store = backend.open();
    let clock = backend.clock();
    for _ in 0..50 {
        commit(&*store, admission(clock, &["crm"])).await;
    }
    let path = backend.backup_path();
    let load = async {
        for _ in 0..50 {
            commit(&*store, admission(clock, &["crm"])).await;
        }
    };

    let (made, ()) = futures_util::future::join(store.backup(path.clone()), load).await;

    assert_eq!(made, Ok(()));
    let again = store.backup(path.clone()).await;
    assert!(matches!(again, Err(StoreError::Io(_))), "a file that is there stays: {again:?}");
    let restored = backend.open_backup(&path);
    let pending = deliveries_total(&*restored, "crm").pending;
    assert!((50..=100).contains(&pending), "{pending}");
    assert_balanced(&restored.totals());
    let found =
        restored.due(&target("crm"), clock.now(), &[], Room::of(1000)).await.unwrap().deliveries;
    assert_eq!(u64::try_from(found.len()), Ok(pending));
    commit(&*restored, admission(clock, &["crm"])).await;
}
