//! The verbs, in the order an operator meets them.

#![expect(clippy::print_stderr, reason = "the command line is where things are printed")]
#![expect(clippy::indexing_slicing, reason = "a member that a JSON value does not have is null")]

mod check;
mod connection;
mod dead;
mod demo;
mod events;
pub(crate) mod exit;
mod filter;
mod logs;
mod operate;
mod sample;
mod schema;
mod serve;
mod setup;
mod steps;
mod table;
mod trust;

use std::{
    future::Future,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use clap::{Parser, Subcommand};
use hookswitch::{
    config::{Config, Environment, Problem},
    relay::StartError,
};

use crate::cli::exit::Exit;

/// A relay for the call-result callbacks of telephony and voice-AI providers.
///
/// It acks a callback only once it is durable, turns it into one normalised event and forwards
/// it to every target a route names.
#[derive(Debug, Parser)]
#[command(version, after_help = Exit::HELP, propagate_version = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the relay until SIGTERM or Ctrl-C.
    Serve(serve::Arguments),
    /// Show the whole road: a relay and a receiver on free ports, a callback of each provider
    /// through real sockets, and what arrives.
    Demo(demo::Arguments),
    /// Read relay.toml and report every problem in it.
    Check(check::Arguments),
    /// Read relay.toml again: all of it, or nothing.
    Reload(operate::Reload),
    /// Write a commented relay.toml to begin with.
    Init(setup::Init),
    /// Send a callback as a provider sends it: correct, and signed where that provider signs.
    Send(setup::Send),
    /// List events, show one, or follow them as they come.
    Events(events::Arguments),
    /// List dead letters, send them again, or give them up.
    Dead(dead::Arguments),
    /// Send stored events again, also those that were delivered.
    Replay(operate::Replay),
    /// List targets with how they are doing.
    Targets(operate::Targets),
    /// Hold a target back, over restarts too: what comes for it waits until `resume`.
    #[command(after_help = "Example:\n  hookswitch pause crm")]
    Pause(operate::OneTarget),
    /// Go on with a target that was paused.
    #[command(after_help = "Example:\n  hookswitch resume crm")]
    Resume(operate::OneTarget),
    /// Remove whatever the store holds of a person, for good.
    Erase(operate::Erase),
    /// Copy the store to a new file, also while the relay runs.
    Backup(setup::Backup),
    /// Make a secret.
    Secret(setup::Secret),
    /// Print a contract as JSON Schema.
    Schema(schema::Arguments),
    /// Ask whether the relay takes callbacks now.
    Healthcheck(setup::Healthcheck),
    /// Print the completions of a shell.
    Completions(setup::Completions),
}

/// Which relay.toml.
#[derive(Debug, clap::Args)]
struct ConfigPath {
    /// The configuration file.
    #[arg(long, short, value_name = "PATH", default_value = "relay.toml")]
    config: PathBuf,
}

/// Runs one verb.
pub(crate) fn run(arguments: Arguments) -> Exit {
    match arguments.verb {
        Verb::Serve(arguments) => serve::run(&arguments),
        Verb::Demo(arguments) => demo::run(&arguments),
        Verb::Check(arguments) => check::run(&arguments),
        Verb::Reload(arguments) => operate::reload(&arguments),
        Verb::Init(arguments) => setup::init(&arguments),
        Verb::Send(arguments) => setup::send(&arguments),
        Verb::Events(arguments) => events::run(&arguments),
        Verb::Dead(arguments) => dead::run(&arguments),
        Verb::Replay(arguments) => operate::replay(&arguments),
        Verb::Targets(arguments) => operate::targets(&arguments),
        Verb::Pause(arguments) => operate::hold(&arguments, "pause"),
        Verb::Resume(arguments) => operate::hold(&arguments, "resume"),
        Verb::Erase(arguments) => operate::erase(&arguments),
        Verb::Backup(arguments) => setup::backup(&arguments),
        Verb::Secret(arguments) => setup::secret(&arguments),
        Verb::Schema(arguments) => schema::run(&arguments),
        Verb::Healthcheck(arguments) => setup::healthcheck(&arguments),
        Verb::Completions(arguments) => setup::completions(&arguments),
    }
}

/// Reads relay.toml, or prints every problem in it.
fn load(path: &Path) -> Result<(Config, Vec<Problem>), Exit> {
    Config::load(path, &Environment::of_process()).map_err(|problems| {
        eprintln!("{problems}");
        Exit::Config
    })
}

/// Prints why a relay did not start.
fn start_failed(error: &StartError) -> Exit {
    eprintln!("error: {error}");
    match error {
        StartError::Listen { .. } => Exit::Unavailable,
        StartError::Store(error) => connection::store_exit(error),
        StartError::Delivery(_) => Exit::Failed,
    }
}

/// Runs a verb that needs the network.
fn block_on(work: impl Future<Output = Exit>) -> Exit {
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => {
            eprintln!("error: the runtime could not be started: {error}");
            Exit::Failed
        }
    }
}

/// Writes to standard output. A reader that has seen enough (`| head`) is no failure.
fn print(text: &str) -> Exit {
    print_part(text.as_bytes()).err().unwrap_or(Exit::Done)
}

/// Writes a part of what goes to standard output. Once its reader has seen enough there is no
/// further part: the verb is done.
fn print_part(part: &[u8]) -> Result<(), Exit> {
    let mut out = io::stdout().lock();
    out.write_all(part).and_then(|()| out.flush()).map_err(|error| {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Exit::Done;
        }
        eprintln!("error: standard output: {error}");
        Exit::Failed
    })
}

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory as _};

    use super::*;

    /// Verbs that say in one form only what they say: a log, bytes as they came, JSON already,
    /// a script.
    const WITHOUT_JSON: &[&str] = &[
        "hookswitch serve",
        "hookswitch events raw",
        "hookswitch dead export",
        "hookswitch schema",
        "hookswitch completions",
    ];

    /// Every verb that does something, with the words that lead to it.
    fn verbs(command: &Command, path: &str, found: &mut Vec<(String, Command)>) {
        for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
            let path = format!("{path} {}", verb.get_name());
            assert!(verb.get_about().is_some(), "{path} does not say what it does");
            if verb.has_subcommands() {
                verbs(verb, &path, found);
            } else {
                found.push((path, verb.clone()));
            }
        }
    }

    /// The words of an example as a shell takes them, up to what is the shell's.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut quote) = (vec![String::new()], None);
        for char in line.chars() {
            match (quote, char) {
                (None, ' ') => words.push(String::new()),
                (None, '"' | '\'') => quote = Some(char),
                (Some(open), close) if open == close => quote = None,
                _ => words.last_mut().unwrap().push(char),
            }
        }
        words.retain(|word| !word.is_empty());
        let end = words.iter().position(|word| ["|", ">", "&&", "#"].contains(&word.as_str()));
        words.truncate(end.unwrap_or(words.len()));
        words
    }

    #[test]
    fn every_verb_has_help_with_examples_that_it_takes() {
        let mut found = Vec::new();
        verbs(&Arguments::command(), "hookswitch", &mut found);
        assert!(found.len() > 20, "only {} verbs", found.len());
        for (path, verb) in found {
            let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
            let shown = help.split_once("Example").map(|(_, examples)| examples.to_owned());
            let examples = shown.unwrap_or_default();
            let examples: Vec<&str> =
                examples.lines().map(str::trim).filter(|line| line.starts_with(&path)).collect();
            // That of a health check is the line of a Dockerfile.
            let is_elsewhere = path == "hookswitch healthcheck";
            assert!(!examples.is_empty() || is_elsewhere, "{path} shows no example:\n{help}");
            for example in examples {
                let parsed = Arguments::try_parse_from(words(example));
                assert!(parsed.is_ok(), "{example}: {}", parsed.unwrap_err());
            }
            let has_json = verb.get_arguments().any(|argument| argument.get_id() == "json");
            assert_ne!(has_json, WITHOUT_JSON.contains(&path.as_str()), "{path}: --json");
            for argument in verb.get_arguments() {
                let id = argument.get_id();
                assert!(argument.get_help().is_some(), "{path}: {id} is not explained");
            }
        }
    }
}
