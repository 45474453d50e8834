//! Bans: made by people and by limits of sites, listed, ended, and given to the data plane of every node.

use std::collections::{BTreeSet, HashMap};

use super::{Services, access};
use crate::{
    base::network::Network,
    domain::{
        Error, Result,
        access::{Actor, Right, ServerScope},
        ban::{self, Ban, BanId, Cursor, Source},
        event::Event,
        node::Topic,
        site::{SiteId, SiteName},
        tenant::TenantId,
    },
    ports::db::ReadTx,
    store,
};

/// Bans of one tenant that people have made, and as many that limits have: an attack from everywhere must neither fill the database nor
/// keep people from theirs.
const PER_TENANT_MAX: i64 = 10_000;
/// Bans of one site that are listed beside what makes them.
const OF_SITE_MAX: i64 = 1_000;

/// A ban that somebody wants.
#[derive(Clone, Debug)]
pub struct NewBan {
    /// Who.
    pub network: Network,
    /// Of which site; `None`: of all of the server.
    pub site: Option<SiteName>,
    /// For how many seconds; `None`: until somebody ends it.
    pub for_s: Option<u32>,
    /// Why.
    pub reason: String,
}

/// A ban as people see it.
#[derive(Clone, Debug)]
pub struct BanView {
    /// The ban.
    pub ban: Ban,
    /// The name of its site; `None`: all of the server.
    pub site: Option<SiteName>,
}

/// A page of a list of bans.
#[derive(Clone, Debug)]
pub struct BanPage {
    /// The bans.
    pub items: Vec<BanView>,
    /// Where the next page goes on, if there is one.
    pub next: Option<Cursor>,
}

/// A ban that a limit has made.
#[derive(Clone, Copy, Debug)]
pub struct Struck {
    /// Of which site.
    pub site: SiteId,
    /// Who.
    pub network: Network,
    /// Since when.
    pub created_ms: i64,
    /// Until when.
    pub until_ms: i64,
}

impl Services {
    /// Bans of the tenant that have not ended: those that people have made, then the newest first. Those from all sites of the server are the
    /// server's admin's to see.
    pub async fn list_bans(&self, actor: &Actor, after: Option<Cursor>, limit: u32) -> Result<BanPage> {
        let scope = actor.require(Right::Read)?;
        let (sees_all, now) = (actor.require(Right::ManageServer).is_ok(), self.clock.now_ms());
        let read = move |tx: &mut ReadTx<'_>| {
            let mut found = store::bans::list(tx, scope, now, sees_all, after, i64::from(limit) + 1)?;
            let listed = usize::try_from(limit).unwrap_or(usize::MAX);
            let more = found.len() > listed;
            found.truncate(listed);
            let next = found.last().filter(|_| more).map(Cursor::of);
            let mut items = Vec::new();
            let mut names: HashMap<SiteId, SiteName> = HashMap::new();
            for ban in found {
                let site = match ban.site {
                    None => None,
                    Some(id) => {
                        if !names.contains_key(&id)
                            && let Some(site) = store::sites::find_by_id(tx, scope, id)?
                        {
                            names.insert(id, site.name);
                        }
                        let Some(name) = names.get(&id) else { continue };
                        Some(name.clone())
                    }
                };
                items.push(BanView { ban, site });
            }
            Ok(BanPage { items, next })
        };
        self.db.read(read).await
    }

    /// At most 1,000 bans from one site that have not ended, the newest first; those from all sites of the server are not among them.
    pub async fn list_bans_of(&self, actor: &Actor, name: &SiteName) -> Result<Vec<Ban>> {
        let scope = actor.require(Right::Read)?;
        let (name, now) = (name.clone(), self.clock.now_ms());
        let read = move |tx: &mut ReadTx<'_>| {
            let site = store::sites::find(tx, scope, &name)?.ok_or_else(|| Error::not_found("site"))?;
            store::bans::list_of_site(tx, scope, site.id, now, OF_SITE_MAX)
        };
        self.db.read(read).await
    }

    /// Shuts somebody out, in place of a ban of the same site and network.
    pub async fn add_ban(&self, actor: &Actor, new: NewBan) -> Result<BanView> {
        let scope = actor.require(if new.site.is_some() { Right::ManageSites } else { Right::ManageServer })?;
        let NewBan { network, site, for_s, reason } = new;
        let reason = reason.trim().to_owned();
        if reason.len() > ban::REASON_BYTES_MAX || reason.contains(char::is_control) {
            let text = format!("Say in at most {} characters why, on one line.", ban::REASON_BYTES_MAX);
            return Err(Error::invalid("ban_reason", text).on("reason"));
        }
        if for_s.is_some_and(|it| it == 0 || it > ban::BAN_S_MAX) {
            let text = format!(
                "A ban is for 1 to {} seconds, a year at most; leave it out for one without an end.",
                ban::BAN_S_MAX
            );
            return Err(Error::invalid("ban_time", text).on("for_s"));
        }
        let (services, actor) = (self.clone(), actor.clone());
        let made = self.db.write(move |tx| {
            let found = match &site {
                Some(name) => Some(store::sites::find(tx, scope, name)?.ok_or_else(|| Error::not_found("site"))?),
                None => None,
            };
            let of = found.as_ref().map(|it| it.id);
            let now = services.clock.now_ms();
            let before = store::bans::find(tx, scope, of, &network.shortest())?;
            if before.is_none() && store::bans::count(tx, scope, Source::Person, now)? >= PER_TENANT_MAX {
                let text = format!("There are {PER_TENANT_MAX} bans already. End some, or ban a wider network.");
                return Err(Error::conflict("bans_max", text));
            }
            let ban = Ban {
                id: before.map_or_else(|| services.ids.next().into(), |it| it.id),
                tenant: scope.tenant(),
                site: of,
                network,
                source: Source::Person,
                reason,
                made_by: actor.label.clone(),
                created_ms: now,
                until_ms: for_s.map(|it| now + i64::from(it) * 1_000),
            };
            store::bans::put(tx, scope, &ban)?;
            services.tell(tx, Topic::Bans)?;
            let from = site.as_ref().map_or_else(|| String::from("all sites of the server"), ToString::to_string);
            let text = format!("banned {} from {from}", network.shortest());
            services.record(tx, &actor, &Event::new("ban.added", "ban", &network.shortest(), text))?;
            Ok(BanView { ban, site })
        });
        let made = made.await?;
        self.signals().bans.notify_one();
        Ok(made)
    }

    /// Ends a ban.
    pub async fn remove_ban(&self, actor: &Actor, id: BanId) -> Result<()> {
        let scope = actor.require(Right::ManageSites)?;
        let (services, actor) = (self.clone(), actor.clone());
        let ended = self.db.write(move |tx| {
            let ban = store::bans::find_by_id(tx, scope, id)?.ok_or_else(|| Error::not_found("ban"))?;
            if ban.site.is_none() && actor.require(Right::ManageServer).is_err() {
                return Err(Error::not_found("ban"));
            }
            store::bans::delete(tx, scope, id)?;
            services.tell(tx, Topic::Bans)?;
            let text = format!("ended the ban of {}", ban.network.shortest());
            services.record(tx, &actor, &Event::new("ban.removed", "ban", &ban.network.shortest(), text))
        });
        ended.await?;
        self.signals().bans.notify_one();
        Ok(())
    }

    /// Keeps what limits have made, and tells the other nodes. A ban that somebody has made of the same address stays as it is.
    pub async fn keep_struck(&self, struck: Vec<Struck>) -> Result<()> {
        let (services, leave) = (self.clone(), access::server_scope());
        self.db
            .write(move |tx| {
                let owners = owners(tx, leave, &struck)?;
                let (mut told, now) = (false, services.clock.now_ms());
                let mut counts: HashMap<TenantId, i64> = HashMap::new();
                for it in &struck {
                    let Some(tenant) = owners.get(&it.site) else { continue };
                    let scope = access::task_scope(*tenant);
                    let before = store::bans::find(tx, scope, Some(it.site), &it.network.shortest())?;
                    let holds = |it: &Ban| it.until_ms.is_none_or(|end| end > now);
                    if before.as_ref().is_some_and(|it| it.source == Source::Person && holds(it)) {
                        continue;
                    }
                    let count = match counts.get(tenant) {
                        Some(count) => *count,
                        None => store::bans::count(tx, scope, Source::Limit, now)?,
                    };
                    counts.insert(*tenant, count + i64::from(before.is_none()));
                    if before.is_none() && count >= PER_TENANT_MAX {
                        continue;
                    }
                    let ban = Ban {
                        id: before.map_or_else(|| services.ids.next().into(), |it| it.id),
                        tenant: *tenant,
                        site: Some(it.site),
                        network: it.network,
                        source: Source::Limit,
                        reason: String::from("Refused too often"),
                        made_by: String::new(),
                        created_ms: it.created_ms,
                        until_ms: Some(it.until_ms),
                    };
                    store::bans::put(tx, scope, &ban)?;
                    told = true;
                }
                if told { services.tell(tx, Topic::Bans) } else { Ok(()) }
            })
            .await
    }

    /// All bans that hold, for the data plane.
    pub async fn list_all_bans(&self) -> Result<Vec<Ban>> {
        let (leave, now) = (access::server_scope(), self.clock.now_ms());
        self.db.read(move |tx| store::bans::list_all(tx, leave, now)).await
    }

    /// Those that hold and were made since then, for the data plane.
    pub async fn list_bans_since(&self, since_ms: i64) -> Result<Vec<Ban>> {
        let (leave, now) = (access::server_scope(), self.clock.now_ms());
        self.db.read(move |tx| store::bans::list_since(tx, leave, now, since_ms)).await
    }

    /// Forgets bans that have ended.
    pub async fn forget_bans(&self) -> Result<u64> {
        let (leave, now) = (access::server_scope(), self.clock.now_ms());
        self.db.write(move |tx| store::bans::delete_ended(tx, leave, now)).await
    }
}

/// Whose the sites are that were struck at.
fn owners(tx: &mut ReadTx<'_>, leave: ServerScope, struck: &[Struck]) -> Result<HashMap<SiteId, TenantId>> {
    let wanted: BTreeSet<SiteId> = struck.iter().map(|it| it.site).collect();
    let wanted: Vec<SiteId> = wanted.into_iter().collect();
    Ok(store::traffic::list_tenants(tx, leave, &wanted)?.into_iter().collect())
}
