//! `chainhost login` and `logout`: keep a server and its key for the next commands, or forget them.
//!
//! The key is read from standard input, or asked for without showing it; it is never an argument, which others on the
//! machine could see. It is kept only after the server has taken it, and asked for only once the server has shown who it is.

use std::process::ExitCode;

use clap::Args;

use super::{
    client::{
        self, Call, Client,
        connection::Connections,
        credentials::{self, ServerArgument},
        shapes::Me,
    },
    failure::Failure,
    terminal::{self, Hidden},
    text,
};
use crate::config::client::Environment;

/// The arguments of `login`.
#[derive(Args)]
pub(super) struct Login {
    /// The server, `https://HOST`
    #[arg(value_name = "URL", conflicts_with = "server")]
    url: Option<String>,
    #[command(flatten)]
    server: ServerArgument,
}

impl Login {
    pub(super) fn run(&self) -> ExitCode {
        client::run(async {
            let environment = Environment::from_environment();
            let path = credentials::path(&environment)?;
            let (server, trust) = self.server.server(self.url.as_deref(), &environment)?;
            let connections = Connections::new(credentials::reach(&server, &trust)?);
            connections.look().await?;
            if server.is_overheard() {
                terminal::note(&format!(
                    "The key goes to {server} without encryption: whoever is between can read it. If it speaks HTTPS too, write that."
                ));
            }
            let hidden = Hidden::ask(&format!("API key for {server}: "));
            let reading = tokio::task::spawn_blocking(terminal::read_secret_line);
            let key = tokio::select! {
                line = reading => line.map_err(std::io::Error::other).flatten(),
                // So that the terminal shows again what is typed.
                _ = tokio::signal::ctrl_c() => return Err(Failure::Stopped),
            };
            drop(hidden);
            let key = key.map_err(|error| Failure::Input(format!("Cannot read the key: {error}")))?;
            credentials::check_key(&key)?;
            let client = Client::new(connections, key);
            let me: Me = client.call(&Call::get("/api/v1/me")).await?;
            credentials::write(&path, client.server(), client.key(), &trust)?;
            let role = me.role.map_or_else(String::new, |it| format!(", {}", text::plain(&it)));
            let (server, email, tenant) = (client.server(), text::plain(&me.email), text::plain(&me.tenant));
            terminal::print(&format!("Signed in at {server} as {email} (tenant {tenant}{role})."))
        })
    }
}

/// The arguments of `logout`.
#[derive(Args)]
pub(super) struct Logout {}

impl Logout {
    #[expect(clippy::unused_self, reason = "a command is run as all others are")]
    pub(super) fn run(&self) -> ExitCode {
        client::run(async {
            let path = credentials::path(&Environment::from_environment())?;
            terminal::print(if credentials::remove(&path)? {
                "Signed out: the key is gone from this machine. It goes on working elsewhere until it is revoked."
            } else {
                "Nobody was signed in."
            })
        })
    }
}
