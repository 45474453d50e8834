//! Storage: what no deployment needs any more, before and after it is removed.

use askama::Template;

use super::{
    gate::Answer,
    shell::{Notice, Place, Shell},
    visit::{Visit, go, show},
    words::{self, Fact},
};
use crate::base::{files, units::ByteSize};

/// A dry run of the garbage collection.
#[derive(Debug, Template)]
#[template(path = "settings/storage.html")]
pub(super) struct Storage {
    pub(super) shell: Shell,
    pub(super) lead: String,
    /// Where the bytes are.
    pub(super) place: Vec<Fact>,
    /// `3.4 GB` in use, `120 MB` unused: name, value, note.
    pub(super) figures: Vec<(&'static str, String, String)>,
    /// Hash and size of the first unused blobs.
    pub(super) rows: Vec<(String, String)>,
    /// Those that are not in `rows`.
    pub(super) more: i64,
    /// Whether there is anything to remove.
    pub(super) removable: bool,
}

/// Blobs named on the page.
const LISTED: usize = 20;

/// What could go.
pub(super) async fn storage(visit: Visit) -> Answer {
    let shell = visit.shell(Place::Storage).await?;
    let found = visit.services.collect_garbage(&visit.actor, true).await?;
    let int = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let many = i64::try_from(found.blobs.len()).unwrap_or(i64::MAX);
    let unused = words::size(int(found.bytes()));
    let stores = visit.services.find_stores(&visit.actor)?;
    let mut figures = Vec::new();
    let (files, bytes) = found.stored;
    if files > 0 {
        let name = if stores.in_bucket { "At hand in the folder" } else { "Stored" };
        let note = format!("{}, each once", words::count(i64::try_from(files).unwrap_or(i64::MAX), "file", "files"));
        figures.push((name, words::size(int(bytes)), note));
    }
    if many > 0 {
        figures.push(("Unused", unused.clone(), format!("{}, older than a day", words::count(many, "file", "files"))));
    }
    if let Ok(space) = files::space(&visit.services.data) {
        figures.push(("Free on the disk", ByteSize(space.free).to_string(), format!("of {}", ByteSize(space.total))));
    }
    let rows = found.blobs.iter().take(LISTED);
    show(&Storage {
        shell,
        place: vec![Fact::files("Kept in", stores)],
        lead: if many == 0 {
            String::from("Every stored file is in a deployment, or younger than a day.")
        } else {
            format!("{unused} in {} are in no deployment and can go.", words::count(many, "file", "files"))
        },
        figures,
        rows: rows.map(|(hash, size)| (words::grouped(&hash.hex()), words::size(int(*size)))).collect(),
        more: many.saturating_sub(i64::try_from(LISTED).unwrap_or(i64::MAX)).max(0),
        removable: many > 0,
    })
}

/// Removes it.
pub(super) async fn clean(visit: Visit) -> Answer {
    visit.services.collect_garbage(&visit.actor, false).await?;
    go(&visit.services, "/storage", Some(Notice::StorageCleaned))
}
