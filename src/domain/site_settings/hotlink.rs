//! Hotlinks: which files of a site pages of others may show as their own.

use serde::{Deserialize, Serialize};

use super::{Section, is_default};
use crate::domain::{Error, Result};

/// Files that pages of others embed.
const EXTENSIONS: [&str; 12] = ["avif", "gif", "jpeg", "jpg", "mp3", "mp4", "ogg", "png", "svg", "wav", "webm", "webp"];
/// Entries of each list.
const LIST_MAX: usize = 100;

/// The section `hotlink`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hotlink {
    /// Whether pages of others are refused.
    #[serde(skip_serializing_if = "is_default")]
    pub on: bool,
    /// The ends of the names of files that this is about, without the dot.
    #[serde(skip_serializing_if = "is_usual")]
    pub extensions: Vec<String>,
    /// Hosts whose pages may embed them: `example.org`, `*.example.org`.
    #[serde(skip_serializing_if = "is_default")]
    pub allow: Vec<String>,
    /// Whether requests that do not say where they come from are answered. Those of which a browser says that they come from elsewhere
    /// are not among them.
    #[serde(skip_serializing_if = "is_true")]
    pub without_referer: bool,
}

fn usual() -> Vec<String> {
    EXTENSIONS.map(String::from).to_vec()
}

fn is_usual(extensions: &[String]) -> bool {
    extensions == EXTENSIONS
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn is_true(flag: &bool) -> bool {
    *flag
}

impl Default for Hotlink {
    fn default() -> Self {
        Self { on: false, extensions: usual(), allow: Vec::new(), without_referer: true }
    }
}

/// Whether `text` is a host, or all hosts below one: `*.example.org`.
pub(super) fn is_host_pattern(text: &str) -> bool {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let labels = name.split('.').all(|it| {
        !it.is_empty()
            && it.len() <= 63
            && it.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
    });
    labels && name.len() <= 253
}

impl Hotlink {
    /// Whether it is about the file at a decoded path.
    pub fn is_about(&self, path: &str) -> bool {
        let name = path.rsplit('/').next().unwrap_or_default();
        let Some((_, end)) = name.rsplit_once('.') else { return false };
        self.on && self.extensions.iter().any(|it| it.eq_ignore_ascii_case(end))
    }
}

impl Section for Hotlink {
    fn check(&self) -> Result<()> {
        let wrong = |field, text: String| Err(Error::invalid("site_hotlink", text).on(field));
        if self.extensions.len() > LIST_MAX || self.allow.len() > LIST_MAX {
            let field = if self.allow.len() > LIST_MAX { "hotlink.allow" } else { "hotlink.extensions" };
            return wrong(field, format!("`{field}` has at most {LIST_MAX} entries."));
        }
        let is_end = |it: &str| {
            !it.is_empty() && it.len() <= 16 && it.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        if let Some(it) = self.extensions.iter().find(|it| !is_end(it)) {
            let text = format!(
                "`{it}` in `hotlink.extensions` is no end of a file's name. Write it without the dot, in small letters: `png`."
            );
            return wrong("hotlink.extensions", text);
        }
        if let Some(it) = self.allow.iter().find(|it| !is_host_pattern(it)) {
            let text = format!(
                "`{it}` in `hotlink.allow` is no host. Write `example.org`, or `*.example.org` for all below it, in small letters and without `https://`."
            );
            return wrong("hotlink.allow", text);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_said_with_its_key() {
        Hotlink::default().check().unwrap();
        let allow = |it: &str| Hotlink { allow: vec![it.to_owned()], ..Hotlink::default() };
        for right in ["example.org", "*.example.org", "localhost", "xn--bcher-kva.example"] {
            allow(right).check().unwrap();
        }
        for wrong in [
            "",
            "*",
            "*.",
            "https://example.org",
            "Example.org",
            "a..b",
            "example.org:80",
            "*.*.org",
            "b\u{fc}cher.example",
        ] {
            assert_eq!(allow(wrong).check().unwrap_err().field, Some("hotlink.allow"), "{wrong}");
        }
        for wrong in ["", ".png", "PNG", "p/ng"] {
            let made = Hotlink { extensions: vec![wrong.to_owned()], ..Hotlink::default() };
            assert_eq!(made.check().unwrap_err().field, Some("hotlink.extensions"), "{wrong}");
        }
    }
}
