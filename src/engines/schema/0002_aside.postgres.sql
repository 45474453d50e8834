-- Why the queue will never take a row, which then waits for nobody but people.
ALTER TABLE outbox ADD COLUMN refused TEXT COLLATE "C";
-- The list of files that was last deployed from the watched folder: a restart must not deploy it again over a rollback.
ALTER TABLE site ADD COLUMN watched BYTEA;
