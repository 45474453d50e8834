//! HTTPS to authorities and to the providers of DNS: HTTP/1.1 over TLS, connections kept as long as the client is.
//!
//! Guarantees: every answer has a limit of size and time, and one address whose packets are dropped keeps no other from being tried.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, UNIX_EPOCH},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{
    Request, Response, Uri,
    body::Incoming,
    client::conn::http1::{self, SendRequest},
    header::{DATE, HOST, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
    http::uri::InvalidUri,
};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_rustls::TlsConnector;

use crate::{
    base::{clock::Clock, tasks::Tasks},
    domain::acme::Refusal,
    ports::dns::Dns,
};

/// How long all addresses of a host may take for a connection, and one of them while others are left; then TLS on it.
const CONNECT_MAX: Duration = Duration::from_secs(15);
const ADDRESS_MAX: Duration = Duration::from_secs(4);
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// How long it may take for an answer, with all of that.
const ANSWER_MAX: Duration = Duration::from_mins(1);
/// Bytes of an answer: a chain has some kilobytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Asks hosts by HTTPS.
pub(super) struct Https {
    connector: TlsConnector,
    tasks: Tasks,
    dns: Dns,
    idle: Mutex<Vec<(String, SendRequest<Full<Bytes>>)>>,
}

impl Https {
    /// Believes whom the system does, and these roots in PEM.
    pub(super) fn new(roots: Option<&[u8]>, tasks: Tasks, dns: Dns) -> Result<Self, Refusal> {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(pem) = roots {
            store.add_parsable_certificates(CertificateDer::pem_slice_iter(pem).filter_map(Result::ok));
        }
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Refusal::Untrusted(error.to_string()))?
            .with_root_certificates(store)
            .with_no_client_auth();
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), tasks, dns, idle: Mutex::default() })
    }

    /// Sends a request to the host of its address, and waits for the whole answer.
    pub(super) async fn send(&self, mut request: Request<Full<Bytes>>) -> Result<Response<Bytes>, Refusal> {
        let (host, port) = target(request.uri())?;
        let authority = if port == 443 { host.clone() } else { format!("{host}:{port}") };
        let value = HeaderValue::from_str(&authority).map_err(|error| nonsense(&error))?;
        request.headers_mut().insert(HOST, value);
        let path = request.uri().path_and_query().map_or("/", |it| it.as_str()).to_owned();
        *request.uri_mut() = path.parse().map_err(|error: InvalidUri| nonsense(&error))?;
        let asked = self.exchange(&authority, &host, port, request);
        timeout(ANSWER_MAX, asked).await.unwrap_or(Err(Refusal::Slow))
    }

    /// Sends a request, on a connection that is open or on a new one.
    ///
    /// An idle connection may end while something is sent on it; then it is sent again on a new one, once. That does no harm where it had
    /// been read: the nonce of a request to an authority is good once (RFC 8555 §6.5), and the library signs it anew; a record that is set
    /// twice is there once.
    async fn exchange(
        &self,
        authority: &str,
        host: &str,
        port: u16,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, Refusal> {
        if let Some(mut kept) = self.kept(authority).await {
            match kept.try_send_request(request.clone()).await {
                Ok(answer) => return self.whole(authority, kept, answer).await,
                Err(error) => tracing::debug!(authority, error = %error.error(), "an idle connection had ended"),
            }
        }
        let mut made = self.connect(host, port).await?;
        let answer = made.send_request(request).await.map_err(|error| away(&error))?;
        self.whole(authority, made, answer).await
    }

    /// An answer with its body; its connection can take the next request.
    async fn whole(
        &self,
        authority: &str,
        connection: SendRequest<Full<Bytes>>,
        answer: Response<Incoming>,
    ) -> Result<Response<Bytes>, Refusal> {
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body =
            body.map_err(|error| if error.is::<LengthLimitError>() { nonsense(&error) } else { away(&error) })?;
        self.idle().push((authority.to_owned(), connection));
        Ok(Response::from_parts(head, body.to_bytes()))
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<(String, SendRequest<Full<Bytes>>)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that is open and can take a request.
    async fn kept(&self, authority: &str) -> Option<SendRequest<Full<Bytes>>> {
        loop {
            let mut kept = {
                let mut idle = self.idle();
                let at = idle.iter().position(|(of, _)| of == authority)?;
                idle.swap_remove(at).1
            };
            if !kept.is_closed() && kept.ready().await.is_ok() {
                return Some(kept);
            }
        }
    }

    /// A new connection, to the first address that answers.
    async fn connect(&self, host: &str, port: u16) -> Result<SendRequest<Full<Bytes>>, Refusal> {
        let plain = host.trim_start_matches('[').trim_end_matches(']');
        let mut last = Refusal::Away(format!("{plain} has no address"));
        let addresses = self.dns.addresses(plain).await.map_err(|error| away(&error.message))?;
        let (until, count) = (Instant::now() + CONNECT_MAX, addresses.len());
        for (at, address) in addresses.into_iter().enumerate() {
            let limit = share(until.saturating_duration_since(Instant::now()), count.saturating_sub(at));
            let begun = match timeout(limit, TcpStream::connect((address, port))).await {
                Ok(Ok(stream)) => self.begin(plain.to_owned(), stream).await,
                Ok(Err(error)) => Err(away(&error)),
                Err(_) => Err(Refusal::Away(format!("{address} does not answer on port {port}"))),
            };
            match begun {
                Err(refusal @ Refusal::Away(_)) => last = refusal,
                done => return done,
            }
        }
        Err(last)
    }

    async fn begin(&self, host: String, stream: TcpStream) -> Result<SendRequest<Full<Bytes>>, Refusal> {
        stream.set_nodelay(true).map_err(|error| away(&error))?;
        let silent = || Refusal::Away(format!("{host} does not answer by TLS"));
        let name = ServerName::try_from(host.clone()).map_err(|error| nonsense(&error))?;
        let secured = timeout(HANDSHAKE_MAX, self.connector.connect(name, stream)).await.map_err(|_| silent())?;
        let stream =
            secured.map_err(|error| match error.get_ref().and_then(|it| it.downcast_ref::<rustls::Error>()) {
                Some(rustls::Error::InvalidCertificate(why)) => Refusal::Untrusted(why.to_string()),
                _ => away(&error),
            })?;
        let (requests, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| away(&error))?;
        let stop = self.tasks.clone();
        self.tasks.spawn(async move {
            // Whoever waits for an answer on it gets the error.
            tokio::select! {
                ended = connection => drop(ended),
                () = stop.stopping() => {}
            }
        });
        Ok(requests)
    }
}

/// The host, as it is written, and the port of an address.
fn target(uri: &Uri) -> Result<(String, u16), Refusal> {
    let refuse = |why: &str| Refusal::Nonsense(format!("its address {uri} {why}"));
    if uri.scheme_str() != Some("https") {
        return Err(refuse("does not begin with https://"));
    }
    let host = uri.host().ok_or_else(|| refuse("has no host"))?;
    Ok((host.to_owned(), uri.port_u16().unwrap_or(443)))
}

/// How much of what is left of the time one address may take, with so many to try: a first one whose packets are dropped must not keep
/// the others from being tried.
fn share(left: Duration, addresses: usize) -> Duration {
    match u32::try_from(addresses) {
        Ok(0 | 1) | Err(_) => left,
        Ok(several) => ADDRESS_MAX.min(left / several),
    }
}

/// The seconds of `Retry-After` (RFC 9110 §10.2.3); until a time of day by the authority's own clock, where it says what that shows.
pub(super) fn retry_after_s(headers: &HeaderMap) -> Option<u64> {
    let text = |name: HeaderName| headers.get(name).and_then(|it| it.to_str().ok()).map(str::trim);
    let said = text(RETRY_AFTER)?;
    if let Ok(seconds) = said.parse() {
        return Some(seconds);
    }
    let until = httpdate::parse_http_date(said).ok()?;
    let here = || UNIX_EPOCH + Duration::from_millis(u64::try_from(Clock::system().now_ms()).unwrap_or_default());
    let now = text(DATE).and_then(|it| httpdate::parse_http_date(it).ok()).unwrap_or_else(here);
    Some(until.duration_since(now).unwrap_or_default().as_secs())
}

fn away(error: &dyn fmt::Display) -> Refusal {
    Refusal::Away(error.to_string())
}

pub(super) fn nonsense(error: &dyn fmt::Display) -> Refusal {
    Refusal::Nonsense(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_leaves_time_for_the_others() {
        let seconds = Duration::from_secs;
        for (left, addresses, wanted) in [(15, 1, 15), (15, 2, 4), (11, 1, 11), (15, 5, 3), (2, 2, 1), (0, 3, 0)] {
            assert_eq!(share(seconds(left), addresses), seconds(wanted), "{left} {addresses}");
        }
    }

    #[test]
    fn a_time_to_come_back_is_read_in_both_forms() {
        let date = |hour: u8| format!("Mon, 30 Nov 2026 {hour:02}:00:00 GMT");
        let far = Clock::system().now_ms().unsigned_abs() / 1_000 + 7_200;
        let far = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(far));
        for (said, now, wanted) in [
            (String::from("120"), None, Some(120..=120)),
            (date(13), Some(date(12)), Some(3_600..=3_600)),
            (date(11), Some(date(12)), Some(0..=0)),
            (far, None, Some(7_000..=7_200)),
            (String::from("soon"), None, None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, said.parse().unwrap());
            if let Some(now) = now {
                headers.insert(DATE, now.parse().unwrap());
            }
            let found = retry_after_s(&headers);
            match wanted {
                Some(wanted) => assert!(found.is_some_and(|it| wanted.contains(&it)), "{said}: {found:?}"),
                None => assert_eq!(found, None, "{said}"),
            }
        }
    }
}
