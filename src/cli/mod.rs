//! The command line: one command a file. Exit codes: 0 well, 2 wrong usage, others as each command says.
//!
//! Results go to standard output, all else to standard error.

mod cid;
mod folder;
mod log;
mod manifest;
mod verify;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

use crate::domain::Result;

/// Turns a VPS into your own web host.
#[derive(Parser)]
#[command(name = "chainhost", version, about, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the IPFS CID of a folder's site or of a file (profile unixfs-v1-2025)
    Cid(cid::Arguments),
    /// Check proofs of a transparency log, offline
    #[command(subcommand)]
    Log(log::Log),
    /// Print the SHA-256, the site root and the CID of a folder's canonical manifest
    Manifest(manifest::Arguments),
    /// Check a proof bundle, and a folder or a site against it. Exit 10: valid but pending, 20: content, 21: manifest
    Verify(verify::Arguments),
}

/// Reads the arguments of this process and does what they ask. Wrong usage ends the process with 2 and says what is
/// wrong.
pub fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Cid(arguments) => arguments.run(),
        Command::Log(command) => command.run(),
        Command::Manifest(arguments) => arguments.run(),
        Command::Verify(arguments) => arguments.run(),
    }
}

/// Ends a command: its lines to standard output and 0, or why there are none to standard error and 2.
fn finish(command: &str, lines: Result<String>) -> ExitCode {
    match lines {
        Ok(lines) => match io::stdout().write_all(lines.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(error) => {
            let why = error.detail.map_or_else(String::new, |it| format!(" ({it})"));
            drop(writeln!(io::stderr(), "chainhost {command}: {}{why}", error.message));
            ExitCode::from(2)
        }
    }
}
