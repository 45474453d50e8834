//! Rules of a deployment by which another server answers (`/api/* https://api.example.com/:splat 200`).

use chainhost::{
    base::password,
    domain::policy::Redirect,
    serve::proxy::{Resolve, Resolved},
};

use super::{
    upgrade::{ECHO, Socket},
    *,
};
use crate::web::request;

/// `*.up.test` is this machine, as if it were public, and all else is what nobody connects to for a tenant.
#[derive(Debug)]
struct Outside;

impl Resolve for Outside {
    fn resolve<'a>(&'a self, host: &'a str, inside: bool) -> Resolved<'a> {
        let found = host.ends_with("up.test") && !inside;
        let found = found.then(|| vec!["127.0.0.1".parse().unwrap()]);
        Box::pin(async move { found.ok_or_else(|| format!("{host} is not public")) })
    }
}

/// A rule, `!` for one that goes before files.
fn rule(from: &str, to: &str, mark: &str) -> Redirect {
    Redirect { from: from.to_owned(), to: to.to_owned(), status: 200, force: mark == "!", ..Redirect::default() }
}

/// Serves a site with these rules and settings, live and as a preview.
fn serve(web: &Web, redirects: Vec<Redirect>, settings: &Value) {
    let files: &[(&str, &[u8])] = &[
        ("/index.html", b"front"),
        ("/api/file", b"a file"),
        ("/forced.html", b"forced"),
        ("/down.html", b"our own page"),
    ];
    let served = web.deploy(1, files, Policy { redirects, ..Policy::default() });
    let settings = match settings {
        Value::Null => Settings::Plain,
        it => Settings::Given(Given::new(SiteSettings::parse(&it.to_string()).unwrap())),
    };
    let mut snapshot = Snapshot::new(INSTANCE, web.plane.snapshot().generation + 1);
    for (host, preview) in [("site.test", false), ("1--site.test", true), ("self.up.test", false)] {
        let target = Target {
            site: SiteId(Id::from_bytes([1; 16])),
            name: String::from("site"),
            preview,
            state: State::Live(served),
            settings: settings.clone(),
        };
        snapshot.insert(host, Arc::new(target));
    }
    web.plane.publish(snapshot).unwrap();
}

fn web() -> Web {
    Web::resolving(Limits::default(), Arc::new(Outside))
}

/// As sites mostly are, and with settings, whose requests go another way.
fn settings() -> [Value; 2] {
    [Value::Null, json!({ "addresses": { "hsts": { "max_age_s": 300 } } })]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_passes_a_request_on_and_files_come_first() {
    let tasks = Tasks::new();
    let up = upstream(&tasks, mirror).await;
    let (web, port) = (web(), up.address.port());
    for settings in settings() {
        let at = |path: &str| format!("http://api.up.test:{port}{path}");
        let query =
            Redirect { query: vec![(String::from("id"), String::from(":id"))], ..rule("/item", &at("/items/:id"), "") };
        let rules = vec![
            rule("/api/*", &at("/v1/:splat"), ""),
            rule("/forced.html", &at("/forced"), "!"),
            rule("/index.html", &at("/never"), ""),
            query,
            rule("/given", &at("/given?own=1"), ""),
        ];
        serve(&web, rules, &settings);
        let seen = up.asked().len();
        for (method, path, wanted) in [
            ("GET", "/api/a%20b/c%C3%A9?q=1&r=%00", "/v1/a%20b/c%C3%A9?q=1&r=%00"),
            ("GET", "/api/", "/v1/"),
            ("GET", "/forced.html?x", "/forced?x"),
            ("GET", "/item?id=a%2Fb&x", "/items/a%2Fb?id=a%2Fb&x"),
            ("GET", "/given?theirs=1", "/given?own=1"),
            ("POST", "/api/x", "/v1/x"),
            ("DELETE", "/api/x", "/v1/x"),
            ("OPTIONS", "/api/x", "/v1/x"),
            ("PROPFIND", "/api/x", "/v1/x"),
        ] {
            let answer = web.ask(request(method, path, &[])).await;
            assert_eq!(answer.status(), 200, "{method} {path}: {}", answer.text());
            let said: Value = serde_json::from_str(answer.text()).unwrap();
            assert_eq!((&said["method"], &said["uri"]), (&json!(method), &json!(wanted)), "{path}");
            assert_eq!(mirrored(&said, "host"), format!("api.up.test:{port}"));
            assert_eq!(mirrored(&said, "x-forwarded-host"), "site.test");
            assert_eq!(answer.header("x-content-type-options"), "", "an upstream describes its answers itself");
        }
        assert_eq!(web.ask(request("HEAD", "/api/x", &[])).await.status(), 200);
        assert_eq!(up.asked().len(), seen + 10);
        // A preview is the same deployment.
        let preview = web.get_with("/api/x", &[("host", "1--site.test")]).await;
        assert_eq!((preview.status(), preview.header("x-robots-tag")), (200, "noindex"));

        // What is the site's own.
        let seen = up.asked().len();
        for (method, path, status, wanted) in [
            ("GET", "/api/file", 200, "a file"),
            ("GET", "/", 200, "front"),
            ("GET", "/index.html", 200, "front"),
            ("OPTIONS", "/index.html", 204, ""),
        ] {
            let answer = web.ask(request(method, path, &[])).await;
            assert_eq!((answer.status(), answer.text()), (status, wanted), "{method} {path}");
        }
        for (method, path, status) in [
            ("POST", "/api/file", 405),
            ("POST", "/elsewhere", 405),
            ("GET", "/elsewhere", 404),
            ("GET", "/item", 404),
            // Nothing that a visitor writes leads up or to another path.
            ("GET", "/api/%2e%2e/x", 400),
            ("GET", "/api/..%5cx", 400),
            ("GET", "/item?id=..%2F..%2Fadmin", 400),
            ("POST", "/item?id=..%2F..%2Fadmin", 400),
            ("TRACE", "/api/x", 405),
            ("GET", "/.well-known/acme-challenge/x", 404),
        ] {
            assert_eq!(web.ask(request(method, path, &[])).await.status(), status, "{method} {path}");
        }
        assert_eq!(up.asked().len(), seen);
    }
    tasks.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_answers_and_websockets_pass() {
    let tasks = Tasks::new();
    let up = upstream(&tasks, mirror).await;
    let elsewhere = upstream(&tasks, |_| async {
        let moved =
            Response::builder().status(302).header("location", "http://api.up.test:1/x").header("set-cookie", "a=1");
        moved.header("cache-control", "max-age=7").body(Full::new(Bytes::new()).boxed_unsync()).unwrap()
    })
    .await;
    let node = Node::start(ECHO).await;
    let web = web();
    for settings in settings() {
        let at = |port: u16| format!("http://api.up.test:{port}/:splat");
        let rules = vec![
            rule("/api/*", &at(up.address.port()), ""),
            rule("/moved/*", &at(elsewhere.address.port()), ""),
            rule("/*", &at(node.port), ""),
        ];
        serve(&web, rules, &settings);
        let body = vec![b'x'; 300_000];
        let head = "POST /api/up HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\nContent-Length: 300000\r\n\r\n";
        let said = raw(web.address, &[head.as_bytes(), &body].concat()).await;
        assert!(said.starts_with("HTTP/1.1 200") && said.contains("\"body\":300000"), "{said}");
        let chunked = b"PUT /api/up HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        let said = raw(web.address, chunked).await;
        assert!(said.starts_with("HTTP/1.1 200") && said.contains("\"body\":3"), "{said}");
        // Where it would be on the site nobody knows.
        let moved = web.get("/moved/x").await;
        assert_eq!((moved.status(), moved.header("location")), (302, "http://api.up.test:1/x"));
        assert_eq!((moved.header("set-cookie"), moved.header("cache-control")), ("a=1", "max-age=7"));
        let (mut socket, head) = Socket::open(web.address).await;
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        socket.echoes("ahoy").await;
    }
    let figures = web.plane.proxied();
    let [site] = figures.as_slice() else { panic!("{figures:?}") };
    let count = |wanted: &str| site.outcomes.iter().find(|it| it.0 == wanted).unwrap().1;
    assert_eq!((site.site.as_str(), count("answered"), count("switched"), site.upstreams.len()), ("site", 6, 2, 3));
    // A site that was taken down passes nothing on.
    web.publish(&[("site.test", State::TakenDown(String::from("No more.")))]);
    assert_eq!(web.get("/api/x").await.status(), 451);
    assert!(web.plane.proxied().is_empty());
    tasks.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_answers_is_told_and_nobody_inside_is_asked() {
    let tasks = Tasks::new();
    let up = upstream(&tasks, mirror).await;
    let (web, down) = (web(), free_port());
    let inside = up.address.port();
    let pages = json!({ "errors": { "502": "/down.html" } });
    for (settings, page) in [(Value::Null, false), (pages, true)] {
        let rules = vec![
            rule("/down", &format!("http://api.up.test:{down}/"), ""),
            rule("/inside", &format!("http://127.0.0.1:{inside}/"), ""),
            rule("/named", &format!("http://inside.example:{inside}/"), ""),
            rule("/loop", &format!("http://self.up.test:{}/loop", web.address.port()), ""),
        ];
        serve(&web, rules, &settings);
        for path in ["/down", "/inside", "/named"] {
            let answer = web.get_with(path, &[("accept", "text/html")]).await;
            assert_eq!((answer.status(), answer.text() == "our own page"), (502, page), "{path}: {}", answer.text());
        }
        // Round and round through this server, and not for ever.
        assert_eq!(web.get("/loop").await.status(), 508);
    }
    assert_eq!(up.connections(), 0);
    tasks.stop();
}

/// Maintenance and doors stay before what is passed on, and what opens them does not pass.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_leads_past_no_door() {
    let tasks = Tasks::new();
    let up = upstream(&tasks, mirror).await;
    let web = web();
    let to = format!("http://api.up.test:{}/:splat", up.address.port());
    let rules = || vec![rule("/api/*", &to, "!"), rule("/open/*", &to, "")];
    serve(&web, rules(), &json!({ "maintenance": { "on": true } }));
    for method in ["GET", "POST"] {
        assert_eq!(web.ask(request(method, "/api/x", &[])).await.status(), 503);
    }
    let ada = json!({ "name": "ada", "hash": password::hash("open sesame").unwrap(), "changed_ms": 0 });
    let door = json!({
        "access": { "mode": "basic", "paths": ["/api"] }, "guests": { "key": "ab".repeat(32), "people": [ada] },
    });
    serve(&web, rules(), &door);
    for method in ["GET", "POST"] {
        assert_eq!(web.ask(request(method, "/api/x", &[])).await.status(), 401);
    }
    assert_eq!(up.connections(), 0);
    let login = format!("Basic {}", data_encoding::BASE64.encode(b"ada:open sesame"));
    for (path, wanted) in [("/api/x", ""), ("/open/x", login.as_str())] {
        let answer = web.get_with(path, &[("authorization", &login)]).await;
        assert_eq!(answer.status(), 200, "{path}");
        assert_eq!(mirrored(&serde_json::from_str(answer.text()).unwrap(), "authorization"), wanted, "{path}");
    }
    tasks.stop();
}
