//! A server that dies at each step of a deploy: before a file is made, before it is synced, before it gets its name, before a row is
//! written or committed.
//!
//! The moments of `kill` are at random, these are counted: strace kills the server at the n-th call of a kind that one of its threads
//! makes, from the beginning of a deploy on, until a deploy comes to its end without having made so many.

use serde_json::json;

use super::{
    api::{Api, Wish},
    check_stores, is_long, version, whole_site,
};
use crate::support::{Host, strace::Strace};

/// Kinds of steps, by the calls that make them.
const KINDS: [&str; 4] =
    ["openat", "pwrite64,write,writev", "fsync,fdatasync,sync_file_range", "renameat2,renameat,rename,linkat,link"];
/// After so many a deploy has surely come to its end.
const STEPS_MAX: u64 = 2_000;

/// The step after `step`: each of them in a long run, else each twice as late.
fn next(step: u64) -> u64 {
    if is_long() { step + 1 } else { step * 2 }
}

#[test]
fn a_server_that_dies_at_any_step_of_a_deploy_has_what_it_acknowledged_and_goes_on() {
    let mut host = Host::start_embedded();
    let api = Api::new(&host, &host.key("owner@example.org", "super-admin"));
    api.must("POST /api/v1/sites", &json!({ "name": "hello" }), 201);
    api.deploy_version("hello", 1);
    let mut number = 1;
    for calls in KINDS {
        let (mut deaths, mut step) = (0, 1);
        loop {
            let live = whole_site(host.port, "hello");
            number += 1;
            let strace = Strace::attach(&host, &[&format!("{calls}:signal=KILL:when={step}")], None);
            let done = api.deploy("hello", &version(number), &Wish::default());
            drop(strace);
            let died = host.has_died();
            host.kill();
            host.restart();
            api.moved(&host);
            let shown = whole_site(host.port, "hello");
            match &done {
                Ok(_) => assert_eq!(shown, number, "{calls} {step}: it was acknowledged\n{}", host.log()),
                Err(answer) => {
                    assert!(died, "{calls} {step}: {} {}", answer.status, answer.text());
                    assert!([live, number].contains(&shown), "{calls} {step}: {shown} instead of {live} or {number}");
                }
            }
            // Nothing that was left behind is in the way of the same files.
            if shown != number {
                api.deploy("hello", &version(number), &Wish::default())
                    .unwrap_or_else(|answer| panic!("{calls} {step}: {} {}", answer.status, answer.text()));
                assert_eq!(whole_site(host.port, "hello"), number);
            }
            if !died {
                break;
            }
            deaths += 1;
            step = next(step);
            assert!(step < STEPS_MAX, "a deploy has no end under {calls}");
        }
        println!("{calls}: died at {deaths} steps, the last before {step}");
        assert!(deaths > 0, "{calls}: no such step");
    }
    assert_eq!(host.get("localhost", "/healthz").json(), json!({ "sites": "ok", "control": "ok", "queue": "ok" }));
    check_stores(&mut host);
}
