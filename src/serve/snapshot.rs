//! The routing table as served: which deployment answers for which hostname (DECISIONS 13).
//!
//! A snapshot is immutable, belongs to one instance of the database and has a generation that never goes back.
//! Its bytes are versioned and carry a checksum: torn or altered bytes are never taken for a snapshot.
//! Nothing here does IO; nothing here knows a manifest's content.

use std::{
    collections::HashMap,
    ops::Deref,
    sync::{Arc, OnceLock},
};

use super::gate::rules::{Rules, Unusable};
use crate::{
    base::{hash::Sha256, ids::Id},
    domain::{deployment::DeploymentId, site::SiteId, site_settings::SiteSettings},
};

const MAGIC: &[u8; 8] = b"chsnap\r\n";
/// The format that this program writes, and the newest that it reads.
///
/// 2 has the settings of sites; the hosts of 1 have none.
const FORMAT: u32 = 2;
const CHECKSUM: usize = 32;

/// Hosts and what they answer with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The instance of the database that it was made from.
    pub instance: Id,
    /// Counts up with each publish.
    pub generation: u64,
    hosts: HashMap<Box<str>, Arc<Target>>,
}

/// What a hostname shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The site.
    pub site: SiteId,
    /// Its name.
    pub name: String,
    /// A preview address: search engines are told to keep away.
    pub preview: bool,
    /// What it answers with.
    pub state: State,
    /// What people have set for the site.
    pub settings: Settings,
}

/// What people have set for a site.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Settings {
    /// Nothing: files are served as they are.
    #[default]
    Plain,
    /// This.
    Given(Given),
    /// Something that this program cannot read. A password may be among it, so nothing is served.
    Unreadable,
}

/// The settings of a site, shared by all of its hosts, with what its requests need of them.
#[derive(Clone, Debug)]
pub struct Given(Arc<(SiteSettings, OnceLock<Result<Rules, Unusable>>)>);

impl Given {
    /// These.
    pub fn new(settings: SiteSettings) -> Self {
        Self(Arc::new((settings, OnceLock::new())))
    }

    /// Whether two say the same, which two of one site mostly do by being one.
    fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self == other
    }

    /// The settings as requests need them, read with the first that asks.
    pub(super) fn rules(&self) -> Result<&Rules, Unusable> {
        let (settings, rules) = &*self.0;
        rules.get_or_init(|| Rules::new(settings)).as_ref().map_err(|it| *it)
    }
}

impl Deref for Given {
    type Target = SiteSettings;

    fn deref(&self) -> &SiteSettings {
        &self.0.0
    }
}

impl PartialEq for Given {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Given {}

/// What a target answers with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The files of a deployment.
    Live(Served),
    /// Nothing, for this reason, which visitors may read.
    TakenDown(String),
    /// Nothing yet.
    Empty,
}

/// A deployment as served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Served {
    /// Its id.
    pub deployment: DeploymentId,
    /// SHA-256 of its canonical manifest, which is a blob.
    pub manifest: Sha256,
    /// Whether `/.well-known/chainhost/proof/<deployment>` has a bundle, which answers then link to.
    pub proof: bool,
}

/// Why bytes are not a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// Cut off, altered, or something else altogether.
    Damaged,
    /// Written by a newer program, in this format.
    Newer(u32),
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Damaged => f.write_str("it is cut off or altered: its checksum does not fit"),
            Self::Newer(format) => write!(
                f,
                "it was written by a newer chainhost (format {format}; this one reads up to {FORMAT}). \
                 Start that version again, or restore a backup of this one."
            ),
        }
    }
}

impl std::error::Error for Unreadable {}

impl Snapshot {
    /// Without hosts.
    pub fn new(instance: Id, generation: u64) -> Self {
        Self { instance, generation, hosts: HashMap::new() }
    }

    /// Lets `host`, which is normalised, show `target`. Gives back what it showed before.
    pub fn insert(&mut self, host: &str, target: Arc<Target>) -> Option<Arc<Target>> {
        self.hosts.insert(Box::from(host), target)
    }

    /// What a normalised host shows.
    pub fn find(&self, host: &str) -> Option<&Arc<Target>> {
        self.hosts.get(host)
    }

    /// Every host with its target, in no order.
    pub fn hosts(&self) -> impl Iterator<Item = (&str, &Arc<Target>)> {
        self.hosts.iter().map(|(host, target)| (&**host, target))
    }

    /// How many hosts there are.
    pub fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Whether there is no host.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// The bytes for a file; equal snapshots give equal bytes.
    ///
    /// INVARIANT: in every format, eight bytes of magic and the format stand first, and the SHA-256 of all that
    /// is before it last, so that damage and a newer format can be told apart.
    pub fn encode(&self) -> Vec<u8> {
        let mut hosts: Vec<_> = self.hosts().collect();
        hosts.sort_unstable_by_key(|(host, _)| *host);
        let mut out = Vec::with_capacity(64 + hosts.len() * 160);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&FORMAT.to_be_bytes());
        out.extend_from_slice(self.instance.as_bytes());
        out.extend_from_slice(&self.generation.to_be_bytes());
        out.extend_from_slice(&length(hosts.len()));
        // A site has its hostnames and a preview for each deployment: its settings stand with the first of them.
        let mut written: HashMap<SiteId, &Given> = HashMap::new();
        for (host, target) in hosts {
            put_text(&mut out, host);
            put_target(&mut out, target);
            match &target.settings {
                Settings::Plain => out.push(0),
                Settings::Unreadable => out.push(2),
                Settings::Given(it) if written.get(&target.site).is_some_and(|before| before.is_same(it)) => {
                    out.push(3);
                }
                Settings::Given(it) => {
                    written.insert(target.site, it);
                    out.push(1);
                    put_text(&mut out, &it.text());
                }
            }
        }
        let checksum = Sha256::of(&out);
        out.extend_from_slice(&checksum.0);
        out
    }

    /// Reads what [`Snapshot::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        let body = bytes.len().checked_sub(CHECKSUM).ok_or(Unreadable::Damaged)?;
        let (body, checksum) = bytes.split_at_checked(body).ok_or(Unreadable::Damaged)?;
        let rest = body.strip_prefix(MAGIC).ok_or(Unreadable::Damaged)?;
        if Sha256::of(body).0 != checksum {
            return Err(Unreadable::Damaged);
        }
        let mut reader = Reader(rest);
        let format = reader.number().ok_or(Unreadable::Damaged)?;
        if format > FORMAT {
            return Err(Unreadable::Newer(format));
        }
        let snapshot = reader.snapshot(format).ok_or(Unreadable::Damaged)?;
        if reader.0.is_empty() { Ok(snapshot) } else { Err(Unreadable::Damaged) }
    }
}

impl Target {
    /// The deployment, when one is served.
    pub const fn served(&self) -> Option<Served> {
        match &self.state {
            State::Live(served) => Some(*served),
            State::TakenDown(_) | State::Empty => None,
        }
    }
}

fn put_target(out: &mut Vec<u8>, target: &Target) {
    out.extend_from_slice(target.site.0.as_bytes());
    put_text(out, &target.name);
    out.push(target.preview.into());
    match &target.state {
        State::Empty => out.push(0),
        State::Live(served) => {
            out.push(1);
            out.extend_from_slice(served.deployment.0.as_bytes());
            out.extend_from_slice(&served.manifest.0);
            out.push(served.proof.into());
        }
        State::TakenDown(reason) => {
            out.push(2);
            put_text(out, reason);
        }
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&length(text.len()));
    out.extend_from_slice(text.as_bytes());
}

/// INVARIANT: four thousand million hosts, or bytes of one text, do not occur.
fn length(of: usize) -> [u8; 4] {
    u32::try_from(of).unwrap_or(u32::MAX).to_be_bytes()
}

/// What is left to read. Every method gives `None` when it does not fit.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn number(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.number()?).ok()?;
        std::str::from_utf8(self.take(length)?).ok()
    }

    fn flag(&mut self) -> Option<bool> {
        match self.take(1)? {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }

    fn id(&mut self) -> Option<Id> {
        self.array().map(Id::from_bytes)
    }

    fn snapshot(&mut self, format: u32) -> Option<Snapshot> {
        let instance = self.id()?;
        let generation = self.array().map(u64::from_be_bytes)?;
        let count = usize::try_from(self.number()?).ok()?;
        // A count that lies must not take memory: no host is shorter than this.
        let mut hosts = HashMap::with_capacity(count.min(self.0.len() / 26));
        let mut known = HashMap::new();
        for _ in 0..count {
            let host = Box::from(self.text()?);
            let mut target = self.target()?;
            if format >= 2 {
                target.settings = self.settings(target.site, &mut known)?;
            }
            hosts.insert(host, Arc::new(target));
        }
        (hosts.len() == count).then_some(Snapshot { instance, generation, hosts })
    }

    fn target(&mut self) -> Option<Target> {
        let site = SiteId(self.id()?);
        let name = self.text()?.to_owned();
        let preview = self.flag()?;
        let state = match self.take(1)? {
            [0] => State::Empty,
            [1] => {
                let deployment = DeploymentId(self.id()?);
                let manifest = Sha256(self.array()?);
                State::Live(Served { deployment, manifest, proof: self.flag()? })
            }
            [2] => State::TakenDown(self.text()?.to_owned()),
            _ => return None,
        };
        Some(Target { site, name, preview, state, settings: Settings::Plain })
    }

    /// The settings of a site, shared by all its hosts.
    fn settings(&mut self, site: SiteId, known: &mut HashMap<SiteId, Settings>) -> Option<Settings> {
        match self.take(1)? {
            [0] => Some(Settings::Plain),
            [1] => {
                let read = SiteSettings::parse(self.text()?);
                let settings = read.map_or(Settings::Unreadable, |it| Settings::Given(Given::new(it)));
                known.insert(site, settings.clone());
                Some(settings)
            }
            [2] => Some(Settings::Unreadable),
            // As the host of the same site before.
            [3] => known.get(&site).cloned(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> Id {
        Id::from_bytes([number; 16])
    }

    fn snapshot() -> Snapshot {
        let set = r#"{"addresses":{"canonical":"a.example.org"}}"#;
        let target = |name: &str, state| {
            let settings = match name {
                "a" => Settings::Given(Given::new(SiteSettings::parse(set).unwrap())),
                "b" => Settings::Unreadable,
                _ => Settings::Plain,
            };
            Arc::new(Target { site: SiteId(id(1)), name: name.to_owned(), preview: name == "b", state, settings })
        };
        let served = Served { deployment: DeploymentId(id(2)), manifest: Sha256::of(b"m"), proof: true };
        let mut made = Snapshot::new(id(9), 41);
        made.insert("a.example.org", target("a", State::Live(served)));
        made.insert("b.example.org", target("b", State::TakenDown(String::from("É"))));
        made.insert("c.example.org", target("c", State::Empty));
        made
    }

    #[test]
    fn what_is_written_is_read() {
        let made = snapshot();
        let read = Snapshot::decode(&made.encode()).unwrap();
        assert_eq!(read, made);
        assert_eq!(read.find("a.example.org").unwrap().served().unwrap().manifest, Sha256::of(b"m"));
        assert!(read.find("d.example.org").is_none());
        assert_eq!(read.encode(), made.encode());
        assert_eq!(Snapshot::decode(&Snapshot::new(id(1), 0).encode()), Ok(Snapshot::new(id(1), 0)));
    }

    /// Laid down when format 1 was the newest: a snapshot of one host that shows nothing.
    #[test]
    fn the_format_before_is_read_and_its_sites_have_no_settings() {
        let mut body =
            [&MAGIC[..], &1_u32.to_be_bytes(), &[9; 16], &41_u64.to_be_bytes(), &1_u32.to_be_bytes()].concat();
        body.extend([&1_u32.to_be_bytes()[..], b"a", &[1; 16], &1_u32.to_be_bytes(), b"s", &[0], &[0]].concat());
        let checksum = Sha256::of(&body);
        body.extend_from_slice(&checksum.0);
        let read = Snapshot::decode(&body).unwrap();
        let target = read.find("a").unwrap();
        assert_eq!((&target.settings, &target.state, read.len()), (&Settings::Plain, &State::Empty, 1));
    }

    #[test]
    fn settings_are_written_once_for_all_hosts_of_a_site() {
        let set = |max_age_s: u32| {
            let text = format!(r#"{{"addresses":{{"hsts":{{"max_age_s":{max_age_s}}}}}}}"#);
            Settings::Given(Given::new(SiteSettings::parse(&text).unwrap()))
        };
        let mut made = Snapshot::new(id(9), 41);
        let (one, other) = (set(300), set(600));
        for number in 0..20_u8 {
            let settings = if number < 10 { one.clone() } else { other.clone() };
            let site = SiteId(id(if number < 15 { 1 } else { 2 }));
            let target = Target { site, name: String::from("s"), preview: true, state: State::Empty, settings };
            made.insert(&format!("{number:02}.example.org"), Arc::new(target));
        }
        let bytes = made.encode();
        assert_eq!(
            bytes.windows(9).filter(|it| it == b"max_age_s").count(),
            3,
            "two of the first site, one of the second"
        );
        let read = Snapshot::decode(&bytes).unwrap();
        assert_eq!(read, made);
        let given = |host: &str| match &read.find(host).unwrap().settings {
            Settings::Given(it) => it.clone(),
            other => panic!("{other:?}"),
        };
        assert!(Arc::ptr_eq(&given("00.example.org").0, &given("09.example.org").0));
        // The first host is not there: what says "as before" is damage and no default.
        let mut body =
            [&MAGIC[..], &2_u32.to_be_bytes(), &[9; 16], &41_u64.to_be_bytes(), &1_u32.to_be_bytes()].concat();
        body.extend([&1_u32.to_be_bytes()[..], b"a", &[1; 16], &1_u32.to_be_bytes(), b"s", &[0], &[0], &[3]].concat());
        let checksum = Sha256::of(&body);
        body.extend_from_slice(&checksum.0);
        assert_eq!(Snapshot::decode(&body), Err(Unreadable::Damaged));
    }

    #[test]
    fn settings_that_a_newer_program_wrote_close_the_site() {
        let mut made = Snapshot::new(id(9), 41);
        made.insert("a.example.org", Arc::clone(snapshot().find("a.example.org").unwrap()));
        let mut body = made.encode();
        body.truncate(body.len() - CHECKSUM);
        let at = body.windows(9).position(|it| it == b"canonical").unwrap();
        body[at] = b'C';
        let checksum = Sha256::of(&body);
        body.extend_from_slice(&checksum.0);
        let read = Snapshot::decode(&body).unwrap();
        assert_eq!(read.find("a.example.org").unwrap().settings, Settings::Unreadable);
    }

    #[test]
    fn every_cut_and_every_altered_byte_is_seen() {
        let bytes = snapshot().encode();
        for length in 0..bytes.len() {
            assert_eq!(Snapshot::decode(&bytes[..length]), Err(Unreadable::Damaged), "{length}");
        }
        for at in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[at] ^= 0x10;
            assert_eq!(Snapshot::decode(&altered), Err(Unreadable::Damaged), "{at}");
        }
        let mut longer = bytes;
        longer.push(0);
        assert_eq!(Snapshot::decode(&longer), Err(Unreadable::Damaged));
    }

    #[test]
    fn a_newer_format_is_refused_with_a_sentence_and_nonsense_with_a_right_checksum_too() {
        let sealed = |mut body: Vec<u8>| {
            let checksum = Sha256::of(&body);
            body.extend_from_slice(&checksum.0);
            body
        };
        let newer = sealed([&MAGIC[..], &7_u32.to_be_bytes(), b"whatever"].concat());
        assert_eq!(Snapshot::decode(&newer), Err(Unreadable::Newer(7)));
        assert!(Unreadable::Newer(7).to_string().contains("newer chainhost (format 7"));
        let mut body = snapshot().encode();
        body.truncate(body.len() - CHECKSUM);
        body[36..40].copy_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(Snapshot::decode(&sealed(body)), Err(Unreadable::Damaged));
    }
}
