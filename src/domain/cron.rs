//! When something is to run again and again: five fields as in crontab(5), or a word such as `@daily`.
//!
//! ```text
//! minute 0-59 │ hour 0-23 │ day 1-31 │ month 1-12 or JAN-DEC │ weekday 0-7 or SUN-SAT, Sunday is 0 and 7
//! ```
//!
//! A field is `*`, a number, a range `a-b`, a step `*/n` or `a-b/n`, or several of these with commas. When neither day nor
//! weekday begins with `*`, a date fits that fits one of them; else it must fit both, as cron has always done it.
//! What never comes (30 February) is refused. In which zone the fields are read, and what happens when clocks are
//! changed, is in `runs`.

mod runs;

use std::fmt;

use jiff::civil::{Date, DateTime, Time};

use crate::domain::{Error, Result};

/// Years in which a first run must come: 29 February on one weekday takes 40 at the turn of some centuries.
const YEARS_MAX: i16 = 50;

const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// A parsed expression.
#[derive(Clone, PartialEq, Eq)]
pub struct Cron {
    text: String,
    minutes: Set,
    hours: Set,
    days: Set,
    months: Set,
    weekdays: Set,
    /// Neither of the two begins with `*`: one of them is enough.
    either_day: bool,
}

/// Small numbers, a bit each.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Set(u64);

/// What a field may hold.
struct Field {
    name: &'static str,
    min: u32,
    max: u32,
    /// Words for the numbers from `min` on.
    words: &'static [&'static str],
}

impl Set {
    fn has(self, number: i8) -> bool {
        u32::try_from(number).is_ok_and(|it| self.first_from(it) == Some(it))
    }

    fn first_from(self, number: u32) -> Option<u32> {
        let rest = self.0.checked_shr(number).filter(|it| *it != 0)?;
        Some(number + rest.trailing_zeros())
    }

    const fn add(&mut self, number: u32) {
        self.0 |= 1 << number;
    }
}

impl Cron {
    /// Reads an expression.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let fields: Vec<&str> = spelled_out(text)?.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields.as_slice() else {
            return Err(wrong(&format!("`{text}` has {} fields.", fields.len())));
        };
        let minutes = Field { name: "minute", min: 0, max: 59, words: &[] }.parse(minute)?;
        let hours = Field { name: "hour", min: 0, max: 23, words: &[] }.parse(hour)?;
        let days = Field { name: "day", min: 1, max: 31, words: &[] }.parse(day)?;
        let months = Field { name: "month", min: 1, max: 12, words: MONTHS }.parse(month)?;
        let mut weekdays = Field { name: "weekday", min: 0, max: 7, words: WEEKDAYS }.parse(weekday)?;
        if weekdays.has(7) {
            weekdays.add(0);
        }
        let either_day = !day.starts_with('*') && !weekday.starts_with('*');
        let text = if text.starts_with('@') { text.to_ascii_lowercase() } else { fields.join(" ") };
        let cron = Self { text, minutes, hours, days, months, weekdays, either_day };
        let from = Date::constant(2000, 1, 1).to_datetime(Time::midnight());
        let until = Date::constant(2000 + YEARS_MAX, 1, 1).to_datetime(Time::midnight());
        if cron.first_local(from, until).is_none() {
            return Err(wrong(&format!("`{}` names a date that never comes.", cron.text)));
        }
        Ok(cron)
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it runs in every hour of the days that fit.
    fn is_hourly(&self) -> bool {
        self.hours.0 == (1 << 24) - 1
    }

    fn fits(&self, date: Date) -> bool {
        let by_day = self.days.has(date.day());
        let by_weekday = self.weekdays.has(date.weekday().to_sunday_zero_offset());
        let fits = if self.either_day { by_day || by_weekday } else { by_day && by_weekday };
        fits && self.months.has(date.month())
    }

    /// The first local time that fits, from `from` on and before `until`.
    fn first_local(&self, from: DateTime, until: DateTime) -> Option<DateTime> {
        let mut at = from;
        // Seconds are not part of an expression: from within a minute, the next one is the first.
        if at.second() != 0 || at.subsec_nanosecond() != 0 {
            let whole = DateTime::constant(at.year(), at.month(), at.day(), at.hour(), at.minute(), 0, 0);
            at = whole.checked_add(jiff::Span::new().minutes(1)).ok()?;
        }
        while at < until {
            if !self.months.has(at.month()) {
                at = at.last_of_month().date().tomorrow().ok()?.to_datetime(Time::midnight());
                continue;
            }
            if self.fits(at.date())
                && let Some(time) = self.first_time(at.time())
            {
                return Some(at.date().to_datetime(time)).filter(|it| *it < until);
            }
            at = at.date().tomorrow().ok()?.to_datetime(Time::midnight());
        }
        None
    }

    /// The first time of a day that fits, from `from` on.
    fn first_time(&self, from: Time) -> Option<Time> {
        let (hour, minute) = (u32::try_from(from.hour()).ok()?, u32::try_from(from.minute()).ok()?);
        let same_hour = || self.minutes.first_from(minute).filter(|_| self.hours.has(from.hour()));
        let (hour, minute) = match same_hour() {
            Some(minute) => (hour, minute),
            None => (self.hours.first_from(hour + 1)?, self.minutes.first_from(0)?),
        };
        Time::new(i8::try_from(hour).ok()?, i8::try_from(minute).ok()?, 0, 0).ok()
    }
}

/// The five fields that a word stands for.
fn spelled_out(text: &str) -> Result<&str> {
    if !text.starts_with('@') {
        return Ok(text);
    }
    Ok(match text.to_ascii_lowercase().as_str() {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        _ => return Err(wrong(&format!("`{text}` is not one of @yearly, @monthly, @weekly, @daily, @hourly."))),
    })
}

impl Field {
    fn parse(&self, text: &str) -> Result<Set> {
        let mut set = Set(0);
        for part in text.split(',') {
            let (range, step) = match part.split_once('/') {
                Some((range, step)) => (range, Some(step)),
                None => (part, None),
            };
            let (first, last) = match range.split_once('-') {
                _ if range == "*" => (self.min, self.max),
                Some((first, last)) => (self.number(first, text)?, self.number(last, text)?),
                None if step.is_some() => return Err(self.wrong(text, "a step follows `*` or a range")),
                None => (self.number(range, text)?, self.number(range, text)?),
            };
            if first > last {
                return Err(self.wrong(text, "a range goes up"));
            }
            let step = match step {
                None => 1,
                Some(step) => digits(step)
                    .filter(|it| (1..=self.max).contains(it))
                    .ok_or_else(|| self.wrong(text, &format!("a step is a number from 1 to {}", self.max)))?,
            };
            let mut number = first;
            while number <= last {
                set.add(number);
                number += step;
            }
        }
        Ok(set)
    }

    fn number(&self, text: &str, whole: &str) -> Result<u32> {
        let lower = text.to_ascii_lowercase();
        let word = self.words.iter().position(|it| *it == lower).and_then(|it| u32::try_from(it).ok());
        let number = word.map(|it| it + self.min).or_else(|| digits(text));
        number.filter(|it| (self.min..=self.max).contains(it)).ok_or_else(|| {
            let words = if self.words.is_empty() { "" } else { " or a name of three letters" };
            self.wrong(whole, &format!("it takes numbers from {} to {}{words}", self.min, self.max))
        })
    }

    fn wrong(&self, text: &str, why: &str) -> Error {
        wrong(&format!("The field for the {} is `{text}`, but {why}.", self.name))
    }
}

/// A number of at most two digits, and nothing else: `parse` would take a sign.
fn digits(text: &str) -> Option<u32> {
    let plain = (1..=2).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_digit());
    text.parse().ok().filter(|_| plain)
}

fn wrong(why: &str) -> Error {
    Error::invalid(
        "cron",
        format!("{why} Write five fields (minute, hour, day, month, weekday), such as `30 4 * * MON`, or @daily."),
    )
    .on("cron")
}

impl fmt::Debug for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(set: Set) -> Vec<u32> {
        (0..64).filter(|it| set.first_from(*it) == Some(*it)).collect()
    }

    #[test]
    fn lists_ranges_steps_and_names_are_read() {
        let cron = Cron::parse(" 0,30-32,*/20   9-17/4 1 jan,MAR-May mon-FRI ").unwrap();
        assert_eq!(numbers(cron.minutes), [0, 20, 30, 31, 32, 40]);
        assert_eq!(numbers(cron.hours), [9, 13, 17]);
        assert_eq!(numbers(cron.months), [1, 3, 4, 5]);
        assert_eq!(numbers(cron.weekdays), [1, 2, 3, 4, 5]);
        assert_eq!(cron.text(), "0,30-32,*/20 9-17/4 1 jan,MAR-May mon-FRI");
        assert_eq!(numbers(Cron::parse("0 0 * * 5-7").unwrap().weekdays), [0, 5, 6, 7]);
        let weekly = Cron::parse("@Weekly").unwrap();
        assert_eq!((numbers(weekly.weekdays), weekly.text()), (vec![0], "@weekly"));
        assert!(Cron::parse("@hourly").unwrap().is_hourly() && !weekly.is_hourly());
        assert!(Cron::parse("0 0-23 * * *").unwrap().is_hourly());
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, says) in [
            ("* * * *", "4 fields"),
            ("60 * * * *", "0 to 59"),
            ("* 24 * * *", "0 to 23"),
            ("* * 0 * *", "1 to 31"),
            ("* * * foo *", "a name of three letters"),
            ("* * * * 8", "0 to 7"),
            ("5-1 * * * *", "a range goes up"),
            ("5/10 * * * *", "a step follows"),
            ("*/0 * * * *", "a step is a number"),
            ("+5 * * * *", "0 to 59"),
            ("1,,2 * * * *", "0 to 59"),
            ("*-5 * * * *", "0 to 59"),
            ("* * * * * *", "6 fields"),
            ("@reboot", "not one of"),
            ("0 0 31 2,4,6,9,11 *", "never comes"),
            ("0 0 30 feb *", "never comes"),
        ] {
            let error = Cron::parse(text).unwrap_err();
            assert!(error.code == "cron" && error.message.contains(says), "{text}: {error}");
        }
        // The weekday is enough here; and this one comes once in 28 years.
        assert!(Cron::parse("0 0 30 feb MON").is_ok());
        assert!(Cron::parse("0 0 29 2 */7").is_ok());
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(2_000))]

        #[test]
        fn no_expression_is_too_much(text in "\\PC{0,60}|@?[a-z]{0,10}|(([0-9]{1,12}|\\*|jan|SUN)[,/\\- ]{0,2}){0,12}") {
            if let Ok(cron) = Cron::parse(&text) {
                let again = Cron::parse(cron.text()).unwrap();
                proptest::prop_assert_eq!(again.text(), cron.text());
            }
        }
    }
}
