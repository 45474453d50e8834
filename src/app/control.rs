//! The control socket: what whoever holds the data folder may ask of a running server (DECISIONS 23).
//!
//! `<data>/control.sock`, mode 0600, HTTP and JSON. SECURITY: the peer must be root or the server's own user, also when
//! somebody has opened the folder's rights.

use std::{
    collections::HashSet,
    fs, io,
    os::{fd::AsRawFd as _, unix::fs::PermissionsExt as _},
    path::{Path, PathBuf},
    pin::pin,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::{Method, Request, StatusCode, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::{
    net::{UnixListener, UnixStream},
    time,
};

use super::{links, socket_path};
use crate::{
    base::{limits, secret::Secret, tasks::Tasks},
    domain::{Error, Result, access::KeyScope, user::Grade},
    http::{problem, respond},
    ports::db,
    services::{Services, home::bring::Brought},
};

/// Pause after the system gave no connection: without one it would be asked again at once, and for as long as it has none.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);
/// How long a connection has for its one command: passwords are hashed and the database is waited for.
const CONNECTION_MAX: Duration = Duration::from_mins(1);

/// How long changes are refused after one command: should the move die, the server takes them again.
const FREEZE: Duration = Duration::from_secs(15);

/// What can be asked. The command line sends the same over the socket or, while the server is down, does it itself.
#[derive(Debug, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Command {
    /// Make a user.
    CreateUser {
        /// Their e-mail.
        email: String,
        /// `super-admin`, `admin` or `user`.
        role: String,
        /// Their password.
        password: Secret,
    },
    /// Make an API key for a user.
    CreateKey {
        /// The user's e-mail.
        email: String,
        /// What the key is called.
        name: String,
        /// `read`, `deploy` or `all`.
        scope: String,
    },
    /// Make a new claim link.
    ClaimLink {},
    /// Set a user's password.
    ResetPassword {
        /// The user's e-mail.
        email: String,
        /// The new password.
        password: Secret,
    },
    /// Take no change for some seconds, while the data moves; asked again and again as long as that lasts.
    Freeze {
        /// Of the program that asks: another one may know another schema.
        version: String,
    },
    /// Take changes again; also a question whether this is the same program.
    Thaw {
        /// Of the program that asks.
        version: String,
    },
    /// The data is elsewhere now.
    Moved {
        /// Where, for people.
        to: String,
    },
    /// Bring files out of the bucket into the folder, for some seconds, so that the bucket can be left.
    BringHome {
        /// Of the program that asks.
        version: String,
        /// The last file of the answer before.
        after: Option<String>,
        /// The next start is without the bucket.
        #[serde(default)]
        leaves: bool,
        /// Files that earlier answers have told to be lost.
        #[serde(default)]
        lost: HashSet<String>,
    },
    /// Revoke a key by its secret.
    RevokeKey {
        /// The whole key.
        key: Secret,
    },
}

/// What comes back.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Done {
    /// The key or the link that was made.
    pub made: Option<String>,
    /// How far files have come.
    #[serde(default)]
    pub brought: Option<Brought>,
}

/// Does what a command asks, as the holder of the data folder.
pub async fn run(services: &Services, data: &Path, command: Command) -> Result<Done> {
    let command = match command {
        Command::Freeze { version } => return freeze(services, &version).await,
        Command::Thaw { version } => {
            check_version(&version)?;
            services.db.thaw();
            return Ok(Done::default());
        }
        Command::Moved { to } => {
            tracing::warn!(to, "the data was moved; nothing can be changed until this server is restarted");
            services.db.freeze(db::moved(), None).await?;
            return Ok(Done::default());
        }
        Command::BringHome { version, after, leaves, lost } => {
            check_version(&version)?;
            let parse = |it: String| it.parse().map_err(|_| Error::invalid("after", "That is no SHA-256."));
            let brought = services.bring_home(after.map(parse).transpose()?, leaves, &lost).await?;
            return Ok(Done { brought: Some(brought), ..Done::default() });
        }
        other => other,
    };
    let actor = services.actor_local().await?;
    let mut done = Done::default();
    match command {
        Command::CreateUser { email, role, password } => {
            services.create_user(&actor, &email, Grade::parse(&role)?, password).await?;
        }
        Command::CreateKey { email, name, scope } => {
            let key = services.create_key_for(&actor, &email, &name, KeyScope::parse(&scope)?).await?;
            done.made = Some(key.expose().to_owned());
        }
        Command::ClaimLink {} => {
            let link = links::renew(services, data).await?;
            let claimed = || {
                let text = "This server has an owner already. To get back in: chainhost admin reset-password --email E";
                Error::conflict("claimed", text)
            };
            done.made = Some(link.ok_or_else(claimed)?);
        }
        // Answered above.
        Command::Freeze { .. } | Command::Thaw { .. } | Command::Moved { .. } | Command::BringHome { .. } => {}
        Command::ResetPassword { email, password } => services.change_password(&actor, &email, password).await?,
        Command::RevokeKey { key } => services.revoke_key_by_secret(&actor, key.expose()).await?,
    }
    Ok(done)
}

/// Refuses changes for [`FREEZE`], and answers when those that were taken before are in the database.
async fn freeze(services: &Services, version: &str) -> Result<Done> {
    check_version(version)?;
    let why = Error::unavailable(
        "moving",
        "The data of this server is being moved to another database. Sites go on answering; changes are taken again in a moment.",
    );
    services.db.freeze(why, Some(FREEZE)).await?;
    Ok(Done::default())
}

fn check_version(version: &str) -> Result<()> {
    if version != env!("CHAINHOST_VERSION") {
        let text = format!(
            "The server runs another version ({}) than this program ({version}). Restart the server, and try again.",
            env!("CHAINHOST_VERSION")
        );
        return Err(Error::conflict("version", text));
    }
    Ok(())
}

/// Listens on the socket of `data` until the sign to stop.
pub(super) fn start(services: &Services, tasks: &Tasks, data: &Path) -> Result<()> {
    let path = socket_path(data);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let listener = through_folder(data, |short| UnixListener::bind(short))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    let (services, data, spawner) = (services.clone(), data.to_owned(), tasks.clone());
    tasks.spawn(async move {
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let (services, data, tasks) = (services.clone(), data.clone(), spawner.clone());
                        spawner.spawn(async move { connection(stream, &services, &data, &tasks).await });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "no connection to the control socket can be taken");
                        tokio::select! {
                            () = time::sleep(ACCEPT_AGAIN) => {}
                            () = spawner.stopping() => break,
                        }
                    }
                },
                () = spawner.stopping() => break,
            }
        }
        drop(fs::remove_file(path));
    });
    Ok(())
}

/// Runs `act` on a short path of the socket: a socket's own path has at most 107 bytes, a data folder's may have more.
pub fn through_folder<T>(data: &Path, act: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let folder = fs::File::open(data)?;
    let short = PathBuf::from(format!("/proc/self/fd/{}/control.sock", folder.as_raw_fd()));
    act(&short)
}

/// Serves one command. A shutdown lets a command end that has come whole, and waits for no other.
async fn connection(stream: UnixStream, services: &Services, data: &Path, tasks: &Tasks) {
    let ours = rustix::process::geteuid().as_raw();
    if !stream.peer_cred().is_ok_and(|it| it.uid() == 0 || it.uid() == ours) {
        return;
    }
    let at_work = AtomicBool::new(false);
    let service = service_fn(|request: Request<Incoming>| {
        let at_work = &at_work;
        async move { Ok::<_, std::convert::Infallible>(answer(services, data, request, at_work).await) }
    });
    let builder = hyper::server::conn::http1::Builder::new();
    let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = async {
        tokio::select! {
            ended = &mut serving => return ended,
            () = tasks.stopping() => {}
        }
        if !at_work.load(Ordering::Relaxed) {
            return Ok(());
        }
        serving.as_mut().graceful_shutdown();
        let grace = Duration::from_millis(limits::SHUTDOWN_GRACE_MS);
        time::timeout(grace, serving).await.unwrap_or(Ok(()))
    };
    match time::timeout(CONNECTION_MAX, ended).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection to the control socket broke off"),
        Err(_) => tracing::debug!("a connection to the control socket took too long"),
    }
}

async fn answer(
    services: &Services,
    data: &Path,
    request: Request<Incoming>,
    at_work: &AtomicBool,
) -> respond::Response {
    let ran = async {
        if request.method() != Method::POST {
            return Err(Error::invalid("method", "Send a command by POST."));
        }
        let body = Limited::new(request.into_body(), limits::JSON_BODY_BYTES_MAX).collect().await;
        let bytes: Bytes = body.map_err(|error| Error::invalid("body", format!("{error}.")))?.to_bytes();
        let command = serde_json::from_slice(&bytes)
            .map_err(|error| Error::invalid("json", format!("This server does not know that command: {error}.")))?;
        at_work.store(true, Ordering::Relaxed);
        run(services, data, command).await
    };
    match ran.await {
        Ok(done) => respond::json(StatusCode::OK, &done),
        Err(error) => {
            tracing::debug!(%error, "a command on the control socket was refused");
            problem::problem(&error, "")
        }
    }
}
