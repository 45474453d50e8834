//! An object store for the tests of this process, which checks signatures, and a gate before it that can be shut.
//!
//! It is started when the first test asks, on free ports, in a folder of its own, and ends with this process. Each test has
//! a prefix of its own in one bucket.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use chainhost::base::{files::write_atomic, secret::Secret};
use object_store::{
    ObjectStore as _, ObjectStoreExt as _, PutPayload,
    aws::{AmazonS3, AmazonS3Builder},
};
use rustix::process::{Pid, Signal, set_parent_process_death_signal, test_kill_process};
use tokio_stream::StreamExt as _;

use super::free_port;

/// How long it may take to start: it takes 9 s when nothing else runs.
const PATIENCE: Duration = Duration::from_mins(3);
/// What the names of the folders begin with; the process id follows.
const PREFIX: &str = "chainhost-s3-";
/// The one bucket.
const NAME: &str = "chainhost";
pub(crate) const KEY: &str = "tester";
pub(crate) const SECRET: &str = "a-secret-of-the-tests";
/// The keys as a server and the program take them from their environment.
pub(crate) const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", KEY), ("AWS_SECRET_ACCESS_KEY", SECRET)];

struct Server {
    port: u16,
    /// Another client than ours, past the gates.
    client: AmazonS3,
    runtime: tokio::runtime::Runtime,
}

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        sweep();
        start()
    })
}

fn start() -> Server {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/s3/venv/bin/weed");
    assert!(program.exists(), "the object store is missing. Install it with: tests/s3/install");
    let folder = std::env::temp_dir().join(format!("{PREFIX}{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    // Who may read and write makes no buckets.
    let users = format!(
        r#"{{"identities":[
            {{"name":"admin","credentials":[{{"accessKey":"admin","secretKey":"{SECRET}"}}],"actions":["Admin"]}},
            {{"name":"tests","credentials":[{{"accessKey":"{KEY}","secretKey":"{SECRET}"}}],"actions":["Read","Write","List","Tagging"]}}]}}"#
    );
    write_atomic(&folder.join("s3.json"), users.as_bytes(), 0o600).unwrap();
    let [port, master, volume, filer, master_grpc, volume_grpc, filer_grpc, s3_grpc] =
        std::array::from_fn(|_| free_port());
    let mut command = Command::new(program);
    command.args(["server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3", "-volume.max=200"]);
    command.args(["-s3.port.iceberg=0", "-s3.port.lance=0", "-master.volumeSizeLimitMB=64"]);
    for (name, value) in [
        ("s3.port", port),
        ("master.port", master),
        ("volume.port", volume),
        ("filer.port", filer),
        ("master.port.grpc", master_grpc),
        ("volume.port.grpc", volume_grpc),
        ("filer.port.grpc", filer_grpc),
        ("s3.port.grpc", s3_grpc),
    ] {
        command.arg(format!("-{name}={value}"));
    }
    command.arg(format!("-dir={}", folder.display())).arg(format!("-s3.config={}", folder.join("s3.json").display()));
    command.current_dir(&folder);
    keep(command, &folder.join("log"));
    let client = |key: &str| {
        AmazonS3Builder::new()
            .with_bucket_name(NAME)
            .with_region("us-east-1")
            .with_access_key_id(key)
            .with_secret_access_key(SECRET)
            .with_endpoint(format!("http://127.0.0.1:{port}"))
            .with_allow_http(true)
            .with_retry(object_store::RetryConfig { max_retries: 0, ..object_store::RetryConfig::default() })
            .build()
            .unwrap()
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (began, admin) = (tokio::time::Instant::now(), client("admin"));
    // An admin's first object makes the bucket.
    let ready = || runtime.block_on(admin.put(&"ready".into(), PutPayload::from_static(b"ready")));
    while let Err(error) = ready() {
        let said = || fs::read_to_string(folder.join("log")).unwrap_or_default();
        assert!(began.elapsed() < PATIENCE, "no object store on port {port}: {error}\n{}", said());
        thread::sleep(Duration::from_millis(100));
    }
    Server { port, client: client(KEY), runtime }
}

/// Starts a server that ends with this process: the kernel sends it the signal when the thread that started it is gone, and that
/// thread lives as long as the process.
fn keep(mut command: Command, log: &Path) {
    let out = fs::File::options().create(true).append(true).open(log).unwrap();
    command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out).process_group(0);
    // SAFETY: only one system call, which is safe between fork and exec.
    #[expect(unsafe_code, reason = "there is no other way to ask for the signal")]
    unsafe {
        command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
    }
    let (started, is_started) = mpsc::channel();
    thread::spawn(move || {
        let mut child = command.spawn().unwrap();
        started.send(()).unwrap();
        drop(child.wait());
        loop {
            thread::park();
        }
    });
    is_started.recv().unwrap();
}

/// Removes the folders of processes that are gone.
fn sweep() {
    for entry in fs::read_dir(std::env::temp_dir()).unwrap().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|it| it.strip_prefix(PREFIX)).and_then(|it| it.parse().ok());
        if let Some(pid) = pid.and_then(Pid::from_raw)
            && test_kill_process(pid).is_err()
        {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}

/// A part of the bucket for one test, behind a gate of its own.
pub(crate) struct Bucket {
    prefix: String,
    /// The way to it.
    pub(crate) gate: Gate,
}

impl Bucket {
    /// An empty one.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let prefix = format!("test-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        Self { prefix, gate: Gate::new(server().port) }
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        format!("s3://{NAME}/{}?endpoint=http://127.0.0.1:{}", self.prefix, self.gate.port)
    }

    /// The settings of a server that uses it, with more of the section behind.
    pub(crate) fn settings(&self, more: &str) -> String {
        settings(&self.url(), SECRET, more)
    }

    /// As our own client takes it.
    pub(crate) fn config(&self) -> chainhost::config::blobs::Bucket {
        chainhost::config::blobs::Bucket {
            name: NAME.to_owned(),
            prefix: self.prefix.clone(),
            endpoint: Some(format!("http://127.0.0.1:{}", self.gate.port)),
            region: String::from("us-east-1"),
            path_style: true,
            access_key_id: KEY.to_owned(),
            secret_access_key: Arc::new(Secret::new(SECRET.to_owned())),
            session_token: None,
        }
    }

    fn path(&self, name: &str) -> object_store::path::Path {
        format!("{}/{name}", self.prefix).into()
    }

    /// The names of all objects with their sizes.
    pub(crate) fn list(&self) -> BTreeMap<String, u64> {
        let server = server();
        let prefix = self.prefix.as_str().into();
        let all = server.runtime.block_on(async { server.client.list(Some(&prefix)).collect::<Vec<_>>().await });
        let name = |it: &str| it.strip_prefix(&self.prefix).unwrap().trim_start_matches('/').to_owned();
        all.into_iter().map(|it| it.unwrap()).map(|it| (name(it.location.as_ref()), it.size)).collect()
    }

    /// The names of the blobs, without their folders.
    pub(crate) fn blobs(&self) -> Vec<String> {
        let all = self.list().into_keys().filter(|it| it.starts_with("blobs/"));
        all.map(|it| it.rsplit('/').next().unwrap().to_owned()).collect()
    }

    /// The bytes of an object.
    pub(crate) fn get(&self, name: &str) -> Vec<u8> {
        let (server, path) = (server(), self.path(name));
        server.runtime.block_on(async { server.client.get(&path).await.unwrap().bytes().await.unwrap().to_vec() })
    }

    /// Puts an object behind our back.
    pub(crate) fn put(&self, name: &str, bytes: Vec<u8>) {
        let (server, path) = (server(), self.path(name));
        server.runtime.block_on(server.client.put(&path, PutPayload::from(bytes))).unwrap();
    }

    /// Removes an object behind our back.
    pub(crate) fn delete(&self, name: &str) {
        let (server, path) = (server(), self.path(name));
        server.runtime.block_on(server.client.delete(&path)).unwrap();
    }
}

/// The settings of a server that uses a bucket.
pub(crate) fn settings(url: &str, secret: &str, more: &str) -> String {
    format!("[blobs]\nurl = '{url}'\naccess_key_id = '{KEY}'\nsecret_access_key = '{secret}'\n{more}\n")
}

/// What a gate does with connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Way {
    /// Lets them through.
    #[default]
    Open,
    /// Cuts those that are open and takes no new ones.
    Shut,
    /// Takes them and lets nothing through, in either direction.
    Stalled,
    /// Answers each request with this status itself.
    Answers(u16),
    /// Lets them through, a little at a time.
    Slow,
    /// Cuts each connection when so many bytes have gone through in one direction.
    Cuts(usize),
}

/// A way to the store that can be shut.
pub(crate) struct Gate {
    port: u16,
    way: Arc<Mutex<Way>>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Gate {
    fn new(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let gate = Self { port, way: Arc::default(), open: Arc::default() };
        let (way, open) = (Arc::clone(&gate.way), Arc::clone(&gate.open));
        thread::spawn(move || {
            for from in listener.incoming() {
                let Ok(from) = from else { return };
                // Held, so that none slips through while it is shut.
                let mut all = open.lock().unwrap();
                match *way.lock().unwrap() {
                    Way::Shut => continue,
                    Way::Answers(status) => {
                        thread::spawn(move || drop(answer(from, status)));
                        continue;
                    }
                    _ => {}
                }
                let Ok(there) = TcpStream::connect(("127.0.0.1", to)) else { continue };
                all.extend([from.try_clone().unwrap(), there.try_clone().unwrap()]);
                drop(all);
                for (source, sink) in [(from.try_clone().unwrap(), there.try_clone().unwrap()), (there, from)] {
                    let way = Arc::clone(&way);
                    thread::spawn(move || pass(source, sink, &way));
                }
            }
        });
        gate
    }

    /// Changes what it does.
    pub(crate) fn set(&self, way: Way) {
        let mut open = self.open.lock().unwrap();
        *self.way.lock().unwrap() = way;
        // Those that are open would go on as before.
        if matches!(way, Way::Shut | Way::Answers(_) | Way::Cuts(_)) {
            for connection in open.drain(..) {
                drop(connection.shutdown(Shutdown::Both));
            }
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.set(Way::Shut);
    }
}

/// Reads one request, whatever it is, and answers it.
fn answer(mut from: TcpStream, status: u16) -> std::io::Result<()> {
    from.set_read_timeout(Some(Duration::from_mins(1)))?;
    let (mut head, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    let end = loop {
        let count = from.read(&mut buffer)?;
        head.extend_from_slice(buffer.get(..count).unwrap());
        if let Some(end) = head.windows(4).position(|it| it == b"\r\n\r\n") {
            break end + 4;
        }
        if count == 0 {
            return Ok(());
        }
    };
    let text = String::from_utf8_lossy(head.get(..end).unwrap()).to_ascii_lowercase();
    let length = text.lines().find_map(|it| it.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    let mut left = length.unwrap_or(0).saturating_sub(head.len() - end);
    // Unread, it would be a reset and not an answer.
    while left > 0 {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            count => left = left.saturating_sub(count),
        }
    }
    write!(from, "HTTP/1.1 {status} Out of order\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

fn pass(mut from: TcpStream, mut to: TcpStream, way: &Mutex<Way>) {
    let (mut buffer, mut passed) = (vec![0; 64 * 1024], 0);
    while let Ok(count) = from.read(&mut buffer) {
        passed += count;
        if *way.lock().unwrap() == Way::Slow {
            thread::sleep(Duration::from_millis(20));
        }
        if let Way::Cuts(most) = *way.lock().unwrap()
            && passed > most
        {
            break;
        }
        while *way.lock().unwrap() == Way::Stalled {
            thread::sleep(Duration::from_millis(5));
        }
        if count == 0 || to.write_all(buffer.get(..count).unwrap()).is_err() {
            break;
        }
    }
    drop(to.shutdown(Shutdown::Both));
    drop(from.shutdown(Shutdown::Both));
}

/// A folder that is emptied of blobs and their forms, as if the cache had been lost.
pub(crate) fn wipe(data: &Path) {
    for name in ["blobs", "variants"] {
        for folder in fs::read_dir(data.join(name)).unwrap() {
            for file in fs::read_dir(folder.unwrap().path()).unwrap() {
                // It may have left the cache meanwhile.
                drop(fs::remove_file(file.unwrap().path()));
            }
        }
    }
}

/// Where a blob is in a data folder.
pub(crate) fn local(data: &Path, hex: &str) -> PathBuf {
    data.join("blobs").join(&hex[..2]).join(hex)
}
