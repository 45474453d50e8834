//! A folder that is held open: all that is read in it lies in it, whatever is renamed or linked meanwhile.
//!
//! Guarantees: below the folder no symbolic link is followed, neither as the last part of a path nor as one before it, and nothing
//! outside is reached. A pipe that took a file's place is not waited for. It reads only.

use std::{
    ffi::{CStr, OsStr, OsString},
    fs::File,
    io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, Dir, Mode, OFlags, ResolveFlags, Stat},
    io::Errno,
};

/// What an open folder is opened for: to be listed, and to open what is in it.
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A folder that is held open.
#[derive(Debug)]
pub struct Folder {
    root: OwnedFd,
    path: PathBuf,
}

/// What is in a folder, as the system lists it: in no order.
#[derive(Debug)]
pub struct Entries {
    folder: OwnedFd,
    list: Dir,
}

/// One name in a folder.
#[derive(Debug)]
pub struct Entry {
    /// The name, any bytes but `/` and NUL.
    pub name: OsString,
    /// What it is; of a symbolic link the link itself.
    pub about: About,
}

/// What the system says of a name.
#[derive(Clone, Copy, Debug)]
pub struct About(Stat);

impl About {
    fn kind(self) -> rustix::fs::FileType {
        rustix::fs::FileType::from_raw_mode(self.0.st_mode)
    }

    /// A folder.
    pub fn is_dir(self) -> bool {
        self.kind().is_dir()
    }

    /// A regular file.
    pub fn is_file(self) -> bool {
        self.kind().is_file()
    }

    /// A symbolic link.
    pub fn is_link(self) -> bool {
        self.kind().is_symlink()
    }

    /// Bytes of a file.
    pub fn size(self) -> u64 {
        u64::try_from(self.0.st_size).unwrap_or(0)
    }

    /// What changes when the file does: size, time of the last change in seconds and nanoseconds, and which file it is.
    pub fn stamp(self) -> [u64; 4] {
        let seconds = self.0.st_mtime.unsigned_abs();
        [self.size(), seconds, self.0.st_mtime_nsec, self.0.st_ino]
    }
}

impl Folder {
    /// Opens a folder as the user named it: links on the way to it are followed.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { root: rustix::fs::open(path, FOLDER, Mode::empty())?, path: path.to_owned() })
    }

    /// Opens a folder by its whole path, on which no part is a symbolic link.
    pub fn open_real(path: &Path) -> io::Result<Self> {
        let root = Self::open(Path::new("/"))?;
        let below = path.strip_prefix("/").map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(Self { root: root.enter(below, FOLDER)?, path: path.to_owned() })
    }

    /// The path by which it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a file to be read.
    pub fn file(&self, relative: &Path) -> io::Result<File> {
        self.enter(relative, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC).map(File::from)
    }

    /// Lists a folder; an empty path is this one.
    pub fn list(&self, relative: &Path) -> io::Result<Entries> {
        let folder = self.enter(relative, FOLDER)?;
        let list = Dir::read_from(&folder)?;
        Ok(Entries { folder, list })
    }

    fn enter(&self, relative: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let path = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let opened = rustix::fs::openat2(self.root.as_fd(), path, flags, Mode::empty(), resolve);
        match opened {
            // Before Linux 5.6, in a sandbox that does not know the call, and when folders are moved about at this moment.
            Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN) => self.enter_by_parts(relative, flags),
            opened => opened.map_err(of_link),
        }
    }

    /// As `openat2` does it, a part at a time.
    fn enter_by_parts(&self, relative: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let step = |from: &OwnedFd, name: &OsStr, flags: OFlags| {
            rustix::fs::openat(from, name, flags | OFlags::NOFOLLOW, Mode::empty()).map_err(|error| {
                // With DIRECTORY a link is told as "not a directory".
                let is_link =
                    rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|it| About(it).is_link());
                if is_link { of_link(Errno::LOOP) } else { error.into() }
            })
        };
        let mut parts = Vec::new();
        for part in relative.components() {
            match part {
                Component::Normal(name) => parts.push(name),
                Component::CurDir => {}
                Component::RootDir | Component::ParentDir | Component::Prefix(_) => return Err(Errno::XDEV.into()),
            }
        }
        let Some((last, folders)) = parts.split_last() else { return step(&self.root, OsStr::new("."), flags) };
        let mut at = None;
        for name in folders {
            at = Some(step(at.as_ref().unwrap_or(&self.root), name, FOLDER)?);
        }
        step(at.as_ref().unwrap_or(&self.root), last, flags)
    }
}

/// `ELOOP` is what the system says of a link that must not be followed.
fn of_link(error: Errno) -> io::Error {
    match error {
        Errno::LOOP => io::Error::other("it is reached through a symbolic link, which is not followed"),
        other => other.into(),
    }
}

impl Iterator for Entries {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let name = match self.list.next()? {
                Ok(found) => found.file_name().to_owned(),
                Err(error) => return Some(Err(error.into())),
            };
            if [c".", c".."].contains(&name.as_c_str()) {
                continue;
            }
            return match rustix::fs::statat(&self.folder, name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(about) => Some(Ok(Entry { name: owned(&name), about: About(about) })),
                // Removed since it was listed.
                Err(Errno::NOENT) => continue,
                Err(error) => Some(Err(error.into())),
            };
        }
    }
}

fn owned(name: &CStr) -> OsString {
    OsStr::from_bytes(name.to_bytes()).to_owned()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;
    use crate::base::files;

    fn tree() -> (tempfile::TempDir, Folder) {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("root");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::create_dir_all(temp.path().join("outside/b")).unwrap();
        for (file, text) in [("root/a/b/c", "inside"), ("outside/b/c", "secret"), ("outside/c", "secret")] {
            files::write_atomic(&temp.path().join(file), text.as_bytes(), 0o600).unwrap();
        }
        let folder = Folder::open(&root).unwrap();
        (temp, folder)
    }

    /// By the call and by its parts: they must not differ.
    fn both(folder: &Folder, path: &str) -> [io::Result<String>; 2] {
        let read = |opened: io::Result<OwnedFd>| io::read_to_string(File::from(opened?));
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        [read(folder.enter(Path::new(path), flags)), read(folder.enter_by_parts(Path::new(path), flags))]
    }

    #[test]
    fn what_lies_in_the_folder_is_read() {
        let (_temp, folder) = tree();
        assert_eq!(both(&folder, "a/b/c").map(Result::unwrap), ["inside", "inside"]);
        assert_eq!(both(&folder, "a/./b/c").map(Result::unwrap), ["inside", "inside"]);
        let names =
            |path: &str| -> Vec<_> { folder.list(Path::new(path)).unwrap().map(|it| it.unwrap().name).collect() };
        assert_eq!((names(""), names("a/b")), (vec![OsString::from("a")], vec![OsString::from("c")]));
        for missing in both(&folder, "a/x") {
            assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
        }
    }

    #[test]
    fn a_parent_swapped_for_a_link_leads_nowhere() {
        let (temp, folder) = tree();
        let root = temp.path().join("root");
        fs::rename(root.join("a"), root.join("old")).unwrap();
        symlink(temp.path().join("outside"), root.join("a")).unwrap();
        symlink("old/b/c", root.join("c")).unwrap();
        for link in ["a/b/c", "a", "a/c", "c"] {
            for refused in both(&folder, link) {
                let refused = refused.unwrap_err();
                assert!(refused.to_string().contains("symbolic link"), "{link}: {refused}");
            }
        }
        assert!(folder.list(Path::new("a")).is_err());
        assert!(folder.list(Path::new("a/b")).is_err());
        let entries: Vec<Entry> = folder.list(Path::new("")).unwrap().map(Result::unwrap).collect();
        assert!(entries.iter().any(|it| it.name == "a" && it.about.is_link() && !it.about.is_dir()));
    }

    #[test]
    fn nothing_outside_is_reached_and_the_folder_itself_may_move() {
        let (temp, folder) = tree();
        let outside = temp.path().join("outside/c");
        for path in ["../outside/c", "a/../../outside/c", outside.to_str().unwrap()] {
            for refused in both(&folder, path) {
                assert!(refused.is_err(), "{path}");
            }
        }
        fs::rename(temp.path().join("root"), temp.path().join("moved")).unwrap();
        symlink(temp.path().join("outside"), temp.path().join("root")).unwrap();
        assert_eq!(both(&folder, "a/b/c").map(Result::unwrap), ["inside", "inside"]);
        assert!(Folder::open(&temp.path().join("root")).is_ok(), "what a user names may be a link");
        assert!(Folder::open_real(&temp.path().join("root")).unwrap_err().to_string().contains("symbolic link"));
        assert!(Folder::open_real(&temp.path().join("root/b")).is_err());
        assert!(Folder::open_real(Path::new("relative")).is_err());
        let real = fs::canonicalize(temp.path()).unwrap();
        let moved = Folder::open_real(&real.join("moved")).unwrap();
        assert_eq!(both(&moved, "a/b/c").map(Result::unwrap), ["inside", "inside"]);
    }
}
