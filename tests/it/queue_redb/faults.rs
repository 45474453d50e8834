//! Full disks, failed syncs, files of other versions, a second process.

use std::{os::unix::fs::PermissionsExt as _, time::Duration};

use chainhost::{
    base::{clock::Clock, files, ids::Ids},
    domain::job::{JobId, NewJob, Queue, State},
    engines::queue_redb::QueueRedb,
    ports::queue::{Finish, Jobs, Lease, Outcome},
};
use redb::{Builder, TableDefinition};

use super::{FilePlace, MemoryDisk, on};

fn job(ids: &Ids, payload_bytes: usize) -> NewJob {
    NewJob {
        id: JobId(ids.next()),
        queue: Queue::Deploy,
        kind: String::from("test"),
        tenant: None,
        payload: "x".repeat(payload_bytes),
        priority: 0,
        run_at_ms: 0,
        title: String::new(),
        created_ms: 1,
        unique: None,
        after: Vec::new(),
    }
}

fn done(lease: &Lease) -> Finish {
    Finish { id: lease.job.id, attempt: lease.attempt, outcome: Outcome::Done }
}

fn start(disk: &MemoryDisk) -> (Jobs, Ids) {
    let (clock, _hands) = Clock::manual(1_790_000_000_000);
    let jobs = Jobs::new(QueueRedb::open_on(on(disk), clock.clone(), 1_000_000).unwrap());
    (jobs, Ids::new(clock))
}

/// No space: said so, nothing is lost, leases stay good, and it goes on when there is space again.
#[tokio::test]
async fn a_full_disk_is_survived() {
    let disk = MemoryDisk::default();
    let (jobs, ids) = start(&disk);
    let first = [job(&ids, 10), job(&ids, 10), job(&ids, 10)];
    jobs.enqueue(first.to_vec()).await.unwrap();
    let leases = jobs.next(Queue::Deploy, 2, Vec::new()).await.unwrap().1;
    disk.room(Some(0));
    let mut taken = Vec::new();
    let error = loop {
        let new = job(&ids, 60_000);
        match jobs.enqueue(vec![new.clone()]).await {
            Ok(_) => taken.push(new.id),
            Err(error) => break error,
        }
    };
    assert_eq!(error.code, "disk_full");
    let big: Vec<NewJob> = (0..200).map(|_| job(&ids, 60_000)).collect();
    assert_eq!(jobs.enqueue(big.clone()).await.unwrap_err().code, "disk_full");
    // What needs no more room is done meanwhile, with the lease of before.
    jobs.next(Queue::Deploy, 0, vec![done(&leases[0])]).await.unwrap().0.remove(0).unwrap();
    disk.room(None);
    assert_eq!(jobs.enqueue(big).await.unwrap(), 200);
    jobs.next(Queue::Deploy, 0, vec![done(&leases[1])]).await.unwrap().0.remove(0).unwrap();
    for id in taken {
        assert_eq!(jobs.get(id).await.unwrap().unwrap().state, State::Waiting);
    }
    let third = jobs.next(Queue::Deploy, 1, Vec::new()).await.unwrap().1.remove(0);
    assert_eq!((third.job.id, third.attempt), (first[2].id, 1));
    assert_eq!(jobs.depths(None).await.unwrap()[0].done, 2);
}

/// Leases that were to be given when the disk was full were given to nobody; those of before stay good.
#[tokio::test]
async fn leases_of_a_lost_commit_go_back() {
    let disk = MemoryDisk::default();
    let (jobs, ids) = start(&disk);
    let waiting: Vec<NewJob> = (0..9).map(|_| job(&ids, 500)).collect();
    jobs.enqueue(waiting.clone()).await.unwrap();
    let held = jobs.next(Queue::Deploy, 3, Vec::new()).await.unwrap().1;
    disk.no_space(true);
    for _ in 0..3 {
        let lost = jobs.next(Queue::Deploy, 4, vec![done(&held[0])]).await;
        assert_eq!(lost.unwrap_err().code, "disk_full");
    }
    disk.no_space(false);
    let (answers, leases) = jobs.next(Queue::Deploy, 9, held.iter().map(done).collect()).await.unwrap();
    assert!(answers.iter().all(Result::is_ok), "the leases of before are good");
    assert_eq!(
        leases.iter().map(|it| it.job.id).collect::<Vec<_>>(),
        waiting[3..].iter().map(|it| it.id).collect::<Vec<_>>()
    );
    let depth = jobs.depths(None).await.unwrap()[0];
    assert_eq!((depth.waiting, depth.running, depth.done), (0, 6, 3));
}

/// After a failed sync nobody knows what the disk holds: no second try, no more commands.
/// A job that ended and was leased again in a commit that was lost is still held by the lease of before.
#[tokio::test]
async fn a_lost_finish_may_be_repeated_also_when_its_job_was_leased_again_with_it() {
    let disk = MemoryDisk::default();
    let (jobs, ids) = start(&disk);
    jobs.enqueue(vec![job(&ids, 500)]).await.unwrap();
    let held = jobs.next(Queue::Deploy, 1, Vec::new()).await.unwrap().1.remove(0);
    let again = || {
        let outcome = Outcome::Retry { error: String::from("once more"), after_ms: Some(0) };
        vec![Finish { id: held.job.id, attempt: held.attempt, outcome }]
    };
    disk.no_space(true);
    assert_eq!(jobs.next(Queue::Deploy, 1, again()).await.unwrap_err().code, "disk_full");
    disk.no_space(false);
    let (answers, leases) = jobs.next(Queue::Deploy, 1, again()).await.unwrap();
    assert!(answers[0].is_ok(), "{answers:?}");
    assert_eq!((leases[0].job.id, leases[0].attempt), (held.job.id, held.attempt + 1));
}

/// What falls due on a full disk is found when there is space again, without anybody asking.
#[tokio::test]
async fn a_queue_that_was_full_goes_on_by_itself() {
    let disk = MemoryDisk::default();
    let (clock, hands) = Clock::manual(1_790_000_000_000);
    let jobs = Jobs::new(QueueRedb::open_on(on(&disk), clock.clone(), 1_000_000).unwrap());
    let ids = Ids::new(clock);
    jobs.enqueue(vec![NewJob { run_at_ms: 1_790_000_001_000, ..job(&ids, 10) }]).await.unwrap();
    disk.no_space(true);
    assert_eq!(jobs.enqueue(vec![job(&ids, 60_000)]).await.unwrap_err().code, "disk_full");
    hands.advance(2_000);
    // What was told before has been heard.
    while tokio::time::timeout(Duration::from_millis(50), jobs.ready(Queue::Deploy)).await.is_ok() {}
    disk.no_space(false);
    tokio::time::timeout(Duration::from_mins(1), jobs.ready(Queue::Deploy)).await.expect("nobody was woken");
}

#[tokio::test]
async fn a_failed_sync_ends_the_queue() {
    let disk = MemoryDisk::default();
    let (jobs, ids) = start(&disk);
    let kept = job(&ids, 10);
    jobs.enqueue(vec![kept.clone()]).await.unwrap();
    disk.sync_fails(true);
    let [one, two] = [job(&ids, 10), job(&ids, 10)];
    let (one, two) = tokio::join!(jobs.enqueue(vec![one]), jobs.enqueue(vec![two]));
    assert_eq!((one.unwrap_err().code, two.unwrap_err().code), ("queue_broken", "queue_broken"));
    disk.sync_fails(false);
    let syncs = disk.syncs();
    assert_eq!(jobs.get(kept.id).await.unwrap_err().code, "queue_broken");
    assert_eq!(jobs.next(Queue::Deploy, 1, Vec::new()).await.unwrap_err().code, "queue_broken");
    drop(jobs);
    assert_eq!(disk.syncs(), syncs, "the disk is left alone");
    let (jobs, _) = start(&disk);
    assert!(jobs.get(kept.id).await.unwrap().is_some());
}

/// Looking costs no commit, and all that wait share one.
#[tokio::test]
async fn commits_are_shared_and_reads_need_none() {
    let disk = MemoryDisk::default();
    let (jobs, ids) = start(&disk);
    let one = job(&ids, 10);
    let before = disk.syncs();
    jobs.enqueue(vec![one.clone()]).await.unwrap();
    let a_commit = disk.syncs() - before;
    let before = disk.syncs();
    jobs.get(one.id).await.unwrap();
    jobs.depths(None).await.unwrap();
    assert_eq!(jobs.enqueue(vec![one]).await.unwrap(), 0);
    assert!(jobs.next(Queue::Email, 9, Vec::new()).await.unwrap().1.is_empty());
    assert_eq!(disk.syncs(), before);
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let (jobs, new) = (jobs.clone(), job(&ids, 10));
        asked.spawn(async move { jobs.enqueue(vec![new]).await.unwrap() });
    }
    assert_eq!(asked.join_all().await.into_iter().sum::<u64>(), 200);
    assert!(disk.syncs() - before < 200 * a_commit / 2, "{} syncs", disk.syncs() - before);
}

/// After the engine is closed, callers hear that it has stopped.
#[tokio::test]
async fn a_closed_queue_says_so() {
    let disk = MemoryDisk::default();
    let (clock, _hands) = Clock::manual(1);
    let engine = QueueRedb::open_on(on(&disk), clock.clone(), 100).unwrap();
    let jobs = Jobs::new(std::sync::Arc::<QueueRedb>::clone(&engine));
    jobs.enqueue(vec![job(&Ids::new(clock), 1)]).await.unwrap();
    engine.close();
    engine.close();
    assert_eq!(jobs.depths(None).await.unwrap_err().code, "queue_stopped");
}

#[tokio::test]
async fn a_file_is_made_for_its_owner_alone_and_for_one_process() {
    let place = FilePlace::new();
    let path = place.path();
    let queue = QueueRedb::open(&path, Clock::system()).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(QueueRedb::open(&path, Clock::system()).unwrap_err().code, "queue_in_use");
    drop(queue);
    drop(QueueRedb::open(&path, Clock::system()).unwrap());
}

#[tokio::test]
async fn a_file_that_is_none_or_newer_is_refused() {
    let place = FilePlace::new();
    files::write_atomic(&place.path(), b"not a queue", 0o600).unwrap();
    assert_eq!(QueueRedb::open(&place.path(), Clock::system()).unwrap_err().code, "queue_unreadable");
    assert_eq!(std::fs::read(place.path()).unwrap(), b"not a queue", "left as it was");

    let place = FilePlace::new();
    drop(QueueRedb::open(&place.path(), Clock::system()).unwrap());
    let file = Builder::new().create(place.path()).unwrap();
    let transaction = file.begin_write().unwrap();
    let about: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("about");
    transaction.open_table(about).unwrap().insert("format", [3].as_slice()).unwrap();
    transaction.commit().unwrap();
    drop(file);
    let error = QueueRedb::open(&place.path(), Clock::system()).unwrap_err();
    assert_eq!(error.code, "queue_newer");
    assert!(error.message.contains("format 3"), "{error}");
}
