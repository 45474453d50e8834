//! The policy of a deployment: everything besides bytes that changes what visitors get.
//!
//! It is made from deployed files only (`_headers`, `_redirects`, `chainhost.toml`, a root `404.html`)
//! and is part of the canonical manifest (INTEGRITY §2, DECISIONS 33 to 43).

use serde::{Deserialize, Serialize};

use crate::domain::site_path::SitePath;

/// The five keys of a manifest's `policy`, always all there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// `/about` also finds `/about.html`, and `/about.html` redirects to `/about`.
    pub clean_urls: bool,
    /// What answers where no file does.
    pub fallback: Option<Fallback>,
    /// Header rules in file order.
    pub headers: Vec<HeaderRule>,
    /// The file that answers for a folder.
    pub index: String,
    /// Redirect rules in file order.
    pub redirects: Vec<Redirect>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            clean_urls: false,
            fallback: None,
            headers: Vec::new(),
            index: String::from("index.html"),
            redirects: Vec::new(),
        }
    }
}

/// The file that answers where no other does, and with which status: 404 for a page, 200 for a
/// single-page site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fallback {
    /// A path of the manifest.
    pub path: SitePath,
    /// 200 or 404.
    pub status: u16,
}

/// One block of `_headers`: a path pattern and the headers it sets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeaderRule {
    /// A path pattern: literal, `*` for any rest, `:name` for one segment.
    #[serde(rename = "match")]
    pub matches: String,
    /// Lower-case name and value, in file order.
    pub set: Vec<(String, String)>,
}

/// One line of `_redirects`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// Also where a file answers.
    pub force: bool,
    /// A path pattern: literal, `*` for any rest (`:splat`), `:name` for one segment.
    pub from: String,
    /// Query parameters that must be there, with a literal value or a `:name` to capture it.
    pub query: Vec<(String, String)>,
    /// 200 (rewrite to a file of the site), 301, 302, 303, 307, 308, 404, 410.
    pub status: u16,
    /// A path of the site or an absolute http(s) URL; may use captures.
    pub to: String,
}
