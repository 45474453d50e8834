//! `chainhost purge`: what caches in front of the server have of a site is purged.

use std::process::ExitCode;

use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    client::{self, Call, credentials::ServerArgument},
    output, sites, terminal, text,
};
use crate::domain::site::SiteName;

/// The arguments of `purge`.
#[derive(Args)]
pub(super) struct Purge {
    /// The site; all that caches have of it, unless addresses or tags are named
    #[arg(value_parser = sites::name)]
    site: SiteName,
    /// A path such as /logo.png, or a whole address; may be given again
    #[arg(long = "url", value_name = "URL")]
    urls: Vec<String>,
    /// A tag of `caching.tags`; may be given again
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Print the server's object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgument,
}

#[derive(Deserialize)]
struct Made {
    id: String,
}

impl Purge {
    pub(super) fn run(&self) -> ExitCode {
        client::run(async {
            let (client, _) = output::open(&self.server)?;
            let path = format!("{}/purge", sites::path(&self.site));
            let wanted = json!({ "urls": self.urls, "tags": self.tags });
            let made: Value = client.call(&Call::post(&path, &wanted)?).await?;
            if self.json {
                return output::json(&made);
            }
            let made: Made = output::read_one(made)?;
            let job = text::plain(&made.id);
            terminal::print(&format!("Caches of {} are purged in a moment by the job {job}: chainhost jobs", self.site))
        })
    }
}
