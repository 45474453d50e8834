//! Connections to upstreams: TCP, TLS on it, and sockets in the file system.
//!
//! SECURITY: a name that is not the operator's leads to addresses that were checked, and to nothing else ([`Resolve`]).

use std::{fmt, net::IpAddr, pin::Pin, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    sync::OnceCell,
    time::{Instant, timeout_at},
};
use tokio_rustls::TlsConnector;

use crate::{
    base::{
        server_certificate::{Known, Verifier},
        tasks::Tasks,
    },
    domain::site_settings::proxy::{Place, Protocol, Tls, Upstream},
};

/// How long one address is tried while others are left.
const ADDRESS_MAX: Duration = Duration::from_secs(2);

/// Addresses to come, or why there are none.
pub type Resolved<'a> = Pin<Box<dyn Future<Output = Result<Vec<IpAddr>, String>> + Send + 'a>>;

/// Knows the addresses of hosts.
pub trait Resolve: fmt::Debug + Send + Sync {
    /// The addresses of a host that may be connected to. `inside`: the operator has named it, so that it may lead anywhere.
    fn resolve<'a>(&'a self, host: &'a str, inside: bool) -> Resolved<'a>;
}

/// Knows no name: only hosts that are addresses, and that the operator has named, lead anywhere.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

impl Resolve for Nobody {
    fn resolve<'a>(&'a self, host: &'a str, inside: bool) -> Resolved<'a> {
        let found = host.parse().ok().filter(|_| inside).map(|it| vec![it]);
        Box::pin(async move { found.ok_or_else(|| format!("there is no address of {host}")) })
    }
}

/// What an upstream is spoken to over.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection.
pub(super) type Stream = Box<dyn Io>;

/// The authorities that the system believes, read once.
#[derive(Debug, Default)]
pub(super) struct Authorities(OnceCell<RootCertStore>);

impl Authorities {
    async fn get(&self, tasks: &Tasks) -> RootCertStore {
        let load = || async {
            let mut roots = RootCertStore::empty();
            let found = tasks.blocking(|| rustls_native_certs::load_native_certs().certs).await;
            roots.add_parsable_certificates(found.unwrap_or_default());
            roots
        };
        self.0.get_or_init(load).await.clone()
    }
}

/// The way to one upstream.
pub(super) struct Way {
    upstream: Upstream,
    inside: bool,
    tls: Tls,
    connector: OnceCell<TlsConnector>,
    authorities: Arc<Authorities>,
    resolver: Arc<dyn Resolve>,
    tasks: Tasks,
}

impl Way {
    pub(super) fn new(
        upstream: Upstream,
        inside: bool,
        tls: Tls,
        authorities: Arc<Authorities>,
        resolver: Arc<dyn Resolve>,
        tasks: Tasks,
    ) -> Self {
        Self { upstream, inside, tls, connector: OnceCell::new(), authorities, resolver, tasks }
    }

    pub(super) const fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// Whether this is the way that such a route takes.
    pub(super) fn is(&self, upstream: &Upstream, inside: bool, tls: &Tls) -> bool {
        (&self.upstream, self.inside, &self.tls) == (upstream, inside, tls)
    }

    /// Connects, with TLS where that is spoken, within a time.
    pub(super) async fn connect(&self, within: Duration) -> Result<Stream, String> {
        let end = Instant::now() + within;
        let late = |_| format!("{} took no connection within {} s", self.upstream, within.as_secs());
        timeout_at(end, self.reach(end)).await.map_err(late)?
    }

    async fn reach(&self, end: Instant) -> Result<Stream, String> {
        let (host, port) = match &self.upstream.place {
            Place::Unix(path) => {
                let stream = UnixStream::connect(path).await;
                return stream.map(|it| -> Stream { Box::new(it) }).map_err(|error| self.failed(&error));
            }
            Place::Tcp(host, port) => (host, *port),
        };
        let addresses = self.resolver.resolve(host, self.inside).await?;
        let stream = self.tcp(&addresses, port, end).await?;
        // Small answers and frames go out at once; without it only the speed differs.
        drop(stream.set_nodelay(true));
        if self.upstream.protocol != Protocol::Https {
            return Ok(Box::new(stream));
        }
        let name = self.tls.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_owned()).map_err(|error| self.failed(&error))?;
        let connector = self.connector.get_or_try_init(|| self.tls()).await?;
        let stream = connector.connect(name, stream).await;
        stream.map(|it| -> Stream { Box::new(it) }).map_err(|error| format!("TLS with {}: {error}", self.upstream))
    }

    async fn tcp(&self, addresses: &[IpAddr], port: u16, end: Instant) -> Result<TcpStream, String> {
        let mut why = format!("{} has no address", self.upstream);
        for (at, address) in addresses.iter().enumerate() {
            let is_last = at + 1 == addresses.len();
            let until = if is_last { end } else { end.min(Instant::now() + ADDRESS_MAX) };
            match timeout_at(until, TcpStream::connect((*address, port))).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => why = format!("{} at {address}: {error}", self.upstream),
                Err(_) => why = format!("{} at {address} took no connection in time", self.upstream),
            }
        }
        Err(why)
    }

    async fn tls(&self) -> Result<TlsConnector, String> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut roots = self.authorities.get(&self.tasks).await;
        let ca = self.tls.ca.as_deref().unwrap_or_default();
        let named: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(ca.as_bytes()).filter_map(Result::ok).collect();
        roots.add_parsable_certificates(named.iter().cloned());
        let known = Known::new(roots, named, &provider).map_err(|error| self.failed(&error))?;
        let verifier = Verifier::new(Arc::clone(&provider), move |shown| known.check(shown));
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| self.failed(&error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsConnector::from(Arc::new(config)))
    }

    fn failed(&self, error: &dyn fmt::Display) -> String {
        format!("{}: {error}", self.upstream)
    }
}
