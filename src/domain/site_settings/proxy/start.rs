//! Which route a path belongs to: segment by segment, decoded, so that no spelling of a path leads past the route that is for it.

use percent_encoding::percent_decode_str;

/// Where a route begins: the decoded segments of its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start(Vec<Vec<u8>>);

impl Start {
    /// Of the path of a route.
    pub fn new(path: &str) -> Self {
        let segments = path.trim_end_matches('/').split('/').skip(1);
        Self(segments.map(|it| it.as_bytes().to_vec()).collect())
    }

    /// How many segments it has: of several that fit, the one with the most is meant.
    const fn depth(&self) -> usize {
        self.0.len()
    }

    /// What is behind it in a raw path, beginning with `/`; `None` where the path is not below it.
    pub fn rest<'p>(&self, path: &'p str) -> Option<&'p str> {
        let mut rest = path;
        for wanted in &self.0 {
            let behind = rest.strip_prefix('/')?;
            let end = behind.find('/').unwrap_or(behind.len());
            let (segment, more) = behind.split_at_checked(end)?;
            if !percent_decode_str(segment).eq(wanted.iter().copied()) {
                return None;
            }
            rest = more;
        }
        Some(if rest.is_empty() { "/" } else { rest })
    }
}

/// Of those that a raw path is below, the one with the most segments, with what is behind it in the path.
pub fn find<T>(all: impl Iterator<Item = T>, start: impl Fn(&T) -> &Start, path: &str) -> Option<(T, &str)> {
    let fits = all.filter_map(|it| {
        let rest = start(&it).rest(path)?;
        Some((it, rest))
    });
    fits.max_by_key(|it| start(&it.0).depth())
}

/// Whether a raw path goes up, in any way that some server reads so: `..` however it is encoded, with `\` or behind it, or with what some take
/// for parameters (`..;`). No browser asks for one.
pub fn goes_up(path: &str) -> bool {
    if !path.contains("..") && !path.contains('%') && !path.contains("/.") {
        return false;
    }
    let decoded: Vec<u8> = percent_decode_str(path).collect();
    let mut segments = decoded.split(|b| matches!(b, b'/' | b'\\'));
    segments.any(|it| matches!(it.split(|b| *b == b';').next(), Some(b"." | b"..")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_takes_its_path_and_what_is_below_it() {
        for (route, path, rest) in [
            ("/", "/", Some("/")),
            ("/", "/a/b", Some("/a/b")),
            ("/api/", "/api", Some("/")),
            ("/api", "/api/", Some("/")),
            ("/api/", "/api/x//y%2Fz", Some("/x//y%2Fz")),
            ("/api/", "/%61p%69/x", Some("/x")),
            ("/api/", "/apix", None),
            ("/api/", "/ap", None),
            ("/api/", "//api/x", None),
            ("/api/", "/API/x", None),
            ("/api/v1", "/api/v1/x", Some("/x")),
            ("/api/v1", "/api%2Fv1/x", None),
            ("/\u{fc}", "/%C3%BC/x", Some("/x")),
        ] {
            assert_eq!(Start::new(route).rest(path), rest, "{route} {path}");
        }
    }

    #[test]
    fn ways_up_are_seen_in_every_spelling() {
        for path in [
            "/../a",
            "/a/..",
            "/%2e%2e/a",
            "/.%2E/a",
            "/a/./b",
            "/..%2fa",
            "/a%2f..%2fb",
            "/..\\a",
            "/a/..%5cb",
            "/..;/a",
            "/..;x=1/a",
            "/%2e/a",
        ] {
            assert!(goes_up(path), "{path}");
        }
        for path in ["/", "/a..b", "/...", "/.well-known/x", "/.git", "/a/b..", "/..a", "/%20", "/a;b"] {
            assert!(!goes_up(path), "{path}");
        }
    }
}
