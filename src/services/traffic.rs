//! What visitors of sites asked for: stored in sums, told for a span of time, and removed when it is old.
//!
//! Sums are added to what other nodes have written. What a database did not take is given back to who counts; of a commit whose fate is
//! not known nothing is, since an answer counted twice is worse than one that is missing.

mod budget;
mod prune;
mod report;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use crate::{
    base::{limits, random},
    domain::{
        Error, Result,
        access::TenantScope,
        site::SiteId,
        tenant::TenantId,
        traffic::{
            Counts, DAY_MS, Period,
            sums::SiteSums,
            tops::{self, Kind},
            visitors::Visitors,
        },
    },
    ports::db::WriteTx,
    store::{self, traffic::Key},
};

use super::{Services, access};

pub use self::{
    budget::Budget,
    report::{Report, Span, Tops, Used},
};
pub use crate::store::traffic::Sum;

/// Sums of some sites on their way into the database.
pub type Batch = Vec<(SiteId, SiteSums)>;

/// Sketches or lists of one hour or day.
type Beside<T> = BTreeMap<(Period, i64), BTreeMap<SiteId, T>>;

impl Services {
    /// Adds sums to those that are stored; those of sites that are not there any more are let go. What comes back was not stored. Behind a long
    /// time without a database there is much: no transaction has more than [`limits::TRAFFIC_WEIGHT_MAX`] of it.
    pub async fn keep_traffic(&self, batch: Batch) -> Result<(), (Error, Batch)> {
        let mut parts = parts(batch).into_iter();
        while let Some(part) = parts.next() {
            if let Err((error, left)) = self.keep_part(part).await {
                return Err((error, left.into_iter().chain(parts.flatten()).collect()));
            }
        }
        Ok(())
    }

    async fn keep_part(&self, batch: Batch) -> Result<(), (Error, Batch)> {
        let leave = access::server_scope();
        let batch = Arc::new(batch);
        let stored = Arc::clone(&batch);
        let kept = self.db.write(move |tx| {
            let sites: Vec<SiteId> = stored.iter().map(|it| it.0).collect();
            let tenants: HashMap<SiteId, TenantId> =
                store::traffic::list_tenants(tx, leave, &sites)?.into_iter().collect();
            let mut of_tenants: BTreeMap<TenantId, Vec<(SiteId, &SiteSums)>> = BTreeMap::new();
            for (site, sums) in &*stored {
                if let Some(tenant) = tenants.get(site) {
                    of_tenants.entry(*tenant).or_default().push((*site, sums));
                }
            }
            of_tenants.into_iter().try_for_each(|(tenant, sites)| keep(tx, access::task_scope(tenant), &sites))
        });
        match kept.await {
            Ok(()) => Ok(()),
            Err(error) if error.code == "database_unsure" => Err((error, Batch::new())),
            Err(error) => Err((error, Arc::unwrap_or_clone(batch))),
        }
    }

    /// The salts of today, and of tomorrow when that is near; made by the first node that asks. Those of days that are over are thrown away.
    pub async fn visit_salts(&self) -> Result<Vec<(i64, [u8; 32])>> {
        let now = self.clock.now_ms();
        let today = Period::Day.start_of(now);
        let wanted: Vec<i64> = if Period::Day.start_of(now.saturating_add(limits::TRAFFIC_SALT_AHEAD_MS)) == today {
            vec![today]
        } else {
            vec![today, today.saturating_add(DAY_MS)]
        };
        let known = self.db.read(store::traffic::list_salts).await?;
        let has = |known: &[(i64, [u8; 32])], day: i64| known.iter().any(|it| it.0 == day);
        if wanted.iter().all(|it| has(&known, *it)) && known.iter().all(|it| it.0 >= today) {
            return Ok(known);
        }
        self.db
            .write(move |tx| {
                store::traffic::delete_salts(tx, today)?;
                let known = store::traffic::list_salts(tx)?;
                for day in wanted.iter().filter(|it| !has(&known, **it)) {
                    store::traffic::insert_salt(tx, *day, random::bytes())?;
                }
                store::traffic::list_salts(tx)
            })
            .await
    }
}

/// Parts of a batch that one transaction has room for.
fn parts(batch: Batch) -> Vec<Batch> {
    let (mut parts, mut part, mut weight) = (Vec::new(), Batch::new(), 0);
    for (site, mut sums) in batch {
        while sums.weight() > 0 {
            let room = limits::TRAFFIC_WEIGHT_MAX.saturating_sub(weight);
            if sums.weight() > room && !part.is_empty() {
                parts.push(std::mem::take(&mut part));
                weight = 0;
                continue;
            }
            let first = if sums.weight() > room { sums.split_first(room) } else { std::mem::take(&mut sums) };
            weight += first.weight();
            part.push((site, first));
        }
    }
    if !part.is_empty() {
        parts.push(part);
    }
    parts
}

/// Adds the sums of sites of one tenant.
fn keep(tx: &mut WriteTx<'_>, scope: TenantScope, sites: &[(SiteId, &SiteSums)]) -> Result<()> {
    let mut sums: BTreeMap<Key, Counts> = BTreeMap::new();
    let mut visitors: Beside<Visitors> = BTreeMap::new();
    let mut lists: Beside<[Vec<(String, u64)>; 4]> = BTreeMap::new();
    for (site, of_site) in sites {
        for (start_ms, counts) in &of_site.minutes {
            for period in Period::ALL {
                let key = Key { site: *site, period, start_ms: period.start_of(*start_ms) };
                sums.entry(key).or_default().add(counts);
            }
        }
        for (start_ms, hour) in &of_site.hours {
            for period in [Period::Hour, Period::Day] {
                let at = (period, period.start_of(*start_ms));
                if !hour.visitors.is_empty() {
                    visitors.entry(at).or_default().entry(*site).or_default().join(&hour.visitors);
                }
                if hour.tops.iter().all(tops::Tops::is_empty) {
                    continue;
                }
                let own = lists.entry(at).or_default().entry(*site).or_default();
                for (list, more) in own.iter_mut().zip(&hour.tops) {
                    list.extend(more.clone().certain());
                }
            }
        }
    }
    let visits = keep_visitors(tx, scope, visitors)?;
    keep_lists(tx, scope, lists)?;
    let rows: Vec<(Key, Counts, u64)> =
        sums.into_iter().map(|(key, counts)| (key, counts, visits.get(&key).copied().unwrap_or(0))).collect();
    store::traffic::add(tx, scope, &rows)
}

/// Joins sketches with those that are stored; how many visitors each has by now.
fn keep_visitors(tx: &mut WriteTx<'_>, scope: TenantScope, new: Beside<Visitors>) -> Result<HashMap<Key, u64>> {
    let (mut visits, mut rows) = (HashMap::new(), Vec::new());
    for ((period, start_ms), mut of_sites) in new {
        let sites: Vec<SiteId> = of_sites.keys().copied().collect();
        let mut known: HashMap<SiteId, Visitors> =
            store::traffic::list_visitors(tx, scope, (period, start_ms), &sites)?.into_iter().collect();
        for (site, own) in &mut of_sites {
            let key = Key { site: *site, period, start_ms };
            let before = known.remove(site);
            if let Some(before) = &before {
                own.join(before);
            }
            visits.insert(key, own.estimate());
            // Most of those who come within some seconds were there before.
            if before.as_ref() != Some(own) {
                rows.push((key, own.encode()));
            }
        }
    }
    store::traffic::put_visitors(tx, scope, &rows)?;
    Ok(visits)
}

/// Joins lists with those that are stored.
fn keep_lists(tx: &mut WriteTx<'_>, scope: TenantScope, new: Beside<[Vec<(String, u64)>; 4]>) -> Result<()> {
    let mut rows = Vec::new();
    for ((period, start_ms), of_sites) in new {
        let sites: Vec<SiteId> = of_sites.keys().copied().collect();
        let known = store::traffic::list_labels(tx, scope, (period, start_ms), &sites)?;
        let mut known: HashMap<(SiteId, String), Vec<tops::Kept>> =
            known.into_iter().map(|(site, kind, labels)| ((site, kind), labels)).collect();
        for (site, lists) in of_sites {
            for (kind, list) in Kind::ALL.into_iter().zip(lists) {
                if list.is_empty() {
                    continue;
                }
                let before = known.remove(&(site, kind.word().to_owned())).unwrap_or_default();
                let joined = tops::add(before, list, limits::TRAFFIC_LABELS_KEPT);
                rows.push((Key { site, period, start_ms }, kind, joined));
            }
        }
    }
    store::traffic::put_labels(tx, scope, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::ids::Id,
        domain::traffic::sums::{Answered, Sums},
    };

    fn batch(sites: u8, minutes: i64) -> Batch {
        let mut sums = Sums::default();
        for number in 0..sites {
            for minute in 0..minutes {
                let site = SiteId(Id::from_bytes([number; 16]));
                let (at_ms, label, referrer) = (minute * 60_000, None, None);
                sums.take_in(Answered {
                    site,
                    at_ms,
                    status: 200,
                    bytes: 1,
                    is_bot: true,
                    visitor: None,
                    label,
                    referrer,
                    country: None,
                });
            }
        }
        sums.take(usize::MAX)
    }

    #[test]
    fn what_a_long_outage_left_is_stored_in_parts() {
        assert_eq!(parts(Batch::new()).len(), 0);
        assert_eq!(parts(batch(100, 1)).len(), 1, "what is usual is one transaction");
        for (sites, minutes) in [(100, 600), (1, 60_000)] {
            let parts = parts(batch(sites, minutes));
            let weight = |it: &Batch| it.iter().map(|it| it.1.weight()).sum::<usize>();
            assert!(parts.iter().all(|it| (1..=limits::TRAFFIC_WEIGHT_MAX).contains(&weight(it))), "{sites}");
            assert_eq!(parts.iter().map(weight).sum::<usize>(), 60_000);
            assert!(parts.len() < 20, "{}", parts.len());
        }
    }
}
