//! An address that somebody wants to try: what a browser would ask this site for.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::domain::{Error, Result};

/// A request line with more is refused by the server itself.
const BYTES_MAX: usize = 8 * 1024;
/// What a browser escapes in a query that is typed.
const QUERY: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>');

/// The raw path and query of `url`: a path, or a whole address under one of `hosts` or a preview of them.
pub(super) fn read(url: &str, hosts: &[&str]) -> Result<(String, Option<String>)> {
    let url = url.trim();
    let shown = || url.chars().take(80).flat_map(char::escape_debug).collect::<String>();
    let wrong = |text: String| Err(Error::invalid("url", text).on("url"));
    if url.len() > BYTES_MAX {
        return wrong(format!("An address has at most {BYTES_MAX} bytes."));
    }
    if url.chars().any(char::is_control) {
        return wrong(String::from("The address has a line end or another control character. Write one address."));
    }
    let whole = url.split_once("://").filter(|(scheme, _)| scheme.bytes().all(|it| it.is_ascii_alphabetic()));
    let path = match whole {
        Some((scheme, rest)) => {
            if !scheme.eq_ignore_ascii_case("https") && !scheme.eq_ignore_ascii_case("http") {
                return wrong(format!(
                    "`{}` is no address of a site: it begins with `https://`, `http://` or `/`.",
                    shown()
                ));
            }
            let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
            check_host(authority, hosts)?;
            if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
        }
        None if url.is_empty() => return wrong(String::from("Write an address of the site, such as `/old?id=7`.")),
        None if !url.starts_with('/') => {
            let shown = shown();
            return wrong(format!(
                "`{shown}` is no address of a site: write `/{shown}`, or all of it with `https://`."
            ));
        }
        None => url.to_owned(),
    };
    // A browser keeps what stands behind `#` for itself.
    let sent = path.split('#').next().unwrap_or_default();
    let (path, query) = sent.split_once('?').map_or((sent, None), |(path, query)| (path, Some(query)));
    Ok((path.to_owned(), query.map(|it| utf8_percent_encode(it, QUERY).to_string())))
}

/// Whether a host, perhaps with a port, is one of the site's.
fn check_host(authority: &str, hosts: &[&str]) -> Result<()> {
    let host = authority.split(':').next().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
    // A preview has a label of its own in front: `abc--name.example.org`.
    let preview = host.split_once("--").map(|(_, rest)| rest);
    if hosts.iter().any(|it| *it == host || preview == Some(it)) {
        return Ok(());
    }
    let shown: String = host.chars().take(80).flat_map(char::escape_debug).collect();
    let text = format!("`{shown}` is none of this site's hostnames. Write the path alone, such as `/old?id=7`.");
    Err(Error::invalid("url_host", text).on("url"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_a_browser_sends_them() {
        let hosts = ["www.example.org", "my.localhost"];
        for (url, path, query) in [
            ("/", "/", None),
            (" /a%20b?x=1&y=#top ", "/a%20b", Some("x=1&y=")),
            ("/a?", "/a", Some("")),
            ("/a#b?c", "/a", None),
            ("/naïve?q=a b", "/naïve", Some("q=a%20b")),
            ("https://www.example.org", "/", None),
            ("HTTPS://WWW.Example.org:8443?x=1", "/", Some("x=1")),
            ("http://abc--my.localhost:8080/x", "/x", None),
            ("/r?to=https://x.org/", "/r", Some("to=https://x.org/")),
        ] {
            assert_eq!(read(url, &hosts).unwrap(), (path.to_owned(), query.map(str::to_owned)), "{url}");
        }
        for (url, wanted) in [
            ("", "Write an address of the site"),
            ("old", "write `/old`"),
            ("ftp://www.example.org/", "begins with `https://`"),
            ("https://other.org/", "`other.org` is none of this site's hostnames"),
            ("https://www.example.org.evil/", "is none of"),
            ("/a\nb", "control character"),
            (&format!("/{}", "a".repeat(9_000)), "at most 8192 bytes"),
        ] {
            let error = read(url, &hosts).unwrap_err();
            assert!(error.message.contains(wanted) && error.field == Some("url"), "{url}: {}", error.message);
        }
    }
}
