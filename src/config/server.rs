//! `[server]`.

use std::{net::SocketAddr, time::Duration};

use ipnet::IpNet;

use super::{
    contract::SERVER,
    fields::{Fields, Node},
    tls, value,
};
use crate::listen::Tls;

/// What `[server]` says, some of it for each source.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) listen: SocketAddr,
    pub(super) tls: Option<Tls>,
    pub(super) max_body: usize,
    pub(super) body_deadline: Duration,
    pub(super) commit_wait: Duration,
    pub(super) max_in_flight: usize,
    pub(super) max_connections: usize,
    pub(super) shutdown_grace: Duration,
    pub(super) trusted_proxies: Vec<IpNet>,
}

/// Reads the table.
pub(super) fn read(node: &Node<'_>) -> Option<Server> {
    let fields = Fields::open(node, &SERVER)?;
    let listen = fields.get("listen", value::address);
    let tls = fields.written("tls").map(|node| tls::read(&node));
    let max_body = fields.get("max_body", value::body_size);
    let body_deadline = fields.get("body_deadline", value::duration);
    let commit_wait = fields.get("commit_wait", value::duration);
    let max_in_flight = fields.get("max_in_flight", value::count_usize);
    let max_connections = fields.get("max_connections", value::count_usize);
    let shutdown_grace = fields.get("shutdown_grace", value::duration);
    let trusted_proxies = fields.get("trusted_proxies", value::networks);
    Some(Server {
        listen: listen?,
        tls: match tls {
            Some(read) => Some(read?),
            None => None,
        },
        max_body: max_body?,
        body_deadline: body_deadline?,
        commit_wait: commit_wait?,
        max_in_flight: max_in_flight?,
        max_connections: max_connections?,
        shutdown_grace: shutdown_grace?,
        trusted_proxies: trusted_proxies?,
    })
}
