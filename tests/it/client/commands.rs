//! The commands that list and change things: what they ask, and what they print.

use serde_json::{Value, json};

use super::{bad, fake::Fake, good, good_json};

const ID: &str = "0123456789abcdef0123456789abcdef";

fn site(name: &str, live: &Value) -> Value {
    json!({"id": ID, "name": name, "url": format!("http://{name}.localhost:8080/"), "hostnames": ["www.example.org"],
        "created_at": "2020-01-01T00:00:00Z", "live": live, "deployments": 12})
}

fn deployment(number: u64, message: &str) -> Value {
    json!({"id": ID, "number": number, "site": "cafe", "state": "superseded", "message": message, "actor": "a@example.org",
        "created_at": "2020-01-01T00:00:00Z", "files": 1200, "bytes": 5_000_000, "url": "http://cafe.localhost/"})
}

#[test]
fn sites_are_listed_over_all_pages_on_one_connection() {
    let fake = Fake::start();
    let live = json!({"id": ID, "number": 3, "published_at": "2020-02-03T00:00:00Z"});
    fake.answer("GET /api/v1/sites?limit=200", 200, json!({"items": [site("a", &live)], "next": "a b"}));
    fake.answer(
        "GET /api/v1/sites?limit=200&after=a%20b",
        200,
        json!({"items": [site("b", &Value::Null)], "next": null}),
    );
    let all = good_json(&fake, &["sites", "--json"]);
    assert_eq!(all, json!([site("a", &live), site("b", &Value::Null)]));
    assert_eq!(fake.state().connections, 1);
    // Reading is tried again when the line breaks.
    fake.state().lost = Some(("/sites", 2));
    let shown = good(&fake, &["sites"]);
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines[0], "Name  Live  Published   Deployments  Address                   Hostnames");
    assert_eq!(lines[1], "a        3  2020-02-03           12  http://a.localhost:8080/  www.example.org");
    assert_eq!(lines[2], "b        –                       12  http://b.localhost:8080/  www.example.org");
    assert!(!shown.contains('\u{1b}'));
}

#[test]
fn the_list_of_sites_says_what_is_taken_down_and_what_is_watched() {
    let fake = Fake::start();
    let live = json!({"id": ID, "number": 3, "published_at": "2020-02-03T00:00:00Z"});
    let (mut down, mut watched) = (site("a", &live), site("b", &live));
    down["taken_down"] = json!("A court\u{1b} asked for it.");
    watched["watch_folder"] = json!("/srv/www/b");
    fake.answer("GET /api/v1/sites?limit=200", 200, json!({"items": [down, watched, site("c", &live)], "next": null}));
    let shown = good(&fake, &["sites"]);
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[0].ends_with("Hostnames        Note"), "{shown}");
    assert!(
        lines[1].starts_with("a        –") && lines[1].ends_with("taken down: A court\\u{1b} asked for it."),
        "{shown}"
    );
    assert!(lines[2].starts_with("b        3") && lines[2].ends_with("  deployed from /srv/www/b"), "{shown}");
    assert!(lines[3].trim_end().ends_with("www.example.org"), "{shown}");
}

#[test]
fn sites_are_made_deleted_and_named() {
    let fake = Fake::start();
    assert!(good(&fake, &["sites", "create", "cafe"]).contains("http://cafe.localhost/"));
    assert_eq!(fake.state().asked[0].body, json!({"name": "cafe"}));
    bad(&fake, &["sites", "create", "No Name"], 2);
    assert!(bad(&fake, &["sites", "delete", "cafe"], 2).contains("--yes"));
    fake.answer("DELETE /api/v1/sites/cafe", 204, Value::Null);
    good(&fake, &["sites", "delete", "cafe", "--yes"]);
    fake.answer("PUT /api/v1/sites/cafe/hostnames/www.example.org", 200, site("cafe", &Value::Null));
    good(&fake, &["sites", "hostnames", "add", "WWW.example.org", "--site", "cafe"]);
    fake.answer("DELETE /api/v1/sites/cafe/hostnames/www.example.org", 204, Value::Null);
    good(&fake, &["sites", "hostnames", "remove", "www.example.org", "--site", "cafe"]);
    bad(&fake, &["sites", "hostnames", "add", "localhost", "--site", "cafe"], 2);
    fake.answer("POST /api/v1/sites", 409, json!({"detail": "Taken.", "code": "site_name_taken", "field": "name"}));
    assert_eq!(bad(&fake, &["sites", "create", "cafe"], 1), "chainhost: Taken. (field: name)\n");
}

#[test]
fn deployments_show_what_others_wrote_without_harm() {
    let fake = Fake::start();
    let rows = [deployment(2, "nice \u{1b}[31mred\n"), deployment(1, "")];
    let call = "GET /api/v1/sites/cafe/deployments?limit=50";
    fake.answer(call, 200, json!({"items": rows, "next": null}));
    let shown = good(&fake, &["deployments", "--site", "cafe"]);
    assert!(shown.contains("nice \\u{1b}[31mred\\u{a}"), "{shown}");
    assert!(shown.contains(" 2  was live  1,200  5.0 MB  2020-01-01  a@example.org"), "{shown}");
    assert_eq!(good_json(&fake, &["deployments", "--site", "cafe", "--json"]), json!(rows));
    fake.answer("GET /api/v1/sites/cafe/deployments?limit=1", 200, json!({"items": [rows[0]], "next": "x"}));
    let one = good_json(&fake, &["deployments", "--site", "cafe", "--json", "--limit", "1"]);
    assert_eq!(one.as_array().unwrap().len(), 1);
    bad(&fake, &["deployments", "--site", "cafe", "--limit", "0"], 2);
}

#[test]
fn a_difference_is_asked_from_the_later_side() {
    let fake = Fake::start();
    let found = json!({"added": [{"path": "/new", "size": 1}], "removed": [], "changed": [], "policy_changed": false});
    fake.answer("GET /api/v1/sites/cafe/deployments/42/diff?against=41", 200, found.clone());
    assert_eq!(
        good(&fake, &["diff", "--site", "cafe", "41", "#42"]),
        "+ /new  1 B\n1 file added, 0 removed, 0 changed.\n"
    );
    assert_eq!(good_json(&fake, &["diff", "--site", "cafe", "41", "42", "--json"]), found);
    bad(&fake, &["diff", "--site", "cafe", "41", "x"], 2);
}

#[test]
fn a_rollback_names_its_target_or_none_and_is_never_repeated() {
    let fake = Fake::start();
    fake.answer("POST /api/v1/sites/cafe/rollback", 200, deployment(1, ""));
    assert_eq!(good(&fake, &["rollback", "--site", "cafe"]), "cafe is back at deployment 1: http://cafe.localhost/\n");
    let shown = good_json(&fake, &["rollback", "--site", "cafe", "--to", ID, "--json"]);
    assert_eq!(shown, deployment(1, ""));
    good(&fake, &["rollback", "--site", "cafe", "--to", "41"]);
    let bodies: Vec<Value> = fake.state().asked.iter().map(|it| it.body.clone()).collect();
    assert_eq!(bodies, [json!({"to": null}), json!({"to": ID}), json!({"to": "41"})]);
    fake.state().lost = Some(("/rollback", 1));
    let said = bad(&fake, &["rollback", "--site", "cafe"], 3);
    assert!(said.contains("was lost"), "{said}");
    assert_eq!(fake.calls().len(), 4);
}

#[test]
fn jobs_are_filtered_and_run_once_more() {
    let fake = Fake::start();
    let job = json!({"id": ID, "queue": "email", "kind": "mail", "title": "Mail to a", "state": "failed", "attempt": 5, "deaths": 0,
        "progress": 0, "error": "No route.", "created_at": "2020-01-01T00:00:00Z", "started_at": null, "finished_at": null});
    let call = "GET /api/v1/jobs?limit=50&queue=email&state=failed";
    fake.answer(call, 200, json!({"items": [job], "next": null}));
    let shown = good(&fake, &["jobs", "--queue", "email", "--state", "failed"]);
    assert!(shown.contains("email  failed    5  2020-01-01  Mail to a  No route."), "{shown}");
    assert_eq!(good_json(&fake, &["jobs", "--queue", "email", "--state", "failed", "--json"]), json!([job]));
    assert!(bad(&fake, &["jobs", "--queue", "post"], 2).contains("deploy, email, blockchain, backup"));
    fake.answer(&format!("POST /api/v1/jobs/{ID}/rerun"), 200, job);
    good(&fake, &["jobs", "rerun", ID]);
    bad(&fake, &["jobs", "rerun", "7"], 2);
}

#[test]
fn a_drain_that_does_not_end_in_time_says_what_is_left() {
    let fake = Fake::start();
    fake.answer("POST /api/v1/queues/deploy/drain", 200, json!({ "running": 2 }));
    let said = bad(&fake, &["jobs", "drain", "deploy", "--timeout", "0"], 1);
    assert!(said.contains("The queue deploy is paused; waiting for 2 jobs at work."), "{said}");
    assert!(said.contains("After 0 s, 2 jobs still at work. The queue deploy stays paused."), "{said}");
    let bodies: Vec<Value> = fake.state().asked.iter().map(|it| it.body.clone()).collect();
    assert_eq!(bodies, [json!({ "wait_seconds": 0 }), json!({ "wait_seconds": 0 })]);
    fake.answer("POST /api/v1/jobs/drain", 200, json!({ "running": 0 }));
    assert!(good(&fake, &["jobs", "drain", "--tenant"]).contains("chainhost jobs resume --tenant"));
    let said = bad(&fake, &["jobs", "pause"], 2);
    assert!(said.contains("<QUEUE|--tenant>"), "both ways are named: {said}");
    fake.answer(
        "POST /api/v1/schedules/gc/pause",
        404,
        json!({ "code": "not_found", "detail": "There is no such schedule." }),
    );
    fake.answer("GET /api/v1/schedules", 200, json!({ "items": [{ "name": "nightly" }], "next": null }));
    fake.answer("GET /api/v1/tasks", 200, json!({ "items": [{ "name": "gc" }, { "name": "relay" }], "next": null }));
    assert!(bad(&fake, &["schedules", "pause", "gc"], 1).contains("gc is a task of the server, which needs it"));
    for (act, call) in [("run", "POST"), ("pause", "POST"), ("remove", "DELETE")] {
        let of = |kind: &str| {
            format!("{call} /api/v1/{kind}/nihgtly{}", if call == "POST" { format!("/{act}") } else { String::new() })
        };
        for kind in ["schedules", "tasks"] {
            fake.answer(&of(kind), 404, json!({ "code": "not_found", "detail": "There is no such thing." }));
        }
        let said = bad(&fake, &["schedules", act, "nihgtly"], 1);
        assert!(
            said.contains("There is no schedule nihgtly. Schedules: nightly. Tasks of the server: gc, relay."),
            "{said}"
        );
    }
}

#[test]
fn logs_are_those_of_the_newest_deployment_or_of_the_named_one() {
    let fake = Fake::start();
    let lines = json!({"lines": [{"at": "2026-11-24T06:00:31Z", "text": "Received 3 files\u{7}"}]});
    fake.answer("GET /api/v1/sites/cafe/deployments?limit=1", 200, json!({"items": [deployment(9, "")], "next": "x"}));
    fake.answer(&format!("GET /api/v1/sites/cafe/deployments/{ID}/log"), 200, lines.clone());
    assert_eq!(good(&fake, &["logs", "--site", "cafe"]), "2026-11-24T06:00:31Z  Received 3 files\\u{7}\n");
    fake.answer("GET /api/v1/sites/cafe/deployments/8/log", 200, lines);
    good(&fake, &["logs", "--site", "cafe", "8"]);
}

#[test]
fn garbage_is_only_counted_when_that_is_asked() {
    let fake = Fake::start();
    fake.answer("POST /api/v1/gc", 200, json!({"blobs": 3, "bytes": 4_000_000, "items": []}));
    assert_eq!(good(&fake, &["gc", "--dry-run"]), "3 stored files would be removed, 4.0 MB. Nothing was changed.\n");
    assert_eq!(good(&fake, &["gc"]), "3 stored files removed, 4.0 MB.\n");
    assert_eq!(good_json(&fake, &["gc", "--dry-run", "--json"])["blobs"], 3);
    let bodies: Vec<Value> = fake.state().asked.iter().map(|it| it.body.clone()).collect();
    assert_eq!(bodies, [json!({"dry_run": true}), json!({"dry_run": false}), json!({"dry_run": true})]);
}

#[test]
fn an_answer_that_is_not_of_the_api_is_told_as_such() {
    let fake = Fake::start();
    fake.answer("GET /api/v1/sites?limit=200", 301, json!("elsewhere"));
    assert!(bad(&fake, &["sites"], 1).contains("answered 301"));
    fake.answer("GET /api/v1/sites?limit=200", 200, json!({"rows": []}));
    assert!(bad(&fake, &["sites"], 1).contains("not what this version expects"));
    fake.answer("GET /api/v1/sites?limit=200", 400, json!({"detail": "This is not HTTPS."}));
    assert!(bad(&fake, &["sites"], 1).contains("This is not HTTPS."));
}
