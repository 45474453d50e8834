//! The two hashes of the product: SHA-256 names bytes, Keccak-256 builds a site's tree.

use std::{fmt, str::FromStr};

use sha2::{Digest as _, Sha256 as Sha256Core};

/// A SHA-256 digest (FIPS 180-4). Text form: 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256(pub [u8; 32]);

/// Text that is not 64 lower-case hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAHash;

impl Sha256 {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256Core::digest(bytes).into())
    }

    /// Its first eight bytes, as a number.
    pub fn first(&self) -> u64 {
        self.0.first_chunk().map_or(0, |it| u64::from_le_bytes(*it))
    }

    /// 64 lower-case hex digits.
    pub fn hex(&self) -> String {
        data_encoding::HEXLOWER.encode(&self.0)
    }

    /// Standard base64 with padding, as `Repr-Digest` (RFC 9530) wants it.
    pub fn base64(&self) -> String {
        data_encoding::BASE64.encode(&self.0)
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex())
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex())
    }
}

impl FromStr for Sha256 {
    type Err = NotAHash;

    fn from_str(text: &str) -> Result<Self, NotAHash> {
        let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).map_err(|_| NotAHash)?;
        bytes.try_into().map(Self).map_err(|_| NotAHash)
    }
}

impl serde::Serialize for Sha256 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Sha256 {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for NotAHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a SHA-256 has 64 lower-case hex digits")
    }
}

impl std::error::Error for NotAHash {}

/// SHA-256 of bytes that arrive in pieces.
#[derive(Clone, Debug, Default)]
pub struct Hasher(Sha256Core);

impl Hasher {
    /// Nothing hashed yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all pieces.
    pub fn finish(self) -> Sha256 {
        Sha256(self.0.finalize().into())
    }
}

/// Keccak-256 as Ethereum uses it (the padding before SHA-3 was fixed).
pub fn keccak256(bytes: &[u8]) -> [u8; 32] {
    sha3::Keccak256::digest(bytes).into()
}

/// HMAC-SHA-256 (RFC 2104) over `parts`, each with its length in front, so that no two lists of parts are one text.
pub fn keyed(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let mut inner = Hasher::new();
    inner.update(&pad(key, 0x36));
    for part in parts {
        // INVARIANT: a length has 64 bits at most.
        inner.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        inner.update(part);
    }
    outer(key, inner)
}

/// HMAC-SHA-256 (RFC 2104) of one text under a key of any length, as other programs make it.
pub fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let hashed = Sha256::of(key);
    let key = if key.len() > 64 { hashed.0.as_slice() } else { key };
    let mut inner = Hasher::new();
    inner.update(&pad(key, 0x36));
    inner.update(text);
    outer(key, inner)
}

fn outer(key: &[u8], inner: Hasher) -> [u8; 32] {
    let mut outer = Hasher::new();
    outer.update(&pad(key, 0x5c));
    outer.update(&inner.finish().0);
    outer.finish().0
}

/// A key, filled up to a block of SHA-256, mixed with `with`.
fn pad(key: &[u8], with: u8) -> [u8; 64] {
    let mut block = [with; 64];
    block.iter_mut().zip(key).for_each(|(to, from)| *to ^= from);
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_digests() {
        assert_eq!(Sha256::of(b"abc").hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(
            data_encoding::HEXLOWER.encode(&keccak256(b"")),
            "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
        );
        let mut pieces = Hasher::new();
        pieces.update(b"a");
        pieces.update(b"bc");
        assert_eq!(pieces.finish(), Sha256::of(b"abc"));
    }

    /// RFC 4231, test cases 2 and 6.
    #[test]
    fn known_hmac_of_any_key() {
        let hex = |key: &[u8], text: &[u8]| data_encoding::HEXLOWER.encode(&hmac(key, text));
        let two = hex(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(two, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        let six = hex(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First");
        assert_eq!(six, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    }

    /// RFC 4231, test case 4 with its key of 25 bytes padded as the RFC pads it.
    #[test]
    fn known_hmac() {
        let mut key = [0; 32];
        key.iter_mut().zip(1..=25).for_each(|(to, from)| *to = from);
        let mut inner = Hasher::new();
        inner.update(&pad(&key, 0x36));
        inner.update(&[0xcd; 50]);
        let wanted = "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b";
        assert_eq!(Sha256(outer(&key, inner)).hex(), wanted);
        assert_ne!(keyed(&key, &[b"ab", b"c"]), keyed(&key, &[b"a", b"bc"]));
        assert_ne!(keyed(&key, &[b"a"]), keyed(&[0; 32], &[b"a"]));
    }
}
