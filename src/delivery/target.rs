//! One target: where its events go and how it is treated.

use std::{path::PathBuf, time::Duration};

use http::{HeaderMap, Method, StatusCode};

use crate::{
    delivery::retry,
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
    /// When to try again.
    pub retry: retry::Settings,
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
    /// Configured headers; values that are secrets are marked sensitive.
    pub headers: HeaderMap,
    /// How the relay authenticates to the target.
    pub auth: Option<Auth>,
    /// Secrets of Standard Webhooks, the newest first; `None` leaves `webhook-signature` out.
    pub sign: Option<Secrets>,
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

// === impl StatusRange ===

impl StatusRange {
    /// Whether a status is in it.
    pub fn contains(self, status: StatusCode) -> bool {
        (self.from..=self.to).contains(&status.as_u16())
    }
}
