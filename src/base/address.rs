//! What kind of address one is: of the public internet, or of some other use (IANA's special-purpose registries, RFC 6890).
//!
//! SECURITY: what the server connects to by a name that somebody else wrote goes through here. All that is not known to be public
//! counts as not public, and an address that has another one inside counts as that one at best.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// The use of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Anybody on the internet may have it.
    Public,
    /// No address at all: `0.0.0.0`, `::`, and "this network".
    Unspecified,
    /// This machine.
    Loopback,
    /// A private network (RFC 1918, RFC 4193).
    Private,
    /// Behind a provider's NAT (RFC 6598).
    CarrierNat,
    /// One wire; also where clouds answer about the machine (`169.254.169.254`).
    LinkLocal,
    /// Many at once.
    Multicast,
    /// For examples in documents.
    Documentation,
    /// For measuring networks.
    Benchmark,
    /// An IPv4 address inside an IPv6 one, or a tunnel: where it leads is not what it looks like.
    Embedded,
    /// Reserved, for protocols or for later.
    Reserved,
}

impl Class {
    /// With its article, for people: `a private address`.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Public => "a public address",
            Self::Unspecified => "no address of anything",
            Self::Loopback => "an address inside the machine itself (loopback)",
            Self::Private => "a private address",
            Self::CarrierNat => "an address behind a provider's NAT",
            Self::LinkLocal => "a link-local address",
            Self::Multicast => "a multicast address",
            Self::Documentation => "an address for examples in documents",
            Self::Benchmark => "an address for measurements",
            Self::Embedded => "an address with another one inside",
            Self::Reserved => "a reserved address",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// The use of an address.
pub fn class(address: IpAddr) -> Class {
    match address {
        IpAddr::V4(it) => class_v4(it),
        IpAddr::V6(it) => class_v6(it),
    }
}

const fn class_v4(address: Ipv4Addr) -> Class {
    match address.octets() {
        [0, ..] => Class::Unspecified,
        [127, ..] => Class::Loopback,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Class::Private,
        [100, 64..=127, ..] => Class::CarrierNat,
        [169, 254, ..] => Class::LinkLocal,
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Class::Documentation,
        [198, 18..=19, ..] => Class::Benchmark,
        [224..=239, ..] => Class::Multicast,
        // Protocols of the IETF, relays of 6to4, and what was never given out with the broadcast address at its end.
        [192, 0, 0, _] | [192, 88, 99, _] | [240..=255, ..] => Class::Reserved,
        _ => Class::Public,
    }
}

fn class_v6(address: Ipv6Addr) -> Class {
    let segments = address.segments();
    match segments {
        [0, 0, 0, 0, 0, 0, 0, 0] => Class::Unspecified,
        [0, 0, 0, 0, 0, 0, 0, 1] => Class::Loopback,
        // A resolver of a network without IPv4 makes these of A records (RFC 6147): they lead to that address.
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => inner(address).map_or(Class::Embedded, class_v4),
        // Mapped and compatible ones, translation of one's own (RFC 8215), Teredo, 6to4.
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0x64, 0xff9b, ..] | [0x2001, 0, ..] | [0x2002, ..] => Class::Embedded,
        // With site-local ones, which are no more (RFC 3879).
        [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..] => Class::Private,
        [0xfe80..=0xfebf, ..] => Class::LinkLocal,
        [0xff00..=0xffff, ..] => Class::Multicast,
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0x0fff, ..] => Class::Documentation,
        [0x2001, 2, 0, ..] => Class::Benchmark,
        // Protocols of the IETF: 2001::/23.
        [0x2001, 0..=0x1ff, ..] => Class::Reserved,
        // All that is given out so far.
        [0x2000..=0x3fff, ..] => Class::Public,
        _ => Class::Reserved,
    }
}

/// The IPv4 address in an IPv6 one, where its form says that there is one.
pub fn inner(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let join = |upper: u16, lower: u16| Ipv4Addr::from_bits(u32::from(upper) << 16 | u32::from(lower));
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, upper, lower] | [0x64, 0xff9b, 0, 0, 0, 0, upper, lower] => {
            Some(join(upper, lower))
        }
        [0x2002, upper, lower, ..] => Some(join(upper, lower)),
        _ => None,
    }
}

/// The name that an address has in DNS (RFC 1035 §3.5, RFC 3596 §2.5), without a dot at its end.
pub fn reverse_name(address: IpAddr) -> String {
    match address {
        IpAddr::V4(it) => {
            let [a, b, c, d] = it.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(it) => {
            let digits = format!("{:032x}", it.to_bits());
            let reversed: Vec<String> = digits.chars().rev().map(String::from).collect();
            format!("{}.ip6.arpa", reversed.join("."))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_of_ipv4_is_of_its_class() {
        for (text, wanted) in [
            ("0.0.0.0", Class::Unspecified),
            ("0.1.2.3", Class::Unspecified),
            ("9.255.255.255", Class::Public),
            ("10.0.0.0", Class::Private),
            ("10.255.255.255", Class::Private),
            ("11.0.0.0", Class::Public),
            ("100.63.255.255", Class::Public),
            ("100.64.0.0", Class::CarrierNat),
            ("100.127.255.255", Class::CarrierNat),
            ("100.128.0.0", Class::Public),
            ("126.255.255.255", Class::Public),
            ("127.0.0.1", Class::Loopback),
            ("127.255.255.254", Class::Loopback),
            ("128.0.0.0", Class::Public),
            ("169.253.255.255", Class::Public),
            ("169.254.169.254", Class::LinkLocal),
            ("172.15.255.255", Class::Public),
            ("172.16.0.0", Class::Private),
            ("172.31.255.255", Class::Private),
            ("172.32.0.0", Class::Public),
            ("192.0.0.8", Class::Reserved),
            ("192.0.2.1", Class::Documentation),
            ("192.0.1.1", Class::Public),
            ("192.88.99.1", Class::Reserved),
            ("192.167.255.255", Class::Public),
            ("192.168.0.1", Class::Private),
            ("192.169.0.0", Class::Public),
            ("198.17.255.255", Class::Public),
            ("198.18.0.0", Class::Benchmark),
            ("198.19.255.255", Class::Benchmark),
            ("198.51.100.7", Class::Documentation),
            ("203.0.113.5", Class::Documentation),
            ("223.255.255.255", Class::Public),
            ("224.0.0.1", Class::Multicast),
            ("239.255.255.255", Class::Multicast),
            ("240.0.0.1", Class::Reserved),
            ("255.255.255.255", Class::Reserved),
        ] {
            assert_eq!(class(text.parse().unwrap()), wanted, "{text}");
        }
    }

    #[test]
    fn each_address_of_ipv6_is_of_its_class() {
        for (text, wanted) in [
            ("::", Class::Unspecified),
            ("::1", Class::Loopback),
            ("::2", Class::Embedded),
            ("::127.0.0.1", Class::Embedded),
            ("::ffff:127.0.0.1", Class::Embedded),
            ("::ffff:8.8.8.8", Class::Embedded),
            ("64:ff9b::8.8.8.8", Class::Public),
            ("64:ff9b::10.0.0.1", Class::Private),
            ("64:ff9b::169.254.169.254", Class::LinkLocal),
            ("64:ff9b::127.0.0.1", Class::Loopback),
            ("64:ff9b:1::8.8.8.8", Class::Embedded),
            ("100::1", Class::Reserved),
            ("2000::1", Class::Public),
            ("2001::1", Class::Embedded),
            ("2001:2::1", Class::Benchmark),
            ("2001:20::1", Class::Reserved),
            ("2001:1ff::1", Class::Reserved),
            ("2001:200::1", Class::Public),
            ("2001:db7::1", Class::Public),
            ("2001:db8::1", Class::Documentation),
            ("2001:db9::1", Class::Public),
            ("2002:a00:1::1", Class::Embedded),
            ("2002:808:808::1", Class::Embedded),
            ("2606:4700::1111", Class::Public),
            ("3fff:fff::1", Class::Documentation),
            ("3fff:1000::1", Class::Public),
            ("4000::1", Class::Reserved),
            ("5f00::1", Class::Reserved),
            ("fc00::1", Class::Private),
            ("fdff::1", Class::Private),
            ("fe80::1", Class::LinkLocal),
            ("febf::1", Class::LinkLocal),
            ("fec0::1", Class::Private),
            ("ff02::1", Class::Multicast),
        ] {
            assert_eq!(class(text.parse().unwrap()), wanted, "{text}");
        }
    }

    #[test]
    fn the_address_inside_is_found() {
        for (text, wanted) in [
            ("::ffff:10.0.0.1", Some("10.0.0.1")),
            ("64:ff9b::10.0.0.1", Some("10.0.0.1")),
            ("2002:a00:1::9", Some("10.0.0.1")),
            ("::10.0.0.1", Some("10.0.0.1")),
            ("::1", None),
            ("2606:4700::1111", None),
        ] {
            let found = inner(text.parse().unwrap());
            assert_eq!(found, wanted.map(|it| it.parse().unwrap()), "{text}");
        }
    }

    proptest::proptest! {
        /// Whatever is public is none of what the standard library knows to be for other uses.
        #[test]
        fn what_is_public_is_nothing_else(bits: u32, bits6: u128) {
            let v4 = Ipv4Addr::from_bits(bits);
            if class_v4(v4) == Class::Public {
                let other = v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_broadcast();
                proptest::prop_assert!(!other && !v4.is_documentation() && !v4.is_multicast() && !v4.is_unspecified());
            }
            let v6 = Ipv6Addr::from_bits(bits6);
            if class_v6(v6) == Class::Public {
                let other = v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_loopback() || v6.is_multicast();
                proptest::prop_assert!(!other && v6.to_ipv4().is_none() && v6.segments()[0] & 0xe000 == 0x2000);
            }
        }
    }

    #[test]
    fn addresses_have_names() {
        assert_eq!(reverse_name("203.0.113.7".parse().unwrap()), "7.113.0.203.in-addr.arpa");
        let name = reverse_name("2001:db8::1".parse().unwrap());
        assert!(
            name.starts_with("1.0.0.0.") && name.ends_with(".8.b.d.0.1.0.0.2.ip6.arpa") && name.len() == 72,
            "{name}"
        );
    }
}
