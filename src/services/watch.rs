//! Watched folders: which site is deployed from which folder, and what the last look at it found.
//!
//! The folder is a setting of the site. What a look found is kept in memory alone: a start looks at once.

use std::{
    collections::HashMap,
    fs,
    path::{self, Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use crate::{
    base::hash::Sha256,
    domain::{
        Error, Result,
        access::{Actor, Right},
        node::Duty,
        site::{Site, SiteId, SiteName},
        tenant::TenantId,
    },
    store,
};

use super::{Services, access, nodes::Hold};

/// Bytes of a path: what the system takes.
const FOLDER_BYTES_MAX: usize = 4_095;

/// What is said of a folder in which nothing is.
pub const NOTHING_THERE: &str = "There is no such folder on this server, or no file is in it.";

/// What a look at a folder found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing new since the look before.
    Same,
    /// What is live now.
    Deployed,
    /// Nothing that can be deployed: it is gone, empty, or cannot be read. The sentence says which.
    Missing(String),
    /// Files that were refused. The sentence says why.
    Refused(String),
}

/// How a watched folder stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watching {
    /// The site.
    pub site: SiteName,
    /// Its folder.
    pub folder: String,
    /// When it was looked at last.
    pub looked_ms: i64,
    /// What keeps it from being deployed, if anything does.
    pub problem: Option<String>,
}

/// What is known of each watched folder.
#[derive(Debug, Default)]
pub(super) struct Looks(Mutex<HashMap<SiteId, Look>>);

#[derive(Debug)]
struct Look {
    tenant: TenantId,
    watching: Watching,
    /// Why the files that are still there were refused. It outlives a time in which the folder is not there.
    refused: Option<String>,
}

impl Looks {
    fn note(&self, tenant: TenantId, watching: Watching, site: SiteId, found: Found) {
        let mut looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = looks.remove(&site).filter(|it| it.watching.folder == watching.folder);
        let refused = match &found {
            Found::Same | Found::Missing(_) => before.and_then(|it| it.refused),
            Found::Deployed => None,
            Found::Refused(why) => Some(why.clone()),
        };
        let problem = if let Found::Missing(why) = found { Some(why) } else { refused.clone() };
        looks.insert(site, Look { tenant, watching: Watching { problem, ..watching }, refused });
    }

    fn keep(&self, sites: &[SiteId]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|id, _| sites.contains(id));
    }

    fn read<T>(&self, look: impl FnOnce(&HashMap<SiteId, Look>) -> T) -> T {
        look(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Services {
    /// Every site that is deployed from a folder, for the task that does it.
    pub async fn list_watched(&self) -> Result<Vec<(TenantId, Site)>> {
        let leave = access::server_scope();
        let found = self.db.read(move |tx| store::sites::list_watched(tx, leave)).await?;
        let ids: Vec<SiteId> = found.iter().map(|(_, site)| site.id).collect();
        self.looks().keep(&ids);
        Ok(found)
    }

    /// A site as it is now, for the task that deploys it from a folder; `None` when it is gone.
    pub async fn find_watched_site(&self, tenant: TenantId, id: SiteId) -> Result<Option<Site>> {
        let scope = access::task_scope(tenant);
        self.db.read(move |tx| store::sites::find_by_id(tx, scope, id)).await
    }

    /// Whether exactly these files were the last that were deployed from the site's folder.
    pub async fn is_last_watched(&self, tenant: TenantId, id: SiteId, list: Sha256) -> Result<bool> {
        let scope = access::task_scope(tenant);
        Ok(self.db.read(move |tx| store::sites::find_watched(tx, scope, id)).await? == Some(list))
    }

    /// Remembers durably what was deployed last from the site's folder: a restart must not deploy it again over what
    /// somebody has published since.
    pub async fn remember_watched(&self, hold: &Hold, tenant: TenantId, id: SiteId, list: Sha256) -> Result<()> {
        let scope = access::task_scope(tenant);
        self.write_held(Some(*hold), move |tx| store::sites::change_watched(tx, scope, id, list)).await
    }

    /// Keeps what a look at the folder of `site` found.
    pub fn note_look(&self, tenant: TenantId, site: &Site, found: Found) {
        let Some(folder) = site.watch_folder.clone() else { return };
        let watching = Watching { site: site.name.clone(), folder, looked_ms: self.clock.now_ms(), problem: None };
        self.looks().note(tenant, watching, site.id, found);
        self.signals().touch();
    }

    /// Notes that nothing is in a folder that was just named, for the answer to who has named it: the task looks a moment later. Another
    /// node than the one that watches may have other folders, and says nothing.
    pub(super) async fn look_at_once(&self, tenant: TenantId, site: &Site) {
        let Some(folder) = site.watch_folder.clone().map(PathBuf::from) else { return };
        if site.taken_down.is_some() || self.hold(Duty::Watch).is_none() || self.find_watching(site).is_some() {
            return;
        }
        if matches!(self.blocking(move || Ok(folder.exists())).await, Ok(false)) {
            self.note_look(tenant, site, Found::Missing(String::from(NOTHING_THERE)));
        }
    }

    /// How the watched folder of a site stands; `None` before the first look at it.
    pub fn find_watching(&self, site: &Site) -> Option<Watching> {
        let folder = site.watch_folder.as_deref()?;
        let found = self.looks().read(|looks| looks.get(&site.id).map(|it| it.watching.clone()));
        found.filter(|it| it.folder == folder)
    }

    /// The watched folders of the actor's tenant that something keeps from being deployed, by site.
    pub fn list_watch_problems(&self, actor: &Actor) -> Result<Vec<Watching>> {
        let scope = actor.require(Right::Read)?;
        let mut found: Vec<Watching> = self.looks().read(|looks| {
            let own = looks.values().filter(|it| it.tenant == scope.tenant() && it.watching.problem.is_some());
            own.map(|it| it.watching.clone()).collect()
        });
        found.sort_by(|a, b| a.site.cmp(&b.site));
        Ok(found)
    }

    /// Refuses a folder that must not be watched.
    pub(super) async fn check_watched(&self, folder: &str) -> Result<()> {
        check_folder(folder, &self.data)?;
        let (folder, data) = (PathBuf::from(folder), self.data.clone());
        self.blocking(move || check_target(&folder, &data)).await
    }
}

/// SECURITY: the keys and the database of this server are not to be published, so neither their folder, nor one in it or
/// around it, is watched.
fn check_folder(folder: &str, data: &Path) -> Result<()> {
    let wrong = |text: &str| Err(Error::invalid("watch_folder", text).on("folder"));
    if !folder.starts_with('/') || folder.contains('\0') || folder.len() > FOLDER_BYTES_MAX {
        return wrong("Give the whole path of the folder, from / on.");
    }
    let folder = Path::new(folder);
    if folder.components().any(|it| it == path::Component::ParentDir) {
        return wrong("Give the path of the folder without `..`.");
    }
    if overlap(folder, &path::absolute(data)?) { Err(ours()) } else { Ok(()) }
}

/// As [`check_folder`], for what symbolic links lead to. A folder that is not there yet leads nowhere; a link that comes later is
/// not followed.
fn check_target(folder: &Path, data: &Path) -> Result<()> {
    let data = fs::canonicalize(data)?;
    let real = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    if overlap(folder, &data) || overlap(&real, &data) {
        return Err(ours());
    }
    if real == folder.components().collect::<PathBuf>() {
        return Ok(());
    }
    let text =
        format!("A symbolic link is on this path, and none is followed here. Give the real path: {}", real.display());
    Err(Error::invalid("watch_folder", text).on("folder"))
}

fn overlap(folder: &Path, data: &Path) -> bool {
    folder.starts_with(data) || data.starts_with(folder)
}

fn ours() -> Error {
    let text = "The data of this server is in that folder, and must not be published. Choose another one.";
    Error::invalid("watch_folder", text).on("folder")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::Id;

    #[test]
    fn a_look_that_finds_nothing_new_forgets_no_problem() {
        let looks = Looks::default();
        let (tenant, site) = (TenantId(Id::from_bytes([1; 16])), SiteId(Id::from_bytes([2; 16])));
        let problem = |folder: &str, found: Found| {
            let name = SiteName::parse("hello").unwrap();
            let watching = Watching { site: name, folder: folder.to_owned(), looked_ms: 0, problem: None };
            looks.note(tenant, watching, site, found);
            looks.read(|it| it[&site].watching.problem.clone())
        };
        let said = |text: &str| Some(text.to_owned());
        assert_eq!(problem("/a", Found::Same), None);
        assert_eq!(problem("/a", Found::Refused("no".into())), said("no"));
        assert_eq!(problem("/a", Found::Same), said("no"));
        assert_eq!(problem("/a", Found::Missing("gone".into())), said("gone"));
        assert_eq!(problem("/a", Found::Same), said("no"), "it is back as it was");
        assert_eq!(problem("/a", Found::Deployed), None);
        assert_eq!(problem("/a", Found::Missing("gone".into())), said("gone"));
        assert_eq!(problem("/a", Found::Same), None);
        assert_eq!(problem("/a", Found::Refused("no".into())), said("no"));
        assert_eq!(problem("/b", Found::Same), None, "another folder has another past");
        looks.keep(&[]);
        assert!(looks.read(HashMap::is_empty));
    }

    #[test]
    fn a_folder_is_named_whole_and_holds_nothing_of_the_server() {
        let data = Path::new("/var/lib/chainhost");
        for good in ["/srv/www", "/var/lib/chainhost-sites", "/srv/ü/"] {
            assert!(check_folder(good, data).is_ok(), "{good}");
        }
        for wrong in
            ["", "srv", "/a\0", "/srv/../var", "/", "/var", "/var/lib/chainhost", "/var/lib/chainhost/x", "/var/"]
        {
            assert_eq!(check_folder(wrong, data).unwrap_err().field, Some("folder"), "{wrong:?}");
        }
    }
}
