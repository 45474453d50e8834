//! What the commands that talk to a server take from the environment.
//!
//! `CHAINHOST_SERVER`, `CHAINHOST_KEY`, `CHAINHOST_CA` and `CHAINHOST_TRUST_FINGERPRINT` are settings; `XDG_CONFIG_HOME`,
//! `HOME` and `NO_COLOR` (no-color.org) keep their usual meaning. Variables that name a proxy are never read (DECISIONS 24).

use std::{ffi::OsString, fmt, path::PathBuf, str::FromStr};

use crate::{
    base::secret::Secret,
    domain::{Error, Result},
};

/// The environment of a command; a variable that is set to nothing counts as not set.
#[derive(Debug)]
pub struct Environment {
    /// `CHAINHOST_SERVER`.
    pub server: Option<String>,
    /// `CHAINHOST_KEY`.
    pub key: Option<Secret>,
    /// `CHAINHOST_CA`.
    pub ca: Option<PathBuf>,
    /// `CHAINHOST_TRUST_FINGERPRINT`.
    pub trust_fingerprint: Option<String>,
    /// The file that `login` writes: below `XDG_CONFIG_HOME` or `~/.config`. Absent without a home.
    pub credentials: Option<PathBuf>,
    /// `NO_COLOR` is set.
    pub no_color: bool,
}

impl Environment {
    /// Reads the environment of this process.
    pub fn from_environment() -> Self {
        Self::read(|name| std::env::var_os(name))
    }

    fn read(get: impl Fn(&str) -> Option<OsString>) -> Self {
        let get = |name: &str| get(name).filter(|it| !it.is_empty());
        let text = |name: &str| get(name).map(|it| it.to_string_lossy().trim().to_owned());
        // The base directory specification says to ignore a relative path.
        let folder = get("XDG_CONFIG_HOME").map(PathBuf::from).filter(|it| it.is_absolute());
        let folder = folder.or_else(|| get("HOME").map(|home| PathBuf::from(home).join(".config")));
        Self {
            server: text("CHAINHOST_SERVER"),
            key: text("CHAINHOST_KEY").map(Secret::new),
            ca: get("CHAINHOST_CA").map(PathBuf::from),
            trust_fingerprint: text("CHAINHOST_TRUST_FINGERPRINT"),
            credentials: folder.map(|it| it.join("chainhost/credentials.toml")),
            no_color: get("NO_COLOR").is_some(),
        }
    }
}

/// Where a server answers: `https://HOST[:PORT]` or `http://HOST[:PORT]`, without a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl {
    is_https: bool,
    host: String,
    port: u16,
}

/// The server when nothing names another: the address at which `chainhost serve` listens by default.
pub const DEFAULT_SERVER: &str = "http://localhost:8080";

/// `localhost` or a name below it, which are loopback by definition (RFC 6761 §6.3).
pub fn is_localhost_name(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost")
}

impl ServerUrl {
    /// Whether it is reached by TLS.
    pub const fn is_https(&self) -> bool {
        self.is_https
    }

    /// The host, lower-case, without the brackets of an IPv6 address.
    pub fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// `HOST:PORT` as the `Host` header has it: without the port when it is the scheme's own.
    pub fn authority(&self) -> String {
        if self.port == own_port(self.is_https) { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }

    /// The same host and port, by TLS.
    #[must_use]
    pub fn to_https(&self) -> Self {
        Self { is_https: true, ..self.clone() }
    }

    /// Whether what is sent stays on this machine: `localhost`, a name below it, or a loopback address.
    pub fn is_loopback(&self) -> bool {
        is_localhost_name(&self.host) || self.host().parse::<std::net::IpAddr>().is_ok_and(|it| it.is_loopback())
    }

    /// Whether what is sent crosses a network that others may listen on.
    pub fn is_overheard(&self) -> bool {
        !self.is_https && !self.is_loopback()
    }
}

const fn own_port(is_https: bool) -> u16 {
    if is_https { 443 } else { 80 }
}

impl FromStr for ServerUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = |why: &str| {
            let shown: String = text.chars().take(200).flat_map(char::escape_debug).collect();
            Error::invalid("server_url", format!("`{shown}` cannot be the server: {why}")).on("server")
        };
        let uri: http::Uri = text.trim().parse().map_err(|_| wrong("write https://HOST or http://HOST:PORT."))?;
        let is_https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => {
                return Err(wrong(
                    "it must begin with https://, or with http:// as in http://localhost:8080 on this machine.",
                ));
            }
        };
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(wrong("give the host and the port alone, without a path."));
        }
        let authority = uri.authority().ok_or_else(|| wrong("it has no host."))?;
        if authority.as_str().contains('@') {
            return Err(wrong("it must not hold a user or a password. The key comes from CHAINHOST_KEY or `login`."));
        }
        let after_host = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
        let port = match after_host.strip_prefix(':').map(str::parse::<u16>) {
            None => own_port(is_https),
            Some(Ok(port)) if port > 0 => port,
            Some(_) => return Err(wrong("its port must be a number from 1 to 65535.")),
        };
        let host = authority.host().trim_end_matches('.').to_ascii_lowercase();
        if host.is_empty() {
            return Err(wrong("it has no host."));
        }
        Ok(Self { is_https, host, port })
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.is_https { "https" } else { "http" }, self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(set: &[(&str, &str)]) -> Environment {
        Environment::read(|name| set.iter().find(|it| it.0 == name).map(|it| OsString::from(it.1)))
    }

    #[test]
    fn the_credentials_lie_where_the_user_keeps_settings() {
        let path = |set: &[(&str, &str)]| environment(set).credentials;
        assert_eq!(path(&[("HOME", "/h")]).unwrap().to_str(), Some("/h/.config/chainhost/credentials.toml"));
        let both = path(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/x")]).unwrap();
        assert_eq!(both.to_str(), Some("/x/chainhost/credentials.toml"));
        let relative = path(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "x")]).unwrap();
        assert_eq!(relative.to_str(), Some("/h/.config/chainhost/credentials.toml"));
        assert_eq!(path(&[]), None);
    }

    #[test]
    fn an_empty_variable_is_not_set() {
        let empty = environment(&[("CHAINHOST_KEY", ""), ("CHAINHOST_SERVER", ""), ("NO_COLOR", "")]);
        assert!(empty.key.is_none() && empty.server.is_none() && !empty.no_color);
        assert!(environment(&[("NO_COLOR", "1")]).no_color);
    }

    #[test]
    fn server_urls_are_read_and_refused() {
        for (text, shown, loopback) in [
            ("http://localhost:8080", "http://localhost:8080", true),
            ("http://LOCALHOST./", "http://localhost", true),
            ("http://panel.localhost:80", "http://panel.localhost", true),
            ("http://[::1]:9", "http://[::1]:9", true),
            ("http://127.0.0.2:9", "http://127.0.0.2:9", true),
            ("http://host.example", "http://host.example", false),
            ("http://notlocalhost", "http://notlocalhost", false),
            ("HTTPS://Panel.Example:443/", "https://panel.example", false),
            ("https://localhost:80", "https://localhost:80", true),
            ("http://host.example:443", "http://host.example:443", false),
        ] {
            let url: ServerUrl = text.parse().unwrap();
            assert_eq!((url.to_string().as_str(), url.is_loopback()), (shown, loopback), "{text}");
        }
        let overheard = |text: &str| text.parse::<ServerUrl>().unwrap().is_overheard();
        assert!(
            overheard("http://host.example") && !overheard("http://localhost") && !overheard("https://host.example")
        );
        assert_eq!("http://[::1]:9".parse::<ServerUrl>().unwrap().host(), "::1");
        for (wrong, why) in [
            ("localhost:8080", "https://"),
            ("http://a/b", "without a path"),
            ("http://a?b", "without a path"),
            ("http://u:p@a", "password"),
            ("http://a:0", "port"),
            ("http://a:99999", "port"),
            ("http://a:", "port"),
            ("ftp://a", "http://"),
            ("", "http://"),
        ] {
            let error = wrong.parse::<ServerUrl>().unwrap_err();
            assert!(error.message.contains(why), "{wrong}: {}", error.message);
        }
    }
}
