//! A data plane on real sockets for tests, and clients that read whole answers.

use std::{io::Write as _, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use chainhost::{
    base::{
        blob_dir::{BlobDir, Coding},
        clock::Clock,
        hash::Sha256,
        ids::Id,
        tasks::Tasks,
    },
    domain::{deployment::DeploymentId, media_type, policy::Policy, site::SiteId, site_path::SitePath},
    http::{
        host,
        peer::{Peer, Trust},
    },
    net::{Arriving, connection, listen},
    proof::manifest::{Entry, Manifest},
    serve::{
        self, Asked, DataPlane,
        proxy::{Nobody, Resolve},
        snapshot::{Served, Settings, Snapshot, State, Target},
    },
};
use http_body_util::{BodyExt as _, Empty};
use hyper::{Request, client::conn, http::response::Parts};
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::support::PATIENCE;

pub(crate) const INSTANCE: Id = Id::from_bytes([9; 16]);

/// A data folder, a data plane on it, and a listening socket. Ends its tasks when dropped.
pub(crate) struct Web {
    pub(crate) folder: TempDir,
    pub(crate) blobs: BlobDir,
    pub(crate) plane: DataPlane,
    pub(crate) tasks: Tasks,
    pub(crate) address: SocketAddr,
}

impl Drop for Web {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

impl Web {
    pub(crate) fn start() -> Self {
        Self::with(connection::Limits::default())
    }

    /// With these limits; must be called inside the runtime.
    pub(crate) fn with(limits: connection::Limits) -> Self {
        Self::resolving(limits, Arc::new(Nobody))
    }

    /// The same, with upstreams at the addresses that `resolver` says.
    pub(crate) fn resolving(limits: connection::Limits, resolver: Arc<dyn Resolve>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let blobs = BlobDir::open(folder.path()).unwrap();
        let tasks = Tasks::new();
        let (snapshot, bodies) = (Snapshot::new(INSTANCE, 0), folder.path().join(serve::BODIES));
        let plane = DataPlane::resolving(blobs.clone(), snapshot, tasks.clone(), Clock::system(), resolver, bodies);
        let listener = listen::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap().remove(0);
        let address = listener.local_addr().unwrap();
        let serving = plane.clone();
        let trust = Arc::new(Trust { proxies: Vec::new(), own: Vec::new(), scheme: "http" });
        let handler = move |request: Request<Arriving>, peer: Peer| {
            let trust = Arc::clone(&trust);
            let plane = serving.clone();
            async move {
                let (parts, body) = request.into_parts();
                let Some(host) = host::host(&parts) else { return plane.bad_host(&parts) };
                match plane.answer(Asked { host: &host, parts: &parts, peer, trust: &trust }, body).await {
                    Some(response) => response,
                    None => plane.unknown_host(&parts),
                }
            }
        };
        tasks.spawn(connection::serve(listener, handler, tasks.clone(), limits));
        Self { folder, blobs, plane, tasks, address }
    }

    /// Keeps these files as a deployment; its number is its id.
    pub(crate) fn deploy(&self, number: u8, files: &[(&str, &[u8])], policy: Policy) -> Served {
        let mut batch = self.blobs.batch();
        let mut entries = Vec::new();
        for (path, bytes) in files {
            let mut writer = self.blobs.writer().unwrap();
            writer.write(bytes).unwrap();
            let (sha256, size) = writer.finish(None, &mut batch).unwrap();
            let media_type = media_type::of(path).to_owned();
            entries.push(Entry { path: SitePath::parse(path).unwrap(), sha256, size, media_type });
        }
        let manifest = Manifest::new(entries, policy).unwrap().to_bytes();
        let mut writer = self.blobs.writer().unwrap();
        writer.write(&manifest).unwrap();
        let (manifest, _) = writer.finish(None, &mut batch).unwrap();
        batch.commit().unwrap();
        Served { deployment: DeploymentId(Id::from_bytes([number; 16])), manifest, proof: true }
    }

    /// Serves these hosts as the next generation.
    pub(crate) fn publish(&self, hosts: &[(&str, State)]) {
        let mut snapshot = Snapshot::new(INSTANCE, self.plane.snapshot().generation + 1);
        for (host, state) in hosts {
            let preview = host.contains("--");
            let site = SiteId(Id::from_bytes([1; 16]));
            snapshot.insert(
                host,
                Arc::new(Target {
                    site,
                    name: String::from("site"),
                    preview,
                    state: state.clone(),
                    settings: Settings::Plain,
                }),
            );
        }
        self.plane.publish(snapshot).unwrap();
    }

    /// Serves these files at `site.test`.
    pub(crate) fn show(&self, files: &[(&str, &[u8])], policy: Policy) -> Served {
        let served = self.deploy(1, files, policy);
        self.publish(&[("site.test", State::Live(served))]);
        served
    }

    /// The file of a blob.
    pub(crate) fn blob(&self, hash: &Sha256) -> PathBuf {
        let hex = hash.hex();
        self.folder.path().join("blobs").join(&hex[..2]).join(&hex)
    }

    /// Writes a compressed form that was made from `text`.
    pub(crate) fn compress(&self, blob: &Sha256, coding: Coding, text: &[u8]) -> Vec<u8> {
        let bytes = match coding {
            Coding::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(text).unwrap();
                encoder.finish().unwrap()
            }
            Coding::Brotli => {
                let mut bytes = Vec::new();
                brotli::CompressorWriter::new(&mut bytes, 4096, 5, 22).write_all(text).unwrap();
                bytes
            }
            Coding::Zstd => zstd::encode_all(text, 3).unwrap(),
        };
        self.blobs.put_variant(blob, coding, &bytes).unwrap();
        bytes
    }

    /// Asks on a connection of its own.
    pub(crate) async fn ask(&self, request: Request<Empty<Bytes>>) -> Answer {
        self.client().await.ask(request).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(get(path, &[])).await
    }

    pub(crate) async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.ask(get(path, headers)).await
    }

    /// An HTTP/2 connection.
    pub(crate) async fn http_2(&self) -> conn::http2::SendRequest<Empty<Bytes>> {
        http_2(self.address, &self.tasks).await
    }

    /// A connection with keep-alive.
    pub(crate) async fn client(&self) -> Client {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (sender, connection) = conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        self.tasks.spawn(async move { drop(connection.await) });
        Client(sender)
    }
}

/// Runs hyper's futures as tasks.
#[derive(Clone)]
struct Spawn(Tasks);

impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for Spawn {
    fn execute(&self, future: F) {
        self.0.spawn(async move { drop(future.await) });
    }
}

/// An HTTP/2 connection with prior knowledge.
pub(crate) async fn http_2(address: SocketAddr, tasks: &Tasks) -> conn::http2::SendRequest<Empty<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let made = conn::http2::handshake(Spawn(tasks.clone()), TokioIo::new(stream)).await;
    let (sender, connection) = made.unwrap();
    tasks.spawn(async move { drop(connection.await) });
    sender
}

/// The same, once the server has said that a WebSocket may be asked for by it (RFC 8441 §3).
pub(crate) async fn http_2_with_websockets(
    address: SocketAddr,
    tasks: &Tasks,
) -> conn::http2::SendRequest<Empty<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let made = conn::http2::handshake(Spawn(tasks.clone()), TokioIo::new(stream)).await;
    let (sender, connection) = made.unwrap();
    let mut connection = Box::pin(connection);
    let end = Instant::now() + PATIENCE;
    while !connection.is_extended_connect_protocol_enabled() {
        assert!(Instant::now() < end, "it is not said");
        // Another task reads the settings, and tells this one nothing of them.
        let ended = timeout(Duration::from_millis(10), connection.as_mut()).await;
        assert!(ended.is_err(), "the connection has ended");
    }
    tasks.spawn(async move { drop(connection.await) });
    sender
}

/// A request for `site.test`, unless the headers have another host.
pub(crate) fn get(path: &str, headers: &[(&str, &str)]) -> Request<Empty<Bytes>> {
    request("GET", path, headers)
}

pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Request<Empty<Bytes>> {
    let mut request = Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "site.test");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Empty::new()).unwrap()
}

pub(crate) struct Client(conn::http1::SendRequest<Empty<Bytes>>);

impl Client {
    /// The whole answer, or why it broke off.
    pub(crate) async fn ask(&mut self, request: Request<Empty<Bytes>>) -> hyper::Result<Answer> {
        self.0.ready().await?;
        let (parts, body) = self.0.send_request(request).await?.into_parts();
        Ok(Answer { parts, body: body.collect().await?.to_bytes() })
    }
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) parts: Parts,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.parts.status.as_u16()
    }

    /// A header's value; empty without it.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.parts.headers.get(name).map_or("", |it| it.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}
