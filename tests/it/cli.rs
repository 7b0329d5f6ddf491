//! The command line: what it prints and what it exits with.

use std::{fs, net::TcpListener, path::Path, process::Output};

use serde_json::Value;
use tempfile::tempdir;

use crate::harness::{Process, Setup, client, within, write_config};

async fn run(arguments: &[&str], folder: &Path) -> Output {
    let mut command = Process::command();
    command.args(arguments).current_dir(folder);
    within("the command's end", command.output()).await.unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

// --- demo ---

#[tokio::test]
async fn the_demo_shows_callback_ack_event_and_delivery_of_every_provider() {
    let folder = tempdir().unwrap();

    let demo = run(&["demo"], folder.path()).await;

    let shown = out(&demo);
    assert_eq!(demo.status.code(), Some(0), "{shown}{}", err(&demo));
    for part in [
        "x-api-key",
        "\"callId\": \"call.demo0001\"",
        "200 OK",
        "webhook-signature: v1,",
        "\"type\": \"call.completed\"",
        "\"e164\": \"+15550100123\"",
        "delivered",
        "\"source\": \"/sources/plum\"",
        "\"source\": \"/sources/synthflow\"",
        "\"source\": \"/sources/mobtexting\"",
        "\"source\": \"/sources/clouddial\"",
    ] {
        assert!(shown.contains(part), "no {part} in:\n{shown}");
    }
    let place = |part: &str| shown.find(part).unwrap();
    assert!(place("\"specversion\": ") < place("\"data\": {"), "as it was written:\n{shown}");
    assert!(
        fs::read_dir(folder.path()).unwrap().next().is_none(),
        "the demo leaves nothing behind"
    );
}

#[tokio::test]
async fn the_demo_fails_when_its_receiver_refuses() {
    let folder = tempdir().unwrap();

    let demo = run(&["demo", "--refuse"], folder.path()).await;

    assert_eq!(demo.status.code(), Some(1), "{}", out(&demo));
    assert!(err(&demo).contains("the receiver refused the event with 500"), "{}", err(&demo));
}

#[tokio::test]
async fn the_demo_tells_scripts_of_each_callback_its_ack_delivery_and_event() {
    let folder = tempdir().unwrap();

    let demo = run(&["demo", "--json"], folder.path()).await;

    assert_eq!(demo.status.code(), Some(0), "{}", err(&demo));
    let shown: Value = serde_json::from_str(&out(&demo)).unwrap();
    assert_eq!(shown["complete"], true);
    let calls = shown["calls"].as_array().unwrap();
    let providers: Vec<&str> =
        calls.iter().map(|call| call["provider"].as_str().unwrap()).collect();
    assert_eq!(providers, ["11x", "plum", "synthflow", "mobtexting", "clouddial"]);
    for call in calls {
        let (provider, event) = (&call["provider"], &call["event"]);
        assert_eq!(event["source"], format!("/sources/{}", provider.as_str().unwrap()));
        assert_eq!(event["type"], "call.completed", "{provider}");
        let url = call["callback"]["url"].as_str().unwrap();
        assert!(url.starts_with(shown["relay"].as_str().unwrap()), "{url}");
        assert!(!call["callback"]["body"].as_str().unwrap().is_empty(), "{provider}");
        assert_eq!(
            (&call["ack"]["status"], &call["ack"]["body"]["id"]),
            (&200.into(), &event["id"])
        );
        let delivery = &call["delivery"];
        assert_eq!(
            (&delivery["method"], &delivery["path"]),
            (&"POST".into(), &"/call-events".into())
        );
        assert_eq!(delivery["headers"]["webhook-id"], event["id"]);
        let signature = delivery["headers"]["webhook-signature"].as_str().unwrap();
        assert!(signature.starts_with("v1,"), "{signature}");
        assert_eq!(delivery["answered"], 200, "{provider}");
    }

    let refused = run(&["demo", "--refuse", "--json"], folder.path()).await;

    assert_eq!(refused.status.code(), Some(1), "{}", err(&refused));
    assert_eq!(err(&refused), err(&run(&["demo", "--refuse"], folder.path()).await));
    let shown: Value = serde_json::from_str(&out(&refused)).unwrap();
    assert_eq!((&shown["complete"], shown["calls"].as_array().unwrap().len()), (&false.into(), 1));
    assert_eq!(shown["calls"][0]["delivery"]["answered"], 500);
}

// --- what does not start, and why ---

#[tokio::test]
async fn every_problem_of_a_configuration_is_told_at_once_and_nothing_is_started() {
    let folder = tempdir().unwrap();
    let text = "[store]\npath = \"started.db\"\nretentoin = \"1d\"\n\n[server]\nlisten = 8080\n\n\
                [sources.calls]\nprovider = \"12x\"\n";
    write_config(folder.path(), text);

    let served = run(&["serve"], folder.path()).await;

    assert_eq!(served.status.code(), Some(78));
    let told = err(&served);
    for place in ["relay.toml:3:1", "relay.toml:6:10", "relay.toml:9:12"] {
        assert!(told.contains(place), "no {place} in:\n{told}");
    }
    assert!(told.contains("retention"), "{told}");
    assert!(!folder.path().join("started.db").exists());
}

#[tokio::test]
async fn a_missing_configuration_is_78_and_names_the_file() {
    let folder = tempdir().unwrap();

    let served = run(&["serve", "--config", "nowhere.toml"], folder.path()).await;

    assert_eq!(served.status.code(), Some(78));
    assert!(err(&served).contains("nowhere.toml"), "{}", err(&served));
}

#[tokio::test]
async fn a_missing_secret_variable_is_78_and_names_it_with_its_place() {
    let setup = Setup::new()
        .source("provider = \"11x\"\nauth = { kind = \"header\", secret = { env = \"HOOKSWITCH_TEST_UNSET\" } }");
    write_config(&setup.folder(), &setup.text());

    let served = run(&["serve"], &setup.folder()).await;

    assert_eq!(served.status.code(), Some(78));
    let told = err(&served);
    assert!(told.contains("HOOKSWITCH_TEST_UNSET") && told.contains("relay.toml:"), "{told}");
}

#[tokio::test]
async fn a_folder_in_the_place_of_a_file_is_78_with_the_remedy() {
    let folder = tempdir().unwrap();
    fs::create_dir(folder.path().join("place")).unwrap();
    let source = |secret: &str| {
        format!(
            "[sources.calls]\nprovider = \"11x\"\n\
             auth = {{ kind = \"header\", secret = {secret} }}\n"
        )
    };
    let target = format!(
        "{}[targets.lines]\nfile = \"place\"\n[[routes]]\nto = [\"lines\"]\n",
        source("\"s3cret\"")
    );
    let text = source("{ file = \"place\" }");
    for (name, text, says, remedy) in [
        ("place", None, "is a directory", "name the file in it with --config PATH"),
        ("secret.toml", Some(text), "the secret file place", "name a file in it"),
        ("target.toml", Some(target), "place is a folder", "name a file in it"),
    ] {
        if let Some(text) = text {
            fs::write(folder.path().join(name), text).unwrap();
        }
        for verb in [&["serve"][..], &["check", "--offline"]] {
            let refused = run(&[verb, &["--config", name]].concat(), folder.path()).await;

            let told = if verb[0] == "serve" { err(&refused) } else { out(&refused) };
            assert_eq!(refused.status.code(), Some(78), "{name}: {told}");
            assert!(told.contains(says) && told.contains(remedy), "{name}: {told}");
            assert_eq!(told.matches("error: ").count(), 1, "{name}: {told}");
        }
    }
}

#[tokio::test]
async fn an_address_that_cannot_be_taken_is_69_in_one_line_that_names_its_table() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    // An address of nobody, which this machine has not either.
    let not_ours = "192.0.2.1:0".to_owned();
    for (table, address, remedy) in [
        ("server", &taken, "stop what listens there, or write another port"),
        ("admin", &taken, "stop what listens there, or write another port"),
        ("server", &not_ours, "write an address of this machine"),
        ("admin", &not_ours, "write an address of this machine"),
    ] {
        let setup = Setup::new().admin("token = \"a-token\"");
        let heading = format!("[{table}]\nlisten = ");
        let text = setup.text();
        let changed =
            text.replace(&format!("{heading}\"127.0.0.1:0\""), &format!("{heading}\"{address}\""));
        assert_ne!(changed, text);
        write_config(&setup.folder(), &changed);

        let served = run(&["serve", "--log", "off"], &setup.folder()).await;

        assert_eq!(served.status.code(), Some(69), "{}", err(&served));
        let told = err(&served);
        assert_eq!(told.lines().count(), 1, "{told}");
        assert!(told.contains(address) && told.contains(&format!("([{table}] listen)")), "{told}");
        assert!(told.contains(remedy), "{told}");
        if table == "server" {
            let listed = run(&["events", "ls"], &setup.folder()).await;
            assert_eq!(listed.status.code(), Some(68), "no relay has run here: {}", err(&listed));
        }
    }
}

#[tokio::test]
async fn a_store_that_cannot_be_opened_is_73_in_one_line() {
    type Spoil = fn(&Path);
    let cases: [(&str, Spoil); 5] = [
        ("a directory", |path| fs::create_dir(path).unwrap()),
        ("a device", |path| std::os::unix::fs::symlink("/dev/full", path).unwrap()),
        ("a socket", |path| drop(std::os::unix::net::UnixListener::bind(path).unwrap())),
        ("not a database", |path| {
            fs::write(path, b"this is no database at all, but text").unwrap();
        }),
        ("below a file", |path| {
            fs::remove_dir_all(path.parent().unwrap()).unwrap_or_default();
            fs::write(path.parent().unwrap(), b"").unwrap();
        }),
    ];
    for (case, spoil) in cases {
        let setup = Setup::new();
        let folder = setup.folder();
        let path = folder.join("sub/relay.db");
        fs::create_dir(folder.join("sub")).unwrap();
        spoil(&path);
        let own = format!("{:?}", setup.store_path());
        write_config(&folder, &setup.text().replace(&own, &format!("{path:?}")));

        let served = run(&["serve", "--log", "off"], &folder).await;

        assert_eq!(served.status.code(), Some(73), "{case}: {}", err(&served));
        let told = err(&served);
        assert_eq!(told.lines().count(), 1, "{case}: {told}");
        assert!(told.contains(folder.join("sub").to_str().unwrap()), "{case}: {told}");
        let remedies = ["name a file", "name another file", "must be able to read and write"];
        assert!(remedies.iter().any(|remedy| told.contains(remedy)), "{case}: {told}");
    }
}

#[tokio::test]
async fn a_second_relay_on_the_same_store_is_75_and_names_the_first() {
    let setup = Setup::new();
    let config = write_config(&setup.folder(), &setup.text());
    let first = Process::serve(&config).await;
    // The same file on the same ports, as when it is started twice.
    let ports = setup.text().replacen("127.0.0.1:0", &first.callbacks.to_string(), 1);
    let ports = ports.replacen("127.0.0.1:0", &first.admin.to_string(), 1);
    write_config(&setup.folder(), &ports);

    let second = run(&["serve", "--log", "off"], &setup.folder()).await;

    assert_eq!(second.status.code(), Some(75), "{}", err(&second));
    let told = err(&second);
    assert!(told.contains(&first.id().to_string()), "the pid: {told}");
    assert!(told.contains(&first.admin.to_string()), "the admin address: {told}");
    first.kill().await;
    write_config(&setup.folder(), &setup.text());
    let third = Process::serve(&config).await;
    third.kill().await;
}

#[tokio::test]
async fn a_wrong_command_line_is_64() {
    let folder = tempdir().unwrap();
    for arguments in [&["swerve"][..], &["serve", "--port", "1"], &[]] {
        assert_eq!(run(arguments, folder.path()).await.status.code(), Some(64), "{arguments:?}");
    }
    for arguments in [&["--help"][..], &["--version"], &["serve", "--help"]] {
        assert_eq!(run(arguments, folder.path()).await.status.code(), Some(0), "{arguments:?}");
    }
}

// --- what ships ---

#[tokio::test]
async fn the_shipped_relay_toml_has_no_problem_and_runs() {
    let folder = tempdir().unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("relay.toml");
    let shipped = fs::read_to_string(shipped).unwrap();
    write_config(folder.path(), &shipped);

    let check = run(&["check"], folder.path()).await;
    assert_eq!(check.status.code(), Some(0), "{}", out(&check));

    // On free ports, since the shipped ones may be in use.
    let mut text = shipped;
    for port in ["8080", "9090"] {
        let default = format!("#listen = \"127.0.0.1:{port}\"");
        assert!(text.contains(&default), "{port}");
        text = text.replace(&default, "listen = \"127.0.0.1:0\"");
    }
    let config = write_config(folder.path(), &text);
    let mut command = Process::command();
    command
        .args(["serve", "--log-format", "json", "--config"])
        .arg(&config)
        .current_dir(folder.path());
    let relay = Process::listening(command).await;
    assert!(relay.callbacks.ip().is_loopback() && relay.admin.ip().is_loopback());
    let (status, _) = relay.terminate().await;
    assert_eq!(status.code(), Some(0));
    assert!(folder.path().join("data/hookswitch.db").exists());
}

#[tokio::test]
async fn check_reports_problems_as_json_for_scripts() {
    let folder = tempdir().unwrap();
    write_config(folder.path(), "[server]\nlistne = \"127.0.0.1:0\"\n");

    let check = run(&["check", "--json"], folder.path()).await;

    assert_eq!(check.status.code(), Some(78));
    let report: Value = serde_json::from_str(&out(&check)).unwrap();
    assert_eq!(report["ok"], false);
    let problems = report["problems"].as_array().unwrap();
    let unknown = problems.iter().find(|problem| problem["place"]["line"] == 2).unwrap();
    assert_eq!(unknown["place"]["column"], 1);
    assert_eq!(unknown["severity"], "error");
}

/// relay.toml with one source and these targets, all of them routed to.
fn with_targets(folder: &Path, targets: &[(&str, String)]) {
    let mut text = "[sources.julian]\nprovider = \"11x\"\n\
         auth = { kind = \"header\", secret = { file = \"key\" } }\n"
        .to_owned();
    fs::write(folder.join("key"), "a-key").unwrap();
    for (name, keys) in targets {
        text.push_str(&format!("[targets.{name}]\n{keys}\n"));
    }
    let names: Vec<_> = targets.iter().map(|(name, _)| *name).collect();
    text.push_str(&format!("[[routes]]\nname = \"all\"\nto = {names:?}\n"));
    write_config(folder, &text);
}

#[tokio::test]
async fn check_connects_to_targets_and_says_which_cannot_be_reached_and_why() {
    let folder = tempdir().unwrap();
    let there = TcpListener::bind("127.0.0.1:0").unwrap();
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    // Whoever shakes hands with it is told something that is no TLS.
    let address = plain.local_addr().unwrap();
    let not_tls = std::thread::spawn(move || {
        let (mut peer, _) = plain.accept().unwrap();
        std::io::Write::write_all(&mut peer, b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let there = (there.local_addr().unwrap(), there);
    with_targets(
        folder.path(),
        &[
            ("there", format!("url = \"http://{}/\"", there.0)),
            ("gone", format!("url = \"http://{gone}/\"")),
            ("not-tls", format!("url = \"https://{address}/\"")),
            (
                "denied",
                "url = \"http://localhost:1/\"\ndeny_networks = [\"127.0.0.0/8\", \"::1/128\"]"
                    .to_owned(),
            ),
            ("nobody", "url = \"http://nobody.invalid/\"".to_owned()),
            ("lines", "file = \"key/events.jsonl\"".to_owned()),
        ],
    );

    let check = run(&["check"], folder.path()).await;
    let json = run(&["check", "--json"], folder.path()).await;
    let offline = run(&["check", "--offline"], folder.path()).await;

    let said = out(&check);
    assert_eq!(check.status.code(), Some(0), "{said}");
    not_tls.join().unwrap();
    for name in ["gone", "not-tls", "denied", "nobody", "lines"] {
        let warning = format!("warning: target {name} cannot be reached from here: ");
        assert!(said.contains(&warning), "{name}: {said}");
        assert!(said.contains(&format!("[targets.{name}]")), "{name}: {said}");
    }
    assert!(!said.contains("target there"), "{said}");
    assert!(said.contains("is refused: deny_networks has"), "{said}");
    assert!(said.contains("refused (os error"), "{said}");
    let report: Value = serde_json::from_str(&out(&json)).unwrap();
    assert_eq!(report["ok"], true);
    let problems = report["problems"].as_array().unwrap();
    let gone = problems.iter().find(|problem| problem["table"] == "targets.gone").unwrap();
    assert_eq!((&gone["severity"], &gone["place"]["line"]), (&"warning".into(), &6.into()));
    assert_eq!(offline.status.code(), Some(0));
    assert!(!out(&offline).contains("cannot be reached"), "{}", out(&offline));
    assert!(!folder.path().join("data").exists(), "nothing is made");
}

#[tokio::test]
async fn check_says_that_the_relay_would_not_start_with_this_store() {
    let folder = tempdir().unwrap();
    with_targets(folder.path(), &[("lines", "file = \"events.jsonl\"".to_owned())]);
    fs::create_dir(folder.path().join("data")).unwrap();
    fs::write(folder.path().join("data/hookswitch.db"), "no database at all").unwrap();

    let check = run(&["check"], folder.path()).await;
    let offline = run(&["check", "--offline"], folder.path()).await;

    assert_eq!(check.status.code(), Some(78), "{}", out(&check));
    assert!(out(&check).contains("is not a SQLite database"), "{}", out(&check));
    assert!(out(&check).ends_with("the relay would not start\n"), "{}", out(&check));
    assert_eq!(offline.status.code(), Some(0), "{}", out(&offline));
}

#[tokio::test]
async fn check_and_serve_say_that_the_store_cannot_be_made_where_this_user_may_not_write() {
    use std::os::unix::fs::PermissionsExt as _;

    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    let folder = tempdir().unwrap();
    // Nobody is kept out where the test runs as root: then the command runs as nobody.
    let command = folder.path().join("hookswitch");
    fs::copy(Process::command().as_std().get_program(), &command).unwrap();
    let told = async |arguments: &[&str]| {
        let mut told = tokio::process::Command::new(&command);
        told.args(arguments).current_dir(folder.path()).kill_on_drop(true);
        if rustix::process::geteuid().is_root() {
            told.uid(65_534);
        }
        within("the command's end", told.output()).await.unwrap()
    };
    with_targets(folder.path(), &[("lines", "file = \"-\"".to_owned())]);
    fs::create_dir(folder.path().join("data")).unwrap();
    for (path, bits) in [("", 0o755), ("data", 0o777), ("key", 0o644), ("relay.toml", 0o644)] {
        mode(&folder.path().join(path), bits).unwrap();
    }
    let fine = told(&["check"]).await;
    mode(&folder.path().join("data"), 0o555).unwrap();
    let refused = told(&["check"]).await;
    let served = told(&["serve", "--log", "off"]).await;

    assert_eq!(fine.status.code(), Some(0), "{}{}", out(&fine), err(&fine));
    let said = out(&refused);
    assert_eq!(refused.status.code(), Some(78), "{said}");
    assert!(said.contains("data/hookswitch.db cannot be written by this user: "), "{said}");
    assert!(said.ends_with("the relay would not start\n"), "{said}");
    let said = err(&served);
    assert_eq!(served.status.code(), Some(73), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("data/hookswitch.db: Permission denied"), "{said}");
    assert!(said.contains("must be able to read and write"), "{said}");
}

#[tokio::test]
async fn a_problem_of_what_a_table_names_has_its_place_however_the_heading_is_written() {
    let folder = tempdir().unwrap();
    with_targets(folder.path(), &[("a", "file = \"key/a\"".to_owned())]);
    let text = fs::read_to_string(folder.path().join("relay.toml")).unwrap();
    let text = text.replace("[targets.a]", "[ targets.\"a\" ]   # the lines");
    let text = text.replace("[[routes]]", "[targets]\nb = { file = \"key/b\" }\n[[routes]]");
    let text = text
        .replace("[targets]\nb =", "[targets.b]\nfile = \"key/b\" #")
        .replace("[targets.b]", "[targets.'b'] # [targets.a]");
    let text = text.replace("to = [\"a\"]", "to = [\"a\", \"b\"]");
    write_config(folder.path(), &text);

    let json = run(&["check", "--json"], folder.path()).await;
    let check = run(&["check"], folder.path()).await;

    let report: Value = serde_json::from_str(&out(&json)).unwrap();
    for (table, heading) in [("targets.a", "[ targets.\"a\" ]"), ("targets.b", "[targets.'b']")] {
        let line = text.lines().position(|line| line.starts_with(heading)).unwrap() + 1;
        let problems = report["problems"].as_array().unwrap();
        let place = &problems.iter().find(|problem| problem["table"] == table).unwrap()["place"];
        assert_eq!((&place["line"], &place["column"]), (&line.into(), &1.into()), "{report}");
        assert!(out(&check).contains(&format!("{line} | {heading}")), "{}", out(&check));
    }
}

#[tokio::test]
async fn the_event_schema_is_printed_as_json() {
    let folder = tempdir().unwrap();

    let printed = run(&["schema", "event"], folder.path()).await;

    let schema: Value = serde_json::from_str(&out(&printed)).unwrap();
    assert_eq!(schema["$id"], "urn:hookswitch:call-event:1");
}

/// A log that nobody reads fills its pipe, which holds 64 KiB.
#[tokio::test]
async fn a_log_that_nobody_reads_holds_no_callback_up() {
    let setup = Setup::new().source("provider = \"11x\"\nauth = \"none\"");
    let config = write_config(&setup.folder(), &setup.text());
    let mut command = Process::command();
    command.env("HOOKSWITCH_LOG", "trace");
    command.args(["serve", "--log-format", "json", "--config"]).arg(&config);
    let relay = Process::unread(command).await;

    let url = format!("http://{}/hooks/calls", relay.callbacks);
    for call in 0..400 {
        let sent = client().post(&url).body(format!("{{\"callId\":\"c-{call}\"}}")).send();
        assert_eq!(within("an ack", sent).await.unwrap().status(), 200);
    }
    relay.kill().await;
}
