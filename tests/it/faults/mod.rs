//! The real program under faults: killed, on a full disk, under load, without its database, asked by the hostile.
//!
//! After each fault (CONTRACTS §6): every acknowledged deployment and job is there, the site served is a whole one, and
//! the database passes its checks. `CHAINHOST_LONG=1` runs far more rounds.

#![expect(clippy::indexing_slicing, reason = "a test that panics says what went wrong")]

pub(crate) mod api;
#[cfg(all(feature = "postgres", feature = "redis"))]
mod away;
mod cancel;
mod collect;
mod database;
pub(crate) mod disk;
mod failing_disk;
mod hostile;
mod kill;
#[cfg(all(feature = "postgres", feature = "redis"))]
mod lines;
mod publications;
mod publish;
mod rerun;
mod rights;
mod stalled;
mod steps;
mod stop;
#[cfg(all(feature = "postgres", feature = "redis"))]
mod stopped;
#[cfg(feature = "s3")]
mod store;
mod sync;
pub(crate) mod tenants;
mod together;
mod watched;

use std::path::Path;

use chainhost::{
    app::ground::{self, Folder},
    domain::node::Duty,
    ports::db::Value,
    services::Services,
};

use serde_json::Value as Json;

use self::api::Api;
use crate::{
    queue_redb::Dice,
    support::{Host, http},
};

/// Files of a version.
const FILES: u64 = 40;

/// Whether the long forms run: `CHAINHOST_LONG=1`.
fn is_long() -> bool {
    std::env::var_os("CHAINHOST_LONG").is_some_and(|it| it == "1")
}

/// One number in a normal run, another in a long one.
pub(crate) fn rounds(normal: u64, long: u64) -> u64 {
    if is_long() { long } else { normal }
}

/// A site each of whose files names the version. Some are long enough to get compressed forms.
fn version(number: u64) -> Vec<(String, Vec<u8>)> {
    (0..FILES)
        .map(|file| {
            let path = if file == 0 { String::from("index.html") } else { format!("pages/{file}.html") };
            let words = if file % 8 == 0 { 100 } else { 1 };
            (path, format!("version {number} file {file}\n").repeat(words).into_bytes())
        })
        .collect()
}

/// Files that take seconds to compress.
pub(crate) fn heavy(number: u64) -> Vec<(String, Vec<u8>)> {
    let words = ["site", "visitor", "deploy", "queue", "worker", "lease", "fence", "attempt", "blob", "proof"];
    (0..24)
        .map(|file| {
            let mut dice = Dice::new(number * 100 + file);
            let mut text = String::new();
            while text.len() < 450_000 {
                let at = usize::try_from(dice.below(10)).unwrap();
                text.push_str(words[at]);
                text.push_str(&dice.below(100_000).to_string());
                text.push(' ');
            }
            (if file == 0 { String::from("index.html") } else { format!("{file}.txt") }, text.into_bytes())
        })
        .collect()
}

/// The only job; null when there is none.
pub(crate) fn job(api: &Api) -> Json {
    let jobs = api.must("GET /api/v1/jobs", &Json::Null, 200);
    let jobs = jobs["items"].as_array().unwrap();
    assert!(jobs.len() <= 1, "{jobs:?}");
    jobs.first().cloned().unwrap_or_default()
}

/// The version that a file's bytes name; all of its lines must be those of that version.
fn version_of(path: &str, bytes: &[u8]) -> u64 {
    let text = std::str::from_utf8(bytes).unwrap();
    let number = text.split(' ').nth(1).and_then(|it| it.parse().ok());
    let number = number.unwrap_or_else(|| panic!("{path}: {text:?}"));
    let whole = version(number).into_iter().find(|(it, _)| it == path).unwrap();
    assert_eq!(whole.1, bytes, "{path} is not whole");
    number
}

/// Reads every file of the site and gives the one version that they are all of.
fn whole_site(port: u16, site: &str) -> u64 {
    let mut numbers = Vec::new();
    for (path, _) in version(0) {
        let head = format!("GET /{path} HTTP/1.1\r\nHost: {site}.localhost:{port}\r\n");
        let answer = http::ask(port, &head, b"");
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        numbers.push(version_of(&path, &answer.body));
    }
    numbers.dedup();
    assert_eq!(numbers.len(), 1, "a mix of versions: {numbers:?}");
    numbers[0]
}

/// Stops the server, which must end well, and checks its stores from outside and from inside.
fn check_stores(host: &mut Host) {
    assert_eq!(host.stop(), Some(0), "{}", host.log());
    if host.database_settings().is_none() {
        check_file(&host.data().join("chainhost.db"));
    }
    inside(host, async |services| {
        check_database(services).await;
        let actor = services.actor_local().await.unwrap();
        services.seal_audit(&services.hold(Duty::Seal).unwrap()).await.unwrap();
        assert_eq!(services.verify_audit(&actor).await.unwrap(), None, "the audit chain is broken");
    });
}

/// Runs `act` with the services on the data of a server that is stopped.
fn inside(host: &Host, act: impl AsyncFnOnce(&Services)) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let folder = Folder::take(&host.data()).unwrap();
        let opened = ground::open(&folder, &host.wish()).await.unwrap();
        if opened.services.node.shares {
            opened.services.beat().await.unwrap();
        }
        act(&opened.services).await;
        opened.close();
    });
}

/// Changes one row of the database of a server that is stopped, behind its back.
fn change(host: &Host, sql: &'static str, params: Vec<Value>) {
    inside(host, async |services| {
        let changed = services.db.write(move |tx| tx.execute(sql, &params)).await.unwrap();
        assert_eq!(changed, 1, "{sql}");
    });
}

/// What must hold in the file of an embedded database that nobody has open.
fn check_file(path: &Path) {
    let database = rusqlite::Connection::open(path).unwrap();
    let text = |sql: &str| database.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
    assert_eq!(text("PRAGMA integrity_check"), "ok");
    let foreign = "SELECT COUNT(*) FROM pragma_foreign_key_check";
    assert_eq!(database.query_row(foreign, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
}

/// What must hold in every database: the live pointer, the states and the publications tell the same.
async fn check_database(services: &Services) {
    for (what, sql) in [
        (
            "a live pointer is not that of the last publication",
            "SELECT COUNT(*) FROM site s WHERE s.live IS NOT NULL AND (
               (SELECT state FROM deployment d WHERE d.tenant_id = s.tenant_id AND d.site_id = s.id AND d.id = s.live)
                 IS DISTINCT FROM 'live'
               OR (SELECT deployment_id FROM publication p WHERE p.tenant_id = s.tenant_id AND p.site_id = s.id
                   ORDER BY seq DESC LIMIT 1) IS DISTINCT FROM s.live)",
        ),
        (
            "a deployment says live and is not",
            "SELECT COUNT(*) FROM deployment d WHERE state = 'live' AND NOT EXISTS (
               SELECT 1 FROM site s WHERE s.tenant_id = d.tenant_id AND s.id = d.site_id AND s.live = d.id)",
        ),
        (
            "a publication is missing",
            "SELECT COUNT(*) FROM (SELECT MAX(seq) - MIN(seq) + 1 AS wanted, COUNT(*) AS found FROM publication
             GROUP BY tenant_id, site_id) AS counts WHERE wanted <> found",
        ),
    ] {
        assert_eq!(services.db.read(move |tx| tx.one(sql, &[])?.int(0)).await.unwrap(), 0, "{what}");
    }
}
