//! `hookswitch check`: every problem of relay.toml at once, and nothing started.

use hookswitch::config::{Config, Environment};
use serde_json::json;

use crate::cli::{ConfigPath, exit::Exit, print};

/// Read relay.toml and report every problem in it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exits 0 when the file can be used (warnings allowed), 78 when it cannot.")]
pub(super) struct Arguments {
    #[command(flatten)]
    path: ConfigPath,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    let path = &arguments.path.config;
    let loaded = Config::load(path, &Environment::of_process());
    let (exit, text) = match (loaded, arguments.json) {
        (Ok((_, warnings)), true) => {
            (Exit::Done, format!("{}\n", json!({ "ok": true, "problems": warnings })))
        }
        (Err(problems), true) => {
            (Exit::Config, format!("{}\n", json!({ "ok": false, "problems": problems })))
        }
        (Ok((_, warnings)), false) => {
            let mut text: String = warnings.iter().map(|warning| format!("{warning}\n")).collect();
            text.push_str(&match warnings.len() {
                0 => format!("{}: no problems\n", path.display()),
                1 => format!("{}: usable, 1 warning\n", path.display()),
                count => format!("{}: usable, {count} warnings\n", path.display()),
            });
            (Exit::Done, text)
        }
        (Err(problems), false) => (Exit::Config, format!("{problems}\n")),
    };
    match print(&text) {
        Exit::Done => exit,
        failed => failed,
    }
}
