//! Logs: to standard error, as text or JSON.

use std::io::{self, IsTerminal as _};

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// How much is logged, and how.
#[derive(Debug, clap::Args)]
pub(super) struct Logs {
    /// What is logged: a level (`error`, `warn`, `info`, `debug`), or a filter such as
    /// `info,hookswitch::delivery=debug`.
    #[arg(long, value_name = "FILTER", env = "HOOKSWITCH_LOG", default_value = "info")]
    log: String,
    /// The form of a line.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Format::Text)]
    log_format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Text,
    Json,
}

// === impl Logs ===

impl Logs {
    /// Sends every line of this process to standard error: standard output may be a target.
    pub(super) fn start(&self) {
        let lines = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(&self.log))
            .with_writer(io::stderr)
            .with_ansi(io::stderr().is_terminal())
            .with_target(false);
        match self.log_format {
            Format::Text => lines.init(),
            Format::Json => lines.json().flatten_event(true).init(),
        }
    }
}
