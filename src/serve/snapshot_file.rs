//! The snapshot on disk: `snapshot` and two earlier ones, so that sites answer before the database opens.
//!
//! A save is write, fsync, rename: after a crash the old or the new one is there, whole. A load takes the newest
//! that is whole, and says so when it was not the first. A newer program's file is refused, never passed over.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::snapshot::{Snapshot, Unreadable};
use crate::base::files;

/// The newest first.
const NAMES: [&str; 3] = ["snapshot", "snapshot.1", "snapshot.2"];

/// Why there is no snapshot to serve from.
#[derive(Debug)]
pub enum LoadError {
    /// The file cannot be read.
    Io(PathBuf, io::Error),
    /// The file was written by a newer program.
    Newer(PathBuf, Unreadable),
    /// There are files, and each of them is damaged.
    AllDamaged(PathBuf),
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(path, error) => write!(f, "The snapshot {} cannot be read: {error}.", path.display()),
            Self::Newer(path, why) => write!(f, "The snapshot {} cannot be used: {why}", path.display()),
            Self::AllDamaged(folder) => write!(
                f,
                "Every snapshot in {} is cut off or altered. Sites answer again once the database is open.",
                folder.display()
            ),
        }
    }
}

impl std::error::Error for LoadError {}

/// A snapshot from disk.
#[derive(Debug)]
pub struct Loaded {
    /// The newest that is whole.
    pub snapshot: Snapshot,
    /// The newer ones that are damaged and were passed over. Not empty: tell the operator.
    pub damaged: Vec<PathBuf>,
}

/// Keeps `snapshot` durably in `folder`, with the two before it. After an error for want of space the earlier ones are as
/// they were; after any other, the newest of them is there, if under the name of an older one.
pub fn save(folder: &Path, snapshot: &Snapshot) -> io::Result<()> {
    let new = folder.join("snapshot.new");
    // First what can fail for want of space. A crash between the renames leaves at worst none under the first name.
    files::write_atomic(&new, &snapshot.encode(), 0o600)?;
    for (newer, older) in NAMES.iter().zip(NAMES.iter().skip(1)).rev() {
        match fs::rename(folder.join(newer), folder.join(older)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    let [newest, ..] = NAMES;
    fs::rename(new, folder.join(newest))?;
    files::sync_folder(folder)
}

/// Whether there is any snapshot in `folder`, whole or not.
pub fn is_there(folder: &Path) -> bool {
    NAMES.iter().any(|it| folder.join(it).exists())
}

/// The newest whole snapshot in `folder`; `None` when there has been none.
pub fn load(folder: &Path) -> Result<Option<Loaded>, LoadError> {
    let mut damaged: Vec<PathBuf> = Vec::new();
    for name in NAMES {
        let path = folder.join(name);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(LoadError::Io(path, error)),
        };
        match Snapshot::decode(&bytes) {
            Ok(snapshot) => return Ok(Some(Loaded { snapshot, damaged })),
            Err(Unreadable::Damaged) => damaged.push(path),
            Err(why @ Unreadable::Newer(_)) => return Err(LoadError::Newer(path, why)),
        }
    }
    if damaged.is_empty() { Ok(None) } else { Err(LoadError::AllDamaged(folder.to_owned())) }
}

#[cfg(test)]
mod tests {
    use std::{fs::OpenOptions, os::unix::fs::FileExt as _};

    use super::*;
    use crate::base::ids::Id;

    fn made(generation: u64) -> Snapshot {
        Snapshot::new(Id::from_bytes([7; 16]), generation)
    }

    fn spoil(path: &Path) {
        OpenOptions::new().write(true).open(path).unwrap().write_at(b"?", 30).unwrap();
    }

    #[test]
    fn the_newest_whole_one_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        assert!(load(folder.path()).unwrap().is_none());
        for generation in 1..=5 {
            save(folder.path(), &made(generation)).unwrap();
        }
        assert_eq!(files::walk(folder.path()).unwrap().len(), 3);
        let loaded = load(folder.path()).unwrap().unwrap();
        assert_eq!((loaded.snapshot.generation, loaded.damaged.len()), (5, 0));

        spoil(&folder.path().join("snapshot"));
        let loaded = load(folder.path()).unwrap().unwrap();
        assert_eq!((loaded.snapshot.generation, loaded.damaged), (4, vec![folder.path().join("snapshot")]));
        // As after a crash between the renames.
        fs::remove_file(folder.path().join("snapshot")).unwrap();
        assert_eq!(load(folder.path()).unwrap().unwrap().snapshot.generation, 4);

        spoil(&folder.path().join("snapshot.1"));
        spoil(&folder.path().join("snapshot.2"));
        assert!(matches!(load(folder.path()), Err(LoadError::AllDamaged(_))));
        save(folder.path(), &made(6)).unwrap();
        assert_eq!(load(folder.path()).unwrap().unwrap().snapshot.generation, 6);
    }

    #[test]
    fn a_newer_programs_file_is_refused_also_when_an_older_one_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        save(folder.path(), &made(1)).unwrap();
        save(folder.path(), &made(2)).unwrap();
        let mut bytes = made(3).encode();
        bytes.truncate(bytes.len() - 32);
        bytes[11] = 99;
        let checksum = crate::base::hash::Sha256::of(&bytes);
        bytes.extend_from_slice(&checksum.0);
        files::write_atomic(&folder.path().join("snapshot"), &bytes, 0o600).unwrap();
        let error = load(folder.path()).unwrap_err().to_string();
        assert!(error.contains("newer chainhost"), "{error}");
    }
}
