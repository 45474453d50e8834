-- Certificates of hostnames that are kept here, and what the host does to get them by itself.

-- names are hostnames, separated by blanks. for_server: it is also for the panel and for the names below the domain of the sites.
-- The chain is PEM; the key is sealed under the installation's master key.
CREATE TABLE certificate (
    tenant_id BYTEA NOT NULL,
    id BYTEA NOT NULL,
    names TEXT COLLATE "C" NOT NULL,
    source TEXT COLLATE "C" NOT NULL,
    for_server BOOLEAN NOT NULL,
    chain TEXT COLLATE "C" NOT NULL,
    key_sealed BYTEA NOT NULL,
    issuer TEXT COLLATE "C" NOT NULL,
    from_ms BIGINT NOT NULL,
    until_ms BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id)
);

-- How it stands with the certificate that an authority is asked for: when that is done next, how often it has failed since the last one
-- came, and why.
CREATE TABLE certificate_order (
    tenant_id BYTEA NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    certificate_id BYTEA,
    authority TEXT COLLATE "C",
    next_ms BIGINT NOT NULL,
    asked_ms BIGINT,
    failures BIGINT NOT NULL,
    problem_code TEXT COLLATE "C",
    problem TEXT COLLATE "C",
    PRIMARY KEY (tenant_id, name)
);

-- Accounts at authorities, by the address of their directory. The credentials, with the key of the account, are sealed.
CREATE TABLE acme_account (
    directory TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    credentials_sealed BYTEA NOT NULL,
    created_ms BIGINT NOT NULL
);

-- What an authority will ask for to see that a hostname is ours. Any node may be asked. kind is http-01 or tls-alpn-01.
CREATE TABLE acme_challenge (
    name TEXT COLLATE "C" NOT NULL,
    token TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    answer TEXT COLLATE "C" NOT NULL,
    expires_ms BIGINT NOT NULL,
    PRIMARY KEY (name, token)
);
