//! `chainhost move`: move the server's data to another database, after a rehearsal, and its queue to a Redis; back the same way.

use std::{
    io::{self, IsTerminal as _},
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
};

use clap::{ArgGroup, Args};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use serde_json::Value;
use tokio::runtime::Runtime;

use super::{
    admin::{self, Data},
    output,
    table::{Cell, Column, Table},
    terminal::{self, Terminal},
    text,
};
use crate::{
    app::moving::{self, Progress, Report, Wish},
    base::{
        secret::Secret,
        units::{ByteSize, thousands},
    },
    domain::{Error, Kind, Result},
    services::carry_jobs::Carried,
};

/// The arguments of `move`.
#[derive(Args)]
#[command(group(ArgGroup::new("what").args(["to", "redis", "blobs"]).required(true).multiple(true)))]
pub(super) struct Move {
    /// sqlite, `postgres://user:password@host:5432/database` (past a pooler), or - to read that from standard input, where no
    /// other user of this machine sees the password
    #[arg(long, value_name = "DATABASE")]
    to: Option<String>,
    /// Where the jobs go with the next start: `redis://user:password@host:6379/0`, or none for the data folder; - reads it from
    /// standard input, behind that of --to
    #[arg(long, value_name = "URL")]
    redis: Option<String>,
    /// Where the bytes of sites go with the next start: `s3://BUCKET/PREFIX?endpoint=https://HOST&region=REGION`, with the keys in the
    /// environment as for the server, or folder for the data folder
    #[arg(long, value_name = "URL")]
    blobs: Option<String>,
    /// Only copy into a shadow, compare, say how long it takes, and remove the shadow
    #[arg(long)]
    rehearse: bool,
    /// Move without a rehearsal
    #[arg(long, conflicts_with = "rehearse")]
    skip_rehearsal: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    data: Data,
}

impl Move {
    /// Exit 0 moved or rehearsed, 1 not moved, 2 wrong input.
    pub(super) fn run(&self) -> ExitCode {
        match self.go() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                let why = error.detail.as_ref().map_or_else(String::new, |it| format!(" ({it})"));
                terminal::note(&format!("chainhost move: {}{why}", error.message));
                ExitCode::from(if error.kind == Kind::Invalid { 2 } else { 1 })
            }
        }
    }

    fn go(&self) -> Result<()> {
        let settings = self.data.settings()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let read =
            |text: &String| if text == "-" { terminal::read_secret_line() } else { Ok(Secret::new(text.clone())) };
        let (to, redis) = (self.to.as_ref().map(read).transpose()?, self.redis.as_ref().map(read).transpose()?);
        let wish = Wish {
            to,
            redis,
            blobs: self.blobs.clone().map(Secret::new),
            rehearse: self.rehearse,
            skip_rehearsal: self.skip_rehearsal,
        };
        let ask = |command: &Value| ask(&runtime, &settings.data, command);
        let steps = Arc::new(Steps::default());
        let watching = Arc::clone(&steps);
        let watch: moving::Watch = Arc::new(move |progress| watching.show(progress));
        let report = moving::run(&runtime, &settings, &wish, &ask, &watch);
        steps.end();
        let report = report?;
        let shown = if self.json {
            output::json_line(&Told { settings: settings_of(&report), report: &report })
        } else {
            self.say(&report)
        };
        shown.map_err(|failure| Error::internal(failure.to_string()))
    }

    fn say(&self, report: &Report) -> super::failure::Result<()> {
        if let Some(it) = &report.rehearsal {
            let rate = it.rows.saturating_mul(1_000) / it.copied_ms.max(1);
            terminal::note(&format!(
                "Rehearsed: {} copied in {} ({} rows/s), counts and hashes equal. No changes would be taken for about {}.",
                text::count(it.rows, "row"),
                text::duration(it.copied_ms),
                thousands(rate),
                text::duration(it.read_only_ms)
            ));
        }
        if let Some(files) = &report.files {
            let place = if self.rehearse { "where they are now" } else { "where they go" };
            terminal::note(&format!(
                "{} of {} verified {place}, each by its SHA-256; over all: {}.",
                text::count(files.files, "file"),
                ByteSize(files.bytes),
                files.sha256
            ));
            if files.lost > 0 {
                terminal::note(&format!(
                    "{} of kept deployments are whole neither in the bucket nor in the data folder; the log of the server names them.",
                    text::count(files.lost, "file")
                ));
            }
        }
        if self.rehearse {
            let places = report
                .to
                .iter()
                .chain(&report.queue)
                .chain(&report.blobs)
                .map(String::as_str)
                .collect::<Vec<_>>()
                .join(" and ");
            return terminal::print(&format!("The data can be moved to {places}. Nothing was changed."));
        }
        if let Some(to) = &report.to {
            Self::say_data(report, to)?;
        }
        if let Some(queue) = &report.queue {
            let jobs = if report.jobs == Carried::default() {
                String::new()
            } else {
                let (open, dead) = (text::count(report.jobs.open, "job"), thousands(report.jobs.dead));
                format!(" {open} still to be done and {dead} dead were found in the old one.")
            };
            terminal::print(&format!("The jobs are in {queue} from the next start on.{jobs}"))?;
        }
        if let Some(at) = &report.left_behind {
            terminal::note(&format!(
                "The Redis at {at} had the jobs and was not named: those that had not ended come from the database, and what is dead or \
                 paused stays there. If it answers, name it in the settings and run this again."
            ));
        }
        if let Some(blobs) = &report.blobs {
            terminal::print(&format!("The files are in {blobs} from the next start on."))?;
        }
        self.say_settings(report);
        if report.restart {
            let meanwhile = match (&report.to, &report.queue) {
                (Some(_), _) => "answers for its sites and takes no changes",
                (None, Some(_)) => "goes on with its old queue",
                (None, None) => "goes on with its old place for files",
            };
            terminal::note(&format!(
                "The running server {meanwhile} until it is restarted: systemctl restart chainhost"
            ));
        }
        Ok(())
    }

    fn say_data(report: &Report, to: &str) -> super::failure::Result<()> {
        let mut table =
            Table::new(&[Column::Text("Table"), Column::Number("Rows"), Column::Whole("SHA-256, both sides")]);
        for it in &report.tables {
            table.push([Cell::new(&it.table), Cell::new(thousands(it.rows)), Cell::new(&it.sha256)]);
        }
        if !report.tables.is_empty() {
            terminal::print(&table.show(Terminal::default()))?;
        }
        terminal::print(&format!(
            "The data is in {to} now, moved in {}; no changes were taken for {}.",
            text::duration(report.duration_ms),
            text::duration(report.read_only_ms)
        ))
    }

    /// What the settings must say, or must not say any more.
    fn say_settings(&self, report: &Report) {
        let settings = self.data.settings();
        if let Err(error) = &settings {
            terminal::note(&format!("Before the next start: {}", error.message));
        }
        if report.queue.is_some() && settings.as_ref().is_ok_and(|it| it.postgres.is_some()) {
            terminal::note(
                "Restart this server first, and then the others on the same database: once this one has taken the jobs over, those begin no \
                 job before they are restarted.",
            );
        }
        for setting in settings_of(report) {
            let Setting { section, key, variable, value, .. } = &setting;
            let still = settings.as_ref().is_ok_and(|it| match *section {
                "database" => it.postgres.is_some(),
                "blobs" => it.blobs.bucket.is_some(),
                _ => it.redis.queue_url.is_some(),
            });
            match value {
                None if still => terminal::note(&format!(
                    "Before the next start: remove `{key}` from [{section}], or {variable}, which still name the old place."
                )),
                None => {}
                Some(value) if section == &"blobs" => terminal::note(&format!(
                    "The data folder remembers the bucket, but not its keys: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY must be in the \
                     server's environment, or `access_key_id` and `secret_access_key` in [blobs]. To have the bucket in the settings \
                     too: `{key} = \"{value}\"` in [{section}], or {variable}."
                )),
                Some(value) => terminal::note(&format!(
                    "No setting is needed: the data folder remembers it. To have it in the settings, with user and password: \
                     `{key} = \"{value}\"` in [{section}], or {variable}."
                )),
            }
        }
    }
}

/// A setting after a move.
#[derive(Serialize)]
struct Setting {
    section: &'static str,
    key: &'static str,
    variable: &'static str,
    /// Without user and password; `None`: it must not be set.
    value: Option<String>,
    /// The data folder remembers it, so that it need not be set.
    remembered: bool,
}

fn settings_of(report: &Report) -> Vec<Setting> {
    let all = [
        ("database", "url", "CHAINHOST_DATABASE_URL", &report.to, "sqlite"),
        ("blobs", "url", "CHAINHOST_BLOBS_URL", &report.blobs, "folder"),
        ("redis", "queue_url", "CHAINHOST_REDIS_QUEUE_URL", &report.queue, "folder"),
    ];
    let told = all.into_iter().filter_map(|(section, key, variable, place, none)| {
        let value = place.clone()?;
        let value = (value != none).then_some(value);
        Some(Setting { section, key, variable, remembered: value.is_some(), value })
    });
    told.collect()
}

/// A report for programs.
#[derive(Serialize)]
struct Told<'r> {
    #[serde(flatten)]
    report: &'r Report,
    settings: Vec<Setting>,
}

/// Asks the server that runs on the data folder.
fn ask(runtime: &Runtime, data: &std::path::Path, command: &Value) -> Result<Option<crate::app::control::Done>> {
    runtime.block_on(admin::ask(data, command))
}

/// A bar on a terminal, a line a step elsewhere.
#[derive(Default)]
struct Steps(Mutex<Option<ProgressBar>>);

impl Steps {
    fn show(&self, progress: Progress) {
        let mut bar = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match progress {
            Progress::Rows(rows) => {
                if let Some(bar) = &*bar {
                    bar.inc(rows);
                }
            }
            Progress::Step(name, _) if !io::stderr().is_terminal() => terminal::note(&format!("{name} …")),
            Progress::Step(name, rows) => {
                let style = ProgressStyle::with_template("{msg:40} {bar:30} {human_pos} of {human_len}, {eta}")
                    .unwrap_or_else(|_| ProgressStyle::default_bar());
                let next = ProgressBar::with_draw_target(Some(rows), ProgressDrawTarget::stderr()).with_style(style);
                next.set_message(name);
                if let Some(before) = bar.replace(next) {
                    before.finish_and_clear();
                }
            }
        }
    }

    fn end(&self) {
        if let Some(bar) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            bar.finish_and_clear();
        }
    }
}
