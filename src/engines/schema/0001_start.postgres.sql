-- The first schema, as for SQLite: the same tables, columns and keys. Texts compare by their bytes on both.
-- Ids are 16 bytes (UUIDv7), times are milliseconds since 1970, hashes are 32 bytes.

CREATE TABLE setting (
    name TEXT COLLATE "C" PRIMARY KEY,
    value TEXT COLLATE "C" NOT NULL
);

CREATE TABLE tenant (
    id BYTEA PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL UNIQUE,
    created_ms BIGINT NOT NULL
);

CREATE TABLE "user" (
    id BYTEA PRIMARY KEY,
    email TEXT COLLATE "C" NOT NULL UNIQUE,
    password_hash TEXT COLLATE "C" NOT NULL,
    super_admin BOOLEAN NOT NULL,
    disabled BOOLEAN NOT NULL,
    created_ms BIGINT NOT NULL
);

CREATE TABLE membership (
    tenant_id BYTEA NOT NULL,
    user_id BYTEA NOT NULL,
    role TEXT COLLATE "C" NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, user_id)
);
CREATE INDEX membership_user ON membership (user_id);

CREATE TABLE session (
    id BYTEA PRIMARY KEY,
    token_hash BYTEA NOT NULL UNIQUE,
    user_id BYTEA NOT NULL,
    tenant_id BYTEA NOT NULL,
    created_ms BIGINT NOT NULL,
    seen_ms BIGINT NOT NULL,
    address TEXT COLLATE "C" NOT NULL,
    agent TEXT COLLATE "C" NOT NULL
);
CREATE INDEX "session_user" ON session (user_id);

CREATE TABLE api_key (
    id BYTEA PRIMARY KEY,
    token_hash BYTEA NOT NULL UNIQUE,
    user_id BYTEA NOT NULL,
    tenant_id BYTEA NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    hint TEXT COLLATE "C" NOT NULL,
    scope TEXT COLLATE "C" NOT NULL,
    created_ms BIGINT NOT NULL,
    used_ms BIGINT,
    expires_ms BIGINT
);
CREATE INDEX api_key_user ON api_key (user_id);

CREATE TABLE claim (
    token_hash BYTEA PRIMARY KEY,
    expires_ms BIGINT NOT NULL
);

-- A name is kept after its site is deleted (deleted_ms), so that nobody else takes it at once.
CREATE TABLE site_name (
    name TEXT COLLATE "C" PRIMARY KEY,
    tenant_id BYTEA NOT NULL,
    site_id BYTEA NOT NULL,
    deleted_ms BIGINT
);

CREATE TABLE hostname (
    name TEXT COLLATE "C" PRIMARY KEY,
    tenant_id BYTEA NOT NULL,
    site_id BYTEA NOT NULL,
    created_ms BIGINT NOT NULL
);
CREATE INDEX hostname_site ON hostname (tenant_id, site_id);

CREATE TABLE outbox (
    id BYTEA PRIMARY KEY,
    queue TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    tenant_id BYTEA,
    payload TEXT COLLATE "C" NOT NULL,
    priority BIGINT NOT NULL,
    run_at_ms BIGINT NOT NULL,
    title TEXT COLLATE "C" NOT NULL,
    created_ms BIGINT NOT NULL
);

CREATE TABLE site (
    tenant_id BYTEA NOT NULL,
    id BYTEA NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    created_ms BIGINT NOT NULL,
    live BYTEA,
    next_number BIGINT NOT NULL,
    next_publication BIGINT NOT NULL,
    taken_down TEXT COLLATE "C",
    watch_folder TEXT COLLATE "C",
    PRIMARY KEY (tenant_id, id)
);
CREATE UNIQUE INDEX site_by_name ON site (tenant_id, name);

CREATE TABLE deployment (
    tenant_id BYTEA NOT NULL,
    site_id BYTEA NOT NULL,
    id BYTEA NOT NULL,
    number BIGINT NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    source TEXT COLLATE "C" NOT NULL,
    message TEXT COLLATE "C" NOT NULL,
    actor TEXT COLLATE "C" NOT NULL,
    created_ms BIGINT NOT NULL,
    finished_ms BIGINT,
    wanted BYTEA,
    manifest BYTEA,
    root BYTEA,
    files BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    files_changed BIGINT,
    files_sent BIGINT NOT NULL,
    bytes_sent BIGINT NOT NULL,
    preview TEXT COLLATE "C" NOT NULL,
    problem TEXT COLLATE "C",
    allow_env BOOLEAN NOT NULL,
    publish BOOLEAN NOT NULL,
    if_live BYTEA,
    idempotency_key TEXT COLLATE "C",
    PRIMARY KEY (tenant_id, site_id, id)
);
CREATE UNIQUE INDEX deployment_number ON deployment (tenant_id, site_id, number);
CREATE UNIQUE INDEX deployment_key ON deployment (tenant_id, site_id, idempotency_key);
-- The newest of all sites of a tenant, for the first page of the panel: ids grow with time.
CREATE INDEX deployment_newest ON deployment (tenant_id, id);
CREATE INDEX deployment_open ON deployment (state) WHERE state IN ('uploading', 'checking');

-- One row for each framed upload: the hashes that came, 32 bytes each. No row per file.
CREATE TABLE upload_part (
    tenant_id BYTEA NOT NULL,
    deployment_id BYTEA NOT NULL,
    part BIGINT NOT NULL,
    hashes BYTEA NOT NULL,
    PRIMARY KEY (tenant_id, deployment_id, part)
);

-- What a person reads about the making of a deployment, a line a row.
CREATE TABLE deployment_log (
    tenant_id BYTEA NOT NULL,
    deployment_id BYTEA NOT NULL,
    line BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    text TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant_id, deployment_id, line)
);

-- Append-only: every publish, rollback and takedown. The public log is filled from it.
CREATE TABLE publication (
    tenant_id BYTEA NOT NULL,
    site_id BYTEA NOT NULL,
    seq BIGINT NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    deployment_id BYTEA,
    manifest BYTEA,
    root BYTEA,
    files BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    actor TEXT COLLATE "C" NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, site_id, seq)
);

-- What a job has done once and for all, so that a second run does not do it again.
CREATE TABLE effect (
    tenant_id BYTEA NOT NULL,
    job_id BYTEA NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, job_id, name)
);

-- Inserted unsealed; one task gives seq and hash (H(hash of seq - 1, entry)) for each tenant. In parts, one for each month of
-- created_ms, made ahead by a task; what fits no month lands in the default part, which raises an alarm.
CREATE TABLE audit_log (
    tenant_id BYTEA NOT NULL,
    created_ms BIGINT NOT NULL,
    id BYTEA NOT NULL,
    seq BIGINT,
    hash BYTEA,
    actor TEXT COLLATE "C" NOT NULL,
    address TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    entity TEXT COLLATE "C" NOT NULL,
    entity_id TEXT COLLATE "C" NOT NULL,
    text TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant_id, created_ms, id)
) PARTITION BY RANGE (created_ms);
CREATE TABLE audit_log_default PARTITION OF audit_log DEFAULT;
CREATE INDEX audit_unsealed ON audit_log (tenant_id, id) WHERE seq IS NULL;
CREATE INDEX audit_by_id ON audit_log (tenant_id, id);
-- That seq is there once in a tenant cannot be an index over all parts: audit_head, which moves with each seq, sees to it.
CREATE INDEX audit_seq ON audit_log (tenant_id, seq);

-- Of each tenant's chain: the last sealed entry, and the last one that was archived and may be gone.
CREATE TABLE audit_head (
    tenant_id BYTEA PRIMARY KEY,
    seq BIGINT NOT NULL,
    hash BYTEA NOT NULL,
    kept_seq BIGINT NOT NULL,
    kept_hash BYTEA NOT NULL
);

-- What was written to a chain of blocks, and how far it has come there. In parts by month, as audit_log.
CREATE TABLE blockchain_record (
    tenant_id BYTEA NOT NULL,
    created_ms BIGINT NOT NULL,
    id BYTEA NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    network TEXT COLLATE "C" NOT NULL,
    size BIGINT NOT NULL,
    root BYTEA NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    reference TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant_id, created_ms, id)
) PARTITION BY RANGE (created_ms);
CREATE TABLE blockchain_record_default PARTITION OF blockchain_record DEFAULT;

-- The files into which the rows of a month were written before they were removed.
CREATE TABLE month_archive (
    name TEXT COLLATE "C" NOT NULL,
    month TEXT COLLATE "C" NOT NULL,
    part BIGINT NOT NULL,
    file TEXT COLLATE "C" NOT NULL,
    sha256 BYTEA NOT NULL,
    entries BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (name, month, part)
);
