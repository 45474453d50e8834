//! What DNS says, in types. Nothing here asks anybody.
//!
//! Names are lower-case, without a dot at their end; the root is empty.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::caa::Property;

/// The kinds of records that are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An IPv4 address.
    A,
    /// An IPv6 address.
    Aaaa,
    /// Another name for this one.
    Cname,
    /// Which authorities may give certificates (RFC 8659).
    Caa,
    /// The name servers of a zone.
    Ns,
    /// Text.
    Txt,
    /// The begin of a zone.
    Soa,
}

impl Kind {
    /// As in a zone file.
    pub const fn word(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Cname => "CNAME",
            Self::Caa => "CAA",
            Self::Ns => "NS",
            Self::Txt => "TXT",
            Self::Soa => "SOA",
        }
    }
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// Another name.
    Cname(String),
    /// A property of CAA.
    Caa(Property),
    /// A name server.
    Ns(String),
    /// Text, its pieces joined.
    Txt(Vec<u8>),
    /// For how many seconds a negative answer of this zone counts.
    Soa {
        /// The last field of the record.
        minimum_s: u32,
    },
}

/// An answer: records, or that there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The names that aliases lead to, one behind the other; the records are those of the last.
    pub chain: Vec<String>,
    /// What was asked for; nothing when the name has no record of that kind.
    pub records: Vec<Record>,
    /// Whether there is no such name at all (NXDOMAIN), at the end of the chain.
    pub no_name: bool,
    /// The zone that a negative answer comes from.
    pub zone: Option<String>,
    /// For how many seconds it counts still.
    pub ttl_s: u32,
}

impl Answer {
    /// The addresses in it.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.records.iter().filter_map(|it| match it {
            Record::A(it) => Some(IpAddr::V4(*it)),
            Record::Aaaa(it) => Some(IpAddr::V6(*it)),
            _ => None,
        })
    }
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The server could not find out (SERVFAIL): the zone's own servers fail, or DNSSEC does not fit.
    ServerFailed,
    /// The server does not answer this question (REFUSED, NOTAUTH, NOTIMP).
    Refused,
    /// No answer came in time.
    Silent,
    /// Nobody can be asked: no server is there, or the network is not.
    Unreachable,
    /// Aliases lead in a circle, or over too many names.
    Loop,
    /// What came is no answer to the question.
    Malformed,
}

impl Failure {
    /// For people, after "the answer was".
    pub const fn words(self) -> &'static str {
        match self {
            Self::ServerFailed => "SERVFAIL",
            Self::Refused => "REFUSED",
            Self::Silent => "no answer in time",
            Self::Unreachable => "no connection",
            Self::Loop => "aliases without an end",
            Self::Malformed => "an answer that cannot be read",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// The name above: `example.org` of `www.example.org`; `None` above a top-level domain.
pub fn above(name: &str) -> Option<&str> {
    name.split_once('.').map(|(_, above)| above).filter(|it| !it.is_empty())
}

/// Whether `name` is `zone` or lies below it.
pub fn is_within(name: &str, zone: &str) -> bool {
    name == zone || zone.is_empty() || name.strip_suffix(zone).is_some_and(|it| it.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lie_below_one_another() {
        assert_eq!(above("www.example.org"), Some("example.org"));
        assert_eq!(above("org"), None);
        for (name, zone, wanted) in [
            ("www.example.org", "example.org", true),
            ("example.org", "example.org", true),
            ("anexample.org", "example.org", false),
            ("org", "example.org", false),
            ("org", "", true),
        ] {
            assert_eq!(is_within(name, zone), wanted, "{name} {zone}");
        }
    }
}
