//! Which country an address is of: a database file in the format of `MaxMind` (`.mmdb`), read into memory whole.
//!
//! A lookup takes no lock and fails into "not known": a damaged record, an address that is in no network, no database at all. The file is
//! read again when it changed; as long as a new one cannot be read, the one before is used, and a broken one is read once. Nothing here keeps an address.

use std::{
    fmt, fs, io,
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arc_swap::ArcSwapOption;
use maxminddb::{LookupResult, PathElement, Reader};

use super::{
    address::{self, Class},
    country::Country,
};

/// Bytes of a file: databases of cities have 70 MB, and are read whole.
const FILE_BYTES_MAX: u64 = 512 << 20;
/// Where a record has the code of its country: `GeoLite2`, DB-IP and their like; `IPinfo` Lite; older ones of `IPinfo`. Last, where an address is
/// registered, for those of which no more is known.
const PLACES: [&[PathElement<'static>]; 4] = [
    &[PathElement::Key("country"), PathElement::Key("iso_code")],
    &[PathElement::Key("country_code")],
    &[PathElement::Key("country")],
    &[PathElement::Key("registered_country"), PathElement::Key("iso_code")],
];
/// What a sentence about a file that cannot be used ends with.
const WHERE_FROM: &str = "Such files are GeoLite2-Country.mmdb (maxmind.com), dbip-country-lite.mmdb (db-ip.com) and ipinfo_lite.mmdb (ipinfo.io)";

/// A database of countries, or none. Cheap to clone; all clones use the file that was read last.
#[derive(Clone, Debug, Default)]
pub struct Countries(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    current: ArcSwapOption<Loaded>,
    /// Why the file could not be read when it was last looked at.
    fault: Mutex<Option<Fault>>,
}

/// Why a file could not be read.
#[derive(Clone, Debug)]
struct Fault {
    why: Unusable,
    /// The file that was read whole and is of no use: it is read again once it is another one. Where reading itself failed there is none.
    of: Option<Stamp>,
}

struct Loaded {
    reader: Reader<Vec<u8>>,
    about: About,
    stamp: Stamp,
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded").field("about", &self.about).finish_non_exhaustive()
    }
}

/// What a database says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// `GeoLite2-Country`.
    pub kind: String,
    /// When it was made.
    pub built_ms: i64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// A file that gives no countries, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable(String);

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unusable {}

/// Tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Self> {
        let found = fs::metadata(path)?;
        if !found.is_file() {
            return Err(io::Error::other("it is no file"));
        }
        let (device, inode, bytes) = (found.dev(), found.ino(), found.size());
        Ok(Self { device, inode, bytes, changed: (found.mtime(), found.mtime_nsec()) })
    }
}

impl Countries {
    /// No country is known of anybody.
    pub fn none() -> Self {
        Self::default()
    }

    /// Those of a file, which is read now. What is wrong with it is in [`Countries::fault`]: it may come later.
    pub fn open(path: &Path) -> Self {
        let inner = Inner { path: path.to_owned(), current: ArcSwapOption::empty(), fault: Mutex::default() };
        let it = Self(Some(Arc::new(inner)));
        it.look();
        it
    }

    /// Refuses a file that could not be used.
    pub fn check(path: &Path) -> Result<About, Unusable> {
        load(path).map(|it| it.about).map_err(|it| it.why)
    }

    /// Whether the settings name a database, even if it cannot be read.
    pub const fn is_given(&self) -> bool {
        self.0.is_some()
    }

    /// The file, where one is named.
    pub fn path(&self) -> Option<&Path> {
        self.0.as_ref().map(|it| it.path.as_path())
    }

    /// What the database that is used says of itself.
    pub fn about(&self) -> Option<About> {
        self.0.as_ref()?.current.load().as_ref().map(|it| it.about.clone())
    }

    /// Why the file could not be read when it was last looked at. The one before is used as long.
    pub fn fault(&self) -> Option<Unusable> {
        Some(self.0.as_ref()?.fault().as_ref()?.why.clone())
    }

    /// Reads the file if it is another one than that which is used, or than that which is of no use. Takes as long as reading it does. `None`:
    /// all is as it was.
    pub fn look(&self) -> Option<Result<About, Unusable>> {
        let inner = self.0.as_ref()?;
        let known = inner.current.load().as_ref().map(|it| it.stamp);
        let stamp = Stamp::of(&inner.path).ok();
        if stamp.is_some() && stamp == known {
            *inner.fault() = None;
            return None;
        }
        if stamp.is_some() && stamp == inner.fault().as_ref().and_then(|it| it.of) {
            return None;
        }
        let loaded = load(&inner.path);
        let fault = loaded.as_ref().err().cloned();
        let before = std::mem::replace(&mut *inner.fault(), fault).map(|it| it.why);
        match loaded {
            Ok(loaded) => {
                let about = loaded.about.clone();
                inner.current.store(Some(Arc::new(loaded)));
                Some(Ok(about))
            }
            // The same trouble is told once.
            Err(Fault { why, .. }) => (before.as_ref() != Some(&why)).then_some(Err(why)),
        }
    }

    /// Whether there are countries to be found.
    pub fn is_known(&self) -> bool {
        self.0.as_ref().is_some_and(|it| it.current.load().is_some())
    }

    /// The country of an address, where it is known.
    pub fn find(&self, address: IpAddr) -> Option<Country> {
        self.0.as_ref()?.current.load().as_ref()?.find(address.to_canonical())
    }
}

/// Whether an address is of a network that no country has: this machine, a private network, what is behind one wire or a provider's NAT.
pub fn is_inside(address: IpAddr) -> bool {
    let class = address::class(address.to_canonical());
    matches!(class, Class::Loopback | Class::Private | Class::LinkLocal | Class::CarrierNat | Class::Unspecified)
}

impl Inner {
    fn fault(&self) -> MutexGuard<'_, Option<Fault>> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Loaded {
    fn find(&self, address: IpAddr) -> Option<Country> {
        country(&self.reader.lookup(address).ok()?)
    }
}

fn country(found: &LookupResult<'_, Vec<u8>>) -> Option<Country> {
    if !found.has_data() {
        return None;
    }
    let code = |place: &[PathElement<'_>]| found.decode_path::<&str>(place).ok().flatten();
    PLACES.into_iter().filter_map(code).find_map(|it| Country::find(it.as_bytes()))
}

fn load(path: &Path) -> Result<Loaded, Fault> {
    let shown = path.display();
    let unusable = |why: String, of: Option<Stamp>| Fault {
        why: Unusable(format!("the database of countries `{shown}` cannot be used: {why}. {WHERE_FROM}")),
        of,
    };
    let read = || -> io::Result<(Stamp, Vec<u8>)> {
        let stamp = Stamp::of(path)?;
        if stamp.bytes > FILE_BYTES_MAX {
            return Err(io::Error::other("it has more than 512 MiB"));
        }
        Ok((stamp, fs::read(path)?))
    };
    let (stamp, bytes) = read().map_err(|error| unusable(error.to_string(), None))?;
    // Somebody may be writing it.
    let is_same = Stamp::of(path).is_ok_and(|it| it == stamp);
    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let reader = Reader::from_source(bytes)
        .map_err(|error| unusable(format!("it is no whole file of this format ({error})"), is_same.then_some(stamp)))?;
    let metadata = reader.metadata();
    let kind: String = metadata.database_type.chars().filter(|it| !it.is_control()).take(80).collect();
    let built_ms = i64::try_from(metadata.build_epoch).unwrap_or(i64::MAX).saturating_mul(1_000);
    if !names_countries(&reader) {
        return Err(unusable(
            format!("its kind is `{kind}`, and its records name no countries"),
            is_same.then_some(stamp),
        ));
    }
    Ok(Loaded { reader, about: About { kind, built_ms, bytes: size }, stamp })
}

/// Whether there are countries in the records that a look at addresses all over the internet finds; a small database may have none there.
fn names_countries(reader: &Reader<Vec<u8>>) -> bool {
    let mut has_records = false;
    for prefix in (0..=u16::MAX).step_by(61) {
        let [a, b] = prefix.to_be_bytes();
        let Ok(found) = reader.lookup(IpAddr::V4(Ipv4Addr::new(a, b, 0, 1))) else { continue };
        has_records |= found.has_data();
        if country(&found).is_some() {
            return true;
        }
    }
    !has_records
}
