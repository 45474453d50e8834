//! Conditional requests (RFC 9110 §13) on strong entity tags, and on dates where there are any: a deployment's files have none.

use std::time::UNIX_EPOCH;

use hyper::header::{HeaderMap, HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE};

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

/// The same for what may have a time of its last change too, in seconds since 1970: a condition on a tag goes before one on a time (§13.2.2).
pub fn evaluate_dated(headers: &HeaderMap, etag: &str, modified_s: Option<u64>) -> Outcome {
    let date = |name: HeaderName| {
        let mut lines = headers.get_all(name).iter();
        let line = lines.next().filter(|_| lines.next().is_none())?.to_str().ok()?;
        Some(httpdate::parse_http_date(line).ok()?.duration_since(UNIX_EPOCH).ok()?.as_secs())
    };
    let is_later = |name| Some(modified_s? > date(name)?);
    if !headers.contains_key(IF_MATCH) && is_later(IF_UNMODIFIED_SINCE) == Some(true) {
        return Outcome::Failed;
    }
    match evaluate(headers, etag) {
        Outcome::Go if !headers.contains_key(IF_NONE_MATCH) && is_later(IF_MODIFIED_SINCE) == Some(false) => {
            Outcome::NotModified
        }
        other => other,
    }
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
    fn a_condition_on_a_tag_goes_before_one_on_a_time() {
        let (before, at, after) =
            ("Sun, 09 Sep 2001 01:46:39 GMT", "Sun, 09 Sep 2001 01:46:40 GMT", "Sun, 09 Sep 2001 01:46:41 GMT");
        for (lines, wanted) in [
            (&[("if-modified-since", at)][..], Outcome::NotModified),
            (&[("if-modified-since", after)], Outcome::NotModified),
            (&[("if-modified-since", before)], Outcome::Go),
            (&[("if-modified-since", "Sunday, 09-Sep-01 01:46:40 GMT")], Outcome::NotModified),
            (&[("if-modified-since", "1000000000")], Outcome::Go),
            (&[("if-modified-since", at), ("if-modified-since", at)], Outcome::Go),
            (&[("if-modified-since", at), ("if-none-match", "\"b\"")], Outcome::Go),
            (&[("if-modified-since", before), ("if-none-match", "\"a\"")], Outcome::NotModified),
            (&[("if-unmodified-since", at)], Outcome::Go),
            (&[("if-unmodified-since", before)], Outcome::Failed),
            (&[("if-unmodified-since", before), ("if-none-match", "\"a\"")], Outcome::Failed),
            (&[("if-unmodified-since", before), ("if-match", "\"a\"")], Outcome::Go),
            (&[("if-unmodified-since", after), ("if-match", "\"b\"")], Outcome::Failed),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(*name, HeaderValue::from_static(value));
            }
            assert_eq!(evaluate_dated(&headers, "\"a\"", Some(1_000_000_000)), wanted, "{lines:?}");
            let untimed = evaluate_dated(&headers, "\"a\"", None);
            assert_eq!(untimed, evaluate(&headers, "\"a\""), "{lines:?}");
        }
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
