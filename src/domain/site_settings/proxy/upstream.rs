//! A server that answers for a site, as people write it: `http://127.0.0.1:3000`, `unix:/run/app.sock`, `fastcgi://127.0.0.1:9000`.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
};

use crate::base::address::{self, Class};

/// What a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1.
    Http,
    /// The same in TLS.
    Https,
    /// `FastCGI`, as a responder.
    FastCgi,
}

/// Where it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// A host, an IPv6 address without brackets, and a port.
    Tcp(String, u16),
    /// A socket in the file system.
    Unix(String),
}

/// A server that answers for a site.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Upstream {
    /// What it speaks.
    pub protocol: Protocol,
    /// Where it is.
    pub place: Place,
}

impl Upstream {
    /// Reads it. An error says what is wrong with it, for behind its text.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self { protocol: Protocol::Http, place: socket(path)? });
        }
        if let Some(path) = text.strip_prefix("fastcgi+unix:") {
            return Ok(Self { protocol: Protocol::FastCgi, place: socket(path)? });
        }
        let (protocol, rest, port) = match text.split_once("://") {
            Some(("http", rest)) => (Protocol::Http, rest, Some(80)),
            Some(("https", rest)) => (Protocol::Https, rest, Some(443)),
            Some(("fastcgi", rest)) => (Protocol::FastCgi, rest, None),
            Some((other, _)) => {
                return Err(format!(
                    "begins with `{}://`, and there are http://, https://, unix:, fastcgi:// and fastcgi+unix:",
                    other.escape_debug()
                ));
            }
            None => return Err(String::from("does not say what is spoken there: write http:// in front of it")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#']) {
            return Err(String::from(
                "has a path. A route says which paths are asked for, by `path` and `strip_prefix`",
            ));
        }
        if rest.contains('@') {
            return Err(String::from("has a name or a password, which are not sent. Leave them out"));
        }
        let (host, port) = host_and_port(rest, port)?;
        Ok(Self { protocol, place: Place::Tcp(host, port) })
    }

    /// Whether it is a socket, FastCGI, or an address that is not public.
    pub fn is_inside(&self) -> bool {
        if self.protocol == Protocol::FastCgi {
            return true;
        }
        match &self.place {
            Place::Unix(_) => true,
            Place::Tcp(host, _) => match host.parse::<IpAddr>() {
                Ok(address) => address::class(address) != Class::Public,
                Err(_) => host == "localhost" || host.ends_with(".localhost"),
            },
        }
    }

    /// Its address where it is one of TCP, and speaks HTTP; `localhost` is one.
    pub fn address(&self) -> Option<IpAddr> {
        match &self.place {
            Place::Tcp(host, _) if self.protocol != Protocol::FastCgi => {
                host.parse().ok().or_else(|| (host == "localhost").then_some(IpAddr::V4(Ipv4Addr::LOCALHOST)))
            }
            _ => None,
        }
    }

    /// What stands in `Host` when it is asked for itself.
    pub fn authority(&self) -> String {
        match &self.place {
            Place::Unix(_) => String::from("localhost"),
            Place::Tcp(host, port) => {
                let is_usual = matches!((self.protocol, port), (Protocol::Http, 80) | (Protocol::Https, 443));
                let host = bracketed(host);
                if is_usual { host } else { format!("{host}:{port}") }
            }
        }
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.protocol, &self.place) {
            (Protocol::FastCgi, Place::Unix(path)) => write!(f, "fastcgi+unix:{path}"),
            (_, Place::Unix(path)) => write!(f, "unix:{path}"),
            (Protocol::Http, Place::Tcp(..)) => write!(f, "http://{}", self.authority()),
            (Protocol::Https, Place::Tcp(..)) => write!(f, "https://{}", self.authority()),
            (Protocol::FastCgi, Place::Tcp(..)) => write!(f, "fastcgi://{}", self.authority()),
        }
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// A path of at most 107 bytes, which is what the system takes for a socket.
fn socket(path: &str) -> Result<Place, String> {
    let path = path.strip_prefix("//").filter(|it| it.starts_with('/')).unwrap_or(path);
    if !path.starts_with('/') || path.contains('\0') || path.ends_with('/') {
        return Err(String::from("is not the whole path of a socket: write it as in `unix:/run/app.sock`"));
    }
    if path.len() > 107 {
        return Err(String::from("has a path of more than 107 bytes, which no socket can have"));
    }
    Ok(Place::Unix(path.to_owned()))
}

fn host_and_port(text: &str, usual: Option<u16>) -> Result<(String, u16), String> {
    let (host, port) = match text.strip_prefix('[').and_then(|it| it.split_once(']')) {
        Some((host, rest)) if rest.is_empty() || rest.starts_with(':') => (host, rest.strip_prefix(':')),
        Some(_) => return Err(String::from("has something between the address and the port")),
        None if text.matches(':').count() > 1 => {
            return Err(String::from("is an IPv6 address without brackets: write [2001:db8::1]"));
        }
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let port = match port {
        Some(port) => port
            .parse()
            .ok()
            .filter(|it| *it != 0 && port.bytes().all(|b| b.is_ascii_digit()))
            .ok_or("has a port that is none: it is from 1 to 65535")?,
        None => usual.ok_or(
            "has no port. PHP-FPM usually listens at 9000, or at a socket: fastcgi+unix:/run/php/php-fpm.sock",
        )?,
    };
    let host = host.to_ascii_lowercase();
    if host.parse::<IpAddr>().is_ok() {
        return Ok((host, port));
    }
    let labels = host.strip_suffix('.').unwrap_or(&host);
    let is_name = !labels.is_empty()
        && labels.len() <= 253
        && labels.split('.').all(|it| {
            (1..=63).contains(&it.len()) && it.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        });
    // What is nearly an address has several readings.
    let is_number =
        labels.rsplit('.').next().is_some_and(|it| it.bytes().all(|b| b.is_ascii_digit()) || it.starts_with("0x"));
    if !is_name || is_number || text.starts_with('[') {
        return Err(String::from("has no host that could be a name or an address"));
    }
    Ok((labels.to_owned(), port))
}
