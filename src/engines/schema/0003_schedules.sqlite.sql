-- Jobs that are asked for again and again, and two more facts about each job that waits to be handed over.

ALTER TABLE outbox ADD COLUMN unique_key TEXT;
-- Ids of jobs, 16 bytes each, or NULL.
ALTER TABLE outbox ADD COLUMN after_ids BLOB;

-- next_ms is NULL while nothing is due: paused, or no time comes any more.
CREATE TABLE schedule (
    tenant_id BLOB NOT NULL,
    id BLOB NOT NULL,
    name TEXT NOT NULL,
    cron TEXT NOT NULL,
    zone TEXT NOT NULL,
    missed TEXT NOT NULL,
    queue TEXT NOT NULL,
    kind TEXT NOT NULL,
    payload TEXT NOT NULL,
    priority INTEGER NOT NULL,
    title TEXT NOT NULL,
    paused INTEGER NOT NULL,
    next_ms INTEGER,
    created_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX schedule_by_name ON schedule (tenant_id, name);
CREATE INDEX schedule_due ON schedule (next_ms) WHERE next_ms IS NOT NULL;
