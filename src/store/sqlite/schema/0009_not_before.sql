-- Version 9: what waits for its turn and is not due as soon as it has it.

-- When a delivery without a next_at was due before it began to wait for its turn; null if it was
-- so at once. It is due then, when its turn comes, and no earlier.
ALTER TABLE deliveries ADD COLUMN not_before INTEGER;
