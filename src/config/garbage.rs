//! When garbage is collected: stored files that nothing names any more.

use serde::Deserialize;
use toml::Spanned;

use crate::domain::{Error, Result, cron::Cron, schedule::Times, zone::Zone};

/// The section `[garbage]` of the file.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    at: Option<Spanned<String>>,
    zone: Option<Spanned<String>>,
}

/// The times of the section; `None`: at the start and daily. `wrong` says where a value stands and what is wrong with it.
pub(super) fn read(section: &Section, wrong: impl Fn(&Spanned<String>, &str, &str) -> Error) -> Result<Option<Times>> {
    let told = |it: &Spanned<String>, key: &str, error: &Error| wrong(it, key, error.message.trim_end_matches('.'));
    let zone = match &section.zone {
        Some(it) => Zone::parse(it.get_ref()).map_err(|error| told(it, "zone", &error))?,
        None => Zone::UTC,
    };
    match (&section.at, &section.zone) {
        (Some(it), _) => {
            let cron = Cron::parse(it.get_ref()).map_err(|error| told(it, "at", &error))?;
            Ok(Some(Times { cron, zone }))
        }
        (None, Some(it)) => Err(wrong(it, "zone", "a zone needs times: add `at`, such as \"0 3 * * *\"")),
        (None, None) => Ok(None),
    }
}
