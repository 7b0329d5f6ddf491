//! A relay inside the test, on free ports, with a store in a temporary folder.

use std::{
    fmt::Write as _,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use hookswitch::{
    clock::Clock,
    config::{Config, Environment},
    metrics::Metrics,
    relay::{Addresses, Ended, Listeners, Relay as Whole},
    store::{Store, sqlite::Sqlite},
};
use tempfile::TempDir;
use tokio::{
    sync::oneshot,
    task::{JoinHandle, JoinSet},
};

use crate::harness::{API_KEY, Page, Target, client, within};

/// What a relay is made from.
#[derive(Debug)]
pub(crate) struct Setup {
    folder: Arc<TempDir>,
    server: String,
    admin: String,
    store: String,
    source: String,
    tables: String,
    routes: String,
}

/// A running relay. Dropping it ends its tasks like a crash would: without draining.
#[derive(Debug)]
pub(crate) struct Relay {
    addresses: Addresses,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<Ended>,
    /// Kept until the relay is gone.
    _folder: Arc<TempDir>,
    /// What a reload reads.
    text: Arc<Mutex<String>>,
}

// === impl Setup ===

impl Setup {
    /// One 11x source `calls` with an API key, and nothing it is routed to.
    pub(crate) fn new() -> Self {
        Self {
            folder: Arc::new(tempfile::tempdir().unwrap()),
            server: String::new(),
            admin: String::new(),
            store: "min_free = \"1 MiB\"".to_owned(),
            source: format!(
                "provider = \"11x\"\nauth = {{ kind = \"header\", secret = \"{API_KEY}\" }}\n"
            ),
            tables: String::new(),
            routes: String::new(),
        }
    }

    /// Another relay.toml on the same store.
    pub(crate) fn beside(&self) -> Self {
        Self { folder: Arc::clone(&self.folder), ..Self::new() }
    }

    /// A key of `[server]`.
    pub(crate) fn server(mut self, line: &str) -> Self {
        writeln!(self.server, "{line}").unwrap();
        self
    }

    /// A key of `[admin]`.
    pub(crate) fn admin(mut self, line: &str) -> Self {
        writeln!(self.admin, "{line}").unwrap();
        self
    }

    /// Replaces the keys of `[store]` but its path.
    pub(crate) fn store(mut self, lines: &str) -> Self {
        lines.clone_into(&mut self.store);
        self
    }

    /// Replaces the source's lines.
    pub(crate) fn source(mut self, lines: &str) -> Self {
        self.source = format!("{lines}\n");
        self
    }

    /// Adds a line to the source.
    pub(crate) fn also(mut self, line: &str) -> Self {
        writeln!(self.source, "{line}").unwrap();
        self
    }

    /// Any further table.
    pub(crate) fn table(mut self, lines: &str) -> Self {
        writeln!(self.tables, "{lines}").unwrap();
        self
    }

    /// A target that every event is routed to, with further keys of its own.
    pub(crate) fn target(self, name: &str, target: &Target, keys: &str) -> Self {
        let url = target.url();
        self.table(&format!("[targets.{name}]\nurl = \"{url}\"\n{keys}")).route("everything", name)
    }

    pub(crate) fn route(mut self, name: &str, to: &str) -> Self {
        write!(self.routes, "[[routes]]\nname = \"{name} to {to}\"\nto = [\"{to}\"]\n").unwrap();
        self
    }

    /// The folder that the store and the file targets are in.
    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    pub(crate) fn store_path(&self) -> PathBuf {
        self.folder.path().join("hookswitch.db")
    }

    /// relay.toml.
    pub(crate) fn text(&self) -> String {
        format!(
            "[server]\nlisten = \"127.0.0.1:0\"\n{}\n[admin]\nlisten = \"127.0.0.1:0\"\n{}\n\
             [store]\npath = {:?}\n{}\n\
             [sources.calls]\n{}\n{}\n{}",
            self.server,
            self.admin,
            self.store_path(),
            self.store,
            self.source,
            self.tables,
            self.routes
        )
    }

    pub(crate) async fn start(&self) -> Relay {
        self.start_text(&self.text()).await
    }

    /// A relay on this folder with a relay.toml that the test has changed.
    pub(crate) async fn start_text(&self, text: &str) -> Relay {
        let relay = Whole::bind(parsed(text)).await.unwrap();
        self.run(relay, text)
    }

    /// A relay whose store is wrapped by the test.
    pub(crate) async fn start_on(
        &self,
        wrap: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store>,
    ) -> Relay {
        let (config, clock, metrics) = (parsed(&self.text()), Clock::system(), Metrics::new());
        let listeners = Listeners::bind(&config).await.unwrap();
        let store = Sqlite::open(&config.store, clock.clone(), &metrics).unwrap();
        let relay = Whole::assemble(config, listeners, wrap(store), clock, metrics);
        self.run(relay, &self.text())
    }

    fn run(&self, relay: Whole, text: &str) -> Relay {
        let addresses = relay.addresses();
        let text = Arc::new(Mutex::new(text.to_owned()));
        let read = Arc::clone(&text);
        let load = move || {
            let environment = Environment::given::<String, String>([]);
            Config::parse("relay.toml", &read.lock().unwrap(), &environment)
        };
        let relay = relay.reloading(Arc::new(load), Arc::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let running = relay.run(async move {
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
        });
        let running = tokio::spawn(async move { running.await.unwrap() });
        Relay { addresses, stop: Some(stop), running, _folder: Arc::clone(&self.folder), text }
    }
}

fn parsed(text: &str) -> Config {
    let environment = Environment::given::<String, String>([]);
    match Config::parse("relay.toml", text, &environment) {
        Ok((config, _)) => config,
        Err(problems) => panic!("{problems}\n{text}"),
    }
}

// === impl Relay ===

impl Relay {
    pub(crate) fn callbacks(&self) -> SocketAddr {
        self.addresses.callbacks
    }

    /// The URL of the source `calls`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/hooks/calls", self.addresses.callbacks)
    }

    pub(crate) fn admin_address(&self) -> SocketAddr {
        self.addresses.admin
    }

    pub(crate) fn admin(&self, path: &str) -> String {
        format!("http://{}{path}", self.addresses.admin)
    }

    /// Writes another relay.toml and has the relay read it; what it was told to do with orphans, and
    /// what it answered.
    pub(crate) async fn reload(&self, text: &str, orphans: &str) -> (u16, serde_json::Value) {
        text.clone_into(&mut self.text.lock().unwrap());
        let answer = client()
            .post(self.admin("/api/v1/reload"))
            .header("content-type", "application/json")
            .body(serde_json::json!({ "orphans": orphans }).to_string())
            .send()
            .await
            .unwrap();
        (answer.status().as_u16(), serde_json::from_str(&answer.text().await.unwrap()).unwrap())
    }

    /// One scrape.
    pub(crate) async fn metrics(&self) -> Page {
        let page = client().get(self.admin("/metrics")).send().await.unwrap();
        assert_eq!(page.status(), 200);
        Page::parse(&page.text().await.unwrap())
    }

    /// Sends many callbacks at once and returns what each was told.
    pub(crate) async fn told<F>(&self, sends: impl IntoIterator<Item = F>) -> Vec<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let mut sending: JoinSet<F::Output> = sends.into_iter().collect();
        let mut told = Vec::new();
        while let Some(answer) = sending.join_next().await {
            told.push(answer.unwrap());
        }
        told
    }

    /// As SIGTERM does.
    pub(crate) async fn stop(mut self) -> Ended {
        self.stop.take().unwrap().send(()).unwrap();
        within("the relay's end", &mut self.running).await.unwrap()
    }

    /// Begins to stop, and tells how it ended later.
    pub(crate) fn begin_stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    pub(crate) async fn ended(mut self) -> Ended {
        within("the relay's end", &mut self.running).await.unwrap()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.running.abort();
    }
}
