//! What an answer from memory costs in the data plane, without sockets; and how long a large snapshot takes to read.

#![expect(clippy::unwrap_used, reason = "a bench that panics says what went wrong")]

use std::{hint::black_box, sync::Arc, time::Duration};

use chainhost::{
    base::{blob_dir::BlobDir, clock::Clock, countries::Countries, hash::Sha256, ids::Id, tasks::Tasks},
    domain::{policy::Policy, site_path::SitePath},
    http::{
        peer::{Peer, Trust},
        respond::{self, Body, Response},
    },
    proof::manifest::{Entry, Manifest},
    serve::{
        Asked, DataPlane,
        snapshot::{Served, Settings, Snapshot, State, Target},
        tally::{Seen, Tally},
    },
};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use hyper::{Request, StatusCode, http::request::Parts};
use tokio::time::Instant;

fn target(number: u32, manifest: Sha256) -> Target {
    let mut id = [7; 16];
    id[..4].copy_from_slice(&number.to_be_bytes());
    let served = Served { deployment: Id::from_bytes(id).into(), manifest, proof: true };
    Target {
        site: Id::from_bytes(id).into(),
        name: format!("site-{number}"),
        preview: false,
        state: State::Live(served),
        settings: Settings::Plain,
    }
}

fn plane(blobs: &BlobDir) -> DataPlane {
    let file = |path: &str, size: usize| {
        let bytes = "x".repeat(size);
        Entry {
            path: SitePath::parse(path).unwrap(),
            sha256: blobs.put(bytes.as_bytes()).unwrap(),
            size: size.try_into().unwrap(),
            media_type: String::from("text/css; charset=utf-8"),
        }
    };
    let entries = vec![file("/1k.css", 1_024), file("/100k.css", 102_400)];
    let manifest = blobs.put(&Manifest::new(entries, Policy::default()).unwrap().to_bytes()).unwrap();
    let mut snapshot = Snapshot::new(Id::NIL, 1);
    for number in 0..1_000 {
        snapshot.insert(&format!("site-{number}.example"), Arc::new(target(number, manifest)));
    }
    DataPlane::new(blobs.clone(), snapshot, Tasks::new(), Clock::system())
}

fn parts(path: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().uri(path).header("host", "site-500.example");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

async fn answer(plane: &DataPlane, parts: &Parts) -> Option<Response> {
    let trust = Trust { proxies: Vec::new(), own: Vec::new(), scheme: "http" };
    let peer = Peer::new(([127, 0, 0, 1], 40_000).into());
    plane.answer(Asked { host: "site-500.example", parts, peer, trust: &trust }, Body::empty()).await
}

fn answers(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let blobs = BlobDir::open(folder.path()).unwrap();
    let plane = plane(&blobs);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let browser = [("accept-encoding", "gzip, deflate, br, zstd"), ("accept", "*/*")];
    for (name, path, headers) in [
        ("1 KiB", "/1k.css", &browser[..0]),
        ("1 KiB, for a browser, without compressed forms", "/1k.css", &browser),
        ("100 KiB", "/100k.css", &browser[..0]),
        ("not found", "/none", &browser[..0]),
    ] {
        let parts = parts(path, headers);
        let answer = || runtime.block_on(answer(&plane, &parts)).unwrap();
        answer();
        criterion.bench_function(&format!("answer: {name}"), |bencher| bencher.iter(|| black_box(answer())));
    }
    let mut known = parts("/1k.css", &[]);
    let etag = runtime.block_on(answer(&plane, &known)).unwrap().headers()["etag"].clone();
    known.headers.insert("if-none-match", etag);
    criterion.bench_function("answer: 304", |bencher| {
        bencher.iter(|| black_box(runtime.block_on(answer(&plane, &known)).unwrap()));
    });
}

/// What counting adds to an answer, and what folding costs beside it. The queues are emptied outside of what is measured.
fn counts(criterion: &mut Criterion) {
    const BETWEEN: u64 = 8_192;
    let firefox = ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0");
    let (tally, target) = (Tally::new(Clock::system()), target(500, Sha256::of(b"m")));
    let trust = Trust { proxies: Vec::new(), own: Vec::new(), scheme: "http" };
    let peer = Peer::new(([192, 0, 2, 7], 40_000).into());
    let file = || respond::content(StatusCode::OK, "text/css", "x");
    let page = || respond::html(StatusCode::OK, "x");
    let count = |parts: &Parts, answer: &dyn Fn() -> Response| {
        let asked = Asked { host: "site-500.example", parts, peer, trust: &trust };
        let countries = Countries::none();
        let seen = Seen { target: &target, asked, countries: &countries };
        drop(black_box(tally.watch(&seen, answer())));
    };
    let kinds: [(&str, &str, &dyn Fn() -> Response); 2] =
        [("a file", "/1k.css", &file), ("a page", "/news/today", &page)];
    for (name, path, answer) in kinds {
        let parts = parts(path, &[firefox, ("referer", "https://search.example/?q=x")]);
        criterion.bench_function(&format!("{name}, made and not counted"), |bencher| {
            bencher.iter(|| drop(black_box(answer())));
        });
        criterion.bench_function(&format!("{name}, made and counted"), |bencher| {
            bencher.iter_custom(|times| {
                let (mut took, mut left) = (Duration::ZERO, times);
                while left > 0 {
                    let some = left.min(BETWEEN);
                    let start = Instant::now();
                    (0..some).for_each(|_| count(&parts, answer));
                    took += start.elapsed();
                    tally.fold();
                    left -= some;
                }
                took
            });
        });
        criterion.bench_function(&format!("{name}: {BETWEEN} counts folded"), |bencher| {
            let crowd = || (0..BETWEEN).for_each(|_| count(&parts, answer));
            bencher.iter_batched(crowd, |()| tally.fold(), BatchSize::PerIteration);
        });
    }
    assert_eq!(tally.dropped(), 0);
}

fn snapshots(criterion: &mut Criterion) {
    let mut snapshot = Snapshot::new(Id::NIL, 1);
    for number in 0..21_000 {
        let host = format!("{:020}--site-{}.sites.example", number % 21, number / 21);
        snapshot.insert(&host, Arc::new(target(number, Sha256::of(b"m"))));
    }
    let bytes = snapshot.encode();
    criterion.bench_function("snapshot of 21,000 hosts: decode", |bencher| {
        bencher.iter(|| black_box(Snapshot::decode(&bytes).unwrap()));
    });
    criterion.bench_function("snapshot of 21,000 hosts: encode", |bencher| {
        bencher.iter(|| black_box(snapshot.encode()));
    });
}

criterion_group!(benches, answers, counts, snapshots);
criterion_main!(benches);
