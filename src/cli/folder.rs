//! A folder of finished files, listed as every way of deploying lists one: path, size and SHA-256 of each file.
//!
//! The same files are taken, skipped and refused as in a deployment (DECISIONS 36, 37). Symbolic links are not
//! followed. Changes nothing.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read as _},
    os::unix::ffi::OsStrExt as _,
    path::Path,
};

use crate::{
    base::{
        beneath::Folder,
        hash::{Hasher, Sha256},
        limits::POLICY_FILE_BYTES_MAX,
    },
    domain::{
        Error, Result,
        site_path::{self, Selected},
    },
    proof::{
        build::{self, Found},
        cid::{self, Cid, FileNode, Node},
    },
    services::folder::{pieces, unreadable, walk},
};

/// Opens the folder that the user named.
pub(super) fn open(dir: &Path) -> Result<Folder> {
    Folder::open(dir).map_err(|error| unreadable("read", dir, &error))
}

/// All files in `folder` that belong to its site or its policy.
pub(super) fn list(folder: &Folder, allow_env: bool) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    walk(folder, allow_env, &mut |relative, _| {
        let read = folder.file(&relative).and_then(hash);
        let (sha256, size) = read.map_err(|error| unreadable("read", &folder.path().join(&relative), &error))?;
        found.push((relative.into_os_string().as_bytes().to_vec(), size, sha256));
        build::check_limits(found.len().saturating_sub(POLICY_FILES), 0)
    })?;
    Ok(found)
}

/// Files that become policy and are not counted among those of the site.
const POLICY_FILES: usize = 3;

/// The bytes of a policy file; `relative` is a path of [`list`].
pub(super) fn read(folder: &Folder, relative: &[u8]) -> Result<Vec<u8>> {
    let path = Path::new(OsStr::from_bytes(relative));
    let mut bytes = Vec::new();
    // One more than allowed shows that there is too much.
    let limit = u64::try_from(POLICY_FILE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    folder
        .file(path)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .map_err(|error| unreadable("read", &folder.path().join(path), &error))?;
    Ok(bytes)
}

/// The CID of the site's files among those of [`list`].
pub(super) fn cid(folder: &Folder, found: &[Found], allow_env: bool) -> Result<Cid> {
    let mut nodes = Vec::with_capacity(found.len());
    for (relative, size, sha256) in found {
        let Selected::File(path) = site_path::select(relative, allow_env)? else { continue };
        let node = if usize::try_from(*size).is_ok_and(|it| it <= cid::CHUNK_BYTES) {
            Node::small_file(*sha256, *size)
        } else {
            let relative = Path::new(OsStr::from_bytes(relative));
            let path = folder.path().join(relative);
            let (node, now) = large(folder.file(relative), &path)?;
            if now != *sha256 {
                let message = format!("{} changed while it was read. Try again.", path.display());
                return Err(Error::conflict("file_changed", message));
            }
            node
        };
        nodes.push((path, node));
    }
    let files = nodes.iter().map(|(path, node)| (path.as_str().trim_start_matches('/'), *node)).collect();
    Ok(cid::folder(files)?.cid)
}

/// The CID of a single file.
pub(super) fn cid_of_file(path: &Path) -> Result<Cid> {
    // What the user names may be a link; what lies in a folder may not.
    let real = fs::canonicalize(path).map_err(|error| unreadable("read", path, &error))?;
    if !real.is_file() {
        return Err(Error::invalid("not_a_file", format!("{} is no regular file.", path.display())));
    }
    large(File::open(real), path).map(|(node, _)| node.cid)
}

/// The node of a file of any size, and the hash of the bytes that it is of.
fn large(opened: io::Result<File>, path: &Path) -> Result<(Node, Sha256)> {
    let (mut node, mut hasher) = (FileNode::new(), Hasher::new());
    opened
        .and_then(|file| {
            pieces(file, |piece| {
                node.write(piece);
                hasher.update(piece);
            })
        })
        .map_err(|error| unreadable("read", path, &error))?;
    Ok((node.finish(), hasher.finish()))
}

/// Hash and size of the bytes that were read, whatever the folder says of the file.
fn hash(file: File) -> io::Result<(Sha256, u64)> {
    let (mut hasher, mut size) = (Hasher::new(), 0_u64);
    pieces(file, |piece| {
        hasher.update(piece);
        size = size.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
    })?;
    Ok((hasher.finish(), size))
}
