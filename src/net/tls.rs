//! Ends TLS: which certificate a client is shown for the name that it asks for, and how far a handshake may go.
//!
//! The table of certificates is swapped whole, without a restart and without a lock on the way of a handshake. A name that is ours and has
//! no certificate yet gets one that this server has signed itself: the connection is encrypted, and a browser says that nobody vouches for it.
//!
//! TLS 1.2 and 1.3 with the default suites of rustls, the key exchange that withstands quantum computers first. Tickets for resumption are
//! sealed with keys that change every six hours and live for twelve at most; early data is not taken, since it can be replayed.

mod own;

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    sync::{Arc, OnceLock},
};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use self::own::Own;
pub use self::own::OwnKey;
use crate::base::clock::Clock;

/// What a client may choose to speak on a connection (ALPN, RFC 7301): the first is preferred.
const H2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";
/// What an authority says that looks whether a hostname is ours, and nobody else.
const ACME_TLS: &[u8] = b"acme-tls/1";
#[cfg(feature = "h3")]
const H3: &[u8] = b"h3";

/// A certificate with its chain and its key, ready to be shown.
#[derive(Clone, Debug)]
pub struct Certificate(Arc<CertifiedKey>);

impl Certificate {
    /// Of a chain, the certificate itself first, and its key. Errors: what is wrong with them, for people.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, rustls::Error> {
        CertifiedKey::from_der(chain, key, &provider()).map(|it| Self(Arc::new(it)))
    }
}

impl From<Arc<CertifiedKey>> for Certificate {
    fn from(it: Arc<CertifiedKey>) -> Self {
        Self(it)
    }
}

/// The certificates of a server, by the names that they are for. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Certificates(Arc<Inner>);

struct Inner {
    table: ArcSwap<Table>,
    /// By hostname, what an authority is shown that asks for it.
    challenges: ArcSwap<HashMap<String, Certificate>>,
    own: Own,
    /// Whether a name is one that this server answers for.
    is_ours: OnceLock<IsOurs>,
}

type IsOurs = Box<dyn Fn(&str) -> bool + Send + Sync>;

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("table", &self.table).finish_non_exhaustive()
    }
}

/// Certificates by name.
#[derive(Clone, Debug, Default)]
pub struct Table {
    good: Names,
    /// Those that do not count now, for names that no other is for.
    bad: Names,
}

#[derive(Clone, Debug, Default)]
struct Names {
    exact: HashMap<String, Certificate>,
    /// By what follows the `*.`.
    wildcards: HashMap<String, Certificate>,
    addresses: HashMap<IpAddr, Certificate>,
}

impl Table {
    /// Shows `certificate` to who asks for `name`, which is in lower case and may begin with `*.`, or to who connects to that address. What was there before goes.
    /// `counts`: its dates are such that browsers take it.
    pub fn insert(&mut self, name: &str, certificate: Certificate, counts: bool) {
        let names = if counts { &mut self.good } else { &mut self.bad };
        match (name.strip_prefix("*."), name.parse()) {
            (Some(parent), _) => names.wildcards.insert(parent.to_owned(), certificate),
            (None, Ok(address)) => names.addresses.insert(address, certificate),
            (None, Err(_)) => names.exact.insert(name.to_owned(), certificate),
        };
    }

    /// The one for who names no host, as whoever connects to an address does: for the address that `own` is, or for the only one. An address
    /// of the settings need not be one of this machine: a router may stand between.
    fn find_address(&self, own: Option<IpAddr>) -> Option<&Certificate> {
        let all = &self.good.addresses;
        own.and_then(|it| all.get(&it)).or_else(|| all.values().next().filter(|_| all.len() == 1))
    }

    fn find(&self, name: &str) -> Option<&Certificate> {
        self.good.find(name).or_else(|| self.bad.find(name))
    }
}

impl Names {
    /// The one for a name in lower case: of its own, or one for all names beside it.
    fn find(&self, name: &str) -> Option<&Certificate> {
        let beside = || name.split_once('.').and_then(|(_, parent)| self.wildcards.get(parent));
        self.exact.get(name).or_else(beside)
    }
}

impl Certificates {
    /// None yet but those that this server signs itself, with that key; `default_name` is in the one for who names no host.
    pub fn new(key: OwnKey, default_name: &str, clock: Clock) -> Self {
        let own = Own::new(key, default_name, clock);
        let inner = Inner { table: ArcSwap::default(), challenges: ArcSwap::default(), own, is_ours: OnceLock::new() };
        Self(Arc::new(inner))
    }

    /// Tells which names this server answers for. Once; before, it is none.
    pub fn answer_for(&self, is_ours: impl Fn(&str) -> bool + Send + Sync + 'static) {
        drop(self.0.is_ours.set(Box::new(is_ours)));
    }

    /// Shows these from now on, instead of those before.
    pub fn replace(&self, table: Table) {
        self.0.table.store(Arc::new(table));
    }

    /// Shows these to authorities that look whether a hostname is ours (RFC 8737), and no others.
    pub fn replace_challenges(&self, all: HashMap<String, Certificate>) {
        self.0.challenges.store(Arc::new(all));
    }

    /// Whether there is a certificate for a name in lower case that somebody else vouches for, and that counts now.
    pub fn has(&self, name: &str) -> bool {
        let table = self.0.table.load();
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        table.good.find(name).is_some() || bare.parse().is_ok_and(|it| table.good.addresses.contains_key(&it))
    }

    /// What to show to who asks for `name`, or for none and has connected to the address `here`.
    fn choose(&self, name: Option<&str>, here: Option<IpAddr>) -> Option<Arc<CertifiedKey>> {
        let table = self.0.table.load();
        let own = &self.0.own;
        let Some(name) = name else {
            if let Some(found) = table.find_address(here) {
                return Some(Arc::clone(&found.0));
            }
            return match table.find(own.default_name()) {
                Some(found) => Some(Arc::clone(&found.0)),
                None => own.default(),
            };
        };
        let name = name.to_ascii_lowercase();
        if let Some(found) = table.find(&name) {
            return Some(Arc::clone(&found.0));
        }
        // Of the names that are not ours there is no end; a page says that nobody is here.
        if self.0.is_ours.get().is_some_and(|it| it(&name)) { own.of(&name) } else { own.default() }
    }
}

impl Certificates {
    /// What shows them to who has connected to the address `here`: only where there are several addresses does it matter to which.
    fn at(&self, here: IpAddr) -> Option<Arc<Here>> {
        let is_several = self.0.table.load().good.addresses.len() > 1;
        is_several.then(|| Arc::new(Here(self.clone(), here.to_canonical())))
    }

    /// What to show to who has connected to the address `here`.
    fn answer(&self, hello: &ClientHello<'_>, here: Option<IpAddr>) -> Option<Arc<CertifiedKey>> {
        if hello.alpn().is_some_and(|it| it.eq([ACME_TLS])) {
            let name = hello.server_name()?.to_ascii_lowercase();
            return self.0.challenges.load().get(&name).map(|it| Arc::clone(&it.0));
        }
        self.choose(hello.server_name(), here)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.answer(&hello, None)
    }
}

/// The certificates as they are shown at one address.
#[derive(Debug)]
struct Here(Certificates, IpAddr);

impl ResolvesServerCert for Here {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.answer(&hello, Some(self.1))
    }
}

/// How connections of a client are to be served, as it was agreed in the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Agreed {
    /// HTTP/1.1: also where nothing was said.
    One,
    Two,
}

/// Takes clients in.
#[derive(Clone)]
pub(super) struct Tls {
    config: Arc<ServerConfig>,
    certificates: Certificates,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Shows these certificates.
    pub(super) fn new(certificates: &Certificates) -> Result<Self, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(certificates.clone()));
        config.alpn_protocols = vec![H2.to_vec(), HTTP_1_1.to_vec(), ACME_TLS.to_vec()];
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        Ok(Self { config: Arc::new(config), certificates: certificates.clone() })
    }

    /// Does the handshake.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<(TlsStream<TcpStream>, Agreed)> {
        let mut config = Arc::clone(&self.config);
        if let Some(resolver) = self.certificates.at(stream.local_addr()?.ip()) {
            Arc::make_mut(&mut config).cert_resolver = resolver;
        }
        let mut stream = TlsAcceptor::from(config).accept(stream).await?;
        if stream.get_ref().1.alpn_protocol() == Some(ACME_TLS) {
            // It has seen the certificate, and nothing more is said.
            drop(stream.shutdown().await);
            return Err(io::Error::other("an authority has looked"));
        }
        let agreed = if stream.get_ref().1.alpn_protocol() == Some(H2) { Agreed::Two } else { Agreed::One };
        Ok((stream, agreed))
    }
}

/// The same certificates for QUIC, which has TLS 1.3 in it (RFC 9001). Nothing is taken before a handshake has ended, since it can be replayed.
#[cfg(feature = "h3")]
#[derive(Clone)]
pub(super) struct ForQuic {
    config: ServerConfig,
    certificates: Certificates,
}

#[cfg(feature = "h3")]
impl std::fmt::Debug for ForQuic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ForQuic")
    }
}

#[cfg(feature = "h3")]
impl ForQuic {
    pub(super) fn new(certificates: &Certificates) -> Result<Self, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(certificates.clone()));
        config.alpn_protocols = vec![H3.to_vec()];
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        config.max_early_data_size = 0;
        Ok(Self { config, certificates: certificates.clone() })
    }

    /// For who comes to any address.
    pub(super) fn anywhere(&self) -> ServerConfig {
        self.config.clone()
    }

    /// For who has come to this one, where it matters.
    pub(super) fn at(&self, here: IpAddr) -> Option<ServerConfig> {
        let resolver = self.certificates.at(here)?;
        let mut config = self.config.clone();
        config.cert_resolver = resolver;
        Some(config)
    }
}

fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate() -> Certificate {
        let key = rcgen::KeyPair::generate().unwrap();
        let made = rcgen::CertificateParams::new(vec![String::from("x.example")]).unwrap().self_signed(&key).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        Certificate::new(vec![made.der().clone()], key).unwrap()
    }

    #[test]
    fn the_nearest_certificate_is_shown() {
        let [one, two, wild, panel, old] = [(); 5].map(|()| certificate());
        let mut table = Table::default();
        for (name, of) in
            [("a.example", &one), ("b.a.example", &two), ("*.a.example", &wild), ("panel.example", &panel)]
        {
            table.insert(name, of.clone(), true);
        }
        // One that has ended stands behind any that has not.
        for name in ["old.a.example", "gone.example"] {
            table.insert(name, old.clone(), false);
        }
        let all = Certificates::new(OwnKey::generate().unwrap(), "panel.example", Clock::system());
        all.answer_for(|it| it.ends_with(".ours.example"));
        let own_default = all.choose(None, None).unwrap();
        all.replace(table.clone());
        let shown = |name: Option<&str>| all.choose(name, None).unwrap();
        for (name, wanted) in [
            (Some("a.example"), &one),
            (Some("A.Example"), &one),
            (Some("b.a.example"), &two),
            (Some("c.a.example"), &wild),
            (Some("old.a.example"), &wild),
            (Some("gone.example"), &old),
            (None, &panel),
        ] {
            assert!(Arc::ptr_eq(&shown(name), &wanted.0), "{name:?}");
        }
        // A star stands for one label.
        for name in ["d.c.a.example", "other.example", "example"] {
            assert!(Arc::ptr_eq(&shown(Some(name)), &own_default), "{name}");
        }
        let ours = shown(Some("x.ours.example"));
        assert!(Arc::ptr_eq(&ours, &shown(Some("X.ours.example"))) && !Arc::ptr_eq(&ours, &own_default));
        assert!(all.has("c.a.example") && !all.has("x.ours.example") && !all.has("gone.example"));
        // Whoever connects to an address names no host.
        let [v4, v6] = ["203.0.113.7", "2001:db8::1"];
        let at = |here: Option<&str>| all.choose(None, here.map(|it| it.parse().unwrap())).unwrap();
        table.insert(v4, one.clone(), true);
        all.replace(table.clone());
        for here in [Some(v4), Some("10.0.0.1"), None] {
            assert!(Arc::ptr_eq(&at(here), &one.0), "{here:?}: the only one");
        }
        table.insert(v6, two.clone(), true);
        all.replace(table);
        for (here, wanted) in [(Some(v4), &one), (Some(v6), &two), (Some("10.0.0.1"), &panel), (None, &panel)] {
            assert!(Arc::ptr_eq(&at(here), &wanted.0), "{here:?}");
        }
        assert!(all.has(v4) && all.has("[2001:db8::1]") && !all.has("[2001:db8::2]"));
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let (one, other) = (rcgen::KeyPair::generate().unwrap(), rcgen::KeyPair::generate().unwrap());
        let made = rcgen::CertificateParams::new(vec![String::from("x.example")]).unwrap().self_signed(&one).unwrap();
        let key = PrivateKeyDer::try_from(other.serialize_der()).unwrap();
        assert!(Certificate::new(vec![made.der().clone()], key).is_err());
    }
}
