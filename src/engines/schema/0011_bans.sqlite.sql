-- Who gets nothing of a site for a while. site_id is 16 bytes of zero for a ban from all sites of the server. source: person or limit;
-- until_ms is NULL for a ban that somebody has to end.
CREATE TABLE ban (
    tenant_id BLOB NOT NULL,
    site_id BLOB NOT NULL,
    network TEXT NOT NULL,
    id BLOB NOT NULL,
    source TEXT NOT NULL,
    reason TEXT NOT NULL,
    made_by TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    until_ms INTEGER,
    PRIMARY KEY (tenant_id, site_id, network)
) STRICT, WITHOUT ROWID;
