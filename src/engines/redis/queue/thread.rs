//! The one thread that changes the queues: one command, then all that wait, all to Redis at once; then it wakes and answers.
//!
//! Guarantees: commands are done and answered in their order; when the connection breaks, those that may be repeated are, once,
//! and all others hear that nobody knows whether they were done. Beside that it says every third of a lease that this process
//! lives, looks for workers that do not, and sleeps until something is due.
//!
//! Redis works on what has come meanwhile while those are woken and answered whose answers are here: one batch is under way at a
//! time, and Redis waits for no more than the way there and back. What the thread does by itself needs to know all, so that those
//! answers come first.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::Duration,
};

use redis::Value;
use tokio::{sync::oneshot, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{
        Error, Result,
        job::{JobId, Queue},
    },
    ports::queue::{Command, Finish},
};

mod answers;

use super::{
    super::link::Address,
    Limits, Message, Shared, Wish,
    calls::{self, Asker},
    fault::{UNREACHABLE, may_pass, resumed, said, unreachable},
    listener::{Heard, Stopper},
    reply,
    scripts::{Call, Scripts, SharedArgs},
    session::{Answer, Session},
    time::Time,
};

/// Jobs in one batch, about.
const BATCH_WEIGHT: usize = 4_096;
/// The first and the longest pause between tries to connect.
const RECONNECT_MIN: Duration = Duration::from_millis(50);
const RECONNECT_MAX: Duration = Duration::from_secs(1);
/// How soon a Redis that refuses changes is asked again.
const REFUSED_AGAIN: Duration = Duration::from_secs(1);
/// How often it is tried whether a Redis takes changes.
const PROBE: Duration = Duration::from_secs(5);
/// How often dead workers are looked for, at most.
const SWEEP_MAX: Duration = Duration::from_secs(5);

/// A lease that somebody of this process holds.
struct Held {
    cancelled: CancellationToken,
    /// Redis says that it is not ours, or has forgotten it. It stays here until its handler has ended: a Redis that lost its data
    /// counts attempts anew, and the end of this one must not be taken for that of another with the same number.
    lost: bool,
}

/// Who waits, and what became of the call.
type Answers = Vec<(Asker, Answer)>;

/// The thread's own things.
pub(super) struct QueueThread {
    address: Arc<Address>,
    scripts: Arc<Scripts>,
    node: String,
    token: String,
    owner: String,
    place: String,
    lease: Duration,
    time: Time,
    waiting_max: u64,
    limits: Limits,
    commands: Receiver<Message>,
    shared: Arc<Shared>,
    session: Option<Session>,
    /// What the process before with this name held has been brought back.
    opened: bool,
    stopper: Option<Stopper>,
    /// Tries to connect that failed since it was connected, and when to try again.
    failures: u32,
    connect_at: Instant,
    /// Why it is not connected.
    away: Error,
    held: BTreeMap<(JobId, u32), Held>,
    drains: Vec<(Queue, oneshot::Sender<Result<()>>)>,
    untaken: Vec<Finish>,
    due_ms: Option<i64>,
    called_ms: i64,
    renew_at: Instant,
    sweep_at: Instant,
    /// When it is tried whether changes are taken.
    probe_at: Instant,
    /// Redis has refused to make leases longer, for all who share it: nobody's end says that they are dead.
    refused: bool,
}

impl QueueThread {
    pub(super) fn new(
        address: Arc<Address>,
        scripts: Arc<Scripts>,
        wish: &Wish,
        token: String,
        shared: Arc<Shared>,
        commands: Receiver<Message>,
    ) -> Self {
        let now = Instant::now();
        Self {
            address,
            scripts,
            node: wish.node.clone(),
            owner: wish.owner.clone(),
            place: wish.place.clone(),
            token,
            lease: wish.lease,
            time: Time::new(wish.clock.clone()),
            waiting_max: wish.waiting_max,
            limits: wish.limits,
            commands,
            shared,
            session: None,
            opened: false,
            stopper: None,
            failures: 0,
            connect_at: now,
            away: unreachable("not connected yet"),
            held: BTreeMap::new(),
            drains: Vec::new(),
            untaken: Vec::new(),
            due_ms: None,
            called_ms: i64::MIN,
            renew_at: now + wish.lease / 3,
            sweep_at: now + wish.lease,
            probe_at: now + PROBE,
            refused: false,
        }
    }

    /// Brings back what the process before with this name held, now or once Redis is there.
    pub(super) fn begin(&mut self, session: Result<Session>, stopper: Stopper) -> Result<()> {
        self.stopper = Some(stopper);
        match session.and_then(|it| self.come_back(it)) {
            Ok(()) => self.shared.up.store(true, Ordering::Relaxed),
            Err(error) if may_pass(&error) => {
                tracing::warn!(redis = self.address.name(), %error, "the job queue has no Redis yet");
                self.session = None;
                self.failures = 1;
                self.shared.note(Some(error.clone()));
                self.away = error;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Works until it is told to stop and all that was asked before is done.
    pub(super) fn run(mut self) {
        let mut answers = Vec::new();
        loop {
            if self.has_own_work() {
                self.tell(std::mem::take(&mut answers));
            }
            let (commands, stop) = self.gather(answers.is_empty());
            let mut work = if answers.is_empty() { self.own_work(commands.is_empty()) } else { Vec::new() };
            // How far the clocks differ is known once it is connected.
            let _ = self.connect();
            let (waiting_max, ahead_ms) = (self.waiting_max, self.time.ahead_ms());
            for (call, asker) in commands.into_iter().filter_map(|it| calls::call(it, waiting_max, ahead_ms)) {
                calls::add(&mut work, call, asker);
            }
            answers = self.batch(work, answers);
            if stop {
                self.tell(answers);
                let rest = self.own_work(false);
                let answers = self.batch(rest, Vec::new());
                self.tell(answers);
                break;
            }
        }
        if let Some(stopper) = self.stopper.take() {
            stopper.stop(self.session.as_mut());
        }
    }

    /// The commands that are there, about as many as go into a batch, and whether to stop after them. `idle`: nobody waits to be
    /// told an answer that is here, so that it may sleep until there is a command.
    fn gather(&self, idle: bool) -> (Vec<Command>, bool) {
        let (mut commands, mut weight, mut stop) = (Vec::new(), 0, false);
        let mut take = |message| {
            match message {
                Message::Command(command) => {
                    weight += command.weight();
                    commands.push(command);
                }
                Message::Look => {}
                Message::Stop => stop = true,
            }
            weight < BATCH_WEIGHT
        };
        let may_sleep = idle && !self.has_heard() && (self.untaken.is_empty() || self.session.is_none());
        let mut more = true;
        if may_sleep && let Some(message) = self.sleep() {
            more = take(message);
        }
        while more && let Ok(message) = self.commands.try_recv() {
            more = take(message);
        }
        (commands, stop)
    }

    /// Whether something was heard that is to be followed.
    fn has_heard(&self) -> bool {
        let matters =
            |it: &Heard| !it.cancelled.is_empty() || !it.moved.is_empty() || it.stirred && !self.drains.is_empty();
        self.shared.heard.lock().is_ok_and(|it| matters(&it))
    }

    /// Whether there is something that the engine does by itself now, other than what time brings to jobs.
    fn has_own_work(&self) -> bool {
        let due = self.sweep_at.min(self.renew_at).min(self.probe_at);
        !self.untaken.is_empty() || !self.drains.is_empty() || self.has_heard() || Instant::now() >= due
    }

    /// Waits for a message, or until something is due.
    fn sleep(&self) -> Option<Message> {
        let now = Instant::now();
        let mut until = self.sweep_at.min(self.renew_at).min(self.probe_at);
        if self.session.is_none() {
            until = self.connect_at;
        } else if let Some(due_ms) = self.due_ms {
            let wait_ms = u64::try_from(due_ms.saturating_sub(self.time.now_ms())).unwrap_or(0);
            until = now.checked_add(Duration::from_millis(wait_ms)).map_or(until, |it| it.min(until));
        }
        match self.commands.recv_timeout(until.saturating_duration_since(now)) {
            Ok(message) => Some(message),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Message::Stop),
        }
    }

    /// What the engine does by itself now.
    fn own_work(&mut self, idle: bool) -> Vec<(Call, Asker)> {
        let mut work = Vec::new();
        if !self.untaken.is_empty() {
            // The queue is of no meaning when nothing is claimed.
            let finished = std::mem::take(&mut self.untaken);
            work.push((calls::next(Queue::Deploy, 0, &finished), Asker::Untaken(finished)));
        }
        let heard = self.shared.heard.lock().map(|mut it| std::mem::take(&mut *it)).unwrap_or_default();
        self.follow(heard, &mut work);
        let now = Instant::now();
        if now >= self.probe_at {
            self.probe_at = now + if self.probe() { PROBE } else { REFUSED_AGAIN };
        }
        if now >= self.renew_at {
            self.renew_at = now + self.lease / 3;
            if !self.held.is_empty() || self.refused {
                work.push((self.with_held("renew"), Asker::Renew));
            }
        }
        if now >= self.sweep_at {
            self.look_again();
            self.sweep_at = now + SWEEP_MAX.min(self.lease / 2);
            if !self.refused {
                work.push((calls::keep("sweep"), Asker::Sweep));
            }
        }
        let now_ms = self.time.now_ms();
        // Also when the clock was set back, since what was waited for may be far away now.
        if idle && work.is_empty() && (now_ms < self.called_ms || self.due_ms.is_some_and(|it| it <= now_ms)) {
            work.push((calls::tick(), Asker::Nobody));
        }
        work
    }

    /// Leaves a Redis that may not hold jobs any more.
    fn look_again(&mut self) {
        let (Some(session), redis) = (self.session.as_mut(), self.address.name()) else { return };
        let asked = self.time.ask(redis, || session.time_ms()).map_err(|error| said(&error));
        let Err(error) = asked.and_then(|()| session.check(redis)) else { return };
        if error.code == UNREACHABLE {
            tracing::warn!(redis, %error, "the Redis of the job queue is lost; it is looked for");
        } else {
            tracing::error!(redis, %error, "the job queue stops until this is mended");
        }
        self.leave(error);
    }

    /// Finds out whether changes are taken, so that this is known also while nobody wants one.
    fn probe(&mut self) -> bool {
        let Some(session) = &mut self.session else { return true };
        match session.takes_changes(self.scripts.prefix()) {
            Ok(taken) => {
                let trouble = taken.err();
                let (now, redis) = (trouble.clone(), self.address.name());
                match (self.shared.note(trouble), &now) {
                    (None, Some(error)) => tracing::warn!(redis, %error, "the Redis of the job queue takes no changes"),
                    (Some(_), None) => tracing::info!(redis, "the Redis of the job queue takes changes again"),
                    _ => {}
                }
                now.is_none()
            }
            Err(error) => {
                self.lose(&error);
                true
            }
        }
    }

    fn follow(&self, heard: Heard, work: &mut Vec<(Call, Asker)>) {
        for id in heard.cancelled {
            self.tell_to_end(id);
        }
        if !heard.moved.is_empty() {
            let mut call = calls::keep("follow");
            for (queue, id) in heard.moved {
                call.push(queue.number().to_string());
                call.push(id);
            }
            work.push((call, Asker::Nobody));
        } else if heard.stirred && !self.drains.is_empty() {
            work.push((calls::tick(), Asker::Nobody));
        }
    }

    /// A call that names the leases of this process.
    fn with_held(&self, what: &str) -> Call {
        let mut call = calls::keep(what);
        for ((id, attempt), _) in self.held.iter().filter(|it| !it.1.lost) {
            call.push(id.to_string());
            call.push(attempt.to_string());
        }
        call
    }

    /// Tells the handlers of a job that somebody wants it to end.
    fn tell_to_end(&self, id: JobId) {
        self.held.range((id, 0)..=(id, u32::MAX)).for_each(|it| it.1.cancelled.cancel());
    }

    /// Makes calls, and while Redis works on them tells the answers of those before. Gives the answers of these, which nobody was
    /// told yet.
    fn batch(&mut self, work: Vec<(Call, Asker)>, mut before: Answers) -> Answers {
        if work.is_empty() || self.session.is_none() {
            self.tell(std::mem::take(&mut before));
        }
        if !self.connect() {
            for (_, asker) in work {
                self.refuse(asker, &self.away.clone());
            }
            self.let_drains_go();
            return Vec::new();
        }
        if work.is_empty() {
            return Vec::new();
        }
        let calls = calls_of(&work);
        let sent = self.send(&calls);
        self.tell_meanwhile(before);
        match sent.and_then(|()| self.receive(&calls)) {
            Ok(answers) => work.into_iter().map(|it| it.1).zip(answers).collect(),
            Err(error) => {
                self.lose(&error);
                self.repeat(work, &unreachable(&error));
                Vec::new()
            }
        }
    }

    /// Makes those calls again that may be made twice, on a new connection.
    fn repeat(&mut self, work: Vec<(Call, Asker)>, error: &Error) {
        let (mut again, once): (Vec<_>, Vec<_>) = work.into_iter().partition(|(_, asker)| asker.may_repeat());
        for (_, asker) in once {
            self.refuse(asker, error);
        }
        let connected = self.connect();
        for (call, _) in &mut again {
            calls::say_again(call);
        }
        let answers = if connected {
            self.call(&calls_of(&again)).map_err(|error| {
                self.lose(&error);
                unreachable(&error)
            })
        } else {
            Err(error.clone())
        };
        match answers {
            Ok(answers) => self.tell(again.into_iter().map(|it| it.1).zip(answers).collect()),
            Err(error) => {
                for (_, asker) in again {
                    self.refuse(asker, &error);
                }
                self.let_drains_go();
            }
        }
    }

    fn refuse(&mut self, asker: Asker, error: &Error) {
        match asker {
            // Nobody else tells this; it is told when the connection is there again.
            Asker::Untaken(finished) => self.untaken.extend(finished),
            asker => asker.refuse(error),
        }
    }

    fn call(&mut self, calls: &[&Call]) -> redis::RedisResult<Vec<Answer>> {
        self.send(calls)?;
        self.receive(calls)
    }

    fn send(&mut self, calls: &[&Call]) -> redis::RedisResult<()> {
        self.called_ms = self.time.now_ms();
        let shared = shared_args(self.called_ms, &self.token, &self.node, self.lease);
        self.session.as_mut().ok_or_else(not_connected)?.send(&self.scripts, calls, &shared)
    }

    /// The answers of the calls that were sent last.
    fn receive(&mut self, calls: &[&Call]) -> redis::RedisResult<Vec<Answer>> {
        let shared = shared_args(self.called_ms, &self.token, &self.node, self.lease);
        self.session.as_mut().ok_or_else(not_connected)?.receive(&self.scripts, calls, &shared)
    }

    /// Redis is there, and takes no changes.
    fn was_refused(&mut self, error: &Error) {
        if !self.refused {
            tracing::warn!(redis = self.address.name(), %error, "the Redis of the job queue takes no changes");
        }
        self.refused = true;
        self.renew_at = Instant::now() + REFUSED_AGAIN.min(self.lease / 3);
    }

    /// Answers the drains whose queue runs nothing any more, or was started again.
    fn answer_drains(&mut self) {
        self.drains.retain(|(_, answer)| !answer.is_closed());
        if self.drains.is_empty() {
            return;
        }
        let mut call = calls::keep("drains");
        for (queue, _) in &self.drains {
            call.push(queue.number().to_string());
        }
        let answer = match self.call(&[&call]) {
            Ok(mut answers) => answers.pop(),
            Err(error) => return self.lose(&error),
        };
        let Some(answer) = answer else { return };
        let Ok(stands) = self.read(answer).and_then(reply::list) else { return };
        for ((queue, answer), stand) in std::mem::take(&mut self.drains).into_iter().zip(stands) {
            let stand = reply::list(stand).unwrap_or_default();
            let [paused, running] = stand.as_slice() else { continue };
            if matches!(paused, Value::Int(0)) {
                drop(answer.send(Err(resumed())));
            } else if matches!(running, Value::Int(0)) {
                drop(answer.send(Ok(())));
            } else {
                self.drains.push((queue, answer));
            }
        }
    }

    fn let_drains_go(&mut self) {
        for (_, answer) in self.drains.drain(..) {
            drop(answer.send(Err(self.away.clone())));
        }
    }

    /// The connection is broken.
    fn lose(&mut self, error: &redis::RedisError) {
        if self.session.is_some() {
            tracing::warn!(redis = self.address.name(), %error, "the connection to the Redis of the job queue is lost");
        }
        self.leave(unreachable(error));
    }

    fn leave(&mut self, why: Error) {
        self.session = None;
        self.shared.up.store(false, Ordering::Relaxed);
        self.shared.note(Some(why.clone()));
        self.away = why;
        self.failures = 0;
        self.connect_at = Instant::now();
    }

    /// Makes sure that there is a connection, if it is time to try.
    fn connect(&mut self) -> bool {
        if self.session.is_some() {
            return true;
        }
        if Instant::now() < self.connect_at {
            return false;
        }
        match Session::open(&self.address, &self.scripts, self.limits).and_then(|it| self.come_back(it)) {
            Ok(()) => {
                tracing::info!(redis = self.address.name(), "the Redis of the job queue is there again");
                self.failures = 0;
                // Workers that live must say so before anybody calls them dead.
                self.sweep_at = Instant::now() + self.lease;
                self.renew_at = Instant::now();
                self.shared.up.store(true, Ordering::Relaxed);
                self.shared.note(None);
                self.shared.returned.notify_one();
                // Whatever has happened meanwhile may have woken somebody.
                for it in Queue::ALL {
                    self.shared.ready.ring(it);
                }
                true
            }
            Err(error) => {
                self.session = None;
                if self.failures == 0 || self.away.code != error.code {
                    tracing::warn!(redis = self.address.name(), %error, "the job queue has no Redis");
                }
                let pause = RECONNECT_MIN.saturating_mul(1 << self.failures.min(5)).min(RECONNECT_MAX);
                self.failures = self.failures.saturating_add(1);
                self.connect_at = Instant::now() + pause;
                self.shared.note(Some(error.clone()));
                self.away = error;
                false
            }
        }
    }

    /// Gives back what this process holds without knowing of it: answers that were lost, or what the process before held.
    fn come_back(&mut self, mut session: Session) -> Result<()> {
        let redis = self.address.name();
        session.check_place(redis, self.scripts.prefix(), &self.owner, &self.place)?;
        self.time.ask(redis, || session.time_ms()).map_err(|error| said(&error))?;
        self.session = Some(session);
        let mut whose = calls::keep("owner");
        whose.push(&self.owner);
        let back = self.with_held(if self.opened { "back" } else { "open" });
        for call in [whose, back] {
            let answers = self.call(&[&call]).map_err(|error| unreachable(&error))?;
            answers.into_iter().try_for_each(|it| self.read(it).map(drop))?;
        }
        self.opened = true;
        Ok(())
    }
}

fn shared_args<'a>(now_ms: i64, token: &'a str, node: &'a str, lease: Duration) -> SharedArgs<'a> {
    SharedArgs { now_ms, token, node, lease_ms: u64::try_from(lease.as_millis()).unwrap_or(u64::MAX) }
}

fn calls_of(work: &[(Call, Asker)]) -> Vec<&Call> {
    work.iter().map(|(call, _)| call).collect()
}

fn not_connected() -> redis::RedisError {
    std::io::Error::from(std::io::ErrorKind::NotConnected).into()
}
