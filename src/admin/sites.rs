//! Sites: the list, a new one, one with its chain of deployments, and its settings.

use askama::Template;

use super::{
    deployments::{LevelRow, Row},
    form::Problems,
    markup::Markup,
    shell::{Crumb, Pager, Shell, Sign, Tab},
    words::When,
};

/// All sites of the tenant.
#[derive(Debug, Template)]
#[template(path = "sites/sites.html")]
pub(super) struct Sites {
    pub(super) shell: Shell,
    /// How things are, in a sentence.
    pub(super) lead: String,
    pub(super) rows: Vec<SiteRow>,
    pub(super) pager: Pager,
    /// Shown while there is no site.
    pub(super) command: String,
}

/// A site in the list.
#[derive(Clone, Debug)]
pub(super) struct SiteRow {
    pub(super) name: String,
    pub(super) href: String,
    pub(super) hostnames: String,
    pub(super) sign: Sign,
    pub(super) words: String,
    /// Number of the live deployment and when it was published.
    pub(super) live: Option<(i64, When)>,
    pub(super) deployments: i64,
    pub(super) size: String,
}

/// The form for a new site.
#[derive(Debug, Template)]
#[template(path = "sites/new.html")]
pub(super) struct NewSite {
    pub(super) shell: Shell,
    pub(super) crumbs: Vec<Crumb>,
    pub(super) name: String,
    /// `.localhost:8080`: what follows the name in its first address.
    pub(super) suffix: String,
    pub(super) command: String,
    pub(super) problems: Problems,
}

/// A site at a glance.
#[derive(Debug, Template)]
#[template(path = "sites/site.html")]
pub(super) struct Site {
    pub(super) shell: Shell,
    pub(super) crumbs: Vec<Crumb>,
    pub(super) tabs: Vec<Tab>,
    pub(super) name: String,
    pub(super) url: String,
    /// The address without its scheme.
    pub(super) address: String,
    /// What follows the address in the sentence under the title.
    pub(super) lead: String,
    /// Why it is taken down, when it is.
    pub(super) taken_down: Option<String>,
    pub(super) live: Option<Live>,
    pub(super) rows: Vec<Row>,
    /// All deployments of the site.
    pub(super) total: i64,
    pub(super) hostnames: Vec<(String, String)>,
    pub(super) facts: Vec<(&'static str, String)>,
    pub(super) command: String,
    pub(super) may_deploy: bool,
}

/// The live deployment on its sheet.
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub(super) seal: Markup,
    pub(super) number: i64,
    pub(super) href: String,
    pub(super) title: String,
    pub(super) text: String,
    pub(super) hash: String,
    pub(super) levels: Vec<LevelRow>,
}

/// All deployments of a site.
#[derive(Debug, Template)]
#[template(path = "sites/deployments.html")]
pub(super) struct SiteDeployments {
    pub(super) shell: Shell,
    pub(super) crumbs: Vec<Crumb>,
    pub(super) tabs: Vec<Tab>,
    pub(super) name: String,
    pub(super) lead: String,
    pub(super) rows: Vec<Row>,
    pub(super) pager: Pager,
    pub(super) may_deploy: bool,
}

/// Settings of a site, and its end.
#[derive(Debug, Template)]
#[template(path = "sites/settings.html")]
pub(super) struct SiteSettings {
    pub(super) shell: Shell,
    pub(super) crumbs: Vec<Crumb>,
    pub(super) tabs: Vec<Tab>,
    pub(super) name: String,
    pub(super) lead: String,
    pub(super) facts: Vec<(&'static str, String)>,
    /// What goes when the site is deleted.
    pub(super) consequence: String,
    pub(super) may_manage: bool,
}

/// The tabs of a site.
pub(super) fn tabs(name: &str, here: &str) -> Vec<Tab> {
    Tab::list(
        here,
        [
            ("Overview", format!("/sites/{name}")),
            ("Deployments", format!("/sites/{name}/deployments")),
            ("Hostnames", format!("/sites/{name}/hostnames")),
            ("Settings", format!("/sites/{name}/settings")),
        ],
    )
}
