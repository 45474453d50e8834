//! Opens the stores of a data folder: lock, blobs, database, queue. Used by the server and, while it is down, by the
//! command line.
//!
//! INVARIANT: nothing in a folder is changed before it is seen to be a data folder, or empty: its rights are taken away from
//! others and its left-overs are swept, which would be a loss in a folder of somebody's own files.
//!
//! INVARIANT: a database is made only in a folder that never had one. Beside a snapshot, or where the folder's instance
//! is known, a missing or foreign database is an error: an empty one would publish an empty host (DECISIONS 1).

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crate::{
    base::{
        blob_dir::{BlobDir, shared},
        clock::Clock,
        files::{self, FolderLock},
        ids::{Id, Ids},
        secret::Secret,
        tasks::Tasks,
    },
    config::{
        acme::Acme,
        blobs::{Bucket, REMEMBERED as BLOBS_REMEMBERED},
        database::{Postgres, REMEMBERED},
        edge::Caches,
        redis::REMEMBERED as QUEUE_REMEMBERED,
        server::Server,
    },
    domain::{Error, Result, month::Retention, node::Role},
    engines::{schema, sqlite::Sqlite},
    ports::db::{Database, Db, Found},
    serve::snapshot_file,
    services::{
        Addresses, Ground, Services,
        doctor::Outside,
        home::Home,
        nodes::{self, Node},
        secrets::{self, Secrets},
    },
    store,
};

use super::{authorities, caches, moving, queues};

/// The file with the id of the installation.
pub(super) const INSTANCE: &str = "instance";
/// The file with the id of this node.
pub(super) const NODE: &str = nodes::FILE;
/// The file that is locked.
const LOCK: &str = "lock";
/// The folder with the access log, where the settings name no other place for it.
const LOGS: &str = "logs";
/// The names in a data folder, some with an ending behind `.` or `-`.
const NAMES: [&str; 20] = [
    "archives",
    BLOBS_REMEMBERED,
    "blobs",
    super::tls::KEPT,
    "chainhost.db",
    "claim-link",
    "control.sock",
    "history",
    REMEMBERED,
    "incoming",
    INSTANCE,
    LOCK,
    LOGS,
    secrets::FILE,
    NODE,
    QUEUE_REMEMBERED,
    queues::FILE,
    "snapshot",
    super::tls::OWN_KEY,
    "variants",
];

/// A data folder that this process holds.
#[derive(Debug)]
pub struct Folder {
    /// Where it is.
    pub path: PathBuf,
    /// The bytes in it, or in the folder that is shared.
    pub blobs: BlobDir,
    /// Where the bytes live, when the folder is a cache.
    pub home: Option<Home>,
    /// The bucket before which the folder is, for people.
    pub bucket: Option<String>,
    _lock: FolderLock,
}

impl Folder {
    /// Makes the folder where it is missing, private, and takes its lock. A folder with files that are not a server's is
    /// refused, and left as it is.
    pub fn take(path: &Path) -> Result<Self> {
        Self::take_with(path, None)
    }

    /// As [`Folder::take`], with the bytes in the folder `shared` that other servers may use too.
    pub fn take_with(path: &Path, shared: Option<&Path>) -> Result<Self> {
        let cannot = |error: io::Error| {
            let text = format!("Cannot use the data folder {}: {error}. Choose another with --data.", path.display());
            Error::invalid("data_folder", text)
        };
        if !is_ours(path).map_err(cannot)? {
            return Err(Error::invalid(
                "data_folder_foreign",
                format!(
                    "{} has files in it and is not a data folder of Chain Host. Nothing in it was changed. Give an empty \
                     folder, or one that is not there yet, with --data.",
                    path.display()
                ),
            ));
        }
        files::private_folder(path).map_err(cannot)?;
        let path = path.canonicalize().map_err(cannot)?;
        let who = format!("process {}", std::process::id());
        match FolderLock::take(&path.join(LOCK), &who).map_err(cannot)? {
            Ok(lock) => {
                files::sweep_unfinished(&path).map_err(cannot)?;
                let blobs = match shared {
                    Some(shared) => find_shared(&path, shared)?,
                    None => BlobDir::open(&path).map_err(cannot)?,
                };
                if shared.is_none()
                    && let Err(why) = shared::check(blobs.root(), None).map_err(cannot)?
                {
                    return Err(blobs_folder(blobs.root(), &why));
                }
                Ok(Self { blobs, home: None, bucket: None, path, _lock: lock })
            }
            Err(held) => Err(Error::conflict(
                "data_folder_held",
                format!(
                    "The data folder {} is held by {}. Stop that one first, or choose another folder with --data.",
                    path.display(),
                    held.by
                ),
            )),
        }
    }
}

/// A folder that other servers may use too. One with files that are not ours is refused. It is left as it is until the
/// database has said whether it was used before: it may be a mount point without its mount.
fn find_shared(data: &Path, folder: &Path) -> Result<BlobDir> {
    let cannot = |error: io::Error| blobs_folder(folder, &error.to_string());
    let found = shared::mark(folder).map_err(cannot)?;
    let known = read_instance(&data.join(INSTANCE))?.map(|it| it.to_string());
    match found {
        // Of this installation, or of the one that the database will name.
        Some(found) if known.as_ref().is_none_or(|it| *it == found) => {}
        Some(_) => return Err(blobs_folder(folder, FOREIGN)),
        // A first start that broke off early leaves the folders without a mark, and nothing in them.
        None if shared::is_empty(folder).map_err(cannot)? || has_no_files(folder) => {}
        None => return Err(blobs_folder(folder, "it has files in it and no mark of Chain Host. Give an empty folder")),
    }
    Ok(BlobDir::name_shared(folder, &nodes::find_id(data)?.to_string()))
}

fn has_no_files(folder: &Path) -> bool {
    files::walk(folder).is_ok_and(|it| it.is_empty())
}

const FOREIGN: &str =
    "it belongs to another installation. Give a folder of its own, or the database of that installation";

fn blobs_folder(folder: &Path, why: &str) -> Error {
    let text = format!("Cannot keep files in {}: {why}. Nothing in it was changed.", folder.display());
    Error::invalid("blobs_folder", text)
}

/// Whether a folder may be taken: it is missing, empty, or has the id of an installation. A first start that broke off
/// early leaves no id, but a lock and no name that is not a data folder's.
fn is_ours(path: &Path) -> io::Result<bool> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    if fs::read_to_string(path.join(INSTANCE)).is_ok_and(|it| it.trim().parse::<Id>().is_ok()) {
        return Ok(true);
    }
    let (mut empty, mut locked) = (true, false);
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        // Made by mkfs in the root of a new file system.
        if name == "lost+found" {
            continue;
        }
        let bytes = name.as_encoded_bytes();
        let rests = NAMES.iter().filter_map(|it| bytes.strip_prefix(it.as_bytes()));
        let known = rests.map(<[u8]>::first).any(|next| matches!(next, None | Some(b'.' | b'-')));
        if !known && !files::is_unfinished(bytes) {
            return Ok(false);
        }
        empty = false;
        locked |= name == LOCK && entry.file_type()?.is_file();
    }
    Ok(empty || locked)
}

impl Folder {
    /// Makes the folder of blobs the cache of a bucket, of at most `cache_bytes`, which leaves `disk_reserve` bytes of its disk
    /// free. Asks the bucket nothing yet.
    #[cfg(feature = "s3")]
    pub fn attach(
        &mut self,
        bucket: &Bucket,
        cache_bytes: Option<u64>,
        disk_reserve: Option<u64>,
        tasks: &Tasks,
    ) -> Result<()> {
        let store = crate::engines::blobs_s3::S3::new(bucket)?;
        let home = Home::new(store, self.blobs.clone(), cache_bytes, disk_reserve, Clock::system(), tasks.clone())?;
        home.start();
        self.blobs = self.blobs.clone().with_home(Arc::new(home.clone()));
        self.home = Some(home);
        self.bucket = Some(bucket.to_string());
        Ok(())
    }

    /// Says that this build has no object store.
    #[cfg(not(feature = "s3"))]
    pub fn attach(
        &mut self,
        _bucket: &Bucket,
        _cache_bytes: Option<u64>,
        _disk_reserve: Option<u64>,
        _tasks: &Tasks,
    ) -> Result<()> {
        Err(Error::invalid(
            "feature_missing",
            "This build has no S3. Take a released binary, or build with `--features s3`.",
        ))
    }

    /// Whether an installation has lived here before.
    pub fn is_known(&self) -> bool {
        is_known(&self.path)
    }
}

/// Whether an installation has lived in this data folder before.
pub fn is_known(data: &Path) -> bool {
    data.join(INSTANCE).exists()
}

/// What the stores are opened with.
#[derive(Debug)]
pub struct Wish {
    /// Where sites and panel are reached.
    pub addresses: Addresses,
    /// Bytes that stay free.
    pub disk_reserve: Option<u64>,
    /// Bytes that a tenant's deployments may have.
    pub tenant_bytes_max: Option<u64>,
    /// The time of day.
    pub clock: Clock,
    /// What runs beside.
    pub tasks: Tasks,
    /// Whose snapshot is being served.
    pub snapshot: Option<Id>,
    /// A PostgreSQL instead of the database in the folder.
    pub postgres: Option<Postgres>,
    /// What this process does.
    pub role: Role,
    /// What its operator says of it.
    pub labels: Vec<String>,
    /// How long rows are kept in tables by month.
    pub retention: Retention,
    /// A Redis instead of the queue in the folder.
    pub queue_url: Option<Arc<Secret>>,
    /// A Redis behind the cache in memory.
    pub cache_url: Option<Arc<Secret>>,
    /// Where the master key is, when that is not the data folder.
    pub master_key_file: Option<PathBuf>,
    /// Authorities that are asked for certificates, if any are.
    pub acme: Option<Acme>,
    /// Caches in front of the server that are purged.
    pub edge: Vec<Caches>,
    /// Names and addresses of the world outside.
    pub outside: Outside,
}

/// The stores, open.
pub struct Opened {
    /// The use cases on them.
    pub services: Services,
    database: Arc<dyn Database>,
    close_queue: Box<dyn FnOnce() + Send>,
    close_cache: Box<dyn FnOnce() + Send>,
}

impl Opened {
    /// Waits until the disk has failed under a store and this process must end, and says why.
    pub async fn failed(&self) -> Error {
        tokio::select! {
            why = self.services.db.failed() => why,
            why = self.services.jobs.failed() => why,
        }
    }

    /// Finishes what waits and closes the files.
    pub fn close(self) {
        (self.close_queue)();
        self.database.close();
        (self.close_cache)();
    }
}

/// Whose snapshot is in a folder; `None` also when it cannot be read. For who does not serve it.
pub fn snapshot_instance(folder: &Folder) -> Option<Id> {
    snapshot_file::load(&folder.path).ok().flatten().map(|it| it.snapshot.instance)
}

/// Opens database and queue.
pub async fn open(folder: &Folder, wish: &Wish) -> Result<Opened> {
    let marker = folder.path.join(INSTANCE);
    let known = read_instance(&marker)?.or(wish.snapshot);
    let had_one = known.is_some() || snapshot_file::is_there(&folder.path);
    let database = match &wish.postgres {
        None => sqlite(folder, had_one)?,
        Some(settings) => postgres(settings.clone(), had_one).await?,
    };
    let db = Db::new(Arc::clone(&database));
    check_marks(&db).await?;
    moving::end_watch(&db).await?;
    let ids = Ids::new(wish.clock.clone());
    let fresh = ids.next();
    let instance = db
        .write(move |tx| match store::settings::find(tx, store::settings::INSTANCE)? {
            Some(text) => text.parse::<Id>().map_err(Error::internal),
            None if known.is_some() => Err(foreign()),
            None => {
                store::settings::set(tx, store::settings::INSTANCE, &fresh.to_string())?;
                Ok(fresh)
            }
        })
        .await?;
    if known.is_some_and(|it| it != instance) {
        return Err(foreign());
    }
    // Before the folder is one of an installation: a first start with a wrong place for its bytes ends with a sentence.
    own_blobs(folder, &db, instance).await?;
    if !marker.exists() {
        files::write_atomic(&marker, format!("{instance}\n").as_bytes(), 0o600)?;
    }
    let node = nodes::find_id(&folder.path)?;
    let shares = wish.postgres.is_some();
    let caches = caches::open(wish.cache_url.as_deref(), instance, shares)?;
    let who = queues::Who { instance, node, clock: wish.clock.clone() };
    let queues = queues::open(folder, &db, wish.queue_url.as_ref(), &who).await?;
    let secrets = Secrets::open(&db, &folder.path, wish.master_key_file.as_deref()).await;
    let services = Services::new(Ground {
        db,
        jobs: queues.jobs,
        cache: caches.cache,
        counts: caches.counts,
        blobs: folder.blobs.clone(),
        home: folder.home.clone(),
        clock: wish.clock.clone(),
        ids,
        tasks: wish.tasks.clone(),
        data: folder.path.clone(),
        addresses: wish.addresses.clone(),
        disk_reserve: wish.disk_reserve,
        tenant_bytes_max: wish.tenant_bytes_max,
        retention: wish.retention,
        instance,
        secrets,
        acme: authorities::open(wish.acme.as_ref(), &wish.tasks, &wish.outside.dns),
        edge: super::edge::open(&wish.edge, &wish.tasks, &wish.outside.dns),
        stores: super::stores::describe(folder, wish),
        outside: wish.outside.clone(),
        node: Node { id: node, role: wish.role, labels: wish.labels.clone(), shares, queue: queues.place },
    });
    Ok(Opened { services, database, close_queue: queues.close, close_cache: caches.close })
}

/// Sees that the place of the bytes, where it is not the data folder, is this installation's.
async fn own_blobs(folder: &Folder, db: &Db, instance: Id) -> Result<()> {
    if folder.blobs.is_shared() {
        own_shared(folder, db, &instance.to_string()).await?;
    }
    match &folder.home {
        Some(home) => home.claim(instance).await,
        None => Ok(()),
    }
}

/// Opens the shared folder, and marks one that is new.
///
/// One that was used before under this path and has no mark now is not mounted, or was emptied: what would be put into it
/// would be hidden by the mount, and a garbage collection would take the sites' files for gone.
async fn own_shared(folder: &Folder, db: &Db, ours: &str) -> Result<()> {
    let root = folder.blobs.root();
    let cannot = |error: io::Error| blobs_folder(root, &error.to_string());
    let used = format!("{}{}", store::settings::SHARED_FOLDER, root.display());
    let name = used.clone();
    let was_used = db.read(move |tx| store::settings::find(tx, &name)).await?.is_some();
    match shared::mark(root).map_err(cannot)? {
        Some(mark) if mark != ours => return Err(blobs_folder(root, FOREIGN)),
        None if was_used => return Err(unmounted(root, ours)),
        _ => {}
    }
    BlobDir::open_shared(root, &nodes::find_id(&folder.path)?.to_string()).map_err(cannot)?;
    if let Err(why) = shared::check(root, Some(Clock::system().now_ms())).map_err(cannot)? {
        return Err(blobs_folder(root, &why));
    }
    if shared::set_mark(root, ours).map_err(cannot)?.as_deref() != Some(ours) {
        return Err(blobs_folder(root, FOREIGN));
    }
    if was_used { Ok(()) } else { db.write(move |tx| store::settings::set(tx, &used, "")).await }
}

fn unmounted(root: &Path, ours: &str) -> Error {
    let text = format!(
        "The folder of files {} was used before and has no mark of this installation now: it is not mounted, or was emptied. \
         Nothing was put into it. Mount it, or restore it from a backup, and start again. If it is to begin empty, write \
         {ours} into its file {}.",
        root.display(),
        shared::MARK,
    );
    Error::invalid("blobs_folder_unmounted", text)
}

/// Refuses a database whose data is elsewhere, or is not complete.
async fn check_marks(db: &Db) -> Result<()> {
    let marks = db.read(store::copy::marks).await?;
    if let Some(to) = marks.moved_to {
        let text = format!(
            "The data of this server was moved from this database to {to}. Sites go on answering; nothing can be changed. Let no \
             setting name the old database and restart; or move the data back: chainhost move --to …"
        );
        return Err(Error::unavailable("database_moved", text));
    }
    if marks.filling.is_some() {
        let text = "This database is being filled by `chainhost move`, which has not come to its end. Sites go on answering; \
                    nothing can be changed. Run the same command again, then restart.";
        return Err(Error::unavailable("database_incomplete", text));
    }
    Ok(())
}

fn sqlite(folder: &Folder, had_one: bool) -> Result<Arc<dyn Database>> {
    let path = folder.path.join("chainhost.db");
    if had_one && !path.exists() {
        return Err(Error::unavailable(
            "database_missing",
            format!(
                "The database {} is gone, while this folder has had one. Sites go on answering; nothing can be changed. \
                 Put the file back or restore a backup, and restart.",
                path.display()
            ),
        ));
    }
    let database = Sqlite::open(&path, schema::SQLITE)?;
    Ok(database)
}

#[cfg(feature = "postgres")]
pub(super) async fn postgres(settings: Postgres, had_one: bool) -> Result<Arc<dyn Database>> {
    use crate::engines::postgres::{Postgres, Wish};
    let (answer, answered) = tokio::sync::oneshot::channel();
    // Its client must not run on a thread of the runtime.
    let open = move || {
        let wish = Wish {
            url: &settings.url,
            direct_url: settings.direct_url.as_deref(),
            replica_urls: &settings.replica_urls,
            pool: settings.pool,
            known: had_one,
        };
        // Nobody waits any more when the server is stopping.
        drop(answer.send(Postgres::open(&wish, schema::POSTGRES)));
    };
    std::thread::Builder::new().name(String::from("db-open")).spawn(open)?;
    let database = answered.await.map_err(Error::internal)??;
    Ok(database)
}

#[cfg(not(feature = "postgres"))]
#[expect(clippy::unused_async, reason = "the same signature as with the feature")]
pub(super) async fn postgres(_settings: Postgres, _had_one: bool) -> Result<Arc<dyn Database>> {
    Err(no_postgres())
}

/// What this build cannot do.
#[cfg(not(feature = "postgres"))]
pub(super) fn no_postgres() -> Error {
    Error::invalid(
        "feature_missing",
        "This build has no PostgreSQL. Take a released binary, or build with `--features postgres`.",
    )
}

pub(super) fn read_instance(marker: &Path) -> Result<Option<Id>> {
    match fs::read_to_string(marker) {
        Ok(text) => text
            .trim()
            .parse()
            .map(Some)
            .map_err(|_| Error::internal(format!("{} does not hold the id of an installation", marker.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The database belongs to another installation.
pub fn foreign() -> Error {
    Error::unavailable(
        "database_foreign",
        "The database in this folder belongs to another installation than the folder and its snapshot. Sites go on \
         answering; nothing can be changed. Put the right database back, and restart.",
    )
}

/// One question of a person to a server's database, in SQL, which can change nothing. Blocks; not for a thread of a runtime.
pub fn ask(settings: &Server, sql: &str, limit: usize, time: Duration) -> Result<Found> {
    match &settings.postgres {
        None => crate::engines::sqlite::shell::ask(&settings.data.join("chainhost.db"), sql, limit, time),
        #[cfg(feature = "postgres")]
        Some(it) => crate::engines::postgres::shell::ask(it.direct_url.as_ref().unwrap_or(&it.url), sql, limit, time),
        #[cfg(not(feature = "postgres"))]
        Some(_) => Err(no_postgres()),
    }
}
