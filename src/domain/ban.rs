//! A ban: an address or a network that gets nothing of a site, or of all sites of a server.

use std::{fmt, str::FromStr};

use crate::{
    base::network::Network,
    domain::{Error, Result, site::SiteId, tenant::TenantId},
    id_type,
};

id_type!(
    /// The id of a ban.
    BanId
);

/// Who has made a ban.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Somebody.
    Person,
    /// The limits of a site.
    Limit,
}

impl Source {
    /// The stored word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Limit => "limit",
        }
    }

    /// Reads a stored word.
    pub fn parse(word: &str) -> Result<Self> {
        match word {
            "person" => Ok(Self::Person),
            "limit" => Ok(Self::Limit),
            _ => Err(Error::internal(format!("a ban has the unknown source `{word}`"))),
        }
    }
}

/// A ban as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// Its id.
    pub id: BanId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Of which site; `None`: of all of the server.
    pub site: Option<SiteId>,
    /// Who gets nothing.
    pub network: Network,
    /// Who has made it.
    pub source: Source,
    /// Why, for people.
    pub reason: String,
    /// By whom: an e-mail, or empty.
    pub made_by: String,
    /// When it was made.
    pub created_ms: i64,
    /// When it ends; `None`: when somebody ends it.
    pub until_ms: Option<i64>,
}

/// Where a page of a list of bans ends: the list has those of people first, then the newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Who has made the last one.
    pub source: Source,
    /// When.
    pub created_ms: i64,
    /// Its id.
    pub id: BanId,
}

impl Cursor {
    /// Behind this one.
    pub const fn of(ban: &Ban) -> Self {
        Self { source: ban.source, created_ms: ban.created_ms, id: ban.id }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.source.word(), self.created_ms, self.id)
    }
}

impl FromStr for Cursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::invalid("after", "`after` is the `next` of the page before.").on("after");
        let mut parts = text.splitn(3, '.');
        let mut part = || parts.next().ok_or_else(wrong);
        Ok(Self {
            source: Source::parse(part()?).map_err(|_| wrong())?,
            created_ms: part()?.parse().map_err(|_| wrong())?,
            id: part()?.parse().map_err(|_| wrong())?,
        })
    }
}

/// Longest reason.
pub const REASON_BYTES_MAX: usize = 200;
/// Longest time: a year. What is longer has no end.
pub const BAN_S_MAX: u32 = 31_536_000;
/// The widest network, as a power of two of addresses: a /16 of IPv4, and what a provider has of IPv6.
const WIDTH_MAX_V4: u8 = 16;
const WIDTH_MAX_V6: u8 = 96;

/// Reads the address or network of a ban; one that is wider than anybody can mean is refused.
pub fn parse_network(text: &str) -> Result<Network> {
    let wrong = |text: String| Error::invalid("ban_network", text).on("network");
    let network: Network = text.trim().parse().map_err(|why| {
        wrong(format!("`{}` is {why}. Write it as in 192.0.2.7 or 192.0.2.0/24.", text.escape_debug()))
    })?;
    let (most, smallest) = if network.is_v4() { (WIDTH_MAX_V4, "/16") } else { (WIDTH_MAX_V6, "/32") };
    if network.width() > most {
        return Err(wrong(format!(
            "`{network}` is too wide for a ban: it would shut out whole countries. The widest is a {smallest}."
        )));
    }
    Ok(network)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::Id;

    #[test]
    fn a_ban_is_of_one_address_or_of_a_network_that_somebody_can_mean() {
        for (text, wanted) in [
            ("192.0.2.7", Some("192.0.2.7")),
            (" 192.0.0.0/16 ", Some("192.0.0.0/16")),
            ("2001:db8::/32", Some("2001:db8::/32")),
            ("192.0.0.0/15", None),
            ("0.0.0.0/0", None),
            ("::/0", None),
            ("2001:d00::/24", None),
            ("example.org", None),
            ("", None),
        ] {
            assert_eq!(parse_network(text).ok().map(|it| it.shortest()).as_deref(), wanted, "{text}");
        }
    }

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let cursor =
            Cursor { source: Source::Limit, created_ms: 1_790_000_000_000, id: BanId(Id::from_bytes([7; 16])) };
        assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor);
        for wrong in ["", "limit", "limit.7", "limit.x.07", "nobody.7.07070707070707070707070707070707"] {
            assert!(wrong.parse::<Cursor>().is_err(), "{wrong}");
        }
    }
}
