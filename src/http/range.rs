//! Byte ranges (RFC 9110 §14): which part of a representation a `Range` header asks for.
//!
//! A header that is not understood, or asks for more than one part, gives the whole: the RFC allows it, and
//! many small parts of one file are an attack more often than a need.

/// What to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ranged {
    /// 200 with everything.
    Whole,
    /// 206 with the bytes `first..=last`.
    Part {
        /// Position of the first byte.
        first: u64,
        /// Position of the last byte, at least `first` and below the size.
        last: u64,
    },
    /// 416: understood, and no byte of it is there.
    Unsatisfiable,
}

/// One spec of the set.
enum Spec {
    Bytes { first: u64, last: u64 },
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
    let mut found = None;
    let mut specs = 0_u32;
    for text in set.split(',').map(|it| it.trim_matches([' ', '\t'])).filter(|it| !it.is_empty()) {
        specs = specs.saturating_add(1);
        match spec(text, size) {
            None => return Ranged::Whole,
            Some(Spec::Nothing) => {}
            Some(Spec::Bytes { .. }) if found.is_some() => return Ranged::Whole,
            Some(Spec::Bytes { first, last }) => found = Some(Ranged::Part { first, last }),
        }
    }
    if specs == 0 {
        return Ranged::Whole;
    }
    found.unwrap_or(Ranged::Unsatisfiable)
}

fn spec(text: &str, size: u64) -> Option<Spec> {
    let (first, last) = text.split_once('-')?;
    if first.is_empty() {
        let length = number(last)?;
        if length == 0 || size == 0 {
            return Some(Spec::Nothing);
        }
        return Some(Spec::Bytes { first: size.saturating_sub(length), last: size - 1 });
    }
    let first = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    if last < first {
        return None;
    }
    if first >= size {
        return Some(Spec::Nothing);
    }
    Some(Spec::Bytes { first, last: last.min(size - 1) })
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
        let part = |first, last| Ranged::Part { first, last };
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
            ("bytes=10-", Ranged::Unsatisfiable),
            ("bytes=-0", Ranged::Unsatisfiable),
            ("bytes=10-12,20-", Ranged::Unsatisfiable),
            ("bytes=99999999999999999999999-", Ranged::Unsatisfiable),
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
        assert_eq!(parse("bytes=-1", 0), Ranged::Unsatisfiable);
    }
}
