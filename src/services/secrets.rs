//! The master key of the installation: where it is kept, and what is the matter when it is not there.
//!
//! The database knows the fingerprint of the key, so that a node with another one is told apart before it seals anything. Without
//! the key, sites are served and all is done that needs no secret.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::Services;
use crate::{
    base::{files, master_key::MasterKey},
    domain::{Error, Result},
    ports::db::Db,
    store,
};

/// The file in the data folder.
pub const FILE: &str = "master.key";
/// Only its owner reads it, and nobody writes it.
const MODE: u32 = 0o400;

/// The master key, or why it is not there.
#[derive(Debug)]
pub struct Secrets(Result<MasterKey>);

/// Where the key of a data folder is: `named` by the settings, or in the folder.
pub fn path(data: &Path, named: Option<&Path>) -> PathBuf {
    named.map_or_else(|| data.join(FILE), Path::to_owned)
}

/// The key in a file; `None` where there is no such file.
pub fn read(path: &Path) -> Result<Option<MasterKey>> {
    let cannot = |why: &str| {
        Error::unavailable("master_key", format!("The master key {} cannot be used: {why}.", path.display()))
    };
    let text = match fs::read_to_string(path) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(cannot(&error.to_string())),
    };
    let key = MasterKey::read(&text);
    key.map(Some).ok_or_else(|| cannot("it has not 64 hex digits. Put the file back as it was"))
}

impl Secrets {
    /// The key of this installation; made at the first start, in the data folder alone.
    pub async fn open(db: &Db, data: &Path, named: Option<&Path>) -> Self {
        Self(open(db, data, named).await.inspect_err(|error| tracing::error!(%error, "no secret can be read or kept")))
    }

    /// A key that is kept nowhere: for tests and measures.
    pub fn fleeting() -> Self {
        Self(Ok(MasterKey::generate()))
    }

    /// The key.
    pub const fn key(&self) -> Result<&MasterKey, &Error> {
        self.0.as_ref()
    }
}

async fn open(db: &Db, data: &Path, named: Option<&Path>) -> Result<MasterKey> {
    let path = path(data, named);
    let known = db.read(|tx| store::settings::find(tx, store::settings::MASTER_KEY)).await?;
    let (key, is_new) = match (read(&path)?, &known) {
        (Some(key), _) => (key, false),
        (None, None) if named.is_none() => keep(&path)?,
        (None, None) => {
            let text = format!(
                "There is no master key at {}. Make one: `openssl rand -hex 32 > FILE`, or let no setting name a place for it.",
                path.display()
            );
            return Err(Error::unavailable("master_key_missing", text));
        }
        (None, Some(_)) => return Err(missing(&path)),
    };
    tighten(&path);
    let print = key.fingerprint();
    let ours = print.clone();
    let agreed = db
        .write(move |tx| match store::settings::find(tx, store::settings::MASTER_KEY)? {
            Some(known) => Ok(known),
            None => store::settings::set(tx, store::settings::MASTER_KEY, &ours).map(|()| ours),
        })
        .await?;
    if agreed == print {
        return Ok(key);
    }
    // Another node was faster; nothing is sealed under this one.
    if is_new {
        drop(fs::remove_file(&path));
        return Err(missing(&path));
    }
    let text = format!(
        "The master key {} is another one than that under which the secrets in the database are kept. Copy that file from another node, or \
         from a backup, and restart.",
        path.display()
    );
    Err(Error::unavailable("master_key_other", text))
}

fn missing(path: &Path) -> Error {
    let text = format!(
        "The master key of this installation is not at {}. Copy the file from another node, or from a backup, and restart. Without it this \
         node cannot read what is kept secret: private keys of certificates, for one.",
        path.display()
    );
    Error::unavailable("master_key_missing", text)
}

/// Makes a key and keeps it, durably and whole, before anything is sealed under it; whether it was made here. Where somebody else was faster
/// it is theirs.
fn keep(path: &Path) -> Result<(MasterKey, bool)> {
    let key = MasterKey::generate();
    let mut text = Zeroizing::new(String::with_capacity(80));
    text.push_str(&key.text());
    text.push('\n');
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(format!(".{}", crate::base::random::label::<8>()));
    let fresh = PathBuf::from(fresh);
    files::write_atomic(&fresh, text.as_bytes(), MODE)?;
    let linked = fs::hard_link(&fresh, path);
    drop(fs::remove_file(&fresh));
    match linked {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Ok((read(path)?.ok_or_else(|| missing(path))?, false));
        }
        Err(error) => return Err(error.into()),
    }
    if let Some(folder) = path.parent() {
        files::sync_folder(folder)?;
    }
    Ok((key, true))
}

/// Takes the file away from others, where that can be done.
fn tighten(path: &Path) {
    let Ok(about) = fs::metadata(path) else { return };
    if about.permissions().mode().trailing_zeros() >= 6 {
        return;
    }
    tracing::warn!(path = %path.display(), "others than its owner could read the master key; now they cannot");
    if let Err(error) = fs::set_permissions(path, fs::Permissions::from_mode(MODE)) {
        tracing::error!(path = %path.display(), %error, "others than its owner can read the master key: `chmod 400` it");
    }
}

impl Services {
    /// The master key, or why it is not there.
    pub(super) fn master_key(&self) -> Result<&MasterKey> {
        self.secrets.key().map_err(Clone::clone)
    }
}
