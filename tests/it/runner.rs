//! The runner against a queue that does what the test says: places, panics, cancels, shutdowns.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use chainhost::{
    base::{ids::Id, tasks::Tasks},
    domain::job::{JobId, NewJob, Queue},
    ports::queue::{Command, Finish, Jobs, Lease, Outcome, QueueEngine},
    work::runner::{self, Limits},
};
use tokio::{
    sync::{Notify, mpsc},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// No wait of these tests takes so long unless something is wrong.
const DEADLINE: Duration = Duration::from_secs(20);
/// A grace time that nobody waits for in vain.
const NEVER: Duration = Duration::from_hours(1);
const SOON: Duration = Duration::from_millis(20);

/// Gives the leases that it holds, and tells what was finished.
struct Script {
    leases: Mutex<VecDeque<Lease>>,
    finished: mpsc::UnboundedSender<Finish>,
    /// The most that was asked for in one call.
    asked: Mutex<Vec<usize>>,
    ready: Notify,
}

impl QueueEngine for Script {
    fn submit(&self, command: Command) {
        let Command::Next { take, finished, answer, .. } = command else { panic!("the runner asks for nothing else") };
        self.asked.lock().unwrap().push(take);
        let answers = finished.iter().map(|_| Ok(())).collect();
        for end in finished {
            self.finished.send(end).unwrap();
        }
        let mut leases = self.leases.lock().unwrap();
        let count = take.min(leases.len());
        drop(answer.send(Ok((answers, leases.drain(..count).collect()))));
    }

    fn ready(&self, _queue: Queue) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.ready.notified())
    }
}

struct Rig {
    script: Arc<Script>,
    finished: mpsc::UnboundedReceiver<Finish>,
    tasks: Tasks,
}

fn lease(number: u8) -> Lease {
    let job = NewJob {
        id: JobId(Id::from_bytes([number; 16])),
        queue: Queue::Deploy,
        kind: String::from("test"),
        tenant: None,
        payload: String::new(),
        priority: 0,
        run_at_ms: 0,
        title: String::new(),
        created_ms: 0,
        unique: None,
        after: Vec::new(),
    };
    Lease { job, attempt: 1, cancelled: CancellationToken::new() }
}

impl Rig {
    fn new(leases: &[Lease]) -> Self {
        let (send, finished) = mpsc::unbounded_channel();
        let script = Script {
            leases: Mutex::new(leases.iter().cloned().collect()),
            finished: send,
            asked: Mutex::default(),
            ready: Notify::new(),
        };
        Self { script: Arc::new(script), finished, tasks: Tasks::new() }
    }

    fn start<F>(&self, limits: Limits, handle: impl Fn(Lease) -> F + Send + Sync + 'static)
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let engine: Arc<dyn QueueEngine> = Arc::<Script>::clone(&self.script);
        let (jobs, tasks) = (Jobs::new(engine), self.tasks.clone());
        self.tasks.spawn(async move { runner::run(&jobs, &tasks, Queue::Deploy, limits, || {}, handle).await });
    }

    async fn end(&mut self) -> Finish {
        timeout(DEADLINE, self.finished.recv()).await.expect("an end").expect("a runner")
    }

    async fn stop(&self) {
        self.tasks.stop();
        timeout(DEADLINE, self.tasks.join()).await.expect("the runner ends");
    }
}

const LONG: Limits = Limits { places: 2, stop_grace: NEVER, cancel_grace: NEVER };

/// No more at once than there are places; each end makes room for the next.
#[tokio::test]
async fn places_are_kept_and_filled_again() {
    let leases: Vec<Lease> = (1..=5).map(lease).collect();
    let mut rig = Rig::new(&leases);
    let (sender, mut begun) = mpsc::unbounded_channel();
    let go = Arc::new(Notify::new());
    let gate = Arc::clone(&go);
    rig.start(LONG, move |lease| {
        let (sender, gate) = (sender.clone(), Arc::clone(&gate));
        async move {
            sender.send(lease.job.id).unwrap();
            gate.notified().await;
            Outcome::Done
        }
    });
    let mut running = 0;
    for number in 0..5 {
        while running < 2 && number + running < 5 {
            timeout(DEADLINE, begun.recv()).await.expect("a begin").unwrap();
            running += 1;
        }
        assert!(begun.try_recv().is_err(), "a third at once");
        go.notify_one();
        assert_eq!(rig.end().await.outcome, Outcome::Done);
        running -= 1;
    }
    rig.stop().await;
    assert!(rig.script.asked.lock().unwrap().iter().all(|it| *it <= 2));
}

/// A handler that panics is a failed attempt, and the runner goes on.
#[tokio::test]
async fn a_panic_is_a_failed_attempt() {
    let mut rig = Rig::new(&[lease(1), lease(2)]);
    rig.start(Limits { places: 1, ..LONG }, async |lease: Lease| {
        assert!(lease.job.id != JobId(Id::from_bytes([1; 16])), "this one panics");
        Outcome::Done
    });
    assert!(matches!(rig.end().await.outcome, Outcome::Retry { after_ms: None, .. }));
    assert_eq!(rig.end().await.outcome, Outcome::Done);
    rig.stop().await;
}

/// A handler hears of a cancel and ends as it likes; one that does not listen is ended after the grace time.
#[tokio::test]
async fn a_cancelled_handler_is_told_and_then_ended() {
    let (listens, deaf) = (lease(1), lease(2));
    let mut rig = Rig::new(&[listens.clone(), deaf.clone()]);
    let (sender, mut begun) = mpsc::unbounded_channel();
    rig.start(Limits { cancel_grace: SOON, ..LONG }, move |lease| {
        let sender = sender.clone();
        async move {
            sender.send(()).unwrap();
            if lease.job.id == JobId(Id::from_bytes([1; 16])) {
                lease.cancelled.cancelled().await;
                return Outcome::Done;
            }
            std::future::pending().await
        }
    });
    for _ in 0..2 {
        timeout(DEADLINE, begun.recv()).await.expect("a begin").unwrap();
    }
    listens.cancelled.cancel();
    let end = rig.end().await;
    assert_eq!((end.id, end.outcome), (listens.job.id, Outcome::Done));
    deaf.cancelled.cancel();
    let end = rig.end().await;
    assert_eq!((end.id, end.outcome), (deaf.job.id, Outcome::Cancel { error: String::from("cancelled") }));
    rig.stop().await;
}

/// Clause 12: on a shutdown nothing more is claimed; what ends in its grace time has ended, what does not goes back uncounted.
#[tokio::test]
async fn a_shutdown_waits_and_then_gives_back() {
    for grace in [NEVER, SOON] {
        let mut rig = Rig::new(&[lease(1)]);
        let (sender, mut begun) = mpsc::unbounded_channel();
        let go = Arc::new(Notify::new());
        let gate = Arc::clone(&go);
        rig.start(Limits { places: 1, stop_grace: grace, ..LONG }, move |_| {
            sender.send(()).unwrap();
            let gate = Arc::clone(&gate);
            async move {
                gate.notified().await;
                Outcome::Done
            }
        });
        timeout(DEADLINE, begun.recv()).await.expect("a begin").unwrap();
        rig.script.leases.lock().unwrap().push_back(lease(2));
        rig.tasks.stop();
        if grace == NEVER {
            go.notify_one();
        }
        let expected = if grace == NEVER { Outcome::Done } else { Outcome::Release };
        assert_eq!(rig.end().await.outcome, expected);
        rig.stop().await;
        assert!(begun.try_recv().is_err(), "begun after the sign to stop");
        assert_eq!(rig.script.leases.lock().unwrap().len(), 1);
    }
}
