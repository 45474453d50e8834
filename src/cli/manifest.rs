//! `chainhost manifest DIR`: the canonical manifest of a folder, its SHA-256, its site root and its CID.
//!
//! Reads the folder as a deployment would: the same files are taken, skipped and refused (DECISIONS 36, 37). Changes
//! nothing but the files of `--out` and `--sums`. Exit 0 well, 2 when the folder cannot be a site.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use crate::{
    base::files,
    cli::{finish, folder},
    domain::Result,
    proof::{build, site_tree},
    services::folder::unreadable,
};

/// The arguments of `manifest`.
#[derive(Args)]
pub(super) struct Arguments {
    /// The folder of finished files
    dir: PathBuf,
    /// Also write the manifest's exact bytes to this file
    #[arg(long)]
    out: Option<PathBuf>,
    /// Also write a SHA256SUMS file, which `sha256sum -c` reads in the folder
    #[arg(long, value_name = "FILE")]
    sums: Option<PathBuf>,
    /// Take files named .env* too, which usually hold secrets
    #[arg(long)]
    allow_env: bool,
}

impl Arguments {
    /// Prints `sha256`, `siteRoot` and `cid`, a line each.
    pub(super) fn run(&self) -> ExitCode {
        finish("manifest", self.make())
    }

    fn make(&self) -> Result<String> {
        let dir = folder::open(&self.dir)?;
        let found = folder::list(&dir, self.allow_env)?;
        let manifest = build::manifest(&found, self.allow_env, |path, _| folder::read(&dir, path))?;
        if let Some(out) = &self.out {
            files::write_atomic(out, &manifest.to_bytes(), 0o644).map_err(|error| unreadable("write", out, &error))?;
        }
        if let Some(sums) = &self.sums {
            let text = manifest.sha256sums();
            files::write_atomic(sums, text.as_bytes(), 0o644).map_err(|error| unreadable("write", sums, &error))?;
        }
        let root = data_encoding::HEXLOWER.encode(&site_tree::site_root(&manifest));
        let cid = folder::cid(&dir, &found, self.allow_env)?;
        Ok(format!("sha256 {}\nsiteRoot 0x{root}\ncid {cid}\n", manifest.sha256()))
    }
}
