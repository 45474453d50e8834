//! One connection to one server: TLS, signing in, time limits.

use std::{fs, io, time::Duration};

use redis::{
    Client, Connection, ConnectionAddr, ErrorKind, IntoConnectionInfo as _, RedisConnectionInfo, RedisError,
    RedisResult, ServerErrorKind, TlsCertificates, io::tcp::TcpSettings,
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use tokio::time::Instant;

use super::url::{Login, Node, Parts, wrong};
use crate::domain::Result;

/// Data that is not acknowledged for this long means that the network is cut.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(5);

/// What is the same for all servers of one address.
pub(super) struct Dialler {
    login: Login,
    database: i64,
    /// A server's address with the right TLS, without the right server.
    pattern: ConnectionAddr,
}

impl Dialler {
    /// Reads the certificates.
    pub(super) fn new(parts: &Parts, login: Login, database: i64) -> Result<Self> {
        let pattern = if parts.tls {
            let plain = ConnectionAddr::TcpTls { host: String::new(), port: 0, insecure: false, tls_params: None };
            match &parts.roots {
                None => plain,
                Some(path) => with_roots(plain, path)?,
            }
        } else {
            ConnectionAddr::Tcp(String::new(), 0)
        };
        Ok(Self { login, database, pattern })
    }

    /// A connection to a server that is signed in, made within `time` or not at all. Its time limits are what is left of it then.
    ///
    /// The client library would sign in by itself, but waits as long as it may for each of the answers, one after the other.
    pub(super) fn dial(&self, node: &Node, time: Duration) -> RedisResult<Connection> {
        let until = Until::within(time);
        let mut address = self.pattern.clone();
        if let ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } = &mut address {
            (*host, *port) = (node.host.clone(), node.port);
        }
        let tcp = TcpSettings::default().set_nodelay(true).set_user_timeout(UNACKNOWLEDGED_MAX);
        let nobody = RedisConnectionInfo::default().set_skip_set_lib_name();
        let info = address.into_connection_info()?.set_redis_settings(nobody).set_tcp_settings(tcp);
        let mut connection = Client::open(info)?.get_connection_with_timeout(time)?;
        limit(&connection, until.left()?)?;
        if let Some(password) = &self.login.password {
            let mut sign_in = redis::cmd("AUTH");
            if let Some(user) = &self.login.user {
                sign_in.arg(user);
            }
            sign_in.arg(password.expose()).exec(&mut connection).map_err(refused)?;
            limit(&connection, until.left()?)?;
        }
        if self.database != 0 {
            redis::cmd("SELECT").arg(self.database).exec(&mut connection)?;
            limit(&connection, until.left()?)?;
        }
        Ok(connection)
    }
}

/// Sets how long each answer may take.
pub(super) fn limit(connection: &Connection, time: Duration) -> RedisResult<()> {
    connection.set_read_timeout(Some(time))?;
    connection.set_write_timeout(Some(time))
}

/// An answer to a password that is an error of the server's is a refusal, but for one that is not ready.
fn refused(error: RedisError) -> RedisError {
    match (error.kind(), error.code()) {
        (ErrorKind::Extension | ErrorKind::Server(ServerErrorKind::ResponseError), Some(_)) => {
            RedisError::from((ErrorKind::AuthenticationFailed, "the password was refused"))
        }
        _ => error,
    }
}

/// The certificates of a file instead of the system's.
fn with_roots(plain: ConnectionAddr, path: &str) -> Result<ConnectionAddr> {
    let cannot = |why: &dyn std::fmt::Display| wrong(&format!("the certificates in {path} cannot be read: {why}"));
    let pem = fs::read(path).map_err(|error| cannot(&error))?;
    let mut count = 0;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        certificate.map_err(|error| cannot(&error))?;
        count += 1;
    }
    if count == 0 {
        return Err(cannot(&"there are none in it"));
    }
    let info = plain.into_connection_info().map_err(|error| cannot(&error))?;
    let certificates = TlsCertificates { client_tls: None, root_cert: Some(pem) };
    let client = Client::build_with_tls(info, certificates).map_err(|error| cannot(&error))?;
    Ok(client.get_connection_info().addr().clone())
}

/// A moment by which something is done.
pub(super) struct Until {
    end: Instant,
    whole: Duration,
}

impl Until {
    pub(super) fn within(time: Duration) -> Self {
        Self { end: Instant::now() + time, whole: time }
    }

    /// The time that is left; an error when there is none.
    pub(super) fn left(&self) -> RedisResult<Duration> {
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(RedisError::from(io::Error::from(io::ErrorKind::TimedOut))) } else { Ok(left) }
    }

    /// The time that is left, or, when that is less, `most` or a quarter of the whole: who has much time gives each server some of it.
    pub(super) fn left_at_most(&self, most: Duration) -> RedisResult<Duration> {
        self.left().map(|it| it.min(most.max(self.whole / 4)))
    }
}

/// The answer to a question that not every user may ask: not to be permitted counts as well, and that it cannot save to its disk,
/// which a Redis says to a PING.
pub(super) fn permitted<T: Default>(answer: RedisResult<T>) -> RedisResult<T> {
    match answer {
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) => Ok(T::default()),
        Err(error) if error.code() == Some("MISCONF") => Ok(T::default()),
        other => other,
    }
}
