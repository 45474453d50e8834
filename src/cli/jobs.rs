//! `chainhost jobs`: the background work of the server: listed, run once more, cancelled; and its queues.

mod queues;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::json;

use super::{
    client::{self, Call, Client, credentials::ServerArgument, escape, shapes},
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
    /// Show the queues: how much runs and waits, how long it took lately, which are paused
    Queues(queues::Queues),
    /// Start no more jobs of a queue or of your tenant; what runs goes on, what comes waits
    Pause(queues::Target),
    /// Pause, and wait until nothing runs any more. Exit 1: something still runs after the timeout
    Drain(queues::Drain),
    /// Start the jobs of what was paused again
    Resume(queues::Target),
    /// Run a failed or delayed job now
    Rerun(OneJob),
    /// Remove a job that has not started; tell one that runs to end
    Cancel(OneJob),
    /// Remove an ended job from the list
    Dismiss(OneJob),
}

#[derive(Args)]
struct OneJob {
    /// Its id
    #[arg(value_parser = id)]
    id: JobId,
    #[command(flatten)]
    server: ServerArgument,
}

impl OneJob {
    fn open(&self) -> Result<(Client, String)> {
        let (client, _) = output::open(&self.server)?;
        Ok((client, format!("/api/v1/jobs/{}", escape(&self.id.to_string()))))
    }

    async fn rerun(&self) -> Result<()> {
        let (client, path) = self.open()?;
        client.done(&Call::post(&format!("{path}/rerun"), &json!({}))?).await?;
        terminal::print(&format!("The job {} runs once more.", self.id))
    }

    async fn cancel(&self) -> Result<()> {
        let (client, path) = self.open()?;
        let answer: Cancelled = client.call(&Call::post(&format!("{path}/cancel"), &json!({}))?).await?;
        terminal::print(&if answer.removed {
            format!("The job {} is cancelled.", self.id)
        } else {
            format!("The job {} runs and was told to end; it has ten seconds for that.", self.id)
        })
    }

    async fn dismiss(&self) -> Result<()> {
        let (client, path) = self.open()?;
        client.done(&Call::delete(&path)).await?;
        terminal::print(&format!("The job {} is no longer listed.", self.id))
    }
}

#[derive(Deserialize)]
struct Cancelled {
    removed: bool,
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
                Some(Command::Queues(it)) => it.run().await,
                Some(Command::Pause(it)) => it.pause().await,
                Some(Command::Drain(it)) => it.run().await,
                Some(Command::Resume(it)) => it.resume().await,
                Some(Command::Rerun(it)) => it.rerun().await,
                Some(Command::Cancel(it)) => it.cancel().await,
                Some(Command::Dismiss(it)) => it.dismiss().await,
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
            let all = self.queue.is_none() && self.state.is_none();
            return terminal::print(if all { "No job waits, runs or is kept." } else { "There is no such job." });
        }
        let jobs = output::read::<shapes::Job>(rows)?;
        if jobs.iter().any(|it| matches!(it.state.as_str(), "waiting" | "delayed")) {
            queues::say_paused(&client).await;
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
        for it in jobs {
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
