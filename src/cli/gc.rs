//! `chainhost gc`: remove the bytes that no deployment names any more, or say what would be removed.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::{
    client::{self, Call, credentials::ServerArgument, shapes::Collected},
    failure::Result,
    output, terminal, text,
};
use crate::base::units::ByteSize;

/// The arguments of `gc`.
#[derive(Args)]
pub(super) struct Gc {
    /// Remove nothing, only say what would go
    #[arg(long)]
    dry_run: bool,
    /// Print the server's object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgument,
}

impl Gc {
    pub(super) fn run(&self) -> ExitCode {
        client::run(self.collect())
    }

    async fn collect(&self) -> Result<()> {
        let (client, _) = output::open(&self.server)?;
        let found: Value = client.call(&Call::post("/api/v1/gc", &json!({ "dry_run": self.dry_run }))?).await?;
        if self.json {
            return output::json(&found);
        }
        let found: Collected = output::read_one(found)?;
        let (files, size) = (text::count(found.blobs, "stored file"), ByteSize(found.bytes));
        terminal::print(&match (found.blobs, self.dry_run) {
            (0, _) => String::from("There is nothing to remove."),
            (_, true) => format!("{files} would be removed, {size}. Nothing was changed."),
            (_, false) => format!("{files} removed, {size}."),
        })
    }
}
