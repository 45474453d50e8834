//! The shapes of bodies and answers, for `/api/openapi.json`.
//!
//! A field is `name: type`. `name?` may be left out of a body; `type?` may be null; `[type]` is a list; a type that begins with a
//! capital is another shape. A test holds the shapes of bodies against what handlers read.

use serde_json::{Map, Value, json};

/// Shapes that are sent.
pub(super) const SENT: &[(&str, &[&str])] = &[
    ("NewUser", &["email: string", "role: string", "password: string"]),
    ("UserChanges", &["disabled: boolean"]),
    ("NewKey", &["name: string", "scope?: string", "expires_at?: time?"]),
    ("NewCertificate", &["chain: string", "key: string"]),
    ("BanWish", &["network: string", "site?: string?", "for_s?: integer?", "reason?: string"]),
    ("NewSite", &["name: string"]),
    ("Changes", &["taken_down?: string?", "watch_folder?: string?"]),
    ("Password", &["password: string"]),
    ("NewSiteLink", &["note?: string", "expires_at?: time?", "maintenance?: boolean", "path?: string"]),
    ("Purge", &["urls?: [string]", "tags?: [string]"]),
    ("Try", &["url: string", "deployment?: string?", "country?: string?", "language?: string?"]),
    ("Rollback", &["to?: string?", "if_live?: string?"]),
    ("Publish", &["if_live?: string?"]),
    (
        "Begin",
        &["files: [listed]", "message?: string", "publish?: boolean", "if_live?: string?", "allow_env?: boolean"],
    ),
    (
        "NewSchedule",
        &["name: string", "cron: string", "zone?: string", "missed?: string", "kind: string", "site?: string?"],
    ),
    ("Collect", &["dry_run?: boolean"]),
    ("Drain", &["wait_seconds?: integer"]),
];

/// Shapes that are answered.
const ANSWERED: &[(&str, &[&str])] = &[
    ("Me", &["email: string", "tenant: string", "role: string", "super_admin: boolean", "key: KeyInUse?"]),
    ("KeyInUse", &["name: string", "scope: string"]),
    ("User", &["id: string", "email: string", "role: string", "disabled: boolean", "created_at: time"]),
    ("Made", &["id: string"]),
    (
        "Key",
        &[
            "id: string",
            "name: string",
            "hint: string",
            "scope: string",
            "email: string",
            "created_at: time",
            "used_at: time?",
            "expires_at: time?",
        ],
    ),
    ("MadeKey", &["id: string", "key: string"]),
    (
        "Site",
        &[
            "id: string",
            "name: string",
            "url: string",
            "hostnames: [string]",
            "created_at: time",
            "live: Live?",
            "deployments: integer",
            "taken_down: string?",
            "watch_folder: string?",
        ],
    ),
    ("Firewall", &["node: string", "since: time?", "rules: [FirewallRule]"]),
    (
        "FirewallRule",
        &[
            "name: string",
            "set: boolean",
            "action: string",
            "requests: integer",
            "first_at: time?",
            "last_at: time?",
            "last_path: string?",
        ],
    ),
    (
        "Ban",
        &[
            "id: string",
            "network: string",
            "site: string?",
            "source: string",
            "reason: string",
            "made_by: string",
            "created_at: time",
            "until: time?",
        ],
    ),
    (
        "SiteSettings",
        &[
            "addresses?: object",
            "maintenance?: object",
            "access?: object",
            "hotlink?: object",
            "cors?: object",
            "errors?: object",
            "limits?: object",
            "firewall?: object",
            "traffic?: object",
            "proxy?: object",
            "caching?: object",
            "warnings?: [string]",
        ],
    ),
    ("Person", &["name: string", "changed_at: time"]),
    (
        "SiteLink",
        &["id: string", "note: string", "maintenance: boolean", "created_at: time", "expires_at: time", "url?: string"],
    ),
    ("Check", &["hostname: string", "ready: boolean", "level: string", "summary: string", "findings: [Finding]"]),
    ("Finding", &["code: string", "level: string", "text: string", "seen: string"]),
    ("Live", &["id: string", "number: integer", "published_at: time?"]),
    (
        "Deployment",
        &[
            "id: string",
            "number: integer",
            "site: string",
            "state: string",
            "source: string",
            "message: string",
            "actor: string",
            "created_at: time",
            "finished_at: time?",
            "manifest_sha256: string?",
            "site_root: string?",
            "files: integer",
            "bytes: integer",
            "files_changed: integer?",
            "files_sent: integer",
            "bytes_sent: integer",
            "url: string",
            "preview_url: string?",
            "problem: string?",
            "live: boolean",
        ],
    ),
    (
        "Tried",
        &[
            "deployment: TriedDeployment?",
            "taken_down: string?",
            "path: string",
            "query: string?",
            "status: integer?",
            "location: string?",
            "file: string?",
            "passed_on: string?",
            "step: string",
            "because: string",
            "setting: string?",
            "notes: [string]",
            "rule: integer?",
            "headers: [TriedHeader]",
            "redirects: [TriedRedirect]",
            "header_rules: [TriedBlock]",
        ],
    ),
    (
        "Traffic",
        &[
            "step: string",
            "from: time",
            "to: time",
            "total: TrafficSum",
            "before: TrafficSum",
            "points: [TrafficSum]",
            "pages: [TrafficLabel]",
            "referrers: [TrafficLabel]",
            "missing: [TrafficLabel]",
            "countries: [TrafficLabel]",
            "since: time?",
        ],
    ),
    (
        "TrafficSum",
        &[
            "at: time",
            "requests: integer",
            "pages: integer",
            "visits: integer?",
            "bots: integer",
            "bytes: integer",
            "unchanged: integer",
            "status_2xx: integer",
            "status_3xx: integer",
            "status_4xx: integer",
            "status_5xx: integer",
        ],
    ),
    ("TrafficLabel", &["label: string", "count: integer"]),
    ("TriedDeployment", &["id: string", "number: integer", "live: boolean"]),
    ("TriedHeader", &["name: string", "value: string", "from: string", "lines: [integer]", "rules: [integer]"]),
    (
        "TriedRedirect",
        &[
            "number: integer",
            "line: integer?",
            "from: string",
            "query: string",
            "to: string",
            "status: integer",
            "force: boolean",
            "conditions: string",
            "verdict: string",
            "why: string",
        ],
    ),
    ("TriedBlock", &["number: integer", "line: integer?", "path: string", "fits: boolean"]),
    ("Begun", &["id: string", "number: integer", "state: string", "missing: [string]"]),
    ("Received", &["received: integer"]),
    ("File", &["path: string", "size: integer", "sha256: string", "type: string"]),
    ("Manifest", &["format: string", "entries: [object]", "policy: object"]),
    ("Bundle", &["format: string", "manifest: string", "root: string"]),
    ("Diff", &["added: [Sized]", "removed: [Sized]", "changed: [Resized]", "policy_changed: boolean"]),
    ("Sized", &["path: string", "size: integer"]),
    ("Resized", &["path: string", "size: integer", "size_before: integer"]),
    ("Log", &["lines: [Line]"]),
    ("Line", &["at: time", "text: string"]),
    (
        "Certificate",
        &[
            "id: string",
            "names: [string]",
            "source: string",
            "issuer: string",
            "valid_from: time",
            "valid_until: time",
            "created_at: time",
            "standing: string",
            "for_server: boolean",
            "shown_for: [string]",
        ],
    ),
    (
        "HostnameCertificate",
        &[
            "hostname: string",
            "certificate: ShownCertificate?",
            "asked: boolean",
            "authority: string?",
            "asked_at: time?",
            "next_at: time?",
            "failures: integer",
            "records: [WantedRecord]",
            "problem: Said?",
        ],
    ),
    ("WantedRecord", &["name: string", "type: string", "value: string"]),
    ("ShownCertificate", &["id: string", "source: string", "valid_until: time"]),
    ("Said", &["code: string", "message: string"]),
    ("Nodes", &["items: [Node]"]),
    ("Node", &["id: string", "role: string", "labels: [string]", "seen_at: time", "duties: [string]", "this: boolean"]),
    (
        "Job",
        &[
            "id: string",
            "queue: string",
            "kind: string",
            "title: string",
            "state: string",
            "attempt: integer",
            "deaths: integer",
            "progress: integer",
            "error: string?",
            "created_at: time",
            "run_at: time",
            "started_at: time?",
            "finished_at: time?",
        ],
    ),
    (
        "Depth",
        &[
            "queue: string",
            "waiting: integer",
            "delayed: integer",
            "running: integer",
            "done: integer",
            "failed: integer",
            "paused: boolean",
            "tenant_paused: boolean",
            "oldest_at: time?",
            "wait_p50_ms: integer?",
            "wait_p95_ms: integer?",
            "run_p50_ms: integer?",
            "run_p95_ms: integer?",
        ],
    ),
    ("Drained", &["running: integer"]),
    ("Cancelled", &["removed: boolean"]),
    (
        "Schedule",
        &[
            "name: string",
            "cron: string",
            "zone: string",
            "missed: string",
            "queue: string",
            "kind: string",
            "title: string",
            "paused: boolean",
            "next_at: time?",
            "upcoming: [time]",
            "last: Job?",
        ],
    ),
    (
        "Task",
        &[
            "name: string",
            "does: string",
            "every_seconds: integer?",
            "cron: string?",
            "zone: string?",
            "here: boolean",
            "running: boolean",
            "began_at: time?",
            "ended_at: time?",
            "took_ms: integer?",
            "error: string?",
            "failures: integer",
            "next_at: time?",
        ],
    ),
    (
        "Event",
        &[
            "id: string",
            "at: time",
            "seq: integer?",
            "hash: string?",
            "actor: string",
            "address: string",
            "kind: string",
            "entity: string",
            "entity_id: string",
            "text: string",
        ],
    ),
    ("Garbage", &["dry_run: boolean", "blobs: integer", "bytes: integer", "items: [Blob]"]),
    ("Blob", &["sha256: string", "bytes: integer"]),
    (
        "Problem",
        &[
            "type: string",
            "title: string",
            "status: integer",
            "detail: string",
            "code: string",
            "field?: string",
            "request_id: string",
        ],
    ),
];

/// All shapes by name.
pub(super) fn all() -> Map<String, Value> {
    SENT.iter().chain(ANSWERED).map(|(name, fields)| ((*name).to_owned(), object(fields))).collect()
}

fn object(fields: &[&str]) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (name, of) in fields.iter().filter_map(|it| it.split_once(": ")) {
        let bare = name.strip_suffix('?').unwrap_or(name);
        properties.insert(bare.to_owned(), schema(of));
        if bare == name {
            required.push(bare);
        }
    }
    json!({ "type": "object", "required": required, "properties": properties })
}

/// The schema of a type as it is spelled above.
pub(super) fn schema(of: &str) -> Value {
    if let Some(of) = of.strip_suffix('?') {
        return json!({ "oneOf": [schema(of), { "type": "null" }] });
    }
    if let Some(of) = of.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
        return json!({ "type": "array", "items": schema(of) });
    }
    match of {
        "time" => json!({ "type": "string", "format": "date-time" }),
        // Path, size and SHA-256 of a file.
        "listed" => json!({
            "type": "array",
            "prefixItems": [{ "type": "string" }, { "type": "integer", "minimum": 0 }, { "type": "string" }],
            "minItems": 3,
            "maxItems": 3,
        }),
        of if of.starts_with(|c: char| c.is_ascii_uppercase()) => {
            json!({ "$ref": format!("#/components/schemas/{of}") })
        }
        of => json!({ "type": of }),
    }
}
