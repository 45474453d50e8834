//! The authorities of the settings, with what stands in files.

use std::{fs, path::Path};

use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use zeroize::Zeroizing;

use crate::{
    base::tasks::Tasks,
    config::acme::{Acme as Settings, Authority, dns::Zones as Named},
    domain::{Error, Result},
    engines::acme::{Acme as Engine, zones::Zones as ZonesEngine},
    ports::{acme::Directory, dns::Dns, zones::Access},
    services::certify::{
        Acme,
        records::{Entry, Zones},
    },
};

/// Bytes of a file with roots or a key.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Refuses settings whose files cannot be used.
pub(super) fn check(settings: Option<&Settings>) -> Result<()> {
    settings.map_or(Ok(()), |it| {
        it.authorities.iter().try_for_each(|it| directory(it).map(drop))?;
        it.dns.iter().try_for_each(|it| access(it).map(drop))
    })
}

/// The authorities that are asked; `None` where none is. One whose files cannot be used any more is told and left out: the rest of the
/// server needs none of it.
pub(super) fn open(settings: Option<&Settings>, tasks: &Tasks, dns: &Dns) -> Option<Acme> {
    let settings = settings?;
    let usable = |it| directory(it).inspect_err(|error| tracing::error!(%error, "this authority is not asked")).ok();
    let directories = settings.authorities.iter().filter_map(usable).collect();
    let entries: Vec<Entry> = settings.dns.iter().flat_map(entries).collect();
    let zones = || Zones::new(ZonesEngine::new(tasks.clone(), dns.clone()), entries.clone());
    let acme = Acme::new(Engine::new(tasks.clone(), dns.clone()), directories, settings.email.clone());
    let zones = (!entries.is_empty()).then(zones);
    Some(acme.with_zones(zones).with_addresses(settings.addresses.clone()))
}

/// The zones at one provider; none where its files cannot be used any more: names in them are then shown to be ours as others are.
fn entries(it: &Named) -> Vec<Entry> {
    let access = match access(it) {
        Ok(access) => access,
        Err(error) => {
            tracing::error!(%error, zones = it.zones.join(", "), "no records are set in these zones");
            return Vec::new();
        }
    };
    let entry = |zone: &String| Entry {
        zone: zone.clone(),
        provider: it.provider,
        access: access.clone(),
        has_wildcard: it.wildcard,
    };
    it.zones.iter().map(entry).collect()
}

/// How a provider is spoken to; `None`: a person sets the records.
fn access(it: &Named) -> Result<Option<Access>> {
    let Some(path) = &it.token_file else { return Ok(None) };
    let token = secret(path, "`token_file` in [[acme.dns]]")?;
    if token.is_empty() {
        let text = format!("`token_file` in [[acme.dns]]: {} is empty.", path.display());
        return Err(Error::invalid("config", text));
    }
    let roots = it.ca.as_deref().map(|path| roots(path, "`ca` in [[acme.dns]]")).transpose()?;
    Ok(Some(Access { provider: it.provider, token, api: it.api.clone(), roots }))
}

fn directory(it: &Authority) -> Result<Directory> {
    let roots = it.ca.as_deref().map(|path| roots(path, "`ca` in [[acme.authorities]]")).transpose()?;
    let binding = match &it.binding {
        None => None,
        Some((id, path)) => Some((id.clone(), secret(path, "`eab_key_file` in [[acme.authorities]]")?)),
    };
    Ok(Directory { url: it.directory.clone(), roots, binding, profile: it.profile.clone() })
}

/// A file with certificates in PEM.
pub(super) fn roots(path: &Path, setting: &str) -> Result<Vec<u8>> {
    let pem = read(path, setting)?;
    if CertificateDer::pem_slice_iter(&pem).next().is_none_or(|it| it.is_err()) {
        let text = format!(
            "{setting}: {} has no certificate: PEM is expected, with `-----BEGIN CERTIFICATE-----` in front of each.",
            path.display()
        );
        return Err(Error::invalid("config", text));
    }
    Ok(pem)
}

/// A file with one secret word.
pub(super) fn secret(path: &Path, setting: &str) -> Result<Zeroizing<String>> {
    let bytes = Zeroizing::new(read(path, setting)?);
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| Error::invalid("config", format!("{setting}: {} is no text.", path.display())))?;
    Ok(Zeroizing::new(text.trim().to_owned()))
}

fn read(path: &Path, setting: &str) -> Result<Vec<u8>> {
    let cannot = |why: String| Error::invalid("config", format!("{setting}: {}: {why}.", path.display()));
    let size = fs::metadata(path).map_err(|error| cannot(error.to_string()))?.len();
    if size > FILE_BYTES_MAX {
        return Err(cannot(String::from("it has more than 1 MiB")));
    }
    fs::read(path).map_err(|error| cannot(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{base::files, domain::acme::records::Provider, services::doctor::Outside};

    #[tokio::test]
    async fn a_zone_whose_token_cannot_be_read_has_no_records_set() {
        let folder = tempfile::tempdir().unwrap();
        let zone = |name: &str, token_file| Named {
            zones: vec![name.to_owned()],
            provider: Provider::Cloudflare,
            token_file: Some(token_file),
            api: None,
            ca: None,
            wildcard: false,
        };
        let token = folder.path().join("token");
        files::write_atomic(&token, b"secret", 0o600).unwrap();
        let dns = vec![zone("good.test", token), zone("lost.test", folder.path().join("none"))];
        let settings = Settings { email: None, authorities: Vec::new(), dns, addresses: Vec::new() };
        let acme = open(Some(&settings), &Tasks::new(), &Outside::default().dns).unwrap();
        let usable: Vec<&str> = acme.zones.iter().flat_map(|it| &it.entries).map(|it| it.zone.as_str()).collect();
        assert_eq!(usable, ["good.test"]);
    }
}
