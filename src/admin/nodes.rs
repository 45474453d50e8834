//! Nodes: the processes that run this installation together.

use askama::Template;

use super::{
    gate::Answer,
    settings,
    shell::{Place, Shell, Sign, Tab},
    visit::{Visit, show},
    words::{self, When},
};
use crate::services::nodes::NodeView;

/// The nodes of the installation.
#[derive(Debug, Template)]
#[template(path = "settings/nodes.html")]
pub(super) struct Nodes {
    pub(super) shell: Shell,
    pub(super) tabs: Vec<Tab>,
    pub(super) lead: String,
    pub(super) rows: Vec<NodeRow>,
    /// Whether there may be others, which take over.
    pub(super) shares: bool,
}

/// A node.
#[derive(Clone, Debug)]
pub(super) struct NodeRow {
    /// Its id, as `chainhost nodes` prints it.
    pub(super) name: String,
    /// Whether it made this page.
    pub(super) this: bool,
    /// What it does, for people.
    pub(super) does: &'static str,
    /// What its operator says of it: `type=worker`.
    pub(super) labels: String,
    pub(super) seen: When,
    /// Whether it has been silent for so long that others may take its duties.
    pub(super) silent: bool,
    /// `schedules, watched folders`
    pub(super) duties: String,
}

fn does(role: &str) -> &'static str {
    match role {
        "web" => "Sites and panel",
        "worker" => "Jobs",
        _ => "Everything",
    }
}

fn duty(word: &str) -> &str {
    match word {
        "schedule" => "schedules",
        "seal" => "sealing the audit log",
        "clean" => "cleaning up",
        "watch" => "watched folders",
        other => other,
    }
}

impl NodeRow {
    fn new(it: &NodeView, now_ms: i64) -> Self {
        let duties: Vec<&str> = it.duties.iter().map(|it| duty(it)).collect();
        Self {
            name: it.id.to_string(),
            this: it.this,
            does: does(&it.role),
            labels: it.labels.join(", "),
            // By the clock of the node that made this page: the other's may be wrong.
            seen: When::at(now_ms.saturating_sub(i64::try_from(it.quiet.as_millis()).unwrap_or(i64::MAX)), now_ms),
            silent: it.silent,
            duties: duties.join(", "),
        }
    }
}

/// The page.
pub(super) async fn list(visit: Visit) -> Answer {
    let shell = visit.shell(Place::Settings).await?;
    let nodes = visit.services.list_nodes(&visit.actor).await?;
    let now = visit.now_ms();
    let shares = visit.services.node.shares;
    let lead = if shares {
        let count = words::count(i64::try_from(nodes.len()).unwrap_or(i64::MAX), "node runs", "nodes run");
        format!("{count} this installation on one database.")
    } else {
        String::from("One process does everything, on the database in its data folder.")
    };
    let rows = nodes.iter().map(|it| NodeRow::new(it, now)).collect();
    show(&Nodes { tabs: settings::tabs(&shell, "Nodes"), shell, lead, rows, shares })
}
