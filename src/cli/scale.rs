//! `chainhost scale`: spreads the database over several machines.
//!
//! Without `--run` it only prints what it would do. With it, it refuses a PostgreSQL without Citus and changes nothing there.

use std::{fmt::Write as _, path::PathBuf, process::ExitCode};

use clap::Subcommand;

use super::finish;
use crate::{
    app::scale,
    config::server::{Flags, Server},
    domain::{Error, Result},
};

/// The subcommands.
#[derive(Subcommand)]
pub(super) enum Scale {
    /// Print the statements that shard the database by tenant on a Citus cluster; start the server once on it before
    Citus {
        /// Run them on the database of the settings
        #[arg(long)]
        run: bool,
        /// The configuration file of the server
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

impl Scale {
    /// Exit 0 done or printed, 2 refused.
    pub(super) fn run(&self) -> ExitCode {
        let Self::Citus { run, config } = self;
        finish("scale", if *run { distribute(config.clone()) } else { Ok(print()) })
    }
}

fn print() -> String {
    scale::citus().into_iter().fold(String::new(), |mut text, sql| {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{sql}");
        text
    })
}

fn distribute(config: Option<PathBuf>) -> Result<String> {
    let settings = Server::load(&Flags { config, ..Flags::default() })?;
    let Some(postgres) = settings.postgres else {
        let text = "The settings name no PostgreSQL. Give its URL in [database] or in CHAINHOST_DATABASE_URL.";
        return Err(Error::invalid("config", text));
    };
    let done = scale::run_citus(&postgres)?;
    Ok(match done.len() {
        0 => String::from("Everything is distributed already.\n"),
        count => format!("Distributed {count} tables: {}.\n", done.join(", ")),
    })
}
