//! Under which address visitors find a site: one hostname of several, HTTPS, and that browsers remember it.

use serde::{Deserialize, Serialize};

use super::{Section, is_default};
use crate::domain::{Error, Result, hostname::Hostname};

/// The section `addresses`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Addresses {
    /// The hostname of the site that visitors of its others are sent to. Previews are not among those.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canonical: Option<Hostname>,
    /// Whether visitors in clear are sent to HTTPS.
    #[serde(skip_serializing_if = "is_default")]
    pub https: Https,
    /// Whether browsers are told to use nothing but HTTPS from now on (RFC 6797).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hsts: Option<Hsts>,
}

/// What is done with visitors in clear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Https {
    /// As `[tls] redirect` says for all sites.
    #[default]
    Server,
    /// They are sent to HTTPS once there is a certificate that browsers take, or a trusted proxy that ends TLS.
    Always,
    /// They are served.
    Both,
}

impl Https {
    /// Whether visitors in clear are sent to HTTPS, where the server does (`[tls] redirect`) or does not.
    pub const fn redirects(self, server: bool) -> bool {
        match self {
            Self::Always => true,
            Self::Both => false,
            Self::Server => server,
        }
    }
}

/// An address that a visitor asks for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// `http` or `https`, as the visitor has it.
    pub scheme: &'a str,
    /// The host, without a port.
    pub host: &'a str,
    /// The raw path.
    pub path: &'a str,
    /// The raw path with its query.
    pub rest: &'a str,
    /// Whether the path is one of the host's own ways in and out of a site.
    pub is_way_in: bool,
    /// Whether a trusted proxy says that the visitor came in clear.
    pub proxied_in_clear: bool,
}

/// `Strict-Transport-Security`, sent with answers by HTTPS alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hsts {
    /// How long, in seconds, browsers remember it.
    pub max_age_s: u32,
    /// Names below the hostname too.
    #[serde(default, skip_serializing_if = "is_default")]
    pub subdomains: bool,
    /// The owner asks to have it built into browsers.
    #[serde(default, skip_serializing_if = "is_default")]
    pub preload: bool,
}

/// What is looked for on the very host: proofs, and what programs find there.
const WELL_KNOWN: &str = "/.well-known/";
/// A year, which is the least that <https://hstspreload.org> takes.
const PRELOAD_S: u32 = 31_536_000;
/// Two years: what is longer is a slip.
const MAX_AGE_S_MAX: u32 = 2 * PRELOAD_S;

impl Hsts {
    /// The value of the header.
    pub fn header(&self) -> String {
        let subdomains = if self.subdomains { "; includeSubDomains" } else { "" };
        let preload = if self.preload { "; preload" } else { "" };
        format!("max-age={}{subdomains}{preload}", self.max_age_s)
    }
}

impl Addresses {
    /// Where a visitor is sent who is at another address than the site's own, and the key of the setting that says so. `port` gives the port
    /// that was asked, as `:8443`, or nothing.
    pub fn elsewhere(&self, asked: Asked<'_>, port: impl FnOnce() -> String) -> Option<(&'static str, String)> {
        // `OPTIONS *` means no page.
        if !asked.rest.starts_with('/') || (asked.path.starts_with(WELL_KNOWN) && !asked.is_way_in) {
            return None;
        }
        if self.https == Https::Always && asked.proxied_in_clear {
            return Some(("addresses.https", format!("https://{}{}", asked.host, asked.rest)));
        }
        let canonical = self.canonical.as_ref().map(Hostname::as_str).filter(|it| *it != asked.host)?;
        Some(("addresses.canonical", format!("{}://{canonical}{}{}", asked.scheme, port(), asked.rest)))
    }
}

impl Section for Addresses {
    fn check(&self) -> Result<()> {
        let Some(hsts) = self.hsts else { return Ok(()) };
        let wrong = |field, text: &str| Err(Error::invalid("site_hsts", text).on(field));
        if self.https == Https::Both {
            let text = "`addresses.hsts` tells browsers to use nothing but HTTPS, and `addresses.https` serves in clear too. Leave one of the two.";
            return wrong("addresses.https", text);
        }
        if hsts.max_age_s > MAX_AGE_S_MAX {
            let text = "`addresses.hsts.max_age_s` has at most 63072000 seconds, which are two years. Browsers ask again with each visit.";
            return wrong("addresses.hsts.max_age_s", text);
        }
        if hsts.preload && !(hsts.subdomains && hsts.max_age_s >= PRELOAD_S) {
            let text = "`addresses.hsts.preload` is taken by browsers only with `subdomains` and a `max_age_s` of 31536000 or more. Set both, or leave `preload` out.";
            return wrong("addresses.hsts.preload", text);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hsts_is_what_browsers_take() {
        let with = |max_age_s, subdomains, preload, https| Addresses {
            hsts: Some(Hsts { max_age_s, subdomains, preload }),
            https,
            ..Addresses::default()
        };
        for (addresses, header) in [
            (with(300, false, false, Https::Server), "max-age=300"),
            (with(0, false, false, Https::Always), "max-age=0"),
            (with(PRELOAD_S, true, true, Https::Always), "max-age=31536000; includeSubDomains; preload"),
        ] {
            addresses.check().unwrap();
            assert_eq!(addresses.hsts.unwrap().header(), header);
        }
        for (addresses, field) in [
            (with(300, false, false, Https::Both), "addresses.https"),
            (with(u32::MAX, false, false, Https::Server), "addresses.hsts.max_age_s"),
            (with(PRELOAD_S - 1, true, true, Https::Server), "addresses.hsts.preload"),
            (with(PRELOAD_S, false, true, Https::Server), "addresses.hsts.preload"),
        ] {
            assert_eq!(addresses.check().unwrap_err().field, Some(field));
        }
    }
}
