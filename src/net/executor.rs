//! Runs what hyper wants run beside a connection: the streams of HTTP/2.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    task::{Context, Waker},
};

use tokio::task::coop::consume_budget;

use crate::base::tasks::Tasks;

/// Begins futures of hyper at once, and goes on with those that have to wait as tasks of their own.
///
/// Most answers are there when they are asked for. Each of these would cost a task, a thread that is woken for it, and a lock of the
/// connection that both threads want. Each takes of the budget that tokio gives the connection for one turn, so that others have theirs; what
/// is beyond that becomes a task.
#[derive(Clone, Debug)]
pub(super) struct Executor(Tasks);

impl Executor {
    pub(super) const fn new(tasks: Tasks) -> Self {
        Self(tasks)
    }
}

impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for Executor {
    fn execute(&self, future: F) {
        if pin!(consume_budget()).poll(&mut nobody()).is_pending() {
            self.0.spawn_for_its_end(future);
            return;
        }
        // A panic ends the stream, as it would end its task, and no other stream of the connection.
        if let Ok(Some(waits)) = catch_unwind(AssertUnwindSafe(|| begin(Box::pin(future)))) {
            self.0.spawn_for_its_end(waits);
        }
    }
}

/// Polls a future for the first time; gives it back when it has to wait.
fn begin<F: Future>(mut future: Pin<Box<F>>) -> Option<Pin<Box<F>>> {
    // Nobody is woken by this: a task polls it once more, and is.
    future.as_mut().poll(&mut nobody()).is_pending().then_some(future)
}

const fn nobody() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

#[cfg(test)]
mod tests {
    use std::{
        future,
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
        task::Poll,
    };

    use hyper::rt::Executor as _;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_can_end_has_ended_and_what_waits_is_woken() {
        let (tasks, count) = (Tasks::new(), Arc::new(AtomicU32::new(0)));
        let executor = Executor::new(tasks);
        let counted = Arc::clone(&count);
        executor.execute(async move { counted.fetch_add(1, Ordering::Relaxed) });
        assert_eq!(count.load(Ordering::Relaxed), 1, "before anything else of this thread has its turn");

        let ((ask, asked), (answer, answered)) = (oneshot::channel::<u8>(), oneshot::channel());
        executor.execute(async move { answer.send(asked.await.unwrap()).unwrap() });
        // Its task has been polled, and sleeps.
        tokio::task::yield_now().await;
        ask.send(7).unwrap();
        assert_eq!(answered.await, Ok(7));
    }

    #[tokio::test]
    async fn a_panic_is_nobody_elses() {
        struct Loud;
        impl Drop for Loud {
            fn drop(&mut self) {
                assert!(std::thread::panicking(), "meant, too");
            }
        }
        let executor = Executor::new(Tasks::new());
        executor.execute(future::poll_fn(|_| -> Poll<()> { panic!("meant") }));
        let loud = Loud;
        executor.execute(async move { drop(loud) });
    }

    #[tokio::test]
    async fn others_have_their_turn() {
        let (executor, count) = (Executor::new(Tasks::new()), Arc::new(AtomicU32::new(0)));
        for _ in 0..10_000 {
            let counted = Arc::clone(&count);
            executor.execute(async move { counted.fetch_add(1, Ordering::Relaxed) });
        }
        let at_once = count.load(Ordering::Relaxed);
        assert!((1..1_000).contains(&at_once), "{at_once}");
        while count.load(Ordering::Relaxed) < 10_000 {
            tokio::task::yield_now().await;
        }
    }
}
