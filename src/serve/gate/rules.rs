//! The settings of a site as its requests need them: read once for each snapshot, and shared by all hosts of the site.
//!
//! What cannot be read closes the site: [`Rules::new`] fails, and nothing is served.

use std::collections::{BTreeMap, HashMap};

use super::{cors::Cors, door::Door, edge::Edge, hotlink::Hotlink};
use crate::{
    base::{hash::Sha256, network::Network},
    domain::site_settings::{SiteSettings, access::Mode, guests::Guests, maintenance::Maintenance, paths::Prefixes},
};

/// A setting that a check let pass and that cannot be read all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Unusable;

/// The settings of a site.
#[derive(Debug)]
pub(in super::super) struct Rules {
    pub(super) maintenance: Option<Closed>,
    pub(super) door: Option<Door>,
    pub(super) guests: Option<Ring>,
    pub(super) hotlink: Option<Hotlink>,
    pub(super) cors: Option<Cors>,
    pub(super) edge: Option<Edge>,
    /// Files of the deployment that are shown in place of the host's pages.
    pub(super) pages: BTreeMap<u16, String>,
}

/// Maintenance.
#[derive(Debug)]
pub(super) struct Closed {
    pub(super) text: String,
    pub(super) after_s: u32,
    pub(super) allow: Vec<Network>,
    pub(super) page: Option<String>,
}

/// Whom a site knows.
#[derive(Debug)]
pub(super) struct Ring {
    pub(super) key: [u8; 32],
    people: HashMap<String, Known>,
    /// By the hash of their tokens.
    links: HashMap<Sha256, Way>,
}

/// Somebody with a password.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) stored: String,
    /// Changes with the password.
    pub(super) version: [u8; 32],
}

/// A link.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    pub(super) expires_s: i64,
    pub(super) maintenance: bool,
}

impl Rules {
    pub(in super::super) fn new(settings: &SiteSettings) -> Result<Self, Unusable> {
        let SiteSettings { maintenance, access, guests, hotlink, cors, errors, caching, .. } = settings;
        let door = (access.mode != Mode::Open).then(|| Door {
            basic: access.mode == Mode::Basic,
            prefixes: Prefixes::new(&access.paths),
            session_s: i64::from(access.session_hours) * 3_600,
        });
        Ok(Self {
            maintenance: maintenance.on.then(|| Closed::new(maintenance)).transpose()?,
            door,
            guests: Ring::new(guests)?,
            hotlink: hotlink.on.then(|| Hotlink::new(hotlink)),
            cors: (!cors.origins.is_empty()).then(|| Cors::new(cors)).transpose()?,
            edge: caching.edge.then(|| Edge::new(caching)).transpose()?,
            pages: errors.0.clone(),
        })
    }
}

impl Closed {
    fn new(settings: &Maintenance) -> Result<Self, Unusable> {
        let allow = settings.allow.iter().map(|it| it.parse().map_err(|_| Unusable)).collect::<Result<_, _>>()?;
        Ok(Self { text: settings.text.clone(), after_s: settings.retry_after_s, allow, page: settings.page.clone() })
    }
}

impl Ring {
    fn new(guests: &Guests) -> Result<Option<Self>, Unusable> {
        let Some(key) = &guests.key else {
            // Without a key nobody can be remembered, so there must be nobody.
            return if guests.people.is_empty() && guests.links.is_empty() { Ok(None) } else { Err(Unusable) };
        };
        let key = data_encoding::HEXLOWER.decode(key.0.as_bytes()).map_err(|_| Unusable)?;
        let key = key.try_into().map_err(|_| Unusable)?;
        let known = guests.people.iter().map(|it| {
            let version = Sha256::of(it.hash.0.as_bytes()).0;
            (it.name.clone(), Known { stored: it.hash.0.clone(), version })
        });
        let ways = guests
            .links
            .iter()
            .map(|it| (it.token, Way { expires_s: it.expires_ms.div_euclid(1_000), maintenance: it.maintenance }));
        Ok(Some(Self { key, people: known.collect(), links: ways.collect() }))
    }

    pub(super) fn person(&self, name: &str) -> Option<&Known> {
        self.people.get(name)
    }

    pub(super) fn link(&self, token: &Sha256) -> Option<&Way> {
        self.links.get(token)
    }
}

#[cfg(test)]
impl Ring {
    /// Of these guests.
    pub(super) fn of(guests: &Guests) -> Self {
        Self::new(guests).unwrap().unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_closes_the_site() {
        let with = |document: &str| {
            let mut settings = SiteSettings::parse("{}").unwrap();
            let object: serde_json::Value = serde_json::from_str(document).unwrap();
            settings.maintenance = serde_json::from_value(object["maintenance"].clone()).unwrap_or_default();
            settings.guests = serde_json::from_value(object["guests"].clone()).unwrap_or_default();
            settings.cors = serde_json::from_value(object["cors"].clone()).unwrap_or_default();
            Rules::new(&settings).map(drop)
        };
        assert_eq!(with("{}"), Ok(()));
        for document in [
            r#"{"maintenance":{"on":true,"allow":["10.0.0.0/99"]}}"#,
            r#"{"guests":{"key":"zz"}}"#,
            r#"{"guests":{"key":"00ff"}}"#,
            r#"{"guests":{"people":[{"name":"a","hash":"b","changed_ms":0}]}}"#,
            r#"{"cors":{"origins":["*"],"headers":["a\nb"]}}"#,
        ] {
            assert_eq!(with(document), Err(Unusable), "{document}");
        }
    }
}
