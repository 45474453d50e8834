//! A small server that speaks the contract of the API, keeps deployments in memory, and breaks when told to.
//!
//! It is strict: what the contract does not allow is answered with a problem, so that a test fails.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use bytes::Bytes;
use chainhost::{
    base::{clock::Clock, hash::Sha256, ids::Ids, tasks::Tasks},
    domain::api_key,
};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Notify};

/// A running fake. Ends with its drop.
pub(super) struct Fake {
    /// Where it listens, on 127.0.0.1 only.
    pub(super) address: SocketAddr,
    /// The one key that it takes.
    pub(super) key: String,
    shared: Arc<Mutex<State>>,
    tasks: Tasks,
    thread: Option<JoinHandle<()>>,
}

/// What breaks, at the next request for blobs.
pub(super) enum Fault {
    /// The connection ends after so many frames.
    CutAfterFrames(usize),
    /// The request is read no further after so many frames, and the sender is told.
    HangAfterFrames(usize, mpsc::SyncSender<()>),
    /// The connection ends after the first frame, and for a moment nobody listens.
    Restart,
    /// This problem is the answer, before the body is read.
    Refuse(u16, &'static str),
}

/// What was asked.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Asked {
    pub(super) call: String,
    pub(super) host: String,
    pub(super) idempotency_key: Option<String>,
    pub(super) body: Value,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) sites: BTreeMap<String, Vec<Deployment>>,
    pub(super) blobs: HashMap<String, Vec<u8>>,
    pub(super) frames: usize,
    pub(super) connections: usize,
    pub(super) asked: Vec<Asked>,
    pub(super) faults: VecDeque<Fault>,
    /// Answers for what is not a deployment: `GET /api/v1/jobs?limit=50` → status and body.
    pub(super) answers: BTreeMap<String, (u16, Value)>,
    /// Done after a deployment was announced.
    pub(super) announced: Option<Box<dyn FnMut() + Send>>,
    /// Answers to calls with this end are lost so many times, after the call was done.
    pub(super) lost: Option<(&'static str, usize)>,
    restart: Arc<Notify>,
}

#[derive(Clone)]
pub(super) struct Deployment {
    pub(super) id: String,
    pub(super) state: &'static str,
    pub(super) announcement: Value,
    key: String,
}

type Answer = Response<Full<Bytes>>;

impl Fake {
    pub(super) fn start() -> Self {
        let shared: Arc<Mutex<State>> = Arc::default();
        let tasks = Tasks::new();
        let key = api_key::generate().expose().to_owned();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let thread = {
            let (shared, tasks, key) = (Arc::clone(&shared), tasks.clone(), key.clone());
            std::thread::spawn(move || runtime.block_on(listen(listener, shared, tasks, key)))
        };
        Self { address, key, shared, tasks, thread: Some(thread) }
    }

    pub(super) fn url(&self) -> String {
        format!("http://localhost:{}", self.address.port())
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn answer(&self, call: &str, status: u16, body: Value) {
        self.state().answers.insert(call.to_owned(), (status, body));
    }

    /// All calls so far, as `GET /path?query`.
    pub(super) fn calls(&self) -> Vec<String> {
        self.state().asked.iter().map(|it| it.call.clone()).collect()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.tasks.stop();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

async fn listen(mut listener: TcpListener, shared: Arc<Mutex<State>>, tasks: Tasks, key: String) {
    let address = listener.local_addr().unwrap();
    let restart = Arc::clone(&lock(&shared).restart);
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.unwrap().0,
            () = restart.notified() => {
                drop(listener);
                // The time that a server is away, in which the client must find nobody.
                tokio::time::sleep(Duration::from_millis(150)).await;
                listener = TcpListener::bind(address).await.unwrap();
                continue;
            }
            () = tasks.stopping() => return,
        };
        lock(&shared).connections += 1;
        let (shared, key, token) = (Arc::clone(&shared), key.clone(), tasks.token().clone());
        tasks.spawn(async move {
            let service = service_fn(|request| handle(request, &shared, &key));
            tokio::select! {
                served = http1::Builder::new().serve_connection(TokioIo::new(stream), service) => drop(served),
                () = token.cancelled() => {}
            }
        });
    }
}

fn lock(shared: &Mutex<State>) -> MutexGuard<'_, State> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn answer(status: u16, body: &Value) -> Answer {
    let kind = if status < 400 { "application/json" } else { "application/problem+json" };
    let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
    let answer = Response::builder().status(StatusCode::from_u16(status).unwrap()).header(CONTENT_TYPE, kind);
    answer.body(Full::new(body)).unwrap()
}

fn problem(status: u16, code: &str, detail: &str) -> Answer {
    answer(
        status,
        &json!({"type": format!("urn:{code}"), "title": "No", "status": status, "detail": detail, "code": code}),
    )
}

async fn handle(request: Request<Incoming>, shared: &Mutex<State>, key: &str) -> io::Result<Answer> {
    let path = request.uri().path().to_owned();
    let answer = do_it(request, shared, key).await;
    match &mut lock(shared).lost {
        Some((end, times)) if path.ends_with(*end) && *times > 0 => {
            *times -= 1;
            Err(io::Error::other("lost"))
        }
        _ => answer,
    }
}

async fn do_it(request: Request<Incoming>, shared: &Mutex<State>, key: &str) -> io::Result<Answer> {
    let header = |name: &str| request.headers().get(name).map(|it| it.to_str().unwrap().to_owned());
    let (method, target) = (request.method().clone(), request.uri().to_string());
    let mut asked = Asked {
        call: format!("{method} {target}"),
        host: header("host").unwrap(),
        idempotency_key: header("idempotency-key"),
        body: Value::Null,
    };
    if header(AUTHORIZATION.as_str()) != Some(format!("Bearer {key}")) {
        lock(shared).asked.push(asked);
        return Ok(problem(401, "key", "This key is not known here."));
    }
    let kind = header(CONTENT_TYPE.as_str());
    let path: Vec<String> = target.split(['?', '/']).skip(1).map(str::to_owned).collect();
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    if let ["api", "v1", "sites", site, "deployments", id, "blobs"] = path.as_slice() {
        assert_eq!(kind.as_deref(), Some("application/octet-stream"));
        assert_eq!(header("expect").as_deref(), Some("100-continue"));
        assert!(header(CONTENT_LENGTH.as_str()).unwrap().parse::<u64>().unwrap() <= 64 << 20);
        lock(shared).asked.push(asked);
        return blobs(request, shared, site, id).await;
    }
    let body = request.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
    if !body.is_empty() {
        assert_eq!(kind.as_deref(), Some("application/json"));
        asked.body = serde_json::from_slice(&body).unwrap();
    }
    let mut state = lock(shared);
    state.asked.push(asked.clone());
    if let Some((status, body)) = state.answers.get(&asked.call) {
        return Ok(answer(*status, body));
    }
    Ok(match (method.as_str(), path.as_slice()) {
        ("GET", ["api", "v1", "me"]) => answer(
            200,
            &json!({"email": "a@example.org", "tenant": "default", "role": "admin", "super_admin": false, "key": null}),
        ),
        ("POST", ["api", "v1", "sites"]) => {
            let name = asked.body["name"].as_str().unwrap().to_owned();
            state.sites.insert(name.clone(), Vec::new());
            answer(201, &site_json(&name))
        }
        ("GET", ["api", "v1", "sites", site]) if state.sites.contains_key(*site) => answer(200, &site_json(site)),
        ("POST", ["api", "v1", "sites", site, "deployments"]) if state.sites.contains_key(*site) => {
            announce(&mut state, site, &asked)
        }
        ("GET", ["api", "v1", "sites", site, "deployments", id]) => match find(&mut state, site, id) {
            Some(found) => answer(200, &deployment_json(site, found)),
            None => problem(404, "not_found", "There is no such deployment."),
        },
        ("POST", ["api", "v1", "sites", site, "deployments", id, "finish"]) => {
            assert!(asked.idempotency_key.is_some());
            finish(&mut state, site, id)
        }
        _ => problem(404, "not_found", "There is no such thing."),
    })
}

fn site_json(name: &str) -> Value {
    json!({"id": "0".repeat(32), "name": name, "url": format!("http://{name}.localhost/"), "hostnames": [],
        "created_at": "2026-11-24T06:00:00Z", "live": null, "deployments": 0})
}

fn deployment_json(site: &str, it: &Deployment) -> Value {
    let files = it.announcement["files"].as_array().unwrap();
    json!({"id": it.id, "number": 7, "site": site, "state": it.state, "source": "cli", "message": it.announcement["message"],
        "actor": "a@example.org", "created_at": "2026-11-24T06:00:00Z", "finished_at": null,
        "manifest_sha256": Sha256::of(it.announcement.to_string().as_bytes()).hex(), "site_root": null,
        "files": files.len(), "bytes": files.iter().map(|it| it[1].as_u64().unwrap()).sum::<u64>(),
        "files_changed": 1, "files_sent": 1, "bytes_sent": 1, "url": format!("http://{site}.localhost/"),
        "preview_url": format!("http://x--{site}.localhost/"), "problem": null, "live": it.state == "live"})
}

fn find<'a>(state: &'a mut State, site: &str, id: &str) -> Option<&'a mut Deployment> {
    state.sites.get_mut(site)?.iter_mut().find(|it| it.id == id)
}

fn missing(state: &State, announcement: &Value) -> Vec<String> {
    let files = announcement["files"].as_array().unwrap().iter();
    let mut hashes: Vec<String> = files.map(|it| it[2].as_str().unwrap().to_owned()).collect();
    hashes.sort();
    hashes.dedup();
    hashes.into_iter().filter(|it| !state.blobs.contains_key(it)).collect()
}

fn announce(state: &mut State, site: &str, asked: &Asked) -> Answer {
    let key = asked.idempotency_key.clone().expect("an idempotency key");
    let known = state.sites[site].iter().find(|it| it.key == key).cloned();
    let deployment = known.unwrap_or_else(|| {
        let id = Ids::new(Clock::system()).next().to_string();
        Deployment { id, state: "uploading", announcement: asked.body.clone(), key }
    });
    assert_eq!(deployment.announcement, asked.body, "one key for two announcements");
    let missing = missing(state, &asked.body);
    let all = state.sites.get_mut(site).unwrap();
    if !all.iter().any(|it| it.id == deployment.id) {
        all.push(deployment.clone());
    }
    if let Some(announced) = &mut state.announced {
        announced();
    }
    answer(201, &json!({"id": deployment.id, "number": 7, "missing": missing}))
}

fn finish(state: &mut State, site: &str, id: &str) -> Answer {
    let Some(deployment) = find(state, site, id).cloned() else {
        return problem(404, "not_found", "No such deployment.");
    };
    if !missing(state, &deployment.announcement).is_empty() {
        return problem(409, "blobs_missing", "Some bytes are missing.");
    }
    if deployment.state == "uploading" {
        let publish = deployment.announcement["publish"].as_bool().unwrap();
        for it in state.sites.get_mut(site).unwrap() {
            match it.state {
                _ if it.id == id => it.state = if publish { "live" } else { "ready" },
                "live" if publish => it.state = "superseded",
                _ => {}
            }
        }
    }
    answer(200, &deployment_json(site, find(state, site, id).unwrap()))
}

async fn blobs(request: Request<Incoming>, shared: &Mutex<State>, site: &str, id: &str) -> io::Result<Answer> {
    let fault = lock(shared).faults.pop_front();
    if let Some(Fault::Refuse(status, code)) = fault {
        return Ok(problem(status, code, "Not now."));
    }
    assert!(find(&mut lock(shared), site, id).is_some());
    let (mut body, mut buffer, mut received) = (request.into_body(), Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        buffer.extend_from_slice(frame.map_err(io::Error::other)?.data_ref().unwrap());
        while let Some((hash, bytes, rest)) = split(&buffer) {
            assert_eq!(Sha256::of(&bytes).hex(), hash, "a frame with other bytes");
            {
                let mut state = lock(shared);
                state.blobs.insert(hash, bytes);
                state.frames += 1;
            }
            received += 1;
            buffer = rest;
            match &fault {
                Some(Fault::Restart) => {
                    lock(shared).restart.notify_one();
                    return Err(io::Error::other("restart"));
                }
                Some(Fault::CutAfterFrames(frames)) if received == *frames => return Err(io::Error::other("cut")),
                Some(Fault::HangAfterFrames(frames, told)) if received == *frames => {
                    told.send(()).unwrap();
                    let never: Result<Infallible, _> = std::future::pending().await;
                    return never.map(|it| match it {});
                }
                _ => {}
            }
        }
    }
    assert!(buffer.is_empty(), "a frame that does not end");
    Ok(answer(200, &json!({"received": received})))
}

fn split(buffer: &[u8]) -> Option<(String, Vec<u8>, Vec<u8>)> {
    let (hash, rest) = buffer.split_at_checked(32)?;
    let (length, rest) = rest.split_at_checked(8)?;
    let length = usize::try_from(u64::from_be_bytes(length.try_into().unwrap())).unwrap();
    let (bytes, rest) = rest.split_at_checked(length)?;
    Some((Sha256(hash.try_into().unwrap()).hex(), bytes.to_vec(), rest.to_vec()))
}
