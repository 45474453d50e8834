-- What people have set for a site, besides what is in its files: one JSON document, an object for each section. A site without a row
-- has the defaults.
CREATE TABLE site_setting (
    tenant_id BYTEA NOT NULL,
    site_id BYTEA NOT NULL,
    document TEXT COLLATE "C" NOT NULL,
    changed_ms BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, site_id)
);
