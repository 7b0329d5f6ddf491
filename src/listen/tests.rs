//! What a listener bears from peers that are slow, silent or hostile.

use std::{
    future::{pending, ready},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use prometheus::IntGauge;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{PrivateKeyDer, ServerName},
    sign::CertifiedKey,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::*;

/// A listener with TLS whose road answers at once, or never below `/never`.
struct House {
    address: SocketAddr,
    open: IntGauge,
    asked: Arc<AtomicUsize>,
    roots: RootCertStore,
    drain: Drain,
}

/// So long that a test which waits for it fails.
const NEVER: Duration = Duration::from_hours(1);

const PATIENCE: Patience =
    Patience { handshake: NEVER, head: NEVER, idle: NEVER, leaving: Duration::from_millis(50) };

const SOON: Duration = Duration::from_millis(200);

impl House {
    async fn open(patience: Patience, max_connections: usize) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = rustls::crypto::ring::default_provider();
        let chain = vec![made.cert.der().clone()];
        let pair = CertifiedKey::from_der(chain, key, &provider).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let tls = Tls::new(Arc::new(pair)).unwrap();

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let open = IntGauge::new("open", "open").unwrap();
        let (asked, drain) = (Arc::new(AtomicUsize::new(0)), Drain::new());
        let counted = Arc::clone(&asked);
        let road = move |_| {
            let counted = Arc::clone(&counted);
            service_fn(move |request: Request<Incoming>| {
                counted.fetch_add(1, Ordering::SeqCst);
                let never = request.uri().path() == "/never";
                async move {
                    if never {
                        pending::<()>().await;
                    }
                    ready(Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"ok")))))
                        .await
                }
            })
        };
        let door = Door {
            listener,
            security: Security::new(Some(&tls)),
            max_connections,
            patience,
            open: Some(open.clone()),
        };
        drain.spawn("door", door.accept(road, drain.clone()));
        Self { address, open, asked, roots, drain }
    }

    /// A connection on which a protocol is agreed, and nothing is said yet.
    async fn shaken(&self, protocol: &[u8]) -> TlsStream<TcpStream> {
        let provider = rustls::crypto::ring::default_provider();
        let mut config = ClientConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        let connector = TlsConnector::from(Arc::new(config));
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        within(connector.connect(name, stream)).await.unwrap()
    }

    async fn all_gone(&self) {
        within(async {
            while self.open.get() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.drain.stop();
    }
}

async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("waited in vain")
}

/// Everything until the listener closes, by whatever means.
async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut rest = Vec::new();
    drop(within(stream.read_to_end(&mut rest)).await);
    rest
}

/// A frame of HTTP/2 (RFC 9113, 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const ENDS_STREAM_AND_HEADERS: u8 = 5;
const ENHANCE_YOUR_CALM: u32 = 11;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// `GET https://a` and this path, in HPACK without its tables of names to come.
fn get(stream: u32, path: &str) -> Vec<u8> {
    // `:method GET`, `:scheme https`; `:path` and `:authority` literally.
    let mut head = vec![0x82, 0x87, 0x04, u8::try_from(path.len()).unwrap()];
    head.extend(path.as_bytes());
    head.extend([0x01, 1, b'a']);
    frame(HEADERS, ENDS_STREAM_AND_HEADERS, stream, &head)
}

/// The frames in what came: kind, stream, payload.
fn frames(mut bytes: &[u8]) -> Vec<(u8, u32, &[u8])> {
    let mut frames = Vec::new();
    while bytes.len() >= 9 {
        let length =
            usize::try_from(u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]])).unwrap();
        let stream = u32::from_be_bytes(bytes[5..9].try_into().unwrap());
        let Some(payload) = bytes.get(9..9 + length) else { break };
        frames.push((bytes[3], stream, payload));
        bytes = &bytes[9 + length..];
    }
    frames
}

/// The last code that a GOAWAY among them gives.
fn goodbye(bytes: &[u8]) -> Option<u32> {
    let last = frames(bytes).into_iter().rfind(|(kind, ..)| *kind == GOAWAY)?;
    Some(u32::from_be_bytes(last.2[4..8].try_into().unwrap()))
}

#[tokio::test]
async fn a_peer_that_resets_streams_as_fast_as_it_opens_them_is_cut_off() {
    let house = House::open(PATIENCE, 10).await;
    let mut peer = house.shaken(b"h2").await;
    let mut storm = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    for n in 0..5_000 {
        storm.extend(get(2 * n + 1, "/never"));
        storm.extend(frame(RST_STREAM, 0, 2 * n + 1, &8_u32.to_be_bytes()));
    }
    drop(peer.write_all(&storm).await);

    let told = rest(&mut peer).await;

    // A reset of the socket may overtake the farewell; that it ends is what counts.
    assert!(matches!(goodbye(&told), Some(ENHANCE_YOUR_CALM) | None), "{:?}", frames(&told));
    house.all_gone().await;
    let asked = house.asked.load(Ordering::SeqCst);
    assert!(asked < 1_000, "{asked} of 5000 streams cost the road something");
}

/// Whether a request is still answered on a connection after so many times the same on streams
/// before it.
async fn bears(times: usize, on_stream: impl Fn(u32) -> Vec<u8>) -> bool {
    let house = House::open(PATIENCE, 10).await;
    let mut peer = house.shaken(b"h2").await;
    let last = 2 * u32::try_from(times).unwrap() + 1;
    // In one write, so that all of it is read before the first stream is served.
    let mut said = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    for stream in (1..last).step_by(2) {
        said.extend(get(stream, "/never"));
        said.extend(on_stream(stream));
    }
    said.extend(get(last, "/"));
    peer.write_all(&said).await.unwrap();
    let mut told = Vec::new();
    let mut is_open = true;
    while is_open {
        if frames(&told).iter().any(|(kind, stream, _)| (*kind, *stream) == (DATA, last)) {
            return true;
        }
        is_open = within(peer.read_buf(&mut told)).await.is_ok_and(|read| read > 0);
    }
    assert!(matches!(goodbye(&told), Some(ENHANCE_YOUR_CALM) | None), "{:?}", frames(&told));
    house.all_gone().await;
    false
}

#[tokio::test]
async fn streams_that_are_reset_before_they_are_served_are_borne_up_to_the_limit() {
    let reset = |stream| frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());

    assert!(bears(RESETS_MAX, reset).await);
    assert!(!bears(RESETS_MAX + 1, reset).await);
}

#[tokio::test]
async fn faults_for_which_streams_are_reset_are_borne_up_to_the_limit() {
    // A window beyond what there can be.
    let fault = |stream| frame(WINDOW_UPDATE, 0, stream, &0x7FFF_FFFF_u32.to_be_bytes());

    assert!(bears(RESETS_MAX, fault).await);
    assert!(!bears(RESETS_MAX + 1, fault).await);
}

#[tokio::test]
async fn no_connection_has_more_streams_served_at_once_than_it_is_told() {
    let house = House::open(PATIENCE, 10).await;
    let mut peer = house.shaken(b"h2").await;
    let mut all = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    for n in 0..STREAMS_MAX + 20 {
        all.extend(get(2 * n + 1, "/never"));
    }
    peer.write_all(&all).await.unwrap();

    // Each of those too many is refused by a reset, and the others go on.
    let mut told = Vec::new();
    within(async {
        while frames(&told).iter().filter(|(kind, ..)| *kind == RST_STREAM).count() < 20 {
            assert!(peer.read_buf(&mut told).await.unwrap() > 0, "closed");
        }
    })
    .await;
    within(async {
        while house.asked.load(Ordering::SeqCst) < usize::try_from(STREAMS_MAX).unwrap() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(house.asked.load(Ordering::SeqCst), usize::try_from(STREAMS_MAX).unwrap());
}

#[tokio::test]
async fn a_handshake_that_is_never_ended_holds_its_place_for_a_time_only() {
    let house = House::open(Patience { handshake: SOON, ..PATIENCE }, 2).await;
    let mut silent = TcpStream::connect(house.address).await.unwrap();
    let mut halting = TcpStream::connect(house.address).await.unwrap();
    halting.write_all(&[0x16, 0x03, 0x01, 0x02]).await.unwrap();

    // Both places are taken, and given back.
    let mut third = house.shaken(b"http/1.1").await;
    third.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();

    assert!(rest(&mut third).await.ends_with(b"ok"));
    assert!(rest(&mut silent).await.is_empty());
    rest(&mut halting).await;
    house.all_gone().await;
}

#[tokio::test]
async fn a_head_that_is_never_ended_closes_its_connection_of_tls_too() {
    let house = House::open(Patience { head: SOON, ..PATIENCE }, 10).await;
    for said in [&b""[..], b"GET / HTTP/1.1\r\nhost: a\r\nx: "] {
        let mut slow = house.shaken(b"http/1.1").await;
        slow.write_all(said).await.unwrap();
        rest(&mut slow).await;
    }
    // The time begins again with each head: a connection between two requests ends as well.
    let mut kept = house.shaken(b"http/1.1").await;
    kept.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    assert!(rest(&mut kept).await.ends_with(b"ok"));

    house.all_gone().await;
    assert_eq!(house.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_connection_of_http_2_on_which_nothing_is_asked_is_closed() {
    let house = House::open(Patience { idle: SOON, ..PATIENCE }, 10).await;
    // One that never says hello, and one that does, asks once, and answers no ping.
    let mut mute = house.shaken(b"h2").await;
    let mut kept = house.shaken(b"h2").await;
    let hello = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &get(1, "/")].concat();
    kept.write_all(&hello).await.unwrap();

    rest(&mut mute).await;
    let told = rest(&mut kept).await;

    assert!(frames(&told).iter().any(|(kind, stream, _)| (*kind, *stream) == (DATA, 1)));
    assert!(goodbye(&told).is_some(), "{:?}", frames(&told));
    house.all_gone().await;
}

#[tokio::test]
async fn a_connection_whose_peer_does_not_read_its_answer_is_closed() {
    let house = House::open(Patience { idle: SOON, ..PATIENCE }, 10).await;
    let mut deaf = house.shaken(b"h2").await;
    // No window for any answer (SETTINGS_INITIAL_WINDOW_SIZE, 4, is 0).
    let settings = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    deaf.write_all(&[PREFACE, &settings, &get(1, "/")].concat()).await.unwrap();

    let told = rest(&mut deaf).await;

    assert!(!frames(&told).iter().any(|(kind, ..)| *kind == DATA));
    house.all_gone().await;
}

#[tokio::test]
async fn a_request_that_takes_long_keeps_its_connection() {
    let house = House::open(Patience { idle: Duration::from_millis(20), ..PATIENCE }, 10).await;
    let mut peer = house.shaken(b"h2").await;
    let settings = frame(SETTINGS, 0, 0, &[]);
    peer.write_all(&[PREFACE, &settings, &get(1, "/never")].concat()).await.unwrap();
    let mut told = Vec::new();

    // Long after an idle one would be closed, it is open still, and no farewell was said.
    let listening = async { while peer.read_buf(&mut told).await.unwrap() > 0 {} };
    assert!(tokio::time::timeout(Duration::from_millis(500), listening).await.is_err());

    assert_eq!((house.open.get(), goodbye(&told)), (1, None));
    peer.write_all(&frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes())).await.unwrap();
}

#[tokio::test]
async fn over_the_limit_a_connection_waits_until_another_ends() {
    let house = House::open(PATIENCE, 1).await;
    let mut first = house.shaken(b"http/1.1").await;
    first.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    within(async {
        while !answer.ends_with(b"ok") {
            assert!(first.read_buf(&mut answer).await.unwrap() > 0);
        }
    })
    .await;

    let mut second = Box::pin(house.shaken(b"http/1.1"));
    let early = tokio::time::timeout(SOON, second.as_mut()).await;
    assert!(early.is_err(), "two at one time");
    drop(first);
    let mut second = second.await;
    second.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    assert!(rest(&mut second).await.ends_with(b"ok"));
}
