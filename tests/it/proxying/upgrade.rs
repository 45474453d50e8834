//! WebSockets through the proxy.

use super::*;

/// Does the handshake of RFC 6455 and gives each text frame back in upper case.
const ECHO: &str = "
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
struct Socket(TcpStream);

impl Socket {
    async fn open(address: SocketAddr) -> (Self, String) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = "GET /chat HTTP/1.1\r\nHost: site.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut came = Vec::new();
        while !came.ends_with(b"\r\n\r\n") {
            let byte = timeout(PATIENCE, stream.read_u8()).await.unwrap();
            came.push(byte.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&came))));
        }
        (Self(stream), String::from_utf8(came).unwrap())
    }

    async fn say(&mut self, text: &str) {
        let mask = [1, 2, 3, 4];
        let mut frame = vec![0x81, 0x80 | u8::try_from(text.len()).unwrap()];
        frame.extend(mask);
        frame.extend(text.bytes().zip(mask.iter().cycle()).map(|(b, mask)| b ^ mask));
        self.0.write_all(&frame).await.unwrap();
    }

    /// The next text; `None` when the connection has ended.
    async fn hear(&mut self) -> Option<String> {
        let mut head = [0; 2];
        timeout(PATIENCE, self.0.read_exact(&mut head)).await.unwrap().ok()?;
        let mut text = vec![0; usize::from(head[1])];
        self.0.read_exact(&mut text).await.ok()?;
        Some(String::from_utf8(text).unwrap())
    }

    async fn echoes(&mut self, text: &str) {
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
