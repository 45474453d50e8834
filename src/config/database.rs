//! Which database the server uses: the embedded one, or a PostgreSQL.
//!
//! The URL has a password in it, so it may come from the environment alone, and is printed nowhere.

use std::{fs, io, path::Path, sync::Arc};

use serde::Deserialize;

use crate::{
    base::secret::Secret,
    domain::{Error, Result},
};

/// Connections of one server when nothing else is said: the guide's pool.
const POOL: usize = 25;
/// More connections than a PostgreSQL of any size serves well.
const POOL_MAX: usize = 1000;

/// A PostgreSQL. Without one, SQLite in the data folder.
#[derive(Clone, Debug)]
pub struct Postgres {
    /// Of the server, or of a pooler in transaction mode.
    pub url: Arc<Secret>,
    /// The same database without the pooler.
    pub direct_url: Option<Arc<Secret>>,
    /// Standbys of the same database, to read from.
    pub replica_urls: Vec<Arc<Secret>>,
    /// Most connections.
    pub pool: usize,
}

/// What is shown of a URL of which nobody can tell where its password ends.
const UNCLEAR: &str = "an address that has an @ behind its ?";

/// Host, port and database of a URL, without user and password. A password may have an `@` in it that should have been
/// escaped, so what counts is the last one before the settings.
pub fn public_part(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (place, settings) = rest.split_once('?').unwrap_or((rest, ""));
    match place.rsplit_once('@') {
        Some((_, host)) => host,
        // SECURITY: the `?` may be one of a password that nobody has escaped, and what is before it a part of that.
        None if settings.contains('@') => UNCLEAR,
        None => place,
    }
}

/// The file in a data folder with the URL of the database that its data was moved to.
pub const REMEMBERED: &str = "database-url";

impl Postgres {
    /// A database without more settings.
    pub fn at(url: Secret) -> Self {
        Self { url: url.into(), direct_url: None, replica_urls: Vec::new(), pool: POOL }
    }

    /// Host, port and database, for people.
    pub fn name(&self) -> &str {
        public_part(self.url.expose())
    }
}

/// The database of a server: the one that its settings name, or the one that its data was moved to.
pub(super) fn choose(configured: Option<Postgres>, data: &Path) -> Result<Option<Postgres>> {
    let path = data.join(REMEMBERED);
    let Some(moved) = remembered(&path)?.map(Postgres::at) else { return Ok(configured) };
    match configured {
        None => Ok(Some(moved)),
        Some(it) if it.name() == moved.name() => Ok(Some(it)),
        Some(it) => Err(wrong(&format!(
            "The settings name the database {}, while the data of this server was moved to {}. Correct `url` in [database] or \
             CHAINHOST_DATABASE_URL; or, when both lead to the same database, remove {}",
            it.name(),
            moved.name(),
            path.display()
        ))),
    }
}

/// The URL in a file that `chainhost move` has written; `None` when there is none.
pub fn remembered(path: &Path) -> Result<Option<Secret>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(Secret::new(text.trim().to_owned()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(wrong(&format!("{} cannot be read: {error}", path.display()))),
    }
}

/// The section `[database]` of the file.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    url: Option<Secret>,
    direct_url: Option<Secret>,
    #[serde(default)]
    replica_urls: Vec<Secret>,
    pool: Option<usize>,
}

/// The settings from the file's section and the environment, which wins.
pub(super) fn read(section: Section, env: impl Fn(&str) -> Option<String>) -> Result<Option<Postgres>> {
    let secret = |name: &str, of_file: Option<Secret>| env(name).map(Secret::new).or(of_file).map(Arc::new);
    let url = secret("CHAINHOST_DATABASE_URL", section.url);
    let direct_url = secret("CHAINHOST_DATABASE_DIRECT_URL", section.direct_url);
    let replica_urls: Vec<Arc<Secret>> = match env("CHAINHOST_DATABASE_REPLICA_URLS") {
        Some(all) => all.split(',').map(|it| Arc::new(Secret::new(it.trim().to_owned()))).collect(),
        None => section.replica_urls.into_iter().map(Arc::new).collect(),
    };
    let Some(url) = url else {
        if direct_url.is_some() || !replica_urls.is_empty() || section.pool.is_some() {
            return Err(wrong("[database] needs `url`; without it the embedded database is used"));
        }
        return Ok(None);
    };
    let pool = section.pool.unwrap_or(POOL);
    if !(2..=POOL_MAX).contains(&pool) {
        return Err(wrong(&format!("[database] pool is {pool}; give 2 to {POOL_MAX} connections")));
    }
    Ok(Some(Postgres { url, direct_url, replica_urls, pool }))
}

pub(super) fn wrong(why: &str) -> Error {
    Error::invalid("config", format!("{why}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(text: &str) -> Section {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn names_have_no_password() {
        for (url, name) in [
            ("postgres://u:p@h:5432/d?sslmode=require", "h:5432/d"),
            ("postgres://u:p@ss@h/d", "h/d"),
            ("postgres://h/d", "h/d"),
            ("postgres://u:p@h/d?x=a@b", "h/d"),
            ("postgres://u:p?word@h/d", UNCLEAR),
            ("postgres://h/d?password=p@word", UNCLEAR),
        ] {
            assert_eq!(public_part(url), name);
        }
    }

    #[test]
    fn the_folder_remembers_where_its_data_was_moved() {
        let folder = tempfile::tempdir().unwrap();
        let at = |url: &str| Some(Postgres::at(Secret::new(url.to_owned())));
        assert!(choose(None, folder.path()).unwrap().is_none());
        crate::base::files::write_atomic(&folder.path().join(REMEMBERED), b"postgres://u:secret@h/d\n", 0o600).unwrap();
        assert_eq!(choose(None, folder.path()).unwrap().unwrap().url.expose(), "postgres://u:secret@h/d");
        assert_eq!(choose(at("postgres://v@h/d"), folder.path()).unwrap().unwrap().url.expose(), "postgres://v@h/d");
        let error = choose(at("postgres://h/other"), folder.path()).unwrap_err();
        assert!(error.message.contains("h/other") && !error.message.contains("secret"), "{error}");
    }

    #[test]
    fn the_environment_wins_and_half_a_section_is_refused() {
        assert!(read(Section::default(), |_| None).unwrap().is_none());
        let file = read(section("url = 'postgres://a/b'\npool = 3"), |_| None).unwrap().unwrap();
        assert_eq!((file.url.expose(), file.pool), ("postgres://a/b", 3));
        let env = |name: &str| (name == "CHAINHOST_DATABASE_URL").then(|| String::from("postgres://c/d"));
        let both = read(section("url = 'postgres://a/b'"), env).unwrap().unwrap();
        assert_eq!((both.url.expose(), both.pool), ("postgres://c/d", 25));
        assert!(!format!("{both:?}").contains("postgres://"));
        let env = |name: &str| {
            (name == "CHAINHOST_DATABASE_REPLICA_URLS").then(|| String::from("postgres://r/1, postgres://r/2"))
        };
        let read_from =
            read(section("url = 'postgres://a/b'\nreplica_urls = ['postgres://f/d']"), env).unwrap().unwrap();
        let urls: Vec<&str> = read_from.replica_urls.iter().map(|it| it.expose()).collect();
        assert_eq!(urls, ["postgres://r/1", "postgres://r/2"]);
        for text in [
            "pool = 4",
            "replica_urls = ['postgres://a/b']",
            "direct_url = 'postgres://a/b'",
            "url = 'postgres://a/b'\npool = 1",
        ] {
            assert_eq!(read(section(text), |_| None).unwrap_err().code, "config", "{text}");
        }
    }
}
