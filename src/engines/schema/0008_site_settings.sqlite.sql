-- What people have set for a site, besides what is in its files: one JSON document, an object for each section. A site without a row
-- has the defaults.
CREATE TABLE site_setting (
    tenant_id BLOB NOT NULL,
    site_id BLOB NOT NULL,
    document TEXT NOT NULL,
    changed_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, site_id)
) STRICT, WITHOUT ROWID;
