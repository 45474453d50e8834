//! Certificates that this server signs itself, for names of its own that have no other yet: made when they are first asked for.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::{Span, Timestamp, tz::Offset};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, PublicKeyData as _, SerialNumber,
    date_time_ymd,
};
use rustls::{pki_types::PrivateKeyDer, sign::CertifiedKey};
use tokio::time::Instant;

use super::Certificate;
use crate::base::{clock::Clock, hash::Sha256, random};

/// So many are kept. They are made anew in a tenth of a millisecond.
const KEPT_MAX: usize = 1_024;
/// How long one is shown: it need not be the same for ever.
const SHOWN: Duration = Duration::from_hours(24 * 30);
/// For so many days one counts. Some systems refuse certificates that count for more than 398 days, whoever has signed them.
const DAYS: i64 = 397;
/// No clock of a machine that runs this is right and before that: the first of January 2026, UTC.
const EPOCH_S: i64 = 1_767_225_600;

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
    clock: Clock,
    made: Mutex<HashMap<String, (Instant, Arc<CertifiedKey>)>>,
}

impl Own {
    pub(super) fn new(key: OwnKey, default_name: &str, clock: Clock) -> Self {
        Self { key, default_name: default_name.to_owned(), clock, made: Mutex::default() }
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
        // All have one issuer: some browsers refuse for good what has the number of another one that they have seen.
        wish.serial_number = Some(SerialNumber::from_slice(&random::bytes::<16>()));
        let now = Offset::UTC.to_datetime(Timestamp::from_second((self.clock.now_ms() / 1_000).max(EPOCH_S))?);
        let day = |after: i64| {
            let day = now.checked_add(Span::new().days(after))?.date();
            let (month, of_month) = (u8::try_from(day.month())?, u8::try_from(day.day())?);
            Ok::<_, Box<dyn std::error::Error>>(date_time_ymd(i32::from(day.year()), month, of_month))
        };
        (wish.not_before, wish.not_after) = (day(-1)?, day(DAYS - 1)?);
        let made = wish.self_signed(&self.key.0)?;
        let key = PrivateKeyDer::try_from(self.key.der().to_vec())?;
        Ok(Certificate::new(vec![made.der().clone()], key)?.0)
    }
}

#[cfg(test)]
mod tests {
    use x509_cert::der::Decode as _;

    use super::*;

    /// 2026-05-04, 07:00 UTC.
    const NOW_MS: i64 = 1_777_878_000_000;

    #[test]
    fn each_has_a_number_of_its_own_and_counts_for_a_year() {
        let key = OwnKey::generate().unwrap();
        let again = OwnKey::read(key.der()).unwrap();
        let of = |key, now_ms| Own::new(key, "localhost", Clock::manual(now_ms).0);
        let (own, after_restart) = (of(key, NOW_MS), of(again, NOW_MS));
        let read = |own: &Own, name: &str| {
            let made = own.of(name).unwrap();
            x509_cert::Certificate::from_der(made.cert.first().unwrap()).unwrap().tbs_certificate
        };
        let all = [read(&own, "a.example"), read(&own, "b.example"), read(&after_restart, "a.example")];
        let numbers: std::collections::BTreeSet<_> =
            all.iter().map(|it| it.serial_number.as_bytes().to_vec()).collect();
        assert_eq!(numbers.len(), 3);
        assert_eq!(read(&own, "a.example").serial_number, all.first().unwrap().serial_number, "it is kept");
        let dates = |of: &x509_cert::TbsCertificate| {
            let [from, until] =
                [of.validity.not_before, of.validity.not_after].map(|it| it.to_unix_duration().as_secs());
            (from, until - from)
        };
        // 2026-05-03, 00:00 UTC.
        assert_eq!(dates(all.first().unwrap()), (1_777_766_400, 397 * 24 * 3_600));
        // A clock that has not been set yet.
        let early = read(&of(OwnKey::generate().unwrap(), 0), "a.example");
        assert_eq!(dates(&early).0, 1_767_225_600 - 24 * 3_600);
    }
}
