//! `chainhost jobs queues`, `pause`, `drain` and `resume`: the queues, or all jobs of one's own tenant.

use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::time::Instant;

use crate::{
    cli::{
        client::{Call, Client, credentials::ServerArgument, shapes},
        failure::{Failure, Result},
        output::{self, Output},
        table::{Cell, Column, Table},
        terminal, text,
    },
    domain::job::Queue,
};

/// How long one call waits: shorter than what proxies between here and the server wait for.
const WAIT: Duration = Duration::from_secs(20);

/// What is paused or resumed, and where.
#[derive(Args)]
pub(super) struct Target {
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    server: ServerArgument,
}

/// A queue, or a tenant.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct What {
    /// deploy, email, blockchain or backup: for all tenants of the server
    #[arg(value_parser = super::queue)]
    queue: Option<Queue>,
    /// All jobs of your own tenant, in every queue
    #[arg(long)]
    tenant: bool,
}

impl Target {
    fn path(&self, act: &str) -> String {
        self.what
            .queue
            .map_or_else(|| format!("/api/v1/jobs/{act}"), |it| format!("/api/v1/queues/{}/{act}", it.word()))
    }

    /// As an argument of a command.
    fn argument(&self) -> &'static str {
        self.what.queue.map_or("--tenant", Queue::word)
    }

    /// At the beginning of a sentence.
    fn name(&self) -> String {
        self.what.queue.map_or_else(|| String::from("Your tenant"), |it| format!("The queue {}", it.word()))
    }

    fn resume_hint(&self) -> String {
        format!("It goes on with: chainhost jobs resume {}", self.argument())
    }

    pub(super) async fn pause(&self) -> Result<()> {
        let (client, _) = output::open(&self.server)?;
        client.done(&Call::post(&self.path("pause"), &json!({}))?).await?;
        terminal::print(&format!("{} is paused. {}", self.name(), self.resume_hint()))
    }

    pub(super) async fn resume(&self) -> Result<()> {
        let (client, _) = output::open(&self.server)?;
        client.done(&Call::post(&self.path("resume"), &json!({}))?).await?;
        terminal::print(&format!("{} goes on.", self.name()))
    }
}

/// The arguments of `drain`.
#[derive(Args)]
pub(super) struct Drain {
    #[command(flatten)]
    target: Target,
    /// Give up waiting after so many seconds; it stays paused
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u32,
}

impl Drain {
    pub(super) async fn run(&self) -> Result<()> {
        let target = &self.target;
        let (client, _) = output::open(&target.server)?;
        let ends = Instant::now() + Duration::from_secs(self.timeout.into());
        let path = target.path("drain");
        let mut said = None;
        loop {
            // To the second: a server counts in whole ones.
            let left = ends.saturating_duration_since(Instant::now()).min(WAIT).as_secs();
            // Told at once what runs, and only then waited for.
            let wait = if said.is_none() { 0 } else { left };
            let running = client.call::<Drained>(&Call::post(&path, &json!({ "wait_seconds": wait }))?).await?.running;
            if running == 0 {
                let text = format!("{} is paused, and nothing of it runs. {}", target.name(), target.resume_hint());
                return terminal::print(&text);
            }
            let jobs = text::count(running, "job");
            if said.is_some() && left == 0 {
                let after = text::long(self.timeout.into());
                let text = format!("After {after}, {jobs} still at work. {} stays paused.", target.name());
                return Err(Failure::Server(text));
            }
            if said != Some(running) {
                terminal::note(&format!("{} is paused; waiting for {jobs} at work.", target.name()));
                said = Some(running);
            }
        }
    }
}

#[derive(serde::Deserialize)]
struct Drained {
    running: u64,
}

/// The arguments of `queues`.
#[derive(Args)]
pub(super) struct Queues {
    /// Print a JSON array of the server's objects
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgument,
}

impl Queues {
    pub(super) async fn run(&self) -> Result<()> {
        let (client, Output { terminal, now_ms }) = output::open(&self.server)?;
        let page = client.call::<shapes::Page>(&Call::get("/api/v1/queues")).await?;
        if self.json {
            return output::json(&page.items);
        }
        let queues = output::read::<shapes::QueueState>(page.items)?;
        let mut table = Table::new(&[
            Column::Whole("Queue"),
            Column::Whole("State"),
            Column::Number("Running"),
            Column::Number("Waiting"),
            Column::Number("Delayed"),
            Column::Number("Failed"),
            Column::Whole("Oldest"),
            Column::Number("Wait p50"),
            Column::Number("p95"),
            Column::Number("Run p50"),
            Column::Number("p95"),
        ]);
        let took = |ms: Option<u64>| Cell::new(ms.map_or_else(|| String::from("-"), text::duration));
        for it in &queues {
            table.push([
                Cell::new(&it.queue),
                Cell::new(state(it)),
                Cell::new(it.running.to_string()),
                Cell::new(it.waiting.to_string()),
                Cell::new(it.delayed.to_string()),
                Cell::new(it.failed.to_string()),
                Cell::new(it.oldest_at.as_deref().map_or_else(|| String::from("-"), |at| text::when(at, now_ms))),
                took(it.wait_p50_ms),
                took(it.wait_p95_ms),
                took(it.run_p50_ms),
                took(it.run_p95_ms),
            ]);
        }
        terminal::print(&table.show(terminal))?;
        if queues.iter().any(|it| it.tenant_paused) {
            terminal::note(TENANT_PAUSED);
        }
        Ok(())
    }
}

const TENANT_PAUSED: &str = "All jobs of your tenant are paused: they wait until `chainhost jobs resume --tenant`.";

/// The word for how a queue is.
fn state(queue: &shapes::QueueState) -> &'static str {
    match (queue.paused, queue.running) {
        (true, 0) => "paused",
        (true, _) => "draining",
        (false, _) => "open",
    }
}

/// Says why jobs wait that nothing keeps from starting but a pause. Who may not ask, or asks a server of before, reads nothing.
pub(super) async fn say_paused(client: &Client) {
    let Ok(page) = client.call::<shapes::Page>(&Call::get("/api/v1/queues")).await else { return };
    let Ok(queues) = output::read::<shapes::QueueState>(page.items) else { return };
    if queues.iter().any(|it| it.tenant_paused) {
        terminal::note(TENANT_PAUSED);
    }
    for it in queues.into_iter().filter(|it| it.paused) {
        let name = text::plain(&it.queue);
        terminal::note(&format!("The queue {name} is paused: its jobs wait until `chainhost jobs resume {name}`."));
    }
}
