//! TXT records by which an authority sees that a name is ours (DNS-01, RFC 8555 §8.4): where they belong, and what can go wrong with them.

use super::{Blame, Explained, Problem, span};
use crate::domain::{Error, Result, dns};

/// Who keeps the records of a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// Cloudflare.
    Cloudflare,
    /// Hetzner, in its cloud's console.
    Hetzner,
    /// deSEC.
    Desec,
    /// A person sets them.
    Manual,
}

impl Provider {
    /// All, in the order in which people are told them.
    pub const ALL: [Self; 4] = [Self::Cloudflare, Self::Hetzner, Self::Desec, Self::Manual];

    /// The word of the settings.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Cloudflare => "cloudflare",
            Self::Hetzner => "hetzner",
            Self::Desec => "desec",
            Self::Manual => "manual",
        }
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|it| it.word() == word);
        found.ok_or_else(|| Error::internal(format!("no provider of DNS is called `{word}`")))
    }

    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cloudflare => "Cloudflare",
            Self::Hetzner => "Hetzner",
            Self::Desec => "deSEC",
            Self::Manual => "the provider of the zone",
        }
    }

    /// What a token must be allowed to do there, for people.
    const fn rights(self) -> &'static str {
        match self {
            Self::Cloudflare => "to read zones and to edit DNS (`Zone:Read` and `DNS:Edit`) of this zone",
            Self::Hetzner => "to read and write in the project that has the zone",
            Self::Desec | Self::Manual => "to change records of the domain",
        }
    }
}

/// A TXT record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The zone that it is in, as its provider knows it.
    pub zone: String,
    /// Its whole name, in lower case.
    pub name: String,
    /// What it says: letters, digits, `-` and `_`.
    pub value: String,
}

impl Record {
    /// Its name within the zone; `None` for the zone itself.
    pub fn label(&self) -> Option<&str> {
        self.name.strip_suffix(&self.zone)?.strip_suffix('.')
    }
}

/// A record that was set, or that a person is to set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    /// What the certificate is for: a hostname, also with `*.` in front.
    pub name: String,
    /// The record.
    pub record: Record,
    /// Who keeps it.
    pub provider: Provider,
    /// The directory of the authority that will look for it.
    pub authority: String,
    /// The address of the order.
    pub order: String,
    /// Until when that counts, Unix milliseconds.
    pub expires_ms: i64,
    /// When taking it away is tried again.
    pub next_ms: i64,
}

impl Posted {
    /// Whether a person is to set it, or has.
    pub fn is_by_hand(&self) -> bool {
        self.provider == Provider::Manual
    }
}

/// Why the record could not be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The provider was not reached.
    Away(String),
    /// The certificate of the provider's API is not believed.
    Untrusted(String),
    /// It did not answer in time.
    Slow,
    /// It does not know the token.
    Token,
    /// The token may not do this.
    Rights,
    /// It has no such zone, or not for this token.
    NoZone,
    /// It was asked too often; seconds until it may be asked again, when it says so.
    Limited(Option<u64>),
    /// It has trouble of its own.
    Broken(String),
    /// It does not take the record; its words.
    Refused(String),
    /// Its answer is none of its API.
    Nonsense(String),
    /// These servers of the zone did not show the record in time.
    Unseen(Vec<String>),
    /// The name is an alias to this one, which is in none of the zones of the settings.
    Alias(String),
}

/// What went wrong with a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The record.
    pub record: Record,
    /// Who keeps it.
    pub provider: Provider,
    /// What went wrong.
    pub trouble: Trouble,
}

/// What is kept of a name whose record a person has to set first.
pub const AWAITED: &str = "certificate_record_awaited";

/// Where an authority looks for the record of a hostname, or of all names below a domain (`*.`).
pub fn place_of(name: &str) -> String {
    format!("_acme-challenge.{}", name.strip_prefix("*.").unwrap_or(name))
}

/// The zone that a name is in: of several, the smallest.
pub fn zone_of<'a>(name: &str, zones: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.strip_prefix("*.").unwrap_or(name);
    zones.filter(|zone| dns::is_within(name, zone)).max_by_key(|zone| zone.len())
}

/// Says what a person is to do so that the certificate comes.
pub fn wanted(all: &[Record], name: &str) -> String {
    let records: Vec<String> = all.iter().map(|it| format!("`{}` with the value `{}`", it.name, it.value)).collect();
    format!(
        "Add the TXT record {} where the DNS of {name} is, beside any other of that name. It is looked for every minute, and the certificate \
         then comes by itself.",
        records.join(" and ")
    )
}

/// Says what went wrong with a record for `name`, and what to do.
pub(super) fn explain(it: &Failed, name: &str) -> Explained {
    // Another authority would want a record as well.
    Explained { code: code(&it.trouble), text: text(it, name), blame: Blame::Hostname }
}

const fn code(trouble: &Trouble) -> &'static str {
    match trouble {
        Trouble::Away(_) => "certificate_record_away",
        Trouble::Untrusted(_) => "certificate_record_untrusted",
        Trouble::Slow => "certificate_record_slow",
        Trouble::Token => "certificate_record_token",
        Trouble::Rights => "certificate_record_rights",
        Trouble::NoZone => "certificate_record_zone",
        Trouble::Limited(_) => "certificate_record_limit",
        Trouble::Broken(_) => "certificate_record_broken",
        Trouble::Refused(_) => "certificate_record_refused",
        Trouble::Nonsense(_) => "certificate_record_nonsense",
        Trouble::Unseen(_) => "certificate_record_unseen",
        Trouble::Alias(_) => "certificate_record_alias",
    }
}

fn text(it: &Failed, name: &str) -> String {
    let (provider, zone, record) = (it.provider.name(), &it.record.zone, &it.record.name);
    match &it.trouble {
        Trouble::Away(_) => format!(
            "The API of {provider}, where the record for {name} is to be set, is not reached from this server. Does the server get out to the \
             internet on port 443? It is tried again."
        ),
        Trouble::Untrusted(_) => format!(
            "The certificate of the API of {provider} is not believed here: look at the server's clock and its package ca-certificates, and at \
             `api` and `ca` of [[acme.dns]]."
        ),
        Trouble::Slow => {
            format!("The API of {provider} did not answer in time. It is tried again; there is nothing to do.")
        }
        Trouble::Token => format!(
            "{provider} does not know the token in `token_file` of [[acme.dns]] for {zone}. Make a new one there, put it into that file, and \
             restart the server."
        ),
        Trouble::Rights => {
            let rights = it.provider.rights();
            format!("The token for {zone} may not set records at {provider}. It must be allowed {rights}.")
        }
        Trouble::NoZone => format!(
            "{provider} has no zone {zone} for the token of [[acme.dns]]. Is it the zone itself, and not a name in it, and is the token of the \
             account that has it?"
        ),
        Trouble::Limited(seconds) => {
            let later = seconds.map_or_else(String::new, |it| format!(" for {}", span(it)));
            format!("{provider} was asked to change records too often, and takes no more{later}. It is tried again.")
        }
        Trouble::Broken(words) => format!(
            "{provider} has trouble of its own, and did not set the record for {name}. It is tried again. Its words: {words}"
        ),
        Trouble::Refused(words) => format!("{provider} does not take the TXT record {record}. Its words: {words}"),
        Trouble::Nonsense(_) => format!(
            "What answers for the API of {provider} does not speak it. Is `api` of [[acme.dns]] right, and does no proxy answer in its place?"
        ),
        Trouble::Unseen(servers) => format!(
            "{provider} took the TXT record {record}, and {} did not show it in time. Is {zone} really served by {provider}? It is tried again.",
            servers.join(", ")
        ),
        Trouble::Alias(to) => format!(
            "{record} is an alias to {to}, which is in none of the `zones` of [[acme.dns]]. Name its zone there too, or remove the alias."
        ),
    }
}

/// What an authority says of the record, where that is not what it would say of any name.
pub(super) fn of_authority(problem: &Problem, authority: &str, name: &str) -> Option<Explained> {
    let (detail, place) = (problem.detail.to_ascii_lowercase(), place_of(name));
    let is_missing = detail.contains("no txt record") || detail.contains("nxdomain");
    let (code, text) = match problem.kind.as_str() {
        "unauthorized" | "dns" if is_missing => (
            "certificate_txt_missing",
            format!(
                "{authority} found no TXT record {place}, although this server saw it. Do all name servers of the zone have the same? It is \
                 tried again."
            ),
        ),
        "unauthorized" | "incorrectResponse" => (
            "certificate_txt_other",
            format!(
                "{authority} found another TXT record {place} than it wanted, an old one for example. It is tried again."
            ),
        ),
        _ => return None,
    };
    Some(Explained { code, text, blame: Blame::Hostname })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_zone_has_a_name() {
        let zones = ["example.org", "sub.example.org", "example.net"];
        for (name, wanted) in [
            ("example.org", Some("example.org")),
            ("www.example.org", Some("example.org")),
            ("*.sub.example.org", Some("sub.example.org")),
            ("a.b.sub.example.org", Some("sub.example.org")),
            ("anexample.org", None),
            ("org", None),
        ] {
            assert_eq!(zone_of(name, zones.into_iter()), wanted, "{name}");
        }
    }

    #[test]
    fn a_record_has_a_place_in_its_zone() {
        let record =
            |zone: &str, name: &str| Record { zone: zone.to_owned(), name: name.to_owned(), value: String::new() };
        assert_eq!(place_of("*.sites.example.org"), "_acme-challenge.sites.example.org");
        assert_eq!(place_of("example.org"), "_acme-challenge.example.org");
        let whole = "_acme-challenge.sites.example.org";
        assert_eq!(record("example.org", whole).label(), Some("_acme-challenge.sites"));
        assert_eq!(record(whole, whole).label(), None);
        assert!(wanted(&[record("example.org", whole)], "*.sites.example.org").contains(whole));
    }
}
