//! A hostname as visitors type it, normalised once.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::{Error, Result};

/// A hostname: lower-case ASCII (IDNA, UTS 46), no port, no trailing dot, at least two labels or `localhost`-like.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Hostname(String);

impl Hostname {
    /// Checks and normalises a hostname that somebody wants to use for a site.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |why: &str| Error::invalid("hostname", format!("`{text}` is not a hostname: {why}")).on("hostname");
        let trimmed = text.trim().trim_end_matches('.');
        if trimmed.is_empty() {
            return Err(wrong("it is empty."));
        }
        if trimmed.contains("://") || trimmed.contains('/') {
            return Err(wrong("give the name alone, without https:// and without a path."));
        }
        if trimmed.contains(':') {
            return Err(wrong("give the name alone, without a port."));
        }
        let ascii = idna::domain_to_ascii_strict(trimmed)
            .map_err(|_| wrong("it has characters or labels that DNS does not allow."))?;
        if ascii.parse::<std::net::IpAddr>().is_ok() {
            return Err(wrong("an address is not a name."));
        }
        if ascii.len() > 253 {
            return Err(wrong("it is longer than 253 characters."));
        }
        let fits = ascii.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        });
        if !fits {
            return Err(wrong("each part has 1 to 63 of a-z, 0-9 and -, and no - at an end."));
        }
        if !ascii.contains('.') {
            return Err(wrong("it needs a domain, as in www.example.org."));
        }
        if ascii.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit())) {
            return Err(wrong("the last part cannot be a number."));
        }
        Ok(Self(ascii))
    }

    /// The normalised text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Hostname {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The host part of a `Host` header or authority, lower-case, without port and trailing dot.
/// `None` when it cannot be a host. No allocation when it is lower-case already.
pub fn normalise_authority(authority: &str) -> Option<std::borrow::Cow<'_, str>> {
    let host = if let Some(rest) = authority.strip_prefix('[') {
        let end = rest.find(']')?;
        let after = rest.get(end + 1..)?;
        if !(after.is_empty() || is_port(after)) {
            return None;
        }
        authority.get(..end + 2)?
    } else {
        match authority.find(':') {
            Some(at) if is_port(authority.get(at..)?) => authority.get(..at)?,
            Some(_) => return None,
            None => authority,
        }
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.is_empty() || host.len() > 253 {
        return None;
    }
    // Of each request: all questions at one look at each byte.
    let mut has_upper = false;
    for byte in host.bytes() {
        match byte {
            b'A'..=b'Z' => has_upper = true,
            b'/' | b'\\' | b'?' | b'#' | b'@' | b'<' | b'>' | b'"' | b'\'' | b'%' => return None,
            b'!'..=b'~' => {}
            _ => return None,
        }
    }
    if has_upper {
        return Some(host.to_ascii_lowercase().into());
    }
    Some(host.into())
}

fn is_port(text: &str) -> bool {
    text.strip_prefix(':').is_some_and(|digits| digits.len() <= 5 && digits.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostnames_are_normalised() {
        assert_eq!(Hostname::parse("WWW.Example.ORG.").unwrap().as_str(), "www.example.org");
        assert_eq!(Hostname::parse("bücher.example").unwrap().as_str(), "xn--bcher-kva.example");
        for wrong in [
            "",
            " ",
            "example",
            "https://example.org",
            "example.org/x",
            "example.org:80",
            "1.2.3.4",
            "-a.org",
            "a-.org",
            "a..org",
            "a b.org",
            "a_b.org",
            "*.example.org",
            "example.1",
            "[::1]",
            "a\0.org",
        ] {
            assert!(Hostname::parse(wrong).is_err(), "{wrong:?}");
        }
        assert!(Hostname::parse(&format!("{}.org", "a".repeat(64))).is_err());
    }

    #[test]
    fn authorities_lose_their_port_and_case() {
        for (given, wanted) in [
            ("example.org", Some("example.org")),
            ("Example.ORG:8080", Some("example.org")),
            ("example.org.", Some("example.org")),
            ("[::1]:80", Some("[::1]")),
            ("[::1]", Some("[::1]")),
            ("127.0.0.1:1", Some("127.0.0.1")),
            ("a:b", None),
            ("", None),
            (":80", None),
            ("a b", None),
            ("a/b", None),
            ("[::1", None),
            ("[::1]x", None),
            ("user@host", None),
        ] {
            assert_eq!(normalise_authority(given).as_deref(), wanted, "{given:?}");
        }
        for one in (0..=u8::MAX).map(char::from) {
            let is_wrong = !one.is_ascii_graphic() || "/\\?#@<>\"'%:".contains(one);
            assert_eq!(normalise_authority(&format!("a{one}b")).is_none(), is_wrong, "{one:?}");
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(2_000))]

        #[test]
        fn no_text_is_too_much(text in "\\PC{0,80}|[a-zA-Z0-9.\\-:/\\[\\]üß。\u{200d}\u{0}]{0,300}|xn--[a-z0-9\\-]{0,70}\\.org") {
            if let Ok(host) = Hostname::parse(&text) {
                proptest::prop_assert_eq!(Hostname::parse(host.as_str()).ok(), Some(host.clone()));
                let host = host.as_str();
                proptest::prop_assert!(normalise_authority(host).is_some_and(|it| it == host));
            }
            if let Some(host) = normalise_authority(&text) {
                proptest::prop_assert!(!host.is_empty() && !host.bytes().any(|it| it.is_ascii_uppercase()));
            }
        }
    }
}
