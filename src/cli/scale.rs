//! `chainhost scale`: shards the database by tenant, or lets it keep tenants apart.
//!
//! Without `--run` it only prints what it would do. With it, it refuses a PostgreSQL without Citus and changes nothing there.

use std::process::ExitCode;

use clap::Subcommand;

use super::{admin::Data, finish};
use crate::{
    app::scale,
    config::database::Postgres,
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
        #[command(flatten)]
        data: Data,
    },
    /// Print the statements that let PostgreSQL itself keep tenants apart
    RowSecurity {
        /// Run them on the database of the settings
        #[arg(long)]
        run: bool,
        #[command(flatten)]
        data: Data,
    },
}

impl Scale {
    /// Exit 0 done or printed, 2 refused.
    pub(super) fn run(&self) -> ExitCode {
        let out = match self {
            Self::Citus { run: false, .. } => Ok(print(scale::citus())),
            Self::RowSecurity { run: false, .. } => Ok(print(scale::row_security())),
            Self::Citus { data, .. } => database(data).and_then(|it| distribute(&it)),
            Self::RowSecurity { data, .. } => database(data).and_then(|it| put_up(&it)),
        };
        finish("scale", out)
    }
}

fn print(statements: Vec<String>) -> String {
    statements.into_iter().map(|sql| sql + "\n").collect()
}

fn database(data: &Data) -> Result<Postgres> {
    let settings = data.settings()?;
    let text = "The settings name no PostgreSQL. Give its URL in [database] or in CHAINHOST_DATABASE_URL.";
    settings.postgres.ok_or_else(|| Error::invalid("config", text))
}

fn distribute(database: &Postgres) -> Result<String> {
    let done = scale::run_citus(database)?;
    Ok(match done.len() {
        0 => String::from("Everything is distributed already.\n"),
        count => format!("Distributed {count} tables: {}.\n", done.join(", ")),
    })
}

fn put_up(database: &Postgres) -> Result<String> {
    Ok(String::from(if scale::run_row_security(database)? {
        "Row-level security is on. Restart the servers, so that they tell PostgreSQL whose rows they are about.\n"
    } else {
        "Row-level security is on, but not for this user: it does not hold for superusers and roles with BYPASSRLS. Let the \
         servers connect as another one.\n"
    }))
}
