//! `chainhost rollback`: visitors see an earlier deployment again.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::{
    client::{self, Call, credentials::ServerArgument, shapes::Deployment},
    diff, output, sites, terminal, text,
};
use crate::domain::{deployment::DeploymentRef, site::SiteName};

/// The arguments of `rollback`.
#[derive(Args)]
pub(super) struct Rollback {
    /// The site
    #[arg(long, value_parser = sites::name)]
    site: SiteName,
    /// The deployment to go back to, by its number or its id [default: the one that was live before]
    #[arg(long, value_name = "DEPLOYMENT", value_parser = diff::reference)]
    to: Option<DeploymentRef>,
    /// Print the deployment that is live now, as the server's object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgument,
}

impl Rollback {
    pub(super) fn run(&self) -> ExitCode {
        client::run(async {
            let (client, _) = output::open(&self.server)?;
            let path = format!("{}/rollback", sites::path(&self.site));
            // Never repeated on its own: without a target, twice would go back twice.
            let live: Value = client.call(&Call::post(&path, &json!({ "to": self.to.map(diff::word) }))?).await?;
            if self.json {
                return output::json(&live);
            }
            let live: Deployment = output::read_one(live)?;
            let url = live.url.map_or_else(String::new, |it| format!(": {}", text::plain(&it)));
            terminal::print(&format!("{} is back at deployment {}{url}", self.site, live.number))
        })
    }
}
