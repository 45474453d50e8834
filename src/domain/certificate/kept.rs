//! Certificates that the host keeps, and how it stands with those that it gets by itself.

use rustls::pki_types::{CertificateDer, pem::PemObject as _};

use crate::{
    domain::{Error, Result, acme::Kind, tenant::TenantId},
    id_type,
};

id_type!(
    /// The id of a certificate that is kept.
    CertificateId
);

/// Where a certificate came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Somebody gave it.
    Uploaded,
    /// An authority gave it to this host.
    Acme,
}

impl Source {
    /// The stored word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Uploaded => "uploaded",
            Self::Acme => "acme",
        }
    }

    /// Reads the stored word.
    pub fn parse(word: &str) -> Result<Self> {
        match word {
            "uploaded" => Ok(Self::Uploaded),
            "acme" => Ok(Self::Acme),
            _ => Err(Error::internal(format!("certificates come from nowhere like `{word}`"))),
        }
    }
}

/// A certificate that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its id.
    pub id: CertificateId,
    /// Whose it is.
    pub tenant: TenantId,
    /// The hostnames that it is for, in lower case, also with `*.` in front.
    pub names: Vec<String>,
    /// Where it came from.
    pub source: Source,
    /// The way by which its authority saw that the name is ours, where that is known.
    pub seen_by: Option<Kind>,
    /// Whether it is also for the panel, and for names below the domain of the sites.
    pub for_server: bool,
    /// PEM.
    pub chain: String,
    /// The private key in PEM, sealed.
    pub key_sealed: Vec<u8>,
    /// Who has signed it.
    pub issuer: String,
    /// From when it counts, Unix milliseconds.
    pub from_ms: i64,
    /// Until when.
    pub until_ms: i64,
    /// When it came here.
    pub created_ms: i64,
}

impl Kept {
    /// For what its key is sealed.
    pub fn key_context(id: CertificateId) -> String {
        format!("certificate {id} key")
    }

    /// By what its authority knows it when it is renewed (RFC 9773 §4.1); `None` where it names no key of the authority.
    pub fn renewal_id(&self) -> Option<String> {
        let first = CertificateDer::pem_slice_iter(self.chain.as_bytes()).next()?.ok()?;
        super::renewal_id(&first)
    }
}

/// How it stands with the certificate of a hostname that an authority is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Whose hostname it is.
    pub tenant: TenantId,
    /// The hostname.
    pub name: String,
    /// The one that came last.
    pub certificate: Option<CertificateId>,
    /// The directory of the authority that gave it, or that was asked last.
    pub authority: Option<String>,
    /// When an authority is asked next, Unix milliseconds.
    pub next_ms: i64,
    /// When one was asked last.
    pub asked_ms: Option<i64>,
    /// How often that has failed since.
    pub failures: i64,
    /// Why it failed last: a code, and a sentence for people.
    pub problem: Option<(String, String)>,
}
