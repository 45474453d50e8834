//! A Redis that throws things out, dies, and comes back without what it had.

use std::{collections::BTreeSet, sync::Arc};

use chainhost::{
    base::{clock::Clock, ids::Ids, secret::Secret},
    domain::job::{JobId, NewJob, Queue, State},
    engines::{
        redis::{QueueRedis, Wish},
        schema,
        sqlite::Sqlite,
    },
    params,
    ports::{
        db::Db,
        queue::{Fate, Finish, Jobs, Outcome},
    },
    services::Services,
    store,
};

use tokio::task::JoinSet;

use super::{Rig, tenant, until};
use crate::support::{Host, ground::ground, read_files, redis::Server};

#[tokio::test]
async fn a_redis_that_throws_keys_out_is_refused_with_the_cure() {
    let server = Server::start(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]);
    let rig = Rig::on(&server);
    let refused = QueueRedis::open(&Secret::new(rig.url.clone()), &rig.wish("one")).unwrap_err();
    assert_eq!(refused.code, "queue_evicts");
    assert!(refused.message.contains("maxmemory-policy noeviction"), "{refused}");
}

/// A Redis that begins to throw things out while it is used is left, and used again once that is mended.
#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_begins_to_throw_keys_out_is_left_until_that_is_mended() {
    let server = Server::start(&[]);
    let rig = Rig::on(&server);
    let jobs = Jobs::new(rig.open("one").0);
    jobs.enqueue(vec![rig.job(Queue::Email, None)]).await.unwrap();
    server.ask(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    until("the queue to stop", async || jobs.depths(None).await.is_err_and(|it| it.code == "queue_evicts")).await;
    assert!(!jobs.is_up());
    let refused = jobs.enqueue(vec![rig.job(Queue::Email, None)]).await.unwrap_err();
    assert!(refused.message.contains("maxmemory-policy noeviction"), "{refused}");
    server.ask(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    until("the queue to go on", async || jobs.depths(None).await.is_ok_and(|it| it[1].waiting == 1)).await;
    assert!(jobs.is_up());
}

/// A Redis that takes no changes says why, and nothing is half done; it is used again once it takes them.
#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_takes_no_changes_says_why() {
    let server = Server::start(&[]);
    let rig = Rig::on(&server);
    let jobs = Jobs::new(rig.open("one").0);
    let (one, two) = (rig.job(Queue::Email, tenant(1)), rig.job(Queue::Email, tenant(1)));
    jobs.enqueue(vec![one.clone()]).await.unwrap();
    let lease = jobs.next(Queue::Email, 1, Vec::new()).await.unwrap().1.remove(0);
    server.ask(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    let done = vec![Finish { id: lease.job.id, attempt: lease.attempt, outcome: Outcome::Done }];
    assert_eq!(jobs.enqueue(vec![two.clone()]).await.unwrap_err().code, "queue_replicas");
    assert_eq!(jobs.next(Queue::Email, 1, done.clone()).await.unwrap_err().code, "queue_replicas");
    server.ask(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    let depth = jobs.depths(tenant(1)).await.unwrap()[1];
    assert_eq!((depth.waiting, depth.running, depth.done), (0, 1, 0));
    assert_eq!(jobs.enqueue(vec![two.clone()]).await.unwrap(), 1);
    let (ended, leases) = jobs.next(Queue::Email, 1, done).await.unwrap();
    assert!(ended[0].is_ok() && leases[0].job == two);
}

/// What a Redis refuses is known before anybody wants a change: who looks after the server hears of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_takes_no_changes_is_told_to_who_looks() {
    let server = Server::start(&[]);
    let rig = Rig::on(&server);
    let jobs = Jobs::new(rig.open("one").0);
    assert!(jobs.health().is_ok());
    for (setting, bad, good, code) in
        [("min-replicas-to-write", "1", "0", "queue_replicas"), ("maxmemory", "1", "0", "queue_full")]
    {
        server.ask(&["CONFIG", "SET", setting, bad]);
        until("the trouble", async || jobs.health().is_err_and(|it| it.code == code)).await;
        let seen = jobs.depths(None).await.map(drop);
        assert!(jobs.is_up(), "{setting}: {seen:?}");
        server.ask(&["CONFIG", "SET", setting, good]);
        until("its end", async || jobs.health().is_ok()).await;
    }
    std::fs::remove_dir_all(&server.folder).unwrap();
    server.ask(&["CONFIG", "SET", "save", "3600 1"]);
    server.ask(&["BGSAVE"]);
    until("the disk to be missed", async || jobs.health().is_err_and(|it| it.code == "queue_disk")).await;
    server.ask(&["CONFIG", "SET", "stop-writes-on-bgsave-error", "no"]);
    until("its end", async || jobs.health().is_ok()).await;
    server.ask(&["REPLICAOF", "127.0.0.1", "1"]);
    until("the replica to be left", async || jobs.health().is_err_and(|it| it.code == "queue_unreachable")).await;
    server.ask(&["REPLICAOF", "NO", "ONE"]);
    until("the master", async || jobs.health().is_ok()).await;
}

/// The same from outside: a balancer, or whoever watches the server, asks `/healthz`.
#[test]
fn health_tells_of_a_redis_that_takes_no_changes() {
    let server = Server::start(&[]);
    let host = Host::start_as(&[("CHAINHOST_REDIS_QUEUE_URL", server.url())], &[]);
    let health = || host.get("localhost", "/healthz").json();
    let tells = |word: &str| host.until(word, || (health()["queue"] == word).then_some(()));
    tells("ok");
    // What this one lacks is told with what lasts, too.
    let told = host.log();
    assert!(told.contains("CONFIG SET appendonly yes") && told.contains("CONFIG REWRITE"), "{told}");
    server.ask(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    tells("queue_replicas");
    assert_eq!((&health()["sites"], &health()["control"]), (&"ok".into(), &"ok".into()));
    server.ask(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    tells("ok");
}

/// The commands that the scripts call, from their text.
fn commands() -> BTreeSet<String> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/engines/redis/queue/scripts");
    let mut found = BTreeSet::new();
    for (name, text) in read_files(&folder) {
        if name.ends_with("rights.lua") {
            continue;
        }
        let text = String::from_utf8(text).unwrap();
        for mark in ["call('", "call_many('", "call_many(", "pcall('"] {
            for rest in text.split(mark).skip(1) {
                // `call_many(a and 'SADD' or 'SREM', …`: all words in capitals of the first argument.
                let line = rest.split(['\n', ',']).next().unwrap();
                let words = if mark.ends_with('\'') {
                    line.split('\'').take(1).collect()
                } else {
                    line.split('\'').collect::<Vec<_>>()
                };
                let is_command = |it: &&str| it.len() > 2 && it.bytes().all(|it| it.is_ascii_uppercase());
                found.extend(words.into_iter().filter(is_command).map(str::to_owned));
            }
        }
    }
    assert!(found.len() > 30 && found.contains("ZADD") && found.contains("SREM"), "{found:?}");
    found
}

/// A user who may not call one of the commands is refused with its name, before a script ends halfway.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_lacks_a_command_is_refused_with_its_name() {
    let server = Server::start(&[]);
    let mut rig = Rig::on(&server);
    rig.url = server.url().replace("//", "//app:secret@");
    let allow = |rights: &[&str]| {
        server.ask(&[&["ACL", "SETUSER", "app", "reset", "on", ">secret", "&*"], rights].concat());
    };
    let refused = |rights: &[&str]| {
        allow(rights);
        let error = QueueRedis::open(&Secret::new(rig.url.clone()), &rig.wish("one")).unwrap_err();
        assert_eq!(error.code, "queue_forbidden", "{rights:?}: {error}");
        error.message
    };
    let all = commands();
    for command in &all {
        let said = refused(&["~*", "+@all", &format!("-{}", command.to_lowercase())]);
        assert!(said.contains(&format!("call {command},")), "{command}: {said}");
    }
    let said = refused(&["~*", "+@all", "-zadd", "-xadd", "-hset"]);
    assert!(said.contains("HSET, XADD, ZADD"), "{said}");
    let said = refused(&[&format!("~{}:host:*", rig.prefix), "+@all"]);
    assert!(said.contains(":deploy:*"), "{said}");
    refused(&["~*", "+@all", "-evalsha"]);
    let said = refused(&["~*", "+@all", "-time"]);
    assert!(said.contains("call TIME,"), "{said}");
    // Those, and what a connection needs, are enough.
    let mut rights: Vec<String> = all.iter().map(|it| format!("+{}", it.to_lowercase())).collect();
    let more = [
        "+auth",
        "+hello",
        "+info",
        "+evalsha",
        "+script",
        "+client",
        "+xread",
        "+xrevrange",
        "+select",
        "+ping",
        "+time",
    ];
    rights.extend(more.map(str::to_owned));
    rights.push(format!("~{}:*", rig.prefix));
    allow(&rights.iter().map(String::as_str).collect::<Vec<_>>());
    let jobs = Jobs::new(rig.open("one").0);
    assert_eq!(jobs.enqueue(vec![rig.job(Queue::Email, tenant(1))]).await.unwrap(), 1);
    let lease = jobs.next(Queue::Email, 1, Vec::new()).await.unwrap().1.remove(0);
    let done = vec![Finish { id: lease.job.id, attempt: lease.attempt, outcome: Outcome::Done }];
    assert!(jobs.next(Queue::Email, 0, done).await.unwrap().0[0].is_ok());
    let left = server.ask(&["KEYS", &format!("{}:host:rights*", rig.prefix)]);
    assert_eq!(left, "", "nothing stays of the question");
}

/// Jobs of many who ask at once are taken in together; what one is refused for concerns nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn each_of_many_callers_has_an_answer_of_its_own() {
    let rig = Rig::new();
    let engine = QueueRedis::open(&Secret::new(rig.url.clone()), &Wish { waiting_max: 20, ..rig.wish("one") }).unwrap();
    let jobs = Jobs::new(engine);
    let known = rig.job(Queue::Email, tenant(1));
    assert_eq!(jobs.enqueue(vec![known.clone()]).await.unwrap(), 1);
    let keyed = || NewJob { unique: Some(String::from("one")), ..rig.job(Queue::Email, tenant(2)) };
    let other = NewJob { after: vec![known.id], ..rig.job(Queue::Email, tenant(2)) };
    let asked: Vec<Vec<NewJob>> = (0..12)
        .flat_map(|_| {
            let new = rig.job(Queue::Email, tenant(3));
            [vec![known.clone(), new.clone(), new], vec![keyed(), keyed()], vec![other.clone()]]
        })
        .chain([(0..21).map(|_| rig.job(Queue::Email, tenant(4))).collect()])
        .collect();
    let mut answers = JoinSet::new();
    for (number, some) in asked.into_iter().enumerate() {
        let jobs = jobs.clone();
        answers.spawn(async move { (number, jobs.enqueue(some).await.map_err(|it| it.code)) });
    }
    let mut found = answers.join_all().await;
    found.sort_unstable_by_key(|it| it.0);
    let mut found: Vec<_> = found.into_iter().map(|it| it.1).collect();
    assert_eq!(found.pop(), Some(Err("jobs_waiting_max")));
    let (mut news, mut keys) = (0, 0);
    for three in found.chunks_exact(3) {
        assert_eq!(three[2], Err("job_after"));
        news += three[0].unwrap();
        keys += three[1].unwrap();
    }
    assert_eq!((news, keys), (12, 1));
    for (number, waiting) in [(1, 1), (2, 1), (3, 12), (4, 0)] {
        assert_eq!(jobs.depths(tenant(number)).await.unwrap()[1].waiting, waiting, "of tenant {number}");
    }
}

/// Of many who ask at once for a job with the same key one gets it, also when they are all taken in together.
#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_callers_has_the_key() {
    let rig = Rig::new();
    let jobs = Jobs::new(rig.open("one").0);
    for round in 0..20 {
        let mut answers = JoinSet::new();
        for _ in 0..30 {
            let keyed = NewJob { unique: Some(format!("{round}")), ..rig.job(Queue::Email, tenant(2)) };
            let jobs = jobs.clone();
            answers.spawn(async move { jobs.enqueue(vec![keyed]).await.unwrap() });
        }
        assert_eq!(answers.join_all().await.into_iter().sum::<u64>(), 1, "in round {round}");
    }
    assert_eq!(jobs.depths(tenant(2)).await.unwrap()[1].waiting, 20);
}

/// While a Redis refuses to make leases longer they run out, for no fault of their workers: nobody calls these dead afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn leases_that_a_redis_did_not_renew_are_no_deaths() {
    let server = Server::start(&[]);
    let rig = Rig::on(&server);
    let jobs = Jobs::new(rig.open("one").0);
    // It sees the same leases, and holds none.
    let other = Jobs::new(rig.open("two").0);
    jobs.enqueue(vec![rig.job(Queue::Email, None)]).await.unwrap();
    let lease = jobs.next(Queue::Email, 1, Vec::new()).await.unwrap().1.remove(0);
    server.ask(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    until("the lease to run out", async || server.ask(&["KEYS", "*:lock"]).is_empty()).await;
    until("both to be refused", async || {
        jobs.next(Queue::Email, 1, Vec::new()).await.is_err() && other.next(Queue::Email, 1, Vec::new()).await.is_err()
    })
    .await;
    server.ask(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    until("the lease to be longer again", async || !server.ask(&["KEYS", "*:lock"]).is_empty()).await;
    let job = jobs.get(lease.job.id).await.unwrap().unwrap();
    assert_eq!((job.state, job.deaths), (State::Running, 0));
    let done = vec![Finish { id: lease.job.id, attempt: lease.attempt, outcome: Outcome::Done }];
    assert!(jobs.next(Queue::Email, 0, done).await.unwrap().0[0].is_ok());
}

/// A Redis without memory for another job says so and takes none by halves; what it has goes on, and makes room.
#[tokio::test(flavor = "multi_thread")]
async fn a_redis_without_memory_takes_no_more_and_lets_jobs_end() {
    let server = Server::start(&["--maxmemory", "8mb"]);
    let rig = Rig::on(&server);
    let jobs = Jobs::new(rig.open("one").0);
    let large = || NewJob { payload: format!("\"{}\"", "x".repeat(60_000)), ..rig.job(Queue::Email, tenant(1)) };
    let mut taken = Vec::new();
    let refused = loop {
        let some: Vec<NewJob> = (0..4).map(|_| large()).collect();
        match jobs.enqueue(some.clone()).await {
            Ok(count) => assert_eq!(count, 4),
            Err(error) => break error,
        }
        taken.extend(some.into_iter().map(|it| it.id));
        assert!(taken.len() < 400, "8 MB held more than 24 MB");
    };
    assert_eq!(refused.code, "queue_full");
    assert_eq!(usize::try_from(jobs.depths(tenant(1)).await.unwrap()[1].waiting).unwrap(), taken.len());
    let (mut ran, mut finished) = (Vec::new(), Vec::new());
    loop {
        let (ended, leases) = jobs.next(Queue::Email, 3, finished).await.unwrap();
        assert!(ended.iter().all(Result::is_ok));
        if leases.is_empty() {
            break;
        }
        ran.extend(leases.iter().map(|it| it.job.id));
        finished =
            leases.iter().map(|it| Finish { id: it.job.id, attempt: it.attempt, outcome: Outcome::Done }).collect();
    }
    assert_eq!(ran, taken);
    server.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(jobs.enqueue(vec![large()]).await.unwrap(), 1);
}

/// A Redis that cannot save to its disk says so, also to who comes then; both go on once it can.
#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_cannot_save_is_waited_for() {
    let server = Server::start(&[]);
    let rig = Rig::on(&server);
    let jobs = Jobs::new(rig.open("one").0);
    std::fs::remove_dir_all(&server.folder).unwrap();
    server.ask(&["CONFIG", "SET", "save", "3600 1"]);
    server.ask(&["BGSAVE"]);
    until("the save to fail", async || server.ask(&["INFO", "persistence"]).contains("rdb_last_bgsave_status:err"))
        .await;
    assert_eq!(jobs.enqueue(vec![rig.job(Queue::Email, None)]).await.unwrap_err().code, "queue_disk");
    let late = Jobs::new(rig.open("two").0);
    assert!(jobs.is_up() && !late.is_up());
    assert_eq!(late.depths(None).await.unwrap_err().code, "queue_disk");
    server.ask(&["CONFIG", "SET", "stop-writes-on-bgsave-error", "no"]);
    assert_eq!(jobs.enqueue(vec![rig.job(Queue::Email, None)]).await.unwrap(), 1);
    until("the other to come", async || late.depths(None).await.is_ok_and(|it| it[1].waiting == 1)).await;
    assert!(late.is_up());
}

/// A start does not need Redis: all is refused until it is there, and then what the process before held comes back.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_whose_redis_is_away_waits_for_it() {
    let mut server = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let rig = Rig::on(&server);
    let jobs = Jobs::new(rig.open("one").0);
    jobs.enqueue(vec![rig.job(Queue::Email, None)]).await.unwrap();
    assert_eq!(jobs.next(Queue::Email, 1, Vec::new()).await.unwrap().1[0].attempt, 1);
    drop(jobs);
    server.kill();
    let jobs = Jobs::new(rig.open("one").0);
    assert!(!jobs.is_up());
    assert_eq!(jobs.depths(None).await.unwrap_err().code, "queue_unreachable");
    let taken = jobs.clone();
    let claims = async {
        loop {
            taken.ready(Queue::Email).await;
            if let Ok((_, leases)) = taken.next(Queue::Email, 1, Vec::new()).await
                && let Some(lease) = leases.into_iter().next()
            {
                return lease;
            }
        }
    };
    let go = async { server.go() };
    let (lease, ()) = tokio::join!(tokio::time::timeout(super::DEADLINE, claims), go);
    let lease = lease.expect("a wake-up");
    assert_eq!((lease.attempt, jobs.get(lease.job.id).await.unwrap().unwrap().deaths), (2, 1));
}

/// Two installations are kept apart, and one that was left can be taken over.
#[tokio::test]
async fn the_queues_of_another_installation_are_refused() {
    let server = Server::start(&[]);
    let rig = Rig::on(&server);
    let ids = Ids::new(Clock::system());
    let (ours, theirs) = (ids.next(), ids.next());
    let url = Secret::new(rig.url.clone());
    drop(QueueRedis::open(&url, &rig.wish("one").owned_by(ours)).unwrap());
    drop(QueueRedis::open(&url, &rig.wish("two").owned_by(ours)).unwrap());
    let refused = QueueRedis::open(&url, &rig.wish("three").owned_by(theirs)).unwrap_err();
    assert_eq!(refused.code, "queue_foreign");
    assert!(refused.message.contains(&ours.to_string()), "{refused}");
    server.ask(&["FLUSHALL"]);
    drop(QueueRedis::open(&url, &rig.wish("three").owned_by(theirs)).unwrap());
}

/// A Redis that lost its jobs counts their attempts anew: the late end of an old attempt is refused, in this process and in others.
#[tokio::test(flavor = "multi_thread")]
async fn the_late_end_of_an_attempt_of_before_a_loss_is_refused() {
    let server = Server::start(&[]);
    let rig = Rig::on(&server);
    let (one, two) = (Jobs::new(rig.open("one").0), Jobs::new(rig.open("two").0));
    let new = vec![rig.job(Queue::Email, None), rig.job(Queue::Deploy, None)];
    one.enqueue(new.clone()).await.unwrap();
    let old = one.next(Queue::Email, 1, Vec::new()).await.unwrap().1.remove(0);
    let own = one.next(Queue::Deploy, 1, Vec::new()).await.unwrap().1.remove(0);
    server.ask(&["FLUSHALL"]);
    one.enqueue(new).await.unwrap();
    let done = |attempt, id| vec![Finish { id, attempt, outcome: Outcome::Done }];
    // Another process has it now.
    let other = two.next(Queue::Email, 1, Vec::new()).await.unwrap().1.remove(0);
    assert_eq!((old.job.id, old.attempt), (other.job.id, other.attempt));
    let (ended, _) = one.next(Queue::Email, 0, done(1, old.job.id)).await.unwrap();
    assert_eq!(ended[0].as_ref().unwrap_err().code, "stale_lease");
    assert_eq!(one.progress(old.job.id, 1, 50).await.unwrap_err().code, "stale_lease");
    assert_eq!(two.get(old.job.id).await.unwrap().unwrap().state, State::Running);
    let (ended, _) = two.next(Queue::Email, 0, done(1, other.job.id)).await.unwrap();
    assert!(ended[0].is_ok());
    // The same process takes it again while its first handler works: under another number.
    let mut again = None;
    until("the second lease", async || {
        again = one.next(Queue::Deploy, 1, Vec::new()).await.unwrap().1.pop();
        again.is_some()
    })
    .await;
    assert_eq!(again.unwrap().attempt, 2);
    let (ended, _) = one.next(Queue::Deploy, 0, done(1, own.job.id)).await.unwrap();
    assert_eq!(ended[0].as_ref().unwrap_err().code, "stale_lease");
    let (ended, _) = one.next(Queue::Deploy, 0, done(2, own.job.id)).await.unwrap();
    assert!(ended[0].is_ok());
}

/// Until the outbox has settled them, ids of ended jobs are remembered: their rows would start them again. To ask for them settles
/// nothing, since who asks may die before their rows are gone.
#[tokio::test]
async fn ended_jobs_are_known_until_they_are_settled() {
    const DAY_MS: i64 = 86_400_000;
    let rig = Rig::new();
    let (clock, hands) = Clock::manual(1_800_000_000_000);
    let wish = Wish { clock, ..rig.wish("one") };
    let wish = wish.owned_by(rig.ids.next());
    let jobs = Jobs::new(QueueRedis::open(&Secret::new(rig.url.clone()), &wish).unwrap());
    let job = NewJob { created_ms: 1, ..rig.job(Queue::Email, None) };
    assert_eq!(jobs.fates(vec![job.id]).await.unwrap(), [Fate::Unknown]);
    let taken = 1_800_000_000_000;
    jobs.enqueue(vec![job.clone()]).await.unwrap();
    let lease = jobs.next(Queue::Email, 1, Vec::new()).await.unwrap().1.remove(0);
    let finished = vec![Finish { id: lease.job.id, attempt: lease.attempt, outcome: Outcome::Done }];
    jobs.next(Queue::Email, 0, finished).await.unwrap();
    jobs.dismiss(job.id).await.unwrap();
    for _ in 0..3 {
        hands.advance(DAY_MS);
        // Time alone makes it forget what is old enough.
        jobs.depths(None).await.unwrap();
    }
    for settled in [None, Some(taken + DAY_MS - 1)] {
        if let Some(before_ms) = settled {
            jobs.settled(before_ms).await.unwrap();
        }
        hands.advance(120_000);
        jobs.depths(None).await.unwrap();
        assert_eq!(jobs.enqueue(vec![job.clone()]).await.unwrap(), 0, "it is known: {settled:?}");
        assert_eq!(jobs.fates(vec![job.id]).await.unwrap(), [Fate::Ended], "{settled:?}");
    }
    jobs.settled(taken + DAY_MS).await.unwrap();
    hands.advance(120_000);
    jobs.depths(None).await.unwrap();
    assert_eq!(jobs.fates(vec![job.id]).await.unwrap(), [Fate::Unknown]);
}

/// What was acknowledged by a Redis that syncs always is there after it was killed, and the engine goes on by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_killed_under_load_loses_nothing_that_it_synced() {
    let mut server = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let rig = Rig::on(&server);
    let jobs = Jobs::new(rig.open("one").0);
    let mut kept: Vec<JobId> = Vec::new();
    for round in 0..3 {
        let mut asked = JoinSet::new();
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
        let job = NewJob { id: JobId(ids.next()), ..rig.job(Queue::Email, None) };
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

/// The row of a job that has ended goes once, however often who follows it dies in between; and a dead job that is started again has
/// its row again.
#[tokio::test(flavor = "multi_thread")]
async fn what_has_ended_is_not_handed_over_again_and_what_is_rerun_is() {
    const DAY_MS: i64 = 86_400_000;
    let server = Server::start(&[]);
    let rig = Rig::on(&server);
    let (clock, hands) = Clock::manual(1_800_000_000_000);
    let wish = Wish { clock: clock.clone(), ..rig.wish("one") };
    let wish = wish.owned_by(rig.ids.next());
    let jobs = Jobs::new(QueueRedis::open(&Secret::new(rig.url.clone()), &wish).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let db = Db::new(Sqlite::open(&folder.path().join("db"), schema::SQLITE).unwrap());
    let services = Services::new(ground(folder.path(), db, jobs.clone(), clock.clone()));
    let rows = async || {
        let count = services.db.read(|tx| tx.one("SELECT COUNT(*) FROM outbox WHERE handed_ms > 0", params![])?.int(0));
        count.await.unwrap()
    };
    let new = |number| NewJob { created_ms: number, ..rig.job(Queue::Email, None) };
    let (well, badly) = (new(1), new(2));
    for job in [well.clone(), badly.clone()] {
        services.db.write(move |tx| store::outbox::enqueue(tx, &job)).await.unwrap();
    }
    assert_eq!(services.relay_outbox().await.unwrap(), 2);
    let leases = jobs.next(Queue::Email, 2, Vec::new()).await.unwrap().1;
    let end = |at: usize, outcome| Finish { id: leases[at].job.id, attempt: leases[at].attempt, outcome };
    let ended = vec![end(0, Outcome::Done), end(1, Outcome::Cancel { error: String::from("it rained") })];
    jobs.next(Queue::Email, 0, ended).await.unwrap();
    jobs.dismiss(well.id).await.unwrap();
    // Who asks dies before the rows are gone, and comes back days later.
    assert_eq!(jobs.fates(vec![well.id, badly.id]).await.unwrap(), [Fate::Ended, Fate::Ended]);
    for _ in 0..3 {
        hands.advance(DAY_MS);
        jobs.depths(None).await.unwrap();
    }
    assert_eq!((services.reconcile_outbox().await.unwrap(), rows().await), (0, 0));
    // A row that waits may have been handed over by a process that died before it could mark it.
    let again = well.clone();
    services.db.write(move |tx| store::outbox::enqueue(tx, &again)).await.unwrap();
    for _ in 0..3 {
        assert_eq!(services.reconcile_outbox().await.unwrap(), 0);
        hands.advance(DAY_MS);
        jobs.depths(None).await.unwrap();
    }
    // The process after it looks at all rows.
    let after = Services::new(ground(folder.path(), services.db.clone(), jobs.clone(), clock.clone()));
    assert_eq!(after.relay_outbox().await.unwrap(), 1);
    assert_eq!(jobs.depths(None).await.unwrap()[1].waiting, 0, "it has run already");
    assert_eq!((services.reconcile_outbox().await.unwrap(), rows().await), (0, 0));
    // Without rows that wait, nothing is remembered for ever.
    for _ in 0..2 {
        hands.advance(DAY_MS);
        services.reconcile_outbox().await.unwrap();
        jobs.depths(None).await.unwrap();
    }
    assert_eq!(jobs.fates(vec![well.id]).await.unwrap(), [Fate::Unknown]);
    // What is started again has its row again, and survives the loss of the Redis.
    let actor = services.actor_local().await.unwrap();
    services.rerun_job(&actor, badly.id).await.unwrap();
    assert_eq!((rows().await, services.reconcile_outbox().await.unwrap()), (1, 0));
    server.ask(&["FLUSHALL"]);
    assert_eq!((services.reconcile_outbox().await.unwrap(), services.relay_outbox().await.unwrap()), (1, 1));
    assert_eq!(jobs.get(badly.id).await.unwrap().unwrap().state, State::Waiting);
}
