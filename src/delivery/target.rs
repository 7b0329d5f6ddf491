//! One target: where its events go and how it is treated.

use std::{io, path::PathBuf, time::Duration};

use http::{HeaderMap, Method, StatusCode};
use prometheus::IntCounter;

use crate::{
    delivery::{
        address::AddressRules,
        attempt::{Endpoint, EndpointError, Way},
        breaker,
        client::{Destination, Tls, tls},
        file::{Lines, Sink},
        format::Format,
        rate_limit::Rate,
        retry,
        verdict::Rules,
    },
    drain::Drain,
    route::TargetName,
    secret::{Secret, Secrets},
};

/// One `[targets.*]` table.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name.
    pub name: TargetName,
    /// Where it is.
    pub place: Place,
    /// Attempts out at one time, exactly.
    pub concurrency: usize,
    /// Attempts in a stretch of time, at most.
    pub rate: Option<Rate>,
    /// When to try again.
    pub retry: retry::Settings,
    /// When to stop trying for a while.
    pub breaker: breaker::Settings,
    /// Whether the events of one call go one at a time, in the order of their acks.
    pub by_call: bool,
    /// The name it had, whose deliveries it takes over.
    pub renamed_from: Option<TargetName>,
}

/// Where a target is.
#[derive(Clone, Debug)]
pub enum Place {
    /// An HTTP endpoint.
    Http(Box<Http>),
    /// A file of JSON lines; its parent folders are created.
    File(PathBuf),
    /// Standard output, as JSON lines.
    Stdout,
}

/// How an HTTP target is called.
#[derive(Clone, Debug)]
pub struct Http {
    /// Where to.
    pub url: reqwest::Url,
    /// POST or PUT.
    pub method: Method,
    /// What the body is.
    pub format: Format,
    /// Configured headers; values that are secrets are marked sensitive.
    pub headers: HeaderMap,
    /// How the relay authenticates to the target.
    pub auth: Option<Auth>,
    /// Secrets of Standard Webhooks, the newest first; `None` leaves `webhook-signature` out.
    pub sign: Option<Secrets>,
    /// Whom it is trusted by, and who the relay says it is; `None` is the system's authorities.
    pub tls: Option<tls::Settings>,
    /// At which addresses it may be reached.
    pub addresses: AddressRules,
    /// From the start of an attempt to the last byte of the answer that is read.
    pub timeout: Duration,
    /// For the connection alone.
    pub connect_timeout: Duration,
    /// The answers that mean the target has it.
    pub success: Vec<StatusRange>,
    /// The answers after which no further attempt is made.
    pub permanent: Vec<StatusCode>,
}

/// How the relay authenticates to a target.
#[derive(Clone, Debug)]
pub enum Auth {
    /// `authorization: Bearer …`
    Bearer(Secret),
    /// `authorization: Basic …`
    Basic {
        /// The user's name.
        username: String,
        /// The password.
        password: Secret,
    },
    /// A header of the target's own.
    Header {
        /// Its name.
        name: http::HeaderName,
        /// Its value.
        value: Secret,
    },
}

/// One status (`200`) or a class of them (`"2xx"`), both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRange {
    /// The first.
    pub from: u16,
    /// The last.
    pub to: u16,
}

/// A target that is ready to be attempted.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) name: TargetName,
    pub(super) way: Way,
    pub(super) rules: Rules,
    /// How long an attempt takes at most, but for a disk that hangs.
    pub(super) attempt_max: Duration,
    pub(super) concurrency: usize,
    pub(super) rate: Option<Rate>,
    pub(super) breaker: breaker::Settings,
    pub(super) by_call: bool,
    pub(super) renamed_from: Option<TargetName>,
}

/// Why a target cannot be made ready from its settings.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// An HTTP target.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The thread that writes a file target.
    #[error("no thread for its writer")]
    Writer(#[source] io::Error),
}

// === impl Target ===

impl Target {
    /// Prepares what its attempts share; opens neither connection nor file.
    pub(super) fn new(
        settings: &Settings,
        tls: &Tls,
        drain: &Drain,
        connections: IntCounter,
    ) -> Result<Self, TargetError> {
        let concurrency = settings.concurrency.max(1);
        let lines = |sink| Lines::start(sink, concurrency, drain).map_err(TargetError::Writer);
        let (way, success, permanent) = match &settings.place {
            Place::Http(http) => {
                let endpoint = Endpoint::new(http, concurrency, tls, connections)?;
                let (success, permanent) = (http.success.clone(), http.permanent.clone());
                (Way::Http(Box::new(endpoint)), success, permanent)
            }
            Place::File(path) => {
                (Way::Lines(lines(Sink::file(path.clone()))?), Vec::new(), Vec::new())
            }
            Place::Stdout => (Way::Lines(lines(Sink::stdout())?), Vec::new(), Vec::new()),
        };
        let attempt_max = match &settings.place {
            Place::Http(http) => http.timeout,
            Place::File(_) | Place::Stdout => LINE_MAX,
        };
        let rules = Rules { success, permanent, retry: settings.retry.clone() };
        Ok(Self {
            name: settings.name.clone(),
            way,
            rules,
            attempt_max,
            concurrency,
            rate: settings.rate,
            breaker: settings.breaker,
            by_call: settings.by_call,
            renamed_from: settings.renamed_from.clone(),
        })
    }
}

/// A line is on disk sooner.
const LINE_MAX: Duration = Duration::from_secs(10);

// === impl Http ===

impl Http {
    /// Where its connections go.
    pub(super) fn destination(&self, concurrency: usize) -> Destination {
        Destination {
            method: self.method.clone(),
            url: self.url.clone(),
            addresses: self.addresses.clone(),
            timeout: self.timeout,
            connect_timeout: self.connect_timeout,
            concurrency,
        }
    }

    /// Whether it is trusted by the authorities of the system.
    pub(super) fn needs_authorities(&self) -> bool {
        let own = self.tls.as_ref().and_then(|tls| tls.authorities.as_ref());
        self.url.scheme() == "https" && own.is_none()
    }
}

// === impl StatusRange ===

impl StatusRange {
    /// Whether a status is in it.
    pub fn contains(self, status: StatusCode) -> bool {
        (self.from..=self.to).contains(&status.as_u16())
    }
}
