//! The panel over HTTP: first contact, sessions, forms from elsewhere, uploads, roles, streams. What it looks like is
//! the work of `tests/panel/shoot.mjs`.

use std::fs;

use crate::support::{
    Host, PASSWORD,
    browser::{Browser, archive, form},
};

const OWNER: &str = "owner@example.org";

#[test]
fn the_printed_link_makes_the_owner_once() {
    let host = Host::start();
    let mut browser = Browser::new(&host);
    assert_eq!(browser.get("/").header("location"), Some("/sign-in"));
    assert_eq!(browser.get("/sign-in").header("location"), Some("/claim"));
    assert!(browser.page("/claim").contains("This server is waiting for its owner."));
    assert!(browser.page("/claim?token=guessed").contains("This link does not work any more."));
    let link = fs::read_to_string(host.data().join("claim-link")).unwrap();
    let token = link.trim().split_once("token=").unwrap().1.to_owned();
    assert!(browser.page(&format!("/claim?token={token}")).contains("name=\"password\""));
    let claim = |token: &str, password: &str| form(&[("token", token), ("email", OWNER), ("password", password)]);
    let short = browser.post("/claim", &claim(&token, "short"));
    assert_eq!(short.status, 400);
    assert!(short.text().contains("at least 12 characters") && short.text().contains(OWNER), "{}", short.text());
    assert!(!short.text().contains("value=\"short\""), "a password came back");
    assert_eq!(browser.post("/claim", &claim("guessed", PASSWORD)).status, 403);
    assert!(browser.cookies.is_empty());
    let done = browser.post("/claim", &claim(&token, PASSWORD));
    assert_eq!((done.status, done.header("location")), (303, Some("/")), "{}", done.text());
    let page = browser.page("/");
    assert!(page.contains("This server is yours.") && page.contains(OWNER) && page.contains("super admin"), "{page}");
    assert!(!browser.page("/").contains("This server is yours."), "a notice is shown once");
    assert_eq!(Browser::new(&host).post("/claim", &claim(&token, PASSWORD)).status, 403);
    assert_eq!(Browser::new(&host).get(&format!("/claim?token={token}")).header("location"), Some("/sign-in"));
}

/// Addresses of the panel: all of those that show or change something.
const PAGES: [&str; 32] = [
    "/",
    "/sites",
    "/sites/new",
    "/sites/hello",
    "/sites/hello/deploy",
    "/sites/hello/settings",
    "/sites/hello/settings/protection",
    "/sites/hello/settings/proxy",
    "/sites/hello/traffic",
    "/sites/hello/rules",
    "/sites/hello/delete",
    "/sites/hello/take-down",
    "/sites/hello/hostnames",
    "/sites/hello/deployments",
    "/sites/hello/deployments/1",
    "/sites/hello/deployments/1/files",
    "/sites/hello/deployments/1/diff",
    "/sites/hello/deployments/1/log",
    "/sites/hello/deployments/1/log.txt",
    "/sites/hello/deployments/1/proof",
    "/sites/hello/deployments/1/proof/bundle",
    "/jobs",
    "/schedules",
    "/schedules/new",
    "/audit-log",
    "/storage",
    "/settings",
    "/settings/keys",
    "/settings/certificates",
    "/settings/bans",
    "/settings/password",
    "/settings/users",
];

/// Every address of the panel that takes this method, as the table of routes has it.
pub(crate) fn patterns(method: &str) -> Vec<String> {
    let source = include_str!("../../src/admin/mod.rs");
    let mut found = Vec::new();
    for route in source.split(".route(").skip(1) {
        let (path, handlers) = route.split_once(", ").unwrap();
        let own = path.split('"').nth(1);
        let path = match (path.trim(), own) {
            ("one", _) => String::from("/sites/{name}/deployments/{deployment}"),
            (below, Some(own)) if below.starts_with("&below(") => {
                format!("/sites/{{name}}/deployments/{{deployment}}{own}")
            }
            (_, own) => own.unwrap().to_owned(),
        };
        let handlers = handlers.split(".layer(").next().unwrap();
        if handlers.starts_with(&format!("{method}(")) || handlers.contains(&format!(".{method}(")) {
            found.push(path);
        }
    }
    assert!(found.len() > 10 && found.iter().all(|it| it.starts_with('/')), "{found:?}");
    found
}

/// The same with something in place of the braces.
fn routes(method: &str) -> Vec<String> {
    let filled = |path: String| {
        let path = path
            .replace("{name}", "hello")
            .replace("{queue}", "deploy")
            .replace("{deployment}", "1")
            .replace("{hostname}", "a.example")
            .replace("{section}", "addresses")
            .replace("{user}", "ada")
            .replace("{link}", "0199a7c2e3f47a5b8c9d0e1f2a3b4c5d")
            .replace("{id}", "0199a7c2e3f47a5b8c9d0e1f2a3b4c5d");
        assert!(!path.contains('{'), "{path}");
        path
    };
    patterns(method).into_iter().map(filled).collect()
}

#[test]
fn nobody_sees_or_changes_anything_without_a_session() {
    let host = Host::start();
    host.key(OWNER, "super-admin");
    let mut owner = Browser::signed_in(&host, OWNER);
    let begun = owner.upload("/sites/new", &[("name", "hello")], Some(&archive(&[("index.html", b"hi")])));
    assert_eq!(begun.status, 303, "{}", begun.text());
    host.until("the deployment", || owner.get("/sites/hello/deployments/1/proof").status.eq(&200).then_some(()));

    let mut stranger = Browser::new(&host);
    for path in PAGES {
        assert!(owner.get(path).status == 200, "{path} is there for its owner");
        let answer = stranger.get(path);
        assert_eq!(answer.status, 303, "{path}");
        assert!(answer.header("location").unwrap().starts_with("/sign-in"), "{path}");
        assert!(answer.body.is_empty(), "{path}");
    }
    // The first contact is everybody's.
    let is_open = |path: &String| ["/claim", "/sign-in", "/sign-out"].contains(&path.as_str());
    for path in routes("get").iter().filter(|it| !is_open(it)) {
        let answer = stranger.get(path);
        assert!(answer.status == 303 && answer.header("location").unwrap().starts_with("/sign-in"), "{path}");
    }
    for path in routes("post").iter().filter(|it| !is_open(it)) {
        let answer = stranger.post(path, "");
        assert_eq!((answer.status, answer.header("location")), (303, Some("/sign-in")), "{path}");
    }
    stranger.cookies.insert(String::from("chainhost_00000000"), String::from("guessed"));
    for name in owner.cookies.keys() {
        stranger.cookies.insert(name.clone(), String::from("guessed"));
    }
    assert_eq!(stranger.get("/").status, 303);

    let before = owner.cookies.clone();
    assert_eq!(owner.post("/sign-out", "").header("location"), Some("/sign-in"));
    let mut thief = Browser { host: &host, cookies: before };
    assert_eq!(thief.get("/").status, 303, "a session that was ended does not come back");
}

#[test]
fn what_is_refused_before_a_handler_is_said_on_a_page() {
    let host = Host::start();
    host.key(OWNER, "super-admin");
    let mut owner = Browser::signed_in(&host, OWNER);
    for path in ["/sites/%ff", "/sites/%ff/settings", "/jobs/%ff/rerun"] {
        let answer = owner.get(path);
        let status = answer.status;
        assert!(
            (400..500).contains(&status) && answer.text().starts_with("<!doctype html>"),
            "{path} {}",
            answer.text()
        );
    }
    let origin = format!("Origin: http://localhost:{}\r\n", host.port);
    let large = "a=b&".repeat(40_000);
    let answer = owner.post_as("/settings/keys", &origin, "application/x-www-form-urlencoded", large.as_bytes());
    assert!((400..500).contains(&answer.status) && answer.text().starts_with("<!doctype html>"), "{}", answer.text());
}

#[test]
fn forms_from_elsewhere_are_refused() {
    let host = Host::start();
    host.key(OWNER, "super-admin");
    let mut owner = Browser::signed_in(&host, OWNER);
    let port = host.port;
    let elsewhere = [
        String::new(),
        String::from("Origin: http://evil.example\r\n"),
        String::from("Origin: null\r\nSec-Fetch-Site: same-origin\r\n"),
        format!("Origin: http://hello.localhost:{port}\r\n"),
        format!("Origin: https://localhost:{port}\r\n"),
        String::from("Sec-Fetch-Site: same-site\r\n"),
        String::from("Sec-Fetch-Site: none\r\n"),
    ];
    for headers in &elsewhere {
        for path in routes("post") {
            let answer = owner.post_as(&path, headers, "application/x-www-form-urlencoded", b"");
            assert_eq!(answer.status, 403, "{path} {headers}");
        }
        let mut nobody = Browser::new(&host);
        let body = form(&[("email", OWNER), ("password", PASSWORD)]);
        let answer = nobody.post_as("/sign-in", headers, "application/x-www-form-urlencoded", body.as_bytes());
        assert_eq!(answer.status, 403, "sign-in {headers}");
    }
    let here = owner.post_as(
        "/settings/theme",
        "Sec-Fetch-Site: same-origin\r\n",
        "application/x-www-form-urlencoded",
        b"theme=dark",
    );
    assert_eq!(here.status, 303);
    assert!(owner.page("/settings").contains("data-theme=\"dark\""));
    let answer = owner.get("/");
    let policy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; \
                  form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
    for (name, value) in [
        ("content-security-policy", policy),
        ("referrer-policy", "same-origin"),
        ("x-content-type-options", "nosniff"),
        ("cross-origin-opener-policy", "same-origin"),
        ("x-frame-options", "DENY"),
        ("cache-control", "no-store"),
    ] {
        assert_eq!(answer.header(name), Some(value));
        assert_eq!(owner.get("/nowhere").header(name), Some(value), "also on an error");
    }
    assert_eq!(host.get("hello.localhost", "/sites").status, 421, "the panel answers on its own host only");
}

#[test]
fn an_upload_is_checked_published_and_rolled_back() {
    let host = Host::start();
    host.key(OWNER, "super-admin");
    let mut owner = Browser::signed_in(&host, OWNER);
    let one = archive(&[("index.html", b"one"), ("a/b.txt", b"b")]);
    let wrong = owner.upload("/sites/new", &[("name", "No Name")], Some(&one));
    assert_eq!(wrong.status, 400);
    assert!(wrong.text().contains("No Name") && wrong.text().contains("use only a-z"), "{}", wrong.text());
    let begun = owner.upload("/sites/new", &[("name", "hello")], Some(&one));
    assert_eq!(begun.header("location"), Some("/sites/hello/deployments/1"), "{}", begun.text());
    let served = |host: &Host| host.get("hello.localhost", "/").text();
    host.until("the first deployment", || (served(&host) == "one").then_some(()));

    let not = owner.upload("/sites/hello/deploy", &[("message", "kept words")], Some(b"no archive"));
    assert_eq!(not.status, 400);
    assert!(not.text().contains("This is not an archive") && not.text().contains("kept words"), "{}", not.text());
    let none = owner.upload("/sites/hello/deploy", &[("message", "")], None);
    assert!(none.status == 400 && none.text().contains("Choose the archive"), "{}", none.text());
    let taken = owner.upload("/sites/new", &[("name", "hello")], Some(&one));
    assert!(taken.status == 409 && taken.text().contains("There is a site"), "{}", taken.text());

    let two = archive(&[("index.html", b"two")]);
    let fields = [("message", "<b>second</b>"), ("publish", "no")];
    assert_eq!(owner.upload("/sites/hello/deploy", &fields, Some(&two)).status, 303);
    host.until("the preview", || owner.page("/sites/hello").contains("/sites/hello/publish/2").then_some(()));
    assert_eq!(served(&host), "one", "a preview changes nothing");
    let page = owner.page("/sites/hello/deployments/2");
    assert!(page.contains("&#60;b&#62;second") && !page.contains("<b>second"), "{page}");
    let question = owner.page("/sites/hello/publish/2");
    let live = question.split_once("name=\"live\" value=\"").unwrap().1.split_once('"').unwrap().0.to_owned();
    assert_eq!(owner.post("/sites/hello/publish/2", &form(&[("live", &live)])).status, 303);
    assert_eq!(served(&host), "two");
    let stale = owner.post("/sites/hello/rollback/1", &form(&[("live", &live)]));
    assert_eq!(stale.status, 409, "the question was asked about another live deployment");
    assert_eq!(served(&host), "two");
    assert_eq!(owner.post("/sites/hello/rollback/1", "").status, 303);
    assert_eq!(served(&host), "one");

    // An ended deployment ends its stream at once, with the lines that the page had not.
    let stream = owner.get("/sites/hello/deployments/2/events?from=1");
    assert_eq!(stream.header("content-type"), Some("text/event-stream"));
    assert!(stream.text().contains("<li") && stream.text().contains("event: end"), "{}", stream.text());
    // A browser that lost the stream names the last event that it has, and gets no line twice.
    let last = stream.text().lines().find_map(|it| it.strip_prefix("id: ").map(str::to_owned)).unwrap();
    let head = format!("{}Last-Event-ID: {last}\r\n", owner.head("GET", "/sites/hello/deployments/2/events?from=1"));
    let again = owner.send(&head, b"").text();
    assert!(!again.contains("<li") && again.contains("event: end"), "{again}");

    let kept = owner.post("/sites/hello/delete", &form(&[("confirm", "other")]));
    assert!(kept.status == 400 && kept.text().contains("Nothing was deleted."));
    assert_eq!(owner.post("/sites/hello/delete", &form(&[("confirm", "hello")])).status, 303);
    assert_eq!(host.get("hello.localhost", "/").status, 421);
}

#[test]
fn a_user_has_no_say_over_users_and_the_server() {
    let host = Host::start();
    host.key(OWNER, "super-admin");
    host.key("mate@example.org", "user");
    let mut mate = Browser::signed_in(&host, "mate@example.org");
    for path in ["/settings/users", "/audit-log", "/storage"] {
        assert_eq!(mate.get(path).status, 403, "{path}");
        assert!(!mate.page("/").contains(&format!("href=\"{path}\"")), "{path}");
    }
    for path in ["/settings/users", "/storage/clean"] {
        let body = form(&[("email", "x@example.org"), ("role", "user"), ("password", PASSWORD)]);
        assert_eq!(mate.post(path, &body).status, 403, "{path}");
    }
    let shown = mate.post("/settings/keys", &form(&[("name", "mine"), ("scope", "read"), ("days", "0")])).text();
    let key = shown.split_once("API key\">").unwrap().1.split_once('<').unwrap().0.to_owned();
    assert_eq!(host.api_json(&key, "GET /api/v1/me", "", 200)["email"], "mate@example.org");

    let mut owner = Browser::signed_in(&host, OWNER);
    let users = owner.page("/settings/users");
    let id = users.split_once("/settings/users/").unwrap().1.split_once('/').unwrap().0.to_owned();
    assert_eq!(owner.post(&format!("/settings/users/{id}/disable"), "").status, 303);
    assert_eq!(mate.get("/").status, 303, "a disabled user is out at once");
    assert_eq!(host.api(&key, "GET /api/v1/me", b"").status, 401);
}

#[test]
fn tries_to_sign_in_are_limited() {
    let host = Host::start();
    host.key(OWNER, "super-admin");
    let mut browser = Browser::new(&host);
    let wrong = form(&[("email", OWNER), ("password", "wrong"), ("next", "//evil.example")]);
    for _ in 0..5 {
        let answer = browser.post("/sign-in", &wrong);
        assert_eq!(answer.status, 400);
        assert!(!answer.text().contains("evil.example") && !answer.text().contains("value=\"wrong\""));
    }
    let late = browser.post("/sign-in", &form(&[("email", OWNER), ("password", PASSWORD)]));
    assert_eq!(late.status, 429);
    assert!(late.text().contains("Too many tries"), "{}", late.text());
    assert!(browser.cookies.is_empty());
}

#[test]
fn unknown_and_disabled_users_cost_the_same_work_and_get_the_same_words() {
    let host = Host::start();
    let key = host.key(OWNER, "super-admin");
    host.key("gone@example.org", "user");
    let users = host.api_json(&key, "GET /api/v1/users", "", 200);
    let users = users["items"].as_array().unwrap();
    let gone = users.iter().find(|it| it["email"] == "gone@example.org").unwrap()["id"].as_str().unwrap();
    host.api_json(&key, &format!("PATCH /api/v1/users/{gone}"), r#"{"disabled":true}"#, 204);
    let hashed = || {
        let text = host.get("localhost", "/metrics").text();
        let line = text.lines().find_map(|it| it.strip_prefix("chainhost_password_hashes_total "));
        line.unwrap().parse::<u64>().unwrap()
    };
    let mut told = Vec::new();
    for (email, password) in
        [(OWNER, "a wrong password"), ("nobody@example.org", PASSWORD), ("gone@example.org", PASSWORD)]
    {
        let before = hashed();
        let answer = Browser::new(&host).post("/sign-in", &form(&[("email", email), ("password", password)]));
        assert_eq!(answer.status, 400, "{email}");
        assert_eq!(hashed() - before, 1, "{email} costs another time than others");
        told.push(answer.text().replace(email, "…"));
    }
    assert!(told[0].contains("do not fit together") && told.iter().all(|it| *it == told[0]), "{told:?}");
}

#[test]
fn without_a_database_the_panel_says_so_and_sites_go_on() {
    let mut host = Host::start_embedded();
    host.key(OWNER, "super-admin");
    {
        let mut owner = Browser::signed_in(&host, OWNER);
        owner.upload("/sites/new", &[("name", "hello")], Some(&archive(&[("index.html", b"here")])));
        host.until("the deployment", || (host.get("hello.localhost", "/").text() == "here").then_some(()));
    }
    host.stop();
    for name in ["chainhost.db", "chainhost.db-wal", "chainhost.db-shm"] {
        drop(fs::remove_file(host.data().join(name)));
    }
    host.restart();
    assert_eq!(host.get("hello.localhost", "/").text(), "here");
    let page = host.get("localhost", "/sites");
    assert_eq!(page.status, 503);
    assert!(page.text().contains("Sites go on answering") && page.header("content-security-policy").is_some());
    let sheet = page.text().split_once("stylesheet\" href=\"").unwrap().1.split_once('"').unwrap().0.to_owned();
    assert_eq!(host.get("localhost", &sheet).status, 200, "also that page has its style");
    assert_eq!(host.get("localhost", "/api/v1/me").header("content-type"), Some("application/problem+json"));
}

#[test]
fn a_page_that_is_not_there_is_told_once_and_names_no_log() {
    let host = Host::start();
    host.key(OWNER, "super-admin");
    let mut owner = Browser::signed_in(&host, OWNER);
    for (path, wanted) in [("/sites/nobody", "There is no such site."), ("/nowhere", "There is no such page.")] {
        let answer = owner.get(path);
        let page = answer.text();
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(page.matches("There is no such").count(), 2, "in the title bar and in the heading: {page}");
        assert!(page.contains(&format!("<h1 class=\"vast\">{wanted}</h1>")), "{path}: {page}");
        assert!(!page.contains("the log of the server"), "{path}: {page}");
    }
}
