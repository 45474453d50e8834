-- Certificates of hostnames that are kept here, and what the host does to get them by itself.

-- names are hostnames, separated by blanks. for_server: it is also for the panel and for the names below the domain of the sites.
-- The chain is PEM; the key is sealed under the installation's master key.
CREATE TABLE certificate (
    tenant_id BLOB NOT NULL,
    id BLOB NOT NULL,
    names TEXT NOT NULL,
    source TEXT NOT NULL,
    for_server INTEGER NOT NULL,
    chain TEXT NOT NULL,
    key_sealed BLOB NOT NULL,
    issuer TEXT NOT NULL,
    from_ms INTEGER NOT NULL,
    until_ms INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, id)
) STRICT, WITHOUT ROWID;

-- How it stands with the certificate that an authority is asked for: when that is done next, how often it has failed since the last one
-- came, and why.
CREATE TABLE certificate_order (
    tenant_id BLOB NOT NULL,
    name TEXT NOT NULL,
    certificate_id BLOB,
    authority TEXT,
    next_ms INTEGER NOT NULL,
    asked_ms INTEGER,
    failures INTEGER NOT NULL,
    problem_code TEXT,
    problem TEXT,
    PRIMARY KEY (tenant_id, name)
) STRICT, WITHOUT ROWID;

-- Accounts at authorities, by the address of their directory. The credentials, with the key of the account, are sealed.
CREATE TABLE acme_account (
    directory TEXT NOT NULL PRIMARY KEY,
    credentials_sealed BLOB NOT NULL,
    created_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What an authority will ask for to see that a hostname is ours. Any node may be asked. kind is http-01 or tls-alpn-01.
CREATE TABLE acme_challenge (
    name TEXT NOT NULL,
    token TEXT NOT NULL,
    kind TEXT NOT NULL,
    answer TEXT NOT NULL,
    expires_ms INTEGER NOT NULL,
    PRIMARY KEY (name, token)
) STRICT, WITHOUT ROWID;
