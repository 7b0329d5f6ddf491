//! `[store]`.

use std::time::Duration;

use super::{
    contract::STORE,
    fields::{Fields, Node},
    value,
};
use crate::store;

/// What `[store]` says, some of it for each source.
#[derive(Clone, Debug)]
pub(super) struct Store {
    pub(super) settings: store::Settings,
    pub(super) dedupe_window: Duration,
}

/// Reads the table.
pub(super) fn read(node: &Node<'_>) -> Option<Store> {
    let fields = Fields::open(node, &STORE)?;
    let path = fields.get("path", value::path);
    let retention = fields.get("retention", value::duration);
    let max_size = fields.get("max_size", value::size);
    let dead_retention = fields.get("dead_retention", value::duration);
    let min_free = fields.get("min_free", value::size);
    let dedupe_window = fields.get("dedupe_window", value::duration);
    Some(Store {
        settings: store::Settings {
            path: path?,
            retention: retention?,
            max_size: max_size?,
            dead_retention: dead_retention?,
            min_free: min_free?,
        },
        dedupe_window: dedupe_window?,
    })
}
