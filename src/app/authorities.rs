//! The authorities of the settings, with what stands in files.

use std::{fs, path::Path};

use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use zeroize::Zeroizing;

use crate::{
    base::tasks::Tasks,
    config::acme::{Acme as Settings, Authority},
    domain::{Error, Result},
    engines::acme::Acme as Engine,
    ports::{acme::Directory, dns::Dns},
    services::certify::Acme,
};

/// Bytes of a file with roots or a key.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Refuses settings whose files cannot be used.
pub(super) fn check(settings: Option<&Settings>) -> Result<()> {
    settings.map_or(Ok(()), |it| it.authorities.iter().try_for_each(|it| directory(it).map(drop)))
}

/// The authorities that are asked; `None` where none is. One whose files cannot be used any more is told and left out: the rest of the
/// server needs none of it.
pub(super) fn open(settings: Option<&Settings>, tasks: &Tasks, dns: &Dns) -> Option<Acme> {
    let settings = settings?;
    let usable = |it| directory(it).inspect_err(|error| tracing::error!(%error, "this authority is not asked")).ok();
    let directories = settings.authorities.iter().filter_map(usable).collect();
    Some(Acme::new(Engine::new(tasks.clone(), dns.clone()), directories, settings.email.clone()))
}

fn directory(it: &Authority) -> Result<Directory> {
    let roots = it.ca.as_deref().map(|path| read(path, "`ca` in [[acme.authorities]]")).transpose()?;
    if let (Some(pem), Some(path)) = (&roots, &it.ca)
        && CertificateDer::pem_slice_iter(pem).next().is_none_or(|it| it.is_err())
    {
        let text = format!(
            "`ca` in [[acme.authorities]]: {} has no certificate: PEM is expected, with `-----BEGIN CERTIFICATE-----` in front of each.",
            path.display()
        );
        return Err(Error::invalid("config", text));
    }
    let binding = match &it.binding {
        None => None,
        Some((id, path)) => {
            let key = Zeroizing::new(read(path, "`eab_key_file` in [[acme.authorities]]")?);
            let text = std::str::from_utf8(&key).map_err(|_| {
                let text = format!("`eab_key_file` in [[acme.authorities]]: {} is no text.", path.display());
                Error::invalid("config", text)
            })?;
            Some((id.clone(), Zeroizing::new(text.trim().to_owned())))
        }
    };
    Ok(Directory { url: it.directory.clone(), roots, binding, profile: it.profile.clone() })
}

fn read(path: &Path, setting: &str) -> Result<Vec<u8>> {
    let cannot = |why: String| Error::invalid("config", format!("{setting}: {}: {why}.", path.display()));
    let size = fs::metadata(path).map_err(|error| cannot(error.to_string()))?.len();
    if size > FILE_BYTES_MAX {
        return Err(cannot(String::from("it has more than 1 MiB")));
    }
    fs::read(path).map_err(|error| cannot(error.to_string()))
}
