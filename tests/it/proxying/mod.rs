//! Paths of a site that other servers answer, over real sockets: what passes, what does not, and who gets it.

mod fastcgi;
mod hostile;
mod passing;
mod product;
mod rules;
mod streams;
mod switch;
mod upgrade;

use std::{
    convert::Infallible,
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use chainhost::{
    base::{ids::Id, tasks::Tasks},
    domain::{policy::Policy, site::SiteId, site_settings::SiteSettings},
    net::connection::Limits,
    serve::snapshot::{Given, Settings, Snapshot, State, Target},
};
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, timeout},
};

use crate::{
    support::{PATIENCE, free_port, write_files},
    web::{INSTANCE, Web},
};

/// The body of an upstream's answer.
type Answered = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// An upstream of a test.
struct Up {
    address: SocketAddr,
    /// How many have connected.
    connected: Arc<AtomicUsize>,
    /// The heads of the requests that came, as `METHOD /path`.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Up {
    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn connections(&self) -> usize {
        self.connected.load(Ordering::Relaxed)
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// An upstream that answers by `handler`.
async fn upstream<H, A>(tasks: &Tasks, handler: H) -> Up
where
    H: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Answered> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (connected, asked): (Arc<AtomicUsize>, Arc<Mutex<Vec<String>>>) = Default::default();
    let (count, heads, within) = (Arc::clone(&connected), Arc::clone(&asked), tasks.clone());
    tasks.spawn(async move {
        loop {
            let (stream, _) = tokio::select! {
                accepted = listener.accept() => accepted.unwrap(),
                () = within.stopping() => return,
            };
            count.fetch_add(1, Ordering::Relaxed);
            let (handler, heads, stop) = (handler.clone(), Arc::clone(&heads), within.clone());
            let service = service_fn(move |request: Request<Incoming>| {
                heads.lock().unwrap().push(format!("{} {}", request.method(), request.uri()));
                let answered = handler(request);
                async move { Ok::<_, Infallible>(answered.await) }
            });
            within.spawn(async move {
                let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades();
                tokio::select! {
                    ended = served => drop(ended),
                    () = stop.stopping() => {}
                }
            });
        }
    });
    Up { address, connected, asked }
}

fn text(text: impl Into<Bytes>) -> Answered {
    Response::new(Full::new(text.into()).boxed_unsync())
}

/// Answers with what it was asked, as JSON.
async fn mirror(request: Request<Incoming>) -> Answered {
    let (parts, body) = request.into_parts();
    let headers: Vec<(String, String)> =
        parts.headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    let body = body.collect().await.map_or(0, |it| it.to_bytes().len());
    let said =
        json!({ "method": parts.method.as_str(), "uri": parts.uri.to_string(), "headers": headers, "body": body });
    text(said.to_string())
}

/// The header of a mirrored request; all of them, where it has several.
fn mirrored(said: &Value, name: &str) -> String {
    let all = said["headers"].as_array().unwrap().iter().filter(|it| it[0] == name);
    let all: Vec<&str> = all.map(|it| it[1].as_str().unwrap()).collect();
    all.join(" | ")
}

/// Serves a site with these routes, and these files.
fn show(web: &Web, routes: &Value, files: &[(&str, &[u8])]) {
    show_with(web, routes, files, &json!({}));
}

/// The same with other settings too.
fn show_with(web: &Web, routes: &Value, files: &[(&str, &[u8])], settings: &Value) {
    let files = if files.is_empty() { &[("/index.html", &b"file"[..])] } else { files };
    let served = web.deploy(1, files, Policy::default());
    let mut routes = routes.clone();
    for route in routes.as_array_mut().unwrap() {
        route.as_object_mut().unwrap().entry("inside").or_insert(json!(true));
    }
    let mut settings = settings.clone();
    settings.as_object_mut().unwrap().insert("proxy".to_owned(), json!({ "routes": routes }));
    let settings = SiteSettings::parse(&settings.to_string()).unwrap();
    let mut snapshot = Snapshot::new(INSTANCE, web.plane.snapshot().generation + 1);
    let target = Target {
        site: SiteId(Id::from_bytes([1; 16])),
        name: String::from("site"),
        preview: false,
        state: State::Live(served),
        settings: Settings::Given(Given::new(settings)),
    };
    snapshot.insert("site.test", Arc::new(target));
    web.plane.publish(snapshot).unwrap();
}

/// A data plane whose site is answered by these routes.
fn web(routes: &Value) -> Web {
    let web = Web::with(Limits::default());
    show(&web, routes, &[("/index.html", b"file")]);
    web
}

/// Sends these bytes and reads what comes until the other side has no more, or for a while.
async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut came = Vec::new();
    drop(timeout(Duration::from_secs(5), stream.read_to_end(&mut came)).await);
    String::from_utf8_lossy(&came).into_owned()
}

/// Waits until something holds.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// A program of Node.js that listens at a port of its own. Killed when dropped.
struct Node {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Node {
    async fn start(program: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_files(folder.path(), &[("up.js", program.as_bytes())]);
        let port = free_port();
        let child = Command::new("node")
            .arg(folder.path().join("up.js"))
            .arg(port.to_string())
            .stdin(Stdio::null())
            .spawn()
            .expect("node is there: tests/run installs it");
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            assert!(Instant::now() < end, "Node.js does not listen");
            sleep(Duration::from_millis(20)).await;
        }
        Self { child, port, _folder: folder }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// As `kill -9` does.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
