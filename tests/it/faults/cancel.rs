//! A job that runs is cancelled.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    api::{Api, Wish},
    check_stores, heavy, job,
};
use crate::support::{Host, http};

/// The form in which a file is sent to who takes zstd.
fn coding(host: &Host, path: &str) -> Option<String> {
    let head = format!("GET {path} HTTP/1.1\r\nHost: hello.localhost:{}\r\nAccept-Encoding: zstd\r\n", host.port);
    let answer = http::ask(host.port, &head, b"");
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.header("content-encoding").map(ToOwned::to_owned)
}

#[test]
fn a_job_that_is_cancelled_while_it_runs_ends_and_runs_again_only_when_asked() {
    let mut host = Host::start();
    let key = host.key("owner@example.org", "super-admin");
    let api = Api::new(&host, &key);
    api.must("POST /api/v1/sites", &json!({ "name": "hello" }), 201);
    api.deploy("hello", &heavy(1), &Wish::default()).unwrap_or_else(|it| panic!("{}", it.text()));
    host.until("the job to run", || (job(&api)["state"] == "running").then_some(()));
    let path = format!("/api/v1/jobs/{}", job(&api)["id"].as_str().unwrap());
    let told = api.must(&format!("POST {path}/cancel"), &Value::Null, 200);
    assert_eq!(told["removed"], false, "it ran");
    let ended = host.until("the end of the job", || Some(job(&api)).filter(|it| it["state"] != "running"));
    assert_eq!(
        (&ended["state"], &ended["error"], &ended["attempt"]),
        (&json!("failed"), &json!("cancelled"), &json!(1))
    );
    // The last of its files has no other form yet, and the site is served all the same.
    assert_eq!(coding(&host, "/"), None);
    assert_eq!(host.stop(), Some(0), "{}", host.log());
    host.restart();
    api.moved(&host);
    host.until("the queue", || (api.call("GET /api/v1/jobs", b"").status == 200).then_some(()));
    assert_eq!(job(&api), ended, "a restart has begun it again");
    let events = api.must("GET /api/v1/audit", &Value::Null, 200);
    assert!(events["items"].as_array().unwrap().iter().any(|it| it["kind"] == "job.cancelled"), "{events}");

    api.must(&format!("POST {path}/rerun"), &Value::Null, 204);
    // On a busy machine it takes a while.
    let patience = Duration::from_mins(4);
    host.until_within(patience, Duration::from_millis(200), "the job", || (job(&api)["state"] == "done").then_some(()));
    host.until("the other form", || (coding(&host, "/")? == "zstd").then_some(()));
    check_stores(&mut host);
}
