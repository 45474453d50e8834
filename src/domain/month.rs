//! Months of UTC, the tables whose rows are kept by month, and how long.
//!
//! A row belongs to the month of its `created_ms`, whatever its id or the time zone of who looks.

use std::fmt;

use jiff::{Timestamp, civil::Date, tz::TimeZone};

use crate::domain::{Error, Result};

/// The longest time that rows can be asked to be kept for: a hundred years is for ever.
const KEPT_MAX: u32 = 1_200;

/// A month of UTC: `2026-01`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month {
    /// Months since the beginning of the year 0.
    number: i64,
}

impl Month {
    /// The month of a time in milliseconds since 1970. Times that no calendar has count as the nearest that it has.
    pub fn of(ms: i64) -> Self {
        let nearest = if ms < 0 { Timestamp::MIN } else { Timestamp::MAX };
        let at = Timestamp::from_millisecond(ms).unwrap_or(nearest);
        let date = TimeZone::UTC.to_datetime(at).date();
        Self { number: i64::from(date.year()) * 12 + i64::from(date.month()) - 1 }
    }

    /// The month of a year, 1 to 12.
    pub fn new(year: i16, month: i8) -> Result<Self> {
        let no_month = || Error::invalid("month", "Write a month as 2026-01.");
        let date = Date::new(year, month, 1).map_err(|_| no_month())?;
        Ok(Self { number: i64::from(date.year()) * 12 + i64::from(date.month()) - 1 })
    }

    /// Reads `2026-01`, and `2026_01` as in the name of a part.
    pub fn parse(text: &str) -> Result<Self> {
        let parts =
            text.split_once(['-', '_']).and_then(|(year, month)| Some((year.parse().ok()?, month.parse().ok()?)));
        let (year, month) = parts.ok_or_else(|| Error::invalid("month", "Write a month as 2026-01."))?;
        Self::new(year, month)
    }

    /// The month `months` later, or earlier when that is negative.
    #[must_use]
    pub const fn plus(self, months: i64) -> Self {
        Self { number: self.number.saturating_add(months) }
    }

    /// Its first millisecond since 1970; that of the next month is where it ends.
    pub fn start_ms(self) -> i64 {
        let year =
            i16::try_from(self.number.div_euclid(12)).unwrap_or(if self.number < 0 { i16::MIN } else { i16::MAX });
        let month = i8::try_from(self.number.rem_euclid(12) + 1).unwrap_or(1);
        let date = Date::new(year, month, 1).unwrap_or(if self.number < 0 { Date::MIN } else { Date::MAX });
        TimeZone::UTC.to_timestamp(date.at(0, 0, 0, 0)).map_or(i64::MAX, Timestamp::as_millisecond)
    }

    /// From its first millisecond to that of the next month.
    pub fn range_ms(self) -> (i64, i64) {
        (self.start_ms(), self.plus(1).start_ms())
    }

    /// As it stands in the name of a part: `2026_01`.
    pub fn suffix(self) -> String {
        format!("{:04}_{:02}", self.number.div_euclid(12), self.number.rem_euclid(12) + 1)
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.number.div_euclid(12), self.number.rem_euclid(12) + 1)
    }
}

/// A table whose rows are kept by month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MonthTable {
    /// Events, in a hash chain for each tenant.
    AuditLog,
    /// Anchors.
    BlockchainRecord,
}

impl MonthTable {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::AuditLog, Self::BlockchainRecord];

    /// Its name in SQL, in settings and in file names.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AuditLog => "audit_log",
            Self::BlockchainRecord => "blockchain_record",
        }
    }
}

/// For how many whole months rows are kept after the month that they were made in; for ever when nothing is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Of the audit log.
    pub audit_log: Option<u32>,
    /// Of the anchors.
    pub blockchain_record: Option<u32>,
}

impl Retention {
    /// Reads `24 months` or `2 years`.
    pub fn parse(text: &str) -> Result<u32> {
        let wrong =
            || Error::invalid("retention", "Write for how long, as in `24 months` or `2 years`; at most 100 years.");
        let (count, unit) = text.trim().split_once(' ').ok_or_else(wrong)?;
        let count: u32 = count.parse().map_err(|_| wrong())?;
        let months = match unit.trim() {
            "month" | "months" => count,
            "year" | "years" => count.saturating_mul(12),
            _ => return Err(wrong()),
        };
        if (1..=KEPT_MAX).contains(&months) { Ok(months) } else { Err(wrong()) }
    }

    /// The first month of a table that is still kept in the month `now`; `None`: all are.
    pub fn first_kept(&self, table: MonthTable, now: Month) -> Option<Month> {
        let months = match table {
            MonthTable::AuditLog => self.audit_log,
            MonthTable::BlockchainRecord => self.blockchain_record,
        };
        months.map(|it| now.plus(-i64::from(it)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_begins_and_ends_where_utc_does() {
        let month = Month::parse("2026-02").unwrap();
        assert_eq!(month.range_ms(), (1_769_904_000_000, 1_772_323_200_000));
        assert_eq!(Month::of(1_772_323_199_999), month);
        assert_eq!(Month::of(1_772_323_200_000).to_string(), "2026-03");
        assert_eq!(
            (month.plus(11).to_string(), month.plus(-2).suffix()),
            (String::from("2027-01"), String::from("2025_12"))
        );
        assert_eq!(
            (Month::of(0).to_string(), Month::of(-1).to_string()),
            (String::from("1970-01"), String::from("1969-12"))
        );
        assert!(Month::of(i64::MAX) > month && Month::of(i64::MIN) < month);
        for wrong in ["2026", "2026-13", "2026-0", "x-1", ""] {
            assert!(Month::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_present_month_comes_on_top_of_those_that_are_kept() {
        let retention = Retention { audit_log: Some(Retention::parse("2 years").unwrap()), blockchain_record: None };
        let now = Month::parse("2026-11").unwrap();
        assert_eq!(retention.first_kept(MonthTable::AuditLog, now).unwrap().to_string(), "2024-11");
        assert_eq!(retention.first_kept(MonthTable::BlockchainRecord, now), None);
        for wrong in ["0 months", "24", "2 weeks", "1201 months", "-1 months", "4294967295 years"] {
            assert_eq!(Retention::parse(wrong).unwrap_err().code, "retention", "{wrong}");
        }
    }
}
