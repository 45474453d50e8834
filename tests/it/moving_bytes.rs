//! The bytes of sites go to a bucket by a command, and come back, verified; visitors see the same sites all the time.

use std::process::Output;

use serde_json::Value;

use crate::{
    moving::{command, deploy, said},
    support::{
        Host,
        s3::{self, Bucket},
        write_files,
    },
};

const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", s3::KEY), ("AWS_SECRET_ACCESS_KEY", s3::SECRET)];

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
    let out = move_blobs(&host, &bucket.url());
    assert!(out.status.success(), "{}", said(&out));
    let report: Value = serde_json::from_slice(&out.stdout).unwrap();
    let setting = report.pointer("/settings/0").unwrap();
    assert_eq!(setting.get("variable").unwrap(), "CHAINHOST_BLOBS_URL");
    assert_eq!(host.stop(), Some(0));
    host.become_as(&KEYS.map(|(name, value)| (name, value.to_owned())), &[]);
    host.restart();
    host.until("the files are carried", || (bucket.blobs().len() >= 3).then_some(()));
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

#[test]
fn a_bucket_is_not_left_while_bytes_are_missing() {
    let bucket = Bucket::new();
    let mut host = Host::start_embedded();
    let key = host.key("owner@example.org", "super-admin");
    deploy(&host, &key, "one", "<p>one</p>");
    assert!(move_blobs(&host, &bucket.url()).status.success());
    assert_eq!(host.stop(), Some(0));
    host.become_as(&KEYS.map(|(name, value)| (name, value.to_owned())), &[]);
    host.restart();
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
