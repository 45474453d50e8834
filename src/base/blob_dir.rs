//! Bytes by their SHA-256 in a folder: `blobs/ab/<hex>`, `variants/ab/<hex>.zst|br|gz`, `incoming/`.
//!
//! Guarantees: a blob appears under its name only whole, hashed and durable; a half-written one stays in
//! `incoming/` and is swept at the next start. Files have mode 0400, folders 0700. A full disk shows as
//! [`io::ErrorKind::StorageFull`] and changes nothing. All calls block: async code goes through a pool.
//!
//! Must never: hand out bytes as verified that were not hashed in that call; know what a site is.
//!
//! [`BlobDir::open`] sweeps `incoming/`, so only the holder of the data folder's lock may call it.

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
}

impl std::fmt::Display for BlobError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing => f.write_str("there is no such blob"),
            Self::Corrupt => f.write_str("the bytes do not have the expected SHA-256"),
            Self::Io(error) => write!(f, "{error}"),
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
}

impl BlobDir {
    /// Opens the store below `root`, makes its folders, and removes what an earlier run left unfinished.
    pub fn open(root: &Path) -> io::Result<Self> {
        for name in ["blobs", "variants", "incoming"] {
            files::private_folder(&root.join(name))?;
        }
        for left in fs::read_dir(root.join("incoming"))? {
            let left = left?;
            if left.file_type()?.is_file() && random::is_label::<15>(left.file_name().as_encoded_bytes()) {
                fs::remove_file(left.path())?;
            }
        }
        Ok(Self { root: Arc::from(root), keeping: Arc::default(), durable: Arc::default() })
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
        if self.read_verified(&hash).is_ok() && self.touch(&hash) {
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

    /// The bytes of a blob, hashed now.
    pub fn read_verified(&self, hash: &Sha256) -> Result<Vec<u8>, BlobError> {
        let bytes = read_all(self.open_blob(hash)?)?;
        if Sha256::of(&bytes) == *hash { Ok(bytes) } else { Err(BlobError::Corrupt) }
    }

    /// Opens the file of a blob. INVARIANT: its bytes are not verified; whoever serves them must do so.
    pub fn open_blob(&self, hash: &Sha256) -> Result<File, BlobError> {
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
        let mut found = Vec::new();
        for folder in fs::read_dir(self.root.join("blobs"))? {
            let folder = folder?;
            if !folder.file_type()?.is_dir() {
                continue;
            }
            for entry in fs::read_dir(folder.path())? {
                let entry = entry?;
                let Some(hash) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
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
        for coding in Coding::ALL {
            gone(fs::remove_file(self.variant_path(hash, coding)))?;
        }
        gone(fs::remove_file(self.path(hash)))
    }

    /// Removes a blob and its variants when it was written, and last put again, before `before_ms`; whether it was.
    pub fn remove_older(&self, hash: &Sha256, before_ms: i64) -> io::Result<bool> {
        let _keeping = self.keeping();
        if self.written_ms(hash).is_none_or(|it| it >= before_ms) {
            return Ok(false);
        }
        self.remove(hash)?;
        Ok(true)
    }

    /// Removes one variant of a blob: a damaged one can be made again. Fine when it is gone already.
    pub fn remove_variant(&self, hash: &Sha256, coding: Coding) -> io::Result<()> {
        gone(fs::remove_file(self.variant_path(hash, coding)))
    }

    fn temporary(&self) -> Temporary {
        Temporary { path: self.root.join("incoming").join(random::label::<15>()), moved: false }
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
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn store() -> (tempfile::TempDir, BlobDir) {
        let folder = tempfile::tempdir().unwrap();
        let dir = BlobDir::open(folder.path()).unwrap();
        (folder, dir)
    }

    fn overwrite(path: &Path, bytes: &[u8]) {
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        File::create(path).unwrap().write_all(bytes).unwrap();
    }

    #[test]
    fn a_batch_becomes_visible_at_its_commit() {
        let (folder, dir) = store();
        for count in [1_u32, 40] {
            let mut batch = dir.batch();
            let mut hashes = Vec::new();
            for number in 0..count {
                let mut writer = dir.writer().unwrap();
                writer.write(b"file ").unwrap();
                writer.write(format!("{count} {number}").as_bytes()).unwrap();
                hashes.push(writer.finish(None, &mut batch).unwrap().0);
            }
            assert!(!hashes.iter().any(|hash| dir.has(hash)));
            batch.commit().unwrap();
            assert_eq!(dir.read_verified(&hashes[0]).unwrap(), format!("file {count} 0").as_bytes());
            assert!(hashes.iter().all(|hash| dir.has(hash)));
        }
        assert_eq!(fs::read_dir(folder.path().join("incoming")).unwrap().count(), 0);
        assert_eq!(dir.list().unwrap().len(), 41);
        for (hash, _, _) in dir.list().unwrap() {
            assert_eq!(fs::metadata(dir.path(&hash)).unwrap().permissions().mode() & 0o777, 0o400);
        }
    }

    #[test]
    fn other_bytes_than_promised_are_refused_and_leave_nothing() {
        let (folder, dir) = store();
        let mut batch = dir.batch();
        let mut writer = dir.writer().unwrap();
        writer.write(b"evil").unwrap();
        assert!(matches!(writer.finish(Some(Sha256::of(b"good")), &mut batch), Err(BlobError::Corrupt)));
        assert!(batch.is_empty());
        drop(dir.writer().unwrap());
        assert_eq!(fs::read_dir(folder.path().join("incoming")).unwrap().count(), 0);
        File::create(folder.path().join("incoming/abcdefghijklmnopqrstuvwx")).unwrap();
        BlobDir::open(folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path().join("incoming")).unwrap().count(), 0);
    }

    #[test]
    fn changed_blobs_and_links_are_corrupt_and_the_right_bytes_repair_them() {
        let (folder, dir) = store();
        let hash = dir.put(b"content").unwrap();
        assert_eq!(dir.size(&hash), Some(7));
        overwrite(&dir.path(&hash), b"CONTENT");
        assert!(matches!(dir.read_verified(&hash), Err(BlobError::Corrupt)));
        dir.put(b"content").unwrap();
        assert_eq!(dir.read_verified(&hash).unwrap(), b"content");
        for wrong in [&b"short"[..], b"CONTENT"] {
            overwrite(&dir.path(&hash), wrong);
            let mut batch = dir.batch();
            let mut writer = dir.writer().unwrap();
            writer.write(b"content").unwrap();
            writer.finish(Some(hash), &mut batch).unwrap();
            batch.commit().unwrap();
            assert_eq!(dir.read_verified(&hash).unwrap(), b"content");
        }
        fs::remove_file(dir.path(&hash)).unwrap();
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), dir.path(&hash)).unwrap();
        assert!(matches!(dir.read_verified(&hash), Err(BlobError::Corrupt)));
        assert!(!dir.has(&hash));
    }

    #[test]
    fn what_is_put_again_is_not_too_old() {
        let (_folder, dir) = store();
        let hash = dir.put(b"content").unwrap();
        let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1);
        File::open(dir.path(&hash)).unwrap().set_modified(old).unwrap();
        assert_eq!(dir.written_ms(&hash), Some(1_000));
        assert!(!dir.remove_older(&hash, 1_000).unwrap());
        dir.put(b"content").unwrap();
        assert!(!dir.remove_older(&hash, 1_001).unwrap() && dir.has(&hash));
        File::open(dir.path(&hash)).unwrap().set_modified(old).unwrap();
        assert!(dir.remove_older(&hash, 1_001).unwrap() && !dir.has(&hash));
        assert!(!dir.remove_older(&hash, 1_001).unwrap());
    }

    #[test]
    fn variants_carry_their_digest() {
        let (_folder, dir) = store();
        let hash = dir.put(b"content").unwrap();
        assert!(dir.variant(&hash, Coding::Zstd).unwrap().is_none());
        dir.put_variant(&hash, Coding::Zstd, b"packed").unwrap();
        dir.put_variant(&hash, Coding::Zstd, b"packed").unwrap();
        assert_eq!(dir.variant(&hash, Coding::Zstd).unwrap(), Some((b"packed".to_vec(), Sha256::of(b"packed"))));
        assert_eq!(dir.variant_size(&hash, Coding::Zstd), Some(6));
        let path = dir.variant_path(&hash, Coding::Zstd);
        let mut bytes = fs::read(&path).unwrap();
        bytes[0] ^= 1;
        overwrite(&path, &bytes);
        assert!(matches!(dir.variant(&hash, Coding::Zstd), Err(BlobError::Corrupt)));
        overwrite(&path, b"x");
        assert!(matches!(dir.variant(&hash, Coding::Zstd), Err(BlobError::Corrupt)));
        dir.remove(&hash).unwrap();
        dir.remove(&hash).unwrap();
        assert!(!dir.has(&hash) && dir.variant_size(&hash, Coding::Zstd).is_none());
        assert!(matches!(dir.read_verified(&hash), Err(BlobError::Missing)));
    }
}
