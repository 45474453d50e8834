//! A real server for a test: the program itself, with a data folder and a port of its own.

pub(crate) mod authority;
pub(crate) mod base;
pub(crate) mod browser;
pub(crate) mod dns;
pub(crate) mod ground;
pub(crate) mod http;
pub(crate) mod keep_alive;
#[cfg(all(feature = "postgres", feature = "redis"))]
pub(crate) mod line;
pub(crate) mod mmdb;
pub(crate) mod pebble;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
pub(crate) mod provider;
#[cfg(feature = "redis")]
pub(crate) mod redis;
#[cfg(feature = "redis")]
pub(crate) mod redis_ha;
#[cfg(feature = "s3")]
pub(crate) mod s3;
pub(crate) mod seed;
pub(crate) mod stores;
pub(crate) mod strace;

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Output, Stdio},
    time::Duration,
};

use chainhost::{app::ground::Wish, config::database::Postgres};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) use self::http::Answer;
use self::stores::Stores;

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_chainhost");
/// A password that every user of the tests has.
pub(crate) const PASSWORD: &str = "correct horse battery staple";
/// How long a test waits for what must come, before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A port that nobody uses now. It is below those that the kernel gives to clients: one that tries to reach a server that is
/// down would else sooner or later be connected to itself.
pub(crate) fn free_port() -> u16 {
    use std::{
        net::TcpListener,
        sync::atomic::{AtomicU32, Ordering},
    };
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = std::process::id().wrapping_mul(31).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(12_000 + number % 10_000).unwrap();
        // A cluster's node also listens at 10,000 above its port.
        if TcpListener::bind(("127.0.0.1", port)).is_ok() && TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok() {
            return port;
        }
    }
}

/// A running server. Dropped, it is stopped, and what it logged is shown when the test failed.
pub(crate) struct Host {
    folder: TempDir,
    arguments: Vec<String>,
    stores: Stores,
    /// More variables of its environment.
    environment: Vec<(String, String)>,
    child: Option<Child>,
    /// Kept open, so that the server can write to it.
    out: Option<BufReader<ChildStdout>>,
    /// The port it listens on.
    pub(crate) port: u16,
}

impl Host {
    /// A new server with an empty data folder.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// A new server with more arguments to `serve`.
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::start_in(folder, arguments)
    }

    /// A new server with these settings in its configuration file.
    pub(crate) fn start_configured(settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("chainhost.toml");
        write_files(folder.path(), &[("chainhost.toml", settings.as_bytes())]);
        Self::start_in(folder, &["--config", file.to_str().unwrap()])
    }

    /// As [`Host::start_configured`], with this name server and more arguments to `serve`.
    pub(crate) fn start_resolving(server: &str, settings: &str, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("chainhost.toml");
        write_files(folder.path(), &[("chainhost.toml", settings.as_bytes())]);
        let mut host = Self::prepare(folder, &[&["--config", file.to_str().unwrap()], arguments].concat());
        host.environment.push((String::from("CHAINHOST_DNS_SERVERS"), server.to_owned()));
        host.restart();
        host
    }

    /// A new server that has all in its data folder, for what only such a one can lose: its files.
    pub(crate) fn start_embedded() -> Self {
        Self::start_embedded_in(tempfile::tempdir().unwrap())
    }

    /// As [`Host::start_embedded`], with these settings in its configuration file, and the stores that they name.
    pub(crate) fn start_embedded_configured(settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("chainhost.toml");
        write_files(folder.path(), &[("chainhost.toml", settings.as_bytes())]);
        let mut host = Self::prepare(folder, &["--config", file.to_str().unwrap()]);
        host.stores = Stores::default();
        host.restart();
        host
    }

    /// As [`Host::start_embedded`], in a folder of the caller's.
    pub(crate) fn start_embedded_in(folder: TempDir) -> Self {
        let mut host = Self::prepare(folder, &[]);
        host.stores = Stores::default();
        host.restart();
        host
    }

    /// A new server that logs all it can.
    pub(crate) fn start_traced() -> Self {
        let mut host = Self::prepare(tempfile::tempdir().unwrap(), &[]);
        host.environment.push((String::from("CHAINHOST_LOG"), String::from("trace")));
        host.restart();
        host
    }

    /// A new server that uses the database at a URL, and the queue in its folder.
    #[cfg(feature = "postgres")]
    pub(crate) fn start_on(url: &str) -> Self {
        Self::start_on_in(url, tempfile::tempdir().unwrap())
    }

    /// As [`Host::start_on`], in a folder of the caller's.
    #[cfg(feature = "postgres")]
    pub(crate) fn start_on_in(url: &str, folder: TempDir) -> Self {
        let mut host = Self::prepare(folder, &[]);
        host.stores = Stores::default();
        host.environment.push((String::from("CHAINHOST_DATABASE_URL"), url.to_owned()));
        host.restart();
        host
    }

    /// As [`Host::start_on`], with a replica to read from.
    #[cfg(feature = "postgres")]
    pub(crate) fn start_with_replica(url: &str, replica: &str) -> Self {
        let mut host = Self::prepare(tempfile::tempdir().unwrap(), &[]);
        host.stores = Stores::default();
        host.environment.push((String::from("CHAINHOST_DATABASE_URL"), url.to_owned()));
        host.environment.push((String::from("CHAINHOST_DATABASE_REPLICA_URLS"), replica.to_owned()));
        host.restart();
        host
    }

    /// A new server with these variables in its environment, which name all that it uses, and more arguments.
    #[cfg(feature = "postgres")]
    pub(crate) fn start_as(environment: &[(&str, String)], arguments: &[&str]) -> Self {
        let mut host = Self::prepare(tempfile::tempdir().unwrap(), arguments);
        host.stores = Stores::default();
        host.environment.extend(environment.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        host.restart();
        host
    }

    /// From its next start on, it has these variables in its environment instead of those of before, and these arguments.
    #[cfg(feature = "postgres")]
    pub(crate) fn become_as(&mut self, environment: &[(&str, String)], arguments: &[&str]) {
        self.environment = environment.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        self.arguments = arguments.iter().map(|it| (*it).to_owned()).collect();
    }

    /// What it has in its environment beside what all have.
    #[cfg(feature = "postgres")]
    pub(crate) fn environment(&self) -> impl Iterator<Item = (&str, &str)> {
        self.environment.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// A server in a folder of the caller's.
    pub(crate) fn start_in(folder: TempDir, arguments: &[&str]) -> Self {
        let mut host = Self::prepare(folder, arguments);
        host.restart();
        host
    }

    fn prepare(folder: TempDir, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|it| (*it).to_owned()).collect();
        Self { folder, arguments, stores: Stores::asked(), environment: Vec::new(), child: None, out: None, port: 0 }
    }

    /// The program, told of this server's stores.
    fn program(&self) -> Command {
        let mut command = Command::new(PROGRAM);
        // Tests ask nobody on the internet, unless they name somebody.
        command.env("CHAINHOST_DNS_SERVERS", "127.0.0.1:1");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        self.stores.name_to(&mut command);
        command
    }

    /// Starts the server again on the same data, after [`Host::kill`] or [`Host::stop`].
    pub(crate) fn restart(&mut self) {
        assert!(self.child.is_none(), "it still runs");
        let log = File::options().create(true).append(true).open(self.log_path()).unwrap();
        let mut command = self.program();
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(self.data()).args(&self.arguments);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        self.child = Some(child);
        let address = line.trim().strip_prefix("ready http://localhost:");
        self.port = address.unwrap_or_else(|| panic!("not ready: {line:?}\n{}", self.log())).parse().unwrap();
        self.out = Some(out);
    }

    /// Starts the server on the same data, and kills it after `time`, ready or not.
    pub(crate) fn stumble(&self, time: Duration) {
        let mut command = self.program();
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(self.data()).args(&self.arguments);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(time);
        drop(child.kill());
        child.wait().unwrap();
    }

    /// The settings of the database on a server that this one uses; `None` when it uses the embedded one.
    pub(crate) fn database_settings(&self) -> Option<Postgres> {
        self.stores.database_settings()
    }

    /// The wish of who opens the stores of this server while it is stopped.
    pub(crate) fn wish(&self) -> Wish {
        self.stores.wish()
    }

    /// The data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A folder beside the data folder, for files of the test.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// What the server said on standard error so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Ends the server at once, as a crash would.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Asks the server to end, and waits for it; its exit code.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        let mut child = self.child.take().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        child.wait().unwrap().code()
    }

    /// The exit code of the server, which ends by itself.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        let mut child = self.child.take().unwrap();
        let ended = self.until("the end of the server", || child.try_wait().unwrap());
        ended.code()
    }

    /// Whether the server has ended, without waiting for it.
    pub(crate) fn has_died(&self) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        status.lines().any(|line| line.starts_with("State:") && line.contains('Z'))
    }

    /// The address of the panel and the API.
    pub(crate) fn url(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    /// Runs `chainhost` with `arguments` against this server, with `key`.
    pub(crate) fn cli(&self, key: &str, arguments: &[&str]) -> Output {
        Command::new(PROGRAM)
            .args(arguments)
            .env("CHAINHOST_SERVER", self.url())
            .env("CHAINHOST_KEY", key)
            .env("HOME", self.folder.path())
            .env_remove("XDG_CONFIG_HOME")
            .output()
            .unwrap()
    }

    /// As [`Host::cli`], which must succeed; its standard output as JSON.
    pub(crate) fn cli_json(&self, key: &str, arguments: &[&str]) -> Value {
        let out = self.cli(key, arguments);
        assert!(out.status.success(), "{arguments:?}: {}\n{}", String::from_utf8_lossy(&out.stderr), self.log());
        serde_json::from_slice(&out.stdout).unwrap()
    }

    /// Runs `chainhost admin` on this data folder, with `input` on standard input.
    pub(crate) fn admin(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = self
            .program()
            .arg("admin")
            .args(arguments)
            .arg("--data")
            .arg(self.data())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that refuses its arguments does not read its input.
        drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
        child.wait_with_output().unwrap()
    }

    /// Makes a user with this role, and a key of theirs.
    pub(crate) fn key(&self, email: &str, role: &str) -> String {
        let made = self.admin(&["create-user", "--email", email, "--role", role, "--password-stdin"], PASSWORD);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        self.another_key(email)
    }

    /// One more key of a user. Calls are counted by key, and where there is a Redis also over restarts.
    pub(crate) fn another_key(&self, email: &str) -> String {
        let key = self.admin(&["create-key", "--email", email], "");
        assert!(key.status.success(), "{}", String::from_utf8_lossy(&key.stderr));
        String::from_utf8(key.stdout).unwrap().trim().to_owned()
    }

    /// Asks for a path of a host on this server: `hello.localhost`.
    pub(crate) fn get(&self, host: &str, path: &str) -> Answer {
        http::ask(self.port, &format!("GET {path} HTTP/1.1\r\nHost: {host}:{}\r\n", self.port), b"")
    }

    /// Calls the API.
    pub(crate) fn api(&self, key: &str, call: &str, body: &[u8]) -> Answer {
        let head = format!("{call} HTTP/1.1\r\nHost: localhost:{}\r\nAuthorization: Bearer {key}\r\n", self.port);
        http::ask(self.port, &head, body)
    }

    /// Calls the API, which must answer `status`; the body as JSON.
    pub(crate) fn api_json(&self, key: &str, call: &str, body: &str, status: u16) -> Value {
        let answer = self.api(key, call, body.as_bytes());
        assert_eq!(answer.status, status, "{call}: {}\n{}", answer.text(), self.log());
        serde_json::from_slice(&answer.body).unwrap_or(Value::Null)
    }

    /// Waits until `done` gives something.
    pub(crate) fn until<T>(&self, what: &str, done: impl FnMut() -> Option<T>) -> T {
        self.until_within(PATIENCE, Duration::from_millis(20), what, done)
    }

    /// As [`Host::until`], for what takes longer or may not be asked so often.
    pub(crate) fn until_within<T>(
        &self,
        patience: Duration,
        period: Duration,
        what: &str,
        mut done: impl FnMut() -> Option<T>,
    ) -> T {
        let start = tokio::time::Instant::now();
        loop {
            if let Some(it) = done() {
                return it;
            }
            assert!(start.elapsed() < patience, "waited in vain for {what}\n{}", self.log());
            std::thread::sleep(period);
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
        if std::thread::panicking() {
            let log = self.log();
            let tail = log.len().saturating_sub(4_000);
            println!("--- the server's log\n{}", log.get(tail..).unwrap_or(&log));
        }
    }
}

/// Writes files below `folder`.
pub(crate) fn write_files(folder: &Path, files: &[(&str, &[u8])]) {
    for (path, bytes) in files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        File::create(path).unwrap().write_all(bytes).unwrap();
    }
}

/// Every file below `folder` with its bytes, by the path that a visitor asks for.
pub(crate) fn read_files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for path in chainhost::base::files::walk(folder).unwrap() {
        let mut bytes = Vec::new();
        File::open(folder.join(&path)).unwrap().read_to_end(&mut bytes).unwrap();
        found.push((path.to_str().unwrap().to_owned(), bytes));
    }
    found.sort();
    found
}
