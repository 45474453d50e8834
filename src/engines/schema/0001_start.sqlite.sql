-- The first schema. Global tables first; all others have tenant_id first in their key.
-- Ids are 16 bytes (UUIDv7), times are milliseconds since 1970, hashes are 32 bytes.

CREATE TABLE setting (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE tenant (
    id BLOB PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE "user" (
    id BLOB PRIMARY KEY,
    email TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL,
    super_admin INTEGER NOT NULL,
    disabled INTEGER NOT NULL,
    created_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE membership (
    tenant_id BLOB NOT NULL,
    user_id BLOB NOT NULL,
    role TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, user_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX membership_user ON membership (user_id);

CREATE TABLE session (
    id BLOB PRIMARY KEY,
    token_hash BLOB NOT NULL UNIQUE,
    user_id BLOB NOT NULL,
    tenant_id BLOB NOT NULL,
    created_ms INTEGER NOT NULL,
    seen_ms INTEGER NOT NULL,
    address TEXT NOT NULL,
    agent TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX session_user ON session (user_id);

CREATE TABLE api_key (
    id BLOB PRIMARY KEY,
    token_hash BLOB NOT NULL UNIQUE,
    user_id BLOB NOT NULL,
    tenant_id BLOB NOT NULL,
    name TEXT NOT NULL,
    hint TEXT NOT NULL,
    scope TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    used_ms INTEGER,
    expires_ms INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX api_key_user ON api_key (user_id);

CREATE TABLE claim (
    token_hash BLOB PRIMARY KEY,
    expires_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A name is kept after its site is deleted (deleted_ms), so that nobody else takes it at once.
CREATE TABLE site_name (
    name TEXT PRIMARY KEY,
    tenant_id BLOB NOT NULL,
    site_id BLOB NOT NULL,
    deleted_ms INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE hostname (
    name TEXT PRIMARY KEY,
    tenant_id BLOB NOT NULL,
    site_id BLOB NOT NULL,
    created_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX hostname_site ON hostname (tenant_id, site_id);

CREATE TABLE outbox (
    id BLOB PRIMARY KEY,
    queue TEXT NOT NULL,
    kind TEXT NOT NULL,
    tenant_id BLOB,
    payload TEXT NOT NULL,
    priority INTEGER NOT NULL,
    run_at_ms INTEGER NOT NULL,
    title TEXT NOT NULL,
    created_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE site (
    tenant_id BLOB NOT NULL,
    id BLOB NOT NULL,
    name TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    live BLOB,
    next_number INTEGER NOT NULL,
    next_publication INTEGER NOT NULL,
    taken_down TEXT,
    watch_folder TEXT,
    PRIMARY KEY (tenant_id, id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX site_by_name ON site (tenant_id, name);

CREATE TABLE deployment (
    tenant_id BLOB NOT NULL,
    site_id BLOB NOT NULL,
    id BLOB NOT NULL,
    number INTEGER NOT NULL,
    state TEXT NOT NULL,
    source TEXT NOT NULL,
    message TEXT NOT NULL,
    actor TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    finished_ms INTEGER,
    wanted BLOB,
    manifest BLOB,
    root BLOB,
    files INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    files_changed INTEGER,
    files_sent INTEGER NOT NULL,
    bytes_sent INTEGER NOT NULL,
    preview TEXT NOT NULL,
    problem TEXT,
    allow_env INTEGER NOT NULL,
    publish INTEGER NOT NULL,
    if_live BLOB,
    idempotency_key TEXT,
    PRIMARY KEY (tenant_id, site_id, id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX deployment_number ON deployment (tenant_id, site_id, number);
CREATE UNIQUE INDEX deployment_key ON deployment (tenant_id, site_id, idempotency_key);
-- The newest of all sites of a tenant, for the first page of the panel: ids grow with time.
CREATE INDEX deployment_newest ON deployment (tenant_id, id);
CREATE INDEX deployment_open ON deployment (state) WHERE state IN ('uploading', 'checking');

-- One row for each framed upload: the hashes that came, 32 bytes each. No row per file.
CREATE TABLE upload_part (
    tenant_id BLOB NOT NULL,
    deployment_id BLOB NOT NULL,
    part INTEGER NOT NULL,
    hashes BLOB NOT NULL,
    PRIMARY KEY (tenant_id, deployment_id, part)
) STRICT, WITHOUT ROWID;

-- What a person reads about the making of a deployment, a line a row.
CREATE TABLE deployment_log (
    tenant_id BLOB NOT NULL,
    deployment_id BLOB NOT NULL,
    line INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (tenant_id, deployment_id, line)
) STRICT, WITHOUT ROWID;

-- Append-only: every publish, rollback and takedown. The public log is filled from it.
CREATE TABLE publication (
    tenant_id BLOB NOT NULL,
    site_id BLOB NOT NULL,
    seq INTEGER NOT NULL,
    kind TEXT NOT NULL,
    deployment_id BLOB,
    manifest BLOB,
    root BLOB,
    files INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    actor TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, site_id, seq)
) STRICT, WITHOUT ROWID;

-- What a job has done once and for all, so that a second run does not do it again.
CREATE TABLE effect (
    tenant_id BLOB NOT NULL,
    job_id BLOB NOT NULL,
    name TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, job_id, name)
) STRICT, WITHOUT ROWID;

-- Inserted unsealed; one task gives seq and hash (H(hash of seq - 1, entry)) for each tenant.
CREATE TABLE audit_log (
    tenant_id BLOB NOT NULL,
    created_ms INTEGER NOT NULL,
    id BLOB NOT NULL,
    seq INTEGER,
    hash BLOB,
    actor TEXT NOT NULL,
    address TEXT NOT NULL,
    kind TEXT NOT NULL,
    entity TEXT NOT NULL,
    entity_id TEXT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (tenant_id, created_ms, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX audit_unsealed ON audit_log (tenant_id, id) WHERE seq IS NULL;
CREATE INDEX audit_by_id ON audit_log (tenant_id, id);
CREATE UNIQUE INDEX audit_seq ON audit_log (tenant_id, seq);

-- Of each tenant's chain: the last sealed entry, and the last one that was archived and may be gone.
CREATE TABLE audit_head (
    tenant_id BLOB PRIMARY KEY,
    seq INTEGER NOT NULL,
    hash BLOB NOT NULL,
    kept_seq INTEGER NOT NULL,
    kept_hash BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- What was written to a chain of blocks, and how far it has come there.
CREATE TABLE blockchain_record (
    tenant_id BLOB NOT NULL,
    created_ms INTEGER NOT NULL,
    id BLOB NOT NULL,
    kind TEXT NOT NULL,
    network TEXT NOT NULL,
    size INTEGER NOT NULL,
    root BLOB NOT NULL,
    state TEXT NOT NULL,
    reference TEXT NOT NULL,
    PRIMARY KEY (tenant_id, created_ms, id)
) STRICT, WITHOUT ROWID;

-- The files into which the rows of a month were written before they were removed.
CREATE TABLE month_archive (
    name TEXT NOT NULL,
    month TEXT NOT NULL,
    part INTEGER NOT NULL,
    file TEXT NOT NULL,
    sha256 BLOB NOT NULL,
    entries INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    PRIMARY KEY (name, month, part)
) STRICT, WITHOUT ROWID;
