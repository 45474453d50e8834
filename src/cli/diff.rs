//! `chainhost diff`: which files differ between two deployments of a site.

use std::{fmt::Write as _, process::ExitCode};

use clap::Args;
use serde_json::Value;

use super::{
    client::{self, Call, credentials::ServerArgument, shapes::Difference},
    deployments,
    failure::Result,
    output, sites, terminal, text,
};
use crate::{
    base::units::ByteSize,
    domain::{deployment::DeploymentRef, site::SiteName},
};

/// The arguments of `diff`.
#[derive(Args)]
pub(super) struct Diff {
    /// The site
    #[arg(long, value_parser = sites::name)]
    site: SiteName,
    /// The deployment before: its number or its id
    #[arg(value_parser = reference)]
    a: DeploymentRef,
    /// The deployment after
    #[arg(value_parser = reference)]
    b: DeploymentRef,
    /// Print the server's object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgument,
}

/// A deployment as an argument.
pub(super) fn reference(text: &str) -> Result<DeploymentRef, String> {
    text.parse().map_err(|error: crate::domain::Error| error.message)
}

/// A deployment as the API takes it.
pub(super) fn word(reference: DeploymentRef) -> String {
    match reference {
        DeploymentRef::Number(number) => number.to_string(),
        DeploymentRef::Id(id) => id.to_string(),
    }
}

impl Diff {
    pub(super) fn run(&self) -> ExitCode {
        client::run(async {
            let (client, _) = output::open(&self.server)?;
            // The server says what the named deployment has more than the one it is held against.
            let (before, after) = (word(self.a), word(self.b));
            let path = format!("{}/{after}/diff?against={before}", deployments::path(&self.site));
            let found: Value = client.call(&Call::get(&path)).await?;
            if self.json {
                return output::json(&found);
            }
            terminal::print(&show(&output::read_one(found)?))
        })
    }
}

fn show(difference: &Difference) -> String {
    let Difference { added, removed, changed, policy_changed } = difference;
    let mut out = String::new();
    // Writing to a string cannot fail.
    for it in added {
        let _ = writeln!(out, "+ {}  {}", text::plain(&it.path), ByteSize(it.size));
    }
    for it in removed {
        let _ = writeln!(out, "- {}  {}", text::plain(&it.path), ByteSize(it.size));
    }
    for it in changed {
        let _ = writeln!(out, "~ {}  {} → {}", text::plain(&it.path), ByteSize(it.size_before), ByteSize(it.size));
    }
    if *policy_changed {
        out.push_str("~ the rules (_headers, _redirects, chainhost.toml)\n");
    }
    if out.is_empty() {
        return String::from("No difference.");
    }
    let length = |it: &Vec<_>| u64::try_from(it.len()).unwrap_or(u64::MAX);
    let (added, removed, changed) = (length(added), length(removed), length(changed));
    out + &format!("{} added, {removed} removed, {changed} changed.", text::count(added, "file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_difference_has_its_sign() {
        let read = |text: &str| show(&serde_json::from_str(text).unwrap());
        let shown = read(
            r#"{"added":[{"path":"/a","size":5}],"removed":[],"changed":[{"path":"/b","size":1,"size_before":2000}],
                "policy_changed":true}"#,
        );
        let wanted = "+ /a  5 B\n~ /b  2.0 kB → 1 B\n~ the rules (_headers, _redirects, chainhost.toml)\n\
                      1 file added, 0 removed, 1 changed.";
        assert_eq!(shown, wanted);
        assert_eq!(read(r#"{"added":[],"removed":[],"changed":[],"policy_changed":false}"#), "No difference.");
    }
}
