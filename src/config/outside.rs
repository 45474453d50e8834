//! What the server is told of the world outside: name servers, its own public addresses, and where it may connect for others.

use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;
use toml::Spanned;

use crate::{
    base::network::Network,
    domain::{Error, Result},
};

/// The port of name servers.
const DNS_PORT: u16 = 53;
/// The port at which authorities ask.
const HTTP_PORT: u16 = 80;

/// The section `[dns]` of the file.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Dns {
    servers: Option<Vec<Spanned<String>>>,
}

/// The section `[outgoing]`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Outgoing {
    #[serde(default)]
    allow: Vec<Spanned<String>>,
}

/// The section `[doctor]`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Doctor {
    http_port: Option<Spanned<u16>>,
}

/// All that the file says of it.
pub(super) struct Sections<'a> {
    pub(super) public_addresses: &'a [Spanned<String>],
    pub(super) dns: &'a Dns,
    pub(super) outgoing: &'a Outgoing,
    pub(super) doctor: &'a Doctor,
}

/// The world outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outside {
    /// Name servers; none: those of `/etc/resolv.conf`.
    pub dns_servers: Vec<SocketAddr>,
    /// Networks that the server connects to for others although they are not public.
    pub allowed: Vec<Network>,
    /// Addresses at which this server is reached, besides those of its machine.
    pub public_addresses: Vec<IpAddr>,
    /// The port at which authorities ask.
    pub http_port: u16,
}

/// Reads it. `servers`: what the environment says, which wins. `wrong` says where a value stands and what is wrong with it.
pub(super) fn read(
    sections: &Sections<'_>,
    servers: Option<&str>,
    wrong: impl Fn(Option<usize>, &str, &str) -> Error,
) -> Result<Outside> {
    let at = |it: &Spanned<String>, key: &str, why: &str| wrong(Some(it.span().start), key, why);
    let dns_servers = match (servers, &sections.dns.servers) {
        (Some(text), _) => {
            let all = text.split(',').map(str::trim).filter(|it| !it.is_empty());
            let all = all.map(|it| server(it).ok_or_else(|| wrong(None, "CHAINHOST_DNS_SERVERS", &no_server(it))));
            all.collect::<Result<Vec<_>>>()?
        }
        (None, Some(all)) => {
            let read =
                |it: &Spanned<String>| server(it.get_ref()).ok_or_else(|| at(it, "servers", &no_server(it.get_ref())));
            all.iter().map(read).collect::<Result<Vec<_>>>()?
        }
        (None, None) => Vec::new(),
    };
    let allowed = sections.outgoing.allow.iter().map(|it| {
        let text = it.get_ref();
        text.parse::<Network>().map_err(|error| at(it, "allow", &format!("`{}` is {error}", text.escape_debug())))
    });
    let public_addresses = sections.public_addresses.iter().map(|it| {
        let text = it.get_ref();
        text.parse::<IpAddr>().map_err(|_| {
            let why = format!(
                "`{}` is not an address; write it alone, such as \"203.0.113.5\" or \"2001:db8::5\"",
                text.escape_debug()
            );
            at(it, "public_addresses", &why)
        })
    });
    let http_port = match &sections.doctor.http_port {
        Some(it) if *it.get_ref() == 0 => {
            return Err(wrong(
                Some(it.span().start),
                "http_port",
                "nobody listens on port 0; authorities ask at port 80",
            ));
        }
        Some(it) => *it.get_ref(),
        None => HTTP_PORT,
    };
    Ok(Outside {
        dns_servers,
        allowed: allowed.collect::<Result<_>>()?,
        public_addresses: public_addresses.collect::<Result<_>>()?,
        http_port,
    })
}

/// `1.1.1.1`, `1.1.1.1:53`, `2606:4700::1111` or `[2606:4700::1111]:53`.
fn server(text: &str) -> Option<SocketAddr> {
    let of_address = || text.parse::<IpAddr>().ok().map(|it| SocketAddr::new(it, DNS_PORT));
    text.parse().ok().or_else(of_address).filter(|it: &SocketAddr| it.port() != 0)
}

fn no_server(text: &str) -> String {
    format!(
        "`{}` is not the address of a name server; write for example 1.1.1.1:53 or [2606:4700:4700::1111]:53",
        text.escape_debug()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct File {
        public_addresses: Vec<Spanned<String>>,
        dns: Dns,
        outgoing: Outgoing,
        doctor: Doctor,
    }

    fn read_text(text: &str, servers: Option<&str>) -> Result<Outside> {
        let File { public_addresses, dns, outgoing, doctor } = toml::from_str(text).unwrap();
        let sections =
            Sections { public_addresses: &public_addresses, dns: &dns, outgoing: &outgoing, doctor: &doctor };
        read(&sections, servers, |at, key, why| Error::invalid("config", format!("{at:?} {key}: {why}")))
    }

    #[test]
    fn the_world_outside_is_named() {
        let plain = read_text("", None).unwrap();
        assert_eq!((plain.dns_servers.len(), plain.allowed.len(), plain.http_port), (0, 0, 80));
        let text = "public_addresses = ['203.0.113.5', '2001:db8::5']\n[dns]\nservers = ['1.1.1.1', '[2606:4700::1]:5353']\n\
                    [outgoing]\nallow = ['10.0.0.0/8']\n[doctor]\nhttp_port = 5002";
        let own = read_text(text, None).unwrap();
        let servers: Vec<String> = own.dns_servers.iter().map(SocketAddr::to_string).collect();
        assert_eq!(servers, ["1.1.1.1:53", "[2606:4700::1]:5353"]);
        assert_eq!((own.public_addresses.len(), own.allowed.len(), own.http_port), (2, 1, 5_002));
        // The environment wins.
        assert_eq!(read_text(text, Some("127.0.0.1:1, ::1")).unwrap().dns_servers.len(), 2);
        let error = read_text(text, Some("there")).unwrap_err().message;
        assert!(error.starts_with("None CHAINHOST_DNS_SERVERS: `there` is not"), "{error}");
    }
}
