//! Which null made an evaluation fail: its error says what failed, not where.
//!
//! The parts of what failed are evaluated once more, by the same interpreter and in its order,
//! down to the one that fails although its own parts do not. What is null among these, or is not
//! there, is the cause. Nothing here computes a value.

use cel::{
    Context, IdedExpr, Value,
    common::ast::{ComprehensionExpr, EntryExpr, Expr, LiteralValue, operators},
};

use super::condition::Failure;

/// Where parts are evaluated: the event, and within a macro one entry of its list.
pub(super) struct Cause<'c> {
    context: &'c Context<'c, 'c>,
    local: Option<Local<'c>>,
}

/// The variable of `all`, `exists` or `exists_one`.
struct Local<'c> {
    variable: &'c str,
    /// What the entry is called in the event.
    name: Option<String>,
}

/// What an error says of values, at most: they are the callers' and may be long.
const MESSAGE_CHARS_MAX: usize = 200;

// === impl Cause ===

impl<'c> Cause<'c> {
    /// For expressions over the variables of this context.
    pub(super) const fn within(context: &'c Context<'c, 'c>) -> Self {
        Self { context, local: None }
    }

    /// Why an expression has no value.
    pub(super) fn failed(&self, expr: &IdedExpr) -> Failure {
        if let Expr::Comprehension(it) = &expr.expr {
            return self.entry_failed(expr, it);
        }
        if let Some(branch) = self.taken(expr) {
            return self.failed(branch);
        }
        if let Some(right) = self.undecided(expr) {
            return self.failed(right);
        }
        let parts = parts(&expr.expr);
        let mut values = Vec::with_capacity(parts.len());
        for part in &parts {
            match self.context.resolve(part) {
                Ok(value) => values.push(value),
                Err(_) => return self.failed(part),
            }
        }
        let null = if is_gap(&expr.expr, &values) {
            self.name(expr)
        } else {
            self.null_among(&expr.expr, &parts, &values)
        };
        null.map_or_else(|| self.unfit(expr), |field| Failure::Null { field })
    }

    fn null_among(&self, expr: &Expr, parts: &[&IdedExpr], values: &[Value]) -> Option<String> {
        // A null may be looked for in a list: it harms only as a key of a map.
        let harmless = match (expr, values) {
            (Expr::Call(call), [_, of]) if call.func_name == operators::IN => {
                usize::from(!matches!(of, Value::Map(_)))
            }
            _ => 0,
        };
        let mut nulls = parts.iter().zip(values).skip(harmless);
        nulls.find(|(_, value)| **value == Value::Null).and_then(|(part, _)| self.name(part))
    }

    fn unfit(&self, expr: &IdedExpr) -> Failure {
        let error = self.context.resolve(expr).err().map(|error| error.to_string());
        Failure::Unfit(error.unwrap_or_default().chars().take(MESSAGE_CHARS_MAX).collect())
    }

    /// What the value of an expression is called in the event, if it is a part of it.
    pub(super) fn name(&self, expr: &IdedExpr) -> Option<String> {
        match &self.settled(expr).expr {
            Expr::Ident(name) => match &self.local {
                Some(local) if local.variable == name => local.name.clone(),
                _ => Some(name.clone()),
            },
            Expr::Select(select) => {
                let field = || Some(Value::from(select.field.as_str()));
                self.member(&select.operand, field, &format!(".{}", select.field))
            }
            Expr::Call(call) if call.func_name == operators::INDEX => {
                let [of, key] = call.args.as_slice() else { return None };
                let step = match &key.expr {
                    Expr::Literal(LiteralValue::String(name)) => format!(".{}", name.inner()),
                    Expr::Literal(LiteralValue::Int(at)) => format!("[{}]", at.inner()),
                    _ => "[]".to_owned(),
                };
                self.member(of, || self.context.resolve(key).ok(), &step)
            }
            _ => None,
        }
    }

    /// A member of what is a part of the event, or of a list or map that the condition makes.
    fn member(&self, of: &IdedExpr, key: impl Fn() -> Option<Value>, step: &str) -> Option<String> {
        match &self.settled(of).expr {
            Expr::List(list) => match key()? {
                Value::Int(at) => self.name(list.elements.get(usize::try_from(at).ok()?)?),
                _ => None,
            },
            Expr::Map(map) => {
                let key = key()?;
                map.entries.iter().find_map(|entry| match &entry.expr {
                    EntryExpr::MapEntry(entry)
                        if self.context.resolve(&entry.key) == Ok(key.clone()) =>
                    {
                        self.name(&entry.value)
                    }
                    _ => None,
                })
            }
            _ => self.name(of).map(|of| of + step),
        }
    }

    /// The first entry of its list at which a macro failed decides. A later one could have made
    /// up for it, but then the macro would have a value.
    fn entry_failed(&self, expr: &IdedExpr, it: &ComprehensionExpr) -> Failure {
        let entries = match self.context.resolve(&it.iter_range) {
            Ok(Value::List(entries)) => entries,
            Ok(value) => {
                let null = (value == Value::Null).then(|| self.name(&it.iter_range)).flatten();
                return null.map_or_else(|| self.unfit(expr), |field| Failure::Null { field });
            }
            Err(_) => return self.failed(&it.iter_range),
        };
        let mut context = self.context.new_inner_scope();
        let mut so_far = self.context.resolve(&it.accu_init).unwrap_or(Value::Null);
        for (at, entry) in entries.iter().enumerate() {
            context.add_variable_from_value(it.accu_var.as_str(), so_far);
            context.add_variable_from_value(it.iter_var.as_str(), entry.clone());
            if let Ok(value) = context.resolve(&it.loop_step) {
                so_far = value;
                continue;
            }
            let name = match &self.settled(&it.iter_range).expr {
                Expr::List(list) => list.elements.get(at).and_then(|it| self.name(it)),
                _ => self.name(&it.iter_range).map(|list| list + "[]"),
            };
            let local = Some(Local { variable: &it.iter_var, name });
            return Cause { context: &context, local }.failed(&it.loop_step);
        }
        self.unfit(expr)
    }

    /// The branch of `a ? b : c` that was taken.
    fn taken<'e>(&self, expr: &'e IdedExpr) -> Option<&'e IdedExpr> {
        match &expr.expr {
            Expr::Call(call) if call.func_name == operators::CONDITIONAL => {
                let [asked, yes, no] = call.args.as_slice() else { return None };
                match self.context.resolve(asked) {
                    Ok(Value::Bool(holds)) => Some(if holds { yes } else { no }),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// The right side of `a && b` or `a || b`, if it fails. Whatever failed on the left, a right side
    /// with a value could have decided; and the language tells its error, not the left one's.
    fn undecided<'e>(&self, expr: &'e IdedExpr) -> Option<&'e IdedExpr> {
        match &expr.expr {
            Expr::Call(call)
                if [operators::LOGICAL_AND, operators::LOGICAL_OR]
                    .contains(&call.func_name.as_str()) =>
            {
                call.args.get(1).filter(|right| self.context.resolve(right).is_err())
            }
            _ => None,
        }
    }

    fn settled<'e>(&self, expr: &'e IdedExpr) -> &'e IdedExpr {
        self.taken(expr).map_or(expr, |branch| self.settled(branch))
    }
}

/// What is evaluated for an expression, in that order. Of `a ? b : c` whose branch is not known
/// that is `a`.
fn parts(expr: &Expr) -> Vec<&IdedExpr> {
    match expr {
        Expr::Select(select) => vec![&select.operand],
        Expr::Call(call) if call.func_name == operators::CONDITIONAL => {
            call.args.first().into_iter().collect()
        }
        Expr::Call(call) => call.args.iter().chain(call.target.as_deref()).collect(),
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => map
            .entries
            .iter()
            .filter_map(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => Some([&entry.key, &entry.value]),
                EntryExpr::StructField(_) => None,
            })
            .flatten()
            .collect(),
        _ => Vec::new(),
    }
}

/// Whether a map lacks the key it is asked for, or a list is too short.
fn is_gap(expr: &Expr, values: &[Value]) -> bool {
    match (expr, values) {
        (Expr::Select(_), [Value::Map(_)]) => true,
        (Expr::Call(call), [of, key]) if call.func_name == operators::INDEX => match (of, key) {
            (Value::Map(_), key) => {
                matches!(key, Value::String(_) | Value::Int(_) | Value::Bool(_))
            }
            (Value::List(_), Value::Int(at)) => *at >= 0,
            _ => false,
        },
        _ => false,
    }
}
