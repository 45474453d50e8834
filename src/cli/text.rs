//! Text for people on a terminal: safe to print, cut to a width, with times as people say them.
//!
//! SECURITY: words that others wrote (messages, titles, names) pass [`plain`] or [`plain_lines`] before they are
//! printed, or they could move the cursor and forge what the reader sees.

use jiff::Timestamp;

const MINUTE_S: i64 = 60;
const HOUR_S: i64 = 3_600;
const DAY_S: i64 = 86_400;

/// One line without control characters: each becomes a visible escape.
pub(super) fn plain(text: &str) -> String {
    escape(text, |_| false)
}

/// As [`plain`], but line ends and tabs stay.
pub(super) fn plain_lines(text: &str) -> String {
    escape(text, |c| matches!(c, '\n' | '\t'))
}

fn escape(text: &str, keeps: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        // Marks of writing direction can reorder a line as control characters can.
        let steers = c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if steers && !keeps(c) { out.extend(c.escape_unicode()) } else { out.push(c) }
    }
    out
}

/// At most `width` characters; a longer text ends in `…`.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// A time of the API for people: how long ago, or until then, under a day, else the date. What is no time stays as it is.
pub(super) fn when(time: &str, now_ms: i64) -> String {
    let Ok(at) = time.parse::<Timestamp>() else { return plain(time) };
    let ago_s = now_ms.saturating_sub(at.as_millisecond()).div_euclid(1000);
    match ago_s {
        // Clocks of two machines differ a little.
        -60..5 => String::from("just now"),
        5..MINUTE_S => format!("{ago_s} s ago"),
        MINUTE_S..HOUR_S => format!("{} min ago", ago_s / MINUTE_S),
        HOUR_S..DAY_S => format!("{} h ago", ago_s / HOUR_S),
        // To come, and more than clocks differ.
        -3_599..-60 => format!("in {} min", -ago_s / MINUTE_S),
        -86_399..=-3_600 => format!("in {} h", -ago_s / HOUR_S),
        _ => time.chars().take("2026-11-24".len()).collect(),
    }
}

/// `1 file`, `2 files`, `12,000 files`.
pub(super) fn count(number: u64, noun: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{} {noun}{s}", crate::base::units::thousands(number))
}

/// A set length of time, in its greatest whole unit: `10 min`, `24 h`, `90 s`.
pub(super) fn long(seconds: u64) -> String {
    match seconds {
        it if it > 0 && it.is_multiple_of(3_600) => format!("{} h", it / 3_600),
        it if it > 0 && it.is_multiple_of(60) => format!("{} min", it / 60),
        it => format!("{it} s"),
    }
}

/// A measured time: `320 ms`, `4.2 s`, `3 min 5 s`.
pub(super) fn duration(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        _ => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_made_visible() {
        assert_eq!(plain("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\u{a}");
        assert_eq!(plain("né \u{202e}x"), "né \\u{202e}x");
        assert_eq!(plain_lines("a\n\tb\r"), "a\n\tb\\u{d}");
    }

    #[test]
    fn texts_are_cut_by_characters() {
        assert_eq!(cut("éàü", 3), "éàü");
        assert_eq!(cut("éàüx", 3), "éà…");
        assert_eq!(cut("abc", 0), "…");
    }

    #[test]
    fn times_under_a_day_are_relative() {
        let now = 1_795_500_031_000;
        let at = |ago_s: i64| when(&crate::base::clock::rfc3339(now - ago_s * 1000), now);
        assert_eq!(at(0), "just now");
        assert_eq!(at(-30), "just now");
        assert_eq!(at(59), "59 s ago");
        assert_eq!(at(60), "1 min ago");
        assert_eq!(at(3_599), "59 min ago");
        assert_eq!(at(86_399), "23 h ago");
        assert_eq!(at(86_400), "2026-11-23");
        assert_eq!((at(-61).as_str(), at(-3_599).as_str()), ("in 1 min", "in 59 min"));
        assert_eq!((at(-3_600).as_str(), at(-86_399).as_str()), ("in 1 h", "in 23 h"));
        assert_eq!(at(-86_400), "2026-11-25");
        assert_eq!(when("soon", now), "soon");
    }

    #[test]
    fn numbers_have_their_noun_and_unit() {
        assert_eq!((count(1, "file"), count(12_000, "file")), (String::from("1 file"), String::from("12,000 files")));
        assert_eq!([long(10), long(600), long(86_400), long(90)], ["10 s", "10 min", "24 h", "90 s"]);
        assert_eq!(duration(999), "999 ms");
        assert_eq!(duration(4_260), "4.2 s");
        assert_eq!(duration(185_000), "3 min 5 s");
    }
}
