//! Blobs in a bucket of a real object store, with the folder as a cache: lost, damaged, shut, slow, full, killed.

mod collect;
mod outage;
mod servers;
mod settings;
mod space;

use std::{collections::BTreeSet, fs, time::Duration};

use serde_json::{Value, json};

use super::{
    api::{Api, Wish},
    version, whole_site,
};
use crate::support::{
    Host, read_files,
    s3::{self, Bucket, Way},
};

/// A server on a bucket, its API, and one site, `hello`.
fn start(bucket: &Bucket, more: &str) -> (Host, Api) {
    let host = Host::start_configured(&bucket.settings(more));
    let api = Api::new(&host, &host.key("owner@example.org", "super-admin"));
    api.must("POST /api/v1/sites", &json!({ "name": "hello" }), 201);
    (host, api)
}

/// The hashes of the blobs in a server's folder.
fn local_blobs(host: &Host) -> BTreeSet<String> {
    let all = read_files(&host.data().join("blobs")).into_iter();
    all.map(|(path, _)| path.rsplit('/').next().unwrap().to_owned()).collect()
}

/// Bytes of a server's cache.
fn cache_bytes(host: &Host) -> u64 {
    let bytes = |name: &str| -> u64 {
        let mut sum = 0;
        for folder in fs::read_dir(host.data().join(name)).unwrap() {
            for file in fs::read_dir(folder.unwrap().path()).unwrap() {
                // It may leave the cache at this moment.
                sum += file.unwrap().metadata().map_or(0, |it| it.len());
            }
        }
        sum
    };
    bytes("blobs") + bytes("variants")
}

/// Waits until the compressed forms of a deployment are made.
fn wait_for_jobs(host: &Host, api: &Api, count: usize) {
    host.until("compressed forms", || {
        let jobs = api.must("GET /api/v1/jobs?state=done", &Value::Null, 200);
        (jobs["items"].as_array().unwrap().len() == count).then_some(())
    });
}

/// Deploys version 2 of the site again and again until that works; how often it was refused, with `code` each time.
fn deploy_when_it_may(host: &Host, api: &Api, wish: &Wish, patience: Duration, code: &str) -> u32 {
    let mut refusals = 0;
    let deployed =
        host.until_within(patience, Duration::from_millis(100), "a deploy that is not refused", || {
            match api.deploy("hello", &version(2), wish) {
                Ok(done) => Some(done),
                Err(answer) => {
                    assert_eq!((answer.status, &answer.json()["code"]), (503, &json!(code)), "{}", answer.text());
                    refusals += 1;
                    None
                }
            }
        });
    assert_eq!(deployed["state"], "live");
    assert_eq!(whole_site(host.port, "hello"), 2);
    refusals
}

/// Another server on the same data, without what is only a cache.
fn move_without_cache(host: &Host) {
    for name in ["blobs", "variants"] {
        fs::remove_dir_all(host.data().join(name)).unwrap();
    }
}

#[test]
fn a_deploy_is_in_the_bucket_and_a_server_without_a_cache_serves_all_of_it() {
    let bucket = Bucket::new();
    let (mut host, api) = start(&bucket, "");
    let mut files = version(1);
    // In several parts.
    let film: Vec<u8> = (0..=255).cycle().take(20_000_000).collect();
    files.push((String::from("film.bin"), film.clone()));
    api.deploy("hello", &files, &Wish::default()).unwrap();
    // At once, and not only some time later: files, manifest and list.
    let names = bucket.list();
    let local = local_blobs(&host);
    assert_eq!(local.len(), files.len() + 2);
    assert_eq!(bucket.blobs().into_iter().collect::<BTreeSet<_>>(), local);
    assert!(names.contains_key("chainhost-instance"));
    wait_for_jobs(&host, &api, 1);
    let forms = bucket.list().into_keys().filter(|it| it.starts_with("variants/")).count();
    assert!(forms >= 3, "{forms}");

    assert_eq!(host.stop(), Some(0), "{}", host.log());
    move_without_cache(&host);
    host.restart();
    assert_eq!(whole_site(host.port, "hello"), 1);
    assert!(host.get("hello.localhost", "/film.bin").body == film);
    let ask = format!("GET / HTTP/1.1\r\nHost: hello.localhost:{}\r\nAccept-Encoding: gzip\r\n", host.port);
    assert_eq!(crate::support::http::ask(host.port, &ask, b"").header("content-encoding"), Some("gzip"));
    // What was fetched for it came from the bucket alone, and is here now. The lists are for deploys.
    assert!(local_blobs(&host).len() >= files.len());
    // Its next deploy sends only what is new.
    api.moved(&host);
    let mut next = version(1);
    next[3].1 = b"new".to_vec();
    next.push((String::from("film.bin"), film));
    let begun = api.begin("hello", &next, &Wish::default()).json();
    assert_eq!(begun["missing"].as_array().unwrap().len(), 1, "{begun}");
}

#[test]
fn a_cache_that_is_lost_or_damaged_comes_back() {
    let bucket = Bucket::new();
    let (mut host, api) = start(&bucket, "");
    let mut files = version(1);
    let film = crate::support::seed::Seed::new(7).bytes(600_000);
    files.push((String::from("film.bin"), film.clone()));
    api.deploy("hello", &files, &Wish::default()).unwrap();
    let hex = chainhost::base::hash::Sha256::of(&film).hex();
    let get = |host: &Host| host.get("hello.localhost", "/film.bin");
    assert!(get(&host).body == film);
    s3::wipe(&host.data());
    assert!(get(&host).body == film);
    // Bytes that are others now are not sent, but fetched again.
    let path = s3::local(&host.data(), &hex);
    fs::remove_file(&path).unwrap();
    chainhost::base::files::write_atomic(&path, &vec![7; film.len()], 0o400).unwrap();
    assert!(get(&host).body == film);
    assert!(fs::read(&path).unwrap() == film);
    // Small files too, once they are not in memory any more.
    assert_eq!(host.stop(), Some(0));
    for (name, bytes) in read_files(&host.data().join("blobs")) {
        let path = host.data().join("blobs").join(name);
        fs::remove_file(&path).unwrap();
        chainhost::base::files::write_atomic(&path, &vec![7; bytes.len()], 0o400).unwrap();
    }
    host.restart();
    assert_eq!(whole_site(host.port, "hello"), 1);
    assert!(!host.log().contains("cannot be served"), "{}", host.log());
}

#[test]
fn a_damaged_object_is_refused_alone_and_mended_by_sending_it_again() {
    let bucket = Bucket::new();
    let (mut host, api) = start(&bucket, "");
    api.deploy_version("hello", 1);
    let (path, bytes) = version(1)[5].clone();
    let name =
        bucket.list().into_keys().find(|it| it.ends_with(&chainhost::base::hash::Sha256::of(&bytes).hex())).unwrap();
    let mut wrong = bucket.get(&name);
    wrong[0] ^= 1;
    bucket.put(&name, wrong);
    assert_eq!(host.stop(), Some(0));
    move_without_cache(&host);
    host.restart();
    api.moved(&host);
    for (other, bytes) in version(1) {
        let answer = host.get("hello.localhost", &format!("/{other}"));
        if other == path {
            assert_eq!(answer.status, 503);
        } else {
            assert_eq!((answer.status, answer.body), (200, bytes), "{other}");
        }
    }
    assert!(host.log().contains("it has other bytes"), "{}", host.log());
    // The same files again, of which this one is wanted.
    let again = api.begin("hello", &version(1), &Wish::default()).json();
    assert_eq!(again["missing"].as_array().unwrap().len(), 1, "{again}");
    let id = again["id"].as_str().unwrap();
    assert_eq!(api.send("hello", id, &version(1), &again["missing"]).status, 200);
    assert_eq!(api.finish("hello", id).json()["state"], "live");
    assert_eq!(bucket.get(&name), bytes);
    assert_eq!(whole_site(host.port, "hello"), 1);
}

#[test]
fn the_cache_keeps_within_its_bound_and_fetches_again_what_has_left_it() {
    let bucket = Bucket::new();
    let bound = 1 << 20;
    let (host, api) = start(&bucket, "cache_bytes = '1 MiB'");
    let mut seed = crate::support::seed::Seed::new(3);
    // Too large for memory, so that each is read from the folder.
    let files: Vec<(String, Vec<u8>)> = (0..8).map(|it| (format!("{it}.bin"), seed.bytes(300_000))).collect();
    api.deploy("hello", &files, &Wish::default()).unwrap();
    for _ in 0..2 {
        for (path, bytes) in &files {
            let answer = host.get("hello.localhost", &format!("/{path}"));
            assert!(answer.status == 200 && answer.body == *bytes, "{path}: {}\n{}", answer.status, host.log());
        }
        host.until_within(
            Duration::from_mins(3),
            Duration::from_millis(50),
            "the cache to be within its bound",
            || (cache_bytes(&host) <= bound).then_some(()),
        );
    }
    assert_eq!(bucket.blobs().len(), 10);
}
