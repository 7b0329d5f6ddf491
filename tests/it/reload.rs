//! Another relay.toml, while callbacks come in and deliveries are out.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::json;

use crate::harness::{
    API_KEY, Ack, Process, Reply, Setup, Target, callback, client, eventually, post, write_config,
};

/// A further source with a secret of its own.
fn source(name: &str, secret: &str) -> String {
    format!(
        "[sources.{name}]\nprovider = \"11x\"\nauth = {{ kind = \"header\", secret = \"{secret}\" \
         }}"
    )
}

#[tokio::test]
async fn every_event_acked_during_fifty_reloads_arrives_and_no_connection_is_lost() {
    let kept = Target::answering(200).await;
    let other = Target::answering(200).await;
    let setup = Setup::new().target("crm", &kept, "");
    let relay = setup.start().await;
    let changed = setup.text().replace(
        "[targets.crm]",
        &format!("[targets.other]\nurl = \"{}\"\n[targets.crm]\nconcurrency = 3", other.url()),
    );
    let changed =
        format!("{changed}[[routes]]\nname = \"more\"\nto = [\"other\"]\n{}", source("new", "s"));
    let stop = Arc::new(AtomicBool::new(false));
    let senders: Vec<_> = (0..4)
        .map(|sender| {
            let (url, stop) = (relay.url(), Arc::clone(&stop));
            tokio::spawn(async move {
                // One client, so that its connections outlive many reloads.
                let client = client();
                let mut acked = BTreeSet::new();
                while !stop.load(Ordering::SeqCst) {
                    let body = callback(&format!("call.{sender}-{}", acked.len())).to_string();
                    let sent = client.post(&url).header("x-api-key", API_KEY).body(body).send();
                    acked.insert(Ack::of(sent.await.unwrap()).await.id());
                }
                acked
            })
        })
        .collect();

    for turn in 0..50 {
        let text = if turn % 2 == 0 { &changed } else { &setup.text() };
        let (status, report) = relay.reload(text, "keep").await;
        assert_eq!(status, 200, "{report}");
    }
    stop.store(true, Ordering::SeqCst);
    let mut acked = BTreeSet::new();
    for sender in senders {
        acked.extend(sender.await.unwrap());
    }

    assert!(acked.len() > 50, "only {} events", acked.len());
    eventually("every acked event at the target", || async { acked.is_subset(&kept.ids()) }).await;
    let page = relay.metrics().await;
    page.assert_balanced(&["calls"], &["crm", "other"]);
    assert_eq!(page.get("hookswitch_config_reload_success", &[]), 1.0);
}

#[tokio::test]
async fn a_reload_says_what_it_added_changed_and_removed_and_what_needs_a_restart() {
    let target = Target::answering(200).await;
    let setup = Setup::new().target("crm", &target, "").target("old", &target, "");
    let relay = setup.start().await;
    let next = Setup::new().target("crm", &target, "concurrency = 2").target("new", &target, "");
    let own = format!("{:?}", next.store_path());
    let text = next.text().replace(&own, &format!("{:?}", setup.store_path()));
    let text = text.replace("[server]", "[server]\nmax_connections = 5");

    let (status, report) = relay.reload(&text, "refuse").await;

    assert_eq!(status, 200, "{report}");
    assert_eq!(report["added"], json!(["routes.everything to new", "targets.new"]));
    assert_eq!(report["changed"], json!(["server", "targets.crm"]));
    assert_eq!(report["removed"], json!(["routes.everything to old", "targets.old"]));
    assert_eq!(report["needs_restart"], json!(["server.max_connections"]));
    let shown = client().get(relay.admin("/api/v1/config")).send().await.unwrap();
    let shown = shown.text().await.unwrap();
    assert!(shown.contains("\"new\"") && !shown.contains(API_KEY), "{shown}");
}

#[tokio::test]
async fn a_file_with_a_problem_changes_nothing_and_names_it() {
    let target = Target::answering(200).await;
    let setup = Setup::new().target("crm", &target, "");
    let relay = setup.start().await;

    let (status, report) = relay.reload(&format!("{}\n[servre]\n", setup.text()), "refuse").await;

    assert!((400..500).contains(&status), "{status} {report}");
    assert!(report.to_string().contains("did you mean `server`?"), "{report}");
    let page = relay.metrics().await;
    assert_eq!(page.get("hookswitch_config_reload_success", &[]), 0.0);
    assert!(page.get("hookswitch_config_reload_time_seconds", &[]) > 1_700_000_000.0);
    let id = post(&relay.url(), &callback("call.1")).await.id();
    assert_eq!(target.received(1).await[0].id(), id);
    let (status, _) = relay.reload(&setup.text(), "refuse").await;
    assert_eq!(status, 200);
    assert_eq!(relay.metrics().await.get("hookswitch_config_reload_success", &[]), 1.0);
}

#[tokio::test]
async fn a_file_that_a_target_names_in_vain_leaves_the_sources_as_they_were() {
    let target = Target::answering(200).await;
    let setup = Setup::new().target("crm", &target, "");
    let relay = setup.start().await;
    let text = setup.text().replace(API_KEY, "another-key");
    let text = format!(
        "{text}[targets.bad]\nurl = \"https://crm.example.com\"\ntls = {{ ca = \"none.pem\" }}\n"
    );

    let (status, _) = relay.reload(&text, "keep").await;

    assert_ne!(status, 200);
    post(&relay.url(), &callback("call.1")).await.id();
}

#[tokio::test]
async fn a_rotated_secret_holds_from_the_reload_on_over_connections_that_are_open() {
    let setup = Setup::new();
    let relay = setup.start().await;
    let client = client();
    let send = async |key: &str, call: &str| {
        let body = callback(call).to_string();
        let sent = client.post(relay.url()).header("x-api-key", key).body(body).send().await;
        sent.unwrap().status().as_u16()
    };
    assert_eq!(send(API_KEY, "call.1").await, 200);

    let (_, report) = relay.reload(&setup.text().replace(API_KEY, "rotated-key"), "refuse").await;

    assert_eq!(report["changed"], json!(["sources.calls"]));
    assert_eq!(send(API_KEY, "call.2").await, 401);
    assert_eq!(send("rotated-key", "call.3").await, 200);
}

#[tokio::test]
async fn a_changed_target_is_never_worked_by_two_lanes() {
    let target = Target::scripted(|nth, _| match nth {
        0..8 => Reply::After(std::time::Duration::from_millis(50), Box::new(Reply::status(200))),
        _ => Reply::status(200),
    })
    .await;
    let setup =
        Setup::new().target("crm", &target, "concurrency = 2\nheaders = { x-turn = \"0\" }");
    let relay = setup.start().await;
    let sends = (0..12).map(|n| {
        let url = relay.url();
        async move { post(&url, &callback(&format!("call.{n}"))).await.id() }
    });
    let sent: BTreeSet<String> = relay.told(sends).await.into_iter().collect();

    for turn in 1..6 {
        let text = setup.text().replace("\"0\"", &format!("\"{turn}\""));
        assert_eq!(relay.reload(&text, "refuse").await.0, 200);
    }
    // Left out and brought back, while its attempts may be out.
    let without = Setup::new();
    let own = format!("{:?}", without.store_path());
    let without = without.text().replace(&own, &format!("{:?}", setup.store_path()));
    assert_eq!(relay.reload(&without, "keep").await.0, 200);
    assert_eq!(relay.reload(&setup.text(), "keep").await.0, 200);

    eventually("every event", || async { target.ids() == sent }).await;
    assert!(target.most_out() <= 2, "{} at one time", target.most_out());
    assert_eq!(target.got().len(), sent.len(), "none twice");
}

#[tokio::test]
async fn queued_work_without_a_target_refuses_a_reload_unless_told_what_becomes_of_it() {
    let target = Target::answering(500).await;
    let setup = Setup::new().target("crm", &target, "");
    let relay = setup.start().await;
    post(&relay.url(), &callback("call.1")).await.id();
    target.received(1).await;
    let bare = Setup::new();
    let own = format!("{:?}", bare.store_path());
    let bare = bare.text().replace(&own, &format!("{:?}", setup.store_path()));

    let (status, refused) = relay.reload(&bare, "refuse").await;
    assert_eq!(status, 409, "{refused}");
    assert!(refused.to_string().contains("\"crm\""), "{refused}");
    let (status, kept) = relay.reload(&bare, "keep").await;
    assert_eq!((status, &kept["orphaned"][0]["pending"]), (200, &json!(1)), "{kept}");
    let (status, back) = relay.reload(&setup.text(), "refuse").await;
    assert_eq!((status, &back["orphaned"]), (200, &json!([])), "{back}");
    let (status, dead) = relay.reload(&bare, "dead").await;

    assert_eq!(status, 200, "{dead}");
    eventually("a dead letter", || async {
        let labels = [("target", "crm"), ("state", "dead")];
        relay.metrics().await.get("hookswitch_deliveries", &labels) == 1.0
    })
    .await;
}

#[tokio::test]
async fn a_hangup_reads_the_file_again_with_its_secrets() {
    let setup = Setup::new();
    let secret = setup.folder().join("secret");
    std::fs::write(&secret, "first-key").unwrap();
    let named = format!("{{ file = {secret:?} }}");
    let text = setup.text().replace(&format!("\"{API_KEY}\""), &named);
    let config = write_config(&setup.folder(), &text);
    let mut relay = Process::serve(&config).await;
    let url = format!("http://{}/hooks/calls", relay.callbacks);
    let send = async |key: &str, call: &str| {
        let sent = client().post(&url).header("x-api-key", key);
        sent.body(callback(call).to_string()).send().await.unwrap().status().as_u16()
    };
    assert_eq!(send("first-key", "call.1").await, 200);

    std::fs::write(&secret, "second-key").unwrap();
    let said = relay.hang_up().await;

    assert!(said.contains("sources.calls"), "{said}");
    assert_eq!(send("first-key", "call.2").await, 401);
    assert_eq!(send("second-key", "call.3").await, 200);

    std::fs::write(&config, "[servre]\n").unwrap();
    let said = relay.hang_up().await;

    assert!(said.contains("not reloaded"), "{said}");
    assert_eq!(send("second-key", "call.4").await, 200);
    relay.terminate().await;
}
