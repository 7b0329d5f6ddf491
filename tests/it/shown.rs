//! What a person is shown by the verbs, word for word.

use std::{fs, path::Path};

use serde_json::json;

use crate::{
    harness::{
        API_KEY, Process, Setup, Target, assert_shown, callback, eventually, post, write_config,
    },
    operator::{asked, err, out, run},
};

/// A relay that has taken two calls for both targets, and where it takes more.
async fn two_calls(crm: &Target, erp: &Target) -> (Setup, Process, String) {
    let setup = Setup::new().target("crm", crm, "").target("erp", erp, "");
    let config = write_config(&setup.folder(), &setup.text());
    let relay = Process::serve(&config).await;
    let url = format!("http://{}/hooks/calls", relay.callbacks);
    for call in ["call.1", "call.2"] {
        post(&url, &callback(call)).await.id();
    }
    (setup, relay, url)
}

#[tokio::test]
async fn the_tables_of_the_verbs_are_shown_as_written_beside_the_tests() {
    let (crm, erp) = (Target::answering(410).await, Target::answering(200).await);
    let (setup, relay, url) = two_calls(&crm, &erp).await;
    let folder = setup.folder();
    let mut busy = callback("call.3");
    busy["callResult"]["resultType"] = json!("Busy");
    post(&url, &busy).await.id();
    post(&url, &json!({ "state": "nobody knows" })).await.id();
    eventually("all of them settled", || async {
        let targets = asked(&folder, &["targets", "--json"]).await;
        let done = |name: &str, state: &str| {
            let targets = targets["targets"].as_array().unwrap();
            let target = targets.iter().find(|target| target["name"] == name).unwrap();
            target[state] == 3 && target["in_flight"] == 0
        };
        done("crm", "dead") && done("erp", "delivered")
    })
    .await;

    for (name, arguments) in [
        ("events-ls", &["events", "ls"][..]),
        ("events-ls-none", &["events", "ls", "--status", "voicemail"]),
        ("dead-ls", &["dead", "ls"]),
        ("dead-redrive-dry-run", &["dead", "redrive", "--all", "--dry-run"]),
        ("targets", &["targets"]),
    ] {
        let shown = run(&folder, arguments).await;
        assert_eq!(shown.status.code(), Some(0), "{arguments:?}");
        assert_shown(name, &out(&shown));
    }
    relay.kill().await;
}

/// What a verb wrote to standard output and to standard error, with its code. The folder is
/// another in every run.
async fn shown(name: &str, folder: &Path, arguments: &[&str]) {
    let ended = run(folder, arguments).await;
    let code = ended.status.code().unwrap();
    let said = format!("{}{}exit {code}\n", out(&ended), err(&ended));
    assert_shown(name, &said.replace(folder.to_str().unwrap(), "/etc/hookswitch"));
}

#[tokio::test]
async fn what_the_verbs_did_is_shown_as_written_beside_the_tests() {
    let (crm, erp) = (Target::answering(200).await, Target::answering(200).await);
    let (setup, relay, url) = two_calls(&crm, &erp).await;
    let folder = setup.folder();
    post(&url, &json!({ "state": "nobody knows" })).await.id();
    eventually("all of them settled", || async {
        let targets = asked(&folder, &["targets", "--json"]).await;
        targets["targets"].as_array().unwrap().iter().all(|of| of["delivered"] == 2)
    })
    .await;

    shown("events-redrive-kept", &folder, &["events", "redrive"]).await;
    shown("healthcheck", &folder, &["healthcheck"]).await;
    shown("pause", &folder, &["pause", "erp"]).await;
    shown("replay", &folder, &["replay", "--since", "1h"]).await;
    crm.received(4).await;

    let gone =
        setup.text().replace("[targets.erp]", "[targets.erp2]").replace("\"erp\"", "\"erp2\"");
    write_config(&folder, &gone);
    shown("reload-refused", &folder, &["reload"]).await;
    shown("reload", &folder, &["reload", "--orphans", "keep"]).await;
    write_config(&folder, &gone.replace("provider = \"11x\"", "provider = \"12x\""));
    shown("reload-wrong", &folder, &["reload"]).await;

    eventually("all of crm settled", || async {
        let targets = asked(&folder, &["targets", "--json"]).await;
        let crm = &targets["targets"].as_array().unwrap()[0];
        crm["name"] == "crm" && crm["pending"] == 0 && crm["in_flight"] == 0
    })
    .await;
    shown("erase", &folder, &["erase", "--call", "call.1"]).await;
    let send = ["send", "11x", "--to", &url, "--secret"];
    shown("send", &folder, &[&send[..], &[API_KEY]].concat()).await;
    shown("send-refused", &folder, &[&send[..], &["another-key"]].concat()).await;
    relay.kill().await;
}

#[tokio::test]
async fn the_problems_that_check_finds_are_shown_as_written_beside_the_tests() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("events")).unwrap();
    let warned = "[sources.calls]\nprovider = \"11x\"\nauth = \"none\"\n\n\
         [targets.crm]\nurl = \"http://crm.example.com/events\"\ntimeout = \"10m\"\n\
         retry = { give_up_after = \"10m\" }\n\n[[routes]]\nto = [\"crm\"]\n";
    let wrong = warned
        .replace("timeout", "tiemout")
        .replace("\"11x\"", "\"12x\"")
        .replace("to = [\"crm\"]", "to = 5")
        .replace("[[routes]]", "[targets.lines]\nfile = \"events\"\n\n[[routes]]");
    for (name, text, code) in [("check-warnings", warned, 0), ("check-errors", &wrong, 78)] {
        write_config(folder.path(), text);

        let shown = run(folder.path(), &["check", "--offline"]).await;

        assert_eq!(shown.status.code(), Some(code), "{}", out(&shown));
        assert_shown(name, &out(&shown));
    }
}
