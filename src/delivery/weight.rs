//! What a value of a template weighs: a walk through all of it, a step at a time, each of which is
//! paid for with fuel of the rendering. Pure.

use minijinja::{
    Error, ErrorKind, State, Value,
    value::{DynObject, ValueKind},
};

/// Pays for a value, whatever makes text of it, and gives it back.
pub(super) fn paid(state: &State<'_, '_>, value: Value) -> Result<Value, Error> {
    pay(state, &value, PPRINT_INDENT)?;
    Ok(value)
}

/// Pays for walking this value and writing so many spaces for each of its levels.
pub(super) fn pay(state: &State<'_, '_>, value: &Value, indent: u64) -> Result<(), Error> {
    if !holds_others(value) {
        return Ok(());
    }
    let (_, left) = state.fuel_levels().unwrap_or_default();
    let mut walk = Walk { left, indent };
    let walked = walk.step(value, 0);
    // What ended the walk is told, but where it was the fuel.
    state.consume_fuel(left - walk.left).and(walked)
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
