-- Jobs that are asked for again and again, and two more facts about each job that waits to be handed over.

ALTER TABLE outbox ADD COLUMN unique_key TEXT COLLATE "C";
-- Ids of jobs, 16 bytes each, or NULL.
ALTER TABLE outbox ADD COLUMN after_ids BYTEA;

-- next_ms is NULL while nothing is due: paused, or no time comes any more.
CREATE TABLE schedule (
    tenant_id BYTEA NOT NULL,
    id BYTEA NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    cron TEXT COLLATE "C" NOT NULL,
    zone TEXT COLLATE "C" NOT NULL,
    missed TEXT COLLATE "C" NOT NULL,
    queue TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    payload TEXT COLLATE "C" NOT NULL,
    priority BIGINT NOT NULL,
    title TEXT COLLATE "C" NOT NULL,
    paused BOOLEAN NOT NULL,
    next_ms BIGINT,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE UNIQUE INDEX schedule_by_name ON schedule (tenant_id, name);
CREATE INDEX schedule_due ON schedule (next_ms) WHERE next_ms IS NOT NULL;
