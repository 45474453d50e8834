//! Garbage collection in the bucket, and what was deployed before there was one.

use chainhost::{
    app::ground::{self, Folder, Wish as Stores},
    base::{clock::Clock, hash::Sha256, tasks::Tasks},
    config::{
        blobs::Blobs,
        server::{Flags, Server},
    },
    services::Services,
    store::settings,
};

use super::*;

const DAYS_MS: i64 = 24 * 3_600_000;

/// The services of a server that is stopped, at a time `later_ms` from now.
fn inside(host: &Host, later_ms: i64, act: impl AsyncFnOnce(&Services)) {
    let flags = Flags { config: Some(host.beside("chainhost.toml")), ..Flags::default() };
    let Blobs { bucket, cache_bytes, .. } = Server::load(&flags).unwrap().blobs;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let tasks = Tasks::new();
        let mut folder = Folder::take(&host.data()).unwrap();
        folder.attach(&bucket.unwrap(), cache_bytes, None, &tasks).unwrap();
        let (clock, _) = Clock::manual(Clock::system().now_ms() + later_ms);
        let wish = Stores { clock, tasks: tasks.clone(), ..host.wish() };
        let opened = ground::open(&folder, &wish).await.unwrap();
        act(&opened.services).await;
        tasks.stop();
        tasks.join().await;
        opened.close();
    });
}

#[test]
fn only_what_nothing_names_and_is_old_leaves_the_bucket() {
    let bucket = Bucket::new();
    let (mut host, api) = start(&bucket, "");
    api.deploy_version("hello", 1);
    api.deploy_version("hello", 2);
    wait_for_jobs(&host, &api, 2);
    let kept = bucket.list();
    api.must("POST /api/v1/sites", &json!({ "name": "goes" }), 201);
    api.deploy_version("goes", 1);
    api.deploy_version("goes", 3);
    wait_for_jobs(&host, &api, 4);
    api.must("DELETE /api/v1/sites/goes", &Value::Null, 204);
    // What is not ours to judge.
    bucket.put("blobs/notes.txt", b"notes".to_vec());
    let all = bucket.list();
    assert_eq!(host.stop(), Some(0));
    inside(&host, 0, async |services| {
        let actor = services.actor_local().await.unwrap();
        assert!(services.collect_garbage(&actor, false).await.unwrap().blobs.is_empty(), "nothing is old yet");
    });
    assert_eq!(bucket.list(), all);
    // On a server without a cache, so that lists and manifests come from the bucket too.
    move_without_cache(&host);
    let mut found = Vec::new();
    inside(&host, 2 * DAYS_MS, async |services| {
        let actor = services.actor_local().await.unwrap();
        found = services.collect_garbage(&actor, true).await.unwrap().blobs;
    });
    // Version 3 with its two lists. Version 1 is also that of the other site, with equal lists.
    assert_eq!(found.len(), 42, "{found:?}");
    assert_eq!(bucket.list(), all, "a dry run removed something");
    inside(&host, 2 * DAYS_MS, async |services| {
        let actor = services.actor_local().await.unwrap();
        assert_eq!(services.collect_garbage(&actor, false).await.unwrap().blobs, found);
        assert!(services.collect_garbage(&actor, false).await.unwrap().blobs.is_empty());
    });
    let mut left = bucket.list();
    assert_eq!(left.remove("blobs/notes.txt"), Some(5));
    assert_eq!(left, kept);
    move_without_cache(&host);
    host.restart();
    assert_eq!(whole_site(host.port, "hello"), 2);
}

#[test]
fn what_an_upload_names_that_goes_on_is_left_by_a_collection() {
    let bucket = Bucket::new();
    let (mut host, api) = start(&bucket, "");
    api.deploy_version("hello", 1);
    let begun = api.begin("hello", &version(2), &Wish::default()).json();
    let id = begun["id"].as_str().unwrap().to_owned();
    assert_eq!(api.send("hello", &id, &version(2), &begun["missing"]).status, 200);
    wait_for_jobs(&host, &api, 1);
    let all = bucket.list();
    // More than one request takes, that nobody names.
    let garbage: Vec<String> = (0..600_u32).map(|it| Sha256::of(&it.to_be_bytes()).hex()).collect();
    for hex in &garbage {
        bucket.put(&format!("blobs/{}/{hex}", &hex[..2]), b"garbage".to_vec());
    }
    assert_eq!(host.stop(), Some(0));
    move_without_cache(&host);
    inside(&host, 2 * DAYS_MS, async |services| {
        let actor = services.actor_local().await.unwrap();
        assert_eq!(services.collect_garbage(&actor, false).await.unwrap().blobs.len(), garbage.len());
        let row = services.db.read(|tx| settings::find(tx, settings::SWEEP)).await.unwrap().unwrap();
        assert!(row.ends_with(" 0"), "its last round has not ended: {row}");
    });
    assert_eq!(bucket.list(), all);
    host.restart();
    api.moved(&host);
    assert_eq!(api.finish("hello", &id).json()["state"], "live");
    assert_eq!(whole_site(host.port, "hello"), 2);
}

#[test]
fn a_deploy_waits_for_a_round_of_a_collection_and_not_for_one_that_was_killed() {
    let bucket = Bucket::new();
    let (mut host, api) = start(&bucket, "");
    api.deploy_version("hello", 1);
    assert_eq!(host.stop(), Some(0));
    let write = |host: &Host, row: &'static str| {
        inside(host, 0, async |services| {
            services.db.write(move |tx| settings::set(tx, settings::SWEEP, row)).await.unwrap();
        });
    };
    // As a process leaves it that was killed in the middle of a round.
    write(&host, "01 removes");
    host.restart();
    api.moved(&host);
    let wish = Wish { idempotency_key: Some(String::from("two")), ..Wish::default() };
    let refusals = deploy_when_it_may(&host, &api, &wish, Duration::from_mins(5), "sweeping");
    assert!(refusals > 0, "it did not wait");
    // One that has ended holds nobody up.
    assert_eq!(host.stop(), Some(0));
    write(&host, "02 0");
    host.restart();
    api.moved(&host);
    assert_eq!(api.deploy("hello", &version(1), &Wish::default()).unwrap()["state"], "live");
}

#[test]
fn what_a_collection_removes_meanwhile_is_put_again_by_the_deployment_that_needs_it() {
    let bucket = Bucket::new();
    let (mut host, api) = start(&bucket, "");
    api.deploy_version("hello", 1);
    // All of version 2 is there before anybody deploys it, as after a site that was deleted.
    let begun = api.begin("hello", &version(2), &Wish::default()).json();
    let id = begun["id"].as_str().unwrap().to_owned();
    assert_eq!(api.send("hello", &id, &version(2), &begun["missing"]).status, 200);
    for (_, bytes) in version(2).iter().take(10) {
        let hex = Sha256::of(bytes).hex();
        bucket.delete(&format!("blobs/{}/{hex}", &hex[..2]));
    }
    assert_eq!(host.stop(), Some(0));
    // It does not remember what it saw there.
    host.restart();
    api.moved(&host);
    assert_eq!(api.finish("hello", &id).json()["state"], "live");
    let there: BTreeSet<String> = bucket.blobs().into_iter().collect();
    assert!(version(2).iter().all(|(_, bytes)| there.contains(&Sha256::of(bytes).hex())));
    // And what is in neither place is asked for again.
    let begun = api.begin("hello", &version(3), &Wish::default()).json();
    let id = begun["id"].as_str().unwrap().to_owned();
    assert_eq!(api.send("hello", &id, &version(3), &begun["missing"]).status, 200);
    let hex = Sha256::of(&version(3)[0].1).hex();
    bucket.delete(&format!("blobs/{}/{hex}", &hex[..2]));
    fs::remove_file(s3::local(&host.data(), &hex)).unwrap();
    let refused = api.finish("hello", &id);
    assert_eq!((refused.status, &refused.json()["code"]), (409, &json!("blobs_missing")), "{}", refused.text());
    assert_eq!(api.send("hello", &id, &version(3), &json!([hex])).status, 200);
    assert_eq!(api.finish("hello", &id).json()["state"], "live");
    assert_eq!(whole_site(host.port, "hello"), 3);
}

#[test]
fn what_was_deployed_before_there_was_a_bucket_is_carried_into_it() {
    let mut host = Host::start_configured("");
    let api = Api::new(&host, &host.key("owner@example.org", "super-admin"));
    api.must("POST /api/v1/sites", &json!({ "name": "hello" }), 201);
    api.deploy_version("hello", 1);
    wait_for_jobs(&host, &api, 1);
    let local = local_blobs(&host);
    assert_eq!(host.stop(), Some(0));
    let bucket = Bucket::new();
    crate::support::write_files(&host.beside(""), &[("chainhost.toml", bucket.settings("").as_bytes())]);
    host.restart();
    api.moved(&host);
    host.until("all to be in the bucket", || {
        (bucket.blobs().into_iter().collect::<BTreeSet<_>>() == local).then_some(())
    });
    host.until("the forms too", || bucket.list().keys().any(|it| it.starts_with("variants/")).then_some(()));
    assert_eq!(host.stop(), Some(0));
    move_without_cache(&host);
    host.restart();
    assert_eq!(whole_site(host.port, "hello"), 1);
}

#[test]
fn not_all_is_carried_while_a_file_is_nowhere() {
    let mut host = Host::start_configured("");
    let api = Api::new(&host, &host.key("owner@example.org", "super-admin"));
    api.must("POST /api/v1/sites", &json!({ "name": "hello" }), 201);
    api.deploy_version("hello", 1);
    wait_for_jobs(&host, &api, 1);
    let local = local_blobs(&host);
    assert_eq!(host.stop(), Some(0));
    let lost = Sha256::of(&version(1).last().unwrap().1).hex();
    let path = s3::local(&host.data(), &lost);
    let bytes = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let bucket = Bucket::new();
    crate::support::write_files(&host.beside(""), &[("chainhost.toml", bucket.settings("").as_bytes())]);
    host.restart();
    host.until("the lack to be told", || {
        let log = host.log();
        (log.contains("neither here nor in") && log.contains(&lost)).then_some(())
    });
    // It serves, and keeps the rest.
    let rest: BTreeSet<String> = local.iter().filter(|it| **it != lost).cloned().collect();
    assert_eq!(bucket.blobs().into_iter().collect::<BTreeSet<_>>(), rest);
    assert_eq!(host.stop(), Some(0));
    // Put back, it is carried too.
    crate::support::write_files(path.parent().unwrap(), &[(path.file_name().unwrap().to_str().unwrap(), &bytes)]);
    host.restart();
    host.until("all to be in the bucket", || {
        (bucket.blobs().into_iter().collect::<BTreeSet<_>>() == local).then_some(())
    });
    assert_eq!(host.stop(), Some(0));
    move_without_cache(&host);
    host.restart();
    assert_eq!(whole_site(host.port, "hello"), 1);
}

#[test]
fn what_is_copied_out_of_a_bucket_is_served_without_it_and_carried_back() {
    let bucket = Bucket::new();
    let (mut host, api) = start(&bucket, "");
    api.deploy_version("hello", 1);
    wait_for_jobs(&host, &api, 1);
    let use_settings = |host: &mut Host, text: &str| {
        crate::support::write_files(&host.beside(""), &[("chainhost.toml", text.as_bytes())]);
        host.restart();
    };
    assert_eq!(host.stop(), Some(0));
    move_without_cache(&host);
    // Nothing was copied: that is told, and nothing breaks.
    use_settings(&mut host, "");
    host.until("the lack to be told", || host.log().contains("and not here").then_some(()));
    assert_eq!(host.stop(), Some(0));
    // As any tool copies it.
    for name in bucket.list().into_keys().filter(|it| it.contains('/')) {
        crate::support::write_files(&host.data(), &[(&name, &bucket.get(&name))]);
    }
    host.restart();
    api.moved(&host);
    assert_eq!(whole_site(host.port, "hello"), 1);
    api.deploy_version("hello", 2);
    assert_eq!(host.stop(), Some(0));
    // Back again, what was deployed meanwhile is carried.
    use_settings(&mut host, &bucket.settings(""));
    host.until("all to be in the bucket", || {
        let there: BTreeSet<String> = bucket.blobs().into_iter().collect();
        version(2).iter().all(|(_, bytes)| there.contains(&Sha256::of(bytes).hex())).then_some(())
    });
    assert_eq!(whole_site(host.port, "hello"), 2);
}
