//! Password protection: which requests come before a door, and who is let through it.
//!
//! SECURITY: a path that any reader could take for one behind the door is behind it, and so is a file that a rule brings out at
//! another path. What was behind a door is kept by no shared cache.

use std::time::Duration;

use data_encoding::BASE64;
use hyper::{
    HeaderMap,
    header::{AUTHORIZATION, CACHE_CONTROL, HeaderValue, VARY},
};

use super::{
    Gate, cookie,
    doors::{Attempt, Checked, Doors},
    rules::Ring,
};
use crate::{
    base::{limits::PASSWORD_BYTES_MAX, secret::Secret},
    domain::{
        lifetime::{OF_SHARED_CACHES, OF_VISITOR},
        site_settings::{guests::composed, paths::Prefixes},
    },
    serve::{
        open::{Right, Version},
        page::Refusal,
    },
};

/// For what was behind a door.
const PRIVATE: HeaderValue = HeaderValue::from_static(OF_VISITOR);

/// A door of a site.
#[derive(Debug)]
pub(super) struct Door {
    /// Whether browsers ask with their own dialogue, and not the site with a form.
    pub(super) basic: bool,
    pub(super) prefixes: Prefixes,
    pub(super) session_s: i64,
}

impl Door {
    /// Whether a request for a decoded path comes before it.
    pub(super) fn guards(&self, path: Option<&str>) -> bool {
        self.prefixes.guard(path)
    }

    /// Lets the visitor pass, or not; the version of the password that has let him in, and nothing where a cookie has.
    pub(super) async fn admit(&self, gate: &Gate<'_>, doors: &Doors) -> Result<Option<Version>, Refusal> {
        let (headers, client) = (&gate.asked.parts.headers, gate.asked.client());
        if gate.rules.guests.as_ref().is_some_and(|it| has_cookie(it, gate)) {
            return Ok(None);
        }
        if !self.basic {
            return Err(Refusal::SignIn);
        }
        let refused = || Refusal::Basic(gate.target.name.clone());
        let (name, password) = credentials(headers).ok_or_else(refused)?;
        let known = gate.rules.guests.as_ref().and_then(|it| it.person(&name));
        let attempt = Attempt { site: gate.target.site, client: client.address, name: &name, password, known };
        match doors.check(attempt).await {
            Checked::Right => Ok(known.map(|it| it.version)),
            Checked::Wrong => Err(refused()),
            // A second is added where it is told.
            Checked::Later(after_s) => Err(Refusal::TooMany(Duration::from_secs(after_s.saturating_sub(1)))),
            Checked::Broken => Err(Refusal::Unreadable),
        }
    }

    /// Whether who was let in before still is: by a cookie that is still good, or by a password; `known`: the version of which that is right.
    pub(super) fn right(&self, gate: &Gate<'_>, known: Option<Version>) -> Right {
        let Some(ring) = &gate.rules.guests else { return Right::Ends };
        if has_cookie(ring, gate) {
            return Right::Stays;
        }
        let said = credentials(&gate.asked.parts.headers).filter(|_| self.basic);
        match said.and_then(|(name, _)| Some(ring.person(&name)?.version)) {
            None => Right::Ends,
            now if now == known => Right::Stays,
            Some(now) => Right::Unsure(now),
        }
    }

    /// Lets no shared cache keep an answer, and no cache give it to somebody else.
    pub(super) fn keep_private(&self, headers: &mut HeaderMap) {
        let stored = headers
            .get_all(CACHE_CONTROL)
            .iter()
            .any(|it| it.as_bytes().windows(8).any(|it| it.eq_ignore_ascii_case(b"no-store")));
        if !stored {
            headers.insert(CACHE_CONTROL, PRIVATE);
        }
        for name in OF_SHARED_CACHES {
            headers.remove(name);
        }
        headers.append(VARY, HeaderValue::from_static(if self.basic { "authorization, cookie" } else { "cookie" }));
    }
}

fn has_cookie(ring: &Ring, gate: &Gate<'_>) -> bool {
    let (headers, is_secure) = (&gate.asked.parts.headers, gate.asked.client().scheme == "https");
    cookie::find(ring, gate.target.site, headers, gate.now_s, is_secure).is_some()
}

/// Name and password of a request (RFC 7617), when there is one line of them.
pub(super) fn credentials(headers: &HeaderMap) -> Option<(String, Secret)> {
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    // SECURITY: a proxy in front could have looked at the other one.
    let line = lines.next().filter(|_| lines.next().is_none())?;
    let (scheme, encoded) = line.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = text(BASE64.decode(encoded.trim().as_bytes()).ok()?);
    let (name, password) = text.expose().split_once(':')?;
    let fits = password.len() <= PASSWORD_BYTES_MAX && !name.is_empty();
    fits.then(|| (composed(name.trim()), Secret::new(composed(password))))
}

/// UTF-8 as we ask for it; else ISO 8859-1, which is what old clients send (RFC 7617 §2.1).
fn text(bytes: Vec<u8>) -> Secret {
    let text = String::from_utf8(bytes);
    Secret::new(text.unwrap_or_else(|error| error.into_bytes().into_iter().map(char::from).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Option<(String, String)> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(AUTHORIZATION, HeaderValue::from_str(line).unwrap());
        }
        credentials(&headers).map(|(name, password)| (name, password.expose().to_owned()))
    }

    #[test]
    fn credentials_are_read_in_either_charset_and_never_twice() {
        let basic = |bytes: &[u8]| format!("Basic {}", BASE64.encode(bytes));
        let found = |bytes: &[u8]| read(&[&basic(bytes)]);
        let ada = Some((String::from("ada"), String::from("a:b c")));
        assert_eq!(found(b"ada:a:b c"), ada);
        assert_eq!(read(&[&format!("bAsIc   {}", BASE64.encode(b"ada:a:b c"))]), ada);
        let eva = Some((String::from("\u{e9}va"), String::from("stra\u{df}e")));
        assert_eq!(found("\u{e9}va:stra\u{df}e".as_bytes()), eva);
        assert_eq!(found(b"\xe9va:stra\xdfe"), eva, "ISO 8859-1");
        assert_eq!(found("e\u{301}va:stra\u{df}e".as_bytes()), eva, "decomposed");
        assert_eq!(read(&[&basic(b"ada:x"), &basic(b"ada:y")]), None);
        for wrong in ["", "Basic", "Basic ", "Basic !!!", "Bearer YTpi", "BasicYTpi", &basic(b"noColon"), &basic(b":x")]
        {
            assert_eq!(read(&[wrong]), None, "{wrong}");
        }
        assert_eq!(found(&[b"ada:".as_slice(), &[b'x'; 1_025]].concat()), None);
    }

    #[test]
    fn what_was_behind_a_door_is_kept_by_nobody_else() {
        let door = Door { basic: true, prefixes: Prefixes::new(&[]), session_s: 1 };
        for (before, after) in [
            ("public, max-age=31536000, immutable", "private, no-cache"),
            ("s-maxage=60", "private, no-cache"),
            ("no-store", "no-store"),
            ("No-Store, max-age=0", "No-Store, max-age=0"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CACHE_CONTROL, HeaderValue::from_static(before));
            headers.insert("cdn-cache-control", HeaderValue::from_static("public"));
            headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
            door.keep_private(&mut headers);
            assert_eq!(headers[CACHE_CONTROL], after);
            assert!(!headers.contains_key("cdn-cache-control"));
            let vary: Vec<_> = headers.get_all(VARY).iter().collect();
            assert_eq!(vary, ["accept-encoding", "authorization, cookie"]);
        }
    }

    #[test]
    fn proofs_are_behind_every_door() {
        let door = Door { basic: true, prefixes: Prefixes::new(&[String::from("/intern")]), session_s: 1 };
        for (path, wanted) in [
            (Some("/intern/a"), true),
            (Some("/.well-known/chainhost/proof/00"), true),
            (None, true),
            (Some("/"), false),
            (Some("/.well-known/security.txt"), false),
        ] {
            assert_eq!(door.guards(path), wanted, "{path:?}");
        }
        let whole = Door { prefixes: Prefixes::new(&[]), ..door };
        assert!(whole.guards(Some("/")));
    }
}
