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
use crate::domain::site::SiteName;

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
    /// Make a schedule: a job that is asked for again and again
    Add(New),
    /// Remove a schedule; jobs that it has asked for stay
    Remove(Named),
    /// Run a schedule's job, or a task of the server, now
    Run(Named),
    /// Ask for no more jobs of a schedule
    Pause(Named),
    /// Ask for them again, from its next time on
    Resume(Named),
}

#[derive(Args)]
struct New {
    /// Its name, one in your tenant
    name: String,
    /// When: minute, hour, day, month, weekday, or a word such as @daily
    #[arg(long, value_name = "EXPRESSION")]
    cron: String,
    /// The time zone of the expression, as in Europe/Berlin
    #[arg(long, default_value = "UTC")]
    zone: String,
    /// What becomes of runs that were missed: skip, once (one for all of them), all
    #[arg(long, default_value = "once")]
    missed: String,
    /// What to do; `check_files` reads every file of what is live, and says which are damaged or gone
    #[arg(long, default_value = "check_files")]
    kind: String,
    /// For this site [default: for all of your tenant]
    #[arg(long, value_parser = super::sites::name)]
    site: Option<SiteName>,
    #[command(flatten)]
    server: ServerArgument,
}

impl New {
    async fn run(&self) -> Result<()> {
        let (client, _) = output::open(&self.server)?;
        let Self { name, cron, zone, missed, kind, site, .. } = self;
        let site = site.as_ref().map(SiteName::as_str);
        let body = json!({ "name": name, "cron": cron, "zone": zone, "missed": missed, "kind": kind, "site": site });
        let made: shapes::Schedule = client.call(&Call::post("/api/v1/schedules", &body)?).await?;
        let times: Vec<String> = made.upcoming.iter().map(|it| minute(it)).collect();
        let name = text::plain(&made.name);
        match times.as_slice() {
            [] => terminal::print(&format!("The schedule {name} is made.")),
            times => {
                terminal::print(&format!("The schedule {name} is made. Its next times: {} (UTC).", times.join(", ")))
            }
        }
    }
}

/// `2026-11-30 03:00` of a time as the API tells it.
fn minute(at: &str) -> String {
    text::plain(at.get(..16).unwrap_or(at)).replace('T', " ")
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
                match client.done(&Call::post(&self.path("tasks", "run"), &json!({}))?).await {
                    Ok(()) => terminal::print(&format!("{} looks now. How it ends: chainhost schedules", self.name)),
                    Err(failure) if failure.is_not_found() || failure.is_forbidden() => {
                        Err(self.unknown(&client).await?)
                    }
                    Err(failure) => Err(failure),
                }
            }
            Err(failure) => Err(failure),
        }
    }

    /// Says which names there are, where this is none of a schedule.
    async fn unknown(&self, client: &Client) -> Result<Failure> {
        let schedules = client.call::<shapes::Page>(&Call::get("/api/v1/schedules")).await?.items;
        let names = |all: Vec<Value>| -> Vec<String> {
            all.iter().filter_map(|it| it["name"].as_str().map(text::plain)).collect()
        };
        let (schedules, tasks) = (names(schedules), names(tasks(client).await?.unwrap_or_default()));
        let name = text::plain(&self.name);
        if tasks.contains(&name) {
            let text = format!("{name} is a task of the server, which needs it: it cannot be paused or removed.");
            return Ok(Failure::Server(text));
        }
        let listed = |what: &str, names: &[String]| match names {
            [] => String::new(),
            names => format!(" {what}: {}.", names.join(", ")),
        };
        let there = [listed("Schedules", &schedules), listed("Tasks of the server", &tasks)].concat();
        let said = format!("There is no schedule {name}.{there}");
        Ok(Failure::Server(said))
    }

    async fn remove(&self) -> Result<()> {
        let (client, _) = output::open(&self.server)?;
        match client.done(&Call::delete(&format!("/api/v1/schedules/{}", escape(&self.name)))).await {
            Ok(()) => {
                terminal::print(&format!("The schedule {} is removed. Jobs that it has asked for stay.", self.name))
            }
            Err(failure) if failure.is_not_found() => Err(self.unknown(&client).await?),
            Err(failure) => Err(failure),
        }
    }

    async fn change(&self, act: &str, done: &str) -> Result<()> {
        let (client, _) = output::open(&self.server)?;
        match client.done(&Call::post(&self.path("schedules", act), &json!({}))?).await {
            Ok(()) => terminal::print(&format!("The schedule {} {done}.", self.name)),
            Err(failure) if failure.is_not_found() => Err(self.unknown(&client).await?),
            Err(failure) => Err(failure),
        }
    }
}

impl Schedules {
    pub(super) fn run(self) -> ExitCode {
        client::run(async {
            match &self.command {
                None => self.list().await,
                Some(Command::Add(new)) => new.run().await,
                Some(Command::Remove(of)) => of.remove().await,
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
            terminal::note(
                "Your tenant has no schedule. Make one: chainhost schedules add nightly --cron \"0 3 * * *\"",
            );
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
            (None, Some(3_600)) => String::from("every hour"),
            (None, Some(86_400)) => String::from("every day"),
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
