//! Bytes by their SHA-256 in a folder: `blobs/ab/<hex>`, `variants/ab/<hex>.zst|br|gz`, `incoming/`.
//!
//! Guarantees: a blob appears under its name only whole, hashed and durable; a half-written one stays in
//! `incoming/` and is swept at the next start. Files have mode 0400, folders 0700. A full disk shows as
//! [`io::ErrorKind::StorageFull`] and changes nothing. All calls block: async code goes through a pool.
//!
//! Must never: hand out bytes as verified that were not hashed in that call; know what a site is.
//!
//! [`BlobDir::open`] sweeps `incoming/`, so only the holder of the data folder's lock may call it. A folder that several
//! servers use is opened by [`BlobDir::open_shared`]. With a [`Home`], the folder is a cache: what is not in it, or is
//! damaged, is fetched from there; the methods with `local` in their names look into the folder alone.

mod home;
pub mod shared;

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    files,
    hash::{Hasher, Sha256},
    random,
};

pub use self::home::{Coming, Home};

/// The folders of a store, in which all that it has is.
const FOLDERS: [&str; 3] = ["blobs", "variants", "incoming"];
/// Above this many files one `syncfs` is cheaper than an fsync each.
const SYNC_EACH_MAX: usize = 4;
/// Above this many touched folders one more `syncfs` is cheaper than an fsync each.
const SYNC_FOLDERS_MAX: usize = 8;
/// The digest at the end of a variant's file.
const TRAILER: usize = 32;

/// Why a blob cannot be had or kept.
#[derive(Debug)]
pub enum BlobError {
    /// There is no such blob.
    Missing,
    /// The bytes are not those of the hash.
    Corrupt,
    /// The disk refused.
    Io(io::Error),
    /// It is not in the folder, and where it lives does not answer. For the log.
    Away(String),
}

impl std::fmt::Display for BlobError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing => f.write_str("there is no such blob"),
            Self::Corrupt => f.write_str("the bytes do not have the expected SHA-256"),
            Self::Io(error) => write!(f, "{error}"),
            Self::Away(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for BlobError {}

impl From<io::Error> for BlobError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::NotFound { Self::Missing } else { Self::Io(error) }
    }
}

impl From<BlobError> for io::Error {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::Missing => Self::new(io::ErrorKind::NotFound, error),
            BlobError::Corrupt => Self::new(io::ErrorKind::InvalidData, error),
            BlobError::Io(error) => error,
            BlobError::Away(_) => Self::new(io::ErrorKind::HostUnreachable, error),
        }
    }
}

/// How the bytes of a variant are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Coding {
    /// Zstandard (RFC 8878).
    Zstd,
    /// Brotli (RFC 7932).
    Brotli,
    /// gzip (RFC 1952).
    Gzip,
}

impl Coding {
    /// All codings, the preferred one first.
    pub const ALL: [Self; 3] = [Self::Brotli, Self::Zstd, Self::Gzip];

    /// The ending of a variant's file name.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Zstd => "zst",
            Self::Brotli => "br",
            Self::Gzip => "gz",
        }
    }

    /// The word in `Accept-Encoding` and `Content-Encoding`.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }
}

/// A blob store in a folder. Cheap to clone.
#[derive(Clone, Debug)]
pub struct BlobDir {
    root: Arc<Path>,
    /// Held while a blob that is there is taken for good, or is found too old and removed: never both at once.
    keeping: Arc<Mutex<()>>,
    /// Folders whose names are durable: that one is there says only that somebody has made it.
    durable: Arc<Mutex<BTreeSet<PathBuf>>>,
    /// Our part of the names of unfinished files, where other servers have theirs in the same folder.
    node: Option<Arc<str>>,
    home: Option<Arc<dyn Home>>,
}

/// A compressed form in a folder: what it is, the size of its file, and when it was written (milliseconds since 1970).
pub type ListedVariant = ((Sha256, Coding), u64, i64);

impl BlobDir {
    /// Opens the store below `root`, makes its folders, and removes what an earlier run left unfinished.
    pub fn open(root: &Path) -> io::Result<Self> {
        for name in FOLDERS {
            files::private_folder(&root.join(name))?;
        }
        for left in fs::read_dir(root.join("incoming"))? {
            let left = left?;
            if left.file_type()?.is_file() && random::is_label::<15>(left.file_name().as_encoded_bytes()) {
                files::unless_read_only(fs::remove_file(left.path()))?;
            }
        }
        Ok(Self::at(root, None))
    }

    fn at(root: &Path, node: Option<&str>) -> Self {
        let (keeping, durable) = (Arc::default(), Arc::default());
        Self { root: Arc::from(root), keeping, durable, node: node.map(Arc::from), home: None }
    }

    /// The folder in which all of it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether other machines may change the folder: then nothing in it may be mapped into memory.
    pub const fn is_shared(&self) -> bool {
        self.node.is_some()
    }

    /// Begins a blob whose bytes come in pieces.
    pub fn writer(&self) -> io::Result<BlobWriter> {
        let temporary = self.temporary();
        let file = OpenOptions::new().write(true).create_new(true).mode(0o400).open(&temporary.path)?;
        Ok(BlobWriter { file, temporary, hasher: Hasher::new(), size: 0 })
    }

    /// An empty batch; see [`Batch::commit`].
    pub fn batch(&self) -> Batch {
        Batch { dir: self.clone(), staged: Vec::new() }
    }

    /// Keeps `bytes`, durably. Convenient for one blob; many go through a [`Batch`].
    pub fn put(&self, bytes: &[u8]) -> io::Result<Sha256> {
        let hash = Sha256::of(bytes);
        // Hashed, since its file may be damaged; and synced, since whoever put it before may not have come to that.
        if self.read_local(&hash).is_ok() && self.touch(&hash) {
            let path = self.path(&hash);
            File::open(&path)?.sync_all()?;
            let folder = folder_of(&path)?;
            self.make_folder(folder)?;
            files::sync_folder(folder)?;
            return Ok(hash);
        }
        let mut batch = self.batch();
        let mut writer = self.writer()?;
        writer.write(bytes)?;
        writer.finish(Some(hash), &mut batch)?;
        batch.commit()?;
        Ok(hash)
    }

    /// Whether a blob of this name is there. Its bytes are not looked at.
    pub fn has(&self, hash: &Sha256) -> bool {
        self.size(hash).is_some()
    }

    /// The size of a blob.
    pub fn size(&self, hash: &Sha256) -> Option<u64> {
        let found = fs::symlink_metadata(self.path(hash)).ok()?;
        found.is_file().then_some(found.len())
    }

    /// When a blob was written or last put again (milliseconds since 1970).
    pub fn written_ms(&self, hash: &Sha256) -> Option<i64> {
        let found = fs::symlink_metadata(self.path(hash)).ok()?;
        found.is_file().then(|| found.mtime().saturating_mul(1000) + found.mtime_nsec() / 1_000_000)
    }

    /// The bytes of a blob in the folder, hashed now.
    pub fn read_local(&self, hash: &Sha256) -> Result<Vec<u8>, BlobError> {
        let bytes = read_all(self.open_local(hash)?)?;
        if Sha256::of(&bytes) == *hash { Ok(bytes) } else { Err(BlobError::Corrupt) }
    }

    /// Opens the file of a blob in the folder. INVARIANT: its bytes are not verified; whoever serves them must do so.
    pub fn open_local(&self, hash: &Sha256) -> Result<File, BlobError> {
        open_plain(&self.path(hash))
    }

    /// Keeps a compressed form of a blob, durably, with its own digest behind it.
    pub fn put_variant(&self, hash: &Sha256, coding: Coding, bytes: &[u8]) -> io::Result<()> {
        let path = self.variant_path(hash, coding);
        let folder = folder_of(&path)?;
        self.make_folder(folder)?;
        let mut temporary = self.temporary();
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o400).open(&temporary.path)?;
        file.write_all(bytes)?;
        file.write_all(&Sha256::of(bytes).0)?;
        file.sync_all()?;
        fs::rename(&temporary.path, &path)?;
        temporary.moved = true;
        files::sync_folder(folder)
    }

    /// The compressed form of a blob and its digest, when there is one.
    ///
    /// SECURITY: the digest beside the bytes shows rot and careless edits, not an attacker who writes both:
    /// a caller that serves it must also see that it decodes to the blob.
    pub fn variant(&self, hash: &Sha256, coding: Coding) -> Result<Option<(Vec<u8>, Sha256)>, BlobError> {
        let mut bytes = match open_plain(&self.variant_path(hash, coding)) {
            Ok(file) => read_all(file)?,
            Err(BlobError::Missing) => return Ok(None),
            Err(error) => return Err(error),
        };
        let body = bytes.len().checked_sub(TRAILER).ok_or(BlobError::Corrupt)?;
        let trailer = bytes.split_off(body);
        let digest = Sha256::of(&bytes);
        if trailer != digest.0 {
            return Err(BlobError::Corrupt);
        }
        Ok(Some((bytes, digest)))
    }

    /// The size of a variant without its digest, when there is one. Its bytes are not looked at.
    pub fn variant_size(&self, hash: &Sha256, coding: Coding) -> Option<u64> {
        let found = fs::symlink_metadata(self.variant_path(hash, coding)).ok()?;
        found.is_file().then(|| found.len().checked_sub(u64_of(TRAILER)))?
    }

    /// Every blob: hash, size, and when it was written or last put again (milliseconds since 1970).
    pub fn list(&self) -> io::Result<Vec<(Sha256, u64, i64)>> {
        self.list_in("blobs", |name| name.parse().ok())
    }

    /// Every compressed form.
    pub fn list_variants(&self) -> io::Result<Vec<ListedVariant>> {
        self.list_in("variants", |name| {
            let (hex, ending) = name.split_once('.')?;
            let coding = Coding::ALL.into_iter().find(|it| it.extension() == ending)?;
            Some((hex.parse().ok()?, coding))
        })
    }

    fn list_in<T>(&self, name: &str, read: impl Fn(&str) -> Option<T>) -> io::Result<Vec<(T, u64, i64)>> {
        let mut found = Vec::new();
        for folder in fs::read_dir(self.root.join(name))? {
            let folder = folder?;
            if !folder.file_type()?.is_dir() {
                continue;
            }
            for entry in fs::read_dir(folder.path())? {
                let entry = entry?;
                let Some(hash) = entry.file_name().to_str().and_then(&read) else {
                    continue;
                };
                // Removed since the folder was read: nothing to report.
                let Ok(about) = entry.metadata() else {
                    continue;
                };
                if about.is_file() {
                    found.push((
                        hash,
                        about.len(),
                        about.mtime().saturating_mul(1000) + about.mtime_nsec() / 1_000_000,
                    ));
                }
            }
        }
        Ok(found)
    }

    /// Removes a blob and its variants. Fine when it is gone already.
    pub fn remove(&self, hash: &Sha256) -> io::Result<()> {
        self.remove_variants(hash)?;
        gone(fs::remove_file(self.path(hash)))
    }

    fn remove_variants(&self, hash: &Sha256) -> io::Result<()> {
        for coding in Coding::ALL {
            gone(fs::remove_file(self.variant_path(hash, coding)))?;
        }
        Ok(())
    }

    /// Removes a blob and its variants when it was written, and last put again, before `before_ms`; whether it was.
    pub fn remove_older(&self, hash: &Sha256, before_ms: i64) -> io::Result<bool> {
        let _keeping = self.keeping();
        if self.written_ms(hash).is_none_or(|it| it >= before_ms) {
            return Ok(false);
        }
        if !self.is_shared() {
            self.remove(hash)?;
            return Ok(true);
        }
        if !self.set_aside(hash, before_ms)? {
            return Ok(false);
        }
        // What is under the blob's name now, another server has put since.
        self.remove_variants(hash)?;
        Ok(true)
    }

    /// Removes one variant of a blob: a damaged one can be made again. Fine when it is gone already.
    pub fn remove_variant(&self, hash: &Sha256, coding: Coding) -> io::Result<()> {
        gone(fs::remove_file(self.variant_path(hash, coding)))
    }

    fn temporary(&self) -> Temporary {
        let own = self.node.as_ref().map_or_else(String::new, |node| format!("{node}-"));
        Temporary { path: self.root.join("incoming").join(own + &random::label::<15>()), moved: false }
    }

    fn path(&self, hash: &Sha256) -> PathBuf {
        let hex = hash.hex();
        let mut path = self.root.join("blobs");
        path.push(hex.get(..2).unwrap_or_default());
        path.push(hex);
        path
    }

    fn variant_path(&self, hash: &Sha256, coding: Coding) -> PathBuf {
        let hex = hash.hex();
        let mut path = self.root.join("variants");
        path.push(hex.get(..2).unwrap_or_default());
        path.push(format!("{hex}.{}", coding.extension()));
        path
    }

    fn keeping(&self) -> MutexGuard<'_, ()> {
        self.keeping.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a folder of blobs or variants, with a durable name.
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        if durable.contains(folder) {
            return Ok(());
        }
        match fs::DirBuilder::new().mode(0o700).create(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => files::sync_folder(folder_of(folder)?)?,
        }
        durable.insert(folder.to_owned());
        Ok(())
    }

    /// Whether the blob is there; if so it counts as new for garbage collection.
    fn touch(&self, hash: &Sha256) -> bool {
        let _keeping = self.keeping();
        let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
        let times = rustix::fs::Timestamps { last_access: now, last_modification: now };
        // When it was swept meanwhile, the caller must write it again.
        rustix::fs::utimensat(rustix::fs::CWD, self.path(hash), &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }
}

/// A blob that is being written. Dropped without [`BlobWriter::finish`], it leaves nothing behind.
#[derive(Debug)]
pub struct BlobWriter {
    file: File,
    temporary: Temporary,
    hasher: Hasher,
    size: u64,
}

impl BlobWriter {
    /// Takes the next piece.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.size = self.size.saturating_add(u64_of(bytes.len()));
        Ok(())
    }

    /// Bytes taken so far.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Ends the blob and stages it in `batch`. With `expected`, other bytes are [`BlobError::Corrupt`].
    pub fn finish(self, expected: Option<Sha256>, batch: &mut Batch) -> Result<(Sha256, u64), BlobError> {
        let hash = self.hasher.finish();
        if expected.is_some_and(|it| it != hash) {
            return Err(BlobError::Corrupt);
        }
        batch.staged.push(Staged { temporary: self.temporary, hash });
        Ok((hash, self.size))
    }
}

/// Blobs that become durable together. Dropped without [`Batch::commit`], it leaves nothing behind.
#[derive(Debug)]
pub struct Batch {
    dir: BlobDir,
    staged: Vec<Staged>,
}

#[derive(Debug)]
struct Staged {
    temporary: Temporary,
    hash: Sha256,
}

impl Batch {
    /// How many blobs are staged.
    pub const fn len(&self) -> usize {
        self.staged.len()
    }

    /// Whether none is staged.
    pub const fn is_empty(&self) -> bool {
        self.staged.is_empty()
    }

    /// Makes all staged blobs durable under their names: one sync for their bytes, then the renames, then
    /// their folders. A blob that was there is replaced, which mends it when it was damaged. After an error some may be there, each of them whole.
    pub fn commit(mut self) -> io::Result<()> {
        let root = self.dir.root.join("blobs");
        let folder = |hash: &Sha256| self.dir.path(hash).parent().map(Path::to_path_buf);
        // The folders come first, so that the sync of the bytes covers them too.
        let folders: BTreeSet<PathBuf> = self.staged.iter().filter_map(|it| folder(&it.hash)).collect();
        folders.iter().try_for_each(|it| self.dir.make_folder(it))?;
        if self.staged.len() <= SYNC_EACH_MAX {
            for staged in &self.staged {
                File::open(&staged.temporary.path)?.sync_all()?;
            }
        } else {
            rustix::fs::syncfs(File::open(&root)?)?;
        }
        for staged in &mut self.staged {
            // Also over a file that is there: these bytes are the right ones, and that one may be damaged. Never while it
            // is found to be too old.
            let _keeping = self.dir.keeping();
            fs::rename(&staged.temporary.path, self.dir.path(&staged.hash))?;
            staged.temporary.moved = true;
        }
        if folders.len() > SYNC_FOLDERS_MAX {
            rustix::fs::syncfs(File::open(&root)?)?;
            return Ok(());
        }
        folders.iter().try_for_each(|folder| files::sync_folder(folder))
    }
}

/// A file in `incoming/` that goes when it is dropped, unless it has moved to its name.
#[derive(Debug)]
struct Temporary {
    path: PathBuf,
    moved: bool,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.moved {
            // What stays is swept at the next start.
            drop(fs::remove_file(&self.path));
        }
    }
}

fn folder_of(path: &Path) -> io::Result<&Path> {
    path.parent().ok_or_else(|| io::Error::other("a path without a folder"))
}

/// SECURITY: a symbolic link in the store is nobody's blob.
fn open_plain(path: &Path) -> Result<File, BlobError> {
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::CLOEXEC;
    match rustix::fs::open(path, flags, rustix::fs::Mode::empty()) {
        Ok(file) => Ok(File::from(file)),
        Err(rustix::io::Errno::LOOP) => Err(BlobError::Corrupt),
        Err(error) => Err(io::Error::from(error).into()),
    }
}

fn read_all(mut file: File) -> Result<Vec<u8>, BlobError> {
    let mut bytes = Vec::with_capacity(usize::try_from(file.metadata()?.len()).unwrap_or(0));
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn u64_of(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
