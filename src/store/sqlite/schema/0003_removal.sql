-- Version 3: events can be removed.

-- The number of the next event, for when the youngest are gone: a number is never given again.
CREATE TABLE marks (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;
