//! What targets that misbehave are called.

use std::time::Duration;

use super::*;
use crate::delivery::client::NEVER_FOUND;

async fn met(script: fn(usize) -> Act) -> Outcome {
    attempt(&Receiver::start(script).await.url).await
}

/// For targets that never come to an end, so that nobody waits for the usual timeout.
async fn met_in_a_hurry(script: fn(usize) -> Act) -> Outcome {
    attempt_within(Duration::from_millis(500), &Receiver::start(script).await.url).await
}

async fn attempt(url: &str) -> Outcome {
    attempt_within(Duration::from_secs(10), url).await
}

async fn attempt_within(timeout: Duration, url: &str) -> Outcome {
    let mut settings = http("crm", url);
    if let Place::Http(http) = &mut settings.place {
        http.timeout = timeout;
    }
    let drain = Drain::new();
    let tls = Tls::system(false).unwrap();
    let target = Target::new(&settings, &tls, &drain, counter()).unwrap();
    let store = Memory::default();
    store.enqueue(&["crm"], "{}", noon());
    let due = store.due(&settings.name, noon(), &[], Room::of(1)).await.unwrap();
    let outcome = target.way.attempt(&due.deliveries[0], &store, noon()).await;
    let error = outcome.error.as_deref().unwrap_or_default();
    assert!(!error.contains("hush"), "the URL's secret is in {error}");
    outcome
}

fn answered(status: u16, broken: Option<Cause>) -> Met {
    Met::Answer { status: StatusCode::from_u16(status).unwrap(), retry_after: None, broken }
}

#[tokio::test]
async fn a_target_that_never_answers_is_a_timeout() {
    let outcome = met_in_a_hurry(|_| Act::Hang).await;

    assert_eq!(outcome.met, Met::Failed(Cause::Timeout));
    assert_eq!(outcome.error.as_deref(), Some("no answer within 500ms"));
}

#[tokio::test]
async fn a_target_that_answers_a_byte_at_a_time_is_a_timeout() {
    let outcome = met_in_a_hurry(|_| Act::Drip).await;

    assert_eq!(outcome.met, answered(200, Some(Cause::Timeout)));
    assert!(outcome.snippet.is_some());
}

#[tokio::test]
async fn a_target_that_breaks_the_connection_off_is_a_reset() {
    assert_eq!(met(|_| Act::Reset).await.met, Met::Failed(Cause::Reset));
    assert_eq!(met(|_| Act::Raw(b"")).await.met, Met::Failed(Cause::Reset));
    assert_eq!(met(|_| Act::Raw(b"HTTP/1.1 200 O")).await.met, Met::Failed(Cause::Reset));
}

#[tokio::test]
async fn a_target_that_closes_in_the_middle_of_its_answer_is_a_reset() {
    let cut = met(|_| Act::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")).await;
    assert_eq!(cut.met, answered(200, Some(Cause::Reset)));
    assert_eq!(cut.snippet.as_deref(), Some(b"half".as_slice()));

    let cut =
        met(|_| Act::Raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nhalf")).await;
    assert_eq!(cut.met, answered(200, Some(Cause::Reset)));
}

#[tokio::test]
async fn a_target_that_does_not_speak_http_is_a_protocol_error() {
    assert_eq!(
        met(|_| Act::Raw(b"220 mail ready\r\n\r\n")).await.met,
        Met::Failed(Cause::Protocol)
    );

    let bad =
        met(|_| Act::Raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nhalf\r\n"))
            .await;
    assert_eq!(bad.met, answered(200, Some(Cause::Protocol)));
}

#[tokio::test]
async fn an_answer_over_the_cap_is_oversized_whether_it_says_so_or_not() {
    let told = met(|_| Act::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\nxx")).await;
    assert_eq!(told.met, answered(200, Some(Cause::Oversized)));

    let endless = met(|_| Act::Endless).await;
    assert_eq!(endless.met, answered(200, Some(Cause::Oversized)));
    assert_eq!(endless.snippet.unwrap().len(), 4096);
}

#[tokio::test]
async fn an_answer_under_the_cap_is_read_whole_and_its_first_bytes_kept() {
    const PAGE: &[u8] = &[b'p'; 100_000];
    let outcome = met(|_| Act::Answer(500, &[], PAGE)).await;

    assert_eq!(outcome.met, answered(500, None));
    assert_eq!(outcome.snippet.unwrap(), vec![b'p'; 4096]);
    assert_eq!(outcome.error, None);
}

#[tokio::test]
async fn a_name_that_is_looked_up_for_ever_is_no_connection_within_its_time() {
    let mut settings = http("crm", &format!("http://{NEVER_FOUND}/"));
    if let Place::Http(http) = &mut settings.place {
        http.connect_timeout = Duration::from_millis(20);
    }
    let world = World::start(vec![settings]);
    world.enqueue(&["crm"]);

    let row = world.attempted("crm", 1).await;

    assert_eq!(row.attempts[0].error.as_deref(), Some("no connection within 20ms"));
    let line =
        r#"hookswitch_delivery_attempts_total{cause="connect",outcome="retry",target="crm"} 1"#;
    eventually("the counter", || world.registry.page().contains(line)).await;
}

#[tokio::test]
async fn nobody_listening_is_no_connection() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/?key=hush", listener.local_addr().unwrap());
    drop(listener);

    let outcome = attempt(&url).await;

    assert_eq!(outcome.met, Met::Failed(Cause::Connect));
    assert!(outcome.error.unwrap().contains("refused"));
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_called_so() {
    // A label may have 63 characters, so no name server is asked.
    let url = format!("http://{}.example.com/?key=hush", "x".repeat(64));

    assert_eq!(attempt(&url).await.met, Met::Failed(Cause::Dns));
}

#[tokio::test]
async fn a_secure_target_that_does_not_speak_tls_is_called_so() {
    let receiver = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/?key=hush", receiver.local_addr().unwrap());
    let plain = async {
        let (mut stream, _) = receiver.accept().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 -\r\n\r\n").await.unwrap();
        std::future::pending::<()>().await;
    };

    let outcome = tokio::select! {
        outcome = attempt(&url) => outcome,
        () = plain => unreachable!(),
    };

    assert_eq!(outcome.met, Met::Failed(Cause::Tls));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let receiver = Receiver::start(|_| Act::Answer(307, &[("location", "/elsewhere")], b"")).await;

    assert_eq!(attempt(&receiver.url).await.met, answered(307, None));
    assert_eq!(receiver.count(), 1);
}

#[tokio::test]
async fn a_retry_after_is_carried_as_sent() {
    let outcome = met(|_| Act::Answer(429, &[("Retry-After", "120")], b"")).await;

    let status = StatusCode::TOO_MANY_REQUESTS;
    let retry_after = Some("120".to_owned());
    assert_eq!(outcome.met, Met::Answer { status, retry_after, broken: None });
}
