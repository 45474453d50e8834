-- When a row was handed to a queue that may lose it; it stays until its job has ended. NULL while it waits for that.
ALTER TABLE outbox ADD COLUMN handed_ms INTEGER;
CREATE INDEX outbox_waiting ON outbox (id) WHERE handed_ms IS NULL;
