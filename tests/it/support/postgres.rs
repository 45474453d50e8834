//! A PostgreSQL for the tests of this process, and a PgBouncer before it; a database of its own for each test.
//!
//! Both are started when the first test asks, on free ports, in a folder of their own, and end with this process.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use chainhost::base::files::write_atomic;
use postgres::{Client, NoTls, SimpleQueryMessage};
use rustix::process::{Pid, Signal, geteuid, kill_process, set_parent_process_death_signal, test_kill_process};

use super::free_port;

/// How long the servers may take to start.
const PATIENCE: Duration = Duration::from_mins(1);
/// What the names of the folders begin with; the process id follows.
const PREFIX: &str = "chainhost-postgres-";

/// The way to a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// To the server itself.
    Direct,
    /// Through PgBouncer in transaction mode, with two connections to the server.
    Pooled,
    /// As `Pooled`, where PgBouncer is told to ignore the settings of a connection instead of refusing them.
    Ignoring,
    /// As `Pooled`, where PgBouncer says after a second that it has no session free.
    Impatient,
}

/// An empty database. Dropped, it is removed with all that is connected to it.
pub(crate) struct Database {
    name: String,
    way: Way,
}

impl Database {
    /// Makes one.
    pub(crate) fn new(way: Way) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed));
        statement("postgres", &format!("CREATE DATABASE {name} TEMPLATE template0"));
        Self { name, way }
    }

    /// Where it is, on the way that was asked for.
    pub(crate) fn url(&self) -> String {
        let port = match self.way {
            Way::Direct => server().port,
            Way::Pooled => pooler(),
            Way::Ignoring => ignoring(),
            Way::Impatient => impatient(),
        };
        format!("postgres://postgres@127.0.0.1:{port}/{}", self.name)
    }

    /// Where it is, past the pooler.
    pub(crate) fn direct_url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{}", server().port, self.name)
    }
}

impl Database {
    /// Runs statements past the pooler, as somebody else would; the first column of the rows that they give, which are texts or are
    /// written as such.
    pub(crate) fn ask(&self, sql: &str) -> Vec<String> {
        let (database, sql) = (self.name.clone(), sql.to_owned());
        let text = |it: SimpleQueryMessage| match it {
            SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap().to_owned()),
            _ => None,
        };
        apart(move || connect(&database).simple_query(&sql).unwrap().into_iter().filter_map(text).collect())
    }

    /// Keeps it until the server ends; where it is.
    pub(crate) fn keep(self) -> String {
        static KEPT: Mutex<Vec<Database>> = Mutex::new(Vec::new());
        let url = self.url();
        KEPT.lock().unwrap().push(self);
        url
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        statement("postgres", &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
    }
}

/// The client must not run on a thread of an async runtime.
fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    thread::spawn(work).join().unwrap()
}

fn connect(database: &str) -> Client {
    Client::connect(&format!("postgres://postgres@127.0.0.1:{}/{database}", server().port), NoTls).unwrap()
}

fn statement(database: &str, sql: &str) {
    let (database, sql) = (database.to_owned(), sql.to_owned());
    apart(move || connect(&database).batch_execute(&sql).unwrap());
}

/// A PostgreSQL of a test's own. Dropped, it is stopped and removed.
pub(crate) struct Server {
    /// Where it listens.
    pub(crate) port: u16,
    /// Its own, and what a test puts beside its data.
    pub(crate) folder: PathBuf,
    settings: Vec<String>,
    pid: Option<Pid>,
}

impl Server {
    /// Makes a server with these settings, and starts it.
    pub(crate) fn start(settings: &[&str]) -> Self {
        let folder = new_folder();
        let initdb = program("initdb");
        run(as_owner(&initdb)
            .args(["-A", "trust", "-U", "postgres", "-N", "-E", "UTF8", "-D"])
            .arg(folder.join("data")));
        let settings = settings.iter().map(|it| (*it).to_owned()).collect();
        let mut server = Self { port: free_port(), folder, settings, pid: None };
        server.go();
        server
    }

    /// Makes a standby that follows this server, with settings of its own, and starts it.
    pub(crate) fn standby(&self, settings: &[&str]) -> Self {
        let folder = new_folder();
        let port = self.port.to_string();
        run(as_owner(&program("pg_basebackup"))
            .args(["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-R", "-X", "stream", "-c", "fast", "-D"])
            .arg(folder.join("data")));
        let settings = settings.iter().map(|it| (*it).to_owned()).collect();
        let mut standby = Self { port: free_port(), folder, settings, pid: None };
        standby.go();
        standby
    }

    /// Starts it again after [`Server::crash`].
    pub(crate) fn go(&mut self) {
        let mut command = as_owner(&program("postgres"));
        command.arg("-D").arg(self.folder.join("data"));
        for setting in [
            &format!("port={}", self.port),
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "max_connections=300",
        ] {
            command.arg("-c").arg(setting);
        }
        for setting in &self.settings {
            command.arg("-c").arg(setting);
        }
        self.pid = Some(keep(command, &self.folder.join("log")));
        wait_for(self.port, &self.folder.join("log"));
    }

    /// Ends it as a crash would: its sessions are cut, and it has to recover from its log.
    pub(crate) fn crash(&mut self) {
        let pid = self.pid.take().unwrap();
        kill_process(pid, Signal::QUIT).unwrap();
        while test_kill_process(pid).is_ok() {
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Lets it and all its sessions stand still, as a machine that is frozen does, until what comes back is dropped.
    pub(crate) fn freeze(&self) -> Frozen {
        let server = self.pid.unwrap();
        // First who could start more.
        let mut frozen = Frozen(Vec::new());
        frozen.stop(server);
        for it in children(server) {
            frozen.stop(it);
        }
        frozen
    }

    /// More settings for the next start.
    pub(crate) fn set(&mut self, settings: &[&str]) {
        self.settings.extend(settings.iter().map(|it| (*it).to_owned()));
    }

    /// Who may connect, from the next start on.
    pub(crate) fn rules(&self, text: &str) {
        write_atomic(&self.folder.join("data/pg_hba.conf"), text.as_bytes(), 0o644).unwrap();
    }

    /// Puts a copy of a file, which nobody else may read, beside its data: keys.
    pub(crate) fn give(&self, file: &Path) {
        run(Command::new("install")
            .args(["-m", "0600"])
            .args(owner())
            .arg(file)
            .arg(self.folder.join(file.file_name().unwrap())));
    }

    /// The database `postgres` of this server, with more of a URL after it.
    pub(crate) fn url(&self, more: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres{more}", self.port)
    }

    /// Runs statements in it, as somebody else would.
    pub(crate) fn run(&self, sql: &str) {
        let (url, sql) = (self.url(""), sql.to_owned());
        apart(move || Client::connect(&url, NoTls).unwrap().batch_execute(&sql).unwrap());
    }
}

impl Server {
    /// The first column of the first row in another database of this server, as text; empty when there is none.
    pub(crate) fn ask_in(&self, database: &str, sql: &str) -> String {
        let url = format!("postgres://postgres@127.0.0.1:{}/{database}", self.port);
        let sql = sql.to_owned();
        apart(move || {
            let answers = Client::connect(&url, NoTls).unwrap().simple_query(&sql).unwrap();
            let first = answers.iter().find_map(|it| match it {
                SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                _ => None,
            });
            first.unwrap_or_default()
        })
    }

    /// The first column of the first row, which is a text.
    pub(crate) fn ask(&self, sql: &str) -> String {
        let (url, sql) = (self.url(""), sql.to_owned());
        apart(move || Client::connect(&url, NoTls).unwrap().query_one(&sql, &[]).unwrap().get(0))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.pid.is_some() {
            self.crash();
        }
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// Processes that stand still. Dropped, they go on.
pub(crate) struct Frozen(Vec<Pid>);

impl Frozen {
    fn stop(&mut self, pid: Pid) {
        // A session may end by itself just now.
        if kill_process(pid, Signal::STOP).is_ok() {
            self.0.push(pid);
        }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        for pid in &self.0 {
            let _ = kill_process(*pid, Signal::CONT);
        }
    }
}

/// The processes that this one has started.
fn children(parent: Pid) -> Vec<Pid> {
    let is_child = |pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // Behind the name, which may hold anything: the state and the parent.
        let after = stat.rsplit_once(") ").map_or("", |it| it.1);
        after.split(' ').nth(1) == Some(&parent.as_raw_nonzero().to_string())
    };
    let all = fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|it| it.file_name().to_str()?.parse().ok());
    pids.filter(is_child).filter_map(Pid::from_raw).collect()
}

/// A folder for the data of a server.
fn new_folder() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("{PREFIX}{}-{number}", std::process::id()));
    run(Command::new("install").args(["-d", "-m", "0700"]).args(owner()).arg(&folder));
    folder
}

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        sweep();
        // A crash of the machine is not what these tests are about.
        Server::start(&["fsync=off"])
    })
}

/// The port of PgBouncer.
fn pooler() -> u16 {
    static POOLER: OnceLock<u16> = OnceLock::new();
    *POOLER.get_or_init(|| start_pooler("pgbouncer", ""))
}

/// The port of a PgBouncer that ignores settings.
fn ignoring() -> u16 {
    static POOLER: OnceLock<u16> = OnceLock::new();
    *POOLER.get_or_init(|| start_pooler("ignoring", "ignore_startup_parameters = options\n"))
}

/// The port of a PgBouncer on which nobody waits for long.
fn impatient() -> u16 {
    static POOLER: OnceLock<u16> = OnceLock::new();
    *POOLER.get_or_init(|| start_pooler("impatient", "query_wait_timeout = 1\n"))
}

fn start_pooler(name: &str, more: &str) -> u16 {
    let server = server();
    let port = free_port();
    let file = server.folder.join(format!("{name}.ini"));
    let text = format!(
        "[databases]\n* = host=127.0.0.1 port={} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 2\nmax_client_conn = 1000\n\
             autodb_idle_timeout = 1\nserver_fast_close = 1\n{more}",
        server.port
    );
    write_atomic(&file, text.as_bytes(), 0o644).unwrap();
    let mut command = as_owner(Path::new("pgbouncer"));
    command.arg(&file);
    let log = server.folder.join(format!("{name}.log"));
    keep(command, &log);
    wait_for(port, &log);
    port
}

/// A program of PostgreSQL, which Debian keeps out of the path.
fn program(name: &str) -> PathBuf {
    let mut found: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|it| it.path().join("bin").join(name))
        .filter(|it| it.exists())
        .collect();
    found.sort();
    found.pop().expect("PostgreSQL is missing. Install it with: apt-get install postgresql-15")
}

/// Neither server runs as root.
fn as_owner(program: &Path) -> Command {
    if !geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--pdeathsig=INT"]).arg(program);
    command
}

fn owner() -> &'static [&'static str] {
    if geteuid().is_root() { &["-o", "postgres", "-g", "postgres"] } else { &[] }
}

fn run(command: &mut Command) {
    let out = command.output().unwrap();
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
}

/// Starts a server that ends with this process: the kernel sends it the signal when the thread that started it is gone, and that
/// thread lives as long as the process.
fn keep(mut command: Command, log: &Path) -> Pid {
    let out = fs::File::options().create(true).append(true).open(log).unwrap();
    command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out).process_group(0);
    if !geteuid().is_root() {
        // SAFETY: only one system call, which is safe between fork and exec.
        #[expect(unsafe_code, reason = "there is no other way to ask for the signal")]
        unsafe {
            command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::INT))?));
        }
    }
    let (started, is_started) = mpsc::channel();
    thread::spawn(move || {
        let mut child = command.spawn().unwrap();
        started.send(Pid::from_child(&child)).unwrap();
        drop(child.wait());
        // The signal would be sent when this thread ends, and it must not end before the process.
        loop {
            thread::park();
        }
    });
    is_started.recv().unwrap()
}

fn wait_for(port: u16, log: &Path) {
    let start = tokio::time::Instant::now();
    // It listens before it takes sessions.
    let answers =
        || apart(move || Client::connect(&format!("postgres://postgres@127.0.0.1:{port}/postgres"), NoTls).is_ok());
    while !answers() {
        let said = || fs::read_to_string(log).unwrap_or_default();
        assert!(start.elapsed() < PATIENCE, "no answer on port {port}: {}", said());
        thread::sleep(Duration::from_millis(20));
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
