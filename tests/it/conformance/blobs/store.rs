//! The bucket with a folder before it as a place of blobs; and what is promised of an object store alone.

use std::{
    future::poll_fn,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
};

use bytes::Bytes;
use chainhost::{
    base::{
        clock::Clock,
        ids::{Id, Ids},
        tasks::Tasks,
    },
    engines::blobs_s3::S3,
    ports::blobs::{Answer, BlobStore, Found, LargePut, Listed, Name, Pieces, StoreError},
    services::home::Home,
};
use tokio::runtime::{EnterGuard, Runtime};
use tokio_stream::StreamExt as _;

use super::*;
use crate::support::s3::{Bucket, Way};

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().unwrap())
}

/// A store that counts what it is asked for.
struct Counted {
    store: Arc<S3>,
    gets: AtomicUsize,
    /// What another server marks it with, just before this one does.
    quicker: Option<String>,
}

impl BlobStore for Counted {
    fn place(&self) -> String {
        self.store.place()
    }

    fn get(&self, name: Name) -> Answer<'_, Pieces> {
        self.gets.fetch_add(1, Ordering::SeqCst);
        self.store.get(name)
    }

    fn put(&self, name: Name, bytes: Bytes) -> Answer<'_, ()> {
        self.store.put(name, bytes)
    }

    fn put_large(&self, name: Name) -> Answer<'_, Box<dyn LargePut>> {
        self.store.put_large(name)
    }

    fn head(&self, name: Name) -> Answer<'_, Option<Found>> {
        self.store.head(name)
    }

    fn list(&self) -> Listed {
        self.store.list()
    }

    fn delete(&self, names: Vec<Name>) -> Answer<'_, ()> {
        self.store.delete(names)
    }

    fn mark(&self) -> Answer<'_, Option<String>> {
        self.store.mark()
    }

    fn set_mark(&self, text: String) -> Answer<'_, ()> {
        Box::pin(async move {
            if let Some(other) = &self.quicker {
                self.store.set_mark(other.clone()).await?;
            }
            self.store.set_mark(text).await
        })
    }
}

/// A bucket with a folder before it.
pub(super) struct Cached {
    folder: TempDir,
    bucket: Bucket,
    store: Arc<Counted>,
    _inside: EnterGuard<'static>,
}

impl Cached {
    pub(super) fn new() -> Self {
        let bucket = Bucket::new();
        let store =
            Arc::new(Counted { store: S3::new(&bucket.config()).unwrap(), gets: AtomicUsize::new(0), quicker: None });
        let inside = runtime().enter();
        let cached = Self { folder: tempfile::tempdir().unwrap(), bucket, store, _inside: inside };
        // As at the first start; later ones find it so.
        cached.open_with(None);
        cached
    }

    fn open_with(&self, cache_bytes: Option<u64>) -> (BlobDir, Home) {
        static OURS: OnceLock<Id> = OnceLock::new();
        let dir = BlobDir::open(self.root()).unwrap();
        let store = Arc::clone(&self.store);
        let home = Home::new(store, dir.clone(), cache_bytes, Some(0), Clock::system(), Tasks::new()).unwrap();
        let (clock, _) = Clock::manual(1_790_000_000_000);
        let ours = *OURS.get_or_init(|| Ids::new(clock).next());
        runtime().block_on(home.claim(ours)).unwrap();
        (dir.with_home(Arc::new(home.clone())), home)
    }

    fn put(&self, name: Name, bytes: Vec<u8>) {
        runtime().block_on(self.store.put(name, Bytes::from(bytes))).unwrap();
    }
}

impl Place for Cached {
    fn root(&self) -> &Path {
        self.folder.path()
    }

    fn open(&self) -> BlobDir {
        self.open_with(None).0
    }

    fn keep(&self, dir: &BlobDir, hash: Sha256) {
        self.put(Name::Blob(hash), dir.read_local(&hash).unwrap());
    }

    fn keep_form(&self, hash: Sha256, coding: Coding) {
        self.put(Name::Variant(hash, coding), fs::read(form_path(self, &hash, coding)).unwrap());
    }

    fn is_cache(&self) -> bool {
        true
    }
}

async fn all(pieces: Result<Pieces, StoreError>) -> Result<Vec<u8>, StoreError> {
    let (mut pieces, mut bytes) = (pieces?, Vec::new());
    while let Some(piece) = pieces.next().await {
        bytes.extend_from_slice(&piece?);
    }
    Ok(bytes)
}

async fn list(store: &dyn BlobStore) -> BTreeMap<Name, u64> {
    let listed: Vec<_> = store.list().collect().await;
    listed.into_iter().map(|it| it.unwrap()).map(|(name, found)| (name, found.size)).collect()
}

/// Waits for what may take a while after something was out of order.
async fn until<T>(what: &str, mut done: impl AsyncFnMut() -> Option<T>) -> T {
    let began = tokio::time::Instant::now();
    loop {
        if let Some(it) = done().await {
            return it;
        }
        assert!(began.elapsed() < Duration::from_mins(2), "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn an_object_is_put_and_got_and_put_again() {
    let place = Cached::new();
    runtime().block_on(async {
        let store = &*place.store;
        let bytes = Seed::new(1).bytes(2_000_000);
        let name = Name::Blob(Sha256::of(&bytes));
        let form = Name::Variant(Sha256::of(&bytes), Coding::Gzip);
        store.put(name, Bytes::from(bytes.clone())).await.unwrap();
        store.put(form, Bytes::from_static(b"form")).await.unwrap();
        assert!(all(store.get(name).await).await.unwrap() == bytes);
        let first = store.head(name).await.unwrap().unwrap();
        assert_eq!(first.size, 2_000_000);
        store.put(name, Bytes::from_static(b"others")).await.unwrap();
        assert_eq!(all(store.get(name).await).await.unwrap(), b"others");
        let second = store.head(name).await.unwrap().unwrap();
        assert!(second.size == 6 && second.written_ms >= first.written_ms, "{first:?} {second:?}");
        assert_eq!(all(store.get(form).await).await.unwrap(), b"form");
        assert_eq!(list(store).await, BTreeMap::from([(name, 6), (form, 4)]));
        store.delete(vec![name, form]).await.unwrap();
        assert!(list(store).await.is_empty());
    });
}

#[test]
fn an_object_that_is_not_there_is_missing_and_may_be_removed() {
    let place = Cached::new();
    runtime().block_on(async {
        let store = &*place.store;
        let name = Name::Blob(Sha256::of(b"never put"));
        assert_eq!(all(store.get(name).await).await, Err(StoreError::Missing));
        assert_eq!(store.head(name).await, Ok(None));
        store.delete(vec![name]).await.unwrap();
        assert!(list(store).await.is_empty());
    });
}

#[test]
fn a_large_object_is_seen_when_it_is_finished() {
    let place = Cached::new();
    runtime().block_on(async {
        let store = &*place.store;
        let bytes = Seed::new(4).bytes(6 << 20);
        let name = Name::Blob(Sha256::of(&bytes));
        let (first, rest) = bytes.split_at(5 << 20);
        for ends in [false, true] {
            let mut large = store.put_large(name).await.unwrap();
            large.part(Bytes::copy_from_slice(first)).await.unwrap();
            large.part(Bytes::copy_from_slice(rest)).await.unwrap();
            assert_eq!(store.head(name).await, Ok(None));
            if ends {
                large.finish().await.unwrap();
            } else {
                large.abort().await.unwrap();
                assert!(list(store).await.is_empty());
            }
        }
        assert!(all(store.get(name).await).await.unwrap() == bytes);
        assert_eq!(list(store).await, BTreeMap::from([(name, 6 << 20)]));
    });
}

#[test]
fn objects_of_others_are_neither_listed_nor_removed() {
    let place = Cached::new();
    place.bucket.put("blobs/notes.txt", b"notes".to_vec());
    place.bucket.put("variants/ab/readme", b"notes".to_vec());
    runtime().block_on(async {
        let store = &*place.store;
        let names: Vec<Name> = (0..30_u8).map(|it| Name::Blob(Sha256::of(&[it]))).collect();
        for name in &names {
            store.put(*name, Bytes::from_static(b"x")).await.unwrap();
        }
        assert_eq!(list(store).await.into_keys().collect::<Vec<_>>().len(), 30);
        store.delete(names).await.unwrap();
        assert!(list(store).await.is_empty());
    });
    let left: Vec<String> = place.bucket.list().into_keys().collect();
    assert_eq!(left, ["blobs/notes.txt", "chainhost-instance", "variants/ab/readme"]);
}

#[test]
fn a_store_is_marked_once_and_only_when_it_is_empty() {
    let bucket = Bucket::new();
    let store = S3::new(&bucket.config()).unwrap();
    runtime().block_on(async {
        assert_eq!(store.mark().await, Ok(None));
        store.set_mark(String::from("one")).await.unwrap();
        assert_eq!(store.mark().await, Ok(Some(String::from("one"))));
        store.set_mark(String::from("two")).await.unwrap();
        assert_eq!(store.mark().await, Ok(Some(String::from("one"))));
    });
    bucket.delete("chainhost-instance");
    bucket.put("holiday.jpg", b"picture".to_vec());
    let refused = runtime().block_on(store.set_mark(String::from("one")));
    assert!(matches!(&refused, Err(StoreError::Refused(why)) if why.contains("holiday.jpg")), "{refused:?}");
}

#[test]
fn two_servers_that_mark_a_store_at_once_both_know_whose_it_is() {
    let (clock, _) = Clock::manual(1_790_000_000_000);
    let ids = Ids::new(clock);
    let (ours, theirs) = (ids.next(), ids.next());
    for (quicker, expected) in [(ours, None), (theirs, Some("blobs_foreign"))] {
        let bucket = Bucket::new();
        let store = S3::new(&bucket.config()).unwrap();
        let store = Arc::new(Counted { store, gets: AtomicUsize::new(0), quicker: Some(quicker.to_string()) });
        let folder = tempfile::tempdir().unwrap();
        let _inside = runtime().enter();
        let dir = BlobDir::open(folder.path()).unwrap();
        let home = Home::new(store, dir, None, Some(0), Clock::system(), Tasks::new()).unwrap();
        let claimed = runtime().block_on(home.claim(ours));
        assert_eq!(claimed.err().map(|it| it.code), expected);
    }
}

#[test]
fn a_store_that_fails_is_away_and_is_used_again_as_soon_as_it_answers() {
    let place = Cached::new();
    let bytes = Seed::new(5).bytes(400_000);
    let dir = place.open();
    let hash = dir.put(&bytes).unwrap();
    place.keep(&dir, hash);
    for way in [Way::Shut, Way::Answers(500), Way::Answers(503), Way::Cuts(100_000)] {
        fs::remove_file(path(&place, &hash)).unwrap();
        place.bucket.gate.set(way);
        runtime().block_on(async {
            let got = all(place.store.get(Name::Blob(hash)).await).await;
            // A cut answer may be asked for again from where it was cut.
            assert!(
                matches!(&got, Err(StoreError::Away(_))) || (way == Way::Cuts(100_000) && got == Ok(bytes.clone()))
            );
        });
        let found = dir.read_verified(&hash);
        let is_away = matches!(&found, Err(BlobError::Away(_)));
        assert!(is_away || found.is_ok_and(|it| it == bytes), "{way:?}: other bytes, or another error");
        assert!(!is_away || !dir.has(&hash), "{way:?}: there is something of it");
        place.bucket.gate.set(Way::Open);
        runtime().block_on(until("the store to be used again", async || {
            let home = dir.home().unwrap();
            home.fetch(hash).await.ok()
        }));
        assert!(dir.read_verified(&hash).unwrap() == bytes);
        assert_eq!(incoming(&place), 0);
    }
}

#[test]
fn bytes_that_the_store_has_damaged_are_not_taken() {
    let place = Cached::new();
    let dir = place.open();
    let hash = dir.put(b"content").unwrap();
    fs::remove_file(path(&place, &hash)).unwrap();
    for damage in [&b"CONTENT"[..], b"conten", b""] {
        place.put(Name::Blob(hash), damage.to_vec());
        let again = place.open();
        assert!(is_corrupt(&again.read_verified(&hash)) && !again.has(&hash));
        assert_eq!(incoming(&place), 0);
    }
    // Nor forms; without them all goes on.
    place.put(Name::Variant(hash, Coding::Gzip), b"no digest of it is behind these bytes".to_vec());
    dir.home().unwrap().fetch_variants_blocking(hash);
    assert_eq!(dir.variant(&hash, Coding::Gzip).unwrap(), None);
    place.put(Name::Blob(hash), b"content".to_vec());
    assert_eq!(place.open().read_verified(&hash).unwrap(), b"content");
}

#[test]
fn many_who_ask_for_one_blob_wait_for_one_transfer() {
    let place = Cached::new();
    let dir = place.open();
    let bytes = Seed::new(6).bytes(500_000);
    let hash = dir.put(&bytes).unwrap();
    place.keep(&dir, hash);
    fs::remove_file(path(&place, &hash)).unwrap();
    place.bucket.gate.set(Way::Stalled);
    let home = dir.home().unwrap();
    runtime().block_on(async {
        let mut asking: Vec<_> = (0..50).map(|_| home.fetch(hash)).collect();
        for one in &mut asking {
            // Each has begun to wait.
            let waits = poll_fn(|context| Poll::Ready(one.as_mut().poll(context).is_pending()));
            assert!(waits.await);
        }
        place.bucket.gate.set(Way::Open);
        for one in asking {
            one.await.unwrap();
        }
    });
    assert!(dir.read_local(&hash).unwrap() == bytes);
    assert_eq!(place.store.gets.load(Ordering::SeqCst), 1);
}

#[test]
fn a_cache_lets_go_only_of_what_the_store_has() {
    let place = Cached::new();
    let (dir, home) = place.open_with(Some(250_000));
    let mut seed = Seed::new(7);
    let [first, second, unkept] = [(); 3].map(|()| dir.put(&seed.bytes(100_000)).unwrap());
    place.keep(&dir, first);
    place.keep(&dir, second);
    // Those that were used least lately go first, if they may.
    age(&place, &unkept);
    age(&place, &first);
    assert_eq!(runtime().block_on(home.make_room()).unwrap(), 100_000);
    assert!(dir.has(&unkept) && dir.has(&second) && !dir.has(&first));
    assert_eq!(runtime().block_on(home.make_room()).unwrap(), 0);
    assert_eq!(Sha256::of(&dir.read_verified(&first).unwrap()), first);
}

#[test]
fn nothing_leaves_a_folder_that_is_to_be_the_only_copy() {
    for for_good in [false, true] {
        let place = Cached::new();
        let (dir, home) = place.open_with(Some(250_000));
        let mut seed = Seed::new(9);
        let all = [(); 3].map(|()| dir.put(&seed.bytes(100_000)).unwrap());
        for it in &all {
            place.keep(&dir, *it);
        }
        if for_good {
            home.hold_for_good();
        }
        home.hold();
        assert_eq!(runtime().block_on(home.make_room()).unwrap(), 0);
        assert!(all.iter().all(|it| dir.has(it)));
    }
}

#[test]
fn what_one_server_keeps_another_reads() {
    let place = Cached::new();
    let (dir, elsewhere) = (place.open(), tempfile::tempdir().unwrap());
    let bytes = Seed::new(8).bytes(300_000);
    let hash = dir.put(&bytes).unwrap();
    place.keep(&dir, hash);
    let other = BlobDir::open(elsewhere.path()).unwrap();
    let store = Arc::clone(&place.store);
    let home = Home::new(store, other.clone(), None, Some(0), Clock::system(), Tasks::new()).unwrap();
    let other = other.with_home(Arc::new(home));
    assert!(!other.has(&hash) && other.read_verified(&hash).unwrap() == bytes && other.has(&hash));
    let (_, size) = dir.open_verified(&hash).unwrap();
    assert_eq!(size, 300_000);
}
