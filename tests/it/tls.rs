//! Both listeners with TLS, and targets that ask who calls.

use std::{
    convert::Infallible,
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use reqwest::{Certificate, Client, Version};
use rustls::{RootCertStore, ServerConfig, crypto::ring, server::WebPkiClientVerifier};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use crate::harness::{
    API_KEY, Process, Raw, Relay, Setup, callback, client, eventually, post, within, write_config,
};

/// Writes a certificate of its own authority, for this address, and its key.
fn certify(folder: &Path) -> String {
    use std::os::unix::fs::PermissionsExt as _;

    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    fs::write(folder.join("relay.pem"), made.cert.pem()).unwrap();
    fs::write(folder.join("relay.key"), made.signing_key.serialize_pem()).unwrap();
    fs::set_permissions(folder.join("relay.key"), fs::Permissions::from_mode(0o600)).unwrap();
    made.cert.pem()
}

fn tls(folder: &Path) -> String {
    format!(
        "tls = {{ cert = {:?}, key = {:?} }}",
        folder.join("relay.pem"),
        folder.join("relay.key")
    )
}

fn trusting(pem: &str, version: Version) -> Client {
    drop(client());
    let builder = Client::builder()
        .no_proxy()
        .tls_certs_only([Certificate::from_pem(pem.as_bytes()).unwrap()]);
    match version {
        Version::HTTP_11 => builder.http1_only().build().unwrap(),
        _ => builder.build().unwrap(),
    }
}

#[tokio::test]
async fn callbacks_come_in_by_http_2_and_by_http_1_and_the_stored_event_is_the_same() {
    let setup = Setup::new();
    let folder = setup.folder();
    let pem = certify(&folder);
    let relay = setup.server(&tls(&folder)).start().await;
    let url = relay.url().replace("http://", "https://");

    for version in [Version::HTTP_2, Version::HTTP_11] {
        let client = trusting(&pem, version);
        for n in 0..20 {
            let body = callback(&format!("call.{version:?}.{n}")).to_string();
            let sent =
                client.post(&url).header("x-api-key", API_KEY).body(body).send().await.unwrap();
            assert_eq!((sent.status().as_u16(), sent.version()), (200, version));
        }
        let refused = client.post(&url).body("x".repeat(100_000)).send().await.unwrap();
        assert_eq!(refused.status(), 401);
    }

    let page = relay.metrics().await;
    assert_eq!(page.get("hookswitch_events_accepted_total", &[("source", "calls")]), 40.0);
    relay.stop().await;
}

#[tokio::test]
async fn over_http_2_a_refusal_is_seen_by_a_sender_that_is_still_sending_and_its_connection_goes_on()
 {
    let setup = Setup::new();
    let folder = setup.folder();
    let pem = certify(&folder);
    let setup = setup.also("max_body = \"64 KiB\"").server("body_deadline = \"3s\"");
    let relay = setup.server(&tls(&folder)).start().await;
    let client = trusting(&pem, Version::HTTP_2);
    let url = format!("https://{}/hooks/calls", relay.callbacks());
    let send = async |key: &str, body: reqwest::Body| {
        let sent = client.post(&url).header("x-api-key", key).body(body).send();
        let answer = within("an answer", sent).await.unwrap();
        assert_eq!(answer.version(), Version::HTTP_2);
        let (status, kind) = (answer.status(), answer.headers()["content-type"].clone());
        (status.as_u16(), kind, answer.text().await.unwrap())
    };
    let long = || vec![b'x'; 3 * 1024 * 1024];
    // Of no stated length, and the second of them without an end.
    let parts = |count: usize| {
        let part = Ok::<_, Infallible>(Bytes::from(vec![b'x'; 16 * 1024]));
        futures_util::stream::iter(std::iter::repeat_n(part, count))
    };
    let endless = || reqwest::Body::wrap_stream(parts(1).chain(futures_util::stream::pending()));
    let parts = |count| reqwest::Body::wrap_stream(parts(count));

    for (key, body, code) in [
        (API_KEY, long().into(), 413),
        (API_KEY, parts(64), 413),
        ("wrong", long().into(), 401),
        ("wrong", parts(64), 401),
        ("wrong", endless(), 401),
        (API_KEY, endless(), 408),
    ] {
        let (status, kind, text) = send(key, body).await;
        assert_eq!((status, kind.as_bytes()), (code, &b"application/problem+json"[..]), "{text}");
    }
    let (status, _, text) = send(API_KEY, callback("call.1").to_string().into()).await;

    assert_eq!(status, 200, "{text}");
    let page = relay.metrics().await;
    assert_eq!(page.get("hookswitch_events_accepted_total", &[("source", "calls")]), 1.0);
    assert_eq!(page.get("hookswitch_ingest_connections", &[]), 1.0, "one connection for all");
}

#[tokio::test]
async fn plain_http_is_no_callback_where_there_is_tls_and_a_silent_peer_does_not_hold_the_relay() {
    let setup = Setup::new();
    let folder = setup.folder();
    certify(&folder);
    let relay = setup.server(&tls(&folder)).start().await;
    let mut plain = TcpStream::connect(relay.callbacks()).await.unwrap();
    plain.write_all(b"POST /hooks/calls HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = within("the end of a plain connection", plain.read_to_end(&mut answer)).await;
    assert!(!answer.starts_with(b"HTTP/"), "{answer:?}");

    let silent = TcpStream::connect(relay.callbacks()).await.unwrap();
    eventually("the silent peer", || async {
        relay.metrics().await.get("hookswitch_ingest_connections", &[]) == 1.0
    })
    .await;

    assert_eq!(relay.stop().await, hookswitch::relay::Ended::Drained);
    drop(silent);
}

#[tokio::test]
async fn a_reload_shows_the_new_certificate_and_a_broken_one_changes_nothing() {
    let setup = Setup::new();
    let folder = setup.folder();
    let old = certify(&folder);
    let line = tls(&folder);
    let setup = setup.server(&line).admin(&line);
    let text = setup
        .text()
        .replace(&format!("\"{API_KEY}\""), &format!("{{ file = {:?} }}", folder.join("secret")));
    fs::write(folder.join("secret"), API_KEY).unwrap();
    let config = write_config(&folder, &text);
    let mut relay = Process::serve(&config).await;
    let url = format!("https://{}/hooks/calls", relay.callbacks);
    let ready = format!("https://{}/readyz", relay.admin);
    let reaches =
        async |pem: &str, url: &str| trusting(pem, Version::HTTP_2).get(url).send().await.is_ok();
    assert!(reaches(&old, &url).await && reaches(&old, &ready).await);

    let new = certify(&folder);
    let said = relay.hang_up().await;

    assert!(said.contains("server") && said.contains("admin"), "{said}");
    for url in [&url, &ready] {
        assert!(reaches(&new, url).await && !reaches(&old, url).await);
    }
    fs::write(folder.join("relay.pem"), "no certificate").unwrap();
    let said = relay.hang_up().await;
    assert!(said.contains("not reloaded"), "{said}");
    assert!(reaches(&new, &url).await && reaches(&new, &ready).await);

    // A command trusts the certificate that the relay said it shows, whatever stands in relay.toml.
    let verb = async || {
        let mut command = Process::command();
        command.args(["targets", "--config"]).arg(&config);
        within("a verb", command.output()).await.unwrap()
    };
    certify(&folder);
    let told = verb().await;
    assert!(told.status.success() && told.stderr.is_empty(), "{told:?}");
    relay.hang_up().await;
    let told = verb().await;
    assert!(told.status.success() && told.stderr.is_empty(), "{told:?}");

    // Where nothing is said, it goes by relay.toml, and tells a stranger from nobody.
    let lock = folder.join("hookswitch.db.lock");
    let note = fs::read_to_string(&lock).unwrap();
    fs::write(&lock, note.replace("certificate", "something")).unwrap();
    fs::write(
        &config,
        text.replacen("127.0.0.1:0", "127.0.0.1:1", 1).replacen(
            "127.0.0.1:0",
            &relay.admin.to_string(),
            1,
        ),
    )
    .unwrap();
    let told = verb().await;
    assert!(told.status.success() && told.stderr.is_empty(), "{told:?}");
    certify(&folder);
    let told = verb().await;
    let said = String::from_utf8(told.stderr).unwrap();
    assert_eq!(told.status.code(), Some(68), "{said}");
    assert!(said.contains("another certificate") && said.contains("kill -HUP"), "{said}");
    relay.terminate().await;
}

#[tokio::test]
async fn neither_listener_waits_for_ever_for_a_handshake_nor_the_admin_one_for_a_body() {
    let setup = Setup::new();
    let folder = setup.folder();
    certify(&folder);
    let secured = setup.server(&tls(&folder)).admin(&tls(&folder));
    let relay = Process::serve(&write_config(&folder, &secured.text())).await;
    let plain = Setup::new().start().await;
    let mut slow = Raw::connect(plain.admin_address()).await;
    slow.send(
        "POST /api/v1/erase HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n\
               content-length: 20\r\n\r\n{",
    )
    .await;
    let mut silent = TcpStream::connect(relay.callbacks).await.unwrap();
    let mut halting = TcpStream::connect(relay.admin).await.unwrap();
    halting.write_all(&[0x16, 0x03, 0x01]).await.unwrap();

    for stream in [&mut silent, &mut halting] {
        let mut told = Vec::new();
        let _ = within("the end of a handshake", stream.read_to_end(&mut told)).await;
    }
    let answer = slow.head().await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    relay.terminate().await;
}

#[tokio::test]
async fn the_admin_listener_has_so_many_connections_and_the_next_waits_for_one_to_end() {
    let relay = Setup::new().start().await;
    let ask = "GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";
    let mut open = Vec::new();
    for _ in 0..256 {
        let mut one = Raw::connect(relay.admin_address()).await;
        one.send(ask).await;
        assert!(one.head().await.starts_with("HTTP/1.1 200"));
        open.push(one);
    }

    let mut next = Raw::connect(relay.admin_address()).await;
    next.send(ask).await;
    let early = tokio::time::timeout(std::time::Duration::from_millis(200), next.head()).await;
    assert!(early.is_err(), "{early:?}");
    drop(open.pop());
    assert!(next.head().await.starts_with("HTTP/1.1 200"));
}

/// Vouches for whoever the test says.
type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn vouched(by: &Authority, name: &str, until: i32) -> (rcgen::Certificate, KeyPair) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_before = date_time_ymd(2001, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, by).unwrap(), key)
}

/// Puts a new certificate of the relay, and its key, where relay.toml says they are.
fn renew(folder: &Path, by: &Authority, until: i32) -> Vec<u8> {
    let (certificate, key) = vouched(by, "relay", until);
    fs::write(folder.join("caller.pem"), certificate.pem()).unwrap();
    fs::write(folder.join("caller.key"), key.serialize_pem()).unwrap();
    certificate.der().to_vec()
}

/// Under whose certificate a request came, and its `authorization`.
type Seen = (Vec<u8>, String);

/// A target that lets nobody in whom its authority does not know.
struct Guarded {
    port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
    _serving: JoinSet<()>,
}

impl Guarded {
    async fn by(authority: &Authority) -> Self {
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider));
        let (shown, key) = vouched(authority, "localhost", 2100);
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(vec![shown.der().clone()], key.into())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (log, mut serving) = (Arc::clone(&seen), JoinSet::new());
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, log) = (acceptor.clone(), Arc::clone(&log));
                connections.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let caller = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
                    let service = service_fn(move |request: Request<Incoming>| {
                        let word = request.headers()["authorization"].to_str().unwrap().to_owned();
                        log.lock().unwrap().push((caller.clone(), word));
                        async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())) }
                    });
                    let serve = http1::Builder::new();
                    let _ = serve.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { port, seen, _serving: serving }
    }

    async fn saw(&self, count: usize) -> Seen {
        eventually("a request", || async { self.seen.lock().unwrap().len() == count }).await;
        self.seen.lock().unwrap()[count - 1].clone()
    }
}

/// Waits until the last attempt at the only target failed like this.
async fn failed(relay: &Relay, how: &str) {
    eventually(how, || async {
        let told = client().get(relay.admin("/api/v1/targets")).send().await.unwrap();
        let told = told.text().await.unwrap();
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        told["targets"][0]["last_error"].as_str().is_some_and(|error| error.contains(how))
    })
    .await;
}

#[tokio::test]
async fn a_target_is_called_under_the_certificate_of_relay_toml_and_after_a_reload_under_the_next()
{
    let (ours, theirs) = (authority("ours"), authority("theirs"));
    let target = Guarded::by(&ours).await;
    let setup = Setup::new();
    let folder = setup.folder();
    fs::write(folder.join("authority.pem"), ours.pem()).unwrap();
    let first = renew(&folder, &ours, 2100);
    let setup = setup
        .table(&format!(
            "[targets.crm]\nurl = \"https://localhost:{}/events\"\n\
             auth = {{ kind = \"bearer\", token = \"let-me-in\" }}\n\
             tls = {{ ca = {:?}, cert = {:?}, key = {:?} }}\nretry = {{ schedule = [\"1h\"] }}",
            target.port,
            folder.join("authority.pem"),
            folder.join("caller.pem"),
            folder.join("caller.key")
        ))
        .route("everything", "crm");
    let relay = setup.start().await;
    post(&relay.url(), &callback("call.1")).await.id();
    assert_eq!(target.saw(1).await, (first, "Bearer let-me-in".to_owned()));

    // Not a word of relay.toml is another; the file it names is.
    let second = renew(&folder, &ours, 2100);
    let (status, report) = relay.reload(&setup.text(), "refuse").await;
    assert_eq!((status, &report["changed"]), (200, &json!(["targets.crm"])), "{report}");
    post(&relay.url(), &callback("call.2")).await.id();
    assert_eq!(target.saw(2).await, (second, "Bearer let-me-in".to_owned()));

    renew(&folder, &ours, 2002);
    assert_eq!(relay.reload(&setup.text(), "refuse").await.0, 200);
    post(&relay.url(), &callback("call.3")).await.id();
    failed(&relay, "CertificateExpired").await;
    renew(&folder, &theirs, 2100);
    assert_eq!(relay.reload(&setup.text(), "refuse").await.0, 200);
    post(&relay.url(), &callback("call.4")).await.id();
    failed(&relay, "UnknownCA").await;
    let refused = [("target", "crm"), ("outcome", "retry"), ("cause", "tls")];
    eventually("two that wait for the next", || async {
        relay.metrics().await.get("hookswitch_delivery_attempts_total", &refused) == 2.0
    })
    .await;

    let third = renew(&folder, &ours, 2100);
    let key = fs::read(folder.join("caller.key")).unwrap();
    fs::write(folder.join("caller.key"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let (status, refusal) = relay.reload(&setup.text(), "refuse").await;
    assert_eq!(status, 422, "{refusal}");
    assert!(refusal.to_string().contains("not the one of the certificate"), "{refusal}");
    fs::write(folder.join("caller.key"), key).unwrap();
    assert_eq!(relay.reload(&setup.text(), "refuse").await.0, 200);
    post(&relay.url(), &callback("call.5")).await.id();
    assert_eq!(target.saw(3).await.0, third);
}

#[tokio::test]
async fn a_target_whose_certificate_nobody_vouches_for_is_one_line_of_the_log_with_its_name() {
    let target = Guarded::by(&authority("theirs")).await;
    let setup = Setup::new()
        .table(&format!(
            "[targets.crm]\nurl = \"https://localhost:{}/events\"\nretry = {{ schedule = [\"1h\"] }}",
            target.port
        ))
        .route("everything", "crm");
    let relay = Process::serve(&write_config(&setup.folder(), &setup.text())).await;
    post(&format!("http://{}/hooks/calls", relay.callbacks), &callback("call.1")).await.id();
    let refused = [("target", "crm"), ("outcome", "retry"), ("cause", "tls")];
    eventually("an attempt that failed", || async {
        relay.metrics().await.get("hookswitch_delivery_attempts_total", &refused) == 1.0
    })
    .await;
    let (_, log) = relay.terminate().await;

    let said: Vec<&String> = log.iter().filter(|line| line.contains("UnknownIssuer")).collect();
    assert!(said.len() == 1 && said[0].contains("\"target\":\"crm\""), "{said:?}");
}
