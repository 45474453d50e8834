//! The HTTP client that authorities are asked with: HTTP/1.1 over TLS, connections kept while one certificate is got.

use std::{
    error::Error as StdError,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Collected, Full, Limited};
use hyper::{
    Request, Response, Uri,
    client::conn::http1::{self, SendRequest},
    header::{CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER},
    http::uri::InvalidUri,
};
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error as Failed, HttpClient};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use crate::{
    base::tasks::Tasks,
    domain::acme::{Kind, Problem, Refusal},
    ports::dns::Dns,
};

/// How long an authority may take for a connection, and for an answer.
const CONNECT_MAX: Duration = Duration::from_secs(15);
const ANSWER_MAX: Duration = Duration::from_mins(1);
/// Bytes of an answer: a chain has some kilobytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Asks one authority. Cheap to clone.
#[derive(Clone)]
pub(super) struct Client(Arc<Inner>);

struct Inner {
    connector: TlsConnector,
    tasks: Tasks,
    dns: Dns,
    idle: Mutex<Vec<(String, SendRequest<Full<Bytes>>)>>,
    /// Until when not to ask again, as the last answer said it: the library does not pass that on.
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

impl Client {
    /// Believes whom the system does, and `roots` (PEM).
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
        let connector = TlsConnector::from(Arc::new(config));
        Ok(Self(Arc::new(Inner { connector, tasks, dns, idle: Mutex::default(), retry_after_s: Mutex::default() })))
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
        let (host, port) = target(request.uri())?;
        let authority = if port == 443 { host.clone() } else { format!("{host}:{port}") };
        let value = HeaderValue::from_str(&authority).map_err(|error| nonsense(&error))?;
        request.headers_mut().insert(HOST, value);
        let path = request.uri().path_and_query().map_or("/", |it| it.as_str()).to_owned();
        *request.uri_mut() = path.parse().map_err(|error: InvalidUri| nonsense(&error))?;
        let asked = async {
            let mut connection = self.connection(&authority, &host, port).await?;
            let answer = connection.send_request(request).await.map_err(|error| away(&error))?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| Refusal::Nonsense(error.to_string()))?.to_bytes();
            self.idle().push((authority.clone(), connection));
            Ok(Response::from_parts(head, body))
        };
        let answer = timeout(ANSWER_MAX, asked).await.unwrap_or(Err(Refusal::Slow))?;
        let retry = answer.headers().get(RETRY_AFTER).and_then(|it| it.to_str().ok()).and_then(|it| it.parse().ok());
        *self.0.retry_after_s.lock().unwrap_or_else(PoisonError::into_inner) = retry;
        let is_problem =
            answer.headers().get(CONTENT_TYPE).is_some_and(|it| it.as_bytes().starts_with(b"application/problem+json"));
        if answer.status().is_server_error() && !is_problem {
            let detail = format!("it answered {}", answer.status());
            return Err(Refusal::Problem(Problem {
                kind: String::from("serverInternal"),
                detail,
                way: None,
                retry_after_s: retry,
            }));
        }
        Ok(answer)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<(String, SendRequest<Full<Bytes>>)>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that can take a request: one that is open, or a new one.
    async fn connection(&self, authority: &str, host: &str, port: u16) -> Result<SendRequest<Full<Bytes>>, Refusal> {
        loop {
            let kept = {
                let mut idle = self.idle();
                let at = idle.iter().position(|(of, _)| of == authority);
                at.map(|at| idle.swap_remove(at).1)
            };
            let Some(mut kept) = kept else { break };
            if !kept.is_closed() && kept.ready().await.is_ok() {
                return Ok(kept);
            }
        }
        let made = timeout(CONNECT_MAX, self.connect(host, port)).await;
        made.unwrap_or_else(|_| Err(Refusal::Away(format!("{host}:{port} does not answer"))))
    }

    async fn connect(&self, host: &str, port: u16) -> Result<SendRequest<Full<Bytes>>, Refusal> {
        let plain = host.trim_start_matches('[').trim_end_matches(']');
        let mut last = Refusal::Away(format!("{plain} has no address"));
        for address in self.0.dns.addresses(plain).await.map_err(|error| away(&error.message))? {
            match TcpStream::connect((address, port)).await {
                Ok(stream) => {
                    stream.set_nodelay(true).map_err(|error| away(&error))?;
                    return self.begin(plain.to_owned(), stream).await;
                }
                Err(error) => last = away(&error),
            }
        }
        Err(last)
    }

    async fn begin(&self, host: String, stream: TcpStream) -> Result<SendRequest<Full<Bytes>>, Refusal> {
        let name = ServerName::try_from(host).map_err(|error| nonsense(&error))?;
        let stream = self.0.connector.connect(name, stream).await.map_err(|error| {
            match error.get_ref().and_then(|it| it.downcast_ref::<rustls::Error>()) {
                Some(rustls::Error::InvalidCertificate(why)) => Refusal::Untrusted(why.to_string()),
                _ => away(&error),
            }
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
