//! The whole server: who may set which upstreams, what visitors get then, and what the figures say.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
};

use serde_json::{Value, json};

use crate::{
    faults::{api::Api, tenants::move_to_tenant},
    support::{Host, dns::Names, http, write_files},
};

/// An upstream that answers each connection with a word, for as long as the test runs.
fn upstream(word: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            drop(stream.read(&mut [0; 4_096]));
            let length = word.len();
            drop(write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{word}"));
        }
    });
    port
}

fn routes(to: &str) -> Value {
    json!({ "proxy": { "routes": [{ "path": "/api", "to": [to] }] } })
}

#[test]
fn who_manages_the_server_leads_a_site_inside_and_others_do_not() {
    let mut host = Host::start();
    let owner = Api::new(&host, &host.key("owner@example.org", "super-admin"));
    let tenant = owner.with_key(&host.key("tenant@example.net", "admin"));
    move_to_tenant(&mut host, "tenant@example.net", "other");
    owner.moved(&host);
    let port = upstream("from inside");
    let inside = format!("http://127.0.0.1:{port}");
    owner.must("POST /api/v1/sites", &json!({ "name": "shop" }), 201);
    let set = owner.must("PATCH /api/v1/sites/shop/settings", &routes(&inside), 200);
    assert_eq!(set["proxy"]["routes"][0]["inside"], true, "{set}");
    let answer = host.get("shop.localhost", "/api/x");
    assert_eq!((answer.status, answer.text().as_str()), (200, "from inside"));
    assert_eq!(host.get("shop.localhost", "/").status, 404, "the rest is the site's");

    tenant.must("POST /api/v1/sites", &json!({ "name": "other" }), 201);
    for to in [inside.as_str(), "http://localhost:1", "unix:/run/app.sock", "http://169.254.169.254", "http://[::1]:1"]
    {
        let refused = tenant.must("PATCH /api/v1/sites/other/settings", &routes(to), 403);
        assert!(refused["detail"].as_str().unwrap().contains("`proxy.routes[0].to`"), "{to}: {refused}");
    }
    let mut claimed = routes("http://9.9.9.9");
    claimed["proxy"]["routes"][0]["inside"] = json!(true);
    tenant.must("PATCH /api/v1/sites/other/settings", &claimed, 403);
    let php = json!({ "proxy": { "routes": [{ "to": ["fastcgi://9.9.9.9:9000"], "root": "/etc" }] } });
    tenant.must("PATCH /api/v1/sites/other/settings", &php, 403);
    let wrong = tenant.must("PATCH /api/v1/sites/other/settings", &routes("9.9.9.9"), 400);
    assert!(wrong["detail"].as_str().unwrap().contains("write http:// in front of it"), "{wrong}");

    // What was set is served after a restart, without anybody setting it again.
    host.stop();
    host.restart();
    assert_eq!(host.get("shop.localhost", "/api").text(), "from inside");
    let figures = http::ask(host.port, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n", b"").text();
    for line in [
        "chainhost_proxy_requests_total{site=\"shop\",outcome=\"answered\"} 1",
        &format!("chainhost_proxy_upstream_healthy{{site=\"shop\",upstream=\"{inside}\"}} 1"),
    ] {
        assert!(figures.contains(line), "{line} in\n{figures}");
    }
}

/// A name that somebody else has written leads to a private address only where the operator lets it.
#[test]
fn a_name_is_looked_up_and_its_address_checked() {
    let names = Names::start();
    names.a("app.example.net", "127.0.0.1");
    for (settings, status) in [("", 502), ("[outgoing]\nallow = [\"127.0.0.0/8\"]\n", 200)] {
        let mut host = Host::start_resolving(&names.address(), settings, &[]);
        let owner = Api::new(&host, &host.key("owner@example.org", "super-admin"));
        let tenant = owner.with_key(&host.key("tenant@example.net", "admin"));
        move_to_tenant(&mut host, "tenant@example.net", "other");
        owner.moved(&host);
        let to = format!("http://app.example.net:{}", upstream("inside"));
        owner.must("POST /api/v1/sites", &json!({ "name": "shop" }), 201);
        owner.must("PATCH /api/v1/sites/shop/settings", &routes(&to), 200);
        assert_eq!(host.get("shop.localhost", "/api").text(), "inside", "{settings}");
        tenant.must("POST /api/v1/sites", &json!({ "name": "other" }), 201);
        tenant.must("PATCH /api/v1/sites/other/settings", &routes(&to), 200);
        assert_eq!(host.get("other.localhost", "/api").status, status, "{settings}");
    }
}

/// Rules of a deployment lead where a tenant's routes may lead, and come and go with it.
#[test]
fn rules_of_a_deployment_lead_outside_and_follow_what_is_live() {
    let names = Names::start();
    names.a("api.example.net", "127.0.0.1");
    let port = upstream("from elsewhere");
    for (settings, status) in [("", 502), ("[outgoing]\nallow = [\"127.0.0.0/8\"]\n", 200)] {
        let host = Host::start_resolving(&names.address(), settings, &[]);
        let key = host.key("owner@example.org", "super-admin");
        let folder = host.beside("site");
        let deploy = |rules: &str| {
            write_files(
                &folder,
                &[("index.html", b"front"), ("api/file", b"a file"), ("_redirects", rules.as_bytes())],
            );
            host.cli(&key, &["deploy", folder.to_str().unwrap(), "--site", "hello", "--create", "--json"])
        };
        let got = |path: &str| host.get("hello.localhost", path).status;
        assert!(deploy("").status.success());
        assert_eq!(got("/api/x"), 404);
        let rules = format!("# passes on\n/api/* http://api.example.net:{port}/:splat 200\n");
        assert!(deploy(&rules).status.success());
        host.until("the second is live", || (got("/api/x") == status).then_some(()));
        assert_eq!(got("/api/file"), 200);
        if status == 200 {
            assert_eq!(host.get("hello.localhost", "/api/x?a=b").text(), "from elsewhere");
        }

        let asked = json!({ "url": "/api/x?a=b" }).to_string();
        let tried = host.api_json(&key, "POST /api/v1/sites/hello/try", &asked, 200);
        let to = format!("http://api.example.net:{port}/x?a=b");
        assert_eq!((&tried["passed_on"], &tried["status"], &tried["step"]), (&json!(to), &Value::Null, &json!("rule")));
        let because = format!(
            "`/api/x` is passed on to `{to}`, because of line 2 of _redirects: that server answers, and nothing of its answer is part of the proof."
        );
        assert_eq!(tried["because"], because);
        let out = host.cli(&key, &["sites", "try", "hello", "/api/x?a=b"]);
        let shown = String::from_utf8(out.stdout).unwrap();
        assert!(shown.starts_with(&format!("/api/x?a=b \u{2192} {to}\n")), "{shown}");

        assert!(host.cli(&key, &["rollback", "--site", "hello"]).status.success());
        host.until("the first is live again", || (got("/api/x") == 404).then_some(()));

        // An address that nobody is let to is refused with what to do instead.
        for server in ["http://10.1.2.3:8080", "http://[::1]:1", "http://localhost:1"] {
            let out = deploy(&format!("/api/* {server}/:splat 200\n"));
            let said = [out.stdout, out.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            let is_allowed = status == 200 && server.contains("localhost");
            assert_eq!(out.status.success(), is_allowed, "{server}: {said}");
            let route = format!(
                r#"proxy.routes=[{{"path":"/api/","to":["{server}"],"host":"upstream","files_first":true,"strip_prefix":true}}]"#
            );
            assert!(is_allowed || said.contains("rules lead to public addresses alone"), "{said}");
            assert!(is_allowed || said.replace("\\\"", "\"").contains(&route), "{said}");
            if !is_allowed {
                let set = host.cli(&key, &["sites", "settings", "hello", &route]);
                assert!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));
            }
        }
    }
}
