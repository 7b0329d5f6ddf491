//! The exit codes, which scripts and unit files rely on.

use std::process::ExitCode;

/// How a verb ended. The numbers are those of `sysexits.h` where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 0: done.
    Done,
    /// 1: it ran, and what it was asked for did not succeed.
    Failed,
    /// 64: the command line is wrong.
    Usage,
    /// 69: an address is in use or cannot be taken.
    Unavailable,
    /// 73: the store cannot be opened or created, or is from a newer version.
    Store,
    /// 75: another process holds the store.
    Locked,
    /// 78: relay.toml is wrong.
    Config,
}

// === impl Exit ===

impl Exit {
    /// The text under `--help`.
    pub(crate) const HELP: &'static str = "Exit codes: 0 done · 1 failed · 64 wrong command line · \
        69 address not available · 73 store cannot be opened · 75 store held by another process · \
        78 relay.toml is wrong";

    const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 64,
            Self::Unavailable => 69,
            Self::Store => 73,
            Self::Locked => 75,
            Self::Config => 78,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Prints what is wrong with the command line (or the help that was asked for).
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    let printed = error.print();
    match (error.use_stderr(), printed) {
        (false, Ok(())) => Exit::Done.into(),
        _ => Exit::Usage.into(),
    }
}
