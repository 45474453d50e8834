//! What is counted, of whom, and what is not.

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::{Request, body::Body as _};

use super::*;
use crate::{
    base::{countries::Countries, ids::Id},
    domain::traffic::{DAY_MS, HOUR_MS},
    http::{
        peer::{Peer, Trust},
        respond::{self, Body},
    },
    serve::snapshot::{Settings, State},
};

const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0";
const NOON: i64 = 20_000 * DAY_MS + 12 * HOUR_MS;

fn target(preview: bool) -> Target {
    let (name, settings) = (String::from("one"), Settings::Plain);
    Target { site: SiteId(Id::from_bytes([1; 16])), name, preview, state: State::Empty, settings }
}

/// A request that came straight from `client`.
fn asked<'a>(host: &'a str, parts: &'a Parts, client: &str) -> Asked<'a> {
    static NOBODY: Trust = Trust { proxies: Vec::new(), own: Vec::new(), scheme: "http" };
    let client: IpAddr = client.parse().unwrap();
    Asked { host, parts, peer: Peer::new((client, 1).into()), trust: &NOBODY }
}

fn parts(path: &str, headers: &[(&'static str, &str)]) -> Parts {
    let mut request = Request::get(path).body(()).unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    request.into_parts().0
}

/// A request to `path` by a browser at `client`.
fn visit(tally: &Tally, path: &str, client: &str, headers: &[(&'static str, &str)], response: Response) -> Response {
    let headers = [&[("user-agent", FIREFOX)], headers].concat();
    let (target, parts) = (target(false), parts(path, &headers));
    let seen = Seen { target: &target, asked: asked("one.example", &parts, client), countries: &Countries::none() };
    tally.watch(&seen, response)
}

fn page() -> Response {
    respond::html(StatusCode::OK, "0123456789")
}

fn only(tally: &Tally) -> SiteSums {
    tally.fold();
    let mut taken = tally.take(10);
    assert_eq!(taken.len(), 1);
    taken.remove(0).1
}

fn tops(sums: &SiteSums, kind: usize) -> Vec<(String, u64)> {
    sums.hours.values().next().map(|it| it.tops[kind].clone().certain()).unwrap_or_default()
}

#[test]
fn pages_visitors_and_lists_are_of_people() {
    let (clock, _) = Clock::manual(NOON);
    let tally = Tally::new(clock);
    let news = [("referer", "https://www.news.example/today")];
    drop(visit(&tally, "/", "192.0.2.1", &news, page()));
    drop(visit(&tally, "/?q=secret", "192.0.2.1", &[], page()));
    drop(visit(&tally, "/a", "192.0.2.2", &[("referer", "https://one.example/")], page()));
    drop(visit(&tally, "/gone", "192.0.2.2", &[], respond::html(StatusCode::NOT_FOUND, "no")));
    // A program, a picture, a look ahead, a preview, and a page that the browser had.
    drop(visit(&tally, "/bot", "192.0.2.3", &[("user-agent", "curl/8")], page()));
    drop(visit(&tally, "/x.png", "192.0.2.4", &[], respond::content(StatusCode::OK, "image/png", "png")));
    drop(visit(&tally, "/ahead", "192.0.2.5", &[("sec-purpose", "prefetch;prerender")], page()));
    let (preview, head) = (target(true), parts("/", &[("user-agent", FIREFOX)]));
    let seen =
        Seen { target: &preview, asked: asked("x--one.example", &head, "192.0.2.6"), countries: &Countries::none() };
    drop(tally.watch(&seen, page()));
    let kept = [("accept", "text/html,*/*")];
    drop(visit(&tally, "/a", "192.0.2.7", &kept, respond::empty(StatusCode::NOT_MODIFIED)));
    let kept = [("accept", "text/html,*/*"), ("sec-fetch-dest", "image")];
    drop(visit(&tally, "/b.png", "192.0.2.8", &kept, respond::empty(StatusCode::NOT_MODIFIED)));

    let sums = only(&tally);
    let counts = sums.minutes[&NOON];
    assert_eq!((counts.requests, counts.pages, counts.bots, counts.unchanged), (10, 4, 1, 2));
    assert_eq!(counts.classes, [7, 2, 1, 0]);
    assert_eq!(counts.bytes, 6 * 10 + 2 + 3);
    assert_eq!(sums.hours[&NOON].visitors.estimate(), 3);
    let owned = |list: &[(&str, u64)]| list.iter().map(|it| (it.0.to_owned(), it.1)).collect::<Vec<_>>();
    assert_eq!(tops(&sums, 0), owned(&[("/", 2), ("/a", 2)]));
    assert_eq!(tops(&sums, 1), owned(&[("news.example", 1)]));
    assert_eq!(tops(&sums, 2), owned(&[("/gone", 1)]));
    assert_eq!(tally.busiest()[0].1, SinceStart { requests: 10, bytes: 65 });
}

#[test]
fn a_visitor_is_another_one_on_another_day_by_another_agent_and_of_another_site() {
    let (clock, hands) = Clock::manual(NOON);
    let tally = Tally::new(clock);
    let hash = |agent: &str, client: &str, preview| {
        let (target, parts) = (target(preview), parts("/", &[]));
        let seen = Seen { target: &target, asked: asked("", &parts, client), countries: &Countries::none() };
        tally.visitor(tally.0.clock.now_ms(), &seen, agent.as_bytes())
    };
    let first = hash("a", "192.0.2.1", false);
    assert_ne!(first, hash("b", "192.0.2.1", false));
    assert_ne!(first, hash("a", "192.0.2.2", false));
    assert_eq!(hash("a", "2001:db8::1", false), hash("a", "2001:db8::2", false));
    assert_ne!(hash("a", "2001:db8::1", false), hash("a", "2001:db8:0:1::1", false));
    hands.advance(DAY_MS);
    assert_ne!(first, hash("a", "192.0.2.1", false), "the salt is of another day");
    // Set back, it is the day before again.
    hands.advance(-DAY_MS);
    assert_eq!(first, hash("a", "192.0.2.1", false));
    tally.set_salts(vec![(Period::Day.start_of(NOON), [7; 32])]);
    let shared = hash("a", "192.0.2.1", false);
    assert_ne!(first, shared);
    let other = Tally::new(Clock::manual(NOON).0);
    other.set_salts(vec![(Period::Day.start_of(NOON), [7; 32])]);
    let (target, parts) = (target(false), parts("/", &[]));
    let seen = Seen { target: &target, asked: asked("", &parts, "192.0.2.1"), countries: &Countries::none() };
    assert_eq!(other.visitor(NOON, &seen, b"a"), shared, "another node knows the same visitor");
}

#[test]
fn salts_are_asked_for_ahead_and_when_one_is_of_a_day_that_is_over() {
    let tally = Tally::new(Clock::manual(NOON).0);
    let ahead = 2 * HOUR_MS;
    let (today, next) = (NOON - 12 * HOUR_MS, NOON + 12 * HOUR_MS);
    assert!(tally.wants_salts(NOON, ahead));
    tally.set_salts(vec![(today, [7; 32])]);
    assert!(!tally.wants_salts(NOON, ahead) && tally.wants_salts(next - ahead, ahead));
    tally.set_salts(vec![(today, [7; 32]), (next, [8; 32])]);
    assert!(!tally.wants_salts(next - ahead, ahead) && !tally.wants_salts(next - 1, ahead));
    assert!(tally.wants_salts(next, ahead), "that of yesterday is to go when the day is over");
    tally.set_salts(vec![(next, [8; 32])]);
    assert!(!tally.wants_salts(next, ahead));
}

#[tokio::test]
async fn bytes_are_those_that_were_sent() {
    let (clock, _) = Clock::manual(NOON);
    let tally = Tally::new(clock);
    let large = || respond::content(StatusCode::OK, "application/zip", vec![0; 3 * PIECE]);
    let whole = visit(&tally, "/a.zip", "192.0.2.1", &[], large());
    assert_eq!(whole.body().size_hint().exact(), Some(3 * 256 * 1024));
    assert_eq!(tally.fold(), 0, "it has not ended");
    assert_eq!(whole.into_body().collect().await.unwrap().to_bytes().len(), 3 * PIECE);
    let mut broken = visit(&tally, "/a.zip", "192.0.2.1", &[], large());
    broken.body_mut().frame().await.unwrap().unwrap();
    drop(broken);
    let streamed = http_body_util::Full::new(Bytes::from("streamed"));
    let streamed = visit(&tally, "/", "192.0.2.1", &[], Response::new(Body::boxed(streamed)));
    streamed.into_body().collect().await.unwrap();
    let counts = only(&tally).minutes[&NOON];
    assert_eq!((counts.requests, counts.bytes), (3, 4 * 256 * 1024 + 8));
}

#[test]
fn what_has_no_room_is_dropped_and_counted() {
    let tally = Tally::with_room(Clock::manual(NOON).0, 1, 3);
    for _ in 0..5 {
        drop(visit(&tally, "/", "192.0.2.1", &[], page()));
    }
    assert_eq!(tally.dropped(), 2);
    assert_eq!(tally.fold(), 3);
    assert_eq!(tally.fold(), 0);
    drop(visit(&tally, "/", "192.0.2.1", &[], page()));
    assert_eq!((tally.fold(), tally.dropped()), (1, 2));
}

#[test]
fn verdicts_are_remembered_and_right() {
    for _ in 0..3 {
        for n in 0..1_000 {
            let person = format!("{FIREFOX} {n}");
            assert!(!is_bot(Some(person.as_bytes())), "{person}");
            assert!(is_bot(Some(format!("Mozilla/5.0 Somebot/{n}").as_bytes())));
        }
    }
    assert!(is_bot(None));
}
