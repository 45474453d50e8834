//! Asks a server by HTTP/3 on connections that stay open, with many streams each, as h2load does by HTTP/2: `benches/compare http3` runs it as
//! `http3 CHAIN PORT HOST PATH BYTES SECONDS CONNECTIONS STREAMS`. On one thread, and by the crate `h3`, which shares no line with our server.
//!
//! Prints a line of JSON: `requests` that were answered whole and with 200, `failures`, `seconds` until the last answer, and the median and the
//! 95th and 99th percentile of their times in ms.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement that panics says what went wrong")]

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use bytes::{Buf as _, Bytes};
use h3::client::SendRequest;
use h3_quinn::OpenStreams;
use hyper::{Request, StatusCode, Uri};
use quinn::{ClientConfig, Endpoint, crypto::rustls::QuicClientConfig};
use rustls::{
    RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};

/// A request that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is asked for, and how long.
#[derive(Clone)]
struct Wish {
    uri: Uri,
    bytes: usize,
    ends: Instant,
}

/// Times of the requests that were answered, how many were not, and when the last was.
struct Found {
    times: Vec<Duration>,
    failures: usize,
    ended: Instant,
}

impl Found {
    fn all(parts: Vec<Self>) -> Self {
        Self {
            failures: parts.iter().map(|it| it.failures).sum(),
            ended: parts.iter().map(|it| it.ended).max().unwrap(),
            times: parts.into_iter().flat_map(|it| it.times).collect(),
        }
    }
}

/// Whose certificate is believed: that of the servers, which vouches for itself.
fn config(chain: &Path) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(chain).unwrap()).unwrap();
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()))
}

/// Whether the whole file came, with 200.
async fn ask(requests: &mut SendRequest<OpenStreams, Bytes>, wish: &Wish) -> Result<bool, h3::error::StreamError> {
    let mut stream = requests.send_request(Request::get(wish.uri.clone()).body(()).unwrap()).await?;
    stream.finish().await?;
    let status = stream.recv_response().await?.status();
    let mut bytes = 0;
    while let Some(piece) = stream.recv_data().await? {
        bytes += piece.remaining();
    }
    Ok(status == StatusCode::OK && bytes == wish.bytes)
}

/// One stream after the other until the time is over; the last is waited for.
async fn ask_again(mut requests: SendRequest<OpenStreams, Bytes>, wish: Wish) -> Found {
    let mut found = Found { times: Vec::new(), failures: 0, ended: Instant::now() };
    while Instant::now() < wish.ends {
        let begun = Instant::now();
        match timeout(PATIENCE, ask(&mut requests, &wish)).await {
            Ok(Ok(true)) => found.times.push(begun.elapsed()),
            _ => found.failures += 1,
        }
    }
    found.ended = Instant::now();
    found
}

/// A connection with its own socket, as those of different clients have.
async fn attend(config: ClientConfig, port: u16, wish: Wish, streams: usize) -> Found {
    let endpoint = Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let to = SocketAddr::from(([127, 0, 0, 1], port));
    let connection = endpoint.connect_with(config, to, wish.uri.host().unwrap()).unwrap().await.unwrap();
    let (mut driver, requests) = h3::client::new(h3_quinn::Connection::new(connection.clone())).await.unwrap();
    let mut driving = JoinSet::new();
    driving.spawn(async move { drop(driver.wait_idle().await) });
    let asking: JoinSet<Found> = (0..streams).map(|_| ask_again(requests.clone(), wish.clone())).collect();
    let all = Found::all(asking.join_all().await);
    connection.close(0x100_u32.into(), b"");
    endpoint.wait_idle().await;
    all
}

/// In ms: the time that so many percent of the requests did not exceed.
fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let place = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(place).map_or(0.0, |it| it.as_secs_f64() * 1e3)
}

async fn measure(words: &[&str; 8]) {
    let [chain, port, host, path, bytes, seconds, connections, streams] = words;
    let (config, port) = (config(Path::new(chain)), port.parse::<u16>().unwrap());
    let start = Instant::now();
    let wish = Wish {
        uri: format!("https://{host}:{port}/{path}").parse().unwrap(),
        bytes: bytes.parse().unwrap(),
        ends: start + Duration::from_secs(seconds.parse().unwrap()),
    };
    let streams = streams.parse().unwrap();
    let attending: JoinSet<Found> = (0..connections.parse::<usize>().unwrap())
        .map(|_| attend(config.clone(), port, wish.clone(), streams))
        .collect();
    let mut all = Found::all(attending.join_all().await);
    all.times.sort_unstable();
    let (of, seconds) = (|percent| percentile(&all.times, percent), (all.ended - start).as_secs_f64());
    let line = serde_json::json!({
        "requests": all.times.len(), "failures": all.failures, "seconds": seconds, "p50": of(50), "p95": of(95), "p99": of(99),
    });
    println!("{line}");
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match <&[&str; 8]>::try_from(words.as_slice()) {
        Ok(words) => {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(measure(words));
        }
        Err(_) => println!("http3: a client without a server: run `benches/compare http3`"),
    }
}
