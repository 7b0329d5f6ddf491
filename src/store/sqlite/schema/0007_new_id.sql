-- Version 7: a redrive or replay that goes out under an id of its own.

-- 1 where the round is sent as `<event>.<round>`; what goes out again otherwise sets it back to 0.
ALTER TABLE deliveries ADD COLUMN new_id INTEGER NOT NULL DEFAULT 0;
