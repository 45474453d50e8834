//! What a path or a referrer is called in a list. SECURITY: a client chooses both; what comes out is short, is text, and has no
//! characters that steer a terminal, turn the direction of writing or are not seen.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// Characters of a label: a path that is longer says no more to people.
pub const CHARS_MAX: usize = 120;

/// A path as it came, without its query, as people read it: decoded where that gives text.
pub fn path(raw: &str) -> Box<str> {
    let decoded = if raw.contains('%') {
        percent_decode_str(raw).decode_utf8().ok().filter(|it| it.chars().all(is_plain))
    } else {
        None
    };
    shorten(decoded.as_deref().unwrap_or(raw))
}

/// The host of a `Referer`, without `www.` and port; `None` for none, for one of the site's own hosts, and for what no page of the web has.
pub fn referrer(header: &[u8], own_host: &str) -> Option<Box<str>> {
    let text = std::str::from_utf8(header).ok()?;
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |it| it.1);
    let host = match host.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|it| it.is_ascii_digit()) => host,
        _ => host,
    };
    let host = if host.bytes().any(|it| it.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    };
    let bare = |it: &str| it.strip_prefix("www.").unwrap_or(it).trim_end_matches('.').to_owned();
    let named = bare(&host);
    let is_host = named.contains('.') && named.len() <= 253;
    let fits = named.bytes().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'.' | b'-' | b'_'));
    (is_host && fits && named != bare(own_host)).then(|| named.into())
}

/// Whether a character is seen as one, and changes nothing around it.
fn is_plain(it: char) -> bool {
    let is_hidden = matches!(it,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}');
    !it.is_control() && !is_hidden
}

fn shorten(text: &str) -> Box<str> {
    if text.len() <= CHARS_MAX && text.bytes().all(|it| (0x20..0x7f).contains(&it)) {
        return text.into();
    }
    let mut out: String = text.chars().take(CHARS_MAX).map(|it| if is_plain(it) { it } else { '\u{fffd}' }).collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        out.pop();
        out.push('…');
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_as_people_write_them() {
        for (raw, shown) in [
            ("/", "/"),
            ("/a%20b", "/a b"),
            ("/caf%C3%A9", "/café"),
            // What does not give plain text stays as it came.
            ("/%00", "/%00"),
            ("/%0d%0aSet-Cookie", "/%0d%0aSet-Cookie"),
            ("/%1b%5b2J", "/%1b%5b2J"),
            ("/%ff%fe", "/%ff%fe"),
            ("/%E2%80%AEgpj.exe", "/%E2%80%AEgpj.exe"),
            ("/\u{202e}x", "/\u{fffd}x"),
            ("/<script>", "/<script>"),
        ] {
            assert_eq!(&*path(raw), shown, "{raw}");
        }
        let long = format!("/{}", "ü".repeat(5_000));
        assert_eq!(path(&long).chars().count(), CHARS_MAX);
        assert!(path(&long).ends_with('…'));
    }

    #[test]
    fn referrers_are_hosts_of_others() {
        let of = |text: &str| referrer(text.as_bytes(), "www.own.example");
        assert_eq!(of("https://www.News.example/x?y=z").as_deref(), Some("news.example"));
        assert_eq!(of("http://user:pw@a.example:8080").as_deref(), Some("a.example"));
        for nobody in [
            "",
            "about:blank",
            "https://own.example/page",
            "https://www.own.example",
            "https://localhost/",
            "android-app://com.example/",
            "https://a b.example/",
            "https://<x>.example/",
            "https://[::1]/",
        ] {
            assert_eq!(of(nobody), None, "{nobody}");
        }
        assert_eq!(referrer(b"https://\xff.example/", "x"), None);
        assert_eq!(of(&format!("https://{}.example/", "x".repeat(300))), None);
    }

    proptest::proptest! {
        #[test]
        fn no_label_is_long_or_steers_anything(raw in ".*") {
            let label = path(&raw);
            proptest::prop_assert!(label.chars().count() <= CHARS_MAX);
            proptest::prop_assert!(label.chars().all(is_plain));
        }
    }
}
