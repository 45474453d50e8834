//! `chainhost log verify-inclusion` and `verify-consistency`: pure checks of RFC 6962 proofs; `fsck` is only named yet.
//!
//! The exit code is the answer (INTEGRITY): 0 valid, 22 not included, 25 not consistent, 2 wrong usage. Reads no file
//! and no network.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Subcommand;

use crate::{base::hash::Sha256, proof::log};

const USAGE: u8 = 2;
const NOT_INCLUDED: u8 = 22;
const NOT_CONSISTENT: u8 = 25;

/// The commands below `log`.
#[derive(Subcommand)]
pub(super) enum Log {
    /// Is this leaf the entry at this index? Exit 0: yes, 22: no
    VerifyInclusion {
        /// The leaf's hash, base64
        #[arg(long, value_parser = hash)]
        leaf_hash: Sha256,
        /// The entry's number, from 0
        #[arg(long)]
        index: u64,
        /// Entries of the log
        #[arg(long)]
        size: u64,
        /// The log's root, base64
        #[arg(long, value_parser = hash)]
        root: Sha256,
        /// The proof's hashes, base64, parted by commas; empty for a log of one entry
        #[arg(long, value_parser = hashes, default_value = "")]
        proof: Hashes,
    },
    /// Is the smaller log a prefix of the larger? Exit 0: yes, 25: no
    VerifyConsistency {
        /// Entries of the smaller log
        #[arg(long)]
        size1: u64,
        /// Entries of the larger log
        #[arg(long)]
        size2: u64,
        /// The smaller log's root, base64
        #[arg(long, value_parser = hash)]
        root1: Sha256,
        /// The larger log's root, base64
        #[arg(long, value_parser = hash)]
        root2: Sha256,
        /// The proof's hashes, base64, parted by commas; empty when the sizes are equal
        #[arg(long, value_parser = hashes, default_value = "")]
        proof: Hashes,
    },
    /// Walk checkpoint, tiles and entries of a whole log. Comes with a later version; exit 2
    Fsck {
        /// The log's address or folder
        log: String,
        /// The key that signs its checkpoints
        #[arg(long)]
        vkey: String,
    },
}

/// A proof's hashes, as one argument.
#[derive(Clone, Debug)]
pub(super) struct Hashes(Vec<Sha256>);

impl Log {
    /// Checks, says the answer in a word, and returns it as exit code.
    pub(super) fn run(self) -> ExitCode {
        let (valid, otherwise) = match self {
            Self::VerifyInclusion { leaf_hash, index, size, root, proof } => {
                (log::verify_inclusion(&leaf_hash, index, size, &root, &proof.0), NOT_INCLUDED)
            }
            Self::VerifyConsistency { size1, size2, root1, root2, proof } => {
                (log::verify_consistency(size1, size2, &root1, &root2, &proof.0), NOT_CONSISTENT)
            }
            Self::Fsck { .. } => {
                let message = "chainhost log fsck: walking a whole log comes with a later version.";
                drop(writeln!(io::stderr(), "{message}"));
                return ExitCode::from(USAGE);
            }
        };
        // The exit code is the answer; a closed output does not change it.
        drop(writeln!(io::stdout(), "{}", if valid { "valid" } else { "not valid" }));
        if valid { ExitCode::SUCCESS } else { ExitCode::from(otherwise) }
    }
}

/// Strict base64 with padding, 32 bytes.
fn hash(text: &str) -> Result<Sha256, String> {
    let bytes = data_encoding::BASE64.decode(text.as_bytes()).map_err(|error| format!("not base64: {error}"))?;
    let length = bytes.len();
    bytes.try_into().map(Sha256).map_err(|_| format!("a hash has 32 bytes, this has {length}"))
}

fn hashes(text: &str) -> Result<Hashes, String> {
    if text.is_empty() {
        return Ok(Hashes(Vec::new()));
    }
    text.split(',').map(hash).collect::<Result<_, _>>().map(Hashes)
}
