//! Every table and key of relay.toml, with its default: the one list of what may be written.
//!
//! A change here shows in the readers, in "did you mean", and in the shipped relay.toml,
//! which a test compares with this list.

use super::{
    key::{Key, Kind, Table, Variant, Words, Zero},
    mapping::{self, MAP},
};

/// The longest list of connections, permits and attempts anyone means.
const MANY: u32 = 1_000_000;

/// relay.toml itself.
pub static ROOT: Table = Table {
    doc: "The configuration of a relay.",
    keys: &[
        Key::optional("server", Kind::Table(&SERVER), "Where callbacks come in.").or("{}"),
        Key::optional("admin", Kind::Table(&ADMIN), "Where operators ask.").or("{}"),
        Key::optional("store", Kind::Table(&STORE), "Where events are kept, and how long.")
            .or("{}"),
        Key::optional("defaults", Kind::Table(&DEFAULTS), "What several tables inherit."),
        Key::optional("sources", Kind::Named(&Kind::Table(&SOURCE)), "Who calls."),
        Key::optional("targets", Kind::Named(&Kind::Table(&TARGET)), "Who is told."),
        Key::optional("routes", Kind::Tables(&Kind::Table(&ROUTE)), "Which events go where."),
    ],
};

/// `[server]`
pub static SERVER: Table = Table {
    doc: "Where callbacks come in.",
    keys: &[
        Key::optional("listen", Kind::Address, "Where callbacks come in; port 0 takes a free one.")
            .or("\"127.0.0.1:8080\""),
        Key::optional("tls", Kind::Table(&TLS), "Certificate and key; read again on reload."),
        Key::optional("max_body", Kind::Size, "The longest body, decoded; else 413.")
            .or("\"1 MiB\""),
        Key::optional(
            "body_deadline",
            Kind::Duration(Zero::Refused),
            "By when the whole body must be there; else 408.",
        )
        .or("\"10s\""),
        Key::optional(
            "commit_wait",
            Kind::Duration(Zero::Refused),
            "The longest wait for the disk; then 503.",
        )
        .or("\"5s\""),
        Key::optional("max_in_flight", Kind::Count(2, MANY), "Callbacks being read or stored.")
            .or("1024"),
        Key::optional("max_connections", Kind::Count(1, MANY), "Open connections.").or("10000"),
        Key::optional(
            "shutdown_grace",
            Kind::Duration(Zero::Refused),
            "How long work in hand may take after SIGTERM.",
        )
        .or("\"10s\""),
        Key::optional(
            "trusted_proxies",
            Kind::List(&Kind::Network),
            "Peers whose forwarding headers name the real client.",
        )
        .or("[]"),
    ],
};

/// `[admin]`
pub static ADMIN: Table = Table {
    doc: "Where operators ask: metrics, health, API.",
    keys: &[
        Key::optional("listen", Kind::Address, "Where operators ask; port 0 takes a free one.")
            .or("\"127.0.0.1:9090\""),
        Key::optional("token", Kind::Secrets, "Required unless it listens on loopback."),
        Key::optional("tls", Kind::Table(&TLS), "Certificate and key; read again on reload."),
    ],
};

/// `[store]`
pub static STORE: Table = Table {
    doc: "Where events are kept, and how long.",
    keys: &[
        Key::optional("path", Kind::Path, "The database file; its folders are created.")
            .or("\"data/hookswitch.db\""),
        Key::optional(
            "retention",
            Kind::Duration(Zero::Refused),
            "How long delivered history is kept.",
        )
        .or("\"14d\""),
        Key::optional("max_size", Kind::Size, "How much delivered history is kept.")
            .or("\"10 GiB\""),
        Key::optional(
            "dead_retention",
            Kind::Duration(Zero::Refused),
            "How long dead letters, quarantined and unrouted events are kept.",
        )
        .or("\"90d\""),
        Key::optional("min_free", Kind::Size, "Free disk below which callbacks get 503.")
            .or("\"512 MiB\""),
        Key::optional(
            "dedupe_window",
            Kind::Duration(Zero::Off),
            "How long a repeated callback is recognised; \"0s\" is off.",
        )
        .or("\"24h\""),
    ],
};

/// `[defaults]`
pub static DEFAULTS: Table = Table {
    doc: "What several tables inherit.",
    keys: &[Key::optional("target", Kind::Table(&DEFAULTS_TARGET), "What every target inherits.")],
};

/// `[sources.*]`
pub static SOURCE: Table = Table {
    doc: "One sender of callbacks.",
    keys: &[
        Key::required("provider", Kind::Word(&PROVIDERS), "Whose callbacks they are."),
        Key::required(
            "auth",
            Kind::CallerAuth(&CALLER_AUTH),
            "How the sender proves itself; a list must pass whole; \"none\" must be written out.",
        ),
        Key::optional("path", Kind::UrlPath, "Where its callbacks come in.")
            .or_from("/hooks/<name>"),
        Key::optional(
            "methods",
            Kind::List(&Kind::Word(&SOURCE_METHODS)),
            "The methods that carry a callback; of a GET the query is the body.",
        )
        .or("[\"POST\"]"),
        Key::optional("ack", Kind::Ack, "The status of a success answer.").or("200"),
        Key::optional("max_body", Kind::Size, "The longest body, decoded; else 413.")
            .or_from("server.max_body, of synthflow at least \"8 MiB\""),
        Key::optional(
            "dedupe_window",
            Kind::Duration(Zero::Off),
            "How long a repeated callback is recognised; \"0s\" is off.",
        )
        .or_from("store.dedupe_window"),
        Key::optional("timezone", Kind::Zone, "The zone of times that name none."),
        Key::optional("timezones", Kind::Map(&Kind::Zone), "The zone of one field's times.")
            .or("{}"),
        Key::optional("country", Kind::Country, "The country of national numbers."),
        Key::optional(
            "fields",
            Kind::Map(&Kind::Text),
            "The provider's name of a field = the key it comes under.",
        )
        .or("{}"),
        Key::optional("status", Kind::Map(&Kind::Status), "Status words of your own.").or("{}"),
        Key::optional(
            "on_unreadable",
            Kind::Word(&ON_UNREADABLE),
            "What becomes of an authentic body that cannot be read.",
        )
        .or("\"quarantine\""),
        Key::optional("repair_json", Kind::Flag, "Whether known faults in JSON are repaired.")
            .or_from("true, for custom false"),
        Key::optional(
            "allow_from",
            Kind::List(&Kind::Network),
            "The networks it may call from; none written is any.",
        )
        .or("[]"),
        Key::optional("validation_key", Kind::Secrets, "The keys a challenge may bring."),
        Key::optional("map", Kind::Table(&MAP), "What stands where; for provider = \"custom\"."),
    ],
};

/// The providers.
pub static PROVIDERS: Words =
    Words { now: &["plum", "synthflow", "mobtexting", "11x", "clouddial", "custom"] };

static SOURCE_METHODS: Words = Words { now: &["POST", "GET"] };

static ON_UNREADABLE: Words = Words { now: &["quarantine", "reject"] };

/// How a sender may authenticate.
pub static CALLER_AUTH: [Variant; 6] = [
    Variant { word: "url-token", table: Some(&URL_TOKEN) },
    Variant { word: "basic", table: Some(&CALLER_BASIC) },
    Variant { word: "bearer", table: Some(&CALLER_BEARER) },
    Variant { word: "header", table: Some(&CALLER_HEADER) },
    Variant { word: "hmac", table: Some(&CALLER_HMAC) },
    Variant { word: "body-field", table: Some(&CALLER_BODY_FIELD) },
];

static URL_TOKEN_KIND: Words = Words { now: &["url-token"] };
static BASIC_KIND: Words = Words { now: &["basic"] };
static BEARER_KIND: Words = Words { now: &["bearer"] };
static HMAC_KIND: Words = Words { now: &["hmac"] };
static BODY_FIELD_KIND: Words = Words { now: &["body-field"] };
static ALGORITHM: Words = Words { now: &["sha1", "sha256", "sha512"] };
static ENCODING: Words = Words { now: &["hex", "base64"] };
static STAMP_FORMAT: Words = Words { now: &["seconds", "milliseconds", "rfc3339"] };
static HEADER_KIND: Words = Words { now: &["header"] };

static URL_TOKEN: Table = Table {
    doc: "A secret in the URL.",
    keys: &[
        Key::required("kind", Kind::Word(&URL_TOKEN_KIND), "Which kind this is."),
        Key::required("token", Kind::Secrets, "The accepted tokens."),
        Key::optional("param", Kind::Text, "The query parameter it stands in, else the path."),
    ],
};

static CALLER_BASIC: Table = Table {
    doc: "Basic authentication.",
    keys: &[
        Key::required("kind", Kind::Word(&BASIC_KIND), "Which kind this is."),
        Key::required("username", Kind::Text, "The user's name."),
        Key::required("password", Kind::Secrets, "The accepted passwords."),
    ],
};

static CALLER_BEARER: Table = Table {
    doc: "A bearer token.",
    keys: &[
        Key::required("kind", Kind::Word(&BEARER_KIND), "Which kind this is."),
        Key::required("token", Kind::Secrets, "The accepted tokens."),
    ],
};

static CALLER_HEADER: Table = Table {
    doc: "A header that holds nothing but the secret.",
    keys: &[
        Key::required("kind", Kind::Word(&HEADER_KIND), "Which kind this is."),
        Key::optional("name", Kind::Header, "The header's name.").or_from("the provider's own"),
        Key::required("secret", Kind::Secrets, "The accepted values."),
    ],
};

static CALLER_HMAC: Table = Table {
    doc: "A signature in a header; a preset knows all but the secret.",
    keys: &[
        Key::required("kind", Kind::Word(&HMAC_KIND), "Which kind this is."),
        Key::required("secret", Kind::Secrets, "The accepted secrets; their bytes are the key."),
        Key::optional("header", Kind::Headers, "The signature's header, by each of its spellings.")
            .or_from("the provider's own"),
        Key::optional("algorithm", Kind::Word(&ALGORITHM), "The hash.")
            .or_from("the provider's own, else \"sha256\""),
        Key::optional("encoding", Kind::Word(&ENCODING), "How the signature is written.")
            .or_from("the provider's own, else \"hex\""),
        Key::optional("prefix", Kind::Text, "What stands before the digits, such as \"sha256=\"."),
        Key::optional(
            "part",
            Kind::Text,
            "Its name in a header that is a list: \"v1\" of t=…,v1=….",
        ),
        Key::optional(
            "signed",
            Kind::Text,
            "What is signed: text with {body}, {timestamp}, {header:NAME} and {json:/pointer}.",
        )
        .or_from("the provider's own, else \"{body}\""),
        Key::optional("timestamp", Kind::Header, "The header {timestamp} stands in."),
        Key::optional("timestamp_part", Kind::Text, "Its name in the header that is a list."),
        Key::optional("timestamp_format", Kind::Word(&STAMP_FORMAT), "How it is written.")
            .or_from("\"seconds\""),
        Key::optional("tolerance", Kind::Duration(Zero::Refused), "How far from now it may be.")
            .or_from("\"5m\""),
    ],
};

static CALLER_BODY_FIELD: Table = Table {
    doc: "A field of the body that holds nothing but the secret.",
    keys: &[
        Key::required("kind", Kind::Word(&BODY_FIELD_KIND), "Which kind this is."),
        Key::required("field", Kind::Place, "Where it stands."),
        Key::required("secret", Kind::Secrets, "The accepted values."),
    ],
};

/// How the relay may authenticate to a target.
pub static TARGET_AUTH: [Variant; 3] = [
    Variant { word: "bearer", table: Some(&TARGET_BEARER) },
    Variant { word: "basic", table: Some(&TARGET_BASIC) },
    Variant { word: "header", table: Some(&TARGET_HEADER) },
];

static TARGET_BEARER: Table = Table {
    doc: "A bearer token.",
    keys: &[
        Key::required("kind", Kind::Word(&BEARER_KIND), "Which kind this is."),
        Key::required("token", Kind::Secret, "The token."),
    ],
};

static TARGET_BASIC: Table = Table {
    doc: "Basic authentication.",
    keys: &[
        Key::required("kind", Kind::Word(&BASIC_KIND), "Which kind this is."),
        Key::required("username", Kind::Text, "The user's name."),
        Key::required("password", Kind::Secret, "The password."),
    ],
};

static TARGET_HEADER: Table = Table {
    doc: "A header of the target's own.",
    keys: &[
        Key::required("kind", Kind::Word(&HEADER_KIND), "Which kind this is."),
        Key::required("name", Kind::Header, "The header's name."),
        Key::required("secret", Kind::Secret, "Its value."),
    ],
};

const METHOD: Key =
    Key::optional("method", Kind::Word(&TARGET_METHODS), "How it is called.").or("\"POST\"");
const FORMAT: Key =
    Key::optional("format", Kind::Word(&FORMATS), "What the body is.").or("\"cloudevents\"");
const ALLOW_NETWORKS: Key = Key::optional(
    "allow_networks",
    Kind::List(&Kind::Network),
    "The only networks it may be reached in; none written is any but link-local and metadata.",
)
.or("[]");
const DENY_NETWORKS: Key = Key::optional(
    "deny_networks",
    Kind::List(&Kind::Network),
    "The networks it is never reached in.",
)
.or("[]");
const TIMEOUT: Key = Key::optional(
    "timeout",
    Kind::Duration(Zero::Refused),
    "From the start of an attempt to the end of the answer.",
)
.or("\"15s\"");
const CONNECT_TIMEOUT: Key =
    Key::optional("connect_timeout", Kind::Duration(Zero::Refused), "For the connection alone.")
        .or("\"5s\"");
const CONCURRENCY: Key =
    Key::optional("concurrency", Kind::Count(1, 10_000), "Attempts out at one time.").or("32");
const SUCCESS: Key = Key::optional(
    "success",
    Kind::List(&Kind::CodeRange),
    "The answers that mean the target has the event.",
)
.or("[\"2xx\"]");
const PERMANENT: Key = Key::optional(
    "permanent",
    Kind::List(&Kind::Code),
    "The answers after which no further attempt is made.",
)
.or("[410, 413]");
const RETRY_KEY: Key = Key::optional("retry", Kind::Table(&RETRY), "When to try again.").or("{}");
const RATE: Key = Key::optional("rate", Kind::Rate, "Attempts in a stretch of time, at most.");
const BREAKER: Key =
    Key::optional("breaker", Kind::Table(&BREAKER_TABLE), "When to stop trying for a while.")
        .or("{}");
const ORDER: Key =
    Key::optional("order", Kind::Word(&ORDERS), "Which deliveries wait for others.").or("\"none\"");

static TARGET_METHODS: Words = Words { now: &["POST", "PUT"] };
static FORMATS: Words = Words { now: &["cloudevents", "cloudevents-binary", "raw", "template"] };
static ORDERS: Words = Words { now: &["none", "per-call"] };

/// `[defaults.target]`
pub static DEFAULTS_TARGET: Table = Table {
    doc: "What every target inherits, key by key.",
    keys: &[
        METHOD,
        FORMAT,
        ALLOW_NETWORKS,
        DENY_NETWORKS,
        TIMEOUT,
        CONNECT_TIMEOUT,
        CONCURRENCY,
        SUCCESS,
        PERMANENT,
        RETRY_KEY,
        RATE,
        BREAKER,
        ORDER,
    ],
};

/// `[targets.*]`
pub static TARGET: Table = Table {
    doc: "One receiver of events: an HTTP endpoint or a file.",
    keys: &[
        Key::optional("url", Kind::Url, "The endpoint's URL."),
        Key::optional("file", Kind::Path, "A file of JSON lines; \"-\" is standard output."),
        METHOD,
        FORMAT,
        Key::optional(
            "template",
            Kind::TextOrFile,
            "The body, as a template over the event; for format = \"template\".",
        ),
        Key::optional("content_type", Kind::Text, "What the template makes.")
            .or_from("\"application/json\""),
        Key::optional("headers", Kind::Map(&Kind::Secret), "Headers of your own.").or("{}"),
        Key::optional(
            "auth",
            Kind::TargetAuth(&TARGET_AUTH),
            "How the relay authenticates to the target.",
        ),
        Key::optional("sign", Kind::Table(&SIGN), "Standard Webhooks signatures."),
        Key::optional(
            "tls",
            Kind::Table(&TARGET_TLS),
            "An authority of your own, and the certificate the relay shows.",
        ),
        ALLOW_NETWORKS,
        DENY_NETWORKS,
        TIMEOUT,
        CONNECT_TIMEOUT,
        CONCURRENCY,
        SUCCESS,
        PERMANENT,
        RETRY_KEY,
        RATE,
        BREAKER,
        ORDER,
        Key::optional("renamed_from", Kind::Target, "The target whose deliveries it takes over."),
    ],
};

/// The keys of a target that only an endpoint can have.
pub(super) const HTTP_ONLY: [&str; 14] = [
    "method",
    "format",
    "template",
    "content_type",
    "tls",
    "allow_networks",
    "deny_networks",
    "headers",
    "auth",
    "sign",
    "timeout",
    "connect_timeout",
    "success",
    "permanent",
];

/// `sign` of a target.
pub static SIGN: Table = Table {
    doc: "Standard Webhooks signatures.",
    keys: &[Key::required(
        "secret",
        Kind::Secrets,
        "whsec_ and the base64 of 24 to 64 bytes; of several, each signs.",
    )],
};

/// `tls` of a target.
pub static TARGET_TLS: Table = Table {
    doc: "Whom a target of https is trusted by, and who calls it.",
    keys: &[
        Key::optional(
            "ca",
            Kind::Path,
            "Certificates of authorities, in PEM, instead of the system's.",
        ),
        Key::optional("cert", Kind::Path, "The relay's certificate, in PEM, its chain behind it."),
        Key::optional("key", Kind::Path, "The key of that certificate, in PEM."),
    ],
};

/// `retry` of a target.
pub static RETRY: Table = Table {
    doc: "When to try again: initial, then times factor each, up to max; or a schedule.",
    keys: &[
        Key::optional(
            "initial",
            Kind::Duration(Zero::Refused),
            "The pause after the first attempt.",
        )
        .or("\"5s\""),
        Key::optional("factor", Kind::Factor, "By what each further pause grows.").or("3"),
        Key::optional("max", Kind::Duration(Zero::Refused), "The longest pause.").or("\"6h\""),
        Key::optional(
            "give_up_after",
            Kind::Duration(Zero::Refused),
            "The age at which a delivery is buried; without end when attempts or schedule is \
             written and this is not.",
        )
        .or("\"3d\""),
        Key::optional("attempts", Kind::Count(1, MANY), "After how many it is buried."),
        Key::optional(
            "schedule",
            Kind::List(&Kind::Duration(Zero::Refused)),
            "Each pause in turn, instead of initial, factor and max.",
        ),
    ],
};

/// `breaker` of a target.
pub static BREAKER_TABLE: Table = Table {
    doc: "When to stop trying for a while.",
    keys: &[
        Key::optional(
            "failures",
            Kind::Count(0, MANY),
            "After so many in a row only one attempt is made from time to time; 0 is off.",
        )
        .or("20"),
        Key::optional(
            "probe_after",
            Kind::Duration(Zero::Refused),
            "The pause before each of those.",
        )
        .or("\"30s\""),
    ],
};

/// `tls` of a listener.
pub static TLS: Table = Table {
    doc: "The certificate a listener shows.",
    keys: &[
        Key::optional("cert", Kind::Path, "The certificate, in PEM, its chain behind it."),
        Key::optional("key", Kind::Path, "The key of that certificate, in PEM."),
    ],
};

/// `[[routes]]`
pub static ROUTE: Table = Table {
    doc: "Which events go where; an event goes to the targets of every route that takes it.",
    keys: &[
        Key::optional("name", Kind::Text, "What logs and metrics call it.").or_from("route-<n>"),
        Key::optional("from", Kind::List(&Kind::Source), "The sources it takes; else every one."),
        Key::optional(
            "status",
            Kind::List(&Kind::Status),
            "The statuses it takes; else every one.",
        ),
        Key::optional(
            "provider",
            Kind::List(&Kind::Text),
            "The providers whose events it takes; else every one.",
        ),
        Key::optional(
            "when",
            Kind::Text,
            "What else must hold of an event: an expression in CEL over its fields.",
        ),
        Key::required("to", Kind::List(&Kind::Target), "The targets its events go to."),
    ],
};

/// Every table, for whoever asks what a key of some name may hold.
pub(super) static TABLES: [&Table; 42] = [
    &ROOT,
    &SERVER,
    &ADMIN,
    &STORE,
    &DEFAULTS,
    &DEFAULTS_TARGET,
    &SOURCE,
    &URL_TOKEN,
    &CALLER_BASIC,
    &CALLER_BEARER,
    &CALLER_HEADER,
    &CALLER_HMAC,
    &CALLER_BODY_FIELD,
    &TARGET,
    &TARGET_BEARER,
    &TARGET_BASIC,
    &TARGET_HEADER,
    &SIGN,
    &TARGET_TLS,
    &TLS,
    &RETRY,
    &BREAKER_TABLE,
    &ROUTE,
    &MAP,
    &mapping::MAP_CALL,
    &mapping::MAP_LEGS,
    &mapping::MAP_LEG,
    &mapping::MAP_TIMELINE,
    &mapping::MAP_AGENT,
    &mapping::MAP_CONTACT,
    &mapping::MAP_CAMPAIGN,
    &mapping::MAP_SEQUENCE,
    &mapping::MAP_MEETING,
    &mapping::MAP_OUTCOMES,
    &mapping::MAP_ACTIONS,
    &mapping::RULE_TEXT,
    &mapping::RULE_STATUS,
    &mapping::RULE_REASON,
    &mapping::RULE_DIRECTION,
    &mapping::RULE_ANSWERED_BY,
    &mapping::RULE_NUMBER,
    &mapping::RULE_TIME,
];
