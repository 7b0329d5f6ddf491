//! What a key of relay.toml is: its name, its kind of value, its default and a line of prose.

/// The keys that may stand in one table.
#[derive(Debug)]
pub struct Table {
    /// What the table is for.
    pub doc: &'static str,
    /// Every key, in the order an operator meets them.
    pub keys: &'static [Key],
}

/// One key.
#[derive(Debug)]
pub struct Key {
    /// As it is written.
    pub name: &'static str,
    /// What its value may be.
    pub kind: Kind,
    /// What happens when it is not written.
    pub presence: Presence,
    /// What it does, for an operator.
    pub doc: &'static str,
}

/// What happens when a key is not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It must be.
    Required,
    /// Nothing.
    Optional,
    /// It has this value, in TOML.
    Default(&'static str),
    /// It has the value of another key, such as `server.max_body`.
    Inherited(&'static str),
}

/// What a value may be.
#[derive(Debug)]
pub enum Kind {
    /// `"250ms"`, `"15s"`, `"3d"`.
    Duration(Zero),
    /// `"1 MiB"`.
    Size,
    /// A whole number between two others, both included.
    Count(u32, u32),
    /// A number of at least 1.
    Factor,
    /// `"50/s"`, `"100/m"`, `"1000/h"`.
    Rate,
    /// `true` or `false`.
    Flag,
    /// An IP address and a port.
    Address,
    /// An IP network.
    Network,
    /// A path of the file system.
    Path,
    /// The path of a URL.
    UrlPath,
    /// An http or https URL.
    Url,
    /// Any text that is not empty.
    Text,
    /// Text that is written here, or `{ file = "path" }`.
    TextOrFile,
    /// The name of an HTTP header.
    Header,
    /// The name of an HTTP header, or a list of its spellings.
    Headers,
    /// A place in a body: a form key or a JSON pointer.
    Place,
    /// A place in a body, or a table that says more.
    Rule(&'static Table),
    /// A place in a body, or a table of names of the operator's own, each with its place.
    Picked,
    /// One of some words.
    Word(&'static Words),
    /// One of the twelve statuses of an event.
    Status,
    /// 200 or 202.
    Ack,
    /// A status code of HTTP.
    Code,
    /// A status code of HTTP or a class of them, such as `"2xx"`.
    CodeRange,
    /// A name of the IANA time zone database.
    Zone,
    /// Two capital letters.
    Country,
    /// The name of a source.
    Source,
    /// The name of a target.
    Target,
    /// One secret: a text, `{ env = "NAME" }` or `{ file = "path" }`.
    Secret,
    /// One secret or a list of them, while one is being rotated out.
    Secrets,
    /// How callers authenticate: `"none"`, one of the variants, or a list of them.
    CallerAuth(&'static [Variant]),
    /// How the relay authenticates to a target: one of the variants.
    TargetAuth(&'static [Variant]),
    /// Any number of these.
    List(&'static Kind),
    /// A table of the operator's own keys, each with such a value.
    Map(&'static Kind),
    /// A table of these keys.
    Table(&'static Table),
    /// Tables under names of the operator's own.
    Named(&'static Kind),
    /// Any number of `[[tables]]`.
    Tables(&'static Kind),
}

/// Whether a duration may be zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zero {
    /// It switches the thing off.
    Off,
    /// It makes no sense.
    Refused,
}

/// The words a key knows.
#[derive(Debug)]
pub struct Words {
    /// Those that work.
    pub now: &'static [&'static str],
}

/// One shape of a table whose `kind` says which.
#[derive(Debug)]
pub struct Variant {
    /// What `kind` says.
    pub word: &'static str,
    /// Its keys, `kind` among them; `None` belongs to the contract and does not work yet.
    pub table: Option<&'static Table>,
}

// === impl Table ===

impl Table {
    /// The key of this name.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The names of the keys that work, for a list of what may be written.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.keys.iter().map(|key| key.name)
    }
}

// === impl Key ===

impl Key {
    /// A key that must be written.
    pub(super) const fn required(name: &'static str, kind: Kind, doc: &'static str) -> Self {
        Self { name, kind, presence: Presence::Required, doc }
    }

    /// A key without which nothing happens.
    pub(super) const fn optional(name: &'static str, kind: Kind, doc: &'static str) -> Self {
        Self { name, kind, presence: Presence::Optional, doc }
    }

    /// The same key with a default, in TOML.
    pub(super) const fn or(self, toml: &'static str) -> Self {
        Self { presence: Presence::Default(toml), ..self }
    }

    /// The same key, taking the value of another when it is not written.
    pub(super) const fn or_from(self, key: &'static str) -> Self {
        Self { presence: Presence::Inherited(key), ..self }
    }
}

// === impl Kind ===

impl Kind {
    /// What a value must be, to complete "must be …".
    pub fn expected(&self) -> String {
        match self {
            Self::Duration(_) => "a duration such as \"15s\"".into(),
            Self::Size => "a size such as \"1 MiB\"".into(),
            Self::Count(from, to) => format!("a whole number from {from} to {to}"),
            Self::Factor => "a number of at least 1".into(),
            Self::Rate => "a rate such as \"50/s\"".into(),
            Self::Flag => "true or false".into(),
            Self::Address => "an IP address and port such as \"127.0.0.1:8080\"".into(),
            Self::Network => "an IP network such as \"203.0.113.0/24\"".into(),
            Self::Path => "a path in quotes".into(),
            Self::UrlPath => "a URL path such as \"/hooks/sales\"".into(),
            Self::Url => "a URL such as \"https://crm.example.com/events\"".into(),
            Self::Text => "text in quotes".into(),
            Self::TextOrFile => "text in quotes, or { file = \"path\" }".into(),
            Self::Header => "the name of an HTTP header".into(),
            Self::Headers => "the name of an HTTP header, or a list of its spellings".into(),
            Self::Place => {
                "a key such as \"CallSid\" or a JSON pointer such as \"/call/id\"".into()
            }
            Self::Rule(_) => {
                "a key such as \"CallSid\", a JSON pointer such as \"/call/id\", or a table \
                 such as { from = \"CallSid\" }"
                    .into()
            }
            Self::Picked => {
                "a key or JSON pointer, or a table such as { city = \"CallerCity\" }".into()
            }
            Self::Word(words) => one_of(words.now),
            Self::Status => "a status such as \"completed\"".into(),
            Self::Ack => "200 or 202".into(),
            Self::Code => "a status code such as 410".into(),
            Self::CodeRange => "a status code such as 200 or a class such as \"2xx\"".into(),
            Self::Zone => "a time zone such as \"Australia/Brisbane\"".into(),
            Self::Country => "two capital letters such as \"AU\"".into(),
            Self::Source => "the name of a source".into(),
            Self::Target => "the name of a target".into(),
            Self::Secret => "a secret: { env = \"NAME\" } or { file = \"path\" }".into(),
            Self::Secrets => {
                "a secret, { env = \"NAME\" } or { file = \"path\" }, or a list of these".into()
            }
            Self::CallerAuth(_) => {
                "a table such as { kind = \"bearer\", token = … }, a list of these, or \"none\""
                    .into()
            }
            Self::TargetAuth(_) => "a table such as { kind = \"bearer\", token = … }".into(),
            Self::List(of) => format!("a list, each {}", of.expected()),
            Self::Map(of) => format!("a table, each value {}", of.expected()),
            Self::Table(_) => "a table".into(),
            Self::Named(_) => "a table of named tables".into(),
            Self::Tables(_) => "a list of tables, each under its own [[…]]".into(),
        }
    }

    /// Whether what is written under such a key may be shown to whoever reads the output.
    pub(super) fn is_open(&self) -> bool {
        match self {
            Self::Duration(_)
            | Self::Size
            | Self::Count(..)
            | Self::Factor
            | Self::Rate
            | Self::Flag
            | Self::Address
            | Self::Network
            | Self::Path
            | Self::UrlPath
            | Self::Text
            | Self::TextOrFile
            | Self::Header
            | Self::Headers
            | Self::Place
            | Self::Rule(_)
            | Self::Picked
            | Self::Word(_)
            | Self::Status
            | Self::Ack
            | Self::Code
            | Self::CodeRange
            | Self::Zone
            | Self::Country
            | Self::Source
            | Self::Target => true,
            Self::List(of) | Self::Map(of) => of.is_open(),
            // A URL may carry a token in its path or query.
            Self::Url
            | Self::Secret
            | Self::Secrets
            | Self::CallerAuth(_)
            | Self::TargetAuth(_)
            | Self::Table(_)
            | Self::Named(_)
            | Self::Tables(_) => false,
        }
    }
}

/// `"a"`, `"b"` or `"c"`.
pub(super) fn one_of(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}
