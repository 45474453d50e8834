//! Bodies of requests that are gathered before an upstream is asked: a slow line then holds none of its workers. What answers are given ahead of
//! their visitors ([`super::ahead`]) is kept here too.
//!
//! Guarantees: what is gathered is in memory up to [`MEMORY_BYTES`], and with more in a file without a name below the data folder, which goes with
//! the request, however that ends, and with the process. What all have together is bounded, and what one site and one client have of it.
//!
//! SECURITY: the disk's reserve stays free: who sends much stops neither the database nor other sites.

use std::{
    collections::HashMap,
    fmt,
    fs::{self, File, OpenOptions},
    hash::Hash,
    io,
    net::IpAddr,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;

use super::bodies::Sending;
use crate::{
    base::{
        files::{self, Space},
        network, random,
        tasks::Tasks,
    },
    domain::site::SiteId,
    http::respond::{Body, BodyError},
};

/// Bytes of a body that are in memory alone: most forms, and most pages.
pub(super) const MEMORY_BYTES: usize = 64 * 1024;
/// Bytes that are read at once.
const PIECE_BYTES: usize = 64 * 1024;
/// How often is told that there is no room.
const TELL_EVERY: Duration = Duration::from_mins(1);

/// How much there may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Most {
    pub(super) bodies: u64,
    pub(super) bytes: u64,
}

/// Of all: with [`MEMORY_BYTES`] of each 128 MiB of memory, and as many descriptors.
const ALL_MOST: Most = Most { bodies: 2_048, bytes: 64 << 30 };
/// Of one site, so that others have theirs.
const SITE_MOST: Most = Most { bodies: 1_024, bytes: 32 << 30 };
/// Of one client: many may be behind one address.
const CLIENT_MOST: Most = Most { bodies: 256, bytes: 8 << 30 };

/// Why a body was not gathered.
#[derive(Debug)]
pub(super) enum Fault {
    /// It broke off, or is not taken.
    Body,
    /// Others have what there may be.
    Share,
    /// The disk has no room.
    Full,
    /// The disk does not take it.
    Disk,
}

/// What was kept of a body cannot be read back: no fault of who has sent it.
#[derive(Debug)]
pub(super) struct Lost(io::Error);

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "what was kept of it cannot be read back: {}", self.0)
    }
}

impl std::error::Error for Lost {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// What a disk does not do. Each is told on its own.
#[derive(Clone, Copy, Debug)]
enum Told {
    Request,
    Answer,
    Read,
}

/// Whose body it is. SECURITY: answers have half of everything, so that visitors who take theirs slowly keep none from sending something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    Request,
    Answer,
}

/// What there is of something.
#[derive(Clone, Copy, Debug, Default)]
struct Used {
    bodies: u64,
    bytes: u64,
}

/// What is gathered now.
#[derive(Debug, Default)]
struct Ledger {
    all: Used,
    sites: HashMap<SiteId, Used>,
    clients: HashMap<IpAddr, Used>,
}

/// Where bodies are gathered.
#[derive(Debug)]
pub(super) struct Gather {
    folder: PathBuf,
    /// Whether this process has made and swept the folder.
    is_made: Mutex<bool>,
    ledger: Mutex<Ledger>,
    most: [Most; 3],
    tasks: Tasks,
    told: Mutex<[Option<Instant>; 3]>,
}

/// Whose a body is.
#[derive(Clone, Copy, Debug)]
struct Owner {
    site: SiteId,
    client: IpAddr,
    of: Of,
}

/// What one body has of it.
#[derive(Debug)]
pub(super) struct Share {
    gather: Arc<Gather>,
    owner: Owner,
    bytes: u64,
}

impl Gather {
    /// In this folder, which is made when it is needed.
    pub(super) fn new(folder: PathBuf, tasks: Tasks) -> Self {
        Self::with(folder, tasks, [ALL_MOST, SITE_MOST, CLIENT_MOST])
    }

    /// The same with these limits, of all, a site and a client.
    pub(super) fn with(folder: PathBuf, tasks: Tasks, most: [Most; 3]) -> Self {
        Self { folder, is_made: Mutex::default(), ledger: Mutex::default(), most, tasks, told: Mutex::default() }
    }

    /// Whether nobody has anything here.
    #[cfg(test)]
    pub(super) fn is_unused(&self) -> bool {
        let ledger = self.ledger();
        (ledger.all.bodies, ledger.all.bytes) == (0, 0) && ledger.sites.is_empty() && ledger.clients.is_empty()
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of a body, for which there is a place. What it is larger than its route takes, and how it breaks off, is in its progress.
    pub(super) async fn whole(self: &Arc<Self>, mut share: Share, mut from: Sending) -> Result<Body, Fault> {
        let (mut pending, mut file, mut written) = (BytesMut::new(), None, 0);
        while let Some(frame) = from.frame().await {
            let Ok(bytes) = frame.map_err(|_| Fault::Body)?.into_data() else { break };
            if !share.grow(u64::try_from(bytes.len()).unwrap_or(u64::MAX)) {
                return Err(Fault::Share);
            }
            pending.extend_from_slice(&bytes);
            if pending.len() > MEMORY_BYTES {
                // With its room, which would stay as large as the largest piece.
                let bytes = std::mem::take(&mut pending).freeze();
                let at = written;
                written += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                file = Some(self.write(file.take(), at, bytes, Of::Request).await?);
            }
        }
        let Some(mut file) = file else { return Ok(Body::boxed(InMemory { bytes: Some(pending.freeze()), share })) };
        if !pending.is_empty() {
            file = self.write(Some(file), written, pending.freeze(), Of::Request).await?;
        }
        Ok(Body::boxed(InFile { file, at: 0, reading: None, share }))
    }

    /// A place for a body of a client of a site, if there is one.
    pub(super) fn place(self: &Arc<Self>, site: SiteId, client: IpAddr, of: Of) -> Option<Share> {
        let owner = Owner { site, client: network::counted(client), of };
        let has_place = self.ledger().add(owner, Used { bodies: 1, bytes: 0 }, &self.most);
        has_place.then(|| Share { gather: Arc::clone(self), owner, bytes: 0 })
    }

    /// Writes into a file, and into a new one where there is none.
    pub(super) async fn write(
        self: &Arc<Self>,
        file: Option<Arc<Unnamed>>,
        at: u64,
        bytes: Bytes,
        of: Of,
    ) -> Result<Arc<Unnamed>, Fault> {
        let gather = Arc::clone(self);
        let work = move || {
            let file = file.map_or_else(|| gather.file().map(Arc::new), Ok)?;
            // A disk that cannot be asked for its space refuses what is too much itself.
            let has_room =
                |it: Space| it.free >= it.reserve(None).saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
            if files::space(&gather.folder).is_ok_and(|it| !has_room(it)) {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            file.open()?.write_all_at(&bytes, at)?;
            Ok(file)
        };
        let written = self.tasks.blocking(work).await.unwrap_or_else(|| Err(io::Error::other("the write has ended")));
        written.map_err(|error| {
            self.tell(if of == Of::Request { Told::Request } else { Told::Answer }, &error);
            let is_full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
            if is_full { Fault::Full } else { Fault::Disk }
        })
    }

    /// Reads the next piece of what is left in a file.
    pub(super) fn read(self: &Arc<Self>, file: &Arc<Unnamed>, at: u64, left: u64) -> Reading {
        let (gather, file) = (Arc::clone(self), Arc::clone(file));
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE_BYTES);
        let work = move || {
            let mut piece = vec![0; length];
            file.open()?.read_exact_at(&mut piece, at)?;
            Ok(Bytes::from(piece))
        };
        Box::pin(async move {
            let read = gather.tasks.blocking(work).await;
            read.unwrap_or_else(|| Err(io::Error::other("the read has ended"))).map_err(|error| {
                gather.tell(Told::Read, &error);
                Lost(error)
            })
        })
    }

    /// A file without a name.
    fn file(&self) -> io::Result<Unnamed> {
        let mut is_made = self.is_made.lock().unwrap_or_else(PoisonError::into_inner);
        if !*is_made {
            files::private_folder(&self.folder)?;
            files::sweep_unfinished(&self.folder)?;
            *is_made = true;
        }
        drop(is_made);
        let path = self.folder.join(format!(".body.{}.tmp", random::label::<5>()));
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        let file = Unnamed { file: Some(file), tasks: self.tasks.clone() };
        unlink(&path)?;
        Ok(file)
    }

    fn tell(&self, what: Told, error: &io::Error) {
        let mut all = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let [request, answer, read] = &mut *all;
        let (told, text) = match what {
            Told::Request => (
                request,
                "what visitors send cannot be kept until it is whole, and is refused; `buffer = false` of a route passes it on as it comes",
            ),
            Told::Answer => (
                answer,
                "answers cannot be kept for visitors who take them slowly; their upstreams wait for these visitors until that can be done again",
            ),
            Told::Read => (
                read,
                "what was kept of a request or of an answer cannot be read back, which has failed it; look whether the disk is whole",
            ),
        };
        if told.is_none_or(|it| it.elapsed() >= TELL_EVERY) {
            *told = Some(Instant::now());
            tracing::error!(folder = %self.folder.display(), %error, "{text}");
        }
    }
}

/// Removes a name. Whoever has swept the folder meanwhile has done it.
fn unlink(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl Ledger {
    /// Adds to what a site and a client have, unless that is too much of anything.
    fn add(&mut self, owner: Owner, more: Used, most: &[Most; 3]) -> bool {
        let Owner { site, client, of } = owner;
        let of_site = self.sites.get(&site).copied().unwrap_or_default();
        let of_client = self.clients.get(&client).copied().unwrap_or_default();
        let after = [self.all, of_site, of_client]
            .map(|it| Used { bodies: it.bodies + more.bodies, bytes: it.bytes + more.bytes });
        let parts = if of == Of::Answer { 2 } else { 1 };
        let is_too_much = |(it, most): (&Used, &Most)| it.bodies > most.bodies / parts || it.bytes > most.bytes / parts;
        if after.iter().zip(most).any(is_too_much) {
            return false;
        }
        let [all, of_site, of_client] = after;
        self.all = all;
        self.sites.insert(site, of_site);
        self.clients.insert(client, of_client);
        true
    }

    fn take(&mut self, owner: Owner, less: Used) {
        let less_of_it = |of: &mut Used| {
            of.bodies = of.bodies.saturating_sub(less.bodies);
            of.bytes = of.bytes.saturating_sub(less.bytes);
        };
        less_of_it(&mut self.all);
        less_of(&mut self.sites, &owner.site, less_of_it);
        less_of(&mut self.clients, &owner.client, less_of_it);
    }
}

/// Takes from what `key` has, and forgets who has nothing.
fn less_of<K: Eq + Hash>(of: &mut HashMap<K, Used>, key: &K, less: impl Fn(&mut Used)) {
    if let Some(used) = of.get_mut(key) {
        less(used);
        if used.bodies == 0 {
            of.remove(key);
        }
    }
}

impl Share {
    /// Whether there may be so many bytes more, which are its own then.
    pub(super) fn grow(&mut self, bytes: u64) -> bool {
        let has_grown = self.gather.ledger().add(self.owner, Used { bodies: 0, bytes }, &self.gather.most);
        if has_grown {
            self.bytes += bytes;
        }
        has_grown
    }

    /// So many of them are there no more.
    pub(super) fn shrink(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        self.gather.ledger().take(self.owner, Used { bodies: 0, bytes });
        self.bytes -= bytes;
    }

    /// Bytes that are its own.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.gather.ledger().take(self.owner, Used { bodies: 1, bytes: self.bytes });
    }
}

/// A body in memory.
struct InMemory {
    bytes: Option<Bytes>,
    share: Share,
}

impl HttpBody for InMemory {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(self.bytes.take().filter(|it| !it.is_empty()).map(|it| Ok(Frame::data(it))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.as_ref().is_none_or(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(if self.bytes.is_some() { self.share.bytes } else { 0 })
    }
}

/// A file without a name. With its end the file system frees its blocks, which of a large one takes its time: no thread that answers visitors does
/// that.
#[derive(Debug)]
pub(super) struct Unnamed {
    /// There until the end.
    file: Option<File>,
    tasks: Tasks,
}

impl Unnamed {
    fn open(&self) -> io::Result<&File> {
        self.file.as_ref().ok_or_else(|| io::Error::other("the file was closed"))
    }
}

impl Drop for Unnamed {
    fn drop(&mut self) {
        self.tasks.let_go(self.file.take());
    }
}

/// A piece of a file that is being read.
pub(super) type Reading = Pin<Box<dyn Future<Output = Result<Bytes, Lost>> + Send>>;

/// A body in a file.
struct InFile {
    file: Arc<Unnamed>,
    /// Bytes that were given.
    at: u64,
    reading: Option<Reading>,
    share: Share,
}

impl HttpBody for InFile {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.is_end_stream() {
            return Poll::Ready(None);
        }
        let left = self.share.bytes - self.at;
        let mut reading = self.reading.take().unwrap_or_else(|| self.share.gather.read(&self.file, self.at, left));
        let Poll::Ready(read) = reading.as_mut().poll(context) else {
            self.reading = Some(reading);
            return Poll::Pending;
        };
        let bytes = read?;
        self.at += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.at >= self.share.bytes
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.share.bytes - self.at)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;
    use tokio::{runtime, sync::oneshot};

    use super::{super::bodies::Progress, *};
    use crate::base::ids::Id;

    const SHOP: SiteId = SiteId(Id::from_bytes([1; 16]));
    const BLOG: SiteId = SiteId(Id::from_bytes([2; 16]));

    fn sent(bytes: Vec<u8>) -> Sending {
        Sending::new(Body::boxed(Full::new(Bytes::from(bytes))), u64::MAX, Progress::new())
    }

    fn client(number: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, number])
    }

    #[tokio::test]
    async fn a_body_is_what_it_was_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let gather = Arc::new(Gather::new(folder.path().join("bodies"), Tasks::new()));
        for length in [0, 1, MEMORY_BYTES, MEMORY_BYTES + 1, 3 * PIECE_BYTES + 7] {
            let bytes: Vec<u8> = (0..length).map(|it| u8::try_from(it % 251).unwrap()).collect();
            let place = gather.place(SHOP, client(1), Of::Request).unwrap();
            let body = gather.whole(place, sent(bytes.clone())).await.unwrap();
            assert_eq!(body.size_hint().exact(), Some(u64::try_from(length).unwrap()));
            assert_eq!(body.is_end_stream(), length == 0);
            if length > MEMORY_BYTES {
                assert_eq!(fs::read_dir(folder.path().join("bodies")).unwrap().count(), 0, "it has no name");
            }
            assert_eq!(gather.ledger().sites.len(), 1);
            assert!(body.collect().await.unwrap().to_bytes() == bytes, "{length}");
            assert!(gather.is_unused());
        }
        assert!(folder.path().join("bodies").exists());
    }

    #[tokio::test]
    async fn all_a_site_and_a_client_have_their_most() {
        let folder = tempfile::tempdir().unwrap();
        let most = |bodies, bytes| Most { bodies, bytes };
        let gather = Gather::with(folder.path().to_owned(), Tasks::new(), [most(4, 400), most(3, 300), most(2, 150)]);
        let gather = Arc::new(gather);
        let whole = async |site, number, length| {
            let place = gather.place(site, client(number), Of::Request).ok_or(Fault::Share)?;
            gather.whole(place, sent(vec![0; length])).await
        };
        let is_full = |it: Result<Body, Fault>| matches!(it, Err(Fault::Share));
        assert!(is_full(whole(SHOP, 1, 151).await), "bytes of a client");
        let one = (whole(SHOP, 1, 50).await.unwrap(), whole(SHOP, 1, 50).await.unwrap());
        assert!(is_full(whole(SHOP, 1, 1).await), "bodies of a client");
        let two = whole(SHOP, 2, 150).await.unwrap();
        assert!(is_full(whole(SHOP, 3, 1).await), "bodies of a site");
        let three = whole(BLOG, 3, 50).await.unwrap();
        assert!(is_full(whole(BLOG, 4, 1).await), "bodies of all");
        drop((two, three));
        assert!(is_full(whole(SHOP, 4, 151).await));
        assert!(whole(SHOP, 4, 150).await.is_ok());
        drop(one);
        assert!(gather.ledger().clients.is_empty());
    }

    #[tokio::test]
    async fn a_disk_that_takes_nothing_is_said_and_holds_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        files::write_atomic(&file, b"x", 0o600).unwrap();
        let gather = Arc::new(Gather::new(file, Tasks::new()));
        let place = || gather.place(SHOP, client(1), Of::Request).unwrap();
        let small = gather.whole(place(), sent(vec![0; 9])).await.unwrap();
        drop(small);
        let large = gather.whole(place(), sent(vec![0; MEMORY_BYTES + 1])).await;
        assert!(matches!(large, Err(Fault::Disk)));
        assert!(gather.ledger().clients.is_empty());
    }

    /// Who has sent all of it has not broken it off.
    #[tokio::test]
    async fn what_the_disk_has_lost_is_no_fault_of_the_sender() {
        let folder = tempfile::tempdir().unwrap();
        let gather = Arc::new(Gather::new(folder.path().join("bodies"), Tasks::new()));
        let mut share = gather.place(SHOP, client(1), Of::Request).unwrap();
        let file = gather.write(None, 0, Bytes::from(vec![7; PIECE_BYTES]), Of::Request).await.unwrap();
        assert!(share.grow(u64::try_from(PIECE_BYTES).unwrap() + 1));
        let progress = Progress::new();
        let kept = Body::boxed(InFile { file, at: 0, reading: None, share });
        let mut body = Sending::new(kept, u64::MAX, Arc::clone(&progress));
        assert!(body.frame().await.unwrap().is_ok() && progress.fault().is_none());
        assert!(body.frame().await.unwrap().unwrap_err().is::<Lost>());
        assert_eq!(progress.fault(), Some(super::super::bodies::Fault::Lost));
        let [request, answer, read] = *gather.told.lock().unwrap();
        assert!(read.is_some() && request.is_none() && answer.is_none(), "it is told, once");
    }

    #[tokio::test]
    async fn answers_have_half_of_everything() {
        let folder = tempfile::tempdir().unwrap();
        let most = Most { bodies: 4, bytes: 400 };
        let gather = Arc::new(Gather::with(folder.path().to_owned(), Tasks::new(), [most; 3]));
        let place = |of| gather.place(SHOP, client(1), of);
        let mut held = [place(Of::Answer).unwrap(), place(Of::Answer).unwrap()];
        assert!(place(Of::Answer).is_none());
        assert!(held[0].grow(150) && !held[1].grow(51) && held[1].grow(50));
        let mut request = place(Of::Request).unwrap();
        assert!(request.grow(200) && !request.grow(1));
        held[0].shrink(100);
        assert!(request.grow(100) && held[0].bytes() == 50);
        drop((held, request));
        assert!(gather.is_unused());
    }
    /// Files below a folder that are open.
    fn open_below(folder: &Path) -> usize {
        let open = fs::read_dir("/proc/self/fd").unwrap().filter_map(|it| fs::read_link(it.ok()?.path()).ok());
        open.filter(|it| it.starts_with(folder)).count()
    }

    /// The only thread for such work is busy: a file stays open for so long, and is closed before the process ends.
    #[test]
    fn a_large_file_is_closed_on_no_thread_that_answers_visitors() {
        let runtime = runtime::Builder::new_current_thread().max_blocking_threads(1).enable_all().build().unwrap();
        let (folder, tasks) = (tempfile::tempdir().unwrap(), Tasks::new());
        let gather = Arc::new(Gather::new(folder.path().join("bodies"), tasks.clone()));
        let large = async || {
            let place = gather.place(SHOP, client(1), Of::Request).unwrap();
            gather.whole(place, sent(vec![0; MEMORY_BYTES + 1])).await.unwrap()
        };
        runtime.block_on(async {
            let body = large().await;
            let ((free, held), (began, has_begun)) = (std::sync::mpsc::channel::<()>(), oneshot::channel());
            let busy = tasks.clone();
            tasks.spawn(async move {
                let work = move || {
                    began.send(()).unwrap();
                    assert!(held.recv().is_err());
                };
                busy.blocking(work).await.unwrap();
            });
            has_begun.await.unwrap();
            drop(body);
            assert_eq!(open_below(folder.path()), 1);
            drop(free);
            tasks.stop();
            tasks.join().await;
            assert_eq!(open_below(folder.path()), 0);
        });
        // What is left then is closed where it is let go.
        let body = runtime.block_on(large());
        assert_eq!(open_below(folder.path()), 1);
        drop(body);
        assert_eq!(open_below(folder.path()), 0);
        let body = runtime.block_on(large());
        let handle = runtime.handle().clone();
        drop(runtime);
        let _ended = handle.enter();
        drop(body);
        assert_eq!(open_below(folder.path()), 0);
    }
}
