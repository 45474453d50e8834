//! What caches that can be purged are told of a site's files: how long they may keep them, and by which words they are purged.
//!
//! Nothing here is told of what is not everybody's: [`super`] decides that. What the files of the site say of caches stays as it is.

use hyper::header::{CACHE_CONTROL, HeaderValue};

use super::rules::Unusable;
use crate::{
    domain::{
        edge::{own_tag, path_tag, site_tag},
        lifetime::{self, AtEdge},
        policy,
        site::SiteId,
        site_settings::caching::Caching,
    },
    http::respond::Response,
    serve::headers::{CACHE_TAG, CDN_CACHE_CONTROL, SURROGATE_KEY},
};

/// The setting, with the values that all answers share.
#[derive(Debug)]
pub(in super::super) struct Edge {
    until_purged: HeaderValue,
    for_ever: HeaderValue,
    /// Tags, each with its patterns.
    tags: Vec<(String, Vec<String>)>,
}

impl Edge {
    pub(super) fn new(settings: &Caching) -> Result<Self, Unusable> {
        let value = |it: AtEdge| HeaderValue::try_from(it.value(settings.edge_max_age_s)).map_err(|_| Unusable);
        Ok(Self {
            until_purged: value(AtEdge::UntilPurged)?,
            for_ever: value(AtEdge::ForEver)?,
            tags: settings.tags.iter().map(|(tag, patterns)| (tag.clone(), patterns.clone())).collect(),
        })
    }

    /// Says it on an answer with the file at `path`, whose headers for caches are all the host's (`headers::Own`).
    pub(in super::super) fn dress(&self, site: SiteId, path: &str, response: &mut Response) {
        let status = response.status().as_u16();
        let headers = response.headers_mut();
        let kept = headers.get(CACHE_CONTROL).and_then(|it| it.to_str().ok()).unwrap_or_default();
        let value = match lifetime::at_edge(status, kept) {
            None => return,
            Some(AtEdge::UntilPurged) => &self.until_purged,
            Some(AtEdge::ForEver) => &self.for_ever,
        };
        let mut tags = vec![site_tag(site), path_tag(site, path)];
        let fitting = self.tags.iter().filter(|(_, patterns)| patterns.iter().any(|it| policy::fits(it, path)));
        tags.extend(fitting.map(|(tag, _)| own_tag(site, tag)));
        headers.insert(CDN_CACHE_CONTROL, value.clone());
        for (name, between) in [(CACHE_TAG, ","), (SURROGATE_KEY, " ")] {
            // INVARIANT: a tag has letters, digits, `-` and `_`.
            if let Ok(value) = HeaderValue::try_from(tags.join(between)) {
                headers.insert(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;

    use super::*;
    use crate::{base::ids::Id, domain::site_settings::SiteSettings, http::respond};

    #[test]
    fn an_answer_is_told_with_its_tags() {
        let set =
            r#"{"caching":{"edge":true,"edge_max_age_s":60,"tags":{"all":["/*"],"blog":["/blog/*","/feed.xml"]}}}"#;
        let edge = Edge::new(&SiteSettings::parse(set).unwrap().caching).unwrap();
        let site = SiteId(Id::from_bytes([7; 16]));
        let dressed = |path: &str, status: u16, has: &[(&'static str, &'static str)]| {
            let mut response = respond::empty(StatusCode::from_u16(status).unwrap());
            for (name, value) in has {
                response.headers_mut().insert(*name, HeaderValue::from_static(value));
            }
            edge.dress(site, path, &mut response);
            let text = |name| response.headers().get(name).map(|it| it.to_str().unwrap().to_owned());
            (text(CDN_CACHE_CONTROL), text(CACHE_TAG), text(SURROGATE_KEY))
        };
        let week = ("cache-control", "max-age=604800");
        let (kept, tags, keys) = dressed("/blog/a.html", 200, &[week]);
        let (own, page) = (site_tag(site), path_tag(site, "/blog/a.html"));
        let wanted = [&*own, &*page, &*own_tag(site, "all"), &*own_tag(site, "blog")].join(",");
        assert_eq!((kept.as_deref(), tags.as_deref()), (Some("max-age=60"), Some(&*wanted)));
        assert_eq!(keys.unwrap(), wanted.replace(',', " "));
        let (kept, tags, _) = dressed("/a.css", 304, &[("cache-control", "max-age=31536000, immutable")]);
        assert_eq!(kept.as_deref(), Some("max-age=31536000, immutable"));
        assert!(!tags.unwrap().contains("blog"));
        for (status, has) in [(404, &[week][..]), (301, &[week]), (503, &[week])] {
            assert_eq!(dressed("/", status, has).0, None, "{status} {has:?}");
        }
    }
}
