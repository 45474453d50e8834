//! Bodies of requests that are gathered before an upstream is asked: a slow line then holds none of its workers.
//!
//! Guarantees: what is gathered is in memory up to [`MEMORY_BYTES`], and with more in a file without a name below the data folder, which goes with
//! the request, however that ends, and with the process. What all have together is bounded, and what one site and one client have of it.
//!
//! SECURITY: the disk's reserve stays free: who sends much stops neither the database nor other sites.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    hash::Hash,
    io::{self, Write as _},
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

/// Bytes of a body that are in memory alone: most forms.
const MEMORY_BYTES: usize = 64 * 1024;
/// Bytes that are read at once.
const PIECE_BYTES: usize = 64 * 1024;
/// How often is told that there is no room.
const TELL_EVERY: Duration = Duration::from_mins(1);

/// How much there may be.
#[derive(Clone, Copy, Debug)]
struct Most {
    bodies: u64,
    bytes: u64,
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
    /// The disk takes no more.
    Disk,
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
    told: Mutex<Option<Instant>>,
}

/// What one body has of it.
#[derive(Debug)]
pub(super) struct Share {
    gather: Arc<Gather>,
    site: SiteId,
    client: IpAddr,
    bytes: u64,
}

impl Gather {
    /// In this folder, which is made when it is needed.
    pub(super) fn new(folder: PathBuf, tasks: Tasks) -> Self {
        Self::with(folder, tasks, [ALL_MOST, SITE_MOST, CLIENT_MOST])
    }

    fn with(folder: PathBuf, tasks: Tasks, most: [Most; 3]) -> Self {
        Self { folder, is_made: Mutex::default(), ledger: Mutex::default(), most, tasks, told: Mutex::default() }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of a body, for which there is a place. What it is larger than its route takes, and how it breaks off, is in its progress.
    pub(super) async fn whole(self: &Arc<Self>, mut share: Share, mut from: Sending) -> Result<Body, Fault> {
        let (mut pending, mut file) = (BytesMut::new(), None);
        while let Some(frame) = from.frame().await {
            let Ok(bytes) = frame.map_err(|_| Fault::Body)?.into_data() else { break };
            if !share.grow(u64::try_from(bytes.len()).unwrap_or(u64::MAX)) {
                return Err(Fault::Share);
            }
            pending.extend_from_slice(&bytes);
            if pending.len() > MEMORY_BYTES {
                // With its room, which would stay as large as the largest piece.
                file = Some(self.write(file.take(), std::mem::take(&mut pending).freeze()).await?);
            }
        }
        let Some(mut file) = file else { return Ok(Body::boxed(InMemory { bytes: Some(pending.freeze()), share })) };
        if !pending.is_empty() {
            file = self.write(Some(file), pending.freeze()).await?;
        }
        Ok(Body::boxed(InFile { file: Arc::new(file), at: 0, reading: None, share }))
    }

    /// A place for the body of a client of a site, if there is one.
    pub(super) fn place(self: &Arc<Self>, site: SiteId, client: IpAddr) -> Option<Share> {
        let client = network::counted(client);
        let has_place = self.ledger().add(site, client, Used { bodies: 1, bytes: 0 }, &self.most);
        has_place.then(|| Share { gather: Arc::clone(self), site, client, bytes: 0 })
    }

    /// Writes behind what is in a file, and into a new one where there is none.
    async fn write(self: &Arc<Self>, file: Option<File>, bytes: Bytes) -> Result<File, Fault> {
        let of = Arc::clone(self);
        let work = move || {
            let mut file = file.map_or_else(|| of.file(), Ok)?;
            // A disk that cannot be asked for its space refuses what is too much itself.
            let has_room =
                |it: Space| it.free >= it.reserve(None).saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
            if files::space(&of.folder).is_ok_and(|it| !has_room(it)) {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            file.write_all(&bytes)?;
            Ok(file)
        };
        let written = self.tasks.blocking(work).await.unwrap_or_else(|| Err(io::Error::other("the write has ended")));
        written.map_err(|error| {
            self.tell(&error);
            Fault::Disk
        })
    }

    /// A file without a name.
    fn file(&self) -> io::Result<File> {
        let mut is_made = self.is_made.lock().unwrap_or_else(PoisonError::into_inner);
        if !*is_made {
            files::private_folder(&self.folder)?;
            files::sweep_unfinished(&self.folder)?;
            *is_made = true;
        }
        drop(is_made);
        let path = self.folder.join(format!(".body.{}.tmp", random::label::<5>()));
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        unlink(&path)?;
        Ok(file)
    }

    fn tell(&self, error: &io::Error) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|it| it.elapsed() >= TELL_EVERY) {
            *told = Some(Instant::now());
            tracing::error!(
                folder = %self.folder.display(),
                %error,
                "what visitors send cannot be kept until it is whole, and is refused; `buffer = false` of a route passes it on as it comes"
            );
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
    fn add(&mut self, site: SiteId, client: IpAddr, more: Used, most: &[Most; 3]) -> bool {
        let of_site = self.sites.get(&site).copied().unwrap_or_default();
        let of_client = self.clients.get(&client).copied().unwrap_or_default();
        let after = [self.all, of_site, of_client]
            .map(|it| Used { bodies: it.bodies + more.bodies, bytes: it.bytes + more.bytes });
        if after.iter().zip(most).any(|(it, most)| it.bodies > most.bodies || it.bytes > most.bytes) {
            return false;
        }
        let [all, of_site, of_client] = after;
        self.all = all;
        self.sites.insert(site, of_site);
        self.clients.insert(client, of_client);
        true
    }

    fn take(&mut self, share: &Share) {
        let less = |of: &mut Used| {
            of.bodies = of.bodies.saturating_sub(1);
            of.bytes = of.bytes.saturating_sub(share.bytes);
        };
        less(&mut self.all);
        less_of(&mut self.sites, &share.site, less);
        less_of(&mut self.clients, &share.client, less);
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
    fn grow(&mut self, bytes: u64) -> bool {
        let more = Used { bodies: 0, bytes };
        let has_grown = self.gather.ledger().add(self.site, self.client, more, &self.gather.most);
        if has_grown {
            self.bytes += bytes;
        }
        has_grown
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.gather.ledger().take(self);
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

/// A piece of a file that is being read.
type Reading = Pin<Box<dyn Future<Output = Option<io::Result<Bytes>>> + Send>>;

/// A body in a file.
struct InFile {
    file: Arc<File>,
    /// Bytes that were given.
    at: u64,
    reading: Option<Reading>,
    share: Share,
}

impl InFile {
    fn read(&self) -> Reading {
        let (file, at, tasks) = (Arc::clone(&self.file), self.at, self.share.gather.tasks.clone());
        let left = usize::try_from(self.share.bytes - self.at).unwrap_or(usize::MAX);
        let work = move || {
            let mut piece = vec![0; left.min(PIECE_BYTES)];
            file.read_exact_at(&mut piece, at)?;
            Ok(Bytes::from(piece))
        };
        Box::pin(async move { tasks.blocking(work).await })
    }
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
        let mut reading = self.reading.take().unwrap_or_else(|| self.read());
        let Poll::Ready(read) = reading.as_mut().poll(context) else {
            self.reading = Some(reading);
            return Poll::Pending;
        };
        let bytes = read.unwrap_or_else(|| Err(io::Error::other("the read has ended")))?;
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
            let place = gather.place(SHOP, client(1)).unwrap();
            let body = gather.whole(place, sent(bytes.clone())).await.unwrap();
            assert_eq!(body.size_hint().exact(), Some(u64::try_from(length).unwrap()));
            assert_eq!(body.is_end_stream(), length == 0);
            if length > MEMORY_BYTES {
                assert_eq!(fs::read_dir(folder.path().join("bodies")).unwrap().count(), 0, "it has no name");
            }
            assert_eq!(gather.ledger().sites.len(), 1);
            assert!(body.collect().await.unwrap().to_bytes() == bytes, "{length}");
            let ledger = gather.ledger();
            assert_eq!((ledger.all.bodies, ledger.all.bytes), (0, 0));
            assert!(ledger.sites.is_empty() && ledger.clients.is_empty());
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
            let place = gather.place(site, client(number)).ok_or(Fault::Share)?;
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
        let place = || gather.place(SHOP, client(1)).unwrap();
        let small = gather.whole(place(), sent(vec![0; 9])).await.unwrap();
        drop(small);
        let large = gather.whole(place(), sent(vec![0; MEMORY_BYTES + 1])).await;
        assert!(matches!(large, Err(Fault::Disk)));
        assert!(gather.ledger().clients.is_empty());
    }
}
