//! `hookswitch check`: every problem of relay.toml at once, and nothing started.

use hookswitch::{
    config::{Config, Environment, Problem, Severity},
    relay::{Obstacle, preflight},
};
use serde_json::json;

use crate::cli::{ConfigPath, block_on, exit::Exit, print};

/// Read relay.toml and report every problem in it, then try what it names: open the store and
/// connect to the targets.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exits 0 when the relay would start (warnings allowed, a target that cannot be \
                  reached is one), 78 when it would not. Whether its addresses are free is seen \
                  when it starts. Nothing is sent, written or started.\n\n\
                  Examples:\n  hookswitch check\n  \
                  hookswitch check --offline --json | jq -r '.problems[].message'"
)]
pub(super) struct Arguments {
    #[command(flatten)]
    path: ConfigPath,
    /// Only read relay.toml and the secrets and certificates it names: no connection, no store.
    #[arg(long)]
    offline: bool,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    let path = &arguments.path.config;
    let (config, problems) = match Config::load(path, &Environment::of_process()) {
        Ok(loaded) => loaded,
        Err(problems) => {
            let text = if arguments.json {
                json!({ "ok": false, "problems": problems }).to_string()
            } else {
                problems.to_string()
            };
            return said(Exit::Config, &text);
        }
    };
    let mut problems = problems;
    if !arguments.offline {
        let mut obstacles = Vec::new();
        let tried = block_on(async {
            obstacles = preflight(&config).await;
            Exit::Done
        });
        if tried != Exit::Done {
            return tried;
        }
        problems.extend(obstacles.into_iter().map(|obstacle| of(&config, obstacle)));
    }
    let fails = problems.iter().any(|problem| problem.severity == Severity::Error);
    let exit = if fails { Exit::Config } else { Exit::Done };
    if arguments.json {
        return said(exit, &json!({ "ok": !fails, "problems": problems }).to_string());
    }
    let mut text: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
    text.push_str(&format!("{}: ", path.display()));
    text.push_str(&match (fails, problems.len()) {
        (true, _) => "the relay would not start".to_owned(),
        (false, 0) => "no problems".to_owned(),
        (false, 1) => "usable, 1 warning".to_owned(),
        (false, count) => format!("usable, {count} warnings"),
    });
    said(exit, &text)
}

fn of(config: &Config, obstacle: Obstacle) -> Problem {
    let Obstacle { severity, table, message, remedy } = obstacle;
    config.problem_of(&table, severity, message, remedy)
}

fn said(exit: Exit, text: &str) -> Exit {
    match print(&format!("{text}\n")) {
        Exit::Done => exit,
        failed => failed,
    }
}
