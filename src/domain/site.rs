//! A site: what visitors see under one or more hostnames.

use serde::{Deserialize, Serialize};

use crate::{
    domain::{Error, Result, deployment::DeploymentId},
    id_type,
};

id_type!(
    /// The id of a site.
    SiteId
);

/// A site's name: one DNS label, unique on the server, part of its default hostname and of preview addresses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct SiteName(String);

/// Longest name: with `<20 characters>--` in front it must still be one DNS label of 63.
pub const NAME_CHARS_MAX: usize = 40;

const RESERVED: [&str; 25] = [
    "www",
    "api",
    "panel",
    "admin",
    "mail",
    "localhost",
    "chainhost",
    "ftp",
    "smtp",
    "imap",
    "pop",
    "ns",
    "ns1",
    "ns2",
    "mx",
    "autoconfig",
    "autodiscover",
    "webmail",
    "status",
    "static",
    "assets",
    "cdn",
    "root",
    "postmaster",
    "wpad",
];

impl SiteName {
    /// Checks a name: `[a-z0-9-]`, 1 to 40 characters, no `-` at an end, no `--`, not reserved.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |message: String| Err(Error::invalid("site_name", message).on("name"));
        if text.is_empty() || text.len() > NAME_CHARS_MAX {
            return wrong(format!("A site's name has 1 to {NAME_CHARS_MAX} characters."));
        }
        if !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
            return wrong(format!("`{text}` cannot be a site's name: use only a-z, 0-9 and -."));
        }
        if text.starts_with('-') || text.ends_with('-') || text.contains("--") {
            return wrong(format!("`{text}` cannot be a site's name: no - at an end, and no two in a row."));
        }
        if RESERVED.contains(&text) {
            return wrong(format!("`{text}` is reserved for the host. Choose another name."));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SiteName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl std::fmt::Display for SiteName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A site as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// Its id.
    pub id: SiteId,
    /// Its name.
    pub name: SiteName,
    /// When it was made.
    pub created_ms: i64,
    /// The deployment that visitors are served.
    pub live: Option<DeploymentId>,
    /// Taken down: every hostname answers 451 or 410 until it is put back. The text is the reason.
    pub taken_down: Option<String>,
    /// A folder on this server that is deployed whenever it changes.
    pub watch_folder: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels_with_room_for_a_preview() {
        for good in ["a", "my-site", "0", "harbour-cafe", &"x".repeat(40)] {
            assert!(SiteName::parse(good).is_ok(), "{good}");
        }
        let long = "x".repeat(41);
        for wrong in ["", "A", "my site", "-a", "a-", "a--b", "www", "api", "ü", "a.b", "a_b", "a/b", "..", &long] {
            assert!(SiteName::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
