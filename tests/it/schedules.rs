//! Schedules from the use case to the queue: rights, due times, what is missed, and one job for one due time whatever dies.

use std::path::Path;

use chainhost::{
    base::{
        clock::{Clock, Hands},
        ids::Id,
        limits::SCHEDULES_MAX,
    },
    domain::{
        access::Actor,
        error::Kind,
        job::{JobId, NewJob, Queue, State},
        node::Duty,
        schedule::{Missed, Template},
        tenant::TenantId,
        user::Role,
    },
    params,
    ports::queue::{Finish, Outcome},
    services::{JobFilter, Services, schedules::NewSchedule},
    store,
};

use crate::support::{base::Base, ground::ground};

/// Monday, 4 May 2026, 06:59:30 UTC.
const START_MS: i64 = 1_777_877_970_000;
const MINUTE_MS: i64 = 60_000;
const NONE: [i64; 0] = [];
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;

/// A server without its sockets, in a folder.
struct Rig {
    services: Services,
    hands: Hands,
    base: Base,
    folder: tempfile::TempDir,
}

fn services(folder: &Path, base: &Base, clock: Clock) -> Services {
    services_with(folder, base, clock, 1_000_000)
}

fn services_with(folder: &Path, base: &Base, clock: Clock, waiting_max: u64) -> Services {
    let jobs = base.open_queue(&clock, waiting_max);
    Services::new(ground(folder, base.open(), jobs, clock))
}

impl Rig {
    /// Fires what is due; when the next one is.
    async fn fire(&self) -> chainhost::domain::Result<Option<i64>> {
        self.services.fire_schedules(&self.services.hold(Duty::Schedule).unwrap()).await
    }

    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (clock, hands) = Clock::manual(START_MS);
        let base = Base::new(folder.path(), "chainhost.db");
        Self { services: services(folder.path(), &base, clock), hands, base, folder }
    }

    fn admin(&self, tenant: u8) -> Actor {
        let tenant = TenantId(Id::from_bytes([tenant; 16]));
        Actor { role: Role::Admin, ..self.services.actor_system(tenant, "test") }
    }

    async fn add(&self, name: &str, cron: &str, missed: Missed) {
        self.services.create_schedule(&self.admin(1), new(name, cron, missed)).await.unwrap();
    }

    /// Fires what is due, hands it to the queue and says when the jobs were due that are waiting there, oldest first.
    async fn due(&self) -> Vec<i64> {
        self.fire().await.unwrap();
        self.services.relay_outbox().await.unwrap();
        let filter = JobFilter { state: Some(State::Waiting), limit: 200, ..JobFilter::default() };
        let jobs = self.services.jobs.list(filter).await.unwrap();
        let mut due: Vec<i64> = jobs.iter().map(|it| it.new.run_at_ms - START_MS).collect();
        for job in jobs {
            assert!(self.services.jobs.cancel(job.new.id).await.unwrap());
        }
        due.sort_unstable();
        due
    }
}

fn new(name: &str, cron: &str, missed: Missed) -> NewSchedule {
    NewSchedule {
        name: name.to_owned(),
        cron: cron.to_owned(),
        zone: String::from("Europe/Berlin"),
        missed,
        template: Template {
            queue: Queue::Backup,
            kind: String::from("backup"),
            payload: String::from("{}"),
            priority: 0,
            title: String::from("Back up"),
        },
    }
}

/// Berlin is two hours ahead in May: 09:00 there comes in half a minute.
#[tokio::test]
async fn a_job_is_asked_for_when_it_is_due() {
    let rig = Rig::new();
    rig.add("nightly", "0 9 * * MON-FRI", Missed::Once).await;
    assert_eq!(rig.fire().await.unwrap(), Some(START_MS + 30_000));
    assert_eq!(rig.due().await, NONE);
    rig.hands.advance(30_000);
    assert_eq!(rig.due().await, [30_000]);
    assert_eq!(rig.due().await, NONE, "once");
    assert_eq!(rig.fire().await.unwrap(), Some(START_MS + 30_000 + DAY_MS));
    // From the expression, not from when it was looked at: 40 s late today, on time tomorrow.
    rig.hands.advance(DAY_MS + 40_000);
    assert_eq!(rig.due().await, [30_000 + DAY_MS]);
    assert_eq!(rig.fire().await.unwrap(), Some(START_MS + 30_000 + 2 * DAY_MS));
}

#[tokio::test]
async fn missed_runs_are_dealt_with_as_each_schedule_says() {
    let rig = Rig::new();
    for (name, missed) in [("skip", Missed::Skip), ("once", Missed::Once), ("all", Missed::All)] {
        let template = Template { kind: name.to_owned(), ..new("", "", missed).template };
        let schedule = NewSchedule { template, ..new(name, "@hourly", missed) };
        rig.services.create_schedule(&rig.admin(1), schedule).await.unwrap();
    }
    rig.hands.advance(3 * 60 * MINUTE_MS);
    rig.fire().await.unwrap();
    rig.services.relay_outbox().await.unwrap();
    let jobs = rig.services.jobs.list(JobFilter { limit: 200, ..JobFilter::default() }).await.unwrap();
    let of = |kind: &str| jobs.iter().filter(|it| it.new.kind == kind).count();
    assert_eq!((of("skip"), of("once"), of("all")), (0, 1, 3));
}

/// The process dies between the firing and the relay, and the clock goes back: still one job for one due time.
#[tokio::test]
async fn one_due_time_is_one_job_whatever_happens() {
    let rig = Rig::new();
    rig.add("nightly", "@hourly", Missed::All).await;
    rig.hands.advance(MINUTE_MS);
    rig.fire().await.unwrap();
    let Rig { services: before, hands, base, folder } = rig;
    let clock = before.clock.clone();
    drop(before);
    let rig = Rig { services: services(folder.path(), &base, clock), hands, base, folder };
    assert_eq!(rig.due().await, [30_000], "the row was durable");
    rig.hands.advance(-MINUTE_MS);
    assert_eq!(rig.due().await, NONE);
    // Made to look again at a time that was fired: the id is known.
    rig.services.pause_schedule(&rig.admin(1), "nightly", true).await.unwrap();
    rig.services.pause_schedule(&rig.admin(1), "nightly", false).await.unwrap();
    assert_eq!(rig.services.list_schedules(&rig.admin(1)).await.unwrap()[0].next_ms, Some(START_MS + 30_000));
    rig.hands.advance(MINUTE_MS);
    assert_eq!(rig.due().await, NONE);
    rig.hands.advance(60 * MINUTE_MS);
    assert_eq!(rig.due().await, [30_000 + 60 * MINUTE_MS]);
}

#[tokio::test]
async fn a_paused_schedule_misses_nothing_and_a_deleted_one_is_gone() {
    let rig = Rig::new();
    rig.add("nightly", "@hourly", Missed::All).await;
    let admin = rig.admin(1);
    rig.services.pause_schedule(&admin, "nightly", true).await.unwrap();
    rig.hands.advance(5 * 60 * MINUTE_MS);
    assert_eq!((rig.due().await, rig.fire().await.unwrap()), (Vec::new(), None));
    rig.services.pause_schedule(&admin, "nightly", false).await.unwrap();
    assert_eq!(rig.due().await, NONE);
    rig.hands.advance(MINUTE_MS);
    assert_eq!(rig.due().await.len(), 1);
    rig.services.delete_schedule(&admin, "nightly").await.unwrap();
    rig.hands.advance(60 * MINUTE_MS);
    assert_eq!(rig.due().await, NONE);
    assert_eq!(rig.services.delete_schedule(&admin, "nightly").await.unwrap_err().kind, Kind::NotFound);
    let events: Vec<String> =
        rig.services.list_audit(&admin, None, 9).await.unwrap().into_iter().map(|it| it.kind).collect();
    assert_eq!(events, ["schedule.deleted", "schedule.resumed", "schedule.paused", "schedule.created"]);
}

/// An admin of the tenant makes them, everybody in it sees them, and nobody else does.
#[tokio::test]
async fn schedules_are_made_by_the_tenants_admins() {
    let rig = Rig::new();
    let user = Actor { role: Role::User, ..rig.admin(1) };
    let refused = rig.services.create_schedule(&user, new("nightly", "@daily", Missed::Skip)).await;
    assert_eq!(refused.unwrap_err().kind, Kind::Forbidden);
    rig.add("nightly", "@daily", Missed::Skip).await;
    assert_eq!(rig.services.pause_schedule(&user, "nightly", true).await.unwrap_err().kind, Kind::Forbidden);
    assert_eq!(rig.services.delete_schedule(&user, "nightly").await.unwrap_err().kind, Kind::Forbidden);
    let seen = rig.services.list_schedules(&user).await.unwrap();
    assert_eq!((seen.len(), seen[0].cron.text(), seen[0].zone.name()), (1, "@daily", "Europe/Berlin"));
    assert!(rig.services.list_schedules(&rig.admin(2)).await.unwrap().is_empty());
    assert_eq!(rig.services.delete_schedule(&rig.admin(2), "nightly").await.unwrap_err().kind, Kind::NotFound);
    let code = async |schedule| rig.services.create_schedule(&rig.admin(1), schedule).await.unwrap_err().code;
    assert_eq!(code(new("nightly", "@daily", Missed::Skip)).await, "schedule_taken");
    assert_eq!(code(new(" ", "@daily", Missed::Skip)).await, "schedule_name");
    assert_eq!(code(new("other", "61 * * * *", Missed::Skip)).await, "cron");
    assert_eq!(code(NewSchedule { zone: String::from("Nowhere"), ..new("o", "@daily", Missed::Skip) }).await, "zone");
    let template = Template { priority: 101, ..new("", "", Missed::Skip).template };
    assert_eq!(code(NewSchedule { template, ..new("o", "@daily", Missed::Skip) }).await, "job_priority");
    rig.services.create_schedule(&rig.admin(2), new("nightly", "@daily", Missed::Skip)).await.unwrap();
}

/// The names of a tenant's schedules are its own, and so is their greatest number.
#[tokio::test]
async fn a_tenant_has_so_many_schedules_and_no_more() {
    let rig = Rig::new();
    for number in 0..SCHEDULES_MAX {
        rig.add(&format!("schedule {number}"), "@daily", Missed::Skip).await;
    }
    let more = rig.services.create_schedule(&rig.admin(1), new("one more", "@daily", Missed::Skip)).await.unwrap_err();
    assert_eq!((more.code, more.kind), ("schedules_max", Kind::Conflict));
    rig.services.create_schedule(&rig.admin(2), new("schedule 1", "@daily", Missed::Skip)).await.unwrap();
    rig.services.delete_schedule(&rig.admin(1), "schedule 7").await.unwrap();
    rig.add("one more", "@daily", Missed::Skip).await;
    assert_eq!(i64::try_from(rig.services.list_schedules(&rig.admin(1)).await.unwrap().len()), Ok(SCHEDULES_MAX));
}

/// A row that this version cannot read is set aside and holds up nobody.
#[tokio::test]
async fn a_schedule_that_cannot_be_read_does_not_stop_the_others() {
    let rig = Rig::new();
    rig.add("broken", "@hourly", Missed::Once).await;
    rig.add("sound", "@hourly", Missed::Once).await;
    let broken = rig
        .services
        .db
        .write(|tx| tx.execute("UPDATE schedule SET zone = 'Moon/Tranquility' WHERE name = $1", params!["broken"]));
    assert_eq!(broken.await.unwrap(), 1);
    rig.hands.advance(MINUTE_MS);
    assert_eq!(rig.due().await, [30_000]);
    rig.hands.advance(60 * MINUTE_MS);
    assert_eq!(rig.due().await, [30_000 + 60 * MINUTE_MS]);
}

/// What the queue refuses holds up nobody else in the outbox.
#[tokio::test]
async fn the_relay_goes_round_what_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (clock, _hands) = Clock::manual(START_MS);
    let base = Base::new(folder.path(), "chainhost.db");
    let services = services_with(folder.path(), &base, clock, 2);
    let job = |tenant: u8, kind: &str| NewJob {
        id: JobId(services.ids.next()),
        queue: Queue::Email,
        kind: kind.to_owned(),
        tenant: Some(TenantId(Id::from_bytes([tenant; 16]))),
        payload: String::new(),
        priority: 0,
        run_at_ms: 0,
        title: String::new(),
        created_ms: START_MS,
        unique: Some(format!("{tenant} {kind}")),
        after: vec![JobId(services.ids.next())],
    };
    let never = job(2, "");
    let crowd = [job(1, "a"), job(1, "b"), job(1, "c"), job(1, "d")];
    let others = [job(2, "a"), job(3, "a")];
    let asked = services.db.write(move |tx| store::outbox::enqueue(tx, &never));
    assert_eq!(asked.await.unwrap_err().code, "job_kind", "what nobody could take is not even asked for");
    let rows = [crowd.to_vec(), others.to_vec()].concat();
    let asked = services.db.write(move |tx| rows.iter().try_for_each(|it| store::outbox::enqueue(tx, it)));
    asked.await.unwrap();
    assert_eq!(services.relay_outbox().await.unwrap(), 4);
    for (job, taken) in
        [(&crowd[0], true), (&crowd[1], true), (&crowd[2], false), (&others[0], true), (&others[1], true)]
    {
        let found = services.jobs.get(job.id).await.unwrap();
        assert_eq!(found.map(|it| it.new), taken.then(|| job.clone()));
    }
    assert_eq!(services.relay_outbox().await.unwrap(), 0, "the tenant is still crowded");
    assert!(services.jobs.cancel(crowd[0].id).await.unwrap() && services.jobs.cancel(crowd[1].id).await.unwrap());
    assert_eq!(services.relay_outbox().await.unwrap(), 2);
    assert!(services.jobs.get(crowd[3].id).await.unwrap().is_some());
}

/// By hand at any time, also while it is paused; and the newest job says how the last run ended.
#[tokio::test]
async fn a_schedule_is_run_now_and_tells_how_its_last_run_ended() {
    let rig = Rig::new();
    rig.add("nightly", "@hourly", Missed::Once).await;
    rig.add("other", "@hourly", Missed::Once).await;
    let admin = rig.admin(1);
    let last = async || {
        let views = rig.services.list_schedules_with_last(&admin).await.unwrap();
        let names: Vec<_> = views.iter().map(|it| it.schedule.name.clone()).collect();
        assert_eq!(names, ["nightly", "other"]);
        views.into_iter().map(|it| it.last.map(|it| (it.new.id, it.state))).collect::<Vec<_>>()
    };
    assert_eq!(last().await, [None, None]);
    let user = Actor { role: Role::User, ..rig.admin(1) };
    assert_eq!(rig.services.run_schedule(&user, "nightly").await.unwrap_err().kind, Kind::Forbidden);
    assert_eq!(rig.services.run_schedule(&rig.admin(2), "nightly").await.unwrap_err().kind, Kind::NotFound);
    let before = rig.services.list_schedules(&admin).await.unwrap()[0].next_ms;
    let job = rig.services.run_schedule(&admin, "nightly").await.unwrap();
    rig.services.relay_outbox().await.unwrap();
    assert_eq!(rig.services.list_schedules(&admin).await.unwrap()[0].next_ms, before, "the next time stays");
    assert_eq!(last().await, [Some((job, State::Waiting)), None]);

    let lease = rig.services.jobs.next(Queue::Backup, 1, Vec::new()).await.unwrap().1.remove(0);
    assert_eq!(lease.job.id, job);
    let end = Finish { id: job, attempt: lease.attempt, outcome: Outcome::Cancel { error: String::from("No disk.") } };
    rig.services.jobs.next(Queue::Backup, 0, vec![end]).await.unwrap();
    assert_eq!(last().await, [Some((job, State::Failed)), None]);
    // What is due later is newer.
    rig.hands.advance(MINUTE_MS);
    rig.fire().await.unwrap();
    rig.services.relay_outbox().await.unwrap();
    let both = last().await;
    assert!(both[0].is_some_and(|(id, state)| id != job && state == State::Waiting) && both[1].is_some(), "{both:?}");
    rig.services.pause_schedule(&admin, "other", true).await.unwrap();
    rig.services.run_schedule(&admin, "other").await.unwrap();
    assert_eq!(rig.services.list_schedules(&admin).await.unwrap()[1].next_ms, None);
    let events = rig.services.list_audit(&admin, None, 9).await.unwrap();
    assert_eq!(events.iter().filter(|it| it.kind == "schedule.run").count(), 2);
}
