//! The host switch: which part of the server a request is for.
//!
//! The panel and the API answer on the panel's exact hosts only; every other host is a visitor's. `/healthz` answers on
//! the panel's host and on unknown hosts, never over a site's (DECISIONS 16).

use std::{net::IpAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use axum::Router;
use bytes::Bytes;
use hyper::{
    Method, Request, StatusCode,
    body::Body as HttpBody,
    header::{CACHE_CONTROL, HeaderValue, X_CONTENT_TYPE_OPTIONS},
    http::request::Parts,
};
use tower::ServiceExt as _;

use super::{
    awaited::Awaited,
    front::Front,
    metrics,
    tls::{Shelf, ToHttps},
    turnstile::Turnstile,
};
use crate::{
    access_log::{AccessLog, Begun, Visit},
    admin, api,
    base::random,
    domain::{Error, Kind, node::Role},
    http::{
        host,
        pace::Paced,
        peer::{Client, Peer, RequestId, Trust},
        problem,
        respond::{self, Body, BodyError, Response},
    },
    serve::{Asked, DataPlane},
    services::{Addresses, Services, doctor::HERE},
};

/// Why the control plane does not answer.
const STARTING: &str = "The server is starting. Try again in a moment.";
/// How long a call waits for a control plane that is starting: a balancer that looks at the status alone sends some before it is there.
const STARTS_WITHIN: Duration = Duration::from_secs(5);

/// Sends each request to its part.
pub(super) struct Switch {
    plane: DataPlane,
    addresses: Addresses,
    trust: Trust,
    role: Role,
    control: Arc<ArcSwapOption<Services>>,
    panel: Awaited<Routers>,
    turnstile: Turnstile,
    to_https: Option<ToHttps>,
    /// Whether visitors in clear are sent to HTTPS where their site says nothing of it.
    redirects: bool,
    shelf: Option<Shelf>,
    /// By these the panel is reached too, once it is encrypted.
    own: Vec<IpAddr>,
    log: Option<AccessLog>,
}

/// What answers on the panel's host.
struct Routers {
    api: Router,
    panel: Router,
}

/// The body of a request, by whatever version of HTTP it comes.
pub(super) trait Upload: HttpBody<Data = Bytes, Error: Into<BodyError>> + Send + Unpin + 'static {}

impl<B> Upload for B where B: HttpBody<Data = Bytes, Error: Into<BodyError>> + Send + Unpin + 'static {}

/// For whom a request is.
enum For {
    Panel(Client),
    Visitor(String),
    Nobody,
}

impl Switch {
    pub(super) fn new(
        plane: DataPlane,
        addresses: Addresses,
        trust: Trust,
        role: Role,
        control: Arc<ArcSwapOption<Services>>,
    ) -> Self {
        let panel = Awaited::new(Error::unavailable("starting", STARTING));
        Self {
            plane,
            addresses,
            trust,
            role,
            control,
            panel,
            turnstile: Turnstile::default(),
            to_https: None,
            redirects: false,
            shelf: None,
            own: Vec::new(),
            log: None,
        }
    }

    /// With HTTPS, to which visitors in clear are sent unless their site says otherwise.
    pub(super) fn with_redirect(self, to_https: Option<ToHttps>, redirects: bool) -> Self {
        Self { to_https, redirects, ..self }
    }

    /// With certificates, and with answers to authorities that look whether a hostname is ours.
    pub(super) fn with_certificates(self, of: Option<Shelf>) -> Self {
        Self { shelf: of, ..self }
    }

    /// With the panel at these addresses of the server as well, for who comes by HTTPS.
    pub(super) fn with_own(self, own: Vec<IpAddr>) -> Self {
        Self { own, ..self }
    }

    /// With a line for each request of a visitor.
    pub(super) fn with_log(self, log: Option<AccessLog>) -> Self {
        Self { log, ..self }
    }

    /// How it sends visitors on, for the services.
    pub(super) fn front(&self) -> Front {
        Front {
            plane: self.plane.clone(),
            to_https: self.to_https.clone(),
            redirects: self.redirects,
            has_proxies: !self.trust.proxies.is_empty(),
        }
    }

    /// The control plane is there: panel and API answer from now on.
    pub(super) fn open(&self, services: &Services) {
        self.panel.set(Routers { api: api::router(services.clone()), panel: admin::router(services.clone()) });
    }

    /// Why the control plane is down, for whoever asks.
    pub(super) fn explain(&self, error: &Error) {
        self.panel.explain(error);
    }

    /// Answers one request.
    pub(super) async fn answer<B>(self: Arc<Self>, request: Request<B>, peer: Peer) -> Response
    where
        B: Upload,
    {
        let begun = self.log.as_ref().map(AccessLog::begin);
        let (parts, body) = request.into_parts();
        if !self.role.serves() {
            return Box::pin(self.worker(&parts, peer)).await;
        }
        if let Some(answer) = self.shelf.as_ref().and_then(|it| it.challenges().answer(&parts)) {
            return answer;
        }
        if let Some(here) = self.here(&parts, peer) {
            return here;
        }
        if let Some(elsewhere) = self.secured(&parts, peer) {
            return match begun.map(|it| (it, self.whose(&parts, peer))) {
                Some((begun, For::Visitor(host))) => self.logged(Some(begun), &parts, peer, Some(&host), elsewhere),
                _ => elsewhere,
            };
        }
        match self.whose(&parts, peer) {
            // What is rare has no room in the future of each request.
            For::Panel(client) => Box::pin(self.panel(Request::from_parts(parts, body), client)).await,
            For::Visitor(host) => {
                let asked = Asked { host: &host, parts: &parts, peer, trust: &self.trust };
                let response = match self.plane.answer(asked, body).await {
                    Some(response) => response,
                    None if parts.uri.path() == "/healthz" => return self.health(),
                    None => self.plane.unknown_host(&parts),
                };
                self.logged(begun, &parts, peer, Some(&host), response)
            }
            For::Nobody if parts.uri.path() == "/healthz" => self.health(),
            For::Nobody => self.logged(begun, &parts, peer, None, self.plane.bad_host(&parts)),
        }
    }

    /// The answer to a visitor, with its line in the access log where there is one.
    fn logged(
        &self,
        begun: Option<Begun>,
        parts: &Parts,
        peer: Peer,
        host: Option<&str>,
        response: Response,
    ) -> Response {
        let (Some(log), Some(begun)) = (&self.log, begun) else { return response };
        let snapshot = self.plane.snapshot();
        let site = host.and_then(|it| snapshot.find(it)).map(|it| it.name.as_str());
        let client = self.trust.client(peer, &parts.headers);
        let country = if log.wants_country() { self.plane.countries().find(client.address) } else { None };
        log.watch(begun, &Visit { parts, client, host, site, country }, response)
    }

    /// That this installation is the one that answers here: on every host, and in clear, as authorities ask.
    fn here(&self, parts: &Parts, peer: Peer) -> Option<Response> {
        let nonce = parts.uri.path().strip_prefix(HERE).filter(|_| parts.method == Method::GET)?;
        let host = host::host(parts)?;
        let told = self.control.load().as_ref()?.answer_here(&host, nonce, peer.ends_tls)?;
        let mut response = respond::text(StatusCode::OK, told);
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        Some(response)
    }

    /// Where a request that came in clear is sent, if that is to HTTPS.
    fn secured(&self, parts: &Parts, peer: Peer) -> Option<Response> {
        let to_https = self.to_https.as_ref().filter(|_| !peer.ends_tls)?;
        let host = host::host(parts)?;
        if !self.plane.find_https(&host).unwrap_or_default().redirects(self.redirects) {
            return None;
        }
        let is_panel = self.addresses.is_panel(&host);
        // People give passwords there.
        let may_be_clear = !(is_panel && self.addresses.scheme == "https");
        let target = to_https.target(&host, &parts.uri, may_be_clear)?;
        let client = self.trust.client(peer, &parts.headers);
        // Balancers ask for it in clear, and many take a redirect for a fault.
        let is_health = is_panel && parts.uri.path() == "/healthz";
        // The address that `serve` prints, and a tunnel through SSH.
        let is_local = &*host == "localhost" && client.is_near;
        if is_health || is_local || client.scheme == "https" {
            return None;
        }
        let mut response = respond::redirect(StatusCode::PERMANENT_REDIRECT, &target);
        // Not for ever, as browsers would keep it else: TLS may be turned off again.
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("max-age=3600"));
        Some(response)
    }

    /// What answers on a worker: its health and its figures.
    async fn worker(&self, parts: &Parts, peer: Peer) -> Response {
        match (parts.uri.path(), self.control.load_full()) {
            ("/healthz", _) => self.health(),
            ("/metrics", Some(services)) => {
                let client = self.trust.client(peer, &parts.headers);
                metrics::answer(&services, self.seen(), &parts.headers, client).await
            }
            ("/metrics", None) => problem::problem(&self.panel.why_not(), ""),
            _ => {
                let text = "This is a worker: it has neither sites nor a panel, only /healthz and /metrics.";
                problem::problem(&Error::new(Kind::NotFound, "worker", text), "")
            }
        }
    }

    /// What is counted outside of the control plane.
    const fn seen(&self) -> metrics::Seen<'_> {
        metrics::Seen { plane: &self.plane, log: self.log.as_ref(), shelf: self.shelf.as_ref() }
    }

    fn whose(&self, parts: &Parts, peer: Peer) -> For {
        let Some(host) = host::host(parts) else { return For::Nobody };
        let client = || self.trust.client(peer, &parts.headers);
        if self.addresses.is_panel(&host) {
            return For::Panel(client());
        }
        // No name of a site begins like that but those of digits, and few requests have an address to be read.
        let may_be_address = host.starts_with(|it: char| it == '[' || it.is_ascii_digit());
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if may_be_address && bare.parse().is_ok_and(|it| self.own.contains(&it)) {
            let client = client();
            if client.scheme == "https" {
                return For::Panel(client);
            }
        }
        if matches!(&*host, "localhost" | "127.0.0.1" | "[::1]") {
            // Whoever sits at this machine reaches the panel whatever its host is: so does a tunnel through SSH.
            let client = client();
            if client.is_near || self.addresses.is_panel("localhost") {
                return For::Panel(client);
            }
        }
        For::Visitor(host.into_owned())
    }

    async fn panel<B: Upload>(&self, mut request: Request<B>, client: Client) -> Response {
        if request.uri().path() == "/healthz" {
            return self.health();
        }
        let id = random::label::<8>();
        let path = request.uri().path();
        let for_program = path == "/api" || path.starts_with("/api/") || path == "/metrics";
        let cannot = |why: &Error| {
            if for_program {
                problem::problem(why, &id)
            } else {
                admin::unavailable(why, &self.addresses.panel_host, &id)
            }
        };
        let _turn = match self.turnstile.pass(client.address).await {
            Ok(turn) => turn,
            Err(busy) => return cannot(&busy),
        };
        let Some(routers) = self.panel.get(STARTS_WITHIN).await else {
            return admin::asset(path, request.headers()).unwrap_or_else(|| cannot(&self.panel.why_not()));
        };
        let may_write = !request.method().is_safe();
        let router = if for_program { &routers.api } else { &routers.panel };
        if request.uri().path() == "/metrics" {
            return match self.control.load_full() {
                Some(services) => metrics::answer(&services, self.seen(), request.headers(), client).await,
                None => problem::problem(&self.panel.why_not(), &id),
            };
        }
        request.extensions_mut().insert(client);
        request.extensions_mut().insert(RequestId(id.clone()));
        let mut response = match router.clone().oneshot(request.map(|it| axum::body::Body::new(Paced::new(it)))).await {
            Ok(response) => response.map(Body::boxed),
            Err(never) => match never {},
        };
        let written = self.control.load().as_ref().filter(|_| may_write).and_then(|it| it.latest_position());
        if let (true, Some(position)) = (for_program, written) {
            response.headers_mut().insert(api::answer::SEEN, HeaderValue::from(position));
        }
        if let Ok(id) = HeaderValue::from_str(&id) {
            response.headers_mut().insert("x-request-id", id);
        }
        response
    }

    /// 200 when sites are served; the body says how the control plane is.
    fn health(&self) -> Response {
        let services = self.control.load_full();
        let control = match &services {
            Some(services) => services.db.health().map_or_else(|error| error.code, |()| "ok"),
            None => self.panel.why_not().code,
        };
        let queue =
            services.as_deref().map_or(control, |it| it.jobs.health().map_or_else(|error| error.code, |()| "ok"));
        let mut body = serde_json::json!({ "sites": "ok", "control": control, "queue": queue });
        let strays = |services: &Services| services.strays().any(|(_, count)| count > 0);
        if let (true, Some(body)) = (services.as_deref().is_some_and(strays), body.as_object_mut()) {
            body.insert(String::from("warnings"), serde_json::json!(["rows_outside_months"]));
        }
        respond::json(StatusCode::OK, &body)
    }
}
