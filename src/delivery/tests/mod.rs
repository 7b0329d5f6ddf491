//! Delivery against scripted receivers and a store in memory.

mod answers;
mod authority;
mod connections;
mod lanes;
mod memory;
mod receiver;
mod recovery;
mod requests;
mod secure;

use std::{
    fmt,
    future::Future,
    path::Path,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use http::{HeaderMap, Method, StatusCode};
use jiff::Timestamp;
use prometheus::IntCounter;

use self::{
    memory::{Memory, Row, State},
    receiver::{Act, Receiver, SPEECHES, Speech},
};
use crate::{
    clock::Clock,
    delivery::{
        Dispatcher, Handle, Settings,
        address::AddressRules,
        attempt::Way,
        breaker,
        client::Tls,
        dial::Dial,
        dispatcher::keep_running,
        errand::{Shared, copy},
        file::{Lines, Sink},
        format::Format,
        retry,
        target::{self, Http, Place, StatusRange, Target},
        verdict::{Met, Outcome},
    },
    drain::Drain,
    metrics::Metrics,
    route::TargetName,
    store::{BuryReason, Cause, Delivery, Room, Store as _},
};

/// Delivery with nothing around it.
struct World {
    store: Arc<Memory>,
    drain: Drain,
    clock: Clock,
    registry: Metrics,
    handle: Handle,
}

impl World {
    fn start(targets: Vec<target::Settings>) -> Self {
        Self::start_with(targets, Arc::default())
    }

    fn start_with(targets: Vec<target::Settings>, store: Arc<Memory>) -> Self {
        let (drain, registry) = (Drain::new(), Metrics::new());
        let clock = Clock::manual(noon());
        let shared: Arc<dyn crate::store::Store> = Arc::<Memory>::clone(&store);
        let handle =
            Dispatcher::start(&Settings { targets }, &shared, &drain, &clock, &registry).unwrap();
        Self { store, drain, clock, registry, handle }
    }

    fn enqueue(&self, targets: &[&str]) {
        self.store.enqueue(targets, r#"{"id":"a"}"#, self.clock.now());
    }

    /// Moves the clock, and waits until a target's lane has looked at it.
    async fn advance(&self, by: Duration, target: &str) {
        self.clock.advance(by);
        self.looked(target).await;
    }

    /// Waits until a target's lane has asked, after now, what is due.
    async fn looked(&self, target: &str) {
        // A question may be out already; the second answer from now is to one asked after now.
        for _ in 0..2 {
            let before = self.store.answered.load(Ordering::SeqCst);
            self.store.wake(&TargetName::new(target)).notify_waiters();
            eventually("the lane to look", || self.store.answered.load(Ordering::SeqCst) > before)
                .await;
        }
    }

    async fn delivered(&self, target: &str, count: usize) {
        eventually("deliveries", || self.store.count(target, State::Delivered) == count).await;
    }

    async fn attempted(&self, target: &str, count: usize) -> Row {
        eventually("attempts", || self.store.rows(target)[0].attempts.len() == count).await;
        self.store.rows(target).remove(0)
    }
}

fn noon() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn http(name: &str, url: &str) -> target::Settings {
    target::Settings {
        name: TargetName::new(name),
        place: Place::Http(Box::new(Http {
            url: url.parse().unwrap(),
            method: Method::POST,
            format: Format::CloudEvents,
            headers: HeaderMap::new(),
            auth: None,
            sign: None,
            tls: None,
            addresses: AddressRules::default(),
            timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            success: vec![StatusRange { from: 200, to: 299 }],
            permanent: vec![StatusCode::GONE, StatusCode::PAYLOAD_TOO_LARGE],
        })),
        concurrency: 4,
        rate: None,
        retry: retry::Settings::default(),
        breaker: breaker::Settings::default(),
        by_call: false,
        renamed_from: None,
    }
}

/// A target that is a file.
fn archive(path: &Path) -> target::Settings {
    target::Settings { place: Place::File(path.to_owned()), ..http("archive", "http://unused/") }
}

/// A target that is this receiver.
fn http_to(name: &str, receiver: &Receiver) -> target::Settings {
    let mut settings = http(name, &receiver.url);
    if let Place::Http(http) = &mut settings.place {
        http.tls.clone_from(&receiver.trust);
    }
    settings
}

/// Waits for a condition, at most ten seconds, and says which it was.
async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Lets everything that can go on do so. Each yield is a turn of all that is ready, for a test has
/// one thread; no chain of wake-ups here is nearly as long. What needs a socket may take longer, but
/// a lane that sends counts it in flight before.
async fn everybody_had_a_turn() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

const OK: Act = Act::Answer(200, &[], b"");

#[tokio::test]
async fn every_event_reaches_every_target_it_was_routed_to() {
    let (crm, bi) = (Receiver::start(|_| OK).await, Receiver::start(|_| OK).await);
    let world = World::start(vec![http("crm", &crm.url), http("bi", &bi.url)]);

    for _ in 0..50 {
        world.enqueue(&["crm", "bi"]);
    }
    world.enqueue(&["bi"]);

    world.delivered("crm", 50).await;
    world.delivered("bi", 51).await;
    assert_eq!((crm.count(), bi.count()), (50, 51));
}

#[tokio::test]
async fn what_was_pending_before_the_start_is_delivered_after_it() {
    let crm = Receiver::start(|_| OK).await;
    let store = Arc::<Memory>::default();
    for _ in 0..100 {
        store.enqueue(&["crm"], "{}", noon());
    }

    let world = World::start_with(vec![http("crm", &crm.url)], store);

    world.delivered("crm", 100).await;
}

#[tokio::test]
async fn a_failed_attempt_is_made_again_at_its_instant_and_not_before() {
    let crm = Receiver::start(|n| if n < 2 { Act::Answer(500, &[], b"oops") } else { OK }).await;
    let world = World::start(vec![http("crm", &crm.url)]);
    world.enqueue(&["crm"]);

    let row = world.attempted("crm", 1).await;
    assert_eq!(row.attempts[0].status, Some(500));
    assert_eq!(row.attempts[0].snippet.as_deref(), Some(b"oops".as_slice()));
    let pause = row.next_at.duration_since(noon()).as_secs_f64();
    assert!((5.0..=6.0).contains(&pause), "{pause}");

    world.advance(Duration::from_millis(4_999), "crm").await;
    assert_eq!(crm.count(), 1);
    world.advance(Duration::from_millis(1_001), "crm").await;
    let row = world.attempted("crm", 2).await;
    let pause = row.next_at.duration_since(world.clock.now()).as_secs_f64();
    assert!((15.0..=18.0).contains(&pause), "{pause}");

    world.advance(Duration::from_secs(18), "crm").await;
    world.delivered("crm", 1).await;
    let numbers: Vec<_> =
        crm.requests().iter().map(|seen| seen.headers["hookswitch-attempt"].clone()).collect();
    assert_eq!(numbers, ["1", "2", "3"]);
    let page = world.registry.page();
    for line in [
        r#"hookswitch_delivery_attempts_total{cause="5xx",outcome="retry",target="crm"} 2"#,
        r#"hookswitch_delivery_attempts_total{cause="2xx",outcome="delivered",target="crm"} 1"#,
        r#"hookswitch_delivery_attempts_total{cause="tls",outcome="buried",target="crm"} 0"#,
        r#"hookswitch_delivery_age_seconds_count{target="crm"} 1"#,
        r#"hookswitch_delivery_attempt_duration_seconds_count{target="crm"} 3"#,
        r#"hookswitch_dead_letters_total{reason="expired",target="crm"} 0"#,
        r#"hookswitch_target_in_flight{target="crm"} 0"#,
        r#"hookswitch_target_concurrency_limit{target="crm"} 4"#,
    ] {
        assert!(page.contains(line), "{line} is not in {page}");
    }
}

#[tokio::test]
async fn a_retry_is_made_without_any_commit_to_wake_the_lane() {
    let crm = Receiver::start(|n| if n == 0 { Act::Answer(503, &[], b"") } else { OK }).await;
    let mut settings = http("crm", &crm.url);
    let pauses = retry::Pauses::Schedule(vec![Duration::from_millis(20)]);
    settings.retry = retry::Settings { pauses, give_up_after: None, attempts: None };
    let store = Arc::<Memory>::default();
    let drain = Drain::new();
    let clock = Clock::system();
    let shared: Arc<dyn crate::store::Store> = Arc::<Memory>::clone(&store);
    let settings = Settings { targets: vec![settings] };
    Dispatcher::start(&settings, &shared, &drain, &clock, &Metrics::new()).unwrap();

    store.enqueue(&["crm"], "{}", clock.now());

    eventually("the retry", || store.count("crm", State::Delivered) == 1).await;
    assert_eq!(crm.count(), 2);
}

#[tokio::test]
async fn retry_after_puts_the_next_attempt_off() {
    let crm = Receiver::start(|_| Act::Answer(503, &[("Retry-After", "600")], b"")).await;
    let world = World::start(vec![http("crm", &crm.url)]);
    world.enqueue(&["crm"]);

    let row = world.attempted("crm", 1).await;

    assert_eq!(row.next_at.duration_since(noon()).as_secs(), 600);
}

#[tokio::test]
async fn a_permanent_answer_is_a_dead_letter_with_reason_code_and_first_bytes() {
    let crm = Receiver::start(|_| Act::Answer(410, &[], b"gone fishing")).await;
    let world = World::start(vec![http("crm", &crm.url)]);
    world.enqueue(&["crm"]);

    let row = world.attempted("crm", 1).await;

    assert_eq!(row.state, State::Dead(BuryReason::Permanent));
    assert_eq!(row.attempts[0].status, Some(410));
    assert_eq!(row.attempts[0].snippet.as_deref(), Some(b"gone fishing".as_slice()));
    let line = r#"hookswitch_dead_letters_total{reason="permanent",target="crm"} 1"#;
    eventually("the counter", || world.registry.page().contains(line)).await;
}

#[tokio::test]
async fn the_end_of_the_schedule_is_a_dead_letter() {
    let crm = Receiver::start(|_| Act::Answer(404, &[], b"")).await;
    let mut settings = http("crm", &crm.url);
    settings.retry.attempts = Some(2);
    let world = World::start(vec![settings]);
    world.enqueue(&["crm"]);
    world.attempted("crm", 1).await;

    world.advance(Duration::from_secs(6), "crm").await;

    let row = world.attempted("crm", 2).await;
    assert_eq!(row.state, State::Dead(BuryReason::AttemptsExhausted));
}

#[tokio::test]
async fn a_slow_target_does_not_delay_a_fast_one() {
    let (slow, fast) = (Receiver::start(|_| Act::Hang).await, Receiver::start(|_| OK).await);
    let world = World::start(vec![http("slow", &slow.url), http("fast", &fast.url)]);

    for _ in 0..50 {
        world.enqueue(&["slow", "fast"]);
    }

    world.delivered("fast", 50).await;
    assert_eq!(world.store.count("slow", State::Pending), 50);
    assert_eq!(world.handle.status()[0].in_flight, 4);
}

#[tokio::test]
async fn never_more_requests_are_open_than_the_target_allows() {
    let crm = Receiver::held(|_| OK).await;
    let mut settings = http("crm", &crm.url);
    settings.concurrency = 3;
    let world = World::start(vec![settings]);
    for _ in 0..200 {
        world.enqueue(&["crm"]);
    }

    eventually("three requests", || crm.count() == 3).await;
    assert_eq!(world.handle.status()[0].in_flight, 3);
    crm.release(100_000);

    world.delivered("crm", 200).await;
    assert_eq!(crm.open_max(), 3);
}

#[tokio::test]
async fn an_outcome_the_store_does_not_take_is_held_and_not_attempted_again() {
    let crm = Receiver::start(|_| OK).await;
    let world = World::start(vec![http("crm", &crm.url)]);
    world.store.settle_fails.store(2, Ordering::SeqCst);

    world.enqueue(&["crm"]);
    eventually("the attempt", || crm.count() == 1).await;
    world.looked("crm").await;

    world.delivered("crm", 1).await;
    assert_eq!(crm.count(), 1);
}

#[tokio::test]
async fn a_store_that_did_not_answer_is_asked_again() {
    let crm = Receiver::start(|_| OK).await;
    let store = Arc::<Memory>::default();
    store.enqueue(&["crm"], "{}", noon());
    store.due_fails.store(1, Ordering::SeqCst);

    let world = World::start_with(vec![http("crm", &crm.url)], store);
    eventually("the failed question", || world.store.answered.load(Ordering::SeqCst) == 1).await;
    world.looked("crm").await;

    world.delivered("crm", 1).await;
}

#[tokio::test]
async fn stopping_lets_out_attempts_finish_and_takes_nothing_new() {
    let crm = Receiver::held(|_| OK).await;
    let mut settings = http("crm", &crm.url);
    settings.concurrency = 1;
    let folder = tempfile::tempdir().unwrap();
    let file = archive(&folder.path().join("events.jsonl"));
    let world = World::start(vec![settings, file]);
    for _ in 0..3 {
        world.enqueue(&["crm", "archive"]);
    }
    eventually("an open request", || crm.count() == 1).await;
    world.delivered("archive", 3).await;

    world.drain.stop();
    assert!(!world.drain.finish(Duration::ZERO).await);
    crm.release(1);

    assert!(world.drain.finish(Duration::from_secs(10)).await);
    assert_eq!(world.store.count("crm", State::Delivered), 1);
    assert_eq!(world.store.count("crm", State::Pending), 2);
    assert_eq!(crm.count(), 1);
}

#[tokio::test]
async fn an_archive_has_every_event_on_a_line_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/events.jsonl");
    let world = World::start(vec![archive(&path)]);

    for number in 0..100 {
        world.store.enqueue(&["archive"], &format!(r#"{{"n":{number}}}"#), noon());
    }

    world.delivered("archive", 100).await;
    let text = std::fs::read_to_string(&path).unwrap();
    let mut numbers: Vec<u64> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["n"].as_u64().unwrap())
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    let line = r#"cause="written",outcome="delivered",target="archive"} 100"#;
    eventually("the counter", || world.registry.page().contains(line)).await;
}

#[tokio::test]
async fn an_archive_that_cannot_be_written_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    std::fs::create_dir(&path).unwrap();
    let world = World::start(vec![archive(&path)]);
    world.enqueue(&["archive"]);
    let row = world.attempted("archive", 1).await;
    assert!(row.attempts[0].error.as_deref().unwrap().contains("directory"), "{row:?}");
    std::fs::remove_dir(&path).unwrap();

    world.advance(Duration::from_secs(6), "archive").await;

    world.delivered("archive", 1).await;
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"id\":\"a\"}\n");
}

#[tokio::test]
async fn what_the_disk_had_no_room_for_is_written_later_behind_what_was_torn_by_that() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    // What there was room for of an event before.
    std::fs::write(&path, "{\"id\":\"0\"}\n{\"id\":").unwrap();
    let world = lane(&archive(&path), |drain| {
        Way::Lines(Lines::start(Sink::on_a_full_disk(&path), 1, drain).unwrap())
    });
    world.enqueue(&["archive"]);

    let row = world.attempted("archive", 1).await;

    let error = row.attempts[0].error.as_deref().unwrap();
    assert!(error.contains("No space left on device"), "{error}");
    let line =
        r#"hookswitch_delivery_attempts_total{cause="io",outcome="retry",target="archive"} 1"#;
    eventually("the counter", || world.registry.page().contains(line)).await;
    world.advance(Duration::from_secs(6), "archive").await;
    world.delivered("archive", 1).await;
    let lines = std::fs::read_to_string(&path).unwrap();
    assert_eq!(lines, "{\"id\":\"0\"}\n{\"id\":\n{\"id\":\"a\"}\n");
}

fn counter() -> IntCounter {
    IntCounter::new("connections", "-").unwrap()
}

type Played = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// What becomes of the attempts of a target, as a test says.
pub(super) struct Script(Box<dyn Fn(&Delivery) -> Played + Send + Sync>);

impl Script {
    pub(super) fn play(&self, delivery: &Delivery) -> Played {
        self.0(delivery)
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a script")
    }
}

/// A lane whose attempts are a function.
fn scripted(script: fn(&Delivery) -> Outcome) -> World {
    let at_once = move |delivery: &Delivery| -> Played {
        let (played, delivery) = (script, copy(delivery));
        Box::pin(async move { played(&delivery) })
    };
    scripted_as(&http("crm", "http://crm.example.com/"), at_once)
}

/// A lane with these settings, whose attempts are a function and may last.
fn scripted_as(
    settings: &target::Settings,
    script: impl Fn(&Delivery) -> Played + Send + Sync + 'static,
) -> World {
    lane(settings, |_| Way::Scripted(Script(Box::new(script))))
}

/// A lane with these settings, and a way of the test's own.
fn lane(settings: &target::Settings, way: impl FnOnce(&Drain) -> Way) -> World {
    let mut world = World::start(Vec::new());
    let tls = Tls::system(false).unwrap();
    let connections = counter();
    let mut target = Target::new(settings, &tls, &world.drain, connections).unwrap();
    target.way = way(&world.drain);
    world.registry = Metrics::new();
    let metrics = crate::delivery::metrics::Metrics::new(&world.registry).target(settings);
    let store = Arc::<Memory>::clone(&world.store);
    let shared = Shared::new(target, store, world.clock.clone(), metrics, Dial::default());
    let (shared, drain) = (Arc::new(shared), world.drain.clone());
    world.drain.spawn("lane", async move { keep_running(&shared, &drain).await });
    world
}

#[tokio::test]
async fn a_panic_in_an_attempt_is_a_failed_attempt_and_the_slot_comes_back() {
    let world = scripted(|delivery| match delivery.attempts {
        0 => panic!("as a test wants it"),
        _ => Outcome { met: Met::Written, error: None, snippet: None },
    });
    for _ in 0..10 {
        world.enqueue(&["crm"]);
    }
    let line =
        r#"hookswitch_delivery_attempts_total{cause="panic",outcome="retry",target="crm"} 10"#;
    eventually("ten failures", || world.registry.page().contains(line)).await;

    world.advance(Duration::from_secs(6), "crm").await;

    world.delivered("crm", 10).await;
    let line = r#"hookswitch_target_in_flight{target="crm"} 0"#;
    assert!(world.registry.page().contains(line));
}

#[tokio::test]
async fn deferral_does_not_count_as_an_attempt() {
    static LACKING: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(true);
    let world = scripted(|_| {
        let lacking = LACKING.swap(false, Ordering::SeqCst);
        let met = if lacking { Met::NotMade } else { Met::Failed(Cause::Connect) };
        Outcome { met, error: None, snippet: None }
    });
    world.enqueue(&["crm"]);

    let row = world.attempted("crm", 1).await;

    assert!(!LACKING.load(Ordering::SeqCst));
    assert_eq!(row.attempts[0].number, 1);
    let page = world.registry.page();
    assert!(page.contains("delivery_attempt_duration_seconds_count{target=\"crm\"} 1"), "{page}");
}
