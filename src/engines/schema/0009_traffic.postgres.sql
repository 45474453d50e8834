-- What visitors of sites asked for, in sums by minute, hour and day (UTC). Nothing in it is of one visitor.

-- period is minute, hour or day. visits is what the sketch of the same row in traffic_visitors gave last.
CREATE TABLE traffic (
    tenant_id BYTEA NOT NULL,
    site_id BYTEA NOT NULL,
    period TEXT COLLATE "C" NOT NULL,
    start_ms BIGINT NOT NULL,
    requests BIGINT NOT NULL,
    pages BIGINT NOT NULL,
    visits BIGINT NOT NULL,
    bots BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    unchanged BIGINT NOT NULL,
    status_2xx BIGINT NOT NULL,
    status_3xx BIGINT NOT NULL,
    status_4xx BIGINT NOT NULL,
    status_5xx BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, site_id, period, start_ms)
);
CREATE INDEX traffic_age ON traffic (tenant_id, period, start_ms);

-- Sketches of hashed visitors, of hours and days that may still grow.
CREATE TABLE traffic_visitors (
    tenant_id BYTEA NOT NULL,
    site_id BYTEA NOT NULL,
    period TEXT COLLATE "C" NOT NULL,
    start_ms BIGINT NOT NULL,
    sketch BYTEA NOT NULL,
    PRIMARY KEY (tenant_id, site_id, period, start_ms)
);
CREATE INDEX traffic_visitors_age ON traffic_visitors (tenant_id, start_ms);

-- The most frequent labels of an hour or a day: kind is page, referrer or missing, labels a JSON list of label, count, and how much of the count is not sure, the most frequent first.
CREATE TABLE traffic_top (
    tenant_id BYTEA NOT NULL,
    site_id BYTEA NOT NULL,
    period TEXT COLLATE "C" NOT NULL,
    start_ms BIGINT NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    labels TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant_id, site_id, period, start_ms, kind)
);
CREATE INDEX traffic_top_age ON traffic_top (tenant_id, period, start_ms);

-- What makes the hashes of a day: all nodes have the same, so that nobody is counted twice. It goes when the day is over.
CREATE TABLE traffic_salt (
    day_ms BIGINT NOT NULL PRIMARY KEY,
    salt BYTEA NOT NULL
);

-- Whose a site is, for who knows its id alone.
CREATE INDEX site_by_id ON site (id);
