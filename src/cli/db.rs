//! `chainhost db shell`: questions in SQL to the server's database, which cannot change it.

use std::{
    io::{self, BufRead as _, IsTerminal as _, Read as _},
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Subcommand};
use serde_json::{Map, Value as Json, json};

use super::{
    admin::Data,
    output,
    table::{Cell, Table},
    terminal::{self, Terminal},
};
use crate::{
    app::ground,
    config::client::Environment,
    domain::{Error, Kind, Result},
    ports::db::{Found, Value},
};

/// Longest time of one statement: it must not keep the server's log from being folded in.
const TIME_MAX: Duration = Duration::from_secs(5);
/// Bytes of all statements on standard input.
const INPUT_BYTES_MAX: u64 = 1024 * 1024;
/// What a statement that only reads begins with.
const READS: [&str; 6] = ["select", "with", "values", "table", "explain", "show"];

/// The subcommands.
#[derive(Subcommand)]
pub(super) enum Database {
    /// Ask in SQL, read-only; the answers hold hashes of passwords and keys, and all that the server knows
    Shell(Shell),
}

/// The arguments of `db shell`.
#[derive(Args)]
pub(super) struct Shell {
    /// The statement [default: statements from standard input, each up to a line that ends in ;]
    #[arg(short = 'c', long = "command", value_name = "SQL")]
    command: Option<String>,
    /// Most rows of an answer
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    limit: usize,
    /// Print a JSON object for each row [default where standard output is no terminal]
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    data: Data,
}

impl Database {
    /// Exit 0 answered, 1 the database failed, 2 wrong input.
    pub(super) fn run(&self) -> ExitCode {
        let Self::Shell(shell) = self;
        match shell.go() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                terminal::note(&format!("chainhost db shell: {}", error.message));
                ExitCode::from(if error.kind == Kind::Invalid { 2 } else { 1 })
            }
        }
    }
}

impl Shell {
    fn go(&self) -> Result<()> {
        let settings = self.data.settings()?;
        let answer = |sql: &str| -> Result<()> {
            let sql = sql.trim();
            if sql.trim_end_matches(';').trim().is_empty() {
                return Ok(());
            }
            let word = sql.split(|it: char| !it.is_ascii_alphabetic()).next().unwrap_or_default();
            if !READS.contains(&word.to_ascii_lowercase().as_str()) {
                let text = format!("Only statements that read are run: {}.", READS.join(", ").to_uppercase());
                return Err(Error::invalid("sql", text));
            }
            let found = ground::ask(&settings, sql, self.limit, TIME_MAX)?;
            self.show(&found).map_err(|failure| Error::internal(failure.to_string()))
        };
        if let Some(sql) = &self.command {
            return answer(sql);
        }
        let by_hand = io::stdin().is_terminal();
        let mut statement = String::new();
        for line in io::stdin().lock().take(INPUT_BYTES_MAX).lines() {
            statement.push_str(&line?);
            statement.push('\n');
            if !statement.trim_end().ends_with(';') {
                continue;
            }
            match answer(&std::mem::take(&mut statement)) {
                Err(error) if by_hand => terminal::note(&error.message),
                answered => answered?,
            }
        }
        answer(&statement)
    }

    fn show(&self, found: &Found) -> super::failure::Result<()> {
        let terminal = Terminal::of_stdout(Environment::from_environment().no_color);
        if self.json || terminal.width.is_none() {
            for row in &found.rows {
                let pairs = found.columns.iter().cloned().zip(row.iter().map(as_json));
                output::json_line(&Json::Object(pairs.collect::<Map<_, _>>()))?;
            }
        } else {
            let mut table = Table::named(&found.columns);
            for row in &found.rows {
                table.push_row(row.iter().map(|it| Cell::new(as_text(it))).collect());
            }
            terminal::print(&table.show(terminal))?;
        }
        output::more(found.more);
        Ok(())
    }
}

fn as_json(value: &Value) -> Json {
    match value {
        Value::Null(_) => Json::Null,
        Value::Bool(it) => json!(it),
        Value::Int(it) => json!(it),
        Value::Real(it) => json!(it),
        Value::Text(it) => json!(it),
        Value::Blob(it) => json!(data_encoding::HEXLOWER.encode(it)),
    }
}

fn as_text(value: &Value) -> String {
    match as_json(value) {
        Json::String(it) => it,
        other => other.to_string(),
    }
}
