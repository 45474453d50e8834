//! `chainhost jobs`: the background work of the server, running a job once more, and pausing a queue.

use std::process::ExitCode;

use clap::{Args, Subcommand};
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
    /// Start no more jobs of a queue; what runs goes on, what comes waits
    Pause(OneQueue),
    /// Start the jobs of a paused queue again
    Resume(OneQueue),
    /// Run a job once more
    Rerun {
        /// Its id
        #[arg(value_parser = id)]
        id: JobId,
        #[command(flatten)]
        server: ServerArgument,
    },
}

#[derive(Args)]
struct OneQueue {
    /// deploy, email, blockchain or backup
    #[arg(value_parser = queue)]
    queue: Queue,
    #[command(flatten)]
    server: ServerArgument,
}

impl OneQueue {
    async fn call(&self, what: &str) -> Result<()> {
        let (client, _) = output::open(&self.server)?;
        let path = format!("/api/v1/queues/{}/{what}", self.queue.word());
        client.done(&Call::post(&path, &json!({}))?).await
    }
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
                Some(Command::Pause(of)) => {
                    of.call("pause").await?;
                    let name = of.queue.word();
                    terminal::print(&format!(
                        "The queue {name} is paused. It goes on with: chainhost jobs resume {name}"
                    ))
                }
                Some(Command::Resume(of)) => {
                    of.call("resume").await?;
                    terminal::print(&format!("The queue {} goes on.", of.queue.word()))
                }
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
        let jobs = output::read::<shapes::Job>(rows)?;
        if jobs.iter().any(|it| matches!(it.state.as_str(), "waiting" | "delayed")) {
            paused(&client).await;
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

/// Says why jobs wait that nothing keeps from starting but a pause. Who may not ask, or asks a server of before, reads nothing.
async fn paused(client: &Client) {
    let Ok(page) = client.call::<shapes::Page>(&Call::get("/api/v1/queues")).await else { return };
    let Ok(queues) = output::read::<shapes::QueueState>(page.items) else { return };
    for it in queues.into_iter().filter(|it| it.paused) {
        let name = text::plain(&it.queue);
        terminal::note(&format!("The queue {name} is paused: its jobs wait until `chainhost jobs resume {name}`."));
    }
}
