//! `chainhost jobs`: the background work of the server, and running a job once more.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    client::{self, Call, credentials::ServerArgument, escape, shapes},
    failure::Result,
    output::{self, Output},
    table::{Cell, Column, Table},
    terminal, text,
};
use crate::domain::job::{JobId, Queue, State};

/// The arguments of `jobs`.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Jobs {
    /// Only of this queue: deploy, email, blockchain, backup
    #[arg(long, value_parser = queue)]
    queue: Option<Queue>,
    /// Only in this state: waiting, delayed, running, done, failed
    #[arg(long, value_parser = state)]
    state: Option<State>,
    /// At most so many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Print a JSON array of the server's objects
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgument,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run a job once more
    Rerun {
        /// Its id
        #[arg(value_parser = id)]
        id: JobId,
        #[command(flatten)]
        server: ServerArgument,
    },
}

fn queue(text: &str) -> Result<Queue, String> {
    Queue::parse(text).map_err(|error| error.message)
}

fn state(text: &str) -> Result<State, String> {
    State::parse(text).map_err(|error| error.message)
}

fn id(text: &str) -> Result<JobId, String> {
    text.parse().map_err(|_| format!("`{text}` is not the id of a job: it has 32 digits, as `chainhost jobs` shows."))
}

impl Jobs {
    pub(super) fn run(self) -> ExitCode {
        client::run(async {
            match &self.command {
                None => self.list().await,
                Some(Command::Rerun { id, server }) => {
                    let (client, _) = output::open(server)?;
                    let path = format!("/api/v1/jobs/{}/rerun", escape(&id.to_string()));
                    client.done(&Call::post(&path, &json!({}))?).await?;
                    terminal::print(&format!("The job {id} runs once more."))
                }
            }
        })
    }

    async fn list(&self) -> Result<()> {
        let (client, Output { terminal, now_ms }) = output::open(&self.server)?;
        let queue = self.queue.map_or_else(String::new, |it| format!("&queue={}", it.word()));
        let state = self.state.map_or_else(String::new, |it| format!("&state={}", it.word()));
        let (rows, more) = client.list("/api/v1/jobs", &(queue + &state), Some(self.limit)).await?;
        if self.json {
            output::more(more);
            return output::json(&rows);
        }
        if rows.is_empty() {
            return terminal::print("There is no such job.");
        }
        let mut table = Table::new(&[
            Column::Whole("Id"),
            Column::Whole("Queue"),
            Column::Whole("State"),
            Column::Number("Try"),
            Column::Whole("Asked for"),
            Column::Text("Title"),
            Column::Text("Error"),
        ]);
        for it in output::read::<shapes::Job>(rows)? {
            table.push([
                Cell::new(it.id),
                Cell::new(it.queue),
                Cell::state(&it.state),
                Cell::new(it.attempt.to_string()),
                Cell::new(text::when(&it.created_at, now_ms)),
                Cell::new(it.title.unwrap_or(it.kind)),
                Cell::new(it.error.unwrap_or_default()),
            ]);
        }
        terminal::print(&table.show(terminal))?;
        output::more(more);
        Ok(())
    }
}
