//! What others do, heard at once: other processes on the same queues, and clients of BullMQ.
//!
//! A connection of its own waits in Redis for new entries of the stream into which our scripts say what they have woken, and of
//! BullMQ's event streams. What this process did itself is passed over. When it cannot keep up, it wakes all instead.

use std::{
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    time::Duration,
};

use redis::{Connection, FromRedisValue as _, RedisResult, Value, cmd};

use crate::domain::job::{JobId, Queue};

use super::{super::link::Address, Limits, Message, Shared, Wish, reply::queues, session::Session};

/// How long one wait in Redis is: below the time in which an answer must come.
const WAIT: Duration = Duration::from_secs(2);
/// Entries of one stream in one look; who has more to say is not read to the end.
const ENTRIES_MAX: usize = 500;
/// Pause after something was heard: who does much is heard in one look, not in a look for each thing.
const PACE: Duration = Duration::from_millis(5);
/// Pause after a connection was lost.
const AGAIN: Duration = Duration::from_millis(500);

/// What stands in an entry of a stream: names, each with its value behind it.
type Fields = Vec<Value>;
/// Streams with their new entries.
type Streams = Vec<(String, Vec<(String, Fields)>)>;

/// What was heard since the thread last looked.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Jobs that somebody wants to end.
    pub(super) cancelled: Vec<JobId>,
    /// Jobs that clients of BullMQ have made or moved.
    pub(super) moved: Vec<(Queue, String)>,
    /// Another process has done something.
    pub(super) stirred: bool,
}

/// Listens.
pub(super) struct Listener {
    address: Arc<Address>,
    limits: Limits,
    token: String,
    shared: Arc<Shared>,
    nudge: SyncSender<Message>,
    keys: Vec<String>,
    /// The last entry that was read of each stream.
    last: Vec<String>,
    stop: Arc<Stop>,
    stopped: Receiver<()>,
    stops: SyncSender<()>,
}

#[derive(Debug, Default)]
struct Stop {
    now: AtomicBool,
    client: AtomicI64,
}

/// Ends a listener.
pub(super) struct Stopper {
    stop: Arc<Stop>,
    stops: SyncSender<()>,
}

impl Stopper {
    /// It ends soon, with this connection at once.
    pub(super) fn stop(self, session: Option<&mut Session>) {
        self.stop.now.store(true, Ordering::SeqCst);
        // Full: it was stopped already.
        let _ = self.stops.try_send(());
        let client = self.stop.client.load(Ordering::SeqCst);
        if let Some(session) = session.filter(|_| client > 0) {
            session.unblock(client);
        }
    }
}

impl Listener {
    /// Notes where the streams end now: what is said from here on is heard.
    pub(super) fn open(
        address: &Arc<Address>,
        wish: &Wish,
        token: &str,
        shared: Arc<Shared>,
        nudge: SyncSender<Message>,
    ) -> (Self, Option<Connection>) {
        let prefix = &wish.prefix;
        let mut keys: Vec<String> = Queue::ALL.iter().map(|it| format!("{prefix}:{}:events", it.word())).collect();
        keys.push(format!("{prefix}:host:ready"));
        let (stops, stopped) = sync_channel(1);
        let mut listener = Self {
            address: Arc::clone(address),
            limits: wish.limits,
            token: token.to_owned(),
            shared,
            nudge,
            keys,
            last: Vec::new(),
            stop: Arc::default(),
            stopped,
            stops,
        };
        // It may be away; then all are woken when it is there.
        let connection = listener.connect().ok();
        (listener, connection)
    }

    /// What ends it.
    pub(super) fn stopper(&self) -> Stopper {
        Stopper { stop: Arc::clone(&self.stop), stops: self.stops.clone() }
    }

    /// Listens until it is stopped.
    pub(super) fn run(mut self, mut connection: Option<Connection>) {
        while !self.stop.now.load(Ordering::SeqCst) {
            let listened = match &mut connection {
                Some(connection) => self.listen(connection),
                None => match self.connect() {
                    Ok(new) => {
                        connection = Some(new);
                        // What was said meanwhile is not known.
                        self.wake_all();
                        continue;
                    }
                    Err(error) => Err(error),
                },
            };
            if let Err(error) = listened {
                tracing::debug!(%error, "listening to the Redis of the job queue was interrupted");
                connection = None;
                if self.is_stopped_within(AGAIN) {
                    return;
                }
            } else if self.is_stopped_within(PACE) {
                return;
            }
        }
    }

    fn is_stopped_within(&self, pause: Duration) -> bool {
        self.stopped.recv_timeout(pause) != Err(RecvTimeoutError::Timeout)
    }

    fn connect(&mut self) -> RedisResult<Connection> {
        self.stop.client.store(0, Ordering::SeqCst);
        let mut connection = self.limits.connect(&self.address)?;
        self.skip(&mut connection)?;
        let client = cmd("CLIENT").arg("ID").query(&mut connection)?;
        self.stop.client.store(client, Ordering::SeqCst);
        Ok(connection)
    }

    /// Goes to the end of all streams.
    fn skip(&mut self, connection: &mut Connection) -> RedisResult<()> {
        let mut last = Vec::with_capacity(self.keys.len());
        for key in &self.keys {
            let newest: Vec<Value> =
                cmd("XREVRANGE").arg(key).arg("+").arg("-").arg("COUNT").arg(1).query(connection)?;
            let newest = newest.into_iter().next().and_then(|it| match it {
                Value::Array(parts) => parts.into_iter().next(),
                _ => None,
            });
            last.push(newest.map(String::from_redis_value).transpose()?.unwrap_or_else(|| String::from("0-0")));
        }
        self.last = last;
        Ok(())
    }

    fn listen(&mut self, connection: &mut Connection) -> RedisResult<()> {
        let mut read = cmd("XREAD");
        read.arg("COUNT").arg(ENTRIES_MAX).arg("BLOCK").arg(u64::try_from(WAIT.as_millis()).unwrap_or(1_000));
        read.arg("STREAMS").arg(&self.keys).arg(&self.last);
        let Some(heard) = read.query::<Option<Streams>>(connection)? else { return Ok(()) };
        let mut behind = false;
        let mut news = Heard::default();
        for (key, entries) in heard {
            behind |= entries.len() >= ENTRIES_MAX;
            let Some(at) = self.keys.iter().position(|it| *it == key) else { continue };
            if let (Some(last), Some((newest, _))) = (self.last.get_mut(at), entries.last()) {
                last.clone_from(newest);
            }
            for (_, entry) in &entries {
                match Queue::ALL.get(at) {
                    Some(queue) => self.hear(*queue, entry, &mut news),
                    None => self.hear_ready(entry, &mut news),
                }
            }
        }
        self.tell(news);
        if behind {
            self.skip(connection)?;
            self.wake_all();
        }
        Ok(())
    }

    /// An entry of BullMQ's: ours say who wrote them.
    fn hear(&self, queue: Queue, entry: &Fields, news: &mut Heard) {
        if let Some(by) = field(entry, b"by") {
            news.stirred |= by != self.token.as_bytes();
            return;
        }
        news.stirred = true;
        if let Some(id) = field(entry, b"jobId") {
            news.moved.push((queue, String::from_utf8_lossy(id).into_owned()));
        }
        self.shared.ready.ring(queue);
    }

    /// An entry that one of our scripts wrote.
    fn hear_ready(&self, entry: &Fields, news: &mut Heard) {
        if field(entry, b"by") == Some(self.token.as_bytes()) {
            return;
        }
        news.stirred = true;
        for queue in queues(&String::from_utf8_lossy(field(entry, b"queues").unwrap_or_default())) {
            self.shared.ready.ring(queue);
        }
        let cancelled = field(entry, b"cancelled").unwrap_or_default();
        let ids = cancelled.chunks_exact(32).filter_map(|it| std::str::from_utf8(it).ok()?.parse::<JobId>().ok());
        news.cancelled.extend(ids);
    }

    fn wake_all(&self) {
        for queue in Queue::ALL {
            self.shared.ready.ring(queue);
        }
    }

    fn tell(&self, news: Heard) {
        if !news.stirred {
            return;
        }
        let mut heard = self.shared.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.cancelled.extend(news.cancelled);
        heard.moved.extend(news.moved);
        heard.stirred = true;
        drop(heard);
        // Full: the thread is awake, and looks.
        drop(self.nudge.try_send(Message::Look));
    }
}

/// The value of a field.
fn field<'a>(entry: &'a Fields, name: &[u8]) -> Option<&'a [u8]> {
    let words = entry.chunks_exact(2).find_map(|it| match it {
        [Value::BulkString(found), Value::BulkString(value)] if found == name => Some(value),
        _ => None,
    });
    words.map(Vec::as_slice)
}
