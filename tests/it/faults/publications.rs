//! What is recorded is what visitors were shown: publications, their kinds, and the audit log.

use serde_json::{Value, json};

use super::{
    api::{Api, Wish},
    check_stores, inside, version, whole_site,
};
use crate::support::Host;

/// The kinds of a site's publications in their order, of a server that is stopped.
fn publications(host: &Host) -> Vec<String> {
    let mut kinds = Vec::new();
    inside(host, async |services| {
        let read = services.db.read(|tx| {
            let rows = tx.query("SELECT kind FROM publication ORDER BY seq LIMIT 1000", &[])?;
            rows.iter().map(|row| row.text(0).map(str::to_owned)).collect()
        });
        kinds = read.await.unwrap();
    });
    kinds
}

fn kinds(api: &Api) -> Vec<String> {
    let text = |it: &Value| it["kind"].as_str().unwrap().to_owned();
    api.list("/api/v1/audit").iter().map(text).collect()
}

fn start() -> (Host, Api) {
    let host = Host::start();
    let api = Api::new(&host, &host.key("owner@example.org", "super-admin"));
    api.must("POST /api/v1/sites", &json!({ "name": "hello" }), 201);
    (host, api)
}

#[test]
fn nothing_is_published_on_a_site_that_is_taken_down() {
    let (mut host, api) = start();
    api.deploy_version("hello", 1);
    api.deploy_version("hello", 2);
    let take_down = |reason: Value, status: u16| {
        api.must("PATCH /api/v1/sites/hello", &json!({ "taken_down": reason }), status);
    };
    take_down(json!("A court says so."), 200);
    let refused = api.deploy("hello", &version(3), &Wish::default()).unwrap_err();
    let problem = refused.json();
    assert_eq!((refused.status, &problem["code"]), (409, &json!("taken_down")), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("taken down"), "{problem}");
    for call in ["POST /api/v1/sites/hello/rollback", "POST /api/v1/sites/hello/deployments/1/publish"] {
        assert_eq!(api.must(call, &Value::Null, 409)["code"], "taken_down", "{call}");
    }
    let states: Vec<Value> = api.list("/api/v1/sites/hello/deployments").iter().map(|it| it["state"].clone()).collect();
    assert_eq!(states, ["ready", "live", "superseded"]);
    assert_eq!(host.get("hello.localhost", "/").status, 451);
    // The same again changes nothing; then what was live is shown, and what was sent can be.
    take_down(json!("A court says so."), 200);
    take_down(Value::Null, 200);
    take_down(Value::Null, 200);
    assert_eq!(whole_site(host.port, "hello"), 2);
    api.must("POST /api/v1/sites/hello/deployments/3/publish", &Value::Null, 200);
    assert_eq!(whole_site(host.port, "hello"), 3);
    let kinds = kinds(&api);
    let count = |kind: &str| kinds.iter().filter(|it| *it == kind).count();
    assert_eq!((count("site.taken_down"), count("site.put_back"), count("deployment.published")), (1, 1, 3));
    check_stores(&mut host);
    assert_eq!(publications(&host), ["deploy", "deploy", "takedown", "rollback", "deploy"]);
}

#[test]
fn what_is_shown_for_the_first_time_is_a_deploy_also_when_newer_ones_were_shown() {
    let (mut host, api) = start();
    let ready = Wish { publish: Some(false), ..Wish::default() };
    assert_eq!(api.deploy("hello", &version(1), &ready).unwrap()["state"], "ready");
    api.deploy_version("hello", 2);
    api.must("POST /api/v1/sites/hello/deployments/1/publish", &Value::Null, 200);
    assert_eq!(whole_site(host.port, "hello"), 1);
    assert_eq!(kinds(&api)[0], "deployment.published");
    host.until("its compressed forms", || {
        let jobs = api.list("/api/v1/jobs");
        jobs.iter().any(|it| it["title"] == "Compress hello 1" && it["state"] == "done").then_some(())
    });
    api.must("POST /api/v1/sites/hello/rollback", &Value::Null, 200);
    assert_eq!(kinds(&api)[0], "site.rolled_back");
    check_stores(&mut host);
    assert_eq!(publications(&host), ["deploy", "deploy", "rollback"]);
}

#[test]
fn the_audit_log_says_only_what_was_done_with_a_job() {
    let (mut host, api) = start();
    api.deploy_version("hello", 1);
    let job = host.until("its job", || {
        let jobs = api.must("GET /api/v1/jobs?state=done", &Value::Null, 200);
        jobs["items"][0]["id"].as_str().map(str::to_owned)
    });
    let before = kinds(&api);
    for act in ["cancel", "rerun"] {
        let answer = api.must(&format!("POST /api/v1/jobs/{job}/{act}"), &json!({}), 409);
        assert_eq!(answer["code"], "job_state", "{act}: {answer}");
        assert_eq!(kinds(&api), before, "{act} was refused and is recorded");
    }
    api.must(&format!("DELETE /api/v1/jobs/{job}"), &Value::Null, 204);
    assert_eq!(kinds(&api)[0], "job.dismissed");
    check_stores(&mut host);
}
