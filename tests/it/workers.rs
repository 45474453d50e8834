//! Workers as processes that die, stop and choose their queues, with one job: it is done once, by who may.

#![expect(clippy::indexing_slicing, reason = "a test that panics says what went wrong")]

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::{
    cluster::Shared,
    faults::{
        api::{Api, Wish},
        heavy, job,
    },
    support::{Host, http},
};

/// How long a job may take on a busy machine, with the lease of a dead worker before it.
const PATIENCE: Duration = Duration::from_mins(4);

/// A web, and who deploys there.
fn web(shared: &Shared) -> (Host, Api) {
    let web = shared.web();
    let api = Api::new(&web, &web.key("owner@example.org", "super-admin"));
    api.must("POST /api/v1/sites", &json!({ "name": "hello" }), 201);
    (web, api)
}

fn deploy(api: &Api) {
    api.deploy("hello", &heavy(1), &Wish::default()).unwrap_or_else(|it| panic!("{}", it.text()));
}

fn wait_until_it_runs(web: &Host, api: &Api) {
    web.until("the job to run", || (job(api)["state"] == "running").then_some(()));
}

fn wait_until_it_is_done(web: &Host, api: &Api) {
    web.until_within(PATIENCE, Duration::from_millis(200), "the job", || (job(api)["state"] == "done").then_some(()));
    // What it was for: the last of the files in their order has another form.
    web.until("the compressed form", || {
        let head = format!("GET / HTTP/1.1\r\nHost: hello.localhost:{}\r\nAccept-Encoding: zstd\r\n", web.port);
        (http::ask(web.port, &head, b"").header("content-encoding") == Some("zstd")).then_some(())
    });
}

#[test]
fn a_job_whose_worker_is_killed_is_done_by_another() {
    let shared = Shared::new();
    let (web, api) = web(&shared);
    let dies = shared.worker();
    deploy(&api);
    wait_until_it_runs(&web, &api);
    dies.kill();
    assert_eq!(job(&api)["state"], "running", "it was over too early to tell anything");
    let other = shared.worker();
    let begun = Instant::now();
    wait_until_it_is_done(&web, &api);
    println!("done {:?} after the death", begun.elapsed());
    assert_eq!((&job(&api)["attempt"], other.ran()), (&json!(2), 1));
    assert_eq!(other.stop(), Some(0));
    assert_eq!((&job(&api)["state"], &job(&api)["attempt"]), (&json!("done"), &json!(2)));
}

#[test]
fn a_worker_that_is_told_to_stop_ends_its_job_or_gives_it_back() {
    let shared = Shared::new();
    let (web, api) = web(&shared);
    let stops = shared.worker();
    deploy(&api);
    wait_until_it_runs(&web, &api);
    let begun = Instant::now();
    assert_eq!(stops.stop(), Some(0));
    // Nobody else is there who could have done something.
    let left = job(&api);
    println!("stopped within {:?}: the job is {}", begun.elapsed(), left["state"]);
    assert!(left["state"] == "waiting" || left["state"] == "done", "it waits for the end of a lease: {left}");
    let other = shared.worker();
    wait_until_it_is_done(&web, &api);
    assert_eq!(other.ran(), u64::from(left["state"] == "waiting"));
}

#[test]
fn a_worker_for_other_queues_leaves_a_job_alone() {
    let shared = Shared::new();
    let (web, api) = web(&shared);
    let other = shared.worker_for("email");
    let beat = || {
        let nodes = api.must("GET /api/v1/nodes", &json!(null), 200);
        let node = nodes["items"].as_array().unwrap().iter().find(|it| it["role"] == "worker").cloned()?;
        node["seen_at"].as_str().map(ToOwned::to_owned)
    };
    web.until("the worker", beat);
    deploy(&api);
    web.until("the queue to have the job", || (job(&api)["state"] == "waiting").then_some(()));
    // It lives and is on good terms with the others.
    let mut seen = beat();
    for _ in 0..3 {
        let often = Duration::from_millis(200);
        seen = web.until_within(PATIENCE, often, "a sign of life", || Some(beat()).filter(|it| *it > seen));
    }
    assert_eq!(job(&api)["state"], "waiting");
    let worker = shared.worker();
    wait_until_it_is_done(&web, &api);
    assert_eq!((&job(&api)["attempt"], worker.ran(), other.ran()), (&json!(1), 1, 0));
    assert_eq!(other.stop(), Some(0));
}

#[test]
fn a_job_of_a_worker_is_cancelled_at_a_web() {
    let shared = Shared::new();
    let (web, api) = web(&shared);
    let worker = shared.worker();
    deploy(&api);
    wait_until_it_runs(&web, &api);
    let path = format!("/api/v1/jobs/{}", job(&api)["id"].as_str().unwrap());
    let told = api.must(&format!("POST {path}/cancel"), &json!(null), 200);
    assert_eq!(told["removed"], false, "it ran");
    let begun = Instant::now();
    let ended = web.until("the end of the job", || Some(job(&api)).filter(|it| it["state"] != "running"));
    assert_eq!(
        (&ended["state"], &ended["error"], &ended["attempt"]),
        (&json!("failed"), &json!("cancelled"), &json!(1))
    );
    println!("ended {:?} after the cancel", begun.elapsed());
    // It is free for what is asked for next.
    api.must(&format!("POST {path}/rerun"), &json!(null), 204);
    wait_until_it_is_done(&web, &api);
    assert_eq!(worker.stop(), Some(0));
}
