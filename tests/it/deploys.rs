//! The main job, with the real program: deploy by every way, look, change, go back.

use std::{
    fs::{self, File},
    io::Write as _,
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use chainhost::base::hash::Sha256;
use serde_json::{Value, json};

use crate::support::{Host, PROGRAM, write_files};

const FILES: &[(&str, &[u8])] = &[
    ("index.html", b"<h1>one</h1>"),
    ("about.html", b"about"),
    ("docs/index.html", b"docs"),
    ("naïve/文書.txt", b"text"),
    ("empty", b""),
    ("app.3f9a1c77.js", b"console.log(1)"),
    ("_redirects", b"/old /about.html 301\n"),
    ("_headers", b"/*.js\n  X-Test: yes\n"),
    (".git/config", b"never"),
];

/// Packs a folder as a zip, names in UTF-8.
const ZIP: &str = "
import sys, zipfile, pathlib
root = pathlib.Path(sys.argv[1])
with zipfile.ZipFile(sys.argv[2], 'w', zipfile.ZIP_DEFLATED) as out:
    for path in sorted(root.rglob('*')):
        out.write(path, path.relative_to(root))
";

fn deploy(host: &Host, key: &str, folder: &Path, more: &[&str]) -> Value {
    let folder = folder.to_str().unwrap();
    host.cli_json(key, &[&["deploy", folder, "--site", "hello", "--create", "--json"], more].concat())
}

fn site(host: &Host) -> PathBuf {
    let folder = host.beside("site");
    write_files(&folder, FILES);
    folder
}

fn manifest_of(folder: &Path) -> String {
    let out = Command::new(PROGRAM).arg("manifest").arg(folder).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    text.lines().find_map(|it| it.strip_prefix("sha256 ")).unwrap().to_owned()
}

#[test]
fn a_site_is_deployed_served_changed_and_rolled_back() {
    let host = Host::start();
    let key = host.key("owner@example.org", "super-admin");
    let folder = site(&host);
    let first = deploy(&host, &key, &folder, &["--message", "First"]);
    assert_eq!((first["files"].as_u64(), first["files_sent"].as_u64()), (Some(6), Some(8)));
    assert_eq!(first["manifest_sha256"], manifest_of(&folder));

    let get = |path: &str| host.get("hello.localhost", path);
    assert_eq!(get("/").text(), "<h1>one</h1>");
    assert_eq!(get("/docs/").text(), "docs");
    assert_eq!(get("/na%C3%AFve/%E6%96%87%E6%9B%B8.txt").text(), "text");
    assert_eq!((get("/empty").status, get("/empty").body.len()), (200, 0));
    let moved = get("/old");
    assert_eq!((moved.status, moved.header("location")), (301, Some("/about.html")));
    let script = get("/app.3f9a1c77.js");
    assert_eq!(script.header("x-test"), Some("yes"));
    assert!(script.header("cache-control").unwrap().contains("immutable"));
    assert_eq!(get("/.git/config").status, 404);
    assert_eq!(get("/_headers").status, 404);

    write_files(&folder, &[("index.html", b"<h1>two</h1>")]);
    let second = deploy(&host, &key, &folder, &[]);
    assert_eq!((second["files_sent"].as_u64(), second["bytes_sent"].as_u64()), (Some(1), Some(12)));
    assert_eq!(get("/").text(), "<h1>two</h1>");
    let preview = first["preview_url"].as_str().unwrap().strip_prefix("http://").unwrap();
    let shown = host.get(preview.split(':').next().unwrap(), "/");
    assert_eq!((shown.text().as_str(), shown.header("x-robots-tag")), ("<h1>one</h1>", Some("noindex")));

    let back = host.cli_json(&key, &["rollback", "--site", "hello", "--json"]);
    assert_eq!(back["number"], 1);
    assert_eq!(get("/").text(), "<h1>one</h1>");
    let list = host.cli_json(&key, &["deployments", "--site", "hello", "--json"]);
    let list = list.as_array().or_else(|| list["items"].as_array()).unwrap();
    let states: Vec<_> = list.iter().map(|it| it["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["superseded", "live"]);
    let diff = host.api_json(&key, "GET /api/v1/sites/hello/deployments/2/diff?against=1", "", 200);
    assert_eq!(diff["changed"], json!([{"path": "/index.html", "size": 12, "size_before": 12}]));
    let audit = host.api_json(&key, "GET /api/v1/audit", "", 200);
    let kinds: Vec<_> = audit["items"].as_array().unwrap().iter().map(|it| it["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds.iter().filter(|it| **it == "deployment.published").count(), 2);
    assert_eq!(kinds.first(), Some(&"site.rolled_back"));
}

#[test]
fn every_way_gives_the_same_manifest() {
    let host = Host::start();
    let key = host.key("owner@example.org", "super-admin");
    let folder = site(&host);
    let wanted = manifest_of(&folder);
    assert_eq!(deploy(&host, &key, &folder, &[])["manifest_sha256"], wanted);

    let zip = host.beside("site.zip");
    let made = Command::new("python3").args(["-c", ZIP]).arg(&folder).arg(&zip).status().unwrap();
    assert!(made.success());
    let mut archives = vec![(zip, "application/zip")];
    for (flag, name, media_type) in
        [("-z", "site.tgz", "application/gzip"), ("--zstd", "site.tzst", "application/zstd")]
    {
        let path = host.beside(name);
        let made = Command::new("tar").arg("-C").arg(&folder).arg(flag).arg("-cf").arg(&path).arg(".").status();
        assert!(made.unwrap().success(), "{name}");
        archives.push((path, media_type));
    }
    for (path, media_type) in archives {
        let head = format!("PUT /api/v1/sites/hello/deployments HTTP/1.1\r\nContent-Type: {media_type}\r\nX-Rest:");
        let answer = host.api(&key, &head, &fs::read(&path).unwrap());
        assert_eq!(answer.status, 202, "{}", answer.text());
        let location = answer.header("location").unwrap().to_owned();
        let done = host.until("the archive", || {
            let it = host.api_json(&key, &format!("GET {location}"), "", 200);
            (it["state"] != "checking").then_some(it)
        });
        assert_eq!((&done["state"], &done["manifest_sha256"]), (&json!("live"), &json!(wanted)), "{done}");
    }

    // The watched folder: the site is another one, so that nothing is known of it.
    host.api_json(&key, "POST /api/v1/sites", r#"{"name":"watched"}"#, 201);
    let body = json!({ "watch_folder": folder.to_str().unwrap() }).to_string();
    host.api_json(&key, "PATCH /api/v1/sites/watched", &body, 200);
    let live = |number: u64| {
        let list = host.api_json(&key, "GET /api/v1/sites/watched/deployments", "", 200);
        list["items"].as_array().unwrap().iter().find(|it| it["live"] == true && it["number"] == number).cloned()
    };
    assert_eq!(host.until("the watched folder", || live(1))["manifest_sha256"], wanted);
    File::create(folder.join("new.txt")).unwrap().write_all(b"new").unwrap();
    host.until("its change", || live(2));
    // The database knows of it a moment before the snapshot that is served.
    host.until("its new file", || (host.get("watched.localhost", "/new.txt").text() == "new").then_some(()));
    fs::rename(&folder, host.beside("away")).unwrap();
    assert_eq!(host.get("watched.localhost", "/new.txt").text(), "new");
}

#[test]
fn wrong_input_is_refused_and_says_why() {
    let host = Host::start();
    let key = host.key("owner@example.org", "super-admin");
    let refused = |call: &str, body: &str, status: u16, code: &str| {
        let answer = host.api_json(&key, call, body, status);
        assert_eq!(answer["code"], code, "{call}: {answer}");
        assert!(answer["detail"].as_str().unwrap().len() > 10 && answer["request_id"].is_string(), "{answer}");
    };
    refused("POST /api/v1/sites", r#"{"name":"www"}"#, 400, "site_name");
    refused("POST /api/v1/sites", r#"{"nam":"x"}"#, 400, "json");
    refused("POST /api/v1/sites", "{", 400, "json");
    refused("GET /api/v1/sites/nothing", "", 404, "not_found");
    refused("GET /api/v1/nothing", "", 404, "not_found");
    refused("GET /api/v1/sites?limit=0", "", 400, "limit");
    host.api_json(&key, "POST /api/v1/sites", r#"{"name":"hello"}"#, 201);
    refused("POST /api/v1/sites", r#"{"name":"hello"}"#, 409, "site_name_taken");
    refused("PUT /api/v1/sites/hello/hostnames/a..b", "", 400, "hostname");
    refused("PUT /api/v1/sites/hello/hostnames/x.localhost", "", 400, "hostname_reserved");
    refused("POST /api/v1/sites/hello/rollback", "{}", 409, "nothing_before");
    let begin = |files: Value| json!({ "files": files }).to_string();
    let hash = "0".repeat(64);
    let deployments = "POST /api/v1/sites/hello/deployments";
    refused(deployments, &begin(json!([])), 400, "site_empty");
    refused(deployments, &begin(json!([["/../x", 1, hash]])), 400, "path_segment");
    refused(deployments, &begin(json!([["/.env", 1, hash]])), 400, "env_file");
    refused(deployments, &begin(json!([["/x", 1, "abc"]])), 400, "file_hash");
    let many: Vec<Value> = (0..=50_000).map(|it| json!([format!("/{it}"), 1, hash])).collect();
    refused(deployments, &begin(json!(many)), 413, "site_files");
    let garbage = host.api(&key, "PUT /api/v1/sites/hello/deployments", b"garbage, no archive");
    assert_eq!(garbage.status, 400, "{}", garbage.text());

    for wrong in ["", "ch_wrong", &key[..key.len() - 1]] {
        assert_eq!(host.api(wrong, "GET /api/v1/me", b"").status, 401, "{wrong}");
    }
    assert!(host.admin(&["revoke-key"], &key).status.success());
    assert_eq!(host.api(&key, "GET /api/v1/me", b"").status, 401);
}

fn frame(bytes: &[u8]) -> Vec<u8> {
    let length = u64::try_from(bytes.len()).unwrap().to_be_bytes();
    [&Sha256::of(bytes).0[..], &length, bytes].concat()
}

#[test]
fn an_interrupted_upload_resumes_and_a_wrong_policy_fails_with_its_line() {
    let host = Host::start();
    let key = host.key("owner@example.org", "user");
    host.api_json(&key, "POST /api/v1/sites", r#"{"name":"hello"}"#, 201);
    let hash = |bytes: &[u8]| Sha256::of(bytes).hex();
    let list = json!({"files": [["/index.html", 3, hash(b"one")], ["/_redirects", 4, hash(b"nope")]]}).to_string();
    let call = "POST /api/v1/sites/hello/deployments HTTP/1.1\r\nIdempotency-Key: k1\r\nX-Rest:";
    let begun = host.api_json(&key, call, &list, 201);
    assert_eq!(begun["missing"].as_array().unwrap().len(), 2);
    let id = begun["id"].as_str().unwrap().to_owned();
    let blobs = format!("POST /api/v1/sites/hello/deployments/{id}/blobs");
    let cut = [&frame(b"one")[..], &frame(b"nope")[..30]].concat();
    assert_eq!(host.api(&key, &blobs, &cut).json()["code"], "upload_cut");
    let finish = format!("POST /api/v1/sites/hello/deployments/{id}/finish");
    assert_eq!(host.api(&key, &finish, b"").json()["code"], "blobs_missing");

    let again = host.api_json(&key, call, &list, 201);
    assert_eq!((&again["id"], &again["missing"]), (&json!(id), &json!([hash(b"nope")])));
    assert_eq!(host.api(&key, &blobs, &frame(b"nope")).status, 200);
    let failed = host.api(&key, &finish, b"");
    assert!(failed.status == 400 && failed.json()["detail"].as_str().unwrap().contains("line 1"), "{}", failed.text());
    let kept = host.api_json(&key, "GET /api/v1/sites/hello/deployments/1", "", 200);
    assert_eq!(kept["state"], "failed");
    assert_eq!(host.get("hello.localhost", "/").status, 404);
}

#[test]
fn a_known_hash_does_not_fetch_anothers_file() {
    let host = Host::start();
    let key = host.key("owner@example.org", "super-admin");
    let folder = site(&host);
    deploy(&host, &key, &folder, &[]);
    host.api_json(&key, "POST /api/v1/sites", r#"{"name":"thief"}"#, 201);
    let hash = Sha256::of(b"about").hex();
    let list = json!({ "files": [["/stolen.html", 5, hash]] }).to_string();
    let begun = host.api_json(&key, "POST /api/v1/sites/thief/deployments", &list, 201);
    assert_eq!(begun["missing"], json!([hash]));
    let finish = format!("POST /api/v1/sites/thief/deployments/{}/finish", begun["id"].as_str().unwrap());
    assert_eq!(host.api(&key, &finish, b"").status, 409);
}

#[test]
fn a_file_larger_than_a_request_of_many_is_deployed_and_served() {
    let host = Host::start();
    let key = host.key("owner@example.org", "super-admin");
    let folder = host.beside("site");
    write_files(&folder, &[("index.html", b"film")]);
    let film: Vec<u8> = (0..70 * 1024 * 1024_u32).map(|it| it.to_le_bytes()[2]).collect();
    write_files(&folder, &[("film.bin", &film)]);
    assert_eq!(deploy(&host, &key, &folder, &[])["files_sent"].as_u64(), Some(2));
    let head = "GET /film.bin HTTP/1.1\r\nRange: bytes=70000000-70000009\r\nHost: hello.localhost\r\n";
    let part = crate::support::http::ask(host.port, head, b"");
    assert_eq!((part.status, &part.body[..]), (206, &film[70_000_000..70_000_010]));
    assert_eq!(host.get("hello.localhost", "/film.bin").body.len(), film.len());
}

#[test]
fn a_site_is_changed_whole_or_not_at_all_and_problems_name_fields_of_the_body() {
    let host = Host::start();
    let key = host.key("owner@example.org", "super-admin");
    host.api_json(&key, "POST /api/v1/sites", r#"{"name":"hello"}"#, 201);
    let change = |body: &str, status: u16| host.api_json(&key, "PATCH /api/v1/sites/hello", body, status);
    let wrong = change(r#"{"taken_down":"because","watch_folder":"relative"}"#, 400);
    assert_eq!(wrong["field"], "watch_folder");
    assert_eq!(host.api_json(&key, "GET /api/v1/sites/hello", "", 200)["taken_down"], Value::Null);
    assert_eq!(change(r#"{"taken_down":" "}"#, 400)["field"], "taken_down");
    let both = change(r#"{"taken_down":"because","watch_folder":"/srv/none"}"#, 200);
    assert_eq!((&both["taken_down"], &both["watch_folder"]), (&json!("because"), &json!("/srv/none")));
    let back = change(r#"{"taken_down":null}"#, 200);
    assert_eq!((&back["taken_down"], &back["watch_folder"]), (&Value::Null, &json!("/srv/none")));
    for (call, body, field) in [
        ("POST /api/v1/sites/hello/rollback", r#"{"to":"x"}"#, "to"),
        ("POST /api/v1/sites/hello/rollback", r#"{"if_live":"x"}"#, "if_live"),
        ("POST /api/v1/keys", r#"{"name":"a","expires_at":"2001-01-01T00:00:00Z"}"#, "expires_at"),
    ] {
        assert_eq!(host.api_json(&key, call, body, 400)["field"], field, "{call} {body}");
    }
}

#[test]
fn users_come_in_pages() {
    let host = Host::start();
    let key = host.key("c@example.org", "super-admin");
    for email in ["a@example.org", "b@example.org"] {
        let body = json!({"email": email, "role": "user", "password": crate::support::PASSWORD});
        host.api_json(&key, "POST /api/v1/users", &body.to_string(), 201);
    }
    let first = host.api_json(&key, "GET /api/v1/users?limit=2", "", 200);
    let emails =
        |page: &Value| page["items"].as_array().unwrap().iter().map(|it| it["email"].clone()).collect::<Vec<_>>();
    assert_eq!(emails(&first), ["a@example.org", "b@example.org"]);
    let after = first["next"].as_str().unwrap();
    let second = host.api_json(&key, &format!("GET /api/v1/users?limit=2&after={after}"), "", 200);
    assert_eq!((emails(&second), &second["next"]), (vec![json!("c@example.org")], &Value::Null));
    // The document announces what is answered.
    let document = host.get("localhost", "/api/openapi.json").json();
    let shape = document["components"]["schemas"]["User"]["properties"].as_object().unwrap();
    let keys: Vec<_> = first["items"][0].as_object().unwrap().keys().collect();
    assert_eq!(shape.keys().collect::<Vec<_>>(), keys);
}

#[test]
fn a_list_says_of_a_site_what_is_said_of_it_alone() {
    let host = Host::start();
    let key = host.key("owner@example.org", "super-admin");
    let folder = host.beside("page");
    write_files(&folder, &[("index.html", b"here")]);
    let deploy = |site: &str| {
        host.cli_json(&key, &["deploy", folder.to_str().unwrap(), "--site", site, "--create", "--json"]);
    };
    for site in ["down", "own", "twice", "twice"] {
        deploy(site);
    }
    host.api_json(&key, "POST /api/v1/sites", r#"{"name":"empty"}"#, 201);
    for call in ["own/hostnames/b.example", "own/hostnames/a.example", "empty/hostnames/c.example"] {
        assert_eq!(host.api(&key, &format!("PUT /api/v1/sites/{call}"), b"").status, 204);
    }
    // What is published last is the end of a takedown, or a takedown.
    for (site, reason) in [("twice", "soon back"), ("down", "gone")] {
        host.api_json(&key, &format!("PATCH /api/v1/sites/{site}"), &json!({"taken_down": reason}).to_string(), 200);
    }
    host.api_json(&key, "PATCH /api/v1/sites/twice", r#"{"taken_down":null}"#, 200);
    // However often a reason is changed.
    for number in 0..12 {
        let reason = json!({"taken_down": format!("gone, {number}")}).to_string();
        let down = host.api_json(&key, "PATCH /api/v1/sites/down", &reason, 200);
        assert!(down["live"]["published_at"].is_string(), "{down}");
    }
    let mut seen = Vec::new();
    for after in ["", "?limit=2", "?limit=2&after=empty"] {
        let list = host.api_json(&key, &format!("GET /api/v1/sites{after}"), "", 200);
        for it in list["items"].as_array().unwrap() {
            let name = it["name"].as_str().unwrap();
            assert_eq!(*it, host.api_json(&key, &format!("GET /api/v1/sites/{name}"), "", 200), "{after}");
            assert_eq!(it["live"].is_null(), name == "empty", "{it}");
            seen.push(name.to_owned());
        }
    }
    assert_eq!(seen, ["down", "empty", "own", "twice", "down", "empty", "own", "twice"]);
}

/// Who asks for a change may hang up at any moment of it: what was kept of the list before is not shown for longer.
#[test]
fn a_list_has_what_was_made_for_somebody_who_hung_up() {
    let host = Host::start();
    let key = host.key("owner@example.org", "super-admin");
    let listed = || -> Vec<String> {
        let list = host.api_json(&key, "GET /api/v1/sites?limit=100", "", 200);
        list["items"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap().to_owned()).collect()
    };
    let mut made = 0;
    for number in 0..25 {
        let name = format!("site-{number:02}");
        let before = listed();
        let body = json!({ "name": name }).to_string();
        let asked = format!(
            "POST /api/v1/sites HTTP/1.1\r\nhost: localhost:{}\r\nauthorization: Bearer {key}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            host.port,
            body.len()
        );
        let mut line = TcpStream::connect(("127.0.0.1", host.port)).unwrap();
        line.write_all(asked.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_micros(150 * number));
        drop(line);
        // It is made within some milliseconds, or was never begun.
        let is_made = (0..10).any(|_| {
            std::thread::sleep(Duration::from_millis(5));
            host.api(&key, &format!("GET /api/v1/sites/{name}"), b"").status == 200
        });
        if is_made {
            made += 1;
            assert!(!before.contains(&name));
            host.until("the list has it", || listed().contains(&name).then_some(()));
        }
    }
    println!("{made} of 25 were made");
}
