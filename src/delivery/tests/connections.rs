//! Which connections are opened, used again, and refused.

use std::sync::atomic::AtomicUsize;

use tokio::{
    io::{AsyncReadExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

use super::{
    authority::{Age, Authority},
    *,
};
use crate::delivery::client::TWO_ADDRESSES;

fn opened(world: &World) -> u64 {
    let page = world.registry.page();
    let series = "hookswitch_target_connections_total{target=\"crm\"} ";
    let line = page.lines().find_map(|line| line.strip_prefix(series)).unwrap();
    line.parse().unwrap()
}

fn with_rules(url: &str, allow: &[&str], deny: &[&str]) -> target::Settings {
    ruled(http("crm", url), allow, deny)
}

fn ruled(mut settings: target::Settings, allow: &[&str], deny: &[&str]) -> target::Settings {
    let networks = |written: &[&str]| written.iter().map(|net| net.parse().unwrap()).collect();
    if let Place::Http(http) = &mut settings.place {
        http.addresses = AddressRules { allow: networks(allow), deny: networks(deny) };
    }
    settings
}

/// The error of the first attempt, which no request came of.
async fn refused(settings: target::Settings, receiver: &Receiver) -> String {
    let world = World::start(vec![settings]);
    world.enqueue(&["crm"]);
    let row = world.attempted("crm", 1).await;
    let line =
        r#"hookswitch_delivery_attempts_total{cause="denied",outcome="retry",target="crm"} 1"#;
    eventually("the counter", || world.registry.page().contains(line)).await;
    assert_eq!((receiver.count(), opened(&world)), (0, 0));
    row.attempts[0].error.clone().unwrap()
}

#[tokio::test]
async fn connections_are_used_again_and_counted_when_they_are_opened() {
    for speech in SPEECHES {
        let crm = Receiver::speaking(speech, |_| Act::Answer(200, &[], b"thanks")).await;
        let world = World::start(vec![http_to("crm", &crm)]);
        assert_eq!(opened(&world), 0);

        for _ in 0..100 {
            world.enqueue(&["crm"]);
        }

        world.delivered("crm", 100).await;
        let opened = opened(&world);
        assert!((1..=4).contains(&opened), "{speech:?}: {opened} connections for 4 slots");
    }
}

/// Stands between the relay and a target, on a port of its own.
struct Between {
    port: u16,
    /// Nothing comes through any more on a connection that was there when this was sent.
    cut: watch::Sender<u32>,
    passing: Arc<AtomicUsize>,
    _passing: JoinSet<()>,
}

impl Between {
    async fn and(receiver: &Receiver) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let target: reqwest::Url = receiver.url.parse().unwrap();
        let target = format!("127.0.0.1:{}", target.port().unwrap());
        let cut = watch::Sender::new(0);
        let passing = Arc::<AtomicUsize>::default();
        let (cuts, open, mut tasks) = (cut.clone(), Arc::clone(&passing), JoinSet::new());
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                let (mut cut, open, target) = (cuts.subscribe(), Arc::clone(&open), target.clone());
                open.fetch_add(1, Ordering::SeqCst);
                connections.spawn(async move {
                    let mut far = TcpStream::connect(target).await.unwrap();
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = cut.changed() => {
                            // Whatever is said here is not heard, until nobody talks any more.
                            let mut unheard = Vec::new();
                            drop(near.read_to_end(&mut unheard).await);
                        }
                    }
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { port, cut, passing, _passing: tasks }
    }
}

#[tokio::test]
async fn a_shared_connection_that_went_dead_in_silence_is_given_up_and_another_opened() {
    let crm = Receiver::speaking(Speech::Http2, |_| OK).await;
    let between = Between::and(&crm).await;
    let mut settings = http_to("crm", &crm);
    if let Place::Http(http) = &mut settings.place {
        http.url.set_port(Some(between.port)).unwrap();
        // Two pings: the request must not outlast the connection for it to be given up.
        http.timeout = Duration::from_secs(2);
    }
    let world = World::start(vec![settings]);
    world.enqueue(&["crm"]);
    world.delivered("crm", 1).await;

    between.cut.send_modify(|cuts| *cuts += 1);
    world.enqueue(&["crm"]);
    eventually("a failure", || world.store.rows("crm")[1].attempts.len() == 1).await;
    eventually("the end of the connection", || between.passing.load(Ordering::SeqCst) == 0).await;
    world.advance(Duration::from_secs(6), "crm").await;

    world.delivered("crm", 2).await;
    assert_eq!(crm.connections(), 2);
}

#[tokio::test]
async fn a_connection_the_target_closed_while_it_was_idle_costs_no_attempt() {
    // Answers, and closes as soon as nobody looks.
    let leaves = Act::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    for speech in [Speech::Plain, Speech::Secure] {
        let crm = Receiver::speaking(speech, move |_| leaves).await;
        let mut settings = http_to("crm", &crm);
        settings.concurrency = 1;
        let world = World::start(vec![settings]);

        for sent in 1..=20 {
            world.enqueue(&["crm"]);
            world.delivered("crm", sent).await;
        }

        let rows = world.store.rows("crm");
        assert!(rows.iter().all(|row| row.attempts.len() == 1), "{speech:?}");
    }
}

#[tokio::test]
async fn a_request_that_the_target_says_it_has_not_looked_at_costs_no_attempt() {
    let script = |request| if request == 0 { Act::Refuse } else { OK };
    let refusing = Receiver::speaking(Speech::Http2, script).await;
    let leaving = Receiver::speaking(Speech::Http2, |_| OK).await;
    leaving.leaves_first();
    for (crm, connections) in [(leaving, 2), (refusing, 1)] {
        let world = World::start(vec![http_to("crm", &crm)]);
        world.enqueue(&["crm"]);

        let row = world.attempted("crm", 1).await;

        assert_eq!(row.state, State::Delivered, "{:?}", row.attempts);
        assert_eq!(crm.connections(), connections);
    }
}

#[tokio::test]
async fn a_denied_address_is_an_error_of_its_own_and_is_not_connected_to() {
    let receiver = Receiver::start(|_| OK).await;

    let literal = refused(with_rules(&receiver.url, &[], &["127.0.0.0/8"]), &receiver).await;
    assert_eq!(literal, "127.0.0.1 is refused: deny_networks has 127.0.0.0/8");
    let other = refused(with_rules(&receiver.url, &["10.0.0.0/8"], &[]), &receiver).await;
    assert_eq!(other, "127.0.0.1 is refused: it is not in allow_networks");
}

#[tokio::test]
async fn what_a_name_resolves_to_is_checked_and_not_the_name() {
    let receiver = Receiver::start(|_| OK).await;
    let url = receiver.url.replace("127.0.0.1", "localhost");
    let both = ["127.0.0.0/8", "::1/128"];

    for url in [url.clone(), url.replace("http:", "https:")] {
        let error = refused(with_rules(&url, &[], &both), &receiver).await;
        assert!(error.contains("is refused: deny_networks has "), "{error}");
        assert!(!error.contains("hush"), "{error}");
    }
    let world = World::start(vec![with_rules(&url, &["127.0.0.0/8"], &[])]);
    world.enqueue(&["crm"]);
    world.delivered("crm", 1).await;
}

#[tokio::test]
async fn of_two_addresses_the_denied_one_is_left_out_and_one_that_refuses_is_no_failure() {
    let authority = Authority::new();
    let server = authority.vouch(TWO_ADDRESSES, Age::Valid).server(None, b"h2");
    let secure = Receiver::secured(server, |_| OK).await;
    let plain = Receiver::start(|_| OK).await;
    // It listens at the second address only.
    let (second, both) = (["127.0.0.1/32"], ["127.0.0.0/8"]);
    for receiver in [plain, secure] {
        let url = receiver.url.replace("127.0.0.1", TWO_ADDRESSES);
        let mut settings = http("crm", &url.replace("localhost", TWO_ADDRESSES));
        if let Place::Http(http) = &mut settings.place {
            http.tls = Some(authority.trusted());
        }

        let error = refused(ruled(settings.clone(), &[], &both), &receiver).await;
        assert!(error.ends_with("127.0.0.2 is refused: deny_networks has 127.0.0.0/8"), "{error}");
        let world = World::start(vec![ruled(settings.clone(), &[], &second)]);
        world.enqueue(&["crm"]);
        let error = world.attempted("crm", 1).await.attempts[0].error.clone().unwrap();
        assert!(error.contains("Connection refused"), "{error}");
        assert_eq!(receiver.count(), 0);

        for allow in [[].as_slice(), second.as_slice()] {
            let world = World::start(vec![ruled(settings.clone(), allow, &[])]);
            world.enqueue(&["crm"]);
            world.delivered("crm", 1).await;
            assert_eq!(world.store.rows("crm")[0].attempts.len(), 1);
        }
    }
}

#[tokio::test]
async fn the_address_of_cloud_metadata_is_denied_without_being_told() {
    let receiver = Receiver::start(|_| OK).await;

    for host in ["169.254.169.254", "[fd00:ec2::254]", "[::ffff:169.254.169.254]"] {
        let settings = http("crm", &format!("http://{host}/latest/meta-data/"));
        let error = refused(settings, &receiver).await;
        assert!(error.contains("only allow_networks opens it"), "{error}");
    }
}
