//! Whom this program believes when it is the client of a TLS server: what rustls asks, answered by one function.
//!
//! SECURITY: that a server has the key of the certificate which it shows, its signature in the handshake says. That is checked here
//! whatever the function believes.

use std::{fmt, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        VerifierBuilderError, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};

/// What a server shows, and what is known of it.
#[derive(Debug)]
pub struct Shown<'a> {
    /// Its certificate.
    pub certificate: &'a CertificateDer<'a>,
    /// What it shows behind that.
    pub chain: &'a [CertificateDer<'a>],
    /// The name by which it is reached.
    pub name: &'a ServerName<'a>,
    /// What an authority says of the certificate's state, as the server tells it.
    pub ocsp: &'a [u8],
    /// The time of day.
    pub now: UnixTime,
}

/// Believes whom a function believes.
pub struct Verifier<F> {
    provider: Arc<CryptoProvider>,
    check: F,
}

impl<F: Fn(&Shown<'_>) -> Result<(), Error> + Send + Sync> Verifier<F> {
    /// `check`: why a server is not believed.
    pub const fn new(provider: Arc<CryptoProvider>, check: F) -> Self {
        Self { provider, check }
    }
}

impl<F> fmt::Debug for Verifier<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier")
    }
}

impl<F: Fn(&Shown<'_>) -> Result<(), Error> + Send + Sync> ServerCertVerifier for Verifier<F> {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        (self.check)(&Shown { certificate, chain, name, ocsp, now })?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Certificates that are believed: those to which a chain may lead, and those that are believed themselves, as is usual for a server that
/// signs its own. In both cases for the names in them.
#[derive(Debug)]
pub struct Known {
    /// `None` where there are no authorities.
    webpki: Option<Arc<WebPkiServerVerifier>>,
    named: Vec<CertificateDer<'static>>,
}

impl Known {
    /// Those authorities, and those certificates themselves.
    pub fn new(
        roots: RootCertStore,
        named: Vec<CertificateDer<'static>>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, VerifierBuilderError> {
        let webpki = if roots.is_empty() {
            None
        } else {
            Some(WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build()?)
        };
        Ok(Self { webpki, named })
    }

    /// Why a server is not believed.
    pub fn check(&self, shown: &Shown<'_>) -> Result<(), Error> {
        let &Shown { certificate, chain, name, ocsp, now } = shown;
        if self.named.contains(certificate) {
            return verify_server_name(&ParsedCertificate::try_from(certificate)?, name);
        }
        match &self.webpki {
            Some(webpki) => webpki.verify_server_cert(certificate, chain, name, ocsp, now).map(drop),
            None => Err(CertificateError::UnknownIssuer.into()),
        }
    }
}
