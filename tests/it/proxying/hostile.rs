//! Upstreams that answer badly or not at all, and visitors who try to get something past the proxy.

use super::{fastcgi::Php, *};
use crate::web::{get, request};

/// What a hostile upstream does with a connection.
type Deed = fn(TcpStream) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// An upstream that does the same with each connection, once something was asked on it. What it was asked, as bytes.
async fn hostile(tasks: &Tasks, deed: Deed) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let (told, within) = (Arc::clone(&asked), tasks.clone());
    tasks.spawn(async move {
        loop {
            let (mut stream, _) = tokio::select! {
                it = listener.accept() => it.unwrap(),
                () = within.stopping() => return,
            };
            let (told, stop) = (Arc::clone(&told), within.clone());
            within.spawn(async move {
                let mut head = vec![0; 16 * 1024];
                let Ok(read) = stream.read(&mut head).await else { return };
                head.truncate(read);
                told.lock().unwrap().push(String::from_utf8_lossy(&head).into_owned());
                tokio::select! {
                    () = deed(stream) => {}
                    () = stop.stopping() => {}
                }
            });
        }
    });
    (address, asked)
}

macro_rules! says {
    ($($bytes:expr),+ $(,)?) => {
        |mut stream| Box::pin(async move { $(drop(stream.write_all($bytes.as_ref()).await);)+ })
    };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_answer_is_none() {
    let tasks = Tasks::new();
    let cases: &[(&str, u16, Deed)] = &[
        ("closes at once", 502, |_| Box::pin(async {})),
        ("resets", 502, |stream| {
            Box::pin(async move { drop(socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))) })
        }),
        ("speaks something else", 502, says!(b"220 mail.example ESMTP\r\n")),
        ("has an endless head", 502, |mut stream| {
            Box::pin(async move {
                drop(stream.write_all(b"HTTP/1.1 200 OK\r\n").await);
                while stream.write_all(&b"X-A: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n".repeat(100)).await.is_ok() {}
            })
        }),
        ("has an endless line", 502, |mut stream| {
            Box::pin(async move {
                drop(stream.write_all(b"HTTP/1.1 200 OK\r\nX: ").await);
                while stream.write_all(&[b'a'; 4096]).await.is_ok() {}
            })
        }),
        ("has two lengths", 502, says!(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc")),
        ("has a length that is none", 502, says!(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nabc")),
        ("has a header with NUL", 502, says!(b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n")),
        (
            "switches unasked",
            502,
            says!(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"),
        ),
        ("ends inside the head", 502, says!(b"HTTP/1.1 200 OK\r\nContent-")),
        ("says nothing", 504, |stream| {
            Box::pin(async move {
                std::future::pending::<()>().await;
                drop(stream);
            })
        }),
        ("says only that it goes on", 504, |mut stream| {
            Box::pin(async move {
                while stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.is_ok() {
                    sleep(Duration::from_millis(50)).await;
                }
            })
        }),
    ];
    for (what, status, deed) in cases {
        let (address, asked) = hostile(&tasks, *deed).await;
        let web = web(&json!([{ "to": [format!("http://{address}")], "timeout_s": { "answer": 1 } }]));
        let answer = timeout(PATIENCE, web.get("/")).await.unwrap();
        assert_eq!(answer.status(), *status, "{what}: {}", answer.text());
        assert_eq!(asked.lock().unwrap().len(), 1, "{what}: nobody is asked twice");
        assert!(answer.text().starts_with("The application "), "{what}");
        until("nobody works on it", || web.plane.proxied()[0].upstreams[0].2 == 0).await;
    }
    tasks.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_breaks_off_does_not_look_whole() {
    let tasks = Tasks::new();
    let cases: &[(&str, Deed)] = &[
        ("short", says!(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")),
        ("chunked", says!(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc")),
        ("stops", |mut stream| {
            Box::pin(async move {
                drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc").await);
                std::future::pending::<()>().await;
            })
        }),
    ];
    for (what, deed) in cases {
        let (address, _) = hostile(&tasks, *deed).await;
        let web = web(&json!([{ "to": [format!("http://{address}")], "timeout_s": { "idle": 1 } }]));
        let mut client = web.client().await;
        let answer = timeout(PATIENCE, client.ask(get("/", &[]))).await.unwrap();
        assert!(answer.is_err(), "{what}: {answer:?}");
    }
    tasks.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sent_is_sent_again_only_when_that_changes_nothing() {
    let tasks = Tasks::new();
    let (breaks, asked) = hostile(&tasks, |_| Box::pin(async {})).await;
    let up = upstream(&tasks, async |_| text("well")).await;
    let failing = json!({ "after": 0 });
    let web = web(&json!([{ "to": [format!("http://{breaks}"), up.url()], "failing": failing }]));
    for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"] {
        for _ in 0..2 {
            assert_eq!(web.ask(request(method, "/", &[])).await.status(), 200, "{method}");
        }
    }
    let before = asked.lock().unwrap().len();
    assert!(before >= 5, "both are asked in turn");
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(web.ask(request("POST", "/", &[])).await.status());
        let put = b"PUT / HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx";
        statuses.push(raw(web.address, put).await[9..12].parse().unwrap());
    }
    assert!(statuses.contains(&502) && statuses.contains(&200), "{statuses:?}");
    let broken = statuses.iter().filter(|it| **it == 502).count();
    assert_eq!(asked.lock().unwrap().len() - before, broken, "each of them once");
    tasks.stop();
}

/// Two pools of PHP-FPM, one of which is restarted: what its socket had taken in is closed or reset without a word.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_asked_of_a_program_is_asked_again_only_when_that_changes_nothing() {
    let (tasks, php) = (Tasks::new(), Php::start().await);
    let well = format!("fastcgi+unix:{}", php.socket().display());
    let restarts: [Deed; 3] = [
        |_| Box::pin(async {}),
        |stream| Box::pin(async move { drop(socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))) }),
        says!(b"no record of FastCGI"),
    ];
    let routes = |breaks: SocketAddr| {
        json!([{
            "to": [format!("fastcgi://{breaks}"), well], "root": php.root(), "failing": { "after": 0 },
            "timeout_s": { "answer": 1 },
        }])
    };
    for deed in restarts {
        let (breaks, asked) = hostile(&tasks, deed).await;
        let web = web(&routes(breaks));
        for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"] {
            for _ in 0..2 {
                assert_eq!(web.ask(request(method, "/status.php", &[])).await.status(), 418, "{method}");
            }
        }
        let before = asked.lock().unwrap().len();
        assert!(before >= 5, "both are asked in turn");
        let mut statuses = Vec::new();
        for _ in 0..4 {
            statuses.push(web.ask(request("POST", "/status.php", &[])).await.status());
            let put = b"PUT /status.php HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx";
            statuses.push(raw(web.address, put).await[9..12].parse().unwrap());
        }
        let broken = statuses.iter().filter(|it| **it == 502).count();
        assert!(broken > 0 && statuses.contains(&418), "{statuses:?}");
        assert_eq!(asked.lock().unwrap().len() - before, broken, "each of them once");
    }
    // Nor is one that takes its time, or that has begun to answer.
    let late: Deed = |stream| {
        Box::pin(async move {
            std::future::pending::<()>().await;
            drop(stream);
        })
    };
    let begun: Deed = says!(b"\x01\x06\x00\x01\x00\x1f\x00\x00Content-Type: text/plain\r\n\r\nabc");
    for (deed, wanted) in [(late, Some(504)), (begun, None)] {
        let (breaks, asked) = hostile(&tasks, deed).await;
        let web = web(&routes(breaks));
        let mut seen = Vec::new();
        for _ in 0..2 {
            let answer = web.client().await.ask(get("/status.php", &[])).await;
            seen.push(answer.ok().map(|it| it.status()));
        }
        assert_eq!(asked.lock().unwrap().len(), 1, "{seen:?}");
        assert!(seen.contains(&wanted) && seen.contains(&Some(418)), "{seen:?}");
    }
    tasks.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_smuggled_to_an_upstream() {
    let tasks = Tasks::new();
    // It takes what comes to its end: a connection that is closed with bytes unread is reset, and its answer lost.
    let (address, asked) = hostile(&tasks, |mut stream| {
        Box::pin(async move {
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").await);
            drop(tokio::io::copy(&mut stream, &mut tokio::io::sink()).await);
        })
    })
    .await;
    let web = web(&json!([{ "to": [format!("http://{address}")] }]));
    // What has two readings does not come through at all.
    for head in [
        "Content-Length: 6\r\nTransfer-Encoding: chunked",
        "Content-Length: 6\r\nContent-Length: 7",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding : chunked",
        "Content-Length: +6",
        "X: a\r\n folded: b",
        "Transfer-Encoding: chunked\nContent-Length: 6",
    ] {
        let sent = format!(
            "POST / HTTP/1.1\r\nHost: site.test\r\n{head}\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: x\r\n\r\n"
        );
        let said = raw(web.address, sent.as_bytes()).await;
        let passed = asked.lock().unwrap().join("\n");
        assert!(said.starts_with("HTTP/1.1 400") || said.is_empty(), "{head}: {said}");
        assert!(!passed.contains("evil"), "{head}: {passed}");
    }
    assert!(asked.lock().unwrap().is_empty(), "{:?}", asked.lock().unwrap());
    // What has one reading is framed anew, and what stands in it stays in it.
    let sent = "POST / HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n1b;x=\"y\"\r\n0\r\n\r\nGET /e HTTP/1.1\r\nA: \r\n\r\n0\r\n\r\n";
    let said = raw(web.address, sent.as_bytes()).await;
    assert!(said.starts_with("HTTP/1.1 200"), "{said}: {:?}", asked.lock().unwrap());
    let passed = asked.lock().unwrap().pop().unwrap();
    let (head, _) = passed.split_once("\r\n\r\n").unwrap();
    let lengths = head.lines().filter(|it| it.starts_with("content-length") || it.starts_with("transfer-encoding"));
    assert_eq!(lengths.collect::<Vec<_>>(), ["transfer-encoding: chunked"], "{passed}");
    assert!(!passed.contains("x=\"y\""), "extensions of chunks are of one connection: {passed}");
    // Line ends in a path or a header of HTTP/2 cannot be there; in the path they are escapes.
    assert_eq!(web.get("/a%0d%0aX-Own:%201").await.status(), 200);
    let passed = asked.lock().unwrap().pop().unwrap();
    assert!(passed.starts_with("GET /a%0d%0aX-Own:%201 HTTP/1.1\r\n") && !passed.contains("\nX-Own"), "{passed}");
    tasks.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_that_stops_is_ended_and_costs_the_upstream_nothing() {
    let tasks = Tasks::new();
    let up = upstream(&tasks, mirror).await;
    let web = web(&json!([{ "to": [up.url()] }]));
    let mut stream = TcpStream::connect(web.address).await.unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: 10\r\n\r\nabc").await.unwrap();
    until("it is asked", || !up.asked().is_empty()).await;
    drop(stream);
    until("nobody works on it", || web.plane.proxied()[0].upstreams[0].2 == 0).await;
    assert!(web.plane.proxied()[0].upstreams[0].1, "that is no fault of the upstream's");
    tasks.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_of_a_get_arrives_and_one_of_a_head_is_refused() {
    let tasks = Tasks::new();
    let up = upstream(&tasks, mirror).await;
    let web = web(&json!([{ "to": [up.url()] }]));
    let ask = async |method: &str, rest: &str| {
        let sent = format!("{method} / HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n{rest}");
        raw(web.address, sent.as_bytes()).await
    };
    let chunked = "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    assert!(ask("GET", chunked).await.contains(r#""body":3"#));
    assert!(ask("GET", "Content-Length: 3\r\n\r\nabc").await.contains(r#""body":3"#));
    let none = ask("GET", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n").await;
    assert!(none.contains(r#""body":0"#) && !none.contains("transfer-encoding\",\""), "{none}");
    for body in [chunked, "Content-Length: 3\r\n\r\nabc"] {
        assert!(ask("HEAD", body).await.starts_with("HTTP/1.1 400"), "{body}");
    }
    assert!(ask("HEAD", "\r\n").await.starts_with("HTTP/1.1 200"));
    tasks.stop();
}
