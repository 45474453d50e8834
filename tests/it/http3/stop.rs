//! A server that is stopped: what was asked is answered, and who asks on is told to ask elsewhere.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Buf as _;
use chainhost::base::tasks::Tasks;
use h3::error::StreamError;
use tokio::time::{Instant, sleep, timeout};

use super::{BIG, PATIENCE, Secured, client::Client};

/// What became of a request.
#[derive(Debug)]
enum Fate {
    Whole,
    /// Nobody has looked at it.
    NotTaken,
    Broken(String),
}

async fn ask(client: &Client) -> Fate {
    let request = client.request("GET", "/big.bin").body(()).unwrap();
    let mut stream = match client.requests.clone().send_request(request).await {
        Ok(stream) => stream,
        Err(error) => return not_taken(&error),
    };
    if let Err(error) = stream.finish().await {
        return not_taken(&error);
    }
    if let Err(error) = stream.recv_response().await {
        return not_taken(&error);
    }
    let mut bytes = 0;
    loop {
        match stream.recv_data().await {
            Ok(Some(piece)) => bytes += piece.remaining(),
            Ok(None) if bytes == BIG => return Fate::Whole,
            Ok(None) => return Fate::Broken(format!("it ends after {bytes}")),
            Err(error) => return Fate::Broken(format!("{error} after {bytes}")),
        }
    }
}

/// An error before the first byte of an answer.
fn not_taken(error: &StreamError) -> Fate {
    match error {
        StreamError::RemoteClosing { .. } => Fate::NotTaken,
        StreamError::RemoteTerminate { code, .. } if *code == h3::error::Code::H3_REQUEST_REJECTED => Fate::NotTaken,
        StreamError::ConnectionError { .. } if error.is_h3_no_error() => Fate::NotTaken,
        other => Fate::Broken(other.to_string()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_breaks_when_the_server_is_stopped_under_load() {
    let mut it = Secured::start("", "");
    let (tasks, stopping) = (Tasks::new(), Arc::new(AtomicBool::new(false)));
    let counts: [Arc<AtomicUsize>; 2] = Default::default();
    let broken = Arc::new(std::sync::Mutex::new(Vec::new()));
    for _ in 0..6 {
        let client = it.client("shop.example").await;
        for _ in 0..4 {
            let (client, counts, broken) = (client.clone(), counts.clone(), Arc::clone(&broken));
            let stopping = Arc::clone(&stopping);
            tasks.spawn(async move {
                loop {
                    let began_before = !stopping.load(Ordering::SeqCst);
                    match ask(&client).await {
                        Fate::Whole if stopping.load(Ordering::SeqCst) && began_before => {
                            counts[1].fetch_add(1, Ordering::SeqCst)
                        }
                        Fate::Whole => counts[0].fetch_add(1, Ordering::SeqCst),
                        Fate::NotTaken => return,
                        Fate::Broken(why) => {
                            broken.lock().unwrap().push(why);
                            return;
                        }
                    };
                }
            });
        }
    }
    let idle = it.client("shop.example").await;
    assert_eq!(idle.get("/").await.status, 200);
    let began = Instant::now();
    while counts[0].load(Ordering::SeqCst) < 40 {
        assert!(began.elapsed() < PATIENCE);
        sleep(Duration::from_millis(5)).await;
    }
    stopping.store(true, Ordering::SeqCst);
    let stopped = Tasks::new().blocking(move || it.host.stop()).await.unwrap();
    assert_eq!(stopped, Some(0));
    timeout(PATIENCE, tasks.join()).await.unwrap();
    assert!(broken.lock().unwrap().is_empty(), "{broken:?}");
    assert!(counts[1].load(Ordering::SeqCst) > 0, "some were under way");
    // Who asks nothing is told, too, and does not wait for somebody who has gone.
    let ended = timeout(Duration::from_secs(1), idle.connection.closed()).await.unwrap();
    assert!(
        matches!(&ended, quinn::ConnectionError::ApplicationClosed(it) if it.error_code.into_inner() == 0x100),
        "{ended}"
    );
}
