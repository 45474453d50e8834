//! What caches in front of the server (CDNs) are told of a site.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Section, is_default};
use crate::domain::{Error, Result, edge, policy};

/// How long a cache keeps what is purged when it changes, where nothing is set: the week that static files have.
const MAX_AGE_S: u32 = 604_800;
/// A year: what no cache keeps longer.
const MAX_AGE_S_MAX: u32 = 31_536_000;
/// Less is hardly kept at all.
const MAX_AGE_S_MIN: u32 = 10;
/// Tags of one site, and patterns of one tag. Every answer has all tags that fit: with these, two headers of some 3 KiB at most, where
/// Cloudflare takes 16 KiB.
const TAGS_MAX: usize = 32;
const PATTERNS_MAX: usize = 20;

/// The section `caching`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Caching {
    /// Whether caches that can be purged keep pages and files until they change: `CDN-Cache-Control`, with the tags by which they are
    /// purged (`Cache-Tag`, `Surrogate-Key`).
    #[serde(skip_serializing_if = "is_default")]
    pub edge: bool,
    /// For how many seconds at most.
    #[serde(skip_serializing_if = "is_usual_age")]
    pub edge_max_age_s: u32,
    /// Tags of the owner's own, each with patterns of the paths whose files have it.
    #[serde(skip_serializing_if = "is_default")]
    pub tags: BTreeMap<String, Vec<String>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn is_usual_age(seconds: &u32) -> bool {
    *seconds == MAX_AGE_S
}

impl Default for Caching {
    fn default() -> Self {
        Self { edge: false, edge_max_age_s: MAX_AGE_S, tags: BTreeMap::new() }
    }
}

impl Section for Caching {
    fn check(&self) -> Result<()> {
        let wrong = |field, text: String| Err(Error::invalid("site_caching", text).on(field));
        if !(MAX_AGE_S_MIN..=MAX_AGE_S_MAX).contains(&self.edge_max_age_s) {
            let text = format!(
                "`caching.edge_max_age_s` is between {MAX_AGE_S_MIN} and {MAX_AGE_S_MAX} seconds, which are a year. To have nothing kept, set `caching.edge` to false."
            );
            return wrong("caching.edge_max_age_s", text);
        }
        if self.tags.len() > TAGS_MAX {
            return wrong("caching.tags", format!("`caching.tags` has at most {TAGS_MAX} tags."));
        }
        for (tag, patterns) in &self.tags {
            edge::check_tag(tag).map_err(|error| error.on("caching.tags"))?;
            if patterns.is_empty() || patterns.len() > PATTERNS_MAX {
                let text =
                    format!("The tag `{tag}` in `caching.tags` has 1 to {PATTERNS_MAX} patterns, as in `/blog/*`.");
                return wrong("caching.tags", text);
            }
            for it in patterns {
                if let Err(why) = policy::check_path_pattern(it) {
                    let text = format!("`{}` of the tag `{tag}` in `caching.tags`: {why}.", it.escape_debug());
                    return wrong("caching.tags", text);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::domain::site_settings::SiteSettings;

    #[test]
    fn hostile_values_are_said_with_their_key() {
        let read = |value: serde_json::Value| {
            SiteSettings::default().patched(json!({ "caching": value }).as_object().unwrap())
        };
        let set = read(json!({ "edge": true, "tags": { "blog": ["/blog/*", "/feed.xml"] } })).unwrap();
        assert_eq!(set.text(), r#"{"caching":{"edge":true,"tags":{"blog":["/blog/*","/feed.xml"]}}}"#);
        assert_eq!((SiteSettings::parse(&set.text()).unwrap(), set.caching.edge_max_age_s), (set, 604_800));
        let many: serde_json::Map<_, _> = (0..33).map(|it| (format!("t{it}"), json!(["/a"]))).collect();
        for (value, field) in [
            (json!({ "edge": "yes" }), "caching"),
            (json!({ "edge_max_age_s": 1 }), "caching.edge_max_age_s"),
            (json!({ "edge_max_age_s": 31_536_001 }), "caching.edge_max_age_s"),
            (json!({ "tags": { "a b": ["/"] } }), "caching.tags"),
            (json!({ "tags": { "a\r\nset-cookie: x": ["/"] } }), "caching.tags"),
            (json!({ "tags": { "Blog": ["/"] } }), "caching.tags"),
            (json!({ "tags": { "blog": [] } }), "caching.tags"),
            (json!({ "tags": { "blog": ["blog"] } }), "caching.tags"),
            (json!({ "tags": { "blog": vec!["/a"; 21] } }), "caching.tags"),
            (json!({ "tags": { "blog": [format!("/{}", "*a".repeat(200))] } }), "caching.tags"),
            (json!({ "tags": many }), "caching.tags"),
            (json!({ "tag": {} }), "caching"),
        ] {
            assert_eq!(read(value.clone()).unwrap_err().field, Some(field), "{value}");
        }
    }
}
