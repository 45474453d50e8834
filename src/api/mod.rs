//! The JSON API under `/api/v1`. Never writes SQL, never decides a right: `services` does both.
//!
//! [`ROUTES`] is the one list: the router and `/api/openapi.json` are made from it.

pub mod answer;
mod caller;
mod deployments;
mod jobs;
mod openapi;
mod people;
mod server;
mod sites;
mod uploads;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    routing::{MethodRouter, delete, get, patch, post, put},
};

use crate::{domain::Error, services::Services};

/// One call: method, path, what it does, and its handler.
struct Route {
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    handler: fn() -> MethodRouter<Services>,
}

macro_rules! routes {
    ($($method:ident $path:literal $handler:path, $summary:literal;)*) => {
        &[$(Route {
            method: stringify!($method),
            path: $path,
            summary: $summary,
            handler: || $method($handler),
        }),*]
    };
}

/// Every call of the API.
const ROUTES: &[Route] = routes! {
    get "/me" people::me, "Who the key belongs to";
    get "/users" people::list_users, "Users of the tenant";
    post "/users" people::create_user, "Add a user";
    patch "/users/{id}" people::change_user, "Disable or enable a user";
    get "/keys" people::list_keys, "API keys";
    post "/keys" people::create_key, "Make an API key; its secret is shown once";
    delete "/keys/{id}" people::revoke_key, "Revoke an API key";
    get "/sites" sites::list, "Sites by name";
    post "/sites" sites::create, "Make a site";
    get "/sites/{name}" sites::get, "One site";
    patch "/sites/{name}" sites::change, "Take a site down or put it back; deploy it from a folder on the server";
    delete "/sites/{name}" sites::delete, "Delete a site with its deployments";
    put "/sites/{name}/hostnames/{hostname}" sites::add_hostname, "Give a hostname to a site";
    delete "/sites/{name}/hostnames/{hostname}" sites::remove_hostname, "Take a hostname from a site";
    post "/sites/{name}/rollback" deployments::roll_back, "Publish an earlier deployment";
    get "/sites/{name}/deployments" deployments::list, "Deployments, newest first";
    post "/sites/{name}/deployments" uploads::begin, "Begin a deployment from a list of files";
    put "/sites/{name}/deployments" uploads::archive, "Deploy a zip, tar.gz or tar.zst archive";
    get "/sites/{name}/deployments/{deployment}" deployments::get, "One deployment, by number or id";
    post "/sites/{name}/deployments/{deployment}/blobs" uploads::blobs, "Send missing bytes in frames";
    post "/sites/{name}/deployments/{deployment}/finish" uploads::finish, "End an upload and publish it";
    post "/sites/{name}/deployments/{deployment}/publish" deployments::publish, "Publish a deployment";
    get "/sites/{name}/deployments/{deployment}/files" deployments::files, "Files of a deployment";
    get "/sites/{name}/deployments/{deployment}/manifest" deployments::manifest, "The exact bytes of its manifest";
    get "/sites/{name}/deployments/{deployment}/bundle" deployments::bundle, "Its proof bundle";
    get "/sites/{name}/deployments/{deployment}/diff" deployments::diff, "How it differs from another";
    get "/sites/{name}/deployments/{deployment}/log" deployments::log, "Its log";
    get "/jobs" jobs::list, "Jobs, newest first";
    get "/queues" jobs::depths, "Counts of the queues";
    post "/queues/{queue}/pause" jobs::pause, "Start no more jobs of a queue; what runs goes on";
    post "/queues/{queue}/resume" jobs::resume, "Start the jobs of a queue again";
    get "/jobs/{id}" jobs::get, "One job";
    post "/jobs/{id}/rerun" jobs::rerun, "Run a failed or delayed job now";
    post "/jobs/{id}/cancel" jobs::cancel, "Remove a job that has not started";
    delete "/jobs/{id}" jobs::dismiss, "Remove an ended job from the list";
    get "/audit" server::audit, "The audit log, newest first";
    post "/gc" server::collect, "Remove blobs that nothing names, or say what would go";
};

/// The router of `/api`.
pub fn router(services: Services) -> Router {
    let mut calls = Router::new();
    for route in ROUTES {
        calls = calls.route(route.path, (route.handler)());
    }
    Router::new()
        .nest("/api/v1", calls)
        .route("/api/openapi.json", get(openapi::document))
        .fallback(|| async { answer::Failure::from(Error::not_found("call of the API; see /api/openapi.json")) })
        // Each way to send a body has its own limit.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn(answer::finish))
        .with_state(services)
}
