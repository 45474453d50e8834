//! Countries: databases of every layout, hostile ones, a file that changes, and rules, firewall, figures and logs that ask for them.

use std::{net::IpAddr, path::Path, time::Duration};

use chainhost::base::{
    countries::{Countries, is_inside},
    files::write_atomic,
};
use serde_json::{Value, json};

use crate::support::{
    Host, PATIENCE,
    http::{self, Answer},
    mmdb::{Layout, MARKER, Mmdb, PLAIN, Value as Data, text},
    write_files,
};

const NETWORKS: &[(&str, &str)] = &[
    ("198.51.100.0/24", "DE"),
    ("203.0.113.0/24", "AT"),
    ("203.0.113.128/25", "CH"),
    ("192.0.2.7/32", "fr"),
    ("8.8.8.0/24", "US"),
];
const NETWORKS_6: &[(&str, &str)] = &[("2001:db8:a::/48", "AT"), ("2001:db8:d::/48", "DE")];

fn put(path: &Path, of: &Mmdb<'_>) {
    write_atomic(path, &of.bytes(), 0o600).unwrap();
}

fn found(countries: &Countries, address: &str) -> String {
    countries.find(address.parse().unwrap()).map_or_else(|| String::from("-"), |it| it.to_string())
}

#[test]
fn addresses_are_found_in_each_layout_and_size_of_a_tree() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("countries.mmdb");
    let both = [NETWORKS, NETWORKS_6].concat();
    for layout in [Layout::GeoLite, Layout::IpInfo, Layout::IpInfoBefore, Layout::Registered] {
        for (record_size, ip_version) in [(24, 4), (24, 6), (28, 4), (28, 6), (32, 6)] {
            let networks = if ip_version == 6 { &both[..] } else { NETWORKS };
            put(&path, &Mmdb { layout, record_size, ip_version, networks, ..PLAIN });
            let countries = Countries::open(&path);
            assert_eq!(countries.fault(), None, "{layout:?} {record_size} {ip_version}");
            assert_eq!(countries.about().unwrap().kind, "Test-Country");
            let six = |code: &'static str| if ip_version == 6 { code } else { "-" };
            for (address, wanted) in [
                ("198.51.100.1", "DE"),
                ("::ffff:198.51.100.1", "DE"),
                ("203.0.113.127", "AT"),
                ("203.0.113.128", "CH"),
                ("192.0.2.7", "FR"),
                ("192.0.2.6", "-"),
                ("10.0.0.1", "-"),
                ("127.0.0.1", "-"),
                ("255.255.255.255", "-"),
                ("0.0.0.0", "-"),
                ("2001:db8:a::1", six("AT")),
                ("2001:db8:d:ffff:ffff:ffff:ffff:ffff", six("DE")),
                ("2001:db8:b::1", "-"),
                ("fd00::1", "-"),
                ("::1", "-"),
            ] {
                assert_eq!(found(&countries, address), wanted, "{address} {layout:?} {record_size} {ip_version}");
            }
        }
    }
    let none = Countries::none();
    assert_eq!((found(&none, "8.8.8.8").as_str(), none.is_given(), none.is_known()), ("-", false, false));
    for (address, inside) in [
        ("10.1.2.3", true),
        ("::ffff:192.168.0.1", true),
        ("fe80::1", true),
        ("100.64.0.1", true),
        ("::1", true),
        ("8.8.8.8", false),
        ("203.0.113.1", false),
    ] {
        assert_eq!(is_inside(address.parse().unwrap()), inside, "{address}");
    }
}

/// Reads a file and looks for addresses all over it: what it says of them is of no interest, only that it says so at all.
fn survives(path: &Path, bytes: &[u8]) {
    write_files(path.parent().unwrap(), &[(path.file_name().unwrap().to_str().unwrap(), bytes)]);
    let countries = Countries::open(path);
    for address in ["198.51.100.1", "203.0.113.200", "2001:db8:a::1", "::", "255.255.255.255", "ffff::"] {
        let _ = countries.find(address.parse::<IpAddr>().unwrap());
    }
}

#[test]
fn a_hostile_or_broken_file_neither_panics_nor_hangs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("countries.mmdb");
    for (record_size, ip_version) in [(24, 6), (28, 4)] {
        let bytes = Mmdb { record_size, ip_version, networks: &NETWORKS[..2], ..PLAIN }.bytes();
        let marker = bytes.windows(MARKER.len()).position(|it| it == MARKER).unwrap();
        for at in 0..bytes.len() {
            // Of the many nodes of the long way to IPv4 some are enough.
            if at > 64 && at < marker - 300 && at % 7 != 0 {
                continue;
            }
            survives(&path, &bytes[..at]);
            for value in [0, 0xff, bytes[at] ^ 0x20, bytes[at].wrapping_add(1)] {
                let mut broken = bytes.clone();
                broken[at] = value;
                survives(&path, &broken);
            }
        }
    }
    // A tree that leads back to its root, and records that lead into themselves.
    let whole = Mmdb { ip_version: 4, networks: &[("0.0.0.0/1", "DE"), ("128.0.0.0/1", "AT")], ..PLAIN }.bytes();
    let marker = whole.windows(MARKER.len()).position(|it| it == MARKER).unwrap();
    let of = |tree: [u8; 6], data: &Data| {
        let mut out = tree.to_vec();
        out.extend([0; 16]);
        data.write(&mut out);
        [&out, &whole[marker..]].concat()
    };
    survives(&path, &of([0; 6], &text("DE")));
    let to_first = [0, 0, 17, 0, 0, 17];
    for data in [
        Data::Pointer(0),
        Data::Map(vec![("country", Data::Pointer(0))]),
        Data::Map(vec![("country", Data::Map(vec![("iso_code", Data::Pointer(0))]))]),
        Data::Map(vec![("country", Data::Pointer(u32::MAX))]),
        Data::Map(vec![("a", Data::List(vec![Data::Pointer(0); 20])), ("country", text("DE"))]),
        Data::Map(vec![("country", Data::Map(vec![("iso_code", Data::Number(7))]))]),
        Data::Map(vec![("country", Data::Map(vec![("iso_code", text("D\u{1b}"))]))]),
    ] {
        survives(&path, &of(to_first, &data));
    }
    survives(&path, &[MARKER, &[0xff; 64]].concat());
    survives(&path, &MARKER.repeat(1_000));
}

#[test]
fn what_cannot_be_used_says_which_file_why_and_where_one_comes_from() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    write_files(folder.path(), &[("text.mmdb", b"not a database"), ("empty.mmdb", b"")]);
    let whole = Mmdb { networks: NETWORKS, ..PLAIN }.bytes();
    write_files(folder.path(), &[("cut.mmdb", &whole[..whole.len() - 200])]);
    put(&path("asn.mmdb"), &Mmdb { layout: Layout::Asn, networks: &[("0.0.0.0/1", ""), ("128.0.0.0/1", "")], ..PLAIN });
    for (name, why) in [
        ("none.mmdb", "No such file"),
        (".", "it is no file"),
        ("text.mmdb", "it is no whole file of this format"),
        ("empty.mmdb", "it is no whole file of this format"),
        ("cut.mmdb", "it is no whole file of this format"),
        ("asn.mmdb", "its kind is `Test-ASN`, and its records name no countries"),
    ] {
        let said = Countries::check(&path(name)).unwrap_err().to_string();
        assert!(
            said.contains(why) && said.contains(name) && said.contains("GeoLite2-Country.mmdb (maxmind.com)"),
            "{said}"
        );
    }
    // `chainhost check` says so, with the setting; a server starts all the same.
    write_files(folder.path(), &[("chainhost.toml", b"[geo]\ndatabase = \"cut.mmdb\"\n")]);
    let check = |variable: Option<&Path>| {
        let mut command = std::process::Command::new(crate::support::PROGRAM);
        command.args(["check", "--config"]).arg(path("chainhost.toml"));
        if let Some(file) = variable {
            command.env("CHAINHOST_GEO_DATABASE", file);
        }
        let out = command.output().unwrap();
        (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    let (code, said) = check(None);
    assert!(
        code == Some(2) && said.contains("`database` in [geo], or CHAINHOST_GEO_DATABASE") && said.contains("cut.mmdb"),
        "{code:?} {said}"
    );
    put(&path("good.mmdb"), &Mmdb { networks: NETWORKS, ..PLAIN });
    let (code, said) = check(Some(&path("good.mmdb")));
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_file_that_changed_is_read_again_and_a_broken_one_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("countries.mmdb");
    let countries = Countries::open(&path);
    assert!(countries.is_given() && !countries.is_known() && countries.fault().is_some());
    assert_eq!(countries.look(), None, "the same trouble is told once");
    put(&path, &Mmdb { networks: &[("198.51.100.0/24", "DE")], ..PLAIN });
    assert_eq!(countries.look().unwrap().unwrap().built_ms, 1_795_000_000_000);
    let same = countries.clone();
    assert_eq!((found(&same, "198.51.100.1").as_str(), countries.look(), countries.fault()), ("DE", None, None));
    put(&path, &Mmdb { networks: &[("198.51.100.0/24", "AT")], built_s: 1_796_000_000, ..PLAIN });
    assert!(countries.look().unwrap().is_ok());
    assert_eq!(found(&same, "198.51.100.1"), "AT");
    write_files(folder.path(), &[("countries.mmdb", b"half of it")]);
    assert!(countries.look().unwrap().is_err() && countries.fault().is_some());
    assert_eq!(found(&same, "198.51.100.1"), "AT", "the one before is used");
    std::fs::remove_file(&path).unwrap();
    assert!(countries.look().unwrap().is_err() && countries.is_known());
}

const REDIRECTS: &[u8] = b"/ /at/ 302! Country=at,ch\n/ /de/ 302! Country=de Language=de\n/shop/* /de/shop.html 200 Country=de\n\
    /shop/* /shop.html 200\n/lang /he/ 302 Language=he\n/lang /en/ 302\n/app-4f9a1c77b2.js /de/app.js 200! Country=de\n";
const FILES: &[(&str, &[u8])] = &[
    ("index.html", b"<p>everybody</p>"),
    ("shop.html", b"the shop"),
    ("de/shop.html", b"der Laden"),
    ("de/app.js", b"1"),
    ("app-4f9a1c77b2.js", b"0"),
    ("_redirects", REDIRECTS),
    ("_headers", b"/shop.html\n  Cache-Control: public, max-age=600\n  CDN-Cache-Control: max-age=600\n"),
];

/// A server behind a proxy that is believed, with the site `hello`.
struct Rig {
    host: Host,
    key: String,
    folder: tempfile::TempDir,
}

impl Rig {
    /// `database`: whether it has one.
    fn start(database: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("countries.mmdb");
        put(&path, &Mmdb { networks: &[NETWORKS, NETWORKS_6].concat(), ..PLAIN });
        let geo = if database { format!("[geo]\ndatabase = \"{}\"\n", path.display()) } else { String::new() };
        let settings = format!(
            "trusted_proxies = [\"127.0.0.1\"]\n{geo}[access_log]\nformat = \"json\"\ncountry = true\npath = \"{}\"\n",
            folder.path().join("access.log").display()
        );
        let host = Host::start_configured(&settings);
        let key = host.key("owner@example.org", "super-admin");
        let rig = Self { host, key, folder };
        let site = rig.host.beside("site");
        write_files(&site, FILES);
        rig.host.cli_json(&rig.key, &["deploy", site.to_str().unwrap(), "--site", "hello", "--create", "--json"]);
        rig
    }

    /// What somebody at this address gets, whom the proxy names.
    fn get(&self, path: &str, client: &str, more: &str) -> Answer {
        let head = format!("GET {path} HTTP/1.1\r\nHost: hello.localhost\r\nX-Forwarded-For: {client}\r\n{more}");
        http::ask(self.host.port, &head, b"")
    }

    fn tried(&self, url: &str, country: Option<&str>, language: Option<&str>) -> Value {
        let asked = json!({ "url": url, "country": country, "language": language }).to_string();
        self.host.api_json(&self.key, "POST /api/v1/sites/hello/try", &asked, 200)
    }
}

/// `302 /at/`, `200 the shop`.
fn said(answer: &Answer) -> String {
    format!("{} {}", answer.status, answer.header("location").map_or_else(|| answer.text(), str::to_owned))
}

#[test]
fn rules_hold_by_the_country_of_the_client_and_the_language_of_the_browser() {
    let rig = Rig::start(true);
    let german = "Accept-Language: en;q=0.5, de-AT\r\n";
    for (path, client, more, wanted) in [
        ("/", "203.0.113.1", "", "302 /at/"),
        ("/", "203.0.113.200", "", "302 /at/"),
        ("/", "2001:db8:a::5", "", "302 /at/"),
        ("/", "::ffff:203.0.113.1", "", "302 /at/"),
        ("/", "198.51.100.1", "", "200 <p>everybody</p>"),
        ("/", "198.51.100.1", german, "302 /de/"),
        ("/", "192.0.2.200", german, "200 <p>everybody</p>"),
        ("/", "10.0.0.7", german, "200 <p>everybody</p>"),
        // What stands left of the client is its own word.
        ("/", "203.0.113.1, 192.0.2.200", "", "200 <p>everybody</p>"),
        ("/shop/a", "198.51.100.1", "", "200 der Laden"),
        ("/shop/a", "203.0.113.1", "", "200 the shop"),
        // People may choose.
        ("/shop/a", "203.0.113.1", "Cookie: a=b; nf_country=DE\r\n", "200 der Laden"),
        ("/shop/a", "198.51.100.1", "Cookie: nf_country=xx\r\n", "200 der Laden"),
        ("/lang", "192.0.2.200", "Accept-Language: he\r\n", "302 /he/"),
        ("/lang", "192.0.2.200", "Accept-Language: en, he\r\n", "302 /en/"),
        ("/lang", "192.0.2.200", "Accept-Language: en\r\nCookie: nf_lang=he\r\n", "302 /he/"),
        ("/lang", "192.0.2.200", "", "302 /en/"),
        ("/app-4f9a1c77b2.js", "198.51.100.1", "", "200 1"),
        ("/app-4f9a1c77b2.js", "203.0.113.1", "", "200 0"),
    ] {
        assert_eq!(said(&rig.get(path, client, more)), wanted, "{path} {client} {more}");
    }
    // Nothing that another visitor may get otherwise is kept by a cache of several.
    for (path, client) in
        [("/", "203.0.113.1"), ("/", "192.0.2.1"), ("/shop/a", "203.0.113.1"), ("/app-4f9a1c77b2.js", "203.0.113.1")]
    {
        let got = rig.get(path, client, "");
        assert_eq!(got.header("cache-control"), Some("private, no-cache"), "{path} {client}");
        assert_eq!(got.header("cdn-cache-control"), None, "{path} {client}");
    }
    let got = rig.get("/lang", "192.0.2.1", "");
    assert_eq!((got.header("cache-control"), got.header("vary")), (Some("private, no-cache"), Some("accept-language")));
    let etag = rig.get("/app-4f9a1c77b2.js", "203.0.113.1", "").header("etag").unwrap().to_owned();
    let kept = rig.get("/app-4f9a1c77b2.js", "203.0.113.1", &format!("If-None-Match: {etag}\r\n"));
    assert_eq!((kept.status, kept.header("cache-control")), (304, Some("private, no-cache")));
    assert_eq!(said(&rig.get("/app-4f9a1c77b2.js", "198.51.100.1", &format!("If-None-Match: {etag}\r\n"))), "200 1");
    // What depends on nobody is kept as before.
    let plain = rig.get("/shop.html", "203.0.113.1", "");
    assert_eq!(
        (plain.header("cache-control"), plain.header("cdn-cache-control")),
        (Some("public, max-age=600"), Some("max-age=600"))
    );
    assert!(
        rig.get("/de/app.js", "198.51.100.1", "").header("cache-control").is_some_and(|it| !it.contains("private"))
    );
}

#[test]
fn the_tester_says_what_a_visitor_from_a_country_gets() {
    let rig = Rig::start(true);
    for (url, client, country, language) in [
        ("/", "203.0.113.1", Some("at"), None),
        ("/", "198.51.100.1", Some("DE"), Some("de-CH,en;q=0.1")),
        ("/", "198.51.100.1", Some("de"), Some("en")),
        ("/shop/a", "198.51.100.1", Some("de"), None),
        ("/shop/a", "192.0.2.200", None, None),
        ("/lang", "192.0.2.200", None, Some("he")),
        ("/app-4f9a1c77b2.js", "203.0.113.1", Some("at"), None),
    ] {
        let header = language.map_or_else(String::new, |it| format!("Accept-Language: {it}\r\n"));
        let (got, said) = (rig.get(url, client, &header), rig.tried(url, country, language));
        assert_eq!(
            (&said["status"], said["location"].as_str()),
            (&json!(got.status), got.header("location")),
            "{url} {said}"
        );
        let head = |name: &str| {
            let all = said["headers"].as_array().unwrap().iter().filter(|it| it["name"] == name);
            all.map(|it| it["value"].as_str().unwrap()).collect::<Vec<_>>().join(", ")
        };
        for name in ["cache-control", "cdn-cache-control", "vary"] {
            let wanted: Vec<_> = got.headers.iter().filter(|it| it.0 == name).map(|it| it.1.as_str()).collect();
            assert_eq!(head(name), wanted.join(", "), "{url} {name}");
        }
    }
    let verdict = |of: &Value, at: usize| {
        (of["redirects"][at]["verdict"].clone(), of["redirects"][at]["why"].as_str().unwrap().to_owned())
    };
    let said = rig.tried("/", Some("fr"), None);
    assert_eq!(
        verdict(&said, 0),
        (json!("country"), String::from("It fits the path, but France is not in `Country=AT,CH`."))
    );
    let said = rig.tried("/", Some("de"), Some("en"));
    assert_eq!(verdict(&said, 1).1, "It fits the path, but the language `en` is not in `Country=DE Language=de`.");
    assert!(verdict(&rig.tried("/", None, None), 0).1.ends_with("no country was named to try it with."));
    let problem = rig.host.api_json(&rig.key, "POST /api/v1/sites/hello/try", r#"{"url":"/","country":"uk"}"#, 400);
    assert!(problem["field"] == "country" && problem["detail"].as_str().unwrap().contains("`gb`"), "{problem}");
    let out = rig.host.cli(&rig.key, &["sites", "try", "hello", "/", "--country", "at"]);
    let shown = String::from_utf8(out.stdout).unwrap();
    assert!(shown.starts_with("/ → 302 /at/\n") && shown.contains("/ /at/ 302! Country=AT,CH"), "{shown}");
    let mut browser = crate::support::browser::Browser::signed_in(&rig.host, "owner@example.org");
    let page = browser.page("/sites/hello/rules?url=/&country=CH&language=en");
    for part in [
        "Visitors are sent to <span class=\"mono\">/at/</span>",
        "<option value=\"CH\" selected>Switzerland</option>",
        "Country=AT,CH",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let page = browser.page("/settings");
    assert!(page.contains("Test-Country, made") && page.contains("countries.mmdb"), "{page}");
}

#[test]
fn without_a_database_a_deploy_works_and_says_what_is_to_be_done() {
    let rig = Rig::start(false);
    let log = rig.host.api_json(&rig.key, "GET /api/v1/sites/hello/deployments/1/log", "", 200);
    let lines: Vec<_> = log["lines"].as_array().unwrap().iter().map(|it| it["text"].as_str().unwrap()).collect();
    let told = lines.iter().find(|it| it.contains("holds for nobody")).unwrap_or_else(|| panic!("{lines:?}"));
    assert!(
        told.starts_with("The rule for `/`, as each with `Country=`") && told.contains("`database` in [geo]"),
        "{told}"
    );
    assert_eq!(said(&rig.get("/", "203.0.113.1", "")), "200 <p>everybody</p>");
    assert_eq!(said(&rig.get("/", "203.0.113.1", "Cookie: nf_country=AT\r\n")), "200 <p>everybody</p>");
    assert_eq!(said(&rig.get("/lang", "203.0.113.1", "Accept-Language: he\r\n")), "302 /he/", "languages need none");
    let tried = rig.tried("/", Some("at"), None);
    let why = tried["redirects"][0]["why"].as_str().unwrap();
    assert!(tried["status"] == 200 && why.contains("holds for nobody") && why.contains("[geo]"), "{tried}");
    let rules = json!({ "firewall": { "rules": [{ "name": "far", "countries": ["US"] }] } }).to_string();
    let problem = rig.host.api_json(&rig.key, "PATCH /api/v1/sites/hello/settings", &rules, 400);
    assert!(
        problem["code"] == "no_countries" && problem["detail"].as_str().unwrap().contains("`database` in [geo]"),
        "{problem}"
    );
    assert!(!rig.host.get("localhost", "/metrics").text().contains("chainhost_country_database"));
}

/// Who has set rules for countries reads what they do not do, wherever these are shown.
#[test]
fn it_is_said_that_no_country_is_known_and_what_happens_then() {
    let rig = Rig::start(true);
    let call = "PATCH /api/v1/sites/hello/settings";
    let path = "GET /api/v1/sites/hello/settings";
    let rules = json!([
        { "name": "look", "countries": ["FR"], "do": "log" },
        { "name": "only here", "not_countries": ["DE"] },
    ]);
    let set = |rules: &Value, status| {
        rig.host.api_json(&rig.key, call, &json!({ "firewall": { "rules": rules } }).to_string(), status)
    };
    let mut browser = crate::support::browser::Browser::signed_in(&rig.host, "owner@example.org");
    let mut protection = || browser.page("/sites/hello/settings/protection");
    assert!(set(&rules, 200).get("warnings").is_none() && !protection().contains("Not as it seems"));
    assert_eq!(rig.get("/shop.html", "8.8.8.8", "").status, 403);

    // The file goes, and with a restart what was read of it.
    let file = rig.folder.path().join("countries.mmdb");
    std::fs::remove_file(&file).unwrap();
    let mut rig = rig;
    rig.host.stop();
    rig.host.restart();
    assert_eq!(rig.get("/shop.html", "8.8.8.8", "").status, 200, "lets all in");
    let said = "The rule `only here` of the firewall, as each that asks for countries, fits nobody, since the server's database of them cannot \
                be read now: whoever it is to keep out gets in.";
    let shown = rig.host.api_json(&rig.key, path, "", 200);
    assert!(shown["warnings"][0].as_str().unwrap().starts_with(said), "{shown}");
    let out = rig.host.cli(&rig.key, &["sites", "settings", "hello"]);
    assert!(String::from_utf8_lossy(&out.stderr).contains(said), "{}", String::from_utf8_lossy(&out.stderr));
    let mut browser = crate::support::browser::Browser::signed_in(&rig.host, "owner@example.org");
    for page in ["/sites/hello/settings/protection", "/sites/hello/settings"] {
        let page = browser.page(page);
        assert!(page.contains("Not as it seems") && page.contains("whoever it is to keep out gets in."), "{page}");
    }
    let page = browser.page("/sites/hello/rules?url=/");
    assert!(page.contains("hold for nobody") && page.contains("until it can be, the rules behind it answer"), "{page}");

    // Without any database: rules that are set stay beside others that are new, and none more is taken.
    rig.host.stop();
    write_files(&rig.host.beside(""), &[("chainhost.toml", b"trusted_proxies = [\"127.0.0.1\"]\n")]);
    rig.host.restart();
    let set = |rules: &Value, status| {
        rig.host.api_json(&rig.key, call, &json!({ "firewall": { "rules": rules } }).to_string(), status)
    };
    let shown = rig.host.api_json(&rig.key, path, "", 200);
    let said = shown["warnings"][0].as_str().unwrap();
    assert!(said.contains("this server has no database of them") && said.contains("`database` in [geo]"), "{said}");
    let mut more = rules.clone();
    more.as_array_mut().unwrap().push(json!({ "name": "path", "path": "/a" }));
    set(&more, 200);
    more[2] = json!({ "name": "path", "countries": ["US"] });
    assert_eq!(set(&more, 400)["code"], "no_countries");
    let allowing = json!([{ "name": "ours", "path": "/a", "not_countries": ["DE"], "do": "allow" }]);
    assert_eq!(set(&allowing, 400)["code"], "no_countries");
    assert!(set(&json!([rules[0]]), 200)["warnings"][0].as_str().unwrap().contains("nothing of it is told in the log"));
    assert!(set(&json!(null), 200).get("warnings").is_none());
}

/// A file that is of no use is read once, and again when it is another one.
#[test]
fn a_broken_file_is_not_read_again_and_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("countries.mmdb");
    let whole = Mmdb { networks: NETWORKS, ..PLAIN }.bytes();
    let stamp = std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    // In place, so that size and times tell one from the other, and nothing else does.
    let write = |bytes: &[u8], at: std::time::SystemTime| {
        use std::io::Write as _;
        let mut file = std::fs::OpenOptions::new().write(true).truncate(true).create(true).open(&path).unwrap();
        file.write_all(bytes).unwrap();
        file.set_modified(at).unwrap();
    };
    write(&vec![b'x'; whole.len()], stamp);
    let countries = Countries::open(&path);
    let fault = countries.fault().unwrap();
    assert_eq!(countries.look(), None, "it is told once");
    write(&whole, stamp);
    assert_eq!((countries.look(), countries.fault()), (None, Some(fault)), "it was read again");
    write(&whole, stamp + Duration::from_secs(1));
    assert!(countries.look().unwrap().is_ok() && countries.fault().is_none());
    // Beside one that is used, which stays.
    let other = stamp + Duration::from_secs(2);
    write(&vec![b'y'; whole.len()], other);
    assert!(countries.look().unwrap().is_err());
    write(&vec![b'z'; whole.len()], other);
    assert_eq!(countries.look(), None);
    assert_eq!(found(&countries, "8.8.8.8"), "US");
    write(&whole[..whole.len() - 1], other);
    assert!(countries.look().is_none_or(|it| it.is_err()), "another size is another file");
    // One that cannot be read at all may be there the next time.
    std::fs::remove_file(&path).unwrap();
    assert!(countries.look().unwrap().is_err() && countries.look().is_none());
    write(&whole, stamp + Duration::from_secs(1));
    assert!(countries.look().is_some_and(|it| it.is_ok()) || countries.fault().is_none());
    assert_eq!(found(&countries, "8.8.8.8"), "US");
}

#[test]
fn the_firewall_knows_countries_and_their_absence() {
    let rig = Rig::start(true);
    let set = |rules: Value| {
        let patch = json!({ "firewall": { "rules": rules } }).to_string();
        rig.host.api_json(&rig.key, "PATCH /api/v1/sites/hello/settings", &patch, 200);
    };
    let status = |client: &str, more: &str| rig.get("/shop.html", client, more).status;
    set(json!([{ "name": "far", "countries": ["us", "AT"] }]));
    for (client, wanted) in [
        ("8.8.8.8", 403),
        ("203.0.113.1", 403),
        ("2001:db8:a::1", 403),
        ("198.51.100.1", 200),
        ("192.0.2.200", 200),
        ("10.0.0.1", 200),
    ] {
        assert_eq!(status(client, ""), wanted, "{client}");
    }
    assert_eq!(status("203.0.113.1", "Cookie: nf_country=DE\r\n"), 403, "nobody talks themselves in");
    set(json!([{ "name": "only here", "not_countries": ["DE", "AT"] }]));
    for (client, wanted) in [
        ("203.0.113.1", 200),
        ("198.51.100.1", 200),
        ("8.8.8.8", 403),
        ("203.0.113.200", 403),
        ("192.0.2.200", 403),
        ("2001:db8:ffff::1", 403),
        ("10.0.0.1", 200),
        ("192.168.1.1", 200),
        ("fd00::1", 200),
    ] {
        assert_eq!(status(client, ""), wanted, "{client}");
    }
    set(json!([{ "name": "look", "countries": ["US"], "do": "log" }]));
    assert_eq!(status("8.8.8.8", ""), 200);
    rig.host.until_within(PATIENCE, Duration::from_millis(250), "the line of the log", || {
        rig.host.log().contains("rule=\"look\"").then_some(())
    });
}

#[test]
fn figures_logs_and_metrics_have_countries_and_a_new_file_is_taken() {
    let rig = Rig::start(true);
    let firefox = "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0\r\n";
    for client in ["198.51.100.1", "198.51.100.2", "8.8.8.8", "192.0.2.200"] {
        assert_eq!(rig.get("/", client, firefox).status, 200);
    }
    let told = rig.host.until_within(PATIENCE, Duration::from_millis(250), "the figures", || {
        let told = rig.host.api_json(&rig.key, "GET /api/v1/sites/hello/traffic", "", 200);
        (told["total"]["pages"] == 4).then_some(told)
    });
    assert_eq!(told["countries"], json!([{ "label": "DE", "count": 2 }, { "label": "US", "count": 1 }]));
    assert!(!told.to_string().contains("198.51"), "{told}");
    let out = rig.host.cli(&rig.key, &["sites", "traffic", "hello"]);
    let shown = String::from_utf8(out.stdout).unwrap();
    assert!(shown.contains("Pages by country") && shown.contains("Germany"), "{shown}");
    let mut browser = crate::support::browser::Browser::signed_in(&rig.host, "owner@example.org");
    let page = browser.page("/sites/hello/traffic");
    assert!(page.contains("<h2 id=\"countries\">Countries</h2>") && page.contains("United States"), "{page}");
    let lines = rig.host.until_within(PATIENCE, Duration::from_millis(250), "the access log", || {
        let text = std::fs::read_to_string(rig.folder.path().join("access.log")).unwrap_or_default();
        (text.lines().count() >= 4).then_some(text)
    });
    for part in ["\"client\":\"8.8.8.8\",\"country\":\"US\"", "\"client\":\"192.0.2.200\",\"country\":null"] {
        assert!(lines.contains(part), "{part}: {lines}");
    }
    let metrics = || rig.host.get("localhost", "/metrics").text();
    assert!(
        metrics().contains("chainhost_country_database_up 1\n")
            && metrics().contains("built_timestamp_seconds 1795000000\n")
    );
    // A new file is used without a restart, a broken one is not.
    let path = rig.folder.path().join("countries.mmdb");
    put(&path, &Mmdb { networks: &[("8.8.8.0/24", "AT")], built_s: 1_796_000_000, ..PLAIN });
    rig.host.until_within(PATIENCE, Duration::from_millis(250), "the new file", || {
        metrics().contains("built_timestamp_seconds 1796000000\n").then_some(())
    });
    assert_eq!(said(&rig.get("/", "8.8.8.8", "")), "302 /at/");
    write_files(rig.folder.path(), &[("countries.mmdb", b"half of it")]);
    rig.host.until_within(PATIENCE, Duration::from_millis(250), "the fault", || {
        metrics().contains("chainhost_country_database_up 0\n").then_some(())
    });
    assert_eq!(said(&rig.get("/", "8.8.8.8", "")), "302 /at/");
    assert!(rig.host.log().contains("cannot be used"), "{}", rig.host.log());
}

#[test]
fn a_site_with_conditions_is_verified_from_wherever_one_looks() {
    let rig = Rig::start(true);
    let list = rig.host.api_json(&rig.key, "GET /api/v1/sites/hello/deployments", "", 200);
    let id = list["items"][0]["id"].as_str().unwrap();
    let proof = rig.host.get("hello.localhost", &format!("/.well-known/chainhost/proof/{id}"));
    write_files(rig.folder.path(), &[("proof.json", &proof.body)]);
    let verified = || {
        let mut command = std::process::Command::new(crate::support::PROGRAM);
        command.arg("verify").arg(rig.folder.path().join("proof.json"));
        command.args(["--site", &format!("http://hello.localhost:{}/", rig.host.port)]).output().unwrap()
    };
    // This machine is of no country, then of one.
    let out = verified();
    assert_eq!(out.status.code(), Some(10), "{}", String::from_utf8_lossy(&out.stderr));
    let path = rig.folder.path().join("countries.mmdb");
    put(&path, &Mmdb { networks: &[("127.0.0.0/8", "DE")], built_s: 1_796_000_000, ..PLAIN });
    rig.host.until_within(PATIENCE, Duration::from_millis(250), "the new file", || {
        let here = http::ask(rig.host.port, "GET /app-4f9a1c77b2.js HTTP/1.1\r\nHost: hello.localhost\r\n", b"");
        (here.text() == "1").then_some(())
    });
    let out = verified();
    assert_eq!(out.status.code(), Some(10), "{}", String::from_utf8_lossy(&out.stderr));
}
