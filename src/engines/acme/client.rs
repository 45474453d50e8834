//! What an authority answers, judged before the library of ACME sees it: connections are kept while one certificate is got.

use std::{
    error::Error as StdError,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Collected, Full};
use hyper::{
    Method, Request, Response, StatusCode, Uri,
    header::{HeaderValue, RETRY_AFTER},
    http::uri::InvalidUri,
};
use instant_acme::{BodyWrapper, BytesResponse, Error as Failed, HttpClient, Problem as Document};
use serde::Deserialize;
use tokio::time::sleep;

use super::https::{Https, nonsense, retry_after_s};
use crate::{
    base::tasks::Tasks,
    domain::acme::{Kind, Problem, Refusal},
    ports::{acme::Directory, dns::Dns},
};

/// Seconds until an order is looked at again, whatever the authority says: the library gives an order up that is to wait longer than it
/// may take, and `ZeroSSL` says a day of orders that are ready a moment later.
const POLL_MAX_S: u64 = 5;

/// How long is waited before something is asked again at which the authority has failed by its own fault. Most such times are over with the next
/// request: one of its servers was started again.
const AGAIN: [Duration; 3] = [Duration::from_millis(500), Duration::from_secs(2), Duration::from_secs(5)];
/// Who wants to be left alone for longer has an order ended, which is placed again then.
const AGAIN_MAX_S: u64 = 10;

/// Asks one authority. Cheap to clone.
#[derive(Clone)]
pub(super) struct Client(Arc<Inner>);

struct Inner {
    https: Https,
    /// What is answered there is judged here, since the library does not look at its status.
    directory: Uri,
    /// Until when not to ask again, when the last answer was an error and said so: the library does not pass that on.
    retry_after_s: Mutex<Option<u64>>,
    /// Until when the order counts that was answered last: the library does not pass that on either.
    expires_ms: Mutex<Option<i64>>,
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
        let https = Https::new(at.roots.as_deref(), tasks, dns)?;
        Ok(Self(Arc::new(Inner { https, directory, retry_after_s: Mutex::default(), expires_ms: Mutex::default() })))
    }

    pub(super) fn boxed(&self) -> Box<dyn HttpClient> {
        Box::new(self.clone())
    }

    /// Until when the order counts that was answered last, Unix milliseconds, where its authority says so.
    pub(super) fn expires_ms(&self) -> Option<i64> {
        *self.0.expires_ms.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Asks again for a while where the authority fails by its own fault. What was signed is sent as it was: where the number in it counts no more,
    /// the authority says so (`badNonce`, RFC 8555 §6.5), and the library signs it anew.
    async fn ask_again(&self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, Refusal> {
        for wait in AGAIN {
            let answer = self.ask(request.clone()).await;
            let later_s = *self.0.retry_after_s.lock().unwrap_or_else(PoisonError::into_inner);
            let later_s = later_s.unwrap_or_default();
            if !has_stumbled(&answer) || later_s > AGAIN_MAX_S {
                return answer;
            }
            sleep(wait.max(Duration::from_secs(later_s))).await;
        }
        self.ask(request).await
    }

    async fn ask(&self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, Refusal> {
        let (method, is_directory) = (request.method().clone(), *request.uri() == self.0.directory);
        let mut answer = self.0.https.send(request).await?;
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
        if let Some(expires_ms) = expiry(answer.body()) {
            *self.0.expires_ms.lock().unwrap_or_else(PoisonError::into_inner) = Some(expires_ms);
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
}

/// Whether the authority has failed by its own fault (RFC 8555 §6.7, `serverInternal`), or what stands in front of it. One that sheds load by 503 with
/// `rateLimited` has not: asked again at once, it would only have more of it.
fn has_stumbled(answer: &Result<Response<Bytes>, Refusal>) -> bool {
    match answer {
        Ok(answer) => answer.status().is_server_error() && !is_limit(answer),
        Err(Refusal::Problem(problem)) => problem.kind == "serverInternal",
        Err(_) => false,
    }
}

/// Until when an order counts, where an answer is one (RFC 8555 §7.1.3).
fn expiry(body: &[u8]) -> Option<i64> {
    #[derive(Deserialize)]
    struct Order {
        expires: String,
        #[serde(rename = "finalize")]
        _finalize: String,
    }
    let order: Order = serde_json::from_slice(body).ok()?;
    order.expires.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond)
}

/// The problem document in an answer (RFC 8555 §6.7). One without a type says no more than the status does (RFC 9457 §4.2.1).
fn document(answer: &Response<Bytes>) -> Option<Document> {
    let said: Document = serde_json::from_slice(answer.body()).ok()?;
    let is_typed = said.r#type.as_deref().is_some_and(|it| it != "about:blank");
    is_typed.then_some(said)
}

fn is_limit(answer: &Response<Bytes>) -> bool {
    document(answer).and_then(|it| it.r#type).is_some_and(|it| it.rsplit(':').next() == Some("rateLimited"))
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
            let answer = client.ask_again(Request::from_parts(head, Full::new(body))).await;
            answer.map(|it| it.map(Full::new).into()).map_err(|refusal| Failed::Other(Box::new(Passed(refusal))))
        })
    }
}
