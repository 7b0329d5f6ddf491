//! What an operator asks over HTTP: metrics and health.

use std::net::SocketAddr;

use crate::secret::Secrets;

/// `[admin]`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where operators ask; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The bearer token of everything but health; required unless `listen` is loopback.
    pub token: Option<Secrets>,
}
