//! Databases of countries (`.mmdb`), written for tests: <https://maxmind.github.io/MaxMind-DB/>.

#![expect(clippy::indexing_slicing, reason = "a test that panics says what went wrong")]

use std::net::IpAddr;

/// The bytes before the metadata.
pub(crate) const MARKER: &[u8] = b"\xab\xcd\xefMaxMind.com";

/// A value of the data section.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Text(String),
    Number(u64),
    /// Of 16 bits.
    Short(u64),
    /// Of 32 bits.
    Long(u64),
    Map(Vec<(&'static str, Value)>),
    List(Vec<Value>),
    /// To this place of the data section.
    Pointer(u32),
}

pub(crate) fn text(it: &str) -> Value {
    Value::Text(it.to_owned())
}

impl Value {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(it) => {
                control(out, 2, it.len());
                out.extend_from_slice(it.as_bytes());
            }
            Self::Number(it) => number(out, 9, *it),
            Self::Short(it) => number(out, 5, *it),
            Self::Long(it) => number(out, 6, *it),
            Self::Map(pairs) => {
                control(out, 7, pairs.len());
                for (key, value) in pairs {
                    text(key).write(out);
                    value.write(out);
                }
            }
            Self::List(all) => {
                control(out, 11, all.len());
                for it in all {
                    it.write(out);
                }
            }
            // The long form: five bytes, whatever it points to.
            Self::Pointer(to) => {
                out.push(0b0011_1000);
                out.extend(to.to_be_bytes());
            }
        }
    }
}

fn number(out: &mut Vec<u8>, kind: u8, number: u64) {
    let bytes: Vec<u8> = number.to_be_bytes().into_iter().skip_while(|it| *it == 0).collect();
    control(out, kind, bytes.len());
    out.extend(bytes);
}

/// The kind of a value and its size.
fn control(out: &mut Vec<u8>, kind: u8, size: usize) {
    let (size, more) = if size < 29 { (size, None) } else { (29, Some(u8::try_from(size - 29).unwrap())) };
    let size = u8::try_from(size).unwrap();
    if kind > 7 {
        out.extend([size, kind - 7]);
    } else {
        out.push(kind << 5 | size);
    }
    out.extend(more);
}

/// Who makes a database, and so where a record has its country.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// `GeoLite2` and DB-IP Lite.
    GeoLite,
    /// `IPinfo` Lite.
    IpInfo,
    /// The country database that `IPinfo` had before.
    IpInfoBefore,
    /// Only where an address is registered.
    Registered,
    /// No country at all.
    Asn,
}

impl Layout {
    fn record(self, code: &str) -> Value {
        let place = |code: &str| {
            Value::Map(vec![
                ("geoname_id", Value::Number(7)),
                ("iso_code", text(code)),
                ("names", Value::Map(vec![("en", text("Somewhere"))])),
            ])
        };
        Value::Map(match self {
            Self::GeoLite => vec![
                ("continent", Value::Map(vec![("code", text("EU"))])),
                ("country", place(code)),
                ("registered_country", place("US")),
            ],
            Self::IpInfo => {
                vec![("asn", text("AS64500")), ("country", text("Somewhere")), ("country_code", text(code))]
            }
            Self::IpInfoBefore => vec![("continent", text("EU")), ("country", text(code))],
            Self::Registered => vec![("registered_country", place(code))],
            Self::Asn => vec![("autonomous_system_number", Value::Number(64_500))],
        })
    }
}

/// A database to be written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mmdb<'a> {
    pub(crate) layout: Layout,
    /// Bits of a record of the tree: 24, 28 or 32.
    pub(crate) record_size: usize,
    /// 4 or 6.
    pub(crate) ip_version: u64,
    pub(crate) built_s: u64,
    /// Networks with their countries; later ones go into earlier ones.
    pub(crate) networks: &'a [(&'a str, &'a str)],
}

pub(crate) const PLAIN: Mmdb<'static> =
    Mmdb { layout: Layout::GeoLite, record_size: 24, ip_version: 6, built_s: 1_795_000_000, networks: &[] };

/// Where one side of a node leads.
#[derive(Clone, Copy, Debug)]
enum Side {
    Nothing,
    Node(usize),
    Record(usize),
}

impl Mmdb<'_> {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let (mut nodes, mut records) = (vec![[Side::Nothing; 2]], Vec::new());
        for (network, code) in self.networks {
            let at = records.len();
            self.layout.record(code).write(&mut records);
            insert(&mut nodes, &self.bits(network), at);
        }
        let mut out = Vec::new();
        for node in &nodes {
            let value = |side: Side| match side {
                Side::Nothing => nodes.len(),
                Side::Node(it) => it,
                Side::Record(at) => nodes.len() + 16 + at,
            };
            let [left, right] = node.map(|it| u32::try_from(value(it)).unwrap().to_be_bytes());
            match self.record_size {
                24 => out.extend([&left[1..], &right[1..]].concat()),
                28 => {
                    out.extend(&left[1..]);
                    out.push(left[0] << 4 | right[0]);
                    out.extend(&right[1..]);
                }
                _ => out.extend([left, right].concat()),
            }
        }
        out.extend([0; 16]);
        out.extend(records);
        out.extend(MARKER);
        self.metadata(nodes.len()).write(&mut out);
        out
    }

    fn metadata(&self, nodes: usize) -> Value {
        let kind = if self.layout == Layout::Asn { "Test-ASN" } else { "Test-Country" };
        Value::Map(vec![
            ("binary_format_major_version", Value::Short(2)),
            ("binary_format_minor_version", Value::Short(0)),
            ("build_epoch", Value::Number(self.built_s)),
            ("database_type", text(kind)),
            ("description", Value::Map(vec![("en", text("for tests"))])),
            ("ip_version", Value::Short(self.ip_version)),
            ("languages", Value::List(vec![text("en")])),
            ("node_count", Value::Long(u64::try_from(nodes).unwrap())),
            ("record_size", Value::Short(u64::try_from(self.record_size).unwrap())),
        ])
    }

    /// The bits of a network, from the first; IPv4 is below `::/96` where the tree is of IPv6.
    fn bits(&self, network: &str) -> Vec<bool> {
        let (address, length) = network.split_once('/').unwrap();
        let (address, mut length): (IpAddr, usize) = (address.parse().unwrap(), length.parse().unwrap());
        let bytes = match address {
            IpAddr::V4(it) if self.ip_version == 4 => it.octets().to_vec(),
            IpAddr::V4(it) => {
                length += 96;
                [&[0; 12], it.octets().as_slice()].concat()
            }
            IpAddr::V6(it) => it.octets().to_vec(),
        };
        (0..length).map(|at| bytes[at / 8] >> (7 - at % 8) & 1 == 1).collect()
    }
}

fn insert(nodes: &mut Vec<[Side; 2]>, bits: &[bool], record: usize) {
    let (last, before) = bits.split_last().unwrap();
    let mut at = 0;
    for bit in before {
        at = match nodes[at][usize::from(*bit)] {
            Side::Node(next) => next,
            // What was known of all of it holds for both halves.
            other => {
                nodes.push([other; 2]);
                nodes[at][usize::from(*bit)] = Side::Node(nodes.len() - 1);
                nodes.len() - 1
            }
        };
    }
    nodes[at][usize::from(*last)] = Side::Record(record);
}
