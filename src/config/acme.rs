//! Which authorities are asked for certificates.

pub mod dns;

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use toml::Spanned;

use crate::domain::{Error, Result, node::Role, user::Email};

/// Let's Encrypt.
const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// An authority that speaks ACME.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// The address of its directory.
    pub directory: String,
    /// A file with roots that are believed for it, besides those of the system.
    pub ca: Option<PathBuf>,
    /// The id of an account that was made on its website, and the file with that account's key.
    pub binding: Option<(String, PathBuf)>,
    /// The profile of its certificates.
    pub profile: Option<String>,
}

/// Certificates that the host gets by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acme {
    /// Where authorities may reach a person.
    pub email: Option<String>,
    /// The authorities, in the order in which they are asked.
    pub authorities: Vec<Authority>,
    /// Zones in which records show that names are ours.
    pub dns: Vec<dns::Zones>,
    /// Addresses of this server that are to have certificates.
    pub addresses: Vec<IpAddr>,
}

/// The section `[acme]` of the file.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    terms_agreed: Option<Spanned<bool>>,
    email: Option<Spanned<String>>,
    #[serde(default)]
    authorities: Vec<One>,
    #[serde(default)]
    dns: Vec<dns::Section>,
    #[serde(default)]
    addresses: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct One {
    directory: Spanned<String>,
    ca: Option<PathBuf>,
    eab_kid: Option<Spanned<String>>,
    eab_key_file: Option<PathBuf>,
    profile: Option<String>,
}

/// The settings of the section; `None`: no authority is asked. Paths begin in `folder`. `wrong` makes the error of what begins at a byte of
/// the file.
pub(super) fn read(
    section: &Section,
    env: impl Fn(&str) -> Option<String>,
    (role, has_tls, folder, sites_domain): (Role, bool, &Path, &str),
    wrong: impl Fn(usize, &str, &str) -> Error,
) -> Result<Option<Acme>> {
    let by_env = env("CHAINHOST_ACME_TERMS_AGREED");
    let agreed = match by_env.as_deref() {
        Some("true") => true,
        Some("false") => false,
        Some(other) => {
            let text = format!("CHAINHOST_ACME_TERMS_AGREED: `{}` is neither true nor false.", other.escape_debug());
            return Err(Error::invalid("config", text));
        }
        None => section.terms_agreed.as_ref().is_some_and(|it| *it.get_ref()),
    };
    let email = match (env("CHAINHOST_ACME_EMAIL"), &section.email) {
        (Some(text), _) => {
            Some(address(&text).map_err(|why| Error::invalid("config", format!("CHAINHOST_ACME_EMAIL: {why}.")))?)
        }
        (None, Some(it)) => Some(address(it.get_ref()).map_err(|why| wrong(it.span().start, "email", &why))?),
        (None, None) => None,
    };
    let authorities = section.authorities.iter().map(|it| authority(it, folder, &wrong)).collect::<Result<Vec<_>>>()?;
    let dns = dns::read(&section.dns, sites_domain, folder, &wrong)?;
    let addresses = section.addresses.iter().map(|it| own_address(it, &wrong)).collect::<Result<Vec<_>>>()?;
    if !agreed {
        let named = section.email.as_ref().map(|it| (it.span().start, "email"));
        let named = named.or_else(|| section.authorities.first().map(|it| (it.directory.span().start, "directory")));
        let named = named.or_else(|| section.dns.first().map(|it| (it.begin(), "provider")));
        let named = named.or_else(|| section.addresses.first().map(|it| (it.span().start, "addresses")));
        return named.map_or(Ok(None), |(at, key)| {
            let why = "no authority is asked before somebody agrees to its terms: read them, and add `terms_agreed = true` to [acme]";
            Err(wrong(at, key, why))
        });
    }
    if role.serves() && !has_tls {
        let why = "certificates are of no use where nobody speaks TLS: add `listen` to [tls], such as [\":443\"]";
        return Err(match &section.terms_agreed {
            Some(it) if by_env.is_none() => wrong(it.span().start, "terms_agreed", why),
            _ => Error::invalid("config", format!("CHAINHOST_ACME_TERMS_AGREED: {why}.")),
        });
    }
    let default = || Authority { directory: LETS_ENCRYPT.to_owned(), ca: None, binding: None, profile: None };
    let authorities = if authorities.is_empty() { vec![default()] } else { authorities };
    Ok(Some(Acme { email, authorities, dns, addresses }))
}

fn own_address(it: &Spanned<String>, wrong: &impl Fn(usize, &str, &str) -> Error) -> Result<IpAddr> {
    let text = it.get_ref();
    let refuse = |why: String| wrong(it.span().start, "addresses", &why);
    let address = text.parse::<IpAddr>();
    let address = address
        .map_err(|_| refuse(format!("`{}` is not an address; write one such as 203.0.113.7", text.escape_debug())))?;
    if address.is_unspecified() || address.is_multicast() {
        return Err(refuse(format!("nobody connects to {address}; name the address by which the server is reached")));
    }
    Ok(address)
}

fn address(text: &str) -> Result<String, String> {
    Email::parse(text).map(|it| it.as_str().to_owned()).map_err(|error| error.message.trim_end_matches('.').to_owned())
}

fn authority(it: &One, folder: &Path, wrong: &impl Fn(usize, &str, &str) -> Error) -> Result<Authority> {
    let (at, directory) = (it.directory.span().start, it.directory.get_ref());
    let uri = directory.parse::<http::Uri>().ok().filter(|it| it.scheme_str() == Some("https") && it.host().is_some());
    if uri.is_none() {
        let why = format!(
            "`{}` is not the address of a directory; write https://, as in https://acme-v02.api.letsencrypt.org/directory",
            directory.escape_debug()
        );
        return Err(wrong(at, "directory", &why));
    }
    let binding = match (&it.eab_kid, &it.eab_key_file) {
        (Some(id), Some(file)) => Some((id.get_ref().clone(), folder.join(file))),
        (None, None) => None,
        (Some(id), None) => {
            return Err(wrong(
                id.span().start,
                "eab_kid",
                "add `eab_key_file`, the file with the key that belongs to it",
            ));
        }
        (None, Some(_)) => return Err(wrong(at, "directory", "add `eab_kid`, the id that belongs to `eab_key_file`")),
    };
    let ca = it.ca.as_ref().map(|it| folder.join(it));
    Ok(Authority { directory: directory.clone(), ca, binding, profile: it.profile.clone() })
}
