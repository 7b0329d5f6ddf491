//! In at one end, out at the other.

use std::fs;

use hookswitch::{
    clock::Clock,
    config::{Config, Environment},
    metrics::Metrics,
    store::{EventFilter, Order, Settings as StoreSettings, Store as _, sqlite::Sqlite},
};
use serde_json::{Value, json};

use crate::harness::{Page, Setup, Target, callback, eventually, post};

#[tokio::test]
async fn a_callback_is_acked_with_the_id_under_which_every_routed_target_gets_it() {
    let (crm, lake) = (Target::answering(200).await, Target::answering(204).await);
    let setup = Setup::new().target("crm", &crm, "").target("lake", &lake, "");
    let relay = setup.start().await;

    let ack = post(&relay.url(), &callback("call.1")).await;

    assert_eq!(ack.status, 200);
    assert_eq!(ack.body, format!(r#"{{"id":"{}"}}"#, ack.id()));
    for target in [&crm, &lake] {
        let got = target.received(1).await;
        assert_eq!(got[0].id(), ack.id());
        let event = got[0].event();
        assert_eq!(event["id"], ack.id().as_str());
        assert_eq!(event["source"], "/sources/calls");
        assert_eq!(event["type"], "call.completed");
        assert_eq!(event["data"]["call"]["id"], "call.1");
        assert_eq!(event["data"]["call"]["to"]["e164"], "+15550100123");
    }
}

#[tokio::test]
async fn a_source_that_asks_for_it_is_acked_with_202() {
    let relay = Setup::new().also("ack = 202").start().await;

    assert_eq!(post(&relay.url(), &callback("call.1")).await.status, 202);
}

#[tokio::test]
async fn a_repeat_is_acked_like_the_first_and_forwarded_once() {
    let target = Target::answering(200).await;
    let relay = Setup::new().target("crm", &target, "").start().await;

    let first = post(&relay.url(), &callback("call.1")).await;
    let mut turned = callback("call.1").as_object().unwrap().clone();
    turned.sort_keys();
    let repeat = post(&relay.url(), &Value::Object(turned)).await;
    let corrected = {
        let mut body = callback("call.1");
        body["callResult"]["summary"] = json!("She did not agree after all.");
        post(&relay.url(), &body).await
    };

    assert_eq!(repeat.id(), first.id());
    assert_eq!(repeat.status, first.status);
    assert_ne!(corrected.id(), first.id());
    let ids = {
        target.received(2).await;
        target.ids()
    };
    assert_eq!(ids, [first.id(), corrected.id()].into());
    let page = relay.metrics().await;
    let duplicates = [("source", "calls"), ("code", "200"), ("reason", "duplicate")];
    assert_eq!(page.get("hookswitch_ingest_requests_total", &duplicates), 1.0);
    assert_eq!(page.get("hookswitch_events_accepted_total", &[("source", "calls")]), 2.0);
}

#[tokio::test]
async fn of_equal_callbacks_in_flight_at_once_all_get_the_first_ones_id() {
    let target = Target::answering(200).await;
    let relay = Setup::new().target("crm", &target, "").start().await;

    let sends = (0..32).map(|_| {
        let url = relay.url();
        async move { post(&url, &callback("call.1")).await.id() }
    });
    let ids = relay.told(sends).await;

    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    target.received(1).await;
    let page = relay.metrics().await;
    assert_eq!(page.get("hookswitch_deliveries_enqueued_total", &[("target", "crm")]), 1.0);
}

#[tokio::test]
async fn an_authentic_callback_that_cannot_be_read_is_kept_and_acked() {
    let target = Target::answering(200).await;
    let relay = Setup::new().target("crm", &target, "").start().await;

    let ack = post(&relay.url(), &json!(["not", "an", "object"])).await;
    let repeat = post(&relay.url(), &json!(["not", "an", "object"])).await;

    assert_eq!(ack.status, 200);
    assert_eq!(repeat.id(), ack.id());
    let page = relay.metrics().await;
    let quarantined = [("source", "calls"), ("state", "quarantined")];
    assert_eq!(page.get("hookswitch_events", &quarantined), 1.0);
    page.assert_balanced(&["calls"], &["crm"]);
    assert!(target.got().is_empty());
}

#[tokio::test]
async fn a_source_that_rejects_what_it_cannot_read_answers_422_and_keeps_nothing() {
    let relay = Setup::new().also("on_unreadable = \"reject\"").start().await;

    let ack = post(&relay.url(), &json!([1])).await;

    assert_eq!(ack.status, 422);
    let page = relay.metrics().await;
    assert_eq!(page.get("hookswitch_events_accepted_total", &[("source", "calls")]), 0.0);
}

#[tokio::test]
async fn an_event_that_no_route_takes_is_kept_and_counted() {
    let target = Target::answering(200).await;
    let setup = Setup::new()
        .table(&format!("[targets.crm]\nurl = \"{}\"", target.url()))
        .table("[[routes]]\nname = \"busy only\"\nstatus = [\"busy\"]\nto = [\"crm\"]");
    let relay = setup.start().await;

    let ack = post(&relay.url(), &callback("call.1")).await;

    assert_eq!(ack.status, 200);
    let page = relay.metrics().await;
    let unrouted = [("source", "calls"), ("state", "unrouted")];
    assert_eq!(page.get("hookswitch_events", &unrouted), 1.0);
    page.assert_balanced(&["calls"], &["crm"]);
}

#[tokio::test]
async fn a_route_takes_the_events_its_provider_status_and_condition_name() {
    let (long, other) = (Target::answering(200).await, Target::answering(200).await);
    let setup = Setup::new()
        .table(&format!("[targets.long]\nurl = \"{}\"", long.url()))
        .table(&format!("[targets.other]\nurl = \"{}\"", other.url()))
        .table(
            "[[routes]]\nname = \"long calls\"\nprovider = [\"11x\"]\nstatus = [\"completed\"]\n\
             when = 'data.call.duration_seconds != null && data.call.duration_seconds > 10'\n\
             to = [\"long\"]",
        )
        .table("[[routes]]\nname = \"others\"\nprovider = [\"plum\"]\nto = [\"other\"]");
    let relay = setup.start().await;
    let lasting = |id: &str, seconds: u32| {
        let mut body = callback(id);
        body["duration"] = json!(seconds);
        body
    };

    let short = post(&relay.url(), &lasting("call.1", 9)).await;
    let ack = post(&relay.url(), &lasting("call.2", 11)).await;

    assert_eq!(short.status, 200);
    long.received(1).await;
    assert_eq!(long.ids(), [ack.id()].into());
    assert!(other.got().is_empty());
    let page = relay.metrics().await;
    let unrouted = [("source", "calls"), ("state", "unrouted")];
    assert_eq!(page.get("hookswitch_events", &unrouted), 1.0);
    assert_eq!(page.get("hookswitch_route_errors_total", &[("route", "long calls")]), 0.0);
    assert_eq!(page.get("hookswitch_route_errors_total", &[("route", "others")]), 0.0);
}

#[tokio::test]
async fn an_event_that_a_condition_fails_on_is_kept_counted_and_found_by_its_route() {
    let target = Target::answering(200).await;
    let setup = Setup::new()
        .table(
            "[[routes]]\nname = \"by skill\"\nwhen = 'data.extra.skill == \"sales\"'\n\
             to = [\"crm\"]",
        )
        .target("crm", &target, "");
    let relay = setup.start().await;

    let ack = post(&relay.url(), &callback("call.1")).await;
    let mut with_skill = callback("call.2");
    with_skill["skill"] = json!("sales");
    post(&relay.url(), &with_skill).await;
    // A repeat is the same event.
    assert_eq!(post(&relay.url(), &callback("call.1")).await.id(), ack.id());

    target.received(2).await;
    let page = relay.metrics().await;
    assert_eq!(page.get("hookswitch_route_errors_total", &[("route", "by skill")]), 1.0);
    relay.stop().await;
    let store = Sqlite::open(&settings(&setup), Clock::system(), &Metrics::new()).unwrap();
    let failed = |route: &str| EventFilter {
        failed_route: Some(route.to_owned()),
        ..EventFilter::default()
    };
    let of_skill = store.events(failed("by skill"), Order::OldestFirst, None, 9).await.unwrap();
    let of_another = store.events(failed("by"), Order::OldestFirst, None, 9).await.unwrap();
    assert_eq!(of_skill.events.len(), 1);
    assert_eq!(of_skill.events[0].id.to_string(), ack.id());
    assert_eq!(of_skill.events[0].failed_routes, ["by skill"]);
    assert!(of_another.events.is_empty());
    store.close().await.unwrap();
}

fn settings(setup: &Setup) -> StoreSettings {
    let environment = Environment::given::<String, String>([]);
    Config::parse("relay.toml", &setup.text(), &environment).unwrap().0.store
}

#[tokio::test]
async fn an_event_that_several_routes_send_to_one_target_gets_there_once() {
    let target = Target::answering(200).await;
    let setup = Setup::new().target("crm", &target, "").route("again", "crm");
    let relay = setup.start().await;

    post(&relay.url(), &callback("call.1")).await;
    post(&relay.url(), &callback("call.2")).await;

    target.received(2).await;
    let page = relay.metrics().await;
    assert_eq!(page.get("hookswitch_deliveries_enqueued_total", &[("target", "crm")]), 2.0);
}

#[tokio::test]
async fn a_file_target_gets_one_json_line_an_event() {
    let setup = Setup::new();
    let file = setup.folder().join("deep/er/events.jsonl");
    let setup = setup.table(&format!("[targets.archive]\nfile = {file:?}")).route("all", "archive");
    let relay = setup.start().await;

    let mut ids = Vec::new();
    for call in 0..5 {
        ids.push(post(&relay.url(), &callback(&format!("call.{call}"))).await.id());
    }

    eventually("five delivered events", || async {
        let page: Page = relay.metrics().await;
        page.get("hookswitch_deliveries", &[("target", "archive"), ("state", "delivered")]) == 5.0
    })
    .await;
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.ends_with('\n'));
    let mut got: Vec<String> = text
        .lines()
        .map(|line| {
            let event: Value = serde_json::from_str(line).unwrap();
            crate::harness::assert_is_a_call_event(&event);
            event["id"].as_str().unwrap().to_owned()
        })
        .collect();
    got.sort();
    ids.sort();
    assert_eq!(got, ids);
}
