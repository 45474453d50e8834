-- A server's database as the first schema had it, with a row or more in each table but one. Its files are in `upgrade.rs`.
-- The API key in it is of no server.

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
CREATE INDEX deployment_newest ON deployment (tenant_id, id);
CREATE INDEX deployment_open ON deployment (state) WHERE state IN ('uploading', 'checking');
CREATE TABLE upload_part (
    tenant_id BLOB NOT NULL,
    deployment_id BLOB NOT NULL,
    part INTEGER NOT NULL,
    hashes BLOB NOT NULL,
    PRIMARY KEY (tenant_id, deployment_id, part)
) STRICT, WITHOUT ROWID;
CREATE TABLE deployment_log (
    tenant_id BLOB NOT NULL,
    deployment_id BLOB NOT NULL,
    line INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (tenant_id, deployment_id, line)
) STRICT, WITHOUT ROWID;
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
CREATE TABLE effect (
    tenant_id BLOB NOT NULL,
    job_id BLOB NOT NULL,
    name TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, job_id, name)
) STRICT, WITHOUT ROWID;
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
CREATE TABLE audit_head (
    tenant_id BLOB PRIMARY KEY,
    seq INTEGER NOT NULL,
    hash BLOB NOT NULL,
    kept_seq INTEGER NOT NULL,
    kept_hash BLOB NOT NULL
) STRICT, WITHOUT ROWID;
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
CREATE TABLE schema_version (version INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT;

INSERT INTO schema_version VALUES (1, 'start');
INSERT INTO "setting" VALUES ('instance', '01a22463753d7000ab5a7fc798296df8');
INSERT INTO "tenant" VALUES (X'01a22463a75b7000b0378d5bb6ba8b61', 'default', 1795906840411);
INSERT INTO "user" VALUES (X'01a22463a8607000b84b8429a848233b', 'owner@example.org', '$argon2id$v=19$m=19456,t=2,p=1$t7+GqnukNU87Tgc61VJNrQ$Y44Uhf6xSU/QJqhqfxaKq0YLiDawFZAaUMHBvIwP0I0', 1, 0, 1795906840672);
INSERT INTO "user" VALUES (X'01a22463a91b7000a9121cddddfdd915', 'mate@example.org', '$argon2id$v=19$m=19456,t=2,p=1$ZZuJITnU5LSEVu8ZRIqoqw$yYpFwC8YkJOhqAayX65K0ZU5RzHelkE3xgY0ZhPUeRU', 0, 0, 1795906840859);
INSERT INTO "membership" VALUES (X'01a22463a75b7000b0378d5bb6ba8b61', X'01a22463a8607000b84b8429a848233b', 'admin', 1795906840672);
INSERT INTO "membership" VALUES (X'01a22463a75b7000b0378d5bb6ba8b61', X'01a22463a91b7000a9121cddddfdd915', 'user', 1795906840859);
INSERT INTO "session" VALUES (X'01a22463aa3d7000b1c6582d4f081a60', X'1111111111111111111111111111111111111111111111111111111111111111', X'01a22463a8607000b84b8429a848233b', X'01a22463a75b7000b0378d5bb6ba8b61', 1795906841000, 1795906841000, '127.0.0.1', 'Firefox/140.0 Linux');
INSERT INTO "api_key" VALUES (X'01a22463a92f70009bdcc7846c31b718', X'd0bc92a5a869912a998eb8f1b671fd07b0f940d7cc11960db596cb942e7f60ca', X'01a22463a8607000b84b8429a848233b', X'01a22463a75b7000b0378d5bb6ba8b61', 'command line', 'ch_L7iO…', 'all', 1795906840879, 1795906840959, NULL);
INSERT INTO "claim" VALUES (X'2222222222222222222222222222222222222222222222222222222222222222', 1795906841000);
INSERT INTO "site_name" VALUES ('gone', X'01a22463a75b7000b0378d5bb6ba8b61', X'01a22463aa637000976a7f4f5ab095bf', 1795906841208);
INSERT INTO "site_name" VALUES ('hello', X'01a22463a75b7000b0378d5bb6ba8b61', X'01a22463a98c70009aa232fc59fe4497', NULL);
INSERT INTO "hostname" VALUES ('www.example.org', X'01a22463a75b7000b0378d5bb6ba8b61', X'01a22463a98c70009aa232fc59fe4497', 1795906841163);
INSERT INTO "outbox" VALUES (X'01a22463aa3d7000b1c6582d4f081a59', 'deploy', 'compress_variants', X'01a22463a75b7000b0378d5bb6ba8b61', '{"manifest":"d0d339249bab981f9e62d152f49cfdcc55287e11e8806b39affb04fbf8cb2230"}', 0, 1795906841148, 'Compress hello 2', 1795906841148);
INSERT INTO "site" VALUES (X'01a22463a75b7000b0378d5bb6ba8b61', X'01a22463a98c70009aa232fc59fe4497', 'hello', 1795906840972, X'01a22463aa2f7000ab86affd887ac432', 3, 3, NULL, NULL);
INSERT INTO "deployment" VALUES (X'01a22463a75b7000b0378d5bb6ba8b61', X'01a22463a98c70009aa232fc59fe4497', X'01a22463a9987000ab3aa6492d998816', 1, 'superseded', 'cli', '', 'key command line of owner@example.org', 1795906840984, 1795906841006, X'e8a79ef6db144ff8aa5ecd18ebf3b7928947681131c2bfa34bca33d37616cd2d', X'ab3ae386f95f3f90de2d8eec03e4b31dfd9bad16a5847c02736cdee40a6084d5', X'5f8d1972210788131a1c486eef7e1f5c97bf74c12fcd5982bbd364f0f0956d94', 1, 4, 1, 1, 4, 'l2bzszxhlk6pal3h4w3i', NULL, 0, 1, NULL, '1efd4169c324195fb6470e84a385375b5db101b568a7c24cccece3cb503fc1fd');
INSERT INTO "deployment" VALUES (X'01a22463a75b7000b0378d5bb6ba8b61', X'01a22463a98c70009aa232fc59fe4497', X'01a22463aa2f7000ab86affd887ac432', 2, 'live', 'cli', 'the second', 'key command line of owner@example.org', 1795906841135, 1795906841148, X'67856b51662dc5bbb3f4c262b21ce6be35788403cfad6f234146f8ccebf7f5a8', X'd0d339249bab981f9e62d152f49cfdcc55287e11e8806b39affb04fbf8cb2230', X'0e893dd3b7558d032956c8fefb2932335a14e60b58d3b23773af5884f2aa913c', 1, 4, 1, 1, 4, 'c6h3dnmqdhtvnu7k3pty', NULL, 0, 1, NULL, '034cb5a64691be51534cf6fd8878cc67241c9a2569499f72d821ce33edaa311d');
INSERT INTO "upload_part" VALUES (X'01a22463a75b7000b0378d5bb6ba8b61', X'01a22463a9987000ab3aa6492d998816', 0, X'33333333333333333333333333333333333333333333333333333333333333333333333333333333333333333333333333333333333333333333333333333333');
INSERT INTO "deployment_log" VALUES (X'01a22463a75b7000b0378d5bb6ba8b61', X'01a22463a9987000ab3aa6492d998816', 0, 1795906840984, 'Begun by key command line of owner@example.org.');
INSERT INTO "deployment_log" VALUES (X'01a22463a75b7000b0378d5bb6ba8b61', X'01a22463a9987000ab3aa6492d998816', 1, 1795906841006, 'Checked 1 files, 4 B, 1 new or changed.');
INSERT INTO "deployment_log" VALUES (X'01a22463a75b7000b0378d5bb6ba8b61', X'01a22463a9987000ab3aa6492d998816', 2, 1795906841007, 'Live.');
INSERT INTO "deployment_log" VALUES (X'01a22463a75b7000b0378d5bb6ba8b61', X'01a22463aa2f7000ab86affd887ac432', 0, 1795906841135, 'Begun by key command line of owner@example.org.');
INSERT INTO "deployment_log" VALUES (X'01a22463a75b7000b0378d5bb6ba8b61', X'01a22463aa2f7000ab86affd887ac432', 1, 1795906841148, 'Checked 1 files, 4 B, 1 new or changed.');
INSERT INTO "deployment_log" VALUES (X'01a22463a75b7000b0378d5bb6ba8b61', X'01a22463aa2f7000ab86affd887ac432', 2, 1795906841149, 'Live.');
INSERT INTO "publication" VALUES (X'01a22463a75b7000b0378d5bb6ba8b61', X'01a22463a98c70009aa232fc59fe4497', 1, 'deploy', X'01a22463a9987000ab3aa6492d998816', X'ab3ae386f95f3f90de2d8eec03e4b31dfd9bad16a5847c02736cdee40a6084d5', X'5f8d1972210788131a1c486eef7e1f5c97bf74c12fcd5982bbd364f0f0956d94', 1, 4, 'key command line of owner@example.org', 1795906841007);
INSERT INTO "publication" VALUES (X'01a22463a75b7000b0378d5bb6ba8b61', X'01a22463a98c70009aa232fc59fe4497', 2, 'deploy', X'01a22463aa2f7000ab86affd887ac432', X'd0d339249bab981f9e62d152f49cfdcc55287e11e8806b39affb04fbf8cb2230', X'0e893dd3b7558d032956c8fefb2932335a14e60b58d3b23773af5884f2aa913c', 1, 4, 'key command line of owner@example.org', 1795906841148);
INSERT INTO "effect" VALUES (X'01a22463a75b7000b0378d5bb6ba8b61', X'01a22463aa3d7000b1c6582d4f081a59', 'mail', 1795906841148);
INSERT INTO "audit_log" VALUES (X'01a22463a75b7000b0378d5bb6ba8b61', 1795906840672, X'01a22463a8607001b2981b184b08a384', 1, X'b1df04e5675823933a165a1eeed12b32a61707aeb1d30dced6e6217fc3b7fb47', 'command line on this server', '', 'user.created', 'user', 'owner@example.org', 'added the user owner@example.org as super-admin');
INSERT INTO "audit_log" VALUES (X'01a22463a75b7000b0378d5bb6ba8b61', 1795906840859, X'01a22463a91b70019af16aedcbc40d8c', 2, X'0bdcb06ecea0287dd225b6d03e06fc3cfa15e86ef3d60d56a6caf11af75384db', 'command line on this server', '', 'user.created', 'user', 'mate@example.org', 'added the user mate@example.org as user');
INSERT INTO "audit_log" VALUES (X'01a22463a75b7000b0378d5bb6ba8b61', 1795906840879, X'01a22463a92f70018b232f80e20af966', 3, X'fcd65ecd0565e9fa8b2b8b570b47ad76517f6f0a7ae022726e0139ad674720fb', 'command line on this server', '', 'key.created', 'key', '01a22463a92f70009bdcc7846c31b718', 'made the key `command line` with the scope all');
INSERT INTO "audit_log" VALUES (X'01a22463a75b7000b0378d5bb6ba8b61', 1795906840972, X'01a22463a98c70018bc29278c81f7a66', 4, X'44ec5c9e295866959cd9347d988d0235bb4c7fda8321f7c79412ab0e0ba79cba', 'key command line of owner@example.org', '127.0.0.1', 'site.created', 'site', 'hello', 'made the site hello');
INSERT INTO "audit_log" VALUES (X'01a22463a75b7000b0378d5bb6ba8b61', 1795906841007, X'01a22463a9af7000b263ac5d6ba78ee6', 5, X'138cc8e0134d8af94b166e840f3def98d7427179c63f17c4557b3d38e90491db', 'key command line of owner@example.org', '127.0.0.1', 'deployment.published', 'site', 'hello', 'published hello 1');
INSERT INTO "audit_log" VALUES (X'01a22463a75b7000b0378d5bb6ba8b61', 1795906841148, X'01a22463aa3c7000a92904cb12dd7934', 6, X'e1ec9f6dd3b5fd915fa8be732f96db1e49cc97bad26006cc114ae43adbfefea4', 'key command line of owner@example.org', '127.0.0.1', 'deployment.published', 'site', 'hello', 'published hello 2');
INSERT INTO "audit_log" VALUES (X'01a22463a75b7000b0378d5bb6ba8b61', 1795906841163, X'01a22463aa4b70009145f2ffe5d26be2', 7, X'86ac00aac98695c40bbd3bc1583fea7859e7abb6fd2ca641338cbd86e8a382a9', 'key command line of owner@example.org', '127.0.0.1', 'hostname.added', 'site', 'hello', 'gave www.example.org to hello');
INSERT INTO "audit_log" VALUES (X'01a22463a75b7000b0378d5bb6ba8b61', 1795906841187, X'01a22463aa637001b8270688ec9c600f', 8, X'6aa14ae71a3c872c334490523a25e01d2fe02296b206da0b4e07892abcdb8dd3', 'key command line of owner@example.org', '127.0.0.1', 'site.created', 'site', 'gone', 'made the site gone');
INSERT INTO "audit_log" VALUES (X'01a22463a75b7000b0378d5bb6ba8b61', 1795906841208, X'01a22463aa7870008a09b27431b181b2', 9, X'9f2074383e7171898429f070886bc8a14e8c0ed89302bdb3ec87c22004a06202', 'key command line of owner@example.org', '127.0.0.1', 'site.deleted', 'site', 'gone', 'deleted the site gone');
INSERT INTO "audit_head" VALUES (X'01a22463a75b7000b0378d5bb6ba8b61', 9, X'9f2074383e7171898429f070886bc8a14e8c0ed89302bdb3ec87c22004a06202', 0, X'0000000000000000000000000000000000000000000000000000000000000000');
INSERT INTO "blockchain_record" VALUES (X'01a22463a75b7000b0378d5bb6ba8b61', 1795906841148, X'01a22463aa3d7000b1c6582d4f081a61', 'anchor', 'test', 1, X'4444444444444444444444444444444444444444444444444444444444444444', 'wanted', '');
