//! Schedules: made and ended by people, and fired by a task.
//!
//! INVARIANT: the outbox rows of what is due and the step to the next due time are one transaction, and a job's id is made of
//! schedule and due time. So one due time is one job, whatever dies when.

use std::collections::HashMap;

use crate::{
    base::{ids::Id, limits::PAGE_ROWS_MAX},
    domain::{
        Error, Kind, Result,
        access::{Actor, Right},
        cron::Cron,
        event::Event,
        job::{Job, JobId, Queue},
        node::Topic,
        schedule::{Chore, Firing, Missed, Schedule, ScheduleId, Template, Times},
        site::{Site, SiteName},
        zone::Zone,
    },
    ports::{db::WriteTx, queue::JobFilter},
    store,
};

use super::{Services, access, check_files, nodes::Hold};

/// Schedules fired in one transaction.
const FIRED_AT_ONCE: i64 = 256;
/// Characters of a schedule's name.
const NAME_CHARS_MAX: usize = 60;

/// What a schedule is made of.
#[derive(Clone, Debug)]
pub struct NewSchedule {
    /// Its name, one in the tenant.
    pub name: String,
    /// When: five fields, or a word such as `@daily`.
    pub cron: String,
    /// In which IANA time zone.
    pub zone: String,
    /// What becomes of missed runs.
    pub missed: Missed,
    /// What it asks for.
    pub template: Template,
}

/// What people say to make a schedule.
#[derive(Clone, Debug, Default)]
pub struct WantedSchedule {
    /// Its name, one in the tenant: 1 to 60 characters.
    pub name: String,
    /// When: five fields, or a word such as `@daily`.
    pub cron: String,
    /// In which IANA time zone.
    pub zone: String,
    /// What becomes of missed runs: `skip`, `once`, `all`.
    pub missed: String,
    /// What it asks for: the word of a [`Chore`].
    pub kind: String,
    /// For which site; `None`: for all of the tenant.
    pub site: Option<String>,
}

/// A schedule as people see it.
#[derive(Clone, Debug)]
pub struct ScheduleView {
    /// What it is.
    pub schedule: Schedule,
    /// The newest job that it has asked for, when the queue still knows it.
    pub last: Option<Job>,
}

impl Services {
    /// Makes the schedule that somebody asks for. What they got wrong is told with its field.
    pub async fn add_schedule(&self, actor: &Actor, wanted: WantedSchedule) -> Result<Schedule> {
        actor.require(Right::ManageTenant)?;
        let WantedSchedule { name, cron, zone, missed, kind, site } = wanted;
        let missed = Missed::parse(&missed)?;
        let template = match Chore::parse(&kind)? {
            Chore::CheckFiles => {
                let site = match site {
                    Some(name) => Some(self.site_of_schedule(actor, &name).await?),
                    None => None,
                };
                check_files::template(site)?
            }
        };
        self.create_schedule(actor, NewSchedule { name, cron, zone, missed, template }).await
    }

    async fn site_of_schedule(&self, actor: &Actor, name: &str) -> Result<Site> {
        let unknown = || Error::invalid("schedule_site", format!("There is no site `{name}`.")).on("site");
        let parsed = SiteName::parse(name).map_err(|_| unknown())?;
        match self.get_site(actor, &parsed).await {
            Ok(found) => Ok(found.site),
            Err(error) if error.kind == Kind::NotFound => Err(unknown()),
            Err(error) => Err(error),
        }
    }

    /// The next times of a schedule that is not made yet, at most `count`.
    pub fn preview_schedule(&self, actor: &Actor, cron: &str, zone: &str, count: usize) -> Result<Vec<i64>> {
        actor.require(Right::ManageTenant)?;
        let times = Times { cron: Cron::parse(cron)?, zone: Zone::parse(zone)? };
        Ok(times.upcoming(self.clock.now_ms(), count))
    }

    /// Makes a schedule in the actor's tenant. It is first due at the next time that its expression names.
    pub async fn create_schedule(&self, actor: &Actor, new: NewSchedule) -> Result<Schedule> {
        let scope = actor.require(Right::ManageTenant)?;
        let now = self.clock.now_ms();
        let mut schedule = Schedule {
            id: self.ids.next().into(),
            tenant: scope.tenant(),
            name: check_name(&new.name)?,
            cron: Cron::parse(&new.cron)?,
            zone: Zone::parse(&new.zone)?,
            missed: new.missed,
            template: new.template,
            paused: false,
            next_ms: None,
            created_ms: now,
        };
        schedule.next_ms = schedule.next_after(now);
        // What the queue would refuse, it would refuse each time.
        schedule.job(now, now).check()?;
        let (services, actor) = (self.clone(), actor.clone());
        self.db
            .write(move |tx| {
                if store::schedules::find(tx, scope, &schedule.name)?.is_some() {
                    let text = format!("There is a schedule `{}` already.", schedule.name);
                    return Err(Error::conflict("schedule_taken", text).on("name"));
                }
                if store::schedules::count(tx, scope)? >= crate::base::limits::SCHEDULES_MAX {
                    let text = format!("A tenant has at most {} schedules.", crate::base::limits::SCHEDULES_MAX);
                    return Err(Error::conflict("schedules_max", text));
                }
                store::schedules::insert(tx, scope, &schedule)?;
                let text = format!("made the schedule {} ({})", schedule.name, schedule.cron.text());
                services.changed_schedule(tx, &actor, "schedule.created", &schedule.name, text)?;
                Ok(schedule)
            })
            .await
    }

    /// The schedules of the actor's tenant, by name.
    pub async fn list_schedules(&self, actor: &Actor) -> Result<Vec<Schedule>> {
        let scope = actor.require(Right::Read)?;
        self.db.read_near(scope, move |tx| store::schedules::list(tx, scope, crate::base::limits::SCHEDULES_MAX)).await
    }

    /// One schedule by its name.
    pub async fn get_schedule(&self, actor: &Actor, name: &str) -> Result<Schedule> {
        let scope = actor.require(Right::Read)?;
        let name = name.to_owned();
        let found = self.db.read(move |tx| store::schedules::find(tx, scope, &name)).await?;
        found.ok_or_else(|| Error::not_found("schedule"))
    }

    /// The same with the newest job that each has asked for, as long as the queue keeps it.
    pub async fn list_schedules_with_last(&self, actor: &Actor) -> Result<Vec<ScheduleView>> {
        let schedules = self.list_schedules(actor).await?;
        let mut last: HashMap<ScheduleId, Job> = HashMap::new();
        for queue in Queue::ALL {
            let of: Vec<_> = schedules.iter().filter(|it| it.template.queue == queue).collect();
            if of.is_empty() {
                continue;
            }
            let tenant = Some(actor.scope.tenant());
            let filter = JobFilter { queue: Some(queue), tenant, limit: PAGE_ROWS_MAX, ..JobFilter::default() };
            // Newest first. An id tells which schedule has asked for it.
            for job in self.jobs.list(filter).await? {
                if let Some(schedule) = of.iter().find(|it| it.asked_for(&job.new)) {
                    last.entry(schedule.id).or_insert(job);
                }
            }
        }
        let view = |schedule: Schedule| ScheduleView { last: last.remove(&schedule.id), schedule };
        Ok(schedules.into_iter().map(view).collect())
    }

    /// Asks for the job of a schedule now, also while it is paused. When it is due next stays as it is.
    pub async fn run_schedule(&self, actor: &Actor, name: &str) -> Result<JobId> {
        let scope = actor.require(Right::ManageTenant)?;
        let (services, actor, name) = (self.clone(), actor.clone(), name.to_owned());
        self.db
            .write(move |tx| {
                let found = store::schedules::find(tx, scope, &name)?.ok_or_else(|| Error::not_found("schedule"))?;
                let now = services.clock.now_ms();
                let job = found.job(now, now);
                store::outbox::enqueue(tx, &job)?;
                let event = Event::new("schedule.run", "schedule", &name, format!("ran the schedule {name} now"));
                services.record(tx, &actor, &event)?;
                tx.after_commit(move || services.outbox_has(job.id));
                Ok(job.id)
            })
            .await
    }

    /// Stops a schedule, or starts it again at the next time that its expression names: what was due meanwhile was not
    /// missed, since nobody wanted it.
    pub async fn pause_schedule(&self, actor: &Actor, name: &str, paused: bool) -> Result<()> {
        let scope = actor.require(Right::ManageTenant)?;
        let (services, actor, name) = (self.clone(), actor.clone(), name.to_owned());
        self.db
            .write(move |tx| {
                let found = store::schedules::find(tx, scope, &name)?.ok_or_else(|| Error::not_found("schedule"))?;
                if found.paused == paused {
                    return Ok(());
                }
                let next_ms = if paused { None } else { found.next_after(services.clock.now_ms()) };
                store::schedules::change_paused(tx, scope, found.id, paused, next_ms)?;
                let (kind, word) = if paused { ("schedule.paused", "paused") } else { ("schedule.resumed", "resumed") };
                services.changed_schedule(tx, &actor, kind, &name, format!("{word} the schedule {name}"))
            })
            .await
    }

    /// Removes a schedule. Jobs that it has asked for stay.
    pub async fn delete_schedule(&self, actor: &Actor, name: &str) -> Result<()> {
        let scope = actor.require(Right::ManageTenant)?;
        let (services, actor, name) = (self.clone(), actor.clone(), name.to_owned());
        self.db
            .write(move |tx| {
                let found = store::schedules::find(tx, scope, &name)?.ok_or_else(|| Error::not_found("schedule"))?;
                store::schedules::delete(tx, scope, found.id)?;
                let text = format!("deleted the schedule {name}");
                services.changed_schedule(tx, &actor, "schedule.deleted", &name, text)
            })
            .await
    }

    fn changed_schedule(
        &self,
        tx: &mut WriteTx<'_>,
        actor: &Actor,
        kind: &'static str,
        name: &str,
        text: String,
    ) -> Result<()> {
        self.record(tx, actor, &Event::new(kind, "schedule", &name, text))?;
        self.tell(tx, Topic::Schedules)
    }

    /// Asks for the jobs of all schedules that are due; when the next one is.
    pub async fn fire_schedules(&self, hold: &Hold) -> Result<Option<i64>> {
        let leave = access::server_scope();
        loop {
            let now = self.clock.now_ms();
            let due = self.db.read(move |tx| store::schedules::list_due(tx, leave, now, FIRED_AT_ONCE)).await?;
            if due.is_empty() {
                return self.db.read(move |tx| store::schedules::find_next(tx, leave)).await;
            }
            let (services, hold) = (self.clone(), *hold);
            let fired = self.db.write(move |tx| {
                services.check_hold(tx, &hold)?;
                services.fire(tx, due, now)
            });
            fired.await?;
        }
    }

    fn fire(
        &self,
        tx: &mut WriteTx<'_>,
        due: Vec<Result<Schedule, store::schedules::Unreadable>>,
        now_ms: i64,
    ) -> Result<()> {
        for found in due {
            let schedule = match found {
                Ok(schedule) => schedule,
                Err(it) => {
                    tracing::error!(schedule = %it.id, error = %it.error, "a schedule cannot be read and is set aside");
                    store::schedules::advance(tx, access::task_scope(it.tenant), it.id, it.next_ms, None)?;
                    continue;
                }
            };
            let scope = access::task_scope(schedule.tenant);
            let Some(Firing { due_ms, next_ms, cut }) = schedule.fire(now_ms) else { continue };
            if !store::schedules::advance(tx, scope, schedule.id, schedule.next_ms, next_ms)? {
                continue;
            }
            if cut {
                tracing::warn!(schedule = %schedule.id, "more runs were missed than are made up for");
            }
            for due_ms in due_ms {
                let job = schedule.job(due_ms, now_ms);
                store::outbox::enqueue(tx, &job)?;
                let services = self.clone();
                tx.after_commit(move || services.outbox_has(job.id));
            }
        }
        Ok(())
    }
}

fn check_name(name: &str) -> Result<String> {
    let name = name.trim();
    // What looks like an id would be taken for one.
    if name.is_empty()
        || name.chars().count() > NAME_CHARS_MAX
        || name.chars().any(char::is_control)
        || name.parse::<Id>().is_ok()
    {
        let text = format!("Give the schedule a name of 1 to {NAME_CHARS_MAX} characters, such as `nightly`.");
        return Err(Error::invalid("schedule_name", text).on("name"));
    }
    Ok(name.to_owned())
}
