//! The operator's verbs against a relay that runs, one that does not, and one that refuses.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Child,
};

use crate::harness::{
    API_KEY, Ack, Delivery, Gate, Page, Process, Reply, Setup, Target, callback, client,
    eventually, post, within, write_config,
};

/// What the source of the tests becomes once somebody has understood its callbacks.
const FITTING: &str = "provider = \"custom\"\nmap = { name = \"dialler\", call.id = \"/id\", call.status = \"/state\" }";

pub(crate) async fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Process::command();
    command.args(arguments).current_dir(folder);
    command.env_remove("HOOKSWITCH_URL").env_remove("HOOKSWITCH_ADMIN_TOKEN");
    within("the command's end", command.output()).await.unwrap()
}

pub(crate) fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub(crate) async fn asked(folder: &Path, arguments: &[&str]) -> Value {
    let output = run(folder, arguments).await;
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", err(&output));
    serde_json::from_str(&out(&output)).unwrap()
}

/// A relay with dead letters of two targets.
async fn with_dead_letters(setup: &Setup, calls: usize) -> Process {
    let config = write_config(&setup.folder(), &setup.text());
    let relay = Process::serve(&config).await;
    let url = format!("http://{}/hooks/calls", relay.callbacks);
    for call in 0..calls {
        post(&url, &callback(&format!("call.{call}"))).await.id();
    }
    let folder = setup.folder();
    eventually("the dead letters", || async {
        let counts = asked(&folder, &["dead", "redrive", "--all", "--dry-run", "--json"]).await;
        counts["total"] == 2 * calls
    })
    .await;
    relay
}

async fn two_targets() -> (Setup, Target, Target) {
    let (crm, erp) = (Target::answering(410).await, Target::answering(410).await);
    let setup = Setup::new().target("crm", &crm, "").target("erp", &erp, "");
    (setup, crm, erp)
}

#[tokio::test]
async fn a_redrive_says_first_what_it_would_do_and_then_does_that() {
    let (setup, crm, erp) = two_targets().await;
    let relay = with_dead_letters(&setup, 3).await;
    let folder = setup.folder();

    let dry = run(&folder, &["dead", "redrive", "--target", "crm", "--dry-run"]).await;
    assert_eq!(
        out(&dry),
        "TARGET  REASON     COUNT\ncrm     permanent  3\nwould move 3; nothing was changed\n"
    );
    assert_eq!(crm.got().len(), 3, "nothing was sent");

    let redriven = run(&folder, &["dead", "redrive", "--target", "crm", "--rate", "50/s"]).await;
    assert_eq!(redriven.status.code(), Some(0), "{}", err(&redriven));
    assert_eq!(err(&redriven), "redriven 3\n");
    let got = crm.received(6).await;
    for (round, of) in [("0", &got[..3]), ("1", &got[3..])] {
        assert!(of.iter().all(|delivery| delivery.header("hookswitch-round") == round));
        let ids: BTreeSet<String> = of.iter().map(Delivery::id).collect();
        assert_eq!(ids, crm.ids(), "the same ids");
    }
    assert_eq!(erp.got().len(), 3, "the other target is left alone");

    let discarded = asked(&folder, &["dead", "discard", "--target", "erp", "--json"]).await;
    assert_eq!(discarded, json!({ "moved": 3, "complete": true }));
    let targets = asked(&folder, &["targets", "--json"]).await;
    let erp = targets["targets"].as_array().unwrap().iter().find(|of| of["name"] == "erp").unwrap();
    assert_eq!((&erp["dead"], &erp["discarded"]), (&json!(0), &json!(3)));
    relay.kill().await;
}

/// A command at work.
pub(crate) fn begun(folder: &Path, arguments: &[&str]) -> Child {
    let mut command = Process::command();
    command.args(arguments).current_dir(folder).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Ctrl-C; returns once the command has it.
pub(crate) async fn ctrl_c(command: &Child) {
    let id = i32::try_from(command.id().unwrap()).unwrap();
    let pid = rustix::process::Pid::from_raw(id).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    eventually("the command to have the signal", || async {
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        status.lines().any(|line| line == "ShdPnd:\t0000000000000000")
    })
    .await;
}

pub(crate) async fn ended(command: Child) -> Output {
    within("the command's end", command.wait_with_output()).await.unwrap()
}

#[tokio::test]
async fn ctrl_c_in_a_redrive_or_discard_leaves_nothing_half_done_and_the_same_command_goes_on() {
    for verb in ["redrive", "discard"] {
        let (setup, crm, _erp) = two_targets().await;
        let relay = with_dead_letters(&setup, 12).await;
        let folder = setup.folder();
        let dead = || async {
            let targets = asked(&folder, &["targets", "--json"]).await;
            let crm = targets["targets"].as_array().unwrap().iter().find(|of| of["name"] == "crm");
            let (dead, discarded) = (crm.unwrap()["dead"].clone(), &crm.unwrap()["discarded"]);
            (dead.as_u64().unwrap(), discarded.as_u64().unwrap())
        };
        let slow = begun(&folder, &["dead", verb, "--target", "crm", "--rate", "1/s"]);
        eventually("its first step", || async { crm.got().len() > 12 || dead().await.1 > 0 }).await;

        ctrl_c(&slow).await;
        let stopped = ended(slow).await;

        assert_eq!(stopped.status.code(), Some(130), "{}", err(&stopped));
        let said = "of 12, the rest is untouched; run the same command again";
        assert!(err(&stopped).contains(said), "{}", err(&stopped));
        let (again, moved) = if verb == "redrive" {
            eventually("all to be dead again", || async { dead().await == (12, 0) }).await;
            (12, crm.got().len() - 12)
        } else {
            let (dead, discarded) = dead().await;
            assert_eq!(dead + discarded, 12);
            (dead, usize::try_from(discarded).unwrap())
        };
        assert!((1..12).contains(&moved), "{verb}: {moved}");
        assert!(err(&stopped).contains(&format!(" {moved} of 12")), "{}", err(&stopped));
        let again_json = asked(&folder, &["dead", verb, "--target", "crm", "--json"]).await;
        assert_eq!(again_json, json!({ "moved": again, "complete": true }));
        relay.kill().await;
    }
}

#[tokio::test]
async fn ctrl_c_in_a_replay_says_where_the_same_command_goes_on() {
    let crm = Target::answering(200).await;
    let setup = Setup::new().target("crm", &crm, "");
    let config = write_config(&setup.folder(), &setup.text());
    let folder = setup.folder();
    let relay = Process::serve(&config).await;
    let url = format!("http://{}/hooks/calls", relay.callbacks);
    for call in 0..6 {
        post(&url, &callback(&format!("call.{call}"))).await.id();
    }
    crm.received(6).await;
    eventually("all settled", || async {
        asked(&folder, &["targets", "--json"]).await["targets"][0]["delivered"] == 6
    })
    .await;

    let slow = begun(&folder, &["replay", "--since", "1h", "--rate", "1/s"]);
    crm.received(7).await;
    ctrl_c(&slow).await;
    let stopped = ended(slow).await;

    assert_eq!(stopped.status.code(), Some(130), "{}", err(&stopped));
    let said = err(&stopped);
    let cursor = said.split("--cursor ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    let replayed: u64 = said.split(' ').nth(1).unwrap().parse().unwrap();
    assert!((1..6).contains(&replayed), "{said}");
    let rest = asked(&folder, &["replay", "--since", "1h", "--cursor", &cursor, "--json"]).await;
    assert_eq!(rest, json!({ "deliveries": 6 - replayed, "next": null }));
    crm.received(12).await;
    assert_eq!(crm.ids().len(), 6);
    relay.kill().await;
}

#[tokio::test]
async fn ctrl_c_in_an_erasure_or_a_rereading_ends_it_between_two_steps() {
    let setup = Setup::new();
    let config = write_config(&setup.folder(), &setup.text());
    let folder = setup.folder();
    let relay = Process::serve(&config).await;
    let url = format!("http://{}/hooks/calls", relay.callbacks);
    // Three steps of an erasure, and two of a rereading.
    for call in 0..140 {
        post(&url, &json!({ "id": call, "number": "+15550100123" })).await.id();
    }
    let listed = || async {
        let listed = asked(&folder, &["events", "ls", "--limit", "1000", "--json"]).await;
        listed["events"].as_array().unwrap().len()
    };

    let gate = Gate::before(relay.admin, "/api/v1/quarantine").await;
    let slow = begun(&folder, &["events", "redrive", "--json", "--url", &gate.url()]);
    gate.holds().await;
    ctrl_c(&slow).await;
    gate.open();
    let stopped = ended(slow).await;
    assert_eq!((stopped.status.code(), gate.passed()), (Some(130), 1), "{}", err(&stopped));
    let read: Value = serde_json::from_str(&out(&stopped)).unwrap();
    assert_eq!(read["kept"].as_array().unwrap().len(), 100, "its step was gone through");

    let gate = Gate::before(relay.admin, "/api/v1/erase").await;
    let erase = ["erase", "--number", "+15550100123", "--json"];
    let slow = begun(&folder, &[&erase[..], &["--url", &gate.url()]].concat());
    gate.holds().await;
    ctrl_c(&slow).await;
    gate.open();
    let stopped = ended(slow).await;
    assert_eq!((stopped.status.code(), gate.passed()), (Some(130), 1), "{}", err(&stopped));
    let erased: Value = serde_json::from_str(&out(&stopped)).unwrap();
    assert_eq!((&erased["events"], &erased["complete"]), (&json!(64), &json!(false)));
    assert!(err(&stopped).contains("run the same command again"), "{}", err(&stopped));
    assert_eq!(listed().await, 140 - 64, "what it did is done, and no more");

    let again = asked(&folder, &erase).await;
    assert_eq!((&again["events"], &again["complete"]), (&json!(140 - 64), &json!(true)));
    assert_eq!(listed().await, 0);
    relay.kill().await;
}

#[tokio::test]
async fn ctrl_c_in_an_export_leaves_no_file_and_nothing_else() {
    let (setup, _crm, _erp) = two_targets().await;
    let relay = with_dead_letters(&setup, 3).await;
    let folder = tempfile::tempdir().unwrap();
    let files = || fs::read_dir(folder.path()).unwrap().count();
    let gate = Gate::before(relay.admin, "/api/v1/events/").await;
    let export = ["dead", "export", "--url", &gate.url(), "--out", "dead.jsonl"];

    let slow = begun(folder.path(), &export);
    gate.holds().await;
    assert_eq!(files(), 1, "it writes under another name");
    assert!(!folder.path().join("dead.jsonl").exists());
    ctrl_c(&slow).await;
    gate.open();
    let stopped = ended(slow).await;

    assert_eq!((stopped.status.code(), gate.passed()), (Some(130), 1), "{}", err(&stopped));
    assert_eq!(
        err(&stopped),
        "interrupted: dead.jsonl is not written; run the same command again\n"
    );
    assert_eq!(files(), 0);
    let again = run(folder.path(), &export).await;
    assert_eq!(again.status.code(), Some(0), "{}", err(&again));
    assert_eq!(err(&again), "exported 6\n");
    let text = fs::read_to_string(folder.path().join("dead.jsonl")).unwrap();
    assert_eq!((text.lines().count(), files()), (6, 1));
    relay.kill().await;
}

#[tokio::test]
async fn an_export_goes_on_when_an_event_is_erased_meanwhile() {
    let (setup, _crm, _erp) = two_targets().await;
    let relay = with_dead_letters(&setup, 3).await;
    let folder = setup.folder();
    let gate = Gate::before(relay.admin, "/api/v1/events/").await;
    let export = begun(&folder, &["dead", "export", "--target", "crm", "--url", &gate.url()]);
    gate.holds().await;
    let erased = asked(&folder, &["erase", "--call", "call.1", "--json"]).await;
    assert_eq!(erased["events"], 1);
    gate.open();

    let exported = ended(export).await;

    assert_eq!(exported.status.code(), Some(0), "{}", err(&exported));
    let calls: Vec<Value> = out(&exported)
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|line| line["event"]["data"]["call"]["id"].clone())
        .collect();
    assert_eq!(calls, ["call.0", "call.2"]);
    relay.kill().await;
}

#[tokio::test]
async fn an_event_is_told_to_the_letter_and_shown_with_nothing_that_a_terminal_obeys() {
    let crm = Target::answering(410).await;
    let setup = Setup::new().target("crm", &crm, "");
    let folder = setup.folder();
    let relay = Process::serve(&write_config(&folder, &setup.text())).await;
    let digits = "123456789012345678901234567890";
    let body = format!(
        "{{\"callId\":\"call.1\",\"name\":\"Ada \u{9b}2J\u{202e}\",\"zeta\":1.50,\"alpha\":{digits}}}"
    );
    let sent = client().post(format!("http://{}/hooks/calls", relay.callbacks));
    let ack = sent.header("x-api-key", API_KEY).body(body).send().await.unwrap();
    let ack: Value = serde_json::from_str(&ack.text().await.unwrap()).unwrap();
    let id = ack["id"].as_str().unwrap();
    let dead = || async { asked(&folder, &["targets", "--json"]).await["targets"][0]["dead"] == 1 };
    eventually("the dead letter", dead).await;

    let told = run(&folder, &["events", "show", id, "--json"]).await;
    let exported = run(&folder, &["dead", "export"]).await;
    let shown = out(&run(&folder, &["events", "show", id]).await);

    for output in [&told, &exported] {
        let text = out(output);
        assert!(text.contains(&format!("\"zeta\":1.50,\"alpha\":{digits}")), "{text}");
    }
    let lines = format!("      \"zeta\": 1.50,\n      \"alpha\": {digits}\n");
    assert!(shown.contains(&lines), "{shown}");
    assert!(shown.contains("\"name\": \"Ada \\u009b2J\\u202e\""), "{shown}");
    relay.kill().await;
}

#[tokio::test]
async fn a_redrive_or_replay_under_a_new_id_is_no_repeat_to_the_target() {
    let crm = Target::scripted(|nth, _| Reply::status(if nth == 0 { 410 } else { 200 })).await;
    let setup = Setup::new().target("crm", &crm, "");
    let config = write_config(&setup.folder(), &setup.text());
    let folder = setup.folder();
    let relay = Process::serve(&config).await;
    let url = format!("http://{}/hooks/calls", relay.callbacks);
    let id = post(&url, &callback("call.a")).await.id();
    let is = async |state: &str| {
        let is =
            || async { asked(&folder, &["targets", "--json"]).await["targets"][0][state] == 1 };
        eventually(state, is).await;
    };

    is("dead").await;
    asked(&folder, &["dead", "redrive", "--event", &id, "--new-id", "--json"]).await;
    is("delivered").await;
    asked(&folder, &["replay", "--event", &id, "--json"]).await;
    crm.received(3).await;
    is("delivered").await;
    asked(&folder, &["replay", "--event", &id, "--new-id", "--json"]).await;
    let got = crm.received(4).await;

    let ids: Vec<String> = got.iter().map(Delivery::id).collect();
    assert_eq!(ids, [id.clone(), format!("{id}.1"), id.clone(), format!("{id}.3")]);
    assert!(got.iter().all(|delivery| delivery.event()["id"] == *id), "the event is the same");
    relay.kill().await;
}

#[tokio::test]
async fn without_a_relay_the_store_is_read_and_what_would_change_it_is_refused() {
    let (setup, _crm, _erp) = two_targets().await;
    let relay = with_dead_letters(&setup, 2).await;
    let folder = setup.folder();
    let running = asked(&folder, &["events", "ls", "--json"]).await;
    relay.terminate().await;

    let read = run(&folder, &["events", "ls", "--json"]).await;
    assert_eq!(serde_json::from_str::<Value>(&out(&read)).unwrap(), running, "the same answer");
    let said = err(&read);
    assert!(
        said.starts_with("no relay runs on the store") && said.contains("reading the store"),
        "{said}"
    );
    let id = running["events"][0]["id"].as_str().unwrap();
    let raw = run(&folder, &["events", "raw", id]).await;
    let raw: Value = serde_json::from_slice(&raw.stdout).unwrap();
    assert_eq!(raw["agentId"], "agent.t1");
    let out_file = folder.join("dead.jsonl");
    let export = ["dead", "export", "--target", "crm", "--out", out_file.to_str().unwrap()];
    assert_eq!(run(&folder, &export).await.status.code(), Some(0));
    assert_eq!(fs::read_to_string(&out_file).unwrap().lines().count(), 2);
    assert_eq!(run(&folder, &export).await.status.code(), Some(76), "a file is not overwritten");

    for write in [
        &["dead", "redrive", "--all"][..],
        &["dead", "discard", "--all"],
        &["pause", "crm"],
        &["reload"],
        &["erase", "--call", "call.1"],
        &["replay", "--since", "1h"],
    ] {
        let refused = run(&folder, write).await;
        assert_eq!(refused.status.code(), Some(68), "{write:?}: {}", err(&refused));
        assert_eq!(err(&refused).lines().count(), 1, "{}", err(&refused));
        assert!(err(&refused).contains("hookswitch serve"), "the remedy: {}", err(&refused));
    }
}

#[tokio::test]
async fn each_way_to_be_refused_is_one_line_with_its_own_code() {
    let setup = Setup::new().admin("token = \"right-token\"");
    let lines = setup.folder().join("erp.jsonl");
    let setup = setup.table("[targets.crm]\nfile = \"-\"");
    let setup = setup.table(&format!("[targets.erp]\nfile = {lines:?}"));
    let config = write_config(&setup.folder(), &setup.text());
    let folder = setup.folder();
    let nothing = run(&folder, &["events", "ls"]).await;
    assert_eq!(nothing.status.code(), Some(68), "no store yet: {}", err(&nothing));
    let relay = Process::serve(&config).await;
    let url = format!("http://{}", relay.admin);
    let nowhere = format!("http://{}/hooks/nobody", relay.callbacks);

    for (arguments, code, says) in [
        (&["events", "ls", "--token", "wrong"][..], 77, "--token"),
        (&["targets", "--url", &url], 77, "HOOKSWITCH_ADMIN_TOKEN"),
        (&["targets", "--url", "http://127.0.0.1:1"], 68, "--url"),
        (&["healthcheck", "--url", "http://127.0.0.1:1"], 68, "no relay answers"),
        (&["events", "show", "01938a1e-0000-7000-8000-000000000000"], 66, "no event"),
        (&["events", "ls", "--source", "nobody"], 66, "there is no source nobody; there is calls"),
        (
            &["dead", "redrive", "--target", "gnoe"],
            66,
            "there is no target gnoe; there are crm, erp",
        ),
        (&["targets", "--url", "10.0.0.5:9090"], 64, "write it with http:// or https://"),
        (&["dead", "redrive"], 64, "--all"),
        (&["dead", "discard", "--until", "1h"], 64, "--all"),
        (&["replay", "--since", "1h", "--reason", "permanent"], 64, "--reason"),
        (&["send", "12x"], 64, "11x"),
        (&["send", "11x", "--to", &nowhere], 1, "--to names the URL of yours"),
        (
            &["send", "11x", "--to", "http://127.0.0.1:1/hooks/x"],
            68,
            "no connection to http://127.0.0.1:1/hooks/x: Connection refused",
        ),
        (&["events", "ls", "--config", "nowhere.toml"], 78, "nowhere.toml"),
        (&["events", "ls", "--status", "bogus"], 64, "status is one of queued"),
        (&["events", "ls", "--cursor", "bogus"], 64, "cursor is what"),
        (&["erase", "--event", "bogus"], 64, "a UUID"),
        (&["replay", "--reason", "permanent"], 64, "--reason"),
        (&["dead", "ls", "--reason", "unrecognised"], 64, "reason is one of permanent"),
    ] {
        let refused = run(&folder, arguments).await;
        assert_eq!(refused.status.code(), Some(code), "{arguments:?}: {}", err(&refused));
        assert!(err(&refused).contains(says), "{arguments:?}: {}", err(&refused));
        assert!(!err(&refused).contains("right-token"));
    }
    assert_eq!(run(&folder, &["healthcheck"]).await.status.code(), Some(0));
    write_config(&folder, &format!("{}\n[servre]\n", setup.text()));
    let refused = run(&folder, &["reload"]).await;
    assert_eq!(refused.status.code(), Some(78), "{}", err(&refused));
    let said = err(&refused);
    assert!(said.contains("did you mean `server`?"), "{said}");
    assert!(said.ends_with("; the relay goes on with what it had\n"), "{said}");
    write_config(&folder, &setup.text());
    relay.terminate().await;

    rusqlite::Connection::open(setup.store_path())
        .unwrap()
        .pragma_update(None, "user_version", 4711)
        .unwrap();
    for verb in [&["events", "ls"][..], &["serve", "--log", "off"]] {
        let newer = run(&folder, verb).await;
        assert_eq!(newer.status.code(), Some(74), "{}", err(&newer));
        assert!(err(&newer).contains("4711"), "{}", err(&newer));
    }
}

#[tokio::test]
async fn whatever_a_verb_picks_by_is_understood_by_the_relay() {
    let crm = Target::answering(200).await;
    let setup = Setup::new().target("crm", &crm, "");
    let folder = setup.folder();
    let relay = Process::serve(&write_config(&folder, &setup.text())).await;
    let mut tried = 0;
    for (verb, reason) in [
        (&["events", "ls"][..], "not_json"),
        (&["events", "redrive"], "not_json"),
        (&["dead", "ls"], "permanent"),
        (&["dead", "redrive", "--all"], "permanent"),
        (&["dead", "discard", "--all"], "permanent"),
        (&["dead", "export"], "permanent"),
        (&["replay"], "permanent"),
    ] {
        let help = out(&run(&folder, &[verb, &["--help"]].concat()).await);
        for (option, value) in [
            ("--source", "calls"),
            ("--status", "busy"),
            ("--call", "call.1"),
            ("--number", "+15550100123"),
            ("--since", "2h"),
            ("--until", "1h"),
            ("--target", "crm"),
            ("--reason", reason),
            ("--event", "01938a1e-0000-7000-8000-000000000000"),
            ("--failed-route", "everything to crm"),
            ("--state", "routed"),
        ] {
            if help.contains(&format!(" {option} <")) {
                let picked = run(&folder, &[verb, &[option, value]].concat()).await;
                assert_eq!(picked.status.code(), Some(0), "{verb:?} {option}: {}", err(&picked));
                tried += 1;
            }
        }
    }
    assert!(tried > 50, "{tried}");
    relay.kill().await;
}

#[tokio::test]
async fn a_verb_reaches_the_relay_whatever_became_of_relay_toml_since_it_read_it() {
    let setup = Setup::new().admin("token = \"first-token\"");
    let folder = setup.folder();
    let relay = Process::serve(&write_config(&folder, &setup.text())).await;
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (pem, key) = (folder.join("relay.pem"), folder.join("relay.key"));
    fs::write(&pem, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let tls = format!("tls = {{ cert = {pem:?}, key = {key:?} }}");

    let listen = "[admin]\nlisten = \"127.0.0.1:";
    let elsewhere = setup.text().replace(&format!("{listen}0"), &format!("{listen}1"));
    assert_ne!(elsewhere, setup.text());
    let secured = setup.text().replace("token =", &format!("{tls}\ntoken ="));
    let rotated = setup.text().replace("\"first-token\"", "[\"second-token\", \"first-token\"]");
    for text in [&elsewhere, &secured, &rotated] {
        write_config(&folder, text);
        let listed = run(&folder, &["targets"]).await;
        assert!(listed.status.success() && listed.stderr.is_empty(), "{}\n{text}", err(&listed));
    }
    write_config(&folder, &secured);
    for said in ["changed: admin\nreloaded\n", "reloaded; nothing has changed\n"] {
        let reloaded = run(&folder, &["reload"]).await;
        assert!(reloaded.status.success(), "{}", err(&reloaded));
        assert!(out(&reloaded).ends_with(&format!("\n\n{said}")), "{}", out(&reloaded));
    }
    let secure = format!("https://{}", relay.admin);
    let unknown = run(&folder, &["targets", "--url", &secure]).await;
    assert_eq!(unknown.status.code(), Some(68), "{}", err(&unknown));
    assert!(err(&unknown).contains("certificate"), "{}", err(&unknown));
    // The relay speaks TLS now; relay.toml says again that it does not.
    write_config(&folder, &elsewhere);
    let listed = run(&folder, &["targets"]).await;
    assert!(listed.status.success() && listed.stderr.is_empty(), "{}", err(&listed));
    let lock = fs::metadata(folder.join("hookswitch.db.lock")).unwrap();
    assert_eq!(lock.permissions().mode() & 0o777, 0o600);
    let other = setup.text().replace("first-token", "third-token");
    write_config(&folder, &other);
    let refused = run(&folder, &["reload"]).await;
    assert_eq!(refused.status.code(), Some(77), "{}", err(&refused));
    assert!(err(&refused).contains("kill -HUP"), "{}", err(&refused));
    relay.kill().await;

    // What a relay that was killed noted leads nowhere.
    write_config(&folder, &setup.text());
    let refused = run(&folder, &["reload"]).await;
    assert_eq!(refused.status.code(), Some(68), "{}", err(&refused));
    let relay = Process::serve(&folder.join("relay.toml")).await;
    assert!(run(&folder, &["targets"]).await.status.success());
    relay.terminate().await;
    let refused = run(&folder, &["reload"]).await;
    let store = setup.store_path();
    let said = format!("error: no relay runs on the store {}; start it", store.display());
    assert!(err(&refused).starts_with(&said), "{}", err(&refused));
}

#[tokio::test]
async fn a_slip_elsewhere_in_relay_toml_keeps_no_verb_from_the_relay() {
    let setup = Setup::new();
    let folder = setup.folder();
    let relay = Process::serve(&write_config(&folder, &setup.text())).await;

    write_config(&folder, &format!("{}\n[[rotues]]\nto = []\n", setup.text()));
    let listed = run(&folder, &["targets"]).await;
    write_config(&folder, &setup.text().replace("[admin]", "[admin]\nlisen = 5"));
    let misspelt = run(&folder, &["targets"]).await;

    assert!(listed.status.success() && listed.stderr.is_empty(), "{}", err(&listed));
    assert_eq!(misspelt.status.code(), Some(78), "{}", err(&misspelt));
    relay.terminate().await;
}

#[tokio::test]
async fn after_a_fix_of_the_mapping_quarantined_events_go_down_their_routes() {
    let crm = Target::answering(200).await;
    let setup = Setup::new().target("crm", &crm, "").table(
        "[[routes]]\nname = \"by seats\"\nto = [\"crm\"]\nwhen = \"data.extracted.seats > 10\"\n",
    );
    let config = write_config(&setup.folder(), &setup.text());
    let folder = setup.folder();
    let relay = Process::serve(&config).await;
    let url = format!("http://{}/hooks/calls", relay.callbacks);
    let id = post(&url, &json!({ "id": "c1", "state": "completed" })).await.id();

    let kept = asked(&folder, &["events", "redrive", "--json"]).await;
    assert_eq!((&kept["released"], &kept["kept"][0]["id"]), (&json!(0), &json!(id)));
    let refused = run(&folder, &["events", "release", &id]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(err(&refused).contains("still cannot be read"), "{}", err(&refused));
    relay.terminate().await;

    // The fix: the same source, read by a mapping that fits.
    let fixed = setup
        .text()
        .replace("provider = \"11x\"", FITTING)
        .replace("kind = \"header\",", "kind = \"header\", name = \"x-api-key\",");
    let config = write_config(&folder, &fixed);
    let relay = Process::serve(&config).await;
    let dry = asked(&folder, &["events", "redrive", "--dry-run", "--json"]).await;
    assert_eq!((&dry["released"], crm.got().len()), (&json!(1), 0));
    let released = asked(&folder, &["events", "redrive", "--json"]).await;
    assert_eq!(released, json!({ "released": 1, "kept": [] }));
    assert_eq!(crm.received(1).await[0].id(), id);
    // It was marked when it went down its routes, and is counted as what is marked at once is.
    let page = client().get(format!("http://{}/metrics", relay.admin)).send().await.unwrap();
    let page = Page::parse(&page.text().await.unwrap());
    assert_eq!(page.get("hookswitch_route_errors_total", &[("route", "by seats")]), 1.0);
    relay.kill().await;
}

#[tokio::test]
async fn a_replay_sends_what_was_delivered_again_and_an_erasure_removes_it() {
    let (crm, erp) = (Target::answering(200).await, Target::answering(200).await);
    let setup = Setup::new().target("crm", &crm, "");
    let url = erp.url();
    let setup = setup.table(&format!("[targets.erp]\nurl = \"{url}\""));
    let config = write_config(&setup.folder(), &setup.text());
    let folder = setup.folder();
    let relay = Process::serve(&config).await;
    let url = format!("http://{}/hooks/calls", relay.callbacks);
    for call in ["call.a", "call.b"] {
        post(&url, &callback(call)).await.id();
    }
    crm.received(2).await;
    eventually("both settled", || async {
        asked(&folder, &["targets", "--json"]).await["targets"][0]["delivered"] == 2
    })
    .await;

    let again = asked(&folder, &["replay", "--since", "1h", "--json"]).await;
    assert_eq!(again, json!({ "deliveries": 2, "next": null }));
    assert_eq!(crm.received(4).await[3].header("hookswitch-round"), "1");
    let elsewhere = asked(&folder, &["replay", "--call", "call.a", "--to", "erp", "--json"]).await;
    assert_eq!(elsewhere["deliveries"], 1);
    erp.received(1).await;

    let copy = folder.join("copy.db");
    let backup = ["backup", copy.to_str().unwrap()];
    assert_eq!(run(&folder, &backup).await.status.code(), Some(0));
    assert_eq!(run(&folder, &backup).await.status.code(), Some(76), "a copy is not overwritten");
    let erased = asked(&folder, &["erase", "--call", "call.a", "--json"]).await;
    assert_eq!((&erased["events"], &erased["deliveries"]), (&json!(1), &json!(2)));
    let left = asked(&folder, &["events", "ls", "--json"]).await;
    assert_eq!(left["events"].as_array().unwrap().len(), 1);
    assert_eq!(left["events"][0]["call_id"], "call.b");
    relay.kill().await;
}

#[tokio::test]
async fn events_on_which_a_route_failed_are_listed_and_sent_again() {
    let crm = Target::answering(200).await;
    let setup = Setup::new().table(&format!("[targets.crm]\nurl = \"{}\"", crm.url())).table(
        "[[routes]]\nname = \"by seats\"\nto = [\"crm\"]\n\
         when = \"data.extracted.seats > 10\"\n",
    );
    let config = write_config(&setup.folder(), &setup.text());
    let folder = setup.folder();
    let relay = Process::serve(&config).await;
    let url = format!("http://{}/hooks/calls", relay.callbacks);
    let mut words = callback("call.a");
    words["callResult"]["extractedVariables"] = json!({ "seats": "a dozen" });
    let id = post(&url, &words).await.id();
    post(&url, &callback("call.b")).await;

    let failed = ["events", "ls", "--failed-route", "by seats", "--json"];
    let listed = asked(&folder, &failed).await;
    let again =
        asked(&folder, &["replay", "--failed-route", "by seats", "--to", "crm", "--json"]).await;

    let listed = listed["events"].as_array().unwrap();
    let ids: Vec<_> = listed.iter().map(|it| &it["id"]).collect();
    assert!(ids.contains(&&json!(id)), "{listed:?}");
    assert!(listed.iter().all(|it| it["failed_routes"] == json!(["by seats"])), "{listed:?}");
    assert_eq!(again["deliveries"], ids.len());
    let shown = out(&run(&folder, &["events", "show", &id]).await);
    assert!(
        shown.lines().any(|line| line.starts_with("failed routes") && line.ends_with("by seats"))
    );
    let got = crm.received(ids.len()).await;
    assert!(got.iter().any(|got| got.id() == id));
    relay.kill().await;
}

#[tokio::test]
async fn an_event_counts_once_for_a_route_that_fails_on_it_again() {
    let crm = Target::answering(200).await;
    let route =
        |name: &str, when: &str| format!("[[routes]]\nname = \"{name}\"\nto = [\"crm\"]\n{when}\n");
    let setup = Setup::new()
        .table(&format!("[targets.crm]\nurl = \"{}\"", crm.url()))
        .table(&route("by seats", "when = \"data.extracted.seats > 10\""));
    let folder = setup.folder();
    let relay = Process::serve(&write_config(&folder, &setup.text())).await;
    let url = format!("http://{}/hooks/calls", relay.callbacks);
    let id = post(&url, &callback("call.a")).await.id();

    let why = "no route takes it; a condition fails on it, that of by seats";
    let kept = asked(&folder, &["events", "redrive", "--unrouted", "--json"]).await;
    assert_eq!(kept, json!({ "released": 0, "kept": [{ "id": id, "why": why }] }));
    let refused = err(&run(&folder, &["events", "release", &id]).await);
    assert!(refused.contains(why), "{refused}");

    // A route that is new and fails too: the event stays, and is marked and counted at once.
    let by_desk = route("by desk", "when = \"data.extracted.desk > 10\"");
    write_config(&folder, &format!("{}\n{by_desk}", setup.text()));
    assert!(run(&folder, &["reload"]).await.status.success());
    let of_desk = ["events", "ls", "--failed-route", "by desk", "--json"];
    let looked = ["events", "redrive", "--unrouted", "--dry-run", "--json"];
    assert_eq!(asked(&folder, &looked).await["released"], 0);
    assert_eq!(asked(&folder, &of_desk).await["events"], json!([]), "a look changes nothing");
    for _ in 0..2 {
        let kept = asked(&folder, &["events", "redrive", "--unrouted", "--json"]).await;
        assert_eq!(kept["kept"][0]["why"], json!(format!("{why}, by desk")));
        let marked = asked(&folder, &of_desk).await;
        assert_eq!(marked["events"][0]["failed_routes"], json!(["by seats", "by desk"]));
        let page = client().get(format!("http://{}/metrics", relay.admin)).send().await.unwrap();
        let page = Page::parse(&page.text().await.unwrap());
        for route in ["by seats", "by desk"] {
            let counted = page.get("hookswitch_route_errors_total", &[("route", route)]);
            assert_eq!(counted, 1.0, "{route}");
        }
    }

    let more = by_desk + &route("all", "");
    write_config(&folder, &format!("{}\n{more}", setup.text()));
    assert!(run(&folder, &["reload"]).await.status.success());
    let released = asked(&folder, &["events", "redrive", "--unrouted", "--json"]).await;
    let shown = asked(&folder, &["events", "show", &id, "--json"]).await;

    assert_eq!(released, json!({ "released": 1, "kept": [] }));
    assert_eq!(shown["failed_routes"], json!(["by seats", "by desk"]));
    let page = client().get(format!("http://{}/metrics", relay.admin)).send().await.unwrap();
    let page = Page::parse(&page.text().await.unwrap());
    for route in ["by seats", "by desk"] {
        assert_eq!(page.get("hookswitch_route_errors_total", &[("route", route)]), 1.0, "{route}");
    }
    relay.kill().await;
}

#[tokio::test]
async fn whoever_asks_a_relay_need_not_have_the_secrets_of_its_sources() {
    let setup = Setup::new();
    let config = write_config(&setup.folder(), &setup.text());
    let relay = Process::serve(&config).await;
    let elsewhere = setup.text().replace(
        &format!("secret = \"{API_KEY}\""),
        "secret = { env = \"HOOKSWITCH_TEST_UNSET\" }",
    );
    assert_ne!(elsewhere, setup.text());
    write_config(&setup.folder(), &elsewhere);

    let targets = asked(&setup.folder(), &["targets", "--json"]).await;

    assert_eq!(targets, json!({ "targets": [] }));
    relay.kill().await;
}

#[tokio::test]
async fn a_paused_target_waits_over_a_restart_until_it_is_resumed() {
    let crm = Target::answering(200).await;
    let setup = Setup::new().target("crm", &crm, "");
    let config = write_config(&setup.folder(), &setup.text());
    let folder = setup.folder();
    let relay = Process::serve(&config).await;
    let paused = asked(&folder, &["pause", "crm", "--json"]).await;
    assert_eq!(paused, json!({ "target": "crm", "paused": true, "changed": true }));
    let misspelt = run(&folder, &["pause", "crn"]).await;
    assert_eq!(misspelt.status.code(), Some(66));
    assert_eq!(err(&misspelt), "error: relay.toml has no target crn; it has crm\n");
    relay.terminate().await;
    // Nobody says then what relay.toml has: no target is called gone.
    let read = asked(&folder, &["targets", "--json"]).await;
    assert_eq!(read["targets"][0]["configured"], json!(null));
    let read = out(&run(&folder, &["targets"]).await);
    assert!(read.contains("crm     paused") && !read.contains("not in relay.toml"), "{read}");

    let relay = Process::serve(&config).await;
    let url = format!("http://{}/hooks/calls", relay.callbacks);
    post(&url, &callback("call.waits")).await.id();
    let targets = asked(&folder, &["targets", "--json"]).await;
    let waits = &targets["targets"][0];
    assert_eq!((&waits["state"], &waits["pending"]), (&json!("paused"), &json!(1)));
    assert!(crm.got().is_empty());
    let resumed = run(&folder, &["resume", "crm"]).await;
    assert_eq!(out(&resumed), "target crm is resumed\n");
    crm.received(1).await;
    relay.kill().await;
}

#[tokio::test]
async fn events_are_followed_as_they_come() {
    let setup = Setup::new();
    let config = write_config(&setup.folder(), &setup.text());
    let relay = Process::serve(&config).await;
    let url = format!("http://{}/hooks/calls", relay.callbacks);
    post(&url, &callback("call.before")).await.id();
    let mut command = Process::command();
    command.args(["events", "tail", "--json"]).current_dir(setup.folder());
    let mut tail = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();

    // Until it has asked for the first time, nothing says that it follows.
    let mut sent = Vec::new();
    let line = loop {
        sent.push(post(&url, &callback(&format!("call.{}", sent.len()))).await.id());
        let next = tokio::time::timeout(Duration::from_millis(300), lines.next_line());
        if let Ok(line) = next.await {
            break line.unwrap().unwrap();
        }
    };
    let first: Value = serde_json::from_str(&line).unwrap();
    let place = sent.iter().position(|id| first["id"] == **id).unwrap();
    for id in &sent[place + 1..] {
        let line = within("the next event", lines.next_line()).await.unwrap().unwrap();
        let event: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(event["id"], **id, "each once, in order");
    }
    tail.kill().await.unwrap();

    let mut command = Process::command();
    command.args(["events", "tail", "--json", "--since", "1h"]).current_dir(setup.folder());
    let mut tail = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    let line = within("the first event", lines.next_line()).await.unwrap().unwrap();
    let event: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(event["call_id"], "call.before");
    tail.kill().await.unwrap();
    relay.kill().await;
}

#[tokio::test]
async fn a_port_that_takes_connections_and_says_nothing_is_told_from_a_relay() {
    let setup = Setup::new();
    let folder = setup.folder();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let config = write_config(&folder, &setup.text());
    Process::serve(&config).await.terminate().await;
    let port = silent.local_addr().unwrap().port().to_string();
    write_config(
        &folder,
        &setup.text().replace(
            "[admin]\nlisten = \"127.0.0.1:0",
            &format!("[admin]\nlisten = \"127.0.0.1:{port}"),
        ),
    );

    let by_url = ["targets", "--url", &url];
    let (named, written, read, health) = tokio::join!(
        run(&folder, &by_url),
        run(&folder, &["reload"]),
        run(&folder, &["events", "ls"]),
        run(&folder, &["healthcheck"]),
    );

    for refused in [&named, &written, &health] {
        assert_eq!(refused.status.code(), Some(68), "{}", err(refused));
        assert!(err(refused).contains("has not answered within"), "{}", err(refused));
    }
    assert!(read.status.success(), "{}", err(&read));
    assert!(err(&read).contains("reading the store"), "{}", err(&read));
}

#[tokio::test]
async fn a_disk_without_its_reserve_is_said_once_and_once_when_it_has_it_again() {
    let setup = Setup::new();
    let folder = setup.folder();
    let mut relay = Process::serve(&write_config(&folder, &setup.text())).await;
    let url = format!("http://{}/hooks/calls", relay.callbacks);
    write_config(&folder, &setup.text().replace("\"1 MiB\"", "\"900000 GiB\""));
    relay.hang_up().await;

    for _ in 0..3 {
        assert_eq!(post(&url, &callback("call.1")).await.status, 503);
    }
    let health = run(&folder, &["healthcheck"]).await;
    assert_eq!(health.status.code(), Some(1));
    assert_eq!(out(&health), "not ready: disk_reserve\n");
    write_config(&folder, &setup.text());
    let short = relay.hung_up().await;
    post(&url, &callback("call.1")).await.id();
    let (_, ample) = relay.terminate().await;

    let said =
        |lines: &[String], what: &str| lines.iter().filter(|line| line.contains(what)).count();
    assert_eq!(said(&short, "less than min_free is left"), 1, "{short:?}");
    assert_eq!(said(&ample, "min_free is left again"), 1, "{ample:?}");
}

#[tokio::test]
async fn whoever_has_seen_enough_ends_a_verb_that_goes_on_without_end() {
    let (setup, _crm, _erp) = two_targets().await;
    let relay = with_dead_letters(&setup, 3).await;
    let folder = setup.folder();
    let mut tail = begun(&folder, &["events", "tail", "--json"]);
    drop(tail.stdout.take());
    let tailed = ended(tail).await;
    assert_eq!((tailed.status.code(), err(&tailed)), (Some(0), String::new()));

    let gate = Gate::before(relay.admin, "/api/v1/events/").await;
    let mut export = begun(&folder, &["dead", "export", "--url", &gate.url()]);
    gate.holds().await;
    drop(export.stdout.take());
    gate.open();
    let exported = ended(export).await;
    assert_eq!((exported.status.code(), err(&exported)), (Some(0), String::new()));
    assert_eq!(gate.passed(), 1, "it asks for no further event");
    relay.kill().await;
}

#[tokio::test]
async fn a_list_says_when_there_is_more_and_where_it_goes_on() {
    let (setup, _crm, _erp) = two_targets().await;
    let relay = with_dead_letters(&setup, 3).await;
    let folder = setup.folder();
    for (verb, of, all) in [("events", "events", 3), ("dead", "dead_letters", 6)] {
        let first = run(&folder, &[verb, "ls", "--limit", "2"]).await;
        assert_eq!(out(&first).lines().count(), 3, "{}", out(&first));
        let said = err(&first);
        assert!(said.starts_with("2 shown; more with --limit, or from --cursor "), "{said}");
        let cursor = said.trim_end().rsplit(' ').next().unwrap();

        let rest = asked(&folder, &[verb, "ls", "--cursor", cursor, "--json"]).await;
        let whole = run(&folder, &[verb, "ls"]).await;
        let page = asked(&folder, &[verb, "ls", "--json"]).await;
        let (rest, page) = (rest[of].as_array().unwrap(), page[of].as_array().unwrap());
        assert_eq!((rest.len(), page.len()), (all - 2, all));
        assert_eq!(rest[..], page[2..]);
        assert_eq!(err(&whole), "", "that was all");
        for none in [&["--limit", "0"][..], &["--limit", "many"]] {
            let wrong = run(&folder, &[&[verb, "ls"], none].concat()).await;
            assert_eq!(wrong.status.code(), Some(64), "{none:?}");
        }
    }
    relay.kill().await;
}

#[tokio::test]
async fn a_dead_letter_is_shown_with_its_attempts() {
    let (setup, _crm, _erp) = two_targets().await;
    let relay = with_dead_letters(&setup, 1).await;
    let folder = setup.folder();
    let listed = asked(&folder, &["dead", "ls", "--target", "crm", "--json"]).await;
    let id = listed["dead_letters"][0]["id"].to_string();

    let shown = run(&folder, &["dead", "show", &id]).await;

    assert_eq!(shown.status.code(), Some(0), "{}", err(&shown));
    let text = out(&shown);
    let (facts, attempts) = text.split_once("\nattempts\n").unwrap_or_else(|| panic!("{text}"));
    assert!(facts.contains("reason       permanent"), "{text}");
    let lines: Vec<&str> = attempts.lines().collect();
    assert!(lines[0].starts_with("AT (UTC)") && lines.len() == 2, "{text}");
    assert!(lines[1].contains("  410  "), "{text}");
    relay.kill().await;
}

#[tokio::test]
async fn init_writes_what_runs_and_leaves_a_file_that_is_there() {
    let folder = tempfile::tempdir().unwrap();

    let written = run(folder.path(), &["init"]).await;
    assert_eq!(written.status.code(), Some(0), "{}", err(&written));
    assert_eq!(run(folder.path(), &["check"]).await.status.code(), Some(0));
    fs::write(folder.path().join("relay.toml"), "# mine\n").unwrap();
    let json = asked(folder.path(), &["init", "--config", "other.toml", "--json"]).await;
    assert_eq!(json, json!({ "config": "other.toml" }));
    let inner = run(folder.path(), &["init", "--config", "deep/er/relay.toml"]).await;
    assert_eq!(inner.status.code(), Some(0), "{}", err(&inner));
    // Where the first line of the file says that editors find it.
    let text = fs::read_to_string(folder.path().join("deep/er/relay.toml")).unwrap();
    assert!(text.starts_with("#:schema relay.schema.json\n"), "{text}");
    let schema = fs::read_to_string(folder.path().join("deep/er/relay.schema.json")).unwrap();
    assert_eq!(schema, out(&run(folder.path(), &["schema", "config"]).await));
    let again = run(folder.path(), &["init"]).await;
    assert_eq!(again.status.code(), Some(76), "{}", err(&again));
    assert_eq!(fs::read_to_string(folder.path().join("relay.toml")).unwrap(), "# mine\n");
}

#[tokio::test]
async fn events_that_no_route_took_go_down_one_that_is_added() {
    let crm = Target::answering(200).await;
    let setup = Setup::new().target("crm", &crm, "");
    let narrow = setup.text().replace("to = [\"crm\"]", "to = [\"crm\"]\nstatus = [\"busy\"]");
    let config = write_config(&setup.folder(), &narrow);
    let folder = setup.folder();
    let relay = Process::serve(&config).await;
    let url = format!("http://{}/hooks/calls", relay.callbacks);
    let id = post(&url, &json!({ "callId": "c1", "duration": 5 })).await.id();
    let kept = asked(&folder, &["events", "redrive", "--unrouted", "--json"]).await;
    assert_eq!(kept["released"], 0);
    assert_eq!(kept["kept"], json!([{ "id": id, "why": "no route takes it" }]));
    relay.terminate().await;

    let config = write_config(&folder, &setup.text());
    let relay = Process::serve(&config).await;
    let released = asked(&folder, &["events", "redrive", "--unrouted", "--json"]).await;
    assert_eq!(released, json!({ "released": 1, "kept": [] }));
    assert_eq!(crm.received(1).await[0].id(), id);
    relay.kill().await;
}

/// As the guide has them: a URL token beside another secret, a bearer token, a name of one's own.
#[tokio::test]
async fn a_sample_shows_each_secret_in_its_own_place() {
    let setup = Setup::new()
        .table(
            "[sources.syn]\nprovider = \"synthflow\"\nauth = [{ kind = \"url-token\", token = \"t0ken\" }, \
             { kind = \"hmac\", secret = \"signing-s3cret\" }]",
        )
        .table(
            "[sources.mob]\nprovider = \"mobtexting\"\nauth = [{ kind = \"url-token\", token = \"t0ken\" }, \
             { kind = \"bearer\", token = \"b34rer\" }]",
        )
        .table(
            "[sources.cloud]\nprovider = \"clouddial\"\nauth = { kind = \"basic\", username = \"desk\", \
             password = \"p4ss\" }",
        );
    let relay = setup.start().await;
    for (provider, source, secrets) in [
        ("synthflow", "syn", &["--token", "t0ken", "--secret", "signing-s3cret"][..]),
        ("mobtexting", "mob", &["--token", "t0ken", "--bearer", "b34rer"]),
        ("clouddial", "cloud", &["--username", "desk", "--secret", "p4ss"]),
    ] {
        let to = format!("http://{}/hooks/{source}", relay.callbacks());
        let send = [&["send", provider, "--to", &to, "--json"], secrets].concat();
        assert_eq!(asked(&setup.folder(), &send).await["status"], 200, "{provider}");
    }
}

#[tokio::test]
async fn every_sample_of_every_provider_is_taken_and_is_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &["init"]).await;
    let path = folder.path().join("relay.toml");
    let text = fs::read_to_string(&path).unwrap();
    let text = text
        .replace("#listen = \"127.0.0.1:8080\"", "listen = \"127.0.0.1:0\"")
        .replace("#listen = \"127.0.0.1:9090\"", "listen = \"127.0.0.1:0\"")
        .replace("#min_free = \"512 MiB\"", "min_free = \"1 MiB\"")
        .replace("[sources.julian]", "[sources.11x]")
        .replace("\"/hooks/julian\"", "\"/hooks/11x\"");
    fs::write(&path, text).unwrap();
    let mut command = Process::command();
    command.args(["serve", "--log-format", "json"]).current_dir(folder.path());
    let relay = Process::listening(command).await;

    let mut sent = Vec::new();
    for provider in ["11x", "plum", "synthflow", "mobtexting", "clouddial"] {
        let cases = out(&run(folder.path(), &["send", provider, "--case", "list"]).await);
        assert!(cases.starts_with("completed\n"), "{provider}: {cases}");
        let as_json = asked(folder.path(), &["send", provider, "--case", "list", "--json"]).await;
        assert_eq!(as_json, json!({ "cases": cases.lines().collect::<Vec<_>>() }));
        for case in cases.lines() {
            let to = format!("http://{}/hooks/{provider}", relay.callbacks);
            let answer =
                asked(folder.path(), &["send", provider, "--case", case, "--to", &to, "--json"])
                    .await;
            assert_eq!(answer["status"], 200, "{provider} {case}: {answer}");
            sent.push(format!("{provider} {case}"));
        }
    }
    let listed = asked(folder.path(), &["events", "ls", "--oldest", "--json"]).await;
    let listed: Vec<String> = listed["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| {
            let part = |name: &str| event[name].as_str().unwrap_or("-").to_owned();
            format!("{} {}", part("source"), part("status"))
        })
        .collect();
    assert_eq!(listed, sent, "each is an event of its own, with the status of its case");
    relay.kill().await;
}

#[tokio::test]
async fn secrets_are_made_in_the_shapes_that_relay_toml_takes() {
    let folder = tempfile::tempdir().unwrap();
    let whsec = out(&run(folder.path(), &["secret"]).await);
    let token = out(&run(folder.path(), &["secret", "token"]).await);

    assert!(whsec.starts_with("whsec_") && whsec.trim_end().len() == 6 + 44, "{whsec}");
    assert_eq!(token.trim_end().len(), 64);
    assert!(token.trim_end().bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_ne!(out(&run(folder.path(), &["secret"]).await), whsec);
    let json = asked(folder.path(), &["secret", "token", "--json"]).await;
    assert_eq!(json["secret"].as_str().unwrap().len(), 64);
}

#[tokio::test]
async fn every_shell_has_its_completions() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = out(&run(folder.path(), &["completions", shell]).await);
        assert!(script.contains("redrive"), "{shell}");
    }
}

/// A source whose signature is over a value of the body, so that of a broken body it tells nothing.
const SIGNED_BY_ID: &str = "provider = \"custom\"\nauth = [{ kind = \"url-token\", token = \"t0ken\" }, \
    { kind = \"hmac\", secret = \"secret\", header = \"x-sig\", signed = \"{json:/call/id}\" }]\n\
    map = { name = \"dialler\", call.id = \"/call/id\", call.status = \"/call/status\" }\n";

#[tokio::test]
async fn what_was_never_verified_is_released_only_when_a_person_says_so() {
    let crm = Target::answering(200).await;
    let setup = Setup::new().source(SIGNED_BY_ID).target("crm", &crm, "");
    let strict = setup.text().replace("custom\"\n", "custom\"\nrepair_json = false\n");
    let config = write_config(&setup.folder(), &strict);
    let folder = setup.folder();
    let relay = Process::serve(&config).await;
    let url = format!("http://{}/hooks/calls/t0ken", relay.callbacks);
    let mut ids = Vec::new();
    for call in ["c-1", "c-2"] {
        // A line break in a text, as careless senders leave it.
        let broken =
            json!({ "call": { "id": call, "status": "completed" }, "note": "a-b" }).to_string();
        let broken = broken.replace("a-b", "a\nb");
        let sent = client().post(&url).header("x-sig", "00").body(broken).send().await.unwrap();
        ids.push(Ack::of(sent).await.id());
    }
    let listed = asked(&folder, &["events", "ls", "--reason", "unverified", "--json"]).await;
    assert_eq!(listed["events"].as_array().unwrap().len(), 2, "{listed}");
    relay.terminate().await;
    let config =
        write_config(&folder, &strict.replace("repair_json = false", "repair_json = true"));
    let relay = Process::serve(&config).await;

    let refused = run(&folder, &["events", "release", &ids[0]]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(err(&refused).contains("only by a person's decision"), "{}", err(&refused));
    let kept = asked(&folder, &["events", "redrive", "--json"]).await;
    assert_eq!((&kept["released"], kept["kept"].as_array().unwrap().len()), (&json!(0), 2));
    assert!(crm.got().is_empty());
    let released = run(&folder, &["events", "release", &ids[0], "--unverified"]).await;
    assert_eq!(out(&released), format!("released {} to crm\n", ids[0]), "{}", err(&released));
    let redriven = asked(&folder, &["events", "redrive", "--unverified", "--json"]).await;
    assert_eq!(redriven, json!({ "released": 1, "kept": [] }));
    crm.received(2).await;
    assert_eq!(crm.ids(), ids.into_iter().collect());
    relay.kill().await;
}

#[tokio::test]
async fn of_quarantined_events_those_are_redriven_that_turn_out_to_be_what_is_asked_for() {
    let (crm, erp) = (Target::answering(200).await, Target::answering(200).await);
    let setup = Setup::new().target("crm", &crm, "").table(&format!(
        "[targets.erp]\nurl = \"{}\"\n[[routes]]\nname = \"busy\"\nstatus = [\"busy\"]\n\
         to = [\"erp\"]",
        erp.url()
    ));
    let config = write_config(&setup.folder(), &setup.text());
    let folder = setup.folder();
    let relay = Process::serve(&config).await;
    let url = format!("http://{}/hooks/calls", relay.callbacks);
    let mut ids = Vec::new();
    for (call, state, to) in [
        ("c1", "completed", "+15550100123"),
        ("c2", "busy", "+15550100124"),
        ("c3", "voicemail", "+15550100125"),
        ("c4", "completed", "+15550100126"),
        ("c5", "completed", "+15550100127"),
    ] {
        ids.push(post(&url, &json!({ "id": call, "state": state, "to": to })).await.id());
    }
    relay.terminate().await;
    let fixed = setup
        .text()
        .replace("provider = \"11x\"", &FITTING.replace(" }", ", call.to = \"/to\" }"))
        .replace("kind = \"header\",", "kind = \"header\", name = \"x-api-key\",");
    let config = write_config(&folder, &fixed);
    let relay = Process::serve(&config).await;

    for (filter, of) in [
        (["--status", "voicemail"], 2),
        (["--number", "+1 (555) 010-0123"], 0),
        (["--call", "c4"], 3),
        (["--target", "erp"], 1),
        (["--event", &ids[4]], 4),
    ] {
        for verb in
            [&["events", "redrive", "--dry-run", "--json"][..], &["events", "redrive", "--json"]]
        {
            let told = asked(&folder, &[verb, &filter[..]].concat()).await;
            assert_eq!(told, json!({ "released": 1, "kept": [] }), "{verb:?} {filter:?}");
        }
        let show = asked(&folder, &["events", "show", &ids[of], "--json"]).await;
        assert_eq!(show["state"], "routed", "{filter:?}");
    }
    relay.kill().await;
}

#[tokio::test]
async fn an_erasure_names_a_person_by_number_or_one_event() {
    let setup = Setup::new();
    let config = write_config(&setup.folder(), &setup.text());
    let folder = setup.folder();
    let relay = Process::serve(&config).await;
    let url = format!("http://{}/hooks/calls", relay.callbacks);
    let mut ids = Vec::new();
    for (call, number) in [("a", "+15550100111"), ("b", "+15550100111"), ("c", "+15550100122")] {
        let mut words = callback(&format!("call.{call}"));
        words["phoneNumber"] = json!(number);
        ids.push(post(&url, &words).await.id());
    }
    let left = || async {
        let listed = asked(&folder, &["events", "ls", "--oldest", "--json"]).await;
        let listed = listed["events"].as_array().unwrap().clone();
        listed.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };

    let by_number = run(&folder, &["erase", "--number", "+1 555 010 0111"]).await;
    assert_eq!(by_number.status.code(), Some(0), "{}", err(&by_number));
    assert!(out(&by_number).starts_with("erased:\nevents       2\n"), "{}", out(&by_number));
    assert_eq!(left().await, ids[2..]);
    let by_event = asked(&folder, &["erase", "--event", &ids[2], "--json"]).await;
    assert_eq!((&by_event["events"], &by_event["complete"]), (&json!(1), &json!(true)));
    assert!(left().await.is_empty());
    let mut short = callback("call.4711");
    short["phoneNumber"] = json!("47 11");
    post(&url, &short).await.id();
    let other = post(&url, &callback("call.47114711")).await.id();
    let by_short = asked(&folder, &["erase", "--number", "4711", "--json"]).await;
    assert_eq!((&by_short["events"], left().await), (&json!(1), vec![other]));
    let no_number = run(&folder, &["erase", "--number", "abc"]).await;
    assert_eq!(no_number.status.code(), Some(64));
    assert_eq!(err(&no_number), "error: a number has digits\n");
    for wrong in [&["erase"][..], &["erase", "--event", &ids[0], "--number", "+15550100111"]] {
        assert_eq!(run(&folder, wrong).await.status.code(), Some(64), "{wrong:?}");
    }
    relay.kill().await;
}
