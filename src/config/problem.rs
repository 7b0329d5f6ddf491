//! One problem of relay.toml: what, where, and what to do about it; printed as compilers do.

use std::{fmt, ops::Range};

use serde::Serialize;

use super::excerpt::Excerpt;

/// One problem. Its JSON form (`serde`) is stable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Whether it keeps the relay from starting.
    pub severity: Severity,
    /// Where it is.
    pub place: Place,
    /// The table it is in, such as `targets.crm` or `routes[0]`; empty outside every table.
    pub table: String,
    /// What is wrong. Never holds a secret.
    pub message: String,
    /// What to do about it.
    pub remedy: Option<String>,
    /// What else helps, such as the keys that may stand there.
    pub note: Option<String>,
    /// The line, without secrets, and the part of it that is meant.
    #[serde(skip)]
    pub(super) excerpt: Option<Excerpt>,
}

/// Whether a problem keeps the relay from starting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It does.
    Error,
    /// It does not, and may hurt later.
    Warning,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The file, as it was named on the command line.
    pub file: String,
    /// The line, from 1; `None` when the whole file is meant.
    pub line: Option<usize>,
    /// The column in characters, from 1.
    pub column: Option<usize>,
    /// The bytes of the file that are meant, not counting a byte order mark at its beginning.
    pub span: Option<Range<usize>>,
}

/// Every problem of a file that cannot be used, the warnings among them, in the file's order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Problems(pub(super) Vec<Problem>);

// === impl Problem ===

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.severity, self.message)?;
        let number = self.place.line.map(|line| line.to_string()).unwrap_or_default();
        let margin = " ".repeat(number.len());
        write!(f, "{margin}--> {}", self.place)?;
        if !self.table.is_empty() {
            write!(f, "   [{}]", self.table)?;
        }
        writeln!(f)?;
        let mut remedy = self.remedy.as_deref();
        if let Some(excerpt) = &self.excerpt {
            writeln!(f, "{margin} |")?;
            writeln!(f, "{number} | {}", excerpt.line)?;
            write!(f, "{margin} | {}", excerpt.mark())?;
            match remedy.take() {
                Some(remedy) => writeln!(f, " {remedy}")?,
                None => writeln!(f)?,
            }
        }
        for note in remedy.iter().copied().chain(self.note.as_deref()) {
            writeln!(f, "{margin} = note: {note}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, ":{line}:{column}")?;
        }
        Ok(())
    }
}

// === impl Problems ===

impl Problems {
    /// Each problem, in the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }

    fn count(&self, severity: Severity) -> usize {
        self.0.iter().filter(|problem| problem.severity == severity).count()
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl fmt::Display for Problems {
    /// Every problem, then one line that counts them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in self {
            writeln!(f, "{problem}")?;
        }
        let counted = |number: usize, noun: &str| match number {
            1 => format!("1 {noun}"),
            _ => format!("{number} {noun}s"),
        };
        f.write_str(&counted(self.count(Severity::Error), "error"))?;
        match self.count(Severity::Warning) {
            0 => {}
            warnings => write!(f, ", {}", counted(warnings, "warning"))?,
        }
        f.write_str("; the configuration was not loaded")
    }
}

impl std::error::Error for Problems {}
