//! The key of an installation under which its secrets are kept in the database: a copy of the database alone tells none of them.
//!
//! XChaCha20-Poly1305 with a nonce by chance, which is long enough for that, and with what the secret is for as authenticated data: a
//! sealed text that is put into another row, or another column, does not open (CONTRACTS §5).

use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use zeroize::Zeroizing;

use super::{hash::Sha256, random};

/// The first byte of what is sealed: by it, a later way to seal is told apart.
const VERSION: u8 = 1;
const NONCE_BYTES: usize = 24;
/// What the fingerprint is made of, besides the key.
const FINGERPRINT: &[u8] = b"chainhost master key fingerprint v1\0";

/// The key. Not `Clone`, and wiped when it goes.
pub struct MasterKey(Zeroizing<[u8; 32]>);

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

impl MasterKey {
    /// A new one.
    pub fn generate() -> Self {
        Self(Zeroizing::new(random::bytes()))
    }

    /// Reads one as [`MasterKey::text`] writes it; blanks around it are passed over.
    pub fn read(text: &str) -> Option<Self> {
        let bytes = Zeroizing::new(data_encoding::HEXLOWER_PERMISSIVE.decode(text.trim().as_bytes()).ok()?);
        let key: [u8; 32] = bytes.as_slice().try_into().ok()?;
        Some(Self(Zeroizing::new(key)))
    }

    /// 64 hex digits, for the file that it is kept in.
    pub fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(data_encoding::HEXLOWER.encode(self.0.as_slice()))
    }

    /// By what it is known without being told: 16 hex digits.
    pub fn fingerprint(&self) -> String {
        let mut text = Zeroizing::new(FINGERPRINT.to_vec());
        text.extend_from_slice(self.0.as_slice());
        Sha256::of(&text).hex().chars().take(16).collect()
    }

    /// Seals `plain` for `context`, as in `certificate 0123… key`.
    pub fn seal(&self, context: &str, plain: &[u8]) -> Result<Vec<u8>, Unsealable> {
        let nonce: [u8; NONCE_BYTES] = random::bytes();
        let payload = Payload { msg: plain, aad: context.as_bytes() };
        let sealed = self.cipher().encrypt(&XNonce::from(nonce), payload).map_err(|_| Unsealable)?;
        let mut all = Vec::with_capacity(1 + NONCE_BYTES + sealed.len());
        all.push(VERSION);
        all.extend_from_slice(&nonce);
        all.extend_from_slice(&sealed);
        Ok(all)
    }

    /// What was sealed for `context`.
    pub fn open(&self, context: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unsealable> {
        let (version, rest) = sealed.split_first().ok_or(Unsealable)?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(Unsealable)?;
        if *version != VERSION {
            return Err(Unsealable);
        }
        let payload = Payload { msg: rest, aad: context.as_bytes() };
        self.cipher().decrypt(&XNonce::from(*nonce), payload).map(Zeroizing::new).map_err(|_| Unsealable)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&(*self.0).into())
    }
}

/// The text is not sealed under this key, or not for this context, or it was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsealable;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_for_its_context_and_key_alone() {
        let (key, other) = (MasterKey::generate(), MasterKey::generate());
        let sealed = key.seal("certificate 1 key", b"secret").unwrap();
        assert_eq!(key.open("certificate 1 key", &sealed).unwrap().as_slice(), b"secret");
        assert_eq!(key.open("certificate 2 key", &sealed), Err(Unsealable));
        assert_eq!(other.open("certificate 1 key", &sealed), Err(Unsealable));
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(key.open("certificate 1 key", &changed), Err(Unsealable), "byte {at}");
            assert_eq!(key.open("certificate 1 key", &sealed[..at]), Err(Unsealable), "cut at {at}");
        }
        assert_ne!(sealed, key.seal("certificate 1 key", b"secret").unwrap(), "a nonce of its own");
        assert!(!sealed.windows(6).any(|it| it == b"secret"));
    }

    #[test]
    fn it_is_read_as_it_is_written() {
        let key = MasterKey::generate();
        let again = MasterKey::read(&format!(" {}\n", key.text().to_uppercase())).unwrap();
        assert_eq!(again.fingerprint(), key.fingerprint());
        assert_eq!(key.fingerprint().len(), 16);
        assert!(!key.text().contains(&key.fingerprint()));
        for wrong in ["", "00", &"0".repeat(63), &"g".repeat(64), &"0".repeat(66)] {
            assert!(MasterKey::read(wrong).is_none(), "{wrong}");
        }
        assert_eq!(format!("{key:?}"), "MasterKey(…)");
    }

    /// What was sealed once must open in all later versions.
    #[test]
    fn a_text_of_before_opens() {
        let key = MasterKey::read(&"07".repeat(32)).unwrap();
        let sealed = data_encoding::HEXLOWER.decode(KEPT.as_bytes()).unwrap();
        assert_eq!(key.open("a context", &sealed).unwrap().as_slice(), b"a secret");
    }
    /// Made by libsodium.
    const KEPT: &str =
        "01000102030405060708090a0b0c0d0e0f1011121314151617c937d8e0996e3ed15887faa5ac1c3e7639a944cb1255a389";
}
