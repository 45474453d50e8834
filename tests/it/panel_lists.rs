//! The forms of a site's settings that have lists: limits, firewall and routes, the budget of a month, and what caches in front keep; as a
//! browser without scripts sends them, with what visitors get then.

mod around;

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::TcpListener,
};

use serde_json::{Value, json};

use crate::{
    faults::{api::Api, tenants::move_to_tenant},
    support::{
        Host,
        browser::{Browser, form},
        http, write_files,
    },
};

const OWNER: &str = "owner@example.org";
/// Clients are told apart by what this proxy says.
const PROXIED: &str = "trusted_proxies = [\"127.0.0.1\"]\n";
const PROTECTION: &str = "/sites/shop/settings/protection";
const PROXY: &str = "/sites/shop/settings/proxy";

fn with_site() -> (Host, String) {
    let host = Host::start_configured(PROXIED);
    let key = host.key(OWNER, "super-admin");
    let site = host.beside("shop");
    write_files(&site, &[("index.html", b"shop"), ("login/index.html", b"in")]);
    let out = host.cli(&key, &["deploy", site.to_str().unwrap(), "--site", "shop", "--create"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    (host, key)
}

fn settings(host: &Host, key: &str) -> Value {
    host.api_json(key, "GET /api/v1/sites/shop/settings", "", 200)
}

fn status(host: &Host, client: &str, path: &str) -> u16 {
    http::ask(host.port, &format!("GET {path} HTTP/1.1\r\nHost: shop.localhost\r\nX-Forwarded-For: {client}\r\n"), b"")
        .status
}

/// The value of an attribute of a tag.
fn attribute<'p>(tag: &'p str, name: &str) -> Option<&'p str> {
    Some(tag.split_once(&format!(" {name}=\""))?.1.split_once('"')?.0)
}

fn plain(text: &str) -> String {
    let mut out = text.to_owned();
    for (reference, c) in [("&#60;", "<"), ("&#62;", ">"), ("&#34;", "\""), ("&#39;", "'"), ("&#38;", "&")] {
        out = out.replace(reference, c);
    }
    out
}

/// What a browser would send of the form of a page with this address, if nobody touched it.
fn untouched(page: &str, action: &str) -> BTreeMap<String, String> {
    let form = page.split_once(&format!("action=\"{action}\"")).unwrap_or_else(|| panic!("no form {action}: {page}")).1;
    let form = form.split_once("</form>").unwrap().0;
    let mut fields = BTreeMap::new();
    let mut of_select: Option<String> = None;
    for part in form.split('<').skip(1) {
        let (tag, text) = part.split_once('>').unwrap();
        let tag = format!(" {tag}");
        let name = attribute(&tag, "name").map(str::to_owned);
        let value = plain(attribute(&tag, "value").unwrap_or_default());
        let is_checked = tag.contains(" checked");
        match (tag.trim_start().split([' ', '/']).next().unwrap(), name) {
            ("input", Some(name)) => match attribute(&tag, "type") {
                Some("checkbox" | "radio") if !is_checked => {}
                _ => drop(fields.insert(name, value)),
            },
            ("textarea", Some(name)) => {
                // An end of a line at its very beginning is not part of it.
                let text = plain(text).replace("\r\n", "\n");
                drop(fields.insert(name, text.strip_prefix('\n').unwrap_or(&text).replace('\n', "\r\n")));
            }
            ("select", Some(name)) => of_select = Some(name),
            ("option", _) => {
                let name = of_select.clone().unwrap();
                if tag.contains(" selected") || !fields.contains_key(&name) {
                    fields.insert(name, value);
                }
            }
            _ => {}
        }
    }
    fields
}

fn body(fields: &BTreeMap<String, String>) -> String {
    form(&fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>())
}

/// The form as it is, with changes typed into it.
fn typed(browser: &mut Browser<'_>, page: &str, action: &str, changes: &[(&str, &str)]) -> String {
    let mut fields = untouched(&browser.page(page), action);
    for (name, value) in changes {
        fields.insert((*name).to_owned(), (*value).to_owned());
    }
    body(&fields)
}

#[test]
fn limits_are_rows_that_are_added_changed_and_removed() {
    let (host, key) = with_site();
    let mut owner = Browser::signed_in(&host, OWNER);
    let action = "/sites/shop/settings/limits";
    let page = owner.page(PROTECTION);
    assert!(
        page.contains("Visitors may ask as often as they like.") && page.contains("aria-current=\"page\">Protection<")
    );
    let added = typed(
        &mut owner,
        PROTECTION,
        action,
        &[
            ("limits.rates.0.requests", "5"),
            ("limits.rates.0.every_s", "1"),
            ("limits.rates.0.every_s.unit", "hours"),
            ("limits.ban.after", "1"),
            ("limits.exempt", "198.51.100.0/24"),
        ],
    );
    let answer = owner.post(action, &added);
    assert_eq!((answer.status, answer.header("location")), (303, Some(PROTECTION)), "{}", answer.text());
    let wanted = json!({
        "rates": [{ "requests": 5, "every_s": 3_600 }],
        "ban": { "after": 1, "within_s": 60, "for_s": 3_600 },
        "exempt": ["198.51.100.0/24"],
    });
    assert_eq!(settings(&host, &key)["limits"], wanted);
    assert!(owner.page(PROTECTION).contains("Saved. Visitors are served by it now."));

    // Who goes on is refused, shut out, and on the page.
    let statuses: Vec<u16> = (0..7).map(|_| status(&host, "192.0.2.1", "/")).collect();
    assert_eq!(statuses[..6], [200, 200, 200, 200, 200, 429]);
    let page = host.until("the ban on the page", || {
        let page = owner.page(PROTECTION);
        page.contains("192.0.2.1").then_some(page)
    });
    assert!(page.contains("Shut out now") && page.contains("by the limits of this site"), "{page}");
    let end = page.split_once("action=\"/settings/bans/").unwrap().1.split_once('"').unwrap().0.to_owned();
    assert_eq!(owner.post(&format!("/settings/bans/{end}"), "").status, 303);
    assert!(!owner.page(PROTECTION).contains("Shut out now"));
}

#[test]
fn limits_that_are_wrong_are_kept_as_they_were_typed() {
    let (host, key) = with_site();
    let mut owner = Browser::signed_in(&host, OWNER);
    let action = "/sites/shop/settings/limits";
    let wanted = json!({ "rates": [{ "requests": 5, "every_s": 3_600 }], "ban": { "after": 1, "within_s": 60, "for_s": 3_600 } });
    let set = json!({ "limits": wanted }).to_string();
    host.api_json(&key, "PATCH /api/v1/sites/shop/settings", &set, 200);

    // What is wrong stands beside its field, with what was typed; nothing is saved.
    let wrong = [
        ("limits.rates.0.requests", "\"><script>alert(1)</script>"),
        ("limits.rates.1.requests", "3"),
        ("limits.rates.1.every_s", "90000"),
        ("limits.rates.1.path", "login"),
        ("limits.exempt", "192.0.2.0/24 everybody"),
    ];
    let answer = owner
        .post(action, &typed(&mut Browser { host: &host, cookies: owner.cookies.clone() }, PROTECTION, action, &wrong));
    let text = answer.text();
    assert_eq!(answer.status, 400, "{text}");
    for id in ["limits.rates.0.requests", "limits.rates.1.path", "limits.exempt"] {
        assert!(
            text.contains(&format!("id=\"f-{id}-e\"")) && text.contains(&format!("href=\"#f-{id}\"")),
            "{id}: {text}"
        );
    }
    assert!(
        text.contains("`everybody` is no address") || text.contains("<code>everybody</code> is no address"),
        "{text}"
    );
    assert!(text.contains("value=\"login\"") && !text.contains("<script>alert"), "{text}");
    assert_eq!(settings(&host, &key)["limits"], wanted);

    // Without scripts another empty row is asked for, and nothing is saved with it.
    let mut more = untouched(&owner.page(PROTECTION), action);
    more.insert(String::from("limits.rates.1.path"), String::from("/typed"));
    more.insert(String::from("more"), String::from("rates"));
    let answer = owner.post(action, &body(&more));
    assert!(answer.status == 200 && answer.text().contains("value=\"/typed\""), "{}", answer.text());
    assert!(answer.text().contains("name=\"limits.rates.2.path\""), "{}", answer.text());
    assert_eq!(settings(&host, &key)["limits"], wanted);

    // A form that does not say what it was made of saves nothing.
    let mut without = untouched(&owner.page(PROTECTION), action);
    without.remove("as_of");
    for bytes in [body(&without), String::new()] {
        let answer = owner.post(action, &bytes);
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert!(answer.text().contains("does not say which settings it was made of"), "{}", answer.text());
        assert_eq!(settings(&host, &key)["limits"], wanted);
    }

    let removed = typed(
        &mut owner,
        PROTECTION,
        action,
        &[("limits.rates.0.remove", "on"), ("limits.ban.after", ""), ("limits.exempt", " ")],
    );
    assert_eq!(owner.post(action, &removed).status, 303);
    assert_eq!(settings(&host, &key), json!({}));
    assert_eq!(status(&host, "192.0.2.1", "/"), 200);
}

#[test]
fn rules_are_rows_with_an_order() {
    let (host, key) = with_site();
    let mut owner = Browser::signed_in(&host, OWNER);
    let action = "/sites/shop/settings/firewall";
    let added = [
        ("firewall.sets.dotfiles", "on"),
        ("firewall.rules.0.name", "Nobody"),
        ("firewall.rules.0.path", "/login/*"),
        ("firewall.rules.1.name", "The office"),
        ("firewall.rules.1.path", "/login/*"),
        ("firewall.rules.1.from", "198.51.100.0/24"),
        ("firewall.rules.1.do", "allow"),
    ];
    let sent = typed(&mut owner, PROTECTION, action, &added);
    let answer = owner.post(action, &sent);
    assert_eq!(answer.status, 303, "{}", answer.text());
    assert_eq!((status(&host, "198.51.100.7", "/login/"), status(&host, "192.0.2.7", "/.env")), (403, 403));
    // The second goes before the first.
    let sent = typed(&mut owner, PROTECTION, action, &[("firewall.rules.1.place", "1")]);
    assert_eq!(owner.post(action, &sent).status, 303);
    assert_eq!((status(&host, "198.51.100.7", "/login/"), status(&host, "192.0.2.7", "/login/")), (200, 403));
    let names = |value: &Value| {
        value["firewall"]["rules"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&settings(&host, &key)), ["The office", "Nobody"]);

    // One that would close the site is refused, beside its row; the other forms stay as they were.
    let sent = typed(&mut owner, PROTECTION, action, &[("firewall.rules.1.path", "")]);
    let answer = owner.post(action, &sent);
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("id=\"f-firewall.rules.1.name-e\""), "{}", answer.text());
    assert!(answer.text().contains("fits every request"), "{}", answer.text());

    // A form that was opened before somebody else has saved is refused once.
    let stale = untouched(&owner.page(PROTECTION), action);
    let rules = json!({ "firewall": { "rules": [{ "name": "Theirs", "path": "/theirs" }] } });
    host.api_json(&key, "PATCH /api/v1/sites/shop/settings", &rules.to_string(), 200);
    let answer = owner.post(action, &body(&stale));
    assert_eq!(answer.status, 409, "{}", answer.text());
    assert!(answer.text().contains("Somebody has changed these settings since"), "{}", answer.text());
    assert_eq!(names(&settings(&host, &key)), ["Theirs"]);
    let again = untouched(&answer.text(), action);
    assert_eq!(owner.post(action, &body(&again)).status, 303, "sent once more, it takes their place");
    assert_eq!(names(&settings(&host, &key)), ["The office", "Nobody"]);

    let mut none = untouched(&owner.page(PROTECTION), action);
    none.retain(|name, _| !name.contains(".sets."));
    none.insert(String::from("firewall.rules.0.remove"), String::from("on"));
    none.insert(String::from("firewall.rules.1.remove"), String::from("on"));
    assert_eq!(owner.post(action, &body(&none)).status, 303);
    assert_eq!(settings(&host, &key), json!({}));
}

/// A form is of what it was made of, however often it is shown again.
#[test]
fn what_somebody_else_has_saved_is_not_undone_without_a_word() {
    let (host, key) = with_site();
    let mut owner = Browser::signed_in(&host, OWNER);
    let action = "/sites/shop/settings/limits";
    let rates = |requests: u32| json!({ "limits": { "rates": [{ "requests": requests, "every_s": 60 }] } });
    let set = |value: &Value| drop(host.api_json(&key, "PATCH /api/v1/sites/shop/settings", &value.to_string(), 200));
    set(&rates(1));
    let mut fields = untouched(&owner.page(PROTECTION), action);
    set(&rates(2));
    // A mistake, and one more row, show the form again: it is of the same settings as before.
    fields.insert(String::from("limits.rates.0.requests"), String::from("x"));
    let answer = owner.post(action, &body(&fields));
    assert_eq!(answer.status, 400, "{}", answer.text());
    let mut fields = untouched(&answer.text(), action);
    fields.insert(String::from("limits.rates.0.requests"), String::from("3"));
    fields.insert(String::from("more"), String::from("rates"));
    let fields = untouched(&owner.post(action, &body(&fields)).text(), action);
    assert_eq!(fields["limits.rates.0.requests"], "3");
    let answer = owner.post(action, &body(&fields));
    assert_eq!(answer.status, 409, "{}", answer.text());
    assert_eq!(settings(&host, &key), rates(2));

    let again = untouched(&answer.text(), action);
    assert_eq!(owner.post(action, &body(&again)).status, 303, "who was told may save it");
    assert_eq!(settings(&host, &key), rates(3));
}

/// What was shown is compared in the transaction that writes: of several who save at once one does, and the others are told.
#[test]
fn of_several_who_save_at_once_one_does() {
    let (host, key) = with_site();
    let mut owner = Browser::signed_in(&host, OWNER);
    let action = "/sites/shop/settings/limits";
    let set = json!({ "limits": { "rates": [{ "requests": 1, "every_s": 60 }] } });
    host.api_json(&key, "PATCH /api/v1/sites/shop/settings", &set.to_string(), 200);
    let page = owner.page(PROTECTION);
    let at_once = |requests: u32| {
        let mut browser = Browser { host: &host, cookies: owner.cookies.clone() };
        let mut fields = untouched(&page, action);
        fields.insert(String::from("limits.rates.0.requests"), requests.to_string());
        browser.post(action, &body(&fields)).status
    };
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let at_once = &at_once;
        let all: Vec<_> = (10..16).map(|it| scope.spawn(move || at_once(it))).collect();
        all.into_iter().map(|it| it.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|it| **it == 303).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|it| **it == 409).count(), 5, "{statuses:?}");
}

#[test]
fn a_row_that_is_emptied_by_hand_stays_until_its_removal_is_ticked() {
    let (host, key) = with_site();
    let mut owner = Browser::signed_in(&host, OWNER);
    let set = json!({
        "limits": { "rates": [{ "requests": 5, "every_s": 60 }, { "path": "/login", "requests": 6, "every_s": 60 }] },
        "firewall": { "rules": [{ "name": "A", "path": "/a" }, { "name": "B", "path": "/b" }] },
        "proxy": { "routes": [{ "path": "/a", "to": ["http://9.9.9.9"] }, { "path": "/b", "to": ["http://9.9.9.8"] }] },
    });
    host.api_json(&key, "PATCH /api/v1/sites/shop/settings", &set.to_string(), 200);
    for (page, action, row, first, written, other) in [
        (
            PROTECTION,
            "/sites/shop/settings/limits",
            "limits.rates.1",
            "requests",
            &["requests", "every_s", "path"][..],
            ("limits.rates.0.path", "/typed"),
        ),
        (
            PROTECTION,
            "/sites/shop/settings/firewall",
            "firewall.rules.1",
            "name",
            &["name", "path"],
            ("firewall.rules.0.path", "/typed"),
        ),
        (PROXY, PROXY, "proxy.routes.1", "to", &["path", "to"], ("proxy.routes.0.path", "/typed")),
    ] {
        let before = settings(&host, &key);
        let mut fields = untouched(&owner.page(page), action);
        for field in written {
            fields.insert(format!("{row}.{field}"), String::from(" "));
        }
        fields.insert(other.0.to_owned(), other.1.to_owned());
        let answer = owner.post(action, &body(&fields));
        let text = answer.text();
        assert_eq!(answer.status, 400, "{row}: {text}");
        assert!(
            text.contains(&format!("id=\"f-{row}.{first}-e\"")) && text.contains("Tick Remove to remove it"),
            "{row}: {text}"
        );
        assert!(text.contains("value=\"/typed\"") && text.contains(&format!("name=\"{row}.remove\"")), "{row}: {text}");
        assert_eq!(settings(&host, &key), before, "{row}");
        // The form that comes back still knows it.
        let mut again = untouched(&text, action);
        assert_eq!(owner.post(action, &body(&again)).status, 400, "{row}");
        again.insert(format!("{row}.remove"), String::from("on"));
        let answer = owner.post(action, &body(&again));
        assert_eq!(answer.status, 303, "{row}: {}", answer.text());
    }
    let now = settings(&host, &key);
    for list in [&now["limits"]["rates"], &now["firewall"]["rules"], &now["proxy"]["routes"]] {
        assert!(list.as_array().unwrap().len() == 1 && list[0]["path"] == "/typed", "{now}");
    }
}

/// Settings that no form would make, and what of them a form would send otherwise.
fn awkward() -> Vec<(&'static str, Value)> {
    let ca = rcgen::generate_simple_self_signed([String::from("a.example")]).unwrap().cert.pem();
    let ca = ca.replace("\r\n", "\n").replace('\n', "\r\n");
    let rule = |more: Value| {
        let mut rule = json!({ "name": " A  rule ", "path": "/a /b " });
        rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "firewall": { "rules": [rule] } })
    };
    let php = |more: Value| {
        let mut route = json!({ "path": "/p", "to": ["fastcgi+unix:/run/my php.sock "], "root": "/var/www/a  " });
        route.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "proxy": { "routes": [route] } })
    };
    let limits = "/sites/shop/settings/limits";
    let firewall = "/sites/shop/settings/firewall";
    vec![
        (
            limits,
            json!({ "limits": { "rates": [{ "path": "/a ", "requests": 1, "every_s": 86_400 }, { "path": "/a b", "requests": 1, "every_s": 90, "per": "site" }] } }),
        ),
        (
            limits,
            json!({ "limits": { "exempt": ["192.0.2.1", "192.0.2.1", "2001:db8::/32"], "ban": { "after": 1, "within_s": 61, "for_s": 7_200 } } }),
        ),
        (firewall, json!({ "firewall": { "sets": ["exploits", "dotfiles", "exploits"], "sets_do": "log" } })),
        (firewall, rule(json!({}))),
        (firewall, rule(json!({ "query_has": " " }))),
        (firewall, rule(json!({ "query_has": " a=b&<\"'> ", "agent_has": "   " }))),
        (firewall, rule(json!({ "agent_has": "", "do": "log", "methods": ["POST", "POST"] }))),
        (firewall, rule(json!({ "from": ["10.0.0.7", "10.0.0.7"], "do": "allow" }))),
        (PROXY, php(json!({ "scripts": ["/a b.php ", "* "], "deny": [], "plain_files": ["*.css ", "/wp-content/*"] }))),
        (PROXY, php(json!({ "deny": ["/cache/* "], "buffer": true, "timeout_s": { "connect": 7 } }))),
        (
            PROXY,
            json!({ "proxy": { "routes": [{ "to": ["https://a.example/"], "tls": { "ca": ca, "server_name": "b.example" } }] } }),
        ),
        (
            PROXY,
            json!({ "proxy": { "routes": [{ "to": ["https://a.example"], "tls": { "ca": format!("\n\n{ca}\r\n ") }, "health": { "path": "/" } }] } }),
        ),
        ("/sites/shop/settings/maintenance", json!({ "maintenance": { "on": true, "text": " Back\r\nsoon. " } })),
        ("/sites/shop/settings/access", json!({ "access": { "mode": "basic", "paths": ["/a b ", "/c"] } })),
        (
            "/sites/shop/settings/cors",
            json!({ "cors": { "origins": ["https://a.example", "https://b.example"], "credentials": true } }),
        ),
        ("/sites/shop/settings/traffic", json!({ "traffic": { "budget_bytes": 1_234_567_891 } })),
        ("/sites/shop/settings/addresses", json!({ "addresses": { "https": "both" } })),
    ]
}

#[test]
fn a_page_that_is_saved_as_it_was_loaded_changes_nothing() {
    let (host, key) = with_site();
    host.key("mate@example.org", "admin");
    for (action, document) in awkward() {
        let all = ["limits", "firewall", "proxy", "maintenance", "access", "cors", "traffic", "addresses"];
        let mut patch: serde_json::Map<String, Value> = all.iter().map(|it| ((*it).to_owned(), Value::Null)).collect();
        patch.extend(document.as_object().unwrap().clone());
        let before = host.api_json(&key, "PATCH /api/v1/sites/shop/settings", &Value::Object(patch).to_string(), 200);
        let page = match action {
            PROXY => PROXY,
            _ if document.get("limits").is_some() || document.get("firewall").is_some() => PROTECTION,
            _ => "/sites/shop/settings",
        };
        for email in [OWNER, "mate@example.org"] {
            let mut browser = Browser::signed_in(&host, email);
            let fields = untouched(&browser.page(page), action);
            let answer = browser.post(action, &body(&fields));
            assert_eq!(answer.status, 303, "{email} {document}: {}", answer.text());
            assert_eq!(settings(&host, &key), before, "{email} {document}");
        }
    }
    // What is untouched in a row stays as it is beside one that is changed, and the first blank of a new one is not kept.
    let rules = json!({ "firewall": { "rules": [{ "name": "A", "path": "/a " }, { "name": "B", "query_has": " " }] } });
    host.api_json(&key, "PATCH /api/v1/sites/shop/settings", &rules.to_string(), 200);
    let mut owner = Browser::signed_in(&host, OWNER);
    let changes = [("firewall.rules.1.place", "1"), ("firewall.rules.2.name", "C"), ("firewall.rules.2.path", " /c ")];
    let sent = typed(&mut owner, PROTECTION, "/sites/shop/settings/firewall", &changes);
    assert_eq!(owner.post("/sites/shop/settings/firewall", &sent).status, 303);
    let wanted =
        json!([{ "name": "B", "query_has": " " }, { "name": "A", "path": "/a " }, { "name": "C", "path": "/c" }]);
    assert_eq!(settings(&host, &key)["firewall"]["rules"], wanted);
}

/// As many and as long as settings may be, which is more than other forms bring.
#[test]
fn a_long_list_comes_back_as_it_was_sent() {
    let (host, key) = with_site();
    let mut owner = Browser::signed_in(&host, OWNER);
    let action = "/sites/shop/settings/firewall";
    let rule = |at: usize| {
        let words = format!("Rule {at} with <b>a long name</b> & an ü");
        json!({ "name": words, "path": format!("/{}/{at}/*", "x".repeat(90)), "query_has": "ü".repeat(90), "agent_has": "&\"<>'".repeat(10), "do": "log" })
    };
    let rules: Vec<Value> = (0..100).map(rule).collect();
    let patch = json!({ "firewall": { "rules": rules } });
    let before = host.api_json(&key, "PATCH /api/v1/sites/shop/settings", &patch.to_string(), 200);
    let sent = typed(&mut owner, PROTECTION, action, &[("firewall.sets.probes", "on")]);
    assert!(sent.len() > 64 * 1_024, "{}", sent.len());
    let answer = owner.post(action, &sent);
    assert_eq!(answer.status, 303, "{}", answer.text());
    let after = settings(&host, &key);
    assert_eq!(after["firewall"]["rules"], before["firewall"]["rules"]);
    assert_eq!(after["firewall"]["sets"], json!(["probes"]));
    // One more is refused beside its row.
    let sent = typed(
        &mut owner,
        PROTECTION,
        action,
        &[("firewall.rules.100.name", "One more"), ("firewall.rules.100.path", "/a")],
    );
    let answer = owner.post(action, &sent);
    assert_eq!(answer.status, 400);
    assert!(
        answer.text().contains("id=\"f-firewall.rules.100.name-e\"") && answer.text().contains("at most 100 rules")
    );
}

/// An upstream that answers each connection with a word, for as long as the test runs.
fn upstream(word: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            drop(stream.read(&mut [0; 4_096]));
            let length = word.len();
            drop(write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{word}"));
        }
    });
    port
}

#[test]
fn routes_are_rows_that_say_how_their_servers_stand() {
    let (host, key) = with_site();
    let inside = format!("http://127.0.0.1:{}", upstream("from inside"));
    let dead = format!("http://127.0.0.1:{}", crate::support::free_port());
    {
        let mut owner = Browser::signed_in(&host, OWNER);
        assert!(owner.page(PROXY).contains("All of it is answered by what was deployed."));
        let to = format!("{inside}\r\n{dead}");
        let sent = typed(
            &mut owner,
            PROXY,
            PROXY,
            &[
                ("proxy.routes.0.path", "/api/"),
                ("proxy.routes.0.to", &to),
                ("proxy.routes.0.failing.after", "1"),
                ("proxy.routes.0.failing.for_s", "600"),
            ],
        );
        let answer = owner.post(PROXY, &sent);
        assert_eq!((answer.status, answer.header("location")), (303, Some(PROXY)), "{}", answer.text());
        let route =
            json!({ "path": "/api/", "to": [inside, dead], "failing": { "after": 1, "for_s": 600 }, "inside": true });
        assert_eq!(settings(&host, &key)["proxy"]["routes"], json!([route]));
        host.until("the dead server is left alone", || {
            assert_eq!(
                http::ask(host.port, "GET /api/x HTTP/1.1\r\nHost: shop.localhost\r\n", b"").text(),
                "from inside"
            );
            let page = owner.page(PROXY);
            (page.contains("Fails, and is left alone") && page.contains("and one of them fails.")).then_some(())
        });
        assert!(owner.page(PROXY).contains("Gets requests"));
        let wrong = [
            ("proxy.routes.0.to", "127.0.0.1:3000"),
            ("proxy.routes.0.timeout_s.idle", "x"),
            ("proxy.routes.1.path", "/b/../c"),
            ("proxy.routes.1.to", &inside),
        ];
        let sent = typed(&mut owner, PROXY, PROXY, &wrong);
        let answer = owner.post(PROXY, &sent);
        assert_eq!(answer.status, 400);
        for id in ["0.to", "0.timeout_s.idle", "1.path"] {
            assert!(answer.text().contains(&format!("id=\"f-proxy.routes.{id}-e\"")), "{id}: {}", answer.text());
        }
        assert!(
            answer.text().contains("write http:// in front of it") && answer.text().contains(">127.0.0.1:3000<"),
            "{}",
            answer.text()
        );
    }
}

#[test]
fn who_does_not_manage_the_server_is_told_what_only_others_can_save() {
    let (host, key) = with_site();
    host.key("mate@example.org", "admin");
    let inside = json!({ "proxy": { "routes": [{ "path": "/api/", "to": ["http://127.0.0.1:3000"] }] } }).to_string();
    host.api_json(&key, "PATCH /api/v1/sites/shop/settings", &inside, 200);

    // They keep what was allowed, and are refused beside the field.
    {
        let mut mate = Browser::signed_in(&host, "mate@example.org");
        let page = mate.page(PROXY);
        assert!(
            page.contains("Only a super admin leads a route inside")
                && page.contains("A super admin has allowed this route"),
            "{page}"
        );
        assert!(!page.contains("routes.0.inside"), "{page}");
        let public = [("proxy.routes.1.path", "/public/"), ("proxy.routes.1.to", "http://9.9.9.9")];
        let sent = typed(&mut mate, PROXY, PROXY, &public);
        let answer = mate.post(PROXY, &sent);
        assert_eq!(answer.status, 303, "beside what was allowed: {}", answer.text());
        let kept = settings(&host, &key);
        assert_eq!(
            (&kept["proxy"]["routes"][0]["inside"], &kept["proxy"]["routes"][1]["inside"]),
            (&json!(true), &json!(false))
        );
        for change in [
            ("proxy.routes.0.strip_prefix", "on"),
            ("proxy.routes.1.to", "http://10.0.0.7"),
            ("proxy.routes.2.to", "unix:/run/x.sock"),
        ] {
            let sent = typed(
                &mut mate,
                PROXY,
                PROXY,
                &[("proxy.routes.2.path", "/sock"), ("proxy.routes.2.to", "http://9.9.9.8"), change],
            );
            let answer = mate.post(PROXY, &sent);
            let row = change.0.split('.').nth(2).unwrap();
            assert_eq!(answer.status, 403, "{change:?}: {}", answer.text());
            assert!(
                answer.text().contains(&format!("id=\"f-proxy.routes.{row}.to-e\"")),
                "{change:?}: {}",
                answer.text()
            );
            assert!(answer.text().contains("A super admin can save this route for you"), "{}", answer.text());
            // A box that only others are shown gives nothing either.
            let claimed = format!("{sent}&{}", form(&[(&format!("proxy.routes.{row}.inside"), "on")]));
            assert_eq!(mate.post(PROXY, &claimed).status, 403);
        }
        assert_eq!(settings(&host, &key), kept);
        let sent = typed(&mut mate, PROXY, PROXY, &[("proxy.routes.0.remove", "on"), ("proxy.routes.1.remove", "on")]);
        assert_eq!(mate.post(PROXY, &sent).status, 303);
        assert_eq!(settings(&host, &key), json!({}));
    }
}

#[test]
fn what_is_another_tenants_is_not_there_and_a_form_from_elsewhere_is_nobodys() {
    let (mut host, key) = with_site();
    let owner = Api::new(&host, &key);
    host.key("thief@example.net", "admin");
    move_to_tenant(&mut host, "thief@example.net", "other");
    owner.moved(&host);
    let mut thief = Browser::signed_in(&host, "thief@example.net");
    let routes = form(&[("proxy.routes.0.path", "/"), ("proxy.routes.0.to", "http://9.9.9.9")]);
    for path in [PROXY, PROTECTION] {
        assert_eq!(thief.get(path).status, 404, "{path}");
    }
    for path in [PROXY, "/sites/shop/settings/limits", "/sites/shop/settings/firewall", "/sites/shop/settings/traffic"]
    {
        assert_eq!(thief.post(path, &routes).status, 404, "{path}");
        assert_eq!(Browser::new(&host).post(path, &routes).header("location"), Some("/sign-in"), "{path}");
        let mut at_home = Browser::signed_in(&host, OWNER);
        let elsewhere = at_home.post_as(
            path,
            "Origin: http://shop.localhost\r\n",
            "application/x-www-form-urlencoded",
            routes.as_bytes(),
        );
        assert_eq!(elsewhere.status, 403, "{path}");
    }
    assert_eq!(settings(&host, &key), json!({}));
}
