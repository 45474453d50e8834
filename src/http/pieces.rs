//! A body that is made piece by piece on the pool for blocking work, as fast as the client takes it and no faster.
//!
//! A body that fails breaks off: it never ends as if it were whole. Nothing is made once the client is gone.

use std::io;

use bytes::Bytes;
use http_body_util::StreamBody;
use hyper::body::Frame;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::respond::Body;
use crate::base::tasks::Tasks;

/// The body of what `next` gives until `None`. It may block.
pub fn body(tasks: &Tasks, next: impl FnMut() -> io::Result<Option<Bytes>> + Send + 'static) -> Body {
    let (sender, receiver) = mpsc::channel(1);
    tasks.spawn(send(next, tasks.clone(), sender));
    Body::boxed(StreamBody::new(ReceiverStream::new(receiver)))
}

async fn send(
    mut next: impl FnMut() -> io::Result<Option<Bytes>> + Send + 'static,
    tasks: Tasks,
    to: mpsc::Sender<io::Result<Frame<Bytes>>>,
) {
    loop {
        // A place first, then the piece: what waits for a slow client is one piece, not two.
        let Ok(place) = to.reserve().await else { return };
        let made = tasks.blocking(move || {
            let made = next();
            (next, made)
        });
        let Some((back, made)) = made.await else {
            place.send(Err(io::Error::other("making a body panicked")));
            return;
        };
        next = back;
        match made {
            Ok(Some(bytes)) => place.send(Ok(Frame::data(bytes))),
            Ok(None) => return,
            Err(error) => {
                place.send(Err(error));
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn pieces_come_in_order_and_an_error_breaks_the_body_off() {
        for fails in [false, true] {
            let mut left = 5_u8;
            let body = body(&Tasks::new(), move || {
                left -= 1;
                match left {
                    0 if fails => Err(io::Error::other("gone")),
                    0 => Ok(None),
                    _ => Ok(Some(Bytes::from(vec![left]))),
                }
            });
            let read = body.collect().await.map(http_body_util::Collected::to_bytes);
            assert_eq!(read.ok(), (!fails).then(|| Bytes::from_static(&[4, 3, 2, 1])));
        }
    }
}
