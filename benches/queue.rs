//! How fast the queue on redb is, each job with 1 KiB: `cargo bench --bench queue`.
//!
//! `cargo bench --bench queue -- recovery` fills a queue with 1,000,000 jobs, lets a process die with some of
//! them running, and says how long the next one takes to open it.
//!
//! `benches/measure recovery` runs it as `fill PATH JOBS` on the file of a server that is stopped.
//!
//! `benches/queues` runs it as `rates PATH|redis://… JOBS TENANTS`, beside BullMQ of Node on the same Redis.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement that panics says what went wrong")]

use std::{
    hint::black_box,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use chainhost::{
    base::{
        clock::Clock,
        ids::{Id, Ids},
    },
    domain::{
        job::{JobId, NewJob, Queue},
        tenant::TenantId,
    },
    engines::queue_redb::QueueRedb,
    ports::queue::{Finish, Jobs, Lease, Outcome},
};
use criterion::{Criterion, Throughput};
use tokio::{runtime::Runtime, task::JoinSet, time::Instant};

/// Jobs of the measured recovery.
const MANY: usize = 1_000_000;
/// Jobs of one call when a queue is filled: what the relay of the outbox moves.
const FILL: usize = 1_024;

/// So many tenants take turns where nothing else is said.
const TENANTS: usize = 16;

/// Makes jobs.
#[derive(Clone)]
struct Maker {
    ids: Ids,
    tenants: usize,
}

impl Maker {
    fn of(tenants: usize) -> Self {
        Self { ids: Ids::new(Clock::system()), tenants }
    }

    fn job(&self, number: usize) -> NewJob {
        NewJob {
            id: JobId(self.ids.next()),
            queue: Queue::Email,
            kind: String::from("send_mail"),
            tenant: Some(TenantId(Id::from_bytes([u8::try_from(number % self.tenants).unwrap() + 1; 16]))),
            payload: "x".repeat(1_024),
            priority: 0,
            run_at_ms: 0,
            title: String::from("A mail"),
            created_ms: 1,
            unique: None,
            after: Vec::new(),
        }
    }
}

struct Rig {
    runtime: Runtime,
    jobs: Jobs,
    maker: Maker,
    _folder: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let jobs = open(&folder.path().join("queue.redb"));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        Self { runtime, jobs, maker: Maker::of(TENANTS), _folder: folder }
    }
}

fn open(path: &Path) -> Jobs {
    Jobs::new(QueueRedb::open(path, Clock::system()).unwrap())
}

/// `callers` wait for one job each, again and again, until `total` are taken in.
async fn enqueue(jobs: &Jobs, maker: &Maker, callers: usize, total: u64) -> Duration {
    let share = usize::try_from(total).unwrap().div_ceil(callers);
    let start = Instant::now();
    let mut asked = JoinSet::new();
    for _ in 0..callers {
        let (jobs, maker) = (jobs.clone(), maker.clone());
        asked.spawn(async move {
            for number in 0..share {
                jobs.enqueue(vec![maker.job(number)]).await.unwrap();
            }
        });
    }
    asked.join_all().await;
    let took = start.elapsed();
    took.mul_f64(f64::from(u32::try_from(total).unwrap()) / f64::from(u32::try_from(share * callers).unwrap()))
}

async fn fill(jobs: &Jobs, maker: &Maker, total: usize) {
    for from in (0..total).step_by(FILL) {
        let batch = (from..total.min(from + FILL)).map(|number| maker.job(number)).collect();
        jobs.enqueue(batch).await.unwrap();
    }
}

/// Ends the batch before and claims the next in one call, until nothing is left.
async fn drain(jobs: &Jobs, batch: usize) -> Duration {
    let start = Instant::now();
    let mut finished = Vec::new();
    loop {
        let (_, leases) = jobs.next(Queue::Email, batch, finished).await.unwrap();
        if leases.is_empty() {
            return start.elapsed();
        }
        let done = |it: Lease| Finish { id: it.job.id, attempt: it.attempt, outcome: Outcome::Done };
        finished = black_box(leases).into_iter().map(done).collect();
    }
}

fn measure(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("queue");
    group.throughput(Throughput::Elements(1)).sample_size(10).measurement_time(Duration::from_secs(4));
    for callers in [1, 64] {
        let rig = Rig::new();
        group.bench_function(format!("enqueue, {callers} callers"), |bencher| {
            bencher.iter_custom(|total| rig.runtime.block_on(enqueue(&rig.jobs, &rig.maker, callers, total)));
        });
    }
    for batch in [64, 1_024] {
        let rig = Rig::new();
        group.bench_function(format!("drain, {batch} a batch"), |bencher| {
            bencher.iter_custom(|total| {
                rig.runtime.block_on(async {
                    // Whole batches, so that few rounds do not measure an empty one.
                    let whole = usize::try_from(total).unwrap().next_multiple_of(batch);
                    fill(&rig.jobs, &rig.maker, whole).await;
                    let took = drain(&rig.jobs, batch).await;
                    took.mul_f64(f64::from(u32::try_from(total).unwrap()) / f64::from(u32::try_from(whole).unwrap()))
                })
            });
        });
    }
    group.finish();
}

/// The process that dies: it never closes the file.
fn die(path: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (jobs, maker) = (open(path), Maker::of(TENANTS));
    let start = Instant::now();
    runtime.block_on(fill(&jobs, &maker, MANY));
    println!("{MANY} jobs enqueued, {FILL} a call: {:.0} jobs/s", 1e6 / start.elapsed().as_secs_f64());
    let running = runtime.block_on(jobs.next(Queue::Email, 1_000, Vec::new())).unwrap().1;
    println!("{} of them are running; the process dies", running.len());
    std::process::abort();
}

fn recovery() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = folder.path().join("queue.redb");
    let child = Command::new(std::env::current_exe().unwrap()).arg("die").arg(&path).status().unwrap();
    assert!(!child.success());
    let start = Instant::now();
    let jobs = open(&path);
    let opened = start.elapsed();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let leases = runtime.block_on(jobs.next(Queue::Email, 1_000, Vec::new())).unwrap().1;
    println!("opened after {opened:?}; the first {} leases after {:?}", leases.len(), start.elapsed());
    let depth = runtime.block_on(jobs.depths(None)).unwrap()[1];
    println!("{} waiting, {} running, {} bytes", depth.waiting, depth.running, std::fs::metadata(&path).unwrap().len());
}

/// One line of JSON: jobs a second in a queue that begins empty, for each way.
fn rates(place: &str, total: usize, tenants: usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (jobs, maker) = (reach(place), Maker::of(tenants));
    let count = u64::try_from(total).unwrap();
    let rate = |took: Duration, total: f64| (total / took.as_secs_f64()).round();
    let whole = f64::from(u32::try_from(total).unwrap());
    let mut found = serde_json::Map::new();
    runtime.block_on(async {
        // One caller waits for each job: a tenth of them says enough.
        found.insert("add_1".into(), rate(enqueue(&jobs, &maker, 1, count / 10).await, whole / 10.0).into());
        drain(&jobs, FILL).await;
        found.insert("add_64".into(), rate(enqueue(&jobs, &maker, 64, count).await, whole).into());
        found.insert("run_64".into(), rate(drain(&jobs, 64).await, whole).into());
        let start = Instant::now();
        fill(&jobs, &maker, total).await;
        found.insert("add_bulk".into(), rate(start.elapsed(), whole).into());
        found.insert("run_bulk".into(), rate(drain(&jobs, FILL).await, whole).into());
    });
    println!("{}", serde_json::Value::Object(found));
}

/// The queue in a file, or on a Redis that holds nothing else.
fn reach(place: &str) -> Jobs {
    #[cfg(feature = "redis")]
    if place.starts_with("redis://") {
        use chainhost::{
            base::secret::Secret,
            engines::redis::{QueueRedis, Wish},
        };
        return Jobs::new(
            QueueRedis::open(&Secret::new(place.to_owned()), &Wish::new("bench", Clock::system())).unwrap(),
        );
    }
    open(Path::new(place))
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["die", path] => die(&PathBuf::from(path)),
        ["fill", path, total, ..] => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(fill(&open(Path::new(path)), &Maker::of(TENANTS), total.parse().unwrap()));
        }
        ["rates", place, total, tenants, ..] => rates(place, total.parse().unwrap(), tenants.parse().unwrap()),
        words if words.contains(&"recovery") => recovery(),
        _ => {
            let mut criterion = Criterion::default().configure_from_args();
            measure(&mut criterion);
            criterion.final_summary();
        }
    }
}
