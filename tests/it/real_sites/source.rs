//! Sources that the tests write and generators build, kept in `target/real-sites` until something changes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{LazyLock, Mutex, PoisonError},
};

use chainhost::base::{files::walk, hash::Sha256};
use tempfile::TempDir;

use super::run;
use crate::support::write_files;

/// A built site.
pub(super) struct Site {
    /// Where it is.
    pub(super) folder: PathBuf,
    /// Its files, below the folder, by name.
    pub(super) files: Vec<String>,
}

/// Files by their path.
pub(super) type Files = Vec<(String, Vec<u8>)>;

/// Where generators, sources and built sites are.
pub(super) static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/real-sites");
    fs::create_dir_all(&folder).unwrap();
    folder
});

/// The folder of the pins and settings.
pub(super) fn pins() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real-sites")
}

/// Makes sure that the generators are there.
pub(super) fn install() {
    static INSTALLED: LazyLock<()> = LazyLock::new(|| drop(run(&mut Command::new(pins().join("install")))));
    LazyLock::force(&INSTALLED);
}

/// The folder `NAME-KEY`, which `make` fills when it is not there; `key` stands for all that goes into it. Folders of
/// the same name with another key are removed.
pub(super) fn kept(name: &str, key: &Sha256, make: impl FnOnce(&Path)) -> PathBuf {
    // Tests run beside each other and may want the same site.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = FOLDER.join(format!("{name}-{}", &key.hex()[..16]));
    if folder.exists() {
        return folder;
    }
    for entry in fs::read_dir(&*FOLDER).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with(&format!("{name}-")) {
            fs::remove_dir_all(path).unwrap();
        }
    }
    let half = tempfile::Builder::new().prefix(&format!("{name}-")).tempdir_in(&*FOLDER).unwrap();
    make(half.path());
    fs::rename(half.keep(), &folder).unwrap();
    folder
}

/// Builds `sources` with a command that leaves the site in the folder `site` beside them.
pub(super) fn built(name: &str, sources: &Files, pinned: &Path, build: impl FnOnce(&Path)) -> Site {
    install();
    let mut all = fs::read(pinned).unwrap();
    for (path, bytes) in sources {
        all.extend_from_slice(format!("\n{path} {}\n", bytes.len()).as_bytes());
        all.extend_from_slice(bytes);
    }
    let folder = kept(name, &Sha256::of(&all), |folder| {
        let files: Vec<_> = sources.iter().map(|(path, bytes)| (path.as_str(), &bytes[..])).collect();
        write_files(folder, &files);
        build(folder);
    });
    Site::of(folder.join("site"))
}

impl Site {
    /// The site that a folder holds.
    pub(super) fn of(folder: PathBuf) -> Self {
        let mut files: Vec<_> = walk(&folder).unwrap().iter().map(|it| it.to_str().unwrap().to_owned()).collect();
        files.sort();
        Self { folder, files }
    }
}

/// A copy that a test may change by replacing files. Its files are further names of the same ones, so it costs nothing.
pub(super) fn working_copy(site: &Site) -> TempDir {
    let copy = tempfile::Builder::new().prefix("copy-").tempdir_in(&*FOLDER).unwrap();
    for file in &site.files {
        let path = copy.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::hard_link(site.folder.join(file), path).unwrap();
    }
    copy
}
