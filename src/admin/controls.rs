//! What `relay` hands over for the operations that reach beyond the store.
//!
//! Each is data or a function: this room knows neither relay.toml nor how a callback is read. What
//! is not handed over answers 409, and nothing else does.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, PoisonError, RwLock},
};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    delivery::Handle,
    route::TargetName,
    secret::Secrets,
    store::{Admission, StoredEvent},
};

/// The operations that need more than the store. Cloning shares them.
#[derive(Clone, Default)]
pub struct Controls {
    /// Targets: how they are doing, and holding them back.
    pub delivery: Option<Handle>,
    /// Reads relay.toml again.
    pub reload: Option<Reload>,
    /// Reads a stored callback again, with the sources and routes of now.
    pub reread: Option<Reread>,
    /// Counts an event that the route of this name could not judge when it was read again, and that
    /// was not marked with it.
    pub route_failed: Option<RouteFailed>,
    /// relay.toml as it is in force, without secrets.
    pub configuration: Option<Configuration>,
}

/// Parses, validates, builds and swaps, or leaves everything as it was and says why.
pub type Reload = Arc<dyn Fn(Orphans) -> Reloading + Send + Sync>;

/// A reload under way.
pub type Reloading = Pin<Box<dyn Future<Output = Result<ReloadReport, ReloadRefused>> + Send>>;

/// What a stored callback becomes when it is read again: the admission keeps the id, the source
/// and the time of acceptance. Pure and quick: a body at a time.
pub type Reread = Arc<dyn Fn(&StoredEvent, Trust) -> Result<Admission, StillUnread> + Send + Sync>;

/// Counts one event for a route.
pub type RouteFailed = Arc<dyn Fn(&str) + Send + Sync>;

/// The configuration in force as one JSON object, every secret masked.
pub type Configuration = Arc<dyn Fn() -> serde_json::Value + Send + Sync>;

/// The bearer token of this room's listener, which a reload may change. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Token(Arc<RwLock<Option<Arc<Secrets>>>>);

/// What becomes of the deliveries of a target that the new relay.toml does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Orphans {
    /// The reload is refused when there are any.
    #[default]
    Refuse,
    /// They are kept, and taken up when the name returns.
    Keep,
    /// They become dead letters.
    Dead,
}

/// What a reload changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReloadReport {
    /// Tables that are new, such as `targets.crm`.
    pub added: Vec<String>,
    /// Tables that are not as they were.
    pub changed: Vec<String>,
    /// Tables that are gone.
    pub removed: Vec<String>,
    /// Keys that are not as they were when the relay started and take effect at the next start, such
    /// as `server.listen`.
    pub needs_restart: Vec<String>,
    /// Deliveries whose target is gone.
    pub orphaned: Vec<Orphaned>,
    /// What is valid and may hurt later.
    pub warnings: Vec<ReloadProblem>,
}

/// The queued deliveries of one target that is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Orphaned {
    /// The target.
    pub target: String,
    /// Its deliveries.
    pub pending: u64,
}

/// One problem of relay.toml.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReloadProblem {
    /// `relay.toml:3:1`.
    pub place: String,
    /// What is wrong; never holds a secret.
    pub message: String,
    /// What to do about it.
    pub remedy: Option<String>,
    /// The whole as `check` prints it, with the line and the marked part.
    pub rendered: String,
}

/// Why a reload left everything as it was, or did not do all it was told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReloadRefused {
    /// relay.toml has problems.
    #[error("relay.toml has problems")]
    Invalid(Vec<ReloadProblem>),
    /// Queued deliveries would have no target.
    #[error("queued deliveries would have no target")]
    Orphans(Vec<Orphaned>),
    /// A part of it could not be made ready, such as a certificate or a file target.
    #[error("{0}")]
    Failed(String),
    /// relay.toml is in force, but not all that has no target any more could be buried.
    #[error(
        "not all that has no target any more was buried ({0}); it is kept, and the same reload \
         goes on with it"
    )]
    Unfinished(String),
}

/// Whether a person decided to believe a callback that could not be verified when it came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// Only what was verified.
    #[default]
    Verified,
    /// This one, whether it was or not.
    ByDecision,
}

/// Why a stored callback could not be read again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StillUnread {
    /// Its source is not in relay.toml any more.
    #[error("its source is not configured")]
    NoSource,
    /// It could not be verified when it came (reason `unverified`), and nobody decided to believe
    /// it.
    #[error("it was never verified, and is released only by a person's decision")]
    Unverified,
    /// It still cannot be read: a word of the closed list of `providers.md` C.0.
    #[error("it still cannot be read: {0}")]
    Unreadable(&'static str),
    /// It is a challenge or a probe, and makes no event.
    #[error("it is a handshake, and makes no event")]
    Handshake,
}

// === impl Controls ===

impl fmt::Debug for Controls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Controls")
            .field("delivery", &self.delivery.is_some())
            .field("reload", &self.reload.is_some())
            .field("reread", &self.reread.is_some())
            .field("route_failed", &self.route_failed.is_some())
            .field("configuration", &self.configuration.is_some())
            .finish()
    }
}

// === impl Token ===

impl Token {
    /// This token; without one, everybody who reaches the listener is admitted.
    pub fn new(token: Option<Secrets>) -> Self {
        Self(Arc::new(RwLock::new(token.map(Arc::new))))
    }

    /// Asks for another one from now on.
    pub fn change(&self, token: Option<Secrets>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = token.map(Arc::new);
    }

    pub(super) fn get(&self) -> Option<Arc<Secrets>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

// === impl Orphaned ===

impl Orphaned {
    /// `pending` deliveries of `target`.
    pub fn new(target: &TargetName, pending: u64) -> Self {
        Self { target: target.as_str().to_owned(), pending }
    }
}
