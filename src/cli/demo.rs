//! `hookswitch demo`: the whole road once, in one terminal.
//!
//! A real relay and a receiver of the demo's own, both on free ports of this machine; a callback
//! in the provider's own shape goes in through a socket, and what the receiver got is shown.

use std::{convert::Infallible, fmt::Write as _, net::SocketAddr, time::Duration};

use bytes::Bytes;
use hookswitch::{
    config::{Config, Environment},
    relay::{Addresses, Relay},
};
use http::{HeaderValue, Request, Response, StatusCode, header::HOST};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, client, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use crate::cli::{
    block_on,
    exit::Exit,
    print,
    sample::{self, Sample},
    start_failed, table,
};

/// Show the whole road once: relay and receiver on free ports, one callback, what arrives.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  hookswitch demo\n  \
        hookswitch demo --json | jq '.calls[].event'")]
pub(super) struct Arguments {
    /// Print one JSON document: each callback with its ack, delivery and event.
    #[arg(long)]
    json: bool,
    /// Make the receiver refuse what it gets.
    #[arg(long, hide = true)]
    refuse: bool,
}

/// What the receiver got.
#[derive(Debug)]
struct Received {
    /// Its headers as text.
    head: Vec<(String, String)>,
    path: String,
    body: Bytes,
    answered: StatusCode,
}

/// What is shown: as text at once, or as one document at the end.
struct Shown {
    json: bool,
    calls: Vec<Value>,
}

/// What went wrong, in a sentence.
type Trouble = String;

pub(super) fn run(arguments: &Arguments) -> Exit {
    block_on(async {
        match play(arguments).await {
            Ok(exit) => exit,
            Err(trouble) => {
                eprintln!("error: {trouble}");
                Exit::Failed
            }
        }
    })
}

async fn play(arguments: &Arguments) -> Result<Exit, Trouble> {
    let folder = tempfile::tempdir().map_err(|error| format!("no temporary folder: {error}"))?;
    let listener = TcpListener::bind(LOOPBACK).await.map_err(|error| error.to_string())?;
    let receiver = listener.local_addr().map_err(|error| error.to_string())?;
    let (got, mut received) = mpsc::channel(16);
    let mut tasks = JoinSet::new();
    tasks.spawn(receive(listener, got, arguments.refuse));

    let store = folder.path().join("demo.db");
    let text = configuration(receiver, &store.display().to_string());
    let (config, _) = Config::parse("demo", &text, &Environment::given(NO_VARIABLES))
        .map_err(|problems| problems.to_string())?;
    let relay = match Relay::bind(config).await {
        Ok(relay) => relay,
        Err(error) => return Ok(start_failed(&error)),
    };
    let addresses = relay.addresses();
    let (stop, stopped) = oneshot::channel::<()>();
    let mut running = JoinSet::new();
    running.spawn(relay.run(async move { stopped.await.unwrap_or_default() }));

    let mut shown = Shown { json: arguments.json, calls: Vec::new() };
    let relay = format!("http://{}", addresses.callbacks);
    let receiver = format!("http://{receiver}");
    shown.say(&format!("A relay listens on {relay}, a receiver on {receiver}.\n\n"));
    let outcome = show(addresses, &mut received, &mut shown).await;
    if shown.json {
        let (calls, complete) = (shown.calls, outcome.is_ok());
        let document =
            json!({ "relay": relay, "receiver": receiver, "calls": calls, "complete": complete });
        print(&format!("{document}\n"));
    }
    // The relay ends when it is told to or when nobody is left who could tell it.
    drop(stop);
    for ended in running.join_all().await {
        ended.map_err(|error| error.to_string())?;
    }
    outcome
}

/// Sends each provider's callback and waits for what the receiver gets of it.
async fn show(
    addresses: Addresses,
    received: &mut mpsc::Receiver<Received>,
    shown: &mut Shown,
) -> Result<Exit, Trouble> {
    for (number, sample) in (1..).zip(sample::all()) {
        let name = sample.provider;
        shown.say(&format!(
            "{number}. {name} calls back:\n\n{}\n",
            curl(addresses.callbacks, &sample)
        ));
        let (status, body) = post(addresses.callbacks, &sample).await?;
        shown.say(&format!("   The relay has it on disk and acks: {status} {body}\n"));
        shown.calls.push(acked(addresses.callbacks, &sample, status, &body));
        if status != StatusCode::OK {
            return Err(format!("the relay did not ack the callback of {name}"));
        }
        let Ok(Some(got)) = tokio::time::timeout(PATIENCE, received.recv()).await else {
            return Err(format!("nothing reached the receiver within {} s", PATIENCE.as_secs()));
        };
        let event = event_of(&got)?;
        // One whole, then what differs.
        let text = if number == 1 { told(&got)? } else { summed_up(&event)? };
        shown.say(&format!("   The receiver gets:\n\n{text}\n"));
        if let Some(call) = shown.calls.last_mut() {
            call["delivery"] = delivery(&got);
            call["event"] = event;
        }
        if !got.answered.is_success() {
            return Err(format!("the receiver refused the event with {}", got.answered));
        }
        shown.say(&format!("   The receiver answers {}: delivered.\n\n", got.answered));
    }
    Ok(Exit::Done)
}

// === impl Shown ===

impl Shown {
    fn say(&self, text: &str) {
        if !self.json {
            print(text);
        }
    }
}

/// A callback and its ack, for scripts; what the receiver gets of it is still missing.
fn acked(relay: SocketAddr, sample: &Sample, status: StatusCode, body: &str) -> Value {
    let headers: Map<String, Value> =
        sample.headers.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    let url = format!("http://{relay}/hooks/{}", sample.path);
    let body: Value = serde_json::from_str(body).unwrap_or_else(|_| json!(body));
    json!({
        "provider": sample.provider,
        "callback": { "method": "POST", "url": url, "headers": headers, "body": sample.body },
        "ack": { "status": status.as_u16(), "body": body },
        "delivery": null,
        "event": null,
    })
}

/// A delivery for scripts, but for the event that is its body.
fn delivery(got: &Received) -> Value {
    let headers: Map<String, Value> =
        got.head.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    json!({
        "method": "POST",
        "path": got.path,
        "headers": headers,
        "answered": got.answered.as_u16(),
    })
}

fn event_of(got: &Received) -> Result<Value, Trouble> {
    serde_json::from_slice(&got.body).map_err(|error| format!("the receiver got no JSON: {error}"))
}

/// The callback as a command that a reader can repeat.
fn curl(relay: SocketAddr, sample: &Sample) -> String {
    let headers: String = sample
        .headers
        .iter()
        .map(|(name, value)| format!("     -H '{name}: {value}' \\\n"))
        .collect();
    let (path, body) = (&sample.path, sample.body.lines().map(str::trim).collect::<String>());
    format!("   curl 'http://{relay}/hooks/{path}' \\\n{headers}     -d '{body}'\n")
}

async fn post(to: SocketAddr, sample: &Sample) -> Result<(StatusCode, String), Trouble> {
    let failed = |error: &dyn std::error::Error| format!("the relay did not answer: {error}");
    let stream = TcpStream::connect(to).await.map_err(|error| failed(&error))?;
    let (mut sender, connection) = client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failed(&error))?;
    let mut request = Request::post(format!("/hooks/{}", sample.path)).header(HOST, to.to_string());
    for (name, value) in &sample.headers {
        request = request.header(*name, value);
    }
    let request = request
        .body(Full::new(Bytes::from(sample.body.clone())))
        .map_err(|error| error.to_string())?;
    let exchange = async {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        // The connection ends with its sender.
        drop(sender);
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    };
    let (exchanged, _) = tokio::join!(exchange, connection);
    exchanged.map_err(|error: hyper::Error| failed(&error))
}

/// What tells one provider's event from another's, in a few lines.
fn summed_up(event: &Value) -> Result<String, Trouble> {
    let at = |pointer: &str| event.pointer(pointer).cloned().unwrap_or_default();
    let shown = json!({
        "type": at("/type"),
        "source": at("/source"),
        "time": at("/time"),
        "call": {
            "id": at("/data/call/id"),
            "reference": at("/data/call/reference"),
            "to": at("/data/call/to/e164"),
            "reason": at("/data/call/reason"),
            "duration_seconds": at("/data/call/duration_seconds"),
        },
        "warnings": at("/data/warnings"),
    });
    let pretty = serde_json::to_string_pretty(&shown).map_err(|error| error.to_string())?;
    Ok(indented(&format!("{pretty}\n… and everything else it said")))
}

/// A delivery as text: its own headers, then the event, indented.
fn told(got: &Received) -> Result<String, Trouble> {
    let mut text = format!("POST {}\n", got.path);
    for (name, value) in &got.head {
        writeln!(text, "{name}: {value}").map_err(|error| error.to_string())?;
    }
    let event = table::lines(&String::from_utf8_lossy(&got.body));
    Ok(indented(&format!("{text}\n{event}\n")))
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("   {line}\n")).collect()
}

/// The receiver: answers every delivery and tells what it got.
async fn receive(listener: TcpListener, got: mpsc::Sender<Received>, refuse: bool) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let got = got.clone();
        let answer = service_fn(move |request| answer(request, got.clone(), refuse));
        connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
    }
}

async fn answer(
    request: Request<Incoming>,
    got: mpsc::Sender<Received>,
    refuse: bool,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let answered = if refuse { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK };
    let (head, body) = request.into_parts();
    if let Ok(body) = body.collect().await {
        let path = head.uri.path().to_owned();
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = head.headers.iter().map(|(name, value)| (name.to_string(), text(value)));
        let received = Received { head: headers.collect(), path, body: body.to_bytes(), answered };
        // The demo looks at the first delivery only; later ones have nobody to tell.
        got.try_send(received).unwrap_or_default();
    }
    let mut response = Response::new(Full::default());
    *response.status_mut() = answered;
    Ok(response)
}

fn configuration(receiver: SocketAddr, store: &str) -> String {
    let sources: String = sample::all()
        .iter()
        .map(|Sample { provider, auth, .. }| {
            format!("[sources.{provider}]\nprovider = \"{provider}\"\nauth = {auth}\n")
        })
        .collect();
    format!(
        r#"
[server]
listen = "127.0.0.1:0"
shutdown_grace = "2s"
[admin]
listen = "127.0.0.1:0"
[store]
path = {store:?}
min_free = "1 MiB"
{sources}
[targets.receiver]
url = "http://{receiver}/call-events"
sign = {{ secret = "whsec_aG9va3N3aXRjaC1kZW1vLXNlY3JldC0wMDAwMDAwMQ==" }}
[[routes]]
name = "everything"
to = ["receiver"]
"#
    )
}

const LOOPBACK: &str = "127.0.0.1:0";
const NO_VARIABLES: [(&str, &str); 0] = [];

/// How long the demo waits for an answer or a delivery before it says what is missing.
const PATIENCE: Duration = Duration::from_secs(15);
