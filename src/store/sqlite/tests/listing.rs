//! What a page of a list or a step through it costs, whatever it is taken out of: counted in the
//! steps of `SQLite`'s machine, not in time.

use std::sync::{
    Arc, Barrier,
    atomic::{AtomicU64, Ordering},
};

use jiff::Timestamp;
use rusqlite::{Connection, StatementStatus};

use super::Place;
use crate::{
    event::SourceName,
    route::TargetName,
    store::{
        BuryReason, DeadFilter, DeliveryId, Store as _,
        sqlite::{
            Sqlite,
            find::{self, Found},
            queries::SCANNED_MAX,
            readers::READERS,
            schema,
        },
    },
};

/// Dead letters in the store.
const LETTERS: i64 = 1_000_000;

/// Rows of a page, as the command asks for them.
const PAGE: usize = 50;

/// Steps of the machine for one row that is listed, or looked at and passed over.
const STEPS_OF_A_ROW: u64 = 40;

/// Steps of the machine for a page whatever is on it: the name of a target, and the way to the row
/// that it begins at.
const STEPS_OF_A_PAGE: u64 = 400;

/// A million dead letters for `crm`, all `permanent` but for the last, which is `expired`; every
/// fifty-thousandth is for `rare`, and the last is of another source.
fn a_million(place: &Place) -> Connection {
    drop(place.try_open().unwrap());
    let connection = Connection::open(place.path()).unwrap();
    connection
        .execute_batch(&format!(
            "BEGIN;
             INSERT INTO sources (id, name, accepted, routed) VALUES (1, 'calls', 0, 0), (2, 'other', 0, 0);
             INSERT INTO targets (id, name) VALUES (1, 'crm'), (2, 'rare'), (3, 'none');
             CREATE TEMP TABLE n AS
                 WITH RECURSIVE n(seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM n LIMIT {LETTERS})
                 SELECT seq FROM n;
             INSERT INTO events (seq, id, source, provider, received_at, state, status, call_id)
                 SELECT seq, randomblob(16), iif(seq = {LETTERS}, 2, 1), '11x', seq, 'routed',
                        'completed', 'call.' || seq
                 FROM n;
             INSERT INTO deliveries (id, target, state, round, attempts, since, settled_at, reason)
                 SELECT seq * 4096, iif(seq % 50000 = 0, 2, 1), 2, 0, 1, seq, seq,
                        iif(seq = {LETTERS}, 'expired', 'permanent')
                 FROM n;
             DROP TABLE n;
             UPDATE targets SET (enqueued, dead) = (SELECT count(*), count(*) FROM deliveries d
                                                    WHERE d.target = targets.id);
             COMMIT;"
        ))
        .unwrap();
    drop(connection);
    schema::open_reader(&place.path()).unwrap()
}

/// One look for dead letters, and the steps it took.
fn look(
    connection: &mut Connection,
    filter: &DeadFilter,
    after: Option<DeliveryId>,
) -> (Found<find::Dead, DeliveryId>, u64) {
    let steps = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&steps);
    let count = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        false
    };
    connection.progress_handler(1, Some(count)).unwrap();
    let found = find::dead(connection, filter, after, PAGE).unwrap();
    connection.progress_handler(0, None::<fn() -> bool>).unwrap();
    (found, steps.load(Ordering::Relaxed))
}

#[test]
fn a_page_of_dead_letters_costs_the_same_at_either_end_of_a_million() {
    let place = Place::new();
    let mut connection = a_million(&place);
    let of = |target: &str| DeadFilter {
        target: Some(TargetName::new(target)),
        ..DeadFilter::default()
    };
    let row = |seq: i64| Some(DeliveryId(seq * 4096));
    let bound = STEPS_OF_A_PAGE + STEPS_OF_A_ROW * u64::try_from(PAGE).unwrap();

    // By an index: no row is looked at that is not on the page.
    for (filter, after, listed) in [
        (DeadFilter::default(), None, PAGE),
        (DeadFilter::default(), row(LETTERS / 2), PAGE),
        (DeadFilter::default(), row(LETTERS - 10), 10),
        (of("crm"), None, PAGE),
        (of("crm"), row(LETTERS - 10), 9),
        (of("rare"), None, 20),
        (of("rare"), row(LETTERS - 10), 1),
        (of("none"), None, 0),
    ] {
        let (found, steps) = look(&mut connection, &filter, after);
        assert_eq!(found.items.len(), listed, "{filter:?} after {after:?}");
        assert_eq!(found.next.is_some(), listed == PAGE, "{filter:?} after {after:?}");
        assert!(steps < bound, "{filter:?} after {after:?}: {steps} steps");
    }
}

#[tokio::test]
async fn a_page_that_finds_little_in_a_million_ends_and_says_where_the_next_goes_on() {
    let place = Place::new();
    let mut connection = a_million(&place);
    let scanned = i64::try_from(SCANNED_MAX).unwrap();
    let bound = STEPS_OF_A_PAGE + STEPS_OF_A_ROW * u64::try_from(SCANNED_MAX).unwrap();
    let last = DeliveryId(LETTERS * 4096);
    let before_last = DeliveryId((LETTERS - 5) * 4096);
    let any = DeadFilter::default;

    // No index has these: rows are passed over, a bounded number for each page.
    for filter in [
        DeadFilter { reason: Some(BuryReason::Expired), ..any() },
        DeadFilter { source: Some(SourceName::new("other")), ..any() },
        DeadFilter { call: Some(format!("call.{LETTERS}")), ..any() },
        DeadFilter { since: Some(Timestamp::from_millisecond(LETTERS).unwrap()), ..any() },
    ] {
        let mut after = None;
        for _ in 0..3 {
            let (found, steps) = look(&mut connection, &filter, after);
            assert!(steps < bound, "{filter:?} after {after:?}: {steps} steps");
            assert!(found.items.is_empty() && found.next > after, "{filter:?} after {after:?}");
            after = found.next;
        }
        let (found, steps) = look(&mut connection, &filter, Some(before_last));
        assert!(steps < STEPS_OF_A_PAGE, "{filter:?}: {steps} steps");
        let found: Vec<_> = found.items.into_iter().map(|dead| dead.id).collect();
        assert_eq!(found, [last], "{filter:?}");
    }

    // A page of the store is one such look.
    let store = place.try_open().unwrap();
    let rare = DeadFilter { reason: Some(BuryReason::Expired), ..any() };
    let page = store.dead_letters(rare.clone(), None, PAGE).await.unwrap();
    let next = page.next.expect("there is more to look at");
    assert!(page.letters.is_empty() && next.0 / 4096 <= scanned, "{next:?}");
    let end = store.dead_letters(rare, Some(before_last), PAGE).await.unwrap();
    assert_eq!((end.letters.len(), end.next), (1, None));
}

/// The steps that the readers of a store took to look for dead letters since they were last asked.
async fn steps_of_looks(store: &Sqlite) -> u64 {
    // Each of them takes one of the questions, and waits until the others have theirs.
    let all = Arc::new(Barrier::new(READERS));
    let asked = (0..READERS).map(|_| {
        let all = Arc::clone(&all);
        store.readers.ask(move |connection| {
            all.wait();
            let query = connection.prepare_cached(&find::dead_after(None))?;
            Ok(query.reset_status(StatementStatus::VmStep))
        })
    });
    let steps = futures_util::future::try_join_all(asked).await.unwrap();
    steps.into_iter().map(|steps| u64::try_from(steps).unwrap()).sum()
}

#[tokio::test]
async fn a_few_of_a_million_dead_letters_are_moved_step_by_step_in_one_pass() {
    let place = Place::new();
    drop(a_million(&place));
    let connection = Connection::open(place.path()).unwrap();
    connection.execute_batch("UPDATE deliveries SET reason = 'expired' WHERE target = 2").unwrap();
    drop(connection);
    let store = place.try_open().unwrap();
    let rare = DeadFilter { reason: Some(BuryReason::Expired), ..DeadFilter::default() };
    let (mut after, mut pages) = (None, 0);
    loop {
        let page = store.dead_letters(rare.clone(), after, PAGE).await.unwrap();
        (after, pages) = (page.next, pages + 1);
        if after.is_none() {
            break;
        }
    }
    let pass = steps_of_looks(&store).await;
    assert!(pass > u64::try_from(LETTERS).unwrap(), "{pages} pages in {pass} steps");

    let (mut moved, mut idle) = (0, 0);
    loop {
        let step = store.discard(rare.clone(), after, 1).await.unwrap();
        (moved, idle) = (moved + step.letters, idle + u64::from(step.letters == 0));
        // All that lies between two steps is looked at by the second.
        let row = |at: Option<DeliveryId>| at.map_or(0, |id| id.0 / 4096);
        let looked = step.next.map_or(0, |_| row(step.next) - row(after));
        assert!((0..=i64::try_from(SCANNED_MAX).unwrap()).contains(&looked), "{looked} rows");
        after = step.next;
        if after.is_none() {
            break;
        }
    }
    let steps = steps_of_looks(&store).await;

    assert_eq!(moved, 20);
    assert!(idle > 20, "most steps find none: {idle}");
    assert!(steps < pass + pass / 10, "{steps} steps, where one pass takes {pass}");
}
