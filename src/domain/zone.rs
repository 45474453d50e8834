//! A time zone by its IANA name: `Europe/Berlin`.
//!
//! The rules of all zones are in the program itself. Nothing here reads `/usr/share/zoneinfo`, so that a server without
//! that folder, or with an old one, keeps the same time as any other.

use std::fmt;

use jiff::{
    Timestamp,
    tz::{TimeZone, TimeZoneDatabase},
};

use crate::domain::{Error, Result};

/// A time zone of the IANA database.
#[derive(Clone, PartialEq, Eq)]
pub struct Zone(TimeZone);

impl Zone {
    /// The zone of the database that ends no day early.
    pub const UTC: Self = Self(TimeZone::UTC);

    /// Finds a zone by its name, whatever the case of its letters.
    pub fn parse(name: &str) -> Result<Self> {
        let unknown = || {
            Error::invalid(
                "zone",
                format!("`{name}` is not a time zone. Use a name of the IANA database, such as Europe/Berlin or UTC."),
            )
            .on("zone")
        };
        let found = TimeZoneDatabase::bundled().get(name).map_err(|_| unknown())?;
        // A zone without a name could not be stored.
        if found.iana_name().is_none() { Err(unknown()) } else { Ok(Self(found)) }
    }

    /// The name, as the database spells it.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// What the clocks there show at a moment: `Mon 30 Nov 2026, 03:00`.
    pub fn clock_time(&self, ms: i64) -> String {
        let at = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX);
        self.0.to_datetime(at).strftime("%a %-d %b %Y, %H:%M").to_string()
    }

    /// The rules.
    pub(in crate::domain) const fn rules(&self) -> &TimeZone {
        &self.0
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_known_by_name_without_the_system() {
        assert_eq!(Zone::parse("europe/berlin").unwrap().name(), "Europe/Berlin");
        assert_eq!(Zone::parse("UTC").unwrap(), Zone::UTC);
        assert_eq!(Zone::parse("Europe/Berlin").unwrap().clock_time(1_777_878_000_000), "Mon 4 May 2026, 09:00");
        for wrong in ["", "Mars/Olympus", "+02:00", "../etc/passwd", "CEST-2"] {
            assert_eq!(Zone::parse(wrong).unwrap_err().code, "zone", "{wrong}");
        }
    }
}
