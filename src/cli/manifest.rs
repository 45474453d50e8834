//! `chainhost manifest DIR`: the canonical manifest of a folder, its SHA-256 and its site root.
//!
//! Reads the folder as a deployment would: the same files are taken, skipped and refused (DECISIONS 36, 37). Changes
//! nothing but the file of `--out`. Exit 0 well, 2 when the folder cannot be a site.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;

use crate::{
    base::{
        files,
        hash::{Hasher, Sha256},
        limits,
    },
    domain::{
        Error, Result, media_type,
        policy::{Fallback, Policy},
        site_path::{self, Selected, SitePath},
    },
    proof::{
        manifest::{Entry, Manifest},
        site_tree,
    },
};

/// The arguments of `manifest`.
#[derive(Args)]
pub(super) struct Arguments {
    /// The folder of finished files
    dir: PathBuf,
    /// Also write the manifest's exact bytes to this file
    #[arg(long)]
    out: Option<PathBuf>,
    /// Take files named .env* too, which usually hold secrets
    #[arg(long)]
    allow_env: bool,
}

impl Arguments {
    /// Prints `sha256` and `siteRoot`, a line each.
    pub(super) fn run(&self) -> ExitCode {
        match self.make() {
            Ok(lines) => match io::stdout().write_all(lines.as_bytes()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::FAILURE,
            },
            Err(error) => {
                let why = error.detail.map_or_else(String::new, |it| format!(" ({it})"));
                drop(writeln!(io::stderr(), "chainhost manifest: {}{why}", error.message));
                ExitCode::from(2)
            }
        }
    }

    fn make(&self) -> Result<String> {
        let manifest = of_folder(&self.dir, self.allow_env)?;
        if let Some(out) = &self.out {
            files::write_atomic(out, &manifest.to_bytes(), 0o644).map_err(|error| unreadable("write", out, &error))?;
        }
        let root = data_encoding::HEXLOWER.encode(&site_tree::site_root(&manifest));
        Ok(format!("sha256 {}\nsiteRoot 0x{root}\n", manifest.sha256()))
    }
}

fn unreadable(act: &str, path: &Path, error: &io::Error) -> Error {
    Error::invalid("folder", format!("Cannot {act} {}: {error}", path.display()))
}

/// The manifest of a folder.
fn of_folder(dir: &Path, allow_env: bool) -> Result<Manifest> {
    let mut entries = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(folder) = open.pop() {
        let full = dir.join(&folder);
        for found in fs::read_dir(&full).map_err(|error| unreadable("read", &full, &error))? {
            let found = found.map_err(|error| unreadable("read", &full, &error))?;
            let relative = folder.join(found.file_name());
            let kind = found.file_type().map_err(|error| unreadable("read", &found.path(), &error))?;
            match site_path::select(relative.as_os_str().as_bytes(), allow_env)? {
                Selected::Skip => {}
                _ if kind.is_dir() => open.push(relative),
                _ if !kind.is_file() => {
                    let message =
                        "is not a regular file. Symbolic links and devices are not deployed; put a copy there";
                    return Err(Error::invalid("not_a_file", format!("{} {message}.", relative.display())));
                }
                Selected::Policy(_) => {
                    let message =
                        "This version does not read policy files yet, and a manifest without its rules would be wrong";
                    return Err(Error::invalid("policy_file", format!("{}: {message}.", relative.display())));
                }
                Selected::File(path) => entries.push(entry(path, &found.path())?),
            }
            if entries.len() > limits::SITE_FILES_MAX {
                let message = format!("There are more than {} files in {}.", limits::SITE_FILES_MAX, dir.display());
                return Err(Error::too_large("site_files", message));
            }
        }
    }
    let page = entries.iter().find(|it| it.path.as_str() == "/404.html");
    let fallback = page.map(|it| Fallback { path: it.path.clone(), status: 404 });
    Manifest::new(entries, Policy { fallback, ..Policy::default() })
}

fn entry(path: SitePath, file: &Path) -> Result<Entry> {
    let (sha256, size) = hash(file).map_err(|error| unreadable("read", file, &error))?;
    let media_type = media_type::of(path.as_str()).to_owned();
    Ok(Entry { path, sha256, size, media_type })
}

/// Hash and size of the bytes that were read, whatever the folder says of the file.
fn hash(file: &Path) -> io::Result<(Sha256, u64)> {
    let mut file = File::open(file)?;
    let (mut hasher, mut size, mut buffer) = (Hasher::new(), 0, vec![0; 128 * 1024]);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((hasher.finish(), size));
        }
        hasher.update(buffer.get(..read).unwrap_or_default());
        size += u64::try_from(read).unwrap_or(u64::MAX);
    }
}
