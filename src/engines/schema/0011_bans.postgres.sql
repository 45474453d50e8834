-- Who gets nothing of a site for a while. site_id is 16 bytes of zero for a ban from all sites of the server. source: person or limit;
-- until_ms is NULL for a ban that somebody has to end.
CREATE TABLE ban (
    tenant_id BYTEA NOT NULL,
    site_id BYTEA NOT NULL,
    network TEXT COLLATE "C" NOT NULL,
    id BYTEA NOT NULL,
    source TEXT COLLATE "C" NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    made_by TEXT COLLATE "C" NOT NULL,
    created_ms BIGINT NOT NULL,
    until_ms BIGINT,
    PRIMARY KEY (tenant_id, site_id, network)
);
