//! Gets each event to each target, or buries it where an operator finds it.
//!
//! A target is a lane of its own: its queue view, its gate, its connections. Nothing waits for
//! another target. The road of one delivery: `lane` takes it from the store when it is due, asks
//! the `breaker` whether the target is tried at all, the `buffer` who is next, and the `gate`;
//! `errand` has it `attempt`ed, asks `verdict` (which asks `retry`) what that means, and settles
//! it. Each lane can be begun and ended on its own: [`Handle::reload`] does.
//!
//! Knows nothing of providers, of callbacks or of relay.toml; meets ingest in the store only.

pub mod address;
mod attempt;
pub mod breaker;
mod buffer;
mod client;
mod dial;
mod dispatcher;
mod errand;
mod file;
pub mod format;
mod gate;
mod health;
mod heir;
mod lane;
mod metrics;
mod preflight;
pub mod rate_limit;
pub mod retry;
pub mod target;
pub mod template;
pub mod verdict;
mod weight;

#[cfg(test)]
mod tests;

pub use attempt::EndpointError;
pub use client::{ClientError, PemError, UrlError, tls};
pub use dispatcher::{
    Dispatcher, Handle, LastError, PauseError, StartError, TargetState, TargetStatus,
};

pub use preflight::{appendable, unreachable};

/// `[targets.*]`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Every target.
    pub targets: Vec<target::Settings>,
}
