//! What relay.toml opens and does not close, and how the file reads on behind it.
//!
//! Each such slip would hide every problem that follows. The text is mended, read again, and what is
//! found then is told with what is wrong with the text as it is.

use std::ops::{Range, RangeInclusive};

use toml::de::{DeTable, Error};

use super::{
    contract::ROOT,
    document::{Document, ground, is_of_key, without_comment},
    problem::{Place, Problem, Problems, Severity},
    reading::{Finding, Ground, Spot},
};

/// A slip, and the text without it.
#[derive(Debug)]
pub(super) struct Unclosed {
    /// The lines it is in, from 1. The mended text says nothing about them.
    lines: RangeInclusive<usize>,
    /// Where the mended text is longer by a byte.
    added_at: Option<usize>,
    /// The line of the heading whose table has lost keys by it; 0 for the file itself.
    loser: Option<usize>,
    /// What is wrong, where the text as it is does not say it there.
    problem: Option<Problem>,
    pub(super) mended: String,
}

/// How many keys above a fault are looked at for the one whose value it is in.
const KEYS_MAX: usize = 200;

// === impl Document ===

impl Document<'_> {
    /// The first slip that there is.
    pub(super) fn unclosed(&self, readable: &str) -> Option<Unclosed> {
        let (_, errors) = DeTable::parse_recoverable(readable);
        self.unclosed_heading(&errors).or_else(|| self.unclosed_value(readable, &errors))
    }

    /// The first heading that lacks its bracket and is otherwise one, if no other fault of structure
    /// comes before it.
    fn unclosed_heading(&self, errors: &[Error]) -> Option<Unclosed> {
        let faults = errors
            .iter()
            .filter(|error| matches!(ground(error.message()), Ground::Line | Ground::Structure));
        let first = faults.min_by_key(|error| at(error))?;
        let line = self.line_of(at(first));
        let range = self.line_range(line);
        let heading = without_comment(self.text.get(range.clone())?).trim_end();
        let is_one = heading.trim_start().starts_with('[')
            && !heading.contains(['=', '#', '"', '\''])
            && first.message().contains("unclosed");
        let at = range.start + heading.len();
        let (before, after) = (self.text.get(..at)?, self.text.get(at..)?);
        is_one.then(|| Unclosed {
            lines: line + 1..=line + 1,
            added_at: Some(at),
            loser: None,
            problem: None,
            mended: format!("{before}]{after}"),
        })
    }

    /// The first list, inline table or text that is open where the next heading begins. What it
    /// has taken of its table is left out.
    fn unclosed_value(&self, readable: &str, errors: &[Error]) -> Option<Unclosed> {
        if !has_fault(errors) {
            return None;
        }
        let mut bounds: Vec<usize> =
            (0..self.lines.len()).filter(|line| self.is_heading(*line)).collect();
        bounds.insert(0, 0);
        bounds.push(self.lines.len());
        let faulty = |from, to| {
            let part = readable.get(self.start_of(from)..self.start_of(to)).unwrap_or_default();
            let (_, errors) = DeTable::parse_recoverable(part);
            has_fault(&errors)
        };
        let mut sections = bounds.iter().zip(bounds.iter().skip(1)).map(|(from, to)| (*from, *to));
        let (from, to) = sections.find(|(from, to)| faulty(*from, *to))?;
        let keys: Vec<usize> = (from..to).filter(|line| self.begins_with_key(*line)).collect();
        // The last key up to which all is well.
        let begun = keys.into_iter().rev().take(KEYS_MAX).find(|line| !faulty(from, *line))?;
        let lost = self.start_of(begun)..self.start_of(to);
        let is_told = errors.iter().any(|error| lost.contains(&at(error)));
        let mut mended = self.text.get(..lost.start)?.to_owned();
        mended.extend(self.text.get(lost.clone())?.bytes().map(|byte| match byte {
            b'\n' | b'\r' => char::from(byte),
            _ => ' ',
        }));
        mended.push_str(self.text.get(lost.end..)?);
        Some(Unclosed {
            lines: begun + 1..=to,
            added_at: None,
            loser: Some(if self.is_heading(from) { from + 1 } else { 0 }),
            problem: if is_told { None } else { Some(self.left_open(begun)?) },
            mended,
        })
    }

    /// What to say about the value that begins in this line.
    fn left_open(&self, line: usize) -> Option<Problem> {
        let range = self.line_range(line);
        let (key, value) = self.text.get(range.clone())?.split_once('=')?;
        let start = range.start + key.len() + 1 + (value.len() - value.trim_start().len());
        let openings = [
            ("\"\"\"", "text", "\"\"\""),
            ("\'\'\'", "text", "\'\'\'"),
            ("[", "list", "]"),
            ("{", "inline table", "}"),
        ];
        let (open, what, close) =
            openings.into_iter().find(|(open, ..)| value.trim_start().starts_with(open))?;
        let span = start..start + open.len();
        let spot = Spot { table: self.heading_before(span.start), span };
        let message = format!("this {what} is not closed before the next heading");
        let remedy = format!("close it with {close}");
        let finding = Finding::new(Severity::Error, Ground::Structure, &spot, message, remedy);
        Some(self.problem(finding, &[]))
    }

    /// Whether this line is the heading of a table that a configuration may have.
    fn is_heading(&self, line: usize) -> bool {
        let line = self.text.get(self.line_range(line)).unwrap_or_default();
        let Some(name) = without_comment(line).trim().strip_prefix('[') else { return false };
        let name = name.trim_start_matches('[').trim_end_matches(']');
        let (root, member) = name.split_once('.').map_or((name, false), |(root, _)| (root, true));
        let is_name = |char: char| is_of_key(char) || "\"\' ".contains(char);
        let is_word = root.starts_with(|char: char| char.is_ascii_alphabetic());
        name.chars().all(is_name) && is_word && (member || ROOT.key(root.trim()).is_some())
    }

    /// Whether a key and its `=` are what this line begins with, as far as the line says.
    fn begins_with_key(&self, line: usize) -> bool {
        let line = self.text.get(self.line_range(line)).unwrap_or_default();
        let is_key = |char: char| is_of_key(char) || "\"\' ".contains(char);
        line.split_once('=')
            .is_some_and(|(key, _)| !key.trim().is_empty() && key.trim().chars().all(is_key))
    }

    /// The byte a line begins at, or the end of the text.
    fn start_of(&self, line: usize) -> usize {
        self.lines.get(line).copied().unwrap_or(self.text.len())
    }
}

fn at(error: &Error) -> usize {
    error.span().map_or(0, |span: Range<usize>| span.start)
}

fn has_fault(errors: &[Error]) -> bool {
    errors.iter().any(|error| ground(error.message()) == Ground::Structure)
}

// === impl Unclosed ===

impl Unclosed {
    /// What is wrong with the file: of `broken` what is said about the slip, of `mended`, which was
    /// found in a text that is not there, all else.
    pub(super) fn explain(self, broken: Problems, mended: Vec<Problem>) -> Problems {
        let is_here =
            |problem: &Problem| problem.place.line.is_some_and(|line| self.lines.contains(&line));
        // Keys that were left out are not missing.
        let is_loss = |problem: &Problem| {
            self.loser.is_some_and(|loser| problem.place.line.unwrap_or(0) == loser)
                && !broken.0.iter().any(|written| written.message == problem.message)
        };
        let as_written = |byte: usize| match self.added_at {
            Some(added) if byte > added => byte - 1,
            _ => byte,
        };
        let behind = mended.into_iter().filter(|problem| !is_here(problem) && !is_loss(problem));
        let behind: Vec<Problem> = behind
            .map(|problem| {
                let span = problem.place.span;
                let span = span.map(|span| as_written(span.start)..as_written(span.end));
                Problem { place: Place { span, ..problem.place }, ..problem }
            })
            .collect();
        let mut problems = match self.problem {
            Some(problem) => vec![problem],
            None => broken.0.into_iter().filter(is_here).collect(),
        };
        problems.extend(behind);
        problems.sort_by_key(|problem| problem.place.line);
        Problems(problems)
    }
}
