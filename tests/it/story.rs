//! The story of an installation: one process, PostgreSQL, a pooler before it, Redis, a bucket, three webs and two workers, and back, while
//! people visit, make sites and deploy.
//!
//! At each stop all rows that people made are the same in the databases before and behind it, on every node; what was refused in
//! between was refused with a reason and a time to come back, and at the end what was acknowledged is there, once, and its jobs are done.

#![expect(clippy::indexing_slicing, reason = "a test that panics says what went wrong")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use chainhost::base::hash::Sha256;
use serde_json::Value;

use crate::{
    cluster::{Shared, jobs},
    faults::api::{Api, Wish},
    moving::{self, ask},
    support::{Answer, Host, PROGRAM, http, s3},
};

/// Tables of which every row is the same before and after a step, and what of a row passes all the same.
const SAME: [(&str, &[&str]); 21] = [
    ("acme_account", &[]),
    ("acme_record", &[]),
    ("api_key", &["used_ms"]),
    ("ban", &[]),
    ("blockchain_record", &[]),
    ("certificate", &[]),
    ("certificate_order", &[]),
    ("claim", &[]),
    ("deployment", &[]),
    ("effect", &[]),
    ("hostname", &[]),
    ("membership", &[]),
    ("publication", &[]),
    ("schedule", &[]),
    ("setting", &[]),
    ("site", &[]),
    ("site_name", &[]),
    ("site_setting", &[]),
    ("tenant", &[]),
    ("upload_part", &[]),
    ("user", &[]),
];
/// Tables that get rows, and lose none; an entry of the log is sealed later.
const GROWS: [(&str, &[&str]); 2] = [("audit_log", &["seq", "hash"]), ("deployment_log", &[])];
/// What nodes tell one another, and what is on its way.
const PASSING: [&str; 12] = [
    "acme_challenge",
    "audit_head",
    "lease",
    "month_archive",
    "news",
    "node",
    "outbox",
    "session",
    "traffic",
    "traffic_salt",
    "traffic_top",
    "traffic_visitors",
];

/// What the names of settings begin with that are of a place, and not of people.
const PLACES: [&str; 3] = ["queue", "moved_to", "blobs_"];

/// All rows of a table, sorted, without what passes, of the database that the program of `shell` finds.
fn rows_by(shell: &dyn Fn(&[&str]) -> Command, table: &str, passing: &[&str]) -> BTreeSet<String> {
    let sql = format!("SELECT * FROM \"{table}\"");
    let out = shell(&["db", "shell", "--json", "--limit", "100000", "-c", &sql]).output().unwrap();
    assert!(out.status.success(), "{table}: {}", String::from_utf8_lossy(&out.stderr));
    let all = String::from_utf8(out.stdout).unwrap();
    let all = all.lines().map(|it| serde_json::from_str::<Value>(it).unwrap());
    let of_place = |row: &Value| PLACES.iter().any(|it| row["name"].as_str().unwrap().starts_with(it));
    let all = all.filter(|it| table != "setting" || !of_place(it)).map(|mut row| {
        let fields = row.as_object_mut().unwrap();
        fields.retain(|name, _| !passing.contains(&name.as_str()));
        for value in fields.values_mut() {
            // SQLite keeps booleans as numbers.
            if let Some(yes) = value.as_bool() {
                *value = Value::from(u8::from(yes));
            }
        }
        row.to_string()
    });
    all.collect()
}

fn rows(host: &Host, table: &str) -> BTreeSet<String> {
    rows_by(&|arguments| moving::command(host, arguments), table, &[])
}

/// All rows of people, by table.
type Rows = BTreeMap<&'static str, BTreeSet<String>>;

fn state_by(shell: &dyn Fn(&[&str]) -> Command) -> Rows {
    SAME.iter().chain(&GROWS).map(|(table, passing)| (*table, rows_by(shell, table, passing))).collect()
}

/// What must outlive a step.
fn state(host: &Host) -> Rows {
    state_by(&|arguments| moving::command(host, arguments))
}

/// What is in the file that a server has left: a copy of it, since the data folder has another database by now.
fn left_in_file(host: &Host) -> Rows {
    let copy = tempfile::tempdir().unwrap();
    for name in ["instance", "chainhost.db", "chainhost.db-wal"] {
        let from = host.data().join(name);
        if from.exists() {
            fs::copy(from, copy.path().join(name)).unwrap();
        }
    }
    state_by(&|arguments| shell_on(arguments, copy.path()))
}

fn shell_on(arguments: &[&str], data: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).arg("--data").arg(data);
    command
}

/// Sees that two databases have the same.
fn are_equal(one: &Rows, other: &Rows) {
    for (table, rows) in one {
        assert_eq!(rows, &other[table], "{table}");
    }
    assert_eq!(hash(one), hash(other));
}

/// A hash over all rows of the tables that stay the same.
fn hash(state: &Rows) -> String {
    let mut text = String::new();
    for (table, _) in SAME {
        for row in &state[table] {
            writeln!(text, "{table} {row}").unwrap();
        }
    }
    Sha256::of(text.as_bytes()).hex()
}

/// Sees that all is there that was there, and nothing else but what may come.
fn is_as_before(host: &Host, before: &Rows) {
    let after = state(host);
    for (table, _) in SAME {
        assert_eq!(after[table], before[table], "{table}");
    }
    for (table, _) in GROWS {
        let lost: Vec<&String> = before[table].difference(&after[table]).collect();
        assert!(lost.is_empty(), "{table} has lost {lost:?}");
    }
    assert_eq!(hash(&after), hash(before));
}

/// No table is forgotten here.
fn knows_all_tables(host: &Host) {
    let sql =
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' AND name <> 'schema_version'";
    let there: BTreeSet<String> = ask(host, sql).iter().map(|it| it["name"].as_str().unwrap().to_owned()).collect();
    let known = SAME.iter().chain(&GROWS).map(|it| it.0).chain(PASSING).map(ToOwned::to_owned).collect();
    assert_eq!(there, known);
}

/// Visitors of the story, all the time and at all nodes, but for those whose port is 0: they restart.
struct Visitors {
    ports: Arc<Vec<AtomicU16>>,
    /// Rounds over all ports that are behind them.
    rounds: Arc<AtomicU64>,
    asked: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<Vec<String>>>,
}

impl Visitors {
    fn new(nodes: usize) -> Self {
        let ports: Arc<Vec<AtomicU16>> = Arc::new((0..nodes).map(|_| AtomicU16::new(0)).collect());
        let (rounds, asked, stop) = (Arc::default(), Arc::default(), Arc::default());
        let mut visitors = Self { ports, rounds, asked, stop, thread: None };
        let (ports, rounds) = (Arc::clone(&visitors.ports), Arc::clone(&visitors.rounds));
        let (asked, stop) = (Arc::clone(&visitors.asked), Arc::clone(&visitors.stop));
        visitors.thread = Some(thread::spawn(move || {
            let mut failed = Vec::new();
            while !stop.load(Ordering::Acquire) {
                for port in ports.iter().map(|it| it.load(Ordering::Acquire)).filter(|it| *it > 0) {
                    let head = format!("GET / HTTP/1.1\r\nHost: story.localhost:{port}\r\n");
                    let answer = http::ask(port, &head, b"");
                    if answer.status != 200 || !answer.text().starts_with("<p>chapter ") {
                        failed.push(format!("{port}: {} {}", answer.status, answer.text()));
                    }
                    asked.fetch_add(1, Ordering::Relaxed);
                }
                rounds.fetch_add(1, Ordering::Release);
                // Others need the machine too.
                thread::sleep(Duration::from_millis(2));
            }
            failed
        }));
        visitors
    }

    fn come(&self, node: usize, host: &Host) {
        self.ports.get(node).unwrap().store(host.port, Ordering::Release);
    }

    /// No visitor asks this node any more when this returns.
    fn go(&self, node: usize, host: &Host) {
        self.ports.get(node).unwrap().store(0, Ordering::Release);
        let before = self.rounds.load(Ordering::Acquire);
        host.until("visitors are elsewhere", || (self.rounds.load(Ordering::Acquire) > before + 1).then_some(()));
    }

    /// How many there were; none of them may have failed.
    fn end(mut self) -> u64 {
        self.stop.store(true, Ordering::Release);
        assert_eq!(self.thread.take().unwrap().join().unwrap(), Vec::<String>::new());
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Visitors {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

/// Who makes sites and deploys to each once, all the time and at all nodes in turn, but for those whose port is 0.
struct Writers {
    ports: Arc<Vec<AtomicU16>>,
    rounds: Arc<AtomicU64>,
    /// The codes of what was refused.
    refused: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<Vec<(String, String)>>>,
}

impl Writers {
    fn new(nodes: usize, key: &str) -> Self {
        let ports: Arc<Vec<AtomicU16>> = Arc::new((0..nodes).map(|_| AtomicU16::new(0)).collect());
        let (rounds, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let mut writers = Self { ports, rounds, refused: Arc::default(), stop, thread: None };
        let (ports, rounds) = (Arc::clone(&writers.ports), Arc::clone(&writers.rounds));
        let refused = Arc::clone(&writers.refused);
        let (stop, key) = (Arc::clone(&writers.stop), key.to_owned());
        writers.thread = Some(thread::spawn(move || {
            let mut made = Vec::new();
            while !stop.load(Ordering::Acquire) {
                let there: Vec<u16> = ports.iter().map(|it| it.load(Ordering::Acquire)).filter(|it| *it > 0).collect();
                if !there.is_empty() {
                    match write(&Api::at(there[made.len() % there.len()], &key), made.len()) {
                        Ok(site) => made.push(site),
                        Err(answer) => refused.lock().unwrap().push(why(&answer)),
                    }
                }
                rounds.fetch_add(1, Ordering::Release);
                // A key may make 1,000 calls in 15 minutes.
                thread::sleep(Duration::from_millis(if there.is_empty() { 10 } else { 250 }));
            }
            made
        }));
        writers
    }

    fn come(&self, node: usize, host: &Host) {
        self.ports[node].store(host.port, Ordering::Release);
    }

    /// Nobody writes at this node any more when this returns.
    fn go(&self, node: usize, host: &Host) {
        self.ports[node].store(0, Ordering::Release);
        let before = self.rounds.load(Ordering::Acquire);
        host.until("writers are elsewhere", || (self.rounds.load(Ordering::Acquire) > before + 1).then_some(()));
    }

    /// Nobody writes anywhere when this returns; what [`Writers::go_on`] needs.
    fn pause(&self, host: &Host) -> Vec<u16> {
        let ports = self.ports.iter().map(|it| it.swap(0, Ordering::AcqRel)).collect();
        let before = self.rounds.load(Ordering::Acquire);
        host.until("writers to pause", || (self.rounds.load(Ordering::Acquire) > before + 1).then_some(()));
        ports
    }

    fn go_on(&self, ports: &[u16]) {
        for (port, was) in self.ports.iter().zip(ports) {
            port.store(*was, Ordering::Release);
        }
    }

    /// Waits until somebody who writes all the time has heard of the reason with this code once more.
    fn hear(&self, host: &Host, code: &str) {
        let heard = || self.refused.lock().unwrap().iter().filter(|it| *it == code).count();
        let before = heard();
        host.until(code, || (heard() > before).then_some(()));
    }

    /// The sites that were acknowledged, and their pages.
    fn end(mut self) -> Vec<(String, String)> {
        self.stop.store(true, Ordering::Release);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

/// Makes a site with a page, or goes on where that was refused before, which a move may do for a while. The site once all was
/// acknowledged, and its page; or how it was refused.
fn write(api: &Api, number: usize) -> Result<(String, String), Answer> {
    let name = format!("written-{number}");
    let page = format!("<p>{name}</p>{}", "<p>Something that is worth compressing.</p>".repeat(100));
    let made = api.call("POST /api/v1/sites", format!("{{\"name\":\"{name}\"}}").as_bytes());
    match made.status {
        201 => {}
        // It was made in a round before, whose deployment was refused.
        409 if made.text().contains("site_name_taken") => {}
        _ => return Err(made),
    }
    let wish = Wish { idempotency_key: Some(name.clone()), ..Wish::default() };
    api.deploy(&name, &[(String::from("index.html"), page.clone().into_bytes())], &wish).map(|_| (name, page))
}

/// The code of a refusal, which says when to come back: nothing else is one.
fn why(answer: &Answer) -> String {
    assert!(matches!(answer.status, 429 | 503), "{} {}", answer.status, answer.text());
    let later = answer.header("retry-after").and_then(|it| it.parse::<u64>().ok());
    assert!(later.is_some_and(|it| it > 0), "{:?} {}", answer.headers, answer.text());
    answer.json()["code"].as_str().unwrap().to_owned()
}

/// All people of the story.
struct People {
    visitors: Visitors,
    writers: Writers,
}

impl People {
    fn come(&self, node: usize, host: &Host) {
        self.visitors.come(node, host);
        self.writers.come(node, host);
    }

    fn go(&self, node: usize, host: &Host) {
        self.writers.go(node, host);
        self.visitors.go(node, host);
    }
}

/// What is there now, with nobody at work for a moment.
fn still(host: &Host, people: &People) -> Rows {
    let ports = people.writers.pause(host);
    let state = state(host);
    people.writers.go_on(&ports);
    state
}

/// Sees that all is there that was there, whatever came meanwhile: every site is written once, and not changed again.
fn keeps(host: &Host, before: &Rows) {
    let after = state(host);
    for (table, rows) in before {
        let lost: Vec<&String> = rows.difference(&after[table]).collect();
        assert!(lost.is_empty(), "{table} has lost {lost:?}");
    }
}

/// Stops a server and starts it again as `change` says; what people made is the same afterwards.
fn step(host: &mut Host, people: &People, change: impl FnOnce(&mut Host)) {
    people.writers.go(0, host);
    let before = state(host);
    people.visitors.go(0, host);
    assert_eq!(host.stop(), Some(0), "{}", host.log());
    change(host);
    host.restart();
    is_as_before(host, &before);
    println!("{} rows, {}", before.values().map(BTreeSet::len).sum::<usize>(), hash(&before));
    people.come(0, host);
}

fn no_jobs_left(host: &Host, key: &str) {
    host.until("the queue is empty", || jobs(host, key).iter().all(|it| it == "done").then_some(()));
}

/// The same while writers pause.
fn all_done(host: &Host, people: &People, key: &str) {
    let ports = people.writers.pause(host);
    no_jobs_left(host, key);
    people.writers.go_on(&ports);
}

/// Sees that a node tells this chapter.
fn told(host: &Host, chapter: u32) {
    host.until("the chapter is served", || {
        (host.get("story.localhost", "/").text() == format!("<p>chapter {chapter}</p>")).then_some(())
    });
    assert_eq!(host.get("story.localhost", "/a/b.txt").text(), "the same");
}

fn publish(host: &Host, key: &str, chapter: u32) {
    moving::deploy(host, key, "story", &format!("<p>chapter {chapter}</p>"));
    told(host, chapter);
}

/// The host becomes one of three webs with two workers, and is alone again.
fn five(host: &mut Host, shared: &Shared, people: &People, key: &str) {
    let all = shared.environment();
    step(host, people, |host| host.become_as(&all, &["--role", "web"]));
    let others = [shared.web(), shared.web()];
    let workers = [shared.worker(), shared.worker()];
    for (node, web) in others.iter().enumerate() {
        told(web, 3);
        people.come(node + 1, web);
    }
    publish(&others[0], key, 4);
    for web in others.iter().chain([&*host]) {
        told(web, 4);
    }
    for worker in &workers {
        host.until("each worker has run jobs", || (worker.ran() > 0).then_some(()));
    }
    // What is in the one database, each node tells, also what others have just made.
    let ports = people.writers.pause(host);
    no_jobs_left(host, key);
    let there = rows(host, "site").len();
    for web in others.iter().chain([&*host]) {
        let lists = || Api::new(web, key).list("/api/v1/sites").len();
        web.until("it lists what others made", || (lists() == there).then_some(()));
    }
    people.writers.go_on(&ports);

    // And back: first the others leave.
    for worker in workers {
        assert_eq!(worker.stop(), Some(0));
    }
    for (node, mut web) in others.into_iter().enumerate() {
        people.go(node + 1, &web);
        assert_eq!(web.stop(), Some(0));
    }
    host.until("it is alone", || {
        let nodes = host.cli_json(key, &["nodes", "--json"]);
        (nodes.as_array().unwrap().len() == 1).then_some(())
    });
}

#[test]
fn an_installation_grows_from_one_process_to_five_and_goes_back() {
    let shared = Shared::far();
    // One process, all in its folder.
    let mut host = Host::start_embedded();
    let keys = s3::KEYS.map(|(name, value)| (name, value.to_owned()));
    host.become_as(&keys, &[]);
    let key = host.key("owner@example.org", "super-admin");
    publish(&host, &key, 1);
    knows_all_tables(&host);
    let people =
        People { visitors: Visitors::new(3), writers: Writers::new(3, &host.key("writer@example.org", "super-admin")) };
    people.come(0, &host);
    to_postgres(&mut host, &shared, &people, &key);

    // To Redis: what waits goes along.
    moving::moved_with(&host, &["--redis", &shared.redis.url()]);
    publish(&host, &key, 3);
    step(&mut host, &people, |_| {});
    told(&host, 3);
    all_done(&host, &people, &key);
    // To a bucket, from which the others will have all.
    let bucket = shared.bucket.as_ref().unwrap();
    moving::moved_with(&host, &["--blobs", &bucket.url()]);
    step(&mut host, &people, |_| {});
    told(&host, 3);

    five(&mut host, &shared, &people, &key);
    // Nobody works on this one: it comes back with the queue.
    publish(&host, &key, 5);
    moving::moved_with(&host, &["--redis", "none"]);
    step(&mut host, &people, |host| host.become_as(&pooled(&shared), &[]));
    told(&host, 5);
    all_done(&host, &people, &key);
    moving::moved_with(&host, &["--blobs", "folder"]);
    step(&mut host, &people, |_| bucket.gate.set(s3::Way::Shut));
    told(&host, 5);
    from_postgres(&mut host, &shared, &people, &keys);
    publish(&host, &key, 6);
    for left in ["database-url", "queue-url", "blobs-url"] {
        assert!(!host.data().join(left).exists(), "{left}");
    }
    let rolled = host.cli(&key, &["rollback", "--site", "story"]);
    assert!(rolled.status.success());
    told(&host, 5);
    let written = people.writers.end();
    no_jobs_left(&host, &key);
    let asked = people.visitors.end();
    assert!(asked > 100, "only {asked} visitors");
    all_is_there(&host, &written);
    println!("{asked} visitors, none of whom failed; {} sites written", written.len());
}

/// What a server has in its environment that is alone behind the pooler.
fn pooled(shared: &Shared) -> Vec<(&'static str, String)> {
    let mut all = shared.environment();
    all.retain(|it| it.0.starts_with("CHAINHOST_DATABASE") || it.0.starts_with("AWS"));
    all
}

/// From the file to PostgreSQL, and then behind a pooler.
fn to_postgres(host: &mut Host, shared: &Shared, people: &People, key: &str) {
    let was = still(host, people);
    let there = moving::moved(host, &shared.database.direct_url(), &[]);
    assert_eq!(there["restart"], true);
    // Who writes all the time is told; and the one database has what the other has, to the last row that was acknowledged.
    people.writers.hear(host, "database_moved");
    are_equal(&left_in_file(host), &state(host));
    // The data folder remembers where it went.
    step(host, people, |_| {});
    keeps(host, &was);
    told(host, 1);
    step(host, people, |host| {
        fs::remove_file(host.data().join("database-url")).unwrap();
        host.become_as(&pooled(shared), &[]);
    });
    publish(host, key, 2);
}

/// And back to the file.
fn from_postgres(host: &mut Host, shared: &Shared, people: &People, keys: &[(&str, String)]) {
    let was = still(host, people);
    moving::moved(host, "sqlite", &[]);
    people.writers.hear(host, "database_moved");
    host.become_as(keys, &[]);
    let url = shared.database.direct_url();
    let left = state_by(&|arguments| {
        let mut shell = shell_on(arguments, &host.data());
        shell.env("CHAINHOST_DATABASE_URL", &url);
        shell
    });
    are_equal(&left, &state(host));
    step(host, people, |_| {});
    keeps(host, &was);
    told(host, 5);
}

/// What was acknowledged is served, was published once, and its job has been done.
fn all_is_there(host: &Host, written: &[(String, String)]) {
    assert!(written.len() > 5, "only {} sites", written.len());
    let sql = "SELECT s.name, COUNT(*) AS times FROM publication p JOIN site s ON s.tenant_id = p.tenant_id AND s.id = p.site_id
               WHERE s.name LIKE 'written-%' GROUP BY s.name";
    let published: BTreeMap<String, u64> = ask(host, sql)
        .iter()
        .map(|it| (it["name"].as_str().unwrap().to_owned(), it["times"].as_u64().unwrap()))
        .collect();
    for (name, page) in written {
        assert_eq!(published.get(name), Some(&1), "{name}");
        let head = format!("GET / HTTP/1.1\r\nHost: {name}.localhost:{}\r\n", host.port);
        assert_eq!(&http::ask(host.port, &head, b"").text(), page);
        let coded = http::ask(host.port, &format!("{head}Accept-Encoding: zstd\r\n"), b"");
        assert_eq!(coded.header("content-encoding"), Some("zstd"), "{name}");
    }
}
