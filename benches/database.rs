//! How fast jobs are asked for in the database: `cargo bench --bench database`.
//!
//! An enqueue is a row of the outbox, acknowledged when its transaction is synced to disk. The second measure goes on
//! until the relay has handed every row to the queue and a runner has ended every job.

#![expect(clippy::unwrap_used, reason = "a measurement that panics says what went wrong")]

use std::{path::Path, time::Duration};

use chainhost::{
    base::{
        blob_dir::BlobDir,
        clock::Clock,
        ids::{Id, Ids},
        tasks::Tasks,
    },
    domain::{
        job::{JobId, NewJob, Queue},
        month::Retention,
        tenant::TenantId,
    },
    engines::{cache_moka::CacheMoka, queue_redb::QueueRedb, schema, sqlite::Sqlite},
    ports::{
        cache::Cache,
        counts::Counts,
        db::Db,
        queue::{Finish, Jobs, Outcome},
    },
    services::{Addresses, Ground, Services, doctor::Outside, nodes::Node, secrets::Secrets, stores::Stores},
    store,
};
use criterion::{Criterion, Throughput};
use tokio::{runtime::Runtime, task::JoinSet, time::Instant};

/// Who asks at once.
const CALLERS: usize = 64;
/// Jobs claimed in one call.
const BATCH: usize = 1_024;

struct Rig {
    runtime: Runtime,
    services: Services,
    _folder: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let services = services(folder.path());
        Self { runtime, services, _folder: folder }
    }
}

fn services(folder: &Path) -> Services {
    let clock = Clock::system();
    Services::new(Ground {
        db: Db::new(Sqlite::open(&folder.join("chainhost.db"), schema::SQLITE).unwrap()),
        jobs: Jobs::new(QueueRedb::open(&folder.join("queue.redb"), clock.clone()).unwrap()),
        cache: Cache::new(CacheMoka::new(1 << 20)),
        counts: Counts::default(),
        blobs: BlobDir::open(folder).unwrap(),
        ids: Ids::new(clock.clone()),
        clock,
        tasks: Tasks::new(),
        data: folder.to_owned(),
        addresses: Addresses {
            scheme: "http",
            sites_domain: String::from("localhost"),
            port: String::new(),
            panel_host: String::from("localhost"),
            local_port: 80,
        },
        disk_reserve: None,
        tenant_bytes_max: None,
        retention: Retention::default(),
        instance: Id::NIL,
        node: Node::alone(),
        stores: Stores::default(),
        secrets: Secrets::fleeting(),
        acme: None,
        edge: None,
        home: None,
        outside: Outside::default(),
    })
}

fn job(ids: &Ids, number: usize) -> NewJob {
    NewJob {
        id: JobId(ids.next()),
        queue: Queue::Email,
        kind: String::from("send_mail"),
        tenant: Some(TenantId(Id::from_bytes([u8::try_from(number % 16).unwrap() + 1; 16]))),
        payload: "x".repeat(256),
        priority: 0,
        run_at_ms: 0,
        title: String::from("A mail"),
        created_ms: 1,
        unique: None,
        after: Vec::new(),
    }
}

/// Jobs of each caller, so that together they are at least `total`.
fn share(total: u64) -> usize {
    usize::try_from(total).unwrap().div_ceil(CALLERS)
}

/// All callers ask for one job after the other.
fn ask(services: &Services, share: usize) -> JoinSet<()> {
    let mut asked = JoinSet::new();
    for _ in 0..CALLERS {
        let services = services.clone();
        asked.spawn(async move {
            for number in 0..share {
                let job = job(&services.ids, number);
                services.db.write(move |tx| store::outbox::enqueue(tx, &job)).await.unwrap();
            }
        });
    }
    asked
}

async fn relay(services: &Services, until: usize) {
    let mut moved = 0;
    while moved < until {
        let now = services.relay_outbox().await.unwrap();
        moved += now;
        if now == 0 {
            tokio::task::yield_now().await;
        }
    }
}

async fn drain(services: &Services, until: usize) {
    let (mut ended, mut finished) = (0, Vec::new());
    while ended < until {
        let (_, leases) = services.jobs.next(Queue::Email, BATCH, finished).await.unwrap();
        ended += leases.len();
        if leases.is_empty() {
            tokio::task::yield_now().await;
        }
        finished = leases
            .into_iter()
            .map(|it| Finish { id: it.job.id, attempt: it.attempt, outcome: Outcome::Done })
            .collect();
    }
    services.jobs.next(Queue::Email, 0, finished).await.unwrap();
}

/// What `total` would have taken, when `done` took `took`.
fn scaled(took: Duration, total: u64, done: usize) -> Duration {
    took.mul_f64(f64::from(u32::try_from(total).unwrap()) / f64::from(u32::try_from(done).unwrap()))
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("outbox");
    group.throughput(Throughput::Elements(1)).sample_size(10).measurement_time(Duration::from_secs(5));
    let rig = Rig::new();
    group.bench_function("enqueue, 64 callers", |bencher| {
        bencher.iter_custom(|total| {
            rig.runtime.block_on(async {
                let start = Instant::now();
                ask(&rig.services, share(total)).join_all().await;
                let took = start.elapsed();
                // What waits is handed over outside the measure, so that the table stays small.
                relay(&rig.services, share(total) * CALLERS).await;
                scaled(took, total, share(total) * CALLERS)
            })
        });
    });
    let rig = Rig::new();
    group.bench_function("enqueue to drained, 64 callers", |bencher| {
        bencher.iter_custom(|total| {
            rig.runtime.block_on(async {
                let (start, all) = (Instant::now(), share(total) * CALLERS);
                let asked = ask(&rig.services, share(total));
                tokio::join!(asked.join_all(), relay(&rig.services, all), drain(&rig.services, all));
                scaled(start.elapsed(), total, all)
            })
        });
    });
    group.finish();
    criterion.final_summary();
}
