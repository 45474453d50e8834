//! The Huffman code of header fields (RFC 7541, Appendix B). It is canonical: the lengths of the codes are all that has to be known of it.

use std::sync::LazyLock;

/// Bits of the code of each byte; the last one is that of the end, which no text has.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
    28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12,
    10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6,
    5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22,
    22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20,
    22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28,
    27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28,
    27, 27, 27, 27, 27, 26, 30,
];
/// Bits of the longest.
const LONGEST: u32 = 30;

/// The codes of one length.
#[derive(Clone, Copy, Debug)]
struct Group {
    bits: u32,
    /// The first code of a longer group, at the upper end of 32 bits: what is below belongs here, or to a shorter one.
    end: u64,
    /// The first code of this one.
    first: u64,
    /// Where its symbols begin in the list of all.
    at: usize,
}

struct Code {
    groups: Vec<Group>,
    /// By length, and then by value.
    symbols: Vec<u16>,
}

static CODE: LazyLock<Code> = LazyLock::new(|| {
    let (mut code, mut groups, mut symbols) = (0_u64, Vec::new(), Vec::new());
    for bits in 1..=LONGEST {
        code <<= 1;
        let with = (0_u16..).zip(LENGTHS).filter(|(_, length)| u32::from(*length) == bits).map(|(symbol, _)| symbol);
        let (first, at) = (code, symbols.len());
        symbols.extend(with);
        code += u64::try_from(symbols.len() - at).unwrap_or_default();
        if symbols.len() > at {
            groups.push(Group { bits, end: code << (32 - bits), first, at });
        }
    }
    Code { groups, symbols }
});

/// What a code says; `None` for one that says nothing.
pub(super) fn decode(coded: &[u8]) -> Option<Vec<u8>> {
    // The shortest code has five bits.
    let mut text = Vec::with_capacity(coded.len() * 8 / 5);
    let mut bytes = coded.iter();
    // What is known of the next bits, at the lower end, and how many these are.
    let (mut window, mut known) = (0_u64, 0_u32);
    loop {
        while known <= 32 {
            let Some(byte) = bytes.next() else { break };
            window = window << 8 | u64::from(*byte);
            known += 8;
        }
        if known == 0 {
            return Some(text);
        }
        // The next 32 bits, ones behind the end.
        let ahead = if known >= 32 {
            window >> (known - 32) & 0xffff_ffff
        } else {
            let missing = 32 - known;
            ((window << missing) & 0xffff_ffff) | ((1 << missing) - 1)
        };
        let found = CODE.groups.iter().find(|it| ahead < it.end).filter(|it| it.bits <= known);
        let Some(group) = found else {
            // What fills the last byte: less than a byte, of ones.
            return (known < 8 && ahead == 0xffff_ffff).then_some(text);
        };
        let nth = usize::try_from((ahead >> (32 - group.bits)) - group.first).ok()?;
        // The end is no text.
        text.push(CODE.symbols.get(group.at + nth).and_then(|it| u8::try_from(*it).ok())?);
        known -= group.bits;
        window &= (1 << known) - 1;
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    /// Writes a text as the code has it.
    fn encode(text: &[u8]) -> Vec<u8> {
        let mut bits = String::new();
        for byte in text {
            let place = CODE.symbols.iter().position(|it| *it == u16::from(*byte)).unwrap();
            let group = CODE.groups.iter().rev().find(|it| it.at <= place).unwrap();
            let code = group.first + u64::try_from(place - group.at).unwrap();
            write!(bits, "{code:0width$b}", width = usize::try_from(group.bits).unwrap()).unwrap();
        }
        while !bits.len().is_multiple_of(8) {
            bits.push('1');
        }
        (0..bits.len() / 8).map(|it| u8::from_str_radix(&bits[it * 8..it * 8 + 8], 2).unwrap()).collect()
    }

    /// RFC 7541, C.4.
    #[test]
    fn the_examples_of_the_standard_are_read() {
        for (coded, text) in [
            (&b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff"[..], "www.example.com"),
            (b"\xa8\xeb\x10\x64\x9c\xbf", "no-cache"),
            (b"\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f", "custom-key"),
            (b"\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf", "custom-value"),
        ] {
            assert_eq!(decode(coded).unwrap(), text.as_bytes());
            assert_eq!(encode(text.as_bytes()), coded);
        }
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&encode(&all)).unwrap(), all);
    }

    #[test]
    fn what_is_no_text_is_refused() {
        // Ones for a whole byte; a last byte that is not filled with ones; the end as a symbol.
        for coded in [&b"\xff"[..], b"\x00", b"\x1f\xff", b"\xff\xff\xff\xff", b"\xff\xff\xff\xfc"] {
            assert_eq!(decode(coded), None, "{coded:x?}");
        }
        assert_eq!(decode(b"").unwrap(), b"");
        assert_eq!(decode(b"\x07").unwrap(), b"0");
    }
}
