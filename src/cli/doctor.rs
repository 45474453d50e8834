//! `chainhost doctor`: would an authority give a certificate for a hostname, and if not, what is to be changed? The server looks,
//! since it is the one that has to be reached. Exit 0: nothing stands in the way; 1: something does.

use std::{io::IsTerminal as _, process::ExitCode};

use clap::Args;
use serde_json::{Value, json};

use super::{
    client::{self, Call, credentials::ServerArgument, escape, shapes},
    failure::Result,
    output::{self, Output},
    terminal,
    text::plain,
};
use crate::domain::hostname::Hostname;

const RED: &str = "\u{1b}[31m";
const YELLOW: &str = "\u{1b}[33m";
const GREEN: &str = "\u{1b}[32m";
const END: &str = "\u{1b}[0m";

/// The arguments of `doctor`.
#[derive(Args)]
pub(super) struct Doctor {
    /// The hostname, as in www.example.org
    #[arg(value_parser = hostname)]
    hostname: String,
    /// Print the server's answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgument,
}

/// A hostname, or all names below a domain (`*.`), which the server may know.
fn hostname(text: &str) -> std::result::Result<String, String> {
    let (star, name) = text.trim().strip_prefix("*.").map_or(("", text), |name| ("*.", name));
    Hostname::parse(name).map(|it| format!("{star}{it}")).map_err(|error| error.message)
}

impl Doctor {
    pub(super) fn run(&self) -> ExitCode {
        let mut ready = false;
        let ended = client::run(self.check(&mut ready));
        if ended == ExitCode::SUCCESS && !ready { ExitCode::FAILURE } else { ended }
    }

    async fn check(&self, ready: &mut bool) -> Result<()> {
        let (client, Output { terminal, .. }) = output::open(&self.server)?;
        if std::io::stderr().is_terminal() {
            terminal::note(&format!("The server looks at {}, which takes some seconds …", self.hostname));
        }
        let path = format!("/api/v1/hostnames/{}/check", escape(&self.hostname));
        let answer: Value = client.call(&Call::post(&path, &json!({}))?).await?;
        let check: shapes::Check = output::read_one(answer.clone())?;
        *ready = check.ready;
        if self.json {
            return output::json(&answer);
        }
        terminal::print(&show(&check, terminal.colours))
    }
}

/// A line a finding, with what was seen below those that are not well.
fn show(check: &shapes::Check, colours: bool) -> String {
    let mut lines = Vec::new();
    for it in &check.findings {
        let (sign, colour) = match it.level.as_str() {
            "good" => ("✓", GREEN),
            "warning" => ("!", YELLOW),
            _ => ("✗", RED),
        };
        let sign = if colours { format!("{colour}{sign}{END}") } else { sign.to_owned() };
        lines.push(format!("{sign} {}", plain(&it.text)));
        if it.level != "good" && !it.seen.is_empty() {
            lines.push(format!("    seen: {}", plain(&it.seen)));
        }
    }
    if check.ready {
        lines.push(format!("Nothing stands in the way of a certificate for {}.", plain(&check.hostname)));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_names_below_a_domain_are_a_name_too() {
        assert_eq!(hostname("*.Example.ORG.").as_deref(), Ok("*.example.org"));
        assert_eq!(hostname(" WWW.example.org").as_deref(), Ok("www.example.org"));
        assert!(["*.", "*", "a.*.org", "*.*.org"].into_iter().all(|it| hostname(it).is_err()));
    }

    #[test]
    fn findings_are_lines_and_nothing_in_them_steers_a_terminal() {
        let finding = |level: &str, text: &str, seen: &str| shapes::Finding {
            level: level.to_owned(),
            text: text.to_owned(),
            seen: seen.to_owned(),
        };
        let findings = vec![
            finding("problem", "Change it.", "Server: \u{1b}[2J"),
            finding("warning", "Look.", ""),
            finding("good", "Well.", "x"),
        ];
        let mut check = shapes::Check { hostname: String::from("a.example"), ready: false, findings };
        let shown = show(&check, false);
        assert_eq!(shown, "✗ Change it.\n    seen: Server: \\u{1b}[2J\n! Look.\n✓ Well.");
        check.ready = true;
        assert!(show(&check, true).starts_with("\u{1b}[31m✗\u{1b}[0m "));
        assert!(show(&check, false).ends_with("\nNothing stands in the way of a certificate for a.example."));
    }
}
