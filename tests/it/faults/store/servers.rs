//! Several servers on one database and one store: what one has taken, the other goes on with.

#![cfg(feature = "postgres")]

use super::*;
use crate::support::postgres::{Database, Way as To};

/// Two servers on one database, with these settings of blobs.
fn two(settings: &str) -> [(Host, Api); 2] {
    let url = Database::new(To::Direct).keep();
    let settings = format!("[database]\nurl = '{url}'\n{settings}");
    let first = Host::start_embedded_configured(&settings);
    let key = first.key("owner@example.org", "super-admin");
    let second = Host::start_embedded_configured(&settings);
    [first, second].map(|host| {
        let api = Api::new(&host, &key);
        (host, api)
    })
}

/// Begins on one, sends to the other, finishes on the first.
fn deploy_across(one: &(Host, Api), other: &(Host, Api), number: u64) {
    let begun = one.1.begin("hello", &version(number), &Wish::default()).json();
    let id = begun["id"].as_str().unwrap();
    let sent = other.1.send("hello", id, &version(number), &begun["missing"]);
    assert_eq!(sent.status, 200, "{}\n{}", sent.text(), other.0.log());
    let done = one.1.finish("hello", id);
    assert_eq!(done.status, 200, "{}\n{}", done.text(), one.0.log());
    assert_eq!(whole_site(one.0.port, "hello"), number);
}

#[test]
fn an_upload_goes_on_at_another_server_that_has_the_same_bucket() {
    let bucket = Bucket::new();
    let [one, other] = two(&bucket.settings(""));
    one.1.must("POST /api/v1/sites", &json!({ "name": "hello" }), 201);
    deploy_across(&one, &other, 1);
    deploy_across(&other, &one, 2);
}

#[test]
fn an_upload_goes_on_at_another_server_that_has_the_same_folder() {
    let folder = tempfile::tempdir().unwrap();
    let shared = folder.path().join("shared");
    let [mut one, other] = two(&format!("[blobs]\nfolder = '{}'\n", shared.display()));
    one.1.must("POST /api/v1/sites", &json!({ "name": "hello" }), 201);
    deploy_across(&one, &other, 1);
    // A restart of one takes nothing from an upload at the other that is not finished.
    let begun = other.1.begin("hello", &version(2), &Wish::default()).json();
    let id = begun["id"].as_str().unwrap();
    assert_eq!(other.1.send("hello", id, &version(2), &begun["missing"]).status, 200);
    one.0.kill();
    one.0.restart();
    assert_eq!(other.1.finish("hello", id).json()["state"], "live");
    assert_eq!(whole_site(other.0.port, "hello"), 2);
}
