//! Tables by month, on each database: a month ends, months are archived and go, and the chain of events still verifies.

#![expect(clippy::indexing_slicing, reason = "a test that panics says what went wrong")]

use std::{collections::BTreeMap, fs};

use chainhost::{
    base::{
        clock::{Clock, Hands},
        hash::Sha256,
        ids::Id,
        tasks::Tasks,
    },
    domain::{
        access::{Actor, TenantScope},
        event::Recorded,
        month::Retention,
        node::Duty,
        tenant::{Tenant, TenantId},
        user::Role,
    },
    engines::{schema, sqlite::Sqlite},
    ports::{db::Db, queue::Jobs},
    services::{Ground, Services, nodes::Node},
    store::{self, blockchain_records::BlockchainRecord},
};
use serde_json::Value;

use crate::{conformance::Place as _, queue_redb::MemoryPlace, support::ground::ground};

/// 31 January 2026, 23:59:00 UTC.
const START_MS: i64 = 1_769_903_940_000;
const MINUTE_MS: i64 = 60_000;
pub(crate) const DAY_MS: i64 = 24 * 60 * MINUTE_MS;

/// Opens an empty database in a folder.
pub(crate) type Open = fn(&std::path::Path) -> Db;

pub(crate) fn sqlite(folder: &std::path::Path) -> Db {
    Db::new(Sqlite::open(&folder.join("chainhost.db"), schema::SQLITE).unwrap())
}

#[cfg(feature = "postgres")]
pub(crate) fn postgres(_: &std::path::Path) -> Db {
    use crate::support::postgres::{Database, Way};
    let url = chainhost::base::secret::Secret::new(Database::new(Way::Direct).keep());
    let open = move || {
        use chainhost::engines::postgres::{Postgres, Wish};
        Postgres::open(
            &Wish { url: &url, direct_url: None, replica_urls: &[], pool: 4, known: false },
            schema::POSTGRES,
        )
    };
    Db::new(std::thread::spawn(open).join().unwrap().unwrap())
}

/// A server without its sockets.
pub(crate) struct Rig {
    pub(crate) services: Services,
    pub(crate) hands: Hands,
    pub(crate) actor: Actor,
    folder: tempfile::TempDir,
    _queue: MemoryPlace,
}

impl Rig {
    pub(crate) async fn new(open: Open, kept: Option<u32>) -> Self {
        Self::with(open, kept, Node::alone()).await
    }

    /// One of several nodes, which has all duties.
    async fn shared(open: Open, kept: Option<u32>) -> Self {
        let rig = Self::with(open, kept, Node { shares: true, ..Node::alone() }).await;
        rig.services.beat().await.unwrap();
        rig
    }

    async fn with(open: Open, kept: Option<u32>, node: Node) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (clock, hands) = Clock::manual(START_MS);
        let queue = MemoryPlace::new(1);
        let tasks = Tasks::new();
        // Nobody serves here, so that nobody may wait for it.
        tasks.stop();
        let jobs = Jobs::new(queue.open(clock.clone(), 1_000));
        let retention = Retention { audit_log: kept, blockchain_record: kept };
        let ground = ground(folder.path(), open(folder.path()), jobs, clock);
        let services = Services::new(Ground { tasks, retention, node, ..ground });
        let actor = services.actor_local().await.unwrap();
        Self { services, hands, actor, folder, _queue: queue }
    }

    /// The admin of another tenant.
    pub(crate) async fn other(&self) -> Actor {
        let id = TenantId(self.services.ids.next());
        let tenant = Tenant { id, name: format!("other {id}"), created_ms: START_MS };
        self.services.db.write(move |tx| store::tenants::insert(tx, &tenant)).await.unwrap();
        Actor { role: Role::Admin, ..self.services.actor_system(id, "test") }
    }

    /// Leaves one event.
    async fn act(&self, actor: &Actor, name: &str) {
        self.services.create_site(actor, name).await.unwrap();
    }

    async fn count(&self, sql: &'static str) -> i64 {
        self.services.db.read(move |tx| tx.one(sql, &[])?.int(0)).await.unwrap()
    }

    async fn run(&self, sql: &'static str) {
        self.services.db.write(move |tx| tx.execute(sql, &[])).await.unwrap();
    }

    async fn pass(&self) {
        self.services.keep_months(&self.services.hold(Duty::Seal).unwrap()).await.unwrap();
    }

    async fn verify(&self, actor: &Actor) -> Option<i64> {
        self.services.seal_audit(&self.services.hold(Duty::Seal).unwrap()).await.unwrap();
        self.services.verify_audit(actor).await.unwrap()
    }

    /// The lines of an archive.
    fn archived(&self, name: &str) -> Vec<Value> {
        let bytes = fs::read(self.folder.path().join("history").join(name)).unwrap();
        let text = String::from_utf8(zstd::decode_all(&*bytes).unwrap()).unwrap();
        text.lines().map(|it| serde_json::from_str(it).unwrap()).collect()
    }

    fn archives(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path().join("history")).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.map(|it| it.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// What the audit log says of archives, oldest first.
    async fn told(&self, actor: &Actor) -> Vec<String> {
        let mut all = self.services.list_audit(actor, None, 200).await.unwrap();
        all.retain(|it| it.kind == "history.archived");
        all.into_iter().rev().map(|it| it.text).collect()
    }
}

async fn a_month_ends_and_later_goes(open: Open) {
    let rig = Rig::new(open, Some(1)).await;
    let other = rig.other().await;
    rig.pass().await;
    for number in 0..3 {
        rig.act(&rig.actor, &format!("january-{number}")).await;
    }
    rig.act(&other, "their-january").await;
    // The next event is in the next month.
    rig.hands.advance(MINUTE_MS);
    rig.act(&rig.actor, "february").await;
    assert_eq!(rig.verify(&rig.actor).await, None);
    rig.hands.advance(28 * DAY_MS - 1);
    rig.pass().await;
    assert_eq!(rig.archives(), Vec::<String>::new(), "January is kept throughout February");

    rig.hands.advance(1);
    rig.pass().await;
    assert_eq!(rig.archives(), ["audit_log-2026-01.jsonl.zst"]);
    let lines = rig.archived("audit_log-2026-01.jsonl.zst");
    let mut of_tenant: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for line in &lines {
        assert!(line["created_ms"].as_i64().unwrap() < START_MS + MINUTE_MS, "{line}");
        of_tenant.entry(line["tenant"].as_str().unwrap().to_owned()).or_default().push(line["seq"].as_i64().unwrap());
    }
    let mine = rig.actor.scope.tenant().to_string();
    assert_eq!(of_tenant.remove(&mine), Some(vec![1, 2, 3]));
    assert_eq!(of_tenant.into_values().collect::<Vec<_>>(), [vec![1]]);
    let file = fs::read(rig.folder.path().join("history/audit_log-2026-01.jsonl.zst")).unwrap();
    let sum = Sha256::of(&file);
    for actor in [&rig.actor, &other] {
        let told = rig.told(actor).await;
        assert!(told.len() == 1 && told[0].contains(&sum.hex()), "{told:?}");
        assert_eq!(rig.verify(actor).await, None);
    }
    // February, and what was said of January.
    assert_eq!(rig.count("SELECT COUNT(*) FROM audit_log").await, 3);
    assert_eq!(rig.count("SELECT MIN(seq) FROM audit_log").await, 2);
    rig.pass().await;
    assert_eq!(rig.archives().len(), 1, "a pass without work leaves nothing");

    // What is altered afterwards is still found, and so is what is cut off at the end.
    rig.run("UPDATE audit_log SET text = text || '!' WHERE seq = 4").await;
    assert_eq!(rig.verify(&rig.actor).await, Some(4));
    rig.run("UPDATE audit_log SET text = substr(text, 1, length(text) - 1) WHERE seq = 4").await;
    assert_eq!(rig.verify(&rig.actor).await, None);
    let last = rig.count("SELECT MAX(seq) FROM audit_log").await;
    rig.run("DELETE FROM audit_log WHERE seq = (SELECT MAX(seq) FROM audit_log)").await;
    assert_eq!(rig.verify(&rig.actor).await, Some(last));
}

async fn nothing_goes_before_it_is_archived_and_only_once(open: Open) {
    let rig = Rig::new(open, Some(1)).await;
    rig.pass().await;
    rig.act(&rig.actor, "january").await;
    rig.act(&rig.actor, "also-january").await;
    rig.services.seal_audit(&rig.services.hold(Duty::Seal).unwrap()).await.unwrap();
    rig.run("UPDATE audit_log SET text = text || '!' WHERE seq = 2").await;
    rig.hands.advance(60 * DAY_MS);
    let refused = rig.services.keep_months(&rig.services.hold(Duty::Seal).unwrap()).await.unwrap_err();
    assert!(refused.to_string().contains("breaks at 2"), "{refused}");
    assert_eq!(rig.count("SELECT COUNT(*) FROM audit_log").await, 2, "what was forged is evidence");
    assert_eq!(rig.verify(&rig.actor).await, Some(2));
    rig.run("UPDATE audit_log SET text = substr(text, 1, length(text) - 1) WHERE seq = 2").await;
    assert_eq!(rig.verify(&rig.actor).await, None);

    // The archive cannot be noted: the file goes, the rows stay.
    rig.run("ALTER TABLE month_archive RENAME TO hidden").await;
    assert!(rig.services.keep_months(&rig.services.hold(Duty::Seal).unwrap()).await.is_err());
    rig.run("ALTER TABLE hidden RENAME TO month_archive").await;
    assert_eq!(rig.count("SELECT COUNT(*) FROM audit_log").await, 2);
    rig.pass().await;
    assert_eq!(rig.archived("audit_log-2026-01.jsonl.zst").len(), 2);
    assert_eq!(rig.archives(), ["audit_log-2026-01.jsonl.zst"]);
    assert_eq!(rig.count("SELECT COUNT(*) FROM month_archive").await, 1);
    assert_eq!(rig.count("SELECT COUNT(*) FROM audit_log WHERE kind = 'site.created'").await, 0);
    assert_eq!(rig.verify(&rig.actor).await, None);
}

async fn anchors_go_by_month_too_and_everything_stays_when_nothing_is_said(open: Open) {
    for kept in [None, Some(2)] {
        let rig = Rig::new(open, kept).await;
        rig.pass().await;
        let scope = rig.actor.scope;
        insert_records(&rig, scope, 0..700).await;
        rig.hands.advance(31 * DAY_MS);
        insert_records(&rig, scope, 700..701).await;
        rig.hands.advance(61 * DAY_MS);
        rig.pass().await;
        let there = rig.count("SELECT COUNT(*) FROM blockchain_record").await;
        if kept.is_none() {
            assert_eq!((there, rig.archives().len()), (701, 0));
            continue;
        }
        assert_eq!((there, rig.archives()), (1, vec![String::from("blockchain_record-2026-01.jsonl.zst")]));
        let lines = rig.archived("blockchain_record-2026-01.jsonl.zst");
        let sizes: Vec<i64> = lines.iter().map(|it| it["size"].as_i64().unwrap()).collect();
        assert_eq!(sizes, (0..700).collect::<Vec<_>>());
        assert!(rig.told(&rig.actor).await[0].contains("700 rows of blockchain_record of 2026-01"));
    }
}

/// One for each size.
async fn insert_records(rig: &Rig, scope: TenantScope, sizes: std::ops::Range<i64>) {
    let services = rig.services.clone();
    let insert = move |tx: &mut chainhost::ports::db::WriteTx<'_>| {
        for size in sizes {
            let record = BlockchainRecord {
                created_ms: services.clock.now_ms(),
                id: services.ids.next(),
                kind: String::from("evm"),
                network: String::from("8453"),
                size,
                root: Sha256::of(b"root"),
                state: String::from("final"),
                reference: String::from("0x00"),
            };
            store::blockchain_records::insert(tx, scope, &record)?;
        }
        Ok(())
    };
    rig.services.db.write(insert).await.unwrap();
}

/// Another node has taken sealing, as after a stop of this one.
const TAKEN: &str = "UPDATE lease SET fence = fence + 1 WHERE name = 'seal'";

async fn a_node_that_has_lost_the_duty_archives_and_removes_nothing(open: Open) {
    let rig = Rig::shared(open, Some(1)).await;
    rig.pass().await;
    rig.act(&rig.actor, "january").await;
    assert_eq!(rig.verify(&rig.actor).await, None);
    rig.hands.advance(60 * DAY_MS);
    let hold = rig.services.hold(Duty::Seal).unwrap();
    rig.run(TAKEN).await;
    assert_eq!(rig.services.keep_months(&hold).await.unwrap_err().code, "lease_lost");
    assert_eq!(rig.count("SELECT COUNT(*) FROM audit_log").await, 1);
    assert_eq!(rig.count("SELECT COUNT(*) FROM month_archive").await, 0);
    // Who has the duty does it.
    rig.services.beat().await.unwrap();
    rig.pass().await;
    assert_eq!(rig.count("SELECT COUNT(*) FROM audit_log WHERE kind = 'site.created'").await, 0);
    assert_eq!(rig.verify(&rig.actor).await, None);
}

async fn a_node_that_loses_the_duty_half_way_removes_nothing(open: Open) {
    let rig = Rig::shared(open, Some(1)).await;
    rig.pass().await;
    rig.act(&rig.actor, "january").await;
    assert_eq!(rig.verify(&rig.actor).await, None);
    rig.hands.advance(60 * DAY_MS);
    let hold = rig.services.hold(Duty::Seal).unwrap();
    // The duty goes to another node just when the file is noted.
    let is_sqlite = rig.services.db.parts().is_none();
    rig.run(if is_sqlite {
        "CREATE TRIGGER taken AFTER INSERT ON month_archive BEGIN UPDATE lease SET fence = fence + 1; END"
    } else {
        "CREATE RULE taken AS ON INSERT TO month_archive DO ALSO UPDATE lease SET fence = fence + 1"
    })
    .await;
    assert_eq!(rig.services.keep_months(&hold).await.unwrap_err().code, "lease_lost");
    assert_eq!(rig.count("SELECT COUNT(*) FROM month_archive").await, 1);
    assert_eq!(rig.count("SELECT COUNT(*) FROM audit_log WHERE kind = 'site.created'").await, 1);
    rig.run(if is_sqlite { "DROP TRIGGER taken" } else { "DROP RULE taken ON month_archive" }).await;
    rig.services.beat().await.unwrap();
    rig.pass().await;
    assert_eq!(rig.count("SELECT COUNT(*) FROM audit_log WHERE kind = 'site.created'").await, 0);
    assert_eq!((rig.archives().len(), rig.told(&rig.actor).await.len()), (1, 1));
    assert_eq!(rig.verify(&rig.actor).await, None);
}

/// Sites that each writer makes while the month ends.
const SITES: usize = 12;

async fn a_month_ends_under_load(open: Open) {
    let rig = Rig::new(open, Some(1)).await;
    rig.pass().await;
    rig.act(&rig.actor, "first").await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..4 {
        let (services, actor) = (rig.services.clone(), rig.actor.clone());
        writers.spawn(async move {
            for number in 0..SITES {
                services.create_site(&actor, &format!("w{writer}-{number}")).await.unwrap();
            }
        });
    }
    // The clock goes over the end of January while they write, and the tasks look again and again.
    for _ in 0..6 {
        rig.hands.advance(MINUTE_MS / 3);
        rig.pass().await;
        assert_eq!(rig.verify(&rig.actor).await, None);
    }
    writers.join_all().await;
    rig.act(&rig.actor, "last").await;
    assert_eq!(rig.verify(&rig.actor).await, None);
    let all = i64::try_from(4 * SITES).unwrap() + 2;
    assert_eq!(rig.count("SELECT COUNT(*) FROM audit_log").await, all);
    assert_eq!(rig.services.strays().map(|(_, count)| count).sum::<u64>(), 0);
    let left = rig.count("SELECT COUNT(*) FROM audit_log WHERE created_ms >= 1769904000000").await;
    assert!((1..all).contains(&left), "{left}");

    // January goes once February has ended, and with it all of its events and none of February's but those between them.
    rig.hands.advance(28 * DAY_MS);
    rig.pass().await;
    let lines = rig.archived("audit_log-2026-01.jsonl.zst");
    let seqs: Vec<i64> = lines.iter().map(|it| it["seq"].as_i64().unwrap()).collect();
    assert_eq!(seqs, (1..=i64::try_from(lines.len()).unwrap()).collect::<Vec<_>>());
    let is_january = |it: &&Value| it["created_ms"].as_i64().unwrap() < START_MS + MINUTE_MS;
    assert_eq!(i64::try_from(lines.iter().filter(is_january).count()).unwrap(), all - left);
    assert_eq!(rig.count("SELECT COUNT(*) FROM audit_log WHERE kind = 'site.created'").await, left);
    assert_eq!(rig.verify(&rig.actor).await, None);
}

/// Pages join without a gap and without an event that stands twice, over months with many events and months with none, and also
/// where a clock was wrong for a while.
async fn pages_of_events_lose_nothing_over_months(open: Open) {
    let rig = Rig::new(open, None).await;
    let mut number = 0;
    for days in [0, 0, 1, 31, 40, 400, -500, 0, 600, 0, -3, 90, 0, 0] {
        rig.hands.advance(days * DAY_MS + 1);
        rig.pass().await;
        number += 1;
        rig.act(&rig.actor, &format!("site-{number}")).await;
    }
    let stranger = rig.other().await;
    rig.act(&stranger, "theirs").await;
    let ask = async |after, limit| rig.services.list_audit(&rig.actor, after, limit).await.unwrap();
    let all = ask(None, 200).await;
    let made = |it: &&Recorded| it.kind == "site.created";
    assert_eq!(all.iter().filter(made).count(), number);
    assert!(all.is_sorted_by(|a, b| (a.created_ms, &a.id) > (b.created_ms, &b.id)), "{all:?}");
    for size in [1, 3, 5] {
        let (mut joined, mut after) = (Vec::new(), None);
        loop {
            let page = ask(after, size).await;
            let Some(last) = page.last() else { break };
            assert!(page.len() <= usize::try_from(size).unwrap());
            after = Some(last.id.parse().unwrap());
            joined.extend(page.into_iter().map(|it| it.id));
        }
        assert_eq!(joined, all.iter().map(|it| it.id.clone()).collect::<Vec<_>>());
    }
    // What is behind an event that is gone is what is older than its id.
    let gone = Id::before(START_MS + 20 * DAY_MS);
    let older = ask(Some(gone), 200).await;
    assert!(!older.is_empty() && older.iter().all(|it| it.created_ms < START_MS + 20 * DAY_MS), "{older:?}");
}

macro_rules! clauses {
    ($engine:ident: $($clause:ident)*) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $clause() {
            super::$clause(super::$engine).await;
        })*
    };
}

macro_rules! suite {
    ($($clause:ident)*) => {
        mod on_sqlite {
            clauses! { sqlite: $($clause)* }
        }
        #[cfg(feature = "postgres")]
        mod on_postgres {
            clauses! { postgres: $($clause)* }
        }
    };
}

suite! {
    a_month_ends_and_later_goes
    pages_of_events_lose_nothing_over_months
    nothing_goes_before_it_is_archived_and_only_once
    anchors_go_by_month_too_and_everything_stays_when_nothing_is_said
    a_node_that_has_lost_the_duty_archives_and_removes_nothing
    a_node_that_loses_the_duty_half_way_removes_nothing
    a_month_ends_under_load
}

#[tokio::test]
async fn nothing_is_removed_when_not_all_tenants_are_known() {
    let rig = Rig::new(sqlite, Some(1)).await;
    rig.act(&rig.actor, "january").await;
    assert_eq!(rig.verify(&rig.actor).await, None);
    rig.run(
        "INSERT INTO tenant (id, name, created_ms) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
         SELECT CAST(printf('%016d', i) AS BLOB), printf('a%06d', i), 1 FROM n",
    )
    .await;
    rig.hands.advance(60 * DAY_MS);
    let refused = rig.services.keep_months(&rig.services.hold(Duty::Seal).unwrap()).await.unwrap_err();
    assert!(refused.to_string().contains("more tenants"), "{refused}");
    assert_eq!(rig.count("SELECT COUNT(*) FROM audit_log").await, 1);
}

#[tokio::test]
async fn records_are_told_to_every_tenant_also_when_telling_broke_off() {
    let rig = Rig::new(sqlite, Some(1)).await;
    rig.pass().await;
    for number in 0..45 {
        let other = rig.other().await;
        insert_records(&rig, other.scope, number..number + 1).await;
    }
    rig.hands.advance(60 * DAY_MS);
    rig.run(
        "CREATE TRIGGER held BEFORE INSERT ON audit_log
         WHEN (SELECT COUNT(*) FROM audit_log WHERE kind = 'history.archived') >= 20
         BEGIN SELECT RAISE(ABORT, 'held'); END",
    )
    .await;
    assert!(rig.services.keep_months(&rig.services.hold(Duty::Seal).unwrap()).await.is_err());
    // One transaction holds a few tenants only.
    let told = "SELECT COUNT(DISTINCT tenant_id) FROM audit_log WHERE kind = 'history.archived'";
    assert_eq!(rig.count(told).await, 20);
    assert_eq!(rig.count("SELECT COUNT(*) FROM blockchain_record").await, 45);
    rig.run("DROP TRIGGER held").await;
    rig.pass().await;
    assert_eq!(rig.count(told).await, 45);
    assert_eq!(rig.count("SELECT COUNT(*) FROM blockchain_record").await, 0);
    assert_eq!(rig.archives(), ["blockchain_record-2026-01.jsonl.zst"]);
}

#[tokio::test]
async fn what_was_archived_and_could_not_be_removed_is_removed_later_and_archived_once() {
    let rig = Rig::new(sqlite, Some(1)).await;
    rig.act(&rig.actor, "january").await;
    rig.hands.advance(60 * DAY_MS);
    rig.run("CREATE TRIGGER held BEFORE DELETE ON audit_log BEGIN SELECT RAISE(ABORT, 'held'); END").await;
    for _ in 0..2 {
        assert!(rig.services.keep_months(&rig.services.hold(Duty::Seal).unwrap()).await.is_err());
        assert_eq!(rig.verify(&rig.actor).await, None);
    }
    assert_eq!(rig.count("SELECT COUNT(*) FROM audit_log WHERE kind = 'site.created'").await, 1);
    rig.run("DROP TRIGGER held").await;
    rig.pass().await;
    assert_eq!(rig.count("SELECT COUNT(*) FROM audit_log WHERE kind = 'site.created'").await, 0);
    assert_eq!(rig.archives(), ["audit_log-2026-01.jsonl.zst"]);
    assert_eq!(rig.told(&rig.actor).await.len(), 1);
    assert_eq!(rig.verify(&rig.actor).await, None);
}

#[cfg(feature = "postgres")]
mod parts {
    use std::{sync::mpsc::sync_channel, time::Duration};

    use chainhost::{domain::month::Month, params};
    use tokio::sync::oneshot;

    use super::*;

    fn months(rig: &Rig) -> Vec<String> {
        let parts = rig.services.db.parts().unwrap();
        let list = move || parts.list("audit_log").unwrap();
        std::thread::spawn(list).join().unwrap().into_iter().map(|it| it.to_string()).collect()
    }

    async fn plan(rig: &Rig, sql: &'static str) -> String {
        let (from, to) = Month::of(START_MS).range_ms();
        let scope = rig.actor.scope.tenant().0;
        let sql = format!("EXPLAIN (COSTS OFF) {sql}");
        let rows = rig.services.db.read(move |tx| tx.query(&sql, params![scope, from, to])).await.unwrap();
        rows.iter().map(|it| it.text(0).unwrap().to_owned() + "\n").collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn they_are_made_ahead_pruned_and_gone_at_once() {
        let rig = Rig::new(postgres, Some(1)).await;
        rig.pass().await;
        assert_eq!(months(&rig), ["2026-01", "2026-02", "2026-03", "2026-04"]);
        rig.act(&rig.actor, "january").await;
        for sql in [
            "SELECT COALESCE(MAX(seq), 0), COUNT(*) - COUNT(seq) FROM audit_log
             WHERE tenant_id = $1 AND created_ms >= $2 AND created_ms < $3",
            "UPDATE audit_log SET seq = 1 WHERE tenant_id = $1 AND created_ms = $2 AND created_ms < $3 AND seq IS NULL",
        ] {
            let plan = plan(&rig, sql).await;
            assert!(plan.contains("audit_log_2026_01"), "{plan}");
            assert!(!plan.contains("2026_02") && !plan.contains("audit_log_default"), "{plan}");
        }
        rig.hands.advance(60 * DAY_MS);
        rig.pass().await;
        assert_eq!(months(&rig), ["2026-03", "2026-04", "2026-05", "2026-06", "2026-07"]);
        assert_eq!(rig.count("SELECT COUNT(*) FROM pg_class WHERE relname = 'audit_log_2026_01'").await, 0);
        // Nobody deleted rows: the part went with them.
        assert_eq!(rig.verify(&rig.actor).await, None);
    }

    /// A page of the newest events does not touch the parts of older months: somebody holds one of these, and nobody waits.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_page_of_events_leaves_older_parts_alone() {
        let rig = Rig::new(postgres, None).await;
        rig.pass().await;
        for name in ["one", "two", "three"] {
            rig.act(&rig.actor, name).await;
        }
        rig.hands.advance(35 * DAY_MS);
        rig.pass().await;
        for name in ["four", "five", "six", "seven"] {
            rig.act(&rig.actor, name).await;
        }
        let page = "SELECT id FROM audit_log WHERE tenant_id = $1 AND created_ms >= $2 AND created_ms < $3
                    AND (created_ms, id) < ($3, $1) ORDER BY created_ms DESC, id DESC LIMIT 50";
        let plan = plan(&rig, page).await;
        assert!(plan.contains("audit_log_2026_01") && !plan.contains("2026_02") && !plan.contains("default"), "{plan}");

        let (locked, is_locked) = oneshot::channel();
        let (release, released) = sync_channel(1);
        let holder = rig.services.db.write(move |tx| {
            tx.execute("LOCK TABLE audit_log_2026_01 IN ACCESS EXCLUSIVE MODE", &[])?;
            let _ = locked.send(());
            let _ = released.recv_timeout(Duration::from_mins(1));
            Ok(())
        });
        let look = async {
            is_locked.await.unwrap();
            let first = rig.services.list_audit(&rig.actor, None, 3).await;
            let after = first.as_ref().ok().and_then(|it| it[1].id.parse().ok());
            let second = rig.services.list_audit(&rig.actor, after, 2).await;
            release.send(()).unwrap();
            (first.unwrap(), second.unwrap())
        };
        let (ended, (first, second)) = tokio::join!(holder, look);
        ended.unwrap();
        let texts = |all: &[Recorded]| all.iter().map(|it| it.entity_id.clone()).collect::<Vec<_>>();
        assert_eq!((texts(&first), texts(&second)), (names(&["seven", "six", "five"]), names(&["five", "four"])));
        let all = rig.services.list_audit(&rig.actor, None, 200).await.unwrap();
        assert!(texts(&all).contains(&String::from("one")), "what is missing comes from there");
    }

    fn names(all: &[&str]) -> Vec<String> {
        all.iter().map(|it| (*it).to_owned()).collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn rows_of_no_month_raise_an_alarm_and_move_when_their_month_comes() {
        let rig = Rig::new(postgres, None).await;
        let strays = || rig.services.strays().map(|(_, count)| count).collect::<Vec<_>>();
        // Before the first pass there is no part yet.
        rig.act(&rig.actor, "early").await;
        assert_eq!(rig.count("SELECT COUNT(*) FROM audit_log_default").await, 1);
        rig.pass().await;
        assert_eq!(rig.count("SELECT COUNT(*) FROM audit_log_2026_01").await, 1);
        assert_eq!(strays(), [0, 0]);
        // A clock that is a year ahead, and one that was years behind.
        rig.hands.advance(365 * DAY_MS);
        rig.act(&rig.actor, "ahead").await;
        rig.hands.advance(-5 * 365 * DAY_MS);
        rig.act(&rig.actor, "behind").await;
        rig.hands.advance(4 * 365 * DAY_MS);
        rig.pass().await;
        assert_eq!(strays(), [1, 0]);
        assert_eq!(months(&rig)[0], "2022-02");
        assert_eq!(rig.count("SELECT COUNT(*) FROM audit_log_default").await, 1);
        rig.hands.advance(330 * DAY_MS);
        rig.pass().await;
        assert_eq!(strays(), [0, 0]);
        assert_eq!(rig.count("SELECT COUNT(*) FROM audit_log_2027_01").await, 1);
        assert_eq!(rig.verify(&rig.actor).await, None);
    }
    #[test]
    fn the_alarm_is_seen_from_outside() {
        use crate::support::{Host, http, postgres::Server};
        let server = Server::start(&["fsync=off"]);
        let mut host = Host::start_on(&server.url(""));
        let get = |host: &Host, path: &str| {
            http::ask(host.port, &format!("GET {path} HTTP/1.1\r\nHost: localhost:{}\r\n", host.port), b"").text()
        };
        let metric = "chainhost_rows_outside_months{table=\"audit_log\"}";
        assert!(!get(&host, "/healthz").contains("warnings"));
        assert_eq!(host.stop(), Some(0));
        server.run(
            "INSERT INTO audit_log (tenant_id, created_ms, id, actor, address, kind, entity, entity_id, text)
             VALUES ('\\x00', 9000000000000000, '\\x00', '', '', '', '', '', '')",
        );
        host.restart();
        host.until("the alarm", || get(&host, "/healthz").contains("rows_outside_months").then_some(()));
        assert!(get(&host, "/metrics").contains(&format!("{metric} 1")));
        assert!(host.log().contains("rows fit no month"));
    }
}
