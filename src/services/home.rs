//! The durable home of blobs in an object store, with the folder before it as a verified cache.
//!
//! Guarantees: what is told as kept is in the store, whole. What is fetched is hashed on its way into the folder and seen
//! there only when it is right. Many who ask for the same blob wait for one transfer, which has time limits; when the store
//! does not answer, asking for what is not in the folder fails at once (a breaker) and all else goes on. The folder has a
//! bound; only what the store has is removed to keep within it.
//!
//! | File | Holds |
//! |---|---|
//! | `fetch` | from the store into the folder |
//! | `places` | how many transfers there are at once, and for whom |
//! | `keep` | from the folder into the store |
//! | `room` | the bound of the folder |
//! | `breaker` | whether the store is asked at all |
//! | `carry` | what was deployed before there was a store |
//! | `send` | all of the folder into the store, before that is its home |
//! | `bring` | out of the store into the folder, to leave the store |
//! | `sweep` | garbage collection in the store |
//! | `deploy` | what a deployment needs kept, and the fence against garbage collection |
//!
//! Must never: serve or keep bytes that were not hashed; hold a thread of the runtime.

mod breaker;
pub mod bring;
mod carry;
mod deploy;
mod fetch;
mod keep;
mod places;
mod room;
pub mod send;
mod sweep;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use moka::sync::Cache;
use tokio::sync::Semaphore;

use crate::{
    base::{
        blob_dir::{BlobDir, Coding},
        clock::Clock,
        files,
        hash::Sha256,
        ids::Id,
        tasks::Tasks,
    },
    domain::{Error, Kind, Result},
    ports::blobs::{BlobStore, Name, StoreError},
};

pub(in crate::services) use self::deploy::Fence;
use self::{breaker::Breaker, deploy::Rounds, fetch::Flights, places::Places, room::Room};

/// MiB of files in memory on their way into the store.
const KEEP_MIB_MAX: usize = 64;
/// Bytes of the folder when nothing else is said, if that is less than a tenth of its disk.
const CACHE_BYTES: u64 = 10 << 30;
/// How long it is remembered that the store has an object, and how many are.
const SEEN: Duration = Duration::from_hours(1);
const SEEN_MAX: u64 = 200_000;
/// How long it is remembered that a blob cannot be had, so that asking again and again costs nothing.
const FAILED: Duration = Duration::from_secs(5);
/// How long it is remembered that a blob has no compressed forms.
const BARE: Duration = Duration::from_mins(10);
/// How long the store may take to say whose it is.
const ASK_MAX: Duration = Duration::from_secs(10);
/// Blobs remembered as lost.
const LOST_MAX: usize = 100_000;

/// A store with its folder. Cheap to clone.
#[derive(Clone)]
pub struct Home(Arc<Inner>);

struct Inner {
    store: Arc<dyn BlobStore>,
    /// Without a home of its own: what is asked of it is in it or not.
    folder: BlobDir,
    clock: Clock,
    tasks: Tasks,
    flights: Flights,
    places: Places,
    memory: Semaphore,
    breaker: Breaker,
    /// Objects that the store has, as seen lately.
    seen: Cache<Name, ()>,
    /// The last round of a collection that was heard of.
    swept: Mutex<Option<Fence>>,
    rounds: Rounds,
    /// Objects that are too young to be collected, as seen lately.
    young: Cache<Name, ()>,
    bare: Cache<Sha256, ()>,
    /// Blobs that the store should have, and has not, or with other bytes. Sent again, they are kept again.
    lost: Mutex<HashSet<Sha256>>,
    room: Room,
    instance: OnceLock<Id>,
    /// Whose store it is was seen.
    claimed: OnceLock<()>,
    /// What earlier deployments have is in it.
    carried: OnceLock<()>,
}

impl std::fmt::Debug for Home {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Home({})", self.0.store.place())
    }
}

impl Home {
    /// A store behind `folder`, which may have `cache_bytes`; `None`: the smaller of a tenth of its disk and 10 GiB. In any
    /// case `disk_reserve` bytes of its disk stay free, as far as files of the folder can make room; `None`: as
    /// [`files::Space::reserve`] says.
    pub fn new(
        store: Arc<dyn BlobStore>,
        folder: BlobDir,
        cache_bytes: Option<u64>,
        disk_reserve: Option<u64>,
        clock: Clock,
        tasks: Tasks,
    ) -> Result<Self> {
        let bytes_max = match cache_bytes {
            Some(bytes) => bytes,
            None => (files::space(folder.root())?.total / 10).min(CACHE_BYTES),
        };
        let remembered = || Cache::builder().max_capacity(SEEN_MAX).time_to_live(SEEN).build();
        Ok(Self(Arc::new(Inner {
            store,
            folder,
            clock,
            tasks,
            flights: Flights::new(),
            places: Places::new(),
            memory: Semaphore::new(KEEP_MIB_MAX),
            breaker: Breaker::default(),
            seen: remembered(),
            swept: Mutex::default(),
            rounds: Rounds::default(),
            young: remembered(),
            bare: Cache::builder().max_capacity(SEEN_MAX).time_to_live(BARE).build(),
            lost: Mutex::default(),
            room: Room::new(bytes_max, disk_reserve),
            instance: OnceLock::new(),
            claimed: OnceLock::new(),
            carried: OnceLock::new(),
        })))
    }

    /// What was seen in the store before a collection need not be there any more.
    fn saw_sweep(&self, fence: &Fence) {
        let mut last = self.0.swept.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref() != Some(fence) {
            self.0.seen.invalidate_all();
            self.0.young.invalidate_all();
            *last = Some(fence.clone());
        }
    }

    /// Sees that the store is this installation's; an empty one becomes it. A store that does not answer is asked again
    /// before anything is put into it; one that refuses is an error.
    pub async fn claim(&self, instance: Id) -> Result<()> {
        let instance = *self.0.instance.get_or_init(|| instance);
        match self.ask_whose(instance).await {
            Ok(()) => Ok(()),
            Err(error) if error.code == "blobs_away" => {
                tracing::warn!(%error, "the store of files does not answer; sites are served from what is here");
                Ok(())
            }
            // At the start, it is the settings that are wrong.
            Err(error) => Err(Error { kind: Kind::Invalid, ..error }),
        }
    }

    /// As [`Home::claim`], before something is put into the store or removed from it.
    async fn claimed(&self) -> Result<()> {
        if self.0.claimed.get().is_some() {
            return Ok(());
        }
        let Some(instance) = self.0.instance.get() else {
            return Err(Error::internal("whose store it is was not said"));
        };
        self.ask_whose(*instance).await
    }

    async fn ask_whose(&self, instance: Id) -> Result<()> {
        let store = &self.0.store;
        let ours = instance.to_string();
        let found = if let Some(found) = self.asked(ASK_MAX, store.mark()).await? {
            found
        } else {
            self.asked(ASK_MAX, store.set_mark(ours.clone())).await?;
            // Another may have been quicker: of a web and a worker that are started together, one is.
            let set = self.asked(ASK_MAX, store.mark()).await?;
            set.ok_or_else(|| Error::internal(format!("the mark in {} is gone as soon as it was put", store.place())))?
        };
        if found != ours {
            let text = format!(
                "{} belongs to another installation of Chain Host. Nothing in it was changed. Give this server a bucket or a \
                 prefix of its own, or the database of that installation.",
                store.place()
            );
            return Err(Error::unavailable("blobs_foreign", text));
        }
        // Set once; a second time says the same.
        self.0.claimed.get_or_init(|| ());
        Ok(())
    }

    /// Whether the store has answered lately.
    pub fn is_up(&self) -> bool {
        !self.0.breaker.is_open()
    }

    /// Forgets what it remembers of a blob: as after a restart.
    fn forget(&self, hash: Sha256) {
        self.0.seen.invalidate(&Name::Blob(hash));
        self.0.young.invalidate(&Name::Blob(hash));
    }

    fn forget_variants(&self, forms: &[(Sha256, Coding)]) {
        for (hash, coding) in forms {
            self.0.seen.invalidate(&Name::Variant(*hash, *coding));
        }
    }

    pub(super) fn is_lost(&self, hash: &Sha256) -> bool {
        self.0.lost.lock().unwrap_or_else(PoisonError::into_inner).contains(hash)
    }

    fn lose(&self, hash: Sha256) {
        self.forget(hash);
        let mut lost = self.0.lost.lock().unwrap_or_else(PoisonError::into_inner);
        if lost.len() < LOST_MAX {
            lost.insert(hash);
        }
    }

    fn regain(&self, hash: &Sha256) {
        self.0.lost.lock().unwrap_or_else(PoisonError::into_inner).remove(hash);
    }

    /// What people hear.
    fn explain(&self, error: &StoreError) -> Error {
        let place = self.0.store.place();
        match error {
            StoreError::Refused(why) => Error::unavailable(
                "blobs_refused",
                format!("The store of files cannot be used: {why}. Look at `[blobs]` in the settings and at AWS_ACCESS_KEY_ID."),
            ),
            StoreError::Missing | StoreError::Away(_) => Error::unavailable(
                "blobs_away",
                format!(
                    "The store of files, {place}, does not answer, so that nothing was changed. Sites go on answering. Try \
                     again in a moment."
                ),
            )
            .because(error),
        }
    }
}
