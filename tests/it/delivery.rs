//! Every routed target gets every event: retries, dead letters, restarts.

use std::{collections::BTreeSet, path::Path, process::Stdio, time::Duration};

use bytes::Bytes;
use serde_json::Value;
use tokio::{
    io::{BufReader, Lines},
    process::ChildStdout,
};

use crate::harness::{
    API_KEY, Delivery, Process, Relay, Reply, Setup, Target, assert_is_a_call_event, callback,
    client, eventually, post, within, write_config,
};

const QUICK: &str = "retry = { initial = \"20ms\", factor = 2, max = \"100ms\" }";

async fn deliveries(relay: &Relay, target: &str, state: &str) -> f64 {
    let labels = [("target", target), ("state", state)];
    relay.metrics().await.get("hookswitch_deliveries", &labels)
}

#[tokio::test]
async fn a_failed_attempt_is_repeated_under_the_same_id_until_the_target_has_it() {
    let target = Target::scripted(|nth, _| Reply::status(if nth < 3 { 500 } else { 200 })).await;
    let relay = Setup::new().target("crm", &target, QUICK).start().await;

    let ack = post(&relay.url(), &callback("call.1")).await;

    let got = target.received(4).await;
    assert_eq!(target.ids(), [ack.id()].into());
    let attempts: Vec<&str> = got.iter().map(|got| got.header("hookswitch-attempt")).collect();
    assert_eq!(attempts, ["1", "2", "3", "4"]);
    assert!(got.iter().all(|got| got.header("hookswitch-round") == "0"));
    eventually("the delivery", || async { deliveries(&relay, "crm", "delivered").await == 1.0 })
        .await;
    let page = relay.metrics().await;
    let retried = [("target", "crm"), ("outcome", "retry"), ("cause", "5xx")];
    assert_eq!(page.get("hookswitch_delivery_attempts_total", &retried), 3.0);
}

#[tokio::test]
async fn retry_after_makes_the_next_attempt_later() {
    let target = Target::scripted(|nth, _| match nth {
        0 => Reply::Answer(503, vec![("retry-after", "1".to_owned())], Bytes::new()),
        _ => Reply::status(200),
    })
    .await;
    let relay = Setup::new().target("crm", &target, QUICK).start().await;
    let began = tokio::time::Instant::now();

    post(&relay.url(), &callback("call.1")).await;
    target.received(2).await;

    // Earlier would be wrong however busy the machine is; later is not judged.
    assert!(began.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_permanent_answer_is_a_dead_letter_with_reason_code_and_first_bytes() {
    let target = Target::scripted(|_, _| {
        Reply::Answer(410, Vec::new(), Bytes::from_static(b"this endpoint has moved away"))
    })
    .await;
    let setup = Setup::new().target("crm", &target, QUICK);
    let mut store = None;
    let relay = setup
        .start_on(|real| {
            store = Some(std::sync::Arc::clone(&real));
            real
        })
        .await;

    let ack = post(&relay.url(), &callback("call.1")).await;
    eventually("the dead letter", || async { deliveries(&relay, "crm", "dead").await == 1.0 })
        .await;

    let letters = store
        .unwrap()
        .dead_letters(hookswitch::store::DeadFilter::default(), None, 10)
        .await
        .unwrap()
        .letters;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].event.to_string(), ack.id());
    assert_eq!(letters[0].reason, "permanent");
    assert_eq!(letters[0].status, Some(410));
    assert_eq!(letters[0].snippet.as_deref(), Some(b"this endpoint has moved away".as_slice()));
    let page = relay.metrics().await;
    let dead = [("target", "crm"), ("reason", "permanent")];
    assert_eq!(page.get("hookswitch_dead_letters_total", &dead), 1.0);
    page.assert_balanced(&["calls"], &["crm"]);
}

#[tokio::test]
async fn the_end_of_the_schedule_is_a_dead_letter_too() {
    let target = Target::answering(500).await;
    let keys = "retry = { schedule = [\"10ms\", \"10ms\"] }";
    let relay = Setup::new().target("crm", &target, keys).start().await;

    post(&relay.url(), &callback("call.1")).await;

    eventually("the dead letter", || async { deliveries(&relay, "crm", "dead").await == 1.0 })
        .await;
    assert_eq!(target.got().len(), 3);
    let page = relay.metrics().await;
    let dead = [("target", "crm"), ("reason", "attempts_exhausted")];
    assert_eq!(page.get("hookswitch_dead_letters_total", &dead), 1.0);
}

#[tokio::test]
async fn a_target_that_never_answers_delays_no_other() {
    let (dead, alive) =
        (Target::scripted(|_, _| Reply::Silence).await, Target::answering(200).await);
    let relay = Setup::new()
        .target("dead", &dead, "timeout = \"60s\"")
        .target("alive", &alive, "")
        .start()
        .await;

    for call in 0..100 {
        post(&relay.url(), &callback(&format!("call.{call}"))).await;
    }

    alive.received(100).await;
    assert_eq!(deliveries(&relay, "dead", "pending").await, 100.0);
}

#[tokio::test]
async fn a_target_never_has_more_requests_out_than_its_concurrency() {
    let target = Target::scripted(|_, _| {
        Reply::After(Duration::from_millis(5), Box::new(Reply::status(200)))
    })
    .await;
    let relay = Setup::new().target("crm", &target, "concurrency = 3").start().await;

    let sends = (0..60).map(|call| {
        let url = relay.url();
        async move { post(&url, &callback(&format!("call.{call}"))).await.id() }
    });
    relay.told(sends).await;

    target.received(60).await;
    assert_eq!(target.most_out(), 3);
}

#[tokio::test]
async fn what_is_erased_while_it_waits_for_a_slot_is_not_sent() {
    let target = Target::scripted(|_, _| Reply::Held(Box::new(Reply::status(200)))).await;
    let relay = Setup::new().target("crm", &target, "concurrency = 1").start().await;
    let first = post(&relay.url(), &callback("call.1")).await.id();
    target.received(1).await;
    let erased = post(&relay.url(), &callback("call.2")).await.id();
    let last = post(&relay.url(), &callback("call.3")).await.id();

    let erasing = client()
        .post(relay.admin("/api/v1/erase"))
        .header("content-type", "application/json")
        .body(serde_json::json!({ "event": erased }).to_string());
    assert_eq!(erasing.send().await.unwrap().status(), 200);
    target.release(3);

    target.received(2).await;
    assert_eq!(target.ids(), [first, last].into());
}

#[tokio::test]
async fn after_a_restart_the_schedule_goes_on_where_it_was() {
    let target = Target::scripted(|nth, _| Reply::status(if nth < 2 { 500 } else { 200 })).await;
    let keys = "retry = { schedule = [\"10ms\", \"400ms\", \"10ms\"] }";
    let setup = Setup::new().target("crm", &target, keys);
    let relay = setup.start().await;
    let ack = post(&relay.url(), &callback("call.1")).await;
    target.received(2).await;
    eventually("the second failure to be stored", || async {
        let labels = [("target", "crm"), ("outcome", "retry"), ("cause", "5xx")];
        relay.metrics().await.get("hookswitch_delivery_attempts_total", &labels) == 2.0
    })
    .await;
    relay.stop().await;

    let relay = setup.start().await;

    let got = target.received(3).await;
    assert_eq!(got[2].id(), ack.id());
    assert_eq!(got[2].header("hookswitch-attempt"), "3");
    eventually("the delivery", || async { deliveries(&relay, "crm", "delivered").await == 1.0 })
        .await;
}

#[tokio::test]
async fn the_trace_of_a_callback_goes_on_to_its_targets_also_after_a_restart() {
    let target = Target::scripted(|nth, _| Reply::status(if nth == 0 { 500 } else { 200 })).await;
    let setup = Setup::new().target("crm", &target, "retry = { schedule = [\"1s\"] }");
    let relay = setup.start().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let (version, parent) = ("00", "00f067aa0ba902b7");
    let sent = client()
        .post(relay.url())
        .header("x-api-key", API_KEY)
        .header("content-type", "application/json")
        .header("traceparent", format!("{version}-{trace}-{parent}-01"))
        .header("tracestate", "rojo=00f067aa0ba902b7")
        .header("tracestate", "congo=t61rcWkgMzE")
        .body(callback("call.1").to_string())
        .send();
    assert_eq!(sent.await.unwrap().status(), 200);
    target.received(1).await;
    eventually("the failure to be stored", || async {
        let labels = [("target", "crm"), ("outcome", "retry"), ("cause", "5xx")];
        relay.metrics().await.get("hookswitch_delivery_attempts_total", &labels) == 1.0
    })
    .await;
    relay.stop().await;

    let relay = setup.start().await;
    let got = target.received(2).await;
    post(&relay.url(), &callback("call.2")).await;
    let other = target.received(3).await;

    let parts = |nth: usize| -> Vec<String> {
        other[nth].header("traceparent").split('-').map(str::to_owned).collect()
    };
    assert_eq!(got.len(), 2);
    for nth in [0, 1] {
        assert_eq!((&*parts(nth)[1], &*parts(nth)[3]), (trace, "01"), "the sender's trace");
        assert_ne!(parts(nth)[2], parent, "each request is a span of its own");
        assert_eq!(other[nth].header("tracestate"), "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE");
    }
    assert_ne!(parts(0)[2], parts(1)[2]);
    assert_ne!(parts(2)[1], trace, "without one, the event has its own");
    assert!(!other[2].headers.contains_key("tracestate"));
}

#[tokio::test]
async fn what_a_renamed_target_takes_over_keeps_the_order_of_each_call() {
    let (down, fine) = (Target::answering(500).await, Target::answering(200).await);
    let quick = "retry = { schedule = [\"10ms\", \"10ms\", \"10ms\", \"200ms\"] }";
    let old = Setup::new().target("old", &down, quick);
    let mut expected = Vec::new();
    // One call, three of its results wait for the old name, and a younger one for the new.
    for (setup, results) in [(&old, 3), (&old.beside().target("new", &down, quick), 1)] {
        let relay = setup.start().await;
        for _ in 0..results {
            let mut result = callback("call.1");
            result["duration"] = expected.len().into();
            expected.push(post(&relay.url(), &result).await.id());
        }
        down.received(expected.len()).await;
        relay.stop().await;
    }
    let keys = format!("order = \"per-call\"\nrenamed_from = \"old\"\n{quick}");

    let _relay = old.beside().target("new", &fine, &keys).start().await;

    let got: Vec<String> = fine.received(4).await.iter().map(Delivery::id).collect();
    assert_eq!(got, expected);
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_is_not_followed() {
    let elsewhere = Target::answering(200).await;
    let url = elsewhere.url();
    let target = Target::scripted(move |_, _| {
        Reply::Answer(307, vec![("location", url.clone())], Bytes::new())
    })
    .await;
    let keys = "retry = { schedule = [\"10ms\"] }";
    let relay = Setup::new().target("crm", &target, keys).start().await;

    post(&relay.url(), &callback("call.1")).await;

    eventually("the dead letter", || async { deliveries(&relay, "crm", "dead").await == 1.0 })
        .await;
    assert!(elsewhere.got().is_empty());
    let page = relay.metrics().await;
    let redirected = [("target", "crm"), ("outcome", "retry"), ("cause", "3xx")];
    assert_eq!(page.get("hookswitch_delivery_attempts_total", &redirected), 1.0);
}

// --- standard output ---

/// The real binary, whose standard output is a pipe.
async fn piped(config: &Path) -> (Process, Lines<BufReader<ChildStdout>>) {
    let mut command = Process::command();
    command.args(["serve", "--log-format", "json", "--config"]).arg(config);
    command.stdout(Stdio::piped());
    let mut relay = Process::listening(command).await;
    let output = relay.output();
    (relay, output)
}

/// Sends that many callbacks, and returns the ids they were acked with.
async fn acked(relay: &Process, calls: std::ops::Range<usize>) -> BTreeSet<String> {
    let url = format!("http://{}/hooks/calls", relay.callbacks);
    let mut ids = BTreeSet::new();
    for call in calls {
        ids.insert(post(&url, &callback(&format!("call.{call}"))).await.id());
    }
    ids
}

/// The ids of so many events, one a line; anything else on standard output is a failure.
async fn ids_on(output: &mut Lines<BufReader<ChildStdout>>, count: usize) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    while ids.len() < count {
        let line = within("a line", output.next_line()).await.unwrap().expect("a line more");
        let event: Value = serde_json::from_str(&line).unwrap();
        assert_is_a_call_event(&event);
        ids.insert(event["id"].as_str().unwrap().to_owned());
    }
    ids
}

fn to_standard_output() -> Setup {
    Setup::new().table(&format!("[targets.out]\nfile = \"-\"\n{QUICK}")).route("all", "out")
}

#[tokio::test]
async fn standard_output_gets_one_json_line_an_event_and_nothing_else() {
    let setup = to_standard_output();
    let config = write_config(&setup.folder(), &setup.text());
    let (relay, mut output) = piped(&config).await;

    let acked = acked(&relay, 0..5).await;

    assert_eq!(ids_on(&mut output, 5).await, acked);
    relay.terminate().await;
    assert_eq!(output.next_line().await.unwrap(), None, "the log is not among it");
}

#[tokio::test]
async fn when_the_reader_of_standard_output_has_gone_events_wait_for_the_next_one() {
    let setup = to_standard_output();
    let config = write_config(&setup.folder(), &setup.text());
    let (relay, output) = piped(&config).await;
    drop(output);

    let acked = acked(&relay, 0..3).await;
    let failed = [("target", "out"), ("outcome", "retry"), ("cause", "io")];
    eventually("failed attempts", || async {
        relay.metrics().await.get("hookswitch_delivery_attempts_total", &failed) >= 3.0
    })
    .await;
    let (status, _) = relay.terminate().await;

    assert_eq!(status.code(), Some(0));
    let (relay, mut output) = piped(&config).await;
    assert_eq!(ids_on(&mut output, 3).await, acked);
    relay.kill().await;
}

#[tokio::test]
async fn a_standard_output_that_nobody_reads_holds_up_neither_acks_nor_targets_nor_the_end() {
    let crm = Target::answering(200).await;
    let setup =
        to_standard_output().server("shutdown_grace = \"300ms\"").target("crm", &crm, QUICK);
    let config = write_config(&setup.folder(), &setup.text());
    let (relay, output) = piped(&config).await;

    // A pipe holds 64 KiB, and each line is longer than 1 KiB.
    let acked = acked(&relay, 0..200).await;
    crm.received(200).await;
    let page = relay.metrics().await;
    assert!(page.get("hookswitch_target_in_flight", &[("target", "out")]) > 0.0);
    let (status, _) = relay.terminate().await;

    assert_eq!(status.code(), Some(0));
    drop(output);
    let (relay, mut output) = piped(&config).await;
    let rest = relay.metrics().await;
    let pending = rest.get("hookswitch_deliveries", &[("target", "out"), ("state", "pending")]);
    assert!(pending > 0.0, "what was not read was not delivered");
    // What came before is not known here; what comes now is of the rest.
    assert!(ids_on(&mut output, 1).await.is_subset(&acked));
    relay.kill().await;
}
