//! What passes between a visitor and an upstream, and how.

use super::*;
use crate::web::{get, request};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_comes_as_the_route_says() {
    let tasks = Tasks::new();
    let up = upstream(&tasks, mirror).await;
    let web = web(&json!([
        { "path": "/", "to": [up.url()] },
        { "path": "/api/", "to": [up.url()], "strip_prefix": true, "host": "upstream" },
        { "path": "/api/keep", "to": [up.url()] },
    ]));
    let ask = async |path: &str, headers: &[(&str, &str)]| -> Value {
        let answer = web.get_with(path, headers).await;
        assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
        assert_eq!(answer.header("x-content-type-options"), "", "an upstream describes its answers itself");
        serde_json::from_str(answer.text()).unwrap()
    };
    for (path, wanted) in [
        ("/", "/"),
        ("/a%20b/%2Fx?q=1&r=%00", "/a%20b/%2Fx?q=1&r=%00"),
        ("/api", "/"),
        ("/api/", "/"),
        ("/%61pi/x?y", "/x?y"),
        ("/apix", "/apix"),
        ("/api/keep/x", "/api/keep/x"),
    ] {
        assert_eq!(ask(path, &[]).await["uri"], wanted, "{path}");
    }
    let spoofed = [
        ("x-forwarded-for", "6.6.6.6"),
        ("x-real-ip", "6.6.6.6"),
        ("forwarded", "for=6.6.6.6"),
        ("connection", "close, X-Forwarded-For, X-Own"),
        ("x-own", "1"),
        ("x_forwarded_for", "6.6.6.6"),
        ("cookie", "a=1"),
    ];
    let said = ask("/api/x", &spoofed).await;
    for (name, wanted) in [
        ("x-forwarded-for", "127.0.0.1"),
        ("x-real-ip", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "site.test"),
        ("x-forwarded-prefix", "/api"),
        ("forwarded", "for=127.0.0.1;host=\"site.test\";proto=http"),
        ("host", &up.address.to_string()),
        ("via", "1.1 chainhost"),
        ("cookie", "a=1"),
        ("x-own", ""),
        ("x_forwarded_for", ""),
        ("connection", ""),
    ] {
        assert_eq!(mirrored(&said, name), wanted, "{name}");
    }
    assert_eq!(mirrored(&ask("/", &[]).await, "host"), "site.test");
    // What goes up is refused, and so is what nobody may be asked.
    let asked = up.asked().len();
    for path in ["/api/%2e%2e/x", "/a/..%5cb", "/..;/x"] {
        assert_eq!(web.get(path).await.status(), 400, "{path}");
    }
    assert_eq!(web.ask(request("TRACE", "/", &[])).await.status(), 405);
    let circling: Vec<(&str, &str)> = vec![("via", "1.1 chainhost"); 8];
    assert_eq!(web.get_with("/", &circling).await.status(), 508);
    // The host's own paths stay its own.
    assert_eq!(web.get("/.well-known/acme-challenge/x").await.status(), 404);
    assert_eq!(up.asked().len(), asked);
    tasks.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_come_first_where_the_route_says_so() {
    let tasks = Tasks::new();
    let up = upstream(&tasks, async |_| text("app")).await;
    let web = Web::start();
    show(
        &web,
        &json!([{ "to": [up.url()], "files_first": true }, { "path": "/only", "to": [up.url()] }]),
        &[("/index.html", b"front"), ("/a.css", b"a{}"), ("/docs/index.html", b"docs"), ("/only/x", b"x")],
    );
    for (path, status, wanted) in [
        ("/", 200, "front"),
        ("/a.css", 200, "a{}"),
        ("/docs", 308, "See /docs/\n"),
        ("/docs/", 200, "docs"),
        ("/b.css", 200, "app"),
        ("/only/x", 200, "app"),
    ] {
        let answer = web.get(path).await;
        assert_eq!((answer.status(), answer.text()), (status, wanted), "{path}");
    }
    assert_eq!(web.ask(request("POST", "/a.css", &[])).await.text(), "app");
    tasks.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_stream_within_their_limit() {
    let tasks = Tasks::new();
    let up = upstream(&tasks, mirror).await;
    let web = web(&json!([{ "to": [up.url()], "body_bytes_max": 100_000 }]));
    let post = async |head: &str, body: &[u8]| {
        let head = format!("POST /up HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n{head}\r\n\r\n");
        raw(web.address, &[head.as_bytes(), body].concat()).await
    };
    let large = vec![b'x'; 100_000];
    let said = post("Content-Length: 100000", &large).await;
    assert!(said.starts_with("HTTP/1.1 200") && said.contains("\"body\":100000"), "{said}");
    assert!(said.contains(r#"["content-length","100000"]"#), "{said}");
    let chunked = [b"186a0\r\n".to_vec(), large.clone(), b"\r\n0\r\nX-Trailer: 1\r\n\r\n".to_vec()].concat();
    let said = post("Transfer-Encoding: chunked", &chunked).await;
    assert!(said.starts_with("HTTP/1.1 200") && said.contains("\"body\":100000"), "{said}");
    assert!(said.contains(r#"["transfer-encoding","chunked"]"#) && !said.contains("x-trailer"), "{said}");
    let said = post("Content-Length: 0", b"").await;
    assert!(said.contains(r#"["content-length","0"]"#), "{said}");
    // What is announced is refused before it is sent, what is not as soon as it is too much.
    assert!(post("Content-Length: 100001", b"").await.starts_with("HTTP/1.1 413"));
    let chunked = [b"186a1\r\n".to_vec(), large, b"x\r\n0\r\n\r\n".to_vec()].concat();
    assert!(post("Transfer-Encoding: chunked", &chunked).await.starts_with("HTTP/1.1 413"));
    // Who asks for leave gets it, once.
    let mut stream = TcpStream::connect(web.address).await.unwrap();
    let head =
        "POST / HTTP/1.1\r\nHost: site.test\r\nExpect: 100-continue\r\nContent-Length: 3\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut leave = [0; 25];
    timeout(PATIENCE, stream.read_exact(&mut leave)).await.unwrap().unwrap();
    assert_eq!(&leave, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"abc").await.unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(rest.starts_with("HTTP/1.1 200") && rest.contains("\"body\":3") && !rest.contains("expect"), "{rest}");
    tasks.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_kept_and_a_closed_one_is_no_failure() {
    let tasks = Tasks::new();
    let up = upstream(&tasks, mirror).await;
    // Closes each connection behind its answer, without a word of it before.
    let closing = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closes = closing.local_addr().unwrap();
    let within = tasks.clone();
    tasks.spawn(async move {
        loop {
            let (mut stream, _) = tokio::select! {
                it = closing.accept() => it.unwrap(),
                () = within.stopping() => return,
            };
            let mut head = [0; 4096];
            drop(stream.read(&mut head).await);
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await);
        }
    });
    let web = web(&json!([{ "to": [up.url()] }, { "path": "/closes", "to": [format!("http://{closes}")] }]));
    let mut client = web.client().await;
    for _ in 0..20 {
        assert_eq!(client.ask(get("/", &[])).await.unwrap().status(), 200);
    }
    assert!(up.connections() <= 2, "{} connections for one visitor", up.connections());
    for method in ["GET", "POST", "GET", "GET", "POST", "POST"] {
        let answer = client.ask(request(method, "/closes", &[])).await.unwrap();
        assert_eq!((answer.status(), answer.text()), (200, "ok"), "{method}");
    }
    assert_eq!(web.plane.proxied()[0].outcomes[0], ("answered", 26));
    tasks.stop();
}

/// A body that gives what a channel brings.
fn streamed(pieces: tokio::sync::mpsc::Receiver<Bytes>) -> Answered {
    use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
    let frames = ReceiverStream::new(pieces).map(|it| Ok(hyper::body::Frame::data(it)));
    Response::new(http_body_util::StreamBody::new(frames).boxed_unsync())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_come_at_once_and_a_visitor_who_goes_ends_them() {
    let tasks = Tasks::new();
    let (events, pieces) = tokio::sync::mpsc::channel(4);
    let pieces = Arc::new(Mutex::new(Some(pieces)));
    let up = upstream(&tasks, move |_| {
        let pieces = pieces.lock().unwrap().take().unwrap();
        async move { streamed(pieces) }
    })
    .await;
    // A connection without a byte is closed after 300 ms, but this one is waited for.
    let web = Web::with(Limits { idle: Duration::from_millis(300), ..Limits::default() });
    show(&web, &json!([{ "to": [up.url()] }]), &[]);
    let mut stream = TcpStream::connect(web.address).await.unwrap();
    stream.write_all(b"GET /events HTTP/1.1\r\nHost: site.test\r\n\r\n").await.unwrap();
    let mut came = String::new();
    for number in 0..3 {
        events.send(Bytes::from(format!("data: {number}\n\n"))).await.unwrap();
        let end = Instant::now() + PATIENCE;
        while !came.contains(&format!("data: {number}")) {
            let mut piece = [0; 1024];
            let read = timeout(end - Instant::now(), stream.read(&mut piece)).await.unwrap().unwrap();
            assert_ne!(read, 0, "it ended after {came}");
            came.push_str(std::str::from_utf8(&piece[..read]).unwrap());
        }
        sleep(Duration::from_millis(700)).await;
    }
    assert!(!events.is_closed());
    assert_eq!(web.plane.meter().bytes, 27, "what has no length is counted as it is sent");
    drop(stream);
    timeout(PATIENCE, events.closed()).await.expect("the upstream's answer is dropped");
    until("nobody works on it", || web.plane.proxied()[0].upstreams[0].2 == 0).await;
    tasks.stop();
}

/// Counts when it is dropped.
struct Ends(Arc<AtomicUsize>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_visitor_who_goes_before_the_answer_ends_the_request() {
    let tasks = Tasks::new();
    let ended = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ended);
    let up = upstream(&tasks, move |_| {
        let ends = Ends(Arc::clone(&count));
        async move {
            std::future::pending::<()>().await;
            drop(ends);
            text("")
        }
    })
    .await;
    let web = web(&json!([{ "to": [up.url()] }]));
    let mut stream = TcpStream::connect(web.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n").await.unwrap();
    until("it is asked", || !up.asked().is_empty()).await;
    assert_eq!(ended.load(Ordering::Relaxed), 0);
    drop(stream);
    until("the upstream's handler has ended", || ended.load(Ordering::Relaxed) == 1).await;
    assert_eq!(web.plane.proxied()[0].upstreams[0].2, 0);
    tasks.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_and_tls_lead_to_upstreams_too() {
    let tasks = Tasks::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let wish = rcgen::CertificateParams::new(vec![String::from("app.internal")]).unwrap();
    let certificate = wish.self_signed(&key).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.serialize_der().try_into().unwrap())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let secure = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = secure.local_addr().unwrap().port();
    let within = tasks.clone();
    tasks.spawn(async move {
        let service = || service_fn(async |request| Ok::<_, Infallible>(mirror(request).await));
        loop {
            tokio::select! {
                it = listener.accept() => {
                    let served = http1::Builder::new().serve_connection(TokioIo::new(it.unwrap().0), service());
                    within.spawn(async move { drop(served.await) });
                }
                it = secure.accept() => {
                    let (acceptor, service) = (acceptor.clone(), service());
                    within.spawn(async move {
                        let Ok(stream) = acceptor.accept(it.unwrap().0).await else { return };
                        drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
                    });
                }
                () = within.stopping() => return,
            }
        }
    });
    let secure = format!("https://127.0.0.1:{port}");
    let believed = json!({ "server_name": "app.internal", "ca": certificate.pem() });
    let web = web(&json!([
        { "path": "/unix", "to": [format!("unix:{}", path.display())], "host": "upstream" },
        { "path": "/tls", "to": [secure], "tls": believed },
        { "path": "/name", "to": [secure], "tls": { "ca": certificate.pem() } },
        { "path": "/stranger", "to": [secure], "tls": { "server_name": "app.internal" } },
    ]));
    let said: Value = serde_json::from_str(web.get("/unix").await.text()).unwrap();
    assert_eq!((mirrored(&said, "host").as_str(), &said["uri"]), ("localhost", &json!("/unix")));
    assert_eq!(web.get("/tls").await.status(), 200);
    for path in ["/name", "/stranger"] {
        assert_eq!(web.get(path).await.status(), 502, "{path}: nobody vouches for it");
    }
    drop(web);
    tasks.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redirects_to_the_upstream_lead_to_the_site() {
    let tasks = Tasks::new();
    let up = upstream(&tasks, async |request: Request<Incoming>| {
        let host = request.headers()["host"].to_str().unwrap().to_owned();
        let mut answer = text("");
        *answer.status_mut() = hyper::StatusCode::FOUND;
        answer.headers_mut().insert("location", format!("http://{host}/login?x").parse().unwrap());
        answer.headers_mut().insert("alt-svc", "h3=\":1\"".parse().unwrap());
        answer
    })
    .await;
    let web = web(&json!([{ "path": "/app", "to": [up.url()], "strip_prefix": true, "host": "upstream" }]));
    let answer = web.get("/app/x").await;
    assert_eq!((answer.header("location"), answer.header("alt-svc")), ("http://site.test/app/login?x", ""));
    tasks.stop();
}

/// Where others have all places for bodies that are gathered, one more passes as it comes, and keeps nobody out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_all_places_are_taken_a_body_passes_as_it_comes() {
    /// Of one client.
    const PLACES: usize = 256;
    let tasks = Tasks::new();
    let up = upstream(&tasks, mirror).await;
    let web = web(&json!([{ "to": [up.url()], "buffer": true }]));
    let begin = async || {
        let mut slow = TcpStream::connect(web.address).await.unwrap();
        let head = "POST /up HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\nContent-Length: 8\r\n\r\nhalf";
        slow.write_all(head.as_bytes()).await.unwrap();
        slow
    };
    let mut waiting = Vec::new();
    while waiting.len() < PLACES {
        waiting.push(begin().await);
    }
    sleep(Duration::from_millis(500)).await;
    assert_eq!(up.asked().len(), 0, "they are gathered");
    let mut passes = begin().await;
    until("it is passed on", || up.asked().len() == 1).await;
    let whole = async |slow: &mut TcpStream| {
        slow.write_all(b"rest").await.unwrap();
        let mut said = String::new();
        timeout(PATIENCE, slow.read_to_string(&mut said)).await.unwrap().unwrap();
        assert!(said.starts_with("HTTP/1.1 200") && said.contains("\"body\":8"), "{said}");
    };
    whole(&mut passes).await;
    whole(&mut waiting[0]).await;
    assert_eq!(up.asked().len(), 2);
    // There is a place again.
    let mut gathered = begin().await;
    sleep(Duration::from_millis(300)).await;
    assert_eq!(up.asked().len(), 2);
    whole(&mut gathered).await;
    tasks.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_upstream_answers_has_the_sites_own_page() {
    let tasks = Tasks::new();
    let silent = upstream(&tasks, |_| std::future::pending()).await;
    let [closed, down] = [(); 2].map(|()| format!("http://127.0.0.1:{}", free_port()));
    let web = Web::with(Limits::default());
    let routes = json!([
        { "path": "/closed", "to": [closed] },
        { "path": "/late", "to": [silent.url()], "timeout_s": { "answer": 1 } },
        { "path": "/down", "to": [down], "health": { "path": "/up", "every_s": 5, "timeout_s": 1, "fails": 1 } },
    ]);
    let pages = ["429", "502", "503", "504"].map(|it| (format!("/own/{it}.html"), format!("<p>own {it}</p>")));
    let mut files: Vec<(&str, &[u8])> = vec![("/index.html", b"front")];
    files.extend(pages.iter().map(|(path, text)| (path.as_str(), text.as_bytes())));
    let errors: serde_json::Map<String, Value> =
        pages.iter().map(|(path, _)| (path[5..8].to_owned(), json!(path))).collect();
    let settings =
        json!({ "errors": errors, "limits": { "rates": [{ "path": "/often", "requests": 1, "every_s": 3_600 }] } });
    show_with(&web, &routes, &files, &settings);
    assert_eq!(web.get("/often").await.status(), 404);
    let end = Instant::now() + PATIENCE;
    while web.get("/down").await.status() != 503 {
        assert!(Instant::now() < end, "the route is not down");
        sleep(Duration::from_millis(50)).await;
    }
    for (path, status, waits) in
        [("/often", 429, true), ("/closed", 502, true), ("/down", 503, true), ("/late", 504, false)]
    {
        let own = web.get_with(path, &[("accept", "text/html")]).await;
        assert_eq!((own.status(), own.text()), (status, &*format!("<p>own {status}</p>")), "{path}");
        let told = (own.header("content-type"), own.header("cache-control"), !own.header("retry-after").is_empty());
        assert_eq!(told, ("text/html; charset=utf-8", "no-store", waits), "{path}");
        // A program has a sentence.
        let plain = web.get_with(path, &[("accept", "application/json")]).await;
        assert!(plain.status() == status && !plain.text().contains("own"), "{path}: {}", plain.text());
    }
    drop(tasks);
}
