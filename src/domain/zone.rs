//! A time zone by its IANA name: `Europe/Berlin`.
//!
//! The rules of all zones are in the program itself. Nothing here reads `/usr/share/zoneinfo`, so that a server without
//! that folder, or with an old one, keeps the same time as any other.

use std::fmt;

use jiff::tz::{TimeZone, TimeZoneDatabase};

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
        for wrong in ["", "Mars/Olympus", "+02:00", "../etc/passwd", "CEST-2"] {
            assert_eq!(Zone::parse(wrong).unwrap_err().code, "zone", "{wrong}");
        }
    }
}
