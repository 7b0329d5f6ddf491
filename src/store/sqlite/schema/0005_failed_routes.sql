-- Events that a route could not judge, because its condition failed on them.

-- The names of the routes, one a line; null for nearly every event.
ALTER TABLE events ADD COLUMN failed_routes TEXT;
CREATE INDEX events_failed_routes ON events (seq) WHERE failed_routes IS NOT NULL;
