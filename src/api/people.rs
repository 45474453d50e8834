//! `/api/v1/me`, `/users`, `/keys`: who calls, who else there is, and their keys.

use axum::{
    extract::{Path, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};

use super::{
    answer::{Answer, Page, done, json, ok},
    caller::{Caller, Json, ListQuery, Params},
};
use crate::{
    base::{clock::rfc3339, secret::Secret},
    domain::{Error, access::KeyScope, user::Grade},
    services::Services,
};

pub(super) async fn me(Caller(_, who): Caller) -> Answer {
    ok(&serde_json::json!({
        "email": who.user.email.as_str(),
        "tenant": who.tenant.name,
        "role": who.role.word(),
        "super_admin": who.user.super_admin,
        "key": who.key.map(|(name, scope)| serde_json::json!({"name": name, "scope": scope.word()})),
    }))
}

#[derive(Debug, Serialize)]
struct User {
    id: String,
    email: String,
    role: &'static str,
    disabled: bool,
    created_at: String,
}

pub(super) async fn list_users(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Params(query): Params<ListQuery>,
) -> Answer {
    let limit = query.limit()?;
    let found = services.list_users_after(&actor, query.after.as_deref().unwrap_or_default(), limit + 1).await?;
    let users = found.into_iter().map(|(user, grade)| User {
        id: user.id.to_string(),
        email: user.email.to_string(),
        role: grade.word(),
        disabled: user.disabled,
        created_at: rfc3339(user.created_ms),
    });
    ok(&Page::new(users.collect(), limit, |it: &User| it.email.clone()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewUser {
    email: String,
    role: String,
    password: Secret,
}

pub(super) async fn create_user(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Json(new): Json<NewUser>,
) -> Answer {
    let id = services.create_user(&actor, &new.email, Grade::parse(&new.role)?, new.password).await?;
    json(StatusCode::CREATED, &serde_json::json!({ "id": id.to_string() }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UserChanges {
    disabled: bool,
}

pub(super) async fn change_user(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Path(id): Path<String>,
    Json(changes): Json<UserChanges>,
) -> Answer {
    let id = id.parse().map_err(|_| Error::not_found("user"))?;
    services.change_user_disabled(&actor, id, changes.disabled).await?;
    done()
}

pub(super) async fn list_keys(State(services): State<Services>, Caller(actor, _): Caller) -> Answer {
    let keys = services.list_keys(&actor).await?;
    let items: Vec<_> = keys
        .iter()
        .map(|it| {
            serde_json::json!({
                "id": it.id.to_string(), "name": it.name, "hint": it.hint, "scope": it.scope.word(), "email": it.email,
                "created_at": rfc3339(it.created_ms), "used_at": it.used_ms.map(rfc3339),
                "expires_at": it.expires_ms.map(rfc3339),
            })
        })
        .collect();
    ok(&serde_json::json!({ "items": items, "next": null }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewKey {
    name: String,
    #[serde(default = "deploy")]
    scope: String,
    #[serde(default)]
    expires_at: Option<String>,
}

fn deploy() -> String {
    String::from("deploy")
}

pub(super) async fn create_key(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Json(new): Json<NewKey>,
) -> Answer {
    let read = |text: &String| {
        let wrong = || Error::invalid("expires_at", "Give the time as in 2027-01-31T00:00:00Z.").on("expires_at");
        text.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_millisecond).map_err(|_| wrong())
    };
    let expires_ms = new.expires_at.as_ref().map(read).transpose()?;
    let (id, key) = services.create_key(&actor, &new.name, KeyScope::parse(&new.scope)?, expires_ms).await?;
    json(StatusCode::CREATED, &serde_json::json!({ "id": id.to_string(), "key": key.expose() }))
}

pub(super) async fn revoke_key(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Path(id): Path<String>,
) -> Answer {
    services.revoke_key(&actor, id.parse().map_err(|_| Error::not_found("key"))?).await?;
    done()
}
