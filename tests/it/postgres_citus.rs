//! Sharding by tenant: the schema is fit for it, and the command does what it prints. Citus itself is not here, so its two functions
//! are stood in for by ones that note what they are asked; that their arguments name real tables and columns is PostgreSQL's own check.

use std::{
    collections::BTreeSet,
    process::{Command, Output},
    thread,
};

use chainhost::{
    base::secret::Secret,
    engines::{
        postgres::{Postgres, Wish},
        schema::{self, PLACES, Place},
    },
    ports::db::Db,
};

use crate::support::{
    PROGRAM,
    postgres::{Database, Way},
};

const STAND_IN: &[&str] = &[
    "CREATE TABLE pg_dist_partition (logicalrelid REGCLASS NOT NULL, how TEXT NOT NULL)",
    "CREATE FUNCTION create_reference_table(it REGCLASS) RETURNS VOID LANGUAGE SQL AS
     $$ INSERT INTO pg_dist_partition VALUES (it, 'everywhere') $$",
    "CREATE FUNCTION create_distributed_table(it REGCLASS, by_column TEXT, colocate_with TEXT DEFAULT 'default') RETURNS VOID
     LANGUAGE plpgsql AS $$ BEGIN
       PERFORM 1 FROM pg_attribute WHERE attrelid = it AND attname = by_column AND attnotnull;
       IF NOT FOUND THEN RAISE 'no such column'; END IF;
       IF colocate_with <> 'none' THEN
         PERFORM 1 FROM pg_dist_partition WHERE logicalrelid = CAST(colocate_with AS REGCLASS) AND how LIKE 'by %';
         IF NOT FOUND THEN RAISE 'nothing lies there yet'; END IF;
       END IF;
       INSERT INTO pg_dist_partition VALUES (it, 'by ' || by_column);
     END $$",
];

fn open(url: &str) -> Db {
    let url = Secret::new(url.to_owned());
    let open = move || {
        let wish = Wish { url: &url, direct_url: None, replica_urls: &[], pool: 2, known: false };
        Postgres::open(&wish, schema::POSTGRES)
    };
    Db::new(thread::spawn(open).join().unwrap().unwrap())
}

async fn texts(db: &Db, sql: &'static str) -> Vec<String> {
    let rows = db.read(move |tx| tx.query(sql, &[])).await.unwrap();
    rows.iter().map(|row| row.text(0).unwrap().to_owned()).collect()
}

fn of(place: Place) -> BTreeSet<String> {
    PLACES.iter().filter(|it| it.1 == place).map(|it| it.0.to_owned()).collect()
}

fn scale(arguments: &[&str], url: &str) -> Output {
    Command::new(PROGRAM).args(["scale", "citus"]).args(arguments).env("CHAINHOST_DATABASE_URL", url).output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_has_a_place_and_every_key_of_a_tenants_begins_with_it() {
    let database = Database::new(Way::Direct);
    let db = open(&database.url());
    let tables = "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                  WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY 1";
    let there = texts(&db, tables).await;
    let placed: BTreeSet<String> = PLACES.iter().map(|it| it.0.to_owned()).collect();
    assert_eq!(placed.len(), PLACES.len(), "a table has two places");
    assert_eq!(there.into_iter().collect::<BTreeSet<_>>(), placed);
    // The first column of each unique index, and of each primary key.
    let keys = "SELECT c.relname || ' ' || a.attname FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
                JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
                WHERE i.indisunique AND NOT c.relispartition AND c.relnamespace = CAST('public' AS regnamespace)";
    let keys = texts(&db, keys).await;
    for table in of(Place::Tenant) {
        let own: Vec<&str> = keys.iter().filter_map(|it| it.strip_prefix(&format!("{table} "))).collect();
        assert!(!own.is_empty() && own.iter().all(|it| *it == "tenant_id"), "{table}: {own:?}");
    }
    assert_eq!(texts(&db, "SELECT conname FROM pg_constraint WHERE contype = 'f'").await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_command_prints_and_distributes() {
    let database = Database::new(Way::Direct);
    let db = open(&database.url());
    let printed = scale(&[], "");
    assert!(printed.status.success());
    let printed = String::from_utf8(printed.stdout).unwrap();
    assert_eq!(printed.lines().count(), of(Place::Tenant).len() + of(Place::Everywhere).len());
    assert!(
        printed
            .contains("SELECT create_distributed_table('\"deployment\"', 'tenant_id', colocate_with => '\"site\"');")
    );
    let refused = scale(&["--run"], &database.url());
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("CREATE EXTENSION citus"));
    let refused = scale(&["--run"], "");
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("CHAINHOST_DATABASE_URL"));

    for sql in STAND_IN {
        db.write(move |tx| tx.execute(sql, &[])).await.unwrap();
    }
    // One half of it fails: nothing is done.
    db.write(|tx| tx.execute("ALTER TABLE schedule RENAME TO hidden", &[])).await.unwrap();
    assert_eq!(scale(&["--run"], &database.url()).status.code(), Some(2));
    assert_eq!(texts(&db, "SELECT how FROM pg_dist_partition").await, Vec::<String>::new());
    db.write(|tx| tx.execute("ALTER TABLE hidden RENAME TO schedule", &[])).await.unwrap();

    let done = scale(&["--run"], &database.url());
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let by = "SELECT btrim(CAST(logicalrelid AS TEXT), '\"') FROM pg_dist_partition WHERE how = 'by tenant_id'";
    assert_eq!(texts(&db, by).await.into_iter().collect::<BTreeSet<_>>(), of(Place::Tenant));
    let everywhere = "SELECT btrim(CAST(logicalrelid AS TEXT), '\"') FROM pg_dist_partition WHERE how = 'everywhere'";
    assert_eq!(texts(&db, everywhere).await.into_iter().collect::<BTreeSet<_>>(), of(Place::Everywhere));
    let again = scale(&["--run"], &database.url());
    assert_eq!(String::from_utf8_lossy(&again.stdout), "Everything is distributed already.\n");
}
