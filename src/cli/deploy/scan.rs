//! Which files of a folder are deployed, and everything that keeps it from being a site, told at once.
//!
//! The same files are taken, skipped and refused as in every other way of deploying (DECISIONS 36, 37); files of policy
//! are sent as they are and read by the server. Follows no symbolic link; reads no file.

use std::{
    collections::HashMap,
    io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use crate::{
    base::{
        beneath::{Entry, Folder},
        limits::{POLICY_FILE_BYTES_MAX, SITE_BYTES_MAX, SITE_FILES_MAX},
        units::{ByteSize, thousands},
    },
    cli::{
        deploy::feed::FILE_BYTES_MAX,
        failure::{Failure, Result},
        text,
    },
    domain::site_path::{self, PolicyFile, Selected},
};

/// Problems that are told one by one: more would scroll the first ones away.
const PROBLEMS_TOLD: usize = 20;

/// A file to deploy.
#[derive(Debug)]
pub(super) struct Found {
    /// Its path on the site; of a file of policy `/_headers` and so on.
    pub(super) path: String,
    /// Where it lies in the folder.
    pub(super) file: PathBuf,
    /// Its size when it was found.
    pub(super) size: u64,
    policy: bool,
}

/// The files in `dir`, sorted by path.
pub(super) fn scan(dir: &Folder, allow_env: bool) -> Result<Vec<Found>> {
    let mut scan = Scan { dir, allow_env, found: Vec::new(), files: 0, problems: Problems::default() };
    let mut open = vec![PathBuf::new()];
    while let Some(folder) = open.pop() {
        scan.folder(&folder, &mut open);
        if scan.files > SITE_FILES_MAX {
            let (most, dir) = (thousands(u64::try_from(SITE_FILES_MAX).unwrap_or(u64::MAX)), dir.path().display());
            let message = format!("There are more than {most} files in {dir}. Is it the folder of the finished site?");
            return Err(Failure::Input(message));
        }
    }
    let Scan { mut found, mut problems, .. } = scan;
    found.sort_by(|a, b| a.path.cmp(&b.path));
    collisions(&found, &mut problems);
    let bytes = found.iter().fold(0_u64, |sum, it| sum.saturating_add(it.size));
    if bytes > SITE_BYTES_MAX {
        let (bytes, most) = (ByteSize(bytes), ByteSize(SITE_BYTES_MAX));
        problems.push(format!("All files together have {bytes}; a site has at most {most}."));
    }
    if found.iter().all(|it| it.policy) && problems.is_empty() {
        problems.push(format!("There is no file to deploy in {}. A site needs at least one.", dir.path().display()));
    }
    problems.end()?;
    Ok(found)
}

struct Scan<'a> {
    dir: &'a Folder,
    allow_env: bool,
    found: Vec<Found>,
    /// Of these, what visitors may ask for: policy files do not count.
    files: usize,
    problems: Problems,
}

impl Scan<'_> {
    fn folder(&mut self, folder: &Path, open: &mut Vec<PathBuf>) {
        let named = self.dir.path();
        let full = if folder.as_os_str().is_empty() { named.to_owned() } else { named.join(folder) };
        let entries = match self.dir.list(folder) {
            Ok(entries) => entries,
            Err(error) => return self.problems.push(unreadable(&full, &error)),
        };
        for entry in entries {
            match entry {
                Ok(entry) => self.entry(folder.join(&entry.name), &entry, open),
                Err(error) => self.problems.push(unreadable(&full, &error)),
            }
            if self.files > SITE_FILES_MAX {
                return;
            }
        }
    }

    fn entry(&mut self, relative: PathBuf, entry: &Entry, open: &mut Vec<PathBuf>) {
        let selected = match site_path::select(relative.as_os_str().as_bytes(), self.allow_env) {
            Ok(Selected::Skip) => return,
            Ok(selected) => selected,
            Err(error) if error.code == "env_file" => {
                return self.problems.push(format!("{} (--allow-env allows it)", error.message));
            }
            Err(error) => return self.problems.push(error.message),
        };
        if entry.about.is_dir() {
            return open.push(relative);
        }
        if !entry.about.is_file() {
            let what = if entry.about.is_link() { "a symbolic link" } else { "not a regular file" };
            return self.problems.push(format!("{} is {what}. Put a copy of the file there.", shown(&relative)));
        }
        let size = entry.about.size();
        let (path, policy) = match selected {
            Selected::File(path) => (path.as_str().to_owned(), false),
            Selected::Policy(PolicyFile::Headers) => (String::from("/_headers"), true),
            Selected::Policy(PolicyFile::Redirects) => (String::from("/_redirects"), true),
            Selected::Policy(PolicyFile::Toml) => (String::from("/chainhost.toml"), true),
            Selected::Skip => return,
        };
        let most = if policy { u64::try_from(POLICY_FILE_BYTES_MAX).unwrap_or(u64::MAX) } else { FILE_BYTES_MAX };
        if size > most {
            let (relative, size, most) = (shown(&relative), ByteSize(size), ByteSize(most));
            return self.problems.push(format!("{relative} has {size}; here a file has at most {most}."));
        }
        self.files = self.files.saturating_add(usize::from(!policy));
        self.found.push(Found { path, file: relative, size, policy });
    }
}

/// Two names that a visitor or another file system takes for one.
fn collisions(found: &[Found], problems: &mut Problems) {
    let mut names: HashMap<String, &str> = HashMap::with_capacity(found.len());
    for it in found.iter().filter(|it| !it.policy) {
        if let Some(other) = names.insert(it.path.to_ascii_lowercase(), &it.path) {
            problems.push(format!(
                "{} and {} differ only in upper and lower case or in how they are encoded. Rename one.",
                text::plain(other),
                text::plain(&it.path)
            ));
        }
    }
    for it in found.iter().filter(|it| !it.policy) {
        let lower = it.path.to_ascii_lowercase();
        let mut folders = lower.match_indices('/').skip(1).filter_map(|(at, _)| lower.get(..at));
        if let Some(other) = folders.find_map(|folder| names.get(folder)) {
            let (other, path) = (text::plain(other), text::plain(&it.path));
            problems.push(format!("{other} is a file, and the folder of {path} has the same name. Rename one."));
        }
    }
}

/// The sentence for a folder that cannot be read.
pub(super) fn unreadable(folder: &Path, error: &io::Error) -> String {
    format!("Cannot read the folder {}: {error}.", shown(folder))
}

fn shown(path: &Path) -> String {
    text::plain(&path.to_string_lossy())
}

/// What keeps a folder from being deployed.
#[derive(Debug, Default)]
pub(super) struct Problems {
    told: Vec<String>,
    more: u64,
}

impl Problems {
    /// Adds one, a sentence.
    pub(super) fn push(&mut self, problem: String) {
        if self.told.len() < PROBLEMS_TOLD { self.told.push(problem) } else { self.more += 1 }
    }

    /// Whether there are none.
    pub(super) const fn is_empty(&self) -> bool {
        self.told.is_empty()
    }

    /// Fails with all of them when there are any.
    pub(super) fn end(self) -> Result<()> {
        let more = match self.more {
            0 => String::new(),
            more => format!("\n  … and {}", text::count(more, "more problem")),
        };
        match self.told.as_slice() {
            [] => Ok(()),
            [one] => Err(Failure::Input(one.clone())),
            all => Err(Failure::Input(format!("This folder cannot be deployed:\n  {}{more}", all.join("\n  ")))),
        }
    }
}
