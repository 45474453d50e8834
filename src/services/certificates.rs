//! Certificates that the host keeps: given by people, or by authorities; and which one is shown for which hostname.
//!
//! SECURITY: a tenant's certificate is shown for that tenant's hostnames alone, whatever names are in it. For the panel and for names
//! below the domain of the sites it must be a super admin's, or have been asked for by the host itself.

use std::{collections::HashMap, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::{
    base::secret::Secret,
    domain::{
        Error, Result,
        access::{Actor, Right},
        certificate::{
            self, Standing,
            kept::{CertificateId, Kept, Source},
            pair::{self, PEM_BYTES_MAX, Pair},
        },
        event::Event,
        node::Topic,
        site::SiteId,
        tenant::TenantId,
    },
    ports::db::ReadTx,
    store,
};

use super::{Addresses, Services, access};

/// Certificates that one tenant may have given.
const UPLOADED_MAX: usize = 1_000;

/// A certificate, for people.
#[derive(Clone, Debug)]
pub struct CertificateView {
    /// The certificate; its key is sealed.
    pub kept: Kept,
    /// The hostnames for which it is shown now.
    pub shown_for: Vec<String>,
    /// How it stands.
    pub standing: Standing,
}

/// A certificate as it is shown: for these hostnames. Its key is sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Its id.
    pub id: String,
    /// Hostnames, also with `*.` in front.
    pub names: Vec<String>,
    /// PEM.
    pub chain: String,
    /// The private key in PEM, sealed, in Base64.
    pub key: String,
}

/// What certificates are needed for: the hostnames of the server.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    /// Those of tenants' own domains.
    pub(super) own: Vec<(TenantId, String)>,
    /// The names of sites below the domain of the sites.
    pub(super) sites: Vec<(TenantId, String)>,
}

impl Hosts {
    /// All hostnames of all sites.
    pub(super) fn list(tx: &mut ReadTx<'_>, addresses: &Addresses) -> Result<Self> {
        let leave = access::server_scope();
        let (all, hostnames) = (store::sites::list_all(tx, leave)?, store::hostnames::list_all(tx, leave)?);
        let tenants: HashMap<SiteId, TenantId> = all.iter().map(|(tenant, site)| (site.id, *tenant)).collect();
        let own = hostnames.into_iter().filter_map(|(site, name)| Some((*tenants.get(&site)?, name))).collect();
        let domain = &addresses.sites_domain;
        let sites = all.into_iter().map(|(tenant, site)| (tenant, format!("{}.{domain}", site.name))).collect();
        Ok(Self { own, sites })
    }
}

impl Services {
    /// Takes a certificate with its key: PEM, the certificate itself first. One for the same hostnames that was given before goes.
    pub async fn upload_certificate(&self, actor: &Actor, chain: &str, key: &Secret) -> Result<CertificateView> {
        let scope = actor.require(Right::ManageSites)?;
        for (text, field) in [(chain, "chain"), (key.expose(), "key")] {
            if text.len() > PEM_BYTES_MAX {
                let text = "This has more than 1 MiB, and so is no certificate or key.";
                return Err(Error::too_large("certificate_file", text).on(field));
            }
        }
        let pair = Pair::read(chain.as_bytes(), key.expose().as_bytes())?;
        pair.facts.check_names().map_err(|it| it.on("chain"))?;
        if pair.facts.standing(self.clock.now_ms() / 1_000) == Standing::Over {
            let text = "This certificate has ended, and browsers refuse it. Give the new one.";
            return Err(Error::invalid("certificate_over", text).on("chain"));
        }
        let id = CertificateId(self.ids.next());
        let plain = pair::key_pem(key.expose().as_bytes())?;
        let for_server =
            actor.may(Right::ManageServer) && pair.facts.names.iter().any(|it| is_servers(&self.addresses, it));
        let kept = self.kept(id, scope.tenant(), Source::Uploaded, &pair, plain.as_bytes(), for_server)?;
        let (services, actor, made) = (self.clone(), actor.clone(), kept.clone());
        self.db
            .write(move |tx| {
                let before = store::certificates::list(tx, scope)?;
                // One that does not count yet stands beside that which does, and one of the server's beside a tenant's.
                let is_early = made.from_ms > services.clock.now_ms();
                let same = before.iter().filter(|it| {
                    it.source == Source::Uploaded
                        && it.names == made.names
                        && it.for_server == made.for_server
                        && (!is_early || it.from_ms > services.clock.now_ms())
                });
                let mut gone = 0;
                for it in same {
                    store::certificates::delete(tx, scope, it.id)?;
                    gone += 1;
                }
                if before.iter().filter(|it| it.source == Source::Uploaded).count() - gone >= UPLOADED_MAX {
                    let text = format!(
                        "A tenant gives at most {UPLOADED_MAX} certificates. Remove some that are used no more."
                    );
                    return Err(Error::conflict("certificates_max", text));
                }
                store::certificates::insert(tx, scope, &made)?;
                services.tell(tx, Topic::Certificates)?;
                let verb = if gone == 0 { "gave a certificate" } else { "gave a new certificate" };
                let text = format!("{verb} for {}", made.names.join(", "));
                services.record(tx, &actor, &Event::new("certificate.uploaded", "certificate", &made.id, text))
            })
            .await?;
        self.signals().certify.notify_one();
        let all = self.list_tenants_certificates(scope).await?;
        all.into_iter().find(|it| it.kept.id == id).ok_or_else(|| Error::not_found("certificate"))
    }

    /// A certificate as it is kept.
    pub(super) fn kept(
        &self,
        id: CertificateId,
        tenant: TenantId,
        source: Source,
        pair: &Pair,
        key_pem: &[u8],
        for_server: bool,
    ) -> Result<Kept> {
        let sealed = self.master_key()?.seal(&Kept::key_context(id), key_pem);
        let mut names = pair.facts.names.clone();
        names.extend(pair.facts.addresses.iter().map(IpAddr::to_string));
        names.sort();
        names.dedup();
        Ok(Kept {
            id,
            tenant,
            names,
            source,
            seen_by: None,
            for_server,
            chain: pair.chain_pem(),
            key_sealed: sealed.map_err(|_| Error::internal("a key could not be sealed"))?,
            issuer: pair.facts.issuer.clone(),
            from_ms: pair.facts.from_s.saturating_mul(1_000),
            until_ms: pair.facts.until_s.saturating_mul(1_000),
            created_ms: self.clock.now_ms(),
        })
    }

    /// The certificates of the tenant, the newest first, and for which hostnames each is shown.
    pub async fn list_certificates(&self, actor: &Actor) -> Result<Vec<CertificateView>> {
        self.list_tenants_certificates(actor.require(Right::Read)?).await
    }

    async fn list_tenants_certificates(
        &self,
        scope: crate::domain::access::TenantScope,
    ) -> Result<Vec<CertificateView>> {
        let services = self.clone();
        let now_ms = self.clock.now_ms();
        self.db
            .read(move |tx| {
                let kept = store::certificates::list(tx, scope)?;
                let hosts = Hosts::list(tx, &services.addresses)?;
                let mut shown = assign(&kept, &hosts, &services.addresses, now_ms);
                Ok(kept
                    .into_iter()
                    .map(|kept| CertificateView {
                        shown_for: shown.remove(&kept.id).unwrap_or_default(),
                        standing: standing(&kept, now_ms),
                        kept,
                    })
                    .collect())
            })
            .await
    }

    /// Removes a certificate. Its hostnames are shown another one, if there is one.
    pub async fn delete_certificate(&self, actor: &Actor, id: CertificateId) -> Result<()> {
        let scope = actor.require(Right::ManageSites)?;
        let (services, actor) = (self.clone(), actor.clone());
        self.db
            .write(move |tx| {
                let found = store::certificates::find(tx, scope, id)?.ok_or_else(|| Error::not_found("certificate"))?;
                if found.for_server {
                    actor.require(Right::ManageServer)?;
                }
                store::certificates::delete(tx, scope, id)?;
                services.tell(tx, Topic::Certificates)?;
                let text = format!("removed the certificate for {}", found.names.join(", "));
                services.record(tx, &actor, &Event::new("certificate.removed", "certificate", &id, text))
            })
            .await?;
        self.signals().certify.notify_one();
        Ok(())
    }

    /// What is to be shown for which hostnames, over all tenants.
    pub async fn shown_certificates(&self) -> Result<Vec<Shown>> {
        let services = self.clone();
        let now_ms = self.clock.now_ms();
        self.db
            .read(move |tx| {
                let kept = store::certificates::list_all(tx, access::server_scope())?;
                let hosts = Hosts::list(tx, &services.addresses)?;
                let mut shown = assign(&kept, &hosts, &services.addresses, now_ms);
                let named = kept.into_iter().filter_map(|kept| Some((shown.remove(&kept.id)?, kept)));
                Ok(named
                    .map(|(names, kept)| Shown {
                        id: kept.id.to_string(),
                        names,
                        key: data_encoding::BASE64.encode(&kept.key_sealed),
                        chain: kept.chain,
                    })
                    .collect())
            })
            .await
    }

    /// Whether the secrets of this installation can be read here, for who shows certificates.
    pub fn opens(&self) -> Result<()> {
        self.master_key().map(drop)
    }

    /// The pair of a certificate that is shown.
    pub fn open_certificate(&self, it: &Shown) -> Result<Pair> {
        open(self.master_key()?, it)
    }
}

/// Opens a certificate that is shown, with the master key.
pub fn open(key: &crate::base::master_key::MasterKey, it: &Shown) -> Result<Pair> {
    let id = it.id.parse().map_err(|_| Error::internal("a certificate without an id"))?;
    let sealed = data_encoding::BASE64.decode(it.key.as_bytes()).map_err(Error::internal)?;
    let plain = key.open(&Kept::key_context(CertificateId(id)), &sealed).map_err(|_| {
        let text = "The key of a certificate is not sealed under the master key of this node.";
        Error::unavailable("certificate_sealed", text)
    })?;
    Pair::read(it.chain.as_bytes(), &plain)
}

fn standing(kept: &Kept, now_ms: i64) -> Standing {
    certificate::standing(kept.from_ms.div_euclid(1_000), kept.until_ms.div_euclid(1_000), now_ms.div_euclid(1_000))
}

/// Whether a name, perhaps with a star, is the panel's or one below the domain of the sites.
fn is_servers(addresses: &Addresses, name: &str) -> bool {
    certificate::covers(name, &addresses.panel_host) || is_sites(addresses, name)
}

/// Whether a name, perhaps with a star, is the domain of the sites or one below it.
fn is_sites(addresses: &Addresses, name: &str) -> bool {
    let plain = name.strip_prefix("*.").unwrap_or(name);
    plain.strip_suffix(&addresses.sites_domain).is_some_and(|it| it.is_empty() || it.ends_with('.'))
}

/// Which certificate is shown for which hostnames. Of several for one hostname, one that counts now goes before one that does not, one that
/// people gave before one that an authority gave by itself, and then the one that counts longest.
fn assign(kept: &[Kept], hosts: &Hosts, addresses: &Addresses, now_ms: i64) -> HashMap<CertificateId, Vec<String>> {
    let mut by_tenant: HashMap<TenantId, Vec<&Kept>> = HashMap::new();
    for it in kept {
        by_tenant.entry(it.tenant).or_default().push(it);
    }
    let worth = |it: &&Kept| {
        let counts = matches!(standing(it, now_ms), Standing::Good | Standing::EndsSoon(_));
        (counts, it.source == Source::Uploaded, it.until_ms, it.id)
    };
    let covers = |it: &Kept, host: &str| it.names.iter().any(|name| certificate::covers(name, host));
    let mut shown: HashMap<CertificateId, Vec<String>> = HashMap::new();
    let mut show = |best: Option<&Kept>, host: &str| {
        if let Some(best) = best {
            shown.entry(best.id).or_default().push(host.to_owned());
        }
    };
    let of = |tenant: &TenantId| by_tenant.get(tenant).map(Vec::as_slice).unwrap_or_default();
    for (tenant, host) in &hosts.own {
        show(of(tenant).iter().copied().filter(|it| covers(it, host)).max_by_key(worth), host);
    }
    for (tenant, host) in &hosts.sites {
        let asked_for = of(tenant).iter().filter(|it| it.source == Source::Acme && covers(it, host));
        show(asked_for.copied().max_by_key(worth), host);
    }
    // Under their own names, since previews are not listed. A name of its own goes before a star when clients ask.
    let mut servers: HashMap<&str, &Kept> = HashMap::new();
    for it in kept.iter().filter(|it| it.for_server) {
        // A star of the panel's own domain is shown for the panel alone: other names beside it may be tenants'.
        let panel = Some(addresses.panel_host.as_str()).filter(|host| covers(it, host));
        let is_shown = |name: &&str| is_sites(addresses, name) || name.parse::<IpAddr>().is_ok();
        for name in it.names.iter().map(String::as_str).filter(is_shown).chain(panel) {
            let best = servers.entry(name).or_insert(it);
            if worth(&it) > worth(&&**best) {
                *best = it;
            }
        }
    }
    for (name, it) in servers {
        show(Some(it), name);
    }
    for names in shown.values_mut() {
        names.sort();
        names.dedup();
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::Id;

    fn id(n: u8) -> Id {
        format!("{n:032x}").parse().unwrap()
    }

    fn kept(n: u8, tenant: u8, names: &[&str], source: Source, until_ms: i64, for_server: bool) -> Kept {
        Kept {
            id: id(n).into(),
            tenant: id(tenant).into(),
            names: names.iter().map(|it| (*it).to_owned()).collect(),
            source,
            seen_by: None,
            for_server,
            chain: String::new(),
            key_sealed: Vec::new(),
            issuer: String::new(),
            from_ms: 0,
            until_ms,
            created_ms: 0,
        }
    }

    #[test]
    fn a_certificate_is_shown_for_its_owners_hostnames_alone() {
        let addresses = Addresses {
            scheme: "https",
            sites_domain: String::from("sites.example"),
            port: String::new(),
            panel_host: String::from("panel.example"),
            local_port: 80,
        };
        let name = |tenant: u8, name: &str| (TenantId::from(id(tenant)), name.to_owned());
        let hosts = Hosts {
            own: vec![name(1, "a.example"), name(2, "b.example"), name(1, "x.wild.example"), name(2, "y.wild.example")],
            sites: vec![name(1, "one.sites.example"), name(2, "two.sites.example")],
        };
        let (given, got) = (Source::Uploaded, Source::Acme);
        let now = 1_000_000;
        let all = [
            kept(1, 1, &["a.example", "b.example"], given, 2_000_000, false),
            kept(2, 1, &["*.wild.example"], given, 2_000_000, false),
            // Longer, and not given by people.
            kept(3, 1, &["a.example"], got, 3_000_000, false),
            kept(4, 2, &["b.example"], got, 3_000_000, false),
            // Given, and over.
            kept(5, 2, &["b.example"], given, 500_000, false),
            // Claims what is not theirs.
            kept(
                6,
                2,
                &["panel.example", "one.sites.example", "a.example", "*.sites.example"],
                given,
                9_000_000,
                false,
            ),
            kept(7, 2, &["two.sites.example"], got, 2_000_000, false),
            kept(8, 3, &["*.sites.example", "panel.example", "elsewhere.example"], given, 2_000_000, true),
            kept(9, 3, &["panel.example"], got, 3_000_000, true),
        ];
        let shown = assign(&all, &hosts, &addresses, now);
        let mut found: Vec<(u8, String)> = shown
            .into_iter()
            .flat_map(|(id, names)| names.into_iter().map(move |it| (id.0.to_string().as_bytes()[31] - b'0', it)))
            .collect();
        found.sort();
        let wanted = [
            (1, "a.example"),
            (2, "x.wild.example"),
            (4, "b.example"),
            (7, "two.sites.example"),
            (8, "*.sites.example"),
            (8, "panel.example"),
        ];
        assert_eq!(found, wanted.map(|(id, name)| (id, name.to_owned())));
    }
}
