//! Digests of an answer that a client asks for: `Repr-Digest` by `Want-Repr-Digest`, `Content-Digest` by `Want-Content-Digest` (RFC 9530).

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use crate::base::hash::Sha256;

/// The digest of the representation that an answer is of: as it is coded, and whole where the answer has a part of it.
pub const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
/// The digest of the bytes of one answer.
pub const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");

/// The fields that ask for them begin so.
const WANT: &str = "want-";
const WANT_REPR_DIGEST: HeaderName = HeaderName::from_static("want-repr-digest");
const WANT_CONTENT_DIGEST: HeaderName = HeaderName::from_static("want-content-digest");
/// The one that is known of every file.
const ALGORITHM: &str = "sha-256";
/// How much one may want it.
const WEIGHT_MAX: u8 = 10;

/// Which digests are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    repr: bool,
    content: bool,
}

impl Wanted {
    /// What a request wants, where it wants any. Other algorithms are not there to be had.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        // Nearly nobody asks: a look at the first letters costs less than two searches.
        if !headers.keys().any(|it| it.as_str().starts_with(WANT)) {
            return None;
        }
        let wanted = Self { repr: wants(headers, &WANT_REPR_DIGEST), content: wants(headers, &WANT_CONTENT_DIGEST) };
        (wanted.repr || wanted.content).then_some(wanted)
    }

    /// Tells them, unless they are told already: `hash` is the digest of the representation, which is the content too where that `is_all` of it.
    pub fn tell(self, headers: &mut HeaderMap, hash: Sha256, is_all: bool) {
        let Ok(value) = HeaderValue::try_from(format!("{ALGORITHM}=:{}:", hash.base64())) else { return };
        if self.content && is_all {
            headers.entry(CONTENT_DIGEST).or_insert_with(|| value.clone());
        }
        if self.repr {
            headers.entry(REPR_DIGEST).or_insert(value);
        }
    }
}

/// Whether a dictionary of algorithms and weights (RFC 8941, 3.2) has this one above 0. Of two the last one counts.
fn wants(headers: &HeaderMap, name: &HeaderName) -> bool {
    let lines = headers.get_all(name).iter().filter_map(|it| it.to_str().ok());
    let is_this = |member: &&str| member.split(['=', ';']).next().is_some_and(|it| it.trim_end() == ALGORITHM);
    let last = lines.flat_map(|it| it.split(',')).map(str::trim).rfind(is_this);
    let weight = last.and_then(|member| {
        let (_, weight) = member.split(';').next()?.trim_end().split_once('=')?;
        weight.bytes().all(|it| it.is_ascii_digit()).then(|| weight.parse::<u8>().ok())?
    });
    weight.is_some_and(|it| (1..=WEIGHT_MAX).contains(&it))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(lines: &[(&'static str, &'static str)]) -> Option<Wanted> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        Wanted::of(&headers)
    }

    #[test]
    fn a_wish_is_a_weight_from_one_to_ten() {
        let wishes = [
            ("sha-256=1", true),
            ("sha-256=10", true),
            ("sha-512=3, sha-256=1", true),
            ("sha-512=3,sha-256=1;a=2", true),
            ("sha-256=0, sha-256=5", true),
            ("sha-256=5, sha-256=0", false),
            ("sha-256=5, sha-256", false),
            ("sha-256;a=5", false),
            ("sha-256=0", false),
            ("sha-256=11", false),
            ("sha-256=+1", false),
            ("sha-256=-1", false),
            ("sha-256=999", false),
            ("sha-256=1.0", false),
            ("sha-256", false),
            ("sha-256=", false),
            ("sha-512=10", false),
            ("SHA-256=1", false),
            ("xsha-256=1", false),
            ("", false),
        ];
        for (text, wanted) in wishes {
            let found = asked(&[("want-repr-digest", text)]);
            assert_eq!(found, wanted.then_some(Wanted { repr: true, content: false }), "{text}");
        }
        let both = asked(&[("want-content-digest", "sha-256=2"), ("want-repr-digest", "sha-256=2")]);
        assert_eq!(both, Some(Wanted { repr: true, content: true }));
        let lines = [("want-content-digest", "sha-512=2"), ("want-content-digest", "sha-256=1")];
        assert_eq!(asked(&lines), Some(Wanted { repr: false, content: true }));
        assert_eq!(asked(&[("accept", "sha-256=1"), ("want-digest", "sha-256=1")]), None);
    }

    #[test]
    fn what_is_told_already_stays() {
        let (wanted, one, other) = (Wanted { repr: true, content: true }, Sha256::of(b"1"), Sha256::of(b"2"));
        let value = |it: Sha256| format!("sha-256=:{}:", it.base64());
        let mut headers = HeaderMap::new();
        wanted.tell(&mut headers, one, false);
        assert_eq!((headers.len(), headers[REPR_DIGEST].to_str().unwrap()), (1, value(one).as_str()));
        wanted.tell(&mut headers, other, true);
        assert_eq!(headers[REPR_DIGEST].to_str().unwrap(), value(one));
        assert_eq!(headers[CONTENT_DIGEST].to_str().unwrap(), value(other));
    }
}
