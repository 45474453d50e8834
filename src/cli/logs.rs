//! `chainhost logs`: what the server did with a deployment, line by line.

use std::process::ExitCode;

use clap::Args;

use super::{
    client::{
        self, Call,
        credentials::ServerArgument,
        shapes::{Deployment, Log},
    },
    deployments, diff,
    failure::{Failure, Result},
    output, sites, terminal, text,
};
use crate::domain::{deployment::DeploymentRef, site::SiteName};

/// The arguments of `logs`.
#[derive(Args)]
pub(super) struct Logs {
    /// The site
    #[arg(long, value_parser = sites::name)]
    site: SiteName,
    /// The deployment, by its number or its id [default: the newest]
    #[arg(value_parser = diff::reference)]
    deployment: Option<DeploymentRef>,
    #[command(flatten)]
    server: ServerArgument,
}

impl Logs {
    pub(super) fn run(&self) -> ExitCode {
        client::run(self.show())
    }

    async fn show(&self) -> Result<()> {
        let (client, _) = output::open(&self.server)?;
        let deployments = deployments::path(&self.site);
        let which = if let Some(it) = self.deployment {
            diff::word(it)
        } else {
            let (rows, _) = client.list(&deployments, "", Some(1)).await?;
            let nothing = || Failure::Input(format!("Nothing was deployed to {} yet.", self.site));
            output::read::<Deployment>(rows)?.pop().ok_or_else(nothing)?.id
        };
        let path = format!("{deployments}/{}/log", client::escape(&which));
        let log: Log = client.call(&Call::get(&path)).await?;
        let lines = log.lines.iter().map(|it| format!("{}  {}", text::plain(&it.at), text::plain(&it.text)));
        let lines: Vec<String> = lines.collect();
        if lines.is_empty() { Ok(()) } else { terminal::print(&lines.join("\n")) }
    }
}
