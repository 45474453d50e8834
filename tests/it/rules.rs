//! Rules through the real program: what the tester says of an address is what a visitor gets, by API, command line and panel.

#![expect(clippy::indexing_slicing, reason = "a test that panics says what went wrong")]

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
};

use serde_json::{Value, json};

use crate::support::{Host, browser::Browser, http, write_files};

const REDIRECTS: &[u8] =
    b"# moved\n/old /new.html 301\n/old /never 302\n\n/docs/* https://docs.example.org/:splat 302\n\
    /app/* /index.html 200\n/gone /no.html 410\n/store id=:id /item/:id 307\n/about.html /x 301\n/first.html /y 301!\n";
const HEADERS: &[u8] =
    b"/*\n  X-All: 1\n  Content-Security-Policy: default-src 'self'\n/*.css\n  Cache-Control: no-cache\n  X-All: 2\n\n\
    /img/*\n  ! Content-Security-Policy\n/d.txt\n  Content-Type: text/csv\n  Vary: Accept-Encoding, Cookie\n/nothing\n  X-B: 1\n";
const FILES: &[(&str, &[u8])] = &[
    ("index.html", b"home"),
    ("404.html", b"not here"),
    ("new.html", b"new"),
    ("about.html", b"about"),
    ("first.html", b"first"),
    ("docs2/index.html", b"docs"),
    ("site.css", b"a{}"),
    ("app-4f9a1c77b2.js", b"1"),
    ("img/a.png", b"png"),
    ("d.txt", b"1,2"),
    ("_redirects", REDIRECTS),
    ("_headers", HEADERS),
];
/// Addresses of every step of the table.
const ADDRESSES: &[&str] = &[
    "/",
    "/old",
    "/old?a=b",
    "/docs/a%20b?x=1",
    "/app/x/y",
    "/gone",
    "/store?id=7",
    "/store",
    "/about.html",
    "/first.html",
    "/docs2",
    "/docs2/",
    "/nowhere",
    "/site.css",
    "/app-4f9a1c77b2.js",
    "/img/a.png",
    "/d.txt",
    "/a%2fb",
    "/404.html",
];

fn deploy(host: &Host, key: &str, files: &[(&str, &[u8])]) {
    let folder = host.beside("site");
    write_files(&folder, files);
    host.cli_json(key, &["deploy", folder.to_str().unwrap(), "--site", "hello", "--create", "--json"]);
}

fn tried(host: &Host, key: &str, url: &str) -> Value {
    let asked = json!({ "url": url }).to_string();
    host.api_json(key, "POST /api/v1/sites/hello/try", &asked, 200)
}

#[test]
fn what_is_said_of_an_address_is_what_a_visitor_gets() {
    let host = Host::start();
    let key = host.key("owner@example.org", "super-admin");
    deploy(&host, &key, FILES);
    for url in ADDRESSES {
        let (said, got) = (tried(&host, &key, url), host.get("hello.localhost", url));
        assert_eq!(said["status"], got.status, "{url}: {said}");
        assert_eq!(said["location"].as_str(), got.header("location"), "{url}: {said}");
        let headers = said["headers"].as_array().unwrap();
        // Pages of the host have headers of their own, of which nothing is said.
        let own = said["file"].is_null() && said["location"].is_null();
        let mut wanted: Vec<(String, String)> = if own { Vec::new() } else { got.headers.clone() };
        let redirect = said["location"].is_string();
        // The length of a redirect's sentence is counted by the layer below.
        let beside: &[&str] =
            if redirect { &["date", "connection", "content-length"] } else { &["date", "connection"] };
        wanted.retain(|(name, _)| !beside.contains(&name.as_str()));
        wanted.sort();
        let text = |head: &Value, key: &str| head[key].as_str().unwrap().to_owned();
        let mut found: Vec<_> = headers.iter().map(|it| (text(it, "name"), text(it, "value"))).collect();
        found.sort();
        assert_eq!(found, wanted, "{url}");
    }
}

#[test]
fn each_answer_names_the_line_that_it_comes_from() {
    let host = Host::start();
    let key = host.key("owner@example.org", "super-admin");
    deploy(&host, &key, FILES);
    let old = tried(&host, &key, "http://hello.localhost:8080/old");
    assert_eq!(old["because"], "`/old` gives 301 to `/new.html`, because of line 2 of _redirects.");
    assert_eq!(
        (&old["rule"], &old["deployment"]["number"], &old["deployment"]["live"]),
        (&json!(1), &json!(1), &json!(true))
    );
    let verdicts: Vec<_> = old["redirects"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["line"].as_u64().unwrap(), it["verdict"].as_str().unwrap()))
        .collect();
    assert_eq!(verdicts[..3], [(2, "answers"), (3, "later"), (5, "other_path")]);
    assert_eq!(old["redirects"][1]["why"], "It fits, but line 2 of _redirects comes before it.");
    let css = tried(&host, &key, "/site.css");
    let head = |name: &str| css["headers"].as_array().unwrap().iter().find(|it| it["name"] == name).unwrap().clone();
    assert_eq!((&head("x-all")["value"], &head("x-all")["lines"]), (&json!("1, 2"), &json!([2, 6])));
    assert_eq!((&head("cache-control")["lines"], &head("etag")["from"]), (&json!([5]), &json!("host")));
    let csv = tried(&host, &key, "/d.txt");
    let media = csv["headers"].as_array().unwrap().iter().find(|it| it["name"] == "content-type").unwrap();
    assert_eq!((&media["value"], &media["lines"]), (&json!("text/csv"), &json!([11])));
    assert_eq!(
        tried(&host, &key, "/store")["redirects"][5]["why"],
        "It fits the path, but the parameter `id` is missing or has another value."
    );
    assert_eq!(tried(&host, &key, "/about.html")["redirects"][6]["verdict"], "file_first");

    // Rules that do nothing are told of when they are deployed.
    let log = host.api_json(&key, "GET /api/v1/sites/hello/deployments/1/log", "", 200);
    let lines: Vec<_> = log["lines"].as_array().unwrap().iter().map(|it| it["text"].as_str().unwrap()).collect();
    let note = "The rule for `/about.html` never answers, since the file `/about.html` does. `301!` goes before files.";
    assert!(lines.contains(&note), "{lines:?}");
    let note =
        "The headers for `/nothing` are for no file. They are held against paths of files, such as `/about.html`.";
    assert!(lines.contains(&note), "{lines:?}");

    // What is wrong with a question is said.
    let call = "POST /api/v1/sites/hello/try";
    for (body, status, wanted) in [
        (r#"{"url":"old"}"#, 400, "write `/old`"),
        (r#"{"url":"https://other.org/"}"#, 400, "none of this site's hostnames"),
        (r#"{"url":"/","deployment":"9"}"#, 404, "no such deployment"),
        (r#"{"url":"/","deployment":"x"}"#, 400, "is not a deployment"),
    ] {
        let problem = host.api_json(&key, call, body, status);
        assert!(problem["detail"].as_str().unwrap().contains(wanted), "{problem}");
    }
    host.api_json(&key, "POST /api/v1/sites", r#"{"name":"empty"}"#, 201);
    let problem = host.api_json(&key, "POST /api/v1/sites/empty/try", r#"{"url":"/"}"#, 409);
    assert_eq!(problem["code"], "not_published");
}

#[test]
fn the_command_line_tries_an_address() {
    let host = Host::start();
    let key = host.key("owner@example.org", "super-admin");
    deploy(&host, &key, FILES);
    deploy(&host, &key, &[("_redirects", b"/old /other 302\n")]);
    let said = |arguments: &[&str]| {
        let out = host.cli(&key, &[&["sites", "try", "hello"], arguments].concat());
        (out.status.code(), String::from_utf8(out.stdout).unwrap(), String::from_utf8(out.stderr).unwrap())
    };
    let (code, shown, _) = said(&["/old"]);
    assert_eq!(code, Some(0));
    assert!(shown.starts_with("/old → 302 /other\n`/old` gives 302 to `/other`, because of line 1 of _redirects.\nDeployment 2, which is live.\n"), "{shown}");
    let (_, shown, _) = said(&["/old", "--deployment", "1"]);
    assert!(shown.contains("/old → 301 /new.html") && shown.contains("Deployment 1, which is not live."), "{shown}");
    assert!(shown.contains("It fits, but line 2 of _redirects comes before it."), "{shown}");
    assert!(shown.contains("6 rules of _redirects are for other paths."), "{shown}");
    assert_eq!(host.cli_json(&key, &["sites", "try", "hello", "/old", "--json"])["status"], 302);
    let (code, shown, wrong) = said(&["old"]);
    assert_eq!((code, shown.as_str()), (Some(1), ""));
    assert!(wrong.contains("`old` is no address of a site: write `/old`"), "{wrong}");
    assert_eq!(said(&["/old", "--deployment", "x"]).0, Some(2));
    assert_eq!(host.cli(&key, &["sites", "try", "nobody", "/"]).status.code(), Some(1));
}

#[test]
fn the_panel_lists_the_rules_and_tries_an_address_without_script() {
    let host = Host::start();
    let key = host.key("owner@example.org", "super-admin");
    host.api_json(&key, "POST /api/v1/sites", r#"{"name":"hello"}"#, 201);
    let mut browser = Browser::signed_in(&host, "owner@example.org");
    assert!(browser.page("/sites/hello/rules").contains("There are no rules yet."));
    deploy(&host, &key, FILES);
    let page = browser.page("/sites/hello/rules");
    for part in [
        "8 redirects and rewrites and 8 blocks of headers, sealed with deployment 1, which is live.",
        "docs.example.org/<wbr>:splat",
        "Never asked: <code>/about.html</code> answers there. <code>301!</code> goes before files.",
        "no file</span>",
        "x-all: <span class=\"quiet\">2</span>",
        "<option value=\"1\" selected>1, live</option>",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains("class=\"answers\""));
    let page = browser.page("/sites/hello/rules?url=/site.css&deployment=1");
    assert!(page.contains("Visitors get <span class=\"mono\">/site.css</span>"), "{page}");
    assert!(page.contains("_headers, lines 2, 6") && page.contains("This file"), "{page}");
    let page = browser.page("/sites/hello/rules?url=/old%3Fa%3D%3Cb%3E");
    assert!(page.contains("Visitors are sent to <span class=\"mono\">/new.html?a=%3Cb%3E</span>"), "{page}");
    assert!(
        page.contains("because of line 2 of _redirects.") && page.matches("class=\"answers\"").count() == 1,
        "{page}"
    );
    let wrong = browser.get("/sites/hello/rules?url=old");
    assert_eq!(wrong.status, 400);
    assert!(wrong.text().contains("<a href=\"#f-url\">") && wrong.text().contains("value=\"old\""), "{}", wrong.text());
    host.api_json(&key, "PATCH /api/v1/sites/hello", r#"{"taken_down":"Closed."}"#, 200);
    assert!(browser.page("/sites/hello/rules?url=/").contains("get this when it is back."));
}

#[test]
fn a_site_brought_from_netlify_answers_as_it_did_there() {
    let host = Host::start();
    let key = host.key("owner@example.org", "super-admin");
    let files: &[(&str, &[u8])] = &[
        ("index.html", b"home"),
        ("blog/index.html", b"blog"),
        ("blog/404.html", b"no such post"),
        ("chainhost.toml", b"rules = \"netlify\"\nclean_urls = true\nnearest_404 = true\n"),
        ("_redirects", b"/news/* /blog/:splat\n/typo /blog 302\n"),
        ("_headers", b"/blog/\n  X-Blog: yes\n"),
    ];
    deploy(&host, &key, files);
    let get = |path: &str| host.get("hello.localhost", path);
    for (path, status, to) in
        [("/news", 301, "/blog/"), ("/news/a", 301, "/blog/a"), ("/typo/", 302, "/blog"), ("/typo", 302, "/blog")]
    {
        let got = get(path);
        assert_eq!((got.status, got.header("location")), (status, Some(to)), "{path}");
    }
    assert_eq!(get("/blog/").header("x-blog"), Some("yes"));
    assert_eq!(get("/").header("x-blog"), None);
    let said = tried(&host, &key, "/typo/");
    assert_eq!(said["because"], "`/typo/` gives 302 to `/blog`, because of line 2 of _redirects.");
    let missing = get("/blog/nothing");
    assert_eq!((missing.status, missing.text().as_str()), (404, "no such post"));
    let said = tried(&host, &key, "/blog/nothing");
    assert_eq!(said["because"], "`/blog/nothing` gives 404 with `/blog/404.html`, because of the closest 404.html.");
    // A line that cannot be kept refuses the deploy, and the site stays.
    let folder = host.beside("site");
    write_files(&folder, &[("_redirects", b"/a /b\n/ /de 302 Country=uk\n")]);
    let out = host.cli(&key, &["deploy", folder.to_str().unwrap(), "--site", "hello"]);
    let wrong = String::from_utf8(out.stderr).unwrap();
    assert!(
        !out.status.success()
            && wrong.contains("_redirects, line 2: `uk` is not the code of a country; the United Kingdom is `gb`"),
        "{wrong}"
    );
    assert_eq!(get("/typo").status, 302);
}

/// An upstream that answers each connection with its name, for as long as the test runs.
fn upstream() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            drop(stream.read(&mut [0; 4_096]));
            drop(write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\nupstream"));
        }
    });
    port
}

/// A server behind a proxy that is believed, with the files of this test under three hostnames.
struct Around {
    host: Host,
    key: String,
    /// The host of a preview.
    preview: String,
}

impl Around {
    fn start() -> Self {
        let host = Host::start_configured("trusted_proxies = [\"127.0.0.1\"]\n");
        let key = host.key("owner@example.org", "super-admin");
        deploy(&host, &key, FILES);
        for name in ["hello.example", "www.hello.example"] {
            let out = host.cli(&key, &["sites", "hostnames", "add", name, "--site", "hello"]);
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        }
        let list = host.api_json(&key, "GET /api/v1/sites/hello/deployments", "", 200);
        let preview = list["items"][0]["preview_url"].as_str().unwrap().split("//").nth(1).unwrap();
        let preview = preview.split([':', '/']).next().unwrap().to_owned();
        Self { host, key, preview }
    }

    fn set(&self, settings: &Value) {
        let before = self.host.api_json(&self.key, "GET /api/v1/sites/hello/settings", "", 200);
        let mut patch = settings.clone();
        for section in before.as_object().unwrap().keys().filter(|it| settings.get(it.as_str()).is_none()) {
            patch[section] = Value::Null;
        }
        self.host.api_json(&self.key, "PATCH /api/v1/sites/hello/settings", &patch.to_string(), 200);
    }

    /// What the tester says of an address, once it is seen that a browser gets that.
    fn same(&self, url: &str, setting: Option<&str>) -> Value {
        let said = tried(&self.host, &self.key, url);
        let (scheme, rest) = url.split_once("://").unwrap();
        let (authority, path) = rest.split_at(rest.find('/').unwrap());
        let browser = "Accept: text/html\r\nSec-Fetch-Site: none\r\nUser-Agent: Mozilla/5.0 (X11)\r\n";
        let head = format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nX-Forwarded-Proto: {scheme}\r\n{browser}");
        let got = http::ask(self.host.port, &head, b"");
        assert_eq!(said["setting"].as_str(), setting, "{url}: {said}");
        if said["step"] == "upstream" {
            assert_eq!((&said["status"], got.text().as_str()), (&Value::Null, "upstream"), "{url}: {said}");
            return said;
        }
        assert_eq!(said["status"], got.status, "{url}: {said}");
        assert_eq!(said["location"].as_str(), got.header("location"), "{url}: {said}");
        let shown = said["file"].as_str().and_then(|it| FILES.iter().find(|(path, _)| format!("/{path}") == it));
        assert!(shown.is_none_or(|it| it.1 == got.body), "{url}: {said}");
        assert_ne!(got.text(), "upstream", "{url}: {said}");
        said
    }
}

fn notes(said: &Value) -> String {
    said["notes"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect::<Vec<_>>().join(" ")
}

#[test]
fn visitors_who_are_sent_elsewhere_by_a_setting_are_told_of_with_its_key() {
    let at = Around::start();
    at.set(&json!({ "addresses": { "canonical": "www.hello.example" } }));
    let canonical = Some("addresses.canonical");
    let said = at.same("https://hello.example/old?a=b", canonical);
    assert_eq!((&said["rule"], &said["redirects"][0]["verdict"]), (&Value::Null, &json!("not_asked")), "{said}");
    assert_eq!(said["headers"][0]["from"], "setting");
    assert_eq!(said["location"], "https://www.hello.example/old?a=b");
    at.same("http://hello.localhost:8443//x", canonical);
    assert_eq!(at.same("https://www.hello.example/old", None)["location"], "/new.html");
    at.same("https://hello.example/.well-known/security.txt", None);
    at.same(&format!("http://{}/old", at.preview), None);
    let said = tried(&at.host, &at.key, "/old");
    assert!(said["status"] == 301 && notes(&said).contains("This is at `www.hello.example`"), "{said}");

    at.set(&json!({ "addresses": { "canonical": "www.hello.example", "https": "always" } }));
    let said = at.same("http://hello.example/x", Some("addresses.https"));
    assert_eq!(said["location"], "https://hello.example/x");
    at.same("https://hello.example/x", canonical);
    at.same("https://www.hello.example/site.css", None);
    let out = at.host.cli(&at.key, &["sites", "try", "hello", "http://hello.example/x"]);
    let shown = String::from_utf8(out.stdout).unwrap();
    assert!(shown.starts_with("/x → 308 https://hello.example/x\nThe site sends visitors in clear"), "{shown}");
}

#[test]
fn visitors_who_are_refused_by_a_setting_are_told_of_with_its_key() {
    let at = Around::start();
    let at_host = |path: &str| format!("https://hello.example{path}");
    at.set(&json!({ "maintenance": { "on": true } }));
    let said = at.same(&at_host("/old"), Some("maintenance.on"));
    assert!(notes(&said).contains("Who is let in gets 301 to `/new.html`."), "{said}");
    assert_eq!((&said["redirects"][0]["verdict"], &said["rule"]), (&json!("behind"), &Value::Null), "{said}");
    at.set(&json!({ "maintenance": { "on": true, "page": "/first.html" }, "errors": { "503": "/new.html" } }));
    assert_eq!(at.same(&at_host("/"), Some("maintenance.on"))["file"], "/first.html");

    at.set(&json!({ "access": { "mode": "form" }, "errors": { "401": "/new.html" } }));
    assert_eq!(at.same(&at_host("/a%2fb"), Some("access.mode"))["file"], Value::Null);
    at.set(&json!({ "access": { "mode": "basic", "paths": ["/index.html"] }, "errors": { "401": "/new.html" } }));
    assert_eq!(at.same(&at_host("/INDEX.html"), Some("access.paths"))["file"], "/new.html");
    let said = at.same(&at_host("/app/x"), Some("access.paths"));
    assert!(notes(&said).contains("Who is let in gets 200 with `/index.html`."), "a rule brings it out: {said}");
    at.same(&at_host("/site.css"), None);

    at.set(&json!({ "hotlink": { "on": true, "without_referer": false } }));
    let said = at.same(&at_host("/img/a.png"), None);
    assert!(notes(&said).contains("gets 403 (`hotlink.on`)"), "{said}");
    assert_eq!(notes(&at.same(&at_host("/site.css"), None)), "");
    let thief = "GET /img/a.png HTTP/1.1\r\nHost: hello.example\r\nReferer: https://thief.example/\r\n";
    assert_eq!(http::ask(at.host.port, thief, b"").status, 403);

    at.set(&json!({ "limits": { "rates": [{ "path": "/*", "requests": 1_000, "every_s": 1 }] }, "firewall": {
        "sets": ["dotfiles"], "rules": [
            { "name": "let", "path": "/docs/open", "do": "allow" },
            { "name": "shut", "path": "/docs/*" },
            { "name": "robots", "path": "/new.html", "agent_has": "Bot" },
            { "name": "people", "path": "/about.html", "agent_has": "mozilla" },
            { "name": "look", "path": "/site.css", "do": "log" },
        ] }, "errors": { "403": "/first.html" } }));
    let said = at.same(&at_host("/DOCS/x"), Some("firewall.rules"));
    assert_eq!((said["file"].as_str(), notes(&said).as_str()), (Some("/first.html"), ""));
    at.same(&at_host("/docs/open"), None);
    at.same(&at_host("/a/.env"), Some("firewall.sets"));
    at.same(&at_host("/about.html"), Some("firewall.rules"));
    let said = notes(&at.same(&at_host("/new.html"), None));
    assert!(
        said.contains("The rule `robots` of the firewall refuses some") && said.contains("`limits.rates`"),
        "{said}"
    );
    assert!(notes(&at.same(&at_host("/site.css"), None)).contains("It fits the rule `look`"));

    at.set(&json!({ "errors": { "410": "/first.html", "404": "/new.html" } }));
    assert_eq!(at.same(&at_host("/gone"), Some("errors.410"))["file"], "/first.html");
    assert_eq!(at.same(&at_host("/nowhere"), None)["file"], "/404.html", "the files have one");
}

#[test]
fn paths_that_other_servers_answer_are_told_of() {
    let at = Around::start();
    let to = format!("http://127.0.0.1:{}", upstream());
    let at_host = |path: &str| format!("https://hello.example{path}");
    let key = Some("proxy.routes");
    at.set(&json!({ "proxy": { "routes": [{ "path": "/", "to": [to] }] } }));
    let said = at.same(&at_host("/site.css"), key);
    assert!(said["because"].as_str().unwrap().contains("`files_first` is off"), "{said}");
    assert_eq!(at.same(&at_host("/x/%2e%2e/y"), key)["status"], 400);
    let routes = json!([{ "path": "/", "to": [to], "files_first": true }, { "path": "/img/", "to": [to] }]);
    at.set(&json!({ "proxy": { "routes": routes } }));
    at.same(&at_host("/site.css"), None);
    at.same(&at_host("/old"), key);
    at.same(&at_host("/docs2"), None);
    at.same(&at_host("/im%67/a.png"), key);
    let out = at.host.cli(&at.key, &["sites", "try", "hello", "/old"]);
    let shown = String::from_utf8(out.stdout).unwrap();
    assert!(shown.starts_with("/old → other servers\nOther servers answer at `/`"), "{shown}");
    let mut browser = Browser::signed_in(&at.host, "owner@example.org");
    let page = browser.page("/sites/hello/rules?url=/old");
    assert!(page.contains("Other servers answer at <span class=\"mono\">/old</span>"), "{page}");

    // Without any files.
    at.host.api_json(&at.key, "POST /api/v1/sites", r#"{"name":"app"}"#, 201);
    let patch = json!({ "proxy": { "routes": [{ "path": "/api", "to": [to] }] } }).to_string();
    at.host.api_json(&at.key, "PATCH /api/v1/sites/app/settings", &patch, 200);
    let said =
        |url: &str| at.host.api_json(&at.key, "POST /api/v1/sites/app/try", &json!({ "url": url }).to_string(), 200);
    assert_eq!(at.host.get("app.localhost", "/api/x").text(), "upstream");
    let of_api = said("/api/x");
    assert_eq!((&of_api["setting"], &of_api["deployment"]), (&json!("proxy.routes"), &Value::Null), "{of_api}");
    assert_eq!((&said("/")["status"], at.host.get("app.localhost", "/").status), (&json!(404), 404));
    let page = browser.page("/sites/app/rules?url=/api/x");
    assert!(page.contains("Other servers answer at") && !page.contains("There are no rules yet"), "{page}");
    assert!(browser.page("/sites/app/rules").contains("What does an address give?"));
    let out = at.host.cli(&at.key, &["sites", "try", "app", "/"]);
    assert!(String::from_utf8(out.stdout).unwrap().ends_with("Nothing is published.\n"));
}
