//! The certificates that a server shows: those in files of the operator, read again when they change; those of the database; and what it
//! signs itself.

mod challenges;
mod figures;
mod kept;

use std::{
    fs, io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hyper::http::uri::PathAndQuery;

use crate::{
    base::{clock::Clock, files, tasks::Tasks},
    config::{
        server::Server as Settings,
        tls::{Files, Tls},
    },
    domain::{
        Error, Result,
        certificate::{
            Certificate, Standing,
            pair::{PEM_BYTES_MAX, Pair},
        },
    },
    net::tls::{Certificates, OwnKey, Table},
    services::secrets,
};

use self::kept::KeptPair;
pub(super) use self::{
    challenges::Challenges,
    kept::{KEPT, follow, follow_challenges},
};

/// The key of the certificates that the server signs itself, in the data folder.
pub(super) const OWN_KEY: &str = "tls-own-key";
/// Between two looks at the files: whoever renews them need not tell.
const LOOK: Duration = Duration::from_secs(5);

/// A certificate in files, as it was read last.
struct Loaded {
    files: Files,
    /// What the files were when they were read well.
    stamp: Option<Stamp>,
    /// What they were when that failed, if it has; also that they were not there.
    failed: Option<Failed>,
    found: Option<Found>,
}

struct Found {
    pair: Pair,
    /// How it stood when that was told last.
    told: Standing,
}

/// What files were that could not be used; `None`: they were not there.
#[derive(PartialEq, Eq)]
struct Failed(Option<Stamp>);

/// By what a change of chain and key is known: size and time of change of each (seconds, nanoseconds), and which file it is.
type Stamp = [(u64, i64, i64, u64); 2];

/// Refuses certificates in files that cannot be used.
pub fn check(settings: &Tls) -> Result<()> {
    settings.certificates.iter().try_for_each(|it| read(it).map(drop))
}

/// The certificates of a server: those of the database as they were last, and those in files as the files are until the end of `tasks`.
pub(super) fn start(settings: &Settings, panel_host: &str, clock: &Clock, tasks: &Tasks) -> Result<Shelf> {
    let own = own_key(&settings.data)?;
    // Whoever is shown one of them compares: nobody else vouches for it.
    tracing::info!(
        fingerprint = %own.fingerprint(),
        "the key of the certificates that this server signs itself; `chainhost login URL --trust-fingerprint` takes its SHA-256 fingerprint"
    );
    let certificates = Certificates::new(own, panel_host, clock.clone());
    let fresh = |it: &Files| Loaded { files: it.clone(), stamp: None, failed: None, found: None };
    let files = settings.tls.certificates.iter().map(fresh).collect();
    let key = secrets::path(&settings.data, settings.master_key_file.as_deref());
    let kept = kept::recall(&settings.data, &key, clock);
    let shelf = Shelf::new(certificates, clock.clone(), State { files, kept, told_s: None });
    shelf.look(true);
    tasks.spawn(watch(shelf.clone(), tasks.clone()));
    Ok(shelf)
}

/// What is shown, from files and from the database. Cheap to clone.
#[derive(Clone)]
pub(super) struct Shelf(Arc<Shelved>);

struct Shelved {
    certificates: Certificates,
    clock: Clock,
    state: Mutex<State>,
    challenges: Challenges,
}

#[derive(Default)]
struct State {
    files: Vec<Loaded>,
    kept: Vec<KeptPair>,
    /// When it was told last that some are overdue, Unix seconds.
    told_s: Option<i64>,
}

impl Shelf {
    fn new(certificates: Certificates, clock: Clock, state: State) -> Self {
        Self(Arc::new(Shelved { certificates, clock, state: Mutex::new(state), challenges: Challenges::default() }))
    }

    /// What clients are shown.
    pub(super) fn certificates(&self) -> &Certificates {
        &self.0.certificates
    }

    /// What authorities ask for in clear.
    pub(super) fn challenges(&self) -> &Challenges {
        &self.0.challenges
    }

    /// Reads files that have changed, and shows what is to be shown by now. Files that cannot be used leave what was shown before.
    fn look(&self, is_first: bool) {
        let now_s = self.0.clock.now_ms() / 1_000;
        let mut state = self.state();
        let mut has_changed = is_first;
        for loaded in &mut state.files {
            let now = stamp(&loaded.files);
            if now.is_none() || now != loaded.stamp {
                has_changed |= read_again(loaded, now, now_s);
            }
            // Time alone changes how it stands.
            if let Some(found) = &mut loaded.found
                && let standing = found.pair.facts.standing(now_s)
                && std::mem::discriminant(&standing) != std::mem::discriminant(&found.told)
            {
                announce(&loaded.files, &found.pair.facts, standing);
                found.told = standing;
                has_changed = true;
            }
        }
        for kept in &mut state.kept {
            has_changed |= kept.stands(now_s);
        }
        if has_changed {
            self.0.certificates.replace(table(&state));
        }
        state.warn(now_s);
    }

    /// Shows these of the database instead of those before.
    fn replace_kept(&self, kept: Vec<KeptPair>) {
        let mut state = self.state();
        state.kept = kept;
        self.0.certificates.replace(table(&state));
    }

    /// The names in files of the operator, for which no authority need be asked.
    pub(super) fn names_in_files(&self) -> Vec<String> {
        let state = self.state();
        let good = state.files.iter().filter_map(|it| it.found.as_ref()).filter(|it| counts(it.told));
        let all = |it: &Certificate| {
            let addresses = it.addresses.iter().map(ToString::to_string);
            it.names.iter().cloned().chain(addresses).collect::<Vec<_>>()
        };
        good.flat_map(|it| all(&it.pair.facts)).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn watch(shelf: Shelf, tasks: Tasks) {
    loop {
        tokio::select! {
            () = tasks.stopping() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        let looking = shelf.clone();
        if tasks.blocking(move || looking.look(false)).await.is_none() {
            tracing::error!(
                "certificates in files are not looked at any more: restart the server once they are renewed"
            );
            return;
        }
    }
}

const fn counts(standing: Standing) -> bool {
    matches!(standing, Standing::Good | Standing::EndsSoon(_))
}

/// Reads a pair of files whose stamp is `now`; whether another certificate is to be shown.
fn read_again(loaded: &mut Loaded, now: Option<Stamp>, now_s: i64) -> bool {
    match read(&loaded.files) {
        Ok(pair) => {
            let told = pair.facts.standing(now_s);
            announce(&loaded.files, &pair.facts, told);
            (loaded.stamp, loaded.failed, loaded.found) = (now, None, Some(Found { pair, told }));
            true
        }
        Err(error) => {
            // Told once for what the files are.
            if loaded.failed != Some(Failed(now)) {
                let shown = if loaded.found.is_some() { "the one before is shown still" } else { "none is shown" };
                tracing::error!(chain = %loaded.files.chain.display(), %error, "a certificate cannot be used; {shown}");
                loaded.failed = Some(Failed(now));
            }
            false
        }
    }
}

/// Where several are for one name, the one that is named first in the settings is shown, and else that of the database.
fn table(state: &State) -> Table {
    let mut table = Table::default();
    for kept in &state.kept {
        kept.names.iter().for_each(|name| table.insert(name, Arc::clone(&kept.pair.shown).into(), counts(kept.told)));
    }
    for found in state.files.iter().rev().filter_map(|it| it.found.as_ref()) {
        let facts = &found.pair.facts;
        let addresses = facts.addresses.iter().map(ToString::to_string);
        facts
            .names
            .iter()
            .cloned()
            .chain(addresses)
            .for_each(|name| table.insert(&name, Arc::clone(&found.pair.shown).into(), counts(found.told)));
    }
    table
}

fn announce(files: &Files, found: &Certificate, standing: Standing) {
    let (chain, names) = (files.chain.display(), found.names.join(", "));
    if !found.is_ordered {
        tracing::warn!(%chain, "behind a certificate of this chain stands another one than that which has signed it: some clients refuse that");
    }
    match standing {
        Standing::Good => tracing::info!(%chain, names, "a certificate is shown"),
        Standing::EndsSoon(days) => {
            tracing::warn!(%chain, names, days, "a certificate is shown that ends soon: renew it");
        }
        Standing::Over => tracing::error!(%chain, names, "a certificate is shown that has ended: browsers refuse it"),
        Standing::Early => {
            tracing::error!(%chain, names, "a certificate is shown that does not count yet: is the clock right?");
        }
    }
}

fn stamp(files: &Files) -> Option<Stamp> {
    use std::os::unix::fs::MetadataExt as _;
    let of = |path: &Path| fs::metadata(path).ok().map(|it| (it.size(), it.mtime(), it.mtime_nsec(), it.ino()));
    Some([of(&files.chain)?, of(&files.key)?])
}

/// Reads a pair, and sees that it is one.
fn read(files: &Files) -> Result<Pair> {
    let (chain, key) = (contents(&files.chain)?, contents(&files.key)?);
    Pair::read(&chain, &key)
        .and_then(|it| it.facts.check_names().map(|()| it))
        .map_err(|error| at(if error.field == Some("key") { &files.key } else { &files.chain }, &error))
}

fn contents(path: &Path) -> Result<Vec<u8>> {
    let unreadable = |error: &io::Error| {
        let why = match error.kind() {
            io::ErrorKind::NotFound => String::from("There is no such file."),
            io::ErrorKind::PermissionDenied => {
                let user = rustix::process::geteuid().as_raw();
                format!(
                    "The user with the id {user}, as whom chainhost runs, may not read it: `setfacl -m u:{user}:r` on it and `:x` on its folders let it."
                )
            }
            _ => format!("It cannot be read: {error}."),
        };
        at(path, &Error::invalid("certificate_file", why))
    };
    let size = fs::metadata(path).map_err(|it| unreadable(&it))?.len();
    if usize::try_from(size).is_ok_and(|it| it > PEM_BYTES_MAX) {
        return Err(at(
            path,
            &Error::invalid("certificate_file", "It has more than 1 MiB, and so is no certificate or key."),
        ));
    }
    fs::read(path).map_err(|it| unreadable(&it))
}

fn at(path: &Path, error: &Error) -> Error {
    Error { message: format!("{}: {}", path.display(), error.message), ..error.clone() }
}

/// The key for what the server signs itself: the same at each start, so that who knows its fingerprint knows it again.
fn own_key(data: &Path) -> Result<OwnKey> {
    let path = data.join(OWN_KEY);
    let kept = match fs::read(&path) {
        Ok(der) => OwnKey::read(&der).map_err(|error| error.to_string()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(String::new()),
        Err(error) => Err(error.to_string()),
    };
    let why = match kept {
        Ok(key) => return Ok(key),
        Err(why) => why,
    };
    if !why.is_empty() {
        tracing::warn!(path = %path.display(), why, "this key cannot be used; it is replaced");
    }
    let key = OwnKey::generate().map_err(Error::internal)?;
    // On a full disk, or one that may only be read, sites are served with a key that is not kept.
    if let Err(error) = files::write_atomic(&path, key.der(), 0o600) {
        tracing::warn!(path = %path.display(), %error, "this key cannot be kept: the next start has another one");
    }
    Ok(key)
}

/// Where visitors in clear are sent.
#[derive(Clone, Debug)]
pub(super) struct ToHttps {
    certificates: Certificates,
    /// `:8443`, or empty for 443.
    port: Arc<str>,
}

impl ToHttps {
    pub(super) fn new(certificates: &Certificates, port: &str) -> Self {
        Self { certificates: certificates.clone(), port: port.into() }
    }

    /// The port of HTTPS, where somebody vouches for that host.
    pub(super) fn port_of(&self, host: &str) -> Option<String> {
        self.certificates.has(host).then(|| self.port.to_string())
    }

    /// The same page by HTTPS; `None` where nobody vouches for that host and it `may` be asked in clear, and for what an authority asks.
    pub(super) fn target(&self, host: &str, uri: &hyper::Uri, may: bool) -> Option<String> {
        if uri.path().starts_with(challenges::PATH) || may && !self.certificates.has(host) {
            return None;
        }
        // `OPTIONS *` means no page.
        let rest = uri.path_and_query().map(PathAndQuery::as_str).filter(|it| it.starts_with('/'))?;
        Some(format!("https://{host}{}{rest}", self.port))
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64;

    use super::*;

    const DAY_MS: i64 = 24 * 3_600_000;

    /// The name of the only certificate, and whether it is overdue.
    fn shelf_figure(state: &State, now_s: i64) -> (String, bool) {
        let all = state.figures(now_s);
        assert_eq!((all.len(), all[0].from), (1, "file"));
        (all[0].name.clone(), all[0].is_overdue)
    }

    /// 2026-01-01 and 2026-04-01, UTC.
    const FROM_MS: i64 = 1_767_225_600_000;
    const UNTIL_MS: i64 = 1_775_001_600_000;

    /// A certificate for one year's first quarter counts for redirects as long as browsers take it, and no longer.
    #[test]
    fn time_alone_changes_how_a_certificate_stands() {
        let folder = tempfile::tempdir().unwrap();
        let (chain, key) = (folder.path().join("a.pem"), folder.path().join("a.key"));
        let pair = rcgen::KeyPair::generate().unwrap();
        let mut wish = rcgen::CertificateParams::new(vec![String::from("a.example")]).unwrap();
        (wish.not_before, wish.not_after) = (rcgen::date_time_ymd(2026, 1, 1), rcgen::date_time_ymd(2026, 4, 1));
        let made = wish.self_signed(&pair).unwrap();
        let pem = |label: &str, der: &[u8]| {
            format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64.encode(der))
        };
        files::write_atomic(&chain, pem("CERTIFICATE", made.der()).as_bytes(), 0o600).unwrap();
        files::write_atomic(&key, pem("PRIVATE KEY", pair.serialized_der()).as_bytes(), 0o600).unwrap();
        let (clock, hands) = Clock::manual(FROM_MS - DAY_MS);
        let certificates = Certificates::new(OwnKey::generate().unwrap(), "localhost", clock.clone());
        let files = vec![Loaded { files: Files { chain, key }, stamp: None, failed: None, found: None }];
        let shelf = Shelf::new(certificates, clock, State { files, ..State::default() });
        let standing = |after_ms| {
            hands.advance(after_ms);
            shelf.look(false);
            (shelf.state().files[0].found.as_ref().map(|it| it.told), shelf.certificates().has("a.example"))
        };
        let overdue = || {
            let state = shelf.state();
            (shelf_figure(&state, shelf.0.clock.now_ms() / 1_000), state.told_s.is_some())
        };
        assert_eq!(standing(0), (Some(Standing::Early), false));
        assert_eq!(standing(DAY_MS), (Some(Standing::Good), true));
        assert_eq!(overdue(), ((String::from("a.example"), false), false));
        assert_eq!(standing(UNTIL_MS - FROM_MS - 3 * DAY_MS), (Some(Standing::EndsSoon(3)), true));
        assert_eq!(overdue(), ((String::from("a.example"), true), true));
        assert_eq!(standing(DAY_MS), (Some(Standing::EndsSoon(3)), true), "told once");
        assert_eq!(standing(2 * DAY_MS + 1_000), (Some(Standing::Over), false));
    }
}
