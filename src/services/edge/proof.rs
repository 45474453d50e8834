//! Which hostnames of a site are shown to lead here. A zone of `[[edge]]` is its operator's: whoever could purge a hostname there by adding
//! it to a site would empty caches of what is served elsewhere.
//!
//! The operator's own sites need no proof. Of another tenant's, a hostname below `sites_domain` is the host's to give; any other has a
//! certificate that this server has got for this tenant by a visit of its authority, or it is visited and answers with the word of this
//! installation.

use std::pin::Pin;

use tokio::time::Instant;

use super::{Edge, Purge, Services, access, scope_of};
use crate::{
    base::together,
    domain::{
        Result,
        acme::Kind,
        certificate::kept::{Kept, Source},
        doctor::leads::Leads,
        hostname::Hostname,
        site::SiteName,
        tenant::TenantId,
    },
    ports::db::ReadTx,
    store,
};

/// Hostnames that are visited in one part of a job, which has a place of the queue meanwhile, and at once.
const VISITS_MAX: usize = 16;
const VISITS_AT_ONCE: usize = 8;

/// What was found out about hostnames.
#[derive(Debug, Default)]
pub(super) struct Proved {
    /// Those that a tenant may have purged.
    pub(super) hosts: Vec<String>,
    /// Those that lead elsewhere.
    pub(super) elsewhere: Vec<String>,
    /// Those of which that could not be found out, with why.
    pub(super) unknown: Vec<(String, String)>,
    /// Those that are for the next part: there were more than are visited in one.
    pub(super) left: Vec<String>,
}

impl Services {
    /// Those of the hostnames of a job that no other site has got since it was asked for: whose they are now purges them. A site that was
    /// deleted, and a hostname that was taken away, are nobody's.
    pub(super) fn kept_hosts(&self, tx: &mut ReadTx<'_>, tenant: TenantId, purge: &Purge) -> Result<Vec<String>> {
        let own = store::hostnames::list(tx, scope_of(tenant), purge.site)?;
        let below = format!(".{}", self.addresses.sites_domain);
        let mut kept = Vec::new();
        for host in &purge.hosts {
            let holder = match host.strip_suffix(&below) {
                _ if own.contains(host) => None,
                Some(name) => match SiteName::parse(name) {
                    Ok(name) => store::sites::find_name(tx, &name)?.map(|it| it.site),
                    Err(_) => None,
                },
                None => match Hostname::parse(host) {
                    Ok(host) => store::hostnames::find(tx, &host)?.map(|it| it.1),
                    Err(_) => None,
                },
            };
            if holder.is_none_or(|it| it == purge.site) {
                kept.push(host.clone());
            }
        }
        Ok(kept)
    }

    /// Which of the hostnames a tenant may have purged.
    pub(super) async fn proved_hosts(
        &self,
        edge: &Edge,
        tenant: TenantId,
        by_operator: bool,
        hosts: &[String],
    ) -> Result<Proved> {
        let now_ms = self.clock.now_ms();
        let read = move |tx: &mut ReadTx<'_>| {
            let is_own = by_operator || access::find_default_tenant(tx)? == tenant;
            let kept = if is_own { Vec::new() } else { store::certificates::list(tx, scope_of(tenant))? };
            let seen = kept.into_iter().filter(|it| now_ms < it.until_ms && was_visited(it));
            Ok((is_own, seen.flat_map(|it| it.names).collect::<Vec<_>>()))
        };
        let (is_own, seen) = self.db.read(read).await?;
        if is_own {
            return Ok(Proved { hosts: hosts.to_vec(), ..Proved::default() });
        }
        let below = format!(".{}", self.addresses.sites_domain);
        let is_known = |host: &String| host.ends_with(&below) || seen.contains(host);
        let now = Instant::now();
        let unknown: Vec<&String> =
            hosts.iter().filter(|it| !is_known(it) && edge.known.leads(it, now).is_none()).take(VISITS_MAX).collect();
        for some in unknown.chunks(VISITS_AT_ONCE) {
            let visits = some.iter().map(|host| -> Pin<Box<dyn Future<Output = _> + Send>> {
                Box::pin(async { self.find_lead(host).await })
            });
            let leads: Vec<Result<Leads>> = together::all(visits).await;
            for (host, leads) in some.iter().zip(leads) {
                edge.known.saw(host, leads?, now);
            }
        }
        let mut proved = Proved::default();
        for host in hosts.iter().cloned() {
            let leads = if is_known(&host) { Some(Leads::Here) } else { edge.known.leads(&host, now) };
            match leads {
                Some(Leads::Here) => proved.hosts.push(host),
                Some(Leads::Unknown(why)) => proved.unknown.push((host, why)),
                Some(Leads::Elsewhere) => proved.elsewhere.push(host),
                None => proved.left.push(host),
            }
        }
        Ok(proved)
    }
}

/// Whether the authority of a certificate has come to this server for it. One by a record in DNS shows only who sets records there, which may
/// be this host for everybody by the operator's token.
fn was_visited(it: &Kept) -> bool {
    it.source == Source::Acme && matches!(it.seen_by, Some(Kind::Http01 | Kind::TlsAlpn01))
}
