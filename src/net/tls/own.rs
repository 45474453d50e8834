//! Certificates that this server signs itself, for names of its own that have no other yet: made when they are first asked for.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, PublicKeyData as _, date_time_ymd,
};
use rustls::{pki_types::PrivateKeyDer, sign::CertifiedKey};
use tokio::time::Instant;

use super::Certificate;
use crate::base::hash::Sha256;

/// So many are kept. They are made anew in a tenth of a millisecond.
const KEPT_MAX: usize = 1_024;
/// How long one is shown: it need not be the same for ever.
const SHOWN: Duration = Duration::from_hours(24 * 30);

/// The key of all of them.
pub struct OwnKey(KeyPair);

impl fmt::Debug for OwnKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnKey")
    }
}

impl OwnKey {
    /// A new one, on the curve P-256.
    pub fn generate() -> Result<Self, rcgen::Error> {
        KeyPair::generate().map(Self)
    }

    /// One that was kept, as PKCS #8.
    pub fn read(der: &[u8]) -> Result<Self, rcgen::Error> {
        KeyPair::try_from(der).map(Self)
    }

    /// To be kept, as PKCS #8.
    pub fn der(&self) -> &[u8] {
        self.0.serialized_der()
    }

    /// By what people know it: SHA-256 of the public key as certificates have it (`SubjectPublicKeyInfo`). The certificates are made
    /// anew now and then, and the key stays.
    pub fn fingerprint(&self) -> Sha256 {
        Sha256::of(&self.0.subject_public_key_info())
    }
}

/// Makes and keeps them.
pub(super) struct Own {
    key: OwnKey,
    default_name: String,
    made: Mutex<HashMap<String, (Instant, Arc<CertifiedKey>)>>,
}

impl Own {
    pub(super) fn new(key: OwnKey, default_name: &str) -> Self {
        Self { key, default_name: default_name.to_owned(), made: Mutex::default() }
    }

    /// The name in the one for who names none.
    pub(super) fn default_name(&self) -> &str {
        &self.default_name
    }

    /// For who names no host, or one that is not ours.
    pub(super) fn default(&self) -> Option<Arc<CertifiedKey>> {
        self.of(&self.default_name)
    }

    /// For a name of ours. `None`: no certificate can have it.
    pub(super) fn of(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, found)) = made.get(name)
            && since.elapsed() < SHOWN
        {
            return Some(Arc::clone(found));
        }
        let new = match self.make(name) {
            Ok(new) => new,
            Err(error) => {
                tracing::warn!(name, %error, "no certificate could be made");
                return None;
            }
        };
        if made.len() >= KEPT_MAX {
            made.clear();
        }
        made.insert(name.to_owned(), (Instant::now(), Arc::clone(&new)));
        Some(new)
    }

    fn make(&self, name: &str) -> Result<Arc<CertifiedKey>, Box<dyn std::error::Error>> {
        let mut wish = CertificateParams::new(vec![name.to_owned()])?;
        wish.distinguished_name = DistinguishedName::new();
        wish.distinguished_name.push(DnType::CommonName, "Chain Host, signed by itself");
        wish.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        // Whoever takes it has looked at it, not at its dates; clocks may be wrong on both sides.
        (wish.not_before, wish.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2099, 12, 31));
        let made = wish.self_signed(&self.key.0)?;
        let key = PrivateKeyDer::try_from(self.key.der().to_vec())?;
        Ok(Certificate::new(vec![made.der().clone()], key)?.0)
    }
}
