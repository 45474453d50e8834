//! `chainhost sites`: list, create and delete sites, take them down, watch a folder for them, give them hostnames and settings, try their rules.

mod settings;
mod trial;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    client::{self, Call, Client, credentials::ServerArgument, escape, shapes::Site},
    failure::{Failure, Result},
    output::{self, Output},
    table::{Cell, Column, Table},
    terminal, text,
};
use crate::domain::{hostname::Hostname, site::SiteName};

/// The arguments of `sites`.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Sites {
    #[command(flatten)]
    server: ServerArgument,
    /// Print a JSON array of the server's objects
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Make a site
    Create {
        /// Its name: a-z, 0-9 and -
        #[arg(value_parser = name)]
        name: SiteName,
        #[command(flatten)]
        server: ServerArgument,
    },
    /// Delete a site with all its deployments
    Delete {
        /// Its name
        #[arg(value_parser = name)]
        name: SiteName,
        /// Say that it is meant: visitors get nothing there any more
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        server: ServerArgument,
    },
    /// Take a site down: visitors read the reason, and nothing else
    TakeDown {
        /// Its name
        #[arg(value_parser = name)]
        name: SiteName,
        /// Why, in a sentence that visitors read
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        server: ServerArgument,
    },
    /// Put a site back that was taken down
    PutBack(OneSite),
    /// Deploy a site from a folder on the server whenever that folder changes
    Watch {
        /// Its name
        #[arg(value_parser = name)]
        name: SiteName,
        /// The whole path of the folder, on the server
        folder: String,
        #[command(flatten)]
        server: ServerArgument,
    },
    /// Deploy a site from no folder any more
    Unwatch(OneSite),
    /// Show what an address of a site gives, and which line of its rules says so
    Try(trial::Try),
    /// Show what is set for a site, or change it
    Settings(settings::Settings),
    /// Give a site a hostname, or take one away
    #[command(subcommand)]
    Hostnames(Hostnames),
}

#[derive(Subcommand)]
enum Hostnames {
    /// The site also answers under this hostname
    Add(OneHostname),
    /// The site no longer answers under this hostname
    Remove(OneHostname),
}

#[derive(Args)]
struct OneSite {
    /// Its name
    #[arg(value_parser = name)]
    name: SiteName,
    #[command(flatten)]
    server: ServerArgument,
}

#[derive(Args)]
struct OneHostname {
    /// The site
    #[arg(long, value_parser = name)]
    site: SiteName,
    /// The hostname, as in www.example.org
    #[arg(value_parser = hostname)]
    hostname: Hostname,
    #[command(flatten)]
    server: ServerArgument,
}

/// A site's name as an argument.
pub(super) fn name(text: &str) -> Result<SiteName, String> {
    SiteName::parse(text).map_err(|error| error.message)
}

/// A hostname as an argument.
pub(super) fn hostname(text: &str) -> Result<Hostname, String> {
    Hostname::parse(text).map_err(|error| error.message)
}

/// The path of a site in the API.
pub(super) fn path(site: &SiteName) -> String {
    format!("/api/v1/sites/{}", escape(site.as_str()))
}

/// Makes a site.
pub(super) async fn create(client: &Client, name: &SiteName) -> Result<Site> {
    client.call(&Call::post("/api/v1/sites", &json!({ "name": name.as_str() }))?).await
}

impl Sites {
    pub(super) fn run(self) -> ExitCode {
        client::run(async {
            match self.command {
                None => list(&self.server, self.json).await,
                Some(Command::Create { name, server }) => {
                    let (client, _) = output::open(&server)?;
                    let site = create(&client, &name).await?;
                    terminal::print(&format!("The site {name} is made: {}", text::plain(&site.url)))
                }
                Some(Command::Delete { name, yes, server }) => delete(&name, yes, &server).await,
                Some(Command::TakeDown { name, reason, server }) => {
                    change(&name, &server, &json!({ "taken_down": reason })).await?;
                    terminal::print(&format!("{name} is taken down. Put it back: chainhost sites put-back {name}"))
                }
                Some(Command::PutBack(OneSite { name, server })) => {
                    let site = change(&name, &server, &json!({ "taken_down": null })).await?;
                    terminal::print(&format!("{name} is back: {}", text::plain(&site.url)))
                }
                Some(Command::Watch { name, folder, server }) => {
                    let site = change(&name, &server, &json!({ "watch_folder": folder })).await?;
                    terminal::print(&format!("{name} is deployed from {} whenever it changes.", text::plain(&folder)))?;
                    if let Some(problem) = site.watch.and_then(|it| it.problem) {
                        let problem = text::plain(&problem);
                        terminal::note(&format!(
                            "Nothing is deployed yet: {problem} The folder stays watched, and may come later."
                        ));
                    }
                    Ok(())
                }
                Some(Command::Unwatch(OneSite { name, server })) => {
                    change(&name, &server, &json!({ "watch_folder": null })).await?;
                    terminal::print(&format!("{name} is deployed from no folder any more. What is live stays."))
                }
                Some(Command::Try(it)) => it.run().await,
                Some(Command::Settings(it)) => it.run().await,
                Some(Command::Hostnames(Hostnames::Add(it))) => {
                    let (client, _) = output::open(&it.server)?;
                    client.done(&Call::put(&it.path())).await?;
                    terminal::print(&format!("{} answers under {} too.", it.site, it.hostname))
                }
                Some(Command::Hostnames(Hostnames::Remove(it))) => {
                    let (client, _) = output::open(&it.server)?;
                    client.done(&Call::delete(&it.path())).await?;
                    terminal::print(&format!("{} no longer answers under {}.", it.site, it.hostname))
                }
            }
        })
    }
}

impl OneHostname {
    fn path(&self) -> String {
        format!("{}/hostnames/{}", path(&self.site), escape(self.hostname.as_str()))
    }
}

async fn list(server: &ServerArgument, as_json: bool) -> Result<()> {
    let (client, Output { terminal, now_ms }) = output::open(server)?;
    let (rows, _) = client.list("/api/v1/sites", "", None).await?;
    if as_json {
        return output::json(&rows);
    }
    if rows.is_empty() {
        return terminal::print("There is no site yet. `chainhost deploy DIR --site NAME --create` makes the first.");
    }
    let sites = output::read::<Site>(rows)?;
    let mut columns = vec![
        Column::Whole("Name"),
        Column::Number("Live"),
        Column::Text("Published"),
        Column::Number("Deployments"),
        Column::Whole("Address"),
        Column::Text("Hostnames"),
    ];
    // Most servers have nothing to say there.
    let noted = sites.iter().any(|it| it.taken_down.is_some() || it.watch_folder.is_some());
    columns.extend(noted.then_some(Column::Text("Note")));
    let mut table = Table::new(&columns);
    for site in sites {
        let note = note(&site);
        let live = site
            .live
            .as_ref()
            .filter(|_| site.taken_down.is_none())
            .map_or_else(|| String::from("–"), |it| it.number.to_string());
        let published = site.live.and_then(|it| it.published_at);
        let mut cells = vec![
            Cell::new(site.name),
            Cell::new(live),
            Cell::new(published.map_or_else(String::new, |it| text::when(&it, now_ms))),
            Cell::new(site.deployments.to_string()),
            Cell::new(site.url),
            Cell::new(site.hostnames.join(", ")),
        ];
        cells.extend(noted.then(|| Cell::new(note)));
        table.push_row(cells);
    }
    terminal::print(&table.show(terminal))
}

/// What else one should know of a site.
fn note(site: &Site) -> String {
    let down = site.taken_down.as_ref().map(|reason| format!("taken down: {reason}"));
    let watched = site.watch_folder.as_ref().map(|folder| format!("deployed from {folder}"));
    [down, watched].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

async fn change(name: &SiteName, server: &ServerArgument, changes: &serde_json::Value) -> Result<Site> {
    let (client, _) = output::open(server)?;
    let path = path(name);
    client.call(&Call::patch(&path, changes)?).await
}

async fn delete(name: &SiteName, yes: bool, server: &ServerArgument) -> Result<()> {
    if !yes {
        return Err(Failure::Input(format!(
            "This deletes the site {name} with all its deployments. Say that it is meant: chainhost sites delete {name} --yes"
        )));
    }
    let (client, _) = output::open(server)?;
    client.done(&Call::delete(&path(name))).await?;
    terminal::print(&format!("The site {name} is deleted."))
}
