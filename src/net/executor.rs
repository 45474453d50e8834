//! Runs what hyper wants run beside a connection: the streams of HTTP/2.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    task::{Context, Poll, Waker},
};

use crate::base::tasks::Tasks;

/// Begins futures of hyper at once, and goes on with those that have to wait as tasks of their own.
///
/// Most answers are there when they are asked for. Each of these would cost a task, a thread that is woken for it, and a lock of the
/// connection that both threads want; and what a connection has answered when it has no more to read leaves it in one write.
#[derive(Clone, Debug)]
pub(super) struct Executor(Tasks);

impl Executor {
    pub(super) const fn new(tasks: Tasks) -> Self {
        Self(tasks)
    }
}

impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for Executor {
    fn execute(&self, future: F) {
        let mut future = Box::pin(future);
        // Nobody is woken by this: a task polls it once more, and is.
        let mut context = Context::from_waker(Waker::noop());
        // A panic ends the stream, as it would end its task, and no other stream of the connection.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut context))) {
            Ok(Poll::Pending) => self.0.spawn_for_its_end(future),
            Ok(Poll::Ready(_)) | Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future,
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
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
        ask.send(7).unwrap();
        assert_eq!(answered.await, Ok(7));
    }

    #[tokio::test]
    async fn a_panic_is_nobody_elses() {
        let executor = Executor::new(Tasks::new());
        executor.execute(future::poll_fn(|_| -> Poll<()> { panic!("meant") }));
    }
}
