//! One line of the access log, in three formats. Nothing here does IO.
//!
//! SECURITY: every field that a client chooses is escaped, so that whatever it sends stays within its field and its line, and means
//! nothing to a terminal: a line is printable ASCII. In the combined formats each other byte, quotes and backslashes are `\xHH`,
//! as nginx writes them; in JSON they are escapes of JSON (`\u` and four digits), and what is not UTF-8 stands as the text `\xHH`.

use std::{io::Write as _, net::IpAddr, time::Duration};

use hyper::Version;
use jiff::{Timestamp, tz::Offset};

use crate::{base::country::Country, config::access_log::Format};

/// Bytes of one field of a client: more than people and programs ask for. What is longer is cut, and ends with `...`.
const FIELD_BYTES_MAX: usize = 4 * 1024;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// What is known of a request when its answer begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    /// When it came.
    pub(super) time_ms: i64,
    pub(super) client: IpAddr,
    /// Whether the line has its country.
    pub(super) has_country: bool,
    pub(super) country: Option<Country>,
    pub(super) scheme: &'static str,
    pub(super) host: Option<&'a [u8]>,
    pub(super) port: Option<u16>,
    pub(super) site: Option<&'a str>,
    pub(super) method: &'a [u8],
    pub(super) path: &'a [u8],
    pub(super) query: Option<&'a [u8]>,
    pub(super) version: Version,
    pub(super) status: u16,
    pub(super) referer: Option<&'a [u8]>,
    pub(super) user_agent: Option<&'a [u8]>,
}

/// A line without what is known only at the end of an answer.
#[derive(Debug)]
pub(super) struct Line {
    text: Vec<u8>,
    /// Where that belongs.
    gap: usize,
    format: Format,
}

impl Line {
    pub(super) fn new(format: Format, facts: &Facts<'_>) -> Self {
        // Most lines have less.
        let text = Vec::with_capacity(320);
        match format {
            Format::Combined => combined(text, format, facts),
            Format::Vhost => {
                let mut text = text;
                put_bare(&mut text, facts.host.unwrap_or_default());
                let port = facts.port.unwrap_or(if facts.scheme == "https" { 443 } else { 80 });
                put(&mut text, format_args!(":{port} "));
                combined(text, format, facts)
            }
            Format::Json => json(text, facts),
        }
    }

    /// The whole line, with its end.
    pub(super) fn finish(self, bytes: u64, took: Duration) -> Vec<u8> {
        let (head, tail) = self.text.split_at_checked(self.gap).unwrap_or((&self.text, &[]));
        let mut text = Vec::with_capacity(self.text.len() + 48);
        text.extend_from_slice(head);
        match self.format {
            Format::Combined | Format::Vhost => put(&mut text, format_args!("{bytes}")),
            Format::Json => {
                let us = took.as_micros();
                put(&mut text, format_args!("{bytes},\"duration_ms\":{}.{:03}", us / 1_000, us % 1_000));
            }
        }
        text.extend_from_slice(tail);
        text
    }
}

fn put(text: &mut Vec<u8>, words: std::fmt::Arguments<'_>) {
    // Writing into a Vec cannot fail.
    drop(text.write_fmt(words));
}

fn combined(mut text: Vec<u8>, format: Format, facts: &Facts<'_>) -> Line {
    put(&mut text, format_args!("{} - - [", facts.client));
    let at = civil(facts.time_ms);
    let month = usize::try_from(at.month() - 1).ok().and_then(|it| MONTHS.get(it)).unwrap_or(&"Jan");
    let (hour, minute, second) = (at.hour(), at.minute(), at.second());
    put(
        &mut text,
        format_args!("{:02}/{month}/{:04}:{hour:02}:{minute:02}:{second:02} +0000] \"", at.day(), at.year()),
    );
    put_field(&mut text, facts.method, escape);
    text.push(b' ');
    put_target(&mut text, facts, escape);
    put(&mut text, format_args!(" {}\" {} ", version(facts.version), facts.status));
    let gap = text.len();
    for field in [facts.referer, facts.user_agent] {
        text.extend_from_slice(b" \"");
        put_field(&mut text, field.filter(|it| !it.is_empty()).unwrap_or(b"-"), escape);
        text.push(b'"');
    }
    text.push(b'\n');
    Line { text, gap, format }
}

fn json(mut text: Vec<u8>, facts: &Facts<'_>) -> Line {
    let at = civil(facts.time_ms);
    let (hour, minute, second, ms) = (at.hour(), at.minute(), at.second(), at.millisecond());
    let date = format_args!("{:04}-{:02}-{:02}T", at.year(), at.month(), at.day());
    put(&mut text, format_args!("{{\"time\":\"{date}{hour:02}:{minute:02}:{second:02}.{ms:03}Z\""));
    put(&mut text, format_args!(",\"client\":\"{}\"", facts.client));
    if facts.has_country {
        put_named(&mut text, "country", facts.country.as_ref().map(|it| it.code().as_bytes()));
    }
    put_named(&mut text, "host", facts.host);
    put_named(&mut text, "site", facts.site.map(str::as_bytes));
    put(&mut text, format_args!(",\"scheme\":\"{}\"", facts.scheme));
    put_named(&mut text, "method", Some(facts.method));
    text.extend_from_slice(b",\"target\":\"");
    put_target(&mut text, facts, escape_json);
    put(&mut text, format_args!("\",\"version\":\"{}\",\"status\":{}", version(facts.version), facts.status));
    put_named(&mut text, "referer", facts.referer);
    put_named(&mut text, "user_agent", facts.user_agent);
    text.extend_from_slice(b",\"user\":null,\"bytes\":");
    let gap = text.len();
    text.extend_from_slice(b"}\n");
    Line { text, gap, format: Format::Json }
}

fn put_named(text: &mut Vec<u8>, name: &str, field: Option<&[u8]>) {
    put(text, format_args!(",\"{name}\":"));
    let Some(field) = field else {
        text.extend_from_slice(b"null");
        return;
    };
    text.push(b'"');
    put_field(text, field, escape_json);
    text.push(b'"');
}

/// Path and query. Authorities are left out, which may have a password; the host has a field of its own.
fn put_target(text: &mut Vec<u8>, facts: &Facts<'_>, escape: fn(&mut Vec<u8>, &[u8])) {
    put_field(text, if facts.path.is_empty() { b"-" } else { facts.path }, escape);
    if let Some(query) = facts.query {
        text.push(b'?');
        put_field(text, query, escape);
    }
}

fn put_field(text: &mut Vec<u8>, field: &[u8], escape: fn(&mut Vec<u8>, &[u8])) {
    let kept = field.get(..FIELD_BYTES_MAX);
    escape(text, kept.unwrap_or(field));
    if kept.is_some() && field.len() > FIELD_BYTES_MAX {
        text.extend_from_slice(b"...");
    }
}

/// A field that ends with a blank.
fn put_bare(text: &mut Vec<u8>, field: &[u8]) {
    let is_bare = !field.is_empty() && field.iter().all(u8::is_ascii_graphic);
    put_field(text, if is_bare { field } else { b"-" }, escape);
}

/// Whether a byte stands for itself in every format. Most fields have no other.
const fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

fn escape(text: &mut Vec<u8>, field: &[u8]) {
    if field.iter().copied().all(is_plain) {
        text.extend_from_slice(field);
        return;
    }
    for byte in field {
        if is_plain(*byte) {
            text.push(*byte);
        } else {
            put(text, format_args!("\\x{byte:02X}"));
        }
    }
}

fn escape_json(text: &mut Vec<u8>, field: &[u8]) {
    if field.iter().copied().all(is_plain) {
        text.extend_from_slice(field);
        return;
    }
    for chunk in field.utf8_chunks() {
        for character in chunk.valid().chars() {
            match u8::try_from(character) {
                Ok(byte @ (b'"' | b'\\')) => text.extend_from_slice(&[b'\\', byte]),
                Ok(byte @ b' '..=b'~') => text.push(byte),
                _ => character.encode_utf16(&mut [0; 2]).iter().for_each(|it| put(text, format_args!("\\u{it:04x}"))),
            }
        }
        chunk.invalid().iter().for_each(|byte| put(text, format_args!("\\\\x{byte:02X}")));
    }
}

fn civil(time_ms: i64) -> jiff::civil::DateTime {
    Offset::UTC.to_datetime(Timestamp::from_millisecond(time_ms).unwrap_or(Timestamp::UNIX_EPOCH))
}

const fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-30T00:52:19.007Z
    const TIME_MS: i64 = 1_795_999_939_007;

    fn facts() -> Facts<'static> {
        Facts {
            time_ms: TIME_MS,
            client: "2001:db8:0:0::1".parse().unwrap(),
            has_country: false,
            country: None,
            scheme: "https",
            host: Some(b"a.example"),
            port: None,
            site: Some("a"),
            method: b"GET",
            path: b"/x",
            query: Some(b"y=1"),
            version: Version::HTTP_2,
            status: 200,
            referer: None,
            user_agent: Some(b"Mozilla/5.0 (X11)"),
        }
    }

    fn line(format: Format, facts: &Facts<'_>) -> String {
        String::from_utf8(Line::new(format, facts).finish(1_234, Duration::from_micros(5_067))).unwrap()
    }

    #[test]
    fn a_line_has_the_fields_of_its_format() {
        let plain = "2001:db8::1 - - [30/Nov/2026:00:52:19 +0000] \"GET /x?y=1 HTTP/2.0\" 200 1234 \"-\" \"Mozilla/5.0 (X11)\"\n";
        assert_eq!(line(Format::Combined, &facts()), plain);
        assert_eq!(line(Format::Vhost, &facts()), format!("a.example:443 {plain}"));
        let clear = Facts { scheme: "http", ..facts() };
        assert!(line(Format::Vhost, &clear).starts_with("a.example:80 2001:"));
        assert!(line(Format::Vhost, &Facts { port: Some(8_080), ..clear }).starts_with("a.example:8080 2001:"));
        assert!(line(Format::Vhost, &Facts { host: None, ..clear }).starts_with("-:80 2001:"));
        assert_eq!(
            line(Format::Json, &facts()),
            "{\"time\":\"2026-11-30T00:52:19.007Z\",\"client\":\"2001:db8::1\",\"host\":\"a.example\",\"site\":\"a\",\
             \"scheme\":\"https\",\"method\":\"GET\",\"target\":\"/x?y=1\",\"version\":\"HTTP/2.0\",\"status\":200,\
             \"referer\":null,\"user_agent\":\"Mozilla/5.0 (X11)\",\"user\":null,\"bytes\":1234,\"duration_ms\":5.067}\n"
        );
    }

    #[test]
    fn what_a_client_sends_stays_in_its_field_and_its_line() {
        for (sent, plain, in_json) in [
            (&b"a\r\nb"[..], "a\\x0D\\x0Ab", "a\\u000d\\u000ab"),
            (b"\" 200 1 \"-\" \"x", "\\x22 200 1 \\x22-\\x22 \\x22x", "\\\" 200 1 \\\"-\\\" \\\"x"),
            (b"\\x22", "\\x5Cx22", "\\\\x22"),
            (b"\x1b[2J", "\\x1B[2J", "\\u001b[2J"),
            (b"\0\t\x7f", "\\x00\\x09\\x7F", "\\u0000\\u0009\\u007f"),
            (b"\xff\xc3(", "\\xFF\\xC3(", "\\\\xFF\\\\xC3("),
            (
                "é\u{85}\u{2028}\u{1f600}".as_bytes(),
                "\\xC3\\xA9\\xC2\\x85\\xE2\\x80\\xA8\\xF0\\x9F\\x98\\x80",
                "\\u00e9\\u0085\\u2028\\ud83d\\ude00",
            ),
            (b"\",\"user\":\"root", "\\x22,\\x22user\\x22:\\x22root", "\\\",\\\"user\\\":\\\"root"),
        ] {
            let of = facts();
            let hostile = Facts {
                method: sent,
                path: sent,
                query: Some(sent),
                referer: Some(sent),
                user_agent: Some(sent),
                ..of
            };
            let text = line(Format::Combined, &hostile);
            let ends = format!("] \"{plain} {plain}?{plain} HTTP/2.0\" 200 1234 \"{plain}\" \"{plain}\"\n");
            assert!(text.ends_with(&ends), "{text}");
            let text = line(Format::Json, &hostile);
            assert!(text.contains(&format!("\"user_agent\":\"{in_json}\"")), "{text}");
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(value.as_object().unwrap().len(), 14);
            assert!(value["user"].is_null() && value["bytes"] == 1_234, "{text}");
            for format in [Format::Combined, Format::Vhost, Format::Json] {
                let text = line(format, &Facts { host: Some(sent), ..hostile });
                let inner = text.strip_suffix('\n').unwrap();
                assert!(inner.bytes().all(|it| (b' '..=b'~').contains(&it)), "{text}");
            }
        }
        // Six quotes, whatever was sent: three fields.
        let host = Facts { host: Some(b"a b\" 1"), user_agent: Some(b"\""), ..facts() };
        assert!(line(Format::Vhost, &host).starts_with("-:443 2001:db8::1 - - ["));
        assert_eq!(line(Format::Vhost, &host).matches('"').count(), 6);
    }

    #[test]
    fn a_field_has_an_end() {
        let long = vec![b'a'; 100_000];
        let text =
            line(Format::Combined, &Facts { path: &long, query: Some(&long), user_agent: Some(&long), ..facts() });
        assert!(text.len() < 4 * FIELD_BYTES_MAX && text.matches("a...").count() == 3, "{}", text.len());
        let just = vec![b'a'; FIELD_BYTES_MAX];
        assert!(!line(Format::Json, &Facts { path: &just, ..facts() }).contains("..."));
        let empty = Facts { path: b"", query: None, user_agent: Some(b""), ..facts() };
        assert!(line(Format::Combined, &empty).ends_with("\"GET - HTTP/2.0\" 200 1234 \"-\" \"-\"\n"));
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(1_000))]

        #[test]
        fn json_tells_what_was_sent(text in "\\PC{0,40}|[\\x00-\\x1f\"\\\\a]{0,20}") {
            let facts = Facts { user_agent: Some(text.as_bytes()), ..facts() };
            let value: serde_json::Value = serde_json::from_str(&line(Format::Json, &facts)).unwrap();
            proptest::prop_assert_eq!(value["user_agent"].as_str(), Some(text.as_str()));
        }
    }
}
