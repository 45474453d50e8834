//! `chainhost serve`: runs the server until SIGTERM or ^C.
//!
//! Standard output gets one line, `ready http://…`, once sites and panel answer; all else goes to standard error.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use super::terminal;
use crate::{
    app,
    config::server::{Flags, Server},
    domain::{Kind, Result},
};

/// How long the end waits for blocking work that does not look at the sign to stop: its files are whole whenever it ends.
const LEFT_MAX: Duration = Duration::from_secs(5);
/// Files and connections that a server has open at once, where it may. A shell gives 1,024, for the sake of old programs.
const DESCRIPTORS: u64 = 64 * 1024;

/// Where a process keeps its data and reads its settings.
#[derive(Args)]
pub(super) struct Place {
    /// The data folder [default: /var/lib/chainhost for root, else ./chainhost-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// A configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Place {
    /// The flags that say so.
    pub(super) fn flags(&self) -> Flags {
        Flags { data: self.data.clone(), config: self.config.clone(), ..Flags::default() }
    }
}

/// The arguments of `serve`.
#[derive(Args)]
pub(super) struct Serve {
    /// Add a sample site, and keep everything in ./chainhost-demo
    #[arg(long)]
    demo: bool,
    #[command(flatten)]
    place: Place,
    /// Where to listen, such as 127.0.0.1:8080 or :8080; may be given more than once [default: localhost:8080]
    #[arg(long, value_name = "ADDR")]
    listen: Vec<String>,
    /// Where to speak HTTPS, such as :443; may be given more than once
    #[arg(long, value_name = "ADDR")]
    tls_listen: Vec<String>,
    /// What this process does, when several share a database and a queue: all, web (no jobs) or worker [default: all]
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
}

impl Serve {
    /// Exit 0 after a shutdown that was asked for, 2 for settings that cannot be used, 1 for what broke.
    pub(super) fn run(&self) -> ExitCode {
        let flags = Flags {
            listen: self.listen.clone(),
            tls_listen: self.tls_listen.clone(),
            demo: self.demo,
            role: self.role.clone(),
            ..self.place.flags()
        };
        run("serve", &flags)
    }
}

/// Runs a server, or a worker, until it is told to stop.
pub(super) fn run(command: &str, flags: &Flags) -> ExitCode {
    match serve(flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let why = error.detail.as_ref().map_or_else(String::new, |it| format!(" ({it})"));
            terminal::note(&format!("chainhost {command}: {}{why}", error.message));
            ExitCode::from(if error.kind == Kind::Invalid { 2 } else { 1 })
        }
    }
}

/// Takes as many descriptors as a server needs and its limits let it have. It serves with fewer too.
fn take_descriptors() {
    let limits = getrlimit(Resource::Nofile);
    let most = limits.maximum.unwrap_or(DESCRIPTORS).min(DESCRIPTORS);
    if limits.current.is_some_and(|it| it < most)
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(most), ..limits })
    {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

fn serve(flags: &Flags) -> Result<()> {
    let settings = Server::load(flags)?;
    // Where there may be sites they are served, whatever is wrong with a database: it is told, and tried again.
    let wrong = match app::settings::check(&settings) {
        Err(error) if app::ground::is_known(&settings.data) => Some(error),
        checked => checked.map(|()| None)?,
    };
    app::logs::start(&settings.log, settings.log_format)?;
    take_descriptors();
    if let Some(error) = wrong {
        tracing::error!(%error, "these settings cannot be used");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let stop = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        app::serve(settings, flags.demo, stop, |what| {
            if let Err(error) = terminal::print(&format!("ready {what}")) {
                terminal::note(&error.to_string());
            }
        })
        .await
    });
    // Dropped, the runtime would wait for such work without end.
    runtime.shutdown_timeout(LEFT_MAX);
    served
}
