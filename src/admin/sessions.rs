//! One's own sessions: where one is signed in, and how to end that.

use askama::Template;
use axum::extract::Path;

use super::{
    gate::Answer,
    settings,
    shell::{Notice, Place, Shell, Sign, Tab},
    visit::{Visit, go, show},
    words::{self, When},
};
use crate::domain::Error;

/// The sessions of who is signed in.
#[derive(Debug, Template)]
#[template(path = "settings/sessions.html")]
pub(super) struct Sessions {
    pub(super) shell: Shell,
    pub(super) tabs: Vec<Tab>,
    pub(super) lead: String,
    pub(super) rows: Vec<SessionRow>,
}

/// A session.
#[derive(Clone, Debug)]
pub(super) struct SessionRow {
    pub(super) id: String,
    /// `Firefox, Linux`
    pub(super) browser: String,
    pub(super) address: String,
    pub(super) began: When,
    pub(super) seen: When,
    /// Whether it is the one that looks at the page.
    pub(super) this: bool,
}

/// A browser's own words, short: `Firefox, Linux`. What is not known stays as it is, cut.
pub(super) fn browser(agent: &str) -> String {
    let known = |names: &[(&str, &'static str)]| names.iter().find(|(mark, _)| agent.contains(mark)).map(|it| it.1);
    // Order matters: most browsers also name those that came before them.
    let program = known(&[
        ("Edg/", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
        ("curl/", "curl"),
    ]);
    let system = known(&[
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Mac OS X", "macOS"),
        ("Windows", "Windows"),
        ("Linux", "Linux"),
    ]);
    match (program, system) {
        (Some(program), Some(system)) => format!("{program}, {system}"),
        (Some(one), None) | (None, Some(one)) => one.to_owned(),
        (None, None) if agent.trim().is_empty() => String::from("Unnamed browser"),
        (None, None) => agent.chars().take(40).collect(),
    }
}

/// One's sessions.
pub(super) async fn list(visit: Visit) -> Answer {
    let shell = visit.shell(Place::Settings).await?;
    let now = visit.now_ms();
    let found = visit.services.list_sessions(&visit.actor).await?;
    let count = words::count(i64::try_from(found.len()).unwrap_or(i64::MAX), "browser", "browsers");
    let mut rows: Vec<_> = found
        .into_iter()
        .map(|it| SessionRow {
            id: it.id.to_string(),
            browser: browser(&it.agent),
            address: it.address,
            began: When::at(it.created_ms, now),
            seen: When::at(it.seen_ms, now),
            this: Some(it.id) == visit.who.session,
        })
        .collect();
    rows.sort_by_key(|it| !it.this);
    show(&Sessions {
        tabs: settings::tabs(&shell, "Sessions"),
        shell,
        lead: format!("You are signed in with {count}."),
        rows,
    })
}

/// Ends another session of one's own.
pub(super) async fn end(visit: Visit, Path(id): Path<String>) -> Answer {
    let id = id.parse().map_err(|_| Error::not_found("session"))?;
    visit.services.end_session(&visit.actor, id).await?;
    go(&visit.services, "/settings/sessions", Some(Notice::SessionEnded))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_are_named_by_what_they_are() {
        let firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
        let edge = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36 Edg/140.0";
        assert_eq!(browser(firefox), "Firefox, Linux");
        assert_eq!(browser(edge), "Edge, Windows");
        assert_eq!(browser("curl/8.5.0"), "curl");
        assert_eq!(browser(" "), "Unnamed browser");
        assert_eq!(browser(&"ü".repeat(99)).chars().count(), 40);
    }
}
