-- Version 6: the trace a callback belongs to.

-- The trace id and the flags of the sender's `traceparent`, 17 bytes; null when it sent none.
ALTER TABLE events ADD COLUMN trace BLOB;
