//! The address that people type for the panel, where it differs from the one that the server listens on.

use std::str::FromStr;

use crate::domain::hostname::Hostname;

/// `https://panel.example.org:8443`, in parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The panel's host.
    pub host: String,
    /// `:8443`, or empty for the scheme's own port.
    pub port: String,
}

impl FromStr for PublicUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once("://").and_then(|(scheme, rest)| match scheme {
            "http" => Some(("http", 80, rest)),
            "https" => Some(("https", 443, rest)),
            _ => None,
        });
        let Some((scheme, own_port, rest)) = parts else {
            return Err(format!("`{}` must begin with https:// or http://", text.escape_debug()));
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#', '@']) {
            return Err(String::from("give scheme, host and port alone, without a path"));
        }
        let (host, port) = match authority.rsplit_once(':') {
            None => (authority, own_port),
            Some((host, port)) => match port.parse::<u16>() {
                Ok(port) if port > 0 => (host, port),
                _ => return Err(format!("`{}` is not a port", port.escape_debug())),
            },
        };
        let host = if host == "localhost" {
            host.to_owned()
        } else {
            let parsed = Hostname::parse(host).map_err(|error| error.message.trim_end_matches('.').to_owned())?;
            parsed.to_string()
        };
        Ok(Self { scheme, host, port: if port == own_port { String::new() } else { format!(":{port}") } })
    }
}
