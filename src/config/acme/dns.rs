//! In which zones records show that names are ours, and who keeps them: the sections `[[acme.dns]]`.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::super::zones;
use crate::domain::{
    Error, Result,
    acme::records::{Provider, zone_of},
};

/// Zones at one provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zones {
    /// The zones, as the provider knows them.
    pub zones: Vec<String>,
    /// Who keeps them.
    pub provider: Provider,
    /// The file with the token that the provider has given.
    pub token_file: Option<PathBuf>,
    /// Where its API is, when that is not its usual place.
    pub api: Option<String>,
    /// A file with roots that are believed for it, besides those of the system.
    pub ca: Option<PathBuf>,
    /// Whether all names below the domain of the sites have one certificate, where these zones have it.
    pub wildcard: bool,
}

/// One section of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    zones: zones::Written,
    provider: Spanned<String>,
    token_file: Option<Spanned<PathBuf>>,
    api: Option<Spanned<String>>,
    ca: Option<PathBuf>,
    wildcard: Option<Spanned<bool>>,
}

impl Section {
    /// Where the section begins, for what is wrong with the whole of it.
    pub(super) fn begin(&self) -> usize {
        self.provider.span().start
    }
}

/// The zones of the sections. Paths begin in `folder`. `wrong` makes the error of what begins at a byte of the file.
pub(super) fn read(
    sections: &[Section],
    sites_domain: &str,
    folder: &Path,
    wrong: &impl Fn(usize, &str, &str) -> Error,
) -> Result<Vec<Zones>> {
    let mut all: Vec<Zones> = Vec::new();
    for it in sections {
        let read = one(it, &all, (sites_domain, folder), wrong)?;
        all.push(read);
    }
    Ok(all)
}

fn one(
    it: &Section,
    before: &[Zones],
    (sites_domain, folder): (&str, &Path),
    wrong: &impl Fn(usize, &str, &str) -> Error,
) -> Result<Zones> {
    let provider = zones::provider(&it.provider, &Provider::ALL, Provider::word, wrong)?;
    let zones = it.zones.read(|zone| before.iter().any(|it| it.zones.contains(zone)), wrong)?;
    match (&it.token_file, provider) {
        (Some(file), Provider::Manual) => {
            return Err(wrong(file.span().start, "token_file", "with \"manual\" a person sets the records: remove it"));
        }
        (None, Provider::Cloudflare | Provider::Hetzner | Provider::Desec) => {
            let why = format!("add `token_file`, the file with the token that {} has given", provider.name());
            return Err(wrong(it.provider.span().start, "provider", &why));
        }
        _ => {}
    }
    let api = zones::api(it.api.as_ref(), false, wrong)?;
    let has_sites = zone_of(sites_domain, zones.iter().map(String::as_str)).is_some();
    if let Some(asked) = it.wildcard.as_ref().filter(|it| *it.get_ref() && !has_sites) {
        let why = format!("`sites_domain` is {sites_domain}, which is in none of these zones");
        return Err(wrong(asked.span().start, "wildcard", &why));
    }
    Ok(Zones {
        zones,
        provider,
        token_file: it.token_file.as_ref().map(|it| folder.join(it.get_ref())),
        api,
        ca: it.ca.as_ref().map(|it| folder.join(it)),
        // Until a person has set the record, and anew each time that it ends, there would be none.
        wildcard: it.wildcard.as_ref().map_or(has_sites && provider != Provider::Manual, |it| *it.get_ref()),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        base::files::write_atomic,
        config::server::{Flags, Server},
    };

    fn load(text: &str) -> Result<Server> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        let text = format!(
            "sites_domain = 'sites.example.org'\n[tls]\nlisten = ['127.0.0.1:8443']\n[acme]\nterms_agreed = true\n{text}"
        );
        write_atomic(&path, text.as_bytes(), 0o600).unwrap();
        Server::load(&Flags { config: Some(path), ..Flags::default() })
    }

    #[test]
    fn zones_have_providers() {
        let text = "addresses = ['203.0.113.7', '2001:DB8::1']\n[[acme.dns]]\nzones = ['Example.org.']\nprovider = 'cloudflare'\n\
                    token_file = '/token'\n[[acme.dns]]\nzones = ['shop.example']\nprovider = 'manual'\n[[acme.dns]]\nzones = ['c.example']\n\
                    provider = 'desec'\ntoken_file = '/t'\napi = 'https://localhost:1/api'\nca = '/ca'";
        let acme = load(text).unwrap().acme.unwrap();
        assert_eq!(acme.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(), ["203.0.113.7", "2001:db8::1"]);
        let [first, second, third] = <[Zones; 3]>::try_from(acme.dns).unwrap();
        assert_eq!(
            (first.zones.as_slice(), first.provider),
            (&[String::from("example.org")][..], Provider::Cloudflare)
        );
        assert!(first.wildcard && first.token_file.as_deref() == Some(Path::new("/token")));
        assert!(!second.wildcard && second.token_file.is_none());
        assert_eq!(
            (third.api.as_deref(), third.ca.as_deref()),
            (Some("https://localhost:1/api"), Some(Path::new("/ca")))
        );
        let is_star = |text: &str| load(text).unwrap().acme.unwrap().dns[0].wildcard;
        assert!(!is_star(&text.replace("'/token'", "'/token'\nwildcard = false")));
        let by_hand = "[[acme.dns]]\nzones = ['example.org']\nprovider = 'manual'";
        assert!(!is_star(by_hand) && is_star(&format!("{by_hand}\nwildcard = true")));
    }

    #[test]
    fn wrong_zones_name_the_line() {
        for (text, line, word) in [
            ("zones = []\nprovider = 'manual'", "line 7", "`zones`: name at least one"),
            ("zones = ['exa mple']\nprovider = 'manual'", "line 7", "`zones`: "),
            ("zones = ['a.org']\nprovider = 'route53'", "line 8", "write one of \"cloudflare\", \"hetzner\""),
            ("zones = ['a.org']\nprovider = 'hetzner'", "line 8", "add `token_file`"),
            ("zones = ['a.org']\nprovider = 'manual'\ntoken_file = '/t'", "line 9", "remove it"),
            ("zones = ['a.org']\nprovider = 'desec'\ntoken_file = '/t'\napi = 'http://x'", "line 10", "write https://"),
            ("zones = ['a.org']\nprovider = 'manual'\nwildcard = true", "line 9", "in none of these zones"),
            (
                "zones = ['a.org']\nprovider = 'manual'\n[[acme.dns]]\nzones = ['b.org', 'a.org']\nprovider = 'manual'",
                "line 10",
                "`a.org` is named twice",
            ),
            ("zones = ['a.org']\nprovider = 'manual'\ntoken = 'secret'", "line 9", "token"),
        ] {
            let error = load(&format!("[[acme.dns]]\n{text}")).unwrap_err().message;
            assert!(error.contains(line) && error.contains(word), "{error}");
        }
        for (text, word) in
            [("addresses = ['example.org']", "is not an address"), ("addresses = ['0.0.0.0']", "nobody")]
        {
            let error = load(text).unwrap_err().message;
            assert!(error.contains("line 6, `addresses`") && error.contains(word), "{error}");
        }
    }
}
