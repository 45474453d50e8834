//! The command line: one command a file. Exit codes: 0 well, 2 wrong usage or input, others as each command says; those
//! that speak to a server: 1 it refused or failed, 3 not reachable, 4 not signed in.
//!
//! Results go to standard output, all else to standard error.

mod admin;
mod bans;
mod certificates;
mod check;
mod cid;
mod client;
mod db;
mod deploy;
mod deployments;
mod dial;
mod diff;
mod doctor;
mod failure;
mod folder;
mod gc;
mod jobs;
mod log;
mod login;
mod logs;
mod manifest;
mod moving;
mod nodes;
mod output;
mod purge;
mod rollback;
mod scale;
mod schedules;
mod serve;
mod sites;
mod table;
mod terminal;
mod text;
mod tls;
mod verify;
mod worker;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

use crate::domain::Result;

/// Turns a VPS into your own web host.
#[derive(Parser)]
#[command(name = "chainhost", version = env!("CHAINHOST_VERSION"), about, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Set up users and keys on this server, without a browser
    #[command(subcommand)]
    Admin(admin::Admin),
    /// Show who gets nothing of a site; shut somebody out, or end that
    Bans(bans::Bans),
    /// Show how it stands with the certificates of hostnames; give the server one
    Certificates(certificates::Certificates),
    /// Check a configuration and say which line is wrong
    Check(check::Check),
    /// Print the IPFS CID of a folder's site or of a file (profile unixfs-v1-2025)
    Cid(cid::Arguments),
    /// Look at the server's database
    #[command(subcommand)]
    Db(db::Database),
    /// Deploy a folder of finished files to a site and publish it
    Deploy(deploy::Deploy),
    /// List what was deployed to a site
    Deployments(deployments::Deployments),
    /// Show which files differ between two deployments
    Diff(diff::Diff),
    /// Look whether an authority would give a certificate for a hostname, and what to change if not
    Doctor(doctor::Doctor),
    /// Remove stored bytes that no deployment names any more
    Gc(gc::Gc),
    /// List background jobs and queues; run a job once more, pause and drain queues
    Jobs(jobs::Jobs),
    /// Check proofs of a transparency log, offline
    #[command(subcommand)]
    Log(log::Log),
    /// Keep a server and an API key for the next commands
    Login(login::Login),
    /// Forget the key
    Logout(login::Logout),
    /// Show what the server did with a deployment
    Logs(logs::Logs),
    /// Print the SHA-256, the site root and the CID of a folder's canonical manifest
    Manifest(manifest::Arguments),
    /// List the nodes that run this installation
    Nodes(nodes::Nodes),
    /// Move the server's data to another database, after a rehearsal; back the same way
    Move(moving::Move),
    /// Have caches in front of the server (CDNs) purged of a site
    Purge(purge::Purge),
    /// Publish an earlier deployment again
    Rollback(rollback::Rollback),
    /// Shard the database by tenant, or let it keep tenants apart
    #[command(subcommand)]
    Scale(scale::Scale),
    /// Show what runs by itself, when it is next and how it ended last; run it now
    Schedules(schedules::Schedules),
    /// Run the server
    Serve(serve::Serve),
    /// List, make and delete sites
    Sites(sites::Sites),
    /// Check a proof bundle, and a folder or a site against it. Exit 10: valid but pending, 20: content, 21: manifest
    Verify(verify::Arguments),
    /// Run background jobs on another machine
    Worker(worker::Worker),
}

/// Reads the arguments of this process and does what they ask. Wrong usage ends the process with 2 and says what is
/// wrong.
pub fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Admin(command) => command.run(),
        Command::Bans(command) => command.run(),
        Command::Certificates(command) => command.run(),
        Command::Check(command) => command.run(),
        Command::Cid(arguments) => arguments.run(),
        Command::Db(command) => command.run(),
        Command::Deploy(command) => command.run(),
        Command::Deployments(command) => command.run(),
        Command::Diff(command) => command.run(),
        Command::Doctor(command) => command.run(),
        Command::Gc(command) => command.run(),
        Command::Jobs(command) => command.run(),
        Command::Log(command) => command.run(),
        Command::Login(command) => command.run(),
        Command::Logout(command) => command.run(),
        Command::Logs(command) => command.run(),
        Command::Manifest(arguments) => arguments.run(),
        Command::Nodes(command) => command.run(),
        Command::Move(command) => command.run(),
        Command::Purge(command) => command.run(),
        Command::Rollback(command) => command.run(),
        Command::Scale(command) => command.run(),
        Command::Schedules(command) => command.run(),
        Command::Serve(command) => command.run(),
        Command::Sites(command) => command.run(),
        Command::Verify(arguments) => arguments.run(),
        Command::Worker(command) => command.run(),
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
