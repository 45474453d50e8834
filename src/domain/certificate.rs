//! A TLS certificate: for which names it is, from when until when, and who vouches for it (RFC 5280).

use std::net::IpAddr;

use x509_cert::{
    Certificate as Parsed,
    der::Decode as _,
    ext::pkix::{AuthorityKeyIdentifier, BasicConstraints, SubjectAltName, name::GeneralName},
};

use crate::domain::{Error, Result};

pub mod kept;
pub mod pair;

/// With less than this left, in seconds, somebody should hear of it: two weeks, but no more than a third of its time, as it is renewed then.
pub const SOON_S: i64 = 14 * 24 * 3_600;

/// What the first certificate of a chain says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Hostnames in lower case, also with `*.` in front.
    pub names: Vec<String>,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
    /// From when on it counts, Unix seconds.
    pub from_s: i64,
    /// Until when.
    pub until_s: i64,
    /// Whether each of the others in its chain has signed the one before it, as some clients want it.
    pub is_ordered: bool,
    /// Who has signed it, as in `CN=R11,O=Let's Encrypt,C=US`.
    pub issuer: String,
}

/// How a certificate stands at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It counts.
    Good,
    /// It counts for so many whole days more.
    EndsSoon(i64),
    /// It counts no more.
    Over,
    /// It does not count yet.
    Early,
}

/// Whether a name of a certificate, perhaps with a star for one label, is for `host`. Both in lower case.
pub fn covers(name: &str, host: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(parent) => host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == parent),
        None => name == host,
    }
}

impl Certificate {
    /// Whether it is for `host`, in lower case.
    pub fn is_for(&self, host: &str) -> bool {
        let is_it = |it: &IpAddr| host.parse() == Ok(*it);
        self.names.iter().any(|name| covers(name, host)) || self.addresses.iter().any(is_it)
    }

    /// Refuses one that is for addresses alone, from whoever gives it: most clients do not say to which they connect.
    pub fn check_names(&self) -> Result<()> {
        if self.names.is_empty() { Err(nameless()) } else { Ok(()) }
    }

    /// Reads a chain: DER, the certificate itself first.
    pub fn read(chain: &[&[u8]]) -> Result<Self> {
        let parse = |der: &&[u8]| Parsed::from_der(der).map_err(|error| unreadable(&error));
        let all = chain.iter().map(parse).collect::<Result<Vec<_>>>()?;
        let first = all.first().ok_or_else(|| wrong("certificate_none", "There is no certificate."))?;
        let body = &first.tbs_certificate;
        let (names, addresses) = names(first)?;
        if names.is_empty() && addresses.is_empty() {
            let is_ca = body.get::<BasicConstraints>().ok().flatten().is_some_and(|it| it.1.ca);
            return Err(if is_ca {
                let text = "The first certificate is that of an authority. The one of the site must come first.";
                wrong("certificate_order", text)
            } else {
                nameless()
            });
        }
        let is_signed = |pair: &[Parsed]| match pair {
            [one, next] => one.tbs_certificate.issuer == next.tbs_certificate.subject,
            _ => true,
        };
        let seconds = |it: x509_cert::time::Time| i64::try_from(it.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
        let validity = body.validity;
        Ok(Self {
            names,
            addresses,
            is_ordered: all.windows(2).all(is_signed),
            from_s: seconds(validity.not_before),
            until_s: seconds(validity.not_after),
            issuer: body.issuer.to_string(),
        })
    }

    /// How it stands at `now_s`.
    pub fn standing(&self, now_s: i64) -> Standing {
        standing(self.from_s, self.until_s, now_s)
    }
}

/// How a certificate that counts between two times stands at a third one; all in Unix seconds.
pub fn standing(from_s: i64, until_s: i64, now_s: i64) -> Standing {
    let left = until_s.saturating_sub(now_s);
    if now_s < from_s {
        Standing::Early
    } else if left < 0 {
        Standing::Over
    } else if left < SOON_S.min(until_s.saturating_sub(from_s) / 3) {
        Standing::EndsSoon(left / (24 * 3_600))
    } else {
        Standing::Good
    }
}

/// The id of a certificate (DER) in the protocol of renewal information (RFC 9773 §4.1): the key of its authority and its serial number.
pub fn renewal_id(der: &[u8]) -> Option<String> {
    let body = Parsed::from_der(der).ok()?.tbs_certificate;
    let (_, authority) = body.get::<AuthorityKeyIdentifier>().ok()??;
    let key = authority.key_identifier?;
    let encode = |it: &[u8]| data_encoding::BASE64URL_NOPAD.encode(it);
    Some(format!("{}.{}", encode(key.as_bytes()), encode(body.serial_number.as_bytes())))
}

fn nameless() -> Error {
    let text = "The certificate names no hostname as a subject alternative name. Addresses are not enough: clients do not say to which they connect.";
    wrong("certificate_names", text)
}

/// The hostnames and the addresses that a certificate is for.
fn names(of: &Parsed) -> Result<(Vec<String>, Vec<IpAddr>)> {
    let Some((_, SubjectAltName(all))) = of.tbs_certificate.get().map_err(|error| unreadable(&error))? else {
        return Ok((Vec::new(), Vec::new()));
    };
    let name = |it: &GeneralName| match it {
        GeneralName::DnsName(name) => Some(name.as_str().trim_end_matches('.').to_ascii_lowercase()),
        _ => None,
    };
    let address = |it: &GeneralName| match it {
        GeneralName::IpAddress(it) => match it.as_bytes().len() {
            4 => <[u8; 4]>::try_from(it.as_bytes()).ok().map(IpAddr::from),
            _ => <[u8; 16]>::try_from(it.as_bytes()).ok().map(IpAddr::from),
        },
        _ => None,
    };
    Ok((all.iter().filter_map(name).collect(), all.iter().filter_map(address).collect()))
}

fn wrong(code: &'static str, text: &str) -> Error {
    Error::invalid(code, text)
}

fn unreadable(error: &x509_cert::der::Error) -> Error {
    wrong("certificate_unreadable", "What stands there as a certificate cannot be read as one.").because(error)
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints as Constraint, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};

    use super::*;

    fn made(names: &[&str]) -> CertificateParams {
        let names: Vec<String> = names.iter().map(|it| (*it).to_owned()).collect();
        CertificateParams::new(names).unwrap()
    }

    #[test]
    fn names_and_dates_are_read() {
        let mut wish = made(&["Shop.Example", "*.shop.example", "192.0.2.1"]);
        (wish.not_before, wish.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2026, 4, 1));
        let made = wish.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let read = Certificate::read(&[made.der()]).unwrap();
        assert_eq!(read.names, ["shop.example", "*.shop.example"]);
        assert!(read.is_for("192.0.2.1") && !read.is_for("192.0.2.2") && read.check_names().is_ok());
        // 2026-01-01 and 2026-04-01, UTC.
        assert_eq!((read.from_s, read.until_s), (1_767_225_600, 1_775_001_600));
        let day = 24 * 3_600;
        for (at, wanted) in [
            (read.from_s - 1, Standing::Early),
            (read.from_s, Standing::Good),
            (read.until_s - 14 * day, Standing::Good),
            (read.until_s - 14 * day + 1, Standing::EndsSoon(13)),
            (read.until_s, Standing::EndsSoon(0)),
            (read.until_s + 1, Standing::Over),
        ] {
            assert_eq!(read.standing(at), wanted, "{at}");
        }
        // One for an address counts for six days.
        let short = |left| standing(0, 6 * day, 6 * day - left);
        assert_eq!([short(2 * day), short(2 * day - 1)], [Standing::Good, Standing::EndsSoon(1)]);
    }

    #[test]
    fn a_chain_has_an_order() {
        let [key, ca_key, other_key] = [(); 3].map(|()| KeyPair::generate().unwrap());
        let mut authority = made(&[]);
        authority.is_ca = IsCa::Ca(Constraint::Unconstrained);
        authority.distinguished_name.push(rcgen::DnType::CommonName, "An authority");
        let ca = authority.self_signed(&ca_key).unwrap();
        let leaf = made(&["a.example"]).signed_by(&key, &Issuer::from_params(&authority, &ca_key)).unwrap();
        let stranger = made(&["b.example"]).self_signed(&other_key).unwrap();
        let code = |chain: &[&[u8]]| match Certificate::read(chain) {
            Ok(read) if read.is_ordered => "good",
            Ok(_) => "not in order",
            Err(error) => error.code,
        };
        assert_eq!(code(&[leaf.der(), ca.der()]), "good");
        assert_eq!(code(&[leaf.der()]), "good");
        assert_eq!(code(&[ca.der(), leaf.der()]), "certificate_order");
        assert_eq!(code(&[leaf.der(), stranger.der()]), "not in order");
        assert_eq!(code(&[]), "certificate_none");
        assert_eq!(code(&[b"no certificate"]), "certificate_unreadable");
        let nameless = made(&[]).self_signed(&key).unwrap();
        assert_eq!(code(&[nameless.der()]), "certificate_names");
        let address = made(&["2001:db8::1"]).self_signed(&key).unwrap();
        let read = Certificate::read(&[address.der()]).unwrap();
        assert!(read.is_for("2001:db8::1") && read.check_names().unwrap_err().code == "certificate_names");
    }

    #[test]
    fn a_star_stands_for_one_label() {
        for (name, host, wanted) in [
            ("a.example", "a.example", true),
            ("a.example", "b.a.example", false),
            ("*.a.example", "b.a.example", true),
            ("*.a.example", "a.example", false),
            ("*.a.example", "c.b.a.example", false),
            ("*.a.example", ".a.example", false),
        ] {
            assert_eq!(covers(name, host), wanted, "{name} {host}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_are_too_much(bytes: Vec<u8>) {
            proptest::prop_assert!(Certificate::read(&[&bytes]).is_err());
        }
    }
}
