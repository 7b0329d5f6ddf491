//! Opening: what is made, what is migrated, what is refused and in which words.

use std::{fs, os::unix::fs::PermissionsExt as _};

use rusqlite::Connection;

use super::Place;
use crate::{
    metrics::Metrics,
    store::{
        Settings, Store as _, StoreError,
        conformance::{admission, assert_balanced, due},
        sqlite::{OpenError, Sqlite, fold::LOG_PAGES_MAX, group::TARGETS_MAX, schema},
    },
};

fn refusal(place: &Place) -> String {
    let told = place.try_open().unwrap_err().to_string();
    assert!(!told.contains('\n'), "one line: {told}");
    assert!(told.contains(place.folder.path().to_str().unwrap()), "names the file: {told}");
    told
}

/// The file at rest: every table with its columns, every index.
fn layout(connection: &Connection) -> Vec<(String, Option<String>)> {
    let mut query =
        connection.prepare("SELECT name, sql FROM sqlite_schema ORDER BY name").unwrap();
    query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
}

#[tokio::test]
async fn the_choices_that_cannot_be_changed_later_are_in_force() {
    let place = Place::new();
    let store = place.try_open().unwrap();

    let in_force = store.in_force().clone();

    assert_eq!((&*in_force.journal_mode, in_force.synchronous), ("wal", "normal"));
    assert_eq!((in_force.page_size, in_force.auto_vacuum), (8192, "incremental"));
    assert_eq!((in_force.wal_autocheckpoint, in_force.cache_size), (0, -16384));
    assert_eq!(in_force.schema_version, schema::STEPS.len());
    // And not only in ours: another reader of the file finds them.
    let other = Connection::open(place.path()).unwrap();
    assert_eq!(schema::in_force(&other).unwrap().page_size, 8192);
    assert_eq!(schema::in_force(&other).unwrap().auto_vacuum, "incremental");
}

#[tokio::test]
async fn the_log_is_folded_in_while_events_come_in_and_keeps_its_bound() {
    const EVENTS: usize = 100;
    let place = Place::new();
    let store = place.try_open().unwrap();

    for _ in 0..EVENTS {
        let mut event = admission(&place.clock, &["crm"]);
        event.request.body = vec![b'x'; 1 << 20].into();
        store.commit(event).await.unwrap();
    }

    let log = fs::metadata(format!("{}-wal", place.path().display())).unwrap().len();
    // A frame is a page and its head; the last group may go over the bound by its own length.
    let bound = u64::try_from(LOG_PAGES_MAX).unwrap() * (8192 + 24) + (2 << 20);
    assert!(log <= bound, "the log has {log} bytes, the bound is {bound}");
    let database = fs::metadata(place.path()).unwrap().len();
    assert!(database > u64::try_from(EVENTS).unwrap() << 19, "{database} bytes are folded in");
}

#[tokio::test]
async fn a_new_file_is_made_with_its_folders_and_only_its_owner_reads_it() {
    let place = Place::new();
    let path = place.folder.path().join("var/lib/relay/events.db");
    let settings = Settings { path: path.clone(), ..place.settings() };

    let store = Sqlite::open(&settings, place.clock.clone(), &Metrics::new()).unwrap();
    store.commit(admission(&place.clock, &["crm"])).await.unwrap();

    for suffix in ["", "-wal", "-shm", ".lock"] {
        let file = format!("{}{suffix}", path.display());
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

/// A file of that version with an event that is pending: made as version 1, and brought there step by
/// step, as a relay does that is killed between two steps.
fn file_of_version(version: usize) -> Place {
    let place = Place::new();
    let old = Connection::open(place.path()).unwrap();
    old.execute_batch("PRAGMA page_size = 8192; PRAGMA auto_vacuum = INCREMENTAL;").unwrap();
    old.execute_batch(schema::STEPS[0]).unwrap();
    old.execute_batch(
        "INSERT INTO sources VALUES (1, 'clouddial-au', 1, 1, 0, 0);
         INSERT INTO targets VALUES (5, 'crm', 1, 0, 1, 0, 0);
         INSERT INTO events VALUES (7, zeroblob(16), 1, 'clouddial', 1790000000000, 'routed',
             NULL, 'busy', 'c', NULL, NULL, NULL, '{\"id\":1}');
         INSERT INTO requests VALUES (7, 'POST', '', NULL, x'7b7d');",
    )
    .unwrap();
    old.execute(
        "INSERT INTO deliveries (id, target, state, round, attempts, since, next_at) \
         VALUES (?1, 5, 0, 0, 0, 1790000000000, 1790000000000)",
        [7 * TARGETS_MAX],
    )
    .unwrap();
    for step in &schema::STEPS[1..version] {
        old.execute_batch(step).unwrap();
    }
    old.pragma_update(None, "application_id", 0x486B_5377).unwrap();
    old.pragma_update(None, "user_version", i64::try_from(version).unwrap()).unwrap();
    place
}

#[tokio::test]
async fn a_file_of_any_older_version_is_brought_up_and_keeps_what_it_has() {
    let fresh = Place::new();
    drop(fresh.try_open().unwrap());
    let fresh = layout(&Connection::open(fresh.path()).unwrap());
    for version in 1..schema::STEPS.len() {
        let place = file_of_version(version);

        let store = place.try_open().unwrap();

        assert_eq!(store.in_force().schema_version, schema::STEPS.len());
        let delivery = due(&*store, "crm", place.clock.now()).await.remove(0);
        assert_eq!(&*delivery.json, b"{\"id\":1}");
        assert_eq!(store.oldest_pending().await.unwrap().len(), 1);
        assert_balanced(&store.totals());
        store.commit(admission(&place.clock, &["crm"])).await.unwrap();
        assert_eq!(due(&*store, "crm", place.clock.now()).await.len(), 2);
        drop(store);
        assert_eq!(layout(&Connection::open(place.path()).unwrap()), fresh, "from {version}");
    }
}

#[test]
fn a_file_of_an_older_version_is_not_read_before_a_relay_has_brought_it_up() {
    for version in 1..schema::STEPS.len() {
        let place = file_of_version(version);
        let before = fs::read(place.path()).unwrap();

        let told = Sqlite::open_to_read(&place.settings(), place.clock.clone()).unwrap_err();

        assert!(matches!(&told, OpenError::Older { found, .. } if *found == version), "{told:?}");
        assert!(told.to_string().contains("start the relay once to bring it there"), "{told}");
        assert_eq!(fs::read(place.path()).unwrap(), before, "looking changes nothing");
    }
}

#[test]
fn a_file_of_a_later_release_is_refused_with_both_versions() {
    let place = Place::new();
    drop(place.try_open().unwrap());
    Connection::open(place.path()).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let before = fs::read(place.path()).unwrap();

    let told = refusal(&place);

    let ours = schema::STEPS.len();
    let versions = format!("schema version 99, this program knows versions up to {ours}");
    assert!(told.contains(&versions), "{told}");
    assert!(told.contains("use the release that wrote it"), "{told}");
    assert_eq!(fs::read(place.path()).unwrap(), before);
}

#[test]
fn what_is_no_database_is_refused_and_left_alone() {
    let place = Place::new();
    fs::write(place.path(), "name,number\nJane Doe,+1 555 0100\n".repeat(500)).unwrap();
    let before = fs::read(place.path()).unwrap();

    assert!(refusal(&place).contains("is not a SQLite database"));
    assert_eq!(fs::read(place.path()).unwrap(), before);
}

#[test]
fn another_programs_database_is_refused_and_left_alone() {
    let place = Place::new();
    let other = Connection::open(place.path()).unwrap();
    other.execute_batch("CREATE TABLE invoices (id INTEGER PRIMARY KEY)").unwrap();
    drop(other);
    let before = fs::read(place.path()).unwrap();

    assert!(refusal(&place).contains("is a database of another program"));
    assert_eq!(fs::read(place.path()).unwrap(), before);
}

#[test]
fn a_folder_is_refused_as_one() {
    let place = Place::new();
    fs::create_dir(place.path()).unwrap();

    assert!(refusal(&place).contains("is a folder; name a file in it"));
}

#[test]
fn a_path_that_cannot_be_made_is_refused_with_the_part_that_failed() {
    let place = Place::new();
    fs::write(place.folder.path().join("data"), "a file").unwrap();
    let path = place.folder.path().join("data/relay.db");
    let settings = Settings { path, ..place.settings() };

    let told = Sqlite::open(&settings, place.clock.clone(), &Metrics::new()).unwrap_err();

    assert!(matches!(told, OpenError::Unreadable { .. }), "{told:?}");
    let told = told.to_string();
    assert!(told.contains("/data: ") && told.contains("must be able to read and write"), "{told}");
}

#[tokio::test]
async fn a_second_opener_is_refused_and_told_who_has_it() {
    let place = Place::new();
    let admin = "127.0.0.1:9090".parse().unwrap();
    let store = place.open_at(admin);
    let elsewhere = place.folder.path().join("alias.db");
    std::os::unix::fs::symlink(place.path(), &elsewhere).unwrap();
    let by_alias = Settings { path: elsewhere, ..place.settings() };

    let told = refusal(&place);
    let alias = Sqlite::open(&by_alias, place.clock.clone(), &Metrics::new()).unwrap_err();

    let holder = format!("in use by pid {}, admin API 127.0.0.1:9090", std::process::id());
    assert!(told.contains(&holder), "{told}");
    assert!(alias.to_string().contains(&holder), "{alias}");
    store.close().await.unwrap();
    assert!(place.try_open().is_ok());
}

#[tokio::test]
async fn closing_leaves_one_file_with_everything_in_it() {
    let place = Place::new();
    let store = place.try_open().unwrap();
    store.commit(admission(&place.clock, &["crm"])).await.unwrap();

    store.close().await.unwrap();

    let wal = fs::metadata(format!("{}-wal", place.path().display()));
    assert!(wal.is_err(), "the log is folded in");
    let copied = Place::new();
    fs::copy(place.path(), copied.path()).unwrap();
    let copy = copied.try_open().unwrap();
    assert_eq!(due(&*copy, "crm", place.clock.now()).await.len(), 1);
}

#[tokio::test]
async fn any_sql_tool_finds_an_event_and_its_deliveries_by_words() {
    let place = Place::new();
    let store = place.try_open().unwrap();
    let id = store.commit(admission(&place.clock, &["crm"])).await.unwrap().id().to_string();

    let tool = Connection::open(place.path()).unwrap();

    let found: (String, String, String, String) = tool
        .query_row(
            "SELECT id, source, received_at, body FROM events_view \
             WHERE call_id = 'call-1' AND body LIKE '%+61 3 5550 0101%'",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
        )
        .unwrap();
    assert_eq!((&found.0, &*found.1), (&id, "clouddial-au"));
    assert_eq!(found.2, "2027-01-15T08:00:00.000Z");
    let found: (String, String, String) = tool
        .query_row(
            "SELECT target, state, next_at FROM deliveries_view WHERE event = ?1",
            [&id],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .unwrap();
    assert_eq!((&*found.0, &*found.1), ("crm", "pending"));
    assert_eq!(found.2, "2027-01-15T08:00:00.000Z");
}

#[tokio::test]
async fn a_store_opened_to_read_sees_what_a_relay_commits_and_changes_nothing() {
    let place = Place::new();
    let read = || Sqlite::open_to_read(&place.settings(), place.clock.clone());
    let missing = read().unwrap_err();
    assert!(matches!(missing, OpenError::Missing { .. }), "{missing}");
    assert!(!place.path().exists(), "looking makes no file");

    let admin = "127.0.0.1:9090".parse().unwrap();
    let writer = place.open_at(admin);
    let first = admission(&place.clock, &["crm"]);
    let id = first.id;
    writer.commit(first).await.unwrap();
    let reader = read().unwrap();

    assert_eq!(Sqlite::holder(&place.path()).map(|holder| holder.admin), Some(admin));
    assert_eq!(reader.event(id).await.unwrap().unwrap().id, id);
    assert_eq!(reader.totals(), writer.totals());
    assert_eq!(reader.refusal(), Some(StoreError::ReadOnly));
    let refused = reader.commit(admission(&place.clock, &["crm"])).await.unwrap_err();
    assert_eq!(refused, StoreError::ReadOnly);
    writer.commit(admission(&place.clock, &["crm"])).await.unwrap();
    reader.close().await.unwrap();
    writer.close().await.unwrap();
    assert_eq!(Sqlite::holder(&place.path()), None, "the note goes with the relay");
    let alone = read().unwrap();
    assert_eq!(alone.event(id).await.unwrap().unwrap().id, id, "also when no relay runs");
}
