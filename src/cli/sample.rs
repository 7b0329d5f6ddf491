//! Callbacks of each provider, as that provider sends them, for `demo` and `send`.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hookswitch::{
    secret::Secret,
    signature::{Algorithm, Encoding, Key},
};

/// A callback that a source of that provider takes.
#[derive(Debug)]
pub(super) struct Sample {
    /// The source's name and, in relay.toml's words, its provider.
    pub(super) provider: &'static str,
    /// What happened, in the words of the normalised event.
    pub(super) case: &'static str,
    /// The path behind `/hooks/`, with its query.
    pub(super) path: String,
    /// Content type and credentials.
    pub(super) headers: Vec<(&'static str, String)>,
    /// The body.
    pub(super) body: String,
    /// How the source authenticates, as in relay.toml.
    pub(super) auth: &'static str,
}

/// A provider's callback, and the words that make another case of it.
struct Template {
    provider: &'static str,
    body: &'static str,
    /// What names the call: another one each time, or it would be taken for a repeat.
    call: &'static str,
    /// The word of the completed call.
    word: &'static str,
    /// The cases, each with its word.
    cases: &'static [(&'static str, &'static str)],
    auth: &'static str,
}

/// One of each, the one that is shown whole first.
pub(super) fn all() -> Vec<Sample> {
    let shipped = Secrets { token: SECRET, secret: SECRET, username: USERNAME, bearer: None };
    let completed = |template: &Template| template.sample(COMPLETED, template.call, &shipped);
    TEMPLATES.iter().map(completed).collect()
}

/// What a source asks for, each in its own place.
#[derive(Debug)]
pub(super) struct Secrets<'s> {
    /// In the URL.
    pub(super) token: &'s str,
    /// In a header, as a password, or under a signature.
    pub(super) secret: &'s str,
    /// The user's name of Basic.
    pub(super) username: &'s str,
    /// A bearer token beside these.
    pub(super) bearer: Option<&'s str>,
}

/// Every case of a provider, of a call of its own, with its secrets.
pub(super) fn of(provider: &str, secrets: &Secrets<'_>) -> Option<Vec<Sample>> {
    let template = TEMPLATES.iter().find(|template| template.provider == provider)?;
    let call = format!("{}-{:012x}", template.call, fastrand::u64(0..1 << 48));
    let cases = template.cases.iter().map(|(case, _)| template.sample(case, &call, secrets));
    Some(cases.collect())
}

/// The providers there are samples of.
pub(super) fn providers() -> String {
    TEMPLATES.iter().map(|template| template.provider).collect::<Vec<_>>().join(", ")
}

// === impl Sample ===

impl Sample {
    /// What stands behind the source's URL: its token and its query.
    pub(super) fn tail(&self) -> &str {
        self.path.strip_prefix(self.provider).unwrap_or_default()
    }
}

// === impl Template ===

impl Template {
    fn sample(&self, case: &str, call: &str, secrets: &Secrets<'_>) -> Sample {
        let Secrets { token, secret, username, bearer } = secrets;
        let (case, word) = self
            .cases
            .iter()
            .copied()
            .find(|(name, _)| *name == case)
            .unwrap_or((COMPLETED, self.word));
        let body = self.body.trim_ascii_end().replace(self.word, word).replace(self.call, call);
        let json = ("content-type", "application/json".to_owned());
        let form = ("content-type", "application/x-www-form-urlencoded".to_owned());
        let (path, mut headers) = match self.provider {
            "11x" => ("11x".to_owned(), vec![json, ("x-api-key", (*secret).to_owned())]),
            "plum" => (format!("plum/{token}?ref={call}"), vec![form]),
            "synthflow" => {
                let signature = Key::new(Algorithm::Sha256, &Secret::new(*secret))
                    .sign(&[call.as_bytes()], Encoding::Base64);
                (format!("synthflow/{token}"), vec![json, ("synthflow-signature", signature)])
            }
            // JSON under the content type of a form, and no scheme before the credentials: as its
            // documents show it.
            "clouddial" => {
                let credentials = BASE64_STANDARD.encode(format!("{username}/{secret}"));
                ("clouddial".to_owned(), vec![form, ("authorization", credentials)])
            }
            other => (format!("{other}/{token}"), vec![json]),
        };
        headers.extend(bearer.map(|token| ("authorization", format!("Bearer {token}"))));
        Sample { provider: self.provider, case, path, headers, body, auth: self.auth }
    }
}

const TEMPLATES: &[Template] = &[
    Template {
        provider: "11x",
        body: include_str!("samples/11x.json"),
        call: "call.demo0001",
        word: "Goal Completed",
        cases: &[
            (COMPLETED, "Goal Completed"),
            ("voicemail", "Voicemail"),
            ("no_answer", "No Answer"),
            ("busy", "Busy"),
            ("failed", "Call Failed"),
        ],
        auth: r#"{ kind = "header", secret = "change-me" }"#,
    },
    Template {
        provider: "plum",
        body: include_str!("samples/plum.form"),
        call: "order-17",
        word: "status=completed",
        cases: &[(COMPLETED, "status=completed"), ("failed", "status=failed")],
        auth: r#"{ kind = "url-token", token = "change-me" }"#,
    },
    Template {
        provider: "synthflow",
        body: include_str!("samples/synthflow.json"),
        call: "call-demo-0002",
        word: "\"status\": \"completed\"",
        cases: &[
            (COMPLETED, "\"status\": \"completed\""),
            ("no_answer", "\"status\": \"no-answer\""),
            ("busy", "\"status\": \"busy\""),
            ("failed", "\"status\": \"failed\""),
        ],
        auth: r#"[{ kind = "url-token", token = "change-me" }, { kind = "hmac", secret = "change-me" }]"#,
    },
    Template {
        provider: "mobtexting",
        body: include_str!("samples/mobtexting.json"),
        call: "1234-1333-00001",
        word: "\"ANSWER\"",
        cases: &[
            (COMPLETED, "\"ANSWER\""),
            ("no_answer", "\"NOANSWER\""),
            ("busy", "\"BUSY\""),
            ("failed", "\"CONGESTION\""),
        ],
        auth: r#"{ kind = "url-token", token = "change-me" }"#,
    },
    Template {
        provider: "clouddial",
        body: include_str!("samples/clouddial.json"),
        call: "order-123",
        word: "Payment Taken",
        // Its wrap-up words are the customer's own: `status` of the source says what they mean.
        cases: &[(COMPLETED, "Payment Taken")],
        auth: r#"{ kind = "basic", username = "relay", password = "change-me" }"#,
    },
];

const COMPLETED: &str = "completed";

/// What the shipped relay.toml has until it is changed.
pub(super) const SECRET: &str = "change-me";

/// The user's name in it.
pub(super) const USERNAME: &str = "relay";
