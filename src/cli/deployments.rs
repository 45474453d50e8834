//! `chainhost deployments`: what was deployed to a site, the newest first.

use std::process::ExitCode;

use clap::Args;

use super::{
    client::{self, credentials::ServerArgument, shapes::Deployment},
    failure::Result,
    output::{self, Output},
    sites,
    table::{Cell, Column, Table},
    terminal, text,
};
use crate::{base::units::ByteSize, domain::site::SiteName};

/// The arguments of `deployments`.
#[derive(Args)]
pub(super) struct Deployments {
    /// The site
    #[arg(long, value_parser = sites::name)]
    site: SiteName,
    /// At most so many, the newest first
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Print a JSON array of the server's objects
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgument,
}

/// The path of a site's deployments in the API.
pub(super) fn path(site: &SiteName) -> String {
    format!("{}/deployments", sites::path(site))
}

impl Deployments {
    pub(super) fn run(&self) -> ExitCode {
        client::run(self.list())
    }

    async fn list(&self) -> Result<()> {
        let (client, Output { terminal, now_ms }) = output::open(&self.server)?;
        let (rows, more) = client.list(&path(&self.site), "", Some(self.limit)).await?;
        if self.json {
            output::more(more);
            return output::json(&rows);
        }
        if rows.is_empty() {
            return terminal::print(&format!("Nothing was deployed to {} yet.", self.site));
        }
        let mut table = Table::new(&[
            Column::Number("No"),
            Column::Whole("State"),
            Column::Number("Files"),
            Column::Number("Size"),
            Column::Whole("Begun"),
            Column::Text("By"),
            Column::Text("Message"),
            Column::Whole("Id"),
        ]);
        for it in output::read::<Deployment>(rows)? {
            table.push([
                Cell::new(it.number.to_string()),
                Cell::state(&it.state),
                Cell::new(crate::base::units::thousands(it.files)),
                Cell::new(ByteSize(it.bytes).to_string()),
                Cell::new(text::when(&it.created_at, now_ms)),
                Cell::new(it.actor.unwrap_or_default()),
                Cell::new(it.message.unwrap_or_default()),
                Cell::new(it.id),
            ]);
        }
        terminal::print(&table.show(terminal))?;
        output::more(more);
        Ok(())
    }
}
