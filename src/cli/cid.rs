//! `chainhost cid DIR|FILE`: the root CID that IPFS gives to a site's files, by the profile `unixfs-v1-2025`.
//!
//! Of a folder the files count that a deployment would serve: not `_headers`, `_redirects` and `chainhost.toml`, whose
//! bytes a deployment does not keep, nor what every deployment skips. Exit 0 well, 2 when it cannot be read.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use crate::{
    cli::{finish, folder},
    domain::Result,
};

/// The arguments of `cid`.
#[derive(Args)]
pub(super) struct Arguments {
    /// A folder of finished files, or a file
    path: PathBuf,
    /// Take files named .env* too, which usually hold secrets
    #[arg(long)]
    allow_env: bool,
}

impl Arguments {
    /// Prints the CID.
    pub(super) fn run(&self) -> ExitCode {
        finish("cid", self.make())
    }

    fn make(&self) -> Result<String> {
        let cid = if self.path.is_dir() {
            let dir = folder::open(&self.path)?;
            folder::cid(&dir, &folder::list(&dir, self.allow_env)?, self.allow_env)?
        } else {
            folder::cid_of_file(&self.path)?
        };
        Ok(format!("{cid}\n"))
    }
}
