//! Who of several upstreams gets a request, and what becomes of requests when upstreams come and go.

use super::*;
use crate::web::get;

/// Answers after a moment with its port.
const PLAIN: &str = "
const http = require('http');
const port = Number(process.argv[2]);
http.createServer((request, answer) => setTimeout(() => answer.end(String(port)), 5)).listen(port, '127.0.0.1');
";

/// Failures that are kept: more say nothing more.
const BAD_MAX: usize = 100;

/// What visitors got while something happened.
#[derive(Default)]
struct Load {
    good: AtomicUsize,
    bad: Mutex<Vec<String>>,
}

/// Visitors who ask one request after the other until told to stop.
fn visitors(web: &Web, count: usize, stop: &Arc<AtomicUsize>, load: &Arc<Load>) {
    for _ in 0..count {
        let (address, stop, load, tasks) = (web.address, Arc::clone(stop), Arc::clone(load), web.tasks.clone());
        web.tasks.spawn(async move {
            let stream = TcpStream::connect(address).await.unwrap();
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
            tasks.spawn(async move { drop(connection.await) });
            while stop.load(Ordering::Relaxed) == 0 {
                let answered = async {
                    sender.ready().await?;
                    let answer = sender.send_request(get("/", &[])).await?;
                    let status = answer.status().as_u16();
                    answer.into_body().collect().await.map(|it| (status, it.to_bytes()))
                };
                match answered.await {
                    Ok((200, _)) => drop(load.good.fetch_add(1, Ordering::Relaxed)),
                    other => {
                        {
                            let mut bad = load.bad.lock().unwrap();
                            if bad.len() < BAD_MAX {
                                bad.push(format!("{other:?}"));
                            }
                        }
                        tokio::task::yield_now().await;
                        // A connection that is gone stays so.
                        break;
                    }
                }
            }
            stop.fetch_add(1, Ordering::Relaxed);
        });
    }
}

async fn end(stop: &AtomicUsize, count: usize) {
    stop.store(1, Ordering::Relaxed);
    until("all visitors have ended", || stop.load(Ordering::Relaxed) == 1 + count).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_is_killed_fails_no_visitor() {
    let (mut one, other) = tokio::join!(Node::start(PLAIN), Node::start(PLAIN));
    let web = web(&json!([{ "to": [one.url(), other.url()] }]));
    let (stop, load): (Arc<AtomicUsize>, Arc<Load>) = Default::default();
    visitors(&web, 16, &stop, &load);
    until("some were answered", || load.good.load(Ordering::Relaxed) > 300).await;
    let well = || web.plane.proxied()[0].upstreams.iter().map(|it| it.1).collect::<Vec<_>>();
    assert_eq!(well(), [true, true]);
    one.kill();
    until("it is left alone", || well() == [false, true]).await;
    let before = load.good.load(Ordering::Relaxed);
    until("the others are answered", || load.good.load(Ordering::Relaxed) > before + 500).await;
    end(&stop, 16).await;
    let bad = load.bad.lock().unwrap();
    assert!(bad.is_empty(), "{} of {}: {:?}", bad.len(), load.good.load(Ordering::Relaxed), bad.first());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_of_upstreams_fails_no_visitor_and_lets_go_of_the_old() {
    let tasks = Tasks::new();
    let answer = |name: &'static str| {
        move |request: Request<Incoming>| async move {
            let slow = request.uri().path() == "/slow";
            sleep(Duration::from_millis(if slow { 600 } else { 3 })).await;
            text(name)
        }
    };
    let (blue, green) = (upstream(&tasks, answer("blue")).await, upstream(&tasks, answer("green")).await);
    let to = |up: &Up| json!([{ "to": [up.url()], "timeout_s": { "drain": 5 } }]);
    let web = web(&to(&blue));
    let (stop, load): (Arc<AtomicUsize>, Arc<Load>) = Default::default();
    visitors(&web, 8, &stop, &load);
    for round in 0..20 {
        let (new, old) = if round % 2 == 0 { (&green, &blue) } else { (&blue, &green) };
        let slow = web.get("/slow");
        let switched = async {
            until("it is under way", || web.plane.proxied()[0].upstreams[0].2 > 0).await;
            sleep(Duration::from_millis(30)).await;
            show(&web, &to(new), &[]);
            // Whoever asks from now on is answered by the new one.
            sleep(Duration::from_millis(50)).await;
            let before = old.asked().len();
            sleep(Duration::from_millis(50)).await;
            assert_eq!(old.asked().len(), before, "round {round}");
        };
        let (slow, ()) = tokio::join!(slow, switched);
        assert_eq!(slow.status(), 200, "round {round}");
        if round == 3 {
            assert_eq!(web.plane.proxied()[0].upstreams.len(), 1);
        }
    }
    end(&stop, 8).await;
    let bad = load.bad.lock().unwrap();
    assert!(bad.is_empty(), "{} of {}: {:?}", bad.len(), load.good.load(Ordering::Relaxed), bad.first());
    assert!(load.good.load(Ordering::Relaxed) > 500);
    tasks.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lasts_is_ended_some_time_after_its_upstream_was_taken_away() {
    let tasks = Tasks::new();
    let up = upstream(&tasks, async |_| {
        std::future::pending::<()>().await;
        text("")
    })
    .await;
    let other = upstream(&tasks, mirror).await;
    let web = web(&json!([{ "to": [up.url()], "timeout_s": { "drain": 1 } }]));
    let asked = web.get("/");
    let switched = async {
        until("it is asked", || !up.asked().is_empty()).await;
        show(&web, &json!([{ "to": [other.url()] }]), &[]);
    };
    let begun = Instant::now();
    let (asked, ()) = tokio::join!(timeout(PATIENCE, asked), switched);
    assert_eq!(asked.unwrap().status(), 504);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    tasks.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_the_least_to_do_is_asked() {
    let tasks = Tasks::new();
    let slow = upstream(&tasks, async |_| {
        sleep(Duration::from_millis(300)).await;
        text("slow")
    })
    .await;
    let fast = upstream(&tasks, async |_| text("fast")).await;
    let web = web(&json!([{ "to": [slow.url(), fast.url()] }]));
    let held = async {
        tokio::join!(web.get("/"), web.get("/"), web.get("/"), web.get("/"));
    };
    let rest = async {
        sleep(Duration::from_millis(60)).await;
        let before = slow.asked().len();
        for _ in 0..20 {
            assert_eq!(web.get("/").await.text(), "fast");
        }
        assert_eq!(slow.asked().len(), before);
    };
    tokio::join!(held, rest);
    tasks.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_that_it_is_not_well_gets_nothing() {
    let tasks = Tasks::new();
    let ill = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&ill);
    let one = upstream(&tasks, move |request| {
        let is_ill = seen.load(Ordering::Relaxed) == 1 && request.uri().path() == "/up";
        async move {
            let mut answer = text("one");
            if is_ill {
                *answer.status_mut() = hyper::StatusCode::SERVICE_UNAVAILABLE;
            }
            answer
        }
    })
    .await;
    let other = upstream(&tasks, async |_| text("other")).await;
    let health = json!({ "path": "/up", "every_s": 5, "timeout_s": 1, "fails": 1 });
    let web = web(&json!([{ "to": [one.url(), other.url()], "health": health }]));
    let well = || web.plane.proxied()[0].upstreams.iter().map(|it| it.1).collect::<Vec<_>>();
    until("both were looked at", || one.asked().contains(&String::from("GET /up"))).await;
    assert_eq!(well(), [true, true]);
    ill.store(1, Ordering::Relaxed);
    until("it is down", || well() == [false, true]).await;
    for _ in 0..10 {
        assert_eq!(web.get("/").await.text(), "other");
    }
    ill.store(0, Ordering::Relaxed);
    until("it is up again", || well() == [true, true]).await;
    let mut said: Vec<String> = Vec::new();
    for _ in 0..4 {
        said.push(web.get("/").await.text().to_owned());
    }
    assert!(said.contains(&String::from("one")), "{said:?}");
    // Where all are down, nobody is asked.
    show(&web, &json!([{ "to": [one.url()], "health": health }]), &[]);
    ill.store(1, Ordering::Relaxed);
    until("it is down", || well() == [false]).await;
    let answer = web.get("/").await;
    assert_eq!((answer.status(), answer.header("retry-after")), (503, "5"));
    assert!(answer.text().starts_with("The application is not well."), "{}", answer.text());
    tasks.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_there_is_said_and_tried_again_at_once() {
    let tasks = Tasks::new();
    let port = free_port();
    let web = web(&json!([{ "to": [format!("http://127.0.0.1:{port}")], "failing": { "after": 1, "for_s": 60 } }]));
    let answer = web.get("/").await;
    assert_eq!(answer.status(), 502);
    assert!(answer.text().starts_with("The application cannot be reached."), "{}", answer.text());
    assert!(!web.plane.proxied()[0].upstreams[0].1);
    // The only one is asked all the same, as there is nobody else.
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    tasks.spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let service = service_fn(async |_| Ok::<_, Infallible>(text("here")));
        drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
    });
    assert_eq!(web.get("/").await.text(), "here");
    assert!(web.plane.proxied()[0].upstreams[0].1);
}
