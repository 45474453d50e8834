//! Redis servers for the tests: one for all of this process, and others that a test starts, kills and starts again.
//!
//! Each has a free port and a folder of its own, and ends with this process.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::time::Instant;

use super::free_port;

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_mins(1);
/// Servers of one run of the tests that can have a queue in a Redis.
const PAIRS: u32 = 2_000;
/// What the names of the folders begin with; the process id follows.
const PREFIX: &str = "chainhost-redis-";

/// A Redis. Dropped, it is killed and its files are removed.
pub(crate) struct Server {
    /// Where it listens on 127.0.0.1.
    pub(crate) port: u16,
    /// Its own: append-only file, configuration, log.
    pub(crate) folder: PathBuf,
    settings: Vec<String>,
    pid: Option<Pid>,
}

impl Server {
    /// Makes a server with more arguments (`["--appendonly", "yes"]`), and starts it. It answers when this returns.
    pub(crate) fn start(settings: &[&str]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("{PREFIX}{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let settings = settings.iter().map(|it| (*it).to_owned()).collect();
        let mut server = Self { port: free_port(), folder, settings, pid: None };
        server.go();
        server
    }

    /// `redis://127.0.0.1:port`, its database 0.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// What it answers to a command, as redis-cli prints it.
    pub(crate) fn ask(&self, words: &[&str]) -> String {
        let mut ask = Command::new("redis-cli");
        let done = ask.args(["-p", &self.port.to_string()]).args(words).output().expect("install redis-tools");
        let said = String::from_utf8_lossy(&done.stdout).trim().to_owned();
        assert!(done.status.success() && !said.starts_with("ERR"), "{words:?}: {said}");
        said
    }

    /// Starts it again after [`Server::kill`], on the same port and files.
    pub(crate) fn go(&mut self) {
        assert!(self.pid.is_none(), "it runs");
        let log = self.folder.join("log");
        let out = fs::File::options().create(true).append(true).open(&log).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig=KILL", "redis-server", "--bind", "127.0.0.1", "--save", "", "--port"]);
        command.arg(self.port.to_string()).arg("--dir").arg(&self.folder).args(&self.settings);
        command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out);
        let pid = keep(command);
        self.pid = Some(pid);
        let start = Instant::now();
        while !answers(self.port) {
            let said = || fs::read_to_string(&log).unwrap_or_default();
            assert!(test_kill_process(pid).is_ok(), "redis-server ended: {}", said());
            assert!(start.elapsed() < PATIENCE, "no answer on port {}: {}", self.port, said());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends it as a crash would. What is on the disk stays.
    pub(crate) fn kill(&mut self) {
        let Some(pid) = self.pid.take() else { return };
        // It may have ended by itself.
        let _ = kill_process(pid, Signal::KILL);
        while test_kill_process(pid).is_ok() {
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends it a signal: STOP and CONT hold it still for a while.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid.unwrap(), signal).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// A server for all tests of this process that harm none; each takes a prefix or a database of its own.
pub(crate) fn shared() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        sweep();
        Server::start(&[])
    })
}

/// Where one server of the tests has its jobs, and what it caches. What is cached has the name of its installation; for its jobs
/// each installation needs a database of its own.
pub(crate) struct Pair {
    database: u32,
}

impl Pair {
    /// One that nobody has used.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let database = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(database < PAIRS, "there are more servers than databases");
        Self { database }
    }

    /// The Redis of the queue.
    pub(crate) fn queue_url(&self) -> String {
        static SERVER: OnceLock<Server> = OnceLock::new();
        let server = SERVER.get_or_init(|| {
            sweep();
            // None of these tests lets it die, and a slow disk is not what they are about.
            Server::start(&["--databases", &PAIRS.to_string()])
        });
        format!("{}/{}", server.url(), self.database)
    }

    /// The Redis of the cache.
    #[expect(clippy::unused_self, reason = "it goes with the other")]
    pub(crate) fn cache_url(&self) -> String {
        static SERVER: OnceLock<Server> = OnceLock::new();
        SERVER.get_or_init(|| Server::start(&["--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"])).url()
    }
}

/// Starts a program that ends with this process: the kernel sends the signal when the thread that started it is gone, and that
/// thread lives as long as the process.
fn keep(mut command: Command) -> Pid {
    let (started, is_started) = mpsc::channel();
    thread::spawn(move || {
        let mut child = command
            .spawn()
            .expect("setpriv or redis-server is missing. Install them with: apt-get install util-linux redis-server");
        started.send(Pid::from_child(&child)).unwrap();
        drop(child.wait());
        loop {
            thread::park();
        }
    });
    is_started.recv().expect("the program was not started")
}

/// Whether a server on this port takes commands, or asks for a password or TLS before it does.
fn answers(port: u16) -> bool {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) else { return false };
    let mut said = [0; 64];
    let asked = stream.set_read_timeout(Some(Duration::from_secs(5))).and_then(|()| stream.write_all(b"PING\r\n"));
    match asked.and_then(|()| stream.read(&mut said)) {
        Ok(count) => count > 0 && !said.starts_with(b"-LOADING"),
        Err(_) => false,
    }
}

/// Removes the folders of processes that are gone.
fn sweep() {
    for entry in fs::read_dir(std::env::temp_dir()).unwrap().flatten() {
        let name = entry.file_name();
        let rest = name.to_str().and_then(|it| it.strip_prefix(PREFIX));
        let pid = rest.and_then(|it| it.split('-').next()).and_then(|it| it.parse().ok());
        if let Some(pid) = pid.and_then(Pid::from_raw)
            && test_kill_process(pid).is_err()
        {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}

/// Whether a file of a server is there, for tests that damage it.
pub(crate) fn find(folder: &Path, part: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?.flatten();
    entries.map(|it| it.path()).find(|it| it.to_string_lossy().contains(part))
}
