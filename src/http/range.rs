//! Byte ranges (RFC 9110 §14): which parts of a representation a `Range` header asks for.
//!
//! A header that is not understood gives the whole: the RFC asks for that. So does one that asks for more parts than anybody needs, or for
//! no fewer bytes than the whole has: many small parts of one file, or the same ones again and again, are an attack.

/// Parts that one answer may have, after those that touch were joined.
const PARTS_MAX: usize = 16;
/// Ranges that a header may name.
const SPECS_MAX: usize = 64;
/// About what stands before each part of an answer.
const PART_HEAD: u64 = 128;

/// The bytes `first..=last` of a representation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Position of the first byte.
    pub first: u64,
    /// Position of the last byte, at least `first` and below the size.
    pub last: u64,
}

impl Span {
    /// How many bytes, at least 1.
    pub const fn length(&self) -> u64 {
        self.last.saturating_sub(self.first).saturating_add(1)
    }
}

/// What to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ranged {
    /// 200 with everything.
    Whole,
    /// 206 with these bytes.
    Part(Span),
    /// 206 with two parts or more, none of which touches another, in the order in which they were asked for where that may be.
    Parts(Vec<Span>),
    /// 416: understood, and no byte of it is there.
    Unsatisfiable,
}

/// One spec of the set.
enum Spec {
    Bytes(Span),
    Nothing,
}

/// Reads a `Range` header for a representation of `size` bytes.
pub fn parse(header: &str, size: u64) -> Ranged {
    let Some((unit, set)) = header.split_once('=') else {
        return Ranged::Whole;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Ranged::Whole;
    }
    let (mut found, mut specs) = (Vec::new(), 0_usize);
    for text in set.split(',').map(|it| it.trim_matches([' ', '\t'])).filter(|it| !it.is_empty()) {
        specs = specs.saturating_add(1);
        if specs > SPECS_MAX {
            return Ranged::Whole;
        }
        match spec(text, size) {
            None => return Ranged::Whole,
            Some(Spec::Nothing) => {}
            Some(Spec::Bytes(span)) => found.push(span),
        }
    }
    match joined(found).as_slice() {
        [] if specs == 0 => Ranged::Whole,
        [] => Ranged::Unsatisfiable,
        [one] => Ranged::Part(*one),
        many if many.len() > PARTS_MAX || sent(many) >= size => Ranged::Whole,
        many => Ranged::Parts(many.to_vec()),
    }
}

/// Joins those that overlap or follow one another, from the first byte on; as they were when none does.
fn joined(spans: Vec<Span>) -> Vec<Span> {
    let mut sorted = spans.clone();
    sorted.sort_unstable_by_key(|it| it.first);
    let mut out: Vec<Span> = Vec::with_capacity(sorted.len());
    for span in sorted {
        match out.last_mut() {
            Some(before) if span.first <= before.last.saturating_add(1) => before.last = before.last.max(span.last),
            _ => out.push(span),
        }
    }
    if out.len() == spans.len() { spans } else { out }
}

/// About how many bytes an answer with these parts has.
fn sent(parts: &[Span]) -> u64 {
    parts.iter().fold(0, |sum: u64, it| sum.saturating_add(it.length()).saturating_add(PART_HEAD))
}

fn spec(text: &str, size: u64) -> Option<Spec> {
    let (first, last) = text.split_once('-')?;
    if first.is_empty() {
        let length = number(last)?;
        if length == 0 {
            return Some(Spec::Nothing);
        }
        // All of nothing is nothing, which no part could say (RFC 9110 §14.1.2).
        let last = size.checked_sub(1)?;
        return Some(Spec::Bytes(Span { first: size.saturating_sub(length), last }));
    }
    let first = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    if last < first {
        return None;
    }
    if first >= size {
        return Some(Spec::Nothing);
    }
    Some(Spec::Bytes(Span { first, last: last.min(size - 1) }))
}

/// Digits only; a number too large for 64 bits is as good as the largest.
fn number(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_ten_bytes() {
        let part = |first, last| Ranged::Part(Span { first, last });
        for (header, wanted) in [
            ("bytes=0-0", part(0, 0)),
            ("bytes=0-", part(0, 9)),
            ("bytes=3-5", part(3, 5)),
            ("bytes=3-99", part(3, 9)),
            ("bytes=3-99999999999999999999999", part(3, 9)),
            ("bytes=-4", part(6, 9)),
            ("bytes=-40", part(0, 9)),
            ("BYTES= 1-2 ", part(1, 2)),
            ("bytes=,1-2,", part(1, 2)),
            ("bytes=1-2,30-40", part(1, 2)),
            ("bytes=1-2,2-4", part(1, 4)),
            ("bytes=3-4,1-2", part(1, 4)),
            ("bytes=1-2,1-2,1-2", part(1, 2)),
            ("bytes=10-", Ranged::Unsatisfiable),
            ("bytes=-0", Ranged::Unsatisfiable),
            ("bytes=10-12,20-", Ranged::Unsatisfiable),
            ("bytes=99999999999999999999999-", Ranged::Unsatisfiable),
            // Their heads would be longer than all there is.
            ("bytes=0-1,4-5", Ranged::Whole),
            ("bytes=5-3", Ranged::Whole),
            ("bytes=0-1,5-3", Ranged::Whole),
            ("bytes=", Ranged::Whole),
            ("bytes=,", Ranged::Whole),
            ("bytes=-", Ranged::Whole),
            ("bytes=a-b", Ranged::Whole),
            ("bytes=+1-2", Ranged::Whole),
            ("bytes=--2", Ranged::Whole),
            ("bytes=1 - 2", Ranged::Whole),
            ("lines=0-1", Ranged::Whole),
            ("0-1", Ranged::Whole),
            ("", Ranged::Whole),
        ] {
            assert_eq!(parse(header, 10), wanted, "{header:?}");
        }
        assert_eq!(parse("bytes=0-", 0), Ranged::Unsatisfiable);
        assert_eq!(parse("bytes=-1", 0), Ranged::Whole);
        assert_eq!(parse("bytes=-0", 0), Ranged::Unsatisfiable);
    }

    #[test]
    fn several_ranges_of_a_larger_one() {
        let parts = |all: &[(u64, u64)]| Ranged::Parts(all.iter().map(|&(first, last)| Span { first, last }).collect());
        for (header, wanted) in [
            ("bytes=0-9,20-29", parts(&[(0, 9), (20, 29)])),
            ("bytes=-5, 0-4", parts(&[(9_995, 9_999), (0, 4)])),
            ("bytes=20-29,0-9,10000-", parts(&[(20, 29), (0, 9)])),
            // Where some are joined, all come from the first byte on.
            ("bytes=50-59,20-29,0-9,5-12", parts(&[(0, 12), (20, 29), (50, 59)])),
            ("bytes=0-1,2-3,5-6", parts(&[(0, 3), (5, 6)])),
            ("bytes=0-4999,5001-", Ranged::Whole),
            ("bytes=0-9,20-29,x", Ranged::Whole),
        ] {
            assert_eq!(parse(header, 10_000), wanted, "{header:?}");
        }
        let many = |count: u64| {
            let specs: Vec<String> = (0..count).map(|it| format!("{0}-{0}", it * 2)).collect();
            format!("bytes={}", specs.join(","))
        };
        assert!(matches!(parse(&many(16), 1 << 20), Ranged::Parts(parts) if parts.len() == 16));
        assert_eq!(parse(&many(17), 1 << 20), Ranged::Whole);
        let same = |count| format!("bytes={}", "7-9,".repeat(count));
        assert_eq!(parse(&same(64), 1 << 20), Ranged::Part(Span { first: 7, last: 9 }));
        assert_eq!(parse(&same(65), 1 << 20), Ranged::Whole);
    }
}
