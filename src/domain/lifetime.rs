//! How long caches may keep a file whose policy does not say: the value of `Cache-Control`.
//!
//! Nothing here is part of a manifest: it is one of the headers that the host itself adds (DECISIONS 18).

/// For what may be another file's bytes tomorrow.
pub const REVALIDATE: &str = "max-age=0, must-revalidate";
/// For what others may get otherwise, as where they are or what they speak decides: no cache of several people keeps it, and a browser asks again.
pub const OF_VISITOR: &str = "private, no-cache";
/// What caches that stand before a server read instead of `Cache-Control` (RFC 9213). It is left out there.
pub const OF_SHARED_CACHES: [&str; 8] = [
    "expires",
    "cdn-cache-control",
    "cloudflare-cdn-cache-control",
    "netlify-cdn-cache-control",
    "edge-control",
    "surrogate-control",
    "vercel-cdn-cache-control",
    "x-accel-expires",
];
const A_WEEK: &str = "max-age=604800";
const FOR_EVER: &str = "max-age=31536000, immutable";

/// How long a file may be kept when its policy does not say: a page never without asking, a file whose name changes
/// with its bytes for ever, all else a week.
pub fn cache_control(path: &str, media_type: &str) -> &'static str {
    if media_type.starts_with("text/html") || media_type.starts_with("application/xhtml") {
        return REVALIDATE;
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
        for path in ["/app.3f2a9c1b.js", "/a/index-DkX2pQ9a.css", "/chunk-XH5PNVW4.js", "/app.3f2a9c1b.js.map"] {
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
        ] {
            assert_eq!(cache_control(path, media_type::of(path)), A_WEEK, "{path}");
        }
        for path in ["/index.html", "/index-DkX2pQ9a.html", "/a.xhtml"] {
            assert_eq!(cache_control(path, media_type::of(path)), REVALIDATE, "{path}");
        }
    }
}
