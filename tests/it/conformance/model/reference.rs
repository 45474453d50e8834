//! The queue on one page: what the port promises, in plain collections, without any care for speed.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
};

use chainhost::{
    domain::{
        job::{JobId, NewJob, Queue, State},
        tenant::TenantId,
    },
    ports::queue::{JobFilter, Lease, Outcome},
};

pub(super) const DAY_MS: i64 = 24 * 3_600_000;
const AGED_MS: i64 = 5 * 60_000;
pub(super) const NEVER_MS: i64 = i64::MAX;

/// A job as the model knows it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) new: NewJob,
    pub(super) state: State,
    pub(super) attempt: u32,
    counted: u32,
    pub(super) deaths: u32,
    seq: u64,
    since_ms: i64,
    pub(super) due_ms: i64,
    awaits: BTreeSet<JobId>,
    pub(super) cancelling: bool,
    pub(super) finished_ms: Option<i64>,
    pub(super) progress: u8,
    pub(super) error: Option<String>,
}

/// Whose, with which priority, and whether its kind has a rate: one line.
type Line = (Option<TenantId>, i8, bool);

impl Known {
    fn is_limited(&self) -> bool {
        self.new.queue.rate(&self.new.kind).is_some()
    }

    fn line(&self) -> Line {
        (self.new.tenant, self.new.priority, self.is_limited())
    }

    fn has_ended(&self) -> bool {
        matches!(self.state, State::Done | State::Failed)
    }
}

#[derive(Default)]
pub(super) struct Model {
    pub(super) now_ms: i64,
    latest_ms: i64,
    pub(super) jobs: BTreeMap<JobId, Known>,
    pub(super) gone: HashMap<JobId, i64>,
    pub(super) paused: BTreeSet<u8>,
    pub(super) paused_tenants: BTreeSet<TenantId>,
    starts: Vec<i64>,
    seq: u64,
    /// Who was served since each tenant that may start began to wait for its turn.
    served: BTreeMap<(u8, Option<TenantId>), BTreeSet<Option<TenantId>>>,
}

pub(super) type Answer<T> = Result<T, &'static str>;

impl Model {
    /// It is now `now_ms`.
    pub(super) fn tick(&mut self, now_ms: i64) {
        self.now_ms = now_ms;
        self.latest_ms = self.latest_ms.max(now_ms);
        self.starts.iter_mut().for_each(|it| *it = (*it).min(now_ms));
        let delayed = self.jobs.values().filter(|it| it.state == State::Delayed && it.due_ms <= now_ms);
        let mut due: Vec<_> = delayed.map(|it| (it.due_ms, it.new.id)).collect();
        due.sort_unstable();
        for (_, id) in due {
            self.wait_last(id);
        }
    }

    fn job(&mut self, id: JobId) -> &mut Known {
        self.jobs.get_mut(&id).expect("a known job")
    }

    fn wait_last(&mut self, id: JobId) {
        self.seq += 1;
        let (seq, now_ms) = (self.seq, self.now_ms);
        let job = self.job(id);
        (job.seq, job.since_ms, job.state) = (seq, now_ms, State::Waiting);
    }

    fn wait_until(&mut self, id: JobId, due_ms: i64) {
        if due_ms <= self.now_ms {
            return self.wait_last(id);
        }
        let job = self.job(id);
        (job.state, job.due_ms) = (State::Delayed, due_ms);
    }

    pub(super) fn knows(&self, id: JobId) -> bool {
        self.jobs.contains_key(&id) || self.gone.get(&id).is_some_and(|at| *at > self.now_ms - DAY_MS)
    }

    fn holder(&self, new: &NewJob) -> Option<JobId> {
        let key = new.unique.as_ref()?;
        let same = |it: &&Known| {
            (it.new.queue, it.new.tenant, it.new.unique.as_ref()) == (new.queue, new.tenant, Some(key))
                && !it.has_ended()
        };
        self.jobs.values().find(same).map(|it| it.new.id)
    }

    /// Those of `after` that have not ended; or one that is dead.
    fn awaited(&self, new: &NewJob) -> Result<BTreeSet<JobId>, JobId> {
        let known = || new.after.iter().filter_map(|id| self.jobs.get(id)).filter(|it| it.new.id != new.id);
        match known().find(|it| it.state == State::Failed) {
            Some(dead) => Err(dead.new.id),
            None => Ok(known().filter(|it| !it.has_ended()).map(|it| it.new.id).collect()),
        }
    }

    pub(super) fn enqueue(&mut self, jobs: &[NewJob]) -> Answer<u64> {
        let mut owners: HashMap<JobId, Option<TenantId>> = HashMap::new();
        for job in jobs.iter().filter(|it| !self.knows(it.id)) {
            owners.entry(job.id).or_insert(job.tenant);
            for awaited in &job.after {
                let whose = owners.get(awaited).or_else(|| self.jobs.get(awaited).map(|it| &it.new.tenant));
                if whose.is_some_and(|it| *it != job.tenant) {
                    return Err("job_after");
                }
            }
        }
        let (mut taken, mut absorbed) = (0, Vec::new());
        // Keys are looked at before anything is taken, as the call is one step.
        let mut keys = BTreeSet::new();
        let mut fresh: Vec<&NewJob> = Vec::new();
        for job in jobs {
            if self.knows(job.id) || absorbed.contains(&job.id) || fresh.iter().any(|it| it.id == job.id) {
                continue;
            }
            let key = job.unique.clone().map(|it| (job.queue.number(), job.tenant, it));
            if self.holder(job).is_some() || key.is_some_and(|it| !keys.insert(it)) {
                absorbed.push(job.id);
            } else {
                fresh.push(job);
            }
        }
        for job in fresh {
            self.take_in(job);
            taken += 1;
        }
        self.gone.extend(absorbed.into_iter().map(|it| (it, self.now_ms)));
        Ok(taken)
    }

    fn take_in(&mut self, new: &NewJob) {
        let known = Known {
            new: new.clone(),
            state: State::Waiting,
            attempt: 0,
            counted: 0,
            deaths: 0,
            seq: 0,
            since_ms: self.now_ms,
            due_ms: new.run_at_ms,
            awaits: BTreeSet::new(),
            cancelling: false,
            finished_ms: None,
            progress: 0,
            error: None,
        };
        let awaited = self.awaited(new);
        self.jobs.insert(new.id, known);
        match awaited {
            Ok(awaits) if awaits.is_empty() => self.wait_until(new.id, due_ms(new)),
            Ok(awaits) => {
                let job = self.job(new.id);
                (job.state, job.due_ms, job.awaits) = (State::Delayed, NEVER_MS, awaits);
            }
            Err(dead) => self.end(new.id, State::Failed, Some(died(dead))),
        }
    }

    fn end(&mut self, id: JobId, to: State, error: Option<String>) {
        self.settle_dependents(id, to == State::Done);
        self.end_alone(id, to, error);
    }

    fn end_alone(&mut self, id: JobId, to: State, error: Option<String>) {
        let now_ms = self.now_ms;
        let job = self.job(id);
        (job.state, job.finished_ms, job.cancelling) = (to, Some(now_ms), false);
        job.awaits.clear();
        job.error = error.or(job.error.take());
        let queue = job.new.queue;
        let rules = queue.rules();
        let kept = if to == State::Done { rules.kept_done } else { rules.kept_failed };
        let ended = self.jobs.values().filter(|it| it.new.queue == queue && it.state == to);
        let mut ended: Vec<_> = ended.map(|it| (it.finished_ms, it.new.id)).collect();
        ended.sort_unstable_by_key(|it| Reverse(*it));
        for (_, id) in ended.into_iter().skip(kept) {
            self.forget(id);
        }
    }

    pub(super) fn forget(&mut self, id: JobId) {
        self.jobs.remove(&id);
        self.gone.insert(id, self.now_ms);
    }

    fn settle_dependents(&mut self, id: JobId, well: bool) {
        let waiting: Vec<JobId> = self.jobs.values().filter(|it| it.awaits.contains(&id)).map(|it| it.new.id).collect();
        for waits in waiting {
            if !well {
                self.settle_dependents(waits, false);
                self.end_alone(waits, State::Failed, Some(died(id)));
                continue;
            }
            let job = self.job(waits);
            job.awaits.remove(&id);
            if job.awaits.is_empty() {
                let due_ms = due_ms(&job.new);
                self.wait_until(waits, due_ms);
            }
        }
    }

    /// Jobs of `queue` that could start now, were there no limit on how many.
    fn candidates(&self, queue: Queue) -> Vec<&Known> {
        let room = self.room();
        let stopped = self.paused.contains(&queue.number());
        let may = |it: &&Known| {
            it.new.queue == queue
                && it.state == State::Waiting
                && !stopped
                && it.new.tenant.is_none_or(|it| !self.paused_tenants.contains(&it))
                && (room > 0 || !it.is_limited())
        };
        self.jobs.values().filter(may).collect()
    }

    fn room(&self) -> usize {
        let last = self.starts.iter().rev().take(5);
        5 - last.filter(|it| **it + 60_000 > self.now_ms).count()
    }

    pub(super) fn running(&self, queue: Queue) -> usize {
        self.jobs.values().filter(|it| it.new.queue == queue && it.state == State::Running).count()
    }

    /// How many leases a claim gives.
    pub(super) fn startable(&self, queue: Queue, take: usize) -> usize {
        let candidates = self.candidates(queue);
        let limited = candidates.iter().filter(|it| it.is_limited()).count();
        let all = candidates.len() - limited + limited.min(self.room());
        let places = queue.rules().cluster_limit.map_or(usize::MAX, |it| it.saturating_sub(self.running(queue)));
        all.min(take).min(places)
    }

    /// Checks that a lease is one that the contract allows, and starts the job.
    pub(super) fn lease(&mut self, queue: Queue, lease: &Lease) {
        let id = lease.job.id;
        let candidates = self.candidates(queue);
        let job = candidates.iter().find(|it| it.new.id == id).unwrap_or_else(|| panic!("{id} may not start"));
        let before = candidates.iter().find(|it| it.line() == job.line() && it.seq < job.seq);
        assert!(before.is_none(), "{id} is not the first of its line");
        let top = candidates.iter().map(|it| it.new.priority).max();
        let aged = job.since_ms <= self.latest_ms - AGED_MS;
        assert!(aged || Some(job.new.priority) == top, "{id} comes before its turn");
        assert_eq!((&lease.job, lease.attempt), (&job.new, job.attempt + 1));
        let (tenant, limited) = (job.new.tenant, job.is_limited());
        for other in self.in_turn(queue) {
            let served = self.served.entry((queue.number(), other)).or_default();
            assert!(other == tenant || served.insert(tenant), "{other:?} waits for a second job of {tenant:?}");
        }
        self.served.remove(&(queue.number(), tenant));
        let job = self.job(id);
        (job.state, job.progress) = (State::Running, 0);
        job.attempt += 1;
        job.counted += 1;
        if limited {
            self.starts.push(self.now_ms);
        }
    }

    /// The tenants that have a part in the turns: by the highest priority, or by age.
    fn in_turn(&self, queue: Queue) -> BTreeSet<Option<TenantId>> {
        let candidates = self.candidates(queue);
        let top = candidates.iter().map(|it| it.new.priority).max();
        let mut heads: BTreeMap<Line, &Known> = BTreeMap::new();
        for job in candidates {
            let head = heads.entry(job.line()).or_insert(job);
            if job.seq < head.seq {
                *head = job;
            }
        }
        let takes_part = |it: &&&Known| Some(it.new.priority) == top || it.since_ms <= self.now_ms - AGED_MS;
        heads.values().filter(takes_part).map(|it| it.new.tenant).collect()
    }

    /// After each act: who has no part in the turns begins anew when it has.
    pub(super) fn forget_turns(&mut self) {
        let parts: Vec<_> = Queue::ALL.into_iter().map(|it| (it.number(), self.in_turn(it))).collect();
        self.served.retain(|(queue, tenant), _| parts.iter().any(|(its, part)| its == queue && part.contains(tenant)));
    }

    pub(super) fn is_current(&self, id: JobId, attempt: u32) -> bool {
        self.jobs.get(&id).is_some_and(|it| it.state == State::Running && it.attempt == attempt)
    }

    pub(super) fn finish(&mut self, id: JobId, attempt: u32, outcome: &Outcome) -> Answer<()> {
        if !self.is_current(id, attempt) {
            return Err("stale_lease");
        }
        let now_ms = self.now_ms;
        let job = self.job(id);
        match outcome {
            Outcome::Done => {
                job.progress = 100;
                self.end(id, State::Done, None);
            }
            _ if job.cancelling => self.end(id, State::Failed, Some(String::from("cancelled"))),
            Outcome::Cancel { error } => self.end(id, State::Failed, Some(error.clone())),
            Outcome::Retry { error, after_ms } => {
                job.error = Some(error.clone());
                if job.counted >= job.new.queue.rules().attempts {
                    self.end(id, State::Failed, None);
                } else {
                    let after_ms = after_ms.expect("the model knows no chance");
                    self.wait_until(id, now_ms + i64::try_from(after_ms).unwrap());
                }
            }
            Outcome::Snooze { after_ms } => {
                job.counted -= 1;
                self.wait_until(id, now_ms + i64::try_from(*after_ms).unwrap());
            }
            Outcome::Release => {
                job.counted -= 1;
                job.state = State::Waiting;
            }
        }
        Ok(())
    }

    pub(super) fn cancel(&mut self, id: JobId) -> Answer<bool> {
        let Some(job) = self.jobs.get_mut(&id) else { return Err("not_found") };
        match job.state {
            State::Done | State::Failed => Err("job_state"),
            State::Running => {
                job.cancelling = true;
                Ok(false)
            }
            State::Waiting | State::Delayed => {
                job.awaits.clear();
                self.settle_dependents(id, false);
                self.forget(id);
                Ok(true)
            }
        }
    }

    pub(super) fn rerun(&mut self, id: JobId) -> Answer<()> {
        let Some(job) = self.jobs.get(&id).cloned() else { return Err("not_found") };
        match job.state {
            State::Delayed if !job.awaits.is_empty() => return Err("job_waits"),
            State::Delayed => self.wait_last(id),
            State::Failed => {
                if self.holder(&job.new).is_some() {
                    return Err("job_unique");
                }
                let awaits = self.awaited(&job.new).map_err(|_| "job_waits")?;
                let job = self.job(id);
                (job.finished_ms, job.counted, job.deaths, job.progress) = (None, 0, 0, 0);
                if awaits.is_empty() {
                    self.wait_last(id);
                } else {
                    (job.state, job.due_ms, job.awaits) = (State::Delayed, NEVER_MS, awaits);
                }
            }
            State::Waiting | State::Running | State::Done => return Err("job_state"),
        }
        Ok(())
    }

    pub(super) fn dismiss(&mut self, id: JobId) -> Answer<()> {
        match self.jobs.get(&id) {
            None => Err("not_found"),
            Some(job) if !job.has_ended() => Err("job_state"),
            Some(_) => {
                self.forget(id);
                Ok(())
            }
        }
    }

    /// All workers have died, and the process starts again.
    pub(super) fn restart(&mut self) {
        let running: Vec<JobId> =
            self.jobs.values().filter(|it| it.state == State::Running).map(|it| it.new.id).collect();
        for id in running {
            let job = self.job(id);
            job.deaths += 1;
            job.progress = 0;
            if job.cancelling {
                self.end(id, State::Failed, Some(String::from("cancelled")));
            } else if job.deaths >= 3 {
                self.end(id, State::Failed, Some(String::from("worker died")));
            } else {
                job.counted -= 1;
                job.state = State::Waiting;
            }
        }
        // The turns begin anew.
        self.served.clear();
    }

    pub(super) fn list(&self, filter: &JobFilter) -> Vec<JobId> {
        let fits = |it: &&Known| {
            filter.queue.is_none_or(|queue| queue == it.new.queue)
                && filter.state.is_none_or(|state| state == it.state)
                && filter.tenant.is_none_or(|tenant| Some(tenant) == it.new.tenant)
                && filter.after.is_none_or(|after| it.new.id < after)
        };
        let limit = usize::try_from(filter.limit).unwrap();
        self.jobs.values().rev().filter(fits).map(|it| it.new.id).take(limit).collect()
    }

    pub(super) fn count(&self, queue: Queue, tenant: Option<TenantId>, state: State) -> u64 {
        let fits = |it: &&Known| {
            it.new.queue == queue && it.state == state && tenant.is_none_or(|tenant| Some(tenant) == it.new.tenant)
        };
        u64::try_from(self.jobs.values().filter(fits).count()).unwrap()
    }
}

/// Long ago, where it is to start at once.
fn due_ms(new: &NewJob) -> i64 {
    new.put_off_until().unwrap_or(i64::MIN)
}

fn died(awaited: JobId) -> String {
    format!("the job {awaited} that it waits for has failed or was cancelled")
}
