//! `chainhost sites people` and `chainhost sites links`: who is let into a protected site.

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::json;

use super::{
    super::{
        client::{Call, credentials::ServerArgument, escape},
        failure::{Failure, Result},
        output::{self, Output},
        table::{Cell, Column, Table},
        terminal::{self, Hidden},
        text,
    },
    name, path,
};
use crate::{base::secret::Secret, domain::site::SiteName};

/// Longest life of a link, in days.
const DAYS_MAX: i64 = 366;

/// `chainhost sites people`.
#[derive(Subcommand)]
pub(super) enum People {
    /// List who has a password for a site
    List(Listed),
    /// Give somebody a password, which is read from standard input or asked for; or another one
    Add(Person),
    /// Take somebody's password away
    Remove(Person),
}

/// `chainhost sites links`.
#[derive(Subcommand)]
pub(super) enum Links {
    /// List the links that open a site
    List(Listed),
    /// Make a link; its address is shown once
    Add(NewLink),
    /// Take a link back: whoever came in with it is asked for a password again
    Remove(OneLink),
}

#[derive(Args)]
pub(super) struct Listed {
    /// The site
    #[arg(value_parser = name)]
    site: SiteName,
    /// Print a JSON array of the server's objects
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgument,
}

#[derive(Args)]
pub(super) struct Person {
    /// The site
    #[arg(value_parser = name)]
    site: SiteName,
    /// What they type as their name
    #[arg(value_name = "NAME")]
    who: String,
    #[command(flatten)]
    server: ServerArgument,
}

#[derive(Args)]
pub(super) struct NewLink {
    /// The site
    #[arg(value_parser = name)]
    site: SiteName,
    /// For whom it is
    #[arg(long, default_value = "")]
    note: String,
    /// How many days it works
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(i64).range(1..=DAYS_MAX))]
    days: i64,
    /// It opens the site during maintenance too
    #[arg(long)]
    maintenance: bool,
    /// The path that it leads to, as in /intern/
    #[arg(long, default_value = "")]
    path: String,
    #[command(flatten)]
    server: ServerArgument,
}

#[derive(Args)]
pub(super) struct OneLink {
    /// The site
    #[arg(value_parser = name)]
    site: SiteName,
    /// The link, as `chainhost sites links list` shows it
    link: String,
    #[command(flatten)]
    server: ServerArgument,
}

#[derive(Deserialize)]
struct PersonShape {
    name: String,
    #[serde(default)]
    changed_at: Option<String>,
}

#[derive(Deserialize)]
struct LinkShape {
    id: String,
    #[serde(default)]
    note: String,
    #[serde(default)]
    maintenance: bool,
    expires_at: String,
    #[serde(default)]
    url: Option<String>,
}

impl People {
    pub(super) async fn run(self) -> Result<()> {
        match self {
            Self::List(it) => it.people().await,
            Self::Add(it) => it.add().await,
            Self::Remove(it) => it.remove().await,
        }
    }
}

impl Links {
    pub(super) async fn run(self) -> Result<()> {
        match self {
            Self::List(it) => it.links().await,
            Self::Add(it) => it.add().await,
            Self::Remove(it) => it.remove().await,
        }
    }
}

impl Listed {
    async fn people(&self) -> Result<()> {
        let (client, Output { terminal, now_ms }) = output::open(&self.server)?;
        let (rows, _) = client.list(&format!("{}/people", path(&self.site)), "", None).await?;
        if self.json {
            return output::json(&rows);
        }
        if rows.is_empty() {
            return terminal::print(&format!(
                "Nobody has a password for {0}. Give one: chainhost sites people add {0} NAME",
                self.site
            ));
        }
        let mut table = Table::new(&[Column::Whole("Name"), Column::Text("Password set")]);
        for it in output::read::<PersonShape>(rows)? {
            let changed = it.changed_at.map_or_else(String::new, |at| text::when(&at, now_ms));
            table.push_row(vec![Cell::new(it.name), Cell::new(changed)]);
        }
        terminal::print(&table.show(terminal))
    }

    async fn links(&self) -> Result<()> {
        let (client, Output { terminal, now_ms }) = output::open(&self.server)?;
        let (rows, _) = client.list(&format!("{}/links", path(&self.site)), "", None).await?;
        if self.json {
            return output::json(&rows);
        }
        if rows.is_empty() {
            return terminal::print(&format!("No link opens {0}. Make one: chainhost sites links add {0}", self.site));
        }
        let columns =
            [Column::Whole("Link"), Column::Text("For"), Column::Text("Works until"), Column::Text("Maintenance")];
        let mut table = Table::new(&columns);
        for it in output::read::<LinkShape>(rows)? {
            let opens = if it.maintenance { "opens it too" } else { "" };
            let until = text::when(&it.expires_at, now_ms);
            table.push_row(vec![
                Cell::new(it.id),
                Cell::new(it.note),
                Cell::new(until),
                Cell::new(String::from(opens)),
            ]);
        }
        terminal::print(&table.show(terminal))
    }
}

impl Person {
    fn path(&self) -> String {
        format!("{}/people/{}", path(&self.site), escape(&self.who))
    }

    async fn add(&self) -> Result<()> {
        let (client, _) = output::open(&self.server)?;
        let password = ask(&format!("Password of {} for {}: ", text::plain(&self.who), self.site)).await?;
        client.done(&Call::put_with(&self.path(), &json!({ "password": password.expose() }))?).await?;
        terminal::print(&format!("{} can open {} with that password.", text::plain(&self.who), self.site))
    }

    async fn remove(&self) -> Result<()> {
        let (client, _) = output::open(&self.server)?;
        client.done(&Call::delete(&self.path())).await?;
        terminal::print(&format!("{} has no password for {} any more.", text::plain(&self.who), self.site))
    }
}

/// A password, not shown while it is typed.
async fn ask(question: &str) -> Result<Secret> {
    let hidden = Hidden::ask(question);
    let reading = tokio::task::spawn_blocking(terminal::read_secret_line);
    let line = tokio::select! {
        line = reading => line.map_err(std::io::Error::other).flatten(),
        // So that the terminal shows again what is typed.
        _ = tokio::signal::ctrl_c() => return Err(Failure::Stopped),
    };
    drop(hidden);
    line.map_err(|error| Failure::Input(format!("Cannot read the password: {error}")))
}

impl NewLink {
    async fn add(&self) -> Result<()> {
        let (client, Output { now_ms, .. }) = output::open(&self.server)?;
        let until = now_ms.saturating_add(self.days.saturating_mul(86_400_000));
        let body = json!({
            "note": self.note,
            "expires_at": crate::base::clock::rfc3339(until),
            "maintenance": self.maintenance,
            "path": self.path,
        });
        let made: LinkShape = client.call(&Call::post(&format!("{}/links", path(&self.site)), &body)?).await?;
        let site = &self.site;
        terminal::note(&format!(
            "Whoever has this address gets in until {}. It is shown this once. Take it back: chainhost sites links remove {site} {}",
            text::plain(made.expires_at.get(..16).unwrap_or(&made.expires_at)).replace('T', " "),
            text::plain(&made.id)
        ));
        terminal::print(&text::plain(&made.url.unwrap_or_default()))
    }
}

impl OneLink {
    async fn remove(&self) -> Result<()> {
        let (client, _) = output::open(&self.server)?;
        client.done(&Call::delete(&format!("{}/links/{}", path(&self.site), escape(&self.link)))).await?;
        terminal::print(&format!("The link {} opens {} no longer.", text::plain(&self.link), self.site))
    }
}
