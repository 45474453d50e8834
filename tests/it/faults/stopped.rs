//! A process that stands still for a while, as a machine that is frozen or swaps does, and then goes on as if nothing had been.

use std::{sync::mpsc, thread, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::{
    api::{Api, Wish},
    check_stores, heavy, job, rounds, version, whole_site,
};
use crate::{cluster::Shared, support::Host};

/// Longer than a lease, which is 30 s.
#[test]
fn a_worker_that_stood_still_for_longer_than_its_lease_ends_nothing() {
    let shared = Shared::new();
    let web = shared.web();
    let api = Api::new(&web, &web.key("owner@example.org", "super-admin"));
    let frozen = shared.worker();
    api.must("POST /api/v1/sites", &json!({ "name": "hello" }), 201);
    api.deploy("hello", &heavy(1), &Wish::default()).unwrap_or_else(|it| panic!("{}", it.text()));
    web.until("the job to run", || (job(&api)["state"] == "running").then_some(()));
    frozen.signal(Signal::STOP);
    assert_eq!(job(&api)["state"], "running", "it was over too early to tell anything");
    let other = shared.worker();
    web.until_within(Duration::from_mins(4), Duration::from_millis(200), "another to do it", || {
        (job(&api)["state"] == "done").then_some(())
    });
    let done = job(&api);
    assert_eq!(done["attempt"], 2, "{done}");
    frozen.signal(Signal::CONT);
    web.until_within(Duration::from_mins(4), Duration::from_millis(200), "the late end to be refused", || {
        frozen.log().contains("an attempt ended too late to count").then_some(())
    });
    assert_eq!(job(&api), done, "the late end has changed it");
    drop(other);
    // It is not left out for ever: the next job is its own.
    api.deploy("hello", &version(2), &Wish::default()).unwrap_or_else(|it| panic!("{}", it.text()));
    web.until_within(Duration::from_mins(4), Duration::from_millis(200), "the next job", || {
        let jobs = api.must("GET /api/v1/jobs", &Value::Null, 200);
        let jobs = jobs["items"].as_array().unwrap();
        (jobs.len() == 2 && jobs.iter().all(|it| it["state"] == "done")).then_some(())
    });
}

#[test]
fn a_server_that_stood_still_goes_on_where_it_was() {
    let mut host = Host::start();
    let api = Api::new(&host, &host.key("owner@example.org", "super-admin"));
    api.must("POST /api/v1/sites", &json!({ "name": "hello" }), 201);
    api.deploy_version("hello", 1);
    let pid = Pid::from_raw(host.pid().cast_signed()).unwrap();
    for number in 2..4 {
        let (begun, is_begun) = mpsc::channel();
        let client = {
            let api = api.clone();
            thread::spawn(move || {
                begun.send(()).unwrap();
                api.deploy_version("hello", number)
            })
        };
        is_begun.recv().unwrap();
        kill_process(pid, Signal::STOP).unwrap();
        // What is tested is the time: with CHAINHOST_LONG=1 longer than any lease.
        thread::sleep(Duration::from_secs(rounds(2, 45)));
        kill_process(pid, Signal::CONT).unwrap();
        client.join().unwrap();
        assert_eq!(whole_site(host.port, "hello"), number);
    }
    host.until("all jobs to be done, once each", || {
        let jobs = api.must("GET /api/v1/jobs", &Value::Null, 200);
        let jobs = jobs["items"].as_array().unwrap();
        assert!(jobs.len() <= 3, "{jobs:?}");
        (jobs.len() == 3 && jobs.iter().all(|it| it["state"] == "done" && it["attempt"] == 1)).then_some(())
    });
    check_stores(&mut host);
}
