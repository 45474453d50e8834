-- TXT records by which an authority sees that a name is ours: those that the host has set at a provider of DNS and has still to take away, and those
-- that a person is to set. name is what the certificate is for; record is where the TXT record stands, in zone; order_url is the order that waits.
CREATE TABLE acme_record (
    name TEXT COLLATE "C" NOT NULL,
    value TEXT COLLATE "C" NOT NULL,
    record TEXT COLLATE "C" NOT NULL,
    zone TEXT COLLATE "C" NOT NULL,
    provider TEXT COLLATE "C" NOT NULL,
    authority TEXT COLLATE "C" NOT NULL,
    order_url TEXT COLLATE "C" NOT NULL,
    expires_ms BIGINT NOT NULL,
    next_ms BIGINT NOT NULL,
    PRIMARY KEY (name, value)
);
