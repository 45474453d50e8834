//! Files that survive a power cut, folders that others cannot read, and the lock on a data folder.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use super::random;

/// Writes `bytes` to `path` so that after a crash either the old or the new content is there, whole:
/// a temporary file beside it, fsync, rename, fsync of the folder. `mode` is the file's mode.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let folder = parent(path)?;
    let name = path.file_name().ok_or_else(|| io::Error::other("a path without a file name"))?;
    let temporary = folder.join(format!(".{}.{}.tmp", name.to_string_lossy(), random::label::<5>()));
    let written = write_new(&temporary, bytes, mode)
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| sync_folder(folder));
    if written.is_err() {
        // The error that matters is the first; a left-over is swept at the next start.
        drop(fs::remove_file(&temporary));
    }
    written
}

/// Removes what [`write_atomic`] was writing into `folder` when an earlier process died. Only for who holds the folder.
pub fn sweep_unfinished(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if is_unfinished(entry.file_name().as_encoded_bytes()) && entry.file_type()?.is_file() {
            unless_read_only(fs::remove_file(entry.path()))?;
        }
    }
    Ok(())
}

/// Passes over that a file system takes no changes: what only tidies up can wait.
pub fn unless_read_only(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => Ok(()),
        done => done,
    }
}

/// Whether a name is one that [`write_atomic`] gives to what it is writing: `.NAME.xxxxxxxx.tmp`.
pub fn is_unfinished(name: &[u8]) -> bool {
    let inner = name.strip_prefix(b".").and_then(|it| it.strip_suffix(b".tmp"));
    let mut parts = inner.unwrap_or_default().rsplitn(2, |b| *b == b'.');
    parts.next().is_some_and(random::is_label::<5>) && parts.next().is_some_and(|it| !it.is_empty())
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn parent(path: &Path) -> io::Result<&Path> {
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Ok(Path::new(".")),
        Some(folder) => Ok(folder),
        None => Err(io::Error::other("a path without a folder")),
    }
}

/// Makes renames and new names in `folder` durable.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Creates `folder` and its parents with mode 0700 where they are missing, and takes the rights of
/// group and others away from `folder` itself.
pub fn private_folder(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mode = fs::metadata(folder)?.permissions().mode();
    if mode & 0o077 != 0 {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Bytes that an unprivileged process may still write on the file system of `path`, and its size.
#[derive(Clone, Copy, Debug)]
pub struct Space {
    /// Bytes free for us.
    pub free: u64,
    /// Bytes in all.
    pub total: u64,
}

impl Space {
    /// The bytes that stay free: as `wished`, else a tenth and at most 1 GiB.
    pub fn reserve(&self, wished: Option<u64>) -> u64 {
        wished.unwrap_or_else(|| (self.total / 10).min(1 << 30))
    }
}

/// Asks the file system of `path` for its space.
pub fn space(path: &Path) -> io::Result<Space> {
    let found = rustix::fs::statvfs(path)?;
    Ok(Space {
        free: found.f_bavail.saturating_mul(found.f_frsize),
        total: found.f_blocks.saturating_mul(found.f_frsize),
    })
}

/// An exclusive hold on a data folder; given up when dropped or when the process dies.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

/// Somebody else holds the folder.
#[derive(Debug)]
pub struct Held {
    /// What the holder wrote about itself, for people.
    pub by: String,
}

impl FolderLock {
    /// Takes the lock file `path`, and writes `who` into it for the next one to read. On a file system that takes no changes, a
    /// lock file that is there is taken as it is.
    pub fn take(path: &Path, who: &str) -> io::Result<Result<Self, Held>> {
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        let mut file = match opened {
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => File::open(path).map_err(|_| error)?,
            opened => opened?,
        };
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                // For people only: a full disk must not keep anybody from taking the folder.
                drop(file.set_len(0).and_then(|()| file.write_all(who.as_bytes())));
                Ok(Ok(Self { _file: file }))
            }
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(Err(Held { by: fs::read_to_string(path).unwrap_or_default() })),
            Err(error) => Err(error.into()),
        }
    }
}

/// All regular files below `folder`, as paths relative to it. Follows no symbolic link.
pub fn walk(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(relative) = open.pop() {
        for entry in fs::read_dir(folder.join(&relative))? {
            let entry = entry?;
            let path = relative.join(entry.file_name());
            let kind = entry.file_type()?;
            if kind.is_dir() {
                open.push(path);
            } else if kind.is_file() {
                found.push(path);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_atomic_write_replaces_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        write_atomic(&path, b"one", 0o600).unwrap();
        write_atomic(&path, b"two", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(walk(folder.path()).unwrap().len(), 1);
        assert!(write_atomic(&folder.path().join("no/such"), b"", 0o600).is_err());
        write_new(&folder.path().join(".state.abcdefg2.tmp"), b"half", 0o600).unwrap();
        // What only looks like it is somebody else's.
        for name in [".state.tmp", ".abcdefg2.tmp", ".state.abcdefg1.tmp", ".state.abcdefg.tmp", "state.abcdefg2.tmp"] {
            write_new(&folder.path().join(name), b"theirs", 0o600).unwrap();
        }
        sweep_unfinished(folder.path()).unwrap();
        assert_eq!(walk(folder.path()).unwrap().len(), 6);
        assert!(!folder.path().join(".state.abcdefg2.tmp").exists());
    }

    #[test]
    fn a_folder_has_one_holder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = FolderLock::take(&path, "first").unwrap().unwrap();
        assert_eq!(FolderLock::take(&path, "second").unwrap().unwrap_err().by, "first");
        drop(held);
        assert!(FolderLock::take(&path, "third").unwrap().is_ok());
    }

    #[test]
    fn a_private_folder_is_made_private_again() {
        let base = tempfile::tempdir().unwrap();
        let folder = base.path().join("a/b");
        private_folder(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        private_folder(&folder).unwrap();
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
