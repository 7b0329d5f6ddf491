//! Whom a verb asks: the running relay by its admin API, else the store, opened for reading only.
//!
//! The relay is looked for where the lock beside its store says it is, then where relay.toml says.
//!
//! Both answer the same questions with the same JSON: without a relay the API answers from the
//! store in this process. What would change something then says that no relay runs.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use axum::{Router, body::Body};
use bytes::Bytes;
use hookswitch::{
    admin,
    clock::Clock,
    config::{Environment, Whereabouts},
    drain::Drain,
    listen::Tls,
    metrics::Metrics,
    secret::Secrets,
    store::sqlite::{OpenError, Sqlite},
};
use http::{Method, Request, StatusCode, header::CONTENT_TYPE};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};
use tower::ServiceExt as _;

use crate::cli::{ConfigPath, exit::Exit, trust};

/// Which relay, and in which form what it says is shown.
#[derive(Debug, clap::Args)]
pub(super) struct Connection {
    #[command(flatten)]
    address: Address,
    /// Print JSON instead of text, in the shapes of the admin API.
    #[arg(long)]
    pub(super) json: bool,
}

/// Which relay.
#[derive(Debug, clap::Args)]
pub(super) struct Address {
    #[command(flatten)]
    path: ConfigPath,
    /// The admin address of the relay, such as `http://10.0.0.5:9090`; else the relay that runs on
    /// the store of relay.toml, or what listens at its `[admin]`.
    #[arg(long, env = "HOOKSWITCH_URL", value_name = "URL", value_parser = url)]
    url: Option<String>,
    /// The admin token; else that of relay.toml.
    #[arg(long, env = "HOOKSWITCH_ADMIN_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    token: Option<String>,
}

/// Whoever answers.
#[derive(Debug)]
pub(super) enum Peer {
    /// A relay that runs.
    Relay(Relay),
    /// The API over a store of this machine, while no relay runs.
    Store(Box<Router>),
}

/// An event as it was told: its numbers are in no form but its own text.
#[derive(Debug)]
pub(super) struct ToldEvent {
    /// All of the answer.
    pub(super) text: String,
    /// What is known of the event beside it.
    pub(super) facts: Value,
    /// The event itself; `null` while it is quarantined.
    pub(super) event: Box<RawValue>,
}

/// What is asked of the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Looking: the store will do.
    Read,
    /// Changing something: a relay must run.
    Write,
}

/// A relay, and how it is asked.
#[derive(Debug)]
pub(super) struct Relay {
    client: reqwest::Client,
    url: String,
    /// Any of them may be the one it takes: the list of relay.toml may have changed since it read
    /// it.
    tokens: Vec<Vec<u8>>,
    /// The one to begin with.
    taken: AtomicUsize,
}

/// Where a relay may be, the likeliest place first.
struct Places {
    likely: Vec<Place>,
    tokens: Vec<Vec<u8>>,
    settings: hookswitch::store::Settings,
}

/// One place, and the fingerprint of what it shows when it speaks TLS.
#[derive(PartialEq, Eq)]
struct Place {
    url: String,
    certificate: Option<[u8; 32]>,
}

/// What came of looking for somebody at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    Somebody,
    /// Nobody, and why.
    Nobody(String),
    /// Something that takes connections and says nothing.
    Silent,
    /// Somebody who shows another certificate.
    Stranger,
}

/// That there is no relay, and what to do about it.
struct Nobody {
    said: String,
    remedy: &'static str,
}

/// How long an answer may take: a page takes milliseconds, a step of a redrive one commit.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long finding out that nobody answers may take, on either side of being connected.
const CONNECTING: Duration = Duration::from_secs(5);

// === impl Connection ===

impl Connection {
    pub(super) async fn open(&self, need: Need) -> Result<Peer, Exit> {
        self.address.open(need).await
    }

    pub(super) async fn health(&self, live: bool) -> Result<(StatusCode, String), Exit> {
        self.address.health(live).await
    }
}

// === impl Address ===

impl Address {
    /// Finds whoever answers, and says so when it is not the relay.
    pub(super) async fn open(&self, need: Need) -> Result<Peer, Exit> {
        let own = self.token.as_ref().map(|token| token.as_bytes().to_vec());
        if let Some(url) = &self.url {
            let relay = Relay::new(url, None, own.into_iter().collect())?;
            return match relay.look().await {
                Found::Nobody(why) => Err(relay.closed(&why)),
                Found::Silent => Err(Nobody::silent(url).tell()),
                Found::Somebody | Found::Stranger => Ok(Peer::Relay(relay)),
            };
        }
        let Places { likely, tokens, settings } = self.places()?;
        let tokens = own.map_or(tokens, |own| vec![own]);
        let nobody = match reached(likely, tokens, &settings).await? {
            Ok(relay) => return Ok(Peer::Relay(relay)),
            Err(nobody) => nobody,
        };
        if need == Need::Write {
            return Err(nobody.tell());
        }
        let store = Sqlite::open_to_read(&settings, Clock::system()).map_err(|error| {
            eprintln!("error: {error}");
            store_exit(&error)
        })?;
        eprintln!("{}: reading the store {}", nobody.said, settings.path.display());
        let desk = admin::Desk {
            clock: Clock::system(),
            metrics: Metrics::new(),
            store,
            ingest: Drain::new(),
            token: admin::Token::default(),
            loopback: false,
            controls: admin::Controls::default(),
        };
        Ok(Peer::Store(Box::new(admin::api(desk))))
    }

    /// What `/readyz`, or `/healthz`, says.
    async fn health(&self, live: bool) -> Result<(StatusCode, String), Exit> {
        let relay = if let Some(url) = &self.url {
            Relay::new(url, None, Vec::new())?
        } else {
            let Places { likely, settings, .. } = self.places()?;
            reached(likely, Vec::new(), &settings).await?.map_err(|nobody| {
                eprintln!("error: {}", nobody.said);
                Exit::NoRelay
            })?
        };
        let path = if live { "healthz" } else { "readyz" };
        let asked = async {
            let url = format!("{}/{path}", relay.url);
            let answer = relay.client.get(url).timeout(CONNECTING).send().await?;
            Ok((answer.status(), answer.text().await?))
        };
        asked.await.map_err(|error: reqwest::Error| {
            eprintln!("error: no relay answers at {}: {}", relay.url, root(&error));
            Exit::NoRelay
        })
    }

    /// Where the lock beside the store says that the relay is asked, then the address of `[admin]`:
    /// relay.toml may have changed since the relay read it.
    fn places(&self) -> Result<Places, Exit> {
        let config = whereabouts(&self.path).inspect_err(|_| {
            eprintln!("a relay that runs can also be named by --url and --token");
        })?;
        let admin = config.admin;
        let mut likely = Vec::new();
        if let Some(holder) = Sqlite::holder(&config.store.path) {
            likely.push(Place::at(holder.admin, holder.certificate));
        }
        let written = Place::at(admin.listen, admin.tls.as_ref().map(Tls::fingerprint));
        if admin.listen.port() != 0 && !likely.contains(&written) {
            likely.push(written);
        }
        let tokens = admin.token.iter().flat_map(Secrets::iter);
        let tokens = tokens.map(|token| token.expose().to_vec()).collect();
        Ok(Places { likely, tokens, settings: config.store })
    }
}

/// The relay at the first of these places where there is one; else, in words, that there is none.
async fn reached(
    places: Vec<Place>,
    tokens: Vec<Vec<u8>>,
    store: &hookswitch::store::Settings,
) -> Result<Result<Relay, Nobody>, Exit> {
    let mut nobody = Nobody::there(format!("no relay runs on the store {}", store.path.display()));
    let mut stranger = None;
    for Place { url, certificate } in places {
        let relay = Relay::new(&url, certificate, tokens.clone())?;
        match relay.look().await {
            Found::Somebody => return Ok(Ok(relay)),
            Found::Nobody(_) => nobody = Nobody::there(format!("no relay answers at {url}")),
            Found::Silent => nobody = Nobody::silent(&url),
            Found::Stranger => stranger = Some(url),
        }
    }
    let Some(url) = stranger else { return Ok(Err(nobody)) };
    let pid = Sqlite::holder(&store.path).map(|holder| holder.pid.to_string());
    eprintln!(
        "error: what answers at {url} shows another certificate than relay.toml names; have the \
         relay read it again: kill -HUP {}",
        pid.as_deref().unwrap_or("<pid>")
    );
    Err(Exit::NoRelay)
}

// === impl Nobody ===

impl Nobody {
    fn there(said: String) -> Self {
        Self { said, remedy: "start it with `hookswitch serve`, or name another with --url" }
    }

    fn silent(url: &str) -> Self {
        let waited = CONNECTING.as_secs();
        Self {
            said: format!("{url} takes connections, but has not answered within {waited} s"),
            remedy: "see which process listens there, or name another with --url",
        }
    }

    fn tell(&self) -> Exit {
        eprintln!("error: {}; {}", self.said, self.remedy);
        Exit::NoRelay
    }
}

// === impl Place ===

impl Place {
    fn at(mut listen: SocketAddr, certificate: Option<[u8; 32]>) -> Self {
        if listen.ip().is_unspecified() {
            listen.set_ip(match listen {
                SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        let scheme = if certificate.is_some() { "https" } else { "http" };
        Self { url: format!("{scheme}://{listen}"), certificate }
    }
}

/// Where relay.toml says that the relay and its store are, or prints what is wrong there.
pub(super) fn whereabouts(path: &ConfigPath) -> Result<Whereabouts, Exit> {
    Whereabouts::load(&path.config, &Environment::of_process()).map_err(|problems| {
        eprintln!("{problems}");
        Exit::Config
    })
}

// === impl Peer ===

impl Peer {
    /// Asks, and gives the JSON of a success.
    pub(super) async fn get(&self, path: &str) -> Result<Value, Exit> {
        json(&self.ask(Method::GET, path, None).await?)
    }

    /// Asks for an event, which may be gone by now.
    pub(super) async fn find_event(&self, id: &str) -> Result<Option<ToldEvent>, Exit> {
        let path = format!("/events/{}", segment(id));
        match self.answer(Method::GET, &path, None).await? {
            (StatusCode::NOT_FOUND, _) => Ok(None),
            (status, bytes) if status.is_success() => ToldEvent::read(bytes).map(Some),
            (status, bytes) => Err(refused(status, &bytes)),
        }
    }

    /// Asks for an event.
    pub(super) async fn event(&self, id: &str) -> Result<ToldEvent, Exit> {
        ToldEvent::read(self.bytes(&format!("/events/{}", segment(id))).await?)
    }

    /// Tells, and gives the JSON of a success.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, Exit> {
        json(&self.ask(Method::POST, path, Some(body)).await?)
    }

    /// Asks for bytes.
    pub(super) async fn bytes(&self, path: &str) -> Result<Bytes, Exit> {
        self.ask(Method::GET, path, None).await
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Bytes, Exit> {
        let (status, bytes) = self.answer(method, path, body).await?;
        if status.is_success() { Ok(bytes) } else { Err(refused(status, &bytes)) }
    }

    async fn answer(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Bytes), Exit> {
        let path = format!("/api/v1{path}");
        match self {
            Self::Relay(relay) => relay.send(method, &path, body).await,
            Self::Store(router) => answer_of(router, method, &path, body).await,
        }
    }
}

// === impl ToldEvent ===

impl ToldEvent {
    fn read(bytes: Bytes) -> Result<Self, Exit> {
        #[derive(Deserialize)]
        struct Detail {
            event: Box<RawValue>,
        }
        let facts = json(&bytes)?;
        let Detail { event } = json(&bytes)?;
        let text = String::from_utf8(bytes.into()).unwrap_or_default();
        Ok(Self { text, facts, event })
    }
}

// === impl Relay ===

impl Relay {
    fn new(url: &str, certificate: Option<[u8; 32]>, tokens: Vec<Vec<u8>>) -> Result<Self, Exit> {
        let (client, taken) = (client_of(certificate)?, AtomicUsize::default());
        Ok(Self { client, url: url.to_owned(), tokens, taken })
    }

    /// Asks with each token in turn until one is taken: what is refused for its token is not done.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Bytes), Exit> {
        let mut turn = self.taken.load(Ordering::Relaxed);
        loop {
            let answer = self.send_once(&method, path, body, self.tokens.get(turn)).await?;
            if answer.0 != StatusCode::UNAUTHORIZED || turn + 1 >= self.tokens.len() {
                self.taken.store(turn, Ordering::Relaxed);
                return Ok(answer);
            }
            turn += 1;
        }
    }

    async fn send_once(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        token: Option<&Vec<u8>>,
    ) -> Result<(StatusCode, Bytes), Exit> {
        let url = &self.url;
        let mut request = self.client.request(method.clone(), format!("{url}{path}"));
        if let Some(token) = token {
            request = request.bearer_auth(String::from_utf8_lossy(token));
        }
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
        }
        let answer = async {
            let answer = request.send().await?;
            Ok((answer.status(), answer.bytes().await?))
        };
        answer.await.map_err(|error: reqwest::Error| {
            let why = root(&error);
            if error.is_connect() {
                return self.closed(&why);
            }
            eprintln!("error: {url} did not answer: {why}; what was asked may have been done");
            Exit::Failed
        })
    }

    /// Whether anybody answers there.
    async fn look(&self) -> Found {
        let asked = self.client.get(format!("{}/healthz", self.url)).timeout(CONNECTING);
        match asked.send().await {
            Err(error) if trust::is_other(&error) => Found::Stranger,
            Err(error) if error.is_connect() || error.is_builder() => Found::Nobody(root(&error)),
            Err(error) if error.is_timeout() => Found::Silent,
            _ => Found::Somebody,
        }
    }

    fn closed(&self, why: &str) -> Exit {
        Nobody::there(format!("no relay answers at {}: {why}", self.url)).tell()
    }
}

/// What is at the bottom of an error: the links above it say that a request was being sent.
pub(super) fn root(error: &reqwest::Error) -> String {
    let first: &dyn std::error::Error = error;
    let last = std::iter::successors(Some(first), |error| error.source()).last();
    last.map(ToString::to_string).unwrap_or_default()
}

/// A part of a path that a person typed.
pub(super) fn segment(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// An address with its scheme.
fn url(text: &str) -> Result<String, String> {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    if !matches!(scheme.as_deref(), Some("http" | "https")) {
        return Err("write it with http:// or https://".to_owned());
    }
    match reqwest::Url::parse(text) {
        Ok(_) => Ok(text.trim_end_matches('/').to_owned()),
        Err(why) => Err(why.to_string()),
    }
}

async fn answer_of(
    router: &Router,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<(StatusCode, Bytes), Exit> {
    let failed = |what: &dyn std::fmt::Display| {
        eprintln!("error: {what}");
        Exit::Failed
    };
    let content = body.map(Value::to_string).unwrap_or_default();
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(CONTENT_TYPE, "application/json")
        .body(Body::from(content))
        .map_err(|error| failed(&error))?;
    let answer = router.clone().oneshot(request).await.unwrap_or_else(|never| match never {});
    let status = answer.status();
    let bytes = axum::body::to_bytes(answer.into_body(), usize::MAX).await;
    Ok((status, bytes.map_err(|error| failed(&error))?))
}

fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Exit> {
    serde_json::from_slice(bytes).map_err(|_| {
        eprintln!("error: what answers there is no Hookswitch relay");
        Exit::Failed
    })
}

/// Prints why the relay did not do it, in one line, and what follows from it.
fn refused(status: StatusCode, body: &[u8]) -> Exit {
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    let detail = problem.get("detail").and_then(Value::as_str);
    let detail = detail.map_or_else(|| format!("it answered {status}"), str::to_owned);
    let rendered = problem.pointer("/more/problems").and_then(Value::as_array);
    for problem in rendered.into_iter().flatten() {
        eprintln!("{}", problem.get("rendered").and_then(Value::as_str).unwrap_or_default());
    }
    for orphaned in
        problem.pointer("/more/orphaned").and_then(Value::as_array).into_iter().flatten()
    {
        let (target, pending) = (&orphaned["target"], &orphaned["pending"]);
        let target = target.as_str().unwrap_or_default();
        eprintln!("target {target} is gone, and {pending} deliveries wait for it");
    }
    match status {
        StatusCode::UNAUTHORIZED => {
            eprintln!(
                "error: the relay refuses the token; give it with --token or \
                 HOOKSWITCH_ADMIN_TOKEN, or in [admin] of relay.toml, which the relay reads at its \
                 start and when it is told to: kill -HUP <pid>"
            );
            Exit::Forbidden
        }
        StatusCode::NOT_FOUND => {
            eprintln!("error: {detail}");
            Exit::NotFound
        }
        _ if problem["reason"] == "unknown_target" || problem["reason"] == "unknown_source" => {
            eprintln!("error: {detail}");
            Exit::NotFound
        }
        _ if problem["reason"] == "invalid" => {
            eprintln!("error: {detail}");
            Exit::Usage
        }
        _ if problem["reason"] == "invalid_config" => {
            eprintln!("error: {detail}; the relay goes on with what it had");
            Exit::Config
        }
        _ if problem["reason"] == "read_only" => {
            eprintln!("error: {detail}; start the relay with `hookswitch serve`");
            Exit::NoRelay
        }
        _ if problem["reason"] == "orphans" => {
            eprintln!("error: {detail}; say --orphans keep or --orphans dead");
            Exit::Failed
        }
        _ => {
            eprintln!("error: {detail}");
            Exit::Failed
        }
    }
}

/// What a store that cannot be opened is to a script.
pub(super) fn store_exit(error: &OpenError) -> Exit {
    match error {
        OpenError::Locked { .. } => Exit::Locked,
        OpenError::Newer { .. } | OpenError::Older { .. } => Exit::StoreVersion,
        OpenError::Missing { .. } => Exit::NoRelay,
        _ => Exit::Store,
    }
}

/// A client for the admin API and for samples; not for deliveries.
pub(super) fn client() -> Result<reqwest::Client, Exit> {
    client_of(None)
}

/// The same, which trusts no listener of TLS but one with this certificate, if there is one.
fn client_of(certificate: Option<[u8; 32]>) -> Result<reqwest::Client, Exit> {
    // A second installation is refused, and the first is the same.
    drop(rustls::crypto::ring::default_provider().install_default());
    let mut builder = reqwest::Client::builder();
    if let Some(certificate) = certificate {
        let tls = trust::only(certificate).map_err(|error| {
            eprintln!("error: no TLS: {error}");
            Exit::Failed
        })?;
        builder = builder.tls_backend_preconfigured(tls);
    }
    let built = builder
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECTING)
        .timeout(PATIENCE)
        .build();
    built.map_err(|error| {
        eprintln!("error: no HTTP client: {error}");
        Exit::Failed
    })
}
