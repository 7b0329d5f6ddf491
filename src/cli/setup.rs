//! `init`, `send`, `secret`, `completions`, `healthcheck`: what is done around a relay.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use clap::{CommandFactory as _, ValueEnum};
use hookswitch::{
    clock::Clock,
    store::{Store as _, sqlite::Sqlite},
};
use serde_json::json;

use crate::cli::{
    Arguments as All, ConfigPath, block_on,
    connection::{Connection, client, root, store_exit, whereabouts},
    exit::Exit,
    print,
    sample::{self, Sample, Secrets},
    schema,
};

/// Write a commented relay.toml to begin with.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  hookswitch init && hookswitch serve")]
pub(super) struct Init {
    /// The file to write; one that is there is left alone.
    #[arg(long, short, value_name = "PATH", default_value = "relay.toml")]
    config: PathBuf,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// Send a callback as a provider sends it: correct, and signed where that provider signs.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    HOOKSWITCH_SEND_SECRET=\"$KEY\" \\\n  \
    hookswitch send 11x --to http://127.0.0.1:8080/hooks/julian\n  \
    hookswitch send synthflow --case busy --to https://relay.example.com/hooks/synthflow\n\n\
    A secret on a command line is in the list of processes, which every user of the machine can read: \
    the variables keep it out.")]
pub(super) struct Send {
    /// The provider: 11x, plum, synthflow, mobtexting, clouddial.
    provider: String,
    /// Which sample; `--case list` prints them.
    #[arg(long, value_name = "CASE", default_value = "completed")]
    case: String,
    /// The source's URL, without a token; else the source of that name at 127.0.0.1:8080.
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// The secret of the source: in a header, as a password, or under a signature.
    #[arg(long, value_name = "SECRET", env = "HOOKSWITCH_SEND_SECRET", hide_env_values = true,
          default_value = sample::SECRET)]
    secret: String,
    /// The token in the source's URL, where it is not the secret.
    #[arg(long, value_name = "TOKEN", env = "HOOKSWITCH_SEND_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// The user's name of `basic`.
    #[arg(long, value_name = "NAME", default_value = sample::USERNAME)]
    username: String,
    /// The token of `bearer`, for a source that asks for one too.
    #[arg(long, value_name = "TOKEN", env = "HOOKSWITCH_SEND_BEARER", hide_env_values = true)]
    bearer: Option<String>,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// Copy the store to a new file, also while the relay runs.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  hookswitch backup \"/var/backups/hookswitch-$(date +%F).db\"\n\n\
    To restore: stop the relay, put the copy where [store] path says, start it."
)]
pub(super) struct Backup {
    #[command(flatten)]
    path: ConfigPath,
    /// The file to write; one that is there is left alone.
    to: PathBuf,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// Make a secret.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  hookswitch secret            # whsec_…, for `sign` of a target\n  \
    hookswitch secret token      # for `auth` of a source, or [admin] token"
)]
pub(super) struct Secret {
    /// What it is for.
    #[arg(value_enum, default_value_t = Kind::Whsec)]
    kind: Kind,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// A signing secret of Standard Webhooks: `whsec_` and base64 of 32 bytes.
    Whsec,
    /// 64 letters and digits, fit for a URL or a header.
    Token,
}

/// Print the completions of a shell.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  hookswitch completions bash > /etc/bash_completion.d/hookswitch"
)]
pub(super) struct Completions {
    /// The shell.
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

/// Ask whether the relay takes callbacks now.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exits 0 when it is ready, 1 when it is not, 68 when nobody answers.\n\n\
    Example, in a Dockerfile:\n  HEALTHCHECK CMD [\"hookswitch\", \"healthcheck\"]")]
pub(super) struct Healthcheck {
    #[command(flatten)]
    connection: Connection,
    /// Only ask whether the process lives.
    #[arg(long)]
    live: bool,
}

pub(super) fn init(arguments: &Init) -> Exit {
    let path = arguments.config.display();
    match write_shipped(&arguments.config) {
        Ok(()) if arguments.json => print(&format!("{}\n", json!({ "config": arguments.config }))),
        Ok(()) => print(&format!(
            "wrote {path}, and {SCHEMA} beside it for editors; next: hookswitch check, then \
             hookswitch serve\n"
        )),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            eprintln!("error: {path} is there already, and is left as it is");
            Exit::Exists
        }
        Err(error) => {
            eprintln!("error: {path} cannot be written: {error}");
            Exit::Failed
        }
    }
}

/// Writes relay.toml and, beside it, the schema that its first line names.
fn write_shipped(path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new(""));
    if !folder.as_os_str().is_empty() {
        fs::create_dir_all(folder)?;
    }
    let rest = SHIPPED.split_once('\n').map_or(SHIPPED, |(_, rest)| rest);
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(format!("#:schema {SCHEMA}\n{rest}").as_bytes())?;
    fs::write(folder.join(SCHEMA), schema::config())
}

pub(super) fn send(arguments: &Send) -> Exit {
    let secrets = Secrets {
        token: arguments.token.as_ref().unwrap_or(&arguments.secret),
        secret: &arguments.secret,
        username: &arguments.username,
        bearer: arguments.bearer.as_deref(),
    };
    let Some(cases) = sample::of(&arguments.provider, &secrets) else {
        let known = sample::providers();
        eprintln!("error: no provider is called {:?}; there are {known}", arguments.provider);
        return Exit::Usage;
    };
    let names: Vec<&str> = cases.iter().map(|sample| sample.case).collect();
    if arguments.case == "list" {
        let listed =
            if arguments.json { json!({ "cases": names }).to_string() } else { names.join("\n") };
        return print(&format!("{listed}\n"));
    }
    let Some(sample) = cases.iter().find(|sample| sample.case == arguments.case) else {
        let known = names.join(", ");
        eprintln!("error: no case is called {:?}; there are {known}", arguments.case);
        return Exit::Usage;
    };
    block_on(async { post(arguments, sample).await.unwrap_or_else(|exit| exit) })
}

async fn post(arguments: &Send, sample: &Sample) -> Result<Exit, Exit> {
    let base = match &arguments.to {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => format!("http://127.0.0.1:8080/hooks/{}", sample.provider),
    };
    let url = format!("{base}{}", sample.tail());
    let mut request = client()?.post(&url).body(sample.body.clone());
    for (name, value) in &sample.headers {
        request = request.header(*name, value);
    }
    let sent = async {
        let answer = request.send().await?;
        Ok((answer.status(), answer.text().await?))
    };
    let (status, body) = sent.await.map_err(|error: reqwest::Error| {
        // The URL may hold the token of the source.
        let error = error.without_url();
        let why = root(&error);
        if error.is_connect() {
            eprintln!("error: no connection to {base}: {why}");
            return Exit::NoRelay;
        }
        eprintln!("error: {base} did not answer: {why}");
        Exit::Failed
    })?;
    let body = body.trim_end();
    print(&if arguments.json {
        format!("{}\n", json!({ "status": status.as_u16(), "body": body }))
    } else {
        format!("{status} {body}\n")
    });
    if status == http::StatusCode::NOT_FOUND {
        eprintln!("error: no source listens at {base}; --to names the URL of yours");
    }
    Ok(if status.is_success() { Exit::Done } else { Exit::Failed })
}

/// Needs no relay: the copy is of one moment, whoever writes meanwhile.
pub(super) fn backup(arguments: &Backup) -> Exit {
    let config = match whereabouts(&arguments.path) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let to = &arguments.to;
    if to.exists() {
        eprintln!("error: {} is there already, and is left as it is", to.display());
        return Exit::Exists;
    }
    block_on(async {
        let store = match Sqlite::open_to_read(&config.store, Clock::system()) {
            Ok(store) => store,
            Err(error) => {
                eprintln!("error: {error}");
                return store_exit(&error);
            }
        };
        if let Err(error) = store.backup(to.clone()).await {
            eprintln!("error: {} cannot be written: {error}", to.display());
            return Exit::Failed;
        }
        print(&if arguments.json {
            format!("{}\n", json!({ "backup": to }))
        } else {
            format!("wrote {}\n", to.display())
        })
    })
}

pub(super) fn secret(arguments: &Secret) -> Exit {
    let mut bytes = [0; 32];
    if ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes).is_err() {
        eprintln!("error: the system has no randomness");
        return Exit::Failed;
    }
    let secret = match arguments.kind {
        Kind::Whsec => format!("whsec_{}", BASE64_STANDARD.encode(bytes)),
        Kind::Token => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    print(&if arguments.json {
        format!("{}\n", json!({ "secret": secret }))
    } else {
        format!("{secret}\n")
    })
}

pub(super) fn completions(arguments: &Completions) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut All::command(), "hookswitch", &mut script);
    print(&String::from_utf8_lossy(&script))
}

pub(super) fn healthcheck(arguments: &Healthcheck) -> Exit {
    block_on(async {
        let asked = async {
            let (status, said) = arguments.connection.health(arguments.live).await?;
            let said = said.trim_end();
            print(&if arguments.connection.json {
                format!("{}\n", json!({ "ok": status.is_success(), "says": said }))
            } else if status.is_success() {
                format!("{said}\n")
            } else {
                format!("not ready: {said}\n")
            });
            Ok(if status.is_success() { Exit::Done } else { Exit::Failed })
        };
        asked.await.unwrap_or_else(|exit: Exit| exit)
    })
}

/// What its first line names.
const SCHEMA: &str = "relay.schema.json";

/// The relay.toml that ships: every key, each with its default.
const SHIPPED: &str = include_str!("../../relay.toml");
