//! The path of a URL: decoded once, and refused when readers of URLs could take it for another.
//!
//! Nothing here knows which paths exist.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use unicode_normalization::{UnicodeNormalization as _, is_nfc};

/// Everything but the unreserved characters of RFC 3986.
pub const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// What a path cannot hold as it is: all but `pchar` and `/`.
pub const PATH: &AsciiSet = &COMPONENT
    .remove(b'/')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');

/// A path as browsers send it.
pub fn encode(path: &str) -> String {
    utf8_percent_encode(path, PATH).to_string()
}

/// Decodes a URL's path exactly once, to the composed form (NFC) that names of files have. `None`: not a path that can
/// name a file — no `/` in front, a broken escape, an encoded `/`, not UTF-8, a backslash, NUL or other control, a `.` or
/// `..` segment however it is written.
pub fn decode_path(raw: &str) -> Option<Cow<'_, str>> {
    // Most of what visitors ask for.
    if is_simple(raw) { Some(Cow::Borrowed(raw)) } else { decode(raw) }
}

fn decode(raw: &str) -> Option<Cow<'_, str>> {
    let whole_escapes = raw.split('%').skip(1).all(|it| {
        let digits = it.get(..2).unwrap_or_default();
        digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_hexdigit()) && !digits.eq_ignore_ascii_case("2f")
    });
    if !raw.starts_with('/') || !whole_escapes {
        return None;
    }
    let path = percent_decode_str(raw).decode_utf8().ok()?;
    // Names of files are kept composed (DECISIONS 36). Pages that were written where names are decomposed link to them so.
    let path = if path.is_ascii() || is_nfc(&path) { path } else { Cow::Owned(path.nfc().collect()) };
    is_plain(&path).then_some(path)
}

/// Whether there is nothing to decode, to compose or to refuse: one look at each byte, where the long way takes several.
fn is_simple(raw: &str) -> bool {
    let mut before = 0;
    let is_name = |byte: u8| {
        let starts = std::mem::replace(&mut before, byte) == b'/';
        matches!(byte, b'!'..=b'~') && !matches!(byte, b'%' | b'\\') && !(starts && byte == b'.')
    };
    raw.starts_with('/') && raw.bytes().all(is_name)
}

/// Whether a decoded path has no part that readers of URLs take for something else than a name.
pub fn is_plain(path: &str) -> bool {
    !path.contains(|c: char| c == '\\' || c.is_control()) && !path.split('/').any(|it| matches!(it, "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_decoded_once_and_traps_are_refused() {
        for (raw, wanted) in [
            ("/", Some("/")),
            ("/a%20b", Some("/a b")),
            ("/%2520", Some("/%20")),
            ("/%C3%A9", Some("/é")),
            ("/é", Some("/é")),
            ("/e%CC%81", Some("/\u{e9}")),
            ("/e\u{301}", Some("/\u{e9}")),
            ("/a+b", Some("/a+b")),
            ("/...", Some("/...")),
            ("", None),
            ("a", None),
            ("*", None),
            ("/%", None),
            ("/%2", None),
            ("/%zz", None),
            ("/%+1", None),
            ("/%ff", None),
            ("/%c0%af", None),
            ("/a%2fb", None),
            ("/a%2Fb", None),
            ("/a%00", None),
            ("/a%0d%0ab", None),
            ("/a%c2%85", None),
            ("/a%7f", None),
            ("/a\\b", None),
            ("/a%5cb", None),
            ("/./a", None),
            ("/a/..", None),
            ("/%2e%2E/a", None),
            ("/.%2e/a", None),
        ] {
            assert_eq!(decode_path(raw).as_deref(), wanted, "{raw}");
        }
    }

    #[test]
    fn a_simple_path_is_what_the_long_way_makes_of_it() {
        let mut simple = 0;
        for one in (0..=u8::MAX).map(char::from) {
            for raw in
                [format!("/{one}"), format!("/a{one}"), format!("/{one}/a"), format!("/{one}."), format!("{one}/a")]
            {
                simple += usize::from(is_simple(&raw));
                assert_eq!(decode_path(&raw), decode(&raw), "{raw:?}");
            }
        }
        assert!(simple > 300, "{simple} are simple");
    }
}
