//! What purging and erasing do to the files.

use std::{fs, time::Duration};

use bytes::Bytes;

use super::Place;
use crate::{
    metrics::Metrics,
    store::{
        Erasure, Settings, Settlement, Store,
        conformance::{Backend as _, admission, attempt, due},
        sqlite::Sqlite,
        tidy,
    },
};

/// Delivers everything that `name` is owed.
async fn deliver(place: &Place, store: &dyn Store, name: &str) {
    let now = place.clock.now();
    loop {
        let found = due(store, name, now).await;
        if found.is_empty() {
            return;
        }
        let settled = found
            .into_iter()
            .map(|delivery| store.settle(delivery, attempt(1, now), Settlement::Delivered));
        futures_util::future::join_all(settled).await.into_iter().for_each(Result::unwrap);
    }
}

async fn fill(place: &Place, store: &dyn Store, events: usize) {
    let group = (0..events).map(|_| {
        let mut admitted = admission(&place.clock, &["crm"]);
        admitted.request.body = Bytes::from(vec![b'x'; 20_000]);
        store.commit(admitted)
    });
    let done = futures_util::future::join_all(group).await;
    assert!(done.iter().all(Result::is_ok), "{done:?}");
}

/// Bytes of the database that hold something or are kept free, once the log is folded in.
async fn size_after_closing(place: &Place, store: &dyn Store) -> u64 {
    store.close().await.unwrap();
    fs::metadata(place.path()).unwrap().len()
}

#[tokio::test]
async fn after_a_purge_the_file_has_shrunk_back() {
    let place = Place::new();
    let store = place.open();
    fill(&place, &*store, 600).await;
    deliver(&place, &*store, "crm").await;
    place.clock.advance(Duration::from_hours(15 * 24));

    let mut purged = 0;
    tidy::pass(&*store, |step| purged += step.history).await.unwrap();

    assert_eq!(purged, 600);
    let size = size_after_closing(&place, &*store).await;
    assert!(size < 5_000_000, "twelve megabytes of events are gone, {size} bytes are left");
}

#[tokio::test]
async fn a_store_over_its_size_lets_the_oldest_history_go_and_nothing_that_waits() {
    let place = Place::new();
    let small = Settings { max_size: 6_000_000, ..place.settings() };
    let store = Sqlite::open(&small, place.clock.clone(), &Metrics::new()).unwrap();
    fill(&place, &*store, 100).await;
    let waiting = due(&*store, "crm", place.clock.now()).await.len();
    assert_eq!(waiting, 100);
    let mut history = Vec::new();
    for _ in 0..300 {
        let mut admitted = admission(&place.clock, &["archive"]);
        admitted.request.body = Bytes::from(vec![b'x'; 20_000]);
        history.push(store.commit(admitted).await.unwrap().id());
    }
    deliver(&place, &*store, "archive").await;

    let mut purged = 0;
    tidy::pass(&*store, |step| purged += step.history).await.unwrap();

    assert!((1..300).contains(&purged), "only as much as is needed: {purged}");
    assert!(store.event(history[0]).await.unwrap().is_none(), "the oldest goes first");
    assert!(store.event(history[299]).await.unwrap().is_some(), "the youngest stays");
    assert_eq!(due(&*store, "crm", place.clock.now()).await.len(), 100);
}

#[tokio::test]
async fn under_the_disk_reserve_a_purge_goes_on() {
    let place = Place::new();
    let store = place.open();
    fill(&place, &*store, 10).await;
    deliver(&place, &*store, "crm").await;
    drop(store);
    place.clock.advance(Duration::from_hours(15 * 24));
    let full = Settings { min_free: u64::MAX, ..place.settings() };
    let store = Sqlite::open(&full, place.clock.clone(), &Metrics::new()).unwrap();

    let mut purged = 0;
    tidy::pass(&*store, |step| purged += step.history).await.unwrap();

    assert_eq!(purged, 10);
}

#[tokio::test]
async fn an_erased_number_is_in_none_of_the_files_any_more() {
    const NUMBER: &str = "+61355500177";
    let place = Place::new();
    let store = place.open();
    for n in 0..60_usize {
        let mut admitted = admission(&place.clock, &["crm"]);
        // Some in one page, some over several.
        let filler = "x".repeat(n * 700);
        let text = format!("{{\"filler\":\"{filler}\",\"to\":\"{NUMBER}\"}}");
        admitted.request.body = Bytes::from(text.clone());
        if let crate::store::Fate::Readable { json, facts, .. } = &mut admitted.fate {
            *json = Bytes::from(text);
            facts.to = Some(NUMBER.to_owned());
        }
        store.commit(admitted).await.unwrap();
        fill(&place, &*store, 1).await;
    }
    for delivery in due(&*store, "crm", place.clock.now()).await {
        let mut made = attempt(1, place.clock.now());
        if memchr::memmem::find(&delivery.json, NUMBER.as_bytes()).is_some() {
            made.snippet = Some(Bytes::from(format!("no such customer {NUMBER}")));
        }
        store.settle(delivery, made, Settlement::Delivered).await.unwrap();
    }
    assert!(occurs(&place, NUMBER));

    let mut after = None;
    loop {
        let step = store.erase(Erasure::Number(NUMBER.to_owned()), after).await.unwrap();
        match step.next {
            None => break,
            next => after = next,
        }
    }

    assert!(!occurs(&place, NUMBER), "while the store is open");
    drop(store);
    assert!(!occurs(&place, NUMBER), "and after it was closed");
}

/// Whether a text stands in the bytes of the store's files.
fn occurs(place: &Place, text: &str) -> bool {
    ["", "-wal"].iter().any(|suffix| {
        let name = format!("{}{suffix}", place.path().display());
        fs::read(name).is_ok_and(|bytes| memchr::memmem::find(&bytes, text.as_bytes()).is_some())
    })
}
