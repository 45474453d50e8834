//! The server as a process: first start, restart, second instance, lost database, shutdown.

use std::{fs, process::Command};

use crate::support::{Host, PASSWORD, PROGRAM, write_files};

#[test]
fn a_first_start_gives_a_claim_link_and_a_private_folder() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut host = Host::start();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&host.data()), 0o700);
    assert_eq!(mode(&host.data().join("control.sock")), 0o600);
    let link = fs::read_to_string(host.data().join("claim-link")).unwrap();
    assert_eq!(mode(&host.data().join("claim-link")), 0o600);
    assert!(host.log().contains(link.trim()), "{}", host.log());
    let newer = host.admin(&["claim-link"], "");
    assert!(newer.status.success() && newer.stdout != link.as_bytes());
    host.key("owner@example.org", "super-admin");
    let used = host.admin(&["claim-link"], "");
    assert!(!used.status.success() && String::from_utf8_lossy(&used.stderr).contains("owner already"));
    assert_eq!(host.get("localhost", "/healthz").status, 200);
    assert_eq!(host.stop(), Some(0));
    assert!(!host.data().join("control.sock").exists());
}

#[test]
fn a_second_instance_says_who_holds_the_folder() {
    let host = Host::start();
    let out =
        Command::new(PROGRAM).args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(host.data()).output().unwrap();
    let error = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(1));
    assert!(error.contains(&format!("process {}", host.pid())), "{error}");
}

#[test]
fn users_and_keys_are_made_while_the_server_is_down_too() {
    let mut host = Host::start();
    host.stop();
    let key = host.key("owner@example.org", "admin");
    let twice = ["create-user", "--email", "owner@example.org", "--role", "user", "--password-stdin"];
    assert!(!host.admin(&twice, PASSWORD).status.success());
    let short = ["create-user", "--email", "b@example.org", "--role", "user", "--password-stdin"];
    assert_eq!(host.admin(&short, "short").status.code(), Some(2));
    host.restart();
    assert_eq!(host.api_json(&key, "GET /api/v1/me", "", 200)["role"], "admin");
}

#[test]
fn sites_outlive_the_database_and_nothing_is_acknowledged_that_would_be_lost() {
    let mut host = Host::start();
    let key = host.key("owner@example.org", "super-admin");
    let folder = host.beside("site");
    write_files(&folder, &[("index.html", b"here")]);
    let folder = folder.to_str().unwrap().to_owned();
    host.cli_json(&key, &["deploy", &folder, "--site", "hello", "--create", "--json"]);

    for name in ["chainhost.db", "chainhost.db-wal", "chainhost.db-shm"] {
        drop(fs::remove_file(host.data().join(name)));
    }
    assert_eq!(host.get("hello.localhost", "/").text(), "here");
    let refused = host.api(&key, "POST /api/v1/sites", br#"{"name":"lost"}"#);
    assert!(matches!(refused.status, 503), "{} {}", refused.status, refused.text());
    assert_eq!(host.get("localhost", "/healthz").json()["control"], "database_gone");

    // A restart serves the snapshot, makes no new database, and says why.
    host.kill();
    host.restart();
    assert_eq!(host.get("hello.localhost", "/").text(), "here");
    assert!(!host.data().join("chainhost.db").exists());
    assert_eq!(host.get("localhost", "/healthz").json()["control"], "database_missing");
    assert_eq!(host.api(&key, "GET /api/v1/me", b"").json()["code"], "database_missing");
    assert!(host.log().contains("chainhost.db is gone"));
    assert_eq!(host.stop(), Some(0));
}

#[test]
fn a_damaged_blob_is_not_served() {
    let host = Host::start();
    let key = host.key("owner@example.org", "super-admin");
    let folder = host.beside("site");
    write_files(&folder, &[("index.html", b"genuine"), ("other.html", b"other")]);
    host.cli_json(&key, &["deploy", folder.to_str().unwrap(), "--site", "hello", "--create", "--json"]);
    let hash = chainhost::base::hash::Sha256::of(b"genuine").hex();
    let blob = host.data().join("blobs").join(&hash[..2]).join(&hash);
    fs::remove_file(&blob).unwrap();
    write_files(blob.parent().unwrap(), &[(&hash, b"forgery")]);
    assert_eq!(host.get("hello.localhost", "/").status, 503);
    assert_eq!(host.get("hello.localhost", "/other.html").text(), "other");
}

#[test]
fn settings_are_checked_and_the_line_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chainhost.toml");
    let check = |text: &str| {
        write_files(folder.path(), &[("chainhost.toml", text.as_bytes())]);
        let out = Command::new(PROGRAM).args(["check", "--config"]).arg(&path).output().unwrap();
        (out.status.code(), String::from_utf8(out.stderr).unwrap())
    };
    assert_eq!(check("listen = [\"127.0.0.1:8080\"]\nlog = \"warn,chainhost::serve=debug\"\n").0, Some(0));
    let (code, error) = check("log = \"chainhost=loud\"\n");
    assert!(code == Some(2) && error.contains("chainhost=loud"), "{error}");
    assert_eq!(check("public_url = \"https://panel.example\"\n").0, Some(2));
    assert_eq!(check("public_url = \"https://panel.example\"\ntrusted_proxies = [\"10.0.0.0/8\"]\n").0, Some(0));
    let (code, error) = check("listen = [\"127.0.0.1:8080\"]\npanel_hosst = \"x\"\n");
    assert!(code == Some(2) && error.contains("line 2") && error.contains("panel_hosst"), "{error}");
}
