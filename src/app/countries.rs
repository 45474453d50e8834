//! The database of countries: read at the start, and again when its file has changed.
//!
//! Without it sites are served all the same: conditions by country hold for nobody until the file can be read.

use std::{path::Path, time::Duration};

use crate::base::{
    clock,
    countries::{About, Countries, Unusable},
    tasks::Tasks,
};

/// Pause between two looks at the file. Those who make such files have a new one once a day at most.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Those of the file that the settings name, which is followed from now on.
pub(super) fn open(path: Option<&Path>, tasks: &Tasks) -> Countries {
    let Some(path) = path else { return Countries::none() };
    let countries = Countries::open(path);
    match countries.fault() {
        Some(fault) => tell(path, Err(fault)),
        None => countries.about().into_iter().for_each(|about| tell(path, Ok(about))),
    }
    tasks.spawn(follow(countries.clone(), path.to_owned(), tasks.clone()));
    countries
}

async fn follow(countries: Countries, path: std::path::PathBuf, tasks: Tasks) {
    loop {
        tokio::select! {
            () = tasks.stopping() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let looks = countries.clone();
        if let Some(Some(found)) = tasks.blocking(move || looks.look()).await {
            tell(&path, found);
        }
    }
}

fn tell(path: &Path, found: Result<About, Unusable>) {
    let path = path.display();
    match found {
        Ok(About { kind, built_ms, bytes }) => {
            let built = clock::rfc3339(built_ms);
            tracing::info!(%path, %kind, %built, bytes, "countries are known by this database");
        }
        Err(error) => tracing::error!(
            %error,
            "rules with countries hold by the database that was read before, or for nobody if there was none; the file is read again when it \
             changes"
        ),
    }
}
