//! Power cuts at any call of any commit: what was acknowledged is there afterwards, and nothing ends twice.

use std::collections::{HashMap, HashSet};

use chainhost::{
    base::{
        clock::Clock,
        ids::{Id, Ids},
    },
    domain::{
        Result,
        job::{JobId, NewJob, Queue, State},
        tenant::TenantId,
    },
    engines::queue_redb::QueueRedb,
    ports::queue::{Finish, JobFilter, Jobs, Lease, Outcome},
};

use super::{MemoryDisk, disk::Dice, on};

/// Disks that live through several cuts each.
const DISKS: u64 = 20;
/// Power cuts of one disk.
const CUTS: u64 = 8;

/// What the callers were told.
#[derive(Default)]
struct Told {
    enqueued: HashSet<JobId>,
    finished: HashSet<JobId>,
    /// Ends that were asked for and not answered: either way is right.
    perhaps: HashSet<JobId>,
    /// The attempt of the last lease.
    attempts: HashMap<JobId, u32>,
    deaths: HashMap<JobId, u32>,
}

async fn check(jobs: &Jobs, told: &Told) {
    for id in &told.enqueued {
        let job = jobs.get(*id).await.unwrap().unwrap_or_else(|| panic!("the acknowledged job {id} is lost"));
        assert!(job.attempt >= told.attempts.get(id).copied().unwrap_or(0), "a lease was given before it was durable");
        if told.finished.contains(id) {
            assert_eq!(job.state, State::Done, "an acknowledged end is lost");
        } else {
            let may = match job.state {
                State::Waiting => true,
                State::Done => told.perhaps.contains(id),
                State::Failed => job.deaths == 3 && told.deaths.get(id).is_some_and(|it| *it >= 3),
                State::Running | State::Delayed => false,
            };
            assert!(may, "{:?} after a cut", job.state);
        }
    }
    // The counts say what the lists say.
    let depth = jobs.depths(None).await.unwrap()[1];
    for (state, count) in [(State::Waiting, depth.waiting), (State::Done, depth.done), (State::Failed, depth.failed)] {
        let mut found = 0;
        let mut after = None;
        loop {
            let filter = JobFilter { state: Some(state), limit: 200, after, ..JobFilter::default() };
            let page = jobs.list(filter).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.new.id);
            found += u64::try_from(page.len()).unwrap();
        }
        assert_eq!(found, count, "{state:?}");
    }
}

/// Works until the power fails.
async fn work(jobs: &Jobs, ids: &Ids, told: &mut Told, dice: &mut Dice) {
    let mut leases: Vec<Lease> = Vec::new();
    loop {
        let tried = if dice.below(3) == 0 {
            enqueue_some(jobs, ids, told, dice).await
        } else {
            work_some(jobs, &mut leases, told, dice).await
        };
        if let Err(error) = tried {
            assert_eq!(error.code, "queue_broken");
            break;
        }
    }
}

async fn enqueue_some(jobs: &Jobs, ids: &Ids, told: &mut Told, dice: &mut Dice) -> Result<()> {
    let new: Vec<NewJob> = (0..=dice.below(6)).map(|_| new_job(ids, dice)).collect();
    let new_ids: Vec<JobId> = new.iter().map(|it| it.id).collect();
    jobs.enqueue(new).await?;
    told.enqueued.extend(new_ids);
    Ok(())
}

async fn work_some(jobs: &Jobs, leases: &mut Vec<Lease>, told: &mut Told, dice: &mut Dice) -> Result<()> {
    let count = usize::try_from(dice.below(4)).unwrap().min(leases.len());
    let ending: Vec<Lease> = leases.drain(..count).collect();
    let finish = |it: &Lease| Finish { id: it.job.id, attempt: it.attempt, outcome: Outcome::Done };
    let take = usize::try_from(dice.below(4)).unwrap();
    let asked = jobs.next(Queue::Email, take, ending.iter().map(finish).collect()).await;
    if asked.is_err() {
        told.perhaps.extend(ending.iter().map(|it| it.job.id));
    }
    let (answers, new) = asked?;
    for (answer, lease) in answers.into_iter().zip(ending) {
        answer.expect("a lease that is held");
        told.finished.insert(lease.job.id);
    }
    for lease in &new {
        assert!(!told.finished.contains(&lease.job.id), "leased after its end");
        told.attempts.insert(lease.job.id, lease.attempt);
    }
    leases.extend(new);
    Ok(())
}

fn new_job(ids: &Ids, dice: &mut Dice) -> NewJob {
    let tenant = u8::try_from(dice.below(3)).unwrap();
    NewJob {
        id: JobId(ids.next()),
        queue: Queue::Email,
        kind: String::from("test"),
        tenant: (tenant > 0).then_some(TenantId(Id::from_bytes([tenant; 16]))),
        payload: "p".repeat(usize::try_from(dice.below(900)).unwrap()),
        priority: 0,
        run_at_ms: 0,
        title: String::new(),
        created_ms: 1,
        unique: None,
        after: Vec::new(),
    }
}

#[tokio::test]
async fn what_is_acknowledged_survives_power_cuts() {
    let (clock, _hands) = Clock::manual(1_790_000_000_000);
    let ids = Ids::new(clock.clone());
    let (mut cuts, mut enqueued, mut finished) = (0, 0, 0);
    for seed in 1..=DISKS {
        let mut dice = Dice::new(seed);
        let mut disk = MemoryDisk::default();
        let mut told = Told::default();
        for _ in 0..CUTS {
            let engine = QueueRedb::open_on(on(&disk), clock.clone(), 1_000_000).unwrap();
            let jobs = Jobs::new(engine);
            check(&jobs, &told).await;
            disk.fail_after(1 + dice.below(600));
            work(&jobs, &ids, &mut told, &mut dice).await;
            drop(jobs);
            disk = disk.after_power_cut(&mut dice);
            // Nobody knows who worked on what: each job that has not ended may have lost a worker.
            for id in &told.enqueued {
                *told.deaths.entry(*id).or_default() += 1;
            }
            cuts += 1;
        }
        let jobs = Jobs::new(QueueRedb::open_on(on(&disk), clock.clone(), 1_000_000).unwrap());
        check(&jobs, &told).await;
        enqueued += told.enqueued.len();
        finished += told.finished.len();
    }
    assert!(cuts >= 100 && enqueued > 1_000 && finished > 500, "{cuts} cuts, {enqueued} jobs, {finished} ended");
}

/// A power cut during the opening itself: the file is whole again at the next one.
#[tokio::test]
async fn an_opening_may_be_cut_short() {
    let (clock, _hands) = Clock::manual(1);
    let ids = Ids::new(clock.clone());
    let mut dice = Dice::new(77);
    let mut disk = MemoryDisk::default();
    let jobs = Jobs::new(QueueRedb::open_on(on(&disk), clock.clone(), 100).unwrap());
    let job = new_job(&ids, &mut dice);
    jobs.enqueue(vec![job.clone()]).await.unwrap();
    assert_eq!(jobs.next(Queue::Email, 1, Vec::new()).await.unwrap().1.len(), 1);
    disk.fail_after(0);
    drop(jobs);
    disk = disk.after_power_cut(&mut dice);
    let mut deaths = 0;
    for calls in 1..60 {
        disk.fail_after(calls);
        let opened = QueueRedb::open_on(on(&disk), clock.clone(), 100);
        deaths += u32::from(opened.is_ok());
        drop(opened);
        disk = disk.after_power_cut(&mut dice);
    }
    assert!(deaths > 0, "some openings got through");
    let jobs = Jobs::new(QueueRedb::open_on(on(&disk), clock, 100).unwrap());
    let found = jobs.get(job.id).await.unwrap().unwrap();
    assert_eq!((found.state, found.deaths), (State::Waiting, 1), "only a worker that had begun can die");
}
