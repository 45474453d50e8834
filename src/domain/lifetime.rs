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
/// Endings of what bundlers write, and people seldom name by date, size or version.
const BUNDLED: [&str; 8] = ["cjs", "css", "js", "map", "mjs", "wasm", "woff", "woff2"];

/// How long a file may be kept when its policy does not say: a page never without asking, a file whose name changes
/// with its bytes for ever, all else a week.
///
/// In doubt it is a week: a hash that is not seen costs requests, while a name that is taken for one is kept for a year by browsers, which
/// nobody can purge.
pub fn cache_control(path: &str, media_type: &str) -> &'static str {
    if media_type.starts_with("text/html") || media_type.starts_with("application/xhtml") {
        return REVALIDATE;
    }
    if HASHED.iter().any(|it| path.contains(it)) && !path.contains(NOT_HASHED) {
        return FOR_EVER;
    }
    if is_hashed(path.rsplit('/').next().unwrap_or_default()) { FOR_EVER } else { A_WEEK }
}

/// Whether a bundler put a hash of the bytes into a file's name: behind a `-` (`index-BcD1f2G3.js`), or between two `.`
/// (`main.3f2a9c1b.js`).
fn is_hashed(name: &str) -> bool {
    let bundled = name.rsplit_once('.').is_some_and(|(_, it)| BUNDLED.contains(&it));
    let mut parts = name.split('.').rev().skip(1).peekable();
    while let Some(part) = parts.next() {
        let (front, last) = match part.rsplit_once('-') {
            Some((front, last)) => (front, last),
            // The first part is what the file is called.
            None if parts.peek().is_some() => ("", part),
            None => continue,
        };
        // `name-HASH_bg.wasm`, as `wasm-bindgen` has it.
        let hex = last.strip_suffix("_bg").unwrap_or(last);
        if (is_hex_hash(hex) && !ends_a_uuid(front)) || is_short_hash(last, bundled, front == "chunk") {
            return true;
        }
    }
    false
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

/// Whether a part of a name is a digest in hexadecimal (webpack, Parcel, Hugo, Gatsby, Sprockets): whole bytes, four or more, in which
/// letters and digits change so often that it is no date (`1dec2024`) and no number of an article (`1234a567`).
fn is_hex_hash(part: &str) -> bool {
    let hex = part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if !hex || part.len() < 8 || !part.len().is_multiple_of(2) || changes(part).0 < 3 {
        return false;
    }
    let ends = [part.as_bytes().first_chunk::<4>(), part.as_bytes().last_chunk::<4>()];
    part.len() >= 16 || !ends.into_iter().flatten().any(|it| is_year(it))
}

/// Whether `front` and the part behind it are a UUID, which names a thing and not its bytes.
fn ends_a_uuid(front: &str) -> bool {
    let hex = |it: &str| it.bytes().all(|b| b.is_ascii_hexdigit());
    let mut groups = front.rsplit('-');
    let inner = [4, 4, 4].iter().all(|length| groups.next().is_some_and(|it| it.len() == *length && hex(it)));
    inner && groups.next().is_some_and(|it| it.len() >= 8 && it.get(it.len() - 8..).is_some_and(hex))
}

/// Whether a part of a name is a hash of eight signs: base64url (Vite, Rollup, Astro), or base32 in capitals (esbuild, Angular).
///
/// People write small letters, capitals and digits together too (`S01E02en`, `iPhone15`, `2024Q1v2`). So these have to change as
/// words, years, sizes and versions do not, and more so in a file that is no code; many a hash of a picture is not seen.
fn is_short_hash(part: &str, bundled: bool, chunk: bool) -> bool {
    let signs = part.len() == 8 && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !signs || begins_with_size(part) || has_year_or_version(part) || (!bundled && is_from_to(part)) {
        return false;
    }
    let (all, capitals) = changes(part);
    if part.bytes().all(|b| matches!(b, b'A'..=b'Z' | b'2'..=b'7')) {
        return bundled && all >= if chunk { 1 } else { 3 };
    }
    let mixed = [u8::is_ascii_digit, u8::is_ascii_lowercase, u8::is_ascii_uppercase]
        .iter()
        .all(|is_kind| part.as_bytes().iter().any(is_kind));
    mixed && if bundled { all >= 4 || (all == 3 && capitals > 0) } else { all >= 4 && capitals > 0 }
}

/// Whether it goes from one to another: `B1toB2de`, `Mp3ToMp4`, `A1vsB2en`.
fn is_from_to(part: &str) -> bool {
    let has_digit = |it: &str| it.contains(|c: char| c.is_ascii_digit());
    let lower = part.to_ascii_lowercase();
    let kind = |b: u8| (b.is_ascii_digit(), b.is_ascii_uppercase());
    let (front, back) = part.as_bytes().split_at(part.len() / 2);
    lower.match_indices("to").any(|(at, _)| {
        let (front, back) = lower.split_at(at);
        has_digit(front) && has_digit(back)
    }) || front.iter().map(|it| kind(*it)).eq(back.iter().map(|it| kind(*it)))
}

/// How often a letter and a digit stand side by side, or a capital behind a small letter; and how often the latter. A `_` parts words,
/// and is no change.
fn changes(part: &str) -> (usize, usize) {
    let pairs = || part.bytes().zip(part.bytes().skip(1)).filter(|(a, b)| *a != b'_' && *b != b'_');
    let digits = pairs().filter(|(a, b)| a.is_ascii_digit() != b.is_ascii_digit()).count();
    let capitals = pairs().filter(|(a, b)| a.is_ascii_lowercase() && b.is_ascii_uppercase()).count();
    (digits + capitals, capitals)
}

/// `64x64…`, `1024x768_v2`
fn begins_with_size(part: &str) -> bool {
    let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
    rest.len() < part.len() && rest.strip_prefix('x').is_some_and(|it| it.starts_with(|c: char| c.is_ascii_digit()))
}

/// Whether there is a year, or a `v` before a digit.
fn has_year_or_version(part: &str) -> bool {
    let version = |it: &[u8]| matches!(it, [b'v' | b'V', digit] if digit.is_ascii_digit());
    part.as_bytes().windows(4).any(is_year) || part.as_bytes().windows(2).any(version)
}

fn is_year(text: &[u8]) -> bool {
    matches!(text, [b'1', b'9', rest @ ..] | [b'2', b'0', rest @ ..] if rest.iter().all(u8::is_ascii_digit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::media_type;

    /// By the bundlers' own defaults, or in their folders.
    const HASHED_NAMES: &[&str] = &[
        // webpack, also by way of Create React App, Vue CLI, Docusaurus and VuePress: 8, 16 or 20 hexadecimal digits.
        "/app.3f2a9c1b.js",
        "/app.3f2a9c1b.js.map",
        "/main.3f2a1b9c.js",
        "/static/js/2.8b1c93f4.chunk.js",
        "/static/media/logo.6ce24c58023cc2f8fd88fe9d219db6c6.svg",
        "/assets/js/runtime~main.4f9c1e7a.js",
        "/js/chunk-vendors.a1b2c3d4.js",
        "/main.5f3a9c0b7d2e4f61.js",
        "/main.1d4f8a2b6c9e0f3a5b7d.js",
        "/main.2019c1a7b3d5e0f4.js",
        // Next.js, outside its folder.
        "/chunks/main-app-0f1b8c2d4e6a9c3f.js",
        // Parcel, Gatsby, Hugo, Sprockets and Propshaft, Django, Phoenix, Trunk.
        "/index.2cc6a5bf.js",
        "/component---src-pages-index-js-3f2a1b9c0d1e2f3a4b5c.js",
        "/app-6b7c3f0a1d2e4f5a6b7c.js",
        "/css/main.min.4cb1b2a7f0e9d8c3b6a5948372615049f8e7d6c5b4a39281706f5e4d3c2b1a09.css",
        "/assets/application-9f1c8b2a7d6e5f4c3b2a19087f6e5d4c.css",
        "/assets/logo-5a8b6f4e.svg",
        "/static/base.27e20196a850.js",
        "/assets/app-68b329da9893e34099c7d8ad5cb9c940.js",
        "/app-3f2a9c1b7d8e4f60_bg.wasm",
        // Vite, Rollup, VitePress, Astro: eight of base64url.
        "/a/index-DkX2pQ9a.css",
        "/assets/index-DkP3mZ_a.js",
        "/assets/index-BcD1f2G3.js",
        "/main-DhX3kq9A.css",
        "/assets/logo-DkX2pQ9a.svg",
        "/assets/inter-B3pXk9Qa.woff2",
        "/assets/index.md.BxC3d9fA.lean.js",
        "/_slug_.BxC3d9fA.css",
        // Older ones of these: eight hexadecimal digits.
        "/assets/vendor.5e3a9c1f.js",
        "/assets/index-3f2a9c1b.js",
        // esbuild, tsup, Angular: eight of base32.
        "/chunk-XH5PNVW4.js",
        "/chunk-ABCD2345.js",
        "/chunk-ABCD2345.js.map",
        "/main-5Q3XJ7KA.js",
        "/styles-5QNU3TSO.css.map",
        // Folders.
        "/_astro/hoisted.js",
        "/docs/_astro/logo.png",
        "/_next/static/abc/_buildManifest.js",
        "/_app/immutable/entry/start.js",
        "/_nuxt/entry.js",
    ];

    /// Of files whose bytes may change under their names.
    const NAMES_OF_PEOPLE: &[&str] = &[
        "/app.js",
        "/assets/index.js",
        "/kurs-B1toB2de.pdf",
        "/convert-Mp3ToMp4.pdf",
        "/guide-B2bToB2c.pdf",
        "/report-Q1toQ4en.pdf",
        "/test-A1vsB2en.png",
        "/3f2a9c1b.js",
        "/DkX2pQ9a.js",
        "/x-3f2a9c1b/app.js",
        "/a-12.css",
        "/my_astro/app.js",
        "/_nuxt/builds/latest.json",
        "/_next/data.json",
        // Dates and times.
        "/report-20240101.pdf",
        "/report.20240101.csv",
        "/menu-2024_01_15.pdf",
        "/slides-12_03_2024.pdf",
        "/IMG-20240115_123456.jpg",
        "/Screenshot-20240115_101500.png",
        "/Screenshot-20240115T101500Z.png",
        "/log-1705312345678.txt",
        "/flyer-1dec2024.pdf",
        "/flyer-20feb2024.pdf",
        "/flyer-15Dec24a.pdf",
        "/report-2024Q1v2.pdf",
        "/report-FY2024Q3.pdf",
        "/report-2024a1b2.pdf",
        "/report-FY2024aB.js",
        "/video-1h30m20s.mp4",
        // Sizes.
        "/photo-1024x768.jpg",
        "/banner-1920x1080px.jpg",
        "/hero-1024x768_v2.jpg",
        "/icon-64x64aB3.png",
        "/box-10x20x30.pdf",
        "/clip-1080p60fps.mp4",
        "/clip-H264_720.mp4",
        "/clip-4K60FPS1.mp4",
        // Versions.
        "/logo-v2_final3.png",
        "/logo-v10beta2.png",
        "/manual-iPad10v2.pdf",
        "/three-r152dev1.js",
        "/style-v2_3_1rc4.css",
        "/shim-webGL2v3.js",
        // Words.
        "/photo-vacation2023.jpg",
        "/theme-darkMode.css",
        "/case-iPhone15.jpg",
        "/tool-win32x64.exe",
        "/table-mp3tomp4.html.txt",
        "/show-S01E02en.vtt",
        "/show-S01E02HD.mp4",
        "/lib-d3Chart2.js",
        "/plan-A4Print2.pdf",
        "/plan-b2b2c24ad.pdf",
        "/style-Ab_3c_4D.css",
        "/chunk-CHOCOLAT.js",
        "/chunk-ABCD2345.jpg",
        // Hashes that might be words.
        "/styles-5INURTSO.css",
        "/main-ABCD2345.js",
        "/assets/index-BcDfGhJk.js",
        "/assets/logo-Dk3mZqab.svg",
        "/app.cafe2024.js",
        // Numbers of articles, and what names a thing.
        "/part-1234a567.jpg",
        "/shoe-7KX92BQ4.jpg",
        "/B08N5WRWNW-4.jpg",
        "/photo-550e8400-e29b-41d4-a716-4466f5440a0b.jpg",
        "/x.550e8400-e29b-41d4-a716-4466f5440a0b.js",
    ];

    #[test]
    fn how_long_a_file_may_be_kept() {
        for (paths, wanted) in [(HASHED_NAMES, FOR_EVER), (NAMES_OF_PEOPLE, A_WEEK)] {
            let other: Vec<_> = paths.iter().filter(|it| cache_control(it, media_type::of(it)) != wanted).collect();
            assert!(other.is_empty(), "not {wanted}: {other:#?}");
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
