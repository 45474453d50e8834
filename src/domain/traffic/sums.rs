//! Sums that are not stored yet, of all sites, in bounded memory.
//!
//! What has no room is dropped and counted. Memory does not depend on what clients ask for: on how many sites there are, and on how long
//! nothing could be stored.

use std::collections::{BTreeMap, HashMap};

use crate::{base::country::Country, domain::site::SiteId};

use super::{
    Counts, HOUR_MS, Period,
    tops::{Kind, Tops},
    visitors::Visitors,
};

/// Minutes of all sites together: a day without a database for 100 sites, some minutes for 20,000.
const MINUTES_MAX: usize = 150_000;
/// Hours of all sites together that have visitors or labels: a sketch may have 4 KiB.
const HOURS_MAX: usize = 20_000;
/// Rows that an hour makes besides its sums, and minutes of one.
const HOUR_WEIGHT: usize = 8;
const HOUR_MINUTES: usize = 60;
/// Labels of all sites together: some hundred bytes each.
const LABELS_MAX: usize = 100_000;

/// What is known of one answer when it has ended.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The site that answered.
    pub site: SiteId,
    /// When.
    pub at_ms: i64,
    /// The status.
    pub status: u16,
    /// Bytes of the body that were sent.
    pub bytes: u64,
    /// Whether a program asked.
    pub is_bot: bool,
    /// The hash of the visitor, for a page that a person looked at.
    pub visitor: Option<u32>,
    /// The path of that page, or of what is not there.
    pub label: Option<(Kind, Box<str>)>,
    /// Who led to the page.
    pub referrer: Option<Box<str>>,
    /// The country of the visitor, where it is known.
    pub country: Option<Country>,
}

/// What an hour of a site has besides its sums.
#[derive(Clone, Debug, Default)]
pub struct HourSums {
    /// Who was there.
    pub visitors: Visitors,
    /// The lists, in the order of [`Kind::ALL`].
    pub tops: [Tops; 4],
}

/// What is not stored yet of one site.
#[derive(Clone, Debug, Default)]
pub struct SiteSums {
    /// By the start of the minute.
    pub minutes: BTreeMap<i64, Counts>,
    /// By the start of the hour.
    pub hours: BTreeMap<i64, HourSums>,
    /// A number that grows with the sites that came: the lowest waits longest.
    since: u64,
}

impl SiteSums {
    /// How many rows these make at least: a minute is one, and an hour has lists and a sketch.
    pub fn weight(&self) -> usize {
        self.minutes.len() + self.hours.len() * HOUR_WEIGHT
    }

    /// Takes out the first hours, with at most so much weight; one hour at least. What is left is behind them.
    #[must_use]
    pub fn split_first(&mut self, weight_max: usize) -> Self {
        let mut first = Self { since: self.since, ..Self::default() };
        loop {
            let starts = [self.minutes.first_key_value().map(|it| *it.0), self.hours.first_key_value().map(|it| *it.0)];
            let Some(start) = starts.into_iter().flatten().min() else { return first };
            let end = Period::Hour.start_of(start).saturating_add(HOUR_MS);
            let minutes = self.minutes.split_off(&end);
            let hours = self.hours.split_off(&end);
            first.minutes.append(&mut std::mem::replace(&mut self.minutes, minutes));
            first.hours.append(&mut std::mem::replace(&mut self.hours, hours));
            // One more hour may come to all of its minutes.
            if first.weight() + HOUR_MINUTES + HOUR_WEIGHT > weight_max {
                return first;
            }
        }
    }
}

/// What is not stored yet.
#[derive(Debug, Default)]
pub struct Sums {
    sites: HashMap<SiteId, SiteSums>,
    came: u64,
    minutes: usize,
    hours: usize,
    labels: usize,
    dropped: u64,
}

impl Sums {
    /// Whether there is nothing to store.
    pub fn is_empty(&self) -> bool {
        self.sites.is_empty()
    }

    /// Answers that are in no sum, and visitors and labels that are in no list, for want of room.
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Takes one answer.
    pub fn take_in(&mut self, it: Answered) {
        let mut counts = Counts::default();
        let is_page = it.visitor.is_some();
        counts.count(it.status, it.bytes, is_page, it.is_bot);
        if !self.add_minute(it.site, Period::Minute.start_of(it.at_ms), &counts) {
            return;
        }
        if it.visitor.is_none() && it.label.is_none() {
            return;
        }
        let hour_ms = Period::Hour.start_of(it.at_ms);
        let mut labels = 0;
        let room = self.labels < LABELS_MAX;
        let Some(hour) = self.hour(it.site, hour_ms) else { return };
        if let Some(visitor) = it.visitor {
            hour.visitors.insert(visitor);
        }
        let referrer = it.referrer.map(|host| (Kind::Referrer, host));
        let country = it.country.map(|it| (Kind::Country, it.code().into()));
        for (kind, label) in it.label.into_iter().chain(referrer).chain(country) {
            labels += hour.count(kind, label, 1, room);
        }
        self.labels += labels;
    }

    /// Takes more bytes of an answer that was taken before.
    pub fn take_in_bytes(&mut self, site: SiteId, at_ms: i64, bytes: u64) {
        let counts = Counts { bytes, ..Counts::default() };
        if !self.add_minute(site, Period::Minute.start_of(at_ms), &counts) {
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    fn site(&mut self, site: SiteId) -> &mut SiteSums {
        self.sites.entry(site).or_insert_with(|| {
            self.came += 1;
            SiteSums { since: self.came, ..SiteSums::default() }
        })
    }

    fn add_minute(&mut self, site: SiteId, start_ms: i64, counts: &Counts) -> bool {
        let full = self.minutes >= MINUTES_MAX;
        if full && !self.sites.get(&site).is_some_and(|it| it.minutes.contains_key(&start_ms)) {
            self.dropped = self.dropped.saturating_add(counts.requests);
            return false;
        }
        let minutes = &mut self.site(site).minutes;
        let before = minutes.len();
        minutes.entry(start_ms).or_default().add(counts);
        let new = minutes.len() - before;
        self.minutes += new;
        true
    }

    fn hour(&mut self, site: SiteId, start_ms: i64) -> Option<&mut HourSums> {
        let is_new = self.sites.get(&site).is_none_or(|it| !it.hours.contains_key(&start_ms));
        if is_new && self.hours >= HOURS_MAX {
            self.dropped = self.dropped.saturating_add(1);
            return None;
        }
        self.hours += usize::from(is_new);
        Some(self.site(site).hours.entry(start_ms).or_default())
    }

    /// Takes what is to be stored next, of at most `most` sites: those that wait longest.
    pub fn take(&mut self, most: usize) -> Vec<(SiteId, SiteSums)> {
        let mut order: Vec<(u64, SiteId)> = self.sites.iter().map(|(site, it)| (it.since, *site)).collect();
        order.sort_unstable_by_key(|it| it.0);
        let taken = order.into_iter().take(most).filter_map(|(_, site)| Some((site, self.sites.remove(&site)?)));
        let taken: Vec<_> = taken.collect();
        for (_, sums) in &taken {
            self.minutes -= sums.minutes.len();
            self.hours -= sums.hours.len();
            self.labels -= sums.hours.values().map(HourSums::labels).sum::<usize>();
        }
        taken
    }

    /// Takes back what could not be stored, as far as there is room.
    pub fn give_back(&mut self, taken: Vec<(SiteId, SiteSums)>) {
        for (site, sums) in taken {
            for (start_ms, counts) in sums.minutes {
                self.add_minute(site, start_ms, &counts);
            }
            for (start_ms, of_hour) in sums.hours {
                let mut labels = 0;
                let room = self.labels < LABELS_MAX;
                let Some(hour) = self.hour(site, start_ms) else { continue };
                hour.visitors.join(&of_hour.visitors);
                for (kind, tops) in Kind::ALL.into_iter().zip(of_hour.tops) {
                    for (label, count) in tops.certain() {
                        labels += hour.count(kind, label.into(), count, room);
                    }
                }
                self.labels += labels;
            }
            // What waits longest is stored first.
            if let Some(it) = self.sites.get_mut(&site) {
                it.since = it.since.min(sums.since);
            }
        }
    }
}

impl HourSums {
    /// Labels in all lists.
    fn labels(&self) -> usize {
        self.tops.iter().map(Tops::len).sum()
    }

    /// How many labels have come.
    fn count(&mut self, kind: Kind, label: Box<str>, times: u64, may_grow: bool) -> usize {
        let at = Kind::ALL.iter().position(|it| *it == kind).and_then(|it| self.tops.get_mut(it));
        at.map_or(0, |tops| {
            let before = tops.len();
            tops.count(label, times, may_grow);
            tops.len() - before
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{base::ids::Id, domain::traffic::HOUR_MS};

    fn site(n: u8) -> SiteId {
        SiteId(Id::from_bytes([n; 16]))
    }

    fn answered(site: SiteId, at_ms: i64, path: &str) -> Answered {
        let label = Some((Kind::Page, path.into()));
        let (visitor, referrer) = (Some(7), Some("a.example".into()));
        Answered { site, at_ms, status: 200, bytes: 10, is_bot: false, visitor, label, referrer, country: None }
    }

    #[test]
    fn answers_add_up_by_minute_and_hour_also_over_midnight_and_a_clock_set_back() {
        let mut sums = Sums::default();
        let midnight = 20_000 * 24 * HOUR_MS;
        for at_ms in [midnight - 1, midnight, midnight + 59_999, midnight - 1, midnight - 5 * HOUR_MS] {
            sums.take_in(answered(site(1), at_ms, "/"));
        }
        let taken = sums.take(10);
        let (_, of_site) = &taken[0];
        let requests: Vec<(i64, u64)> = of_site.minutes.iter().map(|(at, it)| (*at - midnight, it.requests)).collect();
        assert_eq!(requests, [(-5 * HOUR_MS, 1), (-60_000, 2), (0, 2)]);
        assert_eq!(of_site.hours.len(), 3);
        assert!(sums.is_empty());
        assert_eq!((sums.minutes, sums.hours, sums.labels), (0, 0, 0));
    }

    #[test]
    fn more_bytes_of_an_answer_are_no_other_answer() {
        let mut sums = Sums::default();
        sums.take_in(answered(site(1), 0, "/"));
        sums.take_in_bytes(site(1), 59_999, 7);
        sums.take_in_bytes(site(1), 60_000, 5);
        let (_, of_site) = sums.take(1).remove(0);
        let seen: Vec<_> = of_site.minutes.iter().map(|(at, it)| (*at, it.requests, it.bytes)).collect();
        assert_eq!((seen, of_site.hours.len()), (vec![(0, 1, 17), (60_000, 0, 5)], 1));
        assert_eq!((sums.minutes, sums.hours, sums.labels), (0, 0, 0));
    }

    #[test]
    fn what_is_given_back_is_whole_and_comes_first() {
        let mut sums = Sums::default();
        sums.take_in(answered(site(1), 0, "/a"));
        let taken = sums.take(10);
        sums.take_in(answered(site(2), 0, "/"));
        sums.take_in(answered(site(1), 0, "/a"));
        sums.give_back(taken);
        let (first, of_site) = sums.take(1).remove(0);
        assert_eq!(first, site(1));
        assert_eq!(of_site.minutes[&0].requests, 2);
        let tops = of_site.hours[&0].tops[0].clone().certain();
        assert_eq!(tops, [(String::from("/a"), 2)]);
        assert_eq!(of_site.hours[&0].visitors.estimate(), 1);
        assert_eq!(sums.take(5).len(), 1);
        assert_eq!((sums.minutes, sums.hours, sums.labels), (0, 0, 0));
    }

    #[test]
    fn parts_are_hours_in_their_order_and_together_all() {
        let mut sums = Sums::default();
        for minute in 0..(26 * 60) {
            sums.take_in(answered(site(1), minute * 60_000 + 30_000, "/a"));
        }
        let (_, mut rest) = sums.take(1).remove(0);
        let (minutes, hours) = (rest.minutes.clone(), rest.hours.len());
        let (mut parts, mut end) = (Vec::new(), i64::MIN);
        while rest.weight() > 0 {
            let part = rest.split_first(300);
            assert!(part.weight() <= 300 && part.weight() > 0, "{}", part.weight());
            assert!(part.minutes.keys().all(|it| *it >= end && part.hours.contains_key(&Period::Hour.start_of(*it))));
            end = part.minutes.keys().last().unwrap() + 1;
            parts.push(part);
        }
        assert_eq!((parts.len(), hours), (7, 26), "four hours each");
        assert_eq!(parts.iter().map(|it| it.hours.len()).sum::<usize>(), hours);
        assert_eq!(parts.into_iter().flat_map(|it| it.minutes).collect::<BTreeMap<_, _>>(), minutes);
    }

    #[test]
    fn memory_is_bounded_whatever_is_asked_for() {
        let mut sums = Sums::default();
        for n in 0..100_000_u32 {
            sums.take_in(answered(site(1), 0, &format!("/{n}")));
        }
        assert_eq!((sums.minutes, sums.hours), (1, 1));
        assert!(sums.labels <= 2 * crate::domain::traffic::tops::CAPACITY, "{}", sums.labels);
        assert_eq!(sums.dropped(), 0);
        // A database that is away for long.
        for minute in 0..200_000 {
            sums.take_in(answered(site(2), minute * 60_000, "/"));
        }
        assert_eq!(sums.minutes, MINUTES_MAX);
        assert!(sums.hours <= HOURS_MAX && sums.labels <= LABELS_MAX + 512);
        assert_eq!(sums.dropped(), 50_001);
        sums.take(2);
        assert_eq!((sums.minutes, sums.hours, sums.labels), (0, 0, 0));
    }
}
