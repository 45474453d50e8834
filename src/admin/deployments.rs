//! A deployment: what changed, how it went, its files, its proof; and a new one by an upload.

mod pages;
mod publish;
mod show;
mod upload;

use askama::Template;

use super::{
    form::Problems,
    markup::Markup,
    shell::{Crumb, Pager, Shell, Sign, Tab},
    sites::Standing,
    words::When,
};

pub(super) use self::{
    pages::{bundle, deployment, diff, events, files, log, log_text, proof},
    publish::{publish, publish_question, roll_back, roll_back_question},
    show::{latest, live, row},
    upload::{Outcome, begun_page, deploy, deploy_form, is_about_the_form, receive, refused},
};

/// A deployment in the chain of its site.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) number: i64,
    pub(super) href: String,
    pub(super) title: String,
    pub(super) seal: Markup,
    pub(super) live: bool,
    /// Its site is taken down.
    pub(super) down: bool,
    /// Complete, and never was live.
    pub(super) unpublished: bool,
    pub(super) sign: Sign,
    pub(super) words: &'static str,
    pub(super) when: When,
    pub(super) actor: String,
    /// `6 files changed`, or why it failed.
    pub(super) detail: String,
    /// Its preview address.
    pub(super) preview: Option<String>,
    pub(super) act: Option<Act>,
}

/// What can be done with a deployment.
#[derive(Clone, Debug)]
pub(super) struct Act {
    pub(super) words: &'static str,
    pub(super) href: String,
    /// Whether it goes back in time.
    pub(super) back: bool,
}

impl Row {
    /// The class of its block.
    pub(super) const fn class(&self) -> &'static str {
        match self.sign {
            Sign::Bad => "failed",
            _ if self.live => "live",
            _ if self.unpublished => "pending",
            _ => "",
        }
    }

    /// Whether its state needs no word: it was live once.
    pub(super) const fn quiet(&self) -> bool {
        matches!(self.sign, Sign::Ok)
    }

    /// Whether it failed.
    pub(super) const fn failed(&self) -> bool {
        matches!(self.sign, Sign::Bad)
    }
}

/// A level of a proof.
#[derive(Clone, Debug)]
pub(super) struct LevelRow {
    pub(super) reached: bool,
    pub(super) name: &'static str,
    pub(super) text: String,
}

/// What the pages of one deployment share.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) crumbs: Vec<Crumb>,
    pub(super) tabs: Vec<Tab>,
    pub(super) site: String,
    pub(super) number: i64,
    /// Its address in the panel.
    pub(super) href: String,
    pub(super) live: bool,
    pub(super) sign: Sign,
    pub(super) words: &'static str,
    /// The sender's words, then how it stands.
    pub(super) lead: String,
    pub(super) standing: Standing,
    pub(super) preview: Option<String>,
    pub(super) act: Option<Act>,
}

/// A deployment at a glance.
#[derive(Debug, Template)]
#[template(path = "deployments/deployment.html")]
pub(super) struct Deployment {
    pub(super) shell: Shell,
    pub(super) head: Head,
    /// Why it failed, and what stays.
    pub(super) problem: Option<String>,
    pub(super) changes: Option<Changes>,
    pub(super) log: Log,
    pub(super) files: Vec<FileRow>,
    /// `318 files, 24.6 MB`
    pub(super) files_words: String,
    pub(super) proof: Option<Proof>,
}

/// What differs from another deployment.
#[derive(Clone, Debug)]
pub(super) struct Changes {
    /// Number of the other.
    pub(super) against: i64,
    /// `3 new, 2 changed, 1 gone`
    pub(super) words: String,
    pub(super) rows: Vec<ChangeRow>,
    /// Those that are not in `rows`.
    pub(super) more: i64,
    pub(super) policy: bool,
}

/// A file that differs.
#[derive(Clone, Debug)]
pub(super) struct ChangeRow {
    pub(super) path: String,
    pub(super) change: Change,
    pub(super) size: String,
    /// `+412`, `−88`
    pub(super) by: String,
}

/// How a file differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    New,
    Changed,
    Gone,
}

impl Change {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::New => "New",
            Self::Changed => "Changed",
            Self::Gone => "Gone",
        }
    }

    /// The class that colours it.
    pub(super) const fn class(self) -> &'static str {
        match self {
            Self::New => "add",
            Self::Changed => "",
            Self::Gone => "del",
        }
    }
}

/// The log of a deployment.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    pub(super) lines: Vec<LogLine>,
    /// Lines before those.
    pub(super) earlier: usize,
    /// Where further lines come from while it goes on.
    pub(super) events: Option<String>,
}

/// A line of a log.
#[derive(Clone, Debug)]
pub(super) struct LogLine {
    pub(super) time: String,
    pub(super) text: String,
    /// `ok`, `warn`, `err` or nothing.
    pub(super) class: &'static str,
}

/// Lines that are added to a log that is open: what the stream of events carries.
#[derive(Debug, Template)]
#[template(path = "deployments/log_lines.html")]
pub(super) struct LogLines {
    pub(super) lines: Vec<LogLine>,
}

/// A file of a deployment.
#[derive(Clone, Debug)]
pub(super) struct FileRow {
    pub(super) path: String,
    /// Where it can be seen.
    pub(super) url: Option<String>,
    pub(super) size: String,
    pub(super) media_type: String,
    pub(super) hash: String,
}

/// The proof of a deployment, beside it.
#[derive(Clone, Debug)]
pub(super) struct Proof {
    pub(super) seal: Markup,
    pub(super) levels: Vec<LevelRow>,
    pub(super) facts: Vec<(&'static str, String)>,
    pub(super) bundle: String,
    pub(super) command: String,
}

/// The files of a deployment, in pages.
#[derive(Debug, Template)]
#[template(path = "deployments/files.html")]
pub(super) struct Files {
    pub(super) shell: Shell,
    pub(super) head: Head,
    pub(super) words: String,
    pub(super) rows: Vec<FileRow>,
    pub(super) pager: Pager,
}

/// What changed against a deployment that one chooses.
#[derive(Debug, Template)]
#[template(path = "deployments/diff.html")]
pub(super) struct Diff {
    pub(super) shell: Shell,
    pub(super) head: Head,
    pub(super) others: Vec<Other>,
    pub(super) changes: Option<Changes>,
}

/// A deployment to compare with.
#[derive(Clone, Debug)]
pub(super) struct Other {
    pub(super) number: i64,
    pub(super) title: String,
    /// Whether it is the one that is compared with now.
    pub(super) chosen: bool,
}

/// The whole log.
#[derive(Debug, Template)]
#[template(path = "deployments/log.html")]
pub(super) struct LogPage {
    pub(super) shell: Shell,
    pub(super) head: Head,
    pub(super) log: Log,
}

/// The proof on a page of its own: what it says, and what it does not.
#[derive(Debug, Template)]
#[template(path = "deployments/proof.html")]
pub(super) struct ProofPage {
    pub(super) shell: Shell,
    pub(super) head: Head,
    pub(super) seal: Markup,
    pub(super) sentence: String,
    pub(super) proof: Proof,
}

/// The form for a new deployment.
#[derive(Debug, Template)]
#[template(path = "deployments/deploy.html")]
pub(super) struct Deploy {
    pub(super) shell: Shell,
    pub(super) crumbs: Vec<Crumb>,
    pub(super) site: String,
    pub(super) lead: String,
    pub(super) standing: Standing,
    pub(super) message: String,
    pub(super) publish: bool,
    /// The site is taken down, so that nothing can be published on it.
    pub(super) down: bool,
    pub(super) command: String,
    pub(super) problems: Problems,
}

/// The tabs of a deployment.
pub(super) fn tabs(href: &str, here: &str) -> Vec<Tab> {
    Tab::list(
        here,
        [
            ("Summary", href.to_owned()),
            ("Changes", format!("{href}/diff")),
            ("Files", format!("{href}/files")),
            ("Log", format!("{href}/log")),
            ("Proof", format!("{href}/proof")),
        ],
    )
}
