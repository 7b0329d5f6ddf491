//! The scrape, and the plans of the statements.

use std::time::Duration;

use rusqlite::Connection;

use super::Place;
use crate::{
    event::SourceName,
    metrics::Metrics,
    route::TargetName,
    store::{
        Settlement, Store as _,
        conformance::{BURIED, admission, attempt, due, quarantined},
        sqlite::{Sqlite, queries},
    },
};

/// The value of a series on the page.
fn value<'p>(page: &'p str, series: &str) -> &'p str {
    let line = page.lines().find(|line| line.starts_with(&format!("hookswitch_{series} ")));
    let line = line.unwrap_or_else(|| panic!("{series} is on the page:\n{page}"));
    line.rsplit(' ').next().unwrap()
}

fn count(page: &str, series: &str) -> u64 {
    value(page, series).parse().unwrap()
}

#[tokio::test]
async fn every_declared_name_is_on_the_first_page_at_zero() {
    let place = Place::new();
    let metrics = Metrics::new();
    let store = Sqlite::open(&place.settings(), place.clock.clone(), &metrics).unwrap();

    store.declare(&[SourceName::new("plum-us")], &[TargetName::new("crm")]);

    // The writer takes note of the names behind whatever else is asked of it.
    while value(&metrics.page(), "store_queue") != "0" {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let page = metrics.page();
    for state in ["routed", "unrouted", "quarantined"] {
        let series = format!("events{{source=\"plum-us\",state=\"{state}\"}}");
        assert_eq!(value(&page, &series), "0");
    }
    for state in ["pending", "delivered", "dead", "discarded"] {
        let series = format!("deliveries{{state=\"{state}\",target=\"crm\"}}");
        assert_eq!(value(&page, &series), "0");
    }
    for series in [
        "events_accepted_total{source=\"plum-us\"}",
        "deliveries_enqueued_total{target=\"crm\"}",
        "oldest_pending_seconds{target=\"crm\"}",
        "paused{target=\"crm\"}",
        "orphaned_deliveries{target=\"crm\"}",
    ] {
        assert_eq!(value(&page, series), "0", "{series}");
    }
    assert!(count(&page, "store_bytes") > 0);
    assert!(count(&page, "store_free_bytes") > 0);
}

#[tokio::test]
async fn a_scrape_shows_what_the_store_has_and_the_age_of_the_oldest() {
    let place = Place::new();
    let metrics = Metrics::new();
    let store = Sqlite::open(&place.settings(), place.clock.clone(), &metrics).unwrap();
    store.commit(admission(&place.clock, &["crm"])).await.unwrap();
    store.commit(quarantined(&place.clock)).await.unwrap();
    place.clock.advance(Duration::from_millis(90_500));
    store.commit(admission(&place.clock, &["crm", "archive"])).await.unwrap();
    let done = due(&*store, "archive", place.clock.now()).await.remove(0);
    store.settle(done, attempt(1, place.clock.now()), BURIED).await.unwrap();

    let page = metrics.page();

    assert_eq!(value(&page, "oldest_pending_seconds{target=\"crm\"}"), "90.5");
    assert_eq!(value(&page, "oldest_pending_seconds{target=\"archive\"}"), "0");
    assert_eq!(value(&page, "events_accepted_total{source=\"clouddial-au\"}"), "3");
    assert_eq!(value(&page, "events{source=\"clouddial-au\",state=\"quarantined\"}"), "1");
    assert_eq!(value(&page, "deliveries{state=\"pending\",target=\"crm\"}"), "2");
    assert_eq!(value(&page, "deliveries{state=\"dead\",target=\"archive\"}"), "1");
    assert_eq!(value(&page, "store_commit_events_sum"), "3");
    store.close().await.unwrap();
    assert_eq!(value(&metrics.page(), "events_accepted_total{source=\"clouddial-au\"}"), "3");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_scrape_balances_while_others_write() {
    let place = Place::new();
    let metrics = Metrics::new();
    let store = Sqlite::open(&place.settings(), place.clock.clone(), &metrics).unwrap();
    store.declare(&[SourceName::new("clouddial-au")], &[TargetName::new("crm")]);
    let writing = async {
        for _ in 0..10 {
            let group = (0..20).map(|_| store.commit(admission(&place.clock, &["crm"])));
            futures_util::future::join_all(group).await;
            let now = place.clock.now();
            let found = due(&*store, "crm", now).await.into_iter();
            let settled = found.enumerate().map(|(n, delivery)| {
                let settlement = if n % 3 == 0 { BURIED } else { Settlement::Delivered };
                store.settle(delivery, attempt(1, now), settlement)
            });
            futures_util::future::join_all(settled).await;
        }
    };
    let page_holds = |page: &str| {
        let states = ["pending", "delivered", "dead", "discarded"];
        let sum: u64 = states
            .iter()
            .map(|state| count(page, &format!("deliveries{{state=\"{state}\",target=\"crm\"}}")))
            .sum();
        assert_eq!(count(page, "deliveries_enqueued_total{target=\"crm\"}"), sum);
        let routed = count(page, "events{source=\"clouddial-au\",state=\"routed\"}");
        assert_eq!(count(page, "events_accepted_total{source=\"clouddial-au\"}"), routed);
        assert_eq!(routed, sum, "both sides of one commit are on one page");
        sum
    };
    let scraping = async {
        while page_holds(&metrics.page()) < 200 {
            tokio::task::yield_now().await;
        }
    };

    let both = futures_util::future::join(writing, scraping);
    tokio::time::timeout(Duration::from_mins(1), both).await.expect("all is written");
    page_holds(&metrics.page());
}

/// How `SQLite` would run a statement.
fn plan(connection: &Connection, sql: &str) -> String {
    let mut query = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let blanks = vec![rusqlite::types::Null; query.parameter_count()];
    let steps =
        query.query_map(rusqlite::params_from_iter(blanks), |row| row.get::<_, String>(3)).unwrap();
    steps.map(Result::unwrap).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn no_statement_of_the_road_scans_or_sorts_whatever_the_backlog() {
    let place = Place::new();
    let store = place.try_open().unwrap();
    let connection = Connection::open(place.path()).unwrap();
    let sources = [
        include_str!("../queries.rs"),
        include_str!("../find.rs"),
        include_str!("../group.rs"),
        include_str!("../amend.rs"),
        include_str!("../seen.rs"),
        include_str!("../statements.rs"),
        include_str!("../turns.rs"),
        include_str!("../terms.rs"),
    ];
    let mut all: Vec<String> = sources.iter().flat_map(|source| statements(source)).collect();
    assert!(all.len() > 15, "{all:#?}");
    for target in [None, Some(1)] {
        all.push(format!("SELECT d.id FROM {} ORDER BY d.id LIMIT 1", queries::dead_by(target)));
    }

    for sql in &all {
        let plan = plan(&connection, sql);
        assert!(!plan.contains("USE TEMP B-TREE"), "{sql}\n{plan}");
        // A list that is given with the statement is not a table.
        let scans = |line: &&str| line.starts_with("SCAN") && !line.contains("VIRTUAL TABLE");
        for line in plan.lines().filter(scans) {
            assert!(line.starts_with("SCAN t "), "only the few targets are walked: {sql}\n{plan}");
        }
    }
    drop(store);
}

/// The whole statements written as literals in a source file of ours.
fn statements(source: &str) -> Vec<String> {
    source
        .split('"')
        .skip(1)
        .step_by(2)
        .map(|text| text.replace("\\\n", " "))
        .filter(|text| {
            ["SELECT ", "INSERT ", "UPDATE ", "DELETE "].iter().any(|verb| text.starts_with(verb))
                && !text.contains('{')
                // The columns of a statement that is put together elsewhere.
                && (!text.starts_with("SELECT ") || text.contains(" FROM "))
                // A page of all events, and the notes read at the start: bounded walks in order.
                && !text.contains("CROSS JOIN sources")
                && !text.ends_with("FROM seen_lately ORDER BY seq")
        })
        .collect()
}
