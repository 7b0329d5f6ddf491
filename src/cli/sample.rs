//! One callback of each provider, as that provider sends it, with the secret `change-me`.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hookswitch::{
    secret::Secret,
    signature::{Algorithm, Encoding, Key},
};

/// A callback that a source of the demo takes.
#[derive(Debug)]
pub(super) struct Sample {
    /// The source's name and, in relay.toml's words, its provider.
    pub(super) provider: &'static str,
    /// The path behind `/hooks/`, with its query.
    pub(super) path: &'static str,
    /// Content type and credentials.
    pub(super) headers: Vec<(&'static str, String)>,
    /// The body.
    pub(super) body: &'static str,
    /// How the source authenticates, as in relay.toml.
    pub(super) auth: &'static str,
}

/// One of each, the one that is shown whole first.
pub(super) fn all() -> Vec<Sample> {
    let json = || ("content-type", "application/json".to_owned());
    let form = || ("content-type", "application/x-www-form-urlencoded".to_owned());
    let signature = Key::new(Algorithm::Sha256, &Secret::new(SECRET))
        .sign(&[SYNTHFLOW_CALL.as_bytes()], Encoding::Base64);
    vec![
        Sample {
            provider: "11x",
            path: "11x",
            headers: vec![json(), ("x-api-key", SECRET.to_owned())],
            body: include_str!("samples/11x.json"),
            auth: r#"{ kind = "header", secret = "change-me" }"#,
        },
        Sample {
            provider: "plum",
            path: "plum/change-me?ref=order-17",
            headers: vec![form()],
            body: include_str!("samples/plum.form").trim_ascii_end(),
            auth: r#"{ kind = "url-token", token = "change-me" }"#,
        },
        Sample {
            provider: "synthflow",
            path: "synthflow/change-me",
            headers: vec![json(), ("synthflow-signature", signature)],
            body: include_str!("samples/synthflow.json"),
            auth: r#"[{ kind = "url-token", token = "change-me" }, { kind = "hmac", secret = "change-me" }]"#,
        },
        Sample {
            provider: "mobtexting",
            path: "mobtexting/change-me",
            headers: vec![json()],
            body: include_str!("samples/mobtexting.json"),
            auth: r#"{ kind = "url-token", token = "change-me" }"#,
        },
        // JSON under the content type of a form, and no scheme before the credentials: as its
        // documents show it.
        Sample {
            provider: "clouddial",
            path: "clouddial",
            headers: vec![
                form(),
                ("authorization", BASE64_STANDARD.encode(format!("relay/{SECRET}"))),
            ],
            body: include_str!("samples/clouddial.json"),
            auth: r#"{ kind = "basic", username = "relay", password = "change-me" }"#,
        },
    ]
}

const SECRET: &str = "change-me";
const SYNTHFLOW_CALL: &str = "call-demo-0002";
