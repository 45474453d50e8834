//! The caches of the settings, with what stands in files.

use zeroize::Zeroizing;

use super::authorities::{roots, secret};
use crate::{
    base::tasks::Tasks,
    config::edge::Caches,
    domain::{Error, Result},
    engines::acme::zones::Zones as Engine,
    ports::{dns::Dns, edge::Access},
    services::edge::{Edge, Entry},
};

/// Refuses settings whose files cannot be used.
pub(super) fn check(settings: &[Caches]) -> Result<()> {
    settings.iter().try_for_each(|it| access(it).map(drop))
}

/// The caches that are purged; `None` where there are none. Those whose files cannot be used any more are told and left out: the rest of the
/// server needs none of it.
pub(super) fn open(settings: &[Caches], tasks: &Tasks, dns: &Dns) -> Option<Edge> {
    let entries: Vec<Entry> = settings.iter().flat_map(entries).collect();
    (!entries.is_empty()).then(|| Edge::new(Engine::new(tasks.clone(), dns.clone()), entries))
}

fn entries(it: &Caches) -> Vec<Entry> {
    match access(it) {
        Ok(access) => it.zones.iter().map(|zone| Entry { zone: zone.clone(), access: access.clone() }).collect(),
        Err(error) => {
            tracing::error!(%error, zones = it.zones.join(", "), "caches of these zones are not purged");
            Vec::new()
        }
    }
}

fn access(it: &Caches) -> Result<Access> {
    let token: Zeroizing<String> = secret(&it.token_file, "`token_file` in [[edge]]")?;
    if token.is_empty() {
        let text = format!("`token_file` in [[edge]]: {} is empty.", it.token_file.display());
        return Err(Error::invalid("config", text));
    }
    let roots = it.ca.as_deref().map(|path| roots(path, "`ca` in [[edge]]")).transpose()?;
    Ok(Access { provider: it.provider, token, api: it.api.clone(), roots })
}
