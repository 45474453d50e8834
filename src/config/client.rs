//! What the commands that talk to a server take from the environment.
//!
//! `CHAINHOST_SERVER` and `CHAINHOST_KEY` are settings; `XDG_CONFIG_HOME`, `HOME` and `NO_COLOR` (no-color.org) keep
//! their usual meaning. Variables that name a proxy are never read (DECISIONS 24).

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
            credentials: folder.map(|it| it.join("chainhost/credentials.toml")),
            no_color: get("NO_COLOR").is_some(),
        }
    }
}

/// Where a server answers: `http://HOST[:PORT]`, without a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl {
    host: String,
    port: u16,
}

/// The server when nothing names another: the address at which `chainhost serve` listens by default.
pub const DEFAULT_SERVER: &str = "http://localhost:8080";

impl ServerUrl {
    /// The host, lower-case, without the brackets of an IPv6 address.
    pub fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// `HOST:PORT` as the `Host` header has it: without the port when it is 80.
    pub fn authority(&self) -> String {
        if self.port == 80 { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }

    /// Whether what is sent stays on this machine: `localhost`, a name below it, or a loopback address.
    pub fn is_loopback(&self) -> bool {
        self.is_localhost_name() || self.host().parse::<std::net::IpAddr>().is_ok_and(|it| it.is_loopback())
    }

    /// `localhost` or a name below it, which are loopback by definition (RFC 6761 §6.3).
    pub fn is_localhost_name(&self) -> bool {
        self.host == "localhost" || self.host.ends_with(".localhost")
    }
}

impl FromStr for ServerUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = |why: &str| {
            let shown: String = text.chars().take(200).flat_map(char::escape_debug).collect();
            Error::invalid("server_url", format!("`{shown}` cannot be the server: {why}")).on("server")
        };
        let uri: http::Uri = text.trim().parse().map_err(|_| wrong("write http://HOST:PORT."))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => {
                return Err(wrong(
                    "this version speaks http:// only; TLS comes with a later version. Through a tunnel it is safe: \
                     `ssh -L 8080:localhost:8080 HOST`, then --server http://localhost:8080.",
                ));
            }
            _ => return Err(wrong("it must begin with http://, as in http://localhost:8080.")),
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(wrong("give the host and the port alone, without a path."));
        }
        let authority = uri.authority().ok_or_else(|| wrong("it has no host."))?;
        if authority.as_str().contains('@') {
            return Err(wrong("it must not hold a user or a password. The key comes from CHAINHOST_KEY or `login`."));
        }
        let after_host = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
        let port = match after_host.strip_prefix(':').map(str::parse::<u16>) {
            None => 80,
            Some(Ok(port)) if port > 0 => port,
            Some(_) => return Err(wrong("its port must be a number from 1 to 65535.")),
        };
        let host = authority.host().trim_end_matches('.').to_ascii_lowercase();
        if host.is_empty() {
            return Err(wrong("it has no host."));
        }
        Ok(Self { host, port })
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.authority())
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
        ] {
            let url: ServerUrl = text.parse().unwrap();
            assert_eq!((url.to_string().as_str(), url.is_loopback()), (shown, loopback), "{text}");
        }
        assert_eq!("http://[::1]:9".parse::<ServerUrl>().unwrap().host(), "::1");
        for (wrong, why) in [
            ("https://host.example", "TLS comes with a later version"),
            ("localhost:8080", "http://"),
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
