//! `chainhost worker`: runs background jobs on another machine, until SIGTERM or ^C.
//!
//! It needs the database, the queue and the bytes that all nodes share. On the sign to stop it takes no more jobs and lets
//! those that run come to their end.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use super::serve;
use crate::config::server::Flags;

/// The arguments of `worker`.
#[derive(Args)]
pub(super) struct Worker {
    /// Which queues, such as deploy,email [default: all of them]
    #[arg(long, value_name = "QUEUES")]
    queues: Option<String>,
    /// What to say of this worker, such as type=worker; several separated by commas
    #[arg(long, value_name = "LABELS")]
    labels: Option<String>,
    /// Its data folder [default: /var/lib/chainhost for root, else ./chainhost-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where /healthz and /metrics answer, such as 127.0.0.1:9100 [default: nowhere]
    #[arg(long, value_name = "ADDR")]
    listen: Vec<String>,
    /// A configuration file: the same as the servers'
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Worker {
    /// Exit codes as those of `serve`.
    pub(super) fn run(&self) -> ExitCode {
        let flags = Flags {
            data: self.data.clone(),
            listen: self.listen.clone(),
            config: self.config.clone(),
            demo: false,
            role: Some(String::from("worker")),
            queues: self.queues.clone(),
            labels: self.labels.clone(),
        };
        serve::run("worker", &flags)
    }
}
