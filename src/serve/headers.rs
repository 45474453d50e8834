//! The headers of a file's answers, prepared once for each entry of a manifest.
//!
//! All but those in [`HOST`] come from the manifest: a visitor can recompute them. Nothing here reads a request.

use std::{fmt::Write as _, sync::atomic::AtomicU64};

use hyper::header::{
    ACCEPT_RANGES, ALT_SVC, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, DATE, ETAG,
    HeaderMap, HeaderName, HeaderValue, LINK, VARY, X_CONTENT_TYPE_OPTIONS,
};

use crate::{
    base::{blob_dir::Coding, limits::POLICY_PATH_HEADERS_MAX},
    domain::{
        deployment::DeploymentId,
        lifetime, media_type,
        policy::{Policy, REFUSED_HEADERS},
    },
    http::digest::{CONTENT_DIGEST, REPR_DIGEST},
    proof::manifest::Entry,
};

/// The digest of the bytes without any content coding: the hash in the manifest (RFC 9530 has the syntax).
pub const UNENCODED_DIGEST: HeaderName = HeaderName::from_static("unencoded-digest");
/// What caches read instead of `Cache-Control` that stand before a server and can be purged (RFC 9213).
pub const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");
/// By which words an answer is purged, parted by commas: as Cloudflare reads it.
pub const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");
/// The same, parted by blanks: as Fastly and Varnish read it.
pub const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");
/// Keeps previews out of search engines.
pub const X_ROBOTS_TAG: HeaderName = HeaderName::from_static("x-robots-tag");

/// Every header that the host itself may add to a file's answer (DECISIONS 18). `Accept-Ranges`, `Alt-Svc`, `Cache-Control`
/// and `X-Content-Type-Options` only where the policy has none, so `Content-Digest` and `Repr-Digest` for who asks for them, `Cache-Tag`, `CDN-Cache-Control` and `Surrogate-Key` only where it has neither
/// of them nor `Cache-Control` and the owner of the site wants them; behind `Vary` (unless it says so already), `Link` and
/// `X-Robots-Tag` of the policy a line of ours is added.
pub const HOST: [HeaderName; 18] = [
    ACCEPT_RANGES,
    ALT_SVC,
    CACHE_CONTROL,
    CACHE_TAG,
    CDN_CACHE_CONTROL,
    CONTENT_DIGEST,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    DATE,
    ETAG,
    LINK,
    REPR_DIGEST,
    SURROGATE_KEY,
    UNENCODED_DIGEST,
    VARY,
    X_CONTENT_TYPE_OPTIONS,
    X_ROBOTS_TAG,
];

/// For what may be another file's bytes tomorrow.
pub(super) const REVALIDATE: HeaderValue = HeaderValue::from_static(lifetime::REVALIDATE);

/// Which headers are the host's to give.
#[derive(Clone, Copy, Debug)]
pub(super) struct Own {
    /// `Accept-Ranges`: the policy's stays whatever the answer is.
    pub(super) ranges: bool,
    /// `Cache-Control`.
    pub(super) cache: bool,
    /// Those for caches that stand before a server.
    pub(super) edge: bool,
}

/// What one entry's answers have in common.
#[derive(Debug)]
pub(super) struct Prepared {
    /// All headers of a 200 with identity coding, but for `X-Robots-Tag`. Whole, so that an answer clones and adds none.
    pub(super) headers: HeaderMap,
    /// The strong tag of the bytes as they are, with its quotes.
    pub(super) etag: String,
    /// What of them is the host's, and not the policy's.
    pub(super) own: Own,
    /// Whether compressed forms are worth a look.
    pub(super) compressible: bool,
    /// Which compressed forms there are, and as of which generation; see [`super::visit`].
    pub(super) forms: AtomicU64,
}

impl Prepared {
    pub(super) fn new(entry: &Entry, policy: &Policy, link: Option<&HeaderValue>) -> Self {
        let path = entry.path.as_str();
        let mut headers = HeaderMap::with_capacity(10);
        // INVARIANT: what is beyond the limit was refused at deploy, and a map without one panics.
        let set = policy.headers_for(path).into_iter().filter(|(name, _)| !is_refused(name));
        for (name, value) in set.take(POLICY_PATH_HEADERS_MAX) {
            // SECURITY: a name or value that cannot be in a header was refused at deploy; here it is left out.
            let parsed = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value.as_bytes()));
            if let (Ok(name), Ok(value)) = parsed {
                headers.insert(name, value);
            }
        }
        let compressible = media_type::is_compressible(&entry.media_type);
        let etag = format!("\"{}\"", data_encoding::BASE64URL_NOPAD.encode(&entry.sha256.0));
        let digest = format!("sha-256=:{}:", entry.sha256.base64());
        headers.insert(CONTENT_LENGTH, HeaderValue::from(entry.size));
        put(&mut headers, CONTENT_TYPE, &entry.media_type);
        put(&mut headers, ETAG, &etag);
        put(&mut headers, UNENCODED_DIGEST, &digest);
        let ranges = !headers.contains_key(ACCEPT_RANGES);
        headers.entry(ACCEPT_RANGES).or_insert(HeaderValue::from_static("bytes"));
        let cache = !headers.contains_key(CACHE_CONTROL);
        // `Expires` alone is an old word for what `Cache-Control` says, which is ours then.
        let edge = !lifetime::OF_SHARED_CACHES.iter().any(|it| *it != "expires" && headers.contains_key(*it));
        let kept = || HeaderValue::from_static(lifetime::cache_control(path, &entry.media_type));
        headers.entry(CACHE_CONTROL).or_insert_with(kept);
        headers.entry(X_CONTENT_TYPE_OPTIONS).or_insert(HeaderValue::from_static("nosniff"));
        // Said twice it would not be the policy's value any more, and it says no more.
        if compressible && !says_coding(&headers) {
            headers.append(VARY, HeaderValue::from_static("accept-encoding"));
        }
        if let Some(link) = link {
            headers.append(LINK, link.clone());
        }
        Self { headers, etag, own: Own { ranges, cache, edge }, compressible, forms: AtomicU64::new(0) }
    }

    /// Roughly its memory: a slot of the map for each header, and the texts.
    pub(super) fn bytes(&self) -> usize {
        self.headers.iter().fold(320, |sum, (name, value)| sum + 104 + name.as_str().len() + value.len())
    }

    /// The strong tag of a compressed form.
    pub(super) fn etag_of(&self, coding: Coding) -> String {
        let plain = self.etag.strip_suffix('"').unwrap_or(&self.etag);
        format!("{plain}-{}\"", coding.token())
    }
}

/// Whether a policy's header is left out: the type is the entry's, and the rest is the host's.
fn is_refused(name: &str) -> bool {
    name == "content-type" || REFUSED_HEADERS.contains(&name)
}

/// Whether `Vary` says already that answers differ by coding.
fn says_coding(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(VARY).iter().filter_map(|it| it.to_str().ok());
    lines.any(|line| {
        line.split(',').any(|it| matches!(it.trim(), "*") || it.trim().eq_ignore_ascii_case("accept-encoding"))
    })
}

/// The link to the proof of a deployment.
pub(super) fn proof_link(deployment: DeploymentId) -> Option<HeaderValue> {
    let mut link = String::with_capacity(96);
    write!(link, "</.well-known/chainhost/proof/{deployment}>; rel=\"describedby\"").ok()?;
    HeaderValue::from_str(&link).ok()
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::hash::Sha256,
        domain::{policy::HeaderRule, site_path::SitePath},
    };

    #[test]
    fn a_head_without_bounds_panics_nowhere() {
        let entry = Entry {
            path: SitePath::parse("/a.css").unwrap(),
            sha256: Sha256::of(b"a"),
            size: 1,
            media_type: String::from("text/css"),
        };
        let set = (0..40_000).map(|at| (format!("x-{at}"), String::from("1"))).collect();
        let policy = Policy { headers: vec![HeaderRule { matches: String::from("/*"), set }], ..Policy::default() };
        let made = Prepared::new(&entry, &policy, None);
        assert!((POLICY_PATH_HEADERS_MAX..100).contains(&made.headers.len()), "{}", made.headers.len());
    }

    #[test]
    fn the_policy_goes_first_and_what_is_ours_stays_ours() {
        let entry = Entry {
            path: SitePath::parse("/a.css").unwrap(),
            sha256: Sha256::of(b"a"),
            size: 1,
            media_type: String::from("text/css; charset=utf-8"),
        };
        let set = [
            ("cache-control", "no-cache"),
            ("vary", "origin"),
            ("etag", "\"x\""),
            ("content-length", "7"),
            ("content-type", "text/html"),
            ("x-note", "\u{e9}"),
            ("link", "</b>; rel=preload"),
        ];
        let set = set.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let policy = Policy { headers: vec![HeaderRule { matches: String::from("/*"), set }], ..Policy::default() };
        let link = HeaderValue::from_static("</p>; rel=describedby");
        let made = Prepared::new(&entry, &policy, Some(&link));
        let all = |name| made.headers.get_all(name).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>();
        assert_eq!(all("cache-control"), [b"no-cache"]);
        assert_eq!(all("vary"), [&b"origin"[..], b"accept-encoding"]);
        assert_eq!(all("link").len(), 2);
        assert_eq!(all("x-note"), ["\u{e9}".as_bytes()]);
        assert_eq!(all("content-type"), [b"text/css; charset=utf-8"]);
        assert_eq!(all("etag"), [made.etag.as_bytes()]);
        assert_eq!(all("content-length"), [b"1"]);
        assert_eq!(made.etag_of(Coding::Brotli), format!("\"{}-br\"", made.etag.trim_matches('"')));

        for (value, lines) in [("Origin, Accept-Encoding", 1), ("*", 1), ("x-accept-encoding", 2)] {
            let set = vec![(String::from("vary"), String::from(value))];
            let policy = Policy { headers: vec![HeaderRule { matches: String::from("/*"), set }], ..Policy::default() };
            let made = Prepared::new(&entry, &policy, None);
            assert_eq!(made.headers.get_all("vary").iter().count(), lines, "{value}");
        }
        // Whose files say something to caches keep their caches themselves; `Expires` alone says what `Cache-Control` says.
        for (name, cache, edge) in [
            ("x-note", true, true),
            ("expires", true, true),
            ("cache-control", false, true),
            ("cache-tag", true, false),
            ("surrogate-key", true, false),
            ("cdn-cache-control", true, false),
            ("cloudflare-cdn-cache-control", true, false),
            ("surrogate-control", true, false),
        ] {
            let set = vec![(String::from(name), String::from("x"))];
            let policy = Policy { headers: vec![HeaderRule { matches: String::from("/*"), set }], ..Policy::default() };
            let made = Prepared::new(&entry, &policy, None);
            assert_eq!((made.own.cache, made.own.edge), (cache, edge), "{name}");
            assert_eq!(made.headers.get(name).unwrap(), "x", "{name}");
        }
        let plain = Prepared::new(&entry, &Policy::default(), None);
        let others: Vec<_> = plain.headers.keys().filter(|it| !HOST.contains(it)).collect();
        assert_eq!(others, [CONTENT_TYPE]);
    }
}
