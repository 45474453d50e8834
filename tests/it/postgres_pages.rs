//! What pages of the panel ask of PostgreSQL: few statements, however many sites there are, and none that a database that knows
//! nothing yet of its tables puts each row beside each for.

use std::{fs, thread};

use chainhost::{
    base::{ids::Id, secret::Secret},
    domain::{access::TenantScope, tenant::TenantId},
    engines::{
        postgres::{Postgres, Wish},
        schema,
    },
    ports::db::Db,
    store,
};

use crate::support::{Host, browser::Browser, postgres::Server, write_files};

/// What the server says in its log of the statements that it ran since `from`, without those of tasks of its own.
fn ran(server: &Server, from: usize) -> usize {
    let log = fs::read_to_string(server.folder.join("log")).unwrap();
    let entries = log[from..].split("SQL ").filter(|it| it.contains("execute "));
    entries
        .filter(|it| ["FROM news", "outbox", " node ", " lease ", "FROM setting"].iter().all(|own| !it.contains(own)))
        .count()
}

#[test]
fn a_page_asks_few_statements_however_many_sites_it_shows() {
    let server = Server::start(&["fsync=off", "log_statement=all", "log_line_prefix=SQL "]);
    let mut host = Host::start_on(&server.url(""));
    let key = host.key("owner@example.org", "super-admin");
    let folder = host.beside("page");
    write_files(&folder, &[("index.html", b"<h1>here</h1>")]);
    for number in 0..8 {
        let name = format!("site-{number}");
        let out = host.cli(&key, &["deploy", folder.to_str().unwrap(), "--site", &name, "--create"]);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let hostname = format!("PUT /api/v1/sites/{name}/hostnames/www.site-{number}.example");
        assert_eq!(host.api(&key, &hostname, b"").status, 204);
        host.api_json(&key, &format!("PATCH /api/v1/sites/{name}"), r#"{"taken_down":"closed"}"#, 200);
    }
    let mut browser = Browser::signed_in(&host, "owner@example.org");
    // A list that was asked for just now is kept for a second.
    for (page, most) in [("/?", 6), ("/sites?after=", 4), ("/jobs?", 1)] {
        let tries = (0..5).map(|number| {
            let from = usize::try_from(fs::metadata(server.folder.join("log")).unwrap().len()).unwrap();
            let page =
                if page.ends_with('=') { format!("{page}a{number}") } else { page.trim_end_matches('?').to_owned() };
            let answer = browser.get(&page);
            assert_eq!(answer.status, 200);
            assert!(page == "/jobs" || answer.text().contains("site-7"), "{page}: {}", answer.text());
            ran(&server, from)
        });
        // Other tasks may look at the same tables meanwhile.
        let least = tries.min().unwrap();
        assert!((1..=most).contains(&least), "{page} asked {least} statements: {most} are enough");
    }
    assert_eq!(host.stop(), Some(0));
}

/// Rows of a tenant that came at once, before the server has looked at the tables: 20,000 sites with a deployment each. A plan that
/// puts each beside each takes much longer than a read may.
#[tokio::test(flavor = "multi_thread")]
async fn lists_are_short_work_for_a_database_that_knows_nothing_of_its_tables() {
    let server = Server::start(&["fsync=off", "autovacuum=off"]);
    let url = Secret::new(server.url(""));
    let open = move || {
        let wish = Wish { url: &url, direct_url: None, replica_urls: &[], pool: 3, known: false };
        Postgres::open(&wish, schema::POSTGRES)
    };
    let db = Db::new(thread::spawn(open).join().unwrap().unwrap());
    let tenant = Id::from_bytes([7; 16]);
    let id = "decode(lpad(to_hex(n), 32, '0'), 'hex')";
    server.run(&format!(
        "INSERT INTO site (tenant_id, id, name, created_ms, live, next_number, next_publication)
         SELECT '\\x{tenant}', {id}, 'site-' || n, n, {id}, 2, 2 FROM generate_series(1, 20000) n;
         INSERT INTO deployment (tenant_id, site_id, id, number, state, source, message, actor, created_ms, files, bytes, files_sent,
           bytes_sent, preview, allow_env, publish)
         SELECT '\\x{tenant}', {id}, {id}, 1, CASE WHEN n % 100 = 0 THEN 'failed' ELSE 'live' END, 'cli', '', '', n, 2, 3, 1, 1,
           'p' || n, FALSE, TRUE FROM generate_series(1, 20000) n;
         INSERT INTO hostname (name, tenant_id, site_id, created_ms)
         SELECT n || '.example', '\\x{tenant}', {id}, n FROM generate_series(1, 20000) n;
         INSERT INTO publication (tenant_id, site_id, seq, kind, deployment_id, files, bytes, actor, created_ms)
         SELECT '\\x{tenant}', {id}, 1, 'deploy', {id}, 2, 3, '', n FROM generate_series(1, 20000) n"
    ));
    let scope = TenantScope::grant(TenantId(tenant));
    let counts = db.read(move |tx| store::summary::count(tx, scope)).await.unwrap();
    assert_eq!(
        [counts.sites, counts.live, counts.deployments, counts.hostnames, counts.files],
        [20_000, 20_000, 20_000, 20_000, 40_000]
    );
    let latest = db.read(move |tx| store::summary::list_latest(tx, scope, 6)).await.unwrap();
    let names: Vec<_> = latest.iter().map(|(site, _)| site.name.to_string()).collect();
    assert_eq!(names, ["site-20000", "site-19999", "site-19998", "site-19997", "site-19996", "site-19995"]);
    let failed = db.read(move |tx| store::summary::list_failed(tx, scope, 6)).await.unwrap();
    assert_eq!(failed.first().unwrap().0.name.to_string(), "site-20000");
    assert!(db.read(move |tx| store::summary::list_dark(tx, scope, 1, 6)).await.unwrap().is_empty());
    let page = db.read(move |tx| store::sites::list_shown(tx, scope, "site-5", 51)).await.unwrap();
    let shown: Vec<_> =
        page.iter().map(|it| (it.site.name.to_string(), it.hostnames.clone(), it.published_ms)).collect();
    assert_eq!(shown.len(), 51);
    assert_eq!(shown[0], (String::from("site-50"), vec![String::from("50.example")], Some(50)));
    assert!(page.iter().all(|it| it.deployments == 1 && it.live.as_ref().is_some_and(|live| live.files == 2)));
}
