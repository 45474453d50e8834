//! Passwords: argon2id with 19 MiB, two passes, one lane (CONTRACTS §5), in the PHC text form.
//!
//! Each call takes some ten milliseconds of a processor and 19 MiB: callers say how many may run at once, and never call it where
//! others wait for the thread.

use std::fmt;

use argon2::{Algorithm, Argon2, Params, Version};
use data_encoding::BASE64_NOPAD;
use subtle::ConstantTimeEq as _;

use super::random;

const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const HASH_BYTES: usize = 32;
const SALT_BYTES: usize = 16;

/// Why a password could be neither hashed nor checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The stored text is none that this program writes.
    Stored,
    /// There was no memory for it, or the like.
    Hashing(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stored => f.write_str("a stored password hash cannot be read"),
            Self::Hashing(why) => write!(f, "a password cannot be hashed: {why}"),
        }
    }
}

impl std::error::Error for Fault {}

/// The text to store for a password.
pub fn hash(password: &str) -> Result<String, Fault> {
    let salt: [u8; SALT_BYTES] = random::bytes();
    let (salt, hash) = (BASE64_NOPAD.encode(&salt), BASE64_NOPAD.encode(&derive(password, &salt)?));
    Ok(format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${salt}${hash}"))
}

/// Whether the password has this stored text. `None` for somebody unknown takes as long and is `false`.
pub fn verify(password: &str, stored: Option<&str>) -> Result<bool, Fault> {
    let (salt, wanted) = match stored {
        Some(stored) => parse(stored)?,
        None => (vec![0; SALT_BYTES], Vec::new()),
    };
    let hash = derive(password, &salt)?;
    Ok(bool::from(hash.as_slice().ct_eq(&wanted)) && stored.is_some())
}

/// Whether `stored` is a text that [`verify`] can read.
pub fn is_stored(stored: &str) -> bool {
    parse(stored).is_ok()
}

fn derive(password: &str, salt: &[u8]) -> Result<[u8; HASH_BYTES], Fault> {
    let fault = |error: argon2::Error| Fault::Hashing(error.to_string());
    let params = Params::new(MEMORY_KIB, PASSES, LANES, Some(HASH_BYTES)).map_err(fault)?;
    let mut hash = [0; HASH_BYTES];
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon.hash_password_into(password.as_bytes(), salt, &mut hash).map_err(fault)?;
    Ok(hash)
}

/// Salt and hash of a stored text. Other costs than today's are not known yet.
fn parse(stored: &str) -> Result<(Vec<u8>, Vec<u8>), Fault> {
    let prefix = format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}$");
    let (salt, hash) = stored.strip_prefix(&prefix).and_then(|it| it.split_once('$')).ok_or(Fault::Stored)?;
    let decode = |text: &str| BASE64_NOPAD.decode(text.as_bytes()).map_err(|_| Fault::Stored);
    Ok((decode(salt)?, decode(hash)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_fits_its_own_hash_only() {
        let stored = hash("correct horse battery").unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$") && is_stored(&stored));
        assert!(verify("correct horse battery", Some(&stored)).unwrap());
        assert!(!verify("correct horse batterz", Some(&stored)).unwrap());
        assert!(!verify("", None).unwrap());
        assert_ne!(stored, hash("correct horse battery").unwrap());
        for wrong in ["", "$argon2id$v=19$m=1,t=1,p=1$AAAA$AAAA", "plain"] {
            assert_eq!(verify("x", Some(wrong)), Err(Fault::Stored));
        }
    }
}
