//! `hookswitch schema`: the contracts as JSON Schema.

use clap::ValueEnum;
use hookswitch::{config::json_schema, event::schema::CALL_EVENT_SCHEMA};

use crate::cli::{exit::Exit, print};

/// Print a contract as JSON Schema.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  hookswitch schema event > call-event.schema.json\n  \
    hookswitch schema config > relay.schema.json")]
pub(super) struct Arguments {
    /// Which contract.
    #[arg(value_enum)]
    contract: Contract,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Contract {
    /// The normalised call event that every target receives.
    Event,
    /// relay.toml, for editors that complete and check TOML.
    Config,
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    match arguments.contract {
        Contract::Event => print(CALL_EVENT_SCHEMA),
        Contract::Config => print(&config()),
    }
}

/// The schema of relay.toml.
pub(super) fn config() -> String {
    // `{:#}` is its pretty form.
    format!("{:#}\n", json_schema::schema())
}
