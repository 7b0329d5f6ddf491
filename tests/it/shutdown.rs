//! SIGTERM under load: nothing acked is lost, and the end is orderly.

use std::time::Duration;

use hookswitch::relay::Ended;

use crate::harness::{
    API_KEY, Process, Raw, Reply, Setup, Target, callback, client, eventually, post, write_config,
};

#[tokio::test]
async fn a_callback_in_flight_at_the_stop_is_still_acked() {
    let setup = Setup::new();
    let mut relay = setup.start().await;
    let body = callback("call.1").to_string();
    let (first, second) = body.split_at(100);
    let mut sender = Raw::connect(relay.callbacks()).await;
    sender
        .send(format!(
            "POST /hooks/calls HTTP/1.1\r\nhost: relay\r\nx-api-key: {API_KEY}\r\ncontent-length: {}\r\n\r\n{first}",
            body.len()
        ))
        .await;
    eventually("the callback to be in flight", || async {
        relay.metrics().await.get("hookswitch_ingest_in_flight", &[]) == 1.0
    })
    .await;

    relay.begin_stop();
    eventually("the relay not to be ready", || async {
        client().get(relay.admin("/readyz")).send().await.unwrap().status() == 503
    })
    .await;
    sender.send(second).await;

    assert!(sender.rest().await.starts_with("HTTP/1.1 200 "));
    assert_eq!(relay.ended().await, Ended::Drained);
    let restarted = setup.start().await;
    let accepted = restarted.metrics().await;
    assert_eq!(accepted.get("hookswitch_events_accepted_total", &[("source", "calls")]), 1.0);
}

#[tokio::test]
async fn a_delivery_that_is_out_at_the_stop_comes_back_and_is_not_repeated() {
    let target = Target::scripted(|_, _| {
        Reply::After(Duration::from_millis(300), Box::new(Reply::status(200)))
    })
    .await;
    let setup = Setup::new().target("crm", &target, "");
    let relay = setup.start().await;
    post(&relay.url(), &callback("call.1")).await;
    target.received(1).await;

    assert_eq!(relay.stop().await, Ended::Drained);

    let restarted = setup.start().await;
    let page = restarted.metrics().await;
    assert_eq!(
        page.get("hookswitch_deliveries", &[("target", "crm"), ("state", "delivered")]),
        1.0
    );
    assert_eq!(target.got().len(), 1);
}

#[tokio::test]
async fn a_target_that_never_answers_does_not_hold_the_stop_beyond_the_grace_time() {
    let target = Target::scripted(|_, _| Reply::Silence).await;
    let setup = Setup::new().server("shutdown_grace = \"300ms\"").target(
        "crm",
        &target,
        "timeout = \"60s\"",
    );
    let relay = setup.start().await;
    let ack = post(&relay.url(), &callback("call.1")).await;
    target.received(1).await;

    assert_eq!(relay.stop().await, Ended::GraceOver);

    let again = Target::answering(200).await;
    let text = setup.text().replace(&target.url(), &again.url());
    let restarted = setup.start_text(&text).await;
    assert_eq!(again.received(1).await[0].id(), ack.id());
    drop(restarted);
}

#[tokio::test]
async fn a_second_sigterm_ends_the_relay_at_once_and_loses_nothing() {
    let silent = Target::scripted(|_, _| Reply::Silence).await;
    let setup =
        Setup::new().server("shutdown_grace = \"1h\"").target("crm", &silent, "timeout = \"1h\"");
    let config = write_config(&setup.folder(), &setup.text());
    let mut relay = Process::serve(&config).await;
    let url = format!("http://{}/hooks/calls", relay.callbacks);
    let ack = post(&url, &callback("call.1")).await;
    silent.received(1).await;

    relay.begin_stop().await;
    let (status, log) = relay.terminate().await;

    assert_eq!(status.code(), Some(1), "{log:#?}");
    assert!(log.iter().any(|line| line.contains("a second signal")), "{log:#?}");
    let again = Target::answering(200).await;
    let restarted = setup.start_text(&setup.text().replace(&silent.url(), &again.url())).await;
    assert_eq!(again.received(1).await[0].id(), ack.id());
    drop(restarted);
}

#[tokio::test]
async fn sigterm_under_load_exits_0_and_everything_acked_is_delivered_after_a_restart() {
    let target = Target::answering(200).await;
    let setup = Setup::new().target("crm", &target, "");
    let config = write_config(&setup.folder(), &setup.text());
    let relay = Process::serve(&config).await;
    let url = format!("http://{}/hooks/calls", relay.callbacks);
    let mut senders = tokio::task::JoinSet::new();
    for sender in 0..8 {
        let url = url.clone();
        senders.spawn(async move {
            let client = client();
            let mut acked = Vec::new();
            for call in 0.. {
                let body = callback(&format!("call.{sender}.{call}")).to_string();
                let sent = client.post(&url).header("x-api-key", API_KEY).body(body).send().await;
                match sent {
                    Ok(answer) if answer.status().is_success() => {
                        acked.push(crate::harness::Ack::of(answer).await.id());
                    }
                    _ => break,
                }
            }
            acked
        });
    }
    target.received(50).await;

    let (status, _) = relay.terminate().await;

    assert_eq!(status.code(), Some(0));
    let mut acked = Vec::new();
    while let Some(ids) = senders.join_next().await {
        acked.extend(ids.unwrap());
    }
    assert!(acked.len() >= 50);
    let relay = Process::serve(&config).await;
    eventually("every acked event at the target", || async {
        let got = target.ids();
        acked.iter().all(|id| got.contains(id))
    })
    .await;
    relay.kill().await;
}
