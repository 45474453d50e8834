//! What is set in the panel, by the API and by commands: a watched folder, taking a site down and putting it back, one's
//! own password, paused queues.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::json;

use crate::support::{
    Host, PASSWORD, PATIENCE,
    browser::{Browser, archive, form},
    write_files,
};

const OWNER: &str = "owner@example.org";
const MATE: &str = "mate@example.org";

/// A server with a site `hello` that shows "one".
fn with_site(host: &Host) -> (String, Browser<'_>) {
    let key = host.key(OWNER, "super-admin");
    let mut owner = Browser::signed_in(host, OWNER);
    let begun = owner.upload("/sites/new", &[("name", "hello")], Some(&archive(&[("index.html", b"one")])));
    assert_eq!(begun.status, 303, "{}", begun.text());
    host.until("the first deployment", || (served(host) == "one").then_some(()));
    (key, owner)
}

fn served(host: &Host) -> String {
    host.get("hello.localhost", "/").text()
}

/// The kinds of the newest events.
fn events(host: &Host, key: &str) -> Vec<String> {
    let list = host.api_json(key, "GET /api/v1/audit", "", 200);
    let items = list.get("items").unwrap().as_array().unwrap();
    items.iter().map(|it| it.get("kind").unwrap().as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_site_is_taken_down_with_a_reason_and_put_back() {
    let host = Host::start();
    let (key, mut owner) = with_site(&host);
    assert!(owner.page("/sites/hello/settings").contains("/sites/hello/take-down"));
    assert_eq!(owner.get("/sites/hello/put-back").header("location"), Some("/sites/hello/settings"), "it is not down");
    let question = owner.page("/sites/hello/take-down");
    assert!(question.contains("name=\"reason\"") && question.contains("Keep the site up"), "{question}");
    for wrong in ["", "   ", &"x".repeat(501)] {
        let answer = owner.post("/sites/hello/take-down", &form(&[("reason", wrong)]));
        assert_eq!(answer.status, 400);
        assert!(answer.text().contains("Say in 1 to 500 characters why"), "{}", answer.text());
        assert_eq!(served(&host), "one");
    }
    let reason = "A <b>court</b> asked for it.";
    assert_eq!(owner.post("/sites/hello/take-down", &form(&[("reason", reason)])).status, 303);
    let down = host.get("hello.localhost", "/");
    assert_eq!((down.status, down.text().contains(reason)), (451, true), "{}", down.text());
    for path in ["", "/settings", "/deployments", "/hostnames", "/deploy", "/deployments/1", "/deployments/1/files"] {
        let page = owner.page(&format!("/sites/hello{path}"));
        assert!(page.contains("This site is taken down") && page.contains("A &#60;b&#62;court"), "{path}: {page}");
    }
    assert!(owner.page("/").contains("hello is taken down"));
    let again = owner.page("/sites/hello/take-down");
    assert!(again.contains("Another reason for hello?") && again.contains(">A &#60;b&#62;court"), "{again}");
    assert!(owner.page("/sites/hello/put-back").contains("Visitors get deployment 1 again"));
    assert_eq!(owner.post("/sites/hello/put-back", "").status, 303);
    assert_eq!(served(&host), "one");
    assert!(!owner.page("/sites/hello").contains("This site is taken down"));

    // The same by a command, where what changes nothing leaves no trace.
    let before = events(&host, &key);
    assert_eq!(before.iter().filter(|it| *it == "site.put_back").count(), 1);
    assert!(host.cli(&key, &["sites", "put-back", "hello"]).status.success());
    assert_eq!(events(&host, &key), before, "it was not down");
    assert!(host.cli(&key, &["sites", "take-down", "hello", "--reason", "For repair."]).status.success());
    assert!(host.get("hello.localhost", "/").text().contains("For repair."));
    let out = host.cli(&key, &["sites", "put-back", "hello"]);
    assert!(String::from_utf8_lossy(&out.stdout).contains("hello is back"), "{out:?}");
    assert_eq!(served(&host), "one");
    assert_eq!(host.cli(&key, &["sites", "take-down", "nobody", "--reason", "x"]).status.code(), Some(1));

    let read_only = owner.post("/settings/keys", &form(&[("name", "look"), ("scope", "read"), ("days", "0")])).text();
    let read_only = read_only.split_once("API key\">").unwrap().1.split_once('<').unwrap().0.to_owned();
    let refused = host.api(&read_only, "PATCH /api/v1/sites/hello", br#"{"taken_down":"no"}"#);
    assert_eq!(refused.status, 403, "a key that only looks takes nothing down");
    assert_eq!(served(&host), "one");
}

/// The state of the watched folder in the API.
fn watch(host: &Host, key: &str) -> serde_json::Value {
    host.api_json(key, "GET /api/v1/sites/hello", "", 200).get("watch").unwrap().clone()
}

fn until_problem(host: &Host, key: &str, wanted: Option<&str>) {
    // A key may make 1,000 calls in 15 minutes.
    host.until_within(PATIENCE, Duration::from_millis(100), "the look at the folder", || {
        let watch = watch(host, key);
        let problem = watch.get("problem").and_then(|it| it.as_str());
        let fits = wanted.map_or(problem.is_none(), |it| problem.is_some_and(|problem| problem.contains(it)));
        (watch.get("looked_at").is_some() && fits).then_some(())
    });
}

fn folder(host: &Host) -> (PathBuf, String) {
    let folder = host.beside("www");
    let text = folder.to_str().unwrap().to_owned();
    (folder, text)
}

#[test]
fn a_watched_folder_is_set_tells_how_it_is_and_is_given_up() {
    let host = Host::start();
    let (key, mut owner) = with_site(&host);
    let (folder, path) = folder(&host);
    let set = |owner: &mut Browser<'_>, path: &str| owner.post("/sites/hello/watch", &form(&[("folder", path)]));
    let data = host.data();
    let link = host.beside("link");
    std::os::unix::fs::symlink(&data, &link).unwrap();
    let link = link.to_str().unwrap();
    for wrong in
        [link, "", "www", "../www", "/srv/../etc", "/", data.to_str().unwrap(), data.join("x").to_str().unwrap()]
    {
        let answer = set(&mut owner, wrong);
        assert_eq!(answer.status, 400, "{wrong}");
        let page = answer.text();
        assert!(page.contains("There is a problem") && page.contains("id=\"f-folder-e\""), "{wrong}: {page}");
        assert!(host.api_json(&key, "GET /api/v1/sites/hello", "", 200)["watch_folder"].is_null());
    }
    assert_eq!(set(&mut owner, &format!("  {path} ")).status, 303);
    until_problem(&host, &key, Some("There is no such folder"));
    let page = owner.page("/sites/hello/settings");
    assert!(
        page.contains(&path) && page.contains("There is no such folder") && page.contains("Stop watching"),
        "{page}"
    );
    assert!(owner.page("/sites/hello").contains("The watched folder is not deployed"));
    assert!(owner.page("/").contains("The watched folder of hello is not deployed"), "the first page says so too");
    assert_eq!(served(&host), "one", "what is live stays");

    // A folder that comes later is seen by itself.
    write_files(&folder, &[("index.html", b"two"), (".env", b"TOKEN=1")]);
    until_problem(&host, &key, Some(".env"));
    fs::remove_file(folder.join(".env")).unwrap();
    host.until("the folder's files", || (served(&host) == "two").then_some(()));
    until_problem(&host, &key, None);
    let page = owner.page("/sites/hello/deploy");
    assert!(page.contains("whenever that folder changes") && page.contains(&path), "{page}");
    assert!(!owner.page("/").contains("The watched folder of hello"));

    let kinds = events(&host, &key);
    assert_eq!(owner.post("/sites/hello/watch/stop", "").status, 303);
    assert!(host.api_json(&key, "GET /api/v1/sites/hello", "", 200)["watch"].is_null());
    assert!(!owner.page("/sites/hello").contains("whenever that folder changes"));
    assert_eq!(served(&host), "two");
    assert_eq!(events(&host, &key).len(), kinds.len() + 1);

    let out = host.cli(&key, &["sites", "watch", "hello", &path]);
    assert!(out.status.success() && out.stderr.is_empty(), "{out:?}");
    assert_eq!(host.api_json(&key, "GET /api/v1/sites/hello", "", 200)["watch_folder"], json!(path));
    assert!(host.cli(&key, &["sites", "unwatch", "hello"]).status.success());
    let later = host.beside("later");
    let out = host.cli(&key, &["sites", "watch", "hello", later.to_str().unwrap()]);
    let told = String::from_utf8_lossy(&out.stderr);
    assert!(
        out.status.success() && told.contains("There is no such folder") && told.contains("stays watched"),
        "{out:?}"
    );
    write_files(&later, &[("index.html", b"later")]);
    host.until("the folder that came later", || (served(&host) == "later").then_some(()));
    let refused = host.cli(&key, &["sites", "watch", "hello", "relative"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("the whole path"), "{refused:?}");
}

#[test]
fn only_a_super_admin_names_a_folder_of_the_server() {
    let host = Host::start();
    let (owner_key, _) = with_site(&host);
    let (folder, path) = folder(&host);
    write_files(&folder, &[("index.html", b"theirs")]);
    for role in ["user", "admin"] {
        let email = format!("{role}-{MATE}");
        let key = host.key(&email, role);
        let mut mate = Browser::signed_in(&host, &email);
        let page = mate.page("/sites/hello/settings");
        assert!(page.contains("only a super admin can name one") && !page.contains("name=\"folder\""), "{page}");
        assert_eq!(mate.post("/sites/hello/watch", &form(&[("folder", &path)])).status, 403);
        assert_eq!(mate.post("/sites/hello/watch/stop", "").status, 403);
        let body = json!({ "watch_folder": path }).to_string();
        assert_eq!(host.api(&key, "PATCH /api/v1/sites/hello", body.as_bytes()).status, 403);
    }
    assert!(host.api_json(&owner_key, "GET /api/v1/sites/hello", "", 200)["watch_folder"].is_null());
    assert_eq!(served(&host), "one");
}

#[test]
fn a_folder_swapped_for_a_link_publishes_nothing_of_others() {
    let host = Host::start();
    let (key, mut owner) = with_site(&host);
    let (folder, path) = folder(&host);
    let secret = host.beside("secret");
    write_files(&secret, &[("index.html", b"of others"), ("a/index.html", b"of others")]);
    std::os::unix::fs::symlink(&secret, host.beside("link")).unwrap();
    let linked = host.beside("link/a");
    let refused = owner.post("/sites/hello/watch", &form(&[("folder", linked.to_str().unwrap())]));
    let real = secret.join("a");
    assert!(refused.status == 400 && refused.text().contains(real.to_str().unwrap()), "{}", refused.text());

    write_files(&folder, &[("index.html", b"two"), ("a/index.html", b"inner")]);
    assert_eq!(owner.post("/sites/hello/watch", &form(&[("folder", &path)])).status, 303);
    host.until("the folder's files", || (served(&host) == "two").then_some(()));

    // The folder itself: what is written to the old one wakes the watcher.
    let old = host.beside("old");
    fs::rename(&folder, &old).unwrap();
    std::os::unix::fs::symlink(&secret, &folder).unwrap();
    write_files(&old, &[("x.txt", b"x")]);
    until_problem(&host, &key, Some("symbolic link"));
    fs::remove_file(&folder).unwrap();
    fs::rename(&old, &folder).unwrap();

    // A folder in it.
    fs::rename(folder.join("a"), host.beside("a")).unwrap();
    std::os::unix::fs::symlink(secret.join("a"), folder.join("a")).unwrap();
    write_files(&folder, &[("index.html", b"three")]);
    until_problem(&host, &key, Some("Symbolic links"));
    assert_eq!(served(&host), "two");
    assert!(!host.get("hello.localhost", "/a/").text().contains("of others"));
    fs::remove_file(folder.join("a")).unwrap();
    write_files(&folder, &[("index.html", b"four")]);
    host.until("the folder's files", || (served(&host) == "four").then_some(()));
    until_problem(&host, &key, None);
}

#[test]
fn a_folder_that_cannot_be_read_says_so() {
    let host = Host::start();
    let (key, mut owner) = with_site(&host);
    let (folder, path) = folder(&host);
    write_files(&folder, &[("index.html", b"two")]);
    // A file is no folder, whoever looks: the rights of a folder mean nothing to root.
    let file = folder.join("index.html");
    assert_eq!(owner.post("/sites/hello/watch", &form(&[("folder", file.to_str().unwrap())])).status, 303);
    until_problem(&host, &key, Some("The folder cannot be read"));
    if !rustix::process::geteuid().is_root() {
        fs::set_permissions(Path::new(&path), fs::Permissions::from_mode(0o000)).unwrap();
        assert_eq!(owner.post("/sites/hello/watch", &form(&[("folder", &path)])).status, 303);
        until_problem(&host, &key, Some("Permission denied"));
        fs::set_permissions(Path::new(&path), fs::Permissions::from_mode(0o700)).unwrap();
    }
    assert_eq!(served(&host), "one");
}

const NEW: &str = "a harbour at low tide";

fn password(present: &str, new: &str, again: &str) -> String {
    form(&[("present", present), ("password", new), ("again", again)])
}

/// Whether `email` can sign in with this password.
fn signs_in(host: &Host, email: &str, password: &str) -> bool {
    let answer = Browser::new(host).post("/sign-in", &form(&[("email", email), ("password", password)]));
    answer.status == 303
}

#[test]
fn a_password_is_changed_by_who_knows_it() {
    let host = Host::start();
    let key = host.key(MATE, "user");
    let owner_key = host.key(OWNER, "super-admin");
    let mut mate = Browser::signed_in(&host, MATE);
    let mut other = Browser::signed_in(&host, MATE);
    let mut owner = Browser::signed_in(&host, OWNER);
    assert!(mate.page("/settings").contains("href=\"/settings/password\""));
    let long = "x".repeat(1_025);
    for (present, new, again, field, words) in [
        ("wrong", NEW, NEW, "present", "That is not your present password."),
        (long.as_str(), NEW, NEW, "present", "That is not your present password."),
        (PASSWORD, "too short", "too short", "password", "at least 12 characters"),
        (PASSWORD, &long, &long, "password", "longer than 1024 bytes"),
        (PASSWORD, PASSWORD, PASSWORD, "password", "That is the password you have."),
        (PASSWORD, NEW, "another long sentence", "again", "The two new passwords differ."),
    ] {
        let answer = mate.post("/settings/password", &password(present, new, again));
        let page = answer.text();
        assert_eq!(answer.status, 400, "{page}");
        assert!(page.contains(words) && page.contains(&format!("id=\"f-{field}-e\"")), "{page}");
        assert!(!page.contains(PASSWORD) && !page.contains(NEW), "a password came back");
    }
    assert!(signs_in(&host, MATE, PASSWORD), "nothing was changed");
    let kinds = events(&host, &owner_key);
    assert!(!kinds.iter().any(|it| it == "user.password_changed"));

    assert_eq!(mate.post("/settings/password", &password(PASSWORD, NEW, NEW)).status, 303);
    assert!(mate.page("/settings/password").contains("Your other browsers are signed out"));
    assert_eq!(other.get("/").status, 303, "another session of theirs ended");
    assert_eq!(owner.get("/").status, 200, "those of others did not");
    assert!(!signs_in(&host, MATE, PASSWORD) && signs_in(&host, MATE, NEW) && signs_in(&host, OWNER, PASSWORD));
    assert_eq!(host.api(&key, "GET /api/v1/me", b"").status, 200, "keys go on");
    assert!(events(&host, &owner_key).iter().any(|it| it == "user.password_changed"));
    assert!(owner.page("/audit-log").contains("Changed their own password"));
    assert_eq!(host.api(&key, "POST /api/v1/me/password", b"{}").status, 404, "no key takes an account over");
}

#[test]
fn wrong_present_passwords_count_as_tries_to_sign_in() {
    let host = Host::start();
    host.key(OWNER, "super-admin");
    let mut owner = Browser::signed_in(&host, OWNER);
    for _ in 0..5 {
        assert_eq!(owner.post("/settings/password", &password("wrong", NEW, NEW)).status, 400);
    }
    let late = owner.post("/settings/password", &password(PASSWORD, NEW, NEW));
    assert_eq!((late.status, late.header("retry-after").is_some()), (429, true), "the form, and when to come back");
    assert!(late.text().contains("Too many tries") && late.text().contains("f-present-e"), "{}", late.text());
    assert!(!signs_in(&host, OWNER, PASSWORD), "the limit is the same");
    assert_eq!(owner.get("/").status, 200, "who is signed in stays so");
}

/// Whether the queue `deploy` is paused, and how many of its jobs wait.
fn deploy_queue(host: &Host, key: &str) -> (bool, u64) {
    let queues = host.api_json(key, "GET /api/v1/queues", "", 200);
    let deploy = queues.pointer("/items/0").unwrap();
    assert_eq!(deploy.get("queue").unwrap(), "deploy");
    (deploy.get("paused").unwrap().as_bool().unwrap(), deploy.get("waiting").unwrap().as_u64().unwrap())
}

#[test]
fn a_paused_queue_waits_over_a_restart_until_it_is_resumed() {
    let mut host = Host::start();
    let key = host.key(OWNER, "super-admin");
    {
        let mut owner = Browser::signed_in(&host, OWNER);
        assert!(owner.page("/jobs").contains("/jobs/queues/deploy/pause"));
        assert_eq!(owner.post("/jobs/queues/nothing/pause", "").status, 404);
        assert_eq!(owner.post("/jobs/queues/deploy/pause", "").status, 303);
        assert!(owner.page("/jobs").contains("The queue is paused"));
        owner.upload("/sites/new", &[("name", "hello")], Some(&archive(&[("index.html", b"one")])));
        host.until("the deployment", || (served(&host) == "one").then_some(()));
        host.until("its job", || (deploy_queue(&host, &key) == (true, 1)).then_some(()));
        let page = owner.page("/jobs");
        assert!(
            page.contains("when the queue deploy is resumed") && page.contains("/jobs/queues/deploy/resume"),
            "{page}"
        );
        assert!(owner.page("/").contains("The queue deploy is paused"));
    }
    host.stop();
    host.restart();
    assert_eq!(deploy_queue(&host, &key), (true, 1), "it stays paused");
    let out = host.cli(&key, &["jobs"]);
    assert!(String::from_utf8_lossy(&out.stderr).contains("The queue deploy is paused"), "{out:?}");
    let paused = "chainhost_queue_paused{queue=\"deploy\"} 1";
    assert!(host.get("localhost", "/metrics").text().contains(paused));
    let kinds = events(&host, &key);
    assert_eq!(host.api(&key, "POST /api/v1/queues/deploy/pause", b"").status, 204);
    assert_eq!(events(&host, &key), kinds, "it was paused already");
    assert_eq!(host.api(&key, "POST /api/v1/queues/nothing/pause", b"").status, 404);

    for role in ["user", "admin"] {
        let email = format!("{role}-{MATE}");
        let mate_key = host.key(&email, role);
        let mut mate = Browser::signed_in(&host, &email);
        assert!(!mate.page("/jobs").contains("/jobs/queues/"), "no button for {role}");
        assert_eq!(mate.post("/jobs/queues/deploy/resume", "").status, 403);
        assert_eq!(host.api(&mate_key, "POST /api/v1/queues/deploy/resume", b"").status, 403);
        assert_eq!(host.cli(&mate_key, &["jobs", "resume", "deploy"]).status.code(), Some(1));
    }
    assert_eq!(deploy_queue(&host, &key), (true, 1));

    let out = host.cli(&key, &["jobs", "resume", "deploy"]);
    assert!(String::from_utf8_lossy(&out.stdout).contains("The queue deploy goes on."), "{out:?}");
    host.until("the job", || {
        let done = host.api_json(&key, "GET /api/v1/jobs?state=done", "", 200);
        (done.pointer("/items/0/title")?.as_str()? == "Compress hello 1").then_some(())
    });
    assert_eq!(deploy_queue(&host, &key), (false, 0));
    assert!(host.cli(&key, &["jobs", "pause", "email"]).status.success());
    assert_eq!(host.cli(&key, &["jobs", "pause", "post"]).status.code(), Some(2));
    let kinds = events(&host, &key);
    let count = |kind: &str| kinds.iter().filter(|it| *it == kind).count();
    assert_eq!((count("queue.paused"), count("queue.resumed")), (2, 1));
    let document = host.api_json(&key, "GET /api/openapi.json", "", 200);
    assert!(document.pointer("/paths/~1api~1v1~1queues~1{queue}~1pause/post").is_some());
}

/// The text of a page, without its tags and with its line breaks made blanks.
fn words(page: &str) -> String {
    let mut text = String::new();
    for part in page.split('<') {
        text.push_str(part.split_once('>').map_or(part, |(_, rest)| rest));
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_only_site_taken_down_is_told_in_one_way_everywhere() {
    let host = Host::start();
    let (_, mut owner) = with_site(&host);
    let begun = owner.upload("/sites/hello/deploy", &[("publish", "no")], Some(&archive(&[("index.html", b"two")])));
    assert_eq!(begun.status, 303, "{}", begun.text());
    host.until("the second deployment", || owner.get("/sites/hello/deployments/2/proof").status.eq(&200).then_some(()));
    let page = owner.page("/");
    assert!(page.contains("<li class=\"done\">") && words(&page).contains("1 of 1 live"), "{page}");
    let down = owner.post("/sites/hello/take-down", &form(&[("reason", "For\r\n repair.")]));
    assert_eq!(down.status, 303, "{}", down.text());
    assert!(host.get("hello.localhost", "/").text().contains("For repair."), "the lines of the field are one sentence");

    let page = owner.page("/");
    let text = words(&page);
    assert!(text.contains("Your site is taken down.") && text.contains("None of 1 live"), "{text}");
    assert!(page.contains("<span>Publish a first site</span>"), "what was done stays ticked off: {page}");
    assert!(!page.contains(">0 B<") && !page.contains("tag--live"), "{text}");
    let list = owner.page("/sites");
    assert!(list.contains("One site, which is taken down") && !list.contains(">3 B<"), "{list}");
    let site = owner.page("/sites/hello");
    assert!(site.contains("<h1>hello</h1><span class=\"tag tag--look\">Taken down</span>"), "{site}");
    assert!(!site.contains("tag--live") && !site.contains("notice--bad"), "{site}");
    let chain = owner.page("/sites/hello/deployments");
    assert!(words(&chain).contains("1 comes back when the site does") && !chain.contains("tag--live"), "{chain}");
    let one = owner.page("/sites/hello/deployments/1");
    assert!(one.contains("state--look") && !one.contains("tag--live"), "{one}");
    let deploy = words(&owner.page("/sites/hello/deploy"));
    assert!(deploy.contains("Publish them once it is put back.") && !deploy.contains("at once"), "{deploy}");
    // Nothing can be published on it, so nothing offers that.
    assert!(!chain.contains("/sites/hello/publish/2"), "{chain}");
    assert_eq!(owner.get("/sites/hello/publish/2").header("location"), Some("/sites/hello"));
    assert_eq!(owner.post("/sites/hello/publish/2", "").status, 409);
    assert_eq!(owner.post("/sites/hello/put-back", "").status, 303);
    assert_eq!(served(&host), "one");
    let page = owner.page("/sites/hello");
    assert!(page.contains("tag--live") && page.contains("/sites/hello/publish/2"), "{page}");
}

#[test]
fn settings_and_storage_say_where_the_data_is_to_who_manages_the_server() {
    let host = Host::start_embedded();
    let (_, mut owner) = with_site(&host);
    let data = host.data().canonicalize().unwrap();
    let page = owner.page("/settings");
    assert!(page.contains("<dt>Files</dt><dd class=\"mono\">") && page.contains("<dt>Database</dt><dd>"), "{page}");
    let text = words(&page);
    for wanted in [
        String::from("SQLite, chainhost.db in the data folder"),
        String::from("redb, queue.redb in the data folder"),
        String::from("The memory of this process"),
        format!("{}/blobs", data.display()),
    ] {
        assert!(text.contains(&wanted), "{wanted}: {text}");
    }
    let storage = owner.page("/storage");
    assert!(storage.contains("<dt>Stored</dt>") && !storage.contains(">0 B<"), "{storage}");
    assert!(storage.contains("<dt>Kept in</dt><dd class=\"mono\">"), "{storage}");
    let storage = words(&storage);
    assert!(storage.contains(&format!("Kept in{}/blobs", data.display())), "{storage}");
    host.key(MATE, "admin");
    let mut mate = Browser::signed_in(&host, MATE);
    let text = words(&mate.page("/settings"));
    assert!(!text.contains("Where the data is") && !text.contains("chainhost.db"), "{text}");
}

#[cfg(all(feature = "postgres", feature = "redis", feature = "s3"))]
#[test]
fn settings_name_stores_elsewhere_without_their_secrets() {
    use crate::support::{postgres::Database, s3};

    let database = Database::new(crate::support::postgres::Way::Direct);
    // Nobody listens there: a server starts without a cache and a bucket that are away.
    let away = crate::support::free_port();
    let secret = "hush-and-say-nothing";
    let queue = crate::support::redis::Server::start(&[]);
    let mut environment = vec![
        ("CHAINHOST_DATABASE_URL", database.url()),
        ("CHAINHOST_REDIS_CACHE_URL", format!("redis://ann:{secret}@127.0.0.1:{away}/2")),
        ("CHAINHOST_REDIS_QUEUE_URL", format!("redis://default:{secret}@127.0.0.1:{}/1", queue.port)),
        ("CHAINHOST_BLOBS_URL", format!("s3://quay/sites?endpoint=http://127.0.0.1:{away}")),
    ];
    environment.extend(s3::KEYS.map(|(name, value)| (name, value.to_owned())));
    let host = Host::start_as(&environment, &[]);
    host.key(OWNER, "super-admin");
    let mut owner = Browser::signed_in(&host, OWNER);
    let page = owner.page("/settings");
    assert!(page.contains("<dt>Files</dt><dd>S3, s3:"), "words are no path: {page}");
    let text = words(&page);
    let place = database.url();
    let place = place.rsplit_once('@').unwrap().1.split('?').next().unwrap().to_owned();
    for wanted in [
        format!("PostgreSQL, at {place}"),
        format!("Redis, at 127.0.0.1:{away}/2"),
        format!("Redis, at 127.0.0.1:{}/1", queue.port),
        format!("S3, s3://quay/sites at http://127.0.0.1:{away}"),
    ] {
        assert!(text.contains(&wanted), "{wanted}: {text}");
    }
    let keys = s3::KEYS.map(|(_, value)| value);
    for secret in keys.into_iter().chain([secret, "ann:"]) {
        assert!(!page.contains(secret), "{secret} is on the page");
    }
}
