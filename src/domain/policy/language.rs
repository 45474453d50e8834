//! Languages as browsers name them (`Accept-Language`, RFC 9110 §12.5.4), against those of rules.

/// Tags that are looked at: browsers send a handful, and the header is somebody else's.
const TAGS_MAX: usize = 64;
/// Bytes of a tag.
const TAG_BYTES_MAX: usize = 35;

/// Whether a text is a language of a rule: `en`, `zh-hant`, in small letters.
pub fn is_tag(text: &str) -> bool {
    let mut parts = text.split('-');
    let letters = |it: &str| (2..=8).contains(&it.len()) && it.bytes().all(|b| b.is_ascii_lowercase());
    let more =
        |it: &str| (1..=8).contains(&it.len()) && it.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    text.len() <= TAG_BYTES_MAX && parts.next().is_some_and(letters) && parts.all(more)
}

/// The language that a visitor likes best: of those with the most weight the first. `*` and what has no weight is none.
pub fn best(accepted: &str) -> Option<&str> {
    let mut best: Option<(&str, u16)> = None;
    for item in accepted.split(',').take(TAGS_MAX) {
        let mut parts = item.split(';');
        let tag = parts.next().unwrap_or_default().trim();
        let weight = parts.find_map(|it| it.trim().strip_prefix("q=").or_else(|| it.trim().strip_prefix("Q=")));
        let weight = weight.map_or(Some(1_000), thousandths).unwrap_or(0);
        let is_one = !tag.is_empty() && tag != "*" && tag.len() <= TAG_BYTES_MAX;
        if is_one && weight > best.map_or(0, |it| it.1) {
            best = Some((tag, weight));
        }
    }
    best.map(|it| it.0)
}

/// `0.8` as 800.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, rest) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    let whole: u16 = whole.parse().ok().filter(|it| *it <= 1)?;
    if rest.len() > 3 || !rest.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let part: u16 = format!("{rest:0<3}").parse().ok()?;
    Some((whole * 1_000 + part).min(1_000))
}

/// Whether a visitor's language is the one of a rule: the same, or a kind of it.
pub fn fits(wanted: &str, spoken: &str) -> bool {
    let (Some(begin), rest) = (spoken.get(..wanted.len()), spoken.get(wanted.len()..).unwrap_or_default()) else {
        return false;
    };
    begin.eq_ignore_ascii_case(wanted) && (rest.is_empty() || rest.starts_with(['-', '_']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_with_the_most_weight_is_the_best() {
        for (accepted, wanted) in [
            ("de-AT,de;q=0.9,en;q=0.8", Some("de-AT")),
            ("en;q=0.5, fr;q=0.9", Some("fr")),
            ("en, fr", Some("en")),
            ("*", None),
            ("*, he;q=0.1", Some("he")),
            ("en;q=0", None),
            ("en;q=2, fr;q=0.1", Some("fr")),
            ("en;q=0.1234, fr;q=0.001", Some("fr")),
            (" , ,;q=1", None),
            ("", None),
            ("pt;Q=0.7;x=1,es;q=0.6", Some("pt")),
        ] {
            assert_eq!(best(accepted), wanted, "{accepted}");
        }
        let many = "x,".repeat(100_000);
        assert_eq!(best(&many), Some("x"));
    }

    #[test]
    fn a_language_is_its_kinds_too() {
        for (wanted, spoken, fit) in [
            ("en", "en", true),
            ("en", "EN-us", true),
            ("en", "eng", false),
            ("en-gb", "en", false),
            ("zh-hant", "zh-Hant-TW", true),
            ("en", "é", false),
            ("en", "", false),
        ] {
            assert_eq!(fits(wanted, spoken), fit, "{wanted} {spoken}");
        }
        assert!(["en", "zh-hant", "es-419"].into_iter().all(is_tag));
        assert!(!["", "e", "EN", "en_us", "en-", "*", "en-toolongpart"].into_iter().any(is_tag));
    }
}
