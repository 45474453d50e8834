//! The bytes of sites go to a bucket by a command, and come back, verified; visitors see the same sites all the time.

use std::{
    process::{Output, Stdio},
    thread,
    time::Duration,
};

use chainhost::base::hash::Sha256;
use serde_json::Value;

use crate::{
    moving::{ask, command, deploy, said},
    support::{
        Host,
        s3::{self, Bucket, KEYS},
        write_files,
    },
};

fn move_blobs(host: &Host, to: &str) -> Output {
    command(host, &["move", "--json", "--blobs", to]).envs(KEYS).output().unwrap()
}

#[test]
fn bytes_go_to_a_bucket_and_come_back() {
    let bucket = Bucket::new();
    let mut host = Host::start_embedded();
    let key = host.key("owner@example.org", "super-admin");
    deploy(&host, &key, "one", "<p>one</p>");
    let refused = command(&host, &["move", "--blobs", &bucket.url()])
        .envs([(KEYS[0].0, s3::KEY), (KEYS[1].0, "wrong")])
        .output()
        .unwrap();
    assert!(!refused.status.success() && !host.data().join("blobs-url").exists(), "{}", said(&refused));
    let refused = command(&host, &["move", "--blobs", &bucket.url()]).output().unwrap();
    assert!(refused.status.code() == Some(2) && said(&refused).contains(KEYS[0].0), "{}", said(&refused));
    let out = move_blobs(&host, &bucket.url());
    assert!(out.status.success(), "{}", said(&out));
    let report: Value = serde_json::from_slice(&out.stdout).unwrap();
    let setting = report.pointer("/settings/0").unwrap();
    assert_eq!(setting.get("variable").unwrap(), "CHAINHOST_BLOBS_URL");
    assert!(bucket.blobs().len() >= 3, "before the restart");
    assert_eq!(host.stop(), Some(0));
    // Without the keys, which the folder does not remember, sites answer, and what is missing is said.
    host.restart();
    assert_eq!(host.get("one.localhost", "/").text(), "<p>one</p>");
    let told = host.get("localhost", "/healthz").text() + &host.log();
    assert!(told.contains("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"), "{told}");
    assert_eq!(host.stop(), Some(0));
    host.become_as(&KEYS.map(|(name, value)| (name, value.to_owned())), &[]);
    host.restart();
    host.until("a store is carried into once", || carried(&host).then_some(()));
    deploy(&host, &key, "two", "<p>two</p>");
    let kept = bucket.blobs();
    // Another installation may not have this bucket.
    let stranger = Host::start_embedded();
    let refused = move_blobs(&stranger, &bucket.url());
    assert!(said(&refused).contains("another installation"), "{}", said(&refused));
    // The folder is a cache now, which may forget.
    s3::wipe(&host.data());
    let out = move_blobs(&host, "folder");
    assert!(out.status.success(), "{}\n{}", said(&out), host.log());
    for hash in &kept {
        assert!(s3::local(&host.data(), hash).exists(), "{hash} is here again");
    }
    assert!(!host.data().join("blobs-url").exists());
    assert_eq!(host.stop(), Some(0));
    host.become_as(&[], &[]);
    host.restart();
    for site in ["one", "two"] {
        assert_eq!(host.get(&format!("{site}.localhost"), "/").text(), format!("<p>{site}</p>"));
        assert_eq!(host.get(&format!("{site}.localhost"), "/a/b.txt").text(), "the same");
    }
    let again = move_blobs(&host, "folder");
    assert!(said(&again).contains("already"), "{}", said(&again));
}

/// A server with one site, whose bytes were moved to a bucket before its last start.
fn in_a_bucket() -> (Bucket, Host) {
    let bucket = Bucket::new();
    let mut host = Host::start_embedded();
    let key = host.key("owner@example.org", "super-admin");
    deploy(&host, &key, "one", "<p>one</p>");
    assert!(move_blobs(&host, &bucket.url()).status.success());
    assert_eq!(host.stop(), Some(0));
    host.become_as(&KEYS.map(|(name, value)| (name, value.to_owned())), &[]);
    host.restart();
    (bucket, host)
}

/// Whether the server knows that the store has all.
fn carried(host: &Host) -> bool {
    !ask(host, "SELECT value FROM setting WHERE name = 'blobs_carried' AND value <> ''").is_empty()
}

fn files(out: &Output) -> Value {
    assert!(out.status.success(), "{}", said(out));
    serde_json::from_slice::<Value>(&out.stdout).unwrap().get("files").unwrap().clone()
}

/// Other bytes of the same length.
fn damage(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|it| it ^ 1).collect()
}

#[test]
fn files_are_verified_before_the_restart_and_told_by_number_bytes_and_hash() {
    let bucket = Bucket::new();
    let mut host = Host::start_embedded();
    let key = host.key("owner@example.org", "super-admin");
    deploy(&host, &key, "one", "<p>one</p>");
    let all = || {
        let mut command = command(&host, &["move", "--json", "--blobs", &bucket.url(), "--rehearse"]);
        command.envs(KEYS).output().unwrap()
    };
    let rehearsed = files(&all());
    assert_eq!(bucket.list().len(), 0, "nothing was changed");
    let local = s3::local(&host.data(), &Sha256::of(b"the same").hex());
    let kept = std::fs::read(&local).unwrap();
    for (bytes, works) in [(damage(&kept), false), (kept, true)] {
        drop(std::fs::remove_file(&local));
        write_files(local.parent().unwrap(), &[(local.file_name().unwrap().to_str().unwrap(), &bytes)]);
        assert_eq!(all().status.success(), works, "a damaged file is told");
    }

    let moved = files(&move_blobs(&host, &bucket.url()));
    assert_eq!(moved, rehearsed);
    let (count, bytes) = (moved.get("files").unwrap().as_u64().unwrap(), moved.get("bytes").unwrap().as_u64().unwrap());
    let there = bucket.list();
    let blobs: Vec<_> = there.iter().filter(|it| it.0.starts_with("blobs/")).collect();
    assert_eq!((count, bytes), (blobs.len().try_into().unwrap(), blobs.iter().map(|it| it.1).sum()));
    // The store has other bytes of one, of the same length.
    let name = blobs[0].0;
    let right = bucket.get(name);
    bucket.put(name, damage(&right));
    std::fs::remove_file(host.data().join("blobs-url")).unwrap();
    assert_eq!(files(&move_blobs(&host, &bucket.url())), moved);
    assert_eq!(bucket.get(name), right);

    // A server with nothing in its folder serves at once.
    assert_eq!(host.stop(), Some(0));
    s3::wipe(&host.data());
    host.become_as(&KEYS.map(|(name, value)| (name, value.to_owned())), &[]);
    host.restart();
    assert_eq!(host.get("one.localhost", "/").text(), "<p>one</p>");
    assert_eq!(host.get("one.localhost", "/a/b.txt").text(), "the same");
    // The folder has only some of the files: another bucket would get those alone.
    let other = move_blobs(&host, &Bucket::new().url());
    assert!(said(&other).contains("chainhost move --blobs folder"), "{}", said(&other));
    assert_eq!(files(&move_blobs(&host, "folder")), moved);
}

#[test]
fn a_killed_move_of_the_bytes_is_ended_by_the_next() {
    let bucket = Bucket::new();
    let host = Host::start_embedded();
    let key = host.key("owner@example.org", "super-admin");
    let pages: Vec<_> = (0..60).map(|it| (format!("{it}.txt"), format!("{it} ").repeat(2_000).into_bytes())).collect();
    let pages: Vec<(&str, &[u8])> = pages.iter().map(|it| (it.0.as_str(), it.1.as_slice())).collect();
    write_files(&host.beside("many"), &pages);
    host.cli_json(&key, &["deploy", host.beside("many").to_str().unwrap(), "--site", "many", "--create", "--json"]);
    for round in 0..8 {
        let mut child = command(&host, &["move", "--blobs", &bucket.url()]);
        let mut child = child.envs(KEYS).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        thread::sleep(Duration::from_millis(40 * round));
        drop(child.kill());
        child.wait().unwrap();
        if host.data().join("blobs-url").exists() {
            // It has come to its end: then all is there.
            assert!(bucket.blobs().len() > 60);
            std::fs::remove_file(host.data().join("blobs-url")).unwrap();
        }
    }
    bucket.gate.set(s3::Way::Cuts(200_000));
    assert!(!move_blobs(&host, &bucket.url()).status.success() || bucket.blobs().len() > 60);
    drop(std::fs::remove_file(host.data().join("blobs-url")));
    bucket.gate.set(s3::Way::Open);
    let moved = files(&move_blobs(&host, &bucket.url()));
    assert_eq!(moved.get("files").unwrap().as_u64().unwrap(), u64::try_from(bucket.blobs().len()).unwrap());
    for (name, _) in bucket.list().into_iter().filter(|it| it.0.starts_with("blobs/")) {
        assert!(name.ends_with(&Sha256::of(&bucket.get(&name)).hex()), "{name}");
    }
}

#[test]
fn a_bucket_is_not_left_while_bytes_are_missing() {
    let (bucket, host) = in_a_bucket();
    host.until("the files are carried", || (bucket.blobs().len() >= 3).then_some(()));
    s3::wipe(&host.data());
    bucket.gate.set(s3::Way::Shut);
    let out = move_blobs(&host, "folder");
    assert!(!out.status.success(), "{}", said(&out));
    assert!(host.data().join("blobs-url").exists());
    bucket.gate.set(s3::Way::Open);
    host.until("the store is asked again", || move_blobs(&host, "folder").status.success().then_some(()));
    assert!(!host.data().join("blobs-url").exists());
}

#[test]
fn what_is_lost_is_not_among_what_was_brought() {
    let (bucket, host) = in_a_bucket();
    host.until("the files are carried", || carried(&host).then_some(()));
    let held = || host.log().contains("no file leaves the data folder any more");
    let rehearse = ["move", "--json", "--blobs", "folder", "--rehearse"];
    let whole = files(&command(&host, &rehearse).envs(KEYS).output().unwrap());
    assert!(!held(), "a rehearsal changes nothing");

    let local = s3::local(&host.data(), &Sha256::of(b"the same").hex());
    let kept = std::fs::read(&local).unwrap();
    let name = bucket.list().into_keys().find(|it| it.ends_with(&Sha256::of(b"the same").hex())).unwrap();
    bucket.put(&name, damage(&kept));
    drop(std::fs::remove_file(&local));
    write_files(local.parent().unwrap(), &[(local.file_name().unwrap().to_str().unwrap(), &damage(&kept))]);
    // And one that is nowhere.
    let page = Sha256::of(b"<p>one</p>").hex();
    bucket.delete(&bucket.list().into_keys().find(|it| it.ends_with(&page)).unwrap());
    std::fs::remove_file(s3::local(&host.data(), &page)).unwrap();
    let out = move_blobs(&host, "folder");
    let told = files(&out);
    let count = |it: &Value, name: &str| it.get(name).unwrap().as_u64().unwrap();
    assert_eq!((count(&whole, "lost"), count(&told, "lost")), (0, 2), "{told}");
    assert_eq!(count(&told, "files") + 2, count(&whole, "files"));
    assert_eq!(count(&told, "bytes") + 8 + 10, count(&whole, "bytes"));
    assert_ne!(told.get("sha256"), whole.get("sha256"));
    assert!(held());
}

#[test]
fn a_cache_that_is_too_small_is_told_before_anything_is_brought() {
    let bucket = Bucket::new();
    let mut host = Host::start_embedded();
    let key = host.key("owner@example.org", "super-admin");
    deploy(&host, &key, "one", &"<p>one</p>".repeat(1_000));
    assert!(move_blobs(&host, &bucket.url()).status.success());
    assert_eq!(host.stop(), Some(0));
    let file = host.beside("chainhost.toml");
    write_files(&host.beside(""), &[("chainhost.toml", bucket.settings("cache_bytes = '4 KiB'").as_bytes())]);
    host.become_as(&[], &["--config", file.to_str().unwrap()]);
    host.restart();
    host.until("the files are carried", || (bucket.blobs().len() >= 3).then_some(()));
    s3::wipe(&host.data());
    let out = move_blobs(&host, "folder");
    assert!(!out.status.success(), "{}", said(&out));
    assert!(said(&out).contains("`cache_bytes`") && said(&out).contains("Nothing was begun"), "{}", said(&out));
    assert!(host.data().join("blobs-url").exists());
}
