//! Whom a verb asks: the running relay by its admin API, else the store, opened for reading only.
//!
//! Both answer the same questions with the same JSON: without a relay the API answers from the
//! store in this process. What would change something then says that no relay runs.

use std::{path::PathBuf, time::Duration};

use axum::{Router, body::Body};
use bytes::Bytes;
use hookswitch::{
    admin,
    clock::Clock,
    config::{Environment, Whereabouts},
    drain::Drain,
    metrics::Metrics,
    store::sqlite::{OpenError, Sqlite},
};
use http::{Method, Request, StatusCode, header::CONTENT_TYPE};
use rustls::pki_types::CertificateDer;
use serde_json::Value;
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
    /// The admin address of the relay, such as `http://10.0.0.5:9090`; else that of relay.toml.
    #[arg(long, env = "HOOKSWITCH_URL", value_name = "URL")]
    url: Option<String>,
    /// The admin token; else that of relay.toml.
    #[arg(long, env = "HOOKSWITCH_ADMIN_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    token: Option<String>,
}

/// Whoever answers.
#[derive(Debug)]
pub(super) enum Peer {
    /// A relay that runs.
    Relay { client: reqwest::Client, url: String, token: Option<Vec<u8>> },
    /// The API over a store of this machine, while no relay runs.
    Store(Box<Router>),
}

/// What is asked of the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Looking: the store will do.
    Read,
    /// Changing something: a relay must run.
    Write,
}

/// Where a relay may be, by relay.toml.
struct Place {
    url: String,
    /// What it shows when it speaks TLS.
    certificate: Option<CertificateDer<'static>>,
    token: Option<Vec<u8>>,
    store: PathBuf,
    settings: hookswitch::store::Settings,
}

/// How long an answer may take: a page takes milliseconds, a step of a redrive one commit.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long finding out that nobody answers may take.
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
        let token = self.token.as_ref().map(|token| token.as_bytes().to_vec());
        if let Some(url) = &self.url {
            let url = url.trim_end_matches('/').to_owned();
            let peer = Peer::Relay { client: client()?, url, token };
            return if peer.is_there().await { Ok(peer) } else { Err(peer.closed()) };
        }
        let place = self.place()?;
        let token = token.or(place.token);
        let client = client_of(place.certificate)?;
        let peer = Peer::Relay { client, url: place.url, token };
        if peer.is_there().await {
            return Ok(peer);
        }
        if need == Need::Write {
            return Err(peer.closed());
        }
        let store = Sqlite::open_to_read(&place.settings, Clock::system()).map_err(|error| {
            eprintln!("error: {error}");
            store_exit(&error)
        })?;
        let at = place.store.display();
        eprintln!("no relay answers at {}: reading the store {at}", peer.url());
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
        let (url, certificate) = match &self.url {
            Some(url) => (url.trim_end_matches('/').to_owned(), None),
            None => self.place().map(|place| (place.url, place.certificate))?,
        };
        let path = if live { "healthz" } else { "readyz" };
        let asked = async {
            let answer = client_of(certificate)?.get(format!("{url}/{path}")).send().await;
            let answer = answer.map_err(|_| Exit::NoRelay)?;
            Ok((answer.status(), answer.text().await.map_err(|_| Exit::NoRelay)?))
        };
        asked.await.inspect_err(|exit| {
            if *exit == Exit::NoRelay {
                eprintln!("error: no relay answers at {url}");
            }
        })
    }

    /// The address of `[admin]`; with port 0, what the lock beside the store says.
    fn place(&self) -> Result<Place, Exit> {
        let config = whereabouts(&self.path).inspect_err(|_| {
            eprintln!("a relay that runs can also be named by --url and --token");
        })?;
        let mut listen = config.admin.listen;
        if listen.ip().is_unspecified() {
            listen.set_ip(match listen {
                std::net::SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                std::net::SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        if listen.port() == 0 {
            listen = Sqlite::admin_of_holder(&config.store.path).unwrap_or(listen);
        }
        let token = config
            .admin
            .token
            .and_then(|tokens| tokens.iter().next().map(|token| token.expose().to_vec()));
        let tls = config.admin.tls;
        let scheme = if tls.is_some() { "https" } else { "http" };
        Ok(Place {
            url: format!("{scheme}://{listen}"),
            certificate: tls.and_then(|tls| tls.certificate().cloned()),
            token,
            store: config.store.path.clone(),
            settings: config.store,
        })
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

    /// Asks for what may be gone by now.
    pub(super) async fn find(&self, path: &str) -> Result<Option<Value>, Exit> {
        match self.answer(Method::GET, path, None).await? {
            (StatusCode::NOT_FOUND, _) => Ok(None),
            (status, bytes) if status.is_success() => json(&bytes).map(Some),
            (status, bytes) => Err(refused(status, &bytes)),
        }
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
            Self::Relay { .. } => self.send(method, &path, body).await,
            Self::Store(router) => answer_of(router, method, &path, body).await,
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Bytes), Exit> {
        let Self::Relay { client, url, token } = self else { return Err(Exit::Failed) };
        let mut request = client.request(method, format!("{url}{path}"));
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
            if error.is_connect() {
                return self.closed();
            }
            eprintln!("error: {url} did not answer: {error}; what was asked may have been done");
            Exit::Failed
        })
    }

    /// Whether anybody accepts connections there.
    async fn is_there(&self) -> bool {
        let Self::Relay { client, url, .. } = self else { return true };
        let asked = client.get(format!("{url}/healthz")).send().await;
        !asked.is_err_and(|error| error.is_connect() || error.is_builder())
    }

    fn closed(&self) -> Exit {
        eprintln!(
            "error: no relay answers at {}; start it with `hookswitch serve`, or name another with \
             --url",
            self.url()
        );
        Exit::NoRelay
    }

    fn url(&self) -> &str {
        match self {
            Self::Relay { url, .. } => url,
            Self::Store(_) => "the store",
        }
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

fn json(bytes: &[u8]) -> Result<Value, Exit> {
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
                 HOOKSWITCH_ADMIN_TOKEN, or in [admin] of relay.toml"
            );
            Exit::Forbidden
        }
        StatusCode::NOT_FOUND => {
            eprintln!("error: {detail}");
            Exit::NotFound
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
fn client_of(certificate: Option<CertificateDer<'static>>) -> Result<reqwest::Client, Exit> {
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
