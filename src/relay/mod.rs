//! Assembles the rooms: bind, run, reload, drain.
//!
//! [`Relay::bind`] takes the store and the addresses, and starts nothing: a relay that
//! cannot start fails here, with one clear error. [`Relay::run`] starts the rooms and ends when
//! it is told to, in this order: no new callbacks, the callbacks in flight are answered,
//! deliveries that are out come back, the store is closed.

mod preflight;
mod reload;

use std::{fmt, future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

pub use preflight::{Obstacle, preflight};
pub use reload::Loader;

use tokio::sync::Notify;

use crate::{
    admin::{self, Admin},
    clock::Clock,
    config::Config,
    delivery::Dispatcher,
    drain::Drain,
    event::{SourceName, number::load_plans},
    ingest::{self, Ingest},
    listen::Security,
    metrics::Metrics,
    relay::reload::{InForce, Reloader, Series},
    route::{Routes, TargetName},
    store::{
        Store,
        sqlite::{Note, OpenError, Sqlite},
        tidy,
    },
};

/// A relay that is ready to run.
#[derive(Debug)]
pub struct Relay {
    listeners: Listeners,
    store: Arc<dyn Store>,
    /// Where the verbs look for this relay; none where the store is the caller's.
    note: Option<Note>,
    config: Config,
    again: Again,
    clock: Clock,
    metrics: Metrics,
}

/// When and from where the configuration is read again.
#[derive(Clone, Default)]
struct Again {
    load: Option<Loader>,
    asked: Arc<Notify>,
}

/// The addresses a relay took.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// Where callbacks come in.
    pub callbacks: SocketAddr,
    /// Where operators ask.
    pub admin: SocketAddr,
}

/// The listeners of a relay that is not running yet.
#[derive(Debug)]
pub struct Listeners {
    ingest: Ingest,
    admin: Admin,
}

/// Why a relay did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address could not be taken.
    #[error("cannot listen on {address} ([{table}] listen): {source}; {}", remedy(source))]
    Listen {
        /// The table of relay.toml that names it.
        table: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The store could not be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// A target could not be made ready.
    #[error(transparent)]
    Delivery(#[from] crate::delivery::StartError),
}

/// How a relay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything that was under way came to its end within the grace time.
    Drained,
    /// The grace time was over first. Nothing acked is lost: what was out is tried again at the
    /// next start.
    GraceOver,
}

/// What to do about an address that cannot be taken.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "stop what listens there, or write another port",
        io::ErrorKind::AddrNotAvailable => "write an address of this machine",
        io::ErrorKind::PermissionDenied => {
            "write a port of 1024 or more, or give the relay CAP_NET_BIND_SERVICE"
        }
        _ => "write another address",
    }
}

// === impl Listeners ===

impl Listeners {
    /// Takes both addresses.
    pub async fn bind(config: &Config) -> Result<Self, StartError> {
        let failed = |table, address| move |source| StartError::Listen { table, address, source };
        let (callbacks, operators) = (config.ingest.listen, config.admin.listen);
        Ok(Self {
            ingest: Ingest::bind(callbacks).await.map_err(failed("server", callbacks))?,
            admin: Admin::bind(operators).await.map_err(failed("admin", operators))?,
        })
    }

    /// The addresses that were taken.
    pub fn addresses(&self) -> Addresses {
        Addresses { callbacks: self.ingest.address(), admin: self.admin.address() }
    }
}

// === impl Relay ===

impl Relay {
    /// Takes the store and the addresses, and opens the store; starts nothing.
    pub async fn bind(config: Config) -> Result<Self, StartError> {
        // Here and not at the first callback, which would wait for it.
        load_plans();
        let (clock, metrics) = (Clock::system(), Metrics::new());
        // First the store: a second relay on it is told who has it, not that a port is in use.
        let held = Sqlite::hold(&config.store)?;
        let listeners = Listeners::bind(&config).await?;
        let note = held.note();
        reload::keep_note(&note, listeners.addresses().admin, &config);
        let store = Sqlite::open_held(held, &config.store, clock.clone(), &metrics)?;
        let sources: Vec<SourceName> =
            config.ingest.sources.iter().map(|source| source.name.clone()).collect();
        let targets: Vec<TargetName> =
            config.delivery.targets.iter().map(|target| target.name.clone()).collect();
        store.declare(&sources, &targets);
        let relay = Self::assemble(config, listeners, store, clock, metrics);
        Ok(Self { note: Some(note), ..relay })
    }

    /// A relay on a store of the caller's.
    pub fn assemble(
        config: Config,
        listeners: Listeners,
        store: Arc<dyn Store>,
        clock: Clock,
        metrics: Metrics,
    ) -> Self {
        Self { listeners, store, note: None, config, again: Again::default(), clock, metrics }
    }

    /// The same relay, which can be told to read its configuration again: by whoever notifies
    /// `asked`, as SIGHUP does, then keeping what would have no target; and by operators.
    #[must_use]
    pub fn reloading(self, load: Loader, asked: Arc<Notify>) -> Self {
        Self { again: Again { load: Some(load), asked }, ..self }
    }

    /// The addresses that were taken.
    pub fn addresses(&self) -> Addresses {
        self.listeners.addresses()
    }

    /// Runs until `shutdown` resolves, then drains.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<Ended, StartError> {
        let Self { listeners, store, note, config, again, clock, metrics } = self;
        describe_build(&metrics, &clock);
        let shutdown_grace = config.shutdown_grace;
        let (callbacks, deliveries, operators) = (Drain::new(), Drain::new(), Drain::new());
        // The targets first: they can fail to start, and then nothing has begun.
        let delivery = Dispatcher::start(&config.delivery, &store, &deliveries, &clock, &metrics)?;
        tell_of_orphans(&*store, &config);
        tidy::keep(&store, &metrics, &deliveries);
        let shared = (Arc::clone(&store), clock.clone());
        let routes = Routes::new(config.routes.clone());
        let settings = config.ingest.clone();
        let bound = listeners.addresses();
        let ingest = listeners.ingest.run(settings, routes, shared, &metrics, &callbacks);
        let judged = ingest.clone();
        let security = Security::new(config.admin.tls.as_ref());
        let token = admin::Token::new(config.admin.token.clone());
        let loopback = bound.admin.ip().is_loopback();
        let in_force = InForce::new(config);
        let reloader = Arc::new(Reloader {
            load: again.load,
            started: in_force.now(),
            in_force: in_force.clone(),
            rooms: reload::Rooms {
                store: Arc::clone(&store),
                ingest,
                delivery: delivery.clone(),
                token: token.clone(),
                security: security.clone(),
                bound,
                note,
                drain: deliveries.clone(),
            },
            series: Series::new(&metrics, &clock),
            turn: tokio::sync::Mutex::default(),
        });
        operators.spawn("reload", reload_when(again.asked, &reloader, &operators));
        let controls = admin::Controls {
            delivery: Some(delivery),
            reload: reloader.can_reload().then(|| reloading(reloader)),
            reread: Some(rereading(in_force.clone())),
            route_failed: Some(Arc::new(move |route| judged.route_failed(route))),
            configuration: Some(Arc::new(move || in_force.now().config.redacted.as_json().clone())),
        };
        let (store, ingest) = (store, callbacks.clone());
        let desk = admin::Desk {
            clock,
            metrics,
            store: Arc::clone(&store),
            ingest,
            token,
            loopback,
            controls,
        };
        listeners.admin.run(desk, security, &operators);

        shutdown.await;
        tracing::info!(grace_ms = shutdown_grace.as_millis(), "stopping");
        let deadline = tokio::time::Instant::now() + shutdown_grace;
        let left = || deadline.saturating_duration_since(tokio::time::Instant::now());
        // Attempts that are out may end while the last callbacks are answered.
        deliveries.stop();
        let answered = callbacks.finish(left()).await;
        let came_back = deliveries.finish(left()).await;
        // The store is closed whatever the grace time says: it holds what was acked.
        if let Err(error) = store.close().await {
            tracing::error!(%error, "the store was not closed cleanly");
        }
        operators.finish(CLOSING_TIME).await;
        Ok(if answered && came_back { Ended::Drained } else { Ended::GraceOver })
    }
}

/// Says what targets that are not in relay.toml are owed, and waits for them.
fn tell_of_orphans(store: &dyn Store, config: &Config) {
    let targets = config.delivery.targets.iter().map(|target| target.name.clone());
    let renamed = config.renames.iter().map(|rename| rename.old.clone());
    for (target, pending) in store.orphans(&targets.chain(renamed).collect::<Vec<_>>()) {
        tracing::warn!(
            %target, pending,
            "{pending} deliveries wait for {target}, which is not in relay.toml; they are kept \
             until it is, or another target says renamed_from = \"{target}\""
        );
    }
}

/// Reads the configuration again each time it is asked, until `drain` stops.
fn reload_when(
    asked: Arc<Notify>,
    reloader: &Arc<Reloader>,
    drain: &Drain,
) -> impl Future<Output = ()> + use<> {
    let (reloader, drain) = (Arc::clone(reloader), drain.clone());
    async move {
        loop {
            tokio::select! {
                () = drain.stopping() => return,
                () = asked.notified() => {
                    // What it led to is logged; nobody waits for an answer.
                    drop(reloader.reload(admin::Orphans::Keep).await);
                }
            }
        }
    }
}

/// A reload as operators ask for it. It goes on to its end when they no longer wait.
fn reloading(reloader: Arc<Reloader>) -> admin::Reload {
    Arc::new(move |orphans| {
        let reloader = Arc::clone(&reloader);
        Box::pin(async move {
            let (tell, told) = tokio::sync::oneshot::channel();
            let drain = reloader.rooms.drain.clone();
            drain.spawn("reload", async move {
                drop(tell.send(reloader.reload(orphans).await));
            });
            let cut = || admin::ReloadRefused::Failed("the reload was cut short".to_owned());
            told.await.unwrap_or_else(|_| Err(cut()))
        })
    })
}

/// Reading stored callbacks again, in the words of the admin side.
fn rereading(in_force: InForce) -> admin::Reread {
    Arc::new(move |event, trust| {
        let trust = match trust {
            admin::Trust::Verified => ingest::Trust::Verified,
            admin::Trust::ByDecision => ingest::Trust::ByDecision,
        };
        in_force.now().rereader.read(event, trust).map_err(|why| match why {
            ingest::StillUnread::NoSource => admin::StillUnread::NoSource,
            ingest::StillUnread::Unverified => admin::StillUnread::Unverified,
            ingest::StillUnread::Unreadable(reason) => admin::StillUnread::Unreadable(reason),
            ingest::StillUnread::Handshake => admin::StillUnread::Handshake,
        })
    })
}

impl fmt::Debug for Again {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.load.is_some() { "Again(…)" } else { "Again" })
    }
}

/// `build_info` and `start_time_seconds`.
fn describe_build(metrics: &Metrics, clock: &Clock) {
    metrics
        .gauges("build_info", "1; the labels say what is running.", &["version"])
        .with_label_values(&[env!("CARGO_PKG_VERSION")])
        .set(1);
    metrics
        .gauge("start_time_seconds", "When the relay started, as unix time.")
        .set(clock.now().as_second());
}

/// How long a scrape that is under way may take at the very end.
const CLOSING_TIME: Duration = Duration::from_millis(500);
