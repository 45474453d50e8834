//! `chainhost bans`: who gets nothing of a site, or of all sites of the server.

mod nftables;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::json;

use super::{
    client::{self, Call, credentials::ServerArgument, escape},
    failure::{Failure, Result},
    output::{self, Output},
    sites,
    table::{Cell, Column, Table},
    terminal, text,
};
use crate::domain::site::SiteName;

/// The arguments of `bans`.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Bans {
    #[command(subcommand)]
    command: Option<Command>,
    /// Print a JSON array of the server's objects
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgument,
}

#[derive(Subcommand)]
enum Command {
    /// Shut an address or a network out
    Add {
        /// As in 192.0.2.7 or 192.0.2.0/24
        network: String,
        /// Of this site alone; without it, of all sites of the server, which is its admin's to say
        #[arg(long, value_parser = sites::name)]
        site: Option<SiteName>,
        /// For how long, as in 30m, 12h or 7d; without it, until somebody ends it
        #[arg(long = "for", value_name = "TIME", value_parser = seconds)]
        time: Option<u32>,
        /// Why, for whoever reads the list
        #[arg(long, default_value = "")]
        reason: String,
        #[command(flatten)]
        server: ServerArgument,
    },
    /// Print who is shut out of all sites as a table of nftables, to be loaded with `nft -f -`
    Nftables {
        /// A port that they do not reach; may be given several times
        #[arg(long = "port", value_name = "PORT", default_values_t = [80, 443], value_parser = clap::value_parser!(u16).range(1..))]
        ports: Vec<u16>,
        /// Also who is shut out of one site alone: none of them reaches any site then
        #[arg(long)]
        any_site: bool,
        #[command(flatten)]
        server: ServerArgument,
    },
    /// End a ban
    Remove {
        /// Its address or network, or its id
        ban: String,
        #[command(flatten)]
        server: ServerArgument,
    },
}

fn seconds(written: &str) -> Result<u32, String> {
    let wrong = || format!("`{written}` is no time: write it as in 30m, 12h or 7d");
    let unit = written.chars().next_back().ok_or_else(wrong)?;
    let number: u32 = written.strip_suffix(unit).unwrap_or_default().parse().map_err(|_| wrong())?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    number.checked_mul(seconds).filter(|it| *it > 0).ok_or_else(wrong)
}

/// A ban, as the server shows it.
#[derive(Debug, Deserialize)]
struct Ban {
    id: String,
    network: String,
    #[serde(default)]
    site: Option<String>,
    #[serde(default)]
    source: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    made_by: String,
    created_at: String,
    #[serde(default)]
    until: Option<String>,
}

impl Bans {
    pub(super) fn run(self) -> ExitCode {
        client::run(async {
            match self.command {
                None => list(&self.server, self.json).await,
                Some(Command::Add { network, site, time, reason, server }) => {
                    let (client, Output { now_ms, .. }) = output::open(&server)?;
                    let wish = json!({ "network": network, "site": site.as_ref().map(SiteName::as_str), "for_s": time, "reason": reason });
                    let made: Ban = client.call(&Call::post("/api/v1/bans", &wish)?).await?;
                    let until = made.until.map_or_else(
                        || String::from("until it is ended"),
                        |it| format!("until {}", text::when(&it, now_ms)),
                    );
                    let of =
                        made.site.map_or_else(|| String::from("of any site of the server"), |it| format!("of {it}"));
                    terminal::print(&format!("{} gets nothing {of}, {until}.", text::plain(&made.network)))
                }
                Some(Command::Nftables { ports, any_site, server }) => nftables::print(&server, &ports, any_site).await,
                Some(Command::Remove { ban, server }) => remove(&ban, &server).await,
            }
        })
    }
}

async fn remove(wanted: &str, server: &ServerArgument) -> Result<()> {
    let (client, _) = output::open(server)?;
    let (rows, _) = client.list("/api/v1/bans", "", None).await?;
    let all = output::read::<Ban>(rows)?;
    let found: Vec<&Ban> = all.iter().filter(|it| it.network == wanted || it.id == wanted).collect();
    if found.is_empty() {
        return Err(Failure::Input(format!(
            "There is no ban of `{wanted}`. `chainhost bans` shows those that there are."
        )));
    }
    for it in &found {
        client.done(&Call::delete(&format!("/api/v1/bans/{}", escape(&it.id)))).await?;
    }
    let of: Vec<&str> = found.iter().map(|it| it.site.as_deref().unwrap_or("all sites")).collect();
    terminal::print(&format!("The ban of {} is ended: {}.", text::plain(wanted), text::plain(&of.join(", "))))
}

async fn list(server: &ServerArgument, as_json: bool) -> Result<()> {
    let (client, Output { terminal, now_ms }) = output::open(server)?;
    let (rows, _) = client.list("/api/v1/bans", "", None).await?;
    if as_json {
        return output::json(&rows);
    }
    if rows.is_empty() {
        return terminal::print("Nobody is shut out. `chainhost bans add ADDRESS --site NAME` shuts somebody out.");
    }
    let columns = [
        Column::Whole("Network"),
        Column::Text("Site"),
        Column::Text("Until"),
        Column::Text("Made"),
        Column::Text("Why"),
    ];
    let mut table = Table::new(&columns);
    for it in output::read::<Ban>(rows)? {
        let by = if it.source == "limit" { String::from("by a limit") } else { format!("by {}", it.made_by) };
        table.push_row(vec![
            Cell::new(it.network),
            Cell::new(it.site.unwrap_or_else(|| String::from("all"))),
            Cell::new(it.until.map_or_else(|| String::from("it is ended"), |it| text::when(&it, now_ms))),
            Cell::new(format!("{} {by}", text::when(&it.created_at, now_ms))),
            Cell::new(it.reason),
        ]);
    }
    terminal::print(&table.show(terminal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        for (written, wanted) in [("30s", Some(30)), ("5m", Some(300)), ("12h", Some(43_200)), ("7d", Some(604_800))] {
            assert_eq!(seconds(written).ok(), wanted, "{written}");
        }
        for wrong in ["", "5", "m", "0m", "-1h", "1.5h", "9999999999d", "100000d", "5w", "5 m", "5µ"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
