//! A certificate with its chain and its private key, as people have them: in PEM.

use std::sync::Arc;

use rustls::{
    crypto::aws_lc_rs,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject as _},
    },
    sign::CertifiedKey,
};
use zeroize::Zeroizing;

use super::Certificate;
use crate::{
    base::hash::Sha256,
    domain::{Error, Result},
};

/// Bytes of a text with a chain or a key: far more than any has.
pub const PEM_BYTES_MAX: usize = 1 << 20;

/// A chain and the key of its first certificate, seen to belong together.
#[derive(Clone, Debug)]
pub struct Pair {
    /// What the certificate says.
    pub facts: Certificate,
    /// What servers show.
    pub shown: Arc<CertifiedKey>,
}

impl Pair {
    /// Reads a chain, the certificate itself first, and its key. An error names the field `chain` or `key`.
    pub fn read(chain: &[u8], key: &[u8]) -> Result<Self> {
        let parsed: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, pem::Error>>()
            .map_err(|it| broken(&it).on("chain"))?;
        if parsed.is_empty() {
            return Err(no_certificate(chain).on("chain"));
        }
        let parsed_key = PrivateKeyDer::from_pem_slice(key).map_err(|it| no_key(key, &it).on("key"))?;
        Self::of(parsed, parsed_key)
    }

    /// As [`Pair::read`], of DER.
    pub fn of(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self> {
        let ders: Vec<&[u8]> = chain.iter().map(AsRef::as_ref).collect();
        let facts = Certificate::read(&ders).map_err(|it| it.on("chain"))?;
        let shown =
            CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => {
                    let text = "This key is not that of the first certificate of the chain.";
                    Error::invalid("certificate_key", text).on("key")
                }
                error => {
                    let text =
                        "This key cannot be used. RSA of 2,048 to 8,192 bits, P-256, P-384, P-521 and Ed25519 can.";
                    Error::invalid("certificate_key", text).on("key").because(error)
                }
            })?;
        Ok(Self { facts, shown: Arc::new(shown) })
    }

    /// The chain in PEM, with nothing else that stood between.
    pub fn chain_pem(&self) -> String {
        self.shown.cert.iter().map(|it| armour("CERTIFICATE", it)).collect()
    }
}

/// The key of a text in PEM as it is kept: PKCS #8, SEC 1 or PKCS #1 as it was, in PEM, with nothing else beside it.
pub fn key_pem(key: &[u8]) -> Result<Zeroizing<String>> {
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|it| no_key(key, &it).on("key"))?;
    let label = match &key {
        PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
        PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
        _ => "PRIVATE KEY",
    };
    Ok(Zeroizing::new(armour(label, key.secret_der())))
}

/// The certificate that an authority asks for by TLS-ALPN-01 (RFC 8737): for `name`, with the hash of `answer`. Signed by itself.
pub fn tls_alpn(name: &str, answer: &str) -> Result<Arc<CertifiedKey>> {
    let mut wish = rcgen::CertificateParams::new(vec![name.to_owned()]).map_err(Error::internal)?;
    let hash = Sha256::of(answer.as_bytes());
    wish.custom_extensions = vec![rcgen::CustomExtension::new_acme_identifier(&hash.0)];
    let key = rcgen::KeyPair::generate().map_err(Error::internal)?;
    let made = wish.self_signed(&key).map_err(Error::internal)?;
    let der = PrivateKeyDer::try_from(key.serialize_der()).map_err(Error::internal)?;
    let key = aws_lc_rs::default_provider().key_provider.load_private_key(der).map_err(Error::internal)?;
    // Not checked as others are: the extension is critical, and known to authorities alone.
    Ok(Arc::new(CertifiedKey::new(vec![made.der().clone()], key)))
}

fn armour(label: &str, der: &[u8]) -> String {
    let text = Zeroizing::new(data_encoding::BASE64.encode(der));
    let mut all = format!("-----BEGIN {label}-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        all.push_str(line);
        all.push('\n');
        rest = after;
    }
    all + "-----END " + label + "-----\n"
}

fn has(text: &[u8], what: &str) -> bool {
    memchr::memmem::find(text, what.as_bytes()).is_some()
}

fn no_certificate(text: &[u8]) -> Error {
    let why = if has(text, "PRIVATE KEY-----") {
        "It has a private key and no certificate: are chain and key mixed up?"
    } else {
        "It has no certificate: PEM is expected, with `-----BEGIN CERTIFICATE-----` in front of each."
    };
    Error::invalid("certificate_none", why)
}

fn no_key(text: &[u8], error: &pem::Error) -> Error {
    let why = if has(text, "ENCRYPTED") {
        "The key has a password. Take that away: `openssl pkey -in KEY -out NEW-KEY`."
    } else if has(text, "PRIVATE KEY-----") {
        "The private key in it is damaged."
    } else if has(text, "BEGIN CERTIFICATE") {
        "It has a certificate and no private key: are chain and key mixed up?"
    } else {
        "It has no private key: PEM is expected, with `-----BEGIN PRIVATE KEY-----` in front."
    };
    Error::invalid("certificate_key", why).because(error)
}

fn broken(error: &pem::Error) -> Error {
    Error::invalid("certificate_unreadable", "What stands there as a certificate is damaged.").because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(names: &[&str]) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|it| (*it).to_owned()).collect();
        let made = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        (armour("CERTIFICATE", made.der()), armour("PRIVATE KEY", key.serialized_der()))
    }

    #[test]
    fn a_pair_is_read_and_written_without_what_stands_beside_it() {
        let (chain, key) = made(&["a.example"]);
        let pair = Pair::read(format!("Subject: a\n{chain}\n# end").as_bytes(), key.as_bytes()).unwrap();
        assert_eq!(pair.facts.names, ["a.example"]);
        assert_eq!(pair.chain_pem(), chain);
        assert_eq!(*key_pem(format!("Key:\n{key}").as_bytes()).unwrap(), key);
    }

    #[test]
    fn each_wrong_pair_has_its_sentence() {
        let ((chain, key), (other, other_key)) = (made(&["a.example"]), made(&["b.example"]));
        let locked = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        for (chain, key, field, word) in [
            ("", key.as_str(), "chain", "no certificate: PEM"),
            (&key, &key, "chain", "mixed up"),
            (&chain, &chain, "key", "mixed up"),
            (&chain, "", "key", "no private key"),
            (&chain, &locked, "key", "password"),
            (&chain, &key.replace("MI", "??"), "key", "damaged"),
            (&chain.replace("MI", "??"), &key, "chain", "damaged"),
            (&chain, &other_key, "key", "not that of the first"),
            (&format!("{other}{chain}"), &key, "key", "not that of the first"),
            (&made(&[]).0, &key, "chain", "no hostname"),
        ] {
            let error = Pair::read(chain.as_bytes(), key.as_bytes()).unwrap_err();
            assert!(error.field == Some(field) && error.message.contains(word), "{word}: {error}");
        }
    }
}
