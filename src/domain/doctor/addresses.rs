//! Whether the addresses lead here, and what answers there.

use std::net::IpAddr;

use super::{Finding, Observed, Outcome, Visit};
use crate::domain::acme::Kind;

/// What is found of addresses, and is not well.
pub(super) const CODES: [&str; 19] = [
    "a_elsewhere",
    "a_mixed",
    "aaaa_elsewhere",
    "aaaa_stray",
    "aaaa_without_ipv6",
    "aaaa_wrong",
    "address_not_public",
    "cloudflare_elsewhere",
    "other_chainhost",
    "other_program",
    "other_server",
    "own_address_unknown",
    "port_broke_off",
    "port_closed",
    "port_no_route",
    "port_not_http",
    "port_silent",
    "port_tls_closed",
    "redirected",
];

pub(super) fn examine(seen: &Observed) -> Vec<Finding> {
    seen.visits.iter().map(|it| by_ways(seen, it)).collect()
}

/// What is found at an address, by the ways that are left.
fn by_ways(seen: &Observed, visit: &Visit) -> Finding {
    let (host, address, port) = (&seen.host, visit.address, seen.port);
    // Whatever says its name ends TLS itself, so that what an authority asks for by TLS does not come here.
    let is_here = matches!(visit.by_tls, Some(Outcome::Here { through: None }));
    let by_tls = is_here && seen.has_left(Kind::TlsAlpn01);
    let in_clear = matches!(visit.outcome, Outcome::Here { .. });
    let found = one(seen, visit);
    if in_clear && !by_tls && !seen.has_left(Kind::Http01) && seen.has_left(Kind::TlsAlpn01) {
        let text = format!(
            "The CAA records let an authority ask port 443 of {address} alone (TLS-ALPN-01), where this server does not answer for {host}: let that port through to it, or add `http-01` to `validationmethods`."
        );
        return Finding::problem("port_tls_closed", text, saw(seen, visit));
    }
    if in_clear || !by_tls {
        return found;
    }
    if seen.own.iter().any(|it| it.address == address) {
        return found.eased("by port 443 (TLS-ALPN-01)");
    }
    let text = format!(
        "What is asked at port 443 of {address} comes to this server, and what is asked at port {port} does not: let that through as well; a certificate can come without that, by port 443 (TLS-ALPN-01)."
    );
    Finding::warning("answers_by_tls", text, saw(seen, visit))
}

fn one(seen: &Observed, visit: &Visit) -> Finding {
    let (host, address, port) = (&seen.host, visit.address, seen.port);
    let own = seen.own.iter().find(|it| it.address == address);
    match &visit.outcome {
        Outcome::Here { through } => here(seen, address, through.as_deref()),
        Outcome::OtherChainHost => Finding::problem(
            "other_chainhost",
            format!(
                "Another installation of Chain Host answers for {host} at {address}: point the record at {}, or add the hostname there and not here.",
                seen.own_text(address.is_ipv4())
            ),
            saw(seen, visit),
        ),
        Outcome::Barred(class) => Finding::problem(
            "address_not_public",
            format!(
                "{host} leads to {address}, {class}, where no authority gets to: change the record to {}.",
                seen.own_text(address.is_ipv4())
            ),
            format!("{} {address}", kind(address)),
        ),
        Outcome::Other { server: Some(server), .. } if is_cloudflare(server) => Finding::problem(
            "cloudflare_elsewhere",
            format!(
                "Cloudflare stands in front of {host} and does not pass requests on to this server: there, set the record to `DNS only`, or point it at {}.",
                seen.own_text(true)
            ),
            saw(seen, visit),
        ),
        outcome => match own {
            Some(own) if own.is_here => on_own(seen, visit, outcome),
            Some(_) if matches!(outcome, Outcome::Closed | Outcome::Silent | Outcome::NoRoute) => Finding::warning(
                "nat_unseen",
                format!(
                    "This server cannot reach itself at {address}, as behind many a NAT: open http://{host}/ from elsewhere, and if that fails let port {port} through to this server."
                ),
                saw(seen, visit),
            ),
            Some(_) => on_own(seen, visit, outcome),
            None => elsewhere(seen, visit),
        },
    }
}

fn here(seen: &Observed, address: IpAddr, through: Option<&str>) -> Finding {
    let (host, port) = (&seen.host, seen.port);
    match through {
        Some(server) if is_cloudflare(server) => Finding::good(
            "cloudflare_passes",
            format!("Cloudflare stands in front of {host} at {address} and passes requests on to this server."),
            format!("Server: {server}"),
        ),
        _ if seen.own.iter().any(|it| it.address == address) => Finding::good(
            "answers_here",
            format!("Port {port} of {address} is answered by this server, as far as that shows from here."),
            format!("{} {address}", kind(address)),
        ),
        _ => Finding::good(
            "answers_through",
            format!("What is asked at port {port} of {address} comes to this server, through a proxy or a NAT."),
            format!("{} {address}", kind(address)),
        ),
    }
}

/// What stands in the way at an address that is this server's.
fn on_own(seen: &Observed, visit: &Visit, outcome: &Outcome) -> Finding {
    let (host, address, port) = (&seen.host, visit.address, seen.port);
    let (code, text) = match outcome {
        Outcome::Closed => (
            "port_closed",
            format!(
                "Nothing listens on port {port} of {address}: add \":{port}\" to `listen`, or start what passes requests on to this server."
            ),
        ),
        Outcome::Silent => (
            "port_silent",
            format!("Port {port} of {address} answers nothing, as behind a firewall: let TCP to port {port} through."),
        ),
        Outcome::NoRoute => (
            "port_no_route",
            format!(
                "There is no way to {address} although this server has it: see that its network is up (`ip route`)."
            ),
        ),
        Outcome::BrokeOff => (
            "port_broke_off",
            format!(
                "What listens on port {port} of {address} ends the connection without an answer: let this server listen there, or have it pass requests on."
            ),
        ),
        Outcome::NotHttp => (
            "port_not_http",
            format!("What listens on port {port} of {address} does not speak HTTP: give that port to this server."),
        ),
        Outcome::Other { status: 300..=399, location: Some(location), .. } if is_own_https(location, host) => {
            let text = format!(
                "Whatever answers on port {port} of {address} sends requests for {host} to HTTPS, where this check does not follow: have it pass `/.well-known/` on to this server in clear, so that a certificate comes also when the one before is over."
            );
            return Finding::warning("redirected_to_https", text, saw(seen, visit));
        }
        Outcome::Other { status: 300..=399, location: Some(location), .. } => (
            "redirected",
            format!(
                "Whatever answers on port {port} of {address} sends requests for {host} to {location}: have it pass `/.well-known/` on to this server instead."
            ),
        ),
        Outcome::Other { server: Some(server), .. } => (
            "other_server",
            format!(
                "{server} answers on port {port} of {address} instead of this server: stop it, or have it pass {host} on."
            ),
        ),
        _ => (
            "other_program",
            format!(
                "Another program answers on port {port} of {address} instead of this server: `ss -ltnp 'sport = :{port}'` names it; stop it, or have it pass {host} on."
            ),
        ),
    };
    Finding::problem(code, text, saw(seen, visit))
}

/// An address that is not known as this server's, and where it does not answer.
fn elsewhere(seen: &Observed, visit: &Visit) -> Finding {
    let (host, address) = (&seen.host, visit.address);
    let own = seen.own_text(address.is_ipv4());
    let leads_here = |it: &&Visit| matches!(it.outcome, Outcome::Here { .. });
    let right = |is_v4: bool| seen.visits.iter().filter(leads_here).any(|it| it.address.is_ipv4() == is_v4);
    let (code, text) = match address {
        IpAddr::V4(_) if right(true) => (
            "a_mixed",
            format!(
                "One of several A records of {host} leads to {address}, where this server does not answer: remove it."
            ),
        ),
        IpAddr::V4(_) if !seen.has_own(true) => (
            "own_address_unknown",
            format!(
                "At {address}, where {host} leads, this server does not answer: if that is its address, as behind a NAT, name it in `public_addresses`, else change the A record."
            ),
        ),
        IpAddr::V4(_) => (
            "a_elsewhere",
            format!(
                "The A record of {host} leads to {address}, where this server does not answer: change it to {own}."
            ),
        ),
        IpAddr::V6(_) if right(true) && !seen.has_own(false) => (
            "aaaa_stray",
            format!(
                "The AAAA record of {host} leads to {address}, where this server does not answer, and authorities try that before the A record, which is right: remove the AAAA record."
            ),
        ),
        IpAddr::V6(_) if right(true) => (
            "aaaa_elsewhere",
            format!(
                "The AAAA record of {host} leads to {address}, where this server does not answer, and authorities try that before the A record, which is right: change it to {own}, or remove it."
            ),
        ),
        IpAddr::V6(_) if seen.has_own(false) => (
            "aaaa_wrong",
            format!(
                "The AAAA record of {host} leads to {address}, where this server does not answer: change it to {own}."
            ),
        ),
        IpAddr::V6(_) => (
            "aaaa_without_ipv6",
            format!(
                "The AAAA record of {host} leads to {address}, and this server knows of no IPv6 address of its own: remove the record, or name that address in `public_addresses` if it is this server's."
            ),
        ),
    };
    Finding::problem(code, text, saw(seen, visit))
}

/// What was seen at an address.
fn saw(seen: &Observed, visit: &Visit) -> String {
    let (address, port) = (visit.address, seen.port);
    let what = match &visit.outcome {
        Outcome::Here { .. } => String::from("this server"),
        Outcome::OtherChainHost => String::from("another Chain Host"),
        Outcome::Other { status, server, location } => {
            let server = server.as_ref().map_or_else(String::new, |it| format!(", Server: {it}"));
            let location = location.as_ref().map_or_else(String::new, |it| format!(", Location: {it}"));
            format!("HTTP {status}{server}{location}")
        }
        Outcome::Closed => String::from("closed"),
        Outcome::Silent => String::from("no answer in time"),
        Outcome::NoRoute => String::from("no route"),
        Outcome::BrokeOff => String::from("ended without an answer"),
        Outcome::NotHttp => String::from("no HTTP"),
        Outcome::Barred(class) => String::from(class.words()),
    };
    format!("{} {address}, port {port}: {what}", kind(address))
}

const fn kind(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "A" } else { "AAAA" }
}

/// Whether a redirect leads to the same host by HTTPS.
fn is_own_https(location: &str, host: &str) -> bool {
    let Some((scheme, rest)) = location.split_once("://") else { return false };
    let name = rest.split(['/', ':', '?', '#']).next().unwrap_or_default();
    scheme.eq_ignore_ascii_case("https") && name.eq_ignore_ascii_case(host)
}

fn is_cloudflare(server: &str) -> bool {
    server.trim().to_ascii_lowercase().starts_with("cloudflare")
}
