//! A Redis that throws things out, dies, and comes back without what it had.

use std::sync::Arc;

use chainhost::{
    base::{clock::Clock, ids::Ids, secret::Secret},
    domain::job::{JobId, Queue, State},
    engines::{redis::QueueRedis, schema, sqlite::Sqlite},
    params,
    ports::{
        db::Db,
        queue::{Finish, Jobs, Outcome},
    },
    services::Services,
    store,
};

use super::{Rig, until};
use crate::support::{ground::ground, redis::Server};

#[tokio::test]
async fn a_redis_that_throws_keys_out_is_refused_with_the_cure() {
    let server = Server::start(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]);
    let rig = Rig::on(&server);
    let refused = QueueRedis::open(&Secret::new(rig.url.clone()), &rig.wish("one")).unwrap_err();
    assert_eq!(refused.code, "queue_evicts");
    assert!(refused.message.contains("maxmemory-policy noeviction"), "{refused}");
}

/// What was acknowledged by a Redis that syncs always is there after it was killed, and the engine goes on by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_killed_under_load_loses_nothing_that_it_synced() {
    let mut server = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let rig = Rig::on(&server);
    let jobs = Jobs::new(rig.open("one").0);
    let mut kept: Vec<JobId> = Vec::new();
    for round in 0..3 {
        let mut asked = tokio::task::JoinSet::new();
        for _ in 0..200 {
            let (jobs, job) = (jobs.clone(), rig.job(Queue::Email, None));
            asked.spawn(async move { jobs.enqueue(vec![job.clone()]).await.ok().map(|_| job.id) });
        }
        let first = asked.join_next().await.unwrap().unwrap();
        server.kill();
        let answers = asked.join_all().await;
        kept.extend(answers.into_iter().chain([first]).flatten());
        server.go();
        until("it answers again", async || jobs.depths(None).await.is_ok()).await;
        for id in &kept {
            assert!(jobs.get(*id).await.unwrap().is_some(), "{id} was acknowledged in round {round} or before");
        }
    }
    println!("{} of 600 were acknowledged", kept.len());
    assert!(!kept.is_empty());
    // And each runs once.
    let mut ran = std::collections::HashSet::new();
    loop {
        let (_, leases) = jobs.next(Queue::Email, 50, Vec::new()).await.unwrap();
        if leases.is_empty() {
            break;
        }
        let finished: Vec<Finish> =
            leases.iter().map(|it| Finish { id: it.job.id, attempt: it.attempt, outcome: Outcome::Done }).collect();
        assert!(leases.iter().all(|it| ran.insert(it.job.id)), "leased twice");
        let (answers, _) = jobs.next(Queue::Email, 0, finished).await.unwrap();
        assert!(answers.iter().all(Result::is_ok));
    }
    assert!(kept.iter().all(|it| ran.contains(it)));
}

/// Rows stay in the outbox until their jobs have ended, and what a Redis has lost is handed over again.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_redis_has_lost_comes_back_from_the_outbox() {
    let mut server = Server::start(&["--appendonly", "yes"]);
    let rig = Rig::on(&server);
    let folder = tempfile::tempdir().unwrap();
    let db = Db::new(Sqlite::open(&folder.path().join("db"), schema::SQLITE).unwrap());
    let (engine, _) = rig.open("one");
    let jobs = Jobs::new(Arc::<QueueRedis>::clone(&engine));
    let services = Services::new(ground(folder.path(), db, jobs.clone(), Clock::system()));
    let ids = Ids::new(Clock::system());
    let mut all = Vec::new();
    for _ in 0..20 {
        let job = chainhost::domain::job::NewJob { id: JobId(ids.next()), ..rig.job(Queue::Email, None) };
        all.push(job.id);
        services.db.write(move |tx| store::outbox::enqueue(tx, &job)).await.unwrap();
    }
    assert_eq!(services.relay_outbox().await.unwrap(), 20);
    let rows = async || {
        let count = services.db.read(|tx| tx.one("SELECT COUNT(*) FROM outbox", params![])?.int(0));
        count.await.unwrap()
    };
    assert_eq!(rows().await, 20, "they stay until their jobs have ended");
    let lease = jobs.next(Queue::Email, 1, Vec::new()).await.unwrap().1.remove(0);
    let finished = vec![Finish { id: lease.job.id, attempt: lease.attempt, outcome: Outcome::Done }];
    jobs.next(Queue::Email, 0, finished).await.unwrap();
    assert_eq!(services.reconcile_outbox().await.unwrap(), 0);
    assert_eq!(rows().await, 19);
    // It dies, and its files are gone.
    server.kill();
    std::fs::remove_dir_all(server.folder.join("appendonlydir")).unwrap();
    server.go();
    until("it answers again", async || jobs.depths(None).await.is_ok()).await;
    let known = async || {
        let mut known = 0;
        for id in &all {
            known += usize::from(jobs.get(*id).await.unwrap().is_some_and(|it| it.state == State::Waiting));
        }
        known
    };
    assert_eq!(known().await, 0);
    assert_eq!(services.reconcile_outbox().await.unwrap(), 19);
    assert_eq!(services.relay_outbox().await.unwrap(), 19);
    assert_eq!(known().await, 19, "all but the one that has ended");
}
