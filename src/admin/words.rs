//! Times, sizes and counts as a person reads them. Times are relative under a day, else a date; all in UTC.

use crate::{
    base::{clock, units},
    services::stores::Stores,
};

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// A moment: `5 h ago`, with the exact time beside it for `datetime` and `title`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct When {
    /// `5 h ago`, `18 November`.
    pub(super) text: String,
    /// RFC 3339.
    pub(super) exact: String,
}

impl When {
    /// The moment `ms`, seen from `now_ms`; also right for moments to come.
    pub(super) fn at(ms: i64, now_ms: i64) -> Self {
        let exact = clock::rfc3339(ms);
        let text = match now_ms.saturating_sub(ms) {
            age if (-SECOND..SECOND).contains(&age) => String::from("just now"),
            age if (0..DAY).contains(&age) => format!("{} ago", span(age)),
            age if (-DAY..0).contains(&age) => format!("in {}", span(-age)),
            _ => date(&exact, &clock::rfc3339(now_ms)),
        };
        Self { text, exact }
    }
}

/// `18 November`, with the year when it is another one than that of `now`. Both are RFC 3339.
fn date(exact: &str, now: &str) -> String {
    let mut parts = exact.get(..10).unwrap_or(exact).split('-');
    let (year, month, day) =
        (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let month = match month {
        "01" => "January",
        "02" => "February",
        "03" => "March",
        "04" => "April",
        "05" => "May",
        "06" => "June",
        "07" => "July",
        "08" => "August",
        "09" => "September",
        "10" => "October",
        "11" => "November",
        "12" => "December",
        _ => return exact.to_owned(),
    };
    let day = day.trim_start_matches('0');
    if now.starts_with(year) { format!("{day} {month}") } else { format!("{day} {month} {year}") }
}

/// The day of the moment `ms`: `18 November`, with the year when it is another one than that of `now_ms`.
pub(super) fn day(ms: i64, now_ms: i64) -> String {
    date(&clock::rfc3339(ms), &clock::rfc3339(now_ms))
}

/// `08:12:04` of the moment `ms`, for lines of a log.
pub(super) fn time_of_day(ms: i64) -> String {
    clock::rfc3339(ms).get(11..19).unwrap_or_default().to_owned()
}

/// A length of time, one unit: `41 s`, `4 min`, `5 h`, `12 days`.
pub(super) fn span(ms: i64) -> String {
    match ms.max(0) {
        ms @ 0..SECOND => format!("{ms} ms"),
        ms @ SECOND..MINUTE => format!("{} s", ms / SECOND),
        ms @ MINUTE..HOUR => format!("{} min", ms / MINUTE),
        ms @ HOUR..DAY => format!("{} h", ms / HOUR),
        ms => count(ms / DAY, "day", "days"),
    }
}

/// A fact of a list of facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fact {
    pub(super) name: &'static str,
    /// The value, in parts between which a line may break.
    pub(super) parts: Vec<String>,
    /// Whether it is a path, an id or an expression rather than words.
    pub(super) mono: bool,
}

impl Fact {
    /// One in words.
    pub(super) fn plain(name: &'static str, value: impl Into<String>) -> Self {
        Self { name, parts: vec![value.into()], mono: false }
    }

    /// One to be read letter by letter.
    pub(super) fn mono(name: &'static str, value: impl Into<String>) -> Self {
        Self { name, parts: vec![value.into()], mono: true }
    }

    /// A path: a line breaks behind a slash.
    pub(super) fn path(name: &'static str, value: &str) -> Self {
        Self { name, parts: value.split_inclusive('/').map(str::to_owned).collect(), mono: true }
    }

    /// Words with a path or an address in them: a line may also break behind a slash.
    pub(super) fn words_and_paths(name: &'static str, value: &str) -> Self {
        Self { mono: false, ..Self::path(name, value) }
    }

    /// Where the bytes of sites are: the path of a folder, or words.
    pub(super) fn files(name: &'static str, stores: &Stores) -> Self {
        if stores.files_are_path { Self::path(name, &stores.files) } else { Self::words_and_paths(name, &stores.files) }
    }

    /// An id in hex: a line breaks behind eight digits.
    pub(super) fn id(name: &'static str, value: &str) -> Self {
        Self { name, parts: grouped(value).split(' ').map(str::to_owned).collect(), mono: true }
    }
}

/// Who did something: `owner@example.org`, `key ci`, `this server`. What the host does by itself is noted as `system: watch`.
pub(super) fn actor(label: &str) -> String {
    match label.strip_prefix("system: ") {
        None if label != "system" => label.to_owned(),
        Some("watch") => String::from("the watched folder"),
        Some(_) | None => String::from("this server"),
    }
}

/// `Both hostnames`, `All 3 hostnames`, for more than one.
pub(super) fn all(number: i64, many: &str) -> String {
    match number {
        2 => format!("Both {many}"),
        _ => format!("All {} {many}", thousands(number)),
    }
}

/// How often: `hour`, `day`, `10 min`, for what follows "every".
pub(super) fn period(ms: i64) -> String {
    match ms {
        HOUR => String::from("hour"),
        DAY => String::from("day"),
        ms => span(ms),
    }
}

/// `1 file`, `3,912 files`.
pub(super) fn count(number: i64, one: &str, many: &str) -> String {
    format!("{} {}", thousands(number), if number == 1 { one } else { many })
}

/// The number in words up to twelve, for sentences that begin with it.
pub(super) fn spelled(number: usize) -> String {
    const WORDS: [&str; 13] =
        ["No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten", "Eleven", "Twelve"];
    WORDS.get(number).map_or_else(|| number.to_string(), |it| (*it).to_owned())
}

/// `12,345`.
pub(super) fn thousands(number: i64) -> String {
    units::thousands(u64::try_from(number).unwrap_or(0))
}

/// `24 MB`.
pub(super) fn size(bytes: i64) -> String {
    units::ByteSize(u64::try_from(bytes).unwrap_or(0)).to_string()
}

/// A media type as a table shows it: `HTML`, `CSS`, else its second half.
pub(super) fn media(media_type: &str) -> String {
    let bare = media_type.split(';').next().unwrap_or_default().trim();
    match bare {
        "text/html" => "HTML",
        "text/css" => "CSS",
        "text/javascript" | "application/javascript" => "Script",
        "application/json" => "JSON",
        "text/plain" => "Text",
        "image/svg+xml" => "SVG",
        "application/octet-stream" => "Bytes",
        other => return other.rsplit('/').next().unwrap_or(other).to_owned(),
    }
    .to_owned()
}

/// Hex digits in groups of eight, so that an eye can compare them.
pub(super) fn grouped(hex: &str) -> String {
    let mut out = String::with_capacity(hex.len() + hex.len() / 8);
    for (at, digit) in hex.chars().enumerate() {
        if at > 0 && at.is_multiple_of(8) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// The ends of a hash: `7c1e 09ab … 5b90 11c4`.
pub(super) fn shortened(hex: &str) -> String {
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    let end = hex.len();
    if end < 32 {
        return hex.to_owned();
    }
    format!("{} {} … {} {}", part(0, 4), part(4, 8), part(end - 8, end - 4), part(end - 4, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_relative_under_a_day() {
        let now = 1_795_500_031_000; // 2026-11-24T06:00:31Z
        for (ago, text) in [
            (0, "just now"),
            (12 * SECOND, "12 s ago"),
            (4 * MINUTE + 59 * SECOND, "4 min ago"),
            (5 * HOUR, "5 h ago"),
            (DAY, "23 November"),
            (400 * DAY, "20 October 2025"),
            (-3 * HOUR, "in 3 h"),
            (-90 * DAY, "22 February 2027"),
        ] {
            assert_eq!(When::at(now - ago, now).text, text);
        }
        assert_eq!(When::at(now, now).exact, "2026-11-24T06:00:31Z");
        assert_eq!(time_of_day(now), "06:00:31");
    }

    #[test]
    fn counts_sizes_and_hashes() {
        assert_eq!(count(1, "file", "files"), "1 file");
        assert_eq!(count(3912, "file", "files"), "3,912 files");
        assert_eq!(span(41_300), "41 s");
        assert_eq!(span(7), "7 ms");
        assert_eq!(span(3 * DAY), "3 days");
        assert_eq!((period(HOUR), period(DAY), period(10 * MINUTE)), ("hour".into(), "day".into(), "10 min".into()));
        assert_eq!(actor("system: watch"), "the watched folder");
        assert_eq!(actor("system: retention"), "this server");
        assert_eq!(actor("key ci of a@example.org"), "key ci of a@example.org");
        assert_eq!(size(-1), "0 B");
        assert_eq!(spelled(3), "Three");
        assert_eq!(spelled(13), "13");
        assert_eq!(grouped("7c1e09ab4f33d2e8"), "7c1e09ab 4f33d2e8");
        let hex = crate::base::hash::Sha256::of(b"abc").hex();
        assert_eq!(shortened(&hex), "ba78 16bf … f200 15ad");
        assert_eq!(shortened("é"), "é");
        assert_eq!(media("text/html; charset=utf-8"), "HTML");
        assert_eq!(media("image/avif"), "avif");
    }
}
