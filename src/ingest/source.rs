//! One source: where its callbacks come in, how they authenticate and how they are read.

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

use foldhash::fast::RandomState;
use http::{HeaderValue, Method, StatusCode};
use ipnet::IpNet;

use crate::{
    event::SourceName,
    ingest::{admit::Room, metrics::SourceMetrics},
    provider::{
        self,
        auth::{self, Scheme},
    },
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

/// A source as the stack uses it.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) settings: Settings,
    pub(super) metrics: SourceMetrics,
    /// Its half of the relay's room.
    pub(super) room: Room,
    /// The `Allow` header of a 405.
    pub(super) allow: HeaderValue,
}

/// The sources by their paths, and whether one more segment behind the path is a token.
#[derive(Debug)]
pub(super) struct Directory(HashMap<String, (Arc<Source>, bool), RandomState>);

// === impl Source ===

impl Source {
    pub(super) fn new(settings: Settings, metrics: SourceMetrics, places: usize) -> Self {
        let methods: Vec<&str> = settings.methods.iter().map(Method::as_str).collect();
        let allow = HeaderValue::from_str(&methods.join(", "))
            .unwrap_or_else(|_| HeaderValue::from_static("POST"));
        Self { settings, metrics, room: Room::new(places.max(1)), allow }
    }

    pub(super) fn takes(&self, method: &Method) -> bool {
        self.settings.methods.contains(method)
    }

    /// Whether a method that it does not take may be that of a provider's probe.
    pub(super) fn may_probe(&self, method: &Method) -> bool {
        self.settings.reading.provider.probes_by(method.as_str())
    }

    pub(super) fn allows(&self, client: IpAddr) -> bool {
        let networks = &self.settings.allow_from;
        networks.is_empty() || networks.iter().any(|network| network.contains(&client))
    }
}

// === impl Directory ===

impl Directory {
    /// What `path` leads to, and the length of the token behind the source's own path. A source
    /// without a path token answers to its own path only.
    pub(super) fn find(&self, path: &str) -> Option<(&Arc<Source>, Option<usize>)> {
        if let Some((source, _)) = self.0.get(path) {
            return Some((source, None));
        }
        let (own, token) = path.rsplit_once('/')?;
        let (source, takes_token) = self.0.get(own)?;
        (*takes_token && !token.is_empty()).then_some((source, Some(token.len())))
    }
}

impl FromIterator<Source> for Directory {
    fn from_iter<I: IntoIterator<Item = Source>>(sources: I) -> Self {
        let place = |source: Source| {
            let takes_token = auth::takes_path_token(&source.settings.auth);
            (source.settings.path.clone(), (Arc::new(source), takes_token))
        };
        Self(sources.into_iter().map(place).collect())
    }
}
