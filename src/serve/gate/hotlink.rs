//! Hotlinks: files that pages of other sites may not show as their own.
//!
//! What a browser says by itself (`Sec-Fetch-*`) counts before what a page can hide (`Referer`).

use hyper::{
    HeaderMap, Uri,
    header::{HeaderName, HeaderValue, ORIGIN, REFERER, VARY},
};

use crate::domain::{hostname::normalise_authority, site_settings::hotlink::Hotlink as Settings};

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// Which files, and whose pages.
#[derive(Debug)]
pub(super) struct Hotlink {
    settings: Settings,
    hosts: Vec<String>,
    /// `.example.org`, for all that end so.
    below: Vec<String>,
}

impl Hotlink {
    pub(super) fn new(settings: &Settings) -> Self {
        let (below, hosts): (Vec<_>, Vec<_>) = settings.allow.iter().partition(|it| it.starts_with("*."));
        Self {
            settings: settings.clone(),
            hosts: hosts.into_iter().cloned().collect(),
            below: below.into_iter().filter_map(|it| it.strip_prefix('*')).map(str::to_owned).collect(),
        }
    }

    /// Whether it is about the file at a path.
    pub(super) fn is_about(&self, path: &str) -> bool {
        self.settings.is_about(path)
    }

    /// Whether such a file may be shown where these headers come from. `is_ours` knows the hosts of the site itself.
    pub(super) fn allows(&self, headers: &HeaderMap, is_ours: impl Fn(&str) -> bool) -> bool {
        let said = |name: &HeaderName| headers.get(name).and_then(|it| it.to_str().ok());
        match said(&FETCH_SITE) {
            Some("same-origin" | "none") => return true,
            // A link that somebody follows shows the file by itself.
            Some(_) if said(&FETCH_DEST) == Some("document") => return true,
            _ => {}
        }
        // What cannot be read as an address is none of ours.
        let from = said(&REFERER).or_else(|| said(&ORIGIN)).filter(|it| !it.is_empty());
        let Some(from) = from else {
            return self.settings.without_referer
                && !headers.contains_key(FETCH_SITE)
                && !headers.contains_key(REFERER);
        };
        let uri = from.parse::<Uri>().ok();
        let Some(host) = uri.as_ref().and_then(|it| normalise_authority(it.authority()?.as_str())) else {
            return false;
        };
        is_ours(&host)
            || self.hosts.iter().any(|it| *it == host)
            || self.below.iter().any(|it| host.ends_with(it.as_str()))
    }

    /// Says that the answer is not the same for all pages.
    pub(super) fn dress(headers: &mut HeaderMap) {
        headers.append(VARY, HeaderValue::from_static("referer, origin, sec-fetch-site, sec-fetch-dest"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_show_a_file() {
        let settings = Settings {
            on: true,
            allow: ["friend.example", "*.family.example"].map(String::from).to_vec(),
            ..Settings::default()
        };
        let with = |without_referer| Hotlink::new(&Settings { without_referer, ..settings.clone() });
        let (lax, strict) = (with(true), with(false));
        for (headers, wanted) in [
            (&[][..], (true, false)),
            (&[("referer", "https://own.example/page")], (true, true)),
            (&[("referer", "https://OWN.example:8443/")], (true, true)),
            (&[("referer", "https://friend.example/")], (true, true)),
            (&[("referer", "https://a.friend.example/")], (false, false)),
            (&[("referer", "https://a.b.family.example/x?y")], (true, true)),
            (&[("referer", "https://family.example/")], (false, false)),
            (&[("referer", "https://notfamily.example/")], (false, false)),
            (&[("referer", "https://thief.example/")], (false, false)),
            (&[("referer", "https://thief.example/?own.example")], (false, false)),
            (&[("referer", "https://own.example@thief.example/")], (false, false)),
            (&[("referer", "https://own.example.thief.example/")], (false, false)),
            (&[("referer", "nonsense")], (false, false)),
            (&[("origin", "https://thief.example")], (false, false)),
            (&[("origin", "null")], (false, false)),
            (&[("sec-fetch-site", "same-origin")], (true, true)),
            (&[("sec-fetch-site", "none")], (true, true)),
            (&[("sec-fetch-site", "cross-site"), ("sec-fetch-dest", "image")], (false, false)),
            (&[("sec-fetch-site", "cross-site"), ("sec-fetch-dest", "iframe")], (false, false)),
            (&[("sec-fetch-site", "cross-site"), ("sec-fetch-dest", "document")], (true, true)),
            (&[("sec-fetch-site", "cross-site"), ("referer", "https://friend.example/")], (true, true)),
            (&[("sec-fetch-site", "same-site"), ("referer", "https://thief.example/")], (false, false)),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            let is_ours = |host: &str| host == "own.example";
            assert_eq!((lax.allows(&map, is_ours), strict.allows(&map, is_ours)), wanted, "{headers:?}");
        }
        for (path, wanted) in [
            ("/a.png", true),
            ("/A.PNG", true),
            ("/a.png.html", false),
            ("/png", false),
            ("/a.png/b", false),
            ("/", false),
        ] {
            assert_eq!(lax.is_about(path), wanted, "{path}");
        }
    }
}
