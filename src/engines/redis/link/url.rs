//! The text of a Redis URL, taken apart.
//!
//! SECURITY: nothing of the text comes back in an error: a password whose signs are not escaped may stand anywhere in it. What is
//! shown to people is made of hosts and ports alone.

use std::fmt;

use percent_encoding::percent_decode_str;

use crate::{
    base::secret::Secret,
    domain::{Error, Result},
};

/// Servers that one URL may name.
const HOSTS_MAX: usize = 32;
/// Where a Redis listens when nothing is said.
const PORT: u16 = 6_379;
/// Where a Sentinel listens when nothing is said.
const SENTINEL_PORT: u16 = 26_379;

/// One server: where it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::engines::redis) struct Node {
    /// A name or an address, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// How the master is found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It is the one that is named.
    Server,
    /// Sentinels know it by this name.
    Sentinel(String),
    /// The nodes of a cluster know who has which slot.
    Cluster,
}

/// Who signs in.
#[derive(Debug, Default)]
pub(super) struct Login {
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
}

/// A URL, taken apart.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) kind: Kind,
    pub(super) nodes: Vec<Node>,
    pub(super) login: Login,
    /// For the Sentinels, which have users of their own.
    pub(super) sentinel_login: Login,
    pub(super) database: i64,
    pub(super) tls: bool,
    /// A file with certificates that the server's must lead to, instead of those of the system.
    pub(super) roots: Option<String>,
}

/// The URL cannot be used; `why` must not quote it.
pub(super) fn wrong(why: &str) -> Error {
    let text = format!(
        "The Redis URL cannot be used: {why}. Write redis://user:password@host:6379/0, or rediss:// for TLS, or \
         redis+sentinel://user:password@host:26379,host:26379/NAME for a master that Sentinels know by NAME, or \
         redis+cluster://user:password@host:6379,host:6379."
    );
    Error::invalid("redis_url", text)
}

/// Takes a URL apart.
pub(super) fn parse(url: &str) -> Result<Parts> {
    let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("it does not begin with redis://"))?;
    if rest.contains('#') {
        return Err(wrong("there is a # in it; in a password write %23"));
    }
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    // A password may have an `@` in it that should have been escaped, so the last one counts.
    let (login, hosts) = match authority.rsplit_once('@') {
        Some((login, hosts)) => (login_of(login)?, hosts),
        None => (Login::default(), authority),
    };
    let mut parts = Parts {
        kind: Kind::Server,
        nodes: Vec::new(),
        login,
        sentinel_login: Login::default(),
        database: 0,
        tls: false,
        roots: None,
    };
    let port = match scheme {
        "redis" | "rediss" | "redis+cluster" => PORT,
        "redis+sentinel" => SENTINEL_PORT,
        _ => {
            return Err(wrong("it must begin with redis://, rediss://, redis+sentinel:// or redis+cluster://"));
        }
    };
    parts.nodes = hosts.split(',').map(|it| node(it, port)).collect::<Result<_>>()?;
    match scheme {
        "redis" => parts.database = database(path)?,
        "rediss" => (parts.database, parts.tls) = (database(path)?, true),
        "redis+sentinel" => parts.kind = Kind::Sentinel(master_name(path)?),
        _ if path.is_empty() || path == "0" => parts.kind = Kind::Cluster,
        _ => return Err(wrong("a cluster has the database 0 alone")),
    }
    if parts.nodes.len() > HOSTS_MAX {
        return Err(wrong("it names more than 32 servers"));
    }
    if parts.kind == Kind::Server && parts.nodes.len() > 1 {
        return Err(wrong("it names several servers, which only redis+sentinel:// and redis+cluster:// can"));
    }
    settings(&mut parts, query)?;
    Ok(parts)
}

fn settings(parts: &mut Parts, query: &str) -> Result<()> {
    for pair in query.split('&').filter(|it| !it.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decoded(value)?;
        let is_sentinel = matches!(parts.kind, Kind::Sentinel(_));
        match (key, value.as_str()) {
            ("db", number) if is_sentinel => parts.database = database(number)?,
            ("sentinel_user", _) if is_sentinel => parts.sentinel_login.user = Some(value),
            ("sentinel_password", _) if is_sentinel => parts.sentinel_login.password = Some(Secret::new(value)),
            ("tls", "yes") if parts.kind != Kind::Server => parts.tls = true,
            ("tls", "no") if parts.kind != Kind::Server => {}
            ("sslrootcert", _) => parts.roots = Some(value),
            _ => {
                return Err(wrong(
                    "a setting behind its ? is not known; there are sslrootcert=FILE, for Sentinels and clusters tls=yes, and for \
                     Sentinels db, sentinel_user and sentinel_password",
                ));
            }
        }
    }
    if parts.roots.is_some() && !parts.tls {
        return Err(wrong("sslrootcert goes with rediss://, or with tls=yes"));
    }
    if parts.sentinel_login.user.is_some() && parts.sentinel_login.password.is_none() {
        return Err(wrong("sentinel_user goes with sentinel_password"));
    }
    Ok(())
}

fn login_of(text: &str) -> Result<Login> {
    let (user, password) = text.split_once(':').ok_or_else(|| wrong("a user needs a password: user:password@"))?;
    let user = Some(decoded(user)?).filter(|it| !it.is_empty());
    Ok(Login { user, password: Some(Secret::new(decoded(password)?)) })
}

fn database(text: &str) -> Result<i64> {
    match text.trim_end_matches('/') {
        "" => Ok(0),
        number => number
            .parse::<u16>()
            .map(i64::from)
            .map_err(|_| wrong("what stands behind the host is not a database's number")),
    }
}

fn master_name(text: &str) -> Result<String> {
    let name = decoded(text)?;
    let fits = |it: char| it.is_ascii_alphanumeric() || matches!(it, '.' | '-' | '_');
    if name.is_empty() || !name.chars().all(fits) {
        return Err(wrong("the name that the Sentinels know the master by is missing, or is not one"));
    }
    Ok(name)
}

fn node(text: &str, port: u16) -> Result<Node> {
    let not_one = || {
        wrong(
            "there is something that is not host:port where a host should be; in a password write @ : / ? and , as %40 %3A %2F \
             %3F and %2C",
        )
    };
    let (host, rest) = match text.strip_prefix('[') {
        Some(inner) => inner.split_once(']').ok_or_else(not_one)?,
        None => match text.find(':') {
            Some(at) => text.split_at_checked(at).ok_or_else(not_one)?,
            None => (text, ""),
        },
    };
    let fits = |it: char| it.is_ascii_alphanumeric() || matches!(it, '.' | '-' | '_');
    let is_host = if text.starts_with('[') {
        host.parse::<std::net::Ipv6Addr>().is_ok()
    } else {
        !host.is_empty() && host.chars().all(fits)
    };
    let port = match rest.strip_prefix(':') {
        Some(number) => number.parse().ok().filter(|it| *it != 0).ok_or_else(not_one)?,
        None if rest.is_empty() => port,
        None => return Err(not_one()),
    };
    if is_host { Ok(Node { host: host.to_owned(), port }) } else { Err(not_one()) }
}

fn decoded(text: &str) -> Result<String> {
    let text = percent_decode_str(text).decode_utf8().map_err(|_| wrong("it has escapes that are not UTF-8"))?;
    Ok(text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(login: &Login) -> (Option<&str>, Option<&str>) {
        (login.user.as_deref(), login.password.as_ref().map(Secret::expose))
    }

    #[test]
    fn all_four_kinds_are_read() {
        let plain = parse("redis://me:p%40ss%2F@db.example:6380/3").unwrap();
        assert_eq!((plain.kind, plain.database, plain.tls), (Kind::Server, 3, false));
        assert_eq!(secret(&plain.login), (Some("me"), Some("p@ss/")));
        assert_eq!(plain.nodes[0].to_string(), "db.example:6380");
        let tls = parse("rediss://:word@[::1]?sslrootcert=%2Fetc%2Fca.pem").unwrap();
        assert_eq!(
            (tls.tls, tls.roots.as_deref(), secret(&tls.login)),
            (true, Some("/etc/ca.pem"), (None, Some("word")))
        );
        assert_eq!(tls.nodes[0].to_string(), "[::1]:6379");
        let text = "redis+sentinel://me:a@a,b:26380/main?db=2&sentinel_user=s&sentinel_password=b%26&tls=yes";
        let sentinel = parse(text).unwrap();
        assert_eq!((sentinel.kind, sentinel.database, sentinel.tls), (Kind::Sentinel(String::from("main")), 2, true));
        assert_eq!(sentinel.nodes.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a:26379", "b:26380"]);
        assert_eq!(secret(&sentinel.sentinel_login), (Some("s"), Some("b&")));
        let cluster = parse("redis+cluster://a:1,b:2").unwrap();
        assert_eq!((cluster.kind, cluster.nodes.len(), cluster.tls), (Kind::Cluster, 2, false));
    }

    #[test]
    fn wrong_urls_say_what_to_write() {
        for (url, word) in [
            ("localhost:6379", "does not begin with redis://"),
            ("http://x", "must begin with redis://"),
            ("redis://", "not host:port"),
            ("redis://a,b", "several servers"),
            ("redis://a:0", "not host:port"),
            ("redis://a:x", "not host:port"),
            ("redis://a:63x/first", "not host:port"),
            ("redis://a/first", "database's number"),
            ("redis://me@a", "user:password@"),
            ("redis://a?speed=9", "is not known"),
            ("redis://a?tls=yes", "is not known"),
            ("redis://a?sslrootcert=x", "goes with rediss://"),
            ("redis+sentinel://a:1", "name that the Sentinels know"),
            ("redis+cluster://a:1/2", "database 0 alone"),
            ("redis://a#b", "%23"),
        ] {
            let error = parse(url).unwrap_err();
            assert!(error.code == "redis_url" && error.message.contains(word), "{url}: {error:?}");
            assert!(error.message.contains("redis://user:password@host:6379/0"), "{error:?}");
        }
    }

    #[test]
    fn no_error_quotes_what_may_be_a_password() {
        for url in [
            "redis://:hunter2",
            "redis://u:hunter/2@h",
            "redis://u:1?hunter2@h",
            "redis://u:1?hunter2=@h",
            "redis://u:1#hunter2@h",
            "redis://u:hunter2,x@h:0",
            "redis+sentinel://u:1/hunter2@h",
            "hunter2://x",
        ] {
            let error = parse(url).unwrap_err();
            assert!(!format!("{error:?}").contains("hunter"), "{url}: {error:?}");
        }
        let parts = parse("redis://:p@ss:w@h:1").unwrap();
        assert_eq!((secret(&parts.login), parts.nodes[0].to_string()), ((None, Some("p@ss:w")), String::from("h:1")));
        assert!(!format!("{parts:?}").contains("p@ss"));
    }
}
