//! Who is at the other end of a request: the connection's peer, or the client that a trusted proxy names.
//!
//! SECURITY: a header of a forwarded request is believed when it comes from a proxy that the settings name, and from nobody
//! else. Only who comes from this machine and through no proxy is near.

use std::net::{IpAddr, SocketAddr};

use hyper::{HeaderMap, header::HeaderName};

use crate::base::network::Network;

/// Addresses that proxies pass on, each appending the one that it was asked by.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The scheme that the client used.
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// Each of them says that somebody stands in between.
const SIGNS: [&str; 7] =
    ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-server", "x-real-ip", "forwarded", "via"];

/// The client of a request, as an extension of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its address.
    pub address: IpAddr,
    /// Whether it is on this machine and came through no proxy.
    pub is_near: bool,
    /// Whether a trusted proxy brought it.
    pub is_proxied: bool,
    /// Whether anybody may be behind its address: this machine, or a trusted proxy that has named nobody.
    pub is_many: bool,
    /// `https` when this server or a trusted proxy has ended its TLS.
    pub scheme: &'static str,
}

/// Who has connected, as the listener knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address; a mapped IPv4 address is shown as IPv4.
    pub address: SocketAddr,
    /// What the proxy has told that passes its bytes on.
    pub told: Option<Told>,
    /// Whether this server ends its TLS.
    pub ends_tls: bool,
}

/// What a proxy tells with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Whether the client used TLS, where the proxy says so.
    pub tls: Option<bool>,
}

impl Peer {
    /// Somebody who has connected directly, as far as is known.
    pub fn new(address: SocketAddr) -> Self {
        Self { address: canonical(address), told: None, ends_tls: false }
    }

    /// The one that a proxy has named, with what it told.
    pub fn told_by_proxy(address: SocketAddr, told: Told) -> Self {
        Self { address: canonical(address), told: Some(told), ends_tls: false }
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The id of a request, set by the host switch and shown in problems, pages and the log.
#[derive(Clone, Debug, Default)]
pub struct RequestId(pub String);

/// What is believed of forwarded requests.
#[derive(Clone, Debug)]
pub struct Trust {
    /// The proxies.
    pub proxies: Vec<Network>,
    /// The addresses of this machine: a site that passes requests on to another one here asks from there, for all of its visitors.
    pub own: Vec<IpAddr>,
    /// The scheme where a proxy does not name one.
    pub scheme: &'static str,
}

impl Trust {
    /// The client of a request that `peer` sent with these headers.
    pub fn client(&self, peer: Peer, headers: &HeaderMap) -> Client {
        let Peer { address, told, ends_tls } = peer;
        let peer = address.ip().to_canonical();
        let forwarded = told.is_some() || SIGNS.iter().any(|it| headers.contains_key(*it));
        // Who sits here has the port in clear; what passes TLS on, and says nothing of itself, brings everybody.
        let is_near = peer.is_loopback() && !forwarded && !ends_tls;
        if is_near || !self.is_trusted(peer) {
            let scheme = match told.map(|it| it.tls) {
                _ if ends_tls => "https",
                Some(Some(true)) => "https",
                Some(Some(false)) | None => "http",
                Some(None) => self.scheme,
            };
            return Client { address: peer, is_near, is_proxied: told.is_some(), is_many: self.is_many(peer), scheme };
        }
        let address = self.rightmost_stranger(peer, headers);
        Client {
            address,
            is_near: false,
            is_proxied: true,
            is_many: self.is_many(address),
            scheme: match last(headers, &FORWARDED_PROTO) {
                Some(word) if word.eq_ignore_ascii_case("https") => "https",
                Some(_) => "http",
                None if ends_tls => "https",
                None => self.scheme,
            },
        }
    }

    fn is_many(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.is_trusted(address) || self.own.contains(&address)
    }

    fn is_trusted(&self, address: IpAddr) -> bool {
        self.proxies.iter().any(|it| it.contains(address))
    }

    /// From the right, the first address that is no trusted proxy's: what stands left of it is the client's own word.
    fn rightmost_stranger(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let lines: Vec<&str> = headers.get_all(FORWARDED_FOR).iter().filter_map(|it| it.to_str().ok()).collect();
        let mut nearest = peer;
        for text in lines.iter().flat_map(|it| it.split(',')).rev() {
            // What cannot be read was not written by a proxy of ours, so the one that passed it on is who is known.
            let Some(address) = address(text.trim()) else { return nearest };
            nearest = address;
            if !self.is_trusted(address) {
                break;
            }
        }
        nearest
    }
}

/// The last element of a list in a header, which the nearest proxy wrote.
fn last<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get_all(name).iter().next_back()?.to_str().ok()?.rsplit(',').next().map(str::trim)
}

/// `192.0.2.1`, `2001:db8::1`, each also with a port; IPv6 then in brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().or_else(|_| text.parse::<SocketAddr>().map(|it| it.ip())).ok()?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn client(proxies: &[&str], peer: &str, lines: &[(&str, &str)]) -> Client {
        let trust =
            Trust { proxies: proxies.iter().map(|it| it.parse().unwrap()).collect(), own: Vec::new(), scheme: "http" };
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        trust.client(Peer::new(SocketAddr::new(peer.parse().unwrap(), 4711)), &headers)
    }

    #[test]
    fn anybody_may_be_behind_this_machine_and_a_proxy_that_names_nobody() {
        let own = vec!["198.51.100.7".parse().unwrap()];
        let trust = Trust { proxies: vec!["10.0.0.0/8".parse().unwrap()], own, scheme: "http" };
        let mut named = HeaderMap::new();
        named.append(FORWARDED_FOR, HeaderValue::from_static("192.0.2.1"));
        for (peer, headers, wanted) in [
            ("127.0.0.1", &HeaderMap::new(), true),
            ("::ffff:198.51.100.7", &HeaderMap::new(), true),
            ("198.51.100.7", &named, true),
            ("10.0.0.5", &HeaderMap::new(), true),
            ("10.0.0.5", &named, false),
            ("192.0.2.1", &HeaderMap::new(), false),
        ] {
            let peer = Peer::new(SocketAddr::new(peer.parse().unwrap(), 4711));
            assert_eq!(trust.client(peer, headers).is_many, wanted, "{peer:?}");
        }
    }

    /// What a proxy tells of a connection is believed where it is read; the headers of the client that it names are the client's own word.
    #[test]
    fn who_is_named_with_the_connection_is_the_client() {
        let trust = Trust { proxies: vec!["10.0.0.0/8".parse().unwrap()], own: Vec::new(), scheme: "https" };
        let mut spoofed = HeaderMap::new();
        spoofed.append(FORWARDED_FOR, HeaderValue::from_static("6.6.6.6"));
        spoofed.append(FORWARDED_PROTO, HeaderValue::from_static("https"));
        let of = |address: &str, tls, headers: &HeaderMap| {
            let address = SocketAddr::new(address.parse().unwrap(), 4711);
            let client = trust.client(Peer::told_by_proxy(address, Told { tls }), headers);
            (client.address.to_string(), client.is_near, client.is_proxied, client.scheme)
        };
        let client = |address: &str, scheme| (String::from(address), false, true, scheme);
        let none = HeaderMap::new();
        assert_eq!(of("198.51.100.7", Some(true), &none), client("198.51.100.7", "https"));
        assert_eq!(of("198.51.100.7", Some(false), &spoofed), client("198.51.100.7", "http"));
        assert_eq!(of("198.51.100.7", None, &none), client("198.51.100.7", "https"), "as the panel's address says");
        assert_eq!(of("127.0.0.1", Some(false), &none), client("127.0.0.1", "http"), "who is named is not near");
        assert_eq!(of("10.0.0.9", None, &spoofed), client("6.6.6.6", "https"), "a proxy in front of the proxy");
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let spoofed = [("x-forwarded-for", "127.0.0.1"), ("x-forwarded-proto", "https")];
        let stranger = client(&["10.0.0.1"], "203.0.113.5", &spoofed);
        assert_eq!(stranger.address.to_string(), "203.0.113.5");
        assert_eq!((stranger.is_near, stranger.is_proxied, stranger.scheme), (false, false, "http"));
        let brought = client(&["10.0.0.1"], "10.0.0.1", &spoofed);
        assert_eq!((brought.address.is_loopback(), brought.is_near, brought.scheme), (true, false, "https"));
        let none = client(&[], "127.0.0.1", &spoofed);
        assert_eq!((none.address.is_loopback(), none.is_near, none.scheme), (true, false, "http"));
    }

    #[test]
    fn the_client_is_the_rightmost_address_that_is_no_proxy() {
        let of = |lines: &[(&str, &str)]| {
            client(&["127.0.0.1", "10.0.0.0/8", "2001:db8::/32"], "127.0.0.1", lines).address.to_string()
        };
        let name = "x-forwarded-for";
        assert_eq!(of(&[(name, "198.51.100.7")]), "198.51.100.7");
        assert_eq!(of(&[(name, "6.6.6.6, 198.51.100.7, 10.0.0.2")]), "198.51.100.7");
        assert_eq!(of(&[(name, "6.6.6.6"), (name, "198.51.100.7")]), "198.51.100.7");
        assert_eq!(of(&[(name, "198.51.100.7:4711")]), "198.51.100.7");
        assert_eq!(of(&[(name, "[2001:db9::1]:4711, [2001:db8::1]")]), "2001:db9::1");
        assert_eq!(of(&[(name, "10.0.0.9, 10.0.0.2")]), "10.0.0.9");
        assert_eq!(of(&[(name, "198.51.100.7, unknown, 10.0.0.2")]), "10.0.0.2");
        assert_eq!(of(&[(name, "")]), "127.0.0.1");
    }

    /// Also somebody on this machine: something that passes TLS on may stand there, and cannot say so.
    #[test]
    fn who_comes_by_tls_is_not_near() {
        let trust = Trust { proxies: Vec::new(), own: Vec::new(), scheme: "http" };
        let peer = Peer { ends_tls: true, ..Peer::new("127.0.0.1:4711".parse().unwrap()) };
        let client = trust.client(peer, &HeaderMap::new());
        assert_eq!((client.is_near, client.is_proxied, client.scheme), (false, false, "https"));
    }

    #[test]
    fn near_is_who_comes_through_nobody() {
        for (peer, lines, wanted) in [
            ("127.0.0.1", &[][..], true),
            ("::ffff:127.0.0.1", &[], true),
            ("::1", &[], true),
            ("192.0.2.1", &[], false),
            ("127.0.0.1", &[("via", "1.1 x")], false),
            ("127.0.0.1", &[("forwarded", "for=127.0.0.1")], false),
            ("127.0.0.1", &[("x-real-ip", "127.0.0.1")], false),
            ("127.0.0.1", &[("x-forwarded-for", "127.0.0.1")], false),
        ] {
            assert_eq!(client(&["127.0.0.1"], peer, lines).is_near, wanted, "{peer} {lines:?}");
        }
    }

    #[test]
    fn the_nearest_proxy_says_the_scheme() {
        let of = |lines: &[(&str, &str)]| client(&["10.0.0.1"], "10.0.0.1", lines).scheme;
        assert_eq!(of(&[]), "http");
        assert_eq!(of(&[("x-forwarded-proto", "HTTPS")]), "https");
        assert_eq!(of(&[("x-forwarded-proto", "https, http")]), "http");
        assert_eq!(of(&[("x-forwarded-proto", "http"), ("x-forwarded-proto", "https")]), "https");
    }
}
