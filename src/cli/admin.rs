//! `chainhost admin`: users and keys on this server, by whoever holds its data folder.
//!
//! With the server running it asks through the control socket; else it takes the folder's lock and does it itself.

use std::{
    io::{self, BufRead as _, Read as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use bytes::Bytes;
use clap::{Args, Subcommand};
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::UnixStream;

use super::terminal::{self, Hidden};
use crate::{
    app::{
        self,
        control::{self, Command, Done},
        ground::{self, Folder, Wish},
        socket_path,
    },
    base::{clock::Clock, limits, tasks::Tasks},
    config::server::{Flags, Server},
    domain::{Error, Kind, Result},
    services::doctor::Outside,
};

/// The subcommands.
#[derive(Subcommand)]
pub(super) enum Admin {
    /// Make a user
    CreateUser {
        /// Their e-mail
        #[arg(long)]
        email: String,
        /// super-admin, admin or user
        #[arg(long)]
        role: String,
        /// Read the password from standard input
        #[arg(long, required = true)]
        password_stdin: bool,
        #[command(flatten)]
        data: Data,
    },
    /// Make an API key for a user and print it, alone, on standard output
    CreateKey {
        /// The user's e-mail
        #[arg(long)]
        email: String,
        /// What the key is called
        #[arg(long, default_value = "command line")]
        name: String,
        /// read, deploy or all
        #[arg(long, default_value = "all")]
        scope: String,
        #[command(flatten)]
        data: Data,
    },
    /// Print a new link to claim a server that has no owner yet
    ClaimLink {
        #[command(flatten)]
        data: Data,
    },
    /// Set a user's password; their sessions end
    ResetPassword {
        /// The user's e-mail
        #[arg(long)]
        email: String,
        /// Read the new password from standard input
        #[arg(long, required = true)]
        password_stdin: bool,
        #[command(flatten)]
        data: Data,
    },
    /// Revoke an API key, read from standard input
    RevokeKey {
        #[command(flatten)]
        data: Data,
    },
}

/// Which data folder.
#[derive(Args)]
pub(super) struct Data {
    /// The data folder of the server [default: as for serve]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The configuration file of the server
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Data {
    /// The settings of that server.
    pub(super) fn settings(&self) -> Result<Server> {
        Server::load(&Flags { data: self.data.clone(), config: self.config.clone(), ..Flags::default() })
    }
}

impl Admin {
    /// Exit 0 done, 1 refused, 2 wrong input.
    pub(super) fn run(&self) -> ExitCode {
        match self.ask() {
            Ok(made) => match made.map_or(Ok(()), |text| terminal::print(&text)) {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::FAILURE,
            },
            Err(error) => {
                let why = error.detail.as_ref().map_or_else(String::new, |it| format!(" ({it})"));
                terminal::note(&format!("chainhost admin: {}{why}", error.message));
                ExitCode::from(if error.kind == Kind::Invalid { 2 } else { 1 })
            }
        }
    }

    fn ask(&self) -> Result<Option<String>> {
        let (data, command) = match self {
            Self::CreateUser { email, role, data, .. } => {
                (data, json!({"command": "create-user", "email": email, "role": role, "password": line("password")?}))
            }
            Self::CreateKey { email, name, scope, data } => {
                (data, json!({"command": "create-key", "email": email, "name": name, "scope": scope}))
            }
            Self::ClaimLink { data } => (data, json!({"command": "claim-link"})),
            Self::ResetPassword { email, data, .. } => {
                (data, json!({"command": "reset-password", "email": email, "password": line("password")?}))
            }
            Self::RevokeKey { data } => (data, json!({"command": "revoke-key", "key": line("key")?})),
        };
        let settings = data.settings()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(run(&settings, command)).map(|done| done.made)
    }
}

/// A secret from standard input: its first line.
fn line(what: &str) -> Result<String> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(limits::PASSWORD_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(2);
    // On a terminal it is not shown, and Enter ends it.
    let hidden = Hidden::ask(&format!("The {what}: "));
    io::stdin().lock().take(limit).read_until(b'\n', &mut bytes)?;
    drop(hidden);
    let text = String::from_utf8(bytes)
        .map_err(|_| Error::invalid("stdin", format!("The {what} on standard input is not UTF-8.")))?;
    let first = text.lines().next().unwrap_or_default();
    if first.is_empty() {
        return Err(Error::invalid("stdin", format!("Give the {what} on standard input.")));
    }
    Ok(first.to_owned())
}

async fn run(settings: &Server, command: Value) -> Result<Done> {
    if !settings.data.exists() {
        let text = format!(
            "There is no data folder {}. Give the server's folder with --data, or start it once: chainhost serve",
            settings.data.display()
        );
        return Err(Error::invalid("data_folder", text));
    }
    if let Some(done) = ask(&settings.data, &command).await? {
        return Ok(done);
    }
    directly(settings, command).await
}

/// Asks the running server; `None` when there is none.
pub(super) async fn ask(data: &Path, command: &Value) -> Result<Option<Done>> {
    if socket_path(data).exists()
        && let Some(stream) = connect(data)?
    {
        return over_socket(stream, command).await.map(Some);
    }
    Ok(None)
}

/// A connection to the running server; `None` when the socket is a left-over.
fn connect(data: &Path) -> Result<Option<UnixStream>> {
    let stream = control::through_folder(data, |short| std::os::unix::net::UnixStream::connect(short));
    match stream {
        Ok(stream) => {
            stream.set_nonblocking(true)?;
            Ok(Some(UnixStream::from_std(stream)?))
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => Ok(None),
        Err(error) => Err(Error::forbidden(format!("Cannot reach the control socket of the server: {error}."))),
    }
}

async fn over_socket(stream: UnixStream, command: &Value) -> Result<Done> {
    let broken = |error: &dyn std::fmt::Display| {
        Error::unavailable("control_socket", format!("The server broke the connection off: {error}."))
    };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
    let request = Request::post("/")
        .header("host", "control")
        .body(Full::new(Bytes::from(command.to_string())))
        .map_err(Error::internal)?;
    let asked = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        response.into_body().collect().await.map(|body| (status, body.to_bytes()))
    };
    let (status, body) = tokio::select! {
        asked = asked => asked.map_err(|error| broken(&error))?,
        ended = connection => return Err(broken(&ended.map_or_else(|error| error.to_string(), |()| String::from("it ended")))),
    };
    if status.is_success() {
        return serde_json::from_slice(&body).map_err(|error| broken(&error));
    }
    let problem: Value = serde_json::from_slice(&body).map_err(|error| broken(&error))?;
    let detail = problem.get("detail").and_then(Value::as_str).unwrap_or("The server refused.").to_owned();
    let kind = if status == hyper::StatusCode::BAD_REQUEST { Kind::Invalid } else { Kind::Conflict };
    Err(Error::new(kind, "refused", detail))
}

/// Does it without a server, holding the folder.
async fn directly(settings: &Server, command: Value) -> Result<Done> {
    let command: Command = serde_json::from_value(command).map_err(Error::internal)?;
    let folder = Folder::take(&settings.data)?;
    let port = settings.listen.first().map_or(8080, std::net::SocketAddr::port);
    let tasks = Tasks::new();
    let wish = Wish {
        addresses: app::addresses(settings, port),
        disk_reserve: settings.disk_reserve,
        tenant_bytes_max: settings.tenant_bytes_max,
        clock: Clock::system(),
        tasks: tasks.clone(),
        snapshot: ground::snapshot_instance(&folder),
        postgres: settings.postgres.clone(),
        role: settings.role,
        labels: settings.labels.clone(),
        retention: settings.retention,
        queue_url: settings.redis.queue_url.clone(),
        cache_url: settings.redis.cache_url.clone(),
        master_key_file: settings.master_key_file.clone(),
        // A command of a person asks none.
        acme: None,
        edge: Vec::new(),
        outside: Outside::default(),
    };
    let opened = ground::open(&folder, &wish).await?;
    let done = control::run(&opened.services, &folder.path, command).await;
    tasks.stop();
    tasks.join().await;
    opened.close();
    done
}
