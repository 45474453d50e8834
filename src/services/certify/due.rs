//! What is to be asked for now, and when it is renewed.

use std::collections::HashMap;

use super::{
    Acme, MINUTE_MS, lock, names,
    names::{Server, Wanted, wanted},
};
use crate::{
    base::{ids::Id, random},
    domain::{
        Result,
        acme::Refusal,
        certificate::kept::{Kept, Order, Source},
    },
    ports::acme::Directory,
    services::{Services, access, certificates::Hosts, nodes::Hold},
    store,
};

/// Between two looks at when an authority wishes a certificate to be renewed.
const ASK_WINDOW_MS: i64 = 12 * 60 * MINUTE_MS;
/// Looks of one pass.
const WINDOWS_MAX: usize = 50;
/// Certificates that have ended and are nobody's any more are forgotten after so long.
const ENDED_MS: i64 = 30 * 24 * 60 * MINUTE_MS;
/// What somebody has removed is asked for anew when it was asked for so long ago: who removes and waits would else use up the limits.
const ANEW_MS: i64 = 60 * MINUTE_MS;

/// What there is, as one pass sees it.
pub(super) struct Seen {
    all: Vec<Wanted>,
    orders: Vec<Order>,
    kept: Vec<Kept>,
}

impl Seen {
    fn order(&self, wanted: &Wanted) -> Option<&Order> {
        self.orders.iter().find(|it| it.tenant == wanted.tenant && it.name == wanted.name)
    }

    /// All hostnames for which one is asked.
    pub(super) fn all(&self) -> &[Wanted] {
        &self.all
    }

    /// A certificate that an authority gave for just this hostname, of which more than a third of its time is left.
    fn good(&self, wanted: &Wanted, now_ms: i64) -> Option<&Kept> {
        let is_good = |it: &&Kept| {
            let left = it.until_ms.saturating_sub(now_ms);
            it.from_ms <= now_ms && left > it.until_ms.saturating_sub(it.from_ms) / 3
        };
        // Before a server has an owner, its own certificates are nobody's.
        let is_its = |it: &Kept| it.tenant == wanted.tenant || wanted.for_server && it.tenant == Id::NIL.into();
        let own =
            self.kept.iter().filter(|it| it.source == Source::Acme && is_its(it) && it.names.iter().eq([&wanted.name]));
        own.filter(is_good).max_by_key(|it| it.until_ms)
    }
}

impl Services {
    /// What is to be asked for now, the most urgent first. Forgets what is wanted no more.
    pub(super) async fn find_due(
        &self,
        acme: &Acme,
        covered: &[String],
        hold: Hold,
    ) -> Result<(Vec<(Wanted, Option<Order>)>, Seen)> {
        let now_ms = self.clock.now_ms();
        let all = self.list_wanted(acme, covered).await?;
        let leave = access::server_scope();
        let read = move |tx: &mut crate::ports::db::ReadTx<'_>| {
            Ok((store::certificates::list_all_orders(tx, leave)?, store::certificates::list_all(tx, leave)?))
        };
        let (orders, kept) = self.db.read(read).await?;
        let seen = Seen { all, orders, kept };
        let known: HashMap<(_, &str), &Order> =
            seen.orders.iter().map(|it| ((it.tenant, it.name.as_str()), it)).collect();
        let ids: HashMap<_, &Kept> = seen.kept.iter().map(|it| (it.id, it)).collect();
        let (mut due, mut adopted) = (Vec::new(), Vec::new());
        for wanted in &seen.all {
            let order = known.get(&(wanted.tenant, wanted.name.as_str())).copied();
            match (order, seen.good(wanted, now_ms)) {
                // A hostname that was taken away and given again.
                (None, Some(good)) => adopted.push((adopt(wanted, good), good.clone())),
                (order, _)
                    if order.is_none_or(|it| {
                        is_due(it, it.certificate.is_some_and(|id| ids.contains_key(&id)), now_ms)
                    }) =>
                {
                    due.push((wanted.clone(), order.cloned()));
                }
                _ => {}
            }
        }
        // What is shown and ends goes first, then what has failed least.
        due.sort_by_key(|(wanted, order)| {
            let (failures, next_ms) = order.as_ref().map_or((0, 0), |it| (it.failures, it.next_ms));
            (order.as_ref().is_none_or(|it| it.certificate.is_none()), !wanted.for_server, failures, next_ms)
        });
        let wanted: std::collections::HashSet<(_, &str)> =
            seen.all.iter().map(|it| (it.tenant, it.name.as_str())).collect();
        let gone: Vec<Order> =
            seen.orders.iter().filter(|it| !wanted.contains(&(it.tenant, it.name.as_str()))).cloned().collect();
        self.forget_certificates(hold, gone, adopted, &seen.kept).await?;
        Ok((due, seen))
    }

    async fn forget_certificates(
        &self,
        hold: Hold,
        gone: Vec<Order>,
        adopted: Vec<(Order, Kept)>,
        kept: &[Kept],
    ) -> Result<()> {
        let ended_ms = self.clock.now_ms().saturating_sub(ENDED_MS);
        let has_ended = kept.iter().any(|it| it.source == Source::Acme && it.until_ms < ended_ms);
        if gone.is_empty() && adopted.is_empty() && !has_ended {
            return Ok(());
        }
        let services = self.clone();
        self.db
            .write(move |tx| {
                services.check_hold(tx, &hold)?;
                for it in gone {
                    store::certificates::delete_order(tx, access::task_scope(it.tenant), &it.name)?;
                }
                for (order, good) in adopted {
                    let scope = access::task_scope(order.tenant);
                    if good.tenant != order.tenant {
                        store::certificates::delete(tx, access::task_scope(good.tenant), good.id)?;
                        store::certificates::insert(tx, scope, &Kept { tenant: order.tenant, ..good })?;
                    }
                    store::certificates::put_order(tx, scope, &order)?;
                }
                store::certificates::delete_ended(tx, access::server_scope(), ended_ms).map(drop)
            })
            .await
    }

    /// The hostnames for which authorities are asked, besides those that are covered by files.
    pub(super) async fn list_wanted(&self, acme: &Acme, covered: &[String]) -> Result<Vec<Wanted>> {
        let (services, covered) = (self.clone(), covered.to_vec());
        let is_public = acme.directories.iter().any(|it| names::is_public_authority(&it.url));
        let has_wildcard = acme.has_wildcard(&self.addresses.sites_domain);
        let own = acme.addresses.clone();
        let now_ms = self.clock.now_ms();
        self.db
            .read(move |tx| {
                let default = access::find_default_tenant(tx)?;
                let star = format!("*.{}", services.addresses.sites_domain);
                let star = store::certificates::find_order(tx, access::task_scope(default), &star)?;
                let hosts = Hosts::list(tx, &services.addresses)?;
                let kept = store::certificates::list_all(tx, access::server_scope())?;
                let server = Server {
                    addresses: &services.addresses,
                    default,
                    covered: &covered,
                    is_public,
                    has_wildcard,
                    star: star.as_ref(),
                    own: &own,
                };
                Ok(wanted(&hosts, &server, &kept, now_ms))
            })
            .await
    }

    /// Looks when authorities wish their certificates to be renewed, and brings forward what they wish sooner (RFC 9773).
    pub(super) async fn ask_windows(&self, acme: &Acme, seen: &Seen, hold: Hold) -> Result<()> {
        let now_ms = self.clock.now_ms();
        let awake: Vec<&Directory> = acme.awake(now_ms);
        let mut silent: Vec<&str> = Vec::new();
        let mut left = WINDOWS_MAX;
        for wanted in &seen.all {
            let Some(order) = seen.order(wanted) else { continue };
            let (Some(id), Some(url)) = (order.certificate, order.authority.as_deref()) else { continue };
            let asked = lock(&acme.windows).get(&id).copied();
            let is_fresh = asked.is_some_and(|it| (now_ms - ASK_WINDOW_MS..=now_ms).contains(&it));
            let directory = awake.iter().find(|it| it.url == url && !silent.contains(&url));
            let kept = seen.kept.iter().find(|it| it.id == id);
            let (Some(directory), Some(kept), false) = (directory, kept, is_fresh || order.next_ms <= now_ms) else {
                continue;
            };
            if left == 0 {
                return Ok(());
            }
            left -= 1;
            lock(&acme.windows).insert(id, now_ms);
            let window = match self.ask_window(acme, directory, kept).await {
                Ok(window) => window,
                Err(refusal) => {
                    tracing::debug!(?refusal, "an authority does not say when to renew");
                    silent.push(url);
                    continue;
                }
            };
            // A wish for one that has just come would be one for ever.
            let soonest = kept.created_ms.saturating_add(rest_ms(kept));
            let Some(next_ms) = window.map(|it| it.max(soonest)).filter(|it| *it < order.next_ms) else { continue };
            let (services, scope, name) = (self.clone(), access::task_scope(order.tenant), order.name.clone());
            self.db
                .write(move |tx| {
                    services.check_hold(tx, &hold)?;
                    store::certificates::bring_forward(tx, scope, &name, next_ms)
                })
                .await?;
        }
        Ok(())
    }

    /// A time by chance in the window of its authority, Unix milliseconds; `None` where it does not say so.
    async fn ask_window(&self, acme: &Acme, directory: &Directory, kept: &Kept) -> Result<Option<i64>, Refusal> {
        let Some(id) = kept.renewal_id() else { return Ok(None) };
        let window = acme.engine.renewal(directory, &id).await?;
        Ok(window.map(|it| {
            let span = u64::try_from(it.until_ms.saturating_sub(it.from_ms)).unwrap_or(0);
            it.from_ms.saturating_add(i64::try_from(random::below(span.saturating_add(1))).unwrap_or(0))
        }))
    }
}

/// Whether an authority is to be asked. A time of asking that is to come shows that a clock went back: nothing of before counts.
fn is_due(order: &Order, has_certificate: bool, now_ms: i64) -> bool {
    let asked_ms = order.asked_ms.unwrap_or(i64::MIN);
    let is_missing = order.problem.is_none() && !has_certificate;
    order.next_ms <= now_ms || asked_ms > now_ms || is_missing && asked_ms.saturating_add(ANEW_MS) <= now_ms
}

fn adopt(wanted: &Wanted, good: &Kept) -> Order {
    Order {
        tenant: wanted.tenant,
        name: wanted.name.clone(),
        certificate: Some(good.id),
        authority: None,
        next_ms: renewal_ms(good),
        asked_ms: Some(good.created_ms),
        failures: 0,
        problem: None,
    }
}

/// When a certificate is renewed, where its authority wishes nothing: when a third of its time is left, and a little more.
pub(super) fn renewal_ms(kept: &Kept) -> i64 {
    let lifetime = kept.until_ms.saturating_sub(kept.from_ms).max(0);
    let chance = random::below(u64::try_from(lifetime / 20).unwrap_or(0).saturating_add(1));
    kept.until_ms.saturating_sub(lifetime / 3).saturating_sub(i64::try_from(chance).unwrap_or(0))
}

/// How long a certificate that has just come is not replaced, whatever its authority wishes.
fn rest_ms(kept: &Kept) -> i64 {
    (kept.until_ms.saturating_sub(kept.from_ms) / 10).clamp(0, 24 * 60 * MINUTE_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_depends_on_no_clock_that_was_wrong() {
        const HOUR_MS: i64 = 60 * MINUTE_MS;
        let now = 100 * HOUR_MS;
        let id = "0".repeat(32).parse::<Id>().unwrap();
        let due = |next_ms, asked_ms, failed: bool, has| {
            let order = Order {
                tenant: id.into(),
                name: String::new(),
                certificate: Some(id.into()),
                authority: None,
                next_ms,
                asked_ms,
                failures: 0,
                problem: failed.then(Default::default),
            };
            is_due(&order, has, now)
        };
        let asked = Some(now - 2 * HOUR_MS);
        assert!(!due(now + 1, asked, false, true) && due(now, asked, false, true));
        assert!(due(now + HOUR_MS, asked, false, false), "it was removed");
        assert!(!due(now + HOUR_MS, Some(now - HOUR_MS / 2), false, false), "it was removed, and asked for just now");
        assert!(!due(now + HOUR_MS, asked, true, false), "it failed: its pause counts");
        assert!(due(now + 9_000 * HOUR_MS, Some(now + 8_000 * HOUR_MS), true, true), "a clock was ahead");
    }
}
