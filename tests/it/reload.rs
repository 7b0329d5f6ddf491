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
    API_KEY, Ack, GONE, Process, Raw, Relay, Reply, Setup, Target, callback, client, eventually,
    post, troubled, write_config,
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

    // A connection of which every byte is seen: a client would open another in silence.
    let mut kept_open = Raw::connect(relay.callbacks()).await;
    let raw = |call: &str| {
        let body = callback(call).to_string();
        format!(
            "POST /hooks/calls HTTP/1.1\r\nhost: relay\r\nx-api-key: {API_KEY}\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )
    };

    for turn in 0..50 {
        kept_open.send(raw(&format!("call.raw-{turn}"))).await;
        let answer = kept_open.head().await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let text = if turn % 2 == 0 { &changed } else { &setup.text() };
        let (status, report) = relay.reload(text, "keep").await;
        assert_eq!(status, 200, "{report}");
    }
    stop.store(true, Ordering::SeqCst);
    let mut acked = BTreeSet::new();
    for sender in senders {
        acked.extend(sender.await.unwrap());
    }

    kept_open.send(raw("call.raw-last")).await;
    assert!(kept_open.head().await.starts_with("HTTP/1.1 200"));
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
    let (_, again) = relay.reload(&text, "refuse").await;
    assert_eq!(again["needs_restart"], json!(["server.max_connections"]), "it waits still");
    let (_, back) = relay.reload(&text.replace("max_connections = 5", ""), "refuse").await;
    assert_eq!(back["needs_restart"], json!([]), "it is what the relay goes by");
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
    // What was kept once is no reason to refuse what has nothing to do with it.
    let (status, again) = relay.reload(&bare, "refuse").await;
    assert_eq!((status, &again["orphaned"][0]["pending"]), (200, &json!(1)), "{again}");
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

#[tokio::test]
async fn a_start_and_a_hangup_keep_what_has_no_target_and_say_how_much_that_is() {
    let crm = Target::answering(500).await;
    let setup = Setup::new().target("crm", &crm, "retry = { schedule = [\"1h\"] }");
    let config = write_config(&setup.folder(), &setup.text());
    let mut relay = Process::serve(&config).await;
    let url = format!("http://{}/hooks/calls", relay.callbacks);
    for n in 0..3 {
        post(&url, &callback(&format!("call.{n}"))).await.id();
    }
    crm.received(3).await;
    let says =
        |lines: &[String]| lines.iter().any(|line| line.contains("3 deliveries wait for crm"));
    let owed = async |relay: &Process| {
        let told = client().get(format!("http://{}/api/v1/targets", relay.admin)).send().await;
        let told = told.unwrap().text().await.unwrap();
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        (told["targets"][0]["configured"].clone(), told["targets"][0]["pending"].clone())
    };

    write_config(&setup.folder(), &setup.beside().text());
    let said = relay.hung_up().await;

    assert!(says(&said) && !said.last().unwrap().contains("not reloaded"), "{said:?}");
    assert_eq!(owed(&relay).await, (json!(false), json!(3)));
    relay.terminate().await;
    let relay = Process::serve(&config).await;
    assert_eq!(owed(&relay).await, (json!(false), json!(3)));
    let (_, said) = relay.terminate().await;
    assert!(says(&said), "{said:?}");
    write_config(&setup.folder(), &setup.text());
    let relay = Process::serve(&config).await;
    assert_eq!(owed(&relay).await, (json!(true), json!(3)));
    let (_, said) = relay.terminate().await;
    assert!(!says(&said), "{said:?}");
    assert_eq!(crm.got().len(), 3);
}

/// The same store under another relay.toml.
fn on_the_store_of(setup: &Setup, other: &Setup) -> String {
    let own = format!("{:?}", other.store_path());
    other.text().replace(&own, &format!("{:?}", setup.store_path()))
}

async fn count(relay: &Relay, target: &str, state: &str) -> f64 {
    let labels = [("target", target), ("state", state)];
    relay.metrics().await.get("hookswitch_deliveries", &labels)
}

pub(crate) async fn order(
    relay: &Relay,
    path: &str,
    body: &serde_json::Value,
) -> (u16, serde_json::Value) {
    let sent = client()
        .post(relay.admin(path))
        .header("content-type", "application/json")
        .body(body.to_string())
        .send()
        .await
        .unwrap();
    (sent.status().as_u16(), serde_json::from_str(&sent.text().await.unwrap()).unwrap())
}

#[tokio::test]
async fn after_a_reload_with_a_mapping_that_fits_what_was_quarantined_arrives() {
    let crm = Target::answering(200).await;
    let setup = Setup::new().target("crm", &crm, "").source(&format!(
        "provider = \"custom\"\nauth = {{ kind = \"header\", name = \"x-api-key\", secret = \
         \"{API_KEY}\" }}\nmap = {{ name = \"dialler\", call.id = \"/of/id\", call.status = \"/of/state\" }}"
    ));
    let (relay, store) = troubled(&setup).await;
    let id = post(&relay.url(), &json!({ "id": "c1", "state": "completed" })).await.id();
    let state = async |state: &str| {
        let labels = [("source", "calls"), ("state", state)];
        relay.metrics().await.get("hookswitch_events", &labels)
    };
    assert_eq!(state("quarantined").await, 1.0);
    let (_, still) = order(&relay, "/api/v1/quarantine/redrive", &json!({})).await;
    assert_eq!(still["released"], 0, "{still}");

    let (status, report) = relay.reload(&setup.text().replace("/of/", "/"), "refuse").await;
    assert_eq!((status, &report["changed"]), (200, &json!(["sources.calls"])), "{report}");
    store.fail_after(0);
    let (status, told) = order(&relay, "/api/v1/quarantine/redrive", &json!({})).await;
    assert_eq!((status, &told["reason"]), (500, &json!("store_failed")), "{told}");
    assert_eq!(state("quarantined").await, 1.0);
    store.fail_after(u64::MAX);
    let (_, read) = order(&relay, "/api/v1/quarantine/redrive", &json!({})).await;

    assert_eq!(read["released"], 1, "{read}");
    let got = crm.received(1).await;
    assert_eq!((got[0].id(), &got[0].event()["data"]["call"]["id"]), (id, &json!("c1")));
    assert_eq!((state("quarantined").await, state("routed").await), (0.0, 1.0));
}

#[tokio::test]
async fn a_target_renamed_by_a_reload_gets_what_the_old_name_is_owed() {
    let (down, fine) = (Target::answering(500).await, Target::answering(200).await);
    let setup = Setup::new().target("old", &down, "");
    let relay = setup.start().await;
    let mut sent = BTreeSet::new();
    for n in 0..5 {
        sent.insert(post(&relay.url(), &callback(&format!("call.{n}"))).await.id());
    }
    down.received(5).await;
    let renamed = Setup::new().target("new", &fine, "renamed_from = \"old\"");

    let (status, report) = relay.reload(&on_the_store_of(&setup, &renamed), "refuse").await;

    assert_eq!((status, &report["orphaned"]), (200, &json!([])), "{report}");
    eventually("the old name is owed nothing", || async {
        count(&relay, "old", "pending").await == 0.0
    })
    .await;
    // They wait for their next attempt as they did; a replay is not needed, but is sooner.
    assert_eq!(
        count(&relay, "new", "pending").await + count(&relay, "new", "delivered").await,
        5.0
    );
    relay.metrics().await.assert_balanced(&["calls"], &["old", "new"]);
    eventually("all of them at the heir", || async { fine.ids() == sent }).await;
}

#[tokio::test]
async fn a_renaming_waits_for_the_attempts_that_are_out_under_the_old_name() {
    for order in ["none", "per-call"] {
        let target = Target::scripted(|nth, _| match nth {
            0..2 => Reply::Held(Box::new(Reply::status(200))),
            _ => Reply::status(200),
        })
        .await;
        let other = Target::answering(200).await;
        let keys = format!("concurrency = 2\norder = \"{order}\"");
        let setup = Setup::new().target("old", &target, &keys).target("other", &other, "");
        let relay = setup.start().await;
        let mut sent = BTreeSet::new();
        for n in 0..2 {
            sent.insert(post(&relay.url(), &callback(&format!("call.{n}"))).await.id());
        }
        target.received(2).await;
        let renamed = Setup::new()
            .target("new", &target, &format!("{keys}\nrenamed_from = \"old\""))
            .target("other", &other, "");

        let renamed = on_the_store_of(&setup, &renamed);
        assert_eq!(relay.reload(&renamed, "refuse").await.0, 200);
        for n in 2..12 {
            sent.insert(post(&relay.url(), &callback(&format!("call.{n}"))).await.id());
        }
        other.received(12).await;
        assert_eq!(target.got().len(), 2, "{order}: nothing beside what is out");
        target.release(2);

        eventually("every event", || async { target.ids() == sent }).await;
        eventually("no more of them", || async {
            count(&relay, "new", "delivered").await + count(&relay, "old", "delivered").await
                == 12.0
        })
        .await;
        assert_eq!(target.got().len(), sent.len(), "{order}: none twice");
        assert!(target.most_out() <= 2, "{order}: {} at one time", target.most_out());
        relay.metrics().await.assert_balanced(&["calls"], &["old", "new", "other"]);
    }
}

#[tokio::test]
async fn what_is_out_when_its_target_is_removed_is_what_it_comes_back_as() {
    let script = |nth, _: &_| Reply::Held(Box::new(Reply::status([200, 500][nth])));
    let target = Target::scripted(script).await;
    let setup = Setup::new().target("crm", &target, "concurrency = 2");
    let relay = setup.start().await;
    for n in 0..2 {
        post(&relay.url(), &callback(&format!("call.{n}"))).await.id();
    }
    target.received(2).await;
    let bare = on_the_store_of(&setup, &Setup::new());

    let removed = async {
        eventually("a relay without it", || async {
            let told = client().get(relay.admin("/api/v1/targets")).send().await.unwrap();
            let told: serde_json::Value =
                serde_json::from_str(&told.text().await.unwrap()).unwrap();
            told["targets"][0]["configured"] == false
        })
        .await;
        target.release(2);
    };
    let ((status, told), ()) = tokio::join!(relay.reload(&bare, "dead"), removed);

    assert_eq!((status, &told["orphaned"][0]["pending"]), (200, &json!(1)), "{told}");
    assert_eq!((count(&relay, "crm", "delivered").await, target.got().len()), (1.0, 2));
    assert_eq!(count(&relay, "crm", "dead").await, 1.0);
    relay.metrics().await.assert_balanced(&["calls"], &["crm"]);
}

#[tokio::test]
async fn a_tripped_target_that_is_removed_is_tripped_no_more() {
    let target = Target::answering(500).await;
    let keys = "breaker = { failures = 1 }\nretry = { initial = \"100ms\" }\nconcurrency = 2";
    let setup = Setup::new().target("crm", &target, keys);
    let relay = setup.start().await;
    post(&relay.url(), &callback("call.1")).await.id();
    let shows = async |state: f64, limit: f64| {
        let (page, crm) = (relay.metrics().await, [("target", "crm")]);
        page.get("hookswitch_target_breaker_state", &crm) == state
            && page.get("hookswitch_target_concurrency_limit", &crm) == limit
    };
    eventually("the target to be tripped", || shows(2.0, 2.0)).await;

    let bare = on_the_store_of(&setup, &Setup::new());
    assert_eq!(relay.reload(&bare, "keep").await.0, 200);

    eventually("a target that is not tried", || shows(0.0, 0.0)).await;
    assert_eq!(relay.reload(&setup.text(), "keep").await.0, 200);
    eventually("a target that is tried again", async || {
        target.got().len() > 1 && shows(2.0, 2.0).await
    })
    .await;
}

#[tokio::test]
async fn what_does_not_come_back_in_time_is_not_buried_and_a_repeat_goes_on() {
    let target = Target::answering(500).await;
    let setup = Setup::new().target("crm", &target, "timeout = \"100ms\"");
    let (relay, store) = troubled(&setup).await;
    store.forgets.store(true, Ordering::SeqCst);
    post(&relay.url(), &callback("call.1")).await.id();
    target.received(1).await;
    let bare = on_the_store_of(&setup, &Setup::new());

    let (status, told) = relay.reload(&bare, "dead").await;

    assert_eq!((status, &told["reason"]), (503, &json!("unfinished")), "{told}");
    assert!(told["detail"].as_str().unwrap().contains("have not come back in time"), "{told}");
    assert_eq!((count(&relay, "crm", "pending").await, target.got().len()), (1.0, 1));
    store.forgets.store(false, Ordering::SeqCst);
    let (status, told) = relay.reload(&bare, "dead").await;
    assert_eq!((status, &told["orphaned"][0]["pending"]), (200, &json!(1)), "{told}");
    assert_eq!((count(&relay, "crm", "dead").await, target.got().len()), (1.0, 1));
    relay.metrics().await.assert_balanced(&["calls"], &["crm"]);
}

#[tokio::test]
async fn a_paused_target_is_paused_after_a_reload_whatever_that_changes() {
    let target = Target::answering(200).await;
    let other = Target::answering(200).await;
    let setup = Setup::new().target("crm", &target, "concurrency = 2").target("bi", &other, "");
    let relay = setup.start().await;
    let (status, _) = order(&relay, "/api/v1/targets/crm/pause", &json!({})).await;
    assert_eq!(status, 200);
    let shown = async || {
        let told = client().get(relay.admin("/api/v1/targets")).send().await.unwrap();
        let told: serde_json::Value = serde_json::from_str(&told.text().await.unwrap()).unwrap();
        let mut all = told["targets"].as_array().unwrap().iter();
        all.find(|target| target["name"] == "crm").unwrap().clone()
    };
    let since = shown().await["paused_since"].clone();
    let without = Setup::new().target("bi", &other, "");
    let texts = [
        setup.text(),
        setup.text().replace("concurrency = 2", "concurrency = 3"),
        on_the_store_of(&setup, &without),
        setup.text(),
    ];

    for (turn, text) in texts.iter().enumerate() {
        assert_eq!(relay.reload(text, "keep").await.0, 200, "{turn}");
        post(&relay.url(), &callback(&format!("call.{turn}"))).await.id();
        // Whoever is not paused has it by now.
        other.received(turn + 1).await;
        let now = shown().await;
        assert_eq!(now["in_flight"], 0, "{turn}: {now}");
        assert_eq!((&now["paused"], &now["paused_since"]), (&json!(true), &since), "{turn}");
        let state = if now["configured"] == true { json!("paused") } else { json!(null) };
        assert_eq!(now["state"], state, "{turn}");
    }
    assert!(target.got().is_empty());

    let (status, _) = order(&relay, "/api/v1/targets/crm/resume", &json!({})).await;
    assert_eq!(status, 200);
    // One of them came while there was no such target.
    eventually("the others", || async { count(&relay, "crm", "delivered").await == 3.0 }).await;
    relay.metrics().await.assert_balanced(&["calls"], &["crm", "bi"]);
}

#[tokio::test]
async fn when_the_disk_fails_while_orphans_are_buried_the_answer_says_so_and_a_repeat_goes_on() {
    let target = Target::answering(500).await;
    let setup = Setup::new().target("a", &target, "").target("b", &target, "");
    let (relay, store) = troubled(&setup).await;
    post(&relay.url(), &callback("call.1")).await.id();
    target.received(2).await;
    let bare = on_the_store_of(&setup, &Setup::new());

    // The first target is buried in two steps: one that moves, one that finds no more.
    store.fail_after(2);
    let (status, told) = relay.reload(&bare, "dead").await;

    assert_eq!((status, &told["reason"]), (503, &json!("unfinished")), "{told}");
    assert_eq!((count(&relay, "a", "dead").await, count(&relay, "b", "pending").await), (1.0, 1.0));
    let page = relay.metrics().await;
    assert_eq!(page.get("hookswitch_config_reload_success", &[]), 1.0, "it is in force");
    page.assert_balanced(&["calls"], &["a", "b"]);
    store.fail_after(u64::MAX);
    let (status, told) = relay.reload(&bare, "dead").await;
    assert_eq!(status, 200, "{told}");
    assert_eq!(count(&relay, "b", "dead").await, 1.0);
}

#[tokio::test]
async fn a_known_secret_is_judged_by_the_address_that_is_bound_and_not_by_the_next() {
    let setup = Setup::new();
    let text = setup.text().replacen("127.0.0.1:0", "0.0.0.0:0", 1);
    let relay = setup.start_text(&text).await;
    let narrow = setup.text().replace(API_KEY, "change-me");

    let (status, refused) = relay.reload(&narrow, "refuse").await;

    assert_eq!((status, &refused["reason"]), (422, &json!("reload_failed")), "{refused}");
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("[sources.calls") && detail.contains("until it is restarted"));
    let url = format!("http://127.0.0.1:{}/hooks/calls", relay.callbacks().port());
    let sent = client().post(&url).header("x-api-key", "change-me").body("{}").send().await;
    assert_eq!(sent.unwrap().status(), 401);
    post(&url, &callback("call.1")).await.id();
    // Narrowed alone it is taken, and named.
    let (status, report) = relay.reload(&setup.text(), "refuse").await;
    assert_eq!((status, &report["needs_restart"]), (200, &json!(["server.listen"])), "{report}");
}

#[tokio::test]
async fn the_limits_of_the_store_are_changed_by_a_reload() {
    let setup = Setup::new();
    let relay = setup.start().await;
    post(&relay.url(), &callback("call.1")).await.id();

    let tight = setup.text().replace("\"1 MiB\"", "\"900000 GiB\"");
    let (status, report) = relay.reload(&tight, "refuse").await;

    assert_eq!((status, &report["needs_restart"]), (200, &json!([])), "{report}");
    assert_eq!(post(&relay.url(), &callback("call.2")).await.status, 503);
    assert_eq!(relay.reload(&setup.text(), "refuse").await.0, 200);
    post(&relay.url(), &callback("call.2")).await.id();
}

/// Every long verb, asked while the disk fails: one clear problem, nothing of it half-done, and the
/// same order done once the disk is back.
#[tokio::test]
async fn a_disk_that_fails_under_an_operators_verb_is_one_clear_answer_and_nothing_half_done() {
    let (gone, fine) = (Target::answering(410).await, Target::answering(200).await);
    let setup = Setup::new().target("gone", &gone, "").target("fine", &fine, "");
    let (relay, store) = troubled(&setup).await;
    for n in 0..3 {
        post(&relay.url(), &callback(&format!("call.{n}"))).await.id();
    }
    eventually("three dead letters", || async { count(&relay, "gone", "dead").await == 3.0 }).await;
    eventually("three deliveries", || async { count(&relay, "fine", "delivered").await == 3.0 })
        .await;
    let totals = async || {
        client().get(relay.admin("/api/v1/totals")).send().await.unwrap().text().await.unwrap()
    };
    let before = totals().await;

    for (path, body) in [
        ("/api/v1/dead-letters/redrive", json!({ "all": true })),
        ("/api/v1/dead-letters/discard", json!({ "all": true })),
        ("/api/v1/replay", json!({ "source": "calls" })),
        ("/api/v1/erase", json!({ "number": "+15550100123" })),
    ] {
        store.fail_after(0);
        let (status, told) = order(&relay, path, &body).await;
        store.fail_after(u64::MAX);

        assert_eq!((status, &told["reason"]), (500, &json!("store_failed")), "{path}: {told}");
        assert!(!told.to_string().contains(GONE), "{path}: {told}");
        assert_eq!(totals().await, before, "{path}");
        relay.metrics().await.assert_balanced(&["calls"], &["gone", "fine"]);
    }
    let (status, erased) =
        order(&relay, "/api/v1/erase", &json!({ "number": "+15550100123" })).await;
    assert_eq!((status, &erased["events"]), (200, &json!(3)), "{erased}");
    relay.metrics().await.assert_balanced(&["calls"], &["gone", "fine"]);
}
