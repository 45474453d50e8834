//! Users of the tenant: who may sign in, as what.

use askama::Template;
use axum::extract::Path;
use serde::Deserialize;

use super::{
    form::Problems,
    gate::Answer,
    questions::Question,
    settings,
    shell::{Crumb, Notice, Place, Shell, Sign, Tab},
    visit::{Fields, Visit, again, go, show},
    words::{self, Fact, When},
};
use crate::{
    base::secret::Secret,
    domain::{Error, Kind, Result, user::Grade},
};

/// The users, and the form for one more.
#[derive(Debug, Template)]
#[template(path = "settings/users.html")]
pub(super) struct Users {
    pub(super) shell: Shell,
    pub(super) tabs: Vec<Tab>,
    pub(super) lead: String,
    pub(super) rows: Vec<UserRow>,
    pub(super) email: String,
    pub(super) role: String,
    pub(super) problems: Problems,
}

/// A user.
#[derive(Clone, Debug)]
pub(super) struct UserRow {
    pub(super) id: String,
    pub(super) email: String,
    pub(super) grade: &'static str,
    pub(super) sign: Sign,
    pub(super) words: &'static str,
    pub(super) disabled: bool,
    pub(super) created: When,
    /// Whether it is who looks at the page.
    pub(super) this: bool,
}

async fn page(visit: &Visit, email: String, role: String, problems: Problems) -> Result<Users> {
    let shell = visit.shell(Place::Settings).await?;
    let now = visit.now_ms();
    let found = visit.services.list_users(&visit.actor).await?;
    let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let disabled = found.iter().filter(|(it, _)| it.disabled).count();
    let lead = match disabled {
        0 => format!("{} may sign in.", words::count(count(found.len()), "user", "users")),
        1 => format!("{}, one of them disabled.", words::count(count(found.len()), "user", "users")),
        many => format!("{}, {many} of them disabled.", words::count(count(found.len()), "user", "users")),
    };
    let rows = found.into_iter().map(|(user, grade)| UserRow {
        id: user.id.to_string(),
        email: user.email.to_string(),
        grade: grade_words(grade),
        sign: if user.disabled { Sign::Off } else { Sign::Ok },
        words: if user.disabled { "Disabled" } else { "May sign in" },
        disabled: user.disabled,
        created: When::at(user.created_ms, now),
        this: user.id == visit.who.user.id,
    });
    Ok(Users { tabs: settings::tabs(&shell, "Users"), rows: rows.collect(), shell, lead, email, role, problems })
}

fn grade_words(grade: Grade) -> &'static str {
    match grade.word() {
        "super-admin" => "super admin",
        word => word,
    }
}

/// The users.
pub(super) async fn list(visit: Visit) -> Answer {
    show(&page(&visit, String::new(), String::from("user"), Problems::none()).await?)
}

#[derive(Deserialize)]
pub(super) struct Sent {
    email: String,
    #[serde(default)]
    role: String,
    password: Secret,
}

/// Adds a user.
pub(super) async fn create(visit: Visit, Fields(sent): Fields<Sent>) -> Answer {
    let made = async {
        let grade = Grade::parse(&sent.role)?;
        visit.services.create_user(&visit.actor, &sent.email, grade, sent.password).await
    };
    match made.await {
        Ok(_) => go(&visit.services, "/settings/users", Some(Notice::UserAdded)),
        Err(error) if matches!(error.kind, Kind::Invalid | Kind::Conflict) => {
            let problems = Problems::of(&error, &["email", "password"]);
            again(&error, &page(&visit, sent.email, sent.role, problems).await?)
        }
        Err(error) => Err(error.into()),
    }
}

async fn disable_page(visit: &Visit, id: &str, problems: Problems) -> Result<Question> {
    let users = visit.services.list_users(&visit.actor).await?;
    let (user, grade) =
        users.into_iter().find(|(it, _)| it.id.to_string() == id).ok_or_else(|| Error::not_found("user"))?;
    Ok(Question {
        shell: visit.shell(Place::Settings).await?,
        crumbs: vec![Crumb::new("Settings", "/settings"), Crumb::new("Users", "/settings/users")],
        here: String::from("Disable"),
        title: format!("Disable {}?", user.email),
        text: vec![
            String::from("Their sessions end at once, they cannot sign in, and their keys are refused."),
            String::from("What they deployed stays. You can enable them again."),
        ],
        facts: vec![Fact::plain("Role", grade_words(grade))],
        keep: (String::from("Keep them enabled"), String::from("/settings/users")),
        act: (String::from("Disable the user"), format!("/settings/users/{id}/disable")),
        destroys: true,
        asked: None,
        typed: None,
        hidden: Vec::new(),
        problems,
    })
}

/// The question before a user is disabled.
pub(super) async fn disable_question(visit: Visit, Path(id): Path<String>) -> Answer {
    show(&disable_page(&visit, &id, Problems::none()).await?)
}

/// Disables a user.
pub(super) async fn disable(visit: Visit, Path(id): Path<String>) -> Answer {
    let user = id.parse().map_err(|_| Error::not_found("user"))?;
    match visit.services.change_user_disabled(&visit.actor, user, true).await {
        Ok(()) => go(&visit.services, "/settings/users", Some(Notice::UserDisabled)),
        Err(error) if error.kind == Kind::Conflict => {
            again(&error, &disable_page(&visit, &id, Problems::of(&error, &[])).await?)
        }
        Err(error) => Err(error.into()),
    }
}

/// Enables a user again.
pub(super) async fn enable(visit: Visit, Path(id): Path<String>) -> Answer {
    let user = id.parse().map_err(|_| Error::not_found("user"))?;
    visit.services.change_user_disabled(&visit.actor, user, false).await?;
    go(&visit.services, "/settings/users", Some(Notice::UserEnabled))
}
