//! Maintenance, hotlinks, CORS and error pages.

use serde_json::json;

use super::{BROWSER, Shop, basic, cookie_of, path_of};

const FILES: &[(&str, &[u8])] = &[
    ("index.html", b"<p>the shop</p>"),
    ("closed.html", b"<p>our own page</p>"),
    ("photo.png", b"png"),
    ("api/data.json", b"{}"),
    ("_headers", b"/api/*\n  Access-Control-Allow-Origin: https://of-the-files.example\n/closed.html\n  X-Own: yes\n"),
];

#[test]
fn during_maintenance_visitors_hear_when_to_come_back() {
    let shop = Shop::start(FILES);
    let normal = shop.get("/", "");
    shop.set(&json!({ "maintenance": { "on": true, "text": "We <paint> the walls.", "retry_after_s": 90, "allow": ["203.0.113.0/24", "2001:db8::7"] } }));
    let closed = shop.get("/", BROWSER);
    assert_eq!(
        (closed.status, closed.header("retry-after"), closed.header("cache-control")),
        (503, Some("90"), Some("no-store"))
    );
    assert!(
        closed.text().contains("We &lt;paint&gt; the walls.")
            && closed.text().contains("<h1>This site is being worked on</h1>")
    );
    assert_eq!(shop.get("/none", "").text(), "This site is being worked on. We <paint> the walls.\n");
    let preview = shop.preview();
    let head = shop.ask("HEAD /photo.png", "");
    assert_eq!((head.status, head.body.len()), (503, 0));
    for (host, line) in [
        ("shop.localhost", "POST /"),
        ("shop.localhost", "OPTIONS /"),
        (&preview, "GET /"),
        ("shop.localhost", "GET /.well-known/chainhost/proof/x"),
    ] {
        assert_eq!(shop.ask_at(host, line, "", b"").status, 503, "{host} {line}");
    }
    for (address, status) in [("203.0.113.200", 200), ("2001:db8::7", 200), ("203.0.114.1", 503), ("2001:db8::8", 503)]
    {
        assert_eq!(shop.get("/", &format!("X-Forwarded-For: {address}\r\n")).status, status, "{address}");
    }
    // A link opens it only where that was said.
    for (opens, status) in [(true, 200), (false, 503)] {
        let made = shop.link(&json!({ "maintenance": opens }));
        let cookie = cookie_of(&shop.get(&path_of(made["url"].as_str().unwrap()), ""));
        assert_eq!(shop.get("/", &cookie).status, status);
    }

    assert_eq!(shop.set(&json!({ "maintenance": { "page": "/closed.html" } }))["warnings"], json!(null));
    let own = shop.get("/", BROWSER);
    assert_eq!((own.status, own.text().as_str(), own.header("x-own")), (503, "<p>our own page</p>", Some("yes")));
    assert_eq!(
        (own.header("retry-after"), own.header("cache-control"), own.header("etag")),
        (Some("90"), Some("no-store"), None)
    );
    assert!(shop.get("/", "").text().starts_with("This site is being worked on."), "programs get text");
    let doubts = shop.set(&json!({ "maintenance": { "page": "/none.html" } }));
    assert!(doubts["warnings"][0].as_str().unwrap().contains("`/none.html`"), "{doubts}");
    assert!(shop.get("/", BROWSER).text().contains("We &lt;paint&gt;"), "the host's page where there is no file");
    for (patch, field) in [
        (json!({ "allow": ["10.0.0.0/33"] }), "maintenance.allow"),
        (json!({ "retry_after_s": 0 }), "maintenance.retry_after_s"),
        (json!({ "page": "closed.html" }), "maintenance.page"),
    ] {
        assert_eq!(shop.refused(&json!({ "maintenance": patch })).0, field);
    }

    shop.set(&json!({ "maintenance": null }));
    let open = shop.get("/", "");
    let without_date = |answer: &crate::support::http::Answer| -> Vec<_> {
        answer.headers.iter().filter(|(name, _)| name != "date").cloned().collect()
    };
    assert_eq!((open.status, without_date(&open)), (200, without_date(&normal)));
}

#[test]
fn pages_of_others_do_not_show_files_as_their_own() {
    let shop = Shop::start(FILES);
    shop.set(&json!({ "hotlink": { "on": true, "allow": ["friend.example"] } }));
    let by = |more: &str| shop.get("/photo.png", more).status;
    for (more, status) in [
        ("", 200),
        ("Referer: http://shop.localhost/a\r\n", 200),
        ("Referer: https://friend.example/a\r\n", 200),
        ("Referer: https://thief.example/a\r\n", 403),
        ("Sec-Fetch-Site: cross-site\r\nSec-Fetch-Dest: image\r\n", 403),
        ("Sec-Fetch-Site: cross-site\r\nSec-Fetch-Dest: document\r\nReferer: https://thief.example/\r\n", 200),
    ] {
        assert_eq!(by(more), status, "{more}");
    }
    let preview = shop.preview();
    assert_eq!(by(&format!("Referer: http://{preview}/\r\n")), 200, "another host of the same site");
    let vary = shop.get("/photo.png", "").header("vary").unwrap().to_owned();
    assert!(vary.contains("sec-fetch-site") && vary.contains("referer"), "{vary}");
    let thief = "Referer: https://thief.example/a\r\n";
    assert_eq!(shop.get("/", thief).status, 200, "a page is no picture");
    assert_eq!(shop.get("/PHOTO.PNG", thief).status, 403);
    // What cannot be read here may be the picture to an upstream.
    assert_eq!((shop.get("/%ffphoto.png", thief).status, shop.get("/%ffphoto.png", "").status), (403, 400));
    shop.set(&json!({ "hotlink": { "without_referer": false } }));
    assert_eq!((by(""), by("Sec-Fetch-Site: none\r\n")), (403, 200));
    assert_eq!(shop.refused(&json!({ "hotlink": { "allow": ["https://a.example"] } })).0, "hotlink.allow");
}

#[test]
fn scripts_of_other_origins_read_what_they_may() {
    let shop = Shop::start(FILES);
    let ours = "Origin: https://app.example.org\r\n";
    let allowed =
        |path: &str, more: &str| shop.get(path, more).header("access-control-allow-origin").map(str::to_owned);
    assert_eq!(allowed("/api/data.json", "").as_deref(), Some("https://of-the-files.example"), "as the files say");
    shop.set(&json!({ "cors": {
        "origins": ["https://app.example.org", "https://*.example.net"],
        "methods": ["GET", "PUT"], "headers": ["X-Token"], "expose": ["X-Count"], "credentials": true, "paths": ["/api"], "max_age_s": 60,
    } }));
    let shown = shop.get("/api/data.json", ours);
    for (name, value) in [
        ("access-control-allow-origin", "https://app.example.org"),
        ("access-control-allow-credentials", "true"),
        ("access-control-expose-headers", "X-Count"),
    ] {
        assert_eq!(shown.header(name), Some(value), "{name}");
    }
    assert!(shown.headers.iter().any(|(name, value)| name == "vary" && value == "origin"), "{:?}", shown.headers);
    assert_eq!(shop.get("/api/none", ours).header("access-control-allow-origin"), Some("https://app.example.org"));
    assert_eq!(allowed("/api/data.json", "Origin: https://evil.example\r\n"), None);
    assert_eq!(allowed("/api/data.json", "Origin: null\r\n"), None);
    assert_eq!(allowed("/index.html", ours), None, "only below its paths");
    let preflight = |origin: &str| {
        let more = format!(
            "Origin: {origin}\r\nAccess-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: x-token\r\n"
        );
        shop.ask("OPTIONS /api/data.json", &more)
    };
    let answer = preview_of(&preflight("https://a.b.example.net"));
    assert_eq!(
        answer,
        (204, Some(String::from("https://a.b.example.net")), Some(String::from("GET, PUT")), Some(String::from("60")))
    );
    assert_eq!(preview_of(&preflight("https://example.net")), (204, None, None, None));
    // Browsers send no password with a preflight, and it tells nothing of what is there.
    shop.person("ada", super::PASSWORD);
    shop.set(&json!({ "access": { "mode": "basic" } }));
    assert_eq!(preflight("https://app.example.org").status, 204);
    let asked = shop.get("/api/data.json", ours);
    assert_eq!((asked.status, asked.header("access-control-allow-origin")), (401, Some("https://app.example.org")));
    let right = basic(b"ada", super::PASSWORD.as_bytes());
    assert_eq!(shop.get("/api/data.json", &format!("{ours}{right}")).status, 200);

    let (field, sentence) = shop.refused(&json!({ "cors": { "origins": ["*"] } }));
    assert!(field == "cors.credentials" && sentence.contains("every page of the web"), "{field} {sentence}");
    shop.set(&json!({ "access": null, "cors": { "origins": ["*"], "credentials": null } }));
    let everybody = shop.get("/api/data.json", "");
    assert_eq!(everybody.header("access-control-allow-origin"), Some("*"));
    assert!(!everybody.headers.iter().any(|(name, value)| name == "vary" && value.contains("origin")));
}

/// Status, origin, methods and age of the answer to a preflight.
fn preview_of(answer: &crate::support::http::Answer) -> (u16, Option<String>, Option<String>, Option<String>) {
    let header = |name: &str| answer.header(name).map(str::to_owned);
    (
        answer.status,
        header("access-control-allow-origin"),
        header("access-control-allow-methods"),
        header("access-control-max-age"),
    )
}

#[test]
fn a_site_has_its_own_error_pages() {
    let shop = Shop::start(&[
        ("index.html", b"front"),
        ("photo.png", b"png"),
        ("errors/404.html", b"<p>own 404</p>"),
        ("errors/401.html", b"<p>own 401</p>"),
        ("errors/403.html", b"<p>own 403</p>"),
        ("errors/410.html", b"<p>own 410</p>"),
        ("_redirects", b"/old /nowhere 410\n"),
    ]);
    let told = shop.set(&json!({ "errors": {
        "404": "/errors/404.html", "401": "/errors/401.html", "403": "/errors/403.html", "410": "/errors/410.html", "502": "/none.html",
    } }));
    assert!(told["warnings"][0].as_str().unwrap().contains("`/none.html`") && told["warnings"][1].is_null(), "{told}");
    let own = shop.get("/none", BROWSER);
    assert_eq!((own.status, own.text().as_str()), (404, "<p>own 404</p>"));
    assert_eq!(
        (own.header("cache-control"), own.header("etag"), own.header("accept-ranges")),
        (Some("no-store"), None, None)
    );
    assert_eq!(own.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(shop.get("/none", "Accept: application/json\r\n").text().starts_with("There is no page here"));
    let head = shop.ask("HEAD /none", BROWSER);
    assert_eq!((head.status, head.body.len(), head.header("content-length")), (404, 0, Some("14")));
    assert_eq!(shop.get("/old", BROWSER).text(), "<p>own 410</p>");
    shop.set(&json!({ "hotlink": { "on": true } }));
    let thief = format!("{BROWSER}Referer: https://thief.example/\r\n");
    assert_eq!(shop.get("/photo.png", &thief).text(), "<p>own 403</p>");
    shop.set(&json!({ "access": { "mode": "basic" } }));
    let asked = shop.get("/", BROWSER);
    assert_eq!((asked.status, asked.text().as_str()), (401, "<p>own 401</p>"));
    assert!(asked.header("www-authenticate").is_some());
    // The form is the page where there is a form.
    let told = shop.set(&json!({ "access": { "mode": "form" } }));
    assert!(told["warnings"].to_string().contains("read the form"), "{told}");
    assert!(shop.get("/", BROWSER).text().contains("<form"));
    shop.set(&json!({ "access": null }));

    // What the files themselves bring goes first.
    shop.deploy("shop", &[("404.html", b"<p>of the files</p>")]);
    assert_eq!(shop.get("/none", BROWSER).text(), "<p>of the files</p>");
    assert_eq!(shop.refused(&json!({ "errors": { "418": "/x.html" } })).0, "errors");
    assert_eq!(shop.refused(&json!({ "errors": { "404": "/a/../b" } })).0, "errors.404");
    assert_eq!(shop.refused(&json!({ "errors": { "451": "/x.html" } })).0, "errors", "it would never be shown");
}
