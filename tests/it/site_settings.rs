//! Settings of a site: by the API and by commands, what they do for visitors, and that they stay.

use serde_json::{Value, json};

use crate::{
    faults::{api::Api, tenants::move_to_tenant},
    support::{Host, http, write_files},
};

const OWNER: &str = "owner@example.org";
/// A proxy in front that ends TLS and is believed.
const PROXIED: &str = "trusted_proxies = [\"127.0.0.1\"]\n";

/// A server with a site `shop` under two hostnames.
fn with_site(settings: &str) -> (Host, String) {
    let host = Host::start_configured(settings);
    let key = host.key(OWNER, "super-admin");
    let site = host.beside("shop");
    write_files(&site, &[("index.html", b"<p>the shop</p>"), ("_headers", b"/*\n  X-Own: yes\n")]);
    for words in [
        &["deploy", site.to_str().unwrap(), "--site", "shop", "--create"][..],
        &["sites", "hostnames", "add", "shop.example", "--site", "shop"],
        &["sites", "hostnames", "add", "www.shop.example", "--site", "shop"],
    ] {
        let out = host.cli(&key, words);
        assert!(out.status.success(), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
    }
    (host, key)
}

fn change(host: &Host, key: &str, patch: &Value, status: u16) -> Value {
    host.api_json(key, "PATCH /api/v1/sites/shop/settings", &patch.to_string(), status)
}

/// The status of a page, and where it sends to.
fn asked(host: &Host, name: &str, path: &str, more: &str) -> (u16, Option<String>) {
    let answer = http::ask(host.port, &format!("GET {path} HTTP/1.1\r\nHost: {name}\r\n{more}"), b"");
    (answer.status, answer.header("location").map(str::to_owned))
}

#[test]
fn one_hostname_is_the_sites_own_and_the_others_lead_to_it() {
    let (mut host, key) = with_site(PROXIED);
    let to = |it: &str| (308, Some(it.to_owned()));
    assert_eq!(change(&host, &key, &json!({}), 200), json!({}));
    let canonical = json!({ "addresses": { "canonical": "WWW.shop.example." } });
    assert_eq!(change(&host, &key, &canonical, 200), json!({ "addresses": { "canonical": "www.shop.example" } }));
    assert_eq!(asked(&host, "shop.example", "/a%20b?c=d", ""), to("http://www.shop.example/a%20b?c=d"));
    // Where it is turned round, nobody has kept the old direction.
    let sent = http::ask(host.port, "GET / HTTP/1.1\r\nHost: shop.example\r\n", b"");
    assert_eq!(sent.header("cache-control"), Some("max-age=0, must-revalidate"));
    assert_eq!(
        asked(&host, "shop.localhost:8443", "//evil.example", ""),
        to("http://www.shop.example:8443//evil.example")
    );
    assert_eq!(asked(&host, "shop.example", "/", "X-Forwarded-Proto: https\r\n"), to("https://www.shop.example/"));
    assert_eq!(asked(&host, "www.shop.example", "/", ""), (200, None));
    assert_eq!(asked(&host, "shop.example", "/.well-known/security.txt", "").0, 404, "programs look on the very host");
    let list = host.api_json(&key, "GET /api/v1/sites/shop/deployments", "", 200);
    let preview = list["items"][0]["preview_url"].as_str().unwrap().split("//").nth(1).unwrap().to_owned();
    let preview = preview.split([':', '/']).next().unwrap();
    assert_eq!(asked(&host, preview, "/", ""), (200, None), "a preview stays one");

    // It is kept, on the disk and in the database.
    host.stop();
    host.restart();
    assert_eq!(asked(&host, "shop.example", "/", ""), to("http://www.shop.example/"));
    assert_eq!(
        host.api_json(&key, "GET /api/v1/sites/shop/settings", "", 200)["addresses"]["canonical"],
        "www.shop.example"
    );

    // Nobody is sent where the site is not.
    for other in ["example.net", "shop.example.localhost", "panel.localhost"] {
        let refused = change(&host, &key, &json!({ "addresses": { "canonical": other } }), 400);
        assert_eq!(refused["field"], "addresses.canonical", "{refused}");
    }
    let kept = host.api_json(&key, "DELETE /api/v1/sites/shop/hostnames/www.shop.example", "", 409);
    assert!(kept["detail"].as_str().unwrap().contains("addresses.canonical"), "{kept}");
    change(&host, &key, &json!({ "addresses": { "canonical": "shop.localhost" } }), 200);
    assert_eq!(asked(&host, "shop.example", "/", ""), to("http://shop.localhost/"));
    assert_eq!(host.api(&key, "DELETE /api/v1/sites/shop/hostnames/www.shop.example", b"").status, 204);
    assert_eq!(change(&host, &key, &json!({ "addresses": null }), 200), json!({}));
    assert_eq!(asked(&host, "shop.example", "/", ""), (200, None));
    let log = host.api_json(&key, "GET /api/v1/audit", "", 200).to_string();
    assert!(log.contains("changed the settings of shop: addresses"), "{log}");
}

#[test]
fn browsers_are_told_of_https_by_https_alone() {
    let (host, key) = with_site(PROXIED);
    let by = |proto: &str| format!("GET / HTTP/1.1\r\nHost: shop.example\r\nX-Forwarded-Proto: {proto}\r\n");
    let hsts = |proto: &str| {
        let answer = http::ask(host.port, &by(proto), b"");
        (answer.status, answer.header("strict-transport-security").map(str::to_owned))
    };
    assert_eq!(hsts("https"), (200, None));
    change(&host, &key, &json!({ "addresses": { "hsts": { "max_age_s": 300, "subdomains": true } } }), 200);
    assert_eq!(hsts("https"), (200, Some(String::from("max-age=300; includeSubDomains"))));
    assert_eq!(hsts("http"), (200, None));
    change(&host, &key, &json!({ "addresses": { "https": "always" } }), 200);
    assert_eq!(hsts("https").0, 200);
    let sent = asked(&host, "shop.example", "/x?y", "X-Forwarded-Proto: http\r\n");
    assert_eq!(sent, (308, Some(String::from("https://shop.example/x?y"))));
    assert_eq!(asked(&host, "shop.example", "/", "").0, 200, "nobody says that there is HTTPS in front");
    let refused = change(&host, &key, &json!({ "addresses": { "https": "both" } }), 400);
    assert_eq!(refused["field"], "addresses.https");
}

#[test]
fn settings_are_set_by_a_command_and_mistakes_change_nothing() {
    let (host, key) = with_site("");
    let told = |words: &[&str]| {
        let out = host.cli(&key, &[&["sites", "settings", "shop"], words].concat());
        let (said, wrong) = (String::from_utf8(out.stdout).unwrap(), String::from_utf8(out.stderr).unwrap());
        (out.status.code().unwrap(), said, wrong)
    };
    assert_eq!(told(&[]).1, "All settings of shop are as by default.\n");
    let set = told(&["addresses.canonical=shop.example", "addresses.hsts.max_age_s=300"]);
    assert_eq!(
        (set.0, set.1.as_str()),
        (0, "addresses.canonical=shop.example\naddresses.hsts.max_age_s=300\n"),
        "{}",
        set.2
    );
    let as_json = told(&["--json"]).1;
    for (words, wrong) in [
        (&["adresses.https=always"][..], "there are: addresses"),
        (&["addresses.https"], "no `=`"),
        (&["addresses.https=yes"], "unknown variant `yes`"),
        (&["addresses.canonical=nodots"], "it needs a domain"),
        (&["--file", "/no/such.json"], "cannot be read"),
    ] {
        let (code, _, said) = told(words);
        assert!(code != 0 && said.contains(wrong), "{words:?}: {code} {said}");
    }
    assert_eq!(told(&["--json"]).1, as_json);
    let file = host.beside("settings.json");
    write_files(file.parent().unwrap(), &[("settings.json", br#"{"addresses":{"hsts":null}}"#)]);
    assert_eq!(told(&["--file", file.to_str().unwrap()]).1, "addresses.canonical=shop.example\n");
    assert_eq!(told(&["addresses="]).1, "All settings of shop are as by default.\n");

    for (patch, words) in [
        (json!([]), "The body is not the JSON that is wanted"),
        (json!({ "addresses": { "https": 1 } }), "`addresses` cannot be that"),
        (json!({ "access": {} , "nothing": {} }), "There are no settings"),
    ] {
        let refused = change(&host, &key, &patch, 400);
        assert!(refused["detail"].as_str().unwrap().contains(words), "{refused}");
    }
}

#[test]
fn settings_are_their_tenants_own_and_go_with_the_site() {
    let mut host = Host::start();
    let owner = Api::new(&host, &host.key(OWNER, "super-admin"));
    let thief = owner.with_key(&host.key("thief@example.net", "admin"));
    move_to_tenant(&mut host, "thief@example.net", "other");
    owner.moved(&host);
    let patch = json!({ "addresses": { "https": "always" } });
    owner.must("POST /api/v1/sites", &json!({ "name": "shop" }), 201);
    owner.must("PATCH /api/v1/sites/shop/settings", &patch, 200);
    thief.must("GET /api/v1/sites/shop/settings", &Value::Null, 404);
    thief.must("PATCH /api/v1/sites/shop/settings", &json!({ "addresses": null }), 404);
    owner.must("DELETE /api/v1/sites/shop", &Value::Null, 204);
    owner.must("POST /api/v1/sites", &json!({ "name": "shop" }), 201);
    assert_eq!(owner.must("GET /api/v1/sites/shop/settings", &Value::Null, 200), json!({}));
}

/// Who has read them and changes them then is told when somebody else was quicker (RFC 9110 §13.1.1).
#[test]
fn a_change_may_name_the_settings_that_it_is_for() {
    let (host, key) = with_site("");
    let path = "/api/v1/sites/shop/settings";
    let send = |etag: &str, patch: &Value| {
        let port = host.port;
        let head = format!(
            "PATCH {path} HTTP/1.1\r\nHost: localhost:{port}\r\nAuthorization: Bearer {key}\r\nIf-Match: {etag}\r\n"
        );
        http::ask(port, &head, patch.to_string().as_bytes())
    };
    let etag = |answer: &http::Answer| answer.header("etag").unwrap().to_owned();
    let read = || etag(&host.api(&key, &format!("GET {path}"), b""));
    let first = read();
    assert!(first.starts_with('"') && first.ends_with('"') && first == read(), "{first}");
    let answer = send(&first, &json!({ "maintenance": { "text": "One." } }));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let second = etag(&answer);
    assert!(second != first && second == read());
    for stale in [first.as_str(), "\"other\"", "W/\"other\"", &format!("W/{second}")] {
        let answer = send(stale, &json!({ "maintenance": { "text": "Two." } }));
        let problem: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!((answer.status, &problem["code"]), (412, &json!("site_settings_changed")), "{stale} {problem}");
    }
    assert_eq!(read(), second);
    for fresh in [second.as_str(), "*", &format!("{first}, {second}")] {
        assert_eq!(send(fresh, &json!({ "maintenance": { "text": "One." } })).status, 200, "{fresh}");
    }
    // Without it nobody is asked. What is not shown with the settings is no change of them.
    host.api_json(&key, "PUT /api/v1/sites/shop/people/ada", r#"{"password":"a long enough one"}"#, 204);
    assert_eq!(read(), second);
    change(&host, &key, &json!({ "maintenance": { "text": "Three." } }), 200);
    assert_ne!(read(), second);

    // Of several who have read the same and save at once, one does.
    let etag = read();
    let at_once = |word: usize| send(&etag, &json!({ "maintenance": { "text": format!("By {word}.") } })).status;
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..6).map(|word| scope.spawn(move || at_once(word))).collect();
        all.into_iter().map(|it| it.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|it| **it == 200).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|it| **it == 412).count(), 5, "{statuses:?}");

    // An answer can be sent as it is, with its warnings.
    change(
        &host,
        &key,
        &json!({ "access": { "mode": "form", "paths": ["/a"] }, "errors": { "404": "/none.html" } }),
        200,
    );
    let shown = host.api_json(&key, &format!("GET {path}"), "", 200);
    assert!(shown["warnings"][0].as_str().unwrap().contains("There is no file `/none.html`"), "{shown}");
    assert_eq!(change(&host, &key, &shown, 200), shown);
}

/// A document that a newer program has written, or a hand: what it closes is not known, so nothing stands open.
#[test]
fn a_site_whose_settings_cannot_be_read_is_closed_until_they_are_set_again() {
    let (mut host, key) = with_site("");
    change(&host, &key, &json!({ "addresses": { "https": "always" } }), 200);
    host.stop();
    let written = "UPDATE site_setting SET document = '{\"walls\":{}}'";
    let database = host.data().join("chainhost.db");
    if database.exists() {
        assert_eq!(rusqlite::Connection::open(database).unwrap().execute(written, ()).unwrap(), 1);
    } else {
        let url = host.database_settings().unwrap().url;
        let mut client = postgres::Client::connect(url.expose(), postgres::NoTls).unwrap();
        assert_eq!(client.execute(written, &[]).unwrap(), 1);
    }
    host.restart();
    let closed = host.until("the site to be closed", || {
        let answer = host.get("shop.example", "/");
        (answer.status == 503).then_some(answer)
    });
    assert!(closed.text().contains("Its settings cannot be read"), "{}", closed.text());
    assert!(host.log().contains("the settings of a site cannot be read"));
}
