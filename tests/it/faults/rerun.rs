//! A job that fails for good: seen where people look, and run once more when what was wrong is mended.

use std::fs;

use serde_json::{Value, json};

use super::{api::Api, check_stores, whole_site};
use crate::support::{Host, browser::Browser, write_files};

#[test]
fn a_job_that_failed_for_good_is_run_again_once_its_cause_is_mended() {
    let mut host = Host::start();
    let api = Api::new(&host, &host.key("owner@example.org", "super-admin"));
    api.must("POST /api/v1/sites", &json!({ "name": "hello" }), 201);
    api.must("POST /api/v1/queues/deploy/pause", &Value::Null, 204);
    let deployment = api.deploy_version("hello", 1);
    let manifest = deployment["manifest_sha256"].as_str().unwrap().to_owned();
    let id = host.until("the job", || {
        let jobs = api.list("/api/v1/jobs");
        jobs.iter().find(|it| it["title"] == "Compress hello 1").map(|it| it["id"].as_str().unwrap().to_owned())
    });
    let job = || api.must(&format!("GET /api/v1/jobs/{id}"), &Value::Null, 200);
    let mut owner = Browser::signed_in(&host, "owner@example.org");

    let blob = host.data().join("blobs").join(&manifest[..2]).join(&manifest);
    let right = fs::read(&blob).unwrap();
    let replace = |bytes: &[u8]| {
        fs::remove_file(&blob).unwrap();
        write_files(blob.parent().unwrap(), &[(&manifest, bytes)]);
    };
    replace(b"not what it was");
    api.must("POST /api/v1/queues/deploy/resume", &Value::Null, 204);
    // It is tried three times. Nobody waits for the times in between: each is asked for.
    for attempt in 1..3 {
        host.until("the attempt", || {
            let job = job();
            (job["state"] == "delayed" && job["attempt"] == attempt).then_some(())
        });
        assert_eq!(owner.post(&format!("/jobs/{id}/rerun"), "").header("location"), Some("/jobs"));
    }
    host.until("its death", || (job()["state"] == "failed").then_some(()));
    let dead = job();
    assert_eq!(dead["attempt"], 3);
    let error = dead["error"].as_str().unwrap().to_owned();
    assert!(!error.is_empty());
    let failed = api.list("/api/v1/jobs").into_iter().filter(|it| it["state"] == "failed").count();
    assert_eq!(failed, 1);
    let depths = api.must("GET /api/v1/queues", &Value::Null, 200);
    assert!(
        depths["items"].as_array().unwrap().iter().any(|it| it["queue"] == "deploy" && it["failed"] == 1),
        "{depths}"
    );
    let page = owner.page("/jobs");
    assert!(page.contains("Compress hello 1") && page.contains(&format!("/jobs/{id}/rerun")), "{page}");
    assert!(host.get("localhost", "/metrics").text().contains("chainhost_jobs{queue=\"deploy\",state=\"failed\"} 1\n"));

    // What was not mended fails again, with attempts of its own; then it does its work.
    replace(&right);
    assert_eq!(owner.post(&format!("/jobs/{id}/rerun"), "").header("location"), Some("/jobs"));
    host.until("its end", || (job()["state"] == "done").then_some(()));
    let head = format!("GET / HTTP/1.1\r\nHost: hello.localhost:{}\r\nAccept-Encoding: br\r\n", host.port);
    host.until("the compressed form", || {
        let answer = crate::support::http::ask(host.port, &head, b"");
        assert_eq!(answer.status, 200, "{}", answer.text());
        (answer.header("content-encoding") == Some("br")).then_some(())
    });
    let reruns: Vec<Value> = api.list("/api/v1/audit").into_iter().filter(|it| it["kind"] == "job.rerun").collect();
    assert_eq!(reruns.len(), 3, "{reruns:?}");
    assert!(reruns.iter().all(|it| it["actor"] == "owner@example.org" && it.to_string().contains(&id)), "{reruns:?}");
    assert_eq!(api.call(&format!("POST /api/v1/jobs/{id}/rerun"), b"").status, 409, "it has ended well");
    assert_eq!(whole_site(host.port, "hello"), 1);
    drop(owner);
    check_stores(&mut host);
}
