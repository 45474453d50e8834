//! The two kinds of places where a server's data can be, and what must be so before data is moved to one.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, chown},
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::runtime::Runtime;

use crate::{
    base::{files, secret::Secret},
    config::database::Postgres,
    domain::{Error, Result},
    engines::{schema, sqlite::Sqlite},
    ports::db::{Database, Db},
    store::{
        self,
        copy::Marks,
        settings::{FILLING, INSTANCE, MOVED_TO},
    },
};

/// The schema of a rehearsal.
const SHADOW: &str = "chainhost_rehearsal";

/// Where data is.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// In a file.
    Sqlite(PathBuf),
    /// In a PostgreSQL.
    Postgres(Postgres),
}

/// An open database. Closed when dropped.
pub(super) struct Opened {
    pub(super) db: Db,
    engine: Arc<dyn Database>,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.engine.close();
    }
}

impl Place {
    /// Where a server with these settings has its data.
    pub(super) fn of(postgres: Option<&Postgres>, data: &Path) -> Self {
        postgres.map_or_else(|| Self::Sqlite(data.join("chainhost.db")), |it| Self::Postgres(it.clone()))
    }

    /// Reads what follows `--to`.
    pub(super) fn parse(text: &Secret, data: &Path) -> Result<Self> {
        match text.expose() {
            "sqlite" => Ok(Self::Sqlite(data.join("chainhost.db"))),
            it if it.starts_with("postgres://") || it.starts_with("postgresql://") => {
                Ok(Self::Postgres(super::at(text)))
            }
            _ => Err(Error::invalid("to", "Give --to sqlite, or --to postgres://user:password@host:5432/database.")),
        }
    }

    /// For people, and for the mark in the old database; without a password.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Sqlite(_) => String::from("sqlite"),
            Self::Postgres(it) => format!("postgres://{}", it.name()),
        }
    }

    /// What a move says of an error of its target: one that cannot be reached takes nothing from the server.
    pub(super) fn untouched(&self, error: Error) -> Error {
        if error.code != "database_unreachable" {
            return error;
        }
        let text = format!(
            "{} cannot be reached. The data of this server stays where it is. Check the address in --to, that the PostgreSQL there \
             runs, and that this machine may connect to it; then run the command again.",
            self.name()
        );
        let detail = error.detail.unwrap_or_default();
        Error::unavailable("target_unreachable", text).because(detail)
    }

    /// Opens it, with tables where there are none unless it `must_exist`.
    pub(super) fn open(&self, runtime: &Runtime, must_exist: bool) -> Result<Opened> {
        let engine: Arc<dyn Database> = match self {
            Self::Sqlite(path) => {
                if must_exist && !path.exists() {
                    let text = format!("The database {} is not there. Restore it from a backup.", path.display());
                    return Err(Error::unavailable("database_missing", text));
                }
                let sqlite = Sqlite::open(path, schema::SQLITE)?;
                if let Some(data) = path.parent() {
                    for end in ["", "-wal", "-shm"] {
                        give_to_owner(data, &PathBuf::from(format!("{}{end}", path.display())))?;
                    }
                }
                sqlite
            }
            Self::Postgres(it) => runtime.block_on(super::ground::postgres(it.clone(), must_exist))?,
        };
        Ok(Opened { db: Db::new(Arc::clone(&engine)), engine })
    }

    /// Refuses a place with anything in it but an earlier copy of this installation that takes no changes.
    pub(super) fn check(&self, runtime: &Runtime, instance: &str) -> Result<()> {
        let marks = match self {
            Self::Sqlite(path) if !path.exists() => return Ok(()),
            Self::Sqlite(_) => {
                let opened = self.open(runtime, false)?;
                runtime.block_on(opened.db.read(store::copy::marks))?
            }
            // One that is told to ignore what it cannot pass on would let a rehearsal fill the target itself.
            Self::Postgres(it) if is_pooler(&it.url)? => {
                let text = "--to leads to a pooler. Give the address of the PostgreSQL server itself, not of a pooler.";
                return Err(Error::invalid("to", text));
            }
            // Not opened before it is known whose it is: that would take the steps of the schema there.
            Self::Postgres(it) => match tables_at(&it.url)?.as_str() {
                "" => return Ok(()),
                tables
                    if ["schema_version", "setting"].iter().all(|it| tables.split(',').any(|table| table == *it)) =>
                {
                    marks_at(&it.url)?
                }
                others => {
                    let text = format!(
                        "{} holds tables of something else ({others}). Give an empty database: CREATE DATABASE chainhost",
                        self.name()
                    );
                    return Err(Error::conflict("target_not_empty", text));
                }
            },
        };
        let ours = marks.instance.as_deref() == Some(instance);
        if marks.filling.as_deref() == Some(instance) || (ours && marks.moved_to.is_some()) {
            return Ok(());
        }
        if marks == Marks::default() {
            // Tables without an installation: a first start, or a move, that broke off.
            return Ok(());
        }
        let text = if ours {
            format!(
                "{} holds the data of this server and may be in use. Give another database, or empty it.",
                self.name()
            )
        } else {
            format!("{} holds the data of another installation. Give an empty database.", self.name())
        };
        Err(Error::conflict("target_not_empty", text))
    }

    /// A place beside it for a rehearsal, empty.
    pub(super) fn shadow(&self) -> Result<Shadow> {
        let shadow = match self {
            Self::Sqlite(path) => {
                let mut name = path.as_os_str().to_owned();
                name.push(".rehearsal");
                Shadow { place: Self::Sqlite(name.into()), of: self.clone(), removed: false }
            }
            Self::Postgres(it) => {
                let url = it.url.expose();
                if url.contains("options=") {
                    return Err(Error::invalid("to", "A rehearsal needs a URL without `options`."));
                }
                let sign = if url.contains('?') { '&' } else { '?' };
                let url = format!("{url}{sign}options=-c%20search_path%3D{SHADOW}");
                let place = Self::Postgres(super::at(&Secret::new(url)));
                Shadow { place, of: self.clone(), removed: false }
            }
        };
        // What a rehearsal left behind that was killed.
        shadow.sweep()?;
        if let Self::Postgres(it) = self {
            statement(&it.url, &format!("CREATE SCHEMA {SHADOW}"))?;
        }
        Ok(shadow)
    }
}

/// The place of a rehearsal. Dropped, it is removed.
pub(super) struct Shadow {
    place: Place,
    of: Place,
    removed: bool,
}

impl Shadow {
    pub(super) const fn place(&self) -> &Place {
        &self.place
    }

    pub(super) fn remove(mut self) -> Result<()> {
        self.removed = true;
        self.sweep()
    }

    fn sweep(&self) -> Result<()> {
        match (&self.place, &self.of) {
            (Place::Sqlite(path), _) => {
                for end in ["", "-wal", "-shm"] {
                    let mut name = path.as_os_str().to_owned();
                    name.push(end);
                    match fs::remove_file(name) {
                        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                        _ => {}
                    }
                }
                Ok(())
            }
            (_, Place::Postgres(it)) => {
                let sql = format!("SET client_min_messages = warning; DROP SCHEMA IF EXISTS {SHADOW} CASCADE");
                statement(&it.url, &sql).map(drop)
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Shadow {
    fn drop(&mut self) {
        if !self.removed
            && let Err(error) = self.sweep()
        {
            tracing::warn!(%error, "the shadow copy of a rehearsal is left behind");
        }
    }
}

/// The tables in a PostgreSQL database, by commas.
fn tables_at(url: &Secret) -> Result<String> {
    let sql = "SELECT COALESCE(string_agg(CAST(c.relname AS TEXT), ',' ORDER BY c.relname), '') FROM pg_class c \
               JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = current_schema() \
               AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition";
    Ok(statement(url, sql)?.into_iter().next().unwrap_or_default())
}

/// The marks of a PostgreSQL database of some Chain Host.
fn marks_at(url: &Secret) -> Result<Marks> {
    let value = |name: &str| format!("COALESCE((SELECT value FROM setting WHERE name = '{name}'), '')");
    let sql = format!("SELECT {}, {}, {}", value(INSTANCE), value(MOVED_TO), value(FILLING));
    let mut found = statement(url, &sql)?.into_iter().map(|it| Some(it).filter(|it| !it.is_empty()));
    let mut next = || found.next().flatten();
    Ok(Marks { instance: next(), moved_to: next(), filling: next() })
}

#[cfg(feature = "postgres")]
fn is_pooler(url: &Secret) -> Result<bool> {
    apart(|| crate::engines::postgres::is_pooler(url))
}

#[cfg(feature = "postgres")]
fn statement(url: &Secret, sql: &str) -> Result<Vec<String>> {
    apart(|| crate::engines::postgres::run_once(url, sql))
}

/// Its client must not run on a thread of the runtime.
#[cfg(feature = "postgres")]
fn apart<T: Send>(run: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| scope.spawn(run).join()).unwrap_or_else(|_| Err(Error::internal("a thread panicked")))
}

#[cfg(not(feature = "postgres"))]
fn is_pooler(_url: &Secret) -> Result<bool> {
    Err(super::ground::no_postgres())
}

#[cfg(not(feature = "postgres"))]
fn statement(_url: &Secret, _sql: &str) -> Result<Vec<String>> {
    Err(super::ground::no_postgres())
}

/// Lets a data folder remember a URL for the next start, or forget it. The file is its owner's alone.
pub(super) fn remember(data: &Path, name: &str, url: Option<&Secret>) -> Result<()> {
    let file = data.join(name);
    let Some(url) = url else {
        return match fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => files::sync_folder(data).map_err(Into::into),
        };
    };
    files::write_atomic(&file, format!("{}\n", url.expose()).as_bytes(), 0o600)?;
    give_to_owner(data, &file)
}

/// Gives a file that root has made to whoever has the data folder: the server does not run as root.
pub(super) fn give_to_owner(data: &Path, file: &Path) -> Result<()> {
    let owner = fs::metadata(data)?;
    match fs::metadata(file) {
        Ok(it) if it.uid() != owner.uid() && rustix::process::geteuid().is_root() => {
            chown(file, Some(owner.uid()), Some(owner.gid())).map_err(Into::into)
        }
        _ => Ok(()),
    }
}
