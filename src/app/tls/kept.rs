//! Certificates of the database: shown by every node, and also while the database is away.
//!
//! What is shown stands in a file of the data folder, the keys sealed as they are in the database: a start without a database shows what was
//! shown last.

use std::{collections::HashMap, fs, net::IpAddr, path::Path, time::Duration};

use super::Shelf;
use crate::{
    base::{address, clock::Clock, files, tasks::Tasks},
    domain::{
        Error, Result,
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
        let shown: Vec<Shown> = serde_json::from_slice(&text).map_err(Error::internal)?;
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

/// Between two looks at the database when nobody has said that something changed: a lost signal is made good after this.
const SELDOM: Duration = Duration::from_mins(1);

/// Shows the certificates that the database says, whenever they change or hostnames do, until the end of `tasks`.
pub(in crate::app) async fn follow(shelf: Shelf, services: Services, tasks: Tasks) {
    let (mut changes, mut routes) = (services.signals().certificates(), services.signals().routes_wanted());
    // Not known yet: what was shown last may be no more.
    let mut shown: Option<Vec<Shown>> = None;
    let mut opened = HashMap::new();
    let mut is_failing = false;
    loop {
        changes.mark_unchanged();
        routes.mark_unchanged();
        let looked = look(&shelf, &services, &mut shown, &mut opened).await;
        if let Err(error) = &looked
            && !is_failing
        {
            tracing::warn!(%error, "certificates of the database cannot be read; those before are shown");
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

/// Shows what authorities will ask for, whenever that changes, until the end of `tasks`: apart from certificates, of which there may be many,
/// since an authority is told to look as soon as this is shown.
pub(in crate::app) async fn follow_challenges(shelf: Shelf, services: Services, tasks: Tasks) {
    let mut changes = services.signals().certificates();
    let mut shown: Vec<Challenge> = Vec::new();
    loop {
        let number = *changes.borrow_and_update();
        let asked = services.shown_challenges().await;
        let pause = if asked.is_ok() { SELDOM } else { super::LOOK };
        match asked {
            Ok(asked) => {
                if asked != shown {
                    show(&shelf, &asked);
                    shown = asked;
                }
                services.signals().certificates_shown(number);
            }
            Err(error) => tracing::debug!(%error, "what authorities will ask for cannot be read"),
        }
        tokio::select! {
            () = tasks.stopping() => return,
            _ = changes.changed() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

fn show(shelf: &Shelf, asked: &[Challenge]) {
    shelf.challenges().replace(asked);
    let made = asked.iter().filter(|it| it.kind == Kind::TlsAlpn01).filter_map(|it| {
        let made = tls_alpn(&it.name, &it.answer);
        let made =
            made.inspect_err(|error| tracing::error!(%error, hostname = it.name, "a challenge cannot be answered"));
        // Whoever looks at an address names it as the name that it has in reverse (RFC 8738 §6).
        let name = it.name.parse::<IpAddr>().map_or_else(|_| it.name.clone(), address::reverse_name);
        Some((name, made.ok()?.into()))
    });
    shelf.certificates().replace_challenges(made.collect());
}

async fn look(
    shelf: &Shelf,
    services: &Services,
    shown: &mut Option<Vec<Shown>>,
    opened: &mut HashMap<String, Pair>,
) -> Result<()> {
    let wanted = services.shown_certificates().await?;
    if shown.as_ref() == Some(&wanted) {
        return Ok(());
    }
    services.opens()?;
    opened.retain(|id, _| wanted.iter().any(|it| it.id == *id));
    let fresh: Vec<Shown> = wanted.iter().filter(|it| !opened.contains_key(&it.id)).cloned().collect();
    let opening = services.clone();
    let found = services.blocking(move || {
        let open = |it: Shown| {
            let pair = opening.open_certificate(&it);
            let pair = pair.inspect_err(
                |error| tracing::error!(%error, names = it.names.join(", "), "a certificate is not shown"),
            );
            Some((it.id, pair.ok()?))
        };
        Ok(fresh.into_iter().filter_map(open).collect::<Vec<_>>())
    });
    opened.extend(found.await?);
    let pair = |it: &Shown| Some(KeptPair::new(it.names.clone(), opened.get(&it.id)?.clone(), &services.clock));
    shelf.replace_kept(wanted.iter().filter_map(pair).collect());
    let text = serde_json::to_vec(&wanted).map_err(Error::internal)?;
    let path = services.data.join(KEPT);
    // On a full disk they are shown all the same, and written the next time that they change.
    if let Err(error) = services.blocking(move || Ok(files::write_atomic(&path, &text, 0o600)?)).await {
        tracing::warn!(%error, "what certificates are shown could not be kept for the next start");
    }
    *shown = Some(wanted);
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
