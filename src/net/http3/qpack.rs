//! Field sections as QPACK writes them (RFC 9204), without a dynamic table: this side announces none and uses none, so that no section
//! waits for another one, and what a client sends costs no memory behind its request.
//!
//! Nothing here knows what a field means. A section is read within the bytes that it may have when it is unpacked.

mod huffman;
mod table;

use bytes::{Buf as _, Bytes};

/// What each field counts beside its name and its value (RFC 9114, 4.2.2).
const FIELD_BYTES: usize = 32;

/// Why a section is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// It is not written as sections are, or refers to what was never agreed.
    Broken,
    /// It has more bytes than it may.
    TooLarge,
}

/// A field as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: Bytes,
    pub(super) value: Bytes,
}

/// The fields of a section in their order, which have at most so many bytes together.
pub(super) fn read(mut section: Bytes, bytes_max: usize) -> Result<Vec<Field>, Unread> {
    let (inserts, _) = integer(&mut section, 8)?;
    // The base means nothing where there is no table.
    integer(&mut section, 7)?;
    if inserts != 0 {
        return Err(Unread::Broken);
    }
    let (mut fields, mut bytes) = (Vec::with_capacity(16), 0_usize);
    while let Some(first) = section.first().copied() {
        let field = field(&mut section, first)?;
        bytes = bytes.saturating_add(field.name.len()).saturating_add(field.value.len()).saturating_add(FIELD_BYTES);
        if bytes > bytes_max {
            return Err(Unread::TooLarge);
        }
        fields.push(field);
    }
    Ok(fields)
}

/// One field, which begins with that byte.
fn field(section: &mut Bytes, first: u8) -> Result<Field, Unread> {
    let known = |place: usize| table::FIELDS.get(place).copied().ok_or(Unread::Broken);
    match first {
        // Of the static table, whole: 11.
        0xc0.. => {
            let (name, value) = known(integer(section, 6)?.0)?;
            Ok(Field { name: Bytes::from_static(name.as_bytes()), value: Bytes::from_static(value.as_bytes()) })
        }
        // With a name of it: 01N1.
        0x50..=0x5f | 0x70..=0x7f => {
            let (name, _) = known(integer(section, 4)?.0)?;
            Ok(Field { name: Bytes::from_static(name.as_bytes()), value: text(section, 7)? })
        }
        // Written out: 001N.
        0x20..=0x3f => Ok(Field { name: text(section, 3)?, value: text(section, 7)? }),
        // All others refer to the dynamic table.
        _ => Err(Unread::Broken),
    }
}

/// A number in the lower `bits` of the first byte and in those behind it; and what the rest of the first byte is.
fn integer(from: &mut Bytes, bits: u8) -> Result<(usize, u8), Unread> {
    let mut byte = || from.try_get_u8().map_err(|_| Unread::Broken);
    let full = u8::MAX >> (8 - bits);
    let first = byte()?;
    let (mut value, rest) = (usize::from(first & full), first & !full);
    if first & full != full {
        return Ok((value, rest));
    }
    // No number here is above that of some bytes of a head.
    for shift in [0, 7, 14, 21] {
        let next = byte()?;
        value += usize::from(next & 0x7f) << shift;
        if next & 0x80 == 0 {
            return Ok((value, rest));
        }
    }
    Err(Unread::Broken)
}

/// A text whose length has so many bits in the first byte, above which a bit says whether it is coded.
fn text(from: &mut Bytes, bits: u8) -> Result<Bytes, Unread> {
    let (length, above) = integer(from, bits)?;
    if length > from.len() {
        return Err(Unread::Broken);
    }
    let text = from.split_to(length);
    if above & 1 << bits == 0 {
        return Ok(text);
    }
    huffman::decode(&text).map(Bytes::from).ok_or(Unread::Broken)
}

/// Begins a section.
pub(super) fn begin(section: &mut Vec<u8>) {
    section.extend_from_slice(&[0, 0]);
}

/// Adds a field, whose name is in lower case.
pub(super) fn add(section: &mut Vec<u8>, name: &str, value: &[u8]) {
    match table::find(name, value) {
        Some((place, true)) => return put_integer(section, 0xc0, 6, place),
        Some((place, false)) => put_integer(section, 0x50, 4, place),
        None => {
            put_integer(section, 0x20, 3, name.len());
            section.extend_from_slice(name.as_bytes());
        }
    }
    put_integer(section, 0, 7, value.len());
    section.extend_from_slice(value);
}

fn put_integer(section: &mut Vec<u8>, above: u8, bits: u8, value: usize) {
    let full = u8::MAX >> (8 - bits);
    match u8::try_from(value) {
        Ok(small) if small < full => section.push(above | small),
        _ => {
            section.push(above | full);
            let mut rest = value - usize::from(full);
            while rest >= 0x80 {
                section.push(0x80 | low(rest));
                rest >>= 7;
            }
            section.push(low(rest));
        }
    }
}

/// The lower seven bits.
fn low(value: usize) -> u8 {
    u8::try_from(value & 0x7f).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str, value: &str) -> Field {
        Field { name: Bytes::copy_from_slice(name.as_bytes()), value: Bytes::copy_from_slice(value.as_bytes()) }
    }

    #[test]
    fn what_is_written_is_read() {
        let long = "x".repeat(5_000);
        let all = [
            (":status", "200"),
            (":status", "418"),
            ("content-type", "text/html; charset=utf-8"),
            ("etag", "\"abc\""),
            ("unencoded-digest", "sha-256=:x:"),
            ("a", ""),
            ("x-long", &long),
        ];
        let mut section = Vec::new();
        begin(&mut section);
        for (name, value) in &all {
            add(&mut section, name, value.as_bytes());
        }
        let read_back = read(section.clone().into(), 1 << 20).unwrap();
        assert_eq!(read_back, all.map(|(name, value)| field(name, value)));
        assert_eq!(section.get(..4), Some(&[0, 0, 0xd9, 0x5f][..]), "a known field is a byte, a known name two");
        let bytes: usize = all.iter().map(|(name, value)| name.len() + value.len() + 32).sum();
        assert!(read(section.clone().into(), bytes).is_ok());
        assert_eq!(read(section.clone().into(), bytes - 1), Err(Unread::TooLarge));
        for cut in 1..section.len() {
            // Between two fields a section may end.
            if let Ok(some) = read(section[..cut].to_vec().into(), 1 << 20) {
                assert_eq!(some, read_back[..some.len()]);
            }
        }
    }

    #[test]
    fn coded_texts_are_read() {
        // RFC 9204, B.1 has this one without the code; RFC 7541, C.4.1 has the code.
        let plain = b"\x00\x00\x51\x0b/index.html";
        assert_eq!(read(Bytes::from_static(plain), 1_000).unwrap(), [field(":path", "/index.html")]);
        let coded = b"\x00\x00\x50\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff";
        assert_eq!(read(Bytes::from_static(coded), 1_000).unwrap(), [field(":authority", "www.example.com")]);
        let both = b"\x00\x00\x2f\x01\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf";
        assert_eq!(read(Bytes::from_static(both), 1_000).unwrap(), [field("custom-key", "custom-value")]);
    }

    #[test]
    fn what_refers_to_a_table_that_is_not_there_is_broken() {
        for section in [
            &b""[..],
            b"\x00",
            b"\x01\x00",
            b"\x00\x00\x80",
            b"\x00\x00\x40\x00",
            b"\x00\x00\x10",
            b"\x00\x00\x00\x00",
            b"\x00\x00\xff\x24",
            b"\x00\x00\xff\xff\xff\xff\xff\x01",
            b"\x00\x00\x51\x7f\xff\xff\xff\x7fabc",
            b"\x00\x00\x51\x82\xff\xff",
        ] {
            assert_eq!(read(Bytes::from_static(section), 1_000), Err(Unread::Broken), "{section:x?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_section_is_too_much(section: Vec<u8>) {
            let mut with_start = vec![0, 0];
            with_start.extend(section);
            if let Ok(fields) = read(with_start.into(), 100) {
                proptest::prop_assert!(fields.len() <= 3);
            }
        }
    }
}
