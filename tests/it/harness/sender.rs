//! Providers, as the relay sees them.

use std::{net::SocketAddr, sync::Once, time::Duration};

use reqwest::{Client, StatusCode, header::HeaderMap, redirect::Policy};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::harness::within;

pub(crate) const API_KEY: &str = "test-key";

/// What a sender was told.
#[derive(Debug)]
pub(crate) struct Ack {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

/// A connection that is written byte by byte.
#[derive(Debug)]
pub(crate) struct Raw(TcpStream);

// === impl Ack ===

impl Ack {
    pub(crate) async fn of(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        Self { status, headers, body: response.text().await.unwrap() }
    }

    /// The id of an acked event.
    pub(crate) fn id(&self) -> String {
        assert!(self.status.is_success(), "not acked: {self:?}");
        let body: Value = serde_json::from_str(&self.body).unwrap();
        body["id"].as_str().unwrap().to_owned()
    }
}

// === impl Raw ===

impl Raw {
    pub(crate) async fn connect(to: SocketAddr) -> Self {
        Self(TcpStream::connect(to).await.unwrap())
    }

    /// Sends bytes; a relay that has closed already is no failure here.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.0.write_all(bytes.as_ref()).await;
    }

    /// Says that nothing more comes, and goes on listening.
    pub(crate) async fn end(&mut self) {
        let _ = self.0.shutdown().await;
    }

    /// Everything until the relay closes. A reset is a failure: the answer would be lost.
    pub(crate) async fn rest(mut self) -> String {
        let mut rest = Vec::new();
        let read = within("the relay's answer and its end", self.0.read_to_end(&mut rest)).await;
        read.expect("the answer must not be cut off by a reset");
        String::from_utf8(rest).unwrap()
    }

    /// One head (and what came with it), without waiting for the relay to close.
    pub(crate) async fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.windows(4).any(|window| window == b"\r\n\r\n") {
            let mut chunk = [0; 1024];
            let read = within("the head of an answer", self.0.read(&mut chunk)).await.unwrap();
            assert!(read > 0, "closed before an answer: {}", String::from_utf8_lossy(&head));
            head.extend_from_slice(&chunk[..read]);
        }
        String::from_utf8(head).unwrap()
    }
}

/// An 11x callback; `call` makes it one of its own.
pub(crate) fn callback(call: &str) -> Value {
    json!({
        "agentId": "agent.t1",
        "agentName": "Test Agent",
        "callId": call,
        "name": "Ada Sample",
        "phoneNumber": "+15550100123",
        "phoneNumberExt": "",
        "fromPhoneNumber": "+15550100199",
        "scheduledAt": "2025-01-20T14:00:00.000Z",
        "timezone": "Europe/London",
        "direction": "outbound",
        "customInputVariables": {},
        "duration": 60,
        "callUrl": "https://calls.example.com/1",
        "rescheduledAt": null,
        "callResult": { "resultType": "Goal Completed", "summary": "She agreed." },
    })
}

/// A client of its own: its connections are shared with no other.
pub(crate) fn client() -> Client {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| rustls::crypto::ring::default_provider().install_default().unwrap());
    Client::builder().no_proxy().redirect(Policy::none()).build().unwrap()
}

/// Sends a callback as 11x does.
pub(crate) async fn post(url: &str, body: &Value) -> Ack {
    let sent = client()
        .post(url)
        .header("x-api-key", API_KEY)
        .header("content-type", "application/json")
        .timeout(Duration::from_mins(1))
        .body(body.to_string())
        .send()
        .await;
    Ack::of(sent.unwrap()).await
}
