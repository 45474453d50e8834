-- TXT records by which an authority sees that a name is ours: those that the host has set at a provider of DNS and has still to take away, and those
-- that a person is to set. name is what the certificate is for; record is where the TXT record stands, in zone; order_url is the order that waits.
CREATE TABLE acme_record (
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    record TEXT NOT NULL,
    zone TEXT NOT NULL,
    provider TEXT NOT NULL,
    authority TEXT NOT NULL,
    order_url TEXT NOT NULL,
    expires_ms INTEGER NOT NULL,
    next_ms INTEGER NOT NULL,
    PRIMARY KEY (name, value)
) STRICT, WITHOUT ROWID;
