//! Long work in steps against a relay that answers as the test says: it stops, and goes on.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::Read as _,
    process::Stdio,
    sync::Mutex,
};

use rustix::{pty, termios};
use serde_json::{Value, json};

use crate::{
    harness::{Process, Reply, Target, eventually, within},
    operator::{begun, ctrl_c, ended, err, out, run},
};

/// Whoever is asked the questions of a verb, and gives these answers one after the other.
async fn answering(answers: &[(u16, Value)]) -> (Target, String) {
    let answers: VecDeque<_> = answers.iter().cloned().collect();
    let answers = Mutex::new(answers);
    let relay = Target::scripted(move |_, asked| {
        if asked.path == "/healthz" {
            return Reply::status(200);
        }
        let (status, body) = answers.lock().unwrap().pop_front().expect("one question too many");
        Reply::Answer(status, Vec::new(), body.to_string().into())
    })
    .await;
    let url = relay.url().trim_end_matches("/events").to_owned();
    (relay, url)
}

/// What a relay says whose disk is full.
fn full() -> (u16, Value) {
    (503, json!({ "detail": "the store takes nothing now" }))
}

#[tokio::test]
async fn dead_letters_are_moved_until_the_last_step_whatever_was_counted_and_any_step_finds() {
    for (verb, complete) in [("redrive", true), ("redrive", false), ("discard", false)] {
        let steps = [
            json!({ "counts": [], "total": 2, "complete": complete }),
            json!({ "moved": 0, "next": "7" }),
            json!({ "moved": 2, "next": "9" }),
            json!({ "moved": 0, "next": "12" }),
            json!({ "moved": 3, "next": null }),
        ];
        let (relay, url) = answering(&steps.map(|step| (200, step))).await;
        let folder = tempfile::tempdir().unwrap();

        let moved = run(folder.path(), &["dead", verb, "--all", "--json", "--url", &url]).await;

        assert_eq!(moved.status.code(), Some(0), "{}", err(&moved));
        let told: Value = serde_json::from_str(&out(&moved)).unwrap();
        assert_eq!(told, json!({ "moved": 5, "complete": true }), "{verb}");
        let asked = relay.got();
        let asked = asked.iter().filter(|asked| asked.path.ends_with(verb));
        let told = asked.map(|asked| serde_json::from_slice::<Value>(&asked.body).unwrap());
        let cursors: Vec<Value> = told.map(|told| told["cursor"].clone()).collect();
        assert_eq!(cursors, [json!(null), json!("7"), json!("9"), json!("12")], "{verb}");
    }
}

#[tokio::test]
async fn what_ends_by_an_error_says_how_far_it_came_and_how_to_go_on() {
    let counted = (200, json!({ "counts": [], "total": 5, "complete": true }));
    let moved = (200, json!({ "moved": 2, "next": "7" }));
    for (verb, answers, told, says) in [
        (
            &["replay", "--since", "1h"][..],
            vec![(200, json!({ "deliveries": 3, "next": "7" })), full()],
            json!({ "deliveries": 3, "next": "7" }),
            "stopped: 3 deliveries are sent again; run the same command with --cursor 7 to go on",
        ),
        (
            &["dead", "redrive", "--all"],
            vec![counted.clone(), moved.clone(), full()],
            json!({ "moved": 2, "complete": false }),
            "stopped: redriven 2 of 5; run the same command again to go on",
        ),
        (
            &["dead", "discard", "--all"],
            vec![counted, moved, full()],
            json!({ "moved": 2, "complete": false }),
            "stopped: discarded 2 of 5; run the same command again to go on",
        ),
        (
            &["events", "redrive"],
            vec![(200, json!({ "released": 2, "kept": [], "next": "9" })), full()],
            json!({ "released": 2, "kept": [] }),
            "stopped: released 2, kept 0; run the same command again to go on",
        ),
        (
            &["erase", "--call", "call.1"],
            vec![(200, json!({ "events": 2, "next": "9" })), full()],
            json!({ "events": 2, "complete": false }),
            "stopped: the files may hold traces of what is erased; run the same command again to \
             go on",
        ),
    ] {
        let (_relay, url) = answering(&answers).await;
        let folder = tempfile::tempdir().unwrap();

        let stopped = run(folder.path(), &[verb, &["--json", "--url", &url]].concat()).await;

        assert_eq!(stopped.status.code(), Some(1), "{verb:?}");
        let error = "error: the store takes nothing now";
        assert_eq!(err(&stopped), format!("{error}\n{says}\n"), "{verb:?}");
        let shown: Value = serde_json::from_str(&out(&stopped)).unwrap_or_default();
        assert_eq!(shown, told, "{verb:?}");
    }
}

#[tokio::test]
async fn what_is_refused_before_its_first_step_says_only_why() {
    let counted = (200, json!({ "counts": [], "total": 5, "complete": true }));
    for (verb, answers) in [
        (&["replay", "--since", "1h"][..], vec![full()]),
        (&["dead", "redrive", "--all"], vec![counted, full()]),
        (&["events", "redrive"], vec![full()]),
    ] {
        let (_relay, url) = answering(&answers).await;
        let folder = tempfile::tempdir().unwrap();

        let refused = run(folder.path(), &[verb, &["--json", "--url", &url]].concat()).await;

        assert_eq!(refused.status.code(), Some(1), "{verb:?}");
        assert_eq!(err(&refused), "error: the store takes nothing now\n", "{verb:?}");
        assert_eq!(out(&refused), "", "{verb:?}");
    }
}

#[tokio::test]
async fn ctrl_c_in_an_export_is_heard_while_page_after_page_finds_none() {
    let pages = Target::scripted(|nth, asked| {
        if asked.path == "/healthz" {
            return Reply::status(200);
        }
        let page = json!({ "dead_letters": [], "next": nth.to_string() });
        Reply::Answer(200, Vec::new(), page.to_string().into())
    })
    .await;
    let url = pages.url().trim_end_matches("/events").to_owned();
    let folder = tempfile::tempdir().unwrap();
    let export = ["dead", "export", "--url", &url, "--out", "dead.jsonl"];

    let endless = begun(folder.path(), &export);
    eventually("its first pages", || async { pages.got().len() > 3 }).await;
    ctrl_c(&endless).await;
    let stopped = ended(endless).await;

    assert_eq!(stopped.status.code(), Some(130), "{}", err(&stopped));
    let said = "interrupted: dead.jsonl is not written; run the same command again\n";
    assert_eq!(err(&stopped), said);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn an_export_that_cannot_be_written_names_the_path_as_it_was_given_and_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("notes"), "").unwrap();
    fs::create_dir(folder.path().join("kept")).unwrap();
    let long = "n".repeat(300);
    for (path, says) in [
        ("lists/dead.jsonl", "there is no folder lists; make it, or name another"),
        ("notes/dead.jsonl", "notes is no folder; name another"),
        ("lists/", "it names a folder; name a file"),
        ("lists/.", "it names a folder; name a file"),
        ("kept", "it is a folder; name a file in it"),
        ("kept/", "it is a folder; name a file in it"),
        (&long, "its name is too long; name another"),
    ] {
        let (relay, url) = answering(&[]).await;

        let export = ["dead", "export", "--url", &url, "--out", path];
        let refused = run(folder.path(), &export).await;

        assert_eq!(refused.status.code(), Some(1), "{}", err(&refused));
        assert_eq!(err(&refused), format!("error: {path} cannot be written: {says}\n"));
        assert!(relay.got().iter().all(|asked| asked.path == "/healthz"), "nothing was asked");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

/// A terminal of 80 columns: what is shown on it, and where a command writes.
fn terminal() -> (File, File) {
    let flags = pty::OpenptFlags::RDWR | pty::OpenptFlags::NOCTTY;
    let screen = pty::openpt(flags).unwrap();
    pty::grantpt(&screen).unwrap();
    pty::unlockpt(&screen).unwrap();
    let name = pty::ptsname(&screen, Vec::new()).unwrap().into_string().unwrap();
    let writes = fs::OpenOptions::new().read(true).write(true).open(name).unwrap();
    let size = termios::Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    termios::tcsetwinsize(&writes, size).unwrap();
    (File::from(screen), writes)
}

#[tokio::test]
async fn a_terminal_shows_a_bar_of_what_was_counted_and_how_many_of_what_was_not() {
    let counted = (200, json!({ "counts": [], "total": 5, "complete": true }));
    let moved = |moved, next| (200, json!({ "moved": moved, "next": next }));
    let replayed = |deliveries, next| (200, json!({ "deliveries": deliveries, "next": next }));
    for (verb, answers, shows, has_bar) in [
        (
            &["dead", "redrive", "--all"][..],
            vec![counted, moved(2, Some("7")), moved(3, None)],
            " 2/5 ",
            true,
        ),
        (
            &["replay", "--since", "1h"],
            vec![replayed(3, Some("7")), replayed(4, None)],
            " 3 ",
            false,
        ),
    ] {
        let (_relay, url) = answering(&answers).await;
        let folder = tempfile::tempdir().unwrap();
        let (mut screen, writes) = terminal();
        let mut command = Process::command();
        command.args(verb).args(["--url", &url]).current_dir(folder.path());
        command.env("TERM", "xterm").stderr(Stdio::from(writes));

        let status = within("the command's end", command.status()).await.unwrap();
        drop(command);

        let mut shown = Vec::new();
        // With nobody left who writes to it, a terminal ends by an error.
        screen.read_to_end(&mut shown).unwrap_err();
        let shown = String::from_utf8(shown).unwrap();
        assert_eq!(status.code(), Some(0), "{shown}");
        assert!(shown.contains(shows), "{verb:?}: {shown}");
        assert_eq!(shown.contains('█'), has_bar, "{verb:?}: {shown}");
    }
}
