-- Version 4: targets that are paused or left out of relay.toml, and calls kept in order.

-- Since when a person has it paused, and since when relay.toml does not name it.
ALTER TABLE targets ADD COLUMN paused_at INTEGER;
ALTER TABLE targets ADD COLUMN orphaned_at INTEGER;
-- Since when, for either reason, its deliveries do not age; and how long they did not before that.
ALTER TABLE targets ADD COLUMN still_since INTEGER;
ALTER TABLE targets ADD COLUMN stood INTEGER NOT NULL DEFAULT 0;
-- Whether deliveries of one call take turns: 0 no, 1 yes, 2 those of before still join the queues.
ALTER TABLE targets ADD COLUMN turns INTEGER NOT NULL DEFAULT 0;

-- How long the target had stood still at `since`: what is more by now is no age.
ALTER TABLE deliveries ADD COLUMN stood INTEGER NOT NULL DEFAULT 0;
-- The call whose turn this waits for, where deliveries take turns. Of those pending in one queue
-- one has its turn; the others have no next_at, so that they cost nobody a look.
ALTER TABLE deliveries ADD COLUMN queue INTEGER;
CREATE INDEX deliveries_queue ON deliveries (target, queue) WHERE state = 0 AND queue IS NOT NULL;

-- First attempts and further ones each from their own head: neither hides behind the other.
DROP INDEX deliveries_due;
CREATE INDEX deliveries_due ON deliveries (target, attempts > 0, next_at) WHERE state = 0;
