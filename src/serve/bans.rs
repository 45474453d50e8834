//! Who gets nothing, of one site or of all: looked at by requests, kept elsewhere.
//!
//! A ban that a limit makes holds at once, on this node; whoever keeps bans hears of it by [`Bans::made`], and gives back what all
//! nodes know by [`Bans::replace`].

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Mutex, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use crate::{
    base::network::{self, Network},
    domain::site::SiteId,
};

/// Bans that wait to be kept: more are made than anybody will look through.
const MADE_MAX: usize = 1_024;
/// Addresses that limits have shut out. Those behind are refused by the limits, request by request.
const ADDRESSES_MAX: usize = 100_000;

/// Whole lists that are read one behind the other, and how often one more is: an attack makes bans twice a second, and reading all of them for
/// each few that are new would help the attack.
const WHOLE_MAX: u32 = 4;
const WHOLE_EVERY: Duration = Duration::from_secs(5);
/// How far behind the last read is looked for new bans: clocks of nodes differ, and transactions take their time.
const OVERLAP_MS: i64 = 60_000;

/// What is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All bans, for [`Bans::replace`].
    All,
    /// Those that were made since this time of day, for [`Bans::add`]. All are wanted after this time.
    Since(i64, Duration),
}

/// What was read.
#[derive(Clone, Copy, Debug, Default)]
struct Reads {
    /// When a whole list has nothing left to wait for.
    free: Option<Instant>,
    /// Up to which time of day bans are known.
    until_ms: Option<i64>,
}

/// A ban.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// Of which site; `None`: of all.
    pub site: Option<SiteId>,
    /// Who.
    pub network: Network,
    /// How long from now on; `None`: until somebody ends it.
    pub left: Option<Duration>,
}

/// How long a ban holds on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// So long.
    Time(Duration),
    /// Until somebody ends it.
    Open,
}

/// A ban that a limit of a site has made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// Of which site.
    pub site: SiteId,
    /// Who, as clients are counted.
    pub address: IpAddr,
    /// Since when.
    pub since: Instant,
    /// For how long.
    pub length: Duration,
}

/// Bans as requests look at them.
#[derive(Debug, Default)]
pub struct Bans {
    /// None at all, mostly: a request looks at this alone then.
    count: AtomicUsize,
    list: RwLock<List>,
    waiting: Mutex<Vec<Made>>,
    told: Notify,
    reads: Mutex<Reads>,
}

#[derive(Debug, Default)]
struct List {
    /// By site, as the networks; those of all sites under `None`.
    addresses: HashMap<(Option<SiteId>, IpAddr), Until>,
    networks: HashMap<Option<SiteId>, Vec<(Network, Option<Instant>)>>,
}

impl List {
    fn len(&self) -> usize {
        self.addresses.len() + self.networks.values().map(Vec::len).sum::<usize>()
    }
}

/// Until when.
#[derive(Clone, Copy, Debug)]
struct Until(Option<Instant>);

impl Until {
    fn left(self, now: Instant) -> Option<Left> {
        match self.0 {
            None => Some(Left::Open),
            Some(end) => (end > now).then(|| Left::Time(end - now)),
        }
    }
}

/// A ban that holds for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stands {
    /// How long on.
    pub left: Left,
    /// Of all sites of the server, which no site can lift.
    pub of_all: bool,
}

impl Bans {
    /// Whether a client gets nothing of a site.
    pub(super) fn stands(&self, site: SiteId, client: IpAddr) -> Option<Stands> {
        if self.is_empty() {
            return None;
        }
        self.stands_at(Instant::now(), site, client)
    }

    fn stands_at(&self, now: Instant, site: SiteId, client: IpAddr) -> Option<Stands> {
        let list = self.list.read().unwrap_or_else(PoisonError::into_inner);
        let counted = network::counted(client);
        [None, Some(site)].into_iter().find_map(|of| {
            let alone = || list.addresses.get(&(of, counted)).and_then(|it| it.left(now));
            let mut networks = list.networks.get(&of).into_iter().flatten();
            let left = alone().or_else(|| {
                networks.find_map(|(network, end)| Until(*end).left(now).filter(|_| network.contains(client)))
            });
            left.map(|left| Stands { left, of_all: of.is_none() })
        })
    }

    /// A limit of a site has had enough of a client.
    pub(super) fn make(&self, site: SiteId, client: IpAddr, length: Duration) {
        self.make_at(Instant::now(), site, client, length);
    }

    fn make_at(&self, since: Instant, site: SiteId, client: IpAddr, length: Duration) {
        let made = Made { site, address: network::counted(client), since, length };
        // In this order everywhere, so that a new list misses none.
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
        if list.addresses.len() >= ADDRESSES_MAX {
            return;
        }
        if list.addresses.insert((Some(site), made.address), Until(Some(made.since + length))).is_none() {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
        drop(list);
        if waiting.len() < MADE_MAX {
            waiting.push(made);
            self.told.notify_one();
        }
    }

    /// Waits until a limit has made a ban.
    pub async fn made(&self) {
        self.told.notified().await;
    }

    /// What limits have made and nobody keeps yet. Whoever cannot keep them gives them [`Bans::put_back`].
    pub fn take_made(&self) -> Vec<Made> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Keeps for a later look what could not be kept now.
    pub fn put_back(&self, made: Vec<Made>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MADE_MAX.saturating_sub(waiting.len());
        waiting.extend(made.into_iter().take(room));
    }

    /// What is to be read next.
    pub fn wanted(&self) -> Wanted {
        self.wanted_at(Instant::now())
    }

    fn wanted_at(&self, now: Instant) -> Wanted {
        let mut reads = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
        let free = reads.free.unwrap_or(now).max(now);
        let borne = WHOLE_EVERY * (WHOLE_MAX - 1);
        match reads.until_ms {
            Some(until_ms) if free - now > borne => {
                Wanted::Since(until_ms - OVERLAP_MS, (free - now).saturating_sub(borne))
            }
            _ => {
                reads.free = Some(free + WHOLE_EVERY);
                Wanted::All
            }
        }
    }

    /// What was wanted was read, at this time of day.
    pub fn has_read(&self, now_ms: i64) {
        self.reads.lock().unwrap_or_else(PoisonError::into_inner).until_ms = Some(now_ms);
    }

    /// Some that are new.
    pub fn add(&self, new: Vec<Ban>) {
        let now = Instant::now();
        let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
        for Ban { site, network, left } in new {
            let end = left.map(|it| now + it);
            let Some(address) = network.only() else {
                let of_site = list.networks.entry(site).or_default();
                of_site.retain(|it| it.0 != network);
                of_site.push((network, end));
                continue;
            };
            list.addresses.insert((site, address), Until(end));
        }
        self.count.store(list.len(), Ordering::Relaxed);
    }

    /// What all nodes know now. Bans of this node that nobody keeps yet stay.
    pub fn replace(&self, kept: Vec<Ban>) {
        self.replace_at(Instant::now(), kept);
    }

    fn replace_at(&self, now: Instant, kept: Vec<Ban>) {
        let mut next = List::default();
        for Ban { site, network, left } in kept {
            let end = left.map(|it| now + it);
            match network.only() {
                Some(address) => drop(next.addresses.insert((site, address), Until(end))),
                None => next.networks.entry(site).or_default().push((network, end)),
            }
        }
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for it in waiting.iter() {
            next.addresses.entry((Some(it.site), it.address)).or_insert(Until(Some(it.since + it.length)));
        }
        // No request waits for more than this: the list was made beside the one that they look at.
        let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
        let count = next.len();
        let before = std::mem::replace(&mut *list, next);
        self.count.store(count, Ordering::Relaxed);
        drop((list, waiting));
        drop(before);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::Id;

    const SHOP: SiteId = SiteId(Id::from_bytes([1; 16]));
    const BLOG: SiteId = SiteId(Id::from_bytes([2; 16]));
    const HOUR: Duration = Duration::from_hours(1);
    const LEFT: Option<Left> = Some(Left::Time(HOUR));

    fn left(of: Option<Stands>) -> Option<Left> {
        of.map(|it| it.left)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn ban(site: Option<SiteId>, network: &str, left: Option<Duration>) -> Ban {
        Ban { site, network: network.parse().unwrap(), left }
    }

    #[test]
    fn a_ban_holds_for_its_site_its_network_and_its_time() {
        let (bans, now) = (Bans::default(), Instant::now());
        assert!(bans.is_empty() && bans.stands(SHOP, address("192.0.2.1")).is_none());
        bans.replace_at(
            now,
            vec![
                ban(Some(SHOP), "192.0.2.1", Some(HOUR)),
                ban(Some(BLOG), "198.51.100.0/24", None),
                ban(Some(SHOP), "2001:db8:1:2::/64", Some(HOUR)),
                ban(None, "203.0.113.0/24", Some(2 * HOUR)),
            ],
        );
        assert_eq!(bans.len(), 4);
        let stands = |site, client| left(bans.stands_at(now, site, address(client)));
        assert_eq!(stands(SHOP, "192.0.2.1"), LEFT);
        assert_eq!(stands(SHOP, "::ffff:192.0.2.1"), LEFT);
        assert_eq!((stands(BLOG, "192.0.2.1"), stands(SHOP, "192.0.2.2")), (None, None));
        assert_eq!((stands(BLOG, "198.51.100.9"), stands(SHOP, "198.51.100.9")), (Some(Left::Open), None));
        assert_eq!(stands(SHOP, "2001:db8:1:2:3::4"), LEFT);
        let of_all = |client| bans.stands_at(now, SHOP, address(client)).unwrap().of_all;
        assert_eq!((of_all("203.0.113.7"), of_all("192.0.2.1")), (true, false));
        assert_eq!(stands(SHOP, "2001:db8:1:3::4"), None);
        assert_eq!(
            (stands(SHOP, "203.0.113.7"), stands(BLOG, "203.0.113.8")),
            (Some(Left::Time(2 * HOUR)), Some(Left::Time(2 * HOUR)))
        );
        let stands = |site, client| left(bans.stands_at(now + HOUR, site, address(client)));
        assert_eq!((stands(SHOP, "192.0.2.1"), stands(SHOP, "2001:db8:1:2::1")), (None, None));
        assert_eq!(stands(SHOP, "203.0.113.7"), LEFT);
        bans.replace_at(now, Vec::new());
        assert!(bans.is_empty() && stands(BLOG, "198.51.100.9").is_none());
    }

    #[tokio::test]
    async fn what_a_limit_makes_holds_until_it_is_kept_and_goes_when_it_is_ended_there() {
        let (bans, now) = (Bans::default(), Instant::now());
        let client = address("192.0.2.1");
        bans.make_at(now, SHOP, client, HOUR);
        bans.made().await;
        bans.replace_at(now, Vec::new());
        assert_eq!(left(bans.stands_at(now, SHOP, client)), LEFT, "nobody keeps it yet");
        let made = bans.take_made();
        assert_eq!((made.len(), made[0].address, made[0].length), (1, client, HOUR));
        // The database was away.
        bans.put_back(made);
        bans.replace_at(now, Vec::new());
        assert!(bans.stands_at(now, SHOP, client).is_some());
        assert_eq!(bans.take_made().len(), 1);
        bans.replace_at(now, vec![ban(Some(SHOP), "192.0.2.1", Some(HOUR))]);
        assert!(bans.stands_at(now, SHOP, client).is_some());
        bans.replace_at(now, Vec::new());
        assert!(bans.stands_at(now, SHOP, client).is_none() && bans.is_empty());
    }

    #[test]
    fn an_attack_does_not_have_all_bans_read_again_and_again() {
        let (bans, now) = (Bans::default(), Instant::now());
        let at = |seconds| now + Duration::from_secs(seconds);
        assert_eq!((bans.wanted_at(now), bans.wanted_at(now)), (Wanted::All, Wanted::All), "nothing is known");
        bans.has_read(1_000_000);
        assert_eq!((bans.wanted_at(now), bans.wanted_at(now)), (Wanted::All, Wanted::All));
        let new = Wanted::Since(940_000, WHOLE_EVERY);
        assert_eq!((bans.wanted_at(now), bans.wanted_at(now)), (new, new));
        assert_eq!(bans.wanted_at(at(4)), Wanted::Since(940_000, Duration::from_secs(1)));
        let whole = (0..120).filter(|it| bans.wanted_at(at(5 + it / 2)) == Wanted::All).count();
        assert_eq!(whole, 12, "one in five seconds");
    }

    #[test]
    fn what_is_new_is_added_to_what_is_known() {
        let bans = Bans::default();
        bans.replace(vec![ban(Some(SHOP), "192.0.2.1", Some(HOUR)), ban(Some(SHOP), "203.0.113.0/24", Some(HOUR))]);
        bans.add(vec![
            ban(Some(SHOP), "192.0.2.1", None),
            ban(None, "192.0.2.2", Some(HOUR)),
            ban(Some(SHOP), "203.0.113.0/24", None),
        ]);
        assert_eq!(bans.len(), 3);
        for client in ["192.0.2.1", "203.0.113.7"] {
            assert_eq!(left(bans.stands(SHOP, address(client))), Some(Left::Open), "{client}");
        }
        assert!(bans.stands(BLOG, address("192.0.2.2")).is_some());
    }

    #[test]
    fn an_attack_from_everywhere_takes_no_more_memory() {
        let (bans, now) = (Bans::default(), Instant::now());
        for number in 0..=u32::try_from(ADDRESSES_MAX).unwrap() {
            bans.make_at(now, SHOP, IpAddr::V4(std::net::Ipv4Addr::from_bits(number)), HOUR);
        }
        assert_eq!((bans.len(), bans.take_made().len()), (ADDRESSES_MAX, MADE_MAX));
    }
}
