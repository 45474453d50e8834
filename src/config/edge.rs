//! Caches in front of the server, and who keeps them: the sections `[[edge]]`.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::zones;
use crate::domain::{Error, Result, edge::Provider};

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
    zones: zones::Written,
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
        let read = one(it, &all, folder, &wrong)?;
        all.push(read);
    }
    Ok(all)
}

fn one(it: &Section, before: &[Caches], folder: &Path, wrong: &impl Fn(usize, &str, &str) -> Error) -> Result<Caches> {
    let provider = zones::provider(&it.provider, &Provider::ALL, Provider::word, wrong)?;
    let zones = it.zones.read(|zone| before.iter().any(|it| it.zones.contains(zone)), wrong)?;
    let at = it.provider.span().start;
    let Some(token_file) = &it.token_file else {
        let what = match provider {
            Provider::Cloudflare => "the token that Cloudflare has given",
            Provider::Webhook => "a secret that the webhook knows too: calls are signed with it",
        };
        return Err(wrong(at, "provider", &format!("add `token_file`, the file with {what}")));
    };
    let is_hook = provider == Provider::Webhook;
    if is_hook && it.api.is_none() {
        return Err(wrong(at, "provider", "add `api`, the https:// address that is called"));
    }
    let api = zones::api(it.api.as_ref(), is_hook, wrong)?;
    Ok(Caches {
        zones,
        provider,
        token_file: folder.join(token_file.get_ref()),
        api,
        ca: it.ca.as_ref().map(|it| folder.join(it)),
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
