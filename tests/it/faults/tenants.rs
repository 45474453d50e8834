//! Every call of the API and every address of the panel with what belongs to another tenant, and every call with keys of
//! too narrow a scope.
//!
//! Nothing makes a second tenant yet, so the test writes one into the database of a stopped server.

use std::collections::BTreeSet;

use chainhost::{
    base::{clock::Clock, ids::Ids},
    params,
};
use serde_json::{Value, json};

use super::{
    api::{Api, Wish},
    change, check_stores, version, whole_site,
};
use crate::{
    panel,
    support::{
        Host,
        browser::{Browser, form},
    },
};

/// A call of the API: method and path with its names in braces.
pub(super) type Call = (String, String);

/// Every call that the server says it has.
pub(super) fn calls(api: &Api) -> Vec<Call> {
    let document = api.must("GET /api/openapi.json", &Value::Null, 200);
    let mut all = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            all.push((method.to_uppercase(), path.clone()));
        }
    }
    assert!(all.len() >= 30, "{all:?}");
    all
}

/// A body that the call would take.
pub(super) fn body(method: &str, path: &str) -> Vec<u8> {
    let body = match (method, path.strip_prefix("/api/v1").unwrap()) {
        ("POST", "/users") => json!({"email": "new@example.org", "role": "user", "password": crate::support::PASSWORD}),
        ("PATCH", "/users/{id}") => json!({ "disabled": true }),
        ("POST", "/keys") => json!({ "name": "new", "scope": "all" }),
        ("POST", "/bans") => json!({ "network": "192.0.2.7", "site": "harbour" }),
        ("POST", "/certificates") => json!({ "chain": "", "key": "" }),
        ("POST", "/sites") => json!({ "name": "new" }),
        ("PATCH", "/sites/{name}") => json!({ "taken_down": "because" }),
        ("POST", "/sites/{name}/deployments") => json!({ "files": [["/a", 1, "0".repeat(64)]] }),
        ("PUT", "/sites/{name}/deployments") => return tar_of_one(),
        ("POST", "/schedules") => json!({ "name": "new", "cron": "@daily", "kind": "check_files" }),
        ("POST", "/sites/{name}/try") => json!({ "url": "/" }),
        ("PUT", "/sites/{name}/people/{user}") => json!({ "password": crate::support::PASSWORD }),
        ("POST", "/sites/{name}/rollback") => json!({ "to": "1" }),
        ("POST", _) => json!({}),
        _ => return Vec::new(),
    };
    body.to_string().into_bytes()
}

fn tar_of_one() -> Vec<u8> {
    let mut out = tar::Builder::new(Vec::new());
    let mut head = tar::Header::new_gnu();
    head.set_size(4);
    head.set_mode(0o644);
    out.append_data(&mut head, "index.html", &b"mine"[..]).unwrap();
    zstd::encode_all(&*out.into_inner().unwrap(), 1).unwrap()
}

/// What a tenant has, by the names of the braces.
pub(super) struct Things {
    site: String,
    deployment: String,
    hostname: String,
    user: String,
    key: String,
    job: String,
    /// The session of the user in the panel.
    session: String,
}

impl Things {
    /// Makes a site with two deployments, a hostname and what comes with them.
    pub(super) fn make(host: &Host, api: &Api, site: &str) -> Self {
        api.must("POST /api/v1/sites", &json!({ "name": site }), 201);
        api.deploy_version(site, 1);
        let deployment = api.deploy_version(site, 2)["id"].as_str().unwrap().to_owned();
        let hostname = format!("{site}.example.net");
        api.must(&format!("PUT /api/v1/sites/{site}/hostnames/{hostname}"), &Value::Null, 204);
        let job = host.until("its job", || {
            let jobs = api.must("GET /api/v1/jobs?state=done", &Value::Null, 200);
            let title = format!("Compress {site} 2");
            let jobs = jobs["items"].as_array().unwrap();
            jobs.iter().find(|it| it["title"] == *title).map(|it| it["id"].as_str().unwrap().to_owned())
        });
        let id = |path: &str| api.list(path)[0]["id"].as_str().unwrap().to_owned();
        let (user, key) = (id("/api/v1/users"), id("/api/v1/keys"));
        Self { site: site.to_owned(), deployment, hostname, user, key, job, session: String::from("no-session") }
    }

    /// The path with these things in its braces.
    pub(super) fn path(&self, path: &str) -> String {
        let id = match path {
            _ if path.contains("/users/") => &self.user,
            _ if path.contains("/keys/") => &self.key,
            _ if path.contains("/sessions/") => &self.session,
            _ => &self.job,
        };
        let path = path.replace("{name}", &self.site).replace("{deployment}", &self.deployment);
        let path = path.replace("{hostname}", &self.hostname).replace("{id}", id).replace("{queue}", "deploy");
        let path = path.replace("{user}", "ada").replace("{link}", "abcdefgh").replace("{section}", "maintenance");
        assert!(!path.contains('{'), "{path}");
        if path.ends_with("/diff") { format!("{path}?against=1") } else { path }
    }

    /// Words that nobody else may read.
    fn secrets(&self) -> [&str; 7] {
        [&self.site, &self.deployment, &self.hostname, &self.user, &self.key, &self.job, &self.session]
    }

    /// All that the API tells about them, but for when the key was used and the seals of events, which come a little later.
    pub(super) fn state(&self, api: &Api) -> Vec<Value> {
        let mut all = vec![api.must(&format!("GET /api/v1/sites/{}", self.site), &Value::Null, 200)];
        let deployments = format!("/api/v1/sites/{}/deployments", self.site);
        for path in ["/api/v1/users", "/api/v1/keys", "/api/v1/audit", &deployments] {
            all.extend(api.list(path));
        }
        all.push(api.must(&format!("GET /api/v1/jobs/{}", self.job), &Value::Null, 200));
        for it in &mut all {
            for later in ["used_at", "seq", "hash"] {
                it.as_object_mut().unwrap().remove(later);
            }
        }
        all
    }
}

/// Moves a user with their keys to a tenant of their own.
pub(crate) fn move_to_tenant(host: &mut Host, email: &str, tenant: &str) {
    assert_eq!(host.stop(), Some(0));
    let id = Ids::new(Clock::system()).next();
    change(host, "INSERT INTO tenant (id, name, created_ms) VALUES ($1, $2, 1)", params![id, tenant].to_vec());
    for sql in [
        "UPDATE membership SET tenant_id = $1 WHERE user_id = (SELECT id FROM \"user\" WHERE email = $2)",
        "UPDATE api_key SET tenant_id = $1 WHERE user_id = (SELECT id FROM \"user\" WHERE email = $2)",
    ] {
        change(host, sql, params![id, email].to_vec());
    }
    host.restart();
}

#[test]
fn what_is_anothers_is_not_there_by_any_call() {
    let mut host = Host::start();
    let owner = Api::new(&host, &host.key("owner@example.org", "super-admin"));
    let thief = owner.with_key(&host.key("thief@example.net", "admin"));
    move_to_tenant(&mut host, "thief@example.net", "other");
    owner.moved(&host);
    assert_eq!(thief.must("GET /api/v1/me", &Value::Null, 200)["tenant"], "other");
    let theirs = Things::make(&host, &owner, "harbour");
    let mine = Things::make(&host, &thief, "burglar");
    let before = theirs.state(&owner);

    for (method, path) in calls(&thief) {
        let body = body(&method, &path);
        let call = |at: &str| thief.call(&format!("{method} {at}"), &body);
        if path.contains('{') {
            let mut tried = BTreeSet::from([theirs.path(&path)]);
            // Their deployment on my site, my deployment on theirs, their hostname on mine.
            let mixed = Things { site: mine.site.clone(), ..Things { ..theirs.clone_ids() } };
            tried.insert(mixed.path(&path));
            let mixed = Things { site: theirs.site.clone(), ..mine.clone_ids() };
            tried.insert(mixed.path(&path));
            for at in tried {
                let harmless = at == mine.path(&path)
                    || (at.contains(&mine.site) && !at.contains(&theirs.deployment) && !at.contains(&theirs.hostname));
                let is_mine = !theirs.secrets().iter().any(|it| at.contains(*it));
                if harmless || is_mine {
                    continue;
                }
                let answer = call(&at);
                let adds_hostname = method == "PUT" && path.ends_with("{hostname}") && at.contains(&mine.site);
                // A name that is in use may not be given, whoever has it; all else of others is not there.
                // Tasks are the server's, and nobody's of these.
                let of_server = path.contains("/tasks/");
                let wanted = if adds_hostname {
                    409
                } else if of_server {
                    403
                } else {
                    404
                };
                assert_eq!(answer.status, wanted, "{method} {at}: {}", answer.text());
                let told = answer.text().replace(&at, "");
                assert!(
                    !theirs.secrets()[1..].iter().any(|it| !at.contains(*it) && told.contains(*it)),
                    "{at}: {told}"
                );
            }
        } else if method == "GET" {
            let answer = call(&path);
            assert!([200, 403].contains(&answer.status), "{method} {path}: {}", answer.text());
            for secret in theirs.secrets().into_iter().chain(["owner@example.org"]) {
                assert!(!answer.text().contains(secret), "{path} tells {secret}: {}", answer.text());
            }
        }
    }
    assert_eq!(thief.call("POST /api/v1/gc", b"{}").status, 403);
    let taken = thief.call("POST /api/v1/sites", json!({ "name": "harbour" }).to_string().as_bytes());
    assert_eq!(taken.status, 409);
    assert_eq!(thief.call("PATCH /api/v1/sites/burglar", br#"{"watch_folder":"/etc"}"#).status, 403);
    let wide = json!({ "email": "big@example.net", "role": "super-admin", "password": crate::support::PASSWORD });
    assert_eq!(thief.call("POST /api/v1/users", wide.to_string().as_bytes()).status, 403);

    // The same bytes in another's store save nobody the sending.
    let begun = thief.begin("burglar", &[(String::from("x"), version(2)[9].1.clone())], &Wish::default()).json();
    assert_eq!(begun["missing"].as_array().unwrap().len(), 0, "my own version 2 has it");
    owner.deploy_version("harbour", 9);
    let begun = thief.begin("burglar", &[(String::from("x"), version(9)[9].1.clone())], &Wish::default()).json();
    assert_eq!(begun["missing"].as_array().unwrap().len(), 1);
    owner.must("POST /api/v1/sites/harbour/rollback", &json!({ "to": "2" }), 200);

    let after = theirs.state(&owner);
    assert_eq!(after[0]["live"]["id"], before[0]["live"]["id"]);
    assert_eq!((&after[0]["taken_down"], &after[0]["hostnames"]), (&Value::Null, &json!(["harbour.example.net"])));
    assert!(
        before.iter().filter(|it| it["kind"].is_string()).all(|it| after.iter().any(|other| other["id"] == it["id"]))
    );
    assert_eq!(whole_site(host.port, "harbour"), 2);
    check_stores(&mut host);
}

impl Things {
    fn clone_ids(&self) -> Self {
        Self {
            site: self.site.clone(),
            deployment: self.deployment.clone(),
            hostname: self.hostname.clone(),
            user: self.user.clone(),
            key: self.key.clone(),
            job: self.job.clone(),
            session: self.session.clone(),
        }
    }
}

/// A form that the address would take.
pub(super) fn filled(path: &str, things: &Things) -> String {
    match path {
        "/sites/{name}/delete" => form(&[("confirm", &things.site)]),
        "/sites/{name}/take-down" => form(&[("reason", "because")]),
        "/sites/{name}/hostnames" => form(&[("hostname", "more.example.net")]),
        "/settings/users" => {
            form(&[("email", "new@example.org"), ("role", "user"), ("password", crate::support::PASSWORD)])
        }
        "/schedules/new" => {
            form(&[("name", "new"), ("kind", "check_files"), ("cron", "@daily"), ("zone", "UTC"), ("missed", "once")])
        }
        "/sites/{name}/settings/{section}" => form(&[("maintenance.on", "on")]),
        "/sites/{name}/people" => form(&[("name", "ada"), ("password", crate::support::PASSWORD)]),
        "/sites/{name}/links" => form(&[("days", "7")]),
        "/sites/{name}/watch" => form(&[("folder", "/srv/site")]),
        _ => String::new(),
    }
}

#[test]
fn what_is_anothers_is_not_there_in_the_panel() {
    let mut host = Host::start();
    let owner = Api::new(&host, &host.key("owner@example.org", "super-admin"));
    let thief = owner.with_key(&host.key("thief@example.net", "admin"));
    move_to_tenant(&mut host, "thief@example.net", "other");
    owner.moved(&host);
    let mut theirs = Things::make(&host, &owner, "lighthouse");
    let mine = Things::make(&host, &thief, "burglar");
    let mut at_home = Browser::signed_in(&host, "owner@example.org");
    theirs.session = other_session(&mut Browser::signed_in(&host, "owner@example.org"));
    let before = theirs.state(&owner);
    let mut burglar = Browser::signed_in(&host, "thief@example.net");
    assert!(burglar.page("/sites").contains("burglar"));

    for (method, pattern) in
        ["get", "post"].into_iter().flat_map(|it| panel::patterns(it).into_iter().map(move |at| (it, at)))
    {
        if pattern.contains("{queue}") || ["/sign-out", "/claim", "/sign-in"].contains(&&*pattern) {
            continue;
        }
        if !pattern.contains('{') {
            // What they may not see at all, or a page of their own.
            if method == "get" && pattern != "/jobs/events" {
                let answer = burglar.get(&pattern);
                assert!([200, 403].contains(&answer.status), "{pattern}: {}", answer.text());
                for secret in theirs.secrets().into_iter().chain(["owner@example.org"]) {
                    assert!(!answer.text().contains(secret), "{pattern} tells {secret}");
                }
            }
            continue;
        }
        // All of theirs; their deployment or hostname on my site; mine on theirs.
        let on_mine = Things { site: mine.site.clone(), ..theirs.clone_ids() };
        let on_theirs = Things { site: theirs.site.clone(), ..mine.clone_ids() };
        let tried: BTreeSet<String> = [&theirs, &on_mine, &on_theirs].map(|it| it.path(&pattern)).into();
        for at in tried.into_iter().filter(|at| theirs.secrets().iter().any(|it| at.contains(*it))) {
            let answer = match (method, &*pattern) {
                ("get", _) => burglar.get(&at),
                (_, "/sites/{name}/deploy") => burglar.upload(&at, &[("message", "mine")], Some(&tar_of_one())),
                _ => burglar.post(&at, &filled(&pattern, &theirs)),
            };
            // Watched folders and tasks are rights over the server, which are asked for first.
            let of_server =
                pattern.ends_with("/watch") || pattern.ends_with("/watch/stop") || pattern.starts_with("/tasks/");
            let wanted = if of_server { 403 } else { 404 };
            assert_eq!(answer.status, wanted, "{method} {at}: {}", answer.text());
            let told = answer.text().replace(&at, "");
            assert!(!theirs.secrets().iter().any(|it| !at.contains(*it) && told.contains(*it)), "{at}: {told}");
        }
    }
    assert_eq!(theirs.state(&owner), before, "something of theirs was changed");
    assert_eq!(at_home.get("/sites/lighthouse").status, 200, "their session was ended");
    assert_eq!(whole_site(host.port, "lighthouse"), 2);
    drop((at_home, burglar));
    check_stores(&mut host);
}

/// The id of the user's other session.
fn other_session(browser: &mut Browser<'_>) -> String {
    let page = browser.page("/settings/sessions");
    page.split_once("/settings/sessions/").unwrap().1.split_once('/').unwrap().0.to_owned()
}

/// A key of this scope of the owner.
pub(super) fn scoped(host: &Host, api: &Api, scope: &str) -> Api {
    let made = host.admin(&["create-key", "--email", "owner@example.org", "--scope", scope], "");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    api.with_key(String::from_utf8(made.stdout).unwrap().trim())
}

#[test]
fn a_key_does_what_its_scope_says_and_no_more() {
    let mut host = Host::start();
    let owner = Api::new(&host, &host.key("owner@example.org", "super-admin"));
    let things = Things::make(&host, &owner, "hello");
    let (reading, deploying) = (scoped(&host, &owner, "read"), scoped(&host, &owner, "deploy"));
    let before = things.state(&owner);
    for (method, path) in calls(&owner) {
        let (at, body) = (things.path(&path), body(&method, &path));
        let status = |api: &Api| {
            let answer = api.call(&format!("{method} {at}"), &body);
            assert_ne!(answer.status, 0, "{method} {at} was not answered");
            answer.status
        };
        let manages = ["/users", "/audit", "/nodes", "/tasks"].iter().any(|it| path.ends_with(it));
        match &*method {
            "GET" if manages => assert_eq!((status(&reading), status(&deploying)), (403, 403), "{path}"),
            "GET" => assert_eq!((status(&reading), status(&deploying)), (200, 200), "{path}"),
            // It asks, and changes nothing.
            "POST" if path.ends_with("/try") => {
                assert_eq!((status(&reading), status(&deploying)), (200, 200), "{path}");
            }
            _ => {
                assert_eq!(status(&reading), 403, "a read key may {method} {path}");
                // Deploying, making the site for it, publishing, rolling back, purging caches, and the jobs of that.
                let deploys = path.contains("/deployments")
                    || path.ends_with("/sites")
                    || path.ends_with("/rollback")
                    || path.ends_with("/purge")
                    || path.contains("/jobs/");
                if !deploys {
                    assert_eq!(status(&deploying), 403, "a deploy key may {method} {path}");
                }
            }
        }
    }
    assert_eq!(things.state(&owner), before, "a refused call changed something");
    deploying.deploy_version("hello", 3);
    deploying.must("POST /api/v1/sites/hello/rollback", &json!({}), 200);
    assert_eq!(whole_site(host.port, "hello"), 2);
    check_stores(&mut host);
}
