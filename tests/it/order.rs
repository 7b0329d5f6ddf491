//! Calls keep their order, whatever is done to them meanwhile.

use serde_json::json;

use crate::{
    harness::{Delivery, Relay, Reply, Setup, Target, callback, eventually, post},
    reload::order,
};

const PER_CALL: &str = "concurrency = 4\norder = \"per-call\"";

/// Sends results of one call, and tells their ids.
async fn results(relay: &Relay, call: &str, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for n in 0..count {
        let mut result = callback(call);
        result["duration"] = n.into();
        ids.push(post(&relay.url(), &result).await.id());
    }
    ids
}

fn arrived(target: &Target) -> Vec<String> {
    target.got().iter().map(Delivery::id).collect()
}

async fn delivered(relay: &Relay, target: &str, count: f64) {
    let labels = [("target", target), ("state", "delivered")];
    eventually("the deliveries", || async {
        relay.metrics().await.get("hookswitch_deliveries", &labels) == count
    })
    .await;
}

#[tokio::test]
async fn a_dead_result_that_is_sent_again_waits_for_the_one_of_its_call_that_is_out() {
    let crm = Target::scripted(|nth, _| match nth {
        0 => Reply::status(410),
        1 => Reply::Held(Box::new(Reply::status(200))),
        _ => Reply::status(200),
    })
    .await;
    let relay = Setup::new().target("crm", &crm, PER_CALL).start().await;
    let sent = results(&relay, "call.1", 3).await;
    crm.received(2).await;

    let (status, told) =
        order(&relay, "/api/v1/dead-letters/redrive", &json!({ "target": "crm" })).await;
    assert_eq!((status, &told["moved"]), (200, &json!(1)), "{told}");
    let other = results(&relay, "call.2", 1).await.remove(0);
    crm.received(3).await;
    crm.release(1);

    delivered(&relay, "crm", 4.0).await;
    assert_eq!(arrived(&crm), [&sent[0], &sent[1], &other, &sent[0], &sent[2]].map(Clone::clone));
}

#[tokio::test]
async fn events_that_no_route_took_are_replayed_in_the_order_of_their_call() {
    let crm = Target::scripted(|_, _| Reply::Held(Box::new(Reply::status(200)))).await;
    let table = format!("[targets.crm]\nurl = \"{}\"\n{PER_CALL}", crm.url());
    let relay = Setup::new().table(&table).start().await;
    let sent = results(&relay, "call.1", 3).await;

    let (status, told) = order(&relay, "/api/v1/replay", &json!({ "to": ["crm"] })).await;
    assert_eq!((status, &told["deliveries"]), (200, &json!(3)), "{told}");
    for count in 1..=3 {
        crm.received(count).await;
        crm.release(1);
    }

    delivered(&relay, "crm", 3.0).await;
    assert_eq!(arrived(&crm), sent);
    assert_eq!(crm.most_out(), 1);
}

#[tokio::test]
async fn a_target_told_to_keep_the_order_of_calls_keeps_it_in_what_waits_already() {
    let crm = Target::scripted(|_, _| Reply::Held(Box::new(Reply::status(200)))).await;
    let none = "concurrency = 1\norder = \"none\"";
    let setup = Setup::new().target("crm", &crm, none);
    let relay = setup.start().await;
    let sent = results(&relay, "call.1", 3).await;
    let other = results(&relay, "call.2", 1).await.remove(0);
    crm.received(1).await;

    let (status, told) = relay.reload(&setup.text().replace(none, PER_CALL), "refuse").await;
    assert_eq!((status, &told["changed"]), (200, &json!(["targets.crm"])), "{told}");
    crm.release(1);
    let got: Vec<String> = crm.received(3).await.iter().map(Delivery::id).collect();
    assert!(got[1..].contains(&other), "of another call: {got:?}");
    crm.release(3);

    delivered(&relay, "crm", 4.0).await;
    let mut got = arrived(&crm);
    got.retain(|id| *id != other);
    assert_eq!(got, sent);
    assert_eq!(crm.most_out(), 2);
}
