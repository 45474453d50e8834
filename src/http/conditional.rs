//! Conditional requests (RFC 9110 §13) on strong entity tags. There are no dates: a deployment's files have none.

use hyper::header::{HeaderMap, HeaderName, IF_MATCH, IF_NONE_MATCH, IF_RANGE};

/// What the conditions of a GET or HEAD say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answer.
    Go,
    /// 304: the client has it.
    NotModified,
    /// 412: the client wanted another state.
    Failed,
}

/// Evaluates `If-Match`, then `If-None-Match`, against the strong tag (with its quotes) of what would be sent.
pub fn evaluate(headers: &HeaderMap, etag: &str) -> Outcome {
    if !is_match(headers, etag) {
        return Outcome::Failed;
    }
    // Weak comparison: W/ does not matter (§13.1.2).
    let same = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag) == etag;
    if headers.contains_key(IF_NONE_MATCH) && any_tag(headers, &IF_NONE_MATCH, same) {
        return Outcome::NotModified;
    }
    Outcome::Go
}

/// Whether `If-Match` is not there, or names the strong tag of what is there (§13.1.1).
pub fn is_match(headers: &HeaderMap, etag: &str) -> bool {
    !headers.contains_key(IF_MATCH) || any_tag(headers, &IF_MATCH, |tag| tag == etag)
}

/// Whether a `Range` may be honoured: no `If-Range`, or one with exactly this strong tag.
pub fn range_allowed(headers: &HeaderMap, etag: &str) -> bool {
    let mut lines = headers.get_all(IF_RANGE).iter();
    lines.next().is_none_or(|value| value.as_bytes().trim_ascii() == etag.as_bytes() && lines.next().is_none())
}

fn any_tag(headers: &HeaderMap, name: &HeaderName, fits: impl Fn(&str) -> bool) -> bool {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).any(|value| {
        // It stands alone, and is no tag among others.
        if value.trim_ascii() == "*" {
            return true;
        }
        let mut rest = value;
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            let Some((tag, after)) = first_tag(rest) else {
                return false;
            };
            if fits(tag) {
                return true;
            }
            rest = after;
        }
    })
}

/// Splits the entity tag at the start off: a tag may contain commas.
fn first_tag(text: &str) -> Option<(&str, &str)> {
    let prefix = if text.starts_with("W/") { 2 } else { 0 };
    let inner = text.get(prefix..)?.strip_prefix('"')?;
    let end = prefix.checked_add(inner.find('"')?)?.checked_add(2)?;
    text.split_at_checked(end)
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn conditions_on_one_tag() {
        for (name, value, wanted) in [
            ("if-none-match", "\"a\"", Outcome::NotModified),
            ("if-none-match", "W/\"a\"", Outcome::NotModified),
            ("if-none-match", "\"x,y\", \"a\"", Outcome::NotModified),
            ("if-none-match", "*", Outcome::NotModified),
            ("if-none-match", " * ", Outcome::NotModified),
            ("if-none-match", "*x", Outcome::Go),
            ("if-none-match", "\"b\", *", Outcome::Go),
            ("if-none-match", "\"b\"", Outcome::Go),
            ("if-none-match", "a", Outcome::Go),
            ("if-none-match", "\"a", Outcome::Go),
            ("if-none-match", "", Outcome::Go),
            ("if-match", "\"a\"", Outcome::Go),
            ("if-match", "\"b\" , \"a\"", Outcome::Go),
            ("if-match", "*", Outcome::Go),
            ("if-match", "W/\"a\"", Outcome::Failed),
            ("if-match", "\"b\"", Outcome::Failed),
            ("if-match", "nonsense", Outcome::Failed),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_str(value).unwrap());
            assert_eq!(evaluate(&headers, "\"a\""), wanted, "{name}: {value}");
        }
        let mut both = HeaderMap::new();
        both.insert(IF_MATCH, HeaderValue::from_static("\"b\""));
        both.insert(IF_NONE_MATCH, HeaderValue::from_static("\"a\""));
        assert_eq!(evaluate(&both, "\"a\""), Outcome::Failed);
        assert_eq!(evaluate(&HeaderMap::new(), "\"a\""), Outcome::Go);
    }

    #[test]
    fn a_range_needs_the_same_strong_tag() {
        for (value, wanted) in
            [("\"a\"", true), ("W/\"a\"", false), ("\"b\"", false), ("Wed, 21 Oct 2015 07:28:00 GMT", false)]
        {
            let mut headers = HeaderMap::new();
            headers.insert(IF_RANGE, HeaderValue::from_static(value));
            assert_eq!(range_allowed(&headers, "\"a\""), wanted, "{value}");
        }
        assert!(range_allowed(&HeaderMap::new(), "\"a\""));
    }
}
