//! Both listeners with TLS.

use std::{fs, path::Path};

use reqwest::{Certificate, Client, Version};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::harness::{
    API_KEY, Process, Raw, Setup, callback, client, eventually, within, write_config,
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
