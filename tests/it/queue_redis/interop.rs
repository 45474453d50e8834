//! Programs of others on our queues: BullMQ's worker and queue, and Bull Board, as Node runs them.

use std::{
    collections::HashSet,
    path::Path,
    process::{Child, Command, Stdio},
};

use chainhost::{
    domain::job::{JobId, NewJob, Queue, State},
    ports::queue::{Finish, JobFilter, Jobs, Outcome},
};
use serde_json::{Value, json};

use super::{DEADLINE, Rig, tenant, until};
use crate::support::redis;

/// Starts Node with one act on a queue of these keys.
fn start(rig: &Rig, act: &str, queue: Queue, more: &str) -> Child {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bullmq");
    assert!(tools.join("node_modules/bullmq").is_dir(), "run `npm ci` in tests/bullmq, as tests/run does");
    let mut command = Command::new("node");
    command.arg(tools.join("client.mjs")).args([act, &redis::shared().url(), &rig.prefix, queue.word(), more]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What it printed in the end.
fn said(child: Child) -> Value {
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

fn run(rig: &Rig, act: &str, queue: Queue, more: &str) -> Value {
    said(start(rig, act, queue, more))
}

/// A worker of BullMQ runs what we have queued; we see how its jobs have ended, and run none of them again.
#[tokio::test]
async fn a_worker_of_bullmq_drains_our_queue() {
    let rig = Rig::new();
    let (engine, now_ms) = rig.open("one");
    let jobs = Jobs::new(engine);
    let mut new: Vec<NewJob> = (0..20).map(|n| rig.job(Queue::Deploy, tenant(1 + n % 2))).collect();
    new[3].run_at_ms = now_ms + 500;
    new[4].priority = 50;
    new[5].kind = String::from("flaky");
    new[6].unique = Some(String::from("only one"));
    new[7].after = vec![new[5].id];
    // Both are of the same tenant.
    assert_eq!(new[5].tenant, new[7].tenant);
    assert_eq!(jobs.enqueue(new.clone()).await.unwrap(), 20);
    // The flaky one waits five seconds for its second attempt, as its options say; the one behind it waits for us.
    let ended = run(&rig, "drain", Queue::Deploy, "20");
    let ids: HashSet<String> =
        ended.as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, new.iter().map(|it| it.id.to_string()).collect());
    assert_eq!(ended[0]["data"], json!({ "n": 1 }));
    for job in &new {
        let done = async || jobs.get(job.id).await.unwrap().is_some_and(|it| it.state == State::Done);
        until("the end of a job that BullMQ ran", done).await;
    }
    assert!(jobs.next(Queue::Deploy, 50, Vec::new()).await.unwrap().1.is_empty());
    let all = jobs.depths(None).await.unwrap()[0];
    assert_eq!((all.waiting, all.delayed, all.running, all.done, all.failed), (0, 0, 0, 20, 0));
    let mine = jobs.depths(tenant(1)).await.unwrap()[0];
    assert_eq!((mine.waiting, mine.delayed, mine.running, mine.done, mine.failed), (0, 0, 0, 10, 0));
    assert_eq!(jobs.enqueue(new.clone()).await.unwrap(), 0, "its ids are known");
    let again = NewJob { unique: Some(String::from("only one")), ..rig.job(Queue::Deploy, new[6].tenant) };
    assert_eq!(jobs.enqueue(vec![again]).await.unwrap(), 1, "the key was given back");
}

/// A job that we have given back, and that a worker of BullMQ runs now, stays with it when we come again.
#[tokio::test]
async fn a_job_that_a_worker_of_bullmq_has_after_us_stays_with_it() {
    let rig = Rig::new();
    let job = rig.job(Queue::Email, tenant(1));
    {
        let jobs = Jobs::new(rig.open("one").0);
        jobs.enqueue(vec![job.clone()]).await.unwrap();
        let (_, leases) = jobs.next(Queue::Email, 1, Vec::new()).await.unwrap();
        let finished = vec![Finish { id: job.id, attempt: leases[0].attempt, outcome: Outcome::Release }];
        jobs.next(Queue::Email, 0, finished).await.unwrap().0.remove(0).unwrap();
    }
    let other = Jobs::new(rig.open("two").0);
    let child = start(&rig, "hold", Queue::Email, "");
    let state = async || other.get(job.id).await.unwrap().map(|it| it.state);
    until("the worker of BullMQ", async || state().await == Some(State::Running)).await;
    let again = Jobs::new(rig.open("one").0);
    assert!(again.next(Queue::Email, 9, Vec::new()).await.unwrap().1.is_empty());
    let found = again.get(job.id).await.unwrap().unwrap();
    assert_eq!((found.state, found.deaths), (State::Running, 0));
    redis::shared().ask(&["SET", &format!("{}:let-go", rig.prefix), "1"]);
    assert_eq!(said(child), json!({ "id": job.id.to_string(), "times": 1 }));
    until("its end", async || state().await == Some(State::Done)).await;
}

/// We run what a client of BullMQ has queued, and it hears of the ends.
#[tokio::test]
async fn our_worker_runs_jobs_of_bullmq() {
    let rig = Rig::new();
    let (engine, _) = rig.open("one");
    let jobs = Jobs::new(engine);
    let child = start(&rig, "fill", Queue::Deploy, "");
    let mut seen = Vec::new();
    while seen.len() < 6 {
        let (_, leases) = jobs.next(Queue::Deploy, 4, Vec::new()).await.unwrap();
        if leases.is_empty() {
            tokio::time::timeout(DEADLINE, jobs.ready(Queue::Deploy)).await.expect("a wake-up");
        }
        for lease in leases {
            assert_eq!((lease.job.tenant, lease.attempt), (None, 1));
            seen.push((lease.job.kind.clone(), lease.job.payload.clone()));
            let finished = vec![Finish { id: lease.job.id, attempt: lease.attempt, outcome: Outcome::Done }];
            jobs.next(Queue::Deploy, 0, finished).await.unwrap().0.remove(0).unwrap();
        }
    }
    let said = said(child);
    assert_eq!(said["states"], json!(vec!["completed"; 6]));
    seen.sort();
    let expected = [("bulk", 5), ("bulk", 6), ("late", 3), ("named", 4), ("plain", 1), ("urgent", 2)];
    assert_eq!(seen, expected.map(|(kind, n)| (kind.to_owned(), format!("{{\"n\":{n}}}"))));
    let done = JobFilter { state: Some(State::Done), limit: 50, ..JobFilter::default() };
    assert_eq!(jobs.list(done).await.unwrap().len(), 6);
}

/// Bull Board counts our jobs, and shows each in its state.
#[tokio::test]
async fn bull_board_shows_our_jobs() {
    let rig = Rig::new();
    let (engine, now_ms) = rig.open("one");
    let jobs = Jobs::new(engine);
    let new: Vec<NewJob> = (0..6).map(|_| rig.job(Queue::Deploy, tenant(1))).collect();
    let late = NewJob { run_at_ms: now_ms + 3_600_000, ..rig.job(Queue::Deploy, None) };
    let behind = NewJob { after: vec![late.id], ..rig.job(Queue::Deploy, None) };
    jobs.enqueue([new.as_slice(), &[late.clone(), behind.clone()]].concat()).await.unwrap();
    let (_, leases) = jobs.next(Queue::Deploy, 3, Vec::new()).await.unwrap();
    jobs.progress(leases[2].job.id, 1, 40).await.unwrap();
    let end = |at: usize, outcome| Finish { id: leases[at].job.id, attempt: 1, outcome };
    let error = String::from("it rained");
    jobs.next(Queue::Deploy, 0, vec![end(0, Outcome::Done), end(1, Outcome::Cancel { error })]).await.unwrap();
    jobs.pause(Queue::Deploy, true).await.unwrap();
    let shown = run(&rig, "board", Queue::Deploy, "");
    let counts = &shown["counts"];
    let found =
        ["prioritized", "active", "completed", "failed", "delayed", "waiting-children"].map(|it| counts[it].as_u64());
    assert_eq!(found, [3, 1, 1, 1, 1, 1].map(Some), "{counts}");
    assert_eq!(shown["paused"], true);
    let first = |state: &str| shown[state][0].clone();
    assert_eq!(first("completed")["id"], leases[0].job.id.to_string());
    assert_eq!(first("failed")["failedReason"], "it rained");
    assert_eq!(
        (&first("active")["id"], &first("active")["progress"]),
        (&json!(leases[2].job.id.to_string()), &json!(40))
    );
    assert_eq!(first("delayed")["id"], late.id.to_string());
    assert_eq!(first("waiting-children")["id"], behind.id.to_string());
    let waiting = first("prioritized");
    assert_eq!((&waiting["name"], &waiting["data"]), (&json!("test"), &json!({ "n": 1 })));
    assert_eq!(waiting["timestamp"], json!(new[5].created_ms));
}

/// A pause with a dashboard holds for us, its end wakes us; a job that it removed does not start, and its id is known.
#[tokio::test]
async fn what_a_dashboard_does_holds() {
    let rig = Rig::new();
    let (engine, _) = rig.open("one");
    let jobs = Jobs::new(engine);
    let new: Vec<NewJob> = (0..3).map(|_| rig.job(Queue::Backup, tenant(1))).collect();
    jobs.enqueue(new.clone()).await.unwrap();
    run(&rig, "pause", Queue::Backup, "");
    assert!(jobs.next(Queue::Backup, 1, Vec::new()).await.unwrap().1.is_empty());
    assert!(jobs.depths(None).await.unwrap()[3].paused);
    run(&rig, "remove", Queue::Backup, &new[0].id.to_string());
    run(&rig, "resume", Queue::Backup, "");
    let mut started = Vec::new();
    while started.len() < 2 {
        let (_, leases) = jobs.next(Queue::Backup, 1, Vec::new()).await.unwrap();
        if leases.is_empty() {
            tokio::time::timeout(DEADLINE, jobs.ready(Queue::Backup)).await.expect("a wake-up");
        }
        for lease in leases {
            started.push(lease.job.id);
            let finished = vec![Finish { id: lease.job.id, attempt: lease.attempt, outcome: Outcome::Done }];
            jobs.next(Queue::Backup, 0, finished).await.unwrap();
        }
    }
    assert_eq!(started, new[1..].iter().map(|it| it.id).collect::<Vec<JobId>>());
    assert_eq!(jobs.enqueue(new).await.unwrap(), 0);
    let mine = jobs.depths(tenant(1)).await.unwrap()[3];
    assert_eq!((mine.waiting, mine.running, mine.done), (0, 0, 2));
}

/// Jobs that another program removes are gone for us, too: those behind them die, and the counts are true.
#[tokio::test]
async fn what_others_remove_is_gone() {
    let rig = Rig::new();
    let (engine, now_ms) = rig.open("one");
    let jobs = Jobs::new(engine);
    for act in ["remove", "clean"] {
        let late = NewJob { run_at_ms: now_ms + 3_600_000, ..rig.job(Queue::Deploy, tenant(1)) };
        let behind = NewJob { after: vec![late.id], ..rig.job(Queue::Deploy, tenant(1)) };
        jobs.enqueue(vec![late.clone(), behind.clone()]).await.unwrap();
        run(&rig, act, Queue::Deploy, &late.id.to_string());
        let state = async || jobs.get(behind.id).await.unwrap().map(|it| it.state);
        until("the end of the one behind", async || state().await == Some(State::Failed)).await;
        assert!(jobs.get(late.id).await.unwrap().is_none());
        let counts = jobs.depths(tenant(1)).await.unwrap()[0];
        assert_eq!((counts.waiting, counts.delayed, counts.failed), (0, 0, if act == "remove" { 1 } else { 2 }));
        assert_eq!(jobs.enqueue(vec![late]).await.unwrap(), 0, "its id is known");
    }
}

/// Jobs of another program whose fields make no sense do not keep others from starting.
#[tokio::test]
async fn odd_jobs_of_others_are_in_nobodys_way() {
    let rig = Rig::new();
    let jobs = Jobs::new(rig.open("one").0);
    let fields: [&[&str]; 4] = [
        &["name", "late", "timestamp", "soon", "data", "{}"],
        &["timestamp", "1", "data", "no JSON {"],
        &["name", "far", "timestamp", "1e300", "priority", "1e300"],
        &["name", "bare", "timestamp", "-7", "priority", "nan"],
    ];
    for (number, fields) in fields.iter().enumerate() {
        let key = format!("{}:email:odd-{number}", rig.prefix);
        redis::shared().ask(&[&["HSET", &key], *fields].concat());
        redis::shared().ask(&["LPUSH", &format!("{}:email:wait", rig.prefix), &format!("odd-{number}")]);
    }
    let good = rig.job(Queue::Email, tenant(1));
    jobs.enqueue(vec![good.clone()]).await.unwrap();
    let mut seen = Vec::new();
    until("all five", async || {
        let (_, leases) = jobs.next(Queue::Email, 9, Vec::new()).await.unwrap();
        for lease in leases {
            let finished = vec![Finish { id: lease.job.id, attempt: lease.attempt, outcome: Outcome::Done }];
            assert!(jobs.next(Queue::Email, 0, finished).await.unwrap().0[0].is_ok());
            seen.push(lease.job);
        }
        seen.len() == 5
    })
    .await;
    assert!(seen.contains(&good));
    let mut kinds: Vec<&str> = seen.iter().map(|it| it.kind.as_str()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["", "bare", "far", "late", "test"]);
    assert_eq!(jobs.list(JobFilter { limit: 9, ..JobFilter::default() }).await.unwrap().len(), 5);
}
