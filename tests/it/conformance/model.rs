//! Random lives of a queue, checked against a model that fits on one page: no job is lost, none ends twice,
//! each tenant's jobs come in their order, and no tenant waits for two jobs of another.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use chainhost::{
    base::{
        clock::Clock,
        ids::{Id, Ids},
    },
    domain::{
        job::{JobId, NewJob, Queue, State},
        tenant::TenantId,
    },
    ports::queue::{Finish, Jobs, Lease, Outcome},
};
use proptest::prelude::*;

use super::{Place, queue::START_MS};

#[derive(Clone, Debug)]
enum Act {
    Enqueue(u8, usize),
    Claim(usize),
    /// Which of the leases, and how it ends.
    Finish(usize, End),
    Restart,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Done,
    Release,
    Again,
    Cancel,
}

fn act() -> impl Strategy<Value = Act> {
    let end = prop_oneof![4 => Just(End::Done), 1 => Just(End::Release), 1 => Just(End::Again), 1 => Just(End::Cancel)];
    prop_oneof![
        4 => (0..3_u8, 1..6_usize).prop_map(|(tenant, count)| Act::Enqueue(tenant, count)),
        4 => (1..5_usize).prop_map(Act::Claim),
        6 => (any::<usize>(), end).prop_map(|(which, end)| Act::Finish(which, end)),
        1 => Just(Act::Restart),
    ]
}

#[derive(Default)]
struct Model {
    /// By tenant: the place in the line, and the job.
    waiting: BTreeMap<u8, BTreeMap<u64, JobId>>,
    /// Where each job stands in its line, how often its worker died, and its counted attempts.
    jobs: HashMap<JobId, (u8, u64, u32, u32)>,
    leases: Vec<Lease>,
    ended: HashSet<JobId>,
    places: u64,
    /// Who was served since each waiting tenant began to wait.
    served: BTreeMap<u8, BTreeSet<u8>>,
}

impl Model {
    fn wait(&mut self, id: JobId, place: u64) {
        let tenant = self.jobs[&id].0;
        self.served.entry(tenant).or_default();
        self.waiting.entry(tenant).or_default().insert(place, id);
    }

    fn last(&mut self) -> u64 {
        self.places += 1;
        self.places
    }

    fn claimed(&mut self, lease: Lease) {
        let id = lease.job.id;
        assert!(!self.ended.contains(&id), "an ended job was leased");
        let tenant = self.jobs[&id].0;
        let line = self.waiting.get_mut(&tenant).expect("a tenant that waits");
        assert_eq!(line.pop_first().map(|it| it.1), Some(id), "not the first of its tenant");
        if line.is_empty() {
            self.waiting.remove(&tenant);
        }
        self.served.remove(&tenant);
        for (other, served) in &mut self.served {
            assert!(served.insert(tenant), "{other} waits for a second job of {tenant}");
        }
        if self.waiting.contains_key(&tenant) {
            self.served.insert(tenant, BTreeSet::new());
        }
        if let Some((.., attempts)) = self.jobs.get_mut(&id) {
            *attempts += 1;
        }
        self.leases.push(lease);
    }

    fn ended(&mut self, lease: &Lease, end: End) {
        let id = lease.job.id;
        let (_, place, _, attempts) = self.jobs[&id];
        match end {
            End::Release => {
                self.uncount(id);
                self.wait(id, place);
            }
            End::Again if attempts < Queue::Deploy.rules().attempts => {
                let place = self.last();
                if let Some(job) = self.jobs.get_mut(&id) {
                    job.1 = place;
                }
                self.wait(id, place);
            }
            End::Done | End::Cancel | End::Again => assert!(self.ended.insert(id), "ended twice"),
        }
    }

    fn uncount(&mut self, id: JobId) {
        if let Some((.., attempts)) = self.jobs.get_mut(&id) {
            *attempts -= 1;
        }
    }

    fn restarted(&mut self) {
        for lease in std::mem::take(&mut self.leases) {
            let id = lease.job.id;
            self.uncount(id);
            let (_, place, deaths, _) = self.jobs.get_mut(&id).expect("known");
            *deaths += 1;
            let (place, dead) = (*place, *deaths == 3);
            if dead {
                assert!(self.ended.insert(id));
            } else {
                self.wait(id, place);
            }
        }
        // The turns begin anew.
        self.served.values_mut().for_each(BTreeSet::clear);
    }
}

fn outcome(end: End) -> Outcome {
    match end {
        End::Done => Outcome::Done,
        End::Release => Outcome::Release,
        End::Again => Outcome::Retry { error: String::from("again"), after_ms: Some(0) },
        End::Cancel => Outcome::Cancel { error: String::from("never") },
    }
}

/// Lives one life, then ends all that is left.
async fn live(place: &dyn Place, acts: Vec<Act>) {
    let (clock, _hands) = Clock::manual(START_MS);
    let ids = Ids::new(clock.clone());
    let mut jobs = Jobs::new(place.open(clock.clone(), 1_000_000));
    let mut model = Model::default();
    for act in acts {
        match act {
            Act::Enqueue(tenant, count) => {
                let new: Vec<NewJob> = (0..count).map(|_| new_job(JobId(ids.next()), tenant)).collect();
                jobs.enqueue(new.clone()).await.unwrap();
                for job in new {
                    let place = model.last();
                    model.jobs.insert(job.id, (tenant, place, 0, 0));
                    model.wait(job.id, place);
                }
            }
            Act::Claim(take) => claim(&jobs, &mut model, take).await,
            Act::Finish(_, _) if model.leases.is_empty() => {}
            Act::Finish(which, end) => {
                let lease = model.leases.swap_remove(which % model.leases.len());
                finish(&jobs, &lease, end).await;
                model.ended(&lease, end);
            }
            Act::Restart => {
                drop(jobs);
                jobs = Jobs::new(place.open(clock.clone(), 1_000_000));
                model.restarted();
            }
        }
        let depth = jobs.depths(None).await.unwrap()[0];
        let waiting: usize = model.waiting.values().map(BTreeMap::len).sum();
        let counts = [depth.waiting, depth.running, depth.done + depth.failed].map(|it| usize::try_from(it).unwrap());
        assert_eq!(counts[..2], [waiting, model.leases.len()]);
        assert!(counts[2] <= model.ended.len());
    }
    while !model.leases.is_empty() || !model.waiting.is_empty() {
        for lease in std::mem::take(&mut model.leases) {
            finish(&jobs, &lease, End::Done).await;
            model.ended(&lease, End::Done);
        }
        claim(&jobs, &mut model, 50).await;
    }
    assert_eq!(model.ended.len(), model.jobs.len(), "a job was lost");
    for id in model.ended {
        let state = jobs.get(id).await.unwrap().map(|it| it.state);
        assert!(matches!(state, None | Some(State::Done | State::Failed)));
    }
}

fn new_job(id: JobId, tenant: u8) -> NewJob {
    NewJob {
        id,
        queue: Queue::Deploy,
        kind: String::from("test"),
        tenant: Some(TenantId(Id::from_bytes([tenant + 1; 16]))),
        payload: String::new(),
        priority: 0,
        run_at_ms: 0,
        title: String::new(),
        created_ms: START_MS,
        unique: None,
        after: Vec::new(),
    }
}

async fn claim(jobs: &Jobs, model: &mut Model, take: usize) {
    let waiting: usize = model.waiting.values().map(BTreeMap::len).sum();
    let (_, leases) = jobs.next(Queue::Deploy, take, Vec::new()).await.unwrap();
    assert_eq!(leases.len(), take.min(waiting));
    for lease in leases {
        model.claimed(lease);
    }
}

async fn finish(jobs: &Jobs, lease: &Lease, end: End) {
    let finish = Finish { id: lease.job.id, attempt: lease.attempt, outcome: outcome(end) };
    let again = finish.clone();
    jobs.next(Queue::Deploy, 0, vec![finish]).await.unwrap().0.remove(0).unwrap();
    let twice = jobs.next(Queue::Deploy, 0, vec![again]).await.unwrap().0.remove(0);
    assert_eq!(twice.unwrap_err().code, "stale_lease");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn random_lives_follow_the_model(acts in prop::collection::vec(act(), 1..60)) {
        let place = crate::queue_redb::MemoryPlace::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(live(&place, acts));
    }
}
