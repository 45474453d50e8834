-- What visitors of sites asked for, in sums by minute, hour and day (UTC). Nothing in it is of one visitor.

-- period is minute, hour or day. visits is what the sketch of the same row in traffic_visitors gave last.
CREATE TABLE traffic (
    tenant_id BLOB NOT NULL,
    site_id BLOB NOT NULL,
    period TEXT NOT NULL,
    start_ms INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    pages INTEGER NOT NULL,
    visits INTEGER NOT NULL,
    bots INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    unchanged INTEGER NOT NULL,
    status_2xx INTEGER NOT NULL,
    status_3xx INTEGER NOT NULL,
    status_4xx INTEGER NOT NULL,
    status_5xx INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, site_id, period, start_ms)
) STRICT, WITHOUT ROWID;
CREATE INDEX traffic_age ON traffic (tenant_id, period, start_ms);

-- Sketches of hashed visitors, of hours and days that may still grow.
CREATE TABLE traffic_visitors (
    tenant_id BLOB NOT NULL,
    site_id BLOB NOT NULL,
    period TEXT NOT NULL,
    start_ms INTEGER NOT NULL,
    sketch BLOB NOT NULL,
    PRIMARY KEY (tenant_id, site_id, period, start_ms)
) STRICT, WITHOUT ROWID;
CREATE INDEX traffic_visitors_age ON traffic_visitors (tenant_id, start_ms);

-- The most frequent labels of an hour or a day: kind is page, referrer or missing, labels a JSON list of label, count, and how much of the count is not sure, the most frequent first.
CREATE TABLE traffic_top (
    tenant_id BLOB NOT NULL,
    site_id BLOB NOT NULL,
    period TEXT NOT NULL,
    start_ms INTEGER NOT NULL,
    kind TEXT NOT NULL,
    labels TEXT NOT NULL,
    PRIMARY KEY (tenant_id, site_id, period, start_ms, kind)
) STRICT, WITHOUT ROWID;
CREATE INDEX traffic_top_age ON traffic_top (tenant_id, period, start_ms);

-- What makes the hashes of a day: all nodes have the same, so that nobody is counted twice. It goes when the day is over.
CREATE TABLE traffic_salt (
    day_ms INTEGER NOT NULL PRIMARY KEY,
    salt BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Whose a site is, for who knows its id alone.
CREATE INDEX site_by_id ON site (id);
