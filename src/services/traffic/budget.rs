//! The traffic budget of sites: how much of it a month has used, and that somebody hears of it, once for each site, month and level.

use std::collections::{HashMap, HashSet};

use crate::{
    base::{hash::Sha256, ids::Id, units::ByteSize},
    domain::{Result, access::TenantScope, event::Event, job::JobId, month::Month, site::SiteId},
    ports::db::{ReadTx, WriteTx},
    store,
};

use super::{Services, access};

/// Percent of a budget at which it is told.
const LEVELS: [u64; 2] = [80, 100];

/// A site with a budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// The site.
    pub site: SiteId,
    /// Its name.
    pub name: String,
    /// Bytes a month.
    pub bytes: u64,
}

/// How much a site has sent in the month that is under way.
pub(super) fn sent_in_month(tx: &mut ReadTx<'_>, scope: TenantScope, site: SiteId, now_ms: i64) -> Result<u64> {
    store::traffic::sum_bytes(tx, scope, site, Month::of(now_ms).range_ms())
}

/// The highest level that is reached, in percent.
fn level(sent: u64, budget: u64) -> Option<u64> {
    LEVELS.into_iter().rev().find(|it| u128::from(sent) * 100 >= u128::from(budget) * u128::from(*it))
}

impl Services {
    /// Looks how much of their budgets sites have used, and tells what was not told yet; those that have used up theirs.
    pub async fn watch_budgets(&self, budgets: Vec<Budget>) -> Result<Vec<SiteId>> {
        if budgets.is_empty() {
            return Ok(Vec::new());
        }
        let (leave, now) = (access::server_scope(), self.clock.now_ms());
        let read = move |tx: &mut ReadTx<'_>| {
            let sites: Vec<SiteId> = budgets.iter().map(|it| it.site).collect();
            let month = Month::of(now);
            let sent = store::traffic::list_sent(tx, leave, &sites, month.range_ms())?;
            let mut sent: HashMap<_, _> =
                sent.into_iter().map(|(site, tenant, bytes)| (site, (tenant, bytes))).collect();
            let mut found = Vec::new();
            for budget in budgets {
                let Some((tenant, sent)) = sent.remove(&budget.site) else { continue };
                let Some(level) = level(sent, budget.bytes) else { continue };
                let (job, _) = mark(&budget, level, month);
                found.push((access::task_scope(tenant), budget, sent, level, job));
            }
            let jobs: Vec<_> = found.iter().map(|it| (it.1.site, it.4)).collect();
            let told: HashSet<JobId> = store::effects::list_taken(tx, leave, &jobs)?.into_iter().collect();
            Ok((found, told))
        };
        let mut used_up = Vec::new();
        let (found, told) = self.db.read(read).await?;
        for (scope, budget, sent, level, job) in found {
            used_up.extend((level == 100).then_some(budget.site));
            if !told.contains(&job) {
                self.tell_budget(scope, budget, sent, level).await?;
            }
        }
        Ok(used_up)
    }

    /// Tells it, unless another node has meanwhile.
    async fn tell_budget(&self, scope: TenantScope, budget: Budget, sent: u64, level: u64) -> Result<()> {
        let month = Month::of(self.clock.now_ms());
        let (job, word) = mark(&budget, level, month);
        let (services, name) = (self.clone(), budget.name.clone());
        let tell = move |tx: &mut WriteTx<'_>| {
            if !store::effects::take(tx, scope, job, &word, services.clock.now_ms())? {
                return Ok(false);
            }
            let text = sentence(&budget, sent, level, month);
            let actor = services.actor_system(scope.tenant(), "traffic");
            services.record(tx, &actor, &Event::new("site.traffic_used", "site", &budget.name, text)).map(|()| true)
        };
        if self.db.write(tell).await? {
            tracing::warn!(site = name, sent, percent = level, "a site has used much of its traffic of this month");
        }
        Ok(())
    }
}

/// By what it is known that something was told.
fn mark(budget: &Budget, level: u64, month: Month) -> (JobId, String) {
    let word = format!("traffic {} {month} {level} {}", budget.site, budget.bytes);
    (JobId(Id::derived(month.start_ms(), Sha256::of(word.as_bytes()).0)), word)
}

fn sentence(budget: &Budget, sent: u64, level: u64, month: Month) -> String {
    let (name, sent, whole) = (&budget.name, ByteSize(sent), ByteSize(budget.bytes));
    let used = if level >= 100 { String::from("all") } else { format!("{level} %") };
    format!("saw that {name} has used {used} of its traffic of {month}: {sent} of {whole}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_reached_exactly() {
        let all = [79, 80, 99, 100, 101].map(|it| level(it, 100));
        assert_eq!(all, [None, Some(80), Some(80), Some(100), Some(100)]);
        assert_eq!(level(u64::MAX, u64::MAX), Some(100));
    }
}
