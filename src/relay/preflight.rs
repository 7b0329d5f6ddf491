//! What of a configuration only trying can tell: whether the store opens and the targets answer.

use crate::{
    clock::Clock,
    config::{Config, Severity},
    delivery,
    store::sqlite::{OpenError, Sqlite, files_of},
};

/// Something that would be in the way of a relay with this configuration.
#[derive(Clone, Debug)]
pub struct Obstacle {
    /// Whether it keeps the relay from starting.
    pub severity: Severity,
    /// The table of relay.toml it belongs to.
    pub table: String,
    /// What was met.
    pub message: String,
    /// What to do about it.
    pub remedy: &'static str,
}

/// Opens the store to read, if there is one, else sees whether it can be made, and connects to each
/// target, sending nothing.
pub async fn preflight(config: &Config) -> Vec<Obstacle> {
    let mut obstacles = Vec::new();
    let mut in_the_way = |message| {
        obstacles.push(Obstacle {
            severity: Severity::Error,
            table: "store".to_owned(),
            message,
            remedy: "the relay does not start like this",
        });
    };
    match Sqlite::open_to_read(&config.store, Clock::system()) {
        // The relay makes it, or brings it to this version, when it starts.
        Ok(_) | Err(OpenError::Missing { .. } | OpenError::Older { .. }) => {
            let [file, log, ..] = files_of(&config.store.path);
            for path in [file, log] {
                if let Err(error) = delivery::appendable(&path) {
                    in_the_way(format!(
                        "{} cannot be written by this user: {error}",
                        path.display()
                    ));
                    break;
                }
            }
        }
        Err(error) => in_the_way(error.to_string()),
    }
    for (name, why) in delivery::unreachable(&config.delivery).await {
        obstacles.push(Obstacle {
            severity: Severity::Warning,
            table: format!("targets.{name}"),
            message: format!("target {name} cannot be reached from here: {why}"),
            remedy: "its events would wait and be tried again; --offline leaves this out",
        });
    }
    obstacles
}
