//! One source: where its callbacks come in, how they authenticate and how they are read.

use std::time::Duration;

use http::{Method, StatusCode};
use ipnet::IpNet;

use crate::{
    event::SourceName,
    provider::{self, auth::Scheme},
};

/// One `[sources.*]` table.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name.
    pub name: SourceName,
    /// The URL's path, without a token: `/hooks/<name>` unless set.
    pub path: String,
    /// The methods that carry a callback.
    pub methods: Vec<Method>,
    /// 200 or 202.
    pub ack: StatusCode,
    /// All must pass; empty is `auth = "none"`.
    pub auth: Vec<Scheme>,
    /// The networks a callback may come from; empty is any.
    pub allow_from: Vec<IpNet>,
    /// Bytes of the decoded body.
    pub max_body: usize,
    /// From the first byte of the head to the last of the body.
    pub body_deadline: Duration,
    /// What becomes of an authentic body that cannot be read.
    pub on_unreadable: OnUnreadable,
    /// How long a repeat is recognised; zero is off.
    pub dedupe_window: Duration,
    /// How its bodies are read.
    pub reading: provider::Settings,
}

/// What becomes of an authentic body that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnUnreadable {
    /// Stored, acked, visible, redrivable.
    Quarantine,
    /// Refused with 422.
    Reject,
}
