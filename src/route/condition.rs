//! `when`: a CEL expression over the event.
//!
//! Read once, at load, within limits; asked of each event that comes so far. What it may cost is
//! bounded by what `check` refuses: an event is walked at most a fixed number of times.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, LazyLock},
};

use cel::{Context, Env, Program, Value};

use super::{
    cause::Cause,
    check::{self, Fault},
    subject::Subject,
};

/// A condition that was read and found sound. Cloning is cheap.
#[derive(Clone)]
pub struct Condition(Arc<Inner>);

struct Inner {
    text: String,
    program: Program,
    /// The members of `data` that it names.
    members: BTreeSet<String>,
}

/// Why a condition gave neither true nor false.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It gave something else.
    #[error("it gives a value that is neither true nor false")]
    NotBool,
    /// The bytes are no event.
    #[error("the event could not be read")]
    NoEvent,
    /// A field it needs is null, or not there.
    #[error("`{field}` is null or absent")]
    Null {
        /// The field, as it is named in the condition.
        field: String,
    },
    /// Its parts do not fit together, or with the event.
    #[error("{0}")]
    Unfit(String),
}

/// The functions and operators of the language.
static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

// === impl Condition ===

impl Condition {
    /// Reads `text`: the condition and what to warn of, or everything that is wrong with it.
    pub fn parse(text: &str) -> Result<(Self, Vec<Fault>), Vec<Fault>> {
        let checked = check::check(text)?;
        let inner =
            Inner { text: text.to_owned(), program: checked.program, members: checked.members };
        Ok((Self(Arc::new(inner)), checked.warnings))
    }

    /// The text it was read from.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// Whether it holds of this event, or why it says neither.
    pub fn holds(&self, subject: &Subject<'_>) -> Result<bool, Failure> {
        let context = self.context(subject).ok_or(Failure::NoEvent)?;
        let (program, cause) = (&self.0.program, Cause::within(&context));
        match program.execute(&context) {
            Ok(Value::Bool(holds)) => Ok(holds),
            Ok(Value::Null) => match cause.name(program.expression()) {
                Some(field) => Err(Failure::Null { field }),
                None => Err(Failure::NotBool),
            },
            Ok(_) => Err(Failure::NotBool),
            Err(_) => Err(cause.failed(program.expression())),
        }
    }

    /// The same, `None` for any failure: why it fails takes more evaluations.
    pub(super) fn judges(&self, subject: &Subject<'_>) -> Option<bool> {
        match self.0.program.execute(&self.context(subject)?) {
            Ok(Value::Bool(holds)) => Some(holds),
            _ => None,
        }
    }

    fn context(&self, subject: &Subject<'_>) -> Option<Context<'static, 'static>> {
        let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
        for (name, value) in subject.variables(&self.0.members)? {
            context.add_variable_from_value(name, value);
        }
        Some(context)
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Condition").field(&self.0.text).finish()
    }
}
