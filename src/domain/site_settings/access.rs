//! Password protection: who may see a site, or some of its paths.
//!
//! The people and the links that open it are in [`super::guests`], since nobody reads or patches those.

use serde::{Deserialize, Serialize};

use super::{Section, is_default, paths::check_prefixes};
use crate::domain::{Error, Result};

/// How long a sign-in lasts where nothing is set: a week.
const SESSION_HOURS: u32 = 168;
/// A year: what is longer is no sign-in any more.
const SESSION_HOURS_MAX: u32 = 8_760;

/// The section `access`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Access {
    /// How visitors are asked.
    #[serde(skip_serializing_if = "is_default")]
    pub mode: Mode,
    /// Only what is at and below these paths is protected; all of the site where there is none.
    #[serde(skip_serializing_if = "is_default")]
    pub paths: Vec<String>,
    /// After how many hours a visitor who signed in by the form is asked again.
    #[serde(skip_serializing_if = "is_usual")]
    pub session_hours: u32,
}

/// How visitors are asked for a password.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Not at all.
    #[default]
    Open,
    /// By the browser's own dialogue (RFC 7617); programs can answer it too.
    Basic,
    /// By a page with a form.
    Form,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn is_usual(hours: &u32) -> bool {
    *hours == SESSION_HOURS
}

impl Default for Access {
    fn default() -> Self {
        Self { mode: Mode::Open, paths: Vec::new(), session_hours: SESSION_HOURS }
    }
}

impl Section for Access {
    fn check(&self) -> Result<()> {
        if self.session_hours == 0 || self.session_hours > SESSION_HOURS_MAX {
            let text =
                format!("`access.session_hours` is a number of hours from 1 to {SESSION_HOURS_MAX}, which are a year.");
            return Err(Error::invalid("site_access", text).on("access.session_hours"));
        }
        check_prefixes("access.paths", &self.paths)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_said_with_its_key() {
        Access::default().check().unwrap();
        let paths =
            |paths: &[&str]| Access { paths: paths.iter().map(|it| (*it).to_owned()).collect(), ..Access::default() };
        paths(&["/intern", "/a b/\u{e9}"]).check().unwrap();
        for wrong in [
            "intern",
            "",
            "/a//b",
            "/a/../b",
            "/a\\b",
            "/a/*",
            "/a?b",
            "/a#b",
            "/a%20b",
            "/a;b",
            "/.well-known/chainhost",
        ] {
            assert_eq!(paths(&[wrong]).check().unwrap_err().field, Some("access.paths"), "{wrong}");
        }
        for hours in [0, 8_761] {
            let made = Access { session_hours: hours, ..Access::default() };
            assert_eq!(made.check().unwrap_err().field, Some("access.session_hours"));
        }
    }
}
