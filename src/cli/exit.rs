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
    /// 66: there is nothing of that name.
    NotFound,
    /// 68: no relay answers, or nobody at the URL.
    NoRelay,
    /// 69: an address is in use or cannot be taken.
    Unavailable,
    /// 73: the store cannot be opened or created.
    Store,
    /// 74: the store is of another version of this program.
    StoreVersion,
    /// 75: another process holds the store.
    Locked,
    /// 76: a file that would be written is there already.
    Exists,
    /// 77: the relay refuses the token.
    Forbidden,
    /// 78: relay.toml is wrong.
    Config,
    /// 130: ended by Ctrl-C between two steps; the same command goes on.
    Interrupted,
}

// === impl Exit ===

impl Exit {
    /// The text under `--help`.
    pub(crate) const HELP: &'static str = "Exit codes: 0 done · 1 failed · 64 wrong command line · \
        66 not found · 68 nobody answers · 69 address not available · 73 store cannot be opened · \
        74 store of another version · 75 store held by another process · 76 file exists · \
        77 token refused · 78 relay.toml is wrong · 130 interrupted between two steps";

    const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 64,
            Self::NotFound => 66,
            Self::NoRelay => 68,
            Self::Unavailable => 69,
            Self::Store => 73,
            Self::StoreVersion => 74,
            Self::Locked => 75,
            Self::Exists => 76,
            Self::Forbidden => 77,
            Self::Config => 78,
            Self::Interrupted => 130,
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Every code of the enum, read where it is written: no list to forget one in.
    fn codes() -> Vec<u8> {
        let arms = include_str!("exit.rs").lines().filter_map(|line| {
            line.trim().strip_prefix("Self::")?.split_once(" => ")?.1.strip_suffix(',')
        });
        arms.map(|code| code.parse().unwrap()).collect()
    }

    /// The numbers that begin the entries of a table or a list.
    fn listed<'t>(entries: impl Iterator<Item = &'t str>) -> Vec<u8> {
        let number = |entry: &str| entry.split_whitespace().next()?.parse().ok();
        entries.filter_map(number).collect()
    }

    #[test]
    fn the_help_the_guide_and_the_readme_name_the_codes_there_are() {
        let codes = codes();
        assert!(codes.len() > 10 && codes.contains(&Exit::Interrupted.code()), "{codes:?}");
        let described = include_str!("exit.rs").lines().filter_map(|line| {
            line.trim().strip_prefix("/// ")?.split_once(": ").map(|(code, _)| code)
        });
        assert_eq!(listed(described), codes);

        let help = Exit::HELP.trim_start_matches("Exit codes: ").split(" \u{b7} ");
        assert_eq!(listed(help), codes);
        let guide = include_str!("../docs/guide.md").split("| exit code |").nth(1).unwrap();
        let guide = guide.lines().skip(2).take_while(|line| line.starts_with('|'));
        assert_eq!(listed(guide.map(|line| line.trim_start_matches("| "))), codes);
        let readme = include_str!("../../README.md").split("Exit codes: ").nth(1).unwrap();
        let readme = listed(readme.split(';').next().unwrap().split(" \u{b7} "));
        assert!(readme.len() > 5 && readme.iter().all(|code| codes.contains(code)), "{readme:?}");
    }
}
