//! For which hostnames an authority is asked.

use crate::{
    domain::{
        certificate::{
            self,
            kept::{Kept, Source},
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

/// A hostname for which an authority is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) tenant: TenantId,
    pub(super) name: String,
    /// It is the panel's.
    pub(super) for_server: bool,
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
    .any(|end| host(directory).strip_suffix(end).is_some_and(|it| it.is_empty() || it.ends_with('.')))
}

fn host(directory: &str) -> &str {
    let rest = directory.split_once("://").map_or(directory, |(_, rest)| rest);
    rest.split(['/', ':']).next().unwrap_or(rest)
}

/// Whether a name is one of this machine or network, whoever is asked.
fn is_private(name: &str, is_public: bool) -> bool {
    let ends = if is_public { &PRIVATE[..] } else { &PRIVATE[..1] };
    ends.iter().any(|end| name.strip_suffix(end).is_some_and(|it| it.is_empty() || it.ends_with('.')))
}

/// The hostnames of all sites, and the panel's, besides those that have a certificate in a file or one that somebody gave.
/// `is_public`: an authority that everybody believes is among those that are asked.
pub(super) fn wanted(
    hosts: &Hosts,
    addresses: &Addresses,
    default: TenantId,
    kept: &[Kept],
    covered: &[String],
    is_public: bool,
    now_ms: i64,
) -> Vec<Wanted> {
    // Some days before it ends, the next one is got: it is shown once the one that was given is over.
    let given = |it: &&Kept| {
        let overlap = OVERLAP_MS.min(it.until_ms.saturating_sub(it.from_ms) / 3);
        it.source == Source::Uploaded && it.from_ms <= now_ms && now_ms < it.until_ms.saturating_sub(overlap)
    };
    let has = |names: &[String], host: &str| names.iter().any(|name| certificate::covers(name, host));
    let by_server = |host: &str| kept.iter().filter(given).any(|it| it.for_server && has(&it.names, host));
    let by_tenant =
        |tenant: TenantId, host: &str| kept.iter().filter(given).any(|it| it.tenant == tenant && has(&it.names, host));
    let free = |host: &str| host.contains('.') && !is_private(host, is_public) && !has(covered, host);
    let mut all = Vec::new();
    for (tenant, name) in &hosts.own {
        if free(name) && !by_tenant(*tenant, name) {
            all.push(Wanted { tenant: *tenant, name: name.clone(), for_server: false });
        }
    }
    for (tenant, name) in &hosts.sites {
        if free(name) && !by_server(name) {
            all.push(Wanted { tenant: *tenant, name: name.clone(), for_server: false });
        }
    }
    let panel = &addresses.panel_host;
    if free(panel) && !by_server(panel) {
        // First: people wait for it.
        all.insert(0, Wanted { tenant: default, name: panel.clone(), for_server: true });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::Id;

    #[test]
    fn only_names_that_need_one_and_can_have_one_are_asked_for() {
        let id = |n: u8| format!("{n:032x}").parse::<Id>().unwrap();
        let tenant = |n: u8| TenantId::from(id(n));
        let kept = |of: u8, names: &[&str], source, until_ms, for_server| Kept {
            id: id(9).into(),
            tenant: tenant(of),
            names: names.iter().map(|it| (*it).to_owned()).collect(),
            source,
            for_server,
            chain: String::new(),
            key_sealed: Vec::new(),
            issuer: String::new(),
            from_ms: 0,
            until_ms,
            created_ms: 0,
        };
        let addresses = |panel: &str, domain: &str| Addresses {
            scheme: "https",
            sites_domain: domain.to_owned(),
            port: String::new(),
            panel_host: panel.to_owned(),
            local_port: 80,
        };
        let name = |of: u8, name: &str| (tenant(of), name.to_owned());
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
            let found = wanted(&hosts, addresses, tenant(7), kept, covered, is_public, 50);
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
