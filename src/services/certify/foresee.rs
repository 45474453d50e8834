//! What shows from here before an authority is asked: asking in vain would only use up its limits.

use super::{ASK_ALL_THE_SAME, Acme, FORESEEN_MAX_MS, names, names::Wanted, pause_ms};
use crate::{
    domain::{
        Result,
        acme::Kind,
        caa::Authority,
        certificate::{self, kept::Order},
        doctor::{self, Belongs},
        hostname::Hostname,
        tenant::TenantId,
    },
    services::{Services, access, nodes::Hold},
    store,
};

/// What shows.
pub(super) enum Foreseen {
    /// No authority that everybody believes would give a certificate: why, as a code and a sentence.
    Nothing((String, String)),
    /// They may be asked, but for these.
    All(Vec<Barred>),
}

impl Default for Foreseen {
    fn default() -> Self {
        Self::All(Vec::new())
    }
}

/// What CAA records forbid.
pub(super) struct Barred {
    /// The directory of the authority.
    pub(super) directory: String,
    /// By which way it would look.
    pub(super) way: Kind,
}

/// Who is asked, by the ways by which that is done.
fn authorities(acme: &Acme, wanted: &Wanted) -> Vec<Authority> {
    let ways = acme.ways(wanted);
    acme.directories.iter().map(|it| Authority::of(&it.url, ways)).collect()
}

impl Services {
    /// Who would be asked for a hostname of a tenant; where the settings name nobody, the one that most ask.
    pub(in crate::services) fn list_authorities(
        &self,
        tenant: TenantId,
        name: &str,
        belongs: &Belongs,
    ) -> Vec<Authority> {
        let Some(acme) = self.acme.as_ref().filter(|it| !it.directories.is_empty()) else {
            return vec![Authority::lets_encrypt()];
        };
        let star = format!("*.{}", self.addresses.sites_domain);
        let wanted = Wanted {
            tenant,
            name: name.to_owned(),
            for_server: matches!(belongs, Belongs::Panel | Belongs::Star),
            stands_in: *belongs != Belongs::Star
                && self.has_star_of(&self.addresses.sites_domain)
                && certificate::covers(&star, name),
        };
        authorities(acme, &wanted)
    }

    /// Whether a certificate is asked for all names below a domain.
    pub(in crate::services) fn has_star_of(&self, domain: &str) -> bool {
        *domain == self.addresses.sites_domain && self.acme.as_ref().is_some_and(|it| it.has_wildcard(domain))
    }

    /// Looks where a name leads, and which authorities may give a certificate for it by which ways. `failures`: those before.
    pub(super) async fn foresee(&self, acme: &Acme, wanted: &Wanted, failures: i64) -> Foreseen {
        let is_public = |at: usize| acme.directories.get(at).is_some_and(|it| names::is_public_authority(&it.url));
        let Ok(host) = Hostname::parse(&wanted.name) else { return Foreseen::default() };
        if !(0..acme.directories.len()).any(is_public) {
            return Foreseen::default();
        }
        let belongs = if wanted.for_server { Belongs::Panel } else { Belongs::Site(String::new()) };
        let ways = acme.ways(wanted);
        let seen = match self.observe_hostname(host.as_str(), belongs, authorities(acme, wanted)).await {
            Ok(seen) => seen,
            Err(error) => {
                tracing::debug!(%error, "a hostname could not be checked");
                return Foreseen::default();
            }
        };
        let report = doctor::examine(&seen);
        let why = |it: &doctor::Finding| Foreseen::Nothing((format!("certificate_{}", it.code), it.text.clone()));
        // The authority would see a record that the server has set, and not where the name leads.
        let strays = || report.findings.iter().find(|it| acme.sets_records(wanted) && it.code == "aaaa_wrong");
        let leads = report.hopeless().filter(|it| !it.is_of_caa()).or_else(strays);
        if let Some(it) = leads.filter(|_| is_public(0)) {
            return why(it);
        }
        let barred = |(it, way): (&Authority, Kind)| seen.is_barred(it, way);
        let each = acme.directories.iter().zip(&seen.authorities);
        let each = each.flat_map(|(directory, it)| ways.iter().map(move |way| (directory, it, *way)));
        let (no, yes): (Vec<_>, Vec<_>) = each.partition(|(_, it, way)| barred((it, *way)));
        if yes.is_empty()
            && let Some(it) = report.findings.iter().find(|it| it.is_of_caa())
        {
            // Whoever is wrong about that is put right by the authority once a day.
            let asks = failures % ASK_ALL_THE_SAME == ASK_ALL_THE_SAME - 1;
            return if asks { Foreseen::default() } else { why(it) };
        }
        let barred = no.into_iter().map(|(directory, _, way)| Barred { directory: directory.url.clone(), way });
        Foreseen::All(barred.collect())
    }

    /// Keeps why nobody was asked; it is looked again soon, as that uses up nothing.
    pub(super) async fn postpone(
        &self,
        hold: Hold,
        wanted: Wanted,
        before: Option<Order>,
        why: (String, String),
    ) -> Result<()> {
        let failures = before.as_ref().map_or(0, |it| it.failures);
        let order = Order {
            tenant: wanted.tenant,
            next_ms: self.clock.now_ms().saturating_add(pause_ms(failures, None).min(FORESEEN_MAX_MS)),
            failures: failures.saturating_add(1),
            problem: Some(why),
            certificate: before.as_ref().and_then(|it| it.certificate),
            authority: before.as_ref().and_then(|it| it.authority.clone()),
            asked_ms: before.and_then(|it| it.asked_ms),
            name: wanted.name,
        };
        tracing::info!(
            hostname = order.name,
            problem = order.problem.as_ref().map(|it| it.1.as_str()),
            "no authority is asked"
        );
        let (services, scope) = (self.clone(), access::task_scope(order.tenant));
        self.db
            .write(move |tx| {
                services.check_hold(tx, &hold)?;
                store::certificates::put_order(tx, scope, &order)
            })
            .await
    }
}
