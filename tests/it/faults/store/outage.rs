//! The store away, slow and back again, and the server killed in between.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use super::{
    super::{check_stores, rounds},
    *,
};
use crate::support::{PATIENCE, http};

/// Asks for a path of `hello` again and again until told to stop; how often, all answered well.
fn visit_on(port: u16, stop: &Arc<AtomicBool>, path: &str, wanted: Vec<u8>) -> thread::JoinHandle<u32> {
    let (stop, path) = (Arc::clone(stop), path.to_owned());
    thread::spawn(move || {
        let mut answers = 0;
        while !stop.load(Ordering::SeqCst) {
            let head = format!("GET {path} HTTP/1.1\r\nHost: hello.localhost:{port}\r\n");
            let answer = http::ask(port, &head, b"");
            assert!(answer.status == 200 && answer.body == wanted, "{path}: {}", answer.status);
            answers += 1;
        }
        answers
    })
}

#[test]
fn without_the_store_the_cached_is_served_and_a_deploy_waits_for_its_return() {
    let bucket = Bucket::new();
    let (host, api) = start(&bucket, "");
    let mut files = version(1);
    let film = crate::support::seed::Seed::new(7).bytes(600_000);
    files.push((String::from("film.bin"), film.clone()));
    api.deploy("hello", &files, &Wish::default()).unwrap();
    wait_for_jobs(&host, &api, 1);
    // One file is not in the cache.
    let lost = files[9].clone();
    fs::remove_file(s3::local(&host.data(), &chainhost::base::hash::Sha256::of(&lost.1).hex())).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let visitors = [
        visit_on(host.port, &stop, "/film.bin", film),
        visit_on(host.port, &stop, "/pages/3.html", files[3].1.clone()),
    ];

    bucket.gate.set(Way::Shut);
    let wish = Wish { idempotency_key: Some(String::from("two")), ..Wish::default() };
    let refused = api.deploy("hello", &version(2), &wish).unwrap_err();
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(refused.json()["code"], "blobs_away");
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("does not answer") && !detail.contains(s3::SECRET), "{detail}");
    let missed = host.get("hello.localhost", &format!("/{}", lost.0));
    assert_eq!(missed.status, 503, "{}", missed.text());
    // All else of the control plane is there.
    api.must("GET /api/v1/sites", &Value::Null, 200);
    api.must("POST /api/v1/sites", &json!({ "name": "other" }), 201);

    // All of it while visitors came.
    stop.store(true, Ordering::SeqCst);
    for visitor in visitors {
        assert!(visitor.join().unwrap() > 0);
    }
    bucket.gate.set(Way::Open);
    deploy_when_it_may(&host, &api, &wish, PATIENCE, "blobs_away");
}

#[test]
fn a_slow_store_holds_nobody_who_asks_for_something_else() {
    let bucket = Bucket::new();
    let (mut host, api) = start(&bucket, "");
    api.deploy_version("hello", 1);
    let mut seed = crate::support::seed::Seed::new(9);
    let many: Vec<(String, Vec<u8>)> = (0..600).map(|it| (format!("{it}.bin"), seed.bytes(200))).collect();
    api.must("POST /api/v1/sites", &json!({ "name": "many" }), 201);
    api.deploy("many", &many, &Wish::default()).unwrap();
    assert_eq!(host.stop(), Some(0));
    move_without_cache(&host);
    host.restart();
    api.moved(&host);
    // In memory, with its manifest and that of the other.
    assert_eq!(whole_site(host.port, "hello"), 1);
    assert_eq!(host.get("many.localhost", "/0.bin").status, 200);

    bucket.gate.set(Way::Stalled);
    // More than there are threads for blocking work.
    let waiting = Arc::new(AtomicU32::new(0));
    let askers: Vec<_> = many[1..]
        .chunks(8)
        .map(|chunk| {
            let (port, paths, waiting) = (host.port, chunk.to_vec(), Arc::clone(&waiting));
            thread::spawn(move || {
                for (path, bytes) in paths {
                    waiting.fetch_add(1, Ordering::SeqCst);
                    let head = format!("GET /{path} HTTP/1.1\r\nHost: many.localhost:{port}\r\n");
                    let answer = http::ask(port, &head, b"");
                    waiting.fetch_sub(1, Ordering::SeqCst);
                    assert!(
                        answer.status == 503 || (answer.status == 200 && answer.body == bytes),
                        "{}",
                        answer.status
                    );
                }
            })
        })
        .collect();
    host.until("many to wait", || (waiting.load(Ordering::SeqCst) > 40).then_some(()));
    for _ in 0..5 {
        assert_eq!(whole_site(host.port, "hello"), 1);
        api.must("GET /api/v1/sites", &Value::Null, 200);
    }
    bucket.gate.set(Way::Open);
    for asker in askers {
        asker.join().unwrap();
    }
    host.until("the store to be used again", || {
        let all = many.iter().all(|(path, bytes)| host.get("many.localhost", &format!("/{path}")).body == *bytes);
        all.then_some(())
    });
}

#[test]
fn a_server_starts_without_its_store() {
    let bucket = Bucket::new();
    let (mut host, api) = start(&bucket, "");
    api.deploy_version("hello", 1);
    assert_eq!(host.stop(), Some(0));
    bucket.gate.set(Way::Shut);
    host.restart();
    api.moved(&host);
    assert_eq!(whole_site(host.port, "hello"), 1);
    assert_eq!(api.deploy("hello", &version(2), &Wish::default()).unwrap_err().status, 503);
    bucket.gate.set(Way::Open);
    host.until("the store to be used again", || api.deploy("hello", &version(2), &Wish::default()).ok());
    assert_eq!(whole_site(host.port, "hello"), 2);
}

#[test]
fn a_kill_in_the_middle_of_a_deploy_leaves_it_to_be_repeated() {
    let bucket = Bucket::new();
    let (mut host, api) = start(&bucket, "");
    let mut last = 0;
    for round in 1..=rounds(6, 60) {
        let wish = Wish { idempotency_key: Some(format!("round {round}")), ..Wish::default() };
        let deploying = {
            let (api, wish) = (api.clone(), wish.clone());
            thread::spawn(move || api.deploy("hello", &version(round), &wish))
        };
        // Somewhere on the way, which is another place in each round.
        thread::sleep(Duration::from_millis(20 * round));
        host.kill();
        let acknowledged = deploying.join().unwrap().is_ok();
        host.restart();
        api.moved(&host);
        let shown = if last == 0 && !acknowledged { None } else { Some(whole_site(host.port, "hello")) };
        if acknowledged {
            assert_eq!(shown, Some(round), "an acknowledged deployment is not shown");
        }
        let done = host.until("the same deploy to end", || api.deploy("hello", &version(round), &wish).ok());
        assert_eq!(done["state"], "live", "{done}");
        assert_eq!(whole_site(host.port, "hello"), round);
        let there: BTreeSet<String> = bucket.blobs().into_iter().collect();
        for (path, bytes) in version(round) {
            assert!(there.contains(&chainhost::base::hash::Sha256::of(&bytes).hex()), "{path}");
        }
        last = round;
    }
    check_stores(&mut host);
}

#[test]
fn an_archive_whose_bytes_are_nowhere_fails_with_the_reason() {
    let bucket = Bucket::new();
    let (host, api) = start(&bucket, "");
    api.deploy_version("hello", 1);
    let page = b"<!doctype html><p>Only in the archive</p>";
    let mut packed = tar::Builder::new(Vec::new());
    let mut head = tar::Header::new_ustar();
    head.set_size(u64::try_from(page.len()).unwrap());
    head.set_mode(0o644);
    packed.append_data(&mut head, "index.html", &page[..]).unwrap();
    let packed = packed.into_inner().unwrap();
    bucket.gate.set(Way::Stalled);
    let begun = api.call("PUT /api/v1/sites/hello/deployments", &packed);
    assert_eq!(begun.status, 202, "{}", begun.text());
    // Unpacked, and lost before the store has it.
    let path = s3::local(&host.data(), &chainhost::base::hash::Sha256::of(page).hex());
    host.until("the archive to be unpacked", || fs::remove_file(&path).ok());
    bucket.gate.set(Way::Open);
    let failed = host.until("the deployment to end", || {
        let all = api.list("/api/v1/sites/hello/deployments");
        all.into_iter().find(|it| it["number"] == 2 && it["state"] != "checking")
    });
    assert_eq!(failed["state"], "failed", "{failed}");
    // The other when this machine was held up for longer than a store is waited for.
    let why = failed["problem"].as_str().unwrap_or_default();
    assert!(why.contains("are not here any more") || why.contains("does not answer"), "{failed}");
    assert_eq!(whole_site(host.port, "hello"), 1);
}

#[test]
fn a_store_that_is_out_of_order_costs_no_deploy_and_no_visitor() {
    let bucket = Bucket::new();
    let (mut host, api) = start(&bucket, "");
    let mut number = 1;
    api.deploy_version("hello", number);
    wait_for_jobs(&host, &api, 1);
    api.must("POST /api/v1/sites", &json!({ "name": "still" }), 201);
    let film = crate::support::seed::Seed::new(11).bytes(600_000);
    api.deploy("still", &[(String::from("film.bin"), film.clone())], &Wish::default()).unwrap();
    for way in [Way::Answers(500), Way::Answers(503), Way::Answers(429), Way::Cuts(20_000), Way::Slow] {
        let stop = Arc::new(AtomicBool::new(false));
        let visitor = {
            let (stop, film, port) = (Arc::clone(&stop), film.clone(), host.port);
            thread::spawn(move || {
                let mut answers = 0;
                while !stop.load(Ordering::SeqCst) || answers == 0 {
                    let head = format!("GET /film.bin HTTP/1.1\r\nHost: still.localhost:{port}\r\n");
                    let answer = http::ask(port, &head, b"");
                    assert!(answer.status == 200 && answer.body == film, "{}", answer.status);
                    answers += 1;
                }
            })
        };
        bucket.gate.set(way);
        number += 1;
        let wish = Wish { idempotency_key: Some(format!("version {number}")), ..Wish::default() };
        match api.deploy("hello", &version(number), &wish) {
            Ok(_) => assert_eq!(whole_site(host.port, "hello"), number, "{way:?}: told, and not shown"),
            Err(answer) => {
                assert_eq!((answer.status, &answer.json()["code"]), (503, &json!("blobs_away")), "{}", answer.text());
                assert_eq!(whole_site(host.port, "hello"), number - 1, "{way:?}");
            }
        }
        bucket.gate.set(Way::Open);
        // Without a restart, and with the same key.
        host.until("the store to be used again", || api.deploy("hello", &version(number), &wish).ok());
        assert_eq!(whole_site(host.port, "hello"), number);
        stop.store(true, Ordering::SeqCst);
        visitor.join().unwrap();
        let there: BTreeSet<String> = bucket.blobs().into_iter().collect();
        for (path, bytes) in version(number) {
            assert!(there.contains(&chainhost::base::hash::Sha256::of(&bytes).hex()), "{way:?}: {path} is not kept");
        }
    }
    assert_eq!(host.stop(), Some(0));
    move_without_cache(&host);
    host.restart();
    assert_eq!(whole_site(host.port, "hello"), number);
    assert!(host.get("still.localhost", "/film.bin").body == film);
}
