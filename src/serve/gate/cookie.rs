//! The cookie of a visitor who was let in: who it was and until when, signed with the key of the site.
//!
//! SECURITY: the signature is over the site, who it is, the version of their password or the secret of their link, and the end. So it is
//! worth nothing on another site, after another password, or once a link is taken back. Nothing is kept of it on the server.

use hyper::header::{COOKIE, HeaderMap, HeaderValue};
use subtle::ConstantTimeEq as _;

use super::rules::Ring;
use crate::{
    base::hash::{self, Sha256},
    domain::site::SiteId,
};

/// Over HTTPS the prefix binds it to the host, and no neighbour can set it.
const SECURE_NAME: &str = "__Host-chainhost_guest";
const PLAIN_NAME: &str = "chainhost_guest";
/// Cookies of the name that are looked at: others of a domain may set more, and each costs two hashes.
const LOOKED_AT: usize = 4;
/// What the signature is for, so that none made for something else fits.
const PURPOSE: &[u8] = b"chainhost guest 1";

/// Who was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Guest {
    /// By name and password.
    Person(String),
    /// By a link, known by the hash of its token.
    Link(Sha256),
}

/// What a guest may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pass {
    /// See the site during maintenance.
    pub(super) maintenance: bool,
}

impl Guest {
    fn kind(&self) -> char {
        match self {
            Self::Person(_) => 'p',
            Self::Link(_) => 'l',
        }
    }

    fn name(&self) -> &[u8] {
        match self {
            Self::Person(name) => name.as_bytes(),
            Self::Link(token) => &token.0,
        }
    }

    fn read(kind: &str, name: Vec<u8>) -> Option<Self> {
        match kind {
            "p" => String::from_utf8(name).ok().map(Self::Person),
            "l" => name.try_into().ok().map(|it| Self::Link(Sha256(it))),
            _ => None,
        }
    }

    fn sign(&self, ring: &Ring, site: SiteId, version: &[u8; 32], expires_s: i64) -> [u8; 32] {
        let kind = [u8::from(matches!(self, Self::Link(_)))];
        let parts = [PURPOSE, site.0.as_bytes(), &kind, self.name(), version, &expires_s.to_be_bytes()];
        hash::keyed(&ring.key, &parts)
    }
}

/// The header that lets `guest` in until `expires_s`. `version` is that of the password; a link has none but itself.
pub(super) fn set(
    ring: &Ring,
    site: SiteId,
    guest: &Guest,
    version: &[u8; 32],
    now_s: i64,
    expires_s: i64,
    secure: bool,
) -> Option<HeaderValue> {
    let encode = |bytes: &[u8]| data_encoding::BASE64URL_NOPAD.encode(bytes);
    let mac = guest.sign(ring, site, version, expires_s);
    let value = format!("{}.{}.{expires_s}.{}", guest.kind(), encode(guest.name()), encode(&mac));
    let age = expires_s.saturating_sub(now_s).max(0);
    header(&value, age, secure)
}

/// The header that forgets it.
pub(super) fn unset(secure: bool) -> Option<HeaderValue> {
    header("", 0, secure)
}

fn header(value: &str, age: i64, secure: bool) -> Option<HeaderValue> {
    let (name, flag) = if secure { (SECURE_NAME, "; Secure") } else { (PLAIN_NAME, "") };
    HeaderValue::try_from(format!("{name}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Lax{flag}")).ok()
}

/// Of a line of cookies those of these names, copied.
pub(super) fn ours(line: &HeaderValue) -> Option<HeaderValue> {
    let pairs = line.to_str().ok()?.split(';').map(str::trim);
    let ours = pairs.filter(|it| it.split_once('=').is_some_and(|(name, _)| name == SECURE_NAME || name == PLAIN_NAME));
    let ours = ours.collect::<Vec<_>>().join("; ");
    (!ours.is_empty()).then(|| HeaderValue::try_from(ours).ok())?
}

/// What the visitor with these headers may, when one of the cookies is good.
pub(super) fn find(ring: &Ring, site: SiteId, headers: &HeaderMap, now_s: i64, secure: bool) -> Option<Pass> {
    let wanted = if secure { SECURE_NAME } else { PLAIN_NAME };
    let lines = headers.get_all(COOKIE).iter().filter_map(|it| it.to_str().ok());
    let pairs = lines.flat_map(|it| it.split(';')).filter_map(|it| it.trim().split_once('='));
    let mut values = pairs.filter(|(name, _)| *name == wanted).map(|(_, value)| value).take(LOOKED_AT);
    values.find_map(|value| check(ring, site, value, now_s))
}

fn check(ring: &Ring, site: SiteId, value: &str, now_s: i64) -> Option<Pass> {
    let mut parts = value.split('.');
    let (kind, name, expires, mac) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let decode = |text: &str| data_encoding::BASE64URL_NOPAD.decode(text.as_bytes()).ok();
    let guest = Guest::read(kind, decode(name)?)?;
    let (expires_s, mac) = (expires.parse::<i64>().ok()?, decode(mac)?);
    if parts.next().is_some() || expires_s <= now_s {
        return None;
    }
    let (version, pass) = match &guest {
        Guest::Person(name) => (ring.person(name)?.version, Pass { maintenance: false }),
        Guest::Link(token) => {
            let way = ring.link(token).filter(|it| it.expires_s > now_s)?;
            ([0; 32], Pass { maintenance: way.maintenance })
        }
    };
    bool::from(guest.sign(ring, site, &version, expires_s).ct_eq(&mac)).then_some(pass)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::ids::Id,
        domain::site_settings::guests::{Guests, Kept, Link, Person},
    };

    const NOW_S: i64 = 1_000;

    fn site(number: u8) -> SiteId {
        SiteId(Id::from_bytes([number; 16]))
    }

    fn token() -> Sha256 {
        Sha256::of(b"token")
    }

    fn guests(key: u8, hash: &str, links: &[i64]) -> Ring {
        let hash = Kept(hash.to_owned());
        let links = links.iter().map(|expires_ms| Link {
            id: String::from("l"),
            note: String::new(),
            token: token(),
            maintenance: true,
            made_ms: 0,
            expires_ms: *expires_ms,
        });
        Ring::of(&Guests {
            key: Some(Kept(data_encoding::HEXLOWER.encode(&[key; 32]))),
            people: vec![Person { name: String::from("\u{e9}va"), hash, changed_ms: 0 }],
            links: links.collect(),
        })
    }

    fn person() -> Guest {
        Guest::Person(String::from("\u{e9}va"))
    }

    fn value(ring: &Ring, guest: &Guest, expires_s: i64, secure: bool) -> String {
        let version = match guest {
            Guest::Person(name) => ring.person(name).unwrap().version,
            Guest::Link(_) => [0; 32],
        };
        let header = set(ring, site(1), guest, &version, NOW_S, expires_s, secure).unwrap();
        header.to_str().unwrap().split(';').next().unwrap().to_owned()
    }

    fn found(ring: &Ring, of: SiteId, line: &str, now_s: i64, secure: bool) -> Option<bool> {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, HeaderValue::from_str(line).unwrap());
        find(ring, of, &headers, now_s, secure).map(|it| it.maintenance)
    }

    #[test]
    fn a_cookie_opens_what_it_was_made_for() {
        let ring = guests(1, "hash", &[9_000_000]);
        let whole = set(&ring, site(1), &person(), &[0; 32], NOW_S, NOW_S + 60, true).unwrap();
        let whole = whole.to_str().unwrap();
        assert!(whole.starts_with("__Host-chainhost_guest=p."), "{whole}");
        assert!(whole.ends_with("; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure"), "{whole}");
        let good = value(&ring, &person(), NOW_S + 60, true);
        assert_eq!(found(&ring, site(1), &format!("a=b; {good}; c=d"), NOW_S, true), Some(false));
        let line = HeaderValue::try_from(format!("a=b; {good}; {PLAIN_NAME}x=y; c=d")).unwrap();
        assert_eq!(ours(&line).unwrap(), good, "what is kept of it");
        assert_eq!(ours(&HeaderValue::from_static("a=b; c")), None);
        let shared = value(&ring, &Guest::Link(token()), NOW_S + 60, false);
        assert_eq!(found(&ring, site(1), &shared, NOW_S, false), Some(true));
        // A neighbour of the domain can set more of the name, and shuts nobody out with a few of them.
        assert_eq!(
            found(&ring, site(1), &format!("{PLAIN_NAME}=x; {PLAIN_NAME}=y; {shared}"), NOW_S, false),
            Some(true)
        );
    }

    #[test]
    fn no_other_cookie_opens_it() {
        let ring = guests(1, "hash", &[2_000_000]);
        let good = value(&ring, &person(), NOW_S + 60, true);
        let link = value(&ring, &Guest::Link(token()), NOW_S + 60, true);
        let opens = |line: &str| found(&ring, site(1), line, NOW_S, true);
        assert!(opens(&good).is_some() && opens(&link).is_some());
        // Of another site, by another key, past its end, without TLS.
        assert_eq!(found(&ring, site(2), &good, NOW_S, true), None);
        assert_eq!(found(&guests(2, "hash", &[]), site(1), &good, NOW_S, true), None);
        assert_eq!(found(&ring, site(1), &good, NOW_S + 60, true), None);
        assert_eq!(found(&ring, site(1), &good, NOW_S, false), None);
        assert_eq!(found(&ring, site(1), &good.replace(SECURE_NAME, PLAIN_NAME), NOW_S, true), None);
        // After another password, of somebody removed, of a link that was taken back or has ended.
        assert_eq!(found(&guests(1, "other", &[]), site(1), &good, NOW_S, true), None);
        assert_eq!(found(&guests(1, "hash", &[]), site(1), &link, NOW_S, true), None);
        assert_eq!(found(&guests(1, "hash", &[999_000]), site(1), &link, NOW_S, true), None);
        // Any byte of it altered, cut off, or more of it.
        let (name, text) = good.split_once('=').unwrap();
        for at in 0..text.len() {
            let mut altered = text.as_bytes().to_vec();
            altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(altered).unwrap();
            assert_eq!(opens(&format!("{name}={altered}")), None, "{altered}");
            assert_eq!(opens(&format!("{name}={}", &text[..at])), None, "{at}");
        }
        for more in [".", ".x", "A"] {
            assert_eq!(opens(&format!("{good}{more}")), None);
        }
        let later = text.replace(&format!(".{}.", NOW_S + 60), &format!(".{}.", NOW_S + 61));
        assert!(later != text && opens(&format!("{name}={later}")).is_none());
        let as_link = text.replacen('p', "l", 1);
        assert_eq!(opens(&format!("{name}={as_link}")), None);
    }
}
