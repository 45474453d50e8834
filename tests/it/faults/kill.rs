//! kill -9 at random moments of deploying and of starting.

use std::{collections::HashSet, thread, time::Duration};

use serde_json::{Value, json};

use super::{
    api::{Api, Wish},
    check_stores, rounds, version, whole_site,
};
use crate::{
    queue_redb::Dice,
    support::{Host, read_files},
};

const SITES: [&str; 2] = ["one", "two"];

/// What a client knows after its server died.
struct Known {
    /// The deployments that were acknowledged, oldest first.
    acknowledged: Vec<Value>,
    /// The version that was begun last.
    begun: u64,
}

/// Deploys one version after the other until the server is gone.
fn deploy_on(api: &Api, site: &str, mut begun: u64) -> Known {
    let mut acknowledged = Vec::new();
    loop {
        begun += 1;
        let wish = Wish { message: format!("version {begun}"), ..Wish::default() };
        match api.deploy(site, &version(begun), &wish) {
            Ok(deployment) => acknowledged.push(deployment),
            Err(answer) if answer.status == 0 => return Known { acknowledged, begun },
            Err(answer) => panic!("{site} {begun}: {} {}", answer.status, answer.text()),
        }
    }
}

fn version_in(message: &Value) -> u64 {
    message.as_str().unwrap().strip_prefix("version ").unwrap().parse().unwrap()
}

/// What must hold of a site after a restart. `last` is the version that was acknowledged last; gives the one that is live.
fn check_site(host: &Host, api: &Api, site: &str, known: &Known, last: u64) -> u64 {
    let kept = api.list(&format!("/api/v1/sites/{site}/deployments"));
    // Of many only the newest are kept.
    for wanted in known.acknowledged.iter().rev().take(18) {
        let found = kept.iter().find(|it| it["id"] == wanted["id"]);
        let found = found.unwrap_or_else(|| panic!("{wanted} was acknowledged and is gone\n{}", host.log()));
        assert!(["live", "superseded"].contains(&found["state"].as_str().unwrap()), "{found}");
        assert_eq!((&found["files"], &found["manifest_sha256"]), (&json!(40), &wanted["manifest_sha256"]));
    }
    let Some(live) = kept.iter().find(|it| it["live"] == true) else {
        assert!(known.acknowledged.is_empty() && last == 0);
        return 0;
    };
    let number = version_in(&live["message"]);
    assert!((last..=known.begun).contains(&number), "{number} is live, {last} was acknowledged, {} begun", known.begun);
    assert_eq!(whole_site(host.port, site), number);
    number
}

/// Every publication has one job, which is there or has ended.
fn check_jobs(host: &Host, api: &Api, known: &[Known]) {
    let titles = || -> Vec<String> {
        let jobs = api.must("GET /api/v1/jobs?queue=deploy&limit=200", &Value::Null, 200);
        jobs["items"].as_array().unwrap().iter().map(|it| it["title"].as_str().unwrap().to_owned()).collect()
    };
    for (site, known) in SITES.iter().zip(known) {
        // Of ended jobs the last hundred are kept.
        for it in known.acknowledged.iter().rev().take(40) {
            let title = format!("Compress {site} {}", it["number"]);
            host.until(&title, || titles().contains(&title).then_some(()));
        }
    }
    let titles = titles();
    assert_eq!(titles.iter().collect::<HashSet<_>>().len(), titles.len(), "a job twice: {titles:?}");
}

/// Files that an earlier run was writing and nobody will ever read. Only of a server that is stopped.
fn left_overs(host: &Host) -> Vec<String> {
    let names = read_files(&host.data()).into_iter().map(|(path, _)| path);
    names.filter(|it| it.contains(".tmp") || it.starts_with("incoming/") || it.starts_with("archives/")).collect()
}

#[test]
fn killed_at_any_moment_it_keeps_what_it_acknowledged_and_shows_whole_sites() {
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut dice = Dice::new(seed);
    let mut host = Host::start();
    let api = Api::new(&host, &host.key("owner@example.org", "super-admin"));
    for site in SITES {
        api.must("POST /api/v1/sites", &json!({ "name": site }), 201);
    }
    let (mut begun, mut live) = ([0; 2], [0; 2]);
    for round in 0..rounds(15, 300) {
        let clients: Vec<_> = (0..SITES.len())
            .map(|at| {
                let (api, begun) = (api.clone(), begun[at]);
                thread::spawn(move || deploy_on(&api, SITES[at], begun))
            })
            .collect();
        // The moment is what is tested: nothing is waited for.
        thread::sleep(Duration::from_millis(dice.below(1_500)));
        host.kill();
        let known: Vec<Known> = clients.into_iter().map(|it| it.join().unwrap()).collect();
        if dice.below(3) == 0 {
            host.stumble(Duration::from_millis(dice.below(300)));
        }
        host.restart();
        api.moved(&host);
        for (at, (site, known)) in SITES.iter().zip(&known).enumerate() {
            let last = known.acknowledged.last().map_or(live[at], |it| version_in(&it["message"]));
            live[at] = check_site(&host, &api, site, known, last);
            begun[at] = known.begun;
        }
        check_jobs(&host, &api, &known);
        println!("round {round}: {live:?} live of {begun:?} begun");
    }
    check_stores(&mut host);
    assert!(left_overs(&host).is_empty(), "{:?}", left_overs(&host));
}
