//! Maintenance: visitors are told to come back later, but for those who work on the site.

use serde::{Deserialize, Serialize};

use super::{Section, is_default, paths::check_page};
use crate::{
    base::network::Network,
    domain::{Error, Result},
};

/// When visitors are told to come back where nothing is set: what most work takes.
const RETRY_AFTER_S: u32 = 600;
/// A week: search engines forget a site that is away for longer.
const RETRY_AFTER_S_MAX: u32 = 7 * 86_400;
/// Bytes of the text for visitors.
const TEXT_BYTES_MAX: usize = 1_000;
/// Addresses and networks that are let through.
const ALLOW_MAX: usize = 100;

/// The section `maintenance`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Maintenance {
    /// Whether visitors get 503 instead of the site.
    #[serde(skip_serializing_if = "is_default")]
    pub on: bool,
    /// What they read; the host has a sentence where there is none.
    #[serde(skip_serializing_if = "is_default")]
    pub text: String,
    /// When programs may ask again, in seconds (`Retry-After`).
    #[serde(skip_serializing_if = "is_usual")]
    pub retry_after_s: u32,
    /// Addresses and networks whose visitors get the site all the same.
    #[serde(skip_serializing_if = "is_default")]
    pub allow: Vec<String>,
    /// A file of the live deployment that is shown instead of the host's page.
    #[serde(skip_serializing_if = "is_default")]
    pub page: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn is_usual(seconds: &u32) -> bool {
    *seconds == RETRY_AFTER_S
}

impl Default for Maintenance {
    fn default() -> Self {
        Self { on: false, text: String::new(), retry_after_s: RETRY_AFTER_S, allow: Vec::new(), page: None }
    }
}

impl Section for Maintenance {
    fn check(&self) -> Result<()> {
        let wrong = |field, text: String| Err(Error::invalid("site_maintenance", text).on(field));
        if self.text.len() > TEXT_BYTES_MAX {
            let text = format!(
                "`maintenance.text` has at most {TEXT_BYTES_MAX} bytes. Shorten it, or name a page of your own."
            );
            return wrong("maintenance.text", text);
        }
        if self.retry_after_s == 0 || self.retry_after_s > RETRY_AFTER_S_MAX {
            let text = format!(
                "`maintenance.retry_after_s` is a number of seconds from 1 to {RETRY_AFTER_S_MAX}, which are a week. Search engines forget a site that is away for longer."
            );
            return wrong("maintenance.retry_after_s", text);
        }
        if self.allow.len() > ALLOW_MAX {
            let text = format!(
                "`maintenance.allow` has at most {ALLOW_MAX} addresses and networks. Name a network for several addresses."
            );
            return wrong("maintenance.allow", text);
        }
        if let Some((entry, error)) = self.allow.iter().find_map(|it| Some((it, it.parse::<Network>().err()?))) {
            return wrong("maintenance.allow", format!("`{entry}` in `maintenance.allow` is {error}."));
        }
        check_page("maintenance.page", self.page.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Change = fn(&mut Maintenance);

    #[test]
    fn what_cannot_be_is_said_with_its_key() {
        Maintenance::default().check().unwrap();
        let with = |change: Change| {
            let mut made = Maintenance::default();
            change(&mut made);
            made.check()
        };
        with(|it| it.allow = ["192.0.2.1", "2001:db8::/32"].map(String::from).to_vec()).unwrap();
        with(|it| it.page = Some(String::from("/maintenance.html"))).unwrap();
        let wrong: [(Change, &str); 7] = [
            (|it| it.text = "x".repeat(1_001), "maintenance.text"),
            (|it| it.retry_after_s = 0, "maintenance.retry_after_s"),
            (|it| it.retry_after_s = 604_801, "maintenance.retry_after_s"),
            (|it| it.allow = vec![String::from("10.0.0.0/33")], "maintenance.allow"),
            (|it| it.allow = vec![String::from("::1"); 101], "maintenance.allow"),
            (|it| it.page = Some(String::from("maintenance.html")), "maintenance.page"),
            (|it| it.page = Some(String::from("/.well-known/chainhost/x")), "maintenance.page"),
        ];
        for (change, field) in wrong {
            assert_eq!(with(change).unwrap_err().field, Some(field));
        }
    }
}
