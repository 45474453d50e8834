//! How long caches may keep a file whose policy does not say: the value of `Cache-Control`, and where the owner of a site wants it of
//! `CDN-Cache-Control` (RFC 9213).
//!
//! Nothing here is part of a manifest: these are headers that the host itself adds (DECISIONS 18). None of them says `public`: an answer
//! without it is kept by shared caches all the same, but for what somebody has asked for with a password (RFC 9111 §3.5).

/// For what may be another file's bytes tomorrow.
pub const REVALIDATE: &str = "max-age=0, must-revalidate";
/// For what others may get otherwise, as where they are or what they speak decides: no cache of several people keeps it, and a browser asks again.
pub const OF_VISITOR: &str = "private, no-cache";
/// What caches that stand before a server read instead of `Cache-Control` (RFC 9213). It is left out there.
pub const OF_SHARED_CACHES: [&str; 10] = [
    "expires",
    "cache-tag",
    "cdn-cache-control",
    "cloudflare-cdn-cache-control",
    "netlify-cdn-cache-control",
    "edge-control",
    "surrogate-control",
    "surrogate-key",
    "vercel-cdn-cache-control",
    "x-accel-expires",
];
const A_WEEK: &str = "max-age=604800";
const FOR_EVER: &str = "max-age=31536000, immutable";
/// Folders in which bundlers put nothing but files that are named by their bytes: Astro, Next.js, `SvelteKit`, Nuxt. Who puts a file of
/// another name there by hand has it kept for ever, as with the hosts that these programs are made for.
const HASHED: [&str; 4] = ["/_astro/", "/_next/static/", "/_app/immutable/", "/_nuxt/"];
/// Where Nuxt says in one of them which build is the latest.
const NOT_HASHED: &str = "/_nuxt/builds/";

/// How long a file may be kept when its policy does not say: a page never without asking, a file whose name changes
/// with its bytes for ever, all else a week.
pub fn cache_control(path: &str, media_type: &str) -> &'static str {
    if media_type.starts_with("text/html") || media_type.starts_with("application/xhtml") {
        return REVALIDATE;
    }
    if HASHED.iter().any(|it| path.contains(it)) && !path.contains(NOT_HASHED) {
        return FOR_EVER;
    }
    let name = path.rsplit('/').next().unwrap_or_default();
    let mut parts = name.split('.').rev().skip(1).peekable();
    while let Some(part) = parts.next() {
        let hexadecimal = parts.peek().is_some() && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let behind_dash = part.rsplit_once('-').map(|(_, it)| it);
        if (hexadecimal && looks_hashed(part)) || behind_dash.is_some_and(looks_hashed) {
            return FOR_EVER;
        }
    }
    A_WEEK
}

/// How long shared caches that can be purged may keep an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtEdge {
    /// As long as the owner of the site says: it is purged when it changes.
    UntilPurged,
    /// For ever: its name changes with its bytes.
    ForEver,
}

/// How long such a cache may keep an answer with this status, to which the host has given `kept` as `Cache-Control`; `None`: as that says.
/// Redirects, errors and pages for what is not there have no file by whose change they could be purged.
pub fn at_edge(status: u16, kept: &str) -> Option<AtEdge> {
    match status {
        200 | 206 | 304 if kept == FOR_EVER => Some(AtEdge::ForEver),
        200 | 206 | 304 => Some(AtEdge::UntilPurged),
        _ => None,
    }
}

impl AtEdge {
    /// The value of `CDN-Cache-Control`, where the owner says `max_age_s`.
    pub fn value(self, max_age_s: u32) -> String {
        match self {
            Self::UntilPurged => format!("max-age={max_age_s}"),
            Self::ForEver => FOR_EVER.to_owned(),
        }
    }
}

/// Whether a part of a name looks like a hash that a bundler put there, and not like a date, a size in pixels or a
/// word with a number: eight or more of `[A-Za-z0-9_]` that change between letters and digits twice or more.
/// Wrong in the careful direction: a hash that is not seen costs requests, a name taken for one costs freshness.
fn looks_hashed(part: &str) -> bool {
    if part.len() < 8 || !part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return false;
    }
    let pixels = part.split_once('x').is_some_and(|(width, height)| {
        [width, height].iter().all(|it| !it.is_empty() && it.bytes().all(|b| b.is_ascii_digit()))
    });
    let kinds = part.bytes().zip(part.bytes().skip(1));
    let changes = kinds.filter(|(a, b)| a.is_ascii_digit() != b.is_ascii_digit()).count();
    !pixels && changes >= 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::media_type;

    #[test]
    fn how_long_a_file_may_be_kept() {
        for path in ["/app.3f2a9c1b.js", "/a/index-DkX2pQ9a.css", "/chunk-XH5PNVW4.js", "/app.3f2a9c1b.js.map"]
            .into_iter()
            .chain(["/_astro/hoisted.js", "/docs/_astro/logo.png", "/_next/static/abc/_buildManifest.js"])
            .chain([
                "/_app/immutable/entry/start.js",
                "/_nuxt/entry.js",
                "/assets/index-BcD1f2G3.js",
                "/main-DhX3kq9A.css",
            ])
        {
            assert_eq!(cache_control(path, media_type::of(path)), FOR_EVER, "{path}");
        }
        for path in [
            "/app.js",
            "/photo-1024x768.jpg",
            "/report-20240101.pdf",
            "/report.20240101.csv",
            "/photo-vacation2023.jpg",
            "/a-12.css",
            "/3f2a9c1b.js",
            "/x-3f2a9c1b/app.js",
            "/_nuxt/builds/latest.json",
            "/_next/data.json",
            "/my_astro/app.js",
            "/assets/index.js",
        ] {
            assert_eq!(cache_control(path, media_type::of(path)), A_WEEK, "{path}");
        }
        for path in ["/index.html", "/index-DkX2pQ9a.html", "/a.xhtml", "/_astro/x.html"] {
            assert_eq!(cache_control(path, media_type::of(path)), REVALIDATE, "{path}");
        }
    }

    #[test]
    fn what_the_edge_is_told_of_each_answer() {
        for (status, kept, wanted) in [
            (200, REVALIDATE, Some(AtEdge::UntilPurged)),
            (200, A_WEEK, Some(AtEdge::UntilPurged)),
            (206, A_WEEK, Some(AtEdge::UntilPurged)),
            (304, REVALIDATE, Some(AtEdge::UntilPurged)),
            (200, FOR_EVER, Some(AtEdge::ForEver)),
            (304, FOR_EVER, Some(AtEdge::ForEver)),
            (301, REVALIDATE, None),
            (308, REVALIDATE, None),
            (404, REVALIDATE, None),
            (410, REVALIDATE, None),
            (416, "no-store", None),
            (503, "no-store", None),
        ] {
            assert_eq!(at_edge(status, kept), wanted, "{status} {kept}");
        }
        assert_eq!(AtEdge::UntilPurged.value(60), "max-age=60");
        for value in [AtEdge::ForEver.value(60), REVALIDATE.to_owned(), A_WEEK.to_owned()] {
            assert!(!value.contains("public"), "{value}");
        }
    }
}
