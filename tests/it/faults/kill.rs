//! kill -9 at random moments of deploying, in each of its ways, and of starting.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    api::{Api, Wish},
    check_stores, rounds, version, whole_site,
};
use crate::{
    queue_redb::Dice,
    support::{Host, browser::archive, read_files, write_files},
};

/// The first is deployed file by file, the second as archives.
const SITES: [&str; 2] = ["one", "two"];
/// The site that is deployed from a folder on the server.
const WATCHED: &str = "watched";

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

/// Sends one version after the other as an archive until the server is gone. Acknowledged is what was said to be live.
fn archive_on(api: &Api, site: &str, mut begun: u64) -> Known {
    let mut acknowledged = Vec::new();
    loop {
        begun += 1;
        let files = version(begun);
        let files: Vec<(&str, &[u8])> = files.iter().map(|(path, bytes)| (&**path, &**bytes)).collect();
        let call = format!("PUT /api/v1/sites/{site}/deployments?message=version%20{begun}");
        let taken = api.call(&call, &archive(&files));
        if taken.status == 0 {
            return Known { acknowledged, begun };
        }
        assert_eq!(taken.status, 202, "{site} {begun}: {}", taken.text());
        let at = format!("GET /api/v1/sites/{site}/deployments/{}", taken.json()["id"].as_str().unwrap());
        loop {
            let answer = api.call(&at, b"");
            if answer.status == 0 {
                return Known { acknowledged, begun };
            }
            assert_eq!(answer.status, 200, "{site} {begun}: {}", answer.text());
            let deployment = answer.json();
            match deployment["state"].as_str().unwrap() {
                "live" => {
                    acknowledged.push(deployment);
                    break;
                }
                "checking" | "ready" => thread::sleep(Duration::from_millis(20)),
                other => panic!("{site} {begun} is {other}: {deployment}"),
            }
        }
    }
}

/// Writes the one page of the watched folder anew until told to stop; its last number.
fn change_on(folder: &Path, stop: &AtomicBool, mut number: u64) -> u64 {
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        write_page(folder, number);
        // The pace of what is tested, not a wait for something.
        thread::sleep(Duration::from_millis(20));
    }
    number
}

fn write_page(folder: &Path, number: u64) {
    write_files(folder, &[("index.html.new", number.to_string().as_bytes())]);
    fs::rename(folder.join("index.html.new"), folder.join("index.html")).unwrap();
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
    let mut published = Vec::new();
    for (site, known) in SITES.iter().zip(known) {
        for it in &known.acknowledged {
            // An id begins with the time.
            published.push((it["id"].as_str().unwrap(), format!("Compress {site} {}", it["number"])));
        }
    }
    published.sort();
    // Of ended jobs of all sites together the last hundred are kept.
    for (_, title) in published.iter().rev().take(80) {
        host.until(title, || titles().contains(title).then_some(()));
    }
    let titles = titles();
    assert_eq!(titles.iter().collect::<HashSet<_>>().len(), titles.len(), "a job twice: {titles:?}");
}

/// Files that an earlier run was writing and nobody will ever read. Only of a server that is stopped.
fn left_overs(host: &Host) -> Vec<String> {
    let names = read_files(&host.data()).into_iter().map(|(path, _)| path);
    names.filter(|it| it.contains(".tmp") || it.starts_with("incoming/") || it.starts_with("archives/")).collect()
}

/// No deployment is left in the middle of being unpacked.
fn until_all_ended(host: &Host, api: &Api) {
    for site in [SITES[0], SITES[1], WATCHED] {
        let path = format!("/api/v1/sites/{site}/deployments");
        host.until("the end of what was unpacked", || {
            api.list(&path).iter().all(|it| it["state"] != "checking").then_some(())
        });
    }
}

/// Changes the watched folder until ended.
struct Restless {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<u64>,
}

impl Restless {
    fn begin(folder: PathBuf, page: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        Self { stop, thread: thread::spawn(move || change_on(&folder, &stopped, page)) }
    }

    /// The last page that was written.
    fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

#[test]
fn killed_at_any_moment_it_keeps_what_it_acknowledged_and_shows_whole_sites() {
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut dice = Dice::new(seed);
    let mut host = Host::start();
    let mut api = Api::new(&host, &host.key("owner@example.org", "super-admin"));
    for site in SITES {
        api.must("POST /api/v1/sites", &json!({ "name": site }), 201);
    }
    let folder = host.beside(WATCHED);
    write_page(&folder, 0);
    api.must("POST /api/v1/sites", &json!({ "name": WATCHED }), 201);
    let watch = json!({ "watch_folder": folder.to_str().unwrap() });
    api.must(&format!("PATCH /api/v1/sites/{WATCHED}"), &watch, 200);
    let (mut begun, mut live, mut page) = ([0; 2], [0; 2], 0);
    let all = rounds(15, 500);
    for round in 0..all {
        let clients = [deploy_on, archive_on].into_iter().enumerate().map(|(at, deploy)| {
            let (api, begun) = (api.clone(), begun[at]);
            thread::spawn(move || deploy(&api, SITES[at], begun))
        });
        let clients: Vec<_> = clients.collect();
        // The folder changes all the time, or once, to be deployed after the two seconds that it must be quiet.
        let is_quiet = round % 5 == 2;
        let restless = (!is_quiet).then(|| Restless::begin(folder.clone(), page));
        if is_quiet {
            page += 1;
            write_page(&folder, page);
        }
        // The moment is what is tested: nothing is waited for.
        thread::sleep(Duration::from_millis(dice.below(1_500) + if is_quiet { 1_500 } else { 0 }));
        host.kill();
        page = restless.map_or(page, Restless::end);
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
        if round % 5 == 4 || round + 1 == all {
            // What the folder holds is shown in the end, whatever was under way when the server died.
            let site = format!("{WATCHED}.localhost");
            host.until("the watched folder", || (host.get(&site, "/").text() == page.to_string()).then_some(()));
        }
        // A thousand calls in a quarter of an hour are what one may make.
        api = api.with_key(&host.another_key("owner@example.org"));
        println!("round {round}: {live:?} live of {begun:?} begun, page {page}");
    }
    until_all_ended(&host, &api);
    check_stores(&mut host);
    assert!(left_overs(&host).is_empty(), "{:?}", left_overs(&host));
}
