//! `hookswitch schema`: the contracts as JSON Schema.

use clap::ValueEnum;
use hookswitch::event::schema::CALL_EVENT_SCHEMA;

use crate::cli::{exit::Exit, print};

/// Print a contract as JSON Schema.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Which contract.
    #[arg(value_enum)]
    contract: Contract,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Contract {
    /// The normalised call event that every target receives.
    Event,
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    match arguments.contract {
        Contract::Event => print(CALL_EVENT_SCHEMA),
    }
}
