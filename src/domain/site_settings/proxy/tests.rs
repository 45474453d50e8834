//! Upstreams and routes as people write them, and who may.

use super::*;

#[test]
fn upstreams_are_read_and_written() {
    for (text, authority, inside) in [
        ("http://127.0.0.1:3000", "127.0.0.1:3000", true),
        ("http://localhost:3000", "localhost:3000", true),
        ("http://10.0.0.9", "10.0.0.9", true),
        ("http://[::1]:3000", "[::1]:3000", true),
        ("http://9.9.9.9", "9.9.9.9", false),
        ("https://app.example.org", "app.example.org", false),
        ("https://app.example.org:8443", "app.example.org:8443", false),
        ("http://my_app:80", "my_app", false),
        ("unix:/run/app.sock", "localhost", true),
        ("fastcgi://127.0.0.1:9000", "127.0.0.1:9000", true),
        ("fastcgi://9.9.9.9:9000", "9.9.9.9:9000", true),
        ("fastcgi+unix:/run/php/php-fpm.sock", "localhost", true),
    ] {
        let upstream = Upstream::parse(text).unwrap();
        assert_eq!((upstream.authority().as_str(), upstream.is_inside()), (authority, inside), "{text}");
        assert_eq!(Upstream::parse(&upstream.to_string()), Ok(upstream), "{text}");
    }
    assert_eq!(Upstream::parse("unix:///run/a.sock"), Upstream::parse("unix:/run/a.sock"));
    assert_eq!(
        Upstream::parse("HTTP://a"),
        Err(String::from(
            "begins with `HTTP://`, and there are http://, https://, unix:, fastcgi:// and fastcgi+unix:"
        ))
    );
    for (text, word) in [
        ("127.0.0.1:3000", "http:// in front"),
        ("ftp://a.example", "there are http://"),
        ("http://a.example/x", "has a path"),
        ("http://u:p@a.example", "a password"),
        ("http://a.example:0", "from 1 to 65535"),
        ("http://a.example:+1", "from 1 to 65535"),
        ("http://a.example:70000", "from 1 to 65535"),
        ("http://::1", "brackets"),
        ("http://[::1", "brackets"),
        ("http://[::1]x", "between"),
        ("http://[a.example]", "name or an address"),
        ("http://", "name or an address"),
        ("http://a b", "name or an address"),
        ("http://a..b", "name or an address"),
        ("http://127.1", "name or an address"),
        ("http://2130706433", "name or an address"),
        ("http://0x7f000001", "name or an address"),
        ("http://127.0.0.0x1", "name or an address"),
        ("unix:run/app.sock", "whole path"),
        ("unix:/run/", "whole path"),
        ("fastcgi://php", "has no port"),
    ] {
        let why = Upstream::parse(text).unwrap_err();
        assert!(why.contains(word), "{text}: {why}");
    }
}

fn check(change: impl FnOnce(&mut Route)) -> String {
    let mut route = Route::new("/api/", &["http://127.0.0.1:3000"]);
    change(&mut route);
    Proxy { routes: vec![route] }.check().map_or_else(|error| error.message, |()| String::from("right"))
}

#[test]
fn what_is_wrong_is_said_with_its_key() {
    let health =
        |path: &str| Health { path: path.to_owned(), every_s: 10, timeout_s: 5, status: None, fails: 2, passes: 1 };
    assert_eq!(check(|_| ()), "right");
    assert_eq!(check(|it| it.path = String::from("/")), "right");
    assert_eq!(check(|it| it.path = String::from("/\u{fc}ber")), "right");
    assert_eq!(check(|it| it.health = Some(health("/up?x=1"))), "right");
    for (said, words) in [
        (check(|it| it.path = String::from("api")), ["`proxy.routes[0].path`", "begins with `/`"]),
        (check(|it| it.path = String::from("/a/*")), ["`proxy.routes[0].path`", "all below it"]),
        (check(|it| it.path = String::from("/a//b")), ["`proxy.routes[0].path`", "empty part"]),
        (check(|it| it.path = String::from("/a/../b")), ["`proxy.routes[0].path`", "`..`"]),
        (check(|it| it.path = String::from("/a%20")), ["`proxy.routes[0].path`", "`%`"]),
        (check(|it| it.path = "/a".repeat(300)), ["`proxy.routes[0].path`", "512"]),
        (check(|it| it.to.clear()), ["`proxy.routes[0].to`", "1 to 32"]),
        (check(|it| it.to.push(String::from("x"))), ["`proxy.routes[0].to[1]`", "`x` does not say"]),
        (check(|it| it.to.push(String::from("http://127.0.0.1:3000/"))), ["`proxy.routes[0].to[1]`", "twice"]),
        (check(|it| it.to.push(String::from("fastcgi://a:1"))), ["`proxy.routes[0].to`", "two routes"]),
        (check(|it| it.to = vec![String::from("fastcgi://a:1")]), ["`proxy.routes[0].root`", "FastCGI needs"]),
        (check(|it| it.root = Some(String::from("/var"))), ["`proxy.routes[0].root`", "Leave it out"]),
        (
            check(|it| (it.to, it.root) = (vec![String::from("fastcgi://a:1")], Some(String::from("/var/../etc")))),
            ["`proxy.routes[0].root`", "whole path"],
        ),
        (check(|it| it.timeout_s.idle = 0), ["`proxy.routes[0].timeout_s.idle`", "from 1"]),
        (check(|it| it.failing.for_s = 90_000), ["`proxy.routes[0].failing.for_s`", "86400"]),
        (check(|it| it.health = Some(health("up"))), ["`proxy.routes[0].health.path`", "begins with `/`"]),
        (check(|it| it.health = Some(Health { every_s: 4, ..health("/") })), ["health.every_s`", "from 5"]),
        (check(|it| it.health = Some(Health { timeout_s: 61, ..health("/") })), ["health.timeout_s`", "1 to 60"]),
        (check(|it| it.health = Some(Health { status: Some(99), ..health("/") })), ["health.status`", "from 200"]),
        (check(|it| it.tls.server_name = Some(String::from("a.example"))), ["`proxy.routes[0].tls`", "https://"]),
        (
            check(|it| {
                (it.to, it.tls.server_name) = (vec![String::from("https://a.example")], Some(String::from("a b")));
            }),
            ["`proxy.routes[0].tls.server_name`", "no certificate"],
        ),
        (
            check(|it| (it.to, it.tls.ca) = (vec![String::from("https://a.example")], Some(String::from("x")))),
            ["`proxy.routes[0].tls.ca`", "PEM"],
        ),
    ] {
        assert!(words.iter().all(|it| said.contains(it)), "{said}");
    }
    let many = |count: u8| {
        let to: Vec<String> = (0..count).map(|it| format!("http://10.0.0.{it}")).collect();
        let to: Vec<&str> = to.iter().map(String::as_str).collect();
        let route = |at: usize, to: &[&str]| Route { health: Some(health("/")), ..Route::new(&format!("/{at}"), to) };
        Proxy { routes: to.chunks(32).enumerate().map(|(at, to)| route(at, to)).collect() }.check()
    };
    assert!(many(64).is_ok());
    assert!(many(65).unwrap_err().message.contains("64 servers"));
    let twice =
        Proxy { routes: vec![Route::new("/a", &["http://a.example"]), Route::new("/a/", &["http://b.example"])] };
    assert!(twice.check().unwrap_err().message.contains("`proxy.routes[1].path`"));
}

#[test]
fn only_who_manages_the_server_leads_inside() {
    let none = Proxy::default();
    let of = |to: &str, inside| Proxy { routes: vec![Route { inside, ..Route::new("/", &[to]) }] };
    let local = "http://127.0.0.1:3000";
    let public = "https://app.example.org";
    let granted =
        |wanted: &Proxy, before: &Proxy, may| wanted.granted(before, may, &|_| false).map(|it| it.routes[0].inside);
    assert_eq!(granted(&of(local, None), &none, true).unwrap(), Some(true));
    assert_eq!(granted(&of(public, None), &none, true).unwrap(), Some(true));
    assert_eq!(granted(&of(public, Some(false)), &none, true).unwrap(), Some(false));
    assert_eq!(granted(&of(public, None), &none, false).unwrap(), Some(false));
    for to in [local, "unix:/run/x.sock", "http://localhost", "http://169.254.169.254", "http://[::ffff:127.0.0.1]:80"]
    {
        let error = granted(&of(to, None), &none, false).unwrap_err();
        assert!(error.message.contains("`proxy.routes[0].to`"), "{to}: {}", error.message);
    }
    assert!(granted(&of(public, Some(true)), &none, false).unwrap_err().message.contains("inside"));
    let admits = |it: IpAddr| it.is_loopback();
    assert_eq!(of(local, None).granted(&none, false, &admits).unwrap().routes[0].inside, Some(false));
    assert!(of("unix:/run/x.sock", None).granted(&none, false, &admits).is_err());
    assert!(of("fastcgi://127.0.0.1:9000", None).granted(&none, false, &admits).is_err());
    // What somebody else has let in stays as it is, and nothing else with it.
    let before = of(local, Some(true));
    assert_eq!(granted(&of(local, None), &before, false).unwrap(), Some(true));
    assert_eq!(granted(&before, &before, false).unwrap(), Some(true));
    assert!(granted(&of("http://127.0.0.1:3001", Some(true)), &before, false).is_err());
    let before = of(public, Some(false));
    assert!(granted(&of(public, Some(true)), &before, false).is_err());
    assert_eq!(granted(&of(public, Some(true)), &before, true).unwrap(), Some(true));
}

#[test]
fn a_document_has_only_what_was_set() {
    let proxy: Proxy = serde_json::from_str(
        r#"{"routes":[{"path":"/api/","to":["http://127.0.0.1:3000"],"timeout_s":{"idle":900},"health":{"path":"/up"}}]}"#,
    )
    .unwrap();
    assert_eq!(proxy.routes[0].timeout_s, Timeouts { idle: 900, ..Timeouts::default() });
    assert_eq!(proxy.routes[0].health.as_ref().map(|it| (it.every_s, it.fails)), Some((10, 2)));
    let short = Proxy { routes: vec![Route::new("/", &["http://a.example"])] };
    assert_eq!(serde_json::to_string(&short).unwrap(), r#"{"routes":[{"path":"/","to":["http://a.example"]}]}"#);
    let error = serde_json::from_str::<Proxy>(r#"{"routes":[{"to":[],"strip":true}]}"#).unwrap_err();
    assert!(error.to_string().contains("unknown field `strip`"), "{error}");
}
