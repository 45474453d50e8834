//! Names that are shown to be ours by records in DNS: at providers whose APIs the tests play, and by hand, with a real authority.

use chainhost::{
    base::tasks::Tasks,
    domain::acme::records::{Provider as Kind, Record, Trouble},
    engines::{acme::zones::Zones, dns::resolver},
    ports::{
        dns::Dns,
        zones::{Access, Zones as _},
    },
};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::{
    acme::Hosted,
    support::{
        free_port,
        pebble::Pebble,
        provider::{Provider, TOKEN},
    },
};

const KINDS: [Kind; 3] = [Kind::Cloudflare, Kind::Hetzner, Kind::Desec];
const ZONE: &str = "zone.test";

fn engine() -> std::sync::Arc<Zones> {
    Zones::new(Tasks::new(), Dns::new(resolver(&["127.0.0.1:1".parse().unwrap()]), &[]))
}

fn access(of: &Provider, kind: Kind, token: &str) -> Access {
    let roots = Some(std::fs::read(of.ca()).unwrap());
    Access { provider: kind, token: Zeroizing::new(token.to_owned()), api: Some(of.api()), roots }
}

fn record(zone: &str, name: &str, value: &str) -> Record {
    Record { zone: zone.to_owned(), name: name.to_owned(), value: value.to_owned() }
}

#[tokio::test]
async fn a_record_is_set_and_taken_away_beside_others() {
    for kind in KINDS {
        let (it, engine) = (Provider::start(kind, ZONE), engine());
        let access = access(&it, kind, TOKEN);
        let name = "_acme-challenge.www.zone.test";
        it.has(name, "another");
        let ours = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let (one, two) = (record(ZONE, name, "one-value_1"), record(ZONE, name, "two"));
        // Twice: as if the first answer had been lost.
        for set in [&one, &one, &two] {
            engine.set(&access, set).await.unwrap();
        }
        assert_eq!(it.records(), [ours(name, "another"), ours(name, "one-value_1"), ours(name, "two")], "{kind:?}");
        for gone in [&one, &one, &two] {
            engine.remove(&access, gone).await.unwrap();
        }
        assert_eq!(it.records(), [ours(name, "another")], "{kind:?}");
        // The zone itself, as where `_acme-challenge.example.org` is an alias to it.
        let apex = record(ZONE, ZONE, "three");
        engine.set(&access, &apex).await.unwrap();
        assert_eq!(it.records().last().unwrap(), &ours(ZONE, "three"), "{kind:?}");
        engine.remove(&access, &apex).await.unwrap();
        assert_eq!(it.records().len(), 1, "{kind:?}");
    }
}

#[tokio::test]
async fn each_refusal_of_a_provider_is_told_apart() {
    for kind in KINDS {
        let (it, engine) = (Provider::start(kind, ZONE), engine());
        let one = record(ZONE, "_acme-challenge.zone.test", "v");
        let good = access(&it, kind, TOKEN);
        let set = async |access: &Access, record: &Record| engine.set(access, record).await.unwrap_err();
        assert_eq!(set(&access(&it, kind, "another"), &one).await, Trouble::Token, "{kind:?}");
        assert_eq!(set(&access(&it, kind, "two\nlines"), &one).await, Trouble::Token, "{kind:?}");
        let foreign = record("foreign.test", "_acme-challenge.foreign.test", "v");
        assert_eq!(set(&good, &foreign).await, Trouble::NoZone, "{kind:?}");
        for (status, head, body, wanted) in [
            (403, "", json!({}), Trouble::Rights),
            (429, "Retry-After: 86400\r\n", json!({}), Trouble::Limited(Some(86_400))),
            (429, "", json!({}), Trouble::Limited(None)),
            (500, "", json!({ "detail": "out of order" }), Trouble::Broken(String::from("out of order"))),
            (502, "", Value::Null, Trouble::Broken(String::from("it answered 502 Bad Gateway"))),
            (422, "", json!({ "error": { "message": "too long" } }), Trouble::Refused(String::from("too long"))),
            (200, "", Value::Null, Trouble::Nonsense(String::from("it answered 200 OK without JSON"))),
            (
                302,
                "Location: https://login.test/\r\n",
                Value::Null,
                Trouble::Nonsense(String::from("it answered 302 Found")),
            ),
        ] {
            it.say(move |_, _| Some((status, head, body.clone())));
            assert_eq!(set(&good, &one).await, wanted, "{kind:?} {status}");
        }
        // A moment is waited for.
        let before = it.calls().len();
        it.say(move |count, _| (count == before).then_some((429, "Retry-After: 1\r\n", json!({}))));
        engine.set(&good, &one).await.unwrap();
        assert_eq!(it.records().len(), 1, "{kind:?}");
        let strange = Access { roots: None, ..good.clone() };
        assert!(matches!(set(&strange, &one).await, Trouble::Untrusted(_)), "{kind:?}");
        let nowhere = Access { api: Some(format!("https://localhost:{}", free_port())), ..good };
        assert!(matches!(set(&nowhere, &one).await, Trouble::Away(_)), "{kind:?}");
    }
}

/// A provider whose changes the authority's name server shows.
fn shown_by(pebble: &Pebble, kind: Kind, zone: &'static str) -> Provider {
    let it = Provider::start(kind, zone);
    let names = pebble.names();
    it.tell(move |name, values| {
        names.tell("clear-txt", &json!({ "host": format!("{name}.") }).to_string());
        for value in values {
            names.tell("set-txt", &json!({ "host": format!("{name}."), "value": value }).to_string());
        }
    });
    it
}

#[test]
fn one_certificate_is_for_all_sites_and_previews() {
    let pebble = Pebble::start(free_port(), free_port());
    let provider = shown_by(&pebble, Kind::Cloudflare, "sites.test");
    let settings = format!("sites_domain = \"sites.test\"\n{}{}", pebble.settings(), provider.settings());
    let it = Hosted::start_resolving(pebble, &settings);
    let standing = it.issued("*.sites.test");
    assert!(standing["problem"].is_null() && standing["asked"] == true, "{standing}");
    it.host.until("it is shown", || (it.curl("shop.sites.test").1 == 0).then_some(()));
    assert_eq!(it.curl("shop.sites.test").0, "<p>the shop</p>");
    let shop = it.standing("shop.sites.test");
    assert!(shop["asked"] == false && shop["certificate"]["id"] == standing["certificate"]["id"], "{shop}");
    // A site that is made now has it at once, and so has a preview; what lies deeper has not.
    it.run(&["sites", "create", "later"]);
    it.wait("a new site", || (it.curl("later.sites.test").1 == 0).then_some(()));
    assert_eq!(it.curl("x--shop.sites.test").1, 0);
    assert_eq!(it.curl("a.shop.sites.test").1, 60);
    assert_eq!(provider.records(), [], "it is taken away again");
    let orders = provider.calls().iter().filter(|it| it.starts_with("POST")).count();
    assert_eq!(orders, 1, "{:?}", provider.calls());
    let told = it.run(&["certificates", "list"]);
    assert!(told.contains("*.sites.test"), "{told}");
    // People may have it asked for again by that name.
    let again = it.host.cli(&it.key, &["certificates", "retry", "*.sites.test"]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("less than a minute ago"), "{again:?}");
}

#[test]
fn a_hostname_that_nobody_reaches_gets_its_certificate_by_a_record() {
    for kind in [Kind::Hetzner, Kind::Desec] {
        let pebble = Pebble::start(free_port(), free_port());
        let provider = shown_by(&pebble, kind, "shop.test");
        let settings = format!("{}{}", pebble.settings(), provider.settings());
        let it = Hosted::start_resolving(pebble, &settings);
        // No authority would get there.
        it.pebble.dns("add-a", r#"{"host": "www.shop.test.", "addresses": ["127.0.0.9"]}"#);
        // An alias leads to a name of the zone.
        it.pebble.dns("set-cname", r#"{"host": "_acme-challenge.www.shop.test.", "target": "proofs.shop.test."}"#);
        it.add("www.shop.test");
        it.issued("www.shop.test");
        let calls = provider.calls().join("\n");
        assert!(!calls.contains("_acme-challenge") && provider.records().is_empty(), "{calls}");
    }
}

#[test]
fn what_keeps_a_record_from_being_set_is_told_and_nothing_is_left() {
    let pebble = Pebble::start(free_port(), free_port());
    let provider = Provider::start(Kind::Cloudflare, "shop.test");
    let settings = format!("{}{}", pebble.settings(), provider.settings());
    let mut it = Hosted::start_resolving(pebble, &settings);
    let refusing = json!({ "success": false, "errors": [{ "code": 1_000, "message": "Invalid API Token" }] });
    provider.say(move |_, _| Some((401, "", refusing.clone())));
    it.add("a.shop.test");
    let problem = it.refused("a.shop.test");
    let text = problem["message"].as_str().unwrap();
    assert!(problem["code"] == "certificate_record_token" && text.contains("`token_file`"), "{problem}");
    it.pebble.dns("set-cname", r#"{"host": "_acme-challenge.b.shop.test.", "target": "elsewhere.test."}"#);
    it.add("b.shop.test");
    let problem = it.refused("b.shop.test");
    assert!(
        problem["code"] == "certificate_record_alias"
            && problem["message"].as_str().unwrap().contains("elsewhere.test")
    );
    // The zone's servers never show it, and the process is killed meanwhile.
    provider.say(|_, _| None);
    it.add("c.shop.test");
    let first = it.wait("the record", || provider.records().first().cloned());
    it.host.kill();
    assert_eq!(provider.records(), std::slice::from_ref(&first));
    it.host.restart();
    it.wait("what was left is gone", || (!provider.records().contains(&first)).then_some(()));
}

#[test]
fn a_person_may_set_the_record() {
    let pebble = Pebble::start(free_port(), free_port());
    let settings = format!("{}[[acme.dns]]\nzones = [\"shop.test\"]\nprovider = \"manual\"\n", pebble.settings());
    let mut it = Hosted::start_resolving(pebble, &settings);
    it.add("www.shop.test");
    let problem = it.refused("www.shop.test");
    assert_eq!(problem["code"], "certificate_record_awaited");
    let wanted = it.standing("www.shop.test")["records"][0].clone();
    let (name, value) = (wanted["name"].as_str().unwrap(), wanted["value"].as_str().unwrap());
    assert_eq!((name, wanted["type"].as_str().unwrap(), value.len()), ("_acme-challenge.www.shop.test", "TXT", 43));
    let told = it.run(&["certificates"]);
    assert!(told.contains(&format!("{name} TXT \"{value}\"\n")), "{told}");
    assert_eq!(it.standing("www.shop.test")["failures"], 0);
    // It is the same order that waits, over a restart too.
    it.host.stop();
    it.host.restart();
    assert_eq!(it.standing("www.shop.test")["records"][0], wanted);
    it.pebble.dns("set-txt", &json!({ "host": format!("{name}."), "value": value }).to_string());
    it.run(&["certificates", "retry", "www.shop.test"]);
    let standing = it.issued("www.shop.test");
    assert!(standing["problem"].is_null() && standing["records"] == json!([]), "{standing}");
    it.host.until("it is shown", || (it.curl("www.shop.test").1 == 0).then_some(()));
}

#[test]
fn an_address_of_the_server_has_a_certificate() {
    let pebble = Pebble::start(free_port(), free_port());
    let settings = pebble.settings().replacen("[acme]\n", "[acme]\naddresses = [\"127.0.0.1\"]\n", 1);
    let it = Hosted::start_resolving(pebble, &settings);
    let standing = it.issued("127.0.0.1");
    assert_eq!((&standing["certificate"]["source"], &standing["problem"]), (&"acme".into(), &Value::Null));
    // curl names no host where it connects to an address.
    it.host.until("it is shown", || (it.curl("127.0.0.1").1 == 0).then_some(()));
    let panel = it.curl("127.0.0.1").0;
    assert!(panel.is_empty() || panel.contains("Sign in"), "{panel}");
    let figures = it.host.get("localhost", "/metrics").text();
    let ends = figures.lines().find(|it| it.starts_with("chainhost_certificate_expiry_timestamp_seconds{")).unwrap();
    assert!(ends.contains("{name=\"127.0.0.1\",from=\"database\"} "), "{ends}");
    assert!(figures.contains("chainhost_certificate_orders_total{outcome=\"issued\"} 1\n"), "{figures}");
    assert!(figures.contains("chainhost_certificates_overdue 0\n"), "{figures}");
}

/// An authority asks by TLS for the name that an address has in reverse (RFC 8738, 6).
#[test]
fn an_address_has_a_certificate_where_port_80_is_another_programs() {
    let (nobody, tls) = (free_port(), free_port());
    let pebble = Pebble::start(nobody, tls);
    let settings = pebble.settings().replacen("[acme]\n", "[acme]\naddresses = [\"127.0.0.1\"]\n", 1);
    let it = Hosted::start_by_tls(pebble, &settings);
    let standing = it.issued("127.0.0.1");
    assert_eq!((&standing["certificate"]["source"], &standing["problem"]), (&"acme".into(), &Value::Null));
    it.host.until("it is shown", || (it.curl("127.0.0.1").1 == 0).then_some(()));
}
