//! What pages of the panel ask of PostgreSQL: few statements, however many sites there are, and none that a database that knows
//! nothing yet of its tables puts each row beside each for.

use std::{fs, sync::Arc, thread, time::Duration};

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

use tokio::time::{Instant, sleep};

use crate::support::{Host, PATIENCE, browser::Browser, postgres::Server, write_files};

fn open(server: &Server) -> Db {
    let url = Secret::new(server.url(""));
    let open = move || {
        let wish = Wish { url: &url, direct_url: None, replica_urls: &[], pool: 3, known: false };
        Postgres::open(&wish, schema::POSTGRES)
    };
    Db::new(thread::spawn(open).join().unwrap().unwrap())
}

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
    let mut asked = 0;
    for (page, most) in [("/", 6), ("/sites", 4), ("/jobs", 1)] {
        // Other tasks may look at the same tables meanwhile: one try of many has to be short of that.
        host.until(&format!("{page} asks no more than {most} statements"), || {
            let from = usize::try_from(fs::metadata(server.folder.join("log")).unwrap().len()).unwrap();
            asked += 1;
            // A list that was asked for just now is kept for a second.
            let page = if page == "/sites" { format!("/sites?after=a{asked}") } else { page.to_owned() };
            let answer = browser.get(&page);
            assert_eq!(answer.status, 200);
            assert!(page == "/jobs" || answer.text().contains("site-7"), "{page}: {}", answer.text());
            (1..=most).contains(&ran(&server, from)).then_some(())
        });
    }
    assert_eq!(host.stop(), Some(0));
}

/// How many pairs of rows the server has put side by side for nothing, in the worst of its plans.
fn pairs(server: &Server) -> u64 {
    let log = fs::read_to_string(server.folder.join("log")).unwrap();
    assert!(log.contains("actual rows="), "no plan was told");
    let removed = log.split("Rows Removed by Join Filter: ").skip(1);
    removed.map(|it| it.split_whitespace().next().unwrap().parse().unwrap()).max().unwrap_or(0)
}

/// The plans of the statements that have these words, once so many are told: the server tells one when its transaction ends.
async fn plans(server: &Server, words: &str, count: usize) -> Vec<String> {
    let begun = Instant::now();
    loop {
        let log = fs::read_to_string(server.folder.join("log")).unwrap();
        let plans = log.split("Query Text: ").filter(|it| it.contains(words)).map(str::to_owned).collect::<Vec<_>>();
        if plans.len() >= count {
            return plans;
        }
        assert!(begun.elapsed() < PATIENCE, "{count} plans of {words}: {log}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Rows of a tenant that came at once, before the server has counted the tables: 1,000 sites with a deployment each. Taken for some few,
/// they were all put beside all.
#[tokio::test(flavor = "multi_thread")]
async fn lists_are_short_work_for_a_database_that_knows_nothing_of_its_tables() {
    let server = Server::start(&[
        "fsync=off",
        "autovacuum=off",
        "shared_preload_libraries=auto_explain",
        "auto_explain.log_min_duration=0",
        "auto_explain.log_analyze=on",
        "auto_explain.log_timing=off",
    ]);
    let db = open(&server);
    let tenant = Id::from_bytes([7; 16]);
    let id = "decode(lpad(to_hex(n), 32, '0'), 'hex')";
    server.run(&format!(
        "INSERT INTO site (tenant_id, id, name, created_ms, live, next_number, next_publication)
         SELECT '\\x{tenant}', {id}, 'site-' || n, n, {id}, 2, 2 FROM generate_series(1, 1000) n;
         INSERT INTO deployment (tenant_id, site_id, id, number, state, source, message, actor, created_ms, files, bytes, files_sent,
           bytes_sent, preview, allow_env, publish)
         SELECT '\\x{tenant}', {id}, {id}, 1, CASE WHEN n % 100 = 0 THEN 'failed' ELSE 'live' END, 'cli', '', '', n, 2, 3, 1, 1,
           'p' || n, FALSE, TRUE FROM generate_series(1, 1000) n;
         INSERT INTO hostname (name, tenant_id, site_id, created_ms)
         SELECT n || '.example', '\\x{tenant}', {id}, n FROM generate_series(1, 1000) n;
         INSERT INTO publication (tenant_id, site_id, seq, kind, deployment_id, files, bytes, actor, created_ms)
         SELECT '\\x{tenant}', {id}, 1, 'deploy', {id}, 2, 3, '', n FROM generate_series(1, 1000) n"
    ));
    let scope = TenantScope::grant(TenantId(tenant));
    let counts = db.read(move |tx| store::summary::count(tx, scope)).await.unwrap();
    assert_eq!(
        [counts.sites, counts.live, counts.deployments, counts.hostnames, counts.files],
        [1_000, 1_000, 1_000, 1_000, 2_000]
    );
    let latest = db.read(move |tx| store::summary::list_latest(tx, scope, 6)).await.unwrap();
    let names: Vec<_> = latest.iter().map(|(site, _)| site.name.to_string()).collect();
    assert_eq!(names, ["site-1000", "site-999", "site-998", "site-997", "site-996", "site-995"]);
    let failed = db.read(move |tx| store::summary::list_failed(tx, scope, 6)).await.unwrap();
    assert_eq!(failed.first().unwrap().0.name.to_string(), "site-1000");
    assert!(db.read(move |tx| store::summary::list_dark(tx, scope, 1, 6)).await.unwrap().is_empty());
    // Of the sites that fail or show nothing there are few, and only these are looked at: also once the tables have been counted.
    server.run("ANALYZE site, deployment; UPDATE site SET taken_down = 'closed' WHERE name = 'site-7'");
    assert_eq!(db.read(move |tx| store::summary::list_failed(tx, scope, 6)).await.unwrap().len(), 6);
    let dark = db.read(move |tx| store::summary::list_dark(tx, scope, 1, 6)).await.unwrap();
    assert_eq!(dark.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["site-7"]);
    for (asked, index) in [("f.state = 'failed'", "deployment_failed"), ("s.created_ms < $2", "site_dark")] {
        let plans = plans(&server, asked, 2).await;
        assert!(plans.iter().all(|it| it.contains(index) && !it.contains("Seq Scan")), "{plans:#?}");
    }
    let page = db.read(move |tx| store::sites::list_shown(tx, scope, "site-5", 51)).await.unwrap();
    let shown: Vec<_> =
        page.iter().map(|it| (it.site.name.to_string(), it.hostnames.clone(), it.published_ms)).collect();
    assert_eq!(shown.len(), 51);
    assert_eq!(shown[0], (String::from("site-50"), vec![String::from("50.example")], Some(50)));
    assert!(page.iter().all(|it| it.deployments == 1 && it.live.as_ref().is_some_and(|live| live.files == 2)));
    let pairs = pairs(&server);
    assert!(pairs < 100_000, "{pairs} pairs of rows were put side by side for nothing");
}

/// It goes with the statement: a round trip less, and nothing is held open for who asks nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_reads_begins_with_its_first_statement() {
    let server = Arc::new(Server::start(&["fsync=off"]));
    let db = open(&server);
    let asked = Arc::clone(&server);
    let read = db.read(move |tx| {
        let open =
            || asked.ask("SELECT CAST(COUNT(*) AS TEXT) FROM pg_stat_activity WHERE state = 'idle in transaction'");
        let before = open();
        let found = tx.one(
            "SELECT 7::BIGINT, current_setting('transaction_isolation'), current_setting('transaction_read_only')",
            &[],
        )?;
        Ok((before, found, open()))
    });
    let (before, found, after) = read.await.unwrap();
    assert_eq!((before.as_str(), after.as_str()), ("0", "1"));
    assert_eq!((found.int(0).unwrap(), found.text(1).unwrap(), found.text(2).unwrap()), (7, "repeatable read", "on"));
    // It has ended with the request, also where that asked nothing.
    db.read(|_| Ok(())).await.unwrap();
    let open = "SELECT CAST(COUNT(*) AS TEXT) FROM pg_stat_activity WHERE state = 'idle in transaction'";
    let start = Instant::now();
    while server.ask(open) != "0" {
        assert!(start.elapsed() < PATIENCE, "a transaction stays open");
        sleep(Duration::from_millis(20)).await;
    }
}
