//! A connection of many streams, driven turn by turn: what it has read is answered at once, and what was answered leaves at once.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::AsyncWrite;

use super::{
    super::{corked::Corked, executor::Streams},
    drive::Connection,
};
use crate::base::tasks::Tasks;

/// A connection of hyper by HTTP/2 whose stream is corked.
pub(super) struct Turns<C, S> {
    connection: Pin<Box<C>>,
    stream: Corked<S>,
    streams: Streams,
    tasks: Tasks,
    is_over: bool,
}

impl<C, S> Turns<C, S> {
    pub(super) fn new(connection: C, stream: Corked<S>, tasks: Tasks) -> Self {
        // Elsewhere: most idle connections are those of HTTP/1.1, which need not have room for this.
        Self { connection: Box::pin(connection), stream, streams: Streams::default(), tasks, is_over: false }
    }
}

impl<C: Connection, S: AsyncWrite + Unpin> Future for Turns<C, S> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        // What the last turn had no time to send: this one could use all of its own, too.
        let left = this.stream.poll_uncork(context);
        this.is_over |= matches!(left, Poll::Ready(Err(_)));
        while !this.is_over {
            // First those that were left by the last turn.
            let were_all = this.streams.begin(&this.tasks);
            this.is_over = this.streams.gather(|| this.connection.as_mut().poll(context)).is_ready();
            if this.streams.is_empty() {
                break;
            }
            if !were_all {
                context.waker().wake_by_ref();
                break;
            }
        }
        let sent = this.stream.poll_uncork(context);
        this.is_over |= matches!(sent, Poll::Ready(Err(_)));
        if this.is_over {
            this.streams.leave(&this.tasks);
        }
        // What it said last leaves, too.
        if this.is_over && sent.is_ready() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl<C: Connection, S: AsyncWrite + Unpin> Connection for Turns<C, S> {
    fn graceful_shutdown(mut self: Pin<&mut Self>) {
        self.connection.as_mut().graceful_shutdown();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        future::poll_fn,
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
    };

    use hyper::rt::Executor as _;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream},
        sync::oneshot,
    };

    use super::{super::super::executor::Executor, *};

    /// Wants streams run, each of which writes; so many in each of its polls. Ends when it has none any more.
    struct Wants {
        stream: Corked<DuplexStream>,
        left: VecDeque<u32>,
        polled: Arc<AtomicU32>,
        tasks: Tasks,
    }

    impl Future for Wants {
        type Output = ();

        fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
            self.polled.fetch_add(1, Ordering::Relaxed);
            let Some(count) = self.left.pop_front() else { return Poll::Ready(()) };
            for _ in 0..count {
                let mut stream = self.stream.again();
                Executor::new(self.tasks.clone()).execute(async move { stream.write_all(b"answer").await.unwrap() });
            }
            if count == 0 {
                context.waker().wake_by_ref();
            }
            Poll::Pending
        }
    }

    impl Connection for Wants {
        fn graceful_shutdown(self: Pin<&mut Self>) {}
    }

    #[tokio::test]
    async fn answers_of_a_turn_leave_together_and_those_beyond_it_in_the_next_ones() {
        let (here, mut there) = tokio::io::duplex(64 * 1024);
        let (stream, tasks, polled) = (Corked::new(here), Tasks::new(), Arc::new(AtomicU32::new(0)));
        let wants = Wants {
            stream: stream.again(),
            left: [3, 2, 0, 1_000].into_iter().chain([0; 50]).collect(),
            polled: Arc::clone(&polled),
            tasks: tasks.clone(),
        };
        let mut turns = Turns::new(wants, stream, tasks);
        let mut read = vec![0; 8 * 1024];
        // Each poll here is a turn of its own.
        assert!(poll_fn(|it| Poll::Ready(Pin::new(&mut turns).poll(it))).await.is_pending());
        assert_eq!(polled.load(Ordering::Relaxed), 3, "until nothing more is wanted");
        assert_eq!(there.read(&mut read).await.unwrap(), 5 * 6);

        let (tell, told) = oneshot::channel();
        Tasks::new().spawn(async move {
            let (mut count, mut reads) = (0, 0);
            loop {
                match there.read(&mut read).await.unwrap() {
                    0 => break,
                    bytes => (count, reads) = (count + bytes, reads + 1),
                }
            }
            tell.send((count, reads)).unwrap();
        });
        (&mut turns).await;
        drop(turns);
        let (count, reads) = told.await.unwrap();
        assert_eq!(count, 1_000 * 6);
        assert!((2..100).contains(&reads), "{reads}: others have their turn, and not for each answer");
    }
}
