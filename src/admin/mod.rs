//! The panel: pages and forms for people, rendered on the server, whole without JavaScript.
//!
//! One file a feature, with the same name as its folder under `templates/`: page structs of plain owned values, and the
//! handlers that fill them. Never writes SQL, never decides a right: `services` does both.

mod assets;
mod cookies;
mod form;
mod gate;
mod icons;
mod live;
mod markup;
mod nodes;
mod page;
mod seal;
mod shell;
mod visit;
mod words;

mod audit_log;
mod bans;
mod certificates;
mod claim;
mod deployments;
mod doctor;
mod error_pages;
mod hostnames;
mod jobs;
mod keys;
mod overview;
mod password;
mod questions;
mod schedules;
mod sessions;
mod settings;
mod sign_in;
mod sites;
mod storage;
mod users;

#[cfg(test)]
mod samples;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    middleware,
    routing::{get, post},
};

use self::gate::{Answer, Failure};
use crate::{base::limits, domain::Error, services::Services};

pub use self::error_pages::{asset, unavailable};

/// What handlers stand on.
#[derive(Clone, Debug)]
struct Panel {
    services: Services,
    /// When the panel began to answer.
    started_ms: i64,
}

/// The router of the panel: every address of its host that is not the API's. The caller has checked the host.
pub fn router(services: Services) -> Router {
    let panel = Panel { started_ms: services.clock.now_ms(), services };
    Router::new()
        .merge(uploads())
        .merge(settings_of_sites())
        .merge(pages().merge(kept()).layer(DefaultBodyLimit::max(limits::FORM_BODY_BYTES_MAX)))
        .fallback(elsewhere)
        .layer(middleware::from_fn_with_state(panel.clone(), gate::pass))
        .with_state(panel)
}

/// The forms that carry an archive; the services bound its size.
fn uploads() -> Router<Panel> {
    Router::new()
        .route("/sites/new", get(sites::new_form).post(sites::create))
        .route("/sites/{name}/deploy", get(deployments::deploy_form).post(deployments::deploy))
        .layer(DefaultBodyLimit::disable())
}

/// The forms of settings that have lists, which are as long as these may be.
fn settings_of_sites() -> Router<Panel> {
    Router::new()
        .route("/sites/{name}/settings/protection", get(sites::protection))
        .route("/sites/{name}/settings/proxy", get(sites::routes).post(sites::save_routes))
        .route("/sites/{name}/settings/{section}", post(sites::save))
        .layer(DefaultBodyLimit::max(limits::SITE_SETTINGS_FORM_BYTES_MAX))
}

/// Certificates and bans.
fn kept() -> Router<Panel> {
    Router::new()
        .route("/settings/certificates", get(certificates::list).post(certificates::upload))
        .route("/settings/certificates/{id}/remove", get(certificates::remove_question).post(certificates::remove))
        .route("/settings/bans", get(bans::list).post(bans::add))
        .route("/settings/bans/{id}/remove", post(bans::remove))
}

fn pages() -> Router<Panel> {
    let one = "/sites/{name}/deployments/{deployment}";
    let below = |path: &str| format!("{one}{path}");
    Router::new()
        .route("/", get(overview::overview))
        .route("/claim", get(claim::form).post(claim::claim))
        .route("/sign-in", get(sign_in::form).post(sign_in::sign_in))
        .route("/sign-out", post(sign_in::sign_out))
        .route("/sites", get(sites::list))
        .route("/sites/{name}", get(sites::site))
        .route("/sites/{name}/rules", get(sites::rules))
        .route("/sites/{name}/traffic", get(sites::traffic))
        .route("/sites/{name}/settings", get(sites::settings))
        .route("/sites/{name}/people", post(sites::add_person))
        .route("/sites/{name}/people/{user}/remove", get(sites::remove_person_question).post(sites::remove_person))
        .route("/sites/{name}/links", post(sites::add_link))
        .route("/sites/{name}/links/{link}/remove", get(sites::remove_link_question).post(sites::remove_link))
        .route("/sites/{name}/purge", post(sites::purge))
        .route("/sites/{name}/watch", post(sites::watch))
        .route("/sites/{name}/watch/stop", post(sites::stop_watching))
        .route("/sites/{name}/take-down", get(sites::take_down_question).post(sites::take_down))
        .route("/sites/{name}/put-back", get(sites::put_back_question).post(sites::put_back))
        .route("/sites/{name}/delete", get(sites::delete_question).post(sites::delete))
        .route("/sites/{name}/hostnames", get(hostnames::list).post(hostnames::add))
        .route("/sites/{name}/hostnames/{hostname}/check", get(doctor::check))
        .route("/sites/{name}/hostnames/{hostname}/retry", post(certificates::retry))
        .route("/sites/{name}/hostnames/{hostname}/remove", get(hostnames::remove_question).post(hostnames::remove))
        .route("/sites/{name}/deployments", get(sites::all_deployments))
        .route("/sites/{name}/publish/{deployment}", get(deployments::publish_question).post(deployments::publish))
        .route("/sites/{name}/rollback/{deployment}", get(deployments::roll_back_question).post(deployments::roll_back))
        .route(one, get(deployments::deployment))
        .route(&below("/files"), get(deployments::files))
        .route(&below("/diff"), get(deployments::diff))
        .route(&below("/log"), get(deployments::log))
        .route(&below("/log.txt"), get(deployments::log_text))
        .route(&below("/events"), get(deployments::events))
        .route(&below("/proof"), get(deployments::proof))
        .route(&below("/proof/bundle"), get(deployments::bundle))
        .route("/jobs", get(jobs::jobs))
        .route("/jobs/events", get(jobs::events))
        .route("/jobs/pause", post(jobs::pause_all))
        .route("/jobs/resume", post(jobs::resume_all))
        .route("/jobs/queues/{queue}/pause", post(jobs::pause))
        .route("/jobs/queues/{queue}/resume", post(jobs::resume))
        .route("/schedules", get(schedules::list))
        .route("/schedules/new", get(schedules::new_form).post(schedules::create))
        .route("/schedules/{name}/delete", get(schedules::delete_question).post(schedules::delete))
        .route("/schedules/{name}/pause", post(schedules::pause))
        .route("/schedules/{name}/resume", post(schedules::resume))
        .route("/schedules/{name}/run", post(schedules::run))
        .route("/tasks/{name}/run", post(schedules::run_task))
        .route("/jobs/{id}/rerun", post(jobs::rerun))
        .route("/jobs/{id}/cancel", post(jobs::cancel))
        .route("/jobs/{id}/dismiss", post(jobs::dismiss))
        .route("/audit-log", get(audit_log::audit_log))
        .route("/storage", get(storage::storage))
        .route("/storage/clean", post(storage::clean))
        .route("/settings", get(settings::general))
        .route("/settings/theme", post(settings::theme))
        .route("/settings/keys", get(keys::list).post(keys::create))
        .route("/settings/keys/{id}/revoke", get(keys::revoke_question).post(keys::revoke))
        .route("/settings/nodes", get(nodes::list))
        .route("/settings/sessions", get(sessions::list))
        .route("/settings/sessions/{id}/end", post(sessions::end))
        .route("/settings/password", get(password::form).post(password::change))
        .route("/settings/users", get(users::list).post(users::create))
        .route("/settings/users/{id}/disable", get(users::disable_question).post(users::disable))
        .route("/settings/users/{id}/enable", post(users::enable))
}

/// The files of the panel, and what is not there.
async fn elsewhere(request: Request) -> Answer {
    let path = request.uri().path();
    let asset = match path {
        "/favicon.ico" => assets::answer(assets::icon(), request.headers()),
        path if path.starts_with(assets::FOLDER) => assets::answer(path, request.headers()),
        _ => None,
    };
    match asset {
        Some(asset) => Ok(gate::ours(asset)),
        None => Err(Failure::from(Error::new(crate::domain::Kind::NotFound, "not_found", ""))),
    }
}
