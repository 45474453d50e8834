//! `chainhost worker`: runs background jobs on another machine, until SIGTERM or ^C.
//!
//! It needs the database, the queue and the bytes that all nodes share. On the sign to stop it takes no more jobs and lets
//! those that run come to their end.

use std::process::ExitCode;

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
    #[command(flatten)]
    place: serve::Place,
    /// Where /healthz and /metrics answer, such as 127.0.0.1:9100 [default: nowhere]
    #[arg(long, value_name = "ADDR")]
    listen: Vec<String>,
}

impl Worker {
    /// Exit codes as those of `serve`.
    pub(super) fn run(&self) -> ExitCode {
        let flags = Flags {
            listen: self.listen.clone(),
            role: Some(String::from("worker")),
            queues: self.queues.clone(),
            labels: self.labels.clone(),
            ..self.place.flags()
        };
        serve::run("worker", &flags)
    }
}
