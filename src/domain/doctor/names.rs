//! What DNS says of the name: whether there is one, and whether all say the same.

use super::{Finding, Observed, ZoneServer, addresses, listed};
use crate::domain::dns::{Answer, Failure};

pub(super) fn examine(seen: &Observed) -> Vec<Finding> {
    let mut findings: Vec<Finding> = failed(seen).into_iter().collect();
    let is_down = findings.iter().any(|it| it.code == "dns_no_server");
    if is_down {
        return findings;
    }
    findings.extend(silent(seen));
    // Where the domain itself leads is nothing to the names below it.
    if seen.is_wild() {
        return findings;
    }
    if seen.addresses().is_empty() {
        findings.extend(nothing(seen));
    }
    findings.extend(differ(seen));
    findings.extend(pending(seen));
    findings
}

/// The domain in which records are changed, for people.
fn place(seen: &Observed) -> &str {
    seen.zone.as_ref().map_or_else(|| seen.base(), |it| it.0.as_str())
}

/// Why the server's own resolver has no answer, if it has none.
fn failed(seen: &Observed) -> Option<Finding> {
    let (host, place) = (&seen.host, place(seen));
    let asked = listed(&seen.resolvers);
    let failure = match (&seen.looked.a, &seen.looked.aaaa) {
        (Ok(_), Ok(_)) => return None,
        (Err(failure), Err(_)) => failure,
        (Err(why), Ok(_)) => return Some(half(seen, "A", *why)),
        (Ok(_), Err(why)) => return Some(half(seen, "AAAA", *why)),
    };
    let saw = format!("{failure} from {asked}");
    let (code, text) = match failure {
        Failure::Silent | Failure::Unreachable => (
            "dns_no_server",
            format!(
                "No name server answers this server, so that nothing can be found out about {host}: see that port 53 is open outwards, or name others in `servers` of [dns]."
            ),
        ),
        Failure::ServerFailed if seen.fails_by_dnssec => (
            "dnssec_broken",
            format!(
                "The signatures of {place} (DNSSEC) do not fit, so that authorities take no answer for {host}: have the DS record at your registrar match the zone's keys, or remove it."
            ),
        ),
        Failure::ServerFailed => (
            "dns_servfail",
            format!(
                "The name servers of {place} fail when they are asked for {host}: whoever runs them has to mend the zone."
            ),
        ),
        Failure::Refused => (
            "dns_refused",
            format!(
                "The name servers of this server refuse to answer it, as when it is asked for {host}: have them allow it, or name others in `servers` of [dns]."
            ),
        ),
        Failure::Loop => (
            "cname_loop",
            format!("The aliases (CNAME) of {host} lead in a circle: point one of them to a name with an address."),
        ),
        Failure::Malformed => (
            "dns_malformed",
            format!(
                "What name servers answer for {host} cannot be read: whoever runs those of {place} has to mend them."
            ),
        ),
    };
    Some(Finding::problem(code, text, saw))
}

/// One kind of addresses cannot be had, while the other can.
fn half(seen: &Observed, kind: &str, why: Failure) -> Finding {
    let text = format!(
        "For the {kind} records of {} no name server has an answer, not even that there are none, which some authorities take for a failure: whoever runs the name servers of {} has to mend that.",
        seen.host,
        place(seen)
    );
    Finding::warning("dns_half_fails", text, format!("{why} from {}", listed(&seen.resolvers)))
}

/// The answers that count, for IPv4.
fn counting(seen: &Observed) -> Option<&Answer> {
    let of_zone = seen.answered().find_map(|it| it.looked.a.as_ref().ok());
    of_zone.or(seen.looked.a.as_ref().ok())
}

/// Why there is no address.
fn nothing(seen: &Observed) -> Option<Finding> {
    let host = &seen.host;
    let answer = counting(seen)?;
    // The resolver knows the whole chain, also where the zone's servers were asked for its end.
    let chain = seen.looked.a.as_ref().map_or(&answer.chain, |it| &it.chain);
    let own = seen.own_text(true);
    let none = if answer.no_name { "NXDOMAIN" } else { "no A and no AAAA record" };
    Some(match chain.last() {
        Some(last) => Finding::problem(
            "cname_dangling",
            format!(
                "{host} is an alias (CNAME) of {last}, which has no address: point the alias to a name that has one, or replace it by an A record with {own}."
            ),
            format!("{host} → {}, {none}", chain.join(" → ")),
        ),
        None if answer.no_name => Finding::problem(
            "dns_no_name",
            format!("There is no {host} in DNS: where the records of its domain are kept, add an A record with {own}."),
            none,
        ),
        None => Finding::problem(
            "dns_no_address",
            format!("{host} is in DNS and has no address: add an A record with {own}."),
            none,
        ),
    })
}

/// Servers of the zone that do not answer, beside others that do.
fn silent(seen: &Observed) -> Vec<Finding> {
    if seen.answered().next().is_none() {
        return Vec::new();
    }
    let all = seen.zone.iter().flat_map(|it| &it.1);
    let failing = all.filter_map(|it| match (&it.looked.a, &it.looked.aaaa) {
        (Err(why), Err(_)) => Some((it, why)),
        _ => None,
    });
    failing
        .map(|(it, why)| {
            let text = format!(
                "The name server {} of {} does not answer for {}: mend it, or take it out of the zone's NS records and from your registrar.",
                it.name,
                place(seen),
                seen.host
            );
            Finding::warning("zone_server_silent", text, format!("{why} from {}", it.address))
        })
        .collect()
}

/// Servers of the zone that say different things.
fn differ(seen: &Observed) -> Option<Finding> {
    let mut answered = seen.answered();
    let first = answered.next()?;
    let other = answered.find(|it| addresses(&it.looked) != addresses(&first.looked))?;
    let says = |it: &ZoneServer| format!("{}: {}", it.name, listed(&addresses(&it.looked)));
    let text = format!(
        "The name servers of {} do not agree on {}: wait until the change has come to all of them, or mend the one that does not take it.",
        place(seen),
        seen.host
    );
    Some(Finding::warning("zone_servers_differ", text, format!("{}; {}", says(first), says(other))))
}

/// A change that the zone's servers have and others do not see yet.
fn pending(seen: &Observed) -> Option<Finding> {
    seen.answered().next()?;
    let (now, before) = (seen.addresses(), addresses(&seen.looked));
    if seen.looked.a.is_err() || before.is_empty() || now.is_empty() || now == before {
        return None;
    }
    let left = seen.looked.a.iter().chain(&seen.looked.aaaa).map(|it| it.ttl_s).max().unwrap_or(0);
    let minutes = left.div_ceil(60).max(1);
    let unit = if minutes == 1 { "minute" } else { "minutes" };
    let text = format!(
        "For {} the servers of {} say {}, and the resolver of this server says {}: if you have just changed the records, all see that within {minutes} {unit}.",
        seen.host,
        place(seen),
        listed(&now),
        listed(&before)
    );
    Some(Finding::warning("dns_change_pending", text, format!("{}: {}", listed(&seen.resolvers), listed(&before))))
}
