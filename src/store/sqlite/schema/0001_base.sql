-- Version 1: what cannot be changed later without copying the file.
--
-- Instants are milliseconds since 1970. Sources and targets are interned, and their rows carry
-- the totals: the views at the foot give names and words to whoever looks with a SQL tool.

CREATE TABLE sources (
    id          INTEGER PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE,
    accepted    INTEGER NOT NULL DEFAULT 0,
    routed      INTEGER NOT NULL DEFAULT 0,
    unrouted    INTEGER NOT NULL DEFAULT 0,
    quarantined INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE targets (
    id        INTEGER PRIMARY KEY,
    name      TEXT NOT NULL UNIQUE,
    enqueued  INTEGER NOT NULL DEFAULT 0,
    delivered INTEGER NOT NULL DEFAULT 0,
    pending   INTEGER NOT NULL DEFAULT 0,
    dead      INTEGER NOT NULL DEFAULT 0,
    discarded INTEGER NOT NULL DEFAULT 0
);

-- The event as targets see it, with what operators search by.
CREATE TABLE events (
    seq         INTEGER PRIMARY KEY,
    id          BLOB NOT NULL,          -- sixteen bytes
    source      INTEGER NOT NULL,
    provider    TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    state       TEXT NOT NULL,          -- routed, unrouted, quarantined
    reason      TEXT,                   -- why it is quarantined
    status      TEXT,
    call_id     TEXT,
    reference   TEXT,
    number_from TEXT,
    number_to   TEXT,
    json        TEXT                    -- absent while quarantined
);
CREATE UNIQUE INDEX events_id ON events (id);

-- The callback as it came. Apart from events, because the two together fill more than half a
-- page: in one row every event would cost a whole page, apart three share one.
CREATE TABLE requests (
    seq          INTEGER PRIMARY KEY,   -- events.seq
    method       TEXT NOT NULL,
    query        TEXT NOT NULL,
    content_type TEXT,
    body         BLOB NOT NULL
);

-- One row per event and target, for ever.
CREATE TABLE deliveries (
    id         INTEGER PRIMARY KEY,     -- events.seq * 4096 + ordinal: an event's rows lie together
    target     INTEGER NOT NULL,
    state      INTEGER NOT NULL,        -- 0 pending, 1 delivered, 2 dead, 3 discarded
    round      INTEGER NOT NULL,
    attempts   INTEGER NOT NULL,        -- settled attempts of this round
    since      INTEGER NOT NULL,        -- accepted, or last redriven
    next_at    INTEGER,                 -- only while pending
    call_key   INTEGER,                 -- of source and call id, else reference; for ordering by call
    settled_at INTEGER,                 -- when the state was last left or confirmed by an attempt
    status     INTEGER,                 -- HTTP status of the last attempt
    error      TEXT,                    -- error of the last attempt
    reason     TEXT                     -- why it is dead
);
-- The queue of a target: whatever the backlog, the head is one descent away.
CREATE INDEX deliveries_due ON deliveries (target, next_at) WHERE state = 0;
CREATE INDEX deliveries_dead_of_target ON deliveries (target) WHERE state = 2;
CREATE INDEX deliveries_dead ON deliveries (state) WHERE state = 2;

CREATE TABLE attempts (
    delivery INTEGER NOT NULL,
    round    INTEGER NOT NULL,
    number   INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    took_us  INTEGER NOT NULL,
    status   INTEGER,
    error    TEXT,
    snippet  BLOB,
    PRIMARY KEY (delivery, round, number)
) WITHOUT ROWID;

-- Recognises repeats. Fingerprints are random, so each would dirty a page of its own: new ones
-- are noted in order of arrival, and folded into the table by the thousand, sorted.
CREATE TABLE seen_lately (
    seq         INTEGER PRIMARY KEY,    -- events.seq
    source      INTEGER NOT NULL,
    fingerprint BLOB NOT NULL,
    until       INTEGER NOT NULL,
    id          BLOB NOT NULL,          -- the first event's
    quarantined INTEGER NOT NULL
);

CREATE TABLE seen (
    source      INTEGER NOT NULL,
    fingerprint BLOB NOT NULL,
    until       INTEGER NOT NULL,
    id          BLOB NOT NULL,
    quarantined INTEGER NOT NULL,
    PRIMARY KEY (source, fingerprint)
) WITHOUT ROWID;

CREATE VIEW events_view AS
SELECT e.seq,
       lower(substr(hex(e.id), 1, 8) || '-' || substr(hex(e.id), 9, 4) || '-' || substr(hex(e.id), 13, 4)
             || '-' || substr(hex(e.id), 17, 4) || '-' || substr(hex(e.id), 21)) AS id,
       s.name AS source, e.provider,
       strftime('%Y-%m-%dT%H:%M:%fZ', e.received_at / 1000.0, 'unixepoch') AS received_at,
       e.state, e.reason, e.status, e.call_id, e.reference, e.number_from, e.number_to, e.json,
       r.method, r.query, r.content_type, CAST(r.body AS TEXT) AS body
FROM events e JOIN sources s ON s.id = e.source LEFT JOIN requests r ON r.seq = e.seq;

CREATE VIEW deliveries_view AS
SELECT d.id, d.id / 4096 AS event_seq,
       lower(substr(hex(e.id), 1, 8) || '-' || substr(hex(e.id), 9, 4) || '-' || substr(hex(e.id), 13, 4)
             || '-' || substr(hex(e.id), 17, 4) || '-' || substr(hex(e.id), 21)) AS event,
       t.name AS target,
       CASE d.state WHEN 0 THEN 'pending' WHEN 1 THEN 'delivered' WHEN 2 THEN 'dead' ELSE 'discarded' END AS state,
       d.round, d.attempts,
       strftime('%Y-%m-%dT%H:%M:%fZ', d.since / 1000.0, 'unixepoch') AS since,
       strftime('%Y-%m-%dT%H:%M:%fZ', d.next_at / 1000.0, 'unixepoch') AS next_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', d.settled_at / 1000.0, 'unixepoch') AS settled_at,
       d.status, d.error, d.reason
FROM deliveries d JOIN events e ON e.seq = d.id / 4096 JOIN targets t ON t.id = d.target;
