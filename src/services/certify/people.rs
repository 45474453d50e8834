//! How it stands with the certificates of hostnames, for people, and having an authority asked now.

use std::collections::HashMap;

use super::{MINUTE_MS, lock};
use crate::{
    domain::{
        Error, Result,
        access::{Actor, Right},
        acme::records::Record,
        certificate::{
            covers,
            kept::{CertificateId, Order, Source},
        },
        node::Topic,
    },
    services::{Services, certificates::Hosts},
    store,
};

/// People may have a hostname tried again so often: authorities count failures by the hour.
const RETRY_MS: i64 = MINUTE_MS;
const RETRIES_MAX: u32 = 4;
const RETRIES_WINDOW_MS: i64 = 60 * MINUTE_MS;

/// How it stands with the certificate of a hostname, for people.
#[derive(Clone, Debug)]
pub struct HostnameCertificate {
    /// The hostname.
    pub hostname: String,
    /// The certificate that is shown, unless the host has signed it itself.
    pub shown: Option<(CertificateId, Source, i64)>,
    /// How it stands with what an authority is asked for, if one is.
    pub order: Option<Order>,
    /// Whether an authority is asked, or will be.
    pub is_asked: bool,
    /// TXT records that a person is to set first.
    pub records: Vec<Record>,
}

impl Services {
    /// How it stands with the certificates of the tenant's hostnames, by name.
    pub async fn list_hostname_certificates(&self, actor: &Actor) -> Result<Vec<HostnameCertificate>> {
        let scope = actor.require(Right::Read)?;
        let (services, now_ms) = (self.clone(), self.clock.now_ms());
        let asked = match &self.acme {
            Some(acme) => {
                let covered = lock(&acme.covered).clone().unwrap_or_default();
                self.list_wanted(acme, &covered).await?
            }
            None => Vec::new(),
        };
        let views = self.list_certificates(actor).await?;
        let may_server = actor.may(Right::ManageServer);
        self.db
            .read(move |tx| {
                let mut orders: HashMap<String, Order> =
                    store::certificates::list_orders(tx, scope)?.into_iter().map(|it| (it.name.clone(), it)).collect();
                let hosts = Hosts::list(tx, &services.addresses)?;
                let of_tenant = |(tenant, _): &&(_, String)| *tenant == scope.tenant();
                let mut names: Vec<String> =
                    hosts.own.iter().chain(&hosts.sites).filter(of_tenant).map(|it| it.1.clone()).collect();
                if may_server {
                    names.push(services.addresses.panel_host.clone());
                    names.extend(services.list_server_names());
                }
                names.sort();
                names.dedup();
                let posted = match services.acme {
                    Some(_) => store::acme::list_records(tx)?,
                    None => Vec::new(),
                };
                let records = |name: &str| {
                    let of = posted.iter().filter(|it| it.name == name && it.is_by_hand() && it.expires_ms > now_ms);
                    of.map(|it| it.record.clone()).collect()
                };
                let shown = |name: &str| {
                    let fits = views.iter().filter(|it| it.kept.until_ms > now_ms);
                    let mut fits = fits.filter(|it| it.shown_for.iter().any(|of| covers(of, name)));
                    fits.next().map(|it| (it.kept.id, it.kept.source, it.kept.until_ms))
                };
                Ok(names
                    .into_iter()
                    .map(|name| HostnameCertificate {
                        shown: shown(&name),
                        records: records(&name),
                        order: orders.remove(&name),
                        is_asked: asked.iter().any(|it| it.tenant == scope.tenant() && it.name == name),
                        hostname: name,
                    })
                    .collect())
            })
            .await
    }

    /// What has a certificate besides hostnames: all names below the domain of the sites, and addresses of the server.
    pub fn list_server_names(&self) -> Vec<String> {
        let Some(acme) = &self.acme else { return Vec::new() };
        let domain = &self.addresses.sites_domain;
        let star = acme.has_wildcard(domain).then(|| format!("*.{domain}"));
        star.into_iter().chain(acme.addresses.iter().map(ToString::to_string)).collect()
    }

    /// Has an authority asked for a hostname now.
    pub async fn retry_certificate(&self, actor: &Actor, hostname: &str) -> Result<()> {
        let scope = actor.require(Right::ManageSites)?;
        let (key, what) = (
            format!("certificate {} {hostname}", scope.tenant()),
            "An authority was asked for this hostname very often.",
        );
        self.windows().take(&key, RETRIES_MAX, RETRIES_WINDOW_MS, "certificate_retry", what).await?;
        let (services, name, now_ms) = (self.clone(), hostname.to_owned(), self.clock.now_ms());
        self.db
            .write(move |tx| {
                let found = store::certificates::find_order(tx, scope, &name)?;
                let mut order = found.ok_or_else(|| Error::not_found("hostname for which an authority is asked"))?;
                if order.asked_ms.is_some_and(|it| (now_ms - RETRY_MS..=now_ms).contains(&it)) {
                    let text = "An authority was asked less than a minute ago. Its limits are some tries an hour: mend first what it said.";
                    return Err(Error::too_many("certificate_retry", text, 60));
                }
                order.next_ms = now_ms;
                store::certificates::put_order(tx, scope, &order)?;
                services.tell(tx, Topic::Certificates)
            })
            .await?;
        self.signals().certify.notify_one();
        Ok(())
    }
}
