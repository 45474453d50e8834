//! What ties jobs to one another: keys, jobs that wait for others, rates, paused tenants; and how running ones are ended.

use std::pin::Pin;

use super::*;

type Drain<'j> = Pin<Box<dyn Future<Output = chainhost::domain::Result<()>> + 'j>>;

fn unique(rig: &Rig<'_>, number: u8, key: &str) -> NewJob {
    NewJob { tenant: tenant(number), unique: Some(key.to_owned()), ..rig.job(Queue::Deploy) }
}

fn after(rig: &Rig<'_>, awaited: &[JobId]) -> NewJob {
    NewJob { tenant: tenant(1), after: awaited.to_vec(), ..rig.job(Queue::Deploy) }
}

fn first(rig: &Rig<'_>) -> NewJob {
    after(rig, &[])
}

fn never() -> Outcome {
    Outcome::Cancel { error: String::from("never") }
}

/// While a job with a key has not ended, no other of its tenant and queue is taken; the id of that other is known then.
pub(super) async fn a_key_is_taken_once(place: &dyn Place) {
    let mut rig = Rig::new(place);
    let jobs = rig.jobs();
    let one = unique(&rig, 1, "build harbour");
    let two = unique(&rig, 1, "build harbour");
    assert_eq!(jobs.enqueue(vec![one.clone(), two.clone()]).await.unwrap(), 1);
    let elsewhere = NewJob { queue: Queue::Email, ..unique(&rig, 1, "build harbour") };
    let others =
        vec![unique(&rig, 2, "build harbour"), unique(&rig, 1, "build lamp"), elsewhere, rig.job(Queue::Deploy)];
    assert_eq!(jobs.enqueue(others).await.unwrap(), 4);
    drop(jobs);
    rig.restart();
    let jobs = rig.jobs();
    let three = unique(&rig, 1, "build harbour");
    assert_eq!(jobs.enqueue(vec![three]).await.unwrap(), 0, "waiting, also after a restart");
    let lease = rig.claim(Queue::Deploy, 9).await.into_iter().find(|it| it.job.id == one.id).unwrap();
    assert_eq!(lease.job, one);
    assert_eq!(jobs.enqueue(vec![unique(&rig, 1, "build harbour")]).await.unwrap(), 0, "running");
    rig.finish(&lease, retry(Some(9_000))).await.unwrap();
    assert_eq!(jobs.enqueue(vec![unique(&rig, 1, "build harbour")]).await.unwrap(), 0, "delayed");
    rig.hands.advance(9_000);
    let lease = rig.claim(Queue::Deploy, 1).await.remove(0);
    rig.finish(&lease, Outcome::Done).await.unwrap();
    assert_eq!(jobs.enqueue(vec![two]).await.unwrap(), 0, "this id has had its answer");
    assert_eq!(jobs.enqueue(vec![unique(&rig, 1, "build harbour")]).await.unwrap(), 1);
}

/// A cancelled and a dead job give their key back; a dead one is not started again beside the next.
pub(super) async fn a_key_comes_back(place: &dyn Place) {
    let rig = Rig::new(place);
    let jobs = rig.jobs();
    let one = unique(&rig, 1, "k");
    jobs.enqueue(vec![one.clone()]).await.unwrap();
    assert!(jobs.cancel(one.id).await.unwrap());
    let two = unique(&rig, 1, "k");
    assert_eq!(jobs.enqueue(vec![two.clone()]).await.unwrap(), 1);
    let lease = rig.claim(Queue::Deploy, 1).await.remove(0);
    rig.finish(&lease, never()).await.unwrap();
    let three = unique(&rig, 1, "k");
    assert_eq!(jobs.enqueue(vec![three]).await.unwrap(), 1);
    assert_eq!(code(jobs.rerun(two.id).await), "job_unique");
    assert_eq!(rig.state(two.id).await, Some(State::Failed));
    let lease = rig.claim(Queue::Deploy, 1).await.remove(0);
    rig.finish(&lease, Outcome::Done).await.unwrap();
    jobs.rerun(two.id).await.unwrap();
    assert_eq!(jobs.enqueue(vec![unique(&rig, 1, "k")]).await.unwrap(), 0, "it has its key again");
}

/// A job starts when all that it waits for have ended well.
pub(super) async fn a_job_waits_for_others(place: &dyn Place) {
    let mut rig = Rig::new(place);
    let (a, b) = (first(&rig), first(&rig));
    let c = after(&rig, &[a.id, b.id, a.id]);
    let d = NewJob { run_at_ms: START_MS + 5_000, ..after(&rig, &[c.id, JobId(rig.ids.next())]) };
    let free = after(&rig, &[JobId(rig.ids.next())]);
    let all = vec![a.clone(), b.clone(), c.clone(), d.clone(), free.clone()];
    assert_eq!(rig.jobs().enqueue(all).await.unwrap(), 5);
    rig.restart();
    assert_eq!(rig.state(c.id).await, Some(State::Delayed));
    assert_eq!(code(rig.jobs().rerun(c.id).await), "job_waits");
    let delayed = JobFilter { state: Some(State::Delayed), limit: 9, ..JobFilter::default() };
    assert_eq!(rig.jobs().list(delayed).await.unwrap().len(), 2);
    let leases = rig.claim(Queue::Deploy, 9).await;
    assert_eq!(
        leases.iter().map(|it| it.job.id).collect::<Vec<_>>(),
        [a.id, b.id, free.id],
        "unknown ones are no hindrance"
    );
    rig.finish(&leases[0], Outcome::Done).await.unwrap();
    rig.finish(&leases[1], retry(Some(0))).await.unwrap();
    let again = rig.claim(Queue::Deploy, 9).await;
    assert_eq!(again.iter().map(|it| it.job.id).collect::<Vec<_>>(), [b.id], "a retry is no end");
    rig.settle(Queue::Deploy).await;
    rig.finish(&again[0], Outcome::Done).await.unwrap();
    rig.woken(Queue::Deploy).await;
    let lease = rig.claim(Queue::Deploy, 9).await.remove(0);
    assert_eq!(lease.job, c);
    rig.finish(&lease, Outcome::Done).await.unwrap();
    assert!(rig.claim(Queue::Deploy, 9).await.is_empty(), "its time has not come");
    rig.hands.advance(5_000);
    assert_eq!(rig.claim_ids(Queue::Deploy, 9).await, [d.id]);
    let depth = rig.jobs().depths(tenant(1)).await.unwrap()[0];
    assert_eq!((depth.waiting, depth.delayed, depth.running, depth.done), (0, 0, 2, 3));
}

/// What dies or is cancelled takes with it all that waits for it, however long the chain.
pub(super) async fn those_that_wait_die_with_it(place: &dyn Place) {
    let rig = Rig::new(place);
    let jobs = rig.jobs();
    let mut chain = vec![first(&rig)];
    for at in 0..40 {
        let awaited = chain[at].id;
        chain.push(after(&rig, &[awaited]));
    }
    let other = first(&rig);
    let both = after(&rig, &[other.id, chain[3].id]);
    let kept = after(&rig, &[other.id]);
    let later = [other.clone(), both.clone(), kept.clone()];
    jobs.enqueue([chain.clone(), later.to_vec()].concat()).await.unwrap();
    let lease = rig.claim(Queue::Deploy, 1).await.remove(0);
    rig.finish(&lease, never()).await.unwrap();
    assert_eq!(jobs.depths(tenant(1)).await.unwrap()[0].failed, 42);
    for dead in [&chain[40], &both] {
        let job = jobs.get(dead.id).await.unwrap().unwrap();
        assert_eq!((job.state, job.attempt), (State::Failed, 0));
        assert!(job.error.unwrap().contains("that it waits for"));
    }
    // Who comes later to the dead is dead as well, and is started again after it.
    let late = after(&rig, &[chain[0].id]);
    jobs.enqueue(vec![late.clone()]).await.unwrap();
    assert_eq!(rig.state(late.id).await, Some(State::Failed));
    assert_eq!(code(jobs.rerun(late.id).await), "job_waits");
    jobs.rerun(chain[0].id).await.unwrap();
    jobs.rerun(late.id).await.unwrap();
    assert_eq!(rig.state(late.id).await, Some(State::Delayed));
    assert!(jobs.cancel(other.id).await.unwrap());
    assert_eq!(rig.state(kept.id).await, Some(State::Failed));
    let lease = rig.claim(Queue::Deploy, 9).await.remove(0);
    assert_eq!(lease.job.id, chain[0].id);
    rig.finish(&lease, Outcome::Done).await.unwrap();
    assert_eq!(rig.claim_ids(Queue::Deploy, 9).await, [late.id]);
    // One that no longer waits is not started by those that it waited for.
    let (awaited, gone) = (first(&rig), after(&rig, &[late.id]));
    jobs.enqueue(vec![awaited, gone.clone()]).await.unwrap();
    assert!(jobs.cancel(gone.id).await.unwrap());
    assert_eq!(rig.state(gone.id).await, None);
}

/// Nobody waits for another tenant's jobs, nor learns that there are any.
pub(super) async fn tenants_do_not_wait_for_one_another(place: &dyn Place) {
    let rig = Rig::new(place);
    let jobs = rig.jobs();
    let theirs = NewJob { tenant: tenant(2), ..rig.job(Queue::Deploy) };
    let mine = after(&rig, &[theirs.id]);
    assert_eq!(code(jobs.enqueue(vec![theirs.clone(), mine.clone()]).await), "job_after");
    assert_eq!(rig.state(theirs.id).await, None, "all or none");
    jobs.enqueue(vec![theirs]).await.unwrap();
    assert_eq!(code(jobs.enqueue(vec![mine]).await), "job_after");
}

/// Builds: five starts in any minute, also across a restart; others pass them, and their own order stays.
pub(super) async fn builds_start_at_a_rate(place: &dyn Place) {
    let mut rig = Rig::new(place);
    let build =
        |rig: &Rig<'_>, number| NewJob { kind: String::from(BUILD), tenant: tenant(number), ..rig.job(Queue::Deploy) };
    let builds: Vec<NewJob> = (0..12).map(|_| build(&rig, 1)).collect();
    let ids: Vec<JobId> = builds.iter().map(|it| it.id).collect();
    rig.jobs().enqueue(builds).await.unwrap();
    let plain = rig.fill(Queue::Deploy, tenant(1), 0, 2).await;
    assert_eq!(rig.claim_ids(Queue::Deploy, 3).await, ids[..3]);
    rig.hands.advance(20_000);
    let next = rig.claim_ids(Queue::Deploy, 9).await;
    assert_eq!(next, [ids[3], ids[4], plain[0], plain[1]]);
    let theirs = build(&rig, 2);
    rig.jobs().enqueue(vec![theirs.clone()]).await.unwrap();
    rig.restart();
    rig.hands.advance(39_999);
    assert_eq!(rig.claim_ids(Queue::Deploy, 9).await, plain, "released by the restart; the rate is used up");
    rig.settle(Queue::Deploy).await;
    rig.hands.advance(1);
    rig.jobs().depths(None).await.unwrap();
    rig.woken(Queue::Deploy).await;
    let next = rig.claim_ids(Queue::Deploy, 9).await;
    assert_eq!(next.len(), 3, "three are a minute ago, two are not");
    assert!(next.contains(&theirs.id), "tenants take turns in it, too");
    // A clock that was set back does not stop them for longer than a minute.
    rig.hands.advance(-DAY_MS);
    assert!(rig.claim(Queue::Deploy, 9).await.is_empty());
    rig.hands.advance(60_000);
    assert_eq!(rig.claim(Queue::Deploy, 9).await.len(), 5);
}

/// A rate that allows a start again wakes its queue without being asked.
pub(super) async fn a_rate_wakes_its_queue(place: &dyn Place) {
    let rig = Rig::new(place);
    let builds = (0..6).map(|_| NewJob { kind: String::from(BUILD), ..rig.job(Queue::Deploy) }).collect();
    rig.jobs().enqueue(builds).await.unwrap();
    // The engine sleeps by the clock of the machine: what is left of the minute must be short.
    rig.claim(Queue::Deploy, 5).await;
    rig.hands.advance(59_950);
    assert!(rig.claim(Queue::Deploy, 5).await.is_empty());
    rig.settle(Queue::Deploy).await;
    rig.hands.advance(50);
    rig.woken(Queue::Deploy).await;
    assert_eq!(rig.claim(Queue::Deploy, 5).await.len(), 1);
}

/// Clause 11: a paused tenant starts nothing, in no queue, also after a restart; nobody else is held up.
pub(super) async fn a_paused_tenant_starts_nothing(place: &dyn Place) {
    let mut rig = Rig::new(place);
    let mine = rig.fill(Queue::Deploy, tenant(1), 0, 3).await;
    let mail = rig.fill(Queue::Email, tenant(1), 0, 1).await;
    let running = rig.claim(Queue::Deploy, 1).await.remove(0);
    rig.jobs().pause_tenant(tenant(1).unwrap(), true).await.unwrap();
    let theirs = rig.fill(Queue::Deploy, tenant(2), 0, 1).await;
    assert_eq!(rig.claim_ids(Queue::Deploy, 9).await, theirs);
    assert!(rig.claim(Queue::Email, 9).await.is_empty());
    rig.finish(&running, Outcome::Release).await.unwrap();
    rig.restart();
    assert_eq!(rig.claim_ids(Queue::Deploy, 9).await, theirs, "given back by the restart");
    let late = rig.fill(Queue::Deploy, tenant(1), 5, 1).await;
    assert!(rig.claim(Queue::Deploy, 9).await.is_empty());
    let paused = async |whose| rig.jobs().depths(whose).await.unwrap().map(|it| it.tenant_paused);
    assert_eq!(paused(tenant(1)).await, [true; 4]);
    assert!(rig.jobs().depths(tenant(1)).await.unwrap().iter().all(|it| !it.paused), "no queue is");
    assert_eq!((paused(tenant(2)).await, paused(None).await), ([false; 4], [false; 4]));
    rig.settle(Queue::Deploy).await;
    rig.jobs().pause_tenant(tenant(1).unwrap(), false).await.unwrap();
    rig.woken(Queue::Deploy).await;
    assert_eq!(rig.claim_ids(Queue::Deploy, 9).await, [late, mine].concat());
    assert_eq!(rig.claim_ids(Queue::Email, 9).await, mail);
}

/// Clause 11: a drain stops the claims and answers when nothing runs.
pub(super) async fn a_drain_waits_for_what_runs(place: &dyn Place) {
    let rig = Rig::new(place);
    let jobs = rig.jobs();
    jobs.drain(Queue::Email).await.unwrap();
    assert!(jobs.depths(None).await.unwrap()[1].paused);
    rig.fill(Queue::Deploy, None, 0, 3).await;
    let leases = rig.claim(Queue::Deploy, 2).await;
    let mut drain: Drain<'_> = Box::pin(jobs.drain(Queue::Deploy));
    // Commands are taken in their order: whoever answers later than the drain was taken shows whether it waits.
    let waits = async |drain: &mut Drain<'_>| {
        tokio::select! {
            biased;
            _ = drain => false,
            depths = jobs.depths(None) => depths.unwrap()[0].paused,
        }
    };
    assert!(waits(&mut drain).await);
    rig.finish(&leases[0], Outcome::Done).await.unwrap();
    assert!(rig.claim(Queue::Deploy, 2).await.is_empty());
    assert!(waits(&mut drain).await);
    rig.finish(&leases[1], Outcome::Release).await.unwrap();
    timeout(DEADLINE, drain).await.expect("an answer").unwrap();
    assert_eq!(jobs.depths(None).await.unwrap()[0].waiting, 2);
    jobs.pause(Queue::Deploy, false).await.unwrap();
    rig.claim(Queue::Deploy, 1).await;
    let mut drain: Drain<'_> = Box::pin(jobs.drain(Queue::Deploy));
    assert!(waits(&mut drain).await);
    jobs.pause(Queue::Deploy, false).await.unwrap();
    assert_eq!(code(timeout(DEADLINE, drain).await.expect("an answer")), "queue_resumed");
}

/// Clause 9: a running job is told, and does not run again however its attempt ends.
pub(super) async fn a_running_job_is_told_of_its_cancel(place: &dyn Place) {
    let mut rig = Rig::new(place);
    let outcomes = [retry(Some(0)), Outcome::Snooze { after_ms: 0 }, Outcome::Release, never()];
    let ids = rig.fill(Queue::Email, tenant(1), 0, 6).await;
    let leases = rig.claim(Queue::Email, 6).await;
    for lease in &leases {
        assert!(!lease.cancelled.is_cancelled());
        assert!(!rig.jobs().cancel(lease.job.id).await.unwrap());
        timeout(DEADLINE, lease.cancelled.cancelled()).await.expect("a sign");
        assert_eq!(rig.state(lease.job.id).await, Some(State::Running), "it has its grace time");
    }
    for (lease, outcome) in leases.iter().zip(outcomes) {
        rig.finish(lease, outcome).await.unwrap();
        let job = rig.jobs().get(lease.job.id).await.unwrap().unwrap();
        assert_eq!((job.state, job.error.as_deref()), (State::Failed, Some("cancelled")));
    }
    rig.finish(&leases[4], Outcome::Done).await.unwrap();
    assert_eq!(rig.state(ids[4]).await, Some(State::Done), "it was done all the same");
    rig.restart();
    let job = rig.jobs().get(ids[5]).await.unwrap().unwrap();
    assert_eq!((job.state, job.error.as_deref()), (State::Failed, Some("cancelled")), "its worker died meanwhile");
    assert!(rig.claim(Queue::Email, 9).await.is_empty());
    // Whoever starts it again means it.
    rig.jobs().rerun(ids[0]).await.unwrap();
    let lease = rig.claim(Queue::Email, 9).await.remove(0);
    assert!(!lease.cancelled.is_cancelled());
    rig.finish(&lease, retry(Some(0))).await.unwrap();
    assert_eq!(rig.state(ids[0]).await, Some(State::Waiting));
}
