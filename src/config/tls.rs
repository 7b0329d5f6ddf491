//! `tls` of a listener.

use super::{
    contract::TLS,
    endpoint,
    fields::{Fields, Node},
};
use crate::listen::Tls;

/// Reads the table with its files.
pub(super) fn read(node: &Node<'_>) -> Option<Tls> {
    let fields = Fields::open(node, &TLS)?;
    let Some(identity) = endpoint::identity(&fields)? else {
        fields.reading().missing(
            &node.spot(),
            "a listener with TLS needs `cert` and `key`",
            "write tls = { cert = \"relay.pem\", key = \"relay.key\" }, or remove it",
        );
        return None;
    };
    match Tls::new(identity.pair()) {
        Ok(tls) => Some(tls),
        Err(why) => node.wrong(why.to_string(), ""),
    }
}
