//! What is refused, byte by byte: a request, or the whole connection.

use quinn::{Connection, ConnectionError, ReadError, RecvStream, SendStream, VarInt};
use tokio::time::timeout;

use super::{
    PATIENCE, Secured,
    client::{dial, frame, section},
};

/// Kinds of frames.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
/// The error for a request that is none.
const MALFORMED: u32 = 0x10e;

const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "https"), (":authority", "shop.example"), (":path", "/")];

fn get() -> Vec<u8> {
    frame(HEADERS, &section(&GET))
}

fn with(more: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, &section(&[&GET[..], more].concat()))
}

fn without(name: &str) -> Vec<u8> {
    let rest: Vec<_> = GET.into_iter().filter(|it| it.0 != name).collect();
    frame(HEADERS, &section(&rest))
}

/// The same with another value of a field.
fn other(name: &str, value: &'static str) -> Vec<u8> {
    frame(HEADERS, &section(&GET.map(|it| if it.0 == name { (it.0, value) } else { it })))
}

async fn send(connection: &Connection, bytes: &[u8]) -> (SendStream, RecvStream) {
    let (mut sender, receiver) = connection.open_bi().await.unwrap();
    sender.write_all(bytes).await.unwrap();
    (sender, receiver)
}

/// What comes back of a request that ends with these bytes.
async fn answer(connection: &Connection, bytes: &[u8]) -> Result<Vec<u8>, ReadError> {
    let (mut sender, mut receiver) = send(connection, bytes).await;
    // The server may have stopped it already.
    drop(sender.finish());
    match timeout(PATIENCE, receiver.read_to_end(1 << 20)).await.unwrap() {
        Ok(all) => Ok(all),
        Err(quinn::ReadToEndError::Read(error)) => Err(error),
        Err(error) => panic!("{error}"),
    }
}

/// How an answer begins whose status has a place in the table.
fn begins(answer: &[u8], place: &[u8]) -> bool {
    answer.first() == Some(&HEADERS) && answer.get(7..7 + place.len()) == Some(place)
}

/// 200 is in the table of RFC 9204 at 25.
const OK: &[u8] = &[0xd9];

// One thread: the end of a stream leaves with its bytes. Where it comes later a site may have answered before it is seen that bytes are
// missing, as RFC 9114 (4.1.2) lets it.
#[tokio::test]
async fn requests_with_two_readings_are_refused_and_the_connection_goes_on() {
    let it = Secured::start("", "");
    let connection = dial(&it.authority, "shop.example", it.port).await.unwrap();
    let body = |length: &str, bytes: &[u8]| [with(&[("content-length", length)]), frame(DATA, bytes)].concat();
    for (what, bytes) in [
        ("a method twice", with(&[(":method", "GET")])),
        ("a path twice", with(&[(":path", "/other")])),
        ("an authority twice", with(&[(":authority", "shop.example")])),
        ("another host", with(&[("host", "book.example")])),
        ("two hosts", with(&[("host", "shop.example"), ("host", "shop.example")])),
        ("no method", without(":method")),
        ("no scheme", without(":scheme")),
        ("no authority", without(":authority")),
        ("no path", without(":path")),
        ("a pseudo-header of an answer", with(&[(":status", "200")])),
        ("an unknown one", with(&[(":protocol", "websocket")])),
        ("one behind a field", frame(HEADERS, &section(&[GET[0], ("a", "b"), GET[1], GET[2], GET[3]]))),
        ("a fragment", other(":path", "/#x")),
        ("a star, which only OPTIONS asks for", other(":path", "*")),
        ("a path without a slash", other(":path", "index.html")),
        ("an address for a path", other(":path", "https://shop.example/")),
        ("a line break in a path", other(":path", "/\r\nx: y")),
        ("another scheme", other(":scheme", "ftp")),
        ("an empty authority", other(":authority", "")),
        ("a line break in an authority", other(":authority", "shop.example\r\nx: y")),
        ("a blank in a method", other(":method", "GET / HTTP/1.1")),
        ("a CONNECT with a path", other(":method", "CONNECT")),
        ("a capital", with(&[("X-Y", "1")])),
        ("a space in a name", with(&[("x y", "1")])),
        ("a line break", with(&[("x", "1\r\ny: 2")])),
        ("a connection", with(&[("connection", "keep-alive")])),
        ("a coding", with(&[("transfer-encoding", "chunked")])),
        ("a connection that is to stay", with(&[("keep-alive", "timeout=5")])),
        ("one to a proxy", with(&[("proxy-connection", "close")])),
        ("a coding of a connection", with(&[("te", "gzip")])),
        ("a NUL", with(&[("x", "y\0z")])),
        ("an upgrade", with(&[("upgrade", "websocket")])),
        ("two lengths", with(&[("content-length", "0"), ("content-length", "0")])),
        ("a length with a sign", with(&[("content-length", "-1")])),
        ("a length that differs from another", with(&[("content-length", "0"), ("content-length", "4")])),
        ("a length beyond 64 bits", with(&[("content-length", "18446744073709551616")])),
        ("less than was said", body("5", b"")),
        ("more than was said", body("5", b"123456")),
        ("no head at all", Vec::new()),
    ] {
        let refused = answer(&connection, &bytes).await;
        let code = if what == "no head at all" { 0x10d } else { MALFORMED };
        assert_eq!(refused, Err(ReadError::Reset(VarInt::from_u32(code))), "{what}");
    }
    let same = with(&[("host", "SHOP.example"), ("te", "trailers"), ("content-length", "0")]);
    assert!(begins(&answer(&connection, &same).await.unwrap(), OK), "the connection is as well as before");
    // What means nothing is passed over, and so are trailers.
    let idle = frame(0x21, b"nothing");
    let trailers = frame(HEADERS, &section(&[("x", "y")]));
    let all = [idle.clone(), get(), idle.clone(), frame(DATA, b""), frame(DATA, b"abc"), trailers, idle].concat();
    assert!(begins(&answer(&connection, &all).await.unwrap(), OK));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_is_too_large_is_answered_and_costs_nothing() {
    let it = Secured::start("", "");
    let connection = dial(&it.authority, "shop.example", it.port).await.unwrap();
    // Of the table: 63 and above take two bytes. 431 has no place of its own, and so stands behind that of the name.
    let too_large = |answer: &[u8]| answer.windows(3).any(|it| it == b"431");
    let long = "x".repeat(17_000);
    assert!(too_large(&answer(&connection, &with(&[("x", &long)])).await.unwrap()));
    let many: Vec<_> = (0..600).map(|_| ("a", "b")).collect();
    assert!(too_large(&answer(&connection, &with(&many)).await.unwrap()), "each field counts");
    // A GiB is announced, and some of it sent: nobody waits for it.
    let (mut sender, mut receiver) =
        send(&connection, &[&[HEADERS, 0xc0, 0, 0, 0, 0x40, 0, 0, 0][..], &[0; 1_000]].concat()).await;
    let told = timeout(PATIENCE, receiver.read_to_end(1 << 20)).await.unwrap().unwrap();
    assert!(too_large(&told));
    assert_eq!(timeout(PATIENCE, sender.stopped()).await.unwrap(), Ok(Some(VarInt::from_u32(0x100))));
    drop(sender.reset(VarInt::from_u32(0)));
    let fitting = "x".repeat(15_000);
    assert!(begins(&answer(&connection, &with(&[("x", &fitting)])).await.unwrap(), OK));
}

/// What nobody can read on from ends the connection, with the code for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_breaks_the_rules_of_a_connection_ends_it() {
    let it = Secured::start("", "");
    let settings = frame(4, &[6, 0x40, 0x64]);
    let control = |more: &[u8]| [&[0][..], &settings, more].concat();
    for (what, one_way, bytes, code) in [
        ("a body before its head", false, frame(DATA, b"x"), 0x105),
        ("settings on a request", false, settings.clone(), 0x105),
        ("a frame of HTTP/2", false, [get(), frame(6, b"12345678")].concat(), 0x105),
        ("a frame that is cut", false, vec![HEADERS, 0x40], 0x106),
        ("a head that is cut", false, vec![HEADERS, 0x20, 0, 0], 0x106),
        ("a table that is not there", false, frame(HEADERS, &[1, 0, 0x80]), 0x200),
        ("more than nothing", false, [frame(0x21, &vec![0; 20_000]), get()].concat(), 0x107),
        ("a control stream without settings", true, [&[0][..], &frame(7, &[0])].concat(), 0x10a),
        ("settings twice", true, control(&settings), 0x105),
        ("a setting of HTTP/2", true, [&[0][..], &frame(4, &[4, 1])].concat(), 0x109),
        ("settings that are cut", true, [&[0][..], &frame(4, &[6])].concat(), 0x109),
        ("a body of nothing", true, control(&frame(DATA, b"x")), 0x105),
        ("a control stream that ends", true, control(b""), 0x104),
        ("a push", true, vec![1, 0], 0x103),
        ("an entry in the table", true, vec![2, 0x3f, 0xe1, 0x1f], 0x201),
    ] {
        let connection = dial(&it.authority, "shop.example", it.port).await.unwrap();
        let (mut sender, _receiver) = if one_way {
            (connection.open_uni().await.unwrap(), None)
        } else {
            let (sender, receiver) = connection.open_bi().await.unwrap();
            (sender, Some(receiver))
        };
        sender.write_all(&bytes).await.unwrap();
        drop(sender.finish());
        let ended = timeout(PATIENCE, connection.closed()).await.expect(what);
        let is_code =
            matches!(&ended, ConnectionError::ApplicationClosed(it) if it.error_code == VarInt::from_u32(code));
        assert!(is_code, "{what}: {ended}");
    }
    let connection = dial(&it.authority, "shop.example", it.port).await.unwrap();
    // Kept open: these streams end with their connection.
    let mut kept = Vec::new();
    // As Chromium says with each request how urgent it is (RFC 9218, 7.2).
    let urgent = [&[0x80, 0x0f, 0x07, 0x00, 6][..], b"\0u=0,i"].concat();
    for bytes in [control(&urgent.repeat(2_000)), vec![2, 0x20], vec![3, 0x40], vec![0x21, 1, 2, 3]] {
        let mut stream = connection.open_uni().await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        kept.push(stream);
    }
    for _ in 0..10 {
        assert!(begins(&answer(&connection, &get()).await.unwrap(), OK), "what is well is well");
    }
    // A second control stream is one too many.
    let mut second = connection.open_uni().await.unwrap();
    second.write_all(&control(b"")).await.unwrap();
    let ended = timeout(PATIENCE, connection.closed()).await.unwrap();
    assert!(
        matches!(&ended, ConnectionError::ApplicationClosed(it) if it.error_code == VarInt::from_u32(0x103)),
        "{ended}"
    );
}

/// Who opens streams and takes them back is sent away, and nobody else notices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_streams_that_are_taken_back_ends_the_connection_and_no_other() {
    let it = Secured::start("", "");
    let shop = it.client("shop.example").await;
    let connection = dial(&it.authority, "shop.example", it.port).await.unwrap();
    let flood = async {
        let mut sent = 0;
        loop {
            let opened = timeout(PATIENCE, connection.open_bi()).await.expect("the flood is stopped");
            let Ok((mut sender, mut receiver)) = opened else { return sent };
            drop((
                sender.write_all(&get()).await,
                sender.reset(VarInt::from_u32(0x10c)),
                receiver.stop(VarInt::from_u32(0x10c)),
            ));
            sent += 1;
        }
    };
    let others = async {
        let mut answered = 0;
        while connection.close_reason().is_none() {
            assert_eq!(shop.get("/").await.status, 200);
            answered += 1;
        }
        answered
    };
    let (sent, answered) = tokio::join!(timeout(PATIENCE, flood), timeout(PATIENCE, others));
    let ended = connection.close_reason().unwrap();
    assert!(
        matches!(&ended, ConnectionError::ApplicationClosed(it) if it.error_code == VarInt::from_u32(0x107)),
        "{ended}"
    );
    assert!(sent.unwrap() > 200 && answered.unwrap() > 0);
    assert_eq!(shop.get("/").await.status, 200);
}
