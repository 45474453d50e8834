//! The list of files that a deployment is made from: names as the sender has them, sizes, hashes.
//!
//! Every way of deploying ends in such a list, so that all of them make the same manifest. Policy files are in it; what
//! is never part of a site is not. Names are checked here; what they become is decided when the manifest is made.

use std::collections::HashSet;

use serde::{Deserialize, Serialize, de::IgnoredAny};

use crate::{
    base::{hash::Sha256, limits},
    domain::{
        Error, Result,
        site_path::{self, Selected},
    },
};

/// One file: its path below the site's root without a slash in front, its size, the hash of its bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListedFile {
    /// `assets/app.css`
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the bytes.
    pub sha256: Sha256,
}

/// A checked list, sorted by path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileList(Vec<ListedFile>);

#[derive(Serialize, Deserialize)]
struct Stored(String, u64, String);

impl FileList {
    /// Checks names, number and total size; drops what is never part of a site. `allow_env` lets `.env*` through.
    pub fn new(files: Vec<ListedFile>, allow_env: bool) -> Result<Self> {
        let mut kept = Vec::with_capacity(files.len());
        // What visitors may ask for: policy files say how it is served, and do not count.
        let mut count = 0_usize;
        for file in files {
            match site_path::select(file.path.as_bytes(), allow_env)? {
                Selected::Skip => continue,
                Selected::File(_) => count = count.saturating_add(1),
                Selected::Policy(_) => {}
            }
            kept.push(file);
        }
        if kept.is_empty() {
            return Err(
                Error::invalid("site_empty", "There are no files to deploy. A site needs at least one.").on("files")
            );
        }
        if count > limits::SITE_FILES_MAX {
            let text = format!(
                "There are {count} files; a deployment has at most {}. Is a folder like node_modules or a cache among them?",
                limits::SITE_FILES_MAX
            );
            return Err(Error::too_large("site_files", text).on("files"));
        }
        let total = kept.iter().fold(0_u64, |sum, it| sum.saturating_add(it.size));
        if total > limits::SITE_BYTES_MAX {
            let text =
                format!("The files have {total} bytes together; a deployment has at most {}.", limits::SITE_BYTES_MAX);
            return Err(Error::too_large("site_bytes", text).on("files"));
        }
        kept.sort();
        let twice = kept.iter().zip(kept.iter().skip(1)).find(|(a, b)| a.path == b.path);
        if let Some((file, _)) = twice {
            let text = format!("The path `{}` is there twice. Keep one of the files.", file.path.escape_debug());
            return Err(Error::invalid("path_duplicate", text).on("files"));
        }
        Ok(Self(kept))
    }

    /// Reads what [`FileList::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let stored: Vec<Stored> = serde_json::from_slice(bytes).map_err(Error::internal)?;
        let read = |Stored(path, size, hash): Stored| {
            Ok(ListedFile { path, size, sha256: hash.parse().map_err(Error::internal)? })
        };
        stored.into_iter().map(read).collect::<Result<_>>().map(Self)
    }

    /// The bytes to keep: JSON, in the order of paths.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let stored: Vec<Stored> = self.0.iter().map(|it| Stored(it.path.clone(), it.size, it.sha256.hex())).collect();
        serde_json::to_vec(&stored).map_err(Error::internal)
    }

    /// The files, sorted by path.
    pub fn files(&self) -> &[ListedFile] {
        &self.0
    }

    /// Bytes of all files together.
    pub fn total_bytes(&self) -> u64 {
        self.0.iter().fold(0, |sum, it| sum.saturating_add(it.size))
    }

    /// The different hashes.
    pub fn hashes(&self) -> HashSet<Sha256> {
        self.0.iter().map(|it| it.sha256).collect()
    }

    /// The hashes alone of what [`FileList::to_bytes`] wrote: of a large list much sooner read than all of it.
    pub fn hashes_in(bytes: &[u8]) -> Result<Vec<Sha256>> {
        let stored: Vec<(IgnoredAny, IgnoredAny, &str)> = serde_json::from_slice(bytes).map_err(Error::internal)?;
        stored.into_iter().map(|(_, _, hash)| hash.parse().map_err(Error::internal)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> ListedFile {
        ListedFile { path: path.to_owned(), size: 3, sha256: Sha256::of(path.as_bytes()) }
    }

    #[test]
    fn lists_are_checked_sorted_and_read_back() {
        let list = FileList::new(vec![file("b"), file("_headers"), file(".git/config"), file("a/é")], false).unwrap();
        let paths: Vec<&str> = list.files().iter().map(|it| it.path.as_str()).collect();
        assert_eq!(paths, ["_headers", "a/é", "b"]);
        assert_eq!(FileList::from_bytes(&list.to_bytes().unwrap()).unwrap(), list);
        assert_eq!(FileList::hashes_in(&list.to_bytes().unwrap()).unwrap().len(), 3);
        assert_eq!(list.hashes(), FileList::hashes_in(&list.to_bytes().unwrap()).unwrap().into_iter().collect());
        assert_eq!(list.total_bytes(), 9);
        let mut most: Vec<ListedFile> = (0..limits::SITE_FILES_MAX).map(|it| file(&it.to_string())).collect();
        most.extend([file("_headers"), file("_redirects"), file("chainhost.toml"), file(".git/x")]);
        assert_eq!(FileList::new(most.clone(), false).unwrap().files().len(), limits::SITE_FILES_MAX + 3);
        most.push(file("one-more"));
        assert_eq!(FileList::new(most, false).unwrap_err().code, "site_files");
        for (wrong, code) in [
            (vec![], "site_empty"),
            (vec![file("node_modules/x")], "site_empty"),
            (vec![file("a"), file("a")], "path_duplicate"),
            (vec![file("../a")], "path_segment"),
            (vec![file(".env")], "env_file"),
            (vec![ListedFile { size: u64::MAX, ..file("a") }, file("b")], "site_bytes"),
        ] {
            assert_eq!(FileList::new(wrong, false).unwrap_err().code, code);
        }
    }
}
