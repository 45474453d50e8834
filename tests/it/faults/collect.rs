//! Garbage collection: says what would go, removes only what nothing names and is old, and runs beside deploys.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use chainhost::base::{clock::Clock, hash::Sha256};
use serde_json::{Value, json};

use super::{
    FILES,
    api::{Api, Wish, frame},
    check_stores, rounds,
    tenants::move_to_tenant,
    version, whole_site,
};
use crate::support::{Host, read_files};

/// Every blob with its size.
fn blobs(host: &Host) -> BTreeMap<String, u64> {
    let all = read_files(&host.data().join("blobs")).into_iter();
    all.map(|(path, bytes)| (path.rsplit('/').next().unwrap().to_owned(), u64::try_from(bytes.len()).unwrap()))
        .collect()
}

/// Makes every blob two days old.
fn age(host: &Host) {
    let now = u64::try_from(Clock::system().now_ms()).unwrap();
    let then = std::time::UNIX_EPOCH + Duration::from_millis(now) - Duration::from_hours(48);
    for folder in fs::read_dir(host.data().join("blobs")).unwrap() {
        for blob in fs::read_dir(folder.unwrap().path()).unwrap() {
            // It may be collected at this moment.
            if let Ok(file) = File::open(blob.unwrap().path()) {
                file.set_modified(then).unwrap();
            }
        }
    }
}

fn collect(api: &Api, dry_run: bool) -> Value {
    api.must("POST /api/v1/gc", &json!({ "dry_run": dry_run }), 200)
}

/// The blobs of an answer, which must name all of them.
fn named(answer: &Value) -> BTreeMap<String, u64> {
    let items = answer["items"].as_array().unwrap();
    assert_eq!(answer["blobs"], items.len());
    let all: BTreeMap<String, u64> =
        items.iter().map(|it| (it["sha256"].as_str().unwrap().to_owned(), it["bytes"].as_u64().unwrap())).collect();
    assert_eq!(answer["bytes"], all.values().sum::<u64>());
    all
}

#[test]
fn what_nothing_names_goes_when_it_is_old_and_nothing_else() {
    let mut host = Host::start();
    let api = Api::new(&host, &host.key("owner@example.org", "super-admin"));
    for site in ["keeps", "goes"] {
        api.must("POST /api/v1/sites", &json!({ "name": site }), 201);
    }
    api.deploy_version("keeps", 1);
    api.deploy_version("keeps", 2);
    // Not published, and not finished: both are kept.
    let ready = Wish { publish: Some(false), ..Wish::default() };
    assert_eq!(api.deploy("keeps", &version(3), &ready).unwrap()["state"], "ready");
    let open = api.begin("keeps", &version(4), &Wish::default()).json();
    let open_id = open["id"].as_str().unwrap().to_owned();
    let files = version(4);
    let first = frame(&files[0].1);
    assert_eq!(api.call(&format!("POST /api/v1/sites/keeps/deployments/{open_id}/blobs"), &first).status, 200);
    host.until("compressed forms", || {
        let jobs = api.must("GET /api/v1/jobs?state=done", &Value::Null, 200);
        (jobs["items"].as_array().unwrap().len() == 2).then_some(())
    });
    let kept = blobs(&host);
    api.deploy_version("goes", 1);
    api.deploy_version("goes", 5);
    api.must("DELETE /api/v1/sites/goes", &Value::Null, 204);
    let garbage: BTreeMap<String, u64> = blobs(&host).into_iter().filter(|(it, _)| !kept.contains_key(it)).collect();
    // Version 5 and its two lists; version 1 is also that of the other site.
    assert_eq!(garbage.len(), 42);

    // Nothing is old yet.
    assert_eq!((named(&collect(&api, true)).len(), named(&collect(&api, false)).len()), (0, 0));
    age(&host);
    assert_eq!(named(&collect(&api, true)), garbage);
    assert_eq!(blobs(&host).len(), kept.len() + garbage.len(), "a dry run removed something");
    // What is put again at the last moment is young, and stays.
    let young = version(5)[7].1.clone();
    let young_hash = Sha256::of(&young).hex();
    let put = api.begin("keeps", &[(String::from("young"), young.clone())], &Wish::default()).json();
    assert_eq!(put["missing"], json!([young_hash]));
    let removed = named(&collect(&api, false));
    let all_but_young = garbage.iter().filter(|(it, _)| **it != young_hash);
    assert_eq!(removed, all_but_young.map(|(it, size)| (it.clone(), *size)).collect());
    assert_eq!(api.send("keeps", put["id"].as_str().unwrap(), &[(String::new(), young)], &put["missing"]).status, 200);
    assert!(named(&collect(&api, false)).is_empty());

    assert_eq!(whole_site(host.port, "keeps"), 2);
    api.must("POST /api/v1/sites/keeps/deployments/3/publish", &Value::Null, 200);
    assert_eq!(whole_site(host.port, "keeps"), 3);
    assert_eq!(api.send("keeps", &open_id, &files, &open["missing"]).status, 200);
    assert_eq!(api.finish("keeps", &open_id).json()["state"], "live");
    assert_eq!(whole_site(host.port, "keeps"), 4);
    let again = blobs(&host);
    assert!(kept.keys().all(|it| again.contains_key(it)));
    check_stores(&mut host);
}

#[test]
fn collecting_beside_deploys_takes_nothing_from_them() {
    let mut host = Host::start();
    let api = Api::new(&host, &host.key("owner@example.org", "super-admin"));
    let collector = api.with_key(&{
        let key = host.admin(&["create-key", "--email", "owner@example.org"], "");
        String::from_utf8(key.stdout).unwrap().trim().to_owned()
    });
    api.must("POST /api/v1/sites", &json!({ "name": "hello" }), 201);
    let stop = Arc::new(AtomicBool::new(false));
    let collecting = {
        let stop = Arc::clone(&stop);
        thread::spawn(move || {
            let mut removed = 0;
            for _ in 0..900 {
                removed += collect(&collector, false)["blobs"].as_u64().unwrap();
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
            removed
        })
    };
    // The same few versions come again and again, by uploads and archives, while all that lies there is made old: what a
    // deploy relies on is always what was about to go.
    let archive = tar(&version(7));
    for round in 0..rounds(40, 400) {
        age(&host);
        let number = 1 + round % 3;
        match api.deploy("hello", &version(number), &Wish::default()) {
            Ok(_) => assert_eq!(whole_site(host.port, "hello"), number),
            // Honest: what was relied on has gone meanwhile and is asked for again.
            Err(answer) => assert_eq!(answer.json()["code"], "blobs_missing", "{}", answer.text()),
        }
        if round % 4 == 0 {
            age(&host);
            let sent = api.call("PUT /api/v1/sites/hello/deployments", &archive);
            assert_eq!(sent.status, 202, "{}", sent.text());
            let at = format!("GET {}", sent.header("location").unwrap());
            let done = host.until("the archive", || {
                let it = api.must(&at, &Value::Null, 200);
                (it["state"] != "checking").then_some(it)
            });
            assert_eq!(done["state"], "live", "{done}");
            assert_eq!(whole_site(host.port, "hello"), 7);
        }
        if round % 8 == 7 {
            api.must("DELETE /api/v1/sites/hello", &Value::Null, 204);
            api.must("POST /api/v1/sites", &json!({ "name": "hello" }), 201);
        }
    }
    // Once more with what certainly is garbage, so that the rounds above cannot have passed by a collector that does
    // nothing.
    api.must("DELETE /api/v1/sites/hello", &Value::Null, 204);
    age(&host);
    let last = collect(&api, false)["blobs"].as_u64().unwrap();
    stop.store(true, Ordering::Relaxed);
    let removed = last + collecting.join().unwrap();
    println!("{removed} blobs collected beside deploys");
    assert!(removed > FILES, "hardly anything was collected: {removed}");
    check_stores(&mut host);
}

#[test]
fn a_manifest_that_is_also_somebodys_file_keeps_its_files() {
    let mut host = Host::start();
    let owner = Api::new(&host, &host.key("owner@example.org", "super-admin"));
    let other = owner.with_key(&host.key("other@example.net", "admin"));
    move_to_tenant(&mut host, "other@example.net", "other");
    owner.moved(&host);
    for name in ["bait", "harbour"] {
        owner.must("POST /api/v1/sites", &json!({ "name": name }), 201);
    }
    other.must("POST /api/v1/sites", &json!({ "name": "copier" }), 201);

    // The manifest and the list of a site with these files, as anybody can compute them.
    owner.deploy_version("bait", 3);
    let files = version(3);
    let lists: Vec<(String, Vec<u8>)> = read_files(&host.data().join("blobs"))
        .into_iter()
        .filter(|(_, bytes)| !files.iter().any(|(_, it)| it == bytes))
        .collect();
    assert_eq!(lists.len(), 2);
    // Another tenant has both as plain files, in a deployment that is older than that of the site which needs them.
    other.deploy("copier", &lists, &Wish::default()).unwrap();
    owner.must("DELETE /api/v1/sites/bait", &Value::Null, 204);
    owner.deploy_version("harbour", 3);
    age(&host);
    assert_eq!(collect(&owner, false)["blobs"], 0, "files of a live site were collected");
    // Nothing of the answer comes out of memory.
    assert_eq!(host.stop(), Some(0), "{}", host.log());
    host.restart();
    assert_eq!(whole_site(host.port, "harbour"), 3);
    check_stores(&mut host);
}

/// A tar.zst of these files.
fn tar(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut out = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut head = tar::Header::new_gnu();
        head.set_size(bytes.len().try_into().unwrap());
        head.set_mode(0o644);
        out.append_data(&mut head, path, &**bytes).unwrap();
    }
    zstd::encode_all(&*out.into_inner().unwrap(), 1).unwrap()
}
