//! Each kind of failure has a sentence of its own.

use std::collections::HashSet;

use super::{
    records::{Failed, Provider, Record, Trouble},
    *,
};

fn problem(kind: &str, detail: &str, way: Option<Kind>) -> Refusal {
    Refusal::Problem(Problem { kind: kind.to_owned(), detail: detail.to_owned(), way, retry_after_s: None })
}

/// Details as Let's Encrypt (Boulder) and Pebble word them: what it is told as, the type, the detail, and how the authority looked.
const SAID: &[(&str, &str, &str, Option<Kind>)] = &[
    (
        "port_silent",
        "connection",
        "192.0.2.1: Fetching http://a.example/: Timeout during connect (likely firewall problem)",
        Some(Kind::Http01),
    ),
    ("port_closed", "connection", "192.0.2.1: Fetching http://a.example/: Connection refused", Some(Kind::Http01)),
    ("no_route", "connection", "2001:db8::1: Fetching http://a.example/: network is unreachable", Some(Kind::Http01)),
    ("broken_off", "connection", "192.0.2.1: Fetching http://a.example/: Connection reset by peer", Some(Kind::Http01)),
    ("redirects", "connection", "192.0.2.1: Fetching http://a.example/: Redirect loop detected", Some(Kind::Http01)),
    ("unreached", "connection", "Error getting validation data", Some(Kind::Http01)),
    ("dns_nxdomain", "dns", "DNS problem: NXDOMAIN looking up A for a.example", Some(Kind::Http01)),
    (
        "dns_servfail",
        "dns",
        "DNS problem: SERVFAIL looking up A for a.example - the domain's nameservers may be malfunctioning",
        Some(Kind::Http01),
    ),
    (
        "dns_dnssec",
        "dns",
        "DNS problem: looking up A for a.example: DNSSEC: DNSKEY Missing: validation failure",
        Some(Kind::Http01),
    ),
    ("dns_silent", "dns", "DNS problem: query timed out looking up CAA for a.example", Some(Kind::Http01)),
    (
        "dns_no_address",
        "dns",
        "no valid A records found for a.example; no valid AAAA records found for a.example",
        Some(Kind::Http01),
    ),
    ("dns", "dns", "DNS problem: server failure at resolver", Some(Kind::Http01)),
    (
        "other_server",
        "unauthorized",
        "192.0.2.1: Invalid response from http://a.example/.well-known/acme-challenge/x: 404",
        Some(Kind::Http01),
    ),
    (
        "blocked",
        "unauthorized",
        "192.0.2.1: Invalid response from http://a.example/.well-known/acme-challenge/x: 403",
        Some(Kind::Http01),
    ),
    (
        "proxy_fails",
        "unauthorized",
        "192.0.2.1: Invalid response from http://a.example/.well-known/acme-challenge/x: 502",
        Some(Kind::Http01),
    ),
    (
        "unproven",
        "unauthorized",
        "192.0.2.1: Incorrect validation certificate for tls-alpn-01 challenge.",
        Some(Kind::TlsAlpn01),
    ),
    (
        "txt_missing",
        "dns",
        "DNS problem: NXDOMAIN looking up TXT for _acme-challenge.a.example - check that a DNS record exists for this domain",
        Some(Kind::Dns01),
    ),
    ("txt_other", "unauthorized", "Incorrect TXT record \"old\" found at _acme-challenge.a.example", Some(Kind::Dns01)),
    (
        "other_answer",
        "incorrectResponse",
        "The key authorization file from the server did not match this challenge",
        Some(Kind::Http01),
    ),
    ("tls", "tls", "192.0.2.1: remote error: tls: no application protocol", Some(Kind::TlsAlpn01)),
    ("caa", "caa", "CAA record for a.example prevents issuance", Some(Kind::Http01)),
    (
        "limit_same",
        "rateLimited",
        "too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s",
        None,
    ),
    ("limit_failed", "rateLimited", "too many failed authorizations (5) for \"a.example\" in the last 1h0m0s", None),
    (
        "limit_domain",
        "rateLimited",
        "too many certificates (50) already issued for \"example\" in the last 168h0m0s",
        None,
    ),
    ("limit_account", "rateLimited", "too many new orders (300) from this account in the last 3h0m0s", None),
    ("limit", "rateLimited", "Service busy; retry later.", None),
    ("name_refused", "rejectedIdentifier", "The ACME server refuses to issue a certificate for this domain name", None),
    ("name_unsupported", "unsupportedIdentifier", "ACME server only issues for dns", None),
    ("account_unknown", "accountDoesNotExist", "Account not found", None),
    ("account_closed", "unauthorized", "Account is not valid, has status \"deactivated\"", None),
    ("order_refused", "unauthorized", "The domain is not in the list of this customer", None),
    ("account_binding", "externalAccountRequired", "external account required", None),
    ("contact", "invalidContact", "contact email has invalid domain", None),
    ("terms", "userActionRequired", "agree to the new terms", None),
    ("profile", "invalidProfile", "profile unknown", None),
    ("authority_broken", "serverInternal", "internal error", None),
    ("authority_nonce", "badNonce", "JWS has an invalid anti-replay nonce", None),
    ("key_refused", "badCSR", "CSR is signed with a weak key", None),
    ("refused", "malformed", "Order has no identifiers", None),
];

/// What can go wrong with a record, at one provider.
fn troubles() -> Vec<(&'static str, Refusal)> {
    let words = || String::from("it said so");
    let of = |trouble| {
        let (zone, name) = (String::from("example"), String::from("_acme-challenge.a.example"));
        let record = Record { zone, name, value: String::from("v") };
        Refusal::Record(Box::new(Failed { record, provider: Provider::Cloudflare, trouble }))
    };
    [
        ("record_away", Trouble::Away(words())),
        ("record_untrusted", Trouble::Untrusted(words())),
        ("record_slow", Trouble::Slow),
        ("record_token", Trouble::Token),
        ("record_rights", Trouble::Rights),
        ("record_zone", Trouble::NoZone),
        ("record_limit", Trouble::Limited(Some(60))),
        ("record_broken", Trouble::Broken(words())),
        ("record_refused", Trouble::Refused(words())),
        ("record_nonsense", Trouble::Nonsense(words())),
        ("record_unseen", Trouble::Unseen(vec![String::from("ns1.example")])),
        ("record_alias", Trouble::Alias(String::from("elsewhere.example.net"))),
    ]
    .map(|(name, trouble)| (name, of(trouble)))
    .into()
}

fn all() -> Vec<(&'static str, Refusal)> {
    let mut all = vec![
        ("authority_away", Refusal::Away(String::from("connection refused"))),
        ("authority_untrusted", Refusal::Untrusted(String::from("UnknownIssuer"))),
        ("authority_no_directory", Refusal::NoDirectory(String::from("it answered 404 Not Found"))),
        ("authority_nonsense", Refusal::Nonsense(String::from("expected value at line 1"))),
        ("authority_slow", Refusal::Slow),
        ("no_way", Refusal::NoWay(vec![String::from("dns-01")])),
    ];
    all.extend(troubles());
    all.extend(SAID.iter().map(|(name, kind, detail, way)| (*name, problem(kind, detail, *way))));
    all
}

#[test]
fn each_kind_of_failure_has_its_own_sentence() {
    let (mut codes, mut texts) = (HashSet::new(), HashSet::new());
    for (wanted, refusal) in all() {
        let said = explain(&refusal, "Let's Encrypt", "a.example");
        assert_eq!(said.code.strip_prefix("certificate_"), Some(wanted), "{refusal:?}");
        assert!(said.text.ends_with(['.', '?']) || said.text.contains("Its words: "), "{}", said.text);
        assert!(codes.insert(said.code) && texts.insert(said.text));
    }
    assert!(texts.len() >= 55);
}

#[test]
fn who_is_asked_next_depends_on_whose_fault_it_is() {
    for (refusal, wanted) in [
        (problem("dns", "NXDOMAIN", Some(Kind::Http01)), Blame::Hostname),
        (problem("connection", "refused", Some(Kind::Http01)), Blame::Hostname),
        (problem("unauthorized", "404", Some(Kind::Http01)), Blame::Hostname),
        (problem("unauthorized", "Account is not valid", None), Blame::Account),
        (problem("accountDoesNotExist", "", None), Blame::Account),
        (problem("caa", "", Some(Kind::Http01)), Blame::Authority),
        (problem("rateLimited", "", None), Blame::Authority),
        (problem("serverInternal", "", None), Blame::Authority),
        (problem("badNonce", "", None), Blame::Authority),
        (problem("unauthorized", "not allowed to issue for this domain", None), Blame::Authority),
        (Refusal::Away(String::new()), Blame::Authority),
        (Refusal::NoWay(vec![String::from("dns-01")]), Blame::Way),
    ] {
        assert_eq!(explain(&refusal, "X", "a.example").blame, wanted, "{refusal:?}");
    }
}

#[test]
fn one_bad_answer_in_an_order_concerns_no_other_hostname() {
    let text = String::from("it answered something else");
    for (refusal, wanted) in [
        (Refusal::Away(text.clone()), true),
        (Refusal::Untrusted(text.clone()), true),
        (Refusal::NoDirectory(text.clone()), true),
        (Refusal::Nonsense(text), false),
        (Refusal::Slow, false),
        (problem("serverInternal", "", None), true),
        (problem("rateLimited", "Service busy; retry later.", None), true),
        (problem("badNonce", "", None), false),
        (problem("malformed", "it answered 403 Forbidden", None), false),
    ] {
        assert_eq!(concerns_all(&refusal), wanted, "{refusal:?}");
    }
}

#[test]
fn a_limit_says_until_when() {
    for (seconds, wanted) in
        [(1, "1 second."), (90, "90 seconds."), (120, "2 minutes."), (7_200, "2 hours."), (172_801, "3 days.")]
    {
        let limit = Problem { kind: String::from("rateLimited"), retry_after_s: Some(seconds), ..Problem::default() };
        let said = explain(&Refusal::Problem(limit), "X", "a.example").text;
        assert!(said.ends_with(&format!("in {wanted}")), "{said}");
        let broken =
            Problem { kind: String::from("serverInternal"), retry_after_s: Some(seconds), ..Problem::default() };
        let said = explain(&Refusal::Problem(broken), "X", "a.example").text;
        assert!(said.contains(&format!("left alone for {wanted}")), "{said}");
    }
}

#[test]
fn authorities_have_names() {
    for (directory, wanted) in [
        ("https://acme-v02.api.letsencrypt.org/directory", "Let's Encrypt"),
        ("https://ca.internal:14000/dir", "ca.internal"),
        ("nonsense", "nonsense"),
    ] {
        assert_eq!(authority_name(directory), wanted);
    }
}
