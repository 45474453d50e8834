//! The queue port on Redis, in BullMQ's layout: its workers and dashboards see our jobs, and we run theirs.
//!
//! | File | Holds |
//! |---|---|
//! | `thread` | the loop: what waits goes to Redis at once, wakes, answers |
//! | `calls` | commands in, calls of scripts out; answers back |
//! | `reply` | what scripts answer, read |
//! | `session` | a connection with the scripts loaded, and whether this Redis may hold jobs |
//! | `time` | what time it is by its clock |
//! | `listener` | what other processes and clients of BullMQ do, heard at once |
//! | `left` | queues that nobody works on: whose they are, and that they forget |
//! | `scripts` | all that changes a job: one script a command, atomic |
//! | `fault` | errors |
//!
//! Guarantees: CONTRACTS §1 as `ports::queue` words it, but for one: what is acknowledged is as durable as this Redis makes it
//! ([`QueueEngine::keeps`] is `false`). Several processes share the queues; each has a name, and a second start under the same
//! name brings back the jobs of the first. What decides when a job may start, and since when it waits, goes by the clock of Redis; what a
//! job says of when it was asked for, and for when, stays as it came.
//!
//! No call waits longer for Redis than the limits of its connection. While Redis is away, commands are refused.

mod calls;
mod fault;
mod left;
mod listener;
mod reply;
mod scripts;
mod session;
mod thread;
mod time;

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use redis::{Connection, RedisResult};
use tokio::sync::Notify;

use crate::{
    base::{clock::Clock, ids::Id, limits, random, secret::Secret, tasks::join_thread},
    domain::{Error, Result, job::Queue},
    ports::queue::{Command, QueueEngine, busy},
};

pub use self::left::{claim, clear, look};

use self::{
    listener::{Heard, Listener},
    scripts::Scripts,
    session::Session,
    thread::QueueThread,
};

use super::link::{ANSWER_MAX, Address, CONNECT_MAX, TAG};

/// Commands that may wait: about a second of work.
const COMMANDS_WAITING_MAX: usize = 4_096;
/// What all keys begin with. The braces keep them in one slot of a cluster.
const PREFIX: &str = "{chainhost}";
/// A worker that has not said for so long that it lives is dead.
const LEASE: Duration = Duration::from_secs(30);

/// How long a Redis may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Until its master is found and connected to.
    pub connect: Duration,
    /// For an answer.
    pub answer: Duration,
}

impl Limits {
    /// A connection that keeps them.
    fn connect(self, address: &Address) -> RedisResult<Connection> {
        address.connect_to(TAG, self.connect, self.answer).map(|(_, connection)| connection)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { connect: CONNECT_MAX, answer: ANSWER_MAX }
    }
}

/// How a queue is opened.
#[derive(Debug)]
pub struct Wish {
    /// What all keys begin with, in braces.
    pub prefix: String,
    /// The name of this process among those that share the queues: no two that run have the same.
    pub node: String,
    /// How long a worker may be silent. It says that it lives three times as often.
    pub lease: Duration,
    /// How many jobs of one tenant may wait.
    pub waiting_max: u64,
    /// Whose queues these are: a Redis with those of another installation is refused. Empty: nobody asks.
    pub owner: String,
    /// The word of these queues: a Redis that has another one is refused, one that has none gets it. Empty: nobody asks.
    pub place: String,
    /// What is waited for, and how long.
    pub limits: Limits,
    /// The time of day.
    pub clock: Clock,
}

impl Wish {
    /// As a server opens it.
    pub fn new(node: impl Into<String>, clock: Clock) -> Self {
        let node = node.into();
        Self {
            prefix: PREFIX.to_owned(),
            node,
            lease: LEASE,
            waiting_max: limits::JOBS_WAITING_MAX,
            owner: String::new(),
            place: String::new(),
            limits: Limits::default(),
            clock,
        }
    }

    /// For the installation with this id.
    #[must_use]
    pub fn owned_by(self, instance: Id) -> Self {
        Self { owner: instance.to_string(), ..self }
    }

    /// For the queues with this word.
    #[must_use]
    pub fn placed(self, place: String) -> Self {
        Self { place, ..self }
    }
}

/// What the threads and the callers share.
#[derive(Debug, Default)]
struct Shared {
    ready: Bells,
    returned: Notify,
    up: AtomicBool,
    /// Why nothing can be changed in it, when it is away or refuses that.
    trouble: Mutex<Option<Error>>,
    heard: Mutex<Heard>,
}

impl Shared {
    /// Notes why nothing can be changed, or that it can; what was known before.
    fn note(&self, trouble: Option<Error>) -> Option<Error> {
        std::mem::replace(&mut *self.trouble.lock().unwrap_or_else(PoisonError::into_inner), trouble)
    }
}

/// One of something for each queue.
#[derive(Debug, Default)]
struct Bells([Notify; 4]);

impl Bells {
    const fn of(&self, queue: Queue) -> &Notify {
        let [deploy, email, blockchain, backup] = &self.0;
        match queue {
            Queue::Deploy => deploy,
            Queue::Email => email,
            Queue::Blockchain => blockchain,
            Queue::Backup => backup,
        }
    }

    /// Wakes all that wait now, or else the next that asks.
    fn ring(&self, queue: Queue) {
        let ready = self.of(queue);
        ready.notify_waiters();
        ready.notify_one();
    }
}

/// What the thread is sent.
enum Message {
    Command(Command),
    /// The listener has heard something.
    Look,
    /// No more commands come.
    Stop,
}

/// The queue engine. Dropping it waits for what was asked before.
pub struct QueueRedis {
    commands: Mutex<Option<SyncSender<Message>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for QueueRedis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("QueueRedis")
    }
}

impl QueueRedis {
    /// Opens the queues in the Redis at `url`, and brings back the jobs that ran when the process before with this name ended.
    /// A Redis that is away now is waited for: until it is there, everything is answered `queue_unreachable`.
    /// Blocks; not for a thread of an async runtime that others need.
    ///
    /// Errors: `redis_url`, `queue_old`, `queue_evicts` when this Redis may throw jobs away, `queue_foreign` when it holds the queues of
    /// another installation, `queue_other` when it has another word than the wish.
    pub fn open(url: &Secret, wish: &Wish) -> Result<Arc<Self>> {
        let address = Arc::new(Address::parse(url)?);
        let scripts = Arc::new(Scripts::new(&wish.prefix));
        let token = format!("{}:{}", wish.node, random::below(1 << 52));
        let session = match Session::open(&address, &scripts, wish.limits) {
            Err(error) if error.code != fault::UNREACHABLE => return Err(error),
            session => session,
        };
        let shared = Arc::new(Shared::default());
        let (commands, received) = sync_channel(COMMANDS_WAITING_MAX);
        let nudge = commands.clone();
        let (listener, listens) = Listener::open(&address, wish, &token, Arc::clone(&shared), nudge);
        let mut thread = QueueThread::new(address, scripts, wish, token, Arc::clone(&shared), received);
        thread.begin(session, listener.stopper())?;
        let spawn =
            |name: &str, run: Box<dyn FnOnce() + Send>| std::thread::Builder::new().name(String::from(name)).spawn(run);
        let listener = spawn("queue-listen", Box::new(move || listener.run(listens)))?;
        let thread = spawn("queue", Box::new(move || thread.run()))?;
        Ok(Arc::new(Self { commands: Mutex::new(Some(commands)), threads: Mutex::new(vec![thread, listener]), shared }))
    }

    /// Takes no more, does what waits and closes the connections. Blocks until done.
    pub fn close(&self) {
        let commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Behind all that was sent before.
        drop(commands.map(|it| it.send(Message::Stop)));
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        threads.into_iter().for_each(join_thread);
    }
}

impl Drop for QueueRedis {
    fn drop(&mut self) {
        self.close();
    }
}

impl QueueEngine for QueueRedis {
    fn submit(&self, command: Command) {
        let commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // Without a thread the command is dropped, and its caller sees that.
        let sent = commands.map(|it| it.try_send(Message::Command(command)));
        if let Some(Err(TrySendError::Full(Message::Command(command)))) = sent {
            command.refuse(&busy());
        }
    }

    fn ready(&self, queue: Queue) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.shared.ready.of(queue).notified())
    }

    fn keeps(&self) -> bool {
        false
    }

    fn returned(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.shared.returned.notified())
    }

    fn is_up(&self) -> bool {
        self.shared.up.load(Ordering::Relaxed)
    }

    fn health(&self) -> Result<()> {
        let trouble = self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        trouble.map_or(Ok(()), Err)
    }
}
