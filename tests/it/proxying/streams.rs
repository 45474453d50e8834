//! WebSockets by HTTP/2, each on a stream of its own (RFC 8441).

use std::collections::HashMap;

use chainhost::serve::bans::Ban;
use http_body_util::Empty;
use hyper::{
    client::conn::http2::SendRequest,
    ext::Protocol,
    upgrade::{self, Upgraded},
};
use sha1_smol::Sha1;

use super::{
    upgrade::{ECHO, Socket, counted, put, use_up},
    *,
};
use crate::web;

type Two = SendRequest<Empty<Bytes>>;
type OnStream = Socket<TokioIo<Upgraded>>;

/// A connection by HTTP/2 that has been told that it may ask so.
async fn two(web: &Web) -> Two {
    web::http_2_with_websockets(web.address, &web.tasks).await
}

/// A request for a protocol at a path.
fn asking(protocol: &'static str, path: &str, headers: &[(&str, &str)]) -> Request<Empty<Bytes>> {
    let headers = [&[("sec-websocket-version", "13")], headers].concat();
    let mut request = web::request("CONNECT", &format!("http://site.test{path}"), &headers);
    request.extensions_mut().insert(Protocol::from_static(protocol));
    request
}

/// The status of an answer, and what of its head counts here.
async fn asked(two: &mut Two, request: Request<Empty<Bytes>>) -> (u16, HashMap<String, String>) {
    let answer = timeout(PATIENCE, two.send_request(request)).await.unwrap().unwrap();
    let headers = answer.headers().iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    (answer.status().as_u16(), headers.collect())
}

async fn open(two: &mut Two, path: &str, headers: &[(&str, &str)]) -> OnStream {
    let answer = timeout(PATIENCE, two.send_request(asking("websocket", path, headers))).await.unwrap().unwrap();
    assert_eq!(answer.status(), 200, "{:?}", answer.headers());
    for name in ["connection", "upgrade", "sec-websocket-accept", "content-length"] {
        assert!(!answer.headers().contains_key(name), "{name}");
    }
    Socket(TokioIo::new(timeout(PATIENCE, upgrade::on(answer)).await.unwrap().unwrap()))
}

fn active(web: &Web) -> usize {
    web.plane.proxied().iter().flat_map(|it| &it.upstreams).map(|it| it.2).next().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_passes_on_a_stream_beside_others() {
    let node = Node::start(ECHO).await;
    let web = Web::with(Limits { idle: Duration::from_millis(400), ..Limits::default() });
    show(&web, &json!([{ "to": [node.url()] }]), &[]);
    let mut two = two(&web).await;
    let mut socket = open(&mut two, "/chat", &[]).await;
    socket.echoes("hello").await;
    // Longer than a connection without requests may last.
    sleep(Duration::from_millis(900)).await;
    socket.echoes("still").await;
    // What it is asked by HTTP/1.1 is answered by others of the same connection.
    let answer = two.send_request(web::get("http://site.test/", &[])).await.unwrap();
    let said: Value = serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap();
    assert_eq!(said["via"], "2 chainhost", "{said}");
    let mut second = open(&mut two, "/other", &[("sec-websocket-key", "bm90IGhlYXJkIG9mIQ==")]).await;
    second.echoes("second").await;
    show(&web, &json!([{ "to": [node.url()], "body_bytes_max": 7 }]), &[]);
    socket.echoes("here").await;
    assert_eq!(active(&web), 2);
    drop(socket);
    until("one is gone", || active(&web) == 1).await;
    second.echoes("end").await;
    drop(second);
    until("nobody is there", || active(&web) == 0).await;
    until("the connection is idle, and ends", || two.is_closed()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_on_a_stream_is_traffic_and_ends_when_it_is_used_up() {
    let node = Node::start(ECHO).await;
    let web = Web::with(Limits::default());
    let settings = json!({
        "proxy": { "routes": [{ "to": [node.url()], "inside": true }] },
        "traffic": { "budget_bytes": 1_000_000, "when_used_up": "stop" },
    });
    put(&web, &settings, None);
    let mut two = two(&web).await;
    let (mut first, mut second) = (open(&mut two, "/a", &[]).await, open(&mut two, "/b", &[]).await);
    first.echoes("hello").await;
    second.echoes("hello you").await;
    until("both are counted while they are open", || counted(&web) == (2, 18)).await;
    assert_eq!(web.plane.meter().bytes, 18);
    first.echoes("end").await;
    drop(first);
    until("all of it is counted", || counted(&web) == (2, 23)).await;
    use_up(&web, true);
    assert_eq!(second.hear().await, None);
    until("nobody is there", || active(&web) == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_has_a_place_among_the_connections() {
    let node = Node::start(ECHO).await;
    let web = Web::with(Limits { connections: 4, ..Limits::default() });
    show(&web, &json!([{ "to": [node.url()] }]), &[]);
    let mut two = two(&web).await;
    let mut sockets = Vec::new();
    // One is the connection's, and one is kept for whoever connects next.
    for _ in 0..2 {
        sockets.push(open(&mut two, "/", &[]).await);
    }
    let (status, headers) = asked(&mut two, asking("websocket", "/", &[])).await;
    assert_eq!((status, headers.get("retry-after").map(String::as_str)), (503, Some("5")));
    // What is no WebSocket needs none.
    assert_eq!(two.send_request(web::get("http://site.test/", &[])).await.unwrap().status(), 200);
    drop(sockets.pop());
    until("one is gone", || active(&web) == 1).await;
    open(&mut two, "/", &[]).await.echoes("again").await;
}

/// Gives all that comes back as it is.
const BACK: &str = "
const http = require('http');
const crypto = require('crypto');
const server = http.createServer();
server.on('upgrade', (request, socket, head) => {
  const key = request.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
  const accept = crypto.createHash('sha1').update(key).digest('base64');
  socket.on('error', () => {});
  socket.write('HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n'
    + 'Sec-WebSocket-Accept: ' + accept + '\\r\\n\\r\\n');
  socket.write(head);
  socket.pipe(socket);
});
server.listen(Number(process.argv[2]), '127.0.0.1');
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_bytes_pass_both_ways_at_the_pace_of_who_reads() {
    let node = Node::start(BACK).await;
    let web = web(&json!([{ "to": [node.url()] }]));
    let mut two = two(&web).await;
    let Socket(stream) = open(&mut two, "/", &[]).await;
    let (mut from, mut to) = tokio::io::split(stream);
    let sent: Vec<u8> = (0..8_000_000_u32).map(|it| it.to_le_bytes()[usize::from(it % 3 == 0)]).collect();
    let mut came = vec![0; sent.len()];
    let write = async { to.write_all(&sent).await.unwrap() };
    let read = async {
        // More is under way by then than anybody keeps.
        sleep(Duration::from_millis(300)).await;
        timeout(PATIENCE, from.read_exact(&mut came)).await.unwrap().unwrap();
    };
    tokio::join!(write, read);
    assert!(came == sent);
    // The end of one way is that of the other.
    to.shutdown().await.unwrap();
    assert_eq!(timeout(PATIENCE, from.read(&mut came)).await.unwrap().unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_on_a_stream_ends_as_others_do() {
    let (node, other) = (Node::start(ECHO).await, Node::start(ECHO).await);
    let web = Web::with(Limits::default());
    let with = |node: &Node| {
        let times = json!({ "idle": 1, "drain": 1 });
        json!({ "proxy": { "routes": [{ "to": [node.url()], "inside": true, "timeout_s": times }] } })
    };
    put(&web, &with(&node), None);
    let mut two = two(&web).await;
    // Nothing comes for as long as its route bears.
    let mut socket = open(&mut two, "/", &[]).await;
    sleep(Duration::from_millis(700)).await;
    socket.echoes("tick").await;
    let begun = Instant::now();
    assert_eq!(socket.hear().await, None);
    assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
    // Its upstream is taken away.
    let mut socket = open(&mut two, "/", &[]).await;
    put(&web, &with(&other), None);
    socket.echoes("last").await;
    assert_eq!(socket.hear().await, None);
    // What let its visitor in.
    let closed = [
        (json!({ "maintenance": { "on": true } }), None),
        (json!({ "firewall": { "rules": [{ "name": "home", "from": ["127.0.0.1"], "methods": ["GET"] }] } }), None),
        (json!({}), Some(State::TakenDown(String::from("gone")))),
    ];
    for (more, state) in closed {
        put(&web, &with(&node), None);
        let mut socket = open(&mut two, "/", &[]).await;
        socket.echoes("in").await;
        let mut settings = with(&node);
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        put(&web, &settings, state);
        assert_eq!(socket.hear().await, None, "{more}");
    }
    put(&web, &with(&node), None);
    let mut socket = open(&mut two, "/", &[]).await;
    socket.echoes("in").await;
    web.plane.bans().replace(vec![Ban { site: None, network: "127.0.0.0/8".parse().unwrap(), left: None }]);
    web.plane.look_again();
    assert_eq!(socket.hear().await, None);
    web.plane.bans().replace(Vec::new());
    // The server stops: neither it nor the connection is waited for.
    let mut socket = open(&mut two, "/", &[]).await;
    socket.echoes("in").await;
    let begun = Instant::now();
    web.tasks.stop();
    assert_eq!(socket.hear().await, None);
    until("the connection has ended", || two.is_closed()).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_a_get_to_rules_limits_and_doors() {
    let node = Node::start(ECHO).await;
    let web = Web::with(Limits::default());
    let routes = json!({ "routes": [{ "to": [node.url()], "inside": true }] });
    let mut two = two(&web).await;
    let rule = |method: &str| json!({ "rules": [{ "name": "x", "path": "/chat", "methods": [method] }] });
    let rate =
        |method: &str| json!({ "rates": [{ "path": "/*", "methods": [method], "requests": 1, "every_s": 600 }] });
    for (more, wanted) in [
        (json!({ "firewall": rule("GET") }), [403, 403]),
        (json!({ "firewall": rule("CONNECT") }), [200, 200]),
        (json!({ "limits": rate("GET") }), [200, 429]),
        (json!({ "limits": rate("CONNECT") }), [200, 200]),
        (json!({ "access": { "mode": "basic" }, "guests": { "key": "ab".repeat(32), "people": [] } }), [401, 401]),
        (json!({ "maintenance": { "on": true } }), [503, 503]),
    ] {
        let mut settings = json!({ "proxy": routes });
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        put(&web, &settings, None);
        let mut came = [0; 2];
        for status in &mut came {
            *status = asked(&mut two, asking("websocket", "/chat", &[])).await.0;
        }
        assert_eq!(came, wanted, "{more}");
    }
}

/// Whoever floods a site with what nobody has here is stopped as any other, and the site's figures have it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_speaks_counts_as_any_other_answer() {
    let web = Web::with(Limits::default());
    let mut two = two(&web).await;
    let counted = || {
        web.plane.tally().fold();
        web.plane.tally().busiest().first().map_or(0, |it| it.1.requests)
    };
    let rates = json!([{ "path": "/*", "requests": 2, "every_s": 600 }]);
    let rule = json!([{ "name": "x", "path": "/*", "methods": ["CONNECT"] }]);
    let mut before = 0;
    for (settings, wanted) in [
        (json!({}), [501, 501, 501]),
        (json!({ "limits": { "rates": rates } }), [501, 501, 429]),
        (json!({ "firewall": { "rules": rule } }), [403, 403, 403]),
        (json!({ "maintenance": { "on": true } }), [501, 501, 501]),
    ] {
        if settings == json!({}) {
            web.show(&[("/index.html", b"file")], Policy::default());
        } else {
            put(&web, &settings, None);
        }
        for wanted in wanted {
            assert_eq!(asked(&mut two, asking("connect-udp", "/", &[])).await.0, wanted, "{settings}");
            before += 1;
            assert_eq!(counted(), before, "{settings}");
        }
    }
    let ban = Ban { site: None, network: "127.0.0.0/8".parse().unwrap(), left: None };
    web.plane.bans().replace(vec![ban]);
    for protocol in ["connect-udp", "websocket"] {
        assert_eq!(asked(&mut two, asking(protocol, "/", &[])).await.0, 403, "{protocol}");
    }
    assert_eq!(counted(), before);
}

/// An upstream that says what its path asks for.
async fn saying(request: Request<Incoming>) -> Answered {
    let accept = |key: &str| {
        let of = Sha1::from(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11")).digest().bytes();
        data_encoding::BASE64.encode(&of)
    };
    let key = request.headers().get("sec-websocket-key").map_or("", |it| it.to_str().unwrap());
    let said = Response::builder().header("connection", "upgrade").header("upgrade", "websocket");
    let said = match request.uri().path() {
        "/up/right" => said.status(101).header("sec-websocket-accept", accept(key)),
        "/up/other" => said.status(101).header("sec-websocket-accept", accept("b3RoZXI=")),
        "/up/none" => said.status(101),
        "/up/moved" => Response::builder().status(302).header("location", "/login"),
        "/up/refused" => Response::builder().status(426).header("sec-websocket-version", "13"),
        "/up/empty" => Response::builder().status(204),
        _ => return text("a page"),
    };
    said.body(Full::default().boxed_unsync()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_websocket_is_none_is_begun() {
    let web = Web::with(Limits::default());
    let up = upstream(&web.tasks, saying).await;
    show(&web, &json!([{ "path": "/up", "to": [up.url()] }]), &[("/index.html", b"file"), ("/a.txt", b"a file")]);
    let mut two = two(&web).await;
    for (path, status) in [
        ("/a.txt", 405),
        ("/", 405),
        ("/none", 404),
        ("/up/right", 200),
        ("/up/other", 502),
        ("/up/none", 502),
        ("/up/page", 405),
        ("/up/empty", 405),
        ("/up/moved", 302),
        ("/up/refused", 426),
    ] {
        let (came, headers) = asked(&mut two, asking("websocket", path, &[])).await;
        assert_eq!(came, status, "{path}");
        assert_eq!(headers.contains_key("allow"), status == 405, "{path}: {headers:?}");
    }
    let before = up.asked();
    assert!(before.iter().all(|it| it.starts_with("GET /up/")), "{before:?}");
    for protocol in ["connect-udp", "WebSocket", "h2c", "websocket "] {
        assert_eq!(asked(&mut two, asking(protocol, "/up/right", &[])).await.0, 501, "{protocol}");
        assert_eq!(asked(&mut two, asking(protocol, "/a.txt", &[])).await.0, 501, "{protocol}");
    }
    let mut plain = Request::new(Empty::new());
    *plain.method_mut() = hyper::Method::CONNECT;
    *plain.uri_mut() = "site.test:80".parse().unwrap();
    assert_eq!(asked(&mut two, plain).await.0, 405);
    assert_eq!(up.asked(), before);
    // The connection is as well as before.
    assert_eq!(two.send_request(web::get("http://site.test/a.txt", &[])).await.unwrap().status(), 200);
}
