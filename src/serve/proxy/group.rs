//! One route while it is in use: which of its servers gets a request, and when another one gets it too.
//!
//! Guarantees: a request is sent to another server only when nothing of it was sent, or when sending it twice changes nothing (RFC 9110
//! §9.2.2) and it has no body. No server gets one request twice but over a kept connection that turned out to be closed.

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::{
    Method, Request, Response as Answer, StatusCode, Uri, Version,
    body::{Body as HttpBody, Incoming},
    client::conn::http1::SendRequest,
    header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING},
    http::{request::Parts, uri::PathAndQuery},
};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{
    ahead::{self, Ahead, Rest},
    bodies::{Answering, Begun, Broken, Fault, Patience, Progress, Sending, Taken, Unsaid},
    counts::{Counts, Outcome},
    fastcgi,
    gather::{self, Gather, Of},
    heads,
    server::{Lease, Line, Server},
    shares::Owner,
    standing::May,
    tunnel,
};
use crate::{
    base::tasks::Tasks,
    domain::{
        site::SiteId,
        site_settings::proxy::{HostHeader, Protocol, Route, scripts::Scripts, start::Start},
    },
    http::{
        pace::Paced,
        peer::Client,
        respond::{Body, BodyError, Response},
    },
    serve::{open::Open, page::Refusal},
};

/// Servers that one request is tried on: more would only make a visitor wait for what is down.
const TRIES_MAX: usize = 3;
/// How often is looked whether a visitor has sent more, at least.
const LOOKS_AT_VISITOR: Duration = Duration::from_secs(1);

/// A route in use.
pub(super) struct Group {
    pub(super) site: SiteId,
    pub(super) route: Route,
    pub(super) start: Start,
    pub(super) servers: Vec<Arc<Server>>,
    pub(super) counts: Arc<Counts>,
    pub(super) gather: Arc<Gather>,
    pub(super) tasks: Tasks,
    /// Other settings have taken its place.
    pub(super) retired: CancellationToken,
    pub(super) turn: AtomicUsize,
    pub(super) stderr: fastcgi::Stderr,
    pub(super) scripts: Arc<Scripts>,
    /// Whether a redirect of a server to itself leads to the site: of a rule, which says where each path leads, nobody knows back from where.
    pub(super) leads_back: bool,
}

/// A request for a route.
pub(super) struct Asked<'a> {
    pub(super) parts: &'a Parts,
    pub(super) body: Body,
    pub(super) client: Client,
    /// What is behind the route's path, raw.
    pub(super) rest: &'a str,
    /// Whether a name and a password of this server's have let it in.
    pub(super) past_basic: bool,
    /// What a WebSocket ends with.
    pub(super) open: Option<Arc<Open>>,
}

/// Who is to get an answer.
struct Asker<'a> {
    parts: &'a Parts,
    client: Client,
    open: Option<Arc<Open>>,
}

/// Why a request has no answer yet.
enum Undone {
    /// Nothing of it was sent: here it is again.
    Unsent(Box<Request<Body>>),
    /// It was sent, at least in part.
    Sent(String),
    /// No head came in time.
    Late,
}

/// Why a server gives no answer to a visitor.
struct Trouble {
    why: Refusal,
    outcome: Outcome,
}

impl Trouble {
    const UNREACHABLE: Self = Self { why: Refusal::Unreachable, outcome: Outcome::Unreachable };
    const BROKEN: Self = Self { why: Refusal::Broken, outcome: Outcome::Broken };
    const LATE: Self = Self { why: Refusal::Late, outcome: Outcome::Late };
    const DOWN: Self = Self { why: Refusal::Down, outcome: Outcome::Down };
    const BUSY: Self = Self { why: Refusal::Busy, outcome: Outcome::Refused };

    const fn refused(why: Refusal) -> Self {
        Self { why, outcome: Outcome::Refused }
    }
}

impl Group {
    /// Answers a request by one of the servers.
    pub(super) async fn answer(&self, asked: Asked<'_>) -> Result<Response, Refusal> {
        let answered = match self.admit(&asked) {
            Some(why) => Err(Trouble::refused(why)),
            None if self.is_fastcgi() => self.by_fastcgi(asked).await,
            None => self.by_http(asked).await,
        };
        match answered {
            Ok((response, outcome)) => {
                self.counts.count(outcome);
                Ok(response)
            }
            Err(trouble) => {
                self.counts.count(trouble.outcome);
                Err(trouble.why)
            }
        }
    }

    /// Why a request is not passed on at all.
    fn admit(&self, asked: &Asked<'_>) -> Option<Refusal> {
        let Asked { parts, body, .. } = asked;
        if matches!(parts.method, Method::CONNECT | Method::TRACE) {
            return Some(Refusal::NotPassedOn);
        }
        if heads::is_circling(&parts.headers) {
            return Some(Refusal::Circle);
        }
        // What is announced is refused before it is sent.
        (body.size_hint().lower() > self.route.body_bytes_max).then_some(Refusal::TooLarge)
    }

    fn is_fastcgi(&self) -> bool {
        self.servers.first().is_some_and(|it| it.way.upstream().protocol == Protocol::FastCgi)
    }

    /// A server that was not tried: of those that may be asked the one that works on the fewest requests.
    fn choose(&self, tried: &[Arc<Server>], owner: Owner) -> Option<Lease> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let count = self.servers.len();
        // Among equals each is the first in turn.
        let turned = self.servers.iter().cycle().skip(turn % count.max(1)).take(count);
        let left: Vec<(&Arc<Server>, May)> =
            turned.filter(|it| !tried.iter().any(|tried| Arc::ptr_eq(tried, it))).map(|it| (it, it.may())).collect();
        // Who may be back is tried first: else it would never be, as long as others have less to do.
        if let Some(lease) = left.iter().filter(|it| it.1 == May::Try).find_map(|(it, may)| it.lease(*may, owner)) {
            return Some(lease);
        }
        // Where all rest, they are asked all the same: that the last requests failed is no reason to fail this one unasked.
        [May::All, May::Rests].into_iter().find_map(|wanted| {
            let fits = left.iter().filter(|it| it.1 == wanted || (wanted == May::Rests && it.1 == May::Try));
            fits.min_by_key(|it| it.0.active()).and_then(|it| it.0.lease(wanted, owner))
        })
    }

    /// Why none is left that could be asked; `worst`: what those have come to that were.
    fn nobody(&self, tried: &[Arc<Server>], owner: Owner, worst: Trouble) -> Trouble {
        let is_busy = |it: &Arc<Server>| {
            it.is_full(owner) && it.may() != May::Down && !tried.iter().any(|tried| Arc::ptr_eq(tried, it))
        };
        if self.servers.iter().any(is_busy) { Trouble::BUSY } else { worst }
    }

    /// Counts a failure as the server's, unless its visitor has not sent all yet: whatever came of that may be his doing.
    fn blame(&self, lease: &mut Lease, progress: &Progress, why: &str) {
        if progress.has_ended() {
            lease.failed(self.route.failing, why);
        }
    }

    /// The body of a request as it is sent on; `None`: it has none.
    async fn outgoing(&self, parts: &Parts, body: Body, progress: &Arc<Progress>) -> Result<Option<Body>, Trouble> {
        if body.is_end_stream() {
            progress.end();
            return Ok(None);
        }
        let (is_known, is_head) = (body.size_hint().exact().is_some(), parts.method == Method::HEAD);
        let mut body = Body::boxed(Sending::new(body, self.route.body_bytes_max, Arc::clone(progress)));
        if !is_head && (is_known || parts.method != Method::GET) {
            return Ok(Some(body));
        }
        // Whether these have one may show with the end of their stream only.
        loop {
            let Some(frame) = body.frame().await else { return Ok(None) };
            let frame = frame.map_err(|_| Self::fault(progress).unwrap_or(Trouble::BROKEN))?;
            let first = frame.into_data().unwrap_or_default();
            match first.is_empty() {
                true => {}
                // SECURITY: who does not expect one takes it for the next request.
                false if is_head => return Err(Trouble::refused(Refusal::HeadBody)),
                false => return Ok(Some(Body::boxed(Begun::new(first, body)))),
            }
        }
    }

    /// How a failure without a head ends.
    fn fault(progress: &Progress) -> Option<Trouble> {
        Some(Trouble::refused(match progress.fault()? {
            Fault::TooLarge => Refusal::TooLarge,
            Fault::TooSlow => Refusal::TooSlow,
            Fault::Broken => Refusal::Path,
            Fault::Lost => Refusal::Lost,
        }))
    }

    /// A request's body, whole where the route wants that: no server is asked before then, so that a slow line holds none of its workers.
    /// Its visitor is watched until it is there; a disk that is slow is none of his faults.
    async fn gathered(&self, body: Body, client: Client) -> Result<Body, Trouble> {
        if body.is_end_stream() {
            return Ok(body);
        }
        let body = Body::boxed(Paced::new(body));
        if !self.gathers() {
            return Ok(body);
        }
        // Where others have all places, what they hold keeps nobody out: it passes as it comes, within what each server takes at once.
        let Some(place) = self.gather.place(self.site, client.address, Of::Request) else { return Ok(body) };
        let progress = Progress::new();
        let sending = Sending::new(body, self.route.body_bytes_max, Arc::clone(&progress));
        self.gather.whole(place, sending).await.map_err(|fault| match fault {
            gather::Fault::Body => Self::fault(&progress).unwrap_or(Trouble::BROKEN),
            gather::Fault::Share => Trouble::BUSY,
            gather::Fault::Full => Trouble::refused(Refusal::NoRoom),
            gather::Fault::Disk => Trouble::refused(Refusal::Lost),
        })
    }

    /// An answer's body for a visitor: taken in ahead of him where the route wants that, so that a slow line holds no worker.
    async fn given<B>(&self, body: B, server: &Server, client: Client) -> Body
    where
        B: HttpBody<Data = Bytes, Error = BodyError> + Send + Unpin + 'static,
    {
        let (shared, idle) = (&server.shared, seconds(self.route.timeout_s.idle));
        if !self.gathers() {
            return Body::boxed(Taken::new(shared, body, idle));
        }
        let (first, rest) = match ahead::begin(body).await {
            (first, Rest::Nothing) => return Body::boxed(Taken::new(shared, Body::full(first), idle)),
            (first, Rest::Broken(why)) => {
                return Body::boxed(Taken::new(shared, Begun::new(first, Broken(Some(why))), idle));
            }
            (first, Rest::More(rest)) => (first, rest),
        };
        match self.gather.place(self.site, client.address, Of::Answer) {
            Some(place) => {
                let ahead = Ahead::new(&self.gather, place, &self.tasks, first, rest);
                Body::boxed(Taken::new(shared, ahead, idle))
            }
            None => Body::boxed(Taken::new(shared, Begun::new(first, rest), idle)),
        }
    }

    /// Whether bodies are gathered, and answers taken in ahead.
    fn gathers(&self) -> bool {
        self.route.buffer.unwrap_or_else(|| self.is_fastcgi())
    }

    async fn by_http(&self, asked: Asked<'_>) -> Result<(Response, Outcome), Trouble> {
        let Asked { parts, body, client, rest, past_basic, open } = asked;
        let body = self.gathered(body, client).await?;
        let progress = Progress::new();
        let outgoing = self.outgoing(parts, body, &progress).await?;
        let repeatable = outgoing.is_none() && parts.method.is_idempotent();
        let mut body = outgoing.unwrap_or_else(Body::empty);
        let owner = Owner::new(self.site, client);
        let (mut tried, mut worst): (Vec<Arc<Server>>, _) = (Vec::new(), Trouble::DOWN);
        let mut may_be_closed = true;
        while tried.len() < TRIES_MAX {
            let Some(mut lease) = self.choose(&tried, owner) else { return Err(self.nobody(&tried, owner, worst)) };
            let server = Arc::clone(&lease.server);
            let within = seconds(self.route.timeout_s.connect);
            let line =
                if may_be_closed { server.line(repeatable, within).await } else { server.new_line(within).await };
            let line = match line {
                Ok(line) => line,
                Err(why) => {
                    lease.failed(self.route.failing, &why);
                    tried.push(server);
                    worst = Trouble::UNREACHABLE;
                    continue;
                }
            };
            let was_kept = line.was_kept;
            let about = heads::About { past_basic, ..self.about(&lease, client, parts) };
            let request = self.request(parts, body, rest, &about).ok_or(Trouble::refused(Refusal::Path))?;
            let why = match self.send(line, request, &lease, &progress).await {
                Ok((answer, sender)) => {
                    lease.answered();
                    let who = Asker { parts, client, open };
                    let passed = self.pass_back(answer, sender, lease, progress, who).await;
                    return passed.ok_or(Trouble::BROKEN);
                }
                Err(Undone::Late) => {
                    self.blame(&mut lease, &progress, "it did not answer in time");
                    return Err(Self::fault(&progress).unwrap_or(Trouble::LATE));
                }
                Err(Undone::Unsent(request)) => {
                    body = request.into_body();
                    String::from("it closed the connection")
                }
                Err(Undone::Sent(why)) => {
                    if let Some(fault) = Self::fault(&progress) {
                        return Err(fault);
                    }
                    body = Body::empty();
                    if !repeatable {
                        self.blame(&mut lease, &progress, &why);
                        return Err(Trouble::BROKEN);
                    }
                    why
                }
            };
            if was_kept {
                // It had closed the connection when nobody asked, which is its right: once more on a new one.
                may_be_closed = false;
                continue;
            }
            lease.failed(self.route.failing, &why);
            tried.push(server);
            (worst, may_be_closed) = (Trouble::BROKEN, true);
        }
        Err(worst)
    }

    fn about<'a>(&'a self, lease: &'a Lease, client: Client, parts: &Parts) -> heads::About<'a> {
        let host = (self.route.host == HostHeader::Upstream).then_some(lease.server.authority.as_str());
        let prefix = Some(self.route.prefix()).filter(|it| self.route.strip_prefix && !it.is_empty());
        heads::About { client, host, prefix, upgrades: tunnel::can_open(parts), past_basic: false }
    }

    /// The request as an upstream gets it.
    fn request(&self, parts: &Parts, body: Body, rest: &str, about: &heads::About<'_>) -> Option<Request<Body>> {
        let path = if self.route.strip_prefix { rest } else { parts.uri.path() };
        let target: PathAndQuery = match parts.uri.query() {
            Some(query) => format!("{path}?{query}").parse().ok()?,
            None => path.parse().ok()?,
        };
        let mut headers = heads::request(parts, about);
        let usually_has_one = matches!(parts.method, Method::POST | Method::PUT | Method::PATCH);
        if usually_has_one && body.is_end_stream() {
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        } else if !body.is_end_stream() && body.size_hint().exact().is_none() {
            // Without it no body of a GET would be sent at all.
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        let mut request = Request::new(body);
        *request.method_mut() = parts.method.clone();
        *request.uri_mut() = Uri::from(target);
        *request.version_mut() = Version::HTTP_11;
        *request.headers_mut() = headers;
        Some(request)
    }

    /// Sends a request and waits for the head of the answer.
    async fn send(
        &self,
        line: Line,
        request: Request<Body>,
        lease: &Lease,
        progress: &Progress,
    ) -> Result<(Answer<Incoming>, SendRequest<Body>), Undone> {
        let Line { mut sender, .. } = line;
        let within = seconds(self.route.timeout_s.answer);
        progress.touch();
        let answered = tokio::select! {
            answered = sender.try_send_request(request) => answered.map_err(Some),
            () = late(progress, within) => Err(None),
            () = async {
                lease.server.left().await;
                sleep(seconds(self.route.timeout_s.drain)).await;
            } => Err(None),
        };
        match answered {
            Ok(answer) => Ok((answer, sender)),
            Err(None) => {
                progress.stop();
                Err(Undone::Late)
            }
            Err(Some(mut failed)) => Err(match failed.take_message() {
                Some(request) => Undone::Unsent(Box::new(request)),
                None => Undone::Sent(failed.into_error().to_string()),
            }),
        }
    }

    /// The answer for the visitor; `None` when it is none that he can be given.
    async fn pass_back(
        &self,
        answer: Answer<Incoming>,
        sender: SendRequest<Body>,
        lease: Lease,
        progress: Arc<Progress>,
        who: Asker<'_>,
    ) -> Option<(Response, Outcome)> {
        let Asker { parts, client, open } = who;
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            let idle = seconds(self.route.timeout_s.idle);
            let drain = seconds(self.route.timeout_s.drain);
            let response = tunnel::open(answer, parts, (lease, open), &self.tasks, idle, drain)?;
            return Some((response, Outcome::Switched));
        }
        let (mut head, body) = answer.into_parts();
        let kept_for = kept_for(&head.headers);
        let scheme = if lease.server.way.upstream().protocol == Protocol::Https { "https" } else { "http" };
        let own = format!("{scheme}://{}", lease.server.authority);
        let prefix = if self.route.strip_prefix { self.route.prefix() } else { "" };
        if self.leads_back {
            let public = format!("{}://{}{prefix}", client.scheme, heads::host(parts));
            heads::response(&mut head.headers, &own, &public);
        } else {
            heads::response(&mut head.headers, &own, &own);
        }
        let outcome = if head.status.is_server_error() { Outcome::Failed } else { Outcome::Answered };
        let server = Arc::clone(&lease.server);
        let body = Answering::new(body, lease, self.patience(), progress, Some((sender, kept_for)));
        let mut response = Response::new(self.given(body, &server, client).await);
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
        Some((response, outcome))
    }

    pub(super) fn patience(&self) -> Patience {
        Patience::new(seconds(self.route.timeout_s.idle), seconds(self.route.timeout_s.drain))
    }

    async fn by_fastcgi(&self, asked: Asked<'_>) -> Result<(Response, Outcome), Trouble> {
        let Asked { parts, body, client, rest, past_basic, .. } = asked;
        let path = if self.route.strip_prefix { rest } else { parts.uri.path() };
        let root = self.route.root.as_deref().unwrap_or_default();
        let found = fastcgi::script(&self.tasks, root, path, &self.scripts, &self.stderr).await;
        let script = found.map_err(Trouble::refused)?;
        let mut body = self.gathered(body, client).await?;
        let progress = Progress::new();
        let is_empty = body.is_end_stream();
        if is_empty {
            progress.end();
        }
        let repeatable = is_empty && parts.method.is_idempotent();
        let prefix = if self.route.strip_prefix { self.route.prefix() } else { "" };
        let about = fastcgi::About { parts, client, prefix, past_basic };
        let owner = Owner::new(self.site, client);
        let (mut tried, mut worst): (Vec<Arc<Server>>, _) = (Vec::new(), Trouble::DOWN);
        while tried.len() < TRIES_MAX {
            let Some(mut lease) = self.choose(&tried, owner) else { return Err(self.nobody(&tried, owner, worst)) };
            let server = Arc::clone(&lease.server);
            let stream = match server.way.connect(seconds(self.route.timeout_s.connect)).await {
                Ok(stream) => stream,
                Err(why) => {
                    lease.failed(self.route.failing, &why);
                    tried.push(server);
                    worst = Trouble::UNREACHABLE;
                    continue;
                }
            };
            progress.touch();
            let within = seconds(self.route.timeout_s.answer);
            // Sent again, it had none.
            let sending = mem::replace(&mut body, Body::empty());
            let sending = Sending::new(sending, self.route.body_bytes_max, Arc::clone(&progress));
            let mut exchange = fastcgi::Exchange::new(stream, sending, &about, &script, &self.stderr);
            let head = tokio::select! {
                head = exchange.head() => head,
                () = late(&progress, within) => Err(fastcgi::Fault::Late),
            };
            let why = match head {
                Ok(head) => return Ok(self.said(head, exchange, lease, client).await),
                Err(why) => why,
            };
            if let Some(fault) = Self::fault(&progress) {
                return Err(fault);
            }
            if why == fastcgi::Fault::NoLength {
                return Err(Trouble::refused(Refusal::LengthRequired));
            }
            self.blame(&mut lease, &progress, &why.to_string());
            if why == fastcgi::Fault::Late {
                return Err(Trouble::LATE);
            }
            if !repeatable {
                return Err(Trouble::BROKEN);
            }
            tried.push(server);
            worst = Trouble::BROKEN;
        }
        Err(worst)
    }

    /// What a program has begun to say, as an answer for the visitor.
    async fn said(
        &self,
        head: fastcgi::Head,
        exchange: fastcgi::Exchange,
        mut lease: Lease,
        client: Client,
    ) -> (Response, Outcome) {
        lease.answered();
        let outcome = if head.status.is_server_error() { Outcome::Failed } else { Outcome::Answered };
        let server = Arc::clone(&lease.server);
        let mut response = Response::new(Body::empty());
        (*response.status_mut(), *response.headers_mut()) = (head.status, head.headers);
        let body = exchange.body(head.first, lease, self.patience());
        let body = self.given(body, &server, client).await;
        *response.body_mut() = as_told(body, response.headers());
        (response, outcome)
    }
}

/// A body whose size is what its program says, or not known: where the two differ, the connection goes by what was said, and cuts or
/// breaks off what is not so long. By its own size it would leave bytes to the next answer.
fn as_told(body: Body, headers: &HeaderMap) -> Body {
    let told = headers.get(CONTENT_LENGTH);
    let told = told.map(|it| std::str::from_utf8(it.as_bytes()).ok().and_then(|it| it.parse::<u64>().ok()));
    match (told, body.size_hint().exact()) {
        (Some(told), Some(size)) if told != Some(size) => Body::boxed(Unsaid(body)),
        _ => body,
    }
}

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into())
}

/// Resolves once the upstream has taken so long: for the answer since all was sent, or for more of the body. Whether the visitor takes too
/// long is watched with his body.
async fn late(progress: &Progress, within: Duration) {
    loop {
        let until = progress.last() + within;
        if Instant::now() < until {
            sleep_until(until).await;
        } else if progress.is_awaited() {
            sleep(within.min(LOOKS_AT_VISITOR)).await;
        } else {
            return;
        }
    }
}

/// For how many seconds an upstream says that it keeps the connection.
fn kept_for(headers: &HeaderMap) -> Option<u64> {
    let mut lines = headers.get_all(CONNECTION).iter().filter_map(|it| it.to_str().ok());
    if lines.any(|it| it.split(',').any(|word| word.trim().eq_ignore_ascii_case("close"))) {
        return Some(0);
    }
    let said = headers.get(HeaderName::from_static("keep-alive"))?.to_str().ok()?;
    said.split(',').find_map(|it| it.trim().strip_prefix("timeout=")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        task::{Context, Poll},
    };

    use hyper::body::Frame;
    use tokio::{sync::mpsc, time::timeout};

    use super::*;

    /// What a visitor sends, when he does.
    struct Visitor(mpsc::Receiver<Bytes>);

    impl hyper::body::Body for Visitor {
        type Data = Bytes;
        type Error = BodyError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
            self.0.poll_recv(context).map(|it| it.map(|it| Ok(Frame::data(it))))
        }
    }

    /// Nothing of what a visitor leaves unsent is the upstream's fault.
    #[tokio::test]
    async fn a_visitor_who_stalls_makes_no_upstream_late() {
        let (progress, within) = (Progress::new(), Duration::from_millis(50));
        let is_late = async |ms| timeout(Duration::from_millis(ms), late(&progress, within)).await.is_ok();
        assert!(is_late(10_000).await, "nobody waits for the visitor");
        let (visitor, stalls) = mpsc::channel(1);
        let mut body = Sending::new(Body::boxed(Visitor(stalls)), 8, Arc::clone(&progress));
        assert!(timeout(within, body.frame()).await.is_err());
        assert!(!is_late(300).await, "he is waited for");
        visitor.send(Bytes::from_static(b"x")).await.unwrap();
        drop(visitor);
        while body.frame().await.is_some() {}
        assert!(progress.has_ended() && is_late(10_000).await, "all was sent");
    }
}
