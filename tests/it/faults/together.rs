//! Two at once on one site: the later finish is published, a condition is kept, nothing is begun or finished twice.

use std::{
    sync::{Arc, Barrier},
    thread,
};

use chainhost::{
    domain::{deployment::DeploymentRef, site::SiteName},
    store,
};
use serde_json::{Value, json};

use super::{
    api::{Api, Wish},
    check_stores, inside, version, whole_site,
};
use crate::support::{Answer, Host};

fn start() -> (Host, Api) {
    let host = Host::start();
    let api = Api::new(&host, &host.key("owner@example.org", "super-admin"));
    api.must("POST /api/v1/sites", &json!({ "name": "hello" }), 201);
    (host, api)
}

fn wish(message: &str) -> Wish {
    Wish { message: message.to_owned(), ..Wish::default() }
}

/// Begins and sends, so that only the finish is missing; the id.
fn sent(api: &Api, number: u64, wish: &Wish) -> String {
    let files = version(number);
    let begun = api.begin("hello", &files, wish);
    assert_eq!(begun.status, 201, "{}", begun.text());
    let begun = begun.json();
    let id = begun["id"].as_str().unwrap().to_owned();
    assert_eq!(api.send("hello", &id, &files, &begun["missing"]).status, 200);
    id
}

/// Runs the same `count` times at the same moment.
fn at_once<T: Send + 'static>(count: usize, act: impl Fn(usize) -> T + Clone + Send + 'static) -> Vec<T> {
    let barrier = Arc::new(Barrier::new(count));
    let threads: Vec<_> = (0..count)
        .map(|number| {
            let (barrier, act) = (Arc::clone(&barrier), act.clone());
            thread::spawn(move || {
                barrier.wait();
                act(number)
            })
        })
        .collect();
    threads.into_iter().map(|it| it.join().unwrap()).collect()
}

#[test]
fn of_two_deploys_the_later_finish_is_published() {
    let (host, api) = start();
    let first = sent(&api, 1, &wish("first"));
    let second = sent(&api, 2, &wish("second"));
    assert_eq!(api.finish("hello", &second).json()["state"], "live");
    assert_eq!(whole_site(host.port, "hello"), 2);
    assert_eq!(api.finish("hello", &first).json()["state"], "live");
    assert_eq!(whole_site(host.port, "hello"), 1);
    // What is over is not published again by asking again.
    assert_eq!(api.finish("hello", &second).json()["state"], "superseded");
    assert_eq!(whole_site(host.port, "hello"), 1);
}

#[test]
fn a_deploy_with_a_condition_is_refused_when_the_site_has_changed() {
    let (mut host, api) = start();
    let live = api.deploy_version("hello", 1)["id"].as_str().unwrap().to_owned();
    let if_live = |message: &str| Wish { if_live: Some(live.clone()), ..wish(message) };
    let kept = sent(&api, 3, &if_live("kept"));
    let late = sent(&api, 4, &if_live("late"));
    assert_eq!(api.finish("hello", &kept).json()["state"], "live");
    let refused =
        |answer: &Answer| assert_eq!((answer.status, answer.json()["code"].as_str()), (409, Some("live_changed")));
    refused(&api.finish("hello", &late));
    // The answer may have been lost on its way: asking again gives the same.
    refused(&api.finish("hello", &late));
    refused(&api.begin("hello", &version(5), &if_live("later")));
    refused(&api.call("POST /api/v1/sites/hello/rollback", json!({ "if_live": live }).to_string().as_bytes()));
    assert_eq!(whole_site(host.port, "hello"), 3);
    let late = api.must(&format!("GET /api/v1/sites/hello/deployments/{late}"), &Value::Null, 200);
    assert_eq!(late["state"], "ready");
    check_stores(&mut host);
}

#[test]
fn finishing_twice_at_once_publishes_once() {
    let (mut host, api) = start();
    for number in 1..=15 {
        let id = sent(&api, number, &wish("twice"));
        let answers = at_once(4, {
            let (api, id) = (api.clone(), id.clone());
            move |_| api.finish("hello", &id)
        });
        for answer in answers {
            assert_eq!((answer.status, answer.json()["state"].as_str()), (200, Some("live")), "{}", answer.text());
        }
        assert_eq!(whole_site(host.port, "hello"), number);
    }
    let events = api.list("/api/v1/audit");
    assert_eq!(events.iter().filter(|it| it["kind"] == "deployment.published").count(), 15);
    check_stores(&mut host);
}

#[test]
fn beginning_at_once_with_one_key_begins_one_deployment() {
    let (mut host, api) = start();
    for number in 1..=10 {
        let wish = Wish { idempotency_key: Some(format!("key {number}")), ..wish("once") };
        let begun = at_once(8, {
            let api = api.clone();
            move |_| api.begin("hello", &version(number), &wish)
        });
        let ids: Vec<Value> = begun
            .iter()
            .map(|it| {
                assert_eq!(it.status, 201, "{}", it.text());
                it.json()["id"].clone()
            })
            .collect();
        assert!(ids.iter().all(|it| *it == ids[0]), "{ids:?}");
    }
    assert_eq!(api.list("/api/v1/sites/hello/deployments").len(), 10);
    let other = Wish { idempotency_key: Some(String::from("key 1")), ..wish("other files") };
    let refused = api.begin("hello", &version(99), &other);
    assert_eq!((refused.status, refused.json()["code"].as_str()), (409, Some("idempotency_key")));
    check_stores(&mut host);
}

#[test]
fn many_deploys_at_once_all_count_and_one_is_live() {
    let (mut host, api) = start();
    let done = at_once(6, {
        let api = api.clone();
        move |number| api.deploy_version("hello", u64::try_from(number).unwrap() + 1)
    });
    let live = api.must("GET /api/v1/sites/hello", &Value::Null, 200)["live"]["id"].clone();
    let shown = whole_site(host.port, "hello");
    let of_live = done.iter().find(|it| it["id"] == live).unwrap();
    assert_eq!(of_live["message"], format!("version {shown}"));
    let list = api.list("/api/v1/sites/hello/deployments");
    assert_eq!(list.iter().filter(|it| it["state"] == "superseded").count(), 5);
    check_stores(&mut host);
}

#[test]
fn what_is_live_cannot_fail_any_more() {
    let (mut host, api) = start();
    api.deploy_version("hello", 1);
    assert_eq!(host.stop(), Some(0));
    inside(&host, async |services| {
        let actor = services.actor_local().await.unwrap();
        let name = SiteName::parse("hello").unwrap();
        let found = services.get_deployment(&actor, &name, DeploymentRef::Number(1)).await.unwrap();
        let (site, id) = (found.site.id, found.deployment.id);
        // As the second of two finishes does, for which the disk was full.
        let scope = actor.scope;
        let failed = services.db.write(move |tx| store::deployments::fail(tx, scope, site, id, ("Too late.", 1))).await;
        assert!(!failed.unwrap());
    });
    host.restart();
    assert_eq!(whole_site(host.port, "hello"), 1);
    check_stores(&mut host);
}
