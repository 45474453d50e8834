//! One's own password: the present one, and the new one twice.

use askama::Template;
use serde::Deserialize;

use super::{
    form::Problems,
    gate::Answer,
    settings,
    shell::{Notice, Place, Shell, Tab},
    visit::{Fields, Visit, again, go, show},
};
use crate::{
    base::secret::Secret,
    domain::{Error, Kind, Result},
};

/// The form.
#[derive(Debug, Template)]
#[template(path = "settings/password.html")]
pub(super) struct Password {
    pub(super) shell: Shell,
    pub(super) tabs: Vec<Tab>,
    pub(super) problems: Problems,
}

async fn page(visit: &Visit, problems: Problems) -> Result<Password> {
    let shell = visit.shell(Place::Settings).await?;
    Ok(Password { tabs: settings::tabs(&shell, "Password"), shell, problems })
}

/// The form.
pub(super) async fn form(visit: Visit) -> Answer {
    show(&page(&visit, Problems::none()).await?)
}

#[derive(Deserialize)]
pub(super) struct Sent {
    present: Secret,
    password: Secret,
    again: Secret,
}

/// Changes it.
pub(super) async fn change(visit: Visit, Fields(sent): Fields<Sent>) -> Answer {
    let done = if sent.password.expose() == sent.again.expose() {
        visit.services.change_own_password(&visit.actor, sent.present, sent.password).await
    } else {
        // Nothing is lost by a slip, and there is no other way to see what was typed.
        Err(Error::invalid("password_again", "The two new passwords differ. Type the new one twice.").on("again"))
    };
    match done {
        Ok(0) => go(&visit.services, "/settings/password", Some(Notice::PasswordChanged)),
        Ok(_) => go(&visit.services, "/settings/password", Some(Notice::PasswordChangedSessionsEnded)),
        Err(error) if matches!(error.kind, Kind::Invalid | Kind::TooMany) => {
            let field = error.field.is_some_and(|it| matches!(it, "present" | "password" | "again"));
            let problems = if field {
                Problems::of(&error, &["present", "password", "again"])
            } else {
                Problems::with("present", error.message.clone())
            };
            again(&error, &page(&visit, problems).await?)
        }
        Err(error) => Err(error.into()),
    }
}
