//! `targets`, `pause`, `resume`, `reload`, `replay`, `erase`: what is told to a running relay.

use hookswitch::clock::Clock;
use serde_json::{Map, Value, json};

use crate::cli::{
    block_on,
    connection::{Connection, Need, segment},
    exit::Exit,
    filter::{Picked, rate},
    print,
    steps::{Steps, Stop},
    table::{self, Column},
};

/// List targets with how they are doing.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  hookswitch targets --json | jq '.targets[] | select(.failing)'"
)]
pub(super) struct Targets {
    #[command(flatten)]
    connection: Connection,
}

/// One target.
#[derive(Debug, clap::Args)]
pub(super) struct OneTarget {
    #[command(flatten)]
    connection: Connection,
    /// Its name in relay.toml.
    target: String,
}

/// Read relay.toml again: all of it, or nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  hookswitch reload\n  hookswitch reload --orphans keep")]
pub(super) struct Reload {
    #[command(flatten)]
    connection: Connection,
    /// What becomes of deliveries that wait for a target which is gone: `keep` them until the name
    /// returns, or make them `dead` letters. Without it such a reload is refused.
    #[arg(long, value_name = "WHAT", value_parser = ["keep", "dead"])]
    orphans: Option<String>,
}

/// Send stored events again, also those that were delivered.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  hookswitch replay --since 2h --source julian --to crm\n  \
    hookswitch replay --failed-route \"sales results\" --to crm\n  hookswitch replay --event 01938a1e-…")]
pub(super) struct Replay {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    picked: Picked,
    /// Those on which the condition of this route failed.
    #[arg(long, value_name = "ROUTE")]
    failed_route: Option<String>,
    /// This event; may be said several times.
    #[arg(long, value_name = "ID")]
    event: Vec<String>,
    /// To this target, which may never have had it; may be said several times. Else to those that
    /// had it.
    #[arg(long, value_name = "TARGET")]
    to: Vec<String>,
    /// Where it had the event, under another webhook-id, <id>.<round>: for a target that passes
    /// over an id it knows.
    #[arg(long)]
    new_id: bool,
    /// At most so many events a second, such as 50/s.
    #[arg(long, value_name = "RATE", value_parser = rate)]
    rate: Option<u32>,
    /// Go on where an interrupted replay said it stopped.
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
}

/// Remove whatever the store holds of a person, for good. Ctrl-C stops between two steps; the same
/// command goes on.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  hookswitch erase --number +15550100123\n  \
    hookswitch erase --call call-4711 --json")]
#[group(id = "whose", required = true, multiple = false, args = ["call", "number", "event"])]
pub(super) struct Erase {
    #[command(flatten)]
    connection: Connection,
    /// Every event with this call id or reference.
    #[arg(long, value_name = "ID")]
    call: Option<String>,
    /// Every event in which this number occurs; one of fewer than six digits stands in other
    /// numbers, and is looked for only in `from` and `to`.
    #[arg(long, value_name = "NUMBER")]
    number: Option<String>,
    /// One event.
    #[arg(long, value_name = "ID")]
    event: Option<String>,
}

pub(super) fn targets(arguments: &Targets) -> Exit {
    let connection = &arguments.connection;
    block_on(async {
        let asked = async {
            let answer = connection.open(Need::Read).await?.get("/targets").await?;
            if connection.json {
                return Ok(print(&format!("{answer}\n")));
            }
            let mut rows = answer["targets"].as_array().cloned().unwrap_or_default();
            rows.iter_mut().for_each(sum_up);
            Ok(print(&table::rows(TARGETS, &rows, "no targets")))
        };
        asked.await.unwrap_or_else(|exit: Exit| exit)
    })
}

/// Says in one word how a target is, and what is wrong only while something is.
fn sum_up(target: &mut Value) {
    if target["configured"] == false {
        target["state"] = json!("not in relay.toml");
    } else if target["paused"] == true {
        target["state"] = json!("paused");
    }
    if target["state"] != "tripped" && target["failing"] != true {
        target["last_error"] = Value::Null;
    }
}

/// `verb` is `pause` or `resume`.
pub(super) fn hold(arguments: &OneTarget, verb: &str) -> Exit {
    let OneTarget { connection, target } = arguments;
    block_on(async {
        let asked = async {
            let peer = connection.open(Need::Write).await?;
            let path = format!("/targets/{}/{verb}", segment(target));
            let answer = peer.post(&path, &json!({})).await?;
            if connection.json {
                return Ok(print(&format!("{answer}\n")));
            }
            let said = match verb {
                "pause" => "is paused: what comes for it waits",
                _ => "is resumed",
            };
            Ok(print(&format!("target {target} {said}\n")))
        };
        asked.await.unwrap_or_else(|exit: Exit| exit)
    })
}

pub(super) fn reload(arguments: &Reload) -> Exit {
    let Reload { connection, orphans } = arguments;
    block_on(async {
        let asked = async {
            let peer = connection.open(Need::Write).await?;
            let order = json!({ "orphans": orphans.as_deref().unwrap_or("refuse") });
            let report = peer.post("/reload", &order).await?;
            if connection.json {
                return Ok(print(&format!("{report}\n")));
            }
            Ok(print(&reloaded(&report)))
        };
        asked.await.unwrap_or_else(|exit: Exit| exit)
    })
}

fn reloaded(report: &Value) -> String {
    let mut text = String::new();
    for warning in report["warnings"].as_array().into_iter().flatten() {
        text.push_str(&format!("{}\n", warning["rendered"].as_str().unwrap_or_default()));
    }
    for (heading, member) in [
        ("added", "added"),
        ("changed", "changed"),
        ("removed", "removed"),
        ("at the next start", "needs_restart"),
    ] {
        let names: Vec<&str> =
            report[member].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if !names.is_empty() {
            text.push_str(&format!("{heading}: {}\n", names.join(", ")));
        }
    }
    for orphaned in report["orphaned"].as_array().into_iter().flatten() {
        let (target, pending) = (table::shown(orphaned.get("target")), &orphaned["pending"]);
        text.push_str(&format!("orphaned: {pending} deliveries of {target}\n"));
    }
    // Whoever has changed a file wonders then whether it was this one.
    let as_it_was =
        ["added", "changed", "removed"].iter().all(|member| report[member] == json!([]));
    text.push_str(if as_it_was { "reloaded; nothing has changed\n" } else { "reloaded\n" });
    text
}

pub(super) fn replay(arguments: &Replay) -> Exit {
    let of_route = arguments.failed_route.is_some();
    if arguments.picked.is_empty() && arguments.event.is_empty() && !of_route {
        eprintln!("error: say which: --since, --source, --event, …");
        return Exit::Usage;
    }
    block_on(async { arguments.carry_out().await.unwrap_or_else(|exit| exit) })
}

impl Replay {
    async fn carry_out(&self) -> Result<Exit, Exit> {
        let peer = self.connection.open(Need::Write).await?;
        let mut body = self.picked.clone().before(Clock::system().now()).members();
        body.insert("events".to_owned(), json!(self.event));
        body.insert("to".to_owned(), json!(self.to));
        body.insert("new_id".to_owned(), json!(self.new_id));
        if let Some(route) = &self.failed_route {
            body.insert("failed_route".to_owned(), json!(route));
        }
        let mut cursor = json!(self.cursor);
        let mut deliveries = 0;
        let mut steps = Steps::new("replayed", None, self.rate, self.connection.json);
        while let Some(max) = steps.next().await {
            body.insert("max".to_owned(), json!(max));
            body.insert("cursor".to_owned(), cursor.clone());
            let step = peer.post("/replay", &Value::Object(body.clone())).await;
            let Some(step) = steps.given(step)? else { break };
            let moved = step["deliveries"].as_u64().unwrap_or_default();
            deliveries += moved;
            cursor = step["next"].clone();
            steps.went(moved);
        }
        let stop = steps.stopped();
        if self.connection.json {
            let told = json!({ "deliveries": deliveries, "next": cursor });
            print(&format!("{told}\n"));
        }
        let at = cursor.as_str().map(|at| format!(" with --cursor {at}")).unwrap_or_default();
        let again = match deliveries {
            1 => "1 delivery is sent again".to_owned(),
            deliveries => format!("{deliveries} deliveries are sent again"),
        };
        match stop {
            Stop::Done => eprintln!("replayed: {again}"),
            Stop::Interrupted => eprintln!(
                "interrupted: {again}, the rest is untouched; run the same command{at} to go on"
            ),
            Stop::Failed(_) => {
                eprintln!("stopped: {again}; run the same command{at} to go on");
            }
        }
        Ok(stop.exit())
    }
}

pub(super) fn erase(arguments: &Erase) -> Exit {
    block_on(async { arguments.carry_out().await.unwrap_or_else(|exit| exit) })
}

impl Erase {
    /// Step by step; what a step removed is reported however it ends.
    async fn carry_out(&self) -> Result<Exit, Exit> {
        let Self { connection, call, number, event } = self;
        let peer = connection.open(Need::Write).await?;
        let mut order = json!({ "call": call, "number": number, "event": event });
        let mut erased = Map::new();
        let mut steps = Steps::new("erased", None, None, connection.json);
        while steps.next().await.is_some() {
            let step = peer.post("/erase", &order).await;
            let Some(step) = steps.given(step)? else { break };
            add(&mut erased, &step);
            order["cursor"] = step["next"].clone();
            steps.went(step["events"].as_u64().unwrap_or_default());
        }
        let stop = steps.stopped();
        let (begun, erased) = (!erased.is_empty(), Value::Object(erased));
        if connection.json && begun {
            let mut told = erased;
            told["complete"] = json!(stop == Stop::Done);
            print(&format!("{told}\n"));
        } else if begun {
            print(&format!("erased:\n{}", table::facts(ERASED, &erased)));
        }
        match stop {
            Stop::Done => {}
            Stop::Interrupted => eprintln!(
                "interrupted: the rest is untouched, and the files may hold traces of what is \
                 erased; run the same command again to go on"
            ),
            Stop::Failed(_) => eprintln!(
                "stopped: the files may hold traces of what is erased; run the same command again \
                 to go on"
            ),
        }
        Ok(stop.exit())
    }
}

/// Adds the counts of one step to those before.
fn add(counts: &mut Map<String, Value>, step: &Value) {
    for (name, count) in step.as_object().into_iter().flatten() {
        if let Some(count) = count.as_u64() {
            let before = counts.get(name).and_then(Value::as_u64).unwrap_or_default();
            counts.insert(name.clone(), json!(before + count));
        }
    }
}

const TARGETS: &[Column] = &[
    ("TARGET", "/name"),
    ("STATE", "/state"),
    ("IN FLIGHT", "/in_flight"),
    ("PENDING", "/pending"),
    ("DELIVERED", "/delivered"),
    ("DEAD", "/dead"),
    ("DISCARDED", "/discarded"),
    ("OLDEST (UTC)", "/oldest_pending"),
    ("ERROR", "/last_error"),
];

const ERASED: &[Column] = &[
    ("events", "/events"),
    ("deliveries", "/deliveries"),
    ("pending", "/pending"),
    ("dead", "/dead"),
    ("attempts", "/attempts"),
    ("fingerprints", "/fingerprints"),
];
