//! Which targets want this event.
//!
//! Pure: a [`Routes`] is asked with the facts of an event and answers with target names. It
//! knows nothing of how a target is reached. `condition` is what a route may ask of an event
//! beyond its source, provider and status, `check` what is known of it before any event, and `cause`
//! what was null when it failed.

mod cause;
mod check;
mod condition;
mod schema;
mod subject;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, fmt, sync::Arc};

pub use check::{Fault, Remedy, Weight};
pub use condition::{Condition, Failure};
pub use schema::full_event;
pub use subject::Subject;

use crate::event::{SourceName, Status};

/// The name of a target in relay.toml: `[a-z0-9][a-z0-9-]{0,62}`. Cloning is cheap.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetName(Arc<str>);

/// One `[[routes]]` entry.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// What logs and metrics call it.
    pub name: String,
    /// The sources it takes events from; empty means every source.
    pub from: BTreeSet<SourceName>,
    /// The providers it takes events of; empty means every provider.
    pub provider: BTreeSet<String>,
    /// The statuses it takes; empty means every status.
    pub status: BTreeSet<Status>,
    /// What else must hold of an event.
    pub when: Option<Condition>,
    /// The targets its events go to, in the order of relay.toml.
    pub to: Vec<TargetName>,
}

/// What the routes ask of an event first, because it costs nothing.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The source it came in by.
    pub source: &'a SourceName,
    /// `data.provider`.
    pub provider: &'a str,
    /// `data.call.status`.
    pub status: Status,
}

/// Where an event goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    /// The targets, each once however many routes name it, in the order of the routes. Empty when
    /// no route takes the event.
    pub targets: Vec<TargetName>,
    /// The routes whose condition failed on it. They did not take it.
    pub failed: Vec<String>,
}

/// All routes of a configuration.
#[derive(Clone, Debug, Default)]
pub struct Routes(Vec<Settings>);

// === impl TargetName ===

impl TargetName {
    /// Wraps a name that `config` has checked.
    pub fn new(name: &str) -> Self {
        Self(Arc::from(name))
    }

    /// The name as written in relay.toml.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TargetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl Routes ===

impl Routes {
    /// Takes the routes in the order of relay.toml.
    pub fn new(routes: Vec<Settings>) -> Self {
        Self(routes)
    }

    /// Every name, in the order of relay.toml.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|route| route.name.as_str())
    }

    /// The targets of an event. Its JSON is looked at only when a route with a condition takes
    /// its facts.
    pub fn choose(&self, facts: Facts<'_>, json: &[u8]) -> Chosen {
        let subject = Subject::new(json);
        let mut chosen = Chosen::default();
        for route in self.0.iter().filter(|route| route.takes(facts)) {
            match route.when.as_ref().map_or(Some(true), |when| when.judges(&subject)) {
                Some(true) => {}
                Some(false) => continue,
                None => {
                    chosen.failed.push(route.name.clone());
                    continue;
                }
            }
            for target in &route.to {
                if !chosen.targets.contains(target) {
                    chosen.targets.push(target.clone());
                }
            }
        }
        chosen
    }
}

impl Settings {
    fn takes(&self, facts: Facts<'_>) -> bool {
        (self.from.is_empty() || self.from.contains(facts.source))
            && (self.provider.is_empty() || self.provider.contains(facts.provider))
            && (self.status.is_empty() || self.status.contains(&facts.status))
    }
}
