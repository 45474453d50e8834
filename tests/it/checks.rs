//! Schedules as people make them, by the API, the command line and the panel, and the one thing that can be scheduled: a check of
//! all files that are live.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use chainhost::base::hash::Sha256;
use serde_json::{Value, json};

use crate::support::{
    Host, PATIENCE,
    browser::{Browser, archive, form},
    write_files,
};

const OWNER: &str = "owner@example.org";
const MATE: &str = "mate@example.org";
/// Between two calls of one key, which may make a thousand.
const PERIOD: Duration = Duration::from_millis(200);

/// A site with four files, two of which have the same bytes.
fn publish(host: &Host, browser: &mut Browser<'_>, name: &str, note: &str) {
    let files: [(&str, &[u8]); 4] =
        [("index.html", note.as_bytes()), ("a.css", b"a{}"), ("gone.txt", b"soon gone"), ("b.css", b"a{}")];
    let begun = browser.upload("/sites/new", &[("name", name)], Some(&archive(&files)));
    assert_eq!(begun.status, 303, "{}", begun.text());
    host.until("the deployment", || host.get(&format!("{name}.localhost"), "/").text().contains(note).then_some(()));
}

fn blob(host: &Host, bytes: &[u8]) -> PathBuf {
    let hex = Sha256::of(bytes).hex();
    host.data().join("blobs").join(hex.get(..2).unwrap()).join(hex)
}

/// Puts these bytes in the place of those that `path` is named after.
fn put(path: &Path, bytes: &[u8]) {
    drop(fs::remove_file(path));
    write_files(path.parent().unwrap(), &[(path.file_name().unwrap().to_str().unwrap(), bytes)]);
}

fn items(answer: &Value) -> &[Value] {
    answer.get("items").and_then(Value::as_array).unwrap()
}

fn text<'a>(of: &'a Value, field: &str) -> &'a str {
    of.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn schedule(host: &Host, key: &str, name: &str) -> Value {
    let all = host.api_json(key, "GET /api/v1/schedules", "", 200);
    items(&all).iter().find(|it| text(it, "name") == name).unwrap_or_else(|| panic!("no {name} in {all}")).clone()
}

/// Runs the schedule now; how its job ended, and why.
fn run(host: &Host, key: &str, name: &str) -> (String, String) {
    let escaped = name.replace(' ', "%20");
    let made = host.api_json(key, &format!("POST /api/v1/schedules/{escaped}/run"), "{}", 202);
    let last = host.until_within(PATIENCE, PERIOD, "the end of the job", || {
        let last = schedule(host, key, name).get("last").cloned()?;
        (text(&last, "id") == text(&made, "id") && ["done", "failed"].contains(&text(&last, "state"))).then_some(last)
    });
    (text(&last, "state").to_owned(), text(&last, "error").to_owned())
}

fn damage_events(host: &Host, key: &str) -> Vec<String> {
    let events = host.api_json(key, "GET /api/v1/audit", "", 200);
    let events = items(&events).iter().filter(|it| text(it, "kind") == "site.damaged");
    events.map(|it| text(it, "text").to_owned()).collect()
}

#[test]
fn a_scheduled_check_finds_what_is_damaged_or_gone() {
    let host = Host::start();
    let key = host.key(OWNER, "super-admin");
    let mut owner = Browser::signed_in(&host, OWNER);
    publish(&host, &mut owner, "hello", "first");
    publish(&host, &mut owner, "other", "second");

    let body = json!({ "name": "nightly check", "cron": "0 3 * * *", "zone": "europe/berlin", "missed": "skip",
        "kind": "check_files", "site": "hello" });
    let made = host.api_json(&key, "POST /api/v1/schedules", &body.to_string(), 201);
    assert_eq!(
        (&made["name"], &made["zone"], &made["missed"]),
        (&json!("nightly check"), &json!("Europe/Berlin"), &json!("skip"))
    );
    assert_eq!((&made["kind"], &made["title"]), (&json!("check_files"), &json!("Check the files of hello")));
    let upcoming = made["upcoming"].as_array().unwrap();
    assert!(upcoming.len() == 3 && upcoming[0] == made["next_at"] && upcoming[0] != upcoming[1], "{made}");
    let body = json!({ "name": "all", "cron": "@weekly", "kind": "check_files" });
    let made = host.api_json(&key, "POST /api/v1/schedules", &body.to_string(), 201);
    assert_eq!((&made["zone"], &made["missed"], &made["paused"]), (&json!("UTC"), &json!("once"), &json!(false)));

    assert_eq!(run(&host, &key, "nightly check"), (String::from("done"), String::new()));
    assert_eq!(run(&host, &key, "all").0, "done");
    assert_eq!(damage_events(&host, &key), Vec::<String>::new());

    // The same length, other bytes; and one that nobody has any more.
    let (style, gone) = (blob(&host, b"a{}"), blob(&host, b"soon gone"));
    put(&style, b"b{}");
    fs::remove_file(&gone).unwrap();
    let found = "3 of 4 files of hello 1 cannot be served: /a.css is damaged, /b.css is damaged, /gone.txt is gone.";
    assert_eq!(run(&host, &key, "nightly check"), (String::from("failed"), found.to_owned()));
    assert_eq!(damage_events(&host, &key), [format!("found damage: {found}")]);
    let both = format!("{found} {}", found.replace("hello", "other"));
    assert_eq!(run(&host, &key, "all"), (String::from("failed"), both));
    assert_eq!(damage_events(&host, &key).len(), 3);
    let figures = host.get("localhost", "/metrics").text();
    assert!(figures.contains("\nchainhost_damaged_files 2\n"), "{figures}");
    // The same job again, by hand: what it has told is not told again.
    let id = schedule(&host, &key, "nightly check")["last"]["id"].as_str().unwrap().to_owned();
    host.api_json(&key, &format!("POST /api/v1/jobs/{id}/rerun"), "", 204);
    host.until_within(PATIENCE, PERIOD, "the second end", || {
        let job = host.api_json(&key, &format!("GET /api/v1/jobs/{id}"), "", 200);
        (job["state"] == "failed").then_some(())
    });
    assert_eq!(damage_events(&host, &key).len(), 3);
    // It is on the page that people look at.
    assert!(owner.page("/schedules").contains("/gone.txt is gone"));

    put(&style, b"a{}");
    put(&gone, b"soon gone");
    assert_eq!(run(&host, &key, "nightly check"), (String::from("done"), String::new()));
    let figures = host.get("localhost", "/metrics").text();
    assert!(figures.contains("\nchainhost_damaged_files 0\n"), "{figures}");

    host.api_json(&key, "DELETE /api/v1/sites/hello", "", 204);
    let (state, error) = run(&host, &key, "nightly check");
    assert!(state == "failed" && error.contains("The site is no more."), "{error}");
    assert_eq!(run(&host, &key, "all").0, "done");
    host.api_json(&key, "DELETE /api/v1/schedules/nightly%20check", "", 204);
    host.api_json(&key, "DELETE /api/v1/schedules/nightly%20check", "", 404);
    let left = host.api_json(&key, "GET /api/v1/schedules", "", 200);
    assert_eq!(left["items"].as_array().unwrap().len(), 1);
    let events = host.api_json(&key, "GET /api/v1/audit", "", 200);
    let of = |kind: &str| events["items"].as_array().unwrap().iter().filter(|it| it["kind"] == kind).count();
    assert_eq!((of("schedule.created"), of("schedule.deleted")), (2, 1));
}

/// The names of the blobs in the data folder.
#[cfg(feature = "s3")]
fn cached(host: &Host) -> std::collections::BTreeSet<String> {
    let folders = fs::read_dir(host.data().join("blobs")).unwrap();
    let files = folders.flat_map(|it| fs::read_dir(it.unwrap().path()).unwrap());
    files.map(|it| it.unwrap().file_name().into_string().unwrap()).collect()
}

#[cfg(feature = "s3")]
#[test]
fn a_check_reads_the_bucket_past_the_cache_and_leaves_the_cache_alone() {
    use crate::support::s3::{Bucket, wipe};
    let bucket = Bucket::new();
    let host = Host::start_configured(&bucket.settings("cache_bytes = '1 MiB'"));
    let key = host.key(OWNER, "super-admin");
    let mut owner = Browser::signed_in(&host, OWNER);
    publish(&host, &mut owner, "hello", "first");
    // More than the cache may have, of bytes that nothing makes smaller.
    let large: Vec<(String, Vec<u8>)> = (0..12_u8)
        .map(|number| {
            let bytes = (0..6_000_u32).flat_map(|it| Sha256::of(&[[number; 4], it.to_le_bytes()].concat()).0);
            (format!("{number}.bin"), bytes.collect())
        })
        .collect();
    let large: Vec<(&str, &[u8])> = large.iter().map(|it| (it.0.as_str(), it.1.as_slice())).collect();
    let begun = owner.upload("/sites/new", &[("name", "large")], Some(&archive(&large)));
    assert_eq!(begun.status, 303, "{}", begun.text());
    host.until("the deployment", || (host.get("large.localhost", "/11.bin").status == 200).then_some(()));
    for name in ["hello", "large"] {
        let body = json!({ "name": name, "cron": "@weekly", "kind": "check_files", "site": name });
        host.api_json(&key, "POST /api/v1/schedules", &body.to_string(), 201);
    }
    wipe(&host.data());
    // What visitors want stays in the cache, and nothing comes into it but the list of files.
    host.until("a visitor", || (host.get("hello.localhost", "/").status == 200).then_some(()));
    assert_eq!(host.get("hello.localhost", "/a.css").status, 200);
    let before = cached(&host);
    assert_eq!(run(&host, &key, "large"), (String::from("done"), String::new()));
    let after = cached(&host);
    assert!(before.is_subset(&after) && after.len() <= before.len() + 1, "{before:?} {after:?}");

    // A good copy here does not hide what the bucket has lost, nor what it has as other bytes.
    let object = |bytes: &[u8]| {
        let hex = Sha256::of(bytes).hex();
        format!("blobs/{}/{hex}", hex.get(..2).unwrap())
    };
    bucket.put(&object(b"a{}"), b"b{}".to_vec());
    bucket.delete(&object(b"soon gone"));
    let found = "3 of 4 files of hello 1 cannot be served, or from the cache of a server alone: /a.css is damaged in the bucket, \
                 /b.css is damaged in the bucket, /gone.txt is gone.";
    assert_eq!(run(&host, &key, "hello"), (String::from("failed"), found.to_owned()));
    assert_eq!(damage_events(&host, &key), [format!("found damage: {found}")]);
    assert_eq!(host.get("hello.localhost", "/a.css").text(), "a{}");
    assert!(cached(&host).contains(&Sha256::of(b"a{}").hex()), "the one good copy that there is");

    // Put back, all is well; what is damaged here only is brought anew.
    bucket.put(&object(b"a{}"), b"a{}".to_vec());
    bucket.put(&object(b"soon gone"), b"soon gone".to_vec());
    put(&blob(&host, b"a{}"), b"c{}");
    assert_eq!(run(&host, &key, "hello"), (String::from("done"), String::new()));
    assert_eq!(fs::read(blob(&host, b"a{}")).unwrap(), b"a{}");
}

#[test]
fn what_is_wrong_with_a_schedule_is_said_with_its_field() {
    let host = Host::start();
    let key = host.key(OWNER, "super-admin");
    let mate = host.key(MATE, "user");
    let good = json!({ "name": "nightly", "cron": "@daily", "kind": "check_files" });
    let long = "x".repeat(60);
    let wrong = [
        (json!({ "name": "" }), "schedule_name", "name"),
        (json!({ "name": "  " }), "schedule_name", "name"),
        (json!({ "name": format!("{long}y") }), "schedule_name", "name"),
        (json!({ "name": "two\nlines" }), "schedule_name", "name"),
        (json!({ "name": "nul\u{0}" }), "schedule_name", "name"),
        (json!({ "name": "0199a7c2e3f47a5b8c9d0e1f2a3b4c5d" }), "schedule_name", "name"),
        (json!({ "cron": "" }), "cron", "cron"),
        (json!({ "cron": "0 3 * *" }), "cron", "cron"),
        (json!({ "cron": "60 3 * * *" }), "cron", "cron"),
        (json!({ "cron": "0 0 30 2 *" }), "cron", "cron"),
        (json!({ "cron": "\u{0}" }), "cron", "cron"),
        (json!({ "zone": "Moon/Tranquility" }), "zone", "zone"),
        (json!({ "zone": "" }), "zone", "zone"),
        (json!({ "missed": "sometimes" }), "missed", "missed"),
        (json!({ "kind": "compress_variants" }), "schedule_kind", "kind"),
        (json!({ "kind": "rm -rf /" }), "schedule_kind", "kind"),
        (json!({ "site": "nowhere" }), "schedule_site", "site"),
        (json!({ "site": "../etc" }), "schedule_site", "site"),
    ];
    for (change, code, field) in wrong {
        let mut body = good.clone();
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let problem = host.api_json(&key, "POST /api/v1/schedules", &body.to_string(), 400);
        assert_eq!((&problem["code"], &problem["field"]), (&json!(code), &json!(field)), "{change}: {problem}");
    }
    let unknown = json!({ "name": "a", "cron": "@daily", "kind": "check_files", "payload": "{}" });
    assert_eq!(host.api(&key, "POST /api/v1/schedules", unknown.to_string().as_bytes()).status, 400);
    host.api_json(&mate, "POST /api/v1/schedules", &good.to_string(), 403);
    assert_eq!(host.api_json(&key, "GET /api/v1/schedules", "", 200)["items"], json!([]));

    host.api_json(&key, "POST /api/v1/schedules", &good.to_string(), 201);
    let taken = host.api_json(&key, "POST /api/v1/schedules", &good.to_string(), 409);
    assert_eq!((&taken["code"], &taken["field"]), (&json!("schedule_taken"), &json!("name")));
    host.api_json(&mate, "DELETE /api/v1/schedules/nightly", "", 403);
    // Sixty characters, not bytes; and what has a meaning in addresses.
    for name in [long.as_str(), &"ä".repeat(60), "50% / später?"] {
        let mut body = good.clone();
        body["name"] = json!(name);
        host.api_json(&key, "POST /api/v1/schedules", &body.to_string(), 201);
        assert_eq!(schedule(&host, &key, name)["cron"], "@daily");
    }
    let mut owner = Browser::signed_in(&host, OWNER);
    let escaped = "50%25%20%2F%20sp%C3%A4ter%3F";
    assert!(owner.page(&format!("/schedules/{escaped}/delete")).contains("Delete 50% / später??"));
    assert_eq!(owner.post(&format!("/schedules/{escaped}/delete"), "").status, 303);
    assert_eq!(owner.post(&format!("/schedules/{escaped}/delete"), "").status, 404);
    host.api_json(&key, "DELETE /api/v1/schedules/nightly", "", 204);
    assert_eq!(host.api_json(&key, "GET /api/v1/schedules", "", 200)["items"].as_array().unwrap().len(), 2);
}

#[test]
fn a_schedule_is_made_and_removed_on_the_command_line() {
    let host = Host::start();
    let key = host.key(OWNER, "super-admin");
    let mut owner = Browser::signed_in(&host, OWNER);
    publish(&host, &mut owner, "hello", "first");
    let said = |arguments: &[&str], code: i32| {
        let out = host.cli(&key, arguments);
        assert_eq!(out.status.code(), Some(code), "{arguments:?}: {out:?}");
        String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned()
    };
    let add =
        ["schedules", "add", "nightly", "--cron", "0 3 * * MON-FRI", "--zone", "Europe/Berlin", "--site", "hello"];
    let made = said(&add, 0);
    assert!(made.contains("The schedule nightly is made. Its next times: 2"), "{made}");
    assert!(said(&add, 1).contains("There is a schedule `nightly` already."));
    assert!(said(&["schedules", "add", "x", "--cron", "61 * * * *"], 1).contains("minute"));
    assert!(said(&["schedules", "add", "x", "--cron", "@daily", "--kind", "backup"], 1).contains("check_files"));
    assert!(said(&["schedules", "add", "x"], 2).contains("--cron"));
    let list = said(&["schedules"], 0);
    assert!(list.contains("nightly") && list.contains("0 3 * * MON-FRI (Europe/Berlin)"), "{list}");
    said(&["schedules", "run", "nightly"], 0);
    host.until_within(PATIENCE, PERIOD, "its job", || {
        (schedule(&host, &key, "nightly")["last"]["state"] == "done").then_some(())
    });
    assert!(said(&["schedules", "remove", "nightly"], 0).contains("The schedule nightly is removed."));
    assert!(said(&["schedules", "remove", "nightly"], 1).contains("schedule"));
    assert!(said(&["schedules"], 0).contains("no schedule"));
}

#[test]
fn a_schedule_is_made_and_deleted_in_the_panel() {
    let host = Host::start();
    host.key(OWNER, "super-admin");
    host.key(MATE, "user");
    let mut owner = Browser::signed_in(&host, OWNER);
    publish(&host, &mut owner, "hello", "first");
    assert!(owner.page("/schedules").contains("href=\"/schedules/new\""));
    let page = owner.page("/schedules/new");
    assert!(page.contains("<option value=\"hello\">") && page.matches(", 03:00").count() == 3, "{page}");
    let sent = |more: &[(&str, &str)]| {
        let mut fields = vec![
            ("name", "nightly"),
            ("kind", "check_files"),
            ("site", " hello "),
            ("cron", "30 4 * * *"),
            ("zone", "Europe/Berlin"),
            ("missed", "all"),
        ];
        for (name, value) in more {
            fields.retain(|it| it.0 != *name);
            fields.push((name, value));
        }
        form(&fields)
    };
    // A look makes nothing.
    let look = owner.post("/schedules/new", &sent(&[("act", "look"), ("name", "")]));
    assert_eq!((look.status, look.text().matches(", 04:30").count()), (200, 3), "{}", look.text());
    let wrong = owner.post("/schedules/new", &sent(&[("act", "look"), ("cron", "never")]));
    assert!(wrong.status == 400 && wrong.text().contains("id=\"f-cron-e\""), "{}", wrong.text());
    assert!(wrong.text().contains("value=\"never\"") && !wrong.text().contains(", 04:30"));
    for (field, value) in [("name", "x\ty"), ("zone", "Nowhere"), ("site", "nothing"), ("cron", "61 * * * *")] {
        let again = owner.post("/schedules/new", &sent(&[(field, value)]));
        assert!(again.status == 400 && again.text().contains(&format!("id=\"f-{field}-e\"")), "{}", again.text());
        assert!(again.text().contains("Problem: New schedule"));
    }
    for (field, value) in [("kind", "backup"), ("missed", "perhaps")] {
        let again = owner.post("/schedules/new", &sent(&[(field, value)]));
        assert!(again.status == 400 && again.text().contains(value), "{}", again.text());
    }
    assert!(owner.page("/schedules").contains("has no schedule"));
    let answer = owner.post("/schedules/new", &sent(&[]));
    assert_eq!((answer.status, answer.header("location")), (303, Some("/schedules")), "{}", answer.text());
    let page = owner.page("/schedules");
    assert!(page.contains("The schedule is made.") && page.contains("30 4 * * * (Europe/Berlin)"), "{page}");
    assert!(page.contains("Check the files of hello") && page.contains("/schedules/nightly/delete"), "{page}");
    let taken = owner.post("/schedules/new", &sent(&[]));
    assert!(taken.status == 409 && taken.text().contains("id=\"f-name-e\""), "{}", taken.text());

    let mut mate = Browser::signed_in(&host, MATE);
    let page = mate.page("/schedules");
    assert!(page.contains("nightly") && !page.contains("/schedules/new") && !page.contains("/delete"), "{page}");

    assert!(owner.page("/schedules/nightly/delete").contains("Delete nightly?"));
    assert_eq!(owner.get("/schedules/other/delete").status, 404);
    assert_eq!(owner.post("/schedules/nightly/delete", "").status, 303);
    let page = owner.page("/schedules");
    assert!(page.contains("The schedule is deleted.") && page.contains("has no schedule"), "{page}");
}
