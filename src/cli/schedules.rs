//! `chainhost schedules`: what runs by itself, when it is next and how it ended last; schedules of the tenant, tasks of the
//! server.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    client::{self, Call, Client, credentials::ServerArgument, escape, shapes},
    failure::{Failure, Result},
    output::{self, Output},
    table::{Cell, Column, Table},
    terminal, text,
};

/// The arguments of `schedules`.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Schedules {
    /// Print a JSON object: the server's `schedules` and `tasks`
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgument,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run a schedule's job, or a task of the server, now
    Run(Named),
    /// Ask for no more jobs of a schedule
    Pause(Named),
    /// Ask for them again, from its next time on
    Resume(Named),
}

#[derive(Args)]
struct Named {
    /// Its name, as `chainhost schedules` shows it
    name: String,
    #[command(flatten)]
    server: ServerArgument,
}

impl Named {
    fn path(&self, of: &str, act: &str) -> String {
        format!("/api/v1/{of}/{}/{act}", escape(&self.name))
    }

    async fn run(&self) -> Result<()> {
        let (client, _) = output::open(&self.server)?;
        let path = self.path("schedules", "run");
        match client.done(&Call::post(&path, &json!({}))?).await {
            Ok(()) => terminal::print(&format!("The job of {} is asked for. See: chainhost jobs", self.name)),
            Err(failure) if failure.is_not_found() => {
                client.done(&Call::post(&self.path("tasks", "run"), &json!({}))?).await?;
                terminal::print(&format!("{} looks now. How it ends: chainhost schedules", self.name))
            }
            Err(failure) => Err(failure),
        }
    }

    async fn change(&self, act: &str, done: &str) -> Result<()> {
        let (client, _) = output::open(&self.server)?;
        match client.done(&Call::post(&self.path("schedules", act), &json!({}))?).await {
            Ok(()) => terminal::print(&format!("The schedule {} {done}.", self.name)),
            Err(failure) if failure.is_not_found() => {
                let text = "There is no such schedule. Tasks of the server cannot be paused: it needs them.";
                Err(Failure::Server(String::from(text)))
            }
            Err(failure) => Err(failure),
        }
    }
}

impl Schedules {
    pub(super) fn run(self) -> ExitCode {
        client::run(async {
            match &self.command {
                None => self.list().await,
                Some(Command::Run(of)) => of.run().await,
                Some(Command::Pause(of)) => of.change("pause", "is paused").await,
                Some(Command::Resume(of)) => of.change("resume", "goes on").await,
            }
        })
    }

    async fn list(&self) -> Result<()> {
        let (client, output) = output::open(&self.server)?;
        let schedules = client.call::<shapes::Page>(&Call::get("/api/v1/schedules")).await?.items;
        let tasks = tasks(&client).await?;
        if self.json {
            return output::json(&json!({ "schedules": schedules, "tasks": tasks }));
        }
        if schedules.is_empty() {
            terminal::note("Your tenant has no schedule.");
        } else {
            terminal::print(&show_schedules(output::read(schedules)?, output))?;
        }
        match tasks {
            Some(tasks) => terminal::print(&show_tasks(output::read(tasks)?, output)),
            None => Ok(()),
        }
    }
}

/// What the server does by itself; `None` for who may not know.
async fn tasks(client: &Client) -> Result<Option<Vec<Value>>> {
    match client.call::<shapes::Page>(&Call::get("/api/v1/tasks")).await {
        Ok(page) => Ok(Some(page.items)),
        Err(failure) if failure.is_forbidden() => Ok(None),
        Err(failure) => Err(failure),
    }
}

fn when(at: Option<&String>, now_ms: i64) -> Cell {
    Cell::new(at.map_or_else(|| String::from("-"), |at| text::when(at, now_ms)))
}

/// An empty table of what runs again and again.
fn table(of: &'static str) -> Table {
    Table::new(&[
        Column::Whole(of),
        Column::Whole("When"),
        Column::Whole("Next"),
        Column::Whole("Last"),
        Column::Whole("Ended"),
        Column::Text("Error"),
    ])
}

fn show_schedules(rows: Vec<shapes::Schedule>, Output { terminal, now_ms }: Output) -> String {
    let mut table = table("Schedule");
    for it in rows {
        let last = it.last.as_ref();
        let next = if it.paused { Cell::new("paused") } else { when(it.next_at.as_ref(), now_ms) };
        table.push([
            Cell::new(it.name),
            Cell::new(format!("{} ({})", it.cron, it.zone)),
            next,
            when(last.map(|it| it.finished_at.as_ref().unwrap_or(&it.created_at)), now_ms),
            last.map_or_else(|| Cell::new("-"), |it| Cell::state(&it.state)),
            Cell::new(last.and_then(|it| it.error.clone()).unwrap_or_default()),
        ]);
    }
    table.show(terminal)
}

fn show_tasks(rows: Vec<shapes::Task>, Output { terminal, now_ms }: Output) -> String {
    let mut table = table("Task of the server");
    for it in rows {
        let every = match (&it.cron, it.every_seconds) {
            (Some(cron), _) => format!("{cron} ({})", it.zone.as_deref().unwrap_or("UTC")),
            (None, Some(seconds)) => format!("every {}", text::long(seconds)),
            (None, None) => String::from("-"),
        };
        let ended = match (&it.error, &it.ended_at) {
            _ if !it.here => "on another node",
            _ if it.running => "running",
            (Some(_), _) => "failed",
            (None, Some(_)) => "done",
            (None, None) => "-",
        };
        table.push([
            Cell::new(it.name),
            Cell::new(every),
            when(it.next_at.as_ref(), now_ms),
            when(it.ended_at.as_ref(), now_ms),
            Cell::state(ended),
            Cell::new(it.error.unwrap_or_default()),
        ]);
    }
    table.show(terminal)
}
