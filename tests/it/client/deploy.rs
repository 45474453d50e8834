//! `chainhost deploy`: what travels, what is refused, and going on after a broken line.

use std::{collections::BTreeSet, fs, os::unix::fs::symlink, path::Path, sync::mpsc, time::Duration};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    bad,
    fake::{Fake, Fault},
    folder, good, good_json, program, run, text, write,
};

fn deploy<'a>(dir: &'a TempDir, more: &[&'a str]) -> Vec<&'a str> {
    [&["deploy", dir.path().to_str().unwrap(), "--site", "cafe"], more].concat()
}

fn with_site() -> Fake {
    let fake = Fake::start();
    fake.state().sites.insert(String::from("cafe"), Vec::new());
    fake
}

fn announced(fake: &Fake) -> Vec<Value> {
    fake.state().sites["cafe"].iter().map(|it| it.announcement.clone()).collect()
}

fn states(fake: &Fake) -> Vec<&'static str> {
    fake.state().sites["cafe"].iter().map(|it| it.state).collect()
}

/// A folder of `count` files of `size` bytes, all different.
fn many(count: usize, size: usize) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for at in 0..count {
        let mut bytes = vec![b'x'; size];
        bytes.splice(..8, format!("{at:08}").into_bytes());
        write(dir.path(), &format!("d{}/{at}.txt", at % 7), bytes);
    }
    dir
}

#[test]
fn only_what_is_new_is_sent_and_the_report_keeps_its_keys() {
    let fake = Fake::start();
    let dir = folder(&[
        ("index.html", "one"),
        ("a/twin.txt", "twin"),
        ("b/twin.txt", "twin"),
        ("empty", ""),
        ("_headers", "/*\n  x-a: b\n"),
        (".git/config", "no"),
        ("node_modules/.env", "no"),
    ]);
    let report = good_json(&fake, &deploy(&dir, &["--create", "--json"]));
    let keys: BTreeSet<&str> = report.as_object().unwrap().keys().map(String::as_str).collect();
    let wanted =
        ["bytes_sent", "deployment", "duration_ms", "files", "files_sent", "manifest_sha256", "preview_url", "url"];
    assert_eq!(keys, BTreeSet::from(wanted));
    assert_eq!((&report["files_sent"], &report["bytes_sent"]), (&json!(4), &json!(19)));
    assert_eq!(report["deployment"], fake.state().sites["cafe"][0].id);
    assert_eq!(report["url"], "http://cafe.localhost/");
    let list = announced(&fake)[0].clone();
    let paths: Vec<&str> = list["files"].as_array().unwrap().iter().map(|it| it[0].as_str().unwrap()).collect();
    assert_eq!(paths, ["/_headers", "/a/twin.txt", "/b/twin.txt", "/empty", "/index.html"]);
    assert_eq!((&list["publish"], &list["if_live"], &list["allow_env"]), (&json!(true), &Value::Null, &json!(false)));

    write(dir.path(), "index.html", "two");
    let said = good(&fake, &deploy(&dir, &["--create", "--message", "Second"]));
    assert!(said.starts_with("cafe 7 is live: sent 1 of 5 files (3 B) in "), "{said}");
    assert!(said.contains("http://cafe.localhost/") && said.contains("http://x--cafe.localhost/"), "{said}");
    assert_eq!(announced(&fake)[1]["message"], "Second");
    assert_eq!(states(&fake), ["superseded", "live"]);

    // The first content again: its key belongs to a deployment that is over, so this is a third.
    write(dir.path(), "index.html", "one");
    let report = good_json(&fake, &deploy(&dir, &["--json"]));
    assert_eq!(report["files_sent"], 0);
    assert_eq!(states(&fake), ["superseded", "superseded", "live"]);
}

#[test]
fn publishing_is_left_out_or_bound_to_what_is_live() {
    let fake = with_site();
    let dir = folder(&[("index.html", "one"), (".env", "x")]);
    let id = "0123456789abcdef0123456789abcdef";
    let said = good(&fake, &deploy(&dir, &["--no-publish", "--allow-env", "--if-live", id]));
    assert!(said.contains("is ready, not published") && !said.contains("http://cafe.localhost/"), "{said}");
    let list = announced(&fake)[0].clone();
    assert_eq!((&list["publish"], &list["if_live"], &list["allow_env"]), (&json!(false), &json!(id), &json!(true)));
    assert_eq!(states(&fake), ["ready"]);
    bad(&fake, &deploy(&dir, &["--if-live", "41x"]), 2);
}

#[test]
fn a_cut_connection_goes_on_where_it_broke() {
    let fake = with_site();
    let dir = many(40, 1_000);
    fake.state().faults.extend([Fault::CutAfterFrames(10), Fault::CutAfterFrames(7)]);
    fake.state().lost = Some(("/finish", 1));
    good(&fake, &deploy(&dir, &[]));
    assert_eq!(fake.state().frames, 40);
    assert_eq!(fake.state().blobs.len(), 40);
    assert_eq!(states(&fake), ["live"]);
    let keys: BTreeSet<_> = fake.state().asked.iter().filter_map(|it| it.idempotency_key.clone()).collect();
    assert_eq!(keys.len(), 1);
}

#[test]
fn a_server_that_restarts_meanwhile_is_waited_for() {
    let fake = with_site();
    let dir = many(5, 1_000);
    fake.state().faults.push_back(Fault::Restart);
    let report = good_json(&fake, &deploy(&dir, &["--json"]));
    assert_eq!(states(&fake), ["live"]);
    // What the lost request had brought is not counted, nor sent again.
    assert_eq!(report["files_sent"], 4);
    assert_eq!(fake.state().frames, 5);
}

#[test]
fn a_killed_upload_is_resumed_by_the_next() {
    let fake = with_site();
    let dir = many(30, 2_000);
    let (told, hung) = mpsc::sync_channel(1);
    fake.state().faults.push_back(Fault::HangAfterFrames(12, told));
    let mut command = program(dir.path());
    command.env("CHAINHOST_SERVER", fake.url()).env("CHAINHOST_KEY", &fake.key).args(deploy(&dir, &[]));
    let mut child = command.spawn().unwrap();
    hung.recv_timeout(Duration::from_secs(30)).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let report = good_json(&fake, &deploy(&dir, &["--json"]));
    assert_eq!(report["files_sent"], 18);
    assert_eq!(states(&fake), ["live"]);
}

#[test]
fn large_files_travel_in_pieces_and_in_several_requests() {
    let fake = with_site();
    let dir = many(3, 20 << 20);
    write(dir.path(), "small", "s");
    let report = good_json(&fake, &deploy(&dir, &["--json"]));
    assert_eq!((&report["files_sent"], &report["bytes_sent"]), (&json!(4), &json!((60 << 20) + 1)));
    let requests = fake.calls().iter().filter(|it| it.ends_with("/blobs")).count();
    assert_eq!(requests, 3);
    assert!(fake.state().connections <= 2);
}

#[test]
fn a_file_that_changes_meanwhile_stops_the_deploy() {
    let fake = with_site();
    let dir = many(2, 1 << 20);
    let path = dir.path().to_owned();
    fake.state().announced = Some(Box::new(move || write(&path, "d0/0.txt", vec![b'y'; 1 << 20])));
    let said = bad(&fake, &deploy(&dir, &[]), 2);
    assert!(said.contains("d0/0.txt changed while deploying"), "{said}");
    assert_eq!(states(&fake), ["uploading"]);
}

#[test]
fn all_that_is_wrong_with_a_folder_is_told_at_once() {
    let fake = with_site();
    let dir = folder(&[
        ("A.html", ""),
        ("a.html", ""),
        ("b", ""),
        ("B/c", ""),
        (".env", ""),
        (".well-known/chainhost/x", ""),
    ]);
    symlink("/etc/passwd", dir.path().join("link")).unwrap();
    let said = bad(&fake, &deploy(&dir, &[]), 2);
    for wanted in
        ["/A.html and /a.html", "/b is a file", "--allow-env", "/.well-known/chainhost", "link is a symbolic link"]
    {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    for at in 0..30 {
        symlink("x", dir.path().join(format!("l{at}"))).unwrap();
    }
    let said = bad(&fake, &deploy(&dir, &[]), 2);
    assert!(said.contains("… and 15 more problems"), "{said}");
    assert!(bad(&fake, &["deploy", "/no/such/folder", "--site", "cafe"], 2).contains("/no/such/folder"));
    assert!(bad(&fake, &deploy(&folder(&[]), &[]), 2).contains("no file to deploy"));
    assert!(bad(&fake, &deploy(&folder(&[("_headers", "")]), &[]), 2).contains("no file to deploy"));
    let large = folder(&[]);
    fs::File::create(large.path().join("film")).unwrap().set_len((512 << 20) + 1).unwrap();
    assert!(bad(&fake, &deploy(&large, &[]), 2).contains("film has 537 MB"));
    assert!(fake.calls().is_empty(), "the server was asked");
}

#[test]
fn too_many_files_are_refused_before_they_are_read() {
    let fake = with_site();
    let dir = folder(&[]);
    for at in 0..=50_000 {
        fs::File::create(dir.path().join(at.to_string())).unwrap();
    }
    assert!(bad(&fake, &deploy(&dir, &[]), 2).contains("more than 50,000 files"));
}

#[test]
fn the_exit_code_says_who_must_act() {
    let fake = with_site();
    let dir = folder(&[("index.html", "x")]);
    // 1: the server refuses, with its own words.
    fake.state().faults.push_back(Fault::Refuse(503, "disk_full"));
    assert!(bad(&fake, &deploy(&dir, &[]), 1).contains("Not now."));
    let said = bad(&fake, &["deploy", dir.path().to_str().unwrap(), "--site", "none"], 1);
    assert!(said.contains("--create makes it"), "{said}");
    // 2: the input.
    assert!(bad(&fake, &deploy(&dir, &["--server", "x.example"]), 2).contains("must begin with https://"));
    bad(&fake, &["deploy", dir.path().to_str().unwrap(), "--site", "No Name"], 2);
    // 3: nobody there.
    let nobody = deploy(&dir, &["--server", "http://localhost:1"]);
    let said = bad(&fake, &nobody, 3);
    assert!(said.contains("http://localhost:1") && said.contains("chainhost serve"), "{said}");
    // 4: the key.
    let other = Fake::start();
    assert!(bad(&fake, &deploy(&dir, &["--server", &other.url()]), 4).contains("This key is not known here."));
}

#[test]
fn a_refusal_is_heard_while_much_is_still_to_be_sent() {
    let fake = with_site();
    let dir = many(3, 20 << 20);
    fake.state().faults.extend([Fault::Refuse(413, "too_large"), Fault::Refuse(413, "too_large")]);
    let said = bad(&fake, &deploy(&dir, &[]), 1);
    assert!(said.contains("Not now."), "{said}");
    // A long list too.
    let (dir, other) = (many(3_000, 8), Fake::start());
    let said = bad(&fake, &deploy(&dir, &["--server", &other.url()]), 4);
    assert!(said.contains("This key is not known here."), "{said}");
    assert_eq!(other.calls().len(), 1);
}

#[test]
fn names_below_localhost_are_loopback_and_no_proxy_is_asked() {
    let fake = with_site();
    let dir = folder(&[("index.html", "x")]);
    let mut command = program(Path::new("/"));
    for name in ["http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"] {
        command.env(name, "http://127.0.0.1:1");
    }
    let server = format!("http://panel.localhost:{}", fake.address.port());
    command.env("CHAINHOST_KEY", &fake.key).args(deploy(&dir, &["--server", &server]));
    let out = command.output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    assert_eq!(fake.state().asked[0].host, format!("panel.localhost:{}", fake.address.port()));
}

#[test]
fn a_deployment_that_fails_at_its_end_says_why() {
    let fake = with_site();
    let dir = folder(&[("index.html", "x"), ("_redirects", "what")]);
    run(&fake, &deploy(&dir, &["--no-publish"]));
    let id = fake.state().sites["cafe"][0].id.clone();
    let call = format!("POST /api/v1/sites/cafe/deployments/{id}/finish");
    let problem =
        json!({"detail": "Line 1 of _redirects does not parse.", "code": "redirects", "field": "files", "status": 400});
    fake.state().sites.get_mut("cafe").unwrap()[0].state = "uploading";
    fake.answer(&call, 400, problem);
    let said = bad(&fake, &deploy(&dir, &["--no-publish"]), 1);
    assert!(said.contains("Line 1 of _redirects does not parse. (field: files)"), "{said}");
    fake.answer(&call, 200, json!({"id": id, "number": 7, "state": "failed", "problem": "A rule is wrong."}));
    assert!(bad(&fake, &deploy(&dir, &["--no-publish"]), 1).contains("Deployment 7 is failed. A rule is wrong."));
}
