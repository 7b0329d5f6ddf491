//! The `hookswitch` command: parses the arguments, runs one verb, chooses the exit code.

#![forbid(unsafe_code)]

mod cli;

use std::process::ExitCode;

use clap::Parser as _;

/// Every callback takes and gives back some hundred small pieces of memory, many of them on another
/// thread: the system's allocator was a tenth of the relay's time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = match cli::Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return cli::exit::usage(&error),
    };
    cli::run(arguments).into()
}
