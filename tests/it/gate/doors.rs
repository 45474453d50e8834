//! Passwords and links.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use chainhost::base::clock::{Clock, rfc3339};
use serde_json::json;

use super::{BROWSER, PASSWORD, Shop, basic, cookie_of, path_of};
use crate::support::http::Kept;

const FILES: &[(&str, &[u8])] = &[
    ("index.html", b"<p>the shop</p>"),
    ("data.bin", b"0123456789"),
    ("style.css", b"body{}"),
    ("_headers", b"/*\n  CDN-Cache-Control: public\n"),
];

fn form(shop: &Shop) {
    shop.person("ada", PASSWORD);
    shop.set(&json!({ "access": { "mode": "form" } }));
}

#[test]
fn a_form_lets_in_who_has_a_password() {
    let shop = Shop::start(FILES);
    form(&shop);
    let asked = shop.get("/data.bin?a=%3Cb%3E&c=d", BROWSER);
    assert_eq!((asked.status, asked.header("cache-control")), (401, Some("no-store")));
    let page = asked.text();
    assert!(page.contains("value=\"/data.bin?a=%3Cb%3E&amp;c=d\""), "{page}");
    assert!(!page.contains("<script") && page.contains("action=\"/.well-known/chainhost/sign-in\""), "{page}");
    assert!(asked.header("content-security-policy").unwrap().contains("form-action 'self'"));
    assert!(shop.get("/", "").text().starts_with("This site asks for a password"), "programs get text");

    let wrong = shop.sign_in(BROWSER, &[("name", "ada"), ("password", "not this one"), ("next", "/data.bin?a")]);
    assert_eq!(wrong.status, 401);
    let page = wrong.text();
    assert!(
        page.contains("is not right") && page.contains("value=\"ada\"") && page.contains("value=\"/data.bin?a\""),
        "{page}"
    );
    assert!(!page.contains("not this one") && wrong.header("set-cookie").is_none());
    let hostile = [("name", "\"><script>a"), ("password", "not this one"), ("next", "/\"><script>b")];
    let page_of_hostile = shop.sign_in(BROWSER, &hostile).text();
    assert!(
        !page_of_hostile.contains("<script") && page_of_hostile.contains("/&quot;&gt;&lt;script&gt;b"),
        "{page_of_hostile}"
    );
    let nobody = shop.sign_in(BROWSER, &[("name", "nobody"), ("password", PASSWORD), ("next", "/data.bin?a")]);
    assert_eq!(nobody.text().replace("nobody", "ada"), page, "the answer does not tell who exists");

    let right = shop.sign_in(BROWSER, &[("name", " ada "), ("password", PASSWORD), ("next", "/data.bin?a")]);
    assert_eq!((right.status, right.header("location")), (303, Some("/data.bin?a")));
    let set = right.header("set-cookie").unwrap();
    assert!(
        set.starts_with("chainhost_guest=")
            && set.contains("; HttpOnly; SameSite=Lax")
            && set.contains("Max-Age=604800"),
        "{set}"
    );
    let cookie = cookie_of(&right);
    let shown = shop.get("/data.bin", &cookie);
    assert_eq!((shown.status, shown.text().as_str()), (200, "0123456789"));
    assert_eq!((shown.header("cache-control"), shown.header("vary")), (Some("private, no-cache"), Some("cookie")));
    assert_eq!(shown.header("cdn-cache-control"), None);
    let etag = format!("If-None-Match: {}\r\n", shown.header("etag").unwrap());

    // What is asked in other words is behind the door too.
    for (line, more) in [
        ("HEAD /data.bin", ""),
        ("OPTIONS /data.bin", ""),
        ("OPTIONS /data.bin", "Origin: https://a.example\r\nAccess-Control-Request-Method: GET\r\n"),
        ("GET /data.bin", "Range: bytes=0-1\r\n"),
        ("GET /data.bin", etag.as_str()),
        ("GET //data.bin", ""),
        ("GET /none", ""),
        ("PUT /data.bin", ""),
        ("GET /.well-known/chainhost/proof/x", ""),
    ] {
        let answer = shop.ask(line, more);
        assert_eq!(answer.status, 401, "{line} {more}");
        assert!(!answer.text().contains("01"), "{line} {more}");
    }
    let link = shown.header("link").unwrap().split(['<', '>']).nth(1).unwrap().to_owned();
    assert!(link.contains("/proof/") && shop.get(&link, "").status == 401);
    let proof = shop.get(&link, &cookie);
    assert_eq!((proof.status, proof.header("cache-control")), (200, Some("private, no-cache")));
    assert_eq!(shop.get("/data.bin", &format!("{cookie}Range: bytes=0-1\r\n")).text(), "01");
    let same = shop.get("/data.bin", &format!("{cookie}{etag}"));
    assert_eq!((same.status, same.header("cache-control")), (304, Some("private, no-cache")));
    let preview = shop.preview();
    assert_eq!(shop.ask_at(&preview, "GET /", "", b"").status, 401);
    assert_eq!(shop.ask_at(&preview, "GET /", &cookie, b"").status, 200);
}

#[test]
fn a_cookie_is_worth_nothing_elsewhere_or_later() {
    let shop = Shop::start(FILES);
    form(&shop);
    shop.deploy("other", FILES);
    let api = |call: &str, body: &str, status| shop.host.api_json(&shop.key, call, body, status);
    api("PUT /api/v1/sites/other/people/ada", &json!({ "password": PASSWORD }).to_string(), 204);
    api("PATCH /api/v1/sites/other/settings", r#"{"access":{"mode":"form"}}"#, 200);
    let cookie = shop.cookie("ada", PASSWORD);
    assert_eq!(shop.ask_at("other.localhost", "GET /", &cookie, b"").status, 401, "of another site");
    let secure = format!("{cookie}X-Forwarded-Proto: https\r\n");
    assert_eq!(shop.get("/", &secure).status, 401, "by HTTPS only the one with the prefix counts");
    let by_https = shop.sign_in("X-Forwarded-Proto: https\r\n", &[("name", "ada"), ("password", PASSWORD)]);
    let set = by_https.header("set-cookie").unwrap();
    assert!(set.starts_with("__Host-chainhost_guest=") && set.ends_with("; Secure"), "{set}");
    assert_eq!(by_https.header("location"), Some("/"));
    let secure = format!("{}X-Forwarded-Proto: https\r\n", cookie_of(&by_https));
    assert_eq!(shop.get("/", &secure).status, 200);

    // Somebody else's, forged.
    let text = cookie.trim_end().split_once('=').unwrap().1.to_owned();
    let later = text.split('.').enumerate().map(|(at, it)| if at == 2 { "99999999999" } else { it });
    let forged = later.collect::<Vec<_>>().join(".");
    assert_eq!(shop.get("/", &format!("Cookie: chainhost_guest={forged}\r\n")).status, 401);

    assert_eq!(shop.get("/", &cookie).status, 200);
    shop.person("ada", "another password");
    assert_eq!(shop.get("/", &cookie).status, 401, "after another password");
    let cookie = shop.cookie("ada", "another password");
    shop.host.api_json(&shop.key, "DELETE /api/v1/sites/shop/people/ada", "", 204);
    assert_eq!(shop.get("/", &cookie).status, 401, "of somebody who was removed");
    shop.person("ada", "another password");
    assert_eq!(shop.get("/", &cookie).status, 401, "also when there is a new one of the name");

    let cookie = shop.cookie("ada", "another password");
    assert!(shop.get("/.well-known/chainhost/sign-out", BROWSER).text().contains("method=\"post\""));
    let out = shop.ask("POST /.well-known/chainhost/sign-out", &cookie);
    assert_eq!((out.status, out.header("location")), (303, Some("/")));
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"));
    // With settings that are gone the way in is gone too.
    shop.set(&json!({ "access": null }));
    assert_eq!((shop.get("/", "").status, shop.get("/.well-known/chainhost/sign-in", "").status), (200, 404));
}

#[test]
fn nobody_is_sent_elsewhere_and_nothing_is_put_into_a_head() {
    let shop = Shop::start(FILES);
    form(&shop);
    for next in [
        "//evil.example",
        "https://evil.example",
        "/\\evil.example",
        "/\r\nSet-Cookie: a=b",
        "javascript:1",
        "/\u{e9}",
        "",
    ] {
        let answer = shop.sign_in("", &[("name", "ada"), ("password", PASSWORD), ("next", next)]);
        assert_eq!((answer.status, answer.header("location")), (303, Some("/")), "{next:?}");
        assert_eq!(answer.headers.iter().filter(|(name, _)| name == "set-cookie").count(), 1);
    }
    for site in ["cross-site", "same-site"] {
        let fields = [("name", "ada"), ("password", PASSWORD)];
        assert_eq!(shop.sign_in(&format!("Sec-Fetch-Site: {site}\r\n"), &fields).status, 400, "{site}");
    }
    let call = "POST /.well-known/chainhost/sign-in";
    for body in ["", "name=ada", "name=ada&name=ada&password=x", &format!("name=ada&password={}", "x".repeat(40_000))] {
        assert_eq!(shop.ask_at("shop.localhost", call, "", body.as_bytes()).status, 400, "{}", body.len());
    }
    let made = shop.link(&json!({}));
    let link = path_of(made["url"].as_str().unwrap());
    for (rest, to) in [("", "/"), ("/a%20b?c=d", "/a%20b?c=d"), ("//evil.example", "/"), ("/\\evil.example", "/")] {
        let answer = shop.get(&format!("{link}{rest}"), "");
        // A backslash may be refused before anybody looks at it.
        if answer.status != 400 {
            assert_eq!((answer.status, answer.header("location")), (303, Some(to)), "{rest}");
        }
    }
}

#[test]
fn a_link_opens_a_site_until_it_ends_or_is_taken_back() {
    let shop = Shop::start(FILES);
    shop.set(&json!({ "access": { "mode": "basic" } }));
    let told = |words: &[&str]| {
        let out = shop.host.cli(&shop.key, words);
        assert!(out.status.success(), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
        (String::from_utf8(out.stdout).unwrap(), String::from_utf8(out.stderr).unwrap())
    };
    let (url, note) = told(&["sites", "links", "add", "shop", "--note", "for the press", "--path", "/data.bin"]);
    let (url, id) = (url.trim(), note.trim().rsplit(' ').next().unwrap().to_owned());
    assert!(url.starts_with("http://shop.localhost:") && url.ends_with("/data.bin"), "{url} {note}");
    let opened = shop.get(&path_of(url), "");
    assert_eq!((opened.status, opened.header("location")), (303, Some("/data.bin")));
    assert_eq!(
        (opened.header("cache-control"), opened.header("referrer-policy")),
        (Some("no-store"), Some("no-referrer"))
    );
    let cookie = cookie_of(&opened);
    let shown = shop.get("/data.bin", &cookie);
    assert_eq!((shown.status, shown.header("vary")), (200, Some("authorization, cookie")));
    let listed = told(&["sites", "links", "list", "shop"]).0;
    assert!(listed.contains(&id) && listed.contains("for the press"), "{listed}");
    let secret = url.split("/link/").nth(1).unwrap().split('/').next().unwrap().to_owned();
    let as_json = told(&["sites", "links", "list", "shop", "--json"]).0;
    assert!(as_json.contains("expires_at") && !as_json.contains(&secret) && !as_json.contains("url"), "{as_json}");
    let log = shop.host.until("its line in the access log", || {
        let log = std::fs::read_to_string(&shop.log).ok()?;
        log.contains("/chainhost/link/-/data.bin").then_some(log)
    });
    assert!(!log.contains(&secret), "{log}");

    told(&["sites", "links", "remove", "shop", &id]);
    assert_eq!(shop.get("/data.bin", &cookie).status, 401);
    let gone = shop.get(&path_of(url), BROWSER);
    assert_eq!((gone.status, gone.header("set-cookie")), (403, None));
    assert!(gone.text().contains("Ask whoever gave it to you"), "{}", gone.text());

    let short = rfc3339(Clock::system().now_ms() + 2_500);
    let made = shop.link(&json!({ "expires_at": short }));
    let opened = shop.get(&path_of(made["url"].as_str().unwrap()), "");
    let cookie = cookie_of(&opened);
    shop.host.until("the link to end", || (shop.get("/", &cookie).status == 401).then_some(()));
    assert_eq!(shop.get(&path_of(made["url"].as_str().unwrap()), "").status, 403);
    for (body, field) in [
        (json!({ "expires_at": "2020-01-01T00:00:00Z" }), "expires_at"),
        (json!({ "expires_at": "2999-01-01T00:00:00Z" }), "expires_at"),
        (json!({ "expires_at": "soon" }), "expires_at"),
        (json!({ "path": "//evil.example\r\n" }), "path"),
        (json!({ "note": "a\nb" }), "note"),
    ] {
        let refused = shop.host.api_json(&shop.key, "POST /api/v1/sites/shop/links", &body.to_string(), 400);
        assert_eq!(refused["field"], field, "{body}");
    }
}

#[test]
fn browsers_ask_by_themselves_and_a_flood_of_wrong_passwords_stops_nobody_else() {
    let shop = Shop::start(FILES);
    shop.deploy("other", FILES);
    let told = shop.set(&json!({ "access": { "mode": "basic" } }));
    assert!(told["warnings"][0].as_str().unwrap().contains("Nobody can open"), "{told}");
    assert_eq!(shop.get("/", &basic(b"ada", b"x")).status, 401, "nobody has a password yet");
    shop.person("%C3%A9va", PASSWORD);
    shop.person("ada", "pa\u{df}wort mit :");
    let asked = shop.get("/", BROWSER);
    assert_eq!(
        (asked.status, asked.header("www-authenticate")),
        (401, Some("Basic realm=\"shop\", charset=\"UTF-8\""))
    );
    for (name, password) in [
        ("\u{e9}va".as_bytes(), PASSWORD.as_bytes()),
        (b"\xe9va", PASSWORD.as_bytes()),
        (b"e\xcc\x81va", PASSWORD.as_bytes()),
        (b"ada", "pa\u{df}wort mit :".as_bytes()),
        (b"ada", b"pa\xdfwort mit :"),
    ] {
        let shown = shop.get("/", &basic(name, password));
        assert_eq!((shown.status, shown.header("cache-control")), (200, Some("private, no-cache")), "{name:?}");
    }
    let by_http2 = Command::new("curl")
        .args(["--silent", "--http2-prior-knowledge", "--user", &format!("\u{e9}va:{PASSWORD}"), "--resolve"])
        .arg(format!("shop.localhost:{}:127.0.0.1", shop.host.port))
        .args([
            "--write-out",
            "%{http_version} %{http_code}",
            &format!("http://shop.localhost:{}/data.bin", shop.host.port),
        ])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&by_http2.stdout), "01234567892 200");

    let (flooder, guesser) = ("X-Forwarded-For: 203.0.113.9\r\n", "X-Forwarded-For: 203.0.113.10\r\n");
    let right = basic(b"ada", "pa\u{df}wort mit :".as_bytes());
    assert_eq!(shop.get("/", &format!("{flooder}{right}")).status, 200);
    let mut line = Kept::open(shop.host.port).unwrap();
    let (mut wrong, mut refused) = (0, 0);
    for number in 0..10_000 {
        let more = format!("{flooder}{}", basic(b"ada", format!("wrong {number}").as_bytes()));
        let crate::support::http::Fate::Whole(answer) = line.get("shop.localhost", "/", &more) else { panic!("cut") };
        match answer.status {
            401 => wrong += 1,
            429 => {
                assert!((1..=301).contains(&answer.header("retry-after").unwrap().parse::<u64>().unwrap()));
                refused += 1;
            }
            other => panic!("{other}"),
        }
    }
    assert_eq!((wrong, refused), (10, 9_990));
    assert_eq!(shop.get("/", &right).status, 200, "others are let in as ever");
    assert_eq!(shop.ask_at("other.localhost", "GET /", flooder, b"").status, 200);
    // What was right before from there stays so without another hash; what would need one has to wait.
    assert_eq!(shop.get("/", &format!("{flooder}{right}")).status, 200);
    // What others got right tells nobody who guesses.
    for number in 0..10 {
        let wrong = basic(b"ada", format!("wrong {number}").as_bytes());
        assert_eq!(shop.get("/", &format!("{guesser}{wrong}")).status, 401);
    }
    assert_eq!(shop.get("/", &format!("{guesser}{right}")).status, 429);
    shop.person("ada", "a new password");
    let new = basic(b"ada", b"a new password");
    assert_eq!(shop.get("/", &format!("{flooder}{new}")).status, 429);
    assert_eq!(shop.get("/", &right).status, 401);
    assert_eq!(shop.get("/", &new).status, 200);
}

#[test]
fn only_some_paths_are_behind_the_door_and_no_way_leads_around_it() {
    let shop = Shop::start(&[
        ("index.html", b"front"),
        ("intern/index.html", b"secret"),
        ("intern/plan.txt", b"secret"),
        ("intern.html", b"secret"),
        ("Intern/x.txt", b"secret"),
        ("internal.txt", b"open"),
        ("_redirects", b"/plan /intern/plan.txt 200\n/gone /intern/plan.txt 404\n/go /internal.txt 200\n"),
    ]);
    shop.person("ada", PASSWORD);
    shop.set(&json!({ "access": { "mode": "basic", "paths": ["/intern"] } }));
    for path in [
        "/intern",
        "/intern/",
        "/intern/plan.txt",
        "/intern.html",
        "/Intern/x.txt",
        "/%69ntern/plan.txt",
        "/%2569ntern/plan.txt",
        "//intern/plan.txt",
        "/intern//plan.txt",
        "/./intern/plan.txt",
        "/x/../intern/plan.txt",
        "/x/%2e%2e/intern/plan.txt",
        "/intern%2fplan.txt",
        "/plan",
        "/gone",
        "/.well-known/chainhost/proof/00",
    ] {
        let answer = shop.get(path, "");
        assert!([400, 401].contains(&answer.status), "{path}: {}", answer.status);
        assert!(!answer.text().contains("secret"), "{path}");
    }
    for path in ["/", "/internal.txt", "/go"] {
        let answer = shop.get(path, "");
        assert_eq!(
            (answer.status, answer.header("vary")),
            (200, shop.get("/internal.txt", "").header("vary")),
            "{path}"
        );
        assert!(!answer.header("cache-control").unwrap().contains("private"), "{path}");
    }
    let right = basic(b"ada", PASSWORD.as_bytes());
    for (path, status) in [("/intern/", 200), ("/intern/plan.txt", 200), ("/plan", 200), ("/gone", 404)] {
        let answer = shop.get(path, &right);
        assert_eq!((answer.status, answer.text().as_str()), (status, "secret"), "{path}");
        assert_eq!(answer.header("cache-control"), Some("private, no-cache"), "{path}");
    }
    for wrong in ["intern", "/a//b", "/a/*", "/.well-known/chainhost"] {
        assert_eq!(shop.refused(&json!({ "access": { "paths": [wrong] } })).0, "access.paths", "{wrong}");
    }
}

#[test]
fn who_is_let_in_is_shown_by_name_alone_and_set_by_calls_of_its_own() {
    let shop = Shop::start(FILES);
    let mut child = Command::new(crate::support::PROGRAM)
        .args(["sites", "people", "add", "shop", "ada"])
        .env("CHAINHOST_SERVER", shop.host.url())
        .env("CHAINHOST_KEY", &shop.key)
        .env("HOME", shop.host.beside("home"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(format!("{PASSWORD}\n").as_bytes()).unwrap();
    let said = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(said, "ada can open shop with that password.\n");
    shop.set(&json!({ "access": { "mode": "basic" } }));
    assert_eq!(shop.get("/", &basic(b"ada", PASSWORD.as_bytes())).status, 200);
    let people = shop.host.api_json(&shop.key, "GET /api/v1/sites/shop/people", "", 200);
    assert_eq!(people["items"][0]["name"], "ada");
    let settings = shop.host.api_json(&shop.key, "GET /api/v1/sites/shop/settings", "", 200);
    let audit = shop.host.api_json(&shop.key, "GET /api/v1/audit", "", 200).to_string();
    for told in [people.to_string(), settings.to_string(), audit.clone(), shop.host.log()] {
        assert!(!told.contains("argon2id") && !told.contains(PASSWORD), "{told}");
    }
    assert_eq!(settings, json!({ "access": { "mode": "basic" } }));
    assert!(audit.contains("gave ada a password for shop"), "{audit}");
    let (_, sentence) = shop.refused(&json!({ "guests": { "people": [] } }));
    assert!(sentence.contains("chainhost sites people"), "{sentence}");
    for (name, password, field) in [
        ("a%3Ab", PASSWORD, "name"),
        ("%20ada", PASSWORD, "name"),
        ("ada", "short", "password"),
        ("ada", "with\na line", "password"),
    ] {
        let body = json!({ "password": password }).to_string();
        let refused = shop.host.api_json(&shop.key, &format!("PUT /api/v1/sites/shop/people/{name}"), &body, 400);
        assert_eq!(refused["field"], field, "{refused}");
    }
    shop.host.api_json(&shop.key, "DELETE /api/v1/sites/shop/people/bob", "", 404);
    let out = shop.host.cli(&shop.key, &["sites", "people", "remove", "shop", "ada"]);
    assert!(out.status.success());
    assert_eq!(shop.get("/", &basic(b"ada", PASSWORD.as_bytes())).status, 401);
}

#[test]
fn a_browser_without_scripts_signs_in_by_the_form() {
    let shop = Shop::start(&[("a b.txt", b"what is behind the door")]);
    form(&shop);
    let tools = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/panel");
    assert!(tools.join("node_modules/playwright-core").is_dir(), "run `npm ci` in tests/panel, as tests/run does");
    let address = format!("http://shop.localhost:{}/a%20b.txt?c=d&e=%22", shop.host.port);
    let mut node = Command::new("node");
    node.arg(tools.join("guest.mjs")).args([&address, "ada", PASSWORD]).arg(shop.log.parent().unwrap());
    let out = node.output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{said}{}", String::from_utf8_lossy(&out.stderr));
    let seen: serde_json::Value = serde_json::from_str(&said).unwrap();
    let wanted = json!({
        "asked": 401, "focused": 1, "kept": "ada", "at": true, "text": "what is behind the door", "complaints": [],
        "told": "The name or the password is not right. Try again, or ask whoever gave them to you.",
        "cookie": { "name": "chainhost_guest", "httpOnly": true, "sameSite": "Lax" },
    });
    assert_eq!(seen, wanted);
}
