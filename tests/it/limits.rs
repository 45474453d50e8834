//! What a site does not answer: rates, rules, sets of known attacks, and bans by limits and by people.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::{
    Host,
    browser::{Browser, form},
    http, write_files,
};

const OWNER: &str = "owner@example.org";
/// Clients are told apart by what this proxy says.
const PROXIED: &str = "trusted_proxies = [\"127.0.0.1\"]\n";

fn with_site() -> (Host, String) {
    let host = Host::start_configured(PROXIED);
    let key = host.key(OWNER, "super-admin");
    for name in ["shop", "blog"] {
        let site = host.beside(name);
        write_files(&site, &[("index.html", name.as_bytes()), ("login/index.html", b"in"), (".well-known/x", b"x")]);
        let out = host.cli(&key, &["deploy", site.to_str().unwrap(), "--site", name, "--create"]);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
    (host, key)
}

fn change(host: &Host, key: &str, patch: &Value) {
    host.api_json(key, "PATCH /api/v1/sites/shop/settings", &patch.to_string(), 200);
}

/// The answer to a client.
fn asked(host: &Host, client: &str, method: &str, site: &str, path: &str) -> http::Answer {
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {site}.localhost\r\nX-Forwarded-For: {client}\r\n");
    http::ask(host.port, &head, b"")
}

fn status(host: &Host, client: &str, path: &str) -> u16 {
    asked(host, client, "GET", "shop", path).status
}

#[test]
fn who_asks_too_often_waits_and_nobody_else_does() {
    let (host, key) = with_site();
    change(
        &host,
        &key,
        &json!({ "limits": {
        "rates": [
            { "requests": 5, "every_s": 3_600 },
            { "path": "/login/*", "methods": ["POST"], "requests": 1, "every_s": 3_600 },
        ],
        "exempt": ["198.51.100.0/24"],
    } }),
    );
    for _ in 0..5 {
        assert_eq!(status(&host, "192.0.2.1", "/"), 200);
    }
    let refused = asked(&host, "192.0.2.1", "GET", "shop", "/");
    assert_eq!(refused.status, 429);
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((700..=721).contains(&wait), "{wait}");
    assert!(refused.text().contains("too often") && refused.header("cache-control") == Some("no-store"));
    assert_eq!(status(&host, "192.0.2.2", "/"), 200, "another client");
    assert_eq!(asked(&host, "192.0.2.1", "GET", "blog", "/").status, 200, "another site");
    // One customer of IPv6 is one client.
    for last in 1..=5 {
        assert_eq!(status(&host, &format!("2001:db8::{last}"), "/"), 200);
    }
    assert_eq!((status(&host, "2001:db8::6", "/"), status(&host, "2001:db8:0:1::6", "/")), (429, 200));
    for _ in 0..7 {
        assert_eq!(status(&host, "198.51.100.9", "/"), 200, "exempt");
    }
    // A method and a path of their own; what the site answers to POST is its own matter.
    assert_eq!(asked(&host, "192.0.2.3", "POST", "shop", "/login/").status, 405);
    assert_eq!(asked(&host, "192.0.2.3", "POST", "shop", "//LOGIN/x").status, 429, "another way to write it");
    assert_eq!(asked(&host, "192.0.2.3", "GET", "shop", "/login/").status, 200);
    change(&host, &key, &json!({ "limits": null }));
    assert_eq!(status(&host, "192.0.2.1", "/"), 200);
}

#[test]
fn what_all_visitors_use_up_together_is_nobodys_fault() {
    let (host, key) = with_site();
    change(
        &host,
        &key,
        &json!({ "limits": {
        "rates": [
            { "requests": 2, "every_s": 3_600 },
            { "per": "site", "requests": 3, "every_s": 3_600 },
        ],
        "ban": { "after": 2, "for_s": 3_600 },
    } }),
    );
    let of = |client: &str| status(&host, client, "/");
    assert_eq!((of("192.0.2.1"), of("192.0.2.1")), (200, 200));
    assert_eq!(of("192.0.2.1"), 429, "its own share, of which all others lose nothing");
    assert_eq!(of("192.0.2.2"), 200);
    for client in ["192.0.2.2", "192.0.2.3", "192.0.2.3"] {
        let refused = asked(&host, client, "GET", "shop", "/");
        let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert_eq!((refused.status, (1_100..=1_201).contains(&wait)), (429, true), "{client}: {wait}");
    }
    assert_eq!(asked(&host, "192.0.2.4", "GET", "blog", "/").status, 200, "another site");
    // Who was refused for what others have asked is not shut out for it: the next refusal of each would be one too many.
    change(&host, &key, &json!({ "limits": { "rates": [{ "requests": 1_000, "every_s": 3_600 }] } }));
    assert_eq!((of("192.0.2.2"), of("192.0.2.3")), (200, 200));
    assert_eq!(bans(&host, &key), Vec::<Value>::new());
}

#[test]
fn rules_and_sets_refuse_log_and_allow() {
    let (host, key) = with_site();
    change(
        &host,
        &key,
        &json!({ "firewall": { "sets": ["dotfiles", "exploits"], "rules": [
        { "name": "office", "path": "/login/*", "from": ["198.51.100.0/24"], "do": "allow" },
        { "name": "no one else", "path": "/login/*" },
        { "name": "watched", "path": "/", "agent_has": "Curious", "do": "log" },
    ] } }),
    );
    let agent = |name: &str| {
        let head = format!("GET / HTTP/1.1\r\nHost: shop.localhost\r\nUser-Agent: {name}\r\n");
        http::ask(host.port, &head, b"").status
    };
    assert_eq!((status(&host, "198.51.100.7", "/login/"), status(&host, "192.0.2.7", "/login/")), (200, 403));
    assert_eq!(status(&host, "192.0.2.7", "/%6Cogin/"), 403);
    assert_eq!((status(&host, "192.0.2.7", "/.env"), status(&host, "192.0.2.7", "/.well-known/x")), (403, 200));
    assert_eq!((agent("${jndi:ldap://x.example/a}"), agent("Curious/1"), agent("Mozilla/5.0")), (403, 200, 200));
    host.until("the rule in the log", || host.log().contains("rule=\"watched\"").then_some(()));
    for _ in 0..20 {
        agent("Curious/2");
    }
    assert_eq!(host.log().matches("rule=\"watched\"").count(), 1, "{}", host.log());
    change(&host, &key, &json!({ "firewall": { "sets_do": "log" } }));
    assert_eq!(status(&host, "192.0.2.7", "/.env"), 404);
}

#[test]
fn what_fits_the_firewall_is_counted_and_shown_to_who_reads_the_site() {
    let (host, key) = with_site();
    let mut browser = Browser::signed_in(&host, OWNER);
    assert!(!browser.page("/sites/shop/settings/protection").contains("What has fitted"));
    let rules = json!([
        { "name": "office", "path": "/login/*", "from": ["198.51.100.0/24"], "do": "allow" },
        { "name": "<watched>", "path": "/*", "agent_has": "Curious", "do": "log" },
        { "name": "shut", "path": "/login/*" },
    ]);
    change(&host, &key, &json!({ "firewall": { "sets": ["dotfiles"], "sets_do": "log", "rules": rules } }));
    let met = |key: &str| host.api_json(key, "GET /api/v1/sites/shop/firewall", "", 200);
    let row = |name: &str, set, action: &str, requests, path: Value| json!({ "name": name, "set": set, "action": action, "requests": requests, "last_path": path });
    let rows = |met: &Value| {
        let mut rows = met["rules"].as_array().unwrap().clone();
        for row in &mut rows {
            let (first, last) = (row["first_at"].take(), row["last_at"].take());
            assert!(first.is_string() == (row["requests"] != 0) && last.is_string() == first.is_string(), "{row}");
            row.as_object_mut().unwrap().retain(|key, _| !key.ends_with("_at"));
        }
        rows
    };
    let none = [
        row("<watched>", false, "log", 0, Value::Null),
        row("shut", false, "block", 0, Value::Null),
        row("dotfiles", true, "log", 0, Value::Null),
    ];
    assert_eq!(rows(&met(&key)), none);
    assert!(browser.page("/sites/shop/settings/protection").contains("No request since"));

    assert_eq!(status(&host, "198.51.100.7", "/login/"), 200);
    assert_eq!(status(&host, "192.0.2.7", "/login/a"), 403);
    assert_eq!(status(&host, "192.0.2.8", "/login/%3Cb%3E"), 403);
    let curious = |path: &str| {
        http::ask(host.port, &format!("GET {path} HTTP/1.1\r\nHost: shop.localhost\r\nUser-Agent: Curious\r\n"), b"")
            .status
    };
    assert_eq!((curious("/x/.env"), curious("/login/")), (404, 403), "told, and looked at further");
    let reader = host.key("reader@example.org", "user");
    let wanted = [
        row("<watched>", false, "log", 2, json!("/login/")),
        row("shut", false, "block", 3, json!("/login/")),
        row("dotfiles", true, "log", 1, json!("/x/.env")),
    ];
    assert_eq!(rows(&met(&reader)), wanted);
    let page = browser.page("/sites/shop/settings/protection");
    for part in ["<b>&#60;watched&#62;</b>", "3 requests, the first", "<b>dotfiles</b>", ">/x/.env</span>"] {
        assert!(page.contains(part), "{part}: {page}");
    }

    // Another rule of the same name begins anew, and the others stay.
    let rules = json!([{ "name": "<watched>", "path": "/*", "agent_has": "Nosy", "do": "log" }, { "name": "shut", "path": "/login/*" }]);
    change(&host, &key, &json!({ "firewall": { "rules": rules } }));
    assert_eq!(curious("/x/.env"), 404);
    let wanted = [none[0].clone(), wanted[1].clone(), row("dotfiles", true, "log", 2, json!("/x/.env"))];
    assert_eq!(rows(&met(&key)), wanted);
}

fn bans(host: &Host, key: &str) -> Vec<Value> {
    host.api_json(key, "GET /api/v1/bans", "", 200).get("items").and_then(Value::as_array).unwrap().clone()
}

#[test]
fn a_long_list_of_bans_has_pages_that_people_leads() {
    let (host, key) = with_site();
    let add = |network: &str| {
        host.api_json(&key, "POST /api/v1/bans", &json!({ "network": network, "site": "shop" }).to_string(), 201)
    };
    for n in 0..7 {
        add(&format!("192.0.2.{n}"));
    }
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = host.api_json(&key, &format!("GET /api/v1/bans?limit=3{after}"), "", 200);
        let items = page["items"].as_array().unwrap();
        assert!((1..=3).contains(&items.len()), "{page}");
        seen.extend(items.iter().map(|it| it["network"].as_str().unwrap().to_owned()));
        if let Some(network) = seen.first().filter(|_| seen.len() == 3) {
            // One that was shown is ended meanwhile: the next page goes on where this one ended.
            let id = items[0]["id"].as_str().unwrap();
            assert_eq!(
                (network.as_str(), host.api(&key, &format!("DELETE /api/v1/bans/{id}"), b"").status),
                ("192.0.2.6", 204)
            );
        }
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    let wanted: Vec<String> = (0..7).rev().map(|n| format!("192.0.2.{n}")).collect();
    assert_eq!(seen, wanted, "the newest first");
    host.api_json(&key, "GET /api/v1/bans?after=nonsense", "", 400);
    let out = host.cli(&key, &["bans", "--json"]);
    let all: Vec<Value> = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(all.len(), 6);
}

#[test]
fn who_goes_on_is_shut_out_also_after_a_restart_until_somebody_ends_it() {
    let (mut host, key) = with_site();
    change(
        &host,
        &key,
        &json!({ "limits": { "ban": { "after": 3, "for_s": 3_600 } }, "firewall": { "sets": ["dotfiles"] } }),
    );
    let probe = |host: &Host| status(host, "192.0.2.1", "/.git/config");
    assert_eq!((probe(&host), probe(&host), status(&host, "192.0.2.1", "/")), (403, 403, 200));
    assert_eq!(probe(&host), 403);
    let banned = asked(&host, "192.0.2.1", "GET", "shop", "/");
    let wait: u64 = banned.header("retry-after").unwrap().parse().unwrap();
    assert_eq!((banned.status, (3_590..=3_600).contains(&wait)), (403, true), "{wait}");
    assert!(banned.text().contains("You get nothing here"), "{}", banned.text());
    assert_eq!(status(&host, "192.0.2.2", "/"), 200);
    assert_eq!(asked(&host, "192.0.2.1", "GET", "blog", "/").status, 200, "of this site alone");

    let kept = host.until("the ban to be kept", || bans(&host, &key).into_iter().next());
    assert_eq!(
        (&kept["network"], &kept["site"], &kept["source"]),
        (&json!("192.0.2.1"), &json!("shop"), &json!("limit"))
    );
    host.stop();
    host.restart();
    host.until("the ban to hold again", || (status(&host, "192.0.2.1", "/") == 403).then_some(()));
    let id = kept["id"].as_str().unwrap();
    assert_eq!(host.api(&key, &format!("DELETE /api/v1/bans/{id}"), b"").status, 204);
    host.until("the ban to end", || (status(&host, "192.0.2.1", "/") == 200).then_some(()));
    assert!(bans(&host, &key).is_empty());
}

/// What is loaded into a firewall of a network of its own, and who gets through to which port: from an address, to a port.
const FIREWALL: &str = r#"
ip link set lo up
nft -f "$1" && nft -f "$1"
python3 - <<'EOF'
import socket
ports = [socket.create_server(("127.0.0.1", port)) for port in (8080, 8081)]
for source, port in (("127.0.0.9", 8080), ("127.0.0.7", 8080), ("127.0.1.1", 8080), ("127.0.2.1", 8080), ("127.0.0.7", 8081)):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1, source_address=(source, 0)).close()
        print(source, port, "reached")
    except TimeoutError:
        print(source, port, "nothing")
EOF
"#;

#[test]
fn the_systems_firewall_drops_who_is_shut_out() {
    let (host, key) = with_site();
    let run = |words: &[&str]| {
        let out = host.cli(&key, &[&["bans"], words].concat());
        assert!(out.status.success(), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    };
    assert_eq!(run(&["nftables"]), "add table inet chainhost\ndelete table inet chainhost\n");
    for words in [
        &["127.0.0.7", "--for", "2h"][..],
        &["127.0.1.0/24", "--for", "1h"],
        // A part of another one that lasts longer, and one that is as good as there.
        &["127.0.1.1"],
        &["127.0.1.2", "--for", "30m"],
        &["127.0.2.1", "--site", "shop"],
        &["2001:db8::/48"],
    ] {
        run(&[&["add"], words].concat());
    }
    let folder = host.beside("firewall");
    for (more, of_site) in [(&[][..], "reached"), (&["--any-site"], "nothing")] {
        let text = run(&[&["nftables", "--port", "8080", "--port", "443"], more].concat());
        assert!(!text.contains("127.0.1.2") && text.contains("      2001:db8::/48\n"), "{text}");
        write_files(&folder, &[("bans.nft", text.as_bytes())]);
        let mut firewall = Command::new("unshare");
        firewall.args(["-Urn", "sh", "-ec", FIREWALL, "sh"]).arg(folder.join("bans.nft"));
        let out = firewall.output().unwrap();
        let seen = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        let wanted = format!(
            "127.0.0.9 8080 reached\n127.0.0.7 8080 nothing\n127.0.1.1 8080 nothing\n127.0.2.1 8080 {of_site}\n127.0.0.7 8081 reached\n"
        );
        assert_eq!(seen, wanted, "{text}");
    }
}

#[test]
fn people_shut_out_networks_by_command_and_in_the_panel() {
    let (host, key) = with_site();
    let told = |words: &[&str]| {
        let out = host.cli(&key, &[&["bans"], words].concat());
        (out.status.success(), String::from_utf8(out.stdout).unwrap() + &String::from_utf8(out.stderr).unwrap())
    };
    assert!(told(&[]).1.contains("Nobody is shut out."));
    let (done, said) = told(&["add", "192.0.2.0/24", "--site", "shop", "--for", "2h", "--reason", "copies all"]);
    assert!(done && said.contains("192.0.2.0/24 gets nothing of shop, until"), "{said}");
    host.until("the network to be shut out", || (status(&host, "192.0.2.200", "/") == 403).then_some(()));
    assert_eq!((status(&host, "192.0.3.1", "/"), asked(&host, "192.0.2.200", "GET", "blog", "/").status), (200, 200));
    let (done, said) = told(&["add", "2001:db8::/48"]);
    assert!(done && said.contains("of any site of the server, until it is ended"), "{said}");
    host.until("it to hold", || (asked(&host, "2001:db8::7", "GET", "blog", "/").status == 403).then_some(()));
    let listed = told(&[]).1;
    assert!(listed.contains("192.0.2.0/24") && listed.contains("copies all") && listed.contains("all"), "{listed}");
    for (words, wrong) in [
        (&["add", "0.0.0.0/0"][..], "too wide for a ban"),
        (&["add", "example.org"], "neither an address"),
        (&["add", "192.0.2.1", "--for", "7"], "write it as in 30m"),
        (&["add", "192.0.2.1", "--for", "400d"], "a year at most"),
        (&["add", "192.0.2.1", "--site", "none"], "no such site"),
        (&["remove", "192.0.2.1"], "There is no ban of"),
    ] {
        let (done, said) = told(words);
        assert!(!done && said.contains(wrong), "{words:?}: {said}");
    }
    assert!(told(&["remove", "192.0.2.0/24"]).0);
    host.until("it to end", || (status(&host, "192.0.2.200", "/") == 200).then_some(()));

    let mut owner = Browser::signed_in(&host, OWNER);
    let page = owner.page("/settings/bans");
    assert!(page.contains("2001:db8::/48") && page.contains("all sites"), "{page}");
    let refused = owner.post("/settings/bans", &form(&[("network", "0.0.0.0/0"), ("site", "shop"), ("time", "3600")]));
    assert!(refused.status == 400 && refused.text().contains("too wide for a ban"), "{}", refused.text());
    let fine = form(&[("network", "192.0.2.9"), ("site", "shop"), ("time", "0"), ("reason", "<b>why</b>")]);
    assert_eq!(owner.post("/settings/bans", &fine).status, 303);
    assert!(owner.page("/settings/bans").contains("&#60;b&#62;why"));
    host.until("it to hold", || (status(&host, "192.0.2.9", "/") == 403).then_some(()));
    let all = bans(&host, &key);
    let mine = all.iter().find(|it| it["network"] == "192.0.2.9").unwrap();
    assert_eq!((&mine["until"], &mine["source"], &mine["made_by"]), (&Value::Null, &json!("person"), &json!(OWNER)));
    assert_eq!(owner.post(&format!("/settings/bans/{}/remove", mine["id"].as_str().unwrap()), "").status, 303);
    host.until("it to end", || (status(&host, "192.0.2.9", "/") == 200).then_some(()));
}

/// Whoever has no server may shut nobody out of others' sites.
#[test]
fn a_ban_from_all_sites_is_the_servers_admins_to_make_and_to_see() {
    let (host, key) = with_site();
    let mate = host.key("mate@example.org", "user");
    host.api_json(&key, "POST /api/v1/bans", r#"{"network":"192.0.2.1"}"#, 201);
    let refused = host.api_json(&mate, "POST /api/v1/bans", r#"{"network":"192.0.2.2"}"#, 403);
    assert_eq!(refused["code"], "forbidden");
    assert!(bans(&host, &mate).is_empty());
    let id = bans(&host, &key)[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(host.api(&mate, &format!("DELETE /api/v1/bans/{id}"), b"").status, 404);
    host.api_json(&mate, "POST /api/v1/bans", r#"{"network":"192.0.2.2","site":"shop","for_s":60}"#, 201);
    assert_eq!((bans(&host, &mate).len(), bans(&host, &key).len()), (1, 2));
}
