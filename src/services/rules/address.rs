//! An address that somebody wants to try: what a browser would ask this site for.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::domain::{Error, Result};

/// A request line with more is refused by the server itself.
const BYTES_MAX: usize = 8 * 1024;
/// What a browser escapes in a query that is typed.
const QUERY: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>');

/// What is asked for: a path, and where, if a whole address was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// `http` or `https`.
    pub(super) scheme: Option<&'static str>,
    /// In small letters.
    pub(super) host: Option<String>,
    /// `:8443`, or nothing.
    pub(super) port: String,
    /// Whether the host is the preview of a deployment.
    pub(super) is_preview: bool,
    /// As it stands in the address.
    pub(super) path: String,
    pub(super) query: Option<String>,
}

impl Asked {
    /// The path with its query, as a browser sends them.
    pub(super) fn rest(&self) -> String {
        let query = self.query.as_ref().map_or_else(String::new, |it| format!("?{it}"));
        format!("{}{query}", utf8_percent_encode(&self.path, QUERY))
    }
}

/// What `url` asks for: a path, or a whole address under one of `hosts` or a preview of them.
pub(super) fn read(url: &str, hosts: &[&str]) -> Result<Asked> {
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
    let mut asked = Asked::default();
    let path = match whole {
        Some((scheme, rest)) => {
            if !scheme.eq_ignore_ascii_case("https") && !scheme.eq_ignore_ascii_case("http") {
                return wrong(format!(
                    "`{}` is no address of a site: it begins with `https://`, `http://` or `/`.",
                    shown()
                ));
            }
            let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
            let port = authority.split_once(':').map(|it| it.1).filter(|it| !it.is_empty());
            asked.port = port.map_or_else(String::new, |it| format!(":{it}"));
            let (host, is_preview) = find_host(authority, hosts)?;
            (asked.host, asked.is_preview) = (Some(host), is_preview);
            asked.scheme = Some(if scheme.eq_ignore_ascii_case("https") { "https" } else { "http" });
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
    Ok(Asked { path: path.to_owned(), query: query.map(|it| utf8_percent_encode(it, QUERY).to_string()), ..asked })
}

/// A host of the site, perhaps with a port, and whether it is a preview.
fn find_host(authority: &str, hosts: &[&str]) -> Result<(String, bool)> {
    let host = authority.split(':').next().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
    // A preview has a label of its own in front: `abc--name.example.org`.
    let preview = host.split_once("--").map(|(_, rest)| rest);
    if hosts.contains(&host.as_str()) {
        return Ok((host, false));
    }
    if hosts.iter().any(|it| preview == Some(it)) {
        return Ok((host, true));
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
            let asked = read(url, &hosts).unwrap();
            assert_eq!((asked.path.as_str(), asked.query.as_deref()), (path, query), "{url}");
        }
        for (url, scheme, host, port, is_preview) in [
            ("/x", None, None, "", false),
            ("HTTPS://WWW.Example.org:8443?x=1", Some("https"), Some("www.example.org"), ":8443", false),
            ("http://abc--my.localhost/x", Some("http"), Some("abc--my.localhost"), "", true),
        ] {
            let asked = read(url, &hosts).unwrap();
            let found = (asked.scheme, asked.host.as_deref(), asked.port.as_str(), asked.is_preview);
            assert_eq!(found, (scheme, host, port, is_preview), "{url}");
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
