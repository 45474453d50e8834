//! Networks of addresses: which proxies are trusted, and by what a client is counted.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// All addresses that begin with the same bits: `10.0.0.0/8`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// Text that is neither an address nor a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotANetwork;

impl Network {
    /// Whether an address belongs to it. A mapped IPv4 address is the IPv4 one.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => same_start(ours.to_bits(), theirs.to_bits(), self.bits, 32),
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => same_start(ours.to_bits(), theirs.to_bits(), self.bits, 128),
            _ => false,
        }
    }

    /// The network of the address that a client is counted by.
    pub fn of_client(client: IpAddr) -> Self {
        let address = counted(client);
        Self { address, bits: if address.is_ipv4() { 32 } else { 64 } }
    }

    /// The address that all its clients are counted by, where that is one.
    pub fn only(&self) -> Option<IpAddr> {
        (*self == Self::of_client(self.address)).then_some(self.address)
    }

    /// As people write it: an address alone without its number of bits.
    pub fn shortest(&self) -> String {
        if self.width() == 0 { self.address.to_string() } else { self.to_string() }
    }

    /// Whether it is one of IPv4.
    pub const fn is_v4(&self) -> bool {
        self.address.is_ipv4()
    }

    /// This network and all that it is a part of, the narrowest first, each by its lowest address.
    pub fn around(self) -> impl Iterator<Item = Self> {
        (0..=self.bits).rev().map(move |bits| {
            let address = match self.address {
                // No bits at all: the lowest address of all.
                IpAddr::V4(it) => {
                    IpAddr::V4((it.to_bits() & u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0)).into())
                }
                IpAddr::V6(it) => {
                    IpAddr::V6((it.to_bits() & u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0)).into())
                }
            };
            Self { address, bits }
        })
    }

    /// How many addresses it has, as a power of two.
    pub fn width(&self) -> u8 {
        (if self.address.is_ipv4() { 32 } else { 128 }) - self.bits
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.shortest())
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|why| de::Error::custom(format_args!("`{}` is {why}", text.escape_debug())))
    }
}

/// Whether the upper `bits` of two numbers of `width` bits are the same.
fn same_start(ours: impl Into<u128>, theirs: impl Into<u128>, bits: u8, width: u8) -> bool {
    let differ = ours.into() ^ theirs.into();
    // No bits at all: every address.
    differ.checked_shr(u32::from(width.saturating_sub(bits))).unwrap_or(0) == 0
}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address = address.parse::<IpAddr>().map_err(|_| NotANetwork)?.to_canonical();
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(width), |it| it.parse().map_err(|_| NotANetwork))?;
        if bits > width {
            return Err(NotANetwork);
        }
        Ok(Self { address, bits })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl fmt::Display for NotANetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("neither an address, such as 127.0.0.1, nor a network, such as 10.0.0.0/8")
    }
}

impl std::error::Error for NotANetwork {}

/// The address that a client is counted by: a customer of IPv6 has a /64 at least, and could come from another of its
/// addresses each time.
pub fn counted(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(it) => IpAddr::V6(Ipv6Addr::from_bits(it.to_bits() & !u128::from(u64::MAX))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_in_their_networks_and_in_no_other() {
        for (network, address, wanted) in [
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("127.0.0.1", "::ffff:127.0.0.1", true),
            ("10.0.0.0/8", "10.255.1.2", true),
            ("10.1.2.3/8", "10.255.1.2", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::1", "::1", true),
        ] {
            let found = network.parse::<Network>().unwrap().contains(address.parse().unwrap());
            assert_eq!(found, wanted, "{network} {address}");
        }
        for wrong in ["", "localhost", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/-1", "10.0.0/8", "1.2.3.4:80"] {
            assert_eq!(wrong.parse::<Network>(), Err(NotANetwork), "{wrong}");
        }
    }

    #[test]
    fn a_network_is_a_part_of_all_wider_ones() {
        let of = |text: &str| text.parse::<Network>().unwrap().around().map(|it| it.to_string()).collect::<Vec<_>>();
        let four = of("203.0.113.77/30");
        assert_eq!((four.len(), four[0].as_str(), four[1].as_str()), (31, "203.0.113.76/30", "203.0.113.72/29"));
        assert_eq!((four[14].as_str(), four[30].as_str()), ("203.0.0.0/16", "0.0.0.0/0"));
        let six = of("2001:db8::1");
        assert_eq!((six.len(), six[0].as_str(), six[96].as_str()), (129, "2001:db8::1/128", "2001:db8::/32"));
        assert_eq!((six[128].as_str(), of("0.0.0.0/0").len()), ("::/0", 1));
    }

    #[test]
    fn neighbours_of_one_customer_are_counted_together() {
        let of = |text: &str| counted(text.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7");
        assert_ne!(of("192.0.2.7"), of("192.0.2.8"));
    }
}
