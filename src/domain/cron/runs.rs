//! The next run of an expression in a time zone, also where clocks are changed.
//!
//! The rule, as of old in cron: an expression that fits **every hour** of a day follows the hours as they pass. A time that
//! does not exist is left out, one that is there twice is run twice. **All others** run once for each time that they name:
//! when clocks go forward over it, at the moment when they do; when clocks go back over it, the first time only.
//!
//! Between two changes of the clock the local time runs on evenly. So the search goes from one change to the next, and looks
//! at single dates only in between. Guarantees: each run is later than the one before it, whatever the zone does.

use jiff::{Span, Timestamp, tz::Offset};

use super::{Cron, YEARS_MAX};
use crate::domain::zone::Zone;

impl Cron {
    /// The first run after `after_ms`, in milliseconds since 1970; `None` when none comes in 50 years.
    pub fn next_ms(&self, zone: &Zone, after_ms: i64) -> Option<i64> {
        self.next(zone, Timestamp::from_millisecond(after_ms).ok()?).map(Timestamp::as_millisecond)
    }

    fn next(&self, zone: &Zone, after: Timestamp) -> Option<Timestamp> {
        let rules = zone.rules();
        let nanosecond = Span::new().nanoseconds(1);
        let first = after.checked_add(nanosecond).ok()?;
        let horizon = after.checked_add(Span::new().hours(i64::from(YEARS_MAX) * 366 * 24)).unwrap_or(Timestamp::MAX);
        let mut offset = rules.to_offset(first);
        let mut from = offset.to_datetime(first);
        // In the second pass of times that were there before, those are over.
        if let Some(change) = rules.preceding(first.checked_add(nanosecond).ok()?).next() {
            let before = rules.to_offset(change.timestamp().checked_sub(nanosecond).ok()?);
            from = from.max(self.begins(before, change.offset(), change.timestamp()));
        }
        for change in rules.following(first) {
            let (at, new) = (change.timestamp(), change.offset());
            let until = offset.to_datetime(at);
            if let Some(found) = self.first_local(from, until) {
                return offset.to_timestamp(found).ok();
            }
            let forward = new.to_datetime(at);
            if !self.is_hourly() && self.first_local(from.max(until), forward).is_some() {
                return Some(at);
            }
            from = self.begins(offset, new, at);
            offset = new;
            if at > horizon {
                return None;
            }
        }
        let found = self.first_local(from, offset.to_datetime(horizon))?;
        offset.to_timestamp(found).ok()
    }

    /// The local time from which runs are looked for after a change of the clock at `at`.
    fn begins(&self, before: Offset, after: Offset, at: Timestamp) -> jiff::civil::DateTime {
        let (before, after) = (before.to_datetime(at), after.to_datetime(at));
        if self.is_hourly() { after } else { after.max(before) }
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::DateTime;
    use proptest::prelude::*;

    use super::*;

    const MINUTE_MS: i64 = 60_000;

    fn ms(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    /// The next `count` runs, as local times of the zone with their offset.
    fn runs(cron: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let (cron, zone) = (Cron::parse(cron).unwrap(), Zone::parse(zone).unwrap());
        let mut at = ms(after);
        std::iter::from_fn(|| {
            at = cron.next_ms(&zone, at)?;
            let instant = Timestamp::from_millisecond(at).unwrap();
            let offset = zone.rules().to_offset(instant);
            let (local, off) = (offset.to_datetime(instant), offset.seconds().abs() / 60);
            let sign = if offset.seconds() < 0 { '-' } else { '+' };
            let (month, day, hour, minute) = (local.month(), local.day(), local.hour(), local.minute());
            Some(format!("{month:02}-{day:02} {hour:02}:{minute:02}{sign}{:02}:{:02}", off / 60, off % 60))
        })
        .take(count)
        .collect()
    }

    #[test]
    fn runs_come_in_their_order() {
        let four = runs("30 4 1,15 * MON", "UTC", "2026-01-01T04:30:00Z", 4);
        assert_eq!(four, ["01-05 04:30+00:00", "01-12 04:30+00:00", "01-15 04:30+00:00", "01-19 04:30+00:00"]);
        assert_eq!(runs("0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z", 1), ["02-29 00:00+00:00"]);
        assert_eq!(
            Cron::parse("0 0 29 2 *").unwrap().next_ms(&Zone::UTC, ms("2096-03-01T00:00:00Z")),
            Some(ms("2104-02-29T00:00:00Z"))
        );
        let quarters = runs("*/15 * * * *", "Asia/Kathmandu", "2026-05-01T00:00:00Z", 2);
        assert_eq!(quarters, ["05-01 06:00+05:45", "05-01 06:15+05:45"]);
    }

    /// Berlin, 29 March 2026: 02:00 is followed by 03:00.
    #[test]
    fn a_time_that_does_not_exist_runs_when_clocks_go_forward() {
        let after = "2026-03-28T12:00:00Z";
        assert_eq!(
            runs("30 2 * * *", "Europe/Berlin", after, 2),
            ["03-29 03:00+02:00", "03-30 02:30+02:00"],
            "once, at the change"
        );
        assert_eq!(runs("15,45 2 * * *", "Europe/Berlin", after, 2), ["03-29 03:00+02:00", "03-30 02:15+02:00"]);
        assert_eq!(runs("0 2,3 * * *", "Europe/Berlin", after, 2), ["03-29 03:00+02:00", "03-30 02:00+02:00"]);
        assert_eq!(
            runs("30 * 29 3 *", "Europe/Berlin", "2026-03-29T00:00:00Z", 2),
            ["03-29 01:30+01:00", "03-29 03:30+02:00"],
            "hour by hour"
        );
        // Where the day itself begins an hour late.
        assert_eq!(runs("@daily", "Africa/Cairo", "2026-04-23T12:00:00Z", 1), ["04-24 01:00+03:00"]);
        // Samoa had no 30 December 2011.
        assert_eq!(
            runs("0 12 * * *", "Pacific/Apia", "2011-12-29T23:00:00Z", 2),
            ["12-31 00:00+14:00", "12-31 12:00+14:00"]
        );
    }

    /// Berlin, 25 October 2026: 03:00 is followed by 02:00.
    #[test]
    fn a_time_that_is_there_twice_runs_the_first_time() {
        let after = "2026-10-24T12:00:00Z";
        assert_eq!(runs("30 2 * * *", "Europe/Berlin", after, 2), ["10-25 02:30+02:00", "10-26 02:30+01:00"]);
        assert_eq!(
            runs("30 2 * * *", "Europe/Berlin", "2026-10-25T01:10:00Z", 1),
            ["10-26 02:30+01:00"],
            "asked between the two"
        );
        assert_eq!(runs("0 3 * * *", "Europe/Berlin", after, 1), ["10-25 03:00+01:00"], "that one is there once");
        assert_eq!(
            runs("30 * 25 10 *", "Europe/Berlin", "2026-10-24T23:00:00Z", 4),
            ["10-25 01:30+02:00", "10-25 02:30+02:00", "10-25 02:30+01:00", "10-25 03:30+01:00"]
        );
        // Half an hour, on Lord Howe Island: 02:00 is followed by 01:30.
        let twice = runs("*/15 1-2 * * *", "Australia/Lord_Howe", "2026-04-04T14:20:00Z", 5);
        assert_eq!(
            twice,
            ["04-05 01:30+11:00", "04-05 01:45+11:00", "04-05 02:00+10:30", "04-05 02:15+10:30", "04-05 02:30+10:30"]
        );
    }

    /// The rule minute by minute, without any cleverness.
    fn scan(cron: &Cron, zone: &Zone, after_ms: i64, until_ms: i64) -> Option<i64> {
        let local = |at_ms: i64| zone.rules().to_datetime(Timestamp::from_millisecond(at_ms).unwrap());
        let fits = |at: DateTime| {
            cron.fits(at.date()) && cron.hours.has(at.hour()) && cron.minutes.has(at.minute()) && at.second() == 0
        };
        let minute = Span::new().minutes(1);
        let mut at_ms = after_ms.div_euclid(MINUTE_MS) * MINUTE_MS;
        loop {
            at_ms += MINUTE_MS;
            if at_ms > until_ms {
                return None;
            }
            let now = local(at_ms);
            // What would have been shown, had nobody changed the clock.
            let mut expected = local(at_ms - MINUTE_MS).checked_add(minute).unwrap();
            let mut jumped_over = false;
            while expected < now {
                jumped_over |= fits(expected);
                expected = expected.checked_add(minute).unwrap();
            }
            let shown_before = || (1..=180).any(|back| local(at_ms - back * MINUTE_MS) == now);
            let runs = if cron.is_hourly() { fits(now) } else { jumped_over || (fits(now) && !shown_before()) };
            if runs {
                return Some(at_ms);
            }
        }
    }

    fn field(min: u32, max: u32) -> impl Strategy<Value = String> {
        let one = (min..=max).prop_map(|it| it.to_string());
        let range = (min..=max, min..=max).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b)));
        let step = (2..=max / 2 + 1).prop_map(|it| format!("*/{it}"));
        let list = prop::collection::vec(min..=max, 2..4)
            .prop_map(|it| it.iter().map(ToString::to_string).collect::<Vec<_>>().join(","));
        prop_oneof![4 => Just(String::from("*")), 3 => one, 1 => range, 1 => step, 1 => list]
    }

    fn expression() -> impl Strategy<Value = String> {
        let days = prop_oneof![4 => Just(String::from("*")), 1 => field(1, 31)];
        let weekdays = prop_oneof![4 => Just(String::from("*")), 1 => field(0, 7)];
        (field(0, 59), field(0, 23), days, weekdays)
            .prop_map(|(minute, hour, day, weekday)| format!("{minute} {hour} {day} * {weekday}"))
    }

    /// Moments around which the clocks of some zone are changed, and zones with whole, half and odd offsets.
    const CHANGES: &[(&str, &str)] = &[
        ("Europe/Berlin", "2026-03-29T01:00:00Z"),
        ("Europe/Berlin", "2026-10-25T01:00:00Z"),
        ("America/New_York", "2026-03-08T07:00:00Z"),
        ("America/New_York", "2026-11-01T06:00:00Z"),
        ("America/St_Johns", "2011-11-06T02:31:00Z"),
        ("America/Havana", "2026-11-01T05:00:00Z"),
        ("Africa/Cairo", "2026-04-23T22:00:00Z"),
        ("Africa/Cairo", "2026-10-29T21:00:00Z"),
        ("Australia/Lord_Howe", "2026-04-04T15:00:00Z"),
        ("Australia/Lord_Howe", "2026-10-03T15:30:00Z"),
        ("Pacific/Apia", "2011-12-30T10:00:00Z"),
        ("Asia/Kathmandu", "2026-01-01T00:00:00Z"),
        ("UTC", "2026-12-31T23:59:00Z"),
    ];

    proptest! {
        #![proptest_config(ProptestConfig { cases: 160, ..ProptestConfig::default() })]
        #[test]
        fn as_a_scan_of_all_minutes_finds(text in expression(), change in 0..CHANGES.len(), off in -2_000..2_000_i64, ms_off in 0..60_000_i64) {
            let (zone, at) = CHANGES[change];
            let cron = Cron::parse(&text).unwrap();
            let zone = Zone::parse(zone).unwrap();
            let after = ms(at) + off * MINUTE_MS + ms_off;
            let until = after + 4 * 1_440 * MINUTE_MS;
            let mut from = after;
            for _ in 0..4 {
                let found = cron.next_ms(&zone, from).filter(|it| *it <= until);
                prop_assert_eq!(found, scan(&cron, &zone, from, until), "{} {:?} after {}", &text, &zone, from);
                let Some(found) = found else { break };
                from = found;
            }
        }
    }
}
