//! What is known to be wrong with a condition before any event: its size, its names, its cost.

use std::{collections::BTreeSet, mem, ops::Range, slice};

use cel::{
    Program,
    common::ast::{
        CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SourceInfo, operators,
    },
};

use super::schema::{self, NoField, Shape};

/// Something to say of a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Whether it can be used all the same.
    pub weight: Weight,
    /// The bytes of the text that are meant.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// The name that was meant and those there are, or what to do.
    pub remedy: Remedy,
}

/// Whether a condition can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// It cannot.
    Error,
    /// It can, and will hardly do what is meant.
    Warning,
}

/// What to do about a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// This.
    Say(&'static str),
    /// Write this, which is what was meant.
    Meant(String),
    /// Take one of the names there are, most likely the one nearest to what is written.
    Names {
        /// What is written.
        written: String,
        /// What there is.
        known: Vec<&'static str>,
    },
}

/// One step of a way into the event, or into what a condition makes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// To a field.
    Field(String),
    /// To the entry of this number.
    Index(usize),
    /// To every entry, or to one that is not known before any event.
    Each,
}

/// A condition without errors.
pub(super) struct Checked {
    pub(super) program: Program,
    /// The members of `data` that it names.
    pub(super) members: BTreeSet<String>,
    pub(super) warnings: Vec<Fault>,
}

/// A sub-expression by what it may be; empty for what an operator makes.
#[derive(Clone, Default)]
struct Seen {
    /// The parts of the event: several for `a ? b : c`.
    parts: Vec<Part>,
    /// The entries of a list that stands in the condition.
    entries: Vec<Seen>,
    /// The members of a map that stands in the condition.
    members: Vec<(Step, Seen)>,
}

/// A part of the event, and the way to it.
#[derive(Clone)]
struct Part {
    shape: Shape<'static>,
    way: Vec<Step>,
}

/// A variable of `all`, `exists` or `exists_one`.
struct Local {
    name: String,
    seen: Seen,
}

struct Check<'p> {
    info: &'p SourceInfo,
    faults: Vec<Fault>,
    members: BTreeSet<String>,
    locals: Vec<Local>,
    /// Whether what is looked at is done for each entry of a list of the event.
    repeated: bool,
    additions: usize,
    nodes: usize,
}

/// Longer than anyone writes by hand; the parser's work and memory grow with it.
const TEXT_BYTES_MAX: usize = 2048;

/// Brackets and signs within one another, counted before the parser sees them: it recurses.
const NESTING_MAX: usize = 12;

/// Brackets in all: the parts of `a[0][0]` are within one another to the parser.
const BRACKETS_MAX: usize = 48;

/// Characters of operators in all, for the same reason: `1 + 1 + 1`, `!!a`, `a ? b : c ? d : e`.
const OPERATORS_MAX: usize = 96;

/// Fields of fields without an operator between them, and uses of `in`.
const STEPS_MAX: usize = 16;

/// Levels of the parsed expression; `a && b && c` takes few, `a.b.c` one each.
const DEPTH_MAX: usize = 160;

/// Each `+` may join two texts as long as the event.
const ADDITIONS_MAX: usize = 8;

/// Parts of an expression, those of expanded macros among them.
const NODES_MAX: usize = 2048;

/// Bytes of a compiled pattern of `matches`.
const PATTERN_BYTES_MAX: usize = 256 * 1024;

/// The functions a condition may call, besides the macros `has`, `all`, `exists`, `exists_one`.
const FUNCTIONS: [&str; 9] =
    ["size", "contains", "startsWith", "endsWith", "matches", "int", "double", "string", "bool"];

/// What to do about text that is no expression.
const LIKE_THIS: &str = "write it like data.call.status == \"busy\" && data.call.final";

/// Reads and checks `text`.
pub(super) fn check(text: &str) -> Result<Checked, Vec<Fault>> {
    if let Some(fault) = too_large(text) {
        return Err(vec![fault]);
    }
    let program = Program::compile(text).map_err(|errors| unparsed(text, &errors))?;
    let mut check = Check {
        info: program.source_info(),
        faults: Vec::new(),
        members: BTreeSet::new(),
        locals: Vec::new(),
        repeated: false,
        additions: 0,
        nodes: 0,
    };
    check.looked(program.expression(), 0);
    let Check { mut faults, members, .. } = check;
    faults.dedup();
    if faults.iter().any(|fault| fault.weight == Weight::Error) {
        return Err(faults);
    }
    Ok(Checked { program, members, warnings: faults })
}

/// What must not reach the parser.
fn too_large(text: &str) -> Option<Fault> {
    let whole = |message: &str, remedy| Fault::error(0..text.len(), message, Remedy::Say(remedy));
    if text.len() > TEXT_BYTES_MAX {
        return Some(whole("the condition is too long", "write at most 2048 bytes, or two routes"));
    }
    let mut quote: Option<char> = None;
    let (mut open, mut deepest, mut brackets, mut operators) = (0_usize, 0_usize, 0_usize, 0_usize);
    let (mut steps, mut longest) = (0_usize, 0_usize);
    let mut escaped = false;
    for char in text.chars() {
        match (quote, char) {
            (Some(_), '\\') => {
                escaped = !escaped;
                continue;
            }
            (Some(end), char) if char == end && !escaped => quote = None,
            (None, '"' | '\'') => quote = Some(char),
            (None, '(' | '[' | '{') => {
                brackets += 1;
                open += 1;
                deepest = deepest.max(open);
            }
            (None, ')' | ']' | '}') => open = open.saturating_sub(1),
            (None, '.') => {
                steps += 1;
                longest = longest.max(steps);
            }
            (None, '?' | '!' | '-' | '+' | '*' | '/' | '%' | '<' | '>' | '=' | '&' | '|') => {
                operators += 1;
                steps = 0;
            }
            (None, ',') => steps = 0,
            _ => {}
        }
        escaped = false;
    }
    // A quote that is read otherwise than by the parser may hide what is in it: so these are
    // counted once more as if there were no quotes.
    let anywhere = |of: &[char]| text.chars().filter(|char| of.contains(char)).count();
    let hidden = anywhere(&['(', '[', '{']) > 2 * BRACKETS_MAX
        || anywhere(&['.']) > 16 * STEPS_MAX
        || anywhere(&['?', '!', '-', '+', '*', '/', '%', '<', '>', '=']) > 2 * OPERATORS_MAX;
    let words = text.split(|char: char| !char.is_alphanumeric()).filter(|word| *word == "in");
    if deepest > NESTING_MAX
        || brackets > BRACKETS_MAX
        || longest > STEPS_MAX
        || operators > OPERATORS_MAX
        || words.count() > STEPS_MAX
        || hidden
    {
        return Some(whole("the condition is nested too deeply", "write two routes instead"));
    }
    None
}

fn unparsed(text: &str, errors: &cel::ParseErrors) -> Vec<Fault> {
    let fault = |error: &cel::ParseError| {
        let (line, column) = error.pos;
        let line_start: usize = text
            .split_inclusive('\n')
            .take(usize::try_from(line - 1).unwrap_or_default())
            .map(str::len)
            .sum();
        let rest = text.get(line_start..).unwrap_or_default();
        let skipped = usize::try_from(column).unwrap_or_default();
        let at =
            line_start + rest.char_indices().nth(skipped).map_or(rest.len(), |(index, _)| index);
        let shown: String = error.msg.chars().take(120).collect();
        Fault::error(at..at + 1, format!("this is not CEL: {shown}"), Remedy::Say(LIKE_THIS))
    };
    // One slip makes many: the first explains the others.
    match errors.errors.first() {
        Some(error) => vec![fault(error)],
        None => {
            vec![Fault::error(0..text.len(), "this is not CEL", Remedy::Say("write a condition"))]
        }
    }
}

// === impl Fault ===

impl Fault {
    fn error(span: Range<usize>, message: impl Into<String>, remedy: Remedy) -> Self {
        Self { weight: Weight::Error, span, message: message.into(), remedy }
    }
}

// === impl Seen ===

impl Seen {
    fn part(part: Part) -> Self {
        Self { parts: vec![part], ..Self::default() }
    }

    /// What is the one or the other.
    fn or(mut self, other: Self) -> Self {
        self.parts.extend(other.parts);
        self.members.extend(other.members);
        let mut others = other.entries.into_iter();
        self.entries = mem::take(&mut self.entries)
            .into_iter()
            .map(|entry| entry.or(others.next().unwrap_or_default()))
            .collect();
        self.entries.extend(others);
        self
    }

    /// An entry of the list, or a member of the map, it is, by this step.
    fn entry(self, step: &Step) -> Self {
        let member = self.member(step).unwrap_or_default();
        let known = match step {
            Step::Index(at) => self.entries.into_iter().skip(*at).take(1).collect(),
            _ => self.entries,
        };
        let of = self.parts.iter().map(|part| part.beyond(part.shape.entry(), step));
        let entry = Self { parts: of.collect(), ..Self::default() };
        known.into_iter().fold(entry.or(member), Self::or)
    }

    /// What the map that stands here may have under this key, if there is such a map and key.
    fn member(&self, key: &Step) -> Option<Self> {
        let may_be = |own: &Step| own == key || *own == Step::Each || *key == Step::Each;
        let members = self.members.iter().filter(|(own, _)| may_be(own));
        members.map(|(_, seen)| seen.clone()).reduce(Self::or)
    }
}

// === impl Part ===

impl Part {
    fn beyond(&self, shape: Shape<'static>, step: &Step) -> Self {
        Self { shape, way: [self.way.as_slice(), slice::from_ref(step)].concat() }
    }
}

// === impl Check ===

impl Check<'_> {
    fn error(&mut self, id: u64, message: impl Into<String>, remedy: Remedy) {
        let fault = Fault::error(self.span(id), message, remedy);
        self.faults.push(fault);
    }

    /// The bytes of a part; the parser counts characters.
    fn span(&self, id: u64) -> Range<usize> {
        let text = &self.info.source;
        let byte = |char: u32| {
            let char = usize::try_from(char).unwrap_or(usize::MAX);
            text.char_indices().nth(char).map_or(text.len(), |(index, _)| index)
        };
        match self.info.offset_for(id) {
            Some((start, stop)) => byte(start)..byte(stop.saturating_add(1)),
            None => 0..text.len(),
        }
    }

    /// The bytes of the name behind the dot that is at `id`.
    fn field_span(&self, id: u64, name: &str) -> Range<usize> {
        let dot = self.span(id);
        let rest = self.info.source.get(dot.start..).unwrap_or_default();
        match rest.find(name) {
            Some(at) => dot.start + at..dot.start + at + name.len(),
            None => dot,
        }
    }

    /// Of the event no more is read than is named.
    fn keep(&mut self, seen: &Seen) {
        for part in &seen.parts {
            if let [Step::Field(root), Step::Field(member), ..] = part.way.as_slice()
                && root == "data"
            {
                self.members.insert(member.clone());
            }
        }
    }

    fn looked(&mut self, expr: &IdedExpr, depth: usize) -> Seen {
        let seen = self.look(expr, depth + 1);
        let is_whole = |part: &Part| part.way == [Step::Field("data".to_owned())];
        if seen.parts.iter().any(is_whole) {
            let remedy = Remedy::Say("name a field of it, such as data.call.status");
            self.error(expr.id, "`data` as a whole cannot be asked about", remedy);
        }
        self.keep(&seen);
        seen
    }

    fn look(&mut self, expr: &IdedExpr, depth: usize) -> Seen {
        self.nodes += 1;
        if depth > DEPTH_MAX || self.nodes > NODES_MAX {
            if self.nodes <= NODES_MAX + 1 {
                self.error(expr.id, "the condition is too large", Remedy::Say("write two routes"));
            }
            return Seen::default();
        }
        match &expr.expr {
            Expr::Ident(name) => self.variable(expr.id, name),
            Expr::Select(select) => {
                let operand = self.look(&select.operand, depth + 1);
                let seen = self.field(&operand, &select.field, || (expr.id, select.field.clone()));
                if !select.test {
                    return seen;
                }
                self.keep(&seen);
                Seen::default()
            }
            Expr::Call(call) => self.call(expr.id, call, depth),
            Expr::Comprehension(comprehension) => {
                self.comprehension(expr.id, comprehension, depth);
                Seen::default()
            }
            Expr::List(list) => {
                let entries = list.elements.iter().map(|element| self.looked(element, depth));
                Seen { entries: entries.collect(), ..Seen::default() }
            }
            Expr::Map(map) => {
                let mut members = Vec::with_capacity(map.entries.len());
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        self.looked(&entry.key, depth);
                        members.push((key(&entry.key), self.looked(&entry.value, depth)));
                    }
                }
                Seen { members, ..Seen::default() }
            }
            Expr::Struct(_) => {
                self.error(expr.id, "there are no types to make", Remedy::Say("compare fields"));
                Seen::default()
            }
            Expr::Literal(_) | Expr::Unspecified => Seen::default(),
        }
    }

    fn variable(&mut self, id: u64, name: &str) -> Seen {
        if let Some(local) = self.locals.iter().rev().find(|local| local.name == name) {
            return local.seen.clone();
        }
        let Ok(shape) = schema::event().field(name) else {
            let remedy = match schema::whereabouts(name) {
                Some(place) => Remedy::Meant(place),
                None => Remedy::Names { written: name.to_owned(), known: schema::variables() },
            };
            self.error(id, format!("an event has no `{name}`"), remedy);
            return Seen::default();
        };
        if self.repeated {
            self.error(
                id,
                format!("`{name}` is looked at again for each entry of a list"),
                Remedy::Say("in all, exists and exists_one use only their own variable"),
            );
        }
        Seen::part(Part { shape, way: vec![Step::Field(name.to_owned())] })
    }

    fn field(&mut self, operand: &Seen, name: &str, place: impl Fn() -> (u64, String)) -> Seen {
        let step = Step::Field(name.to_owned());
        let member = operand.member(&step);
        if member.is_none() && !operand.members.is_empty() && operand.parts.is_empty() {
            let (id, written) = place();
            let (span, message) =
                (self.field_span(id, &written), format!("this map has no `{name}`"));
            self.faults.push(Fault::error(span, message, Remedy::Say("ask for a name it has")));
        }
        let mut seen = member.unwrap_or_default();
        for part in &operand.parts {
            let of = shown(&part.way);
            let (message, remedy) = match part.shape.field(name) {
                Ok(shape) => {
                    seen.parts.push(part.beyond(shape, &step));
                    continue;
                }
                Err(NoField::Unknown(known)) => (
                    format!("`{of}` has no field `{name}`"),
                    Remedy::Names { written: name.to_owned(), known },
                ),
                Err(NoField::List) => (
                    format!("`{of}` is a list and has no field `{name}`"),
                    Remedy::Say("ask its entries: exists(e, e.name == \"…\")"),
                ),
                Err(NoField::Single) => (
                    format!("`{of}` is one value and has no field `{name}`"),
                    Remedy::Say("compare it itself"),
                ),
            };
            let (id, written) = place();
            let span = self.field_span(id, &written);
            self.faults.push(Fault::error(span, message, remedy));
        }
        seen
    }

    fn call(&mut self, id: u64, call: &CallExpr, depth: usize) -> Seen {
        match (call.func_name.as_str(), call.args.as_slice()) {
            (operators::INDEX, [operand, index]) => return self.index(operand, index, depth),
            (operators::CONDITIONAL, [asked, yes, no]) => {
                self.looked(asked, depth);
                return self.look(yes, depth + 1).or(self.look(no, depth + 1));
            }
            ("_==_" | "_!=_", [left, right]) => {
                let (one, other) = (self.looked(left, depth), self.looked(right, depth));
                self.compare(&one, &[right]);
                self.compare(&other, &[left]);
                return Seen::default();
            }
            ("@in", [one, of]) => {
                let one = self.looked(one, depth);
                self.looked(of, depth);
                if let Expr::List(list) = &of.expr {
                    self.compare(&one, &list.elements.iter().collect::<Vec<_>>());
                }
                return Seen::default();
            }
            ("_+_", _) => self.additions += 1,
            ("matches", args) => self.pattern(id, args.last()),
            (name, _) if !is_operator(name) && !FUNCTIONS.contains(&name) => {
                let remedy = Remedy::Names { written: name.to_owned(), known: FUNCTIONS.to_vec() };
                let message = format!("there is no function `{name}` here");
                self.error(id, message, remedy);
            }
            _ => {}
        }
        if self.additions > ADDITIONS_MAX {
            self.error(id, "too many additions", Remedy::Say("write at most eight"));
        }
        for part in call.target.as_deref().into_iter().chain(&call.args) {
            self.looked(part, depth);
        }
        Seen::default()
    }

    /// `data.extra["a b"]` is a field, `data.call.legs[0]` an entry.
    fn index(&mut self, operand: &IdedExpr, index: &IdedExpr, depth: usize) -> Seen {
        let of = self.look(operand, depth + 1);
        match &index.expr {
            Expr::Literal(LiteralValue::String(name)) => {
                let (id, name) = (index.id, name.inner().to_owned());
                self.field(&of, &name, || (id, name.clone()))
            }
            Expr::Literal(LiteralValue::Int(number)) => {
                let at = usize::try_from(*number.inner()).unwrap_or(usize::MAX);
                of.entry(&Step::Index(at))
            }
            _ if of.parts.iter().any(|part| part.shape.has_fixed_fields()) => {
                let remedy = Remedy::Say("write the name of a field");
                self.error(index.id, "which field this is cannot be known", remedy);
                Seen::default()
            }
            _ => {
                self.keep(&of);
                self.looked(index, depth);
                of.entry(&Step::Each)
            }
        }
    }

    /// A word that a closed list does not have is never met.
    fn compare(&mut self, one: &Seen, others: &[&IdedExpr]) {
        let [part] = one.parts.as_slice() else { return };
        let Some(words) = part.shape.words() else { return };
        for other in others {
            let Expr::Literal(LiteralValue::String(text)) = &other.expr else { continue };
            let written = text.inner();
            if words.contains(&written) {
                continue;
            }
            let of = shown(&part.way);
            self.faults.push(Fault {
                weight: Weight::Warning,
                span: self.span(other.id),
                message: format!("`{of}` is never \"{written}\""),
                remedy: Remedy::Names { written: written.to_owned(), known: words.clone() },
            });
        }
    }

    /// A pattern from an event would be compiled for each event, whatever it is.
    fn pattern(&mut self, id: u64, pattern: Option<&IdedExpr>) {
        let Some(IdedExpr { expr: Expr::Literal(LiteralValue::String(text)), id }) = pattern else {
            let remedy = Remedy::Say("write the pattern in quotes");
            self.error(id, "the pattern of `matches` must stand here", remedy);
            return;
        };
        let compiled = regex::RegexBuilder::new(text.inner()).size_limit(PATTERN_BYTES_MAX).build();
        if compiled.is_err() {
            let remedy = Remedy::Say("write a regular expression without large repetitions");
            self.error(*id, "this pattern cannot be used", remedy);
        }
    }

    fn comprehension(&mut self, id: u64, it: &ComprehensionExpr, depth: usize) {
        if !self.locals.is_empty() {
            let remedy = Remedy::Say("ask one list at a time");
            self.error(id, "a list is walked for each entry of another", remedy);
            return;
        }
        if matches!(it.accu_init.expr, Expr::List(_)) {
            let remedy = Remedy::Say("use exists, all or exists_one");
            self.error(id, "`map` and `filter` make lists, and a route wants yes or no", remedy);
            return;
        }
        // Of a map its names are walked, not what it has under them.
        let range = Seen { members: Vec::new(), ..self.looked(&it.iter_range, depth) };
        let seen = range.entry(&Step::Each);
        self.locals.push(Local { name: it.iter_var.clone(), seen });
        let free = |name: &str| Local { name: name.to_owned(), seen: Seen::default() };
        self.locals.push(free(&it.accu_var));
        if let Some(second) = &it.iter_var2 {
            self.locals.push(free(second));
        }
        self.repeated = !matches!(it.iter_range.expr, Expr::List(_));
        for part in [&it.accu_init, &it.loop_cond, &it.loop_step, &it.result] {
            self.looked(part, depth);
        }
        self.repeated = false;
        self.locals.clear();
    }
}

/// Operators, and what macros are made of: `_&&_`, `!_`, `@not_strictly_false`.
fn is_operator(name: &str) -> bool {
    name.starts_with(['_', '!', '-', '@'])
}

/// The key of a member of a map, as one asks for it.
fn key(written: &IdedExpr) -> Step {
    match &written.expr {
        Expr::Literal(LiteralValue::String(name)) => Step::Field(name.inner().to_owned()),
        Expr::Literal(LiteralValue::Int(number)) => {
            usize::try_from(*number.inner()).map_or(Step::Each, Step::Index)
        }
        _ => Step::Each,
    }
}

fn shown(way: &[Step]) -> String {
    let mut text = String::new();
    for step in way {
        match step {
            Step::Field(name) if text.is_empty() => text.push_str(name),
            Step::Field(name) => {
                text.push('.');
                text.push_str(name);
            }
            Step::Index(index) => text.push_str(&format!("[{index}]")),
            Step::Each => text.push_str("[]"),
        }
    }
    text
}
