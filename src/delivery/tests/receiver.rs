//! A target that does what a script says, on a port of its own.

use std::{
    collections::HashMap,
    future::{pending, poll_fn},
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use h2::{
    Ping, PingPong, Reason, RecvStream, SendStream,
    server::{SendResponse, handshake},
};
use http::Response;
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Notify, Semaphore},
    task::JoinSet,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::authority::{Age, Authority};
use crate::delivery::tls;

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speech {
    /// HTTP/1.1.
    Plain,
    /// The same over TLS.
    Secure,
    /// HTTP/2 over TLS.
    Http2,
}

/// All of it.
pub(super) const SPEECHES: [Speech; 3] = [Speech::Plain, Speech::Secure, Speech::Http2];

/// What it does with one request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    /// Answers, with these headers and this body.
    Answer(u16, &'static [(&'static str, &'static str)], &'static [u8]),
    /// Writes these bytes, whatever they are, and closes. Not over HTTP/2.
    Raw(&'static [u8]),
    /// The same without a word that it closes, which over TLS is a difference.
    Cut(&'static [u8]),
    /// Answers 200, says half of what it announces, and is gone.
    Half,
    /// Answers 200, announces a gigabyte, and says no more.
    Announce,
    /// Announces no end, and writes for as long as anybody reads.
    Endless,
    /// Answers 200 with a body that comes a byte at a time.
    Drip,
    /// Never answers.
    Hang,
    /// Breaks the connection off; over HTTP/2 only what belongs to this request.
    Reset,
    /// Says that it has not looked at this request, and takes others. Over HTTP/2 only.
    Refuse,
}

/// One request as it came.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) line: String,
    /// By lower-case name.
    pub(super) headers: HashMap<String, String>,
    pub(super) body: Vec<u8>,
}

#[derive(Default)]
struct Seen {
    connections: usize,
    requests: Vec<Request>,
    open: usize,
    open_max: usize,
}

type Script = Box<dyn Fn(usize) -> Act + Send + Sync>;

struct Scripted {
    script: Script,
    seen: Mutex<Seen>,
    /// One permit for each answer that may be given.
    answers: Semaphore,
    /// So many connections of HTTP/2 are left before a request on them was looked at.
    leaving: AtomicUsize,
}

/// A receiver; it ends when dropped.
pub(super) struct Receiver {
    pub(super) url: String,
    /// What its clients need to trust it, over TLS.
    pub(super) trust: Option<tls::Settings>,
    scripted: Arc<Scripted>,
    _accepting: JoinSet<()>,
}

impl Receiver {
    /// Answers at once. The script is asked with the number of the request, from 0.
    pub(super) async fn start(script: impl Fn(usize) -> Act + Send + Sync + 'static) -> Self {
        let receiver = Self::held(script).await;
        receiver.release(Semaphore::MAX_PERMITS);
        receiver
    }

    /// The same in another speech.
    pub(super) async fn speaking(
        speech: Speech,
        script: impl Fn(usize) -> Act + Send + Sync + 'static,
    ) -> Self {
        let protocol: &[u8] = match speech {
            Speech::Plain => return Self::start(script).await,
            Speech::Secure => b"http/1.1",
            Speech::Http2 => b"h2",
        };
        let authority = Authority::new();
        let server = authority.vouch("localhost", Age::Valid).server(None, protocol);
        let mut receiver = Self::secured(server, script).await;
        receiver.trust = Some(authority.trusted());
        receiver
    }

    /// One that shakes hands like this.
    pub(super) async fn secured(
        server: Arc<ServerConfig>,
        script: impl Fn(usize) -> Act + Send + Sync + 'static,
    ) -> Self {
        let receiver = Self::listening(Some(server.into()), script).await;
        receiver.release(Semaphore::MAX_PERMITS);
        receiver
    }

    /// Answers only what is [released](Self::release).
    pub(super) async fn held(script: impl Fn(usize) -> Act + Send + Sync + 'static) -> Self {
        Self::listening(None, script).await
    }

    async fn listening(
        tls: Option<TlsAcceptor>,
        script: impl Fn(usize) -> Act + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let url = match &tls {
            None => format!("http://{address}/events?key=hush"),
            Some(_) => format!("https://localhost:{}/events?key=hush", address.port()),
        };
        let scripted = Arc::new(Scripted {
            script: Box::new(script),
            seen: Mutex::default(),
            answers: Semaphore::new(0),
            leaving: AtomicUsize::new(0),
        });
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, tls, Arc::clone(&scripted)));
        Self { url, trust: None, scripted, _accepting: accepting }
    }

    /// Lets that many more answers go.
    pub(super) fn release(&self, answers: usize) {
        self.scripted.answers.add_permits(answers);
    }

    /// Leaves its first connection of HTTP/2 before it has looked at a request on it.
    pub(super) fn leaves_first(&self) {
        self.scripted.leaving.store(1, Ordering::SeqCst);
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.scripted.seen.lock().unwrap().requests.clone()
    }

    pub(super) fn count(&self) -> usize {
        self.scripted.seen.lock().unwrap().requests.len()
    }

    /// How many connections there were.
    pub(super) fn connections(&self) -> usize {
        self.scripted.seen.lock().unwrap().connections
    }

    /// The most requests that were open at one time.
    pub(super) fn open_max(&self) -> usize {
        self.scripted.seen.lock().unwrap().open_max
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, scripted: Arc<Scripted>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (scripted, tls) = (Arc::clone(&scripted), tls.clone());
        connections.spawn(async move {
            // A client that goes away in the middle is what many of the scripts provoke.
            drop(meet(stream, tls, &scripted).await);
        });
    }
}

async fn meet(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    scripted: &Arc<Scripted>,
) -> io::Result<()> {
    let Some(tls) = tls else {
        scripted.seen.lock().unwrap().connections += 1;
        return serve(stream, scripted).await;
    };
    let stream = tls.accept(stream).await?;
    let connection = {
        let mut seen = scripted.seen.lock().unwrap();
        seen.connections += 1;
        seen.connections
    };
    match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") if connection <= scripted.leaving.load(Ordering::SeqCst) => {
            go_away(stream).await
        }
        Some(b"h2") => serve_streams(stream, scripted).await.map_err(io::Error::other),
        _ => serve(stream, scripted).await,
    }
}

impl Scripted {
    /// What to do with a request, once that may be done.
    async fn act(&self, request: Request) -> Act {
        let number = {
            let mut seen = self.seen.lock().unwrap();
            seen.requests.push(request);
            seen.open += 1;
            seen.open_max = seen.open_max.max(seen.open);
            seen.requests.len() - 1
        };
        let act = (self.script)(number);
        self.answers.acquire().await.unwrap().forget();
        // Before the answer's last byte: the client may send its next when it has that.
        self.seen.lock().unwrap().open -= 1;
        act
    }
}

// === HTTP/1.1 ===

/// A stream of bytes, over TLS or not.
trait Wire: AsyncRead + AsyncWrite + Unpin {
    fn tcp(&self) -> &TcpStream;
}

impl Wire for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Wire for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

async fn serve(mut stream: impl Wire, scripted: &Scripted) -> io::Result<()> {
    let mut buffer = Vec::new();
    while let Some(request) = read(&mut stream, &mut buffer).await? {
        let act = scripted.act(request).await;
        if !perform(act, &mut stream).await? {
            break;
        }
    }
    Ok(())
}

/// Whether the connection can go on.
async fn perform(act: Act, stream: &mut impl Wire) -> io::Result<bool> {
    match act {
        Act::Answer(status, headers, body) => {
            let mut head = format!("HTTP/1.1 {status} -\r\ncontent-length: {}\r\n", body.len());
            for (name, value) in headers {
                head.extend([name, ": ", value, "\r\n"]);
            }
            head.push_str("\r\n");
            stream.write_all(&[head.as_bytes(), body].concat()).await?;
            stream.flush().await?;
            Ok(true)
        }
        Act::Raw(bytes) => {
            stream.write_all(bytes).await?;
            stream.shutdown().await?;
            Ok(false)
        }
        Act::Cut(bytes) => {
            stream.write_all(bytes).await?;
            stream.flush().await?;
            Ok(false)
        }
        Act::Half => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf").await?;
            stream.flush().await?;
            Ok(false)
        }
        Act::Announce => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n").await?;
            stream.flush().await?;
            pending().await
        }
        Act::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
            loop {
                stream.write_all(&[b'x'; 8 * 1024]).await?;
            }
        }
        Act::Drip => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n").await?;
            loop {
                stream.write_all(b"x").await?;
                stream.flush().await?;
                tokio::time::sleep(DRIP_EVERY).await;
            }
        }
        Act::Hang => pending().await,
        Act::Reset => {
            stream.tcp().set_zero_linger()?;
            Ok(false)
        }
        Act::Refuse => unreachable!("over HTTP/2 only"),
    }
}

const DRIP_EVERY: Duration = Duration::from_millis(10);

async fn read(stream: &mut impl Wire, buffer: &mut Vec<u8>) -> io::Result<Option<Request>> {
    let head_end = loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8(buffer[..head_end].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap().to_owned();
    let headers: HashMap<String, String> = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length: usize = headers["content-length"].parse().unwrap();
    while buffer.len() < head_end + 4 + length {
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
    let body = buffer[head_end + 4..head_end + 4 + length].to_vec();
    buffer.drain(..head_end + 4 + length);
    Ok(Some(Request { line, headers, body }))
}

// === HTTP/2 ===

/// Waits for a request on a connection, says that it takes none any more, not even this, and
/// leaves as soon as nobody is there.
async fn go_away(mut stream: TlsStream<TcpStream>) -> io::Result<()> {
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await?;
    let mut kind = 0xff;
    while kind != 1 {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        kind = head[3];
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        stream.read_exact(&mut vec![0; usize::try_from(length).unwrap()]).await?;
    }
    // Empty settings; then the last stream that was looked at is none, and there was no error.
    stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await?;
    stream.write_all(&[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).await?;
    stream.flush().await?;
    stream.read_to_end(&mut Vec::new()).await?;
    Ok(())
}

/// What the streams of a connection share.
struct Trunk {
    pings: tokio::sync::Mutex<PingPong>,
    gone: Notify,
}

async fn serve_streams(
    stream: TlsStream<TcpStream>,
    scripted: &Arc<Scripted>,
) -> Result<(), h2::Error> {
    let mut connection = handshake(stream).await?;
    let pings = tokio::sync::Mutex::new(connection.ping_pong().unwrap());
    let trunk = Arc::new(Trunk { pings, gone: Notify::new() });
    let mut performing = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = connection.accept() => accepted,
            () = trunk.gone.notified() => return Ok(()),
        };
        let Some(accepted) = accepted else { return Ok(()) };
        let (request, respond) = accepted?;
        let (scripted, trunk) = (Arc::clone(scripted), Arc::clone(&trunk));
        performing.spawn(async move {
            let act = scripted.act(received(request).await?).await;
            stream_of(act, respond, &trunk).await
        });
    }
}

async fn received(request: http::Request<RecvStream>) -> Result<Request, h2::Error> {
    let (head, mut stream) = request.into_parts();
    let line = format!("{} {} HTTP/2", head.method, head.uri.path());
    let named = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.as_str().to_owned(), value.to_str().unwrap().to_owned())
    };
    let headers = head.headers.iter().map(named).collect();
    let mut body = Vec::new();
    while let Some(chunk) = stream.data().await {
        let chunk = chunk?;
        body.extend_from_slice(&chunk);
        stream.flow_control().release_capacity(chunk.len())?;
    }
    Ok(Request { line, headers, body })
}

async fn stream_of(
    act: Act,
    mut respond: SendResponse<Bytes>,
    trunk: &Trunk,
) -> Result<(), h2::Error> {
    let head = |length: &'static str| Response::builder().header("content-length", length);
    match act {
        Act::Answer(status, headers, body) => {
            let mut head = Response::builder().status(status);
            for (name, value) in headers {
                head = head.header(*name, *value);
            }
            let mut stream = respond.send_response(head.body(()).unwrap(), body.is_empty())?;
            if !body.is_empty() {
                stream.send_data(Bytes::from_static(body), true)?;
            }
            Ok(())
        }
        Act::Raw(_) | Act::Cut(_) => unreachable!("not over HTTP/2"),
        Act::Half => {
            let mut stream = respond.send_response(head("8").body(()).unwrap(), false)?;
            stream.send_data(Bytes::from_static(b"half"), false)?;
            // Once this is answered, the half has been read.
            trunk.pings.lock().await.ping(Ping::opaque()).await?;
            trunk.gone.notify_one();
            pending().await
        }
        Act::Announce => {
            let _stream = respond.send_response(head("1000000000").body(()).unwrap(), false)?;
            pending().await
        }
        Act::Endless => {
            let mut stream = respond.send_response(Response::new(()), false)?;
            loop {
                send(&mut stream, &[b'x'; 8 * 1024]).await?;
            }
        }
        Act::Drip => {
            let mut stream = respond.send_response(head("100000").body(()).unwrap(), false)?;
            loop {
                send(&mut stream, b"x").await?;
                tokio::time::sleep(DRIP_EVERY).await;
            }
        }
        Act::Hang => pending().await,
        Act::Reset => {
            respond.send_reset(Reason::INTERNAL_ERROR);
            Ok(())
        }
        Act::Refuse => {
            respond.send_reset(Reason::REFUSED_STREAM);
            Ok(())
        }
    }
}

/// Sends as much of it as the client has room for, as soon as there is any.
async fn send(stream: &mut SendStream<Bytes>, bytes: &'static [u8]) -> Result<(), h2::Error> {
    stream.reserve_capacity(bytes.len());
    match poll_fn(|cx| stream.poll_capacity(cx)).await {
        Some(room) => {
            stream.send_data(Bytes::from_static(bytes).split_to(room?.min(bytes.len())), false)
        }
        None => Err(Reason::CANCEL.into()),
    }
}
