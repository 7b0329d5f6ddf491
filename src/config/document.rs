//! The text of relay.toml: from bytes to a tree, and from bytes back to lines and columns.

use std::{collections::BTreeMap, fmt, fs::File, io::Read as _, ops::Range, path::Path};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    contract::{ROOT, TABLES},
    excerpt::{Excerpt, Mask, shown, visible},
    fields::nearest,
    key::{Key, Kind, Table},
    problem::{Place, Problem, Problems, Severity},
    reading::{Finding, Ground, Reading, Spot},
};

/// The longest relay.toml. Ten thousand targets fit; a device or a database named by mistake
/// does not fill the memory.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// How many lines that are not TOML are skipped to find the next problem.
const SKIPPED_LINES_MAX: usize = 50;

/// How the parser begins to speak of text without quotes that looks like something else at first.
const NO_VALUE: [&str; 4] = ["invalid float", "invalid boolean", "invalid integer", "invalid date"];

/// What stands for a secret.
const HIDDEN: &str = "\"…\"";

/// The text of a file.
#[derive(Debug)]
pub(super) struct Document<'t> {
    file: &'t str,
    pub(super) text: &'t str,
    /// The byte each line begins at.
    pub(super) lines: Vec<usize>,
}

/// Where each table of a file is.
#[derive(Clone, Default)]
pub(super) struct Headings {
    file: String,
    places: BTreeMap<String, (Place, Option<Excerpt>)>,
}

/// Why a file has no text.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("the configuration file does not exist")]
    Absent,
    #[error("the configuration is a directory")]
    Directory,
    #[error("the configuration file is longer than {FILE_BYTES_MAX} bytes")]
    TooLong,
    #[error("the configuration file is not UTF-8 text from byte {0} on")]
    NotText(usize),
    #[error("the configuration file cannot be read: {0}")]
    Failed(std::io::Error),
}

// === impl Document ===

impl<'t> Document<'t> {
    /// Takes the text of `file`, which problems name.
    pub(super) fn new(file: &'t str, text: &'t str) -> Self {
        // Some editors begin a file with a byte order mark; TOML takes it for nothing.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let breaks = text.match_indices('\n').map(|(index, _)| index + 1);
        Self { file, text, lines: std::iter::once(0).chain(breaks).collect() }
    }

    /// The text, with blanks for each line that is not TOML and would hide all that follows it.
    ///
    /// Such lines are reported, so that one run finds the problems behind them too.
    pub(super) fn without_broken_lines(&self, reading: &Reading<'_>) -> String {
        let mut text = self.text.to_owned();
        for _ in 0..SKIPPED_LINES_MAX {
            let (_, errors) = DeTable::parse_recoverable(&text);
            let broken = errors.iter().find_map(|error| {
                let at = error.span().map_or(0, |span| span.start);
                let line = self.line_range(self.line_of(at));
                let skip = ground(error.message()) == Ground::Line
                    && !self.text.get(line.clone())?.trim_start().starts_with('[');
                skip.then_some((error, line))
            });
            let Some((error, line)) = broken else { break };
            self.report(reading, error, Ground::Line);
            text.replace_range(line.clone(), &" ".repeat(line.len()));
        }
        text
    }

    /// The tree of that text, its faults reported, and the parts that must not be shown.
    pub(super) fn parse<'r>(
        &self,
        readable: &'r str,
        reading: &Reading<'_>,
    ) -> (DeTable<'r>, Vec<Mask>) {
        let (tree, errors) = DeTable::parse_recoverable(readable);
        for error in &errors {
            let ground = match ground(error.message()) {
                Ground::Line => Ground::Structure,
                other => other,
            };
            self.report(reading, error, ground);
        }
        let tree = tree.into_inner();
        let mut masks = self.masks(&tree);
        if !errors.is_empty() || readable != self.text {
            // A fault may have cost the tree a part of a line that is otherwise in it.
            masks.splice(..0, self.masks_by_words());
        }
        (tree, masks)
    }

    /// Where each table begins: those of the file, and those under names of the operator's own.
    pub(super) fn headings(&self, tree: &DeTable<'_>, masks: &[Mask]) -> Headings {
        let mut places = BTreeMap::new();
        let mut note = |table: String, value: &Spanned<DeValue<'_>>| {
            places.insert(table, self.place(&value.span(), Ground::Written, masks));
        };
        for (name, value) in tree {
            let DeValue::Table(table) = value.get_ref() else { continue };
            let name = name.get_ref();
            note(name.to_string(), value);
            if ROOT.key(name).is_some_and(|key| matches!(key.kind, Kind::Named(_))) {
                for (member, value) in table {
                    note(format!("{name}.{}", member.get_ref()), value);
                }
            }
        }
        Headings { file: self.file.to_owned(), places }
    }

    /// The settings with their warnings, or every problem, in the order of the file.
    pub(super) fn conclude<T>(
        &self,
        config: Option<T>,
        findings: &[Finding],
        masks: &[Mask],
    ) -> Result<(T, Vec<Problem>), Problems> {
        let mut findings = self.plausible(findings);
        findings.sort_by_key(|finding| (finding.spot.span.start, finding.severity));
        let mut problems: Vec<Problem> = Vec::new();
        for finding in findings {
            let problem = self.problem(finding, masks);
            // What targets inherit is read once for each of them.
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
        let sound = problems.iter().all(|problem| problem.severity != Severity::Error);
        match config {
            Some(config) if sound => Ok((config, problems)),
            _ => {
                if sound {
                    problems.push(unexplained(self.file));
                }
                Err(Problems(problems))
            }
        }
    }

    /// Leaves out what only follows from text that could not be read.
    fn plausible(&self, findings: &[Finding]) -> Vec<Finding> {
        let line = |finding: &Finding| self.line_of(finding.spot.span.start);
        let is_syntax = |finding: &Finding| {
            matches!(finding.ground, Ground::Text | Ground::Line | Ground::Structure)
        };
        let structure = findings.iter().filter(|f| f.ground == Ground::Structure).map(line).min();
        let lost = structure.is_some() || findings.iter().any(|f| f.ground == Ground::Line);
        let touched: Vec<usize> = findings.iter().filter(|f| is_syntax(f)).map(line).collect();
        let mut reported: Vec<usize> = Vec::new();
        let mut plausible = findings.to_vec();
        plausible.retain(|finding| {
            let at = line(finding);
            let beyond = structure.is_some_and(|structure| at > structure);
            if is_syntax(finding) {
                // The first fault of a line explains the others.
                let first = !reported.contains(&at);
                reported.push(at);
                return first && !beyond;
            }
            match finding.ground {
                Ground::Absent => !lost && !touched.contains(&at),
                _ => !beyond && !touched.contains(&at),
            }
        });
        plausible
    }

    pub(super) fn problem(&self, finding: Finding, masks: &[Mask]) -> Problem {
        let Finding { severity, ground, spot, message, remedy, note } = finding;
        // Names of the operator's own stand in these texts, whatever they are made of.
        let safe = |text: String| text.chars().map(visible).collect::<String>();
        let kept = |text: String| (!text.is_empty()).then(|| safe(text));
        let whole = spot.span.is_empty() && spot.span.start == 0 && ground == Ground::Absent;
        let (place, excerpt) = if whole {
            (Place { file: self.file.into(), line: None, column: None, span: None }, None)
        } else {
            self.place(&spot.span, ground, masks)
        };
        Problem {
            severity,
            place,
            table: safe(spot.table),
            message: safe(message),
            remedy: kept(remedy),
            note: kept(note),
            excerpt,
        }
    }

    fn place(
        &self,
        span: &Range<usize>,
        ground: Ground,
        masks: &[Mask],
    ) -> (Place, Option<Excerpt>) {
        let line = self.line_of(span.start);
        let range = self.line_range(line);
        let before = self.text.get(range.start..span.start).unwrap_or_default();
        let place = Place {
            file: self.file.to_owned(),
            line: Some(line + 1),
            column: Some(before.chars().count() + 1),
            span: Some(span.clone()),
        };
        let text = without_comment(self.text.get(range.clone()).unwrap_or_default());
        let excerpt = match ground {
            // The tree says nothing sure about this line, so that its own words decide.
            Ground::Text | Ground::Line | Ground::Structure => {
                Excerpt::new(text, range.start, span, &mask_by_words(text, range.start))
            }
            Ground::Written | Ground::Absent => Excerpt::new(text, range.start, span, masks),
        };
        (place, Some(excerpt))
    }

    fn report(&self, reading: &Reading<'_>, error: &toml::de::Error, ground: Ground) {
        let span = error.span().unwrap_or(0..0);
        let (message, remedy) = match error.message() {
            "duplicate key" => {
                let name = self.text.get(span.clone()).unwrap_or_default();
                let name = shown(name.trim_matches(['"', '\'']));
                (format!("`{name}` is written a second time"), "keep one of them".to_owned())
            }
            message if message.starts_with("string values must be quoted") => {
                ("text must stand in quotes".to_owned(), "put \"…\" around it".to_owned())
            }
            "missing comma between array elements, expected `,`" => (
                "a comma is missing between two elements of a list".to_owned(),
                "write it, or close the list before this with ]".to_owned(),
            ),
            message if NO_VALUE.iter().any(|start| message.starts_with(start)) => {
                ("this is no value".to_owned(), "text must stand in quotes: \"…\"".to_owned())
            }
            message => match message.split_once(", expected ") {
                Some((what, expected)) => (what.to_owned(), format!("expected {expected}")),
                None => (message.to_owned(), String::new()),
            },
        };
        let table = self.heading_before(span.start);
        let spot = Spot { span, table };
        reading.push(Finding::new(Severity::Error, ground, &spot, message, remedy));
    }

    /// The table a line is in, by the headings above it.
    pub(super) fn heading_before(&self, at: usize) -> String {
        let line = self.line_range(self.line_of(at));
        if self.text.get(line.clone()).is_some_and(|line| line.starts_with('[')) {
            return String::new();
        }
        let above = self.text.get(..line.start).unwrap_or_default();
        let headings = above.lines().rev().filter_map(|line| {
            let name = line.strip_prefix('[')?.split(']').next()?.trim_start_matches('[').trim();
            let plain = |char: char| char.is_ascii_alphanumeric() || "-_.\"".contains(char);
            (line.contains(']') && name.chars().all(plain)).then(|| name.to_owned())
        });
        headings.into_iter().next().unwrap_or_default()
    }

    /// The line, from 0, that has this byte.
    pub(super) fn line_of(&self, at: usize) -> usize {
        self.lines.partition_point(|start| *start <= at).saturating_sub(1)
    }

    /// The bytes of a line, without its end.
    pub(super) fn line_range(&self, line: usize) -> Range<usize> {
        let start = self.lines.get(line).copied().unwrap_or(self.text.len());
        let end = self.lines.get(line + 1).copied().unwrap_or(self.text.len());
        let text = self.text.get(start..end).unwrap_or_default();
        start..start + text.trim_end_matches(['\n', '\r']).len()
    }

    /// Every value that is not known to be open, also where it stands under a misspelt key.
    fn masks(&self, tree: &DeTable<'_>) -> Vec<Mask> {
        static WHOLE: Kind = Kind::Table(&ROOT);

        let mut masks = Vec::new();
        self.mask_members(tree, Some(&WHOLE), &mut masks);
        masks
    }

    /// What each line of several values may hide, whatever the tree says.
    fn masks_by_words(&self) -> Vec<Mask> {
        let masks = (0..self.lines.len()).flat_map(|line| {
            let range = self.line_range(line);
            let line = without_comment(self.text.get(range.clone()).unwrap_or_default());
            let several = match line.split_once('=') {
                Some((_, value)) => value.contains(['[', '{']),
                None => !line.trim_start().starts_with('['),
            };
            if several { mask_by_words(line, range.start) } else { Vec::new() }
        });
        masks.collect()
    }

    fn mask_members(
        &self,
        table: &DeTable<'_>,
        kind: Option<&'static Kind>,
        masks: &mut Vec<Mask>,
    ) {
        for (name, value) in table {
            self.mask_value(value, member_kind(kind, name.get_ref()), masks);
        }
    }

    fn mask_value(
        &self,
        value: &Spanned<DeValue<'_>>,
        kind: Option<&'static Kind>,
        masks: &mut Vec<Mask>,
    ) {
        match (value.get_ref(), kind) {
            (DeValue::Table(table), _) => self.mask_members(table, kind, masks),
            (DeValue::Array(array), _) => {
                let element = match kind {
                    Some(Kind::List(of) | Kind::Tables(of)) => Some(*of),
                    other => other,
                };
                for value in array {
                    self.mask_value(value, element, masks);
                }
            }
            (DeValue::String(text), Some(Kind::CallerAuth(_))) if text == "none" => {}
            // A quote too many may have made one text of much else.
            (DeValue::String(text), _) if text.contains('\n') => {
                masks.push(Mask { span: value.span(), shown: HIDDEN });
            }
            (DeValue::String(_), Some(Kind::Url)) => masks.extend(self.mask_url(value.span())),
            (_, Some(kind)) if kind.is_open() => {}
            (DeValue::String(_), _) => masks.push(Mask { span: value.span(), shown: HIDDEN }),
            _ => masks.push(Mask { span: value.span(), shown: "…" }),
        }
    }

    /// Shows scheme and host; whatever follows may be a token, and what precedes a password.
    fn mask_url(&self, span: Range<usize>) -> Option<Mask> {
        let text = self.text.get(span.clone())?;
        let Some((scheme, rest)) = text.split_once("://") else {
            return Some(Mask { span, shown: HIDDEN });
        };
        let host = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len().saturating_sub(1));
        let authority = rest.get(..host).unwrap_or_default();
        let start = scheme.len() + "://".len();
        if authority.contains('@') {
            return Some(Mask { span: span.start + start..span.end, shown: "…\"" });
        }
        let start = span.start + start + host;
        (start + 1 < span.end).then_some(Mask { span: start..span.end, shown: "…\"" })
    }
}

// === impl Headings ===

impl Headings {
    /// A problem that is not in the text of `table`, but in what the table names.
    pub(super) fn problem(
        &self,
        table: &str,
        severity: Severity,
        message: String,
        remedy: &str,
    ) -> Problem {
        let nowhere = || Place { file: self.file.clone(), line: None, column: None, span: None };
        let found = self.places.get(table).cloned();
        let (place, excerpt) = found.unwrap_or_else(|| (nowhere(), None));
        Problem {
            severity,
            place,
            table: table.to_owned(),
            message,
            remedy: Some(remedy.to_owned()),
            note: None,
            excerpt,
        }
    }
}

impl fmt::Debug for Headings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Headings(…)")
    }
}

// === impl Unreadable ===

impl Unreadable {
    /// The problem of the file as a whole.
    pub(super) fn into_problem(self, file: &str) -> Problem {
        let remedy = match self {
            Self::Absent => "name it with --config PATH",
            Self::Directory => "name the file in it with --config PATH",
            Self::TooLong => "name another file with --config PATH",
            Self::NotText(_) => "save it as UTF-8",
            Self::Failed(_) => "the user that runs this must be able to read it",
        };
        Problem { message: self.to_string(), remedy: Some(remedy.to_owned()), ..of_file(file) }
    }
}

impl From<std::io::Error> for Unreadable {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::NotFound => Self::Absent,
            std::io::ErrorKind::IsADirectory => Self::Directory,
            _ => Self::Failed(error),
        }
    }
}

/// The text of a file.
pub(super) fn read_file(path: &Path) -> Result<String, Unreadable> {
    let file = File::open(path)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).map_or(true, |length| length > FILE_BYTES_MAX) {
        return Err(Unreadable::TooLong);
    }
    String::from_utf8(bytes).map_err(|error| Unreadable::NotText(error.utf8_error().valid_up_to()))
}

/// How far a fault of syntax reaches.
pub(super) fn ground(message: &str) -> Ground {
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&["key with no value", "extra `=`", "unexpected key or value", "invalid key-value"]) {
        Ground::Line
    } else if says(&["array", "table", "multi-line", "between key-value", "recurs"])
        && !says(&["cannot extend"])
    {
        Ground::Structure
    } else {
        Ground::Text
    }
}

/// What a member of a table of this kind may be; a misspelt key is taken for the one it means.
fn member_kind(kind: Option<&'static Kind>, name: &str) -> Option<&'static Kind> {
    static NAME: Kind = Kind::Text;
    static PLACE: Kind = Kind::Place;

    match kind? {
        Kind::Named(of) | Kind::Map(of) => Some(of),
        Kind::Table(table) | Kind::Rule(table) => key_kind(&[table], name),
        Kind::Picked => Some(&PLACE),
        Kind::CallerAuth(variants) | Kind::TargetAuth(variants) => {
            let tables: Vec<_> = variants.iter().filter_map(|variant| variant.table).collect();
            key_kind(&tables, name)
        }
        // The name of a variable or a file.
        Kind::TextOrFile => (name == "file").then_some(&NAME),
        Kind::Secret | Kind::Secrets => matches!(name, "env" | "file").then_some(&NAME),
        _ => None,
    }
}

fn key_kind(tables: &[&'static Table], name: &str) -> Option<&'static Kind> {
    let keys = || tables.iter().flat_map(|table| table.keys);
    if let Some(key) = keys().find(|key| key.name == name) {
        return Some(&key.kind);
    }
    // Nearer to an open key by a letter, it may still be the key of a secret that lost three.
    let is_secret = |key: &Key| matches!(key.kind, Kind::Secret | Kind::Secrets);
    if keys().any(|key| is_secret(key) && may_be(name, key.name)) {
        return None;
    }
    let meant = nearest(name, keys().map(|key| key.name))?;
    keys().find(|key| key.name == meant).map(|key| &key.kind)
}

/// Whether somebody may have meant `key` and written `name`: half of the longer one agrees.
fn may_be(name: &str, key: &str) -> bool {
    let longer = name.chars().count().max(key.chars().count());
    strsim::damerau_levenshtein(name, key) * 2 <= longer
}

/// Of a key without quotes, or of several with dots between.
pub(super) fn is_of_key(char: char) -> bool {
    char.is_ascii_alphanumeric() || matches!(char, '_' | '-' | '.')
}

/// Hides what stands right of a `=` unless its key may hold no secret in any table.
fn mask_by_words(line: &str, offset: usize) -> Vec<Mask> {
    let from =
        |start: usize| vec![Mask { span: offset + start..offset + line.len(), shown: "…" }];
    let keys = |name: &str| {
        TABLES.iter().filter_map(|table| table.key(name)).map(|key| &key.kind).collect::<Vec<_>>()
    };
    if line.trim_start().starts_with('[') && !line.contains(['"', '\'']) {
        return Vec::new();
    }
    match line.split_once('=') {
        // No key, but the rest of a value that a line break came into.
        Some((name, _)) if !name.trim().chars().all(is_of_key) => from(0),
        Some((name, value)) => {
            let kinds = keys(name.trim());
            let open = !kinds.is_empty() && kinds.iter().all(|kind| kind.is_open());
            if open && !value.contains('=') {
                Vec::new()
            } else {
                from(line.len() - value.trim_start().len())
            }
        }
        // The inside of something, or a key alone.
        None if keys(line.trim()).is_empty() => from(0),
        None => Vec::new(),
    }
}

/// A line without its comment, which is where old secrets are left.
pub(super) fn without_comment(line: &str) -> &str {
    let mut quote = None;
    let mut escaped = false;
    for (index, char) in line.char_indices() {
        match (quote, char) {
            (None, '#') => return line.get(..index).unwrap_or_default().trim_end(),
            (None, '"' | '\'') => quote = Some(char),
            (Some('"'), '\\') if !escaped => {
                escaped = true;
                continue;
            }
            (Some(open), close) if open == close && !escaped => quote = None,
            _ => {}
        }
        escaped = false;
    }
    line
}

fn of_file(file: &str) -> Problem {
    Problem {
        severity: Severity::Error,
        place: Place { file: file.to_owned(), line: None, column: None, span: None },
        table: String::new(),
        message: String::new(),
        remedy: None,
        note: None,
        excerpt: None,
    }
}

/// A reader gave up without saying why: that must not pass for a configuration.
fn unexplained(file: &str) -> Problem {
    Problem {
        message: "the configuration could not be read, for a reason that is ours".to_owned(),
        remedy: Some("please report it with the file, its secrets removed".to_owned()),
        ..of_file(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_is_cut_off_and_a_hash_within_quotes_is_not_one() {
        assert_eq!(without_comment("a = 5 # five"), "a = 5");
        assert_eq!(without_comment("a = \"#1\" # one"), "a = \"#1\"");
        assert_eq!(without_comment("a = \"\\\"#\" # b"), "a = \"\\\"#\"");
        assert_eq!(without_comment("a = '\\' # b"), "a = '\\'");
    }
}
