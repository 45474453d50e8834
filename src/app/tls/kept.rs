//! Certificates of the database: shown by every node, and also while the database is away.
//!
//! What is shown stands in a file of the data folder, the keys sealed as they are in the database: a start without a database shows what was
//! shown last.

use std::{collections::HashMap, fs, path::Path};

use super::Shelf;
use crate::{
    base::{clock::Clock, files, tasks::Tasks},
    domain::{
        Result,
        acme::{Challenge, Kind},
        certificate::{
            Standing,
            pair::{Pair, tls_alpn},
        },
    },
    services::{
        Services,
        certificates::{self, Shown},
        secrets,
    },
};

/// The file with what is shown.
pub(in crate::app) const KEPT: &str = "certificates.json";

/// A certificate of the database, ready to be shown.
pub(super) struct KeptPair {
    pub(super) names: Vec<String>,
    pub(super) pair: Pair,
    /// How it stood when that was looked at last.
    pub(super) told: Standing,
}

impl KeptPair {
    fn new(names: Vec<String>, pair: Pair, clock: &Clock) -> Self {
        let told = pair.facts.standing(clock.now_ms() / 1_000);
        Self { names, pair, told }
    }

    /// Looks how it stands now; whether that is another than before.
    pub(super) fn stands(&mut self, now_s: i64) -> bool {
        let now = self.pair.facts.standing(now_s);
        let before = std::mem::replace(&mut self.told, now);
        std::mem::discriminant(&before) != std::mem::discriminant(&now)
    }
}

/// What was shown last in this data folder. What of it cannot be read is not shown until the database says it again.
pub(super) fn recall(data: &Path, key: &Path, clock: &Clock) -> Vec<KeptPair> {
    let read = || -> Result<Vec<KeptPair>> {
        let Ok(text) = fs::read(data.join(KEPT)) else { return Ok(Vec::new()) };
        let shown: Vec<Shown> = serde_json::from_slice(&text).map_err(crate::domain::Error::internal)?;
        let Some(key) = secrets::read(key)? else { return Ok(Vec::new()) };
        Ok(shown
            .into_iter()
            .filter_map(|it| {
                let pair = certificates::open(&key, &it);
                let pair = pair.inspect_err(
                    |error| tracing::error!(%error, names = it.names.join(", "), "a certificate is not shown"),
                );
                Some(KeptPair::new(it.names, pair.ok()?, clock))
            })
            .collect())
    };
    read().unwrap_or_else(|error| {
        tracing::error!(%error, "the certificates that were shown last cannot be read");
        Vec::new()
    })
}

/// Shows what the database says, whenever that changes, until the end of `tasks`.
pub(in crate::app) async fn follow(shelf: Shelf, services: Services, tasks: Tasks) {
    let (mut changes, mut routes) = (services.signals().certificates(), services.signals().routes_wanted());
    let mut shown: Vec<Shown> = Vec::new();
    let mut challenges: Vec<Challenge> = Vec::new();
    let mut is_failing = false;
    loop {
        let number = *changes.borrow_and_update();
        routes.mark_unchanged();
        let looked = look(&shelf, &services, &mut shown, &mut challenges).await;
        if let Err(error) = &looked
            && !is_failing
        {
            tracing::warn!(%error, "certificates of the database cannot be read; those before are shown");
        }
        if looked.is_ok() {
            services.signals().certificates_shown(number);
        }
        is_failing = looked.is_err();
        services.cover(&shelf.names_in_files());
        tokio::select! {
            () = tasks.stopping() => return,
            _ = changes.changed() => {}
            _ = routes.changed() => {}
            () = tokio::time::sleep(if is_failing { super::LOOK } else { SELDOM }) => {}
        }
    }
}

/// Between two looks at the database when nobody has said that something changed: a lost signal is made good after this.
const SELDOM: std::time::Duration = std::time::Duration::from_mins(1);

async fn look(
    shelf: &Shelf,
    services: &Services,
    shown: &mut Vec<Shown>,
    challenges: &mut Vec<Challenge>,
) -> Result<()> {
    let asked = services.shown_challenges().await?;
    if asked != *challenges {
        shelf.challenges().replace(&asked);
        let by_tls = asked.iter().filter(|it| it.kind == Kind::TlsAlpn01);
        let made = by_tls.map(|it| Ok((it.name.clone(), tls_alpn(&it.name, &it.answer)?.into())));
        shelf.certificates().replace_challenges(made.collect::<Result<HashMap<_, _>>>()?);
        *challenges = asked;
    }
    let wanted = services.shown_certificates().await?;
    if wanted == *shown {
        return Ok(());
    }
    services.opens()?;
    let (opening, all) = (services.clone(), wanted.clone());
    let opened = services.blocking(move || {
        let open = |it: Shown| {
            let pair = opening.open_certificate(&it);
            let pair = pair.inspect_err(
                |error| tracing::error!(%error, names = it.names.join(", "), "a certificate is not shown"),
            );
            Some(KeptPair::new(it.names, pair.ok()?, &opening.clock))
        };
        Ok(all.into_iter().filter_map(open).collect())
    });
    shelf.replace_kept(opened.await?);
    let text = serde_json::to_vec(&wanted).map_err(crate::domain::Error::internal)?;
    let path = services.data.join(KEPT);
    // On a full disk they are shown all the same, and written the next time that they change.
    if let Err(error) = services.blocking(move || Ok(files::write_atomic(&path, &text, 0o600)?)).await {
        tracing::warn!(%error, "what certificates are shown could not be kept for the next start");
    }
    *shown = wanted;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_file_shows_nothing_and_stops_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let recall = || recall(folder.path(), &folder.path().join("master.key"), &Clock::system()).len();
        assert_eq!(recall(), 0);
        for text in ["", "nonsense", "[{\"id\":\"x\",\"names\":[],\"chain\":\"\",\"key\":\"\"}]"] {
            files::write_atomic(&folder.path().join(KEPT), text.as_bytes(), 0o600).unwrap();
            assert_eq!(recall(), 0, "{text}");
        }
        let key = crate::base::master_key::MasterKey::generate();
        files::write_atomic(&folder.path().join("master.key"), key.text().as_bytes(), 0o400).unwrap();
        assert_eq!(recall(), 0);
    }
}
