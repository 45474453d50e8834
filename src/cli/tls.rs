//! TLS of the commands: whom they believe, and what they say of whom they do not.
//!
//! A server is believed when an authority vouches for its certificate, the system's or one that is named by `--ca`; or when it has the
//! very key whose fingerprint was named by `--trust-fingerprint`, as with SSH. That a key is believed changes nothing for others: a server
//! that gets a certificate of an authority later is believed too. Nobody is believed because it is the first time.
//!
//! SECURITY: a handshake that fails has sent nothing but the name of the host.

use std::{fmt, fs, path::PathBuf, sync::Arc, time::Duration};

use clap::Args;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, InvalidMessage, OtherError, PeerIncompatible, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
    server::ParsedCertificate,
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use x509_cert::der::Decode as _;

use super::dial::Undone;
use crate::{
    base::{
        clock::{Clock, rfc3339},
        hash::Sha256,
        server_certificate::{Known, Shown, Verifier},
    },
    config::client::Environment,
    domain::{Error, Result, certificate::Certificate},
};

/// How long a server may take for a handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Bytes of a file with authorities: the list of all that a system knows has less.
const CA_BYTES_MAX: u64 = 512 * 1024;
/// Names of a certificate that a sentence shows.
const NAMES_MAX: usize = 5;

const CA_HELP: &str =
    "Also believe servers that an authority in this PEM file vouches for; `login` remembers it [default: CHAINHOST_CA]";
const FINGERPRINT_HELP: &str = "Believe the server whose key has this SHA-256 fingerprint, which its log tells at its start; \
     `login` remembers it [default: CHAINHOST_TRUST_FINGERPRINT]";

/// Whom to believe beside those that the system does.
#[derive(Args, Debug, Default)]
pub(super) struct TrustArgument {
    #[arg(long, value_name = "FILE", help = CA_HELP)]
    ca: Option<PathBuf>,
    #[arg(long, value_name = "HEX", value_parser = fingerprint, help = FINGERPRINT_HELP)]
    trust_fingerprint: Option<Sha256>,
}

/// Who is believed beside those that the system believes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Trust {
    /// Authorities, and certificates that are believed themselves.
    pub(super) authorities: Option<Vec<CertificateDer<'static>>>,
    /// SHA-256 of a key, as a certificate has it (`SubjectPublicKeyInfo`).
    pub(super) key: Option<Sha256>,
}

impl TrustArgument {
    /// Whether anything is named by an argument.
    pub(super) const fn is_given(&self) -> bool {
        self.ca.is_some() || self.trust_fingerprint.is_some()
    }

    /// What the arguments say, and else the environment.
    pub(super) fn read(&self, environment: &Environment) -> Result<Trust> {
        let authorities = self.ca.as_ref().or(environment.ca.as_ref()).map(authorities).transpose()?;
        let by_environment = || {
            let parse =
                |it: &String| fingerprint(it).map_err(|why| wrong(&format!("CHAINHOST_TRUST_FINGERPRINT: {why}")));
            environment.trust_fingerprint.as_ref().map(parse).transpose()
        };
        let key = self.trust_fingerprint.map_or_else(by_environment, |it| Ok(Some(it)))?;
        Ok(Trust { authorities, key })
    }
}

impl Trust {
    /// The same, and what `other` believes where this says nothing.
    #[must_use]
    pub(super) fn or(self, other: Self) -> Self {
        Self { authorities: self.authorities.or(other.authorities), key: self.key.or(other.key) }
    }
}

/// Reads a fingerprint as people have it: in either case, with colons or without.
fn fingerprint(text: &str) -> Result<Sha256, String> {
    let digits: String = text.chars().filter(|it| *it != ':').collect();
    let wrong = |_| String::from("a fingerprint has 64 hex digits, as the log of the server tells it at its start");
    digits.to_ascii_lowercase().parse().map_err(wrong)
}

fn authorities(path: &PathBuf) -> Result<Vec<CertificateDer<'static>>> {
    let cannot = |why: &dyn fmt::Display| wrong(&format!("{} (--ca, CHAINHOST_CA): {why}", path.display()));
    let size = fs::metadata(path).map_err(|error| cannot(&error))?.len();
    if size > CA_BYTES_MAX {
        return Err(cannot(&"It has more than 512 KiB, and so is no list of authorities of one's own."));
    }
    let pem = fs::read(path).map_err(|error| cannot(&error))?;
    let damaged = "What stands there as a certificate is damaged.";
    let found: Vec<_> = CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(|_| cannot(&damaged))?;
    if found.is_empty() {
        return Err(cannot(
            &"It has no certificate: PEM is expected, with `-----BEGIN CERTIFICATE-----` in front of each.",
        ));
    }
    let mut store = RootCertStore::empty();
    for one in &found {
        store.add(one.clone()).map_err(|_| cannot(&damaged))?;
    }
    Ok(found)
}

fn wrong(why: &str) -> Error {
    Error::invalid("trust", why)
}

/// Begins TLS with one server.
pub(super) struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
    /// The server, for people: `https://panel.example`.
    server: String,
    /// What to run with `--trust-fingerprint`.
    command: String,
    /// The key that is believed.
    key: Option<Sha256>,
    has_authorities: bool,
}

impl Tls {
    /// `host`: without brackets. `command`: what to run with `--trust-fingerprint` to go on with a server that nobody vouches for.
    pub(super) fn new(host: &str, server: &impl fmt::Display, trust: &Trust, command: String) -> Result<Self> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| wrong(&format!("`{}` is no name that a certificate can have.", host.escape_debug())))?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let named = trust.authorities.clone().unwrap_or_default();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots.add_parsable_certificates(named.iter().cloned());
        let has_authorities = !roots.is_empty();
        let known = Known::new(roots, named, &provider).map_err(Error::internal)?;
        let key = trust.key;
        let verifier = Verifier::new(Arc::clone(&provider), move |shown| check(&known, key, shown));
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(Error::internal)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let connector = TlsConnector::from(Arc::new(config));
        Ok(Self { connector, name, server: server.to_string(), command, key: trust.key, has_authorities })
    }

    /// Does the handshake.
    pub(super) async fn begin(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, Undone> {
        let server = &self.server;
        match timeout(HANDSHAKE, self.connector.connect(self.name.clone(), stream)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => match error.get_ref().and_then(|it| it.downcast_ref()) {
                Some(why) => Err(Undone::Refused(self.explain(why))),
                None => Err(Undone::Broken(format!(
                    "{server} closes the connection where TLS should begin ({error}). Is its HTTPS at that port?"
                ))),
            },
            Err(_) => {
                let seconds = HANDSHAKE.as_secs();
                Err(Undone::Broken(format!(
                    "{server} takes the connection and does not begin TLS for {seconds} s. Is its HTTPS at that port?"
                )))
            }
        }
    }

    /// Why a handshake failed, and what to do.
    fn explain(&self, error: &rustls::Error) -> String {
        let server = &self.server;
        match error {
            rustls::Error::InvalidCertificate(error) => self.explain_certificate(error),
            rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => format!(
                "{server} answers without TLS, so that whoever is in between could read everything. Name the port of its HTTPS; \
                 http:// is for this machine, and for networks on which nobody listens."
            ),
            rustls::Error::AlertReceived(AlertDescription::ProtocolVersion)
            | rustls::Error::PeerIncompatible(
                PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
            ) => format!(
                "{server} speaks neither TLS 1.2 nor 1.3, only what is broken by now. Its operator must update it."
            ),
            rustls::Error::AlertReceived(AlertDescription::HandshakeFailure) | rustls::Error::PeerIncompatible(_) => {
                format!(
                    "{server} and this program have no way to encrypt in common ({error}). Its operator must update it."
                )
            }
            rustls::Error::AlertReceived(AlertDescription::UnrecognisedName) => {
                format!("{server} says that it has no certificate for that name. Is the name right?")
            }
            error => format!("{server} and this program could not agree on TLS: {error}."),
        }
    }

    fn explain_certificate(&self, error: &CertificateError) -> String {
        let server = &self.server;
        let day = |time: &UnixTime| {
            let ms = i64::try_from(time.as_secs()).unwrap_or(i64::MAX).saturating_mul(1_000);
            rfc3339(ms).split('T').next().unwrap_or_default().to_owned()
        };
        let today = rfc3339(Clock::system().now_ms()).split('T').next().unwrap_or_default().to_owned();
        match error {
            CertificateError::ExpiredContext { not_after, .. } => format!(
                "The certificate of {server} ended on {}: its operator must renew it. (The clock of this machine says {today}.)",
                day(not_after)
            ),
            CertificateError::NotValidYetContext { not_before, .. } => format!(
                "The certificate of {server} does not count before {}, and the clock of this machine says {today}. One of both is wrong.",
                day(not_before)
            ),
            // Of the handshake: those of the certificate are doubts.
            CertificateError::BadSignature => format!(
                "{server} shows a certificate whose key it does not have: somebody stands between you and it, or it is broken."
            ),
            CertificateError::Other(OtherError(why)) => match why.downcast_ref() {
                Some(Doubt::Nobody { key, is_own }) => self.explain_nobody(key, *is_own),
                Some(Doubt::Name(names)) => format!(
                    "The certificate of {server} is for {}, and not for this name. Use the name that it is for, or let its \
                     operator get one for this name too.",
                    listed(names)
                ),
                None => format!("The certificate of {server} cannot be believed: {error}."),
            },
            error => format!("The certificate of {server} cannot be believed: {error}."),
        }
    }

    /// Of a certificate that nobody vouches for.
    fn explain_nobody(&self, key: &Sha256, is_own: bool) -> String {
        let Self { server, command, .. } = self;
        let go_on = format!("{command} --trust-fingerprint {key}");
        if let Some(known) = &self.key {
            return format!(
                "{server} shows another key than the one that you trust, and nobody vouches for it: the SHA-256 fingerprint is {key} \
                 instead of {known}. Either the server has a new key, or somebody stands between you and it. If the log \
                 of the server tells the new fingerprint at its start, go on with: {go_on}"
            );
        }
        let why = match (is_own, self.has_authorities) {
            (true, _) => "it is signed by itself",
            (false, true) => "this machine does not know who has signed it",
            (false, false) => "this machine knows no authorities at all (the package ca-certificates has them)",
        };
        format!(
            "Nobody vouches for the certificate of {server}: {why}. The SHA-256 fingerprint of its key is {key}. \
             A Chain Host tells that of its own key in its log, at its start. Only if both are the same, go on with: {go_on}\n\
             Where an authority of your own has signed it, name that by --ca FILE instead."
        )
    }
}

fn listed(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(NAMES_MAX).map(|it| it.escape_debug().to_string()).collect();
    match names.len() {
        0 => String::from("no name at all"),
        all if all > NAMES_MAX => format!("{} and {} more", shown.join(", "), all - NAMES_MAX),
        _ => shown.join(", "),
    }
}

/// Why a certificate is not believed, where the sentence needs to know more than the library tells.
#[derive(Debug)]
enum Doubt {
    /// Nobody vouches for it; `is_own`: but itself.
    Nobody { key: Sha256, is_own: bool },
    /// It is for these names.
    Name(Vec<String>),
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody { .. } => f.write_str("nobody vouches for the certificate"),
            Self::Name(_) => f.write_str("the certificate is for other names"),
        }
    }
}

impl std::error::Error for Doubt {}

/// Why a server is not believed.
fn check(known: &Known, trusted: Option<Sha256>, shown: &Shown<'_>) -> Result<(), rustls::Error> {
    let key = Sha256::of(&ParsedCertificate::try_from(shown.certificate)?.subject_public_key_info());
    // SECURITY: whoever has that key is the server, whatever name and dates the certificate has.
    if trusted == Some(key) {
        return Ok(());
    }
    known.check(shown).map_err(|error| doubted(error, shown.certificate, key))
}

/// The error with what its sentence needs.
fn doubted(error: rustls::Error, certificate: &CertificateDer<'_>, key: Sha256) -> rustls::Error {
    let rustls::Error::InvalidCertificate(why) = &error else { return error };
    let is_own = x509_cert::Certificate::from_der(certificate)
        .is_ok_and(|it| it.tbs_certificate.issuer == it.tbs_certificate.subject);
    let doubt = match why {
        // Not by an authority that is known, though one may have the same name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => Doubt::Nobody { key, is_own },
        // Many that sign themselves are marked as authorities.
        CertificateError::Other(_) if is_own => Doubt::Nobody { key, is_own },
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Doubt::Name(Certificate::read(&[certificate.as_ref()]).map_or_else(|_| Vec::new(), |it| it.names))
        }
        _ => return error,
    };
    CertificateError::Other(OtherError(Arc::new(doubt))).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_read_as_people_have_them() {
        let wanted = Sha256::of(b"x");
        let pairs: Vec<String> =
            wanted.hex().as_bytes().chunks(2).map(|it| String::from_utf8_lossy(it).to_uppercase()).collect();
        for text in [wanted.hex(), wanted.hex().to_uppercase(), pairs.join(":")] {
            assert_eq!(fingerprint(&text), Ok(wanted), "{text}");
        }
        for wrong in ["", "abc", &wanted.hex()[1..], &format!("{wanted}0")] {
            assert!(fingerprint(wrong).unwrap_err().contains("64 hex digits"), "{wrong}");
        }
    }

    #[test]
    fn many_names_are_not_all_shown() {
        let names = |count: usize| (0..count).map(|it| format!("n{it}")).collect::<Vec<_>>();
        assert_eq!(listed(&names(0)), "no name at all");
        assert_eq!(listed(&names(2)), "n0, n1");
        assert_eq!(listed(&names(7)), "n0, n1, n2, n3, n4 and 2 more");
    }
}
