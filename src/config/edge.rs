//! Caches in front of the server, and who keeps them: the sections `[[edge]]`.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use crate::domain::{Error, Result, edge::Provider, hostname::Hostname};

/// Caches at one provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caches {
    /// The zones that it has, with all hostnames below them.
    pub zones: Vec<String>,
    /// Who keeps them.
    pub provider: Provider,
    /// The file with the token that the provider has given, or with the secret that a webhook is signed with.
    pub token_file: PathBuf,
    /// Where its API is, when that is not its usual place; where the webhook is.
    pub api: Option<String>,
    /// A file with roots that are believed for it, besides those of the system.
    pub ca: Option<PathBuf>,
}

/// One section of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    zones: Spanned<Vec<Spanned<String>>>,
    provider: Spanned<String>,
    token_file: Option<Spanned<PathBuf>>,
    api: Option<Spanned<String>>,
    ca: Option<PathBuf>,
}

/// The caches of the sections. Paths begin in `folder`. `wrong` makes the error of what begins at a byte of the file.
pub(super) fn read(
    sections: &[Section],
    folder: &Path,
    wrong: impl Fn(usize, &str, &str) -> Error,
) -> Result<Vec<Caches>> {
    let mut all: Vec<Caches> = Vec::new();
    for it in sections {
        let read = one(it, folder, &wrong)?;
        for (at, zone) in it.zones.get_ref().iter().zip(&read.zones) {
            if all.iter().any(|it| it.zones.contains(zone)) {
                let why = format!("`{zone}` is named twice; a zone has one provider");
                return Err(wrong(at.span().start, "zones", &why));
            }
        }
        all.push(read);
    }
    Ok(all)
}

fn one(it: &Section, folder: &Path, wrong: &impl Fn(usize, &str, &str) -> Error) -> Result<Caches> {
    let provider = provider(&it.provider, wrong)?;
    if it.zones.get_ref().is_empty() {
        return Err(wrong(it.zones.span().start, "zones", "name at least one zone, as in [\"example.org\"]"));
    }
    let zone = |it: &Spanned<String>| {
        let parsed = Hostname::parse(it.get_ref()).map(|it| it.as_str().to_owned());
        parsed.map_err(|error| wrong(it.span().start, "zones", error.message.trim_end_matches('.')))
    };
    let mut zones = it.zones.get_ref().iter().map(zone).collect::<Result<Vec<_>>>()?;
    zones.dedup();
    let at = it.provider.span().start;
    let Some(token_file) = &it.token_file else {
        let what = match provider {
            Provider::Cloudflare => "the token that Cloudflare has given",
            Provider::Webhook => "a secret that the webhook knows too: calls are signed with it",
        };
        return Err(wrong(at, "provider", &format!("add `token_file`, the file with {what}")));
    };
    match &it.api {
        None if provider == Provider::Webhook => {
            return Err(wrong(at, "provider", "add `api`, the https:// address that is called"));
        }
        None => {}
        Some(api) => {
            let uri = api.get_ref().parse::<http::Uri>().ok();
            let is_fine = uri.is_some_and(|uri| {
                let bare = uri.query().is_none() || provider == Provider::Webhook;
                uri.scheme_str() == Some("https") && uri.host().is_some() && bare
            });
            if !is_fine {
                let why = format!("`{}` is not the address of an API; write https://", api.get_ref().escape_debug());
                return Err(wrong(api.span().start, "api", &why));
            }
        }
    }
    Ok(Caches {
        zones,
        provider,
        token_file: folder.join(token_file.get_ref()),
        api: it.api.as_ref().map(|it| it.get_ref().clone()),
        ca: it.ca.as_ref().map(|it| folder.join(it)),
    })
}

fn provider(it: &Spanned<String>, wrong: &impl Fn(usize, &str, &str) -> Error) -> Result<Provider> {
    let found = Provider::ALL.into_iter().find(|known| known.word() == it.get_ref());
    found.ok_or_else(|| {
        let known = Provider::ALL.map(|it| format!("\"{}\"", it.word())).join(", ");
        let why =
            format!("`{}` is not a provider that is known here; write one of {known}", it.get_ref().escape_debug());
        wrong(it.span().start, "provider", &why)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::files::write_atomic,
        config::server::{Flags, Server},
    };

    fn load(text: &str) -> Result<Server> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        write_atomic(&path, text.as_bytes(), 0o600).unwrap();
        Server::load(&Flags { config: Some(path), ..Flags::default() })
    }

    #[test]
    fn caches_have_providers() {
        let text = "[[edge]]\nprovider = 'cloudflare'\nzones = ['Example.org.', 'b.example']\ntoken_file = '/token'\n\
                    [[edge]]\nprovider = 'webhook'\nzones = ['c.example']\ntoken_file = '/t'\napi = 'https://localhost:1/hook?a=b'\nca = '/ca'";
        let [first, second] = <[Caches; 2]>::try_from(load(text).unwrap().edge).unwrap();
        assert_eq!((first.provider, first.zones.join(" ").as_str()), (Provider::Cloudflare, "example.org b.example"));
        assert_eq!((first.token_file.as_path(), first.api), (Path::new("/token"), None));
        assert_eq!((second.provider, second.ca.as_deref()), (Provider::Webhook, Some(Path::new("/ca"))));
        assert_eq!(second.api.as_deref(), Some("https://localhost:1/hook?a=b"));
        assert!(load("").unwrap().edge.is_empty());
    }

    #[test]
    fn wrong_caches_name_the_line() {
        for (text, line, word) in [
            ("provider = 'fastly'\nzones = ['a.org']", "line 2", "write one of \"cloudflare\", \"webhook\""),
            ("provider = 'cloudflare'\nzones = []", "line 3", "name at least one"),
            ("provider = 'cloudflare'\nzones = ['exa mple']", "line 3", "`zones`: "),
            ("provider = 'cloudflare'\nzones = ['a.org']", "line 2", "add `token_file`, the file with the token"),
            ("provider = 'webhook'\nzones = ['a.org']", "line 2", "add `token_file`, the file with a secret"),
            ("provider = 'webhook'\nzones = ['a.org']\ntoken_file = '/t'", "line 2", "add `api`"),
            (
                "provider = 'webhook'\nzones = ['a.org']\ntoken_file = '/t'\napi = 'http://x'",
                "line 5",
                "write https://",
            ),
            (
                "provider = 'cloudflare'\nzones = ['a.org']\ntoken_file = '/t'\n[[edge]]\nprovider = 'cloudflare'\n\
                 zones = ['b.org', 'a.org']\ntoken_file = '/t'",
                "line 7",
                "`a.org` is named twice",
            ),
            ("provider = 'cloudflare'\nzones = ['a.org']\ntoken = 'secret'", "line 4", "token"),
        ] {
            let error = load(&format!("[[edge]]\n{text}")).unwrap_err().message;
            assert!(error.contains(line) && error.contains(word), "{error}");
            assert!(!error.contains("secret'"), "{error}");
        }
    }
}
