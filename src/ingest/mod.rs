//! Accepts a provider's callback, and answers only after the commit.

mod source;

use std::{net::SocketAddr, time::Duration};

use ipnet::IpNet;

pub use source::{OnUnreadable, Settings as SourceSettings};

/// `[server]` and `[sources.*]`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where callbacks come in; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The longest wait for a commit before the sender is told 503.
    pub commit_wait: Duration,
    /// Callbacks being read or stored at one time; one source may hold half of them.
    pub max_in_flight: usize,
    /// Connections open at one time; more wait in the listener's backlog.
    pub max_connections: usize,
    /// Peers whose forwarding headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Every source.
    pub sources: Vec<SourceSettings>,
}
