//! What sections have in common that name zones and the provider who keeps them: `[[edge]]` and `[[acme.dns]]`.

use serde::Deserialize;
use toml::Spanned;

use crate::domain::{Error, Result, hostname::Hostname};

/// The zones of a section.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Written(Spanned<Vec<Spanned<String>>>);

impl Written {
    /// The zones, each once. `is_taken`: whether a section before has one. `wrong` makes the error of what begins at a byte of the file.
    pub(super) fn read(
        &self,
        is_taken: impl Fn(&String) -> bool,
        wrong: &impl Fn(usize, &str, &str) -> Error,
    ) -> Result<Vec<String>> {
        if self.0.get_ref().is_empty() {
            return Err(wrong(self.0.span().start, "zones", "name at least one zone, as in [\"example.org\"]"));
        }
        let mut zones: Vec<String> = Vec::new();
        for it in self.0.get_ref() {
            let refused = |why: &str| wrong(it.span().start, "zones", why);
            let parsed = Hostname::parse(it.get_ref()).map(|it| it.as_str().to_owned());
            let zone = parsed.map_err(|error| refused(error.message.trim_end_matches('.')))?;
            if is_taken(&zone) {
                return Err(refused(&format!("`{zone}` is named twice; a zone has one provider")));
            }
            if !zones.contains(&zone) {
                zones.push(zone);
            }
        }
        Ok(zones)
    }
}

/// The provider with the word of a section. `all`: those that are known, with their words.
pub(super) fn provider<P: Copy>(
    written: &Spanned<String>,
    all: &[P],
    word: impl Fn(P) -> &'static str,
    wrong: &impl Fn(usize, &str, &str) -> Error,
) -> Result<P> {
    let found = all.iter().copied().find(|it| word(*it) == written.get_ref());
    found.ok_or_else(|| {
        let known = all.iter().map(|it| format!("\"{}\"", word(*it))).collect::<Vec<_>>().join(", ");
        let shown = written.get_ref().escape_debug();
        let why = format!("`{shown}` is not a provider that is known here; write one of {known}");
        wrong(written.span().start, "provider", &why)
    })
}

/// The address of a provider's API, where a section has one. `may_ask`: whether it may have a query, as that of a webhook.
pub(super) fn api(
    written: Option<&Spanned<String>>,
    may_ask: bool,
    wrong: &impl Fn(usize, &str, &str) -> Error,
) -> Result<Option<String>> {
    let Some(written) = written else { return Ok(None) };
    let uri = written.get_ref().parse::<http::Uri>().ok();
    let is_fine = uri
        .is_some_and(|it| it.scheme_str() == Some("https") && it.host().is_some() && (may_ask || it.query().is_none()));
    if !is_fine {
        let why = format!("`{}` is not the address of an API; write https://", written.get_ref().escape_debug());
        return Err(wrong(written.span().start, "api", &why));
    }
    Ok(Some(written.get_ref().clone()))
}

#[cfg(test)]
mod tests {
    use crate::{
        base::files::write_atomic,
        config::server::{Flags, Server},
        domain::Result,
    };

    const EDGE: &str = "[[edge]]\nprovider = 'webhook'\ntoken_file = '/t'\n";
    const HOOK: &str = "api = 'https://hook.example/a?b=c'\n";
    const DNS: &str = "[[acme.dns]]\nprovider = 'desec'\ntoken_file = '/t'\n";

    fn load(text: &str) -> Result<Server> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        let text = format!("[tls]\nlisten = ['127.0.0.1:8443']\n[acme]\nterms_agreed = true\n{text}");
        write_atomic(&path, text.as_bytes(), 0o600).unwrap();
        Server::load(&Flags { config: Some(path), ..Flags::default() })
    }

    #[test]
    fn both_sections_name_each_zone_once_and_leave_one_another_theirs() {
        let zones = "zones = ['a.example', 'b.example', 'A.example.']\n";
        let server = load(&format!("{EDGE}{HOOK}{zones}{DNS}{zones}")).unwrap();
        let wanted = ["a.example", "b.example"];
        assert_eq!(server.edge[0].zones, wanted);
        assert_eq!(server.acme.unwrap().dns[0].zones, wanted);
        for (one, line) in [(format!("{EDGE}{HOOK}"), "line 16"), (DNS.to_owned(), "line 14")] {
            let text = format!("{one}{zones}{one}zones = [\n  'c.example', 'c.example',\n  'b.example']\n");
            let error = load(&text).unwrap_err().message;
            assert!(error.contains(&format!("{line}, `zones`: `b.example` is named twice")), "{error}");
        }
    }

    #[test]
    fn only_a_webhook_may_have_a_query() {
        let zones = "zones = ['a.example']\n";
        assert!(load(&format!("{EDGE}{HOOK}{zones}")).is_ok());
        let cloudflare = format!("{EDGE}{HOOK}{zones}").replace("webhook", "cloudflare");
        for text in [cloudflare, format!("{DNS}{HOOK}{zones}")] {
            let error = load(&text).unwrap_err().message;
            assert!(error.contains("line 8, `api`") && error.contains("write https://"), "{error}");
        }
    }
}
