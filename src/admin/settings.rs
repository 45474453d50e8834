//! Settings: how this browser shows the panel, and what this server is.

use askama::Template;

use super::shell::{Shell, Tab};

/// General settings.
#[derive(Debug, Template)]
#[template(path = "settings/general.html")]
pub(super) struct General {
    pub(super) shell: Shell,
    pub(super) tabs: Vec<Tab>,
    pub(super) lead: String,
    pub(super) facts: Vec<(&'static str, String)>,
}

/// The tabs of the settings; users only for who may manage them.
pub(super) fn tabs(shell: &Shell, here: &str) -> Vec<Tab> {
    let mut tabs = Tab::list(
        here,
        [
            ("General", String::from("/settings")),
            ("API keys", String::from("/settings/keys")),
            ("Sessions", String::from("/settings/sessions")),
        ],
    );
    if shell.manages_tenant {
        tabs.extend(Tab::list(here, [("Users", String::from("/settings/users"))]));
    }
    tabs
}
