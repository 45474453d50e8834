//! The server as a process: first start, restart, second instance, lost database, shutdown.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::{
        fs::{PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{
    Host, PASSWORD, PROGRAM,
    browser::{Browser, form},
    http, write_files,
};

#[test]
fn a_first_start_gives_a_claim_link_and_a_private_folder() {
    let mut host = Host::start();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
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

/// Or a run of the tests on other engines would tell nothing of them.
#[test]
fn its_data_is_where_the_run_of_the_tests_wants_it() {
    let asked = |variable: &str, kinds: &[&str]| {
        std::env::var_os(variable).is_some_and(|it| kinds.iter().any(|kind| it == *kind))
    };
    let host = Host::start();
    let key = host.key("owner@example.org", "super-admin");
    host.api_json(&key, "GET /api/v1/jobs", "", 200);
    let there = |name: &str| host.data().join(name).exists();
    let on_server = asked("CHAINHOST_TEST_DATABASE", &["postgres", "pgbouncer"]);
    assert_eq!((host.database_settings().is_some(), there("chainhost.db")), (on_server, !on_server));
    let in_redis = asked("CHAINHOST_TEST_QUEUE", &["redis"]);
    assert_eq!((host.wish().queue_url.is_some(), there("queue.redb")), (in_redis, !in_redis));
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
    let mut host = Host::start_embedded();
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
    let damaged = || host.get("localhost", "/metrics").text().contains("\nchainhost_damaged_files 1\n");
    assert!(damaged());
    // Put right again, it is served and no longer counted.
    fs::remove_file(&blob).unwrap();
    write_files(blob.parent().unwrap(), &[(&hash, b"genuine")]);
    assert_eq!(host.get("hello.localhost", "/").text(), "genuine");
    assert!(!damaged());
}

#[test]
fn a_damaged_compressed_form_is_made_again() {
    let mut host = Host::start();
    let key = host.key("owner@example.org", "super-admin");
    let folder = host.beside("site");
    let text = "to be or not to be\n".repeat(1_000);
    write_files(&folder, &[("index.html", text.as_bytes())]);
    host.cli_json(&key, &["deploy", folder.to_str().unwrap(), "--site", "hello", "--create", "--json"]);
    let hash = chainhost::base::hash::Sha256::of(text.as_bytes()).hex();
    let form = host.data().join("variants").join(&hash[..2]).join(format!("{hash}.br"));
    let coded = |host: &Host| {
        let head = format!("GET / HTTP/1.1\r\nHost: hello.localhost:{}\r\nAccept-Encoding: br\r\n", host.port);
        let answer = http::ask(host.port, &head, b"");
        assert_eq!(answer.status, 200);
        let is_coded = answer.header("content-encoding") == Some("br");
        assert!(is_coded || answer.text() == text);
        is_coded.then_some(())
    };
    host.until("the compressed form", || coded(&host));
    // What is in memory was verified, and is sent whatever the disk says now.
    assert_eq!(host.stop(), Some(0));
    fs::remove_file(&form).unwrap();
    write_files(
        form.parent().unwrap(),
        &[(form.file_name().unwrap().to_str().unwrap(), b"neither text nor digest of it, but long enough")],
    );
    host.restart();
    host.until("the form that is made again", || coded(&host));
    assert!(host.log().contains("made again"), "{}", host.log());
    assert!(host.get("localhost", "/metrics").text().contains("\nchainhost_damaged_files 0\n"));
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

/// A certificate that is not there at a start, as one on a disk that is mounted late, takes no site down.
#[test]
#[cfg(all(feature = "postgres", feature = "redis"))]
fn a_server_with_sites_serves_them_whatever_its_settings_say_of_its_stores() {
    let mut host = Host::start_embedded();
    let key = host.key("owner@example.org", "super-admin");
    crate::moving::deploy(&host, &key, "site", "<p>Here.</p>");
    assert_eq!(host.stop(), Some(0));
    let missing = host.beside("authority.pem");
    let url = format!("rediss://127.0.0.1:{}/0?sslrootcert={}", crate::support::free_port(), missing.display());
    host.become_as(&[("CHAINHOST_REDIS_CACHE_URL", url)], &[]);
    host.restart();
    assert_eq!(host.get("site.localhost", "/").text(), "<p>Here.</p>");
    assert!(host.log().contains("`cache_url` in [redis]") && host.log().contains("authority.pem"), "{}", host.log());
}

#[test]
#[cfg(all(feature = "postgres", feature = "redis"))]
fn a_url_that_no_start_could_use_is_refused_by_check_and_serve_with_the_name_of_its_setting() {
    let folder = tempfile::tempdir().unwrap();
    for (name, url, words) in [
        ("CHAINHOST_DATABASE_URL", "mysql://u:hidden@h/d", "`url` in [database]"),
        ("CHAINHOST_DATABASE_URL", "postgres://u:hidden@h:5432x/d", "CHAINHOST_DATABASE_URL"),
        ("CHAINHOST_REDIS_QUEUE_URL", "redis://:hidden@h:63x/x", "`queue_url` in [redis]"),
        ("CHAINHOST_REDIS_CACHE_URL", "http://:hidden@h", "CHAINHOST_REDIS_CACHE_URL"),
        ("CHAINHOST_BLOBS_URL", "s3://bucket?endpoint=http://h:58334x", "endpoint"),
    ] {
        for command in [&["check"][..], &["serve", "--listen", "127.0.0.1:0"]] {
            let mut run = Command::new(PROGRAM);
            run.args(command).current_dir(&folder).env(name, url);
            let out = run.env("AWS_ACCESS_KEY_ID", "a").env("AWS_SECRET_ACCESS_KEY", "b").output().unwrap();
            let said = String::from_utf8(out.stderr).unwrap();
            assert!(out.status.code() == Some(2) && said.contains(words) && !said.contains("hidden"), "{url}: {said}");
        }
    }
    // A start serves what it has without them.
    let out = Command::new(PROGRAM).arg("check").env("CHAINHOST_BLOBS_URL", "s3://bucket").output().unwrap();
    let said = String::from_utf8(out.stderr).unwrap();
    assert!(out.status.code() == Some(2) && said.contains("AWS_SECRET_ACCESS_KEY"), "{said}");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "nothing was made");
}

/// Every path below a folder with its rights and, for a file, its bytes.
fn state(folder: &Path) -> Vec<(PathBuf, u32, Vec<u8>)> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(path) = open.pop() {
        let about = fs::symlink_metadata(&path).unwrap();
        let bytes = if about.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        if about.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|it| it.unwrap().path()));
        }
        found.push((path, about.permissions().mode(), bytes));
    }
    found.sort();
    found
}

#[test]
fn a_folder_of_somebodys_own_files_is_refused_and_left_as_it_is() {
    let base = tempfile::tempdir().unwrap();
    let key = ["admin", "create-key", "--email", "a@example.org"];
    let serve = ["serve", "--listen", "127.0.0.1:0"];
    for (at, files) in [
        &[("notes.txt", &b"mine"[..]), (".draft.tmp", b"mine"), (".draft.abcdefg2.tmp", b"mine")][..],
        &[("incoming/letter", b"mine"), ("archives/2019.zip", b"mine"), ("blobs/a", b"mine")],
        &[("lock", b""), ("lockers.csv", b"mine")],
        &[("instance", b"i-0123"), ("archives/2019.zip", b"mine")],
    ]
    .into_iter()
    .enumerate()
    {
        let folder = base.path().join(at.to_string());
        write_files(&folder, files);
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        let before = state(&folder);
        for arguments in [&serve[..], &key] {
            let out = Command::new(PROGRAM).args(arguments).arg("--data").arg(&folder).output().unwrap();
            let error = String::from_utf8(out.stderr).unwrap();
            assert_eq!(out.status.code(), Some(2), "{error}");
            assert!(error.contains("is not a data folder of Chain Host"), "{error}");
            assert!(state(&folder) == before, "{files:?} was changed by {arguments:?}");
        }
    }
}

#[test]
fn a_new_file_system_and_what_a_first_start_left_are_taken() {
    let base = tempfile::tempdir().unwrap();
    fs::create_dir_all(base.path().join("data/lost+found")).unwrap();
    write_files(&base.path().join("data/archives"), &[("2019.zip", b"x"), ("abcdefghijklmnopqrstuvwx", b"half")]);
    write_files(&base.path().join("data/incoming"), &[("letter", b"x"), ("abcdefghijklmnopqrstuvwx", b"half")]);
    // Only with the lock is it a first start that broke off.
    write_files(&base.path().join("data"), &[("lock", b""), ("chainhost.db-wal", b"")]);
    let mut host = Host::start_in(base, &[]);
    let left = |name: &str| {
        let names = fs::read_dir(host.data().join(name)).unwrap().map(|it| it.unwrap().file_name());
        names.collect::<Vec<_>>()
    };
    // Swept is what has the shape of our own left-overs.
    assert_eq!((left("archives"), left("incoming")), (vec!["2019.zip".into()], vec!["letter".into()]));
    assert_eq!(host.stop(), Some(0));
    // Once there is an id, other files beside it are nobody's reason to refuse.
    write_files(&host.data(), &[("README", b"do not touch")]);
    host.restart();
}

#[test]
fn no_log_has_a_secret_however_much_is_logged() {
    const NEW: &str = "another horse battery staple";
    const WRONG: &str = "hunter2 hunter2 hunter2";
    let host = Host::start_traced();
    let link = fs::read_to_string(host.data().join("claim-link")).unwrap();
    let token = link.trim().split_once("token=").unwrap().1.to_owned();
    let newer = String::from_utf8(host.admin(&["claim-link"], "").stdout).unwrap();
    let newer = newer.trim().split_once("token=").unwrap().1.to_owned();
    let mut owner = Browser::new(&host);
    let fields = [("token", &*newer), ("email", "owner@example.org"), ("password", PASSWORD)];
    assert_eq!(owner.post("/claim", &form(&fields)).status, 303);
    let wrong = form(&[("email", "owner@example.org"), ("password", WRONG)]);
    assert_eq!(Browser::new(&host).post("/sign-in", &wrong).status, 400);
    let made = owner.post("/settings/keys", &form(&[("name", "mine"), ("scope", "all"), ("days", "0")])).text();
    let in_panel = made.split_once("API key\">").unwrap().1.split_once('<').unwrap().0.to_owned();
    let on_server = host.key("mate@example.org", "admin");
    let by_api = host.api_json(&in_panel, "POST /api/v1/keys", r#"{"name":"third","scope":"deploy"}"#, 201);
    let by_api = by_api["key"].as_str().unwrap_or_else(|| panic!("{by_api}")).to_owned();
    let folder = host.beside("site");
    write_files(&folder, &[("index.html", b"here")]);
    for key in [&by_api, &on_server] {
        host.cli_json(key, &["deploy", folder.to_str().unwrap(), "--site", "hello", "--create", "--json"]);
    }
    // HTTP/2 has its own ways to log what comes.
    let head = format!("Authorization: Bearer {in_panel}");
    let out = Command::new("curl")
        .args(["--silent", "--fail", "--http2-prior-knowledge", "-H", &head, &format!("{}/api/v1/me", host.url())])
        .output()
        .unwrap();
    assert!(out.status.success(), "{out:?}");
    let session = |owner: &Browser<'_>| owner.cookies.values().find(|it| it.len() > 30).unwrap().clone();
    let before = session(&owner);
    let fields = [("present", PASSWORD), ("password", NEW), ("again", NEW)];
    assert_eq!(owner.post("/settings/password", &form(&fields)).status, 303);
    assert_eq!(host.api(&format!("{in_panel}x"), "GET /api/v1/me", b"").status, 401);
    drop(host.admin(&["revoke-key"], &on_server));

    let log = host.log();
    assert!(log.lines().filter(|it| it.contains("TRACE")).count() > 50, "it does not log all");
    for secret in [PASSWORD, NEW, WRONG, &newer, &in_panel, &on_server, &by_api, "$argon2id"] {
        assert!(!log.contains(secret), "the log has {secret}");
        assert!(!log.contains(&form(&[("", secret)])[1..]), "the log has {secret} as a form sends it");
    }
    for cookie in [before, session(&owner)] {
        assert!(!log.contains(&cookie), "the log has the cookie {cookie}");
    }
    // The first link is told there on purpose, once: it is how the owner gets in.
    assert_eq!(log.matches(&token).count(), 1, "{log}");
}

#[test]
fn the_version_names_its_commit() {
    let out = Command::new(PROGRAM).arg("--version").output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let (name, commit) = text.trim().split_once(" (").unwrap();
    assert_eq!(name, format!("chainhost {}", env!("CARGO_PKG_VERSION")));
    let commit = commit.strip_suffix(')').unwrap();
    let is_hash = commit.len() >= 10 && commit.bytes().all(|it| it.is_ascii_hexdigit());
    let in_git = Path::new(env!("CARGO_MANIFEST_DIR")).join(".git").exists();
    assert!(is_hash || (!in_git && commit == "unknown"), "{text}");
}

/// The first command of README.md, as it stands there, but for the port.
#[test]
fn the_demo_shows_a_site_and_starts_again() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let mut command = Command::new(PROGRAM);
        command.args(["serve", "--demo", "--listen", "127.0.0.1:0"]).current_dir(folder.path());
        let mut demo = Ended(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
        let mut line = String::new();
        BufReader::new(demo.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().strip_prefix("ready http://localhost:").unwrap_or_else(|| panic!("{line:?}"));
        let port: u16 = port.parse().unwrap();
        let page = http::ask(port, &format!("GET / HTTP/1.1\r\nHost: demo.localhost:{port}\r\n"), b"");
        assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
        let mode = fs::metadata(folder.path().join("chainhost-demo")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}

/// Nothing is amiss that its admin could mend: some systems let only root do what makes the end of a port seamless.
#[test]
fn a_server_of_an_ordinary_user_stops_without_a_warning() {
    const NOBODY: u32 = 65_534;
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    let mut command = Command::new(PROGRAM);
    command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(&data).current_dir(folder.path());
    if rustix::process::geteuid().is_root() {
        chown(&data, Some(NOBODY), Some(NOBODY)).unwrap();
        command.uid(NOBODY).gid(NOBODY);
    }
    let mut server = Ended(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("ready"), "{line:?}");
    kill_process(Pid::from_child(&server.0), Signal::TERM).unwrap();
    let log = std::io::read_to_string(server.0.stderr.take().unwrap()).unwrap();
    assert!(log.contains("stopping") && !log.contains("WARN"), "{log}");
    assert_eq!(server.0.wait().unwrap().code(), Some(0), "{log}");
}

/// A program, killed when dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
