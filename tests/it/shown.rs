//! What a person is shown by the verbs, word for word.

use std::fs;

use serde_json::json;

use crate::{
    harness::{Process, Setup, Target, assert_shown, callback, eventually, post, write_config},
    operator::{asked, out, run},
};

#[tokio::test]
async fn the_tables_of_the_verbs_are_shown_as_written_beside_the_tests() {
    let (crm, erp) = (Target::answering(410).await, Target::answering(200).await);
    let setup = Setup::new().target("crm", &crm, "").target("erp", &erp, "");
    let config = write_config(&setup.folder(), &setup.text());
    let folder = setup.folder();
    let relay = Process::serve(&config).await;
    let url = format!("http://{}/hooks/calls", relay.callbacks);
    for call in ["call.1", "call.2"] {
        post(&url, &callback(call)).await.id();
    }
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
