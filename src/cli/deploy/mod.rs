//! `chainhost deploy DIR --site NAME`: send a folder's files, of which only new bytes travel, and publish them at once.
//!
//! Nothing on the server changes for visitors until all files are there.

mod feed;
mod hash;
mod scan;
mod upload;

use std::{
    io::{self, IsTerminal as _},
    path::PathBuf,
    process::ExitCode,
};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use tokio::time::Instant;

use self::upload::{Options, Upload};
use super::{
    client::{self, Call, Client, credentials::ServerArgument, shapes::Deployment},
    failure::{Failure, Result},
    output, sites, terminal, text,
};
use crate::{
    base::{
        beneath::Folder,
        units::{ByteSize, thousands},
    },
    domain::{deployment::DeploymentId, site::SiteName},
};

/// The arguments of `deploy`.
#[derive(Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(super) struct Deploy {
    /// The folder of finished files
    dir: PathBuf,
    /// The site
    #[arg(long, value_name = "NAME", value_parser = sites::name)]
    site: SiteName,
    /// Make the site when there is none of this name
    #[arg(long)]
    create: bool,
    /// A few words on what is new
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    message: String,
    /// Publish only when this deployment is live, else fail and change nothing
    #[arg(long, value_name = "ID", value_parser = deployment_id)]
    if_live: Option<DeploymentId>,
    /// Do not publish: the deployment gets its preview address only
    #[arg(long)]
    no_publish: bool,
    /// Take files named .env* too, which usually hold secrets
    #[arg(long)]
    allow_env: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgument,
}

/// The result for scripts: these keys keep their meaning.
#[derive(Serialize)]
struct Report<'a> {
    deployment: &'a str,
    url: Option<&'a str>,
    preview_url: Option<&'a str>,
    files: u64,
    files_sent: u64,
    bytes_sent: u64,
    manifest_sha256: Option<&'a str>,
    duration_ms: u64,
}

fn deployment_id(text: &str) -> Result<DeploymentId, String> {
    text.parse().map_err(|_| {
        format!("`{text}` is not the id of a deployment: it has 32 digits, as `chainhost deployments` shows.")
    })
}

impl Deploy {
    pub(super) fn run(&self) -> ExitCode {
        client::run(self.deploy())
    }

    async fn deploy(&self) -> Result<()> {
        let started = Instant::now();
        // 1. All that can be wrong here, before the server is asked.
        let (client, _) = output::open(&self.server)?;
        let dir = Folder::open(&self.dir).map_err(|error| Failure::Input(scan::unreadable(&self.dir, &error)))?;
        let found = scan::scan(&dir, self.allow_env)?;
        let bar = bar(found.len(), "{bar:30} {human_pos} of {human_len} files read");
        let files = hash::hash(dir, found, &bar)?;
        bar.finish_and_clear();
        // 2. The site.
        if self.create {
            self.create(&client).await?;
        }
        // 3. The files.
        let listed = files.list.len();
        let options = Options {
            message: self.message.clone(),
            publish: !self.no_publish,
            if_live: self.if_live.map(|it| it.to_string()),
            allow_env: self.allow_env,
        };
        let bar = self::bar(0, "{bar:30} {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}");
        let mut upload = Upload::new(&client, &self.site, files, &options, bar.clone())?;
        let done = upload.run().await;
        bar.finish_and_clear();
        let deployment = done.inspect_err(|failure| {
            if failure.is_not_found() && !self.create {
                terminal::note("If the site is not there yet: --create makes it.");
            }
        })?;
        // 4. What came of it.
        let report = Report {
            deployment: &deployment.id,
            url: deployment.url.as_deref(),
            preview_url: deployment.preview_url.as_deref(),
            files: deployment.files,
            files_sent: upload.files_sent.get(),
            bytes_sent: upload.bytes_sent.get(),
            manifest_sha256: deployment.manifest_sha256.as_deref(),
            duration_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        if self.json {
            output::json_line(&report)
        } else {
            terminal::print(&self.sentence(&deployment, &report, listed))
        }
    }

    /// Makes the site when it is not there.
    async fn create(&self, client: &Client) -> Result<()> {
        match client.done(&Call::get(&sites::path(&self.site))).await {
            Err(failure) if failure.is_not_found() => sites::create(client, &self.site).await.map(drop),
            Err(failure) => Err(failure),
            Ok(()) => Ok(()),
        }
    }

    fn sentence(&self, deployment: &Deployment, report: &Report<'_>, listed: usize) -> String {
        let (site, number) = (&self.site, deployment.number);
        let listed = u64::try_from(listed).unwrap_or(u64::MAX);
        let what = match deployment.state.as_str() {
            "live" => format!("{site} {number} is live"),
            "superseded" => format!("{site} {number} was published, and a later deployment is live already"),
            _ => format!("{site} {number} is ready, not published"),
        };
        let (sent, files) = (thousands(report.files_sent), text::count(listed, "file"));
        let (bytes, time) = (ByteSize(report.bytes_sent), text::duration(report.duration_ms));
        let line =
            |name: &str, url: Option<&str>| url.map_or_else(String::new, |it| format!("\n{name}{}", text::plain(it)));
        let url = if deployment.state == "live" { line("  Address  ", report.url) } else { String::new() };
        let preview = line("  Preview  ", report.preview_url);
        format!("{what}: sent {sent} of {files} ({bytes}) in {time}.{url}{preview}")
    }
}

/// A bar on standard error, when that is a terminal.
fn bar(length: usize, template: &str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let length = u64::try_from(length).unwrap_or(u64::MAX);
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr()).with_style(style)
}
