//! The policy of a deployment: everything besides bytes that changes what visitors get.
//!
//! It is made from deployed files only (`_headers`, `_redirects`, `chainhost.toml`, a root `404.html`)
//! and is part of the canonical manifest (INTEGRITY §2, DECISIONS 33 to 43). Nothing here reads files.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{base::country::Country, domain::site_path::SitePath};

mod check;
mod fitting;
pub mod language;
mod pattern;

pub(in crate::domain) use check::check_index;
pub use check::{REFUSED_HEADERS, check_path_pattern, check_whole_names, too_much_work};
pub use fitting::HeaderIndex;

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
    /// A path pattern: literal, `*` for any rest, `:name` for one segment or a part of one.
    #[serde(rename = "match")]
    pub matches: String,
    /// Lower-case name and value, in file order.
    pub set: Vec<(String, String)>,
}

/// Of whom a rule holds. A list without words asks for nothing; of two lists both must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// Who comes from one of these, as far as that is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub countries: Vec<Country>,
    /// Whose browser likes one of these best: `en` is `en-US` too. In small letters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub languages: Vec<String>,
}

impl When {
    /// Whether the rule holds of everybody.
    pub const fn is_always(&self) -> bool {
        self.countries.is_empty() && self.languages.is_empty()
    }
}

/// One line of `_redirects`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// Also where a file answers.
    pub force: bool,
    /// A path pattern: literal, `*` for any rest (`:splat`), `:name` for one segment or a part of one.
    pub from: String,
    /// Query parameters that must be there, with a literal value or a `:name` to capture it.
    pub query: Vec<(String, String)>,
    /// 200 (rewrite to a file of the site, or another server answers), 301, 302, 303, 307, 308, 404, 410.
    pub status: u16,
    /// A path of the site or an absolute http(s) URL; may use captures.
    pub to: String,
    /// Of whom it holds. What a visitor gets is then known from the manifest and from who asks.
    #[serde(default, skip_serializing_if = "When::is_always")]
    pub when: When,
}

impl Redirect {
    /// The server that answers what the rule fits, as in `https://api.example.com`; `None`: the rule leads to a file, or sends visitors elsewhere.
    pub fn upstream(&self) -> Option<&str> {
        if self.status == 200 { split_url(&self.to).map(|(origin, _)| origin) } else { None }
    }
}

/// A whole URL of HTTP as the server that it names and what is behind that; `None` for a path.
pub fn split_url(url: &str) -> Option<(&str, &str)> {
    let start = if url.starts_with("https://") { 8 } else { url.strip_prefix("http://").map(|_| 7)? };
    let end = url.get(start..)?.find(['/', '?', '#']).map_or(url.len(), |it| start + it);
    url.split_at_checked(end)
}

/// Whether a pattern fits a path: `*` stands for any rest or middle, `:name` for one segment or a part of one that is not empty, all else
/// for itself. A name is as long as its letters, digits and `_`.
pub fn fits(pattern: &str, path: &str) -> bool {
    pattern::walk(pattern, path, None)
}

/// What the signs of a pattern stand for in a path that it fits: `("splat", …)` for each `*`, `(name, …)` for each
/// `:name`, in their order. Of several `*` each takes as little as it can, and with a `:name` within a segment each sign as much.
pub fn captures<'t>(pattern: &'t str, path: &'t str) -> Option<Vec<(&'t str, &'t str)>> {
    let mut found = Vec::new();
    pattern::walk(pattern, path, Some(&mut found)).then_some(found)
}

/// The names of a pattern's placeholders, in their order.
pub fn pattern_names(pattern: &str) -> impl Iterator<Item = &str> {
    pattern::names(pattern).map(|(name, _)| name)
}

/// A pattern in which what [`captures`] has found stands for the `used` ones of its signs.
pub fn narrowed(pattern: &str, found: &[(&str, &str)], used: &[&str]) -> String {
    pattern::narrowed(pattern, found, used)
}

impl Policy {
    /// The media type that the policy gives `path`: that of the last rule that fits and names one.
    pub fn type_for(&self, path: &str) -> Option<&str> {
        self.headers.iter().rev().find_map(|rule| type_of(rule).filter(|_| fits(&rule.matches, path)))
    }

    /// The headers that the policy gives `path`: lower-case names, sorted; equal names joined by `, ` in rule order.
    /// For one path; whoever looks up many makes a [`HeaderIndex`].
    pub fn headers_for(&self, path: &str) -> BTreeMap<String, String> {
        let fitting: Vec<_> = self.headers.iter().filter(|rule| fits(&rule.matches, path)).collect();
        joined(&fitting)
    }
}

/// The media type that a rule sets.
fn type_of(rule: &HeaderRule) -> Option<&str> {
    let (_, value) = rule.set.iter().rev().find(|(name, _)| name == "content-type")?;
    Some(value.trim_matches([' ', '\t']))
}

/// What rules set together.
fn joined(rules: &[&HeaderRule]) -> BTreeMap<String, String> {
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in rules.iter().flat_map(|rule| &rule.set) {
        let value = value.trim_matches([' ', '\t']);
        found
            .entry(name.to_ascii_lowercase())
            .and_modify(|all| {
                all.push_str(", ");
                all.push_str(value);
            })
            .or_insert_with(|| value.to_owned());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_their_signs_say() {
        for (pattern, path, wanted) in [
            ("/a", "/a", true),
            ("/a", "/a/", false),
            ("/*", "/", true),
            ("/*", "/x/y.css", true),
            ("/img/*", "/img", false),
            ("/*.css", "/a/b.css", true),
            ("/*.css", "/a/b.css2", false),
            ("/:lang/about", "/de/about", true),
            ("/:lang/about", "//about", false),
            ("/:lang/about", "/de/x/about", false),
            ("/blog/:slug", "/blog/é", true),
            ("/blog/:slug", "/blog/a/b", false),
            ("/:a/:b", "/1/2", true),
            ("/articles/:slug.html", "/articles/a.b.html", true),
            ("/articles/:slug.html", "/articles/.html", false),
            ("/articles/:slug.html", "/articles/a/b.html", false),
            ("/blog-:year", "/blog-2024", true),
            ("/blog-:year", "/blog-", false),
            ("/blog-:year", "/blog-2024/", false),
            ("/:y-:m/*", "/2024-01/x/y", true),
            ("/:y-:m/*", "/2024/01-x/y", false),
            ("/:a:b", "/é", false),
            ("/:a:b", "/éa", true),
            ("/post/:id-*", "/post/7-a/b-c", true),
            ("", "/", false),
        ] {
            assert_eq!(fits(pattern, path), wanted, "{pattern} {path}");
        }
    }

    #[test]
    fn captures_are_named_and_short() {
        assert_eq!(captures("/:lang/*", "/de/a/b").unwrap(), [("lang", "de"), ("splat", "a/b")]);
        assert_eq!(captures("/*/x/:id", "/a/x/x/7").unwrap(), [("splat", "a/x"), ("id", "7")]);
        assert_eq!(captures("/*a*b", "/aab").unwrap(), [("splat", ""), ("splat", "a")]);
        assert_eq!(captures("/*é", "/éé").unwrap(), [("splat", "é")]);
        assert!(captures("/*/:id", "/a").is_none());
        // As a regular expression takes them: the earlier the more.
        assert_eq!(captures("/:a-:b.html", "/x-y-z.html").unwrap(), [("a", "x-y"), ("b", "z")]);
        assert_eq!(captures("/:a:b", "/éaé").unwrap(), [("a", "éa"), ("b", "é")]);
        assert_eq!(captures("/*-:n", "/a-b/c-d-e").unwrap(), [("splat", "a-b/c-d"), ("n", "e")]);
        assert_eq!(captures("/:id-*", "/7-8-a/b-c").unwrap(), [("id", "7-8"), ("splat", "a/b-c")]);
    }

    #[test]
    fn a_pattern_is_narrowed_to_what_some_signs_took() {
        let cases: [(&str, &str, &[&str], &str); 5] = [
            ("/:lang/*", "/de/a/b", &["lang"], "/de/*"),
            ("/:lang/*", "/de/a/b", &["splat"], "/:lang/a/b"),
            ("/:lang/*", "/de/a/b", &["lang", "splat"], "/de/a/b"),
            ("/:y-:m.html", "/1-2.html", &["m"], "/:y-2.html"),
            ("/:lang/*", "/de/a", &[], "/:lang/*"),
        ];
        for (pattern, path, used, wanted) in cases {
            assert_eq!(narrowed(pattern, &captures(pattern, path).unwrap(), used), wanted, "{pattern} {used:?}");
        }
    }

    #[test]
    fn many_stars_cost_no_more_than_path_times_pattern() {
        let pattern = "*a".repeat(200) + "b";
        assert!(!fits(&pattern, &"a".repeat(1000)));
        assert!(fits(&pattern, &("a".repeat(1000) + "b")));
    }

    #[test]
    fn equal_headers_are_joined_in_rule_order() {
        let rule = |matches: &str, value: &str| HeaderRule {
            matches: matches.to_owned(),
            set: vec![(String::from("X-A"), value.to_owned())],
        };
        let policy =
            Policy { headers: vec![rule("/*", " 2 "), rule("/no", "3"), rule("/a", "1")], ..Policy::default() };
        let wanted = BTreeMap::from([(String::from("x-a"), String::from("2, 1"))]);
        assert_eq!(policy.headers_for("/a"), wanted);
    }
}
