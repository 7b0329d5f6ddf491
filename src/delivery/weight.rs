//! What a value of a template weighs, told before anything walks it.
//!
//! The engine pays for what it has written, after it has written it: a list that is repeated or
//! holds another twice, and that again, is small until it is made text, and then larger than any
//! memory. So it is walked first, a step at a time, and each step is paid for. Pure.

use minijinja::{
    Error, ErrorKind, Output, State, Value, escape_formatter, filters,
    value::{DynObject, Rest, ValueKind, ValueOrKwargs},
};

/// Pays for walking this value.
pub(super) fn pay(state: &State<'_, '_>, value: &Value) -> Result<(), Error> {
    pay_indented(state, value, 0)
}

/// Pays for walking this value and writing so many spaces for each of its levels.
pub(super) fn pay_indented(state: &State<'_, '_>, value: &Value, indent: u64) -> Result<(), Error> {
    if !holds_others(value) {
        return Ok(());
    }
    let (_, left) = state.fuel_levels().unwrap_or_default();
    let mut walk = Walk { left, indent };
    let walked = walk.step(value, 0);
    // What ended the walk is told, but where it was the fuel.
    state.consume_fuel(left - walk.left).and(walked)
}

/// Pays for so many bytes.
pub(super) fn pay_bytes(state: &State<'_, '_>, bytes: u64) -> Result<(), Error> {
    state.consume_fuel(bytes / BYTES_PER_FUEL)
}

/// Writes a value, which is paid for first.
pub(super) fn write(
    out: &mut Output<'_>,
    state: &mut State<'_, '_>,
    value: &Value,
) -> Result<(), Error> {
    pay(state, value)?;
    escape_formatter(out, state, value)
}

/// A filter that pays for whatever it is given before it walks it.
pub(super) fn paid(
    filter: Value,
) -> impl Fn(&mut State<'_, '_>, Rest<ValueOrKwargs>) -> Result<Value, Error> + Send + Sync + 'static
{
    move |state, given| {
        let given = given.into_values();
        for value in &given {
            pay_indented(state, value, PPRINT_INDENT)?;
        }
        filter.call(state, &given)
    }
}

/// The filters that make text of whatever they are given.
pub(super) fn text_filters() -> [(&'static str, Value); 13] {
    [
        ("capitalize", Value::from_function(filters::capitalize)),
        ("e", Value::from_function(filters::escape)),
        ("escape", Value::from_function(filters::escape)),
        ("format", Value::from_function(filters::format)),
        ("join", Value::from_function(filters::join)),
        ("lower", Value::from_function(filters::lower)),
        ("pprint", Value::from_function(filters::pprint)),
        ("safe", Value::from_function(filters::safe)),
        ("string", Value::from_function(filters::string)),
        ("title", Value::from_function(filters::title)),
        ("trim", Value::from_function(filters::trim)),
        ("upper", Value::from_function(filters::upper)),
        ("urlencode", Value::from_function(filters::urlencode)),
    ]
}

/// Spaces that `pprint` writes for each level.
const PPRINT_INDENT: u64 = 4;

// === impl Walk ===

/// A walk through a value, as far as the fuel goes.
struct Walk {
    left: u64,
    indent: u64,
}

impl Walk {
    fn step(&mut self, value: &Value, depth: u64) -> Result<(), Error> {
        if depth > DEPTH_MAX {
            let message = format!("a value is nested more than {DEPTH_MAX} deep");
            return Err(Error::new(ErrorKind::InvalidOperation, message));
        }
        let text = value.as_str().map_or(0, str::len);
        let text = u64::try_from(text).unwrap_or(u64::MAX);
        let cost = 1 + (text + depth * self.indent) / BYTES_PER_FUEL;
        let Some(left) = self.left.checked_sub(cost) else {
            self.left = 0;
            return Err(ErrorKind::OutOfFuel.into());
        };
        self.left = left;
        if !holds_others(value) {
            return Ok(());
        }
        let pairs = value.as_object().filter(|_| value.kind() == ValueKind::Map);
        if let Some(pairs) = pairs.and_then(DynObject::try_iter_pairs) {
            for (name, held) in pairs {
                self.step(&name, depth + 1)?;
                self.step(&held, depth + 1)?;
            }
            return Ok(());
        }
        for held in value.try_iter()? {
            self.step(&held, depth + 1)?;
        }
        Ok(())
    }
}

fn holds_others(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable | ValueKind::Map)
}

/// What the engine has for one of its steps.
const BYTES_PER_FUEL: u64 = 64;

/// Deeper than any event, and shallow enough for any stack.
const DEPTH_MAX: u64 = 256;
