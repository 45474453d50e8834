//! `chainhost certificates`: those that the server keeps, and how it stands with those of hostnames.

use std::{fs, net::IpAddr, path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use serde_json::json;
use zeroize::Zeroizing;

use super::{
    client::{self, Call, credentials::ServerArgument, escape, shapes},
    failure::{Failure, Result},
    output::{self, Output},
    table::{Cell, Column, Table},
    terminal, text,
};
use crate::domain::{certificate::pair::PEM_BYTES_MAX, hostname::Hostname};

/// The arguments of `certificates`.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Certificates {
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
    /// Give the server a certificate with its key; one for the same hostnames that was given before goes
    Add {
        /// PEM: the certificate, and behind it those that vouch for it
        #[arg(long, value_name = "FILE")]
        chain: PathBuf,
        /// PEM: its private key, without a password
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        #[command(flatten)]
        server: ServerArgument,
    },
    /// Remove a certificate
    Remove {
        /// Its id, as `chainhost certificates list` shows it
        id: String,
        #[command(flatten)]
        server: ServerArgument,
    },
    /// List the certificates themselves, also those that are not shown
    List {
        /// Print a JSON array of the server's objects
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: ServerArgument,
    },
    /// Have the authority asked for a hostname now
    Retry {
        /// The hostname; also `*.DOMAIN` or an address, where the server asks for such
        #[arg(value_parser = name)]
        hostname: String,
        #[command(flatten)]
        server: ServerArgument,
    },
}

fn name(text: &str) -> Result<String, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.to_string());
    }
    let (star, plain) = text.strip_prefix("*.").map_or(("", text), |plain| ("*.", plain));
    Hostname::parse(plain).map(|it| format!("{star}{it}")).map_err(|error| error.message)
}

impl Certificates {
    pub(super) fn run(self) -> ExitCode {
        client::run(async {
            match self.command {
                None => hostnames(&self.server, self.json).await,
                Some(Command::List { json, server }) => list(&server, json).await,
                Some(Command::Add { chain, key, server }) => add(&chain, &key, &server).await,
                Some(Command::Remove { id, server }) => {
                    let (client, _) = output::open(&server)?;
                    client.done(&Call::delete(&format!("/api/v1/certificates/{}", escape(&id)))).await?;
                    terminal::print("The certificate is removed.")
                }
                Some(Command::Retry { hostname, server }) => {
                    let (client, _) = output::open(&server)?;
                    let path = format!("/api/v1/hostnames/{}/retry", escape(&hostname));
                    client.done(&Call::post(&path, &json!({}))?).await?;
                    terminal::print(&format!(
                        "The authority is asked for {hostname} now. `chainhost certificates` shows what came of it."
                    ))
                }
            }
        })
    }
}

fn read(path: &PathBuf, flag: &str) -> Result<Zeroizing<String>> {
    let cannot = |why: &dyn std::fmt::Display| Failure::Input(format!("{flag} {}: {why}.", path.display()));
    let size = fs::metadata(path).map_err(|error| cannot(&error))?.len();
    if usize::try_from(size).map_or(true, |it| it > PEM_BYTES_MAX) {
        return Err(cannot(&"it has more than 1 MiB, and so is no certificate or key"));
    }
    let bytes = fs::read(path).map_err(|error| cannot(&error))?;
    String::from_utf8(bytes).map(Zeroizing::new).map_err(|_| {
        cannot(&"it is no text: PEM is expected. `openssl x509 -inform der -in FILE` and `openssl pkey -inform der -in FILE` make it")
    })
}

async fn add(chain: &PathBuf, key: &PathBuf, server: &ServerArgument) -> Result<()> {
    let (chain, key) = (read(chain, "--chain")?, read(key, "--key")?);
    let (client, Output { now_ms, .. }) = output::open(server)?;
    let call = Call::post("/api/v1/certificates", &json!({ "chain": *chain, "key": *key }))?;
    let made: shapes::Certificate = client.call(&call).await?;
    let until = text::when(&made.valid_until, now_ms);
    terminal::print(&format!(
        "The server has a certificate for {}; it ends {until}.",
        text::plain(&made.names.join(", "))
    ))?;
    if made.shown_for.is_empty() {
        terminal::note(
            "It is shown for none of your hostnames yet: give one of these names to a site, `chainhost sites hostnames add NAME --site SITE`.",
        );
    } else {
        terminal::note(&format!("It is shown for {}.", text::plain(&made.shown_for.join(", "))));
    }
    Ok(())
}

async fn hostnames(server: &ServerArgument, as_json: bool) -> Result<()> {
    let (client, Output { terminal, now_ms }) = output::open(server)?;
    let page = client.call::<shapes::Page>(&Call::get("/api/v1/hostnames")).await?;
    if as_json {
        return output::json(&page.items);
    }
    if page.items.is_empty() {
        return terminal::print("There is no hostname yet: the first site brings one.");
    }
    let mut table = Table::new(&[
        Column::Whole("Hostname"),
        Column::Text("Certificate"),
        Column::Whole("Ends"),
        Column::Whole("Next try"),
        Column::Text("Problem"),
    ]);
    let mut records = Vec::new();
    for it in output::read::<shapes::HostnameCertificate>(page.items)? {
        // Whole, to be copied: a table breaks long words.
        records.extend(
            it.records.iter().map(|of| format!("{} TXT \"{}\"", text::plain(&of.name), text::plain(&of.value))),
        );
        let came = match (&it.certificate, &it.authority) {
            (Some(of), Some(authority)) if of.source == "acme" => format!("from {authority}"),
            (Some(of), _) if of.source == "acme" => String::from("from an authority"),
            (Some(_), _) => String::from("given"),
            (None, _) if it.asked => String::from("none yet"),
            (None, _) => String::from("self-signed, or in a file"),
        };
        let ends = it.certificate.map_or_else(String::new, |it| text::when(&it.valid_until, now_ms));
        let next = it.next_at.filter(|_| it.asked).map_or_else(String::new, |it| text::when(&it, now_ms));
        table.push([
            Cell::new(it.hostname),
            Cell::new(came),
            Cell::new(ends),
            Cell::new(next),
            Cell::new(it.problem.map_or_else(String::new, |it| it.message)),
        ]);
    }
    terminal::print(&table.show(terminal))?;
    if !records.is_empty() {
        terminal::print(&format!("\nWanted in DNS:\n{}", records.join("\n")))?;
    }
    Ok(())
}

async fn list(server: &ServerArgument, as_json: bool) -> Result<()> {
    let (client, Output { terminal, now_ms }) = output::open(server)?;
    let page = client.call::<shapes::Page>(&Call::get("/api/v1/certificates")).await?;
    if as_json {
        return output::json(&page.items);
    }
    if page.items.is_empty() {
        return terminal::print(
            "The server keeps no certificate. `chainhost certificates add --chain FILE --key FILE` gives it one.",
        );
    }
    let mut table = Table::new(&[
        Column::Whole("Id"),
        Column::Text("For"),
        Column::Text("Shown for"),
        Column::Text("Signed by"),
        Column::Whole("Ends"),
    ]);
    for it in output::read::<shapes::Certificate>(page.items)? {
        let shown = if it.shown_for.is_empty() { String::from("–") } else { it.shown_for.join(", ") };
        table.push([
            Cell::new(it.id),
            Cell::new(it.names.join(", ")),
            Cell::new(shown),
            Cell::new(it.issuer),
            Cell::new(text::when(&it.valid_until, now_ms)),
        ]);
    }
    terminal::print(&table.show(terminal))
}
