//! A target that does what a script says, on a port of its own.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};

/// What it does with one request.
pub(super) enum Act {
    /// Answers, with these headers and this body.
    Answer(u16, &'static [(&'static str, &'static str)], &'static [u8]),
    /// Writes these bytes, whatever they are, and closes.
    Raw(&'static [u8]),
    /// Announces no end, and writes for as long as anybody reads.
    Endless,
    /// Answers 200 with a body that comes a byte at a time.
    Drip,
    /// Never answers.
    Hang,
    /// Breaks the connection off.
    Reset,
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
}

/// A receiver; it ends when dropped.
pub(super) struct Receiver {
    pub(super) url: String,
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

    /// Answers only what is [released](Self::release).
    pub(super) async fn held(script: impl Fn(usize) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/events?key=hush", listener.local_addr().unwrap());
        let scripted = Arc::new(Scripted {
            script: Box::new(script),
            seen: Mutex::default(),
            answers: Semaphore::new(0),
        });
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, Arc::clone(&scripted)));
        Self { url, scripted, _accepting: accepting }
    }

    /// Lets that many more answers go.
    pub(super) fn release(&self, answers: usize) {
        self.scripted.answers.add_permits(answers);
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.scripted.seen.lock().unwrap().requests.clone()
    }

    pub(super) fn count(&self) -> usize {
        self.scripted.seen.lock().unwrap().requests.len()
    }

    /// The most requests that were open at one time.
    pub(super) fn open_max(&self) -> usize {
        self.scripted.seen.lock().unwrap().open_max
    }
}

async fn accept(listener: TcpListener, scripted: Arc<Scripted>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let scripted = Arc::clone(&scripted);
        connections.spawn(async move {
            // A client that goes away in the middle is what many of the scripts provoke.
            drop(serve(stream, &scripted).await);
        });
    }
}

async fn serve(mut stream: TcpStream, scripted: &Scripted) -> io::Result<()> {
    let mut buffer = Vec::new();
    while let Some(request) = read(&mut stream, &mut buffer).await? {
        let number = {
            let mut seen = scripted.seen.lock().unwrap();
            seen.requests.push(request);
            seen.open += 1;
            seen.open_max = seen.open_max.max(seen.open);
            seen.requests.len() - 1
        };
        let act = (scripted.script)(number);
        scripted.answers.acquire().await.unwrap().forget();
        // Before the answer's last byte: the client may send its next when it has that.
        scripted.seen.lock().unwrap().open -= 1;
        if !perform(act, &mut stream).await? {
            break;
        }
    }
    Ok(())
}

/// Whether the connection can go on.
async fn perform(act: Act, stream: &mut TcpStream) -> io::Result<bool> {
    match act {
        Act::Answer(status, headers, body) => {
            let mut head = format!("HTTP/1.1 {status} -\r\ncontent-length: {}\r\n", body.len());
            for (name, value) in headers {
                head.extend([name, ": ", value, "\r\n"]);
            }
            head.push_str("\r\n");
            stream.write_all(&[head.as_bytes(), body].concat()).await?;
            Ok(true)
        }
        Act::Raw(bytes) => {
            stream.write_all(bytes).await?;
            stream.shutdown().await?;
            Ok(false)
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
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        }
        Act::Hang => std::future::pending().await,
        Act::Reset => {
            stream.set_zero_linger()?;
            Ok(false)
        }
    }
}

async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<Request>> {
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
