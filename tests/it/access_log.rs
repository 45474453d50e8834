//! The access log: whose requests are in it, that nobody can forge a line, and that nothing which befalls its disk is felt by a visitor.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use flate2::read::GzDecoder;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    faults::disk::SmallDisk,
    support::{
        Host,
        http::{self, Fate, Kept},
        write_files,
    },
};

const SITE: &str = "hello.localhost";

/// A server with a site, and these settings; `LOG` in them is a path beside its data folder.
fn start(settings: &str) -> (Host, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("visits/access.log");
    let host = start_in(folder, &settings.replace("LOG", log.to_str().unwrap()));
    (host, log)
}

fn start_in(folder: tempfile::TempDir, settings: &str) -> Host {
    write_files(folder.path(), &[("chainhost.toml", settings.as_bytes())]);
    let file = folder.path().join("chainhost.toml");
    let host = Host::start_in(folder, &["--config", file.to_str().unwrap()]);
    let key = host.key("owner@example.org", "super-admin");
    let site = host.beside("site");
    let big = vec![7; 32 << 20];
    write_files(
        &site,
        &[("index.html", b"<p>here</p>"), ("big.bin", &big), ("_redirects", b"/old /new 301\n"), ("a b.txt", b"blank")],
    );
    let out = host.cli(&key, &["deploy", site.to_str().unwrap(), "--site", "hello", "--create"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    host
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The lines of a file, once it has as many.
fn lines(host: &Host, log: &Path, count: usize) -> Vec<String> {
    host.until("the lines", || (read(log).lines().count() >= count).then_some(()));
    // One too many would come at once.
    thread::sleep(Duration::from_millis(50));
    let lines: Vec<String> = read(log).lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), count, "{lines:#?}");
    lines
}

fn metric(host: &Host, name: &str) -> Option<u64> {
    let text = host.get("localhost", "/metrics").text();
    let line = text.lines().find_map(|it| it.strip_prefix(&format!("{name} ")).map(str::to_owned))?;
    Some(line.parse().unwrap())
}

#[test]
fn each_request_of_a_visitor_has_its_line_and_the_panel_has_none() {
    let (host, log) = start("[access_log]\nformat = \"json\"\npath = \"LOG\"\n");
    let tag = host.get(SITE, "/").header("etag").unwrap().to_owned();
    let at = |call: &str, host_line: &str, more: &str| {
        http::ask(host.port, &format!("{call} HTTP/1.1\r\n{host_line}{more}"), b"").status
    };
    let site = "Host: HELLO.localhost:1234\r\n";
    assert_eq!(at("GET /?a=b", site, "Referer: https://a.example/\r\nUser-Agent: curl/8\r\n"), 200);
    assert_eq!(at("GET /", site, &format!("If-None-Match: {tag}\r\n")), 304);
    assert_eq!(at("HEAD /", site, ""), 200);
    assert_eq!(at("GET /a%20b.txt", site, "Range: bytes=1-2\r\n"), 206);
    assert_eq!(at("GET /old", site, ""), 301);
    assert_eq!(at("GET /none?x", site, ""), 404);
    assert_eq!(at("DELETE /", site, ""), 405);
    // A link of the panel at a wrong address has its secret in the query.
    assert_eq!(at("GET /claim?token=secret", "Host: 192.0.2.9\r\n", ""), 421);
    assert_eq!(at("GET /x?token=secret", "", ""), 400);
    // Nobody who visits.
    for path in ["/claim?token=secret", "/api/v1/me", "/metrics", "/sign-in", "/healthz"] {
        host.get("localhost", path);
    }
    assert_eq!(host.get("elsewhere.example", "/healthz").status, 200);

    let found: Vec<Value> = lines(&host, &log, 10).iter().map(|it| serde_json::from_str(it).unwrap()).collect();
    let brief =
        |it: &Value| json!([it["host"], it["site"], it["method"], it["target"], it["status"], it["bytes"]]).to_string();
    let of = |method: &str, target: &str, status: u16, bytes: u64| {
        json!([SITE, "hello", method, target, status, bytes]).to_string()
    };
    let bytes = |path: &str| u64::try_from(host.get(SITE, path).body.len()).unwrap();
    let missing = bytes("/none?x");
    let seen: Vec<String> = found.iter().map(brief).collect();
    assert_eq!(
        seen.get(..7).unwrap(),
        [
            of("GET", "/", 200, 11),
            of("GET", "/?a=b", 200, 11),
            of("GET", "/", 304, 0),
            of("HEAD", "/", 200, 0),
            of("GET", "/a%20b.txt", 206, 2),
            of("GET", "/old", 301, 9),
            of("GET", "/none?x", 404, missing),
        ]
    );
    let words = ["host", "site", "method", "target", "status"];
    let rest = |at: usize| words.map(|it| found[at][it].clone());
    assert_eq!(rest(7), [json!(SITE), json!("hello"), json!("DELETE"), json!("/"), json!(405)]);
    assert_eq!(rest(8), [json!("192.0.2.9"), Value::Null, json!("GET"), json!("/claim"), json!(421)]);
    assert_eq!(rest(9), [Value::Null, Value::Null, json!("GET"), json!("/x"), json!(400)]);
    let with_words = &found[1];
    assert_eq!((&with_words["referer"], &with_words["user_agent"]), (&json!("https://a.example/"), &json!("curl/8")));
    assert_eq!((&with_words["client"], &with_words["scheme"]), (&json!("127.0.0.1"), &json!("http")));
    assert_eq!((&with_words["version"], &with_words["user"]), (&json!("HTTP/1.1"), &Value::Null));
    let took = with_words["duration_ms"].as_f64().unwrap();
    assert!(took > 0.0 && took < 60_000.0, "{took}");
    assert_eq!(found[0]["referer"], Value::Null);
    assert_eq!(fs::metadata(&log).unwrap().permissions().mode() & 0o777, 0o640);
    assert!(!read(&log).contains("secret"));
    assert_eq!(metric(&host, "chainhost_access_log_dropped_total"), Some(0));
    assert!(metric(&host, "chainhost_access_log_written_total").unwrap() >= 10);
}

#[test]
fn who_goes_away_is_logged_with_the_bytes_that_were_sent() {
    let (mut host, log) = start("[access_log]\nformat = \"combined\"\npath = \"LOG\"\n");
    let sent =
        |line: &str| -> u64 { line.split("\" 200 ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap() };
    assert_eq!(host.get(SITE, "/big.bin").body.len(), 32 << 20);
    let whole = lines(&host, &log, 1);
    assert_eq!(sent(&whole[0]), 32 << 20);
    let mut stream = TcpStream::connect(("127.0.0.1", host.port)).unwrap();
    stream.write_all(format!("GET /big.bin HTTP/1.1\r\nHost: {SITE}\r\n\r\n").as_bytes()).unwrap();
    stream.read_exact(&mut vec![0; 100_000]).unwrap();
    drop(stream);
    let cut = lines(&host, &log, 2);
    assert!((90_000..32 << 20).contains(&sent(&cut[1])), "{}", cut[1]);
    // What is under way when the server is stopped has its line as well.
    let mut stream = TcpStream::connect(("127.0.0.1", host.port)).unwrap();
    stream.write_all(format!("GET /big.bin?last HTTP/1.1\r\nHost: {SITE}\r\n\r\n").as_bytes()).unwrap();
    stream.read_exact(&mut vec![0; 100_000]).unwrap();
    let reader = thread::spawn(move || stream.read_to_end(&mut Vec::new()));
    assert_eq!(host.stop(), Some(0));
    reader.join().unwrap().unwrap();
    let last = read(&log);
    assert!(last.lines().count() == 3 && last.contains("GET /big.bin?last HTTP/1.1\" 200 33554432 "), "{last}");
}

/// What is tunnelled is told when it is over, as of every other answer.
#[test]
fn a_websocket_is_logged_when_it_ends_with_the_bytes_that_were_sent() {
    let (mut host, log) = start("[access_log]\nformat = \"combined\"\npath = \"LOG\"\n");
    let key = host.key("second@example.org", "super-admin");
    let to = format!("http://127.0.0.1:{}", http::websocket_upstream(70_000));
    let settings = json!({ "proxy": { "routes": [{ "path": "/live", "to": [to] }] } });
    host.api_json(&key, "PATCH /api/v1/sites/hello/settings", &settings.to_string(), 200);
    let mut came = vec![0; 70_000];
    let mut socket = http::websocket(host.port, SITE, "/live?one");
    socket.read_exact(&mut came).unwrap();
    host.get(SITE, "/");
    assert!(lines(&host, &log, 1)[0].contains("GET / HTTP/1.1\" 200 11 "));
    drop(socket);
    let ended = lines(&host, &log, 2);
    assert!(ended[1].contains("GET /live?one HTTP/1.1\" 101 70000 "), "{}", ended[1]);
    let mut socket = http::websocket(host.port, SITE, "/live?two");
    socket.read_exact(&mut came).unwrap();
    assert_eq!(host.stop(), Some(0));
    let last = read(&log);
    assert!(last.lines().count() == 3 && last.contains("GET /live?two HTTP/1.1\" 101 70000 "), "{last}");
}

#[test]
fn the_client_is_the_one_that_a_trusted_proxy_names() {
    let settings = "trusted_proxies = [\"127.0.0.1\"]\n[access_log]\nformat = \"vhost\"\n";
    let (host, _) = start(settings);
    let log = host.data().join("logs/access.log");
    let more = "X-Forwarded-For: 6.6.6.6, 2001:DB8:0:0::1\r\nX-Forwarded-Proto: https\r\nUser-Agent: a \"b\"\r\n";
    http::ask(host.port, &format!("GET / HTTP/1.1\r\nHost: {SITE}\r\n{more}"), b"");
    http::ask(host.port, &format!("GET / HTTP/1.0\r\nHost: {SITE}:81\r\nX-Forwarded-For: ::ffff:192.0.2.1\r\n"), b"");
    let found = lines(&host, &log, 2);
    assert!(found[0].starts_with("hello.localhost:443 2001:db8::1 - - ["), "{found:?}");
    assert!(found[0].ends_with("] \"GET / HTTP/1.1\" 200 11 \"-\" \"a \\x22b\\x22\""), "{found:?}");
    assert!(found[1].starts_with("hello.localhost:81 192.0.2.1 - - ["), "{found:?}");
    assert!(found[1].ends_with("] \"GET / HTTP/1.0\" 200 11 \"-\" \"-\""), "{found:?}");
}

/// Every byte but those that end a header, in each field that a client chooses: one line for each answer, and nothing in it that a
/// terminal obeys.
#[test]
fn no_client_forges_a_line() {
    let (host, log) = start("[access_log]\nformat = \"combined\"\npath = \"LOG\"\n");
    let mut answered = 0;
    for byte in 0..=u8::MAX {
        for field in 0..3 {
            let hostile = [b"a", &[byte][..], b"6.6.6.6 - - [x] \"GET /forged HTTP/1.1\" 200 0 \"-\" \"-\""].concat();
            let mut request = b"GET /".to_vec();
            if field == 0 {
                request.extend_from_slice(
                    &hostile.iter().copied().filter(|it| *it != b' ' || *it == byte).collect::<Vec<_>>(),
                );
            }
            request.extend_from_slice(format!(" HTTP/1.1\r\nHost: {SITE}\r\nConnection: close\r\n").as_bytes());
            for (number, name) in [(1, "Referer: "), (2, "User-Agent: ")] {
                if field == number {
                    request.extend_from_slice(name.as_bytes());
                    request.extend_from_slice(&hostile);
                    request.extend_from_slice(b"\r\n");
                }
            }
            request.extend_from_slice(b"\r\n");
            let mut stream = TcpStream::connect(("127.0.0.1", host.port)).unwrap();
            stream.write_all(&request).unwrap();
            let mut answer = Vec::new();
            drop(stream.read_to_end(&mut answer));
            // What is no request at all is answered before anybody knows what it is for.
            let is_page = answer.windows(22).any(|it| it == b"x-content-type-options");
            answered += usize::from(is_page);
        }
    }
    assert!(answered > 500, "{answered}");
    for line in lines(&host, &log, answered) {
        assert!(line.starts_with("127.0.0.1 - - [") && line.bytes().all(|it| (b' '..=b'~').contains(&it)), "{line}");
        assert_eq!(line.matches('"').count(), 6, "{line}");
    }
}

/// All lines in what was set aside, oldest first, and in the file that is written to.
fn all_lines(log: &Path) -> Vec<String> {
    let mut old: Vec<PathBuf> = fs::read_dir(log.parent().unwrap()).unwrap().map(|it| it.unwrap().path()).collect();
    old.retain(|it| it != log && it.extension().unwrap() != "tmp");
    // By number, which stands behind the day; where both forms are there, the plain one is whole.
    old.sort();
    old.dedup_by(|later, earlier| later.to_str().unwrap() == format!("{}.gz", earlier.display()));
    let mut text = String::new();
    for path in old {
        match path.extension().unwrap().to_str() {
            Some("gz") => drop(GzDecoder::new(File::open(path).unwrap()).read_to_string(&mut text).unwrap()),
            _ => text.push_str(&read(&path)),
        }
    }
    text.push_str(&read(log));
    text.lines().map(str::to_owned).collect()
}

fn number(line: &str) -> u64 {
    line.split("GET /n/").nth(1).unwrap().split('?').next().unwrap().parse().unwrap()
}

/// Asks for numbered pages on one connection until `done` says so or the server is gone; the next number.
fn ask_numbers(port: u16, from: u64, mut done: impl FnMut(u64) -> bool) -> u64 {
    let mut next = from;
    let Ok(mut kept) = Kept::open(port) else { return next };
    while !done(next) {
        let path = format!("/n/{next}?{}", "x".repeat(300));
        next += 1;
        if !matches!(kept.get(SITE, &path, ""), Fate::Whole(_)) {
            break;
        }
    }
    next
}

fn packed(log: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(log.parent().unwrap())
        .unwrap()
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .filter(|it| it != "access.log")
        .collect();
    names.sort();
    names
}

#[test]
fn a_full_file_is_set_aside_and_compressed_and_old_ones_go() {
    let settings = "[access_log]\nformat = \"json\"\npath = \"LOG\"\nrotate_bytes = \"64 KiB\"\n";
    let (mut host, log) = start(&format!("{settings}keep = 1000\n"));
    let count = ask_numbers(host.port, 0, |next| next == 2_000);
    host.until("the last line", || read(&log).contains(&format!("GET\",\"target\":\"/n/{}?", count - 1)).then_some(()));
    host.until("the compressed files", || packed(&log).iter().all(|it| it.strip_suffix(".gz").is_some()).then_some(()));
    let names = packed(&log);
    assert!(names.len() > 10, "{names:?}");
    for name in &names {
        let mut text = String::new();
        let path = log.parent().unwrap().join(name);
        GzDecoder::new(File::open(&path).unwrap()).read_to_string(&mut text).unwrap();
        assert!(text.len() <= 64 << 10 && text.ends_with("}\n"), "{name}: {}", text.len());
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o640);
    }
    let in_target = |line: &String| {
        let value: Value = serde_json::from_str(line).unwrap();
        number(&format!("GET {}", value["target"].as_str().unwrap()))
    };
    assert_eq!(all_lines(&log).iter().map(in_target).collect::<Vec<_>>(), (0..count).collect::<Vec<_>>());
    // A server that keeps fewer removes the rest, and what is not finished; it leaves what is not its own.
    assert_eq!(host.stop(), Some(0));
    let folder = log.parent().unwrap();
    let unfinished = format!("{}.tmp", names[0]);
    write_files(folder, &[(&unfinished, b"half"), ("access.log.1.gz", b"theirs")]);
    let settings = settings.replace("LOG", log.to_str().unwrap());
    write_files(&host.beside(""), &[("chainhost.toml", format!("{settings}keep = 3\n").as_bytes())]);
    host.restart();
    let mut wanted = vec![String::from("access.log.1.gz")];
    wanted.extend_from_slice(names.get(names.len() - 3..).unwrap());
    host.until("the three newest", || (packed(&log) == wanted).then_some(()));
}

/// Killed again and again while files are set aside and compressed: of each run, all lines up to some last one are there once, and in the
/// end nothing is left half done.
#[test]
fn a_killed_server_loses_no_line_that_was_written() {
    let (mut host, log) =
        start("[access_log]\nformat = \"combined\"\npath = \"LOG\"\nrotate_bytes = \"64 KiB\"\nkeep = 1000\n");
    let mut next = 0;
    let mut begins = Vec::new();
    for round in 0..6_u64 {
        begins.push(next);
        let port = host.port;
        let asking = thread::spawn(move || ask_numbers(port, next, |_| false));
        thread::sleep(Duration::from_millis(400 + 37 * round));
        host.kill();
        next = asking.join().unwrap();
        host.restart();
    }
    host.until("the compressed files", || packed(&log).iter().all(|it| it.strip_suffix(".gz").is_some()).then_some(()));
    let (mut seen, mut torn) = (Vec::new(), 0);
    for line in all_lines(&log) {
        if line.starts_with("127.0.0.1 - - [") && line.ends_with(" \"-\" \"-\"") {
            seen.push(number(&line));
        } else {
            torn += 1;
        }
    }
    assert!(torn <= 6, "{torn} lines are torn");
    let mut seen = seen.into_iter().peekable();
    begins.push(next);
    for run in begins.windows(2) {
        let mut wanted = run[0];
        while let Some(found) = seen.next_if(|it| *it < run[1]) {
            assert_eq!(found, wanted, "in the run from {} to {}", run[0], run[1]);
            wanted += 1;
        }
        // What had not been written yet were the lines of some milliseconds.
        assert!(wanted > run[0] && run[1] - wanted < 2_000, "{wanted} of {run:?}");
    }
    assert_eq!(seen.next(), None);
    assert!(packed(&log).len() > 6, "{:?}", packed(&log));
}

#[test]
fn a_file_that_somebody_else_moves_or_removes_is_made_anew() {
    let (host, log) = start("[access_log]\nformat = \"combined\"\npath = \"LOG\"\n");
    host.get(SITE, "/first");
    lines(&host, &log, 1);
    let moved = log.with_file_name("moved");
    fs::rename(&log, &moved).unwrap();
    host.until("a new file", || log.exists().then_some(()));
    host.get(SITE, "/second");
    assert!(lines(&host, &log, 1)[0].contains("/second"));
    assert!(read(&moved).contains("/first") && !read(&moved).contains("/second"));
    fs::remove_file(&log).unwrap();
    host.until("a new file", || log.exists().then_some(()));
    host.get(SITE, "/third");
    assert!(lines(&host, &log, 1)[0].contains("/third"));
    // Another server that is told to write there does not.
    let second = Host::start_configured(&format!("[access_log]\nformat = \"json\"\npath = \"{}\"\n", log.display()));
    second.until("the reason", || second.log().contains("another process writes to this file").then_some(()));
    second.get("nobody.example", "/fourth");
    host.get(SITE, "/fifth");
    assert!(lines(&host, &log, 2)[1].contains("/fifth"));
}

/// A line of about 20 KiB.
fn wide(kept: &mut Kept, number: usize) {
    let long = "é".repeat(1_500);
    let more = format!("Referer: {long}\r\nUser-Agent: {long}\r\n");
    let Fate::Whole(answer) = kept.get(SITE, &format!("/?{number}"), &more) else { panic!("no answer") };
    assert_eq!(answer.status, 200);
}

#[test]
fn a_full_disk_is_felt_by_no_visitor_and_the_log_goes_on_when_there_is_space() {
    let folder = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(folder.path().join("small"));
    let log = folder.path().join("small/access.log");
    let host = start_in(folder, &format!("[access_log]\nformat = \"combined\"\npath = \"{}\"\n", log.display()));
    host.get(SITE, "/before");
    lines(&host, &log, 1);
    disk.fill();
    let mut kept = Kept::open(host.port).unwrap();
    let dropped = || metric(&host, "chainhost_access_log_dropped_total").unwrap();
    let mut asked = 1;
    // Some wait in memory; those that do not fit there are dropped.
    while dropped() < 20 {
        assert!(asked < 3_000, "nothing is dropped");
        (0..50).for_each(|number| wide(&mut kept, asked + number));
        asked += 50;
    }
    host.until("the reason", || host.log().contains("the access log cannot be written").then_some(()));
    assert!(host.log().contains("No space left on device"), "{}", host.log());
    disk.free();
    host.until("the log again", || {
        host.get(SITE, "/after");
        asked += 1;
        read(&log).contains("GET /after ").then_some(())
    });
    let asked = u64::try_from(asked).unwrap();
    host.until("all lines", || {
        let written = metric(&host, "chainhost_access_log_written_total").unwrap();
        (written + dropped() == asked).then_some(())
    });
    let text = read(&log);
    assert_eq!(u64::try_from(text.lines().count()).unwrap() + dropped(), asked);
    for line in text.lines() {
        assert!(line.starts_with("127.0.0.1 - - [") && line.ends_with('"') && line.matches('"').count() == 6, "{line}");
    }
    host.until("the good news", || host.log().contains("the access log is written again").then_some(()));
    let complaints = host.log().matches("the access log cannot be written").count();
    assert!(complaints <= 2, "at most one a minute: {complaints}");
}

/// A pipe that nobody empties stands for a disk that takes nothing and says nothing.
#[test]
fn a_disk_that_stands_still_holds_up_neither_requests_nor_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let reader = File::options().read(true).write(true).open(&pipe).unwrap();
    let mut host = start_in(folder, &format!("[access_log]\nformat = \"json\"\npath = \"{}\"\n", pipe.display()));
    let mut kept = Kept::open(host.port).unwrap();
    let mut asked = 0;
    while metric(&host, "chainhost_access_log_dropped_total").unwrap() == 0 {
        assert!(asked < 3_000, "nothing is dropped");
        (0..50).for_each(|number| wide(&mut kept, asked + number));
        asked += 50;
    }
    host.until("the reason", || host.log().contains("the disk was too slow").then_some(()));
    let start = Instant::now();
    assert_eq!(host.stop(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    drop(reader);
}

#[test]
fn nothing_is_logged_unless_it_is_asked_for() {
    let host = Host::start();
    host.get("nobody.example", "/");
    assert_eq!(metric(&host, "chainhost_access_log_dropped_total"), None);
    assert!(!host.data().join("logs").exists());
}
