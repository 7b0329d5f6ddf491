//! Breaker, pause, rate and shares of a lane.

use std::collections::BTreeSet;

use futures_util::FutureExt as _;

use super::*;
use crate::{
    delivery::{PauseError, TargetState, breaker::BreakerState, rate_limit::Rate},
    store::StoreError,
};

const PROBE_AFTER: Duration = Duration::from_secs(30);

fn breaking(url: &str) -> target::Settings {
    let breaker = breaker::Settings { failures: 3, probe_after: PROBE_AFTER };
    target::Settings { concurrency: 1, breaker, ..http("crm", url) }
}

fn breaker_of(world: &World) -> BreakerState {
    world.handle.status()[0].breaker
}

async fn until(world: &World, state: BreakerState) {
    eventually(state.as_str(), || breaker_of(world) == state).await;
}

/// Moves the clock; the lane looks up, whether it asks the store or not.
fn move_on(world: &World, by: Duration) {
    world.clock.advance(by);
    *world.store.now.lock().unwrap() = world.clock.now();
    world.store.wake(&TargetName::new("crm")).notify_one();
}

#[tokio::test]
async fn a_tripped_target_is_left_alone_and_no_delivery_loses_an_attempt_by_it() {
    let crm = Receiver::start(|_| Act::Answer(500, &[], b"")).await;
    let world = World::start(vec![breaking(&crm.url)]);
    for _ in 0..10 {
        world.enqueue(&["crm"]);
    }

    until(&world, BreakerState::Tripped).await;

    assert_eq!(crm.count(), 3);
    let status = world.handle.status().remove(0);
    assert_eq!((status.state, status.in_flight), (TargetState::Tripped, 0));
    assert_eq!(status.last_error.unwrap().status, Some(500));
    assert!(world.registry.page().contains(r#"hookswitch_target_breaker_state{target="crm"} 2"#));
    move_on(&world, PROBE_AFTER.checked_sub(Duration::from_millis(1)).unwrap());
    everybody_had_a_turn().await;
    assert_eq!((crm.count(), world.handle.status()[0].in_flight), (3, 0));
    let attempts: usize = world.store.rows("crm").iter().map(|row| row.attempts.len()).sum();
    assert_eq!(attempts, 3);
}

#[tokio::test]
async fn a_probe_is_exactly_one_request_and_its_success_opens_the_lane() {
    let crm = Receiver::held(|n| if n < 3 { Act::Answer(500, &[], b"") } else { OK }).await;
    let world = World::start(vec![target::Settings { concurrency: 4, ..breaking(&crm.url) }]);
    for _ in 0..3 {
        world.enqueue(&["crm"]);
    }
    eventually("three requests", || crm.count() == 3).await;
    crm.release(3);
    until(&world, BreakerState::Tripped).await;
    for _ in 0..20 {
        world.enqueue(&["crm"]);
    }

    move_on(&world, PROBE_AFTER);
    until(&world, BreakerState::Probing).await;
    eventually("the probe", || crm.count() == 4).await;
    for _ in 0..20 {
        world.enqueue(&["crm"]);
    }
    everybody_had_a_turn().await;
    assert_eq!((crm.count(), world.handle.status()[0].in_flight), (4, 1));
    crm.release(1);

    until(&world, BreakerState::Admitting).await;
    crm.release(1_000);
    world.delivered("crm", 43).await;
}

#[tokio::test]
async fn a_probe_that_fails_leaves_it_tripped_for_as_long_again() {
    let crm = Receiver::start(|_| Act::Reset).await;
    let world = World::start(vec![breaking(&crm.url)]);
    for _ in 0..6 {
        world.enqueue(&["crm"]);
    }
    until(&world, BreakerState::Tripped).await;

    move_on(&world, PROBE_AFTER);
    eventually("the probe", || crm.count() == 4).await;
    until(&world, BreakerState::Tripped).await;
    move_on(&world, PROBE_AFTER);
    eventually("the next", || crm.count() == 5).await;
    until(&world, BreakerState::Tripped).await;
}

#[tokio::test]
async fn what_is_refused_for_its_own_sake_does_not_trip_its_target() {
    let crm = Receiver::start(|_| Act::Answer(422, &[], b"")).await;
    let world = World::start(vec![breaking(&crm.url)]);
    for _ in 0..10 {
        world.enqueue(&["crm"]);
    }

    eventually("all of them", || crm.count() == 10).await;
    assert_eq!(breaker_of(&world), BreakerState::Admitting);
}

#[tokio::test]
async fn what_expires_while_tripped_says_so_with_the_last_error_of_the_target() {
    let crm = Receiver::start(|_| Act::Answer(502, &[], b"")).await;
    let mut settings = breaking(&crm.url);
    settings.retry.give_up_after = Some(Duration::from_hours(1));
    let world = World::start(vec![settings]);
    for _ in 0..8 {
        world.enqueue(&["crm"]);
    }
    until(&world, BreakerState::Tripped).await;

    move_on(&world, Duration::from_hours(1));

    let buried = State::Dead(BuryReason::ExpiredWhileTripped);
    eventually("the burials", || world.store.count("crm", buried) == 8).await;
    assert_eq!(crm.count(), 3);
    assert!(world.store.rows("crm").iter().all(|row| row.said.is_some()));
    let line = r#"hookswitch_dead_letters_total{reason="expired_while_tripped",target="crm"} 8"#;
    eventually("the counter", || world.registry.page().contains(line)).await;
}

/// Tried every twenty minutes for an hour, and never left alone.
fn for_an_hour(url: &str) -> target::Settings {
    let mut settings = http("crm", url);
    settings.breaker.failures = 0;
    let twenty = Duration::from_mins(20);
    settings.retry.pauses =
        retry::Pauses::Exponential { initial: twenty, factor: 1.0, max: twenty };
    settings.retry.give_up_after = Some(Duration::from_hours(1));
    settings
}

#[tokio::test]
async fn what_fails_until_it_is_too_old_is_tried_at_its_last_instant_and_has_expired() {
    let crm = Receiver::start(|_| Act::Answer(502, &[], b"busy")).await;
    let world = World::start(vec![for_an_hour(&crm.url)]);
    world.enqueue(&["crm"]);
    let mut row = world.attempted("crm", 1).await;

    while row.state == State::Pending {
        let pause = row.next_at.duration_since(world.clock.now()).unsigned_abs();
        // The clock knows whole milliseconds only.
        let pause =
            Duration::from_millis(u64::try_from(pause.as_nanos().div_ceil(1_000_000)).unwrap());
        world.advance(pause, "crm").await;
        row = world.attempted("crm", row.attempts.len() + 1).await;
    }

    assert_eq!(row.state, State::Dead(BuryReason::Expired));
    // Pauses of 20 to 24 minutes: the third would end after the hour, and is cut short.
    assert_eq!(row.attempts.len(), 4);
    assert_eq!(row.attempts[3].at, noon() + Duration::from_hours(1));
    assert_eq!(row.attempts[3].snippet.as_deref(), Some(b"busy".as_slice()));
    let line = r#"hookswitch_dead_letters_total{reason="expired",target="crm"} 1"#;
    eventually("the counter", || world.registry.page().contains(line)).await;
    let line = r#"hookswitch_dead_letters_total{reason="expired_while_tripped",target="crm"} 0"#;
    assert!(world.registry.page().contains(line));
}

#[tokio::test]
async fn what_has_grown_too_old_while_nobody_was_there_is_tried_once() {
    for (status, becomes) in [(200, State::Delivered), (502, State::Dead(BuryReason::Expired))] {
        let crm = Receiver::start(move |_| Act::Answer(status, &[], b"")).await;
        let store = Arc::<Memory>::default();
        store.enqueue(&["crm"], "{}", noon().checked_sub(Duration::from_hours(48)).unwrap());

        let world = World::start_with(vec![for_an_hour(&crm.url)], store);

        let row = world.attempted("crm", 1).await;
        assert_eq!((row.state, crm.count()), (becomes, 1));
    }
}

#[tokio::test]
async fn a_lone_event_that_expires_as_the_probe_says_so_too() {
    let crm = Receiver::start(|_| Act::Answer(502, &[], b"")).await;
    let mut settings = breaking(&crm.url);
    let hour = Duration::from_hours(1);
    settings.breaker.failures = 1;
    settings.retry.pauses = retry::Pauses::Exponential { initial: hour, factor: 1.0, max: hour };
    settings.retry.give_up_after = Some(hour);
    let world = World::start(vec![settings]);
    world.enqueue(&["crm"]);
    until(&world, BreakerState::Tripped).await;
    // The lane has looked for what is too old, and found nothing.
    world.advance(PROBE_AFTER, "crm").await;

    move_on(&world, hour);

    eventually("its end", || world.store.count("crm", State::Pending) == 0).await;
    assert_eq!(crm.count(), 2);
    let row = world.store.rows("crm").remove(0);
    assert_eq!(row.state, State::Dead(BuryReason::ExpiredWhileTripped));
}

#[tokio::test]
async fn a_paused_target_queues_says_so_and_goes_on_where_it_was() {
    let crm = Receiver::start(|_| OK).await;
    let world = World::start(vec![http("crm", &crm.url)]);
    let name = TargetName::new("crm");

    assert_eq!(world.handle.pause(&name).await, Ok(true));
    assert_eq!(world.handle.pause(&name).await, Ok(false));
    for _ in 0..5 {
        world.enqueue(&["crm"]);
    }
    everybody_had_a_turn().await;
    let status = world.handle.status().remove(0);
    assert_eq!((status.state, status.in_flight), (TargetState::Paused, 0));
    assert!(status.paused_since.is_some());
    assert_eq!(crm.count(), 0);

    assert_eq!(world.handle.resume(&name).await, Ok(true));

    world.delivered("crm", 5).await;
    assert_eq!(crm.count(), 5);
    assert_eq!(world.handle.status()[0].state, TargetState::Delivering);
    let nobody = TargetName::new("nobody");
    assert_eq!(world.handle.pause(&nobody).await, Err(PauseError::Unknown(nobody)));
}

#[tokio::test]
async fn a_target_that_keeps_up_is_sent_what_is_handed_over_without_a_look() {
    let crm = Receiver::start(|_| OK).await;
    let world = World::start(vec![http("crm", &crm.url)]);
    world.looked("crm").await;
    let looks = world.store.answered.load(Ordering::SeqCst);

    for count in 1..=3 {
        world.store.insert(&["crm"], "{}", world.clock.now());
        world.store.hand_over("crm", |row| row.state == State::Pending);
        world.delivered("crm", count).await;
    }

    assert_eq!(world.store.answered.load(Ordering::SeqCst), looks);
    assert_eq!(crm.count(), 3);
}

#[tokio::test]
async fn what_a_look_has_found_is_not_sent_again_when_it_is_handed_over_late() {
    let crm = Receiver::start(|_| OK).await;
    let world = World::start(vec![http("crm", &crm.url)]);
    world.enqueue(&["crm"]);
    world.delivered("crm", 1).await;

    world.store.insert(&["crm"], "{}", world.clock.now());
    world.store.hand_over("crm", |_| true);

    world.delivered("crm", 2).await;
    assert_eq!(crm.count(), 2);
}

#[tokio::test]
async fn what_is_handed_over_in_a_pause_is_looked_for_after_it() {
    let crm = Receiver::start(|_| OK).await;
    let world = World::start(vec![http("crm", &crm.url)]);
    let name = TargetName::new("crm");
    world.looked("crm").await;
    world.handle.pause(&name).await.unwrap();

    world.store.insert(&["crm"], "{}", world.clock.now());
    world.store.hand_over("crm", |_| true);
    everybody_had_a_turn().await;
    assert_eq!(crm.count(), 0);
    world.handle.resume(&name).await.unwrap();

    world.delivered("crm", 1).await;
    assert_eq!(crm.count(), 1);
}

#[tokio::test]
async fn a_pause_lasts_over_a_restart() {
    let crm = Receiver::start(|_| OK).await;
    let world = World::start(vec![http("crm", &crm.url)]);
    let name = TargetName::new("crm");
    world.handle.pause(&name).await.unwrap();
    assert!(world.drain.finish(Duration::from_secs(10)).await);

    let world = World::start_with(vec![http("crm", &crm.url)], world.store);
    world.enqueue(&["crm"]);
    everybody_had_a_turn().await;
    assert_eq!((crm.count(), world.handle.status()[0].in_flight), (0, 0));

    world.handle.resume(&name).await.unwrap();
    world.delivered("crm", 1).await;
}

#[tokio::test]
async fn a_pause_lasts_over_a_reload_for_which_a_request_is_waited() {
    let (crm, new) = (Receiver::held(|_| OK).await, Receiver::start(|_| OK).await);
    let world = World::start(vec![http("crm", &crm.url)]);
    let name = TargetName::new("crm");
    world.enqueue(&["crm"]);
    eventually("a request that is out", || crm.count() == 1).await;
    world.handle.pause(&name).await.unwrap();
    for _ in 0..3 {
        world.enqueue(&["crm"]);
    }

    let changed = Settings { targets: vec![http("crm", &new.url)] };
    world.handle.reload(&changed, &BTreeSet::new()).await.unwrap();
    crm.release(1);
    world.delivered("crm", 1).await;
    everybody_had_a_turn().await;

    let status = world.handle.status().remove(0);
    assert_eq!((status.state, status.in_flight), (TargetState::Paused, 0));
    assert_eq!((crm.count(), new.count()), (1, 0));
    world.handle.resume(&name).await.unwrap();
    world.delivered("crm", 4).await;
    assert_eq!((crm.count(), new.count()), (1, 3));
}

#[tokio::test]
async fn a_resume_whose_asker_has_left_is_brought_to_its_end() {
    let crm = Receiver::start(|_| OK).await;
    let world = World::start(vec![http("crm", &crm.url)]);
    let name = TargetName::new("crm");
    world.handle.pause(&name).await.unwrap();
    world.enqueue(&["crm"]);

    assert!(world.handle.resume(&name).now_or_never().is_none());

    world.delivered("crm", 1).await;
    assert_eq!(world.handle.status()[0].state, TargetState::Delivering);
}

#[tokio::test]
async fn a_pause_that_fails_after_its_asker_has_left_does_not_hold_the_target() {
    let crm = Receiver::start(|_| OK).await;
    let world = World::start(vec![http("crm", &crm.url)]);
    let name = TargetName::new("crm");
    world.store.pause_fails.store(1, Ordering::SeqCst);

    assert!(world.handle.pause(&name).now_or_never().is_none());
    world.enqueue(&["crm"]);

    world.delivered("crm", 1).await;
    world.store.pause_fails.store(1, Ordering::SeqCst);
    assert!(matches!(world.handle.pause(&name).await, Err(PauseError::Store(_))));
}

#[tokio::test]
async fn a_paused_week_buries_nothing() {
    let crm = Receiver::start(|n| if n == 0 { Act::Answer(500, &[], b"") } else { OK }).await;
    let mut settings = http("crm", &crm.url);
    settings.retry.give_up_after = Some(Duration::from_hours(72));
    let world = World::start(vec![settings]);
    *world.store.now.lock().unwrap() = world.clock.now();
    let name = TargetName::new("crm");
    world.enqueue(&["crm"]);
    world.attempted("crm", 1).await;
    world.handle.pause(&name).await.unwrap();
    world.enqueue(&["crm"]);
    move_on(&world, Duration::from_hours(7 * 24));

    world.handle.resume(&name).await.unwrap();

    world.delivered("crm", 2).await;
}

#[tokio::test]
async fn a_new_event_does_not_wait_for_retries_that_hang() {
    let crm = Receiver::start(|n| match n {
        0..8 => Act::Answer(500, &[], b""),
        8..14 => Act::Hang,
        _ => OK,
    })
    .await;
    let mut settings = http("crm", &crm.url);
    settings.concurrency = 8;
    let world = World::start(vec![settings]);
    for _ in 0..8 {
        world.enqueue(&["crm"]);
    }
    eventually("eight failures", || {
        world.store.rows("crm").iter().all(|row| row.attempts.len() == 1)
    })
    .await;

    move_on(&world, Duration::from_secs(6));
    eventually("the retries that may", || crm.count() == 14).await;
    world.enqueue(&["crm"]);

    world.delivered("crm", 1).await;
    assert_eq!(world.handle.status()[0].in_flight, 6);
}

#[tokio::test]
async fn no_more_attempts_are_made_than_the_rate_allows() {
    let crm = Receiver::start(|_| OK).await;
    let rate = Rate { attempts: 20, per: Duration::from_millis(500) };
    let world = World::start(vec![target::Settings { rate: Some(rate), ..http("crm", &crm.url) }]);
    let began = tokio::time::Instant::now();

    for _ in 0..61 {
        world.enqueue(&["crm"]);
    }
    world.delivered("crm", 61).await;

    // Earlier would be wrong however busy the machine is; later is not judged.
    assert!(began.elapsed() >= Duration::from_millis(1_500));
}

#[tokio::test]
async fn a_lane_that_panics_is_counted_and_begun_anew() {
    let crm = Receiver::start(|_| OK).await;
    let world = World::start(vec![http("crm", &crm.url)]);
    world.looked("crm").await;
    world.store.due_panics.store(1, Ordering::SeqCst);

    world.enqueue(&["crm"]);

    world.delivered("crm", 1).await;
    let line = r#"hookswitch_lane_restarts_total{target="crm"} 1"#;
    assert!(world.registry.page().contains(line), "{}", world.registry.page());
}

#[tokio::test]
async fn a_lane_that_panics_while_its_probe_is_out_probes_again() {
    let crm = Receiver::start(|n| match n {
        0..3 => Act::Answer(500, &[], b""),
        3 => Act::Hang,
        _ => OK,
    })
    .await;
    let renamed_from = Some(TargetName::new("old"));
    let world = World::start(vec![target::Settings { renamed_from, ..breaking(&crm.url) }]);
    for _ in 0..4 {
        world.enqueue(&["crm"]);
    }
    until(&world, BreakerState::Tripped).await;
    move_on(&world, PROBE_AFTER);
    eventually("the probe", || crm.count() == 4).await;
    world.store.adopt_panics.store(1, Ordering::SeqCst);

    world.enqueue(&["old"]);

    until(&world, BreakerState::Admitting).await;
    let line = r#"hookswitch_lane_restarts_total{target="crm"} 1"#;
    assert!(world.registry.page().contains(line), "{}", world.registry.page());
}

#[tokio::test]
async fn a_reload_lets_no_attempt_go_before_its_rate_allows() {
    let crm = Receiver::start(|_| OK).await;
    let rate = Some(Rate { attempts: 1, per: Duration::from_hours(1) });
    let settings = target::Settings { rate, ..http("crm", &crm.url) };
    let world = World::start(vec![settings.clone()]);
    world.enqueue(&["crm"]);
    world.delivered("crm", 1).await;
    world.enqueue(&["crm"]);

    let touched = vec![target::Settings { concurrency: 2, ..settings.clone() }];
    world.handle.reload(&Settings { targets: touched }, &BTreeSet::new()).await.unwrap();
    world.looked("crm").await;
    everybody_had_a_turn().await;
    assert_eq!((crm.count(), world.handle.status()[0].in_flight), (1, 0));

    let renamed_from = Some(TargetName::new("crm"));
    let renamed = target::Settings { name: TargetName::new("sales"), renamed_from, ..settings };
    world
        .handle
        .reload(&Settings { targets: vec![renamed.clone()] }, &BTreeSet::new())
        .await
        .unwrap();
    world.looked("sales").await;
    everybody_had_a_turn().await;
    assert_eq!((crm.count(), world.handle.status()[0].in_flight), (1, 0));

    // What counts is the last attempt, and the rate that is in force now.
    let rate = Some(Rate { attempts: 1000, per: Duration::from_secs(1) });
    let faster = target::Settings { rate, ..renamed };
    world.handle.reload(&Settings { targets: vec![faster] }, &BTreeSet::new()).await.unwrap();
    eventually("the second", || crm.count() == 2).await;
}

#[tokio::test]
async fn the_gauges_of_a_changed_target_tell_of_the_lane_that_runs() {
    let crm = Receiver::held(|n| if n < 3 { Act::Answer(500, &[], b"") } else { OK }).await;
    let world = World::start(vec![target::Settings { concurrency: 3, ..breaking(&crm.url) }]);
    for _ in 0..4 {
        world.enqueue(&["crm"]);
    }
    eventually("three requests", || crm.count() == 3).await;
    crm.release(3);
    until(&world, BreakerState::Tripped).await;
    move_on(&world, PROBE_AFTER);
    eventually("the probe", || crm.count() == 4).await;
    let tells = |limit: u8, breaker: u8| {
        let page = world.registry.page();
        page.contains(&format!(r#"hookswitch_target_concurrency_limit{{target="crm"}} {limit}"#))
            && page
                .contains(&format!(r#"hookswitch_target_breaker_state{{target="crm"}} {breaker}"#))
    };
    assert!(tells(3, 1), "{}", world.registry.page());

    let changed = vec![target::Settings { concurrency: 2, ..breaking(&crm.url) }];
    world.handle.reload(&Settings { targets: changed }, &BTreeSet::new()).await.unwrap();

    assert!(tells(3, 1), "{}", world.registry.page());
    crm.release(1_000);
    eventually("the new lane", || tells(2, 0)).await;
}

#[tokio::test]
async fn targets_come_change_and_go_while_the_others_run() {
    let (crm, new, bi) = (
        Receiver::held(|_| OK).await,
        Receiver::start(|_| OK).await,
        Receiver::start(|_| OK).await,
    );
    let world = World::start(vec![
        target::Settings { concurrency: 1, ..http("crm", &crm.url) },
        http("gone", &bi.url),
    ]);
    for _ in 0..3 {
        world.enqueue(&["crm"]);
    }
    eventually("a request that is out", || crm.count() == 1).await;

    let targets = vec![http("bi", &bi.url), http("crm", &new.url)];
    world.handle.reload(&Settings { targets }, &BTreeSet::new()).await.unwrap();
    world.enqueue(&["bi"]);
    world.delivered("bi", 1).await;
    let names: Vec<_> = world.handle.status().iter().map(|status| status.name.clone()).collect();
    assert_eq!(names, [TargetName::new("bi"), TargetName::new("crm")]);
    // The new lane waits for the old one: two would be over the limit together.
    assert_eq!(new.count(), 0);
    crm.release(1);

    world.delivered("crm", 3).await;
    assert_eq!((crm.count(), new.count()), (1, 2));
    world.enqueue(&["gone"]);
    everybody_had_a_turn().await;
    assert_eq!(world.store.count("gone", State::Pending), 1);
    let line = r#"hookswitch_target_in_flight{target="gone"} 0"#;
    assert!(world.registry.page().contains(line));
}

#[tokio::test]
async fn a_renamed_target_takes_over_once_nothing_is_out_under_its_old_name() {
    let (old, new) = (Receiver::held(|_| OK).await, Receiver::start(|_| OK).await);
    let bi = Receiver::start(|_| OK).await;
    let world = World::start(vec![
        target::Settings { concurrency: 1, ..http("old", &old.url) },
        http("bi", &bi.url),
    ]);
    world.enqueue(&["old"]);
    world.enqueue(&["old"]);
    eventually("a request that is out", || old.count() == 1).await;
    let renamed = Some(TargetName::new("old"));
    let targets = vec![
        target::Settings { renamed_from: renamed, ..http("new", &new.url) },
        http("bi", &bi.url),
    ];

    world.handle.reload(&Settings { targets }, &BTreeSet::new()).await.unwrap();
    world.enqueue(&["bi", "new"]);
    world.delivered("bi", 1).await;
    assert_eq!((new.count(), world.store.rows("old").len()), (0, 2));
    old.release(1);

    world.delivered("new", 3).await;
    assert_eq!((old.count(), new.count()), (1, 2));
}

#[tokio::test]
async fn what_is_committed_under_the_old_name_after_a_renaming_is_taken_over_too() {
    for by_call in [false, true] {
        let (new, bi) = (Receiver::held(|_| OK).await, Receiver::start(|_| OK).await);
        let renamed_from = Some(TargetName::new("old"));
        let world = World::start(vec![
            target::Settings { by_call, renamed_from, ..http("new", &new.url) },
            http("bi", &bi.url),
        ]);
        world.enqueue(&["new"]);
        eventually("a request that is out", || new.count() == 1).await;

        world.enqueue(&["old", "bi"]);

        world.delivered("bi", 1).await;
        if by_call {
            // It may be older than what is out, and of the same call.
            assert_eq!(world.store.rows("old").len(), 1);
        } else {
            eventually("the second", || new.count() == 2).await;
        }
        new.release(2);
        world.delivered("new", 2).await;
    }
}

#[tokio::test]
async fn a_reload_that_cannot_be_leaves_everything_as_it_is() {
    let crm = Receiver::start(|_| OK).await;
    let world = World::start(vec![http("crm", &crm.url)]);
    let mut wrong = http("bi", &crm.url);
    if let Place::Http(http) = &mut wrong.place {
        let token = crate::secret::Secret::new(b"line\nbreak".to_vec());
        http.auth = Some(target::Auth::Bearer(token));
    }

    let settings = Settings { targets: vec![wrong] };
    assert!(world.handle.reload(&settings, &BTreeSet::new()).await.is_err());

    world.enqueue(&["crm"]);
    world.delivered("crm", 1).await;
    assert_eq!(world.handle.status().len(), 1);
    assert_eq!(PauseError::from(StoreError::Closed).to_string(), StoreError::Closed.to_string());
}
