//! `chainhost doctor` with a real server and a name server that says what the test wants: by the command, the API and the panel.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    thread,
};

use serde_json::{Value, json};

use crate::support::{Host, browser::Browser, dns::Names, free_port};

const OWNER: &str = "owner@example.org";

/// A server that authorities would ask at `port` of 127.0.0.1, where it listens if `listens`; 127.0.0.2 is its own address as well,
/// by its settings.
fn server(names: &Names, port: u16, listens: bool) -> Host {
    let settings = format!(
        "public_addresses = ['127.0.0.2']\n[outgoing]\nallow = ['127.0.0.0/8']\n[doctor]\nhttp_port = {port}\n"
    );
    let also = format!("127.0.0.1:{port}");
    let arguments: &[&str] = if listens { &["--listen", &also] } else { &[] };
    Host::start_resolving(&names.address(), &settings, arguments)
}

/// A key of the owner, with a site `shop` that has these hostnames.
fn with_site(host: &Host, hostnames: &[&str]) -> String {
    let key = host.key(OWNER, "super-admin");
    host.api_json(&key, "POST /api/v1/sites", &json!({ "name": "shop" }).to_string(), 201);
    for hostname in hostnames {
        host.api_json(&key, &format!("PUT /api/v1/sites/shop/hostnames/{hostname}"), "", 204);
    }
    key
}

/// Exit code, and what it printed.
fn doctor(host: &Host, key: &str, hostname: &str) -> (Option<i32>, String) {
    let out = host.cli(key, &["doctor", hostname]);
    let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    (out.status.code(), said)
}

/// The codes of findings that are not good, by the API.
fn complaints(host: &Host, key: &str, hostname: &str) -> Vec<String> {
    let check = host.api_json(key, &format!("POST /api/v1/hostnames/{hostname}/check"), "", 200);
    let findings = check.get("findings").unwrap().as_array().unwrap().iter();
    let word = |it: &Value, key: &str| it.get(key).unwrap().as_str().unwrap().to_owned();
    findings.filter(|it| word(it, "level") != "good").map(|it| word(it, "code")).collect()
}

/// Answers every connection with these bytes, for as long as the test runs.
fn another_program(address: &str, port: u16, answer: &'static [u8]) {
    let listener = TcpListener::bind((address, port)).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // A client that asks nothing is answered all the same.
            drop(stream.read(&mut [0; 4_096]));
            drop(stream.write_all(answer));
        }
    });
}

#[test]
fn a_hostname_that_is_ready_is_told_to_be() {
    let names = Names::start();
    let port = free_port();
    let host = server(&names, port, true);
    let key = with_site(&host, &["www.shop.com", "alias.shop.com"]);
    names.a("www.shop.com", "127.0.0.1");
    names.cname("alias.shop.com", "www.shop.com");
    names.caa("shop.com", "issue", "letsencrypt.org");
    for hostname in ["www.shop.com", "alias.shop.com"] {
        let (code, said) = doctor(&host, &key, hostname);
        assert_eq!(code, Some(0), "{said}\n{}", host.log());
        assert!(said.contains(&format!("✓ {hostname} belongs to the site shop.\n")), "{said}");
        assert!(said.contains(&format!("✓ Port {port} of 127.0.0.1 is answered by this server")), "{said}");
        assert!(said.contains("✓ The CAA records of shop.com allow Let's Encrypt.\n"), "{said}");
        assert!(said.ends_with(&format!("Nothing stands in the way of a certificate for {hostname}.\n")), "{said}");
    }
    let check = host.cli_json(&key, &["doctor", "WWW.Shop.com.", "--json"]);
    assert_eq!(
        (&check["ready"], &check["level"], &check["hostname"]),
        (&json!(true), &json!("good"), &json!("www.shop.com"))
    );
    // The panel shows the same, and its page of hostnames leads there.
    let mut browser = Browser::signed_in(&host, OWNER);
    let path = "/sites/shop/hostnames/www.shop.com/check";
    assert!(browser.page("/sites/shop/hostnames").contains(&format!("href=\"{path}\"")));
    let page = browser.page(path);
    assert!(page.contains("Nothing stands in the way of a certificate.") && !page.contains("What to change"), "{page}");
    assert_eq!(browser.get("/sites/shop/hostnames/other.shop.com/check").status, 404);
    drop(browser);
    // Whoever asks for the word gets another answer for each nonce and host, and none for what is no nonce.
    let here = |host_name: &str, nonce: &str| host.get(host_name, &format!("/.well-known/chainhost/here/{nonce}"));
    let told = here("www.shop.com", "abc");
    assert_eq!((told.status, told.body.len(), told.header("cache-control")), (200, 64, Some("no-store")));
    assert_eq!(told.body, here("www.shop.com", "abc").body);
    for other in [here("www.shop.com", "abd"), here("unknown.com", "abc"), here("localhost", "abc")] {
        assert!(other.status == 200 && other.body != told.body, "{}", other.text());
    }
    for wrong in ["", "a/b", "a.b", &"a".repeat(65)] {
        assert_ne!(here("www.shop.com", wrong).status, 200, "{wrong}");
    }
}

#[test]
fn what_stands_in_the_way_is_said() {
    let names = Names::start();
    let port = free_port();
    let host = server(&names, port, true);
    let all = ["elsewhere", "ipv6", "private", "nginx", "nat", "caa", "servfail", "gone", "none", "ready", "another"];
    let hostnames: Vec<String> = all.iter().map(|it| format!("{it}.shop.com")).collect();
    let key = with_site(&host, &hostnames.iter().map(String::as_str).collect::<Vec<_>>());
    for name in ["ipv6", "caa", "ready", "unknown"] {
        names.a(&format!("{name}.shop.com"), "127.0.0.1");
    }
    names.a("elsewhere.shop.com", "127.0.0.9");
    names.aaaa("ipv6.shop.com", "fd00::9");
    names.a("private.shop.com", "10.1.2.3");
    names.a("nginx.shop.com", "127.0.0.2");
    names.caa("caa.shop.com", "issue", "ca.example");
    names.servfail("servfail.shop.com");
    names.cname("gone.shop.com", "gone.host.net");
    let other = Host::start_with(&["--listen", &format!("127.0.0.4:{port}")]);
    names.a("another.shop.com", "127.0.0.4");
    assert_eq!(complaints(&host, &key, "nginx.shop.com"), ["nat_unseen"], "nobody listens there yet");
    another_program("127.0.0.2", port, b"HTTP/1.1 404 Not Found\r\nServer: nginx/1.22\r\nContent-Length: 0\r\n\r\n");
    for (name, wanted, sentence) in [
        (
            "elsewhere",
            "a_elsewhere",
            "leads to 127.0.0.9, where this server does not answer: change it to 127.0.0.1 or",
        ),
        ("ipv6", "address_not_public", "leads to fd00::9, a private address"),
        ("private", "address_not_public", "leads to 10.1.2.3, a private address"),
        ("nginx", "other_server", "nginx/1.22 answers on port"),
        ("caa", "caa_forbids", "add `caa.shop.com CAA 0 issue \"letsencrypt.org\"`"),
        ("servfail", "dns_servfail", "fail when they are asked for servfail.shop.com"),
        ("gone", "cname_dangling", "is an alias (CNAME) of gone.host.net, which has no address"),
        ("none", "dns_no_address", "has no address: add an A record with 127.0.0.1"),
        ("another", "other_chainhost", "Another installation of Chain Host answers"),
        ("unknown", "host_unknown", "No site of yours answers under unknown.shop.com"),
    ] {
        let hostname = format!("{name}.shop.com");
        assert_eq!(complaints(&host, &key, &hostname), [wanted], "{hostname}");
        let (code, said) = doctor(&host, &key, &hostname);
        assert_eq!(code, Some(1), "{hostname}: {said}");
        let first = said.lines().next().unwrap();
        assert!(first.starts_with("✗ ") && first.contains(sentence), "{hostname}: {said}");
        assert!(!said.contains("Nothing stands in the way"), "{said}");
    }
    assert_eq!(complaints(&host, &key, "ready.shop.com"), [""; 0]);
    let out = host.cli(&key, &["doctor", "caa.shop.com", "--json"]);
    let check: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((out.status.code(), &check["ready"], &check["level"]), (Some(1), &json!(false), &json!("problem")));
    assert_eq!(check["summary"], check["findings"][0]["text"]);
    let mut browser = Browser::signed_in(&host, OWNER);
    let page = browser.page("/sites/shop/hostnames/caa.shop.com/check");
    assert!(page.contains("What to change") && page.contains("No certificate would come"), "{page}");
    drop(browser);
    drop(other);
    // What cannot be a hostname is wrong usage.
    assert_eq!(doctor(&host, &key, "shop").0, Some(2));
    let (code, said) = doctor(&host, &key, "*.shop.com");
    assert!(code == Some(1) && said.contains("check one of them, as in www.shop.com."), "{code:?} {said}");
}

#[test]
fn a_port_where_nobody_listens_is_said_and_so_is_that_no_name_server_answers() {
    let names = Names::start();
    let port = free_port();
    let host = server(&names, port, false);
    let key = with_site(&host, &["www.shop.com"]);
    names.a("www.shop.com", "127.0.0.1");
    let (code, said) = doctor(&host, &key, "www.shop.com");
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.starts_with(&format!("✗ Nothing listens on port {port} of 127.0.0.1: add \":{port}\" to `listen`")),
        "{said}"
    );
    assert!(said.contains(&format!("seen: A 127.0.0.1, port {port}: closed")), "{said}");
    another_program("127.0.0.1", port, b"SSH-2.0-OpenSSH_9.2\r\n");
    assert_eq!(complaints(&host, &key, "www.shop.com"), ["port_not_http"]);
    drop(names);
    assert_eq!(complaints(&host, &key, "www.shop.com"), ["dns_no_server"]);
    // A look costs others something, so that there is an end to them.
    let limited = (0..60).find_map(|_| {
        let answer = host.api(&key, "POST /api/v1/hostnames/www.shop.com/check", b"");
        (answer.status != 200).then_some(answer)
    });
    let limited = limited.expect("there is no limit");
    assert_eq!((limited.status, limited.json()["code"].as_str()), (429, Some("checks")));
}
