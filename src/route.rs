//! Which targets want this event.
//!
//! Pure: a [`Routes`] is asked with the facts of an event and answers with target names. It
//! knows nothing of how a target is reached.

use std::{collections::BTreeSet, fmt, sync::Arc};

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
    /// The statuses it takes; empty means every status.
    pub status: BTreeSet<Status>,
    /// The targets its events go to, in the order of relay.toml.
    pub to: Vec<TargetName>,
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

    /// The targets of an event, each once however many routes name it, in the order of the
    /// routes. Empty when no route takes it.
    pub fn targets(&self, source: &SourceName, status: Status) -> Vec<TargetName> {
        let mut targets: Vec<TargetName> = Vec::new();
        for route in self.0.iter().filter(|route| route.takes(source, status)) {
            for target in &route.to {
                if !targets.contains(target) {
                    targets.push(target.clone());
                }
            }
        }
        targets
    }
}

impl Settings {
    fn takes(&self, source: &SourceName, status: Status) -> bool {
        (self.from.is_empty() || self.from.contains(source))
            && (self.status.is_empty() || self.status.contains(&status))
    }
}
