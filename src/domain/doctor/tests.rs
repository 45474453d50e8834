//! One situation a line: what is seen, and which finding it gives. No two findings say the same.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::domain::dns::Record;

const V4: &str = "198.51.100.7";
const V6: &str = "2001:db8::7";
const ELSEWHERE: &str = "203.0.113.9";
const ELSEWHERE_V6: &str = "2001:db8:9::9";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn answer(all: &[&str]) -> Answer {
    let record = |it: &&str| match ip(it) {
        IpAddr::V4(it) => Record::A(it),
        IpAddr::V6(it) => Record::Aaaa(it),
    };
    Answer { records: all.iter().map(record).collect(), ttl_s: 600, ..Answer::default() }
}

fn looked(v4: &[&str], v6: &[&str]) -> Looked {
    Looked { a: Ok(answer(v4)), aaaa: Ok(answer(v6)) }
}

fn zone(servers: Vec<(&str, Looked)>) -> (String, Vec<ZoneServer>) {
    let server =
        |(name, looked): (&str, Looked)| ZoneServer { name: name.to_owned(), address: ip("192.0.2.53"), looked };
    (String::from("shop.com"), servers.into_iter().map(server).collect())
}

fn caa(values: &[&str]) -> (String, Vec<Property>) {
    let property = |it: &&str| {
        let (tag, value) = it.split_once(' ').unwrap();
        let critical = tag == "tbs";
        Property { critical, tag: tag.to_owned(), value: value.to_owned() }
    };
    (String::from("shop.com"), values.iter().map(property).collect())
}

fn visit(address: &str, outcome: Outcome) -> Visit {
    Visit { address: ip(address), outcome, by_tls: None }
}

const HERE: Outcome = Outcome::Here { through: None };

fn other(status: u16, server: Option<&str>, location: Option<&str>) -> Outcome {
    Outcome::Other { status, server: server.map(str::to_owned), location: location.map(str::to_owned) }
}

/// All is well: A and AAAA lead here.
fn well() -> Observed {
    Observed {
        host: String::from("www.shop.com"),
        belongs: Belongs::Site(String::from("shop")),
        port: 80,
        own: vec![Own { address: ip(V4), is_here: true }, Own { address: ip(V6), is_here: true }],
        resolvers: vec![String::from("192.0.2.1")],
        looked: looked(&[V4], &[V6]),
        fails_by_dnssec: false,
        zone: Some(zone(vec![("ns1.shop.com", looked(&[V4], &[V6])), ("ns2.shop.com", looked(&[V4], &[V6]))])),
        caa: Ok(None),
        caa_differs: None,
        visits: vec![visit(V4, HERE), visit(V6, HERE)],
        failed: None,
        given: None,
        authorities: vec![Authority::lets_encrypt()],
    }
}

/// The server's own resolver fails, and nobody else was asked.
fn failing(why: Failure) -> Observed {
    let looked = Looked { a: Err(why), aaaa: Err(why) };
    Observed { looked, zone: None, caa: Err((String::from("www.shop.com"), why)), visits: Vec::new(), ..well() }
}

/// There are these addresses, with what came of them.
fn visited(all: Vec<Visit>) -> Observed {
    let of = |is_v4: bool| -> Vec<String> {
        all.iter().filter(|it| it.address.is_ipv4() == is_v4).map(|it| it.address.to_string()).collect()
    };
    let (v4, v6) = (of(true), of(false));
    let as_text = |it: &[String]| answer(&it.iter().map(String::as_str).collect::<Vec<_>>());
    let looked = Looked { a: Ok(as_text(&v4)), aaaa: Ok(as_text(&v6)) };
    Observed { looked, zone: None, visits: all, ..well() }
}

/// There is no address, by this answer.
fn without(answer: Answer) -> Observed {
    let looked = Looked { a: Ok(answer.clone()), aaaa: Ok(answer) };
    Observed { looked, zone: None, visits: Vec::new(), ..well() }
}

/// Situations of the name, each with the code of the finding that comes first.
fn of_names() -> Vec<(&'static str, Observed)> {
    let dead = || Err(Failure::Silent);
    vec![
        ("site_has_it", well()),
        ("panel_has_it", Observed { belongs: Belongs::Panel, ..well() }),
        ("host_unknown", Observed { belongs: Belongs::Nobody, ..well() }),
        ("name_reserved", Observed { host: String::from("www.shop.test"), ..well() }),
        ("dns_no_server", failing(Failure::Silent)),
        ("dns_servfail", failing(Failure::ServerFailed)),
        ("dnssec_broken", Observed { fails_by_dnssec: true, ..failing(Failure::ServerFailed) }),
        ("dns_refused", failing(Failure::Refused)),
        ("cname_loop", failing(Failure::Loop)),
        ("dns_malformed", failing(Failure::Malformed)),
        (
            "dns_half_fails",
            Observed {
                looked: Looked { a: Ok(answer(&[V4])), aaaa: Err(Failure::ServerFailed) },
                zone: None,
                visits: vec![visit(V4, HERE)],
                ..well()
            },
        ),
        ("dns_no_name", without(Answer { no_name: true, ..Answer::default() })),
        ("dns_no_address", without(Answer::default())),
        (
            "cname_dangling",
            without(Answer { chain: vec![String::from("gone.host.net")], no_name: true, ..Answer::default() }),
        ),
        (
            "zone_server_silent",
            Observed {
                zone: Some(zone(vec![("ns1", looked(&[V4], &[V6])), ("ns2", Looked { a: dead(), aaaa: dead() })])),
                ..well()
            },
        ),
        (
            "zone_servers_differ",
            Observed { zone: Some(zone(vec![("ns1", looked(&[V4], &[V6])), ("ns2", looked(&[V4], &[]))])), ..well() },
        ),
        ("dns_change_pending", Observed { looked: looked(&[ELSEWHERE], &[]), ..well() }),
    ]
}

/// Situations of its addresses and its CAA records.
fn of_addresses() -> Vec<(&'static str, Observed)> {
    let own = |only: &[&str], is_here| only.iter().map(|it| Own { address: ip(it), is_here }).collect::<Vec<_>>();
    vec![
        ("address_not_public", visited(vec![visit("10.0.0.5", Outcome::Barred(Class::Private))])),
        ("a_elsewhere", visited(vec![visit(ELSEWHERE, other(200, Some("nginx"), None))])),
        ("a_mixed", visited(vec![visit(V4, HERE), visit(ELSEWHERE, Outcome::Silent)])),
        ("own_address_unknown", Observed { own: Vec::new(), ..visited(vec![visit(ELSEWHERE, Outcome::Silent)]) }),
        ("aaaa_elsewhere", visited(vec![visit(V4, HERE), visit(ELSEWHERE_V6, Outcome::Silent)])),
        (
            "aaaa_stray",
            Observed { own: own(&[V4], true), ..visited(vec![visit(V4, HERE), visit(ELSEWHERE_V6, Outcome::Closed)]) },
        ),
        ("aaaa_wrong", visited(vec![visit(ELSEWHERE_V6, Outcome::Closed)])),
        (
            "aaaa_without_ipv6",
            Observed { own: own(&[V4], true), ..visited(vec![visit(ELSEWHERE_V6, Outcome::NoRoute)]) },
        ),
        ("other_chainhost", visited(vec![visit(ELSEWHERE, Outcome::OtherChainHost)])),
        ("cloudflare_elsewhere", visited(vec![visit(ELSEWHERE, other(403, Some("cloudflare"), None))])),
        ("nat_unseen", Observed { own: own(&[V4], false), ..visited(vec![visit(V4, Outcome::Silent)]) }),
        ("port_closed", visited(vec![visit(V4, Outcome::Closed)])),
        ("port_silent", visited(vec![visit(V4, Outcome::Silent)])),
        ("port_no_route", visited(vec![visit(V4, Outcome::NoRoute)])),
        ("port_broke_off", visited(vec![visit(V4, Outcome::BrokeOff)])),
        ("port_not_http", visited(vec![visit(V4, Outcome::NotHttp)])),
        ("redirected", visited(vec![visit(V4, other(301, Some("nginx"), Some("https://shop.com/x")))])),
        (
            "redirected_to_https",
            visited(vec![visit(V4, other(301, Some("nginx"), Some("HTTPS://www.shop.com:443/x")))]),
        ),
        ("other_server", visited(vec![visit(V4, other(404, Some("Apache/2.4"), None))])),
        ("other_program", visited(vec![visit(V4, other(404, None, None))])),
        ("caa_unanswered", Observed { caa: Err((String::from("shop.com"), Failure::ServerFailed)), ..well() }),
        (
            "caa_servers_differ",
            Observed {
                caa_differs: Some(Disagreement {
                    at: String::from("shop.com"),
                    said: [(String::from("ns1"), Vec::new()), (String::from("ns2"), caa(&["issue ca.example"]).1)],
                }),
                ..well()
            },
        ),
        ("caa_nobody", Observed { caa: Ok(Some(caa(&["issue ;"]))), ..well() }),
        ("caa_forbids", Observed { caa: Ok(Some(caa(&["issue ca.example"]))), ..well() }),
        ("caa_method", Observed { caa: Ok(Some(caa(&["issue letsencrypt.org; validationmethods=dns-01"]))), ..well() }),
        ("caa_critical", Observed { caa: Ok(Some(caa(&["tbs x"]))), ..well() }),
        (
            "caa_only_account",
            Observed { caa: Ok(Some(caa(&["issue letsencrypt.org; accounturi=https://a/1"]))), ..well() },
        ),
        (
            "caa_account",
            Observed {
                caa: Ok(Some(caa(&["issue letsencrypt.org; accounturi=https://a/1"]))),
                authorities: vec![Authority {
                    account: Some(String::from("https://a/2")),
                    ..Authority::lets_encrypt()
                }],
                ..well()
            },
        ),
    ]
}

/// Situations of what was said when a certificate was asked for.
fn of_orders() -> Vec<(&'static str, Observed)> {
    let failed = |code: &str| {
        let failed = Failed { code: code.to_owned(), text: String::from("It said no."), left_ms: 5 * 3_600_000 };
        Observed { failed: Some(failed), ..well() }
    };
    vec![
        ("order_limited", failed("certificate_limit_same")),
        ("order_waits", failed("certificate_record_awaited")),
        ("order_refused", failed("certificate_account_binding")),
        ("order_passes", failed("certificate_authority_away")),
        ("order_failed", failed("certificate_port_silent")),
        ("certificates_used_up", Observed { given: Some(5), ..well() }),
    ]
}

#[test]
fn each_situation_has_its_sentence() {
    let mut said: BTreeMap<String, &str> = BTreeMap::new();
    for (code, seen) in of_names().into_iter().chain(of_addresses()).chain(of_orders()) {
        let report = examine(&seen);
        let first = &report.findings[0];
        assert_eq!(first.code, code, "{report:#?}");
        // Beside the worst, what is well stays well: one cause gives one complaint.
        let complaints = report.findings.iter().filter(|it| it.level > Level::Good).count();
        assert!(complaints <= 1, "{code}: {report:#?}");
        assert_eq!(report.is_ready(), first.level < Level::Problem);
        if first.level > Level::Good {
            assert_eq!(report.summary(), first.text);
        }
        // One sentence.
        let text = &first.text;
        assert!(text.ends_with('.') && !text.contains("  "), "{text}");
        assert!(!text.trim_end_matches('.').contains(". "), "more than one sentence: {text}");
        assert_eq!(said.insert(text.clone(), code), None, "{code} says what another one says: {text}");
    }
    assert!(said.len() >= 40, "{}", said.len());
    let codes: BTreeSet<_> = said.values().collect();
    assert_eq!(codes.len(), said.len());
}

#[test]
fn what_is_well_is_said_too() {
    let report = examine(&well());
    let codes: Vec<_> = report.findings.iter().map(|it| it.code).collect();
    assert_eq!(codes, ["site_has_it", "answers_here", "answers_here", "caa_none"]);
    assert_eq!(report.summary(), "Nothing stands in the way of a certificate for www.shop.com.");
    let through = |server: Option<&str>| Outcome::Here { through: server.map(str::to_owned) };
    for (outcome, code) in [(through(None), "answers_through"), (through(Some("cloudflare")), "cloudflare_passes")] {
        let report = examine(&visited(vec![visit(ELSEWHERE, outcome)]));
        assert_eq!((report.findings[1].code, report.is_ready()), (code, true));
    }
    let report = examine(&Observed { caa: Ok(Some(caa(&["iodef mailto:a@shop.com"]))), ..well() });
    assert_eq!(report.findings.last().unwrap().code, "caa_unlimited");
    let report = examine(&Observed { caa: Ok(Some(caa(&["issue letsencrypt.org"]))), ..well() });
    let last = report.findings.last().unwrap();
    assert_eq!((last.code, last.seen.as_str()), ("caa_allows", "shop.com CAA 0 issue \"letsencrypt.org\""));
}

/// What was refused stands in the way where no look at the name shows whether it does; it is said when it is asked again.
#[test]
fn what_an_authority_has_refused_is_said() {
    for (code, left_ms, level, words) in [
        ("certificate_limit", 5 * 3_600_000, Level::Problem, "asked again in 5 hours:"),
        ("certificate_limit_domain", 0, Level::Problem, "asked again now:"),
        ("certificate_limit_failed", 0, Level::Problem, "mend what is wrong until then."),
        ("certificate_record_slow", 60_000, Level::Warning, "there is nothing to change."),
        ("certificate_record_unseen", 60_000, Level::Warning, "there is nothing to change."),
        ("certificate_record_token", 60_001, Level::Problem, "the next one is in 61 seconds:"),
        ("certificate_authority_untrusted", -5, Level::Problem, "the next one is now:"),
        ("certificate_authorities_rest", 1_200_000, Level::Warning, "the next one is in 20 minutes:"),
        ("certificate_dns_no_address", 1, Level::Warning, "`chainhost certificates retry www.shop.com`"),
    ] {
        let failed = Failed { code: code.to_owned(), text: String::from("No. It cannot be."), left_ms };
        let report = examine(&Observed { failed: Some(failed), ..well() });
        let first = &report.findings[0];
        assert_eq!((first.level, first.seen.as_str()), (level, "No. It cannot be."), "{code}");
        assert!(first.text.contains(words), "{code}: {}", first.text);
        assert_eq!(report.is_ready(), level < Level::Problem);
    }
    let given = |count| examine(&Observed { given: Some(count), ..well() });
    for (count, words) in [(0, "this server got none in the last 7, as"), (4, "got 4 in")] {
        let report = given(count);
        assert_eq!(report.worst(), Level::Good);
        assert!(report.findings.iter().any(|it| it.code == "certificates_given" && it.text.contains(words)));
    }
    assert_eq!(given(6).worst(), Level::Warning);
}

/// A situation with authorities that are asked by these ways.
fn asked(seen: Observed, directories: &[&str], ways: &[Kind]) -> Observed {
    Observed { authorities: directories.iter().map(|it| Authority::of(it, ways)).collect(), ..seen }
}

/// What is seen, who is asked by which ways, and the finding: its code, its level, which is the worst, and words of its sentence.
type Row<'a> = (Observed, &'a [&'a str], &'a [Kind], &'static str, Level, &'static str);

const LETS: &str = "https://acme-v02.api.letsencrypt.org/directory";
const ZERO: &str = "https://acme.zerossl.com/v2/DV90";
const USUAL: [Kind; 2] = [Kind::Http01, Kind::TlsAlpn01];
const DNS: [Kind; 1] = [Kind::Dns01];

fn hold<const N: usize>(rows: [Row<'_>; N]) {
    for (seen, directories, ways, code, level, words) in rows {
        let report = examine(&asked(seen, directories, ways));
        let found = report.findings.iter().find(|it| it.code == code).unwrap_or_else(|| panic!("{code}: {report:#?}"));
        assert_eq!((found.level, report.worst()), (level, level), "{report:#?}");
        assert!(found.text.contains(words), "{}", found.text);
    }
}

#[test]
fn one_authority_that_may_is_enough() {
    let with = |value: &str| Observed { caa: Ok(Some(caa(&[value]))), ..well() };
    let by = |method| with(&format!("issue letsencrypt.org; validationmethods={method}"));
    let (good, problem) = (Level::Good, Level::Problem);
    let none = "allow ca.example and not Let's Encrypt or ZeroSSL: add `shop.com CAA 0 issue \"letsencrypt.org\"`.";
    let second = "allow ZeroSSL and not Let's Encrypt.";
    let own = "https://ca.internal/dir";
    hold([
        (with("issue sectigo.com"), &[ZERO], &USUAL, "caa_allows", good, "allow ZeroSSL."),
        (with("issue sectigo.com"), &[LETS, ZERO], &USUAL, "caa_allows", good, second),
        (with("issue ca.example"), &[LETS, ZERO], &USUAL, "caa_forbids", problem, none),
        (with("issue ca.example"), &[own], &USUAL, "caa_unsure", Level::Warning, "ca.internal knows itself"),
        (by("dns-01"), &[LETS], &DNS, "caa_allows", good, "allow Let's Encrypt."),
        (by("dns-01"), &[LETS], &USUAL, "caa_method", problem, "add `http-01` or `tls-alpn-01`"),
    ]);
}

/// What an authority does not ask for stands in nobody's way, and is said all the same.
#[test]
fn one_way_that_is_open_is_enough() {
    let tls = |address, outcome, by_tls| visited(vec![Visit { by_tls: Some(by_tls), ..visit(address, outcome) }]);
    let closed = || visited(vec![visit(V4, Outcome::Closed)]);
    let shut = || tls(V4, Outcome::Closed, HERE);
    let panel = |seen| Observed { belongs: Belongs::Panel, ..seen };
    let inside = || visited(vec![visit("10.0.0.5", Outcome::Barred(Class::Private))]);
    let elsewhere = || visited(vec![visit(ELSEWHERE, Outcome::Silent)]);
    let nowhere = || without(Answer::default());
    let by_record = "a certificate can come without that, by a record in DNS (DNS-01).";
    let by_tls = "a certificate can come without that, by port 443 (TLS-ALPN-01).";
    let (warning, problem) = (Level::Warning, Level::Problem);
    let only_tls = Ok(Some(caa(&["issue letsencrypt.org; validationmethods=tls-alpn-01"])));
    let through = || Outcome::Here { through: Some(String::from("nginx")) };
    let open = "What is asked at port 443 of 203.0.113.9 comes to this server";
    hold([
        (closed(), &[LETS], &DNS, "port_closed", warning, by_record),
        (inside(), &[LETS], &DNS, "address_not_public", warning, by_record),
        // A name of a site has to lead here before a record is set for it; the panel's need not.
        (elsewhere(), &[LETS], &DNS, "a_elsewhere", problem, "change it to"),
        (panel(elsewhere()), &[LETS], &DNS, "a_elsewhere", warning, by_record),
        (nowhere(), &[LETS], &DNS, "dns_no_address", problem, "add an A record"),
        (panel(nowhere()), &[LETS], &DNS, "dns_no_address", warning, by_record),
        (shut(), &[LETS], &USUAL, "port_closed", warning, by_tls),
        (shut(), &[ZERO], &USUAL, "port_closed", problem, "Nothing listens on port 80"),
        (tls(V4, Outcome::Closed, Outcome::Closed), &[LETS], &USUAL, "port_closed", problem, "add \":80\""),
        // What ends TLS in front of this server takes what an authority asks for by TLS.
        (tls(V4, other(404, Some("nginx"), None), through()), &[LETS], &USUAL, "other_server", problem, "stop it"),
        (tls(ELSEWHERE, Outcome::Silent, HERE), &[LETS], &USUAL, "answers_by_tls", warning, open),
        (
            Observed { caa: only_tls, ..tls(V4, HERE, Outcome::Closed) },
            &[LETS],
            &USUAL,
            "port_tls_closed",
            problem,
            "let that port through to it",
        ),
    ]);
}

/// For all names below a domain its CAA records count, those for them alone before the others, and nobody asks where they lead.
#[test]
fn all_names_below_a_domain_are_judged_by_records_for_them() {
    let star = |values: &[&str]| Observed {
        host: String::from("*.shop.com"),
        belongs: Belongs::Star,
        caa: Ok(Some(caa(values))),
        ..asked(without(Answer::default()), &["https://acme-v02.api.letsencrypt.org/directory"], &[Kind::Dns01])
    };
    for (values, code, words) in [
        (&["issue letsencrypt.org"][..], "star_has_it", ""),
        (&["issue letsencrypt.org", "issuewild ;"], "caa_nobody", "replace it by `shop.com CAA 0 issuewild"),
        (&["issue letsencrypt.org", "issuewild ca.example"], "caa_forbids", "add `shop.com CAA 0 issuewild"),
        (&["issue ca.example", "issuewild letsencrypt.org"], "star_has_it", ""),
    ] {
        let report = examine(&star(values));
        assert_eq!(report.findings[0].code, code, "{report:#?}");
        assert!(report.findings[0].text.contains(words), "{report:#?}");
        assert_eq!(report.is_ready(), words.is_empty());
    }
}

/// What to change is named with the address to change it to.
#[test]
fn sentences_name_what_to_write() {
    let two = Observed {
        caa: Ok(Some(caa(&["issue ;"]))),
        ..visited(vec![visit(ELSEWHERE, other(200, Some("nginx"), None))])
    };
    let report = examine(&two);
    assert!(report.summary().contains(&format!("change it to {V4}")), "{}", report.summary());
    assert_eq!(report.findings[0].seen, format!("A {ELSEWHERE}, port 80: HTTP 200, Server: nginx"));
    assert!(report.findings[1].text.contains("`shop.com CAA 0 issue \"letsencrypt.org\"`"), "{report:#?}");
    // What the zone's servers say counts, since authorities ask them.
    let changed = Observed {
        looked: looked(&[V4], &[]),
        zone: Some(zone(vec![("ns1", looked(&[ELSEWHERE], &[]))])),
        visits: vec![visit(ELSEWHERE, Outcome::Silent)],
        ..well()
    };
    assert_eq!(changed.addresses(), [ip(ELSEWHERE)]);
    assert_eq!(examine(&changed).findings[0].code, "a_elsewhere");
}
