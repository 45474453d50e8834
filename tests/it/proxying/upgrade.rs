//! WebSockets through the proxy.

use chainhost::{
    base::{hash::Sha256, password},
    serve::bans::Ban,
};
use tokio::io::{AsyncRead, AsyncWrite};

use super::*;

/// Does the handshake of RFC 6455 and gives each text frame back in upper case.
pub(super) const ECHO: &str = "
const http = require('http');
const crypto = require('crypto');
const port = Number(process.argv[2]);
const server = http.createServer((request, answer) => answer.end(JSON.stringify(request.headers)));
server.on('upgrade', (request, socket, head) => {
  const key = request.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
  const accept = crypto.createHash('sha1').update(key).digest('base64');
  socket.write('HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n'
    + 'Sec-WebSocket-Accept: ' + accept + '\\r\\nX-For: ' + request.headers['x-forwarded-for'] + '\\r\\n\\r\\n');
  let came = head;
  const read = (bytes) => {
    came = Buffer.concat([came, bytes]);
    while (came.length >= 6 && came.length >= 6 + (came[1] & 127)) {
      const length = came[1] & 127;
      const mask = came.subarray(2, 6);
      const text = Buffer.from(came.subarray(6, 6 + length)).map((b, at) => b ^ mask[at % 4]).toString().toUpperCase();
      socket.write(Buffer.concat([Buffer.from([0x81, length]), Buffer.from(text)]));
      came = came.subarray(6 + length);
    }
  };
  socket.on('data', read);
  socket.on('error', () => {});
});
server.listen(port, '127.0.0.1');
";

/// A WebSocket, after its handshake.
pub(super) struct Socket<S = TcpStream>(pub(super) S);

impl Socket {
    pub(super) async fn open(address: SocketAddr) -> (Self, String) {
        Self::open_with(address, "").await
    }

    async fn open_with(address: SocketAddr, more: &str) -> (Self, String) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "GET /chat HTTP/1.1\r\nHost: site.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut came = Vec::new();
        while !came.ends_with(b"\r\n\r\n") {
            let byte = timeout(PATIENCE, stream.read_u8()).await.unwrap();
            came.push(byte.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&came))));
        }
        (Self(stream), String::from_utf8(came).unwrap())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    pub(super) async fn say(&mut self, text: &str) {
        let mask = [1, 2, 3, 4];
        let mut frame = vec![0x81, 0x80 | u8::try_from(text.len()).unwrap()];
        frame.extend(mask);
        frame.extend(text.bytes().zip(mask.iter().cycle()).map(|(b, mask)| b ^ mask));
        self.0.write_all(&frame).await.unwrap();
    }

    /// The next text; `None` when the connection has ended.
    pub(super) async fn hear(&mut self) -> Option<String> {
        let mut head = [0; 2];
        timeout(PATIENCE, self.0.read_exact(&mut head)).await.unwrap().ok()?;
        let mut text = vec![0; usize::from(head[1])];
        self.0.read_exact(&mut text).await.ok()?;
        Some(String::from_utf8(text).unwrap())
    }

    pub(super) async fn echoes(&mut self, text: &str) {
        self.say(text).await;
        assert_eq!(self.hear().await.unwrap(), text.to_uppercase());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_passes_both_ways_and_outlives_settings_that_keep_its_upstream() {
    let node = Node::start(ECHO).await;
    let web = Web::with(Limits { idle: Duration::from_millis(400), connections: 8, ..Limits::default() });
    show(&web, &json!([{ "to": [node.url()] }]), &[]);
    let (mut socket, head) = Socket::open(web.address).await;
    let lower = head.to_ascii_lowercase();
    assert!(lower.starts_with("http/1.1 101 "), "{head}");
    assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") && lower.contains("x-for: 127.0.0.1"), "{head}");
    assert!(!lower.contains("content-length") && !lower.contains("nosniff"), "{head}");
    socket.echoes("hello").await;
    // Longer than a connection without requests may last.
    sleep(Duration::from_millis(900)).await;
    socket.echoes("still").await;
    show(&web, &json!([{ "to": [node.url()], "body_bytes_max": 7 }]), &[]);
    sleep(Duration::from_millis(100)).await;
    socket.echoes("here").await;
    assert_eq!(web.plane.proxied()[0].upstreams[0].2, 1);
    // Its place is taken for as long as it lasts.
    let mut more = Vec::new();
    for _ in 0..7 {
        more.push(Socket::open(web.address).await.0);
    }
    let late = timeout(Duration::from_millis(300), Socket::open(web.address)).await;
    assert!(late.is_err(), "the ninth waits");
    drop(more);
    until("the others are gone", || web.plane.proxied()[0].upstreams[0].2 <= 1).await;
    socket.echoes("end").await;
    drop(socket);
    until("nobody is there", || web.plane.proxied()[0].upstreams[0].2 == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_ends_when_nothing_comes_or_its_upstream_was_taken_away() {
    let node = Node::start(ECHO).await;
    let web = web(&json!([{ "to": [node.url()], "timeout_s": { "idle": 1 } }]));
    let (mut socket, _) = Socket::open(web.address).await;
    for _ in 0..3 {
        sleep(Duration::from_millis(500)).await;
        socket.echoes("tick").await;
    }
    let begun = Instant::now();
    assert_eq!(socket.hear().await, None);
    assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
    let other = Node::start(ECHO).await;
    let route = |node: &Node| json!([{ "to": [node.url()], "timeout_s": { "drain": 1 } }]);
    show(&web, &route(&node), &[]);
    let (mut socket, _) = Socket::open(web.address).await;
    let begun = Instant::now();
    show(&web, &route(&other), &[]);
    socket.echoes("last").await;
    assert_eq!(socket.hear().await, None);
    assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
    Socket::open(web.address).await.0.echoes("new").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_else_is_switched_to() {
    let node = Node::start(ECHO).await;
    let web = web(&json!([{ "to": [node.url()] }]));
    for upgrade in
        ["Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk", "Upgrade: websocket"]
    {
        let sent = format!("GET / HTTP/1.1\r\nHost: site.test\r\n{upgrade}\r\n\r\n");
        let mut stream = TcpStream::connect(web.address).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        let mut came = vec![0; 4096];
        let read = timeout(PATIENCE, stream.read(&mut came)).await.unwrap().unwrap();
        let said = String::from_utf8_lossy(&came[..read]).to_ascii_lowercase();
        assert!(said.starts_with("http/1.1 200") && !said.contains("\"upgrade\""), "{said}");
    }
    // HTTP/2 has no such switch: it is a request like others, and its headers of one connection are refused by the client's own library.
    let mut two = web.http_2().await;
    let answer = two.send_request(crate::web::get("http://site.test/", &[])).await.unwrap();
    assert_eq!(answer.status(), 200);
}

/// Serves a site in this state with these settings.
pub(super) fn put(web: &Web, settings: &Value, state: Option<State>) {
    let state = state.unwrap_or_else(|| State::Live(web.deploy(1, &[("/index.html", b"file")], Policy::default())));
    let settings = Settings::Given(Given::new(SiteSettings::parse(&settings.to_string()).unwrap()));
    let mut snapshot = Snapshot::new(INSTANCE, web.plane.snapshot().generation + 1);
    let site = SiteId(Id::from_bytes([1; 16]));
    let target = Target { site, name: String::from("site"), preview: false, state, settings };
    snapshot.insert("site.test", Arc::new(target));
    web.plane.publish(snapshot).unwrap();
}

/// Says something each 50 ms, without an end.
const EVENTS: &str = "
const http = require('http');
http.createServer((request, answer) => {
  const known = request.url.endsWith('/known') ? { 'content-length': 1000000 } : {};
  answer.writeHead(200, { 'content-type': 'text/event-stream', ...known });
  const timer = setInterval(() => answer.write('data: x\\n\\n'), 50);
  answer.on('close', () => clearInterval(timer));
}).listen(Number(process.argv[2]), '127.0.0.1');
";

/// Whether a stream of events has ended.
async fn has_ended(stream: &mut TcpStream) -> bool {
    let mut came = [0; 4096];
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        match timeout(PATIENCE, stream.read(&mut came)).await {
            Ok(Ok(0) | Err(_)) => return true,
            Ok(Ok(_)) => {}
            Err(_) => return false,
        }
    }
    false
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_open_ends_with_what_let_its_visitor_in() {
    let (node, events) = (Node::start(ECHO).await, Node::start(EVENTS).await);
    let web = Web::with(Limits::default());
    let routes =
        json!([{ "to": [node.url()], "inside": true }, { "path": "/events", "to": [events.url()], "inside": true }]);
    let person = |word: &str| json!({ "name": "ada", "hash": password::hash(word).unwrap(), "changed_ms": 0 });
    let (ada, other) = (person("open sesame"), person("another one"));
    let with = |people: &Value, more: &Value| {
        let mut settings = json!({
            "proxy": { "routes": routes }, "access": { "mode": "basic" },
            "guests": { "key": "ab".repeat(32), "people": people },
        });
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        settings
    };
    let login = format!("Authorization: Basic {}\r\n", data_encoding::BASE64.encode(b"ada:open sesame"));
    let closed = [
        // Another password, nobody, another kind of door.
        (with(&json!([other]), &json!({})), None),
        (with(&json!([]), &json!({})), None),
        (with(&json!([ada]), &json!({ "access": { "mode": "form" } })), None),
        // Maintenance, a rule, a take-down.
        (with(&json!([ada]), &json!({ "maintenance": { "on": true } })), None),
        (
            with(
                &json!([ada]),
                &json!({ "firewall": { "rules": [{ "name": "home", "path": "/*", "from": ["127.0.0.1"], "do": "block" }] } }),
            ),
            None,
        ),
        (with(&json!([ada]), &json!({})), Some(State::TakenDown(String::from("gone")))),
    ];
    for (settings, state) in closed {
        put(&web, &with(&json!([ada]), &json!({})), None);
        let (mut socket, _) = Socket::open_with(web.address, &login).await;
        let mut stream = TcpStream::connect(web.address).await.unwrap();
        stream.write_all(format!("GET /events HTTP/1.1\r\nHost: site.test\r\n{login}\r\n").as_bytes()).await.unwrap();
        until("both are open", || web.plane.proxied()[0].upstreams.iter().all(|it| it.2 == 1)).await;
        socket.echoes("first").await;
        // What changes nothing for him leaves him alone.
        put(&web, &with(&json!([ada]), &json!({ "hotlink": { "on": true } })), None);
        socket.echoes("still").await;
        put(&web, &settings, state);
        assert_eq!(socket.hear().await, None, "{settings}");
        assert!(has_ended(&mut stream).await, "{settings}");
    }
    put(&web, &with(&json!([ada]), &json!({})), None);
    let (mut socket, _) = Socket::open_with(web.address, &login).await;
    let ban = |network: &str| Ban { site: None, network: network.parse().unwrap(), left: None };
    web.plane.bans().replace(vec![ban("192.0.2.1")]);
    web.plane.look_again();
    socket.echoes("still").await;
    web.plane.bans().replace(vec![ban("127.0.0.0/8")]);
    web.plane.look_again();
    assert_eq!(socket.hear().await, None);
}

/// Requests and bytes that count as the site's traffic so far.
pub(super) fn counted(web: &Web) -> (u64, u64) {
    web.plane.tally().fold();
    web.plane.tally().busiest().first().map_or((0, 0), |it| (it.1.requests, it.1.bytes))
}

/// The site has sent as much as it may, or not.
pub(super) fn use_up(web: &Web, is_used_up: bool) {
    let site = SiteId(Id::from_bytes([1; 16]));
    web.plane.tally().set_used_up(is_used_up.then_some(site).into_iter().collect());
    web.plane.look_again();
}

/// What goes to a visitor by a WebSocket is traffic of the site while it goes, and ends where the traffic does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_is_traffic_and_ends_when_it_is_used_up() {
    let (node, events) = (Node::start(ECHO).await, Node::start(EVENTS).await);
    let web = Web::with(Limits::default());
    let with = |traffic: Value| {
        let routes = json!([{ "to": [node.url()], "inside": true }, { "path": "/events", "to": [events.url()], "inside": true }]);
        put(&web, &json!({ "proxy": { "routes": routes }, "traffic": traffic }), None);
    };
    with(json!({}));
    let metered = || web.plane.meter().bytes;
    let (mut socket, _) = Socket::open(web.address).await;
    assert_eq!(counted(&web), (1, 0));
    for _ in 0..3 {
        socket.echoes("hello").await;
    }
    // Two bytes are the head of a frame; what a visitor sends is none of it.
    until("it is counted while it is open", || counted(&web) == (1, 21)).await;
    assert_eq!(metered(), 21);
    socket.echoes("end").await;
    drop(socket);
    until("all of it is counted", || counted(&web) == (1, 26)).await;
    assert_eq!(metered(), 26);

    let (budget, stop) =
        (json!({ "budget_bytes": 1_000_000 }), json!({ "budget_bytes": 1_000_000, "when_used_up": "stop" }));
    with(budget);
    let begin = async || {
        let (mut socket, _) = Socket::open(web.address).await;
        let mut stream = TcpStream::connect(web.address).await.unwrap();
        stream.write_all(b"GET /events HTTP/1.1\r\nHost: site.test\r\n\r\n").await.unwrap();
        until("both are open", || web.plane.proxied()[0].upstreams.iter().all(|it| it.2 == 1)).await;
        socket.echoes("first").await;
        (socket, stream)
    };
    let (mut socket, mut stream) = begin().await;
    use_up(&web, true);
    sleep(Duration::from_millis(100)).await;
    socket.echoes("it is told, and no more").await;
    with(stop);
    assert_eq!(socket.hear().await, None);
    assert!(has_ended(&mut stream).await);
    assert_eq!(web.get("/").await.status(), 503);
    use_up(&web, false);
    let (mut socket, mut stream) = begin().await;
    use_up(&web, true);
    assert_eq!(socket.hear().await, None);
    assert!(has_ended(&mut stream).await);
}

/// A download says how long it is, and may take hours all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_known_length_ends_with_what_let_its_visitor_in() {
    let events = Node::start(EVENTS).await;
    let web = Web::with(Limits::default());
    for buffer in [false, true] {
        let routes = json!([{ "to": [events.url()], "inside": true, "buffer": buffer }]);
        put(&web, &json!({ "proxy": { "routes": routes } }), None);
        let mut stream = TcpStream::connect(web.address).await.unwrap();
        stream.write_all(b"GET /events/known HTTP/1.1\r\nHost: site.test\r\n\r\n").await.unwrap();
        let mut head = vec![0; 4096];
        let length = timeout(PATIENCE, stream.read(&mut head)).await.unwrap().unwrap();
        let head = String::from_utf8_lossy(&head[..length]).to_ascii_lowercase();
        assert!(head.contains("\r\ncontent-length: 1000000\r\n"), "{head}");
        put(&web, &json!({ "proxy": { "routes": routes }, "maintenance": { "on": true } }), None);
        assert!(has_ended(&mut stream).await, "{buffer}");
    }
}

/// What is asked of a visitor who has something open is what a new request with the same head would be asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_could_ask_again_keeps_what_is_open() {
    let (node, events) = (Node::start(ECHO).await, Node::start(EVENTS).await);
    let web = Web::with(Limits::default());
    let routes =
        json!([{ "to": [node.url()], "inside": true }, { "path": "/events", "to": [events.url()], "inside": true }]);
    let person = |word: &str| json!({ "name": "ada", "hash": password::hash(word).unwrap(), "changed_ms": 0 });
    let (ada, same, other) = (person("open sesame"), person("open sesame"), person("another one"));
    let link = json!({ "id": "l", "token": Sha256::of(b"secret"), "made_ms": 0, "expires_ms": 99_999_999_999_999_i64 });
    let with = |people: &Value, links: &Value, mode: &str| {
        json!({
            "proxy": { "routes": routes }, "access": { "mode": mode },
            "guests": { "key": "ab".repeat(32), "people": people, "links": links },
        })
    };
    put(&web, &with(&json!([ada]), &json!([link]), "basic"), None);
    let opened = web.get("/.well-known/chainhost/link/secret/").await;
    let cookie = opened.header("set-cookie").split(';').next().unwrap().to_owned();
    let basic = |word: &str| format!("Authorization: Basic {}\r\n", data_encoding::BASE64.encode(word.as_bytes()));
    let by_link = |word: &str| format!("Cookie: {cookie}\r\n{}", basic(word));
    let (right, wrong) = (by_link("ada:open sesame"), by_link("ada:not this one"));
    let mut events = TcpStream::connect(web.address).await.unwrap();
    events.write_all(format!("GET /events HTTP/1.1\r\nHost: site.test\r\n{right}\r\n").as_bytes()).await.unwrap();
    let mut stays = Socket::open_with(web.address, &right).await.0;
    let mut ends = Socket::open_with(web.address, &wrong).await.0;
    let mut cookie_alone = Socket::open_with(web.address, &format!("Cookie: {cookie}\r\n")).await.0;
    let mut password_alone = Socket::open_with(web.address, &basic("ada:open sesame")).await.0;
    for it in [&mut stays, &mut ends, &mut cookie_alone, &mut password_alone] {
        it.echoes("first").await;
    }
    // The link is taken back, and with it its cookie: who has the password too goes on, who has a wrong one or none does not.
    put(&web, &with(&json!([ada]), &json!([]), "basic"), None);
    assert_eq!((ends.hear().await, cookie_alone.hear().await), (None, None));
    // The same password is kept anew, by another hash.
    put(&web, &with(&json!([same]), &json!([]), "basic"), None);
    sleep(Duration::from_millis(500)).await;
    stays.echoes("still").await;
    password_alone.echoes("still").await;
    let mut came = [0; 4096];
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        assert_ne!(timeout(PATIENCE, events.read(&mut came)).await.unwrap().unwrap(), 0, "its stream, too");
    }
    put(&web, &with(&json!([other]), &json!([]), "basic"), None);
    assert_eq!((stays.hear().await, password_alone.hear().await), (None, None));
    assert!(has_ended(&mut events).await);
}
