//! Failures, made by real means: a full file, a commit that is refused, a file locked by others,
//! a disk below its reserve, a process that vanishes.

use std::{
    fs::{self, File},
    sync::Arc,
    time::Duration,
};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::Place;
use crate::{
    clock::Clock,
    metrics::Metrics,
    route::TargetName,
    store::{
        Admission, Receipt, Settings, Settlement, Store as _, StoreError,
        conformance::{admission, assert_balanced, attempt, due, fingerprint},
        metrics::Series,
        sqlite::{
            Sqlite,
            amend::{Amend, Amended},
            disk::Disk,
            log::Log,
            open,
            readers::READERS,
            schema,
            writer::{JOBS_WAITING_MAX, Job, Shared, Writer},
        },
    },
};

type Answer = oneshot::Receiver<Result<Receipt, StoreError>>;

/// A writer without its thread, so that its connection can be set up to fail.
fn writer(place: &Place) -> Writer {
    shared_writer(place).1
}

/// The same, and what it shares with those who ask it.
fn shared_writer(place: &Place) -> (Arc<Shared>, Writer) {
    let path = open::prepare(&place.path()).unwrap();
    let connection = schema::open_writer(&path).unwrap();
    let series = Series::register(&Metrics::new());
    let disk = Disk::of(&path, 0);
    let shared = Arc::new(Shared::new(path, place.clock.clone(), disk, series));
    (Arc::clone(&shared), Writer::new(shared, connection).unwrap())
}

fn jobs(clock: &Clock, count: u8) -> (Vec<Job>, Vec<Answer>) {
    (0..count)
        .map(|n| {
            let (reply, answer) = oneshot::channel();
            let admission = marked(clock, n);
            (Job::Commit(Box::new(admission), reply), answer)
        })
        .unzip()
}

fn marked(clock: &Clock, n: u8) -> Admission {
    Admission { fingerprint: Some(fingerprint(n)), ..admission(clock, &["crm", "archive"]) }
}

/// Looks up as a nudge makes the writer do, until it says that something is wrong.
async fn until_failed(writer: &mut Writer) -> StoreError {
    loop {
        match writer.commit(Vec::new()) {
            Ok(()) => tokio::task::yield_now().await,
            Err(error) => return error,
        }
    }
}

async fn all_failed(answers: Vec<Answer>) {
    for answer in answers {
        let answer = answer.await.unwrap();
        assert!(matches!(answer, Err(StoreError::Io(_))), "{answer:?}");
    }
}

/// The writer's file, opened as after a crash: only the first `kept` events are there, whole.
async fn holds_exactly(place: &Place, kept: usize) {
    let store = place.try_open().unwrap();
    for target in ["crm", "archive"] {
        assert_eq!(due(&*store, target, place.clock.now()).await.len(), kept, "{target}");
    }
    let totals = store.totals();
    assert_balanced(&totals);
    let pending: u64 = totals.deliveries.values().map(|totals| totals.pending).sum();
    assert_eq!(pending, 2 * u64::try_from(kept).unwrap());
    // Nothing of the failed ones is remembered either: their repeats are no duplicates.
    for n in 100..110 {
        assert!(!store.commit(marked(&place.clock, n)).await.unwrap().is_duplicate());
    }
}

#[tokio::test]
async fn when_the_file_is_full_the_whole_group_fails_and_nothing_of_it_stays() {
    let place = Place::new();
    let mut writer = writer(&place);
    let (group, answers) = jobs(&place.clock, 3);
    writer.commit(group).unwrap();
    for answer in answers {
        answer.await.unwrap().unwrap();
    }
    let pages: i64 =
        writer.connection().pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    writer.connection().pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();

    let (group, answers): (Vec<_>, Vec<_>) = (100..110)
        .map(|n| {
            let (reply, answer) = oneshot::channel();
            let mut admission = marked(&place.clock, n);
            admission.request.body = vec![b' '; 20_000].into();
            (Job::Commit(Box::new(admission), reply), answer)
        })
        .unzip();
    let failed = writer.commit(group);

    let Err(StoreError::Io(why)) = failed else { panic!("{failed:?}") };
    assert!(why.contains("full"), "{why}");
    all_failed(answers).await;
    drop(writer);
    holds_exactly(&place, 3).await;
}

#[tokio::test]
async fn when_the_commit_itself_fails_nobody_gets_a_receipt_and_nothing_stays() {
    let place = Place::new();
    let mut writer = writer(&place);
    // A promise that is checked only by COMMIT, and broken by the first event.
    writer
        .connection()
        .execute_batch(
            "PRAGMA foreign_keys = ON;
             CREATE TEMP TABLE one (id INTEGER PRIMARY KEY);
             CREATE TEMP TABLE many (one REFERENCES one DEFERRABLE INITIALLY DEFERRED);
             CREATE TEMP TRIGGER breach AFTER INSERT ON main.events
             BEGIN INSERT INTO many VALUES (1); END;",
        )
        .unwrap();

    let (group, answers) = jobs(&place.clock, 5);
    let failed = writer.commit(group);

    let Err(StoreError::Io(why)) = failed else { panic!("{failed:?}") };
    assert!(why.contains("FOREIGN KEY"), "{why}");
    all_failed(answers).await;
    drop(writer);
    holds_exactly(&place, 0).await;
}

#[test]
fn who_is_configured_is_noted_however_much_waits() {
    let place = Place::new();
    let (shared, _writer) = shared_writer(&place);
    let shrink = || Job::Amend(Box::new(Amend::Shrink), oneshot::channel().0);
    while shared.queue.push(shrink(), JOBS_WAITING_MAX).is_ok() {}

    shared.configure(vec![TargetName::new("crm")]);

    assert_eq!(shared.queue.len(), JOBS_WAITING_MAX + 1);
}

#[tokio::test]
async fn an_erasure_that_fails_leaves_later_removals_as_cheap_as_before() {
    let place = Place::new();
    let mut writer = writer(&place);
    let (group, _answers) = jobs(&place.clock, 1);
    writer.commit(group).unwrap();
    let overwrites = |writer: &Writer| -> i64 {
        writer.connection().pragma_query_value(None, "secure_delete", |row| row.get(0)).unwrap()
    };
    let before = overwrites(&writer);
    writer
        .connection()
        .execute_batch(
            "CREATE TEMP TRIGGER breach BEFORE DELETE ON main.requests
             BEGIN SELECT RAISE(ABORT, 'as a test wants it'); END;",
        )
        .unwrap();

    let (reply, answer) = oneshot::channel::<Result<Amended, StoreError>>();
    let erase = Amend::Erase { events: vec![1], keys: Vec::new() };
    drop(writer.commit(vec![Job::Amend(Box::new(erase), reply)]));

    assert!(answer.await.unwrap().is_err());
    assert_eq!(overwrites(&writer), before);
}

#[tokio::test]
async fn when_the_log_cannot_be_synced_nobody_gets_a_receipt_and_the_store_refuses() {
    let place = Place::new();
    let mut writer = writer(&place);
    // A device has no disk to be synced to: asking for it is an error.
    let device = File::open("/dev/null").unwrap();
    let refusal = writer.sync_by(|shared| Log::over(device, shared).unwrap()).refusal();
    assert_eq!(refusal, None);

    let (first, first_answers) = jobs(&place.clock, 3);
    let handed_over = writer.commit(first);
    all_failed(first_answers).await;
    let (second, second_answers) = jobs(&place.clock, 3);
    // The thread may be there still, to refuse it.
    let failed = writer.commit(second).and_then(|()| writer.commit(Vec::new()));
    all_failed(second_answers).await;

    assert_eq!(handed_over, Ok(()));
    let Err(StoreError::Io(why)) = failed else { panic!("{failed:?}") };
    assert!(why.contains("cannot be synced"), "{why}");
}

#[tokio::test]
async fn a_writer_with_nothing_to_do_finds_out_that_a_sync_failed() {
    let place = Place::new();
    let mut writer = writer(&place);
    let device = File::open("/dev/null").unwrap();
    writer.sync_by(|shared| Log::over(device, shared).unwrap());
    let (group, answers) = jobs(&place.clock, 3);
    writer.commit(group).unwrap();
    all_failed(answers).await;

    // What the nudge of the queue makes it do.
    let nudged = until_failed(&mut writer).await;

    assert!(matches!(nudged, StoreError::Io(_)), "{nudged:?}");
}

#[tokio::test]
async fn targets_are_told_of_what_was_written_when_a_sync_failed_and_is_on_disk_after_all() {
    let place = Place::new();
    let (shared, mut writer) = shared_writer(&place);
    let device = File::open("/dev/null").unwrap();
    writer.sync_by(|shared| Log::over(device, shared).unwrap());
    let handover = shared.handover(&TargetName::new("crm"));
    let writing = std::thread::spawn(move || writer.run());

    let refused = shared.ask(|reply| Job::Commit(Box::new(marked(&place.clock, 1)), reply)).await;

    assert!(matches!(refused, Err(StoreError::Io(_))), "{refused:?}");
    until("the store takes callbacks again", || shared.refusal().is_none()).await;
    let told = tokio::time::timeout(Duration::from_secs(10), handover.wake().notified_owned());
    assert!(told.await.is_ok(), "nobody is told");
    assert!(handover.take().look);
    shared.queue.close();
    drop(writing.join().unwrap());
    assert_eq!(due(&*place.try_open().unwrap(), "crm", place.clock.now()).await.len(), 1);
}

#[tokio::test]
async fn after_a_failed_commit_the_file_is_opened_anew_and_taken_on_where_it_was() {
    let place = Place::new();
    let store = place.try_open().unwrap();
    store.commit(marked(&place.clock, 1)).await.unwrap();
    let before = store.totals();
    let other = Connection::open(place.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();

    let group = (2..6).map(|n| store.commit(marked(&place.clock, n)));
    let answers = futures_util::future::join_all(group).await;

    assert!(answers.iter().all(|answer| matches!(answer, Err(StoreError::Io(_)))), "{answers:?}");
    assert_eq!(store.totals(), before);
    other.execute_batch("ROLLBACK").unwrap();
    until("the store takes callbacks again", || store.refusal().is_none()).await;
    for n in 2..6 {
        assert!(!store.commit(marked(&place.clock, n)).await.unwrap().is_duplicate());
    }
    assert!(store.commit(marked(&place.clock, 1)).await.unwrap().is_duplicate());
    assert_eq!(due(&*store, "crm", place.clock.now()).await.len(), 5);
    assert_balanced(&store.totals());
}

#[tokio::test]
async fn a_writer_that_panics_fails_its_group_and_writes_the_next() {
    let place = Place::new();
    let store = place.try_open().unwrap();
    store.commit(marked(&place.clock, 1)).await.unwrap();
    store.close().await.unwrap();
    // Totals that cannot be: with nothing pending, one less than that is a fault of arithmetic.
    let tampered = Connection::open(place.path()).unwrap();
    tampered.execute_batch("UPDATE targets SET pending = 0").unwrap();
    drop(tampered);
    let store = place.try_open().unwrap();
    let delivery = due(&*store, "crm", place.clock.now()).await.remove(0);

    let delivered = attempt(1, place.clock.now());
    let settled = store.settle(delivery, delivered, Settlement::Delivered).await;

    assert!(matches!(settled, Err(StoreError::Io(_))), "{settled:?}");
    until("the store takes callbacks again", || store.refusal().is_none()).await;
    assert!(store.commit(marked(&place.clock, 1)).await.unwrap().is_duplicate());
    assert!(!store.commit(marked(&place.clock, 2)).await.unwrap().is_duplicate());
    assert_eq!(due(&*store, "crm", place.clock.now()).await.len(), 2);
}

#[tokio::test]
async fn a_reader_that_panics_answers_the_next_question() {
    let place = Place::new();
    let store = place.try_open().unwrap();
    let id = store.commit(marked(&place.clock, 1)).await.unwrap().id();

    for _ in 0..2 * READERS {
        let panicked = store.readers.ask(|_| -> rusqlite::Result<()> { panic!("as asked") }).await;
        assert!(matches!(panicked, Err(StoreError::Io(_))), "{panicked:?}");
    }

    assert!(store.event(id).await.unwrap().is_some());
}

#[tokio::test]
async fn while_the_file_is_out_of_reach_callers_are_told_at_once_and_closing_says_so() {
    let place = Place::new();
    let store = place.try_open().unwrap();
    store.commit(marked(&place.clock, 1)).await.unwrap();
    let other = Connection::open(place.path()).unwrap();
    // The log cannot be written by us, and the file cannot be opened again once it has moved.
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let away = place.folder.path().join("away.db");
    fs::rename(place.path(), &away).unwrap();

    let failed = store.commit(marked(&place.clock, 2)).await;

    assert!(matches!(failed, Err(StoreError::Io(_))), "{failed:?}");
    assert!(matches!(store.refusal(), Some(StoreError::Io(_))));
    let delivery = due_if_any(&store).await;
    assert!(matches!(delivery, Err(StoreError::Io(_))), "{delivery:?}");
    let closed = store.close().await;
    assert!(matches!(closed, Err(StoreError::Io(_))), "{closed:?}");
}

async fn due_if_any(store: &Sqlite) -> Result<(), StoreError> {
    store.event(crate::event::EventId::from_bytes([0; 16])).await.map(|_| ())
}

#[tokio::test]
async fn what_has_a_receipt_is_in_a_copy_of_the_files_taken_without_closing() {
    let place = Place::new();
    let store = place.try_open().unwrap();
    for n in 0..20 {
        store.commit(marked(&place.clock, n)).await.unwrap();
    }
    let settled = due(&*store, "crm", place.clock.now()).await.remove(0);
    store.settle(settled, attempt(1, place.clock.now()), Settlement::Delivered).await.unwrap();

    let copied = Place::new();
    for suffix in ["", "-wal"] {
        let name = |place: &Place| format!("{}{suffix}", place.path().display());
        fs::copy(name(&place), name(&copied)).unwrap();
    }
    let copy = copied.try_open().unwrap();

    assert_eq!(copy.totals(), store.totals());
    assert_eq!(due(&*copy, "crm", place.clock.now()).await.len(), 19);
    assert_eq!(due(&*copy, "archive", place.clock.now()).await.len(), 20);
}

#[tokio::test]
async fn under_the_disk_reserve_callbacks_are_refused_and_outcomes_are_kept() {
    let place = Place::new();
    let store = place.try_open().unwrap();
    store.commit(marked(&place.clock, 1)).await.unwrap();
    drop(store);
    let full = Settings { min_free: u64::MAX, ..place.settings() };
    let store = Sqlite::open(&full, place.clock.clone(), &Metrics::new()).unwrap();

    assert_eq!(store.refusal(), Some(StoreError::DiskReserve));
    let refused = store.commit(marked(&place.clock, 2)).await;

    assert!(matches!(refused, Err(StoreError::DiskReserve)), "{refused:?}");
    let delivery = due(&*store, "crm", place.clock.now()).await.remove(0);
    let settled = attempt(1, place.clock.now());
    assert_eq!(store.settle(delivery, settled, Settlement::Delivered).await, Ok(()));
    assert!(due(&*store, "crm", place.clock.now()).await.is_empty());
}

#[tokio::test]
async fn an_event_for_more_targets_than_fit_fails_alone() {
    let place = Place::new();
    let store = place.try_open().unwrap();
    let names: Vec<String> = (0..4097).map(|n| format!("t{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();

    let too_many = store.commit(admission(&place.clock, &names)).await;
    let most = store.commit(admission(&place.clock, &names[1..])).await.unwrap();

    assert!(matches!(too_many, Err(StoreError::Unstorable(_))), "{too_many:?}");
    assert_eq!(store.deliveries_of(most.id()).await.unwrap().len(), 4096);
    assert_eq!(store.totals().deliveries.len(), 4096);
    assert_balanced(&store.totals());
}

/// Waits for a condition that others bring about, at most ten seconds.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "waited in vain: {what}");
        tokio::task::yield_now().await;
    }
}
