//! Which right each call of the API and each address of the panel asks for. One that is not in these tables fails the test:
//! whoever adds a route says here who may use it, and it is tried with all those who may not.

use serde_json::Value;

use super::{
    api::Api,
    check_stores,
    tenants::{Things, body, calls, filled, scoped},
};
use crate::{
    panel,
    support::{Host, browser::Browser, http},
};

/// What a caller needs, from the least to the most. Each includes those before it, but for keys: their scope ends them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Needs {
    /// Nothing.
    Nobody,
    /// To be known: `Right::Read`.
    Read,
    /// `Right::Deploy` or `Right::CreateSites`: a key with the scope `deploy`.
    Deploy,
    /// `Right::ManageSites`, or a thing of the user's own: a key with the scope `all`.
    Own,
    /// `Right::ManageTenant`: an admin.
    Tenant,
    /// `Right::ManageServer`: a super admin.
    Server,
}

/// The calls of the API, below `/api/v1`.
const API: &[(&str, Needs)] = &[
    ("GET /me", Needs::Read),
    ("GET /users", Needs::Tenant),
    ("POST /users", Needs::Tenant),
    ("PATCH /users/{id}", Needs::Tenant),
    ("GET /keys", Needs::Read),
    ("POST /keys", Needs::Own),
    ("DELETE /keys/{id}", Needs::Own),
    ("GET /sites", Needs::Read),
    ("POST /sites", Needs::Deploy),
    ("GET /sites/{name}", Needs::Read),
    ("PATCH /sites/{name}", Needs::Own),
    ("DELETE /sites/{name}", Needs::Own),
    ("PUT /sites/{name}/hostnames/{hostname}", Needs::Own),
    ("DELETE /sites/{name}/hostnames/{hostname}", Needs::Own),
    ("GET /sites/{name}/settings", Needs::Read),
    ("PATCH /sites/{name}/settings", Needs::Own),
    ("GET /sites/{name}/firewall", Needs::Read),
    ("GET /sites/{name}/people", Needs::Read),
    ("PUT /sites/{name}/people/{user}", Needs::Own),
    ("DELETE /sites/{name}/people/{user}", Needs::Own),
    ("GET /sites/{name}/links", Needs::Read),
    ("POST /sites/{name}/links", Needs::Own),
    ("DELETE /sites/{name}/links/{link}", Needs::Own),
    ("GET /sites/{name}/traffic", Needs::Read),
    ("POST /sites/{name}/purge", Needs::Deploy),
    ("POST /sites/{name}/try", Needs::Read),
    ("POST /hostnames/{hostname}/check", Needs::Own),
    ("POST /sites/{name}/rollback", Needs::Deploy),
    ("GET /sites/{name}/deployments", Needs::Read),
    ("POST /sites/{name}/deployments", Needs::Deploy),
    ("PUT /sites/{name}/deployments", Needs::Deploy),
    ("GET /sites/{name}/deployments/{deployment}", Needs::Read),
    ("POST /sites/{name}/deployments/{deployment}/blobs", Needs::Deploy),
    ("POST /sites/{name}/deployments/{deployment}/finish", Needs::Deploy),
    ("POST /sites/{name}/deployments/{deployment}/publish", Needs::Deploy),
    ("GET /sites/{name}/deployments/{deployment}/files", Needs::Read),
    ("GET /sites/{name}/deployments/{deployment}/manifest", Needs::Read),
    ("GET /sites/{name}/deployments/{deployment}/bundle", Needs::Read),
    ("GET /sites/{name}/deployments/{deployment}/diff", Needs::Read),
    ("GET /sites/{name}/deployments/{deployment}/log", Needs::Read),
    ("GET /certificates", Needs::Read),
    ("POST /certificates", Needs::Own),
    ("DELETE /certificates/{id}", Needs::Own),
    ("GET /hostnames", Needs::Read),
    ("POST /hostnames/{hostname}/retry", Needs::Own),
    ("GET /bans", Needs::Read),
    ("POST /bans", Needs::Own),
    ("DELETE /bans/{id}", Needs::Own),
    ("GET /jobs", Needs::Read),
    ("GET /queues", Needs::Read),
    ("POST /queues/{queue}/pause", Needs::Server),
    ("POST /queues/{queue}/resume", Needs::Server),
    ("POST /queues/{queue}/drain", Needs::Server),
    ("POST /jobs/pause", Needs::Tenant),
    ("POST /jobs/resume", Needs::Tenant),
    ("POST /jobs/drain", Needs::Tenant),
    ("GET /schedules", Needs::Read),
    ("POST /schedules", Needs::Tenant),
    ("DELETE /schedules/{name}", Needs::Tenant),
    ("POST /schedules/{name}/pause", Needs::Tenant),
    ("POST /schedules/{name}/resume", Needs::Tenant),
    ("POST /schedules/{name}/run", Needs::Tenant),
    ("GET /tasks", Needs::Server),
    ("POST /tasks/{name}/run", Needs::Server),
    ("GET /jobs/{id}", Needs::Read),
    ("POST /jobs/{id}/rerun", Needs::Deploy),
    ("POST /jobs/{id}/cancel", Needs::Deploy),
    ("DELETE /jobs/{id}", Needs::Deploy),
    ("GET /audit", Needs::Tenant),
    ("GET /nodes", Needs::Server),
    ("POST /gc", Needs::Server),
];

/// The addresses of the panel, with those that everybody signed in may use, whatever their role, under `Read`.
const PANEL: &[(Needs, &[&str])] = &[
    (Needs::Nobody, &["/claim", "/sign-in", "/sign-out"]),
    (
        Needs::Read,
        &[
            "/",
            "/sites",
            "/sites/new",
            "/sites/{name}",
            "/sites/{name}/deploy",
            "/sites/{name}/settings",
            "/sites/{name}/settings/{section}",
            "/sites/{name}/settings/protection",
            "/sites/{name}/settings/proxy",
            "/sites/{name}/people",
            "/sites/{name}/people/{user}/remove",
            "/sites/{name}/links",
            "/sites/{name}/links/{link}/remove",
            "/sites/{name}/rules",
            "/sites/{name}/traffic",
            "/sites/{name}/purge",
            "/sites/{name}/take-down",
            "/sites/{name}/put-back",
            "/sites/{name}/delete",
            "/sites/{name}/hostnames",
            "/sites/{name}/hostnames/{hostname}/check",
            "/sites/{name}/hostnames/{hostname}/remove",
            "/sites/{name}/hostnames/{hostname}/retry",
            "/sites/{name}/deployments",
            "/sites/{name}/publish/{deployment}",
            "/sites/{name}/rollback/{deployment}",
            "/sites/{name}/deployments/{deployment}",
            "/sites/{name}/deployments/{deployment}/files",
            "/sites/{name}/deployments/{deployment}/diff",
            "/sites/{name}/deployments/{deployment}/log",
            "/sites/{name}/deployments/{deployment}/log.txt",
            "/sites/{name}/deployments/{deployment}/events",
            "/sites/{name}/deployments/{deployment}/proof",
            "/sites/{name}/deployments/{deployment}/proof/bundle",
            "/jobs",
            "/jobs/events",
            "/schedules",
            "/jobs/{id}/rerun",
            "/jobs/{id}/cancel",
            "/jobs/{id}/dismiss",
            "/settings",
            "/settings/theme",
            "/settings/keys",
            "/settings/keys/{id}/revoke",
            "/settings/certificates",
            "/settings/certificates/{id}/remove",
            "/settings/bans",
            "/settings/bans/{id}/remove",
            "/settings/sessions",
            "/settings/sessions/{id}/end",
            "/settings/password",
        ],
    ),
    (
        Needs::Tenant,
        &[
            "/audit-log",
            "/jobs/pause",
            "/jobs/resume",
            "/schedules/new",
            "/schedules/{name}/delete",
            "/schedules/{name}/pause",
            "/schedules/{name}/resume",
            "/schedules/{name}/run",
            "/settings/users",
            "/settings/users/{id}/disable",
            "/settings/users/{id}/enable",
        ],
    ),
    (
        Needs::Server,
        &[
            "/sites/{name}/watch",
            "/sites/{name}/watch/stop",
            "/jobs/queues/{queue}/pause",
            "/jobs/queues/{queue}/resume",
            "/tasks/{name}/run",
            "/storage",
            "/storage/clean",
            "/settings/nodes",
        ],
    ),
];

/// The address with names of what is not there: whoever may use it hears that, and changes nothing.
fn nowhere(path: &str) -> String {
    path.replace("{name}", "nowhere")
        .replace("{deployment}", "1")
        .replace("{hostname}", "nowhere.example.net")
        .replace("{queue}", "nowhere")
        .replace("{section}", "maintenance")
        .replace("{user}", "nowhere")
        .replace("{link}", "nowhere")
        .replace("{id}", &"0".repeat(32))
}

#[test]
fn each_call_of_the_api_asks_for_its_right() {
    let mut host = Host::start();
    let owner = Api::new(&host, &host.key("owner@example.org", "super-admin"));
    let things = Things::make(&host, &owner, "hello");
    let before = things.state(&owner);
    let all = [
        (Needs::Read, scoped(&host, &owner, "read")),
        (Needs::Deploy, scoped(&host, &owner, "deploy")),
        (Needs::Own, owner.with_key(&host.key("user@example.org", "user"))),
        (Needs::Tenant, owner.with_key(&host.key("admin@example.org", "admin"))),
        (Needs::Server, owner.clone()),
    ];
    let known = calls(&owner);
    assert_eq!(known.len(), API.len(), "the table has calls that are no more");
    for (method, path) in &known {
        let short = path.strip_prefix("/api/v1").unwrap();
        let needs = API.iter().find(|(call, _)| *call == format!("{method} {short}"));
        let needs = needs.unwrap_or_else(|| panic!("say in the table who may {method} {short}")).1;
        for (has, api) in &all {
            if *has < needs {
                let answer = api.call(&format!("{method} {}", things.path(path)), &body(method, path));
                assert_eq!(answer.status, 403, "{has:?} may {method} {path}: {}", answer.text());
            } else {
                let body: &[u8] = if method == "GET" { b"" } else { b"{}" };
                let answer = api.call(&format!("{method} {}", nowhere(path)), body);
                assert!(![0, 401, 403].contains(&answer.status), "{has:?} may not {method} {path}: {}", answer.text());
            }
        }
    }
    // Only a key opens the API: neither a session of the panel, which a browser would send by itself, nor a password.
    let browser = Browser::signed_in(&host, "owner@example.org");
    let basic = data_encoding::BASE64.encode(format!("owner@example.org:{}", crate::support::PASSWORD).as_bytes());
    for (method, path) in &known {
        let head = browser.head(method, &things.path(path));
        for more in [String::new(), format!("Authorization: Basic {basic}\r\n")] {
            let answer = http::ask(host.port, &format!("{head}{more}"), b"");
            assert_eq!(answer.status, 401, "{method} {path} {more}: {}", answer.text());
        }
    }
    drop(browser);
    // Users were added, as accounts that may call; nothing of theirs was changed.
    let after = things.state(&owner);
    assert_eq!((&after[0], owner.list("/api/v1/sites").len()), (&before[0], 1));
    check_stores(&mut host);
}

#[test]
fn each_address_of_the_panel_asks_for_its_right() {
    let mut host = Host::start();
    let owner = Api::new(&host, &host.key("owner@example.org", "super-admin"));
    let things = Things::make(&host, &owner, "hello");
    host.key("user@example.org", "user");
    host.key("admin@example.org", "admin");
    let before = owner.must("GET /api/v1/sites/hello", &Value::Null, 200);
    let mut all = [
        (Needs::Own, Browser::signed_in(&host, "user@example.org")),
        (Needs::Tenant, Browser::signed_in(&host, "admin@example.org")),
        (Needs::Server, Browser::signed_in(&host, "owner@example.org")),
    ];
    let mut seen = 0;
    for (method, path) in
        ["get", "post"].into_iter().flat_map(|it| panel::patterns(it).into_iter().map(move |at| (it, at)))
    {
        let needs = PANEL.iter().find(|(_, paths)| paths.contains(&&*path));
        let needs = needs.unwrap_or_else(|| panic!("say in the table who may {method} {path}")).0;
        seen += 1;
        // The board of jobs is a stream without an end; the first contact is everybody's.
        if needs == Needs::Nobody || path == "/jobs/events" {
            continue;
        }
        for (has, browser) in &mut all {
            let at = if *has < needs { things.path(&path) } else { nowhere(&path) };
            let answer = match (method, &*path) {
                ("get", _) => browser.get(&at),
                (_, "/sites/new" | "/sites/{name}/deploy") => browser.upload(&at, &[], None),
                // Whoever may would do it with a whole form.
                _ if *has < needs => browser.post(&at, &filled(&path, &things)),
                _ => browser.post(&at, ""),
            };
            if *has < needs {
                assert_eq!(answer.status, 403, "{has:?} may {method} {path}: {}", answer.text());
            } else {
                assert!(![0, 401, 403].contains(&answer.status), "{has:?} may not {method} {path}: {}", answer.text());
            }
        }
    }
    assert!(seen > 60, "{seen}");
    assert_eq!(owner.must("GET /api/v1/sites/hello", &Value::Null, 200), before);
    drop(all);
    check_stores(&mut host);
}
