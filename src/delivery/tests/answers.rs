//! What targets that misbehave are called.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio_rustls::TlsAcceptor;

use super::{
    authority::{Age, Authority},
    *,
};
use crate::delivery::client::NEVER_FOUND;

async fn met(speech: Speech, act: Act) -> Outcome {
    let receiver = Receiver::speaking(speech, move |_| act).await;
    attempt(&http_to("crm", &receiver)).await
}

/// For targets that never come to an end, so that nobody waits for the usual timeout.
async fn met_in_a_hurry(speech: Speech, act: Act) -> Outcome {
    let receiver = Receiver::speaking(speech, move |_| act).await;
    let mut settings = http_to("crm", &receiver);
    if let Place::Http(http) = &mut settings.place {
        http.timeout = Duration::from_secs(1);
    }
    attempt(&settings).await
}

async fn attempt(settings: &target::Settings) -> Outcome {
    let drain = Drain::new();
    let tls = Tls::system(false).unwrap();
    let target = Target::new(settings, &tls, &drain, counter()).unwrap();
    let store = Memory::default();
    store.enqueue(&["crm"], "{}", noon());
    let due = store.due(&settings.name, noon(), &[], Room::of(1)).await.unwrap();
    let outcome = target.way.attempt(&due.deliveries[0], &store, noon()).await;
    let error = outcome.error.as_deref().unwrap_or_default();
    assert!(!error.contains("hush"), "the URL's secret is in {error}");
    outcome
}

/// Where bytes can be written that are no HTTP.
const OF_HTTP1: [Speech; 2] = [Speech::Plain, Speech::Secure];

fn answered(status: u16, broken: Option<Cause>) -> Met {
    Met::Answer { status: StatusCode::from_u16(status).unwrap(), retry_after: None, broken }
}

#[tokio::test]
async fn a_target_that_never_answers_is_a_timeout() {
    for speech in SPEECHES {
        let outcome = met_in_a_hurry(speech, Act::Hang).await;

        assert_eq!(outcome.met, Met::Failed(Cause::Timeout), "{speech:?}");
        assert_eq!(outcome.error.as_deref(), Some("no answer within 1s"));
    }
}

#[tokio::test]
async fn a_target_that_answers_a_byte_at_a_time_is_a_timeout() {
    for speech in SPEECHES {
        let outcome = met_in_a_hurry(speech, Act::Drip).await;

        assert_eq!(outcome.met, answered(200, Some(Cause::Timeout)), "{speech:?}");
        assert_eq!(outcome.error.as_deref(), Some("no whole answer within 1s"));
        assert!(outcome.snippet.is_some());
    }
}

#[tokio::test]
async fn a_target_that_breaks_the_connection_off_is_a_reset() {
    for speech in SPEECHES {
        let outcome = met(speech, Act::Reset).await;

        assert_eq!(outcome.met, Met::Failed(Cause::Reset), "{speech:?}: {outcome:?}");
        assert!(outcome.error.is_some());
    }
    for speech in OF_HTTP1 {
        for said in [b"".as_slice(), b"HTTP/1.1 200 O"] {
            for act in [Act::Raw(said), Act::Cut(said)] {
                assert_eq!(met(speech, act).await.met, Met::Failed(Cause::Reset), "{act:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_target_that_closes_in_the_middle_of_its_answer_is_a_reset() {
    const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nhalf";
    for speech in SPEECHES {
        let half = met(speech, Act::Half).await;

        assert_eq!(half.met, answered(200, Some(Cause::Reset)), "{speech:?}: {half:?}");
        assert_eq!(half.snippet.as_deref(), Some(b"half".as_slice()));
    }
    for speech in OF_HTTP1 {
        for act in [Act::Raw(CHUNKED), Act::Cut(CHUNKED)] {
            let cut = met(speech, act).await;
            assert_eq!(cut.met, answered(200, Some(Cause::Reset)), "{speech:?} {act:?}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_is_whole_only_if_tls_says_that_it_ends() {
    const UNMEASURED: &[u8] = b"HTTP/1.1 200 OK\r\n\r\nthanks";
    for act in [Act::Raw(UNMEASURED), Act::Cut(UNMEASURED)] {
        assert_eq!(met(Speech::Plain, act).await.met, answered(200, None));
    }

    assert_eq!(met(Speech::Secure, Act::Raw(UNMEASURED)).await.met, answered(200, None));
    let cut = met(Speech::Secure, Act::Cut(UNMEASURED)).await;
    assert_eq!(cut.met, answered(200, Some(Cause::Reset)), "{cut:?}");
}

#[tokio::test]
async fn a_target_that_does_not_speak_http_is_a_protocol_error() {
    const MAIL: &[u8] = b"220 mail ready\r\n\r\n";
    const NO_CHUNKS: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nhalf\r\n";
    for speech in OF_HTTP1 {
        let mail = met(speech, Act::Raw(MAIL)).await;
        assert_eq!(mail.met, Met::Failed(Cause::Protocol), "{speech:?}");
        let chunks = met(speech, Act::Raw(NO_CHUNKS)).await;
        assert_eq!(chunks.met, answered(200, Some(Cause::Protocol)), "{speech:?}");
    }
}

#[tokio::test]
async fn a_target_that_agrees_on_http_2_and_does_not_speak_it_is_a_protocol_error() {
    let authority = Authority::new();
    let server = authority.vouch("localhost", Age::Valid).server(None, b"h2");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut settings = http("crm", &format!("https://localhost:{port}/?key=hush"));
    if let Place::Http(http) = &mut settings.place {
        http.tls = Some(authority.trusted());
    }
    let mail = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = TlsAcceptor::from(server).accept(stream).await.unwrap();
        stream.write_all(b"220 mail ready\r\n\r\n").await.unwrap();
        stream.flush().await.unwrap();
        std::future::pending::<()>().await;
    };

    let outcome = tokio::select! {
        outcome = attempt(&settings) => outcome,
        () = mail => unreachable!(),
    };

    assert_eq!(outcome.met, Met::Failed(Cause::Protocol), "{outcome:?}");
}

#[tokio::test]
async fn an_answer_over_the_cap_is_oversized_whether_it_says_so_or_not() {
    for speech in SPEECHES {
        let told = met(speech, Act::Announce).await;
        assert_eq!(told.met, answered(200, Some(Cause::Oversized)), "{speech:?}");

        let endless = met(speech, Act::Endless).await;
        assert_eq!(endless.met, answered(200, Some(Cause::Oversized)), "{speech:?}");
        assert_eq!(endless.snippet.unwrap().len(), 4096);
    }
}

#[tokio::test]
async fn an_answer_under_the_cap_is_read_whole_and_its_first_bytes_kept() {
    const PAGE: &[u8] = &[b'p'; 100_000];
    for speech in SPEECHES {
        let outcome = met(speech, Act::Answer(500, &[], PAGE)).await;

        assert_eq!(outcome.met, answered(500, None), "{speech:?}");
        assert_eq!(outcome.snippet.unwrap(), vec![b'p'; 4096]);
        assert_eq!(outcome.error, None);
    }
}

/// The first attempt at this URL, for whose connection there is little time, and for its answer
/// more than a test waits.
async fn assert_no_connection_in_time(url: &str) {
    let mut settings = http("crm", url);
    if let Place::Http(http) = &mut settings.place {
        http.connect_timeout = Duration::from_millis(20);
        http.timeout = Duration::from_hours(1);
        http.tls = Some(Authority::new().trusted());
    }
    let world = World::start(vec![settings]);
    world.enqueue(&["crm"]);

    let row = world.attempted("crm", 1).await;

    assert_eq!(row.attempts[0].error.as_deref(), Some("no connection within 20ms"), "{url}");
    let line =
        r#"hookswitch_delivery_attempts_total{cause="connect",outcome="retry",target="crm"} 1"#;
    eventually("the counter", || world.registry.page().contains(line)).await;
    assert_eq!(world.handle.status()[0].in_flight, 0);
}

#[tokio::test]
async fn a_name_that_is_looked_up_for_ever_is_no_connection_within_its_time() {
    for scheme in ["http", "https"] {
        assert_no_connection_in_time(&format!("{scheme}://{NEVER_FOUND}/?key=hush")).await;
    }
}

#[tokio::test]
async fn a_target_that_takes_no_connection_is_none_within_its_time() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    // One may wait to be accepted, and then nobody else is let in.
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let _waits = tokio::net::TcpStream::connect(address).await.unwrap();

    for scheme in ["http", "https"] {
        assert_no_connection_in_time(&format!("{scheme}://{address}/?key=hush")).await;
    }
}

#[tokio::test]
async fn a_target_that_never_shakes_hands_is_no_connection_within_its_time() {
    // The system accepts for it; it never says a word.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();

    let url = format!("https://{}/?key=hush", listener.local_addr().unwrap());
    assert_no_connection_in_time(&url).await;
}

#[tokio::test]
async fn nobody_listening_is_no_connection() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/?key=hush", listener.local_addr().unwrap());
    drop(listener);

    let outcome = attempt(&http("crm", &url)).await;

    assert_eq!(outcome.met, Met::Failed(Cause::Connect));
    assert!(outcome.error.unwrap().contains("refused"));
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_called_so() {
    // A label may have 63 characters, so no name server is asked.
    let url = format!("http://{}.example.com/?key=hush", "x".repeat(64));

    assert_eq!(attempt(&http("crm", &url)).await.met, Met::Failed(Cause::Dns));
}

#[tokio::test]
async fn a_secure_target_that_does_not_speak_tls_is_called_so() {
    let receiver = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/?key=hush", receiver.local_addr().unwrap());
    let plain = async {
        let (mut stream, _) = receiver.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 -\r\n\r\n").await.unwrap();
        std::future::pending::<()>().await;
    };

    let settings = http("crm", &url);
    let outcome = tokio::select! {
        outcome = attempt(&settings) => outcome,
        () = plain => unreachable!(),
    };

    assert_eq!(outcome.met, Met::Failed(Cause::Tls));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    for speech in SPEECHES {
        let away = Act::Answer(307, &[("location", "/elsewhere")], b"");
        let receiver = Receiver::speaking(speech, move |_| away).await;

        assert_eq!(attempt(&http_to("crm", &receiver)).await.met, answered(307, None));
        assert_eq!(receiver.count(), 1, "{speech:?}");
    }
}

const ASKED: [(u16, &[(&str, &str)]); 2] =
    [(429, &[("retry-after", "120")]), (503, &[("retry-after", "Fri, 15 Jan 2027 08:02:00 GMT")])];

#[tokio::test]
async fn a_retry_after_is_carried_as_sent() {
    for speech in SPEECHES {
        for (code, asked) in ASKED {
            let outcome = met(speech, Act::Answer(code, asked, b"")).await;

            let status = StatusCode::from_u16(code).unwrap();
            let retry_after = Some(asked[0].1.to_owned());
            assert_eq!(outcome.met, Met::Answer { status, retry_after, broken: None });
        }
    }
}

#[tokio::test]
async fn no_misdeed_of_a_target_keeps_its_slot_and_none_over_http_2_costs_the_others_anything() {
    // The last of each kind: more than the window of a connection, if it were not given back.
    const MISDEEDS: [Act; 6] =
        [Act::Hang, Act::Drip, Act::Reset, Act::Announce, Act::Endless, Act::Endless];
    for speech in SPEECHES {
        let script = |n| MISDEEDS.get(n).copied().unwrap_or(OK);
        let receiver = Receiver::speaking(speech, script).await;
        let mut settings = http_to("crm", &receiver);
        settings.concurrency = 1;
        settings.breaker.failures = 0;
        if let Place::Http(http) = &mut settings.place {
            http.timeout = Duration::from_millis(500);
        }
        let world = World::start(vec![settings]);
        for _ in 0..MISDEEDS.len() + 4 {
            world.enqueue(&["crm"]);
        }

        world.delivered("crm", 4).await;

        assert_eq!(world.store.count("crm", State::Pending), MISDEEDS.len(), "{speech:?}");
        let line = r#"hookswitch_target_in_flight{target="crm"} 0"#;
        eventually("no slot taken", || world.registry.page().contains(line)).await;
        if speech == Speech::Http2 {
            assert_eq!(receiver.connections(), 1);
        }
    }
}
