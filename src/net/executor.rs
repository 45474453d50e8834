//! Runs what hyper wants run beside a connection: the streams of HTTP/2.

use std::{
    cell::Cell,
    collections::VecDeque,
    future::Future,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    task::{Context, Waker},
};

use tokio::task::coop::consume_budget;

use crate::base::tasks::Tasks;

/// A stream of HTTP/2: a request and its answer.
type Stream = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Streams that are begun at once.
const BEGUN_MAX: usize = 128;

thread_local! {
    /// Where what the connection wants run goes that has its turn on this thread; `None` outside of turns.
    static GATHERED: Cell<Option<VecDeque<Stream>>> = const { Cell::new(None) };
}

/// Leaves futures of hyper to the turn of their connection ([`Streams::gather`]), and makes tasks of those that come outside of one.
#[derive(Clone, Debug)]
pub(super) struct Executor(Tasks);

impl Executor {
    pub(super) const fn new(tasks: Tasks) -> Self {
        Self(tasks)
    }
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Executor {
    fn execute(&self, future: F) {
        match GATHERED.take() {
            Some(mut gathered) => {
                // Of the budget that tokio gives the connection for one turn: when it is used up nothing more is read, however fast streams
                // come and are taken back.
                let _ = pin!(consume_budget()).poll(&mut nobody());
                gathered.push_back(Box::pin(future));
                GATHERED.set(Some(gathered));
            }
            None => self.0.spawn_for_its_end(future),
        }
    }
}

/// The streams of one connection that have not begun.
#[derive(Default)]
pub(super) struct Streams(VecDeque<Stream>);

impl Streams {
    /// Polls a connection; what it wants run is added to these.
    pub(super) fn gather<R>(&mut self, poll: impl FnOnce() -> R) -> R {
        /// Puts all where it belongs, also when the connection panics.
        struct Back<'a>(&'a mut Streams, Option<VecDeque<Stream>>);
        impl Drop for Back<'_> {
            fn drop(&mut self) {
                self.0.0 = GATHERED.replace(self.1.take()).unwrap_or_default();
            }
        }
        let outer = GATHERED.replace(Some(mem::take(&mut self.0)));
        let _back = Back(self, outer);
        poll()
    }

    /// Begins them, and goes on as tasks of their own with those that have to wait; whether that were all, for others are to have their turn.
    ///
    /// Most answers are there when they are asked for. Each of these would cost a task, a thread that is woken for it, and a lock of the
    /// connection that both threads want.
    pub(super) fn begin(&mut self, tasks: &Tasks) -> bool {
        for stream in self.0.drain(..self.0.len().min(BEGUN_MAX)) {
            // A panic ends the stream, as it would end its task, and no other stream of the connection.
            if let Ok(Some(waits)) = catch_unwind(AssertUnwindSafe(|| begin(stream))) {
                tasks.spawn_for_its_end(waits);
            }
        }
        self.0.is_empty()
    }

    /// Makes tasks of them: their connection has ended, and their requests have been asked.
    pub(super) fn leave(&mut self, tasks: &Tasks) {
        for stream in self.0.drain(..) {
            tasks.spawn_for_its_end(stream);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Polls a stream for the first time; gives it back when it has to wait.
fn begin(mut stream: Stream) -> Option<Stream> {
    // Nobody is woken by this: a task polls it once more, and is.
    stream.as_mut().poll(&mut nobody()).is_pending().then_some(stream)
}

const fn nobody() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

#[cfg(test)]
mod tests {
    use std::{
        future::poll_fn,
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
        task::Poll,
    };

    use hyper::rt::Executor as _;
    use tokio::sync::oneshot;

    use super::*;

    /// What a connection does that wants these run, in its turn.
    struct Turn(Tasks, Streams);

    impl Turn {
        fn new() -> Self {
            Self(Tasks::new(), Streams::default())
        }

        fn wants(&mut self, future: impl Future<Output = ()> + Send + 'static) {
            let executor = Executor::new(self.0.clone());
            self.1.gather(|| executor.execute(future));
        }

        fn begin(&mut self) -> bool {
            self.1.begin(&self.0)
        }
    }

    fn count_up(count: &AtomicU32) {
        count.fetch_add(1, Ordering::Relaxed);
    }

    #[tokio::test]
    async fn what_can_end_has_ended_and_what_waits_is_woken() {
        let (mut turn, count) = (Turn::new(), Arc::new(AtomicU32::new(0)));
        let counted = Arc::clone(&count);
        turn.wants(async move { count_up(&counted) });
        assert_eq!(count.load(Ordering::Relaxed), 0, "the connection's turn is first");
        assert!(turn.begin() && turn.1.is_empty());
        assert_eq!(count.load(Ordering::Relaxed), 1, "before anything else of this thread has its turn");

        let ((ask, asked), (answer, answered)) = (oneshot::channel::<u8>(), oneshot::channel());
        turn.wants(async move { answer.send(asked.await.unwrap()).unwrap() });
        assert!(turn.begin() && turn.1.is_empty());
        // Its task has been polled, and sleeps.
        tokio::task::yield_now().await;
        ask.send(7).unwrap();
        assert_eq!(answered.await, Ok(7));
    }

    #[tokio::test]
    async fn what_is_wanted_outside_of_a_turn_or_left_behind_runs_too() {
        let (mut turn, (one, first), (two, second)) = (Turn::new(), oneshot::channel(), oneshot::channel());
        Executor::new(turn.0.clone()).execute(async move { one.send(1).unwrap() });
        turn.wants(async move { two.send(2).unwrap() });
        turn.1.leave(&turn.0);
        assert_eq!((first.await, second.await), (Ok(1), Ok(2)));
    }

    #[tokio::test]
    async fn a_panic_is_nobody_elses() {
        struct Loud;
        impl Drop for Loud {
            fn drop(&mut self) {
                assert!(std::thread::panicking(), "meant, too");
            }
        }
        let (mut turn, count) = (Turn::new(), Arc::new(AtomicU32::new(0)));
        turn.wants(poll_fn(|_| -> Poll<()> { panic!("meant") }));
        let (loud, counted) = (Loud, Arc::clone(&count));
        turn.wants(async move { drop(loud) });
        turn.wants(async move { count_up(&counted) });
        assert!(turn.begin());
        assert_eq!(count.load(Ordering::Relaxed), 1);

        // Nor is that of a connection.
        let mut streams = Streams::default();
        let outcome = catch_unwind(AssertUnwindSafe(|| streams.gather(|| panic!("meant"))));
        assert!(outcome.is_err() && GATHERED.take().is_none());
    }

    #[tokio::test]
    async fn others_have_their_turn() {
        let (mut turn, count) = (Turn::new(), Arc::new(AtomicU32::new(0)));
        for _ in 0..10_000 {
            let counted = Arc::clone(&count);
            turn.wants(async move { count_up(&counted) });
        }
        assert!(!turn.begin());
        let at_once = count.load(Ordering::Relaxed);
        assert!((1..1_000).contains(&at_once), "{at_once}");
        let mut turns = 1;
        while !turn.begin() {
            turns += 1;
            tokio::task::yield_now().await;
        }
        assert_eq!(count.load(Ordering::Relaxed), 10_000);
        assert!(turns > 10, "{turns}");
    }
}
