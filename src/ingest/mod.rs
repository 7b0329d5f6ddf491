//! Accepts a provider's callback, and answers only after the commit.
//!
//! The road is one numbered list in `stack`: read it first. Every answer gets its status code
//! in `answer`: a success from a [`crate::store::Receipt`] or a provider's handshake, and from
//! nothing else.

mod accept;
mod admit;
mod answer;
mod body;
mod latest;
mod metrics;
mod observe;
mod read;
mod source;
mod stack;
mod unpack;
mod visit;

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use ipnet::IpNet;
use tokio::net::TcpListener;

pub use read::{Rereader, StillUnread, Trust};
pub use source::{OnUnreadable, Settings as SourceSettings};

use crate::{
    clock::Clock,
    drain::Drain,
    ingest::{accept::Context, admit::Room, latest::Latest},
    listen::{Door, Patience, Security, Tls},
    metrics::Metrics,
    route::Routes,
    store::Store,
};

/// `[server]` and `[sources.*]`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where callbacks come in; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Its certificate; without one it speaks plain HTTP.
    pub tls: Option<Tls>,
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

/// Ingest that runs, changed from outside. Cloning shares it.
#[derive(Clone)]
pub struct Handle {
    change: Arc<dyn Fn(Settings, Routes) + Send + Sync>,
    metrics: metrics::IngestMetrics,
}

/// What stays when the settings change.
struct House {
    store: Arc<dyn Store>,
    clock: Clock,
    drain: Drain,
    metrics: metrics::IngestMetrics,
    room: Arc<Room>,
    max_in_flight: usize,
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
    ) -> Handle {
        let max_connections = settings.max_connections;
        let security = Security::new(settings.tls.as_ref());
        let house = House {
            store,
            clock,
            drain: drain.clone(),
            metrics: metrics::IngestMetrics::new(metrics),
            room: Arc::new(Room::new(settings.max_in_flight)),
            max_in_flight: settings.max_in_flight,
        };
        let open = house.metrics.connections.clone();
        let latest = Latest::new(house.context(settings, routes));
        let door = Door {
            listener: self.listener,
            security: security.clone(),
            max_connections,
            patience: Patience::default(),
            open: Some(open),
        };
        let (entrances, road) = (latest.clone(), stack::road());
        let entrance = move |peer| entrances.entrance(road.clone(), peer);
        drain.spawn("callbacks", door.accept(entrance, drain.clone()));
        let metrics = house.metrics.clone();
        let change = Arc::new(move |settings: Settings, routes| {
            security.change(settings.tls.as_ref());
            latest.change(house.context(settings, routes));
        });
        Handle { change, metrics }
    }
}

// === impl Handle ===

impl Handle {
    /// Has every request from now on go by these sources and routes, on connections that are open
    /// already too, and every new connection by this certificate. A request that is under way ends
    /// on the road it began on. The address and the limits of the relay as a whole stay as they
    /// were at the start.
    pub fn change(&self, settings: Settings, routes: Routes) {
        (self.change)(settings, routes);
    }

    /// Counts an event that went down its routes later than it came in, and that this route could
    /// not judge then for the first time.
    pub fn route_failed(&self, route: &str) {
        self.metrics.route_failed(route);
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handle(…)")
    }
}

// === impl House ===

impl House {
    /// What requests go by with these settings.
    fn context(&self, settings: Settings, routes: Routes) -> Context {
        self.metrics.declare_routes(routes.names());
        let half = self.max_in_flight / 2;
        let sources = settings.sources.into_iter().map(|source| {
            let metrics = self.metrics.of(&source.name, source.ack.as_u16());
            source::Source::new(source, metrics, half)
        });
        Context {
            sources: sources.collect(),
            store: Arc::clone(&self.store),
            routes,
            clock: self.clock.clone(),
            drain: self.drain.clone(),
            metrics: self.metrics.clone(),
            room: Arc::clone(&self.room),
            trusted_proxies: settings.trusted_proxies,
            commit_wait: settings.commit_wait,
        }
    }
}
