//! An authority of the tests' own, and certificates that it signs.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::CertificateDer;

use super::write_files;

/// An authority that only these tests trust.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut wish = CertificateParams::new(Vec::new()).unwrap();
        wish.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        wish.distinguished_name.push(DnType::CommonName, "An authority");
        Self(CertifiedIssuer::self_signed(wish, KeyPair::generate().unwrap()).unwrap())
    }

    /// Writes `NAME.pem` and `NAME.key` into a folder: for these hostnames, in these years.
    pub(crate) fn issue(&self, folder: &Path, name: &str, hostnames: &[&str], years: (i32, i32)) {
        let hostnames: Vec<String> = hostnames.iter().map(|it| (*it).to_owned()).collect();
        let mut wish = CertificateParams::new(hostnames).unwrap();
        (wish.not_before, wish.not_after) = (date_time_ymd(years.0, 1, 1), date_time_ymd(years.1, 1, 1));
        let key = KeyPair::generate().unwrap();
        let made = wish.signed_by(&key, &self.0).unwrap();
        let chain = pem("CERTIFICATE", made.der()) + &pem("CERTIFICATE", self.0.der());
        let (chain_name, key_name) = (format!("{name}.pem"), format!("{name}.key"));
        let key = pem("PRIVATE KEY", key.serialized_der());
        write_files(folder, &[(&chain_name, chain.as_bytes()), (&key_name, key.as_bytes())]);
    }

    /// A certificate as it is wished.
    pub(crate) fn sign(&self, wish: &CertificateParams, key: &KeyPair) -> rcgen::Certificate {
        wish.signed_by(key, &self.0).unwrap()
    }

    /// The authority's own certificate.
    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// The authority's own certificate in a file, for curl.
    pub(crate) fn file(&self, folder: &Path) -> PathBuf {
        write_files(folder, &[("authority.pem", pem("CERTIFICATE", self.0.der()).as_bytes())]);
        folder.join("authority.pem")
    }
}

/// Bytes as PEM has them.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let text = data_encoding::BASE64.encode(der);
    let lines: Vec<&str> = (0..text.len()).step_by(64).map(|at| &text[at..text.len().min(at + 64)]).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
