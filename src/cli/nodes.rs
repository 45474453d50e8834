//! `chainhost nodes`: the processes that run this installation together, and what only one of them may do.

use std::process::ExitCode;

use clap::Args;

use super::{
    client::{self, Call, credentials::ServerArgument, shapes},
    failure::Result,
    output::{self, Output},
    table::{Cell, Column, Table},
    terminal, text,
};

/// The arguments of `nodes`.
#[derive(Args)]
pub(super) struct Nodes {
    /// Print a JSON array of the server's objects
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgument,
}

impl Nodes {
    pub(super) fn run(&self) -> ExitCode {
        client::run(self.list())
    }

    async fn list(&self) -> Result<()> {
        let (client, Output { terminal, now_ms }) = output::open(&self.server)?;
        let page = client.call::<shapes::Page>(&Call::get("/api/v1/nodes")).await?;
        if self.json {
            return output::json(&page.items);
        }
        let mut table = Table::new(&[
            Column::Whole("Id"),
            Column::Whole("Role"),
            Column::Text("Labels"),
            Column::Whole("Last sign of life"),
            Column::Text("Duties"),
        ]);
        for it in output::read::<shapes::Node>(page.items)? {
            let id = if it.this { format!("{} (answers)", it.id) } else { it.id };
            table.push([
                Cell::new(id),
                Cell::new(it.role),
                Cell::new(it.labels.join(", ")),
                Cell::new(text::when(&it.seen_at, now_ms)),
                Cell::new(it.duties.join(", ")),
            ]);
        }
        terminal::print(&table.show(terminal))
    }
}
