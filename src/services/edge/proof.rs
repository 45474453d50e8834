//! Which hostnames of a site are shown to lead here. A zone of `[[edge]]` is its operator's: whoever could purge a hostname there by adding
//! it to a site would empty caches of what is served elsewhere.
//!
//! The operator's own sites need no proof. Of another tenant's, a hostname below `sites_domain` is the host's to give; any other has a
//! certificate that this server has got for this tenant, or it is visited and answers with the word of this installation.

use std::pin::Pin;

use tokio::time::Instant;

use super::{Edge, Purge, Services, access, scope_of};
use crate::{
    base::together,
    domain::{
        Result, acme::records::zone_of, certificate::kept::Source, doctor::leads::Leads, hostname::Hostname,
        site::SiteName, tenant::TenantId,
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
            let got = kept.into_iter().filter(|it| it.source == Source::Acme && now_ms < it.until_ms);
            Ok((is_own, got.flat_map(|it| it.names).collect::<Vec<_>>()))
        };
        let (is_own, got) = self.db.read(read).await?;
        if is_own {
            return Ok(Proved { hosts: hosts.to_vec(), ..Proved::default() });
        }
        let below = format!(".{}", self.addresses.sites_domain);
        // Whatever of them can be used now: what is kept may have been got when more could.
        let zones: Vec<&str> = self.acme.iter().flat_map(|it| &it.zone_names).map(String::as_str).collect();
        let is_known = |host: &String| host.ends_with(&below) || is_got(host, &got, &zones);
        let now = Instant::now();
        let unknown: Vec<&String> =
            hosts.iter().filter(|it| !is_known(it) && edge.known.leads(it, now).is_none()).take(VISITS_MAX).collect();
        for some in unknown.chunks(VISITS_AT_ONCE) {
            let visits = some.iter().map(|host| -> Pin<Box<dyn Future<Output = _> + Send>> {
                Box::pin(async { self.find_lead(host).await })
            });
            let seen: Vec<Result<Leads>> = together::all(visits).await;
            for (host, leads) in some.iter().zip(seen) {
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

/// Whether a certificate with one of these names, which this server has got, shows that a hostname leads here. Where the operator's token
/// sets the record (`zones`), it shows no more than that.
fn is_got(host: &str, names: &[String], zones: &[&str]) -> bool {
    names.iter().any(|it| it == host) && zone_of(host, zones.iter().copied()).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_by_a_record_of_the_operators_is_no_proof() {
        let names = ["www.zone.test", "www.other.test", "*.wild.test"].map(String::from);
        for (host, zones, wanted) in [
            ("www.zone.test", &[][..], true),
            ("www.zone.test", &["other.test"], true),
            ("www.zone.test", &["zone.test"], false),
            ("www.other.test", &["zone.test"], true),
            ("api.zone.test", &[], false),
            ("a.wild.test", &[], false),
        ] {
            assert_eq!(is_got(host, &names, zones), wanted, "{host} {zones:?}");
        }
    }
}
