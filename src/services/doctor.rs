//! Whether an authority would give a certificate for a hostname, before one is asked: what the panel, the API and whoever orders
//! certificates call.
//!
//! Each server of an installation knows one word that no other has. Whoever asks for `/.well-known/chainhost/here/NONCE`, on any
//! host, gets a hash of word, host and nonce: so a check sees that what answers at an address is this installation, and not another.
//!
//! SECURITY: a check asks name servers and addresses that the owner of a hostname chooses. It connects to none that is not public
//! (`Dns::admit`), tells of an answer no more than its status and two short headers, and is limited for each tenant.

mod look;
#[cfg(test)]
mod tests;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use tokio::sync::OnceCell;

use crate::{
    base::{countries::Countries, hash::Sha256, limits, secret::Secret},
    domain::{
        Error, Result,
        access::{Actor, Right, TenantScope},
        acme,
        caa::Authority,
        dns::{Failure, Kind},
        doctor::{self, Belongs, Observed, Report, leads::Leads, orders::Failed},
        hostname::Hostname,
        site::SiteName,
    },
    ports::{
        db::ReadTx,
        dns::{Answered, Dns, Names, Way},
        reach::{Reach, Reached, Silence},
    },
    store,
};

use super::{Services, access, certify};

/// Where this installation says that it is the one: a nonce follows.
pub const HERE: &str = "/.well-known/chainhost/here/";
/// The port at which authorities ask in clear.
const HTTP_PORT: u16 = 80;
/// The port at which they ask by TLS.
pub const HTTPS_PORT: u16 = 443;
/// The authority whose limits are known, by its name for people.
const LETS_ENCRYPT: &str = "Let's Encrypt";
const WEEK_MS: i64 = 7 * 24 * 60 * 60_000;
/// Characters of a nonce.
const NONCE_MAX: usize = 64;

/// The world outside, as far as the services ask it.
#[derive(Clone, Debug)]
pub struct Outside {
    /// Names.
    pub dns: Dns,
    /// Addresses.
    pub reach: Arc<dyn Reach>,
    /// Addresses of this server that its machine does not have, as behind a NAT.
    pub public_addresses: Vec<IpAddr>,
    /// The port at which authorities ask: 80, but in tests.
    pub http_port: u16,
    /// The port at which they ask by TLS: 443, but in tests.
    pub https_port: u16,
    /// Which country an address is of.
    pub countries: Countries,
}

impl Default for Outside {
    /// Without a network: nothing is answered.
    fn default() -> Self {
        Self {
            dns: Dns::new(Arc::new(Nobody), &[]),
            reach: Arc::new(Nobody),
            public_addresses: Vec::new(),
            http_port: HTTP_PORT,
            https_port: HTTPS_PORT,
            countries: Countries::none(),
        }
    }
}

/// Nobody is there.
#[derive(Debug)]
struct Nobody;

impl Names for Nobody {
    fn ask<'a>(&'a self, _name: &'a str, _kind: Kind, _way: Way) -> Answered<'a> {
        Box::pin(async { Err(Failure::Unreachable) })
    }

    fn local(&self, _name: &str) -> Vec<IpAddr> {
        Vec::new()
    }

    fn servers(&self) -> Vec<SocketAddr> {
        Vec::new()
    }
}

impl Reach for Nobody {
    fn get<'a>(&'a self, _address: SocketAddr, _host: &'a str, _path: &'a str) -> Reached<'a> {
        Box::pin(async { Err(Silence::NoRoute) })
    }

    fn get_by_tls<'a>(&'a self, _address: SocketAddr, _host: &'a str, _path: &'a str) -> Reached<'a> {
        Box::pin(async { Err(Silence::NoRoute) })
    }

    fn own(&self) -> Vec<IpAddr> {
        Vec::new()
    }
}

/// The word by which an installation knows itself, once it was read.
#[derive(Debug, Default)]
pub(super) struct Word(OnceCell<Secret>);

/// What the installation with this word answers; `by_tls`: where its own end of the connection speaks TLS.
fn told(word: &Secret, host: &str, nonce: &str, by_tls: bool) -> String {
    let what = if by_tls { "here by TLS" } else { "here" };
    Sha256::of(format!("chainhost {what}\n{}\n{host}\n{nonce}", word.expose()).as_bytes()).hex()
}

impl Services {
    /// Looks whether an authority would give a certificate for a hostname, and what to change if not. Of names for all names below a domain
    /// (`*.`) there is the one of the server alone.
    pub async fn check_hostname(&self, actor: &Actor, host: &str) -> Result<Report> {
        let scope = actor.require(Right::ManageSites)?;
        let below = host.trim().strip_prefix("*.");
        let host = Hostname::parse(below.unwrap_or(host))?;
        if below.is_some() && !self.has_star_of(host.as_str()) {
            let text = format!(
                "`*.{host}` is no hostname that a site can have, and no certificate is asked for all names below {host}: check one of them, as in www.{host}."
            );
            return Err(Error::invalid("hostname", text).on("hostname"));
        }
        let key = format!("doctor {}", scope.tenant());
        let what = "Hostnames have been checked very often.";
        self.windows().take(&key, limits::CHECKS_MAX, limits::CHECKS_WINDOW_MS, "checks", what).await?;
        let (host, belongs) = match below {
            Some(_) => (format!("*.{host}"), Belongs::Star),
            None => (host.to_string(), self.whose(scope, &host).await?),
        };
        let authorities = self.list_authorities(scope.tenant(), &host, &belongs);
        let is_limited = authorities.iter().any(|it| it.name == LETS_ENCRYPT);
        let of_server = matches!(belongs, Belongs::Panel | Belongs::Star);
        let seen = self.observe_hostname(&host, belongs, authorities).await?;
        let (failed, given) = self.find_tries(scope, &host, of_server).await?;
        Ok(doctor::examine(&Observed { failed, given: given.filter(|_| is_limited), ..seen }))
    }

    /// Why there was no certificate for a hostname of a tenant when one was asked for last; and how many Let's Encrypt has given for it within a
    /// week, where authorities are asked at all. What is written of names of the server (`of_server`) is its operator's to read.
    async fn find_tries(
        &self,
        scope: TenantScope,
        host: &str,
        of_server: bool,
    ) -> Result<(Option<Failed>, Option<i64>)> {
        if self.acme.as_ref().is_none_or(|it| it.directories.is_empty()) {
            return Ok((None, None));
        }
        let (host, now_ms) = (host.to_owned(), self.clock.now_ms());
        let read = move |tx: &mut ReadTx<'_>| {
            if of_server && access::find_default_tenant(tx)? != scope.tenant() {
                return Ok((None, None));
            }
            let order = store::certificates::find_order(tx, scope, &host)?;
            let failed = order.and_then(|it| Some((it.problem?, it.next_ms)));
            let failed = failed.map(|((code, text), next_ms)| Failed { code, text, left_ms: next_ms - now_ms });
            let texts = [false, true].map(|is_renewed| acme::issued(&host, LETS_ENCRYPT, is_renewed));
            let texts = texts.each_ref().map(String::as_str);
            // Certificates that were replaced are kept no more: what was written down is.
            let given = store::audit_log::count_since(tx, scope, certify::ISSUED, now_ms - WEEK_MS, texts)?;
            Ok((failed, Some(given)))
        };
        self.db.read(read).await
    }

    /// What is seen of a hostname, for who knows whose it is and which authorities it will ask.
    pub(super) async fn observe_hostname(
        &self,
        host: &str,
        belongs: Belongs,
        authorities: Vec<Authority>,
    ) -> Result<Observed> {
        let word = self.check_word().await?;
        let look = look::Look { outside: &self.outside, word };
        Ok(look.observe(host, belongs, authorities).await)
    }

    /// Whether one of the addresses of a hostname answers with the word of this installation, through whatever is in front of it.
    pub(super) async fn find_lead(&self, host: &str) -> Result<Leads> {
        let word = self.check_word().await?;
        Ok(look::Look { outside: &self.outside, word }.leads(host).await)
    }

    /// What this installation answers to a nonce; `None` while its word is not known, and for what is no nonce. `by_tls`: whether the
    /// connection ends its TLS here.
    pub fn answer_here(&self, host: &str, nonce: &str, by_tls: bool) -> Option<String> {
        let is_nonce = (1..=NONCE_MAX).contains(&nonce.len()) && nonce.bytes().all(|it| it.is_ascii_alphanumeric());
        let word = self.word().0.get().filter(|_| is_nonce)?;
        Some(told(word, host, nonce, by_tls))
    }

    /// The word of this installation, made where there is none: all servers on one database have the same.
    pub async fn check_word(&self) -> Result<&Secret> {
        let read = || async {
            let found = self.db.read(|tx| store::settings::find(tx, store::settings::CHECK_WORD)).await?;
            if let Some(word) = found {
                return Ok(Secret::new(word));
            }
            let fresh = access::token();
            let made = self.db.write(move |tx| {
                if let Some(word) = store::settings::find(tx, store::settings::CHECK_WORD)? {
                    return Ok(Secret::new(word));
                }
                store::settings::set(tx, store::settings::CHECK_WORD, fresh.expose())?;
                Ok(fresh)
            });
            made.await
        };
        self.word().0.get_or_try_init(read).await
    }

    /// Whose a hostname is. One of another tenant is not there.
    async fn whose(&self, scope: TenantScope, host: &Hostname) -> Result<Belongs> {
        if self.addresses.is_panel(host.as_str()) {
            return Ok(Belongs::Panel);
        }
        let own = host.as_str().strip_suffix(&self.addresses.sites_domain).and_then(|it| it.strip_suffix('.'));
        // A preview stands before the site's name.
        let own = own.map(|it| it.rsplit("--").next().unwrap_or(it)).and_then(|it| SiteName::parse(it).ok());
        let host = host.clone();
        self.db
            .read(move |tx| {
                let holder = match own {
                    Some(name) => {
                        let held = store::sites::find_name(tx, &name)?.filter(|it| it.deleted_ms.is_none());
                        held.map(|it| (it.tenant, it.site))
                    }
                    None => store::hostnames::find(tx, &host)?,
                };
                let Some((tenant, site)) = holder else { return Ok(Belongs::Nobody) };
                // What is another tenant's is not there.
                let site = if tenant == scope.tenant() { store::sites::find_by_id(tx, scope, site)? } else { None };
                site.map(|it| Belongs::Site(it.name.to_string())).ok_or_else(|| Error::not_found("hostname"))
            })
            .await
    }
}
