//! Hostnames of a site: those that it has, and one more.

use askama::Template;

use super::{
    form::Problems,
    shell::{Crumb, Shell, Tab},
};

/// The hostnames of a site.
#[derive(Debug, Template)]
#[template(path = "hostnames/hostnames.html")]
pub(super) struct Hostnames {
    pub(super) shell: Shell,
    pub(super) crumbs: Vec<Crumb>,
    pub(super) tabs: Vec<Tab>,
    pub(super) site: String,
    pub(super) lead: String,
    /// The address that every site has.
    pub(super) own: String,
    pub(super) own_url: String,
    pub(super) rows: Vec<HostnameRow>,
    /// What was typed.
    pub(super) hostname: String,
    pub(super) problems: Problems,
    pub(super) may_manage: bool,
}

/// A hostname that was added.
#[derive(Clone, Debug)]
pub(super) struct HostnameRow {
    pub(super) hostname: String,
    pub(super) url: String,
}
