//! What visitors get, over real sockets: every byte, header and refusal of the data plane.

use std::{
    fs::{self, OpenOptions, Permissions},
    os::unix::fs::{FileExt as _, PermissionsExt as _},
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use bytes::Bytes;
use chainhost::{
    base::{blob_dir::Coding, files, hash::Sha256, ids::Id, limits::MEMORY_FILE_BYTES_MAX},
    domain::{
        policy::{Fallback, HeaderRule, Policy, Redirect},
        site_path::SitePath,
    },
    proof::{bundle, manifest::Manifest, site_tree},
    serve::{
        Refused,
        incident::{Damage, Incident},
        snapshot::{Snapshot, State},
    },
};
use http_body_util::{BodyExt as _, Empty};

use crate::web::{INSTANCE, Web, get, request};

/// Bytes that differ from place to place and from seed to seed.
fn bytes(seed: u8, length: u64) -> Vec<u8> {
    (0..length).map(|at| u8::try_from((at * 31 + at / 251) % 256).unwrap() ^ seed).collect()
}

fn alter(path: &Path, at: u64, bytes: &[u8]) {
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, at).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_file_comes_byte_for_byte_with_its_headers() {
    let web = Web::start();
    let sizes = [0, 1, 1_000, MEMORY_FILE_BYTES_MAX, MEMORY_FILE_BYTES_MAX + 1, 3_000_007];
    let made: Vec<(String, Vec<u8>)> =
        sizes.iter().zip(1..).map(|(size, seed)| (format!("/f{size}.bin"), bytes(seed, *size))).collect();
    let mut all: Vec<(&str, &[u8])> = made.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    all.extend([
        ("/index.html", &b"<h1>hi</h1>"[..]),
        ("/\u{e9}t\u{e9}/\u{65e5}\u{672c}.txt", b"summer"),
        ("/a b&c.txt", b"signs"),
        ("/.hidden", b"dot"),
    ]);
    web.show(&all, Policy::default());
    let mut client = web.client().await;
    for (path, wanted) in &all {
        let url: String = path
            .bytes()
            .map(|b| {
                if b.is_ascii_alphanumeric() || b"/.".contains(&b) {
                    char::from(b).to_string()
                } else {
                    format!("%{b:02X}")
                }
            })
            .collect();
        // Twice: from the disk, and as it was kept.
        for _ in 0..2 {
            let answer = client.ask(get(&url, &[])).await.unwrap();
            assert_eq!((answer.status(), &answer.body[..] == *wanted), (200, true), "{path}");
            let digest = format!("sha-256=:{}:", Sha256::of(wanted).base64());
            assert_eq!(answer.header("unencoded-digest"), digest);
            assert_eq!(answer.header("content-length"), wanted.len().to_string());
            for (name, wanted) in [
                ("accept-ranges", "bytes"),
                ("x-content-type-options", "nosniff"),
                ("link", "</.well-known/chainhost/proof/01010101010101010101010101010101>; rel=\"describedby\""),
            ] {
                assert_eq!(answer.header(name), wanted, "{path}");
            }
            assert!(!answer.header("date").is_empty());
            let head = client.ask(request("HEAD", &url, &[])).await.unwrap();
            assert!(head.body.is_empty());
            let without_date = |mut headers: hyper::HeaderMap| {
                headers.remove("date");
                headers
            };
            assert_eq!(without_date(head.parts.headers), without_date(answer.parts.headers), "{path}");
        }
    }
    let counts = web.plane.meter();
    let sent: usize = all.iter().map(|(_, bytes)| 2 * bytes.len()).sum();
    assert_eq!((counts.requests, counts.bytes), (4 * 10, u64::try_from(sent).unwrap()));
    assert_eq!(counts.classes, [0, 40, 0, 0, 0]);
}

#[tokio::test]
async fn a_client_that_has_it_gets_304() {
    let web = Web::start();
    web.show(&[("/a.css", b"a{}"), ("/b.bin", b"b")], Policy::default());
    let first = web.get("/a.css").await;
    let etag = first.header("etag").to_owned();
    assert_eq!(first.header("vary"), "accept-encoding");
    for (name, value, status) in [
        ("if-none-match", etag.as_str(), 304),
        ("if-none-match", &format!("W/{etag}"), 304),
        ("if-none-match", "\"other\"", 200),
        ("if-match", &etag, 200),
        ("if-match", "\"other\"", 412),
    ] {
        let answer = web.get_with("/a.css", &[(name, value)]).await;
        assert_eq!(answer.status(), status, "{name}: {value}");
        if status == 304 {
            assert!(answer.body.is_empty());
            for name in ["etag", "cache-control", "vary"] {
                assert_eq!(answer.header(name), first.header(name), "{name}");
            }
        }
    }
    // The form that a client got before is as good as the file, as long as it takes that form.
    let compressed = etag.trim_end_matches('"').to_owned() + "-br\"";
    let headers = [("if-none-match", compressed.as_str()), ("accept-encoding", "br")];
    let answer = web.get_with("/a.css", &headers).await;
    assert_eq!((answer.status(), answer.header("etag")), (304, compressed.as_str()));
    assert_eq!(web.get_with("/a.css", &headers[..1]).await.status(), 200);
    assert_eq!(web.get("/b.bin").await.header("vary"), "");
}

#[tokio::test]
async fn parts_of_small_and_large_files() {
    let web = Web::start();
    let (small, large) = (bytes(1, 1_000), bytes(2, MEMORY_FILE_BYTES_MAX + 1_000));
    web.show(&[("/s.txt", &small), ("/l.bin", &large)], Policy::default());
    for (path, file) in [("/s.txt", &small), ("/l.bin", &large)] {
        let size = file.len();
        let etag = web.get(path).await.header("etag").to_owned();
        for (range, part) in [
            ("bytes=0-0", 0..1),
            ("bytes=100-199", 100..200),
            ("bytes=990-", 990..size),
            ("bytes=-10", size - 10..size),
            ("bytes=5-99999999", 5..size),
        ] {
            let answer = web.get_with(path, &[("range", range), ("accept-encoding", "br"), ("if-range", &etag)]).await;
            assert_eq!(answer.status(), 206);
            assert_eq!(answer.header("content-range"), format!("bytes {}-{}/{size}", part.start, part.end - 1));
            assert!(answer.body == file[part], "{path} {range}");
        }
        let answer = web.get_with(path, &[("range", "bytes=99999999-")]).await;
        assert_eq!((answer.status(), answer.header("content-range")), (416, format!("bytes */{size}").as_str()));
        for headers in [
            [("range", "bytes=0-499,501-"), ("x", "x")],
            [("range", "bytes=0-1"), ("if-range", "\"other\"")],
            [("range", "nonsense"), ("x", "x")],
        ] {
            let answer = web.get_with(path, &headers).await;
            assert_eq!((answer.status(), answer.body.len()), (200, size));
        }
        let head = web.ask(request("HEAD", path, &[("range", "bytes=0-1")])).await;
        assert_eq!((head.status(), head.header("content-length")), (200, size.to_string().as_str()));
    }
}

#[tokio::test]
async fn several_parts_of_small_and_large_files() {
    let web = Web::start();
    let (small, large) = (bytes(1, 1_000), bytes(2, MEMORY_FILE_BYTES_MAX + 1_000));
    web.show(&[("/s.txt", &small), ("/l.bin", &large)], Policy::default());
    for (path, file, media) in
        [("/s.txt", &small, "text/plain; charset=utf-8"), ("/l.bin", &large, "application/octet-stream")]
    {
        let size = file.len();
        let answer = web.get_with(path, &[("range", "bytes=-10,0-99,200-200"), ("accept-encoding", "br")]).await;
        assert_eq!((answer.status(), answer.header("content-range")), (206, ""));
        assert_eq!(answer.header("content-length"), answer.body.len().to_string());
        assert_eq!(answer.header("content-encoding"), "");
        let boundary = answer.header("content-type").strip_prefix("multipart/byteranges; boundary=").unwrap();
        let mut wanted = Vec::new();
        for part in [size - 10..size, 0..100, 200..201] {
            let range = format!("bytes {}-{}/{size}", part.start, part.end - 1);
            let line = if wanted.is_empty() { "" } else { "\r\n" };
            let head = format!("{line}--{boundary}\r\ncontent-type: {media}\r\ncontent-range: {range}\r\n\r\n");
            wanted.extend_from_slice(head.as_bytes());
            wanted.extend_from_slice(&file[part]);
        }
        wanted.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        assert!(answer.body == wanted, "{path}");
        let other = [("range", "bytes=0-9,20-29"), ("if-range", "\"other\"")];
        assert_eq!(web.get_with(path, &other).await.status(), 200);
    }
}

#[tokio::test]
async fn compressed_forms_are_sent_to_those_who_take_them_and_only_when_they_are_right() {
    let web = Web::start();
    let text = b"body { margin: 0 } ".repeat(500);
    let large = bytes(3, MEMORY_FILE_BYTES_MAX * 2);
    let served = web.show(&[("/a.css", &text), ("/l.json", &large), ("/p.png", &text[1..])], Policy::default());
    let all = [("accept-encoding", "gzip, br, zstd")];
    let plain = web.get_with("/a.css", &all).await;
    assert_eq!((plain.header("content-encoding"), &plain.body[..] == text.as_slice()), ("", true));

    let hash = Sha256::of(&text);
    let brotli = web.compress(&hash, Coding::Brotli, &text);
    let zstd = web.compress(&hash, Coding::Zstd, &text);
    let gzip = web.compress(&Sha256::of(&large), Coding::Gzip, &large);
    web.compress(&Sha256::of(&text[1..]), Coding::Brotli, &text[1..]);
    // The next generation picks them up.
    assert_eq!(web.get_with("/a.css", &all).await.header("content-encoding"), "");
    web.publish(&[("site.test", State::Live(served))]);
    for (path, accept, coding, body) in [
        ("/a.css", "gzip, br, zstd", "br", &brotli),
        ("/a.css", "zstd, gzip", "zstd", &zstd),
        ("/a.css", "gzip", "", &text),
        ("/a.css", "br;q=0", "", &text),
        ("/l.json", "br, gzip", "gzip", &gzip),
        ("/p.png", "br", "", &text[1..].to_vec()),
    ] {
        let answer = web.get_with(path, &[("accept-encoding", accept)]).await;
        assert_eq!((answer.status(), answer.header("content-encoding")), (200, coding), "{path} {accept}");
        assert!(answer.body == *body, "{path} {accept}");
        assert_eq!(answer.header("content-length"), body.len().to_string());
        let whole = web.get(path).await;
        assert_eq!(answer.header("unencoded-digest"), whole.header("unencoded-digest"));
        assert_eq!(answer.header("etag") == whole.header("etag"), coding.is_empty());
        // HEAD has no parts, so it tells of the whole answer that GET would give.
        for more in [&[][..], &[("range", "bytes=0-3")]] {
            let head = web.ask(request("HEAD", path, &[&[("accept-encoding", accept)], more].concat())).await;
            for name in ["etag", "content-encoding", "content-length"] {
                assert_eq!((head.status(), head.header(name)), (200, answer.header(name)), "{name}");
            }
        }
    }
    let part = web.get_with("/a.css", &[("range", "bytes=0-3"), all[0]]).await;
    assert_eq!((part.status(), part.text(), part.header("content-encoding")), (206, "body", ""));

    // SECURITY: a form with a right digest of its own that decodes to something else.
    let mut incidents = web.plane.incidents();
    let other = b"body { display: none } ".repeat(500);
    let mut web_two = vec![(Coding::Brotli, other.clone())];
    web_two.push((Coding::Gzip, other));
    let next = bytes(9, 5_000);
    let served = web.deploy(2, &[("/n.css", &next)], Policy::default());
    for (coding, wrong) in web_two {
        web.compress(&Sha256::of(&next), coding, &wrong);
    }
    web.publish(&[("site.test", State::Live(served))]);
    let answer = web.get_with("/n.css", &all).await;
    assert_eq!((answer.header("content-encoding"), answer.body == next), ("", true));
    for coding in [Coding::Brotli, Coding::Gzip] {
        let wanted = Incident { blob: Sha256::of(&next), damage: Damage::Variant(coding) };
        assert_eq!(incidents.recv().await.unwrap(), wanted);
    }
}

#[tokio::test]
async fn digests_are_told_to_those_who_ask_for_them() {
    let web = Web::start();
    let (text, gone) = (b"body { margin: 0 } ".repeat(500), b"it is not here");
    let fallback = Policy {
        fallback: Some(Fallback { path: SitePath::parse("/404.html").unwrap(), status: 404 }),
        ..Policy::default()
    };
    let set = vec![(String::from("repr-digest"), String::from("sha-256=:AAAA:"))];
    let headers = vec![HeaderRule { matches: String::from("/own.txt"), set }];
    let brotli = web.compress(&Sha256::of(&text), Coding::Brotli, &text);
    let files = [("/a.css", &text[..]), ("/404.html", gone), ("/own.txt", b"own")];
    web.show(&files, Policy { headers, ..fallback });
    let of = |bytes: &[u8]| format!("sha-256=:{}:", Sha256::of(bytes).base64());
    let (plain, packed, missing, own) = (of(&text), of(&brotli), of(gone), String::from("sha-256=:AAAA:"));
    let none = String::new();
    let both = [("want-repr-digest", "sha-512=3, sha-256=1"), ("want-content-digest", "sha-256=1")];
    let (br, range) = (("accept-encoding", "br"), ("range", "bytes=2-5"));
    let tag = web.get("/a.css").await.header("etag").to_owned();
    for (method, path, more, status, repr, content) in [
        ("GET", "/a.css", &[][..], 200, &plain, &plain),
        ("GET", "/a.css", &[br], 200, &packed, &packed),
        // Nothing is sent that the second one could be of.
        ("HEAD", "/a.css", &[], 200, &plain, &none),
        ("HEAD", "/a.css", &[br], 200, &packed, &none),
        // The first one is of the whole file.
        ("GET", "/a.css", &[range], 206, &plain, &none),
        ("GET", "/a.css", &[("range", "bytes=0-1,5-6")], 206, &plain, &none),
        ("GET", "/a.css", &[("range", "bytes=999999-")], 416, &none, &none),
        ("GET", "/a.css", &[("if-none-match", &tag)], 304, &none, &none),
        ("GET", "/missing", &[], 404, &missing, &missing),
        ("GET", "/own.txt", &[], 200, &own, &of(b"own")),
    ] {
        let answer = web.ask(request(method, path, &[&both[..], more].concat())).await;
        let told = (answer.status(), answer.header("repr-digest"), answer.header("content-digest"));
        assert_eq!(told, (status, repr.as_str(), content.as_str()), "{method} {path} {more:?}");
        // Whoever asks for one of them gets that one, and who asks for none gets none.
        let answer = web.ask(request(method, path, &[&both[..1], more].concat())).await;
        assert_eq!((answer.header("repr-digest"), answer.header("content-digest")), (repr.as_str(), ""));
        let answer = web.ask(request(method, path, more)).await;
        let own = answer.header("repr-digest") == own && path == "/own.txt";
        assert!(own || answer.header("repr-digest").is_empty(), "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_2_with_prior_knowledge() {
    let web = Web::start();
    let large = bytes(4, 2_000_000);
    web.show(&[("/index.html", b"two"), ("/l.bin", &large)], Policy::default());
    let sender = web.http_2().await;
    let ask = |path: &str| {
        let request = hyper::Request::builder().uri(format!("http://site.test{path}")).body(Empty::<Bytes>::new());
        let mut sender = sender.clone();
        async move {
            let answer = sender.send_request(request.unwrap()).await.unwrap();
            (answer.status().as_u16(), answer.into_body().collect().await.unwrap().to_bytes())
        }
    };
    let (a, b, c) = tokio::join!(ask("/"), ask("/l.bin"), ask("/none"));
    assert_eq!((a.0, &a.1[..]), (200, &b"two"[..]));
    assert!(b.0 == 200 && b.1 == large);
    assert_eq!(c.0, 404);
}

fn rule(from: &str, to: &str, status: u16, force: bool) -> Redirect {
    Redirect { force, from: from.to_owned(), status, to: to.to_owned(), ..Redirect::default() }
}

#[tokio::test]
async fn folders_clean_addresses_rules_and_fallbacks() {
    let web = Web::start();
    let header = HeaderRule {
        matches: String::from("/docs/*"),
        set: vec![
            (String::from("x-robots-tag"), String::from("noarchive")),
            (String::from("cache-control"), String::from("no-cache")),
        ],
    };
    let policy = Policy {
        clean_urls: true,
        fallback: Some(Fallback { path: SitePath::parse("/404.html").unwrap(), status: 404 }),
        headers: vec![header],
        redirects: vec![rule("/old/*", "/docs/:splat", 301, false), rule("/gone", "/none", 410, false)],
        ..Policy::default()
    };
    let files: [(&str, &[u8]); 4] =
        [("/index.html", b"front"), ("/404.html", b"lost"), ("/docs/index.html", b"docs"), ("/about.html", b"about")];
    let served = web.deploy(1, &files, policy);
    let spa = Policy {
        fallback: Some(Fallback { path: SitePath::parse("/index.html").unwrap(), status: 200 }),
        ..Policy::default()
    };
    let spa = web.deploy(2, &[("/index.html", b"app")], spa);
    web.publish(&[("site.test", State::Live(served)), ("spa.test", State::Live(spa))]);
    for (path, status, wanted) in [
        ("/", 200, "front"),
        ("/docs/", 200, "docs"),
        ("/docs", 308, "/docs/"),
        ("/docs?q=1", 308, "/docs/?q=1"),
        ("/about", 200, "about"),
        ("/about.html", 308, "/about"),
        ("/old/x%20y", 301, "/docs/x%20y"),
        ("/nothing", 404, "lost"),
        ("/gone", 410, ""),
    ] {
        let answer = web.get(path).await;
        assert_eq!(answer.status(), status, "{path}");
        match status {
            301 | 308 => {
                assert_eq!(answer.header("location"), wanted, "{path}");
                assert_eq!(answer.text(), format!("See {wanted}\n"));
            }
            410 => assert!(answer.text().starts_with("This page is gone.")),
            _ => assert_eq!(answer.text(), wanted, "{path}"),
        }
    }
    let docs = web.get("/docs/").await;
    assert_eq!((docs.header("x-robots-tag"), docs.header("cache-control")), ("noarchive", "no-cache"));
    let lost = web.get_with("/nothing", &[("if-none-match", "*"), ("range", "bytes=0-1")]).await;
    assert_eq!((lost.status(), lost.text(), lost.header("etag")), (404, "lost", ""));
    let deep = web.get_with("/any/where", &[("host", "spa.test")]).await;
    assert_eq!((deep.status(), deep.text()), (200, "app"));
}

#[tokio::test]
async fn a_file_that_answers_elsewhere_is_not_kept_for_a_week() {
    let web = Web::start();
    let own = |headers: &[(&str, &str)], fallback: &str, status| Policy {
        fallback: Some(Fallback { path: SitePath::parse(fallback).unwrap(), status }),
        headers: headers
            .iter()
            .map(|(name, value)| HeaderRule {
                matches: String::from("/*"),
                set: vec![((*name).to_owned(), (*value).to_owned())],
            })
            .collect(),
        redirects: vec![rule("/rewritten", "/a.3f2a9c1b.js", 200, false)],
        ..Policy::default()
    };
    let files: [(&str, &[u8]); 3] = [("/lost.svg", b"<svg/>"), ("/app.json", b"{}"), ("/a.3f2a9c1b.js", b"1")];
    let (fresh, week) = ("max-age=0, must-revalidate", "max-age=604800");
    for (policy, path, wanted) in [
        (own(&[], "/lost.svg", 404), "/nothing", fresh),
        (own(&[], "/lost.svg", 404), "/lost.svg", week),
        (own(&[], "/app.json", 200), "/nothing", fresh),
        (own(&[], "/app.json", 200), "/rewritten", fresh),
        (own(&[], "/app.json", 200), "/a.3f2a9c1b.js", "max-age=31536000, immutable"),
        (own(&[("cache-control", "max-age=60")], "/app.json", 200), "/nothing", "max-age=60"),
        (own(&[("cache-control", "max-age=60")], "/lost.svg", 404), "/nothing", "max-age=60"),
    ] {
        web.show(&files, policy);
        assert_eq!(web.get(path).await.header("cache-control"), wanted, "{path}");
    }
    web.show(&files, own(&[], "/app.json", 200));
    let whole = web.get("/nothing").await;
    for (name, value, status) in [("if-none-match", whole.header("etag"), 304), ("range", "bytes=0-0", 206)] {
        let answer = web.get_with("/nothing", &[(name, value)]).await;
        assert_eq!((answer.status(), answer.header("cache-control")), (status, fresh));
    }
    let none = web.get_with("/nothing", &[("range", "bytes=9-")]).await;
    assert_eq!((none.status(), none.header("cache-control")), (416, "no-store"));
}

#[tokio::test]
async fn what_is_no_file_is_said_on_a_page() {
    let web = Web::start();
    let served = web.deploy(1, &[("/index.html", b"x")], Policy::default());
    web.publish(&[
        ("site.test", State::Live(served)),
        ("abc--site.test", State::Live(served)),
        ("down.test", State::TakenDown(String::from("Court order 7 & <appeal>"))),
        ("removed.test", State::TakenDown(String::new())),
        ("empty.test", State::Empty),
    ]);
    let page = [("accept", "text/html,*/*")];
    for (host, path, status) in [
        ("site.test", "/none", 404),
        ("SITE.test:8080", "/", 200),
        ("down.test", "/", 451),
        ("removed.test", "/", 410),
        ("empty.test", "/", 404),
        ("unknown.test", "/", 421),
        ("site.test", "/%2e%2e/secret", 400),
        ("site.test", "/a%2fb", 400),
        ("site.test", "/a%00b", 400),
        ("site.test", "/%ff", 400),
        ("site.test", "/a%5cb", 400),
        ("site.test", "/.well-known/chainhost/proof/02020202020202020202020202020202", 404),
        ("site.test", "/.well-known/acme-challenge/token", 404),
        ("site.test", "/.well-known/chainhost/proof/01010101010101010101010101010101", 200),
    ] {
        let answer = web.get_with(path, &[("host", host), page[0]]).await;
        assert_eq!(answer.status(), status, "{host} {path}");
        if status != 200 {
            assert!(answer.text().starts_with("<!doctype html>"), "{host} {path}");
            assert_eq!(answer.header("cache-control"), "no-store");
            assert_eq!(answer.header("content-length"), answer.body.len().to_string());
            let plain = web.get_with(path, &[("host", host)]).await;
            assert!(!plain.text().contains('<') || host == "down.test", "{}", plain.text());
        }
    }
    let preview = web.get_with("/", &[("host", "abc--site.test")]).await;
    assert_eq!((preview.status(), preview.header("x-robots-tag")), (200, "noindex"));
    assert_eq!(web.get("/").await.header("x-robots-tag"), "");

    for (method, status, allow) in [("POST", 405, true), ("DELETE", 405, true), ("OPTIONS", 204, true)] {
        let answer = web.ask(request(method, "/", &[])).await;
        assert_eq!((answer.status(), answer.header("allow") == "GET, HEAD, OPTIONS"), (status, allow), "{method}");
    }
    let head = web.ask(request("HEAD", "/none", &page)).await;
    assert_eq!((head.status(), head.body.len()), (404, 0));
    assert_ne!(head.header("content-length"), "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_bytes_are_never_sent() {
    let web = Web::start();
    let (small, kept, large) = (bytes(1, 5_000), bytes(2, 5_000), bytes(3, MEMORY_FILE_BYTES_MAX * 3));
    let (gone, cut) = (bytes(4, 700), bytes(5, MEMORY_FILE_BYTES_MAX + 9));
    let files: [(&str, &[u8]); 5] = [("/s", &small), ("/k", &kept), ("/l", &large), ("/g", &gone), ("/c", &cut)];
    web.show(&files, Policy::default());
    let mut incidents = web.plane.incidents();
    let of = |bytes: &[u8]| web.blob(&Sha256::of(bytes));

    // Small, before it was ever read; and one that is in memory already.
    assert_eq!(web.get("/k").await.status(), 200);
    alter(&of(&small), 100, b"!");
    alter(&of(&kept), 100, b"!");
    for _ in 0..3 {
        assert_eq!(web.get("/s").await.status(), 503);
    }
    assert_eq!(web.get("/k").await.body, kept);
    let wanted = Incident { blob: Sha256::of(&small), damage: Damage::Altered };
    assert_eq!(incidents.recv().await.unwrap(), wanted);

    // Large, after it was mapped and sent.
    for _ in 0..2 {
        assert!(web.get("/l").await.body == large);
    }
    alter(&of(&large), 200_000, b"!");
    for _ in 0..3 {
        let answer = web.get_with("/l", &[("accept", "text/html")]).await;
        assert_eq!((answer.status(), answer.header("retry-after")), (503, "30"));
        assert_eq!(web.get_with("/l", &[("range", "bytes=0-9")]).await.status(), 503);
    }
    let wanted = Incident { blob: Sha256::of(&large), damage: Damage::Altered };
    assert_eq!(incidents.recv().await.unwrap(), wanted);

    // Missing, and cut short.
    fs::remove_file(of(&gone)).unwrap();
    assert_eq!(web.get("/g").await.status(), 503);
    assert_eq!(incidents.recv().await.unwrap().damage, Damage::Missing);
    fs::set_permissions(of(&cut), Permissions::from_mode(0o600)).unwrap();
    OpenOptions::new().write(true).open(of(&cut)).unwrap().set_len(10).unwrap();
    assert_eq!(web.get("/c").await.status(), 503);
    assert_eq!(incidents.recv().await.unwrap().blob, Sha256::of(&cut));
    // Each was told once.
    assert!(incidents.try_recv().is_err());

    // Repaired: served again, and damage is news again.
    fs::remove_file(of(&large)).unwrap();
    for repaired in [&large, &gone, &cut] {
        web.blobs.put(repaired).unwrap();
    }
    for (path, wanted) in [("/l", &large), ("/g", &gone), ("/c", &cut)] {
        assert!(web.get(path).await.body == *wanted, "{path}");
    }
    alter(&of(&large), 0, b"!");
    assert_eq!(web.get("/l").await.status(), 503);
    assert_eq!(incidents.recv().await.unwrap().blob, Sha256::of(&large));
}

#[tokio::test]
async fn a_site_without_its_manifest_says_so_and_comes_back() {
    let web = Web::start();
    let served = web.deploy(1, &[("/index.html", b"x")], Policy::default());
    let manifest = fs::read(web.blob(&served.manifest)).unwrap();
    fs::remove_file(web.blob(&served.manifest)).unwrap();
    let nonsense = web.blobs.put(b"{}").unwrap();
    let other = chainhost::serve::snapshot::Served { manifest: nonsense, ..served };
    web.publish(&[("site.test", State::Live(served)), ("other.test", State::Live(other))]);
    let mut incidents = web.plane.incidents();
    assert_eq!(web.get("/").await.status(), 503);
    assert_eq!(web.get_with("/", &[("host", "other.test")]).await.status(), 503);
    assert_eq!(incidents.recv().await.unwrap().damage, Damage::Missing);
    assert_eq!(incidents.recv().await.unwrap().damage, Damage::NotAManifest);
    web.blobs.put(&manifest).unwrap();
    assert_eq!(web.get("/").await.text(), "x");
}

#[tokio::test]
async fn a_generation_never_goes_back_and_an_instance_never_changes() {
    let web = Web::start();
    web.plane.publish(Snapshot::new(INSTANCE, 7)).unwrap();
    web.plane.publish(Snapshot::new(INSTANCE, 7)).unwrap();
    let older = web.plane.publish(Snapshot::new(INSTANCE, 6)).unwrap_err();
    assert_eq!(older, Refused::Older { generation: 6, served: 7 });
    let foreign = web.plane.publish(Snapshot::new(Id::from_bytes([8; 16]), 9)).unwrap_err();
    assert!(matches!(foreign, Refused::Foreign { .. }));
    assert_eq!(web.plane.snapshot().generation, 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_publishes_under_load_fail_no_request() {
    const GENERATIONS: u8 = 100;
    let web = Web::start();
    let size = MEMORY_FILE_BYTES_MAX + 1;
    // Each generation's files consist of its number alone: a mixed body would show.
    let made: Vec<State> = (1..=GENERATIONS)
        .map(|it| {
            let large = vec![it; usize::try_from(size).unwrap()];
            State::Live(web.deploy(it, &[("/s.txt", &[it; 3_000]), ("/l.bin", &large)], Policy::default()))
        })
        .collect();
    web.publish(&[("site.test", made[0].clone())]);
    let (done, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    let load = |path: &'static str, wanted: usize| {
        let (web, done, asked) = (&web, &done, &asked);
        async move {
            let mut client = web.client().await;
            let mut last = 0;
            while !done.load(Ordering::SeqCst) {
                let answer = client.ask(get(path, &[])).await.unwrap();
                assert_eq!((answer.status(), answer.body.len()), (200, wanted));
                let first = answer.body[0];
                assert!(answer.body.iter().all(|it| *it == first), "a mixed body");
                let digest = format!("sha-256=:{}:", Sha256::of(&answer.body).base64());
                assert_eq!(answer.header("unencoded-digest"), digest);
                assert!(first >= last, "a generation came back");
                last = first;
                asked.fetch_add(1, Ordering::SeqCst);
            }
            last
        }
    };
    let publish = async {
        for state in &made {
            let before = asked.load(Ordering::SeqCst);
            web.publish(&[("site.test", state.clone())]);
            // The next follows when visitors have seen some of this one.
            while asked.load(Ordering::SeqCst) < before + 5 {
                tokio::task::yield_now().await;
            }
        }
        done.store(true, Ordering::SeqCst);
    };
    let small = || load("/s.txt", 3_000);
    let large = || load("/l.bin", usize::try_from(size).unwrap());
    let ((), a, b, c, d) = tokio::join!(publish, small(), small(), large(), large());
    for last in [a, b, c, d] {
        assert!(last > GENERATIONS / 2, "{last}");
    }
    let counts = web.plane.meter();
    assert_eq!((counts.classes[3], counts.classes[4]), (0, 0));
    assert!(counts.requests >= 500, "{counts:?}");
}

#[test]
fn a_large_routing_table_is_read_from_disk() {
    let folder = tempfile::tempdir().unwrap();
    let mut snapshot = Snapshot::new(INSTANCE, 1);
    for site in 0..1_000_u32 {
        for preview in 0..21_u32 {
            let mut id = [0; 16];
            id[..4].copy_from_slice(&site.to_be_bytes());
            id[4..8].copy_from_slice(&preview.to_be_bytes());
            let served = chainhost::serve::snapshot::Served {
                deployment: Id::from_bytes(id).into(),
                manifest: Sha256::of(&id),
                proof: true,
            };
            let target = chainhost::serve::snapshot::Target {
                site: Id::from_bytes(id).into(),
                name: format!("site-{site}"),
                preview: preview > 0,
                state: State::Live(served),
                settings: chainhost::serve::snapshot::Settings::Plain,
            };
            snapshot.insert(&format!("{preview:020}--site-{site}.sites.example"), target.into());
        }
    }
    chainhost::serve::snapshot_file::save(folder.path(), &snapshot).unwrap();
    let started = tokio::time::Instant::now();
    let loaded = chainhost::serve::snapshot_file::load(folder.path()).unwrap().unwrap();
    println!("21,000 hosts, {:?}", started.elapsed());
    assert!(loaded.snapshot == snapshot && loaded.snapshot.len() == 21_000);
    assert_eq!(files::walk(folder.path()).unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proof_bundle_costs_what_a_file_costs() {
    let web = Web::start();
    let rule = |n| HeaderRule { matches: format!("/{n}/*"), set: vec![(String::from("x-a"), "b".repeat(7_000))] };
    let many = Policy { headers: (0..60).map(rule).collect(), ..Policy::default() };
    for policy in [Policy::default(), many] {
        let served = web.show(&[("/index.html", b"x")], policy);
        let path = format!("/.well-known/chainhost/proof/{}", served.deployment);
        let manifest = web.blobs.read_verified(&served.manifest).unwrap();
        let root = site_tree::site_root(&Manifest::parse(&manifest).unwrap());
        let wanted = bundle::bundle(&manifest, &root);
        let answers = futures(40, || web.get(&path)).await;
        assert!(answers.iter().all(|it| it.status() == 200 && it.body == wanted));
        let etag = answers[0].header("etag").to_owned();
        assert_eq!(answers[0].header("content-length"), wanted.len().to_string());
        assert_eq!(answers[0].header("content-type"), "application/json");
        let head = web.ask(request("HEAD", &path, &[])).await;
        assert_eq!((head.status(), head.header("content-length")), (200, wanted.len().to_string().as_str()));
        assert!(etag.starts_with('"') && head.header("etag") == etag);
        let again = web.get_with(&path, &[("if-none-match", &etag)]).await;
        assert_eq!((again.status(), again.body.len(), again.header("etag")), (304, 0, etag.as_str()));
        assert_eq!(web.get_with(&path, &[("if-match", "\"other\"")]).await.status(), 412);
    }
}

/// What `count` askers get who ask at the same time.
async fn futures<T>(count: usize, ask: impl Fn() -> T) -> Vec<T::Output>
where
    T: Future,
{
    let mut asked: Vec<_> = (0..count).map(|_| Box::pin(ask())).map(Some).collect();
    let mut answers = Vec::new();
    std::future::poll_fn(|context| {
        for slot in &mut asked {
            if let Some(std::task::Poll::Ready(answer)) = slot.as_mut().map(|it| it.as_mut().poll(context)) {
                answers.push(answer);
                *slot = None;
            }
        }
        if asked.iter().all(Option::is_none) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    answers
}
