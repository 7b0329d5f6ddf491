//! The contract of `store/mod.rs`, sentence by sentence, for any backend.
//!
//! A backend's tests say [`conforms!`] with a function that makes a [`Backend`] with nothing in
//! it yet; each sentence becomes a test of its own.

mod lanes;
mod upkeep;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use jiff::Timestamp;

use super::{
    Admission, Again, Attempt, BuryReason, CallFacts, DeadFilter, Delivery, DeliveryId,
    DeliveryState, DeliveryTotals, EventFilter, EventState, EventTotals, Fate, Fingerprint, Handed,
    Order, Receipt, Replay, Room, Settlement, Store, StoreError, StoredRequest, Totals,
};
use crate::{
    clock::Clock,
    event::{EventId, SourceName, Status, Trace, TraceParent, TraceState},
    route::TargetName,
};

/// A place that holds one store's data.
pub(crate) trait Backend: Sync {
    /// Opens the store on the data that is there. The one opened before is closed or dropped.
    fn open(&self) -> Arc<dyn Store>;

    /// Opens the store on a backup that was written to `path`.
    fn open_backup(&self, path: &std::path::Path) -> Arc<dyn Store>;

    /// Where a backup may go: a path that is not there yet.
    fn backup_path(&self) -> std::path::PathBuf;

    /// The clock the store goes by; it stands still unless it is moved.
    fn clock(&self) -> &Clock;
}

/// Makes a test of each sentence.
macro_rules! conforms {
    ($backend:expr) => {
        $crate::store::conformance::conforms!(@ $backend;
            what_has_a_receipt_is_there_when_the_store_opens_again
            an_event_reads_back_as_it_was_admitted
            a_delivery_brings_the_trace_of_its_callback
            an_unreadable_callback_is_kept_as_it_came
            an_unrouted_event_is_kept_and_has_no_delivery
            a_repeat_gets_the_receipt_of_the_first_and_stores_nothing
            a_repeat_is_recognised_after_the_store_opens_again
            a_repeat_of_an_unreadable_callback_says_so
            of_many_equal_admissions_in_flight_all_get_the_id_of_one
            a_fingerprint_is_forgotten_when_its_window_ends
            a_fingerprint_is_of_its_source_only
            without_a_window_or_a_fingerprint_nothing_is_a_repeat
            a_bad_admission_fails_alone
            an_admission_that_repeats_a_bad_one_is_the_first
            names_first_heard_in_a_bad_admission_are_names_all_the_same
            due_is_in_order_of_instant_then_acceptance
            due_claims_nothing
            due_passes_over_what_is_held_and_stops_at_its_limit
            due_says_when_to_ask_again
            due_of_one_target_knows_nothing_of_another
            due_sees_every_commit_that_has_returned
            a_delivered_delivery_is_never_due_again
            a_retry_is_due_at_its_instant
            a_buried_delivery_is_a_dead_letter_with_its_reason
            settling_an_attempt_again_changes_nothing
            settling_an_older_round_changes_nothing
            a_redrive_begins_a_new_round_of_the_same_delivery
            a_redrive_under_a_new_id_has_it_for_that_round_only
            a_redrive_takes_only_what_its_filter_means
            a_redrive_takes_no_more_than_it_may
            a_redrive_goes_on_where_its_last_step_ended_whatever_dies_again
            a_discard_goes_on_where_its_last_step_ended
            what_is_discarded_is_listed_and_never_due
            attempts_are_listed_over_all_rounds_and_in_pages
            long_errors_and_answers_are_cut
            a_target_is_woken_by_what_makes_a_delivery_due
            a_target_is_not_woken_by_a_retry_in_the_future
            a_commit_hands_over_what_it_makes_due_as_a_look_would_find_it
            what_is_handed_over_and_let_go_of_is_found_by_a_look
            what_is_not_new_is_to_be_looked_for
            more_than_can_be_handed_over_is_to_be_looked_for
            the_totals_balance_and_survive_reopening
            declared_names_are_in_the_totals_at_zero
            the_oldest_pending_is_told_by_acceptance_or_redrive
            events_are_listed_in_both_orders_and_in_pages
            events_are_listed_by_what_is_asked_of_them
            dead_letters_are_listed_in_pages_oldest_first
            closing_commits_what_is_queued_and_refuses_what_comes_after
            a_released_event_goes_to_its_targets_once
            a_released_event_is_recognised_when_it_is_repeated
            a_released_event_is_recognised_though_its_content_came_long_ago_too
            an_unrouted_event_can_be_routed_later
            an_unrouted_event_that_stays_is_marked_with_each_route_that_failed_on_it
            a_release_that_nobody_takes_leaves_the_event_unrouted
            dead_letters_are_found_by_everything_a_filter_names
            dead_letters_are_counted_by_target_and_reason
            events_are_found_by_target_number_reason_and_id
            a_replay_sends_what_is_done_again_and_leaves_what_waits
            a_replay_makes_deliveries_where_there_were_none
            a_replay_goes_on_where_its_last_step_ended
            orphans_are_what_targets_that_are_gone_are_owed
            a_renamed_target_adopts_what_the_old_name_is_owed
            orphans_are_buried_only_when_their_target_is_gone
            a_purge_removes_history_that_is_old_and_counts_as_before
            a_purge_keeps_what_waits_however_old
            a_purge_gives_up_what_waited_for_a_person_too_long
            a_purge_goes_on_behind_what_a_clock_that_ran_ahead_accepted
            numbers_of_removed_events_are_never_given_again
            an_erased_event_leaves_nothing_and_the_totals_balance
            a_number_is_erased_wherever_it_occurs_and_others_stay
            a_call_is_erased_by_its_id_or_reference
            a_delivery_in_flight_of_an_erased_event_settles_into_nothing
            whoever_keeps_what_is_erased_is_told
            a_backup_taken_under_load_opens_with_all_that_was_durable
            a_pause_is_told_over_restarts_until_it_ends
            nothing_ages_while_its_target_is_paused
            nothing_ages_while_its_target_is_not_configured
            nothing_ages_whose_target_was_first_heard_of_when_it_was_gone
            a_redrive_in_a_pause_begins_to_age_after_it
            what_is_too_old_is_buried_with_the_last_error_of_its_target
            what_is_too_old_is_found_behind_what_stood_still
            first_attempts_do_not_hide_behind_further_ones
            deliveries_of_a_call_are_due_one_at_a_time_in_order
            what_has_no_call_waits_for_nobody
            what_waits_for_its_turn_is_not_handed_over
            what_is_redriven_waits_for_its_turn
            what_a_replay_makes_waits_for_its_turn
            a_change_of_order_concerns_what_waits_already
            what_was_put_off_and_waits_for_its_turn_is_due_no_earlier_for_it
            whatever_ends_a_head_lets_the_next_go
        );
    };
    (@ $backend:expr; $($sentence:ident)+) => {
        $(
            #[tokio::test]
            async fn $sentence() {
                $crate::store::conformance::$sentence(&$backend).await;
            }
        )+
    };
}
pub(crate) use conforms;
pub(crate) use lanes::*;
pub(crate) use upkeep::*;

// === what the sentences are said with ===

pub(crate) const WINDOW: Duration = Duration::from_hours(1);

pub(crate) fn target(name: &str) -> TargetName {
    TargetName::new(name)
}

pub(crate) fn source(name: &str) -> SourceName {
    SourceName::new(name)
}

/// A new id each time.
pub(crate) fn event_id(at: Timestamp) -> EventId {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut random = [7; 10];
    random[2..].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    EventId::new(at, random)
}

pub(crate) fn fingerprint(number: u8) -> Fingerprint {
    Fingerprint([number; 16])
}

/// A readable callback for the targets, accepted now.
pub(crate) fn admission(clock: &Clock, targets: &[&str]) -> Admission {
    let id = event_id(clock.now());
    Admission {
        id,
        source: source("clouddial-au"),
        provider: "clouddial".to_owned(),
        received_at: clock.now(),
        request: StoredRequest {
            method: "POST".to_owned(),
            query: "campaign=spring".to_owned(),
            content_type: Some("application/json".to_owned()),
            body: Bytes::from_static(b"{\"PhoneCalled\":\"+61 3 5550 0101\"}"),
        },
        fingerprint: None,
        dedupe_window: WINDOW,
        trace: None,
        fate: Fate::Readable {
            json: Bytes::from(format!("{{\"id\":\"{id}\"}}")),
            facts: CallFacts {
                status: Status::Completed,
                call_id: Some("call-1".to_owned()),
                reference: Some("lead-9".to_owned()),
                from: Some("+61355500100".to_owned()),
                to: Some("+61355500101".to_owned()),
            },
            targets: targets.iter().copied().map(target).collect(),
            failed_routes: Vec::new(),
        },
    }
}

pub(crate) fn quarantined(clock: &Clock) -> Admission {
    Admission { fate: Fate::Quarantined { reason: "unreadable" }, ..admission(clock, &[]) }
}

pub(crate) fn attempt(number: u32, at: Timestamp) -> Attempt {
    Attempt {
        number,
        at,
        took: Duration::from_millis(12),
        status: Some(503),
        error: Some("answered 503".to_owned()),
        snippet: Some(Bytes::from_static(b"try later")),
    }
}

pub(crate) const BURIED: Settlement = Settlement::Dead { reason: BuryReason::Permanent };

/// Under the id that it has.
fn again(at: Timestamp) -> Again {
    Again { at, new_id: false }
}

/// A step from the first letter on, and how many it moved.
async fn redrive(store: &dyn Store, filter: DeadFilter, again: Again, max: usize) -> u64 {
    store.redrive(filter, None, again, max).await.unwrap().letters
}

/// The same of a discard.
async fn discard(store: &dyn Store, filter: DeadFilter, max: usize) -> u64 {
    store.discard(filter, None, max).await.unwrap().letters
}

async fn commit(store: &dyn Store, admission: Admission) -> Receipt {
    store.commit(admission).await.unwrap()
}

pub(crate) async fn due(store: &dyn Store, name: &str, now: Timestamp) -> Vec<Delivery> {
    store.due(&target(name), now, &[], Room::of(100)).await.unwrap().deliveries
}

async fn settle_all(backend: &dyn Backend, store: &dyn Store, name: &str, settlement: Settlement) {
    let now = backend.clock().now();
    for delivery in due(store, name, now).await {
        let number = delivery.attempts + 1;
        store.settle(delivery, attempt(number, now), settlement).await.unwrap();
    }
}

/// Panics unless both identities hold.
pub(crate) fn assert_balanced(totals: &Totals) {
    for (source, t) in &totals.events {
        assert_eq!(t.accepted, t.routed + t.unrouted + t.quarantined, "{source}: {t:?}");
    }
    for (target, t) in &totals.deliveries {
        assert_eq!(t.enqueued, t.delivered + t.pending + t.dead + t.discarded, "{target}: {t:?}");
    }
}

fn events_total(store: &dyn Store, name: &str) -> EventTotals {
    store.totals().events.get(&source(name)).copied().unwrap_or_default()
}

fn deliveries_total(store: &dyn Store, name: &str) -> DeliveryTotals {
    store.totals().deliveries.get(&target(name)).copied().unwrap_or_default()
}

fn of_target(name: &str) -> DeadFilter {
    DeadFilter { target: Some(target(name)), ..DeadFilter::default() }
}

fn ids(deliveries: &[Delivery]) -> Vec<EventId> {
    deliveries.iter().map(|delivery| delivery.event).collect()
}

fn second(n: u64) -> Duration {
    Duration::from_secs(n)
}

// === commit ===

pub(crate) async fn what_has_a_receipt_is_there_when_the_store_opens_again(backend: &dyn Backend) {
    let store = backend.open();
    let receipt = commit(&*store, admission(backend.clock(), &["crm", "archive"])).await;
    drop(store);

    let store = backend.open();

    assert!(store.event(receipt.id()).await.unwrap().is_some());
    for name in ["crm", "archive"] {
        assert_eq!(ids(&due(&*store, name, backend.clock().now()).await), [receipt.id()]);
    }
    assert_eq!(events_total(&*store, "clouddial-au").accepted, 1);
}

pub(crate) async fn an_event_reads_back_as_it_was_admitted(backend: &dyn Backend) {
    let store = backend.open();
    let admitted = admission(backend.clock(), &["crm"]);

    let receipt = commit(&*store, admitted.clone()).await;

    assert_eq!((receipt.id(), receipt.is_duplicate()), (admitted.id, false));
    assert!(!receipt.is_quarantined());
    let stored = store.event(admitted.id).await.unwrap().unwrap();
    let Fate::Readable { json, facts, .. } = admitted.fate else { panic!("it is readable") };
    assert_eq!((stored.id, stored.source), (admitted.id, admitted.source));
    assert_eq!((stored.provider, stored.received_at), (admitted.provider, admitted.received_at));
    assert_eq!((stored.state, stored.reason), ("routed", None));
    assert_eq!((stored.request, stored.json), (admitted.request, Some(json.clone())));
    let listed = store.events(EventFilter::default(), Order::OldestFirst, None, 9).await.unwrap();
    assert_eq!(listed.events[0].facts, Some(facts));
    let delivery = due(&*store, "crm", backend.clock().now()).await.remove(0);
    assert_eq!((delivery.json, delivery.since), (json, admitted.received_at));
    assert_eq!((delivery.round, delivery.attempts), (0, 0));
    assert!(store.event(event_id(backend.clock().now())).await.unwrap().is_none());
}

pub(crate) async fn a_delivery_brings_the_trace_of_its_callback(backend: &dyn Backend) {
    let sent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    let parent = TraceParent::parse(sent).unwrap();
    let state = TraceState::parse(["rojo=00f067aa0ba902b7", "congo=t61rcWkgMzE"]);
    assert!(state.is_some());
    let (bare, whole) = (Trace { parent, state: None }, Trace { parent, state });
    let store = backend.open();
    for trace in [&whole, &bare] {
        let trace = Some(trace.clone());
        commit(&*store, Admission { trace, ..admission(backend.clock(), &["crm"]) }).await;
    }
    commit(&*store, admission(backend.clock(), &["crm"])).await;
    drop(store);

    let found = due(&*backend.open(), "crm", backend.clock().now()).await;

    let traces: Vec<_> = found.into_iter().map(|delivery| delivery.trace).collect();
    assert_eq!(traces, [Some(whole), Some(bare), None]);
}

pub(crate) async fn an_unreadable_callback_is_kept_as_it_came(backend: &dyn Backend) {
    let store = backend.open();
    let mut admitted = quarantined(backend.clock());
    admitted.request.body = Bytes::from_static(b"\xff\x00 not text");

    let receipt = commit(&*store, admitted.clone()).await;

    assert!(receipt.is_quarantined());
    let stored = store.event(admitted.id).await.unwrap().unwrap();
    assert_eq!((stored.state, stored.reason.as_deref()), ("quarantined", Some("unreadable")));
    assert_eq!((stored.request, stored.json), (admitted.request, None));
    assert_eq!(events_total(&*store, "clouddial-au").quarantined, 1);
}

pub(crate) async fn an_unrouted_event_is_kept_and_has_no_delivery(backend: &dyn Backend) {
    let store = backend.open();

    let receipt = commit(&*store, admission(backend.clock(), &[])).await;

    assert_eq!(store.event(receipt.id()).await.unwrap().unwrap().state, "unrouted");
    assert!(store.deliveries_of(receipt.id()).await.unwrap().is_empty());
    assert_eq!(events_total(&*store, "clouddial-au").unrouted, 1);
}

// === duplicates ===

fn marked(clock: &Clock, number: u8) -> Admission {
    Admission { fingerprint: Some(fingerprint(number)), ..admission(clock, &["crm"]) }
}

pub(crate) async fn a_repeat_gets_the_receipt_of_the_first_and_stores_nothing(
    backend: &dyn Backend,
) {
    let store = backend.open();
    let first = commit(&*store, marked(backend.clock(), 1)).await;
    let before = store.totals();
    let repeat = marked(backend.clock(), 1);

    let receipt = commit(&*store, repeat.clone()).await;

    assert_eq!((receipt.id(), receipt.is_duplicate()), (first.id(), true));
    assert!(store.event(repeat.id).await.unwrap().is_none());
    assert_eq!(due(&*store, "crm", backend.clock().now()).await.len(), 1);
    assert_eq!(store.totals(), before);
}

pub(crate) async fn a_repeat_is_recognised_after_the_store_opens_again(backend: &dyn Backend) {
    let store = backend.open();
    let first = commit(&*store, marked(backend.clock(), 1)).await;
    drop(store);

    let store = backend.open();
    let receipt = commit(&*store, marked(backend.clock(), 1)).await;

    assert_eq!((receipt.id(), receipt.is_duplicate()), (first.id(), true));
}

pub(crate) async fn a_repeat_of_an_unreadable_callback_says_so(backend: &dyn Backend) {
    let store = backend.open();
    let unreadable =
        || Admission { fingerprint: Some(fingerprint(1)), ..quarantined(backend.clock()) };
    let first = commit(&*store, unreadable()).await;

    let receipt = commit(&*store, unreadable()).await;

    assert_eq!((receipt.id(), receipt.is_duplicate()), (first.id(), true));
    assert!(receipt.is_quarantined());
    assert_eq!(events_total(&*store, "clouddial-au").accepted, 1);
}

pub(crate) async fn of_many_equal_admissions_in_flight_all_get_the_id_of_one(
    backend: &dyn Backend,
) {
    let store = backend.open();
    let equal = (0..50).map(|_| store.commit(marked(backend.clock(), 1)));

    let receipts: Vec<Receipt> =
        futures_util::future::join_all(equal).await.into_iter().map(Result::unwrap).collect();

    let ids: BTreeSet<EventId> = receipts.iter().map(Receipt::id).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(receipts.iter().filter(|receipt| !receipt.is_duplicate()).count(), 1);
    assert_eq!(due(&*store, "crm", backend.clock().now()).await.len(), 1);
    assert_eq!(events_total(&*store, "clouddial-au").accepted, 1);
}

pub(crate) async fn a_fingerprint_is_forgotten_when_its_window_ends(backend: &dyn Backend) {
    let store = backend.open();
    let first = commit(&*store, marked(backend.clock(), 1)).await;
    backend.clock().advance(WINDOW.checked_sub(Duration::from_millis(1)).unwrap());
    assert!(commit(&*store, marked(backend.clock(), 1)).await.is_duplicate());

    backend.clock().advance(Duration::from_millis(1));
    let second = commit(&*store, marked(backend.clock(), 1)).await;

    assert!(!second.is_duplicate());
    assert_ne!(second.id(), first.id());
    let third = commit(&*store, marked(backend.clock(), 1)).await;
    assert_eq!((third.id(), third.is_duplicate()), (second.id(), true));
}

pub(crate) async fn a_fingerprint_is_of_its_source_only(backend: &dyn Backend) {
    let store = backend.open();
    commit(&*store, marked(backend.clock(), 1)).await;
    let elsewhere = Admission { source: source("clouddial-nz"), ..marked(backend.clock(), 1) };

    assert!(!commit(&*store, elsewhere).await.is_duplicate());
}

pub(crate) async fn without_a_window_or_a_fingerprint_nothing_is_a_repeat(backend: &dyn Backend) {
    let store = backend.open();
    let windowless = || Admission { dedupe_window: Duration::ZERO, ..marked(backend.clock(), 1) };
    commit(&*store, marked(backend.clock(), 1)).await;

    assert!(!commit(&*store, windowless()).await.is_duplicate());
    assert!(!commit(&*store, windowless()).await.is_duplicate());
    assert!(!commit(&*store, admission(backend.clock(), &[])).await.is_duplicate());
    assert!(!commit(&*store, admission(backend.clock(), &[])).await.is_duplicate());
}

// === one bad admission ===

pub(crate) async fn a_bad_admission_fails_alone(backend: &dyn Backend) {
    let store = backend.open();
    let first = commit(&*store, admission(backend.clock(), &["crm"])).await;
    let group = (0..20).map(|n| {
        let mut admitted = marked(backend.clock(), n);
        if n == 7 {
            admitted.id = first.id(); // An id is there once.
        }
        store.commit(admitted)
    });

    let answers = futures_util::future::join_all(group).await;

    for (n, answer) in answers.iter().enumerate() {
        assert_eq!(matches!(answer, Err(StoreError::Unstorable(_))), n == 7, "{n}: {answer:?}");
        assert_eq!(answer.is_ok(), n != 7, "{n}: {answer:?}");
    }
    assert_eq!(due(&*store, "crm", backend.clock().now()).await.len(), 20);
    assert_eq!(deliveries_total(&*store, "crm").enqueued, 20);
    assert_eq!(events_total(&*store, "clouddial-au").accepted, 20);
    assert_balanced(&store.totals());
}

pub(crate) async fn an_admission_that_repeats_a_bad_one_is_the_first(backend: &dyn Backend) {
    let store = backend.open();
    let known = commit(&*store, admission(backend.clock(), &[])).await;
    let bad = |number| Admission { id: known.id(), ..marked(backend.clock(), number) };

    let (first, second, third, good) = tokio::join!(
        store.commit(bad(1)),
        store.commit(marked(backend.clock(), 1)),
        store.commit(bad(2)),
        store.commit(marked(backend.clock(), 3)),
    );

    assert!(matches!(first, Err(StoreError::Unstorable(_))), "{first:?}");
    assert!(matches!(third, Err(StoreError::Unstorable(_))), "{third:?}");
    assert!(!second.unwrap().is_duplicate());
    assert!(!good.unwrap().is_duplicate());
    assert!(commit(&*store, marked(backend.clock(), 1)).await.is_duplicate());
    assert!(!commit(&*store, marked(backend.clock(), 2)).await.is_duplicate());
    assert!(commit(&*store, marked(backend.clock(), 3)).await.is_duplicate());
}

pub(crate) async fn names_first_heard_in_a_bad_admission_are_names_all_the_same(
    backend: &dyn Backend,
) {
    let store = backend.open();
    let known = commit(&*store, admission(backend.clock(), &[])).await;
    let new = || Admission { source: source("plum-us"), ..admission(backend.clock(), &["lake"]) };

    let (bad, good) =
        tokio::join!(store.commit(Admission { id: known.id(), ..new() }), store.commit(new()));

    assert!(matches!(bad, Err(StoreError::Unstorable(_))), "{bad:?}");
    let good = good.unwrap().id();
    let before = store.totals();
    drop(store);
    let store = backend.open();
    assert_eq!(store.totals(), before);
    assert_eq!(events_total(&*store, "plum-us").accepted, 1);
    assert_eq!(store.event(good).await.unwrap().unwrap().source, source("plum-us"));
    assert_eq!(ids(&due(&*store, "lake", backend.clock().now()).await), [good]);
}

// === due ===

pub(crate) async fn due_is_in_order_of_instant_then_acceptance(backend: &dyn Backend) {
    let store = backend.open();
    let clock = backend.clock();
    let mut accepted = Vec::new();
    for _ in 0..3 {
        accepted.push(commit(&*store, admission(clock, &["crm"])).await.id());
    }
    let first = due(&*store, "crm", clock.now()).await.remove(0);
    let later = clock.now() + second(5);
    store.settle(first, attempt(1, clock.now()), Settlement::Retry { at: later }).await.unwrap();
    clock.advance(second(1));
    accepted.push(commit(&*store, admission(clock, &["crm"])).await.id());

    clock.advance(second(10));

    let order = ids(&due(&*store, "crm", clock.now()).await);
    assert_eq!(order, [accepted[1], accepted[2], accepted[3], accepted[0]]);
}

pub(crate) async fn due_claims_nothing(backend: &dyn Backend) {
    let store = backend.open();
    commit(&*store, admission(backend.clock(), &["crm"])).await;

    let once = due(&*store, "crm", backend.clock().now()).await;
    let again = due(&*store, "crm", backend.clock().now()).await;

    assert_eq!((ids(&once), once.len()), (ids(&again), 1));
    assert_eq!(deliveries_total(&*store, "crm").pending, 1);
}

pub(crate) async fn due_passes_over_what_is_held_and_stops_at_its_limit(backend: &dyn Backend) {
    let store = backend.open();
    let now = backend.clock().now();
    for _ in 0..6 {
        commit(&*store, admission(backend.clock(), &["crm"])).await;
    }
    let all: Vec<DeliveryId> = due(&*store, "crm", now).await.iter().map(|d| d.id).collect();

    let found = store.due(&target("crm"), now, &[all[3], all[0]], Room::of(3)).await.unwrap();

    let found: Vec<DeliveryId> = found.deliveries.iter().map(|d| d.id).collect();
    assert_eq!(found, [all[1], all[2], all[4]]);
    let none = store.due(&target("crm"), now, &all, Room::of(3)).await.unwrap();
    assert!(none.deliveries.is_empty());
    assert_eq!(none.next_at, None);
}

pub(crate) async fn due_says_when_to_ask_again(backend: &dyn Backend) {
    let store = backend.open();
    let now = backend.clock().now();
    for _ in 0..4 {
        commit(&*store, admission(backend.clock(), &["crm"])).await;
    }
    assert_eq!(store.due(&target("crm"), now, &[], Room::of(9)).await.unwrap().next_at, None);
    for (delivery, pause) in due(&*store, "crm", now).await.into_iter().zip([30, 20]) {
        let at = now + second(pause);
        store.settle(delivery, attempt(1, now), Settlement::Retry { at }).await.unwrap();
    }

    for limit in [1, 9] {
        let found = store.due(&target("crm"), now, &[], Room::of(limit)).await.unwrap();
        assert_eq!(found.deliveries.len(), limit.min(2));
        assert_eq!(found.next_at, Some(now + second(20)));
    }
}

pub(crate) async fn due_of_one_target_knows_nothing_of_another(backend: &dyn Backend) {
    let store = backend.open();
    let both = commit(&*store, admission(backend.clock(), &["crm", "archive"])).await.id();
    let one = commit(&*store, admission(backend.clock(), &["crm"])).await.id();
    settle_all(backend, &*store, "archive", Settlement::Delivered).await;

    let now = backend.clock().now();
    assert_eq!(ids(&due(&*store, "crm", now).await), [both, one]);
    assert!(due(&*store, "archive", now).await.is_empty());
    assert!(due(&*store, "nobody", now).await.is_empty());
}

pub(crate) async fn due_sees_every_commit_that_has_returned(backend: &dyn Backend) {
    let store = backend.open();
    for n in 1..=40 {
        commit(&*store, admission(backend.clock(), &["crm"])).await;
        assert_eq!(due(&*store, "crm", backend.clock().now()).await.len(), n);
    }
}

// === settle ===

pub(crate) async fn a_delivered_delivery_is_never_due_again(backend: &dyn Backend) {
    let store = backend.open();
    let event = commit(&*store, admission(backend.clock(), &["crm"])).await.id();

    settle_all(backend, &*store, "crm", Settlement::Delivered).await;
    drop(store);

    let store = backend.open();
    backend.clock().advance(second(1_000_000));
    assert!(due(&*store, "crm", backend.clock().now()).await.is_empty());
    let record = store.deliveries_of(event).await.unwrap().remove(0);
    assert_eq!((record.state, record.attempts), (DeliveryState::Delivered, 1));
    let totals = deliveries_total(&*store, "crm");
    assert_eq!((totals.enqueued, totals.delivered, totals.pending), (1, 1, 0));
}

pub(crate) async fn a_retry_is_due_at_its_instant(backend: &dyn Backend) {
    let store = backend.open();
    let clock = backend.clock();
    commit(&*store, admission(clock, &["crm"])).await;
    let at = clock.now() + second(5);

    settle_all(backend, &*store, "crm", Settlement::Retry { at }).await;
    drop(store);

    let store = backend.open();
    clock.advance(Duration::from_millis(4_999));
    assert!(due(&*store, "crm", clock.now()).await.is_empty());
    clock.advance(Duration::from_millis(1));
    let again = due(&*store, "crm", clock.now()).await.remove(0);
    assert_eq!((again.attempts, again.round), (1, 0));
    assert_eq!(deliveries_total(&*store, "crm").pending, 1);
}

pub(crate) async fn a_buried_delivery_is_a_dead_letter_with_its_reason(backend: &dyn Backend) {
    let store = backend.open();
    let event = commit(&*store, admission(backend.clock(), &["crm"])).await.id();

    settle_all(backend, &*store, "crm", BURIED).await;

    assert!(due(&*store, "crm", backend.clock().now()).await.is_empty());
    let letter =
        store.dead_letters(DeadFilter::default(), None, 9).await.unwrap().letters.remove(0);
    assert_eq!((letter.event, letter.target), (event, target("crm")));
    assert_eq!((&*letter.reason, letter.status), ("permanent", Some(503)));
    assert_eq!((letter.round, letter.attempts), (0, 1));
    assert_eq!(letter.at, backend.clock().now());
    assert_eq!(letter.error.as_deref(), Some("answered 503"));
    assert_eq!(letter.snippet.as_deref(), Some(&b"try later"[..]));
    assert_eq!(deliveries_total(&*store, "crm").dead, 1);
}

pub(crate) async fn settling_an_attempt_again_changes_nothing(backend: &dyn Backend) {
    let store = backend.open();
    let now = backend.clock().now();
    let event = commit(&*store, admission(backend.clock(), &["crm"])).await.id();
    let mut copies: Vec<Delivery> = Vec::new();
    for _ in 0..3 {
        copies.extend(due(&*store, "crm", now).await);
    }
    let at = now + second(9);
    let mut settle = async |settlement| {
        let copy = copies.pop().unwrap();
        store.settle(copy, attempt(1, now), settlement).await.unwrap();
        (store.deliveries_of(event).await.unwrap(), store.totals())
    };

    let once = settle(Settlement::Retry { at }).await;

    assert_eq!(settle(Settlement::Delivered).await, once);
    assert_eq!(settle(BURIED).await, once);
    let attempts = store.attempts(once.0[0].id, None, 9).await.unwrap();
    assert_eq!(attempts.len(), 1);
    assert_balanced(&once.1);
}

pub(crate) async fn settling_an_older_round_changes_nothing(backend: &dyn Backend) {
    let store = backend.open();
    let now = backend.clock().now();
    let event = commit(&*store, admission(backend.clock(), &["crm"])).await.id();
    let late = due(&*store, "crm", now).await.remove(0);
    settle_all(backend, &*store, "crm", BURIED).await;
    assert_eq!(redrive(&*store, DeadFilter::default(), again(now), 9).await, 1);
    let before = (store.deliveries_of(event).await.unwrap(), store.totals());

    store.settle(late, attempt(2, now), Settlement::Delivered).await.unwrap();

    assert_eq!((store.deliveries_of(event).await.unwrap(), store.totals()), before);
}

// === redrive and discard ===

pub(crate) async fn a_redrive_begins_a_new_round_of_the_same_delivery(backend: &dyn Backend) {
    let store = backend.open();
    let event = commit(&*store, admission(backend.clock(), &["crm"])).await.id();
    settle_all(backend, &*store, "crm", BURIED).await;
    let before = store.deliveries_of(event).await.unwrap().remove(0);
    backend.clock().advance(second(60));
    let now = backend.clock().now();

    assert_eq!(redrive(&*store, of_target("crm"), again(now), 9).await, 1);
    assert_eq!(redrive(&*store, of_target("crm"), again(now), 9).await, 0);

    let again = due(&*store, "crm", now).await.remove(0);
    assert_eq!((again.id, again.event, again.since), (before.id, event, now));
    assert_eq!((again.round, again.attempts), (1, 0));
    assert!(store.dead_letters(DeadFilter::default(), None, 9).await.unwrap().letters.is_empty());
    let totals = deliveries_total(&*store, "crm");
    assert_eq!((totals.enqueued, totals.pending, totals.dead), (1, 1, 0));
}

pub(crate) async fn a_redrive_under_a_new_id_has_it_for_that_round_only(backend: &dyn Backend) {
    let store = backend.open();
    let now = backend.clock().now();
    let event = commit(&*store, admission(backend.clock(), &["crm", "lake"])).await.id();
    let replay = Replay { targets: vec![target("crm")], ..Replay::default() };
    let round = async |settlement, again: Again| {
        settle_all(backend, &*store, "crm", settlement).await;
        let moved = match settlement {
            Settlement::Delivered => {
                store.replay(replay.clone(), None, again, 9).await.unwrap().deliveries
            }
            _ => redrive(&*store, of_target("crm"), again, 9).await,
        };
        assert_eq!(moved, 1);
        due(&*store, "crm", now).await.remove(0).webhook_id()
    };

    assert_eq!(due(&*store, "crm", now).await[0].webhook_id(), event.to_string());
    let new = Again { at: now, new_id: true };
    assert_eq!(round(BURIED, new).await, format!("{event}.1"));
    settle_all(backend, &*store, "crm", Settlement::Retry { at: now }).await;
    assert_eq!(due(&*store, "crm", now).await[0].webhook_id(), format!("{event}.1"));
    assert_eq!(round(BURIED, again(now)).await, event.to_string(), "the next round has the first");
    assert_eq!(round(Settlement::Delivered, new).await, format!("{event}.3"));
    assert_eq!(round(Settlement::Delivered, again(now)).await, event.to_string());
    assert_eq!(due(&*store, "lake", now).await[0].webhook_id(), event.to_string());
}

pub(crate) async fn a_redrive_takes_only_what_its_filter_means(backend: &dyn Backend) {
    let store = backend.open();
    let clock = backend.clock();
    let mut events = Vec::new();
    for _ in 0..3 {
        events.push(commit(&*store, admission(clock, &["crm", "archive"])).await.id());
    }
    let expired = Settlement::Dead { reason: BuryReason::Expired };
    settle_all(backend, &*store, "crm", expired).await;
    settle_all(backend, &*store, "archive", BURIED).await;
    let now = clock.now();
    let by_event = DeadFilter {
        target: Some(target("archive")),
        events: vec![events[2], event_id(now), events[1]],
        reason: Some(BuryReason::Permanent),
        ..DeadFilter::default()
    };
    let by_reason = DeadFilter { reason: Some(BuryReason::Expired), ..DeadFilter::default() };

    assert_eq!(redrive(&*store, of_target("nobody"), again(now), 9).await, 0);
    assert_eq!(redrive(&*store, by_event, again(now), 9).await, 2);
    assert_eq!(ids(&due(&*store, "archive", now).await), [events[1], events[2]]);
    assert!(due(&*store, "crm", now).await.is_empty());
    assert_eq!(redrive(&*store, by_reason, again(now), 9).await, 3);
    assert_eq!(ids(&due(&*store, "crm", now).await), events);
    assert_eq!(redrive(&*store, DeadFilter::default(), again(now), 9).await, 1);
    assert_eq!(ids(&due(&*store, "archive", now).await), events);
}

pub(crate) async fn a_redrive_takes_no_more_than_it_may(backend: &dyn Backend) {
    let store = backend.open();
    let mut events = Vec::new();
    for _ in 0..5 {
        events.push(commit(&*store, admission(backend.clock(), &["crm"])).await.id());
    }
    settle_all(backend, &*store, "crm", BURIED).await;
    let later = backend.clock().now() + second(30);

    assert_eq!(redrive(&*store, of_target("crm"), again(later), 2).await, 2);
    let named = DeadFilter { events: events[2..].to_vec(), ..DeadFilter::default() };
    assert_eq!(redrive(&*store, named, again(later), 1).await, 1);

    assert_eq!(ids(&due(&*store, "crm", later).await), events[..3]);
    assert!(due(&*store, "crm", backend.clock().now()).await.is_empty());
}

pub(crate) async fn a_redrive_goes_on_where_its_last_step_ended_whatever_dies_again(
    backend: &dyn Backend,
) {
    let store = backend.open();
    let mut events = Vec::new();
    for _ in 0..5 {
        events.push(commit(&*store, admission(backend.clock(), &["crm", "archive"])).await.id());
    }
    settle_all(backend, &*store, "crm", BURIED).await;
    settle_all(backend, &*store, "archive", BURIED).await;
    let now = backend.clock().now();
    let named = DeadFilter { events: events.clone(), ..of_target("crm") };

    for filter in [of_target("crm"), named] {
        let (mut sent, mut after) = (Vec::new(), None);
        loop {
            let step = store.redrive(filter.clone(), after, again(now), 2).await.unwrap();
            let moved = due(&*store, "crm", now).await;
            assert_eq!(usize::try_from(step.letters), Ok(moved.len()), "{filter:?}");
            assert!(moved.len() <= 2, "{filter:?}: {step:?}");
            sent.extend(ids(&moved));
            settle_all(backend, &*store, "crm", BURIED).await;
            if step.next.is_none() {
                break;
            }
            assert!(step.next > after, "{filter:?}: {step:?} after {after:?}");
            after = step.next;
        }
        assert_eq!(sent, events, "each once, the oldest first: {filter:?}");
    }
    assert!(due(&*store, "archive", now).await.is_empty());
}

pub(crate) async fn a_discard_goes_on_where_its_last_step_ended(backend: &dyn Backend) {
    let store = backend.open();
    for _ in 0..5 {
        commit(&*store, admission(backend.clock(), &["crm", "archive"])).await;
    }
    settle_all(backend, &*store, "crm", BURIED).await;
    settle_all(backend, &*store, "archive", BURIED).await;
    let letters = async || -> Vec<DeliveryId> {
        let page = store.dead_letters(of_target("crm"), None, 9).await.unwrap();
        page.letters.into_iter().map(|letter| letter.id).collect()
    };
    let before = letters().await;

    // From the third on; then from the first.
    let (mut after, mut moved) = (Some(before[1]), 0);
    while after.is_some() {
        let step = store.discard(of_target("crm"), after, 2).await.unwrap();
        assert!(step.letters <= 2 && step.next.is_none_or(|next| Some(next) > after), "{step:?}");
        (after, moved) = (step.next, moved + step.letters);
    }

    assert_eq!(moved, 3);
    assert_eq!(letters().await, before[..2]);
    assert_eq!(discard(&*store, of_target("crm"), 9).await, 2);
    assert_eq!(deliveries_total(&*store, "archive").dead, 5);
}

pub(crate) async fn what_is_discarded_is_listed_and_never_due(backend: &dyn Backend) {
    let store = backend.open();
    let event = commit(&*store, admission(backend.clock(), &["crm"])).await.id();
    settle_all(backend, &*store, "crm", BURIED).await;
    let now = backend.clock().now();

    assert_eq!(discard(&*store, of_target("crm"), 9).await, 1);
    assert_eq!(discard(&*store, of_target("crm"), 9).await, 0);
    assert_eq!(redrive(&*store, of_target("crm"), again(now), 9).await, 0);

    assert!(due(&*store, "crm", now).await.is_empty());
    assert!(store.dead_letters(DeadFilter::default(), None, 9).await.unwrap().letters.is_empty());
    let record = store.deliveries_of(event).await.unwrap().remove(0);
    assert_eq!(record.state, DeliveryState::Discarded);
    assert_eq!(record.reason.as_deref(), Some("permanent"));
    let totals = deliveries_total(&*store, "crm");
    assert_eq!((totals.enqueued, totals.dead, totals.discarded), (1, 0, 1));
}

// === attempts ===

pub(crate) async fn attempts_are_listed_over_all_rounds_and_in_pages(backend: &dyn Backend) {
    let store = backend.open();
    let now = backend.clock().now();
    let event = commit(&*store, admission(backend.clock(), &["crm"])).await.id();
    settle_all(backend, &*store, "crm", Settlement::Retry { at: now }).await;
    settle_all(backend, &*store, "crm", BURIED).await;
    redrive(&*store, of_target("crm"), again(now), 9).await;
    settle_all(backend, &*store, "crm", Settlement::Delivered).await;

    let delivery = store.deliveries_of(event).await.unwrap()[0].id;
    let all = store.attempts(delivery, None, 9).await.unwrap();

    let numbers: Vec<_> = all.iter().map(|past| (past.round, past.attempt.number)).collect();
    assert_eq!(numbers, [(0, 1), (0, 2), (1, 1)]);
    assert_eq!(all[0].attempt, attempt(1, now));
    assert_eq!(store.attempts(delivery, Some((0, 1)), 1).await.unwrap(), all[1..2]);
    assert_eq!(store.attempts(delivery, Some((0, 2)), 9).await.unwrap(), all[2..]);
}

pub(crate) async fn long_errors_and_answers_are_cut(backend: &dyn Backend) {
    let store = backend.open();
    let now = backend.clock().now();
    commit(&*store, admission(backend.clock(), &["crm"])).await;
    let delivery = due(&*store, "crm", now).await.remove(0);
    let id = delivery.id;
    let long = Attempt {
        error: Some(format!("x{}", "é".repeat(600))),
        snippet: Some(Bytes::from(vec![b'<'; 5000])),
        ..attempt(1, now)
    };

    store.settle(delivery, long, BURIED).await.unwrap();

    let kept = store.attempts(id, None, 1).await.unwrap().remove(0).attempt;
    assert_eq!(kept.error, Some(format!("x{}", "é".repeat(511))));
    assert_eq!(kept.snippet.unwrap().len(), 4096);
}

// === wake ===

async fn is_woken(wake: &tokio::sync::Notify) -> bool {
    // Whoever was told before asking finds the permit at once.
    tokio::time::timeout(Duration::ZERO, wake.notified()).await.is_ok()
}

async fn woken(wake: &tokio::sync::Notify) {
    tokio::time::timeout(second(10), wake.notified()).await.expect("the target is woken");
}

pub(crate) async fn a_target_is_woken_by_what_makes_a_delivery_due(backend: &dyn Backend) {
    let store = backend.open();
    let now = backend.clock().now();
    let (crm, archive) = (store.wake(&target("crm")), store.wake(&target("archive")));

    commit(&*store, admission(backend.clock(), &["crm"])).await;
    woken(&crm).await;
    settle_all(backend, &*store, "crm", Settlement::Retry { at: now }).await;
    woken(&crm).await;
    settle_all(backend, &*store, "crm", BURIED).await;
    redrive(&*store, of_target("crm"), again(now), 9).await;
    woken(&crm).await;

    assert!(Arc::ptr_eq(&crm, &store.wake(&target("crm"))));
    assert!(!is_woken(&archive).await);
}

pub(crate) async fn a_target_is_not_woken_by_a_retry_in_the_future(backend: &dyn Backend) {
    let store = backend.open();
    let wake = store.wake(&target("crm"));
    commit(&*store, admission(backend.clock(), &["crm"])).await;
    woken(&wake).await;
    let at = backend.clock().now() + second(1);

    settle_all(backend, &*store, "crm", Settlement::Retry { at }).await;
    // Another commit after it: what would have woken, has.
    commit(&*store, admission(backend.clock(), &["archive"])).await;
    woken(&store.wake(&target("archive"))).await;

    assert!(!is_woken(&wake).await);
}

// === handing over ===

pub(crate) async fn a_commit_hands_over_what_it_makes_due_as_a_look_would_find_it(
    backend: &dyn Backend,
) {
    let store = backend.open();
    let (crm, wake) = (target("crm"), store.wake(&target("crm")));
    let mut traced = admission(backend.clock(), &["crm", "archive"]);
    traced.trace = Some(Trace { parent: TraceParent::of_event(traced.id), state: None });

    commit(&*store, traced).await;
    commit(&*store, admission(backend.clock(), &["crm"])).await;
    commit(&*store, admission(backend.clock(), &["archive"])).await;
    woken(&wake).await;

    let Handed { deliveries, look, .. } = store.handed(&crm);
    let found = due(&*store, "crm", backend.clock().now()).await;
    assert_eq!((deliveries.len(), look), (2, false));
    assert_eq!(format!("{deliveries:?}"), format!("{found:?}"));
    let Handed { deliveries, look, .. } = store.handed(&crm);
    assert_eq!((deliveries.len(), look), (0, false));
}

pub(crate) async fn what_is_handed_over_and_let_go_of_is_found_by_a_look(backend: &dyn Backend) {
    let store = backend.open();
    let now = backend.clock().now();
    commit(&*store, admission(backend.clock(), &["crm"])).await;

    let handed = store.handed(&target("crm")).deliveries.pop().expect("it is handed over");
    let found = store.due(&target("crm"), now, &[], Room::of(9)).await.unwrap();

    assert_eq!(found.deliveries[0].id, handed.id);
    assert!(found.through >= handed.id);
    commit(&*store, admission(backend.clock(), &["crm"])).await;
    let younger = store.handed(&target("crm")).deliveries.pop().expect("it is handed over");
    assert!(found.through < younger.id);
}

pub(crate) async fn what_is_not_new_is_to_be_looked_for(backend: &dyn Backend) {
    let store = backend.open();
    let now = backend.clock().now();
    commit(&*store, admission(backend.clock(), &["crm"])).await;
    settle_all(backend, &*store, "crm", BURIED).await;
    store.handed(&target("crm"));

    redrive(&*store, of_target("crm"), again(now), 9).await;
    commit(&*store, admission(backend.clock(), &["crm"])).await;

    let Handed { deliveries, look, .. } = store.handed(&target("crm"));
    assert_eq!((deliveries.len(), look), (0, true));
    assert_eq!(due(&*store, "crm", now).await.len(), 2);
}

pub(crate) async fn more_than_can_be_handed_over_is_to_be_looked_for(backend: &dyn Backend) {
    let store = backend.open();
    for _ in 0..3 {
        let mut large = admission(backend.clock(), &["crm"]);
        let Fate::Readable { json, .. } = &mut large.fate else { panic!("it is readable") };
        *json = format!(r#"{{"text":"{}"}}"#, "x".repeat(400 * 1024)).into();
        commit(&*store, large).await;
    }

    let Handed { deliveries, look, .. } = store.handed(&target("crm"));

    assert_eq!((deliveries.len(), look), (0, true));
    assert_eq!(due(&*store, "crm", backend.clock().now()).await.len(), 3);
}

// === totals ===

pub(crate) async fn the_totals_balance_and_survive_reopening(backend: &dyn Backend) {
    let store = backend.open();
    let clock = backend.clock();
    for targets in [&["crm", "archive"][..], &["crm"], &[], &["crm", "archive", "lake"]] {
        commit(&*store, admission(clock, targets)).await;
        assert_balanced(&store.totals());
    }
    commit(&*store, Admission { source: source("synthflow-eu"), ..quarantined(clock) }).await;
    settle_all(backend, &*store, "archive", Settlement::Delivered).await;
    settle_all(backend, &*store, "crm", BURIED).await;
    redrive(&*store, of_target("crm"), again(clock.now()), 1).await;
    discard(&*store, of_target("crm"), 1).await;
    let before = store.totals();
    drop(store);

    let store = backend.open();

    assert_eq!(store.totals(), before);
    assert_balanced(&before);
    let routed = EventTotals { accepted: 4, routed: 3, unrouted: 1, quarantined: 0 };
    let unreadable = EventTotals { accepted: 1, quarantined: 1, ..EventTotals::default() };
    assert_eq!(events_total(&*store, "clouddial-au"), routed);
    assert_eq!(events_total(&*store, "synthflow-eu"), unreadable);
    let crm = DeliveryTotals { enqueued: 3, delivered: 0, pending: 1, dead: 1, discarded: 1 };
    assert_eq!(deliveries_total(&*store, "crm"), crm);
}

pub(crate) async fn declared_names_are_in_the_totals_at_zero(backend: &dyn Backend) {
    let store = backend.open();
    commit(&*store, admission(backend.clock(), &["crm"])).await;

    store
        .declare(&[source("clouddial-au"), source("plum-us")], &[target("crm"), target("archive")]);

    let totals = store.totals();
    assert_eq!(totals.events[&source("plum-us")], EventTotals::default());
    assert_eq!(totals.deliveries[&target("archive")], DeliveryTotals::default());
    assert_eq!(totals.events[&source("clouddial-au")].accepted, 1);
    assert_eq!(totals.deliveries[&target("crm")].pending, 1);
}

pub(crate) async fn the_oldest_pending_is_told_by_acceptance_or_redrive(backend: &dyn Backend) {
    let store = backend.open();
    let clock = backend.clock();
    let start = clock.now();
    let oldest = async |name: &str| {
        let all = store.oldest_pending().await.unwrap();
        all.into_iter().find(|(known, _)| *known == target(name)).map(|(_, at)| at)
    };
    commit(&*store, admission(clock, &["crm", "archive"])).await;
    clock.advance(second(10));
    commit(&*store, admission(clock, &["crm"])).await;
    assert_eq!((oldest("crm").await, oldest("archive").await), (Some(start), Some(start)));

    let first = due(&*store, "crm", clock.now()).await.remove(0);
    store.settle(first, attempt(1, start), BURIED).await.unwrap();
    settle_all(backend, &*store, "archive", Settlement::Delivered).await;
    assert_eq!((oldest("crm").await, oldest("archive").await), (Some(start + second(10)), None));

    settle_all(backend, &*store, "crm", Settlement::Delivered).await;
    clock.advance(second(10));
    redrive(&*store, of_target("crm"), again(clock.now()), 1).await;
    assert_eq!(oldest("crm").await, Some(start + second(20)));
}

// === pages ===

async fn walk(store: &dyn Store, filter: EventFilter, order: Order, limit: usize) -> Vec<EventId> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = store.events(filter.clone(), order, after, limit).await.unwrap();
        assert!(page.events.len() <= limit);
        found.extend(page.events.iter().map(|event| event.id));
        match page.next {
            Some(next) => after = Some(next),
            None => return found,
        }
    }
}

pub(crate) async fn events_are_listed_in_both_orders_and_in_pages(backend: &dyn Backend) {
    let store = backend.open();
    let mut accepted = Vec::new();
    for _ in 0..7 {
        accepted.push(commit(&*store, admission(backend.clock(), &[])).await.id());
    }

    for limit in [1, 3, 7, 100] {
        let listed = walk(&*store, EventFilter::default(), Order::OldestFirst, limit).await;
        assert_eq!(listed, accepted);
        let listed = walk(&*store, EventFilter::default(), Order::NewestFirst, limit).await;
        assert_eq!(listed, accepted.iter().rev().copied().collect::<Vec<_>>());
    }
}

pub(crate) async fn events_are_listed_by_what_is_asked_of_them(backend: &dyn Backend) {
    let store = backend.open();
    let clock = backend.clock();
    let start = clock.now();
    let routed = commit(&*store, admission(clock, &["crm"])).await.id();
    clock.advance(second(1));
    let elsewhere = Admission { source: source("plum-us"), ..admission(clock, &[]) };
    let elsewhere = commit(&*store, elsewhere).await.id();
    clock.advance(second(1));
    let unreadable = commit(&*store, quarantined(clock)).await.id();
    clock.advance(second(1));
    let mut busy = admission(clock, &[]);
    let Fate::Readable { facts, failed_routes, .. } = &mut busy.fate else {
        panic!("it is readable")
    };
    *failed_routes = vec!["sales results".to_owned(), "all".to_owned()];
    facts.status = Status::Busy;
    facts.call_id = Some("call-2".to_owned());
    let busy = commit(&*store, busy).await.id();
    let marked = store.event(busy).await.unwrap().unwrap().failed_routes;
    assert_eq!(marked, ["sales results", "all"]);

    let any = EventFilter::default;
    let cases: [(EventFilter, &[EventId]); 10] = [
        (EventFilter { failed_route: Some("all".to_owned()), ..any() }, &[busy]),
        (EventFilter { failed_route: Some("results".to_owned()), ..any() }, &[]),
        (EventFilter { source: Some(source("plum-us")), ..any() }, &[elsewhere]),
        (EventFilter { state: Some(EventState::Quarantined), ..any() }, &[unreadable]),
        (EventFilter { state: Some(EventState::Routed), ..any() }, &[routed]),
        (EventFilter { status: Some(Status::Busy), ..any() }, &[busy]),
        (EventFilter { call: Some("call-2".to_owned()), ..any() }, &[busy]),
        (EventFilter { call: Some("lead-9".to_owned()), ..any() }, &[routed, elsewhere, busy]),
        (EventFilter { since: Some(start + second(2)), ..any() }, &[unreadable, busy]),
        (EventFilter { until: Some(start + second(2)), ..any() }, &[routed, elsewhere]),
    ];
    for (filter, expected) in cases {
        let listed = walk(&*store, filter.clone(), Order::OldestFirst, 2).await;
        assert_eq!(listed, expected, "{filter:?}");
    }
}

pub(crate) async fn dead_letters_are_listed_in_pages_oldest_first(backend: &dyn Backend) {
    let store = backend.open();
    for _ in 0..3 {
        commit(&*store, admission(backend.clock(), &["crm", "archive"])).await;
    }
    settle_all(backend, &*store, "crm", BURIED).await;
    settle_all(backend, &*store, "archive", BURIED).await;
    for (of, count) in [(DeadFilter::default(), 6), (of_target("crm"), 3), (of_target("nobody"), 0)]
    {
        let all = store.dead_letters(of.clone(), None, 100).await.unwrap().letters;
        assert_eq!(all.len(), count);
        assert!(all.is_sorted_by_key(|letter| letter.id));
        let is_of = |name: &TargetName| of.target.as_ref().is_none_or(|of| of == name);
        assert!(all.iter().all(|letter| is_of(&letter.target)));
        let mut after = None;
        for expected in all {
            let page = store.dead_letters(of.clone(), after, 1).await.unwrap().letters;
            assert_eq!(page[0].id, expected.id);
            after = Some(expected.id);
        }
        assert!(store.dead_letters(of.clone(), after, 1).await.unwrap().letters.is_empty());
    }
}

// === close ===

pub(crate) async fn closing_commits_what_is_queued_and_refuses_what_comes_after(
    backend: &dyn Backend,
) {
    let store = backend.open();
    let queued = (0..30).map(|_| store.commit(admission(backend.clock(), &["crm"])));
    // Polled in order: every admission is queued when the close is.
    let (receipts, closed) =
        futures_util::future::join(futures_util::future::join_all(queued), store.close()).await;

    assert_eq!(closed, Ok(()));
    assert!(receipts.iter().all(Result::is_ok), "{receipts:?}");
    assert_eq!(store.refusal(), Some(StoreError::Closed));
    let refused = store.commit(admission(backend.clock(), &["crm"])).await;
    assert!(matches!(refused, Err(StoreError::Closed)), "{refused:?}");
    assert_eq!(store.close().await, Ok(()));
    drop(store);
    let store = backend.open();
    assert_eq!(due(&*store, "crm", backend.clock().now()).await.len(), 30);
    assert_eq!(store.refusal(), None);
}
