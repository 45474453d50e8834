//! API keys of who is signed in. The secret is shown once, on the page that answers its making.

use askama::Template;

use super::{
    form::Problems,
    shell::{Shell, Tab},
    words::When,
};

/// The keys, and the form for one more.
#[derive(Debug, Template)]
#[template(path = "settings/keys.html")]
pub(super) struct Keys {
    pub(super) shell: Shell,
    pub(super) tabs: Vec<Tab>,
    pub(super) lead: String,
    pub(super) rows: Vec<KeyRow>,
    pub(super) name: String,
    pub(super) scope: String,
    pub(super) days: String,
    pub(super) problems: Problems,
}

/// A key.
#[derive(Clone, Debug)]
pub(super) struct KeyRow {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) hint: String,
    /// `deploy`, `read`, `all` in words.
    pub(super) may: &'static str,
    /// Whose, when it is another's.
    pub(super) owner: String,
    pub(super) used: Option<When>,
    pub(super) ends: Option<When>,
}

/// The one page that shows a secret.
#[derive(Debug, Template)]
#[template(path = "settings/key_created.html")]
pub(super) struct KeyCreated {
    pub(super) shell: Shell,
    pub(super) tabs: Vec<Tab>,
    pub(super) name: String,
    pub(super) may: &'static str,
    pub(super) secret: String,
    pub(super) command: String,
}
