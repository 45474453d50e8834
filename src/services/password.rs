//! Passwords: argon2id with 19 MiB, two passes, one lane (CONTRACTS §5), in the PHC text form.
//!
//! At most two are hashed at once, so that memory and processors are not the attacker's to spend.

use std::sync::atomic::{AtomicU64, Ordering};

use argon2::{Algorithm, Argon2, Params, Version};
use data_encoding::BASE64_NOPAD;
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;

use crate::{
    base::{limits, random, secret::Secret, tasks::Tasks},
    domain::{Error, Result},
};

const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const HASH_BYTES: usize = 32;
const SALT_BYTES: usize = 16;

/// Hashes and checks passwords, a few at a time.
#[derive(Debug)]
pub(super) struct Hashing {
    tasks: Tasks,
    places: Semaphore,
    /// Passwords hashed since the start.
    hashed: AtomicU64,
}

impl Hashing {
    pub(super) fn new(tasks: Tasks) -> Self {
        Self { tasks, places: Semaphore::new(limits::PASSWORD_HASHES_AT_ONCE), hashed: AtomicU64::new(0) }
    }

    /// How many passwords were hashed since the start, to be kept or to be checked.
    pub(super) fn hashed(&self) -> u64 {
        self.hashed.load(Ordering::Relaxed)
    }

    /// The text to store for a password.
    pub(super) async fn hash(&self, password: Secret) -> Result<String> {
        let salt: [u8; SALT_BYTES] = random::bytes();
        let hash = self.derive(password, salt.to_vec()).await?;
        let (salt, hash) = (BASE64_NOPAD.encode(&salt), BASE64_NOPAD.encode(&hash));
        Ok(format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${salt}${hash}"))
    }

    /// Whether the password has this stored text. `None` for an unknown user takes as long and is `false`.
    pub(super) async fn verify(&self, password: Secret, stored: Option<&str>) -> Result<bool> {
        let (salt, wanted) = match stored {
            Some(stored) => parse(stored)?,
            None => (vec![0; SALT_BYTES], Vec::new()),
        };
        let hash = self.derive(password, salt).await?;
        Ok(bool::from(hash.as_slice().ct_eq(&wanted)) && stored.is_some())
    }

    async fn derive(&self, password: Secret, salt: Vec<u8>) -> Result<[u8; HASH_BYTES]> {
        let _place = self.places.acquire().await.map_err(Error::internal)?;
        let derived = self.tasks.blocking(move || {
            let params = Params::new(MEMORY_KIB, PASSES, LANES, Some(HASH_BYTES)).map_err(Error::internal)?;
            let mut hash = [0; HASH_BYTES];
            Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
                .hash_password_into(password.expose().as_bytes(), &salt, &mut hash)
                .map_err(Error::internal)?;
            Ok(hash)
        });
        self.hashed.fetch_add(1, Ordering::Relaxed);
        derived.await.unwrap_or_else(|| Err(Error::internal("hashing a password panicked")))
    }
}

/// Salt and hash of a stored text. Other costs than today's are not known yet.
fn parse(stored: &str) -> Result<(Vec<u8>, Vec<u8>)> {
    let prefix = format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}$");
    let wrong = || Error::internal("a stored password hash cannot be read");
    let (salt, hash) = stored.strip_prefix(&prefix).and_then(|it| it.split_once('$')).ok_or_else(wrong)?;
    let decode = |text: &str| BASE64_NOPAD.decode(text.as_bytes()).map_err(|_| wrong());
    Ok((decode(salt)?, decode(hash)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_fits_its_own_hash_only() {
        let hashing = Hashing::new(Tasks::new());
        let secret = |text: &str| Secret::new(text.to_owned());
        let stored = hashing.hash(secret("correct horse battery")).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(hashing.verify(secret("correct horse battery"), Some(&stored)).await.unwrap());
        assert!(!hashing.verify(secret("correct horse batterz"), Some(&stored)).await.unwrap());
        assert!(!hashing.verify(secret(""), None).await.unwrap());
        assert_eq!(hashing.hashed(), 4, "an unknown user costs as much as a known one");
        assert_ne!(stored, hashing.hash(secret("correct horse battery")).await.unwrap());
    }
}
