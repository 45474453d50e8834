//! Who is let into a protected site: people with passwords, and links. Passwords and secrets of links go in and never come out.

use std::collections::BTreeSet;

use super::{Services, site_settings};
use crate::{
    base::{clock::rfc3339, hash::Sha256, random, secret::Secret},
    domain::{
        Error, Result,
        access::{Actor, Right},
        hostname::Hostname,
        site::SiteName,
        site_settings::{
            SiteSettings,
            access::Mode,
            errors,
            guests::{self, Guests, Kept, LINK_PATH, Link, Person, composed},
        },
    },
};

/// How long a link works where nothing is said: a week.
const LINK_MS: i64 = 7 * 86_400_000;
/// How long a link may work: a year, and a day for the leap.
const LINK_MS_MAX: i64 = 366 * 86_400_000;

/// A link to be made.
#[derive(Clone, Debug, Default)]
pub struct NewLink {
    /// For whom it is.
    pub note: String,
    /// When it stops working; in a week without one.
    pub expires_ms: Option<i64>,
    /// Whether it opens the site during maintenance too.
    pub maintenance: bool,
    /// The path that it leads to; empty for the front page.
    pub path: String,
}

/// A link that was made, with its address, this once.
#[derive(Clone, Debug)]
pub struct MadeLink {
    /// As it is listed.
    pub link: Link,
    /// The whole address. Whoever has it gets in.
    pub url: String,
}

impl Services {
    /// Who is let into a site.
    pub async fn list_site_guests(&self, actor: &Actor, name: &SiteName) -> Result<Guests> {
        let mut guests = self.get_site_settings(actor, name).await?.guests;
        guests.people.sort_by(|a, b| a.name.cmp(&b.name));
        guests.links.sort_by(|a, b| (a.expires_ms, &a.id).cmp(&(b.expires_ms, &b.id)));
        Ok(guests)
    }

    /// Gives somebody a password for a site, or another one; those who came in with the one before are asked again.
    pub async fn put_site_person(&self, actor: &Actor, name: &SiteName, person: &str, password: Secret) -> Result<()> {
        actor.require(Right::ManageSites)?;
        let person = composed(person);
        guests::check_name(&person)?;
        let password = Secret::new(composed(password.expose()));
        guests::check_password(password.expose())?;
        let hash = Kept(self.hashing().hash(password).await?);
        let changed_ms = self.clock.now_ms();
        self.change_guests(actor, name, move |guests| {
            let new = Person { name: person.clone(), hash: hash.clone(), changed_ms };
            match guests.people.iter_mut().find(|it| it.name == person) {
                Some(known) => *known = new,
                None => guests.people.push(new),
            }
            Ok(format!("gave {person} a password"))
        })
        .await
        .map(drop)
    }

    /// Takes somebody's password for a site away.
    pub async fn remove_site_person(&self, actor: &Actor, name: &SiteName, person: &str) -> Result<()> {
        let person = composed(person);
        self.change_guests(actor, name, move |guests| {
            let before = guests.people.len();
            guests.people.retain(|it| it.name != person);
            if guests.people.len() == before {
                return Err(Error::not_found("person with a password for this site"));
            }
            Ok(format!("took the password of {person} away"))
        })
        .await
        .map(drop)
    }

    /// Makes a link that opens a site. Its address comes back, this once.
    pub async fn create_site_link(&self, actor: &Actor, name: &SiteName, new: NewLink) -> Result<MadeLink> {
        actor.require(Right::ManageSites)?;
        let now = self.clock.now_ms();
        let note = new.note.trim().to_owned();
        guests::check_note(&note)?;
        let expires_ms = new.expires_ms.unwrap_or(now + LINK_MS);
        if expires_ms <= now || expires_ms > now + LINK_MS_MAX {
            let text = "A link works until a time that is to come, and a year at most. Give another time.";
            return Err(Error::invalid("link_expires", text).on("expires_at"));
        }
        let is_path = new.path.starts_with('/') && new.path.bytes().all(|it| it.is_ascii_graphic() && it != b'\\');
        if !(new.path.is_empty() || is_path) {
            let text =
                "A link leads to a path of the site, as in `/intern/`, escaped as in the address bar of a browser.";
            return Err(Error::invalid("link_path", text).on("path"));
        }
        let token = random::label::<20>();
        let link = Link {
            id: random::label::<5>(),
            note,
            token: Sha256::of(token.as_bytes()),
            maintenance: new.maintenance,
            made_ms: now,
            expires_ms,
        };
        let made = link.clone();
        let settings = self.change_guests(actor, name, move |guests| {
            // Those that open nothing any more leave their place.
            guests.links.retain(|it| it.expires_ms > now);
            guests.links.push(link.clone());
            Ok(format!("made the link {} that works until {}", link.id, rfc3339(link.expires_ms)))
        });
        let canonical = settings.await?.addresses.canonical;
        let host = self.host_of(name, canonical.as_ref());
        Ok(MadeLink { link: made, url: format!("{host}{LINK_PATH}{token}{}", new.path) })
    }

    /// Takes a link of a site back. Whoever came in with it is asked again.
    pub async fn remove_site_link(&self, actor: &Actor, name: &SiteName, id: &str) -> Result<()> {
        let id = id.to_owned();
        self.change_guests(actor, name, move |guests| {
            let before = guests.links.len();
            guests.links.retain(|it| it.id != id);
            if guests.links.len() == before {
                return Err(Error::not_found("link of this site"));
            }
            Ok(format!("took the link {id} back"))
        })
        .await
        .map(drop)
    }

    /// What of settings does not do what it seems to, in sentences for people. The settings hold all the same: a page may come with the
    /// next deployment.
    pub async fn doubts_of_settings(
        &self,
        actor: &Actor,
        name: &SiteName,
        settings: &SiteSettings,
    ) -> Result<Vec<String>> {
        let mut doubts = Vec::new();
        let (access, guests) = (&settings.access, &settings.guests);
        if access.mode != Mode::Open && guests.people.is_empty() && guests.links.is_empty() {
            doubts
                .push(String::from("Nobody can open what is protected yet: give somebody a password, or make a link."));
        }
        if access.mode == Mode::Form && settings.errors.0.contains_key(&401) {
            doubts.push(String::from("Visitors who are asked for a password read the form, and not the page for 401."));
        }
        doubts.extend(self.doubt_of_countries(&settings.firewall));
        doubts.extend(self.doubt_of_caching(actor, name, settings).await?);
        let maintenance = settings.maintenance.page.iter().map(|it| ("maintenance.page", it));
        let pages: Vec<_> =
            settings.errors.0.iter().map(|(status, it)| (errors::field(*status), it)).chain(maintenance).collect();
        if pages.is_empty() {
            return Ok(doubts);
        }
        let Some(live) = self.get_site(actor, name).await?.live else {
            doubts.push(String::from("Nothing is published yet, so that visitors read the host's own pages."));
            return Ok(doubts);
        };
        let manifest = self.get_manifest(actor, name, crate::domain::deployment::DeploymentRef::Id(live.id)).await?;
        let paths: BTreeSet<&str> = manifest.entries().iter().map(|it| it.path.as_str()).collect();
        let missing = pages.into_iter().filter(|(_, page)| !paths.contains(page.as_str()));
        doubts.extend(missing.map(|(field, page)| {
            format!("There is no file `{page}` in what is live (`{field}`). Visitors read the host's page until a deployment has it.")
        }));
        Ok(doubts)
    }

    /// Where visitors find a site, without a slash at its end.
    fn host_of(&self, name: &SiteName, canonical: Option<&Hostname>) -> String {
        let addresses = &self.addresses;
        let own = format!("{name}.{}", addresses.sites_domain);
        let host = canonical.map_or(own.as_str(), Hostname::as_str);
        format!("{}://{host}{}", addresses.scheme, addresses.port)
    }

    /// Changes who is let in; `change` says what it did.
    async fn change_guests(
        &self,
        actor: &Actor,
        name: &SiteName,
        change: impl Fn(&mut Guests) -> Result<String> + Send + Sync + 'static,
    ) -> Result<SiteSettings> {
        let of = name.clone();
        self.write_site_settings(actor, name, move |before| {
            let mut guests = before.guests.clone();
            let text = change(&mut guests)?;
            if guests.people.is_empty() && guests.links.is_empty() {
                // Whoever comes next gets a new key, so that nothing of before opens anything.
                guests.key = None;
            } else if guests.key.is_none() {
                guests.key = Some(Kept(data_encoding::HEXLOWER.encode(&random::bytes::<32>())));
            }
            let event = site_settings::Told { kind: "site.guests_changed", text: format!("{text} for {of}") };
            Ok((before.with_guests(guests)?, event))
        })
        .await
    }
}
