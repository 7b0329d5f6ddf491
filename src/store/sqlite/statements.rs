//! The statements that nearly every group needs, taken out of the cache once per group.

use rusqlite::{CachedStatement, Connection};

/// Ready to be run with the parameters of one row. Dropped, they go back into the cache.
pub(super) struct Statements<'c> {
    /// Who is noted under this number: id, quarantined, until.
    pub(super) noted: CachedStatement<'c>,
    /// Who has this fingerprint in the tree: id, quarantined, until.
    pub(super) seen: CachedStatement<'c>,
    /// Notes a fingerprint.
    pub(super) note: CachedStatement<'c>,
    /// Stores an event.
    pub(super) event: CachedStatement<'c>,
    /// Stores the callback it came as.
    pub(super) request: CachedStatement<'c>,
    /// Queues it for a target.
    pub(super) delivery: CachedStatement<'c>,
    /// Keeps what became of a delivery.
    pub(super) outcome: CachedStatement<'c>,
    /// Keeps an attempt.
    pub(super) attempt: CachedStatement<'c>,
}

// === impl Statements ===

impl<'c> Statements<'c> {
    /// Takes them from the connection's cache.
    pub(super) fn of(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            noted: connection
                .prepare_cached("SELECT id, quarantined, until FROM seen_lately WHERE seq = ?1")?,
            seen: connection.prepare_cached(
                "SELECT id, quarantined, until FROM seen WHERE source = ?1 AND fingerprint = ?2",
            )?,
            note: connection.prepare_cached(
                "INSERT INTO seen_lately (seq, source, fingerprint, until, id, quarantined) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?,
            event: connection.prepare_cached(
                "INSERT INTO events (seq, id, source, provider, received_at, state, reason, \
                 status, call_id, reference, number_from, number_to, json) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
            )?,
            request: connection.prepare_cached(
                "INSERT INTO requests (seq, method, query, content_type, body) \
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?,
            delivery: connection.prepare_cached(
                "INSERT INTO deliveries (id, target, state, round, attempts, since, next_at, \
                 call_key, stood, queue) VALUES (?1, ?2, 0, 0, 0, ?3, ?4, ?5, ?6, ?7)",
            )?,
            // Of one row, so that failing is as good as undoing, and cheaper: no page is kept
            // aside. A settle that comes again finds its number among the settled attempts.
            outcome: connection.prepare_cached(
                "UPDATE OR FAIL deliveries SET state = ?5, attempts = ?4, next_at = ?6, \
                 settled_at = ?7, status = ?8, error = ?9, reason = ?10 \
                 WHERE id = ?1 AND target = ?2 AND round = ?3 AND attempts < ?4 AND state = 0",
            )?,
            attempt: connection.prepare_cached(
                "INSERT INTO attempts (delivery, round, number, at, took_us, status, error, \
                 snippet) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?,
        })
    }
}
