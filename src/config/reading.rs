//! One reading of relay.toml: where the readers leave the problems they find.
//!
//! A problem is kept with the bytes it means; [`Document`](super::document::Document) turns
//! those into lines once everything is read.

use std::{cell::RefCell, ops::Range};

use ring::digest::{Digest, SHA256, digest};

use super::{
    environment::Environment, excerpt::shown, fields::nearest, key::one_of, problem::Severity,
};

/// What the readers share.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    /// Where secrets are looked up.
    pub(super) environment: &'a Environment,
    findings: RefCell<Vec<Finding>>,
    placeholders: RefCell<Vec<Spot>>,
    /// What was read from elsewhere, under the table that names it.
    read: RefCell<Vec<(String, Digest)>>,
}

/// The part of the file a problem is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    /// Its bytes.
    pub(super) span: Range<usize>,
    /// The table it is in.
    pub(super) table: String,
}

/// A problem before its line is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    pub(super) ground: Ground,
    pub(super) spot: Spot,
    pub(super) message: String,
    pub(super) remedy: String,
    pub(super) note: String,
}

/// What a problem follows from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ground {
    /// The text is not TOML there, and nothing else is touched by it.
    Text,
    /// The line is not TOML, and was skipped with whatever it says.
    Line,
    /// The text is not TOML there, and what follows may have been read wrongly.
    Structure,
    /// Something that is written.
    Written,
    /// Something that is not written: no ground when a part could not be read.
    Absent,
}

// === impl Reading ===

impl<'a> Reading<'a> {
    /// Begins.
    pub(super) fn new(environment: &'a Environment) -> Self {
        Self {
            environment,
            findings: RefCell::default(),
            placeholders: RefCell::default(),
            read: RefCell::default(),
        }
    }

    /// Keeps a problem.
    pub(super) fn push(&self, finding: Finding) {
        self.findings.borrow_mut().push(finding);
    }

    /// Keeps an error about something written; an empty remedy is none.
    pub(super) fn error(&self, spot: &Spot, message: impl Into<String>, remedy: impl Into<String>) {
        self.push(Finding::new(Severity::Error, Ground::Written, spot, message, remedy));
    }

    /// Keeps an error about something not written.
    pub(super) fn missing(
        &self,
        spot: &Spot,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.push(Finding::new(Severity::Error, Ground::Absent, spot, message, remedy));
    }

    /// Keeps a warning about something written.
    pub(super) fn warn(&self, spot: &Spot, message: impl Into<String>, remedy: impl Into<String>) {
        self.push(Finding::new(Severity::Warning, Ground::Written, spot, message, remedy));
    }

    /// Keeps a warning about something not written.
    pub(super) fn warn_missing(
        &self,
        spot: &Spot,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.push(Finding::new(Severity::Warning, Ground::Absent, spot, message, remedy));
    }

    /// Keeps the error that a word is none of `words`.
    pub(super) fn unknown(&self, spot: &Spot, what: &str, word: &str, words: &[&str]) {
        let message = format!("unknown {what} \"{}\"", shown(word));
        let finding =
            |remedy: String| Finding::new(Severity::Error, Ground::Written, spot, message, remedy);
        self.push(match nearest(word, words.iter().copied()) {
            Some(meant) => finding(format!("did you mean \"{meant}\"?"))
                .with_note(format!("known: {}", words.join(", "))),
            None => finding(format!("write {}", one_of(words))),
        });
    }

    /// Remembers that a secret here is still the shipped placeholder.
    pub(super) fn note_placeholder(&self, spot: Spot) {
        self.placeholders.borrow_mut().push(spot);
    }

    /// Where the shipped placeholder was found.
    pub(super) fn placeholders(&self) -> Vec<Spot> {
        self.placeholders.borrow().clone()
    }

    /// Remembers what a table named: a secret, or the content of a file.
    pub(super) fn note_read(&self, table: &str, content: &[u8]) {
        self.read.borrow_mut().push((table.to_owned(), digest(&SHA256, content)));
    }

    /// The digest of each thing that was read for the table at `path` and those within.
    pub(super) fn each_read(&self, path: &str, mut take: impl FnMut(&[u8])) {
        for (table, digest) in self.read.borrow().iter() {
            let within = table.strip_prefix(path);
            if within.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '['])) {
                take(digest.as_ref());
            }
        }
    }

    /// Every problem, in the order they were found.
    pub(super) fn into_findings(self) -> Vec<Finding> {
        self.findings.into_inner()
    }
}

// === impl Finding ===

impl Finding {
    /// A problem without a note.
    pub(super) fn new(
        severity: Severity,
        ground: Ground,
        spot: &Spot,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            ground,
            spot: spot.clone(),
            message: message.into(),
            remedy: remedy.into(),
            note: String::new(),
        }
    }

    /// The same with a note.
    pub(super) fn with_note(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }
}
