//! `[admin]`.

use super::{
    contract::ADMIN,
    fields::{Fields, Node},
    secrets, tls, value,
};
use crate::admin::Settings;

/// Reads the table.
pub(super) fn read(node: &Node<'_>) -> Option<Settings> {
    let fields = Fields::open(node, &ADMIN)?;
    let token = fields.get("token", secrets::many_sendable);
    let tls = fields.written("tls").map(|node| tls::read(&node));
    let listen = fields.get("listen", value::address)?;
    if !listen.ip().is_loopback() && fields.written("token").is_none() {
        let spot = fields.written("listen").map_or_else(|| fields.spot(), |node| node.spot());
        fields.reading().missing(
            &spot,
            format!("{listen} is open to other machines, and `token` is missing"),
            "add token = { env = \"HOOKSWITCH_ADMIN_TOKEN\" }, or listen on 127.0.0.1",
        );
    }
    let tls = match tls {
        Some(read) => Some(read?),
        None => None,
    };
    Some(Settings { listen, tls, token })
}
