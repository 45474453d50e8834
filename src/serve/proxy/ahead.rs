//! Answers that are taken in as fast as their upstream gives them, for visitors who take them more slowly: a slow line then holds none of its
//! workers.
//!
//! Guarantees: what is there is given at once and in its order, so that streams are streams. What its visitor has not taken is in memory up to
//! [`MEMORY_BYTES`], and with more in a file like those of bodies that are gathered, within the same limits ([`super::gather`]). Where there is no
//! room, or the disk takes no more, the upstream waits for the visitor, as it would without all this. It is left as soon as he has gone.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::{sync::Notify, time::timeout};

use super::gather::{Gather, MEMORY_BYTES, Of, Reading, Share, Unnamed};
use crate::{base::tasks::Tasks, http::respond::BodyError};

/// Bytes of one answer that are in a file at most: what is larger is a download, of which a worker may wait for a part.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// How long is waited for a visitor before the disk is asked: for most lines nothing is written at all.
const MOMENT: Duration = Duration::from_millis(20);

/// What stands between an upstream and a visitor.
struct Between {
    state: Mutex<State>,
    /// The visitor has taken what he is waited for, or has gone.
    taken: Notify,
    gather: Arc<Gather>,
}

struct State {
    share: Share,
    /// What has come last.
    memory: BytesMut,
    /// What is before that.
    file: Option<Filed>,
    /// What was last in memory is being written.
    is_writing: bool,
    /// How it has ended; taken by who tells it.
    ended: Option<Result<(), BodyError>>,
    /// Who takes it.
    waker: Option<Waker>,
    /// He is waited for.
    is_awaited: bool,
    has_gone: bool,
}

/// A part of an answer in a file.
struct Filed {
    file: Arc<Unnamed>,
    read: u64,
    written: u64,
}

/// An answer that may be ahead of its visitor.
pub(super) struct Ahead {
    between: Arc<Between>,
    reading: Option<Reading>,
    /// Bytes that are still to come, where that is known.
    left: Option<u64>,
}

/// How much more there is of a body.
pub(super) enum Rest<B> {
    Nothing,
    /// It breaks off here.
    Broken(BodyError),
    More(B),
}

/// Takes what is there of a body, without waiting for more.
pub(super) async fn begin<B>(mut body: B) -> (Bytes, Rest<B>)
where
    B: HttpBody<Data = Bytes, Error = BodyError> + Unpin,
{
    let mut first = BytesMut::new();
    let ended = poll_fn(|context| {
        while first.len() < MEMORY_BYTES {
            match Pin::new(&mut body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => first.extend_from_slice(frame.data_ref().map_or(&[], |it| it)),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(None) => return Poll::Ready(Some(Ok(()))),
                Poll::Pending => break,
            }
        }
        Poll::Ready(None)
    });
    let rest = match ended.await {
        None => Rest::More(body),
        Some(Ok(())) => Rest::Nothing,
        Some(Err(error)) => Rest::Broken(error),
    };
    (first.freeze(), rest)
}

impl Ahead {
    /// An answer that begins with `first`, of which the rest is taken in from now on.
    pub(super) fn new<B>(gather: &Arc<Gather>, share: Share, tasks: &Tasks, first: Bytes, rest: B) -> Self
    where
        B: HttpBody<Data = Bytes, Error = BodyError> + Send + Unpin + 'static,
    {
        let there = u64::try_from(first.len()).unwrap_or(u64::MAX);
        let left = rest.size_hint().exact().map(|it| it.saturating_add(there));
        let state = State {
            share,
            memory: BytesMut::from(first),
            file: None,
            is_writing: false,
            ended: None,
            waker: None,
            is_awaited: false,
            has_gone: false,
        };
        let between = Between { state: Mutex::new(state), taken: Notify::new(), gather: Arc::clone(gather) };
        let between = Arc::new(between);
        tasks.spawn(take_in(Arc::clone(&between), rest));
        Self { between, reading: None, left }
    }
}

/// Takes in an answer to its end, or until nobody wants it any more.
async fn take_in<B>(between: Arc<Between>, mut from: B)
where
    B: HttpBody<Data = Bytes, Error = BodyError> + Unpin,
{
    let ended = loop {
        if between.is_full() && !between.make_room().await {
            return;
        }
        let next = tokio::select! {
            next = from.frame() => next,
            () = between.gone() => return,
        };
        match next {
            Some(Ok(frame)) => between.put(frame.data_ref().map_or(&[], |it| it)),
            Some(Err(error)) => break Err(error),
            None => break Ok(()),
        }
    };
    // The upstream first: who has all of an answer finds its server free.
    drop(from);
    between.change(|state| state.ended = Some(ended));
}

impl Between {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes something that the visitor waits for.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn put(&self, bytes: &[u8]) {
        self.change(|state| state.memory.extend_from_slice(bytes));
    }

    fn is_full(&self) -> bool {
        self.state().memory.len() >= MEMORY_BYTES
    }

    /// Resolves when the visitor has gone.
    async fn gone(&self) {
        while !self.state().has_gone {
            self.taken.notified().await;
        }
    }

    /// Resolves when he has taken what is in memory; `false`: he has gone.
    async fn until_taken(&self) -> bool {
        loop {
            {
                let mut state = self.state();
                if state.has_gone {
                    return false;
                }
                state.is_awaited = state.memory.len() >= MEMORY_BYTES;
                if !state.is_awaited {
                    return true;
                }
            }
            self.taken.notified().await;
        }
    }

    /// Has more taken in; `false`: nobody wants it.
    async fn make_room(&self) -> bool {
        let is_behind = self.state().file.is_some();
        if !is_behind && let Ok(wants) = timeout(MOMENT, self.until_taken()).await {
            return wants;
        }
        if self.write().await { !self.state().has_gone } else { self.until_taken().await }
    }

    /// What is in memory, where there may be so much more in a file: that which there is, and its end.
    fn begin_to_write(&self) -> Option<(Bytes, Option<Arc<Unnamed>>, u64)> {
        let mut state = self.state();
        let length = u64::try_from(state.memory.len()).unwrap_or(u64::MAX);
        if state.share.bytes().saturating_add(length) > FILE_BYTES_MAX || !state.share.grow(length) {
            return None;
        }
        state.is_writing = true;
        let bytes = state.memory.split().freeze();
        let (file, at) = state.file.as_ref().map_or((None, 0), |it| (Some(Arc::clone(&it.file)), it.written));
        Some((bytes, file, at))
    }

    /// Writes what is in memory into the file, if that may be.
    async fn write(&self) -> bool {
        let Some((bytes, file, at)) = self.begin_to_write() else { return false };
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let written = self.gather.write(file, at, bytes.clone(), Of::Answer).await;
        let is_written = written.is_ok();
        self.change(|state| {
            state.is_writing = false;
            match (written, &mut state.file) {
                (Ok(_), Some(filed)) => filed.written = at + length,
                (Ok(file), none) => *none = Some(Filed { file, read: at, written: at + length }),
                (Err(_), _) => {
                    state.share.shrink(length);
                    // Nothing has come meanwhile: who takes in has waited for this.
                    state.memory = BytesMut::from(bytes);
                }
            }
        });
        is_written
    }
}

impl Ahead {
    /// What is next in memory or in the file; `Pending`: nothing is there.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            if let Some(reading) = &mut self.reading {
                let read = ready!(reading.as_mut().poll(context));
                self.reading = None;
                let bytes = read?;
                if let Some(filed) = &mut self.between.state().file {
                    filed.read = filed.read.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
                }
                return Poll::Ready(Some(Ok(bytes)));
            }
            let mut state = self.between.state();
            if let Some(Filed { file, read, written }) = &state.file
                && read < written
            {
                self.reading = Some(self.between.gather.read(file, *read, written - read));
                continue;
            }
            if !state.is_writing {
                // All of it was read: the next begins a new one, and the disk has its room back.
                if state.file.take().is_some() {
                    let bytes = state.share.bytes();
                    state.share.shrink(bytes);
                }
                if !state.memory.is_empty() {
                    let bytes = state.memory.split().freeze();
                    if std::mem::take(&mut state.is_awaited) {
                        self.between.taken.notify_one();
                    }
                    return Poll::Ready(Some(Ok(bytes)));
                }
                if let Some(ended) = state.ended.take() {
                    // Asked again, there is nothing more.
                    state.ended = Some(Ok(()));
                    return Poll::Ready(ended.err().map(Err));
                }
            }
            state.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.between.state().has_gone = true;
        self.between.taken.notify_one();
    }
}

impl HttpBody for Ahead {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let next = ready!(self.poll_next(context));
        if let (Some(Ok(bytes)), Some(left)) = (&next, &mut self.left) {
            *left = left.saturating_sub(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        }
        Poll::Ready(next.map(|it| it.map(Frame::data)))
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use http_body_util::StreamBody;
    use tokio::{
        sync::mpsc,
        time::{Instant, sleep},
    };
    use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};

    use super::{super::gather::Most, *};
    use crate::{
        base::{files, ids::Id},
        domain::site::SiteId,
    };

    const PIECE: usize = 10_000;
    type Pieces = mpsc::Sender<Result<Bytes, BodyError>>;

    /// What is at a place of an answer.
    fn bytes(from: usize, length: usize) -> Bytes {
        (from..from + length).map(|it| u8::try_from(it % 251).unwrap()).collect::<Vec<u8>>().into()
    }

    fn most(bytes: u64) -> [Most; 3] {
        [Most { bodies: 2, bytes }; 3]
    }

    struct Fixture {
        gather: Arc<Gather>,
        tasks: Tasks,
        folder: tempfile::TempDir,
    }

    impl Fixture {
        fn new(bytes: u64) -> Self {
            let (folder, tasks) = (tempfile::tempdir().unwrap(), Tasks::new());
            let gather = Arc::new(Gather::with(folder.path().join("bodies"), tasks.clone(), most(bytes)));
            Self { gather, tasks, folder }
        }

        fn answer(&self, first: Bytes) -> (Pieces, Ahead) {
            let (pieces, came) = mpsc::channel::<Result<Bytes, BodyError>>(1);
            let rest = StreamBody::new(ReceiverStream::new(came).map(|it| it.map(Frame::data)));
            let share = self.share().unwrap();
            (pieces, Ahead::new(&self.gather, share, &self.tasks, first, rest))
        }

        fn share(&self) -> Option<Share> {
            self.gather.place(SiteId(Id::from_bytes([1; 16])), IpAddr::from([192, 0, 2, 1]), Of::Answer)
        }

        /// Whether all is given back: no body, no byte.
        async fn is_idle(&self) -> bool {
            let end = Instant::now() + Duration::from_secs(10);
            while self.tasks.running() > 0 {
                assert!(Instant::now() < end, "somebody still takes it in");
                sleep(Duration::from_millis(5)).await;
            }
            self.gather.is_unused()
        }
    }

    /// Sends an answer of so many pieces; how many were taken before nobody took one for a while.
    async fn send(pieces: &Pieces, from: usize, count: usize) -> usize {
        for sent in 0..count {
            let piece = bytes(from + sent * PIECE, PIECE);
            if timeout(Duration::from_secs(2), pieces.send(Ok(piece))).await.is_err() {
                return sent;
            }
        }
        count
    }

    async fn next(body: &mut Ahead) -> Bytes {
        let frame = timeout(Duration::from_secs(10), body.frame()).await.unwrap();
        frame.unwrap().unwrap().into_data().unwrap()
    }

    async fn all(mut body: Ahead, mut at: usize) -> usize {
        while let Some(frame) = body.frame().await {
            let came = frame.unwrap().into_data().unwrap();
            assert!(came == bytes(at, came.len()), "at {at}");
            at += came.len();
        }
        at
    }

    #[tokio::test]
    async fn an_upstream_waits_for_no_visitor_and_bytes_come_in_their_order() {
        let fixture = Fixture::new(100_000_000);
        let (pieces, mut body) = fixture.answer(bytes(0, PIECE));
        // He takes something, then nothing for long, then some of what is in the file, and then more comes.
        let mut at = next(&mut body).await.len();
        assert_eq!((at, send(&pieces, PIECE, 200).await), (PIECE, 200));
        assert_eq!(std::fs::read_dir(fixture.folder.path().join("bodies")).unwrap().count(), 0, "it has no name");
        for _ in 0..5 {
            let came = next(&mut body).await;
            assert!(came == bytes(at, came.len()), "at {at}");
            at += came.len();
        }
        assert_eq!(send(&pieces, 201 * PIECE, 50).await, 50);
        let last = tokio::join!(all(body, at), async {
            assert_eq!(send(&pieces, 251 * PIECE, 300).await, 300);
            drop(pieces);
        });
        assert_eq!(last.0, 551 * PIECE);
        assert!(fixture.is_idle().await);
    }

    #[tokio::test]
    async fn who_takes_it_at_once_costs_no_disk() {
        let fixture = Fixture::new(100_000_000);
        let (pieces, body) = fixture.answer(Bytes::new());
        // More at once than is in memory.
        let large = 10 * PIECE;
        let came = tokio::join!(all(body, 0), async {
            for at in 0..50 {
                pieces.send(Ok(bytes(at * large, large))).await.unwrap();
            }
            drop(pieces);
        });
        assert_eq!(came.0, 50 * large);
        assert!(!fixture.folder.path().join("bodies").exists());
    }

    #[tokio::test]
    async fn what_comes_is_given_at_once() {
        let fixture = Fixture::new(100_000_000);
        let (pieces, mut body) = fixture.answer(Bytes::from_static(b"first"));
        assert_eq!(next(&mut body).await, "first");
        for event in ["one", "two"] {
            let sent = async { pieces.send(Ok(Bytes::from_static(event.as_bytes()))).await.unwrap() };
            assert_eq!(tokio::join!(next(&mut body), sent).0, event);
        }
        pieces.send(Ok(Bytes::from_static(b"last"))).await.unwrap();
        pieces.send(Err("broken".into())).await.unwrap();
        assert_eq!(next(&mut body).await, "last");
        assert_eq!(body.frame().await.unwrap().unwrap_err().to_string(), "broken");
        assert!(body.frame().await.is_none());
    }

    /// Half of what there may be is for answers. Where that is used, it is as if nothing were taken in ahead; what was read makes room again.
    #[tokio::test]
    async fn where_there_is_no_room_the_upstream_waits() {
        let fixture = Fixture::new(1_000_000);
        let (pieces, mut body) = fixture.answer(Bytes::new());
        let sent = send(&pieces, 0, 200).await;
        // What is in the file, in memory, and in the channel.
        assert!((50..70).contains(&sent), "{sent}");
        let mut at = 0;
        while at < 500_000 {
            at += next(&mut body).await.len();
        }
        let more = tokio::join!(all(body, at), async {
            // The piece that nobody took was taken back by the channel.
            assert_eq!(send(&pieces, sent * PIECE, 100).await, 100);
            drop(pieces);
        });
        assert_eq!(more.0, (sent + 100) * PIECE);
        assert!(fixture.is_idle().await);
    }

    #[tokio::test]
    async fn a_disk_that_takes_nothing_makes_the_upstream_wait_and_loses_nothing() {
        let fixture = Fixture::new(100_000_000);
        files::write_atomic(&fixture.folder.path().join("bodies"), b"x", 0o600).unwrap();
        let (pieces, body) = fixture.answer(Bytes::new());
        let sent = send(&pieces, 0, 200).await;
        assert!((7..12).contains(&sent), "{sent}");
        let came = tokio::join!(all(body, 0), async {
            assert_eq!(send(&pieces, sent * PIECE, 100).await, 100);
            drop(pieces);
        });
        assert_eq!(came.0, (sent + 100) * PIECE);
        assert!(fixture.is_idle().await);
    }

    #[tokio::test]
    async fn a_visitor_who_goes_ends_it() {
        let fixture = Fixture::new(1_000_000);
        for pieces_before in [0, 5, 200] {
            let (pieces, body) = fixture.answer(Bytes::new());
            send(&pieces, 0, pieces_before).await;
            drop(body);
            timeout(Duration::from_secs(10), pieces.closed()).await.unwrap();
            assert!(fixture.is_idle().await, "{pieces_before}");
        }
    }

    #[tokio::test]
    async fn a_short_answer_is_whole_at_once() {
        let of = |frames: Vec<Result<Frame<Bytes>, BodyError>>| begin(StreamBody::new(tokio_stream::iter(frames)));
        let frame = |text: &'static str| Ok(Frame::data(Bytes::from_static(text.as_bytes())));
        assert!(matches!(of(vec![frame("a"), frame("b")]).await, (first, Rest::Nothing) if first == "ab"));
        let broken = of(vec![frame("a"), Err("b".into())]).await;
        assert!(matches!(broken, (first, Rest::Broken(_)) if first == "a"));
        let long = of((0..20).map(|it| Ok(Frame::data(bytes(it * PIECE, PIECE)))).collect()).await;
        let (first, Rest::More(rest)) = long else { panic!("it is longer") };
        assert_eq!(first.len() + http_body_util::BodyExt::collect(rest).await.unwrap().to_bytes().len(), 20 * PIECE);
    }
}
