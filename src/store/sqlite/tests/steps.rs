//! Deeds of an operator that fail in the middle, or are cut off between two steps: nothing is left
//! half-done, and the same deed again goes on to its end.

use std::{fs, time::Duration};

use bytes::Bytes;
use rusqlite::{Connection, types::Value};

use super::Place;
use crate::{
    route::TargetName,
    store::{
        Admission, Erased, Erasure, Fate, Settlement, Store, StoreError,
        conformance::{
            Backend as _, admission, assert_balanced, attempt, due, fingerprint, quarantined,
        },
        sqlite::{Sqlite, amend::Amend},
        tidy,
    },
};

const NUMBER: &str = "+61355500177";

/// Every row of every table.
fn content(place: &Place) -> Vec<(String, Vec<Value>)> {
    let connection = Connection::open(place.path()).unwrap();
    let mut content = Vec::new();
    for table in [
        "sources",
        "targets",
        "events",
        "requests",
        "deliveries",
        "attempts",
        "seen_lately",
        "seen",
    ] {
        let mut query = connection.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns = query.column_count();
        let rows = query.query_map([], |row| (0..columns).map(|n| row.get(n)).collect()).unwrap();
        content.extend(rows.map(|row| (table.to_owned(), row.unwrap())));
    }
    content
}

fn has_events(place: &Place) -> bool {
    content(place).iter().any(|(table, _)| table == "events")
}

/// Has every such statement fail, until it is mended.
fn breach(place: &Place, statement: &str) {
    let connection = Connection::open(place.path()).unwrap();
    connection
        .execute_batch(&format!(
            "CREATE TRIGGER breach BEFORE {statement} \
             BEGIN SELECT RAISE(ABORT, 'as a test wants it'); END"
        ))
        .unwrap();
}

fn mend(place: &Place) {
    Connection::open(place.path()).unwrap().execute_batch("DROP TRIGGER breach").unwrap();
}

/// Waits until the store that opens its file anew takes callbacks again.
async fn recovered(store: &Sqlite) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while store.refusal().is_some() {
        assert!(tokio::time::Instant::now() < deadline, "it does not come back");
        tokio::task::yield_now().await;
    }
}

/// Has a deed fail in each of the statements: nothing changes, and nothing is in the way of it
/// afterwards.
async fn fails_as_a_whole<T: std::fmt::Debug>(
    place: &Place,
    store: &Sqlite,
    statements: &[&str],
    deed: impl AsyncFn(&Sqlite) -> Result<T, StoreError>,
) {
    let (before, totals) = (content(place), store.totals());
    for statement in statements {
        breach(place, statement);
        let failed = deed(store).await;
        assert!(failed.is_err(), "{statement}: {failed:?}");
        mend(place);
        recovered(store).await;
        assert_eq!(content(place), before, "{statement}");
        assert_eq!(store.totals(), totals, "{statement}");
    }
}

/// What a power cut would leave at this moment.
fn cut_off(place: &Place) -> Place {
    let copied = Place { clock: place.clock.clone(), ..Place::new() };
    for suffix in ["", "-wal"] {
        let name = |place: &Place| format!("{}{suffix}", place.path().display());
        if fs::exists(name(place)).unwrap() {
            fs::copy(name(place), name(&copied)).unwrap();
        }
    }
    copied
}

fn of_number(place: &Place, targets: &[&str]) -> Admission {
    let mut admitted = admission(&place.clock, targets);
    admitted.request.body = Bytes::from(format!("{{\"to\":\"{NUMBER}\"}}"));
    if let Fate::Readable { json, facts, .. } = &mut admitted.fate {
        *json = admitted.request.body.clone();
        facts.to = Some(NUMBER.to_owned());
    }
    admitted
}

async fn settle_all(place: &Place, store: &Sqlite, name: &str, settlement: Settlement) {
    let now = place.clock.now();
    loop {
        let found = due(store, name, now).await;
        if found.is_empty() {
            return;
        }
        for delivery in found {
            store.settle(delivery, attempt(1, now), settlement).await.unwrap();
        }
    }
}

async fn erase(store: &Sqlite, what: &Erasure) -> Result<Erased, StoreError> {
    let mut all = store.erase(what.clone(), None).await?;
    while all.next.is_some() {
        all = all.and(store.erase(what.clone(), all.next).await?);
    }
    Ok(all)
}

/// Whether the number stands in the bytes of the files.
fn occurs(place: &Place) -> bool {
    ["", "-wal"].iter().any(|suffix| {
        let name = format!("{}{suffix}", place.path().display());
        fs::read(name).is_ok_and(|bytes| memchr::memmem::find(&bytes, NUMBER.as_bytes()).is_some())
    })
}

#[tokio::test]
async fn a_release_that_fails_leaves_the_event_waiting_and_can_be_done_again() {
    let place = Place::new();
    let store = place.try_open().unwrap();
    // So that the names of the targets are known.
    store.commit(admission(&place.clock, &["crm", "archive"])).await.unwrap();
    settle_all(&place, &store, "crm", Settlement::Delivered).await;
    settle_all(&place, &store, "archive", Settlement::Delivered).await;
    let first = quarantined(&place.clock);
    store.commit(first.clone()).await.unwrap();
    let released = Admission {
        fingerprint: Some(fingerprint(7)),
        fate: admission(&place.clock, &["crm", "archive"]).fate,
        ..first
    };

    let statements = [
        "UPDATE ON events",
        "INSERT ON deliveries",
        "INSERT ON seen",
        "UPDATE ON sources",
        "UPDATE ON targets",
    ];
    fails_as_a_whole(&place, &store, &statements, async |store| {
        store.release(released.clone()).await
    })
    .await;

    assert_eq!(store.release(released.clone()).await, Ok(true));
    assert_eq!(store.release(released.clone()).await, Ok(false));
    assert_eq!(due(&*store, "crm", place.clock.now()).await.len(), 1);
    assert_eq!(due(&*store, "archive", place.clock.now()).await.len(), 1);
    assert_balanced(&store.totals());
}

/// History of both kinds: delivered long ago, and a dead letter that nobody looked at.
async fn history(place: &Place, store: &Sqlite, events: usize) {
    for _ in 0..events {
        store.commit(admission(&place.clock, &["crm"])).await.unwrap();
    }
    settle_all(place, store, "crm", Settlement::Delivered).await;
    store.commit(admission(&place.clock, &["archive"])).await.unwrap();
    settle_all(place, store, "archive", crate::store::conformance::BURIED).await;
    place.clock.advance(Duration::from_hours(91 * 24));
}

#[tokio::test]
async fn a_step_of_a_purge_that_fails_removes_nothing_and_the_next_pass_does() {
    let place = Place::new();
    let store = place.try_open().unwrap();
    history(&place, &store, 3).await;

    let statements = [
        "DELETE ON attempts",
        "DELETE ON deliveries",
        "DELETE ON requests",
        "DELETE ON events",
        "UPDATE ON deliveries",
        "UPDATE ON targets",
        "INSERT ON marks",
    ];
    fails_as_a_whole(&place, &store, &statements, async |store| store.purge(None).await).await;

    let (mut history, mut dead) = (0, 0);
    let counted = |step: &crate::store::Purged| {
        history += step.history;
        dead += step.dead;
    };
    tidy::pass(&*store, counted).await.unwrap();
    assert_eq!((history, dead), (4, 1));
    assert_balanced(&store.totals());
    assert!(!has_events(&place));
}

#[tokio::test]
async fn a_purge_that_is_cut_off_after_any_step_is_gone_on_with_by_the_next() {
    let place = Place::new();
    let store = place.try_open().unwrap();
    history(&place, &store, 200).await;
    let (mut after, mut steps) = (None, 0);
    loop {
        let step = store.purge(after).await.unwrap();
        steps += 1;

        let cut = cut_off(&place);
        let left = cut.try_open().unwrap();
        assert_eq!(left.totals(), store.totals(), "after step {steps}");
        assert_balanced(&left.totals());
        tidy::pass(&*left, |_| {}).await.unwrap();
        assert_eq!(left.totals().deliveries[&TargetName::new("crm")].delivered, 200);
        assert_eq!(left.totals().deliveries[&TargetName::new("archive")].discarded, 1);
        assert!(!has_events(&cut), "after step {steps}");

        match step.next {
            None => break,
            next => after = next,
        }
    }
    assert!(steps > 3, "{steps}");
}

/// A store in which the fingerprint of one event stands in the tree, and another's is noted.
async fn remembered(place: &Place) -> (std::sync::Arc<Sqlite>, Vec<Admission>) {
    let store = place.try_open().unwrap();
    let mut admitted = Vec::new();
    for n in 0..2 {
        let noted = Admission {
            fingerprint: Some(fingerprint(n)),
            ..of_number(place, &["crm", "archive"])
        };
        store.commit(noted.clone()).await.unwrap();
        admitted.push(noted);
    }
    settle_all(place, &store, "archive", crate::store::conformance::BURIED).await;
    store.close().await.unwrap();
    drop(store);
    Connection::open(place.path())
        .unwrap()
        .execute_batch(
            "INSERT INTO seen (source, fingerprint, until, id, quarantined) \
             SELECT source, fingerprint, until, id, quarantined FROM seen_lately WHERE seq = 1; \
             DELETE FROM seen_lately WHERE seq = 1;",
        )
        .unwrap();
    (place.try_open().unwrap(), admitted)
}

#[tokio::test]
async fn an_erasure_that_fails_removes_nothing_and_the_next_leaves_no_trace() {
    let place = Place::new();
    let (store, admitted) = remembered(&place).await;
    let number = Erasure::Number(NUMBER.to_owned());

    let statements = [
        "DELETE ON attempts",
        "DELETE ON deliveries",
        "DELETE ON requests",
        "DELETE ON events",
        "DELETE ON seen_lately",
        "DELETE ON seen",
        "UPDATE ON targets",
        "INSERT ON marks",
    ];
    fails_as_a_whole(&place, &store, &statements, async |store| erase(store, &number).await).await;

    let erased = erase(&store, &number).await.unwrap();
    assert_eq!((erased.events, erased.deliveries, erased.fingerprints), (2, 4, 2), "{erased:?}");
    assert_balanced(&store.totals());
    assert!(!occurs(&place));
    let left = content(&place).into_iter().map(|(table, _)| table);
    assert!(left.into_iter().all(|table| table == "sources" || table == "targets"));
    for again in admitted {
        assert!(!store.commit(again).await.unwrap().is_duplicate(), "it is not remembered");
    }
}

#[tokio::test]
async fn what_an_erasure_that_was_cut_off_left_in_the_files_the_next_one_removes() {
    let place = Place::new();
    let (store, _) = remembered(&place).await;

    // The events are removed, and the files not yet cleared of them.
    store.amend(Amend::Erase { events: vec![1, 2], keys: Vec::new() }).await.unwrap();
    let cut = cut_off(&place);
    assert!(occurs(&cut), "the log has it still");
    let left = cut.try_open().unwrap();
    let erased = erase(&left, &Erasure::Number(NUMBER.to_owned())).await.unwrap();

    assert_eq!(erased.events, 0);
    assert!(!occurs(&cut));
}

#[tokio::test]
async fn an_erasure_that_is_cut_off_after_any_step_is_gone_on_with_from_the_start() {
    let place = Place::new();
    let store = place.try_open().unwrap();
    for _ in 0..150 {
        store.commit(of_number(&place, &["crm"])).await.unwrap();
        store.commit(admission(&place.clock, &["crm"])).await.unwrap();
    }
    let number = Erasure::Number(NUMBER.to_owned());
    let (mut erased, mut steps) = (Erased::default(), 0);
    loop {
        erased = erased.and(store.erase(number.clone(), erased.next).await.unwrap());
        steps += 1;

        let cut = cut_off(&place);
        let left = cut.try_open().unwrap();
        assert_balanced(&left.totals());
        let rest = erase(&left, &number).await.unwrap();
        assert_eq!(erased.events + rest.events, 150, "after step {steps}");
        assert!(!occurs(&cut));

        if erased.next.is_none() {
            break;
        }
    }
    assert!(steps >= 3, "{steps}");
    let crm = store.totals().deliveries[&TargetName::new("crm")];
    assert_eq!((crm.pending, crm.discarded), (150, 150));
}

fn event_count(place: &Place, path: std::path::PathBuf) -> usize {
    let settings = crate::store::Settings { path, ..place.settings() };
    let store =
        Sqlite::open(&settings, place.clock.clone(), &crate::metrics::Metrics::new()).unwrap();
    usize::try_from(store.totals().events.values().map(|of| of.accepted).sum::<u64>()).unwrap()
}

#[tokio::test]
async fn a_backup_that_fails_leaves_nothing_and_can_be_made_again() {
    let place = Place::new();
    let store = place.try_open().unwrap();
    store.commit(admission(&place.clock, &["crm"])).await.unwrap();
    let to = place.backup_path();
    let part = to.with_extension("db.part");
    let away = place.folder.path().join("away.db");

    fs::rename(place.path(), &away).unwrap();
    let failed = store.backup(to.clone()).await;
    fs::rename(&away, place.path()).unwrap();

    assert!(matches!(failed, Err(StoreError::Io(_))), "{failed:?}");
    assert!(!to.exists() && !part.exists(), "what is not whole is not there");
    // What was being written when the process was killed.
    fs::write(&part, vec![b'x'; 100_000]).unwrap();
    assert_eq!(store.backup(to.clone()).await, Ok(()));
    assert!(!part.exists());
    assert_eq!(event_count(&place, to), 1);
}

#[tokio::test]
async fn a_backup_that_was_cut_off_at_its_end_is_not_written_over_by_the_next() {
    let place = Place::new();
    let store = place.try_open().unwrap();
    store.commit(admission(&place.clock, &["crm"])).await.unwrap();
    let (to, kept) = (place.backup_path(), place.folder.path().join("backups/kept.db"));
    store.backup(to.clone()).await.unwrap();
    // It was killed when the backup had its name, and its first name was not removed yet.
    fs::hard_link(&to, to.with_extension("db.part")).unwrap();
    fs::rename(&to, &kept).unwrap();
    store.commit(admission(&place.clock, &["crm"])).await.unwrap();

    assert_eq!(store.backup(to.clone()).await, Ok(()));

    assert_eq!(event_count(&place, kept), 1);
    assert_eq!(event_count(&place, to), 2);
}

#[tokio::test]
async fn two_backups_to_one_name_do_not_write_into_each_other() {
    let place = Place::new();
    let store = place.try_open().unwrap();
    store.commit(admission(&place.clock, &["crm"])).await.unwrap();
    let to = place.backup_path();
    let part = to.with_extension("db.part");
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    let other = fs::File::create(&part).unwrap();
    other.lock().unwrap();

    let refused = store.backup(to.clone()).await;

    assert!(matches!(refused, Err(StoreError::Io(_))), "{refused:?}");
    assert!(part.exists() && !to.exists());
    drop(other);
    assert_eq!(store.backup(to).await, Ok(()));
}
