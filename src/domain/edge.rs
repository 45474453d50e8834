//! Caches in front of the server (CDNs): who keeps them, by which words what they hold is purged, and what can go wrong with that.
//!
//! A word by which something is purged begins with the id of its site: caches of one zone may hold sites of several tenants, and none of
//! them purges what is another's. Nothing here purges a whole zone.

use serde::{Deserialize, Serialize};

use crate::{
    base::hash::Sha256,
    domain::{Error, Result, acme::records::Trouble, site::SiteId},
};

/// Addresses, tags or hostnames in one call: Cloudflare takes 100, on all plans (as of 2026; the free one has 5 calls a minute, 25 at once).
pub const CALL_MAX: usize = 100;
/// Tags and addresses that people name at once, and bytes of an address.
pub const NAMED_MAX: usize = 100;
const URL_BYTES_MAX: usize = 400;
/// Characters of a tag.
pub const TAG_CHARS_MAX: usize = 64;
/// Digits of the hash of a path in its tag.
const PATH_DIGITS: usize = 16;

/// Who keeps a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// Cloudflare.
    Cloudflare,
    /// Any other one: a program of the operator's is told what to purge.
    Webhook,
}

impl Provider {
    /// All, in the order in which people are told them.
    pub const ALL: [Self; 2] = [Self::Cloudflare, Self::Webhook];

    /// The word of the settings.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Cloudflare => "cloudflare",
            Self::Webhook => "webhook",
        }
    }

    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cloudflare => "Cloudflare",
            Self::Webhook => "the webhook",
        }
    }
}

/// What of a zone is purged, by one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Batch {
    /// All of these hostnames.
    Hosts(Vec<String>),
    /// All that has one of these tags.
    Tags(Vec<String>),
    /// These whole addresses.
    Urls(Vec<String>),
}

impl Batch {
    /// The same in batches that one call takes.
    pub fn split(self) -> Vec<Self> {
        let (all, make): (_, fn(Vec<String>) -> Self) = match self {
            Self::Hosts(all) => (all, Self::Hosts),
            Self::Tags(all) => (all, Self::Tags),
            Self::Urls(all) => (all, Self::Urls),
        };
        all.chunks(CALL_MAX).map(|it| make(it.to_vec())).collect()
    }
}

/// What a job purges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// All of its hostnames.
    All,
    /// What publications have changed, from this one on, which was there before, to this one at least.
    Changed {
        /// What was live before; 0: nothing was.
        from: i64,
        /// What has become live.
        to: i64,
    },
    /// These, as somebody has named them: paths, or whole addresses; and tags of the site.
    Named {
        /// Addresses.
        urls: Vec<String>,
        /// Tags, as the settings of the site have them.
        tags: Vec<String>,
    },
}

/// The tag that each answer of a site has.
pub fn site_tag(site: SiteId) -> String {
    format!("site-{site}")
}

/// The tag that the answers of one file of a site have, at whatever address.
pub fn path_tag(site: SiteId, path: &str) -> String {
    let hash = Sha256::of(path.as_bytes()).hex();
    format!("{site}-p-{}", hash.get(..PATH_DIGITS).unwrap_or(&hash))
}

/// The tag that the owner of a site has given a name.
pub fn own_tag(site: SiteId, tag: &str) -> String {
    format!("{site}-t-{tag}")
}

/// Checks the name of a tag: providers part tags by blanks or commas, and some do not tell capital letters from small ones.
pub fn check_tag(tag: &str) -> Result<()> {
    let fits = (1..=TAG_CHARS_MAX).contains(&tag.len())
        && tag.bytes().all(|it| matches!(it, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'));
    if fits {
        return Ok(());
    }
    let shown: String = tag.chars().take(TAG_CHARS_MAX).collect();
    let text = format!("`{}` is no tag: use 1 to {TAG_CHARS_MAX} of a-z, 0-9, - and _.", shown.escape_debug());
    Err(Error::invalid("edge_tag", text).on("tags"))
}

/// Checks an address that somebody wants purged: a path, or a whole one. The host of a whole one, in small letters.
pub fn check_url(url: &str) -> Result<Option<String>> {
    let wrong = |why: String| {
        let shown: String = url.chars().take(100).collect();
        Error::invalid("edge_url", format!("`{}` cannot be purged: {why}", shown.escape_debug())).on("urls")
    };
    if url.len() > URL_BYTES_MAX || !url.bytes().all(|it| it.is_ascii_graphic()) || url.contains(['#', '\\']) {
        let text = format!(
            "write a path such as `/logo.png`, or a whole address, escaped as browsers send it, of at most {URL_BYTES_MAX} characters and \
             without `#`."
        );
        return Err(wrong(text));
    }
    if url.starts_with('/') && !url.starts_with("//") {
        return Ok(None);
    }
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let host = rest.and_then(|it| it.split_once('/')).map(|it| it.0).filter(|it| !it.is_empty());
    let host = host.ok_or_else(|| {
        wrong(String::from(
            "write a path that begins with `/`, or an address such as `https://www.example.org/logo.png`.",
        ))
    })?;
    if host.contains(['@', ':', '?']) {
        return Err(wrong(String::from("its host is a hostname of the site, without a port and without a user.")));
    }
    Ok(Some(host.to_ascii_lowercase()))
}

/// Whether it helps to try it again by itself.
pub const fn may_pass(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Away(_) | Trouble::Slow | Trouble::Limited(_) | Trouble::Broken(_))
}

/// Says why caches of `zone` were not purged, and what to do; where [`may_pass`], nothing but to wait.
pub fn explain(provider: Provider, zone: &str, trouble: &Trouble) -> String {
    let name = provider.name();
    let again = "restart the server, and run the job again";
    let why = match (trouble, provider) {
        (Trouble::Away(_), _) => {
            format!("{name} is not reached from this server. Does it get out to the internet on port 443?")
        }
        (Trouble::Untrusted(_), _) => format!(
            "the certificate of {name} is not believed here. Look at the server's clock and its package ca-certificates, and at `ca` of \
             [[edge]]; {again}."
        ),
        (Trouble::Slow, _) => format!("{name} did not answer in time."),
        (Trouble::Token, Provider::Cloudflare) => format!(
            "{name} does not know the token. Make one that may read zones and purge caches (`Zone:Read` and `Cache Purge`) of {zone}, put it \
             into the file that `token_file` of [[edge]] names, {again}."
        ),
        (Trouble::Rights, Provider::Cloudflare) => format!(
            "the token may not do that. Give it the rights to read zones and to purge caches (`Zone:Read` and `Cache Purge`) of {zone} at \
             {name}, and run the job again."
        ),
        (Trouble::Token | Trouble::Rights, Provider::Webhook) => format!(
            "{name} does not believe who asks. Let it check the signature with the text of the file that `token_file` of [[edge]] names, and \
             run the job again."
        ),
        (Trouble::NoZone, _) => format!(
            "{name} has no zone {zone} for this token. Give the token the right to read it, or write the zone as {name} lists it into `zones` \
             of [[edge]]; {again}."
        ),
        (Trouble::Limited(_), _) => format!("{name} is asked too often and wants a pause."),
        (Trouble::Broken(said), _) => format!("{name} has trouble of its own: {}.", said.trim_end_matches('.')),
        (Trouble::Refused(said), _) => {
            format!("{name} refuses it: {}. Look at [[edge]] of the settings, {again}.", said.trim_end_matches('.'))
        }
        (Trouble::Nonsense(why), _) => {
            format!(
                "what answers for {name} is not its API ({why}). Look at `api` of [[edge]] in the settings, {again}."
            )
        }
        (Trouble::Unseen(_) | Trouble::Alias(_), _) => String::from("that is not known. Run the job again."),
    };
    format!("The caches of {zone} were not purged: {why}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::base::ids::Id;

    #[test]
    fn what_is_purged_is_the_sites_own() {
        let (one, two) = (SiteId(Id::from_bytes([1; 16])), SiteId(Id::from_bytes([2; 16])));
        let all = [one, two].map(|it| [site_tag(it), path_tag(it, "/a"), path_tag(it, "/b"), own_tag(it, "p-1")]);
        assert_eq!(all.iter().flatten().collect::<BTreeSet<_>>().len(), 8);
        for tag in all.iter().flatten() {
            assert!(tag.len() < 128 && !tag.contains([' ', ',']) && *tag == tag.to_lowercase(), "{tag}");
        }
        for wrong in ["", "A", "a b", "a,b", "\u{e9}", "a\r\nx: y", &"a".repeat(65), "*"] {
            assert_eq!(check_tag(wrong).unwrap_err().field, Some("tags"), "{wrong}");
        }
        check_tag(&"a".repeat(64)).unwrap();
    }

    #[test]
    fn addresses_are_paths_or_whole() {
        for (url, host) in [
            ("/", None),
            ("/a%20b?c=d", None),
            ("https://WWW.Example.org/", Some("www.example.org")),
            ("http://a.example/b?c", Some("a.example")),
        ] {
            assert_eq!(check_url(url).unwrap().as_deref(), host, "{url}");
        }
        for wrong in [
            "",
            "a",
            "//evil.example/",
            "https://",
            "https:///a",
            "https://a.example",
            "https://a@b.example/",
            "https://a.example:8443/",
            "https://a.example?/",
            "ftp://a.example/",
            "/a#b",
            "/a b",
            "/\u{e9}",
            "/a\\b",
            "/a\n",
            &format!("/{}", "a".repeat(400)),
        ] {
            assert_eq!(check_url(wrong).unwrap_err().field, Some("urls"), "{wrong}");
        }
    }

    #[test]
    fn one_call_takes_so_many() {
        let many: Vec<String> = (0..205).map(|it| format!("{it}")).collect();
        let made = Batch::Tags(many.clone()).split();
        let sizes = made.iter().map(|it| if let Batch::Tags(it) = it { it.len() } else { 0 });
        assert_eq!(sizes.collect::<Vec<_>>(), [100, 100, 5]);
        assert!(Batch::Hosts(Vec::new()).split().is_empty());
    }

    #[test]
    fn each_trouble_has_a_sentence_of_its_own() {
        let text = || String::from("x");
        let all = [
            Trouble::Away(text()),
            Trouble::Untrusted(text()),
            Trouble::Slow,
            Trouble::Token,
            Trouble::Rights,
            Trouble::NoZone,
            Trouble::Limited(Some(3)),
            Trouble::Broken(text()),
            Trouble::Refused(text()),
            Trouble::Nonsense(text()),
        ];
        let said: BTreeSet<_> = all.iter().map(|it| explain(Provider::Cloudflare, "a.example", it)).collect();
        assert_eq!(said.len(), all.len());
        for (trouble, text) in all.iter().map(|it| (it, explain(Provider::Webhook, "a.example", it))) {
            assert!(text.contains("a.example") && text.ends_with(['.', '?']), "{text}");
            assert_eq!(text.contains("run the job again"), !may_pass(trouble), "{text}");
        }
    }
}
