//! Both listeners with TLS.

use std::{fs, path::Path};

use reqwest::{Certificate, Client, Version};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::harness::{API_KEY, Process, Setup, callback, client, eventually, within, write_config};

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

    // A command finds the relay by relay.toml, and trusts the certificate that stands there only.
    let verb = async || {
        let mut command = Process::command();
        command.args(["targets", "--config"]).arg(&config);
        within("a verb", command.output()).await.unwrap()
    };
    certify(&folder);
    let told = String::from_utf8(verb().await.stderr).unwrap();
    assert!(told.contains("no relay answers"), "{told}");
    relay.hang_up().await;
    let told = verb().await;
    assert!(told.status.success() && told.stderr.is_empty(), "{told:?}");
    relay.terminate().await;
}
