//! The verbs, in the order an operator meets them.

#![expect(clippy::print_stderr, reason = "the command line is where things are printed")]

mod check;
mod demo;
pub(crate) mod exit;
mod logs;
mod sample;
mod schema;
mod serve;

use std::{
    future::Future,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use clap::{Parser, Subcommand};
use hookswitch::{
    config::{Config, Environment, Problem},
    relay::StartError,
    store::sqlite::OpenError,
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
    /// Print a contract as JSON Schema.
    Schema(schema::Arguments),
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
        Verb::Schema(arguments) => schema::run(&arguments),
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
        StartError::Store(OpenError::Locked { .. }) => Exit::Locked,
        StartError::Store(_) => Exit::Store,
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
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("error: standard output: {error}");
            Exit::Failed
        }
        Ok(()) | Err(_) => Exit::Done,
    }
}
