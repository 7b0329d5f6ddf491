//! `hookswitch events`: what came in, and what became of it.

use std::{collections::BTreeSet, time::Duration};

use rustix::event::{PollFd, PollFlags, poll};
use serde_json::{Value, json};

use crate::cli::{
    block_on,
    connection::{Address, Connection, Need, Peer, ToldEvent, segment},
    exit::Exit,
    filter::{Part, Picked},
    print, print_part,
    steps::{Steps, Stop},
    table::{self, Column},
};

/// List events, show one, or follow them as they come.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// List events, the newest first.
    #[command(after_help = "Examples:\n  hookswitch events ls --since 2h --source julian\n  \
        hookswitch events ls --state quarantined --json | jq -r '.events[].id'")]
    Ls {
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        picked: Picked,
        /// routed, unrouted or quarantined.
        #[arg(long, value_name = "STATE")]
        state: Option<String>,
        /// Quarantined for this reason, such as `unrecognised`.
        #[arg(long, value_name = "REASON")]
        reason: Option<String>,
        /// Those on which the condition of this route failed.
        #[arg(long, value_name = "ROUTE")]
        failed_route: Option<String>,
        #[command(flatten)]
        part: Part,
        /// The oldest first.
        #[arg(long)]
        oldest: bool,
    },
    /// Show one event with its deliveries.
    #[command(after_help = "Example:\n  hookswitch events show 01938a1e-…")]
    Show {
        #[command(flatten)]
        connection: Connection,
        /// The event's id.
        id: String,
    },
    /// Print the body of the callback as it came; of a GET its query.
    #[command(after_help = "Example:\n  hookswitch events raw 01938a1e-… > body.json")]
    Raw {
        #[command(flatten)]
        address: Address,
        /// The event's id.
        id: String,
    },
    /// Read one quarantined or unrouted event again, and send it down its routes.
    #[command(after_help = "Example:\n  hookswitch events release 01938a1e-… --unverified")]
    Release {
        #[command(flatten)]
        connection: Connection,
        /// The event's id.
        id: String,
        /// Believe it although it could not be verified when it came.
        #[arg(long)]
        unverified: bool,
    },
    /// Read quarantined events again after a fix, and send them down their routes. Status, call,
    /// number and target are those they have once they are read.
    #[command(after_help = "Examples:\n  hookswitch events redrive --source julian --dry-run\n  \
        hookswitch events redrive --since 7d --status voicemail\n  \
        hookswitch events redrive --unrouted    # after a route was added")]
    Redrive {
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        picked: Picked,
        /// Quarantined for this reason, such as `unrecognised`.
        #[arg(long, value_name = "REASON")]
        reason: Option<String>,
        /// This event; may be said several times.
        #[arg(long, value_name = "ID")]
        event: Vec<String>,
        /// Also those that could not be verified when they came.
        #[arg(long)]
        unverified: bool,
        /// Events that no route took, in place of those that could not be read.
        #[arg(long)]
        unrouted: bool,
        /// Only read them, and release none.
        #[arg(long)]
        dry_run: bool,
    },
    /// Follow events as they come, until Ctrl-C; with `--since` those from then on first.
    #[command(after_help = "Examples:\n  hookswitch events tail --status voicemail --json\n  \
        hookswitch events tail --since 10m")]
    Tail {
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        picked: Picked,
    },
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    block_on(async {
        let done = match &arguments.what {
            What::Ls { connection, picked, state, reason, failed_route, part, oldest } => {
                let further =
                    [("state", state), ("reason", reason), ("failed_route", failed_route)];
                let further =
                    further.map(|(name, given)| given.as_deref().map(|given| (name, given)));
                let order = ("order", if *oldest { "oldest" } else { "newest" });
                let more: Vec<_> = further.into_iter().flatten().chain([order]).collect();
                list(connection, &picked.query(&more), part).await
            }
            What::Show { connection, id } => show(connection, id).await,
            What::Raw { address, id } => raw(address, id).await,
            What::Release { connection, id, unverified } => {
                release(connection, id, *unverified).await
            }
            What::Redrive { connection, picked, reason, event, unverified, unrouted, dry_run } => {
                let mut order = picked.members();
                if let Some(reason) = reason {
                    order.insert("reason".to_owned(), json!(reason));
                }
                order.insert("events".to_owned(), json!(event));
                order.insert("unverified".to_owned(), json!(unverified));
                order.insert("unrouted".to_owned(), json!(unrouted));
                order.insert("dry_run".to_owned(), json!(dry_run));
                redrive(connection, Value::Object(order), *dry_run).await
            }
            What::Tail { connection, picked } => tail(connection, picked).await,
        };
        done.unwrap_or_else(|exit| exit)
    })
}

async fn list(connection: &Connection, query: &str, part: &Part) -> Result<Exit, Exit> {
    let peer = connection.open(Need::Read).await?;
    let (events, next) = pages(&peer, "/events", "events", query, part).await?;
    if connection.json {
        return Ok(print(&format!("{}\n", json!({ "events": events, "next": next }))));
    }
    let exit = print(&table::rows(COLUMNS, &events, "no events"));
    Part::tell_next(events.len(), &next);
    Ok(exit)
}

/// Rows of as many pages as the part takes, and where they ended.
pub(super) async fn pages(
    peer: &Peer,
    path: &str,
    member: &str,
    query: &str,
    part: &Part,
) -> Result<(Vec<Value>, Value), Exit> {
    let limit = part.limit;
    let mut rows = Vec::new();
    let from = part.cursor.as_deref().map(|from| format!("&cursor={}", segment(from)));
    let mut cursor = from.unwrap_or_default();
    loop {
        let take = (limit - rows.len()).clamp(1, PAGE_ROWS_MAX);
        let page = peer.get(&format!("{path}{query}&limit={take}{cursor}")).await?;
        rows.extend(page[member].as_array().cloned().unwrap_or_default());
        let next = page["next"].clone();
        match next.as_str() {
            Some(next) if rows.len() < limit => cursor = format!("&cursor={next}"),
            _ => return Ok((rows, next)),
        }
    }
}

async fn show(connection: &Connection, id: &str) -> Result<Exit, Exit> {
    let peer = connection.open(Need::Read).await?;
    let ToldEvent { text, facts, event } = peer.event(id).await?;
    if connection.json {
        return Ok(print(&format!("{text}\n")));
    }
    let mut text = table::facts(FACTS, &facts);
    if !facts["event"].is_null() {
        text.push_str(&format!("\n{}\n", table::lines(event.get())));
    }
    let deliveries = facts["deliveries"].as_array().cloned().unwrap_or_default();
    text.push_str(&format!("\n{}", table::rows(DELIVERIES, &deliveries, "no deliveries")));
    for delivery in &deliveries {
        if let Some(attempts) = attempts(&peer, &delivery["id"]).await? {
            let target = table::shown(delivery.get("target"));
            text.push_str(&format!("\nattempts for {target}\n{attempts}"));
        }
    }
    Ok(print(&text))
}

/// A delivery's attempts as a table, if there are any.
pub(super) async fn attempts(peer: &Peer, delivery: &Value) -> Result<Option<String>, Exit> {
    let path = format!("/deliveries/{delivery}/attempts");
    let part = Part { limit: ATTEMPTS_SHOWN, cursor: None };
    let (attempts, _) = pages(peer, &path, "attempts", "?", &part).await?;
    Ok((!attempts.is_empty()).then(|| table::rows(ATTEMPTS, &attempts, "")))
}

async fn raw(address: &Address, id: &str) -> Result<Exit, Exit> {
    let peer = address.open(Need::Read).await?;
    print_part(&peer.bytes(&format!("/events/{}/raw", segment(id))).await?)?;
    Ok(Exit::Done)
}

async fn release(connection: &Connection, id: &str, unverified: bool) -> Result<Exit, Exit> {
    let peer = connection.open(Need::Write).await?;
    let path = format!("/events/{}/release", segment(id));
    let released = peer.post(&path, &json!({ "unverified": unverified })).await?;
    if connection.json {
        return Ok(print(&format!("{released}\n")));
    }
    let targets = released["targets"].as_array().into_iter().flatten();
    let targets: Vec<&str> = targets.filter_map(Value::as_str).collect();
    Ok(print(&match targets.join(", ") {
        none if none.is_empty() => format!("released {id}; no route takes it\n"),
        targets => format!("released {id} to {targets}\n"),
    }))
}

/// Step by step; Ctrl-C is heard between two, and the same command goes on with what is left.
async fn redrive(connection: &Connection, mut order: Value, dry: bool) -> Result<Exit, Exit> {
    let peer = connection.open(Need::Write).await?;
    let done = if dry { "readable now" } else { "released" };
    let mut steps = Steps::new(done, None, None, connection.json);
    let (mut released, mut kept) = (0, Vec::new());
    while steps.next().await.is_some() {
        let step = peer.post("/quarantine/redrive", &order).await;
        let Some(step) = steps.given(step)? else { break };
        let moved = step["released"].as_u64().unwrap_or_default();
        released += moved;
        kept.extend(step["kept"].as_array().cloned().unwrap_or_default());
        order["cursor"] = step["next"].clone();
        steps.went(moved);
    }
    let stop = steps.stopped();
    if connection.json {
        print(&format!("{}\n", json!({ "released": released, "kept": kept })));
    } else if !kept.is_empty() {
        print(&table::rows(&[("KEPT", "/id"), ("WHY", "/why")], &kept, ""));
    }
    let kept = kept.len();
    match stop {
        Stop::Done => eprintln!("{done}: {released}, kept: {kept}"),
        Stop::Interrupted => eprintln!(
            "interrupted: {done} {released}, kept {kept}, the rest is untouched; run the same \
             command again to go on"
        ),
        Stop::Failed(_) => eprintln!(
            "stopped: {done} {released}, kept {kept}; run the same command again to go on"
        ),
    }
    Ok(stop.exit())
}

/// Asks for what came after the last event that was seen. A page that is not full has no cursor:
/// then the next question begins where the last did, and what was shown already is passed over.
async fn tail(connection: &Connection, picked: &Picked) -> Result<Exit, Exit> {
    let peer = connection.open(Need::Read).await?;
    let (mut shown, mut cursor) = (BTreeSet::new(), None);
    if !picked.has_since() {
        let last = peer.get("/events?limit=1").await?;
        shown = ids(&last).collect();
        cursor = last["next"].as_str().map(str::to_owned);
    }
    let interrupted = tokio::signal::ctrl_c();
    let mut interrupted = std::pin::pin!(interrupted);
    loop {
        let mut more = vec![("order", "oldest"), ("limit", "1000")];
        more.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let page = peer.get(&format!("/events{}", picked.query(&more))).await?;
        for event in page["events"].as_array().into_iter().flatten() {
            if shown.insert(event["id"].as_str().unwrap_or_default().to_owned()) {
                let line = if connection.json { event.to_string() } else { line(event) };
                print_part(format!("{line}\n").as_bytes())?;
            }
        }
        if nobody_reads() {
            return Ok(Exit::Done);
        }
        if let Some(next) = page["next"].as_str() {
            cursor = Some(next.to_owned());
            shown.clear();
        } else {
            tokio::select! {
                _ = &mut interrupted => return Ok(Exit::Done),
                () = tokio::time::sleep(TAIL_PAUSE) => {}
            }
        }
    }
}

/// Whether whoever read standard output has gone: without an event nothing is written, and so
/// nothing fails.
fn nobody_reads() -> bool {
    let out = std::io::stdout();
    let mut polled = [PollFd::new(&out, PollFlags::empty())];
    poll(&mut polled, Some(&rustix::event::Timespec::default())).is_ok()
        && polled[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
}

fn ids(page: &Value) -> impl Iterator<Item = String> {
    let events = page["events"].as_array().into_iter().flatten();
    events.filter_map(|event| event["id"].as_str().map(str::to_owned))
}

fn line(event: &Value) -> String {
    let cells: Vec<String> =
        COLUMNS.iter().map(|(_, pointer)| table::shown(event.pointer(pointer))).collect();
    cells.join("  ")
}

const COLUMNS: &[Column] = &[
    ("RECEIVED (UTC)", "/received_at"),
    ("ID", "/id"),
    ("SOURCE", "/source"),
    ("STATE", "/state"),
    ("STATUS", "/status"),
    ("CALL", "/call_id"),
    ("TO", "/to"),
    ("REASON", "/reason"),
];

const FACTS: &[Column] = &[
    ("id", "/id"),
    ("source", "/source"),
    ("provider", "/provider"),
    ("received", "/received_at"),
    ("state", "/state"),
    ("reason", "/reason"),
    ("failed routes", "/failed_routes"),
    ("method", "/request/method"),
    ("query", "/request/query"),
    ("type", "/request/content_type"),
    ("body bytes", "/request/body_bytes"),
];

const DELIVERIES: &[Column] = &[
    ("DELIVERY", "/id"),
    ("TARGET", "/target"),
    ("STATE", "/state"),
    ("ROUND", "/round"),
    ("ATTEMPTS", "/attempts"),
    ("NEXT (UTC)", "/next_at"),
    ("STATUS", "/status"),
    ("ERROR", "/error"),
];

const ATTEMPTS: &[Column] = &[
    ("AT (UTC)", "/at"),
    ("ROUND", "/round"),
    ("NUMBER", "/number"),
    ("STATUS", "/status"),
    ("MS", "/duration_ms"),
    ("ERROR", "/error"),
];

/// Rows the API gives at a time.
pub(super) const PAGE_ROWS_MAX: usize = 1000;

/// Attempts of one delivery that `show` lists.
const ATTEMPTS_SHOWN: usize = 100;

/// Between two questions of `tail`.
const TAIL_PAUSE: Duration = Duration::from_secs(1);
