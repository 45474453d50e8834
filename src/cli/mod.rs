//! The command line: one command a file. Exit codes: 0 well, 2 wrong usage, others as each command says.
//!
//! Results go to standard output, all else to standard error.

mod folder;
mod log;
mod manifest;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Turns a VPS into your own web host.
#[derive(Parser)]
#[command(name = "chainhost", version, about, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check proofs of a transparency log, offline
    #[command(subcommand)]
    Log(log::Log),
    /// Print the SHA-256 and the site root of a folder's canonical manifest
    Manifest(manifest::Arguments),
}

/// Reads the arguments of this process and does what they ask. Wrong usage ends the process with 2 and says what is
/// wrong.
pub fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Log(command) => command.run(),
        Command::Manifest(arguments) => arguments.run(),
    }
}
