//! For which hostnames an authority is asked.

use std::net::IpAddr;

use crate::{
    domain::{
        acme,
        certificate::{
            self,
            kept::{Kept, Order, Source},
        },
        tenant::TenantId,
    },
    services::{Addresses, certificates::Hosts},
};

/// Ends of names that no public authority gives certificates for (RFC 6761, RFC 6762, RFC 7686, RFC 8375, RFC 9476, and `internal`).
const PRIVATE: [&str; 10] =
    ["localhost", "local", "test", "example", "invalid", "onion", "alt", "internal", "home.arpa", "localdomain"];

/// How long before the end of one that people gave an authority is asked.
const OVERLAP_MS: i64 = 7 * 24 * 60 * super::MINUTE_MS;
/// Failures of the certificate for all names below the domain, after which sites ask for their own: one alone may be a moment's, and a
/// certificate for each site uses up what the authority gives for the domain in a week.
const FAILURES_MAX: i64 = 2;

/// A hostname for which an authority is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) tenant: TenantId,
    pub(super) name: String,
    /// It is the panel's.
    pub(super) for_server: bool,
    /// It stands in for the one of all names below the domain, which has not come: what keeps that away may be the zone or its provider.
    pub(super) stands_in: bool,
}

/// Whether an authority is one of those that everybody believes: one in a network of one's own also gives what these may not.
pub(super) fn is_public_authority(directory: &str) -> bool {
    [
        "letsencrypt.org",
        "zerossl.com",
        "pki.goog",
        "ssl.com",
        "actalis.com",
        "buypass.com",
        "digicert.com",
        "sectigo.com",
    ]
    .iter()
    .any(|end| acme::is_within(directory, end))
}

/// Whether a name is one of this machine or network, whoever is asked.
fn is_private(name: &str, is_public: bool) -> bool {
    let ends = if is_public { &PRIVATE[..] } else { &PRIVATE[..1] };
    ends.iter().any(|end| name.strip_suffix(end).is_some_and(|it| it.is_empty() || it.ends_with('.')))
}

/// What is known of the server.
pub(super) struct Server<'a> {
    pub(super) addresses: &'a Addresses,
    /// Whose certificates those of the server are.
    pub(super) default: TenantId,
    /// The names in files of the operator.
    pub(super) covered: &'a [String],
    /// An authority that everybody believes is among those that are asked.
    pub(super) is_public: bool,
    /// All names below the domain of the sites are to have one certificate.
    pub(super) has_wildcard: bool,
    /// How it stands with that one.
    pub(super) star: Option<&'a Order>,
    /// Addresses that are to have one.
    pub(super) own: &'a [IpAddr],
}

/// The hostnames of all sites, and the panel's, besides those that have a certificate in a file or one that somebody gave.
pub(super) fn wanted(hosts: &Hosts, server: &Server<'_>, kept: &[Kept], now_ms: i64) -> Vec<Wanted> {
    // Some days before it ends, the next one is got: it is shown once the one that was given is over.
    let given = |it: &&Kept| {
        let overlap = OVERLAP_MS.min(it.until_ms.saturating_sub(it.from_ms) / 3);
        it.source == Source::Uploaded && it.from_ms <= now_ms && now_ms < it.until_ms.saturating_sub(overlap)
    };
    let has = |names: &[String], host: &str| names.iter().any(|name| certificate::covers(name, host));
    let by_server = |host: &str| kept.iter().filter(given).any(|it| it.for_server && has(&it.names, host));
    let by_tenant =
        |tenant: TenantId, host: &str| kept.iter().filter(given).any(|it| it.tenant == tenant && has(&it.names, host));
    let free = |host: &str| host.contains('.') && !is_private(host, server.is_public) && !has(server.covered, host);
    let of_server = |name: String| Wanted { tenant: server.default, name, for_server: true, stands_in: false };
    let star = Some(format!("*.{}", server.addresses.sites_domain));
    let star = star.filter(|it| server.has_wildcard && free(it) && !by_server(it));
    let counts = |it: &&Kept| it.source == Source::Acme && now_ms < it.until_ms;
    // One that could not be renewed gives way some days before it ends, so that not all names lose theirs at once.
    let lasts = |it: &&Kept| {
        let overlap =
            if has_failed(server.star) { OVERLAP_MS.min(it.until_ms.saturating_sub(it.from_ms) / 6) } else { 0 };
        it.source == Source::Acme && now_ms < it.until_ms.saturating_sub(overlap)
    };
    let is_here =
        star.as_ref().is_some_and(|star| kept.iter().filter(lasts).any(|it| it.for_server && it.names.contains(star)));
    let is_below = |host: &str| star.as_ref().is_some_and(|star| certificate::covers(star, host));
    // Until the star is here, names that have one of their own keep and renew it, and none waits for a star that does not come.
    let by_star = |tenant: TenantId, host: &str| {
        let has_own = || kept.iter().filter(counts).any(|it| it.tenant == tenant && it.names.iter().eq([host]));
        is_below(host) && (is_here || !has_failed(server.star) && !has_own())
    };
    let mut all = Vec::new();
    // First: people wait for these.
    let addresses = server.own.iter().map(IpAddr::to_string);
    all.extend(addresses.filter(|it| !has(server.covered, it) && !by_server(it)).map(of_server));
    let panel = &server.addresses.panel_host;
    // Whoever is to mend the star needs the panel.
    if free(panel) && !by_server(panel) && !(is_here && is_below(panel)) {
        all.push(Wanted { stands_in: is_below(panel), ..of_server(panel.clone()) });
    }
    all.extend(star.clone().map(of_server));
    for (tenant, name) in &hosts.own {
        if free(name) && !by_tenant(*tenant, name) {
            all.push(Wanted { tenant: *tenant, name: name.clone(), for_server: false, stands_in: false });
        }
    }
    for (tenant, name) in &hosts.sites {
        if free(name) && !by_server(name) && !by_star(*tenant, name) {
            let stands_in = is_below(name);
            all.push(Wanted { tenant: *tenant, name: name.clone(), for_server: false, stands_in });
        }
    }
    all
}

/// Whether the certificate for all names below the domain does not come by itself: it has failed, or a person has to set a record first.
fn has_failed(star: Option<&Order>) -> bool {
    star.and_then(|it| Some((it, it.problem.as_ref()?)))
        .is_some_and(|(it, problem)| it.failures >= FAILURES_MAX || problem.0 == acme::records::AWAITED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::Id;

    fn tenant(n: u8) -> TenantId {
        format!("{n:032x}").parse::<Id>().unwrap().into()
    }

    fn kept(of: u8, names: &[&str], source: Source, until_ms: i64, for_server: bool) -> Kept {
        Kept {
            id: format!("{:032x}", 9).parse::<Id>().unwrap().into(),
            tenant: tenant(of),
            names: names.iter().map(|it| (*it).to_owned()).collect(),
            source,
            seen_by: None,
            for_server,
            chain: String::new(),
            key_sealed: Vec::new(),
            issuer: String::new(),
            from_ms: 0,
            until_ms,
            created_ms: 0,
        }
    }

    fn got(of: u8, name: &str, until_ms: i64, for_server: bool) -> Kept {
        kept(of, &[name], Source::Acme, until_ms, for_server)
    }

    fn addresses(panel: &str, domain: &str) -> Addresses {
        Addresses {
            scheme: "https",
            sites_domain: domain.to_owned(),
            port: String::new(),
            panel_host: panel.to_owned(),
            local_port: 80,
        }
    }

    fn name(of: u8, name: &str) -> (TenantId, String) {
        (tenant(of), name.to_owned())
    }

    /// What is asked for at 50 by a server that is to have one for all names below `sites.org`.
    fn below(panel: &str, kept: &[Kept], covered: &[String], star: Option<&Order>) -> Vec<String> {
        let hosts =
            Hosts { own: vec![name(1, "a.org")], sites: vec![name(1, "one.sites.org"), name(2, "two.sites.org")] };
        let own = ["203.0.113.7".parse().unwrap()];
        let addresses = addresses(panel, "sites.org");
        let server = Server {
            addresses: &addresses,
            default: tenant(7),
            covered,
            is_public: true,
            has_wildcard: true,
            star,
            own: &own,
        };
        let all = wanted(&hosts, &server, kept, 50);
        // Each that stands in may be shown to be ours by another way than the star.
        let is_below = |it: &Wanted| it.name.strip_suffix(".sites.org").is_some_and(|label| label != "*");
        assert!(all.iter().all(|it| it.stands_in == is_below(it)), "{all:?}");
        all.into_iter().map(|it| it.name).collect()
    }

    const INSIDE: [&str; 3] = ["203.0.113.7", "*.sites.org", "a.org"];
    /// Nobody waits for the star without a panel.
    const FIRST: [&str; 4] = ["203.0.113.7", "panel.sites.org", "*.sites.org", "a.org"];

    #[test]
    fn only_names_that_need_one_and_can_have_one_are_asked_for() {
        let hosts = Hosts {
            own: ["a.org", "b.org", "c.org", "d.org", "x.test", "y.localhost"].map(|it| name(1, it)).into(),
            sites: vec![name(1, "one.sites.org"), name(2, "two.sites.org")],
        };
        let (given, got) = (Source::Uploaded, Source::Acme);
        let mut all = vec![
            kept(1, &["a.org"], given, 100, false),
            kept(1, &["b.org"], given, 10, false),
            kept(2, &["c.org"], given, 100, false),
            kept(1, &["c.org"], got, 100, false),
        ];
        let covered = [String::from("*.org"), String::from("d.org")];
        let names = |kept: &[Kept], addresses: &Addresses, covered: &[String], is_public| {
            let server =
                Server { addresses, default: tenant(7), covered, is_public, has_wildcard: false, star: None, own: &[] };
            let found = wanted(&hosts, &server, kept, 50);
            found.into_iter().map(|it| it.name).collect::<Vec<_>>()
        };
        let public = addresses("panel.sites.org", "sites.org");
        let wanted = ["panel.sites.org", "b.org", "c.org", "one.sites.org", "two.sites.org"];
        assert_eq!(names(&all, &public, &covered[1..], true), wanted);
        assert_eq!(names(&all, &public, &covered, true), ["panel.sites.org", "one.sites.org", "two.sites.org"]);
        // An authority of one's own gives more.
        assert!(names(&all, &public, &[], false).contains(&String::from("x.test")));
        all.push(kept(3, &["*.sites.org"], given, 100, true));
        assert_eq!(names(&all, &public, &covered[1..], true), ["b.org", "c.org"]);
        assert!(
            !names(&all, &addresses("localhost", "localhost"), &[], false).iter().any(|it| it.ends_with("localhost"))
        );
    }

    #[test]
    fn one_certificate_is_for_all_names_below_the_domain() {
        let names = |panel: &str, kept: &[Kept], covered: &[String]| below(panel, kept, covered, None);
        assert_eq!(names("panel.sites.org", &[], &[]), FIRST);
        // The domain itself is not one label below it.
        assert_eq!(names("sites.org", &[], &[]), ["203.0.113.7", "sites.org", "*.sites.org", "a.org"]);
        // What has a certificate of its own renews it until the star has come.
        let two = got(2, "two.sites.org", 100, false);
        let wanted = [&FIRST[..], &["two.sites.org"]].concat();
        assert_eq!(names("panel.sites.org", std::slice::from_ref(&two), &[]), wanted);
        let both = [two, got(7, "*.sites.org", 100, true)];
        assert_eq!(names("panel.sites.org", &both, &[]), INSIDE);
        let covered = [String::from("*.sites.org"), String::from("203.0.113.7")];
        assert_eq!(names("panel.sites.org", &[], &covered), ["a.org"]);
    }

    #[test]
    fn a_star_that_does_not_come_or_ends_keeps_no_site_from_its_own() {
        let order = |failures, code: Option<&str>| Order {
            tenant: tenant(7),
            name: String::from("*.sites.org"),
            certificate: None,
            authority: None,
            next_ms: 0,
            asked_ms: None,
            failures,
            problem: code.map(|it| (it.to_owned(), String::new())),
        };
        let each = [&FIRST[..], &["one.sites.org", "two.sites.org"]].concat();
        let (ends, lasts) = ([got(7, "*.sites.org", 58, true)], [got(7, "*.sites.org", 100, true)]);
        for (star, is_each) in [
            (order(1, Some("certificate_record_token")), false),
            (order(2, Some("certificate_record_token")), true),
            (order(0, Some("certificate_record_awaited")), true),
            (order(2, None), false),
        ] {
            let wanted = if is_each { &each[..] } else { &FIRST[..] };
            assert_eq!(below("panel.sites.org", &[], &[], Some(&star)), wanted, "{star:?}");
            let wanted = if is_each { &each[..] } else { &INSIDE[..] };
            assert_eq!(below("panel.sites.org", &ends, &[], Some(&star)), wanted, "{star:?}");
            assert_eq!(below("panel.sites.org", &lasts, &[], Some(&star)), INSIDE, "{star:?}");
        }
    }

    #[test]
    fn public_authorities_are_known() {
        for (directory, wanted) in [
            ("https://acme-v02.api.letsencrypt.org/directory", true),
            ("https://letsencrypt.org.evil.example/d", false),
            ("https://notletsencrypt.org/d", false),
            ("https://localhost:14000/dir", false),
        ] {
            assert_eq!(is_public_authority(directory), wanted, "{directory}");
        }
    }
}
