//! TXT records by which authorities see that names are ours: set at the provider of the zone or by a person, seen by the zone's own servers
//! before an authority is told to look, and taken away again whatever came of it.
//!
//! A record is kept before it is set: a process that ends in between leaves it to the next pass to take it away.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout};

use super::{ASK_ALL_THE_SAME, Acme, MINUTE_MS, lock, names::Wanted};
use crate::{
    base::{random, together},
    domain::{
        Result,
        acme::{
            Challenge, Kind as Proof, Refusal,
            records::{self, AWAITED, Failed, Posted, Provider, Record, Trouble},
        },
        certificate::kept::Order,
        dns::{self, Kind, Record as Resource},
    },
    ports::{
        acme::{Failure, Later, Placed, Stage},
        dns::Way,
        zones::{Access, Zones as Port},
    },
    services::{Services, access, nodes::Hold, zone},
    store,
};

/// How long the servers of a zone may take to show a record: some pass it on to others by the minute.
const SEEN_MAX: Duration = Duration::from_mins(5);
/// How long a provider may take for one change, with waiting for others of the same zone.
const CHANGE_MAX: Duration = Duration::from_secs(90);
/// Between two looks whether they do.
const LOOK: Duration = Duration::from_secs(2);
/// Between two looks for a record that a person is to set.
const AWAIT_MS: i64 = MINUTE_MS;
/// How long an order waits for a person where its authority does not say it: as long as most orders count.
const ORDER_MS: i64 = 7 * 24 * 60 * MINUTE_MS;
/// When it is tried again to take a record away, and how long after the end of its order that is given up.
const AGAIN_MS: i64 = 60 * MINUTE_MS;
const GIVE_UP_MS: i64 = 7 * 24 * 60 * MINUTE_MS;
/// Random bytes of a label that is in no zone.
const LABEL_BYTES: usize = 10;
/// Aliases that are followed.
const ALIASES_MAX: usize = 4;

/// A zone whose names are shown to be ours by records in it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The zone, as its provider knows it.
    pub zone: String,
    /// Who keeps it.
    pub provider: Provider,
    /// How that one is spoken to; `None`: a person sets the records.
    pub access: Option<Access>,
    /// Whether all names below the domain of the sites have one certificate, where the zone has that domain.
    pub has_wildcard: bool,
}

/// The zones of the settings.
#[derive(Clone)]
pub struct Zones {
    /// Speaks to their providers.
    pub engine: Arc<dyn Port>,
    /// The zones.
    pub entries: Vec<Entry>,
    /// How long their servers may take to show a record.
    pub seen_max: Duration,
    /// Between two looks whether they do.
    pub look: Duration,
    /// How long a provider may take for one change.
    pub change_max: Duration,
}

impl Zones {
    /// These zones.
    pub fn new(engine: Arc<dyn Port>, entries: Vec<Entry>) -> Self {
        Self { engine, entries, seen_max: SEEN_MAX, look: LOOK, change_max: CHANGE_MAX }
    }

    /// A change, or that it takes too long.
    async fn within(&self, change: Later<'_, Result<(), Trouble>>) -> Result<(), Trouble> {
        timeout(self.change_max, change).await.unwrap_or(Err(Trouble::Slow))
    }

    /// The smallest zone that a name is in.
    fn find(&self, name: &str) -> Option<&Entry> {
        let zone = records::zone_of(name, self.entries.iter().map(|it| it.zone.as_str()))?;
        self.entries.iter().find(|it| it.zone == zone)
    }
}

impl Acme {
    /// The zone by whose records an authority is shown that a name is ours.
    pub(super) fn zone(&self, name: &str) -> Option<&Entry> {
        self.zones.as_ref()?.find(name)
    }

    /// By which ways an authority is shown that a name is ours, one after the other.
    pub(super) fn ways(&self, wanted: &Wanted) -> &'static [Proof] {
        match self.zone(&wanted.name) {
            None => &[Proof::Http01, Proof::TlsAlpn01],
            Some(_) if !wanted.stands_in => &[Proof::Dns01],
            // The zone may be what the star fails at; a person is not asked for a record for each name.
            Some(it) if it.access.is_none() => &[Proof::Http01, Proof::TlsAlpn01],
            Some(_) => &[Proof::Http01, Proof::TlsAlpn01, Proof::Dns01],
        }
    }

    /// Whether records may show it.
    pub(super) fn sets_records(&self, wanted: &Wanted) -> bool {
        self.ways(wanted).contains(&Proof::Dns01)
    }

    /// Whether it is looked first where a name leads; in a zone each name could else be had by whoever adds it to a site.
    pub(super) fn looks_first(&self, wanted: &Wanted, failures: i64) -> bool {
        if self.sets_records(wanted) {
            return !wanted.for_server;
        }
        // Whoever is wrong about that is put right by the authority once a day.
        failures % ASK_ALL_THE_SAME != ASK_ALL_THE_SAME - 1
    }

    /// Whether all names below the domain of the sites are to have one certificate.
    pub(super) fn has_wildcard(&self, sites_domain: &str) -> bool {
        self.zone(sites_domain).is_some_and(|it| it.has_wildcard)
    }
}

/// Shows records for one name to one authority.
pub(super) struct Poster {
    pub(super) services: Services,
    pub(super) name: String,
    pub(super) authority: String,
}

impl Stage for Poster {
    fn show(&self, challenge: Challenge, order: Placed) -> Later<'_, Result<(), Failure>> {
        Box::pin(self.post(challenge.answer, order))
    }
}

impl Poster {
    async fn post(&self, value: String, order: Placed) -> Result<(), Failure> {
        let services = &self.services;
        let Some((acme, zones)) = services.acme.as_ref().and_then(|it| Some((it, it.zones.as_ref()?))) else {
            return Err(Failure::from(Refusal::NoWay(Vec::new())));
        };
        let place = records::place_of(&self.name);
        let leads_to = services.follow_aliases(&place).await;
        let Some(entry) = acme.zone(&leads_to).filter(|_| is_plain(&leads_to)) else {
            let zone = acme.zone(&self.name).map(|it| it.zone.clone()).unwrap_or_default();
            let record = Record { zone, name: place, value };
            return Err(failed(record, Provider::Manual, Trouble::Alias(leads_to)));
        };
        let record = Record { zone: entry.zone.clone(), name: leads_to, value };
        let now_ms = services.clock.now_ms();
        let posted = Posted {
            name: self.name.clone(),
            record: record.clone(),
            provider: entry.provider,
            authority: self.authority.clone(),
            order: order.url,
            expires_ms: order.expires_ms.filter(|it| *it > now_ms).unwrap_or_else(|| now_ms.saturating_add(ORDER_MS)),
            next_ms: now_ms,
        };
        lock(&acme.posted).entry(self.name.clone()).or_default().push(posted.order.clone());
        services.db.write(move |tx| store::acme::put_record(tx, &posted)).await?;
        let Some(access) = &entry.access else {
            let is_seen = services.unseen_by(&record).await.is_empty();
            return if is_seen { Ok(()) } else { Err(Failure::Waits) };
        };
        let set = zones.within(zones.engine.set(access, &record)).await;
        set.map_err(|trouble| failed(record.clone(), entry.provider, trouble))?;
        let until = Instant::now() + zones.seen_max;
        loop {
            let unseen = services.unseen_by(&record).await;
            if unseen.is_empty() {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(failed(record, entry.provider, Trouble::Unseen(unseen)));
            }
            sleep(zones.look).await;
        }
    }
}

fn failed(record: Record, provider: Provider, trouble: Trouble) -> Failure {
    Refusal::Record(Box::new(Failed { record, provider, trouble })).into()
}

/// Whether a name that DNS has given can be part of an address.
fn is_plain(name: &str) -> bool {
    name.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || b"._-".contains(&it))
}

impl Services {
    /// Where the aliases of a name lead; the name itself where it is none. Asks the zone's own servers where they are known: what others have
    /// heard of the name they may believe for longer than it is true.
    async fn follow_aliases(&self, name: &str) -> String {
        let mut at = name.to_owned();
        for _ in 0..ALIASES_MAX {
            let Some(next) = self.alias(&at).await else { break };
            // An alias for all names of its parent is none of this one: a record that is set here goes before it.
            let sibling = dns::above(&at).map(|parent| format!("{}.{parent}", random::label::<LABEL_BYTES>()));
            if let Some(sibling) = sibling
                && self.alias(&sibling).await.as_ref() == Some(&next)
            {
                break;
            }
            at = next;
        }
        at
    }

    /// What a name is an alias to.
    async fn alias(&self, name: &str) -> Option<String> {
        let dns = &self.outside.dns;
        let servers = zone::servers(dns, dns::above(name).unwrap_or(name)).await.map(|it| it.1).unwrap_or_default();
        let mut found = None;
        for (_, address) in servers {
            if let Ok(answer) = dns.ask(name, Kind::Cname, Way::At(zone::at(address))).await {
                found = Some(answer);
                break;
            }
        }
        let answer = match found {
            Some(answer) => answer,
            None => dns.ask(name, Kind::Cname, Way::Fresh).await.ok()?,
        };
        answer.records.into_iter().find_map(|it| match it {
            Resource::Cname(to) => Some(to),
            _ => None,
        })
    }

    /// The name servers that do not show a record: of those of its zone that answer, and where none does, the resolver.
    async fn unseen_by(&self, record: &Record) -> Vec<String> {
        let dns = &self.outside.dns;
        let servers = zone::servers(dns, &record.zone).await.map(|it| it.1).unwrap_or_default();
        let asked = servers.into_iter().map(|(name, address)| -> Later<'_, (String, Option<bool>)> {
            Box::pin(async move { (name, self.shows(record, Way::At(zone::at(address))).await) })
        });
        let asked: Vec<_> = together::all(asked).await;
        if asked.iter().any(|it| it.1.is_some()) {
            return asked.into_iter().filter(|it| it.1 == Some(false)).map(|it| it.0).collect();
        }
        match self.shows(record, Way::Fresh).await {
            Some(true) => Vec::new(),
            _ => dns.servers().iter().map(SocketAddr::ip).map(|it| it.to_string()).collect(),
        }
    }

    /// Whether a record is shown; `None` where nobody says.
    async fn shows(&self, record: &Record, way: Way) -> Option<bool> {
        let answer = self.outside.dns.ask(&record.name, Kind::Txt, way).await.ok()?;
        let is_it = |it: &Resource| matches!(it, Resource::Txt(text) if text == record.value.as_bytes());
        Some(answer.records.iter().any(is_it))
    }

    /// The records that a person is to set for a name, while their order counts and its authority is one of those of the settings.
    pub(super) async fn awaited_records(&self, acme: &Acme, wanted: &Wanted) -> Result<Vec<Posted>> {
        if !acme.sets_records(wanted) {
            return Ok(Vec::new());
        }
        let name = &wanted.name;
        let now_ms = self.clock.now_ms();
        let all = self.db.read(store::acme::list_records).await?;
        let awaited = |it: &Posted| {
            it.name == *name
                && it.is_by_hand()
                && it.expires_ms > now_ms
                && acme.directories.iter().any(|of| of.url == it.authority)
        };
        Ok(all.into_iter().filter(awaited).collect())
    }

    /// Whether all of them are shown.
    pub(super) async fn all_shown(&self, awaited: &[Posted]) -> bool {
        for it in awaited {
            if !self.unseen_by(&it.record).await.is_empty() {
                return false;
            }
        }
        true
    }

    /// Keeps that a person has something to do first, and looks again soon.
    pub(super) async fn keep_waiting(
        &self,
        hold: Hold,
        wanted: &Wanted,
        before: Option<&Order>,
        awaited: &[Posted],
    ) -> Result<()> {
        let all: Vec<Record> = awaited.iter().map(|it| it.record.clone()).collect();
        let order = Order {
            tenant: wanted.tenant,
            name: wanted.name.clone(),
            certificate: before.and_then(|it| it.certificate),
            authority: before.and_then(|it| it.authority.clone()),
            next_ms: self.clock.now_ms().saturating_add(AWAIT_MS),
            asked_ms: before.and_then(|it| it.asked_ms),
            failures: before.map_or(0, |it| it.failures),
            problem: Some((AWAITED.to_owned(), records::wanted(&all, &wanted.name))),
        };
        let (services, scope) = (self.clone(), access::task_scope(wanted.tenant));
        self.db
            .write(move |tx| {
                services.check_hold(tx, &hold)?;
                store::certificates::put_order(tx, scope, &order)
            })
            .await
    }

    /// Takes the records away that an order of this node has left for a name. Those of others stay, and those that a person sets where
    /// `keeps`. A node that the duty has left takes nothing away: the next one may have set the same, and sweeps what is left.
    pub(super) async fn take_back(&self, acme: &Acme, hold: Hold, name: &str, keeps: bool) -> Result<()> {
        if acme.zones.is_none() {
            return Ok(());
        }
        let own = lock(&acme.posted).remove(name).unwrap_or_default();
        let all = self.db.read(store::acme::list_records).await?;
        let goes = |it: &Posted| if it.is_by_hand() { !keeps } else { own.contains(&it.order) };
        let gone: Vec<Posted> = all.into_iter().filter(|it| it.name == name && goes(it)).collect();
        if gone.is_empty() {
            return Ok(());
        }
        self.ask_hold(Some(hold)).await?;
        for it in gone {
            self.take_away(acme, it).await?;
        }
        Ok(())
    }

    /// Takes away what an order has left that is no more: before any other begins.
    pub(super) async fn sweep_records(&self, acme: &Acme, wanted: &[Wanted]) -> Result<()> {
        let now_ms = self.clock.now_ms();
        let all = self.db.read(store::acme::list_records).await?;
        let mut stand_still: Vec<String> = Vec::new();
        for it in all {
            let is_wanted = wanted.iter().any(|of| of.name == it.name);
            let waits = it.is_by_hand() && it.expires_ms > now_ms && is_wanted;
            let is_due = it.next_ms <= now_ms || it.next_ms > now_ms.saturating_add(AGAIN_MS);
            if waits || !is_due {
                continue;
            }
            let zone = it.record.zone.clone();
            if stand_still.contains(&zone) {
                // Orders wait for this: one try at a provider that does not answer is enough.
                let again_ms = now_ms.saturating_add(AGAIN_MS);
                self.db.write(move |tx| store::acme::postpone_record(tx, &it, again_ms)).await?;
            } else if self.take_away(acme, it).await? {
                stand_still.push(zone);
            }
        }
        Ok(())
    }

    /// Takes one away at its provider, and forgets it; where that fails it is tried again later. Whether the provider did not answer.
    async fn take_away(&self, acme: &Acme, it: Posted) -> Result<bool> {
        let now_ms = self.clock.now_ms();
        let access =
            acme.zone(&it.record.name).filter(|of| of.zone == it.record.zone).and_then(|of| of.access.as_ref());
        let (record, zone) = (it.record.name.as_str(), it.record.zone.as_str());
        let taken = match (access, &acme.zones) {
            _ if it.is_by_hand() => Ok(()),
            (Some(access), Some(zones)) => zones.within(zones.engine.remove(access, &it.record)).await,
            _ => {
                tracing::warn!(
                    record,
                    zone,
                    "a TXT record cannot be taken away, as its zone is no more in [[acme.dns]]: remove it by hand"
                );
                Ok(())
            }
        };
        let stands_still = matches!(taken, Err(Trouble::Slow | Trouble::Away(_)));
        let again_ms = match taken {
            Ok(()) => None,
            Err(why) if now_ms > it.expires_ms.saturating_add(GIVE_UP_MS) => {
                tracing::error!(
                    record,
                    zone,
                    ?why,
                    "a TXT record could not be taken away; it is not tried again: remove it by hand"
                );
                None
            }
            Err(why) => {
                tracing::warn!(
                    record,
                    zone,
                    ?why,
                    "a TXT record could not be taken away; it is tried again in an hour"
                );
                Some(now_ms.saturating_add(AGAIN_MS))
            }
        };
        self.db
            .write(move |tx| match again_ms {
                Some(next_ms) => store::acme::postpone_record(tx, &it, next_ms),
                None => store::acme::delete_record(tx, &it),
            })
            .await?;
        Ok(stands_still)
    }
}
