//! The JSON API under `/api/v1`. Never writes SQL, never decides a right: `services` does both.
//!
//! [`ROUTES`] is the one list: the router and `/api/openapi.json` are made from it.

pub mod answer;
mod bans;
mod caller;
mod certificates;
mod deployments;
mod doctor;
mod edge;
mod jobs;
mod openapi;
mod people;
mod rules;
mod schedules;
mod schemas;
mod server;
mod site_guests;
mod site_settings;
mod sites;
mod traffic;
mod uploads;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    routing::{MethodRouter, delete, get, patch, post, put},
};

use crate::{domain::Error, services::Services};

/// One call: method, path, handler, what it does, and what it reads and answers, as [`openapi`] spells it.
struct Route {
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    handler: fn() -> MethodRouter<Services>,
    /// The handler's name, `sites::list`.
    #[cfg(test)]
    name: &'static str,
    /// Names of the parameters of the query.
    query: &'static str,
    /// The schema of the body, a media type, or nothing.
    body: &'static str,
    /// The status, and the schema of the answer: `[Site]` is a page of them.
    answer: &'static str,
}

macro_rules! routes {
    ($($method:ident $path:literal $handler:path, $summary:literal, ($($query:ident)*) $body:literal => $answer:literal;)*) => {
        &[$(Route {
            method: stringify!($method),
            path: $path,
            summary: $summary,
            handler: || $method($handler),
            #[cfg(test)]
            name: stringify!($handler),
            query: stringify!($($query)*),
            body: $body,
            answer: $answer,
        }),*]
    };
}

/// Every call of the API.
const ROUTES: &[Route] = routes! {
    get "/me" people::me, "Who the key belongs to", () "" => "200 Me";
    get "/users" people::list_users, "Users of the tenant, by e-mail", (limit after) "" => "200 [User]";
    post "/users" people::create_user, "Add a user", () "NewUser" => "201 Made";
    patch "/users/{id}" people::change_user, "Disable or enable a user", () "UserChanges" => "204";
    get "/keys" people::list_keys, "API keys", () "" => "200 [Key]";
    post "/keys" people::create_key, "Make an API key; its secret is shown once", () "NewKey" => "201 MadeKey";
    delete "/keys/{id}" people::revoke_key, "Revoke an API key", () "" => "204";
    get "/sites" sites::list, "Sites by name", (limit after) "" => "200 [Site]";
    post "/sites" sites::create, "Make a site; a key with the scope `deploy` may", () "NewSite" => "201 Site";
    get "/sites/{name}" sites::get, "One site", () "" => "200 Site";
    patch "/sites/{name}" sites::change, "Take a site down or put it back; deploy it from a folder on the server",
        () "Changes" => "200 Site";
    delete "/sites/{name}" sites::delete, "Delete a site with its deployments", () "" => "204";
    put "/sites/{name}/hostnames/{hostname}" sites::add_hostname, "Give a hostname to a site", () "" => "204";
    delete "/sites/{name}/hostnames/{hostname}" sites::remove_hostname, "Take a hostname from a site", () "" => "204";
    get "/sites/{name}/settings" site_settings::get, "What is set for a site, a section for each subject; what is not there is as by default",
        () "" => "200 SiteSettings";
    patch "/sites/{name}/settings" site_settings::change, "Change settings of a site by a merge patch (RFC 7396); null is the default again",
        () "application/merge-patch+json" => "200 SiteSettings";
    get "/sites/{name}/firewall" site_settings::firewall, "How many requests have fitted each rule of a site's firewall, as the server that answers counts",
        () "" => "200 Firewall";
    get "/sites/{name}/people" site_guests::list_people, "Who has a password for a protected site, by name",
        () "" => "200 [Person]";
    put "/sites/{name}/people/{user}" site_guests::put_person, "Give somebody a password for a protected site, or another one",
        () "Password" => "204";
    delete "/sites/{name}/people/{user}" site_guests::remove_person, "Take somebody's password for a protected site away", () "" => "204";
    get "/sites/{name}/links" site_guests::list_links, "Links that open a protected site, those that end first at the top",
        () "" => "200 [SiteLink]";
    post "/sites/{name}/links" site_guests::create_link, "Make a link that opens a protected site; its address is shown once",
        () "NewSiteLink" => "201 SiteLink";
    delete "/sites/{name}/links/{link}" site_guests::remove_link, "Take a link back", () "" => "204";
    get "/sites/{name}/traffic" traffic::get, "What visitors asked for, by `minute`, `hour` or `day` (`step`), with the span before",
        (from to step) "" => "200 Traffic";
    post "/sites/{name}/purge" edge::purge, "Have caches in front of the server purged: of addresses and tags, or of the whole site; the job that does it",
        () "Purge" => "202 Made";
    post "/sites/{name}/try" rules::attempt, "What an address of a site gives, and which of its rules says so",
        () "Try" => "200 Tried";
    post "/hostnames/{hostname}/check" doctor::check, "Look whether an authority would give a certificate for a hostname",
        () "" => "200 Check";
    post "/sites/{name}/rollback" deployments::roll_back, "Publish an earlier deployment",
        () "Rollback" => "200 Deployment";
    get "/sites/{name}/deployments" deployments::list, "Deployments, newest first",
        (limit after) "" => "200 [Deployment]";
    post "/sites/{name}/deployments" uploads::begin, "Begin a deployment from a list of files",
        () "Begin" => "201 Begun";
    put "/sites/{name}/deployments" uploads::archive, "Deploy a zip, tar, tar.gz or tar.zst archive",
        (publish message if_live allow_env) "*/*" => "202 Deployment";
    get "/sites/{name}/deployments/{deployment}" deployments::get, "One deployment, by number or id",
        () "" => "200 Deployment";
    post "/sites/{name}/deployments/{deployment}/blobs" uploads::blobs,
        "Send missing bytes in frames: SHA-256 (32 bytes), length (8 bytes, big endian), the bytes",
        () "application/octet-stream" => "200 Received";
    post "/sites/{name}/deployments/{deployment}/finish" uploads::finish, "End an upload and publish it",
        () "" => "200 Deployment";
    post "/sites/{name}/deployments/{deployment}/publish" deployments::publish, "Publish a deployment",
        () "Publish" => "200 Deployment";
    get "/sites/{name}/deployments/{deployment}/files" deployments::files, "Files of a deployment, by path",
        (limit after) "" => "200 [File]";
    get "/sites/{name}/deployments/{deployment}/manifest" deployments::manifest, "The exact bytes of its manifest",
        () "" => "200 Manifest";
    get "/sites/{name}/deployments/{deployment}/bundle" deployments::bundle, "Its proof bundle",
        () "" => "200 Bundle";
    get "/sites/{name}/deployments/{deployment}/diff" deployments::diff, "How it differs from another",
        (against) "" => "200 Diff";
    get "/sites/{name}/deployments/{deployment}/log" deployments::log, "Its log", () "" => "200 Log";
    get "/certificates" certificates::list, "Certificates that are kept, the newest first", () "" => "200 [Certificate]";
    post "/certificates" certificates::upload, "Give a certificate with its key; one for the same hostnames that was given before goes",
        () "NewCertificate" => "201 Certificate";
    delete "/certificates/{id}" certificates::delete, "Remove a certificate", () "" => "204";
    get "/hostnames" certificates::hostnames, "How it stands with the certificate of each hostname", () "" => "200 [HostnameCertificate]";
    post "/hostnames/{hostname}/retry" certificates::retry, "Have the authority asked for a hostname now", () "" => "204";
    get "/bans" bans::list, "Addresses and networks that get nothing of a site, or of any: those that people have shut out, then the newest first", (limit after) "" => "200 [Ban]";
    post "/bans" bans::add, "Shut an address or a network out of a site, or of all", () "BanWish" => "201 Ban";
    delete "/bans/{id}" bans::remove, "End a ban", () "" => "204";
    get "/jobs" jobs::list, "Jobs, newest first", (limit after queue state) "" => "200 [Job]";
    get "/queues" jobs::depths, "Counts of the queues, and how long their jobs took lately", () "" => "200 [Depth]";
    post "/queues/{queue}/pause" jobs::pause, "Start no more jobs of a queue; what runs goes on", () "" => "204";
    post "/queues/{queue}/resume" jobs::resume, "Start the jobs of a queue again", () "" => "204";
    post "/queues/{queue}/drain" jobs::drain, "Start no more jobs of a queue, and wait until none of it runs",
        () "Drain" => "200 Drained";
    post "/jobs/pause" jobs::pause_all, "Start no more jobs of the tenant, in any queue; what runs goes on",
        () "" => "204";
    post "/jobs/resume" jobs::resume_all, "Start the jobs of the tenant again", () "" => "204";
    post "/jobs/drain" jobs::drain_all, "Start no more jobs of the tenant, and wait until none of them runs",
        () "Drain" => "200 Drained";
    get "/schedules" schedules::list, "Schedules of the tenant by name, and how their last runs ended",
        () "" => "200 [Schedule]";
    post "/schedules" schedules::create, "Make a schedule", () "NewSchedule" => "201 Schedule";
    delete "/schedules/{name}" schedules::delete, "Delete a schedule; jobs that it has asked for stay", () "" => "204";
    post "/schedules/{name}/pause" schedules::pause, "Ask for no more jobs of a schedule", () "" => "204";
    post "/schedules/{name}/resume" schedules::resume, "Ask for them again, from its next time on", () "" => "204";
    post "/schedules/{name}/run" schedules::run, "Ask for its job now", () "" => "202 Made";
    get "/tasks" schedules::tasks, "What the server does by itself, how it ended last, and when it is next",
        () "" => "200 [Task]";
    post "/tasks/{name}/run" schedules::run_task, "Have a task look now", () "" => "204";
    get "/jobs/{id}" jobs::get, "One job", () "" => "200 Job";
    post "/jobs/{id}/rerun" jobs::rerun, "Run a failed or delayed job now", () "" => "204";
    post "/jobs/{id}/cancel" jobs::cancel, "Remove a job that has not started, or tell one that runs to end", () "" => "200 Cancelled";
    delete "/jobs/{id}" jobs::dismiss, "Remove an ended job from the list", () "" => "204";
    get "/audit" server::audit, "The audit log, newest first", (limit after) "" => "200 [Event]";
    get "/nodes" server::nodes, "Nodes that run this installation, and what only one of them may do",
        () "" => "200 Nodes";
    post "/gc" server::collect, "Remove blobs that nothing names, or say what would go", () "Collect" => "200 Garbage";
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
