//! The HTTP client that authorities are asked with: HTTP/1.1 over TLS, connections kept while one certificate is got.

use std::{
    error::Error as StdError,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, UNIX_EPOCH},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Collected, Full, LengthLimitError, Limited};
use hyper::{
    Method, Request, Response, StatusCode, Uri,
    body::Incoming,
    client::conn::http1::{self, SendRequest},
    header::{DATE, HOST, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
    http::uri::InvalidUri,
};
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error as Failed, HttpClient, Problem as Document};
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
    domain::acme::{Kind, Problem, Refusal},
    ports::{acme::Directory, dns::Dns},
};

/// How long all addresses of an authority may take for a connection, and one of them while others are left; then TLS on it.
const CONNECT_MAX: Duration = Duration::from_secs(15);
const ADDRESS_MAX: Duration = Duration::from_secs(4);
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// How long it may take for an answer, with all of that.
const ANSWER_MAX: Duration = Duration::from_mins(1);
/// Seconds until an order is looked at again, whatever the authority says: the library gives an order up that is to wait longer than it
/// may take, and `ZeroSSL` says a day of orders that are ready a moment later.
const POLL_MAX_S: u64 = 5;
/// Bytes of an answer: a chain has some kilobytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Asks one authority. Cheap to clone.
#[derive(Clone)]
pub(super) struct Client(Arc<Inner>);

struct Inner {
    connector: TlsConnector,
    tasks: Tasks,
    dns: Dns,
    /// What is answered there is judged here, since the library does not look at its status.
    directory: Uri,
    idle: Mutex<Vec<(String, SendRequest<Full<Bytes>>)>>,
    /// Until when not to ask again, when the last answer was an error and said so: the library does not pass that on.
    retry_after_s: Mutex<Option<u64>>,
}

/// A refusal on its way through the library.
#[derive(Debug)]
struct Passed(Refusal);

impl fmt::Display for Passed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl StdError for Passed {}

/// Whether an error that comes out of the library was put into it here: the authority was not reached, or refused without a document.
pub(super) fn is_passed(error: &Failed) -> bool {
    matches!(error, Failed::Other(other) if other.is::<Passed>())
}

impl Client {
    /// Believes whom the system does, and the roots of the directory.
    pub(super) fn new(at: &Directory, tasks: Tasks, dns: Dns) -> Result<Self, Refusal> {
        let directory = at.url.parse().map_err(|error: InvalidUri| Refusal::NoDirectory(error.to_string()))?;
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(pem) = at.roots.as_deref() {
            store.add_parsable_certificates(CertificateDer::pem_slice_iter(pem).filter_map(Result::ok));
        }
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Refusal::Untrusted(error.to_string()))?
            .with_root_certificates(store)
            .with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(config));
        let (idle, retry_after_s) = (Mutex::default(), Mutex::default());
        Ok(Self(Arc::new(Inner { connector, tasks, dns, directory, idle, retry_after_s })))
    }

    pub(super) fn boxed(&self) -> Box<dyn HttpClient> {
        Box::new(self.clone())
    }

    /// A JSON document that anybody may ask for.
    pub(super) async fn get(&self, url: &str) -> Result<serde_json::Value, Refusal> {
        let request = Request::get(url).body(Full::default()).map_err(|error| nonsense(&error))?;
        let answer = self.ask(request).await?;
        if !answer.status().is_success() {
            return Err(Refusal::Nonsense(format!("it answered {} to {url}", answer.status())));
        }
        serde_json::from_slice(answer.body()).map_err(|error| nonsense(&error))
    }

    /// What went wrong in the library; `way`: how the authority looked at the hostname, when that is what failed.
    pub(super) fn refusal(&self, error: Failed, way: Option<Kind>) -> Refusal {
        match error {
            Failed::Api(problem) => {
                let first = problem.subproblems.first();
                let general = problem.r#type.as_deref().unwrap_or_default();
                // A refusal of several is explained by the first.
                let (kind, detail) = match first {
                    Some(it) if general.ends_with("compound") => (it.r#type.as_deref().unwrap_or_default(), &it.detail),
                    _ => (general, &problem.detail),
                };
                Refusal::Problem(Problem {
                    kind: kind.rsplit(':').next().unwrap_or_default().to_owned(),
                    detail: detail.clone().unwrap_or_default(),
                    way,
                    retry_after_s: *self.0.retry_after_s.lock().unwrap_or_else(PoisonError::into_inner),
                })
            }
            Failed::Timeout(_) => Refusal::Slow,
            Failed::Other(passed) => match passed.downcast::<Passed>() {
                Ok(passed) => passed.0,
                Err(other) => Refusal::Nonsense(other.to_string()),
            },
            error => Refusal::Nonsense(error.to_string()),
        }
    }

    async fn ask(&self, mut request: Request<Full<Bytes>>) -> Result<Response<Bytes>, Refusal> {
        let (method, is_directory) = (request.method().clone(), *request.uri() == self.0.directory);
        let (host, port) = target(request.uri())?;
        let authority = if port == 443 { host.clone() } else { format!("{host}:{port}") };
        let value = HeaderValue::from_str(&authority).map_err(|error| nonsense(&error))?;
        request.headers_mut().insert(HOST, value);
        let path = request.uri().path_and_query().map_or("/", |it| it.as_str()).to_owned();
        *request.uri_mut() = path.parse().map_err(|error: InvalidUri| nonsense(&error))?;
        let asked = self.exchange(&authority, &host, port, request);
        let mut answer = timeout(ANSWER_MAX, asked).await.unwrap_or(Err(Refusal::Slow))?;
        let (status, later_s) = (answer.status(), retry_after_s(answer.headers()));
        let is_error = status.is_client_error() || status.is_server_error();
        *self.0.retry_after_s.lock().unwrap_or_else(PoisonError::into_inner) = later_s.filter(|_| is_error);
        if let Some(later_s) = later_s {
            // Of errors, too: the library does not mind how far in the future that is, and the sum may be no time any more.
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(later_s.min(POLL_MAX_S)));
        }
        if is_directory {
            return self.directory(answer);
        }
        // What anybody may ask for is judged by who asks.
        let is_judged = if method == Method::GET { status.is_server_error() } else { is_error };
        if is_judged && (method == Method::HEAD || document(&answer).is_none()) {
            return Err(self.undocumented(&answer));
        }
        Ok(answer)
    }

    /// The directory, when an answer is one.
    fn directory(&self, answer: Response<Bytes>) -> Result<Response<Bytes>, Refusal> {
        let status = answer.status();
        if status.is_success() {
            let said: serde_json::Value = serde_json::from_slice(answer.body()).unwrap_or_default();
            let is_whole = ["newNonce", "newAccount", "newOrder"]
                .iter()
                .all(|it| said.get(it).is_some_and(serde_json::Value::is_string));
            return if is_whole {
                Ok(answer)
            } else {
                Err(Refusal::NoDirectory(format!("it answered {status}, without its addresses")))
            };
        }
        let is_elsewhere = status.is_redirection() || matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE);
        if is_elsewhere {
            return Err(Refusal::NoDirectory(format!("it answered {status}")));
        }
        Err(document(&answer).map_or_else(|| self.undocumented(&answer), |it| self.refusal(Failed::Api(it), None)))
    }

    /// What an error without a problem document means: something in front of the authority speaks for it.
    fn undocumented(&self, answer: &Response<Bytes>) -> Refusal {
        let status = answer.status();
        let kind = match status {
            StatusCode::TOO_MANY_REQUESTS => "rateLimited",
            _ if status.is_server_error() => "serverInternal",
            _ => "malformed",
        };
        let retry_after_s = *self.0.retry_after_s.lock().unwrap_or_else(PoisonError::into_inner);
        Refusal::Problem(Problem {
            kind: kind.to_owned(),
            detail: format!("it answered {status}"),
            way: None,
            retry_after_s,
        })
    }

    /// Sends a request, on a connection that is open or on a new one.
    ///
    /// An idle connection may end while something is sent on it; then it is sent again on a new one, once. That does no harm where the
    /// authority had read it: the nonce of a request is good once (RFC 8555 §6.5), and the library signs it anew.
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
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
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
        let addresses = self.0.dns.addresses(plain).await.map_err(|error| away(&error.message))?;
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
        let secured = timeout(HANDSHAKE_MAX, self.0.connector.connect(name, stream)).await.map_err(|_| silent())?;
        let stream =
            secured.map_err(|error| match error.get_ref().and_then(|it| it.downcast_ref::<rustls::Error>()) {
                Some(rustls::Error::InvalidCertificate(why)) => Refusal::Untrusted(why.to_string()),
                _ => away(&error),
            })?;
        let (requests, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| away(&error))?;
        let stop = self.0.tasks.clone();
        self.0.tasks.spawn(async move {
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

/// The problem document in an answer (RFC 8555 §6.7). One without a type says no more than the status does (RFC 9457 §4.2.1).
fn document(answer: &Response<Bytes>) -> Option<Document> {
    let said: Document = serde_json::from_slice(answer.body()).ok()?;
    let is_typed = said.r#type.as_deref().is_some_and(|it| it != "about:blank");
    is_typed.then_some(said)
}

/// The seconds of `Retry-After` (RFC 9110 §10.2.3); until a time of day by the authority's own clock, where it says what that shows.
fn retry_after_s(headers: &HeaderMap) -> Option<u64> {
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

fn nonsense(error: &dyn fmt::Display) -> Refusal {
    Refusal::Nonsense(error.to_string())
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Failed>> + Send>> {
        let client = self.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
            let answer = client.ask(Request::from_parts(head, Full::new(body))).await;
            answer.map(|it| it.map(Full::new).into()).map_err(|refusal| Failed::Other(Box::new(Passed(refusal))))
        })
    }
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
