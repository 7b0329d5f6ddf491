//! An ack leaves the process only after its event was synced: traced on the real binary.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::json;
use tokio::process::Command;

use crate::harness::{Process, Setup, callback, post, write_config};

/// One system call of the trace, in the order in which it ended.
#[derive(Debug)]
struct Call {
    name: String,
    arguments: String,
}

/// Reads what `strace -f` wrote. A call that another thread interrupted stands in two lines, and
/// counts where it ended: a sync that has begun is no sync.
fn calls(trace: &str) -> Vec<Call> {
    let mut unfinished: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if let Some(resumed) = rest.strip_prefix("<... ") {
            let Some((name, end)) = resumed.split_once(" resumed>") else { continue };
            let begin = unfinished.remove(&(thread, name)).unwrap_or_default();
            calls.push(Call { name: name.to_owned(), arguments: format!("{begin}{end}") });
        } else if let Some((name, arguments)) = rest.split_once('(') {
            match arguments.strip_suffix(" <unfinished ...>") {
                Some(begin) => drop(unfinished.insert((thread, name), begin)),
                None => calls.push(Call { name: name.to_owned(), arguments: arguments.to_owned() }),
            }
        }
    }
    calls
}

/// Where in the trace the event was written to the log, the next sync of that same file ended,
/// and the ack was sent; `None` for what is not there.
fn milestones(
    calls: &[Call],
    marker: &str,
    id: &str,
) -> (Option<usize>, Option<usize>, Option<usize>) {
    let written =
        calls.iter().position(|call| call.name == "pwrite64" && call.arguments.contains(marker));
    let log = written.and_then(|at| file(&calls[at].arguments));
    let synced = written.zip(log).and_then(|(written, log)| {
        let is_sync = |call: &Call| {
            matches!(call.name.as_str(), "fdatasync" | "fsync")
                && file(&call.arguments) == Some(log)
                && call.arguments.ends_with("= 0")
        };
        Some(written + 1 + calls.get(written + 1..)?.iter().position(is_sync)?)
    });
    let acked = calls.iter().position(|call| {
        matches!(call.name.as_str(), "write" | "writev" | "sendto" | "sendmsg")
            && call.arguments.contains("HTTP/1.1 202")
            && call.arguments.contains(id)
    });
    (written, synced, acked)
}

/// The file that a call is about: strace writes its path behind the descriptor.
fn file(arguments: &str) -> Option<&str> {
    let (_, path) = arguments.split_once('<')?;
    Some(path.split_once('>')?.0)
}

fn is_installed(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|paths| std::env::split_paths(&paths).any(|path| path.join(program).exists()))
}

async fn traced(config: &Path, trace: &Path) -> Process {
    let mut command = Command::new("strace");
    command
        .args(["--follow-forks", "--decode-fds=path", "--string-limit=65536", "-e"])
        .arg("trace=pwrite64,fsync,fdatasync,write,writev,sendto,sendmsg")
        .arg("--output")
        .arg(trace)
        .arg(env!("CARGO_BIN_EXE_hookswitch"))
        .args(["serve", "--log-format", "json", "--config"])
        .arg(config)
        .kill_on_drop(true);
    Process::listening(command).await
}

#[tokio::test]
async fn between_the_write_of_an_event_and_its_ack_there_is_a_sync() {
    if !is_installed("strace") {
        assert!(std::env::var_os("CI").is_none(), "strace is missing; .ci/run installs it");
        eprintln!("not run: strace is not installed (apt-get install strace)");
        return;
    }
    let setup = Setup::new().also("ack = 202");
    let config = write_config(&setup.folder(), &setup.text());
    let trace = setup.folder().join("trace");
    let relay = traced(&config, &trace).await;
    let url = format!("http://{}/hooks/calls", relay.callbacks);
    let mut acked = Vec::new();
    for call in 0..10 {
        let marker = format!("marker-{call}-of-this-call");
        acked.push((post(&url, &callback(&marker)).await.id(), marker));
    }
    // Many at once, which share commits: every third cannot be read, and each comes twice.
    let mut sending = tokio::task::JoinSet::new();
    for call in 0..60 {
        let (url, marker) = (url.clone(), format!("marker-{}-of-many-at-once", call / 2));
        sending.spawn(async move {
            let body = if call / 2 % 3 == 0 { json!([marker]) } else { callback(&marker) };
            (post(&url, &body).await.id(), marker)
        });
    }
    acked.extend(sending.join_all().await);
    relay.terminate().await;

    let calls = calls(&fs::read_to_string(trace).unwrap());
    for (id, marker) in acked {
        let (written, synced, acked) = milestones(&calls, &marker, &id);
        let written = written.unwrap_or_else(|| panic!("{marker} was never written"));
        let acked = acked.unwrap_or_else(|| panic!("{marker} was never acked"));
        let synced = synced.unwrap_or_else(|| panic!("{marker} was never synced"));
        assert!(written < synced && synced < acked, "{marker}: {written} {synced} {acked}");
    }
}
