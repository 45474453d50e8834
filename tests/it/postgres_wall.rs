//! Row-level security: a statement that forgets its tenant sees and takes no row of another one, and the server works as ever.

use std::{process::Command, thread};

use chainhost::{
    base::{ids::Id, secret::Secret},
    domain::{
        Result,
        access::{ServerScope, TenantScope},
        site::{Site, SiteId, SiteName},
        tenant::TenantId,
    },
    engines::{
        postgres::{Postgres, Wish},
        schema,
    },
    ports::db::{Db, ReadTx, WriteTx},
    store,
};

use crate::support::{Host, PROGRAM, postgres::Server, write_files};

/// Counts as a defect would: without a tenant.
const FORGETFUL: &str = "SELECT COUNT(*) FROM site";

/// A server with a database of a role that is no superuser; its URL.
fn server() -> (Server, String) {
    let server = Server::start(&["fsync=off"]);
    server.run("CREATE ROLE app LOGIN");
    server.run("CREATE DATABASE app OWNER app");
    let url = format!("postgres://app@127.0.0.1:{}/app", server.port);
    (server, url)
}

fn open(url: &str) -> Db {
    let url = Secret::new(url.to_owned());
    let open = move || {
        let wish = Wish { url: &url, direct_url: None, replica_urls: &[], pool: 3, known: false };
        Postgres::open(&wish, schema::POSTGRES)
    };
    Db::new(thread::spawn(open).join().unwrap().unwrap())
}

fn put_up(url: &str) -> String {
    let mut command = Command::new(PROGRAM);
    let out = command.args(["scale", "row-security", "--run"]).env("CHAINHOST_DATABASE_URL", url).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

fn scope(number: u8) -> TenantScope {
    TenantScope::grant(TenantId(Id::from_bytes([number; 16])))
}

fn add(tx: &mut WriteTx<'_>, scope: TenantScope, number: u8) -> Result<()> {
    let name = SiteName::parse(&format!("site-{number}")).unwrap();
    let id = SiteId(Id::from_bytes([number; 16]));
    let site = Site { id, name, created_ms: 1, live: None, taken_down: None, watch_folder: None };
    store::sites::insert(tx, scope, &site)
}

fn count(tx: &mut ReadTx<'_>) -> Result<i64> {
    tx.one(FORGETFUL, &[])?.int(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_forgets_its_tenant_meets_the_wall() {
    let (server, url) = server();
    let before = open(&url);
    let inside = async |db: &Db| {
        db.read(|tx| {
            tx.tenant(scope(1))?;
            count(tx)
        })
        .await
    };
    for number in 1..=2 {
        before.write(move |tx| add(tx, scope(number), number)).await.unwrap();
    }
    assert_eq!(inside(&before).await.unwrap(), 2, "there is no wall yet");
    assert!(put_up(&url).contains("Restart the servers"));
    // And on the database that a data folder remembers.
    let data = tempfile::tempdir().unwrap();
    write_files(data.path(), &[("database-url", url.as_bytes())]);
    let mut again = Command::new(PROGRAM);
    again.args(["scale", "row-security", "--run", "--data"]).arg(data.path());
    let out = again.output().unwrap();
    assert!(out.status.success() && out.stdout.starts_with(b"Row-level security is on."), "{out:?}");
    // A server that has not been restarted goes on as before.
    assert_eq!(inside(&before).await.unwrap(), 2);
    drop(before);

    let db = open(&url);
    assert_eq!(inside(&db).await.unwrap(), 1);
    assert_eq!(db.read(count).await.unwrap(), 2, "who has entered no tenant sees all");
    let both = db.read(|tx| {
        tx.tenant(scope(1))?;
        let own = count(tx)?;
        tx.all_tenants(ServerScope::grant())?;
        let all = count(tx)?;
        tx.tenant(scope(2))?;
        Ok((own, all, count(tx)?, store::summary::count(tx, scope(1))?.sites))
    });
    assert_eq!(both.await.unwrap(), (1, 2, 1, 1));
    // A row of another tenant is neither made nor changed nor removed.
    let forged = db.write(|tx| {
        tx.tenant(scope(1))?;
        let sql = "INSERT INTO site (tenant_id, id, name, created_ms, next_number, next_publication) VALUES ($1, $1, 'x', 1, 1, 1)";
        tx.execute(sql, &[vec![2_u8; 16].into()])
    });
    assert!(forged.await.unwrap_err().to_string().contains("row-level security"));
    let removed = db.write(|tx| {
        tx.tenant(scope(1))?;
        tx.execute("DELETE FROM site WHERE name = 'site-2'", &[])
    });
    assert_eq!(removed.await.unwrap(), 0);
    // The wall does not stand for a superuser, and it says so.
    let super_url = server.url("").replace("/postgres", "/app").replace("//app", "//postgres");
    assert!(put_up(&super_url).contains("not for this user"));
    assert_eq!(inside(&open(&super_url)).await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_in_one_transaction_leave_no_tenant_behind() {
    let (_server, url) = server();
    drop(open(&url));
    put_up(&url);
    let db = open(&url);
    // Begun at once, so that many of them share a transaction.
    let mut asked = tokio::task::JoinSet::new();
    for number in 1..=90_u8 {
        let db = db.clone();
        asked.spawn(async move {
            let own = db.write(move |tx| {
                // What a request finds before it enters a tenant is not what the one before it was allowed to.
                let before = count(tx)?;
                add(tx, scope(number), number)?;
                let own = count(tx)?;
                tx.all_tenants(ServerScope::grant())?;
                assert_eq!(count(tx)?, before + 1);
                if number % 3 == 0 { Err(chainhost::domain::Error::invalid("third", "No.")) } else { Ok(own) }
            });
            own.await
        });
    }
    let outs = asked.join_all().await;
    assert_eq!(outs.iter().filter(|it| matches!(it, Ok(1))).count(), 60);
    assert_eq!(db.read(count).await.unwrap(), 60);
}

#[test]
fn a_server_works_behind_the_wall() {
    let (_server, url) = server();
    let mut host = Host::start_on(&url);
    let key = host.key("owner@example.org", "super-admin");
    assert_eq!(host.stop(), Some(0));
    put_up(&url);
    host.restart();
    for version in 1..=2 {
        let folder = host.beside(&format!("page-{version}"));
        write_files(&folder, &[("index.html", format!("<h1>version {version}</h1>").as_bytes())]);
        let out = host.cli(&key, &["deploy", folder.to_str().unwrap(), "--site", "seen", "--create"]);
        assert!(out.status.success(), "{}\n{}", String::from_utf8_lossy(&out.stderr), host.log());
        assert!(host.get("seen.localhost", "/").text().contains(&format!("version {version}")));
    }
    assert_eq!(host.api(&key, "POST /api/v1/gc", b"{\"dry_run\":false}").status, 200);
    assert_eq!(host.stop(), Some(0));
    host.restart();
    assert!(host.get("seen.localhost", "/").text().contains("version 2"));
    assert!(host.cli(&key, &["rollback", "--site", "seen"]).status.success());
    assert!(host.get("seen.localhost", "/").text().contains("version 1"));
    let events = host.api_json(&key, "GET /api/v1/audit?limit=200", "", 200);
    assert!(events["items"].as_array().unwrap().len() > 3);
}

/// A tenant's table that the wall leaves out would show all tenants' rows to a statement that forgets its tenant.
#[tokio::test(flavor = "multi_thread")]
async fn every_table_with_tenants_rows_is_behind_the_wall() {
    // Those that are read to find out whose something is, and those that only the host reads.
    const OPEN: [&str; 6] = ["api_key", "hostname", "membership", "outbox", "session", "site_name"];
    let (server, url) = server();
    drop(open(&url));
    put_up(&url);
    let tables = "SELECT string_agg(c.relname, ' ' ORDER BY c.relname) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND a.attname = 'tenant_id'
        AND NOT (c.relrowsecurity AND c.relforcerowsecurity AND EXISTS
          (SELECT 1 FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname = 'chainhost_tenant'))";
    let db = url.rsplit_once('/').unwrap().1;
    let found = server.ask_in(db, tables);
    assert_eq!(
        found.split_whitespace().collect::<Vec<_>>(),
        OPEN,
        "say in `schema::PLACES` that its rows are a tenant's"
    );
}

/// The wall was put up before an upgrade brought another table: whoever starts the server is told of it.
#[test]
fn a_table_beside_the_wall_is_told_at_the_start() {
    let (server, url) = server();
    let mut host = Host::start_on(&url);
    assert_eq!(host.stop(), Some(0));
    put_up(&url);
    host.restart();
    assert!(!host.log().contains("row-level security does not stand"), "{}", host.log());
    assert_eq!(host.stop(), Some(0));
    let db = url.rsplit_once('/').unwrap().1;
    server.ask_in(db, "DROP POLICY chainhost_tenant ON schedule");
    server.ask_in(db, "ALTER TABLE effect DISABLE ROW LEVEL SECURITY");
    host.restart();
    let log = host.log();
    assert!(log.contains("row-level security does not stand") && log.contains("effect, schedule"), "{log}");
    assert_eq!(host.stop(), Some(0));
    put_up(&url);
    let before = host.log().matches("row-level security does not stand").count();
    host.restart();
    assert_eq!(host.log().matches("row-level security does not stand").count(), before);
}
