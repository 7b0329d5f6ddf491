//! `hookswitch dead`: what no target took, and what becomes of it.

use std::{
    fmt,
    io::{BufWriter, ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use hookswitch::clock::Clock;
use serde_json::{Map, Value, json};
use tempfile::NamedTempFile;

use crate::cli::{
    block_on,
    connection::{Address, Connection, Need, Peer, segment},
    events::{PAGE_ROWS_MAX, attempts, pages},
    exit::Exit,
    filter::{Part, Picked, rate},
    print, print_part,
    steps::{Steps, Stop},
    table::{self, Column},
};

/// List dead letters, send them again, or give them up.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// List dead letters, those of the oldest event first.
    #[command(after_help = "Example:\n  hookswitch dead ls --target crm --reason permanent")]
    Ls {
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        buried: Buried,
        #[command(flatten)]
        part: Part,
    },
    /// Show one dead letter with its attempts.
    #[command(after_help = "Example:\n  hookswitch dead show 86016")]
    Show {
        #[command(flatten)]
        connection: Connection,
        /// The delivery's id, as `dead ls` prints it.
        id: String,
    },
    /// Send dead letters again. Ctrl-C stops between two steps; the same command goes on.
    #[command(after_help = "Examples:\n  hookswitch dead redrive --target crm --dry-run\n  \
        hookswitch dead redrive --target crm --since 6h --rate 50/s\n  \
        hookswitch dead redrive --event 01938a1e-… --new-id")]
    Redrive {
        #[command(flatten)]
        choice: Choice,
        /// Under another webhook-id, <id>.<round>: for a target that passes over an id it knows.
        #[arg(long)]
        new_id: bool,
    },
    /// Give dead letters up: they stay listed as discarded, and are never sent.
    #[command(after_help = "Example:\n  hookswitch dead discard --reason expired --dry-run")]
    Discard(Choice),
    /// Write dead letters with their events as JSON lines. Interrupted, it leaves no file.
    #[command(after_help = "Example:\n  hookswitch dead export --target crm --out crm.jsonl")]
    Export {
        #[command(flatten)]
        address: Address,
        #[command(flatten)]
        buried: Buried,
        /// A file that does not exist yet, readable by you alone; else standard output.
        #[arg(long, value_name = "PATH")]
        out: Option<PathBuf>,
    },
}

/// Which dead letters.
#[derive(Debug, clap::Args)]
struct Buried {
    #[command(flatten)]
    picked: Picked,
    /// Dead for this reason, such as `permanent` or `attempts_exhausted`.
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
}

/// Which dead letters are moved, and how.
#[derive(Debug, clap::Args)]
struct Choice {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    buried: Buried,
    /// Of this event; may be said several times.
    #[arg(long, value_name = "ID")]
    event: Vec<String>,
    /// Every dead letter there is.
    #[arg(long)]
    all: bool,
    /// Only say how many there are, per target and reason.
    #[arg(long)]
    dry_run: bool,
    /// At most so many a second, such as 50/s.
    #[arg(long, value_name = "RATE", value_parser = rate)]
    rate: Option<u32>,
}

/// A file that is being written, and has its name only once it is whole.
struct Draft {
    path: PathBuf,
    file: BufWriter<NamedTempFile>,
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    block_on(async {
        let done = match &arguments.what {
            What::Ls { connection, buried, part } => list(connection, buried, part).await,
            What::Show { connection, id } => show(connection, id).await,
            What::Redrive { choice, new_id } => {
                choice.carry_out("redrive", "redriven", *new_id).await
            }
            What::Discard(choice) => choice.carry_out("discard", "discarded", false).await,
            What::Export { address, buried, out } => export(address, buried, out.as_deref()).await,
        };
        done.unwrap_or_else(|exit| exit)
    })
}

async fn list(connection: &Connection, buried: &Buried, part: &Part) -> Result<Exit, Exit> {
    let peer = connection.open(Need::Read).await?;
    let query = buried.query();
    let (letters, next) = pages(&peer, "/dead-letters", "dead_letters", &query, part).await?;
    if connection.json {
        return Ok(print(&format!("{}\n", json!({ "dead_letters": letters, "next": next }))));
    }
    let exit = print(&table::rows(COLUMNS, &letters, "no dead letters"));
    Part::tell_next(letters.len(), &next);
    Ok(exit)
}

async fn show(connection: &Connection, id: &str) -> Result<Exit, Exit> {
    let peer = connection.open(Need::Read).await?;
    let letter = peer.get(&format!("/dead-letters/{}", segment(id))).await?;
    if connection.json {
        return Ok(print(&format!("{letter}\n")));
    }
    let mut text = table::facts(FACTS, &letter);
    if let Some(attempts) = attempts(&peer, &letter["id"]).await? {
        text.push_str(&format!("\nattempts\n{attempts}"));
    }
    Ok(print(&text))
}

/// Line by line; Ctrl-C is heard between two, and between two pages. A file is written under a
/// name of its own beside `out` and renamed at the end: under its own name there is the whole
/// export, or nothing.
async fn export(address: &Address, buried: &Buried, out: Option<&Path>) -> Result<Exit, Exit> {
    let peer = address.open(Need::Read).await?;
    let mut draft = out.map(Draft::beside).transpose()?;
    let mut cursor = String::new();
    let mut steps = Steps::new("exported", None, None, false);
    'pages: while steps.next().await.is_some() {
        let query = buried.query();
        let page = peer.get(&format!("/dead-letters{query}&limit={PAGE_ROWS_MAX}{cursor}")).await?;
        for letter in page["dead_letters"].as_array().into_iter().flatten() {
            if steps.next().await.is_none() {
                break 'pages;
            }
            let id = letter["event"].as_str().unwrap_or_default();
            // Erased or purged since the page was read: then the dead letter is gone with it.
            let Some(told) = peer.find_event(id).await? else { continue };
            let event = told.event.get();
            let line = format!("{{\"dead_letter\":{letter},\"event\":{event}}}\n");
            match &mut draft {
                Some(draft) => draft.write(&line)?,
                None => print_part(line.as_bytes())?,
            }
            steps.went(1);
        }
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    match (steps.stopped(), draft) {
        (Stop::Interrupted, Some(draft)) => {
            let path = draft.path.display();
            eprintln!("interrupted: {path} is not written; run the same command again");
            Ok(Exit::Interrupted)
        }
        (stop, draft) => {
            draft.map(Draft::keep).transpose()?;
            steps.finish();
            Ok(stop.exit())
        }
    }
}

// === impl Draft ===

impl Draft {
    fn beside(path: &Path) -> Result<Self, Exit> {
        let path = path.to_owned();
        match path.symlink_metadata() {
            Ok(found) if found.is_dir() => {
                return Err(unwritable(&path, "it is a folder; name a file in it"));
            }
            Ok(_) => return Err(is_there(&path)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            // Such as a name that is too long: no file could be given it at the end either.
            Err(error) => return Err(unwritable(&path, no_file_at(&path, &error))),
        }
        let name = path.as_os_str().as_encoded_bytes();
        if name.ends_with(b"/") || name.ends_with(b"/.") {
            return Err(unwritable(&path, "it names a folder; name a file"));
        }
        // A bare name has an empty parent.
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let file = tempfile::Builder::new()
            .prefix(".hookswitch-export-")
            .tempfile_in(folder)
            .map_err(|error| unwritable(&path, no_file_in(folder, &error)))?;
        Ok(Self { path, file: BufWriter::new(file) })
    }

    fn write(&mut self, line: &str) -> Result<(), Exit> {
        self.file.write_all(line.as_bytes()).map_err(|error| unwritable(&self.path, told(&error)))
    }

    /// Gives it its name, unless something has taken it meanwhile.
    fn keep(self) -> Result<(), Exit> {
        let Self { path, file } = self;
        let whole = file.into_inner().map_err(std::io::IntoInnerError::into_error);
        let whole = whole.and_then(|file| file.as_file().sync_all().map(|()| file));
        let whole = whole.map_err(|error| unwritable(&path, told(&error)))?;
        match whole.persist_noclobber(&path) {
            Ok(_) => Ok(()),
            Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Err(is_there(&path)),
            Err(error) => Err(unwritable(&path, told(&error.error))),
        }
    }
}

fn is_there(path: &Path) -> Exit {
    eprintln!("error: {} is there already, and is left as it is", path.display());
    Exit::Exists
}

fn unwritable(path: &Path, why: impl fmt::Display) -> Exit {
    eprintln!("error: {} cannot be written: {why}", path.display());
    Exit::Failed
}

/// Why there can be no file of this name, and what helps.
fn no_file_at(path: &Path, error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::InvalidFilename => "its name is too long; name another".to_owned(),
        _ => no_file_in(path.parent().unwrap_or(Path::new("/")), error),
    }
}

/// Why no file can be made in the folder, and what helps.
fn no_file_in(folder: &Path, error: &std::io::Error) -> String {
    let name = folder.display();
    match error.kind() {
        ErrorKind::NotFound => format!("there is no folder {name}; make it, or name another"),
        ErrorKind::NotADirectory => format!("{name} is no folder; name another"),
        ErrorKind::PermissionDenied => {
            format!("this user may not write in the folder {name}; name another")
        }
        _ => told(error),
    }
}

/// What went wrong, without the name of the draft, which nobody has given.
fn told(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(_) => error.to_string(),
        None => error.kind().to_string(),
    }
}

// === impl Buried ===

impl Buried {
    fn query(&self) -> String {
        let reason = self.reason.as_deref().map(|reason| ("reason", reason));
        self.picked.query(reason.as_slice())
    }
}

// === impl Choice ===

impl Choice {
    /// Moves them step by step. Only those that were dead when it began: one that dies again
    /// meanwhile is not sent for ever.
    async fn carry_out(&self, verb: &str, done: &'static str, new_id: bool) -> Result<Exit, Exit> {
        let Buried { picked, reason } = &self.buried;
        if !picked.is_choice() && reason.is_none() && self.event.is_empty() && !self.all {
            eprintln!("error: say which: --target, --reason, --event, …, or --all");
            return Err(Exit::Usage);
        }
        let need = if self.dry_run { Need::Read } else { Need::Write };
        let peer = self.connection.open(need).await?;
        let mut body = picked.clone().before(Clock::system().now()).members();
        if let Some(reason) = reason {
            body.insert("reason".to_owned(), json!(reason));
        }
        if !self.event.is_empty() {
            body.insert("events".to_owned(), json!(self.event));
        }
        body.insert("all".to_owned(), json!(self.all));
        body.insert("new_id".to_owned(), json!(new_id));
        let counts = count(&peer, &body).await?;
        if self.dry_run {
            return Ok(self.tell(&counts));
        }
        // How many there are is shown. The end is where the last step says so: what is moved was not
        // always counted, nor what was counted still there.
        let total = counts["total"].as_u64().filter(|_| counts["complete"] != false);
        let mut steps = Steps::new(done, total, self.rate, self.connection.json);
        while let Some(max) = steps.next().await {
            body.insert("max".to_owned(), json!(max));
            let path = format!("/dead-letters/{verb}");
            let step = peer.post(&path, &Value::Object(body.clone())).await;
            let Some(step) = steps.given(step)? else { break };
            body.insert("cursor".to_owned(), step["next"].clone());
            steps.went(step["moved"].as_u64().unwrap_or_default());
        }
        let (moved, stop) = steps.finish();
        if self.connection.json {
            print(&format!("{}\n", json!({ "moved": moved, "complete": stop == Stop::Done })));
        }
        Ok(stop.exit())
    }

    fn tell(&self, counts: &Value) -> Exit {
        if self.connection.json {
            return print(&format!("{counts}\n"));
        }
        let rows = counts["counts"].as_array().cloned().unwrap_or_default();
        let table = table::rows(COUNTS, &rows, "no dead letters");
        let total = &counts["total"];
        print(&format!("{table}would move {total}; nothing was changed\n"))
    }
}

/// All of them, however many questions that takes.
async fn count(peer: &Peer, body: &Map<String, Value>) -> Result<Value, Exit> {
    let counted = peer.post("/dead-letters/counts", &Value::Object(body.clone())).await?;
    if counted["complete"] == false {
        eprintln!("there are more than could be counted in one go; the counts are at least these");
    }
    Ok(counted)
}

const COLUMNS: &[Column] = &[
    ("BURIED (UTC)", "/at"),
    ("ID", "/id"),
    ("EVENT", "/event"),
    ("TARGET", "/target"),
    ("REASON", "/reason"),
    ("ROUND", "/round"),
    ("ATTEMPTS", "/attempts"),
    ("STATUS", "/status"),
    ("ERROR", "/error"),
];

const FACTS: &[Column] = &[
    ("id", "/id"),
    ("event", "/event"),
    ("target", "/target"),
    ("reason", "/reason"),
    ("round", "/round"),
    ("attempts", "/attempts"),
    ("buried", "/at"),
    ("status", "/status"),
    ("error", "/error"),
    ("answer", "/answer"),
];

const COUNTS: &[Column] = &[("TARGET", "/target"), ("REASON", "/reason"), ("COUNT", "/count")];
