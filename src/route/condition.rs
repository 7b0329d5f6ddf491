//! `when`: a CEL expression over the event.
//!
//! Read once, at load, within limits; asked of each event that comes so far. What it may cost is
//! bounded by what `check` refuses: an event is walked at most a fixed number of times.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, LazyLock},
};

use cel::{Context, Env, ExecutionError, Program, Value};

use super::{
    check::{self, Chain, Fault, Step},
    subject::Subject,
};

/// A condition that was read and found sound. Cloning is cheap.
#[derive(Clone)]
pub struct Condition(Arc<Inner>);

struct Inner {
    text: String,
    program: Program,
    /// Every way into the event that it names.
    chains: Vec<Chain>,
    /// The members of `data` among them.
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

/// What an error says of values, at most: they are the callers' and may be long.
const MESSAGE_CHARS_MAX: usize = 200;

// === impl Condition ===

impl Condition {
    /// Reads `text`: the condition and what to warn of, or everything that is wrong with it.
    pub fn parse(text: &str) -> Result<(Self, Vec<Fault>), Vec<Fault>> {
        let checked = check::check(text)?;
        let member = |chain: &Chain| match chain.0.as_slice() {
            [Step::Field(root), Step::Field(member), ..] if root == "data" => Some(member.clone()),
            _ => None,
        };
        let members = checked.chains.iter().filter_map(member).collect();
        let inner = Inner {
            text: text.to_owned(),
            program: checked.program,
            chains: checked.chains,
            members,
        };
        Ok((Self(Arc::new(inner)), checked.warnings))
    }

    /// The text it was read from.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// Whether it holds of this event.
    pub fn holds(&self, subject: &Subject<'_>) -> Result<bool, Failure> {
        let variables = subject.variables(&self.0.members).ok_or(Failure::NoEvent)?;
        let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
        for (name, value) in &variables {
            context.add_variable_from_value(name.clone(), value.clone());
        }
        match self.0.program.execute(&context) {
            Ok(Value::Bool(holds)) => Ok(holds),
            Ok(_) => Err(Failure::NotBool),
            Err(error) => Err(self.failure(&variables, &error)),
        }
    }

    /// An evaluation says what failed, not where: a null among what the condition names is the
    /// reason wherever there is one.
    fn failure(&self, variables: &[(String, Value)], error: &ExecutionError) -> Failure {
        match self.0.chains.iter().find_map(|chain| chain.null_in(variables)) {
            Some(field) => Failure::Null { field },
            None => Failure::Unfit(error.to_string().chars().take(MESSAGE_CHARS_MAX).collect()),
        }
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Condition").field(&self.0.text).finish()
    }
}

// === impl Chain ===

impl Chain {
    /// The first null or gap on the way, by its name.
    fn null_in(&self, variables: &[(String, Value)]) -> Option<String> {
        let (Step::Field(root), steps) = self.0.split_first()? else { return None };
        let (_, value) = variables.iter().find(|(name, _)| name == root)?;
        null_beyond(value, root.clone(), steps)
    }
}

fn null_beyond(value: &Value, name: String, steps: &[Step]) -> Option<String> {
    if matches!(value, Value::Null) {
        return Some(name);
    }
    let (step, rest) = steps.split_first()?;
    match (step, value) {
        (Step::Field(field), Value::Map(map)) => {
            let key = cel::objects::Key::from(field.as_str());
            let name = format!("{name}.{field}");
            match map.map.get(&key) {
                Some(value) => null_beyond(value, name, rest),
                None => Some(name),
            }
        }
        (Step::Index(index), Value::List(entries)) => {
            let name = format!("{name}[{index}]");
            match entries.get(*index) {
                Some(value) => null_beyond(value, name, rest),
                None => Some(name),
            }
        }
        (Step::Each, Value::List(entries)) => {
            let name = format!("{name}[]");
            entries.iter().find_map(|entry| null_beyond(entry, name.clone(), rest))
        }
        _ => None,
    }
}
