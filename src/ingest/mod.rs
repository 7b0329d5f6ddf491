//! Accepts a provider's callback, and answers only after the commit.
//!
//! The road is one numbered list in `stack`: read it first. Every answer gets its status code
//! in `answer`: a success from a [`crate::store::Receipt`] or a provider's handshake, and from
//! nothing else.

mod accept;
mod admit;
mod answer;
mod body;
mod metrics;
mod observe;
mod read;
mod server;
mod source;
mod stack;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use ipnet::IpNet;
use tokio::{net::TcpListener, sync::Semaphore};

pub use read::{Rereader, StillUnread, Trust};
pub use source::{OnUnreadable, Settings as SourceSettings};

use crate::{
    clock::Clock, drain::Drain, ingest::accept::Context, metrics::Metrics, route::Routes,
    store::Store,
};

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

/// A bound listener that does not accept yet.
#[derive(Debug)]
pub struct Ingest {
    listener: TcpListener,
    address: SocketAddr,
}

// === impl Ingest ===

impl Ingest {
    /// Takes the address. Nothing is accepted until [`Ingest::run`].
    pub async fn bind(listen: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// The address that was taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts callbacks until `drain` says stop.
    pub fn run(
        self,
        settings: Settings,
        routes: Routes,
        (store, clock): (Arc<dyn Store>, Clock),
        metrics: &Metrics,
        drain: &Drain,
    ) {
        let metrics = metrics::IngestMetrics::new(metrics);
        let half = settings.max_in_flight / 2;
        let sources: Vec<_> = settings
            .sources
            .into_iter()
            .map(|source| {
                let metrics = metrics.of(&source.name, source.ack.as_u16());
                Arc::new(source::Source::new(source, metrics, half))
            })
            .collect();
        let open = metrics.connections.clone();
        let context = Arc::new(Context {
            store,
            routes,
            clock,
            drain: drain.clone(),
            metrics,
            permits: Arc::new(Semaphore::new(settings.max_in_flight)),
            trusted_proxies: settings.trusted_proxies,
            commit_wait: settings.commit_wait,
        });
        let road = stack::road(&context, &sources);
        let accepting =
            server::accept_loop(self.listener, road, settings.max_connections, open, drain.clone());
        drain.spawn("callbacks", accepting);
    }
}
