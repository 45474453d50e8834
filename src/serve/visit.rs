//! One request of a visitor, from method to body, in numbered steps.
//!
//! Reads the snapshot that it was begun with to its end: a publish in between changes nothing for it, so every
//! answer is whole and of one generation. No lock is held across an await; no database is near.

use std::{
    borrow::Cow,
    sync::{Arc, atomic::Ordering},
};

use hyper::{
    Method, StatusCode,
    header::{
        ACCEPT_ENCODING, ACCEPT_RANGES, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
        CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH, RANGE, VARY,
    },
    http::request::Parts,
};

use super::{
    Asked, Inner, bundle,
    file::{self, Piece},
    gate::edge::Edge,
    headers::{Prepared, REVALIDATE},
    incident::Damage,
    index::Index,
    memory::Forms,
    onward::Onward,
    page::{ALLOWED, Refusal},
    person::{self, Person},
    snapshot::{Served, State, Target},
};
use crate::{
    domain::{
        lifetime::{self, OF_SHARED_CACHES},
        site_path,
        site_settings::paths::Prefixes,
    },
    http::{
        conditional::{self, Outcome},
        digest::Wanted,
        negotiate,
        range::{self, Ranged, Span},
        respond::{self, Body, Response},
    },
    proof::{
        manifest::Entry,
        resolve::{self, Resolution, visitor},
    },
};

/// Where the proof bundle of a deployment is, by its id.
const PROOF: &str = "/.well-known/chainhost/proof/";
/// Digits of a file's hash that stand between its parts.
const BOUNDARY: usize = 32;

/// A request with all that answering it needs.
#[derive(Clone, Copy)]
pub(super) struct Visit<'a> {
    pub(super) plane: &'a Arc<Inner>,
    pub(super) target: &'a Arc<Target>,
    pub(super) generation: u64,
    pub(super) parts: &'a Parts,
    /// Who asks, where a rule wants to know.
    pub(super) asked: Asked<'a>,
    /// Shared caches may have what is shown: it is no older than what was purged.
    pub(super) may_be_kept: bool,
    /// Files that are not shown, whatever rule brings them out.
    pub(super) locked: Option<&'a Prefixes>,
    /// What caches that can be purged are told of files whose policy tells caches nothing.
    pub(super) edge: Option<&'a Edge>,
}

/// A file that answers.
struct Found<'i> {
    entry: &'i Entry,
    status: StatusCode,
    /// It answers at another path than its own, as a fallback or by a rule.
    elsewhere: bool,
    prepared: Arc<Prepared>,
}

impl Visit<'_> {
    /// Whether a file is at the path of the request, whatever rules say of it.
    pub(super) async fn has_file(&self) -> bool {
        let Some(path) = resolve::decode_path(self.parts.uri.path()) else { return false };
        let Ok(index) = self.index().await else { return false };
        resolve::has_file(&index.manifest, &path)
    }

    /// The whole way of a request. Each step ends it, or hands the next one what it found. A request that a rule leads to another server is
    /// refused with [`Refusal::Elsewhere`].
    pub(super) async fn answer(&self) -> Result<Response, Refusal> {
        // 1. Files are read and never written.
        if !matches!(self.parts.method, Method::GET | Method::HEAD) {
            return Box::pin(self.unread()).await;
        }
        // 2. The path is decoded, once.
        let path = resolve::decode_path(self.parts.uri.path()).ok_or(Refusal::Path)?;
        // 3. Some paths are the host's on every site.
        if site_path::is_reserved(&path) {
            return Box::pin(self.reserved(&path)).await;
        }
        // 4. What the site shows, by its manifest.
        let index = self.index().await?;
        // 5. The file, or a redirect.
        let person = Person::new(self.asked, self.plane.countries());
        let (resolution, depends) = resolve::resolve_for(&index.manifest, &path, self.parts.uri.query(), &person);
        if let Resolution::PassedOn { to } = resolution {
            return Err(Refusal::Elsewhere(Box::new(Onward { to, depends })));
        }
        let mut response = self.resolved(&path, &index, resolution).await?;
        // 10. What another visitor may get otherwise is for no cache that several have.
        if depends != visitor::Asked::default() {
            person::dress(response.headers_mut(), depends);
        }
        Ok(response)
    }

    /// What comes of a request that no file can answer: a rule may lead it to a server that can.
    async fn unread(&self) -> Result<Response, Refusal> {
        let index = match self.index().await {
            Ok(index) => Some(index),
            // Whether one does is not known now.
            Err(Refusal::Unavailable) => return Err(Refusal::Unavailable),
            Err(_) => None,
        };
        if let Some(path) = resolve::decode_path(self.parts.uri.path())
            && let Some(index) =
                index.filter(|it| it.manifest.policy().redirects.iter().any(|it| it.upstream().is_some()))
        {
            let person = Person::new(self.asked, self.plane.countries());
            let (resolution, depends) = resolve::resolve_for(&index.manifest, &path, self.parts.uri.query(), &person);
            if let Resolution::PassedOn { to } = resolution {
                return Err(Refusal::Elsewhere(Box::new(Onward { to, depends })));
            }
        }
        if self.parts.method == Method::OPTIONS { Ok(options()) } else { Err(Refusal::Method) }
    }

    /// The steps from what answers to the answer.
    async fn resolved(&self, path: &str, index: &Index, resolution: Resolution<'_>) -> Result<Response, Refusal> {
        let found = match resolution {
            Resolution::File { entry, status } => {
                let status = StatusCode::from_u16(status).map_err(|_| Refusal::NotFound)?;
                Found { entry, status, elsewhere: entry.path.as_str() != path, prepared: index.prepare(entry) }
            }
            Resolution::Redirect { status, to } => return Ok(redirect(status, &to)),
            Resolution::Gone => return Err(Refusal::Gone),
            Resolution::PassedOn { .. } | Resolution::NotFound => return Err(Refusal::NotFound),
        };
        if self.locked.is_some_and(|it| it.may_reach(Some(found.entry.path.as_str()))) {
            return Err(Refusal::Locked);
        }
        let mut response = self.found(&found).await?;
        if let Some(wanted) = Wanted::of(&self.parts.headers)
            && !matches!(response.status(), StatusCode::NOT_MODIFIED | StatusCode::RANGE_NOT_SATISFIABLE)
        {
            // Behind a compressed form, which has told its own.
            let is_all = self.parts.method == Method::GET && response.status() != StatusCode::PARTIAL_CONTENT;
            wanted.tell(response.headers_mut(), found.entry.sha256, is_all);
        }
        // 9. Where it answers for another path, a file may come tomorrow: no cache keeps that for a week.
        let unsure = found.elsewhere || found.status != StatusCode::OK;
        if unsure && found.prepared.own.cache && response.status() != StatusCode::RANGE_NOT_SATISFIABLE {
            response.headers_mut().insert(CACHE_CONTROL, REVALIDATE);
        }
        let is_for_few = self.target.preview || !self.may_be_kept;
        if is_for_few && found.prepared.own.cache && response.status() != StatusCode::RANGE_NOT_SATISFIABLE {
            // Nobody purges it: a preview goes with its deployment. What the policy says was deployed, and stands.
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(lifetime::OF_VISITOR));
        }
        if let Some(edge) =
            self.edge.filter(|_| found.prepared.own.cache && found.prepared.own.edge && self.may_be_kept)
        {
            edge.dress(self.target.site, found.entry.path.as_str(), &mut response);
        }
        Ok(response)
    }

    /// The steps from the file to the answer.
    async fn found(&self, found: &Found<'_>) -> Result<Response, Refusal> {
        // 6. A client that has it already. Only a 200 has a state to compare, and only a 200 has parts and forms.
        if found.status != StatusCode::OK {
            return Box::pin(self.other(found)).await;
        }
        if let Some(done) = self.conditional(found)? {
            return Ok(done);
        }
        // 7. A part of it, which GET alone can ask for (RFC 9110 §14.2); else 8. a compressed form, or the bytes as they are.
        if self.parts.method == Method::GET && self.parts.headers.contains_key(RANGE) {
            return Box::pin(self.ranged(found)).await;
        }
        if let Some(compressed) = self.compressed(found).await {
            return Ok(compressed);
        }
        self.whole(found).await
    }

    /// A file of what is live, with its headers, for an answer that it is not the file of.
    pub(super) async fn page(&self, path: &str) -> Option<Response> {
        let index = self.index().await.ok()?;
        let entry = index.manifest.find(path)?;
        let found = Found { entry, status: StatusCode::OK, elsewhere: true, prepared: index.prepare(entry) };
        self.whole(&found).await.ok()
    }

    async fn index(&self) -> Result<Arc<Index>, Refusal> {
        let served: Served = match &self.target.state {
            State::Live(served) => *served,
            State::TakenDown(reason) => return Err(Refusal::TakenDown(reason.clone())),
            State::Empty => return Err(Refusal::Nothing),
        };
        self.plane.indexes.get(served, &self.plane.tasks).await.map_err(|_| Refusal::Unavailable)
    }

    /// The proof of what is shown. What authorities ask is answered before anybody looks whose host it is.
    async fn reserved(&self, path: &str) -> Result<Response, Refusal> {
        if let (Some(wanted), Some(served)) = (path.strip_prefix(PROOF), self.target.served())
            && served.proof
            && wanted == served.deployment.to_string()
        {
            return bundle::answer(self.plane, served, self.parts).await;
        }
        Err(Refusal::NotFound)
    }

    /// 304 or 412, when the conditions say so. A client may have any of the forms that it takes.
    fn conditional(&self, found: &Found<'_>) -> Result<Option<Response>, Refusal> {
        let headers = &self.parts.headers;
        if !headers.contains_key(IF_NONE_MATCH) && !headers.contains_key(IF_MATCH) {
            return Ok(None);
        }
        let plain = std::iter::once(Cow::Borrowed(found.prepared.etag.as_str()));
        let accepted = negotiate::accepted(headers);
        let codings = accepted.iter().filter(|_| found.prepared.compressible);
        let mut go = false;
        for etag in plain.chain(codings.map(|it| Cow::Owned(found.prepared.etag_of(it)))) {
            match conditional::evaluate(headers, &etag) {
                Outcome::NotModified => return Ok(Some(not_modified(&found.prepared.headers, &etag))),
                Outcome::Go => go = true,
                Outcome::Failed => {}
            }
        }
        if go { Ok(None) } else { Err(Refusal::Precondition) }
    }

    async fn ranged(&self, found: &Found<'_>) -> Result<Response, Refusal> {
        let headers = &self.parts.headers;
        let mut lines = headers.get_all(RANGE).iter();
        // It is said once, or not understood.
        let asked = lines.next().filter(|_| lines.next().is_none()).and_then(|it| it.to_str().ok());
        let asked = asked.filter(|_| conditional::range_allowed(headers, &found.prepared.etag));
        let size = found.entry.size;
        let part = match asked.map_or(Ranged::Whole, |it| range::parse(it, size)) {
            Ranged::Whole => return self.whole(found).await,
            Ranged::Part(part) => part,
            Ranged::Parts(parts) => return self.several(found, &parts).await,
            Ranged::Unsatisfiable => {
                let mut response = Refusal::Range.answer(headers);
                put(response.headers_mut(), CONTENT_RANGE, format!("bytes */{size}"));
                return Ok(response);
            }
        };
        let mut response = self.file(found, part.first, part.length()).await?;
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(part.length()));
        put(response.headers_mut(), CONTENT_RANGE, range_of(part, size));
        Ok(response)
    }

    /// Parts behind one another, each with a head of its own (RFC 9110 §14.6).
    async fn several(&self, found: &Found<'_>, parts: &[Span]) -> Result<Response, Refusal> {
        let (plane, entry) = (self.plane, found.entry);
        let content = plane.memory.content(entry.sha256, entry.size, &plane.tasks).await;
        let content = content.map_err(|_| Refusal::Unavailable)?;
        // Nobody can write a file that contains a word made of its own hash.
        let hash = entry.sha256.hex();
        let boundary = hash.get(..BOUNDARY).unwrap_or(&hash);
        let media = found.prepared.headers.get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
        let media = media.map_or_else(String::new, |it| format!("content-type: {it}\r\n"));
        let mut pieces = Vec::new();
        for (at, part) in parts.iter().enumerate() {
            let line = if at == 0 { "" } else { "\r\n" };
            let range = range_of(*part, entry.size);
            let head = format!("{line}--{boundary}\r\n{media}content-range: {range}\r\n\r\n");
            pieces.extend([Piece::Words(head.into()), Piece::Part(*part)]);
        }
        pieces.push(Piece::Words(format!("\r\n--{boundary}--\r\n").into()));
        let length: u64 = pieces.iter().map(Piece::length).sum();
        let mut response = Response::new(file::pieces_of(content, pieces, &plane.tasks));
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        *response.headers_mut() = found.prepared.headers.clone();
        let headers = response.headers_mut();
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        put(headers, CONTENT_TYPE, format!("multipart/byteranges; boundary={boundary}"));
        Ok(response)
    }

    async fn compressed(&self, found: &Found<'_>) -> Option<Response> {
        let headers = &self.parts.headers;
        if !found.prepared.compressible || !headers.contains_key(ACCEPT_ENCODING) {
            return None;
        }
        let (plane, entry) = (self.plane, found.entry);
        let mut forms = self.forms(found).await;
        for coding in negotiate::accepted(headers).iter() {
            if !forms.has(coding) {
                continue;
            }
            let kept = match plane.memory.variant(entry.sha256, entry.size, coding, &plane.tasks).await {
                Ok(kept) => kept,
                Err(Damage::Unreadable) => continue,
                Err(_) => {
                    // Looking again for each request would be work for nothing; the next generation may have it.
                    forms = forms.without(coding);
                    self.remember(found, forms);
                    continue;
                }
            };
            let mut response = Response::new(Body::empty());
            *response.headers_mut() = found.prepared.headers.clone();
            let headers = response.headers_mut();
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.token()));
            headers.insert(CONTENT_LENGTH, HeaderValue::from(kept.bytes.len()));
            put(headers, ETAG, found.prepared.etag_of(coding));
            if let (Some(wanted), Some(digest)) = (Wanted::of(&self.parts.headers), kept.digest) {
                wanted.tell(headers, digest, self.parts.method == Method::GET);
            }
            if self.parts.method != Method::HEAD {
                *response.body_mut() = Body::full(kept.bytes);
            }
            return Some(response);
        }
        None
    }

    /// The compressed forms on the disk, looked up once for each file and generation: the job that makes them
    /// ends in a publish.
    async fn forms(&self, found: &Found<'_>) -> Forms {
        let remembered = found.prepared.forms.load(Ordering::Relaxed);
        if remembered & !7 == self.stamp() {
            return Forms(u8::try_from(remembered & 7).unwrap_or(0));
        }
        let forms = self.plane.memory.forms(found.entry.sha256, &self.plane.tasks).await;
        self.remember(found, forms);
        forms
    }

    /// Generation in the upper bits, forms in the lower three; never 0, which is what a new entry has.
    const fn stamp(&self) -> u64 {
        self.generation.wrapping_add(1) << 3
    }

    fn remember(&self, found: &Found<'_>, forms: Forms) {
        found.prepared.forms.store(self.stamp() | u64::from(forms.0), Ordering::Relaxed);
    }

    async fn whole(&self, found: &Found<'_>) -> Result<Response, Refusal> {
        self.file(found, 0, found.entry.size).await
    }

    /// A file with a status such as 404: it is never cached by its tag, and has no parts.
    async fn other(&self, found: &Found<'_>) -> Result<Response, Refusal> {
        let mut response = self.whole(found).await?;
        *response.status_mut() = found.status;
        let headers = response.headers_mut();
        headers.remove(ETAG);
        if found.prepared.own.ranges {
            headers.remove(ACCEPT_RANGES);
        }
        Ok(response)
    }

    /// The verified bytes from `first` on, or the refusal to send any.
    async fn file(&self, found: &Found<'_>, first: u64, length: u64) -> Result<Response, Refusal> {
        let (plane, entry) = (self.plane, found.entry);
        let content = plane.memory.content(entry.sha256, entry.size, &plane.tasks).await;
        let content = content.map_err(|_| Refusal::Unavailable)?;
        let body = if self.parts.method == Method::HEAD {
            Body::empty()
        } else {
            file::body(content, first, length, &plane.tasks)
        };
        let mut response = Response::new(body);
        *response.headers_mut() = found.prepared.headers.clone();
        Ok(response)
    }
}

fn range_of(part: Span, size: u64) -> String {
    format!("bytes {}-{}/{size}", part.first, part.last)
}

fn options() -> Response {
    let mut response = respond::empty(StatusCode::NO_CONTENT);
    response.headers_mut().insert(ALLOW, ALLOWED);
    response
}

/// A redirect is a rule of the present deployment: no cache may outlive it without asking.
fn redirect(status: u16, to: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::FOUND);
    let mut response = respond::redirect(status, to);
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    if response.headers().contains_key(hyper::header::LOCATION) {
        *response.body_mut() = Body::from(format!("See {to}\n"));
        response.headers_mut().insert(CONTENT_TYPE, text);
    }
    response.headers_mut().insert(CACHE_CONTROL, REVALIDATE);
    response
}

/// 304 with what a cache must refresh (RFC 9110 §15.4.5).
fn not_modified(prepared: &HeaderMap, etag: &str) -> Response {
    let mut response = respond::empty(StatusCode::NOT_MODIFIED);
    let headers = response.headers_mut();
    let kept = [CACHE_CONTROL, VARY].into_iter().chain(OF_SHARED_CACHES.map(HeaderName::from_static));
    for name in kept {
        for value in prepared.get_all(&name) {
            headers.append(&name, value.clone());
        }
    }
    put(headers, ETAG, etag);
    response
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: impl AsRef<str>) {
    if let Ok(value) = HeaderValue::from_str(value.as_ref()) {
        headers.insert(name, value);
    }
}
