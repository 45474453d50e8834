//! Caches in front of the server: what answers tell them, and what is purged there, with providers that the tests play.

use std::{
    fs,
    sync::Arc,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use chainhost::{
    base::hash,
    domain::{
        acme::records::Provider as Kind,
        edge::{own_tag, path_tag, site_tag},
        site::SiteId,
    },
};
use serde_json::{Value, json};

use crate::{
    faults::{api::Api, tenants::move_to_tenant},
    support::{
        Answer, Host, PATIENCE,
        browser::Browser,
        dns::Names,
        free_port, http,
        provider::{Provider, Purged, TOKEN},
        stores, write_files,
    },
};

const OWNER: &str = "owner@example.org";
const ZONE: &str = "zone.test";
const WWW: &str = "www.zone.test";
/// The API is not asked more often.
const LOOK: Duration = Duration::from_millis(250);

const FILES: &[(&str, &[u8])] = &[
    ("index.html", b"<p>the shop</p>"),
    ("blog/one.html", b"<p>one</p>"),
    ("a.css", b"a{}"),
    ("app.3f2a9c1b.js", b"app()"),
    ("own.css", b"own{}"),
    ("intern/secret.css", b"secret{}"),
    ("cdn.css", b"cdn{}"),
    ("403.html", b"<p>not here</p>"),
    ("_headers", b"/own.css\n  Cache-Control: max-age=5\n/cdn.css\n  CDN-Cache-Control: max-age=60\n/403.html\n  CDN-Cache-Control: max-age=86400\n"),
    ("_redirects", b"/old /a.css 301\n/new /a.css 200\n"),
];

/// A server with a site `shop`, which has a hostname in the zone of a provider.
struct Shop {
    host: Host,
    key: String,
    provider: Provider,
}

impl Shop {
    fn start(provider: &str, files: &[(&str, &[u8])]) -> Self {
        Self::start_with(provider, files, Host::start_configured)
    }

    fn start_with(provider: &str, files: &[(&str, &[u8])], start: impl FnOnce(&str) -> Host) -> Self {
        let played = Provider::start(Kind::Cloudflare, ZONE);
        let host = start(&played.edge(provider));
        let key = host.key(OWNER, "super-admin");
        let shop = Self { host, key, provider: played };
        shop.deploy(files);
        shop.cli(&["sites", "hostnames", "add", WWW, "--site", "shop"]);
        // That of the hostname; the first deployment had none that caches could have.
        let first = shop.purged(1);
        if provider == "cloudflare" {
            assert_eq!(first.first().unwrap().body, json!({ "hosts": [WWW] }));
        }
        shop
    }

    fn cli(&self, words: &[&str]) {
        let out = self.host.cli(&self.key, words);
        assert!(out.status.success(), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
    }

    fn deploy(&self, files: &[(&str, &[u8])]) {
        let folder = self.host.beside("shop");
        write_files(&folder, files);
        self.cli(&["deploy", folder.to_str().unwrap(), "--site", "shop", "--create"]);
    }

    fn api(&self, call: &str, body: &Value, status: u16) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.host.api_json(&self.key, call, &body, status)
    }

    fn set(&self, patch: &Value) -> Value {
        self.api("PATCH /api/v1/sites/shop/settings", patch, 200)
    }

    fn get(&self, path: &str, more: &str) -> Answer {
        self.get_at(WWW, path, more)
    }

    fn get_at(&self, host: &str, path: &str, more: &str) -> Answer {
        http::ask(self.host.port, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{more}"), b"")
    }

    /// What was purged, once it is so many times.
    fn purged(&self, times: usize) -> Vec<Purged> {
        self.host.until(&format!("purge {times}"), || Some(self.provider.purges()).filter(|it| it.len() >= times))
    }

    /// What the next call purges that `act` leads to.
    fn purges(&self, act: impl FnOnce()) -> Value {
        self.purges_in(1, act).remove(0)
    }

    /// What the next calls purge, so many of them.
    fn purges_in(&self, calls: usize, act: impl FnOnce()) -> Vec<Value> {
        let before = self.provider.purges().len();
        act();
        let all = self.purged(before + calls);
        assert_eq!(all.len(), before + calls, "{all:?}");
        all.iter().skip(before).map(|it| it.body.clone()).collect()
    }

    fn id(&self) -> SiteId {
        let site = self.api("GET /api/v1/sites/shop", &Value::Null, 200);
        SiteId(site.get("id").and_then(Value::as_str).unwrap().parse().unwrap())
    }

    /// The newest job that purges, when it is so.
    fn job(&self, is: impl Fn(&Value) -> bool) -> Value {
        self.host.until_within(PATIENCE, LOOK, "the job", || {
            let jobs = self.api("GET /api/v1/jobs", &Value::Null, 200);
            let all = jobs.get("items").and_then(Value::as_array).unwrap().clone();
            let newest = all.into_iter().find(|it| it.get("title").is_some_and(|it| it == "Purge caches of shop"));
            newest.filter(|it| is(it))
        })
    }
}

/// Whether a job has failed for a while: where several nodes serve, it waits a moment before it is begun.
fn is_put_off(job: &Value) -> bool {
    job["state"] == "delayed" && job["error"].is_string()
}

fn edge_of(answer: &Answer) -> (Option<&str>, bool) {
    (
        answer.header("cdn-cache-control"),
        answer.header("cache-tag").is_some() && answer.header("surrogate-key").is_some(),
    )
}

#[test]
fn caches_are_told_what_is_everybodys_and_nothing_else() {
    let shop = Shop::start("cloudflare", FILES);
    let preview = shop.api("GET /api/v1/sites/shop/deployments", &Value::Null, 200);
    let preview = preview.pointer("/items/0/preview_url").and_then(Value::as_str).unwrap().to_owned();
    let preview = preview.split("//").nth(1).unwrap().split([':', '/']).next().unwrap().to_owned();
    let paths = ["/", "/a.css", "/app.3f2a9c1b.js", "/own.css", "/old", "/new", "/none", "/intern/secret.css"];
    for path in paths {
        let answer = shop.get(path, "");
        assert_eq!(edge_of(&answer), (None, false), "{path}: off by default");
        assert!(!answer.header("cache-control").unwrap().contains("public"));
    }
    shop.set(&json!({ "caching": { "edge": true, "edge_max_age_s": 3_600, "tags": { "blog": ["/blog/*"] } } }));
    let (hour, ever) = (Some("max-age=3600"), Some("max-age=31536000, immutable"));
    for (path, kept, cache) in [
        ("/", hour, "max-age=0, must-revalidate"),
        ("/blog/one.html", hour, "max-age=0, must-revalidate"),
        ("/a.css", hour, "max-age=604800"),
        ("/a.css?v=2", hour, "max-age=604800"),
        ("/new", hour, "max-age=0, must-revalidate"),
        ("/app.3f2a9c1b.js", ever, "max-age=31536000, immutable"),
        // What the files say goes first.
        ("/own.css", None, "max-age=5"),
        ("/old", None, "max-age=0, must-revalidate"),
        ("/none", None, "no-store"),
    ] {
        let answer = shop.get(path, "");
        assert_eq!((edge_of(&answer), answer.header("cache-control")), ((kept, kept.is_some()), Some(cache)), "{path}");
    }
    let (site, page) = (shop.id(), shop.get("/blog/one.html", ""));
    let tags = [site_tag(site), path_tag(site, "/blog/one.html"), own_tag(site, "blog")];
    assert_eq!(page.header("cache-tag"), Some(tags.join(",").as_str()));
    assert_eq!(page.header("surrogate-key"), Some(tags.join(" ").as_str()));
    // By whatever address a file is shown, it is purged by its own.
    assert!(shop.get("/new", "").header("cache-tag").unwrap().contains(&path_tag(site, "/a.css")));
    let etag = format!("If-None-Match: {}\r\n", page.header("etag").unwrap());
    let same = shop.get("/blog/one.html", &etag);
    assert_eq!((same.status, edge_of(&same)), (304, (hour, true)));
    assert_eq!(edge_of(&shop.get("/a.css", "Range: bytes=0-1\r\n")).0, hour);
    // What the files say of these caches is said of what they still have, too.
    let own = shop.get("/cdn.css", "");
    let same = shop.get("/cdn.css", &format!("If-None-Match: {}\r\n", own.header("etag").unwrap()));
    assert_eq!((own.status, same.status), (200, 304));
    assert_eq!((edge_of(&own), edge_of(&same)), ((Some("max-age=60"), false), (Some("max-age=60"), false)));
    // A page for who is refused is for nobody else, whatever its file says.
    let blocked = json!({ "rules": [{ "name": "closed", "path": "/closed" }] });
    shop.set(&json!({ "firewall": blocked, "errors": { "403": "/403.html" } }));
    let refused = shop.get("/closed", "Accept: text/html\r\n");
    assert_eq!((refused.status, edge_of(&refused), refused.text().as_str()), (403, (None, false), "<p>not here</p>"));
    let private = "private, no-cache";
    for (path, cache, kept) in [
        ("/", private, None),
        ("/a.css", private, None),
        ("/new", private, None),
        ("/app.3f2a9c1b.js", private, None),
        // What the files say is a part of what is proved.
        ("/own.css", "max-age=5", None),
        ("/cdn.css", private, Some("max-age=60")),
        ("/old", "max-age=0, must-revalidate", None),
    ] {
        let shown = shop.get_at(&preview, path, "");
        assert_eq!(edge_of(&shown), (kept, false), "a preview is for few: {path}");
        assert_eq!(shown.header("cache-control"), Some(cache), "and nobody purges it: {path}");
        assert_eq!(shown.header("x-robots-tag"), Some("noindex"));
    }
    let etag = shop.get_at(&preview, "/a.css", "").header("etag").unwrap().to_owned();
    let same = shop.get_at(&preview, "/a.css", &format!("If-None-Match: {etag}\r\n"));
    assert_eq!((same.status, same.header("cache-control")), (304, Some("private, no-cache")));
    assert_eq!(edge_of(&same), (None, false));

    // What is not everybody's is told to nobody.
    shop.api("PUT /api/v1/sites/shop/people/ada", &json!({ "password": "open sesame, please" }), 204);
    shop.set(&json!({ "access": { "mode": "basic", "paths": ["/intern"] } }));
    let ada = format!("Authorization: Basic {}\r\n", data_encoding::BASE64.encode(b"ada:open sesame, please"));
    let shown = shop.get("/intern/secret.css", &ada);
    assert_eq!((shown.status, edge_of(&shown)), (200, (None, false)));
    assert_eq!(shown.header("cache-control"), Some("private, no-cache"));
    let asked = shop.get("/intern/secret.css", "");
    assert_eq!((asked.status, edge_of(&asked), asked.header("cache-control")), (401, (None, false), Some("no-store")));
    assert_eq!(edge_of(&shop.get("/a.css", "")).0, hour, "what is before the door stays everybody's");
    for (patch, path) in [
        (json!({ "hotlink": { "on": true, "extensions": ["css"] } }), "/a.css"),
        (json!({ "hotlink": null, "cors": { "origins": ["https://app.example"] } }), "/"),
        (json!({ "cors": null, "maintenance": { "on": true, "allow": ["127.0.0.1"] } }), "/"),
    ] {
        shop.set(&patch);
        let answer = shop.get(path, "");
        assert_eq!((answer.status, edge_of(&answer)), (200, (None, false)), "{patch}");
    }
}

#[test]
fn a_publish_purges_what_it_changes() {
    let shop = Shop::start("cloudflare", &[("index.html", b"1"), ("a.css", b"1"), ("b.css", b"1")]);
    let urls = |paths: &[&str]| {
        let of = |path: &&str| ["https", "http"].map(|it| format!("{it}://{WWW}{path}"));
        json!({ "files": paths.iter().flat_map(of).collect::<Vec<_>>() })
    };
    assert_eq!(shop.purges(|| shop.deploy(&[("a.css", b"2")])), urls(&["/a.css"]));
    assert_eq!(shop.purges(|| shop.deploy(&[("index.html", b"2")])), urls(&["/", "/index.html"]));
    let hosts = json!({ "hosts": [WWW] });
    assert_eq!(shop.purges(|| drop(shop.set(&json!({ "caching": { "edge": true } })))), hosts);
    let site = shop.id();
    let tags = |paths: &[&str]| json!({ "tags": paths.iter().map(|it| path_tag(site, it)).collect::<Vec<_>>() });
    // By address too: what the files say of caches themselves has no tag.
    let both = [tags(&["/a.css"]), urls(&["/a.css"])];
    assert_eq!(shop.purges_in(2, || shop.deploy(&[("a.css", b"3")])), both);
    assert_eq!(shop.purges_in(2, || shop.cli(&["rollback", "--site", "shop"])), both);
    assert_eq!(shop.purges(|| shop.cli(&["sites", "take-down", "shop", "--reason", "Closed."])), hosts);
    assert_eq!(shop.purges(|| shop.cli(&["sites", "put-back", "shop"])), hosts);
    // Rules decide about all; many files are no list any more.
    assert_eq!(shop.purges(|| shop.deploy(&[("_headers", b"/*\n  X-A: b\n")])), hosts);
    let many: Vec<(String, Vec<u8>)> = (0..120).map(|it| (format!("m/{it}.css"), vec![1])).collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    assert_eq!(shop.purges(|| shop.deploy(&many)), hosts);
    // Passwords and limits change nothing that a cache has.
    shop.set(&json!({ "limits": { "exempt": ["192.0.2.1"] } }));
    assert_eq!(shop.purges(|| drop(shop.set(&json!({ "maintenance": { "on": true } })))), hosts);
    assert_eq!(
        shop.purges(|| shop.cli(&["sites", "hostnames", "add", "b.zone.test", "--site", "shop"])),
        json!({ "hosts": ["b.zone.test"] })
    );
    // A hostname that no provider has.
    shop.cli(&["sites", "hostnames", "add", "shop.example", "--site", "shop"]);
    assert_eq!(
        shop.purges(|| shop.cli(&["sites", "hostnames", "remove", "b.zone.test", "--site", "shop"])),
        json!({ "hosts": ["b.zone.test"] })
    );
    assert_eq!(shop.purges(|| shop.cli(&["sites", "delete", "shop", "--yes"])), hosts);
    let calls = shop.provider.calls();
    assert!(calls.iter().all(|it| it == "GET /v9/zones?name=zone.test" || it.ends_with("/purge_cache")), "{calls:?}");
}

#[test]
fn what_an_earlier_process_has_kept_is_for_no_cache() {
    let mut shop = Shop::start_with("cloudflare", &[("a.css", b"a{}")], Host::start_embedded_configured);
    shop.set(&json!({ "caching": { "edge": true } }));
    let told = |shop: &Shop| {
        let answer = shop.get("/a.css", "");
        assert_eq!(answer.text(), "a{}");
        let (kept, is_tagged) = edge_of(&answer);
        (answer.header("cache-control").unwrap().to_owned(), kept.is_some(), is_tagged)
    };
    let as_usual = (String::from("max-age=604800"), true, true);
    assert_eq!(told(&shop), as_usual);
    let move_database = |shop: &mut Shop, from: &str, to: &str| {
        assert_eq!(shop.host.stop(), Some(0));
        for name in ["chainhost.db", "chainhost.db-wal", "chainhost.db-shm"] {
            let (data, name) = (shop.host.data(), name.to_owned());
            drop(fs::rename(data.join(name.clone() + from), data.join(name + to)));
        }
        shop.host.restart();
    };
    // What was purged may be what its snapshot still has, until it has made one of its own.
    move_database(&mut shop, "", ".away");
    for _ in 0..2 {
        assert_eq!(told(&shop), (String::from("private, no-cache"), false, false));
    }
    move_database(&mut shop, ".away", "");
    shop.host.until("its first pass", || (told(&shop) == as_usual).then_some(()));
}

#[test]
fn publications_in_a_row_are_purged_together() {
    let shop = Shop::start("cloudflare", &[("index.html", b"1")]);
    shop.cli(&["jobs", "pause", "deploy"]);
    for name in ["a.css", "b.css", "c.css", "d.css", "e.css"] {
        shop.deploy(&[(name, b"1")]);
    }
    assert_eq!(shop.provider.purges().len(), 1, "a queue that is paused does nothing");
    shop.cli(&["jobs", "resume", "deploy"]);
    let is_over = || {
        let jobs = shop.api("GET /api/v1/jobs?limit=100", &Value::Null, 200);
        let of = |it: &&Value| it["title"] == "Purge caches of shop";
        let all: Vec<Value> = jobs["items"].as_array().unwrap().iter().filter(of).cloned().collect();
        (all.len() == 6 && all.iter().all(|it| it["state"] == "done")).then_some(())
    };
    shop.host.until_within(PATIENCE, LOOK, "the end of all", is_over);
    let purges = &shop.provider.purges()[1..];
    // Two run at once; the others find it done. With a database that nodes can share, what is so new is purged one by one: another node
    // may not serve it yet.
    let most = if stores::is_shared() { 5 } else { 2 };
    assert!((1..=most).contains(&purges.len()), "{purges:?}");
    let all = format!("{purges:?}");
    for name in ["a.css", "b.css", "c.css", "d.css", "e.css"] {
        assert!(all.contains(&format!("https://{WWW}/{name}")), "{name}: {all}");
    }
}

#[test]
fn changes_of_settings_in_a_row_are_one_purge() {
    let shop = Shop::start("cloudflare", &[("index.html", b"1")]);
    let jobs = || {
        let jobs = shop.api("GET /api/v1/jobs?limit=100", &Value::Null, 200);
        let of = |it: &&Value| it["title"] == "Purge caches of shop";
        jobs["items"].as_array().unwrap().iter().filter(of).map(|it| it["state"].clone()).collect::<Vec<_>>()
    };
    for count in 0..10 {
        let owner = Api::new(&shop.host, &shop.key);
        owner.must("PATCH /api/v1/sites/shop/settings", &json!({ "errors": { "404": format!("/{count}.html") } }), 200);
    }
    shop.host.until_within(PATIENCE, LOOK, "the end of all", || jobs().iter().all(|it| it == "done").then_some(()));
    // Somebody who is slow at this may need a second one, or on a busy machine a third: each takes what comes in two seconds.
    let made = shop.provider.purges().len() - 1;
    assert!((1..=3).contains(&made) && jobs().len() == made + 1, "{made}: {:?}", jobs());
    assert_eq!(shop.purges(|| shop.cli(&["purge", "shop"])), json!({ "hosts": [WWW] }), "who asks for it gets it");
}

#[test]
fn people_purge_addresses_and_tags_of_their_own_sites() {
    let (names, port) = (Names::start(), free_port());
    let settings = format!("[outgoing]\nallow = ['127.0.0.0/8']\n[doctor]\nhttp_port = {port}\n");
    let also = format!("127.0.0.1:{port}");
    names.a("burglar.zone.test", "127.0.0.1");
    let mut shop = Shop::start_with("cloudflare", &[("index.html", b"1")], |edge| {
        Host::start_resolving(&names.address(), &format!("{settings}{edge}"), &["--listen", &also])
    });
    let purge = "POST /api/v1/sites/shop/purge";
    let none = shop.api(purge, &json!({ "tags": ["blog"] }), 409);
    assert_eq!(none["code"], "edge_no_tags", "{none}");
    shop.purges(|| drop(shop.set(&json!({ "caching": { "edge": true, "tags": { "blog": ["/blog/*"] } } }))));
    let site = shop.id();
    let made = shop.purges(|| drop(shop.api(purge, &json!({ "tags": ["blog", "news"] }), 202)));
    assert_eq!(made, json!({ "tags": [own_tag(site, "blog"), own_tag(site, "news")] }));
    let address = format!("https://{WWW}/a?b=c");
    let made = shop.purges(|| shop.cli(&["purge", "shop", "--url", "/logo.png", "--url", &address]));
    let wanted = [format!("https://{WWW}/logo.png"), format!("http://{WWW}/logo.png"), address];
    assert_eq!(made, json!({ "files": wanted }));
    assert_eq!(shop.purges(|| shop.cli(&["purge", "shop"])), json!({ "hosts": [WWW] }));
    let job = shop.job(|it| it["state"] == "done");
    assert_eq!(job["queue"], "deploy");
    let mut browser = Browser::signed_in(&shop.host, OWNER);
    let page = browser.get("/sites/shop/settings").text();
    assert!(page.contains("Caches in front of the server") && page.contains(&format!("<dd class=\"mono\">{WWW}</dd>")));
    let pressed = || assert_eq!(browser.post("/sites/shop/purge", "").status, 303);
    assert_eq!(shop.purges(pressed), json!({ "hosts": [WWW] }));

    for (body, field) in [
        (json!({ "urls": ["https://other.zone.test/"] }), "urls"),
        (json!({ "urls": ["logo.png"] }), "urls"),
        (json!({ "urls": ["/a\r\nb"] }), "urls"),
        (json!({ "tags": ["a,b"] }), "tags"),
        (json!({ "tags": ["*"] }), "tags"),
        (json!({ "urls": vec!["/a"; 101] }), "urls"),
    ] {
        assert_eq!(shop.api(purge, &body, 400)["field"], field, "{body}");
    }

    // Another tenant has a site in the same zone, and purges none but that.
    let thief = shop.host.key("thief@example.net", "admin");
    move_to_tenant(&mut shop.host, "thief@example.net", "other");
    let thief = Api::new(&shop.host, &thief);
    thief.must("POST /api/v1/sites", &json!({ "name": "burglar" }), 201);
    // A hostname that leads elsewhere, or nowhere, is not theirs because they have written it down.
    thief.must("PUT /api/v1/sites/burglar/hostnames/api.zone.test", &Value::Null, 204);
    let refused = thief.must("POST /api/v1/sites/burglar/purge", &json!({}), 409);
    assert_eq!(refused["code"], "edge_unproved", "{refused}");
    assert!(refused["detail"].as_str().unwrap().starts_with("Nothing shows that api.zone.test leads"), "{refused}");
    thief.must("PUT /api/v1/sites/burglar/hostnames/burglar.zone.test", &Value::Null, 204);
    let before = shop.host.until("its hostname", || {
        Some(shop.provider.purges()).filter(|it| it.last().unwrap().body == json!({ "hosts": ["burglar.zone.test"] }))
    });
    thief.must("POST /api/v1/sites/shop/purge", &json!({}), 404);
    let refused = thief.must("POST /api/v1/sites/burglar/purge", &json!({ "urls": [format!("https://{WWW}/")] }), 400);
    assert!(refused["detail"].as_str().unwrap().ends_with("These are: burglar.zone.test."), "{refused}");
    thief.must("PATCH /api/v1/sites/burglar/settings", &json!({ "caching": { "edge": true } }), 200);
    thief.must("POST /api/v1/sites/burglar/purge", &json!({ "tags": ["blog"] }), 202);
    let all = shop.purged(before.len() + 2);
    let theirs = &all[before.len()..];
    assert!(
        theirs.iter().all(|it| !it.raw.is_empty() && !it.body.to_string().contains(&site.to_string())),
        "{theirs:?}"
    );
    assert!(!format!("{theirs:?}").contains(WWW), "{theirs:?}");
    assert!(!format!("{all:?}").contains("api.zone.test"), "{all:?}");
}

#[test]
fn who_wants_a_pause_gets_it() {
    let shop = Shop::start("cloudflare", &[("index.html", b"1")]);
    let (away, short) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(true)));
    let says = (Arc::clone(&away), Arc::clone(&short));
    shop.provider.say(move |_, call| {
        if !call.ends_with("/purge_cache") {
            return None;
        }
        let limited = json!({ "success": false, "errors": [{ "code": 971, "message": "rate" }], "result": null });
        // Once a short one, which the call itself waits for; then one that the job does.
        if says.1.swap(false, Ordering::SeqCst) {
            return Some((429, "Retry-After: 1\r\n", limited));
        }
        says.0.load(Ordering::SeqCst).then_some((429, "Retry-After: 240\r\n", limited))
    });
    shop.deploy(&[("index.html", b"2")]);
    assert_eq!(shop.get("/", "").text(), "2", "nobody waits for it");
    let job = shop.job(is_put_off);
    let error = job["error"].as_str().unwrap();
    assert!(error.contains("Cloudflare is asked too often and wants a pause. It is tried again."), "{error}");
    away.store(false, Ordering::SeqCst);
    let rerun = format!("POST /api/v1/jobs/{}/rerun", job["id"].as_str().unwrap());
    let body = shop.purges(|| drop(shop.api(&rerun, &json!({}), 204)));
    assert_eq!(body["files"].as_array().unwrap().len(), 4);
    shop.job(|it| it["state"] == "done");

    short.store(true, Ordering::SeqCst);
    let before = shop.provider.calls().len();
    shop.purges(|| shop.deploy(&[("index.html", b"3")]));
    assert_eq!(shop.provider.calls().len(), before + 3, "asked again once by the call itself");
}

#[test]
fn what_a_person_has_to_mend_is_a_sentence() {
    let shop = Shop::start("cloudflare", &[("index.html", b"1")]);
    for (count, (status, code, message, word)) in [
        (400, 6_003, "Invalid request headers", "does not know the token. Make one"),
        (403, 10_000, "Authentication error", "the token may not do that. Give it the rights"),
        (400, 1_094, "Nobody knows", "refuses it: Nobody knows. Look at [[edge]]"),
    ]
    .into_iter()
    .enumerate()
    {
        shop.provider.say(move |_, call| {
            let body = json!({ "success": false, "errors": [{ "code": code, "message": message }], "result": null });
            call.ends_with("/purge_cache").then_some((status, "", body))
        });
        shop.deploy(&[("index.html", format!("{count} more").as_bytes())]);
        let job = shop.job(|it| it["state"] == "failed");
        let error = job["error"].as_str().unwrap();
        assert!(error.starts_with("The caches of zone.test were not purged: ") && error.contains(word), "{error}");
        assert!(error.ends_with("run the job again.") && !error.contains(TOKEN), "{error}");
        // How long it is tried counts from the run that somebody has asked for: it is a job of its own, and fails as the first did.
        let of = |job: &Value| job["id"].as_str().unwrap().to_owned();
        let before = of(&job);
        shop.api(&format!("POST /api/v1/jobs/{before}/rerun"), &json!({}), 204);
        let again = shop.job(|it| it["state"] == "failed" && of(it) != before);
        assert!(again["created_at"].as_str() >= job["finished_at"].as_str() && again["error"] == error, "{again}");
        shop.api(&format!("GET /api/v1/jobs/{before}"), &Value::Null, 404);
        let job = again;
        shop.api(&format!("DELETE /api/v1/jobs/{}", job["id"].as_str().unwrap()), &Value::Null, 204);
    }
    assert!(!shop.host.log().contains(TOKEN));
}

#[test]
fn a_zone_that_the_provider_does_not_know_is_said() {
    let provider = Provider::start(Kind::Cloudflare, ZONE);
    let host =
        Host::start_configured(&provider.edge("cloudflare").replace("\"zone.test\"", "\"zone.test\", \"other.test\""));
    let key = host.key(OWNER, "super-admin");
    let shop = Shop { host, key, provider };
    shop.deploy(&[("index.html", b"1")]);
    shop.cli(&["sites", "hostnames", "add", "www.other.test", "--site", "shop"]);
    let job = shop.job(|it| it["state"] == "failed");
    let error = job["error"].as_str().unwrap();
    let wanted = "The caches of other.test were not purged: Cloudflare has no zone other.test for this token. Give the token the right to \
                  read it, or write the zone as Cloudflare lists it into `zones` of [[edge]]; restart the server, and run the job again.";
    assert_eq!(error, wanted);
    // It keeps nothing of another zone from being purged, and neither does a hostname that is in none.
    shop.cli(&["sites", "hostnames", "add", WWW, "--site", "shop"]);
    shop.cli(&["sites", "hostnames", "add", "shop.example", "--site", "shop"]);
    assert_eq!(shop.purged(1).len(), 1);
    let body = shop.purges(|| shop.deploy(&[("index.html", b"2")]));
    let urls = ["/", "/index.html"].map(|path| ["https", "http"].map(|it| format!("{it}://{WWW}{path}")));
    assert_eq!(body, json!({ "files": urls.concat() }));
}

#[test]
fn a_provider_that_is_away_keeps_nobody_from_publishing() {
    let provider = Provider::start(Kind::Cloudflare, ZONE);
    let port = free_port();
    let settings = provider.edge("cloudflare").replace(&provider.api(), &format!("https://localhost:{port}/v9"));
    let host = Host::start_configured(&settings);
    let key = host.key(OWNER, "super-admin");
    let shop = Shop { host, key, provider };
    shop.deploy(&[("index.html", b"1")]);
    shop.cli(&["sites", "hostnames", "add", WWW, "--site", "shop"]);
    shop.deploy(&[("index.html", b"2")]);
    assert_eq!(shop.get("/", "").text(), "2");
    let job = shop.job(is_put_off);
    let error = job["error"].as_str().unwrap();
    assert!(
        error.contains("Cloudflare is not reached from this server.") && error.ends_with("It is tried again."),
        "{error}"
    );
    // It is asked again more often than the queue has attempts, and the sentence stays.
    let tries = || shop.host.log().matches("caches were not purged").count();
    shop.host.until_within(PATIENCE, LOOK, "more tries", || (tries() > 8).then_some(()));
    assert_eq!(shop.job(is_put_off)["error"], error);
}

#[test]
fn a_webhook_is_signed() {
    let shop = Shop::start("webhook", &[("index.html", b"1"), ("a.css", b"1")]);
    let body = shop.purges(|| shop.deploy(&[("a.css", b"2")]));
    let urls = ["https", "http"].map(|it| format!("{it}://{WWW}/a.css"));
    assert_eq!(body, json!({ "event": "purge", "zone": ZONE, "site": "shop", "urls": urls }));
    for it in shop.provider.purges() {
        let (time, signed) = it.signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
        let text = [time.as_bytes(), b".", &it.raw].concat();
        assert_eq!(signed, data_encoding::HEXLOWER.encode(&hash::hmac(TOKEN.as_bytes(), &text)));
    }
}

#[test]
fn without_caches_nobody_is_asked() {
    let host = Host::start();
    let key = host.key(OWNER, "super-admin");
    let shop = Shop { host, key, provider: Provider::start(Kind::Cloudflare, ZONE) };
    shop.deploy(&[("index.html", b"1")]);
    shop.cli(&["sites", "hostnames", "add", WWW, "--site", "shop"]);
    shop.deploy(&[("index.html", b"2")]);
    let told = shop.set(&json!({ "caching": { "edge": true } }));
    assert!(told["warnings"][0].as_str().unwrap().contains("for up to 168 hours"), "{told}");
    let none = shop.api("POST /api/v1/sites/shop/purge", &json!({}), 409);
    assert_eq!(none["code"], "edge_none", "{none}");
    let jobs = shop.api("GET /api/v1/jobs", &Value::Null, 200);
    assert!(!jobs.to_string().contains("Purge caches"), "{jobs}");
    assert!(shop.provider.calls().is_empty());
}
