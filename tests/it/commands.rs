//! All commands that scripts call (the client's, against a real server), by their exit codes and the keys of their JSON.

#![expect(clippy::indexing_slicing, reason = "a test that panics says what went wrong")]

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

use chainhost::{base::hash::Sha256, proof::log};
use serde_json::Value;

use crate::support::{Host, PROGRAM, write_files};

/// Somebody's shell: a home of their own, and nothing in the environment that names a server or a key.
struct Shell<'a> {
    home: &'a Path,
    server: String,
}

impl Shell<'_> {
    fn output(&self, arguments: &[&str], input: &str) -> Output {
        use std::io::Write as _;
        let mut command = Command::new(PROGRAM);
        command.args(arguments).env("HOME", self.home).current_dir(self.home);
        for name in ["XDG_CONFIG_HOME", "CHAINHOST_SERVER", "CHAINHOST_KEY"] {
            command.env_remove(name);
        }
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        // A command that reads no input may have ended.
        drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
        child.wait_with_output().unwrap()
    }

    /// Runs a command, which must end with `code`; what it printed on standard output.
    #[track_caller]
    fn ends(&self, code: i32, arguments: &[&str]) -> String {
        let out = self.output(arguments, "");
        let (text, said) = (String::from_utf8(out.stdout).unwrap(), String::from_utf8(out.stderr).unwrap());
        assert_eq!(out.status.code(), Some(code), "{arguments:?}: {text}{said}");
        assert!(code == 0 || (text.is_empty() && !said.is_empty()), "{arguments:?}: {text}");
        text
    }

    #[track_caller]
    fn good(&self, arguments: &[&str]) -> String {
        self.ends(0, arguments)
    }

    /// Runs a command with `--json`, which must do well and print one JSON value that has these keys.
    #[track_caller]
    fn json(&self, arguments: &[&str], keys: &[&str]) -> Value {
        let text = self.good(&[arguments, &["--json"]].concat());
        let found: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{arguments:?}: {text}"));
        let first = found.as_array().map_or(&found, |all| all.first().unwrap_or_else(|| panic!("{arguments:?}: []")));
        for key in keys {
            assert!(first.get(key).is_some(), "{arguments:?} without {key}: {text}");
        }
        found
    }
}

#[test]
fn every_command_does_what_scripts_rely_on() {
    let host = Host::start();
    let key = host.key("owner@example.org", "super-admin");
    let home = tempfile::tempdir().unwrap();
    let shell = Shell { home: home.path(), server: host.url() };
    write_files(home.path(), &[("one/index.html", b"one"), ("one/a/b.txt", b"b"), ("two/index.html", b"two")]);

    assert_eq!(shell.output(&[], "").status.code(), Some(2), "no command is wrong usage");
    shell.ends(4, &["sites", "--server", &shell.server]);
    let refused = shell.output(&["login", "--server", &shell.server], "ch_nonsense\n");
    assert_eq!(refused.status.code(), Some(4), "{}", String::from_utf8_lossy(&refused.stderr));
    let done = shell.output(&["login", "--server", &shell.server], &format!("{key}\n"));
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(!String::from_utf8_lossy(&done.stdout).contains(&key));

    sites(&shell, &host);
    deployments(&shell, &host);
    jobs_and_server(&shell, &host, &key);
    proofs(&shell, &host, &key);

    shell.ends(2, &["sites", "delete", "hello"]);
    shell.good(&["sites", "delete", "hello", "--yes"]);
    assert_eq!(host.get("hello.localhost", "/").status, 421);
    shell.ends(1, &["deployments", "--site", "hello"]);
    shell.good(&["logout"]);
    shell.ends(4, &["sites"]);
}

fn sites(shell: &Shell<'_>, host: &Host) {
    assert_eq!(shell.good(&["sites", "--json"]).trim(), "[]");
    assert!(shell.good(&["sites", "create", "hello"]).contains("http://hello.localhost"));
    shell.ends(1, &["sites", "create", "hello"]);
    shell.ends(2, &["sites", "create", "No Name"]);
    let keys = ["id", "name", "url", "hostnames", "created_at", "live", "deployments", "taken_down", "watch_folder"];
    let listed = shell.json(&["sites"], &keys);
    assert_eq!((listed[0]["name"].as_str(), listed.as_array().unwrap().len()), (Some("hello"), 1));
    assert!(shell.good(&["sites"]).contains("hello"));

    shell.good(&["sites", "hostnames", "add", "WWW.example.org", "--site", "hello"]);
    assert_eq!(shell.json(&["sites"], &keys)[0]["hostnames"], serde_json::json!(["www.example.org"]));
    shell.good(&["sites", "hostnames", "remove", "www.example.org", "--site", "hello"]);
    shell.ends(1, &["sites", "hostnames", "remove", "www.example.org", "--site", "hello"]);
    let report =
        ["deployment", "url", "preview_url", "files", "files_sent", "bytes_sent", "manifest_sha256", "duration_ms"];
    let first = shell.json(&["deploy", "one", "--site", "hello"], &report);
    assert_eq!((&first["files"], &first["files_sent"], &first["bytes_sent"]), (&2.into(), &2.into(), &4.into()));
    assert_eq!(host.get("hello.localhost", "/").text(), "one");
    shell.ends(1, &["deploy", "one", "--site", "other"]);
    shell.json(&["deploy", "two", "--site", "other", "--create", "--message", "new"], &report);
    shell.ends(2, &["deploy", "nowhere", "--site", "hello"]);
    shell.good(&["sites", "take-down", "other", "--reason", "Moved away."]);
    assert_eq!(host.get("other.localhost", "/").status, 451);
    shell.good(&["sites", "put-back", "other"]);
    assert_eq!(host.get("other.localhost", "/").text(), "two");
    let folder = shell.home.join("two");
    shell.good(&["sites", "watch", "other", folder.to_str().unwrap()]);
    assert!(shell.json(&["sites"], &keys).to_string().contains(folder.to_str().unwrap()));
    shell.good(&["sites", "unwatch", "other"]);
    shell.good(&["sites", "delete", "other", "--yes"]);
}

fn deployments(shell: &Shell<'_>, host: &Host) {
    shell.good(&["deploy", "two", "--site", "hello", "--message", "the second"]);
    let keys = ["id", "number", "site", "state", "message", "actor", "created_at", "files", "bytes", "url", "live"];
    let listed = shell.json(&["deployments", "--site", "hello"], &keys);
    let numbers: Vec<_> = listed.as_array().unwrap().iter().map(|it| it["number"].as_i64().unwrap()).collect();
    assert_eq!(numbers, [2, 1]);
    assert!(shell.good(&["deployments", "--site", "hello"]).contains("the second"));
    assert!(shell.good(&["logs", "--site", "hello"]).lines().count() > 0);
    shell.good(&["logs", "--site", "hello", "1"]);
    let found = shell.json(&["diff", "--site", "hello", "1", "2"], &["added", "removed", "changed", "policy_changed"]);
    assert_eq!(
        (found["removed"][0]["path"].as_str(), found["changed"][0]["path"].as_str()),
        (Some("/a/b.txt"), Some("/index.html"))
    );
    assert!(shell.good(&["diff", "--site", "hello", "1", "2"]).contains("/a/b.txt"));
    shell.ends(1, &["diff", "--site", "hello", "1", "9"]);

    let back = shell.json(&["rollback", "--site", "hello"], &keys);
    assert_eq!(back["number"], 1);
    assert_eq!(host.get("hello.localhost", "/").text(), "one");
    let second = listed[0]["id"].as_str().unwrap();
    assert!(shell.good(&["rollback", "--site", "hello", "--to", second]).contains("deployment 2"));
    assert_eq!(host.get("hello.localhost", "/").text(), "two");
    shell.ends(1, &["rollback", "--site", "hello", "--to", "9"]);
    shell.ends(1, &["deploy", "one", "--site", "hello", "--if-live", back["id"].as_str().unwrap()]);
}

fn jobs_and_server(shell: &Shell<'_>, host: &Host, key: &str) {
    let keys = ["id", "queue", "kind", "title", "state", "attempt", "deaths", "progress", "error", "created_at"];
    let one = host.until("an ended job", || {
        let ended = shell.good(&["jobs", "--queue", "deploy", "--state", "done", "--json"]);
        (ended.trim() != "[]").then(|| shell.json(&["jobs", "--queue", "deploy", "--state", "done"], &keys)[0].clone())
    });
    assert!(shell.good(&["jobs"]).contains(one["title"].as_str().unwrap()));
    shell.ends(1, &["jobs", "rerun", one["id"].as_str().unwrap()]);
    shell.ends(1, &["jobs", "rerun", &"0".repeat(32)]);
    shell.good(&["jobs", "pause", "email"]);
    assert!(host.get("localhost", "/metrics").text().contains("chainhost_queue_paused{queue=\"email\"} 1"));
    shell.good(&["jobs", "resume", "email"]);
    // What was deployed just now is nobody's garbage.
    for arguments in [&["gc", "--dry-run"][..], &["gc"]] {
        assert!(shell.good(arguments).contains("nothing to remove"));
    }
    let found = shell.json(&["gc", "--dry-run"], &["dry_run", "blobs", "bytes", "items"]);
    assert_eq!((&found["dry_run"], &found["blobs"]), (&true.into(), &0.into()));
    assert_eq!(host.get("hello.localhost", "/").text(), "two");
    shell.json(&["nodes"], &["id", "role", "labels", "seen_at", "duties", "this"]);
    shell.good(&["nodes"]);
    shell.good(&["check"]);
    write_files(shell.home, &[("wrong.toml", b"nonsense = 1\n")]);
    shell.ends(2, &["check", "--config", "wrong.toml"]);
    // The kept key is for its own server. Nobody listens at the reserved port 1.
    shell.ends(4, &["sites", "--server", "http://localhost:1"]);
    let mut away = Command::new(PROGRAM);
    away.args(["sites", "--server", "http://localhost:1"]).env("HOME", shell.home).env("CHAINHOST_KEY", key);
    assert_eq!(away.output().unwrap().status.code(), Some(3));
}

fn proofs(shell: &Shell<'_>, host: &Host, key: &str) {
    let deployed = shell.json(&["deploy", "one", "--site", "hello"], &["manifest_sha256", "deployment"]);
    let text = shell.good(&["manifest", "one", "--out", "manifest.json", "--sums", "SHA256SUMS"]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], format!("sha256 {}", deployed["manifest_sha256"].as_str().unwrap()));
    assert!(lines[1].starts_with("siteRoot 0x") && lines[2].starts_with("cid b"), "{text}");
    assert_eq!(shell.good(&["cid", "one"]).trim(), &lines[2][4..]);
    assert!(shell.good(&["cid", "one/index.html"]).starts_with('b'));
    shell.ends(2, &["manifest", "nowhere"]);
    shell.ends(2, &["cid", "nowhere"]);

    let path = format!("GET /api/v1/sites/hello/deployments/{}/bundle", deployed["deployment"].as_str().unwrap());
    let bundle = host.api(key, &path, b"");
    assert_eq!(bundle.status, 200);
    write_files(shell.home, &[("proof.json", &bundle.body)]);
    // Valid, and not anchored in any log yet.
    for more in [&["--dir", "one"][..], &["--site", &format!("http://hello.localhost:{}", host.port)]] {
        let out = shell.output(&[&["verify", "proof.json", "--offline"], more].concat(), "");
        assert_eq!(out.status.code(), Some(10), "{more:?}: {}", String::from_utf8_lossy(&out.stderr));
    }
    assert_eq!(shell.output(&["verify", "proof.json", "--dir", "two"], "").status.code(), Some(20));
    write_files(shell.home, &[("proof.json", b"{}")]);
    let broken = shell.output(&["verify", "proof.json"], "").status.code().unwrap();
    assert!([2, 21].contains(&broken), "{broken}");

    let leaves: Vec<Sha256> = (0..5_u8).map(|it| log::leaf_hash(&[it])).collect();
    let (root, leaf) = (log::root(&leaves).base64(), leaves[3].base64());
    let proof: Vec<String> = log::inclusion_proof(&leaves, 3).unwrap().iter().map(Sha256::base64).collect();
    let proof = proof.join(",");
    let inclusion = |index: &str| {
        let arguments =
            ["log", "verify-inclusion", "--leaf-hash", &leaf, "--index", index, "--size", "5", "--root", &root];
        shell.output(&[&arguments[..], &["--proof", &proof]].concat(), "").status.code()
    };
    assert_eq!((inclusion("3"), inclusion("2"), inclusion("x")), (Some(0), Some(22), Some(2)));
    let same = ["log", "verify-consistency", "--size1", "5", "--size2", "5", "--root1", &root, "--root2", &root];
    shell.good(&same);
    shell.ends(2, &["log", "fsck", "https://log.example", "--vkey", "x"]);
}
