//! The whole server: who may set which upstreams, what visitors get then, and what the figures say.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
};

use serde_json::{Value, json};

use crate::{
    faults::{api::Api, tenants::move_to_tenant},
    support::{Host, dns::Names, http},
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
