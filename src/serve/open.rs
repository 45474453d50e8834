//! What visitors have open for long: WebSockets, and answers of upstreams that go on and on.
//!
//! Guarantees: each ends when the site's state, its settings, its traffic or a ban no longer let its visitor in, as they would not let in a new request
//! with the same head. They are looked at when one of these changes, and at no other time. An answer that is over within [`YOUNG`] is none of them.
//!
//! Many may be open, and a look may have to hash passwords: it has threads for such work, and takes none that answers visitors.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::{
    Request, Uri,
    body::{Body as HttpBody, Frame, SizeHint},
    header::{AUTHORIZATION, HeaderValue},
    http::{request::Parts, uri::PathAndQuery},
};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{
    Asked, Inner,
    gate::{self, Gate},
    snapshot::{Settings, Snapshot, State},
};
use crate::{
    base::together,
    domain::site::SiteId,
    http::{
        peer::{Peer, Told, Trust},
        respond::{Body, BodyError},
    },
};

/// How long an answer may last before it is one that may outlive its visitor's right.
const YOUNG: Duration = Duration::from_secs(1);

/// Of how many sites passwords are asked for at once: doors hash one of a site, and two in all.
const SITES_AT_ONCE: usize = 4;

/// Who is named with a connection is the client, whoever else could be believed.
static NOBODY: Trust = Trust { proxies: Vec::new(), own: Vec::new(), scheme: "http" };

/// All that is open. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Opens(Arc<All>);

#[derive(Debug, Default)]
struct All {
    open: Mutex<HashMap<u64, Weak<Open>>>,
    next: AtomicU64,
}

/// The version of a password.
pub(super) type Version = [u8; 32];

/// Whether somebody who was let in still is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    Stays,
    Ends,
    /// His password has to be hashed: it is against this version of what is kept.
    Unsure(Version),
}

/// What somebody comes to.
enum Way<'a> {
    /// Nobody gets anything.
    Closed,
    /// Everybody does.
    Free,
    Gate(Gate<'a>),
}

/// What looks ask of a request. Copied: what a part of a head is taken from is the buffer that all of it was read into.
#[derive(Debug)]
pub(super) struct Head {
    host: Box<str>,
    parts: Parts,
    peer: Peer,
}

impl Head {
    pub(super) fn of(asked: Asked<'_>) -> Self {
        let client = asked.client();
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.method = asked.parts.method.clone();
        let target = asked.parts.uri.path_and_query().map(|it| Bytes::copy_from_slice(it.as_str().as_bytes()));
        parts.uri = target.and_then(|it| PathAndQuery::from_maybe_shared(it).ok()).map(Uri::from).unwrap_or_default();
        parts.headers = gate::looked_at(&asked.parts.headers);
        let told = Told { tls: Some(client.scheme == "https") };
        let peer = Peer::told_by_proxy(SocketAddr::new(client.address, 0), told);
        Self { host: Box::from(asked.host), parts, peer }
    }

    /// The request, as far as looks ask.
    pub(super) fn asked(&self) -> Asked<'_> {
        Asked { host: &self.host, parts: &self.parts, peer: self.peer, trust: &NOBODY }
    }
}

/// Something that is open, and who has it.
#[derive(Debug)]
pub(super) struct Open {
    site: SiteId,
    head: Head,
    /// The version of which its password is known to be right.
    known: Mutex<Option<Version>>,
    ended: CancellationToken,
    id: u64,
    opens: Opens,
}

impl Opens {
    fn all(&self) -> MutexGuard<'_, HashMap<u64, Weak<Open>>> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what is open.
    fn note(&self, site: SiteId, head: Head, known: Option<Version>) -> Arc<Open> {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        let (known, ended, opens) = (Mutex::new(known), CancellationToken::new(), self.clone());
        let open = Arc::new(Open { site, head, known, ended, id, opens });
        self.all().insert(id, Arc::downgrade(&open));
        open
    }

    fn is_empty(&self) -> bool {
        self.all().is_empty()
    }

    /// All that is open now. Nothing of it is held: what is over meanwhile is gone.
    fn list(&self) -> Vec<Weak<Open>> {
        self.all().values().cloned().collect()
    }
}

impl Open {
    fn known(&self) -> MutexGuard<'_, Option<Version>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it.
    fn end(&self) {
        self.ended.cancel();
    }

    /// Resolves when it is to end.
    pub(super) fn ends(&self) -> WaitForCancellationFutureOwned {
        self.ended.clone().cancelled_owned()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.opens.all().remove(&self.id);
    }
}

impl Inner {
    /// Notes that a request has something open that may last; `known`: the version of the password that has let it in, where one has. A change
    /// meanwhile is not missed.
    pub(super) fn open(self: &Arc<Self>, site: SiteId, head: Head, known: Option<Version>) -> Arc<Open> {
        let open = self.opens.note(site, head, known);
        match self.right(&self.current.load(), &open) {
            Right::Stays => {}
            Right::Ends => open.end(),
            Right::Unsure(_) => {
                let (plane, unsure) = (Arc::clone(self), vec![Arc::downgrade(&open)]);
                self.tasks.spawn(async move { plane.ask(unsure).await });
            }
        }
        open
    }

    /// A body that ends with what has let its visitor in.
    pub(super) fn lasting(self: &Arc<Self>, body: Body, site: SiteId, head: Head, known: Option<Version>) -> Body {
        let young = Box::new(Young { plane: Arc::clone(self), site, head, known });
        Body::boxed(Ending { body, age: Age::Young(Instant::now() + YOUNG, None, Some(young)) })
    }

    /// Ends what visitors have open whom their sites let in no longer; of sites that are as they were in `before` nothing is looked at.
    pub(super) fn look_again(self: &Arc<Self>, before: Option<Arc<Snapshot>>) {
        if self.opens.is_empty() {
            return;
        }
        let plane = Arc::clone(self);
        self.tasks.spawn(async move {
            let looks = Arc::clone(&plane);
            let unsure = plane.tasks.blocking(move || looks.look(before.as_deref())).await;
            plane.ask(unsure.unwrap_or_default()).await;
        });
    }

    /// The same, but for those whose passwords have to be hashed.
    fn look(&self, before: Option<&Snapshot>) -> Vec<Weak<Open>> {
        let snapshot = self.current.load_full();
        let mut unsure = Vec::new();
        for noted in self.opens.list() {
            let Some(open) = noted.upgrade() else { continue };
            let host = &*open.head.host;
            if before.is_some_and(|it| it.find(host).is_some() && it.find(host) == snapshot.find(host)) {
                continue;
            }
            match self.right(&snapshot, &open) {
                Right::Stays => {}
                Right::Ends => open.end(),
                Right::Unsure(_) => unsure.push(noted),
            }
        }
        unsure
    }

    /// What somebody who has something open comes to who asks again.
    fn way<'a>(&'a self, snapshot: &'a Snapshot, open: &'a Open) -> Way<'a> {
        let asked = open.head.asked();
        let Some(target) = snapshot.find(asked.host).filter(|it| it.site == open.site) else { return Way::Closed };
        if matches!(target.state, State::TakenDown(_)) || self.banned(target, asked).is_some() {
            return Way::Closed;
        }
        match &target.settings {
            // Its route is gone: what is under way has the time that it had for that.
            Settings::Plain => Way::Free,
            Settings::Unreadable => Way::Closed,
            Settings::Given(settings) => settings
                .rules()
                .map_or(Way::Closed, |rules| Way::Gate(self.gate(settings, rules, snapshot, target, asked))),
        }
    }

    /// Whether a site still lets in who has something open of it.
    fn right(&self, snapshot: &Snapshot, open: &Open) -> Right {
        match self.way(snapshot, open) {
            Way::Closed => Right::Ends,
            Way::Free => Right::Stays,
            Way::Gate(gate) => gate.right(*open.known()),
        }
    }

    /// Has the passwords of these hashed: of a few sites at once, so that none waits for another whose line is long. A shutdown ends it, as it
    /// ends all that is open.
    async fn ask(&self, unsure: Vec<Weak<Open>>) {
        let mut sites: BTreeMap<SiteId, Vec<Weak<Open>>> = BTreeMap::new();
        for noted in unsure {
            if let Some(site) = noted.upgrade().map(|it| it.site) {
                sites.entry(site).or_default().push(noted);
            }
        }
        let sites = Mutex::new(sites.into_values());
        let next = || sites.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work = || -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
            Box::pin(async {
                while let Some(of_one) = next() {
                    self.ask_site(of_one).await;
                }
            })
        };
        tokio::select! {
            _ = together::all((0..SITES_AT_ONCE).map(|_| work())) => {}
            () = self.tasks.stopping() => {}
        }
    }

    /// Those of one site, one after another: visitors who sign in stand in the same line. Whoever has several things open is asked once. What is
    /// over before its turn is not asked for.
    async fn ask_site(&self, unsure: Vec<Weak<Open>>) {
        let mut told: HashMap<(Version, HeaderValue), bool> = HashMap::new();
        for noted in unsure {
            let Some(open) = noted.upgrade() else { continue };
            let snapshot = self.current.load_full();
            // What has changed meanwhile has a look of its own.
            let Way::Gate(gate) = self.way(&snapshot, &open) else { continue };
            let Right::Unsure(version) = gate.right(*open.known()) else { continue };
            let said = open.head.parts.headers.get(AUTHORIZATION).map(|it| (version, it.clone()));
            let is_right = match said.as_ref().and_then(|it| told.get(it)) {
                Some(told) => *told,
                None => match gate.asks(&self.doors).await {
                    Some(is_right) => {
                        told.extend(said.map(|it| (it, is_right)));
                        is_right
                    }
                    // Another client's tries are another's.
                    None => false,
                },
            };
            if is_right {
                *open.known() = Some(version);
            } else {
                open.end();
            }
        }
    }
}

/// An answer that is not noted yet.
struct Young {
    plane: Arc<Inner>,
    site: SiteId,
    head: Head,
    known: Option<Version>,
}

/// How far a body has come.
enum Age {
    /// It is noted from then on.
    Young(Instant, Option<Pin<Box<Sleep>>>, Option<Box<Young>>),
    Noted {
        ends: Pin<Box<WaitForCancellationFutureOwned>>,
        _open: Arc<Open>,
    },
}

/// A body that may be ended before it does.
struct Ending {
    body: Body,
    age: Age,
}

impl Age {
    /// Notes it when it is time; `has_come`: there is no need to be woken for that.
    fn grow(&mut self, has_come: bool, context: &mut Context<'_>) -> bool {
        let Self::Young(until, timer, young) = self else { return false };
        let is_time = if has_come {
            Instant::now() >= *until
        } else {
            timer.get_or_insert_with(|| Box::pin(sleep_until(*until))).as_mut().poll(context).is_ready()
        };
        let Some(young) = young.take_if(|_| is_time) else { return false };
        let Young { plane, site, head, known } = *young;
        let open = plane.open(site, head, known);
        *self = Self::Noted { ends: Box::pin(open.ends()), _open: open };
        true
    }
}

impl HttpBody for Ending {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Age::Noted { ends, .. } = &mut self.age
            && ends.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Some(Err("its visitor is not let in any more".into())));
        }
        let polled = Pin::new(&mut self.body).poll_frame(context);
        let may_last = !matches!(polled, Poll::Ready(None | Some(Err(_))));
        if may_last && self.age.grow(polled.is_ready(), context) && polled.is_pending() {
            // Woken from now on when it is to end, too.
            return self.poll_frame(context);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64;
    use http_body_util::{BodyExt as _, StreamBody};
    use hyper::header::COOKIE;
    use serde_json::json;
    use tokio::{
        sync::mpsc,
        time::{sleep, timeout},
    };
    use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};

    use super::*;
    use crate::{
        base::{blob_dir::BlobDir, clock::Clock, ids::Id, password, tasks::Tasks},
        domain::site_settings::SiteSettings,
        serve::{
            DataPlane,
            snapshot::{Given, Target},
        },
    };

    const SITE: SiteId = SiteId(Id::from_bytes([1; 16]));
    const OTHER: SiteId = SiteId(Id::from_bytes([2; 16]));
    const INSTANCE: Id = Id::from_bytes([9; 16]);

    fn snapshot(generation: u64, state: State) -> Snapshot {
        let mut snapshot = Snapshot::new(INSTANCE, generation);
        let (name, settings) = (String::from("site"), Settings::Plain);
        let target = Target { site: SITE, name, preview: false, state, settings };
        snapshot.insert("site.test", Arc::new(target));
        snapshot
    }

    fn plane() -> (tempfile::TempDir, DataPlane) {
        let folder = tempfile::tempdir().unwrap();
        let blobs = BlobDir::open(folder.path()).unwrap();
        (folder, DataPlane::new(blobs, snapshot(1, State::Empty), Tasks::new(), Clock::system()))
    }

    /// Two sites, with a password before them where there is one.
    fn sites(generation: u64, password: Option<&str>) -> Snapshot {
        let mut snapshot = Snapshot::new(INSTANCE, generation);
        for (site, host) in [(SITE, "site.test"), (OTHER, "other.test")] {
            let settings = password.map_or(Settings::Plain, |password| {
                let people = json!([{ "name": "ada", "hash": password::hash(password).unwrap(), "changed_ms": 0 }]);
                let guests = json!({ "key": "ab".repeat(32), "people": people });
                let settings = json!({ "access": { "mode": "basic" }, "guests": guests });
                Settings::Given(Given::new(SiteSettings::parse(&settings.to_string()).unwrap()))
            });
            let target = Target { site, name: String::from("site"), preview: false, state: State::Empty, settings };
            snapshot.insert(host, Arc::new(target));
        }
        snapshot
    }

    /// A request of somebody who says that he is ada, with another password.
    fn said(host: &str) -> Head {
        let login = format!("Basic {}", BASE64.encode(b"ada:not this one"));
        let (parts, ()) = Request::get("/").header(AUTHORIZATION, login).body(()).unwrap().into_parts();
        let peer = Peer::new("192.0.2.7:1".parse().unwrap());
        Head::of(Asked { host, parts: &parts, peer, trust: &NOBODY })
    }

    fn head() -> Head {
        let trust = Trust { proxies: vec!["127.0.0.1".parse().unwrap()], own: Vec::new(), scheme: "http" };
        let request = Request::get("https://site.test/a?b=c")
            .header(COOKIE, "theirs=1; chainhost_guest=x; more=2")
            .header(AUTHORIZATION, "Basic eDp5")
            .header("x-forwarded-for", "192.0.2.7")
            .header("x-forwarded-proto", "https")
            .header("x-large", "x".repeat(4_000));
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let peer = Peer::new("127.0.0.1:1".parse().unwrap());
        Head::of(Asked { host: "site.test", parts: &parts, peer, trust: &trust })
    }

    type Pieces = mpsc::Sender<Bytes>;

    fn body() -> (Pieces, Body) {
        let (pieces, came) = mpsc::channel(4);
        let frames = ReceiverStream::new(came).map(|it| Ok::<_, BodyError>(Frame::data(it)));
        (pieces, Body::boxed(StreamBody::new(frames)))
    }

    #[test]
    fn a_head_is_what_looks_ask_and_no_more() {
        let head = head();
        let asked = head.asked();
        assert_eq!((asked.host, asked.parts.uri.to_string().as_str()), ("site.test", "/a?b=c"));
        let client = asked.client();
        assert_eq!((client.address.to_string().as_str(), client.scheme), ("192.0.2.7", "https"));
        let kept: Vec<_> =
            asked.parts.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(kept, [("cookie", "chainhost_guest=x"), ("authorization", "Basic eDp5")]);
    }

    #[tokio::test]
    async fn an_answer_is_noted_once_it_has_lasted() {
        let (_folder, plane) = plane();
        let (pieces, body) = body();
        let begun = Instant::now();
        let mut lasts = plane.0.lasting(body, SITE, head(), None);
        pieces.send(Bytes::from_static(b"a")).await.unwrap();
        assert!(lasts.frame().await.unwrap().is_ok() && plane.0.opens.is_empty());
        // Nothing comes of it, and it is noted all the same; then it is ended, though nothing comes.
        let ended = tokio::join!(lasts.frame(), async {
            sleep(YOUNG / 4).await;
            assert!(begun.elapsed() > YOUNG || plane.0.opens.is_empty(), "it may be over soon");
            sleep(YOUNG).await;
            assert!(!plane.0.opens.is_empty(), "it has lasted");
            plane.publish(snapshot(2, State::TakenDown(String::new()))).unwrap();
        });
        assert!(ended.0.unwrap().is_err());
        drop(lasts);
        // The look may still have it in its hands.
        while !plane.0.opens.is_empty() {
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// A change while it was not noted is not missed, whether or not anything comes.
    #[tokio::test]
    async fn what_has_changed_before_it_was_noted_ends_it() {
        let (_folder, plane) = plane();
        let (pieces, body) = body();
        let mut lasts = plane.0.lasting(body, SITE, head(), None);
        plane.publish(snapshot(2, State::TakenDown(String::new()))).unwrap();
        sleep(YOUNG).await;
        pieces.send(Bytes::from_static(b"a")).await.unwrap();
        assert!(lasts.frame().await.unwrap().is_ok(), "it was there before");
        pieces.send(Bytes::from_static(b"b")).await.unwrap();
        assert!(lasts.frame().await.unwrap().is_err());
    }

    /// There may be many, and passwords to hash: who publishes, and the thread that he is on, wait for none of that.
    #[tokio::test]
    async fn a_look_is_on_a_thread_of_its_own() {
        let (_folder, plane) = plane();
        let open = plane.0.open(SITE, head(), None);
        plane.publish(snapshot(2, State::TakenDown(String::new()))).unwrap();
        assert!(!open.ended.is_cancelled(), "nothing else has run on this thread");
        open.ends().await;
    }
    /// Somebody else has the turn of one site: its visitors wait for it, and nobody else does; what is over is held by no line, and the end of the
    /// process waits for none.
    #[tokio::test]
    async fn a_long_line_holds_up_no_other_site_nothing_that_is_over_and_no_shutdown() {
        let (_folder, plane) = plane();
        plane.publish(sites(2, None)).unwrap();
        let of_one: Vec<_> = (0..8).map(|_| plane.0.open(SITE, said("site.test"), None)).collect();
        let of_other: Vec<_> = (0..8).map(|_| plane.0.open(OTHER, said("other.test"), None)).collect();
        let turn = plane.0.doors.hold(SITE).await;
        plane.publish(sites(3, Some("open sesame"))).unwrap();
        let patience = Duration::from_secs(8);
        for open in of_other {
            timeout(patience, open.ends()).await.unwrap();
        }
        assert!(of_one.iter().all(|it| !it.ended.is_cancelled()), "nobody has looked at their passwords");
        drop(of_one);
        assert_eq!(plane.0.opens.all().len(), 1, "the one that is asked for");
        plane.0.tasks.stop();
        timeout(patience, plane.0.tasks.join()).await.unwrap();
        assert!(plane.0.opens.is_empty());
        drop(turn);
    }
}
